/*
 * server_internal - what the server's files share. Nobody else includes it.
 *
 *   server.c           listening, life, the way down     server_methods.c   the table of methods
 *   server_conn.c      one connection: its timer, end    server_hello.c     who a connection is
 *   server_request.c   REQ becomes a call, dispatch      server_limits.c    what is turned away
 *   server_cancel.c    CANCEL, the end of a connection   server_tenant.c    calls of one tenant
 *   server_call.c      a call's memory and its end      server_count.c     counters
 *   server_stream.c    sending, slow readers             server_receive.c   client streams
 *   server_ask.c       getters, metadata
 *
 * References: a connection lives as long as its transport. It is referred to by itself (until it
 * is closed and the last of its calls' memory is gone), by its timer while armed, and by an
 * unanswered HELLO. A call is referred to by its slot (until END is queued or the caller is gone),
 * by the application or the pool (until it is finished), and by holders.
 *
 * Locks, each may be held while taking the next: the server's, a connection's, the pool's or a
 * stream's. A call costs two turns of its connection's lock, at admission and at its end.
 */
#ifndef FLY_RPC_SERVER_INTERNAL_H
#define FLY_RPC_SERVER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "proto/base/list.h"
#include "proto/rpc/inbox.h"
#include "proto/rpc/link.h"
#include "proto/rpc/metrics.h"
#include "proto/rpc/pool.h"
#include "proto/rpc/server.h"
#include "proto/rpc/timer.h"

enum {
    CALL_ARENA = 512,  /* most requests fit; the others have memory of their own */
    SPARE_CALLS = 16,  /* memory of calls that a busy connection keeps */
    TENANT_LISTS = 64, /* of the hash table */
    PUSHBACK_MS = 100, /* to who was turned away from a full queue: not before */
};

struct method_entry {
    uint32_t hash;
    const struct rpc_method *method;   /* NULL: an empty place of the table */
    const struct rpc_service *service; /* NULL: on_call's */
    size_t index;                      /* in the service */
    struct rpc_method_metrics *metrics;
    atomic_uint active; /* only where the method has a calls_max */
};

struct server_stats {
    atomic_uint_fast64_t accepted, refused, hellos_refused, handshakes_late, tls_failed,
        keepalives_lost, violations, oversize, malformed, unknown_methods, unauthenticated, excess,
        handshakes_excess, frames_late, slow_ended, slow_dropped, late, cancelled, orphaned, stale,
        finished_late /* by the application, when the connection was closed */,
        unbegun_late /* by the library, then */;
};

/* Of one connection, under its lock: cheaper than what all connections share. */
struct call_counts {
    uint64_t calls;
    uint64_t begun;
    uint64_t finished;
};

struct server_tenant {
    struct fly_list node;
    uint64_t id;
    size_t connections;
    atomic_uint active; /* calls */
};

struct rpc_server {
    struct rpc_server_config config;
    struct rpc_service *services;
    struct method_entry *methods; /* open addressing by hash */
    uint32_t methods_mask;
    struct rpc_metrics *metrics;
    struct rpc_pool *pool;          /* NULL: no workers */
    struct transport_budget budget; /* of all out-buffers */
    struct transport_listener *listeners[RPC_SERVER_URLS_MAX];
    size_t listener_count;
    struct server_stats stats;
    atomic_bool draining;
    atomic_uint handshakes; /* connections whose HELLO was not accepted yet */

    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    struct fly_list connections; /* not closed yet */
    size_t connection_count;
    size_t undisposed; /* connections whose memory is still there */
    uint64_t bytes_in; /* of closed ones, as are: */
    uint64_t bytes_out;
    struct call_counts counts;
    struct fly_list tenants[TENANT_LISTS];
    bool closing;
};

enum conn_state {
    CONN_SILENT,  /* nothing, or only the preface, has come */
    CONN_ASKING,  /* HELLO is at the application; calls wait in `queue` */
    CONN_OPEN,    /* accepted */
    CONN_REFUSED, /* refused: what comes is ignored until the peer or the timer closes */
};

