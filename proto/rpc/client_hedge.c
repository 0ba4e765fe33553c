/*
 * client_hedge - attempts of one call side by side: the first acceptable answer wins.
 *
 * When the next attempt is due, and what the end of one means for the others, retry.h decides. Each
 * attempt that runs pins the call and holds its connection. Whoever sets `over`, under the lock,
 * owns the call from then on: it tells how it ended and cancels what still runs; an attempt that
 * ends later only lets go.
 *
 * An attempt that cannot be sent is no failure while others run: its turn is passed over.
 */
#include <stdlib.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/client_internal.h"

struct hedge_attempt {
    struct client_call *call;
    struct client_conn *conn; /* held */
    uint32_t channel_id;      /* 0: being started */
    uint32_t serial;
    bool running;
};

struct client_hedge {
    struct retry_hedge plan;
    struct hedge_attempt attempts[RETRY_ATTEMPTS_MAX];
    uint32_t used;     /* bits: targets */
    uint32_t previous; /* attempts that were sent */
    uint32_t counted;  /* of the attempts: as hedges */
    bool over;
    struct rpc_reply last; /* the last failure */
};

static const struct retry_policy *policy_of(const struct client_call *call)
{
    return call->method->retry;
}

void client_hedge_free(struct client_call *call)
{
    rpc_reply_fini(&call->hedge->last);
    free(call->hedge);
    call->hedge = NULL;
}

/* ---- the end ---- */

/* Under the lock: the caller owns the call now. */
static void set_over(struct client_call *call)
{
    call->hedge->over = true;
    call->sent = call->sent || call->hedge->plan.running > 0;
    client_due_drop(call);
}

bool client_hedge_take(struct client_call *call, bool idle)
{
    struct client_hedge *hedge = call->hedge;

    if (hedge->over || (idle && hedge->plan.running > 0)) {
        return false;
    }
    set_over(call);
    return true;
}

/* After `over`: cancels what runs. Pinned by the caller. */
static void cancel_rest(struct client_call *call)
{
    struct rpc_client *client = call->client;
    struct client_hedge *hedge = call->hedge;

    client_lock(client);
    for (uint32_t i = 0; i < RETRY_ATTEMPTS_MAX; i++) {
        struct hedge_attempt *attempt = &hedge->attempts[i];
        struct client_conn *conn = attempt->conn;
        uint32_t id = attempt->channel_id;
        /* one that is being started sees `over` by itself */
        if (!attempt->running || id == 0 || client->closed) {
            continue;
        }
        client_conn_hold(conn);
        client_busy(client, 1);
        client_unlock(client);
        rpc_channel_cancel(conn->channel, id);
        client_conn_drop(conn);
        client_lock(client);
        client_busy(client, -1);
    }
    client_unlock(client);
}

static void finish(struct client_call *call, struct rpc_reply *reply)
{
    client_call_pin(call);
    client_call_end(call, reply);
    cancel_rest(call);
    client_call_drop(call);
}

void client_hedge_cancel(struct client_call *call)
{
    struct rpc_reply reply = {.status = FLY_CANCELLED, .text = "cancelled"};

    finish(call, &reply);
}

/* ---- starting attempts ---- */

static void on_hedge_attempt(void *user, struct rpc_reply *reply);

static struct hedge_attempt *free_attempt(struct client_hedge *hedge)
{
    for (uint32_t i = 0; i < RETRY_ATTEMPTS_MAX; i++) {
        if (!hedge->attempts[i].running) {
            return &hedge->attempts[i];
        }
    }
    FLY_UNREACHABLE(); /* no more are started than there may be */
}

/* With the lock, which it gives up in between; counted as running in the plan. False: it could not
 * be sent. */
