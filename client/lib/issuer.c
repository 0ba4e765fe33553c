#include "client/lib/issuer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "proto/base/check.h"
#include "proto/base/id.h"

/* A small file that belongs to a state folder; `secret` ones may be for nobody else. */
static enum fly_status read_file(const char *dir, const char *name, bool secret,
                                 char out[static CLUSTER_FILE_MAX], size_t *out_size,
                                 struct fly_error *error)
{
    char path[4096];
    struct stat info;

    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "the state folder's name is too long");
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return fly_error_set(error,
                             errno == ENOENT   ? FLY_NOT_FOUND
                             : errno == EACCES ? FLY_PERMISSION_DENIED
                                               : FLY_INTERNAL,
                             "%s: %s", path, strerror(errno));
    }
    enum fly_status status = FLY_OK;
    ssize_t size = -1;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = fly_error_set(error, FLY_FAILED_PRECONDITION, "%s: not a file", path);
    } else if (secret && (info.st_mode & 077) != 0) {
        status = fly_error_set(error, FLY_FAILED_PRECONDITION,
                               "%s: others may read it (mode %03o); run: chmod 600 %s", path,
                               (unsigned)(info.st_mode & 07777), path);
    } else {
        size = read(fd, out, CLUSTER_FILE_MAX);
        if (size < 0 || size == CLUSTER_FILE_MAX) {
            status = fly_error_set(error, size < 0 ? FLY_INTERNAL : FLY_INVALID_ARGUMENT, "%s: %s",
                                   path, size < 0 ? strerror(errno) : "too long to be ours");
        }
    }
    (void)close(fd);
    *out_size = size > 0 ? (size_t)size : 0;
    return status;
}

static enum fly_status named(enum fly_status status, const char *dir, const char *name,
                             struct fly_error *error)
{
    return status != FLY_OK && error != NULL ? fly_error_wrap(error, "%s/%s", dir, name) : status;
}

enum fly_status issuer_open(const char *dir, struct issuer *out, struct fly_error *error)
{
    char text[CLUSTER_FILE_MAX];
    size_t size = 0;

    memset(out, 0, sizeof *out);
    if (sodium_init() < 0) {
        return fly_error_set(error, FLY_INTERNAL, "libsodium finds no randomness");
    }
    enum fly_status status = read_file(dir, CLUSTER_RECORD_FILE, false, text, &size, error);
    if (status == FLY_OK) {
        status = named(cluster_record_decode(text, size, &out->record, error), dir,
                       CLUSTER_RECORD_FILE, error);
    }
    if (status == FLY_OK) {
        status = read_file(dir, CLUSTER_ISSUER_FILE, true, text, &size, error);
    }
    if (status == FLY_OK) {
        status =
            named(issuer_key_decode(text, size, &out->key, error), dir, CLUSTER_ISSUER_FILE, error);
    }
    if (status == FLY_OK) {
        struct token_public_key key = token_public_key_of(&out->key);
        if (memcmp(&key, &out->record.issuer, sizeof key) != 0) {
            status =
                fly_error_set(error, FLY_FAILED_PRECONDITION, "%s/%s: not the issuer that %s names",
                              dir, CLUSTER_ISSUER_FILE, CLUSTER_RECORD_FILE);
        }
    }
    sodium_memzero(text, sizeof text);
    if (status != FLY_OK) {
        issuer_close(out);
    }
    return status;
}

void issuer_close(struct issuer *issuer)
{
    sodium_memzero(issuer, sizeof *issuer);
}

enum fly_status issuer_token(const struct issuer *issuer, const char *subject, uint32_t scopes,
                             int64_t ttl_ms, int64_t now_ms, char out[static TOKEN_TEXT_MAX + 1],
                             struct token_claims *claims, struct fly_error *error)
{
    struct token_claims made = {.issuer = "flylight", .scopes = scopes};
    struct token_key_id kid = token_key_id_of(&issuer->record.issuer);
    uint8_t payload[TOKEN_PAYLOAD_MAX];
    uint8_t footer[TOKEN_FOOTER_MAX];
    uint8_t random[16];

    if (!fly_name_ok(subject)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "subject must be of a-z, 0-9 and -, 1 to 63 of them");
    }
    if (scopes == 0 || (scopes & ~(uint32_t)TOKEN_SCOPE_ALL) != 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "a token needs at least one scope");
    }
    if (ttl_ms < 1000 || ttl_ms > ISSUER_TTL_MAX_MS) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "ttl must be from 1s to 365d");
    }
    (void)fly_copy_string(made.subject, sizeof made.subject, subject);
    randombytes_buf(random, sizeof random);
    fly_hex_encode(random, sizeof random, made.id);
    made.issued_ms = now_ms;
    made.not_before_ms = now_ms;
    made.expires_ms = now_ms + ttl_ms;
    if (claims != NULL) {
        *claims = made;
    }
    const struct fly_bytes implicit = {(const uint8_t *)issuer->record.id, CLUSTER_ID_SIZE - 1};
    const struct fly_bytes payload_bytes = {payload, token_claims_encode(&made, payload)};
    const struct fly_bytes footer_bytes = {footer, token_footer_encode(&kid, footer)};
    return token_sign(&issuer->key, payload_bytes, footer_bytes, implicit, out, error);
}
