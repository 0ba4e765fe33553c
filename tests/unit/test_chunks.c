/* chunks: an array and one picture of it, against two plain arrays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/slice/chunks.h"
#include "proto/base/rng.h"

enum { ITEMS = 1000 };

struct item {
    uint64_t value;
    uint8_t rest[24];
};

static uint64_t value_of(const void *item)
{
    return item == NULL ? 0 : ((const struct item *)item)->value;
}

static void test_picture_stands_still(void **state)
{
    struct chunks c;
    void *memory = calloc(1, chunks_size(sizeof(struct item), ITEMS));
    uint64_t now[ITEMS] = {0};
    uint64_t then[ITEMS] = {0};
    struct fly_rng rng;

    (void)state;
    assert_non_null(memory);
    chunks_init(&c, memory, sizeof(struct item), ITEMS);
    fly_rng_seed(&rng, 5);
    for (int step = 0; step < 100000; step++) {
        uint32_t i = (uint32_t)fly_rng_below(&rng, ITEMS);
        if (fly_rng_chance(&rng, 2)) {
            if (c.pictured) {
                chunks_picture_drop(&c);
            } else {
                chunks_picture_take(&c);
                memcpy(then, now, sizeof then);
            }
        } else if (fly_rng_chance(&rng, 300)) {
            now[i] = fly_rng_next(&rng);
            ((struct item *)chunks_write(&c, i))->value = now[i];
        }
        assert_true(value_of(chunks_at(&c, i)) == now[i]);
        if (c.pictured) {
            assert_true(value_of(chunks_picture_at(&c, i)) == then[i]);
        }
    }
    free(memory);
}

/* However often pictures come and go, the pool gives its places back. */
static void test_places_return(void **state)
{
    struct chunks c;
    void *memory = calloc(1, chunks_size(sizeof(struct item), ITEMS));

    (void)state;
    assert_non_null(memory);
    chunks_init(&c, memory, sizeof(struct item), ITEMS);
    for (uint64_t round = 0; round < 100; round++) {
        chunks_picture_take(&c);
        for (uint32_t i = 0; i < ITEMS; i++) {
            ((struct item *)chunks_write(&c, i))->value = round;
        }
        chunks_picture_drop(&c);
    }
    assert_true(c.pool_used <= 2 * c.chunk_max);
    assert_int_equal(c.pool_used - c.free_count, c.chunk_max);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_picture_stands_still),
        cmocka_unit_test(test_places_return),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
