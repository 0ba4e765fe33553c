/*
 * server_call - one call at the server, as the application has it: asked, answered, ended once.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/server_internal.h"

static const struct fly_bytes nothing;

/* ---- life ---- */

void rpc_call_hold(struct rpc_call *call)
{
    (void)atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
}

void rpc_call_drop(struct rpc_call *call)
{
    if (atomic_fetch_sub_explicit(&call->references, 1, memory_order_acq_rel) == 1) {
        struct server_conn *conn = call->conn;
        free(call);
        rpc_link_drop(&conn->link);
    }
}

void server_call_detach(struct rpc_call *call)
{
    call->conn->slots[frame_call_slot(call->id)] = NULL;
    call->attached = false;
}

/* ---- END ---- */

/* Never fails quietly: what does not fit becomes a short END, and if not even that fits, the
 * transport cuts the connection. */
void server_call_put_end(struct server_conn *conn, uint32_t id, const struct call_ending *end)
{
    struct frame_header header = {
        .type = FRAME_END,
        .flags = end->not_executed ? FRAME_FLAG_NOT_EXECUTED : 0,
        .call_id = id,
        .arg = (uint32_t)end->status,
    };
    struct fly_bytes text = {(const uint8_t *)end->text,
                             end->text != NULL ? strnlen(end->text, FRAME_TEXT_MAX) : 0};
    struct fly_bytes detail = end->detail.size <= FRAME_DETAIL_MAX ? end->detail : nothing;
    enum rpc_put put = RPC_PUT_DONE;

    if (end->status == FLY_OK && end->message != NULL) {
        put = rpc_link_put_message(&conn->link, header, nothing, end->message,
                                   protobuf_c_message_get_packed_size(end->message), false);
        if (put != RPC_PUT_DONE) {
            struct call_ending instead = {.status = FLY_RESOURCE_EXHAUSTED,
                                          .text = put == RPC_PUT_LARGE
                                                      ? "the reply is larger than the caller takes"
                                                      : "the caller does not read its replies"};
            server_call_put_end(conn, id, &instead);
        }
        return;
    }
    if (end->status == FLY_OK) {
        text = nothing;
        detail = nothing;
    }
    (void)rpc_link_put(&conn->link, header, text, detail, true);
}

void server_call_finish(struct rpc_call *call, const struct call_ending *end)
{
    struct server_conn *conn = call->conn;
    struct rpc_server *server = conn->server;

    FLY_CHECK(!atomic_exchange(&call->finished, true)); /* exactly once */
    rpc_link_lock(&conn->link);
    bool attached = call->attached;
    if (attached) {
        server_call_put_end(conn, call->id, end);
        server_call_detach(call);
    }
    conn->active--;
    void *gone = server_conn_peer_ended(conn);
    rpc_link_unlock(&conn->link);
    if (attached) {
        transport_flush(conn->link.transport);
        rpc_call_drop(call);
    } else {
        stat_add(&server->stats.orphaned);
    }
    if (gone != NULL && server->config.on_peer_gone != NULL) {
        server->config.on_peer_gone(server->config.user, gone);
    }
    rpc_call_drop(call);
}

static void finish_by_application(struct rpc_call *call, const struct call_ending *end)
{
    struct server_stats *stats = &call->conn->server->stats;

    stat_add(&stats->calls_finished);
    (void)atomic_fetch_sub_explicit(&stats->calls_active, 1, memory_order_relaxed);
    server_call_finish(call, end);
}

void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *message)
{
    bool stream = (call->method->flags & RPC_STREAM) != 0;
    struct call_ending end = {.status = FLY_OK, .message = message};

    FLY_CHECK(stream ? message == NULL : message->descriptor == call->method->reply);
    finish_by_application(call, &end);
}

void rpc_call_fail(struct rpc_call *call, enum fly_status status, const char *text,
                   struct fly_bytes detail)
{
    struct call_ending end = {.status = status, .text = text, .detail = detail};

    FLY_CHECK(status != FLY_OK);
    finish_by_application(call, &end);
}

void rpc_call_turn_away(struct rpc_call *call, enum fly_status status, const char *text,
                        struct fly_bytes detail)
{
    struct call_ending end = {
        .status = status, .text = text, .detail = detail, .not_executed = true};

    FLY_CHECK(status != FLY_OK);
    finish_by_application(call, &end);
}

/* ---- what the application asks of a call ---- */

enum fly_status rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct server_conn *conn = call->conn;
    struct frame_header header = {.type = FRAME_MSG, .call_id = call->id};
    size_t size = protobuf_c_message_get_packed_size(message);
    enum fly_status status = FLY_OK;

    FLY_CHECK((call->method->flags & RPC_STREAM) != 0);
    FLY_CHECK(message->descriptor == call->method->reply);
    rpc_link_lock(&conn->link);
    if (!call->attached) {
        status = FLY_UNAVAILABLE;
    } else if (call->credit <= 0) {
        status = FLY_RESOURCE_EXHAUSTED;
    } else {
        switch (rpc_link_put_message(&conn->link, header, nothing, message, size, false)) {
        case RPC_PUT_DONE:
            call->credit -= frame_credit(size);
            break;
        case RPC_PUT_FULL:
            status =
                transport_closed(conn->link.transport) ? FLY_UNAVAILABLE : FLY_RESOURCE_EXHAUSTED;
            break;
        case RPC_PUT_LARGE:
            status = FLY_INVALID_ARGUMENT;
            break;
        }
    }
    call->write_refused = call->write_refused || status == FLY_RESOURCE_EXHAUSTED;
    rpc_link_unlock(&conn->link);
    transport_flush(conn->link.transport);
    return status;
}

const struct rpc_method *rpc_call_method(const struct rpc_call *call)
{
    return call->method;
}

const ProtobufCMessage *rpc_call_request(const struct rpc_call *call)
{
    return call->request;
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
