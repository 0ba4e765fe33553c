#include "node/slice/standing.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"

static void set_text(struct standing *s, const char *text)
{
    FLY_CHECK(fly_copy_string(s->text, sizeof s->text, text));
}

static void wait(struct standing *s, int64_t now_ms)
{
    s->state = STANDING_WAIT;
    s->told_ms = now_ms;
    s->waited_ms = 0;
    set_text(s, "asking the other nodes what they saw of this slice's log");
}

void standing_init(struct standing *s, const struct standing_log *log, int64_t now_ms)
{
    *s = (struct standing){.log = *log};
    wait(s, now_ms);
}

static struct standing_member *find(struct standing *s, uint64_t id)
{
    for (uint32_t i = 0; i < s->member_count; i++) {
        if (s->members[i].id == id) {
            return &s->members[i];
        }
    }
    return NULL;
}

void standing_member(struct standing *s, uint64_t id, const char *name,
                     enum standing_presence presence)
{
    struct standing_member *m = find(s, id);

    FLY_CHECK(id != 0);
    if (m == NULL && s->member_count == STANDING_MEMBERS_MAX) {
        s->members_refused++;
        return;
    }
    if (m == NULL) {
        m = &s->members[s->member_count++];
        *m = (struct standing_member){.id = id, .presence = STANDING_GONE};
    }
    bool back = presence == STANDING_ALIVE && m->presence == STANDING_GONE;
    if (back && m->ask != STANDING_ASKING) { /* it may have seen something where it was */
        m->ask = STANDING_NOT_ASKED;
    }
    m->presence = presence;
    (void)fly_copy_string(m->name, sizeof m->name, name);
}

static bool may_be_asked(const struct standing_member *m, int64_t now_ms)
{
    return m->presence == STANDING_ALIVE &&
           (m->ask == STANDING_NOT_ASKED || (m->ask == STANDING_FAILED && m->again_ms <= now_ms));
}

bool standing_next(struct standing *s, uint64_t *id, int64_t now_ms)
{
    for (uint32_t i = 0; i < s->member_count; i++) {
        struct standing_member *m = &s->members[i];
        if (may_be_asked(m, now_ms)) {
            m->ask = STANDING_ASKING;
            *id = m->id;
            return true;
        }
    }
    return false;
}

static void serve(struct standing *s)
{
    s->state = STANDING_SERVE;
    s->text[0] = '\0';
}

/* Whether WAIT is over. Evidence ends it elsewhere. */
static void judge(struct standing *s, int64_t now_ms)
{
    uint32_t answered = 0; /* by anybody, gone since or not */
    uint32_t open = 0;     /* alive, the answer may come any moment */
    uint32_t missing = 0;  /* expected, or alive and out of reach */
    int64_t passed_ms = now_ms - s->told_ms;

    s->told_ms = now_ms;
    s->waited_ms += passed_ms < STANDING_STEP_MS ? passed_ms : STANDING_STEP_MS;
    if (s->state != STANDING_WAIT) {
        return;
    }
    for (uint32_t i = 0; i < s->member_count; i++) {
        const struct standing_member *m = &s->members[i];
        bool alive = m->presence == STANDING_ALIVE;
        answered += m->ask == STANDING_ANSWERED;
        open += alive && (m->ask == STANDING_NOT_ASKED || m->ask == STANDING_ASKING);
        missing += m->presence == STANDING_EXPECTED || (alive && m->ask == STANDING_FAILED);
    }
    if (s->log.fresh || s->member_count == 0 || (answered > 0 && open + missing == 0) ||
        (answered > 0 && open == 0 && s->waited_ms >= STANDING_WAIT_MS)) {
        serve(s);
    } else if (s->waited_ms >= STANDING_ALONE_MS) {
        serve(s);
        s->warned = answered == 0;
        if (s->warned) {
            set_text(s, "no other node could be asked what it saw of this slice's log");
        }
    }
}

static void quarantine(struct standing *s, const char *text)
{
    if (s->state != STANDING_QUARANTINED) { /* the first reason stays */
        s->state = STANDING_QUARANTINED;
        set_text(s, text);
    }
}

static void add_loss(struct standing *s, const struct standing_seen *seen)
{
    for (uint32_t i = 0; i < s->loss_count; i++) {
        struct standing_loss *l = &s->losses[i];
        if (l->incarnation == seen->incarnation) {
            l->seq = seen->seq > l->seq ? seen->seq : l->seq;
            return;
        }
    }
    if (s->loss_count < STANDING_LOSSES_MAX) {
        s->losses[s->loss_count++] =
            (struct standing_loss){.incarnation = seen->incarnation, .seq = seen->seq};
    }
}

static bool loss_accepted(const struct standing *s, uint64_t incarnation)
{
    for (unsigned i = 0; i < SLICE_LOST_MAX; i++) {
        if (s->log.lost[i] == incarnation) {
            return true;
        }
    }
    return false;
}

