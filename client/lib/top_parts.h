/* top_parts - what the files that draw top's screen share; nobody else includes it. */
#ifndef FLY_CLIENT_TOP_PARTS_H
#define FLY_CLIENT_TOP_PARTS_H

#include "client/lib/top_screen.h"

/* A pane's place on the screen. */
struct top_box {
    uint32_t row;
    uint32_t column;
    uint32_t rows;
    uint32_t columns;
};

struct top_drawing {
    struct top_screen *screen;
    const struct top_model *model;
    struct top_view *view;
    const struct top_status *status;
    bool old; /* all of it */
};

/* Puts a text into `width` columns, cut or filled with blanks. */
void top_put(struct top_screen *screen, uint32_t row, uint32_t column, uint32_t width,
             enum top_style style, const char *text);
__attribute__((format(printf, 6, 7))) void top_print(struct top_screen *screen, uint32_t row,
                                                     uint32_t column, uint32_t width,
                                                     enum top_style style, const char *format, ...);
struct top_cell *top_cell_at(struct top_screen *screen, uint32_t row, uint32_t column);

/* The panes below their titles. */
void top_draw_regions(const struct top_drawing *d, struct top_box box);
void top_draw_members(const struct top_drawing *d, struct top_box box);
void top_draw_events(const struct top_drawing *d, struct top_box box);
void top_draw_grid(const struct top_drawing *d, struct top_box box);
/* One line about what the cursor is on; of the grid: the machines of a cell. */
void top_draw_grid_detail(const struct top_drawing *d, struct top_box box);
void top_draw_detail(const struct top_drawing *d, struct top_box box);

/* "16:05:59" of a wall clock, UTC. */
void top_clock(int64_t wall_ms, char out[static TOP_SHORT_SIZE]);
/* What a level looks like. */
enum top_heat top_heat_of(uint8_t level);
/* "vm_started" is "started" where the column says the rest. */
const char *top_event_word(uint32_t type);

/* The cell's machines: view->shown[first .. first + count). */
struct top_cell_span {
    const struct top_region *region;
    uint32_t first;
    uint32_t count;
};
/* False: there is no such cell. */
bool top_grid_span(const struct top_drawing *d, uint32_t cell, struct top_cell_span *out);
/* Places the groups for a grid of that size: view->each, cells, lines. */
void top_grid_place(struct top_view *view, uint32_t lines, uint32_t width, bool halves);

#endif
