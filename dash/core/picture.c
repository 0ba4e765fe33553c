/*
 * picture - what a picture is told, and what it tells: see picture.h.
 */
#include "dash/core/picture.h"

#include <string.h>

#include "dash/core/picture_parts.h"
#include "proto/base/check.h"

/* Takes `size` bytes of the block, whole lines of memory, behind what was taken before; with no
 * block only counts. */
static void *take(uint8_t *memory, size_t *offset, size_t size)
{
    void *at = memory != NULL ? memory + *offset : NULL;

    *offset += (size + PICTURE_LINE - 1) / PICTURE_LINE * PICTURE_LINE;
    return at;
}

/* Lays the tables out; returns the size of the whole. */
static size_t lay_out(struct picture *p, uint8_t *memory, uint32_t machines_max)
{
    size_t offset = 0;

    FLY_CHECK(machines_max >= 1 && machines_max <= PICTURE_MACHINES_MAX);
    (void)take(memory, &offset, sizeof *p);
    if (memory != NULL) {
        offset += -(uintptr_t)(memory + offset) % PICTURE_LINE;
    }
    p->rows = take(memory, &offset, machines_max * sizeof *p->rows);
    p->cells = take(memory, &offset, machines_max);
    p->region_of = take(memory, &offset, machines_max);
    p->queue = take(memory, &offset, machines_max * sizeof *p->queue);
    p->regions = take(memory, &offset, PICTURE_REGIONS_MAX * sizeof *p->regions);
    p->region_slices = take(memory, &offset, PICTURE_REGIONS_MAX * sizeof *p->region_slices);
    p->slices = take(memory, &offset, PICTURE_SLICES_MAX * sizeof *p->slices);
    p->shares = take(memory, &offset, PICTURE_SLICES_MAX * sizeof *p->shares);
    void *by_tag = take(memory, &offset, index_size(PICTURE_SLICES_MAX));
    void *by_name = take(memory, &offset, index_size(machines_max));
    if (memory != NULL) {
        index_init(&p->by_tag, by_tag, PICTURE_SLICES_MAX);
        index_init(&p->by_name, by_name, machines_max);
    }
    return offset;
}

size_t picture_size(const struct picture_config *config)
{
    struct picture nowhere = {.count = 0};

    /* where the block begins is not known: at most a line is lost */
    return lay_out(&nowhere, NULL, config->machines_max) + PICTURE_LINE;
}

struct picture *picture_init(void *memory, const struct picture_config *config)
{
    struct picture *p = memory;

    p->config = *config;
    p->hole = PICTURE_NONE;
    (void)lay_out(p, memory, config->machines_max);
    return p;
}

/* --- what it is told --- */

static bool of_machine(const struct event *e)
{
    return e->slice != 0 && e->machine[0] != '\0' && e->type >= EVENT_MACHINE_ADDED &&
           e->type <= EVENT_MACHINE_UNCORDONED;
}

/* An event of a machine that is there and stays. */
static void fold(struct picture *p, uint32_t i, const struct event *e)
{
    struct picture_numbers n = picture_machine_numbers(p, i);

    if (e->type == EVENT_MACHINE_ADDED || e->type == EVENT_MACHINE_RESIZED) {
        n.cores = e->cores;
        n.memory_bytes = e->memory_bytes;
    }
    if (e->type == EVENT_MACHINE_ADDED) {
        n.cordoned = false; /* as every new one is */
    } else if (e->type == EVENT_MACHINE_CORDONED || e->type == EVENT_MACHINE_UNCORDONED) {
        n.cordoned = e->type == EVENT_MACHINE_CORDONED;
    }
    n.cores_free = e->machine_cores_free;
    n.memory_free_bytes = e->machine_memory_free_bytes;
    picture_machine_set(p, i, &n);
}

/* The slice of something new; empties it when its log is another one. */
static struct picture_slice *slice_of_log(struct picture *p, uint32_t tag, uint64_t incarnation)
{
    struct picture_slice *s = picture_slice_in(p, tag);

