/*
 * Tests of the table of sessions: against a plain list under random calls, and the limit of failed
 * attempts against a bucket that is emptied by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dash/signin.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"

static const uint8_t key[TOKEN_HASH_KEY_SIZE] = {7};

static struct signin *table;

static int setup(void **state)
{
    (void)state;
    void *memory = calloc(1, signin_size());
    FLY_CHECK(memory != NULL);
    table = signin_init(memory, key);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    signin_fini(table);
    free(table);
    return 0;
}

static void put(uint64_t number, const char *token, int64_t ends_ms, int64_t now_ms,
                char id[static SIGNIN_ID_TEXT_SIZE])
{
    uint8_t random[SIGNIN_ID_SIZE] = {0};
    memcpy(random, &number, sizeof number);
    signin_put(table, token, strlen(token), ends_ms, now_ms, random, id);
}

static bool there(const char *id, int64_t now_ms)
{
    struct signin_session found;
    return signin_find(table, id, strlen(id), now_ms, &found);
}

static void test_life(void **state)
{
    (void)state;
    char id[SIGNIN_ID_TEXT_SIZE];
    put(1, "v4.public.a", 5000, 1000, id);
    assert_int_equal(strlen(id), SIGNIN_ID_TEXT_SIZE - 1);
    struct signin_session found;
    assert_true(signin_find(table, id, strlen(id), 4999, &found));
    assert_string_equal(found.token, "v4.public.a");
    assert_int_equal(found.token_size, 11);
    assert_int_equal(found.ends_ms, 5000);
    assert_false(there(id, 5000));
    assert_int_equal(signin_count(table), 0);
    assert_false(there(id, 1000)); /* what has ended does not come back with the clock */
}

static void test_twelve_hours(void **state)
{
    (void)state;
    char id[SIGNIN_ID_TEXT_SIZE];
    put(1, "t", INT64_MAX, 1000, id);
    assert_true(there(id, 1000 + SIGNIN_LIFE_MS - 1));
    assert_false(there(id, 1000 + SIGNIN_LIFE_MS));
}

static void test_what_is_no_id(void **state)
{
    (void)state;
    char id[SIGNIN_ID_TEXT_SIZE];
    put(1, "t", 5000, 0, id);
    struct signin_session found;
    assert_false(signin_find(table, "", 0, 1, &found));
    assert_false(signin_find(table, id, strlen(id) - 1, 1, &found));
    char other[SIGNIN_ID_TEXT_SIZE];
    for (size_t i = 0; i < strlen(id); i++) {
        memcpy(other, id, sizeof other);
        other[i] = other[i] == 'A' ? 'B' : 'A';
        assert_false(there(other, 1));
    }
    assert_true(there(id, 1));
}

/* What is kept of a session does not hold its id: a copy of the table lets nobody in. */
static void test_no_id_is_kept(void **state)
{
    (void)state;
    char id[SIGNIN_ID_TEXT_SIZE];
    put(0x1122334455667788, "t", 5000, 0, id);
    const uint8_t random[8] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
    assert_null(memmem(table, signin_size(), id, strlen(id)));
    assert_null(memmem(table, signin_size(), random, sizeof random));
    assert_non_null(memmem(table, signin_size(), key, sizeof key));
}

static void test_token_is_wiped(void **state)
{
    (void)state;
    char id[SIGNIN_ID_TEXT_SIZE];
    put(1, "v4.public.secret", 5000, 0, id);
    struct signin_session found;
    assert_true(signin_find(table, id, strlen(id), 1, &found));
    assert_non_null(memmem(table, signin_size(), "secret", 6));
    signin_drop(table, found.hash);
    assert_null(memmem(table, signin_size(), "secret", 6));
    assert_false(there(id, 1));
    signin_drop(table, found.hash); /* twice does no harm */
}

static void test_full(void **state)
{
    (void)state;
    static char ids[SIGNIN_SESSIONS_MAX + 10][SIGNIN_ID_TEXT_SIZE];
    for (uint32_t i = 0; i < SIGNIN_SESSIONS_MAX + 10; i++) {
        put(i + 1, "t", 1000000, i, ids[i]);
    }
    assert_int_equal(signin_count(table), SIGNIN_SESSIONS_MAX);
    for (uint32_t i = 0; i < SIGNIN_SESSIONS_MAX + 10; i++) {
        assert_int_equal(there(ids[i], 9999), i >= 10);
    }
}

/* --- against a plain list --- */

enum { PLAIN_MAX = 400, STEPS = 20000 };

