/* retry: the pure core against an oracle that is a sentence of A6 after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/wire/metadata.h"
#include "proto/wire/retry.h"

static double lesser(double a, double b)
{
    return a < b ? a : b;
}

static double greater(double a, double b)
{
    return a > b ? a : b;
}

static double distance(double value)
{
    return value < 0 ? -value : value;
}

static double power(double base, unsigned exponent)
{
    return exponent == 0 ? 1 : base * power(base, exponent - 1);
}

#define CODE(status) (1U << (unsigned)(status))

static struct fly_bytes pushback_entry(const char *text, uint8_t out[static 128])
{
    struct fly_writer w = fly_writer_over(out, 128);

    assert_int_equal(metadata_put_text(&w, METADATA_PUSHBACK, text, NULL), FLY_OK);
    return (struct fly_bytes){out, w.size};
}

static void test_pushback(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"0", 0},
        {"1", 1},
        {"2147483647", INT32_MAX},
        {"2147483648", -1},
        {"-1", -1},
        {"-2147483648", -1},
        {"", -1},
        {"-", -1},
        {"007", -1},
        {"-0", -1},
        {"00", -1},
        {"1.5", -1},
        {" 1", -1},
        {"1 ", -1},
        {"soon", -1},
        {"99999999999999999999", -1},
        {"+1", -1},
    };
    uint8_t memory[128];
    int64_t ms = 0;

    (void)state;
    assert_false(retry_pushback((struct fly_bytes){0}, &ms));
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        ms = 77;
        if (!retry_pushback(pushback_entry(rows[i].text, memory), &ms) || ms != rows[i].ms) {
            fail_msg("\"%s\": %lld", rows[i].text, (long long)ms);
        }
    }
}

/* ---- retries ---- */

/* A6, retries: its words as code, with doubles and no thought of speed. */
struct oracle {
    double tokens;
    double max;
    double ratio;
    unsigned attempts;
    unsigned since_reset;
    unsigned never_left;
    unsigned turned_away;
};

struct expectation {
    enum retry_verdict verdict;
    double least; /* of the delay */
    double most;
};

static struct expectation oracle_next(struct oracle *o, const struct retry_policy *policy,
                                      const struct retry_outcome *outcome)
{
    struct expectation no = {.verdict = RETRY_NO};
    unsigned max = policy == NULL ? 1 : policy->attempts_max;
    bool retryable = false;

    if (outcome->status == FLY_UNAVAILABLE && !outcome->committed && !outcome->has_pushback) {
        /* "in the first case, in which the RPC never leaves the client, the client library can
         * transparently retry"; ours within a bound */
        if (outcome->reach == RETRY_UNSENT && o->never_left < 16) {
            o->never_left++;
            return (struct expectation){.verdict = RETRY_AT_ONCE};
        }
        /* "the client library will immediately retry it once" */
        if (outcome->reach == RETRY_TURNED_AWAY && o->turned_away == 0) {
            o->turned_away = 1;
            return (struct expectation){.verdict = RETRY_AT_ONCE};
        }
    }
    o->attempts++;
    for (unsigned code = 1; policy != NULL && code < FLY_STATUS_COUNT; code++) {
        retryable = retryable || ((policy->codes & CODE(code)) != 0 && outcome->status == code);
    }
    bool dont = outcome->has_pushback && outcome->pushback_ms < 0;
    /* "Every successful RPC will increment"; "Every failed RPC will decrement the token_count by 1"
     * and "The only RPCs that are counted as failures …" */
    if (outcome->status == FLY_OK) {
        o->tokens = lesser(o->max, o->tokens + o->ratio);
        return no;
    }
    if (retryable || dont) {
        o->tokens = greater(0, o->tokens - 1);
    }
    /* "higher values will be treated as equal to the maximum value" */
    if (max > 5) {
        max = 5;
    }
    if (o->attempts >= max || outcome->committed || dont) {
        return no;
    }
    if (!retryable && !outcome->has_pushback) {
        return no;
    }
    /* "less than or equal to the threshold, defined to be maxTokens / 2" */
    if (o->max > 0 && o->tokens <= o->max / 2 + 1e-6) {
        return no;
    }
    if (outcome->has_pushback) {
        o->since_reset = 0; /* "retry delay will reset to initial backoff for the following" */
        double ms = (double)outcome->pushback_ms;
        return (struct expectation){RETRY_AFTER, ms, ms};
    }
    o->since_reset++;
    return (struct expectation){
        RETRY_AFTER, 0,
        lesser((double)policy->initial_backoff_ms *
                   power((double)policy->multiplier_percent / 100, o->since_reset - 1),
               (double)policy->max_backoff_ms)};
}

