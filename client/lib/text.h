/*
 * text - what is shown to a person: safe strings, columns that line up, near misses.
 *
 * Strings from a server never reach a terminal as they are: control characters and bytes that are
 * not UTF-8 become '?'. Pure but for the table, which uses the heap.
 */
#ifndef FLY_CLIENT_TEXT_H
#define FLY_CLIENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TABLE_COLUMNS_MAX = 12 };

/* Copies a text into out[max], cut between characters if it must be, safe for a terminal. */
void text_clean(const char *text, char *out, size_t max);
/* The first character of a clean UTF-8 text that is not empty, and its columns (0, 1 or 2). Returns
 * its bytes. */
size_t text_character(const char *text, uint32_t *out, size_t *width);
/* Columns that a clean UTF-8 text takes on a terminal: wide letters count two, marks none. */
size_t text_width(const char *text);
/* Edits (insert, delete, change, swap of neighbours) between two texts of at most 63 bytes, any
 * case; more than 63: 64. */
size_t text_distance(const char *a, const char *b);
/* The nearest of `count` words to `text`, if it is near enough to be meant; else NULL. */
const char *text_nearest(const char *text, const char *const *words, size_t count);
/* Writes a word so that a POSIX shell reads back the same: quoted only if it must be. */
void text_put_shell_word(FILE *out, const char *word);

struct table_column {
    const char *title;
    bool right; /* numbers */
};

struct table;

/* At most TABLE_COLUMNS_MAX columns, borrowed. NULL when memory is out. */
struct table *table_create(const struct table_column *columns, size_t count);
/* One text for each column, copied and cleaned; NULL or "" shows as <none>. False: no memory. */
bool table_add(struct table *table, const char *const *cells);
size_t table_rows(const struct table *table);
/* Title row, then the rows; two spaces between columns, none at the end of a line. */
void table_print(const struct table *table, FILE *out);
void table_destroy(struct table *table);

#endif
