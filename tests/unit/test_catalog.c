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

/* --- many slices, against a naive picture --- */

enum { SLICES = 5, NAMES = 12, REGIONS = 3 };

struct one {
    bool there;
    uint32_t region;
    uint32_t cores, cores_free;
    uint64_t memory, memory_free;
    bool cordoned;
};

struct picture {
    struct one machines[SLICES + 1][NAMES]; /* by tag */
    struct catalog_slice_state states[SLICES + 1];
};

static bool is_live(const struct catalog_slice_state *s)
{
    return s->placeable && !s->doubtful && s->stale_ms <= CATALOG_STALE_MS;
}

static void expect_picture(const struct catalog *c, const struct picture *p)
{
    for (uint32_t tag = 1; tag <= SLICES; tag++) {
        struct catalog_slice_sums has = {0};
        struct catalog_slice_sums wanted = {0};
        for (unsigned i = 0; i < NAMES; i++) {
            const struct one *m = &p->machines[tag][i];
            wanted.machines += m->there;
            wanted.cordoned += m->there && m->cordoned;
            wanted.cores_total += m->there ? m->cores : 0;
            wanted.cores_free += m->there && !m->cordoned ? m->cores_free : 0;
            wanted.memory_total_bytes += m->there ? m->memory : 0;
            wanted.memory_free_bytes += m->there && !m->cordoned ? m->memory_free : 0;
        }
        if (!catalog_slice_sums(c, tag, &has)) {
            assert_int_equal(wanted.machines, 0);
        }
        assert_int_equal(has.machines, wanted.machines);
        assert_int_equal(has.cordoned, wanted.cordoned);
        assert_int_equal(has.cores_total, wanted.cores_total);
        assert_int_equal(has.cores_free, wanted.cores_free);
        assert_int_equal(has.memory_total_bytes, wanted.memory_total_bytes);
        assert_int_equal(has.memory_free_bytes, wanted.memory_free_bytes);
    }
    for (uint32_t region = 0; region < REGIONS; region++) {
        struct catalog_region wanted = {0};
        for (uint32_t tag = 1; tag <= SLICES; tag++) {
            for (unsigned i = 0; i < NAMES; i++) {
                const struct one *m = &p->machines[tag][i];
                if (m->there && m->region == region) {
                    wanted.machines++;
                    wanted.cordoned += m->cordoned;
                    wanted.cores_total += m->cores;
                    wanted.cores_free += m->cordoned ? 0 : m->cores_free;
                    wanted.stale_ms = p->states[tag].stale_ms > wanted.stale_ms
                                          ? p->states[tag].stale_ms
                                          : wanted.stale_ms;
                }
            }
        }
        const struct catalog_region *has = catalog_region_find(c, codes[region]);
        assert_non_null(has);
        assert_int_equal(has->machines, wanted.machines);
        assert_int_equal(has->cordoned, wanted.cordoned);
        assert_int_equal(has->cores_total, wanted.cores_total);
        assert_int_equal(has->cores_free, wanted.cores_free);
        assert_int_equal(has->stale_ms, wanted.stale_ms);
    }
}

/* Every feasible slice is chosen when there is room for all, live ones first. */
static void expect_choices(const struct catalog *c, const struct picture *p, struct fly_rng *rng)
{
    uint32_t region = (uint32_t)fly_rng_below(rng, REGIONS);
    uint32_t cores = (uint32_t)fly_rng_below(rng, 20);
    uint64_t memory = fly_rng_below(rng, 20);
    uint32_t out[CATALOG_CHOICES_MAX];
    struct catalog_candidate slices[CATALOG_CANDIDATES_MAX];
    uint32_t chosen = catalog_choose(c, codes[region], cores, memory, rng, out, SLICES);
    uint32_t told = catalog_slices(c, codes[region], slices, SLICES);
    uint32_t live = 0;
    uint32_t feasible = 0;
    uint32_t open = 0;

    for (uint32_t tag = 1; tag <= SLICES; tag++) {
        bool fits = false;
        const struct one *best = NULL;
        for (unsigned i = 0; i < NAMES; i++) {
            const struct one *m = &p->machines[tag][i];
            if (m->there && !m->cordoned && m->region == region) {
                fits |= m->cores_free >= cores && m->memory_free >= memory;
                best = best == NULL || m->cores_free > best->cores_free ||
                               (m->cores_free == best->cores_free &&
                                m->memory_free > best->memory_free)
                           ? m
                           : best;
            }
        }
        bool placeable = p->states[tag].placeable;
        unsigned times = 0;
        for (uint32_t i = 0; i < chosen; i++) {
            times += out[i] == tag;
        }
        assert_int_equal(times, fits && placeable ? 1 : 0);
        feasible += fits && placeable;
        live += fits && is_live(&p->states[tag]);
        unsigned seen = 0;
        for (uint32_t i = 0; i < told; i++) {
            if (slices[i].slice == tag) {
                seen++;
                assert_non_null(best);
                assert_int_equal(slices[i].cores_free_max, best->cores_free);
                assert_int_equal(slices[i].memory_free_max_bytes, best->memory_free);
                assert_int_equal(slices[i].doubtful, !is_live(&p->states[tag]));
            }
        }
        assert_int_equal(seen, best != NULL && placeable ? 1 : 0);
        open += best != NULL && placeable;
    }
    assert_int_equal(chosen, feasible);
    assert_int_equal(told, open);
    for (uint32_t i = 0; i < chosen; i++) {
        assert_int_equal(is_live(&p->states[out[i]]), i < live);
    }
    for (uint32_t i = 1; i < told; i++) {
        assert_true(is_live(&p->states[slices[i - 1].slice]) ||
                    !is_live(&p->states[slices[i].slice]));
    }
}

