/*
 * retry - when a failed call is made again, when a second one is started beside it, and when not.
 *
 * gRPC's proposal A6: attempts, jittered exponential backoff, retryable codes, a throttle of
 * tokens per client, pushback by the server, hedging of read-only methods. Decides only; who asks
 * does the sending. Pure: time and randomness are handed in.
 *
 * Source: grpc/proposal A6-client-retries.md.
 */
#ifndef FLY_WIRE_RETRY_H
#define FLY_WIRE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/rng.h"
#include "proto/base/status.h"

enum { RETRY_ATTEMPTS_MAX = 5 };

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

void retry_throttle_init(struct retry_throttle *throttle, uint32_t max_tokens,
                         uint32_t ratio_thousandths);
/* An attempt ended. `retryable`: with a code of the policy, or with "never" as pushback. */
void retry_throttle_succeeded(struct retry_throttle *throttle);
void retry_throttle_failed(struct retry_throttle *throttle);
/* More than half of the tokens are left. */
bool retry_throttle_allows(const struct retry_throttle *throttle);

/* What one attempt came to. */
struct retry_outcome {
    enum fly_status status;
    bool sent;           /* false: certainly not executed */
    bool has_pushback;   /* the server said when */
    int64_t pushback_ms; /* negative: never */
    bool committed;      /* a message or initial metadata of it was given to the caller */
};

enum retry_verdict {
    RETRY_NO,    /* this outcome is the call's */
    RETRY_AFTER, /* again after *delay_ms */
    /* At once and without counting as an attempt, for what never left this process: transparent.
     * Once more for what the server turned away unexecuted. */
    RETRY_TRANSPARENT,
};

/*
 * `attempts`: made so far, this one included; `transparent`: how often it was transparent before.
 * `policy` NULL: only transparent retries. Touches the throttle as A6 says.
 */
enum retry_verdict retry_next(const struct retry_policy *policy, struct retry_throttle *throttle,
                              const struct retry_outcome *outcome, uint32_t attempts,
                              uint32_t transparent, struct fly_rng *rng, int64_t *delay_ms);

#endif
