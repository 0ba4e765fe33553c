/*
 * watching - a stream of all slices' events that goes on after a broken connection, at any edge,
 * each event once and in order per slice. Shell.
 *
 * The caller asks for the next thing and shows it; this keeps the place in each slice, connects
 * again with growing pauses and passes the places on. An edge sends nothing twice and leaves
 * nothing out; should one do so all the same, what comes twice is left out here, and both are
 * counted.
 */
#ifndef FLY_CLIENT_WATCHING_H
#define FLY_CLIENT_WATCHING_H

#include <stdbool.h>
#include <stdint.h>

#include "client/lib/session.h"
#include "proto/wire/cursors.h"

enum { WATCHING_PAUSE_MS = 100, WATCHING_PAUSE_MAX_MS = 5000 };

enum watching_step {
    WATCHING_MESSAGE = 1, /* `message` is a batch */
    WATCHING_LOST,        /* `failure` says why; the next call pauses and connects again */
    WATCHING_BACK,        /* connected again, resuming from `cursor` */
    WATCHING_END,         /* for good: `failure`, or interrupted */
    WATCHING_NOTHING,     /* nothing came for patience_ms; `lost` says whether it is connected */
};

struct watching {
    struct session *session;
    const char *region;
    int64_t timeout_ms; /* to connect */
    /* To be set after watching_init, if at all: */
    const Fly__V1__EventType *types; /* only these; borrowed */
    size_t type_count;               /* 0: all */
    Fly__V1__WatchPolicy policy;
    uint32_t pace_ms;    /* of the policy LATEST */
    int64_t patience_ms; /* watching_next comes back after so long; 0: when there is something */

    struct cursors places; /* resume here: all before was shown */
    uint64_t twice;        /* events that came again, and were left out */
    uint64_t skipped;      /* numbers between two events of a slice that never came, of those who
                              asked for all */
    struct rpc_stream *stream;
    struct rpc_reply reply; /* owns `message` */
    const Fly__V1__WatchReply *message;
    struct failure failure;
    int64_t pause_ms;
    int64_t resume_ms; /* boot clock: lost, it connects again then */
    bool was_connected;
    bool lost;
    unsigned losses; /* in a row, 0 while connected */
};

/* `since` "": from now. INVALID_ARGUMENT: not a cursor. */
enum fly_status watching_init(struct watching *watching, struct session *session, const char *since,
                              const char *region, int64_t timeout_ms, struct fly_error *error);
void watching_fini(struct watching *watching);

/* Waits for the next thing. After WATCHING_MESSAGE call watching_take for each of its events in
 * order, then watching_taken. */
enum watching_step watching_next(struct watching *watching);
/* False: an event that was shown before, to be left out. Else its slice's place is now behind it.
 */
bool watching_take(struct watching *watching, const Fly__V1__Event *event);
void watching_taken(struct watching *watching);
/* The slice that a `reset` is about; 0: the message does not tell. */
uint32_t watching_reset_slice(const struct watching *watching);
/* The cursor as a text, "" when there is none yet. */
const char *watching_cursor(const struct watching *watching, char out[static CURSORS_TEXT_SIZE]);

#endif
