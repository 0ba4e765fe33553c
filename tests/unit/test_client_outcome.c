/* outcome and exits: every answer that a launch can get, and what becomes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "client/lib/exits.h"
#include "client/lib/outcome.h"
#include "fly/v1/common.pb-c.h"
#include "proto/base/check.h"

#define R(name) FLY__V1__REASON__REASON_##name

enum { NOW = 1000000, DEADLINE = NOW + 5000 };

/* One launch as the answers to its tries, first to last, and the last step. */
struct story {
    const char *what;
    bool key_given;
    size_t count;
    struct outcome_try tries[3];
    enum outcome_step steps[3];
};

#define OK_ANSWER                                                                                  \
    {                                                                                              \
        .status = FLY_OK, .connected = true, .sent = true                                          \
    }
#define REFUSAL(s, r, again)                                                                       \
    {                                                                                              \
        .status = (s), .reason = R(r), .retryable = (again), .connected = true, .sent = true       \
    }
#define BROKEN                                                                                     \
    {                                                                                              \
        .status = FLY_UNAVAILABLE, .connected = true, .sent = true                                 \
    }
#define NO_ANSWER                                                                                  \
    {                                                                                              \
        .status = FLY_DEADLINE_EXCEEDED, .connected = true, .sent = true                           \
    }
#define NOT_SENT                                                                                   \
    {                                                                                              \
        .status = FLY_UNAVAILABLE, .connected = true, .sent = false                                \
    }
#define NO_EDGE                                                                                    \
    {                                                                                              \
        .status = FLY_UNAVAILABLE, .connected = false, .sent = false                               \
    }
#define FULL_HERE                                                                                  \
    {                                                                                              \
        .status = FLY_RESOURCE_EXHAUSTED, .reason = R(REGION_FULL), .retryable = true,             \
        .connected = true, .sent = true, .other_room = true                                        \
    }

static const struct story stories[] = {
    {"ok at once", false, 1, {OK_ANSWER}, {OUTCOME_OK}},
    {"nobody listens", false, 1, {NO_EDGE}, {OUTCOME_NOT_DONE}},
    {"the edge went before it was sent",
     false,
     2,
     {NOT_SENT, OK_ANSWER},
     {OUTCOME_AGAIN_SAME, OUTCOME_OK}},
    {"the edge restarts: it was there, then it is not, then it is",
     false,
     3,
     {NOT_SENT, NO_EDGE, OK_ANSWER},
     {OUTCOME_AGAIN_SAME, OUTCOME_AGAIN_SAME, OUTCOME_OK}},
    {"broken after it was sent: the same key",
     false,
     2,
     {BROKEN, OK_ANSWER},
     {OUTCOME_AGAIN_SAME, OUTCOME_OK}},
    {"no answer: the same key", false, 2, {NO_ANSWER, OK_ANSWER}, {OUTCOME_AGAIN_SAME, OUTCOME_OK}},
    {"the server does not know either",
     false,
     2,
     {REFUSAL(FLY_UNAVAILABLE, OUTCOME_UNKNOWN, true), OK_ANSWER},
     {OUTCOME_AGAIN_SAME, OUTCOME_OK}},
    {"in doubt, then full: full says nothing about the first try",
     false,
     3,
     {BROKEN, FULL_HERE, OK_ANSWER},
     {OUTCOME_AGAIN_SAME, OUTCOME_AGAIN_SAME, OUTCOME_OK}},
    {"in doubt, then busy",
     false,
     3,
     {BROKEN, REFUSAL(FLY_ABORTED, BUSY, true), OK_ANSWER},
     {OUTCOME_AGAIN_SAME, OUTCOME_AGAIN_SAME, OUTCOME_OK}},
    {"in doubt, then too large",
     false,
     2,
     {BROKEN, REFUSAL(FLY_INVALID_ARGUMENT, TOO_LARGE, false)},
     {OUTCOME_AGAIN_SAME, OUTCOME_AGAIN_SAME}},
    {"in doubt, then nobody listens",
     false,
     2,
     {BROKEN, NO_EDGE},
     {OUTCOME_AGAIN_SAME, OUTCOME_AGAIN_SAME}},
    {"in doubt, then the token ran out: doubt stays",
     false,
     2,
     {BROKEN, REFUSAL(FLY_UNAUTHENTICATED, TOKEN_EXPIRED, false)},
     {OUTCOME_AGAIN_SAME, OUTCOME_UNKNOWN}},
    {"in doubt, then cancelled: settled",
     false,
     2,
     {BROKEN, REFUSAL(FLY_FAILED_PRECONDITION, KEY_CANCELLED, false)},
     {OUTCOME_AGAIN_SAME, OUTCOME_NOT_DONE}},
    {"full here, room elsewhere: a fresh key",
     false,
     2,
     {FULL_HERE, OK_ANSWER},
     {OUTCOME_AGAIN_FRESH, OUTCOME_OK}},
    {"full here, room elsewhere, but the key is a person's",
     true,
     1,
     {FULL_HERE},
     {OUTCOME_NOT_DONE}},
    {"full everywhere",
     false,
     1,
     {REFUSAL(FLY_RESOURCE_EXHAUSTED, REGION_FULL, true)},
     {OUTCOME_NOT_DONE}},
    {"too large",
     false,
     1,
     {REFUSAL(FLY_FAILED_PRECONDITION, TOO_LARGE, false)},
     {OUTCOME_NOT_DONE}},
    {"region unknown",
     false,
     1,
     {REFUSAL(FLY_INVALID_ARGUMENT, REGION_UNKNOWN, false)},
     {OUTCOME_NOT_DONE}},
    {"busy with a person's key",
     true,
     2,
     {REFUSAL(FLY_ABORTED, BUSY, true), OK_ANSWER},
     {OUTCOME_AGAIN_SAME, OUTCOME_OK}},
    {"rate",
     false,
     2,
     {REFUSAL(FLY_RESOURCE_EXHAUSTED, RATE, true), OK_ANSWER},
     {OUTCOME_AGAIN_SAME, OUTCOME_OK}},
    {"quota", false, 1, {REFUSAL(FLY_RESOURCE_EXHAUSTED, QUOTA, true)}, {OUTCOME_NOT_DONE}},
    {"no token",
     false,
     1,
     {REFUSAL(FLY_UNAUTHENTICATED, TOKEN_MISSING, false)},
     {OUTCOME_NOT_DONE}},
    {"key reused", true, 1, {REFUSAL(FLY_ALREADY_EXISTS, KEY_REUSED, false)}, {OUTCOME_NOT_DONE}},
    {"internal error without a reason, after it was sent",
     false,
     1,
     {{.status = FLY_INTERNAL, .connected = true, .sent = true}},
     {OUTCOME_AGAIN_SAME}},
    {"a reason of a newer server beside UNAVAILABLE",
     false,
     1,
     {{.status = FLY_UNAVAILABLE, .reason = 999, .connected = true, .sent = true}},
     {OUTCOME_AGAIN_SAME}},
};

