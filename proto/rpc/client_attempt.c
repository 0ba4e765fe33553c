/*
 * client_attempt - one attempt of a call after the other, and the one way in which a call ends.
 *
 * A function that owns a call either ends it or hands it on: to an attempt, the list or the heap.
 * After that it must not look at it, unless it has pinned it.
 */
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/client_internal.h"

/* ---- the end ---- */

void client_call_end(struct client_call *call, struct rpc_reply *reply)
{
    reply->sent = reply->sent || call->sent;
    if (!call->only_conn) {
        int64_t taken_us = fly_clock_boot_us() - call->started_us;
        if (reply->status == FLY_OK) {
            client_count_message(call->counts, true, reply->message);
        }
        rpc_metrics_ended(call->counts, reply->status, taken_us * 1000);
    }
    if (call->waiter != NULL) {
        rpc_reply_move(call->waiter->reply, reply);
    } else {
        call->done(call->user, reply);
    }
    rpc_reply_fini(reply);
    client_call_drop(call);
}

/* A reply without memory of its own. */
static void reply_say(struct rpc_reply *reply, enum fly_status status, const char *text)
{
    *reply = (struct rpc_reply){.status = status};
    (void)fly_copy_string(reply->text, sizeof reply->text, text);
}

void client_call_end_text(struct client_call *call, enum fly_status status, const char *text)
{
    struct rpc_reply reply;

    reply_say(&reply, status, text);
    client_call_end(call, &reply);
}

/* ---- what an attempt came to ---- */

bool client_answered(const struct rpc_method *method, const struct rpc_reply *reply)
{
    return method->retry == NULL && reply->status != FLY_UNAVAILABLE && reply->trailer.size == 0;
}

struct retry_outcome client_outcome(const struct client_call *call, const struct rpc_reply *reply,
                                    enum retry_reach reach)
{
    struct retry_outcome outcome = {.status = reply->status, .reach = reach};

    outcome.has_pushback = retry_pushback(reply->trailer, &outcome.pushback_ms);
    outcome.committed = reply->head.size > 0 || (call->request == NULL && !call->kept);
    return outcome;
}

void client_throttled(struct rpc_client *client, struct client_call *call)
{
    atomic_store_explicit(&client->throttle_low, client->throttle.tokens < client->throttle.max,
                          memory_order_relaxed);
    if (call != NULL && call->retry.throttled) {
        call->retry.throttled = false;
        client->counters.throttled++;
    }
}

void client_succeeded(struct rpc_client *client)
{
    if (atomic_load_explicit(&client->throttle_low, memory_order_relaxed)) {
        client_lock(client);
        retry_throttle_succeeded(&client->throttle);
        client_throttled(client, NULL);
        client_unlock(client);
    }
}

void client_call_slow(struct client_call *call)
{
    if (!call->slow) {
        call->slow = true;
        call->client->slow++;
    }
}

void client_busy(struct rpc_client *client, int change)
{
    client->busy = change > 0 ? client->busy + 1 : client->busy - 1;
    if (client->busy == 0 && client->closed) {
        (void)pthread_cond_broadcast(&client->changed);
    }
}

void client_conn_check(struct client_conn *conn)
{
    struct rpc_client *client = conn->client;

    client_lock(client);
    /* close releases what is still held, so only under the lock does the hold keep the channel */
    if (!client->closed && !conn->released && !rpc_channel_alive(conn->channel)) {
        client_conn_retire(conn);
    }
    client_unlock(client);
}

static const struct retry_policy *policy_of(const struct client_call *call)
{
    const struct retry_policy *policy = call->method->retry;

    return policy != NULL && !policy->hedge ? policy
                                            : NULL; /* one that hedges is none to wait by */
}

bool client_call_attempted(struct client_call *call, struct rpc_reply *reply,
                           enum retry_reach reach)
{
    struct rpc_client *client = call->client;
    struct client_conn *conn = call->conn;
    struct retry_outcome outcome = client_outcome(call, reply, reach);
    enum retry_verdict verdict = RETRY_NO;
    int64_t delay_ms = 0;

    if (conn != NULL && reply->status == FLY_UNAVAILABLE) {
        client_conn_check(conn);
    }
    client_lock(client);
    bool over = client->closed || atomic_load(&call->cancelled);
    if (!over) {
        verdict = retry_next(&call->retry, policy_of(call), &client->throttle, &outcome,
                             &client->rng, &delay_ms);
        client_throttled(client, call);
    }
    if (verdict == RETRY_NO) {
        client_unlock(client);
        if (over && reply->status == FLY_UNAVAILABLE) {
            reply->status = FLY_CANCELLED; /* it would have been made again, but for that */
        }
        client_call_end(call, reply);
        return false;
    }
    client_call_slow(call);
    call->sent = call->sent || reply->sent;
    call->conn = NULL;
    call->channel_id = 0;
    call->step = CALL_MOVING;
    if (verdict == RETRY_AFTER) {
        int64_t due_ms = fly_clock_boot_ms() + delay_ms;
        client->counters.retries++;
        call->step = CALL_BACKOFF;
        client_due_put(call, call->deadline_ms != 0 && call->deadline_ms < due_ms
                                 ? call->deadline_ms
                                 : due_ms);
    } else {
        client->counters.transparent_retries++;
    }
    client_unlock(client);
    rpc_reply_fini(reply);
    if (conn != NULL) {
        client_conn_drop(conn);
    }
    return verdict == RETRY_AT_ONCE;
}

