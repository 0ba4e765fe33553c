/*
 * outcome - the client's half of DESIGN 4.8: what to do after each try of a launch.
 *
 * Three ends: OK · NOT_DONE (nothing was or will be done under this key by us) · UNKNOWN (retry the
 * same key). A try whose request may have reached the server and whose answer did not come, or says
 * OUTCOME_UNKNOWN, puts the key in doubt; from then on only the same key is tried, and only an
 * answer about the key itself ends the doubt. A key that a person gave is never changed. Pure.
 */
#ifndef FLY_CLIENT_OUTCOME_H
#define FLY_CLIENT_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/rng.h"
#include "proto/base/status.h"

enum {
    OUTCOME_FRESH_MAX = 4, /* fresh keys after the first */
    OUTCOME_PAUSE_MS = 20, /* first pause; doubles, with jitter */
    OUTCOME_PAUSE_MAX_MS = 500,
};

/* How one try ended. */
struct outcome_try {
    enum fly_status status;
    uint32_t reason; /* fly.v1.Reason; 0: none, or no refusal came */
    bool retryable;  /* as the refusal says */
    bool connected;  /* false: there was no connection to send it on */
    bool sent;       /* rpc_reply.sent: false: certainly not executed */
    bool other_room; /* the refusal names a slice with room that this key is not at home in */
};

enum outcome_step {
    OUTCOME_OK = 1,
    OUTCOME_NOT_DONE,
    OUTCOME_UNKNOWN,
    OUTCOME_AGAIN_SAME,  /* after *pause_ms, the same key */
    OUTCOME_AGAIN_FRESH, /* after *pause_ms, a fresh key */
};

/* Caller's memory; fields may be read. */
struct outcome {
    int64_t deadline_ms;
    int64_t pause_ms;
    uint32_t tries;
    uint32_t fresh;     /* fresh keys taken */
    bool key_given;     /* by a person: never change it */
    bool was_connected; /* some try had a connection */
    bool doubt;         /* a try with this key may have made, or may yet make, a VM */
};

/* deadline_ms: by the clock that `now_ms` of outcome_next reads. */
void outcome_init(struct outcome *outcome, bool key_given, int64_t deadline_ms);
enum outcome_step outcome_next(struct outcome *outcome, const struct outcome_try *ended,
                               int64_t now_ms, struct fly_rng *rng, int64_t *pause_ms);

#endif