static void test_stories(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(stories); i++) {
        const struct story *story = &stories[i];
        struct outcome outcome;
        struct fly_rng rng;
        int64_t pause_ms = 0;
        fly_rng_seed(&rng, 7);
        outcome_init(&outcome, story->key_given, DEADLINE);
        for (size_t j = 0; j < story->count; j++) {
            enum outcome_step step = outcome_next(&outcome, &story->tries[j], NOW, &rng, &pause_ms);
            if (step != story->steps[j]) {
                fail_msg("%s: try %zu gave step %d", story->what, j, (int)step);
            }
        }
    }
}

/* The same stories with no time left: again becomes an end, and the right one. */
static void test_deadline(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(stories); i++) {
        const struct story *story = &stories[i];
        struct outcome outcome;
        struct fly_rng rng;
        int64_t pause_ms = 0;
        fly_rng_seed(&rng, 7);
        outcome_init(&outcome, story->key_given, DEADLINE);
        enum outcome_step step =
            outcome_next(&outcome, &story->tries[0], DEADLINE, &rng, &pause_ms);
        enum outcome_step wanted = story->steps[0];
        if (wanted == OUTCOME_AGAIN_SAME || wanted == OUTCOME_AGAIN_FRESH) {
            wanted = outcome.doubt ? OUTCOME_UNKNOWN : OUTCOME_NOT_DONE;
        }
        if (step != wanted) {
            fail_msg("%s: step %d at the deadline", story->what, (int)step);
        }
    }
}

