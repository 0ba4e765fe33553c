/*
 * picture_parts - the insides of a picture, between picture.c (what it is told), picture_table.c
 * (machines and what is summed up of them) and picture_slice.c (slices, and how stale they are).
 */
#ifndef FLY_DASH_PICTURE_PARTS_H
#define FLY_DASH_PICTURE_PARTS_H

#include "dash/core/picture.h"
#include "proto/base/index.h"

enum {
    PICTURE_LINE = 64,        /* bytes of a line of memory */
    PICTURE_HOLE = 255,       /* region of a hole */
    PICTURE_ROW_DIRTY = 0x01, /* stands in the queue */
    PICTURE_ROW_NEW = 0x02,   /* another machine than the one that browsers know by this index */
    PICTURE_REGION_WORDS = 4, /* u64 that hold a bit for each region */
    PICTURE_SLICE_WORDS = PICTURE_SLICES_MAX / 64,
};

/* What no browser reads as a column. An event touches all of it, and 100,000 machines do not fit a
 * cache: so one row instead of ten columns, and a row is two lines of memory. */
struct picture_row {
    char name[EVENT_NAME_SIZE];
    uint64_t name_hash; /* FNV-1a of name and slice: where the hash of the numbers goes on */
    uint64_t memory_bytes;
    uint64_t memory_free_bytes;
    uint32_t cores;
    uint32_t cores_free;
    uint32_t next; /* of its slice; of a hole: the next hole */
    uint32_t prev;
    uint16_t slice; /* place */
    uint8_t told_cell;
    uint8_t told_region;
    uint8_t flags;
    uint8_t generation; /* of the slice when it was put last */
    uint8_t unused[18];
};
_Static_assert(sizeof(struct picture_row) == 2 * PICTURE_LINE, "two lines");

struct picture_slice {
    uint32_t tag; /* 0: this place is free */
    uint32_t first;
    uint64_t incarnation; /* 0: any may come */
    int64_t stale_ms;
    uint64_t regions[PICTURE_REGION_WORDS]; /* where it has machines */
    uint8_t generation;
    uint8_t last_region; /* of the machine that came last: the next one's, most likely */
};

struct picture {
    struct picture_config config;
    uint8_t *cells;
    uint8_t *region_of;
    struct picture_row *rows;
    uint32_t count;
    uint32_t machines;
    uint32_t hole; /* first; PICTURE_NONE */
    struct index by_name;
    uint32_t *queue; /* ring of machines_max dirty indices */
    uint32_t queue_first;
    uint32_t queue_count;
    struct picture_region *regions;
    uint32_t region_count;
    uint64_t region_dirty[PICTURE_REGION_WORDS];
    uint64_t (*region_slices)[PICTURE_SLICE_WORDS]; /* which have machines there */
    struct picture_slice *slices;
    uint32_t slice_places;
    uint32_t (*shares)[PICTURE_REGIONS_MAX]; /* machines by slice's place and region */
    struct index by_tag;
    uint64_t hash;
    uint64_t refused;
};

/* The numbers of a machine. */
struct picture_numbers {
    uint64_t memory_bytes;
    uint64_t memory_free_bytes;
    uint32_t cores;
    uint32_t cores_free;
    bool cordoned;
};

/* --- picture_table.c --- */

/* PICTURE_NONE: not known. */
uint32_t picture_machine_find(const struct picture *p, const struct picture_slice *s,
                              const char *name);
/* The machine in this region, there or added; PICTURE_NONE: machines or regions are full. A new one
 * has no numbers and is counted nowhere until they are set. */
uint32_t picture_machine_in(struct picture *p, struct picture_slice *s, const char *name,
                            const char *region);
void picture_machine_set(struct picture *p, uint32_t index, const struct picture_numbers *numbers);
struct picture_numbers picture_machine_numbers(const struct picture *p, uint32_t index);
void picture_machine_drop(struct picture *p, uint32_t index);
void picture_region_touch(struct picture *p, uint32_t region);

/* --- picture_slice.c --- */

struct picture_slice *picture_slice_find(const struct picture *p, uint32_t tag);
/* There or added; NULL: the table is full. */
struct picture_slice *picture_slice_in(struct picture *p, uint32_t tag);
/* Its machines go, but those of this generation; 0: all. */
void picture_slice_empty(struct picture *p, struct picture_slice *s, uint8_t generation);
void picture_slice_enter(struct picture *p, struct picture_slice *s, uint8_t region);
void picture_slice_leave(struct picture *p, struct picture_slice *s, uint8_t region);

#endif
