/*
 * frame - what a dash says to a browser over its WebSocket, and the fleet's snapshot: bytes.
 *
 * Little-endian. Layout in docs/DASH.md ("The wire"). One frame is made per flush and shared by all
 * browsers: nothing in it is about one of them.
 *
 *   FRAME    u8 kind=1, u8 version=1, u16 flags, u32 seq, f64 oldest_ms, u32 words, u32 moves,
 *            u32 tail_bytes; words × u32 (index << 8 | cell); moves × 8 {u32 index, u8 region,
 *            u8 cell, u16 0}; tail: nothing, or one msgpack map (dash/core/tail.h)
 *   MESSAGE  u8 kind=2, then one msgpack map: about one browser (dash/core/tail.h)
 *   FLEET    the answer of GET /v1/fleet: "FLYF", u32 version=1, u64 boot, u32 seq, u32 count,
 *            u32 tail_bytes; count × u8 cell; count × u8 region; tail: msgpack map
 *
 * `seq` counts frames of one `boot` (one life of one dash): a browser that misses one knows, and
 * fetches the fleet again. Pure.
 */
#ifndef FLY_DASH_FRAME_H
#define FLY_DASH_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "dash/core/picture.h"
#include "proto/base/bytes.h"

enum {
    DASH_FRAME_HEAD_BYTES = 28,
    DASH_FLEET_HEAD_BYTES = 28,
    DASH_MOVE_BYTES = 8,
    DASH_FRAME_WORDS_MAX = 65536,          /* what is left comes in the next frame */
    DASH_FRAME_MOVES_MAX = 8192,           /* more: flags say RESYNC */
    DASH_TAIL_BYTES_MAX = 2 * 1024 * 1024, /* all regions, members and 64 events, as large as can
                                              be; 4 KiB is usual */
    DASH_FRAME_BYTES_MAX = DASH_FRAME_HEAD_BYTES + 4 * DASH_FRAME_WORDS_MAX +
                           DASH_MOVE_BYTES * DASH_FRAME_MOVES_MAX + DASH_TAIL_BYTES_MAX,
};

enum { DASH_FRAME_KIND = 1, DASH_MESSAGE_KIND = 2, DASH_FRAME_VERSION = 1 };

enum dash_frame_flag {
    DASH_FRAME_RESYNC = 1, /* fetch the fleet: more changed than a frame tells */
};

struct dash_frame_head {
    uint32_t seq;
    uint16_t flags;
    double oldest_ms; /* wall time, by its slice's leader, of the oldest event in it; 0: none */
    uint32_t words;
    uint32_t moves;
    uint32_t tail_bytes;
};

void dash_frame_head_encode(const struct dash_frame_head *head,
                            uint8_t out[static DASH_FRAME_HEAD_BYTES]);
void dash_fleet_head_encode(uint64_t boot, uint32_t seq, uint32_t count, uint32_t tail_bytes,
                            uint8_t out[static DASH_FLEET_HEAD_BYTES]);

/* One frame of what is dirty now, taken from the picture; the tail is the caller's
 * (dash/core/tail.h), at most DASH_TAIL_BYTES_MAX. Returns its size, head included; 0: nothing is
 * dirty and the tail is empty. `out` is caller's memory of DASH_FRAME_BYTES_MAX. `detailed` gets
 * the indices of all machines taken, at most DASH_FRAME_WORDS_MAX: whoever looks at one of them is
 * told its numbers. With more moves than DASH_FRAME_MOVES_MAX the frame has none, nor words, and
 * says RESYNC: the fleet has them all. */
size_t dash_frame_make(struct picture *p, uint32_t seq, double oldest_ms, struct fly_bytes tail,
                       uint8_t *out, uint32_t *detailed, uint32_t *detailed_count);
/* The fleet's size in bytes, and its bytes: the picture as it was after the frame that was made
 * last, which is `seq`. The tail is at most DASH_TAIL_BYTES_MAX. */
size_t dash_fleet_size(const struct picture *p, struct fly_bytes tail);
void dash_fleet_make(const struct picture *p, uint64_t boot, uint32_t seq, struct fly_bytes tail,
                     uint8_t *out);

#endif
