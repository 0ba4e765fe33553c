/*
 * picture_table - the machines of a picture, the regions and their sums, and the hash over all.
 */
#include <string.h>
#include <strings.h>

#include "dash/core/picture_parts.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

/* --- the hash: FNV-1a 64 (Fowler, Noll, Vo; draft-eastlake-fnv) --- */

static uint64_t hash_byte(uint64_t hash, uint8_t byte)
{
    return (hash ^ byte) * UINT64_C(0x100000001b3);
}

static uint64_t hash_u32(uint64_t hash, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        hash = hash_byte(hash, (uint8_t)(value >> (8 * i)));
    }
    return hash;
}

static uint64_t hash_u64(uint64_t hash, uint64_t value)
{
    return hash_u32(hash_u32(hash, (uint32_t)value), (uint32_t)(value >> 32));
}

static uint64_t hash_name(uint32_t tag, const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (const char *c = name; *c != '\0'; c++) {
        hash = hash_byte(hash, (uint8_t)*c);
    }
    return hash_u32(hash_byte(hash, 0), tag);
}

static uint64_t hash_row(const struct picture *p, uint32_t index)
{
    const struct picture_row *m = &p->rows[index];
    uint64_t hash = hash_u32(hash_u32(m->name_hash, m->cores), m->cores_free);

    hash = hash_u64(hash_u64(hash, m->memory_bytes), m->memory_free_bytes);
    return hash_byte(hash, (p->cells[index] & PICTURE_CELL_CORDONED) != 0);
}

/* FNV alone leaves names that differ in a digit close together; the finalizer of splitmix64
 * (Steele, Lea, Flood; Stafford's variant 13) sends every bit, and the seed, to all. */
static uint32_t index_hash(const struct picture *p, uint64_t name_hash)
{
    uint64_t x = name_hash ^ p->config.hash_seed;

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(x ^ x >> 31);
}

/* --- regions --- */

void picture_region_touch(struct picture *p, uint32_t region)
{
    p->region_dirty[region / 64] |= UINT64_C(1) << region % 64;
}

uint32_t picture_region_find(const struct picture *p, const char *code)
{
    for (uint32_t i = 0; i < p->region_count; i++) {
        if (strcasecmp(p->regions[i].code, code) == 0) {
            return i;
        }
    }
    return PICTURE_NONE;
}

static uint32_t region_in(struct picture *p, const char *code)
{
    uint32_t region = picture_region_find(p, code);

    if (region == PICTURE_NONE && p->region_count < PICTURE_REGIONS_MAX) {
        region = p->region_count++;
        (void)fly_copy_string(p->regions[region].code, sizeof p->regions[region].code, code);
        picture_region_touch(p, region);
    }
    return region;
}

/* False: what the two say of the region is the same. */
static bool region_differs(const struct picture_region *a, const struct picture_region *b)
{
    return strcmp(a->code, b->code) != 0 || strcmp(a->city, b->city) != 0 ||
           strcmp(a->country, b->country) != 0 || strcmp(a->status, b->status) != 0 ||
           a->has_position != b->has_position || a->latitude != b->latitude ||
           a->longitude != b->longitude;
}

enum fly_status picture_put_region(struct picture *p, const struct picture_region *region,
                                   uint8_t *index)
{
    uint32_t place = region_in(p, region->code);

    if (place == PICTURE_NONE) {
        p->refused++;
        return FLY_RESOURCE_EXHAUSTED;
    }
    struct picture_region *r = &p->regions[place];
    if (region_differs(r, region)) {
        memcpy(r->code, region->code, sizeof r->code);
        memcpy(r->city, region->city, sizeof r->city);
        memcpy(r->country, region->country, sizeof r->country);
        memcpy(r->status, region->status, sizeof r->status);
        r->latitude = region->latitude;
        r->longitude = region->longitude;
        r->has_position = region->has_position;
        picture_region_touch(p, place);
    }
    if (index != NULL) {
        *index = (uint8_t)place;
    }
    return FLY_OK;
}

/* --- one machine --- */

/* 0..31, as the header says. */
static uint8_t level_of(uint64_t total, uint64_t free)
{
    if (free == 0) {
        return PICTURE_CELL_LEVEL;
    }
    if (free >= total) {
        return 0;
    }
    uint64_t taken = total - free;
    if (taken > UINT64_MAX / 29) { /* nothing real: only the product must not overflow */
        taken = (taken >> 5) - 1;
        total >>= 5;
    }
    return (uint8_t)(1 + 29 * taken / total);
}

static uint8_t cell_of(const struct picture_numbers *n)
{
    uint8_t cores = level_of(n->cores, n->cores_free);
    uint8_t memory = level_of(n->memory_bytes, n->memory_free_bytes);

    return (uint8_t)(PICTURE_CELL_MACHINE | (n->cordoned ? PICTURE_CELL_CORDONED : 0) |
                     (cores > memory ? cores : memory));
}

static void mark(struct picture *p, uint32_t index)
{
    struct picture_row *m = &p->rows[index];

    if ((m->flags & PICTURE_ROW_DIRTY) == 0) {
        m->flags |= PICTURE_ROW_DIRTY;
        uint32_t at = p->queue_first + p->queue_count++;
        p->queue[at < p->config.machines_max ? at : at - p->config.machines_max] = index;
    }
}

