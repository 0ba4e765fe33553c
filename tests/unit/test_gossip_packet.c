/* packet, keyring: what is encoded decodes, and nothing else does; who can make which MAC. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gossip_fixture.h"

static struct packet_claim full_claim(const struct fixture *f)
{
    struct packet_claim claim = {
        .id = f->peers[1].credential.id,
        .generation = 7,
        .version = 0x01020304,
        .boot = UINT64_C(0x1122334455667788),
        .left = true,
        .credential_tag = 99,
        .meta = fixture_meta(1),
    };

    claim.meta.pub_port = 7402;
    claim.meta.tls = true;
    claim.meta.software = 0x010203;
    claim.meta.slice_count = GOSSIP_SLICES_MAX;
    for (unsigned i = 0; i < GOSSIP_SLICES_MAX; i++) {
        claim.meta.slices[i] = (struct gossip_slice){.tag = i + 1, .epoch = UINT64_MAX - i};
    }
    memset(claim.meta.note, 'n', sizeof claim.meta.note - 1);
    memset(claim.meta.region, 'R', sizeof claim.meta.region - 1);
    return claim;
}

static void test_claim(void **state)
{
    struct fixture f = {0};
    struct packet_claim back;
    uint8_t bytes[PACKET_CLAIM_MAX];

    (void)state;
    fixture_identities(&f);
    struct packet_claim claim = full_claim(&f);
    size_t size = packet_claim_encode(&claim, &f.peers[1].keys, CLUSTER, bytes);
    assert_true(packet_claim_decode((struct fly_bytes){bytes, size}, &back));
    assert_true(packet_meta_same(&claim.meta, &back.meta));
    assert_int_equal(packet_claim_compare(&claim, &back), 0);
    assert_true(back.left && back.credential_tag == 99 && back.boot == claim.boot);
    assert_string_equal(back.meta.note, claim.meta.note);
    for (size_t shorter = 0; shorter < size; shorter++) {
        struct fly_bytes cut = {bytes, shorter};
        assert_true(!packet_claim_decode(cut, &back) ||
                    !packet_claim_signed(cut, f.peers[1].keys.public_key, CLUSTER));
    }
    struct fly_bytes whole = {bytes, size};
    assert_true(packet_claim_signed(whole, f.peers[1].keys.public_key, CLUSTER));
    assert_false(packet_claim_signed(whole, f.peers[2].keys.public_key, CLUSTER));
    assert_false(
        packet_claim_signed(whole, f.peers[1].keys.public_key, "ffffffffffffffffffffffffffffffff"));
    for (size_t i = 0; i < size * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1 << (i % 8));
        assert_false(packet_claim_signed(whole, f.peers[1].keys.public_key, CLUSTER));
        bytes[i / 8] ^= (uint8_t)(1 << (i % 8));
    }
}

/* What a newer version says behind the note is kept, and signed for. */
static void test_claim_extension(void **state)
{
    struct fixture f = {0};
    struct packet_claim back;
    uint8_t bytes[PACKET_CLAIM_MAX] = {0};
    uint8_t more[PACKET_CLAIM_MAX + 100] = {0};
    struct packet_claim claim;

    (void)state;
    fixture_identities(&f);
    claim = full_claim(&f);
    size_t size = packet_claim_encode(&claim, &f.peers[1].keys, CLUSTER, bytes);
    memcpy(more, bytes, size - NODE_SIGNATURE_SIZE);
    for (size_t extra = 0; extra <= PACKET_CLAIM_EXTENSION_MAX + 5; extra++) {
        bool good = packet_claim_decode((struct fly_bytes){more, size + extra}, &back);
        assert_int_equal(good, extra <= PACKET_CLAIM_EXTENSION_MAX);
    }
}

/* The first extension: a dashboard's port. Who knows nothing of it has 0, and so has who is cut. */
static void test_claim_http(void **state)
{
    static const struct {
        const char *what;
        uint16_t port;
        bool https;
        size_t cut; /* bytes, from the end of what is signed */
        uint16_t read_port;
        bool read_https;
    } cases[] = {
        {"none", 0, false, 0, 0, false},
        {"http", 7403, false, 0, 7403, false},
        {"https", 65535, true, 0, 65535, true},
        {"no port, no https", 0, true, 0, 0, false},
        {"one byte short", 7403, true, 1, 0, false},
        {"only one byte", 7403, true, 2, 0, false},
    };
    struct fixture f = {0};
    struct packet_claim back;
    uint8_t bytes[PACKET_CLAIM_MAX];

    (void)state;
    fixture_identities(&f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct packet_claim claim = full_claim(&f);
        claim.meta.http_port = cases[i].port;
        claim.meta.https = cases[i].https;
        size_t size = packet_claim_encode(&claim, &f.peers[1].keys, CLUSTER, bytes);
        struct fly_bytes cut = {bytes, size - cases[i].cut};
        if (!packet_claim_decode(cut, &back) || back.meta.http_port != cases[i].read_port ||
            back.meta.https != cases[i].read_https ||
            packet_meta_same(&claim.meta, &back.meta) != (cases[i].cut == 0)) {
            fail_msg("%s", cases[i].what);
        }
    }
}

