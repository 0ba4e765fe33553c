/*
 * authority - the shell of one owner: its process starts, turns, stops, crashes and starts again.
 *
 * A turn is DESIGN 7's: read the clocks once, run expiries, then the mailbox (calls and finished
 * appends in order of arrival), then append what waits and send what is answered.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "tests/sim/sim.h"

struct owner_now authority_now(const struct sim_world *w, const struct sim_slice *s)
{
    return (struct owner_now){.boot_ms = w->now_ms - s->boot_base_ms,
                              .wall_ms = w->now_ms + SIM_WALL_MS + s->wall_jump_ms};
}

static void turn_by(struct sim_world *w, struct sim_slice *s, int64_t at_ms)
{
    at_ms = at_ms < w->now_ms ? w->now_ms : at_ms;
    if (at_ms < s->turn_at_ms) {
        s->turn_at_ms = at_ms;
        sim_at(w, at_ms, SIM_TURN, s->index, 0, s->life, NULL);
    }
}

static void drain_answers(struct sim_world *w, struct sim_slice *s)
{
    struct owner_answer a;

    while (owner_next_answer(s->owner, &a)) {
        uint32_t i = 0;
        if (a.ticket == SIM_LOCAL_TICKET) {
            witness_answer(w, s, &a);
            continue;
        }
        while (i < s->pending_count && s->pending[i].ticket != a.ticket) {
            i++;
        }
        if (i == s->pending_count) {
            sim_fail(w, "s%u: an answer to no call, or a second one (kind %d, code %d)", s->index,
                     (int)a.kind, (int)a.code);
        }
        struct sim_pending p = s->pending[i];
        s->pending[i] = s->pending[--s->pending_count];
        sim_trace(w, "s%u: answer kind %d code %d status %d to e%u ticket %llu key %s", s->index,
                  (int)a.kind, (int)a.code, (int)a.status, p.edge,
                  (unsigned long long)p.edge_ticket, sim_key_text(&p.call.key));
        check_answer(w, s, &p, &a);
        net_send_answer(w, s->index, &p, &a);
    }
}

void authority_forget_process(struct sim_world *w, struct sim_slice *s)
{
    for (uint32_t i = 0; i < s->pending_count; i++) {
        struct sim_message about = {.edge = s->pending[i].edge,
                                    .edge_life = s->pending[i].edge_life,
                                    .slice = s->index,
                                    .ticket = s->pending[i].edge_ticket};
        net_call_dropped(w, &about);
    }
    for (uint32_t i = 0; i < s->mail_count; i++) {
        if (!s->mail[i]->is_append) {
            net_call_dropped(w, s->mail[i]);
        }
        free(s->mail[i]);
    }
    s->pending_count = 0;
    s->mail_count = 0;
    s->hold_count = 0;
    s->view = NULL;
    s->stopped = false;
    s->held_back = 0;
    s->standing_on = false;
    s->silenced = false;
    s->paused = false;
    s->turn_at_ms = INT64_MAX;
    s->life++;
    free(s->owner);
    s->owner = NULL;
}

void authority_crash(struct sim_world *w, struct sim_slice *s)
{
    cover_hit(COVER_CRASH);
    if (s->log_count > s->committed) {
        cover_hit(COVER_CRASH_PROPOSED);
    }
    sim_trace(w, "s%u: crash, %u appends under way", s->index, s->log_count - s->committed);
    disk_break(w, s);
    authority_forget_process(w, s);
    if (sim_chance(w, 300)) { /* power loss, not only the process */
        cover_hit(COVER_REBOOT);
        s->boot_base_ms = w->now_ms - sim_between(w, 0, 20);
    }
    int64_t down_ms = sim_between(w, 20, sim_chance(w, 600) ? 150 : 5000);
    sim_at(w, w->now_ms + down_ms, SIM_START, s->index, 0, s->life, NULL);
}

