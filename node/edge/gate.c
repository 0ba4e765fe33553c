#include "node/edge/gate.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/time.h"

#include "fly/v1/common.pb-c.h"

_Static_assert((int)GATE_RATE == (int)FLY__V1__REASON__REASON_RATE, "reason");
_Static_assert((int)GATE_TOKEN_MISSING == (int)FLY__V1__REASON__REASON_TOKEN_MISSING, "reason");
_Static_assert((int)GATE_TOKEN_INVALID == (int)FLY__V1__REASON__REASON_TOKEN_INVALID, "reason");
_Static_assert((int)GATE_TOKEN_EXPIRED == (int)FLY__V1__REASON__REASON_TOKEN_EXPIRED, "reason");
_Static_assert((int)GATE_SCOPE_MISSING == (int)FLY__V1__REASON__REASON_SCOPE_MISSING, "reason");

static struct fly_bytes implicit_of(const struct gate *gate)
{
    return (struct fly_bytes){(const uint8_t *)gate->config.cluster, GATE_CLUSTER_SIZE - 1};
}

void gate_init(struct gate *gate, const struct gate_config *config)
{
    FLY_CHECK(config->issuer_count >= 1 && config->issuer_count <= GATE_ISSUERS_MAX);
    FLY_CHECK(strnlen(config->cluster, GATE_CLUSTER_SIZE) == GATE_CLUSTER_SIZE - 1);
    FLY_CHECK(config->verify_per_s == 0 ||
              (config->verify_per_s <= 1000000 && config->verify_burst >= 1));
    memset(gate, 0, sizeof *gate);
    gate->config = *config;
    for (uint32_t i = 0; i < config->issuer_count; i++) {
        gate->kids[i] = token_key_id_of(&config->issuers[i]);
    }
    gate->budget_at_ms = INT64_MIN;
}

/* --- refusals --- */

__attribute__((format(printf, 4, 5))) static enum fly_status refuse(struct gate_refusal *refusal,
                                                                    enum fly_status status,
                                                                    enum gate_reason reason,
                                                                    const char *format, ...)
{
    if (refusal != NULL) {
        va_list args;
        refusal->reason = reason;
        refusal->error.status = status;
        va_start(args, format);
        (void)vsnprintf(refusal->error.text, sizeof refusal->error.text, format, args);
        va_end(args);
    }
    return status;
}

static enum fly_status refuse_missing(struct gate *gate, struct gate_refusal *refusal)
{
    gate->stats.refused_missing++;
    return refuse(refusal, FLY_UNAUTHENTICATED, GATE_TOKEN_MISSING,
                  "no token was given; make one with: flyrpc token create");
}

static enum fly_status refuse_expired(struct gate *gate, int64_t expires_ms,
                                      struct gate_refusal *refusal)
{
    char expires[FLY_TIME_TEXT_SIZE];

    gate->stats.refused_expired++;
    fly_time_format(expires_ms, expires);
    return refuse(refusal, FLY_UNAUTHENTICATED, GATE_TOKEN_EXPIRED, "token expired at %s", expires);
}

static enum fly_status refuse_early(struct gate *gate, int64_t valid_from_ms, int64_t now_ms,
                                    struct gate_refusal *refusal)
{
    char from[FLY_TIME_TEXT_SIZE];
    char now[FLY_TIME_TEXT_SIZE];

    gate->stats.refused_invalid++;
    fly_time_format(valid_from_ms, from);
    fly_time_format(now_ms, now);
    return refuse(refusal, FLY_UNAUTHENTICATED, GATE_TOKEN_INVALID,
                  "token is not valid before %s, and here it is %s", from, now);
}

static enum fly_status refuse_invalid(struct gate *gate, const char *why,
                                      struct gate_refusal *refusal)
{
    gate->stats.refused_invalid++;
    return refuse(refusal, FLY_UNAUTHENTICATED, GATE_TOKEN_INVALID, "%s", why);
}

/* --- caches --- */

static size_t set_of(const uint8_t *hash, size_t sets)
{
    return ((size_t)hash[0] << 8 | hash[1]) % sets;
}

static struct gate_good *find_good(struct gate *gate, const uint8_t *hash)
{
    struct gate_good *set = gate->good[set_of(hash, GATE_GOOD_SETS)];

