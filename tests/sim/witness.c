/*
 * witness - what edges remember of a slice's log, and the shell of `standing`: it asks them over
 * the same bad network, keeps the owner silent until it may speak, and lets somebody accept a loss.
 *
 * Judged here: an owner that never lost anything is never quarantined, and one that did serves only
 * where every edge that could have told was out of reach. That case is DESIGN 4.10's limit: the
 * seed ends with it, nothing is promised any more.
 */
#include <stdlib.h>

#include "proto/base/check.h"
#include "tests/sim/sim.h"

enum { ASK_LOST_MS = 1000, LOOK_MS = 1000 };

static int64_t boot_ms(const struct sim_world *w, const struct sim_slice *s)
{
    return authority_now(w, s).boot_ms;
}

static void ask_again(struct sim_world *w, struct sim_slice *s, int64_t in_ms)
{
    sim_at(w, w->now_ms + in_ms, SIM_ASK, s->index, 0, s->life, NULL);
}

static void ask_first(struct sim_slice *s)
{
    s->silenced = true;
    for (unsigned i = 0; i < SIM_EDGES_MAX; i++) {
        s->ask_failed[i] = false;
    }
    owner_quarantine(s->owner, FLY_UNAVAILABLE, "asking the others what they saw of this log");
}

void witness_start(struct sim_slice *s)
{
    s->standing_on = false; /* it says nothing anyway until an entry of its own term is applied */
    s->silenced = false;
}

/* By the checker's own reckoning: who remembers this saw what is not in the log. */
static bool saw_more(const struct sim_slice *s, const struct standing_seen *seen)
{
    const struct slice_totals *sum = &s->oracle->totals;

    if (!seen->known) {
        return false;
    }
    if (seen->incarnation == sum->incarnation) {
        return seen->seq > sum->seq;
    }
    for (unsigned i = 0; i < SLICE_LOST_MAX; i++) {
        if (sum->lost[i] == seen->incarnation) {
            return false;
        }
    }
    return true;
}

static void begin_to_serve(struct sim_world *w, struct sim_slice *s)
{
    sim_trace(w, "s%u: may speak%s", s->index, standing_warned(&s->standing) ? ", warned" : "");
    for (uint32_t i = 0; i < w->edge_count; i++) {
        const struct sim_edge *e = &w->edges[i];
        if (!saw_more(s, &e->seen[s->index])) {
            continue;
        }
        bool waited = s->standing.waited_ms >= STANDING_ALONE_MS;
        bool gone = s->standing.members[i].presence == STANDING_GONE; /* gossip has not said more */
        if (!s->ask_failed[i] && !e->down && !gone && !waited) {
            sim_fail(w, "4.10: s%u serves, and e%u could be asked and saw event %llu", s->index, i,
                     (unsigned long long)e->seen[s->index].seq);
        }
        cover_hit(COVER_LIMIT);
        w->limit = true;
    }
    if (standing_warned(&s->standing)) {
        cover_hit(COVER_SERVES_ALONE);
    }
    s->silenced = false;
    owner_release_quarantine(s->owner);
}

static void be_silent(struct sim_world *w, struct sim_slice *s)
{
    const char *text = standing_text(&s->standing);

    sim_trace(w, "s%u: quarantined: %s", s->index, text);
    cover_hit(s->silenced ? COVER_QUARANTINED : COVER_QUARANTINED_LATE);
    s->silenced = true;
    s->hold_count = 0;
    owner_quarantine(s->owner, FLY_FAILED_PRECONDITION, text);
    authority_drain(w, s);
    sim_at(w, w->now_ms + sim_between(w, 200, w->healing || sim_chance(w, 500) ? 2000 : 20000),
           SIM_ACCEPT, s->index, 0, s->life, NULL);
}

/* What standing says now, carried out. */
static void obey(struct sim_world *w, struct sim_slice *s, enum standing_state before)
{
    enum standing_state now = standing_state(&s->standing);

    if (now != before && now == STANDING_SERVE) {
        begin_to_serve(w, s);
    } else if (now != before && now == STANDING_QUARANTINED) {
        be_silent(w, s);
    } else if (now != before && now == STANDING_WAIT) {
        ask_first(s);
        ask_again(w, s, 0);
    }
}

void witness_ready(struct sim_world *w, struct sim_slice *s)
{
    const struct slice_totals *sum = slice_totals(owner_state(s->owner));
    struct standing_log log = {.incarnation = sum->incarnation, .seq = sum->seq, .fresh = s->fresh};

    for (unsigned i = 0; i < SLICE_LOST_MAX; i++) {
        log.lost[i] = sum->lost[i];
    }
    s->standing_on = true;
    ask_first(s);
    standing_init(&s->standing, &log, boot_ms(w, s));
    for (uint32_t i = 0; i < w->edge_count; i++) {
        const char name[] = {'e', (char)('0' + i), 0};
        standing_member(&s->standing, i + 1, name, STANDING_EXPECTED);
    }
    standing_tick(&s->standing, boot_ms(w, s));
    obey(w, s, STANDING_WAIT);
    ask_again(w, s, sim_between(w, 0, 50));
}

