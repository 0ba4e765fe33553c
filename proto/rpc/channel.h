/*
 * channel - the calling side: one connection to a server, many calls in flight. Any thread.
 *
 * A client:
 *
 *     struct rpc_channel *channel;
 *     struct fly_error error;
 *     struct rpc_reply reply;
 *     Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
 *
 *     if (rpc_channel_open(&channel, &(struct rpc_channel_config){.url = "tcp://127.0.0.1:7401"},
 *                          &error) != FLY_OK) {
 *         errx(69, "%s", error.text);
 *     }
 *     if (rpc_channel_call(channel, &rpc_health_echo, &ping.base, NULL, &reply) == FLY_OK) {
 *         const Fly__V1__EchoMessage *pong = (const Fly__V1__EchoMessage *)reply.message;
 *         printf("%zu bytes back\n", pong->payload.len);
 *     }
 *     rpc_reply_fini(&reply);
 *     rpc_channel_close(channel);
 *
 * Semantics are gRPC's (doc/statuscodes.md): a call ends exactly once, with one of the 17 codes.
 * A broken connection ends every call in flight with UNAVAILABLE; nothing reconnects or retries
 * here, because only the caller knows what may be done twice: see rpc_reply.sent.
 *
 * Threads. rpc_channel_open, _close, _call, rpc_stream_next and rpc_channel_settle block: never on
 * a loop or a thread of the library (its pollers, its timer's). A loop uses
 * rpc_channel_start_open, _start and _release, which return at once. All callbacks run on threads
 * of the library, or on one that is in rpc_channel_call of the same channel (a caller that is alone
 * reads the connection itself: it should hold no lock that a callback takes), several at a time for
 * different channels: they must not wait; they may start and cancel calls, and release a
 * channel. What each started channel tells, in this order:
 *
 *     opened(NULL)      once, when calls can be made             or  opened(refusal), and no more
 *     done              once for each call
 *     closed            once: the connection is gone, each call has ended, nothing more will come
 *
 * rpc_channel_release may be called at any time, once, in a callback too. It hastens the end (calls
 * end with CANCELLED, so does an opening), it does not silence it: what the callbacks point to may
 * go after the last of them, and the channel itself goes when it was released and has told all.
 *
 * The process must not fork() without exec after the first call: the threads stay behind.
 */
#ifndef FLY_RPC_CHANNEL_H
#define FLY_RPC_CHANNEL_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/rpc/batch.h"
#include "proto/rpc/method.h"
#include "proto/rpc/reply.h"
#include "proto/rpc/tls.h"
#include "proto/wire/frame.h"

struct rpc_call;
struct rpc_channel;
struct rpc_stream;

enum { RPC_HELLO_MAX = 8 * 1024 };

/* Copied, with what it points to, before the opening function returns. */
struct rpc_channel_config {
    const char *url;           /* [tls+]tcp://ADDRESS:PORT, ipc:///path or inproc://name */
    const struct rpc_tls *tls; /* for tls+tcp:// */
    struct fly_bytes hello;    /* payload of HELLO: a packed fly.v1.Hello; may be empty */

    void *user; /* of the callbacks here; each of them may be NULL */
    /* Makes HELLO's payload instead, when the server's nonce is known: a proof covers both. Returns
     * its size; 0 gives up (FAILED_PRECONDITION). */
    size_t (*hello_make)(void *user, const uint8_t client_nonce[static FRAME_NONCE_SIZE],
                         const uint8_t server_nonce[static FRAME_NONCE_SIZE], uint8_t *out,
                         size_t max);
    /* Looks at HELLO's answer before the channel counts as open. Other than FLY_OK: cut, and
     * refused with that. */
    enum fly_status (*hello_check)(void *user, const uint8_t client_nonce[static FRAME_NONCE_SIZE],
                                   const uint8_t server_nonce[static FRAME_NONCE_SIZE],
                                   struct fly_bytes reply, struct fly_error *error);
    /* See the top: only for a channel that was opened. */
    void (*closed)(void *user);
    /* The server goes away: it takes no new calls, what it has taken goes on. Once, between
     * `opened` and `closed`; a server may have said so before `opened` (rpc_channel_alive tells).
     */
    void (*going_away)(void *user);

    int64_t connect_timeout_ms; /* for all of the opening; 0: 5,000 */
    int64_t keepalive_ms;       /* PING after so much silence, dead after twice that; 0: 10,000 */
    /* Dead when the other kernel has not acknowledged, or not taken, for so long: a cut wire is
     * known before keepalive_ms tells, a process that stands still is not meant. 0: not looked at
     */
    int64_t unacknowledged_ms;
    uint32_t calls_max;     /* in flight; 0: 1,024; the server's own limit counts too */
    uint32_t frame_max;     /* largest frame taken; 0: 1 MiB */
    uint32_t out_max;       /* bytes waiting to be sent; 0: 4 MiB; past it calls are refused */
    uint32_t stream_window; /* bytes a stream may send ahead of its reader; 0: 64 KiB */
    uint32_t conn_window;   /* the same, of all streams together; 0: 1 MiB */
};

struct rpc_call_options {
    int64_t timeout_ms;        /* 0: none. Travels as remaining time */
    struct frame_trace trace;  /* all zero: none */
    struct fly_bytes metadata; /* encoded entries (proto/wire/metadata.h), borrowed for the call */
    /* The call at this process's server that this one is made for, or NULL. Its deadline bounds
     * this one too, and its trace goes on unless `trace` is set. */
    const struct rpc_call *parent;
    /* rpc_client only: wait for a connection (until the deadline), rather than fail at once */
    bool wait_for_ready;
};

