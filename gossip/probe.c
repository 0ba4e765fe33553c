/*
 * Probes: direct, then through helpers, who say no when they hear nothing either (Lifeguard's nack:
 * a helper that stays silent tells us that we are the deaf one).
 *
 * An ACK carries the nonce of a PING and a MAC of the two ends, also when it comes through a helper
 * who sees only bytes: nobody answers for another. Rounds take a shuffled list and, in turn with
 * it, the next living member in the order of ids, so that every member is probed by its neighbour
 * at least every other round however many there are.
 */
#include <string.h>

#include "gossip/rtt.h"
#include "gossip/swim.h"
#include "proto/base/check.h"

enum {
    /* A tick that comes this late gives the packets that wait a chance to be read first. */
    GRACE_MS = 100,
    /* Nobody at all was heard for so long: the wire is cut, and rounds are slow because we are the
     * deaf one. So that we are back as soon as it is, somebody is asked each ALONE_MS. */
    ALONE_AFTER_MS = 1500,
    ALONE_MS = 250,
    ALONE_END_MS = 10 * 60 * 1000, /* who is alone for good need not ask so often */
};

static int64_t patience_ms(const struct gossip *g)
{
    return g->timing.ack_ms * (1 + (int64_t)g->health);
}

static int64_t now_us(const struct gossip *g)
{
    return g->now.us != 0 ? g->now.us : g->now.ms * 1000;
}

static struct swim_probe *find_probe(struct gossip *g, uint32_t slot)
{
    for (unsigned i = 0; i < SWIM_PROBES_MAX; i++) {
        if (g->probes[i].stage != SWIM_IDLE && g->probes[i].slot == slot) {
            return &g->probes[i];
        }
    }
    return NULL;
}

static void ping(struct gossip *g, const struct swim_probe *p)
{
    struct swim_job *job = swim_outbox_to(g, SWIM_JOB_PING, p->slot);

    if (job != NULL) {
        job->nonce = p->nonce;
    }
}

void swim_probe_start(struct gossip *g, uint32_t slot, bool to_dead)
{
    if (g->leaving || slot == SWIM_SELF || find_probe(g, slot) != NULL) {
        return;
    }
    for (unsigned i = 0; i < SWIM_PROBES_MAX; i++) {
        struct swim_probe *p = &g->probes[i];
        if (p->stage == SWIM_IDLE) {
            *p = (struct swim_probe){
                .stage = SWIM_DIRECT,
                .slot = slot,
                .nonce = fly_rng_next(&g->rng),
                .sent_us = now_us(g),
                .deadline_ms = g->now.ms + patience_ms(g),
                .to_dead = to_dead,
            };
            g->counters.probes++;
            ping(g, p);
            return;
        }
    }
}

void swim_probe_forget(struct gossip *g, uint32_t slot)
{
    struct swim_probe *p = find_probe(g, slot);

    if (p != NULL) {
        p->stage = SWIM_IDLE;
    }
    for (unsigned i = 0; i < SWIM_RELAYS_MAX; i++) {
        struct swim_relay *r = &g->relays[i];
        r->used = r->used && r->asker != slot && r->target != slot;
    }
}

static void healthier(struct gossip *g, int by)
{
    int health = (int)g->health + by;

    g->health = (uint32_t)(health < 0 ? 0 : health > SWIM_HEALTH_MAX ? SWIM_HEALTH_MAX : health);
}

/* --- rounds --- */

static bool is_target(const struct gossip *g, uint32_t slot)
{
    return slot != SWIM_SELF && swim_member_is_up(&g->members[slot]);
}

