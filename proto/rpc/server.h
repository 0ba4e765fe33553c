/*
 * server - the answering side: connections, HELLO, calls, streams, limits, drain.
 *
 * Two ways to serve: `services` (generated from a .proto: typed handlers; tests/unit/example has a
 * whole server in 30 lines), or `methods` with one on_call for all of them (what a node does, which
 * posts every call to its loop). Both may be used at once.
 *
 * Callbacks run on the few poller threads (or on the thread that accepts a HELLO, finishes the last
 * call, or on the timer thread): they must not wait. Handlers of services do too where the method
 * is RPC_INLINE or `workers` is 0; else they run on a worker thread (proto/rpc/pool.h) and may. A
 * request is checked against its descriptor and unpacked into a bounded arena before on_call sees
 * it; a late, malformed, unknown or excess call is answered by the library and counted.
 *
 * What the library itself answers with, by gRPC's table (doc/statuscodes.md; the whole of it stands
 * in docs/RPC.md). Behind *, the client is told that nothing was done (rpc_reply.sent):
 *
 *     CANCELLED           the caller gave up (*: while it was still waiting for its handler)
 *     DEADLINE_EXCEEDED   * the deadline passed before the handler was to run
 *     UNIMPLEMENTED       * no such method, or one request where a stream is wanted (or vice versa)
 *     UNAVAILABLE         * the server drains
 *     INTERNAL            * a request, or its metadata, that does not parse
 *     RESOURCE_EXHAUSTED  * a limit below, metadata or an unpacked request over theirs
 *                         a reply larger than the caller takes or over out_max, RPC_SLOW_END
 *     UNAUTHENTICATED     * nobody calls a method that is not RPC_OPEN
 *     what on_allow said  *
 *
 * What no client of ours sends — a frame of a server, over frame_max, over a window, for a slot
 * that is in use — cuts the connection and is counted.
 *
 * A call belongs to the application from on_call until it finishes it (rpc_call_reply,
 * rpc_call_fail or rpc_call_turn_away, exactly once, from any thread). Until then the pointer stays
 * valid, whatever happens to the connection; afterwards it is gone, unless held (rpc_call_hold).
 */
#ifndef FLY_RPC_SERVER_H
#define FLY_RPC_SERVER_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/rpc/batch.h"
#include "proto/rpc/method.h"
#include "proto/rpc/reply.h"
#include "proto/rpc/tls.h"
#include "proto/wire/frame.h"

struct rpc_server;
struct rpc_hello;
struct rpc_call;
struct rpc_metrics;

enum { RPC_SERVER_URLS_MAX = 8, RPC_REMOTE_SIZE = 64, RPC_SLOW_KEEP = 64 * 1024 };

struct rpc_server_config {
    /* [tls+]tcp://ADDRESS:PORT (numeric; port 0: any), ipc:///path or inproc://name */
    const char *const *urls;
    size_t url_count;
    const struct rpc_tls *tls;               /* for tls+tcp://, with a certificate; not kept */
    const struct rpc_method *const *methods; /* borrowed for the server's life; go to on_call */
    size_t method_count;
    const struct rpc_service *services; /* copied, what they point to is borrowed */
    size_t service_count;

    void *user; /* of the callbacks */
    /* A connection says who it is: accept or refuse, here or later, from any thread. NULL: there is
     * no authentication, all are accepted and may call everything. */
    void (*on_hello)(void *user, struct rpc_hello *hello);
    void (*on_call)(void *user, struct rpc_call *call);
    /* Asked before a handler of `services` runs (calls of `methods` ask in on_call): other than
     * FLY_OK turns the call away with that. NULL: who may connect may call. */
    enum fly_status (*on_allow)(void *user, const struct rpc_call *call, struct fly_error *error);
    /* The caller no longer wants this call (or died): finish it soon. It may finish on another
     * thread at this very moment: hold it to post it. May be NULL. */
    void (*on_cancel)(void *user, struct rpc_call *call);
    /* A stream whose rpc_call_send was refused can send again. May be NULL. */
    void (*on_writable)(void *user, struct rpc_call *call);
    /* rpc_call_next of this call said NOTHING and would now say otherwise. May be NULL. */
    void (*on_readable)(void *user, struct rpc_call *call);
    /* The connection is gone and its last call finished: once for each accepted non-NULL peer. */
    void (*on_peer_gone)(void *user, void *peer);

