/*
 * token_claims - what a user's token says: who, until when, what for.
 *
 *   {"iss":"flylight","sub":"ada","jti":"<32 hex digits>","iat":"<RFC 3339>","nbf":"<RFC 3339>",
 *    "exp":"<RFC 3339>","scope":"launch read"}      footer {"kid":"k4.pid.…"}
 *
 * `scope` is words with single spaces between them, as in OAuth (RFC 8693, 4.2). The implicit
 * assertion of every user token is the cluster's id, 32 hex digits: a token means nothing in
 * another cluster. Claims nobody here knows are passed over, scopes nobody here knows grant
 * nothing. Source: paseto-spec docs/02-Implementation-Guide/04-Claims.md; RFC 3339. Pure: what the
 * times mean for now is the gate's business.
 */
#ifndef FLY_WIRE_TOKEN_CLAIMS_H
#define FLY_WIRE_TOKEN_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/wire/token.h"

enum {
    TOKEN_SUBJECT_SIZE = 64, /* [a-z0-9-]{1,63} and the NUL */
    TOKEN_ISSUER_SIZE = 64,
    TOKEN_ID_SIZE = 65,
    TOKEN_SCOPES_TEXT_SIZE = 64, /* all scopes' names, separated, and the NUL */
};

/* Bits of a set; none implies another, admin neither. */
enum token_scope {
    TOKEN_SCOPE_REGIONS = 1 << 0,
    TOKEN_SCOPE_LAUNCH = 1 << 1,
    TOKEN_SCOPE_READ = 1 << 2,
    TOKEN_SCOPE_DESTROY = 1 << 3,
    TOKEN_SCOPE_WATCH = 1 << 4,
    TOKEN_SCOPE_ADMIN = 1 << 5,
    TOKEN_SCOPE_ALL = (1 << 6) - 1,
};

struct token_claims {
    char issuer[TOKEN_ISSUER_SIZE]; /* may be empty */
    char subject[TOKEN_SUBJECT_SIZE];
    char id[TOKEN_ID_SIZE]; /* jti: any printable ASCII; ours are 32 hex digits */
    int64_t issued_ms;      /* times are Unix milliseconds */
    int64_t not_before_ms;  /* issued_ms when the claim is missing */
    int64_t expires_ms;
    uint32_t scopes; /* set of enum token_scope */
};

/* Writes the JSON without a NUL; returns its size. FLY_CHECKs what decode would refuse: these come
 * from a program, which asks fly_name_ok and token_scopes_parse first. */
size_t token_claims_encode(const struct token_claims *claims,
                           uint8_t out[static TOKEN_PAYLOAD_MAX]);

/* sub, jti, iat, exp and scope are required. INVALID_ARGUMENT names the claim that is missing or
 * malformed, *out untouched. */
enum fly_status token_claims_decode(const void *payload, size_t size, struct token_claims *out,
                                    struct fly_error *error);

/* {"kid":"k4.pid.…"}: returns its size. */
size_t token_footer_encode(const struct token_key_id *kid, uint8_t out[static TOKEN_FOOTER_MAX]);
/* False, *out untouched: not a JSON object, or without a `kid` of the form of a k4.pid. */
bool token_footer_decode(const void *footer, size_t size, struct token_key_id *out);

/* Names with single `separator`s between them ("launch,read"); false on an unknown or empty name or
 * none at all, *out untouched. */
bool token_scopes_parse(const char *text, char separator, uint32_t *out);
/* In the order of the enum; "" for none. */
void token_scopes_format(uint32_t scopes, char separator, char out[static TOKEN_SCOPES_TEXT_SIZE]);

/* RFC 3339 with any offset and any number of decimals (cut to milliseconds), years 1970..9999. */
bool token_time_parse(const char *text, int64_t *out_ms);

#endif
