/*
 * top_screen - draws a top_model, as a top_view looks at it, into a buffer of cells: what stands in
 * each, and in which style. Knows no terminal, no clock and no colour: client/top_terminal.c does,
 * and tests look at the buffer.
 *
 * From top to bottom: header, totals, regions beside the grid of machines, members beside the
 * latest events, what the cursor is on, keys. A small terminal shows the pane that has the keys.
 *
 * The grid: one cell for `view->each` machines, two cells in a character (U+2580: the upper one is
 * its ink, the lower one its paper) or one where characters or colours are missing. What is old is
 * hatched.
 */
#ifndef FLY_CLIENT_TOP_SCREEN_H
#define FLY_CLIENT_TOP_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

#include "client/lib/top_model.h"
#include "client/lib/top_view.h"

enum top_style {
    TOP_PLAIN,
    TOP_DIM,
    TOP_BOLD,
    TOP_HEADER,
    TOP_TITLE,
    TOP_TITLE_KEYS, /* of the pane that has the keys */
    TOP_CURSOR,
    TOP_GOOD,
    TOP_WARN,
    TOP_BAD,
    TOP_BAR_LOW,
    TOP_BAR_MIDDLE,
    TOP_BAR_HIGH,
    TOP_BAR_OLD,
    TOP_BAR_REST,
    TOP_HEAT, /* `ink` and `paper` are of enum top_heat */
    TOP_STYLES,
};

/* What a cell of the grid says. */
enum top_heat {
    TOP_HEAT_NONE,
    TOP_HEAT_IDLE,
    TOP_HEAT_FIRST,                     /* something is taken .. */
    TOP_HEAT_LAST = TOP_HEAT_FIRST + 9, /* .. nearly all is */
    TOP_HEAT_FULL,
    TOP_HEAT_CORDONED,
    TOP_HEAT_CURSOR,
    TOP_HEATS,
};

struct top_cell {
    uint32_t glyph; /* Unicode; 0: the second half of a wide one */
    uint8_t style;
    uint8_t ink;
    uint8_t paper;
    uint8_t unused;
};

enum { TOP_ROWS_MAX = 512, TOP_COLUMNS_MAX = 1024, TOP_ROWS_MIN = 8, TOP_COLUMNS_MIN = 40 };

struct top_screen {
    uint32_t rows;
    uint32_t columns;
    bool unicode; /* the terminal shows more than ASCII */
    bool colours;
    struct top_cell *cells; /* row by row */
};

enum top_link { TOP_CONNECTING = 1, TOP_LOADING, TOP_LIVE, TOP_LOST };

/* How it stands with the connection; times are CLOCK_BOOTTIME but for wall_ms. */
struct top_status {
    enum top_link link;
    char cluster[TOP_NAME_SIZE];
    char node[TOP_NAME_SIZE]; /* the edge that answers */
    char why[TOP_NOTE_SIZE];  /* LOST */
    char note[TOP_NOTE_SIZE]; /* something less that went wrong: members are not allowed, say */
    int64_t heard_ms;         /* of the edge last; 0: never */
    int64_t now_ms;
    int64_t wall_ms;
    uint64_t told; /* machines so far: LOADING */
    double changes_per_s;
};

/* A feed that is silent so long is old. */
enum { TOP_OLD_MS = 3000 };

/* Room for that many cells, within the maxima; false: no memory, the screen is as it was. */
bool top_screen_resize(struct top_screen *screen, uint32_t rows, uint32_t columns);
void top_screen_fini(struct top_screen *screen);
/* Draws everything. Settles the view (the model must be settled) and tells it what fits. */
void top_screen_draw(struct top_screen *screen, const struct top_model *model,
                     struct top_view *view, const struct top_status *status);

/* Nothing was heard for so long that what is shown may be wrong. */
bool top_status_old(const struct top_status *status);
/* "LIVE", "STALE 4 s", "LOST 4 s", "PAUSED" … and how bad that is. */
enum { TOP_LINK_TEXT_SIZE = 48 };
enum top_style top_link_text(const struct top_status *status, bool paused,
                             char out[static TOP_LINK_TEXT_SIZE]);
/* "999", "1.2k", "12M": at most 5 characters; of thousands. */
enum { TOP_SHORT_SIZE = 16 };
void top_short_number(uint64_t value, char out[static TOP_SHORT_SIZE]);
/* "1,234,567" */
enum { TOP_NUMBER_SIZE = 32 };
void top_number(uint64_t value, char out[static TOP_NUMBER_SIZE]);
/* "4 s", "3 min" */
void top_age(uint64_t age_ms, char out[static TOP_SHORT_SIZE]);

#endif