/* Into the sums of its region and the hash (sign 1), or out of them (-1). */
static void count(struct picture *p, uint32_t index, bool in)
{
    const struct picture_row *m = &p->rows[index];
    struct picture_region *r = &p->regions[p->region_of[index]];
    const uint64_t sign = in ? 1 : UINT64_MAX;
    bool cordoned = (p->cells[index] & PICTURE_CELL_CORDONED) != 0;

    r->machines += (uint32_t)sign;
    r->cores_total += sign * m->cores;
    r->memory_total_bytes += sign * m->memory_bytes;
    if (cordoned) {
        r->cordoned += (uint32_t)sign;
    } else {
        r->cores_free += sign * m->cores_free;
        r->memory_free_bytes += sign * m->memory_free_bytes;
    }
    p->hash += sign * hash_row(p, index);
    picture_region_touch(p, p->region_of[index]);
}

struct picture_numbers picture_machine_numbers(const struct picture *p, uint32_t index)
{
    const struct picture_row *m = &p->rows[index];

    return (struct picture_numbers){.memory_bytes = m->memory_bytes,
                                    .memory_free_bytes = m->memory_free_bytes,
                                    .cores = m->cores,
                                    .cores_free = m->cores_free,
                                    .cordoned = (p->cells[index] & PICTURE_CELL_CORDONED) != 0};
}

void picture_machine_set(struct picture *p, uint32_t index, const struct picture_numbers *numbers)
{
    struct picture_row *m = &p->rows[index];
    const struct picture_numbers was = picture_machine_numbers(p, index);

    if (p->cells[index] != 0) {
        if (was.cores == numbers->cores && was.cores_free == numbers->cores_free &&
            was.memory_bytes == numbers->memory_bytes &&
            was.memory_free_bytes == numbers->memory_free_bytes &&
            was.cordoned == numbers->cordoned) {
            return;
        }
        count(p, index, false);
    }
    m->cores = numbers->cores;
    m->cores_free = numbers->cores_free;
    m->memory_bytes = numbers->memory_bytes;
    m->memory_free_bytes = numbers->memory_free_bytes;
    p->cells[index] = cell_of(numbers);
    count(p, index, true);
    mark(p, index);
}

static uint32_t find(const struct picture *p, const struct picture_slice *s, const char *name,
                     uint64_t name_hash)
{
    struct index_cursor at = index_search(&p->by_name, index_hash(p, name_hash));

    for (;;) {
        uint32_t i = index_next(&p->by_name, &at);
        if (i == UINT32_MAX) {
            return PICTURE_NONE;
        }
        __builtin_prefetch(&p->rows[i]); /* both lines at once */
        if (p->rows[i].name_hash == name_hash && &p->slices[p->rows[i].slice] == s &&
            strcmp(p->rows[i].name, name) == 0) {
            return i;
        }
    }
}

uint32_t picture_machine_find(const struct picture *p, const struct picture_slice *s,
                              const char *name)
{
    return find(p, s, name, hash_name(s->tag, name));
}

static uint32_t machine_add(struct picture *p, struct picture_slice *s, const char *name,
                            uint64_t name_hash, uint8_t region)
{
    uint32_t i = p->hole;

    if (i != PICTURE_NONE) {
        p->hole = p->rows[i].next;
    } else if (p->count < p->config.machines_max) {
        i = p->count++;
        p->rows[i].told_region = PICTURE_HOLE;
    } else {
        return PICTURE_NONE;
    }
    struct picture_row *m = &p->rows[i];
    m->name_hash = name_hash;
    m->slice = (uint16_t)(s - p->slices);
    m->generation = s->generation;
    m->flags |= PICTURE_ROW_NEW;
    m->next = s->first;
    m->prev = PICTURE_NONE;
    if (s->first != PICTURE_NONE) {
        p->rows[s->first].prev = i;
    }
    s->first = i;
    (void)fly_copy_string(m->name, sizeof m->name, name);
    p->cells[i] = 0;
    p->region_of[i] = region;
    index_add(&p->by_name, index_hash(p, name_hash), i);
    picture_slice_enter(p, s, region);
    p->machines++;
    return i;
}

static void machine_move(struct picture *p, struct picture_slice *s, uint32_t index, uint8_t region)
{
    count(p, index, false);
    picture_slice_leave(p, s, p->region_of[index]);
    p->region_of[index] = region;
    picture_slice_enter(p, s, region);
    count(p, index, true);
    mark(p, index);
}

uint32_t picture_machine_in(struct picture *p, struct picture_slice *s, const char *name,
                            const char *region)
{
    uint64_t name_hash = hash_name(s->tag, name);
    uint32_t i = find(p, s, name, name_hash);
    /* most machines of a slice stand in one region: look there before asking all */
    uint32_t place = i != PICTURE_NONE ? p->region_of[i] : s->last_region;

    if (place == PICTURE_HOLE || strcasecmp(p->regions[place].code, region) != 0) {
        place = region_in(p, region);
    }
    if (place == PICTURE_NONE) {
        return PICTURE_NONE;
    }
    if (i == PICTURE_NONE) {
        return machine_add(p, s, name, name_hash, (uint8_t)place);
    }
    if (place != p->region_of[i]) {
        machine_move(p, s, i, (uint8_t)place);
    }
    return i;
}

void picture_machine_drop(struct picture *p, uint32_t index)
{
    struct picture_row *m = &p->rows[index];
    struct picture_slice *s = &p->slices[m->slice];

    count(p, index, false);
    picture_slice_leave(p, s, p->region_of[index]);
    index_drop(&p->by_name, index_hash(p, m->name_hash), index);
    if (m->next != PICTURE_NONE) {
        p->rows[m->next].prev = m->prev;
    }
    if (m->prev != PICTURE_NONE) {
        p->rows[m->prev].next = m->next;
    } else {
        s->first = m->next;
    }
    m->next = p->hole;
    p->hole = index;
    p->cells[index] = 0;
    p->region_of[index] = PICTURE_HOLE;
    m->flags &= (uint8_t)~PICTURE_ROW_NEW;
    p->machines--;
    mark(p, index);
}