static struct retry_policy some_policy(struct fly_rng *rng)
{
    static const uint32_t multipliers[] = {100, 150, 200, 400};

    return (struct retry_policy){
        .attempts_max = 1 + (uint32_t)fly_rng_below(rng, 8),
        .initial_backoff_ms = (uint32_t)fly_rng_below(rng, 200),
        .max_backoff_ms = (uint32_t)fly_rng_below(rng, 1000),
        .multiplier_percent = multipliers[fly_rng_below(rng, 4)],
        .codes = (uint32_t)fly_rng_next(rng) & ((1U << FLY_STATUS_COUNT) - 1),
        .hedging_delay_ms = (uint32_t)fly_rng_below(rng, 50),
    };
}

static struct retry_outcome some_outcome(struct fly_rng *rng)
{
    struct retry_outcome outcome = {
        .status = fly_rng_chance(rng, 500) ? FLY_UNAVAILABLE
                                           : (enum fly_status)fly_rng_below(rng, FLY_STATUS_COUNT),
        .reach = (enum retry_reach)fly_rng_below(rng, 4),
        .has_pushback = fly_rng_chance(rng, 200),
        .committed = fly_rng_chance(rng, 100),
    };

    if (outcome.has_pushback) {
        outcome.pushback_ms = fly_rng_chance(rng, 300) ? -1 : (int64_t)fly_rng_below(rng, 1000);
    }
    return outcome;
}

/* Long random lives of a client: many calls, one throttle. */
static void test_oracle(void **state)
{
    struct fly_rng rng;
    unsigned verdicts[3] = {0};
    unsigned throttled = 0;

    (void)state;
    fly_rng_seed(&rng, 4);
    for (unsigned client = 0; client < 400; client++) {
        struct retry_throttle throttle;
        uint32_t tokens = (uint32_t)fly_rng_below(&rng, 20);
        uint32_t ratio = (uint32_t)fly_rng_below(&rng, 2000);
        struct oracle o = {.tokens = tokens, .max = tokens, .ratio = ratio / 1000.0};
        retry_throttle_init(&throttle, tokens, ratio);
        for (unsigned call = 0; call < 100; call++) {
            struct retry_policy policy = some_policy(&rng);
            const struct retry_policy *p = fly_rng_chance(&rng, 800) ? &policy : NULL;
            struct retry_state call_state = {0};
            struct expectation want = {.verdict = RETRY_AFTER};
            o.attempts = o.since_reset = o.never_left = o.turned_away = 0;
            while (want.verdict != RETRY_NO) {
                struct retry_outcome outcome = some_outcome(&rng);
                int64_t delay_ms = -1;
                want = oracle_next(&o, p, &outcome);
                enum retry_verdict got =
                    retry_next(&call_state, p, &throttle, &outcome, &rng, &delay_ms);
                assert_int_equal(got, want.verdict);
                verdicts[got]++;
                throttled += call_state.throttled ? 1 : 0;
                if (got == RETRY_AFTER) {
                    assert_true((double)delay_ms >= want.least);
                    assert_true((double)delay_ms <= want.most + 1e-9);
                }
                assert_int_equal(call_state.attempts, o.attempts);
                assert_true(distance(o.tokens - throttle.tokens / 1000.0) < 1e-6);
            }
        }
    }
    assert_true(verdicts[RETRY_NO] > 1000 && verdicts[RETRY_AFTER] > 1000 &&
                verdicts[RETRY_AT_ONCE] > 1000 && throttled > 100);
}