void client_on_attempt(void *user, struct rpc_reply *reply)
{
    struct client_call *call = user;
    struct rpc_client *client = call->client;

    if (atomic_load_explicit(&client->waiting_count, memory_order_seq_cst) != 0) {
        client_wait_pump(client); /* this one's place is free */
    }
    if (reply->status == FLY_OK) {
        client_succeeded(client);
        client_call_end(call, reply);
    } else if (client_answered(call->method, reply)) {
        client_call_end(call, reply);
    } else if (client_call_attempted(call, reply,
                                     reply->sent ? RETRY_REACHED : RETRY_TURNED_AWAY)) {
        client_call_go(call);
    }
}

/* ---- the next attempt ---- */

enum fly_status client_may_go(const struct client_call *call, const char **why)
{
    if (call->client->closed) {
        *why = "the client was closed";
        return FLY_CANCELLED;
    }
    if (atomic_load(&call->cancelled)) {
        *why = "cancelled";
        return FLY_CANCELLED;
    }
    if (call->deadline_ms != 0 && fly_clock_boot_ms() >= call->deadline_ms) {
        *why = "the deadline passed";
        return FLY_DEADLINE_EXCEEDED;
    }
    return FLY_OK;
}

/* A connection is all that was wanted: its hold goes to the waiter. */
static void give_conn(struct client_call *call, struct client_conn *conn)
{
    struct rpc_reply reply;

    call->waiter->conn = conn;
    reply_say(&reply, FLY_OK, "");
    client_call_end(call, &reply);
}

const char *client_refusal_text(enum fly_status status)
{
    switch ((unsigned)status) {
    case FLY_UNAVAILABLE:
        return "the connection was lost";
    case FLY_RESOURCE_EXHAUSTED:
        return "the connection has no room for another call, or memory is short";
    case FLY_INVALID_ARGUMENT:
        return "the request or its metadata is larger than the server takes, or malformed";
    case FLY_DEADLINE_EXCEEDED:
        return "the deadline passed before the call";
    default:
        return "the call could not be started";
    }
}

/* Starts an attempt on a connection that the lock was held for when it was picked. FLY_OK: it runs,
 * the call is no longer ours. */
static enum fly_status start_attempt(struct client_call *call, struct client_conn *conn,
                                     uint32_t serial, uint32_t previous)
{
    struct rpc_client *client = call->client;
    uint32_t id = 0;
    enum fly_status status = client_call_send(call, conn, previous, client_on_attempt, call, &id);
    bool cancel = false;

    client_lock(client);
    if (status != FLY_OK) {
        call->step = CALL_MOVING;
        client->unbegun++;
    } else if (call->serial == serial && call->step == CALL_ATTEMPT) {
        call->channel_id = id;
        cancel = atomic_load(&call->cancelled);
    }
    client_unlock(client);
    if (cancel) {
        rpc_channel_cancel(conn->channel, id);
    }
    client_lock(client);
    client_busy(client, -1);
    client_unlock(client);
    client_conn_drop(conn); /* ours; the call has its own */
    return status;
}

/* What a start that was refused comes to; true: it is to go on. */
static bool refused(struct client_call *call, enum fly_status status, uint32_t *full)
{
    struct rpc_client *client = call->client;
    struct rpc_reply reply;
    struct fly_error error = {.text = ""};

    if (status == FLY_RESOURCE_EXHAUSTED) {
        uint32_t bit = 1U << call->conn->target;
        bool another = (*full & bit) == 0 && client->target_count > 1;
        *full |= bit;
        if (another || call->wait_for_ready) {
            struct client_conn *conn = call->conn;
            client_lock(client);
            call->conn = NULL;
            bool waits = !another && client_wait(call, true, &error) == FLY_OK;
            client_unlock(client);
            client_conn_drop(conn);
            if (another || waits) {
                return another;
            }
        }
    }
    reply_say(&reply, status, client_refusal_text(status));
    return client_call_attempted(call, &reply, RETRY_UNSENT);
}

void client_call_go(struct client_call *call)
{
    struct rpc_client *client = call->client;
    uint32_t full = 0;

    if (call->hedged) {
        client_hedge_go(call);
        return;
    }
    for (bool more = true; more;) {
        struct fly_error error = {.text = ""};
        struct client_conn *conn = NULL;
        const char *why = error.text;
        client_lock(client);
        client_call_slow(call);
        enum fly_status status = client_may_go(call, &why);
        bool stop = status != FLY_OK;
        if (!stop) {
            conn = client_conn_pick(client, full != 0 ? full : call->avoid, 1);
            status = conn == NULL ? client_wait(call, false, &error) : FLY_OK;
        }
        if (conn == NULL && status == FLY_OK) {
            client_unlock(client);
            return; /* it waits */
        }
        uint32_t serial = ++call->serial;
        uint32_t previous = call->retry.attempts;
        if (conn != NULL && !call->only_conn) {
            call->conn = conn;
            call->step = CALL_ATTEMPT;
            call->channel_id = 0;
            call->avoid = 1U << conn->target;
            client_busy(client, 1);
            client_conn_hold(conn);
            client_call_pin(call);
        }
        client_unlock(client);
        if (stop) {
            client_call_end_text(call, status, why);
            return;
        }
        if (conn == NULL) {
            struct rpc_reply reply;
            reply_say(&reply, status, error.text);
            more = client_call_attempted(call, &reply, RETRY_UNTRIED);
            continue;
        }
        if (call->only_conn) {
            give_conn(call, conn);
            return;
        }
        status = start_attempt(call, conn, serial, previous);
        more = status != FLY_OK && refused(call, status, &full);
        client_call_drop(call);
    }
}
