#include "gossip/gossip.h"

#include <string.h>

#include <sodium.h>

#include "gossip/swim.h"
#include "proto/base/check.h"

enum {
    MEMBERS_MIN = 2,
    MEMBERS_MAX = 4096,
    LEAVE_MS = 1000, /* at most, to say good-bye */
    /* Not called for so long, and so far behind what was due: we stood still. */
    STALL_GAP_MS = 500,
    STALL_LATE_MS = 100,
};

struct gossip_timing gossip_timing_lan(void)
{
    return (struct gossip_timing){
        .probe_ms = 500,
        .ack_ms = 250,
        .spread_ms = 100,
        .suspicion_down_ms = 1000,
        .suspicion_min_ms = 7000,
        .suspicion_max_ms = 8000,
        .there_ms = 4000,
        .there_max_ms = 60000,
        .sync_ms = 5000,
        .reap_ms = 24 * 3600 * 1000,
        .settle_ms = 2000,
        .helpers = 3,
        .fanout = 3,
    };
}

/* --- memory --- */

static size_t aligned(size_t size)
{
    return (size + 15) / 16 * 16;
}

/* Members that were reaped keep their slot until the caller has heard of it. */
static uint32_t slots_of(uint32_t members_max)
{
    return members_max + members_max / 8 + 4;
}

static uint32_t tombstones_of(uint32_t members_max)
{
    return members_max / 4 < SWIM_TOMBSTONES_MIN ? SWIM_TOMBSTONES_MIN : members_max / 4;
}

size_t gossip_size(uint32_t members_max)
{
    uint32_t slots = slots_of(members_max);

    return aligned(sizeof(struct gossip)) + aligned(slots * sizeof(struct swim_member)) +
           2 * aligned(slots * sizeof(uint32_t)) + aligned(index_size(slots)) +
           aligned(tombstones_of(members_max) * sizeof(struct swim_tombstone));
}

static void lay_out(struct gossip *g, uint32_t members_max)
{
    uint8_t *at = (uint8_t *)g + aligned(sizeof *g);

    g->members_max = members_max;
    g->slot_count = slots_of(members_max);
    g->members = (void *)at;
    at += aligned(g->slot_count * sizeof *g->members);
    g->order = (void *)at;
    at += aligned(g->slot_count * sizeof *g->order);
    g->free = (void *)at;
    at += aligned(g->slot_count * sizeof *g->free);
    g->tombstones = (void *)at;
    g->tombstone_count = tombstones_of(members_max);
    at += aligned(g->tombstone_count * sizeof *g->tombstones);
    index_init(&g->index, at, g->slot_count);
    for (uint32_t i = 0; i < g->slot_count; i++) {
        g->free[i] = g->slot_count - 1 - i; /* slot 0 is taken first */
    }
    g->free_count = g->slot_count;
}

struct gossip *gossip_init(void *memory, const struct gossip_config *config, struct gossip_now now)
{
    struct gossip *g = memory;

    FLY_CHECK(config->members_max >= MEMBERS_MIN && config->members_max <= MEMBERS_MAX);
    FLY_CHECK(strlen(config->cluster) == CLUSTER_ID_SIZE - 1 && config->boot != 0);
    FLY_CHECK(packet_meta_ok(&config->meta));
    lay_out(g, config->members_max);
    g->timing = config->timing;
    memcpy(g->cluster, config->cluster, sizeof g->cluster);
    memcpy(g->ca, config->ca, sizeof g->ca);
    g->keys = config->keys;
    g->boot = config->boot;
    keyring_secret(&g->keys, g->x_secret);
    seal_ring_derive(&g->ring, &config->group, SEAL_GOSSIP, config->cluster);
    fly_rng_seed(&g->rng, config->seed);
    g->now = now;
    g->started_ms = now.ms;
    g->heard_ms = now.ms;
    g->verifies = SWIM_VERIFIES_BURST * 1000;
    g->verifies_ms = now.ms;
    g->changed_ms = now.ms;
    g->synced_ms = now.ms - config->timing.sync_ms;
    g->retold_ms = now.ms - config->timing.spread_ms;
    g->settle_ms = now.ms + config->timing.settle_ms;
    /* Not all nodes of a rack at the same moment. */
    g->round_ms = now.ms + (int64_t)fly_rng_below(&g->rng, (uint64_t)config->timing.probe_ms + 1);
    g->dead_ms = now.ms + config->timing.sync_ms;
    swim_member_setup(g);

    FLY_CHECK(swim_member_add(g, &config->credential) == SWIM_SELF);
    struct swim_member *self = &g->members[SWIM_SELF];
    self->boot = g->boot;
    self->was = GOSSIP_ALIVE; /* the caller knows */
    self->seen.state = GOSSIP_ALIVE;
    self->seen.since_ms = now.ms;
    self->seen.meta = config->meta;
    self->seen.generation = config->generation;
    self->seen.version = 1;
    swim_claim_say(g);
    fly_list_drop(&self->event);
    return g;
}

void gossip_fini(struct gossip *g)
{
    sodium_memzero(&g->keys, sizeof g->keys);
    sodium_memzero(g->x_secret, sizeof g->x_secret);
    seal_ring_wipe(&g->ring);
    for (uint32_t i = 0; i < g->slot_count; i++) {
        sodium_memzero(g->members[i].pair, sizeof g->members[i].pair);
    }
}

/* --- time --- */

void swim_pass_time(struct gossip *g, struct gossip_now now)
{
    int64_t due_ms = gossip_deadline(g);

    if (now.ms < g->now.ms) {
        now.ms = g->now.ms;
    }
    /* The process or its machine may have stood still, and its packets wait in the socket. */
    int64_t gap_ms = now.ms - g->now.ms;
    int64_t late_ms = due_ms < now.ms ? now.ms - due_ms : 0;
    g->now = now;
    if (gap_ms > STALL_GAP_MS && late_ms > STALL_LATE_MS) {
        g->counters.stalls++;
        swim_probe_stalled(g, late_ms < gap_ms ? late_ms : gap_ms);
    }
}