static uint32_t next_in_list(struct gossip *g)
{
    const struct node_id *self = &g->members[SWIM_SELF].seen.credential.id;

    for (uint32_t tries = 0; tries <= g->count; tries++) {
        if (g->probe_at >= g->count) {
            g->probe_at = 0;
            for (uint32_t i = g->count; i > 1; i--) { /* Fisher and Yates */
                uint32_t j = (uint32_t)fly_rng_below(&g->rng, i);
                uint32_t slot = g->order[i - 1];
                g->order[i - 1] = g->order[j];
                g->order[j] = slot;
            }
            for (uint32_t i = 0; i < g->count; i++) {
                g->members[g->order[i]].place = i;
            }
        }
        uint32_t slot = g->order[g->probe_at++];
        /* While we are slow, rounds are for those who still may answer (look_again asks the rest).
         */
        if (is_target(g, slot) &&
            (g->health == 0 || !swim_suspect_is_accused_by(&g->members[slot], self))) {
            return slot;
        }
    }
    return SWIM_NONE;
}

/* Who comes behind us by id, past those whom we accuse already. */
static uint32_t next_in_ring(const struct gossip *g)
{
    const struct node_id *self = &g->members[SWIM_SELF].seen.credential.id;
    uint32_t best = SWIM_NONE;
    bool best_wraps = false;

    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t slot = g->order[i];
        const struct swim_member *m = &g->members[slot];
        if (!is_target(g, slot) || swim_suspect_is_accused_by(m, self)) {
            continue;
        }
        const struct node_id *id = &m->seen.credential.id;
        bool wraps = memcmp(id->bytes, self->bytes, NODE_ID_SIZE) < 0;
        if (best == SWIM_NONE || wraps < best_wraps ||
            (wraps == best_wraps &&
             memcmp(id->bytes, g->members[best].seen.credential.id.bytes, NODE_ID_SIZE) < 0)) {
            best = slot;
            best_wraps = wraps;
        }
    }
    return best;
}

static void start_round(struct gossip *g)
{
    uint32_t slot = g->probe_next_in_ring ? next_in_ring(g) : SWIM_NONE;

    g->probe_next_in_ring = !g->probe_next_in_ring;
    if (slot == SWIM_NONE) {
        slot = next_in_list(g);
    }
    if (slot != SWIM_NONE) {
        swim_probe_start(g, slot, false);
    }
    g->round_ms = g->now.ms + g->timing.probe_ms * (1 + (int64_t)g->health);
}

/* Partitions heal because somebody asks the dead now and then. */
static void ask_the_dead(struct gossip *g)
{
    uint32_t dead = 0;
    uint32_t chosen = SWIM_NONE;
    int64_t jitter_ms = (int64_t)fly_rng_below(&g->rng, (uint64_t)g->timing.sync_ms / 2 + 1);

    for (uint32_t i = 0; i < g->count; i++) {
        if (g->members[g->order[i]].seen.state == GOSSIP_DEAD &&
            fly_rng_below(&g->rng, ++dead) == 0) {
            chosen = g->order[i];
        }
    }
    if (chosen != SWIM_NONE) {
        swim_probe_start(g, chosen, true);
    }
    g->dead_ms = g->now.ms + g->timing.sync_ms * 3 / 4 + jitter_ms;
}

static int64_t alone_due(const struct gossip *g)
{
    int64_t from_ms = g->heard_ms + ALONE_AFTER_MS;

    if (g->leaving || g->count < 2 || g->alone_ms > g->heard_ms + ALONE_END_MS) {
        return SWIM_NEVER;
    }
    return g->alone_ms > from_ms ? g->alone_ms : from_ms;
}

static void ask_anybody(struct gossip *g)
{
    uint32_t others = 0;
    uint32_t chosen = SWIM_NONE;

    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t slot = g->order[i];
        if (slot != SWIM_SELF && g->members[slot].seen.state != GOSSIP_LEFT &&
            fly_rng_below(&g->rng, ++others) == 0) {
            chosen = slot;
        }
    }
    g->alone_ms = g->now.ms + ALONE_MS;
    struct swim_probe *p = chosen != SWIM_NONE ? find_probe(g, chosen) : NULL;
    if (p != NULL) {
        p->graced = true; /* it measures nothing any more */
        ping(g, p);
    } else if (chosen != SWIM_NONE) {
        swim_probe_start(g, chosen, true);
    }
}