static struct event event_of(uint32_t tag, unsigned name, const struct one *m, uint64_t seq,
                             uint8_t type)
{
    struct event e = {.slice = tag,
                      .incarnation = 77,
                      .seq = seq,
                      .type = type,
                      .cores = m->cores,
                      .memory_bytes = m->memory,
                      .machine_cores_free = m->cores_free,
                      .machine_memory_free_bytes = m->memory_free};

    (void)snprintf(e.machine, sizeof e.machine, "m-%u", name);
    (void)snprintf(e.region, sizeof e.region, "%s", codes[m->region]);
    return e;
}

static void fill(struct one *m, struct fly_rng *rng)
{
    m->cores = 1 + (uint32_t)fly_rng_below(rng, 20);
    m->cores_free = (uint32_t)fly_rng_below(rng, m->cores + 1);
    m->memory = 1 + fly_rng_below(rng, 20);
    m->memory_free = fly_rng_below(rng, m->memory + 1);
}

static void change_machine(struct catalog *c, struct picture *p, struct fly_rng *rng, uint32_t tag,
                           uint64_t seq)
{
    unsigned name = (unsigned)fly_rng_below(rng, NAMES);
    struct one *m = &p->machines[tag][name];
    uint8_t type = EVENT_VM_STARTED;

    if (!m->there) {
        *m = (struct one){.there = true, .region = (uint32_t)fly_rng_below(rng, REGIONS)};
        fill(m, rng);
        type = EVENT_MACHINE_ADDED;
    } else {
        switch (fly_rng_below(rng, 6)) {
        case 0:
            m->there = false;
            type = EVENT_MACHINE_REMOVED;
            break;
        case 1:
            fill(m, rng);
            type = EVENT_MACHINE_RESIZED;
            break;
        case 2:
            m->cordoned = !m->cordoned;
            type = m->cordoned ? EVENT_MACHINE_CORDONED : EVENT_MACHINE_UNCORDONED;
            break;
        default:
            m->cores_free = (uint32_t)fly_rng_below(rng, m->cores + 1);
            m->memory_free = fly_rng_below(rng, m->memory + 1);
        }
    }
    struct event e = event_of(tag, name, m, seq, type);
    if (type == EVENT_VM_STARTED) {
        e.cores = 1; /* the VM's own */
        e.memory_bytes = 1;
    }
    assert_int_equal(catalog_apply(c, &e), FLY_OK);
}

