/* Claims: what members say of themselves, and what this node says. */
#include <string.h>

#include <sodium.h>

#include "gossip/swim.h"
#include "proto/base/check.h"

static uint64_t tag_of(const struct credential *credential)
{
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    uint8_t hash[crypto_generichash_BYTES_MIN];
    size_t size = credential_encode(credential, bytes);

    (void)crypto_generichash(hash, sizeof hash, bytes, size, NULL, 0);
    return fly_load_u64(hash);
}

/* --- what this node says --- */

void swim_claim_say(struct gossip *g)
{
    struct swim_member *self = &g->members[SWIM_SELF];
    struct packet_claim claim = {
        .id = self->seen.credential.id,
        .generation = self->seen.generation,
        .version = self->seen.version,
        .boot = g->boot,
        .left = self->seen.state == GOSSIP_LEFT,
        .credential_tag = self->credential_tag,
        .meta = self->seen.meta,
    };

    if (self->credential_tag == 0) {
        self->credential_tag = tag_of(&self->seen.credential);
        claim.credential_tag = self->credential_tag;
    }
    self->claim_size = (uint16_t)packet_claim_encode(&claim, &g->keys, g->cluster, self->claim);
    self->claim_sends = swim_spread_limit(g);
    swim_spread_add(g, SWIM_SELF);
    swim_member_changed(g, SWIM_SELF);
}

static void count_up(struct gossip *g, uint32_t generation, uint32_t version)
{
    struct swim_member *self = &g->members[SWIM_SELF];

    if (version == UINT32_MAX && generation < UINT32_MAX) {
        generation++;
        version = 0;
    }
    self->seen.generation = generation;
    self->seen.version = version == UINT32_MAX ? version : version + 1;
}

void swim_claim_raise(struct gossip *g)
{
    const struct gossip_member *self = &g->members[SWIM_SELF].seen;

    count_up(g, self->generation, self->version);
    swim_claim_say(g);
}

/*
 * A claim in our name that we did not make in this life. An older one is of an earlier life, and
 * whoever has it hears our own. A newer one is of a life whose generation was lost with our state,
 * or of a twin: we go above it either way, and look whether somebody answers there.
 */
static void own_claim(struct gossip *g, struct swim_arrival *a, struct fly_bytes bytes,
                      const struct packet_claim *claim)
{
    struct swim_member *self = &g->members[SWIM_SELF];
    struct packet_claim ours;

    FLY_CHECK(packet_claim_decode(swim_member_claim(self), &ours));
    int order = packet_claim_compare(claim, &ours);
    if (order == 0) {
        return;
    }
    if (order < 0) {
        if (g->now.ms - g->retold_ms >= g->timing.spread_ms) {
            struct swim_job *job = swim_outbox_new(g, SWIM_JOB_RECORDS, SWIM_NONE, a->from);
            if (job != NULL) {
                job->as.records.count = 1;
                job->as.records.slots[0] = SWIM_SELF;
            }
            g->retold_ms = g->now.ms;
        }
        return;
    }
    if (!swim_verify_allowed(g, 1)) {
        return;
    }
    if (!packet_claim_signed(bytes, g->keys.public_key, g->cluster)) {
        g->counters.refused_signature++;
        return;
    }
    if (claim->boot != g->boot && !claim->left) {
        swim_twin_check(g, &claim->meta.address);
    }
    if (claim->generation > self->seen.generation && claim->generation < UINT32_MAX) {
        count_up(g, claim->generation + 1, 0);
    } else {
        count_up(g, claim->generation, claim->version);
    }
    swim_claim_say(g);
    swim_join_again(g);
}

/* --- what others say --- */

bool swim_verify_allowed(struct gossip *g, uint32_t count)
{
    int64_t passed_ms = g->now.ms - g->verifies_ms;
    const int64_t full = (int64_t)SWIM_VERIFIES_BURST * 1000;

    if (passed_ms > 0) {
        int64_t sum =
            passed_ms > 10000 ? full : (int64_t)g->verifies + passed_ms * SWIM_VERIFIES_PER_S;
        g->verifies = (uint32_t)(sum < full ? sum : full);
        g->verifies_ms = g->now.ms;
    }
    if (g->verifies < count * 1000) {
        g->counters.refused_busy++;
        return false;
    }
    g->verifies -= count * 1000;
    return true;
}

