/*
 * picture_slice - the slices of a picture, where they have machines, and how stale that makes a
 * region: as stale as the stalest slice there.
 */
#include <string.h>

#include "dash/core/picture_parts.h"
#include "proto/base/check.h"

/* Fibonacci hashing; tags are allotted at random. */
static uint32_t hash_tag(const struct picture *p, uint32_t tag)
{
    return (uint32_t)((tag ^ p->config.hash_seed) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

struct picture_slice *picture_slice_find(const struct picture *p, uint32_t tag)
{
    struct index_cursor at = index_search(&p->by_tag, hash_tag(p, tag));

    for (;;) {
        uint32_t place = index_next(&p->by_tag, &at);
        if (place == UINT32_MAX) {
            return NULL;
        }
        if (p->slices[place].tag == tag) {
            return &p->slices[place];
        }
    }
}

struct picture_slice *picture_slice_in(struct picture *p, uint32_t tag)
{
    struct picture_slice *s = picture_slice_find(p, tag);
    uint32_t place = 0;

    FLY_CHECK(tag != 0);
    if (s != NULL) {
        return s;
    }
    while (place < p->slice_places && p->slices[place].tag != 0) {
        place++;
    }
    if (place == PICTURE_SLICES_MAX) {
        return NULL;
    }
    if (place == p->slice_places) {
        p->slice_places++;
    }
    s = &p->slices[place];
    *s = (struct picture_slice){.tag = tag, .first = PICTURE_NONE, .last_region = PICTURE_HOLE};
    index_add(&p->by_tag, hash_tag(p, tag), place);
    return s;
}

void picture_slice_empty(struct picture *p, struct picture_slice *s, uint8_t generation)
{
    uint32_t next;

    for (uint32_t i = s->first; i != PICTURE_NONE; i = next) {
        next = p->rows[i].next;
        if (generation == 0 || p->rows[i].generation != generation) {
            picture_machine_drop(p, i);
        }
    }
}

void picture_drop_slice(struct picture *p, uint32_t slice)
{
    struct picture_slice *s = picture_slice_find(p, slice);

    if (s != NULL) {
        picture_slice_empty(p, s, 0);
        index_drop(&p->by_tag, hash_tag(p, slice), (uint32_t)(s - p->slices));
        s->tag = 0;
    }
}

/* --- staleness --- */

static void set_stale(struct picture *p, uint32_t region, int64_t stale_ms)
{
    struct picture_region *r = &p->regions[region];
    bool was = r->stale_ms >= PICTURE_STALE_MS;

    r->stale_ms = stale_ms;
    if (was != (stale_ms >= PICTURE_STALE_MS)) {
        picture_region_touch(p, region);
    }
}

static void refresh_stale(struct picture *p, uint32_t region)
{
    int64_t most = 0;

    for (uint32_t w = 0; w < PICTURE_SLICE_WORDS; w++) {
        for (uint64_t bits = p->region_slices[region][w]; bits != 0; bits &= bits - 1) {
            int64_t ms = p->slices[w * 64 + (uint32_t)__builtin_ctzll(bits)].stale_ms;
            most = ms > most ? ms : most;
        }
    }
    set_stale(p, region, most);
}

void picture_hear(struct picture *p, uint32_t slice, int64_t stale_ms)
{
    struct picture_slice *s = picture_slice_in(p, slice);

    if (s == NULL) {
        p->refused++;
        return;
    }
    int64_t was_ms = s->stale_ms;
    s->stale_ms = stale_ms > 0 ? stale_ms : 0;
    for (uint32_t w = 0; w < PICTURE_REGION_WORDS; w++) {
        for (uint64_t bits = s->regions[w]; bits != 0; bits &= bits - 1) {
            uint32_t region = w * 64 + (uint32_t)__builtin_ctzll(bits);
            int64_t most_ms = p->regions[region].stale_ms;
            if (s->stale_ms >= most_ms) {
                set_stale(p, region, s->stale_ms);
            } else if (was_ms == most_ms) {
                refresh_stale(p, region); /* it was the stalest there */
            }
        }
    }
}

void picture_slice_enter(struct picture *p, struct picture_slice *s, uint8_t region)
{
    uint32_t place = (uint32_t)(s - p->slices);

    s->last_region = region;
    if (p->shares[place][region]++ == 0) {
        s->regions[region / 64] |= UINT64_C(1) << region % 64;
        p->region_slices[region][place / 64] |= UINT64_C(1) << place % 64;
        if (s->stale_ms > p->regions[region].stale_ms) {
            set_stale(p, region, s->stale_ms);
        }
    }
}

void picture_slice_leave(struct picture *p, struct picture_slice *s, uint8_t region)
{
    uint32_t place = (uint32_t)(s - p->slices);

    if (--p->shares[place][region] == 0) {
        s->regions[region / 64] &= ~(UINT64_C(1) << region % 64);
        p->region_slices[region][place / 64] &= ~(UINT64_C(1) << place % 64);
        if (s->stale_ms == p->regions[region].stale_ms) {
            refresh_stale(p, region);
        }
    }
}
