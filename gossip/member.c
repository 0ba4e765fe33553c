#include "gossip/swim.h"

#include <string.h>

#include <sodium.h>

#include "proto/base/check.h"

/* Not a secret: it only spreads bits. Who makes two views collide by force hides a difference
 * from the anti-entropy, and from nothing else. */
static const uint8_t view_key[crypto_shorthash_KEYBYTES] = "flylight-view-1";

static uint32_t hash_of(const struct node_id *id)
{
    return fly_load_u32(id->bytes); /* ids are hashes */
}

unsigned swim_member_bucket(const struct node_id *id)
{
    return id->bytes[NODE_ID_SIZE - 1] % PACKET_BUCKETS;
}

bool swim_member_is_up(const struct swim_member *m)
{
    return m->seen.state == GOSSIP_ALIVE || m->seen.state == GOSSIP_SUSPECT;
}

void swim_member_setup(struct gossip *g)
{
    fly_list_init(&g->events);
    fly_list_init(&g->spread);
    g->reap_ms = g->now.ms + g->timing.reap_ms;
}

uint32_t swim_member_find(const struct gossip *g, const struct node_id *id)
{
    struct index_cursor at = index_search(&g->index, hash_of(id));
    uint32_t slot;

    while ((slot = index_next(&g->index, &at)) != SWIM_NONE) {
        if (node_id_equal(&g->members[slot].seen.credential.id, id)) {
            return slot;
        }
    }
    return SWIM_NONE;
}

uint64_t swim_member_view(const struct gossip *g)
{
    uint64_t view = 0;

    for (unsigned i = 0; i < PACKET_BUCKETS; i++) {
        view ^= g->buckets[i];
    }
    return view;
}

static uint64_t share_of(const struct swim_member *m)
{
    uint8_t bytes[NODE_ID_SIZE + 16];
    uint8_t hash[crypto_shorthash_BYTES];

    if (!m->used || m->gone || !swim_member_is_up(m)) {
        return 0;
    }
    memcpy(bytes, m->seen.credential.id.bytes, NODE_ID_SIZE);
    fly_store_u32(bytes + NODE_ID_SIZE, m->seen.generation);
    fly_store_u32(bytes + NODE_ID_SIZE + 4, m->seen.version);
    fly_store_u64(bytes + NODE_ID_SIZE + 8, m->boot);
    (void)crypto_shorthash(hash, bytes, sizeof bytes, view_key);
    return fly_load_u64(hash);
}

void swim_member_changed(struct gossip *g, uint32_t slot)
{
    struct swim_member *m = &g->members[slot];
    uint64_t share = share_of(m);

    if (share != m->hash) {
        g->buckets[swim_member_bucket(&m->seen.credential.id)] ^= m->hash ^ share;
        m->hash = share;
        g->changed_ms = g->now.ms;
    }
    if (fly_list_empty(&m->event)) {
        fly_list_append(&g->events, &m->event);
    }
}

void swim_member_state(struct gossip *g, uint32_t slot, enum gossip_state state)
{
    struct swim_member *m = &g->members[slot];

    if (m->seen.state == state) {
        return;
    }
    g->suspects -= m->seen.state == GOSSIP_SUSPECT;
    g->suspects += state == GOSSIP_SUSPECT;
    m->seen.state = state;
    m->seen.since_ms = g->now.ms;
    m->suspected_ms = g->now.ms;
    m->verdict_ms = 0;
    if (state == GOSSIP_DEAD || state == GOSSIP_LEFT) {
        int64_t reap_ms = g->now.ms + g->timing.reap_ms;
        g->reap_ms = reap_ms < g->reap_ms ? reap_ms : g->reap_ms;
        swim_probe_forget(g, slot);
    }
    swim_member_changed(g, slot);
}

/* --- coming and going --- */

static void swap_places(struct gossip *g, uint32_t a, uint32_t b)
{
    uint32_t slot = g->order[a];

    g->order[a] = g->order[b];
    g->order[b] = slot;
    g->members[g->order[a]].place = a;
    g->members[g->order[b]].place = b;
}

static bool evict_one(struct gossip *g)
{
    uint32_t oldest = SWIM_NONE;

    for (uint32_t i = 0; i < g->count; i++) {
        const struct swim_member *m = &g->members[g->order[i]];
        if (!swim_member_is_up(m) &&
            (oldest == SWIM_NONE || m->seen.since_ms < g->members[oldest].seen.since_ms)) {
            oldest = g->order[i];
        }
    }
    if (oldest == SWIM_NONE) {
        return false;
    }
    swim_member_drop(g, oldest);
    return true;
}

uint32_t swim_member_add(struct gossip *g, const struct credential *credential)
{
    if ((g->count == g->members_max && !evict_one(g)) || g->free_count == 0) {
        g->counters.refused_full++;
        return SWIM_NONE;
    }
    uint32_t slot = g->free[--g->free_count];
    struct swim_member *m = &g->members[slot];
    *m = (struct swim_member){.used = true, .answered_ms = INT64_MIN / 2};
    fly_list_init(&m->spread);
    fly_list_init(&m->event);
    m->seen.credential = *credential;
    m->sequence_out = g->sequence_floor;
    m->seen.heard_ms = INT64_MIN;
    m->seen.self = slot == SWIM_SELF;
    index_add(&g->index, hash_of(&credential->id), slot);
    m->place = g->count;
    g->order[g->count++] = slot;
    /* Anywhere: members that join together must not be probed together. */
    swap_places(g, m->place, (uint32_t)fly_rng_below(&g->rng, g->count));
    return slot;
}

