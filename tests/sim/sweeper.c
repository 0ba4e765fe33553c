/*
 * sweeper - the shell of `sweep` on the node of each slice. Its calls go over the same network as
 * everybody's, from a place of its own behind the edges.
 */
#include "proto/base/check.h"
#include "tests/sim/sim.h"

static struct sim_edge *place(struct sim_world *w, const struct sim_slice *s)
{
    return &w->edges[SIM_EDGES_MAX + s->index];
}

static enum sweep_found at(void *user, uint32_t slot, struct key_away *out)
{
    struct sim_slice *s = user;

    if (slot >= slice_record_slots(owner_state(s->owner))) {
        return SWEEP_END;
    }
    return owner_away_at(s->owner, slot, out) ? SWEEP_AWAY : SWEEP_NOTHING;
}

static void tick_at(struct sim_world *w, struct sim_slice *s, int64_t at_ms)
{
    at_ms = at_ms < w->now_ms ? w->now_ms : at_ms;
    if (at_ms < s->sweep_at_ms) {
        s->sweep_at_ms = at_ms;
        sim_at(w, at_ms, SIM_SWEEP, s->index, 0, s->life, NULL);
    }
}

void sweeper_start(struct sim_world *w, struct sim_slice *s)
{
    struct sim_edge *e = place(w, s);

    e->index = SIM_EDGES_MAX + s->index;
    e->life++;
    sweep_init(&s->sweep, s->tag, w->slices[0].tag, 1, fly_rng_next(&w->rng),
               authority_now(w, s).boot_ms);
    s->sweep_at_ms = INT64_MAX;
    tick_at(w, s, w->now_ms + SWEEP_ROUND_MS);
}

static uint32_t slice_of(struct sim_world *w, uint32_t tag)
{
    uint32_t i = 0;

    while (w->slices[i].tag != tag) {
        i++;
        FLY_CHECK(i < w->slice_count);
    }
    return i;
}

static void pump(struct sim_world *w, struct sim_slice *s, const struct sweep_counters *before)
{
    const struct sweep_counters *now = &s->sweep.counters;
    struct launch_call c;

    while (sweep_next_call(&s->sweep, &c)) {
        sim_trace(w, "s%u: sweep calls %06x kind %d key %s", s->index, c.to, (int)c.call.kind,
                  sim_key_text(&c.call.key));
        if (c.off_path && sim_chance(w, w->faults.aside_lost)) {
            cover_hit(COVER_ASIDE_LOST);
        } else {
            net_send_call(w, place(w, s), slice_of(w, c.to), &c.call, NULL);
        }
    }
    if (now->told > before->told) {
        cover_hit(COVER_SWEPT_TOLD);
    } else if (now->cancelled > before->cancelled) {
        cover_hit(COVER_SWEPT_CANCELLED);
    } else if (now->released > before->released) {
        cover_hit(COVER_SWEPT_RELEASED);
    } else if (now->later > before->later) {
        cover_hit(COVER_SWEPT_LATER);
    }
    tick_at(w, s, w->now_ms + sweep_deadline(&s->sweep) - authority_now(w, s).boot_ms);
}

void sweeper_tick(struct sim_world *w, struct sim_slice *s)
{
    const struct sweep_source source = {.user = s, .at = at};
    struct owner_now now = authority_now(w, s);
    struct sweep_counters before = s->sweep.counters;

    s->sweep_at_ms = INT64_MAX;
    if (s->owner == NULL || s->stopped || s->paused || s->silenced || !owner_ready(s->owner)) {
        tick_at(w, s, w->now_ms + 1000);
        return;
    }
    sweep_tick(&s->sweep, &source, now.boot_ms, owner_slice_ms(s->owner, now));
    pump(w, s, &before);
}

void sweeper_event(struct sim_world *w, struct sim_slice *s, const struct sim_event *e)
{
    const struct sim_message *m = e->message;
    int64_t now_ms = authority_now(w, s).boot_ms;
    struct sweep_counters before = s->sweep.counters;

    if (s->owner == NULL || s->stopped || s->paused || m->edge_life != place(w, s)->life) {
        return; /* its own deadline counts it as lost */
    }
    if (e->kind == SIM_ANSWER) {
        sweep_receive(&s->sweep, &m->answer, now_ms);
    } else if (e->kind == SIM_NOT_SENT) {
        sweep_not_sent(&s->sweep, m->ticket, now_ms);
    } else {
        sweep_lost(&s->sweep, m->ticket, now_ms);
    }
    pump(w, s, &before);
}
