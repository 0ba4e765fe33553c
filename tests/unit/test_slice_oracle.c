/*
 * slice_apply against the naive oracle: random batches of every command, tables so small that they
 * fill, keys that expire, clocks that jump, batches of dead leaders, damaged bytes. After each
 * batch all results, all events and the whole state are compared; now and then the state goes
 * through a snapshot and goes on from there, or a view is taken and must not move.
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
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/wire/vmid.h"
#include "tests/unit/oracle_slice.h"

enum { KEYS = 40, HOLDS = 6, TAG = 0x0a0b0c };

struct duel {
    const char *what;
    uint64_t seed;
    unsigned step;
    struct fly_rng rng;
    struct slice_config config;
    struct slice_state *state;
    struct oracle *oracle;
    struct fly_key keys[KEYS];
    struct hold_id holds[HOLDS];
    int64_t wall_ms;
    int64_t slice_ms;
    uint64_t batch;
    struct slice_view *view; /* or NULL */
    struct oracle *viewed;   /* as the state was when the view was taken */
    unsigned tally[SLICE_STALE + 1];
    unsigned purged;
    unsigned copies;
};

static uint64_t below(struct duel *d, uint64_t bound)
{
    return fly_rng_below(&d->rng, bound);
}

static void fail_at(const struct duel *d, const char *what)
{
    fail_msg("%s, seed %llu, step %u: %s differs", d->what, (unsigned long long)d->seed, d->step,
             what);
}

static struct slice_state *new_state(const struct duel *d)
{
    size_t size = slice_state_size(&d->config);
    void *memory = aligned_alloc(16, (size + 15) & ~(size_t)15);

    assert_non_null(memory);
    memset(memory, 0, (size + 15) & ~(size_t)15);
    return slice_state_init(memory, &d->config);
}

static void new_key(struct duel *d, struct fly_key *key)
{
    uint8_t random[FLY_KEY_RANDOM_SIZE];

    if (below(d, 4) == 0) {
        memset(key, 0, sizeof *key);
        fly_rng_fill(&d->rng, key->bytes + 1, 3);
        return;
    }
    fly_rng_fill(&d->rng, random, sizeof random);
    int64_t at_s = d->wall_ms / 1000 + (int64_t)below(d, 300) - 200;
    if (below(d, 20) == 0) {
        at_s += (int64_t)below(d, 4000) - 2000;
    }
    key_mint(key, 1 + (uint32_t)below(d, 3), (uint32_t)at_s, random);
}

static void pass_time(struct duel *d)
{
    int64_t passed = (int64_t)below(d, 2000);

    if (below(d, 30) == 0) {
        passed += SLICE_KEY_LIFE_MS / (int64_t)(1 + below(d, 3));
    }
    if (below(d, 300) == 0) {
        passed += SLICE_HASHED_KEY_LIFE_MS;
    }
    d->slice_ms += passed;
    d->wall_ms += passed;
    if (below(d, 60) == 0) {
        d->wall_ms += (int64_t)below(d, 4000000) - 2000000;
    }
    for (int i = 0; i < KEYS; i++) {
        if (below(d, 40) == 0) {
            new_key(d, &d->keys[i]);
        }
    }
}

static uint64_t some_vm(struct duel *d)
{
    uint64_t created = d->oracle->totals.vms_created;
    uint64_t number = 1 + below(d, created + 2);

    if (created > 20 && below(d, 3) > 0) {
        number = created - below(d, 20);
    }
    return vmid_make(below(d, 20) == 0 ? TAG + 1 : TAG, number);
}

