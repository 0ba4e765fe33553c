/*
 * snapshot: round trips are test_slice_oracle's; here is what damage does. A snapshot is behind the
 * journal's checksum, so this is the second line: whatever decodes must be a state that keeps its
 * own invariants.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/slice/snapshot.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/wire/vmid.h"

enum { TAG = 0x123456, VERSION_AT = 4, VM_COUNT = 12 };

static const struct slice_config roomy = {.machines_max = 4, .records_max = 64, .hash_seed = 3};

static struct slice_state *new_state(const struct slice_config *config)
{
    struct slice_state *s = slice_state_init(calloc(1, slice_state_size(config)), config);

    assert_non_null(s);
    return s;
}

static void add(struct fly_writer *w, const struct command *c)
{
    assert_true(entry_put(w, c));
}

static void apply(struct slice_state *s, struct fly_writer *w)
{
    static struct slice_effects effects;
    size_t size = entry_end(w);

    assert_int_equal(slice_apply(s, w->data, size, &effects, NULL), FLY_OK);
    for (uint32_t i = 0; i < effects.result_count; i++) {
        assert_int_equal(effects.results[i].code, SLICE_OK);
    }
}

static void begin(struct fly_writer *w, int64_t slice_ms)
{
    static uint8_t batch[SLICE_BATCH_BYTES_MAX];
    const struct batch_head head = {
        .wall_ms = INT64_C(1800000000000), .slice_ms = slice_ms, .boot = 5, .batch = 1};

    entry_begin(w, batch, sizeof batch, &head);
}

static struct fly_key key_of(unsigned i)
{
    uint8_t random[FLY_KEY_RANDOM_SIZE] = {(uint8_t)i};
    struct fly_key key;

    key_mint(&key, TAG, 1800000000, random);
    if (i % 3 == 0) {
        (void)snprintf((char *)key.bytes, sizeof key.bytes, "%cu%u", 0, i);
        key.bytes[0] = 0;
        key.bytes[1] = (uint8_t)i;
    }
    return key;
}

/* Two machines, one of them cordoned, VMs alive and destroyed, a bound, a done and a cancelled key.
 */
static struct slice_state *some_state(void)
{
    struct slice_state *s = new_state(&roomy);
    struct fly_writer w;

    begin(&w, 1000);
    add(&w, &(struct command){.type = COMMAND_FOUND,
                              .tag = TAG,
                              .incarnation = 9,
                              .machines_max = roomy.machines_max,
                              .records_max = roomy.records_max});
    add(&w, &(struct command){.type = COMMAND_LEAD, .term = 3});
    for (unsigned i = 0; i < 2; i++) {
        struct command c = {
            .type = COMMAND_MACHINE_ADD, .region = "SIN", .cores = 16, .memory_bytes = 64000000};
        (void)snprintf(c.name, sizeof c.name, "m%u", i);
        add(&w, &c);
    }
    for (unsigned i = 0; i < VM_COUNT; i++) {
        add(&w, &(struct command){.type = COMMAND_LAUNCH,
                                  .key = key_of(i),
                                  .subject = "alice",
                                  .machine = i % 2,
                                  .cores = 2,
                                  .memory_bytes = 1000000});
    }
    apply(s, &w);
    for (unsigned i = 0; i < 4; i++) {
        begin(&w, 2000 + i);
        add(&w, &(struct command){.type = COMMAND_DESTROY, .vm = vmid_make(TAG, i + 1)});
        apply(s, &w);
    }
    begin(&w, 3000);
    const struct hold_id hold = {.slice = 7, .term = 1, .boot = 2, .counter = 3};
    for (unsigned i = 20; i < 22; i++) {
        add(&w, &(struct command){
                    .type = COMMAND_BIND, .key = key_of(i), .subject = "bob", .hold = hold});
    }
    add(&w, &(struct command){.type = COMMAND_DONE,
                              .key = key_of(20),
                              .subject = "bob",
                              .hold = hold,
                              .vm = vmid_make(7, 4)});
    add(&w, &(struct command){.type = COMMAND_CANCEL, .key = key_of(22), .subject = "bob"});
    add(&w, &(struct command){.type = COMMAND_MACHINE_CORDON, .name = "m1"});
    apply(s, &w);
    return s;
}

static uint8_t *encode(struct slice_state *s, size_t *size)
{
    struct slice_view *view = slice_view_take(s);
    size_t max = snapshot_size_max(view);
    uint8_t *data = malloc(max);

    assert_non_null(data);
    *size = snapshot_encode(view, data, max);
    slice_view_drop(s, view);
    return data;
}

