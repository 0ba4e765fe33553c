/*
 * server_methods - which methods a server has, from `methods` and `services` together.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/server_internal.h"

static size_t count_all(const struct rpc_server_config *config)
{
    size_t count = config->method_count;

    for (size_t i = 0; i < config->service_count; i++) {
        count += config->services[i].method_count;
    }
    return count;
}

/* All of them together: two services may collide as two methods do. */
static enum fly_status check_all(const struct rpc_server_config *config, size_t count,
                                 struct fly_error *error)
{
    const struct rpc_method **all = calloc(count, sizeof *all);
    size_t used = 0;

    if (all == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    for (size_t i = 0; i < config->method_count; i++) {
        all[used++] = config->methods[i];
    }
    for (size_t i = 0; i < config->service_count; i++) {
        for (size_t k = 0; k < config->services[i].method_count; k++) {
            all[used++] = config->services[i].methods[k];
        }
    }
    enum fly_status status = rpc_methods_check(all, used, error);
    free(all);
    return status;
}

static void put(struct rpc_server *server, const struct rpc_method *method,
                const struct rpc_service *service, size_t index)
{
    uint32_t hash = method->hash;
    uint32_t place = hash & server->methods_mask;

    while (server->methods[place].method != NULL) {
        place = (place + 1) & server->methods_mask;
    }
    server->methods[place].hash = hash;
    server->methods[place].method = method;
    server->methods[place].service = service;
    server->methods[place].index = index;
    server->methods[place].metrics = rpc_metrics_of(server->metrics, method);
    atomic_init(&server->methods[place].active, 0);
}

enum fly_status server_methods_make(struct rpc_server *server, struct fly_error *error)
{
    const struct rpc_server_config *config = &server->config;
    size_t count = count_all(config);
    uint32_t size = 8;

    if (count == 0 || count > 4096 || (config->method_count > 0 && config->on_call == NULL)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "an RPC server needs methods, and on_call for those of no service");
    }
    enum fly_status status = check_all(config, count, error);
    if (status != FLY_OK) {
        return status;
    }
    while (size < 2 * count) {
        size *= 2;
    }
    server->methods = calloc(size, sizeof *server->methods);
    server->services = calloc(config->service_count + 1, sizeof *server->services);
    if (server->methods == NULL || server->services == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    server->methods_mask = size - 1;
    for (size_t i = 0; i < config->method_count; i++) {
        put(server, config->methods[i], NULL, 0);
    }
    for (size_t i = 0; i < config->service_count; i++) {
        server->services[i] = config->services[i];
        for (size_t k = 0; k < config->services[i].method_count; k++) {
            put(server, config->services[i].methods[k], &server->services[i], k);
        }
    }
    return FLY_OK;
}

struct method_entry *server_methods_find(const struct rpc_server *server, uint32_t hash)
{
    uint32_t place = hash & server->methods_mask;

    while (server->methods[place].method != NULL) {
        if (server->methods[place].hash == hash) {
            return &server->methods[place];
        }
        place = (place + 1) & server->methods_mask;
    }
    return NULL;
}

const struct rpc_service *rpc_server_services(const struct rpc_server *server, size_t *count)
{
    *count = server->config.service_count;
    return server->services;
}
