/*
 * catalog - this node's own, possibly stale, picture of every machine of the cluster by region.
 *
 * A hint, never a promise (DESIGN 3.1): the owner decides. Fed by the regions file, by slices'
 * events and by snapshots of slices, whose values are absolute: applying one twice, or a newer one
 * first, does no harm beyond what seq sorts out. What the node knows of a slice's owner (its
 * state) decides whether placement looks at the slice at all; sums count every slice that is in
 * here.
 *
 * Machines of one slice in one region make a shard, which remembers its roomiest machine: a launch
 * looks at shards, and into one only when its best does not settle the question.
 * Pure; memory is one zeroed block from the caller.
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

enum {
    CATALOG_SLICES_MAX = 1024,
    CATALOG_CANDIDATES_MAX = 64, /* catalog_slices tells at most so many */
    CATALOG_CHOICES_MAX = 16,    /* catalog_choose */
    CATALOG_STALE_MS = 5000,     /* older: placed on only when no slice of fresher state fits */
};

struct catalog_config {
    uint32_t regions_max;
    uint32_t machines_max;
    uint64_t hash_seed;
};

/* Free cores and memory of cordoned machines are in no sum: nothing can be placed there. */
struct catalog_region {
    char code[EVENT_REGION_SIZE];
    char city[64];
    char country[64];
    char status[16]; /* operational, degraded, maintenance or offline */
    double latitude;
    double longitude;
    bool has_position;
    uint32_t machines;
    uint32_t cordoned; /* of these */
    uint64_t cores_total;
    uint64_t cores_free;
    uint64_t memory_total_bytes;
    uint64_t memory_free_bytes;
    int64_t stale_ms; /* of its stalest slice; 0: no slice has machines there */
};

/* What the node knows of a slice from gossip, its follower and its memory. */
struct catalog_slice_state {
    bool placeable;     /* a living member leads it, serves and may decide */
    bool doubtful;      /* that member is suspect: placed on only for want of others */
    int64_t stale_ms;   /* since the slice's last word; INT64_MAX: never heard */
    int64_t founded_ms; /* wall time of its founding; 0: not known */
};

struct catalog_slice_sums {
    uint32_t machines;
    uint32_t cordoned;
    uint64_t cores_total;
    uint64_t cores_free;
    uint64_t memory_total_bytes;
    uint64_t memory_free_bytes;
};

struct catalog_machine {
    char name[EVENT_NAME_SIZE];
    char region[EVENT_REGION_SIZE];
    uint32_t cores;
    uint32_t cores_free;
    uint64_t memory_bytes;
    uint64_t memory_free_bytes;
    bool cordoned;
};

/* A slice that has machines in a region. */
struct catalog_candidate {
    uint32_t slice;
    uint32_t cores_free_max;        /* on the machine with the most free cores */
    uint64_t memory_free_max_bytes; /* on that machine */
    bool doubtful;                  /* suspect or stale: for want of others only */
};

size_t catalog_size(const struct catalog_config *config);
struct catalog *catalog_init(void *memory, const struct catalog_config *config);

/* Adds a region or replaces its description; the sums are the catalog's own. RESOURCE_EXHAUSTED:
 * regions_max. */
enum fly_status catalog_put_region(struct catalog *c, const struct catalog_region *region);
/* Folds one event in; its slice and region are added when they are new (a slice of which nothing
 * was told counts as live). An event of another incarnation empties the slice first.
 * RESOURCE_EXHAUSTED: a table is full; the event is not counted. O(1), but for a machine's first
 * event O(regions). */
enum fly_status catalog_apply(struct catalog *c, const struct event *event);

/* What is known of a slice's owner now; adds the slice. Past CATALOG_SLICES_MAX it is left out: so
 * is whatever comes of its machines. */
void catalog_set_slice(struct catalog *c, uint32_t slice, const struct catalog_slice_state *state);
/* Takes the slice with all its machines out: it was forgotten. O(its machines). */
void catalog_drop_slice(struct catalog *c, uint32_t slice);
/* Takes its machines out, its state stays: another log begins from nothing. O(its machines). */
void catalog_reset_slice(struct catalog *c, uint32_t slice);

/* A snapshot of a slice, in any number of pieces: begin, put each machine, end with its seq. What
 * is put counts at once, machines that were not put since the last begin are gone after end; no
 * event of the slice is applied meanwhile; another begin starts over. put: RESOURCE_EXHAUSTED as
 * above. end is O(machines of the slice). */
void catalog_snapshot_begin(struct catalog *c, uint32_t slice);
enum fly_status catalog_snapshot_put(struct catalog *c, uint32_t slice,
                                     const struct catalog_machine *m);
void catalog_snapshot_end(struct catalog *c, uint32_t slice, uint64_t seq);

uint32_t catalog_region_count(const struct catalog *c);
/* In the order in which they were put; borrowed until the next put. */
const struct catalog_region *catalog_region_at(const struct catalog *c, uint32_t i);
/* Any case; NULL: not known. O(regions). */
const struct catalog_region *catalog_region_find(const struct catalog *c, const char *code);
/* Its status is operational or degraded. A word for people, by this node's own file: hints leave
 * other regions out, but who names one is placed there. What may not be placed on is told of
 * machines: a key that has its VM already must be answered with it, so an edge cannot refuse. */
bool catalog_region_open(const struct catalog_region *region);

/* False: the slice is not in here. */
bool catalog_slice_sums(const struct catalog *c, uint32_t slice, struct catalog_slice_sums *out);
/* What was set last. False: the slice is not in here. */
bool catalog_slice_read(const struct catalog *c, uint32_t slice, struct catalog_slice_state *out);
/* Wall time of the slice's founding; 0: not known. */
int64_t catalog_slice_founded_ms(const struct catalog *c, uint32_t slice);
/* The machines of a slice one after the other; *cursor starts at 0. False at the end. When a
 * machine comes or goes meanwhile others may be missed; catalog_version tells. O(1). */
bool catalog_machine_next(const struct catalog *c, uint32_t slice, uint64_t *cursor,
                          struct catalog_machine *out);
/* Slices, at most `max`, that have a machine of this name. */
uint32_t catalog_machine_slices(const struct catalog *c, const char *name, uint32_t *out,
                                uint32_t max);
/* Moves on whenever a machine comes, goes, is cordoned or uncordoned, or a slice goes, or tells
 * another time of founding. */
uint64_t catalog_version(const struct catalog *c);

/* Slices with machines in the region that may be placed on, each once, at most out_max (≤
 * CATALOG_CANDIDATES_MAX); those of fresh state first. O(slices there), and machines whose shard
 * lost its best since the last look. */
uint32_t catalog_slices(const struct catalog *c, const char *region, struct catalog_candidate *out,
                        uint32_t out_max);
/* The region nearest to this one that is open and where some machine seems to have room for the
 * spec; NULL: none. O(regions + shards). */
const struct catalog_region *catalog_nearest_fit(const struct catalog *c, const char *region,
                                                 uint32_t cores, uint64_t memory_bytes);
/* Up to `count` (≤ CATALOG_CHOICES_MAX) slices that seem to have room for the spec, by random
 * choice among them; those whose owner is suspect or whose state is old only for want of others. */
uint32_t catalog_choose(const struct catalog *c, const char *region, uint32_t cores,
                        uint64_t memory_bytes, struct fly_rng *rng, uint32_t *out, uint32_t count);

#endif
