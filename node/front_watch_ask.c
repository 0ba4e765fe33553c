/*
 * front_watch_ask - what a watcher needs of another node's slice: the events that this node's ring
 * does not keep, or what lives now.
 */
#include <stdlib.h>

#include "fly/v1/slice.rpc.h"
#include "node/front_watch_parts.h"
#include "proto/base/check.h"

enum {
    WATCH_CALL_MS = 1500,
    WATCH_PAUSE_MS = 250, /* before an owner is asked again that had nothing to say */
    CATCHUP_LIMIT = WATCH_BATCH_MAX,
};

/* The question of a watcher to an owner: which watcher, which of its slices. */
enum { QUESTION_BITS = 8 };

_Static_assert(CURSORS_MAX <= 1 << QUESTION_BITS, "a slice's place fits a question");

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
        watch_start_reset(ws, "it was founded anew since the cursor");
    } else if (r->below) {
        watch_start_reset(ws, "the events after the cursor are no longer kept");
    } else if (r->last + 1 < ws->next) {
        watch_start_reset(ws, "it has fewer events than the cursor counts: some were lost");
    } else if (r->events.len > 0 &&
               event_message_decode(r->events.data, r->events.len, &message, &error) == FLY_OK &&
               message.slice == ws->tag && message.incarnation == ws->incarnation &&
               message.from == ws->next && message.to - message.from < WATCH_BATCH_MAX) {
        if (!w->blocked) {
            (void)watch_send_batch(w, ws, watch_batch_of_page(f->batches, &message, &w->filter));
        }
        ws->mode = WATCH_WAIT;
    } else {
        ws->mode = WATCH_WAIT; /* the ring may have it by now */
        ask_later(ws);
    }
    rpc_reply_fini(reply);
}

void watch_ask_catchup(struct front *f, struct watcher *w, struct watch_slice *ws, int64_t now_ms)
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
        watch_start_reset(ws, "it was founded anew");
    } else {
        bool last = r->next <= ws->reset_after; /* 0, or a place that leads nowhere */
        watch_send_reset(w, ws, r->incarnation, r->seq, r->vms, r->n_vms, r->next, last);
    }
    rpc_reply_fini(reply);
}

void watch_ask_reset(struct front *f, struct watcher *w, struct watch_slice *ws, int64_t now_ms)
{
    Fly__V1__SliceListRequest q = FLY__V1__SLICE_LIST_REQUEST__INIT;

    q.slice = ws->tag;
    q.region = w->filter.region;
    q.state = FLY__V1__VM_STATE__VM_STATE_STARTED;
    q.after = ws->reset_after;
    q.limit = WATCH_BATCH_MAX;
    ask(f, w, ws, &rpc_slice_list, &q.base, listed, now_ms);
}
