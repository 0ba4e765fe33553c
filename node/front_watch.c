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

#include "node/front_watch_parts.h"
#include "node/slice_wire.h"
#include "proto/base/check.h"

enum {
    WATCH_UNTOLD_MAX = 1024, /* events that a filter left out: then the cursor is told */
    WATCH_RANGE_MS = 1000,   /* LATEST: a range that is older goes on with what is new */
    REPLY_CURSOR = 2 << 3 | 2,
};

static void watcher_free(struct front *f, struct watcher *w)
{
    fly_list_drop(&w->link);
    f->watcher_count--;
    rpc_call_set_user(w->call, NULL);
    free(w->slices);
    free(w);
}

static void watch_end(struct front *f, struct watcher *w, enum fly_status status, const char *text)
{
    struct rpc_call *call = w->call;

    watcher_free(f, w);
    rpc_call_fail(call, status, text, (struct fly_bytes){.size = 0});
}

void front_watch_stop(struct front *f, enum fly_status status, const char *text)
{
    while (!fly_list_empty(&f->watchers)) {
        watch_end(f, FLY_CONTAINER(f->watchers.next, struct watcher, link), status, text);
    }
}

void front_cancel(struct front *f, struct rpc_call *call)
{
    if (!rpc_call_finished(call) && rpc_call_user(call) != NULL) {
        watch_end(f, rpc_call_user(call), FLY_CANCELLED, "cancelled");
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

/* False: refused here. */
static bool read_filter(struct rpc_call *call, const Fly__V1__WatchRequest *q,
                        struct watch_filter *out)
{
    struct refusal r;
    size_t unknown = 0;

    for (size_t i = 0; i < q->n_types; i++) {
        uint32_t type = (uint32_t)q->types[i];
        unknown += type == 0 || type >= 64;
        out->types |= type > 0 && type < 64 ? UINT64_C(1) << type : 0;
    }
    out->latest = q->policy == FLY__V1__WATCH_POLICY__WATCH_LATEST_PER_OBJECT;
    if (unknown == 0 && (out->latest || q->policy == FLY__V1__WATCH_POLICY__WATCH_EVERY_EVENT) &&
        q->pace_ms <= WATCH_PACE_MAX_MS) {
        return true;
    }
    if (unknown > 0) {
        refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_INVALID_SPEC, false,
                    "types: %zu of them are no event's type", unknown);
    } else if (q->pace_ms > WATCH_PACE_MAX_MS) {
        refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_INVALID_SPEC, false,
                    "pace_ms: %u is more than %d", q->pace_ms, WATCH_PACE_MAX_MS);
    } else {
        refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_INVALID_SPEC, false,
                    "policy: %d is not known here", (int)q->policy);
    }
    refusal_send(call, &r);
    return false;
}

static bool read_since(struct rpc_call *call, const char *text, struct cursors *out)
{
    struct refusal r;

    out->count = 0;
    if (text[0] == '\0' || cursors_parse(text, out)) {
        return true;
    }
    refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_CURSOR_INVALID, false,
                "'%.64s' is not a cursor slice:incarnation:seq", text);
    (void)fly_copy_string(r.hint, sizeof r.hint, "give it as `flyrpc watch` printed it");
    refusal_send(call, &r);
    return false;
}

static void watcher_begin(struct front *f, struct rpc_call *call, const struct watch_filter *filter,
                          const struct cursors *since, struct owner_now now)
{
    const Fly__V1__WatchRequest *q = (const Fly__V1__WatchRequest *)rpc_call_request(call);
    struct watcher *w = calloc(1, sizeof *w);

    FLY_CHECK(w != NULL);
    w->call = call;
    w->id = ++f->watcher_next_id;
    w->filter = *filter;
    w->pace_ms = filter->latest && q->pace_ms > WATCH_PACE_MS ? q->pace_ms : WATCH_PACE_MS;
    w->began_ms = now.wall_ms;
    w->behind = true;
    w->slices = calloc(CURSORS_MAX, sizeof *w->slices);
    FLY_CHECK(w->slices != NULL);
    for (uint32_t i = 0; i < since->count; i++) {
        struct watch_slice *ws = slice_of(w, since->at[i].slice);
        ws->incarnation = since->at[i].incarnation;
        ws->next = since->at[i].seq + 1;
    }
    w->from_now = since->count == 0;
    fly_list_append(&f->watchers, &w->link);
    f->watcher_count++;
    rpc_call_set_user(call, w);
}