static bool launch(struct client_call *call, struct client_conn *conn)
{
    struct rpc_client *client = call->client;
    struct client_hedge *hedge = call->hedge;
    struct hedge_attempt *attempt = free_attempt(hedge);
    uint32_t serial = ++attempt->serial;
    uint32_t id = 0;
    bool cancel = false;

    attempt->call = call;
    attempt->conn = conn;
    attempt->channel_id = 0;
    attempt->running = true;
    hedge->used |= 1U << conn->target;
    client_busy(client, 1);
    client_conn_hold(conn); /* the attempt has one, and we */
    client_call_pin(call);  /* the attempt's */
    uint32_t previous = hedge->previous++;
    client_unlock(client);
    enum fly_status status = client_call_send(call, conn, previous, on_hedge_attempt, attempt, &id);
    if (status == FLY_UNAVAILABLE) {
        client_conn_check(conn);
    }
    client_lock(client);
    if (status != FLY_OK) {
        attempt->running = false;
        hedge->previous--;
        client->unbegun++;
    } else if (attempt->running && attempt->serial == serial) {
        attempt->channel_id = id;
        cancel = hedge->over;
    }
    client_unlock(client);
    if (cancel) {
        rpc_channel_cancel(conn->channel, id);
    }
    if (status != FLY_OK) {
        client_conn_drop(conn);
        client_call_drop(call);
    }
    client_conn_drop(conn);
    client_lock(client);
    client_busy(client, -1);
    return status == FLY_OK;
}

/* The first attempt, or all that are left, cannot be sent: waits for a connection, if it may. */
static enum fly_status wait_instead(struct client_call *call, struct fly_error *error)
{
    struct client_hedge *hedge = call->hedge;
    const char *why = "";
    enum fly_status status = client_may_go(call, &why);

    if (status != FLY_OK) {
        return fly_error_set(error, status, "%s", why);
    }
    client_due_drop(call);
    /* begun anew, with as many attempts as are left, when there is one */
    hedge->plan.due_ms = 0;
    return client_wait(call, false, error);
}

/* With the lock, which it gives up in between; the call is pinned by the caller. True: it is this
 * thread's to end, with `error`, or with hedge->last if that has a status. */
static bool run(struct client_call *call, struct fly_error *error)
{
    struct rpc_client *client = call->client;
    struct client_hedge *hedge = call->hedge;
    const struct retry_policy *policy = policy_of(call);

    /* while the lock was given up, what was launched may have ended and sent the call to wait */
    while (!hedge->over && call->step == CALL_HEDGING &&
           retry_hedge_due(&hedge->plan, &call->retry, policy, &client->throttle,
                           fly_clock_boot_ms())) {
        const char *why = "";
        bool may = client_may_go(call, &why) == FLY_OK;
        struct client_conn *conn = may ? client_conn_pick(client, hedge->used, 1) : NULL;
        if (conn != NULL && hedge->plan.started > hedge->counted + 1) {
            hedge->counted++;
            client->counters.hedges++;
        }
        if (conn != NULL && launch(call, conn)) {
            continue;
        }
        hedge->plan.running--;
        if (hedge->plan.running > 0 || hedge->over) {
            continue; /* passed over */
        }
        hedge->plan.started--;
        if (conn != NULL && call->retry.unsent++ < RETRY_UNSENT_MAX) {
            hedge->plan.due_ms = 0; /* over another one */
            continue;
        }
        if (wait_instead(call, error) == FLY_OK) {
            return false;
        }
        set_over(call);
        return true;
    }
    client_throttled(client, call);
    if (hedge->over || call->step != CALL_HEDGING) {
        return false;
    }
    if (retry_hedge_over(&hedge->plan, policy) || (client->closed && hedge->plan.running == 0)) {
        set_over(call);
        return true;
    }
    if (retry_hedge_pending(&hedge->plan, policy)) {
        bool sooner = call->deadline_ms != 0 && call->deadline_ms < hedge->plan.due_ms;
        client_due_put(call, sooner ? call->deadline_ms : hedge->plan.due_ms);
    }
    return false;
}

static void end_run(struct client_call *call, const struct fly_error *error)
{
    struct client_hedge *hedge = call->hedge;
    struct rpc_reply reply = {.status = error->status};

    if (hedge->last.status != FLY_OK) {
        rpc_reply_move(&reply, &hedge->last);
    } else {
        (void)fly_copy_string(reply.text, sizeof reply.text, error->text);
    }
    finish(call, &reply);
}

