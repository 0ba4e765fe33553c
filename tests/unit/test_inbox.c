/* inbox, against a naive queue of single allocations and an account of the sender's credit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/rng.h"
#include "proto/rpc/inbox.h"
#include "proto/wire/frame.h"

enum { QUEUE_MAX = 4096 };

struct naive_message {
    uint8_t *bytes;
    size_t size;
    uint32_t gap;
};

struct naive {
    struct naive_message queue[QUEUE_MAX];
    size_t first;
    size_t count;
    int64_t credit; /* the sender's */
    uint32_t waiting;
};

static void naive_push(struct naive *n, const uint8_t *bytes, size_t size, uint32_t gap)
{
    assert_true(n->count < QUEUE_MAX);
    struct naive_message *m = &n->queue[(n->first + n->count++) % QUEUE_MAX];

    m->bytes = malloc(size + 1);
    memcpy(m->bytes, bytes, size);
    m->size = size;
    m->gap = gap;
    n->credit -= frame_credit(size);
    n->waiting += frame_credit(size);
}

static void naive_drop(struct naive *n)
{
    n->waiting -= frame_credit(n->queue[n->first].size);
    free(n->queue[n->first].bytes);
    n->first = (n->first + 1) % QUEUE_MAX;
    n->count--;
}

static struct fly_bytes random_body(struct fly_rng *rng, uint32_t size_max, uint8_t *room)
{
    size_t size = (size_t)fly_rng_below(rng, 1 + fly_rng_below(rng, size_max));

    memset(room, (int)fly_rng_below(rng, 256), size);
    if (size > 0) {
        room[size - 1] = (uint8_t)size;
    }
    return (struct fly_bytes){room, size};
}

/* Takes one from both. The message lent before is looked at first: pushes must not have moved it.
 */
static void take_both(struct rpc_inbox *inbox, struct naive *n, uint32_t window)
{
    struct fly_bytes body;
    uint32_t gap = 0;
    uint32_t grant = 0;
    bool got = rpc_inbox_take(inbox, &body, &gap, &grant);

    assert_int_equal(got, n->count > 0);
    if (!got) {
        assert_int_equal(grant, 0);
        return;
    }
    const struct naive_message *m = &n->queue[n->first];
    assert_int_equal(body.size, m->size);
    assert_int_equal(gap, m->gap);
    assert_true(m->size == 0 || memcmp(body.data, m->bytes, m->size) == 0);
    n->credit += grant;
    naive_drop(n);
    /* never more is held back than half a window, never more granted than the window */
    assert_true((int64_t)window - n->credit - n->waiting < (window > 2 ? window / 2 : 1));
    assert_true(n->credit + n->waiting <= window);
}

static void play(uint64_t seed, uint32_t window, uint32_t size_max)
{
    static uint8_t room[1 << 20];
    struct naive *n = calloc(1, sizeof *n);
    struct rpc_inbox inbox;
    struct fly_rng rng;
    struct fly_bytes lent = {.size = 0};
    uint8_t copy[64];

    fly_rng_seed(&rng, seed);
    rpc_inbox_init(&inbox, window);
    n->credit = window;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned bias = (unsigned)(i / 1000 % 3);
        if (fly_rng_below(&rng, 4) > bias) {
            struct fly_bytes body = random_body(&rng, size_max, room);
            uint32_t gap = fly_rng_below(&rng, 8) == 0 ? (uint32_t)i : 0;
            bool fits = n->credit > 0 && n->count < QUEUE_MAX;
            if (n->count == QUEUE_MAX) {
                continue;
            }
            assert_int_equal(rpc_inbox_push(&inbox, body, gap),
                             fits ? RPC_INBOX_DONE : RPC_INBOX_OVER);
            if (fits) {
                naive_push(n, body.data, body.size, gap);
            }
            assert_memory_equal(copy, lent.data != NULL ? lent.data : copy, lent.size);
        } else {
            take_both(&inbox, n, window);
            lent.size = 0;
        }
        assert_int_equal(rpc_inbox_empty(&inbox), n->count == 0);
        if (n->count > 0 && fly_rng_below(&rng, 16) == 0) {
            /* one more by hand, to keep what it lent */
            uint32_t gap = 0;
            uint32_t grant = 0;
            assert_true(rpc_inbox_take(&inbox, &lent, &gap, &grant));
            n->credit += grant;
            lent.size = lent.size < sizeof copy ? lent.size : sizeof copy;
            memcpy(copy, lent.data, lent.size);
            naive_drop(n);
        }
    }
    assert_int_equal(rpc_inbox_fini(&inbox), n->waiting);
    assert_true(rpc_inbox_empty(&inbox));
    while (n->count > 0) {
        naive_drop(n);
    }
    free(n);
}

