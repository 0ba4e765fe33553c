/*
 * retry - when a failed call is made again, when a second one is started beside it, and when not.
 *
 * gRPC's proposal A6: attempts, jittered exponential backoff, retryable codes, a throttle of
 * tokens per client, pushback by the server, hedging of read-only methods. Decides only; who asks
 * does the sending. Pure: time and randomness are handed in.
 *
 * Where A6 leaves a choice: an answer with "again in n ms" is its own kind of answer (A6's summary,
 * 5.), so it is followed whatever its code; under hedging a fatal code still ends the call. A
 * transparent retry is only for UNAVAILABLE: any other code is an answer that would come again.
 *
 * Source: grpc/proposal A6-client-retries.md.
 */
#ifndef FLY_WIRE_RETRY_H
#define FLY_WIRE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/rng.h"
#include "proto/base/status.h"

enum {
    RETRY_ATTEMPTS_MAX = 5,
    RETRY_UNSENT_MAX = 16, /* transparent retries of one call that never left this process */
};

/* Of one method: a constant that generated code makes from the .proto's options. */
struct retry_policy {
    uint32_t attempts_max; /* 2 to RETRY_ATTEMPTS_MAX, the first included */
    uint32_t
        initial_backoff_ms; /* retries: the n-th waits random(0, min(initial * mult^(n-1), max)) */
    uint32_t max_backoff_ms;
    uint32_t multiplier_percent; /* 200: doubles */
    uint32_t codes;              /* bit n: status n may be retried (hedging: is not fatal) */
    bool hedge;                  /* start the next attempt without waiting for a failure … */
    uint32_t hedging_delay_ms;   /* … so long after the one before */
};

/* One per client and server name (A6): shared by its calls. In thousandths of a token. */
struct retry_throttle {
    uint32_t max;   /* tokens × 1,000; 0: no throttle */
    uint32_t ratio; /* given back for each success, × 1,000 */
    uint32_t tokens;
};

/* max_tokens is clamped to 4,000,000, the ratio to it. */
void retry_throttle_init(struct retry_throttle *throttle, uint32_t max_tokens,
                         uint32_t ratio_thousandths);
/* An attempt ended: well; or with a code of the policy, or with "never" as pushback. Others do not
 * count. */
void retry_throttle_succeeded(struct retry_throttle *throttle);
void retry_throttle_failed(struct retry_throttle *throttle);
/* More than half of the tokens are left. */
bool retry_throttle_allows(const struct retry_throttle *throttle);

/* How far an attempt came. */
enum retry_reach {
    RETRY_UNTRIED,     /* there was no connection to send it over */
    RETRY_UNSENT,      /* certainly never left this process */
    RETRY_TURNED_AWAY, /* the server says that nothing was done for it */
    RETRY_REACHED,     /* it may have been executed */
};

/* What one attempt came to. */
struct retry_outcome {
    enum fly_status status;
    enum retry_reach reach;
    bool has_pushback;   /* the server said when */
    int64_t pushback_ms; /* negative: never */
    bool committed;      /* a message or initial metadata of it was given to the caller, or the
                            request is not here any more */
};

/* Looks for METADATA_PUSHBACK among trailing metadata. What is no number of 32 bits in its shortest
 * form means never: -1 (A6). False: there is none. */
bool retry_pushback(struct fly_bytes trailer, int64_t *pushback_ms);

/* Of one call, all zero at first. */
struct retry_state {
    uint32_t attempts;    /* that ended and count */
    uint32_t backoffs;    /* since the first attempt, or since a pushback */
    uint32_t unsent;      /* transparent retries of what never left */
    uint32_t turned_away; /* and of what was turned away */
    bool throttled;       /* a retry or hedge was not made only because of the throttle */
};

/* At once and without counting as an attempt: for what never left this process, RETRY_UNSENT_MAX
 * times, and once for what the server turned away unexecuted. Counts it if so. */
bool retry_transparent(struct retry_state *state, const struct retry_outcome *outcome);

enum retry_verdict {
    RETRY_NO,    /* this outcome is the call's */
    RETRY_AFTER, /* again after *delay_ms */
    RETRY_AT_ONCE /* transparent */,
};

/* An attempt of a call ended. `policy` NULL: only transparent retries. Touches the throttle as A6
 * says. */
enum retry_verdict retry_next(struct retry_state *state, const struct retry_policy *policy,
                              struct retry_throttle *throttle, const struct retry_outcome *outcome,
                              struct fly_rng *rng, int64_t *delay_ms);

/* A hedged call: its attempts run side by side. */
struct retry_hedge {
    uint32_t started; /* attempts, transparent ones not counted */
    uint32_t running; /* of them */
    bool stopped;     /* no more are to be started */
    int64_t due_ms;   /* when the next one is */
};

/* The first attempt is due at once. */
void retry_hedge_begin(struct retry_hedge *hedge, int64_t now_ms);
/* Another attempt will be due, at hedge->due_ms. */
bool retry_hedge_pending(const struct retry_hedge *hedge, const struct retry_policy *policy);
/* One is due now; it counts as started and running then. The throttle may stop it, and all that
 * would follow (state->throttled); never the first. */
bool retry_hedge_due(struct retry_hedge *hedge, struct retry_state *state,
                     const struct retry_policy *policy, const struct retry_throttle *throttle,
                     int64_t now_ms);
/*
 * One of the running attempts ended (and was not transparent). True: the outcome is the call's, the
 * others are to be cancelled: it went well, or is fatal, or was the last and no more will come.
 * Otherwise look at retry_hedge_due again at once: what it refuses may leave nothing running.
 */
bool retry_hedge_ended(struct retry_hedge *hedge, const struct retry_policy *policy,
                       struct retry_throttle *throttle, const struct retry_outcome *outcome,
                       int64_t now_ms);
/* Nothing runs and nothing will. */
bool retry_hedge_over(const struct retry_hedge *hedge, const struct retry_policy *policy);

#endif
