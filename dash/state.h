/*
 * state - what a dash knows and both its halves read: the picture, the latest events, the members.
 *
 * One lock around all of it; the node's loop writes, the dash's thread reads. Nobody holds it while
 * waiting for anything. Shell.
 */
#ifndef FLY_DASH_STATE_H
#define FLY_DASH_STATE_H

#include <pthread.h>

#include "dash/dash.h"

enum { DASH_EVENTS_MAX = 1024 }; /* the latest, kept for who comes */

struct dash_state {
    pthread_mutex_t lock;
    struct picture *picture;
    struct event events[DASH_EVENTS_MAX]; /* ring */
    uint64_t event_count;        /* ever; the newest is at (event_count - 1) % DASH_EVENTS_MAX */
    double oldest_ms;            /* of the events since the last frame; 0: none */
    struct dash_member *members; /* DASH_MEMBERS_MAX */
    size_t member_count;
    uint64_t members_version; /* moves on when something of a member changed */
};

/* The state of a dash; lives as long as it does. */
struct dash_state *dash_state(struct dash *d);
const struct dash_config *dash_config(const struct dash *d); /* its own copies */

#endif