void gossip_tick(struct gossip *g, struct gossip_now now)
{
    swim_pass_time(g, now);
    if (g->left) {
        return;
    }
    swim_probe_tick(g);
    swim_suspect_tick(g);
    swim_spread_tick(g);
    swim_join_tick(g);
    swim_twin_tick(g);
    swim_member_reap(g);
    if (g->leaving && (g->leave_ms <= g->now.ms || g->members[SWIM_SELF].claim_sends == 0)) {
        g->left = true;
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t gossip_deadline(const struct gossip *g)
{
    int64_t first_ms = g->leaving ? g->leave_ms : g->reap_ms;

    if (g->left) {
        return SWIM_NEVER;
    }
    first_ms = earlier(first_ms, swim_probe_deadline(g));
    first_ms = earlier(first_ms, swim_suspect_deadline(g));
    first_ms = earlier(first_ms, swim_spread_deadline(g));
    first_ms = earlier(first_ms, swim_join_deadline(g));
    return earlier(first_ms, swim_twin_deadline(g));
}

/* --- events --- */

bool gossip_next_event(struct gossip *g, struct gossip_event *out)
{
    *out = (struct gossip_event){0};
    if (g->twin && !g->twin_told) {
        g->twin_told = true;
        out->kind = GOSSIP_EVENT_TWIN;
        out->id = g->members[SWIM_SELF].seen.credential.id;
        out->address = g->twin_address;
        return true;
    }
    while (!fly_list_empty(&g->events)) {
        struct swim_member *m = FLY_CONTAINER(g->events.next, struct swim_member, event);
        fly_list_drop(&m->event);
        out->id = m->seen.credential.id;
        if (m->gone) {
            bool heard_of = m->was != 0;
            m->used = false;
            g->free[g->free_count++] = (uint32_t)(m - g->members);
            if (!heard_of) {
                continue; /* came and went between two looks */
            }
            out->kind = GOSSIP_EVENT_GONE;
            return true;
        }
        out->kind = GOSSIP_EVENT_CHANGED;
        out->was = m->was;
        m->was = m->seen.state;
        return true;
    }
    if (g->settled && !g->settled_told) {
        g->settled_told = true;
        out->kind = GOSSIP_EVENT_SETTLED;
        out->joined = g->joined;
        return true;
    }
    return false;
}

/* --- what the node says --- */

void gossip_set_meta(struct gossip *g, const struct gossip_meta *meta, struct gossip_now now)
{
    struct swim_member *self = &g->members[SWIM_SELF];
    struct gossip_meta before = self->seen.meta;

    FLY_CHECK(packet_meta_ok(meta));
    swim_pass_time(g, now);
    if (g->leaving || packet_meta_same(&before, meta)) {
        return;
    }
    self->seen.meta = *meta;
    swim_claim_raise(g);
}

void gossip_hint_down(struct gossip *g, const struct node_id *id, struct gossip_now now)
{
    uint32_t slot = swim_member_find(g, id);

    swim_pass_time(g, now);
    if (slot != SWIM_NONE && slot != SWIM_SELF && swim_member_is_up(&g->members[slot])) {
        swim_probe_start(g, slot, false);
    }
}

void gossip_hint_refused(struct gossip *g, const struct gossip_address *address,
                         struct gossip_now now)
{
    swim_pass_time(g, now);
    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t slot = g->order[i];
        const struct swim_member *m = &g->members[slot];
        if (slot != SWIM_SELF && m->seen.state != GOSSIP_LEFT &&
            swim_address_equal(&m->seen.meta.address, address)) {
            swim_probe_refused(g, slot);
        }
    }
}

void gossip_hint_there(struct gossip *g, const struct node_id *id, struct gossip_now now)
{
    uint32_t slot = swim_member_find(g, id);

    swim_pass_time(g, now);
    if (slot != SWIM_NONE && g->members[slot].seen.state == GOSSIP_SUSPECT) {
        g->members[slot].there_ms = g->now.ms;
    }
}

void gossip_leave(struct gossip *g, struct gossip_now now)
{
    uint32_t to[16];

    swim_pass_time(g, now);
    if (g->leaving) {
        return;
    }
    g->leaving = true;
    g->leave_ms = now.ms + LEAVE_MS;
    swim_member_state(g, SWIM_SELF, GOSSIP_LEFT);
    swim_claim_raise(g);
    /* To some at once: a process that is told to stop may not have a second. */
    uint32_t count = swim_member_choose(g, SWIM_NONE, SWIM_UP, to, 16);
    for (uint32_t i = 0; i < count; i++) {
        (void)swim_outbox_to(g, SWIM_JOB_SPREAD, to[i]);
    }
}

bool gossip_left(const struct gossip *g)
{
    return g->left;
}

/* --- looking --- */

const struct gossip_member *gossip_member_at(const struct gossip *g, uint32_t i)
{
    return i < g->count ? &g->members[g->order[i]].seen : NULL;
}

const struct gossip_member *gossip_find(const struct gossip *g, const struct node_id *id)
{
    uint32_t slot = swim_member_find(g, id);

    return slot != SWIM_NONE ? &g->members[slot].seen : NULL;
}

uint32_t gossip_member_count(const struct gossip *g)
{
    return g->count;
}

const struct gossip_counters *gossip_counters(const struct gossip *g)
{
    return &g->counters;
}

uint32_t gossip_health(const struct gossip *g)
{
    return g->health;
}
