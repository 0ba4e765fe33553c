/*
 * channel_internal - what channel_open.c (dialling, HELLO), channel.c (events, the end),
 * channel_call.c (the start of a call), channel_slot.c (the call table, and every way a call ends)
 * and the streams share. Nobody else includes it.
 *
 * References: the owner's (until release), the dialling's, the transport's (until it is disposed),
 * that of a `closed` to be told. The last one frees, on the timer thread, where the channel's own
 * timer cannot be firing. Dialling, giving up and releasing all happen on the timer thread, one
 * after the other; only HELLO's answer and the end of the connection come from others.
 *
 * A call's slot is taken from its start until the server's END: a call that ended here first (its
 * deadline, a cancel) is ABANDONED until then, so that no number is ever used for two calls at
 * once. A request that was withdrawn before it left has no END and frees its slot at once.
 */
#ifndef FLY_RPC_CHANNEL_INTERNAL_H
#define FLY_RPC_CHANNEL_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "proto/rpc/channel.h"
#include "proto/rpc/inbox.h"
#include "proto/rpc/link.h"
#include "proto/rpc/timer.h"

#define SLOT_NONE UINT32_MAX

enum { REPLY_ARENA_MAX = 16 << 20 /* an unpacked reply */, CHANNEL_BELLS = 32 };

enum slot_state { SLOT_FREE, SLOT_PENDING, SLOT_ABANDONED };

struct rpc_stream;

/* A thread that waits for its call. Once it has ended, it may be gone. */
enum waiter_state { WAITER_UP, WAITER_ASLEEP, WAITER_ENDED };
struct channel_waiter {
    struct rpc_reply *reply; /* filled before */
    uint32_t place;          /* see channel_wait.c */
    struct transport *reads; /* it is alone and reads this itself; referred to */
    int64_t deadline_ms;
    atomic_uint state; /* enum waiter_state */
};

/* Whom to tell how a call ended: a callback, a thread that waits, or a stream. */
struct ending_target {
    const struct rpc_method *method;
    rpc_done *done;
    void *user;
    struct channel_waiter *waiter;
    struct rpc_stream *stream; /* referred to */
};

struct call_slot {
    enum slot_state state;
    uint32_t generation; /* 1 … 4,095: a call id is never 0 */
    uint32_t next_free;
    uint32_t head_size;
    uint8_t *head; /* initial metadata that came; a stream keeps its own */
    struct ending_target target;
    int64_t deadline_ms;   /* 0: none */
    uint64_t position;     /* of its REQ among all bytes of the connection */
    uint32_t request_size; /* of that frame */
    bool begun;            /* HEAD or MSG came: no HEAD may follow */
};

enum channel_phase {
    CHANNEL_OPENING,
    CHANNEL_OPEN,
    CHANNEL_GIVEN_UP, /* by the timer thread; the end of the connection tells `opened` */
    CHANNEL_REFUSED,
};

struct rpc_channel {
    struct rpc_link link; /* without a transport while dialling; its lock guards the next block */
    struct rpc_timer timer;
    int64_t next_due_ms; /* the timer comes at this time at the latest */
    int64_t keepalive_ms;
    uint64_t span_seed;
    atomic_uint_fast64_t spans; /* made so far */
    struct call_slot *slots;    /* once the server's limit is known */
    uint32_t calls_max;         /* ours, then the smaller of both sides' */
    uint32_t slots_used;        /* those behind have never been: nobody looks at them */
    uint32_t free_first;
    uint32_t taken;      /* slots */
    uint32_t streams;    /* open ones */
    uint32_t blocked;    /* threads that wait for a call */
    uint32_t crowd_rest; /* so many calls more do not wait for each other */
    bool flush_coming;   /* one of them is about to send what they all put */
    bool closed;
    bool closing; /* by its owner */
    bool going_away;

    bool released; /* the timer thread's: its timer touches the connection no more */
    uint32_t to_ring[CHANNEL_BELLS]; /* the reading thread's own: see channel_wait.c */
    bool ring_owed;

    atomic_uint references;
    atomic_int phase; /* enum channel_phase; left once, by whoever tells `opened` */
    struct rpc_job release_job;
    struct rpc_job closed_job;
    struct rpc_job free_job;
    sem_t *freed; /* somebody waits in rpc_channel_close */

    /* of the opening */
    struct rpc_channel_config config; /* without what its pointers pointed to, but for `greeting` */
    rpc_opened *opened;
    void *opened_user;
    struct transport_dial *dial; /* the timer thread's, once it is begun */
    int64_t open_deadline_ms;
    enum fly_status given_up; /* before CHANNEL_GIVEN_UP, as is: */
    const char *given_up_text;
    uint8_t *greeting; /* config.hello */
    uint8_t *hello;    /* the server's answer; set before CHANNEL_OPEN */
    size_t hello_size;
};

/* channel.c */
void channel_jobs_init(struct rpc_channel *channel);
void channel_drop(struct rpc_channel *channel);
/* Frees the memory, and that is all. */
void channel_free(struct rpc_channel *channel);
struct transport_config channel_transport_config(const struct rpc_channel *channel);
/* Takes the transport over and begins to talk. */
void channel_greet(struct rpc_channel *channel, struct transport *transport);

