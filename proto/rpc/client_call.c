/*
 * client_call - the public calls: the fast path, and where it is left.
 */
#include "proto/rpc/client_internal.h"

#include "proto/base/clock.h"
#include "proto/rpc/server.h"

static const struct rpc_call_options no_options;

static bool hedges(const struct rpc_method *method)
{
    const struct retry_policy *policy = method->retry;

    return policy != NULL && policy->hedge && policy->attempts_max > 1 &&
           (method->flags & RPC_READ_ONLY) != 0;
}

static void refuse(struct rpc_reply *reply, enum fly_status status, const char *text)
{
    *reply = (struct rpc_reply){.status = status};
    (void)fly_copy_string(reply->text, sizeof reply->text, text);
}

static struct rpc_method_metrics *count_start(struct rpc_client *client,
                                              const struct rpc_method *method)
{
    struct rpc_method_metrics *counts = rpc_metrics_of(client->metrics, method);

    (void)atomic_fetch_add_explicit(&client->calls, 1, memory_order_relaxed);
    rpc_metrics_started(counts);
    return counts;
}

static void count_end(struct rpc_method_metrics *counts, const struct rpc_reply *reply,
                      int64_t started_us)
{
    if (reply->status == FLY_OK) {
        client_count_message(counts, true, reply->message);
    }
    rpc_metrics_ended(counts, reply->status, (fly_clock_boot_us() - started_us) * 1000);
}

/* ---- waited for ---- */

/* Everything but a call over an open connection that went well. `first`: what the attempt on `conn`
 * came to, if there was one. */
static enum fly_status call_slowly(struct client_call *call, const ProtobufCMessage *request,
                                   const struct rpc_call_options *options, struct client_conn *conn,
                                   struct rpc_reply *reply)
{
    struct client_waiter waiter = {.reply = reply};
    struct rpc_reply first;

    (void)sem_init(&waiter.ended, 0, 0);
    call->waiter = &waiter;
    call->request = request;
    call->parent = options->parent;
    call->metadata = options->metadata.data;
    call->metadata_size = (uint32_t)options->metadata.size;
    call->hedged = hedges(call->method);
    call->conn = conn;
    if (conn == NULL) {
        client_call_go(call);
    } else {
        call->avoid = 1U << conn->target;
        rpc_reply_move(&first, reply);
        if (client_call_attempted(call, &first, first.sent ? RETRY_REACHED : RETRY_TURNED_AWAY)) {
            client_call_go(call);
        }
    }
    while (sem_wait(&waiter.ended) != 0) {
    }
    (void)sem_destroy(&waiter.ended);
    return reply->status;
}

enum fly_status rpc_client_call(struct rpc_client *client, const struct rpc_method *method,
                                const ProtobufCMessage *request,
                                const struct rpc_call_options *options, struct rpc_reply *reply)
{
    const struct rpc_call_options *o = options != NULL ? options : &no_options;
    struct rpc_method_metrics *counts = count_start(client, method);
    int64_t started_us = fly_clock_boot_us();
    struct client_conn *conn = NULL;

    client_count_message(counts, false, request);
    /* one that would wait for room has to be told apart from one that the server refused */
    if (!o->wait_for_ready && !hedges(method)) {
        conn = client_conn_pick(client, 0, 1);
    }
    if (conn != NULL) {
        enum fly_status status = rpc_channel_call(conn->channel, method, request, o, reply);
        bool good = status == FLY_OK;
        if (good) {
            client_succeeded(client);
        }
        if (atomic_load_explicit(&client->waiting_count, memory_order_seq_cst) != 0) {
            client_wait_pump(client);
        }
        if (good || client_answered(method, reply)) {
            count_end(counts, reply, started_us);
            client_conn_drop(conn);
            return status;
        }
    }
    struct client_call *call = client_call_make(client, method, o, started_us);
    if (call != NULL) {
        call->counts = counts;
        return call_slowly(call, request, o, conn, reply);
    }
    if (conn == NULL) {
        refuse(reply, FLY_RESOURCE_EXHAUSTED, "too many calls at once");
    }
    count_end(counts, reply, started_us);
    if (conn != NULL) {
        client_conn_drop(conn);
    }
    return reply->status;
}

/* ---- not waited for ---- */

/* The request has to wait here, whatever it costs within the limits. */
static bool keep_waiting(struct client_call *call, const ProtobufCMessage *request,
                         struct fly_bytes metadata)
{
    return call->kept || client_call_keep(call, request, metadata, SIZE_MAX) == FLY_OK;
}

