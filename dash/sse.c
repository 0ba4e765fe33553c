#include "dash/sse.h"

#include <stdlib.h>
#include <string.h>

#include "client/lib/shape.h"
#include "dash/sse_internal.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/wire/token.h"

enum {
    FIRST_MS = 200,  /* so long an edge has to refuse, before the answer is 200 */
    AGAIN_MS = 1000, /* after a second break in a row; doubles */
    AGAIN_MAX_MS = 5000,
    MESSAGES_A_TURN = 64, /* of one stream, before others have theirs */
};

static void stream_close(struct sse_stream *st);
static void pump(struct sse_stream *st);
static void look_first(struct sse_stream *st, int64_t now_ms);

struct sse *sse_create(struct api *api)
{
    struct sse *sse = calloc(1, sizeof *sse);

    FLY_CHECK(sse != NULL);
    sse->api = api;
    fly_list_init(&sse->streams);
    return sse;
}

void sse_destroy(struct sse *sse)
{
    if (sse != NULL) {
        FLY_CHECK(fly_list_empty(&sse->streams));
        free(sse);
    }
}

/* --- on a thread of the pool --- */

static void changed(void *user)
{
    struct sse_stream *st = user;

    actions_note_post(st->sse->api->actions, &st->note);
}

static bool open_stream(struct sse_stream *st)
{
    Fly__V1__WatchRequest request = FLY__V1__WATCH_REQUEST__INIT;
    struct watching *w = &st->watching;
    Fly__V1__EventType types[SSE_TYPES_MAX];
    struct fly_error error = {.text = ""};
    char since[CURSORS_TEXT_SIZE];

    failure_fini(&w->failure);
    if (w->session->addr[0] == '\0') {
        w->failure = (struct failure){.status = FLY_UNAVAILABLE, .retryable = true};
        (void)fly_copy_string(w->failure.message, sizeof w->failure.message,
                              "no edge of the cluster is known here yet");
        return false;
    }
    if (session_connect(w->session, ACTIONS_CONNECT_MS, &w->failure) != FLY_OK) {
        return false;
    }
    const struct rpc_call_options options = session_options(w->session, 0);
    for (uint32_t i = 0; i < st->type_count; i++) {
        types[i] = (Fly__V1__EventType)st->types[i];
    }
    (void)cursors_format(&w->places, since);
    request.since = since;
    request.region = st->region;
    request.types = types;
    request.n_types = st->type_count;
    enum fly_status status = rpc_stream_open(&w->stream, w->session->channel, &rpc_edge_watch,
                                             &request.base, &options, &error);
    if (status != FLY_OK) {
        w->stream = NULL;
        w->failure = (struct failure){.status = status, .connected = true};
        (void)fly_copy_string(w->failure.message, sizeof w->failure.message, error.text);
        return false;
    }
    rpc_stream_watch(w->stream, changed, st);
    return true;
}

static void failure_of_end(struct watching *w)
{
    failure_fini(&w->failure);
    failure_from_reply(&w->failure, &w->reply);
    if (w->failure.status == FLY_OK) {
        w->failure.status = FLY_UNAVAILABLE;
        (void)fly_copy_string(w->failure.message, sizeof w->failure.message,
                              "the edge ended the stream");
    }
    rpc_reply_fini(&w->reply);
}

static void run_open(struct action *action, struct session *unused, struct failure *ignored)
{
    struct sse_stream *st = FLY_CONTAINER(action, struct sse_stream, action);
    struct watching *w = &st->watching;

    (void)unused;
    (void)ignored;
    if (w->stream != NULL) { /* it ended: this edge is left if another can do better */
        rpc_stream_close(w->stream);
        w->stream = NULL;
        session_move_on(w->session, &w->failure);
    }
    st->failed = !open_stream(st);
}

static void run_close(struct action *action, struct session *unused, struct failure *ignored)
{
    struct sse_stream *st = FLY_CONTAINER(action, struct sse_stream, action);

    (void)unused;
    (void)ignored;
    watching_fini(&st->watching);
    actions_session_fini(&st->session);
}

/* --- on the dash's thread: life --- */

static void stream_free(struct sse_stream *st)
{
    actions_note_drop(st->sse->api->actions, &st->note);
    fly_list_drop(&st->link);
    st->sse->count--;
    free(st);
}

static void done_close(struct action *action, bool stopped)
{
    struct sse_stream *st = FLY_CONTAINER(action, struct sse_stream, action);

    if (stopped && st->session.token != NULL) { /* it was not run */
        run_close(action, NULL, NULL);
    }
    stream_free(st);
}

static void done_open(struct action *action, bool stopped);

/* Gives the stream to the pool; false: too many wait there. */
static bool submit(struct sse_stream *st, bool open)
{
    st->action = (struct action){
        .run = open ? run_open : run_close, .done = open ? done_open : done_close, .token = NULL};
    fly_list_init(&st->action.link);
    return actions_submit(st->sse->api->actions, &st->action);
}