static void test_compare(void **state)
{
    const struct {
        const char *what;
        struct packet_claim a;
        struct packet_claim b;
        int order;
    } cases[] = {
        {"the same", {.generation = 1, .version = 1}, {.generation = 1, .version = 1}, 0},
        {"a version", {.generation = 1, .version = 2}, {.generation = 1, .version = 1}, 1},
        {"a generation", {.generation = 1, .version = 9}, {.generation = 2, .version = 1}, -1},
        {"only the boot",
         {.generation = 1, .version = 1, .boot = 5},
         {.generation = 1, .version = 1, .boot = 6},
         -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (packet_claim_compare(&cases[i].a, &cases[i].b) != cases[i].order ||
            packet_claim_compare(&cases[i].b, &cases[i].a) != -cases[i].order) {
            fail_msg("%s", cases[i].what);
        }
    }
}

static void test_meta_ok(void **state)
{
    struct gossip_meta good = fixture_meta(1);
    struct gossip_meta m = good;

    (void)state;
    assert_true(packet_meta_ok(&m));
    m.address.port = 0;
    assert_false(packet_meta_ok(&m));
    m = good;
    m.slice_count = GOSSIP_SLICES_MAX + 1;
    assert_false(packet_meta_ok(&m));
    m = good;
    memset(m.note, 'x', sizeof m.note);
    assert_false(packet_meta_ok(&m));
    m = good;
    m.note[0] = '\n';
    assert_false(packet_meta_ok(&m));
    m = good;
    m.region[0] = (char)0x80;
    assert_false(packet_meta_ok(&m));
}

static void test_accusation(void **state)
{
    struct fixture f = {0};
    struct packet_accusation back;
    uint8_t bytes[PACKET_RECORD_HEAD + PACKET_ACCUSATION_SIZE];
    struct fly_writer w = fly_writer_over(bytes, sizeof bytes);
    struct packet_record record;

    (void)state;
    fixture_identities(&f);
    struct packet_accusation said = peer_accusation(&f, 1, 2, PACKET_DOWN);
    assert_true(packet_accusation_put(&w, &said));
    assert_false(packet_accusation_put(&w, &said));
    assert_false(w.failed);
    struct fly_reader r = fly_reader_over(bytes, sizeof bytes);
    assert_true(packet_record_next(&r, &record));
    assert_int_equal(record.kind, PACKET_ACCUSATION);
    assert_true(packet_accusation_decode(record.bytes, &back));
    assert_true(packet_accusation_signed(&back, f.peers[1].keys.public_key, CLUSTER));
    assert_false(packet_accusation_signed(&back, f.peers[2].keys.public_key, CLUSTER));
    /* "silent" may not be turned into "down" */
    back.evidence = PACKET_SILENT;
    assert_false(packet_accusation_signed(&back, f.peers[1].keys.public_key, CLUSTER));
    for (size_t size = 0; size < PACKET_ACCUSATION_SIZE; size++) {
        assert_false(packet_accusation_decode((struct fly_bytes){record.bytes.data, size}, &back));
    }
}

static void test_keyring(void **state)
{
    struct fixture f = {0};
    uint8_t secrets[3][KEYRING_SIZE];
    uint8_t ab[KEYRING_SIZE];
    uint8_t ba[KEYRING_SIZE];
    uint8_t other[KEYRING_SIZE];
    uint8_t mac[PACKET_MAC_SIZE];
    struct fly_bytes text = {(const uint8_t *)"text", 4};
    const struct node_id *ids[3];

    (void)state;
    fixture_identities(&f);
    for (int i = 0; i < 3; i++) {
        keyring_secret(&f.peers[i].keys, secrets[i]);
        ids[i] = &f.peers[i].credential.id;
    }
    assert_true(keyring_pair(secrets[0], ids[0], ids[1], f.peers[1].keys.public_key, CLUSTER, ab));
    assert_true(keyring_pair(secrets[1], ids[1], ids[0], f.peers[0].keys.public_key, CLUSTER, ba));
    assert_memory_equal(ab, ba, KEYRING_SIZE);
    /* a third key, and the same two in another cluster */
    assert_true(
        keyring_pair(secrets[2], ids[2], ids[0], f.peers[0].keys.public_key, CLUSTER, other));
    assert_memory_not_equal(ab, other, KEYRING_SIZE);
    assert_true(keyring_pair(secrets[0], ids[0], ids[1], f.peers[1].keys.public_key,
                             "ffffffffffffffffffffffffffffffff", other));
    assert_memory_not_equal(ab, other, KEYRING_SIZE);
    /* no point of the curve, and one of small order */
    uint8_t bad[NODE_KEY_SIZE];
    memset(bad, 0xff, sizeof bad);
    assert_false(keyring_pair(secrets[0], ids[0], ids[1], bad, CLUSTER, other));
    memset(bad, 0, sizeof bad);
    assert_false(keyring_pair(secrets[0], ids[0], ids[1], bad, CLUSTER, other));
    keyring_mac(ab, text, mac);
    assert_true(keyring_mac_ok(ba, text, mac));
    assert_false(keyring_mac_ok(other, text, mac));
    mac[7] ^= 1;
    assert_false(keyring_mac_ok(ba, text, mac));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claim),      cmocka_unit_test(test_claim_extension),
        cmocka_unit_test(test_claim_http), cmocka_unit_test(test_compare),
        cmocka_unit_test(test_meta_ok),    cmocka_unit_test(test_accusation),
        cmocka_unit_test(test_keyring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
