/*
 * server_request - REQ becomes a call and goes where its method is served: to on_call or a handler
 * on this thread, or to a worker.
 *
 * Under one lock a request is let in or turned away, before its body is looked at; then it is
 * checked and unpacked without one.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server_internal.h"
#include "proto/wire/metadata.h"
#include "proto/wire/validate.h"

/* ---- turned away ---- */

/* Answers a REQ that never became a call. */
static void turn_away(struct server_conn *conn, uint32_t id, const struct fly_error *why)
{
    struct call_ending end = {.status = why->status, .text = why->text, .not_executed = true};

    rpc_link_lock(&conn->link);
    server_call_put_end(conn, id, &end);
    rpc_link_unlock(&conn->link);
    transport_flush(conn->link.transport);
}

/* Ends a call that no handler saw. */
static void refuse(struct rpc_call *call, enum fly_status status, const char *text)
{
    struct call_ending end = {.status = status, .text = text, .not_executed = true};

    server_call_finish(call, &end, false);
}

/* The same for one that found the pool full: with the time to wait before another try. */
static void refuse_full(struct rpc_call *call)
{
    uint8_t trailer[64];
    struct fly_writer w = fly_writer_over(trailer, sizeof trailer);
    struct call_ending end = {.status = FLY_RESOURCE_EXHAUSTED,
                              .text = "too many calls wait for a worker",
                              .not_executed = true};

    FLY_CHECK(metadata_put_number(&w, METADATA_PUSHBACK, PUSHBACK_MS, NULL) == FLY_OK);
    end.trailer = (struct fly_bytes){trailer, w.size};
    stat_add(&call->conn->server->stats.excess);
    server_call_finish(call, &end, false);
}

struct rpc_call *server_request_find(struct server_conn *conn, uint32_t id)
{
    uint32_t slot = frame_call_slot(id);
    struct rpc_call *call = slot < conn->slot_count ? conn->slots[slot] : NULL;

    return call != NULL && call->id == id ? call : NULL;
}

/* ---- dispatch ---- */

static void refuse_late(struct rpc_call *call)
{
    stat_add(&call->conn->server->stats.late);
    refuse(call, FLY_DEADLINE_EXCEEDED, "the deadline passed before the call was begun");
}

/* Not under the lock: to a worker. */
static void call_post(struct rpc_call *call)
{
    struct server_conn *conn = call->conn;

    rpc_link_lock(&conn->link);
    bool wanted = call->attached;
    call->stage = CALL_POOLED;
    rpc_link_unlock(&conn->link);
    call->item.deadline_ms = call->deadline_ms;
    if (!wanted) {
        refuse(call, FLY_CANCELLED, "cancelled by the caller");
    } else if (!rpc_pool_post(conn->server->pool, &call->item)) {
        refuse_full(call);
    }
}

void server_request_run(struct rpc_pool_item *item)
{
    struct rpc_call *call = FLY_CONTAINER(item, struct rpc_call, item);
    const struct method_entry *entry = call->entry;

    rpc_link_lock(&call->conn->link);
    bool wanted = call->attached;
    call->stage = CALL_DISPATCHED;
    rpc_link_unlock(&call->conn->link);
    if (!wanted) {
        refuse(call, FLY_CANCELLED, "cancelled by the caller");
    } else if (call->deadline_ms != 0 && fly_clock_boot_ms() >= call->deadline_ms) {
        refuse_late(call);
    } else {
        entry->service->handle(entry->service, entry->index, call);
    }
}

void server_request_late(struct rpc_pool_item *item)
{
    struct rpc_call *call = FLY_CONTAINER(item, struct rpc_call, item);
    enum { CERTAIN_MS = 10 };

    /* displaced by what is likelier to be in time; who has time left may try elsewhere */
    if (call->deadline_ms != 0 && fly_clock_boot_ms() + CERTAIN_MS >= call->deadline_ms) {
        refuse_late(call);
    } else {
        refuse_full(call);
    }
}

/* Not under the lock: to the handler of a service. */
static void call_serve(struct rpc_call *call)
{
    const struct rpc_server *server = call->conn->server;
    const struct method_entry *entry = call->entry;
    struct fly_error error = {.text = ""};
    enum fly_status status = FLY_OK;

    if (server->config.on_allow != NULL) {
        status = server->config.on_allow(server->config.user, call, &error);
    }
    if (status != FLY_OK) {
        refuse(call, status, error.text);
    } else if (server->pool == NULL || (entry->method->flags & RPC_INLINE) != 0) {
        entry->service->handle(entry->service, entry->index, call);
    } else {
        call_post(call);
    }
}

