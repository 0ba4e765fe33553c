/*
 * sweep - looks after the keys that are at home here and whose VM is elsewhere.
 *
 * Such a record (BOUND, then DONE) lives as long as its VM. Done and Release travel off the path
 * and may be lost, and then nothing would ever end it: so the home's node walks its records, slowly
 * and for ever, and asks where the VM is:
 *
 *   BOUND  a launch machine in cancel mode: Cancel ▶ BOUND ▶ Close there ─ VM ────────▶ Done
 *                                                             └ DEAD, forgotten ▶ Cancel with proof
 *   DONE   Close there ─ VM that lives ──────────────▶ nothing
 *                      └ destroyed, dead, forgotten ─▶ Release
 *
 * Records younger than SWEEP_AGE_MS are left alone: somebody may be between Bind and Commit. One
 * record at a time, with a pause. Everything it does any launch or destroy might do: it cannot make
 * a second VM, and what it could not reach waits for the next round. For a slice that was declared
 * lost the shell answers OWNER_KEY_EXPIRED.
 *
 * Pure: the shell moves the calls and lends the records.
 */
#ifndef FLY_EDGE_SWEEP_H
#define FLY_EDGE_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "node/edge/launch.h"
#include "proto/wire/placement.h"

enum {
    SWEEP_AGE_MS = 15 * 60 * 1000,
    SWEEP_PAUSE_MS = 50,        /* between two records that are asked about */
    SWEEP_ROUND_MS = 60 * 1000, /* between two walks */
    SWEEP_SLOTS_MAX = 256,      /* looked at in one tick, at most every SWEEP_PAUSE_MS */
    SWEEP_LAUNCH_MS = 10 * 1000,
};

enum sweep_found { SWEEP_NOTHING = 0, SWEEP_AWAY, SWEEP_END };

/* The records of the own slice: owner_away_at and slice_record_slots. */
struct sweep_source {
    void *user;
    enum sweep_found (*at)(void *user, uint32_t slot, struct key_away *out);
};

struct sweep_counters {
    uint64_t rounds;
    uint64_t asked;     /* records */
    uint64_t told;      /* BOUND: its VM was found, home told */
    uint64_t cancelled; /* BOUND: nothing came of it */
    uint64_t released;  /* DONE: its VM is gone, home told */
    uint64_t later;     /* somebody was not reached */
};

enum sweep_step { SWEEP_WALK = 0, SWEEP_BOUND, SWEEP_CLOSE, SWEEP_RELEASE };

/* Caller's memory; private but for `counters`. */
struct sweep {
    uint32_t tag; /* of the own slice */
    uint32_t root_tag;
    uint64_t next_ticket;
    struct fly_rng rng;
    enum sweep_step step;
    uint32_t slot;
    int64_t due_ms; /* WALK: not before; CLOSE, RELEASE: counts as lost */
    struct key_away away;
    struct launch launch; /* BOUND */
    struct launch_call call;
    bool call_ready;
    struct sweep_counters counters;
};

/* `first_ticket`: its calls carry this one and those above it, each once. */
void sweep_init(struct sweep *s, uint32_t tag, uint32_t root_tag, uint64_t first_ticket,
                uint64_t seed, int64_t now_ms);
/* Walks on, times out. Only while the own slice is ready and speaks. slice_ms: its time now. */
void sweep_tick(struct sweep *s, const struct sweep_source *source, int64_t now_ms,
                int64_t slice_ms);
int64_t sweep_deadline(const struct sweep *s);
/* Next call to make (also after receive, not_sent, lost); false: none now. */
bool sweep_next_call(struct sweep *s, struct launch_call *out);
void sweep_receive(struct sweep *s, const struct owner_answer *answer, int64_t now_ms);
void sweep_not_sent(struct sweep *s, uint64_t ticket, int64_t now_ms);
void sweep_lost(struct sweep *s, uint64_t ticket, int64_t now_ms);

/* The answer to a DESTROY says that a VM is gone whose key is at home elsewhere: *out tells home,
 * off the path; the caller sets the ticket. False: nobody else has to know. */
bool release_after_destroy(const struct owner_answer *answer, uint32_t root_tag,
                           struct launch_call *out);

#endif
