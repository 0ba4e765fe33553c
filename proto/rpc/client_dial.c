/*
 * client_dial - when each url of a client is dialled, and what comes of it.
 *
 * Dials in a job that the timer posts: opening may take milliseconds (TLS keys are parsed), and all
 * deadlines of the process would wait. `opened` and `closed` come from any thread of the library.
 * Balanced over all: each url has its own pace. Pick-first: one pace for the list, which is gone
 * through from its start: the next url when one has failed, or beside one that is slow to answer.
 *
 * The pace (gRPC's connection backoff): a failure waits first * 2^(n-1), at most max, ± 20 %; it
 * starts anew after a connection that lived as long as the wait before it. A connection that is
 * lost is made again at once, but no two dials of one pace come within `first`; if the next one is
 * brief too, that is a failure: a server that accepts and hangs up is not dialled in a loop.
 *
 * Source: grpc/doc/connection-backoff.md; RFC 8305 (the stagger).
 */
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/client_internal.h"

static struct client_target *target_of(const struct client_conn *conn)
{
    return &conn->client->targets[conn->target];
}

/* ---- the pace ---- */

static struct client_pace *pace_of(struct rpc_client *client, struct client_target *target)
{
    return client->balance == RPC_PICK_FIRST ? &client->pace : &target->pace;
}

static int64_t wait_bound(const struct rpc_client *client, const struct client_pace *pace)
{
    int64_t bound = client->config.backoff_first_ms;

    for (uint32_t i = 1; i < pace->failures && bound < client->config.backoff_max_ms; i++) {
        bound *= 2;
    }
    return bound < client->config.backoff_max_ms ? bound : client->config.backoff_max_ms;
}

/* After a failure: how long to wait. */
static int64_t pace_fail(struct rpc_client *client, struct client_pace *pace)
{
    pace->failures++;
    pace->failed = true;
    return wait_bound(client, pace) * (800 + (int64_t)fly_rng_below(&client->rng, 401)) / 1000;
}

/* After a connection that opened then was lost: when to dial again. */
static int64_t pace_lose(struct rpc_client *client, struct client_pace *pace, int64_t opened_ms,
                         int64_t now_ms)
{
    int64_t soonest_ms = pace->dialled_ms + client->config.backoff_first_ms;

    if (now_ms - opened_ms >= wait_bound(client, pace)) {
        pace->failures = 0;
        pace->spent = false;
    }
    if (pace->spent) {
        return now_ms + pace_fail(client, pace);
    }
    pace->spent = true;
    return soonest_ms > now_ms ? soonest_ms : now_ms;
}

/* ---- what to dial; all under the lock ---- */

static void schedule(struct rpc_client *client, struct client_target *target, int64_t due_ms)
{
    target->step = TARGET_DUE;
    target->due_ms = due_ms;
    client_arm(client, due_ms);
}

/* Pick-first: from the start of the list. */
static void begin_round(struct rpc_client *client, int64_t due_ms)
{
    client->cursor = 0;
    schedule(client, &client->targets[0], due_ms);
}

/* Pick-first: the next url of this round, if there is one. */
static void try_next(struct rpc_client *client, int64_t due_ms)
{
    struct client_target *target = &client->targets[client->cursor];

    if (target->step != TARGET_DUE && client->cursor + 1 < client->target_count) {
        client->cursor++;
        target = &client->targets[client->cursor];
        schedule(client, target, due_ms);
    } else if (target->step == TARGET_DUE && due_ms < target->due_ms) {
        schedule(client, target, due_ms);
    }
}

static bool round_over(const struct rpc_client *client)
{
    for (uint32_t i = 0; i < client->target_count; i++) {
        if (client->targets[i].step == TARGET_DUE || client->targets[i].step == TARGET_DIALLING) {
            return false;
        }
    }
    return true;
}

/* Pick-first: one has answered, the others are not wanted. */
static void end_round(struct rpc_client *client, const struct client_target *winner)
{
    for (uint32_t i = 0; i < client->target_count; i++) {
        struct client_target *target = &client->targets[i];
        if (target == winner) {
            continue;
        }
        target->step = TARGET_IDLE;
        if (target->dialling != NULL) {
            target->dialling->unwanted = true;
            if (target->dialling->dialled) {
                client_conn_release(target->dialling);
            }
            target->dialling = NULL;
        }
    }
}

