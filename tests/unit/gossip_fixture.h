/*
 * gossip_fixture - one gossip machine, and peers that exist only as keys: what they say is made by
 * hand, what the machine says to them is opened with their keys.
 */
#ifndef FLY_TESTS_GOSSIP_FIXTURE_H
#define FLY_TESTS_GOSSIP_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/keyring.h"
#include "gossip/packet.h"
#include "proto/base/check.h"

#define CLUSTER "00112233445566778899aabbccddeeff"

enum { PEERS = 8, ME = 0, MEMBERS_MAX = 8, PORT = 7400 };

struct peer {
    struct node_keys keys;
    struct credential credential;
    struct gossip_address address;
    uint64_t boot;
    uint32_t generation;
    uint32_t version;
    uint32_t sequence;
};

struct fixture {
    struct authority_keys ca;
    struct seal_ring group;
    struct seal_ring ring;
    struct peer peers[PEERS]; /* [ME] is the machine */
    struct gossip *g;
    void *memory;
    int64_t now_ms;
    struct fly_rng rng;
};

/* A packet that the machine sent, opened. */
struct sent {
    struct gossip_address to;
    struct packet_header header;
    uint8_t plain[PACKET_PLAIN_MAX];
    size_t size;
    struct fly_reader body; /* behind the header, without the MAC */
};

static inline struct gossip_now fixture_now(const struct fixture *f)
{
    return (struct gossip_now){.ms = f->now_ms, .wall_ms = 1000000};
}

static inline struct gossip_address fixture_address(int number)
{
    return (struct gossip_address){
        .ip = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = (uint8_t)(number + 1)}, .port = PORT};
}

static inline struct gossip_meta fixture_meta(int number)
{
    return (struct gossip_meta){
        .address = fixture_address(number), .rpc_port = 7401, .serving = true, .region = "SIN"};
}

static inline void fixture_identities(struct fixture *f)
{
    struct authority_keys admitter;
    struct admission admission = {.roles = NODE_ROLE_ALL, .expires_ms = INT64_MAX};

    fly_rng_seed(&f->rng, 5);
    authority_keys_from_seed((uint8_t[32]){1}, &f->ca);
    authority_keys_from_seed((uint8_t[32]){2}, &admitter);
    memcpy(admission.key, admitter.public_key, sizeof admission.key);
    admission_sign(&f->ca, CLUSTER, &admission);
    for (int i = 0; i < PEERS; i++) {
        struct peer *p = &f->peers[i];
        node_keys_from_seed(&(struct node_seed){{3, (uint8_t)i}}, &p->keys);
        p->credential.admission = admission;
        memcpy(p->credential.key, p->keys.public_key, NODE_KEY_SIZE);
        snprintf(p->credential.name, sizeof p->credential.name, "node-%d", i);
        p->credential.roles = NODE_ROLE_PEER;
        p->credential.expires_ms = INT64_MAX;
        credential_sign(&admitter, CLUSTER, &p->credential);
        p->address = fixture_address(i);
        p->boot = 100 + (uint64_t)i;
        p->generation = 1;
        p->version = 1;
    }
    f->group = (struct seal_ring){.count = 1, .keys = {{9}}};
    seal_ring_derive(&f->ring, &f->group, SEAL_GOSSIP, CLUSTER);
}

static inline struct gossip_config fixture_config(struct fixture *f)
{
    const struct peer *me = &f->peers[ME];
    struct gossip_config config = {
        .members_max = MEMBERS_MAX,
        .cluster = CLUSTER,
        .keys = me->keys,
        .credential = me->credential,
        .generation = 1,
        .boot = me->boot,
        .meta = fixture_meta(ME),
        .group = f->group,
        .timing = gossip_timing_lan(),
        .seed = 1,
    };

    memcpy(config.ca, f->ca.public_key, sizeof config.ca);
    return config;
}

static inline struct fixture *fixture_create(void)
{
    struct fixture *f = calloc(1, sizeof *f);

    FLY_CHECK(f != NULL);
    fixture_identities(f);
    f->now_ms = 5000;
    struct gossip_config config = fixture_config(f);
    FLY_CHECK(posix_memalign(&f->memory, 16, gossip_size(config.members_max)) == 0);
    memset(f->memory, 0, gossip_size(config.members_max));
    f->g = gossip_init(f->memory, &config, fixture_now(f));
    return f;
}

