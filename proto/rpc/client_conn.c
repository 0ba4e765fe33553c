/*
 * client_conn - the connections of a client: picked without a lock, held by their calls, retired.
 *
 * A pick looks at memory that may have been used again for another connection meanwhile. That does
 * no harm: whatever is open is one of this client's connections.
 */
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/rpc/client_internal.h"

/* ---- without the lock ---- */

/* Holds it so often if it is open; counts one attempt. */
static bool hold_open(struct client_conn *conn, uint32_t holds)
{
    uint64_t word = atomic_load_explicit(&conn->word, memory_order_relaxed);
    uint64_t step = holds * CONN_HOLD + (UINT64_C(1) << CONN_BEGUN_SHIFT);

    while ((word & CONN_OPEN) != 0) {
        if (atomic_compare_exchange_weak_explicit(&conn->word, &word, word + step,
                                                  memory_order_acquire, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

static struct client_conn *pick_of(struct rpc_client *client, uint64_t index)
{
    return atomic_load_explicit(&client->targets[index].conn, memory_order_acquire);
}

static struct client_conn *pick_in_turn(struct rpc_client *client, uint32_t avoid, uint32_t holds)
{
    uint64_t turn = atomic_load_explicit(&client->calls, memory_order_relaxed);

    for (uint32_t i = 0; i < client->target_count; i++) {
        uint64_t index = (turn + i) % client->target_count;
        struct client_conn *conn = pick_of(client, index);
        if (conn != NULL && (avoid >> index & 1) == 0 && hold_open(conn, holds)) {
            return conn;
        }
    }
    return NULL;
}

static struct client_conn *pick_least(struct rpc_client *client, uint32_t avoid, uint32_t holds)
{
    uint64_t turn = atomic_load_explicit(&client->calls, memory_order_relaxed);
    struct client_conn *best = NULL;
    uint64_t least = UINT64_MAX;

    /* of equals, in turn: an idle client would always ask the same one */
    for (uint32_t i = 0; i < client->target_count; i++) {
        uint64_t index = (turn + i) % client->target_count;
        struct client_conn *conn = pick_of(client, index);
        uint64_t word = conn != NULL ? atomic_load_explicit(&conn->word, memory_order_relaxed) : 0;
        if ((word & CONN_OPEN) != 0 && (avoid >> index & 1) == 0 && (word & CONN_HOLDS) < least) {
            least = word & CONN_HOLDS;
            best = conn;
        }
    }
    return best != NULL && hold_open(best, holds) ? best : NULL;
}

struct client_conn *client_conn_pick(struct rpc_client *client, uint32_t avoid, uint32_t holds)
{
    struct client_conn *conn = NULL;

    switch (client->balance) {
    case RPC_PICK_FIRST:
        conn = atomic_load_explicit(&client->first, memory_order_acquire);
        return conn != NULL && hold_open(conn, holds) ? conn : NULL;
    case RPC_LEAST_IN_FLIGHT:
        conn = pick_least(client, avoid, holds);
        break;
    case RPC_ROUND_ROBIN:
        conn = pick_in_turn(client, avoid, holds);
        break;
    }
    return conn != NULL ? conn : pick_in_turn(client, 0, holds);
}

void client_conn_hold(struct client_conn *conn)
{
    (void)atomic_fetch_add_explicit(&conn->word, CONN_HOLD, memory_order_relaxed);
}

void client_conn_drop(struct client_conn *conn)
{
    struct rpc_client *client = conn->client;
    uint64_t word = atomic_load_explicit(&conn->word, memory_order_relaxed);

    while ((word & CONN_OPEN) != 0) {
        if (atomic_compare_exchange_weak_explicit(&conn->word, &word, word - CONN_HOLD,
                                                  memory_order_release, memory_order_relaxed)) {
            return;
        }
    }
    client_lock(client);
    (void)atomic_fetch_sub(&conn->word, CONN_HOLD);
    client_conn_settle(conn);
    client_unlock(client);
}

/* ---- under the lock ---- */

struct client_conn *client_conn_make(struct rpc_client *client)
{
    struct client_conn *conn = client->conns;

    while (conn != NULL && conn->used) {
        conn = conn->next;
    }
    if (conn == NULL) {
        conn = calloc(1, sizeof *conn);
        if (conn == NULL) {
            return NULL;
        }
        conn->client = client;
        conn->next = client->conns;
        client->conns = conn;
    }
    conn->channel = NULL;
    conn->used = true;
    conn->dialled = false;
    conn->unwanted = false;
    conn->released = false;
    conn->told = false;
    conn->stream = false;
    return conn;
}

void client_conn_open(struct client_conn *conn)
{
    (void)atomic_fetch_or(&conn->word, CONN_OPEN);
}

bool client_conn_shut(struct client_conn *conn)
{
    return (atomic_fetch_and(&conn->word, ~CONN_OPEN) & CONN_OPEN) != 0;
}

void client_conn_release(struct client_conn *conn)
{
    if (!conn->released) {
        conn->released = true;
        rpc_channel_release(conn->channel);
    }
}

void client_conn_settle(struct client_conn *conn)
{
    struct rpc_client *client = conn->client;
    uint64_t word = atomic_load(&conn->word);

    if (!conn->used || !conn->dialled || (word & (CONN_HOLDS | CONN_OPEN)) != 0) {
        return;
    }
    if (!conn->released && conn->opened_ms != 0) {
        if (conn->stream && client_conn_streams(conn)) {
            client_arm(client, fly_clock_boot_ms() + CLIENT_STREAM_POLL_MS);
            return;
        }
        client_conn_release(conn);
    }
    if (conn->released && conn->told) {
        client->begun_before += word >> CONN_BEGUN_SHIFT;
        atomic_store(&conn->word, 0);
        conn->used = false;
        conn->opened_ms = 0;
        (void)pthread_cond_broadcast(&client->changed);
    }
}

uint64_t client_conns_begun(struct rpc_client *client)
{
    uint64_t begun = client->begun_before;

    for (struct client_conn *conn = client->conns; conn != NULL; conn = conn->next) {
        begun += atomic_load(&conn->word) >> CONN_BEGUN_SHIFT;
    }
    return begun;
}
