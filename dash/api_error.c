/* api_error - what an edge's refusal is in HTTP. Semantics: RFC 9110; for keys, IETF draft
 * idempotency-key-header 2.7 (422: used for another request, 409: the first is under way). */
#include "client/lib/exits.h"
#include "dash/api_internal.h"

static unsigned of_status(enum fly_status status)
{
    switch (status) {
    case FLY_OK:
        return 200;
    case FLY_INVALID_ARGUMENT:
    case FLY_OUT_OF_RANGE:
        return 400;
    case FLY_UNAUTHENTICATED:
        return 401;
    case FLY_PERMISSION_DENIED:
        return 403;
    case FLY_NOT_FOUND:
        return 404;
    case FLY_ALREADY_EXISTS:
    case FLY_ABORTED:
    case FLY_FAILED_PRECONDITION:
        return 409;
    case FLY_RESOURCE_EXHAUSTED:
        return 429;
    case FLY_UNIMPLEMENTED:
        return 501;
    case FLY_CANCELLED:
    case FLY_UNAVAILABLE:
        return 503;
    case FLY_DEADLINE_EXCEEDED:
        return 504;
    case FLY_UNKNOWN:
    case FLY_INTERNAL:
    case FLY_DATA_LOSS:
        return 500;
    }
    return 500;
}

unsigned api_http_status(enum fly_status status, uint32_t reason)
{
    switch (reason) {
    case FLY__V1__REASON__REASON_INVALID_SPEC:
    case FLY__V1__REASON__REASON_KEY_INVALID:
    case FLY__V1__REASON__REASON_CURSOR_INVALID:
        return 400;
    case FLY__V1__REASON__REASON_TOKEN_MISSING:
    case FLY__V1__REASON__REASON_TOKEN_INVALID:
    case FLY__V1__REASON__REASON_TOKEN_EXPIRED:
        return 401;
    case FLY__V1__REASON__REASON_SCOPE_MISSING:
    case FLY__V1__REASON__REASON_ROLE:
        return 403;
    case FLY__V1__REASON__REASON_REGION_UNKNOWN:
        return 404;
    case FLY__V1__REASON__REASON_NOT_FOUND: /* or several begin so: then the status says it */
        return status == FLY_INVALID_ARGUMENT ? 400 : 404;
    case FLY__V1__REASON__REASON_REGION_FULL:
    case FLY__V1__REASON__REASON_TOO_LARGE:
    case FLY__V1__REASON__REASON_CORDONED:
    case FLY__V1__REASON__REASON_BUSY:
    case FLY__V1__REASON__REASON_KEY_EXPIRED:
    case FLY__V1__REASON__REASON_KEY_CANCELLED:
        return 409;
    case FLY__V1__REASON__REASON_KEY_REUSED:
        return 422;
    case FLY__V1__REASON__REASON_QUOTA:
    case FLY__V1__REASON__REASON_RATE:
        return 429;
    case FLY__V1__REASON__REASON_OWNER_UNREACHABLE:
    case FLY__V1__REASON__REASON_TABLE_FULL:
    case FLY__V1__REASON__REASON_OVERLOADED:
    case FLY__V1__REASON__REASON_JOURNAL:
    case FLY__V1__REASON__REASON_STOPPING:
    case FLY__V1__REASON__REASON_OUTCOME_UNKNOWN:
    case FLY__V1__REASON__REASON_NOT_LEADER:
    case FLY__V1__REASON__REASON_QUARANTINED:
        return 503;
    default:
        return of_status(status);
    }
}

void api_refuse_failure(struct http_call *call, const struct failure *failure, bool change,
                        const char *key, const char *region)
{
    uint32_t reason = failure->reason;
    bool lost = change && failure->sent && reason == FLY__V1__REASON__REASON_NONE &&
                (failure->status == FLY_DEADLINE_EXCEEDED || failure->status == FLY_UNAVAILABLE ||
                 failure->status == FLY_CANCELLED);

    if (lost) {
        reason = FLY__V1__REASON__REASON_OUTCOME_UNKNOWN;
    }
    unsigned status = api_http_status(failure->status, reason);
    bool again = failure->retryable || lost ||
                 (reason == FLY__V1__REASON__REASON_NONE && (status == 503 || status == 504));
    const char *code = reason != FLY__V1__REASON__REASON_NONE ? reason_name(reason)
                                                              : fly_status_name(failure->status);

    api_refuse(call, &(struct api_refusal){
                         .status = status,
                         .code = code,
                         .message = failure->message[0] != '\0' ? failure->message
                                                                : fly_status_name(failure->status),
                         .hint = lost ? "the same request again settles it" : failure->hint,
                         .retryable = again,
                         .retry_after_ms = again && (status == 429 || status == 503) ? 1000 : 0,
                         .key = key,
                         .region = region,
                     });
}