void standing_evidence(struct standing *s, const char *who, const struct standing_seen *seen,
                       uint64_t own_seq)
{
    char text[STANDING_TEXT_SIZE];

    if (own_seq > s->log.seq) {
        s->log.seq = own_seq;
    }
    if (seen->forgotten) {
        s->forgotten = true;
        quarantine(s, "declared lost by `slice forget`; its VMs are orphans");
        return;
    }
    if (!seen->known) {
        return;
    }
    if (seen->seq > STANDING_SEQ_MAX) {
        s->absurd++;
        return;
    }
    if (seen->incarnation == s->log.incarnation) {
        if (seen->seq <= s->log.seq) {
            return;
        }
        (void)snprintf(text, sizeof text,
                       "%s saw event %" PRIu64 " of this log, here it ends at %" PRIu64
                       ": an old copy of the state folder?",
                       who, seen->seq, s->log.seq);
    } else if (loss_accepted(s, seen->incarnation)) {
        return;
    } else {
        (void)snprintf(text, sizeof text,
                       "%s saw another log of this slice (%016" PRIx64 " to event %" PRIu64
                       "), this one is %016" PRIx64,
                       who, seen->incarnation, seen->seq, s->log.incarnation);
    }
    add_loss(s, seen);
    quarantine(s, text);
}

void standing_answer(struct standing *s, uint64_t id, const struct standing_seen *seen,
                     uint64_t own_seq, int64_t now_ms)
{
    struct standing_member *m = find(s, id);

    if (m == NULL || m->ask != STANDING_ASKING) {
        return;
    }
    m->ask = STANDING_ANSWERED;
    m->pause_ms = 0;
    if (s->warned) { /* here is somebody after all */
        s->warned = false;
        s->text[0] = '\0';
    }
    standing_evidence(s, m->name, seen, own_seq);
    judge(s, now_ms);
}

void standing_failed(struct standing *s, uint64_t id, int64_t now_ms)
{
    struct standing_member *m = find(s, id);

    if (m == NULL || m->ask != STANDING_ASKING) {
        return;
    }
    m->ask = STANDING_FAILED;
    m->pause_ms = m->pause_ms == 0 ? STANDING_AGAIN_MS : 2 * m->pause_ms;
    if (m->pause_ms > STANDING_AGAIN_MAX_MS) {
        m->pause_ms = STANDING_AGAIN_MAX_MS;
    }
    m->again_ms = now_ms + m->pause_ms;
    judge(s, now_ms);
}

void standing_tick(struct standing *s, int64_t now_ms)
{
    judge(s, now_ms);
}

int64_t standing_deadline(const struct standing *s)
{
    int64_t at_ms = INT64_MAX;

    if (s->state == STANDING_WAIT) {
        int64_t until_ms = s->waited_ms < STANDING_WAIT_MS ? STANDING_WAIT_MS : STANDING_ALONE_MS;
        int64_t left_ms = until_ms - s->waited_ms;
        at_ms = s->told_ms + (left_ms < STANDING_STEP_MS ? left_ms : STANDING_STEP_MS);
    }
    for (uint32_t i = 0; i < s->member_count; i++) {
        const struct standing_member *m = &s->members[i];
        if (m->presence != STANDING_ALIVE) {
            continue;
        }
        if (m->ask == STANDING_NOT_ASKED) {
            return s->told_ms;
        }
        if (m->ask == STANDING_FAILED && m->again_ms < at_ms) {
            at_ms = m->again_ms;
        }
    }
    return at_ms;
}

enum standing_state standing_state(const struct standing *s)
{
    return s->state;
}

const char *standing_text(const struct standing *s)
{
    return s->text;
}

bool standing_warned(const struct standing *s)
{
    return s->warned;
}

bool standing_forgotten(const struct standing *s)
{
    return s->forgotten;
}

bool standing_loss(const struct standing *s, struct standing_loss *out)
{
    if (s->state != STANDING_QUARANTINED || s->forgotten || s->loss_count == 0) {
        return false;
    }
    *out = s->losses[0];
    return true;
}

void standing_accept(struct standing *s, const struct standing_loss *loss, int64_t now_ms)
{
    uint32_t kept = 0;

    if (loss->incarnation != s->log.incarnation && !loss_accepted(s, loss->incarnation)) {
        memmove(s->log.lost + 1, s->log.lost, sizeof s->log.lost - sizeof s->log.lost[0]);
        s->log.lost[0] = loss->incarnation;
    }
    for (uint32_t i = 0; i < s->loss_count; i++) {
        const struct standing_loss *l = &s->losses[i];
        if (l->incarnation != loss->incarnation || l->seq > loss->seq) {
            s->losses[kept++] = *l;
        }
    }
    s->loss_count = kept;
    if (kept > 0 || s->forgotten || s->state != STANDING_QUARANTINED) {
        return;
    }
    for (uint32_t i = 0; i < s->member_count; i++) {
        struct standing_member *m = &s->members[i];
        m->ask = m->ask == STANDING_ASKING ? STANDING_ASKING : STANDING_NOT_ASKED;
        m->pause_ms = 0; /* who was out of reach for long is asked soon, too */
    }
    s->log.fresh = false;
    wait(s, now_ms);
}
