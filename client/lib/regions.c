#include "client/lib/regions.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/base/check.h"

bool regions_order_find(const char *name, enum regions_order *out)
{
    static const struct {
        const char *name;
        enum regions_order order;
    } orders[] = {{"code", REGIONS_BY_CODE},
                  {"location", REGIONS_BY_LOCATION},
                  {"status", REGIONS_BY_STATUS},
                  {"free", REGIONS_BY_FREE}};

    for (size_t i = 0; i < FLY_ARRAY_COUNT(orders); i++) {
        if (strcasecmp(orders[i].name, name) == 0) {
            *out = orders[i].order;
            return true;
        }
    }
    return false;
}

static int status_rank(const char *status)
{
    static const char *const ranks[] = {"operational", "degraded", "maintenance", "offline"};
    int rank = 0;

    while ((size_t)rank < FLY_ARRAY_COUNT(ranks) && strcasecmp(ranks[rank], status) != 0) {
        rank++;
    }
    return rank;
}

static int more_first(uint64_t a, uint64_t b)
{
    return (a < b) - (a > b);
}

static int by_code(const void *a, const void *b)
{
    const Fly__V1__Region *const *x = a;
    const Fly__V1__Region *const *y = b;

    return strcmp((*x)->code, (*y)->code);
}

static int by_location(const void *a, const void *b)
{
    const Fly__V1__Region *const *x = a;
    const Fly__V1__Region *const *y = b;
    int order = strcasecmp((*x)->city, (*y)->city);

    return order != 0 ? order : by_code(a, b);
}

static int by_status(const void *a, const void *b)
{
    const Fly__V1__Region *const *x = a;
    const Fly__V1__Region *const *y = b;
    int order = status_rank((*x)->status) - status_rank((*y)->status);

    return order != 0 ? order : by_code(a, b);
}

static int by_free(const void *a, const void *b)
{
    const Fly__V1__Region *const *x = a;
    const Fly__V1__Region *const *y = b;
    int order = more_first((*x)->cores_free, (*y)->cores_free);

    order = order != 0 ? order : more_first((*x)->memory_free_bytes, (*y)->memory_free_bytes);
    return order != 0 ? order : by_code(a, b);
}

void regions_sort(Fly__V1__Region **regions, size_t count, enum regions_order order)
{
    int (*compare)(const void *, const void *) = NULL;

    switch (order) {
    case REGIONS_BY_CODE:
        compare = by_code;
        break;
    case REGIONS_BY_LOCATION:
        compare = by_location;
        break;
    case REGIONS_BY_STATUS:
        compare = by_status;
        break;
    case REGIONS_BY_FREE:
        compare = by_free;
        break;
    }
    FLY_CHECK(compare != NULL);
    qsort(regions, count, sizeof(Fly__V1__Region *), compare);
}
