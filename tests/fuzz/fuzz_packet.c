/*
 * Datagrams into a gossip machine that knows four members: as they are, which the seal refuses, and
 * as bodies that this harness gives what an attacker inside the group has: the seal, a sender's
 * header, its MAC, and good signatures of members under claims and accusations.
 *
 *   input    chunk...     chunk    control (1) type (1) flags (1) size (2) body
 *   control  bits 0-2 the sender; bit 3 a wrong MAC; bit 4 raw, without a seal; bit 5 to nobody;
 *            bits 6-7 how long until the next
 *
 * Whatever comes, what the machine says is well-formed, its table is bounded, it lives itself, and
 * nobody is its twin who could not answer a nonce.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <sodium.h>

#include "tests/unit/gossip_fixture.h"

enum { KNOWN = 4, CHUNK_HEAD = 5, CHUNKS_MAX = 24 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fixture *fixture;
static struct fixture fixture_before;
static void *memory_before;

/* A machine with members, made once; each input starts from a copy of its memory in its place. */
static void prepare(void)
{
    size_t size = gossip_size(MEMBERS_MAX);

    if (fixture != NULL) {
        memcpy(fixture, &fixture_before, sizeof *fixture);
        memcpy(fixture->memory, memory_before, size);
        return;
    }
    FLY_CHECK(sodium_init() >= 0);
    fixture = fixture_create();
    for (int i = 1; i <= KNOWN; i++) {
        say_full(fixture, i);
    }
    pass(fixture, 1000, 0xff);
    (void)drain(fixture);
    memory_before = malloc(size);
    FLY_CHECK(memory_before != NULL);
    memcpy(memory_before, fixture->memory, size);
    fixture_before = *fixture;
}

/* Puts the id of a real member where some id stands; the first byte says whose. */
static int real_id(uint8_t *at)
{
    int number = at[0] % PEERS;

    memcpy(at, fixture->peers[number].credential.id.bytes, NODE_ID_SIZE);
    return number;
}

static void sign(uint8_t *bytes, size_t size, int number, const char *domain)
{
    uint8_t room[sizeof CLUSTER - 1 + PACKET_PLAIN_MAX];

    memcpy(room, CLUSTER, sizeof CLUSTER - 1);
    memcpy(room + sizeof CLUSTER - 1, bytes, size);
    node_sign(&fixture->peers[number].keys, domain,
              (struct fly_bytes){room, sizeof CLUSTER - 1 + size}, bytes + size);
}

static void sign_record(const struct packet_record *record)
{
    uint8_t *bytes = (uint8_t *)(uintptr_t)record->bytes.data; /* our own buffer */
    size_t size = record->bytes.size;
    struct fly_bytes credential;
    struct fly_bytes claim;

    if (record->kind == PACKET_CLAIM && size > NODE_SIGNATURE_SIZE + NODE_ID_SIZE) {
        sign(bytes, size - NODE_SIGNATURE_SIZE, real_id(bytes), "flylight-claim-1");
    } else if (record->kind == PACKET_FULL &&
               packet_full_split(record->bytes, &credential, &claim) &&
               claim.size > NODE_SIGNATURE_SIZE + NODE_ID_SIZE) {
        sign((uint8_t *)(uintptr_t)claim.data, claim.size - NODE_SIGNATURE_SIZE,
             real_id((uint8_t *)(uintptr_t)claim.data), "flylight-claim-1");
    } else if (record->kind == PACKET_ACCUSATION && size == PACKET_ACCUSATION_SIZE) {
        (void)real_id(bytes);
        sign(bytes, size - NODE_SIGNATURE_SIZE, real_id(bytes + NODE_ID_SIZE + 8),
             "flylight-accusation-1");
    }
}

static void check_sent(void)
{
    struct sent s;

    while (take_sent(fixture, &s)) {
        FLY_CHECK(s.size + SEAL_OVERHEAD <= GOSSIP_PACKET_MAX);
        FLY_CHECK(s.header.type == PACKET_ACK || s.header.type == PACKET_PING ||
                  node_id_equal(&s.header.from, &fixture->peers[ME].credential.id));
    }
}

static void check_machine(void)
{
    struct gossip_event event;
    const struct gossip_member *m;
    uint32_t count = 0;

    while ((m = gossip_member_at(fixture->g, count)) != NULL) {
        FLY_CHECK(packet_meta_ok(&m->meta));
        FLY_CHECK(gossip_find(fixture->g, &m->credential.id) == m);
        FLY_CHECK(!m->self || m->state == GOSSIP_ALIVE);
        FLY_CHECK(m->state >= GOSSIP_ALIVE && m->state <= GOSSIP_LEFT);
        count++;
    }
    FLY_CHECK(count == gossip_member_count(fixture->g) && count <= MEMBERS_MAX);
    while (gossip_next_event(fixture->g, &event)) {
        FLY_CHECK(event.kind != GOSSIP_EVENT_TWIN);
    }
    FLY_CHECK(gossip_deadline(fixture->g) != INT64_MAX);
}

static void one_chunk(const uint8_t *chunk, const uint8_t *body, size_t size)
{
    uint8_t control = chunk[0];
    int from = control & 7;
    uint8_t flags = chunk[2];
    struct letter l;
    struct packet_record record;
    struct packet_header h;

    if ((control & 16) != 0) {
        gossip_receive(fixture->g, &fixture->peers[from].address, body, size, fixture_now(fixture));
        return;
    }
    l = letter_begin(fixture, (enum packet_type)(1 + chunk[1] % PACKET_DIGEST), from, flags);
    l.w.data = l.plain;
    if ((control & 32) != 0) { /* to somebody else, whom the body's first bytes name */
        memset(l.plain + 3 + NODE_ID_SIZE + 8, 0x5a, NODE_ID_SIZE);
    }
    size_t room = sizeof l.plain - l.w.size - PACKET_MAC_SIZE;
    fly_put_bytes(&l.w, body, size < room ? size : room);
    struct fly_reader r = fly_reader_over(l.plain, l.w.size);
    FLY_CHECK(packet_header_get(&r, &h));
    packet_body_skip(&h, &r);
    while (!r.failed && packet_record_next(&r, &record)) {
        sign_record(&record);
    }
    letter_send_as(fixture, &l, (control & 8) != 0 ? (from + 1) % PEERS : from);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t waits_ms[] = {0, 5, 300, 9000};

    prepare();
    for (int i = 0; i < CHUNKS_MAX && size >= CHUNK_HEAD; i++) {
        const uint8_t *chunk = data;
        size_t body = chunk[3] | (size_t)chunk[4] << 8;
        data += CHUNK_HEAD;
        size -= CHUNK_HEAD;
        body = body < size ? body : size;
        one_chunk(chunk, data, body);
        data += body;
        size -= body;
        check_sent();
        fixture->now_ms += waits_ms[chunk[0] >> 6];
        gossip_tick(fixture->g, fixture_now(fixture));
        check_sent();
    }
    check_machine();
    return 0;
}