/* --- one probe --- */

static void ask_helpers(struct gossip *g, struct swim_probe *p)
{
    uint32_t helpers[16];
    uint32_t max = g->timing.helpers < 16 ? g->timing.helpers : 16;

    p->stage = SWIM_INDIRECT;
    p->deadline_ms = g->now.ms + patience_ms(g);
    p->graced = false;
    p->asked = (uint8_t)swim_member_choose(g, p->slot, SWIM_ALIVE, helpers, max);
    for (unsigned i = 0; i < p->asked; i++) {
        struct swim_job *job = swim_outbox_to(g, SWIM_JOB_ASK, helpers[i]);
        if (job != NULL) {
            job->about = p->slot;
            job->nonce = p->nonce;
        }
    }
    ping(g, p); /* one lost packet must not cost a suspicion */
}

static void fail(struct gossip *g, struct swim_probe *p)
{
    uint32_t slot = p->slot;
    bool down = p->refusals > 0;

    p->stage = SWIM_IDLE;
    if (p->to_dead) {
        return;
    }
    g->counters.probes_failed++;
    if (g->doubt_ms != 0) {
        return;
    }
    if (p->asked > 0) {
        healthier(g, p->asked - p->nacks);
    } else if (!down) {
        healthier(g, 1);
    }
    swim_suspect_accuse(g, slot, down ? PACKET_DOWN : PACKET_SILENT);
}

static bool refused_by_all(const struct swim_probe *p)
{
    return p->stage == SWIM_INDIRECT && p->nacks >= p->asked &&
           p->refusals >= (p->asked > 0 ? 1 : 2);
}

static void step(struct gossip *g, struct swim_probe *p)
{
    if (p->deadline_ms > g->now.ms) {
        return;
    }
    if (g->now.ms - p->deadline_ms > GRACE_MS && !p->graced) {
        p->graced = true;
        p->deadline_ms = g->now.ms + GRACE_MS;
    } else if (p->stage == SWIM_DIRECT && !p->to_dead) {
        ask_helpers(g, p);
    } else {
        fail(g, p);
    }
}

static void nack(struct gossip *g, struct swim_relay *r)
{
    struct swim_job *job = swim_outbox_to(g, SWIM_JOB_NACK, r->asker);

    if (job != NULL) {
        job->nonce = r->nonce;
    }
    r->used = false;
}

