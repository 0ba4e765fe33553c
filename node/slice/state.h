/*
 * state - the replicated state of one slice: machines, VMs and key records; a log folded.
 *
 * slice_apply is a pure function of (state, entry): replicas that applied the same entries are
 * equal. Invariants: committed ≤ capacity on each machine at every index (I1); at most one record
 * per (subject, key) (I2 within the slice); seq counts the events emitted, gapless (I5) but for
 * LOSS, which jumps over all that anybody saw of a longer log: no number of an event or a VM is
 * used twice.
 *
 * Life of a record: VM (until destroyed, then its key's last life), BOUND (until DONE, replaced or
 * cancelled), DONE (until RELEASE, then last life), CANCELLED (last life at once). The last life is
 * 15 minutes for minted and 24 h for hashed keys, in slice time; then the record is forgotten, and
 * `purged_mint_s` makes every minted key up to that age KEY_EXPIRED, whatever clocks do.
 *
 * Records and machines live in reference-counted chunks: a view for a snapshot costs a copy of the
 * chunk tables; a chunk that is still in a view is copied before its next change. Memory is one
 * block that the caller gives, sized by slice_state_size. Pure: no clock, no heap.
 */
#ifndef FLY_SLICE_STATE_H
#define FLY_SLICE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/slice/entry.h"
#include "proto/base/status.h"
#include "proto/wire/event.h"
#include "proto/wire/key.h"

struct slice_state;

#define SLICE_NONE UINT32_MAX /* no slot */

/* The memory of one replica; at least what the slice was founded with. */
struct slice_config {
    uint32_t machines_max; /* 1..SLICE_MACHINES_MAX */
    uint32_t records_max;  /* VMs and keys together, 16..2^24 */
    uint64_t hash_seed;    /* guards the tables against chosen keys; changes no result */
};

struct slice_machine {
    char name[FLY_NAME_SIZE]; /* empty: the slot is free */
    char region[FLY_REGION_SIZE];
    uint32_t cores;
    uint32_t cores_used;
    uint64_t memory_bytes;
    uint64_t memory_used_bytes;
    uint32_t vm_count;
    bool cordoned; /* gets no new VM; what it has stays */
};

enum record_kind { RECORD_FREE = 0, RECORD_VM, RECORD_BOUND, RECORD_DONE, RECORD_CANCELLED };

/* One (subject, key) and what came of it. */
struct slice_record {
    enum record_kind kind;
    struct fly_key key;
    char subject[FLY_SUBJECT_SIZE];
    struct fly_digest digest; /* VM BOUND DONE */
    struct hold_id hold;      /* VM: the hold it fulfilled; BOUND, DONE: the hold elsewhere */
    uint32_t generation;      /* BOUND: how often the key was bound */
    uint64_t vm;              /* VM, DONE: VM id */
    /* VM only */
    uint64_t number; /* creation number, 1.. */
    char name[FLY_NAME_SIZE];
    uint32_t machine; /* slot */
    uint32_t cores;
    uint64_t memory_bytes;
    enum vm_state state;
    char machine_name[FLY_NAME_SIZE];
    char region[FLY_REGION_SIZE];
    int64_t created_ms; /* wall; BOUND, DONE: slice time of the bind */
    int64_t destroyed_ms;
    uint64_t seq; /* event of its last change */
    /* last life */
    int64_t expires_ms; /* slice time; 0: lives */
    uint32_t next;      /* slot behind it in its expiry queue */
};

/* What became of one command. */
enum slice_code {
    SLICE_OK = 0,   /* done now */
    SLICE_REPLAYED, /* it was so already: LAUNCH of a key that has its VM, DESTROY of a dead VM */
    SLICE_BOUND,    /* key is bound to `hold` elsewhere */
    SLICE_DONE_ELSEWHERE, /* key became VM `vm` in the slice of `hold` */
    SLICE_CANCELLED,      /* key was cancelled */
    SLICE_KEY_REUSED,     /* other spec */
    SLICE_KEY_EXPIRED,
    SLICE_KEY_FUTURE,
    SLICE_NO_ROOM, /* the machine cannot hold it (now) */
    SLICE_TABLE_FULL,
    SLICE_NOT_FOUND,
    SLICE_EXISTS, /* machine name is taken */
    SLICE_IN_USE, /* machine has VMs, or more is committed than it would have */
    SLICE_STALE,  /* batch of an earlier leader, or FOUND twice */
};

