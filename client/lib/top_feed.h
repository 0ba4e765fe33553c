/*
 * top_feed - keeps a top_model like the cluster: fetches it from an edge, follows the stream from
 * there, asks for regions and members beside it, and goes on at another edge. Shell: one thread.
 *
 * The stream is watched for a picture: the last state of each machine, ten times a second. A reset
 * (what lay between is gone) fetches all machines again; until they are there, those before stay.
 * The session belongs to the feed until it is stopped.
 */
#ifndef FLY_CLIENT_TOP_FEED_H
#define FLY_CLIENT_TOP_FEED_H

#include <stdbool.h>

#include "client/lib/session.h"
#include "client/lib/top_model.h"
#include "client/lib/top_screen.h"

enum {
    TOP_FEED_PACE_MS = 100,
    TOP_FEED_REGIONS_MS = 1000,
    TOP_FEED_MEMBERS_MS = 2000,
    TOP_FEED_PAGE = 4000, /* machines */
};

struct top_feed;

/* Begins at once. NULL: no memory, or no thread. */
struct top_feed *top_feed_start(struct session *session, int64_t timeout_ms);
/* Ends it (session_interrupt: this process calls no more), and finishes the session. */
void top_feed_stop(struct top_feed *feed);

/* The model, settled, and how it stands; nothing changes until the unlock. Fills all of `status`
 * but changes_per_s. */
const struct top_model *top_feed_lock(struct top_feed *feed, struct top_status *status);
void top_feed_unlock(struct top_feed *feed);
/* Of the last answer, within the lock; NULL: none yet. */
const Fly__V1__MembersReply *top_feed_members(const struct top_feed *feed);

/* While it is paused nothing is taken from the stream, and the model stays as it is. */
void top_feed_pause(struct top_feed *feed, bool paused);
/* It ended for good: going on cannot help. `out` is to be finished. */
bool top_feed_ended(struct top_feed *feed, struct failure *out);

#endif