struct server_conn {
    struct rpc_link link; /* its lock guards all below */
    struct rpc_server *server;
    struct fly_list node; /* the server's lock */
    struct rpc_timer timer;
    int64_t patience_ms;           /* until then CONN_OPEN is reached, or a refused peer is gone */
    atomic_int_fast64_t recent_us; /* the last look at the clock */
    enum conn_state state;
    bool started; /* our preface is out */
    bool going_away;
    bool closed;
    bool shaking; /* counted in server->handshakes */
    bool peer_gone;
    void *peer;
    struct server_tenant *tenant; /* counted there; NULL: none */
    uint32_t active;              /* calls queued, pooled or at the application */
    uint32_t alive;               /* calls whose memory is there; one more until `closed` is over */
    uint64_t admitted;            /* where the last REQ that became a call ended */
    struct call_counts counts;
    struct fly_list queue;
    size_t queue_bytes;      /* unpacked; a stranger may make us keep only so much */
    struct fly_list blocked; /* streams (call_stream.node) that have something to send */
    struct fly_list spares;  /* memory of calls (rpc_call.node) */
    uint32_t spare_count;
    uint32_t slot_count;
    struct rpc_call **slots; /* a call until its END is queued; grows up to config.calls_max */
};

enum call_stage {
    CALL_QUEUED,      /* behind HELLO's answer */
    CALL_DISPATCHING, /* the handler has not returned, on another thread than the receiving one */
    CALL_POOLED,      /* waits for a worker */
    CALL_DISPATCHED,
};

struct rpc_call {
    struct server_conn *conn;
    struct method_entry *entry;
    const ProtobufCMessage *request;
    struct call_stream *stream; /* NULL: neither side streams */
    struct frame_trace trace;
    struct fly_bytes metadata; /* in the arena */
    uint8_t *trailer_memory;   /* the application's trailing entries */
    size_t trailer_size;
    int64_t deadline_ms;
    int64_t started_us;
    void *user;
    void *peer;   /* as it was at dispatch */
    void *memory; /* instead of `arena` */
    uint32_t id;
    atomic_uint references;
    atomic_bool finished;
    atomic_bool cancelled;
    struct rpc_pool_item item;
    /* under the connection's lock: */
    struct fly_list node; /* in conn->queue or conn->spares */
    size_t queue_bytes;
    enum call_stage stage;
    void (*changed)(void *user, struct rpc_call *call); /* instead of the config's callbacks */
    void *changed_user;
    bool attached;    /* in its slot */
    bool begun;       /* counted as such */
    bool tenanted;    /* counted at its tenant */
    bool cancel_owed; /* on_cancel waits for the handler to return */
    bool head_late;   /* HEAD or a message was sent */
    _Alignas(16) uint8_t arena[CALL_ARENA];
};

/* A message that waits for its reader (RPC_SLOW_DROP). */
struct kept_message {
    struct kept_message *next;
    size_t size;
    uint8_t bytes[];
};

/* How a call ends: with `message` (OK) or with a text and details. */
struct call_ending {
    enum fly_status status;
    const char *text;
    struct fly_bytes detail;
    struct fly_bytes trailer;
    const ProtobufCMessage *message;
    size_t message_size; /* packed */
    bool not_executed;
};

/* What a call has more when one of its sides streams. Under the connection's lock. */
struct call_stream {
    struct rpc_call *call;
    struct fly_list node; /* in conn->blocked */
    int64_t credit;       /* may be sent */
    bool refused;         /* on_writable is owed */
    uint32_t gap;         /* messages dropped before the first that is kept */
    struct kept_message *kept;
    struct kept_message **kept_end;
    size_t kept_bytes;
    struct call_ending *end; /* follows what is kept; its text and detail in the same memory */

    struct rpc_inbox inbox;
    bool closed;            /* the inbox is: what comes is thrown away */
    bool done;              /* the client has sent all */
    bool starved;           /* on_readable is owed */
    enum fly_status unread; /* other than OK: a message did not parse */

    bool sleeping;         /* a thread waits for `turn` */
    pthread_mutex_t lock;  /* taken under the connection's */
    pthread_cond_t turned; /* CLOCK_MONOTONIC */
    uint32_t turn;         /* under both locks; read under either */
};

