/*
 * fuzz_token - the same bytes as a token, as claims, as a footer, as a cluster record and as key
 * files. Oracles: what token_peek accepts is the one text of its parts; what the claims decoder
 * accepts, jansson accepts and reads alike; what is decoded encodes and decodes to the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sodium.h>

#include "proto/base/check.h"
#include "proto/wire/cluster.h"
#include "proto/wire/token.h"
#include "proto/wire/token_claims.h"
#include "proto/wire/token_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_token(const char *text, size_t size)
{
    static const uint8_t seed[TOKEN_SEED_SIZE] = {42};
    struct token_secret_key secret;
    struct token token;
    uint8_t body[TOKEN_PAYLOAD_MAX + 64];
    char again[TOKEN_TEXT_MAX + 1] = "v4.public.";

    if (token_peek(text, size, &token, NULL) != FLY_OK) {
        return;
    }
    memcpy(body, token.payload, token.payload_size);
    memcpy(body + token.payload_size, token.signature, sizeof token.signature);
    (void)sodium_bin2base64(again + 10, sizeof again - 10, body,
                            token.payload_size + sizeof token.signature,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    if (token.footer_size > 0) {
        size_t used = strlen(again);
        again[used++] = '.';
        (void)sodium_bin2base64(again + used, sizeof again - used, token.footer, token.footer_size,
                                sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    }
    FLY_CHECK(strlen(again) == size && memcmp(again, text, size) == 0);
    token_secret_key_from_seed(seed, &secret);
    struct token_public_key key = token_public_key_of(&secret);
    FLY_CHECK(!token_signed_by(&token, &key, (struct fly_bytes){NULL, 0}));
}

static void same_member(const json_t *root, const char *key, const char *expected)
{
    const char *value = json_string_value(json_object_get(root, key));

    FLY_CHECK(strcmp(value != NULL ? value : "", expected) == 0);
}

static void try_claims(const uint8_t *data, size_t size)
{
    struct token_json members;
    struct token_claims claims;
    struct token_claims back;
    uint8_t payload[TOKEN_PAYLOAD_MAX];
    json_error_t error;

    bool ours = token_json_parse(data, size, &members);
    json_t *root = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, &error);
    if (ours && root == NULL) {
        /* a key twice below the top is passed over, as are numbers that no double holds */
        enum json_error_code code = json_error_code(&error);
        FLY_CHECK(code == json_error_duplicate_key || code == json_error_numeric_overflow);
    }
    FLY_CHECK(!ours || root == NULL || json_object_size(root) == members.count);
    if (token_claims_decode(data, size, &claims, NULL) == FLY_OK) {
        FLY_CHECK(ours);
        if (root != NULL) {
            same_member(root, "sub", claims.subject);
            same_member(root, "jti", claims.id);
            same_member(root, "iss", claims.issuer);
        }
        if (strpbrk(claims.id, "\"\\") == NULL && strpbrk(claims.issuer, "\"\\") == NULL &&
            claims.scopes != 0 && claims.expires_ms >= 0 && claims.expires_ms < 253402300800000) {
            size_t again = token_claims_encode(&claims, payload);
            FLY_CHECK(token_claims_decode(payload, again, &back, NULL) == FLY_OK);
            FLY_CHECK(back.expires_ms == claims.expires_ms && back.scopes == claims.scopes);
            FLY_CHECK(strcmp(back.subject, claims.subject) == 0);
        }
    }
    json_decref(root);
}

static void try_files(const uint8_t *data, size_t size)
{
    struct cluster_record record;
    struct token_secret_key secret;
    struct token_key_id kid;
    struct node_seed seed;
    char text[CLUSTER_FILE_MAX];

    if (cluster_record_decode(data, size, &record, NULL) == FLY_OK && record.created_ms >= 0 &&
        record.created_ms < 253402300800000) {
        struct cluster_record back;
        size_t again = cluster_record_encode(&record, text);
        FLY_CHECK(cluster_record_decode(text, again, &back, NULL) == FLY_OK);
        FLY_CHECK(strcmp(back.id, record.id) == 0 && back.root_tag == record.root_tag);
        FLY_CHECK(back.created_ms == record.created_ms);
    }
    if (issuer_key_decode(data, size, &secret, NULL) == FLY_OK) {
        size_t again = issuer_key_encode(&secret, text);
        FLY_CHECK(size + 1 >= again && memcmp(text, data, again - 1) == 0);
    }
    if (node_key_decode(data, size, &seed, NULL) == FLY_OK) {
        size_t again = node_key_encode(&seed, text);
        FLY_CHECK(size + 1 >= again && memcmp(text, data, again - 1) == 0);
    }
    if (token_footer_decode(data, size, &kid)) {
        uint8_t footer[TOKEN_FOOTER_MAX];
        struct token_key_id back;
        FLY_CHECK(strpbrk(kid.text, "\"\\") != NULL ||
                  token_footer_decode(footer, token_footer_encode(&kid, footer), &back));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_token((const char *)data, size);
    try_claims(data, size);
    try_files(data, size);
    return 0;
}
