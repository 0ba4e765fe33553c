/*
 * signin - who is signed in: sessions by cookie, and how often an address may try.
 *
 * A table in the caller's memory. A session's id is 256 random bits that only the browser keeps:
 * here stands its keyed hash, so neither the table nor the time a search takes tells an id. The
 * token stays here and is wiped when the session ends. No clock, no randomness of its own: both are
 * arguments. Source: OWASP, "Session Management Cheat Sheet"; GCRA: ITU-T I.371, Annex A.
 */
#ifndef FLY_DASH_SIGNIN_H
#define FLY_DASH_SIGNIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire/token.h"

enum {
    SIGNIN_SESSIONS_MAX = 4096,
    SIGNIN_ID_SIZE = 32,
    SIGNIN_ID_TEXT_SIZE = 44, /* base64url and the NUL */
    SIGNIN_HASH_SIZE = TOKEN_HASH_SIZE,
    SIGNIN_LIFE_MS = 12 * 60 * 60 * 1000,
    SIGNIN_FAILURES_A_MINUTE = 20, /* of one address; as many at once */
    SIGNIN_ADDRESSES_MAX = 4096,
};

struct signin;

/* A session that was found; `token` is borrowed until the next call that changes the table. */
struct signin_session {
    uint8_t hash[SIGNIN_HASH_SIZE];
    const char *token;
    size_t token_size;
    int64_t ends_ms;
};

size_t signin_size(void);
/* memory: signin_size bytes, zeroed, aligned for int64_t. `key` is secret and random. */
struct signin *signin_init(void *memory, const uint8_t key[static TOKEN_HASH_KEY_SIZE]);
/* Wipes all tokens. */
void signin_fini(struct signin *s);

/* A session for the token until min(token_ends_ms, now + 12 h); `random` becomes its id, whose text
 * is written. In a full table the oldest session ends. FLY_CHECKs size ≤ TOKEN_TEXT_MAX. */
void signin_put(struct signin *s, const char *token, size_t size, int64_t token_ends_ms,
                int64_t now_ms, const uint8_t random[static SIGNIN_ID_SIZE],
                char id[static SIGNIN_ID_TEXT_SIZE]);
/* False: no such session, or it has ended by now. */
bool signin_find(struct signin *s, const char *id, size_t size, int64_t now_ms,
                 struct signin_session *out);
void signin_drop(struct signin *s, const uint8_t hash[static SIGNIN_HASH_SIZE]);
/* Ends what ended by itself; O(table), for a timer. */
void signin_tick(struct signin *s, int64_t now_ms);
uint32_t signin_count(const struct signin *s);

/* An address may try: *wait_ms is 0, or how long it must wait. `address` is any number that stands
 * for it. Only failures count: signin_failed. A full table forgets who failed longest ago. */
bool signin_may_try(const struct signin *s, uint64_t address, int64_t now_ms, int64_t *wait_ms);
void signin_failed(struct signin *s, uint64_t address, int64_t now_ms);

#endif