static inline void stat_add(atomic_uint_fast64_t *counter)
{
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* server_methods.c */
enum fly_status server_methods_make(struct rpc_server *server, struct fly_error *error);
struct method_entry *server_methods_find(const struct rpc_server *server, uint32_t hash);

/* server_conn.c */
void server_conn_accept(void *server, struct transport *transport);
/* Under the lock: an armed timer refers to the connection. */
void server_conn_arm(struct server_conn *conn, int64_t due_ms);
/* Under the lock: no new calls. Flush afterwards. */
void server_conn_go_away(struct server_conn *conn);
/* Under the lock: the peer to give to on_peer_gone after unlocking, or NULL. */
void *server_conn_peer_ended(struct server_conn *conn);
void server_conn_tell_peer_gone(struct server_conn *conn, void *peer);
/* Under the lock: a call's memory (or the end of `closed`) is gone. True: then the link is to be
 * dropped, after unlocking; the connection is nobody's from there on. */
bool server_conn_release(struct server_conn *conn);

/* server_hello.c */
bool server_hello_take(struct server_conn *conn, const struct frame *frame);
/* Under the lock: it is no longer one of the handshakes. */
void server_hello_over(struct server_conn *conn);

/* server_tenant.c; not under a connection's lock */
struct server_tenant *server_tenant_join(struct rpc_server *server, uint64_t id);
void server_tenant_leave(struct rpc_server *server, struct server_tenant *tenant);
/* For one call; false: at its limit, and not counted. */
bool server_tenant_begin(struct rpc_server *server, struct server_tenant *tenant);
void server_tenant_end(struct server_tenant *tenant);

/* server_limits.c: FLY_OK, or how the call is turned away (and counted). */
/* What is wrong with the request itself. `request` was decoded. */
enum fly_status server_limits_request(struct rpc_server *server, const struct method_entry *entry,
                                      const struct frame *frame,
                                      const struct frame_request *request, struct fly_error *error);
/* Under the lock; not OK: nothing is counted. */
enum fly_status server_limits_enter(struct server_conn *conn, struct method_entry *entry,
                                    uint32_t slot, struct fly_error *error);
/* Takes back what was counted; no tenant: NULL. */
void server_limits_leave(struct method_entry *entry, struct server_tenant *tenant);

/* server_call.c */
/* Under the lock: memory for a call, zeroed but for its arena; NULL: none. It is alive from here
 * on. */
struct rpc_call *server_call_new(struct server_conn *conn);
/* Under the lock: out of its slot; the slot's reference is now the caller's. */
void server_call_detach(struct rpc_call *call);
/* Under the lock: no longer one of the active ones. `finished`: by the application. */
void server_call_leave(struct rpc_call *call, bool finished);
/* Under the lock: queues END. Flush afterwards. */
void server_call_put_end(struct server_conn *conn, uint32_t id, const struct call_ending *end);
/* The end of every call that was admitted. Gives back the application's reference. */
void server_call_finish(struct rpc_call *call, const struct call_ending *end, bool by_application);
/* Into its metrics. */
void server_call_ended(struct rpc_call *call, enum fly_status status, int64_t now_us);
/* Not under the lock, and held by the caller. */
void server_call_tell_cancelled(struct rpc_call *call);
void server_call_tell_writable(struct rpc_call *call);
void server_call_tell_readable(struct rpc_call *call);

/* server_request.c */
bool server_request_take(struct server_conn *conn, const struct frame *frame);
/* Dispatches a queued call, now that the connection is accepted. */
void server_request_release(struct rpc_call *call);
void server_request_run(struct rpc_pool_item *item);
void server_request_late(struct rpc_pool_item *item);
/* Under the lock: the call of this id, or NULL. */
struct rpc_call *server_request_find(struct server_conn *conn, uint32_t id);

/* server_cancel.c */
void server_cancel_take(struct server_conn *conn, const struct frame *frame);
/* The connection is gone (closed is set): its calls are cancelled, queued ones forgotten. */
void server_cancel_all(struct server_conn *conn);

/* server_stream.c */
struct call_stream *server_stream_make(struct rpc_call *call);
void server_stream_free(struct call_stream *stream);
void server_stream_window(struct server_conn *conn, const struct frame *frame);
/* The connection can send again. */
void server_stream_writable_all(struct server_conn *conn);
/* Under the lock: the call was detached. */
void server_stream_detached(struct call_stream *stream);
/* Under the lock: whoever waits looks again. */
void server_stream_turn(struct call_stream *stream);
/* Under the lock: remembers an END that must follow what is kept. False: nothing is. */
bool server_stream_owe_end(struct call_stream *stream, const struct call_ending *end);
/* Waits until the turn is another one, or the time is up (CLOCK_BOOTTIME ms; INT64_MAX: never). */
void server_stream_wait(struct call_stream *stream, uint32_t turn, int64_t until_ms);
/* When a wait of timeout_ms (negative: for ever) for this call ends. */
int64_t server_stream_until(const struct rpc_call *call, int64_t timeout_ms);

/* server_receive.c */
bool server_receive_message(struct server_conn *conn, const struct frame *frame);
bool server_receive_done(struct server_conn *conn, const struct frame *frame);
/* Under the lock: nobody will take what waits. Flush afterwards. */
void server_receive_close(struct call_stream *stream);

/* server_count.c */
/* Under both locks: what the connection counted is the server's. */
void server_count_fold(struct server_conn *conn);

#endif