static inline void fixture_destroy(struct fixture *f)
{
    gossip_fini(f->g);
    free(f->memory);
    free(f);
}

/* --- what peers say --- */

struct letter {
    uint8_t plain[PACKET_PLAIN_MAX];
    struct fly_writer w;
    int from;
    bool mac;
};

static inline struct letter letter_begin(struct fixture *f, enum packet_type type, int from,
                                         uint8_t flags)
{
    struct letter l = {.from = from, .mac = (flags & PACKET_MAC) != 0};
    struct peer *p = &f->peers[from];
    struct packet_header h = {
        .type = type, .flags = flags, .from = p->credential.id, .boot = p->boot};

    if (l.mac) {
        h.to = f->peers[ME].credential.id;
        h.sequence = ++p->sequence;
    }
    l.w = fly_writer_over(l.plain, sizeof l.plain);
    packet_header_put(&l.w, &h);
    return l;
}

/* The MAC is of `key`'s pair with the machine: of the sender when it is honest. */
static inline size_t letter_seal(struct fixture *f, struct letter *l, int key,
                                 uint8_t out[static GOSSIP_PACKET_MAX])
{
    l->w.data = l->plain; /* letters are passed by value */
    if (l->mac) {
        uint8_t secret[KEYRING_SIZE];
        uint8_t pair[KEYRING_SIZE];
        uint8_t mac[PACKET_MAC_SIZE];
        keyring_secret(&f->peers[key].keys, secret);
        FLY_CHECK(keyring_pair(secret, &f->peers[key].credential.id, &f->peers[ME].credential.id,
                               f->peers[ME].keys.public_key, CLUSTER, pair));
        keyring_mac(pair, (struct fly_bytes){.data = l->plain, .size = l->w.size}, mac);
        fly_put_bytes(&l->w, mac, sizeof mac);
    }
    FLY_CHECK(!l->w.failed);
    return seal_close(&f->ring, &f->rng, l->plain, l->w.size, out);
}

static inline void letter_send_as(struct fixture *f, struct letter *l, int key)
{
    uint8_t out[GOSSIP_PACKET_MAX];
    size_t size = letter_seal(f, l, key, out);

    gossip_receive(f->g, &f->peers[l->from].address, out, size, fixture_now(f));
}

static inline void letter_send(struct fixture *f, struct letter *l)
{
    letter_send_as(f, l, l->from);
}

static inline size_t peer_claim(struct fixture *f, int number, bool left,
                                uint8_t out[static PACKET_CLAIM_MAX])
{
    const struct peer *p = &f->peers[number];
    struct packet_claim claim = {.id = p->credential.id,
                                 .generation = p->generation,
                                 .version = p->version,
                                 .boot = p->boot,
                                 .left = left,
                                 .meta = fixture_meta(number)};

    claim.meta.address = p->address;
    return packet_claim_encode(&claim, &p->keys, CLUSTER, out);
}

static inline void letter_put_claim(struct fixture *f, struct letter *l, int number, bool left)
{
    uint8_t claim[PACKET_CLAIM_MAX];
    size_t size = peer_claim(f, number, left, claim);

    l->w.data = l->plain;
    FLY_CHECK(packet_record_put(&l->w, PACKET_CLAIM, (struct fly_bytes){claim, size}));
}

static inline void letter_put_full(struct fixture *f, struct letter *l, int number)
{
    uint8_t claim[PACKET_CLAIM_MAX];
    uint8_t credential[CREDENTIAL_BYTES_MAX];
    size_t size = peer_claim(f, number, false, claim);
    size_t credential_size = credential_encode(&f->peers[number].credential, credential);

    l->w.data = l->plain;
    FLY_CHECK(packet_full_put(&l->w, (struct fly_bytes){credential, credential_size},
                              (struct fly_bytes){claim, size}));
}

static inline struct packet_accusation peer_accusation(struct fixture *f, int accuser, int accused,
                                                       enum packet_evidence evidence)
{
    struct packet_accusation said = {.accused = f->peers[accused].credential.id,
                                     .generation = f->peers[accused].generation,
                                     .version = f->peers[accused].version,
                                     .accuser = f->peers[accuser].credential.id,
                                     .evidence = evidence};

