#include "proto/wire/retain.h"

#include <string.h>

#include "proto/base/check.h"

static size_t aligned(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

size_t retain_size(uint32_t events_max, uint32_t bytes_max)
{
    return aligned(events_max * sizeof(struct retain_entry)) + aligned(bytes_max);
}

void retain_init(struct retain *r, void *memory, uint32_t events_max, uint32_t bytes_max)
{
    FLY_CHECK(events_max >= 1 && bytes_max >= EVENT_BODY_BYTES_MAX);
    *r = (struct retain){.entries = memory, .events_max = events_max, .bytes_max = bytes_max};
    r->bytes = (uint8_t *)memory + aligned(events_max * sizeof(struct retain_entry));
}

void retain_start(struct retain *r, uint64_t last)
{
    r->count = 0;
    r->write_at = 0;
    r->last = last;
}

uint64_t retain_first(const struct retain *r)
{
    return r->last - r->count + 1;
}

static struct retain_entry *entry_at(const struct retain *r, uint64_t seq)
{
    return &r->entries[seq % r->events_max];
}

/* Oldest entries go until `size` bytes from write_at on are nobody's. */
static void make_room(struct retain *r, uint32_t size)
{
    if (r->bytes_max - r->write_at < size) { /* what is left at the end belongs to the oldest */
        while (r->count > 0 && entry_at(r, retain_first(r))->offset >= r->write_at) {
            r->count--;
        }
        r->write_at = 0;
    }
    while (r->count > 0) {
        const struct retain_entry *oldest = entry_at(r, retain_first(r));
        bool apart =
            oldest->offset >= r->write_at + size || oldest->offset + oldest->size <= r->write_at;
        if (apart && r->count < r->events_max) {
            break;
        }
        r->count--;
    }
}

void retain_add(struct retain *r, const struct event *event)
{
    uint8_t body[EVENT_BODY_BYTES_MAX];
    uint32_t size = (uint32_t)event_encode(event, body);

    FLY_CHECK(event->seq == r->last + 1);
    make_room(r, size);
    memcpy(r->bytes + r->write_at, body, size);
    r->last++;
    *entry_at(r, r->last) = (struct retain_entry){.offset = r->write_at, .size = size};
    r->write_at += size;
    r->count++;
}

struct fly_bytes retain_at(const struct retain *r, uint64_t seq)
{
    if (r->count == 0 || seq < retain_first(r) || seq > r->last) {
        return (struct fly_bytes){.size = 0};
    }
    const struct retain_entry *e = entry_at(r, seq);
    return (struct fly_bytes){.data = r->bytes + e->offset, .size = e->size};
}
