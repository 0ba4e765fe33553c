/*
 * server_tenant - who shares tenant_calls_max: a hash table of the tenants that are connected.
 *
 * Bounded by connections_max: a tenant is there as long as one of its connections.
 */
#include <stdlib.h>

#include "proto/base/check.h"
#include "proto/rpc/server_internal.h"

static struct fly_list *list_of(struct rpc_server *server, uint64_t id)
{
    /* Fibonacci hashing: the ids may be a hash already, or small numbers */
    return &server->tenants[(id * 0x9E3779B97F4A7C15U) >> 58];
}

_Static_assert(TENANT_LISTS == 64, "as many lists as the shift leaves");

struct server_tenant *server_tenant_join(struct rpc_server *server, uint64_t id)
{
    struct fly_list *list = list_of(server, id);
    struct server_tenant *found = NULL;

    (void)pthread_mutex_lock(&server->lock);
    for (struct fly_list *node = list->next; node != list && found == NULL; node = node->next) {
        struct server_tenant *tenant = FLY_CONTAINER(node, struct server_tenant, node);
        found = tenant->id == id ? tenant : NULL;
    }
    if (found == NULL) {
        found = calloc(1, sizeof *found);
        if (found != NULL) {
            found->id = id;
            atomic_init(&found->active, 0);
            fly_list_append(list, &found->node);
        }
    }
    if (found != NULL) {
        found->connections++;
    }
    (void)pthread_mutex_unlock(&server->lock);
    return found;
}

void server_tenant_leave(struct rpc_server *server, struct server_tenant *tenant)
{
    if (tenant == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&server->lock);
    bool last = --tenant->connections == 0;
    if (last) {
        fly_list_drop(&tenant->node);
    }
    (void)pthread_mutex_unlock(&server->lock);
    if (last) {
        FLY_CHECK(atomic_load(&tenant->active) == 0);
        free(tenant);
    }
}

bool server_tenant_begin(struct rpc_server *server, struct server_tenant *tenant)
{
    if (atomic_fetch_add_explicit(&tenant->active, 1, memory_order_relaxed) <
        server->config.tenant_calls_max) {
        return true;
    }
    server_tenant_end(tenant);
    return false;
}

void server_tenant_end(struct server_tenant *tenant)
{
    (void)atomic_fetch_sub_explicit(&tenant->active, 1, memory_order_relaxed);
}
