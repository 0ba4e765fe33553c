/*
 * Joining: a JOIN to each seed until one answers, who tells of all members it knows; then settled.
 * Who is alone settles after a while, and asks its seeds again as long as it is alone.
 */
#include "gossip/swim.h"

enum {
    RETRY_FIRST_MS = 250,
    RETRY_LAST_MS = 5000,
    ANSWER_MS = 300, /* the rest of an answer may take so long */
    ANSWER_AGAIN_MS = 500,
};

void gossip_join(struct gossip *g, const struct gossip_address *seed)
{
    struct swim_seed *place = NULL;

    if (seed->port == 0 || swim_member_at_address(g, seed) != SWIM_NONE) {
        return; /* ours, or of somebody whom we know and hear */
    }
    for (unsigned i = 0; i < GOSSIP_SEEDS_MAX; i++) {
        struct swim_seed *s = &g->seeds[i];
        if (s->used && swim_address_equal(&s->address, seed)) {
            if (s->answered) { /* it was somebody once */
                s->answered = false;
                s->tries = 0;
                s->next_ms = g->now.ms;
            }
            return;
        }
        if (!s->used && place == NULL) {
            place = s;
        }
    }
    if (place == NULL) {
        place = &g->seeds[g->seed_next];
        g->seed_next = (g->seed_next + 1) % GOSSIP_SEEDS_MAX;
    }
    *place = (struct swim_seed){.used = true, .address = *seed, .next_ms = g->now.ms};
}

void swim_join_again(struct gossip *g)
{
    for (unsigned i = 0; i < GOSSIP_SEEDS_MAX; i++) {
        if (!g->settled && g->seeds[i].used && g->seeds[i].tries > 0) {
            g->seeds[i].answered = false;
            g->seeds[i].nonce = 0; /* what is under way does not know it yet */
            g->seeds[i].next_ms = g->now.ms;
        }
    }
}

/* --- the seed's side --- */

void swim_join_receive(struct gossip *g, struct swim_arrival *a)
{
    uint64_t nonce = fly_get_u64(&a->body);

    if (a->sender == SWIM_NONE || a->sender == SWIM_SELF) {
        return;
    }
    struct swim_member *m = &g->members[a->sender];
    if (m->boot != a->header.boot) {
        /* We know a later life of it: that is what it has to hear, and us. */
        struct swim_job *job = swim_outbox_new(g, SWIM_JOB_RECORDS, SWIM_NONE, a->from);
        if (job != NULL) {
            job->nonce = nonce;
            job->as.records.count = 2;
            job->as.records.slots[0] = SWIM_SELF;
            job->as.records.slots[1] = a->sender;
        }
        return;
    }
    if (g->now.ms - m->answered_ms < ANSWER_AGAIN_MS && m->answered_ms <= g->now.ms) {
        return;
    }
    struct swim_job *job = swim_outbox_new(g, SWIM_JOB_DUMP, SWIM_NONE, a->from);
    if (job != NULL) {
        m->answered_ms = g->now.ms;
        job->nonce = nonce;
        job->as.dump.left = SWIM_DUMP_MAX;
        job->as.dump.start = (uint32_t)fly_rng_below(&g->rng, g->members_max);
    }
}

/* --- ours --- */

void swim_join_answer(struct gossip *g, struct swim_arrival *a)
{
    uint64_t nonce = fly_get_u64(&a->body);

    if (nonce == 0 || a->sender == SWIM_NONE || a->sender == SWIM_SELF) {
        return;
    }
    for (unsigned i = 0; i < GOSSIP_SEEDS_MAX; i++) {
        struct swim_seed *s = &g->seeds[i];
        if (!s->used || s->nonce != nonce || s->tries == 0) {
            continue;
        }
        s->answered = true;
        if (!g->joined || (a->header.flags & PACKET_LAST) != 0) {
            int64_t wait_ms = (a->header.flags & PACKET_LAST) != 0 ? 0 : ANSWER_MS;
            g->settle_ms = g->now.ms + wait_ms;
        }
        g->joined = true;
        return;
    }
}

static void ask(struct gossip *g, struct swim_seed *s)
{
    int64_t wait_ms = RETRY_FIRST_MS;

    for (unsigned i = 0; i < s->tries && wait_ms < RETRY_LAST_MS; i++) {
        wait_ms *= 2;
    }
    s->next_ms = g->now.ms + (wait_ms < RETRY_LAST_MS ? wait_ms : RETRY_LAST_MS);
    if (s->tries < UINT8_MAX) {
        s->tries++;
    }
    s->nonce = fly_rng_next(&g->rng) | 1;
    struct swim_job *job = swim_outbox_new(g, SWIM_JOB_JOIN, SWIM_NONE, &s->address);
    if (job != NULL) {
        job->nonce = s->nonce;
    }
}

void swim_join_tick(struct gossip *g)
{
    bool alone = swim_member_others(g) == 0;

    if (!g->settled && g->settle_ms <= g->now.ms) {
        g->settled = true;
        g->joined |= !alone;
    }
    if (g->leaving) {
        return;
    }
    for (unsigned i = 0; i < GOSSIP_SEEDS_MAX; i++) {
        struct swim_seed *s = &g->seeds[i];
        if (!s->used || s->next_ms > g->now.ms) {
            continue;
        }
        if (s->answered && !alone) {
            s->next_ms = g->now.ms + RETRY_LAST_MS;
        } else if (!alone && s->tries >= SWIM_SEED_TRIES) {
            s->used = false; /* others answered; it will find them when it comes */
        } else {
            ask(g, s);
        }
    }
}

int64_t swim_join_deadline(const struct gossip *g)
{
    int64_t first_ms = g->settled ? SWIM_NEVER : g->settle_ms;

    for (unsigned i = 0; i < GOSSIP_SEEDS_MAX && !g->leaving; i++) {
        const struct swim_seed *s = &g->seeds[i];
        if (s->used && s->next_ms < first_ms) {
            first_ms = s->next_ms;
        }
    }
    return first_ms;
}
