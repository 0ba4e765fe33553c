/*
 * key - the 16-byte idempotency key of one launch, and the slice that decides it (DESIGN 4.1).
 *
 *   0    1            4                 8                          14        16
 *   +----+------------+-----------------+--------------------------+---------+
 *   | F1 | slice tag  | mint time, s    | random                   | check   |   minted, big-endian
 *   +----+------------+-----------------+--------------------------+---------+
 *   | 00 | BLAKE2b-120 of the text that a user gave                          |   hashed
 *   +----+-------------------------------------------------------------------+
 *
 * The check is the first two bytes of BLAKE2b over the fourteen before it: a mistyped key is
 * refused, never taken for a new one. home() is a pure function of the bytes; no view of the
 * cluster enters. Pure.
 */
#ifndef FLY_WIRE_KEY_H
#define FLY_WIRE_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FLY_KEY_SIZE = 16,
    FLY_KEY_RANDOM_SIZE = 6,
    FLY_KEY_TEXT_SIZE = 33, /* 32 hex digits and a NUL */
    FLY_KEY_TEXT_MAX = 256, /* longest text that key_from_text takes */
    FLY_TAG_MAX = 0xffffff, /* slice tags are 24 bits, 0 is none */
    FLY_DIGEST_SIZE = 16,
};

struct fly_key {
    uint8_t bytes[FLY_KEY_SIZE];
};

struct fly_digest {
    uint8_t bytes[FLY_DIGEST_SIZE];
};

/* tag: 1..FLY_TAG_MAX of a slice with room. mint_s: the minter's wall clock. */
void key_mint(struct fly_key *out, uint32_t tag, uint32_t mint_s,
              const uint8_t random[static FLY_KEY_RANDOM_SIZE]);
/* Any text of 1..FLY_KEY_TEXT_MAX bytes; false, and out untouched, on other sizes. */
bool key_from_text(const char *text, struct fly_key *out);
/* What a person gives: 32 hex digits of a well-formed key are that key, any other text is hashed.
 * 32 hex digits that start like a minted key but fail the check are refused (false). */
bool key_parse(const char *text, struct fly_key *out);
void key_format(const struct fly_key *key, char out[static FLY_KEY_TEXT_SIZE]);

/* Starts with 00, or with F1 and has a nonzero tag and the right check. */
bool key_valid(const struct fly_key *key);
/* FLY_CHECKs key_valid. A hashed key is at home in the root slice named by the cluster record. */
uint32_t key_home(const struct fly_key *key, uint32_t root_tag);
bool key_minted(const struct fly_key *key);
/* Seconds since the Unix epoch; 0 for hashed keys. */
uint32_t key_mint_s(const struct fly_key *key);
bool key_equal(const struct fly_key *a, const struct fly_key *b);

/* What a key record remembers of a launch: BLAKE2b-128 over region, size and name. */
void spec_digest(const char *region, uint32_t cores, uint64_t memory_bytes, const char *name,
                 struct fly_digest *out);

#endif
