/* x509: what a CA's chain lets through, and what it does not. libssl's verifier is the judge; nng's
 * mbedTLS is asked in test_join. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node/x509.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

static const char cluster[] = "000102030405060708090a0b0c0d0e0f";
static const int64_t now_ms = 1795262400123;
static const int64_t day_ms = 86400000;

struct world {
    struct x509_authority ca;
    struct x509_authority issuer;
    char key[X509_KEY_TEXT_SIZE];
    struct x509_spki spki;
    char chain[X509_CERT_TEXT_SIZE];
};

static void make_authority(struct x509_authority *ca)
{
    assert_int_equal(x509_key_make(ca->key, NULL), FLY_OK);
    assert_int_equal(x509_ca_make(ca, cluster, now_ms, now_ms + 30 * day_ms, NULL), FLY_OK);
}

static void make_world(struct world *w)
{
    struct x509_spki issuer;

    memset(w, 0, sizeof *w);
    make_authority(&w->ca);
    assert_int_equal(x509_key_make(w->issuer.key, NULL), FLY_OK);
    assert_int_equal(x509_key_spki(w->issuer.key, &issuer, NULL), FLY_OK);
    assert_int_equal(x509_issuer_make(&w->ca, &issuer, cluster, now_ms, now_ms + 20 * day_ms,
                                      w->issuer.certificate, NULL),
                     FLY_OK);
    assert_int_equal(x509_key_make(w->key, NULL), FLY_OK);
    assert_int_equal(x509_key_spki(w->key, &w->spki, NULL), FLY_OK);
    assert_int_equal(x509_node_make(&w->issuer, &w->spki, "rack-7", now_ms, now_ms + 10 * day_ms,
                                    w->chain, NULL),
                     FLY_OK);
}

static void test_keys(void **state)
{
    char first[X509_KEY_TEXT_SIZE];
    char second[X509_KEY_TEXT_SIZE];
    struct x509_spki spki;
    struct x509_spki back;
    uint8_t hash[X509_HASH_SIZE];
    char name[X509_NAME_TEXT_SIZE];

    (void)state;
    assert_int_equal(x509_key_make(first, NULL), FLY_OK);
    assert_int_equal(x509_key_make(second, NULL), FLY_OK);
    assert_string_not_equal(first, second);
    assert_int_equal(x509_key_spki(first, &spki, NULL), FLY_OK);
    assert_int_equal(spki.size, 91);
    assert_int_equal(x509_spki_decode(spki.bytes, spki.size, &back, NULL), FLY_OK);
    assert_memory_equal(&back, &spki, sizeof back);
    x509_spki_hash(&spki, hash);
    memset(hash, 0xab, sizeof hash);
    x509_node_name(hash, name);
    assert_string_equal(name, "abababababababababababababababababababab.node.flylight");
}

/* A joiner's bytes reach x509_spki_decode: only one form of one kind of key is taken. */
static void test_bad_keys(void **state)
{
    char key[X509_KEY_TEXT_SIZE];
    struct x509_spki spki;
    struct x509_spki out;
    uint8_t longer[X509_SPKI_MAX + 1] = {0};
    /* Ed25519, 44 bytes: a key, and not ours */
    static const uint8_t ed25519[44] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b,
                                        0x65, 0x70, 0x03, 0x21, 0x00, 0x19};

    (void)state;
    assert_int_equal(x509_key_make(key, NULL), FLY_OK);
    assert_int_equal(x509_key_spki(key, &spki, NULL), FLY_OK);
    for (size_t cut = 0; cut < spki.size; cut++) {
        assert_int_equal(x509_spki_decode(spki.bytes, cut, &out, NULL), FLY_INVALID_ARGUMENT);
    }
    memcpy(longer, spki.bytes, spki.size);
    assert_int_equal(x509_spki_decode(longer, spki.size + 1, &out, NULL), FLY_INVALID_ARGUMENT);
    assert_int_equal(x509_spki_decode(longer, sizeof longer, &out, NULL), FLY_INVALID_ARGUMENT);
    assert_int_equal(x509_spki_decode(ed25519, sizeof ed25519, &out, NULL), FLY_INVALID_ARGUMENT);
    for (size_t i = 0; i < spki.size; i++) { /* no flip is taken for the same key */
        struct x509_spki flipped = spki;
        flipped.bytes[i] ^= 0x04;
        if (x509_spki_decode(flipped.bytes, flipped.size, &out, NULL) == FLY_OK) {
            assert_memory_equal(out.bytes, flipped.bytes, flipped.size);
        }
    }
    static const char *const texts[] = {"", "hello",
                                        "-----BEGIN PRIVATE KEY-----\nAAAA\n"
                                        "-----END PRIVATE KEY-----\n"};
    for (size_t i = 0; i < FLY_ARRAY_COUNT(texts); i++) {
        assert_int_equal(x509_key_spki(texts[i], &out, NULL), FLY_INVALID_ARGUMENT);
    }
}

static void expect(const char *what, enum fly_status status, enum fly_status wanted,
                   const struct fly_error *error, const char *reason)
{
    if (status != wanted || (wanted != FLY_OK && strstr(error->text, reason) == NULL)) {
        fail_msg("%s: %s: %s", what, fly_status_name(status), error->text);
    }
}

