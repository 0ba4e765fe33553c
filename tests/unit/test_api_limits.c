/*
 * limits and autospawn: the dash's pure parts, against oracles that are slow and plain.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dash/autospawn.h"
#include "dash/limits.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"

struct same {
    const char *what;
    const char *a;
    const char *b;
    bool same;
};

static const struct same sames[] = {
    {"itself", "10.0.0.1", "10.0.0.1", true},
    {"another", "10.0.0.1", "10.0.0.2", false},
    {"mapped", "10.0.0.1", "::ffff:10.0.0.1", true},
    {"mapped, another", "::ffff:10.0.0.2", "::ffff:10.0.0.1", false},
    {"a /64", "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
    {"another /64", "2001:db8:1:2::1", "2001:db8:1:3::1", false},
    {"a zone", "fe80::1%eth0", "fe80::2%eth1", true},
    {"no address", "somebody", "", true},
};

static void test_addresses(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(sames); i++) {
        const struct same *s = &sames[i];
        struct limits *l = limits_create(1, 7);
        struct limits_left left;
        assert_true(limits_take(l, s->a, 1000, &left));
        if (limits_take(l, s->b, 1000, &left) == s->same) {
            fail_msg("%s", s->what);
        }
        limits_destroy(l);
    }
}

/* Random launches: never more than allowed in any 60 s; refused only if the last 61 s were full;
 * the time that is told is right to the millisecond. */
static void test_rate(void **state)
{
    enum { STEPS = 20000, PER_MINUTE = 5 };
    static int64_t taken[STEPS];
    struct limits *l = limits_create(PER_MINUTE, 1);
    struct fly_rng rng;
    int64_t now_ms = 123456;
    size_t count = 0;
    size_t refused = 0;

    (void)state;
    fly_rng_seed(&rng, 42);
    for (size_t i = 0; i < STEPS; i++) {
        struct limits_left left;
        struct limits_left looked;
        now_ms += (int64_t)fly_rng_below(&rng, fly_rng_chance(&rng, 50) ? 90000 : 9000);
        looked = limits_look(l, "10.0.0.1", now_ms);
        bool good = limits_take(l, "10.0.0.1", now_ms, &left);
        assert_int_equal(good, looked.left > 0);
        if (good) {
            assert_int_equal(left.left, looked.left - 1);
            assert_true(count < PER_MINUTE || now_ms - taken[count - PER_MINUTE] > 60000);
            taken[count++] = now_ms;
        } else {
            refused++;
            assert_true(count >= PER_MINUTE && now_ms - taken[count - PER_MINUTE] < 61000);
            assert_true(left.retry_ms > 0 && left.retry_ms <= 61000);
            assert_false(limits_take(l, "10.0.0.1", now_ms + left.retry_ms - 1, &looked));
            assert_int_equal(looked.retry_ms, 1);
            now_ms += left.retry_ms;
            assert_true(limits_take(l, "10.0.0.1", now_ms, &left));
            taken[count++] = now_ms;
        }
    }
    assert_true(refused > 1000 && count > 5000);
    limits_destroy(l);
}

/* A full table refuses who is new, serves who is known, and takes new ones when old ones are idle.
 */
static void test_full(void **state)
{
    struct limits *l = limits_create(2, 3);
    struct limits_left left;
    char address[32];

    (void)state;
    for (unsigned i = 0; i < LIMITS_ADDRESSES_MAX; i++) {
        (void)snprintf(address, sizeof address, "10.0.%u.%u", i / 256, i % 256);
        assert_true(limits_take(l, address, 5000, &left));
    }
    assert_false(limits_take(l, "11.0.0.1", 5000, &left));
    assert_true(left.retry_ms > 0);
    assert_true(limits_take(l, "10.0.7.7", 5000, &left));
    assert_false(limits_take(l, "10.0.7.7", 5000, &left));
    assert_true(limits_take(l, "11.0.0.1", 5000 + 61000, &left));
    for (unsigned i = 2; i < 1000; i++) {
        (void)snprintf(address, sizeof address, "11.0.%u.%u", i / 256, i % 256);
        assert_true(limits_take(l, address, 5000 + 61000, &left));
    }
    assert_int_equal(limits_look(l, "11.0.0.1", 5000 + 61000).left, 1);
    limits_destroy(l);
}

