/*
 * front_watch - a watch is a stream of replies that follows every slice's numbered events (DESIGN
 * 6).
 *
 * In each slice a watcher stands before one seq and gets every event from there on, in order, or is
 * told `reset` with what lives now. It is never skipped: one that does not read is blocked until it
 * does. Events come from this node's ring. Whoever stands anywhere else (before it, beyond it: a
 * cursor of another edge that heard more, in another log) is a question for the slice's owner,
 * whose word counts: this node's picture may be behind. When the owner's retention has passed the
 * watcher by too, it is reset and told so. Where it stands it is told too while nothing happens: a
 * message with a cursor and nothing else.
 *
 *   WAIT ──known──▶ LIVE ◀──caught up── CATCHUP ──below──▶ RESET ──told all──▶ LIVE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fly/v1/slice.rpc.h"
#include "node/front_parts.h"
#include "node/slice_wire.h"
#include "proto/base/check.h"
#include "proto/wire/cursors.h"

enum {
    WATCH_CALL_MS = 1500,
    WATCH_PAUSE_MS = 250,    /* before an owner is asked again that had nothing to say */
    WATCH_UNTOLD_MAX = 1024, /* events that a filter left out: then the cursor is told */
    CATCHUP_LIMIT = WATCH_BATCH_MAX,
};

/* The question of a watcher to an owner: which watcher, which of its slices. */
enum { QUESTION_BITS = 8 };

_Static_assert(CURSORS_MAX <= 1 << QUESTION_BITS, "a slice's place fits a question");

static void watcher_free(struct front *f, struct watcher *w)
{
    fly_list_drop(&w->link);
    f->watcher_count--;
    rpc_call_set_user(w->call, NULL);
    free(w->slices);
    free(w);
}

void front_watch_end(struct front *f, struct watcher *w, enum fly_status status, const char *text)
{
    struct rpc_call *call = w->call;

    watcher_free(f, w);
    rpc_call_fail(call, status, text, (struct fly_bytes){.size = 0});
}

void front_cancel(struct front *f, struct rpc_call *call)
{
    if (!rpc_call_finished(call) && rpc_call_user(call) != NULL) {
        front_watch_end(f, rpc_call_user(call), FLY_CANCELLED, "cancelled");
    }
}

void front_writable(struct front *f, struct rpc_call *call)
{
    (void)f;
    if (!rpc_call_finished(call) && rpc_call_user(call) != NULL) {
        struct watcher *w = rpc_call_user(call);
        w->blocked = false;
    }
}

static struct watch_slice *slice_of(struct watcher *w, uint32_t tag)
{
    for (uint32_t i = 0; i < w->slice_count; i++) {
        if (w->slices[i].tag == tag) {
            return &w->slices[i];
        }
    }
    if (w->slice_count == CURSORS_MAX) {
        return NULL;
    }
    struct watch_slice *ws = &w->slices[w->slice_count++];
    *ws = (struct watch_slice){.tag = tag, .mode = WATCH_WAIT, .waited = w->begun};
    return ws;
}

void front_watch(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__WatchRequest *q = (const Fly__V1__WatchRequest *)rpc_call_request(call);
    const struct catalog_region *region = NULL;
    struct cursors since;
    struct refusal r;

    /* Who resumes was told elsewhere that there is such a region; this edge may yet hear of it. */
    bool resumes = q->since[0] != '\0' && strlen(q->region) < FLY_REGION_SIZE;
    if (q->region[0] != '\0' && !resumes && (region = front_region(f, call, q->region)) == NULL) {
        return;
    }
    if (f->watcher_count == FRONT_WATCHERS_MAX) {
        refusal_set(&r, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_OVERLOADED, true,
                    "%d watchers are connected already", FRONT_WATCHERS_MAX);
        refusal_send(call, &r);
        return;
    }
    since.count = 0;
    if (q->since[0] != '\0' && !cursors_parse(q->since, &since)) {
        refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_CURSOR_INVALID, false,
                    "'%.64s' is not a cursor slice:incarnation:seq", q->since);
        (void)fly_copy_string(r.hint, sizeof r.hint, "give it as `flyrpc watch` printed it");
        refusal_send(call, &r);
        return;
    }
    struct watcher *w = calloc(1, sizeof *w);
    FLY_CHECK(w != NULL);
    w->call = call;
    w->id = ++f->watcher_next_id;
    w->began_ms = now.wall_ms;
    w->slices = calloc(CURSORS_MAX, sizeof *w->slices);
    FLY_CHECK(w->slices != NULL);
    (void)fly_copy_string(w->region, sizeof w->region, region != NULL ? region->code : q->region);
    for (uint32_t i = 0; i < since.count; i++) {
        struct watch_slice *ws = slice_of(w, since.at[i].slice);
        ws->incarnation = since.at[i].incarnation;
        ws->next = since.at[i].seq + 1;
    }
    w->from_now = since.count == 0;
    fly_list_append(&f->watchers, &w->link);
    f->watcher_count++;
    rpc_call_set_user(call, w);
}

