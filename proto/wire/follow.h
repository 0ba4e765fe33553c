/*
 * follow - one reader's place in one slice's stream: what to apply, what is missing, how stale.
 *
 *   EVENTS from ≤ next ≤ to+1   apply what is new                 HEARTBEAT to ≥ next   gap
 *   EVENTS from > next          gap: ask for a replay from next   other incarnation     start anew
 *
 * A gap is asked for once at a time and again after a pause; what arrives meanwhile beyond the gap
 * is not kept (the replay brings it). `below` retention: a snapshot with its seq, after which the
 * stream goes on. Every byte comes from a node that may be wrong: nothing moves `next` back, and an
 * event is delivered once, in order (I5). A slice's stream is believed from one source at a time:
 * the node that leads it by gossip's highest epoch. Pure.
 */
#ifndef FLY_WIRE_FOLLOW_H
#define FLY_WIRE_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/rng.h"
#include "proto/wire/event.h"

enum {
    FOLLOW_STALE_MS = 3000, /* three heartbeats missed */
    FOLLOW_ASK_MS = 2000,   /* an answer that takes longer counts as lost */
    FOLLOW_PAUSE_MS = 50,   /* first pause after a lost one; doubles, with jitter */
    FOLLOW_PAUSE_MAX_MS = 2000,
};

enum follow_want {
    FOLLOW_NOTHING = 0,
    FOLLOW_REPLAY,   /* events from `next` */
    FOLLOW_SNAPSHOT, /* the slice as it is now */
};

struct follow_counters {
    uint64_t applied;
    uint64_t duplicate; /* messages or events seen before */
    uint64_t gaps;
    uint64_t replays;
    uint64_t snapshots;
    uint64_t ignored; /* of another slice, or malformed */
};

/* Caller's memory; private but for the readers below. */
struct follow {
    uint32_t slice;
    uint64_t incarnation; /* 0: none known */
    uint64_t next;        /* seq of the next event */
    uint64_t known;       /* highest seq that the owner said there is */
    bool lost;            /* a snapshot is needed */
    bool asking;
    int64_t due_ms; /* answer counts as lost, or the pause is over */
    int64_t pause_ms;
    int64_t heard_ms; /* last message or answer; INT64_MIN: never */
    struct fly_rng rng;
    struct follow_counters counters;
};

void follow_init(struct follow *f, uint32_t slice, uint64_t seed);
/* A message of the stream. Calls `apply` for each new event, in order. */
void follow_receive(struct follow *f, const struct event_message *message, int64_t now_ms,
                    void (*apply)(void *user, const struct event *event), void *user);
/* What to ask the owner for now; it counts as asked. */
enum follow_want follow_next(struct follow *f, int64_t now_ms);
/* A page of a replay: `events` (may hold none) of the log `incarnation`, whose last is `last`;
 * `below`: not kept any more. */
void follow_replayed(struct follow *f, uint64_t incarnation, bool below, uint64_t last,
                     const struct event_message *events, int64_t now_ms,
                     void (*apply)(void *user, const struct event *event), void *user);
/* The caller has taken a snapshot of this incarnation at `seq`. */
void follow_snapshot(struct follow *f, uint64_t incarnation, uint64_t seq, int64_t now_ms);
/* The question failed: again after a pause. */
void follow_failed(struct follow *f, int64_t now_ms);
/* When follow_next may have something to say; INT64_MAX: never without a message. */
int64_t follow_deadline(const struct follow *f);
/* In step with the owner, and heard of lately. */
bool follow_live(const struct follow *f, int64_t now_ms);
/* How old the picture is: ms since the last word, INT64_MAX: never heard. */
int64_t follow_stale_ms(const struct follow *f, int64_t now_ms);

#endif