static void random_command(struct duel *d, struct command *c)
{
    static const struct {
        enum command_type type;
        unsigned weight;
    } mix[] = {
        {COMMAND_LAUNCH, 40},     {COMMAND_DESTROY, 25},       {COMMAND_BIND, 20},
        {COMMAND_DONE, 10},       {COMMAND_CANCEL, 8},         {COMMAND_RELEASE, 10},
        {COMMAND_MACHINE_ADD, 6}, {COMMAND_MACHINE_RESIZE, 4}, {COMMAND_MACHINE_REMOVE, 3},
        {COMMAND_FOUND, 1},       {COMMAND_MACHINE_CORDON, 3}, {COMMAND_MACHINE_UNCORDON, 3},
        {COMMAND_LOSS, 1},
    };
    uint64_t pick = below(d, 134);
    unsigned i = 0;

    memset(c, 0, sizeof *c);
    for (; pick >= mix[i].weight; i++) {
        pick -= mix[i].weight;
    }
    c->type = mix[i].type;
    c->key = d->keys[below(d, KEYS)];
    (void)fly_copy_string(c->subject, sizeof c->subject, below(d, 5) == 0 ? "bob" : "alice");
    c->digest.bytes[0] = below(d, 12) == 0;
    c->hold = d->holds[below(d, HOLDS)];
    if (below(d, 2) == 0) {
        c->replaces = d->holds[below(d, HOLDS)];
    }
    c->vm = some_vm(d);
    c->machine = (uint32_t)below(d, d->config.machines_max + 1);
    c->cores = (uint32_t)below(d, 9);
    c->memory_bytes = below(d, 9) * 1000000;
    if (below(d, 3) == 0) {
        (void)fly_copy_string(c->name, sizeof c->name, "web");
    }
    if (c->type == COMMAND_MACHINE_ADD || c->type == COMMAND_MACHINE_RESIZE ||
        c->type == COMMAND_MACHINE_REMOVE || c->type == COMMAND_MACHINE_CORDON ||
        c->type == COMMAND_MACHINE_UNCORDON) {
        (void)snprintf(c->name, sizeof c->name, "m%u", (unsigned)below(d, 7));
        (void)fly_copy_string(c->region, sizeof c->region, below(d, 2) == 0 ? "SIN" : "FRA");
        c->cores *= 4;
        c->memory_bytes *= 4;
    }
    if (below(d, 200) == 0) {
        c->machine = UINT32_MAX;
        c->cores = UINT32_MAX;
        c->memory_bytes = UINT64_MAX;
    }
    c->tag = TAG;
    c->incarnation = 77;
    if (c->type == COMMAND_LOSS) {
        c->incarnation = below(d, 2) == 0 ? 77 : below(d, 8);
        c->seq = d->oracle->totals.seq + below(d, 20) - 3;
        c->margin = SLICE_LOSS_MARGIN + below(d, 99) - (below(d, 20) == 0);
        if (below(d, 30) == 0) {
            c->margin = UINT64_MAX >> below(d, 40);
        }
        if (below(d, 30) == 0) {
            c->seq = UINT64_MAX >> below(d, 40);
        }
    }
}

static size_t random_batch(struct duel *d, uint8_t *out)
{
    struct batch_head head = {.wall_ms = d->wall_ms,
                              .slice_ms = d->slice_ms - (below(d, 20) == 0 ? 5000 : 0),
                              .boot = d->oracle->totals.boot + (below(d, 25) == 0 ? 1 : 0),
                              .batch = ++d->batch};
    struct fly_writer w;
    struct command c;
    unsigned count = 1 + (unsigned)below(d, below(d, 50) == 0 ? SLICE_BATCH_COMMANDS_MAX : 6);

    entry_begin(&w, out, SLICE_BATCH_BYTES_MAX, &head);
    if (below(d, 40) == 0) {
        c = (struct command){.type = COMMAND_LEAD, .term = d->oracle->totals.term + below(d, 3)};
        assert_true(entry_put(&w, &c));
    }
    while (count-- > 0) {
        random_command(d, &c);
        if (!entry_put(&w, &c)) {
            break;
        }
    }
    out[1] =
        below(d, 4) == 0 ? 1 : ENTRY_VERSION; /* logs of older nodes still mean what they meant */
    return entry_end(&w);
}

static void found(struct duel *d, uint8_t *out, size_t *size)
{
    struct batch_head head = {.wall_ms = d->wall_ms, .slice_ms = d->slice_ms, .boot = 9};
    struct command c = {.type = COMMAND_FOUND,
                        .tag = TAG,
                        .incarnation = 77,
                        .machines_max = d->config.machines_max,
                        .records_max = d->config.records_max};
    struct fly_writer w;

    entry_begin(&w, out, SLICE_BATCH_BYTES_MAX, &head);
    assert_true(entry_put(&w, &c));
    c = (struct command){.type = COMMAND_LEAD, .term = 1};
    assert_true(entry_put(&w, &c));
    *size = entry_end(&w);
}

static void apply_to_both(struct duel *d, const uint8_t *data, size_t size)
{
    static struct slice_effects effects;
    static struct oracle_effects expected;
    uint32_t purged_mint_s = d->oracle->totals.purged_mint_s;
    enum fly_status status = slice_apply(d->state, data, size, &effects, NULL);

    assert_int_equal(status, oracle_apply(d->oracle, data, size, &expected));
    if (status == FLY_OK) {
        const char *what = oracle_compare_effects(&expected, &effects);
        if (what != NULL) {
            fail_at(d, what);
        }
        for (uint32_t i = 0; i < expected.count; i++) {
            d->tally[expected.results[i].code]++;
            if (expected.results[i].has_record) {
                const struct slice_record *r = slice_record_at(d->state, effects.results[i].record);
                assert_true(key_equal(&r->key, &expected.results[i].record.key));
            }
        }
    }
    d->purged += d->oracle->totals.purged_mint_s != purged_mint_s;
    const char *what = oracle_compare(d->oracle, d->state);
    if (what != NULL) {
        fail_at(d, what);
    }
}

