/*
 * table - the machines of a catalog, their shards and what is summed up over both.
 */
#include <string.h>
#include <strings.h>

#include "node/catalog/catalog_parts.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

/* --- shards --- */

void catalog_region_refresh(struct catalog *c, uint32_t region)
{
    int64_t most = 0;

    for (uint32_t i = c->region_shards[region]; i != CATALOG_NONE; i = c->shards[i].region_next) {
        int64_t stale_ms = c->slices[c->shards[i].slice].state.stale_ms;
        most = stale_ms > most ? stale_ms : most;
    }
    c->regions[region].stale_ms = most;
}

static struct shard *shard_find(const struct catalog *c, const struct slice *s, uint32_t region)
{
    uint32_t i = s->shards;

    while (i != CATALOG_NONE && c->shards[i].region != region) {
        i = c->shards[i].slice_next;
    }
    return i != CATALOG_NONE ? &c->shards[i] : NULL;
}

/* There is always room: a shard has a machine, and there is room for as many. */
static struct shard *shard_add(struct catalog *c, struct slice *s, uint32_t region)
{
    uint32_t place = c->shard_free;

    if (place != CATALOG_NONE) {
        c->shard_free = c->shards[place].slice_next;
    } else {
        place = c->shard_places++;
        FLY_CHECK(place < c->config.machines_max);
    }
    struct shard *shard = &c->shards[place];
    *shard = (struct shard){.slice = (uint32_t)(s - c->slices),
                            .region = region,
                            .machines = CATALOG_NONE,
                            .region_next = c->region_shards[region],
                            .region_prev = CATALOG_NONE,
                            .slice_next = s->shards,
                            .slice_prev = CATALOG_NONE,
                            .best = CATALOG_NONE};
    if (shard->region_next != CATALOG_NONE) {
        c->shards[shard->region_next].region_prev = place;
    }
    if (shard->slice_next != CATALOG_NONE) {
        c->shards[shard->slice_next].slice_prev = place;
    }
    c->region_shards[region] = place;
    s->shards = place;
    if (s->state.stale_ms > c->regions[region].stale_ms) {
        c->regions[region].stale_ms = s->state.stale_ms;
    }
    return shard;
}

static void shard_drop(struct catalog *c, struct shard *shard)
{
    uint32_t place = (uint32_t)(shard - c->shards);

    if (shard->region_next != CATALOG_NONE) {
        c->shards[shard->region_next].region_prev = shard->region_prev;
    }
    if (shard->region_prev != CATALOG_NONE) {
        c->shards[shard->region_prev].region_next = shard->region_next;
    } else {
        c->region_shards[shard->region] = shard->region_next;
    }
    if (shard->slice_next != CATALOG_NONE) {
        c->shards[shard->slice_next].slice_prev = shard->slice_prev;
    }
    if (shard->slice_prev != CATALOG_NONE) {
        c->shards[shard->slice_prev].slice_next = shard->slice_next;
    } else {
        c->slices[shard->slice].shards = shard->slice_next;
    }
    catalog_region_refresh(c, shard->region);
    *shard = (struct shard){.slice = CATALOG_NONE, .slice_next = c->shard_free};
    c->shard_free = place;
}

static bool roomier(const struct machine *a, const struct machine *b)
{
    return a->cores_free != b->cores_free ? a->cores_free > b->cores_free
                                          : a->memory_free_bytes > b->memory_free_bytes;
}

/* A machine's values are in. */
static void shard_raise(const struct catalog *c, struct shard *shard, const struct machine *m)
{
    if (shard->dirty || m->cordoned) {
        return;
    }
    if (shard->best == CATALOG_NONE || roomier(m, &c->machines[shard->best])) {
        shard->best = (uint32_t)(m - c->machines);
    }
    if (m->memory_free_bytes > shard->memory_free_max_bytes) {
        shard->memory_free_max_bytes = m->memory_free_bytes;
    }
}

/* A machine's values are about to go: was the best or the maximum its own? */
static void shard_lower(const struct catalog *c, struct shard *shard, const struct machine *m)
{
    if (!m->cordoned && (shard->best == (uint32_t)(m - c->machines) ||
                         shard->memory_free_max_bytes == m->memory_free_bytes)) {
        shard->dirty = true;
    }
}

void catalog_shard_refresh(const struct catalog *c, struct shard *shard)
{
    if (!shard->dirty) {
        return;
    }
    shard->dirty = false;
    shard->best = CATALOG_NONE;
    shard->memory_free_max_bytes = 0;
    for (uint32_t i = shard->machines; i != CATALOG_NONE; i = c->machines[i].next) {
        shard_raise(c, shard, &c->machines[i]);
    }
}

/* --- machines --- */

/* FNV-1a over name and seed. Machine names come from inventories, not from users. */
uint32_t catalog_hash_name(const struct catalog *c, const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ c->config.hash_seed;

    for (; *name != '\0'; name++) {
        h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    }
    return (uint32_t)(h ^ h >> 32);
}

struct machine *catalog_machine_find(const struct catalog *c, uint32_t tag, const char *name)
{
    struct index_cursor at = index_search(&c->by_name, catalog_hash_name(c, name));

