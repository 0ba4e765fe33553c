/*
 * server_call - one call at the server: its memory, its one end, and what can be asked of it.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server_internal.h"

static const struct fly_bytes nothing;

/* ---- memory ---- */

struct rpc_call *server_call_new(struct server_conn *conn)
{
    struct rpc_call *call = NULL;

    if (fly_list_empty(&conn->spares)) {
        call = malloc(sizeof *call);
    } else {
        call = FLY_CONTAINER(conn->spares.next, struct rpc_call, node);
        fly_list_drop(&call->node);
        conn->spare_count--;
    }
    if (call != NULL) {
        memset(call, 0, offsetof(struct rpc_call, arena));
        call->conn = conn;
        fly_list_init(&call->node);
        atomic_init(&call->references, 2); /* slot and application */
        conn->alive++;
    }
    return call;
}

/* What a call has beside its own memory. */
static void free_parts(struct rpc_call *call)
{
    free(call->memory);
    free(call->trailer_memory);
    if (call->stream != NULL) {
        server_stream_free(call->stream);
    }
}

/* Under the lock: keeps the memory for the next call, or says that it is to be freed. */
static bool keep_spare(struct rpc_call *call)
{
    struct server_conn *conn = call->conn;
    bool keep = !conn->closed && conn->spare_count < SPARE_CALLS;

    if (keep) {
        fly_list_prepend(&conn->spares, &call->node);
        conn->spare_count++;
    }
    return keep;
}

/* Gives back `count` references; true: they were the last. Who is alone needs no atomic
 * operation: nobody can take another one. */
static bool references_drop(struct rpc_call *call, unsigned count)
{
    return atomic_load_explicit(&call->references, memory_order_acquire) == count ||
           atomic_fetch_sub_explicit(&call->references, count, memory_order_acq_rel) == count;
}

void rpc_call_hold(struct rpc_call *call)
{
    (void)atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
}

void rpc_call_drop(struct rpc_call *call)
{
    if (!references_drop(call, 1)) {
        return;
    }
    struct server_conn *conn = call->conn;
    free_parts(call);
    rpc_link_lock(&conn->link);
    bool kept = keep_spare(call);
    bool over = server_conn_release(conn);
    rpc_link_unlock(&conn->link);
    if (!kept) {
        free(call);
    }
    if (over) {
        rpc_link_drop(&conn->link);
    }
}

void server_call_detach(struct rpc_call *call)
{
    call->conn->slots[frame_call_slot(call->id)] = NULL;
    call->attached = false;
    if (call->stream != NULL) {
        server_stream_detached(call->stream);
    }
}

void server_call_leave(struct rpc_call *call, bool finished)
{
    struct server_conn *conn = call->conn;
    struct server_stats *stats = &conn->server->stats;

    conn->active--;
    server_limits_leave(call->entry, call->tenanted ? conn->tenant : NULL);
    if (!call->begun) {
        return;
    }
    if (conn->closed) {
        stat_add(finished ? &stats->finished_late : &stats->unbegun_late);
    } else if (finished) {
        conn->counts.finished++;
    } else {
        conn->counts.begun--;
    }
}

/* ---- END ---- */

static enum rpc_put put_reply(struct server_conn *conn, struct frame_header header,
                              const struct call_ending *end)
{
    uint8_t meta[FRAME_END_META_MAX];
    struct fly_bytes before = nothing;

    if (end->trailer.size > 0) {
        before.data = meta;
        before.size =
            frame_end_encode(&(struct frame_end){.metadata = end->trailer}, &header.flags, meta);
    }
    return rpc_link_put_message(&conn->link, header, before, end->message, end->message_size,
                                false);
}

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

    if (end->message != NULL) {
        enum rpc_put put = put_reply(conn, header, end);
        if (put != RPC_PUT_DONE) {
            struct call_ending instead = {.status = FLY_RESOURCE_EXHAUSTED,
                                          .text = put == RPC_PUT_LARGE
                                                      ? "the reply is larger than the caller takes"
                                                      : "the caller does not read its replies"};
            server_call_put_end(conn, id, &instead);
        }
        return;
    }
    bool failed = end->status != FLY_OK;
    struct fly_bytes detail =
        failed && end->detail.size <= FRAME_DETAIL_MAX ? end->detail : nothing;
    struct fly_bytes text = {(const uint8_t *)end->text,
                             failed && end->text != NULL ? strnlen(end->text, FRAME_TEXT_MAX) : 0};
    uint8_t meta[FRAME_END_META_MAX];
    if (end->trailer.size > 0) {
        text.size = frame_end_encode(&(struct frame_end){.text = text, .metadata = end->trailer},
                                     &header.flags, meta);
        text.data = meta;
    }
    (void)rpc_link_put(&conn->link, header, text, detail, true);
}

void server_call_ended(struct rpc_call *call, enum fly_status status, int64_t now_us)
{
    rpc_metrics_ended(call->entry->metrics, status, (now_us - call->started_us) * 1000);
}

/* Under the lock: END goes out, or is owed to a slow reader. True: the slot's reference is the
 * caller's. */
