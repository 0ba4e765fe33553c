#include "proto/wire/keyfile.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/wire/base64.h"

static const char ca_header[] = "flyca-ed25519-1.";
static const char admission_key_header[] = "flyadmission-ed25519-1.";
static const char admission_header[] = "flyadmission-1.";
static const char credential_header[] = "flycredential-1.";
static const char gossip_header[] = "flygossip-1.";

enum { SEED_SIZE = 32, GENERATION_DIGITS_MAX = 10 };

/* --- one line: header, base64url, newline --- */

static size_t put_line(const char *header, const void *data, size_t size, char *out, size_t max)
{
    size_t header_size = strlen(header);

    FLY_CHECK(header_size + base64_size(size) + 2 <= max);
    memcpy(out, header, header_size);
    size_t used = header_size + base64_encode(data, size, out + header_size, max - header_size);
    memcpy(out + used, "\n", 2);
    return used + 1;
}

/* `size` without the newline. False: not this header and strict digits of at most `max` bytes. */
static bool get_line(const char *header, const char *text, size_t size, uint8_t *out, size_t max,
                     size_t *out_size)
{
    size_t header_size = strlen(header);

    return size > header_size && memcmp(text, header, header_size) == 0 &&
           base64_decode(text + header_size, size - header_size, out, max, out_size);
}

/* A file of one line: its size without the newline, which may be missing. */
static size_t line_size(const char *text, size_t size)
{
    return size > 0 && text[size - 1] == '\n' ? size - 1 : size;
}

static enum fly_status not_a(struct fly_error *error, const char *what)
{
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "not one line with %s", what);
}

/* --- seeds --- */

static const char *key_header(enum keyfile_kind kind)
{
    return kind == KEYFILE_KIND_CA ? ca_header : admission_key_header;
}

size_t authority_key_encode(enum keyfile_kind kind, const struct authority_keys *keys,
                            char out[static CLUSTER_FILE_MAX])
{
    /* libsodium's secret key begins with its seed */
    return put_line(key_header(kind), keys->secret, SEED_SIZE, out, CLUSTER_FILE_MAX);
}

enum fly_status authority_key_decode(enum keyfile_kind kind, const void *data, size_t size,
                                     struct authority_keys *out, struct fly_error *error)
{
    uint8_t seed[SEED_SIZE];
    size_t decoded = 0;
    bool ok =
        get_line(key_header(kind), data, line_size(data, size), seed, sizeof seed, &decoded) &&
        decoded == sizeof seed;

    if (ok) {
        authority_keys_from_seed(seed, out);
    }
    sodium_memzero(seed, sizeof seed);
    return ok ? FLY_OK : not_a(error, kind == KEYFILE_KIND_CA ? "a CA key" : "an admission key");
}

/* --- records --- */

size_t admission_file_encode(const struct admission *a, char out[static CLUSTER_FILE_MAX])
{
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    size_t size = admission_encode(a, bytes);

    return put_line(admission_header, bytes, size, out, CLUSTER_FILE_MAX);
}

enum fly_status admission_file_decode(const void *data, size_t size, struct admission *out,
                                      struct fly_error *error)
{
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    size_t decoded = 0;

    return get_line(admission_header, data, line_size(data, size), bytes, sizeof bytes, &decoded)
               ? admission_decode(bytes, decoded, out, error)
               : not_a(error, "an admission");
}

size_t credential_file_encode(const struct credential *c, char out[static CLUSTER_FILE_MAX])
{
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    size_t size = credential_encode(c, bytes);

    return put_line(credential_header, bytes, size, out, CLUSTER_FILE_MAX);
}

enum fly_status credential_file_decode(const void *data, size_t size, struct credential *out,
                                       struct fly_error *error)
{
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    size_t decoded = 0;

    return get_line(credential_header, data, line_size(data, size), bytes, sizeof bytes, &decoded)
               ? credential_decode(bytes, decoded, out, error)
               : not_a(error, "a credential");
}

/* --- the group's keys --- */

size_t gossip_key_encode(const struct seal_ring *ring, char out[static CLUSTER_FILE_MAX])
{
    size_t used = 0;

    FLY_CHECK(ring->count >= 1 && ring->count <= SEAL_KEYS_MAX);
    for (size_t i = 0; i < ring->count; i++) {
        char header[sizeof gossip_header + 4];
        (void)snprintf(header, sizeof header, "%s%02x.", gossip_header, ring->ids[i]);
        used += put_line(header, ring->keys[i], SEAL_KEY_SIZE, out + used, CLUSTER_FILE_MAX - used);
    }
    return used;
}

static bool get_gossip_line(const char *text, size_t size, struct seal_ring *ring)
{
    const size_t header_size = sizeof gossip_header - 1;
    uint8_t *id = &ring->ids[ring->count];
    size_t decoded = 0;

    if (size < header_size + 3 || memcmp(text, gossip_header, header_size) != 0 ||
        memchr("0123456789abcdef", text[header_size], 16) == NULL ||
        memchr("0123456789abcdef", text[header_size + 1], 16) == NULL ||
        !fly_hex_decode(text + header_size, 2, id, 1) || text[header_size + 2] != '.' ||
        !base64_decode(text + header_size + 3, size - header_size - 3, ring->keys[ring->count],
                       SEAL_KEY_SIZE, &decoded) ||
        decoded != SEAL_KEY_SIZE || memchr(ring->ids, *id, ring->count) != NULL) {
        return false;
    }
    ring->count++;
    return true;
}

enum fly_status gossip_key_decode(const void *data, size_t size, struct seal_ring *out,
                                  struct fly_error *error)
{
    const char *text = data;
    size_t left = line_size(data, size);
    struct seal_ring ring = {.count = 0};
    bool ok = true;
    bool ended = false;

    while (ok && !ended && ring.count < SEAL_KEYS_MAX) {
        const char *end = memchr(text, '\n', left);
        size_t line = end != NULL ? (size_t)(end - text) : left;
        ok = get_gossip_line(text, line, &ring);
        ended = end == NULL;
        text += ended ? 0 : line + 1;
        left -= ended ? 0 : line + 1;
    }
    ok = ok && ended;
    if (ok) {
        *out = ring;
    }
    sodium_memzero(&ring, sizeof ring);
    return ok ? FLY_OK
              : fly_error_set(error, FLY_INVALID_ARGUMENT,
                              "not 1 to %d lines with gossip keys of different ids", SEAL_KEYS_MAX);
}

/* --- generation --- */

size_t generation_encode(uint32_t generation, char out[static CLUSTER_FILE_MAX])
{
    return (size_t)snprintf(out, CLUSTER_FILE_MAX, "%u\n", (unsigned)generation);
}

enum fly_status generation_decode(const void *data, size_t size, uint32_t *out,
                                  struct fly_error *error)
{
    const char *text = data;
    size_t digits = line_size(data, size);
    uint64_t value = 0;

    if (digits == 0 || digits > GENERATION_DIGITS_MAX) {
        return not_a(error, "a number");
    }
    for (size_t i = 0; i < digits; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return not_a(error, "a number");
        }
        value = 10 * value + (uint64_t)(text[i] - '0');
    }
    if (value > UINT32_MAX) {
        return not_a(error, "a number of 32 bits");
    }
    *out = (uint32_t)value;
    return FLY_OK;
}
