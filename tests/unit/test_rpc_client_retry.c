/* rpc client: calls that are made again, and not; each ends once. */
#include "tests/unit/client_fixture.h"

static const struct rpc_call_options patient = {.wait_for_ready = true};

/* Retries at once, or hardly ever. */
static const struct retry_policy quick = {.attempts_max = 3,
                                          .initial_backoff_ms = 1,
                                          .max_backoff_ms = 2,
                                          .multiplier_percent = 200,
                                          .codes = CODE(FLY_UNAVAILABLE) | CODE(FLY_ABORTED)};
static const struct retry_policy slow = {.attempts_max = 5,
                                         .initial_backoff_ms = UINT32_MAX,
                                         .max_backoff_ms = UINT32_MAX,
                                         .multiplier_percent = 100,
                                         .codes = CODE(FLY_UNAVAILABLE)};

struct one {
    struct fixture f;
    struct rpc_client *client;
    struct ends ends;
};

static void one_start(struct one *o, struct rpc_client_config config)
{
    ends_init(&o->ends);
    fixture_start(&o->f, LOOPBACK, NULL);
    config.url = rpc_server_url(o->f.server, 0);
    o->client = client_of(config);
    await_ready(o->client);
}

static void one_stop(struct one *o)
{
    rpc_client_close(o->client);
    fixture_stop(&o->f);
}

/* ---- one after the other ---- */

static void test_retried(void **state)
{
    static const struct {
        const char *what;
        enum fly_status answers[3];
        unsigned attempts;
        enum fly_status status;
    } rows[] = {
        {"at first", {FLY_OK}, 1, FLY_OK},
        {"then well", {FLY_UNAVAILABLE, FLY_ABORTED, FLY_OK}, 3, FLY_OK},
        {"three times", {FLY_UNAVAILABLE, FLY_UNAVAILABLE, FLY_ABORTED}, 3, FLY_ABORTED},
        {"fatal", {FLY_NOT_FOUND}, 1, FLY_NOT_FOUND},
        {"then fatal", {FLY_UNAVAILABLE, FLY_INTERNAL}, 2, FLY_INTERNAL},
    };
    struct one o;
    struct rpc_method method = status_with(&quick);
    unsigned seen[FLY_STATUS_COUNT] = {0};
    unsigned ended = 0;

    (void)state;
    one_start(&o, (struct rpc_client_config){.throttle_tokens = 1000});
    for (size_t i = 0; i < 2 * FLY_ARRAY_COUNT(rows); i++) {
        bool blocking = i < FLY_ARRAY_COUNT(rows);
        size_t row = i % FLY_ARRAY_COUNT(rows);
        struct caller caller = {0};
        struct rpc_client_counters before = rpc_client_counters(o.client);
        if (blocking) {
            caller_start(&caller, o.client, &method);
        } else {
            (void)start_status(o.client, &method, NULL, &o.ends);
        }
        for (unsigned a = 0; a < rows[row].attempts; a++) {
            struct rpc_call *call = fixture_take(&o.f);
            assert_int_equal(attempts_said(call), a == 0 ? -1 : (int64_t)a);
            if (rows[row].answers[a] == FLY_OK) {
                answer(call);
            } else {
                fail_with(call, rows[row].answers[a]);
            }
        }
        enum fly_status status = rows[row].status;
        if (blocking) {
            assert_int_equal(caller_join(&caller), status);
        } else {
            ends_wait(&o.ends, ++ended);
            seen[status]++;
            assert_int_equal(o.ends.of[status], seen[status]);
            assert_true(o.ends.sent);
        }
        struct rpc_client_counters after = rpc_client_counters(o.client);
        assert_int_equal(after.calls - before.calls, 1);
        assert_int_equal(after.attempts - before.attempts, rows[row].attempts);
        assert_int_equal(after.retries - before.retries, rows[row].attempts - 1);
    }
    one_stop(&o);
}

static void test_pushback(void **state)
{
    struct one o;
    struct rpc_method method = status_with(&slow);

    (void)state;
    one_start(&o, (struct rpc_client_config){0});
    /* at the server's time, not at the policy's; whatever the code */
    (void)start_status(o.client, &method, NULL, &o.ends);
    struct rpc_call *call = fixture_take(&o.f);
    push_back(call, 0);
    fail_with(call, FLY_UNAVAILABLE);
    call = fixture_take(&o.f);
    push_back(call, 1);
    fail_with(call, FLY_NOT_FOUND);
    answer(fixture_take(&o.f));
    ends_wait(&o.ends, 1);
    assert_int_equal(o.ends.of[FLY_OK], 1);
    /* never */
    (void)start_status(o.client, &method, NULL, &o.ends);
    call = fixture_take(&o.f);
    push_back(call, -1);
    fail_with(call, FLY_UNAVAILABLE);
    ends_wait(&o.ends, 2);
    assert_int_equal(o.ends.of[FLY_UNAVAILABLE], 1);
    one_stop(&o);
}

