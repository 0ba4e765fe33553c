/*
 * choose - what is asked of the catalog: which slices a launch may try, where else there is room.
 */
#include <string.h>

#include "node/catalog/catalog.h"
#include "node/catalog/catalog_parts.h"
#include "proto/base/check.h"

/* How far a slice's owner may be relied on. */
enum trust { NOT_PLACED, DOUBTFUL, LIVE };

static enum trust slice_trust(const struct slice *s)
{
    if (!s->state.placeable) {
        return NOT_PLACED;
    }
    return s->state.doubtful || s->state.stale_ms > CATALOG_STALE_MS ? DOUBTFUL : LIVE;
}

bool catalog_region_open(const struct catalog_region *region)
{
    return strcmp(region->status, "maintenance") != 0 && strcmp(region->status, "offline") != 0;
}

/* Whether a machine of the shard seems to have room. */
static bool shard_fits(const struct catalog *c, struct shard *shard, uint32_t cores,
                       uint64_t memory_bytes)
{
    catalog_shard_refresh(c, shard);
    if (shard->best == CATALOG_NONE || c->machines[shard->best].cores_free < cores ||
        shard->memory_free_max_bytes < memory_bytes) {
        return false;
    }
    if (c->machines[shard->best].memory_free_bytes >= memory_bytes) {
        return true;
    }
    for (uint32_t i = shard->machines; i != CATALOG_NONE; i = c->machines[i].next) {
        const struct machine *m = &c->machines[i];
        if (!m->cordoned && m->cores_free >= cores && m->memory_free_bytes >= memory_bytes) {
            return true;
        }
    }
    return false;
}

/* Those of one trust behind the `found` that are in. */
static uint32_t add_slices(const struct catalog *c, uint32_t region, enum trust trust,
                           struct catalog_candidate *out, uint32_t found, uint32_t out_max)
{
    for (uint32_t i = c->region_shards[region]; i != CATALOG_NONE && found < out_max;
         i = c->shards[i].region_next) {
        struct shard *shard = &c->shards[i];
        const struct slice *s = &c->slices[shard->slice];
        catalog_shard_refresh(c, shard);
        if (slice_trust(s) == trust && shard->best != CATALOG_NONE) {
            const struct machine *best = &c->machines[shard->best];
            out[found++] =
                (struct catalog_candidate){.slice = s->tag,
                                           .cores_free_max = best->cores_free,
                                           .memory_free_max_bytes = best->memory_free_bytes,
                                           .doubtful = trust == DOUBTFUL};
        }
    }
    return found;
}

uint32_t catalog_slices(const struct catalog *c, const char *region, struct catalog_candidate *out,
                        uint32_t out_max)
{
    uint32_t place = catalog_region_place(c, region);

    FLY_CHECK(out_max <= CATALOG_CANDIDATES_MAX);
    if (place == c->region_count) {
        return 0;
    }
    uint32_t found = add_slices(c, place, LIVE, out, 0, out_max);
    return add_slices(c, place, DOUBTFUL, out, found, out_max);
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
    for (uint32_t i = c->region_shards[region]; i != CATALOG_NONE; i = c->shards[i].region_next) {
        struct shard *shard = &c->shards[i];
        if (slice_trust(&c->slices[shard->slice]) != NOT_PLACED &&
            shard_fits(c, shard, cores, memory_bytes)) {
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
        if (r != from && r->cores_free >= cores && catalog_region_open(r) &&
            (best == NULL || distance(from, r) < distance(from, best)) &&
            region_fits(c, i, cores, memory_bytes)) {
            best = r;
        }
    }
    return best;
}

/* Keeps each of a stream with the same chance (Vitter, algorithm R). */
struct reservoir {
    uint32_t kept[CATALOG_CHOICES_MAX];
    uint32_t count;
    uint32_t seen;
};

static void reservoir_offer(struct reservoir *r, uint32_t slice, struct fly_rng *rng, uint32_t max)
{
    r->seen++;
    if (r->count < max) {
        r->kept[r->count++] = slice;
        return;
    }
    uint64_t at = fly_rng_below(rng, r->seen);
    if (at < max) {
        r->kept[at] = slice;
    }
}

/* Moves what was kept behind out[chosen], in random order: the stream's order shows in the places
 * of a reservoir. */
static uint32_t reservoir_pour(struct reservoir *r, struct fly_rng *rng, uint32_t *out,
                               uint32_t chosen, uint32_t max)
{
    while (r->count > 0 && chosen < max) {
        uint32_t pick = (uint32_t)fly_rng_below(rng, r->count);
        out[chosen++] = r->kept[pick];
        r->kept[pick] = r->kept[--r->count];
    }
    return chosen;
}

uint32_t catalog_choose(const struct catalog *c, const char *region, uint32_t cores,
                        uint64_t memory_bytes, struct fly_rng *rng, uint32_t *out, uint32_t count)
{
    uint32_t place = catalog_region_place(c, region);
    struct reservoir live = {.count = 0};
    struct reservoir doubtful = {.count = 0};

    FLY_CHECK(count >= 1 && count <= CATALOG_CHOICES_MAX);
    if (place == c->region_count) {
        return 0;
    }
    for (uint32_t i = c->region_shards[place]; i != CATALOG_NONE; i = c->shards[i].region_next) {
        struct shard *shard = &c->shards[i];
        const struct slice *s = &c->slices[shard->slice];
        enum trust trust = slice_trust(s);
        if (trust != NOT_PLACED && shard_fits(c, shard, cores, memory_bytes)) {
            reservoir_offer(trust == LIVE ? &live : &doubtful, s->tag, rng, count);
        }
    }
    uint32_t chosen = reservoir_pour(&live, rng, out, 0, count);
    return reservoir_pour(&doubtful, rng, out, chosen, count);
}