/* The set against an array of flags. */
static void test_vms(void **state)
{
    enum { IDS = 300, MAX = 100 };
    static bool lives[IDS + 1];
    struct limits_vms *v = limits_vms_create(MAX, 9);
    struct fly_rng rng;
    uint64_t count = 0;
    uint64_t live = 0;
    uint64_t pending = 0;

    (void)state;
    fly_rng_seed(&rng, 5);
    assert_false(limits_vms_count(v, &count));
    assert_int_equal(limits_vms_as_of(v), INT64_MIN);
    for (unsigned i = 0; i < 50000; i++) {
        uint64_t id = 1 + fly_rng_below(&rng, IDS);
        if (fly_rng_chance(&rng, 1)) {
            uint64_t ids[IDS];
            live = 0;
            for (uint64_t n = 1; n <= IDS; n++) {
                lives[n] = fly_rng_chance(&rng, 300);
                ids[live] = n;
                live += lives[n] ? 1 : 0;
            }
            limits_vms_list(v, ids, live, i);
            assert_int_equal(limits_vms_as_of(v), i);
        } else if (fly_rng_chance(&rng, 100)) {
            bool room = live + pending < MAX;
            assert_int_equal(limits_vms_reserve(v), room);
            pending += room ? 1 : 0;
        } else if (pending > 0 && fly_rng_chance(&rng, 200)) {
            bool came = fly_rng_chance(&rng, 700);
            limits_vms_launched(v, came ? id : 0);
            pending--;
            live += came && !lives[id] ? 1 : 0;
            lives[id] = lives[id] || came;
        } else if (fly_rng_chance(&rng, 400)) {
            limits_vms_event(v, EVENT_VM_STARTED, id);
            live += lives[id] ? 0 : 1;
            lives[id] = true;
        } else {
            limits_vms_event(
                v, fly_rng_chance(&rng, 900) ? EVENT_VM_DESTROYED : EVENT_MACHINE_ADDED, 0);
            limits_vms_event(v, EVENT_VM_DESTROYED, id);
            live -= lives[id] ? 1 : 0;
            lives[id] = false;
        }
        (void)limits_vms_count(v, &count);
        assert_int_equal(count, live + pending);
    }
    limits_vms_lose(v);
    assert_false(limits_vms_count(v, &count));
    limits_vms_destroy(v);
}

/* More live than there is room for: counted all the same. */
static void test_vms_many(void **state)
{
    static uint64_t ids[LIMITS_VMS_SPARE + 100];
    struct limits_vms *v = limits_vms_create(1, 9);
    uint64_t count = 0;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(ids); i++) {
        ids[i] = i + 1;
    }
    limits_vms_list(v, ids, FLY_ARRAY_COUNT(ids), 1);
    assert_true(limits_vms_count(v, &count));
    assert_int_equal(count, FLY_ARRAY_COUNT(ids));
    assert_false(limits_vms_reserve(v));
    limits_vms_destroy(v);
}

static void test_near(void **state)
{
    struct limits_near *n = limits_near_create();
    struct fly_key key = {.bytes = {0}};

    (void)state;
    for (unsigned i = 0; i < LIMITS_NEAR_MAX + 1; i++) {
        char region[16];
        key.bytes[1] = (uint8_t)i;
        key.bytes[2] = (uint8_t)(i >> 8);
        (void)snprintf(region, sizeof region, "R%u", i);
        limits_near_put(n, "me", &key, region);
        assert_string_equal(limits_near_find(n, "me", &key), region);
        assert_null(limits_near_find(n, "you", &key));
    }
    key.bytes[1] = key.bytes[2] = 0;
    assert_null(limits_near_find(n, "me", &key)); /* the first went */
    key.bytes[1] = 1;
    assert_string_equal(limits_near_find(n, "me", &key), "R1");
    limits_near_destroy(n);
}

static void test_distance(void **state)
{
    (void)state;
    /* published great circle distances, airports' places: within half a per cent */
    assert_true(fabs(limits_distance_km(1.3, 103.8, 22.25, 114.2) - 2575) < 15);
    assert_true(fabs(limits_distance_km(52.37, 4.89, 40.78, -74.05) - 5860) < 30);
    assert_true(fabs(limits_distance_km(35.6, 139.7, 37.35, -121.9) - 8330) < 45); /* date line */
    assert_true(limits_distance_km(10, 20, 10, 20) < 1e-6);
    assert_true(fabs(limits_distance_km(0, 0, 0, 180) - 20015) < 1);
}

/* --- autospawn --- */

static void tick_until(struct autospawn *a, int64_t *now_ms, int64_t until_ms, uint32_t visitors,
                       unsigned *launches, unsigned *destroys, bool answer)
{
    static unsigned made;

    for (; *now_ms < until_ms; *now_ms += 1000) {
        struct autospawn_todo todo;
        do {
            todo = autospawn_tick(a, *now_ms, visitors);
            if (todo.launch) {
                char id[AUTOSPAWN_ID_SIZE];
                (void)snprintf(id, sizeof id, "vm%u", made++);
                *launches += 1;
                if (answer) {
                    autospawn_launched(a, *now_ms, id);
                }
            }
            if (todo.destroy != NULL) {
                char id[AUTOSPAWN_ID_SIZE];
                (void)snprintf(id, sizeof id, "%s", todo.destroy);
                *destroys += 1;
                autospawn_destroyed(a, *now_ms, id, true);
            }
        } while (todo.launch || todo.destroy != NULL);
    }
}

