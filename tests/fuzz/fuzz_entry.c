/*
 * Bytes as a log entry on a small slice that has some history: refused with the state unchanged, or
 * applied with the books in order. A snapshot of what came of it decodes to the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "node/slice/snapshot.h"
#include "proto/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct slice_config config = {.machines_max = 8, .records_max = 16};
static struct slice_effects effects;

static struct slice_state *make(void **memory)
{
    *memory = calloc(1, slice_state_size(&config));
    FLY_CHECK(*memory != NULL);
    return slice_state_init(*memory, &config);
}

/* Founded by leader 7, with two machines. */
static void begin(struct slice_state *s)
{
    const struct command commands[] = {
        {.type = COMMAND_FOUND, .tag = 5, .incarnation = 9, .machines_max = 8, .records_max = 16},
        {.type = COMMAND_LEAD, .term = 1},
        {.type = COMMAND_MACHINE_ADD, .name = "a", .region = "SIN", .cores = 4, .memory_bytes = 9},
        {.type = COMMAND_MACHINE_ADD, .name = "b", .region = "SIN", .cores = 2, .memory_bytes = 9},
    };
    const struct batch_head head = {.wall_ms = 1000, .slice_ms = 1000, .boot = 7, .batch = 1};
    uint8_t batch[1024];
    struct fly_writer w;

    entry_begin(&w, batch, sizeof batch, &head);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(commands); i++) {
        FLY_CHECK(entry_put(&w, &commands[i]));
    }
    FLY_CHECK(slice_apply(s, batch, entry_end(&w), &effects, NULL) == FLY_OK);
}

static void check_books(const struct slice_state *s)
{
    uint32_t started = 0;

    for (uint32_t slot = 0; slot < slice_machine_slots(s); slot++) {
        const struct slice_machine *m = slice_machine_at(s, slot);
        FLY_CHECK(m->cores_used <= m->cores && m->memory_used_bytes <= m->memory_bytes);
        started += m->vm_count;
    }
    FLY_CHECK(started == slice_totals(s)->vms_started);
}

static void check_snapshot(struct slice_state *s)
{
    struct slice_view *view = slice_view_take(s);
    size_t max = snapshot_size_max(view);
    uint8_t *bytes = malloc(max);
    void *memory = NULL;
    struct slice_state *again = make(&memory);

    FLY_CHECK(bytes != NULL);
    size_t size = snapshot_encode(view, bytes, max);
    slice_view_drop(s, view);
    FLY_CHECK(snapshot_decode(again, bytes, size, NULL) == FLY_OK);
    FLY_CHECK(memcmp(slice_totals(again), slice_totals(s), sizeof *slice_totals(s)) == 0);
    free(memory);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *memory = NULL;
    struct slice_state *s = make(&memory);
    struct fly_error error;

    begin(s);
    struct slice_totals before = *slice_totals(s);
    /* several entries in one input, each behind its length: 16 bits, little-endian */
    while (size >= 2) {
        size_t entry = (size_t)(data[0] | data[1] << 8);
        entry = entry < size - 2 ? entry : size - 2;
        if (slice_apply(s, data + 2, entry, &effects, &error) != FLY_OK) {
            FLY_CHECK(memcmp(&before, slice_totals(s), sizeof before) == 0);
        }
        before = *slice_totals(s);
        check_books(s);
        data += 2 + entry;
        size -= 2 + entry;
    }
    check_snapshot(s);
    free(memory);
    return 0;
}