void front_watch(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__WatchRequest *q = (const Fly__V1__WatchRequest *)rpc_call_request(call);
    struct watch_filter filter = {.types = 0};
    const struct catalog_region *region = NULL;
    struct cursors since;
    struct refusal r;

    /* Who resumes was told elsewhere that there is such a region; this edge may yet hear of it. */
    bool resumes = q->since[0] != '\0' && strlen(q->region) < FLY_REGION_SIZE;
    if (q->region[0] != '\0' && !resumes && (region = front_region(f, call, q->region)) == NULL) {
        return;
    }
    (void)fly_copy_string(filter.region, sizeof filter.region,
                          region != NULL ? region->code : q->region);
    if (f->watcher_count == FRONT_WATCHERS_MAX) {
        refusal_set(&r, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_OVERLOADED, true,
                    "%d watchers are connected already", FRONT_WATCHERS_MAX);
        refusal_send(call, &r);
        return;
    }
    if (read_filter(call, q, &filter) && read_since(call, q->since, &since)) {
        watcher_begin(f, call, &filter, &since, now);
    }
}

/* --- messages --- */

/* False: not taken now (blocked) or never (the caller is gone: on_cancel will follow; or it takes
 * only smaller messages: front_watch_turn ends it). */
static bool note_sent(struct watcher *w, enum fly_status status, bool cursor)
{
    w->blocked = status != FLY_OK;
    if (status == FLY_INVALID_ARGUMENT) {
        w->refused = "a message of the watch is larger than the caller takes";
    }
    if (status == FLY_OK && cursor) {
        w->tell = false;
        w->untold = 0;
    }
    return !w->blocked;
}

static bool send_message(struct watcher *w, Fly__V1__WatchReply *reply)
{
    return note_sent(w, rpc_call_send(w->call, &reply->base), reply->cursor[0] != '\0');
}

/* Where the watcher stands in all slices, with `ws` at `next` of `incarnation`. */
static size_t cursor_of(const struct watcher *w, const struct watch_slice *ws, uint64_t incarnation,
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
    return cursors_format(&all, out);
}

bool watch_send_batch(struct watcher *w, struct watch_slice *ws, struct watch_batch *batch)
{
    char cursor[CURSORS_TEXT_SIZE];

    if (batch->count == 0) {
        w->untold += batch->next - ws->next;
        ws->next = batch->next;
        return true;
    }
    /* the cursor is the watcher's own: it goes behind what all are told */
    size_t size = cursor_of(w, ws, ws->incarnation, batch->next, cursor);
    uint8_t *at = batch->bytes + batch->size;
    *at++ = REPLY_CURSOR;
    size_t rest = size;
    for (; rest >= 0x80; rest >>= 7) {
        *at++ = (uint8_t)(rest | 0x80);
    }
    *at++ = (uint8_t)rest;
    memcpy(at, cursor, size);
    const struct fly_bytes message = {.data = batch->bytes,
                                      .size = (size_t)(at - batch->bytes) + size};
    if (!note_sent(w, rpc_call_send_packed(w->call, message), size > 0)) {
        return false;
    }
    ws->next = batch->next;
    return true;
}

/* Where it stands: a watcher that is cut off before its first event, or whose filter leaves much
 * out, could not go on from there else. */
static void send_cursor(struct watcher *w)
{
    Fly__V1__WatchReply reply = FLY__V1__WATCH_REPLY__INIT;
    char cursor[CURSORS_TEXT_SIZE];

    (void)cursor_of(w, NULL, 0, 0, cursor);
    reply.cursor = cursor;
    if (cursor[0] != '\0') {
        (void)send_message(w, &reply);
    }
}

void watch_start_reset(struct watch_slice *ws, const char *reason)
{
    ws->mode = WATCH_RESET;
    ws->reset_after = 0;
    ws->reset_next = 0;
    ws->reason = reason;
}

void watch_send_reset(struct watcher *w, struct watch_slice *ws, uint64_t incarnation, uint64_t seq,
                      Fly__V1__Vm **vms, size_t count, uint64_t after, bool last)
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
        (void)cursor_of(w, ws, ws->reset_incarnation, ws->reset_next, cursor);
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
        .region = w->filter.region, .state = VM_STARTED, .after = ws->reset_after};
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
    watch_send_reset(w, ws, sum->incarnation, sum->seq, pointers, shown,
                     shown > 0 ? live[shown - 1].number : ws->reset_after, shown == count);
    free(vms);
    free(live);
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
        watch_start_reset(ws, "it was founded anew since the cursor");
    } else if (ws->next > last + 1) {
        watch_start_reset(ws, "it has fewer events than the cursor counts: some were lost");
    } else {
        watch_start_reset(ws, "the events after the cursor are no longer kept");
    }
}

/* --- pace: periods of the clock, so that those of one pace are told together --- */

static int64_t period_of(const struct watcher *w, int64_t now_ms)
{
    return now_ms / w->pace_ms;
}

static int64_t period_end(const struct watcher *w)
{
    return (w->told_period + 1) * w->pace_ms;
}

static void due_at(struct front *f, int64_t ms)
{
    f->watch_due_ms = ms < f->watch_due_ms ? ms : f->watch_due_ms;
}

