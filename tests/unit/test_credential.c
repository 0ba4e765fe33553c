/* credential: what is not vouched for by this CA, for this cluster, now, and whole, is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/wire/credential.h"

static const char cluster[] = "000102030405060708090a0b0c0d0e0f";
static const char other_cluster[] = "100102030405060708090a0b0c0d0e0f";
static const int64_t now_ms = 1795262400123;
static const int64_t hour_ms = 3600000;

/* A CA, an admission key of it, and a node; seeds differ by their first byte. */
struct world {
    struct authority_keys ca;
    struct authority_keys other_ca;
    struct authority_keys admission;
    struct node_keys node;
    struct credential credential;
};

static void make_world(struct world *w)
{
    uint8_t seed[32] = {1};

    memset(w, 0, sizeof *w);
    authority_keys_from_seed(seed, &w->ca);
    seed[0] = 2;
    authority_keys_from_seed(seed, &w->other_ca);
    seed[0] = 3;
    authority_keys_from_seed(seed, &w->admission);
    node_keys_from_seed(&(struct node_seed){{4}}, &w->node);

    struct credential *c = &w->credential;
    memcpy(c->admission.key, w->admission.public_key, NODE_KEY_SIZE);
    c->admission.roles = NODE_ROLE_PEER | NODE_ROLE_EDGE;
    c->admission.expires_ms = now_ms + 2 * hour_ms;
    memcpy(c->key, w->node.public_key, NODE_KEY_SIZE);
    memcpy(c->name, "rack-7", 7);
    c->roles = NODE_ROLE_PEER;
    c->slice_tag = 0xabcdef;
    c->issued_ms = now_ms;
    c->expires_ms = now_ms + hour_ms;
    memset(c->tls_hash, 0x5a, sizeof c->tls_hash);
    admission_sign(&w->ca, cluster, &c->admission);
    credential_sign(&w->admission, cluster, c);
}

static void test_round_trip(void **state)
{
    struct world w;
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    struct credential back;
    struct admission admission;

    (void)state;
    make_world(&w);
    size_t size = credential_encode(&w.credential, bytes);
    assert_int_equal(credential_decode(bytes, size, &back, NULL), FLY_OK);
    assert_memory_equal(&back, &w.credential, sizeof back);
    struct node_id id = node_id_of(w.node.public_key);
    assert_true(node_id_equal(&back.id, &id));
    assert_int_equal(credential_verify(&back, w.ca.public_key, cluster, now_ms, NULL), FLY_OK);

    size = admission_encode(&w.credential.admission, bytes);
    assert_int_equal(admission_decode(bytes, size, &admission, NULL), FLY_OK);
    assert_memory_equal(&admission, &w.credential.admission, sizeof admission);

    /* the longest name fits */
    memset(w.credential.name, 'n', NODE_NAME_SIZE - 1);
    credential_sign(&w.admission, cluster, &w.credential);
    size = credential_encode(&w.credential, bytes);
    assert_int_equal(credential_decode(bytes, size, &back, NULL), FLY_OK);
    assert_int_equal(credential_verify(&back, w.ca.public_key, cluster, now_ms, NULL), FLY_OK);
}

/* The bytes are a contract: nodes of different versions exchange them. */
static void test_bytes(void **state)
{
    struct world w;
    uint8_t bytes[CREDENTIAL_BYTES_MAX];

    (void)state;
    make_world(&w);
    assert_int_equal(credential_encode(&w.credential, bytes), 262);
    assert_int_equal(bytes[0], 1);
    assert_memory_equal(bytes + 1, w.admission.public_key, 32);
    assert_int_equal(bytes[33], 3);
    assert_memory_equal(bytes + 42, w.credential.admission.signature, 64);
    assert_memory_equal(bytes + 106, w.node.public_key, 32);
    assert_int_equal(bytes[138], 1);
    assert_memory_equal(bytes + 139, "\xef\xcd\xab\0", 4);
    assert_memory_equal(bytes + 159, w.credential.tls_hash, 32);
    assert_memory_equal(bytes + 191, "\6rack-7", 7);
    assert_memory_equal(bytes + 198, w.credential.signature, 64);
    assert_int_equal(admission_encode(&w.credential.admission, bytes), 106);
}

enum change {
    NOTHING,
    FOREIGN_CA,
    FOREIGN_CLUSTER,
    ADMISSION_EXPIRED,
    ADMISSION_ENDS_NOW,
    NODE_EXPIRED,
    ROLES_EXCEED,
    ROLES_EXCEED_RESIGNED,
    OTHER_ADMISSION_KEY,
    ADMISSION_BY_OTHER_CA,
    RENAMED,
    OTHER_TAG,
    OTHER_KEY,
    OTHER_TLS,
    LONGER_LIFE,
    WIDER_ADMISSION,
};

