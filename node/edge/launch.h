/*
 * launch - one launch as the edge drives it: DESIGN 4 as a step machine.
 *
 *            ┌────────────── BUSY, REFUSED: again after a pause ─┐
 *            ▼                                                   │
 *   start ▶ OPEN at home ──VM──▶ OK                              │
 *            │  │  └─ ELSEWHERE ─▶ HOLD at a candidate ─▶ BIND at home ─▶ COMMIT ─▶ OK (+ Done)
 *            │  └──── BOUND ─────▶ CLOSE there ─ VM ─▶ OK (+ Done)
 *            │                       └ DEAD ─▶ OPEN at home with `replaces`
 *            └─ KEY_…, CANCELLED ▶ NOT_DONE
 *
 * Outcomes (4.8): OK · NOT_DONE: nothing was or will be done by this call · UNKNOWN: retry the same
 * key. An Open with commit that was not answered leaves a doubt until the key has its VM, is
 * cancelled, or was bound elsewhere durably; a Bind or Commit of a hold leaves one until the VM is
 * there or the hold is DEAD. In doubt, every other end is UNKNOWN. One call is under way at a time;
 * Done and the close of a hold that is not needed go off the path. A launch whose home cannot be
 * reached for certain, and that left no doubt, ends NOT_DONE after some 50 ms: UNAVAILABLE. Relies
 * on the channel: a call is delivered at most once (it may be late, or lost).
 *
 * The spec's words are the caller's: this machine moves them, it does not judge them. Pure.
 */
#ifndef FLY_EDGE_LAUNCH_H
#define FLY_EDGE_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/rng.h"
#include "proto/wire/placement.h"

enum {
    LAUNCH_CANDIDATES_MAX = 8,
    LAUNCH_TRIES_MAX = 64, /* calls on the path; past it the launch ends */
    LAUNCH_PAUSE_MS = 5,   /* first pause before the same call again; doubles, with jitter */
    LAUNCH_PAUSE_MAX_MS = 200,
    LAUNCH_CALL_MS = 1000,   /* an answer that takes longer counts as lost */
    LAUNCH_NOT_SENT_MAX = 4, /* Opens in a row that certainly did not leave: home is not there */
};

/* A call that the machine wants made: owner_call to the owner of slice `to`. `ticket` is set by the
 * machine: pass answers back with it. Off the path nobody waits for the answer. */
struct launch_call {
    uint32_t to;
    bool off_path;
    struct owner_call call;
};

enum launch_end { LAUNCH_RUNNING = 0, LAUNCH_OK, LAUNCH_NOT_DONE, LAUNCH_UNKNOWN };

struct launch_result {
    enum launch_end end;
    enum owner_code code; /* what decided it: OWNER_VM, OWNER_ELSEWHERE (no room), OWNER_KEY_… */
    enum fly_status status; /* of a NOT_DONE by OWNER_REFUSED, or DEADLINE_EXCEEDED */
    const char *text;       /* static; NULL: none */
    bool replayed;
    uint32_t tries;
    uint32_t slice; /* where the VM is */
    uint64_t vm_id;
    bool has_vm; /* vm is filled; false when only vm_id is known (VM_ELSEWHERE) */
    struct vm vm;
    struct owner_room room; /* NOT_DONE by OWNER_ELSEWHERE: the widest room that was seen */
};

struct launch_spec {
    struct fly_key key;
    char subject[FLY_SUBJECT_SIZE];
    char region[FLY_REGION_SIZE];
    uint32_t cores;
    uint64_t memory_bytes;
    char name[FLY_NAME_SIZE];
    uint32_t root_tag;
    bool cancel;         /* not a launch: settle this key for good (Cancel instead of Open) */
    int64_t deadline_ms; /* boot clock */
    /* Slices to try after home, in order, by the catalog; home itself is skipped. */
    uint32_t candidates[LAUNCH_CANDIDATES_MAX];
    uint32_t candidate_count;
};

enum { LAUNCH_QUEUE_MAX = 4 };

enum launch_step_name {
    LAUNCH_AT_OPEN = 1,
    LAUNCH_AT_HOLD,
    LAUNCH_AT_BIND,
    LAUNCH_AT_COMMIT,
    LAUNCH_AT_CLOSE,
};

/* Caller's memory; fields are private. */
struct launch {
    struct launch_spec spec;
    struct fly_digest digest;
    struct launch_result result;
    enum launch_step_name at;
    uint32_t home;
    uint32_t next_candidate;
    bool waiting;      /* for the answer to `ticket` */
    uint32_t not_sent; /* in a row, at OPEN without doubt */
    bool doubt_open; /* an Open with commit (or a Cancel) left and was not answered, or is another's
                      */
    bool doubt_hold; /* a Bind or Commit of our hold left: only VM or DEAD settles it */
    uint64_t first_ticket;
    uint64_t ticket; /* of the last call on the path */
    int64_t due_ms;  /* answer is lost, or pause is over */
    int64_t pause_ms;
    uint32_t hold_at;     /* slice of `hold` */
    struct hold_id hold;  /* ours, elsewhere */
    struct hold_id bound; /* the one to close */
    struct hold_id replaces;
    struct fly_rng rng;
    struct launch_call queue[LAUNCH_QUEUE_MAX];
    uint32_t queue_count;
};

/* `first_ticket`: tickets first_ticket, +1, … are this launch's; at most LAUNCH_TRIES_MAX + 8. */
void launch_init(struct launch *l, const struct launch_spec *spec, uint64_t first_ticket,
                 uint64_t seed, int64_t now_ms);
/* Next call to make; false: none now. */
bool launch_next_call(struct launch *l, struct launch_call *out);
/* An answer arrived. Answers to other tickets than the one waited for are ignored. */
void launch_receive(struct launch *l, const struct owner_answer *answer, int64_t now_ms);
/* The call certainly did not reach its owner (no connection, refused before it was sent). */
void launch_not_sent(struct launch *l, uint64_t ticket, int64_t now_ms);
/* The call may have reached it, and no answer will come (connection broken). */
void launch_lost(struct launch *l, uint64_t ticket, int64_t now_ms);
/* Time passed. */
void launch_tick(struct launch *l, int64_t now_ms);
int64_t launch_deadline(const struct launch *l);
/* RUNNING until it ended. */
const struct launch_result *launch_result(const struct launch *l);

#endif