void swim_probe_tick(struct gossip *g)
{
    if (g->doubt_ms != 0 && g->doubt_ms <= g->now.ms) {
        g->doubt_ms = 0;
    }
    for (unsigned i = 0; i < SWIM_PROBES_MAX; i++) {
        if (g->probes[i].stage != SWIM_IDLE) {
            step(g, &g->probes[i]);
        }
    }
    for (unsigned i = 0; i < SWIM_RELAYS_MAX; i++) {
        struct swim_relay *r = &g->relays[i];
        if (r->used && r->deadline_ms <= g->now.ms) {
            nack(g, r);
        }
    }
    if (g->leaving) {
        return;
    }
    if (g->round_ms <= g->now.ms) {
        start_round(g);
    }
    if (g->dead_ms <= g->now.ms) {
        ask_the_dead(g);
    }
    if (alone_due(g) <= g->now.ms) {
        ask_anybody(g);
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t swim_probe_deadline(const struct gossip *g)
{
    int64_t first_ms =
        g->leaving ? SWIM_NEVER : earlier(earlier(g->round_ms, g->dead_ms), alone_due(g));

    for (unsigned i = 0; i < SWIM_PROBES_MAX; i++) {
        if (g->probes[i].stage != SWIM_IDLE) {
            first_ms = earlier(first_ms, g->probes[i].deadline_ms);
        }
    }
    for (unsigned i = 0; i < SWIM_RELAYS_MAX; i++) {
        if (g->relays[i].used) {
            first_ms = earlier(first_ms, g->relays[i].deadline_ms);
        }
    }
    return g->doubt_ms != 0 ? earlier(first_ms, g->doubt_ms) : first_ms;
}

/* We stood still: what we waited for may lie in the socket, and others may have given us up. */
void swim_probe_stalled(struct gossip *g, int64_t ms)
{
    uint32_t asked[3];

    for (unsigned i = 0; i < SWIM_PROBES_MAX; i++) {
        g->probes[i].stage = SWIM_IDLE;
    }
    for (unsigned i = 0; i < SWIM_RELAYS_MAX; i++) {
        g->relays[i].used = false;
    }
    healthier(g, 1);
    swim_suspect_postpone(g, ms);
    g->doubt_ms = g->now.ms + 3 * g->timing.probe_ms;
    uint32_t count = swim_member_choose(g, SWIM_NONE, SWIM_UP, asked, 3);
    for (uint32_t i = 0; i < count; i++) {
        swim_probe_start(g, asked[i], false);
    }
}

void swim_probe_refused(struct gossip *g, uint32_t slot)
{
    const struct node_id *self = &g->members[SWIM_SELF].seen.credential.id;
    struct swim_probe *p = find_probe(g, slot);
    bool relayed = false;

    for (unsigned i = 0; i < SWIM_RELAYS_MAX; i++) {
        if (g->relays[i].used && g->relays[i].target == slot) {
            nack(g, &g->relays[i]);
            relayed = true;
        }
    }
    if (p == NULL) {
        /* Not when we only helped, or have said so: each probe makes refusals at its helpers. */
        if (!relayed && swim_member_is_up(&g->members[slot]) &&
            !swim_suspect_is_accused_by(&g->members[slot], self)) {
            swim_probe_start(g, slot, false);
        }
        return;
    }
    if (p->to_dead) {
        p->stage = SWIM_IDLE;
        return;
    }
    if (p->refusals < UINT8_MAX) {
        p->refusals++;
    }
    if (p->stage == SWIM_DIRECT) {
        ask_helpers(g, p);
    } else if (refused_by_all(p)) {
        fail(g, p);
    }
}

/* --- packets --- */

void swim_probe_ping(struct gossip *g, struct swim_arrival *a)
{
    uint64_t nonce = fly_get_u64(&a->body);
    uint64_t view = fly_get_u64(&a->body);
    struct swim_job *job = swim_outbox_new(g, SWIM_JOB_ACK, a->sender, a->from);

    if (job != NULL) {
        job->nonce = nonce;
        job->flags = a->header.flags & PACKET_RELAYED;
        job->tell_self = a->accused;
        job->tell_them = a->other_boot;
    }
    if (a->authentic && !(a->header.flags & PACKET_RELAYED)) {
        swim_sync_notice(g, a->sender, view);
    }
}

/* We were deaf, and somebody is heard again: whom we accused meanwhile is asked once more. */
static void look_again(struct gossip *g)
{
    const struct node_id *self = &g->members[SWIM_SELF].seen.credential.id;
    uint32_t chosen = SWIM_NONE;
    uint32_t accused = 0;

    for (uint32_t i = 0; g->suspects > 0 && g->health > 0 && i < g->count; i++) {
        const struct swim_member *m = &g->members[g->order[i]];
        if (m->seen.state == GOSSIP_SUSPECT && swim_suspect_is_accused_by(m, self) &&
            find_probe(g, g->order[i]) == NULL && fly_rng_below(&g->rng, ++accused) == 0) {
            chosen = g->order[i];
        }
    }
    if (chosen != SWIM_NONE) {
        swim_probe_start(g, chosen, false);
    }
}

/* Only of a PING that was answered straight and at once: after a second one nobody knows which was
 * answered (Karn and Partridge, SIGCOMM 1987), and a late tick of ours measures us. */
static void measure(const struct gossip *g, const struct swim_probe *p, struct gossip_member *m,
                    uint8_t flags)
{
    int64_t took_us = now_us(g) - p->sent_us;

    if (p->stage == SWIM_DIRECT && !p->graced && !(flags & PACKET_RELAYED) && took_us >= 0) {
        m->rtt_us = rtt_smooth(m->rtt_us, (uint64_t)took_us);
    }
}

void swim_probe_ack(struct gossip *g, struct swim_arrival *a)
{
    uint64_t nonce = fly_get_u64(&a->body);
    uint64_t view = fly_get_u64(&a->body);
    struct swim_probe *p = find_probe(g, a->sender);

    if (p == NULL || p->nonce != nonce) {
        return; /* late, or not asked for */
    }
    measure(g, p, &g->members[a->sender].seen, a->header.flags);
    p->stage = SWIM_IDLE;
    g->members[a->sender].seen.heard_ms = g->now.ms;
    g->heard_ms = g->now.ms;
    look_again(g);
    healthier(g, -1);
    g->doubt_ms = 0;
    if (a->authentic) {
        swim_sync_notice(g, a->sender, view);
    }
}

void swim_probe_nack(struct gossip *g, struct swim_arrival *a)
{
    uint64_t nonce = fly_get_u64(&a->body);

    for (unsigned i = 0; i < SWIM_PROBES_MAX; i++) {
        struct swim_probe *p = &g->probes[i];
        if (p->stage == SWIM_INDIRECT && p->nonce == nonce && p->nacks < p->asked) {
            p->nacks++;
            if (refused_by_all(p)) {
                fail(g, p);
            }
            return;
        }
    }
}

void swim_probe_ask(struct gossip *g, struct swim_arrival *a)
{
    uint64_t nonce = fly_get_u64(&a->body);
    size_t size = fly_get_u16(&a->body);
    const uint8_t *inner = fly_get_bytes(&a->body, size);
    struct fly_reader r = fly_reader_over(inner, size);
    struct packet_header h;

    /* Only what it says it is: a PING by the one who asks. */
    if (size > SWIM_FORWARD_MAX || !packet_header_get(&r, &h) || h.type != PACKET_PING ||
        !node_id_equal(&h.from, &a->header.from) || fly_get_u64(&r) != nonce) {
        g->counters.refused_form++;
        return;
    }
    uint32_t target = swim_member_find(g, &h.to);
    if (target == SWIM_NONE || target == SWIM_SELF || target == a->sender) {
        return;
    }
    for (unsigned i = 0; i < SWIM_RELAYS_MAX; i++) {
        struct swim_relay *relay = &g->relays[i];
        if (!relay->used) {
            struct swim_job *job = swim_outbox_to(g, SWIM_JOB_FORWARD, target);
            if (job != NULL) {
                *relay = (struct swim_relay){
                    .used = true,
                    .asker = a->sender,
                    .target = target,
                    .nonce = nonce,
                    .deadline_ms = g->now.ms + g->timing.ack_ms * 4 / 5,
                };
                job->as.forward.size = (uint16_t)size;
                memcpy(job->as.forward.bytes, inner, size);
            }
            return;
        }
    }
    g->counters.refused_full++;
}

void swim_probe_relay(struct gossip *g, struct swim_arrival *a)
{
    uint64_t nonce = fly_get_u64(&a->body);
    uint32_t asker = swim_member_find(g, &a->header.to);

    for (unsigned i = 0; i < SWIM_RELAYS_MAX; i++) {
        struct swim_relay *relay = &g->relays[i];
        if (relay->used && relay->nonce == nonce && relay->asker == asker &&
            relay->target == a->sender && a->plain.size <= SWIM_FORWARD_MAX) {
            struct swim_job *job = swim_outbox_to(g, SWIM_JOB_FORWARD, asker);
            if (job != NULL) {
                job->as.forward.size = (uint16_t)a->plain.size;
                memcpy(job->as.forward.bytes, a->plain.data, a->plain.size);
            }
            relay->used = false;
            return;
        }
    }
}
