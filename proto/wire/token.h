/*
 * token - PASETO v4.public and the PASERK forms of its keys: sign, verify, take apart.
 *
 *   v4.public.<base64url(payload ‖ Ed25519 signature)>[.<base64url(footer)>]
 *
 * The signature covers PAE(header, payload, footer, implicit assertion). There is no algorithm to
 * choose and keys of different purpose are different structs, so none can stand in for another
 * ("algorithm lucidity"). Base64url without padding, strict: one text for one run of bytes.
 * Reads no clock and judges no claim: see token_claims.h and node/edge/gate.h.
 *
 * Source: paseto-spec docs/01-Protocol-Versions/{Common,Version4}.md and
 * docs/02-Implementation-Guide/03-Algorithm-Lucidity.md; PASERK types/{pid,public,secret}.md. Pure.
 */
#ifndef FLY_WIRE_TOKEN_H
#define FLY_WIRE_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum {
    TOKEN_TEXT_MAX = 2048, /* characters, without the NUL */
    TOKEN_PAYLOAD_MAX = 1408,
    TOKEN_FOOTER_MAX = 256,
    TOKEN_IMPLICIT_MAX = 256,
    TOKEN_SEED_SIZE = 32,
    TOKEN_HASH_SIZE = 16,
    TOKEN_HASH_KEY_SIZE = 32,
    TOKEN_KID_SIZE = 52,         /* "k4.pid." and 44 characters, and the NUL */
    TOKEN_PUBLIC_TEXT_SIZE = 54, /* "k4.public." and 43, and the NUL */
    TOKEN_SECRET_TEXT_SIZE = 97, /* "k4.secret." and 86, and the NUL */
};

/* Ed25519 keys for v4.public and nothing else. */
struct token_public_key {
    uint8_t bytes[32];
};

struct token_secret_key {
    uint8_t bytes[64]; /* seed ‖ public key */
};

/* A public key's PASERK id, k4.pid.…: 33 bytes of BLAKE2b over the key's text. */
struct token_key_id {
    char text[TOKEN_KID_SIZE];
};

/* The parts of a token. */
struct token {
    uint8_t payload[TOKEN_PAYLOAD_MAX];
    size_t payload_size;
    uint8_t footer[TOKEN_FOOTER_MAX];
    size_t footer_size;
    uint8_t signature[64];
};

void token_secret_key_from_seed(const uint8_t seed[static TOKEN_SEED_SIZE],
                                struct token_secret_key *out);
struct token_public_key token_public_key_of(const struct token_secret_key *key);
struct token_key_id token_key_id_of(const struct token_public_key *key);
/* Overwrites the key; the compiler may not leave it out. */
void token_secret_key_wipe(struct token_secret_key *key);

/* PASERK texts. Decoding refuses (false, *out untouched) other types and versions, wrong lengths,
 * non-canonical base64, and a secret whose public half does not belong to its seed. */
void token_public_key_encode(const struct token_public_key *key,
                             char out[static TOKEN_PUBLIC_TEXT_SIZE]);
bool token_public_key_decode(const char *text, size_t size, struct token_public_key *out);
void token_secret_key_encode(const struct token_secret_key *key,
                             char out[static TOKEN_SECRET_TEXT_SIZE]);
bool token_secret_key_decode(const char *text, size_t size, struct token_secret_key *out);

/* Signs payload, footer and implicit assertion (the latter two may be empty, each at most its _MAX)
 * and writes the NUL-terminated text. Same input, same text: Ed25519 uses no randomness.
 * RESOURCE_EXHAUSTED when a part or the text does not fit. */
enum fly_status token_sign(const struct token_secret_key *key, struct fly_bytes payload,
                           struct fly_bytes footer, struct fly_bytes implicit,
                           char out[static TOKEN_TEXT_MAX + 1], struct fly_error *error);

/* Takes a token apart WITHOUT verifying it: nothing in *out may be believed. For showing a token to
 * its holder, and for refusing before any signature is checked. INVALID_ARGUMENT leaves *out
 * undefined. About 2 µs. */
enum fly_status token_peek(const char *text, size_t size, struct token *out,
                           struct fly_error *error);

/* Keyed BLAKE2b of a token's text, for finding it again without keeping it: who does not know the
 * key can neither aim at a hash nor tell tokens from it. */
void token_hash(const uint8_t key[static TOKEN_HASH_KEY_SIZE], const char *text, size_t size,
                uint8_t out[static TOKEN_HASH_SIZE]);

/* Whether `key` signed these parts with this implicit assertion. 55 to 135 µs. */
bool token_signed_by(const struct token *token, const struct token_public_key *key,
                     struct fly_bytes implicit);

/* token_peek, then token_signed_by: what is in *out afterwards may be believed.
 * INVALID_ARGUMENT: not a v4.public token. UNAUTHENTICATED: not signed by this key for this
 * implicit assertion; *out is wiped. */
enum fly_status token_verify(const struct token_public_key *key, const char *text, size_t size,
                             struct fly_bytes implicit, struct token *out, struct fly_error *error);

#endif
