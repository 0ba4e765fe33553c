#include "client/lib/watching.h"

#include <stdlib.h>
#include <string.h>

#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { SLICE_OF_TIME_MS = 200 }; /* so often an interrupt is looked for */

enum fly_status watching_init(struct watching *watching, struct session *session, const char *since,
                              const char *region, int64_t timeout_ms, struct fly_error *error)
{
    memset(watching, 0, sizeof *watching);
    watching->session = session;
    watching->region = region;
    watching->timeout_ms = timeout_ms;
    watching->pause_ms = WATCHING_PAUSE_MS;
    if (since[0] != '\0' && !cursors_parse(since, &watching->places)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "'%.60s' is not a cursor (slice:incarnation:seq, with commas between)",
                             since);
    }
    return FLY_OK;
}

void watching_fini(struct watching *watching)
{
    rpc_stream_close(watching->stream);
    watching->stream = NULL;
    rpc_reply_fini(&watching->reply);
    failure_fini(&watching->failure);
    watching->message = NULL;
}

/* What another connection cannot help. */
static bool for_good(const struct watching *watching)
{
    const struct failure *failure = &watching->failure;

    if (session_interrupted() || (!watching->was_connected && !failure->connected)) {
        return true;
    }
    if (failure->moved) {
        return false; /* another edge may do better */
    }
    switch (failure->status) {
    case FLY_INVALID_ARGUMENT:
    case FLY_NOT_FOUND:
    case FLY_PERMISSION_DENIED:
    case FLY_UNAUTHENTICATED:
    case FLY_OUT_OF_RANGE:
    case FLY_UNIMPLEMENTED:
        return true;
    case FLY_OK:
    case FLY_CANCELLED:
    case FLY_UNKNOWN:
    case FLY_DEADLINE_EXCEEDED:
    case FLY_ALREADY_EXISTS:
    case FLY_RESOURCE_EXHAUSTED:
    case FLY_FAILED_PRECONDITION:
    case FLY_ABORTED:
    case FLY_INTERNAL:
    case FLY_UNAVAILABLE:
    case FLY_DATA_LOSS:
        return false;
    }
    return false;
}

static enum fly_status open_stream(struct watching *watching)
{
    Fly__V1__WatchRequest request = FLY__V1__WATCH_REQUEST__INIT;
    struct fly_error error = {0};
    char since[CURSORS_TEXT_SIZE];
    enum fly_status status;

    status = session_connect(watching->session, watching->timeout_ms, &watching->failure);
    if (status != FLY_OK) {
        return status;
    }
    const struct rpc_call_options options = session_options(watching->session, 0);
    (void)cursors_format(&watching->places, since);
    request.since = since;
    request.region = (char *)(uintptr_t)watching->region;
    request.types = (Fly__V1__EventType *)(uintptr_t)watching->types;
    request.n_types = watching->type_count;
    request.policy = watching->policy;
    request.pace_ms = watching->pace_ms;
    status = rpc_stream_open(&watching->stream, watching->session->channel, &rpc_edge_watch,
                             &request.base, &options, &error);
    if (status != FLY_OK) {
        watching->stream = NULL;
        watching->failure = (struct failure){.status = status, .connected = true};
        (void)fly_copy_string(watching->failure.message, sizeof watching->failure.message,
                              error.text);
        return status;
    }
    watching->was_connected = true;
    return FLY_OK;
}

/* When to connect again: pauses grow, with jitter. */
static void note_pause(struct watching *watching)
{
    int64_t half_ms = watching->pause_ms / 2;
    int64_t jitter_ms = (int64_t)fly_rng_below(&watching->session->rng, (uint64_t)half_ms + 1);

    watching->resume_ms = fly_clock_boot_ms() + half_ms + jitter_ms;
    watching->pause_ms = watching->pause_ms * 2 < WATCHING_PAUSE_MAX_MS ? watching->pause_ms * 2
                                                                        : WATCHING_PAUSE_MAX_MS;
}

/* Waits until then, but no longer than patience_ms: false, it is not over. */
static bool rested(struct watching *watching)
{
    int64_t left_ms = watching->resume_ms - fly_clock_boot_ms();
    bool over = watching->patience_ms == 0 || left_ms <= watching->patience_ms;

    left_ms = over ? left_ms : watching->patience_ms;
    if (left_ms > 0) {
        (void)session_pause(left_ms);
    }
    return over || session_interrupted();
}

static enum watching_step lost(struct watching *watching)
{
    rpc_stream_close(watching->stream);
    watching->stream = NULL;
    session_move_on(watching->session, &watching->failure);
    watching->lost = true;
    watching->losses++;
    note_pause(watching);
    return for_good(watching) ? WATCHING_END : WATCHING_LOST;
}

