#include "gossip/packet.h"

#include <string.h>

#include "proto/base/check.h"

static const char claim_domain[] = "flylight-claim-1";
static const char accusation_domain[] = "flylight-accusation-1";

enum {
    CLUSTER_SIZE = 32,
    CLAIM_LEFT = 1 << 0,
    META_TLS = 1 << 0,
    META_SERVING = 1 << 1,
    META_ROLES_SHIFT = 4,
    META_HTTPS = 1 << 0, /* of the extension's bits */
    META_EXTENSION_SIZE = 3,
    ACCUSATION_SIGNED = PACKET_ACCUSATION_SIZE - NODE_SIGNATURE_SIZE,
};

/* The largest FULL must fit into one packet behind the body of a RECORDS. */
_Static_assert(PACKET_HEADER_SIZE + 8 + PACKET_RECORD_HEAD + PACKET_FULL_MAX + PACKET_MAC_SIZE <=
                   PACKET_PLAIN_MAX,
               "full");

/* --- header --- */

void packet_header_put(struct fly_writer *w, const struct packet_header *h)
{
    fly_put_u8(w, PACKET_FORMAT);
    fly_put_u8(w, (uint8_t)h->type);
    fly_put_u8(w, h->flags);
    fly_put_bytes(w, h->from.bytes, NODE_ID_SIZE);
    fly_put_u64(w, h->boot);
    fly_put_bytes(w, h->to.bytes, NODE_ID_SIZE);
    fly_put_u32(w, h->sequence);
}

bool packet_header_get(struct fly_reader *r, struct packet_header *out)
{
    uint8_t format = fly_get_u8(r);
    uint8_t type = fly_get_u8(r);

    out->flags = fly_get_u8(r);
    fly_get_copy(r, out->from.bytes, NODE_ID_SIZE);
    out->boot = fly_get_u64(r);
    fly_get_copy(r, out->to.bytes, NODE_ID_SIZE);
    out->sequence = fly_get_u32(r);
    if (r->failed || format != PACKET_FORMAT || type < PACKET_PING || type > PACKET_DIGEST) {
        return false;
    }
    out->type = (enum packet_type)type;
    return true;
}

/* --- records --- */

bool packet_record_next(struct fly_reader *r, struct packet_record *out)
{
    if (fly_reader_left(r) == 0) {
        return false;
    }
    out->kind = fly_get_u8(r);
    out->bytes.size = fly_get_u16(r);
    out->bytes.data = fly_get_bytes(r, out->bytes.size);
    return !r->failed;
}

static bool has_room(const struct fly_writer *w, size_t size)
{
    return !w->failed && w->max - w->size >= size;
}

bool packet_record_put(struct fly_writer *w, enum packet_record_kind kind, struct fly_bytes bytes)
{
    FLY_CHECK(bytes.size <= PACKET_PLAIN_MAX);
    if (!has_room(w, PACKET_RECORD_HEAD + bytes.size)) {
        return false;
    }
    fly_put_u8(w, (uint8_t)kind);
    fly_put_u16(w, (uint16_t)bytes.size);
    fly_put_bytes(w, bytes.data, bytes.size);
    return true;
}

bool packet_full_put(struct fly_writer *w, struct fly_bytes credential, struct fly_bytes claim)
{
    size_t size = 2 + credential.size + claim.size;

    FLY_CHECK(size <= PACKET_FULL_MAX);
    if (!has_room(w, PACKET_RECORD_HEAD + size)) {
        return false;
    }
    fly_put_u8(w, PACKET_FULL);
    fly_put_u16(w, (uint16_t)size);
    fly_put_u16(w, (uint16_t)credential.size);
    fly_put_bytes(w, credential.data, credential.size);
    fly_put_bytes(w, claim.data, claim.size);
    return true;
}

bool packet_full_split(struct fly_bytes full, struct fly_bytes *credential, struct fly_bytes *claim)
{
    struct fly_reader r = fly_reader_over(full.data, full.size);

    credential->size = fly_get_u16(&r);
    credential->data = fly_get_bytes(&r, credential->size);
    claim->size = fly_reader_left(&r);
    claim->data = fly_get_bytes(&r, claim->size);
    return !r.failed && credential->size <= CREDENTIAL_BYTES_MAX && claim->size > 0;
}

/* --- claims --- */

