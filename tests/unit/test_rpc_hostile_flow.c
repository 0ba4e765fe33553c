/*
 * rpc: a client that does not read, and streams that nobody reads: what that costs is bounded, it
 * ends, and the others go on.
 */
#include <netinet/tcp.h>
#include <stdatomic.h>

#include "tests/unit/rpc_bare.h"

static const struct fly_bytes empty;

/* ---- senders that are refused ---- */

enum { DEPTH_MAX = 4 };

/* A stream that tries again whenever it is told that it may. */
struct eager {
    struct rpc_call *call;
    size_t size;
    atomic_uint told;
    atomic_uint depth; /* on this thread's stack */
    atomic_uint deepest;
    atomic_uint sent;
};

static void try_again(void *user, struct rpc_call *call)
{
    struct eager *e = user;
    unsigned depth = atomic_fetch_add(&e->depth, 1) + 1;

    (void)atomic_fetch_add(&e->told, 1);
    if (depth > atomic_load(&e->deepest)) {
        atomic_store(&e->deepest, depth);
    }
    if (depth < DEPTH_MAX && atomic_load(&e->sent) == 0 &&
        send_echo(call, e->size, 1, 0) == FLY_OK) {
        (void)atomic_fetch_add(&e->sent, 1);
    }
    (void)atomic_fetch_sub(&e->depth, 1);
}

static void eager_begin(struct eager *e, struct rpc_call *call, size_t size)
{
    *e = (struct eager){.call = call, .size = size};
    rpc_call_watch(call, try_again, e);
}

/* A client that lets everything be sent to it and reads nothing. */
static struct rpc_call *open_deaf(struct bare *c, struct bench *b)
{
    bare_open(c, &b->f, INT32_MAX, INT32_MAX);
    bare_ask(c, CALL_1, &b->methods[COUNT], 0);
    return fixture_take(&b->f);
}

static void fill_up(struct rpc_call *call, size_t size)
{
    while (send_echo(call, size, 2, 0) == FLY_OK) {
    }
}

/* What others keep waiting is over the server's budget: a stream that is refused for that hears
 * when there is room, not before; neither on_writable nor a waiting thread runs in circles. */
static void test_budget_refusal(void **state)
{
    struct bench b;
    struct bare deaf;
    struct bare c;
    struct eager eager;

    (void)state;
    bench_init(&b);
    bench_start(&b, &(struct rpc_server_config){.out_total_max = 256 * 1024});
    struct rpc_call *stuck = open_deaf(&deaf, &b);
    struct rpc_call *call = open_deaf(&c, &b);
    fill_up(stuck, 30000);
    eager_begin(&eager, call, 30000);
    assert_int_equal(send_echo(call, 30000, 1, 0), FLY_RESOURCE_EXHAUSTED);
    assert_int_equal(send_echo(call, 30000, 1, 20), FLY_RESOURCE_EXHAUSTED);
    assert_int_equal(atomic_load(&eager.told), 0);
    bare_close(&deaf);
    bare_expect(&c, FRAME_MSG, CALL_1, 0);
    assert_int_equal(atomic_load(&eager.deepest), 1);
    WAIT_UNTIL(atomic_load(&eager.sent) == 1);
    rpc_call_reply(call, NULL);
    rpc_call_fail(stuck, FLY_UNAVAILABLE, "over", empty);
    bare_close(&c);
    bench_stop(&b);
}

/* A message that needs more than half of out_max is told of room when it fits, not when half is
 * free. */
static void test_large_behind_deaf(void **state)
{
    enum { OUT_MAX = 64 * 1024 };
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b, &(struct rpc_server_config){.out_max = OUT_MAX});
    for (size_t size = OUT_MAX / 2 + 1000; size < OUT_MAX - 1000; size += 2000) {
        struct bare c;
        struct eager eager;
        struct rpc_call *call = open_deaf(&c, &b);
        eager_begin(&eager, call, size);
        fill_up(call, size);
        assert_true(atomic_load(&eager.deepest) <= 1);
        rpc_call_fail(call, FLY_UNAVAILABLE, "over", empty);
        bare_close(&c);
        WAIT_UNTIL(rpc_server_counters(b.f.server).connections == 0);
    }
    bench_stop(&b);
}

