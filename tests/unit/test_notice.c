/* notice: what is sealed comes back; everything else is refused and changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/notice.h"

static const char *const ours = "00112233445566778899aabbccddeeff";
static const char *const theirs = "ff112233445566778899aabbccddeeff";

static struct seal_ring ring_of(uint8_t key, const char *cluster, enum seal_purpose purpose)
{
    struct seal_ring group = {.count = 1, .ids = {key}};
    struct seal_ring ring;

    memset(group.keys[0], key, sizeof group.keys[0]);
    seal_ring_derive(&ring, &group, purpose, cluster);
    return ring;
}

static struct notice notice_any(struct fly_rng *rng)
{
    struct notice n;

    memset(&n, 0, sizeof n); /* compared as memory */
    fly_rng_fill(rng, n.id.bytes, sizeof n.id.bytes);
    n.boot = fly_rng_next(rng);
    n.generation = (uint32_t)fly_rng_next(rng);
    fly_rng_fill(rng, n.address.ip, sizeof n.address.ip);
    n.address.port = (uint16_t)(1 + fly_rng_below(rng, 65535));
    return n;
}

static void test_round_trip(void **state)
{
    struct seal_ring ring = ring_of(7, ours, SEAL_BEACON);
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 1);
    for (int i = 0; i < 500; i++) {
        struct notice n = notice_any(&rng);
        struct notice back = {0};
        uint8_t sealed[NOTICE_SIZE_MAX];
        size_t size = notice_close(&n, &ring, &rng, sealed);
        assert_int_equal(size, NOTICE_PLAIN_SIZE + SEAL_OVERHEAD);
        assert_true(notice_open(sealed, size, &ring, &back));
        assert_memory_equal(&back, &n, sizeof n);
    }
}

static void test_nothing_in_clear(void **state)
{
    struct seal_ring ring = ring_of(7, ours, SEAL_BEACON);
    struct fly_rng rng;
    uint8_t a[NOTICE_SIZE_MAX];
    uint8_t b[NOTICE_SIZE_MAX];
    size_t equal = 0;

    (void)state;
    fly_rng_seed(&rng, 2);
    struct notice n = notice_any(&rng);
    size_t size = notice_close(&n, &ring, &rng, a);
    assert_int_equal(notice_close(&n, &ring, &rng, b), size);
    assert_null(memmem(a, size, n.id.bytes, 4));
    assert_null(memmem(a, size, n.address.ip, 4));
    for (size_t i = 2; i < size; i++) { /* behind version and key id */
        equal += a[i] == b[i] ? 1 : 0;
    }
    assert_true(equal < 10);
}

static void test_foreign(void **state)
{
    static const struct {
        const char *what;
        uint8_t key;
        enum seal_purpose purpose;
        bool other_cluster;
        bool taken;
    } rows[] = {
        {"ours", 7, SEAL_BEACON, false, true},
        {"another key", 8, SEAL_BEACON, false, false},
        {"the same key in another cluster", 7, SEAL_BEACON, true, false},
        {"a gossip packet", 7, SEAL_GOSSIP, false, false},
        {"a feed message", 7, SEAL_FEED, false, false},
    };
    struct seal_ring ring = ring_of(7, ours, SEAL_BEACON);
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 3);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct notice n = notice_any(&rng);
        struct notice out;
        struct notice before;
        uint8_t sealed[NOTICE_SIZE_MAX];
        struct seal_ring from =
            ring_of(rows[i].key, rows[i].other_cluster ? theirs : ours, rows[i].purpose);
        size_t size = notice_close(&n, &from, &rng, sealed);
        memset(&out, 0x5a, sizeof out);
        before = out;
        if (notice_open(sealed, size, &ring, &out) != rows[i].taken) {
            fail_msg("%s", rows[i].what);
        }
        if (!rows[i].taken) {
            assert_memory_equal(&out, &before, sizeof out);
        }
    }
}

static void test_every_flip_and_cut(void **state)
{
    struct seal_ring ring = ring_of(7, ours, SEAL_BEACON);
    struct fly_rng rng;
    uint8_t sealed[NOTICE_SIZE_MAX + 1];
    struct notice out;

    (void)state;
    fly_rng_seed(&rng, 4);
    struct notice n = notice_any(&rng);
    memset(sealed, 0, sizeof sealed);
    size_t size = notice_close(&n, &ring, &rng, sealed);
    for (size_t bit = 0; bit < size * 8; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_false(notice_open(sealed, size, &ring, &out));
        sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++) {
        assert_false(notice_open(sealed, cut, &ring, &out));
    }
    assert_false(notice_open(sealed, size + 1, &ring, &out));
    assert_false(notice_open(sealed, sizeof sealed, &ring, &out));
    assert_true(notice_open(sealed, size, &ring, &out));
}

/* Sealed by a member, and still not a notice: the seal says only that a member made it. */
static void test_plain_forms(void **state)
{
    struct seal_ring ring = ring_of(7, ours, SEAL_BEACON);
    struct fly_rng rng;
    uint8_t plain[NOTICE_PLAIN_MAX];
    uint8_t sealed[NOTICE_SIZE_MAX];
    struct notice out;

    (void)state;
    fly_rng_seed(&rng, 5);
    struct notice n = notice_any(&rng);
    const struct {
        const char *what;
        uint8_t version;
        size_t size;
        bool portless;
        bool taken;
    } rows[] = {
        {"as it is", NOTICE_VERSION, NOTICE_PLAIN_SIZE, false, true},
        {"of a later version, longer", NOTICE_VERSION + 1, NOTICE_PLAIN_MAX, false, true},
        {"of a later version, as long", 255, NOTICE_PLAIN_SIZE, false, true},
        {"of this version, longer", NOTICE_VERSION, NOTICE_PLAIN_SIZE + 1, false, false},
        {"of a later version, cut", 2, NOTICE_PLAIN_SIZE - 1, false, false},
        {"version 0", 0, NOTICE_PLAIN_SIZE, false, false},
        {"no port", NOTICE_VERSION, NOTICE_PLAIN_SIZE, true, false},
        {"cut", NOTICE_VERSION, NOTICE_PLAIN_SIZE - 1, false, false},
        {"one byte", NOTICE_VERSION, 1, false, false},
        {"empty", NOTICE_VERSION, 0, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memset(plain, 0, sizeof plain);
        (void)notice_encode(&n, plain);
        plain[0] = rows[i].version;
        if (rows[i].portless) {
            plain[NOTICE_PLAIN_SIZE - 1] = plain[NOTICE_PLAIN_SIZE - 2] = 0;
        }
        size_t size = seal_close(&ring, &rng, plain, rows[i].size, sealed);
        if (notice_open(sealed, size, &ring, &out) != rows[i].taken) {
            fail_msg("%s", rows[i].what);
        }
        if (rows[i].taken) {
            assert_memory_equal(&out.id, &n.id, sizeof n.id);
            assert_int_equal(out.address.port, n.address.port);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_nothing_in_clear),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_plain_forms),
        cmocka_unit_test(test_every_flip_and_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