void client_connect(struct rpc_client *client)
{
    int64_t now_ms = fly_clock_boot_ms();

    if (client->asked) {
        return;
    }
    client->asked = true;
    if (client->balance == RPC_PICK_FIRST) {
        begin_round(client, now_ms);
        return;
    }
    for (uint32_t i = 0; i < client->target_count; i++) {
        schedule(client, &client->targets[i], now_ms);
    }
}

/* ---- what comes of it ---- */

static void target_up(struct client_conn *conn)
{
    struct rpc_client *client = conn->client;
    struct client_target *target = target_of(conn);

    target->step = TARGET_UP;
    target->dialling = NULL;
    pace_of(client, target)->failed = false;
    conn->opened_ms = fly_clock_boot_ms();
    client->ready++;
    client->counters.connections++;
    client_conn_open(conn);
    atomic_store_explicit(&target->conn, conn, memory_order_release);
    if (client->balance == RPC_PICK_FIRST) {
        atomic_store_explicit(&client->first, conn, memory_order_release);
        end_round(client, target);
    }
}

static void target_failed(struct rpc_client *client, struct client_target *target,
                          enum fly_status status, const char *text)
{
    int64_t now_ms = fly_clock_boot_ms();
    struct client_pace *pace = pace_of(client, target);

    target->step = TARGET_IDLE;
    target->dialling = NULL;
    client->why.status = status;
    (void)fly_copy_string(client->why.text, sizeof client->why.text, text);
    (void)fly_error_wrap(&client->why, "%s", target->url);
    if (client->balance != RPC_PICK_FIRST) {
        schedule(client, target, now_ms + pace_fail(client, pace));
        return;
    }
    try_next(client, now_ms);
    if (round_over(client)) {
        begin_round(client, now_ms + pace_fail(client, pace));
    }
}

void client_conn_retire(struct client_conn *conn)
{
    struct rpc_client *client = conn->client;
    struct client_target *target = target_of(conn);
    int64_t now_ms = fly_clock_boot_ms();

    if (!client_conn_shut(conn)) {
        return;
    }
    client->ready--;
    atomic_store_explicit(&target->conn, NULL, memory_order_relaxed);
    atomic_store_explicit(&client->first, NULL, memory_order_relaxed);
    target->step = TARGET_IDLE;
    if (client->closed) {
        return;
    }
    int64_t due_ms = pace_lose(client, pace_of(client, target), conn->opened_ms, now_ms);
    if (pace_of(client, target)->failed) {
        (void)fly_error_set(&client->why, FLY_UNAVAILABLE, "%s: hangs up soon after it accepts",
                            target->url);
    }
    if (client->balance == RPC_PICK_FIRST) {
        begin_round(client, due_ms);
    } else {
        schedule(client, target, due_ms);
    }
}

/* Those that were not told of an opening wait no longer, if that is how it stands now. */
static void wake_or_fail(struct rpc_client *client, enum rpc_client_state state)
{
    if (state == RPC_CLIENT_READY) {
        client_wait_wake(client);
    } else if (state == RPC_CLIENT_TRANSIENT_FAILURE) {
        client_wait_fail(client);
    }
}

static void on_opened(void *user, struct rpc_channel *channel, struct rpc_reply *refusal)
{
    struct client_conn *conn = user;
    struct rpc_client *client = conn->client;

    client_lock(client);
    bool wanted = !conn->unwanted && !client->closed;
    if (refusal != NULL) {
        conn->told = true;
        client_conn_release(conn);
        if (wanted) {
            target_failed(client, target_of(conn), refusal->status, refusal->text);
        }
    } else if (wanted) {
        target_up(conn);
        if (!rpc_channel_alive(channel)) {
            client_conn_retire(conn); /* it said so before it was open */
        }
    } else {
        client_conn_release(conn);
    }
    client_conn_settle(conn);
    enum rpc_client_state state = client_state(client);
    client->busy++;
    client_unlock(client);
    wake_or_fail(client, state);
    client_lock(client);
    client->busy--;
    (void)pthread_cond_broadcast(&client->changed);
    client_unlock(client);
}

static void on_going_away(void *user)
{
    struct client_conn *conn = user;

    client_lock(conn->client);
    client_conn_retire(conn);
    client_conn_settle(conn);
    client_unlock(conn->client);
}