static void take_claim(struct gossip *g, uint32_t slot, struct fly_bytes bytes,
                       const struct packet_claim *claim)
{
    struct swim_member *m = &g->members[slot];

    if (claim->boot != m->boot) {
        m->sequence_in = 0;
        m->sequence_mask = 0;
    }
    m->boot = claim->boot;
    m->seen.generation = claim->generation;
    m->seen.version = claim->version;
    if (!swim_address_equal(&m->seen.meta.address, &claim->meta.address)) {
        m->seen.rtt_us = 0; /* another way */
    }
    m->seen.meta = claim->meta;
    memcpy(m->claim, bytes.data, bytes.size);
    m->claim_size = (uint16_t)bytes.size;
    swim_suspect_clear(m);
    swim_member_state(g, slot, claim->left ? GOSSIP_LEFT : GOSSIP_ALIVE);
    swim_member_changed(g, slot);
    m->claim_sends = swim_spread_limit(g);
    swim_spread_add(g, slot);
}

static int compare_known(const struct packet_claim *claim, const struct swim_member *m)
{
    struct packet_claim known = {
        .generation = m->seen.generation, .version = m->seen.version, .boot = m->boot};

    return packet_claim_compare(claim, &known);
}

/* A decoded claim about a member that we know, from anywhere. */
static void known_claim(struct gossip *g, uint32_t slot, struct fly_bytes bytes,
                        const struct packet_claim *claim)
{
    const struct swim_member *m = &g->members[slot];

    if (compare_known(claim, m) <= 0 || !swim_verify_allowed(g, 1)) {
        return;
    }
    if (!packet_claim_signed(bytes, m->seen.credential.key, g->cluster)) {
        g->counters.refused_signature++;
        return;
    }
    take_claim(g, slot, bytes, claim);
}

void swim_claim_receive(struct gossip *g, struct swim_arrival *a, struct fly_bytes bytes)
{
    struct packet_claim claim;

    FLY_CHECK(packet_claim_decode(bytes, &claim));
    uint32_t slot = swim_member_find(g, &claim.id);
    if (slot == SWIM_SELF) {
        own_claim(g, a, bytes, &claim);
    } else if (slot != SWIM_NONE) {
        known_claim(g, slot, bytes, &claim);
        if (g->members[slot].credential_tag != claim.credential_tag &&
            compare_known(&claim, &g->members[slot]) == 0) {
            swim_sync_want(a, &claim.id); /* its credential was renewed */
        }
    } else if (!swim_member_buried(g, &claim)) {
        swim_sync_want(a, &claim.id);
    }
}

static bool credential_good(struct gossip *g, const struct credential *c)
{
    struct fly_error error;

    if (!swim_verify_allowed(g, 2)) {
        return false;
    }
    if (credential_verify(c, g->ca, g->cluster, g->now.wall_ms, &error) != FLY_OK) {
        g->counters.refused_credential++;
        return false;
    }
    return true;
}

static void new_member(struct gossip *g, const struct credential *credential,
                       struct fly_bytes bytes, const struct packet_claim *claim)
{
    if (swim_member_buried(g, claim) || !credential_good(g, credential) ||
        !swim_verify_allowed(g, 1)) {
        return;
    }
    if (!packet_claim_signed(bytes, credential->key, g->cluster)) {
        g->counters.refused_signature++;
        return;
    }
    uint32_t slot = swim_member_add(g, credential);
    if (slot != SWIM_NONE) {
        g->members[slot].credential_tag = tag_of(credential);
        take_claim(g, slot, bytes, claim);
    }
}

void swim_full_receive(struct gossip *g, struct swim_arrival *a, struct fly_bytes bytes)
{
    struct packet_claim claim;
    struct credential credential;
    struct fly_error error;
    struct fly_bytes half;
    struct fly_bytes rest;

    FLY_CHECK(packet_full_split(bytes, &half, &rest) && packet_claim_decode(rest, &claim));
    if (credential_decode(half.data, half.size, &credential, &error) != FLY_OK ||
        !node_id_equal(&credential.id, &claim.id)) {
        g->counters.refused_credential++;
        return;
    }
    uint32_t slot = swim_member_find(g, &claim.id);
    if (slot == SWIM_SELF) {
        own_claim(g, a, rest, &claim);
    } else if (slot == SWIM_NONE) {
        new_member(g, &credential, rest, &claim);
    } else {
        struct swim_member *m = &g->members[slot];
        uint64_t tag = tag_of(&credential);
        known_claim(g, slot, rest, &claim);
        /* Renewed: taken when the claim in force names it. */
        if (tag != m->credential_tag && tag == claim.credential_tag && rest.size == m->claim_size &&
            memcmp(rest.data, m->claim, rest.size) == 0 && credential_good(g, &credential)) {
            m->seen.credential = credential;
            m->credential_tag = tag;
            swim_member_changed(g, slot);
        }
    }
}
