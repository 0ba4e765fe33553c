/*
 * server - listening, the method table, counters, and the way down.
 */
#include "proto/rpc/server.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/server_internal.h"
#include "proto/wire/validate.h"

static int by_hash(const void *a, const void *b)
{
    uint32_t x = ((const struct method_entry *)a)->hash;
    uint32_t y = ((const struct method_entry *)b)->hash;

    return x < y ? -1 : x > y;
}

static uint32_t u32_or(uint32_t value, uint32_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static void fill_limits(struct rpc_server_config *config)
{
    config->connections_max = u32_or(config->connections_max, 1024);
    config->calls_max = u32_or(config->calls_max, 256);
    config->frame_max = u32_or(config->frame_max, 1 << 20);
    config->arena_max = u32_or(config->arena_max, 4 << 20);
    config->out_max = u32_or(config->out_max, 4 << 20);
    config->stream_window = u32_or(config->stream_window, 64 << 10);
    config->conn_window = u32_or(config->conn_window, 1 << 20);
    config->handshake_timeout_ms =
        config->handshake_timeout_ms > 0 ? config->handshake_timeout_ms : 2000;
    config->keepalive_ms = config->keepalive_ms > 0 ? config->keepalive_ms : 30000;
}

static enum fly_status check_config(const struct rpc_server_config *config, struct fly_error *error)
{
    if (config->url_count == 0 || config->url_count > RPC_SERVER_URLS_MAX ||
        config->on_call == NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "an RPC server needs 1 to %d addresses",
                             RPC_SERVER_URLS_MAX);
    }
    if (config->frame_max < FRAME_SIZE_MIN || config->frame_max > FRAME_SIZE_MAX ||
        config->calls_max > 1U << FRAME_SLOT_BITS || config->stream_window > INT32_MAX ||
        config->conn_window > INT32_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "RPC limits out of range");
    }
    return rpc_methods_check(config->methods, config->method_count, error);
}

static struct rpc_server *server_make(const struct rpc_server_config *config)
{
    struct rpc_server *server = calloc(1, sizeof *server);
    size_t count = config->method_count;

    if (server == NULL) {
        return NULL;
    }
    server->config = *config;
    server->methods = calloc(count > 0 ? count : 1, sizeof *server->methods);
    if (server->methods == NULL) {
        free(server);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        server->methods[i].method = config->methods[i];
        server->methods[i].hash = rpc_method_hash(config->methods[i]->name);
    }
    qsort(server->methods, count, sizeof *server->methods, by_hash);
    (void)pthread_mutex_init(&server->lock, NULL);
    (void)pthread_cond_init(&server->changed, NULL);
    fly_list_init(&server->connections);
    atomic_init(&server->draining, false);
    return server;
}

enum fly_status rpc_server_create(struct rpc_server **out, const struct rpc_server_config *config,
                                  struct fly_error *error)
{
    struct rpc_server_config filled = *config;
    struct transport_config transport = {0};

