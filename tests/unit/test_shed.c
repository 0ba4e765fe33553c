/* shed: its rules one by one, random work against what must always hold, and goodput by simulation
 * on a virtual clock beside a queue that is served in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/wire/shed.h"

enum { PLACES = 4096 };

static struct shed_item *heap[PLACES + 1];

static unsigned drain(struct fly_list *late)
{
    unsigned count = 0;

    while (!fly_list_empty(late)) {
        fly_list_drop(late->next);
        count++;
    }
    return count;
}

static void put(struct shed *s, struct shed_item *item, int64_t deadline, int64_t now)
{
    struct fly_list late;

    fly_list_init(&late);
    *item = (struct shed_item){.deadline_us = deadline};
    assert_true(shed_put(s, item, now, &late));
    assert_true(fly_list_empty(&late));
}

static void test_in_order_while_all_goes_well(void **state)
{
    struct shed s;
    struct shed_item items[6];
    struct fly_list late;

    (void)state;
    fly_list_init(&late);
    shed_init(&s, heap, 6);
    for (int i = 0; i < 6; i++) {
        put(&s, &items[i], i % 2 == 0 ? 0 : 100000 - i, 10 + i);
    }
    for (int i = 0; i < 6; i++) {
        assert_ptr_equal(shed_take(&s, 1000, &late), &items[i]);
    }
    assert_null(shed_take(&s, 1000, &late));
    assert_true(fly_list_empty(&late));
}

static void test_late_is_handed_back(void **state)
{
    struct shed s;
    struct shed_item items[3];
    struct shed_item gone = {.deadline_us = 500};
    struct fly_list late;

    (void)state;
    fly_list_init(&late);
    shed_init(&s, heap, 3);
    put(&s, &items[0], 9000, 0);
    put(&s, &items[1], 1000, 0);
    put(&s, &items[2], 2000, 0);
    assert_ptr_equal(shed_take(&s, 400, &late), &items[0]);
    assert_true(fly_list_empty(&late));
    assert_null(shed_take(&s, 2000, &late));
    assert_ptr_equal(late.next, &items[1].node);
    assert_ptr_equal(late.prev, &items[2].node);
    assert_int_equal(drain(&late), 2);
    assert_true(shed_put(&s, &gone, 500, &late));
    assert_ptr_equal(late.next, &gone.node);
    assert_false(shed_withdraw(&s, &gone));
    assert_null(shed_take(&s, 500, &late));
}

static void test_surely_late_learns_and_forgets(void **state)
{
    struct shed s;
    struct shed_item item;
    struct fly_list late;

    (void)state;
    fly_list_init(&late);
    shed_init(&s, heap, 1);
    for (int i = 0; i < 2000; i++) {
        shed_served(&s, 10000);
    }
    put(&s, &item, 100000, 0);
    assert_null(shed_take(&s, 91000, &late)); /* 9 ms left for what takes 10 */
    assert_int_equal(drain(&late), 1);
    put(&s, &item, 5000, 0); /* half of its time is always worth a try */
    assert_ptr_equal(shed_take(&s, 0, &late), &item);
    for (int i = 0; i < 60; i++) {
        shed_served(&s, 100);
    }
    put(&s, &item, 100000, 0);
    assert_ptr_equal(shed_take(&s, 91000, &late), &item);
}

