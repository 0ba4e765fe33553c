/* hello: a proof is good for one handshake of two nodes, one side of it, and one key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/wire/hello.h"

static const char cluster[] = "000102030405060708090a0b0c0d0e0f";
static const char other_cluster[] = "100102030405060708090a0b0c0d0e0f";
static const int64_t now_ms = 1795262400123;
static const int64_t hour_ms = 3600000;

struct party {
    struct node_keys keys;
    struct credential credential;
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    size_t size;
};

struct world {
    struct authority_keys ca;
    struct authority_keys other_ca;
    struct party ann; /* the client */
    struct party bob; /* the server */
    struct party eve;
    uint8_t client_nonce[FRAME_NONCE_SIZE];
    uint8_t server_nonce[FRAME_NONCE_SIZE];
    struct hello_handshake handshake;
};

static void make_party(struct party *p, uint8_t seed, const char *name,
                       const struct authority_keys *ca, const char *in)
{
    struct authority_keys admission;
    struct credential *c = &p->credential;
    uint8_t admission_seed[32] = {99};

    authority_keys_from_seed(admission_seed, &admission);
    node_keys_from_seed(&(struct node_seed){{seed}}, &p->keys);
    memcpy(c->admission.key, admission.public_key, NODE_KEY_SIZE);
    c->admission.roles = NODE_ROLE_ALL;
    c->admission.expires_ms = now_ms + 2 * hour_ms;
    memcpy(c->key, p->keys.public_key, NODE_KEY_SIZE);
    (void)fly_copy_string(c->name, sizeof c->name, name);
    c->roles = NODE_ROLE_PEER;
    c->issued_ms = now_ms;
    c->expires_ms = now_ms + hour_ms;
    memset(c->tls_hash, seed, sizeof c->tls_hash);
    admission_sign(ca, in, &c->admission);
    credential_sign(&admission, in, c);
    p->size = credential_encode(c, p->bytes);
}

static void make_world(struct world *w)
{
    uint8_t seed[32] = {1};

    memset(w, 0, sizeof *w);
    authority_keys_from_seed(seed, &w->ca);
    seed[0] = 2;
    authority_keys_from_seed(seed, &w->other_ca);
    make_party(&w->ann, 11, "ann", &w->ca, cluster);
    make_party(&w->bob, 12, "bob", &w->ca, cluster);
    make_party(&w->eve, 13, "eve", &w->ca, cluster);
    memset(w->client_nonce, 0xc1, sizeof w->client_nonce);
    memset(w->server_nonce, 0x5e, sizeof w->server_nonce);
    w->handshake = (struct hello_handshake){.cluster = cluster,
                                            .client_nonce = w->client_nonce,
                                            .server_nonce = w->server_nonce,
                                            .client = w->ann.credential.id,
                                            .server = w->bob.credential.id};
}

static void test_both_sides(void **state)
{
    struct world w;
    struct credential c;
    uint8_t proof[NODE_SIGNATURE_SIZE];

    (void)state;
    make_world(&w);
    hello_sign(&w.handshake, HELLO_CLIENT, &w.ann.keys, w.ann.credential.tls_hash, proof);
    assert_int_equal(
        hello_verify(&w.handshake, HELLO_CLIENT, (struct fly_bytes){w.ann.bytes, w.ann.size},
                     (struct fly_bytes){proof, sizeof proof}, w.ca.public_key, now_ms, &c, NULL),
        FLY_OK);
    assert_string_equal(c.name, "ann");
    assert_memory_equal(&c, &w.ann.credential, sizeof c);
    hello_sign(&w.handshake, HELLO_SERVER, &w.bob.keys, w.bob.credential.tls_hash, proof);
    assert_int_equal(
        hello_verify(&w.handshake, HELLO_SERVER, (struct fly_bytes){w.bob.bytes, w.bob.size},
                     (struct fly_bytes){proof, sizeof proof}, w.ca.public_key, now_ms, &c, NULL),
        FLY_OK);
    assert_string_equal(c.name, "bob");
}

enum change {
    OTHER_CLIENT_NONCE,
    OTHER_SERVER_NONCE,
    SWAPPED_NONCES,
    MEANT_FOR_ANOTHER,
    SIDES_SWAPPED,
    COPIED_CREDENTIAL,
    STOLEN_PLACE,
    OTHER_TLS,
    FOREIGN_CLUSTER,
    FOREIGN_CA,
    EXPIRED,
    NO_PROOF,
    SHORT_PROOF,
    FLIPPED_PROOF,
    NO_CREDENTIAL,
    CUT_CREDENTIAL,
    TAIL_ON_CREDENTIAL,
    REPLAYED_AT_ANOTHER,
};

