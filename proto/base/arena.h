/*
 * arena - a bump allocator over one block with an end: the memory of one call.
 *
 * Past the end it answers NULL, which turns a hostile message into a status instead of an OOM.
 * Nothing is freed one by one; reset forgets everything. Pure.
 */
#ifndef FLY_BASE_ARENA_H
#define FLY_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct fly_arena {
    uint8_t *data;
    size_t size;
    size_t used;
};

/* Borrows data[size], aligned to 16 bytes, until the arena is forgotten. */
struct fly_arena fly_arena_over(void *data, size_t size);
/* 16-byte aligned memory, or NULL when it does not fit. Contents are undefined. O(1). */
void *fly_arena_alloc(struct fly_arena *arena, size_t size);
void fly_arena_reset(struct fly_arena *arena);

#endif