static void test_verify(void **state)
{
    struct world w;
    struct world other;
    struct fly_error error = {.text = ""};
    char alone[X509_CERT_TEXT_SIZE];
    char forged[X509_CERT_TEXT_SIZE];
    struct x509_spki issuer;
    const char *ca = NULL;

    (void)state;
    make_world(&w);
    make_world(&other);
    ca = w.ca.certificate;
    assert_int_equal(x509_key_spki(w.issuer.key, &issuer, NULL), FLY_OK);
    expect("a node", x509_verify(ca, w.chain, &w.spki, false, now_ms, &error), FLY_OK, &error, "");
    expect("an issuer", x509_verify(ca, w.issuer.certificate, &issuer, true, now_ms, &error),
           FLY_OK, &error, "");
    expect("another's CA",
           x509_verify(other.ca.certificate, w.chain, &w.spki, false, now_ms, &error),
           FLY_UNAUTHENTICATED, &error, "does not verify");
    expect("another key", x509_verify(ca, w.chain, &other.spki, false, now_ms, &error),
           FLY_UNAUTHENTICATED, &error, "another key");
    expect("expired", x509_verify(ca, w.chain, &w.spki, false, now_ms + 11 * day_ms, &error),
           FLY_UNAUTHENTICATED, &error, "expired");
    expect("too early", x509_verify(ca, w.chain, &w.spki, false, now_ms - 2 * day_ms, &error),
           FLY_UNAUTHENTICATED, &error, "not yet valid");
    expect("a clock an hour behind",
           x509_verify(ca, w.chain, &w.spki, false, now_ms - day_ms / 24, &error), FLY_OK, &error,
           "");
    expect("at any time", x509_verify(ca, w.chain, &w.spki, false, X509_ANY_TIME, &error), FLY_OK,
           &error, "");
    expect("a node as an issuer", x509_verify(ca, w.chain, &w.spki, true, now_ms, &error),
           FLY_UNAUTHENTICATED, &error, "may not sign");
    expect("an issuer as a node",
           x509_verify(ca, w.issuer.certificate, &issuer, false, now_ms, &error),
           FLY_UNAUTHENTICATED, &error, "does not verify");

    /* without the issuer behind it */
    (void)fly_copy_string(alone, sizeof alone, w.chain);
    char *second = strstr(alone + 1, "-----BEGIN CERTIFICATE");
    assert_non_null(second);
    *second = '\0';
    expect("without its issuer", x509_verify(ca, alone, &w.spki, false, now_ms, &error),
           FLY_UNAUTHENTICATED, &error, "does not verify");

    /* a node that signs others */
    struct x509_authority node;
    memcpy(node.key, w.key, sizeof node.key);
    memcpy(node.certificate, w.chain, sizeof node.certificate);
    assert_int_equal(
        x509_node_make(&node, &other.spki, "eve", now_ms, now_ms + day_ms, forged, NULL), FLY_OK);
    expect("signed by a node", x509_verify(ca, forged, &other.spki, false, now_ms, &error),
           FLY_UNAUTHENTICATED, &error, "does not verify");
    /* an issuer that makes issuers */
    assert_int_equal(
        x509_issuer_make(&w.issuer, &other.spki, cluster, now_ms, now_ms + day_ms, forged, NULL),
        FLY_OK);
    expect("an issuer's issuer", x509_verify(ca, forged, &other.spki, true, now_ms, &error),
           FLY_UNAUTHENTICATED, &error, "does not verify");
}

static void test_not_certificates(void **state)
{
    struct world w;
    uint8_t hash[X509_HASH_SIZE];
    uint8_t again[X509_HASH_SIZE];

    (void)state;
    make_world(&w);
    assert_int_equal(x509_certificate_hash(w.ca.certificate, hash, NULL), FLY_OK);
    assert_int_equal(x509_certificate_hash(w.chain, again, NULL), FLY_OK);
    assert_memory_not_equal(hash, again, sizeof hash);
    static const char *const texts[] = {"", "hello",
                                        "-----BEGIN CERTIFICATE-----\nAAAA\n"
                                        "-----END CERTIFICATE-----\n"};
    for (size_t i = 0; i < FLY_ARRAY_COUNT(texts); i++) {
        assert_int_equal(x509_certificate_hash(texts[i], hash, NULL), FLY_INVALID_ARGUMENT);
        assert_int_equal(x509_verify(texts[i], w.chain, &w.spki, false, now_ms, NULL),
                         FLY_UNAUTHENTICATED);
        assert_int_equal(x509_verify(w.ca.certificate, texts[i], &w.spki, false, now_ms, NULL),
                         FLY_UNAUTHENTICATED);
    }
    /* a key that is not the certificate's signs nothing */
    struct x509_authority mixed = w.issuer;
    char out[X509_CERT_TEXT_SIZE];
    memcpy(mixed.key, w.key, sizeof mixed.key);
    assert_int_equal(x509_node_make(&mixed, &w.spki, "x", now_ms, now_ms + day_ms, out, NULL),
                     FLY_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_not_certificates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
