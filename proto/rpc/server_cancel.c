/*
 * server_cancel - calls that are no longer wanted: CANCEL, and the end of the connection.
 */
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server_internal.h"

/* Under the lock: takes back a call that nobody has seen yet. */
static bool call_withdraw(struct rpc_call *call)
{
    struct server_conn *conn = call->conn;
    bool unseen = false;

    if (call->stage == CALL_QUEUED) {
        fly_list_drop(&call->node);
        conn->queue_bytes -= call->queue_bytes;
        unseen = true;
    } else if (call->stage == CALL_POOLED) {
        /* a worker that has it already sees, before it begins, that its slot is gone */
        unseen = rpc_pool_withdraw(conn->server->pool, &call->item);
    }
    if (unseen) {
        server_call_leave(call, false);
    }
    return unseen;
}

/* Under the lock: the caller no longer wants it. True: that is to be told now. */
static bool call_give_up(struct rpc_call *call)
{
    atomic_store_explicit(&call->cancelled, true, memory_order_relaxed);
    server_call_detach(call);
    call->cancel_owed = call->stage == CALL_DISPATCHING;
    return call->stage == CALL_DISPATCHED;
}

/* Afterwards, not under the lock: tells, and gives back the references that nobody holds now. */
static void call_given_up(struct rpc_call *call, bool tell, bool unseen)
{
    if (tell) {
        server_call_tell_cancelled(call);
    }
    if (unseen) {
        server_call_ended(call, FLY_CANCELLED, fly_clock_boot_us());
        rpc_call_drop(call); /* the application's: it never saw it */
    }
    rpc_call_drop(call);
}

void server_cancel_take(struct server_conn *conn, const struct frame *frame)
{
    struct server_stats *stats = &conn->server->stats;
    struct call_ending end = {.status = FLY_CANCELLED, .text = "cancelled by the caller"};

    rpc_link_lock(&conn->link);
    struct rpc_call *call = server_request_find(conn, frame->header.call_id);
    if (call == NULL) {
        rpc_link_unlock(&conn->link);
        stat_add(&stats->stale);
        return;
    }
    bool unseen = call_withdraw(call);
    bool tell = call_give_up(call);
    end.not_executed = unseen;
    server_call_put_end(conn, call->id, &end);
    rpc_link_unlock(&conn->link);
    stat_add(&stats->cancelled);
    transport_flush(conn->link.transport);
    call_given_up(call, tell && !unseen, unseen);
}

void server_cancel_all(struct server_conn *conn)
{
    struct fly_list told;
    struct fly_list unseen;

    fly_list_init(&told);
    fly_list_init(&unseen);
    rpc_link_lock(&conn->link);
    for (uint32_t slot = 0; slot < conn->slot_count; slot++) {
        struct rpc_call *call = conn->slots[slot];
        if (call == NULL) {
            continue;
        }
        bool withdrawn = call_withdraw(call);
        bool tell = call_give_up(call);
        if (withdrawn || tell) {
            fly_list_append(withdrawn ? &unseen : &told, &call->node);
        } else {
            rpc_call_drop(call); /* not the last: its dispatcher, or its worker, has one */
        }
    }
    rpc_link_unlock(&conn->link);
    while (!fly_list_empty(&told) || !fly_list_empty(&unseen)) {
        bool tell = !fly_list_empty(&told);
        struct fly_list *node = tell ? told.next : unseen.next;
        fly_list_drop(node);
        call_given_up(FLY_CONTAINER(node, struct rpc_call, node), tell, !tell);
    }
}