    if (s != NULL && s->incarnation != incarnation) {
        if (s->incarnation != 0) {
            picture_slice_empty(p, s, 0);
        }
        s->incarnation = incarnation;
    }
    return s;
}

enum fly_status picture_apply(struct picture *p, const struct event *event)
{
    if (!of_machine(event)) {
        return FLY_OK; /* nothing about a machine, or a newer node's */
    }
    struct picture_slice *s = slice_of_log(p, event->slice, event->incarnation);
    uint32_t i = PICTURE_NONE;
    if (s != NULL && event->type != EVENT_MACHINE_ADDED) {
        i = picture_machine_find(p, s, event->machine);
    }
    if (event->type == EVENT_MACHINE_ADDED ||
        (event->type == EVENT_MACHINE_RESIZED && i == PICTURE_NONE)) {
        i = s != NULL ? picture_machine_in(p, s, event->machine, event->region) : PICTURE_NONE;
        if (i == PICTURE_NONE) {
            p->refused++;
            return FLY_RESOURCE_EXHAUSTED;
        }
    }
    if (i != PICTURE_NONE && event->type == EVENT_MACHINE_REMOVED) {
        picture_machine_drop(p, i);
    } else if (i != PICTURE_NONE) { /* else it was removed since */
        fold(p, i, event);
    }
    return FLY_OK;
}

void picture_snapshot_begin(struct picture *p, uint32_t slice)
{
    struct picture_slice *s = picture_slice_in(p, slice);

    if (s == NULL) {
        return; /* what is put is refused */
    }
    if (s->generation == UINT8_MAX) { /* numbers begin again: no machine may have one by chance */
        for (uint32_t i = s->first; i != PICTURE_NONE; i = p->rows[i].next) {
            p->rows[i].generation = 0;
        }
        s->generation = 0;
    }
    s->generation++;
    s->incarnation = 0; /* it may be of another log: the end tells */
}

enum fly_status picture_snapshot_put(struct picture *p, uint32_t slice,
                                     const struct picture_machine *m, const char *region)
{
    struct picture_slice *s = picture_slice_find(p, slice);

    /* generation 0: no snapshot has begun, or it was dropped since */
    uint32_t i =
        s != NULL && s->generation != 0 ? picture_machine_in(p, s, m->name, region) : PICTURE_NONE;
    if (i == PICTURE_NONE) {
        p->refused++;
        return FLY_RESOURCE_EXHAUSTED;
    }
    p->rows[i].generation = s->generation;
    const struct picture_numbers n = {.memory_bytes = m->memory_bytes,
                                      .memory_free_bytes = m->memory_free_bytes,
                                      .cores = m->cores,
                                      .cores_free = m->cores_free,
                                      .cordoned = m->cordoned};
    picture_machine_set(p, i, &n);
    return FLY_OK;
}

void picture_snapshot_end(struct picture *p, uint32_t slice, uint64_t incarnation)
{
    struct picture_slice *s = picture_slice_find(p, slice);

    if (s != NULL && s->generation != 0) {
        picture_slice_empty(p, s, s->generation);
        s->incarnation = incarnation;
    }
}

/* --- what it tells --- */

uint32_t picture_count(const struct picture *p)
{
    return p->count;
}

uint32_t picture_machines(const struct picture *p)
{
    return p->machines;
}

uint64_t picture_refused(const struct picture *p)
{
    return p->refused;
}

uint64_t picture_hash(const struct picture *p)
{
    return p->hash;
}

uint32_t picture_region_count(const struct picture *p)
{
    return p->region_count;
}

const struct picture_region *picture_region_at(const struct picture *p, uint32_t i)
{
    FLY_CHECK(i < p->region_count);
    return &p->regions[i];
}

const uint8_t *picture_cells(const struct picture *p)
{
    return p->cells;
}

const uint8_t *picture_regions_of(const struct picture *p)
{
    return p->region_of;
}

