/* token: every official vector that is about v4.public keys; no change leaves a token valid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/wire/token.h"

static struct fly_bytes bytes_of(const char *text)
{
    return (struct fly_bytes){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

static const char *text_of(const json_t *test, const char *key)
{
    return json_string_value(json_object_get(test, key));
}

/* --- official vectors --- */

static json_t *load_vectors(const char *name)
{
    char path[512];
    json_error_t error;

    (void)snprintf(path, sizeof path, "%s/paseto/%s", FLY_VECTORS, name);
    json_t *root = json_load_file(path, 0, &error);
    if (root == NULL) {
        fail_msg("%s: %s", path, error.text);
    }
    return root;
}

static void check_signature_vector(const json_t *test)
{
    struct fly_bytes payload = bytes_of(text_of(test, "payload"));
    struct fly_bytes footer = bytes_of(text_of(test, "footer"));
    struct fly_bytes implicit = bytes_of(text_of(test, "implicit-assertion"));
    const char *expected = text_of(test, "token");
    uint8_t seed[TOKEN_SEED_SIZE];
    uint8_t public_bytes[32];
    uint8_t secret_bytes[64];
    struct token_secret_key secret;
    struct token token;
    char text[TOKEN_TEXT_MAX + 1];

    assert_true(fly_hex_decode(text_of(test, "secret-key-seed"), 64, seed, sizeof seed));
    assert_true(fly_hex_decode(text_of(test, "public-key"), 64, public_bytes, 32));
    assert_true(fly_hex_decode(text_of(test, "secret-key"), 128, secret_bytes, 64));
    token_secret_key_from_seed(seed, &secret);
    assert_memory_equal(secret.bytes, secret_bytes, 64);
    struct token_public_key public_key = token_public_key_of(&secret);
    assert_memory_equal(public_key.bytes, public_bytes, 32);

    assert_int_equal(token_sign(&secret, payload, footer, implicit, text, NULL), FLY_OK);
    assert_string_equal(text, expected);
    assert_int_equal(token_verify(&public_key, expected, strlen(expected), implicit, &token, NULL),
                     FLY_OK);
    assert_int_equal(token.payload_size, payload.size);
    assert_memory_equal(token.payload, payload.data, payload.size);
    assert_int_equal(token.footer_size, footer.size);
    assert_memory_equal(token.footer, footer.data, footer.size);
}

/* The failing vectors, and v4.local's tokens too: a v4.public verifier refuses each of them. Those
 * without a public key (they are made for v4.local) are tried with the key of the others. */
static void check_refused_vector(const json_t *test)
{
    const char *hex = text_of(test, "public-key");
    const char *text = text_of(test, "token");
    struct token_public_key key;
    struct token token;

    if (hex == NULL) {
        hex = "1eb9dbbbbc047c03fd70604e0071f0987e16b28b757225c11f00415d0e20b1a2";
    }
    assert_true(fly_hex_decode(hex, 64, key.bytes, sizeof key.bytes));
    assert_int_not_equal(token_verify(&key, text, strlen(text),
                                      bytes_of(text_of(test, "implicit-assertion")), &token, NULL),
                         FLY_OK);
}

static void test_version4_vectors(void **state)
{
    json_t *root = load_vectors("v4.json");
    const json_t *test = NULL;
    size_t index = 0;
    size_t signed_count = 0;
    size_t failing_count = 0;

    (void)state;
    json_array_foreach(json_object_get(root, "tests"), index, test)
    {
        if (strncmp(text_of(test, "name"), "4-S-", 4) == 0) {
            assert_false(json_is_true(json_object_get(test, "expect-fail")));
            check_signature_vector(test);
            signed_count++;
        } else {
            check_refused_vector(test);
            failing_count += json_is_true(json_object_get(test, "expect-fail"));
        }
    }
    assert_int_equal(signed_count, 3);
    assert_int_equal(failing_count, 5);
    json_decref(root);
}

/* Runs `check` on the raw key bytes of each test; keys of a wrong size have no type to be put in.
 */
static void each_paserk(const char *file, size_t key_size,
                        void (*check)(const uint8_t *key, const char *paserk))
{
    json_t *root = load_vectors(file);
    const json_t *test = NULL;
    size_t index = 0;
    size_t checked = 0;

    json_array_foreach(json_object_get(root, "tests"), index, test)
    {
        const char *hex = text_of(test, "key");
        uint8_t key[64];
        if (!fly_hex_decode(hex, strlen(hex), key, key_size)) {
            assert_true(json_is_true(json_object_get(test, "expect-fail")));
            continue;
        }
        assert_false(json_is_true(json_object_get(test, "expect-fail")));
        check(key, text_of(test, "paserk"));
        checked++;
    }
    assert_int_equal(checked, 3);
    json_decref(root);
}

