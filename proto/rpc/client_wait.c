/*
 * client_wait - calls that wait: for a connection, for room on one, for a backoff to pass; and the
 * client's one timer, which also dials.
 *
 * Two structures under the lock: a list, first come first served, of those that wait for a
 * connection; a heap by due time of those that something happens to by itself (a deadline, a
 * backoff, the next hedge). A call may be in both.
 */
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/client_internal.h"

static struct client_call *call_of(struct fly_list *node)
{
    return FLY_CONTAINER(node, struct client_call, node);
}

/* ---- the heap ---- */

static void place(struct rpc_client *client, struct client_call *call, size_t at)
{
    client->heap[at] = call;
    call->place = at;
}

static void sift_up(struct rpc_client *client, struct client_call *call, size_t at)
{
    while (at > 1 && client->heap[at / 2]->due_ms > call->due_ms) {
        place(client, client->heap[at / 2], at);
        at /= 2;
    }
    place(client, call, at);
}

static void sift_down(struct rpc_client *client, struct client_call *call, size_t at)
{
    for (;;) {
        size_t child = 2 * at;
        if (child < client->heap_count &&
            client->heap[child + 1]->due_ms < client->heap[child]->due_ms) {
            child++;
        }
        if (child > client->heap_count || client->heap[child]->due_ms >= call->due_ms) {
            break;
        }
        place(client, client->heap[child], at);
        at = child;
    }
    place(client, call, at);
}

void client_due_drop(struct client_call *call)
{
    struct rpc_client *client = call->client;
    size_t at = call->place;

    if (at == 0) {
        return;
    }
    struct client_call *last = client->heap[client->heap_count--];
    call->place = 0;
    if (last == call) {
        return;
    }
    if (at > 1 && client->heap[at / 2]->due_ms > last->due_ms) {
        sift_up(client, last, at);
    } else {
        sift_down(client, last, at);
    }
}

void client_due_put(struct client_call *call, int64_t due_ms)
{
    client_due_drop(call);
    call->due_ms = due_ms;
    sift_up(call->client, call, ++call->client->heap_count);
    client_arm(call->client, due_ms);
}

/* ---- the list ---- */

static void waiting_add(struct client_call *call)
{
    struct rpc_client *client = call->client;

    call->step = CALL_WAITING;
    fly_list_append(&client->waiting, &call->node);
    (void)atomic_fetch_add(&client->waiting_count, 1);
    if (call->deadline_ms != 0) {
        client_due_put(call, call->deadline_ms);
    }
}

void client_wait_take(struct client_call *call)
{
    if (call->step == CALL_WAITING) {
        fly_list_drop(&call->node);
        (void)atomic_fetch_sub(&call->client->waiting_count, 1);
    }
    client_due_drop(call);
    call->step = CALL_MOVING;
}

enum fly_status client_wait(struct client_call *call, bool full, struct fly_error *error)
{
    struct rpc_client *client = call->client;

    if (client_state(client) == RPC_CLIENT_TRANSIENT_FAILURE && !call->wait_for_ready) {
        enum fly_status why = client->why.status;
        /* what the server itself said against us stays; how connecting failed is all one */
        bool said = why == FLY_UNAUTHENTICATED || why == FLY_PERMISSION_DENIED ||
                    why == FLY_FAILED_PRECONDITION || why == FLY_INVALID_ARGUMENT;
        return fly_error_set(error, said ? why : FLY_UNAVAILABLE, "%s", client->why.text);
    }
    if (atomic_load(&client->waiting_count) >= client->config.waiting_max) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED,
                             "%u calls wait for a connection already", client->config.waiting_max);
    }
    waiting_add(call);
    client_connect(client);
    if (full) {
        client->full = true;
        client->refused_full++;
        client_arm(client, fly_clock_boot_ms() + CLIENT_FULL_POLL_MS);
    }
    return FLY_OK;
}

/* ---- woken; not under the lock ---- */