/* Hands the call to the application, unless it is too late or not allowed. Not under the lock. */
static void call_dispatch(struct rpc_call *call, int64_t now_ms)
{
    struct rpc_server *server = call->conn->server;

    if (call->peer == NULL && server->config.on_hello != NULL &&
        (call->entry->method->flags & RPC_OPEN) == 0) {
        stat_add(&server->stats.unauthenticated);
        refuse(call, FLY_UNAUTHENTICATED, "this method needs a token");
    } else if (call->deadline_ms != 0 && now_ms >= call->deadline_ms) {
        refuse_late(call);
    } else if (call->entry->service != NULL) {
        call_serve(call);
    } else {
        server->config.on_call(server->config.user, call);
    }
}

/* Under the lock: a call that waited for HELLO counts from here on. False: one too many. */
static bool call_leave_queue(struct rpc_call *call)
{
    struct server_conn *conn = call->conn;

    if (conn->closed) { /* what the connection counted has been folded: one more is one less less */
        (void)atomic_fetch_sub_explicit(&conn->server->stats.unbegun_late, 1, memory_order_relaxed);
    } else {
        conn->counts.begun++;
    }
    call->begun = true;
    if (conn->tenant == NULL || call->tenanted) {
        return true;
    }
    call->tenanted = server_tenant_begin(conn->server, conn->tenant);
    return call->tenanted;
}

void server_request_release(struct rpc_call *call)
{
    struct server_conn *conn = call->conn;

    rpc_call_hold(call);
    rpc_link_lock(&conn->link);
    bool fine = call_leave_queue(call);
    rpc_link_unlock(&conn->link);
    if (fine) {
        call_dispatch(call, fly_clock_boot_ms());
    } else {
        stat_add(&conn->server->stats.excess);
        refuse(call, FLY_RESOURCE_EXHAUSTED, "too many calls in flight of this tenant");
    }
    rpc_link_lock(&conn->link);
    call->stage = call->stage == CALL_DISPATCHING ? CALL_DISPATCHED : call->stage;
    bool owed = call->cancel_owed;
    rpc_link_unlock(&conn->link);
    if (owed) {
        server_call_tell_cancelled(call);
    }
    rpc_call_drop(call);
}

/* ---- REQ ---- */

/* Checks and unpacks the body into the call's memory. */
static enum fly_status call_unpack(struct rpc_call *call, const struct frame *frame,
                                   struct fly_bytes metadata, struct fly_error *error)
{
    const ProtobufCMessageDescriptor *type = call->entry->method->request;
    bool streams = (call->entry->method->flags & RPC_CLIENT_STREAM) != 0;
    size_t arena_size = 0;
    enum fly_status status =
        streams ? FLY_OK
                : validate_message(type, frame->body, call->conn->server->config.arena_max,
                                   &arena_size, error);

    if (status != FLY_OK) {
        stat_add(&call->conn->server->stats.malformed);
        /* gRPC's table: a request that does not parse is INTERNAL */
        return status == FLY_INVALID_ARGUMENT ? FLY_INTERNAL : status;
    }
    uint8_t *memory = call->arena;
    if (arena_size + metadata.size > sizeof call->arena) {
        memory = malloc(arena_size + metadata.size);
        call->memory = memory;
        if (memory == NULL) {
            return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
        }
    }
    call->queue_bytes = arena_size + metadata.size;
    if (metadata.size > 0) {
        memcpy(memory + arena_size, metadata.data, metadata.size);
        call->metadata = (struct fly_bytes){memory + arena_size, metadata.size};
    }
    if ((call->entry->method->flags & (RPC_STREAM | RPC_CLIENT_STREAM)) != 0) {
        call->stream = server_stream_make(call);
        if (call->stream == NULL) {
            return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
        }
    }
    if (streams) {
        return FLY_OK; /* its requests come as messages */
    }
    rpc_metrics_message(call->entry->metrics, true, frame->body.size);
    struct fly_arena arena = fly_arena_over(memory, arena_size);
    call->request = validate_unpack(type, frame->body, &arena);
    FLY_CHECK(call->request != NULL); /* the validator's promise */
    return FLY_OK;
}

/* Under the lock: into its slot, with all that is known before the body. NULL: no memory. */
static struct rpc_call *call_enter(struct server_conn *conn, struct method_entry *entry,
                                   const struct frame *frame, const struct frame_request *request)
{
    struct rpc_call *call = server_call_new(conn);
    bool waits = conn->state != CONN_OPEN && (entry->method->flags & RPC_OPEN) == 0;

    if (call == NULL) {
        return NULL;
    }
    call->entry = entry;
    call->id = frame->header.call_id;
    call->trace = request->trace;
    call->started_us = conn->link.heard_us;
    if (request->timeout_ms > 0) {
        call->deadline_ms = conn->link.heard_us / 1000 + (int64_t)request->timeout_ms;
    }
    call->tenanted = conn->tenant != NULL;
    call->begun = !waits;
    conn->counts.begun += call->begun ? 1 : 0;
    call->stage = waits ? CALL_QUEUED : CALL_DISPATCHED;
    call->peer = conn->state == CONN_OPEN ? conn->peer : NULL;
    conn->slots[frame_call_slot(call->id)] = call;
    call->attached = true;
    conn->active++;
    conn->admitted = rpc_link_taken(&conn->link);
    return call;
}

