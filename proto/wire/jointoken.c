#include "proto/wire/jointoken.h"

#include <string.h>

#include <sodium.h>

#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/wire/base64.h"

static const char header[] = "fly-join-1.";
static const char family[] = "fly-join-";

enum {
    TOKEN_VERSION = 1,
    CHECK_SIZE = 4,
    ADDRESS_SIZE = 1 + 16 + 2,
    FIXED_SIZE = 1 + CLUSTER_ID_BYTES + JOIN_TOKEN_CA_HASH_SIZE + JOIN_TOKEN_ID_SIZE +
                 JOIN_TOKEN_SECRET_SIZE + 1 + 8 + 1 + CHECK_SIZE,
    BYTES_MAX = FIXED_SIZE + JOIN_TOKEN_ADDRESSES_MAX * ADDRESS_SIZE,
    HEADER_SIZE = sizeof header - 1,
    FLAG_TLS = 1,
};

_Static_assert(HEADER_SIZE + (BYTES_MAX * 4 + 2) / 3 < JOIN_TOKEN_TEXT_MAX, "the longest fits");

void join_token_ca_hash(const uint8_t ca[static NODE_KEY_SIZE],
                        uint8_t out[static JOIN_TOKEN_CA_HASH_SIZE])
{
    (void)crypto_generichash(out, JOIN_TOKEN_CA_HASH_SIZE, ca, NODE_KEY_SIZE, NULL, 0);
}

void join_token_id_format(const uint8_t id[static JOIN_TOKEN_ID_SIZE],
                          char out[static JOIN_TOKEN_ID_TEXT_SIZE])
{
    fly_hex_encode(id, JOIN_TOKEN_ID_SIZE, out);
}

static void check_of(const uint8_t *data, size_t size, uint8_t out[static CHECK_SIZE])
{
    uint8_t hash[32];

    (void)crypto_generichash(hash, sizeof hash, data, size, NULL, 0);
    memcpy(out, hash, CHECK_SIZE);
}

static bool address_ok(const struct join_address *a)
{
    static const uint8_t nowhere[16];
    static const uint8_t nowhere_v4[16] = {[10] = 0xff, [11] = 0xff};

    return a->port != 0 && memcmp(a->ip, nowhere, sizeof nowhere) != 0 &&
           memcmp(a->ip, nowhere_v4, sizeof nowhere_v4) != 0;
}

static bool roles_ok(uint32_t roles)
{
    return roles != 0 && (roles & ~(uint32_t)NODE_ROLE_ALL) == 0;
}

size_t join_token_encode(const struct join_token *token, char out[static JOIN_TOKEN_TEXT_MAX])
{
    uint8_t bytes[BYTES_MAX];
    uint8_t cluster[CLUSTER_ID_BYTES];
    uint8_t check[CHECK_SIZE];
    struct fly_writer w = fly_writer_over(bytes, sizeof bytes);

    FLY_CHECK(fly_hex_decode(token->cluster, strlen(token->cluster), cluster, sizeof cluster));
    FLY_CHECK(roles_ok(token->roles) && token->expires_ms >= 0);
    FLY_CHECK(token->address_count >= 1 && token->address_count <= JOIN_TOKEN_ADDRESSES_MAX);
    fly_put_u8(&w, TOKEN_VERSION);
    fly_put_bytes(&w, cluster, sizeof cluster);
    fly_put_bytes(&w, token->ca_hash, sizeof token->ca_hash);
    fly_put_bytes(&w, token->id, sizeof token->id);
    fly_put_bytes(&w, token->secret, sizeof token->secret);
    fly_put_u8(&w, (uint8_t)token->roles);
    fly_put_u64(&w, (uint64_t)token->expires_ms);
    fly_put_u8(&w, token->address_count);
    for (size_t i = 0; i < token->address_count; i++) {
        const struct join_address *a = &token->addresses[i];
        FLY_CHECK(address_ok(a));
        fly_put_u8(&w, a->tls ? FLAG_TLS : 0);
        fly_put_bytes(&w, a->ip, sizeof a->ip);
        fly_put_u16(&w, a->port);
    }
    check_of(bytes, w.size, check);
    fly_put_bytes(&w, check, sizeof check);
    FLY_CHECK(!w.failed);
    memcpy(out, header, HEADER_SIZE);
    size_t size =
        base64_encode(bytes, w.size, out + HEADER_SIZE, JOIN_TOKEN_TEXT_MAX - HEADER_SIZE);
    sodium_memzero(bytes, sizeof bytes);
    return HEADER_SIZE + size;
}