void witness_publish(struct sim_world *w, struct sim_slice *s)
{
    const struct slice_totals *sum = slice_totals(owner_state(s->owner));

    if (s->silenced || s->stopped || !owner_ready(s->owner)) {
        return;
    }
    for (uint32_t i = 0; i < w->edge_count; i++) {
        struct sim_edge *e = &w->edges[i];
        if (!e->down && !e->paused && !w->cut_answers[i][s->index] && sim_chance(w, 500)) {
            e->seen[s->index] = (struct standing_seen){
                .known = sum->seq > 0, .incarnation = sum->incarnation, .seq = sum->seq};
        }
    }
}

static void ask(struct sim_world *w, struct sim_slice *s, uint32_t edge)
{
    const struct sim_edge *e = &w->edges[edge];
    struct sim_message *m = calloc(1, sizeof *m);

    FLY_CHECK(m != NULL);
    m->edge = edge;
    m->seen = e->seen[s->index];
    m->failed = e->down || e->paused || w->cut_calls[edge][s->index] ||
                w->cut_answers[edge][s->index] || sim_chance(w, w->faults.call_lost);
    if (m->failed) {
        cover_hit(COVER_ASK_LOST);
        s->ask_failed[edge] = true;
    }
    int64_t takes_ms = m->failed                       ? ASK_LOST_MS
                       : sim_chance(w, w->faults.slow) ? sim_between(w, 20, ASK_LOST_MS - 1)
                                                       : sim_between(w, 0, 8);
    sim_at(w, w->now_ms + takes_ms, SIM_SEEN, s->index, edge, s->life, m);
}

static void look_around(struct sim_world *w, struct sim_slice *s)
{
    enum standing_state before = standing_state(&s->standing);
    uint64_t id;

    for (uint32_t i = 0; i < w->edge_count; i++) {
        const struct sim_edge *e = &w->edges[i];
        const char name[] = {'e', (char)('0' + i), 0};
        if (e->down) {
            s->ask_failed[i] = true;
            standing_member(&s->standing, i + 1, name, STANDING_GONE);
        } else if (sim_chance(w, 700)) { /* gossip takes its time */
            standing_member(&s->standing, i + 1, name, STANDING_ALIVE);
        }
    }
    standing_tick(&s->standing, boot_ms(w, s));
    obey(w, s, before);
    while (standing_next(&s->standing, &id, boot_ms(w, s))) {
        ask(w, s, (uint32_t)id - 1);
    }
    bool waits = standing_state(&s->standing) == STANDING_WAIT;
    if (waits || !w->healing) {
        ask_again(w, s, waits ? sim_between(w, 10, 200) : sim_between(w, 500, 2 * LOOK_MS));
    }
}

static void hear(struct sim_world *w, struct sim_slice *s, const struct sim_event *e)
{
    enum standing_state before = standing_state(&s->standing);
    uint64_t own_seq = slice_totals(owner_state(s->owner))->seq;
    const struct sim_message *m = e->message;

    if (m->failed) {
        standing_failed(&s->standing, e->other + 1, boot_ms(w, s));
    } else {
        bool more = saw_more(s, &m->seen);
        standing_answer(&s->standing, e->other + 1, &m->seen, own_seq, boot_ms(w, s));
        if (before != standing_state(&s->standing) && !more &&
            standing_state(&s->standing) == STANDING_QUARANTINED) {
            sim_fail(w, "4.10: s%u is quarantined and has lost nothing: %s", s->index,
                     standing_text(&s->standing));
        }
    }
    obey(w, s, before);
}

static void accept(struct sim_world *w, struct sim_slice *s)
{
    struct standing_loss loss;
    struct owner_call call = {.kind = OWNER_LOSS, .ticket = SIM_LOCAL_TICKET};

    if (!standing_loss(&s->standing, &loss)) {
        return;
    }
    call.incarnation = loss.incarnation;
    call.seq = loss.seq;
    sim_trace(w, "s%u: the loss up to event %llu is accepted", s->index,
              (unsigned long long)loss.seq);
    owner_call(s->owner, &call, authority_now(w, s));
    authority_drain(w, s);
    authority_wake(w, s);
}

void witness_answer(struct sim_world *w, struct sim_slice *s, const struct owner_answer *a)
{
    enum standing_state before = standing_state(&s->standing);
    struct standing_loss loss;

    cover_answer(a->kind, a->code);
    if (a->code == OWNER_DONE_OK && standing_loss(&s->standing, &loss)) {
        standing_accept(&s->standing, &loss, boot_ms(w, s));
        obey(w, s, before);
    }
    if (standing_state(&s->standing) == STANDING_QUARANTINED && !s->stopped) {
        sim_at(w, w->now_ms + 500, SIM_ACCEPT, s->index, 0, s->life, NULL);
    }
}

void witness_event(struct sim_world *w, struct sim_slice *s, struct sim_event *e)
{
    if (s->owner == NULL || s->stopped || !s->standing_on) {
        return;
    }
    if (s->paused) { /* later */
        sim_at(w, w->now_ms + 50, e->kind, e->who, e->other, e->life, e->message);
        e->message = NULL;
    } else if (e->kind == SIM_ASK) {
        look_around(w, s);
    } else if (e->kind == SIM_SEEN) {
        hear(w, s, e);
    } else {
        accept(w, s);
    }
}