/* The backoff's ends are reached, and grow as they should. */
static void test_backoff(void **state)
{
    static const struct retry_policy policy = {.attempts_max = 5,
                                               .initial_backoff_ms = 10,
                                               .max_backoff_ms = 35,
                                               .multiplier_percent = 200,
                                               .codes = CODE(FLY_UNAVAILABLE)};
    static const int64_t bounds[] = {10, 20, 35, 35};
    static const struct retry_outcome lost = {.status = FLY_UNAVAILABLE, .reach = RETRY_REACHED};
    static const struct retry_outcome pushed = {
        .status = FLY_INTERNAL, .reach = RETRY_REACHED, .has_pushback = true, .pushback_ms = 500};
    struct retry_throttle none = {0};
    struct fly_rng rng;
    int64_t least[4] = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    int64_t most[4] = {0};
    int64_t delay_ms = 0;

    (void)state;
    fly_rng_seed(&rng, 1);
    for (unsigned i = 0; i < 5000; i++) {
        struct retry_state call = {0};
        for (unsigned n = 0; n < 4; n++) {
            assert_int_equal(retry_next(&call, &policy, &none, &lost, &rng, &delay_ms),
                             RETRY_AFTER);
            least[n] = delay_ms < least[n] ? delay_ms : least[n];
            most[n] = delay_ms > most[n] ? delay_ms : most[n];
        }
        assert_int_equal(retry_next(&call, &policy, &none, &lost, &rng, &delay_ms), RETRY_NO);
    }
    for (unsigned n = 0; n < 4; n++) {
        assert_int_equal(least[n], 0);
        assert_int_equal(most[n], bounds[n]);
    }
    /* the server's word counts exactly, and the next wait is a first one again */
    for (unsigned i = 0; i < 1000; i++) {
        struct retry_state call = {0};
        assert_int_equal(retry_next(&call, &policy, &none, &lost, &rng, &delay_ms), RETRY_AFTER);
        assert_int_equal(retry_next(&call, &policy, &none, &lost, &rng, &delay_ms), RETRY_AFTER);
        assert_int_equal(retry_next(&call, &policy, &none, &pushed, &rng, &delay_ms), RETRY_AFTER);
        assert_int_equal(delay_ms, 500);
        assert_int_equal(retry_next(&call, &policy, &none, &lost, &rng, &delay_ms), RETRY_AFTER);
        assert_in_range(delay_ms, 0, 10);
    }
}

static void test_throttle(void **state)
{
    struct retry_throttle throttle;

    (void)state;
    retry_throttle_init(&throttle, 10, 100);
    for (unsigned i = 0; i < 4; i++) {
        retry_throttle_failed(&throttle);
        assert_true(retry_throttle_allows(&throttle));
    }
    retry_throttle_failed(&throttle); /* 5 of 10: not above the half */
    assert_false(retry_throttle_allows(&throttle));
    retry_throttle_succeeded(&throttle);
    assert_true(retry_throttle_allows(&throttle));
    for (unsigned i = 0; i < 100; i++) {
        retry_throttle_failed(&throttle);
    }
    assert_int_equal(throttle.tokens, 0);
    for (unsigned i = 0; i < 1000; i++) {
        retry_throttle_succeeded(&throttle);
    }
    assert_int_equal(throttle.tokens, 10000);
    retry_throttle_init(&throttle, UINT32_MAX, UINT32_MAX); /* clamped */
    retry_throttle_failed(&throttle);
    retry_throttle_succeeded(&throttle);
    assert_int_equal(throttle.tokens, throttle.max);
    retry_throttle_init(&throttle, 0, 0);
    retry_throttle_failed(&throttle);
    assert_true(retry_throttle_allows(&throttle)); /* there is none */
}

/* ---- hedging ---- */

/* A6, hedging, played with a clock that goes up by one: when each attempt is sent, and the end. */
struct hedge_world {
    const struct retry_policy *policy;
    double tokens;
    double max;
    double ratio;
    unsigned sent;
    unsigned running;
    bool stopped;
    int64_t next_ms;
};