static bool text_ok(const char *text, size_t max)
{
    size_t size = strnlen(text, max);

    for (size_t i = 0; i < size; i++) {
        if (text[i] < ' ' || text[i] > '~') {
            return false;
        }
    }
    return size < max;
}

bool packet_meta_ok(const struct gossip_meta *meta)
{
    return meta->address.port != 0 && meta->slice_count <= GOSSIP_SLICES_MAX &&
           text_ok(meta->region, sizeof meta->region) && text_ok(meta->note, sizeof meta->note);
}

static void meta_put(struct fly_writer *w, const struct gossip_meta *m)
{
    fly_put_bytes(w, m->address.ip, sizeof m->address.ip);
    fly_put_u16(w, m->address.port);
    fly_put_u16(w, m->rpc_port);
    fly_put_u16(w, m->pub_port);
    fly_put_u8(w, (uint8_t)((m->tls ? META_TLS : 0) | (m->serving ? META_SERVING : 0) |
                            (m->roles & NODE_ROLE_ALL) << META_ROLES_SHIFT));
    fly_put_string8(w, m->region);
    fly_put_u32(w, m->software);
    fly_put_u8(w, m->slice_count);
    for (unsigned i = 0; i < m->slice_count; i++) {
        fly_put_u32(w, m->slices[i].tag);
        fly_put_u64(w, m->slices[i].epoch);
    }
    fly_put_string8(w, m->note);
    if (m->http_port != 0) { /* an extension: older readers leave it alone */
        fly_put_u16(w, m->http_port);
        fly_put_u8(w, m->https ? META_HTTPS : 0);
    }
}

bool packet_meta_same(const struct gossip_meta *a, const struct gossip_meta *b)
{
    uint8_t bytes_a[PACKET_CLAIM_MAX];
    uint8_t bytes_b[PACKET_CLAIM_MAX];
    struct fly_writer wa = fly_writer_over(bytes_a, sizeof bytes_a);
    struct fly_writer wb = fly_writer_over(bytes_b, sizeof bytes_b);

    meta_put(&wa, a);
    meta_put(&wb, b);
    return wa.size == wb.size && memcmp(bytes_a, bytes_b, wa.size) == 0;
}

static bool meta_get(struct fly_reader *r, struct gossip_meta *m)
{
    fly_get_copy(r, m->address.ip, sizeof m->address.ip);
    m->address.port = fly_get_u16(r);
    m->rpc_port = fly_get_u16(r);
    m->pub_port = fly_get_u16(r);
    uint8_t bits = fly_get_u8(r);
    m->tls = (bits & META_TLS) != 0;
    m->serving = (bits & META_SERVING) != 0;
    m->roles = (uint32_t)bits >> META_ROLES_SHIFT;
    fly_get_string8(r, m->region, sizeof m->region);
    m->software = fly_get_u32(r);
    m->slice_count = fly_get_u8(r);
    if (r->failed || m->slice_count > GOSSIP_SLICES_MAX) {
        return false;
    }
    for (unsigned i = 0; i < m->slice_count; i++) {
        m->slices[i].tag = fly_get_u32(r);
        m->slices[i].epoch = fly_get_u64(r);
    }
    fly_get_string8(r, m->note, sizeof m->note);
    if (r->failed || fly_reader_left(r) > PACKET_CLAIM_EXTENSION_MAX) {
        return false;
    }
    if (fly_reader_left(r) >= META_EXTENSION_SIZE) { /* what follows is of newer versions */
        m->http_port = fly_get_u16(r);
        m->https = m->http_port != 0 && (fly_get_u8(r) & META_HTTPS) != 0;
    }
    return packet_meta_ok(m);
}

/* Cluster ‖ bytes: a node key that serves two clusters signs for each of them apart. */
static struct fly_bytes message_of(const char *cluster, struct fly_bytes bytes, uint8_t *room)
{
    FLY_CHECK(strlen(cluster) == CLUSTER_SIZE);
    memcpy(room, cluster, CLUSTER_SIZE);
    memcpy(room + CLUSTER_SIZE, bytes.data, bytes.size);
    return (struct fly_bytes){.data = room, .size = CLUSTER_SIZE + bytes.size};
}