/* The first attempt could not be sent; nobody knows of the call yet. False: that ended it. */
static bool start_refused(struct client_call *call, struct client_conn *conn,
                          enum fly_status status)
{
    struct rpc_client *client = call->client;

    if (status == FLY_UNAVAILABLE) {
        client_conn_check(conn);
    }
    client_lock(client);
    client_call_slow(call); /* it holds no connection any more */
    client->unbegun++;
    call->conn = NULL;
    call->step = CALL_MOVING;
    client_unlock(client);
    client_conn_drop(conn);
    client_conn_drop(conn);
    if (status == FLY_UNAVAILABLE || status == FLY_RESOURCE_EXHAUSTED) {
        return true; /* another connection, or waiting, may help */
    }
    client_call_end_text(call, status, client_refusal_text(status));
    return false;
}

void rpc_client_start(struct rpc_client *client, const struct rpc_method *method,
                      const ProtobufCMessage *request, const struct rpc_call_options *options,
                      rpc_done *done, void *user, uint64_t *id)
{
    const struct rpc_call_options *o = options != NULL ? options : &no_options;
    struct rpc_method_metrics *counts = count_start(client, method);
    int64_t started_us = fly_clock_boot_us();
    struct client_call *call = client_call_make(client, method, o, started_us);
    struct rpc_reply reply;

    if (id != NULL) {
        *id = call != NULL ? client_call_id(call) : 0;
    }
    if (call == NULL) {
        refuse(&reply, FLY_RESOURCE_EXHAUSTED, "too many calls at once");
        count_end(counts, &reply, started_us);
        done(user, &reply);
        return;
    }
    call->counts = counts;
    call->done = done;
    call->user = user;
    if (o->parent != NULL && !frame_trace_present(&call->trace)) {
        call->trace = *rpc_call_trace(o->parent);
    }
    (void)client_call_keep(call, request, o->metadata,
                           method->retry != NULL ? client->config.retry_keep_max : 0);
    rpc_metrics_message(counts, false, call->request_size);
    call->hedged = hedges(method) && call->kept;
    /* two holds: the call's, and ours until it has started; it may have ended by then */
    struct client_conn *conn = call->hedged ? NULL : client_conn_pick(client, 0, 2);
    if (conn != NULL) {
        call->conn = conn;
        call->avoid = 1U << conn->target;
        call->step = CALL_ATTEMPT;
        enum fly_status status = rpc_channel_start(conn->channel, method, request, o,
                                                   client_on_attempt, call, &call->channel_id);
        if (status == FLY_OK) {
            client_conn_drop(conn);
            return;
        }
        if (!start_refused(call, conn, status)) {
            return;
        }
    }
    if (keep_waiting(call, request, o->metadata)) {
        client_call_go(call);
    } else {
        client_call_end_text(call, FLY_RESOURCE_EXHAUSTED,
                             "requests that wait take too much memory already");
    }
}

void rpc_client_cancel(struct rpc_client *client, uint64_t id)
{
    struct client_call *call = client_call_find(client, id);
    struct client_conn *conn = NULL;
    bool ours = false;
    bool hedged = false;
    uint32_t channel_id = 0;

    if (call == NULL) {
        return;
    }
    atomic_store(&call->cancelled, true);
    client_lock(client);
    switch (call->step) {
    case CALL_WAITING:
    case CALL_BACKOFF:
        client_wait_take(call);
        ours = true;
        break;
    case CALL_HEDGING:
        hedged = client_hedge_take(call, false);
        break;
    case CALL_ATTEMPT:
        channel_id = call->channel_id;
        if (channel_id != 0 && !client->closed) {
            conn = call->conn;
            client_conn_hold(conn);
            client_busy(client, 1);
        }
        break;
    case CALL_MOVING:
        break; /* whoever moves it looks at `cancelled` */
    }
    client_unlock(client);
    if (ours) {
        client_call_end_text(call, FLY_CANCELLED, "cancelled");
    } else if (hedged) {
        client_hedge_cancel(call);
    } else if (conn != NULL) {
        rpc_channel_cancel(conn->channel, channel_id);
        client_conn_drop(conn);
        client_lock(client);
        client_busy(client, -1);
        client_unlock(client);
    }
    client_call_drop(call);
}
