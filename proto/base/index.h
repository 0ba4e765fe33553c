/*
 * index - hash -> slot numbers, open addressing with linear probing (Knuth 6.4, algorithms L, R).
 *
 * Holds 32-bit hashes beside the slots; the owner of the items compares keys. Several slots may
 * share a hash. Never more than half full when sized by index_size. Pure.
 */
#ifndef FLY_BASE_INDEX_H
#define FLY_BASE_INDEX_H

#include <stddef.h>
#include <stdint.h>

struct index_place {
    uint32_t hash;
    uint32_t slot; /* + 1; 0: empty */
};

struct index {
    struct index_place *places;
    uint32_t mask;
};

/* Where a search stands. */
struct index_cursor {
    uint32_t hash;
    uint32_t place;
};

size_t index_size(uint32_t slot_max);
/* memory: index_size bytes, zeroed. */
void index_init(struct index *ix, void *memory, uint32_t slot_max);
void index_add(struct index *ix, uint32_t hash, uint32_t slot);
/* FLY_CHECKs that the pair is there. */
void index_drop(struct index *ix, uint32_t hash, uint32_t slot);
struct index_cursor index_search(const struct index *ix, uint32_t hash);
/* The next slot under the hash; UINT32_MAX: no more. */
uint32_t index_next(const struct index *ix, struct index_cursor *cursor);

#endif