size_t packet_claim_encode(const struct packet_claim *claim, const struct node_keys *keys,
                           const char *cluster, uint8_t out[static PACKET_CLAIM_MAX])
{
    struct fly_writer w = fly_writer_over(out, PACKET_CLAIM_MAX - NODE_SIGNATURE_SIZE);
    uint8_t room[CLUSTER_SIZE + PACKET_CLAIM_MAX];

    FLY_CHECK(packet_meta_ok(&claim->meta));
    fly_put_bytes(&w, claim->id.bytes, NODE_ID_SIZE);
    fly_put_u32(&w, claim->generation);
    fly_put_u32(&w, claim->version);
    fly_put_u64(&w, claim->boot);
    fly_put_u8(&w, claim->left ? CLAIM_LEFT : 0);
    fly_put_u64(&w, claim->credential_tag);
    meta_put(&w, &claim->meta);
    FLY_CHECK(!w.failed);
    node_sign(keys, claim_domain,
              message_of(cluster, (struct fly_bytes){.data = out, .size = w.size}, room),
              out + w.size);
    return w.size + NODE_SIGNATURE_SIZE;
}

bool packet_claim_decode(struct fly_bytes bytes, struct packet_claim *out)
{
    if (bytes.size < NODE_SIGNATURE_SIZE || bytes.size > PACKET_CLAIM_MAX) {
        return false;
    }
    struct fly_reader r = fly_reader_over(bytes.data, bytes.size - NODE_SIGNATURE_SIZE);
    *out = (struct packet_claim){0};
    fly_get_copy(&r, out->id.bytes, NODE_ID_SIZE);
    out->generation = fly_get_u32(&r);
    out->version = fly_get_u32(&r);
    out->boot = fly_get_u64(&r);
    out->left = (fly_get_u8(&r) & CLAIM_LEFT) != 0;
    out->credential_tag = fly_get_u64(&r);
    return meta_get(&r, &out->meta);
}

bool packet_claim_signed(struct fly_bytes bytes, const uint8_t key[static NODE_KEY_SIZE],
                         const char *cluster)
{
    uint8_t room[CLUSTER_SIZE + PACKET_CLAIM_MAX];

    FLY_CHECK(bytes.size >= NODE_SIGNATURE_SIZE && bytes.size <= PACKET_CLAIM_MAX);
    bytes.size -= NODE_SIGNATURE_SIZE;
    return node_signed(key, claim_domain, message_of(cluster, bytes, room),
                       bytes.data + bytes.size);
}

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

int packet_claim_compare(const struct packet_claim *a, const struct packet_claim *b)
{
    int order = compare(a->generation, b->generation);

    if (order == 0) {
        order = compare(a->version, b->version);
    }
    /* Two processes of one identity may say the same numbers: all members must choose alike. */
    return order != 0 ? order : compare(a->boot, b->boot);
}

/* --- accusations --- */

static void accusation_write(const struct packet_accusation *a, struct fly_writer *w)
{
    fly_put_bytes(w, a->accused.bytes, NODE_ID_SIZE);
    fly_put_u32(w, a->generation);
    fly_put_u32(w, a->version);
    fly_put_bytes(w, a->accuser.bytes, NODE_ID_SIZE);
    fly_put_u8(w, (uint8_t)a->evidence);
}

static struct fly_bytes accusation_message(const struct packet_accusation *a, const char *cluster,
                                           uint8_t room[static CLUSTER_SIZE + ACCUSATION_SIGNED])
{
    uint8_t bytes[ACCUSATION_SIGNED];
    struct fly_writer w = fly_writer_over(bytes, sizeof bytes);

    accusation_write(a, &w);
    FLY_CHECK(!w.failed && w.size == sizeof bytes);
    return message_of(cluster, (struct fly_bytes){.data = bytes, .size = sizeof bytes}, room);
}

void packet_accusation_sign(struct packet_accusation *a, const struct node_keys *keys,
                            const char *cluster)
{
    uint8_t room[CLUSTER_SIZE + ACCUSATION_SIGNED];

    node_sign(keys, accusation_domain, accusation_message(a, cluster, room), a->signature);
}

bool packet_accusation_signed(const struct packet_accusation *a,
                              const uint8_t key[static NODE_KEY_SIZE], const char *cluster)
{
    uint8_t room[CLUSTER_SIZE + ACCUSATION_SIGNED];

    return node_signed(key, accusation_domain, accusation_message(a, cluster, room), a->signature);
}

