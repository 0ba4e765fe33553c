/*
 * picture - the whole cluster in columns: what a browser paints, and what changed since it last
 * did.
 *
 * Every machine has an index, dense and cluster-wide, that stays while the machine does: a hole
 * that a removed one leaves is given to the next that comes. What all browsers need of a machine is
 * one byte, its cell; the exact numbers are told of the machines somebody looks at. Fed like the
 * catalog: by slices' events and snapshots, whose values are absolute; a change marks the machine
 * dirty, once, however often it changes before picture_take_dirty: that is the conflation.
 *
 * Pure; memory is one zeroed block from the caller: 134 bytes a machine (64 of them its name, 16
 * the index) and 1.4 MB for regions and slices. One thread at a time.
 */
#ifndef FLY_DASH_PICTURE_H
#define FLY_DASH_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/event.h"

struct picture;

enum {
    PICTURE_MACHINES_MAX = 1 << 20, /* an index fits 24 bits of a frame's word */
    PICTURE_REGIONS_MAX = 255,
    PICTURE_SLICES_MAX = 1024,
    PICTURE_STALE_MS = 3000, /* a slice that was not heard for so long is shown as stale */
};
#define PICTURE_NONE UINT32_MAX

/* A machine in one byte. 0: no such machine (a hole). */
enum {
    PICTURE_CELL_LEVEL = 0x1f,    /* 0..31: of the scarcer of cores and memory, how much is taken;
                                     0 nothing at all, 31 nothing is left, 1..29 in between:
                                     1 + floor(29 * taken / total) */
    PICTURE_CELL_CORDONED = 0x20, /* takes no new VMs */
    PICTURE_CELL_MACHINE = 0x80,  /* always, unless it is a hole */
};

struct picture_config {
    uint32_t machines_max; /* ≤ PICTURE_MACHINES_MAX */
    uint64_t hash_seed;
};

struct picture_machine {
    char name[EVENT_NAME_SIZE];
    uint32_t slice;
    uint8_t region; /* index of the region */
    uint32_t cores;
    uint32_t cores_free;
    uint64_t memory_bytes;
    uint64_t memory_free_bytes;
    bool cordoned;
};

struct picture_region {
    char code[EVENT_REGION_SIZE];
    char city[64];
    char country[64];
    char status[16];
    double latitude;
    double longitude;
    bool has_position;
    /* Sums are the picture's own. Cordoned machines count in machines and totals, not in free. */
    uint32_t machines;
    uint32_t cordoned;
    uint64_t cores_total;
    uint64_t cores_free;
    uint64_t memory_total_bytes;
    uint64_t memory_free_bytes;
    int64_t stale_ms; /* of its stalest slice, by picture_hear; 0: none has machines here */
};

size_t picture_size(const struct picture_config *config);
struct picture *picture_init(void *memory, const struct picture_config *config);

/* Adds a region or describes it anew; *index is kept for ever. RESOURCE_EXHAUSTED. */
enum fly_status picture_put_region(struct picture *p, const struct picture_region *region,
                                   uint8_t *index);
/* Folds one event in; O(1). A machine that is new gets an index. An event of another incarnation
 * empties the slice first. RESOURCE_EXHAUSTED: a table is full; counted in picture_refused. */
enum fly_status picture_apply(struct picture *p, const struct event *event);
/* A snapshot of a slice in any number of pieces: what is put counts at once; machines that were not
 * put since begin are gone after end. What is as it was does not become dirty. */
void picture_snapshot_begin(struct picture *p, uint32_t slice);
enum fly_status picture_snapshot_put(struct picture *p, uint32_t slice,
                                     const struct picture_machine *m, const char *region);
void picture_snapshot_end(struct picture *p, uint32_t slice, uint64_t incarnation);
/* Its machines go: it was forgotten, or another log begins from nothing. O(its machines). */
void picture_drop_slice(struct picture *p, uint32_t slice);
/* The slice's owner was last heard `stale_ms` ago (INT64_MAX: never). Regions of its machines
 * become dirty when they cross PICTURE_STALE_MS. O(regions of the slice). */
void picture_hear(struct picture *p, uint32_t slice, int64_t stale_ms);

uint32_t picture_count(const struct picture *p); /* indices given out, holes included */
uint32_t picture_machines(const struct picture *p);
uint64_t picture_refused(const struct picture *p);
uint32_t picture_region_count(const struct picture *p);
const struct picture_region *picture_region_at(const struct picture *p, uint32_t i);
uint32_t picture_region_find(const struct picture *p,
                             const char *code); /* any case; PICTURE_NONE */
uint8_t picture_cell(const struct picture *p, uint32_t index);
uint8_t picture_machine_region(const struct picture *p, uint32_t index); /* 255: a hole */
bool picture_machine(const struct picture *p, uint32_t index, struct picture_machine *out);
uint32_t picture_find(const struct picture *p, uint32_t slice, const char *name); /* PICTURE_NONE */
/* Columns of picture_count bytes: cells, and region indices. Borrowed until the next change. */
const uint8_t *picture_cells(const struct picture *p);
const uint8_t *picture_regions_of(const struct picture *p);

/* Takes up to `max` machines whose cell, region or exact numbers changed since they were taken
 * last; `cell_changed` of each: false when only the exact numbers did. Their number; 0: none is
 * left. */
struct picture_dirty {
    uint32_t index;
    uint8_t cell;
    uint8_t region;    /* 255: it is a hole now */
    bool cell_changed; /* to what every browser was told */
    bool moved;        /* new, gone, or of another region: browsers must be told the region too */
};
uint32_t picture_take_dirty(struct picture *p, struct picture_dirty *out, uint32_t max);
/* Every browser will fetch the whole fleet: what is dirty stays so for its exact numbers, but
 * neither cell_changed nor moved. O(dirty). */
void picture_tell_all(struct picture *p);
/* Columns of picture_count bytes as they were told: of what is dirty, its cell and region when it
 * was taken last. Whoever has them and hears of all that is taken from here on has the picture. The
 * columns as they are now would not do: what changed, was seen there and changed back before it was
 * taken is no news to those who were told. O(machines). */
void picture_told(const struct picture *p, uint8_t *cells, uint8_t *regions);
/* The next region whose sums, description or staleness changed since it was taken last;
 * PICTURE_NONE. */
uint32_t picture_take_region(struct picture *p);
bool picture_has_dirty(const struct picture *p);

/* FNV-1a 64 over all machines, order-independent (the sum of each machine's hash over name, slice,
 * cores, cores_free, memory, memory_free, cordoned, as docs/DASH.md lays the bytes out): two
 * pictures of the same machines have the same, whatever their indices. O(1): kept at every change.
 */
uint64_t picture_hash(const struct picture *p);

#endif
