/*
 * server_limits - which requests become no call: all of it is known before a body is looked at.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/server_internal.h"
#include "proto/wire/metadata.h"

enum fly_status server_limits_request(struct rpc_server *server, const struct method_entry *entry,
                                      const struct frame *frame,
                                      const struct frame_request *request, struct fly_error *error)
{
    if (entry == NULL) {
        stat_add(&server->stats.unknown_methods);
        return fly_error_set(error, FLY_UNIMPLEMENTED, "no such method");
    }
    bool streams = (frame->header.flags & FRAME_FLAG_STREAMING) != 0;
    if (streams != ((entry->method->flags & RPC_CLIENT_STREAM) != 0)) {
        stat_add(&server->stats.malformed);
        return fly_error_set(error, FLY_UNIMPLEMENTED,
                             streams ? "this method takes one request"
                                     : "this method takes a stream of requests");
    }
    if (request->metadata.size > 0 && metadata_check(request->metadata, error) != FLY_OK) {
        stat_add(&server->stats.malformed);
        return fly_error_set(error, FLY_INTERNAL, "malformed metadata");
    }
    return FLY_OK;
}

/* One more of this method; false: it is at its limit. */
static bool method_begin(struct method_entry *entry)
{
    uint32_t max = entry->method->calls_max;

    if (max == 0 || atomic_fetch_add_explicit(&entry->active, 1, memory_order_relaxed) < max) {
        return true;
    }
    server_limits_leave(entry, NULL);
    return false;
}

void server_limits_leave(struct method_entry *entry, struct server_tenant *tenant)
{
    if (tenant != NULL) {
        server_tenant_end(tenant);
    }
    if (entry->method->calls_max != 0) {
        (void)atomic_fetch_sub_explicit(&entry->active, 1, memory_order_relaxed);
    }
}

static enum fly_status exhausted(struct server_conn *conn, struct fly_error *error,
                                 const char *what)
{
    stat_add(&conn->server->stats.excess);
    return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "%s", what);
}

/* Room for this slot in the table, which grows as it is needed. */
static bool slots_reach(struct server_conn *conn, uint32_t slot)
{
    uint32_t max = conn->server->config.calls_max;
    uint32_t count = conn->slot_count > 0 ? conn->slot_count : 8;

    if (slot < conn->slot_count) {
        return true;
    }
    while (count <= slot) {
        count *= 2;
    }
    count = count < max ? count : max;
    struct rpc_call **slots = realloc(conn->slots, count * sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    memset(slots + conn->slot_count, 0, (count - conn->slot_count) * sizeof *slots);
    conn->slots = slots;
    conn->slot_count = count;
    return true;
}

enum fly_status server_limits_enter(struct server_conn *conn, struct method_entry *entry,
                                    uint32_t slot, struct fly_error *error)
{
    struct rpc_server *server = conn->server;
    const struct rpc_server_config *config = &server->config;
    bool open = (entry->method->flags & RPC_OPEN) != 0;

    if (conn->state == CONN_OPEN && conn->peer == NULL && config->on_hello != NULL && !open) {
        stat_add(&server->stats.unauthenticated);
        return fly_error_set(error, FLY_UNAUTHENTICATED, "this method needs a token");
    }
    if (slot >= config->calls_max || conn->active >= config->calls_max) {
        return exhausted(conn, error, "too many calls in flight on this connection");
    }
    if (atomic_load_explicit(&server->budget.used, memory_order_relaxed) >= server->budget.max) {
        return exhausted(conn, error, "too much waits to be sent");
    }
    if (!slots_reach(conn, slot)) {
        return exhausted(conn, error, "out of memory");
    }
    if (conn->tenant != NULL && !server_tenant_begin(server, conn->tenant)) {
        return exhausted(conn, error, "too many calls in flight of this tenant");
    }
    if (!method_begin(entry)) {
        if (conn->tenant != NULL) {
            server_tenant_end(conn->tenant);
        }
        return exhausted(conn, error, "too many calls of this method in flight");
    }
    return FLY_OK;
}