/* How far the range goes that is told now. Of LATEST it is told whole before the next begins, so
 * that all who are told it share one reading of the ring; but who reads slowly does not go on with
 * what has become old. */
static uint64_t range_end(const struct watcher *w, struct watch_slice *ws, uint64_t last,
                          int64_t now_ms)
{
    if (!w->filter.latest) {
        return last;
    }
    if (ws->next > ws->range_to || ws->range_to > last || now_ms - ws->range_ms >= WATCH_RANGE_MS) {
        ws->range_to = last;
        ws->range_ms = now_ms;
    }
    return ws->range_to;
}

static void send_live(struct front *f, struct watcher *w, struct watch_slice *ws,
                      const struct stream *st, int64_t now_ms)
{
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
    uint64_t to = range_end(w, ws, last, now_ms);
    while (!w->blocked && ws->next <= to) {
        (void)watch_send_batch(w, ws, watch_batch_of(f->batches, st, &w->filter, ws->next, to));
    }
    w->told_period = period_of(w, now_ms);
    w->behind = w->behind || ws->next <= last;
}

/* `gated`: it was told events in this period of its pace already. */
static void feed_slice(struct front *f, struct watcher *w, struct watch_slice *ws,
                       const struct stream *st, bool gated, int64_t now_ms)
{
    struct owner *owner = st->local && f->host != NULL ? host_owner(f->host) : NULL;

    if (ws->asking || (st->local && (owner == NULL ||
                                     owner_quarantined(owner) != NULL))) { /* an old copy's word */
        w->behind = true;
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
    if (ws->mode == WATCH_LIVE && gated) {
        due_at(f, period_end(w));
    } else if (ws->mode == WATCH_LIVE) {
        send_live(f, w, ws, st, now_ms);
    } else if (ws->mode == WATCH_CATCHUP && now_ms < ws->ask_ms) {
        ws->mode = WATCH_WAIT; /* the ring may have it before the owner is asked again */
    } else if (ws->mode == WATCH_CATCHUP) {
        watch_ask_catchup(f, w, ws, now_ms);
    } else if (ws->mode == WATCH_RESET && owner == NULL && now_ms >= ws->ask_ms) {
        watch_ask_reset(f, w, ws, now_ms);
    }
    w->behind = w->behind || ws->mode != WATCH_LIVE || gated;
    if (!ws->asking && now_ms < ws->ask_ms && ws->mode != WATCH_LIVE) {
        due_at(f, ws->ask_ms);
    }
}

/* Begins behind the slice that filled the reader's window: a busy one must not starve the others.
 */
static void feed_slices(struct front *f, struct watcher *w, bool gated, int64_t now_ms)
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
        feed_slice(f, w, ws, st, gated, now_ms);
        w->turn = w->blocked ? (begin + i + 1) % count : w->turn;
    }
}

/* `heard`: of all streams now. Most watchers have been told all that is there, or will be at the
 * end of their period: a turn must not cost more than a look at each of those. */
static void feed_watcher(struct front *f, struct watcher *w, uint64_t heard, int64_t now_ms)
{
    bool gated = !w->cut && w->told_period == period_of(w, now_ms);

    if (w->blocked || (!w->behind && w->heard == heard)) {
        return;
    }
    if (gated && !w->behind) {
        due_at(f, period_end(w));
        return;
    }
    w->behind = false;
    w->heard = heard;
    feed_slices(f, w, gated, now_ms);
    if (!w->blocked && (w->tell || w->untold >= WATCH_UNTOLD_MAX)) {
        send_cursor(w);
    }
    w->behind = w->behind || w->blocked || w->tell;
    w->cut = w->blocked;
    w->begun = true;
}

/* Another number whenever a stream has something that it had not. */
static uint64_t streams_heard(const struct front *f)
{
    uint64_t heard = 0;

    for (uint32_t i = 0; i < streams_count(f->config.streams); i++) {
        const struct stream *st = streams_at(f->config.streams, i);
        heard = (heard ^ st->retain.last ^ st->resets << 48 ^ (uint64_t)st->forgotten << 40) *
                UINT64_C(0x9e3779b97f4a7c15);
        heard ^= heard >> 29;
    }
    return heard;
}

void front_watch_turn(struct front *f, struct owner_now now)
{
    uint64_t heard = f->watcher_count > 0 ? streams_heard(f) : 0;

    f->watch_due_ms = INT64_MAX;
    for (struct fly_list *at = f->watchers.next; at != &f->watchers;) {
        struct watcher *w = FLY_CONTAINER(at, struct watcher, link);
        at = at->next;
        feed_watcher(f, w, heard, now.boot_ms);
        if (w->refused != NULL) {
            watch_end(f, w, FLY_RESOURCE_EXHAUSTED, w->refused);
        }
    }
}
