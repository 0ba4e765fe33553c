/*
 * Anti-entropy: what spreading missed.
 *
 * Every probe and ACK carries a hash of the sender's view (who lives, by which claim). While views
 * agree nothing else is sent. When one differs and nothing was new for a while, we send hashes by
 * bucket; the other answers with lines of the buckets that differ; then both send what the other
 * lacks and ask for what they lack. A member that is called by a name we do not know is asked
 * about in the same way (PULL), so that a credential travels only to who needs it.
 */
#include <string.h>

#include "gossip/swim.h"
#include "proto/base/check.h"

enum {
    PULL_AGAIN_MS = 100,
    STRANGERS_PER_S = 64, /* members that we tell of without knowing who asks */
    QUIET_MS = 1000,      /* without a change, before a difference is more than a delay */
};

/* --- asking about ids --- */

void swim_sync_want(struct swim_arrival *a, const struct node_id *id)
{
    for (uint32_t i = 0; i < a->want_count; i++) {
        if (node_id_equal(&a->wants[i], id)) {
            return;
        }
    }
    if (a->want_count < PACKET_IDS_MAX) {
        a->wants[a->want_count++] = *id;
    }
}

/* True once in a while for each id, and never for more ids than there is memory for. */
static bool may_pull(struct gossip *g, const struct node_id *id)
{
    struct swim_pull *free = NULL;

    for (unsigned i = 0; i < SWIM_PULLS_MAX; i++) {
        struct swim_pull *p = &g->pulls[i];
        if (p->until_ms <= g->now.ms) {
            free = p;
        } else if (node_id_equal(&p->id, id)) {
            return false;
        }
    }
    if (free != NULL) {
        *free = (struct swim_pull){.id = *id, .until_ms = g->now.ms + PULL_AGAIN_MS};
    }
    return free != NULL;
}

void swim_sync_flush(struct gossip *g, struct swim_arrival *a)
{
    struct swim_job *job = NULL;

    for (uint32_t i = 0; i < a->want_count; i++) {
        if (!may_pull(g, &a->wants[i])) {
            continue;
        }
        if (job == NULL) {
            job = swim_outbox_new(g, SWIM_JOB_PULL, a->sender, a->from);
        }
        if (job != NULL) {
            job->as.pull.ids[job->as.pull.count++] = a->wants[i];
        }
    }
}

static void add_slot(struct swim_job *job, uint32_t slot)
{
    if (job->as.records.count < SWIM_SLOTS_MAX) {
        job->as.records.slots[job->as.records.count++] = slot;
    }
}

/* Who does not know us yet has no MAC for us, and neither has one who repeats old packets. So
 * strangers are answered, but few at a time. */
static bool may_tell(struct gossip *g, const struct swim_arrival *a)
{
    if (a->authentic) {
        return true;
    }
    if (g->now.ms - g->strangers_ms >= 1000) {
        g->strangers_ms = g->now.ms;
        g->strangers = 0;
    }
    if (g->strangers >= STRANGERS_PER_S) {
        g->counters.refused_busy++;
        return false;
    }
    g->strangers++;
    return true;
}

void swim_sync_pull(struct gossip *g, struct swim_arrival *a)
{
    struct swim_job *job = NULL;

    for (unsigned count = fly_get_u8(&a->body); count > 0; count--) {
        struct node_id id;
        fly_get_copy(&a->body, id.bytes, NODE_ID_SIZE);
        uint32_t slot = swim_member_find(g, &id);
        if (slot == SWIM_NONE || !may_tell(g, a)) {
            continue;
        }
        if (job == NULL) {
            job = swim_outbox_new(g, SWIM_JOB_RECORDS, SWIM_NONE, a->from);
        }
        if (job != NULL) {
            add_slot(job, slot);
        }
    }
}

/* --- views --- */

void swim_sync_notice(struct gossip *g, uint32_t slot, uint64_t view)
{
    bool quiet = g->now.ms - g->changed_ms >= QUIET_MS;

    if (view == swim_member_view(g) || g->now.ms < g->sync_ms || slot == SWIM_SELF ||
        (!quiet && g->now.ms - g->synced_ms < g->timing.sync_ms)) {
        return;
    }
    if (swim_outbox_to(g, SWIM_JOB_SYNC, slot) != NULL) {
        g->synced_ms = g->now.ms;
        g->sync_ms = g->now.ms + QUIET_MS / 2 + (int64_t)fly_rng_below(&g->rng, QUIET_MS);
    }
}

void swim_sync_receive(struct gossip *g, struct swim_arrival *a)
{
    uint64_t buckets = 0;

    for (unsigned i = 0; i < PACKET_BUCKETS; i++) {
        buckets |= (uint64_t)(fly_get_u64(&a->body) != g->buckets[i]) << i;
    }
    struct swim_job *job =
        buckets != 0 ? swim_outbox_new(g, SWIM_JOB_DIGEST, a->sender, a->from) : NULL;
    if (job != NULL) {
        job->as.buckets = buckets;
    }
}