static void test_newest_first_under_overload(void **state)
{
    struct shed s;
    struct shed_item items[5];
    struct shed_item open[2];
    struct fly_list late;

    (void)state;
    fly_list_init(&late);
    shed_init(&s, heap, 7);
    put(&s, &open[0], 0, 0);
    put(&s, &open[1], 0, 0);
    for (int i = 0; i < 5; i++) {
        put(&s, &items[i], 100000 + i, 1 + i);
    }
    assert_ptr_equal(shed_take(&s, 50, &late), &open[0]);
    assert_ptr_equal(shed_take(&s, 60000, &late), &open[1]); /* it has been there longest */
    assert_ptr_equal(shed_take(&s, 60000, &late), &items[4]);
    assert_ptr_equal(shed_take(&s, 60000, &late), &items[3]);
    assert_ptr_equal(shed_take(&s, 60000, &late), &items[2]);
    put(&s, &items[4], 200000, 60000);
    assert_ptr_equal(shed_take(&s, 60000, &late), &items[4]);
    assert_ptr_equal(shed_take(&s, 60000, &late), &items[1]);
    assert_ptr_equal(shed_take(&s, 60000, &late), &items[0]);
    put(&s, &items[0], 200000, 70000); /* it was empty: in order again */
    put(&s, &items[1], 200000, 70000);
    assert_ptr_equal(shed_take(&s, 70000, &late), &items[0]);
    assert_true(fly_list_empty(&late));
}

static void test_full(void **state)
{
    struct shed s;
    struct shed_item items[4];
    struct shed_item more = {.deadline_us = 300000};
    struct fly_list late;

    (void)state;
    fly_list_init(&late);
    shed_init(&s, heap, 3);
    for (int i = 0; i < 3; i++) {
        put(&s, &items[i], i == 1 ? 100000 : 200000, i);
    }
    assert_false(shed_put(&s, &more, 10, &late)); /* in order: who comes last goes */
    assert_true(shed_put(&s, &more, 100000, &late));
    assert_ptr_equal(late.next, &items[1].node); /* late made room */
    assert_int_equal(drain(&late), 1);
    items[3] = (struct shed_item){.deadline_us = 150000};
    assert_true(shed_put(&s, &items[3], 100000, &late));
    assert_int_equal(drain(&late), 1); /* newest first now: the nearest deadline goes */
    assert_true(s.count == 3 && s.newest_first);
    assert_ptr_equal(shed_take(&s, 100001, &late), &items[3]);
    assert_ptr_equal(shed_take(&s, 100001, &late), &more);
    assert_true(fly_list_empty(&late));
}

static void test_nobody_starves(void **state)
{
    struct shed s;
    struct shed_item timed[2];
    struct shed_item open;
    struct fly_list late;
    int turns = 0;

    (void)state;
    fly_list_init(&late);
    shed_init(&s, heap, 8);
    put(&s, &timed[0], 1000, 0);
    put(&s, &timed[1], 900, 0);
    put(&s, &open, 0, 1);
    assert_ptr_equal(shed_take(&s, 600, &late), &timed[1]);
    for (;;) {
        put(&s, &timed[1], 100000, 700);
        turns++;
        if (shed_take(&s, 700, &late) == &open) {
            break;
        }
    }
    assert_true(turns <= 8);
}

/* What must hold whatever comes: each item comes back exactly once, late ones never from take,
 * counts agree with a set kept beside. */
static void test_random(void **state)
{
    enum { ITEMS = 300, MAX = 64 };
    static struct shed_item items[ITEMS];
    static bool in[ITEMS];

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct fly_rng rng;
        struct shed s;
        int64_t now = 1;
        uint32_t count = 0;

        memset(in, 0, sizeof in);
        fly_rng_seed(&rng, seed);
        shed_init(&s, heap, MAX);
        for (int round = 0; round < 5000; round++) {
            size_t i = fly_rng_below(&rng, ITEMS);
            struct fly_list late;
            struct shed_item *got = NULL;

            fly_list_init(&late);
            now += (int64_t)fly_rng_below(&rng, 20);
            if (in[i] && fly_rng_chance(&rng, 200)) {
                assert_true(shed_withdraw(&s, &items[i]));
                assert_false(shed_withdraw(&s, &items[i]));
                in[i] = false;
                count--;
            } else if (!in[i] && fly_rng_chance(&rng, 700)) {
                int64_t time = (int64_t)fly_rng_below(&rng, seed % 2 == 0 ? 300 : 3000);
                items[i] =
                    (struct shed_item){.deadline_us = fly_rng_chance(&rng, 200) ? 0 : now + time};
                if (shed_put(&s, &items[i], now, &late)) {
                    in[i] = true;
                    count++;
                }
            } else {
                got = shed_take(&s, now, &late);
                shed_served(&s, (int64_t)fly_rng_below(&rng, 100));
            }
            if (got != NULL) {
                assert_true(in[got - items]);
                assert_true(got->deadline_us == 0 || got->deadline_us > now);
                in[got - items] = false;
                count--;
            }
            while (!fly_list_empty(&late)) {
                struct shed_item *back = FLY_CONTAINER(late.next, struct shed_item, node);
                fly_list_drop(late.next);
                assert_true(in[back - items] && back->deadline_us != 0);
                in[back - items] = false;
                count--;
            }
            assert_true(s.count == count && count <= MAX);
        }
    }
}