/* After owner_stop: nothing is said of any key until a new process has read the log. */
static void stop(struct sim_world *w, struct sim_slice *s, const char *why)
{
    sim_trace(w, "s%u: stops, %s", s->index, why);
    owner_stop(s->owner, FLY_UNAVAILABLE, why);
    s->stopped = true;
    drain_answers(w, s);
    sim_at(w, w->now_ms + sim_between(w, 20, 3000), SIM_START, s->index, 0, s->life, NULL);
}

static void replay(struct sim_world *w, struct sim_slice *s, uint32_t from, uint32_t to)
{
    struct fly_error error = {0};

    for (uint32_t i = from; i < to; i++) {
        if (owner_apply(s->owner, s->log[i].data, s->log[i].size, &error) != FLY_OK) {
            sim_fail(w, "s%u: replay of entry %u: %s", s->index, i, error.text);
        }
    }
}

void authority_start(struct sim_world *w, struct sim_slice *s)
{
    struct owner_answer a;

    if (s->owner != NULL) { /* it was stopped: the old process ends here */
        authority_forget_process(w, s);
    }
    do {
        s->config.boot = fly_rng_next(&w->rng);
    } while (s->config.boot == 0);
    s->config.seed = fly_rng_next(&w->rng);
    s->owner = owner_init(calloc(1, owner_size(&s->config)), &s->config);
    uint32_t from = 0;
    if (s->snapshot.data != NULL) {
        struct fly_error error = {0};
        if (snapshot_decode(owner_state(s->owner), s->snapshot.data, s->snapshot.size, &error) !=
            FLY_OK) {
            sim_fail(w, "s%u: own snapshot does not decode: %s", s->index, error.text);
        }
        from = s->snapshot_index;
        cover_hit(COVER_SNAPSHOT_START);
    }
    if (s->committed > from && sim_chance(w, 300)) {
        cover_hit(COVER_HELD_BACK);
        s->held_back =
            1 + (uint32_t)sim_below(w, s->committed - from < 4 ? s->committed - from : 4);
    }
    replay(w, s, from, s->committed - s->held_back);
    if (owner_next_answer(s->owner, &a) || owner_ready(s->owner)) {
        sim_fail(w, "s%u: replay answered a call, or made the owner ready", s->index);
    }
    s->term++;
    sim_trace(w, "s%u: starts, %u entries from %u, term %llu", s->index, s->committed, from,
              (unsigned long long)s->term);
    if (s->held_back == 0) {
        check_recovered(w, s);
    }
    s->holds_expired = 0;
    s->ticked_ms = authority_now(w, s).boot_ms;
    s->fresh = s->committed == 0 && !s->wiped;
    witness_start(s);
    sweeper_start(w, s);
    owner_lead(s->owner, s->term, fly_rng_next(&w->rng), authority_now(w, s));
    turn_by(w, s, w->now_ms + sim_between(w, 0, 30));
}

void authority_mail(struct sim_world *w, struct sim_slice *s, struct sim_message *m)
{
    if (s->mail_count == s->mail_max) {
        s->mail_max = s->mail_max == 0 ? 32 : 2 * s->mail_max;
        s->mail = realloc(s->mail, s->mail_max * sizeof(struct sim_message *));
        FLY_CHECK(s->mail != NULL);
    }
    s->mail[s->mail_count++] = m;
    if (!s->paused) { /* a few arrive before the loop turns: they share a batch */
        turn_by(w, s, w->now_ms + sim_between(w, 0, 2));
    }
}

static void append_over(struct sim_world *w, struct sim_slice *s)
{
    s->appends_over--;
    if (sim_chance(w, w->faults.disk_eio)) {
        cover_hit(COVER_DISK_EIO);
        disk_break(w, s);
        stop(w, s, "disk error");
        return;
    }
    if (s->held_back > 0) { /* what was before its first entry is applied with it, at the latest */
        replay(w, s, s->committed - s->held_back, s->committed);
        s->held_back = 0;
        check_recovered(w, s);
    }
    disk_commit(w, s);
    const struct sim_entry *e = &s->log[s->committed - 1];
    struct fly_error error = {0};
    if (owner_apply(s->owner, e->data, e->size, &error) != FLY_OK) {
        sim_fail(w, "s%u: owner_apply: %s", s->index, error.text);
    }
    if (owner_ready(s->owner) && !s->standing_on) {
        witness_ready(w, s);
    }
    if (sim_chance(w, 100)) {
        check_recovered(w, s); /* looking at all of it after every entry would take too long */
    }
    if (s->view == NULL && sim_chance(w, 30)) {
        s->view = slice_view_take(owner_state(s->owner));
        s->view_index = s->committed;
        sim_at(w, w->now_ms + sim_between(w, 0, 300), SIM_SNAPSHOT, s->index, 0, s->life, NULL);
    }
}

