#include "node/edge/nearest.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { PREFIX_MIN = 3, TOO_FAR = 1 << 20 };

/* ASCII only: the other bytes of a city's UTF-8 are compared as they are. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned nearest_distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    /* rows i-2, i-1 and i of the table, in turn */
    unsigned rows[3][NEAREST_TEXT_MAX + 1];

    a_size = a_size < NEAREST_TEXT_MAX ? a_size : NEAREST_TEXT_MAX;
    b_size = b_size < NEAREST_TEXT_MAX ? b_size : NEAREST_TEXT_MAX;
    for (size_t j = 0; j <= b_size; j++) {
        rows[0][j] = (unsigned)j * NEAREST_EDIT_COST;
    }
    for (size_t i = 1; i <= a_size; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i - 1) % 3];
        const unsigned *above2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i * NEAREST_EDIT_COST;
        for (size_t j = 1; j <= b_size; j++) {
            char x = lower(a[i - 1]);
            char y = lower(b[j - 1]);
            row[j] = above[j - 1] + (x == y ? 0 : NEAREST_EDIT_COST);
            row[j] = least(row[j], least(above[j], row[j - 1]) + NEAREST_EDIT_COST);
            if (i > 1 && j > 1 && x == lower(b[j - 2]) && lower(a[i - 2]) == y) {
                row[j] = least(row[j], above2[j - 2] + NEAREST_SWAP_COST);
            }
        }
    }
    return rows[a_size % 3][b_size];
}

static unsigned code_cost(const char *typed, size_t size, const char *code)
{
    unsigned cost = nearest_distance(typed, size, code, strlen(code));

    return cost <= NEAREST_EDIT_COST ? cost : TOO_FAR;
}

static bool starts_with(const char *text, size_t text_size, const char *start, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (i >= text_size || lower(text[i]) != lower(start[i])) {
            return false;
        }
    }
    return true;
}

static unsigned city_cost(const char *typed, size_t size, const char *city)
{
    size_t city_size = strcspn(city, ",");
    unsigned allowed = NEAREST_EDIT_COST * (unsigned)(size / 3);

    if (city_size == 0) {
        return TOO_FAR;
    }
    unsigned cost = nearest_distance(typed, size, city, city_size);
    if (size >= PREFIX_MIN && starts_with(city, city_size, typed, size)) {
        cost = least(cost, NEAREST_SWAP_COST);
    }
    return cost <= allowed ? cost : TOO_FAR;
}

const struct nearest_place *nearest_find(const char *typed, const struct nearest_place *places,
                                         size_t count)
{
    const struct nearest_place *best = NULL;
    unsigned best_cost = TOO_FAR;
    size_t size = strnlen(typed, NEAREST_TEXT_MAX + 1);

    if (size == 0 || size > NEAREST_TEXT_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        unsigned cost = code_cost(typed, size, places[i].code);
        if (places[i].city != NULL) {
            cost = least(cost, city_cost(typed, size, places[i].city));
        }
        if (cost < best_cost) {
            best = &places[i];
            best_cost = cost;
        }
    }
    return best;
}
