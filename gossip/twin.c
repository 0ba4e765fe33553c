/*
 * Twins: two live processes with one identity, which is a copied state folder or a stolen key.
 *
 * A claim in our name from another boot proves nothing: it may be of our own earlier life. So we
 * PING its address by our own id. Only a process that holds our key can answer, and only one that
 * lives now knows the nonce; when its boot is not ours, it is a twin.
 *
 * Then the younger process stops (GOSSIP_EVENT_TWIN), measured by the time since each started: who
 * was there first goes on. Our age is that of when we asked, so that two of one age both stop
 * rather than none; exactly equal ages are told apart by boot. A PING that comes by our own id is a
 * hint to look there, too: it could be an old one.
 */
#include "gossip/swim.h"

enum { TRIES = 4, AGAIN_MS = 300 };

void swim_twin_check(struct gossip *g, const struct gossip_address *address)
{
    struct swim_twin *free = NULL;

    if (g->leaving || g->twin) {
        return;
    }
    for (unsigned i = 0; i < SWIM_TWINS_MAX; i++) {
        struct swim_twin *t = &g->twins[i];
        if (t->used && swim_address_equal(&t->address, address)) {
            return;
        }
        if (!t->used) {
            free = t;
        }
    }
    if (free != NULL) {
        *free = (struct swim_twin){.used = true, .address = *address, .next_ms = g->now.ms};
    }
}

void swim_twin_ack(struct gossip *g, const struct swim_arrival *a)
{
    struct fly_reader r = a->body;
    uint64_t nonce = fly_get_u64(&r);

    (void)fly_get_u64(&r);
    uint64_t age_ms = fly_get_u64(&r);
    for (unsigned i = 0; i < SWIM_TWINS_MAX; i++) {
        struct swim_twin *t = &g->twins[i];
        uint64_t our_age_ms = (uint64_t)(t->sent_ms - g->started_ms);
        if (!t->used || t->tries == 0 || t->nonce != nonce) {
            continue;
        }
        t->used = false;
        if (a->header.boot != g->boot && !g->twin &&
            (age_ms > our_age_ms || (age_ms == our_age_ms && a->header.boot < g->boot))) {
            g->twin = true;
            g->twin_address = *a->from;
        }
        return;
    }
}

void swim_twin_tick(struct gossip *g)
{
    for (unsigned i = 0; i < SWIM_TWINS_MAX; i++) {
        struct swim_twin *t = &g->twins[i];
        if (!t->used || t->next_ms > g->now.ms) {
            continue;
        }
        if (t->tries++ == TRIES || g->leaving) {
            t->used = false;
            continue;
        }
        t->nonce = fly_rng_next(&g->rng);
        t->sent_ms = g->now.ms;
        t->next_ms = g->now.ms + AGAIN_MS;
        struct swim_job *job = swim_outbox_new(g, SWIM_JOB_TWIN, SWIM_SELF, &t->address);
        if (job != NULL) {
            job->nonce = t->nonce;
        }
    }
}

int64_t swim_twin_deadline(const struct gossip *g)
{
    int64_t first_ms = SWIM_NEVER;

    for (unsigned i = 0; i < SWIM_TWINS_MAX; i++) {
        if (g->twins[i].used && g->twins[i].next_ms < first_ms) {
            first_ms = g->twins[i].next_ms;
        }
    }
    return first_ms;
}
