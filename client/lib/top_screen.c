#include "client/lib/top_screen.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/text.h"
#include "client/lib/top_parts.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

enum {
    LEFT_MIN = 42,
    LEFT_MAX = 72,
    WIDE_MIN = 76,
    TALL_MIN = 18,
    LINE_SIZE = 512,
    FIXED_ROWS = 4
};

bool top_screen_resize(struct top_screen *screen, uint32_t rows, uint32_t columns)
{
    rows = rows < 1 ? 1 : rows > TOP_ROWS_MAX ? TOP_ROWS_MAX : rows;
    columns = columns < 1 ? 1 : columns > TOP_COLUMNS_MAX ? TOP_COLUMNS_MAX : columns;
    struct top_cell *cells = calloc((size_t)rows * columns, sizeof *cells);
    if (cells == NULL) {
        return false;
    }
    free(screen->cells);
    screen->cells = cells;
    screen->rows = rows;
    screen->columns = columns;
    return true;
}

void top_screen_fini(struct top_screen *screen)
{
    free(screen->cells);
    screen->cells = NULL;
}

/* ---- texts ---- */

struct top_cell *top_cell_at(struct top_screen *screen, uint32_t row, uint32_t column)
{
    FLY_CHECK(row < screen->rows && column < screen->columns);
    return &screen->cells[(size_t)row * screen->columns + column];
}

static void put_cell(struct top_screen *screen, uint32_t row, uint32_t column, uint32_t glyph,
                     enum top_style style)
{
    *top_cell_at(screen, row, column) = (struct top_cell){.glyph = glyph, .style = (uint8_t)style};
}

void top_put(struct top_screen *screen, uint32_t row, uint32_t column, uint32_t width,
             enum top_style style, const char *text)
{
    uint32_t end = column + width < screen->columns ? column + width : screen->columns;

    if (row >= screen->rows) {
        return;
    }
    while (*text != '\0' && column < end) {
        uint32_t glyph = 0;
        size_t wide = 1;
        text += text_character(text, &glyph, &wide);
        if (!screen->unicode && glyph >= 0x7f) {
            glyph = '?';
            wide = wide > 0 ? 1 : 0;
        }
        if (wide == 0) {
            continue; /* a mark over the letter before: a cell has room for one */
        }
        if (column + wide > end) {
            break;
        }
        put_cell(screen, row, column++, glyph, style);
        if (wide == 2) {
            put_cell(screen, row, column++, 0, style);
        }
    }
    while (column < end) {
        put_cell(screen, row, column++, ' ', style);
    }
}

void top_print(struct top_screen *screen, uint32_t row, uint32_t column, uint32_t width,
               enum top_style style, const char *format, ...)
{
    char text[LINE_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    top_put(screen, row, column, width, style, text);
}

void top_short_number(uint64_t value, char out[static TOP_SHORT_SIZE])
{
    static const char units[] = " kMGTPE";
    double shown = (double)value;
    size_t unit = 0;

    if (value < 10000) {
        (void)snprintf(out, TOP_SHORT_SIZE, "%u", (unsigned)value);
        return;
    }
    while (shown >= 999.5) {
        shown /= 1000;
        unit++;
    }
    (void)snprintf(out, TOP_SHORT_SIZE, shown < 9.95 ? "%.1f%c" : "%.0f%c", shown, units[unit]);
}

void top_number(uint64_t value, char out[static TOP_NUMBER_SIZE])
{
    char digits[TOP_NUMBER_SIZE];
    int count = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    int at = 0;

    for (int i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0) {
            out[at++] = ',';
        }
        out[at++] = digits[i];
    }
    out[at] = '\0';
}

void top_age(uint64_t age_ms, char out[static TOP_SHORT_SIZE])
{
    uint64_t s = age_ms / 1000;

    if (age_ms >= INT64_MAX) {
        (void)snprintf(out, TOP_SHORT_SIZE, "ever");
    } else if (s < 120) {
        (void)snprintf(out, TOP_SHORT_SIZE, "%u s", (unsigned)s);
    } else if (s < 7200) {
        (void)snprintf(out, TOP_SHORT_SIZE, "%u min", (unsigned)(s / 60));
    } else {
        (void)snprintf(out, TOP_SHORT_SIZE, "%llu h", (unsigned long long)(s / 3600));
    }
}

