/*
 * watching - a stream of events that goes on after a broken connection, each event once. Shell.
 *
 * The caller asks for the next thing and shows it; this keeps the cursor, connects again with
 * growing pauses and passes the cursor on.
 */
#ifndef FLY_CLIENT_WATCHING_H
#define FLY_CLIENT_WATCHING_H

#include <stdbool.h>
#include <stdint.h>

#include "client/lib/cursor.h"
#include "client/lib/session.h"

enum { WATCHING_PAUSE_MS = 100, WATCHING_PAUSE_MAX_MS = 5000 };

enum watching_step {
    WATCHING_MESSAGE = 1, /* `message` is a batch */
    WATCHING_LOST,        /* `failure` says why; the next call pauses and connects again */
    WATCHING_BACK,        /* connected again, resuming from `cursor` */
    WATCHING_END,         /* for good: `failure`, or interrupted */
};

struct watching {
    struct session *session;
    const char *region;
    int64_t timeout_ms;   /* to connect */
    struct cursor cursor; /* resume here: all before it was shown */
    struct cursor floor;  /* of this connection's request: what it sends must lie behind */
    struct rpc_stream *stream;
    struct rpc_reply reply; /* owns `message` */
    const Fly__V1__WatchReply *message;
    struct failure failure;
    int64_t pause_ms;
    bool was_connected;
    bool lost;
    unsigned losses; /* in a row, 0 while connected */
};

/* `since` "": from now. INVALID_ARGUMENT: not a cursor. Large: keep it static or on the heap. */
enum fly_status watching_init(struct watching *watching, struct session *session, const char *since,
                              const char *region, int64_t timeout_ms, struct fly_error *error);
void watching_fini(struct watching *watching);

/* Waits for the next thing. After WATCHING_MESSAGE call watching_take for each of its events in
 * order, then watching_taken. */
enum watching_step watching_next(struct watching *watching);
/* False: an event that was shown before, to be left out. Else the cursor now stands behind it;
 * `incarnation` becomes its text. */
bool watching_take(struct watching *watching, const Fly__V1__Event *event,
                   char incarnation[static CURSOR_WORD_SIZE]);
void watching_taken(struct watching *watching);

#endif
