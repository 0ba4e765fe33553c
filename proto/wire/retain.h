/*
 * retain - the newest events of a slice, encoded, for replay to watchers (DESIGN 6).
 *
 * A ring bounded twice: by count and by bytes; the oldest make room. Sequence numbers are
 * consecutive. Pure; memory is the caller's.
 */
#ifndef FLY_WIRE_RETAIN_H
#define FLY_WIRE_RETAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire/event.h"

struct retain_entry {
    uint32_t offset;
    uint32_t size;
};

struct retain {
    struct retain_entry *entries; /* ring, by seq % events_max */
    uint8_t *bytes;
    uint32_t events_max;
    uint32_t bytes_max;
    uint32_t count;
    uint32_t write_at;
    uint64_t last; /* seq of the newest, or where the next one will follow */
};

/* bytes_max ≥ EVENT_BODY_BYTES_MAX. */
size_t retain_size(uint32_t events_max, uint32_t bytes_max);
void retain_init(struct retain *r, void *memory, uint32_t events_max, uint32_t bytes_max);
/* Empties the ring; the next event is last + 1. */
void retain_start(struct retain *r, uint64_t last);
/* event->seq must be last + 1. */
void retain_add(struct retain *r, const struct event *event);
uint64_t retain_first(const struct retain *r);
/* The encoded body of event `seq`; size 0 when it is not there. */
struct fly_bytes retain_at(const struct retain *r, uint64_t seq);

#endif