    /* Limits; 0 means the value in brackets. */
    uint32_t connections_max;     /* [1,024] more are closed at once */
    uint32_t handshakes_max;      /* [256] connections whose HELLO was not accepted yet */
    uint32_t calls_max;           /* [256] in flight on one connection */
    uint32_t tenant_calls_max;    /* [1,024] in flight of one tenant (rpc_hello_set_tenant) */
    uint32_t workers;             /* [0] threads for handlers of services that are not INLINE */
    uint32_t queue_max;           /* [1,024] calls that wait for a worker */
    uint32_t frame_max;           /* [1 MiB] */
    uint32_t arena_max;           /* [4 MiB] an unpacked request */
    uint32_t out_max;             /* [4 MiB] bytes one connection may have waiting to be sent */
    uint64_t out_total_max;       /* [256 MiB] the same, of all connections of this server */
    uint32_t stream_window;       /* [64 KiB] bytes a client may stream ahead of rpc_call_next */
    uint32_t conn_window;         /* [1 MiB] the same, of all calls of a connection */
    int64_t frame_timeout_ms;     /* [10,000] for the rest of a frame that has begun */
    int64_t handshake_timeout_ms; /* [2,000] from accept until HELLO was answered */
    int64_t keepalive_ms;         /* [30,000] PING after so much silence, closed after twice that */
};

/* Since the start; `connections` and `calls_active` are now. */
struct rpc_server_counters {
    uint64_t accepted;    /* connections taken */
    uint64_t connections; /* open now */
    uint64_t refused;     /* connections over the limit */
    uint64_t hellos_refused;
    uint64_t handshakes_late; /* closed on the handshake deadline */
    uint64_t tls_failed;      /* ended by TLS: no handshake, or bytes that it did not believe */
    uint64_t keepalives_lost; /* closed on silence, or on a reader that stopped */
    uint64_t violations;      /* closed on a frame that no client of ours sends */
    uint64_t oversize;        /* of them: a frame over frame_max */
    uint64_t calls;           /* REQ frames */
    uint64_t calls_active;    /* at the application now */
    uint64_t calls_finished;  /* by the application */
    uint64_t malformed;       /* requests that failed the check against their descriptor */
    uint64_t unknown_methods;
    uint64_t unauthenticated;
    uint64_t excess;            /* over calls_max, tenant_calls_max, a method's own or queue_max */
    uint64_t handshakes_excess; /* closed at once: over handshakes_max */
    uint64_t frames_late;       /* connections closed on frame_timeout_ms */
    uint64_t slow_ended;        /* streams ended for a slow reader (RPC_SLOW_END) */
    uint64_t slow_dropped;      /* messages dropped for one (RPC_SLOW_DROP) */
    uint64_t late;              /* deadline passed before dispatch: not executed */
    uint64_t cancelled;         /* by CANCEL */
    uint64_t orphaned;          /* finished after their caller had gone or given up */
    uint64_t stale;             /* CANCEL or WINDOW for a call that had ended */
    uint64_t bytes_in;
    uint64_t bytes_out;
};

/*
 * Listens on every url, or on none: UNAVAILABLE (address in use …), INVALID_ARGUMENT (url, table).
 * The config is copied, what it points to is borrowed (methods) or not kept (urls).
 */
enum fly_status rpc_server_create(struct rpc_server **out, const struct rpc_server_config *config,
                                  struct fly_error *error);
/* The i-th url with the port that was bound. */
const char *rpc_server_url(const struct rpc_server *server, size_t index);
/* Stops accepting, tells every peer to go away (GOAWAY) and refuses new calls as not executed;
 * calls in flight go on. Returns at once; from any thread but the library's. */
void rpc_server_drain(struct rpc_server *server);
/* Cuts every connection (on_cancel for its calls, on_peer_gone). Returns at once; drains first. */
void rpc_server_close(struct rpc_server *server);
/* No connection is left and no call is at the application. */
bool rpc_server_idle(struct rpc_server *server);
/* Closes, waits until idle — so the application's calls must be finished, by now or by another
 * thread — and frees. Blocks; never on a thread of the library. NULL is fine. */
void rpc_server_destroy(struct rpc_server *server);
struct rpc_server_counters rpc_server_counters(struct rpc_server *server);
/* Counts and latencies of every method; lives as long as the server. */
struct rpc_metrics *rpc_server_metrics(struct rpc_server *server);
/* What it serves: for reflection. Lives as long as the server. */
const struct rpc_service *rpc_server_services(const struct rpc_server *server, size_t *count);

/* HELLO's payload, valid until it is answered. */
struct fly_bytes rpc_hello_bytes(const struct rpc_hello *hello);
/* "127.0.0.1:40312", "[::1]:40312" or "ipc": for logs and limits. Valid until it is answered. */
const char *rpc_hello_remote(const struct rpc_hello *hello);
/* Of the two prefaces, FRAME_NONCE_SIZE each: what proofs in HELLO and its answer cover. Valid
 * until it is answered. */
const uint8_t *rpc_hello_client_nonce(const struct rpc_hello *hello);
const uint8_t *rpc_hello_server_nonce(const struct rpc_hello *hello);
/* Before accepting: connections of one tenant (any number but 0, a hash of the subject, say) share
 * tenant_calls_max. Without it only the connection's own limit counts. */
void rpc_hello_set_tenant(struct rpc_hello *hello, uint64_t tenant);
/* Exactly one of the two, once. `reply` is copied. `peer` is yours: rpc_call_peer gives it back,
 * on_peer_gone ends it (even if the connection had died already). NULL: nobody — only RPC_OPEN
 * methods run, the others are refused with UNAUTHENTICATED. Calls that waited are dispatched
 * before this returns. */