/* Runs once (see the top for where): it must not wait. The reply is lent: move it
 * (rpc_reply_move) to keep it. Other calls may be started from here. */
typedef void rpc_done(void *user, struct rpc_reply *reply);

/*
 * Connects, exchanges prefaces and HELLO, and waits for the answer.
 * UNAVAILABLE: nobody listens, or not an RPC server. DEADLINE_EXCEEDED: it took too long.
 * INVALID_ARGUMENT: url. Otherwise the server's own refusal (UNAUTHENTICATED …) and its words.
 * Blocks; never on a thread of the library.
 */
enum fly_status rpc_channel_open(struct rpc_channel **out, const struct rpc_channel_config *config,
                                 struct fly_error *error);
/* The same, but a refusal comes with its detail bytes. Finish `refusal` in every case. */
enum fly_status rpc_channel_open_detailed(struct rpc_channel **out,
                                          const struct rpc_channel_config *config,
                                          struct rpc_reply *refusal);
/* Runs once. `refusal` is NULL: calls can be made. Otherwise it says why not, is lent, and the
 * channel is only to be released. */
typedef void rpc_opened(void *user, struct rpc_channel *channel, struct rpc_reply *refusal);

/*
 * The same without waiting: `opened` will run, and may have run before this returns. *out is to be
 * released (or closed) in every case that returns FLY_OK. Other than that nothing was begun:
 * INVALID_ARGUMENT (url, limits, PEM), RESOURCE_EXHAUSTED.
 */
enum fly_status rpc_channel_start_open(struct rpc_channel **out,
                                       const struct rpc_channel_config *config, rpc_opened *opened,
                                       void *user, struct fly_error *error);
/* Closes and frees without waiting: see the top. Its streams must have been closed before. NULL is
 * fine. */
void rpc_channel_release(struct rpc_channel *channel);
/* Waits until every channel that was released has been freed: at the end of a process. */
void rpc_channel_settle(void);

/* The server's answer to HELLO (a packed fly.v1.HelloReply); lives as long as the channel. */
struct fly_bytes rpc_channel_hello(const struct rpc_channel *channel);
/* Open, connected, and the server has not said that it goes away. */
bool rpc_channel_alive(struct rpc_channel *channel);
/* Ends calls in flight with CANCELLED (their callbacks have run on return) and frees the channel;
 * its streams must have been closed before. NULL is fine. Blocks; never on a thread of the
 * library. */
void rpc_channel_close(struct rpc_channel *channel);

/* One call, waited for. Returns reply->status. `options` may be NULL. Never on a thread of the
 * library, nor in a batch. */
enum fly_status rpc_channel_call(struct rpc_channel *channel, const struct rpc_method *method,
                                 const ProtobufCMessage *request,
                                 const struct rpc_call_options *options, struct rpc_reply *reply);

/*
 * One call, not waited for. FLY_OK: `done` will run once. Anything else: it will not, and nothing
 * left this process (UNAVAILABLE: connection gone or going; RESOURCE_EXHAUSTED: calls_max or
 * out_max; INVALID_ARGUMENT: larger than the server takes). `id` (may be NULL) is for cancelling.
 */
enum fly_status rpc_channel_start(struct rpc_channel *channel, const struct rpc_method *method,
                                  const ProtobufCMessage *request,
                                  const struct rpc_call_options *options, rpc_done *done,
                                  void *user, uint32_t *id);
/* Ends that call with CANCELLED here and tells the server; nothing if it has ended already. */
void rpc_channel_cancel(struct rpc_channel *channel, uint32_t id);

/*
 * A call of a method of which one side or both stream. `request` is NULL where the client streams.
 * The timeout of `options` bounds the whole stream.
 */
enum fly_status rpc_stream_open(struct rpc_stream **out, struct rpc_channel *channel,
                                const struct rpc_method *method, const ProtobufCMessage *request,
                                const struct rpc_call_options *options, struct fly_error *error);
/* Sends one message; the client streams. timeout_ms as below. RESOURCE_EXHAUSTED: no credit, or
 * the out-buffer was full, all this time; nothing was queued. UNAVAILABLE: it has ended (next
 * tells how). INVALID_ARGUMENT: larger than the server takes. FAILED_PRECONDITION: after finish. */
enum fly_status rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message,
                                int64_t timeout_ms);
/* No more messages from this side. Once or more often. */
void rpc_stream_finish(struct rpc_stream *stream);
/* Waits up to timeout_ms (0: not at all; negative: for ever). `reply` is always filled and always
 * to be finished. Where only the client streams, END with OK carries the reply's message. `head` is
 * in the first reply after it came, and in the last. One thread at a time per stream (beside one
 * that sends). */
enum rpc_next rpc_stream_next(struct rpc_stream *stream, int64_t timeout_ms,
                              struct rpc_reply *reply);
/* For loops: `changed` runs (see the top for where; must not wait) after next said NOTHING
 * and would now say otherwise, and after send said RESOURCE_EXHAUSTED and may now succeed; spurious
 * runs are possible, and one may come at once. Set it before the first next. It has run for the
 * last time when rpc_stream_close returns. */
void rpc_stream_watch(struct rpc_stream *stream, void (*changed)(void *user), void *user);
/* Ends it with CANCELLED unless it has ended: any thread, also while another waits in next. */
void rpc_stream_cancel(struct rpc_stream *stream);
/* Cancels it if it has not ended, and frees it. NULL is fine. */
void rpc_stream_close(struct rpc_stream *stream);

#endif