uint8_t picture_cell(const struct picture *p, uint32_t index)
{
    return index < p->count ? p->cells[index] : 0;
}

uint8_t picture_machine_region(const struct picture *p, uint32_t index)
{
    return index < p->count ? p->region_of[index] : PICTURE_HOLE;
}

bool picture_machine(const struct picture *p, uint32_t index, struct picture_machine *out)
{
    if (index >= p->count || p->region_of[index] == PICTURE_HOLE) {
        return false;
    }
    const struct picture_numbers n = picture_machine_numbers(p, index);
    *out = (struct picture_machine){.slice = p->slices[p->rows[index].slice].tag,
                                    .region = p->region_of[index],
                                    .cores = n.cores,
                                    .cores_free = n.cores_free,
                                    .memory_bytes = n.memory_bytes,
                                    .memory_free_bytes = n.memory_free_bytes,
                                    .cordoned = n.cordoned};
    memcpy(out->name, p->rows[index].name, sizeof out->name);
    return true;
}

uint32_t picture_find(const struct picture *p, uint32_t slice, const char *name)
{
    const struct picture_slice *s = picture_slice_find(p, slice);

    return s != NULL ? picture_machine_find(p, s, name) : PICTURE_NONE;
}

/* --- what changed --- */

uint32_t picture_take_dirty(struct picture *p, struct picture_dirty *out, uint32_t max)
{
    uint32_t taken = 0;

    while (taken < max && p->queue_count > 0) {
        uint32_t i = p->queue[p->queue_first];
        struct picture_row *m = &p->rows[i];
        p->queue_first = p->queue_first + 1 < p->config.machines_max ? p->queue_first + 1 : 0;
        p->queue_count--;
        bool moved = (m->flags & PICTURE_ROW_NEW) != 0 || p->region_of[i] != m->told_region;
        if (moved || p->region_of[i] != PICTURE_HOLE) { /* else it came and went untold */
            out[taken++] = (struct picture_dirty){.index = i,
                                                  .cell = p->cells[i],
                                                  .region = p->region_of[i],
                                                  .cell_changed = p->cells[i] != m->told_cell,
                                                  .moved = moved};
        }
        m->told_cell = p->cells[i];
        m->told_region = p->region_of[i];
        m->flags = 0;
    }
    return taken;
}

void picture_tell_all(struct picture *p)
{
    for (uint32_t n = 0; n < p->queue_count; n++) {
        uint32_t at = p->queue_first + n;
        uint32_t i = p->queue[at < p->config.machines_max ? at : at - p->config.machines_max];
        p->rows[i].told_cell = p->cells[i];
        p->rows[i].told_region = p->region_of[i];
        p->rows[i].flags &= (uint8_t)~PICTURE_ROW_NEW;
    }
}

void picture_told(const struct picture *p, uint8_t *cells, uint8_t *regions)
{
    memcpy(cells, p->cells, p->count);
    memcpy(regions, p->region_of, p->count);
    for (uint32_t n = 0; n < p->queue_count; n++) {
        uint32_t at = p->queue_first + n;
        uint32_t i = p->queue[at < p->config.machines_max ? at : at - p->config.machines_max];
        cells[i] = p->rows[i].told_cell;
        regions[i] = p->rows[i].told_region;
    }
}

uint32_t picture_take_region(struct picture *p)
{
    for (uint32_t w = 0; w < PICTURE_REGION_WORDS; w++) {
        uint64_t bits = p->region_dirty[w];
        if (bits != 0) {
            p->region_dirty[w] = bits & (bits - 1);
            return w * 64 + (uint32_t)__builtin_ctzll(bits);
        }
    }
    return PICTURE_NONE;
}

bool picture_has_dirty(const struct picture *p)
{
    uint64_t regions = 0;

    for (uint32_t w = 0; w < PICTURE_REGION_WORDS; w++) {
        regions |= p->region_dirty[w];
    }
    return p->queue_count > 0 || regions != 0;
}
