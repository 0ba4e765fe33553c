/*
 * frame - see frame.h.
 */
#include "dash/core/frame.h"

#include <string.h>

#include "proto/base/check.h"

enum { TAKE = 256, FLEET_VERSION = 1 };

static void put_f64(struct fly_writer *w, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    fly_put_u64(w, bits);
}

void dash_frame_head_encode(const struct dash_frame_head *head,
                            uint8_t out[static DASH_FRAME_HEAD_BYTES])
{
    struct fly_writer w = fly_writer_over(out, DASH_FRAME_HEAD_BYTES);

    fly_put_u8(&w, DASH_FRAME_KIND);
    fly_put_u8(&w, DASH_FRAME_VERSION);
    fly_put_u16(&w, head->flags);
    fly_put_u32(&w, head->seq);
    put_f64(&w, head->oldest_ms);
    fly_put_u32(&w, head->words);
    fly_put_u32(&w, head->moves);
    fly_put_u32(&w, head->tail_bytes);
    FLY_CHECK(!w.failed && w.size == DASH_FRAME_HEAD_BYTES);
}

void dash_fleet_head_encode(uint64_t boot, uint32_t seq, uint32_t count, uint32_t tail_bytes,
                            uint8_t out[static DASH_FLEET_HEAD_BYTES])
{
    struct fly_writer w = fly_writer_over(out, DASH_FLEET_HEAD_BYTES);

    fly_put_bytes(&w, "FLYF", 4);
    fly_put_u32(&w, FLEET_VERSION);
    fly_put_u64(&w, boot);
    fly_put_u32(&w, seq);
    fly_put_u32(&w, count);
    fly_put_u32(&w, tail_bytes);
    FLY_CHECK(!w.failed && w.size == DASH_FLEET_HEAD_BYTES);
}

static void put_move(uint8_t *out, const struct picture_dirty *d)
{
    fly_store_u32(out, d->index);
    out[4] = d->region;
    out[5] = d->cell;
    out[6] = 0;
    out[7] = 0;
}

size_t dash_frame_make(struct picture *p, uint32_t seq, double oldest_ms, struct fly_bytes tail,
                       uint8_t *out, uint32_t *detailed, uint32_t *detailed_count)
{
    uint8_t *words = out + DASH_FRAME_HEAD_BYTES;
    uint8_t *moves = words + 4 * DASH_FRAME_WORDS_MAX; /* until the words are known */
    struct dash_frame_head head = {
        .seq = seq, .oldest_ms = oldest_ms, .tail_bytes = (uint32_t)tail.size};
    struct picture_dirty dirty[TAKE];
    uint32_t taken = 0;
    uint32_t n;

    FLY_CHECK(tail.size <= DASH_TAIL_BYTES_MAX);
    _Static_assert(DASH_FRAME_WORDS_MAX % TAKE == 0, "detailed has room for each take");
    while (taken < DASH_FRAME_WORDS_MAX && (n = picture_take_dirty(p, dirty, TAKE)) > 0) {
        for (uint32_t i = 0; i < n; i++) {
            detailed[taken++] = dirty[i].index;
            if (dirty[i].moved && head.moves == DASH_FRAME_MOVES_MAX) {
                head.flags |= DASH_FRAME_RESYNC;
            } else if (dirty[i].moved) {
                put_move(moves + (size_t)DASH_MOVE_BYTES * head.moves++, &dirty[i]);
            } else if (dirty[i].cell_changed) {
                fly_store_u32(words + (size_t)4 * head.words++,
                              dirty[i].index << 8 | dirty[i].cell);
            }
        }
    }
    *detailed_count = taken;
    if (taken == 0 && tail.size == 0) {
        return 0;
    }
    if ((head.flags & DASH_FRAME_RESYNC) != 0) {
        head.words = 0;
        head.moves = 0;
        picture_tell_all(p); /* or a million machines that come would be 16 frames that say so */
    }
    uint8_t *end = words + (size_t)4 * head.words;
    memmove(end, moves, (size_t)DASH_MOVE_BYTES * head.moves);
    end += (size_t)DASH_MOVE_BYTES * head.moves;
    if (tail.size != 0) {
        memcpy(end, tail.data, tail.size);
    }
    dash_frame_head_encode(&head, out);
    return (size_t)(end - out) + tail.size;
}

size_t dash_fleet_size(const struct picture *p, struct fly_bytes tail)
{
    FLY_CHECK(tail.size <= DASH_TAIL_BYTES_MAX);
    return DASH_FLEET_HEAD_BYTES + (size_t)2 * picture_count(p) + tail.size;
}

void dash_fleet_make(const struct picture *p, uint64_t boot, uint32_t seq, struct fly_bytes tail,
                     uint8_t *out)
{
    uint32_t count = picture_count(p);

    dash_fleet_head_encode(boot, seq, count, (uint32_t)tail.size, out);
    out += DASH_FLEET_HEAD_BYTES;
    picture_told(p, out, out + count);
    if (tail.size != 0) {
        memcpy(out + (size_t)2 * count, tail.data, tail.size);
    }
}
