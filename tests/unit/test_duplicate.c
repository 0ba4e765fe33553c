/* duplicate: owners that know only their catalogs agree on who keeps a machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/catalog/duplicate.h"

static struct catalog *make(uint32_t machines_max)
{
    const struct catalog_config config = {.regions_max = 4, .machines_max = machines_max};
    void *memory = calloc(1, catalog_size(&config));

    assert_non_null(memory);
    return catalog_init(memory, &config);
}

static void tell(struct catalog *c, uint32_t slice, unsigned name, uint64_t seq, uint8_t type)
{
    struct event e = {.slice = slice, .seq = seq, .type = type, .region = "SIN", .cores = 1};

    (void)snprintf(e.machine, sizeof e.machine, "m-%u", name);
    assert_int_equal(catalog_apply(c, &e), FLY_OK);
}

static void found(struct catalog *c, uint32_t slice, int64_t founded_ms)
{
    catalog_set_slice(c, slice,
                      &(struct catalog_slice_state){.placeable = true, .founded_ms = founded_ms});
}

static bool all_open(void *user, const char *name)
{
    (void)user;
    (void)name;
    return true;
}

static bool all_closed(void *user, const char *name)
{
    (void)user;
    (void)name;
    return false;
}

static void expect_one(struct duplicate *d, const struct catalog *c, uint32_t slice, bool settled,
                       const char *name, bool cordon, uint32_t elder)
{
    struct duplicate_change out[4];
    uint32_t count = duplicate_step(d, c, slice, settled, all_open, NULL, out, 4);

    if (name == NULL) {
        assert_int_equal(count, 0);
        return;
    }
    assert_int_equal(count, 1);
    assert_string_equal(out[0].name, name);
    assert_int_equal(out[0].cordon, cordon);
    assert_int_equal(out[0].elder, elder);
}

static void test_a_story(void **state)
{
    struct catalog *c = make(16);
    struct duplicate elder = {0};
    struct duplicate newer = {0};

    (void)state;
    found(c, 5, 2000);
    found(c, 9, 1000);
    tell(c, 5, 1, 1, EVENT_MACHINE_ADDED);
    tell(c, 5, 2, 2, EVENT_MACHINE_ADDED);
    tell(c, 9, 2, 1, EVENT_MACHINE_ADDED);
    expect_one(&newer, c, 5, true, "m-2", true, 9);
    assert_int_equal(newer.count, 1);
    assert_string_equal(newer.name, "m-2");
    assert_int_equal(newer.elder, 9);
    expect_one(&elder, c, 9, true, NULL, false, 0);
    assert_int_equal(elder.count, 0);
    expect_one(&newer, c, 5, true, "m-2", true, 9); /* its log did not take it: again */
    tell(c, 5, 2, 3, EVENT_MACHINE_CORDONED);
    expect_one(&newer, c, 5, true, NULL, false, 0);
    expect_one(&newer, c, 5, true, NULL, false, 0);
    assert_int_equal(newer.count, 1);

    tell(c, 9, 2, 2, EVENT_MACHINE_REMOVED);
    expect_one(&newer, c, 5, false, NULL, false, 0); /* others are not heard of yet */
    assert_int_equal(newer.count, 0);
    struct duplicate_change out[4];
    assert_int_equal(duplicate_step(&newer, c, 5, true, all_closed, NULL, out, 4), 0);
    struct duplicate restarted = {0};
    expect_one(&restarted, c, 5, true, "m-2", false, 0);
    tell(c, 9, 2, 3, EVENT_MACHINE_ADDED);
    expect_one(&restarted, c, 5, true, NULL, false, 0);
    catalog_drop_slice(c, 9); /* forgotten */
    expect_one(&restarted, c, 5, true, "m-2", false, 0);
    free(c);
}

static void test_not_known_yet(void **state)
{
    struct catalog *c = make(16);
    struct duplicate d = {0};

    (void)state;
    tell(c, 5, 1, 1, EVENT_MACHINE_ADDED);
    tell(c, 5, 1, 2, EVENT_MACHINE_CORDONED);
    tell(c, 9, 1, 1, EVENT_MACHINE_ADDED);
    expect_one(&d, c, 5, true, NULL, false, 0); /* neither time is known */
    found(c, 5, 2000);
    expect_one(&d, c, 5, true, NULL, false, 0);
    found(c, 9, 3000);
    expect_one(&d, c, 5, true, "m-1", false, 0); /* the other is the newer */
    found(c, 7, 2000);
    tell(c, 7, 1, 1, EVENT_MACHINE_ADDED);
    expect_one(&d, c, 5, true, "m-1", false, 0); /* as old: the lower tag is the elder */
    struct duplicate seven = {0};
    expect_one(&seven, c, 7, true, "m-1", true, 5);
    struct duplicate nine = {0};
    expect_one(&nine, c, 9, true, "m-1", true, 5);
    free(c);
}

