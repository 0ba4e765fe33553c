/* catalog: sums against a naive recount, hints, and what a full table says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/catalog/catalog.h"

enum { MACHINES = 40, STEPS = 20000 };

static const char *const codes[] = {"SIN", "NRT", "ARN"};

struct model {
    bool there;
    uint64_t seq;
    uint32_t region;
    uint32_t cores;
    uint32_t cores_free;
};

static struct catalog *make(void **memory, uint32_t regions_max, uint32_t machines_max)
{
    const struct catalog_config config = {.regions_max = regions_max, .machines_max = machines_max};

    *memory = calloc(1, catalog_size(&config));
    assert_non_null(*memory);
    return catalog_init(*memory, &config);
}

static struct event machine_event(uint32_t slice, unsigned name, unsigned region, uint32_t cores,
                                  uint32_t cores_free)
{
    struct event e = {.slice = slice,
                      .seq = 1,
                      .type = EVENT_MACHINE_ADDED,
                      .cores = cores,
                      .memory_bytes = cores * UINT64_C(1000),
                      .machine_cores_free = cores_free,
                      .machine_memory_free_bytes = cores_free * UINT64_C(1000)};

    (void)snprintf(e.machine, sizeof e.machine, "m-%u", name);
    (void)snprintf(e.region, sizeof e.region, "%s", codes[region]);
    return e;
}

static void expect_sums(const struct catalog *c, const struct model *models)
{
    for (unsigned region = 0; region < 3; region++) {
        const struct catalog_region *r = catalog_region_find(c, codes[region]);
        uint32_t machines = 0;
        uint64_t cores = 0;
        uint64_t cores_free = 0;
        for (unsigned i = 0; i < MACHINES; i++) {
            if (models[i].there && models[i].region == region) {
                machines++;
                cores += models[i].cores;
                cores_free += models[i].cores_free;
            }
        }
        if (r == NULL) {
            assert_int_equal(machines, 0);
            continue;
        }
        assert_int_equal(r->machines, machines);
        assert_int_equal(r->cores_total, cores);
        assert_int_equal(r->cores_free, cores_free);
        assert_int_equal(r->memory_total_bytes, cores * 1000);
        assert_int_equal(r->memory_free_bytes, cores_free * 1000);
    }
}

static void test_sums(void **state)
{
    void *memory = NULL;
    struct catalog *c = make(&memory, 8, MACHINES);
    struct model models[MACHINES] = {{false, 0, 0, 0, 0}};
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 9);
    for (uint64_t seq = 1; seq < STEPS; seq++) {
        unsigned i = (unsigned)fly_rng_below(&rng, MACHINES);
        struct model *m = &models[i];
        uint32_t cores = 1 + (uint32_t)fly_rng_below(&rng, 64);
        uint32_t cores_free = (uint32_t)fly_rng_below(&rng, cores + 1);
        unsigned region = m->there ? m->region : (unsigned)fly_rng_below(&rng, 3);
        struct event e = machine_event(5, i, region, cores, cores_free);
        e.seq = seq;
        if (!m->there) {
            *m = (struct model){true, seq, region, cores, cores_free};
        } else if (fly_rng_chance(&rng, 100)) {
            e.type = EVENT_MACHINE_REMOVED;
            m->there = false;
        } else if (fly_rng_chance(&rng, 100)) {
            e.seq = m->seq - 1; /* an older one comes late: nothing changes */
        } else {
            e.type = fly_rng_chance(&rng, 500) ? EVENT_VM_STARTED : EVENT_MACHINE_RESIZED;
            m->seq = seq;
            m->cores_free = cores_free;
            if (e.type == EVENT_MACHINE_RESIZED) {
                m->cores = cores;
            } else { /* cores are the VM's; memory follows the model's rule of 1000 a core */
                m->cores_free = cores_free < m->cores ? cores_free : m->cores;
                e.machine_cores_free = m->cores_free;
                e.machine_memory_free_bytes = m->cores_free * UINT64_C(1000);
            }
        }
        assert_int_equal(catalog_apply(c, &e), FLY_OK);
        if (seq % 50 == 0) {
            expect_sums(c, models);
        }
    }
    expect_sums(c, models);
    free(memory);
}

