/* top_model against a naive picture: a list of machines that is searched from its beginning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/lib/top_model.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"

#define EVENT(name) FLY__V1__EVENT_TYPE__EVENT_##name

enum { NAMES = 40, SLICES = 3, REGIONS = 4, STEPS = 20000 };

static const char *const codes[REGIONS] = {"SIN", "DEN", "AMS", "JNB"};

struct plain {
    bool here;
    bool cordoned;
    uint32_t region;
    uint32_t cores;
    uint32_t cores_free;
    uint64_t memory;
    uint64_t memory_free;
};

static struct plain plain[SLICES][NAMES];
static uint64_t seqs[SLICES];

static void texts(uint32_t slice, uint32_t name, char slice_text[static 8],
                  char name_text[static 16])
{
    (void)snprintf(slice_text, 8, "%06x", slice + 1);
    (void)snprintf(name_text, 16, "m-%u", name);
}

static void apply(struct top_model *model, Fly__V1__EventType type, uint32_t slice, uint32_t name,
                  const struct plain *m)
{
    Fly__V1__Event event = FLY__V1__EVENT__INIT;
    char slice_text[8];
    char name_text[16];

    texts(slice, name, slice_text, name_text);
    event.slice = slice_text;
    event.machine = name_text;
    event.region = (char *)(uintptr_t)codes[m->region];
    event.incarnation = 7;
    event.seq = ++seqs[slice];
    event.type = type;
    event.cores = m->cores;
    event.memory_bytes = m->memory;
    event.machine_cores_free = m->cores_free;
    event.machine_memory_free_bytes = m->memory_free;
    if (type == EVENT(VM_STARTED) || type == EVENT(VM_DESTROYED)) {
        event.vm = "0123456789ab";
        event.cores = 1;
        event.memory_bytes = 1;
    }
    top_model_apply(model, &event);
}

static void put(struct top_model *model, uint32_t slice, uint32_t name, const struct plain *m)
{
    Fly__V1__Machine machine = FLY__V1__MACHINE__INIT;
    char slice_text[8];
    char name_text[16];

    texts(slice, name, slice_text, name_text);
    machine.slice = slice_text;
    machine.name = name_text;
    machine.region = (char *)(uintptr_t)codes[m->region];
    machine.cores = m->cores;
    machine.cores_free = m->cores_free;
    machine.memory_bytes = m->memory;
    machine.memory_free_bytes = m->memory_free;
    machine.cordoned = m->cordoned;
    assert_true(top_model_put_machine(model, &machine));
}

static struct plain random_machine(struct fly_rng *rng, const struct plain *before)
{
    struct plain m = {.here = true,
                      .region = before->here && fly_rng_below(rng, 8) != 0
                                    ? before->region
                                    : (uint32_t)fly_rng_below(rng, REGIONS),
                      .cores = (uint32_t)fly_rng_below(rng, 64),
                      .memory = fly_rng_below(rng, UINT64_C(1) << 42)};

    m.cores_free = (uint32_t)fly_rng_below(rng, m.cores + 1);
    m.memory_free = fly_rng_below(rng, m.memory + 1);
    return m;
}

static int before_in_order(const struct top_model *model, uint32_t a, uint32_t b)
{
    const struct top_machine *x = &model->machines[a];
    const struct top_machine *y = &model->machines[b];
    int by = strcmp(model->regions[x->region].code, model->regions[y->region].code);

    by = by != 0 ? by : strcmp(x->name, y->name);
    return by != 0 ? by < 0 : x->slice < y->slice;
}

/* The same machines, the same sums, and an order that is one. */
static void same(struct top_model *model)
{
    struct top_sums all = {0};
    uint32_t count = 0;

    top_model_settle(model);
    for (uint32_t slice = 0; slice < SLICES; slice++) {
        for (uint32_t name = 0; name < NAMES; name++) {
            const struct plain *m = &plain[slice][name];
            char slice_text[8];
            char name_text[16];
            texts(slice, name, slice_text, name_text);
            uint32_t slot = top_model_find(model, slice + 1, name_text);
            assert_int_equal(slot != UINT32_MAX, m->here);
            if (!m->here) {
                continue;
            }
            const struct top_machine *there = &model->machines[slot];
            assert_string_equal(model->regions[there->region].code, codes[m->region]);
            assert_int_equal(there->cores, m->cores);
            assert_int_equal(there->cores_free, m->cores_free);
            assert_int_equal(there->memory_bytes, m->memory);
            assert_int_equal(there->memory_free_bytes, m->memory_free);
            assert_int_equal(there->cordoned, m->cordoned);
            assert_int_equal(model->levels[slot] >= TOP_LEVEL_CORDONED, m->cordoned);
            assert_int_equal(model->levels[slot] & TOP_LEVEL_MAX,
                             top_level(m->cores, m->cores_free, m->memory, m->memory_free));
            all.cores_free += m->cores_free;
            all.memory_total_bytes += m->memory;
            all.cordoned += m->cordoned ? 1 : 0;
            count++;
        }
    }
    assert_int_equal(model->sums.machines, count);
    assert_int_equal(model->order_count, count);
    assert_int_equal(model->sums.cores_free, all.cores_free);
    assert_int_equal(model->sums.memory_total_bytes, all.memory_total_bytes);
    assert_int_equal(model->sums.cordoned, all.cordoned);
    for (uint32_t i = 1; i < model->order_count; i++) {
        assert_true(before_in_order(model, model->order[i - 1], model->order[i]));
    }
    struct top_sums regions = {0};
    for (uint32_t i = 0; i < model->region_count; i++) {
        const struct top_region *region = &model->regions[i];
        assert_int_equal(region->order_count, region->sums.machines);
        for (uint32_t j = 0; j < region->order_count; j++) {
            assert_int_equal(model->machines[model->order[region->order_first + j]].region, i);
        }
        regions.cores_free += region->sums.cores_free;
        regions.machines += region->sums.machines;
    }
    assert_int_equal(regions.machines, count);
    assert_int_equal(regions.cores_free, all.cores_free);
}