    for (size_t i = 0; i < GATE_CACHE_WAYS; i++) {
        if (set[i].used != 0 && memcmp(set[i].hash, hash, TOKEN_HASH_SIZE) == 0) {
            set[i].used = ++gate->turn;
            return &set[i];
        }
    }
    return NULL;
}

/* Takes the place that is empty or was used longest ago. */
static void put_good(struct gate *gate, const uint8_t *hash, int64_t valid_from_ms,
                     const struct gate_peer *peer)
{
    struct gate_good *set = gate->good[set_of(hash, GATE_GOOD_SETS)];
    struct gate_good *oldest = &set[0];

    for (size_t i = 1; i < GATE_CACHE_WAYS; i++) {
        oldest = set[i].used < oldest->used ? &set[i] : oldest;
    }
    *oldest =
        (struct gate_good){.used = ++gate->turn, .valid_from_ms = valid_from_ms, .peer = *peer};
    memcpy(oldest->hash, hash, TOKEN_HASH_SIZE);
}

static bool find_bad(struct gate *gate, const uint8_t *hash)
{
    struct gate_bad *set = gate->bad[set_of(hash, GATE_BAD_SETS)];

    for (size_t i = 0; i < GATE_CACHE_WAYS; i++) {
        if (set[i].used != 0 && memcmp(set[i].hash, hash, TOKEN_HASH_SIZE) == 0) {
            set[i].used = ++gate->turn;
            return true;
        }
    }
    return false;
}

static void put_bad(struct gate *gate, const uint8_t *hash)
{
    struct gate_bad *set = gate->bad[set_of(hash, GATE_BAD_SETS)];
    struct gate_bad *oldest = &set[0];

    for (size_t i = 1; i < GATE_CACHE_WAYS; i++) {
        oldest = set[i].used < oldest->used ? &set[i] : oldest;
    }
    oldest->used = ++gate->turn;
    memcpy(oldest->hash, hash, TOKEN_HASH_SIZE);
}

/* --- admitting --- */

/* A token bucket in units of time (GCRA): one check costs 1/verify_per_s of a second. A wall clock
 * that jumps back gives nothing and takes nothing. */
static bool take_check(struct gate *gate, int64_t now_ms)
{
    const struct gate_config *config = &gate->config;

    if (config->verify_per_s == 0) {
        return true;
    }
    const int64_t cost_us = 1000000 / config->verify_per_s;
    const int64_t full_us = cost_us * config->verify_burst;
    if (gate->budget_at_ms == INT64_MIN || now_ms - gate->budget_at_ms > full_us / 1000 + 1) {
        gate->budget_us = full_us;
    } else if (now_ms > gate->budget_at_ms) {
        gate->budget_us += (now_ms - gate->budget_at_ms) * 1000;
        gate->budget_us = gate->budget_us < full_us ? gate->budget_us : full_us;
    }
    gate->budget_at_ms = now_ms;
    if (gate->budget_us < cost_us) {
        return false;
    }
    gate->budget_us -= cost_us;
    return true;
}

static const struct token_public_key *find_issuer(const struct gate *gate,
                                                  const struct token *token)
{
    struct token_key_id kid;

    if (!token_footer_decode(token->footer, token->footer_size, &kid)) {
        return NULL;
    }
    for (uint32_t i = 0; i < gate->config.issuer_count; i++) {
        if (strcmp(kid.text, gate->kids[i].text) == 0) {
            return &gate->config.issuers[i];
        }
    }
    return NULL;
}

/* What time says about a token; asked again at each use, as the clock moves. */
static enum fly_status check_times(struct gate *gate, int64_t now_ms, int64_t valid_from_ms,
                                   int64_t expires_ms, struct gate_refusal *refusal)
{
    if (now_ms >= expires_ms) {
        return refuse_expired(gate, expires_ms, refusal);
    }
    if (valid_from_ms - GATE_LEEWAY_MS > now_ms) {
        return refuse_early(gate, valid_from_ms, now_ms, refusal);
    }
    return FLY_OK;
}

static enum fly_status admit_unknown(struct gate *gate, int64_t now_ms, const char *text,
                                     size_t size, const uint8_t *hash, struct gate_peer *out,
                                     struct gate_refusal *refusal)
{
    struct token token;
    struct token_claims claims;
    struct fly_error error;

