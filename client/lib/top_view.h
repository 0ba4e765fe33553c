/*
 * top_view - how a person looks at a top_model: which pane, where in it, which part of the cluster,
 * in which order; and what each key does to that. Draws nothing and reads no clock; uses the heap,
 * for the list of the machines that are shown.
 *
 * What the person chose survives every update: a cursor stays on its region or event, not on its
 * row.
 */
#ifndef FLY_CLIENT_TOP_VIEW_H
#define FLY_CLIENT_TOP_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "client/lib/top_model.h"

enum top_pane {
    TOP_PANE_REGIONS,
    TOP_PANE_GRID,
    TOP_PANE_MEMBERS,
    TOP_PANE_EVENTS,
    TOP_PANES,
};

enum top_sort { TOP_SORT_NAME, TOP_SORT_TAKEN, TOP_SORTS };

enum top_palette {
    TOP_PALETTE_HEAT,    /* green to red */
    TOP_PALETTE_SAFE,    /* blue to yellow: told apart by every eye */
    TOP_PALETTE_LETTERS, /* no colour: a digit for each cell */
    TOP_PALETTES,
};

/* Keys that are no characters. */
enum top_key {
    TOP_KEY_UP = 0x110000,
    TOP_KEY_DOWN,
    TOP_KEY_LEFT,
    TOP_KEY_RIGHT,
    TOP_KEY_PAGE_UP,
    TOP_KEY_PAGE_DOWN,
    TOP_KEY_HOME,
    TOP_KEY_END,
    TOP_KEY_ENTER,
    TOP_KEY_ESCAPE,
    TOP_KEY_TAB,
    TOP_KEY_BACK_TAB,
    TOP_KEY_BACKSPACE,
};

enum { TOP_FILTER_SIZE = 40, TOP_ZOOM_MAX = 20, TOP_SORT_EVERY_MS = 1000 };

/* Rows of which some are seen: `at` is the cursor, `top` the first that is seen. */
struct top_list {
    uint32_t at;
    uint32_t top;
    uint32_t count;
    uint32_t page; /* rows that are seen, as of the last drawing */
};

/* The machines of one region that are shown: a part of view->shown, and where the grid has them. */
struct top_group {
    uint32_t region;
    uint32_t first;
    uint32_t count;
    uint32_t cell; /* its first cell */
    uint32_t cells;
    uint32_t line; /* its first line of the grid */
    uint32_t lines;
};

struct top_view {
    enum top_pane pane;
    enum top_sort sort;
    enum top_palette palette;
    bool worst; /* a cell of several machines shows the fullest of them, not the mean */
    bool paused;
    bool help;
    bool typing; /* the filter */
    char filter[TOP_FILTER_SIZE];
    char typed[TOP_FILTER_SIZE];
    char selected[TOP_CODE_SIZE]; /* region whose machines are shown; "": of all */

    struct top_list regions;
    char region_at[TOP_CODE_SIZE]; /* the cursor's */
    uint8_t region_order[TOP_REGIONS_MAX];
    struct top_list members;
    struct top_list events;
    uint64_t event_at; /* number of the cursor's event; 0: follows the last */

    uint32_t *shown; /* slots */
    uint32_t shown_count;
    uint32_t shown_max;
    struct top_group groups[TOP_REGIONS_MAX];
    uint32_t group_count;
    uint64_t shown_of; /* model->order_changes of it */
    bool changed;      /* by a key: `shown` is to be made again */
    int64_t sorted_ms;

    uint32_t zoom;    /* so many times half as many machines a cell as fit */
    uint32_t each;    /* machines a cell */
    uint32_t cells;   /* in all */
    uint32_t cell_at; /* the cursor */
    uint32_t grid_width;
    struct top_list lines; /* of the grid; `at` is the cursor's line */
};

enum top_action {
    TOP_NOTHING,
    TOP_DRAW,
    TOP_QUIT,
};

void top_view_init(struct top_view *view);
void top_view_fini(struct top_view *view);
/* What a key does. Characters are themselves. */
enum top_action top_view_key(struct top_view *view, uint32_t key);
/* Makes the lists right for the model, which was settled: before each drawing. */
void top_view_settle(struct top_view *view, const struct top_model *model, int64_t now_ms);
/* Whether the filter lets a machine pass: its region or its name begins so, in any case. */
bool top_view_passes(const char *filter, const char *region, const char *name);

/* Moves the cursor by so much and no further than the ends. */
void top_list_move(struct top_list *list, int64_t by);
/* Another number of rows, or of rows that are seen: the cursor stays inside, and is seen. */
void top_list_fit(struct top_list *list, uint32_t count, uint32_t page);

#endif