/* The reader has gone, or was told so. Frees it, sooner or later. */
static void stream_close(struct sse_stream *st)
{
    st->call = NULL;
    st->call_id = 0; /* it was answered, or is gone: nobody may answer it again */
    st->phase = PHASE_CLOSING;
    if (st->sse->stopping) {
        run_close(&st->action, NULL, NULL);
        stream_free(st);
    } else if (!submit(st, false)) {
        st->phase = PHASE_TO_CLOSE;
    }
}

static void stream_end(struct sse_stream *st)
{
    if (st->call != NULL) {
        http_stream_end(st->call);
    }
    stream_close(st);
}

static void on_gone(void *user)
{
    struct sse_stream *st = user;

    st->call = NULL;
    st->gone = true;
    if (st->phase == PHASE_LIVE || st->phase == PHASE_WAITING) {
        stream_close(st);
    }
}

static void on_writable(void *user)
{
    struct sse_stream *st = user;

    if (st->phase == PHASE_LIVE) {
        pump(st);
    }
}

static void on_note(struct actions_note *note)
{
    struct sse_stream *st = FLY_CONTAINER(note, struct sse_stream, note);

    if (st->phase == PHASE_LIVE) {
        pump(st);
    } else if (st->phase == PHASE_FIRST) {
        look_first(st, fly_clock_boot_ms());
    }
}

/* What another connection cannot help. */
static bool for_good(const struct failure *failure)
{
    return failure->status == FLY_UNAUTHENTICATED || failure->status == FLY_PERMISSION_DENIED ||
           failure->status == FLY_INVALID_ARGUMENT || failure->status == FLY_OUT_OF_RANGE ||
           failure->status == FLY_NOT_FOUND;
}

/* A try to have it go on failed, or it ended. */
static void lost(struct sse_stream *st)
{
    const struct failure *failure = &st->watching.failure;

    if (for_good(failure)) {
        /* it may not fit; the connection's end says the same */
        (void)sse_put(st, NULL, "end",
                      json_pack("{s:s,s:o}", "code", fly_status_name(failure->status), "message",
                                shape_text(failure->message)));
        stream_end(st);
        return;
    }
    bool at_once = st->pause_ms == 0;
    st->phase = PHASE_WAITING;
    st->again_ms = fly_clock_boot_ms() + st->pause_ms;
    st->pause_ms = st->pause_ms == 0                 ? AGAIN_MS
                   : st->pause_ms * 2 < AGAIN_MAX_MS ? st->pause_ms * 2
                                                     : AGAIN_MAX_MS;
    if (at_once && submit(st, true)) {
        st->phase = PHASE_OPENING;
    }
}

/* False: the reader is slow, later. */
static bool put_gap(struct sse_stream *st)
{
    st->gap = st->gap && !sse_put_reset(st, 0, "connection lost before the first cursor", 0);
    return !st->gap;
}

static void ended(struct sse_stream *st)
{
    failure_of_end(&st->watching);
    st->gap = st->gap || st->watching.places.count == 0;
    (void)put_gap(st);
    lost(st);
}

static void pump(struct sse_stream *st)
{
    struct watching *w = &st->watching;

    for (unsigned n = 0; n < MESSAGES_A_TURN; n++) {
        if (!put_gap(st) || (st->stage != STAGE_NONE && !sse_put_message(st))) {
            return; /* on_writable goes on */
        }
        switch (rpc_stream_next(w->stream, 0, &w->reply)) {
        case RPC_NEXT_MESSAGE:
            w->message = (const Fly__V1__WatchReply *)w->reply.message;
            st->stage = STAGE_RESET;
            st->pause_ms = 0;
            break;
        case RPC_NEXT_NOTHING:
            rpc_reply_fini(&w->reply);
            return;
        case RPC_NEXT_END:
            ended(st);
            return;
        }
    }
    actions_note_post(st->sse->api->actions, &st->note);
}

/* --- opened --- */

/* The answer's head, or the error that it is. */
static void begin(struct sse_stream *st)
{
    struct http_call *call = http_find(st->sse->api->server, st->call_id);

    if (call != NULL && st->failed) {
        api_refuse_failure(call, &st->watching.failure, false, NULL, NULL);
        call = NULL;
    }
    if (call == NULL || !http_stream_begin(call, "text/event-stream", on_gone, on_writable, st)) {
        stream_close(st);
        return;
    }
    st->call = call;
    st->begun = true;
    st->phase = PHASE_LIVE;
    (void)sse_put_words(st, "retry: 1000\n\n");
    st->stage = st->watching.message != NULL ? STAGE_RESET : STAGE_NONE;
    pump(st);
}

static void look_first(struct sse_stream *st, int64_t now_ms)
{
    struct watching *w = &st->watching;

    switch (rpc_stream_next(w->stream, 0, &w->reply)) {
    case RPC_NEXT_MESSAGE:
        w->message = (const Fly__V1__WatchReply *)w->reply.message;
        break;
    case RPC_NEXT_NOTHING:
        rpc_reply_fini(&w->reply);
        if (now_ms < st->again_ms) {
            return;
        }
        break;
    case RPC_NEXT_END:
        failure_of_end(w);
        st->failed = true;
        break;
    }
    begin(st);
}

