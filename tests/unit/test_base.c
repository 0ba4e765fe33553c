/* base: text forms against tables, cursors past their ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/rng.h"
#include "proto/base/status.h"
#include "proto/base/time.h"

static void test_times(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {951782400123, "2000-02-29T00:00:00.123Z"},
        {1795219200000, "2026-11-21T00:00:00.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {-5, "1970-01-01T00:00:00.000Z"},
    };
    char text[FLY_TIME_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        fly_time_format(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void test_durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* 0: refused */
    } rows[] = {{"50ms", 50},      {"5s", 5000}, {"2m", 120000}, {"1h", 3600000},
                {"7d", 604800000}, {"", 0},      {"5", 0},       {"0s", 0},
                {"-1s", 0},        {"5 s", 0},   {"1.5s", 0},    {"99999999999999999999s", 0}};

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        int64_t ms = 0;
        assert_int_equal(fly_duration_parse(rows[i].text, &ms), rows[i].ms != 0);
        assert_int_equal(ms, rows[i].ms);
    }
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes; /* 0: refused */
        const char *back;
    } rows[] = {
        {"6", 6000000000u, "6 GB"},
        {"6GB", 6000000000u, "6 GB"},
        {"512MiB", 536870912u, "536.87 MB"},
        {"1.5gb", 1500000000u, "1.5 GB"},
        {"2 TB", 2000000000000u, "2 TB"},
        {"100000", 100000000000000u, "100 TB"},
        {"1000B", 1000, "1 KB"},
        {"999B", 999, "999 B"},
        {"0", 0, ""},
        {"-6", 0, ""},
        {"", 0, ""},
        {"six", 0, ""},
        {"6XB", 0, ""},
        {"1.", 0, ""},
        {"9007199254740993TB", 0, ""},
    };
    char text[FLY_TIME_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        uint64_t bytes = 0;
        assert_int_equal(fly_size_parse(rows[i].text, &bytes), rows[i].bytes != 0);
        assert_int_equal(bytes, rows[i].bytes);
        if (bytes != 0) {
            fly_size_format(bytes, text);
            assert_string_equal(text, rows[i].back);
        }
    }
}

static void test_ids(void **state)
{
    char text[40];
    uint8_t raw[4] = {0xde, 0xad, 0x00, 0x0f};
    uint8_t back[4] = {0};
    uint64_t value = 0;

    (void)state;
    fly_hex_encode(raw, sizeof raw, text);
    assert_string_equal(text, "dead000f");
    assert_true(fly_hex_decode("DEAD000f", 8, back, sizeof back));
    assert_memory_equal(raw, back, sizeof raw);
    assert_false(fly_hex_decode("dead00", 6, back, sizeof back));
    assert_false(fly_hex_decode("dead00zz", 8, back, sizeof back));
    fly_crockford_encode(UINT64_C(0x7fffffffffffff), 12, text);
    assert_true(fly_crockford_decode(text, 12, &value));
    assert_true(value == UINT64_C(0x7fffffffffffff));
    assert_true(fly_crockford_decode("iLoO", 4, &value));
    assert_int_equal(value, (1 << 15) | (1 << 10));
    assert_false(fly_crockford_decode("abcu", 4, &value));
    assert_false(fly_crockford_decode("", 0, &value));
    assert_true(fly_name_ok("web-1"));
    assert_false(fly_name_ok("Web"));
    assert_false(fly_name_ok(""));
    assert_false(fly_name_ok("0123456789012345678901234567890123456789012345678901234567890123"));
}

static void test_cursors(void **state)
{
    uint8_t data[32];
    char name[4];
    struct fly_writer w = fly_writer_over(data, sizeof data);

    (void)state;
    fly_put_u8(&w, 1);
    fly_put_u16(&w, 0x0203);
    fly_put_u32(&w, 0x04050607);
    fly_put_u64(&w, UINT64_C(0x08090a0b0c0d0e0f));
    fly_put_string8(&w, "abc");
    assert_false(w.failed);
    struct fly_reader r = fly_reader_over(data, w.size);
    assert_int_equal(fly_get_u8(&r), 1);
    assert_int_equal(fly_get_u16(&r), 0x0203);
    assert_int_equal(fly_get_u32(&r), 0x04050607);
    assert_true(fly_get_u64(&r) == UINT64_C(0x08090a0b0c0d0e0f));
    fly_get_string8(&r, name, sizeof name);
    assert_string_equal(name, "abc");
    assert_true(fly_reader_done(&r));
    assert_int_equal(fly_get_u32(&r), 0);
    assert_true(r.failed);
    for (int i = 0; i < 8; i++) {
        fly_put_u64(&w, 0);
    }
    assert_true(w.failed);
    assert_true(w.size <= sizeof data);
    r = fly_reader_over("\3abc", 4);
    fly_get_string8(&r, name, 3); /* three characters and a NUL do not fit into three */
    assert_true(r.failed);
}

static void test_arena(void **state)
{
    _Alignas(16) uint8_t data[64];
    struct fly_arena arena = fly_arena_over(data, sizeof data);

    (void)state;
    assert_ptr_equal(fly_arena_alloc(&arena, 1), data);
    assert_ptr_equal(fly_arena_alloc(&arena, 16), data + 16);
    assert_null(fly_arena_alloc(&arena, 33));
    assert_null(fly_arena_alloc(&arena, SIZE_MAX));
    assert_non_null(fly_arena_alloc(&arena, 32));
    assert_null(fly_arena_alloc(&arena, 1));
    fly_arena_reset(&arena);
    assert_ptr_equal(fly_arena_alloc(&arena, 64), data);
}

static void test_rng(void **state)
{
    struct fly_rng a;
    struct fly_rng b;

    (void)state;
    fly_rng_seed(&a, 7);
    fly_rng_seed(&b, 7);
    unsigned heads = 0;
    for (int i = 0; i < 10000; i++) {
        assert_true(fly_rng_next(&a) == fly_rng_next(&b));
        assert_true(fly_rng_below(&a, 6) < 6);
        (void)fly_rng_below(&b, 6);
        heads += fly_rng_chance(&a, 500);
        (void)fly_rng_chance(&b, 500);
    }
    assert_in_range(heads, 4800, 5200);
}

static void test_errors(void **state)
{
    struct fly_error error;

    (void)state;
    assert_int_equal(fly_error_set(&error, FLY_NOT_FOUND, "no %s", "disk"), FLY_NOT_FOUND);
    assert_int_equal(fly_error_wrap(&error, "journal"), FLY_NOT_FOUND);
    assert_string_equal(error.text, "journal: no disk");
    assert_string_equal(fly_status_name(FLY_UNAUTHENTICATED), "UNAUTHENTICATED");
    assert_int_equal(fly_status_from_wire(17), FLY_UNKNOWN);
    assert_int_equal(fly_error_set(NULL, FLY_OK, "x"), FLY_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),   cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),   cmocka_unit_test(test_ids),
        cmocka_unit_test(test_cursors), cmocka_unit_test(test_arena),
        cmocka_unit_test(test_rng),     cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