void client_hedge_due(struct client_call *call)
{
    struct rpc_client *client = call->client;
    struct client_hedge *hedge = call->hedge;
    struct fly_error error = {.status = FLY_DEADLINE_EXCEEDED, .text = "the deadline passed"};
    const char *why = "";

    if (client_may_go(call, &why) == FLY_DEADLINE_EXCEEDED) {
        /* what runs has the same deadline and ends by itself */
        hedge->plan.stopped = true;
        if (hedge->plan.running == 0 && client_hedge_take(call, true)) {
            client_unlock(client);
            rpc_reply_fini(&hedge->last);
            hedge->last.status = FLY_OK;
            end_run(call, &error);
            client_lock(client);
        }
        return;
    }
    if (run(call, &error)) {
        client_unlock(client);
        end_run(call, &error);
        client_lock(client);
    }
}

void client_hedge_go(struct client_call *call)
{
    struct rpc_client *client = call->client;
    struct fly_error error = {.status = FLY_UNAVAILABLE, .text = ""};
    const char *why = "";

    if (call->hedge == NULL) {
        call->hedge = calloc(1, sizeof *call->hedge);
        if (call->hedge == NULL) {
            client_call_end_text(call, FLY_RESOURCE_EXHAUSTED, "out of memory");
            return;
        }
        retry_hedge_begin(&call->hedge->plan, 0);
    }
    client_lock(client);
    client_call_slow(call);
    enum fly_status status = client_may_go(call, &why);
    if (status != FLY_OK) {
        set_over(call);
        client_unlock(client);
        client_call_end_text(call, status, why);
        return;
    }
    call->step = CALL_HEDGING;
    client_call_pin(call);
    bool ends = run(call, &error);
    client_unlock(client);
    if (ends) {
        end_run(call, &error);
    }
    client_call_drop(call);
}

/* ---- what they come to ---- */

/* Under the lock. True: `over`, with hedge->last or with the reply. */
static bool attempt_ended(struct client_call *call, struct rpc_reply *reply)
{
    struct rpc_client *client = call->client;
    struct client_hedge *hedge = call->hedge;
    enum retry_reach reach = reply->sent ? RETRY_REACHED : RETRY_TURNED_AWAY;
    struct retry_outcome outcome = client_outcome(call, reply, reach);
    int64_t now_ms = fly_clock_boot_ms();
    bool stop = client->closed || atomic_load(&call->cancelled);

    call->sent = call->sent || reply->sent;
    if (!stop && retry_transparent(&call->retry, &outcome)) {
        client->counters.transparent_retries++;
        hedge->plan.running--;
        hedge->plan.started--;
        hedge->previous--;
        hedge->plan.due_ms = now_ms;
        return false;
    }
    bool end =
        retry_hedge_ended(&hedge->plan, policy_of(call), &client->throttle, &outcome, now_ms);
    client_throttled(client, call);
    if (end || stop) {
        set_over(call);
        return true;
    }
    return false;
}

static void on_hedge_attempt(void *user, struct rpc_reply *reply)
{
    struct hedge_attempt *attempt = user;
    struct client_call *call = attempt->call;
    struct rpc_client *client = call->client;
    struct client_hedge *hedge = call->hedge;
    struct client_conn *conn = attempt->conn;
    struct fly_error error = {.status = FLY_UNAVAILABLE, .text = ""};
    bool ends = false;

    if (atomic_load_explicit(&client->waiting_count, memory_order_seq_cst) != 0) {
        client_wait_pump(client);
    }
    if (reply->status == FLY_UNAVAILABLE) {
        client_conn_check(conn);
    }
    client_lock(client);
    attempt->running = false;
    if (!hedge->over) {
        if (attempt_ended(call, reply)) {
            client_unlock(client);
            finish(call, reply);
            client_lock(client);
        } else {
            rpc_reply_fini(&hedge->last);
            rpc_reply_move(&hedge->last, reply);
            ends = run(call, &error);
        }
    }
    client_unlock(client);
    if (ends) {
        end_run(call, &error);
    }
    client_conn_drop(conn);
    client_call_drop(call); /* the attempt's pin */
}
