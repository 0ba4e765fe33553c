#include "proto/wire/follow.h"

#include <string.h>

#include "proto/base/check.h"

/* The highest seq there can be: `next` is one above. No slice comes near it. */
static const uint64_t seq_max = UINT64_MAX - 1;

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static bool missing(const struct follow *f)
{
    return f->lost || f->known >= f->next;
}

static void in_step(struct follow *f, int64_t now_ms)
{
    if (now_ms > f->heard_ms) {
        f->heard_ms = now_ms;
    }
}

void follow_init(struct follow *f, uint32_t slice, uint64_t seed)
{
    *f = (struct follow){
        .slice = slice,
        .next = 1,
        .lost = true,
        .heard_ms = INT64_MIN,
    };
    fly_rng_seed(&f->rng, seed);
}

void follow_resume(struct follow *f, uint64_t incarnation, uint64_t seq)
{
    f->asking = false;
    f->incarnation = incarnation;
    f->lost = incarnation == 0 || seq > seq_max;
    f->next = f->lost ? 1 : seq + 1;
    f->known = f->next - 1;
    f->doubt = false;
    f->due_ms = 0;
    f->pause_ms = 0;
    f->heard_ms = INT64_MIN;
}

void follow_moved(struct follow *f, int64_t now_ms)
{
    f->asking = false;
    f->doubt = true; /* a new leader's log may be another one */
    f->due_ms = now_ms;
    f->pause_ms = 0;
}

/* The question is over and brought nothing: the next one waits. */
static void ask_later(struct follow *f, int64_t now_ms)
{
    int64_t pause = f->pause_ms == 0 ? FOLLOW_PAUSE_MS : f->pause_ms * 2;

    f->pause_ms = pause < FOLLOW_PAUSE_MAX_MS ? pause : FOLLOW_PAUSE_MAX_MS;
    f->asking = false;
    f->due_ms =
        now_ms + f->pause_ms / 2 + (int64_t)fly_rng_below(&f->rng, (uint64_t)(f->pause_ms / 2 + 1));
}

/* --- messages --- */

/* Applies what of from..to is new. The caller has looked that from ≤ next ≤ to. */
static void apply(struct follow *f, const struct event_message *message,
                  const struct follow_sink *sink)
{
    struct event_message rest = *message;
    struct event_machine machine;
    struct event event;

    if (message->form == EVENT_FORM_STATE) {
        while (event_message_next_machine(&rest, &machine)) {
            sink->machine(sink->user, message, &machine);
        }
    } else {
        while (event_message_next(&rest, &event)) {
            if (event.seq >= f->next) {
                sink->event(sink->user, &event);
            }
        }
    }
    f->counters.applied += message->to + 1 - f->next;
    f->next = message->to + 1;
    f->known = larger(f->known, message->to);
}

static bool fits(const struct follow *f, const struct event_message *message,
                 const struct follow_sink *sink)
{
    bool carries = message->form == EVENT_FORM_EVENTS ||
                   (message->form == EVENT_FORM_STATE && sink->machine != NULL);

    return carries && message->from <= f->next && message->to >= f->next;
}

void follow_receive(struct follow *f, const struct event_message *message, int64_t now_ms,
                    const struct follow_sink *sink)
{
    bool was_missing = missing(f);

    if (message->slice != f->slice || message->incarnation == 0 || message->to > seq_max) {
        f->counters.ignored++;
        return;
    }
    if (message->incarnation != f->incarnation) {
        f->counters.ignored++;
        f->doubt = true;
        return;
    }
    if (f->lost) {
        f->known = larger(f->known, message->to); /* the snapshot may be older than this */
        return;
    }
    if (fits(f, message, sink)) {
        apply(f, message, sink);
    } else if (message->to >= f->next) {
        f->known = larger(f->known, message->to);
    } else if (message->form != EVENT_FORM_HEARTBEAT) {
        f->counters.duplicate++;
    }
    if (missing(f)) {
        f->counters.gaps += was_missing ? 0 : 1;
    } else if (message->to + 1 == f->next) {
        in_step(f, now_ms);
    }
}

/* --- questions --- */

/* When there is something to ask, were nothing pausing; INT64_MAX: never. */
static int64_t wanted_ms(const struct follow *f)
{
    if (missing(f) || f->doubt || f->heard_ms == INT64_MIN) {
        return INT64_MIN;
    }
    return f->heard_ms + FOLLOW_STALE_MS;
}