void rpc_hello_accept(struct rpc_hello *hello, struct fly_bytes reply, void *peer);
/* Tells the client why and closes. `status` is not FLY_OK; `detail` ≤ 16 KiB is copied. */
void rpc_hello_refuse(struct rpc_hello *hello, enum fly_status status, const char *text,
                      struct fly_bytes detail);

/* For who answers later than in its handler and is not the one that wrote on_cancel, on_writable
 * and on_readable: `changed` runs instead of them for this call, on any thread, also without need;
 * it must not wait. At once if the caller is gone already. Not after the call is finished, but it
 * may be running then: hold what it needs. */
void rpc_call_watch(struct rpc_call *call, void (*changed)(void *user, struct rpc_call *call),
                    void *user);

struct rpc_server *rpc_call_server(const struct rpc_call *call);
const struct rpc_method *rpc_call_method(const struct rpc_call *call);
/* Of the method's request type; lives as long as the call. */
const ProtobufCMessage *rpc_call_request(const struct rpc_call *call);
void *rpc_call_peer(const struct rpc_call *call);
/* CLOCK_BOOTTIME in ms, 0: none. Check it again with a fresh clock after your own queue. */
int64_t rpc_call_deadline_ms(const struct rpc_call *call);
const struct frame_trace *rpc_call_trace(const struct rpc_call *call);
/* The caller's metadata: encoded, checked entries (proto/wire/metadata.h). */
struct fly_bytes rpc_call_metadata(const struct rpc_call *call);
/* A slot for the application; NULL at first. Not synchronised. */
void *rpc_call_user(const struct rpc_call *call);
void rpc_call_set_user(struct rpc_call *call, void *user);
/* The caller gave up or is gone: what is sent now reaches nobody. Any thread. */
bool rpc_call_cancelled(const struct rpc_call *call);
/* Already finished: only a holder can see this. Any thread. */
bool rpc_call_finished(const struct rpc_call *call);

/* Ends a call with OK. Unary: `message` is of the reply type. Streams: NULL. A message larger than
 * the client takes, or over out_max, ends it with RESOURCE_EXHAUSTED instead. */
void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *message);
/* Ends a call with a status other than FLY_OK. `text` (≤ 1 KiB kept) and `detail` (≤ 16 KiB, else
 * dropped) are copied. */
void rpc_call_fail(struct rpc_call *call, enum fly_status status, const char *text,
                   struct fly_bytes detail);
/* The same for a call of which nothing was done, nor ever will be: the client is told so
 * (rpc_reply.sent is false) and may try elsewhere without asking. */
void rpc_call_turn_away(struct rpc_call *call, enum fly_status status, const char *text,
                        struct fly_bytes detail);
/* Initial metadata, at most once, before the first message and the end. FAILED_PRECONDITION: too
 * late. INVALID_ARGUMENT: not sound entries. UNAVAILABLE: the caller is gone. RESOURCE_EXHAUSTED:
 * the connection is at out_max; the head was not sent. */
enum fly_status rpc_call_send_head(struct rpc_call *call, struct fly_bytes entries);
/* Trailing metadata: copied, goes with whatever ends the call; the last one set counts. Not
 * synchronised with the end. INVALID_ARGUMENT: not sound entries. */
enum fly_status rpc_call_set_trailer(struct rpc_call *call, struct fly_bytes entries);
/* Streams: one message. RESOURCE_EXHAUSTED: the reader is behind its window or the connection at
 * out_max; nothing was queued and on_writable will tell (RPC_SLOW_WAIT; RPC_SLOW_END: the caller
 * was told so, finish the call). UNAVAILABLE: the caller is gone. INVALID_ARGUMENT: larger than the
 * client takes. */
enum fly_status rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message);
/* The same for a message that is packed already: what many calls are told is packed once. The bytes
 * are copied, and are the caller's word to be of the reply type. */
enum fly_status rpc_call_send_packed(struct rpc_call *call, struct fly_bytes message);
/* The same, waiting up to timeout_ms (negative: for ever) for the reader, but no longer than the
 * call has time. For workers. */
enum fly_status rpc_call_send_wait(struct rpc_call *call, const ProtobufCMessage *message,
                                   int64_t timeout_ms);
/* Where the client streams: its next message, waiting up to timeout_ms (0: not at all; negative:
 * for ever; only workers may wait). END with OK: it has sent all; with CANCELLED: it gave up or is
 * gone; DEADLINE_EXCEEDED: so long the call had; INTERNAL: a message did not parse. `message` is
 * always filled and always to be finished. One thread at a time per call. */
enum rpc_next rpc_call_next(struct rpc_call *call, int64_t timeout_ms, struct rpc_reply *message);

/* Keeps the struct (not the call) alive past its end, for messages in a mailbox. */
void rpc_call_hold(struct rpc_call *call);
void rpc_call_drop(struct rpc_call *call);

#endif