static void take_snapshot(struct catalog *c, struct picture *p, struct fly_rng *rng, uint32_t tag,
                          uint64_t seq)
{
    catalog_snapshot_begin(c, tag);
    if (fly_rng_chance(rng, 300)) { /* a piece, and then it starts over */
        struct catalog_machine lost = {.name = "m-0", .cores = 1};
        (void)snprintf(lost.region, sizeof lost.region, "%s", codes[0]);
        assert_int_equal(catalog_snapshot_put(c, tag, &lost), FLY_OK);
        catalog_snapshot_begin(c, tag);
    }
    for (unsigned i = 0; i < NAMES; i++) {
        struct one *m = &p->machines[tag][i];
        *m = (struct one){.there = fly_rng_chance(rng, 500),
                          .region = (uint32_t)fly_rng_below(rng, REGIONS),
                          .cordoned = fly_rng_chance(rng, 200)};
        fill(m, rng);
        if (!m->there) {
            continue;
        }
        struct catalog_machine put = {.cores = m->cores,
                                      .cores_free = m->cores_free,
                                      .memory_bytes = m->memory,
                                      .memory_free_bytes = m->memory_free,
                                      .cordoned = m->cordoned};
        (void)snprintf(put.name, sizeof put.name, "m-%u", i);
        (void)snprintf(put.region, sizeof put.region, "%s", codes[m->region]);
        assert_int_equal(catalog_snapshot_put(c, tag, &put), FLY_OK);
    }
    catalog_snapshot_end(c, tag, seq);
    if (fly_rng_chance(rng, 500)) { /* what is older than the snapshot changes nothing */
        struct one old = {.region = 0, .cores = 9, .cores_free = 9};
        unsigned name = (unsigned)fly_rng_below(rng, NAMES);
        old.region = p->machines[tag][name].region;
        struct event e = event_of(tag, name, &old, seq - 1, EVENT_MACHINE_RESIZED);
        if (p->machines[tag][name].there) {
            assert_int_equal(catalog_apply(c, &e), FLY_OK);
        }
    }
}

static void change_slice(struct catalog *c, struct picture *p, struct fly_rng *rng, uint32_t tag)
{
    static const int64_t stale[] = {0, 100, CATALOG_STALE_MS, CATALOG_STALE_MS + 1, 70000};
    struct catalog_slice_state *s = &p->states[tag];

    if (fly_rng_chance(rng, 100)) {
        catalog_drop_slice(c, tag);
        memset(p->machines[tag], 0, sizeof p->machines[tag]);
        *s = (struct catalog_slice_state){.placeable = true};
        return;
    }
    if (fly_rng_chance(rng, 100)) {
        catalog_reset_slice(c, tag);
        memset(p->machines[tag], 0, sizeof p->machines[tag]);
        return;
    }
    *s = (struct catalog_slice_state){.placeable = fly_rng_chance(rng, 700),
                                      .doubtful = fly_rng_chance(rng, 200),
                                      .stale_ms = stale[fly_rng_below(rng, 5)]};
    catalog_set_slice(c, tag, s);
}

static void test_many_slices(void **state)
{
    void *memory = NULL;
    struct catalog *c = make(&memory, REGIONS, SLICES * NAMES);
    struct picture p;
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 4);
    memset(&p, 0, sizeof p);
    for (uint32_t tag = 1; tag <= SLICES; tag++) {
        p.states[tag].placeable = true;
    }
    for (uint32_t region = 0; region < REGIONS; region++) {
        struct catalog_region r = {.status = "degraded"};
        (void)snprintf(r.code, sizeof r.code, "%s", codes[region]);
        assert_int_equal(catalog_put_region(c, &r), FLY_OK);
    }
    for (uint64_t seq = 2; seq < STEPS; seq++) {
        uint32_t tag = 1 + (uint32_t)fly_rng_below(&rng, SLICES);
        if (fly_rng_chance(&rng, 20)) {
            take_snapshot(c, &p, &rng, tag, seq);
        } else if (fly_rng_chance(&rng, 50)) {
            change_slice(c, &p, &rng, tag);
        } else {
            change_machine(c, &p, &rng, tag, seq);
        }
        expect_choices(c, &p, &rng);
        if (seq % 16 == 0) {
            expect_picture(c, &p);
        }
    }
    free(memory);
}

static void test_another_log(void **state)
{
    void *memory = NULL;
    struct catalog *c = make(&memory, 8, 16);
    struct catalog_slice_sums sums;
    struct event e = machine_event(5, 1, 0, 32, 32);

    (void)state;
    e.incarnation = 1;
    e.seq = 900;
    assert_int_equal(catalog_apply(c, &e), FLY_OK);
    e = machine_event(5, 2, 0, 16, 16);
    e.incarnation = 2; /* its numbers begin anew; the machines of the first log are not its own */
    e.seq = 1;
    assert_int_equal(catalog_apply(c, &e), FLY_OK);
    assert_true(catalog_slice_sums(c, 5, &sums));
    assert_int_equal(sums.machines, 1);
    assert_int_equal(sums.cores_total, 16);
    catalog_snapshot_begin(c, 5); /* of a third log, known by its first event */
    struct catalog_machine m = {.name = "m-7", .region = "SIN", .cores = 8, .cores_free = 8};
    assert_int_equal(catalog_snapshot_put(c, 5, &m), FLY_OK);
    catalog_snapshot_end(c, 5, 3);
    e = machine_event(5, 7, 0, 8, 4);
    e.incarnation = 3;
    e.seq = 4;
    e.type = EVENT_VM_STARTED;
    assert_int_equal(catalog_apply(c, &e), FLY_OK);
    assert_true(catalog_slice_sums(c, 5, &sums));
    assert_int_equal(sums.machines, 1);
    assert_int_equal(sums.cores_free, 4);
    free(memory);
}

