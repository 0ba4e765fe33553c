/* seal: opens what it closed, and nothing else: no other key, purpose, cluster, length or bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire/seal.h"

enum { TEXT_SIZE = 100 };

#define CLUSTER "00112233445566778899aabbccddeeff"
#define OTHER_CLUSTER "00112233445566778899aabbccddeefe"

static struct seal_ring group_of(unsigned count, uint8_t first)
{
    struct seal_ring group = {.count = (uint8_t)count};

    for (unsigned i = 0; i < count; i++) {
        group.ids[i] = (uint8_t)(first + i);
        memset(group.keys[i], (int)(first + i), SEAL_KEY_SIZE);
    }
    return group;
}

static struct seal_ring ring_of(const struct seal_ring *group)
{
    struct seal_ring ring;

    seal_ring_derive(&ring, group, SEAL_GOSSIP, CLUSTER);
    return ring;
}

/* Every size from nothing on comes back as it went in. */
static void test_round_trip(void **state)
{
    struct seal_ring group = group_of(1, 1);
    struct seal_ring ring = ring_of(&group);
    struct fly_rng rng;
    uint8_t plain[TEXT_SIZE];
    uint8_t sealed[TEXT_SIZE + SEAL_OVERHEAD];
    uint8_t opened[TEXT_SIZE];

    (void)state;
    fly_rng_seed(&rng, 1);
    fly_rng_fill(&rng, plain, sizeof plain);
    for (size_t size = 0; size <= TEXT_SIZE; size++) {
        size_t back = SIZE_MAX;
        assert_int_equal(seal_close(&ring, &rng, plain, size, sealed), size + SEAL_OVERHEAD);
        assert_true(seal_open(&ring, sealed, size + SEAL_OVERHEAD, opened, &back));
        assert_int_equal(back, size);
        assert_memory_equal(opened, plain, size);
    }
}

static void test_every_bit_and_every_length(void **state)
{
    struct seal_ring group = group_of(1, 1);
    struct seal_ring ring = ring_of(&group);
    struct fly_rng rng;
    uint8_t plain[TEXT_SIZE] = {7};
    uint8_t sealed[TEXT_SIZE + SEAL_OVERHEAD + 1] = {0};
    uint8_t opened[TEXT_SIZE + 1];
    size_t back;

    (void)state;
    fly_rng_seed(&rng, 2);
    size_t size = seal_close(&ring, &rng, plain, sizeof plain, sealed);
    for (size_t i = 0; i < size * 8; i++) {
        sealed[i / 8] ^= (uint8_t)(1 << (i % 8));
        assert_false(seal_open(&ring, sealed, size, opened, &back));
        sealed[i / 8] ^= (uint8_t)(1 << (i % 8));
    }
    for (size_t shorter = 0; shorter < size; shorter++) {
        assert_false(seal_open(&ring, sealed, shorter, opened, &back));
    }
    assert_false(seal_open(&ring, sealed, size + 1, opened, &back));
    assert_true(seal_open(&ring, sealed, size, opened, &back));
}

static void test_who_may_open(void **state)
{
    struct seal_ring mine = group_of(1, 1);
    struct seal_ring same_id = mine;
    struct seal_ring both = group_of(2, 0); /* seals with key 0, opens key 1 too */
    struct seal_ring other_id = mine;
    struct seal_ring twice = {.count = 2, .ids = {1, 1}};

    (void)state;
    same_id.keys[0][31] ^= 1;
    other_id.ids[0] = 9;
    memset(twice.keys[0], 5, SEAL_KEY_SIZE);
    memset(twice.keys[1], 1, SEAL_KEY_SIZE);
    const struct {
        const char *what;
        const struct seal_ring *group;
        enum seal_purpose purpose;
        const char *cluster;
        bool opens;
    } cases[] = {
        {"the same key", &mine, SEAL_GOSSIP, CLUSTER, true},
        {"another key under the same id", &same_id, SEAL_GOSSIP, CLUSTER, false},
        {"the key under another id", &other_id, SEAL_GOSSIP, CLUSTER, false},
        {"the key as the second of a ring", &both, SEAL_GOSSIP, CLUSTER, true},
        {"two keys of one id, the second is it", &twice, SEAL_GOSSIP, CLUSTER, true},
        {"another purpose", &mine, SEAL_FEED, CLUSTER, false},
        {"one more purpose", &mine, SEAL_BEACON, CLUSTER, false},
        {"another cluster", &mine, SEAL_GOSSIP, OTHER_CLUSTER, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct seal_ring sealer = ring_of(&mine);
        struct seal_ring opener;
        struct fly_rng rng;
        uint8_t sealed[5 + SEAL_OVERHEAD];
        uint8_t opened[5];
        size_t back;
        seal_ring_derive(&opener, cases[i].group, cases[i].purpose, cases[i].cluster);
        fly_rng_seed(&rng, 3);
        size_t size = seal_close(&sealer, &rng, "words", 5, sealed);
        if (seal_open(&opener, sealed, size, opened, &back) != cases[i].opens) {
            fail_msg("%s", cases[i].what);
        }
    }
}

/* Equal generators may not make equal nonces for different texts; one generator never repeats. */
static void test_nonces(void **state)
{
    struct seal_ring group = group_of(1, 1);
    struct seal_ring ring = ring_of(&group);
    struct fly_rng a;
    struct fly_rng b;
    uint8_t one[1 + SEAL_OVERHEAD];
    uint8_t two[1 + SEAL_OVERHEAD];

    (void)state;
    fly_rng_seed(&a, 4);
    b = a;
    (void)seal_close(&ring, &a, "a", 1, one);
    (void)seal_close(&ring, &b, "b", 1, two);
    assert_memory_not_equal(one + 2, two + 2, 24);
    (void)seal_close(&ring, &a, "a", 1, two);
    assert_memory_not_equal(one + 2, two + 2, 24);
}

static void test_wipe(void **state)
{
    struct seal_ring group = group_of(2, 1);
    struct seal_ring zero = {0};

    (void)state;
    seal_ring_wipe(&group);
    assert_memory_equal(&group, &zero, sizeof zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_every_bit_and_every_length),
        cmocka_unit_test(test_who_may_open), cmocka_unit_test(test_nonces),
        cmocka_unit_test(test_wipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
