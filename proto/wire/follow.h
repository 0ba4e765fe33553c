/*
 * follow - one reader's place in one slice's stream: what to apply, what is missing, how stale.
 *
 *   EVENTS from ≤ next ≤ to     apply what is new        HEARTBEAT to ≥ next   gap
 *   EVENTS from > next          gap                      to + 1 == next        in step
 *   gap                         ask for a replay from `next`, one question at a time
 *   STATE                       as EVENTS for a reader that takes states, as HEARTBEAT for others
 *
 * What lies beyond a gap is not kept (the replay brings it). `below` retention: a snapshot with its
 * seq, after which the stream goes on. An event is delivered once and in order (I5); nothing but a
 * snapshot moves `next` back.
 *
 * A message may lie: who holds the group key can seal anything. So it only ever adds events that
 * fit, or leads to a question, and the answer, which comes by RPC from the node that leads the
 * slice, is the truth:
 *
 *   another incarnation   the slice was founded anew, its log replaced, or a lie: ask. The answer's
 *                         incarnation is ours: go on; another: `lost`, a snapshot is needed
 *   a `to` far ahead      ask; the answer's `last` takes its place
 *   events made up        `next` runs ahead of the owner: no true message is in step any more, so
 *                         after FOLLOW_STALE_MS we ask, and an answer that ends before what we held
 *                         when we asked is `lost`
 *   nothing at all        ask each FOLLOW_STALE_MS: a dead PUB connection only slows the picture
 *
 * A question that brought nothing new makes the next one wait, up to FOLLOW_PAUSE_MAX_MS: a liar
 * costs about one empty question in two seconds, and what true messages bring is applied all the
 * while. What a lie that fits says is believed until a later event or snapshot: the caller must
 * therefore hand in messages of one source only, the node that leads the slice by gossip's highest
 * epoch. Pure.
 */
#ifndef FLY_WIRE_FOLLOW_H
#define FLY_WIRE_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/rng.h"
#include "proto/wire/event.h"

enum {
    FOLLOW_STALE_MS = 3000,     /* three heartbeats missed */
    FOLLOW_ASK_MS = 2000,       /* an answer that takes longer counts as lost */
    FOLLOW_SNAPSHOT_MS = 30000, /* the same for a snapshot, which has many pages */
    FOLLOW_PAUSE_MS = 50,       /* first pause after a question in vain; doubles, with jitter */
    FOLLOW_PAUSE_MAX_MS = 2000,
};

enum follow_want {
    FOLLOW_NOTHING = 0,
    FOLLOW_REPLAY,   /* events of f->incarnation from f->next */
    FOLLOW_SNAPSHOT, /* the slice as it is now */
};

/* Who takes what is new. */
struct follow_sink {
    void (*event)(void *user, const struct event *event);
    /* One machine as it is at message->to. NULL: this reader needs every event. */
    void (*machine)(void *user, const struct event_message *message,
                    const struct event_machine *machine);
    void *user;
};

struct follow_counters {
    uint64_t applied;   /* events; a STATE counts as its whole range */
    uint64_t duplicate; /* messages that held nothing new */
    uint64_t gaps;      /* times that something began to be missing */
    uint64_t replays;   /* questions */
    uint64_t snapshots; /* taken */
    uint64_t ignored;   /* messages and answers of another slice or incarnation, or impossible */
};

/* Caller's memory; readable, written by follow_* only. */
struct follow {
    uint32_t slice;
    uint64_t incarnation; /* of the picture; 0: none known */
    uint64_t next;        /* seq of the next event */
    uint64_t known;       /* highest seq that somebody said there is; truth only after an answer */
    bool lost;            /* a snapshot is needed; nothing is applied until then */
    bool doubt;           /* somebody spoke of another incarnation */
    bool asking;
    uint32_t question;   /* number of the last one; goes back in with its answer */
    uint64_t asked_next; /* `next` and `known` when it was asked */
    uint64_t asked_known;
    int64_t due_ms; /* asking: the answer counts as lost then; else no question before */
    int64_t pause_ms;
    int64_t heard_ms; /* last word that left us in step; INT64_MIN: never */
    struct fly_rng rng;
    struct follow_counters counters;
};

/* Knows nothing: the first want is a snapshot. */
void follow_init(struct follow *f, uint32_t slice, uint64_t seed);
/* Stands behind event `seq` of a cursor that may be of any age; the first want is a replay. */
void follow_resume(struct follow *f, uint64_t incarnation, uint64_t seq);
/* Another node leads the slice now: whatever was asked is void, and asking begins at once. */
void follow_moved(struct follow *f, int64_t now_ms);

/* A message of the stream, from the node that leads the slice. Hands what is new to the sink. */
void follow_receive(struct follow *f, const struct event_message *message, int64_t now_ms,
                    const struct follow_sink *sink);

/* What to ask the owner for now; it counts as asked, under the number f->question. Each question
 * should end in one call of follow_replayed, follow_snapshot or follow_failed. */
enum follow_want follow_next(struct follow *f, int64_t now_ms);
/* When follow_next may have something to say, without another call before; ≥ 0. */
int64_t follow_deadline(const struct follow *f);

/* A page of a replay: the owner's log is `incarnation` and ends with event `last`; `below`: what
 * was asked is not kept any more; `events`: an EVENTS message, or NULL. A late answer still brings
 * its events, but proves nothing. */
void follow_replayed(struct follow *f, uint32_t question, uint64_t incarnation, bool below,
                     uint64_t last, const struct event_message *events, int64_t now_ms,
                     const struct follow_sink *sink);
/* A snapshot of this incarnation at `seq` has come. True: the caller makes it its picture now, and
 * shows watchers a reset. False: it is not needed any more, or is none: the caller drops it. */
bool follow_snapshot(struct follow *f, uint32_t question, uint64_t incarnation, uint64_t seq,
                     int64_t now_ms);
/* The question failed: again after a pause. */
void follow_failed(struct follow *f, uint32_t question, int64_t now_ms);

/* In step with the owner as far as is known, and heard of lately. */
bool follow_live(const struct follow *f, int64_t now_ms);
/* How old the picture is: ms since we were last in step; INT64_MAX: never. */
int64_t follow_stale_ms(const struct follow *f, int64_t now_ms);

#endif
