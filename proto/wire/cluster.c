#include "proto/wire/cluster.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/time.h"
#include "proto/wire/base64.h"
#include "proto/wire/token_claims.h"
#include "proto/wire/token_json.h"

static const char record_format[] = "flylight-cluster-1";
static const char record_family[] = "flylight-cluster-";
static const char node_header[] = "flynode-ed25519-1.";

enum {
    NODE_HEADER_SIZE = sizeof node_header - 1,
    NODE_DIGITS = 43, /* base64url of 32 bytes */
    ROOT_DIGITS = 6,
    ROOT_BYTES = 3,
};

size_t cluster_record_encode(const struct cluster_record *record, char out[static CLUSTER_FILE_MAX])
{
    char issuer[TOKEN_PUBLIC_TEXT_SIZE];
    char created[FLY_TIME_TEXT_SIZE];
    char ca[2 * sizeof record->ca + 1];
    char tls_ca[2 * CLUSTER_HASH_SIZE + 1];
    char tail[256] = "";
    uint8_t id[CLUSTER_ID_BYTES];
    struct token_key_id kid = token_key_id_of(&record->issuer);

    FLY_CHECK(fly_hex_decode(record->id, strlen(record->id), id, sizeof id));
    FLY_CHECK(record->root_tag >= 1 && record->root_tag <= 0xffffff);
    token_public_key_encode(&record->issuer, issuer);
    fly_time_format(record->created_ms, created);
    if (record->has_ca) {
        fly_hex_encode(record->ca, sizeof record->ca, ca);
        fly_hex_encode(record->tls_ca_hash, sizeof record->tls_ca_hash, tls_ca);
        (void)snprintf(tail, sizeof tail,
                       ",\n"
                       "  \"ca\": \"%s\",\n"
                       "  \"tls_ca_sha256\": \"%s\"",
                       ca, tls_ca);
    }
    int size = snprintf(out, CLUSTER_FILE_MAX,
                        "{\n"
                        "  \"format\": \"%s\",\n"
                        "  \"cluster\": \"%s\",\n"
                        "  \"issuer\": \"%s\",\n"
                        "  \"issuer_kid\": \"%s\",\n"
                        "  \"root\": \"%06x\",\n"
                        "  \"created_at\": \"%s\"%s\n"
                        "}\n",
                        record_format, record->id, issuer, kid.text, (unsigned)record->root_tag,
                        created, tail);
    FLY_CHECK(size > 0 && size < CLUSTER_FILE_MAX);
    return (size_t)size;
}

static enum fly_status bad_member(struct fly_error *error, const char *name, const char *form)
{
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "\"%s\" is not %s", name, form);
}

static bool lower_hex(const char *text)
{
    return strspn(text, "0123456789abcdef") == strlen(text);
}

/* Exactly `size` bytes as lower-case hex. */
static bool get_hex(const struct token_json *json, const char *name, uint8_t *out, size_t size)
{
    char text[128];

    return token_json_get(json, name, text, sizeof text) == TOKEN_JSON_FOUND && lower_hex(text) &&
           fly_hex_decode(text, strlen(text), out, size);
}

/* Both or none. */
static enum fly_status get_ca(const struct token_json *json, struct cluster_record *record,
                              struct fly_error *error)
{
    char text[128];

    if (token_json_get(json, "ca", text, sizeof text) == TOKEN_JSON_ABSENT &&
        token_json_get(json, "tls_ca_sha256", text, sizeof text) == TOKEN_JSON_ABSENT) {
        return FLY_OK;
    }
    if (!get_hex(json, "ca", record->ca, sizeof record->ca)) {
        return bad_member(error, "ca", "64 lower-case hex digits");
    }
    if (!get_hex(json, "tls_ca_sha256", record->tls_ca_hash, sizeof record->tls_ca_hash)) {
        return bad_member(error, "tls_ca_sha256", "64 lower-case hex digits");
    }
    record->has_ca = true;
    return FLY_OK;
}

enum fly_status cluster_record_decode(const void *data, size_t size, struct cluster_record *out,
                                      struct fly_error *error)
{
    struct cluster_record record = {0};
    struct token_json json;
    char text[128];
    uint8_t bytes[CLUSTER_ID_BYTES];

