/* rpc client: attempts side by side, over two replicas. */
#include "tests/unit/client_fixture.h"

enum { REPLICAS = 2 };

struct pair {
    struct fixture f[REPLICAS];
    const char *urls[REPLICAS];
    struct rpc_client *client;
    struct ends ends;
};

static void pair_start(struct pair *p, uint32_t tokens)
{
    ends_init(&p->ends);
    for (unsigned i = 0; i < REPLICAS; i++) {
        fixture_start(&p->f[i], LOOPBACK, NULL);
        p->urls[i] = rpc_server_url(p->f[i].server, 0);
    }
    p->client = client_of((struct rpc_client_config){.urls = p->urls,
                                                     .url_count = REPLICAS,
                                                     .balance = RPC_ROUND_ROBIN,
                                                     .throttle_tokens = tokens});
    await_ready(p->client);
    WAIT_UNTIL(rpc_client_counters(p->client).connections == REPLICAS);
}

static void pair_stop(struct pair *p)
{
    rpc_client_close(p->client);
    for (unsigned i = 0; i < REPLICAS; i++) {
        fixture_stop(&p->f[i]);
    }
}

/* Which of the two has been asked. */
static unsigned pair_first(struct pair *p)
{
    WAIT_UNTIL(parked(&p->f[0]) + parked(&p->f[1]) > 0);
    return parked(&p->f[0]) > 0 ? 0 : 1;
}

static void test_hedge_wins(void **state)
{
    static const struct retry_policy policy = {
        .attempts_max = 2, .hedge = true, .hedging_delay_ms = 1, .codes = CODE(FLY_UNAVAILABLE)};
    struct rpc_method method = status_with(&policy);
    struct pair p;

    (void)state;
    pair_start(&p, 10);
    for (unsigned i = 0; i < 2; i++) {
        struct caller caller = {0};
        if (i == 0) {
            caller_start(&caller, p.client, &method);
        } else {
            (void)start_status(p.client, &method, NULL, &p.ends);
        }
        struct rpc_call *calls[REPLICAS] = {fixture_take(&p.f[0]), fixture_take(&p.f[1])};
        unsigned hedge = attempts_said(calls[0]) == 1 ? 0 : 1;
        assert_int_equal(attempts_said(calls[hedge]), 1);
        assert_int_equal(attempts_said(calls[1 - hedge]), -1);
        answer(calls[hedge]); /* the first replica is slow */
        if (i == 0) {
            assert_int_equal(caller_join(&caller), FLY_OK);
        } else {
            ends_wait(&p.ends, 1);
            assert_int_equal(p.ends.of[FLY_OK], 1);
        }
        WAIT_UNTIL(rpc_call_cancelled(calls[1 - hedge])); /* and told that it is not wanted */
        fail_with(calls[1 - hedge], FLY_CANCELLED);
        assert_int_equal(rpc_client_counters(p.client).hedges, i + 1);
    }
    pair_stop(&p);
}

static void test_hedge_answers(void **state)
{
    /* the next one only after a failure */
    static const struct retry_policy policy = {.attempts_max = 3,
                                               .hedge = true,
                                               .hedging_delay_ms = HOUR_MS,
                                               .codes = CODE(FLY_UNAVAILABLE)};
    struct rpc_method method = status_with(&policy);
    struct pair p;

    (void)state;
    pair_start(&p, 1000);
    /* not fatal: another one at once, on the other connection */
    (void)start_status(p.client, &method, NULL, &p.ends);
    unsigned first = pair_first(&p);
    fail_with(fixture_take(&p.f[first]), FLY_UNAVAILABLE);
    answer(fixture_take(&p.f[1 - first]));
    ends_wait(&p.ends, 1);
    assert_int_equal(p.ends.of[FLY_OK], 1);
    /* fatal: the end */
    (void)start_status(p.client, &method, NULL, &p.ends);
    fail_with(fixture_take(&p.f[pair_first(&p)]), FLY_NOT_FOUND);
    ends_wait(&p.ends, 2);
    assert_int_equal(p.ends.of[FLY_NOT_FOUND], 1);
    /* all of them */
    (void)start_status(p.client, &method, NULL, &p.ends);
    for (unsigned i = 0; i < 3; i++) {
        fail_with(fixture_take(&p.f[pair_first(&p)]), FLY_UNAVAILABLE);
    }
    ends_wait(&p.ends, 3);
    assert_int_equal(p.ends.of[FLY_UNAVAILABLE], 1);
    /* the server says never; then: in a moment */
    (void)start_status(p.client, &method, NULL, &p.ends);
    struct rpc_call *call = fixture_take(&p.f[pair_first(&p)]);
    push_back(call, -1);
    fail_with(call, FLY_UNAVAILABLE);
    ends_wait(&p.ends, 4);
    assert_int_equal(p.ends.of[FLY_UNAVAILABLE], 2);
    (void)start_status(p.client, &method, NULL, &p.ends);
    call = fixture_take(&p.f[pair_first(&p)]);
    push_back(call, 1);
    fail_with(call, FLY_UNAVAILABLE);
    answer(fixture_take(&p.f[pair_first(&p)]));
    ends_wait(&p.ends, 5);
    assert_int_equal(p.ends.of[FLY_OK], 2);
    pair_stop(&p);
}