    packet_accusation_sign(&said, &f->peers[accuser].keys, CLUSTER);
    return said;
}

/* A RECORDS packet of `from` with an accusation of `accuser`. */
static inline void say_accusation(struct fixture *f, int from, int accuser, int accused,
                                  enum packet_evidence evidence)
{
    struct letter l = letter_begin(f, PACKET_RECORDS, from, 0);
    struct packet_accusation said = peer_accusation(f, accuser, accused, evidence);

    l.w.data = l.plain;
    fly_put_u64(&l.w, 0);
    FLY_CHECK(packet_accusation_put(&l.w, &said));
    letter_send(f, &l);
}

static inline void say_claim(struct fixture *f, int from, int number, bool left)
{
    struct letter l = letter_begin(f, PACKET_RECORDS, from, 0);

    l.w.data = l.plain;
    fly_put_u64(&l.w, 0);
    letter_put_claim(f, &l, number, left);
    letter_send(f, &l);
}

static inline void say_full(struct fixture *f, int number)
{
    struct letter l = letter_begin(f, PACKET_RECORDS, number, 0);

    l.w.data = l.plain;
    fly_put_u64(&l.w, 0);
    letter_put_full(f, &l, number);
    letter_send(f, &l);
}

static inline void say_ping(struct fixture *f, int from, int key, uint64_t nonce)
{
    struct letter l = letter_begin(f, PACKET_PING, from, PACKET_MAC);

    l.w.data = l.plain;
    fly_put_u64(&l.w, nonce);
    fly_put_u64(&l.w, 0);
    letter_send_as(f, &l, key);
}

static inline void say_ack(struct fixture *f, int from, int key, uint64_t nonce)
{
    struct letter l = letter_begin(f, PACKET_ACK, from, PACKET_MAC);

    l.w.data = l.plain;
    fly_put_u64(&l.w, nonce);
    fly_put_u64(&l.w, 0);
    fly_put_u64(&l.w, 1);
    letter_send_as(f, &l, key);
}

/* --- what the machine says --- */

static inline bool take_sent(struct fixture *f, struct sent *out)
{
    uint8_t sealed[GOSSIP_PACKET_MAX];
    size_t size = gossip_next_packet(f->g, &out->to, sealed);

    if (size == 0) {
        return false;
    }
    FLY_CHECK(seal_open(&f->ring, sealed, size, out->plain, &out->size));
    out->body = fly_reader_over(out->plain, out->size);
    FLY_CHECK(packet_header_get(&out->body, &out->header));
    if ((out->header.flags & PACKET_MAC) != 0) {
        out->body.size -= PACKET_MAC_SIZE;
    }
    FLY_CHECK(packet_body_ok(&out->header, out->body));
    return true;
}

static inline unsigned drain(struct fixture *f)
{
    struct sent s;
    unsigned count = 0;

    while (take_sent(f, &s)) {
        count++;
    }
    return count;
}

/* The next packet of a type; others are dropped. False: none. */
static inline bool next_of(struct fixture *f, enum packet_type type, struct sent *out)
{
    while (take_sent(f, out)) {
        if (out->header.type == type) {
            return true;
        }
    }
    return false;
}

/* Ticks each 10 ms; every PING to these peers is answered, all else is lost. */
static inline void pass(struct fixture *f, int64_t ms, unsigned answering)
{
    for (int64_t end_ms = f->now_ms + ms; f->now_ms < end_ms;) {
        struct sent s;
        f->now_ms += 10;
        gossip_tick(f->g, fixture_now(f));
        while (take_sent(f, &s)) {
            for (int i = 1; s.header.type == PACKET_PING && i < PEERS; i++) {
                if ((answering >> i & 1) != 0 &&
                    node_id_equal(&s.header.to, &f->peers[i].credential.id)) {
                    say_ack(f, i, i, fly_get_u64(&s.body));
                }
            }
        }
    }
}

static inline enum gossip_state state_of(struct fixture *f, int number)
{
    const struct gossip_member *m = gossip_find(f->g, &f->peers[number].credential.id);

    return m != NULL ? m->state : 0;
}

#endif