void top_clock(int64_t wall_ms, char out[static TOP_SHORT_SIZE])
{
    char time[FLY_TIME_TEXT_SIZE];

    fly_time_format(wall_ms, time); /* 2026-11-21T09:30:00.123Z */
    (void)snprintf(out, TOP_SHORT_SIZE, "%.8s", time + 11);
}

bool top_status_old(const struct top_status *status)
{
    return status->heard_ms != 0 && status->now_ms - status->heard_ms > TOP_OLD_MS;
}

enum top_style top_link_text(const struct top_status *status, bool paused,
                             char out[static TOP_LINK_TEXT_SIZE])
{
    char age[TOP_SHORT_SIZE];
    char told[TOP_NUMBER_SIZE];

    top_age((uint64_t)(status->heard_ms == 0 ? 0 : status->now_ms - status->heard_ms), age);
    if (paused) {
        (void)snprintf(out, TOP_LINK_TEXT_SIZE, "PAUSED");
        return TOP_WARN;
    }
    switch (status->link) {
    case TOP_CONNECTING:
        (void)snprintf(out, TOP_LINK_TEXT_SIZE, "CONNECTING");
        return TOP_WARN;
    case TOP_LOADING:
        top_number(status->told, told);
        (void)snprintf(out, TOP_LINK_TEXT_SIZE, "LOADING %s", told);
        return TOP_WARN;
    case TOP_LIVE:
        if (!top_status_old(status)) {
            (void)snprintf(out, TOP_LINK_TEXT_SIZE, "LIVE");
            return TOP_GOOD;
        }
        (void)snprintf(out, TOP_LINK_TEXT_SIZE, "STALE %s", age);
        return TOP_BAD;
    case TOP_LOST:
        (void)snprintf(out, TOP_LINK_TEXT_SIZE, "LOST %s", age);
        return TOP_BAD;
    }
    FLY_UNREACHABLE();
}

/* ---- the lines that are always there ---- */

/* A piece of a line, where there is room for the whole of it. */
static uint32_t add(struct top_screen *screen, uint32_t row, uint32_t column, uint32_t end,
                    enum top_style style, const char *text)
{
    uint32_t width = (uint32_t)text_width(text);

    if (column + width > end) {
        return column;
    }
    top_put(screen, row, column, width, style, text);
    return column + width;
}

static void draw_header(const struct top_drawing *d)
{
    struct top_screen *screen = d->screen;
    const struct top_status *status = d->status;
    char link[TOP_LINK_TEXT_SIZE];
    char number[TOP_NUMBER_SIZE];
    char clock[TOP_SHORT_SIZE];
    char text[LINE_SIZE];
    uint32_t end = screen->columns;
    enum top_style style = top_link_text(status, d->view->paused, link);

    top_put(screen, 0, 0, end, TOP_HEADER, "");
    top_clock(status->wall_ms, clock);
    if (end > 60) {
        (void)snprintf(text, sizeof text, "%sZ ", clock);
        end -= (uint32_t)strlen(text);
        top_put(screen, 0, end, (uint32_t)strlen(text), TOP_HEADER, text);
    }
    uint32_t column = add(screen, 0, 0, end, TOP_HEADER, " flylight  ");
    (void)snprintf(text, sizeof text, " %s ", link);
    column = add(screen, 0, column, end, style, text);
    if (status->link == TOP_LOST) {
        (void)snprintf(text, sizeof text, "  %.*s", (int)(end > column + 2 ? end - column - 2 : 0),
                       status->why);
        (void)add(screen, 0, column, end, TOP_HEADER, text);
        return;
    }
    top_number((uint64_t)(status->changes_per_s + 0.5), number);
    (void)snprintf(text, sizeof text, "  %s changes/s", number);
    column = add(screen, 0, column, end, TOP_HEADER, text);
    if (status->node[0] != '\0') {
        (void)snprintf(text, sizeof text, "  edge %s", status->node);
        column = add(screen, 0, column, end, TOP_HEADER, text);
        (void)snprintf(text, sizeof text, "  cluster %.8s", status->cluster);
        (void)add(screen, 0, column, end, TOP_HEADER, text);
    }
}

