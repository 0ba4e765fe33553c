#include "node/catalog/catalog.h"

#include <string.h>
#include <strings.h>

#include "node/catalog/catalog_parts.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

static size_t aligned(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

size_t catalog_size(const struct catalog_config *config)
{
    return aligned(sizeof(struct catalog)) +
           aligned(config->regions_max * sizeof(struct catalog_region)) +
           aligned(config->regions_max * sizeof(uint32_t)) +
           aligned(config->machines_max * sizeof(struct machine)) +
           aligned(config->machines_max * sizeof(struct shard)) +
           aligned(CATALOG_SLICES_MAX * sizeof(struct slice)) +
           aligned(index_size(CATALOG_SLICES_MAX)) + index_size(config->machines_max);
}

struct catalog *catalog_init(void *memory, const struct catalog_config *config)
{
    struct catalog *c = memory;
    uint8_t *p = memory;

    c->config = *config;
    p += aligned(sizeof *c);
    c->regions = (struct catalog_region *)(void *)p;
    p += aligned(config->regions_max * sizeof(struct catalog_region));
    c->region_shards = (uint32_t *)(void *)p;
    p += aligned(config->regions_max * sizeof(uint32_t));
    c->machines = (struct machine *)(void *)p;
    p += aligned(config->machines_max * sizeof(struct machine));
    c->shards = (struct shard *)(void *)p;
    p += aligned(config->machines_max * sizeof(struct shard));
    c->slices = (struct slice *)(void *)p;
    p += aligned(CATALOG_SLICES_MAX * sizeof(struct slice));
    index_init(&c->by_tag, p, CATALOG_SLICES_MAX);
    p += aligned(index_size(CATALOG_SLICES_MAX));
    index_init(&c->by_name, p, config->machines_max);
    c->machine_free = CATALOG_NONE;
    c->shard_free = CATALOG_NONE;
    return c;
}

/* --- regions --- */

uint32_t catalog_region_count(const struct catalog *c)
{
    return c->region_count;
}

const struct catalog_region *catalog_region_at(const struct catalog *c, uint32_t i)
{
    FLY_CHECK(i < c->region_count);
    return &c->regions[i];
}

uint32_t catalog_region_place(const struct catalog *c, const char *code)
{
    uint32_t i = 0;

    while (i < c->region_count && strcasecmp(c->regions[i].code, code) != 0) {
        i++;
    }
    return i;
}

const struct catalog_region *catalog_region_find(const struct catalog *c, const char *code)
{
    uint32_t i = catalog_region_place(c, code);

    return i < c->region_count ? &c->regions[i] : NULL;
}

enum fly_status catalog_put_region(struct catalog *c, const struct catalog_region *region)
{
    uint32_t i = catalog_region_place(c, region->code);

    if (i == c->config.regions_max) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    if (i == c->region_count) {
        c->region_count++;
        c->regions[i] = (struct catalog_region){.machines = 0};
        c->region_shards[i] = CATALOG_NONE;
    }
    struct catalog_region sums = c->regions[i];
    struct catalog_region *r = &c->regions[i];
    *r = *region;
    r->machines = sums.machines;
    r->cordoned = sums.cordoned;
    r->cores_total = sums.cores_total;
    r->cores_free = sums.cores_free;
    r->memory_total_bytes = sums.memory_total_bytes;
    r->memory_free_bytes = sums.memory_free_bytes;
    r->stale_ms = sums.stale_ms;
    return FLY_OK;
}

/* --- slices --- */

/* Fibonacci hashing; tags are allotted at random. */
static uint32_t hash_tag(const struct catalog *c, uint32_t tag)
{
    return (uint32_t)((tag ^ c->config.hash_seed) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

struct slice *catalog_slice_find(const struct catalog *c, uint32_t tag)
{
    struct index_cursor at = index_search(&c->by_tag, hash_tag(c, tag));

    for (;;) {
        uint32_t place = index_next(&c->by_tag, &at);
        if (place == UINT32_MAX) {
            return NULL;
        }
        if (c->slices[place].tag == tag) {
            return &c->slices[place];
        }
    }
}

static struct slice *slice_add(struct catalog *c, uint32_t tag)
{
    uint32_t place = 0;

    while (place < c->slice_places && c->slices[place].tag != 0) {
        place++;
    }
    if (place == CATALOG_SLICES_MAX) {
        return NULL;
    }
    if (place == c->slice_places) {
        c->slice_places++;
    }
    struct slice *s = &c->slices[place];
    *s = (struct slice){.tag = tag, .state = {.placeable = true}, .shards = CATALOG_NONE};
    index_add(&c->by_tag, hash_tag(c, tag), place);
    return s;
}

void catalog_set_slice(struct catalog *c, uint32_t slice, const struct catalog_slice_state *state)
{
    struct slice *s = catalog_slice_find(c, slice);

    FLY_CHECK(slice != 0);
    s = s != NULL ? s : slice_add(c, slice);
    if (s == NULL) {
        return;
    }
    int64_t was_ms = s->state.stale_ms;
    c->version += s->state.founded_ms != state->founded_ms;
    s->state = *state;
    for (uint32_t i = s->shards; i != CATALOG_NONE; i = c->shards[i].slice_next) {
        struct catalog_region *r = &c->regions[c->shards[i].region];
        if (state->stale_ms >= r->stale_ms) {
            r->stale_ms = state->stale_ms;
        } else if (was_ms == r->stale_ms) {
            catalog_region_refresh(c, c->shards[i].region);
        }
    }
}

bool catalog_slice_sums(const struct catalog *c, uint32_t slice, struct catalog_slice_sums *out)
{
    const struct slice *s = catalog_slice_find(c, slice);

    if (s != NULL) {
        *out = s->sums;
    }
    return s != NULL;
}

bool catalog_slice_read(const struct catalog *c, uint32_t slice, struct catalog_slice_state *out)
{
    const struct slice *s = catalog_slice_find(c, slice);

    if (s != NULL) {
        *out = s->state;
    }
    return s != NULL;
}

int64_t catalog_slice_founded_ms(const struct catalog *c, uint32_t slice)
{
    const struct slice *s = catalog_slice_find(c, slice);

    return s != NULL ? s->state.founded_ms : 0;
}

void catalog_reset_slice(struct catalog *c, uint32_t slice)
{
    struct slice *s = catalog_slice_find(c, slice);

    if (s != NULL) {
        catalog_drop_older(c, s, 0);
        s->incarnation = 0;
    }
}

void catalog_drop_slice(struct catalog *c, uint32_t slice)
{
    struct slice *s = catalog_slice_find(c, slice);

    if (s != NULL) {
        catalog_drop_older(c, s, 0);
        index_drop(&c->by_tag, hash_tag(c, slice), (uint32_t)(s - c->slices));
        *s = (struct slice){.shards = CATALOG_NONE};
        c->version++;
    }
}

/* The slice of something new; empties it when its log is another one. */
static struct slice *slice_of_log(struct catalog *c, uint32_t tag, uint64_t incarnation)
{
    struct slice *s = catalog_slice_find(c, tag);

    if (s == NULL) {
        s = slice_add(c, tag);
    }
    if (s != NULL && s->incarnation != incarnation) {
        if (s->incarnation != 0) {
            catalog_drop_older(c, s, 0);
        }
        s->incarnation = incarnation;
    }
    return s;
}

/* An event of a machine that is there and whose seq is right. */
static void fold(struct catalog *c, struct machine *m, const struct event *e)
{
    catalog_count(c, m, false);
    m->seq = e->seq;
    if (e->type == EVENT_MACHINE_REMOVED) {
        catalog_machine_drop(c, m);
        return;
    }
    if (e->type == EVENT_MACHINE_ADDED || e->type == EVENT_MACHINE_RESIZED) {
        m->cores = e->cores;
        m->memory_bytes = e->memory_bytes;
    }
    if (e->type == EVENT_MACHINE_ADDED) {
        m->cordoned = false; /* as every new one is */
    } else if (e->type == EVENT_MACHINE_CORDONED || e->type == EVENT_MACHINE_UNCORDONED) {
        m->cordoned = e->type == EVENT_MACHINE_CORDONED;
        c->version++;
    }
    m->cores_free = e->machine_cores_free;
    m->memory_free_bytes = e->machine_memory_free_bytes;
    catalog_count(c, m, true);
}

static bool of_machine(const struct event *e)
{
    return e->slice != 0 && e->machine[0] != '\0' && e->type >= EVENT_MACHINE_ADDED &&
           e->type <= EVENT_MACHINE_UNCORDONED;
}

enum fly_status catalog_apply(struct catalog *c, const struct event *e)
{
    if (!of_machine(e)) {
        return FLY_OK; /* nothing about a machine, or a newer node's */
    }
    struct slice *s = slice_of_log(c, e->slice, e->incarnation);
    if (s == NULL) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    struct machine *m = catalog_machine_find(c, e->slice, e->machine);
    if (m != NULL && e->seq < m->seq) {
        return FLY_OK; /* older than what is known */
    }
    if (e->type == EVENT_MACHINE_ADDED || (m == NULL && e->type == EVENT_MACHINE_RESIZED)) {
        m = catalog_machine_in(c, s, e->machine, e->region);
        if (m == NULL) {
            return FLY_RESOURCE_EXHAUSTED;
        }
    }
    if (m != NULL) { /* else it was removed since */
        fold(c, m, e);
    }
    return FLY_OK;
}

/* --- snapshots --- */

void catalog_snapshot_begin(struct catalog *c, uint32_t slice)
{
    struct slice *s = catalog_slice_find(c, slice);

    s = s != NULL ? s : slice_add(c, slice);
    if (s != NULL) {
        s->generation = s->generation == UINT32_MAX ? 1 : s->generation + 1;
        s->incarnation = 0; /* it may be of another log: the next event tells */
    }
}

enum fly_status catalog_snapshot_put(struct catalog *c, uint32_t slice,
                                     const struct catalog_machine *from)
{
    struct slice *s = catalog_slice_find(c, slice);

    FLY_CHECK(s == NULL || s->generation != 0);
    struct machine *m = s != NULL ? catalog_machine_in(c, s, from->name, from->region) : NULL;
    if (m == NULL) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    catalog_count(c, m, false);
    c->version += m->cordoned != from->cordoned;
    m->generation = s->generation;
    m->seq = 0; /* until the end tells it */
    m->cores = from->cores;
    m->cores_free = from->cores_free;
    m->memory_bytes = from->memory_bytes;
    m->memory_free_bytes = from->memory_free_bytes;
    m->cordoned = from->cordoned;
    catalog_count(c, m, true);
    return FLY_OK;
}

void catalog_snapshot_end(struct catalog *c, uint32_t slice, uint64_t seq)
{
    const struct slice *s = catalog_slice_find(c, slice);

    if (s == NULL || s->generation == 0) {
        return;
    }
    catalog_drop_older(c, s, s->generation);
    for (uint32_t shard = s->shards; shard != CATALOG_NONE; shard = c->shards[shard].slice_next) {
        for (uint32_t i = c->shards[shard].machines; i != CATALOG_NONE; i = c->machines[i].next) {
            c->machines[i].seq = seq;
        }
    }
}

/* --- reading --- */

/* The place behind `place` in the slice's lists; CATALOG_NONE: it was the last, or is gone. */
static uint32_t place_after(const struct catalog *c, const struct slice *s, uint32_t place)
{
    const struct machine *m = &c->machines[place];

    if (m->shard == CATALOG_NONE || &c->slices[c->shards[m->shard].slice] != s) {
        return CATALOG_NONE;
    }
    if (m->next != CATALOG_NONE) {
        return m->next;
    }
    uint32_t shard = c->shards[m->shard].slice_next;
    return shard != CATALOG_NONE ? c->shards[shard].machines : CATALOG_NONE;
}

bool catalog_machine_next(const struct catalog *c, uint32_t slice, uint64_t *cursor,
                          struct catalog_machine *out)
{
    const struct slice *s = catalog_slice_find(c, slice);
    uint32_t place = CATALOG_NONE;

    if (s != NULL && *cursor == 0) {
        place = s->shards != CATALOG_NONE ? c->shards[s->shards].machines : CATALOG_NONE;
    } else if (s != NULL && *cursor <= c->machine_places) {
        place = place_after(c, s, (uint32_t)(*cursor - 1));
    }
    if (place == CATALOG_NONE) {
        *cursor = UINT64_MAX;
        return false;
    }
    const struct machine *m = &c->machines[place];
    *out = (struct catalog_machine){.cores = m->cores,
                                    .cores_free = m->cores_free,
                                    .memory_bytes = m->memory_bytes,
                                    .memory_free_bytes = m->memory_free_bytes,
                                    .cordoned = m->cordoned};
    memcpy(out->name, m->name, sizeof out->name);
    memcpy(out->region, c->regions[c->shards[m->shard].region].code, sizeof out->region);
    *cursor = (uint64_t)place + 1;
    return true;
}

uint32_t catalog_machine_slices(const struct catalog *c, const char *name, uint32_t *out,
                                uint32_t max)
{
    struct index_cursor at = index_search(&c->by_name, catalog_hash_name(c, name));
    uint32_t found = 0;

    while (found < max) {
        uint32_t place = index_next(&c->by_name, &at);
        if (place == UINT32_MAX) {
            break;
        }
        const struct machine *m = &c->machines[place];
        if (strcmp(m->name, name) == 0) {
            out[found++] = c->slices[c->shards[m->shard].slice].tag;
        }
    }
    return found;
}

uint64_t catalog_version(const struct catalog *c)
{
    return c->version;
}