/* Everything between the version and the check. */
static bool get_body(struct fly_reader *r, struct join_token *token)
{
    uint8_t cluster[CLUSTER_ID_BYTES];
    bool ok = true;

    fly_get_copy(r, cluster, sizeof cluster);
    fly_hex_encode(cluster, sizeof cluster, token->cluster);
    fly_get_copy(r, token->ca_hash, sizeof token->ca_hash);
    fly_get_copy(r, token->id, sizeof token->id);
    fly_get_copy(r, token->secret, sizeof token->secret);
    token->roles = fly_get_u8(r);
    token->expires_ms = (int64_t)fly_get_u64(r);
    token->address_count = fly_get_u8(r);
    if (token->address_count < 1 || token->address_count > JOIN_TOKEN_ADDRESSES_MAX) {
        return false;
    }
    for (size_t i = 0; i < token->address_count; i++) {
        struct join_address *a = &token->addresses[i];
        uint8_t flags = fly_get_u8(r);
        fly_get_copy(r, a->ip, sizeof a->ip);
        a->port = fly_get_u16(r);
        a->tls = flags == FLAG_TLS;
        ok = ok && flags <= FLAG_TLS && address_ok(a);
    }
    return ok && roles_ok(token->roles) && token->expires_ms >= 0 && fly_reader_done(r);
}

static enum fly_status decode_bytes(const uint8_t *bytes, size_t size, struct join_token *out,
                                    struct fly_error *error)
{
    uint8_t check[CHECK_SIZE];
    struct join_token token = {.roles = 0};
    enum fly_status status = FLY_OK;

    if (size <= CHECK_SIZE) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "the join token is cut short");
    }
    check_of(bytes, size - CHECK_SIZE, check);
    if (sodium_memcmp(check, bytes + size - CHECK_SIZE, CHECK_SIZE) != 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "the join token is cut short or mistyped (its check does not fit)");
    }
    struct fly_reader r = fly_reader_over(bytes, size - CHECK_SIZE);
    if (fly_get_u8(&r) != TOKEN_VERSION || !get_body(&r, &token)) {
        status = fly_error_set(error, FLY_INVALID_ARGUMENT, "the join token makes no sense");
    } else {
        *out = token;
    }
    sodium_memzero(&token, sizeof token);
    return status;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

enum fly_status join_token_decode(const char *text, size_t size, struct join_token *out,
                                  struct fly_error *error)
{
    uint8_t bytes[BYTES_MAX];
    size_t decoded = 0;

    while (size > 0 && blank(text[0])) {
        text++;
        size--;
    }
    while (size > 0 && blank(text[size - 1])) {
        size--;
    }
    if (size < sizeof family || memcmp(text, family, sizeof family - 1) != 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "not a join token: one begins with \"%s\"", header);
    }
    if (size < HEADER_SIZE || memcmp(text, header, HEADER_SIZE) != 0) {
        const char *digits = text + sizeof family - 1;
        bool newer = digits[0] >= '2' && digits[0] <= '9';
        return fly_error_set(error, newer ? FLY_UNIMPLEMENTED : FLY_INVALID_ARGUMENT,
                             newer ? "the join token is of a newer version than this program"
                                   : "the join token is cut short or mistyped");
    }
    if (!base64_decode(text + HEADER_SIZE, size - HEADER_SIZE, bytes, sizeof bytes, &decoded)) {
        sodium_memzero(bytes, sizeof bytes);
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "the join token is cut short or mistyped");
    }
    enum fly_status status = decode_bytes(bytes, decoded, out, error);
    sodium_memzero(bytes, sizeof bytes);
    return status;
}
