/* retain: what is kept is the newest, whole, and within both bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/rng.h"
#include "proto/wire/retain.h"

static struct event event_of(uint64_t seq, struct fly_rng *rng)
{
    struct event e = {.slice = 7, .incarnation = 9, .seq = seq, .type = EVENT_MACHINE_ADDED};
    size_t name = 1 + fly_rng_below(rng, 60);

    memset(e.machine, 'm', name);
    memcpy(e.region, "SIN", 4);
    e.cores = (uint32_t)seq;
    return e;
}

static void test_window(void **state)
{
    static const struct {
        const char *what;
        uint32_t events_max;
        uint32_t bytes_max;
    } rows[] = {
        {"bounded by count", 10, 100000},
        {"bounded by bytes", 1000, 700},
        {"barely one", 5, EVENT_BODY_BYTES_MAX},
    };
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 3);
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        struct retain r;
        void *memory = calloc(1, retain_size(rows[row].events_max, rows[row].bytes_max));
        assert_non_null(memory);
        retain_init(&r, memory, rows[row].events_max, rows[row].bytes_max);
        retain_start(&r, 41);
        assert_int_equal(retain_first(&r), 42);
        for (uint64_t seq = 42; seq < 5000; seq++) {
            struct event e = event_of(seq, &rng);
            retain_add(&r, &e);
            uint64_t first = retain_first(&r);
            size_t bytes = 0;
            assert_true(first <= seq && seq - first < rows[row].events_max);
            for (uint64_t at = first; at <= seq; at++) {
                struct fly_bytes body = retain_at(&r, at);
                struct event back;
                assert_int_equal(event_decode(body.data, body.size, 7, 9, &back, NULL), FLY_OK);
                if (back.seq != at || back.cores != (uint32_t)at) {
                    fail_msg("%s: event %llu", rows[row].what, (unsigned long long)at);
                }
                bytes += body.size;
            }
            assert_true(bytes <= rows[row].bytes_max);
            assert_int_equal(retain_at(&r, first - 1).size, 0);
            assert_int_equal(retain_at(&r, seq + 1).size, 0);
        }
        free(memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_window)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
