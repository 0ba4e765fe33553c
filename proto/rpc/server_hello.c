/*
 * server_hello - who a connection is: HELLO asked, put off, accepted or refused, exactly once.
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

void server_hello_over(struct server_conn *conn)
{
    if (conn->shaking) {
        conn->shaking = false;
        (void)atomic_fetch_sub_explicit(&conn->server->handshakes, 1, memory_order_relaxed);
    }
}

bool server_hello_take(struct server_conn *conn, const struct frame *frame)
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

void rpc_hello_set_tenant(struct rpc_hello *hello, uint64_t tenant)
{
    struct server_conn *conn = hello->conn;

    FLY_CHECK(conn->tenant == NULL && tenant != 0);
    struct server_tenant *joined = server_tenant_join(conn->server, tenant);
    if (joined == NULL) {
        transport_close(conn->link.transport); /* rather than a connection without its limit */
        return;
    }
    rpc_link_lock(&conn->link);
    conn->tenant = joined;
    rpc_link_unlock(&conn->link);
}

/* Under the lock, which it gives up in between: what waited goes out in its order. What arrives
 * meanwhile still waits behind it, as the state says ASKING until the queue is empty. */
static void release_queue(struct server_conn *conn)
{
    while (!fly_list_empty(&conn->queue)) {
        struct rpc_call *call = FLY_CONTAINER(conn->queue.next, struct rpc_call, node);
        fly_list_drop(&call->node);
        conn->queue_bytes -= call->queue_bytes;
        call->stage = CALL_DISPATCHING;
        call->peer = conn->peer;
        rpc_call_hold(call);
        rpc_link_unlock(&conn->link);
        server_request_release(call);
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
    server_hello_over(conn);
    server_conn_arm(conn, fly_clock_boot_ms() + conn->server->config.keepalive_ms);
    void *gone = server_conn_peer_ended(conn);
    rpc_link_unlock(&conn->link);
    transport_flush(conn->link.transport);
    rpc_batch_end();
    server_conn_tell_peer_gone(conn, gone);
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
    server_conn_arm(conn, conn->patience_ms);
    rpc_link_unlock(&conn->link);
    transport_flush(conn->link.transport);
    rpc_link_drop(&conn->link);
    free(hello);
}