enum verdict { LET_IN, TURNED_AWAY, IGNORED, VIOLATION };

/* Takes the lock: lets a request in (*call), or says why not. */
static enum verdict admit(struct server_conn *conn, struct method_entry *entry,
                          const struct frame *frame, const struct frame_request *request,
                          struct rpc_call **call, struct fly_error *error)
{
    uint32_t slot = frame_call_slot(frame->header.call_id);
    enum verdict verdict = LET_IN;

    rpc_link_lock(&conn->link);
    conn->counts.calls++;
    if (conn->state == CONN_REFUSED || conn->closed) {
        verdict = IGNORED;
    } else if (slot < conn->slot_count && conn->slots[slot] != NULL) {
        verdict = VIOLATION;
    } else if (conn->going_away) {
        verdict = TURNED_AWAY;
        error->status = FLY_UNAVAILABLE;
        (void)fly_error_set(error, FLY_UNAVAILABLE, "this node is going away");
    } else if (error->status != FLY_OK || server_limits_enter(conn, entry, slot, error) != FLY_OK) {
        verdict = TURNED_AWAY;
    } else {
        *call = call_enter(conn, entry, frame, request);
        if (*call == NULL) {
            server_limits_leave(entry, conn->tenant);
            verdict = TURNED_AWAY;
            (void)fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
        }
    }
    rpc_link_unlock(&conn->link);
    return verdict;
}

/* A call that must wait for HELLO's answer. True: it need not, after all. */
static bool call_wait(struct rpc_call *call, bool *excess)
{
    struct server_conn *conn = call->conn;

    rpc_link_lock(&conn->link);
    bool waits = conn->state != CONN_OPEN;
    *excess = waits && conn->queue_bytes + call->queue_bytes > conn->server->config.frame_max;
    if (!waits) {
        call->stage = CALL_DISPATCHING; /* as if it had been the queue's last */
        call->peer = conn->peer;
    } else if (!*excess) {
        fly_list_append(&conn->queue, &call->node);
        conn->queue_bytes += call->queue_bytes;
    }
    rpc_link_unlock(&conn->link);
    return !waits;
}

/* Where a call goes whose request is unpacked. */
static void call_go(struct rpc_call *call, int64_t now_ms)
{
    bool excess = false;

    if (call->stage != CALL_QUEUED) {
        call_dispatch(call, now_ms);
    } else if (call_wait(call, &excess)) {
        server_request_release(call);
    } else if (excess) {
        stat_add(&call->conn->server->stats.excess);
        refuse(call, FLY_RESOURCE_EXHAUSTED, "too many calls before HELLO's answer");
    }
}

/* The receiving thread's idea of now: the clock is read once for each read, and at the end of each
 * call. */
static int64_t now_of(struct server_conn *conn)
{
    int64_t recent_us = atomic_load_explicit(&conn->recent_us, memory_order_relaxed);

    return recent_us > conn->link.heard_us ? recent_us : conn->link.heard_us;
}

/* The metadata's size shows in the header: what is over the limit is no violation. */
static bool metadata_large(const struct frame *frame)
{
    size_t before = FRAME_REQ_META_SIZE +
                    ((frame->header.flags & FRAME_FLAG_TRACE) != 0 ? FRAME_TRACE_SIZE : 0);

    return (frame->header.flags & FRAME_FLAG_METADATA) != 0 &&
           frame->header.meta_size > before + FRAME_METADATA_MAX;
}

bool server_request_take(struct server_conn *conn, const struct frame *frame)
{
    struct rpc_server *server = conn->server;
    struct method_entry *entry = server_methods_find(server, frame->header.arg);
    struct frame_request request;
    struct rpc_call *call = NULL;
    struct fly_error error;

    error.status = FLY_OK;
    if (metadata_large(frame)) {
        (void)fly_error_set(&error, FLY_RESOURCE_EXHAUSTED, "metadata over %d bytes",
                            FRAME_METADATA_MAX);
    } else if (!frame_request_decode(frame, &request)) {
        return false;
    } else {
        error.status = server_limits_request(server, entry, frame, &request, &error);
    }
    enum verdict verdict = admit(conn, entry, frame, &request, &call, &error);
    if (verdict == TURNED_AWAY) {
        turn_away(conn, frame->header.call_id, &error);
    }
    if (verdict != LET_IN) {
        return verdict != VIOLATION;
    }
    rpc_metrics_started(entry->metrics);
    error.status = call_unpack(call, frame, request.metadata, &error);
    if (error.status == FLY_OK) {
        call_go(call, now_of(conn) / 1000);
    } else {
        refuse(call, error.status, error.text);
    }
    return true;
}
