/*
 * client_internal - what the files of the managed client share. Nobody else includes it.
 *
 *     client.c          its life, state, counters
 *     client_dial.c     targets: when each url is dialled, and what comes of it
 *     client_conn.c     connections: picked, held, retired
 *     client_record.c   calls' records, and requests kept to be sent again
 *     client_call.c     the public calls; the fast path
 *     client_attempt.c  one attempt after the other; how a call ends
 *     client_hedge.c    attempts side by side
 *     client_wait.c     calls that wait: for a connection, for a backoff; the client's timer
 *     client_stream.c   streams
 *
 * The fast path. A call over a connection that is open touches the client in four places: its
 * count, the word of the connection (picked and held by one exchange, let go of by another), and,
 * when it is not waited for, the list of free records. No lock and no allocation. All else — no
 * connection, a failure that may be made good, hedging, cancelling — is done under the one lock.
 *
 * Connections stand in memory that is used again but not freed before the client, so that a thread
 * may look at one that has just gone: its word says whether it is open. A call holds its connection
 * from the pick until its last reference is dropped; a connection that is no longer open (the
 * server goes away, it was lost) is released when nobody holds it.
 *
 * A record is owned: by the attempt that runs, by the waiting list, by the heap of due times, or by
 * the thread that moves it between these; `step` says which, and changes under the lock. Its word
 * counts pins: the call's own, and one for each thread or hedged attempt that still looks at it.
 * With the last pin it is free again.
 *
 * The lock is never held while a call is told, started or cancelled. Under it: only leaf locks (the
 * timer's) and the link's, whose holders never come back here.
 */
#ifndef FLY_RPC_CLIENT_INTERNAL_H
#define FLY_RPC_CLIENT_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "proto/base/list.h"
#include "proto/base/rng.h"
#include "proto/rpc/client.h"
#include "proto/rpc/metrics.h"
#include "proto/rpc/timer.h"
#include "proto/wire/retry.h"

enum {
    CLIENT_SMALL_MAX = 192,   /* a request of so many bytes is kept without an allocation */
    CLIENT_CHUNK = 64,        /* records made at a time */
    CLIENT_CHUNKS_MAX = 1024, /* calls at once: 65,536, that wait or were started */
    CLIENT_STAGGER_MS = 250,  /* pick-first: the next url is tried beside a slow one */
    CLIENT_FULL_POLL_MS = 20, /* looks again whether a full connection has room */
    CLIENT_STREAM_POLL_MS =
        1000, /* looks again whether a retired connection's streams are closed */
};

/* ---- connections ---- */

/* A connection's word: holds, whether it may be picked, and how many attempts were begun on it. */
#define CONN_HOLD UINT64_C(1)
#define CONN_HOLDS ((UINT64_C(1) << 24) - 1)
#define CONN_OPEN (UINT64_C(1) << 24)
#define CONN_BEGUN_SHIFT 25

struct client_conn {
    atomic_uint_fast64_t word;
    struct rpc_channel *channel; /* set before it is open, or told of */
    struct rpc_client *client;
    uint32_t target;

    /* the lock's: */
    struct client_conn *next; /* of all of the client's */
    bool used;                /* not free */
    bool dialled;             /* rpc_channel_start_open has returned */
    bool unwanted;            /* another url answered first */
    bool released;
    bool told;   /* its last: refused, or closed */
    bool stream; /* streams were opened on it */
    int64_t opened_ms;
};

/* How often a url, or pick-first's whole list, is dialled. */
struct client_pace {
    uint32_t failures; /* since a connection that was good */
    bool failed;       /* the last dial failed: calls do not wait for the next */
    bool spent;        /* one dial at once after a lost connection was made */
    int64_t dialled_ms;
};

enum target_step { TARGET_IDLE, TARGET_DUE, TARGET_DIALLING, TARGET_UP };

struct client_target {
    char *url;
    _Atomic(struct client_conn *) conn; /* open, or just gone; or NULL */
    /* the lock's: */
    enum target_step step;
    struct client_conn *dialling;
    int64_t due_ms;
    struct client_pace pace;
};

/* ---- calls ---- */

enum call_step {
    CALL_MOVING,  /* a thread's, which looks at `cancelled` under the lock before it lets go */
    CALL_ATTEMPT, /* an attempt runs on `conn` */
    CALL_WAITING, /* for a connection */
    CALL_BACKOFF, /* in the heap */
    CALL_HEDGING, /* see client_hedge.c */
};

/* A thread that waits for a call. */
struct client_waiter {
    sem_t ended;
    struct rpc_reply *reply;
    struct client_conn *conn; /* wanted instead of a call: held, if `reply` is OK */
};