/* A stream that ended well has ended all the same: a watch has no end of its own. */
static void failure_of_end(struct watching *watching)
{
    failure_fini(&watching->failure);
    failure_from_reply(&watching->failure, &watching->reply);
    if (watching->failure.status == FLY_OK) {
        watching->failure.status = FLY_UNAVAILABLE;
        (void)fly_copy_string(watching->failure.message, sizeof watching->failure.message,
                              "the edge ended the stream");
    }
}

enum watching_step watching_next(struct watching *watching)
{
    int64_t begun_ms = fly_clock_boot_ms();

    rpc_reply_fini(&watching->reply);
    watching->message = NULL;
    if (watching->stream == NULL) {
        bool again = watching->lost;
        if (again && !rested(watching)) {
            return WATCHING_NOTHING;
        }
        failure_fini(&watching->failure);
        if (session_interrupted()) {
            return WATCHING_END;
        }
        if (open_stream(watching) != FLY_OK) {
            return lost(watching);
        }
        watching->lost = false;
        watching->losses = 0;
        if (again) {
            return WATCHING_BACK;
        }
    }
    for (;;) {
        int64_t left_ms = watching->patience_ms == 0
                              ? SLICE_OF_TIME_MS
                              : begun_ms + watching->patience_ms - fly_clock_boot_ms();
        left_ms = left_ms < 0 ? 0 : left_ms < SLICE_OF_TIME_MS ? left_ms : SLICE_OF_TIME_MS;
        enum rpc_next next = rpc_stream_next(watching->stream, left_ms, &watching->reply);
        if (session_interrupted()) {
            return WATCHING_END;
        }
        if (next == RPC_NEXT_END) {
            failure_of_end(watching);
            return lost(watching);
        }
        if (next == RPC_NEXT_MESSAGE) {
            watching->message = (const Fly__V1__WatchReply *)watching->reply.message;
            watching->pause_ms = WATCHING_PAUSE_MS;
            return WATCHING_MESSAGE;
        }
        if (watching->patience_ms != 0 && fly_clock_boot_ms() >= begun_ms + watching->patience_ms) {
            rpc_reply_fini(&watching->reply);
            return WATCHING_NOTHING;
        }
        rpc_reply_fini(&watching->reply);
    }
}

/* Six hex digits; 0 when it is none. */
static uint32_t slice_of(const char *text)
{
    return strlen(text) == 6 && strspn(text, "0123456789abcdef") == 6
               ? (uint32_t)strtoul(text, NULL, 16)
               : 0;
}

static bool takes_all(const struct watching *watching)
{
    return watching->region[0] == '\0' && watching->type_count == 0 &&
           watching->policy == FLY__V1__WATCH_POLICY__WATCH_EVERY_EVENT;
}

bool watching_take(struct watching *watching, const Fly__V1__Event *event)
{
    const struct cursor next = {
        .slice = slice_of(event->slice), .incarnation = event->incarnation, .seq = event->seq};
    const struct cursor *known = cursors_find(&watching->places, next.slice);

    if (next.slice == 0) {
        return true; /* of a server that names slices in another way: shown, and not remembered */
    }
    if (known != NULL && known->incarnation == next.incarnation) {
        if (next.seq <= known->seq) {
            watching->twice++;
            return false;
        }
        /* with a filter, what is not asked for has numbers too */
        watching->skipped += takes_all(watching) ? next.seq - known->seq - 1 : 0;
    }
    (void)cursors_put(&watching->places, next);
    return true;
}

void watching_taken(struct watching *watching)
{
    struct cursors told;

    /* Parts of a snapshot before the last have none: a break there must start it over. A cursor may
     * tell of all slices, or of those that moved. */
    if (watching->message->cursor[0] != '\0' && cursors_parse(watching->message->cursor, &told)) {
        for (uint32_t i = 0; i < told.count; i++) {
            (void)cursors_put(&watching->places, told.at[i]);
        }
    }
}

uint32_t watching_reset_slice(const struct watching *watching)
{
    const Fly__V1__WatchReply *message = watching->message;
    struct cursors told;

    if (message->n_vms > 0) {
        return slice_of(message->vms[0]->slice);
    }
    if (message->cursor[0] == '\0' || !cursors_parse(message->cursor, &told)) {
        return 0;
    }
    for (uint32_t i = 0; i < told.count; i++) { /* the one that jumps */
        const struct cursor *known = cursors_find(&watching->places, told.at[i].slice);
        if (known == NULL || known->incarnation != told.at[i].incarnation ||
            known->seq != told.at[i].seq) {
            return told.at[i].slice;
        }
    }
    return told.count == 1 ? told.at[0].slice : 0;
}

const char *watching_cursor(const struct watching *watching, char out[static CURSORS_TEXT_SIZE])
{
    (void)cursors_format(&watching->places, out);
    return out;
}