static void one_event(struct top_model *model, struct fly_rng *rng, uint64_t *unknown)
{
    uint32_t slice = (uint32_t)fly_rng_below(rng, SLICES);
    uint32_t name = (uint32_t)fly_rng_below(rng, NAMES);
    struct plain *m = &plain[slice][name];
    bool cordoned = m->cordoned && m->here;

    switch (fly_rng_below(rng, 8)) {
    case 0:
        *m = random_machine(rng, m);
        apply(model, EVENT(MACHINE_ADDED), slice, name, m);
        break;
    case 1:
        *m = random_machine(rng, m);
        m->cordoned = cordoned;
        apply(model, EVENT(MACHINE_RESIZED), slice, name, m);
        break;
    case 2:
        apply(model, EVENT(MACHINE_REMOVED), slice, name, m);
        *m = (struct plain){0};
        break;
    case 3:
        *m = random_machine(rng, m);
        m->cordoned = true;
        apply(model, EVENT(MACHINE_CORDONED), slice, name, m);
        break;
    case 4:
        *m = random_machine(rng, m);
        apply(model, EVENT(MACHINE_UNCORDONED), slice, name, m);
        break;
    default:
        if (m->here) {
            m->cores_free = (uint32_t)fly_rng_below(rng, m->cores + 1);
            m->memory_free = fly_rng_below(rng, m->memory + 1);
        }
        *unknown += m->here ? 0 : 1;
        apply(model, fly_rng_below(rng, 2) != 0 ? EVENT(VM_STARTED) : EVENT(VM_DESTROYED), slice,
              name, m);
        break;
    }
}

static void refill(struct top_model *model, struct fly_rng *rng)
{
    top_model_refill_begin(model);
    for (uint32_t i = 0; i < SLICES * NAMES; i++) {
        struct plain *m = &plain[i / NAMES][i % NAMES];
        if (fly_rng_below(rng, 3) == 0) {
            *m = (struct plain){0};
        } else {
            *m = random_machine(rng, m);
            m->cordoned = fly_rng_below(rng, 5) == 0;
            put(model, i / NAMES, i % NAMES, m);
        }
    }
    top_model_refill_end(model);
}