/* What must hold of any state (I1, sums, indexes), whichever bytes it came from. */
static void check_invariants(const struct slice_state *s)
{
    const struct slice_totals *sum = slice_totals(s);
    uint32_t machines = 0;
    uint32_t records = 0;
    uint32_t started = 0;

    for (uint32_t m = 0; m < slice_machine_slots(s); m++) {
        const struct slice_machine *machine = slice_machine_at(s, m);
        uint64_t cores = 0;
        uint64_t memory_bytes = 0;
        if (machine->name[0] == '\0') {
            continue;
        }
        machines++;
        for (uint32_t i = 0; i < slice_record_slots(s); i++) {
            const struct slice_record *r = slice_record_at(s, i);
            if (r->kind == RECORD_VM && r->state == VM_STARTED && r->machine == m) {
                cores += r->cores;
                memory_bytes += r->memory_bytes;
            }
        }
        assert_int_equal(cores, machine->cores_used);
        assert_int_equal(memory_bytes, machine->memory_used_bytes);
        assert_true(machine->cores_used <= machine->cores);
        assert_true(machine->memory_used_bytes <= machine->memory_bytes);
        assert_int_equal(slice_machine_find(s, machine->name), m);
    }
    for (uint32_t i = 0; i < slice_record_slots(s); i++) {
        const struct slice_record *r = slice_record_at(s, i);
        if (r->kind != RECORD_FREE) {
            records++;
            assert_int_equal(slice_record_find(s, r->subject, &r->key), i);
        }
        if (r->kind == RECORD_VM) {
            started += r->state == VM_STARTED;
            assert_int_equal(slice_vm_find(s, r->vm), i);
            assert_true(r->number <= sum->vms_created);
        }
    }
    assert_int_equal(machines, sum->machines);
    assert_int_equal(records, sum->records);
    assert_int_equal(started, sum->vms_started);
}

/* From here on encode and decode undo each other byte for byte. */
static void check_fixed_point(struct slice_state *s)
{
    struct slice_state *twin = new_state(&roomy);
    size_t size;
    size_t twin_size;
    uint8_t *data = encode(s, &size);

    assert_int_equal(snapshot_decode(twin, data, size, NULL), FLY_OK);
    uint8_t *twin_data = encode(twin, &twin_size);
    assert_int_equal(twin_size, size);
    assert_memory_equal(twin_data, data, size);
    free(twin_data);
    free(data);
    free(twin);
}

/* Decodes; a state that comes of it keeps its invariants. */
static enum fly_status try_decode(const uint8_t *data, size_t size)
{
    struct slice_state *s = new_state(&roomy);
    uint8_t *exact = malloc(size + 1); /* so that a read past the end is seen */
    struct fly_error error = {0};
    enum fly_status status;

    memcpy(exact, data, size);
    exact = realloc(exact, size == 0 ? 1 : size);
    status = snapshot_decode(s, exact, size, &error);
    if (status == FLY_OK) {
        check_invariants(s);
        check_fixed_point(s);
    } else {
        assert_int_equal(error.status, status);
        assert_true(error.text[0] != '\0');
    }
    free(exact);
    free(s);
    return status;
}

static void test_round_trip(void **unused)
{
    struct slice_state *s = some_state();
    size_t size;
    uint8_t *data = encode(s, &size);

    (void)unused;
    check_invariants(s);
    check_fixed_point(s);
    assert_int_equal(try_decode(data, size), FLY_OK);
    free(data);
    free(s);
}

static void test_empty(void **unused)
{
    struct slice_state *s = new_state(&roomy);
    size_t size;
    uint8_t *data = encode(s, &size);

    (void)unused;
    assert_int_equal(try_decode(data, size), FLY_OK);
    free(data);
    free(s);
}

static void test_every_truncation(void **unused)
{
    struct slice_state *s = some_state();
    size_t size;
    uint8_t *data = encode(s, &size);
    uint8_t *longer = calloc(1, size + 1);

    (void)unused;
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(try_decode(data, cut), FLY_DATA_LOSS);
    }
    memcpy(longer, data, size);
    assert_int_equal(try_decode(longer, size + 1), FLY_DATA_LOSS);
    free(longer);
    free(data);
    free(s);
}

