/*
 * cursor - where a watcher stands: "slice:incarnation:seq", one per slice, with commas between.
 *
 * The incarnation's text is the server's own; only equality counts here. Pure.
 */
#ifndef FLY_CLIENT_CURSOR_H
#define FLY_CLIENT_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

enum { CURSOR_SIZE = 16384, CURSOR_WORD_SIZE = 32 };

struct cursor {
    char text[CURSOR_SIZE]; /* "": nowhere yet */
};

/* False, and the cursor as it was: malformed, or too long. "" is fine. */
bool cursor_set(struct cursor *cursor, const char *text);
/* False: it says nothing about this slice. */
bool cursor_find(const struct cursor *cursor, const char *slice,
                 char incarnation[static CURSOR_WORD_SIZE], uint64_t *seq);
/* Moves one slice's part, or adds it; false when a word is malformed or there is no room. */
bool cursor_put(struct cursor *cursor, const char *slice, const char *incarnation, uint64_t seq);

#endif