static void on_closed(void *user)
{
    struct client_conn *conn = user;
    struct rpc_client *client = conn->client;

    client_lock(client);
    client_conn_retire(conn);
    conn->told = true;
    enum rpc_client_state state = client_state(client);
    client->busy++;
    client_conn_settle(conn);
    client_unlock(client);
    wake_or_fail(client, state);
    client_lock(client);
    client->busy--;
    (void)pthread_cond_broadcast(&client->changed);
    client_unlock(client);
}

/* ---- dialling ---- */

static size_t make_hello(void *user, const uint8_t client_nonce[static FRAME_NONCE_SIZE],
                         const uint8_t server_nonce[static FRAME_NONCE_SIZE], uint8_t *out,
                         size_t max)
{
    const struct client_conn *conn = user;
    const struct rpc_channel_config *config = &conn->client->config.channel;

    return config->hello_make(config->user, client_nonce, server_nonce, out, max);
}

static enum fly_status check_hello(void *user, const uint8_t client_nonce[static FRAME_NONCE_SIZE],
                                   const uint8_t server_nonce[static FRAME_NONCE_SIZE],
                                   struct fly_bytes reply, struct fly_error *error)
{
    const struct client_conn *conn = user;
    const struct rpc_channel_config *config = &conn->client->config.channel;

    return config->hello_check(config->user, client_nonce, server_nonce, reply, error);
}

/* With the lock, which it gives up in between. */
static void dial(struct rpc_client *client, struct client_target *target, int64_t now_ms)
{
    struct rpc_channel_config config = client->config.channel;
    struct client_conn *conn = client_conn_make(client);
    struct fly_error error = {.text = "out of memory"};
    enum fly_status status = FLY_RESOURCE_EXHAUSTED;

    pace_of(client, target)->dialled_ms = now_ms;
    client->counters.dials++;
    target->step = TARGET_DIALLING;
    if (client->balance == RPC_PICK_FIRST) {
        try_next(client, now_ms + CLIENT_STAGGER_MS);
    }
    if (conn != NULL) {
        conn->target = (uint32_t)(target - client->targets);
        target->dialling = conn;
        config.url = target->url;
        config.user = conn;
        config.closed = on_closed;
        config.going_away = on_going_away;
        config.hello_make = config.hello_make != NULL ? make_hello : NULL;
        config.hello_check = config.hello_check != NULL ? check_hello : NULL;
        client_unlock(client);
        status = rpc_channel_start_open(&conn->channel, &config, on_opened, conn, &error);
        client_lock(client);
        conn->dialled = true;
        if (status != FLY_OK) {
            conn->released = true; /* there is nothing */
            conn->told = true;
        } else if (conn->unwanted) {
            client_conn_release(conn);
        }
    }
    if (status != FLY_OK && !client->closed && (conn == NULL || !conn->unwanted)) {
        target_failed(client, target, status, error.text);
    }
    if (conn != NULL) {
        client_conn_settle(conn);
    }
}

void client_dial_run(struct rpc_job *job)
{
    struct rpc_client *client = FLY_CONTAINER(job, struct rpc_client, dial_job);

    client_lock(client);
    for (uint32_t i = 0; i < client->target_count && !client->closed; i++) {
        struct client_target *target = &client->targets[i];
        int64_t now_ms = fly_clock_boot_ms();
        if (target->step == TARGET_DUE && target->due_ms <= now_ms) {
            dial(client, target, now_ms);
        }
    }
    client->dial_posted = false;
    if (client_dial_next(client) != INT64_MAX) {
        client_arm(client, client_dial_next(client));
    }
    client_busy(client, -1);
    client_unlock(client);
}

void client_dial_due(struct rpc_client *client, int64_t now_ms)
{
    if (!client->closed && !client->dial_posted && client_dial_next(client) <= now_ms) {
        client->dial_posted = true;
        client_busy(client, 1);
        rpc_job_post(&client->dial_job);
    }
}

int64_t client_dial_next(const struct rpc_client *client)
{
    int64_t next_ms = INT64_MAX;

    for (uint32_t i = 0; i < client->target_count; i++) {
        const struct client_target *target = &client->targets[i];
        if (target->step == TARGET_DUE && target->due_ms < next_ms) {
            next_ms = target->due_ms;
        }
    }
    return next_ms;
}
