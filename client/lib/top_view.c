#include "client/lib/top_view.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/base/check.h"

void top_view_init(struct top_view *view)
{
    *view = (struct top_view){.changed = true, .each = 1};
}

void top_view_fini(struct top_view *view)
{
    free(view->shown);
    view->shown = NULL;
}

/* ---- lists ---- */

void top_list_move(struct top_list *list, int64_t by)
{
    int64_t at = (int64_t)list->at + by;
    int64_t last = list->count == 0 ? 0 : (int64_t)list->count - 1;

    list->at = (uint32_t)(at < 0 ? 0 : at > last ? last : at);
}

void top_list_fit(struct top_list *list, uint32_t count, uint32_t page)
{
    list->count = count;
    list->page = page;
    top_list_move(list, 0);
    if (list->top > list->at) {
        list->top = list->at;
    }
    if (page > 0 && list->at >= list->top + page) {
        list->top = list->at - page + 1;
    }
    if (list->top + page > count) { /* no empty rows below while there are some above */
        list->top = count > page ? count - page : 0;
    }
}

/* ---- keys ---- */

static enum top_action type(struct top_view *view, uint32_t key)
{
    size_t size = strlen(view->typed);

    if (key == TOP_KEY_ESCAPE) {
        view->typing = false;
    } else if (key == TOP_KEY_ENTER) {
        view->typing = false;
        memcpy(view->filter, view->typed, sizeof view->filter);
        view->changed = true;
    } else if (key == TOP_KEY_BACKSPACE) {
        view->typed[size > 0 ? size - 1 : 0] = '\0';
    } else if (key > ' ' && key < 0x7f && size + 1 < sizeof view->typed) {
        view->typed[size] = (char)key;
        view->typed[size + 1] = '\0';
    }
    return TOP_DRAW;
}

static struct top_list *list_of(struct top_view *view)
{
    switch (view->pane) {
    case TOP_PANE_REGIONS:
        return &view->regions;
    case TOP_PANE_MEMBERS:
        return &view->members;
    case TOP_PANE_EVENTS:
        return &view->events;
    case TOP_PANE_GRID:
    case TOP_PANES:
        break;
    }
    return NULL;
}

/* By columns within a line of the grid and by lines; the ends of the groups are where cells end. */
static void move_grid(struct top_view *view, int64_t by)
{
    int64_t at = (int64_t)view->cell_at + by;
    int64_t last = view->cells == 0 ? 0 : (int64_t)view->cells - 1;

    view->cell_at = (uint32_t)(at < 0 ? 0 : at > last ? last : at);
}

static void move_grid_lines(struct top_view *view, int64_t by)
{
    uint32_t width = view->grid_width == 0 ? 1 : view->grid_width;
    uint32_t column = 0;
    int64_t line = 0;

    for (uint32_t i = 0; i < view->group_count; i++) {
        const struct top_group *group = &view->groups[i];
        if (view->cell_at >= group->cell && view->cell_at < group->cell + group->cells) {
            column = (view->cell_at - group->cell) % width;
            line = (int64_t)group->line + (view->cell_at - group->cell) / width + by;
        }
    }
    line = line < 0 ? 0 : line;
    for (uint32_t i = 0; i < view->group_count; i++) {
        const struct top_group *group = &view->groups[i];
        if (line >= group->line && group->cells > 0) {
            uint32_t down = (uint32_t)(line - group->line);
            uint32_t most = (group->cells - 1) / width;
            uint32_t cell = (down < most ? down : most) * width + column;
            view->cell_at = group->cell + (cell < group->cells ? cell : group->cells - 1);
        }
    }
}

static enum top_action move(struct top_view *view, uint32_t key)
{
    struct top_list *list = list_of(view);
    int64_t page = list != NULL ? list->page : view->lines.page;

    page = page > 1 ? page - 1 : 1;
    switch (key) {
    case TOP_KEY_UP:
    case 'k':
        list != NULL ? top_list_move(list, -1) : move_grid_lines(view, -1);
        break;
    case TOP_KEY_DOWN:
    case 'j':
        list != NULL ? top_list_move(list, 1) : move_grid_lines(view, 1);
        break;
    case TOP_KEY_PAGE_UP:
        list != NULL ? top_list_move(list, -page) : move_grid_lines(view, -page);
        break;
    case TOP_KEY_PAGE_DOWN:
        list != NULL ? top_list_move(list, page) : move_grid_lines(view, page);
        break;
    case TOP_KEY_HOME:
    case 'g':
        list != NULL ? top_list_move(list, INT32_MIN) : move_grid(view, INT32_MIN);
        break;
    case TOP_KEY_END:
    case 'G':
        list != NULL ? top_list_move(list, INT32_MAX) : move_grid(view, INT32_MAX);
        break;
    case TOP_KEY_LEFT:
    case TOP_KEY_RIGHT:
        if (list != NULL) {
            return TOP_NOTHING;
        }
        move_grid(view, key == TOP_KEY_LEFT ? -1 : 1);
        break;
    default:
        return TOP_NOTHING;
    }
    if (view->pane == TOP_PANE_REGIONS) {
        view->region_at[0] = '\0'; /* the settle names it again */
    } else if (view->pane == TOP_PANE_EVENTS) {
        view->event_at = 0;
    }
    return TOP_DRAW;
}

