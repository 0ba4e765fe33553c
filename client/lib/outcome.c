#include "client/lib/outcome.h"

#include "fly/v1/common.pb-c.h"

enum verdict {
    VERDICT_DONE,
    VERDICT_DOUBT,   /* this try may have done it, or may yet */
    VERDICT_REFUSED, /* this try did nothing */
    VERDICT_SETTLED, /* an answer about the key: no try with it did anything or will */
    VERDICT_BARRED,  /* refused for who we are: another try says the same */
};

static enum verdict judge_status(enum fly_status status)
{
    switch (status) {
    case FLY_OK:
        return VERDICT_DONE;
    case FLY_UNAUTHENTICATED:
    case FLY_PERMISSION_DENIED:
        return VERDICT_BARRED;
    case FLY_INVALID_ARGUMENT:
    case FLY_NOT_FOUND:
    case FLY_ALREADY_EXISTS:
    case FLY_RESOURCE_EXHAUSTED:
    case FLY_FAILED_PRECONDITION:
    case FLY_OUT_OF_RANGE:
    case FLY_UNIMPLEMENTED:
        return VERDICT_REFUSED;
    case FLY_CANCELLED:
    case FLY_UNKNOWN:
    case FLY_DEADLINE_EXCEEDED:
    case FLY_ABORTED:
    case FLY_INTERNAL:
    case FLY_UNAVAILABLE:
    case FLY_DATA_LOSS:
        return VERDICT_DOUBT;
    }
    return VERDICT_DOUBT;
}

static enum verdict judge(const struct outcome_try *ended)
{
    if (ended->status == FLY_OK) {
        return VERDICT_DONE;
    }
    switch (ended->reason) {
    case FLY__V1__REASON__REASON_OUTCOME_UNKNOWN:
        return VERDICT_DOUBT;
    case FLY__V1__REASON__REASON_KEY_REUSED:
    case FLY__V1__REASON__REASON_KEY_EXPIRED:
    case FLY__V1__REASON__REASON_KEY_CANCELLED:
        return VERDICT_SETTLED;
    case FLY__V1__REASON__REASON_TOKEN_MISSING:
    case FLY__V1__REASON__REASON_TOKEN_INVALID:
    case FLY__V1__REASON__REASON_TOKEN_EXPIRED:
    case FLY__V1__REASON__REASON_SCOPE_MISSING:
        return VERDICT_BARRED;
    case FLY__V1__REASON__REASON_NONE:
        break;
    default:
        /* a reason beside a status that says nothing certain: only what we know is believed */
        return protobuf_c_enum_descriptor_get_value(&fly__v1__reason__descriptor,
                                                    (int)ended->reason) != NULL
                   ? VERDICT_REFUSED
                   : judge_status(ended->status);
    }
    if (!ended->sent) {
        return judge_status(ended->status) == VERDICT_BARRED ? VERDICT_BARRED : VERDICT_REFUSED;
    }
    return judge_status(ended->status);
}

/* Refusals that time heals without anybody's help. */
static bool passing(const struct outcome_try *ended)
{
    switch (ended->reason) {
    case FLY__V1__REASON__REASON_NONE:
        /* not executed: the connection went away, or the server's RPC layer is full */
        return ended->status == FLY_UNAVAILABLE ||
               (!ended->sent && (ended->status == FLY_RESOURCE_EXHAUSTED ||
                                 /* this edge had its share of the time; another may answer */
                                 ended->status == FLY_DEADLINE_EXCEEDED));
    case FLY__V1__REASON__REASON_RATE:
    case FLY__V1__REASON__REASON_BUSY:
    case FLY__V1__REASON__REASON_OWNER_UNREACHABLE:
    case FLY__V1__REASON__REASON_OVERLOADED:
    case FLY__V1__REASON__REASON_STOPPING:
    case FLY__V1__REASON__REASON_NOT_LEADER:
    case FLY__V1__REASON__REASON_JOURNAL:
        return ended->retryable;
    default:
        return false;
    }
}

void outcome_init(struct outcome *outcome, bool key_given, int64_t deadline_ms)
{
    *outcome = (struct outcome){
        .deadline_ms = deadline_ms, .pause_ms = OUTCOME_PAUSE_MS, .key_given = key_given};
}

static enum outcome_step end(const struct outcome *outcome)
{
    return outcome->doubt ? OUTCOME_UNKNOWN : OUTCOME_NOT_DONE;
}

/* Half to all of the pause, then twice as long; the end when the deadline is nearer than that. */
static enum outcome_step again(struct outcome *outcome, enum outcome_step step, int64_t now_ms,
                               struct fly_rng *rng, int64_t *pause_ms)
{
    int64_t half = outcome->pause_ms / 2;

    *pause_ms = half + (int64_t)fly_rng_below(rng, (uint64_t)half + 1);
    if (now_ms + *pause_ms >= outcome->deadline_ms) {
        return end(outcome);
    }
    outcome->pause_ms =
        outcome->pause_ms * 2 < OUTCOME_PAUSE_MAX_MS ? outcome->pause_ms * 2 : OUTCOME_PAUSE_MAX_MS;
    return step;
}

enum outcome_step outcome_next(struct outcome *outcome, const struct outcome_try *ended,
                               int64_t now_ms, struct fly_rng *rng, int64_t *pause_ms)
{
    enum verdict verdict = judge(ended);
    bool may_change = !outcome->key_given && !outcome->doubt;
    bool never_connected = !ended->connected && !outcome->was_connected;

    *pause_ms = 0;
    outcome->tries++;
    outcome->was_connected = outcome->was_connected || ended->connected;
    switch (verdict) {
    case VERDICT_DONE:
        return OUTCOME_OK;
    case VERDICT_DOUBT:
        outcome->doubt = true;
        return again(outcome, OUTCOME_AGAIN_SAME, now_ms, rng, pause_ms);
    case VERDICT_SETTLED:
        outcome->doubt = false;
        if (ended->reason == FLY__V1__REASON__REASON_KEY_EXPIRED && may_change &&
            outcome->fresh < OUTCOME_FRESH_MAX) {
            /* ours, and new: home gave up what was before a loss, or its clock is ahead */
            outcome->fresh++;
            return again(outcome, OUTCOME_AGAIN_FRESH, now_ms, rng, pause_ms);
        }
        return OUTCOME_NOT_DONE;
    case VERDICT_BARRED:
        return end(outcome);
    case VERDICT_REFUSED:
        break;
    }
    if (outcome->doubt) {
        /* it speaks of this try only; the one in doubt may still be on its way */
        return again(outcome, OUTCOME_AGAIN_SAME, now_ms, rng, pause_ms);
    }
    if (ended->other_room && may_change && outcome->fresh < OUTCOME_FRESH_MAX) {
        outcome->fresh++;
        return again(outcome, OUTCOME_AGAIN_FRESH, now_ms, rng, pause_ms);
    }
    if (passing(ended) && !never_connected) {
        return again(outcome, OUTCOME_AGAIN_SAME, now_ms, rng, pause_ms);
    }
    return OUTCOME_NOT_DONE;
}
