/* index: against a plain list, with hashes that collide on purpose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/index.h"
#include "proto/base/rng.h"

enum { SLOTS = 200, HASHES = 23 };

static void test_against_a_list(void **state)
{
    struct index ix;
    void *memory = calloc(1, index_size(SLOTS));
    uint32_t hash_of[SLOTS];
    bool there[SLOTS] = {false};
    struct fly_rng rng;

    (void)state;
    assert_non_null(memory);
    index_init(&ix, memory, SLOTS);
    fly_rng_seed(&rng, 11);
    for (int step = 0; step < 200000; step++) {
        uint32_t slot = (uint32_t)fly_rng_below(&rng, SLOTS);
        if (there[slot]) {
            index_drop(&ix, hash_of[slot], slot);
        } else {
            /* runs that wrap around the end of the table are among these */
            hash_of[slot] = UINT32_MAX - (uint32_t)fly_rng_below(&rng, HASHES);
            index_add(&ix, hash_of[slot], slot);
        }
        there[slot] = !there[slot];
        uint32_t wanted = UINT32_MAX - (uint32_t)fly_rng_below(&rng, HASHES);
        unsigned expected = 0;
        for (uint32_t i = 0; i < SLOTS; i++) {
            expected += there[i] && hash_of[i] == wanted;
        }
        struct index_cursor at = index_search(&ix, wanted);
        unsigned found = 0;
        for (uint32_t i = index_next(&ix, &at); i != UINT32_MAX; i = index_next(&ix, &at)) {
            assert_true(there[i]);
            assert_int_equal(hash_of[i], wanted);
            found++;
        }
        assert_int_equal(found, expected);
    }
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_a_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
