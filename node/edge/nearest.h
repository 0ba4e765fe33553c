/*
 * nearest - what region a person meant: "MLE" is near MEL, "londn" is near LHR's London.
 *
 * Weighted optimal string alignment (Damerau 1964; Wagner and Fischer 1974): swapped neighbours
 * cost less than another, missing or extra character, because that is how three-letter codes go
 * wrong. Case does not count. Pure; O(places × length²), a few microseconds for 40 regions.
 */
#ifndef FLY_EDGE_NEAREST_H
#define FLY_EDGE_NEAREST_H

#include <stddef.h>

enum {
    NEAREST_TEXT_MAX = 40, /* longer input is near nothing */
    NEAREST_SWAP_COST = 2, /* and the start of a city's name */
    NEAREST_EDIT_COST = 3,
};

struct nearest_place {
    const char *code;
    const char *city; /* "Melbourne" or "Melbourne, Australia"; may be NULL or empty */
};

/* The place nearest to what was typed, by its code or city (the first of equals), or NULL when all
 * are too far: more than one edit in a code, more than one for every three characters in a city. */
const struct nearest_place *nearest_find(const char *typed, const struct nearest_place *places,
                                         size_t count);

/* Cost of turning one text into the other; what passes NEAREST_TEXT_MAX is cut off. */
unsigned nearest_distance(const char *a, size_t a_size, const char *b, size_t b_size);

#endif
