/*
 * owner - the leader of a slice: the only one who says yes for its machines (DESIGN 3.1, 4).
 *
 * A step machine around the replicated state. In go calls, committed entries and the time; out come
 * batches to append to the log, answers to the calls, and numbered events. The book is what was
 * applied plus what was proposed plus what is held; it never exceeds a machine (I1).
 *
 *   call ──▶ owner_call ──▶ hold (memory) or command ──▶ owner_next_batch ──▶ log ──▶ owner_apply
 *                │                                                             │
 *                └────────────── owner_next_answer ◀──────────────────────────┘
 *
 * Rules that keep one VM per key (each of them has a mutant in tests/sim/mutants):
 *  - Nothing is answered about a key before an entry of the own term was applied (ready).
 *  - A hold id that is not in the table is dead for ever; a proposed hold neither expires nor
 *    closes: Close waits for its outcome.
 *  - A batch that the log refused before submission is REFUSED; one whose outcome is not known is
 *    UNKNOWN, and the owner speaks of no key again: owner_stop, then a new owner over the log.
 *
 * Pure: no clock, no heap, no socket. Everything is bounded; past a bound a call is REFUSED.
 */
#ifndef FLY_SLICE_OWNER_H
#define FLY_SLICE_OWNER_H

#include "node/slice/state.h"
#include "proto/base/rng.h"
#include "proto/wire/placement.h"

struct owner;

struct owner_config {
    struct slice_config slice;
    uint32_t tag;              /* of this slice; must match the log once it is founded */
    uint32_t root_tag;         /* home of hashed keys */
    uint32_t flights_max;      /* holds and proposals together, 16..65535 */
    int64_t hold_life_ms;      /* SLICE_HOLD_LIFE_MS */
    uint32_t events_max;       /* retention, events: 65,536 */
    uint32_t events_bytes_max; /* retention, bytes: 64 MiB */
    uint64_t boot;             /* random, nonzero, never used before */
    uint64_t seed;
};

/* Both clocks, read once per turn by the shell. */
struct owner_now {
    int64_t boot_ms;
    int64_t wall_ms;
};

struct owner_counters {
    uint64_t calls;
    uint64_t refused;
    uint64_t held;
    uint64_t holds_expired;
    uint64_t batches;
    uint64_t commands;
    uint64_t answers_unknown;
};

size_t owner_size(const struct owner_config *config);
/* memory: owner_size bytes, zeroed, 16-aligned, lent. Holds an empty state: feed it the snapshot
 * (owner_state) and the log (owner_apply), then owner_lead. */
struct owner *owner_init(void *memory, const struct owner_config *config);

/* For snapshot_decode at start, reads, and views. */
struct slice_state *owner_state(struct owner *o);

/* A committed entry, at replay and live. Errors as slice_apply: the replica must stop. */
enum fly_status owner_apply(struct owner *o, const uint8_t *data, size_t size,
                            struct fly_error *error);

/* The log says that this replica leads `term` with everything before it applied. Proposes FOUND
 * (empty log) and LEAD; ready once they are applied. */
void owner_lead(struct owner *o, uint64_t term, uint64_t found_incarnation, struct owner_now now);
bool owner_ready(const struct owner *o);

/* Nothing more will be applied here (append failed, leadership lost, shutdown): every proposal is
 * answered UNKNOWN, every later call REFUSED with `status`. For good. */
void owner_stop(struct owner *o, enum fly_status status, const char *text);

/* This owner may not speak (standing.h): until it is released every call but LOSS is REFUSED with
 * `status` and `text`, which is static or interned: answers carry it and outlive this owner. Holds
 * end, what waits for the log is REFUSED, what is proposed is UNKNOWN to its callers. It may lead
 * meanwhile. Again: another reason. */
void owner_quarantine(struct owner *o, enum fly_status status, const char *text);
void owner_release_quarantine(struct owner *o);
/* Why not; NULL: it speaks. For marking what is read from it meanwhile. */
const char *owner_quarantined(const struct owner *o);

/* Takes one call; its answer comes out of owner_next_answer, once, now or later. */
void owner_call(struct owner *o, const struct owner_call *call, struct owner_now now);

/* Runs expiries. First thing in every turn (DESIGN 7). */
void owner_tick(struct owner *o, struct owner_now now);
/* When owner_tick has something to do next (boot ms); INT64_MAX: never. */
int64_t owner_deadline(const struct owner *o);

/* Encodes waiting commands into out[max ≥ SLICE_BATCH_BYTES_MAX]; 0: nothing waits. Must be
 * followed by the append: when that is refused before submission, owner_batch_refused (once, for
 * this last batch); otherwise its fate is owner_apply or owner_stop. */
size_t owner_next_batch(struct owner *o, struct owner_now now, uint8_t *out, size_t max);
void owner_batch_refused(struct owner *o, enum fly_status status, const char *text);

/* Next answer; false when there is none. */
bool owner_next_answer(struct owner *o, struct owner_answer *out);

/* The VM of a record slot, for reads; false when the slot holds none. */
bool owner_vm_at(const struct owner *o, uint32_t slot, struct vm *out);

/* Slice time (DESIGN 7): boot time since the last stamp; no wall clock that jumps moves it. */
int64_t owner_slice_ms(const struct owner *o, struct owner_now now);
/* The BOUND or DONE key of a record slot whose last life has not begun; false: none is there. */
bool owner_away_at(const struct owner *o, uint32_t slot, struct key_away *out);

/* Room for a spec in a region by the book (applied + proposed + held). O(machines). */
void owner_room(const struct owner *o, const char *region, uint32_t cores, uint64_t memory_bytes,
                struct owner_room *out);
/* What the book has given away on a machine: committed + proposed + held. For invariants. */
void owner_book(const struct owner *o, uint32_t machine, uint64_t *cores, uint64_t *memory_bytes);

/* Retention. Events first..last (seq) are there; first > last: none. */
void owner_events_range(const struct owner *o, uint64_t *first, uint64_t *last);
/* Decoded copy of event `seq`; false when it is not there. */
bool owner_event(const struct owner *o, uint64_t seq, struct event *out);

const struct owner_counters *owner_counters(const struct owner *o);

#endif