/* One simulated server of SERVERS workers with a queue of PLACES, and its clients. */
enum { SERVERS = 2, SERVICE_US = 200, TRAVEL_US = 300, LOAD_US = 2000000, SLICE_US = 10000 };

struct load {
    const char *what;
    unsigned overload; /* × capacity, from a quarter to three quarters of LOAD_US; before and after
                          it nine tenths of capacity */
    uint32_t queue_max;
    int64_t deadline_us;
    int64_t spread_us; /* deadlines are deadline_us + below spread_us */
    bool naive;        /* in order, refusing when full, dropping only what is late */
};

struct outcome {
    double good; /* per capacity, during the overload */
    unsigned late_runs;
    int64_t recovered_us; /* from the overload's end until goodput is that of before */
};

enum { CAPACITY = SLICE_US / SERVICE_US * SERVERS /* of a slice */, SLICES = LOAD_US / SLICE_US };

struct sim {
    const struct load *load;
    struct fly_rng rng;
    struct shed shed;
    struct fly_list late;
    struct shed_item items[2 * PLACES + SERVERS];
    struct shed_item *unused[2 * PLACES + SERVERS];
    size_t unused_count;
    struct shed_item *running[SERVERS];
    int64_t ends[SERVERS];
    double due; /* arrivals */
    unsigned good[SLICES + 1];
    unsigned late_runs;
};

static struct shed_item *naive_take(struct shed *s, int64_t now, struct fly_list *late)
{
    while (!fly_list_empty(&s->timed)) {
        struct shed_item *item = FLY_CONTAINER(s->timed.next, struct shed_item, node);

        assert_true(shed_withdraw(s, item));
        if (item->deadline_us > now) {
            return item;
        }
        fly_list_append(late, &item->node);
    }
    return NULL;
}

static void sim_arrive(struct sim *sim, int64_t now)
{
    const struct load *load = sim->load;
    bool over = now >= LOAD_US / 4 && now < LOAD_US * 3 / 4;

    sim->due += (over ? load->overload : 0.9) * 10 * SERVERS / SERVICE_US;
    while (sim->due > (double)fly_rng_below(&sim->rng, 1000) / 500) {
        struct shed_item *item = sim->unused[--sim->unused_count];
        int64_t time = load->deadline_us;

        sim->due -= 1;
        time +=
            load->spread_us > 0 ? (int64_t)fly_rng_below(&sim->rng, (uint64_t)load->spread_us) : 0;
        *item = (struct shed_item){.deadline_us = now + time};
        if ((load->naive && sim->shed.count == sim->shed.max) ||
            !shed_put(&sim->shed, item, now, &sim->late)) {
            sim->unused[sim->unused_count++] = item;
        }
        sim->shed.newest_first = sim->shed.newest_first && !load->naive;
    }
}

