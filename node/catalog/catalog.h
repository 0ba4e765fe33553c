/*
 * catalog - this node's own, possibly stale, picture of every machine of the cluster by region.
 *
 * A hint, never a promise (DESIGN 3.1): the owner decides. Fed by the regions file and by slices'
 * events, whose values are absolute: applying one twice, or a newer one first, does no harm beyond
 * what seq sorts out. Pure; memory is one zeroed block from the caller.
 */
#ifndef FLY_CATALOG_CATALOG_H
#define FLY_CATALOG_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/rng.h"
#include "proto/base/status.h"
#include "proto/wire/event.h"

struct catalog;

struct catalog_config {
    uint32_t regions_max;
    uint32_t machines_max;
    uint64_t hash_seed;
};

struct catalog_region {
    char code[EVENT_REGION_SIZE];
    char city[64];
    char country[64];
    char status[16];
    double latitude;
    double longitude;
    bool has_position;
    uint32_t machines;
    uint64_t cores_total;
    uint64_t cores_free;
    uint64_t memory_total_bytes;
    uint64_t memory_free_bytes;
};

/* A slice that has machines in a region. */
struct catalog_candidate {
    uint32_t slice;
    uint32_t cores_free_max;        /* on the machine with the most free cores */
    uint64_t memory_free_max_bytes; /* on that machine */
};

enum { CATALOG_CANDIDATES_MAX = 64 };

size_t catalog_size(const struct catalog_config *config);
struct catalog *catalog_init(void *memory, const struct catalog_config *config);

/* Adds a region or replaces its description; the sums are the catalog's own. RESOURCE_EXHAUSTED:
 * regions_max. */
enum fly_status catalog_put_region(struct catalog *c, const struct catalog_region *region);
/* Folds one event in. An unknown region is added bare. RESOURCE_EXHAUSTED: a table is full; the
 * event is not counted. */
enum fly_status catalog_apply(struct catalog *c, const struct event *event);

uint32_t catalog_region_count(const struct catalog *c);
/* In the order in which they were put; borrowed until the next put. */
const struct catalog_region *catalog_region_at(const struct catalog *c, uint32_t i);
/* Any case; NULL: not known. O(regions). */
const struct catalog_region *catalog_region_find(const struct catalog *c, const char *code);

/* Slices with machines in the region, each once, at most out_max (≤ CATALOG_CANDIDATES_MAX).
 * O(machines of the cluster). */
uint32_t catalog_slices(const struct catalog *c, const char *region, struct catalog_candidate *out,
                        uint32_t out_max);
/* The region nearest to this one where some machine seems to have room for the spec; NULL: none.
 * O(machines). */
const struct catalog_region *catalog_nearest_fit(const struct catalog *c, const char *region,
                                                 uint32_t cores, uint64_t memory_bytes);
/* Up to `count` slices that seem to have room for the spec, by random choice among them. */
uint32_t catalog_choose(const struct catalog *c, const char *region, uint32_t cores,
                        uint64_t memory_bytes, struct fly_rng *rng, uint32_t *out, uint32_t count);

#endif