static void draw_totals(const struct top_drawing *d)
{
    const struct top_sums *sums = &d->model->sums;
    char machines[TOP_NUMBER_SIZE];
    char cores[2][TOP_NUMBER_SIZE];
    char memory[2][FLY_TIME_TEXT_SIZE];
    char text[LINE_SIZE];
    uint32_t column = 0;
    uint32_t end = d->screen->columns;

    top_put(d->screen, 1, 0, end, TOP_PLAIN, "");
    top_number(sums->machines, machines);
    top_number(sums->cores_free, cores[0]);
    top_number(sums->cores_total, cores[1]);
    fly_size_format(sums->memory_free_bytes, memory[0]);
    fly_size_format(sums->memory_total_bytes, memory[1]);
    (void)snprintf(text, sizeof text, " %s machines, free: %s of %s cores, %s of %s", machines,
                   cores[0], cores[1], memory[0], memory[1]);
    column = add(d->screen, 1, column, end, d->old ? TOP_DIM : TOP_PLAIN, text);
    if (sums->cordoned > 0) {
        (void)snprintf(text, sizeof text, "  %llu cordoned", (unsigned long long)sums->cordoned);
        column = add(d->screen, 1, column, end, TOP_WARN, text);
    }
    if (d->status->note[0] != '\0') {
        (void)snprintf(text, sizeof text, "  %s", d->status->note);
        (void)add(d->screen, 1, column, end, TOP_WARN, text);
    }
}

/* The keys, as many as there is room for; the most needed first. */
static void draw_keys(const struct top_drawing *d, uint32_t row)
{
    static const char *const keys[][2] = {{"q", "quit"},      {"?", "help"},       {"Tab", "pane"},
                                          {"/", "filter"},    {"s", "sort"},       {"c", "colours"},
                                          {"p", "pause"},     {"m", "mean/worst"}, {"+-", "zoom"},
                                          {"Enter", "region"}};
    uint32_t end = d->screen->columns;
    uint32_t column = 0;

    top_put(d->screen, row, 0, end, TOP_PLAIN, "");
    if (d->view->typing) {
        top_print(d->screen, row, 0, end, TOP_BOLD, " Region or beginning of a name: %s_",
                  d->view->typed);
        return;
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(keys); i++) {
        uint32_t width = (uint32_t)(strlen(keys[i][0]) + strlen(keys[i][1]) + 2);
        if (column + width > end) {
            break;
        }
        column = add(d->screen, row, column + 1, end, TOP_BOLD, keys[i][0]);
        column = add(d->screen, row, column + 1, end, TOP_DIM, keys[i][1]);
    }
}

static void draw_help(const struct top_drawing *d)
{
    static const char *const lines[] = {
        "flyrpc top: the cluster as it is, told by an edge as it changes",
        "",
        "Tab, Shift-Tab   the next pane, the one before",
        "arrows, j k      move; PgUp, PgDn, Home, End (g G) too",
        "Enter            in Regions: machines of that region only; again: of all",
        "/                filter: a region, or how machines' names begin; Esc: none",
        "s                sort: by name, or the fullest first",
        "m                a cell of several machines: their mean, or the fullest",
        "+ -              fewer machines a cell, more",
        "c                colours: green to red, blue to yellow, letters",
        "p, space         pause: what is shown stays as it is",
        "q                quit",
        "",
        "A cell is how much of a machine is taken, of cores or memory, whichever is scarcer.",
        "Letters: . idle, 0 to 9 tenths taken, # full, x cordoned, ? not heard of lately.",
        "~ or a hatch: the picture of that region is older than 3 s. The bars tell",
        "what is free of how much; their filled part is what is taken.",
    };

    for (uint32_t i = 0; i < FLY_ARRAY_COUNT(lines); i++) {
        top_put(d->screen, i + 1, 2, d->screen->columns, i == 0 ? TOP_BOLD : TOP_PLAIN, lines[i]);
    }
}

/* ---- panes ---- */