struct client_call {
    atomic_uint_fast64_t word; /* generation << 32 | pins */
    _Atomic uint32_t free_next;
    uint32_t index;
    struct rpc_client *client;
    const struct rpc_method *method;
    struct rpc_method_metrics *counts;
    rpc_done *done;
    void *user;
    struct client_waiter *waiter; /* woken with the last pin */
    int64_t started_us;
    int64_t deadline_ms; /* 0: none */
    struct frame_trace trace;
    bool wait_for_ready;
    bool only_conn; /* the waiter wants a connection, not a call */
    bool hedged;
    atomic_bool cancelled;

    /* The request, so long as it can be sent: one that is waited for is the caller's own; of the
     * others a packed copy, if any. */
    const ProtobufCMessage *request;
    const struct rpc_call *parent; /* only beside `request` */
    bool kept;
    uint8_t *kept_bytes;   /* `small`, or the heap's */
    uint32_t request_size; /* packed; the metadata's entries follow it */
    uint32_t metadata_size;
    const uint8_t *metadata;

    /* the lock's, but for the first attempt before anybody knows of the call: */
    enum call_step step;
    struct client_conn *conn;
    uint32_t channel_id; /* 0: being started */
    uint32_t serial;     /* of the attempt */
    bool slow;           /* counted in client->slow */
    bool sent;           /* an earlier attempt may have been executed */
    uint32_t avoid;      /* bit: the target of the attempt before */
    struct retry_state retry;
    struct client_hedge *hedge;
    struct fly_list node; /* waiting */
    int64_t due_ms;
    size_t place; /* in the heap, 1-based; 0: not there */

    uint8_t small[CLIENT_SMALL_MAX];
};

struct rpc_client {
    atomic_uint_fast64_t calls;
    enum rpc_balance balance;
    uint32_t target_count;
    struct client_target *targets;
    _Atomic(struct client_conn *) first; /* pick-first's, like a target's */
    struct rpc_metrics *metrics;
    atomic_bool throttle_low;        /* a success would give tokens back */
    atomic_uint waiting_count;       /* changes under the lock */
    atomic_uint_fast64_t free_calls; /* tag << 32 | index + 1 */
    _Atomic(struct client_call *) chunks[CLIENT_CHUNKS_MAX];
    atomic_uint_fast64_t kept_total;

    struct rpc_client_config config; /* filled in; its pointers are ours */
    char *texts[5];                  /* HELLO, TLS */
    struct rpc_tls tls;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    struct rpc_timer timer;
    struct fly_rng rng;
    struct rpc_job dial_job;
    bool dial_posted; /* and not done */
    bool asked;       /* the first call has come */
    bool closed;
    uint32_t ready;          /* targets that are up */
    uint32_t cursor;         /* pick-first: urls up to this one were tried in this round */
    struct client_pace pace; /* pick-first's */
    struct client_conn *conns;
    struct fly_error why; /* the last dial failed */
    uint32_t chunk_count;
    uint32_t slow; /* calls that were ever under the lock, and have not ended */
    uint32_t busy; /* threads that use a channel outside the lock, beside the fast path's */
    struct retry_throttle throttle;
    struct fly_list waiting;
    uint32_t refused_full; /* attempts that found no room */
    bool full;             /* some of the waiting wait for room */
    struct client_call **heap;
    size_t heap_count;
    uint64_t begun_before;               /* attempts on connections that are gone */
    struct rpc_client_counters counters; /* those that are not derived */
    uint64_t unbegun;                    /* picks that came to nothing */
};

/* client.c */
void client_lock(struct rpc_client *client);
void client_unlock(struct rpc_client *client);
/* Under the lock. */
enum rpc_client_state client_state(const struct rpc_client *client);
/* Under the lock: the timer comes at this time at the latest. */
void client_arm(struct rpc_client *client, int64_t due_ms);

/* client_conn.c */
/* An open connection, held so many times, or NULL. Bit n of `avoid`: rather not target n. Any
 * thread, no lock. */
struct client_conn *client_conn_pick(struct rpc_client *client, uint32_t avoid, uint32_t holds);
/* One more hold on a held one. */
void client_conn_hold(struct client_conn *conn);
/* Not under the lock. */
void client_conn_drop(struct client_conn *conn);
/* Under the lock: */
struct client_conn *client_conn_make(struct rpc_client *client);
void client_conn_open(struct client_conn *conn);
/* Not picked any more; true when it was open. */
bool client_conn_shut(struct client_conn *conn);
void client_conn_release(struct client_conn *conn);
/* Something about it has changed: released or free again, if it is time. */
void client_conn_settle(struct client_conn *conn);
uint64_t client_conns_begun(struct rpc_client *client);

/* client_dial.c */
/* Under the lock: somebody wants connections. */
void client_connect(struct rpc_client *client);
/* Under the lock: lost, or the server goes away; dials again. */
void client_conn_retire(struct client_conn *conn);
/* Under the lock: has what is due dialled. */
void client_dial_due(struct rpc_client *client, int64_t now_ms);
void client_dial_run(struct rpc_job *job);
/* When next; INT64_MAX: never. */
int64_t client_dial_next(const struct rpc_client *client);

