/* cursors: texts that users may show, a table against a plain list, and both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/wire/cursors.h"

#define ONE "757c22:084e8fd64fe52562:103"

static void test_texts(void **state)
{
    static const struct {
        const char *what;
        const char *text;
        const char *again; /* NULL: refused */
    } rows[] = {
        {"one", ONE, ONE},
        {"upper case", "757C22:084E8FD64FE52562:103", ONE},
        {"before the first event", "757c22:084e8fd64fe52562:0", "757c22:084e8fd64fe52562:0"},
        {"two", ONE ",757c23:0000000000000001:7", ONE ",757c23:0000000000000001:7"},
        {"two, in another order", "757c23:0000000000000001:7," ONE,
         ONE ",757c23:0000000000000001:7"},
        {"largest", "ffffff:ffffffffffffffff:18446744073709551615",
         "ffffff:ffffffffffffffff:18446744073709551615"},
        {"one more than that", "ffffff:ffffffffffffffff:18446744073709551616", NULL},
        {"21 digits", "ffffff:ffffffffffffffff:000000000000000000001", NULL},
        {"a slice twice", ONE "," ONE, NULL},
        {"a slice twice, other places", ONE ",757c22:0000000000000001:7", NULL},
        {"nothing", "", NULL},
        {"comma", ",", NULL},
        {"comma before", "," ONE, NULL},
        {"comma behind", ONE ",", NULL},
        {"two commas", ONE ",,757c23:0000000000000001:7", NULL},
        {"a space", ONE ", 757c23:0000000000000001:7", NULL},
        {"leading zero", "757c22:084e8fd64fe52562:01", NULL},
        {"sign", "757c22:084e8fd64fe52562:+1", NULL},
        {"minus", "757c22:084e8fd64fe52562:-1", NULL},
        {"no seq", "757c22:084e8fd64fe52562:", NULL},
        {"no colon", "757c22:084e8fd64fe52562", NULL},
        {"short slice", "57c22:084e8fd64fe52562:103", NULL},
        {"short incarnation", "757c22:84e8fd64fe52562:103", NULL},
        {"not hex", "757g22:084e8fd64fe52562:103", NULL},
        {"newline", ONE "\n", NULL},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct cursors c = {.count = 77};
        char text[CURSORS_TEXT_SIZE];
        bool good = cursors_parse(rows[i].text, &c);
        if (good != (rows[i].again != NULL)) {
            fail_msg("%s", rows[i].what);
        }
        if (!good) {
            assert_int_equal(c.count, 77);
            continue;
        }
        assert_int_equal(cursors_format(&c, text), strlen(rows[i].again));
        assert_string_equal(text, rows[i].again);
    }
}

static void test_bound(void **state)
{
    struct cursors c = {.count = 0};
    struct cursors back;
    char text[CURSORS_TEXT_SIZE];
    char more[CURSORS_TEXT_SIZE + CURSORS_ONE_TEXT_SIZE];

    (void)state;
    for (uint32_t i = 0; i < CURSORS_MAX; i++) {
        assert_true(cursors_put(&c, (struct cursor){0xffffff - i, UINT64_MAX, UINT64_MAX}));
    }
    assert_int_equal(cursors_format(&c, text), CURSORS_TEXT_SIZE - 1);
    assert_true(cursors_parse(text, &back));
    assert_int_equal(back.count, CURSORS_MAX);
    (void)snprintf(more, sizeof more, "%s,000001:0000000000000001:1", text);
    assert_false(cursors_parse(more, &back));
    assert_false(cursors_put(&c, (struct cursor){1, 1, 1}));
    assert_true(cursors_put(&c, (struct cursor){0xffffff, 1, 1})); /* there already */
    cursors_drop(&c, 0xfffff0);
    assert_true(cursors_put(&c, (struct cursor){1, 1, 1}));
}

/* Against an array indexed by slice. */
static void test_table(void **state)
{
    struct cursors c = {.count = 0};
    uint64_t seqs[40] = {0}; /* 0: not there */
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 8);
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t slice = (uint32_t)fly_rng_below(&rng, FLY_ARRAY_COUNT(seqs));
        if (fly_rng_chance(&rng, 400)) {
            cursors_drop(&c, slice);
            seqs[slice] = 0;
        } else {
            seqs[slice] = round + 1;
            assert_true(cursors_put(&c, (struct cursor){slice, slice * 3, round + 1}));
        }
        uint32_t count = 0;
        for (uint32_t i = 0; i < FLY_ARRAY_COUNT(seqs); i++) {
            const struct cursor *found = cursors_find(&c, i);
            assert_int_equal(found == NULL ? 0 : found->seq, seqs[i]);
            assert_true(found == NULL || (found->slice == i && found->incarnation == i * 3));
            assert_true(found == NULL || found == &c.at[count]); /* in order */
            count += found != NULL;
        }
        assert_int_equal(c.count, count);
    }
}

static void test_one_as_people_copy_it(void **state)
{
    static const struct {
        const char *what;
        const char *text;
        bool good;
    } rows[] = {
        {"as printed", "0a1b2c:00000000deadbeef:17", true},
        {"upper case", "0A1B2C:00000000DEADBEEF:17", true},
        {"seq 0: from the start", "0a1b2c:00000000deadbeef:0", true},
        {"the largest seq", "0a1b2c:00000000deadbeef:18446744073709551615", true},
        {"one more than that", "0a1b2c:00000000deadbeef:18446744073709551616", false},
        {"no seq", "0a1b2c:00000000deadbeef:", false},
        {"a sign", "0a1b2c:00000000deadbeef:-1", false},
        {"a short slice", "a1b2c:00000000deadbeef:17", false},
        {"not hex", "0a1b2x:00000000deadbeef:17", false},
        {"two of them", "0a1b2c:00000000deadbeef:17,0a1b2c:00000000deadbeef:17", false},
        {"nothing", "", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct cursors c = {.count = 0};
        if (cursors_parse(rows[i].text, &c) != rows[i].good) {
            fail_msg("%s", rows[i].what);
        }
        if (rows[i].good) {
            char text[CURSORS_ONE_TEXT_SIZE];
            assert_int_equal(c.count, 1);
            assert_int_equal(c.at[0].slice, 0x0a1b2c);
            assert_true(c.at[0].incarnation == 0xdeadbeef);
            (void)cursor_print(&c.at[0], text);
            assert_int_equal(strcasecmp(text, rows[i].text), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_one_as_people_copy_it),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
