/*
 * Receive: seal, form, records, MAC, then what the packet asks. Nothing is changed before the whole
 * packet is known to be well-formed; records prove themselves, all else needs the MAC.
 */
#include "gossip/swim.h"
#include "proto/base/check.h"

enum { WINDOW = 64 };

/* Records first: with them a sender may become known that signed the rest. */
static void take_records(struct gossip *g, struct swim_arrival *a)
{
    struct fly_reader r = a->body;
    struct packet_record record;
    struct packet_accusation said;

    packet_body_skip(&a->header, &r);
    while (packet_record_next(&r, &record)) {
        switch (record.kind) {
        case PACKET_CLAIM:
            swim_claim_receive(g, a, record.bytes);
            break;
        case PACKET_FULL:
            swim_full_receive(g, a, record.bytes);
            break;
        case PACKET_ACCUSATION:
            FLY_CHECK(packet_accusation_decode(record.bytes, &said));
            swim_suspect_receive(g, a, &said);
            break;
        default:
            break;
        }
    }
}

/* A sliding window over the sequence of each sender's boot (RFC 4303, 3.4.3). */
static bool is_replay(const struct swim_member *m, uint32_t sequence)
{
    if (sequence == 0) {
        return true;
    }
    if (sequence > m->sequence_in) {
        return false;
    }
    uint32_t behind = m->sequence_in - sequence;
    return behind >= WINDOW || (m->sequence_mask >> behind & 1) != 0;
}

static void note_sequence(struct swim_member *m, uint32_t sequence)
{
    if (sequence > m->sequence_in) {
        uint32_t ahead = sequence - m->sequence_in;
        m->sequence_mask = ahead < WINDOW ? m->sequence_mask << ahead : 0;
        m->sequence_in = sequence;
    }
    m->sequence_mask |= UINT64_C(1) << (m->sequence_in - sequence);
}

/* False: do not look at the packet any more. */
static bool authenticate(struct gossip *g, struct swim_arrival *a)
{
    struct swim_member *m = &g->members[a->sender];
    const uint8_t *pair = swim_member_pair(g, a->sender);
    struct fly_bytes message = {.data = a->plain.data, .size = a->plain.size - PACKET_MAC_SIZE};
    bool known_boot = a->sender != SWIM_SELF && m->boot == a->header.boot;

    if (known_boot && is_replay(m, a->header.sequence)) {
        g->counters.refused_replay++;
        return false;
    }
    if (pair == NULL || !keyring_mac_ok(pair, message, message.data + message.size)) {
        g->counters.refused_mac++;
        return false;
    }
    if (known_boot) {
        note_sequence(m, a->header.sequence);
        a->authentic = true;
        m->seen.heard_ms = g->now.ms;
        g->heard_ms = g->now.ms;
    } else if (a->sender != SWIM_SELF) {
        a->other_boot = true; /* an earlier or later life, whose claim we lack */
        swim_sync_want(a, &a->header.from);
    }
    return true;
}

/* From a process with our own id. */
static void from_self(struct gossip *g, struct swim_arrival *a)
{
    if (a->header.boot == g->boot && a->header.type != PACKET_ACK) {
        if (a->header.type == PACKET_PING) {
            swim_probe_ping(g, a); /* our own PING of an address that is ours */
        }
        return;
    }
    if (a->header.type == PACKET_ACK) {
        swim_twin_ack(g, a);
    } else if (a->header.type == PACKET_PING) {
        swim_probe_ping(g, a);
        swim_twin_check(g, a->from);
    }
}

static void dispatch(struct gossip *g, struct swim_arrival *a)
{
    bool mac_good = a->authentic || a->other_boot;

    switch (a->header.type) {
    case PACKET_PING:
        if (mac_good) {
            swim_probe_ping(g, a);
        }
        return;
    case PACKET_ACK:
        if (mac_good) {
            swim_probe_ack(g, a);
        }
        return;
    case PACKET_NACK:
        if (a->authentic) {
            swim_probe_nack(g, a);
        }
        return;
    case PACKET_ASK:
        if (a->authentic) {
            swim_probe_ask(g, a);
        }
        return;
    case PACKET_RECORDS:
        swim_join_answer(g, a);
        return;
    case PACKET_JOIN:
        swim_join_receive(g, a);
        return;
    case PACKET_PULL:
        swim_sync_pull(g, a);
        return;
    case PACKET_SYNC:
        if (a->authentic) {
            swim_sync_receive(g, a);
        }
        return;
    case PACKET_DIGEST:
        if (a->authentic) {
            swim_sync_digest(g, a);
        }
        return;
    }
}

static bool is_zero(const struct node_id *id)
{
    static const struct node_id zero;

    return node_id_equal(id, &zero);
}

static void receive_plain(struct gossip *g, struct swim_arrival *a)
{
    const struct node_id *self = &g->members[SWIM_SELF].seen.credential.id;
    bool for_us = is_zero(&a->header.to) || node_id_equal(&a->header.to, self);
    bool has_mac = (a->header.flags & PACKET_MAC) != 0;

    a->sender = swim_member_find(g, &a->header.from);
    if (!for_us) {
        if (a->header.type == PACKET_ACK && a->sender != SWIM_NONE) {
            swim_probe_relay(g, a);
        }
        return;
    }
    if (a->sender == SWIM_SELF && a->header.boot == g->boot && !has_mac) {
        return; /* our own JOIN, to an address that is ours */
    }
    take_records(g, a);
    a->sender = swim_member_find(g, &a->header.from);
    if (a->sender == SWIM_NONE) {
        if (a->header.type != PACKET_JOIN) {
            swim_sync_want(a, &a->header.from);
        }
        if (has_mac) {
            return; /* it comes again when we know its key */
        }
    } else if (has_mac && !authenticate(g, a)) {
        return;
    }
    if (a->sender == SWIM_SELF) {
        if (has_mac) {
            from_self(g, a);
        } else {
            swim_twin_check(g, a->from); /* a JOIN in our name */
        }
        return;
    }
    dispatch(g, a);
}

void gossip_receive(struct gossip *g, const struct gossip_address *from, const void *data,
                    size_t size, struct gossip_now now)
{
    uint8_t plain[PACKET_PLAIN_MAX];
    struct swim_arrival a = {.from = from, .plain = {.data = plain}};

    swim_pass_time(g, now);
    g->counters.packets_in++;
    g->counters.bytes_in += size;
    if (g->left) {
        return;
    }
    if (size > GOSSIP_PACKET_MAX || !seal_open(&g->ring, data, size, plain, &a.plain.size)) {
        g->counters.refused_seal++;
        return;
    }
    a.body = fly_reader_over(plain, a.plain.size);
    if (!packet_header_get(&a.body, &a.header)) {
        g->counters.refused_form++;
        return;
    }
    if ((a.header.flags & PACKET_MAC) != 0) {
        if (fly_reader_left(&a.body) < PACKET_MAC_SIZE) {
            g->counters.refused_form++;
            return;
        }
        a.body.size -= PACKET_MAC_SIZE;
    }
    if (!packet_body_ok(&a.header, a.body)) {
        g->counters.refused_form++;
        return;
    }
    receive_plain(g, &a);
    swim_sync_flush(g, &a);
}
