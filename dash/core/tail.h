/*
 * tail - the msgpack of the wire: the tail of a frame and of the fleet, and messages about one
 * browser. Layout in docs/DASH.md ("The wire").
 *
 *   tail   {"r": [region, ...], "m": [member, ...], "e": [event, ...], "x": left out}
 *
 * What was not put is not in the map; the fleet's tail is the same with everything put. Written by
 * msgpack-c into the caller's bytes; nothing is ever half there: a row that does not fit is left
 * out, and who asked is told. Pure.
 */
#ifndef FLY_DASH_TAIL_H
#define FLY_DASH_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dash/core/frame.h"
#include "dash/core/member.h"
#include "dash/core/picture.h"
#include "proto/base/bytes.h"
#include "proto/wire/event.h"

enum {
    DASH_TAIL_EVENTS_MAX = 64,        /* in one tail; with more, the newest */
    DASH_MESSAGE_BYTES_MAX = 1 << 16, /* a detail of DASH_LOOK_MAX rows, as large as they can be */
    DASH_LOOK_MAX = 512,              /* machines that one browser looks at */
};

/* A tail being made. Private. */
struct dash_tail {
    struct fly_writer w;
    uint8_t pairs;
};

/* `max`: DASH_TAIL_BYTES_MAX holds whatever is put, each part once. */
void dash_tail_begin(struct dash_tail *t, void *out, size_t max);
/* "r" of the regions that are dirty, taken from the picture as long as one surely fits: the others
 * stay dirty. */
void dash_tail_take_regions(struct dash_tail *t, struct picture *p);
/* "r" of all regions; none is taken. False: they do not fit, and none is there. */
bool dash_tail_put_regions(struct dash_tail *t, const struct picture *p);
/* "m". False: they do not fit, and none is there. */
bool dash_tail_put_members(struct dash_tail *t, const struct dash_member *members, size_t count);
/* "e" of events from..to - 1 of a ring, where event n stands at n % ring_max: the newest that fit,
 * at most DASH_TAIL_EVENTS_MAX, oldest first; "x" counts the others of the range. Put last: it
 * takes what room is left. */
void dash_tail_put_events(struct dash_tail *t, const struct event *ring, size_t ring_max,
                          uint64_t from, uint64_t to);
/* The map; empty (no bytes at all) when nothing was put. Borrows `out` of dash_tail_begin. */
struct fly_bytes dash_tail_end(struct dash_tail *t);

struct dash_hello {
    uint64_t boot;
    uint32_t seq; /* of the last frame before this */
    const char *node;
    const char *region;
    const char *cluster;
    const char *version;
    const char *subject;
    uint32_t scopes; /* set of enum token_scope */
    int64_t expires_ms;
    uint32_t pace_ms;
};

/* Whole messages, kind byte included; their size. Texts are cut at 255 bytes. */
size_t dash_hello_make(const struct dash_hello *hello, uint8_t out[static DASH_MESSAGE_BYTES_MAX]);
size_t dash_resync_make(const char *why, uint8_t out[static DASH_MESSAGE_BYTES_MAX]);
/* Rows of these machines, at most DASH_LOOK_MAX; one that is a hole has none. */
size_t dash_detail_make(const struct picture *p, const uint32_t *indices, uint32_t count,
                        uint8_t out[static DASH_MESSAGE_BYTES_MAX]);

/* "vm_started" of EVENT_VM_STARTED; "unknown" of a newer node's. */
const char *dash_event_type(uint8_t type);

#endif