int64_t follow_deadline(const struct follow *f)
{
    int64_t wanted = wanted_ms(f);

    return f->asking || wanted < f->due_ms ? f->due_ms : wanted;
}

enum follow_want follow_next(struct follow *f, int64_t now_ms)
{
    if (f->asking && now_ms >= f->due_ms) {
        ask_later(f, now_ms);
    }
    if (f->asking || now_ms < f->due_ms || now_ms < wanted_ms(f)) {
        return FOLLOW_NOTHING;
    }
    f->asking = true;
    f->question++;
    f->asked_next = f->next;
    f->asked_known = f->known;
    f->due_ms = now_ms + (f->lost ? FOLLOW_SNAPSHOT_MS : FOLLOW_ASK_MS);
    if (f->lost) {
        return FOLLOW_SNAPSHOT;
    }
    f->counters.replays++;
    return FOLLOW_REPLAY;
}

static void lose(struct follow *f, uint64_t incarnation, uint64_t last)
{
    f->lost = true;
    f->incarnation = incarnation;
    f->known = last;
}

/* Takes the events of an answer; whether there were new ones. */
static bool take_page(struct follow *f, uint64_t incarnation, const struct event_message *events,
                      const struct follow_sink *sink)
{
    if (events == NULL || f->lost || incarnation != f->incarnation) {
        return false;
    }
    if (events->slice != f->slice || events->incarnation != incarnation || events->to > seq_max ||
        events->form != EVENT_FORM_EVENTS) {
        f->counters.ignored++;
        return false;
    }
    if (!fits(f, events, sink)) {
        return false;
    }
    apply(f, events, sink);
    return true;
}

void follow_replayed(struct follow *f, uint32_t question, uint64_t incarnation, bool below,
                     uint64_t last, const struct event_message *events, int64_t now_ms,
                     const struct follow_sink *sink)
{
    bool late = !f->asking || question != f->question;
    bool ours = incarnation == f->incarnation;
    bool said_since = f->known != f->asked_known; /* the answer may be older than that word */

    if (incarnation == 0 || last > seq_max) {
        f->counters.ignored++;
        follow_failed(f, question, now_ms);
        return;
    }
    bool progress = take_page(f, incarnation, events, sink);
    if (late || f->lost) {
        return;
    }
    f->doubt = false;
    if (!ours || below || last + 1 < f->asked_next) {
        lose(f, incarnation, last);
        ask_later(f, now_ms);
        return;
    }
    if (!said_since) {
        f->known = larger(last, f->next - 1);
    }
    if (!missing(f)) {
        in_step(f, now_ms);
    }
    if (progress) {
        f->asking = false;
        f->pause_ms = 0;
        f->due_ms = now_ms;
    } else {
        ask_later(f, now_ms);
    }
}

bool follow_snapshot(struct follow *f, uint32_t question, uint64_t incarnation, uint64_t seq,
                     int64_t now_ms)
{
    if (incarnation == 0 || seq > seq_max) {
        f->counters.ignored++;
        follow_failed(f, question, now_ms);
        return false;
    }
    if (!f->lost) {
        return false;
    }
    f->known = f->incarnation == incarnation ? larger(f->known, seq) : seq;
    f->incarnation = incarnation;
    f->next = seq + 1;
    f->lost = false;
    f->doubt = false;
    f->asking = false; /* one that is still under way is void */
    f->due_ms = now_ms;
    f->counters.snapshots++;
    if (!missing(f)) {
        in_step(f, now_ms);
    }
    return true;
}

void follow_failed(struct follow *f, uint32_t question, int64_t now_ms)
{
    if (f->asking && question == f->question) {
        ask_later(f, now_ms);
    }
}

bool follow_live(const struct follow *f, int64_t now_ms)
{
    return !missing(f) && follow_stale_ms(f, now_ms) < FOLLOW_STALE_MS;
}

int64_t follow_stale_ms(const struct follow *f, int64_t now_ms)
{
    if (f->heard_ms == INT64_MIN) {
        return INT64_MAX;
    }
    return now_ms > f->heard_ms ? now_ms - f->heard_ms : 0;
}
