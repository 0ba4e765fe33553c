/*
 * sse_internal - one stream of events, which dash/sse.c keeps alive and dash/sse_write.c writes.
 */
#ifndef FLY_DASH_SSE_INTERNAL_H
#define FLY_DASH_SSE_INTERNAL_H

#include "client/lib/watching.h"
#include "dash/api_internal.h"
#include "dash/sse.h"

enum sse_phase {
    PHASE_OPENING, /* an action has it: for the first time, or again */
    PHASE_FIRST,   /* open, and not answered: a refusal comes soon and should be the status */
    PHASE_LIVE,
    PHASE_WAITING,  /* for the next try */
    PHASE_TO_CLOSE, /* no action could be had yet */
    PHASE_CLOSING,
};

/* How far the message in hand was written. */
enum sse_stage { STAGE_NONE, STAGE_RESET, STAGE_VMS, STAGE_EVENTS, STAGE_PLACE };

struct sse_stream {
    struct fly_list link;
    struct sse *sse;
    enum sse_phase phase;
    struct action action;
    struct actions_note note;
    struct actions_session session;
    struct watching watching;
    char region[API_CODE_SIZE];
    uint32_t types[SSE_TYPES_MAX];
    uint32_t type_count;

    uint64_t call_id;
    struct http_call *call; /* NULL: not begun, or the reader has gone */
    bool begun;
    bool gone;
    bool failed; /* of the action that ran last: watching.failure */
    enum sse_stage stage;
    size_t at;
    bool gap;   /* what happened before the first cursor is not known, and not said yet */
    bool taken; /* the event at `at` was looked at and is to be written */
    char told[CURSORS_TEXT_SIZE]; /* the id written last */
    int64_t expires_ms;
    int64_t wrote_ms;
    int64_t again_ms; /* FIRST, WAITING: until then */
    int64_t pause_ms;
};

struct sse {
    struct api *api;
    struct fly_list streams;
    uint32_t count;
    bool stopping;
};

/* All of these: false when the reader is slow; nothing was taken then. */

/* A comment, or the like: whole lines. */
bool sse_put_words(struct sse_stream *st, const char *words);
/* One block: an id unless NULL, and a name with its data unless NULL (which is taken over). */
bool sse_put(struct sse_stream *st, const char *id, const char *name, json_t *data);
bool sse_put_reset(struct sse_stream *st, uint32_t tag, const char *reason, size_t vms);
/* Goes on with the message in hand, from where it stood; true: it is done with. */
bool sse_put_message(struct sse_stream *st);

#endif