static void test_closed_regions(void **state)
{
    static const struct {
        const char *status;
        bool open;
    } rows[] = {
        {"operational", true}, {"degraded", true}, {"maintenance", false}, {"offline", false}};
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        void *memory = NULL;
        struct catalog *c = make(&memory, 8, 16);
        struct catalog_region r = {.code = "SIN"};
        struct catalog_candidate slices[2];
        uint32_t out[2];
        (void)snprintf(r.status, sizeof r.status, "%s", rows[i].status);
        assert_int_equal(catalog_put_region(c, &r), FLY_OK);
        struct event e = machine_event(5, 1, 0, 32, 32);
        assert_int_equal(catalog_apply(c, &e), FLY_OK);
        e = machine_event(5, 2, 1, 1, 1);
        assert_int_equal(catalog_apply(c, &e), FLY_OK);
        assert_int_equal(catalog_region_open(catalog_region_find(c, "SIN")), rows[i].open);
        assert_int_equal(catalog_choose(c, "SIN", 1, 1, &rng, out, 2), 1); /* named */
        assert_int_equal(catalog_slices(c, "SIN", slices, 2), 1);
        assert_int_equal(catalog_nearest_fit(c, "NRT", 4, 4) != NULL, rows[i].open);
        free(memory);
    }
}

static void test_readers(void **state)
{
    void *memory = NULL;
    struct catalog *c = make(&memory, 8, 16);
    struct catalog_machine m;
    uint32_t tags[4];
    uint64_t cursor = 0;
    unsigned count = 0;

    (void)state;
    for (uint32_t tag = 1; tag <= 2; tag++) {
        for (unsigned i = 0; i < 3; i++) {
            struct event e = machine_event(tag, i + tag, i, 32, 16);
            assert_int_equal(catalog_apply(c, &e), FLY_OK);
        }
    }
    while (catalog_machine_next(c, 2, &cursor, &m)) {
        count++;
        assert_int_equal(m.cores_free, 16);
    }
    assert_int_equal(count, 3);
    assert_int_equal(catalog_machine_slices(c, "m-2", tags, 4), 2);
    assert_int_equal(tags[0] + tags[1], 3);
    assert_int_equal(catalog_machine_slices(c, "m-1", tags, 4), 1);
    assert_int_equal(catalog_machine_slices(c, "m-9", tags, 4), 0);
    uint64_t version = catalog_version(c);
    struct event e = machine_event(1, 1, 0, 32, 8);
    e.type = EVENT_VM_STARTED;
    assert_int_equal(catalog_apply(c, &e), FLY_OK);
    assert_int_equal(catalog_version(c), version);
    e.type = EVENT_MACHINE_CORDONED;
    assert_int_equal(catalog_apply(c, &e), FLY_OK);
    assert_int_not_equal(catalog_version(c), version);
    for (uint32_t tag = 3; tag < CATALOG_SLICES_MAX + 10; tag++) {
        catalog_set_slice(c, tag, &(struct catalog_slice_state){.founded_ms = tag});
    }
    assert_int_equal(catalog_slice_founded_ms(c, CATALOG_SLICES_MAX), CATALOG_SLICES_MAX);
    assert_int_equal(catalog_slice_founded_ms(c, CATALOG_SLICES_MAX + 9), 0);
    e = machine_event(CATALOG_SLICES_MAX + 9, 1, 0, 32, 8);
    assert_int_equal(catalog_apply(c, &e), FLY_RESOURCE_EXHAUSTED);
    catalog_snapshot_begin(c, e.slice);
    assert_int_equal(catalog_snapshot_put(c, e.slice, &m), FLY_RESOURCE_EXHAUSTED);
    catalog_snapshot_end(c, e.slice, 9);
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
        cmocka_unit_test(test_sums),        cmocka_unit_test(test_regions_keep_their_sums),
        cmocka_unit_test(test_choice),      cmocka_unit_test(test_many_slices),
        cmocka_unit_test(test_another_log), cmocka_unit_test(test_closed_regions),
        cmocka_unit_test(test_readers),     cmocka_unit_test(test_nearest_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
