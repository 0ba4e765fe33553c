/*
 * Outbox: what is to be sent waits as a job and becomes bytes when the caller takes it, so that the
 * newest words ride on it and memory is bounded.
 */
#include <string.h>

#include "gossip/swim.h"
#include "proto/base/check.h"

struct swim_job *swim_outbox_new(struct gossip *g, enum swim_job_kind kind, uint32_t slot,
                                 const struct gossip_address *to)
{
    if (g->job_count == SWIM_JOBS_MAX) {
        g->counters.dropped_out++;
        return NULL;
    }
    struct swim_job *job = &g->jobs[(g->job_first + g->job_count++) % SWIM_JOBS_MAX];
    memset(job, 0, offsetof(struct swim_job, as));
    memset(&job->as, 0, 16); /* counts and marks; the arrays behind them are filled as counted */
    job->kind = kind;
    job->slot = slot;
    job->to = *to;
    return job;
}

struct swim_job *swim_outbox_to(struct gossip *g, enum swim_job_kind kind, uint32_t slot)
{
    return swim_outbox_new(g, kind, slot, &g->members[slot].seen.meta.address);
}

/* --- one packet --- */

struct draft {
    struct fly_writer w;
    const uint8_t *pair; /* NULL: without a MAC */
};

/* slot: of the member that it is for; SWIM_NONE: not known, and no MAC. */
static struct draft begin(struct gossip *g, enum packet_type type, uint8_t flags, uint32_t slot,
                          uint8_t *room, size_t max)
{
    struct draft d = {.w = fly_writer_over(room, max)};
    struct packet_header h = {
        .type = type,
        .flags = flags,
        .from = g->members[SWIM_SELF].seen.credential.id,
        .boot = g->boot,
    };

    if (slot != SWIM_NONE) {
        struct swim_member *m = &g->members[slot];
        d.pair = swim_member_pair(g, slot);
        h.to = m->seen.credential.id;
        if (d.pair != NULL) {
            h.flags |= PACKET_MAC;
            h.sequence = ++m->sequence_out;
            d.w.max -= PACKET_MAC_SIZE;
        }
    }
    packet_header_put(&d.w, &h);
    return d;
}

static size_t finish(struct draft *d)
{
    FLY_CHECK(!d->w.failed);
    if (d->pair != NULL) {
        keyring_mac(d->pair, (struct fly_bytes){.data = d->w.data, .size = d->w.size},
                    d->w.data + d->w.size);
        d->w.size += PACKET_MAC_SIZE;
    }
    return d->w.size;
}

/* What a member is accused of goes to itself with any probe (Lifeguard's buddy). */
static void put_accusations(const struct gossip *g, struct fly_writer *w, uint32_t slot)
{
    const struct swim_member *m = &g->members[slot];

    for (unsigned i = 0; i < m->accuser_count; i++) {
        if (!packet_accusation_put(w, &m->accusers[i].said)) {
            return;
        }
    }
}

bool swim_outbox_put_full(struct gossip *g, struct fly_writer *w, uint32_t slot)
{
    const struct swim_member *m = &g->members[slot];
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    struct fly_bytes credential = {.data = bytes,
                                   .size = credential_encode(&m->seen.credential, bytes)};

    if (!packet_full_put(w, credential, swim_member_claim(m))) {
        return false;
    }
    g->counters.updates_out++;
    put_accusations(g, w, slot);
    return true;
}

/* --- by kind --- */

static void put_probe(struct gossip *g, struct draft *d, const struct swim_job *job, uint32_t slot)
{
    fly_put_u64(&d->w, job->nonce);
    fly_put_u64(&d->w, swim_member_view(g));
    if (slot != SWIM_SELF) {
        put_accusations(g, &d->w, slot);
    }
}

static size_t encode_ping(struct gossip *g, const struct swim_job *job, uint8_t *room)
{
    struct draft d = begin(g, PACKET_PING, 0, job->slot, room, PACKET_PLAIN_MAX);

    put_probe(g, &d, job, job->slot);
    if (job->slot != SWIM_SELF) {
        swim_spread_fill(g, &d.w, job->slot);
    }
    return finish(&d);
}