static void select_region(struct top_view *view)
{
    bool again = strcmp(view->selected, view->region_at) == 0;

    memset(view->selected, 0, sizeof view->selected);
    if (!again) {
        memcpy(view->selected, view->region_at, sizeof view->selected);
    }
    view->changed = true;
}

static enum top_action change(struct top_view *view, uint32_t key)
{
    switch (key) {
    case TOP_KEY_TAB:
        view->pane = (enum top_pane)((view->pane + 1U) % TOP_PANES);
        return TOP_DRAW;
    case TOP_KEY_BACK_TAB:
        view->pane = (enum top_pane)((view->pane + TOP_PANES - 1U) % TOP_PANES);
        return TOP_DRAW;
    case TOP_KEY_ENTER:
        if (view->pane == TOP_PANE_REGIONS && view->regions.count > 0) {
            select_region(view);
        }
        return TOP_DRAW;
    case TOP_KEY_ESCAPE: /* the last choice first */
        view->changed = true;
        if (view->filter[0] != '\0') {
            memset(view->filter, 0, sizeof view->filter);
        } else {
            memset(view->selected, 0, sizeof view->selected);
        }
        return TOP_DRAW;
    case '/':
        view->typing = true;
        memcpy(view->typed, view->filter, sizeof view->typed);
        return TOP_DRAW;
    case 's':
        view->sort = (enum top_sort)((view->sort + 1U) % TOP_SORTS);
        view->changed = true;
        return TOP_DRAW;
    case 'c':
        view->palette = (enum top_palette)((view->palette + 1U) % TOP_PALETTES);
        return TOP_DRAW;
    case 'm':
        view->worst = !view->worst;
        return TOP_DRAW;
    case 'p':
    case ' ':
        view->paused = !view->paused;
        return TOP_DRAW;
    case '+':
    case '=':
        view->zoom += view->each > 1 && view->zoom < TOP_ZOOM_MAX ? 1 : 0;
        return TOP_DRAW;
    case '-':
        view->zoom -= view->zoom > 0 ? 1 : 0;
        return TOP_DRAW;
    case '?':
    case 'h':
        view->help = true;
        return TOP_DRAW;
    default:
        return TOP_NOTHING;
    }
}

enum top_action top_view_key(struct top_view *view, uint32_t key)
{
    if (view->typing) {
        return type(view, key);
    }
    if (key == 'q' || key == 'Q') {
        return TOP_QUIT;
    }
    if (view->help) {
        view->help = false;
        return TOP_DRAW;
    }
    enum top_action action = move(view, key);
    return action != TOP_NOTHING ? action : change(view, key);
}

/* ---- what is shown ---- */

static bool begins(const char *text, const char *with)
{
    return strncasecmp(text, with, strlen(with)) == 0;
}

bool top_view_passes(const char *filter, const char *region, const char *name)
{
    return begins(region, filter) || begins(name, filter);
}

static double taken_of(const struct top_sums *sums)
{
    double cores =
        sums->cores_total == 0 ? 0.0 : 1.0 - (double)sums->cores_free / (double)sums->cores_total;
    double memory = sums->memory_total_bytes == 0
                        ? 0.0
                        : 1.0 - (double)sums->memory_free_bytes / (double)sums->memory_total_bytes;
    return cores > memory ? cores : memory;
}

struct region_sort {
    const struct top_model *model;
    enum top_sort sort;
};

static int compare_regions(const void *a, const void *b, void *user)
{
    const struct region_sort *by = user;
    const struct top_region *x = &by->model->regions[*(const uint8_t *)a];
    const struct top_region *y = &by->model->regions[*(const uint8_t *)b];

    if ((x->order_count == 0) != (y->order_count == 0)) {
        return x->order_count == 0 ? 1 : -1; /* where there is nothing to see comes last */
    }
    if (by->sort == TOP_SORT_TAKEN) {
        double p = taken_of(&x->sums);
        double q = taken_of(&y->sums);
        if (p > q || p < q) {
            return p > q ? -1 : 1;
        }
    }
    return strcmp(x->code, y->code);
}

