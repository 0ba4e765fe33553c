/*
 * server_conn - one connection at the server: what arrives, its timer, its end.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server_internal.h"

static struct server_conn *conn_of(struct rpc_link *link)
{
    return FLY_CONTAINER(link, struct server_conn, link);
}

void *server_conn_peer_ended(struct server_conn *conn)
{
    bool ended = conn->closed && conn->active == 0 && !conn->peer_gone;

    conn->peer_gone = conn->peer_gone || (ended && conn->peer != NULL);
    return ended ? conn->peer : NULL;
}

void server_conn_tell_peer_gone(struct server_conn *conn, void *peer)
{
    if (peer != NULL && conn->server->config.on_peer_gone != NULL) {
        conn->server->config.on_peer_gone(conn->server->config.user, peer);
    }
}

bool server_conn_release(struct server_conn *conn)
{
    return --conn->alive == 0;
}

/* Under the lock: memory for calls that did not come. */
static void drop_spares(struct server_conn *conn)
{
    while (!fly_list_empty(&conn->spares)) {
        struct rpc_call *call = FLY_CONTAINER(conn->spares.next, struct rpc_call, node);
        fly_list_drop(&call->node);
        free(call);
    }
    conn->spare_count = 0;
}

void server_conn_go_away(struct server_conn *conn)
{
    static const char words[] = "this node is going away";
    struct frame_header header = {.type = FRAME_GOAWAY, .arg = (uint32_t)conn->admitted};
    struct fly_bytes text = {(const uint8_t *)words, sizeof words - 1};

    conn->going_away = true;
    if (conn->started) {
        (void)rpc_link_put(&conn->link, header, text, (struct fly_bytes){0}, true);
    }
}

/* ---- the timer ---- */

void server_conn_arm(struct server_conn *conn, int64_t due_ms)
{
    if (!conn->closed && rpc_timer_arm(&conn->timer, due_ms)) {
        rpc_link_hold(&conn->link);
    }
}

/* When to look again at an accepted connection, or 0: it is to be closed, and why. */
static int64_t look_at_open(struct server_conn *conn, int64_t now_ms, atomic_uint_fast64_t **why)
{
    struct rpc_server *server = conn->server;
    int64_t next_ms = rpc_link_tick(&conn->link, now_ms, server->config.keepalive_ms);

    rpc_link_lock(&conn->link);
    int64_t began_ms = rpc_link_began_ms(&conn->link, now_ms);
    if (conn->active == 0) {
        drop_spares(conn);
    }
    rpc_link_unlock(&conn->link);
    /* nobody wakes us for a frame that begins: looking as often as one may take is often enough */
    int64_t frame_ms = (began_ms > 0 ? began_ms : now_ms) + server->config.frame_timeout_ms;
    if (next_ms == 0) {
        *why = &server->stats.keepalives_lost;
        return 0;
    }
    if (frame_ms <= now_ms) {
        *why = &server->stats.frames_late;
        return 0;
    }
    return next_ms < frame_ms ? next_ms : frame_ms;
}

static void on_timer(void *user)
{
    struct server_conn *conn = user;
    int64_t now_ms = fly_clock_boot_ms();
    atomic_uint_fast64_t *why = NULL;
    int64_t next_ms = 0;

    rpc_link_lock(&conn->link);
    bool open = conn->state == CONN_OPEN;
    bool refused = conn->state == CONN_REFUSED;
    bool closed = conn->closed;
    int64_t patience_ms = conn->patience_ms;
    rpc_link_unlock(&conn->link);
    if (open && !closed) {
        next_ms = look_at_open(conn, now_ms, &why);
    } else if (!closed) {
        next_ms = now_ms < patience_ms ? patience_ms : 0;
        why = refused ? NULL : &conn->server->stats.handshakes_late;
    }
    if (next_ms == 0 && !closed) {
        if (why != NULL) {
            stat_add(why);
        }
        transport_close(conn->link.transport);
    } else if (!closed) {
        rpc_link_lock(&conn->link);
        server_conn_arm(conn, next_ms);
        rpc_link_unlock(&conn->link);
    }
    rpc_link_drop(&conn->link);
}

/* ---- events of the link ---- */

static bool on_preface(struct rpc_link *link)
{
    (void)link;
    return true;
}

static bool on_frame(struct rpc_link *link, const struct frame *frame)
{
    struct server_conn *conn = conn_of(link);

    switch ((enum frame_type)frame->header.type) {
    case FRAME_HELLO:
        return server_hello_take(conn, frame);
    case FRAME_REQ:
        return server_request_take(conn, frame);
    case FRAME_MSG:
        return server_receive_message(conn, frame);
    case FRAME_DONE:
        return server_receive_done(conn, frame);
    case FRAME_CANCEL:
        server_cancel_take(conn, frame);
        return true;
    case FRAME_WINDOW:
        server_stream_window(conn, frame);
        return true;
    case FRAME_VOID:
    case FRAME_END:
    case FRAME_PING:
    case FRAME_PONG:
    case FRAME_GOAWAY:
    case FRAME_HEAD:
    case FRAME_TYPE_COUNT:
        break;
    }
    return false;
}

