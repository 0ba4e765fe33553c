/*
 * server_ask - what the application asks of a call, and the metadata that it gives.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/server_internal.h"
#include "proto/wire/metadata.h"

enum fly_status rpc_call_send_head(struct rpc_call *call, struct fly_bytes entries)
{
    struct server_conn *conn = call->conn;
    struct frame_header header = {.type = FRAME_HEAD, .call_id = call->id};
    enum fly_status status = metadata_check(entries, NULL);

    if (status != FLY_OK) {
        return status;
    }
    rpc_link_lock(&conn->link);
    if (!call->attached) {
        status = FLY_UNAVAILABLE;
    } else if (call->head_late) {
        status = FLY_FAILED_PRECONDITION;
    } else if (rpc_link_put(&conn->link, header, entries, (struct fly_bytes){0}, false) ==
               RPC_PUT_DONE) {
        call->head_late = true;
    } else {
        status = transport_closed(conn->link.transport) ? FLY_UNAVAILABLE : FLY_RESOURCE_EXHAUSTED;
    }
    rpc_link_unlock(&conn->link);
    transport_flush(conn->link.transport);
    return status;
}

enum fly_status rpc_call_set_trailer(struct rpc_call *call, struct fly_bytes entries)
{
    enum fly_status status = metadata_check(entries, NULL);
    uint8_t *copy = NULL;

    if (status != FLY_OK) {
        return status;
    }
    if (entries.size > 0) {
        copy = malloc(entries.size);
        if (copy == NULL) {
            return FLY_RESOURCE_EXHAUSTED;
        }
        memcpy(copy, entries.data, entries.size);
    }
    free(call->trailer_memory);
    call->trailer_memory = copy;
    call->trailer_size = entries.size;
    return FLY_OK;
}

struct rpc_server *rpc_call_server(const struct rpc_call *call)
{
    return call->conn->server;
}

const struct rpc_method *rpc_call_method(const struct rpc_call *call)
{
    return call->entry->method;
}

const ProtobufCMessage *rpc_call_request(const struct rpc_call *call)
{
    return call->request;
}

struct fly_bytes rpc_call_metadata(const struct rpc_call *call)
{
    return call->metadata;
}

void *rpc_call_peer(const struct rpc_call *call)
{
    return call->peer;
}

int64_t rpc_call_deadline_ms(const struct rpc_call *call)
{
    return call->deadline_ms;
}

const struct frame_trace *rpc_call_trace(const struct rpc_call *call)
{
    return &call->trace;
}

void *rpc_call_user(const struct rpc_call *call)
{
    return call->user;
}

void rpc_call_set_user(struct rpc_call *call, void *user)
{
    call->user = user;
}

bool rpc_call_cancelled(const struct rpc_call *call)
{
    return atomic_load_explicit(&call->cancelled, memory_order_relaxed);
}

bool rpc_call_finished(const struct rpc_call *call)
{
    return atomic_load_explicit(&call->finished, memory_order_acquire);
}
