/*
 * state - what a dash knows and both its halves read: the picture, the latest events, the members.
 *
 * One lock around all of it; the node's loop writes, the dash's thread reads. Nobody holds it while
 * waiting for anything. Shell.
 */
#ifndef FLY_DASH_STATE_H
#define FLY_DASH_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "dash/dash.h"

enum { DASH_EVENTS_MAX = 1024 }; /* the latest, kept for who comes */

/* What the dash was last told of a slice's owner, and when. */
struct dash_heard {
    uint32_t slice;
    int64_t stale_ms;
    int64_t told_ms; /* boot time */
};

struct dash_state {
    pthread_mutex_t lock;
    atomic_uint feeders; /* threads that wait for the lock to feed */
    struct picture *picture;
    struct event events[DASH_EVENTS_MAX]; /* ring */
    uint64_t event_count;        /* ever; the newest is at (event_count - 1) % DASH_EVENTS_MAX */
    double oldest_ms;            /* of the events since the last frame; 0: none */
    struct dash_member *members; /* DASH_MEMBERS_MAX */
    size_t member_count;
    uint64_t members_version; /* moves on when something of a member changed */
    struct dash_heard *heard; /* PICTURE_SLICES_MAX */
    uint32_t heard_count;
};

/* Takes the lock to feed. */
void dash_state_enter(struct dash_state *state);
/* Without the lock, by who takes it piece after piece: lets the feeders that wait go first. A mutex
 * alone is given to whoever runs, and they would wait for all of the pieces. */
void dash_state_give_way(struct dash_state *state);

/* state.c, for dash.c and the server. MACHINES: the picture's limit. */
void dash_state_init(struct dash_state *state, uint32_t machines_max, uint64_t hash_seed);
void dash_state_fini(struct dash_state *state);
/* Under the lock: an event that was applied; one that changed nothing is still of the latest. */
void dash_state_event(struct dash_state *state, const struct event *event);
/* Under the lock. False: all is as it was told last. */
bool dash_state_members(struct dash_state *state, const struct dash_member *members, size_t count);
void dash_state_hear(struct dash_state *state, uint32_t slice, int64_t stale_ms, int64_t now_ms);
void dash_state_forget(struct dash_state *state, uint32_t slice);
/* Under the lock: slices that nobody told of for PICTURE_STALE_MS are as stale as that. */
void dash_state_tick(struct dash_state *state, int64_t now_ms);

/* The state of a dash; lives as long as it does. */
struct dash_state *dash_state(struct dash *d);
const struct dash_config *dash_config(const struct dash *d); /* its own copies */

#endif
