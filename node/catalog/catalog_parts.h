/*
 * catalog_parts - the insides of a catalog: catalog.c (what is told and read), table.c (machines,
 * shards, sums) and choose.c (what is asked on the way of a launch).
 */
#ifndef FLY_CATALOG_CATALOG_PARTS_H
#define FLY_CATALOG_CATALOG_PARTS_H

#include "node/catalog/catalog.h"
#include "proto/base/index.h"

/* No machine, shard or slice. */
#define CATALOG_NONE UINT32_MAX

struct machine {
    uint32_t shard; /* CATALOG_NONE: free */
    uint32_t next;  /* of its shard; of the free ones */
    uint32_t prev;
    uint32_t generation; /* snapshot of its slice that last had it */
    uint64_t seq;        /* newest event folded in */
    uint32_t cores;
    uint32_t cores_free;
    uint64_t memory_bytes;
    uint64_t memory_free_bytes;
    bool cordoned;
    char name[EVENT_NAME_SIZE];
};

/* The machines of one slice in one region; there is none without a machine. */
struct shard {
    uint32_t slice; /* place; CATALOG_NONE: free */
    uint32_t region;
    uint32_t machines; /* first of the list */
    uint32_t region_next, region_prev;
    uint32_t slice_next, slice_prev; /* slice_next: of the free ones too */
    /* Of the machines that are not cordoned, unless `dirty`. */
    bool dirty;
    uint32_t best; /* most free cores, then memory; CATALOG_NONE: all are cordoned */
    uint64_t memory_free_max_bytes;
};

struct slice {
    uint32_t tag;         /* 0: free */
    uint64_t incarnation; /* of its events; 0: the next event tells */
    struct catalog_slice_state state;
    struct catalog_slice_sums sums;
    uint32_t shards;
    uint32_t generation; /* of its snapshots; 0: none was begun */
};

struct catalog {
    struct catalog_config config;
    struct catalog_region *regions;
    uint32_t *region_shards; /* first of each region */
    uint32_t region_count;
    struct machine *machines;
    uint32_t machine_places; /* in use end before this */
    uint32_t machine_free;
    struct shard *shards;
    uint32_t shard_places;
    uint32_t shard_free;
    struct slice *slices; /* CATALOG_SLICES_MAX */
    uint32_t slice_places;
    struct index by_tag;
    struct index by_name;
    uint64_t version;
};

struct slice *catalog_slice_find(const struct catalog *c, uint32_t tag);
/* The region's place, or region_count. */
uint32_t catalog_region_place(const struct catalog *c, const char *code);

/* table.c */

/* Makes the region's stale_ms true again. */
void catalog_region_refresh(struct catalog *c, uint32_t region);
/* Makes `best` and the maximum true again. */
void catalog_shard_refresh(const struct catalog *c, struct shard *shard);
uint32_t catalog_hash_name(const struct catalog *c, const char *name);
struct machine *catalog_machine_find(const struct catalog *c, uint32_t tag, const char *name);
/* The same, added without cores or memory when it is not there, or is in another region. NULL: a
 * table is full, and nothing was changed but for a bare region. */
struct machine *catalog_machine_in(struct catalog *c, struct slice *s, const char *name,
                                   const char *region);
/* Takes a machine's values out of all sums, or puts them in: around every change of them. */
void catalog_count(struct catalog *c, const struct machine *m, bool in);
/* Its values are out of the sums. */
void catalog_machine_drop(struct catalog *c, struct machine *m);
/* Drops the machines of a slice that no snapshot of this generation had; 0: all. */
void catalog_drop_older(struct catalog *c, const struct slice *s, uint32_t generation);

#endif