    if (token_peek(text, size, &token, &error) != FLY_OK) {
        return refuse_invalid(gate, error.text, refusal);
    }
    const struct token_public_key *issuer = find_issuer(gate, &token);
    if (issuer == NULL) {
        return refuse_invalid(gate, "token: its issuer's key is not one of this cluster", refusal);
    }
    if (token_claims_decode(token.payload, token.payload_size, &claims, &error) != FLY_OK) {
        return refuse_invalid(gate, error.text, refusal);
    }
    if (claims.expires_ms - claims.issued_ms > GATE_LIFETIME_MAX_MS) {
        return refuse_invalid(gate, "token: lives longer than a year", refusal);
    }
    int64_t valid_from_ms =
        claims.not_before_ms > claims.issued_ms ? claims.not_before_ms : claims.issued_ms;
    enum fly_status status = check_times(gate, now_ms, valid_from_ms, claims.expires_ms, refusal);
    if (status != FLY_OK) {
        return status;
    }
    if (!take_check(gate, now_ms)) {
        gate->stats.refused_rate++;
        return refuse(refusal, FLY_RESOURCE_EXHAUSTED, GATE_RATE,
                      "too many new tokens at once; try this one again");
    }
    gate->stats.verified++;
    if (!token_signed_by(&token, issuer, implicit_of(gate))) {
        put_bad(gate, hash);
        return refuse_invalid(gate, "token: not signed by this issuer for this cluster", refusal);
    }
    memcpy(out->subject, claims.subject, sizeof out->subject);
    memcpy(out->id, claims.id, sizeof out->id);
    out->scopes = claims.scopes;
    out->expires_ms = claims.expires_ms;
    put_good(gate, hash, valid_from_ms, out);
    return FLY_OK;
}

enum fly_status gate_admit(struct gate *gate, int64_t now_ms, const char *text, size_t size,
                           struct gate_peer *out, struct gate_refusal *refusal)
{
    static const char prefix[] = "v4.public.";
    uint8_t hash[TOKEN_HASH_SIZE];

    memset(out, 0, sizeof *out);
    if (size == 0) {
        return refuse_missing(gate, refusal);
    }
    if (size > TOKEN_TEXT_MAX || size < sizeof prefix - 1 ||
        memcmp(text, prefix, sizeof prefix - 1) != 0) {
        return refuse_invalid(gate, "token: not a v4.public token of at most 2048 characters",
                              refusal);
    }
    token_hash(gate->config.hash_key, text, size, hash);
    struct gate_good *good = find_good(gate, hash);
    if (good != NULL) {
        gate->stats.good_hits++;
        enum fly_status status =
            check_times(gate, now_ms, good->valid_from_ms, good->peer.expires_ms, refusal);
        if (status == FLY_OK) {
            *out = good->peer;
        }
        return status;
    }
    if (find_bad(gate, hash)) {
        gate->stats.bad_hits++;
        return refuse_invalid(gate, "token: not signed by this issuer for this cluster", refusal);
    }
    return admit_unknown(gate, now_ms, text, size, hash, out, refusal);
}

enum fly_status gate_check(struct gate *gate, const struct gate_peer *peer, int64_t now_ms,
                           enum token_scope scope, struct gate_refusal *refusal)
{
    char needed[TOKEN_SCOPES_TEXT_SIZE];
    char has[TOKEN_SCOPES_TEXT_SIZE];

    if (peer->subject[0] == '\0') {
        return refuse_missing(gate, refusal);
    }
    if (now_ms >= peer->expires_ms) {
        return refuse_expired(gate, peer->expires_ms, refusal);
    }
    if ((peer->scopes & (uint32_t)scope) == (uint32_t)scope) {
        return FLY_OK;
    }
    gate->stats.refused_scope++;
    token_scopes_format((uint32_t)scope, ',', needed);
    token_scopes_format(peer->scopes, ',', has);
    return refuse(refusal, FLY_PERMISSION_DENIED, GATE_SCOPE_MISSING,
                  "token lacks scope %s; it has %s", needed, has[0] != '\0' ? has : "none");
}
