/*
 * server_request - what frames do to calls: REQ makes one and hands it over, CANCEL gives it up,
 * WINDOW lets a stream go on; and what the end of the connection does to all of them.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server_internal.h"
#include "proto/wire/validate.h"

/* Answers a REQ that never became a call. */
static void turn_away(struct server_conn *conn, uint32_t id, enum fly_status status,
                      const char *text)
{
    struct call_ending end = {.status = status, .text = text, .not_executed = true};

    rpc_link_lock(&conn->link);
    server_call_put_end(conn, id, &end);
    rpc_link_unlock(&conn->link);
    transport_flush(conn->link.transport);
}

/* Under the lock: forgets a call that no handler saw. */
static void call_unqueue(struct rpc_call *call)
{
    fly_list_drop(&call->node);
    call->conn->queue_bytes -= call->arena_size;
    call->conn->active--;
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
    struct call_ending end = {.not_executed = true};

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
    server_call_finish(call, &end);
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
    server_call_detach(call);
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
    struct call_ending end = {.status = FLY_CANCELLED, .text = "cancelled by the caller"};

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
    server_call_put_end(conn, call->id, &end);
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
