/*
 * standing - may this owner speak? What the other nodes saw of its log decides (DESIGN 4.10).
 *
 * Every log has a random incarnation, and nodes remember the highest {incarnation, seq} they saw of
 * each slice. An owner whose log ends below that is an old copy (restored backup, eaten tail): it
 * would make acknowledged VMs unknown and keys new. So it asks before it speaks:
 *
 *   WAIT ── all living members answered, none saw more ──────────────────────▶ SERVE
 *    │  └── 3 s: some answered, the others cannot be reached ────────────────▶ SERVE
 *    │  └── 10 s: nobody answered ─────────────────────────────▶ SERVE, `warned`: availability
 *    └── somebody saw more, or another log of this tag, or it was forgotten ─▶ QUARANTINED
 *   SERVE ── the same evidence, whenever it comes ───────────────────────────▶ QUARANTINED
 *   QUARANTINED ── the loss is accepted, and in the log (OWNER_LOSS) ────────▶ WAIT, anew
 *
 * A slice that was founded just now serves at once, and so does a node that never knew another. In
 * SERVE the asking goes on: a member that comes alive later is asked when it does. What this cannot
 * see: an old copy that served unknown to the others (10 s, nobody answered) until it had passed
 * what they saw. A slice that an admin declared lost has no way back: its keys may have been used
 * again elsewhere.
 *
 * The shell asks (RPC `Seen`), tells who is alive (gossip, the peers file) and what time it is.
 * Pure.
 */
#ifndef FLY_SLICE_STANDING_H
#define FLY_SLICE_STANDING_H

#include <stdbool.h>
#include <stdint.h>

#include "node/slice/limits.h"
#include "proto/wire/placement.h"

enum {
    STANDING_MEMBERS_MAX = 256, /* more are not asked */
    STANDING_WAIT_MS = 3000,
    STANDING_ALONE_MS = 10000,
    STANDING_STEP_MS = 500,  /* no turn counts for more: a process that was stopped did not wait */
    STANDING_AGAIN_MS = 250, /* pause before a member is asked again; doubles */
    STANDING_AGAIN_MAX_MS = 30000,
    STANDING_LOSSES_MAX = 4,
    STANDING_TEXT_SIZE = 200,
};

/* Evidence beyond this is no slice's: a slice counts no VM above it. */
#define STANDING_SEQ_MAX (UINT64_C(1) << 35)

enum standing_state { STANDING_WAIT = 1, STANDING_SERVE, STANDING_QUARANTINED };

/* What is known of a member's life. EXPECTED: it was there once (peers file), gossip has not said
 * whether it still is. */
enum standing_presence { STANDING_EXPECTED = 1, STANDING_ALIVE, STANDING_GONE };

/* What a member remembers of this slice. */
struct standing_seen {
    bool known;
    uint64_t incarnation;
    uint64_t seq;
    bool forgotten; /* an admin declared the slice lost */
};

/* The own log as it was opened. */
struct standing_log {
    uint64_t incarnation;
    uint64_t seq;
    bool fresh;                    /* founded by this process: it had no log before */
    uint64_t lost[SLICE_LOST_MAX]; /* other incarnations whose loss is in the log; 0: none */
};

enum standing_ask { STANDING_NOT_ASKED = 0, STANDING_ASKING, STANDING_ANSWERED, STANDING_FAILED };

struct standing_member {
    uint64_t id; /* the shell's own, nonzero */
    char name[FLY_NAME_SIZE];
    enum standing_presence presence;
    enum standing_ask ask;
    int64_t again_ms; /* FAILED: not before */
    int64_t pause_ms;
};

/* {incarnation, seq} that somebody saw and this log does not have. */
struct standing_loss {
    uint64_t incarnation;
    uint64_t seq;
};

/* Caller's memory; private but for the readers below. */
struct standing {
    enum standing_state state;
    struct standing_log log;
    int64_t told_ms;   /* the last time it was told */
    int64_t waited_ms; /* in WAIT */
    bool warned;
    bool forgotten;
    struct standing_member members[STANDING_MEMBERS_MAX];
    uint32_t member_count;
    uint32_t members_refused; /* there was no place for them */
    uint32_t absurd;          /* evidence beyond STANDING_SEQ_MAX, ignored */
    struct standing_loss losses[STANDING_LOSSES_MAX];
    uint32_t loss_count;
    char text[STANDING_TEXT_SIZE];
};

/* Tell it the members of the peers file next, then standing_tick at once. */
void standing_init(struct standing *s, const struct standing_log *log, int64_t now_ms);
/* A member is there, is alive, is gone (dead or left). One that comes back is asked anew. */
void standing_member(struct standing *s, uint64_t id, const char *name,
                     enum standing_presence presence);
/* Whom to ask now; it counts as asked until standing_answer or standing_failed. False: nobody. */
bool standing_next(struct standing *s, uint64_t *id, int64_t now_ms);
/* `own_seq`: the last event of the own log now: others may have seen what happened since. Only
 * while the owner is ready: one that still reads its log does not know where it ends, and an answer
 * that comes meanwhile is a standing_failed. */
void standing_answer(struct standing *s, uint64_t id, const struct standing_seen *seen,
                     uint64_t own_seq, int64_t now_ms);
/* It cannot be reached, or did not answer in time. */
void standing_failed(struct standing *s, uint64_t id, int64_t now_ms);
/* What a node named `who` saw, learnt in any way and at any time. */
void standing_evidence(struct standing *s, const char *who, const struct standing_seen *seen,
                       uint64_t own_seq);
void standing_tick(struct standing *s, int64_t now_ms);
/* When to call tick and next again; INT64_MAX: when something happens. */
int64_t standing_deadline(const struct standing *s);

enum standing_state standing_state(const struct standing *s);
/* Why it does not serve; with `warned`, why that is a risk. Valid until the next call. */
const char *standing_text(const struct standing *s);
/* It serves though nobody could be asked. */
bool standing_warned(const struct standing *s);

/* An admin declared the slice lost. */
bool standing_forgotten(const struct standing *s);
/* The loss that is to be accepted next: the argument of OWNER_LOSS. False: none, or it cannot be
 * accepted (declared lost by an admin). */
bool standing_loss(const struct standing *s, struct standing_loss *out);
/* OWNER_LOSS with this was answered DONE_OK. When no other is known, everybody is asked anew: some
 * may have seen another log still. */
void standing_accept(struct standing *s, const struct standing_loss *loss, int64_t now_ms);

#endif