static size_t encode_ack(struct gossip *g, const struct swim_job *job, uint8_t *room)
{
    bool relayed = (job->flags & PACKET_RELAYED) != 0;
    struct draft d =
        begin(g, PACKET_ACK, 0, job->slot, room, relayed ? SWIM_FORWARD_MAX : PACKET_PLAIN_MAX);

    fly_put_u64(&d.w, job->nonce);
    fly_put_u64(&d.w, swim_member_view(g));
    fly_put_u64(&d.w, (uint64_t)(g->now.ms - g->started_ms));
    if (job->tell_self) {
        (void)packet_record_put(&d.w, PACKET_CLAIM, swim_member_claim(&g->members[SWIM_SELF]));
    }
    if (job->tell_them) {
        (void)packet_record_put(&d.w, PACKET_CLAIM, swim_member_claim(&g->members[job->slot]));
    }
    if (job->slot != SWIM_SELF) {
        put_accusations(g, &d.w, job->slot);
        if (!relayed) {
            swim_spread_fill(g, &d.w, job->slot);
        }
    }
    return finish(&d);
}

static size_t encode_ask(struct gossip *g, const struct swim_job *job, uint8_t *room)
{
    uint8_t inner[SWIM_FORWARD_MAX];
    struct draft ping = begin(g, PACKET_PING, PACKET_RELAYED, job->about, inner, sizeof inner);
    struct draft d = begin(g, PACKET_ASK, 0, job->slot, room, PACKET_PLAIN_MAX);

    put_probe(g, &ping, job, job->about);
    size_t size = finish(&ping);
    fly_put_u64(&d.w, job->nonce);
    fly_put_u16(&d.w, (uint16_t)size);
    fly_put_bytes(&d.w, inner, size);
    swim_spread_fill(g, &d.w, job->slot);
    return finish(&d);
}

static size_t encode_join(struct gossip *g, const struct swim_job *job, uint8_t *room)
{
    struct draft d = begin(g, PACKET_JOIN, 0, SWIM_NONE, room, PACKET_PLAIN_MAX);

    fly_put_u64(&d.w, job->nonce);
    FLY_CHECK(swim_outbox_put_full(g, &d.w, SWIM_SELF));
    g->counters.updates_out--; /* it asks; who is alone goes on asking */
    return finish(&d);
}

static size_t encode_spread(struct gossip *g, const struct swim_job *job, uint8_t *room)
{
    struct draft d = begin(g, PACKET_RECORDS, 0, SWIM_NONE, room, PACKET_PLAIN_MAX);

    fly_put_u64(&d.w, 0);
    size_t empty = d.w.size;
    swim_spread_fill(g, &d.w, job->slot);
    return d.w.size > empty ? finish(&d) : 0; /* a probe took the words along meanwhile */
}

static size_t encode_records(struct gossip *g, struct swim_job *job, uint8_t *room, bool *more)
{
    struct draft d = begin(g, PACKET_RECORDS, 0, SWIM_NONE, room, PACKET_PLAIN_MAX);

    fly_put_u64(&d.w, job->nonce);
    while (job->as.records.at < job->as.records.count) {
        uint32_t slot = job->as.records.slots[job->as.records.at];
        if (g->members[slot].used && !g->members[slot].gone &&
            !swim_outbox_put_full(g, &d.w, slot)) {
            *more = true;
            break;
        }
        job->as.records.at++;
    }
    return finish(&d);
}

/* This node first, then those that are up, from some slot on round the table. */
static size_t encode_dump(struct gossip *g, struct swim_job *job, uint8_t *room, bool *more)
{
    struct draft d = begin(g, PACKET_RECORDS, 0, SWIM_NONE, room, PACKET_PLAIN_MAX);
    uint32_t slots = g->slot_count;

    fly_put_u64(&d.w, job->nonce);
    while (job->as.dump.left > 0 && job->as.dump.at < slots) {
        uint32_t at = job->as.dump.at;
        uint32_t slot = at == 0 ? SWIM_SELF : 1 + (job->as.dump.start + at) % (slots - 1);
        const struct swim_member *m = &g->members[slot];
        if (m->used && !m->gone && swim_member_is_up(m)) {
            if (!swim_outbox_put_full(g, &d.w, slot)) {
                *more = true;
                return finish(&d);
            }
            job->as.dump.left--;
        }
        job->as.dump.at++;
    }
    d.w.data[2] |= PACKET_LAST; /* the header's flags */
    return finish(&d);
}