/* --- messages --- */

/* False: not taken now (blocked) or never (the caller is gone: on_cancel will follow; or it takes
 * only smaller messages: front_watch_turn ends it). */
static bool send_message(struct watcher *w, Fly__V1__WatchReply *reply)
{
    enum fly_status status = rpc_call_send(w->call, &reply->base);

    w->blocked = status != FLY_OK;
    if (status == FLY_INVALID_ARGUMENT) {
        w->refused = "a message of the watch is larger than the caller takes";
    }
    if (status == FLY_OK && reply->cursor[0] != '\0') {
        w->tell = false;
        w->untold = 0;
    }
    return !w->blocked;
}

/* Where the watcher stands in all slices, with `ws` at `next` of `incarnation`. */
static void cursor_of(const struct watcher *w, const struct watch_slice *ws, uint64_t incarnation,
                      uint64_t next, char out[static CURSORS_TEXT_SIZE])
{
    struct cursors all = {.count = 0};

    for (uint32_t i = 0; i < w->slice_count; i++) {
        const struct watch_slice *at = &w->slices[i];
        uint64_t in = at == ws ? incarnation : at->incarnation;
        uint64_t seq = at == ws ? next : at->next;
        if (in != 0) {
            (void)cursors_put(&all,
                              (struct cursor){.slice = at->tag, .incarnation = in, .seq = seq - 1});
        }
    }
    (void)cursors_format(&all, out);
}

/* Sends events[count] of one slice; the watcher stands before `next` then. */
static bool send_events(struct watcher *w, struct watch_slice *ws, struct event_message_pb *events,
                        size_t count, uint64_t next)
{
    Fly__V1__Event *pointers[WATCH_BATCH_MAX];
    Fly__V1__WatchReply reply = FLY__V1__WATCH_REPLY__INIT;
    char cursor[CURSORS_TEXT_SIZE];

    for (size_t i = 0; i < count; i++) {
        pointers[i] = &events[i].pb;
    }
    cursor_of(w, ws, ws->incarnation, next, cursor);
    reply.n_events = count;
    reply.events = pointers;
    reply.cursor = cursor;
    if (count > 0 && !send_message(w, &reply)) {
        return false;
    }
    w->untold += count == 0 ? next - ws->next : 0;
    ws->next = next;
    return true;
}

/* Where it stands: a watcher that is cut off before its first event, or whose filter leaves much
 * out, could not go on from there else. */
static void send_cursor(struct watcher *w)
{
    Fly__V1__WatchReply reply = FLY__V1__WATCH_REPLY__INIT;
    char cursor[CURSORS_TEXT_SIZE];

    cursor_of(w, NULL, 0, 0, cursor);
    reply.cursor = cursor;
    if (cursor[0] != '\0') {
        (void)send_message(w, &reply);
    }
}

static bool wanted(const struct watcher *w, const struct event *e)
{
    return w->region[0] == '\0' || strcmp(w->region, e->region) == 0;
}

static void start_reset(struct watch_slice *ws, const char *reason)
{
    ws->mode = WATCH_RESET;
    ws->reset_after = 0;
    ws->reset_next = 0;
    ws->reason = reason;
}

