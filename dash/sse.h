/*
 * sse - GET /v1/events: an edge's Watch as Server-Sent Events, for as long as somebody reads.
 *
 * Each stream is a Watch with the reader's token over a connection of its own. What waits (opening,
 * closing) is done by the actions' threads; the rest on the dash's thread, when the library says
 * that something came. When its edge goes it resumes at another by its cursor; a reader that is
 * slow stops the Watch, which loses nothing. At most HTTP_STREAMS_MAX. Source: WHATWG HTML, 9.2.
 *
 *   id: CURSOR       with every event; alone where the place moved without one
 *   event: change    data: one event, as flyrpc watch --json prints it
 *   event: reset     data: {"slice", "reason", "vms"}: what lay between is gone
 *   event: present   data: one VM that lives now: `vms` of them follow a reset
 *   event: end       data: {"code", "message"}: the stream cannot go on
 *   : still here     after SSE_KEEPALIVE_MS without any of these
 */
#ifndef FLY_DASH_SSE_H
#define FLY_DASH_SSE_H

#include "dash/http.h"

struct api;
struct sse;

enum { SSE_KEEPALIVE_MS = 10000, SSE_TYPES_MAX = 16 };

struct sse_query {
    const char *since; /* a cursor, or "" */
    const char *region;
    uint32_t types[SSE_TYPES_MAX];
    uint32_t type_count; /* 0: all */
};

/* Never NULL. */
struct sse *sse_create(struct api *api);
/* Answers the call, sooner or later. Copies. */
void sse_open(struct sse *sse, struct http_call *call, const struct sse_query *query);
void sse_tick(struct sse *sse);
/* Ends all streams; before the actions end. */
void sse_stop(struct sse *sse);
/* After that. */
void sse_destroy(struct sse *sse);

#endif