static void test_refusals(void **state)
{
    static const struct {
        const char *what;
        enum change change;
        const char *reason;
    } rows[] = {
        {"nothing changed", NOTHING, NULL},
        {"another CA", FOREIGN_CA, "foreign cluster or CA"},
        {"another cluster with the same CA", FOREIGN_CLUSTER, "foreign cluster or CA"},
        {"admission expired", ADMISSION_EXPIRED, "its admission expired at 2026-"},
        {"admission ends at this millisecond", ADMISSION_ENDS_NOW, "its admission expired"},
        {"node expired", NODE_EXPIRED, "its credential expired at 2026-"},
        {"roles changed to more than the admission's", ROLES_EXCEED, "roles exceed"},
        {"the admission key itself signed too many roles", ROLES_EXCEED_RESIGNED, "(dash,admit)"},
        {"signed by another admission key", OTHER_ADMISSION_KEY, "not signed by its admission"},
        {"admission signed by another CA", ADMISSION_BY_OTHER_CA, "foreign cluster or CA"},
        {"renamed", RENAMED, "not signed by its admission"},
        {"another slice tag", OTHER_TAG, "not signed by its admission"},
        {"another's key", OTHER_KEY, "not signed by its admission"},
        {"another TLS key", OTHER_TLS, "not signed by its admission"},
        {"life prolonged", LONGER_LIFE, "not signed by its admission"},
        {"admission's roles widened", WIDER_ADMISSION, "foreign cluster or CA"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct world w;
        struct fly_error error = {.text = ""};
        const char *in_cluster = cluster;
        const uint8_t *ca = NULL;
        int64_t at_ms = now_ms;

        make_world(&w);
        ca = w.ca.public_key;
        struct credential *c = &w.credential;
        switch (rows[i].change) {
        case NOTHING:
            break;
        case FOREIGN_CA:
            ca = w.other_ca.public_key;
            break;
        case FOREIGN_CLUSTER:
            in_cluster = other_cluster;
            break;
        case ADMISSION_EXPIRED:
            at_ms = now_ms + 2 * hour_ms + 1;
            break;
        case ADMISSION_ENDS_NOW:
            at_ms = now_ms + 2 * hour_ms;
            break;
        case NODE_EXPIRED:
            at_ms = now_ms + hour_ms;
            break;
        case ROLES_EXCEED:
            c->roles |= NODE_ROLE_DASH;
            break;
        case ROLES_EXCEED_RESIGNED:
            c->roles = NODE_ROLE_ALL;
            credential_sign(&w.admission, cluster, c);
            break;
        case OTHER_ADMISSION_KEY: {
            struct authority_keys mixed = w.other_ca;
            memcpy(mixed.public_key, w.admission.public_key, NODE_KEY_SIZE);
            credential_sign(&mixed, cluster, c);
            break;
        }
        case ADMISSION_BY_OTHER_CA:
            admission_sign(&w.other_ca, cluster, &c->admission);
            credential_sign(&w.admission, cluster, c);
            break;
        case RENAMED:
            c->name[0] = 's';
            break;
        case OTHER_TAG:
            c->slice_tag++;
            break;
        case OTHER_KEY:
            memcpy(c->key, w.other_ca.public_key, NODE_KEY_SIZE);
            break;
        case OTHER_TLS:
            c->tls_hash[0] ^= 1;
            break;
        case LONGER_LIFE:
            c->expires_ms += hour_ms;
            break;
        case WIDER_ADMISSION:
            c->admission.roles = NODE_ROLE_ALL;
            c->roles = NODE_ROLE_ALL;
            credential_sign(&w.admission, cluster, c);
            break;
        }
        enum fly_status status = credential_verify(c, ca, in_cluster, at_ms, &error);
        bool ok = rows[i].reason == NULL
                      ? status == FLY_OK
                      : status == FLY_UNAUTHENTICATED && error.status == status &&
                            strstr(error.text, rows[i].reason) != NULL;
        if (!ok) {
            fail_msg("%s: %s: %s", rows[i].what, fly_status_name(status), error.text);
        }
    }
}

/* No bit of it can be another: what still decodes fails a signature. */
static void test_every_flip_is_seen(void **state)
{
    struct world w;
    uint8_t bytes[CREDENTIAL_BYTES_MAX];

    (void)state;
    make_world(&w);
    size_t size = credential_encode(&w.credential, bytes);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        struct credential c;
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (credential_decode(bytes, size, &c, NULL) == FLY_OK &&
            credential_verify(&c, w.ca.public_key, cluster, now_ms, NULL) == FLY_OK) {
            fail_msg("bit %zu may be changed", bit);
        }
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    /* an admission alone: no credential stands behind it here */
    size = admission_encode(&w.credential.admission, bytes);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        struct credential c = w.credential;
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (admission_decode(bytes, size, &c.admission, NULL) == FLY_OK) {
            c.roles &= c.admission.roles;
            assert_int_not_equal(credential_verify(&c, w.ca.public_key, cluster, now_ms, NULL),
                                 FLY_OK);
        }
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

static void test_other_sizes(void **state)
{
    struct world w;
    uint8_t bytes[CREDENTIAL_BYTES_MAX + 1] = {0};
    struct credential c;
    struct credential before;
    struct admission a;
    struct fly_error error;

    (void)state;
    make_world(&w);
    memset(&c, 0x77, sizeof c);
    before = c;
    size_t size = credential_encode(&w.credential, bytes);
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(credential_decode(bytes, cut, &c, &error), FLY_INVALID_ARGUMENT);
    }
    assert_int_equal(credential_decode(bytes, size + 1, &c, &error), FLY_INVALID_ARGUMENT);
    assert_non_null(strstr(error.text, "its size"));
    assert_memory_equal(&c, &before, sizeof c);
    size = admission_encode(&w.credential.admission, bytes);
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(admission_decode(bytes, cut, &a, NULL), FLY_INVALID_ARGUMENT);
    }
    assert_int_equal(admission_decode(bytes, size + 1, &a, NULL), FLY_INVALID_ARGUMENT);
}

