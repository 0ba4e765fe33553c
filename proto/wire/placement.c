#include "proto/wire/placement.h"

bool hold_equal(const struct hold_id *a, const struct hold_id *b)
{
    return a->slice == b->slice && a->term == b->term && a->boot == b->boot &&
           a->counter == b->counter;
}
