#include "dash/state.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

enum { MACHINES_USUAL = 1 << 17 };

/* A round trip that moved by less than these is no news. */
enum { RTT_NEWS_US = 300, RTT_NEWS_PART = 4 };

void dash_state_init(struct dash_state *state, uint32_t machines_max, uint64_t hash_seed)
{
    struct picture_config config = {
        .machines_max = machines_max == 0 ? MACHINES_USUAL : machines_max,
        .hash_seed = hash_seed,
    };
    FLY_CHECK(pthread_mutex_init(&state->lock, NULL) == 0);
    void *memory = calloc(1, picture_size(&config));
    state->members = calloc(DASH_MEMBERS_MAX, sizeof *state->members);
    state->heard = calloc(PICTURE_SLICES_MAX, sizeof *state->heard);
    FLY_CHECK(memory != NULL && state->members != NULL && state->heard != NULL);
    state->picture = picture_init(memory, &config);
}

void dash_state_fini(struct dash_state *state)
{
    free(state->picture);
    free(state->members);
    free(state->heard);
    pthread_mutex_destroy(&state->lock);
}

void dash_state_enter(struct dash_state *state)
{
    atomic_fetch_add(&state->feeders, 1);
    pthread_mutex_lock(&state->lock);
    atomic_fetch_sub(&state->feeders, 1);
}

void dash_state_give_way(struct dash_state *state)
{
    while (atomic_load(&state->feeders) > 0) {
        sched_yield();
    }
}

void dash_state_event(struct dash_state *state, const struct event *event)
{
    picture_apply(state->picture, event); /* a refusal is counted there */
    state->events[state->event_count % DASH_EVENTS_MAX] = *event;
    state->event_count++;
    double time_ms = (double)event->time_ms;
    if (state->oldest_ms == 0 || time_ms < state->oldest_ms) {
        state->oldest_ms = time_ms;
    }
}

static bool rtt_is_news(uint64_t told_us, uint64_t now_us)
{
    uint64_t apart = told_us > now_us ? told_us - now_us : now_us - told_us;
    return told_us == 0 ? now_us != 0 : apart > RTT_NEWS_US && apart > told_us / RTT_NEWS_PART;
}

static bool member_same(const struct dash_member *told, const struct dash_member *now)
{
    bool same = strcmp(told->name, now->name) == 0 && strcmp(told->region, now->region) == 0 &&
                strcmp(told->roles, now->roles) == 0 && strcmp(told->state, now->state) == 0 &&
                strcmp(told->address, now->address) == 0 &&
                strcmp(told->version, now->version) == 0 && strcmp(told->note, now->note) == 0 &&
                told->serving == now->serving && told->self == now->self &&
                told->since_ms == now->since_ms && told->generation == now->generation &&
                told->slice_count == now->slice_count && !rtt_is_news(told->rtt_us, now->rtt_us);
    for (uint32_t i = 0; same && i < now->slice_count; i++) {
        same = told->slices[i].tag == now->slices[i].tag &&
               told->slices[i].epoch == now->slices[i].epoch;
    }
    return same;
}

bool dash_state_members(struct dash_state *state, const struct dash_member *members, size_t count)
{
    if (count > DASH_MEMBERS_MAX) {
        count = DASH_MEMBERS_MAX;
    }
    bool same = count == state->member_count;
    for (size_t i = 0; same && i < count; i++) {
        same = member_same(&state->members[i], &members[i]);
    }
    if (same) {
        return false;
    }
    if (count > 0) {
        memcpy(state->members, members, count * sizeof *members);
    }
    state->member_count = count;
    state->members_version++;
    return true;
}

static struct dash_heard *heard_find(struct dash_state *state, uint32_t slice)
{
    for (uint32_t i = 0; i < state->heard_count; i++) {
        if (state->heard[i].slice == slice) {
            return &state->heard[i];
        }
    }
    return NULL;
}

void dash_state_hear(struct dash_state *state, uint32_t slice, int64_t stale_ms, int64_t now_ms)
{
    struct dash_heard *heard = heard_find(state, slice);
    if (heard == NULL && state->heard_count < PICTURE_SLICES_MAX) {
        heard = &state->heard[state->heard_count++];
        heard->slice = slice;
    }
    if (heard != NULL) {
        heard->stale_ms = stale_ms;
        heard->told_ms = now_ms;
    }
    picture_hear(state->picture, slice, stale_ms);
}

void dash_state_forget(struct dash_state *state, uint32_t slice)
{
    struct dash_heard *heard = heard_find(state, slice);
    if (heard != NULL) {
        *heard = state->heard[--state->heard_count];
    }
    picture_drop_slice(state->picture, slice);
}

void dash_state_tick(struct dash_state *state, int64_t now_ms)
{
    for (uint32_t i = 0; i < state->heard_count; i++) {
        int64_t silence_ms = now_ms - state->heard[i].told_ms;
        if (silence_ms >= PICTURE_STALE_MS) {
            int64_t before_ms = state->heard[i].stale_ms;
            picture_hear(state->picture, state->heard[i].slice,
                         before_ms > INT64_MAX - silence_ms ? INT64_MAX : before_ms + silence_ms);
        }
    }
}
