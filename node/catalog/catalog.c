#include "node/catalog/catalog.h"

#include <string.h>
#include <strings.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/index.h"

struct machine {
    uint32_t slice; /* 0: free */
    char name[EVENT_NAME_SIZE];
    uint32_t region;
    uint64_t seq; /* newest event folded in */
    uint32_t cores;
    uint32_t cores_free;
    uint64_t memory_bytes;
    uint64_t memory_free_bytes;
};

struct catalog {
    struct catalog_config config;
    struct catalog_region *regions;
    uint32_t region_count;
    struct machine *machines;
    uint32_t machine_count;
    uint32_t machine_slots; /* in use end before this */
    struct index by_name;
};

static size_t aligned(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

size_t catalog_size(const struct catalog_config *config)
{
    return aligned(sizeof(struct catalog)) +
           aligned(config->regions_max * sizeof(struct catalog_region)) +
           aligned(config->machines_max * sizeof(struct machine)) +
           index_size(config->machines_max);
}

struct catalog *catalog_init(void *memory, const struct catalog_config *config)
{
    struct catalog *c = memory;
    uint8_t *p = memory;

    c->config = *config;
    p += aligned(sizeof *c);
    c->regions = (struct catalog_region *)(void *)p;
    p += aligned(config->regions_max * sizeof(struct catalog_region));
    c->machines = (struct machine *)(void *)p;
    p += aligned(config->machines_max * sizeof(struct machine));
    index_init(&c->by_name, p, config->machines_max);
    return c;
}

uint32_t catalog_region_count(const struct catalog *c)
{
    return c->region_count;
}

const struct catalog_region *catalog_region_at(const struct catalog *c, uint32_t i)
{
    FLY_CHECK(i < c->region_count);
    return &c->regions[i];
}

static uint32_t region_slot(const struct catalog *c, const char *code)
{
    uint32_t i = 0;

    while (i < c->region_count && strcasecmp(c->regions[i].code, code) != 0) {
        i++;
    }
    return i;
}

const struct catalog_region *catalog_region_find(const struct catalog *c, const char *code)
{
    uint32_t i = region_slot(c, code);

    return i < c->region_count ? &c->regions[i] : NULL;
}

enum fly_status catalog_put_region(struct catalog *c, const struct catalog_region *region)
{
    uint32_t i = region_slot(c, region->code);

    if (i == c->config.regions_max) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    if (i == c->region_count) {
        c->region_count++;
        c->regions[i] = (struct catalog_region){.machines = 0};
    }
    struct catalog_region sums = c->regions[i];
    struct catalog_region *r = &c->regions[i];
    *r = *region;
    r->machines = sums.machines;
    r->cores_total = sums.cores_total;
    r->cores_free = sums.cores_free;
    r->memory_total_bytes = sums.memory_total_bytes;
    r->memory_free_bytes = sums.memory_free_bytes;
    return FLY_OK;
}

/* FNV-1a over slice, name and seed. Machine names come from inventories, not from users. */
static uint32_t hash_machine(const struct catalog *c, uint32_t slice, const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ c->config.hash_seed ^ slice;

    for (; *name != '\0'; name++) {
        h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    }
    return (uint32_t)(h ^ h >> 32);
}

static struct machine *machine_find(const struct catalog *c, uint32_t slice, const char *name)
{
    struct index_cursor at = index_search(&c->by_name, hash_machine(c, slice, name));

    for (;;) {
        uint32_t slot = index_next(&c->by_name, &at);
        if (slot == UINT32_MAX) {
            return NULL;
        }
        struct machine *m = &c->machines[slot];
        if (m->slice == slice && strcmp(m->name, name) == 0) {
            return m;
        }
    }
}

static struct machine *machine_add(struct catalog *c, const struct event *e)
{
    uint32_t slot = c->machine_slots;

    if (c->machine_count < c->machine_slots) { /* a hole is there */
        for (slot = 0; c->machines[slot].slice != 0; slot++) {
        }
    }
    uint32_t region = region_slot(c, e->region);
    if (slot == c->config.machines_max || region == c->config.regions_max) {
        return NULL;
    }
    if (region == c->region_count) {
        struct catalog_region bare = {.status = "operational"};
        memcpy(bare.code, e->region, sizeof bare.code);
        FLY_CHECK(catalog_put_region(c, &bare) == FLY_OK);
    }
    if (slot == c->machine_slots) {
        c->machine_slots++;
    }
    struct machine *m = &c->machines[slot];
    *m = (struct machine){.slice = e->slice, .region = region};
    memcpy(m->name, e->machine, sizeof m->name);
    index_add(&c->by_name, hash_machine(c, e->slice, m->name), slot);
    c->regions[region].machines++;
    c->machine_count++;
    return m;
}

/* Takes a machine's values out of its region's sums, or puts them in. */
static void count(struct catalog *c, const struct machine *m, bool in)
{
    struct catalog_region *r = &c->regions[m->region];
    uint64_t sign = in ? 1 : UINT64_MAX; /* modulo 2^64: adding all ones takes away */

    r->cores_total += sign * m->cores;
    r->cores_free += sign * m->cores_free;
    r->memory_total_bytes += sign * m->memory_bytes;
    r->memory_free_bytes += sign * m->memory_free_bytes;
}

enum fly_status catalog_apply(struct catalog *c, const struct event *e)
{
    struct machine *m = machine_find(c, e->slice, e->machine);
    bool of_machine = e->type == EVENT_MACHINE_ADDED || e->type == EVENT_MACHINE_RESIZED;

    if (e->slice == 0 || e->machine[0] == '\0' || (m != NULL && e->seq < m->seq)) {
        return FLY_OK; /* nothing about a machine, or older than what is known */
    }
    if (m == NULL) {
        if (!of_machine) {
            return FLY_OK; /* removed since */
        }
        m = machine_add(c, e);
        if (m == NULL) {
            return FLY_RESOURCE_EXHAUSTED;
        }
    }
    count(c, m, false);
    m->seq = e->seq;
    if (e->type == EVENT_MACHINE_REMOVED) {
        c->regions[m->region].machines--;
        index_drop(&c->by_name, hash_machine(c, m->slice, m->name), (uint32_t)(m - c->machines));
        *m = (struct machine){.slice = 0};
        c->machine_count--;
        return FLY_OK;
    }
    if (of_machine) {
        m->cores = e->cores;
        m->memory_bytes = e->memory_bytes;
    }
    m->cores_free = e->machine_cores_free;
    m->memory_free_bytes = e->machine_memory_free_bytes;
    count(c, m, true);
    return FLY_OK;
}

uint32_t catalog_slices(const struct catalog *c, const char *region, struct catalog_candidate *out,
                        uint32_t out_max)
{
    uint32_t wanted = region_slot(c, region);
    uint32_t found = 0;

    for (uint32_t slot = 0; slot < c->machine_slots; slot++) {
        const struct machine *m = &c->machines[slot];
        if (m->slice == 0 || m->region != wanted) {
            continue;
        }
        uint32_t i = 0;
        while (i < found && out[i].slice != m->slice) {
            i++;
        }
        if (i == out_max) {
            continue;
        }
        if (i == found) {
            out[found++] = (struct catalog_candidate){.slice = m->slice};
        }
        if (m->cores_free > out[i].cores_free_max ||
            (m->cores_free == out[i].cores_free_max &&
             m->memory_free_bytes > out[i].memory_free_max_bytes)) {
            out[i].cores_free_max = m->cores_free;
            out[i].memory_free_max_bytes = m->memory_free_bytes;
        }
    }
    return found;
}

/* Squared distance on the equirectangular projection, in degrees of latitude: orders places well
 * enough for a hint. */
static double distance(const struct catalog_region *a, const struct catalog_region *b)
{
    double north = a->latitude - b->latitude;
    double east = a->longitude - b->longitude;

    east = east > 180 ? east - 360 : east < -180 ? east + 360 : east;
    double shrink = 1 - (a->latitude + b->latitude) * (a->latitude + b->latitude) / 32400;
    return north * north + east * east * shrink;
}

static bool region_fits(const struct catalog *c, uint32_t region, uint32_t cores,
                        uint64_t memory_bytes)
{
    for (uint32_t slot = 0; slot < c->machine_slots; slot++) {
        const struct machine *m = &c->machines[slot];
        if (m->slice != 0 && m->region == region && m->cores_free >= cores &&
            m->memory_free_bytes >= memory_bytes) {
            return true;
        }
    }
    return false;
}

const struct catalog_region *catalog_nearest_fit(const struct catalog *c, const char *region,
                                                 uint32_t cores, uint64_t memory_bytes)
{
    const struct catalog_region *from = catalog_region_find(c, region);
    const struct catalog_region *best = NULL;

    for (uint32_t i = 0; from != NULL && i < c->region_count; i++) {
        const struct catalog_region *r = &c->regions[i];
        if (r != from && r->cores_free >= cores &&
            (best == NULL || distance(from, r) < distance(from, best)) &&
            region_fits(c, i, cores, memory_bytes)) {
            best = r;
        }
    }
    return best;
}

uint32_t catalog_choose(const struct catalog *c, const char *region, uint32_t cores,
                        uint64_t memory_bytes, struct fly_rng *rng, uint32_t *out, uint32_t count)
{
    struct catalog_candidate all[CATALOG_CANDIDATES_MAX];
    uint32_t found = catalog_slices(c, region, all, CATALOG_CANDIDATES_MAX);
    uint32_t feasible = 0;
    uint32_t chosen = 0;

    for (uint32_t i = 0; i < found; i++) {
        if (all[i].cores_free_max >= cores && all[i].memory_free_max_bytes >= memory_bytes) {
            all[feasible++] = all[i];
        }
    }
    while (chosen < count && chosen < feasible) { /* Fisher and Yates, the first `count` steps */
        uint32_t pick = chosen + (uint32_t)fly_rng_below(rng, feasible - chosen);
        struct catalog_candidate taken = all[pick];
        all[pick] = all[chosen];
        all[chosen] = taken;
        out[chosen++] = taken.slice;
    }
    return chosen;
}