/* The state that a snapshot of `view` makes; equal to `as`. */
static struct slice_state *through_snapshot(struct duel *d, const struct slice_view *view,
                                            const struct oracle *as)
{
    size_t max = snapshot_size_max(view);
    uint8_t *data = malloc(max);
    struct slice_state *copy = new_state(d);
    struct fly_error error = {0};

    assert_non_null(data);
    size_t size = snapshot_encode(view, data, max);
    assert_true(size <= max);
    if (snapshot_decode(copy, data, size, &error) != FLY_OK) {
        fail_msg("%s, seed %llu, step %u: snapshot: %s", d->what, (unsigned long long)d->seed,
                 d->step, error.text);
    }
    const char *what = oracle_compare(as, copy);
    if (what != NULL) {
        fail_at(d, what);
    }
    free(data);
    d->copies++;
    return copy;
}

static void look_at_views(struct duel *d)
{
    if (d->view == NULL && below(d, 30) == 0) {
        d->view = slice_view_take(d->state);
        assert_non_null(d->view);
        assert_null(slice_view_take(d->state));
        d->viewed = oracle_copy(d->oracle);
    }
    if (d->view != NULL && below(d, 20) == 0) {
        struct slice_state *copy = through_snapshot(d, d->view, d->viewed);
        slice_view_drop(d->state, d->view);
        d->view = NULL;
        oracle_destroy(d->viewed);
        free(copy);
    }
    if (d->view == NULL && below(d, 40) == 0) {
        struct slice_view *view = slice_view_take(d->state);
        struct slice_state *copy = through_snapshot(d, view, d->oracle);
        free(d->state); /* go on from the snapshot */
        d->state = copy;
    }
}

static void run(struct duel *d, unsigned steps)
{
    static uint8_t data[SLICE_BATCH_BYTES_MAX];
    size_t size;

    fly_rng_seed(&d->rng, d->seed);
    d->wall_ms = INT64_C(1800000000000);
    d->config.hash_seed = d->seed;
    d->state = new_state(d);
    d->oracle = oracle_create(&d->config);
    for (uint32_t i = 0; i < HOLDS; i++) {
        d->holds[i] = (struct hold_id){.slice = 1 + i % 3, .term = 1, .boot = 2, .counter = i};
    }
    for (int i = 0; i < KEYS; i++) {
        new_key(d, &d->keys[i]);
    }
    size = random_batch(d, data); /* nothing but FOUND counts before FOUND */
    apply_to_both(d, data, size);
    if (d->oracle->totals.tag == 0) {
        found(d, data, &size);
        apply_to_both(d, data, size);
    }
    for (d->step = 0; d->step < steps; d->step++) {
        pass_time(d);
        size = random_batch(d, data);
        if (below(d, 30) == 0) {
            data[below(d, size)] ^= (uint8_t)(1u << below(d, 8));
        }
        if (below(d, 60) == 0) {
            size = (size_t)below(d, size);
        }
        apply_to_both(d, data, size);
        look_at_views(d);
    }
    if (d->view != NULL) {
        slice_view_drop(d->state, d->view);
        oracle_destroy(d->viewed);
    }
    free(d->state);
    oracle_destroy(d->oracle);
}

static void test_duels(void **unused)
{
    static const struct {
        const char *what;
        struct slice_config config;
    } rows[] = {
        {"one machine, smallest table", {.machines_max = 1, .records_max = 16}},
        {"few machines, tight table", {.machines_max = 3, .records_max = 24}},
        {"table of more than one chunk", {.machines_max = 5, .records_max = 150}},
        {"roomy", {.machines_max = 64, .records_max = 2000}},
    };
    unsigned tally[SLICE_STALE + 1] = {0};
    unsigned purged = 0;

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (uint64_t seed = 1; seed <= 6; seed++) {
            struct duel d = {.what = rows[i].what, .config = rows[i].config, .seed = seed};
            run(&d, 500);
            purged += d.purged;
            assert_true(d.copies > 5);
            for (size_t c = 0; c <= SLICE_STALE; c++) {
                tally[c] += d.tally[c];
            }
        }
    }
    /* A duel that never meets an answer says nothing about it. */
    for (size_t c = 0; c <= SLICE_STALE; c++) {
        if (tally[c] == 0) {
            fail_msg("code %zu was never answered", c);
        }
    }
    assert_true(purged > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_duels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
