/*
 * front_watch - a watch is a stream that follows the owner's numbered events (DESIGN 6).
 *
 * A watcher stands before one seq and gets every event from there on, in order, or is told `reset`
 * with what lives now. It is never skipped: one that does not read is blocked until it does, and
 * when retention has passed it by, it is reset and told so.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/front_parts.h"
#include "proto/base/check.h"

static void watcher_free(struct front *f, struct watcher *w)
{
    fly_list_drop(&w->link);
    f->watcher_count--;
    rpc_call_set_user(w->call, NULL);
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

static void start_reset(struct watcher *w, const char *reason)
{
    w->reset = true;
    w->reset_after = 0;
    w->next = 0;
    (void)fly_copy_string(w->reset_reason, sizeof w->reset_reason, reason);
}

/* Places the watcher behind the cursor, or before a reset. False: the cursor is not one. */
static bool place_watcher(struct watcher *w, struct owner *owner, const char *since)
{
    const struct slice_totals *sum = slice_totals(owner_state(owner));
    uint64_t first = 0;
    uint64_t last = 0;
    uint32_t tag = 0;
    uint64_t incarnation = 0;
    uint64_t seq = 0;

    owner_events_range(owner, &first, &last);
    w->next = last + 1;
    if (since[0] == '\0') {
        return true;
    }
    if (!cursor_parse(since, &tag, &incarnation, &seq)) {
        return false;
    }
    if (tag != sum->tag) {
        start_reset(w, "the cursor is of a slice that is not here");
    } else if (incarnation != sum->incarnation) {
        start_reset(w, "the slice was founded anew since the cursor");
    } else if (seq > last) {
        start_reset(w, "the slice has fewer events than the cursor counts: some were lost");
    } else if (seq + 1 < first) {
        start_reset(w, "the events after the cursor are no longer kept");
    } else {
        w->next = seq + 1;
    }
    return true;
}

void front_watch(struct front *f, struct rpc_call *call)
{
    const Fly__V1__WatchRequest *q = (const Fly__V1__WatchRequest *)rpc_call_request(call);
    const struct catalog_region *region = NULL;
    struct owner *owner = front_owner(f, call);
    struct refusal r;

    if (owner == NULL ||
        (q->region[0] != '\0' && (region = front_region(f, call, q->region)) == NULL)) {
        return;
    }
    if (f->watcher_count == FRONT_WATCHERS_MAX) {
        refusal_set(&r, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_OVERLOADED, true,
                    "%d watchers are connected already", FRONT_WATCHERS_MAX);
        refusal_send(call, &r);
        return;
    }
    struct watcher *w = calloc(1, sizeof *w);
    FLY_CHECK(w != NULL);
    w->call = call;
    if (region != NULL) {
        (void)fly_copy_string(w->region, sizeof w->region, region->code);
    }
    if (!place_watcher(w, owner, q->since)) {
        free(w);
        refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_CURSOR_INVALID, false,
                    "'%.64s' is not a cursor slice:incarnation:seq", q->since);
        (void)fly_copy_string(r.hint, sizeof r.hint, "give it as `flyrpc watch` printed it");
        refusal_send(call, &r);
        return;
    }
    fly_list_append(&f->watchers, &w->link);
    f->watcher_count++;
    rpc_call_set_user(call, w);
}

/* False: not taken now (blocked) or never (the caller is gone; on_cancel will follow). */
static bool send_message(struct watcher *w, Fly__V1__WatchReply *reply)
{
    w->blocked = rpc_call_send(w->call, &reply->base) != FLY_OK;
    return !w->blocked;
}

static void cursor_of(struct owner *owner, uint64_t seq, char out[static CURSOR_TEXT_SIZE])
{
    const struct slice_totals *sum = slice_totals(owner_state(owner));

    cursor_format(sum->tag, sum->incarnation, seq, out);
}

/* --- reset: what lives now, in parts --- */

static void send_reset(struct watcher *w, struct owner *owner)
{
    const struct vm_query query = {
        .region = w->region, .state = VM_STARTED, .after = w->reset_after};
    struct vm_message *vms = calloc(WATCH_BATCH_MAX, sizeof *vms);
    Fly__V1__Vm *pointers[WATCH_BATCH_MAX];
    struct found_vm *live = NULL;
    size_t count = front_find_vms(owner_state(owner), &query, &live);
    size_t shown = 0;

    FLY_CHECK(vms != NULL);
    if (w->next == 0) { /* what changes while the parts go out is told again as events */
        w->next = slice_totals(owner_state(owner))->seq + 1;
    }
    for (; shown < count && shown < WATCH_BATCH_MAX; shown++) {
        struct vm vm;
        FLY_CHECK(owner_vm_at(owner, live[shown].slot, &vm));
        vm_message_fill(&vms[shown], &vm);
        pointers[shown] = &vms[shown].pb;
    }
    Fly__V1__WatchReply reply = FLY__V1__WATCH_REPLY__INIT;
    reply.reset = true;
    reply.reset_reason = w->reset_reason;
    reply.n_vms = shown;
    reply.vms = pointers;
    char cursor[CURSOR_TEXT_SIZE];
    cursor_of(owner, w->next - 1, cursor);
    if (shown == count) { /* only who has seen all parts may go on from here */
        reply.cursor = cursor;
    }
    if (send_message(w, &reply)) {
        w->reset_after = shown > 0 ? live[shown - 1].number : w->reset_after;
        w->reset = shown < count;
    }
    free(vms);
    free(live);
}

/* --- events --- */

static void send_events(struct watcher *w, struct owner *owner, uint64_t last)
{
    struct event_message_pb *events = calloc(WATCH_BATCH_MAX, sizeof *events);
    Fly__V1__Event *pointers[WATCH_BATCH_MAX];
    Fly__V1__WatchReply reply = FLY__V1__WATCH_REPLY__INIT;
    uint64_t seq = w->next;
    size_t count = 0;

    FLY_CHECK(events != NULL);
    for (; seq <= last && count < WATCH_BATCH_MAX; seq++) {
        struct event e;
        FLY_CHECK(owner_event(owner, seq, &e));
        if (w->region[0] == '\0' || strcmp(w->region, e.region) == 0) {
            event_message_fill(&events[count], &e);
            pointers[count] = &events[count].pb;
            count++;
        }
    }
    char cursor[CURSOR_TEXT_SIZE];
    cursor_of(owner, seq - 1, cursor);
    reply.n_events = count;
    reply.events = pointers;
    reply.cursor = cursor;
    if (count == 0 || send_message(w, &reply)) {
        w->next = seq;
    }
    free(events);
}

static void feed(struct watcher *w, struct owner *owner)
{
    uint64_t first = 0;
    uint64_t last = 0;

    owner_events_range(owner, &first, &last);
    while (!w->blocked && (w->reset || w->next <= last)) {
        if (!w->reset && w->next < first) {
            start_reset(w, "this watcher read too slowly: events have passed it by");
        }
        if (w->reset) {
            send_reset(w, owner);
        } else {
            send_events(w, owner, last);
        }
    }
}

void front_watch_turn(struct front *f)
{
    struct owner *owner = host_owner(f->host);

    if (owner == NULL) {
        return;
    }
    for (struct fly_list *at = f->watchers.next; at != &f->watchers;) {
        struct watcher *w = FLY_CONTAINER(at, struct watcher, link);
        at = at->next;
        feed(w, owner);
    }
}