static void test_settled(void **state)
{
    struct catalog *c = make(16);
    struct seen *s = seen_init(calloc(1, seen_size()), 1);

    (void)state;
    assert_true(duplicate_settled(c, s));
    assert_true(seen_note(s, 5, 1, 1));
    assert_false(duplicate_settled(c, s));
    catalog_set_slice(c, 5, &(struct catalog_slice_state){.stale_ms = INT64_MAX, .founded_ms = 1});
    assert_false(duplicate_settled(c, s));
    catalog_set_slice(c, 5, &(struct catalog_slice_state){.stale_ms = 90000});
    assert_false(duplicate_settled(c, s));
    catalog_set_slice(c, 5, &(struct catalog_slice_state){.stale_ms = 90000, .founded_ms = 1});
    assert_true(duplicate_settled(c, s)); /* away, and its machines are known */
    assert_true(seen_note(s, 6, 1, 1));
    assert_false(duplicate_settled(c, s));
    assert_true(seen_forget(s, 6));
    assert_true(duplicate_settled(c, s));
    free(s);
    free(c);
}

/* Every slice's owner acts on the same catalog, at its own pace, while machines come and go: in the
 * end a name is open in the oldest slice that has it, and cordoned in all others. */
enum { SLICES = 5, NAMES = 60 };

static void test_agreement(void **state)
{
    struct catalog *c = make(SLICES * NAMES);
    struct duplicate d[SLICES + 1];
    bool there[SLICES + 1][NAMES];
    int64_t founded_ms[SLICES + 1];
    struct duplicate_change out[7];
    struct fly_rng rng;
    uint64_t seq = 1;

    (void)state;
    fly_rng_seed(&rng, 8);
    memset(d, 0, sizeof d);
    memset(there, 0, sizeof there);
    for (uint32_t tag = 1; tag <= SLICES; tag++) {
        founded_ms[tag] = 1 + (int64_t)fly_rng_below(&rng, 3);
        found(c, tag, founded_ms[tag]);
    }
    for (int round = 0; round < 200; round++) {
        uint64_t changes = fly_rng_below(&rng, 40);
        for (uint64_t i = 0; i < changes; i++) {
            uint32_t tag = 1 + (uint32_t)fly_rng_below(&rng, SLICES);
            unsigned name = (unsigned)fly_rng_below(&rng, NAMES);
            there[tag][name] = !there[tag][name];
            tell(c, tag, name, seq++,
                 there[tag][name] ? EVENT_MACHINE_ADDED : EVENT_MACHINE_REMOVED);
            if (fly_rng_chance(&rng, 300)) { /* a step in the middle of it */
                (void)duplicate_step(&d[tag], c, tag, true, all_open, NULL, out, 7);
            }
        }
        for (int turn = 0; turn < 60; turn++) {
            for (uint32_t tag = 1; tag <= SLICES; tag++) {
                uint32_t count = duplicate_step(&d[tag], c, tag, true, all_open, NULL, out, 7);
                for (uint32_t i = 0; i < count; i++) {
                    struct event e = {.slice = tag,
                                      .seq = seq++,
                                      .type = out[i].cordon ? EVENT_MACHINE_CORDONED
                                                            : EVENT_MACHINE_UNCORDONED};
                    memcpy(e.machine, out[i].name, sizeof e.machine);
                    if (fly_rng_chance(&rng, 800)) { /* else its log failed */
                        assert_int_equal(catalog_apply(c, &e), FLY_OK);
                    }
                }
            }
        }
        for (uint32_t tag = 1; tag <= SLICES; tag++) {
            struct catalog_machine m;
            uint64_t cursor = 0;
            uint32_t cordoned = 0;
            while (catalog_machine_next(c, tag, &cursor, &m)) {
                uint32_t oldest = tag;
                unsigned name = 0;
                while (name < NAMES) {
                    char text[EVENT_NAME_SIZE];
                    (void)snprintf(text, sizeof text, "m-%u", name);
                    if (strcmp(text, m.name) == 0) {
                        break;
                    }
                    name++;
                }
                assert_true(name < NAMES && there[tag][name]);
                for (uint32_t other = 1; other <= SLICES; other++) {
                    if (there[other][name] &&
                        (founded_ms[other] < founded_ms[oldest] ||
                         (founded_ms[other] == founded_ms[oldest] && other < oldest))) {
                        oldest = other;
                    }
                }
                assert_int_equal(m.cordoned, oldest != tag);
                cordoned += m.cordoned;
            }
            assert_int_equal(d[tag].count, cordoned);
        }
    }
    free(c);
}

/* More machines than one step looks at. */
static void test_large(void **state)
{
    enum { MANY = 3 * DUPLICATE_LOOKS_MAX };
    struct catalog *c = make(2 * MANY);
    struct duplicate d = {0};
    struct duplicate_change out[64];
    unsigned told = 0;

    (void)state;
    found(c, 1, 1000);
    found(c, 2, 2000);
    for (unsigned i = 0; i < MANY; i++) {
        tell(c, 2, i, 1, EVENT_MACHINE_ADDED);
    }
    tell(c, 1, 0, 1, EVENT_MACHINE_ADDED);
    tell(c, 1, MANY - 1, 1, EVENT_MACHINE_ADDED);
    for (int i = 0; i < 4; i++) {
        uint32_t count = duplicate_step(&d, c, 2, true, all_open, NULL, out, 64);
        told += count;
        assert_true(i < 3 ? !d.looked : d.looked);
    }
    assert_int_equal(told, 2);
    assert_int_equal(d.count, 2);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_story), cmocka_unit_test(test_not_known_yet),
        cmocka_unit_test(test_settled), cmocka_unit_test(test_agreement),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
