#include "node/slice/chunks.h"

#include <string.h>

#include "proto/base/check.h"

static uint32_t chunk_count(uint32_t item_max)
{
    return (item_max + CHUNK_ITEMS - 1) / CHUNK_ITEMS;
}

static size_t aligned(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

size_t chunks_size(size_t item_size, uint32_t item_max)
{
    size_t n = chunk_count(item_max);

    return aligned(2 * n * CHUNK_ITEMS * item_size) + aligned(2 * n) +
           aligned(2 * n * sizeof(uint32_t)) + 2 * aligned(n * sizeof(uint32_t));
}

void chunks_init(struct chunks *c, void *memory, size_t item_size, uint32_t item_max)
{
    uint8_t *p = memory;
    size_t n = chunk_count(item_max);

    *c = (struct chunks){.item_size = item_size, .chunk_max = (uint32_t)n};
    c->pool = p;
    p += aligned(2 * n * CHUNK_ITEMS * item_size);
    c->refs = p;
    p += aligned(2 * n);
    c->free = (uint32_t *)(void *)p;
    p += aligned(2 * n * sizeof(uint32_t));
    c->map = (uint32_t *)(void *)p;
    p += aligned(n * sizeof(uint32_t));
    c->picture = (uint32_t *)(void *)p;
}

static uint8_t *place_at(const struct chunks *c, uint32_t place)
{
    return c->pool + (size_t)place * CHUNK_ITEMS * c->item_size;
}

static uint32_t place_take(struct chunks *c)
{
    uint32_t place = c->free_count > 0 ? c->free[--c->free_count] : c->pool_used++;

    FLY_CHECK(place < 2 * c->chunk_max && c->refs[place] == 0);
    c->refs[place] = 1;
    return place;
}

static void place_drop(struct chunks *c, uint32_t place)
{
    FLY_CHECK(c->refs[place] > 0);
    if (--c->refs[place] == 0) {
        c->free[c->free_count++] = place;
    }
}

static const void *mapped_at(const struct chunks *c, const uint32_t *map, uint32_t item)
{
    FLY_CHECK(item / CHUNK_ITEMS < c->chunk_max);
    uint32_t place = map[item / CHUNK_ITEMS];
    return place == 0 ? NULL : place_at(c, place - 1) + item % CHUNK_ITEMS * c->item_size;
}

const void *chunks_at(const struct chunks *c, uint32_t item)
{
    return mapped_at(c, c->map, item);
}

const void *chunks_picture_at(const struct chunks *c, uint32_t item)
{
    FLY_CHECK(c->pictured);
    return mapped_at(c, c->picture, item);
}

void *chunks_write(struct chunks *c, uint32_t item)
{
    FLY_CHECK(item / CHUNK_ITEMS < c->chunk_max);
    uint32_t *entry = &c->map[item / CHUNK_ITEMS];

    if (*entry == 0) {
        uint32_t place = place_take(c);
        memset(place_at(c, place), 0, CHUNK_ITEMS * c->item_size);
        *entry = place + 1;
    } else if (c->refs[*entry - 1] > 1) {
        uint32_t place = place_take(c);
        memcpy(place_at(c, place), place_at(c, *entry - 1), CHUNK_ITEMS * c->item_size);
        place_drop(c, *entry - 1);
        *entry = place + 1;
    }
    return place_at(c, *entry - 1) + item % CHUNK_ITEMS * c->item_size;
}

void chunks_picture_take(struct chunks *c)
{
    FLY_CHECK(!c->pictured);
    memcpy(c->picture, c->map, c->chunk_max * sizeof *c->map);
    for (uint32_t i = 0; i < c->chunk_max; i++) {
        if (c->map[i] != 0) {
            c->refs[c->map[i] - 1]++;
        }
    }
    c->pictured = true;
}

void chunks_picture_drop(struct chunks *c)
{
    FLY_CHECK(c->pictured);
    for (uint32_t i = 0; i < c->chunk_max; i++) {
        if (c->picture[i] != 0) {
            place_drop(c, c->picture[i] - 1);
        }
    }
    c->pictured = false;
}
