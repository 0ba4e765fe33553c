#include <stdio.h>
#include <string.h>

#include "client/lib/top_parts.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

enum { LABEL_MAX = 8, HALF_BLOCK = 0x2580, HATCH = 0x2591 };

/* ---- where the cells are ---- */

static uint32_t up(uint32_t a, uint32_t b)
{
    return (a + b - 1) / b;
}

static uint32_t lines_of(uint32_t machines, uint32_t each, uint32_t width, uint32_t step)
{
    return up(up(up(machines, each), width), step) * step;
}

static uint64_t lines_of_all(const struct top_view *view, uint32_t each, uint32_t width,
                             uint32_t step)
{
    uint64_t lines = 0;

    for (uint32_t i = 0; i < view->group_count; i++) {
        lines += lines_of(view->groups[i].count, each, width, step);
    }
    return lines;
}

/* As few machines a cell as let all be seen; with more regions than lines, each has one line. */
static uint32_t each_of(const struct top_view *view, uint32_t lines, uint32_t width, uint32_t step)
{
    uint64_t room = lines > view->group_count * step ? lines : view->group_count * step;
    uint32_t low = 1;
    uint32_t high = view->shown_count > 0 ? view->shown_count : 1;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (lines_of_all(view, middle, width, step) <= room) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* The cursor stays on its machine when a cell comes to stand for more or fewer. */
static void find_cursor(struct top_view *view, uint32_t machine)
{
    for (uint32_t i = 0; i < view->group_count; i++) {
        const struct top_group *group = &view->groups[i];
        if (machine >= group->first && machine < group->first + group->count) {
            view->cell_at = group->cell + (machine - group->first) / view->each;
        }
    }
}

static uint32_t machine_at(const struct top_view *view)
{
    for (uint32_t i = 0; i < view->group_count; i++) {
        const struct top_group *group = &view->groups[i];
        if (view->cell_at >= group->cell && view->cell_at < group->cell + group->cells) {
            return group->first + (view->cell_at - group->cell) * view->each;
        }
    }
    return 0;
}

void top_grid_place(struct top_view *view, uint32_t lines, uint32_t width, bool halves)
{
    const uint32_t step = halves ? 2 : 1;
    uint32_t machine = machine_at(view);
    uint32_t before = view->each;
    uint32_t line = 0;

    view->each = each_of(view, lines, width, step) >> view->zoom;
    view->each = view->each == 0 ? 1 : view->each;
    view->grid_width = width;
    view->cells = 0;
    for (uint32_t i = 0; i < view->group_count; i++) {
        struct top_group *group = &view->groups[i];
        group->cell = view->cells;
        group->cells = up(group->count, view->each);
        group->line = line;
        group->lines = lines_of(group->count, view->each, width, step);
        view->cells += group->cells;
        line += group->lines;
    }
    if (view->each != before) {
        find_cursor(view, machine);
    }
    view->cell_at = view->cells == 0              ? 0
                    : view->cell_at < view->cells ? view->cell_at
                                                  : view->cells - 1;
    for (uint32_t i = 0; i < view->group_count; i++) {
        const struct top_group *group = &view->groups[i];
        if (view->cell_at >= group->cell && view->cell_at < group->cell + group->cells) {
            view->lines.at = group->line + (view->cell_at - group->cell) / width;
        }
    }
    top_list_fit(&view->lines, line, lines);
    view->lines.top -= view->lines.top % step;
    view->lines.top += view->lines.at >= view->lines.top + lines ? step : 0;
}

bool top_grid_span(const struct top_drawing *d, uint32_t cell, struct top_cell_span *out)
{
    const struct top_view *view = d->view;

    for (uint32_t i = 0; i < view->group_count; i++) {
        const struct top_group *group = &view->groups[i];
        if (cell >= group->cell && cell < group->cell + group->cells) {
            uint32_t skipped = (cell - group->cell) * view->each;
            uint32_t left = group->count - skipped;
            *out = (struct top_cell_span){.region = &d->model->regions[group->region],
                                          .first = group->first + skipped,
                                          .count = left < view->each ? left : view->each};
            return true;
        }
    }
    return false;
}

/* ---- what they say ---- */

enum top_heat top_heat_of(uint8_t level)
{
    return level == 0               ? TOP_HEAT_IDLE
           : level >= TOP_LEVEL_MAX ? TOP_HEAT_FULL
                                    : (enum top_heat)(TOP_HEAT_FIRST + (level - 1) / 3);
}

struct tally {
    uint32_t sum;
    uint32_t cordoned;
    uint8_t worst;
    uint8_t mean;
};

static struct tally tally_of(const struct top_drawing *d, uint32_t first, uint32_t count)
{
    const uint32_t *slots = d->view->shown + first;
    struct tally t = {0};

    for (uint32_t i = 0; i < count; i++) {
        uint8_t level = d->model->levels[slots[i]] & TOP_LEVEL_MAX;
        t.sum += level;
        t.worst = level > t.worst ? level : t.worst;
        t.cordoned += d->model->levels[slots[i]] / TOP_LEVEL_CORDONED;
    }
    /* only where all are idle, or all are full, does a cell say so */
    uint32_t mean = (t.sum + count / 2) / count;
    mean = mean == 0 && t.sum > 0 ? 1 : mean;
    mean = mean == TOP_LEVEL_MAX && t.sum < count * TOP_LEVEL_MAX ? TOP_LEVEL_MAX - 1 : mean;
    t.mean = (uint8_t)mean;
    return t;
}

static enum top_heat heat_of(const struct top_drawing *d, const struct top_group *group,
                             uint32_t cell)
{
    uint32_t skipped = cell * d->view->each;

    if (cell >= group->cells) {
        return TOP_HEAT_NONE;
    }
    uint32_t left = group->count - skipped;
    uint32_t count = left < d->view->each ? left : d->view->each;
    const struct tally t = tally_of(d, group->first + skipped, count);
    return t.cordoned == count ? TOP_HEAT_CORDONED : top_heat_of(d->view->worst ? t.worst : t.mean);
}

static uint32_t letter_of(enum top_heat heat)
{
    switch (heat) {
    case TOP_HEAT_NONE:
        return ' ';
    case TOP_HEAT_IDLE:
        return '.';
    case TOP_HEAT_FULL:
        return '#';
    case TOP_HEAT_CORDONED:
        return 'x';
    case TOP_HEAT_CURSOR:
    case TOP_HEATS:
        break;
    case TOP_HEAT_FIRST:
    case TOP_HEAT_LAST:
    default:
        return '0' + (uint32_t)(heat - TOP_HEAT_FIRST);
    }
    FLY_UNREACHABLE();
}

struct look {
    bool halves;
    bool letters;
    uint32_t hatch;
};

static struct top_cell cell_of(const struct look *look, enum top_heat upper, enum top_heat lower,
                               bool old, bool cursor_upper, bool cursor_lower)
{
    bool cursor = cursor_upper || cursor_lower;

    if (upper == TOP_HEAT_NONE && lower == TOP_HEAT_NONE) {
        return (struct top_cell){.glyph = ' '};
    }
    if (old || look->letters) {
        return (struct top_cell){.glyph = old ? look->hatch : letter_of(upper),
                                 .style = cursor ? TOP_CURSOR
                                          : old  ? TOP_DIM
                                                 : TOP_PLAIN};
    }
    upper = cursor_upper ? TOP_HEAT_CURSOR : upper;
    lower = cursor_lower ? TOP_HEAT_CURSOR : lower;
    if (!look->halves) {
        return (struct top_cell){.glyph = ' ', .style = TOP_HEAT, .paper = (uint8_t)upper};
    }
    return (struct top_cell){
        .glyph = HALF_BLOCK, .style = TOP_HEAT, .ink = (uint8_t)upper, .paper = (uint8_t)lower};
}

/* One row of characters of a group: a line of it, or two. */
static void draw_row(const struct top_drawing *d, const struct top_group *group,
                     const struct look *look, uint32_t line, uint32_t row, uint32_t column)
{
    const struct top_view *view = d->view;
    const uint32_t width = view->grid_width;
    const uint32_t first = (line - group->line) * width;
    const bool keys = view->pane == TOP_PANE_GRID;
    const bool old = d->old || top_region_age_ms(&d->model->regions[group->region],
                                                 d->status->now_ms) > TOP_OLD_MS;

    for (uint32_t x = 0; x < width; x++) {
        uint32_t a = first + x;
        uint32_t b = look->halves ? first + width + x : UINT32_MAX;
        *top_cell_at(d->screen, row, column + x) =
            cell_of(look, heat_of(d, group, a), look->halves ? heat_of(d, group, b) : TOP_HEAT_NONE,
                    old, keys && group->cell + a == view->cell_at && a < group->cells,
                    keys && look->halves && b < group->cells && group->cell + b == view->cell_at);
    }
}

void top_draw_grid(const struct top_drawing *d, struct top_box box)
{
    struct top_view *view = d->view;
    const bool letters = !d->screen->colours || view->palette == TOP_PALETTE_LETTERS;
    const struct look look = {.letters = letters,
                              .halves = !letters && d->screen->unicode,
                              .hatch = d->screen->unicode ? HATCH : '?'};
    const uint32_t step = look.halves ? 2 : 1;
    uint32_t label = 3;

    for (uint32_t i = 0; i < view->group_count; i++) {
        uint32_t size = (uint32_t)strlen(d->model->regions[view->groups[i].region].code);
        label = size > label ? size : label;
    }
    label = (label < LABEL_MAX ? label : LABEL_MAX) + 2;
    top_grid_place(view, box.rows * step, box.columns - label, look.halves);
    for (uint32_t y = 0; y < box.rows; y++) {
        uint32_t line = view->lines.top + y * step;
        for (uint32_t i = 0; i < view->group_count; i++) {
            const struct top_group *group = &view->groups[i];
            if (line < group->line || line >= group->line + group->lines) {
                continue;
            }
            const struct top_region *region = &d->model->regions[group->region];
            bool at = strcmp(region->code, view->region_at) == 0;
            top_print(d->screen, box.row + y, box.column, label, at ? TOP_BOLD : TOP_DIM, " %.*s",
                      LABEL_MAX, line == group->line || y == 0 ? region->code : "");
            draw_row(d, group, &look, line, box.row + y, box.column + label);
        }
    }
    if (view->group_count == 0) {
        top_put(d->screen, box.row, box.column, box.columns, TOP_DIM,
                d->status->link == TOP_LIVE ? " none" : "");
    }
}

static void detail_of_one(const struct top_drawing *d, struct top_box box,
                          const struct top_cell_span *span)
{
    const struct top_machine *m = &d->model->machines[d->view->shown[span->first]];
    char memory[2][FLY_TIME_TEXT_SIZE];

    fly_size_format(m->memory_free_bytes, memory[0]);
    fly_size_format(m->memory_bytes, memory[1]);
    top_print(d->screen, box.row, box.column, box.columns, TOP_PLAIN,
              " %s  %s  free: %u of %u cores, %s of %s  slice %06x%s", m->name, span->region->code,
              m->cores_free, m->cores, memory[0], memory[1], m->slice,
              m->cordoned ? "  cordoned" : "");
}

void top_draw_grid_detail(const struct top_drawing *d, struct top_box box)
{
    struct top_cell_span span;
    char cordoned[TOP_WORD_SIZE] = "";

    if (!top_grid_span(d, d->view->cell_at, &span)) {
        return;
    }
    if (span.count == 1) {
        detail_of_one(d, box, &span);
        return;
    }
    const struct tally t = tally_of(d, span.first, span.count);
    const uint32_t *slots = d->view->shown + span.first;
    if (t.cordoned > 0) {
        (void)snprintf(cordoned, sizeof cordoned, ", %u cordoned", t.cordoned);
    }
    top_print(d->screen, box.row, box.column, box.columns, TOP_PLAIN,
              " %s  %u machines %s .. %s: mean %u %%, fullest %u %% taken%s", span.region->code,
              span.count, d->model->machines[slots[0]].name,
              d->model->machines[slots[span.count - 1]].name,
              t.sum * 100 / (span.count * TOP_LEVEL_MAX), t.worst * 100U / TOP_LEVEL_MAX, cordoned);
}
