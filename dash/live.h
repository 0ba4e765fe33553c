/*
 * live - the WebSockets of browsers: hello, frames, details, resync.
 *
 * A frame is made once per flush and shared by all; a browser has only a place in the ring of the
 * last frames. Who falls out of the ring is told so and goes on from the newest. Nobody waits for a
 * slow browser. Runs on the dash's thread. Source: docs/DASH.md, "The wire". Shell.
 */
#ifndef FLY_DASH_LIVE_H
#define FLY_DASH_LIVE_H

#include <stdint.h>

#include "dash/dash.h"

struct server;
struct live;
struct live_browser;
struct lws;

enum {
    LIVE_RING_MAX = 64,              /* frames that are kept */
    LIVE_HELD_BYTES_MAX = 16 << 20,  /* of frames no longer in the ring that slow browsers hold */
    LIVE_MESSAGES_A_SECOND_MAX = 64, /* from one browser */
    LIVE_CLOSE_EXPIRED = 4401,
};

struct live *live_create(struct server *server);
void live_destroy(struct live *live); /* after all browsers have gone */
uint32_t live_browsers(const struct live *live);
/* The last frame's number. */
uint32_t live_seq(const struct live *live);

/* The state has changed: flushes now, or at the pace. */
void live_wake(struct live *live);
/* Once a second: heartbeat, tokens that have expired. */
void live_second(struct live *live, int64_t wall_ms);
/* Every browser is told that the server goes away. */
void live_goodbye(struct live *live);
/* The browsers of a session that was signed out are closed. */
void live_sign_out(struct live *live, const uint8_t *session_hash);

/* `session_hash`: SIGNIN_HASH_SIZE bytes, or NULL. */
struct live_browser *live_open(struct live *live, struct lws *wsi, const struct dash_who *who,
                               const uint8_t *session_hash);
void live_close(struct live *live, struct live_browser *browser);
/* Closes with 1008, from a callback of what was received; returns what that callback returns. */
int live_refuse(struct lws *wsi);
/* Callbacks of libwebsockets; below 0: the connection ends. */
int live_receive(struct live *live, struct live_browser *browser, const char *text, size_t size);
int live_writable(struct live *live, struct live_browser *browser);

#endif