struct plain {
    char id[SIGNIN_ID_TEXT_SIZE];
    char token[24];
    int64_t ends_ms;
    bool there;
};

static void test_random_calls(void **state)
{
    (void)state;
    static struct plain plain[PLAIN_MAX];
    struct fly_rng rng;
    fly_rng_seed(&rng, 42);
    int64_t now_ms = 0;
    uint64_t number = 0;
    for (uint32_t step = 0; step < STEPS; step++) {
        now_ms += (int64_t)fly_rng_below(&rng, 20);
        struct plain *p = &plain[fly_rng_below(&rng, PLAIN_MAX)];
        bool alive = p->there && p->ends_ms > now_ms;
        struct signin_session found;
        uint64_t what = fly_rng_below(&rng, 10);
        if (what < 3 && !alive) {
            snprintf(p->token, sizeof p->token, "token-%u", step);
            p->ends_ms = now_ms + (int64_t)fly_rng_below(&rng, 5000);
            p->there = true;
            put(++number, p->token, p->ends_ms, now_ms, p->id);
        } else if (what < 8 && p->id[0] != '\0') {
            assert_int_equal(signin_find(table, p->id, strlen(p->id), now_ms, &found), alive);
            if (alive) {
                assert_string_equal(found.token, p->token);
                assert_int_equal(found.ends_ms, p->ends_ms);
            }
        } else if (what == 8 && alive) {
            assert_true(signin_find(table, p->id, strlen(p->id), now_ms, &found));
            signin_drop(table, found.hash);
            p->there = false;
        } else {
            signin_tick(table, now_ms);
            uint32_t count = 0;
            for (uint32_t i = 0; i < PLAIN_MAX; i++) {
                count += plain[i].there && plain[i].ends_ms > now_ms;
            }
            assert_int_equal(signin_count(table), count);
        }
    }
}

/* --- attempts --- */

static void test_failures(void **state)
{
    (void)state;
    int64_t wait_ms = 0;
    for (int i = 0; i < SIGNIN_FAILURES_A_MINUTE; i++) {
        assert_true(signin_may_try(table, 9, 1000, &wait_ms));
        signin_failed(table, 9, 1000);
    }
    assert_false(signin_may_try(table, 9, 1000, &wait_ms));
    assert_int_equal(wait_ms, 3000);
    assert_true(signin_may_try(table, 8, 1000, &wait_ms)); /* another address */
    assert_false(signin_may_try(table, 9, 3999, &wait_ms));
    assert_true(signin_may_try(table, 9, 4000, &wait_ms));
    signin_failed(table, 9, 4000);
    assert_false(signin_may_try(table, 9, 4000, &wait_ms));
    assert_true(signin_may_try(table, 9, 64000, &wait_ms));
}

/* A bucket that one failure fills by one and that loses one in three seconds. */
static void test_failures_like_a_bucket(void **state)
{
    (void)state;
    struct fly_rng rng;
    fly_rng_seed(&rng, 43);
    int64_t now_ms = 1;
    int64_t owed_ms[4] = {0};
    for (int step = 0; step < 5000; step++) {
        int64_t passed_ms = (int64_t)fly_rng_below(&rng, 1500);
        now_ms += passed_ms;
        for (int i = 0; i < 4; i++) {
            owed_ms[i] = owed_ms[i] > passed_ms ? owed_ms[i] - passed_ms : 0;
        }
        uint64_t address = fly_rng_below(&rng, 4);
        int64_t wait_ms = 0;
        bool may = owed_ms[address] <= (SIGNIN_FAILURES_A_MINUTE - 1) * 3000;
        assert_int_equal(signin_may_try(table, address, now_ms, &wait_ms), may);
        if (may) {
            assert_int_equal(wait_ms, 0);
            signin_failed(table, address, now_ms);
            owed_ms[address] += 3000;
        } else {
            assert_int_equal(wait_ms, owed_ms[address] - (SIGNIN_FAILURES_A_MINUTE - 1) * 3000);
        }
    }
}

/* However many addresses fail, one that fails now is counted. */
static void test_many_addresses(void **state)
{
    (void)state;
    int64_t wait_ms = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        signin_failed(table, 1000 + i, 1000);
    }
    for (int i = 0; i < SIGNIN_FAILURES_A_MINUTE; i++) {
        signin_failed(table, 5, 1000);
    }
    assert_false(signin_may_try(table, 5, 1000, &wait_ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_twelve_hours, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_id_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_token_is_wiped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures_like_a_bucket, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_addresses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