static bool end_attached(struct rpc_call *call, const struct call_ending *end, bool by_application)
{
    struct call_ending whole = *end;

    if (whole.trailer.size == 0) {
        whole.trailer = (struct fly_bytes){call->trailer_memory, call->trailer_size};
    }
    if (by_application && call->stream != NULL && server_stream_owe_end(call->stream, &whole)) {
        return false;
    }
    server_call_put_end(call->conn, call->id, &whole);
    server_call_detach(call);
    return true;
}

/* Under the lock: a small call that nobody else knows of leaves all at once, and its memory to the
 * next. The connection is kept in its stead: the link is to be dropped in the end. */
static bool end_of_memory(struct rpc_call *call, unsigned references)
{
    struct server_conn *conn = call->conn;
    bool simple = call->memory == NULL && call->stream == NULL && call->trailer_memory == NULL;

    if (!simple || atomic_load_explicit(&call->references, memory_order_acquire) != references ||
        !keep_spare(call)) {
        return false;
    }
    rpc_link_hold(&conn->link);
    FLY_CHECK(!server_conn_release(conn)); /* only a closed one goes, and that keeps no spares */
    return true;
}

void server_call_finish(struct rpc_call *call, const struct call_ending *end, bool by_application)
{
    struct server_conn *conn = call->conn;
    struct rpc_server *server = conn->server;
    int64_t now_us = fly_clock_boot_us();

    server_call_ended(call, end->status, now_us);
    if (end->message != NULL) {
        rpc_metrics_message(call->entry->metrics, false, end->message_size);
    }
    rpc_link_lock(&conn->link);
    FLY_CHECK(!atomic_load_explicit(&call->finished, memory_order_relaxed)); /* exactly once */
    atomic_store_explicit(&call->finished, true, memory_order_release);
    atomic_store_explicit(&conn->recent_us, now_us, memory_order_relaxed);
    bool attached = call->attached;
    bool detached = attached && end_attached(call, end, by_application);
    server_call_leave(call, by_application);
    void *gone = server_conn_peer_ended(conn);
    unsigned references = detached ? 2 : 1;
    bool reused = end_of_memory(call, references);
    rpc_link_unlock(&conn->link);
    if (attached) {
        transport_flush(conn->link.transport);
    } else {
        stat_add(&server->stats.orphaned);
    }
    if (gone != NULL) {
        server_conn_tell_peer_gone(conn, gone);
    }
    for (; !reused && references > 0; references--) {
        rpc_call_drop(call);
    }
    if (reused) {
        rpc_link_drop(&conn->link);
    }
}

void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *message)
{
    bool stream = (call->entry->method->flags & RPC_STREAM) != 0;
    struct call_ending end = {.status = FLY_OK, .message = message};

    FLY_CHECK(stream ? message == NULL : message->descriptor == call->entry->method->reply);
    if (message != NULL) {
        end.message_size = protobuf_c_message_get_packed_size(message);
    }
    server_call_finish(call, &end, true);
}

void rpc_call_fail(struct rpc_call *call, enum fly_status status, const char *text,
                   struct fly_bytes detail)
{
    struct call_ending end = {.status = status, .text = text, .detail = detail};

    FLY_CHECK(status != FLY_OK);
    server_call_finish(call, &end, true);
}

void rpc_call_turn_away(struct rpc_call *call, enum fly_status status, const char *text,
                        struct fly_bytes detail)
{
    struct call_ending end = {
        .status = status, .text = text, .detail = detail, .not_executed = true};

    FLY_CHECK(status != FLY_OK);
    server_call_finish(call, &end, true);
}

/* ---- what the application is told ---- */

/* Its own watch, or else what the config says. */
static void tell(struct rpc_call *call, void (*otherwise)(void *user, struct rpc_call *call))
{
    rpc_link_lock(&call->conn->link);
    void (*changed)(void *user, struct rpc_call *call) = call->changed;
    void *user = changed != NULL ? call->changed_user : call->conn->server->config.user;
    rpc_link_unlock(&call->conn->link);
    changed = changed != NULL ? changed : otherwise;
    if (changed != NULL && !rpc_call_finished(call)) {
        changed(user, call);
    }
}

void server_call_tell_cancelled(struct rpc_call *call)
{
    tell(call, call->conn->server->config.on_cancel);
}

void server_call_tell_writable(struct rpc_call *call)
{
    tell(call, call->conn->server->config.on_writable);
}

void server_call_tell_readable(struct rpc_call *call)
{
    tell(call, call->conn->server->config.on_readable);
}

void rpc_call_watch(struct rpc_call *call, void (*changed)(void *user, struct rpc_call *call),
                    void *user)
{
    rpc_call_hold(call);
    rpc_link_lock(&call->conn->link);
    call->changed = changed;
    call->changed_user = user;
    bool gone = !call->attached;
    rpc_link_unlock(&call->conn->link);
    if (gone && !rpc_call_finished(call)) {
        changed(user, call);
    }
    rpc_call_drop(call);
}
