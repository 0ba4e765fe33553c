/*
 * segment_mark - the journal's own witness: the last acknowledged entry, and what the two metadata
 * files (which have no checksum) must say.
 *
 * The file `mark` is one 512-byte sector of four 128-byte slots, written in turn: slot = counter
 * mod
 * 4. A slot is {u64 "FLYMARK1", u64 counter, u64 index, u64 term, 3 x metadata {u64 version, u64
 * term, u64 vote}, zeros, u32 crc}. The valid slot with the highest counter counts.
 *
 * The metadata are (previous, current, next): `next` is noted and synced before libraft writes it,
 * so the files hold (previous, current) or (current, next) and nothing else.
 *
 * Pure.
 */
#ifndef FLY_NODE_SLICE_SEGMENT_MARK_H
#define FLY_NODE_SLICE_SEGMENT_MARK_H

#include "node/slice/segment.h"

enum { SEGMENT_MARK_SLOT = 128, SEGMENT_MARK_SLOTS = 4, SEGMENT_MARK_SIZE = 512 };

struct segment_mark {
    uint64_t counter;
    uint64_t index, term; /* last acknowledged entry; 0 before the first */
    struct segment_metadata previous, current, next;
};

/* Encodes the slot; it belongs at offset (counter % SEGMENT_MARK_SLOTS) * SEGMENT_MARK_SLOT. */
void segment_mark_encode(const struct segment_crc *crc, const struct segment_mark *mark,
                         uint8_t out[SEGMENT_MARK_SLOT]);

/* FLY_DATA_LOSS when no slot is valid. *bad counts slots that were written and are broken. */
enum fly_status segment_mark_decode(const struct segment_crc *crc, const uint8_t *data, size_t size,
                                    struct segment_mark *out, unsigned *bad,
                                    struct fly_error *error);

/* Notes that version + 1 with this term and vote is about to be written. */
void segment_mark_intend(struct segment_mark *mark, uint64_t term, uint64_t vote);

/* Are the two files (index 0: metadata1) possible, after the mark when there is one? *newest is
 * what libraft will take; version 0 when neither file exists. */
enum fly_status segment_metadata_check(const struct segment_metadata files[2],
                                       const struct segment_mark *mark,
                                       struct segment_metadata *newest, struct fly_error *error);

#endif
