/*
 * server_call - one call at the server: from a REQ frame to its one END frame.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server_internal.h"
#include "proto/wire/validate.h"

static const struct fly_bytes nothing;

/* How a call ends: with `message` (OK) or with a text and details. */
struct ending {
    enum fly_status status;
    const char *text;
    struct fly_bytes detail;
    const ProtobufCMessage *message;
    bool not_executed;
};

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

/* Under the lock: takes the call out of its slot; the slot's reference is now the caller's. */
static void call_detach(struct rpc_call *call)
{
    call->conn->slots[frame_call_slot(call->id)] = NULL;
    call->attached = false;
}

/* Under the lock: forgets a call that no handler saw. */
static void call_unqueue(struct rpc_call *call)
{
    fly_list_drop(&call->node);
    call->conn->queue_bytes -= call->arena_size;
    call->conn->active--;
}

/* ---- END ---- */

/* Under the lock. Never fails quietly: what does not fit becomes a short END, and if not even that
 * fits, the transport cuts the connection. */
static void put_end(struct server_conn *conn, uint32_t id, const struct ending *end)
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
            struct ending instead = {.status = FLY_RESOURCE_EXHAUSTED,
                                     .text = put == RPC_PUT_LARGE
                                                 ? "the reply is larger than the caller takes"
                                                 : "the caller does not read its replies"};
            put_end(conn, id, &instead);
        }
        return;
    }
    if (end->status == FLY_OK) {
        text = nothing;
        detail = nothing;
    }
    (void)rpc_link_put(&conn->link, header, text, detail, true);
}

/* Answers a REQ that never became a call. */
static void turn_away(struct server_conn *conn, uint32_t id, enum fly_status status,
                      const char *text)
{
    struct ending end = {.status = status, .text = text, .not_executed = true};

    rpc_link_lock(&conn->link);
    put_end(conn, id, &end);
    rpc_link_unlock(&conn->link);
    transport_flush(conn->link.transport);
}