static void test_against_naive(void **state)
{
    static const struct {
        uint32_t window;
        uint32_t size_max;
    } rows[] = {
        {64 * 1024, 200}, {64 * 1024, 20000}, {1000, 100}, {1 << 20, 300000}, {1, 50}, {2, 4000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (uint64_t seed = 1; seed <= 4; seed++) {
            print_message("seed %u window %u\n", (unsigned)seed, rows[i].window);
            play(seed, rows[i].window, rows[i].size_max);
        }
    }
}

/* A reader with an inbox of its own: the same messages in the same order, and the same account. */
static void play_refilled(uint64_t seed, uint32_t window, uint32_t size_max)
{
    static uint8_t room[1 << 20];
    struct naive *n = calloc(1, sizeof *n);
    struct rpc_inbox shared;
    struct rpc_inbox own;
    struct fly_rng rng;
    uint64_t settled_all = 0;
    uint64_t taken_all = 0;
    uint32_t settled = 0;

    fly_rng_seed(&rng, seed);
    rpc_inbox_init(&shared, window);
    rpc_inbox_init(&own, window);
    n->credit = window;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned bias = (unsigned)(i / 1000 % 3);
        if (fly_rng_below(&rng, 4) > bias && n->count < QUEUE_MAX) {
            struct fly_bytes body = random_body(&rng, size_max, room);
            bool fits = n->credit > 0;
            assert_int_equal(rpc_inbox_push(&shared, body, i),
                             fits ? RPC_INBOX_DONE : RPC_INBOX_OVER);
            if (fits) {
                naive_push(n, body.data, body.size, i);
            }
            continue;
        }
        struct fly_bytes body;
        uint32_t gap = 0;
        uint32_t grant = 0;
        if (!rpc_inbox_take(&own, &body, &gap, &grant)) {
            n->credit += rpc_inbox_refill(&shared, &own, &settled);
            settled_all += settled;
            assert_int_equal(settled_all, taken_all);
            assert_true((int64_t)window - n->credit - n->waiting <
                        (int64_t)(window > 2 ? window / 2 : 1));
            assert_int_equal(rpc_inbox_empty(&own), n->count == 0);
            if (!rpc_inbox_take(&own, &body, &gap, &grant)) {
                continue;
            }
        }
        const struct naive_message *m = &n->queue[n->first];
        assert_int_equal(grant, 0);
        assert_int_equal(body.size, m->size);
        assert_int_equal(gap, m->gap);
        assert_true(m->size == 0 || memcmp(body.data, m->bytes, m->size) == 0);
        taken_all += frame_credit(m->size);
        naive_drop(n);
        if (fly_rng_below(&rng, 10) == 0) {
            n->credit += rpc_inbox_refill(&shared, &own, &settled); /* half way through */
            settled_all += settled;
        }
    }
    (void)rpc_inbox_refill(&shared, &own, &settled);
    (void)rpc_inbox_fini(&own);
    assert_int_equal(rpc_inbox_fini(&shared), n->waiting);
    while (n->count > 0) {
        naive_drop(n);
    }
    free(n);
}

static void test_refill(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        play_refilled(seed, 64 * 1024, 200);
        play_refilled(seed, 64 * 1024, 20000);
        play_refilled(seed, 1000, 100);
        play_refilled(seed, 1, 50);
    }
}

static void test_bounds(void **state)
{
    static const uint8_t bytes[100000];
    struct rpc_inbox inbox;
    struct fly_bytes body;
    uint32_t gap = 0;
    uint32_t grant = 0;

    (void)state;
    rpc_inbox_init(&inbox, 0); /* a side that takes no messages */
    assert_int_equal(rpc_inbox_push(&inbox, (struct fly_bytes){bytes, 1}, 0), RPC_INBOX_OVER);
    assert_false(rpc_inbox_take(&inbox, &body, &gap, &grant));
    assert_int_equal(rpc_inbox_fini(&inbox), 0);

    rpc_inbox_init(&inbox, 40);
    assert_int_equal(rpc_inbox_push(&inbox, (struct fly_bytes){bytes, 0}, 7), RPC_INBOX_DONE);
    assert_int_equal(rpc_inbox_push(&inbox, (struct fly_bytes){bytes, 100000}, 0), RPC_INBOX_DONE);
    assert_int_equal(rpc_inbox_push(&inbox, (struct fly_bytes){bytes, 0}, 0), RPC_INBOX_OVER);
    assert_true(rpc_inbox_take(&inbox, &body, &gap, &grant));
    assert_int_equal(body.size, 0);
    assert_int_equal(gap, 7);
    assert_int_equal(grant, 0); /* 16 of 40: not half a window yet */
    assert_int_equal(rpc_inbox_push(&inbox, (struct fly_bytes){bytes, 0}, 0), RPC_INBOX_OVER);
    assert_true(rpc_inbox_take(&inbox, &body, &gap, &grant));
    assert_int_equal(body.size, 100000);
    assert_int_equal(grant, 16 + 100016);
    assert_int_equal(rpc_inbox_fini(&inbox), 0);
    assert_int_equal(rpc_inbox_fini(&inbox), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_naive),
        cmocka_unit_test(test_refill),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
