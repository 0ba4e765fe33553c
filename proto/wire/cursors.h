/*
 * cursors - where a watcher stands in several slices, as text that it can keep and show again.
 *
 *   slice:incarnation:seq[,slice:incarnation:seq ...]      757c22:084e8fd64fe52562:103
 *
 * 6 hex digits, 16 hex digits, a decimal number without leading zeros; at most CURSORS_MAX slices,
 * each once. Kept and written in the order of their slices, so equal places are equal texts. The
 * text comes from users: read strictly. Pure.
 */
#ifndef FLY_WIRE_CURSORS_H
#define FLY_WIRE_CURSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CURSORS_MAX = 64,
    CURSORS_ONE_TEXT_SIZE = 6 + 1 + 16 + 1 + 20 + 1,         /* with the NUL */
    CURSORS_TEXT_SIZE = CURSORS_MAX * CURSORS_ONE_TEXT_SIZE, /* commas and the NUL with them */
};

struct cursor {
    uint32_t slice;       /* tag, 24 bits */
    uint64_t incarnation; /* of the slice's log */
    uint64_t seq;         /* the last event seen */
};

struct cursors {
    uint32_t count;
    struct cursor at[CURSORS_MAX]; /* ascending by slice */
};

/* False, with *out as it was: not the form, too many, or a slice twice. */
bool cursors_parse(const char *text, struct cursors *out);
/* Returns the length; "" for none. */
size_t cursors_format(const struct cursors *c, char out[static CURSORS_TEXT_SIZE]);
/* One entry by itself. */
size_t cursor_print(const struct cursor *cursor, char out[static CURSORS_ONE_TEXT_SIZE]);

/* NULL: not there. Valid until the next put or drop. */
const struct cursor *cursors_find(const struct cursors *c, uint32_t slice);
/* Adds the slice or replaces what is there; false: it is new and there is no room. */
bool cursors_put(struct cursors *c, struct cursor cursor);
void cursors_drop(struct cursors *c, uint32_t slice);

#endif
