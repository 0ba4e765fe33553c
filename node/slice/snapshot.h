/*
 * snapshot - a slice's state as bytes, and back. Version 2 is written, 1 (no cordons, founding time
 * and losses) is still read; an unknown version is refused.
 *
 * Encoding reads an immutable view and may run on another thread than apply. Layout: PROTOCOL.md.
 * A snapshot that decodes is internally consistent: sums, uniqueness and bounds are checked, so a
 * damaged one is DATA_LOSS and never a state that no log could have made. Pure, no allocation.
 */
#ifndef FLY_SLICE_SNAPSHOT_H
#define FLY_SLICE_SNAPSHOT_H

#include "node/slice/state.h"

/* An upper bound of the encoded size of this view, in bytes. O(1). */
size_t snapshot_size_max(const struct slice_view *view);
/* Writes into out[max]; returns the size. max ≥ snapshot_size_max(view) is FLY_CHECKed. */
size_t snapshot_encode(const struct slice_view *view, uint8_t *out, size_t max);
/* Fills a fresh state. DATA_LOSS, UNIMPLEMENTED, RESOURCE_EXHAUSTED (config is smaller than the
 * snapshot): the state must be thrown away. */
enum fly_status snapshot_decode(struct slice_state *s, const uint8_t *data, size_t size,
                                struct fly_error *error);

#endif
