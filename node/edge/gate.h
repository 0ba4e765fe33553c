/*
 * gate - who stands at the edge and what they may do.
 *
 * A token is looked at in the order of what looking costs, and most junk never reaches Ed25519:
 *
 *   size, prefix ▸ cache of good tokens ▸ cache of bad ones ▸ base64 ▸ key id known? ▸ claims and
 *   times ▸ budget of signature checks ▸ signature
 *
 * Steps before the signature only refuse. Both caches are found by a keyed BLAKE2b of the text, so
 * nobody can aim at a slot, and keep no token; junk cannot push a good token out. A token that is
 * cached costs about 1 µs, and never waits for the budget. Good entries live until they expire. A
 * changed issuer list needs a new gate.
 *
 * Times are the wall clock's, from the caller. Source: DESIGN 3.9, 9; reference/edge.md 1.5. Pure.
 */
#ifndef FLY_EDGE_GATE_H
#define FLY_EDGE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/token.h"
#include "proto/wire/token_claims.h"

enum {
    GATE_ISSUERS_MAX = 4,
    GATE_CLUSTER_SIZE = 33, /* 32 hex digits and the NUL */
    GATE_CACHE_WAYS = 4,
    GATE_GOOD_SETS = 256,       /* 1,024 tokens */
    GATE_BAD_SETS = 64,         /* 256 tokens */
    GATE_LEEWAY_MS = 60 * 1000, /* an issuer's clock may be ahead of ours by this much */
};

#define GATE_LIFETIME_MAX_MS (INT64_C(366) * 24 * 3600 * 1000)

/* Values equal fly.v1.Reason. */
enum gate_reason {
    GATE_NONE = 0,
    GATE_RATE = 5,
    GATE_TOKEN_MISSING = 15,
    GATE_TOKEN_INVALID = 16,
    GATE_TOKEN_EXPIRED = 17,
    GATE_SCOPE_MISSING = 18,
};

/* Why not, with words that name what was wrong and what to do; never the token. */
struct gate_refusal {
    enum gate_reason reason;
    struct fly_error error;
};

/* Who a connection speaks for. All zero: nobody, who may call nothing that gate_check guards. */
struct gate_peer {
    char subject[TOKEN_SUBJECT_SIZE];
    char id[TOKEN_ID_SIZE]; /* jti */
    uint32_t scopes;        /* set of enum token_scope */
    int64_t expires_ms;
};

struct gate_config {
    char cluster[GATE_CLUSTER_SIZE]; /* the implicit assertion */
    struct token_public_key issuers[GATE_ISSUERS_MAX];
    uint32_t issuer_count;
    uint8_t hash_key[TOKEN_HASH_KEY_SIZE]; /* random, secret, of this process */
    uint32_t verify_per_s;                 /* signature checks; 0: no limit */
    uint32_t verify_burst;
};

struct gate_stats {
    uint64_t good_hits;
    uint64_t bad_hits;
    uint64_t verified; /* signature checks made */
    uint64_t refused_missing;
    uint64_t refused_invalid;
    uint64_t refused_expired;
    uint64_t refused_rate;
    uint64_t refused_scope;
};

struct gate_good {
    uint8_t hash[TOKEN_HASH_SIZE];
    uint64_t used; /* turn of its last use; 0: empty */
    int64_t valid_from_ms;
    struct gate_peer peer;
};

struct gate_bad {
    uint8_t hash[TOKEN_HASH_SIZE];
    uint64_t used;
};

/* Caller's memory, about 200 KB; fields are private but for `stats`. */
struct gate {
    struct gate_config config;
    struct token_key_id kids[GATE_ISSUERS_MAX];
    struct gate_stats stats;
    uint64_t turn;
    int64_t budget_us; /* of time saved up: one check takes 1,000,000 / verify_per_s */
    int64_t budget_at_ms;
    struct gate_good good[GATE_GOOD_SETS][GATE_CACHE_WAYS];
    struct gate_bad bad[GATE_BAD_SETS][GATE_CACHE_WAYS];
};

/* FLY_CHECKs the counts and the form of the cluster id. */
void gate_init(struct gate *gate, const struct gate_config *config);

/* Fills *out with who the token speaks for at `now_ms` of the wall clock.
 * UNAUTHENTICATED: missing, invalid or expired. RESOURCE_EXHAUSTED: too many unknown tokens are
 * being checked; the same token may be tried again. *out is all zero then and `refusal` (may be
 * NULL) says why. The token was good now: whoever keeps a peer asks gate_check on every call. */
enum fly_status gate_admit(struct gate *gate, int64_t now_ms, const char *text, size_t size,
                           struct gate_peer *out, struct gate_refusal *refusal);

/* Whether the peer may do now what needs `scope` (one of enum token_scope).
 * UNAUTHENTICATED: nobody, or expired meanwhile. PERMISSION_DENIED: without that scope. */
enum fly_status gate_check(struct gate *gate, const struct gate_peer *peer, int64_t now_ms,
                           enum token_scope scope, struct gate_refusal *refusal);

#endif