static void call_in(struct sim_world *w, struct sim_slice *s, const struct sim_message *m,
                    struct owner_now now)
{
    FLY_CHECK(s->pending_count < SIM_PENDING_MAX);
    struct sim_pending *p = &s->pending[s->pending_count++];
    *p = (struct sim_pending){.ticket = ++s->next_ticket,
                              .edge = m->edge,
                              .edge_life = m->edge_life,
                              .edge_ticket = m->ticket,
                              .call = m->call};
    p->call.ticket = p->ticket;
    sim_trace(w, "s%u: call kind %d from e%u ticket %llu key %s", s->index, (int)m->call.kind,
              m->edge, (unsigned long long)m->ticket, sim_key_text(&m->call.key));
    check_call_in(w, s, &p->call);
    owner_call(s->owner, &p->call, now);
    drain_answers(w, s);
}

static void append_what_waits(struct sim_world *w, struct sim_slice *s, struct owner_now now)
{
    static uint8_t batch[SLICE_BATCH_BYTES_MAX];
    size_t size;

    while (!s->stopped && (size = owner_next_batch(s->owner, now, batch, sizeof batch)) > 0) {
        if (!disk_submit(w, s, batch, size)) {
            owner_batch_refused(s->owner, FLY_UNAVAILABLE, "disk full");
            drain_answers(w, s);
            if (!owner_ready(s->owner) && s->log_count == s->committed) {
                stop(w, s, "its first entry was refused");
            }
        }
    }
}

void authority_turn(struct sim_world *w, struct sim_slice *s)
{
    s->turn_at_ms = INT64_MAX;
    if (s->owner == NULL || s->paused) {
        return;
    }
    struct owner_now now = authority_now(w, s);
    s->ticked_ms = now.boot_ms;
    owner_tick(s->owner, now);
    for (; s->holds_expired < owner_counters(s->owner)->holds_expired; s->holds_expired++) {
        cover_hit(COVER_HOLD_EXPIRED);
    }
    uint32_t count = s->mail_count;
    s->mail_count = 0; /* nothing is pushed while a turn runs */
    for (uint32_t i = 0; i < count; i++) {
        struct sim_message *m = s->mail[i];
        if (!m->is_append) {
            call_in(w, s, m, now);
        } else if (!s->stopped) {
            append_over(w, s);
            drain_answers(w, s);
        }
        free(m);
    }
    append_what_waits(w, s, now);
    drain_answers(w, s);
    if (!s->stopped && owner_ready(s->owner)) {
        disk_append_late(w, s);
        drain_answers(w, s);
    }
    witness_publish(w, s);
    for (uint32_t i = 0; i < s->pending_count; i++) {
        s->pending[i].waited = true;
    }
    int64_t deadline_ms = owner_deadline(s->owner);
    if (deadline_ms != INT64_MAX) {
        turn_by(w, s, deadline_ms + s->boot_base_ms + sim_between(w, 0, 3));
    }
}

void authority_resume(struct sim_world *w, struct sim_slice *s)
{
    if (s->paused) {
        s->paused = false;
        sim_trace(w, "s%u: continues, %u in its mailbox", s->index, s->mail_count);
        turn_by(w, s, w->now_ms);
    }
}

void authority_wake(struct sim_world *w, struct sim_slice *s)
{
    turn_by(w, s, w->now_ms);
}

void authority_drain(struct sim_world *w, struct sim_slice *s)
{
    drain_answers(w, s);
}
