/*
 * client - the life of a managed client: what it is made of, what it says of itself, its end.
 */
#include "proto/rpc/client.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/client_internal.h"
#include "proto/rpc/transport.h"

void client_lock(struct rpc_client *client)
{
    (void)pthread_mutex_lock(&client->lock);
}

void client_unlock(struct rpc_client *client)
{
    (void)pthread_mutex_unlock(&client->lock);
}

void client_arm(struct rpc_client *client, int64_t due_ms)
{
    if (!client->closed) {
        (void)rpc_timer_arm(&client->timer, due_ms);
    }
}

/* ---- the config ---- */

static void fill_limits(struct rpc_client_config *config)
{
    config->backoff_first_ms = config->backoff_first_ms > 0 ? config->backoff_first_ms : 50;
    config->backoff_max_ms = config->backoff_max_ms > 0 ? config->backoff_max_ms : 5000;
    config->waiting_max = config->waiting_max > 0 ? config->waiting_max : 1024;
    config->retry_keep_max = config->retry_keep_max > 0 ? config->retry_keep_max : 64 * 1024;
    config->keep_total_max = config->keep_total_max > 0 ? config->keep_total_max : 16 << 20;
    config->throttle_tokens = config->throttle_tokens > 0 ? config->throttle_tokens : 10;
    config->throttle_ratio = config->throttle_ratio > 0 ? config->throttle_ratio : 100;
}

static enum fly_status check_config(const struct rpc_client_config *config, struct fly_error *error)
{
    size_t count = config->urls != NULL ? config->url_count : 0;

    if ((config->url == NULL) == (count == 0) || count > RPC_CLIENT_URLS_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "a client wants one url, or 1 to %d urls",
                             RPC_CLIENT_URLS_MAX);
    }
    if (config->channel.hello.size > RPC_HELLO_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "HELLO of %zu bytes is too large",
                             config->channel.hello.size);
    }
    for (size_t i = 0; i < (count > 0 ? count : 1); i++) {
        const char *url = count > 0 ? config->urls[i] : config->url;
        if (transport_url_check(url, error) != FLY_OK) {
            return error != NULL ? error->status : FLY_INVALID_ARGUMENT;
        }
    }
    return FLY_OK;
}

/* Copies a text of the config; false: no memory. */
static bool own_text(struct rpc_client *client, size_t index, const char **text)
{
    if (*text != NULL) {
        client->texts[index] = strdup(*text);
        *text = client->texts[index];
        return *text != NULL;
    }
    return true;
}

static bool own_channel_config(struct rpc_client *client)
{
    struct rpc_channel_config *channel = &client->config.channel;
    bool fine = true;

    if (channel->hello.size > 0) {
        client->texts[0] = malloc(channel->hello.size);
        if (client->texts[0] == NULL) {
            return false;
        }
        memcpy(client->texts[0], channel->hello.data, channel->hello.size);
        channel->hello.data = (const uint8_t *)client->texts[0];
    }
    if (channel->tls != NULL) {
        client->tls = *channel->tls;
        channel->tls = &client->tls;
        fine = own_text(client, 1, &client->tls.ca_pem) &&
               own_text(client, 2, &client->tls.cert_pem) &&
               own_text(client, 3, &client->tls.key_pem) &&
               own_text(client, 4, &client->tls.server_name);
    }
    return fine;
}

static bool own_urls(struct rpc_client *client, const struct rpc_client_config *config)
{
    client->target_count = config->urls != NULL ? (uint32_t)config->url_count : 1;
    client->targets = calloc(client->target_count, sizeof *client->targets);
    for (uint32_t i = 0; client->targets != NULL && i < client->target_count; i++) {
        client->targets[i].url = strdup(config->urls != NULL ? config->urls[i] : config->url);
        if (client->targets[i].url == NULL) {
            return false;
        }
    }
    return client->targets != NULL;
}

/* ---- life ---- */

static void client_free(struct rpc_client *client)
{
    while (client->conns != NULL) {
        struct client_conn *conn = client->conns;
        client->conns = conn->next;
        free(conn);
    }
    for (uint32_t i = 0; client->targets != NULL && i < client->target_count; i++) {
        free(client->targets[i].url);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(client->texts); i++) {
        free(client->texts[i]);
    }
    client_records_free(client);
    rpc_metrics_destroy(client->metrics);
    (void)pthread_mutex_destroy(&client->lock);
    (void)pthread_cond_destroy(&client->changed);
    free(client->targets);
    free(client);
}