/* The region's machines that pass, in their order. */
static void show_region(struct top_view *view, const struct top_model *model, uint32_t at)
{
    const struct top_region *region = &model->regions[at];
    const uint32_t *order = model->order + region->order_first;
    struct top_group *group = &view->groups[view->group_count];
    bool all = view->filter[0] == '\0' || begins(region->code, view->filter);

    *group = (struct top_group){.region = at, .first = view->shown_count};
    for (uint32_t i = 0; i < region->order_count; i++) {
        if (all || begins(model->machines[order[i]].name, view->filter)) {
            view->shown[view->shown_count++] = order[i];
        }
    }
    group->count = view->shown_count - group->first;
    if (group->count > 0 || (all && region->order_count == 0)) {
        view->region_order[view->regions.count++] = (uint8_t)at;
    }
    if (group->count > 0 &&
        (view->selected[0] == '\0' || strcmp(view->selected, region->code) == 0)) {
        view->group_count++;
    } else {
        view->shown_count = group->first;
    }
}

/* 0: the fullest. */
static uint32_t taken_less(const struct top_model *model, uint32_t slot)
{
    return TOP_LEVEL_MAX - (model->levels[slot] & (uint32_t)TOP_LEVEL_MAX);
}

/* Fullest first, the equal ones as they were. */
static void sort_group(struct top_view *view, const struct top_model *model,
                       const struct top_group *group, uint32_t *room)
{
    uint32_t starts[TOP_LEVEL_MAX + 2] = {0};
    uint32_t *slots = view->shown + group->first;

    for (uint32_t i = 0; i < group->count; i++) {
        starts[taken_less(model, slots[i]) + 1]++;
    }
    for (uint32_t i = 1; i <= TOP_LEVEL_MAX; i++) {
        starts[i] += starts[i - 1];
    }
    for (uint32_t i = 0; i < group->count; i++) {
        room[starts[taken_less(model, slots[i])]++] = slots[i];
    }
    memcpy(slots, room, group->count * sizeof *slots);
}

static bool make_room(struct top_view *view, uint32_t count)
{
    uint32_t *bigger;

    if (view->shown_max >= count) {
        return true;
    }
    bigger = reallocarray(view->shown, (size_t)count * 2, sizeof *bigger);
    if (bigger == NULL) {
        return false;
    }
    view->shown = bigger;
    view->shown_max = count; /* the second half is room to sort in */
    return true;
}

static void show(struct top_view *view, const struct top_model *model)
{
    struct region_sort by = {model, view->sort};
    uint8_t regions[TOP_REGIONS_MAX];

    view->shown_count = 0;
    view->group_count = 0;
    view->regions.count = 0;
    for (uint32_t i = 0; i < model->region_count; i++) {
        regions[i] = (uint8_t)i;
    }
    qsort_r(regions, model->region_count, sizeof regions[0], compare_regions, &by);
    if (!make_room(view, model->order_count)) {
        return;
    }
    for (uint32_t i = 0; i < model->region_count; i++) {
        const struct top_region *region = &model->regions[regions[i]];
        if (region->told || region->order_count > 0) {
            show_region(view, model, regions[i]);
        }
    }
    if (view->sort == TOP_SORT_TAKEN) {
        for (uint32_t i = 0; i < view->group_count; i++) {
            sort_group(view, model, &view->groups[i], view->shown + view->shown_max);
        }
    }
}

/* The cursor stays on its region, wherever that stands now. */
static void find_region(struct top_view *view, const struct top_model *model)
{
    if (view->region_at[0] != '\0') {
        for (uint32_t i = 0; i < view->regions.count; i++) {
            if (strcmp(model->regions[view->region_order[i]].code, view->region_at) == 0) {
                view->regions.at = i;
                break;
            }
        }
    }
    top_list_move(&view->regions, 0);
    memset(view->region_at, 0, sizeof view->region_at);
    if (view->regions.count > 0) {
        memcpy(view->region_at, model->regions[view->region_order[view->regions.at]].code,
               sizeof view->region_at);
    }
}

static void find_event(struct top_view *view, const struct top_model *model)
{
    uint64_t kept = model->event_count < TOP_EVENTS_MAX ? model->event_count : TOP_EVENTS_MAX;

    view->events.count = (uint32_t)kept;
    if (view->event_at != 0 && view->events.at > 0) {
        uint64_t back = model->event_count - view->event_at;
        view->events.at = back < kept ? (uint32_t)back : view->events.count - 1;
    }
    top_list_move(&view->events, 0);
    view->event_at = model->event_count - view->events.at;
}

void top_view_settle(struct top_view *view, const struct top_model *model, int64_t now_ms)
{
    bool late = view->sort != TOP_SORT_NAME && now_ms - view->sorted_ms >= TOP_SORT_EVERY_MS;
    bool more = view->regions.count == 0 && model->region_count > 0;

    if (view->changed || late || more || view->shown_of != model->order_changes) {
        show(view, model);
        view->changed = false;
        view->shown_of = model->order_changes;
        view->sorted_ms = now_ms;
    }
    find_region(view, model);
    find_event(view, model);
    top_list_move(&view->members, 0);
}