struct slice_result {
    enum slice_code code;
    uint32_t record; /* slot of the key's or VM's record; SLICE_NONE */
    uint32_t event;  /* index into effects.events; SLICE_NONE */
};

struct slice_effects {
    struct batch_head head;
    uint32_t result_count; /* one per command, in order */
    struct slice_result results[SLICE_BATCH_COMMANDS_MAX];
    enum command_type types[SLICE_BATCH_COMMANDS_MAX];
    uint32_t event_count;
    struct event events[SLICE_BATCH_COMMANDS_MAX];
};

/* Counters of the whole state, all kept by apply. */
struct slice_totals {
    uint32_t tag; /* 0: not founded */
    uint64_t incarnation;
    int64_t founded_ms; /* wall clock of FOUND; 0: before nodes remembered it, so older than any */
    uint32_t machines_max; /* from FOUND: a replica may have more memory, never more room */
    uint32_t records_max;
    uint64_t seq;         /* last event emitted */
    uint64_t vms_created; /* highest creation number */
    uint32_t machines;
    uint32_t records;
    uint32_t vms_started;
    uint64_t term;    /* of the last LEAD */
    uint64_t boot;    /* of the last LEAD */
    int64_t slice_ms; /* of the last entry */
    int64_t wall_ms;
    uint64_t lost[SLICE_LOST_MAX]; /* other incarnations of this tag that were given up; 0: none */
    int64_t lost_ms;               /* slice time of the last LOSS; 0: never */
    uint32_t purged_mint_s; /* minted keys up to here were forgotten, or too old when cancelled */
};

/* Bytes that slice_state_init needs; views need as many chunks again, which is counted in. */
size_t slice_state_size(const struct slice_config *config);
/* memory: slice_state_size bytes, aligned to 16, zeroed (fresh from mmap or calloc: untouched pages
 * cost nothing); lent until the state is forgotten. */
struct slice_state *slice_state_init(void *memory, const struct slice_config *config);

/* Applies one entry. DATA_LOSS, UNIMPLEMENTED: not a valid entry; the state is unchanged and the
 * replica must stop. RESOURCE_EXHAUSTED: founded for more than this config. `out` is written whole.
 * O(commands) hash steps. */
enum fly_status slice_apply(struct slice_state *s, const uint8_t *data, size_t size,
                            struct slice_effects *out, struct fly_error *error);

const struct slice_totals *slice_totals(const struct slice_state *s);
/* Slots in use end before these. */
uint32_t slice_machine_slots(const struct slice_state *s);
uint32_t slice_record_slots(const struct slice_state *s);
/* Borrowed until the next apply; the machine's name is empty, the record's kind FREE, in free
 * slots. */
const struct slice_machine *slice_machine_at(const struct slice_state *s, uint32_t slot);
const struct slice_record *slice_record_at(const struct slice_state *s, uint32_t slot);
/* SLICE_NONE when there is none. O(1) expected. */
uint32_t slice_record_find(const struct slice_state *s, const char *subject,
                           const struct fly_key *key);
uint32_t slice_vm_find(const struct slice_state *s, uint64_t vm);
uint32_t slice_machine_find(const struct slice_state *s, const char *name);
/* OK, KEY_EXPIRED or KEY_FUTURE for a key that has no record, at this wall time. */
enum slice_code slice_key_age(const struct slice_state *s, const struct fly_key *key,
                              int64_t wall_ms);

/* A BOUND record of before a LOSS: a later bind of its key may be what was lost. That its hold is
 * dead proves nothing then; it can become DONE or CANCELLED, never anything new. */
bool slice_bind_doubtful(const struct slice_state *s, const struct slice_record *r);

/* An immutable picture of now. One at a time (NULL while another is held). O(chunks). */
struct slice_view;
struct slice_view *slice_view_take(struct slice_state *s);
void slice_view_drop(struct slice_state *s, struct slice_view *view);

#endif