/* One that never fits is refused for good. */
static void test_never_fits(void **state)
{
    enum { OUT_MAX = 64 * 1024 };
    struct bench b;
    struct bare c;
    struct eager eager;

    (void)state;
    bench_init(&b);
    b.methods[CHAT].slow_reader = RPC_SLOW_DROP;
    bench_start(&b, &(struct rpc_server_config){.out_max = OUT_MAX});
    struct rpc_call *call = open_deaf(&c, &b);
    eager_begin(&eager, call, OUT_MAX);
    assert_int_equal(send_echo(call, OUT_MAX, 1, 0), FLY_INVALID_ARGUMENT);
    assert_int_equal(send_echo(call, OUT_MAX, 1, -1), FLY_INVALID_ARGUMENT);
    assert_int_equal(atomic_load(&eager.told), 0);
    bare_ask(&c, CALL_2, &b.methods[CHAT], 0);
    struct rpc_call *drop = fixture_take(&b.f);
    assert_int_equal(send_echo(drop, OUT_MAX, 1, 0), FLY_INVALID_ARGUMENT);
    assert_int_equal(send_echo(drop, 100, 1, 0), FLY_OK);
    bare_expect(&c, FRAME_MSG, CALL_2, 0);
    rpc_call_reply(drop, NULL);
    rpc_call_reply(call, NULL);
    bare_close(&c);
    bench_stop(&b);
}

/* ---- streams that nobody takes from ---- */

/* Most of the connection's window lies unread in streams whose handlers sleep; another stream goes
 * on with what is left, for as long as it likes. */
static void test_stalled_streams(void **state)
{
    enum { STALLED = 6, WINDOW = 8192, CONN_WINDOW = 8 * WINDOW, MESSAGE = 1000, COUNT_OF = 400 };
    struct timeval patience = {.tv_sec = 20};
    struct bench b;
    struct bare c;
    int64_t credit = CONN_WINDOW;
    int64_t own = WINDOW;
    unsigned taken = 0;

    (void)state;
    bench_init(&b);
    bench_start(&b,
                &(struct rpc_server_config){.stream_window = WINDOW, .conn_window = CONN_WINDOW});
    bare_open(&c, &b.f, 0, 0);
    (void)setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct fly_bytes body = echo_bytes(MESSAGE, 1);
    for (uint32_t i = 0; i < STALLED; i++) {
        bare_ask(&c, frame_call_id(i, 1), &b.methods[COLLECT], 0);
        for (int64_t left = WINDOW; left > 0; left -= frame_credit(body.size)) {
            bare_message(&c, frame_call_id(i, 1), MESSAGE, 1);
            credit -= frame_credit(body.size);
        }
    }
    fixture_wait_parked(&b.f, STALLED);
    bare_ask(&c, frame_call_id(STALLED, 1), &b.methods[COLLECT], 0);
    fixture_wait_parked(&b.f, STALLED + 1);
    struct rpc_call *call = NULL;
    (void)pthread_mutex_lock(&b.f.lock);
    call = b.f.parked[--b.f.parked_count]; /* the newest */
    (void)pthread_mutex_unlock(&b.f.lock);
    for (unsigned i = 0; i < COUNT_OF; i++) {
        struct rpc_reply message;
        while (credit <= 0 || own <= 0) {
            if (!bare_get(&c)) {
                fail_msg("no more credit after %u messages", i);
            }
            assert_int_equal(c.frame.header.type, FRAME_WINDOW);
            *(c.frame.header.call_id == 0 ? &credit : &own) += c.frame.header.arg;
        }
        bare_message(&c, frame_call_id(STALLED, 1), MESSAGE, 1);
        credit -= frame_credit(body.size);
        own -= frame_credit(body.size);
        enum rpc_next next = RPC_NEXT_NOTHING;
        while (next == RPC_NEXT_NOTHING) {
            next = rpc_call_next(call, 0, &message);
        }
        assert_int_equal(next, RPC_NEXT_MESSAGE);
        rpc_reply_fini(&message);
        taken++;
    }
    assert_int_equal(taken, COUNT_OF);
    free((void *)(uintptr_t)body.data);
    reply_empty(call);
    bare_close(&c);
    bench_stop(&b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget_refusal),
        cmocka_unit_test(test_large_behind_deaf),
        cmocka_unit_test(test_never_fits),
        cmocka_unit_test(test_stalled_streams),
    };

    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