static void check_key_id(const uint8_t *bytes, const char *paserk)
{
    struct token_public_key key;

    memcpy(key.bytes, bytes, sizeof key.bytes);
    assert_string_equal(token_key_id_of(&key).text, paserk);
}

static void check_public_text(const uint8_t *bytes, const char *paserk)
{
    struct token_public_key key;
    struct token_public_key back;
    char text[TOKEN_PUBLIC_TEXT_SIZE];

    memcpy(key.bytes, bytes, sizeof key.bytes);
    token_public_key_encode(&key, text);
    assert_string_equal(text, paserk);
    assert_true(token_public_key_decode(paserk, strlen(paserk), &back));
    assert_memory_equal(&back, &key, sizeof key);
}

static void check_secret_text(const uint8_t *bytes, const char *paserk)
{
    struct token_secret_key key;
    struct token_secret_key back;
    char text[TOKEN_SECRET_TEXT_SIZE];

    memcpy(key.bytes, bytes, sizeof key.bytes);
    token_secret_key_encode(&key, text);
    assert_string_equal(text, paserk);
    assert_true(token_secret_key_decode(paserk, strlen(paserk), &back));
    assert_memory_equal(&back, &key, sizeof key);
}

static void test_paserk_vectors(void **state)
{
    (void)state;
    each_paserk("PASERK/k4.pid.json", 32, check_key_id);
    each_paserk("PASERK/k4.public.json", 32, check_public_text);
    each_paserk("PASERK/k4.secret.json", 64, check_secret_text);
}

static void test_key_texts_refused(void **state)
{
    static const char *const secrets[] = {
        "",
        "k4.secret.",
        /* seed of 0s with the public key of another */
        "k4.secret.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA8c5WpIyC_5kWKhS8VEYSZ05dYfuTF-"
        "ZdQFV4D9vLTcNQ",
        "k3.secret."
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA7aie8zrakLWKjqNAqbw1zZTIVdx3iQ6Y6wEihi"
        "1naKQ",
        "k4.public."
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA7aie8zrakLWKjqNAqbw1zZTIVdx3iQ6Y6wEihi"
        "1naKQ",
        /* bits left over in the last digit */
        "k4.secret."
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA7aie8zrakLWKjqNAqbw1zZTIVdx3iQ6Y6wEihi"
        "1naKR",
    };
    struct token_secret_key secret = {{1}};
    struct token_public_key key = {{1}};

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(secrets); i++) {
        assert_false(token_secret_key_decode(secrets[i], strlen(secrets[i]), &secret));
        assert_false(token_public_key_decode(secrets[i], strlen(secrets[i]), &key));
    }
    assert_int_equal(secret.bytes[0], 1);
    assert_int_equal(key.bytes[0], 1);
}

/* --- sign and verify --- */

static struct token_secret_key key_number(uint8_t number)
{
    const uint8_t seed[TOKEN_SEED_SIZE] = {number};
    struct token_secret_key key;

    token_secret_key_from_seed(seed, &key);
    return key;
}

/* No changed, dropped or added character leaves a token valid: one text for one token. */
static void test_every_change_is_refused(void **state)
{
    struct token_secret_key secret = key_number(1);
    struct token_public_key key = token_public_key_of(&secret);
    struct fly_bytes implicit = bytes_of("cluster");
    char text[TOKEN_TEXT_MAX + 1];
    char changed[TOKEN_TEXT_MAX + 2];
    struct token token;

    (void)state;
    assert_int_equal(
        token_sign(&secret, bytes_of("{\"a\":1}"), bytes_of("{\"k\":2}"), implicit, text, NULL),
        FLY_OK);
    size_t size = strlen(text);
    assert_int_equal(token_verify(&key, text, size, implicit, &token, NULL), FLY_OK);
    for (size_t i = 0; i <= size; i++) {
        for (int c = 0; c < 256; c++) {
            memcpy(changed, text, size + 1);
            if (changed[i] != (char)c && i < size) {
                changed[i] = (char)c;
                assert_int_not_equal(token_verify(&key, changed, size, implicit, &token, NULL),
                                     FLY_OK);
            }
            memmove(changed + i + 1, text + i, size - i);
            changed[i] = (char)c;
            assert_int_not_equal(token_verify(&key, changed, size + 1, implicit, &token, NULL),
                                 FLY_OK);
        }
        if (i < size) {
            assert_int_not_equal(token_verify(&key, text, i, implicit, &token, NULL), FLY_OK);
        }
    }
}

/* A dot and no footer would be a second text of the token without a footer. */
static void test_no_empty_footer(void **state)
{
    struct token_secret_key secret = key_number(1);
    char text[TOKEN_TEXT_MAX + 1];
    struct token token;

    (void)state;
    assert_int_equal(token_sign(&secret, bytes_of("{}"), bytes_of(""), bytes_of(""), text, NULL),
                     FLY_OK);
    size_t size = strlen(text);
    assert_null(strchr(text + 10, '.'));
    assert_int_equal(token_peek(text, size, &token, NULL), FLY_OK);
    text[size] = '.';
    assert_int_equal(token_peek(text, size + 1, &token, NULL), FLY_INVALID_ARGUMENT);
}