static void on_violation(struct rpc_link *link, enum frame_step why, const char *what)
{
    struct server_stats *stats = &conn_of(link)->server->stats;

    (void)what;
    stat_add(&stats->violations);
    if (why == FRAME_LARGE) {
        stat_add(&stats->oversize);
    }
}

static void on_closed(struct rpc_link *link)
{
    struct server_conn *conn = conn_of(link);
    struct rpc_server *server = conn->server;

    if (transport_tls_failure(link->transport) != NULL) {
        stat_add(&server->stats.tls_failed);
    }
    (void)pthread_mutex_lock(&server->lock);
    rpc_link_lock(link);
    conn->closed = true;
    server_hello_over(conn);
    drop_spares(conn);
    fly_list_drop(&conn->node);
    server->connection_count--;
    server_count_fold(conn);
    rpc_link_unlock(link);
    (void)pthread_mutex_unlock(&server->lock);
    server_cancel_all(conn);
    if (rpc_timer_cancel(&conn->timer)) {
        rpc_link_drop(link);
    }
    rpc_link_lock(link);
    void *gone = server_conn_peer_ended(conn);
    bool over = server_conn_release(conn);
    rpc_link_unlock(link);
    server_conn_tell_peer_gone(conn, gone);
    if (over) {
        rpc_link_drop(link); /* its own; else the last of its calls does this */
    }
}

static void on_drained(struct rpc_link *link)
{
    server_stream_writable_all(conn_of(link));
}

static void on_credited(struct rpc_link *link)
{
    server_stream_writable_all(conn_of(link));
}

static void on_disposed(struct rpc_link *link)
{
    struct server_conn *conn = conn_of(link);
    struct rpc_server *server = conn->server;

    server_tenant_leave(server, conn->tenant);
    free(conn->slots);
    free(conn);
    (void)pthread_mutex_lock(&server->lock);
    server->undisposed--;
    (void)pthread_cond_broadcast(&server->changed);
    (void)pthread_mutex_unlock(&server->lock);
}

static const struct rpc_link_events link_events = {
    .preface = on_preface,
    .frame = on_frame,
    .violation = on_violation,
    .closed = on_closed,
    .drained = on_drained,
    .credited = on_credited,
    .disposed = on_disposed,
};

/* ---- the beginning ---- */

static struct server_conn *conn_make(struct rpc_server *server, struct transport *transport)
{
    struct server_conn *conn = calloc(1, sizeof *conn);

    if (conn != NULL) {
        rpc_link_init(&conn->link, transport, server->config.frame_max, &link_events);
        conn->server = server;
        conn->patience_ms = fly_clock_boot_ms() + server->config.handshake_timeout_ms;
        conn->alive = 1;
        rpc_timer_init(&conn->timer, on_timer, conn);
        fly_list_init(&conn->node);
        fly_list_init(&conn->queue);
        fly_list_init(&conn->blocked);
        fly_list_init(&conn->spares);
    }
    return conn;
}

/* Under the server's lock: what a new connection is counted as when it is one too many, or NULL. */
static atomic_uint_fast64_t *one_too_many(struct rpc_server *server)
{
    if (server->closing || atomic_load(&server->draining) ||
        server->connection_count >= server->config.connections_max) {
        return &server->stats.refused;
    }
    if (atomic_load_explicit(&server->handshakes, memory_order_relaxed) >=
        server->config.handshakes_max) {
        return &server->stats.handshakes_excess;
    }
    return NULL;
}

static void conn_begin(struct server_conn *conn)
{
    const struct rpc_server_config *config = &conn->server->config;
    struct frame_preface ours = {.version = FRAME_VERSION,
                                 .frame_max = config->frame_max,
                                 .calls_max = config->calls_max,
                                 .window = config->stream_window,
                                 .conn_window = config->conn_window};

    rpc_link_hold(&conn->link); /* it may be closed before this is done with it */
    rpc_link_start(&conn->link, ours);
    rpc_link_lock(&conn->link);
    conn->started = true;
    if (conn->going_away) {
        server_conn_go_away(conn); /* could not be said before the preface */
    }
    server_conn_arm(conn, conn->patience_ms);
    rpc_link_unlock(&conn->link);
    transport_flush(conn->link.transport);
    rpc_link_drop(&conn->link);
}

void server_conn_accept(void *user, struct transport *transport)
{
    struct rpc_server *server = user;
    struct server_conn *conn = NULL;

    (void)pthread_mutex_lock(&server->lock);
    atomic_uint_fast64_t *excess = one_too_many(server);
    if (excess == NULL) {
        conn = conn_make(server, transport);
    }
    if (conn != NULL) {
        fly_list_append(&server->connections, &conn->node);
        server->connection_count++;
        server->undisposed++;
        conn->shaking = true;
        (void)atomic_fetch_add_explicit(&server->handshakes, 1, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&server->lock);
    if (conn == NULL) {
        stat_add(excess != NULL ? excess : &server->stats.refused);
        transport_drop(transport);
        return;
    }
    stat_add(&server->stats.accepted);
    conn_begin(conn);
}
