#include "proto/base/index.h"

#include "proto/base/check.h"

static uint32_t place_count(uint32_t slot_max)
{
    uint32_t n = 8;

    FLY_CHECK(slot_max <= UINT32_C(1) << 30);
    while (n < 2 * slot_max) {
        n *= 2;
    }
    return n;
}

size_t index_size(uint32_t slot_max)
{
    return place_count(slot_max) * sizeof(struct index_place);
}

void index_init(struct index *ix, void *memory, uint32_t slot_max)
{
    ix->places = memory;
    ix->mask = place_count(slot_max) - 1;
}

void index_add(struct index *ix, uint32_t hash, uint32_t slot)
{
    uint32_t i = hash & ix->mask;

    while (ix->places[i].slot != 0) {
        i = (i + 1) & ix->mask;
    }
    ix->places[i] = (struct index_place){.hash = hash, .slot = slot + 1};
}

void index_drop(struct index *ix, uint32_t hash, uint32_t slot)
{
    uint32_t hole = hash & ix->mask;

    while (ix->places[hole].slot != slot + 1) {
        FLY_CHECK(ix->places[hole].slot != 0);
        hole = (hole + 1) & ix->mask;
    }
    /* Pull back every later place of the run that may stand in the hole (algorithm R). */
    for (uint32_t i = (hole + 1) & ix->mask; ix->places[i].slot != 0; i = (i + 1) & ix->mask) {
        uint32_t wanted = ix->places[i].hash & ix->mask;
        if (((i - wanted) & ix->mask) >= ((i - hole) & ix->mask)) {
            ix->places[hole] = ix->places[i];
            hole = i;
        }
    }
    ix->places[hole] = (struct index_place){0};
}

struct index_cursor index_search(const struct index *ix, uint32_t hash)
{
    return (struct index_cursor){.hash = hash, .place = hash & ix->mask};
}

uint32_t index_next(const struct index *ix, struct index_cursor *cursor)
{
    for (;;) {
        const struct index_place *p = &ix->places[cursor->place];
        if (p->slot == 0) {
            return UINT32_MAX;
        }
        cursor->place = (cursor->place + 1) & ix->mask;
        if (p->hash == cursor->hash) {
            return p->slot - 1;
        }
    }
}
