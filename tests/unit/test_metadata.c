/* metadata: what may be put, what is found again, and what a check refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/wire/metadata.h"

static struct fly_bytes text(const char *of)
{
    return (struct fly_bytes){(const uint8_t *)of, strlen(of)};
}

static void test_put(void **state)
{
    static const char long_key[] =
        "a234567890123456789012345678901234567890123456789012345678901234x";
    static const struct {
        const char *what;
        const char *key;
        struct fly_bytes value;
        enum fly_status status;
    } rows[] = {
        {"a word", "user-agent", {(const uint8_t *)"flyrpc", 6}, FLY_OK},
        {"an empty value", "k", {(const uint8_t *)"", 0}, FLY_OK},
        {"all marks of a key", "a_b.c-9", {(const uint8_t *)"v", 1}, FLY_OK},
        {"bytes under -bin", "x-bin", {(const uint8_t *)"\0\xFF", 2}, FLY_OK},
        {"bytes elsewhere", "x", {(const uint8_t *)"\xFF", 1}, FLY_INVALID_ARGUMENT},
        {"a line end", "x", {(const uint8_t *)"a\n", 2}, FLY_INVALID_ARGUMENT},
        {"no key", "", {(const uint8_t *)"v", 1}, FLY_INVALID_ARGUMENT},
        {"a capital", "Key", {(const uint8_t *)"v", 1}, FLY_INVALID_ARGUMENT},
        {"a colon", ":path", {(const uint8_t *)"v", 1}, FLY_INVALID_ARGUMENT},
        {"a long key", long_key, {(const uint8_t *)"v", 1}, FLY_INVALID_ARGUMENT},
        {"the longest key", long_key + 1, {(const uint8_t *)"v", 1}, FLY_OK},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        uint8_t data[128];
        struct fly_writer w = fly_writer_over(data, sizeof data);
        struct fly_error error;
        if (metadata_put(&w, rows[i].key, rows[i].value, &error) != rows[i].status) {
            fail_msg("%s", rows[i].what);
        }
        struct fly_bytes entries = {data, w.size};
        struct fly_bytes value;
        assert_int_equal(metadata_check(entries, &error), FLY_OK);
        assert_int_equal(metadata_find(entries, rows[i].key, &value), rows[i].status == FLY_OK);
        if (rows[i].status == FLY_OK) {
            assert_int_equal(value.size, rows[i].value.size);
            assert_memory_equal(value.data, rows[i].value.data, value.size);
        }
    }
}

static void test_bounds(void **state)
{
    static uint8_t data[2 * FRAME_METADATA_MAX];
    static uint8_t large[FRAME_METADATA_MAX];
    struct fly_writer w = fly_writer_over(data, sizeof data);
    struct fly_error error;

    (void)state;
    memset(large, 'x', sizeof large);
    /* a key byte and three of sizes stand before the value */
    assert_int_equal(metadata_put(&w, "k", (struct fly_bytes){large, sizeof large - 3}, &error),
                     FLY_INVALID_ARGUMENT);
    assert_int_equal(w.size, 0);
    assert_int_equal(metadata_put(&w, "k", (struct fly_bytes){large, sizeof large - 4}, &error),
                     FLY_OK);
    assert_int_equal(metadata_put(&w, "k", text(""), &error), FLY_INVALID_ARGUMENT);
    assert_int_equal(metadata_check((struct fly_bytes){data, w.size}, &error), FLY_OK);
    assert_int_equal(metadata_check((struct fly_bytes){data, w.size + 1}, &error),
                     FLY_INVALID_ARGUMENT);
    w = fly_writer_over(data, sizeof data);
    for (int i = 0; i <= METADATA_ENTRIES_MAX; i++) {
        assert_int_equal(metadata_put(&w, "k", text("v"), &error), FLY_OK);
    }
    assert_int_equal(metadata_check((struct fly_bytes){data, w.size}, &error),
                     FLY_INVALID_ARGUMENT);
    assert_int_equal(metadata_check((struct fly_bytes){data, w.size - 5}, &error), FLY_OK);
    for (size_t cut = 1; cut < 5; cut++) {
        assert_int_equal(metadata_check((struct fly_bytes){data, cut}, &error),
                         FLY_INVALID_ARGUMENT);
    }
}

static void test_numbers(void **state)
{
    static const struct {
        const char *value;
        bool found;
        int64_t number;
    } rows[] = {
        {"0", true, 0},
        {"1500", true, 1500},
        {"-1", true, -1},
        {"", false, 0},
        {"-", false, 0},
        {"1.5", false, 0},
        {" 1", false, 0},
        {"+1", false, 0},
        {"0x1", false, 0},
        {"999999999999999999", true, 999999999999999999},
        {"9999999999999999999", false, 0},
    };
    uint8_t data[64];
    struct fly_error error;
    int64_t number = 0;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct fly_writer w = fly_writer_over(data, sizeof data);
        assert_int_equal(metadata_put_text(&w, METADATA_PUSHBACK, rows[i].value, &error), FLY_OK);
        struct fly_bytes entries = {data, w.size};
        assert_int_equal(metadata_find_number(entries, METADATA_PUSHBACK, &number), rows[i].found);
        if (rows[i].found) {
            assert_int_equal(number, rows[i].number);
        }
        assert_false(metadata_find_number(entries, METADATA_ATTEMPTS, &number));
    }
    struct fly_writer w = fly_writer_over(data, sizeof data);
    assert_int_equal(metadata_put_number(&w, "n", INT64_MIN + 1, &error), FLY_OK);
}

static void test_order(void **state)
{
    uint8_t data[64];
    struct fly_writer w = fly_writer_over(data, sizeof data);
    struct metadata_entry entry;
    struct fly_bytes value;
    static const char *const values[] = {"first", "second", "third"};

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(values); i++) {
        assert_int_equal(metadata_put_text(&w, "same", values[i], NULL), FLY_OK);
    }
    struct fly_bytes left = {data, w.size};
    assert_true(metadata_find(left, "same", &value));
    assert_memory_equal(value.data, "first", 5);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(values); i++) {
        assert_true(metadata_next(&left, &entry));
        assert_int_equal(entry.value.size, strlen(values[i]));
        assert_memory_equal(entry.value.data, values[i], entry.value.size);
    }
    assert_false(metadata_next(&left, &entry));
    assert_false(metadata_find((struct fly_bytes){data, w.size}, "sam", &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
