#include "proto/wire/placement.h"

bool hold_equal(const struct hold_id *a, const struct hold_id *b)
{
    return a->slice == b->slice && a->term == b->term && a->boot == b->boot &&
           a->counter == b->counter;
}

void room_widen(struct owner_room *room, const struct owner_room *seen)
{
    room->machines += seen->machines;
    room->cordoned += seen->cordoned;
    room->fits_empty |= seen->fits_empty;
    if (seen->cores_max > room->cores_max) {
        room->cores_max = seen->cores_max;
    }
    if (seen->memory_max_bytes > room->memory_max_bytes) {
        room->memory_max_bytes = seen->memory_max_bytes;
    }
    if (seen->cores_free_max > room->cores_free_max) {
        room->cores_free_max = seen->cores_free_max;
        room->memory_free_max_bytes = seen->memory_free_max_bytes;
    }
}