/* A part of what lives now. `last`: no more follows. */
static void send_reset(struct watcher *w, struct watch_slice *ws, uint64_t incarnation,
                       uint64_t seq, Fly__V1__Vm **vms, size_t count, uint64_t after, bool last)
{
    Fly__V1__WatchReply reply = FLY__V1__WATCH_REPLY__INIT;
    char cursor[CURSORS_TEXT_SIZE];
    char reason[160];
    char slice[SLICE_TEXT_SIZE];

    if (ws->reset_next == 0 || ws->reset_incarnation != incarnation) {
        ws->reset_incarnation = incarnation;
        ws->reset_next = seq + 1; /* what changes while the parts go out is told again as events */
    }
    slice_format(ws->tag, slice);
    (void)snprintf(reason, sizeof reason, "slice %s: %s", slice, ws->reason);
    reply.reset = true;
    reply.reset_reason = reason;
    reply.n_vms = count;
    reply.vms = vms;
    if (last) { /* only who has seen all parts may go on from here */
        cursor_of(w, ws, ws->reset_incarnation, ws->reset_next, cursor);
        reply.cursor = cursor;
    }
    if (!send_message(w, &reply)) {
        if (ws->reset_after == 0) {
            ws->reset_next = 0; /* nothing was told: what lives then counts, not what lives now */
        }
        return;
    }
    ws->reset_after = after;
    if (last) {
        ws->incarnation = ws->reset_incarnation;
        ws->next = ws->reset_next;
        ws->mode = WATCH_WAIT;
    }
}

/* --- the slice that is hosted here --- */

static void reset_here(struct watcher *w, struct watch_slice *ws, struct owner *owner)
{
    const struct slice_totals *sum = slice_totals(owner_state(owner));
    const struct vm_query query = {
        .region = w->region, .state = VM_STARTED, .after = ws->reset_after};
    struct vm_message *vms = calloc(WATCH_BATCH_MAX, sizeof *vms);
    Fly__V1__Vm *pointers[WATCH_BATCH_MAX];
    struct found_vm *live = NULL;
    size_t count = front_find_vms(owner_state(owner), &query, &live);
    size_t shown = 0;

    FLY_CHECK(vms != NULL);
    for (; shown < count && shown < WATCH_BATCH_MAX; shown++) {
        struct vm vm;
        FLY_CHECK(owner_vm_at(owner, live[shown].slot, &vm));
        vm_message_fill(&vms[shown], &vm);
        pointers[shown] = &vms[shown].pb;
    }
    send_reset(w, ws, sum->incarnation, sum->seq, pointers, shown,
               shown > 0 ? live[shown - 1].number : ws->reset_after, shown == count);
    free(vms);
    free(live);
}

/* --- other nodes' slices: the owner is asked --- */

static struct watch_slice *question_of(struct front *f, uint64_t context, struct watcher **out)
{
    uint64_t id = context >> QUESTION_BITS;
    uint32_t place = (uint32_t)(context & ((1u << QUESTION_BITS) - 1));

    for (struct fly_list *at = f->watchers.next; at != &f->watchers; at = at->next) {
        struct watcher *w = FLY_CONTAINER(at, struct watcher, link);
        if (w->id == id) {
            *out = w;
            w->slices[place].asking = false;
            return &w->slices[place];
        }
    }
    return NULL;
}

static void ask(struct front *f, const struct watcher *w, struct watch_slice *ws,
                const struct rpc_method *method, const ProtobufCMessage *request, links_done *done,
                int64_t now_ms)
{
    const struct gossip_member *owner = directory_owner(f->config.directory, ws->tag);
    uint64_t context = w->id << QUESTION_BITS | (uint64_t)(ws - w->slices);
    const struct rpc_call_options options = {.timeout_ms = WATCH_CALL_MS, .parent = w->call};

    ws->asking = f->config.links != NULL && owner != NULL && !owner->self &&
                 owner->meta.serving && /* else what it says may be of an old copy */
                 links_call(f->config.links, &owner->credential.id, method, request, &options,
                            now_ms, done, f, context) == FLY_OK;
    if (!ws->asking) {
        ws->ask_ms = now_ms + WATCH_PAUSE_MS;
    }
}

/* The owner's answer brought nothing. */
static void ask_later(struct watch_slice *ws)
{
    ws->ask_ms = front_clocks().boot_ms + WATCH_PAUSE_MS;
}

