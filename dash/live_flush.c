/*
 * live_flush - when a frame is made, and the ring of the last ones.
 *
 * At the pace, of which one frame may be ahead: what changes just behind a frame about members need
 * not wait for its turn. A heartbeat after a second without.
 */
#include <stdlib.h>
#include <string.h>

#include "dash/live_internal.h"
#include "proto/base/check.h"

enum { HEARTBEAT_MS = 1000, BROWSERS_A_MS = 20 };

static void on_timer(uv_timer_t *timer);

static int64_t pace_ms(const struct live *live)
{
    int64_t pace = live->count / BROWSERS_A_MS;
    pace = pace < DASH_FLUSH_MS ? DASH_FLUSH_MS : pace;
    return pace > DASH_FLUSH_MAX_MS ? DASH_FLUSH_MAX_MS : pace;
}

static void arm(struct live *live, int64_t due_ms)
{
    int64_t now_ms = server_now_ms(live->server);
    live->due_ms = due_ms;
    uv_timer_start(&live->server->flush, on_timer,
                   due_ms > now_ms ? (uint64_t)(due_ms - now_ms) : 0, 0);
}

void live_flush_init(struct live *live)
{
    live->tail = malloc(DASH_TAIL_BYTES_MAX);
    live->frame = malloc(DASH_FRAME_BYTES_MAX);
    live->detailed = malloc(DASH_FRAME_WORDS_MAX * sizeof *live->detailed);
    uint8_t *room = malloc(LWS_PRE + DASH_MESSAGE_BYTES_MAX);
    FLY_CHECK(live->tail != NULL && live->frame != NULL && live->detailed != NULL && room != NULL);
    live->message = room + LWS_PRE;
    live->changed_max = PICTURE_MACHINES_MAX;
    live->changed = calloc(live->changed_max / 64, sizeof *live->changed);
    FLY_CHECK(live->changed != NULL);
    arm(live, server_now_ms(live->server) + HEARTBEAT_MS);
}

void live_flush_fini(struct live *live)
{
    for (uint32_t i = 0; i < LIVE_RING_MAX; i++) {
        if (live->ring[i] != NULL) {
            live_frame_drop(live->ring[i]);
        }
    }
    FLY_CHECK(live->held_bytes == 0);
    free(live->tail);
    free(live->frame);
    free(live->detailed);
    free(live->message - LWS_PRE);
    free(live->changed);
}

struct live_frame *live_frame_at(struct live *live, uint32_t seq)
{
    struct live_frame *frame = live->ring[seq % LIVE_RING_MAX];
    return frame != NULL && frame->seq == seq ? frame : NULL;
}

void live_frame_drop(struct live_frame *frame)
{
    if (--frame->references == 0) {
        frame->live->held_bytes -= frame->in_ring ? 0 : frame->size;
        free(frame);
    }
}

static void ring_put(struct live *live, const uint8_t *bytes, size_t size)
{
    struct live_frame *frame = malloc(sizeof *frame + LWS_PRE + size);
    FLY_CHECK(frame != NULL);
    frame->live = live;
    frame->references = 1;
    frame->seq = live->seq;
    frame->size = (uint32_t)size;
    frame->in_ring = true;
    memcpy(frame->room + LWS_PRE, bytes, size);
    struct live_frame **place = &live->ring[live->seq % LIVE_RING_MAX];
    if (*place != NULL) {
        (*place)->in_ring = false;
        live->held_bytes += (*place)->size;
        live_frame_drop(*place);
    }
    *place = frame;
}

/* Under the state's lock. Its size; a frame of nothing is a heartbeat. */
static size_t frame_make(struct live *live, uint32_t *changed)
{
    struct dash_state *state = live->server->state;
    struct dash_tail tail;
    dash_tail_begin(&tail, live->tail, DASH_TAIL_BYTES_MAX);
    dash_tail_take_regions(&tail, state->picture);
    if (state->members_version != live->members_version) {
        dash_tail_put_members(&tail, state->members, state->member_count);
        live->members_version = state->members_version;
    }
    uint64_t from = live->event_count;
    if (from < state->event_count) {
        dash_tail_put_events(&tail, state->events, DASH_EVENTS_MAX, from, state->event_count);
        live->event_count = state->event_count;
    }
    size_t size = dash_frame_make(state->picture, live->seq, state->oldest_ms, dash_tail_end(&tail),
                                  live->frame, live->detailed, changed);
    state->oldest_ms = 0;
    if (size == 0) {
        struct dash_frame_head head = {.seq = live->seq};
        dash_frame_head_encode(&head, live->frame);
        size = DASH_FRAME_HEAD_BYTES;
    }
    return size;
}

/* Each machine looked at that is in this frame is due. */
static void mark_details(struct live *live, uint32_t changed)
{
    if (live->lookers == 0) {
        return;
    }
    for (uint32_t i = 0; i < changed; i++) {
        live->changed[live->detailed[i] / 64] |= UINT64_C(1) << live->detailed[i] % 64;
    }
    for (struct fly_list *at = live->browsers.next; at != &live->browsers; at = at->next) {
        struct live_look *look = FLY_CONTAINER(at, struct live_browser, link)->look;
        for (uint32_t i = 0; look != NULL && i < look->count; i++) {
            uint32_t machine = look->machines[i];
            if ((live->changed[machine / 64] >> machine % 64 & 1) != 0) {
                look->due[i / 64] |= UINT64_C(1) << i % 64;
            }
        }
    }
    for (uint32_t i = 0; i < changed; i++) {
        live->changed[live->detailed[i] / 64] = 0;
    }
}

static void flush(struct live *live)
{
    struct dash_state *state = live->server->state;
    uint32_t changed = 0;
    live->seq++;
    pthread_mutex_lock(&state->lock);
    size_t size = frame_make(live, &changed);
    bool more = picture_has_dirty(state->picture);
    pthread_mutex_unlock(&state->lock);
    ring_put(live, live->frame, size);
    mark_details(live, changed);
    for (struct fly_list *at = live->browsers.next; at != &live->browsers; at = at->next) {
        struct live_browser *browser = FLY_CONTAINER(at, struct live_browser, link);
        if (!browser->paused) {
            lws_callback_on_writable(browser->wsi);
        }
    }
    live_bound_held(live);
    atomic_store(&live->server->frames, live->seq);
    atomic_store(&live->server->pace_ms, (unsigned)pace_ms(live));
    int64_t now_ms = server_now_ms(live->server);
    live->turn_ms = (live->turn_ms > now_ms ? live->turn_ms : now_ms) + pace_ms(live);
    arm(live, now_ms + (more ? pace_ms(live) : HEARTBEAT_MS));
}

static void on_timer(uv_timer_t *timer)
{
    struct server *server = timer->data;
    if (!server->closing) {
        flush(server->live);
    }
}

void live_wake(struct live *live)
{
    int64_t want_ms = live->turn_ms - pace_ms(live);
    if (want_ms <= server_now_ms(live->server)) {
        flush(live);
    } else if (want_ms < live->due_ms) {
        arm(live, want_ms);
    }
}
