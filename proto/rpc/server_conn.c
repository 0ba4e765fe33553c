/*
 * server_conn - one connection at the server: preface, HELLO, its timer, its end.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server_internal.h"

enum { REFUSED_LINGER_MS = 1000 };

struct rpc_hello {
    struct server_conn *conn;
    size_t size;
    uint8_t bytes[];
};

static const struct fly_bytes nothing;

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

static void tell_peer_gone(struct server_conn *conn, void *peer)
{
    if (peer != NULL && conn->server->config.on_peer_gone != NULL) {
        conn->server->config.on_peer_gone(conn->server->config.user, peer);
    }
}

/* Under the lock: an armed timer refers to the connection. */
static void conn_arm(struct server_conn *conn, int64_t due_ms)
{
    if (!conn->closed && rpc_timer_arm(&conn->timer, due_ms)) {
        rpc_link_hold(&conn->link);
    }
}

static void on_timer(void *user)
{
    struct server_conn *conn = user;
    struct rpc_server *server = conn->server;
    int64_t now_ms = fly_clock_boot_ms();
    int64_t next_ms = 0;

    rpc_link_lock(&conn->link);
    bool waiting = conn->state != CONN_OPEN;
    bool refused = conn->state == CONN_REFUSED;
    bool closed = conn->closed;
    rpc_link_unlock(&conn->link);
    if (waiting) {
        next_ms = now_ms < conn->patience_ms ? conn->patience_ms : 0;
    } else {
        next_ms = rpc_link_tick(&conn->link, now_ms, server->config.keepalive_ms);
    }
    if (next_ms == 0 && !closed) {
        if (!refused) {
            stat_add(waiting ? &server->stats.handshakes_late : &server->stats.keepalives_lost);
        }
        transport_close(conn->link.transport);
    } else if (!closed) {
        rpc_link_lock(&conn->link);
        conn_arm(conn, next_ms);
        rpc_link_unlock(&conn->link);
    }
    rpc_link_drop(&conn->link);
}

/* ---- HELLO ---- */

static bool take_hello(struct server_conn *conn, const struct frame *frame)
{
    struct rpc_server *server = conn->server;
    struct rpc_hello *hello = NULL;

    rpc_link_lock(&conn->link);
    bool first = conn->state == CONN_SILENT;
    conn->state = first ? CONN_ASKING : conn->state;
    rpc_link_unlock(&conn->link);
    if (first) {
        hello = malloc(sizeof *hello + frame->body.size);
    }
    if (hello == NULL) {
        return false;
    }
    hello->conn = conn;
    hello->size = frame->body.size;
    if (hello->size > 0) {
        memcpy(hello->bytes, frame->body.data, hello->size);
    }
    rpc_link_hold(&conn->link);
    if (server->config.on_hello != NULL) {
        server->config.on_hello(server->config.user, hello);
    } else {
        rpc_hello_accept(hello, nothing, NULL);
    }
    return true;
}

struct fly_bytes rpc_hello_bytes(const struct rpc_hello *hello)
{
    return (struct fly_bytes){hello->bytes, hello->size};
}

const char *rpc_hello_remote(const struct rpc_hello *hello)
{
    return transport_remote(hello->conn->link.transport);
}

const uint8_t *rpc_hello_client_nonce(const struct rpc_hello *hello)
{
    return hello->conn->link.theirs.nonce;
}

const uint8_t *rpc_hello_server_nonce(const struct rpc_hello *hello)
{
    return hello->conn->link.ours.nonce;
}

/* Under the lock, which it gives up in between: what waited goes out in its order. What arrives
 * meanwhile still waits behind it, as the state says ASKING until the queue is empty. */
static void release_queue(struct server_conn *conn)
{
    while (!fly_list_empty(&conn->queue)) {
        struct rpc_call *call = FLY_CONTAINER(conn->queue.next, struct rpc_call, node);
        fly_list_drop(&call->node);
        conn->queue_bytes -= call->arena_size;
        call->stage = CALL_DISPATCHING;
        call->peer = conn->peer;
        rpc_call_hold(call);
        rpc_link_unlock(&conn->link);
        server_call_release(call);
        rpc_call_drop(call);
        rpc_link_lock(&conn->link);
    }
}

void rpc_hello_accept(struct rpc_hello *hello, struct fly_bytes reply, void *peer)
{
    struct server_conn *conn = hello->conn;
    struct frame_header header = {.type = FRAME_HELLO};

    rpc_batch_begin();
    rpc_link_lock(&conn->link);
    conn->peer = peer;
    enum rpc_put put = rpc_link_put(&conn->link, header, nothing, reply, true);
    FLY_CHECK(put != RPC_PUT_LARGE); /* every client takes FRAME_SIZE_MIN */
    release_queue(conn);
    conn->state = CONN_OPEN;
    conn_arm(conn, fly_clock_boot_ms() + conn->server->config.keepalive_ms);
    void *gone = server_conn_peer_ended(conn);
    rpc_link_unlock(&conn->link);
    transport_flush(conn->link.transport);
    rpc_batch_end();
    tell_peer_gone(conn, gone);
    rpc_link_drop(&conn->link);
    free(hello);
}