static void test_like_a_plain_list(void **state)
{
    struct top_model *model = top_model_create();
    struct fly_rng rng;
    uint64_t unknown = 0;

    (void)state;
    assert_non_null(model);
    memset(plain, 0, sizeof plain);
    fly_rng_seed(&rng, 5);
    for (uint32_t i = 0; i < STEPS; i++) {
        one_event(model, &rng, &unknown);
        if (i % 4000 == 1500) {
            refill(model, &rng);
        }
        if (fly_rng_below(&rng, 20) == 0) {
            same(model);
        }
    }
    same(model);
    assert_int_equal(model->unknown, unknown);
    assert_int_equal(model->changes, STEPS);
    assert_int_equal(model->event_count, STEPS);
    assert_int_equal(model->left_out, 0);
    assert_true(model->slots <= 2 * SLICES * NAMES); /* slots are used again */
    top_model_destroy(model);
}

static void test_many_machines(void **state)
{
    enum { MANY = 5000 };
    struct top_model *model = top_model_create();
    Fly__V1__Machine machine = FLY__V1__MACHINE__INIT;
    char name[16];

    (void)state;
    machine.slice = "00000a";
    machine.cores = 4;
    machine.name = name;
    for (uint32_t i = 0; i < MANY; i++) { /* 2,749 is odd: every name once */
        (void)snprintf(name, sizeof name, "m-%04u", i * 2749 % MANY);
        machine.region = (char *)(uintptr_t)codes[i * 2749 % MANY / (MANY / REGIONS)];
        assert_true(top_model_put_machine(model, &machine));
        if (i % 1000 == 0) {
            top_model_settle(model);
        }
    }
    uint64_t changes = model->order_changes;
    top_model_settle(model);
    top_model_settle(model); /* nothing came: nothing changes */
    assert_int_equal(model->order_changes, changes + 1);
    assert_int_equal(model->order_count, MANY);
    assert_int_equal(model->sums.cores_total, 4 * MANY);
    for (uint32_t i = 1; i < MANY; i++) {
        assert_true(before_in_order(model, model->order[i - 1], model->order[i]));
    }
    top_model_destroy(model);
}

static void test_levels(void **state)
{
    static const struct {
        const char *what;
        uint64_t cores, cores_free, memory, memory_free;
        uint8_t level;
    } cases[] = {
        {"idle", 32, 32, 2000, 2000, 0},
        {"nothing at all", 0, 0, 0, 0, 0},
        {"one core of many", 1024, 1023, 2000, 2000, 1},
        {"half of the cores", 32, 16, 2000, 2000, 15},
        {"memory is scarcer", 32, 16, 2000, 500, 22},
        {"one core left", 1024, 1, 2000, 2000, 29},
        {"no core left", 32, 0, 2000, 2000, 31},
        {"no memory left", 32, 32, 2000, 0, 31},
        {"more free than there is", 32, 64, 2000, 4000, 0},
        {"the largest numbers", UINT64_MAX, 1, UINT64_MAX, UINT64_MAX, 30},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        uint8_t level =
            top_level(cases[i].cores, cases[i].cores_free, cases[i].memory, cases[i].memory_free);
        if (level != cases[i].level) {
            fail_msg("%s: %u, not %u", cases[i].what, level, cases[i].level);
        }
    }
}

static void test_events_kept(void **state)
{
    struct top_model *model = top_model_create();
    Fly__V1__Event event = FLY__V1__EVENT__INIT;

    (void)state;
    assert_null(top_model_event(model, 0));
    event.slice = "00000b";
    event.machine = "m\x1b[2J";
    event.incarnation = 1;
    for (uint64_t seq = 10; seq <= 1000; seq += 10) { /* the edge left nine of ten out */
        event.seq = seq;
        top_model_apply(model, &event);
    }
    assert_int_equal(top_model_event(model, 0)->seq, 1000);
    assert_int_equal(top_model_event(model, TOP_EVENTS_MAX - 1)->seq, 1000 - 10 * 63);
    assert_null(top_model_event(model, TOP_EVENTS_MAX));
    assert_string_equal(top_model_event(model, 0)->machine, "m?[2J");
    assert_int_equal(model->changes, 1 + 990);
    event.incarnation = 2; /* another log: its numbers say nothing about the old one's */
    event.seq = 500000;
    top_model_apply(model, &event);
    assert_int_equal(model->changes, 1 + 990 + 1);
    top_model_destroy(model);
}

