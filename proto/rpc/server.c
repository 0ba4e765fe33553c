/*
 * server - listening, and the way down.
 */
#include "proto/rpc/server.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/server_internal.h"

static uint32_t u32_or(uint32_t value, uint32_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static int64_t ms_or(int64_t value, int64_t otherwise)
{
    return value > 0 ? value : otherwise;
}

static void fill_limits(struct rpc_server_config *config)
{
    config->connections_max = u32_or(config->connections_max, 1024);
    config->handshakes_max = u32_or(config->handshakes_max, 256);
    config->calls_max = u32_or(config->calls_max, 256);
    config->tenant_calls_max = u32_or(config->tenant_calls_max, 1024);
    config->queue_max = u32_or(config->queue_max, 1024);
    config->frame_max = u32_or(config->frame_max, 1 << 20);
    config->arena_max = u32_or(config->arena_max, 4 << 20);
    config->out_max = u32_or(config->out_max, 4 << 20);
    config->out_total_max = config->out_total_max > 0 ? config->out_total_max : 256U << 20;
    config->stream_window = u32_or(config->stream_window, 64 << 10);
    config->conn_window = u32_or(config->conn_window, 1 << 20);
    config->frame_timeout_ms = ms_or(config->frame_timeout_ms, 10000);
    config->handshake_timeout_ms = ms_or(config->handshake_timeout_ms, 2000);
    config->keepalive_ms = ms_or(config->keepalive_ms, 30000);
}

static enum fly_status check_config(const struct rpc_server_config *config, struct fly_error *error)
{
    if (config->url_count == 0 || config->url_count > RPC_SERVER_URLS_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "an RPC server needs 1 to %d addresses",
                             RPC_SERVER_URLS_MAX);
    }
    if (config->frame_max < FRAME_SIZE_MIN || config->frame_max > FRAME_SIZE_MAX ||
        config->calls_max > 1U << FRAME_SLOT_BITS || config->stream_window > INT32_MAX ||
        config->conn_window > INT32_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "RPC limits out of range");
    }
    return FLY_OK;
}

static struct rpc_server *server_make(const struct rpc_server_config *config)
{
    struct rpc_server *server = calloc(1, sizeof *server);

    if (server == NULL) {
        return NULL;
    }
    server->config = *config;
    (void)pthread_mutex_init(&server->lock, NULL);
    (void)pthread_cond_init(&server->changed, NULL);
    fly_list_init(&server->connections);
    for (size_t i = 0; i < TENANT_LISTS; i++) {
        fly_list_init(&server->tenants[i]);
    }
    atomic_init(&server->draining, false);
    atomic_init(&server->handshakes, 0);
    transport_budget_init(&server->budget, config->out_total_max);
    return server;
}

static enum fly_status make_pool(struct rpc_server *server, struct fly_error *error)
{
    const struct rpc_pool_config config = {.threads = server->config.workers,
                                           .queue_max = server->config.queue_max,
                                           .run = server_request_run,
                                           .late = server_request_late};

    return server->config.workers > 0 ? rpc_pool_create(&server->pool, &config, error) : FLY_OK;
}

static enum fly_status listen_all(struct rpc_server *server, struct fly_error *error)
{
    const struct rpc_server_config *config = &server->config;
    struct transport_config transport = rpc_link_transport_config(config->out_max, true);
    enum fly_status status = FLY_OK;

    transport.budget = &server->budget;
    for (size_t i = 0; i < config->url_count && status == FLY_OK; i++) {
        status = transport_listen(&server->listeners[i], config->urls[i], config->tls, &transport,
                                  server_conn_accept, server, error);
        server->listener_count += status == FLY_OK ? 1 : 0;
    }
    return status;
}

enum fly_status rpc_server_create(struct rpc_server **out, const struct rpc_server_config *config,
                                  struct fly_error *error)
{
    struct rpc_server_config filled = *config;

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
    status = rpc_metrics_create(&server->metrics, "server", error);
    if (status == FLY_OK) {
        status = server_methods_make(server, error);
    }
    if (status == FLY_OK) {
        status = make_pool(server, error);
    }
    if (status == FLY_OK) {
        status = listen_all(server, error);
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
        server_conn_go_away(conn);
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
    /* every call has been finished, so nothing is left in the queue */
    rpc_pool_destroy(server->pool);
    rpc_timer_release();
    transport_budget_fini(&server->budget);
    rpc_metrics_destroy(server->metrics);
    (void)pthread_cond_destroy(&server->changed);
    (void)pthread_mutex_destroy(&server->lock);
    free(server->methods);
    free(server->services);
    free(server);
}

struct rpc_metrics *rpc_server_metrics(struct rpc_server *server)
{
    return server->metrics;
}