enum fly_status rpc_client_create(struct rpc_client **out, const struct rpc_client_config *config,
                                  struct fly_error *error)
{
    enum fly_status status = check_config(config, error);
    struct rpc_client *client = status == FLY_OK ? calloc(1, sizeof *client) : NULL;
    uint64_t seed = 0;

    if (status != FLY_OK) {
        return status;
    }
    if (client == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    client->config = *config;
    client->config.url = NULL;
    client->config.urls = NULL;
    client->balance = config->balance;
    fill_limits(&client->config);
    (void)pthread_mutex_init(&client->lock, NULL);
    (void)pthread_cond_init(&client->changed, NULL);
    fly_list_init(&client->waiting);
    rpc_timer_init(&client->timer, client_on_timer, client);
    client->dial_job.run = client_dial_run;
    retry_throttle_init(&client->throttle, client->config.throttle_tokens,
                        client->config.throttle_ratio);
    randombytes_buf(&seed, sizeof seed);
    fly_rng_seed(&client->rng, seed);
    status = own_urls(client, config) && own_channel_config(client)
                 ? rpc_metrics_create(&client->metrics, "client", error)
                 : fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    status = status == FLY_OK ? rpc_timer_hold(error) : status;
    if (status != FLY_OK) {
        client_free(client);
        return status;
    }
    *out = client;
    return FLY_OK;
}

static bool conns_gone(const struct rpc_client *client)
{
    for (const struct client_conn *conn = client->conns; conn != NULL; conn = conn->next) {
        if (conn->used) {
            return false;
        }
    }
    return true;
}

void rpc_client_close(struct rpc_client *client)
{
    if (client == NULL) {
        return;
    }
    client_lock(client);
    client->closed = true;
    client_unlock(client);
    rpc_timer_stop(&client->timer); /* nothing arms it again */
    client_wait_end(client);
    client_lock(client);
    while (client->busy > 0) {
        (void)pthread_cond_wait(&client->changed, &client->lock);
    }
    for (struct client_conn *conn = client->conns; conn != NULL; conn = conn->next) {
        if (conn->used) {
            client_conn_retire(conn);
            client_conn_release(conn);
            client_conn_settle(conn);
        }
    }
    while (client->busy > 0 || client->slow > 0 || !conns_gone(client)) {
        (void)pthread_cond_wait(&client->changed, &client->lock);
    }
    client_unlock(client);
    rpc_channel_settle();
    rpc_timer_release();
    client_free(client);
}

/* ---- what it says of itself ---- */

enum rpc_client_state client_state(const struct rpc_client *client)
{
    bool failed = client->balance == RPC_PICK_FIRST ? client->pace.failed : true;

    if (client->closed) {
        return RPC_CLIENT_SHUTDOWN;
    }
    if (client->ready > 0) {
        return RPC_CLIENT_READY;
    }
    if (!client->asked) {
        return RPC_CLIENT_IDLE;
    }
    for (uint32_t i = 0; client->balance != RPC_PICK_FIRST && i < client->target_count; i++) {
        failed = failed && client->targets[i].pace.failed;
    }
    return failed ? RPC_CLIENT_TRANSIENT_FAILURE : RPC_CLIENT_CONNECTING;
}

enum rpc_client_state rpc_client_state(struct rpc_client *client)
{
    client_lock(client);
    enum rpc_client_state state = client_state(client);
    client_unlock(client);
    return state;
}

struct rpc_client_counters rpc_client_counters(struct rpc_client *client)
{
    client_lock(client);
    struct rpc_client_counters counters = client->counters;
    counters.calls = atomic_load(&client->calls);
    counters.attempts = client_conns_begun(client) - client->unbegun;
    counters.waiting = atomic_load(&client->waiting_count);
    client_unlock(client);
    return counters;
}

struct rpc_metrics *rpc_client_metrics(struct rpc_client *client)
{
    return client->metrics;
}
