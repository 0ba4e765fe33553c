#include "proto/wire/retry.h"

#include "proto/base/check.h"
#include "proto/wire/metadata.h"

enum { TOKEN = 1000, TOKENS_MAX = 4000000 };

/* ---- the throttle ---- */

void retry_throttle_init(struct retry_throttle *throttle, uint32_t max_tokens,
                         uint32_t ratio_thousandths)
{
    throttle->max = (max_tokens < TOKENS_MAX ? max_tokens : TOKENS_MAX) * TOKEN;
    throttle->ratio = ratio_thousandths < throttle->max ? ratio_thousandths : throttle->max;
    throttle->tokens = throttle->max;
}

void retry_throttle_succeeded(struct retry_throttle *throttle)
{
    uint32_t room = throttle->max - throttle->tokens;

    throttle->tokens += throttle->ratio < room ? throttle->ratio : room;
}

void retry_throttle_failed(struct retry_throttle *throttle)
{
    throttle->tokens -= throttle->tokens < TOKEN ? throttle->tokens : TOKEN;
}

bool retry_throttle_allows(const struct retry_throttle *throttle)
{
    return throttle->max == 0 || throttle->tokens > throttle->max / 2;
}

/* ---- pushback ---- */

bool retry_pushback(struct fly_bytes trailer, int64_t *pushback_ms)
{
    struct fly_bytes text;

    if (!metadata_find(trailer, METADATA_PUSHBACK, &text)) {
        return false;
    }
    /* no sign, and no zeros in front of other digits */
    bool plain = text.size > 0 && text.data[0] != '-' && (text.data[0] != '0' || text.size == 1);
    if (!plain || !metadata_find_number(trailer, METADATA_PUSHBACK, pushback_ms) ||
        *pushback_ms > INT32_MAX) {
        *pushback_ms = -1; /* all else says "never" */
    }
    return true;
}

/* ---- one attempt after the other ---- */

static bool listed(const struct retry_policy *policy, enum fly_status status)
{
    return policy != NULL && status != FLY_OK && (policy->codes >> (unsigned)status & 1) != 0;
}

static uint32_t attempts_max(const struct retry_policy *policy)
{
    uint32_t max = policy != NULL ? policy->attempts_max : 1;

    return max < RETRY_ATTEMPTS_MAX ? max : RETRY_ATTEMPTS_MAX;
}

/* A6: success, a code of the policy, or "never" from the server. */
static void count(struct retry_throttle *throttle, const struct retry_policy *policy,
                  const struct retry_outcome *outcome)
{
    if (outcome->status == FLY_OK) {
        retry_throttle_succeeded(throttle);
    } else if (listed(policy, outcome->status) ||
               (outcome->has_pushback && outcome->pushback_ms < 0)) {
        retry_throttle_failed(throttle);
    }
}

bool retry_transparent(struct retry_state *state, const struct retry_outcome *outcome)
{
    if (outcome->status != FLY_UNAVAILABLE || outcome->committed || outcome->has_pushback) {
        return false; /* pushback: its words are heeded even then */
    }
    if (outcome->reach == RETRY_UNSENT && state->unsent < RETRY_UNSENT_MAX) {
        state->unsent++;
        return true;
    }
    if (outcome->reach == RETRY_TURNED_AWAY && state->turned_away == 0) {
        state->turned_away++;
        return true;
    }
    return false;
}

/* min(initial * multiplier^(n - 1), max) */
static uint64_t backoff_bound(const struct retry_policy *policy, uint32_t n)
{
    uint64_t bound = policy->initial_backoff_ms;

    for (uint32_t i = 1; i < n && bound < policy->max_backoff_ms; i++) {
        bound = bound * policy->multiplier_percent / 100;
    }
    return bound < policy->max_backoff_ms ? bound : policy->max_backoff_ms;
}

enum retry_verdict retry_next(struct retry_state *state, const struct retry_policy *policy,
                              struct retry_throttle *throttle, const struct retry_outcome *outcome,
                              struct fly_rng *rng, int64_t *delay_ms)
{
    bool pushed = outcome->has_pushback && outcome->pushback_ms >= 0;
    bool never = outcome->has_pushback && outcome->pushback_ms < 0;

    if (retry_transparent(state, outcome)) {
        return RETRY_AT_ONCE;
    }
    state->attempts++;
    count(throttle, policy, outcome);
    if (outcome->status == FLY_OK || outcome->committed || never ||
        state->attempts >= attempts_max(policy) || (!pushed && !listed(policy, outcome->status))) {
        return RETRY_NO;
    }
    if (!retry_throttle_allows(throttle)) {
        state->throttled = true;
        return RETRY_NO;
    }
    if (pushed) {
        *delay_ms = outcome->pushback_ms;
        state->backoffs = 0;
    } else {
        state->backoffs++;
        *delay_ms = (int64_t)fly_rng_below(rng, backoff_bound(policy, state->backoffs) + 1);
    }
    return RETRY_AFTER;
}

/* ---- side by side ---- */

void retry_hedge_begin(struct retry_hedge *hedge, int64_t now_ms)
{
    *hedge = (struct retry_hedge){.due_ms = now_ms};
}

bool retry_hedge_pending(const struct retry_hedge *hedge, const struct retry_policy *policy)
{
    return !hedge->stopped && hedge->started < attempts_max(policy);
}

bool retry_hedge_due(struct retry_hedge *hedge, struct retry_state *state,
                     const struct retry_policy *policy, const struct retry_throttle *throttle,
                     int64_t now_ms)
{
    if (!retry_hedge_pending(hedge, policy) || now_ms < hedge->due_ms) {
        return false;
    }
    if (hedge->started > 0 && !retry_throttle_allows(throttle)) {
        hedge->stopped = true;
        state->throttled = true;
        return false;
    }
    hedge->started++;
    hedge->running++;
    hedge->due_ms = now_ms + policy->hedging_delay_ms;
    return true;
}

bool retry_hedge_ended(struct retry_hedge *hedge, const struct retry_policy *policy,
                       struct retry_throttle *throttle, const struct retry_outcome *outcome,
                       int64_t now_ms)
{
    FLY_CHECK(hedge->running > 0);
    hedge->running--;
    count(throttle, policy, outcome);
    if (!listed(policy, outcome->status)) {
        hedge->stopped = true;
        return true; /* it went well, or is fatal */
    }
    if (outcome->has_pushback && outcome->pushback_ms < 0) {
        hedge->stopped = true;
    } else {
        hedge->due_ms = now_ms + (outcome->has_pushback ? outcome->pushback_ms : 0);
    }
    return retry_hedge_over(hedge, policy);
}

bool retry_hedge_over(const struct retry_hedge *hedge, const struct retry_policy *policy)
{
    return hedge->running == 0 && !retry_hedge_pending(hedge, policy);
}
