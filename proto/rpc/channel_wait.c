/*
 * channel_wait - threads that wait for their calls, and how many are woken with one system call.
 *
 * A caller that is alone on its connection reads it itself (transport_read_here). Others sleep:
 * each thread has a bit of a bell (futex(2), FUTEX_WAIT_BITSET). The one that reads the connection
 * marks whose calls have ended while it goes through what came, and rings once for all of them when
 * it rests: with many waiters, waking them one by one would cost more than all the rest of a call.
 * Threads whose numbers are BELLS * 32 apart share a bit: the wrong one looks, and waits again.
 *
 * The bells are the process's: a thread that is woken does not touch its channel any more, which
 * may be gone by then.
 */
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/rpc/channel_internal.h"

static atomic_uint bells[CHANNEL_BELLS];

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

static void ring(unsigned bell, uint32_t bits)
{
    (void)atomic_fetch_add(&bells[bell], 1);
    futex(&bells[bell], FUTEX_WAKE_BITSET, INT_MAX, bits);
}

void channel_waiter_init(struct channel_waiter *waiter, struct rpc_reply *reply)
{
    waiter->reply = reply;
    waiter->place = own_place();
    waiter->reads = NULL;
    waiter->deadline_ms = 0;
    atomic_init(&waiter->state, WAITER_UP);
}

static bool has_ended(void *user)
{
    struct channel_waiter *waiter = user;

    return atomic_load(&waiter->state) == WAITER_ENDED;
}

void channel_wait(struct channel_waiter *waiter)
{
    atomic_uint *bell = &bells[bell_of(waiter->place)];

    if (waiter->reads != NULL) {
        (void)transport_read_here(waiter->reads, waiter->deadline_ms, has_ended, waiter);
        transport_drop(waiter->reads);
    }
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

void channel_wake(struct channel_waiter *waiter)
{
    uint32_t place = waiter->place;

    /* from here on it may be gone */
    if (atomic_exchange(&waiter->state, WAITER_ENDED) == WAITER_ASLEEP) {
        ring(bell_of(place), bit_of(place));
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
            ring(bell, channel->to_ring[bell]);
            channel->to_ring[bell] = 0;
        }
    }
}