static void test_every_flip(void **unused)
{
    struct slice_state *s = some_state();
    size_t size;
    uint8_t *data = encode(s, &size);
    unsigned seen = 0;

    (void)unused;
    for (size_t bit = 0; bit < 8 * size; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        seen += try_decode(data, size) != FLY_OK;
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(seen > 2 * size); /* a flip in a time or a digest cannot be seen here */
    free(data);
    free(s);
}

static void test_garbage(void **unused)
{
    struct slice_state *s = some_state();
    size_t size;
    uint8_t *data = encode(s, &size);
    uint8_t *bad = malloc(size);
    struct fly_rng rng;

    (void)unused;
    fly_rng_seed(&rng, 11);
    for (int i = 0; i < 20000; i++) {
        memcpy(bad, data, size);
        for (uint64_t k = 1 + fly_rng_below(&rng, 4); k > 0; k--) {
            size_t at = (size_t)fly_rng_below(&rng, size);
            size_t run = (size_t)fly_rng_below(&rng, size - at < 9 ? size - at : 9);
            if (fly_rng_chance(&rng, 500)) {
                memset(bad + at, fly_rng_chance(&rng, 500) ? 0xff : 0, run);
            } else {
                memmove(bad + at, data + fly_rng_below(&rng, size - run), run);
            }
        }
        (void)try_decode(bad, size);
    }
    free(bad);
    free(data);
    free(s);
}

static void test_refusals(void **unused)
{
    static const struct {
        const char *what;
        struct slice_config config;
        int version;
        enum fly_status status;
    } rows[] = {
        {"as it was", {.machines_max = 4, .records_max = 64}, 2, FLY_OK},
        {"more memory", {.machines_max = 9, .records_max = 640}, 2, FLY_OK},
        {"fewer machines", {.machines_max = 3, .records_max = 64}, 2, FLY_RESOURCE_EXHAUSTED},
        {"fewer records", {.machines_max = 4, .records_max = 63}, 2, FLY_RESOURCE_EXHAUSTED},
        {"a newer version", {.machines_max = 4, .records_max = 64}, 3, FLY_UNIMPLEMENTED},
        {"a version that never was", {.machines_max = 4, .records_max = 64}, 0, FLY_DATA_LOSS},
    };
    struct slice_state *s = some_state();
    size_t size;
    uint8_t *data = encode(s, &size);

    (void)unused;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct slice_state *fresh = new_state(&rows[i].config);
        data[VERSION_AT] = (uint8_t)rows[i].version;
        enum fly_status status = snapshot_decode(fresh, data, size, NULL);
        if (status != rows[i].status) {
            fail_msg("%s: %s", rows[i].what, fly_status_name(status));
        }
        free(fresh);
    }
    free(data);
    free(s);
}

/* Snapshots that nodes wrote before version 2 (no cordons, founding time, losses, times of binds).
 */
static void test_version_1(void **unused)
{
    static const struct {
        const char *path;
        enum vm_state state;
    } rows[] = {
        {FLY_SOURCE "/tests/fuzz/corpus/snapshot/living", VM_STARTED},
        {FLY_SOURCE "/tests/fuzz/corpus/snapshot/destroyed", VM_DESTROYED},
    };
    static const struct slice_config config = {.machines_max = 65536, .records_max = 131072};
    static uint8_t data[4096];

    (void)unused;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        FILE *file = fopen(rows[i].path, "rb");
        assert_non_null(file);
        size_t size = fread(data, 1, sizeof data, file);
        (void)fclose(file);
        assert_int_equal(data[VERSION_AT], 1);
        struct slice_state *old = new_state(&config);
        assert_int_equal(snapshot_decode(old, data, size, NULL), FLY_OK);
        check_invariants(old);
        uint32_t slot = 0;
        while (slice_record_at(old, slot)->state != rows[i].state) {
            assert_in_range(slot++, 0, slice_record_slots(old));
        }
        const struct slice_record *vm = slice_record_at(old, slot);
        assert_int_equal(vm->kind, RECORD_VM);
        assert_int_equal(vm->created_ms, 1000);
        assert_int_equal(vm->destroyed_ms != 0, vm->state == VM_DESTROYED);
        assert_false(slice_machine_at(old, vm->machine)->cordoned);
        assert_int_equal(slice_totals(old)->founded_ms, 0);
        struct slice_state *twin = new_state(&config);
        uint8_t *again = encode(old, &size);
        assert_int_equal(again[VERSION_AT], 2);
        assert_int_equal(snapshot_decode(twin, again, size, NULL), FLY_OK);
        assert_int_equal(slice_record_at(twin, slot)->created_ms, vm->created_ms);
        assert_int_equal(slice_record_at(twin, slot)->seq, vm->seq);
        free(again);
        free(twin);
        free(old);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_empty),
        cmocka_unit_test(test_every_truncation), cmocka_unit_test(test_every_flip),
        cmocka_unit_test(test_garbage),          cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
