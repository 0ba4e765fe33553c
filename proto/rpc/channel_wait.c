/*
 * channel_wait - threads that wait for their calls, and how many are woken with one system call.
 *
 * Each thread has a bit of a bell (futex(2), FUTEX_WAIT_BITSET). The one that reads the connection
 * marks whose calls have ended while it goes through what came, and rings once for all of them when
 * it rests: with many waiters, waking them one by one would cost more than all the rest of a call.
 * Threads whose numbers are CHANNEL_BELLS * 32 apart share a bit: the wrong one looks, and waits
 * again.
 */
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/rpc/channel_internal.h"

/* The calling thread's place: its bell, and its bit of that. Of the thread, not of the call: the
 * place of a call that has just ended would be the next one's, before the bell has rung. */
static uint32_t own_place(void)
{
    static atomic_uint threads;
    static _Thread_local uint32_t number; /* from 1 */

    if (number == 0) {
        number = atomic_fetch_add(&threads, 1) + 1;
    }
    return number;
}

static unsigned bell_of(uint32_t place)
{
    return place / 32 % CHANNEL_BELLS;
}

static uint32_t bit_of(uint32_t place)
{
    return UINT32_C(1) << place % 32;
}

static void futex(atomic_uint *word, int operation, uint32_t value, uint32_t bits)
{
    (void)syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, bits);
}

static void ring(struct rpc_channel *channel, unsigned bell, uint32_t bits)
{
    (void)atomic_fetch_add(&channel->bells[bell], 1);
    futex(&channel->bells[bell], FUTEX_WAKE_BITSET, INT_MAX, bits);
}

void channel_waiter_init(struct channel_waiter *waiter, struct rpc_reply *reply)
{
    waiter->reply = reply;
    waiter->place = own_place();
    atomic_init(&waiter->state, WAITER_UP);
}

void channel_wait(struct rpc_channel *channel, struct channel_waiter *waiter)
{
    atomic_uint *bell = &channel->bells[bell_of(waiter->place)];

    for (;;) {
        unsigned state = WAITER_UP;
        uint32_t seen = atomic_load(bell); /* before the look at the state */
        if (!atomic_compare_exchange_strong(&waiter->state, &state, WAITER_ASLEEP) &&
            state == WAITER_ENDED) {
            return;
        }
        /* not when it has rung meanwhile */
        futex(bell, FUTEX_WAIT_BITSET, seen, bit_of(waiter->place));
    }
}

void channel_wake(struct rpc_channel *channel, struct channel_waiter *waiter)
{
    uint32_t place = waiter->place;

    /* from here on it may be gone */
    if (atomic_exchange(&waiter->state, WAITER_ENDED) == WAITER_ASLEEP) {
        ring(channel, bell_of(place), bit_of(place));
    }
}

void channel_wake_later(struct rpc_channel *channel, struct channel_waiter *waiter)
{
    uint32_t place = waiter->place;

    if (atomic_exchange(&waiter->state, WAITER_ENDED) == WAITER_ASLEEP) {
        channel->to_ring[bell_of(place)] |= bit_of(place);
        channel->ring_owed = true;
    }
}

void channel_wake_marked(struct rpc_channel *channel)
{
    if (!channel->ring_owed) {
        return;
    }
    channel->ring_owed = false;
    for (unsigned bell = 0; bell < CHANNEL_BELLS; bell++) {
        if (channel->to_ring[bell] != 0) {
            ring(channel, bell, channel->to_ring[bell]);
            channel->to_ring[bell] = 0;
        }
    }
}