static void bury(struct gossip *g, const struct swim_member *m)
{
    g->tombstones[g->tombstone_next] = (struct swim_tombstone){
        .id = m->seen.credential.id,
        .generation = m->seen.generation,
        .version = m->seen.version,
        .until_ms = g->now.ms + 2 * g->timing.reap_ms,
    };
    g->tombstone_next = (g->tombstone_next + 1) % g->tombstone_count;
}

bool swim_member_buried(const struct gossip *g, const struct packet_claim *claim)
{
    for (uint32_t i = 0; i < g->tombstone_count; i++) {
        const struct swim_tombstone *t = &g->tombstones[i];
        if (t->until_ms > g->now.ms && node_id_equal(&t->id, &claim->id) &&
            (claim->generation < t->generation ||
             (claim->generation == t->generation && claim->version <= t->version))) {
            return true;
        }
    }
    return false;
}

void swim_member_drop(struct gossip *g, uint32_t slot)
{
    struct swim_member *m = &g->members[slot];

    FLY_CHECK(m->used && !m->gone && slot != SWIM_SELF);
    bury(g, m);
    if (m->sequence_out > g->sequence_floor) {
        g->sequence_floor = m->sequence_out; /* it may remember us when it comes back */
    }
    swim_probe_forget(g, slot);
    fly_list_drop(&m->spread);
    g->suspects -= m->seen.state == GOSSIP_SUSPECT;
    index_drop(&g->index, hash_of(&m->seen.credential.id), slot);
    swap_places(g, m->place, g->count - 1);
    g->count--;
    m->gone = true;
    sodium_memzero(m->pair, sizeof m->pair);
    m->pair_ready = false;
    swim_member_changed(g, slot); /* the slot is free again when GONE was taken */
}

void swim_member_reap(struct gossip *g)
{
    if (g->now.ms < g->reap_ms) {
        return;
    }
    g->reap_ms = g->now.ms + g->timing.reap_ms;
    for (uint32_t i = g->count; i > 0; i--) {
        uint32_t slot = g->order[i - 1];
        const struct swim_member *m = &g->members[slot];
        int64_t at_ms = m->seen.since_ms + g->timing.reap_ms;
        if (swim_member_is_up(m) || slot == SWIM_SELF) {
            continue;
        }
        if (at_ms <= g->now.ms) {
            swim_member_drop(g, slot);
        } else if (at_ms < g->reap_ms) {
            g->reap_ms = at_ms;
        }
    }
}

/* --- choosing --- */

uint32_t swim_member_choose(struct gossip *g, uint32_t except, enum swim_choice choice,
                            uint32_t *out, uint32_t max)
{
    const struct node_id *self = &g->members[SWIM_SELF].seen.credential.id;
    uint32_t found = 0;
    uint32_t seen = 0;

    /* Reservoir sampling (Knuth 3.4.2, algorithm R). */
    for (uint32_t i = 0; i < g->count && max > 0; i++) {
        uint32_t slot = g->order[i];
        const struct swim_member *m = &g->members[slot];
        if (slot == SWIM_SELF || slot == except || !swim_member_is_up(m) ||
            (choice == SWIM_HEARD && swim_suspect_is_accused_by(m, self)) ||
            (choice == SWIM_ALIVE && m->seen.state != GOSSIP_ALIVE)) {
            continue;
        }
        seen++;
        if (found < max) {
            out[found++] = slot;
        } else {
            uint64_t at = fly_rng_below(&g->rng, seen);
            if (at < max) {
                out[at] = slot;
            }
        }
    }
    return found;
}

uint32_t swim_member_others(const struct gossip *g)
{
    uint32_t others = 0;

    for (uint32_t i = 0; i < g->count; i++) {
        others += g->order[i] != SWIM_SELF && swim_member_is_up(&g->members[g->order[i]]);
    }
    return others;
}

bool swim_address_equal(const struct gossip_address *a, const struct gossip_address *b)
{
    return a->port == b->port && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

uint32_t swim_member_at_address(const struct gossip *g, const struct gossip_address *address)
{
    for (uint32_t i = 0; i < g->count; i++) {
        const struct swim_member *m = &g->members[g->order[i]];
        if (swim_member_is_up(m) && swim_address_equal(&m->seen.meta.address, address)) {
            return g->order[i];
        }
    }
    return SWIM_NONE;
}

const uint8_t *swim_member_pair(struct gossip *g, uint32_t slot)
{
    struct swim_member *m = &g->members[slot];
    const struct credential *self = &g->members[SWIM_SELF].seen.credential;

    if (!m->pair_ready) {
        m->pair_ready = keyring_pair(g->x_secret, &self->id, &m->seen.credential.id,
                                     m->seen.credential.key, g->cluster, m->pair);
    }
    return m->pair_ready ? m->pair : NULL;
}

struct fly_bytes swim_member_claim(const struct swim_member *m)
{
    return (struct fly_bytes){.data = m->claim, .size = m->claim_size};
}