void rpc_hello_refuse(struct rpc_hello *hello, enum fly_status status, const char *text,
                      struct fly_bytes detail)
{
    struct server_conn *conn = hello->conn;
    struct frame_header header = {
        .type = FRAME_END, .flags = FRAME_FLAG_NOT_EXECUTED, .arg = (uint32_t)status};
    struct fly_bytes words = {(const uint8_t *)text, strnlen(text, FRAME_TEXT_MAX)};

    FLY_CHECK(status != FLY_OK);
    detail = detail.size <= FRAME_DETAIL_MAX ? detail : nothing;
    stat_add(&conn->server->stats.hellos_refused);
    rpc_link_lock(&conn->link);
    conn->state = CONN_REFUSED;
    (void)rpc_link_put(&conn->link, header, words, detail, true);
    /* not closed at once: bytes of the peer that nobody read would turn the close into a reset,
     * and a reset may overtake these words */
    conn->patience_ms = fly_clock_boot_ms() + REFUSED_LINGER_MS;
    conn_arm(conn, conn->patience_ms);
    rpc_link_unlock(&conn->link);
    transport_flush(conn->link.transport);
    rpc_link_drop(&conn->link);
    free(hello);
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
        return take_hello(conn, frame);
    case FRAME_REQ:
        return server_call_request(conn, frame);
    case FRAME_CANCEL:
        server_call_cancel(conn, frame);
        return true;
    case FRAME_WINDOW:
        server_call_window(conn, frame);
        return true;
    case FRAME_VOID:
    case FRAME_MSG:
    case FRAME_END:
    case FRAME_PING:
    case FRAME_PONG:
    case FRAME_GOAWAY:
    case FRAME_HEAD:
    case FRAME_DONE:
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
    fly_list_drop(&conn->node);
    server->connection_count--;
    server->bytes_in += transport_bytes_in(link->transport);
    server->bytes_out += transport_bytes_out(link->transport);
    (void)pthread_mutex_unlock(&server->lock);
    rpc_link_lock(link);
    conn->closed = true;
    rpc_link_unlock(link);
    server_call_orphan_all(conn);
    rpc_link_lock(link);
    void *gone = server_conn_peer_ended(conn);
    rpc_link_unlock(link);
    tell_peer_gone(conn, gone);
    if (rpc_timer_cancel(&conn->timer)) {
        rpc_link_drop(link);
    }
    rpc_link_drop(link); /* its own: from now on only calls and HELLO keep it */
}

static void on_drained(struct rpc_link *link)
{
    server_call_writable_all(conn_of(link));
}

static void on_credited(struct rpc_link *link)
{
    server_call_writable_all(conn_of(link));
}

static void on_disposed(struct rpc_link *link)
{
    struct server_conn *conn = conn_of(link);
    struct rpc_server *server = conn->server;

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

static struct server_conn *conn_make(struct rpc_server *server, struct transport *transport)
{
    struct server_conn *conn =
        calloc(1, sizeof *conn + server->config.calls_max * sizeof conn->slots[0]);

    if (conn != NULL) {
        rpc_link_init(&conn->link, transport, server->config.frame_max, &link_events);
        conn->server = server;
        conn->patience_ms = fly_clock_boot_ms() + server->config.handshake_timeout_ms;
        rpc_timer_init(&conn->timer, on_timer, conn);
        fly_list_init(&conn->node);
        fly_list_init(&conn->queue);
    }
    return conn;
}

void server_conn_accept(void *user, struct transport *transport)
{
    struct rpc_server *server = user;
    struct server_conn *conn = NULL;

    (void)pthread_mutex_lock(&server->lock);
    bool full = server->connection_count >= server->config.connections_max;
    bool closing = server->closing || atomic_load(&server->draining);
    if (!full && !closing) {
        conn = conn_make(server, transport);
    }
    if (conn != NULL) {
        fly_list_append(&server->connections, &conn->node);
        server->connection_count++;
        server->undisposed++;
    }
    (void)pthread_mutex_unlock(&server->lock);
    if (conn == NULL) {
        stat_add(&server->stats.refused);
        transport_drop(transport);
        return;
    }
    struct frame_preface ours = {.version = FRAME_VERSION,
                                 .frame_max = server->config.frame_max,
                                 .calls_max = server->config.calls_max,
                                 .window = server->config.stream_window,
                                 .conn_window = server->config.conn_window};
    stat_add(&server->stats.accepted);
    rpc_link_hold(&conn->link); /* it may be closed before this is done with it */
    rpc_link_start(&conn->link, ours);
    rpc_link_lock(&conn->link);
    conn_arm(conn, conn->patience_ms);
    rpc_link_unlock(&conn->link);
    rpc_link_drop(&conn->link);
}