static void test_regions_told(void **state)
{
    struct top_model *model = top_model_create();
    Fly__V1__Region a = FLY__V1__REGION__INIT;
    Fly__V1__Region b = FLY__V1__REGION__INIT;
    Fly__V1__Region *both[] = {&a, &b};
    Fly__V1__RegionsReply reply = FLY__V1__REGIONS_REPLY__INIT;

    (void)state;
    a.code = "SIN";
    a.city = "Singapore";
    b.code = "DEN";
    b.stale_ms = 4000;
    reply.regions = both;
    reply.n_regions = 2;
    top_model_put_regions(model, &reply, 1000);
    assert_int_equal(model->region_count, 2);
    assert_int_equal(top_region_age_ms(&model->regions[0], 9000), 0);
    assert_int_equal(top_region_age_ms(&model->regions[1], 1000), 4000);
    assert_int_equal(top_region_age_ms(&model->regions[1], 3500), 6500); /* it goes on ageing */
    b.stale_ms = UINT64_MAX;
    top_model_put_regions(model, &reply, 2000);
    assert_int_equal(top_region_age_ms(&model->regions[1], 9000), UINT64_MAX);
    uint64_t changes = model->order_changes;
    reply.n_regions = 1;
    top_model_put_regions(model, &reply, 3000);
    assert_true(model->regions[0].told);
    assert_false(model->regions[1].told);
    assert_true(model->order_changes > changes);
    top_model_destroy(model);
}

static void test_regions_end(void **state)
{
    struct top_model *model = top_model_create();
    Fly__V1__Machine machine = FLY__V1__MACHINE__INIT;
    char code[16];

    (void)state;
    machine.slice = "00000a";
    machine.name = "m";
    machine.region = code;
    for (uint32_t i = 0; i < TOP_REGIONS_MAX + 5; i++) {
        (void)snprintf(code, sizeof code, "R%u", i);
        assert_int_equal(top_model_put_machine(model, &machine), i < TOP_REGIONS_MAX);
    }
    assert_int_equal(model->left_out, 5);
    top_model_settle(model);
    assert_int_equal(model->order_count, 1); /* it moved from region to region */
    top_model_destroy(model);
}

static void test_members(void **state)
{
    struct top_model *model = top_model_create();
    Fly__V1__Member a = FLY__V1__MEMBER__INIT;
    Fly__V1__Member b = FLY__V1__MEMBER__INIT;
    Fly__V1__Member *both[] = {&a, &b};
    Fly__V1__MembersReply reply = FLY__V1__MEMBERS_REPLY__INIT;
    char *roles[] = {"peer", "edge"};
    char *notes[] = {"a machine stands here twice"};

    (void)state;
    a.name = "node-b";
    a.state = FLY__V1__MEMBER_STATE__MEMBER_DEAD;
    a.gossip = "10.0.0.2:7400";
    b.name = "node-a";
    b.state = FLY__V1__MEMBER_STATE__MEMBER_ALIVE;
    b.serving = 1;
    b.rpc = "tls+tcp://10.0.0.1:7401";
    b.roles = roles;
    b.n_roles = 2;
    b.notes = notes;
    b.n_notes = 1;
    b.rtt_us = 412;
    reply.members = both;
    reply.n_members = 2;
    top_model_put_members(model, &reply);
    top_model_put_members(model, &reply);
    assert_int_equal(model->member_count, 2);
    assert_string_equal(model->members[0].name, "node-a");
    assert_string_equal(model->members[0].roles, "peer,edge");
    assert_string_equal(model->members[0].address, "10.0.0.1:7401");
    assert_string_equal(model->members[0].state, "alive");
    assert_string_equal(model->members[0].note, "a machine stands here twice");
    assert_string_equal(model->members[1].state, "dead");
    assert_string_equal(model->members[1].address, "10.0.0.2:7400");
    top_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_a_plain_list),
        cmocka_unit_test(test_many_machines),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_events_kept),
        cmocka_unit_test(test_regions_told),
        cmocka_unit_test(test_regions_end),
        cmocka_unit_test(test_members),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