    fill_limits(&filled);
    enum fly_status status = check_config(&filled, error);
    if (status == FLY_OK) {
        status = rpc_timer_hold(error);
    }
    if (status != FLY_OK) {
        return status;
    }
    struct rpc_server *server = server_make(&filled);
    if (server == NULL) {
        rpc_timer_release();
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    transport = rpc_link_transport_config(filled.out_max, true);
    for (size_t i = 0; i < filled.url_count && status == FLY_OK; i++) {
        status = transport_listen(&server->listeners[i], filled.urls[i], filled.tls, &transport,
                                  server_conn_accept, server, error);
        server->listener_count += status == FLY_OK ? 1 : 0;
    }
    server->config.urls = NULL;
    server->config.tls = NULL;
    if (status != FLY_OK) {
        rpc_server_destroy(server);
        return status;
    }
    *out = server;
    return FLY_OK;
}

const char *rpc_server_url(const struct rpc_server *server, size_t index)
{
    FLY_CHECK(index < server->listener_count);
    return transport_listener_url(server->listeners[index]);
}

void rpc_server_drain(struct rpc_server *server)
{
    static const char words[] = "this node is going away";
    struct frame_header header = {.type = FRAME_GOAWAY};
    struct fly_bytes text = {(const uint8_t *)words, sizeof words - 1};

    if (atomic_exchange(&server->draining, true)) {
        return;
    }
    for (size_t i = 0; i < server->listener_count; i++) {
        transport_listener_close(server->listeners[i]);
    }
    (void)pthread_mutex_lock(&server->lock);
    struct transport **told = calloc(server->connection_count + 1, sizeof *told);
    size_t count = 0;
    for (struct fly_list *node = server->connections.next;
         told != NULL && node != &server->connections; node = node->next) {
        struct server_conn *conn = FLY_CONTAINER(node, struct server_conn, node);
        rpc_link_lock(&conn->link);
        (void)rpc_link_put(&conn->link, header, text, (struct fly_bytes){0}, true);
        rpc_link_unlock(&conn->link);
        rpc_link_hold(&conn->link);
        told[count++] = conn->link.transport;
    }
    (void)pthread_mutex_unlock(&server->lock);
    /* a write may set off callbacks, so not while the server is locked */
    for (size_t i = 0; i < count; i++) {
        transport_flush(told[i]);
        transport_drop(told[i]);
    }
    free(told);
}

void rpc_server_close(struct rpc_server *server)
{
    rpc_server_drain(server);
    (void)pthread_mutex_lock(&server->lock);
    server->closing = true;
    for (struct fly_list *node = server->connections.next; node != &server->connections;
         node = node->next) {
        transport_close(FLY_CONTAINER(node, struct server_conn, node)->link.transport);
    }
    (void)pthread_mutex_unlock(&server->lock);
}

bool rpc_server_idle(struct rpc_server *server)
{
    (void)pthread_mutex_lock(&server->lock);
    bool idle = server->undisposed == 0;
    (void)pthread_mutex_unlock(&server->lock);
    return idle;
}

void rpc_server_destroy(struct rpc_server *server)
{
    if (server == NULL) {
        return;
    }
    rpc_server_close(server);
    for (size_t i = 0; i < server->listener_count; i++) {
        transport_listener_destroy(server->listeners[i]);
    }
    (void)pthread_mutex_lock(&server->lock);
    while (server->undisposed > 0) {
        (void)pthread_cond_wait(&server->changed, &server->lock);
    }
    (void)pthread_mutex_unlock(&server->lock);
    rpc_timer_release();
    (void)pthread_cond_destroy(&server->changed);
    (void)pthread_mutex_destroy(&server->lock);
    free(server->methods);
    free(server);
}

struct rpc_server_counters rpc_server_counters(struct rpc_server *server)
{
    struct server_stats *s = &server->stats;
    struct rpc_server_counters c = {
        .accepted = atomic_load(&s->accepted),
        .refused = atomic_load(&s->refused),
        .hellos_refused = atomic_load(&s->hellos_refused),
        .handshakes_late = atomic_load(&s->handshakes_late),
        .tls_failed = atomic_load(&s->tls_failed),
        .keepalives_lost = atomic_load(&s->keepalives_lost),
        .violations = atomic_load(&s->violations),
        .oversize = atomic_load(&s->oversize),
        .calls = atomic_load(&s->calls),
        .calls_active = atomic_load(&s->calls_active),
        .calls_finished = atomic_load(&s->calls_finished),
        .malformed = atomic_load(&s->malformed),
        .unknown_methods = atomic_load(&s->unknown_methods),
        .unauthenticated = atomic_load(&s->unauthenticated),
        .excess = atomic_load(&s->excess),
        .late = atomic_load(&s->late),
        .cancelled = atomic_load(&s->cancelled),
        .orphaned = atomic_load(&s->orphaned),
        .stale = atomic_load(&s->stale),
    };

    (void)pthread_mutex_lock(&server->lock);
    c.connections = server->connection_count;
    c.bytes_in = server->bytes_in;
    c.bytes_out = server->bytes_out;
    for (struct fly_list *node = server->connections.next; node != &server->connections;
         node = node->next) {
        struct server_conn *conn = FLY_CONTAINER(node, struct server_conn, node);
        c.bytes_in += transport_bytes_in(conn->link.transport);
        c.bytes_out += transport_bytes_out(conn->link.transport);
    }
    (void)pthread_mutex_unlock(&server->lock);
    return c;
}