static void test_hedge_ends(void **state)
{
    static const struct retry_policy policy = {
        .attempts_max = 2, .hedge = true, .hedging_delay_ms = 1, .codes = CODE(FLY_UNAVAILABLE)};
    static const struct retry_policy late = {.attempts_max = 2,
                                             .hedge = true,
                                             .hedging_delay_ms = HOUR_MS,
                                             .codes = CODE(FLY_UNAVAILABLE)};
    struct rpc_method method = status_with(&policy);
    struct rpc_method method_late = status_with(&late);
    struct rpc_call_options options = {.timeout_ms = 50};
    struct pair p;

    (void)state;
    pair_start(&p, 2); /* the first failure leaves half: no hedge after it */
    /* the deadline spans all */
    (void)start_status(p.client, &method, &options, &p.ends);
    struct rpc_call *calls[REPLICAS] = {fixture_take(&p.f[0]), fixture_take(&p.f[1])};
    ends_wait(&p.ends, 1);
    assert_int_equal(p.ends.of[FLY_DEADLINE_EXCEEDED], 1);
    fail_with(calls[0], FLY_UNAVAILABLE);
    fail_with(calls[1], FLY_UNAVAILABLE);
    /* cancelled while both run */
    uint64_t id = start_status(p.client, &method, NULL, &p.ends);
    calls[0] = fixture_take(&p.f[0]);
    calls[1] = fixture_take(&p.f[1]);
    rpc_client_cancel(p.client, id);
    ends_wait(&p.ends, 2);
    assert_int_equal(p.ends.of[FLY_CANCELLED], 1);
    WAIT_UNTIL(rpc_call_cancelled(calls[0]) && rpc_call_cancelled(calls[1]));
    fail_with(calls[0], FLY_CANCELLED);
    fail_with(calls[1], FLY_CANCELLED);
    /* one that goes well */
    id = start_status(p.client, &method, NULL, &p.ends);
    calls[0] = fixture_take(&p.f[0]);
    calls[1] = fixture_take(&p.f[1]);
    answer(calls[0]);
    ends_wait(&p.ends, 3);
    fail_with(calls[1], FLY_CANCELLED);
    /* throttled */
    (void)start_status(p.client, &method_late, NULL, &p.ends);
    fail_with(fixture_take(&p.f[pair_first(&p)]), FLY_UNAVAILABLE);
    ends_wait(&p.ends, 4);
    assert_int_equal(p.ends.of[FLY_UNAVAILABLE], 1);
    assert_int_equal(rpc_client_counters(p.client).throttled, 1);
    pair_stop(&p);
}

/* A hedge whose pause the server asked for is cancelled, or closed, while nothing runs. */
static void test_hedge_paused(void **state)
{
    static const struct retry_policy policy = {.attempts_max = 3,
                                               .hedge = true,
                                               .hedging_delay_ms = HOUR_MS,
                                               .codes = CODE(FLY_UNAVAILABLE)};
    struct rpc_method method = status_with(&policy);
    struct rpc_call_options options[3] = {{0}, {.timeout_ms = 50}, {0}};
    uint64_t ids[3];
    struct pair p;

    (void)state;
    pair_start(&p, 1000);
    for (unsigned i = 0; i < 3; i++) {
        ids[i] = start_status(p.client, &method, &options[i], &p.ends);
        struct rpc_call *call = fixture_take(&p.f[pair_first(&p)]);
        push_back(call, HOUR_MS);
        fail_with(call, FLY_UNAVAILABLE);
    }
    /* a later call's answer: the ones before have been heard */
    for (unsigned i = 0; i < 2 * REPLICAS; i++) {
        assert_int_equal(call_echo(p.client, NULL), FLY_OK);
    }
    rpc_client_cancel(p.client, ids[0]);
    ends_wait(&p.ends, 2);
    assert_int_equal(p.ends.of[FLY_CANCELLED], 1);
    assert_int_equal(p.ends.of[FLY_DEADLINE_EXCEEDED], 1);
    rpc_client_close(p.client);
    ends_wait(&p.ends, 3);
    assert_int_equal(p.ends.of[FLY_CANCELLED], 2);
    p.client = NULL;
    pair_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hedge_wins),
        cmocka_unit_test(test_hedge_answers),
        cmocka_unit_test(test_hedge_ends),
        cmocka_unit_test(test_hedge_paused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
