/*
 * net - calls and answers between edges and owners: lost, doubled, late, out of order, cut off in
 * one direction only. An edge hears of a lost call in one of three ways: that it was never sent
 * (only when that is certain), that its connection broke, or nothing at all.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "tests/sim/sim.h"

static struct sim_message *message_new(void)
{
    struct sim_message *m = calloc(1, sizeof *m);

    FLY_CHECK(m != NULL);
    return m;
}

static int64_t delay_ms(struct sim_world *w)
{
    if (sim_chance(w, w->faults.slow)) {
        return sim_chance(w, 300) ? sim_between(w, 500, 6000) : sim_between(w, 20, 600);
    }
    return sim_between(w, 0, 4);
}

static struct sim_message *call_message(const struct sim_world *w, const struct sim_edge *e,
                                        uint32_t slice, const struct owner_call *call)
{
    struct sim_message *m = message_new();

    m->edge = e->index;
    m->edge_life = e->life;
    m->slice = slice;
    m->life = w->slices[slice].life;
    m->ticket = call->ticket;
    m->call = *call;
    return m;
}

static void tell_edge(struct sim_world *w, enum sim_kind kind, const struct sim_message *about,
                      int64_t in_ms)
{
    struct sim_message *m = message_new();

    m->edge = about->edge;
    m->edge_life = about->edge_life;
    m->slice = about->slice;
    m->ticket = about->ticket;
    sim_at(w, w->now_ms + in_ms, kind, m->edge, m->slice, 0, m);
}

void net_call_dropped(struct sim_world *w, const struct sim_message *m)
{
    if (sim_chance(w, 600)) {
        tell_edge(w, SIM_LOST, m, sim_between(w, 0, 800));
    }
}

void net_send_call(struct sim_world *w, struct sim_edge *e, uint32_t slice,
                   const struct owner_call *call, struct sim_call *of)
{
    struct sim_message *m = call_message(w, e, slice, call);
    bool cut = w->cut_calls[e->index][slice];

    if (cut || sim_chance(w, w->faults.call_lost)) {
        cover_hit(COVER_CALL_LOST);
        sim_trace(w, "e%u: call %d ticket %llu to s%u is lost", e->index, (int)call->kind,
                  (unsigned long long)call->ticket, slice);
        if (sim_chance(w, 300)) {
            tell_edge(w, SIM_NOT_SENT, m, sim_between(w, 0, 3));
        } else {
            net_call_dropped(w, m);
        }
        free(m);
        return;
    }
    if (sim_chance(w, w->faults.call_twice)) {
        cover_hit(COVER_CALL_TWICE);
        if (of != NULL) {
            of->sent_twice = true;
        }
        sim_at(w, w->now_ms + delay_ms(w), SIM_CALL, slice, e->index, 0,
               call_message(w, e, slice, call));
    }
    sim_at(w, w->now_ms + delay_ms(w), SIM_CALL, slice, e->index, 0, m);
}

static struct sim_message *answer_message(uint32_t slice, const struct sim_pending *p,
                                          const struct owner_answer *answer)
{
    struct sim_message *m = message_new();

    m->edge = p->edge;
    m->edge_life = p->edge_life;
    m->slice = slice;
    m->ticket = p->edge_ticket;
    m->answer = *answer;
    m->answer.ticket = p->edge_ticket;
    return m;
}

void net_send_answer(struct sim_world *w, uint32_t slice, const struct sim_pending *p,
                     const struct owner_answer *answer)
{
    struct sim_message *m = answer_message(slice, p, answer);

    if (w->cut_answers[p->edge][slice] || sim_chance(w, w->faults.answer_lost)) {
        cover_hit(COVER_ANSWER_LOST);
        net_call_dropped(w, m);
        free(m);
        return;
    }
    if (sim_chance(w, w->faults.answer_twice)) {
        cover_hit(COVER_ANSWER_TWICE);
        sim_at(w, w->now_ms + delay_ms(w), SIM_ANSWER, p->edge, slice, 0,
               answer_message(slice, p, answer));
    }
    sim_at(w, w->now_ms + delay_ms(w), SIM_ANSWER, p->edge, slice, 0, m);
}