static void test_throttled(void **state)
{
    struct one o;
    struct rpc_method method = status_with(&quick);

    (void)state;
    /* 4 tokens: the second failure leaves no more than half */
    one_start(&o, (struct rpc_client_config){.throttle_tokens = 4, .throttle_ratio = 500});
    (void)start_status(o.client, &method, NULL, &o.ends);
    fail_with(fixture_take(&o.f), FLY_UNAVAILABLE);
    fail_with(fixture_take(&o.f), FLY_UNAVAILABLE);
    ends_wait(&o.ends, 1);
    assert_int_equal(rpc_client_counters(o.client).throttled, 1);
    assert_int_equal(rpc_client_counters(o.client).retries, 1);
    /* successes of any method give tokens back: 2 + 3 × 0.5, less one */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(call_echo(o.client, NULL), FLY_OK);
    }
    (void)start_status(o.client, &method, NULL, &o.ends);
    fail_with(fixture_take(&o.f), FLY_UNAVAILABLE);
    answer(fixture_take(&o.f));
    ends_wait(&o.ends, 2);
    assert_int_equal(o.ends.of[FLY_OK], 1);
    assert_int_equal(rpc_client_counters(o.client).throttled, 1);
    one_stop(&o);
}

/* What the server turned away unexecuted is made again once, whatever the policy. */
static void test_turned_away(void **state)
{
    static const struct retry_policy hedging = {.attempts_max = 2,
                                                .hedge = true,
                                                .hedging_delay_ms = HOUR_MS,
                                                .codes = CODE(FLY_NOT_FOUND)};
    struct one o;
    struct rpc_method methods[] = {plain, status_with(&hedging)};
    unsigned ended = 0;

    (void)state;
    one_start(&o, (struct rpc_client_config){0});
    for (unsigned m = 0; m < FLY_ARRAY_COUNT(methods); m++) {
        struct caller caller = {0};
        uint64_t before = rpc_client_counters(o.client).transparent_retries;
        (void)start_status(o.client, &methods[m], NULL, &o.ends);
        rpc_call_turn_away(fixture_take(&o.f), FLY_UNAVAILABLE, "", (struct fly_bytes){0});
        struct rpc_call *call = fixture_take(&o.f);
        assert_int_equal(attempts_said(call), -1); /* it does not count */
        answer(call);
        ends_wait(&o.ends, ++ended);
        assert_int_equal(o.ends.of[FLY_OK], m + 1);
        caller_start(&caller, o.client, &methods[m]);
        rpc_call_turn_away(fixture_take(&o.f), FLY_UNAVAILABLE, "", (struct fly_bytes){0});
        answer(fixture_take(&o.f));
        assert_int_equal(caller_join(&caller), FLY_OK);
        assert_int_equal(rpc_client_counters(o.client).transparent_retries, before + 2);
        /* twice is the call's answer, and so is any other code */
        (void)start_status(o.client, &methods[m], NULL, &o.ends);
        rpc_call_turn_away(fixture_take(&o.f), FLY_UNAVAILABLE, "", (struct fly_bytes){0});
        rpc_call_turn_away(fixture_take(&o.f), FLY_UNAVAILABLE, "", (struct fly_bytes){0});
        ends_wait(&o.ends, ++ended);
        assert_int_equal(o.ends.of[FLY_UNAVAILABLE], m + 1);
        assert_false(o.ends.sent);
        (void)start_status(o.client, &methods[m], NULL, &o.ends);
        rpc_call_turn_away(fixture_take(&o.f), FLY_PERMISSION_DENIED, "", (struct fly_bytes){0});
        ends_wait(&o.ends, ++ended);
        assert_int_equal(o.ends.of[FLY_PERMISSION_DENIED], m + 1);
    }
    one_stop(&o);
}

/* A request that is too large to be kept is sent once. */
static void test_not_kept(void **state)
{
    struct one o;
    struct rpc_method method = status_with(&quick);
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
    char vm[2000];

    (void)state;
    memset(vm, 'v', sizeof vm);
    vm[sizeof vm - 1] = '\0';
    request.vm = vm;
    one_start(&o, (struct rpc_client_config){.retry_keep_max = 1000});
    rpc_client_start(o.client, &method, &request.base, NULL, ends_note, &o.ends, NULL);
    fail_with(fixture_take(&o.f), FLY_UNAVAILABLE);
    ends_wait(&o.ends, 1);
    assert_int_equal(o.ends.of[FLY_UNAVAILABLE], 1);
    one_stop(&o);
    /* one that can, arrives whole the second time */
    one_start(&o, (struct rpc_client_config){.retry_keep_max = 4000});
    rpc_client_start(o.client, &method, &request.base, NULL, ends_note, &o.ends, NULL);
    memset(vm, 'x', sizeof vm - 1);
    fail_with(fixture_take(&o.f), FLY_UNAVAILABLE);
    struct rpc_call *call = fixture_take(&o.f);
    const Fly__V1__StatusRequest *got = (const void *)rpc_call_request(call);
    memset(vm, 'v', sizeof vm - 1);
    assert_string_equal(got->vm, vm);
    answer(call);
    ends_wait(&o.ends, 1);
    assert_int_equal(o.ends.of[FLY_OK], 1);
    one_stop(&o);
}

