/*
 * issuer - makes user tokens from a state folder: reads cluster.json and issuer.key, signs.
 *
 * `flyrpc token create --state DIR`. Reads the forms of proto/wire/cluster.h and changes nothing;
 * a node may run on the folder meanwhile. A key file that others may read is refused, as ssh does.
 * Shell: files and libsodium's randomness. The key is wiped by issuer_close and never printed.
 */
#ifndef FLY_CLIENT_ISSUER_H
#define FLY_CLIENT_ISSUER_H

#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/cluster.h"
#include "proto/wire/token.h"
#include "proto/wire/token_claims.h"

struct issuer {
    struct cluster_record record;
    struct token_secret_key key;
};

#define ISSUER_TTL_MAX_MS (INT64_C(365) * 24 * 3600 * 1000)

/* NOT_FOUND: no identity there, or one without issuer.key; FAILED_PRECONDITION: wrong mode or keys
 * that do not belong together; INVALID_ARGUMENT, UNIMPLEMENTED: content. Nothing to close then. */
enum fly_status issuer_open(const char *dir, struct issuer *out, struct fly_error *error);
void issuer_close(struct issuer *issuer);

/* A token for `subject` ([a-z0-9-]{1,63}) with a fresh jti, valid from now for ttl_ms
 * (1 s .. ISSUER_TTL_MAX_MS) of the wall clock. `claims` (may be NULL) receives what was signed.
 * INVALID_ARGUMENT: subject, scopes or ttl. */
enum fly_status issuer_token(const struct issuer *issuer, const char *subject, uint32_t scopes,
                             int64_t ttl_ms, int64_t now_ms, char out[static TOKEN_TEXT_MAX + 1],
                             struct token_claims *claims, struct fly_error *error);

#endif