/* channel_open.c */
/* Ends the opening; false: it has ended already. The first reason counts, what follows is its
 * consequence. `reply` is finished in every case. */
bool channel_refuse(struct rpc_channel *channel, struct rpc_reply *reply);
bool channel_refuse_text(struct rpc_channel *channel, enum fly_status status, const char *text);
/* The connection is gone: refused, if it was not open, with this or why it was given up. */
void channel_refuse_closed(struct rpc_channel *channel, const char *text);
/* The server's preface, and its answer to HELLO. False: to be cut. */
bool channel_say_hello(struct rpc_channel *channel);
bool channel_on_hello(struct rpc_channel *channel, const struct frame *frame);
/* On the timer thread: opens no more (for this reason, if it still did), and the connection ends.
 */
void channel_give_up(struct rpc_channel *channel, enum fly_status status, const char *text);

/* reply.c */
void reply_set(struct rpc_reply *reply, enum fly_status status, bool sent, const char *text,
               size_t text_size);
/* Fills from an END frame of a call to this method; NULL: what stands in the body is left alone. */
void reply_from_end(struct rpc_reply *reply, const struct rpc_method *method,
                    const struct frame *frame);
/* Checks and unpacks one message into the reply; INTERNAL when it does not parse. */
void reply_from_message(struct rpc_reply *reply, const struct rpc_method *method,
                        struct fly_bytes bytes, struct fly_bytes trailer);
/* Of a reply without a message. */
void reply_copy(struct rpc_reply *to, const struct rpc_reply *from);
/* Puts a copy of the entries there. */
void reply_add_head(struct rpc_reply *reply, struct fly_bytes entries);

/* channel_call.c */
/* Starts a call; `target` is taken over only on FLY_OK. `request` is NULL where the client streams.
 */
enum fly_status channel_start(struct rpc_channel *channel, const struct ending_target *target,
                              const ProtobufCMessage *request,
                              const struct rpc_call_options *options, uint32_t *id,
                              struct fly_error *error);

/* channel_slot.c */
uint32_t channel_slot_id(const struct rpc_channel *channel, const struct call_slot *slot);
/* Under the lock: one to be used, or NULL: calls_max. It is taken by channel_slot_take. */
struct call_slot *channel_slot_next(struct rpc_channel *channel);
void channel_slot_take(struct rpc_channel *channel, struct call_slot *slot);
/* Frames; false: a violation. */
bool channel_on_head(struct rpc_channel *channel, const struct frame *frame);
bool channel_on_message(struct rpc_channel *channel, const struct frame *frame);
bool channel_on_end(struct rpc_channel *channel, const struct frame *frame);
void channel_on_window(struct rpc_channel *channel, const struct frame *frame);
void channel_on_goaway(struct rpc_channel *channel, const struct frame *frame);
/* Ends everything in flight: the connection is gone. */
void channel_end_all(struct rpc_channel *channel);
/* Ends one call here and tells the server; nothing if it has ended already. */
void channel_end_call(struct rpc_channel *channel, uint32_t id, enum fly_status status,
                      const char *text);
void channel_on_timer(void *channel);
/* Wakes streams that were refused: credit of the connection, or room to write, has come. */
void channel_wake_senders(struct rpc_channel *channel);

/* channel_wait.c */
/* For the calling thread, which then waits until its call has ended. */
void channel_waiter_init(struct channel_waiter *waiter, struct rpc_reply *reply);
void channel_wait(struct channel_waiter *waiter);
void channel_wake(struct channel_waiter *waiter);
/* On the thread that reads: marks it, to be woken with the others of this read. */
void channel_wake_later(struct rpc_channel *channel, struct channel_waiter *waiter);
void channel_wake_marked(struct rpc_channel *channel);

/* stream.c. What waits for a stream is woken in two steps: found out under the connection's lock,
 * which also takes a reference; done after it. */
enum stream_wake {
    STREAM_WAKE_READER = 1 << 0,
    STREAM_WAKE_SENDER = 1 << 1,
    STREAM_WAKE_WATCHER = 1 << 2,
};
void stream_hold(struct rpc_stream *stream);
void stream_drop(struct rpc_stream *stream);
/* Gives the reference back. 0: there is none. */
void stream_wake(struct rpc_stream *stream, unsigned what);
/* Under the lock: */
enum rpc_inbox_push stream_push(struct rpc_stream *stream, struct fly_bytes body, uint32_t gap,
                                unsigned *wake);
void stream_head(struct rpc_stream *stream, struct fly_bytes entries);
/* Its call is no longer in the table; how it ended is about to be said. */
void stream_detach(struct rpc_stream *stream);
unsigned stream_credit(struct rpc_stream *stream, uint32_t bytes);
unsigned stream_writable(struct rpc_stream *stream);
/* Not under the lock: `body` is END's, where the reply's message stands there. */
void stream_end(struct rpc_stream *stream, struct rpc_reply *reply, struct fly_bytes body);

#endif