static void test_regions_keep_their_sums(void **state)
{
    void *memory = NULL;
    struct catalog *c = make(&memory, 2, 4);
    struct event e = machine_event(5, 1, 0, 32, 30);

    (void)state;
    assert_int_equal(catalog_apply(c, &e), FLY_OK); /* a region that no file named */
    struct catalog_region region = {.latitude = 1.3, .longitude = 103.8, .has_position = true};
    (void)snprintf(region.code, sizeof region.code, "SIN");
    (void)snprintf(region.city, sizeof region.city, "Singapore");
    assert_int_equal(catalog_put_region(c, &region), FLY_OK);
    const struct catalog_region *r = catalog_region_find(c, "sin");
    assert_non_null(r);
    assert_string_equal(r->city, "Singapore");
    assert_int_equal(r->cores_free, 30);
    (void)snprintf(region.code, sizeof region.code, "NRT");
    assert_int_equal(catalog_put_region(c, &region), FLY_OK);
    (void)snprintf(region.code, sizeof region.code, "ARN");
    assert_int_equal(catalog_put_region(c, &region), FLY_RESOURCE_EXHAUSTED);
    for (unsigned i = 2; i <= 4; i++) {
        e = machine_event(5, i, 0, 1, 1);
        assert_int_equal(catalog_apply(c, &e), FLY_OK);
    }
    e = machine_event(5, 9, 0, 1, 1);
    assert_int_equal(catalog_apply(c, &e), FLY_RESOURCE_EXHAUSTED);
    assert_int_equal(catalog_region_find(c, "SIN")->machines, 4);
    free(memory);
}

static void test_choice(void **state)
{
    void *memory = NULL;
    struct catalog *c = make(&memory, 8, 16);
    struct fly_rng rng;
    unsigned seen[8] = {0};

    (void)state;
    fly_rng_seed(&rng, 1);
    for (uint32_t slice = 1; slice <= 5; slice++) { /* slice 5 is too full */
        struct event e = machine_event(slice, slice, 0, 32, slice == 5 ? 1 : 16);
        assert_int_equal(catalog_apply(c, &e), FLY_OK);
    }
    for (int i = 0; i < 4000; i++) {
        uint32_t out[2] = {0, 0};
        assert_int_equal(catalog_choose(c, "SIN", 8, 8000, &rng, out, 2), 2);
        assert_int_not_equal(out[0], out[1]);
        seen[out[0]]++;
        seen[out[1]]++;
    }
    assert_int_equal(seen[5], 0);
    for (unsigned slice = 1; slice <= 4; slice++) {
        assert_in_range(seen[slice], 1800, 2200);
    }
    assert_int_equal(catalog_choose(c, "NRT", 1, 1, &rng, (uint32_t[2]){0}, 2), 0);
    free(memory);
}

static void test_nearest_fit(void **state)
{
    static const struct {
        const char *code;
        double latitude, longitude;
        uint32_t cores_free;
    } places[] = {{"SIN", 1.3, 103.8, 0},
                  {"NRT", 35.6, 139.7, 4},
                  {"SYD", -33.9, 151.2, 32},
                  {"AKL", -37.0, 174.8, 0},
                  {"LAX", 33.9, -118.4, 32}};
    void *memory = NULL;
    struct catalog *c = make(&memory, 8, 16);

    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct catalog_region region = {.latitude = places[i].latitude,
                                        .longitude = places[i].longitude};
        (void)snprintf(region.code, sizeof region.code, "%s", places[i].code);
        assert_int_equal(catalog_put_region(c, &region), FLY_OK);
        struct event e = machine_event(5, (unsigned)i, 0, 32, places[i].cores_free);
        (void)snprintf(e.region, sizeof e.region, "%s", places[i].code);
        assert_int_equal(catalog_apply(c, &e), FLY_OK);
    }
    assert_string_equal(catalog_nearest_fit(c, "SIN", 4, 4000)->code, "NRT");
    assert_string_equal(catalog_nearest_fit(c, "SIN", 8, 8000)->code, "SYD");
    assert_string_equal(catalog_nearest_fit(c, "AKL", 8, 8000)->code, "SYD");
    assert_null(catalog_nearest_fit(c, "SIN", 33, 1));
    assert_null(catalog_nearest_fit(c, "XXX", 1, 1));
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_regions_keep_their_sums),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_nearest_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
