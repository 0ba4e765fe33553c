/*
 * chunks - an array of equal items in reference-counted chunks: a picture of it costs a copy of the
 * chunk map, and a chunk that is still in the picture is copied before its next change.
 *
 * One picture at a time. All calls but reads of a picture's items belong to one thread. Memory is
 * one zeroed block: untouched chunks cost address space only. Pure.
 */
#ifndef FLY_SLICE_CHUNKS_H
#define FLY_SLICE_CHUNKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHUNK_ITEMS = 64 };

struct chunks {
    size_t item_size;
    uint32_t chunk_max;
    uint8_t *pool;  /* 2 × chunk_max chunks: as many as both the array and its picture need */
    uint8_t *refs;  /* per pool place: 0 free, 1 array or picture, 2 both */
    uint32_t *free; /* stack of free pool places that were used before */
    uint32_t free_count;
    uint32_t pool_used; /* places ever used */
    uint32_t *map;      /* chunk -> pool place + 1; 0: untouched, all items zero */
    uint32_t *picture;  /* the map as it was */
    bool pictured;
};

size_t chunks_size(size_t item_size, uint32_t item_max);
void chunks_init(struct chunks *c, void *memory, size_t item_size, uint32_t item_max);
/* NULL: never written, all zero. */
const void *chunks_at(const struct chunks *c, uint32_t item);
void *chunks_write(struct chunks *c, uint32_t item);
void chunks_picture_take(struct chunks *c);
/* Reads through the picture: may be called from another thread while one is held. */
const void *chunks_picture_at(const struct chunks *c, uint32_t item);
void chunks_picture_drop(struct chunks *c);

#endif