static void test_refusals(void **state)
{
    static const struct {
        const char *what;
        enum change change;
        const char *reason;
    } rows[] = {
        {"a proof of another connection (its client's nonce)", OTHER_CLIENT_NONCE,
         "not of this handshake"},
        {"a proof of another connection (its server's nonce)", OTHER_SERVER_NONCE,
         "not of this handshake"},
        {"the two nonces swapped", SWAPPED_NONCES, "not of this handshake"},
        {"a proof that was meant for another server", MEANT_FOR_ANOTHER, "not of this handshake"},
        {"the server's own words back to it", SIDES_SWAPPED, "not of this handshake"},
        {"a copied credential without its key", COPIED_CREDENTIAL, "not of this handshake"},
        {"a good credential of who was not meant", STOLEN_PLACE, "not the node that"},
        {"signed over another TLS key", OTHER_TLS, "not of this handshake"},
        {"a member of another cluster", FOREIGN_CLUSTER, "foreign cluster or CA"},
        {"a member under another CA", FOREIGN_CA, "foreign cluster or CA"},
        {"an expired credential", EXPIRED, "expired at"},
        {"no proof", NO_PROOF, "not 64 bytes"},
        {"a short proof", SHORT_PROOF, "not 64 bytes"},
        {"one bit of the proof", FLIPPED_PROOF, "not of this handshake"},
        {"no credential", NO_CREDENTIAL, "not a node's credential"},
        {"a cut credential", CUT_CREDENTIAL, "not a node's credential"},
        {"a credential with more behind it", TAIL_ON_CREDENTIAL, "its size"},
        {"passed on by the server it was for", REPLAYED_AT_ANOTHER, "not of this handshake"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct world w;
        struct credential c;
        struct credential before;
        struct fly_error error = {.text = ""};
        uint8_t proof[NODE_SIGNATURE_SIZE + 1] = {0};
        uint8_t other_nonce[FRAME_NONCE_SIZE] = {7};
        int64_t at_ms = now_ms;

        make_world(&w);
        struct hello_handshake seen = w.handshake;  /* by the verifier */
        struct hello_handshake meant = w.handshake; /* by the signer */
        enum hello_side signs_as = HELLO_CLIENT;
        struct party *signer = &w.ann;
        struct party *shown = &w.ann;
        struct fly_bytes shown_proof = {proof, NODE_SIGNATURE_SIZE};
        size_t flip = sizeof proof - 1;
        uint8_t tls_hash[NODE_TLS_HASH_SIZE];

        memcpy(tls_hash, w.ann.credential.tls_hash, sizeof tls_hash);
        switch (rows[i].change) {
        case OTHER_CLIENT_NONCE:
            seen.client_nonce = other_nonce;
            break;
        case OTHER_SERVER_NONCE:
            seen.server_nonce = other_nonce;
            break;
        case SWAPPED_NONCES:
            seen.client_nonce = w.server_nonce;
            seen.server_nonce = w.client_nonce;
            break;
        case MEANT_FOR_ANOTHER:
            meant.server = w.eve.credential.id;
            break;
        case SIDES_SWAPPED:
            signs_as = HELLO_SERVER;
            break;
        case COPIED_CREDENTIAL:
            signer = &w.eve;
            break;
        case STOLEN_PLACE:
            signer = &w.eve;
            shown = &w.eve;
            break;
        case OTHER_TLS:
            tls_hash[0] ^= 1;
            break;
        case FOREIGN_CLUSTER:
            make_party(&w.ann, 11, "ann", &w.ca, other_cluster);
            break;
        case FOREIGN_CA:
            make_party(&w.ann, 11, "ann", &w.other_ca, cluster);
            break;
        case EXPIRED:
            at_ms = now_ms + hour_ms;
            break;
        case NO_PROOF:
            shown_proof = (struct fly_bytes){NULL, 0};
            break;
        case SHORT_PROOF:
            shown_proof.size--;
            break;
        case FLIPPED_PROOF:
            flip = 5;
            break;
        case NO_CREDENTIAL:
            shown->size = 0;
            break;
        case CUT_CREDENTIAL:
            shown->size--;
            break;
        case TAIL_ON_CREDENTIAL:
            shown->size++;
            break;
        case REPLAYED_AT_ANOTHER: /* bob opens a connection to eve and shows ann's words */
            seen.server = w.eve.credential.id;
            break;
        }
        hello_sign(&meant, signs_as, &signer->keys, tls_hash, proof);
        proof[flip] ^= 0x10;
        memset(&c, 0x77, sizeof c);
        before = c;
        enum fly_status status =
            hello_verify(&seen, HELLO_CLIENT, (struct fly_bytes){shown->bytes, shown->size},
                         shown_proof, w.ca.public_key, at_ms, &c, &error);
        if (status != FLY_UNAUTHENTICATED || error.status != status ||
            strstr(error.text, rows[i].reason) == NULL) {
            fail_msg("%s: %s: %s", rows[i].what, fly_status_name(status), error.text);
        }
        assert_memory_equal(&c, &before, sizeof c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_sides),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