/* Any answers in any order: the promises of outcome.h, against a memory of what was said. */
static void test_promises(void **state)
{
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 42);
    for (unsigned round = 0; round < 20000; round++) {
        struct outcome outcome;
        bool key_given = fly_rng_chance(&rng, 300);
        bool maybe_done = false; /* a try with this key was sent and nothing settled it */
        unsigned fresh = 0;
        int64_t now_ms = NOW;
        enum outcome_step step = OUTCOME_AGAIN_SAME;
        outcome_init(&outcome, key_given, DEADLINE);
        for (unsigned tries = 0; step == OUTCOME_AGAIN_SAME || step == OUTCOME_AGAIN_FRESH;) {
            const struct story *story = &stories[fly_rng_below(&rng, FLY_ARRAY_COUNT(stories))];
            const struct outcome_try *ended = &story->tries[fly_rng_below(&rng, story->count)];
            int64_t pause_ms = -1;
            step = outcome_next(&outcome, ended, now_ms, &rng, &pause_ms);
            bool settled = ended->reason == R(KEY_CANCELLED) || ended->reason == R(KEY_REUSED);
            maybe_done =
                !settled && (maybe_done || (ended->sent && (ended->reason == R(NONE) ||
                                                            ended->reason == R(OUTCOME_UNKNOWN) ||
                                                            ended->reason == 999)));
            assert_true(pause_ms >= 0 && pause_ms <= OUTCOME_PAUSE_MAX_MS);
            if (step == OUTCOME_AGAIN_FRESH) {
                assert_false(key_given);
                assert_false(maybe_done);
                fresh++;
            }
            assert_int_equal(step == OUTCOME_OK, ended->status == FLY_OK);
            if (step == OUTCOME_NOT_DONE) {
                assert_false(maybe_done);
            }
            if (step == OUTCOME_UNKNOWN) {
                assert_true(maybe_done);
            }
            now_ms += pause_ms;
            assert_true(step == OUTCOME_OK || now_ms < DEADLINE + OUTCOME_PAUSE_MAX_MS);
            assert_true(++tries < 1000);
        }
        assert_true(fresh <= OUTCOME_FRESH_MAX);
    }
}

static void test_exit_codes(void **state)
{
    static const struct {
        enum fly_status status;
        uint32_t reason;
        int code;
    } cases[] = {
        {FLY_OK, R(NONE), 0},
        {FLY_INVALID_ARGUMENT, R(REGION_UNKNOWN), 64},
        {FLY_NOT_FOUND, R(REGION_UNKNOWN), 64},
        {FLY_RESOURCE_EXHAUSTED, R(REGION_FULL), 2},
        {FLY_FAILED_PRECONDITION, R(TOO_LARGE), 2},
        {FLY_FAILED_PRECONDITION, R(CORDONED), 2},
        {FLY_RESOURCE_EXHAUSTED, R(QUOTA), 75},
        {FLY_RESOURCE_EXHAUSTED, R(RATE), 75},
        {FLY_UNAVAILABLE, R(OWNER_UNREACHABLE), 75},
        {FLY_UNAVAILABLE, R(OUTCOME_UNKNOWN), 75},
        {FLY_UNAVAILABLE, R(STOPPING), 75},
        {FLY_ALREADY_EXISTS, R(KEY_REUSED), 1},
        {FLY_FAILED_PRECONDITION, R(KEY_EXPIRED), 1},
        {FLY_INVALID_ARGUMENT, R(KEY_INVALID), 64},
        {FLY_UNAUTHENTICATED, R(TOKEN_MISSING), 77},
        {FLY_PERMISSION_DENIED, R(SCOPE_MISSING), 77},
        {FLY_NOT_FOUND, R(NOT_FOUND), 1},
        {FLY_INVALID_ARGUMENT, R(CURSOR_INVALID), 64},
        {FLY_UNAVAILABLE, R(NONE), 69},
        {FLY_DEADLINE_EXCEEDED, R(NONE), 124},
        {FLY_UNAUTHENTICATED, R(NONE), 77},
        {FLY_INTERNAL, R(NONE), 1},
        {FLY_RESOURCE_EXHAUSTED, 999, 75},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        assert_int_equal(exit_code(cases[i].status, cases[i].reason), cases[i].code);
    }
    /* never 0 for what is not OK, whatever a newer server says */
    for (uint32_t status = 1; status < FLY_STATUS_COUNT; status++) {
        for (uint32_t reason = 0; reason < 64; reason++) {
            assert_int_not_equal(exit_code((enum fly_status)status, reason), 0);
        }
    }
    assert_string_equal(reason_name(R(TOO_LARGE)), "TOO_LARGE");
    assert_string_equal(reason_name(R(NONE)), "NONE");
    assert_string_equal(reason_name(999), "UNKNOWN");
    assert_string_equal(reason_name(UINT32_MAX), "UNKNOWN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_promises),
        cmocka_unit_test(test_exit_codes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