static bool put_bucket(const struct gossip *g, unsigned bucket, struct fly_writer *w,
                       unsigned *count)
{
    for (uint32_t i = 0; i < g->count; i++) {
        const struct swim_member *m = &g->members[g->order[i]];
        const struct packet_entry entry = {
            .id = m->seen.credential.id,
            .generation = m->seen.generation,
            .version = m->seen.version,
            .boot = (uint32_t)m->boot,
            .state = m->seen.state,
        };
        if (swim_member_bucket(&m->seen.credential.id) != bucket) {
            continue;
        }
        if (w->max - w->size < PACKET_ENTRY_SIZE || *count == UINT8_MAX) {
            return false;
        }
        packet_entry_put(w, &entry);
        ++*count;
    }
    return true;
}

uint64_t swim_sync_lines(const struct gossip *g, uint64_t buckets, struct fly_writer *w)
{
    size_t head = w->size;
    uint64_t covered = 0;
    unsigned count = 0;

    fly_put_u64(w, 0);
    fly_put_u8(w, 0);
    for (unsigned b = 0; b < PACKET_BUCKETS; b++) {
        if ((buckets >> b & 1) == 0) {
            continue;
        }
        size_t size = w->size;
        unsigned before = count;
        if (!put_bucket(g, b, w, &count)) {
            if (covered != 0) { /* whole in the next packet */
                w->size = size;
                count = before;
                break;
            }
            /* Larger than a packet: its lines are said, and nothing about the others. The order
             * is shuffled each round, so another time it is others. */
            w->data[head + 8] = (uint8_t)count;
            return UINT64_C(1) << b;
        }
        covered |= UINT64_C(1) << b;
    }
    fly_store_u64(w->data + head, covered);
    w->data[head + 8] = (uint8_t)count;
    return covered;
}

/* Whom to tell the other of. */
struct push {
    uint32_t count;
    uint32_t slots[SWIM_SLOTS_MAX];
};

static void push_add(struct push *push, uint32_t slot)
{
    if (push->count < SWIM_SLOTS_MAX) {
        push->slots[push->count++] = slot;
    }
}

/* What one line says against what we know: we lack something, or they do. */
static void compare(struct gossip *g, struct swim_arrival *a, const struct packet_entry *e,
                    struct push *push)
{
    uint32_t slot = swim_member_find(g, &e->id);
    const struct swim_member *m = slot != SWIM_NONE ? &g->members[slot] : NULL;
    struct packet_claim theirs = {.id = e->id, .generation = e->generation, .version = e->version};
    bool dead_there = e->state == GOSSIP_DEAD;

    if (m == NULL) {
        if (!dead_there && e->state != GOSSIP_LEFT && !swim_member_buried(g, &theirs)) {
            swim_sync_want(a, &e->id);
        }
        return;
    }
    struct packet_claim ours = {.generation = m->seen.generation, .version = m->seen.version};
    int order = packet_claim_compare(&theirs, &ours);
    bool dead_here = m->seen.state == GOSSIP_DEAD;
    bool other_boot = order == 0 && e->boot != (uint32_t)m->boot;
    if (order > 0 || other_boot || (order == 0 && dead_there && !dead_here)) {
        swim_sync_want(a, &e->id);
    }
    if (order < 0 || other_boot || (order == 0 && !dead_there && dead_here)) {
        push_add(push, slot);
    }
}

static bool is_listed(struct fly_reader lines, unsigned count, const struct node_id *id)
{
    struct packet_entry entry;

    while (count-- > 0 && packet_entry_get(&lines, &entry)) {
        if (node_id_equal(&entry.id, id)) {
            return true;
        }
    }
    return false;
}

void swim_sync_digest(struct gossip *g, struct swim_arrival *a)
{
    uint64_t covered = fly_get_u64(&a->body);
    unsigned count = fly_get_u8(&a->body);
    const struct fly_reader lines = a->body;
    struct push push = {.count = 0};

    for (unsigned i = 0; i < count; i++) {
        struct packet_entry entry;
        FLY_CHECK(packet_entry_get(&a->body, &entry));
        compare(g, a, &entry, &push);
    }
    for (uint32_t i = 0; i < g->count; i++) {
        const struct swim_member *m = &g->members[g->order[i]];
        const struct node_id *id = &m->seen.credential.id;
        if ((covered >> swim_member_bucket(id) & 1) != 0 && swim_member_is_up(m) &&
            !is_listed(lines, count, id)) {
            push_add(&push, g->order[i]);
        }
    }
    struct swim_job *job =
        push.count > 0 ? swim_outbox_new(g, SWIM_JOB_RECORDS, SWIM_NONE, a->from) : NULL;
    if (job != NULL) {
        job->as.records.count = push.count;
        memcpy(job->as.records.slots, push.slots, sizeof push.slots);
    }
}
