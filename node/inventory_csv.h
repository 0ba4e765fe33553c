/*
 * inventory_csv - rows of named columns out of CSV bytes, with the place of every complaint.
 *
 * RFC 4180 as libcsv's strict mode reads it, a UTF-8 byte-order mark allowed, LF or CRLF. Only the
 * columns that the caller names are kept; the rest is dropped while it is parsed. Part of
 * inventory.
 */
#ifndef FLY_NODE_INVENTORY_CSV_H
#define FLY_NODE_INVENTORY_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/inventory.h"

enum { CSV_COLUMNS_MAX = 64, CSV_SLOTS_MAX = 12 };

/* A header text and the slot that its fields go to; several texts may share one slot. */
struct csv_column {
    const char *name;
    int slot; /* CSV_DROPPED: known, of no use here */
};

enum { CSV_DROPPED = -1 };

struct csv_field {
    const char *column; /* as the header has it; NULL: there is no such column */
    const char *fault;  /* NULL, or why the text may not be used */
    uint32_t line;
    size_t size;
    char text[INVENTORY_FIELD_SIZE_MAX + 1]; /* trimmed; UTF-8 without control characters */
};

struct csv_table;

/* Takes the header (once) or one row; anything but FLY_OK ends the parse and is its answer. */
typedef enum fly_status csv_row_fn(void *user, struct csv_table *table);

struct csv_table {
    const char *file;
    const struct csv_column *known;
    size_t known_count;
    struct inventory *warn_to;
    struct fly_error *error;
    uint32_t line;  /* of the row in hand */
    bool secretive; /* the file has credential columns: no value is ever quoted */
    struct csv_field fields[CSV_SLOTS_MAX]; /* by slot */
};

/* Parses text; calls `header` when the columns are known, then `row` for each row. The caller has
 * set the first five members of `table` and zeroed the rest; it is large: keep it on the heap.
 * Errors name file, line and column. */
enum fly_status csv_parse_table(struct csv_table *table, struct fly_bytes text, csv_row_fn *header,
                                csv_row_fn *row, void *user);

/* The file has the column. */
bool csv_has(const struct csv_table *table, int slot);
/* There is no such column, or nothing in it in this row. */
bool csv_empty(const struct csv_table *table, int slot);
/* "file:line: column: 'value' reason" or, in a secretive file, "… column: the value reason". */
__attribute__((format(printf, 3, 4))) enum fly_status
csv_refuse_value(struct csv_table *table, int slot, const char *reason, ...);
/* "file:line: reason" */
__attribute__((format(printf, 2, 3))) enum fly_status csv_refuse_row(struct csv_table *table,
                                                                     const char *reason, ...);
__attribute__((format(printf, 2, 3))) void csv_warn(struct csv_table *table, const char *text, ...);

/* Text of a slot into out[max]; refused when it does not fit or, if `needed`, when it is empty. A
 * column that is not there counts as empty. */
enum fly_status csv_take_text(struct csv_table *table, int slot, bool needed, char *out,
                              size_t max);
/* A region code, 2 to 8 letters or digits, made upper-case. */
enum fly_status csv_take_code(struct csv_table *table, int slot, char out[static 16]);
/* A whole number in decimal digits, from low to high. */
enum fly_status csv_take_number(struct csv_table *table, int slot, uint64_t low, uint64_t high,
                                uint64_t *out);
/* A decimal number without exponent, within plus or minus bound. */
enum fly_status csv_take_decimal(struct csv_table *table, int slot, double bound, double *out);

#endif