/* client_record.c */
/* A record with one pin, `step` CALL_MOVING; NULL: there are too many. Not under the lock. */
struct client_call *client_call_make(struct rpc_client *client, const struct rpc_method *method,
                                     const struct rpc_call_options *options, int64_t started_us);
uint64_t client_call_id(const struct client_call *call);
/* Pins the call with this id, or NULL. */
struct client_call *client_call_find(struct rpc_client *client, uint64_t id);
void client_call_pin(struct client_call *call);
/* The last one frees the record, lets go of its connection and wakes its waiter. Not under the
 * lock. */
void client_call_drop(struct client_call *call);
/* Counts the request, or the reply's message. */
void client_count_message(struct rpc_method_metrics *counts, bool in,
                          const ProtobufCMessage *message);
/* Packs a copy of the request and the metadata, if it is small, or within `max`. RESOURCE_EXHAUSTED
 * and no copy otherwise. call->request_size is set in both cases. */
enum fly_status client_call_keep(struct client_call *call, const ProtobufCMessage *request,
                                 struct fly_bytes metadata, size_t max);
/* Sends the request over a connection; `previous` attempts were made before. As
 * rpc_channel_start. */
enum fly_status client_call_send(struct client_call *call, struct client_conn *conn,
                                 uint32_t previous, rpc_done *done, void *user, uint32_t *id);
void client_records_free(struct rpc_client *client);

/* client_attempt.c */
/* Ends a call that this thread owns: tells it, and drops the call's own pin. */
void client_call_end(struct client_call *call, struct rpc_reply *reply);
void client_call_end_text(struct client_call *call, enum fly_status status, const char *text);
/* Makes the next attempt, or waits for a connection, or ends it. Owns the call. */
void client_call_go(struct client_call *call);
/* An attempt came to this. Owns the call; the reply is finished in every case. True: it is to go on
 * at once (client_call_go). */
bool client_call_attempted(struct client_call *call, struct rpc_reply *reply,
                           enum retry_reach reach);
/* It cannot be made good: not well, but nothing to do with connections or a policy. */
bool client_answered(const struct rpc_method *method, const struct rpc_reply *reply);
/* Why rpc_channel_start refused. */
const char *client_refusal_text(enum fly_status status);
/* Under the lock: +1 or -1. A thread begins to use a channel outside the lock: close waits
 * for it before it releases. */
void client_busy(struct rpc_client *client, int change);
/* `done` of an attempt; user: the call. */
void client_on_attempt(void *user, struct rpc_reply *reply);
/* An attempt succeeded: to the throttle. */
void client_succeeded(struct rpc_client *client);
/* Under the lock: after the throttle was touched. */
void client_throttled(struct rpc_client *client, struct client_call *call);
/* Under the lock: counts a call as one that close has to wait for. */
void client_call_slow(struct client_call *call);
struct retry_outcome client_outcome(const struct client_call *call, const struct rpc_reply *reply,
                                    enum retry_reach reach);
/* Under the lock: may it go on? CANCELLED: closed, or cancelled; DEADLINE_EXCEEDED. */
enum fly_status client_may_go(const struct client_call *call, const char **why);
/* After an UNAVAILABLE: is this connection still good for others? Not under the lock. */
void client_conn_check(struct client_conn *conn);

/* client_hedge.c */
/* client_call_go for hedged calls. */
void client_hedge_go(struct client_call *call);
/* Under the lock, which it gives up: its time has come. Pinned by the caller. */
void client_hedge_due(struct client_call *call);
/* Under the lock: true when it is now this thread's to end. `idle`: only if no attempt runs. */
bool client_hedge_take(struct client_call *call, bool idle);
/* After client_hedge_take: tells it CANCELLED, and cancels what runs. */
void client_hedge_cancel(struct client_call *call);
void client_hedge_free(struct client_call *call);

/* client_wait.c; under the lock: */
/* Waits for a connection: FLY_OK. Otherwise why not; the call is still the caller's. `full`: for
 * room on one. */
enum fly_status client_wait(struct client_call *call, bool full, struct fly_error *error);
/* Waits for a time. */
void client_due_put(struct client_call *call, int64_t due_ms);
void client_due_drop(struct client_call *call);
/* Takes a call out of whatever it waits in. */
void client_wait_take(struct client_call *call);
/* Not under the lock: */
/* A connection is open: all that wait are made; or some have room again: one is. */
void client_wait_wake(struct rpc_client *client);
void client_wait_pump(struct rpc_client *client);
/* No connection can be had: ends those who do not wait for that. */
void client_wait_fail(struct rpc_client *client);
/* Ends all that wait: closed. */
void client_wait_end(struct rpc_client *client);
void client_on_timer(void *client);

/* client_stream.c; under the lock */
bool client_conn_streams(const struct client_conn *conn);

#endif