static void replayed(void *user, uint64_t context, struct rpc_reply *reply)
{
    struct front *f = user;
    struct watcher *w = NULL;
    struct watch_slice *ws = question_of(f, context, &w);
    const Fly__V1__ReplayReply *r = (const Fly__V1__ReplayReply *)reply->message;
    struct event_message message;
    struct fly_error error;

    if (ws == NULL || reply->status != FLY_OK || ws->mode != WATCH_CATCHUP) {
        if (ws != NULL) {
            ws->mode = WATCH_WAIT;
            ask_later(ws);
        }
        rpc_reply_fini(reply);
        return;
    }
    if (r->incarnation != ws->incarnation) {
        start_reset(ws, "it was founded anew since the cursor");
    } else if (r->below) {
        start_reset(ws, "the events after the cursor are no longer kept");
    } else if (r->last + 1 < ws->next) {
        start_reset(ws, "it has fewer events than the cursor counts: some were lost");
    } else if (r->events.len > 0 &&
               event_message_decode(r->events.data, r->events.len, &message, &error) == FLY_OK &&
               message.slice == ws->tag && message.incarnation == ws->incarnation &&
               message.from == ws->next && message.to - message.from < WATCH_BATCH_MAX) {
        struct event_message_pb *events = calloc(WATCH_BATCH_MAX, sizeof *events);
        struct event e;
        size_t count = 0;
        FLY_CHECK(events != NULL);
        while (event_message_next(&message, &e)) {
            if (wanted(w, &e)) {
                event_message_fill(&events[count++], &e);
            }
        }
        if (!w->blocked) {
            (void)send_events(w, ws, events, count, message.to + 1);
        }
        free(events);
        ws->mode = WATCH_WAIT;
    } else {
        ws->mode = WATCH_WAIT; /* the ring may have it by now */
        ask_later(ws);
    }
    rpc_reply_fini(reply);
}

static void ask_catchup(struct front *f, struct watcher *w, struct watch_slice *ws, int64_t now_ms)
{
    Fly__V1__ReplayRequest q = FLY__V1__REPLAY_REQUEST__INIT;

    q.slice = ws->tag;
    q.incarnation = ws->incarnation;
    q.from = ws->next;
    q.limit = CATCHUP_LIMIT;
    ask(f, w, ws, &rpc_slice_replay, &q.base, replayed, now_ms);
}

static void listed(void *user, uint64_t context, struct rpc_reply *reply)
{
    struct front *f = user;
    struct watcher *w = NULL;
    struct watch_slice *ws = question_of(f, context, &w);
    const Fly__V1__SliceListReply *r = (const Fly__V1__SliceListReply *)reply->message;

    if (ws == NULL || reply->status != FLY_OK || ws->mode != WATCH_RESET || w->blocked) {
        if (ws != NULL && reply->status != FLY_OK) {
            ask_later(ws);
        }
        rpc_reply_fini(reply);
        return;
    }
    if (ws->reset_next != 0 && ws->reset_incarnation != r->incarnation) {
        start_reset(ws, "it was founded anew");
    } else {
        bool last = r->next <= ws->reset_after; /* 0, or a place that leads nowhere */
        send_reset(w, ws, r->incarnation, r->seq, r->vms, r->n_vms, r->next, last);
    }
    rpc_reply_fini(reply);
}

static void ask_reset(struct front *f, struct watcher *w, struct watch_slice *ws, int64_t now_ms)
{
    Fly__V1__SliceListRequest q = FLY__V1__SLICE_LIST_REQUEST__INIT;

    q.slice = ws->tag;
    q.region = w->region;
    q.state = FLY__V1__VM_STATE__VM_STATE_STARTED;
    q.after = ws->reset_after;
    q.limit = WATCH_BATCH_MAX;
    ask(f, w, ws, &rpc_slice_list, &q.base, listed, now_ms);
}

/* --- turns --- */

/* Where a watch begins in a slice that its cursor does not name. */
static uint64_t first_seq(const struct watcher *w, const struct watch_slice *ws,
                          const struct stream *st, uint64_t first, uint64_t last)
{
    if (!w->from_now || (ws->waited && st->founded_ms >= w->began_ms)) {
        return 1; /* it came after the cursor, or after the watch began */
    }
    return ws->waited ? first : last + 1; /* "now" was before the ring began for who has waited */
}

/* Where the watcher stands against this node's ring. */
static void place(struct watcher *w, struct watch_slice *ws, const struct stream *st)
{
    uint64_t first = 0;
    uint64_t last = 0;

    if (st->incarnation == 0) {
        ws->waited = true; /* nothing was heard of it yet */
        return;
    }
    stream_range(st, &first, &last);
    if (ws->incarnation == 0) {
        ws->next = first_seq(w, ws, st, first, last);
        ws->incarnation = st->incarnation;
        w->tell = true;
    }
    bool same = ws->incarnation == st->incarnation;
    if (same && ws->next >= first && ws->next <= last + 1) {
        ws->mode = WATCH_LIVE;
    } else if (!st->local) {
        ws->mode = WATCH_CATCHUP;
    } else if (!same) {
        start_reset(ws, "it was founded anew since the cursor");
    } else if (ws->next > last + 1) {
        start_reset(ws, "it has fewer events than the cursor counts: some were lost");
    } else {
        start_reset(ws, "the events after the cursor are no longer kept");
    }
}