static void test_ids(void **state)
{
    struct node_id id = node_id_of((const uint8_t[NODE_KEY_SIZE]){9});
    struct node_id back = {{1}};
    char text[NODE_ID_TEXT_SIZE];

    (void)state;
    node_id_format(&id, text);
    assert_int_equal(strlen(text), 32);
    assert_true(node_id_parse(text, &back));
    assert_true(node_id_equal(&id, &back));
    static const char *const bad[] = {"", "00", "0001020304050607A8090a0b0c0d0e0f",
                                      "000102030405060708090a0b0c0d0e0f0",
                                      "000102030405060708090a0b0c0d0e0g"};
    for (size_t i = 0; i < FLY_ARRAY_COUNT(bad); i++) {
        assert_false(node_id_parse(bad[i], &back));
        assert_true(node_id_equal(&id, &back));
    }
}

static void test_roles(void **state)
{
    static const struct {
        const char *text;
        uint32_t roles; /* 0: refused */
        const char *printed;
    } rows[] = {
        {"peer", NODE_ROLE_PEER, "peer"},
        {"edge,peer", NODE_ROLE_PEER | NODE_ROLE_EDGE, "peer,edge"},
        {"admit,dash,edge,peer", NODE_ROLE_ALL, "peer,edge,dash,admit"},
        {"peer,peer", NODE_ROLE_PEER, "peer"},
        {"", 0, ""},
        {"peer,", 0, ""},
        {",peer", 0, ""},
        {"peer edge", 0, ""},
        {"Peer", 0, ""},
        {"peers", 0, ""},
        {"owner", 0, ""},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        uint32_t roles = 77;
        char text[NODE_ROLES_TEXT_SIZE];
        bool taken = node_roles_parse(rows[i].text, &roles);
        if (taken != (rows[i].roles != 0) || roles != (taken ? rows[i].roles : 77)) {
            fail_msg("\"%s\"", rows[i].text);
        }
        node_roles_format(rows[i].roles, ',', text);
        assert_string_equal(text, rows[i].printed);
    }
}

static void test_node_signatures(void **state)
{
    struct world w;
    uint8_t signature[NODE_SIGNATURE_SIZE];
    static const uint8_t message[] = "what a node says";
    const struct fly_bytes whole = {message, sizeof message};
    const struct fly_bytes part = {message, sizeof message - 1};

    (void)state;
    make_world(&w);
    node_sign(&w.node, "flylight-claim-1", whole, signature);
    assert_true(node_signed(w.node.public_key, "flylight-claim-1", whole, signature));
    assert_false(node_signed(w.node.public_key, "flylight-claim-2", whole, signature));
    assert_false(node_signed(w.node.public_key, "flylight-claim-1", part, signature));
    assert_false(node_signed(w.ca.public_key, "flylight-claim-1", whole, signature));
    signature[63] ^= 1;
    assert_false(node_signed(w.node.public_key, "flylight-claim-1", whole, signature));
    /* the border between domain and message is under the signature */
    node_sign(&w.node, "ab", (struct fly_bytes){(const uint8_t *)"c", 1}, signature);
    assert_false(node_signed(w.node.public_key, "a", (struct fly_bytes){(const uint8_t *)"bc", 2},
                             signature));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_every_flip_is_seen),
        cmocka_unit_test(test_other_sizes), cmocka_unit_test(test_ids),
        cmocka_unit_test(test_roles),       cmocka_unit_test(test_node_signatures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
