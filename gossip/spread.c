/*
 * Spreading: what is new rides on probes and, while there is any, on packets of its own to a few
 * random members each tick; every word a bounded number of times (SWIM section 4.1: a multiple of
 * the logarithm of the members). When nothing is new nothing is sent (invariant I7).
 *
 * Members with something to tell stand in one list; who was told goes to its end, so that all
 * words get their turn and the newest, which go in front, get theirs first.
 */
#include "gossip/swim.h"
#include "proto/base/check.h"

enum { TIMES = 4, FANOUT_MAX = 8 };

uint8_t swim_spread_limit(const struct gossip *g)
{
    unsigned limit = TIMES;

    for (uint32_t n = g->count; n >= 10; n /= 10) {
        limit += TIMES;
    }
    return (uint8_t)limit;
}

void swim_spread_add(struct gossip *g, uint32_t slot)
{
    struct swim_member *m = &g->members[slot];

    if (fly_list_empty(&g->spread) && g->spread_ms < g->now.ms) {
        g->spread_ms = g->now.ms;
    }
    fly_list_drop(&m->spread);
    fly_list_prepend(&g->spread, &m->spread);
}

static bool tell(struct gossip *g, struct swim_member *m, struct fly_writer *w, bool to_subject)
{
    if (m->claim_sends > 0) {
        if (!to_subject) {
            if (!packet_record_put(w, PACKET_CLAIM, swim_member_claim(m))) {
                return false;
            }
            g->counters.updates_out++;
        }
        m->claim_sends--;
    }
    for (unsigned i = 0; i < m->accuser_count; i++) {
        if (m->accusers[i].sends > 0) {
            if (!packet_accusation_put(w, &m->accusers[i].said)) {
                return false;
            }
            g->counters.updates_out++;
            m->accusers[i].sends--;
        }
    }
    return true;
}

static bool is_told(const struct swim_member *m)
{
    unsigned left = m->claim_sends;

    for (unsigned i = 0; i < m->accuser_count; i++) {
        left += m->accusers[i].sends;
    }
    return left == 0;
}

void swim_spread_fill(struct gossip *g, struct fly_writer *w, uint32_t receiver)
{
    struct fly_list told;
    bool room = true;

    fly_list_init(&told);
    while (room && !fly_list_empty(&g->spread)) {
        struct swim_member *m = FLY_CONTAINER(g->spread.next, struct swim_member, spread);
        room = tell(g, m, w, m == &g->members[receiver]);
        if (room) {
            fly_list_drop(&m->spread);
            if (!is_told(m)) {
                fly_list_append(&told, &m->spread);
            }
        }
    }
    while (!fly_list_empty(&told)) {
        struct fly_list *node = told.next;
        fly_list_drop(node);
        fly_list_append(&g->spread, node);
    }
}

void swim_spread_tick(struct gossip *g)
{
    uint32_t to[FANOUT_MAX];
    uint32_t max = g->timing.fanout < FANOUT_MAX ? g->timing.fanout : FANOUT_MAX;

    if (fly_list_empty(&g->spread) || g->spread_ms > g->now.ms) {
        return;
    }
    uint32_t count = swim_member_choose(g, SWIM_NONE, SWIM_HEARD, to, max);
    for (uint32_t i = 0; i < count; i++) {
        (void)swim_outbox_to(g, SWIM_JOB_SPREAD, to[i]);
    }
    g->spread_ms = g->now.ms + g->timing.spread_ms;
    while (count == 0 && !fly_list_empty(&g->spread)) {
        /* Nobody is there; who comes asks for everything. */
        struct swim_member *m = FLY_CONTAINER(g->spread.next, struct swim_member, spread);
        m->claim_sends = 0;
        for (unsigned i = 0; i < m->accuser_count; i++) {
            m->accusers[i].sends = 0;
        }
        fly_list_drop(&m->spread);
    }
}

int64_t swim_spread_deadline(const struct gossip *g)
{
    return fly_list_empty(&g->spread) ? SWIM_NEVER : g->spread_ms;
}
