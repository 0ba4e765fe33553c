#include "proto/base/arena.h"

enum { ALIGNMENT = 16 };

struct fly_arena fly_arena_over(void *data, size_t size)
{
    return (struct fly_arena){.data = data, .size = size};
}

void *fly_arena_alloc(struct fly_arena *arena, size_t size)
{
    size_t left = arena->size - arena->used;

    if (size > left) {
        return NULL;
    }
    size_t rounded = (size + (ALIGNMENT - 1)) & ~(size_t)(ALIGNMENT - 1);
    void *p = arena->data + arena->used;
    arena->used += rounded > left ? left : rounded;
    return p;
}

void fly_arena_reset(struct fly_arena *arena)
{
    arena->used = 0;
}
