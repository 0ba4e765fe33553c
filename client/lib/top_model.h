/*
 * top_model - what `flyrpc top` shows, as numbers: machines, regions with their sums, members, the
 * latest events. May not read a clock or draw; uses the heap, for the machines.
 *
 * A machine is known by its slice and name. An event changes one machine in constant time; the
 * order in which machines are shown is put right by top_model_settle, and only when machines came
 * or went. Values are absolute, so what a page and an event both tell may come in either order.
 *
 * The fields are there to be read; they are changed through the functions only. All texts are
 * cleaned (text.h) on the way in.
 */
#ifndef FLY_CLIENT_TOP_MODEL_H
#define FLY_CLIENT_TOP_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fly/v1/admin.pb-c.h"
#include "fly/v1/edge.pb-c.h"
#include "proto/base/index.h"

enum {
    TOP_NAME_SIZE = 64,
    TOP_CODE_SIZE = 16,
    TOP_WORD_SIZE = 48,
    TOP_NOTE_SIZE = 160,
    TOP_MACHINES_MAX = 1 << 20,
    TOP_REGIONS_MAX = 255,
    TOP_MEMBERS_MAX = 256,
    TOP_EVENTS_MAX = 64,
    TOP_SLICES_MAX = 256,
    TOP_LEVEL_MAX = 31,
    TOP_LEVEL_CORDONED = 0x20, /* beside the level */
};

struct top_sums {
    uint64_t machines;
    uint64_t cordoned;
    uint64_t cores_total;
    uint64_t cores_free;
    uint64_t memory_total_bytes;
    uint64_t memory_free_bytes;
};

struct top_region {
    char code[TOP_CODE_SIZE];
    char city[TOP_WORD_SIZE];
    char country[TOP_WORD_SIZE];
    char status[TOP_CODE_SIZE];
    double latitude;
    double longitude;
    bool has_position;
    bool told;            /* by Regions; else known by its machines only */
    uint64_t stale_ms;    /* as it was told, */
    int64_t told_ms;      /* then */
    struct top_sums sums; /* of its machines here */
    uint32_t order_first; /* its part of model->order, as of the last settle */
    uint32_t order_count;
};

struct top_machine {
    char name[TOP_NAME_SIZE];
    uint32_t slice;
    uint32_t cores;
    uint32_t cores_free;
    uint64_t memory_bytes;
    uint64_t memory_free_bytes;
    uint32_t fill; /* of the last refill that told of it */
    uint8_t region;
    bool cordoned;
    bool gone; /* until the next settle */
};

struct top_member {
    char name[TOP_NAME_SIZE];
    char region[TOP_CODE_SIZE];
    char roles[TOP_WORD_SIZE];
    char state[TOP_CODE_SIZE]; /* as shape_member_state says it */
    char address[TOP_NAME_SIZE];
    char note[TOP_NOTE_SIZE]; /* the first of `notes` */
    uint32_t notes;
    uint32_t slices;
    uint64_t rtt_us; /* 0: not measured */
    uint64_t since_ms;
    bool self;
};

struct top_event {
    uint32_t slice;
    uint32_t type; /* fly.v1.EventType */
    uint32_t state;
    uint32_t cores;
    uint32_t machine_cores_free;
    uint64_t memory_bytes;
    uint64_t machine_memory_free_bytes;
    uint64_t incarnation;
    uint64_t seq;
    int64_t time_ms;
    char vm[TOP_CODE_SIZE];
    char name[TOP_NAME_SIZE];
    char machine[TOP_NAME_SIZE];
    char region[TOP_CODE_SIZE];
};

struct top_place {
    uint32_t slice;
    uint64_t incarnation;
    uint64_t seq;
};

struct top_model {
    struct top_machine *machines; /* by slot, `slots` of them, some gone */
    uint8_t *levels;              /* by slot: top_level, and whether it is cordoned */
    uint32_t slots;
    uint32_t slots_max;
    uint32_t fill;
    struct index names;
    void *names_memory;

    uint32_t *order; /* slots by region code and name, as of the last settle */
    uint32_t order_count;
    uint32_t *fresh; /* slots that came since */
    uint32_t fresh_count;
    uint32_t gone_count;
    uint32_t *spare; /* slots to use again */
    uint32_t spare_count;
    uint64_t
        order_changes; /* settles that changed `order`, and changes of what regions there are */

    struct top_region regions[TOP_REGIONS_MAX]; /* in the order of their arrival */
    uint32_t region_count;
    struct top_sums sums;

    struct top_member members[TOP_MEMBERS_MAX]; /* by name */
    uint32_t member_count;

    struct top_event events[TOP_EVENTS_MAX]; /* a ring */
    uint64_t event_count;                    /* all that came */

    struct top_place places[TOP_SLICES_MAX];
    uint32_t place_count;
    uint64_t changes;  /* by the slices' numbers: those that were left out count too */
    uint64_t left_out; /* machines, regions or members past a maximum */
    uint64_t unknown;  /* events of machines that are not here */
};

/* NULL: no memory. */
struct top_model *top_model_create(void);
void top_model_destroy(struct top_model *model);

/* Between the two, all machines are told once more; those that were not are gone at the end. */
void top_model_refill_begin(struct top_model *model);
void top_model_refill_end(struct top_model *model);
/* False: no memory, or TOP_MACHINES_MAX; the machine is left out. */
bool top_model_put_machine(struct top_model *model, const Fly__V1__Machine *machine);
/* All regions, as they were told at `now_ms`. Those that are not among them are not told any more.
 */
void top_model_put_regions(struct top_model *model, const Fly__V1__RegionsReply *reply,
                           int64_t now_ms);
/* All members, in place of those before. */
void top_model_put_members(struct top_model *model, const Fly__V1__MembersReply *reply);
/* One event. O(1). */
void top_model_apply(struct top_model *model, const Fly__V1__Event *event);
/* Puts `order` and the regions' parts of it right; cheap when no machine came or went. */
void top_model_settle(struct top_model *model);

/* The slot of a machine; UINT32_MAX: not here. */
uint32_t top_model_find(const struct top_model *model, uint32_t slice, const char *name);
/* The i-th event before the last, 0: the last itself; NULL: there is or was none. */
const struct top_event *top_model_event(const struct top_model *model, uint32_t back);
/* How old a region's picture is at `now_ms`; 0: live. */
uint64_t top_region_age_ms(const struct top_region *region, int64_t now_ms);
/* How much is taken of the scarcer of cores and memory: 0 nothing, TOP_LEVEL_MAX nothing left,
 * else 1 + floor(29 * taken / total). The dashboard's cells say the same (docs/DASH.md). */
uint8_t top_level(uint64_t cores, uint64_t cores_free, uint64_t memory_bytes,
                  uint64_t memory_free_bytes);

#endif