static size_t encode_pull(struct gossip *g, const struct swim_job *job, uint8_t *room)
{
    struct draft d = begin(g, PACKET_PULL, 0, job->slot, room, PACKET_PLAIN_MAX);

    fly_put_u8(&d.w, (uint8_t)job->as.pull.count);
    for (uint32_t i = 0; i < job->as.pull.count; i++) {
        fly_put_bytes(&d.w, job->as.pull.ids[i].bytes, NODE_ID_SIZE);
    }
    return finish(&d);
}

static size_t encode_plain(struct gossip *g, const struct swim_job *job, uint8_t *room)
{
    struct draft d = begin(g, job->kind == SWIM_JOB_SYNC ? PACKET_SYNC : PACKET_NACK, 0, job->slot,
                           room, PACKET_PLAIN_MAX);

    if (job->kind == SWIM_JOB_SYNC) {
        for (unsigned i = 0; i < PACKET_BUCKETS; i++) {
            fly_put_u64(&d.w, g->buckets[i]);
        }
    } else {
        fly_put_u64(&d.w, job->nonce);
    }
    return finish(&d);
}

static size_t encode_digest(struct gossip *g, struct swim_job *job, uint8_t *room, bool *more)
{
    struct draft d = begin(g, PACKET_DIGEST, 0, job->slot, room, PACKET_PLAIN_MAX);

    job->as.buckets &= ~swim_sync_lines(g, job->as.buckets, &d.w);
    *more = job->as.buckets != 0;
    return finish(&d);
}

static size_t encode(struct gossip *g, struct swim_job *job, uint8_t *room, bool *more)
{
    switch (job->kind) {
    case SWIM_JOB_PING:
    case SWIM_JOB_TWIN:
        return encode_ping(g, job, room);
    case SWIM_JOB_ASK:
        return encode_ask(g, job, room);
    case SWIM_JOB_ACK:
        return encode_ack(g, job, room);
    case SWIM_JOB_NACK:
    case SWIM_JOB_SYNC:
        return encode_plain(g, job, room);
    case SWIM_JOB_FORWARD:
        memcpy(room, job->as.forward.bytes, job->as.forward.size);
        return job->as.forward.size;
    case SWIM_JOB_JOIN:
        return encode_join(g, job, room);
    case SWIM_JOB_SPREAD:
        return encode_spread(g, job, room);
    case SWIM_JOB_RECORDS:
        return encode_records(g, job, room, more);
    case SWIM_JOB_DUMP:
        return encode_dump(g, job, room, more);
    case SWIM_JOB_PULL:
        return encode_pull(g, job, room);
    case SWIM_JOB_DIGEST:
        return encode_digest(g, job, room, more);
    }
    FLY_UNREACHABLE();
}

static bool still_there(const struct gossip *g, uint32_t slot)
{
    return slot == SWIM_NONE || (g->members[slot].used && !g->members[slot].gone);
}

size_t gossip_next_packet(struct gossip *g, struct gossip_address *to,
                          uint8_t out[static GOSSIP_PACKET_MAX])
{
    uint8_t plain[PACKET_PLAIN_MAX];

    while (g->job_count > 0) {
        struct swim_job *job = &g->jobs[g->job_first];
        bool more = false;
        size_t size = 0;
        if (still_there(g, job->slot) &&
            (job->kind != SWIM_JOB_ASK || still_there(g, job->about))) {
            size = encode(g, job, plain, &more);
        }
        *to = job->to;
        if (!more) {
            g->job_first = (g->job_first + 1) % SWIM_JOBS_MAX;
            g->job_count--;
        }
        if (size > 0) {
            g->counters.packets_out++;
            size = seal_close(&g->ring, &g->rng, plain, size, out);
            g->counters.bytes_out += size;
            return size;
        }
    }
    return 0;
}
