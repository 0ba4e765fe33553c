/* Tests of proto/wire/trace: the cases of W3C Trace Context, both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/wire/trace.h"

#define IDS "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"

static void test_parse(void **state)
{
    static const struct {
        const char *what;
        const char *text;
        bool good;
    } rows[] = {
        {"the specification's example", "00-" IDS "-01", true},
        {"not sampled", "00-" IDS "-00", true},
        {"flags that nobody knows", "00-" IDS "-ff", true},
        {"a newer version of the same length", "01-" IDS "-01", true},
        {"a newer version with more", "cc-" IDS "-01-what-the-future-brings", true},
        {"a newer version that ends in a dash", "cc-" IDS "-01-", true},
        {"a newer version with more and no dash", "cc-" IDS "-01.what", false},
        {"version 00 with more", "00-" IDS "-01-what", false},
        {"version 00 that ends in a dash", "00-" IDS "-01-", false},
        {"version ff", "ff-" IDS "-01", false},
        {"a version that is not hex", ".0-" IDS "-01", false},
        {"a capital in the version", "0A-" IDS "-01", false},
        {"a capital in the trace-id", "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
         false},
        {"a capital in the parent-id", "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067aa0ba902b7-01",
         false},
        {"a capital in the flags", "00-" IDS "-0A", false},
        {"a trace-id of zeros", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
        {"a parent-id of zeros", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false},
        {"a trace-id with a letter that is no digit",
         "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01", false},
        {"short by one", "00-" IDS "-0", false},
        {"no flags", "00-" IDS, false},
        {"other separators", "00_" IDS "_01", false},
        {"another separator in the middle",
         "00-4bf92f3577b34da6a3ce929d0e0e4736.00f067aa0ba902b7-01", false},
        {"a blank before", " 00-" IDS "-01", false},
        {"a blank behind", "00-" IDS "-01 ", false},
        {"nothing", "", false},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct frame_trace trace = {.span_id = {42}};
        const struct frame_trace before = trace;
        bool good = trace_parse(rows[i].text, strlen(rows[i].text), &trace);
        if (good != rows[i].good) {
            fail_msg("%s: %s", rows[i].what, good ? "taken" : "refused");
        }
        if (!good && memcmp(&trace, &before, sizeof trace) != 0) {
            fail_msg("%s: refused, but something was written", rows[i].what);
        }
        if (good && (trace.trace_id[0] != 0x4b || trace.trace_id[15] != 0x36 ||
                     trace.span_id[1] != 0xf0 || trace.span_id[7] != 0xb7)) {
            fail_msg("%s: other ids", rows[i].what);
        }
    }
}

static void test_cut_anywhere(void **state)
{
    static const char text[] = "00-" IDS "-01";

    (void)state;
    for (size_t size = 0; size < sizeof text - 1; size++) {
        char exact[sizeof text];
        struct frame_trace trace;
        memcpy(exact, text, size);
        assert_false(trace_parse(exact, size, &trace));
    }
}

static void test_format(void **state)
{
    static const char text[] = "00-" IDS "-01";
    struct frame_trace trace;
    char out[TRACE_TEXT_SIZE];
    char id[TRACE_ID_TEXT_SIZE];

    (void)state;
    assert_true(trace_parse(text, sizeof text - 1, &trace));
    trace_format(&trace, out);
    assert_string_equal(out, text);
    trace_id_format(&trace, id);
    assert_string_equal(id, "4bf92f3577b34da6a3ce929d0e0e4736");
}

static void test_random_round_trips(void **state)
{
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 7);
    for (int i = 0; i < 1000; i++) {
        struct frame_trace trace;
        struct frame_trace back;
        char text[TRACE_TEXT_SIZE];
        for (size_t k = 0; k < sizeof trace; k++) {
            ((uint8_t *)&trace)[k] = (uint8_t)(fly_rng_below(&rng, 255) + 1);
        }
        trace_format(&trace, text);
        assert_int_equal(strlen(text), TRACE_TEXT_SIZE - 1);
        assert_true(trace_parse(text, strlen(text), &back));
        assert_memory_equal(&trace, &back, sizeof trace);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_random_round_trips),
    };

    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