static void sim_work(struct sim *sim, int w, int64_t now)
{
    struct shed_item *item = sim->running[w];

    if (item != NULL && sim->ends[w] <= now) {
        sim->good[now / SLICE_US] += now + TRAVEL_US <= item->deadline_us;
        shed_served(&sim->shed, SERVICE_US);
        sim->unused[sim->unused_count++] = item;
        item = NULL;
    }
    if (item == NULL) {
        item = sim->load->naive ? naive_take(&sim->shed, now, &sim->late)
                                : shed_take(&sim->shed, now, &sim->late);
        sim->ends[w] = now + SERVICE_US;
        sim->late_runs += item != NULL && item->deadline_us <= now;
    }
    sim->running[w] = item;
}

static struct outcome sim_outcome(const struct sim *sim)
{
    struct outcome outcome = {.recovered_us = -1, .late_runs = sim->late_runs};

    for (size_t i = SLICES / 4; i < SLICES * 3 / 4; i++) {
        outcome.good += (double)sim->good[i] / CAPACITY / (SLICES / 2);
    }
    for (size_t i = SLICES * 3 / 4; i + 2 < SLICES && outcome.recovered_us < 0; i++) {
        if (sim->good[i] + sim->good[i + 1] >= CAPACITY * 2 * 8 / 10) {
            outcome.recovered_us = (int64_t)i * SLICE_US - LOAD_US * 3 / 4;
        }
    }
    return outcome;
}

static struct outcome simulate(const struct load *load, uint64_t seed)
{
    static struct sim sim;

    memset(&sim, 0, sizeof sim);
    sim.load = load;
    fly_rng_seed(&sim.rng, seed);
    shed_init(&sim.shed, heap, load->queue_max);
    fly_list_init(&sim.late);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(sim.items); i++) {
        sim.unused[sim.unused_count++] = &sim.items[i];
    }
    for (int64_t now = 1; now < LOAD_US; now += 10) {
        sim_arrive(&sim, now);
        for (int w = 0; w < SERVERS; w++) {
            sim_work(&sim, w, now);
        }
        while (!fly_list_empty(&sim.late)) {
            struct fly_list *node = sim.late.next;

            fly_list_drop(node);
            sim.unused[sim.unused_count++] = FLY_CONTAINER(node, struct shed_item, node);
        }
    }
    return sim_outcome(&sim);
}

static void test_goodput(void **state)
{
    static const struct load loads[] = {
        {"10 times, queue deeper than the deadline", 10, 1024, 100000, 0, false},
        {"10 times, a very deep queue", 10, PLACES, 100000, 0, false},
        {"10 times, a short queue", 10, 16, 100000, 0, false},
        {"10 times, mixed deadlines", 10, 1024, 5000, 400000, false},
        {"10 times, close deadlines", 10, 1024, 3000, 2000, false},
        {"twice", 2, 1024, 100000, 0, false},
        {"a little too much", 1, 1024, 50000, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(loads); i++) {
        for (uint64_t seed = 1; seed <= 3; seed++) {
            struct outcome got = simulate(&loads[i], seed);

            if (got.good < 0.95 || got.late_runs != 0 || got.recovered_us < 0 ||
                got.recovered_us > 50000) {
                fail_msg("%s: goodput %.3f, late %u, recovered after %lld us", loads[i].what,
                         got.good, got.late_runs, (long long)got.recovered_us);
            }
        }
    }
}

/* The control: without the policy the same load is served too late, so the test above can fail. */
static void test_goodput_in_order_is_bad(void **state)
{
    struct load load = {"in order", 10, 1024, 100000, 0, true};
    struct outcome got = simulate(&load, 1);

    (void)state;
    assert_true(got.good < 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order_while_all_goes_well),
        cmocka_unit_test(test_late_is_handed_back),
        cmocka_unit_test(test_surely_late_learns_and_forgets),
        cmocka_unit_test(test_newest_first_under_overload),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_nobody_starves),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_goodput),
        cmocka_unit_test(test_goodput_in_order_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