static void refuse_stopping(struct sse_stream *st)
{
    struct http_call *call = st->begun ? NULL : http_find(st->sse->api->server, st->call_id);

    if (call != NULL) {
        http_error(call, 503, "STOPPING", "this dash is stopping", "try again", true);
    }
}

static void done_open(struct action *action, bool stopped)
{
    struct sse_stream *st = FLY_CONTAINER(action, struct sse_stream, action);

    if (stopped || st->sse->stopping) {
        refuse_stopping(st);
        st->sse->stopping = true;
        stream_end(st);
    } else if (!st->begun && st->failed) {
        begin(st);
    } else if (!st->begun) {
        st->phase = PHASE_FIRST;
        st->again_ms = fly_clock_boot_ms() + FIRST_MS;
        look_first(st, 0);
    } else if (st->gone) {
        stream_close(st);
    } else if (st->failed) {
        lost(st);
    } else {
        st->phase = PHASE_LIVE;
        pump(st);
    }
}

void sse_open(struct sse *sse, struct http_call *call, const struct sse_query *query)
{
    struct sse_stream *st = NULL;
    struct fly_error error = {.text = ""};

    if (sse->count >= HTTP_STREAMS_MAX) {
        api_refuse(call, &(struct api_refusal){.status = 503,
                                               .code = "OVERLOADED",
                                               .message = "too many streams of events are open",
                                               .hint = "try again later, or another dash",
                                               .retryable = true,
                                               .retry_after_ms = 5000});
        return;
    }
    st = calloc(1, sizeof *st);
    FLY_CHECK(st != NULL);
    if (watching_init(&st->watching, &st->session.session, query->since, st->region,
                      ACTIONS_CONNECT_MS, &error) != FLY_OK) {
        api_refuse(call, &(struct api_refusal){.status = 400,
                                               .code = "CURSOR_INVALID",
                                               .message = error.text,
                                               .hint = "give it as id: told it"});
        free(st);
        return;
    }
    st->sse = sse;
    (void)fly_copy_string(st->region, sizeof st->region, query->region);
    memcpy(st->types, query->types, sizeof st->types);
    st->type_count = query->type_count;
    st->expires_ms = http_who(call)->expires_ms;
    actions_session_init(sse->api->actions, &st->session, http_token(call));
    st->note.run = on_note;
    fly_list_init(&st->note.link);
    fly_list_append(&sse->streams, &st->link);
    sse->count++;
    st->call_id = http_defer(call);
    st->phase = PHASE_OPENING;
    if (!submit(st, true)) {
        api_refuse(call, &(struct api_refusal){.status = 503,
                                               .code = "OVERLOADED",
                                               .message = "too many calls wait for an edge",
                                               .hint = "try again in a moment",
                                               .retryable = true,
                                               .retry_after_ms = 1000});
        run_close(&st->action, NULL, NULL); /* it never connected: nothing waits */
        stream_free(st);
    }
}

static void tick_one(struct sse_stream *st, int64_t now_ms)
{
    switch (st->phase) {
    case PHASE_LIVE:
    case PHASE_WAITING:
        if (fly_clock_wall_ms() >= st->expires_ms) {
            (void)sse_put(st, NULL, "end",
                          json_pack("{s:s,s:s}", "code", "UNAUTHENTICATED", "message",
                                    "the token has expired"));
            stream_end(st);
        } else if (st->phase == PHASE_WAITING && now_ms >= st->again_ms && submit(st, true)) {
            st->phase = PHASE_OPENING;
        } else if (now_ms - st->wrote_ms >= SSE_KEEPALIVE_MS) {
            (void)sse_put_words(st, ": still here\n\n");
        }
        break;
    case PHASE_FIRST:
        look_first(st, now_ms);
        break;
    case PHASE_TO_CLOSE:
        if (submit(st, false)) {
            st->phase = PHASE_CLOSING;
        }
        break;
    case PHASE_OPENING:
    case PHASE_CLOSING:
        break;
    }
}

void sse_tick(struct sse *sse)
{
    int64_t now_ms = fly_clock_boot_ms();
    struct fly_list *next = NULL;

    for (struct fly_list *at = sse->streams.next; at != &sse->streams; at = next) {
        next = at->next;
        tick_one(FLY_CONTAINER(at, struct sse_stream, link), now_ms);
    }
}

void sse_stop(struct sse *sse)
{
    struct fly_list *next = NULL;

    sse->stopping = true;
    for (struct fly_list *at = sse->streams.next; at != &sse->streams; at = next) {
        struct sse_stream *st = FLY_CONTAINER(at, struct sse_stream, link);
        next = at->next;
        if (st->phase != PHASE_OPENING && st->phase != PHASE_CLOSING) {
            refuse_stopping(st);
            stream_end(st);
        }
    }
}