    if (size >= CLUSTER_FILE_MAX || !token_json_parse(data, size, &json)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "not a JSON object with unique keys");
    }
    if (token_json_get(&json, "format", text, sizeof text) != TOKEN_JSON_FOUND ||
        strncmp(text, record_family, sizeof record_family - 1) != 0) {
        return bad_member(error, "format", record_format);
    }
    if (strcmp(text, record_format) != 0) {
        return fly_error_set(error, FLY_UNIMPLEMENTED, "its format is %s; this program knows %s",
                             text, record_format);
    }
    if (token_json_get(&json, "cluster", record.id, sizeof record.id) != TOKEN_JSON_FOUND ||
        !lower_hex(record.id) ||
        !fly_hex_decode(record.id, strlen(record.id), bytes, CLUSTER_ID_BYTES)) {
        return bad_member(error, "cluster", "32 lower-case hex digits");
    }
    if (token_json_get(&json, "issuer", text, sizeof text) != TOKEN_JSON_FOUND ||
        !token_public_key_decode(text, strlen(text), &record.issuer)) {
        return bad_member(error, "issuer", "a k4.public key");
    }
    /* said twice so that a damaged key is noticed here and not as a refusal of every token */
    if (token_json_get(&json, "issuer_kid", text, sizeof text) != TOKEN_JSON_FOUND ||
        strcmp(text, token_key_id_of(&record.issuer).text) != 0) {
        return bad_member(error, "issuer_kid", "the id of the issuer's key");
    }
    if (token_json_get(&json, "root", text, sizeof text) != TOKEN_JSON_FOUND || !lower_hex(text) ||
        !fly_hex_decode(text, strlen(text), bytes, ROOT_BYTES)) {
        return bad_member(error, "root", "6 lower-case hex digits");
    }
    record.root_tag = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
    if (record.root_tag == 0) {
        return bad_member(error, "root", "a slice tag above 0");
    }
    if (token_json_get(&json, "created_at", text, sizeof text) != TOKEN_JSON_FOUND ||
        !token_time_parse(text, &record.created_ms)) {
        return bad_member(error, "created_at", "an RFC 3339 time");
    }
    enum fly_status status = get_ca(&json, &record, error);
    if (status == FLY_OK) {
        *out = record;
    }
    return status;
}

/* A file of one line: its size without the newline, which may be missing. */
static size_t line_size(const char *text, size_t size)
{
    return size > 0 && text[size - 1] == '\n' ? size - 1 : size;
}

size_t issuer_key_encode(const struct token_secret_key *key, char out[static CLUSTER_FILE_MAX])
{
    token_secret_key_encode(key, out);
    memcpy(out + TOKEN_SECRET_TEXT_SIZE - 1, "\n", 2);
    return TOKEN_SECRET_TEXT_SIZE;
}

enum fly_status issuer_key_decode(const void *data, size_t size, struct token_secret_key *out,
                                  struct fly_error *error)
{
    if (!token_secret_key_decode(data, line_size(data, size), out)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "not one line with a k4.secret key");
    }
    return FLY_OK;
}

size_t node_key_encode(const struct node_seed *seed, char out[static CLUSTER_FILE_MAX])
{
    memcpy(out, node_header, NODE_HEADER_SIZE);
    (void)base64_encode(seed->bytes, sizeof seed->bytes, out + NODE_HEADER_SIZE, NODE_DIGITS + 1);
    memcpy(out + NODE_HEADER_SIZE + NODE_DIGITS, "\n", 2);
    return NODE_HEADER_SIZE + NODE_DIGITS + 1;
}

enum fly_status node_key_decode(const void *data, size_t size, struct node_seed *out,
                                struct fly_error *error)
{
    const char *text = data;
    struct node_seed seed;
    size_t decoded = 0;
    bool ok = line_size(text, size) == NODE_HEADER_SIZE + NODE_DIGITS &&
              memcmp(text, node_header, NODE_HEADER_SIZE) == 0 &&
              base64_decode(text + NODE_HEADER_SIZE, NODE_DIGITS, seed.bytes, sizeof seed.bytes,
                            &decoded) &&
              decoded == sizeof seed.bytes;

    if (ok) {
        *out = seed;
    }
    sodium_memzero(&seed, sizeof seed);
    return ok ? FLY_OK
              : fly_error_set(error, FLY_INVALID_ARGUMENT, "not one line with a flynode key");
}