static bool world_code(const struct hedge_world *w, enum fly_status status)
{
    return status != FLY_OK && (w->policy->codes & CODE(status)) != 0;
}

static unsigned world_max(const struct hedge_world *w)
{
    return w->policy->attempts_max < 5 ? w->policy->attempts_max : 5;
}

/* "subsequent hedged RPCs will only be sent if token_count is greater than the threshold" */
static bool world_sends(struct hedge_world *w, int64_t now_ms)
{
    if (w->stopped || w->sent >= world_max(w) || now_ms < w->next_ms) {
        return false;
    }
    if (w->sent > 0 && w->max > 0 && w->tokens <= w->max / 2 + 1e-6) {
        w->stopped = true;
        return false;
    }
    w->sent++;
    w->running++;
    w->next_ms = now_ms + w->policy->hedging_delay_ms;
    return true;
}

/* True: this answer ends the call. */
static bool world_answer(struct hedge_world *w, const struct retry_outcome *outcome, int64_t now_ms)
{
    bool dont = outcome->has_pushback && outcome->pushback_ms < 0;
    bool fatal = outcome->status != FLY_OK && !world_code(w, outcome->status);

    w->running--;
    if (outcome->status == FLY_OK) {
        w->tokens = lesser(w->max, w->tokens + w->ratio);
        return true;
    }
    if (!fatal || dont) {
        w->tokens = greater(0, w->tokens - 1);
    }
    if (fatal) {
        return true;
    }
    if (dont) {
        w->stopped = true;
    } else {
        w->next_ms = now_ms + (outcome->has_pushback ? outcome->pushback_ms : 0);
    }
    return w->running == 0 && (w->stopped || w->sent >= world_max(w));
}

static void test_hedging(void **state)
{
    struct fly_rng rng;
    unsigned ends[2] = {0};
    unsigned throttled = 0;
    unsigned together = 0;

    (void)state;
    fly_rng_seed(&rng, 6);
    for (unsigned client = 0; client < 300; client++) {
        struct retry_throttle throttle;
        uint32_t tokens = (uint32_t)fly_rng_below(&rng, 20);
        struct hedge_world w = {.tokens = tokens, .max = tokens, .ratio = 0.5};
        retry_throttle_init(&throttle, tokens, 500);
        for (unsigned call = 0; call < 50; call++) {
            struct retry_policy policy = some_policy(&rng);
            struct retry_hedge hedge;
            struct retry_state call_state = {0};
            bool over = false;
            int64_t now_ms = 1000;
            policy.hedge = true;
            w.policy = &policy;
            w.sent = w.running = 0;
            w.stopped = false;
            w.next_ms = now_ms;
            retry_hedge_begin(&hedge, now_ms);
            for (; !over; now_ms++) {
                bool sends = true;
                while (sends) {
                    sends = world_sends(&w, now_ms);
                    assert_int_equal(
                        retry_hedge_due(&hedge, &call_state, &policy, &throttle, now_ms), sends);
                    assert_int_equal(hedge.running, w.running);
                }
                throttled += call_state.throttled ? 1 : 0;
                together += hedge.running > 1 ? 1 : 0;
                over = w.running == 0 && (w.stopped || w.sent >= world_max(&w));
                assert_int_equal(retry_hedge_over(&hedge, &policy), over);
                if (!over && w.running > 0 && fly_rng_chance(&rng, 100)) {
                    struct retry_outcome outcome = some_outcome(&rng);
                    over = world_answer(&w, &outcome, now_ms);
                    assert_int_equal(
                        retry_hedge_ended(&hedge, &policy, &throttle, &outcome, now_ms), over);
                    ends[outcome.status == FLY_OK]++;
                }
                assert_true(distance(w.tokens - throttle.tokens / 1000.0) < 1e-6);
            }
        }
    }
    assert_true(ends[0] > 1000 && ends[1] > 200 && throttled > 100 && together > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pushback), cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_throttle), cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_hedging),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