static void draw_title(const struct top_drawing *d, struct top_box box, enum top_pane pane)
{
    const struct top_view *view = d->view;
    char number[TOP_NUMBER_SIZE];
    char each[TOP_NUMBER_SIZE];
    char cell[TOP_WORD_SIZE] = "";
    char text[LINE_SIZE] = "";

    switch (pane) {
    case TOP_PANE_REGIONS:
        (void)snprintf(text, sizeof text, " Regions %u%s%s%s  free cores, memory",
                       view->regions.count, view->sort == TOP_SORT_TAKEN ? " by taken" : "",
                       view->filter[0] != '\0' ? " /" : "", view->filter);
        break;
    case TOP_PANE_GRID:
        top_number(view->shown_count, number);
        top_number(view->each, each);
        if (view->each > 1) {
            (void)snprintf(cell, sizeof cell, "  cell: %s of %s", view->worst ? "worst" : "mean",
                           each);
        }
        (void)snprintf(text, sizeof text, " Machines %s%s%s%s", number, cell,
                       view->selected[0] != '\0' ? "  " : "", view->selected);
        break;
    case TOP_PANE_MEMBERS:
        (void)snprintf(text, sizeof text, " Members %u  state, RTT, roles", d->model->member_count);
        break;
    case TOP_PANE_EVENTS:
        (void)snprintf(text, sizeof text, " Latest changes");
        break;
    case TOP_PANES:
        break;
    }
    top_put(d->screen, box.row, box.column, box.columns,
            view->pane == pane ? TOP_TITLE_KEYS : TOP_TITLE, text);
}

static void draw_pane(const struct top_drawing *d, struct top_box box, enum top_pane pane)
{
    static void (*const draw[])(const struct top_drawing *, struct top_box) = {
        [TOP_PANE_REGIONS] = top_draw_regions,
        [TOP_PANE_GRID] = top_draw_grid,
        [TOP_PANE_MEMBERS] = top_draw_members,
        [TOP_PANE_EVENTS] = top_draw_events,
    };
    struct top_box inner = {box.row + 1, box.column, box.rows - 1, box.columns};

    if (pane != TOP_PANE_GRID) {
        draw_title(d, box, pane);
        draw[pane](d, inner);
        return;
    }
    draw[pane](d, inner); /* it finds out how many machines a cell is */
    draw_title(d, box, pane);
}

static void draw_panes(const struct top_drawing *d, struct top_box all)
{
    uint32_t left = all.columns * 45 / 100;
    uint32_t upper = all.rows * 3 / 5;

    if (all.columns < WIDE_MIN || all.rows + FIXED_ROWS < TALL_MIN) {
        draw_pane(d, all, d->view->pane);
        return;
    }
    left = left < LEFT_MIN ? LEFT_MIN : left > LEFT_MAX ? LEFT_MAX : left;
    const uint32_t right = all.columns - left - 1;
    const uint32_t lower = all.rows - upper;
    const uint32_t beside = all.column + left + 1;
    draw_pane(d, (struct top_box){all.row, all.column, upper, left}, TOP_PANE_REGIONS);
    draw_pane(d, (struct top_box){all.row, beside, upper, right}, TOP_PANE_GRID);
    draw_pane(d, (struct top_box){all.row + upper, all.column, lower, left}, TOP_PANE_MEMBERS);
    draw_pane(d, (struct top_box){all.row + upper, beside, lower, right}, TOP_PANE_EVENTS);
}

void top_screen_draw(struct top_screen *screen, const struct top_model *model,
                     struct top_view *view, const struct top_status *status)
{
    const struct top_drawing d = {screen, model, view, status, top_status_old(status)};

    for (uint32_t row = 0; row < screen->rows; row++) {
        top_put(screen, row, 0, screen->columns, TOP_PLAIN, "");
    }
    if (screen->rows < TOP_ROWS_MIN || screen->columns < TOP_COLUMNS_MIN) {
        top_print(screen, 0, 0, screen->columns, TOP_PLAIN, "at least %d by %d", TOP_COLUMNS_MIN,
                  TOP_ROWS_MIN);
        return;
    }
    top_view_settle(view, model, status->now_ms);
    if (view->help) {
        draw_help(&d);
        return;
    }
    draw_header(&d);
    draw_totals(&d);
    draw_panes(&d, (struct top_box){2, 0, screen->rows - FIXED_ROWS, screen->columns});
    top_draw_detail(&d, (struct top_box){screen->rows - 2, 0, 1, screen->columns});
    draw_keys(&d, screen->rows - 1);
}