    for (;;) {
        uint32_t place = index_next(&c->by_name, &at);
        if (place == UINT32_MAX) {
            return NULL;
        }
        struct machine *m = &c->machines[place];
        if (c->slices[c->shards[m->shard].slice].tag == tag && strcmp(m->name, name) == 0) {
            return m;
        }
    }
}

void catalog_count(struct catalog *c, const struct machine *m, bool in)
{
    struct shard *shard = &c->shards[m->shard];
    struct catalog_region *r = &c->regions[shard->region];
    struct catalog_slice_sums *s = &c->slices[shard->slice].sums;
    uint64_t sign = in ? 1 : UINT64_MAX; /* modulo 2^64: adding all ones takes away */
    uint64_t free_sign = m->cordoned ? 0 : sign;

    r->cordoned += m->cordoned ? (uint32_t)sign : 0;
    r->cores_total += sign * m->cores;
    r->cores_free += free_sign * m->cores_free;
    r->memory_total_bytes += sign * m->memory_bytes;
    r->memory_free_bytes += free_sign * m->memory_free_bytes;
    s->cordoned += m->cordoned ? (uint32_t)sign : 0;
    s->cores_total += sign * m->cores;
    s->cores_free += free_sign * m->cores_free;
    s->memory_total_bytes += sign * m->memory_bytes;
    s->memory_free_bytes += free_sign * m->memory_free_bytes;
    if (in) {
        shard_raise(c, shard, m);
    } else {
        shard_lower(c, shard, m);
    }
}

static uint32_t take_place(struct catalog *c)
{
    uint32_t place = c->machine_free;

    if (place != CATALOG_NONE) {
        c->machine_free = c->machines[place].next;
        return place;
    }
    return c->machine_places < c->config.machines_max ? c->machine_places++ : CATALOG_NONE;
}

/* Without any cores or memory yet; NULL: a table is full, and nothing was changed but for a bare
 * region. */
static struct machine *machine_add(struct catalog *c, struct slice *s, const char *name,
                                   const char *region_code)
{
    uint32_t region = catalog_region_place(c, region_code);

    if (region == c->region_count) {
        struct catalog_region bare = {.status = "operational"};
        (void)fly_copy_string(bare.code, sizeof bare.code, region_code);
        if (catalog_put_region(c, &bare) != FLY_OK) {
            return NULL;
        }
    }
    uint32_t place = take_place(c);
    if (place == CATALOG_NONE) {
        return NULL;
    }
    struct shard *shard = shard_find(c, s, region);
    if (shard == NULL) {
        shard = shard_add(c, s, region);
    }
    struct machine *m = &c->machines[place];
    *m = (struct machine){.shard = (uint32_t)(shard - c->shards),
                          .next = shard->machines,
                          .prev = CATALOG_NONE,
                          .generation = s->generation};
    (void)fly_copy_string(m->name, sizeof m->name, name);
    if (m->next != CATALOG_NONE) {
        c->machines[m->next].prev = place;
    }
    shard->machines = place;
    index_add(&c->by_name, catalog_hash_name(c, m->name), place);
    c->regions[region].machines++;
    s->sums.machines++;
    c->version++;
    return m;
}

void catalog_machine_drop(struct catalog *c, struct machine *m)
{
    uint32_t place = (uint32_t)(m - c->machines);
    struct shard *shard = &c->shards[m->shard];

    index_drop(&c->by_name, catalog_hash_name(c, m->name), place);
    if (m->next != CATALOG_NONE) {
        c->machines[m->next].prev = m->prev;
    }
    if (m->prev != CATALOG_NONE) {
        c->machines[m->prev].next = m->next;
    } else {
        shard->machines = m->next;
    }
    c->regions[shard->region].machines--;
    c->slices[shard->slice].sums.machines--;
    if (shard->machines == CATALOG_NONE) {
        shard_drop(c, shard);
    }
    *m = (struct machine){.shard = CATALOG_NONE, .next = c->machine_free};
    c->machine_free = place;
    c->version++;
}

void catalog_drop_older(struct catalog *c, const struct slice *s, uint32_t generation)
{
    uint32_t shard = s->shards;

    while (shard != CATALOG_NONE) {
        uint32_t next_shard = c->shards[shard].slice_next;
        uint32_t i = c->shards[shard].machines;
        while (i != CATALOG_NONE) {
            struct machine *m = &c->machines[i];
            i = m->next;
            if (generation == 0 || m->generation != generation) {
                catalog_count(c, m, false);
                catalog_machine_drop(c, m);
            }
        }
        shard = next_shard;
    }
}

struct machine *catalog_machine_in(struct catalog *c, struct slice *s, const char *name,
                                   const char *region)
{
    struct machine *m = catalog_machine_find(c, s->tag, name);

    if (m != NULL && strcasecmp(c->regions[c->shards[m->shard].region].code, region) != 0) {
        catalog_count(c, m, false); /* taken out and put in elsewhere since */
        catalog_machine_drop(c, m);
        m = NULL;
    }
    return m != NULL ? m : machine_add(c, s, name, region);
}