static void test_spawn_visits(void **state)
{
    struct autospawn a;
    int64_t now_ms = 1000000;
    unsigned launches = 0;
    unsigned destroys = 0;

    (void)state;
    autospawn_init(&a, 3, 11);
    tick_until(&a, &now_ms, now_ms + 300000, 0, &launches, &destroys, true);
    assert_int_equal(launches, 0); /* nobody looks */
    int64_t came_ms = now_ms;
    tick_until(&a, &now_ms, came_ms + 1000, 1, &launches, &destroys, true);
    assert_int_equal(launches, 1); /* the first visitor: at once */
    tick_until(&a, &now_ms, came_ms + 48000, 1, &launches, &destroys, true);
    assert_int_equal(launches, 1);
    tick_until(&a, &now_ms, came_ms + 600000, 1, &launches, &destroys, true);
    assert_true(launches >= 9 && launches <= 13); /* a minute each, ± 20 % */
    assert_true(destroys >= launches - 2 && destroys <= launches);
    /* they go: what it made ends, and after a minute nothing more comes */
    int64_t left_ms = now_ms;
    tick_until(&a, &now_ms, left_ms + 62000, 0, &launches, &destroys, true);
    unsigned last = launches;
    tick_until(&a, &now_ms, left_ms + 400000, 0, &launches, &destroys, true);
    assert_int_equal(launches, last);
    assert_int_equal(destroys, launches);
    tick_until(&a, &now_ms, now_ms + 1000, 2, &launches, &destroys, true);
    assert_int_equal(launches, last + 1);
}

static void test_spawn_one_at_a_time(void **state)
{
    struct autospawn a;
    int64_t now_ms = 1000000;
    unsigned launches = 0;
    unsigned destroys = 0;

    (void)state;
    autospawn_init(&a, 2, 11);
    tick_until(&a, &now_ms, now_ms + 600000, 1, &launches, &destroys, false);
    assert_int_equal(launches, 1); /* it was not answered yet */
    autospawn_launched(&a, now_ms, NULL);
    struct autospawn_todo todo = autospawn_tick(&a, now_ms, 1);
    assert_true(todo.launch);
    assert_int_equal(todo.region, 1); /* in turn */
    autospawn_launched(&a, now_ms, NULL);
    todo = autospawn_tick(&a, now_ms + 73000, 1);
    assert_true(todo.launch);
    assert_int_equal(todo.region, 0);
}

static void test_spawn_again(void **state)
{
    struct autospawn a;
    int64_t now_ms = 1000000;
    char id[AUTOSPAWN_ID_SIZE];

    (void)state;
    autospawn_init(&a, 1, 11);
    autospawn_adopt(&a, now_ms, "old");
    autospawn_adopt(&a, now_ms, "old"); /* once */
    assert_null(autospawn_tick(&a, now_ms + 59999, 0).destroy);
    struct autospawn_todo todo = autospawn_tick(&a, now_ms + 60000, 0);
    assert_string_equal(todo.destroy, "old");
    (void)snprintf(id, sizeof id, "%s", todo.destroy);
    assert_null(autospawn_tick(&a, now_ms + 90000, 0).destroy); /* under way */
    autospawn_destroyed(&a, now_ms + 90000, id, false);
    assert_null(autospawn_tick(&a, now_ms + 99999, 0).destroy);
    assert_string_equal(autospawn_tick(&a, now_ms + 100000, 0).destroy, "old");
    autospawn_destroyed(&a, now_ms + 100000, id, true);
    assert_null(autospawn_tick(&a, now_ms + 1000000, 0).destroy);
    /* full of its own: it launches no more */
    for (unsigned i = 0; i < AUTOSPAWN_VMS_MAX; i++) {
        (void)snprintf(id, sizeof id, "x%u", i);
        autospawn_adopt(&a, now_ms, id);
    }
    assert_false(autospawn_tick(&a, now_ms, 1).launch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),   cmocka_unit_test(test_rate),
        cmocka_unit_test(test_full),        cmocka_unit_test(test_vms),
        cmocka_unit_test(test_vms_many),    cmocka_unit_test(test_near),
        cmocka_unit_test(test_distance),    cmocka_unit_test(test_spawn_visits),
        cmocka_unit_test(test_spawn_again), cmocka_unit_test(test_spawn_one_at_a_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