static void test_bound_to_key_and_cluster(void **state)
{
    struct token_secret_key secret = key_number(1);
    struct token_secret_key other = key_number(2);
    struct token_public_key key = token_public_key_of(&secret);
    struct token_public_key other_key = token_public_key_of(&other);
    char text[TOKEN_TEXT_MAX + 1];
    struct token token;

    (void)state;
    assert_int_equal(token_sign(&secret, bytes_of("{}"), bytes_of(""), bytes_of("one"), text, NULL),
                     FLY_OK);
    assert_int_equal(token_verify(&key, text, strlen(text), bytes_of("one"), &token, NULL), FLY_OK);
    assert_int_equal(token_verify(&key, text, strlen(text), bytes_of("two"), &token, NULL),
                     FLY_UNAUTHENTICATED);
    assert_int_equal(token_verify(&key, text, strlen(text), bytes_of(""), &token, NULL),
                     FLY_UNAUTHENTICATED);
    assert_int_equal(token_verify(&other_key, text, strlen(text), bytes_of("one"), &token, NULL),
                     FLY_UNAUTHENTICATED);
    assert_int_equal(token.payload_size, 0); /* wiped */
    assert_int_equal(token_peek(text, strlen(text), &token, NULL), FLY_OK);
    assert_memory_equal(token.payload, "{}", 2);
}

/* Bytes that move between footer and implicit assertion make another message (PAE). */
static void test_pieces_do_not_run_together(void **state)
{
    struct token_secret_key secret = key_number(1);
    struct token_public_key key = token_public_key_of(&secret);
    char text[TOKEN_TEXT_MAX + 1];
    struct token token;

    (void)state;
    assert_int_equal(token_sign(&secret, bytes_of("{}"), bytes_of("ab"), bytes_of("c"), text, NULL),
                     FLY_OK);
    assert_int_equal(token_peek(text, strlen(text), &token, NULL), FLY_OK);
    assert_true(token_signed_by(&token, &key, bytes_of("c")));
    token.footer_size = 1;
    assert_false(token_signed_by(&token, &key, bytes_of("bc")));
}

static void test_sizes(void **state)
{
    static const struct {
        size_t payload;
        size_t footer;
        enum fly_status status;
    } rows[] = {
        {TOKEN_PAYLOAD_MAX, 0, FLY_OK},
        {TOKEN_PAYLOAD_MAX + 1, 0, FLY_RESOURCE_EXHAUSTED},
        {TOKEN_PAYLOAD_MAX, 55, FLY_OK}, /* 10 + 1963 + 1 + 74 = 2048 */
        {TOKEN_PAYLOAD_MAX, 56, FLY_RESOURCE_EXHAUSTED},
        {100, TOKEN_FOOTER_MAX, FLY_OK},
        {100, TOKEN_FOOTER_MAX + 1, FLY_RESOURCE_EXHAUSTED},
        {0, 0, FLY_OK},
    };
    struct token_secret_key secret = key_number(1);
    struct token_public_key key = token_public_key_of(&secret);
    char text[TOKEN_TEXT_MAX + 1];
    static uint8_t zeros[TOKEN_TEXT_MAX];
    struct token token;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct fly_bytes payload = {zeros, rows[i].payload};
        struct fly_bytes footer = {zeros, rows[i].footer};
        assert_int_equal(token_sign(&secret, payload, footer, bytes_of(""), text, NULL),
                         rows[i].status);
        if (rows[i].status == FLY_OK) {
            assert_true(strlen(text) <= TOKEN_TEXT_MAX);
            assert_int_equal(token_verify(&key, text, strlen(text), bytes_of(""), &token, NULL),
                             FLY_OK);
            assert_int_equal(token.payload_size, rows[i].payload);
            assert_int_equal(token.footer_size, rows[i].footer);
        }
    }
    char long_text[TOKEN_TEXT_MAX + 2];
    memset(long_text, 'A', sizeof long_text);
    memcpy(long_text, "v4.public.", 10);
    assert_int_equal(token_peek(long_text, TOKEN_TEXT_MAX, &token, NULL), FLY_INVALID_ARGUMENT);
    assert_int_equal(token_peek(long_text, TOKEN_TEXT_MAX + 1, &token, NULL), FLY_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version4_vectors),
        cmocka_unit_test(test_paserk_vectors),
        cmocka_unit_test(test_key_texts_refused),
        cmocka_unit_test(test_every_change_is_refused),
        cmocka_unit_test(test_no_empty_footer),
        cmocka_unit_test(test_bound_to_key_and_cluster),
        cmocka_unit_test(test_pieces_do_not_run_together),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