/* Takes the first off the list and lets it go on. False: there is none, or no connection. */
static bool wake_first(struct rpc_client *client)
{
    struct client_call *call = NULL;

    client_lock(client);
    if (!client->closed && client->ready > 0 && !fly_list_empty(&client->waiting)) {
        call = call_of(client->waiting.next);
        client_wait_take(call);
    }
    client_unlock(client);
    if (call != NULL) {
        client_call_go(call);
    }
    return call != NULL;
}

void client_wait_pump(struct rpc_client *client)
{
    (void)wake_first(client);
}

void client_wait_wake(struct rpc_client *client)
{
    uint32_t count = atomic_load(&client->waiting_count);

    client_lock(client);
    uint32_t refused = client->refused_full;
    client->full = false;
    client_unlock(client);
    rpc_batch_begin();
    /* each once at most; no further when one found no room and waits again */
    for (bool more = true; more && count > 0; count--) {
        more = wake_first(client);
        client_lock(client);
        more = more && client->refused_full == refused;
        client_unlock(client);
    }
    rpc_batch_end();
}

/* Takes one of those that have to go from the list, or NULL. */
static struct client_call *take_failing(struct rpc_client *client, bool all)
{
    struct client_call *call = NULL;

    client_lock(client);
    for (struct fly_list *node = client->waiting.next; node != &client->waiting && call == NULL;
         node = node->next) {
        if (all || (!call_of(node)->wait_for_ready &&
                    client_state(client) == RPC_CLIENT_TRANSIENT_FAILURE)) {
            call = call_of(node);
            client_wait_take(call);
        }
    }
    client_unlock(client);
    return call;
}

void client_wait_fail(struct rpc_client *client)
{
    struct client_call *call = take_failing(client, false);

    while (call != NULL) {
        client_call_go(call); /* finds that there is nothing to wait for */
        call = take_failing(client, false);
    }
}

static struct client_call *take_due(struct rpc_client *client)
{
    struct client_call *call = NULL;

    client_lock(client);
    while (client->heap_count > 0 && call == NULL) {
        call = client->heap[1];
        if (call->step != CALL_HEDGING) {
            client_wait_take(call);
        } else if (!client_hedge_take(call, true)) {
            client_due_drop(call); /* its attempts end with their connections */
            call = NULL;
        }
    }
    client_unlock(client);
    return call;
}

void client_wait_end(struct rpc_client *client)
{
    struct client_call *call = NULL;

    while ((call = take_failing(client, true)) != NULL || (call = take_due(client)) != NULL) {
        client_call_end_text(call, FLY_CANCELLED, "the client was closed");
    }
}

/* ---- the timer ---- */

/* With the lock, which it gives up in between. */
static void run_due(struct rpc_client *client, int64_t now_ms)
{
    while (!client->closed && client->heap_count > 0 && client->heap[1]->due_ms <= now_ms) {
        struct client_call *call = client->heap[1];
        if (call->step == CALL_HEDGING) {
            client_due_drop(call);
            client_call_pin(call);
            client_hedge_due(call);
            client_unlock(client);
            client_call_drop(call);
        } else {
            client_wait_take(call);
            client_unlock(client);
            client_call_go(call); /* looks at its deadline first */
        }
        client_lock(client);
    }
}

static void settle_conns(struct rpc_client *client)
{
    for (struct client_conn *conn = client->conns; conn != NULL; conn = conn->next) {
        client_conn_settle(conn);
    }
}

void client_on_timer(void *user)
{
    struct rpc_client *client = user;
    int64_t now_ms = fly_clock_boot_ms();

    rpc_batch_begin();
    client_lock(client);
    client_dial_due(client, now_ms);
    run_due(client, now_ms);
    settle_conns(client);
    bool full = client->full;
    int64_t next_ms = client->dial_posted ? INT64_MAX : client_dial_next(client);
    if (client->heap_count > 0 && client->heap[1]->due_ms < next_ms) {
        next_ms = client->heap[1]->due_ms;
    }
    if (next_ms != INT64_MAX) {
        client_arm(client, next_ms);
    }
    client_unlock(client);
    if (full) {
        client_wait_wake(client);
    }
    rpc_batch_end();
}
