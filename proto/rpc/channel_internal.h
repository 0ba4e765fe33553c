/*
 * channel_internal - what channel.c (opening, closing), channel_call.c (the call table) and
 * stream.c share. Nobody else includes it.
 *
 * A call's slot is taken from its start until the server's END: a call that ended here first (its
 * deadline, a cancel) is ABANDONED until then, so that no number is ever used for two calls at
 * once. A request that was withdrawn before it left has no END and frees its slot at once.
 */
#ifndef FLY_RPC_CHANNEL_INTERNAL_H
#define FLY_RPC_CHANNEL_INTERNAL_H

#include <pthread.h>

#include "proto/rpc/channel.h"
#include "proto/rpc/link.h"
#include "proto/rpc/timer.h"

#define SLOT_NONE UINT32_MAX

enum { REPLY_ARENA_MAX = 16 << 20 /* an unpacked reply */ };

enum slot_state { SLOT_FREE, SLOT_PENDING, SLOT_ABANDONED };

/* Whom to tell how a call ended: a callback, or a stream. */
struct ending_target {
    const struct rpc_method *method;
    rpc_done *done;
    void *user;
    struct rpc_stream *stream; /* referred to */
};

struct call_slot {
    enum slot_state state;
    uint32_t generation; /* 1 … 4,095: a call id is never 0 */
    uint32_t next_free;
    struct ending_target target;
    int64_t deadline_ms; /* 0: none */
    uint64_t position;   /* of its REQ among all bytes of the connection */
};

struct rpc_channel {
    struct rpc_link link; /* its lock guards the next block */
    struct rpc_timer timer;
    int64_t next_due_ms; /* the timer comes at this time at the latest */
    int64_t keepalive_ms;
    uint32_t window;
    struct call_slot *slots;
    uint32_t calls_max; /* ours, then the smaller of both sides' */
    uint32_t free_first;
    uint32_t streams; /* open ones */
    bool closed;
    bool closing; /* by rpc_channel_close */
    bool going_away;

    pthread_mutex_t wait_lock; /* of whoever waits in open and close; guards the rest */
    pthread_cond_t changed;    /* on CLOCK_MONOTONIC */
    bool greeted;
    bool refused;
    bool gone;     /* closed, and every call was told */
    bool disposed; /* the transport is no more */
    struct rpc_reply refusal;
    uint8_t *hello;
    size_t hello_size;
};

/* reply.c */
void reply_set(struct rpc_reply *reply, enum fly_status status, bool sent, const char *text,
               size_t text_size);
/* Fills from an END frame of a call to this method. */
void reply_from_end(struct rpc_reply *reply, const struct rpc_method *method,
                    const struct frame *frame);
/* Checks and unpacks one message into the reply; INTERNAL when it does not parse. */
void reply_from_message(struct rpc_reply *reply, const struct rpc_method *method,
                        struct fly_bytes bytes);
void reply_copy(struct rpc_reply *to, const struct rpc_reply *from);

/* channel_call.c */
/* Starts a call; `target` is taken over only on FLY_OK. */
enum fly_status channel_start(struct rpc_channel *channel, const struct ending_target *target,
                              const ProtobufCMessage *request,
                              const struct rpc_call_options *options, uint32_t *id,
                              struct fly_error *error);
bool channel_on_end(struct rpc_channel *channel, const struct frame *frame);
bool channel_on_message(struct rpc_channel *channel, const struct frame *frame);
/* Ends everything in flight: the connection is gone. */
void channel_end_all(struct rpc_channel *channel);
void channel_on_timer(void *channel);
void channel_make_slots(struct rpc_channel *channel);
/* Gives a stream's reader more to take in, if the call still runs. */
void channel_grant(struct rpc_channel *channel, uint32_t id, uint32_t bytes);

/* stream.c */
void stream_hold(struct rpc_stream *stream);
void stream_drop(struct rpc_stream *stream);
/* False: more than the window that was granted. */
bool stream_push(struct rpc_stream *stream, struct fly_bytes body);
void stream_end(struct rpc_stream *stream, struct rpc_reply *reply);

/* A condition on CLOCK_MONOTONIC and the time to wait on it until. */
void wait_condition_init(pthread_cond_t *condition);
struct timespec wait_until(int64_t timeout_ms);

#endif