static void send_live(struct watcher *w, struct watch_slice *ws, const struct stream *st)
{
    struct event_message_pb *events = NULL;
    uint64_t first = 0;
    uint64_t last = 0;

    stream_range(st, &first, &last);
    if (ws->incarnation != st->incarnation || ws->next < first || ws->next > last + 1) {
        ws->mode = WATCH_WAIT;
        return;
    }
    if (ws->next > last) {
        return;
    }
    events = calloc(WATCH_BATCH_MAX, sizeof *events);
    FLY_CHECK(events != NULL);
    while (!w->blocked && ws->next <= last) {
        uint64_t seq = ws->next;
        size_t count = 0;
        for (; seq <= last && count < WATCH_BATCH_MAX; seq++) {
            struct event e;
            FLY_CHECK(stream_event(st, seq, &e));
            if (wanted(w, &e)) {
                event_message_fill(&events[count++], &e);
            }
        }
        (void)send_events(w, ws, events, count, seq);
    }
    free(events);
}

static void feed_slice(struct front *f, struct watcher *w, struct watch_slice *ws,
                       const struct stream *st, int64_t now_ms)
{
    struct owner *owner = st->local && f->host != NULL ? host_owner(f->host) : NULL;

    if (ws->asking || (st->local && (owner == NULL ||
                                     owner_quarantined(owner) != NULL))) { /* an old copy's word */
        return;
    }
    if (ws->mode == WATCH_WAIT) {
        place(w, ws, st);
    }
    while (ws->mode == WATCH_RESET && owner != NULL && !w->blocked) {
        reset_here(w, ws, owner);
    }
    if (ws->mode == WATCH_WAIT) {
        place(w, ws, st);
    }
    if (ws->mode == WATCH_LIVE) {
        send_live(w, ws, st);
    } else if (ws->mode == WATCH_CATCHUP && now_ms < ws->ask_ms) {
        ws->mode = WATCH_WAIT; /* the ring may have it before the owner is asked again */
    } else if (ws->mode == WATCH_CATCHUP) {
        ask_catchup(f, w, ws, now_ms);
    } else if (ws->mode == WATCH_RESET && owner == NULL && now_ms >= ws->ask_ms) {
        ask_reset(f, w, ws, now_ms);
    }
    if (!ws->asking && now_ms < ws->ask_ms && ws->mode != WATCH_LIVE) {
        f->watch_due_ms = ws->ask_ms < f->watch_due_ms ? ws->ask_ms : f->watch_due_ms;
    }
}

/* Begins behind the slice that filled the reader's window: a busy one must not starve the others.
 */
static void feed_watcher(struct front *f, struct watcher *w, int64_t now_ms)
{
    uint32_t count = streams_count(f->config.streams);
    uint32_t begin = w->turn;

    for (uint32_t i = 0; i < count && !w->blocked; i++) {
        struct stream *st = streams_at(f->config.streams, (begin + i) % count);
        if (st->forgotten) {
            continue;
        }
        struct watch_slice *ws = slice_of(w, st->tag);
        if (ws == NULL) {
            w->refused = "there are more slices than a cursor can name";
            return;
        }
        feed_slice(f, w, ws, st, now_ms);
        w->turn = w->blocked ? (begin + i + 1) % count : w->turn;
    }
    if (!w->blocked && (w->tell || w->untold >= WATCH_UNTOLD_MAX)) {
        send_cursor(w);
    }
    w->begun = true;
}

void front_watch_turn(struct front *f, struct owner_now now)
{
    f->watch_due_ms = INT64_MAX;
    for (struct fly_list *at = f->watchers.next; at != &f->watchers;) {
        struct watcher *w = FLY_CONTAINER(at, struct watcher, link);
        at = at->next;
        feed_watcher(f, w, now.boot_ms);
        if (w->refused != NULL) {
            front_watch_end(f, w, FLY_RESOURCE_EXHAUSTED, w->refused);
        }
    }
}