bool packet_accusation_put(struct fly_writer *w, const struct packet_accusation *a)
{
    if (!has_room(w, PACKET_RECORD_HEAD + PACKET_ACCUSATION_SIZE)) {
        return false;
    }
    fly_put_u8(w, PACKET_ACCUSATION);
    fly_put_u16(w, PACKET_ACCUSATION_SIZE);
    accusation_write(a, w);
    fly_put_bytes(w, a->signature, NODE_SIGNATURE_SIZE);
    return true;
}

bool packet_accusation_decode(struct fly_bytes bytes, struct packet_accusation *out)
{
    struct fly_reader r = fly_reader_over(bytes.data, bytes.size);

    fly_get_copy(&r, out->accused.bytes, NODE_ID_SIZE);
    out->generation = fly_get_u32(&r);
    out->version = fly_get_u32(&r);
    fly_get_copy(&r, out->accuser.bytes, NODE_ID_SIZE);
    uint8_t evidence = fly_get_u8(&r);
    fly_get_copy(&r, out->signature, NODE_SIGNATURE_SIZE);
    if (!fly_reader_done(&r) || evidence < PACKET_SILENT || evidence > PACKET_DOWN) {
        return false;
    }
    out->evidence = (enum packet_evidence)evidence;
    return true;
}

/* --- digest --- */

void packet_entry_put(struct fly_writer *w, const struct packet_entry *e)
{
    fly_put_bytes(w, e->id.bytes, NODE_ID_SIZE);
    fly_put_u32(w, e->generation);
    fly_put_u32(w, e->version);
    fly_put_u32(w, e->boot);
    fly_put_u8(w, (uint8_t)e->state);
}

bool packet_entry_get(struct fly_reader *r, struct packet_entry *out)
{
    fly_get_copy(r, out->id.bytes, NODE_ID_SIZE);
    out->generation = fly_get_u32(r);
    out->version = fly_get_u32(r);
    out->boot = fly_get_u32(r);
    uint8_t state = fly_get_u8(r);
    if (r->failed || state < GOSSIP_ALIVE || state > GOSSIP_LEFT) {
        return false;
    }
    out->state = (enum gossip_state)state;
    return true;
}

/* --- whole packets --- */

void packet_body_skip(const struct packet_header *h, struct fly_reader *r)
{
    switch (h->type) {
    case PACKET_PING:
        (void)fly_get_bytes(r, 16);
        return;
    case PACKET_ACK:
        (void)fly_get_bytes(r, 24);
        return;
    case PACKET_NACK:
    case PACKET_RECORDS:
    case PACKET_JOIN:
        (void)fly_get_bytes(r, 8);
        return;
    case PACKET_ASK:
        (void)fly_get_bytes(r, 8);
        (void)fly_get_bytes(r, fly_get_u16(r));
        return;
    case PACKET_PULL: {
        size_t count = fly_get_u8(r);
        (void)fly_get_bytes(r, count * NODE_ID_SIZE);
        r->failed |= count == 0 || count > PACKET_IDS_MAX;
        return;
    }
    case PACKET_SYNC:
        (void)fly_get_bytes(r, PACKET_BUCKETS * 8);
        return;
    case PACKET_DIGEST: {
        struct packet_entry entry;
        (void)fly_get_u64(r);
        for (unsigned count = fly_get_u8(r); count > 0; count--) {
            r->failed |= !packet_entry_get(r, &entry);
        }
        return;
    }
    }
    FLY_UNREACHABLE();
}

static bool record_ok(const struct packet_record *record)
{
    struct packet_claim claim;
    struct packet_accusation accusation;
    struct fly_bytes credential;
    struct fly_bytes rest;

    switch (record->kind) {
    case PACKET_CLAIM:
        return packet_claim_decode(record->bytes, &claim);
    case PACKET_FULL:
        return packet_full_split(record->bytes, &credential, &rest) &&
               packet_claim_decode(rest, &claim);
    case PACKET_ACCUSATION:
        return packet_accusation_decode(record->bytes, &accusation);
    default:
        return true; /* of a newer version */
    }
}

bool packet_body_ok(const struct packet_header *h, struct fly_reader r)
{
    struct packet_record record;
    bool first = true;

    packet_body_skip(h, &r);
    if (r.failed) {
        return false;
    }
    while (packet_record_next(&r, &record)) {
        if (!record_ok(&record) ||
            (first && h->type == PACKET_JOIN && record.kind != PACKET_FULL)) {
            return false;
        }
        first = false;
    }
    return !r.failed && !(first && h->type == PACKET_JOIN);
}