/* ---- what ends a call that waits ---- */

/* Starts one that is in its backoff when this returns. */
static uint64_t into_backoff(struct one *o, const struct rpc_method *method,
                             const struct rpc_call_options *options)
{
    uint64_t retries = rpc_client_counters(o->client).retries;
    uint64_t id = start_status(o->client, method, options, &o->ends);

    fail_with(fixture_take(&o->f), FLY_UNAVAILABLE);
    WAIT_UNTIL(rpc_client_counters(o->client).retries == retries + 1);
    return id;
}

static void test_deadline_in_backoff(void **state)
{
    struct one o;
    struct rpc_method method = status_with(&slow);
    struct rpc_call_options options = {.timeout_ms = 50};
    struct caller caller = {.options = options};

    (void)state;
    one_start(&o, (struct rpc_client_config){0});
    (void)into_backoff(&o, &method, &options);
    ends_wait(&o.ends, 1);
    assert_int_equal(o.ends.of[FLY_DEADLINE_EXCEEDED], 1);
    assert_true(o.ends.sent); /* the first attempt was */
    caller_start(&caller, o.client, &method);
    fail_with(fixture_take(&o.f), FLY_UNAVAILABLE);
    assert_int_equal(caller_join(&caller), FLY_DEADLINE_EXCEEDED);
    one_stop(&o);
}

static void test_cancel(void **state)
{
    struct one o;
    struct rpc_method method = status_with(&slow);
    char url[64];

    (void)state;
    one_start(&o, (struct rpc_client_config){0});
    uint64_t id = into_backoff(&o, &method, NULL);
    rpc_client_cancel(o.client, id);
    assert_int_equal(o.ends.of[FLY_CANCELLED], 1);
    assert_true(o.ends.sent);
    rpc_client_cancel(o.client, id); /* over */
    rpc_client_cancel(o.client, id + 1);
    rpc_client_cancel(o.client, UINT64_MAX);
    rpc_client_cancel(o.client, 0);
    /* in flight */
    id = start_status(o.client, &method, NULL, &o.ends);
    fixture_wait_parked(&o.f, 1);
    rpc_client_cancel(o.client, id);
    fixture_wait(&o.f, &o.f.cancels, 1);
    ends_wait(&o.ends, 2);
    assert_int_equal(o.ends.of[FLY_CANCELLED], 2);
    fail_with(fixture_take(&o.f), FLY_CANCELLED);
    /* waiting for a connection */
    fresh_url(url);
    struct rpc_client *client = client_to(url);
    id = start_status(client, &method, &patient, &o.ends);
    rpc_client_cancel(client, id);
    assert_int_equal(o.ends.of[FLY_CANCELLED], 3);
    assert_false(o.ends.sent);
    rpc_client_close(client);
    ends_wait(&o.ends, 3);
    one_stop(&o);
}

static void test_close(void **state)
{
    struct one o;
    struct rpc_method method = status_with(&slow);
    static const struct retry_policy hedging = {
        .attempts_max = 3, .hedge = true, .hedging_delay_ms = HOUR_MS};
    struct rpc_method hedged = status_with(&hedging);
    struct caller callers[2] = {{.options = patient}, {.options = patient}};
    char url[64];

    (void)state;
    one_start(&o, (struct rpc_client_config){0});
    (void)into_backoff(&o, &method, NULL);
    (void)start_status(o.client, &plain, NULL, &o.ends);
    (void)start_status(o.client, &hedged, NULL, &o.ends);
    caller_start(&callers[0], o.client, &plain);
    fixture_wait_parked(&o.f, 3);
    rpc_client_close(o.client);
    ends_wait(&o.ends, 3);
    assert_int_equal(o.ends.of[FLY_CANCELLED], 3);
    assert_int_equal(caller_join(&callers[0]), FLY_CANCELLED);
    fixture_stop(&o.f);
    /* and those that wait for a connection */
    fresh_url(url);
    struct rpc_client *client = client_to(url);
    (void)start_status(client, &hedged, &patient, &o.ends);
    (void)start_status(client, &plain, &patient, &o.ends);
    caller_start(&callers[1], client, &method);
    WAIT_UNTIL(rpc_client_counters(client).waiting == 3);
    rpc_client_close(client);
    ends_wait(&o.ends, 5);
    assert_int_equal(o.ends.of[FLY_CANCELLED], 5);
    assert_int_equal(caller_join(&callers[1]), FLY_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retried),     cmocka_unit_test(test_pushback),
        cmocka_unit_test(test_throttled),   cmocka_unit_test(test_not_kept),
        cmocka_unit_test(test_turned_away), cmocka_unit_test(test_deadline_in_backoff),
        cmocka_unit_test(test_cancel),      cmocka_unit_test(test_close),
    };
    plain_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