/* The end of every call that was admitted. Gives back the application's reference. */
static void call_finish(struct rpc_call *call, const struct ending *end)
{
    struct server_conn *conn = call->conn;
    struct rpc_server *server = conn->server;

    FLY_CHECK(!atomic_exchange(&call->finished, true)); /* exactly once */
    rpc_link_lock(&conn->link);
    bool attached = call->attached;
    if (attached) {
        put_end(conn, call->id, end);
        call_detach(call);
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

static void finish_by_application(struct rpc_call *call, const struct ending *end)
{
    struct server_stats *stats = &call->conn->server->stats;

    stat_add(&stats->calls_finished);
    (void)atomic_fetch_sub_explicit(&stats->calls_active, 1, memory_order_relaxed);
    call_finish(call, end);
}

void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *message)
{
    bool stream = (call->method->flags & RPC_STREAM) != 0;
    struct ending end = {.status = FLY_OK, .message = message};

    FLY_CHECK(stream ? message == NULL : message->descriptor == call->method->reply);
    finish_by_application(call, &end);
}

void rpc_call_fail(struct rpc_call *call, enum fly_status status, const char *text,
                   struct fly_bytes detail)
{
    struct ending end = {.status = status, .text = text, .detail = detail};

    FLY_CHECK(status != FLY_OK);
    finish_by_application(call, &end);
}

void rpc_call_turn_away(struct rpc_call *call, enum fly_status status, const char *text,
                        struct fly_bytes detail)
{
    struct ending end = {.status = status, .text = text, .detail = detail, .not_executed = true};

    FLY_CHECK(status != FLY_OK);
    finish_by_application(call, &end);
}

/* ---- REQ ---- */

static const struct rpc_method *find_method(const struct rpc_server *server, uint32_t hash)
{
    size_t low = 0;
    size_t high = server->config.method_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (server->methods[middle].hash < hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < server->config.method_count && server->methods[low].hash == hash
               ? server->methods[low].method
               : NULL;
}

/* Checks, allocates and unpacks; NULL: turned away already. */
static struct rpc_call *call_make(struct server_conn *conn, const struct frame *frame,
                                  const struct rpc_method *method)
{
    struct rpc_server *server = conn->server;
    struct fly_error error;
    size_t arena_size = 0;
    uint32_t id = frame->header.call_id;
    enum fly_status status = validate_message(method->request, frame->body,
                                              server->config.arena_max, &arena_size, &error);

    if (status != FLY_OK) {
        stat_add(&server->stats.malformed);
        /* gRPC's table: a request that does not parse is INTERNAL */
        turn_away(conn, id, status == FLY_INVALID_ARGUMENT ? FLY_INTERNAL : status, error.text);
        return NULL;
    }
    struct rpc_call *call = malloc(sizeof *call + arena_size);
    if (call == NULL) {
        turn_away(conn, id, FLY_RESOURCE_EXHAUSTED, "out of memory");
        return NULL;
    }
    memset(call, 0, sizeof *call);
    struct fly_arena arena = fly_arena_over(call->arena, arena_size);
    call->request = validate_unpack(method->request, frame->body, &arena);
    FLY_CHECK(call->request != NULL); /* the validator's promise */
    call->conn = conn;
    call->method = method;
    call->id = id;
    call->arena_size = arena_size;
    fly_list_init(&call->node);
    atomic_init(&call->references, 2); /* slot and application */
    atomic_init(&call->finished, false);
    atomic_init(&call->cancelled, false);
    rpc_link_hold(&conn->link);
    return call;
}

/* Hands the call to the application, unless it is too late or not allowed. Not under the lock. */
static void call_dispatch(struct rpc_call *call)
{
    struct rpc_server *server = call->conn->server;
    struct ending end = {.not_executed = true};

    if (call->peer == NULL && (call->method->flags & RPC_OPEN) == 0) {
        stat_add(&server->stats.unauthenticated);
        end.status = FLY_UNAUTHENTICATED;
        end.text = "this method needs a token";
    } else if (call->deadline_ms != 0 && fly_clock_boot_ms() >= call->deadline_ms) {
        stat_add(&server->stats.late);
        end.status = FLY_DEADLINE_EXCEEDED;
        end.text = "the deadline passed before the call was begun";
    } else {
        stat_add(&server->stats.calls_active);
        server->config.on_call(server->config.user, call);
        return;
    }
    call_finish(call, &end);
}

void server_call_release(struct rpc_call *call)
{
    struct server_conn *conn = call->conn;
    struct rpc_server *server = conn->server;

    rpc_call_hold(call);
    call_dispatch(call);
    rpc_link_lock(&conn->link);
    call->stage = CALL_DISPATCHED;
    bool owed = call->cancel_owed;
    rpc_link_unlock(&conn->link);
    if (owed && !rpc_call_finished(call) && server->config.on_cancel != NULL) {
        server->config.on_cancel(server->config.user, call);
    }
    rpc_call_drop(call);
}

/* Into its slot, and into the queue if HELLO has not been answered. True: dispatch it now.
 * The caller has seen that the slot is free; only this thread fills slots. */
static bool call_admit(struct rpc_call *call, bool *excess)
{
    struct server_conn *conn = call->conn;
    bool open = (call->method->flags & RPC_OPEN) != 0;

    rpc_link_lock(&conn->link);
    bool wait = conn->state != CONN_OPEN && !open;
    *excess = wait && conn->queue_bytes + call->arena_size > conn->server->config.frame_max;
    if (!*excess) {
        conn->slots[frame_call_slot(call->id)] = call;
        call->attached = true;
        conn->active++;
        if (wait) {
            fly_list_append(&conn->queue, &call->node);
            conn->queue_bytes += call->arena_size;
        } else {
            call->stage = CALL_DISPATCHED;
            call->peer = conn->state == CONN_OPEN ? conn->peer : NULL;
        }
    }
    rpc_link_unlock(&conn->link);
    return !wait;
}

bool server_call_request(struct server_conn *conn, const struct frame *frame)
{
    struct rpc_server *server = conn->server;
    uint32_t id = frame->header.call_id;
    uint32_t slot = frame_call_slot(id);
    struct frame_request request;

    stat_add(&server->stats.calls);
    if (!frame_request_decode(frame, &request)) {
        return false;
    }
    rpc_link_lock(&conn->link);
    bool in_use = slot < server->config.calls_max && conn->slots[slot] != NULL;
    bool excess = slot >= server->config.calls_max || conn->active >= server->config.calls_max;
    bool ignored = conn->state == CONN_REFUSED || conn->closed;
    bool nobody = conn->state == CONN_OPEN && conn->peer == NULL;
    rpc_link_unlock(&conn->link);
    if (in_use || ignored) {
        return ignored;
    }
    const struct rpc_method *method = find_method(server, frame->header.arg);
    if (atomic_load_explicit(&server->draining, memory_order_relaxed)) {
        turn_away(conn, id, FLY_UNAVAILABLE, "this node is going away");
    } else if (method == NULL) {
        stat_add(&server->stats.unknown_methods);
        turn_away(conn, id, FLY_UNIMPLEMENTED, "no such method");
    } else if (nobody && (method->flags & RPC_OPEN) == 0) {
        stat_add(&server->stats.unauthenticated);
        turn_away(conn, id, FLY_UNAUTHENTICATED, "this method needs a token");
    } else if (excess) {
        stat_add(&server->stats.excess);
        turn_away(conn, id, FLY_RESOURCE_EXHAUSTED, "too many calls in flight");
    } else {
        struct rpc_call *call = call_make(conn, frame, method);
        if (call == NULL) {
            return true;
        }
        call->trace = request.trace;
        call->credit = conn->link.theirs.window;
        if (request.timeout_ms > 0) {
            call->deadline_ms = atomic_load_explicit(&conn->link.heard_ms, memory_order_relaxed) +
                                (int64_t)request.timeout_ms;
        }
        bool now = call_admit(call, &excess);
        if (excess) {
            stat_add(&server->stats.excess);
            turn_away(conn, id, FLY_RESOURCE_EXHAUSTED, "too many calls before HELLO's answer");
            rpc_call_drop(call);
            rpc_call_drop(call);
        } else if (now) {
            call_dispatch(call);
        }
    }
    return true;
}

/* ---- CANCEL, WINDOW and the end of the connection ---- */

/* Under the lock. */
static struct rpc_call *find_call(struct server_conn *conn, uint32_t id)
{
    uint32_t slot = frame_call_slot(id);
    struct rpc_call *call = slot < conn->server->config.calls_max ? conn->slots[slot] : NULL;

    return call != NULL && call->id == id ? call : NULL;
}

/* Under the lock: the caller no longer wants it. True: on_cancel is to be told now. */
static bool call_give_up(struct rpc_call *call)
{
    atomic_store_explicit(&call->cancelled, true, memory_order_relaxed);
    call_detach(call);
    call->cancel_owed = call->stage == CALL_DISPATCHING;
    return call->stage == CALL_DISPATCHED;
}

/* Afterwards, not under the lock: tells, and gives back the references that nobody holds now. */
static void call_given_up(struct rpc_call *call, bool tell, bool queued)
{
    struct rpc_server *server = call->conn->server;

    if (tell && !rpc_call_finished(call) && server->config.on_cancel != NULL) {
        server->config.on_cancel(server->config.user, call);
    }
    if (queued) {
        rpc_call_drop(call); /* the application's: it never saw it */
    }
    rpc_call_drop(call);
}

void server_call_cancel(struct server_conn *conn, const struct frame *frame)
{
    struct server_stats *stats = &conn->server->stats;
    struct ending end = {.status = FLY_CANCELLED, .text = "cancelled by the caller"};

    rpc_link_lock(&conn->link);
    struct rpc_call *call = find_call(conn, frame->header.call_id);
    if (call == NULL) {
        rpc_link_unlock(&conn->link);
        stat_add(&stats->stale);
        return;
    }
    bool queued = call->stage == CALL_QUEUED;
    bool tell = call_give_up(call);
    if (queued) {
        call_unqueue(call);
    }
    end.not_executed = queued;
    put_end(conn, call->id, &end);
    rpc_link_unlock(&conn->link);
    stat_add(&stats->cancelled);
    transport_flush(conn->link.transport);
    call_given_up(call, tell, queued);
}

void server_call_orphan_all(struct server_conn *conn)
{
    struct fly_list told;
    struct fly_list queued;
    struct fly_list *list = NULL;

    fly_list_init(&told);
    fly_list_init(&queued);
    rpc_link_lock(&conn->link);
    for (uint32_t slot = 0; slot < conn->server->config.calls_max; slot++) {
        struct rpc_call *call = conn->slots[slot];
        if (call != NULL && call->stage == CALL_QUEUED) {
            call_unqueue(call);
            (void)call_give_up(call);
            fly_list_append(&queued, &call->node);
        } else if (call != NULL) {
            list = call_give_up(call) ? &told : NULL;
            if (list != NULL) {
                fly_list_append(list, &call->node);
            } else {
                rpc_call_drop(call); /* its dispatcher holds it */
            }
        }
    }
    rpc_link_unlock(&conn->link);
    while (!fly_list_empty(&told) || !fly_list_empty(&queued)) {
        bool tell = !fly_list_empty(&told);
        struct fly_list *node = tell ? told.next : queued.next;
        fly_list_drop(node);
        call_given_up(FLY_CONTAINER(node, struct rpc_call, node), tell, !tell);
    }
}

static void tell_writable(struct rpc_call *call)
{
    struct rpc_server *server = call->conn->server;

    if (!rpc_call_finished(call) && server->config.on_writable != NULL) {
        server->config.on_writable(server->config.user, call);
    }
    rpc_call_drop(call);
}

void server_call_window(struct server_conn *conn, const struct frame *frame)
{
    rpc_link_lock(&conn->link);
    struct rpc_call *call = find_call(conn, frame->header.call_id);
    bool tell = false;
    if (call != NULL) {
        call->credit += frame->header.arg;
        call->credit = call->credit > INT32_MAX ? INT32_MAX : call->credit;
        tell = call->write_refused && call->credit > 0;
        call->write_refused = call->write_refused && !tell;
        if (tell) {
            rpc_call_hold(call);
        }
    }
    rpc_link_unlock(&conn->link);
    if (call == NULL) {
        stat_add(&conn->server->stats.stale);
    } else if (tell) {
        tell_writable(call);
    }
}

void server_call_writable_all(struct server_conn *conn)
{
    for (uint32_t slot = 0; slot < conn->server->config.calls_max; slot++) {
        rpc_link_lock(&conn->link);
        struct rpc_call *call = conn->slots[slot];
        bool tell = call != NULL && call->write_refused && call->credit > 0;
        if (tell) {
            call->write_refused = false;
            rpc_call_hold(call);
        }
        rpc_link_unlock(&conn->link);
        if (tell) {
            tell_writable(call);
        }
    }
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
