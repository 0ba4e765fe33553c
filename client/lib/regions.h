/*
 * regions - the orders in which regions are shown. Pure.
 */
#ifndef FLY_CLIENT_REGIONS_H
#define FLY_CLIENT_REGIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "fly/v1/common.pb-c.h"

enum regions_order {
    REGIONS_BY_CODE = 1,
    REGIONS_BY_LOCATION, /* city */
    REGIONS_BY_STATUS,   /* operational first, offline and unknown words last */
    REGIONS_BY_FREE,     /* most free cores first, then memory */
};

/* "code", "location", "status", "free", any case. */
bool regions_order_find(const char *name, enum regions_order *out);
/* Equal ones by code: the order is total. */
void regions_sort(Fly__V1__Region **regions, size_t count, enum regions_order order);

#endif
