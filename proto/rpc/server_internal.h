/*
 * server_internal - what server.c (listening, life), server_conn.c (one connection: HELLO, timer,
 * end) and server_call.c (dispatch, replies, streams) share. Nobody else includes it.
 *
 * References: a connection lives as long as its transport. It is referred to by itself until it
 * is closed, by its timer while armed, by an unanswered HELLO, and by every call. A call is
 * referred to by its slot (until END is queued or the caller is gone), by the application (until
 * it finishes), and by holders.
 *
 * Locks: the server's lock may be held while taking a connection's, never the other way round.
 */
#ifndef FLY_RPC_SERVER_INTERNAL_H
#define FLY_RPC_SERVER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "proto/base/list.h"
#include "proto/rpc/link.h"
#include "proto/rpc/server.h"
#include "proto/rpc/timer.h"

struct method_entry {
    uint32_t hash;
    const struct rpc_method *method;
};

struct server_stats {
    atomic_uint_fast64_t accepted, refused, hellos_refused, handshakes_late, tls_failed,
        keepalives_lost, violations, oversize, calls, calls_active, calls_finished, malformed,
        unknown_methods, unauthenticated, excess, late, cancelled, orphaned, stale;
};

struct rpc_server {
    struct rpc_server_config config;
    struct method_entry *methods; /* by hash */
    struct transport_listener *listeners[RPC_SERVER_URLS_MAX];
    size_t listener_count;
    struct server_stats stats;
    atomic_bool draining;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    struct fly_list connections; /* not closed yet */
    size_t connection_count;
    size_t undisposed; /* connections whose memory is still there */
    uint64_t bytes_in; /* of closed ones */
    uint64_t bytes_out;
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
    struct fly_list node;
    struct rpc_timer timer;
    int64_t patience_ms; /* until then CONN_OPEN is reached, or a refused peer is gone */
    enum conn_state state;
    bool closed;
    void *peer;
    bool peer_gone;
    uint32_t active; /* calls queued or at the application */
    struct fly_list queue;
    size_t queue_bytes;       /* unpacked; a stranger may make us keep only so much */
    struct rpc_call *slots[]; /* config.calls_max; a call until its END is queued */
};

enum call_stage {
    CALL_QUEUED,
    CALL_DISPATCHING, /* on_call has not returned, on another thread than the receiving one */
    CALL_DISPATCHED,
};

struct rpc_call {
    struct server_conn *conn;
    const struct rpc_method *method;
    const ProtobufCMessage *request;
    struct frame_trace trace;
    int64_t deadline_ms;
    void *user;
    void *peer; /* as it was at dispatch */
    uint32_t id;
    size_t arena_size;
    atomic_uint references;
    atomic_bool finished;
    atomic_bool cancelled;
    /* under the connection's lock: */
    struct fly_list node; /* in conn->queue */
    enum call_stage stage;
    bool attached;      /* in its slot */
    bool cancel_owed;   /* on_cancel waits for on_call to return */
    bool write_refused; /* on_writable is owed */
    int64_t credit;
    _Alignas(16) uint8_t arena[];
};

static inline void stat_add(atomic_uint_fast64_t *counter)
{
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* server_conn.c */
void server_conn_accept(void *server, struct transport *transport);
/* Under the lock: the peer to give to on_peer_gone after unlocking, or NULL. */
void *server_conn_peer_ended(struct server_conn *conn);

/* How a call ends: with `message` (OK) or with a text and details. */
struct call_ending {
    enum fly_status status;
    const char *text;
    struct fly_bytes detail;
    const ProtobufCMessage *message;
    bool not_executed;
};

/* server_call.c */
/* Under the lock: out of its slot; the slot's reference is now the caller's. */
void server_call_detach(struct rpc_call *call);
/* Under the lock: queues END. Flush afterwards. */
void server_call_put_end(struct server_conn *conn, uint32_t id, const struct call_ending *end);
/* The end of every call that was admitted. Gives back the application's reference. */
void server_call_finish(struct rpc_call *call, const struct call_ending *end);

/* server_request.c */
bool server_call_request(struct server_conn *conn, const struct frame *frame);
void server_call_cancel(struct server_conn *conn, const struct frame *frame);
void server_call_window(struct server_conn *conn, const struct frame *frame);
/* Dispatches a queued call, now that the connection is accepted. */
void server_call_release(struct rpc_call *call);
/* The connection is gone (closed is set): its calls are cancelled, queued ones forgotten. */
void server_call_orphan_all(struct server_conn *conn);
void server_call_writable_all(struct server_conn *conn);

#endif
