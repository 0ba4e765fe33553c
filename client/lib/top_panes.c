#include <stdio.h>
#include <string.h>

#include "client/lib/shape.h"
#include "client/lib/top_parts.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

enum { CODE_MAX = 8, MACHINES_WIDTH = 8, CITY_WIDTH = 16, CITY_FROM = 60, BAR_TEXT_SIZE = 40 };
enum { MEMBER_NAME_WIDTH = 13, STATE_WIDTH = 8, RTT_WIDTH = 8, TYPE_WIDTH = 11, CLOCK_WIDTH = 10 };

/* ---- regions ---- */

static enum top_style bar_style(double taken, bool old)
{
    return old             ? TOP_BAR_OLD
           : taken >= 0.9  ? TOP_BAR_HIGH
           : taken >= 0.66 ? TOP_BAR_MIDDLE
                           : TOP_BAR_LOW;
}

/* The text over a bar whose filled part is what is taken. */
static void draw_bar(const struct top_drawing *d, uint32_t row, uint32_t column, uint32_t width,
                     uint64_t left, uint64_t total, bool old)
{
    double taken = total == 0 || left >= total ? 0.0 : (double)(total - left) / (double)total;
    uint32_t filled = (uint32_t)(taken * width + 0.5);
    char numbers[2][TOP_SHORT_SIZE];
    char text[BAR_TEXT_SIZE];

    top_short_number(left, numbers[0]);
    top_short_number(total, numbers[1]);
    (void)snprintf(text, sizeof text, total == 0 ? "-" : "%s/%s", numbers[0], numbers[1]);
    uint32_t size = (uint32_t)strlen(text);
    for (uint32_t i = 0; i < width; i++) {
        uint32_t before = width > size ? width - size : 0;
        char c = i >= before && i - before < size ? text[i - before] : ' ';
        *top_cell_at(d->screen, row, column + i) = (struct top_cell){
            .glyph = (uint32_t)c,
            .style = (uint8_t)(i < filled ? bar_style(taken, old) : TOP_BAR_REST)};
    }
}

static void draw_region(const struct top_drawing *d, const struct top_region *region,
                        struct top_box box, bool cursor)
{
    const struct top_view *view = d->view;
    const bool old = d->old || top_region_age_ms(region, d->status->now_ms) > TOP_OLD_MS;
    const bool down = region->told && strcmp(region->status, "operational") != 0;
    const enum top_style style = cursor ? TOP_CURSOR : old ? TOP_DIM : down ? TOP_WARN : TOP_PLAIN;
    uint32_t city = box.columns >= CITY_FROM ? CITY_WIDTH : 0;
    uint32_t column = box.column;
    char number[TOP_NUMBER_SIZE];
    char code[TOP_CODE_SIZE + 1];

    (void)snprintf(code, sizeof code, "%.*s%s", CODE_MAX, region->code, old ? "~" : "");
    uint32_t code_width = 4;
    for (uint32_t i = 0; i < view->regions.count; i++) {
        uint32_t size = (uint32_t)strlen(d->model->regions[view->region_order[i]].code) + 1;
        code_width = size > code_width ? size : code_width;
    }
    code_width = code_width < CODE_MAX + 1 ? code_width : CODE_MAX + 1;
    top_print(d->screen, box.row, column, code_width + 2, style, "%c%s",
              strcmp(region->code, view->selected) == 0 ? '>' : ' ', code);
    column += code_width + 1;
    if (city > 0) {
        top_print(d->screen, box.row, column, city, style, " %s", region->city);
        column += city;
    }
    top_number(region->sums.machines, number);
    top_print(d->screen, box.row, column, MACHINES_WIDTH, style, "%*s", MACHINES_WIDTH, number);
    column += MACHINES_WIDTH;
    uint32_t width = (box.column + box.columns - column - 2) / 2;
    draw_bar(d, box.row, column + 1, width, region->sums.cores_free, region->sums.cores_total, old);
    draw_bar(d, box.row, column + 2 + width, width, region->sums.memory_free_bytes,
             region->sums.memory_total_bytes, old);
}

void top_draw_regions(const struct top_drawing *d, struct top_box box)
{
    struct top_view *view = d->view;

    top_list_fit(&view->regions, view->regions.count, box.rows);
    for (uint32_t i = 0; i < box.rows && view->regions.top + i < view->regions.count; i++) {
        uint32_t at = view->regions.top + i;
        draw_region(d, &d->model->regions[view->region_order[at]],
                    (struct top_box){box.row + i, box.column, 1, box.columns},
                    view->pane == TOP_PANE_REGIONS && at == view->regions.at);
    }
}

static void detail_of_region(const struct top_drawing *d, struct top_box box)
{
    const struct top_view *view = d->view;
    char machines[TOP_NUMBER_SIZE];
    char age[TOP_SHORT_SIZE];
    char heard[TOP_WORD_SIZE] = "";

    if (view->regions.count == 0) {
        return;
    }
    const struct top_region *region = &d->model->regions[view->region_order[view->regions.at]];
    uint64_t age_ms = top_region_age_ms(region, d->status->now_ms);
    if (age_ms > TOP_OLD_MS) {
        top_age(age_ms, age);
        (void)snprintf(heard, sizeof heard, "  as of %s ago", age);
    }
    top_number(region->sums.machines, machines);
    top_print(d->screen, box.row, box.column, box.columns, TOP_PLAIN,
              " %s  %s%s%s  %s  %s machines, %llu cordoned%s", region->code, region->city,
              region->country[0] != '\0' ? ", " : "", region->country, region->status, machines,
              (unsigned long long)region->sums.cordoned, heard);
}

/* ---- members ---- */

static void rtt_text(const struct top_member *member, char out[static TOP_SHORT_SIZE])
{
    if (member->self || member->rtt_us == 0) {
        (void)snprintf(out, TOP_SHORT_SIZE, "%s", member->self ? "self" : "-");
    } else if (member->rtt_us < 10000) {
        (void)snprintf(out, TOP_SHORT_SIZE, "%.1f ms", (double)member->rtt_us / 1000.0);
    } else {
        (void)snprintf(out, TOP_SHORT_SIZE, "%u ms", (unsigned)(member->rtt_us / 1000 % 1000000));
    }
}

static enum top_style state_style(const struct top_member *member)
{
    if (strcmp(member->state, "alive") == 0) {
        return member->notes > 0 ? TOP_WARN : TOP_GOOD;
    }
    return strcmp(member->state, "dead") == 0   ? TOP_BAD
           : strcmp(member->state, "left") == 0 ? TOP_DIM
                                                : TOP_WARN;
}

/* All of them, or where there is no room only how each begins: "peer,edge", "pe". */
static void roles_text(const struct top_member *member, uint32_t width,
                       char out[static TOP_WORD_SIZE])
{
    size_t at = 0;

    memcpy(out, member->roles, TOP_WORD_SIZE);
    if (strlen(member->roles) <= width) {
        return;
    }
    for (const char *c = member->roles; *c != '\0'; c++) {
        if (c == member->roles || c[-1] == ',') {
            out[at++] = *c;
        }
    }
    out[at] = '\0';
}

static void draw_member(const struct top_drawing *d, const struct top_member *member,
                        struct top_box box, bool cursor)
{
    const enum top_style style = cursor ? TOP_CURSOR : d->old ? TOP_DIM : TOP_PLAIN;
    uint32_t name = box.columns > 60 ? 2 * MEMBER_NAME_WIDTH : MEMBER_NAME_WIDTH;
    uint32_t column = box.column;
    char rtt[TOP_SHORT_SIZE];
    char roles[TOP_WORD_SIZE];

    top_print(d->screen, box.row, column, name, style, "%c%.*s", member->self ? '*' : ' ',
              (int)name - 2, member->name);
    column += name;
    top_print(d->screen, box.row, column, 5, style, "%.4s", member->region);
    column += 5;
    top_put(d->screen, box.row, column, STATE_WIDTH,
            cursor   ? style
            : d->old ? TOP_DIM
                     : state_style(member),
            member->state);
    column += STATE_WIDTH;
    rtt_text(member, rtt);
    top_print(d->screen, box.row, column, RTT_WIDTH, style, "%*s ", RTT_WIDTH - 1, rtt);
    column += RTT_WIDTH;
    uint32_t width = box.column + box.columns - column;
    roles_text(member, width, roles);
    top_put(d->screen, box.row, column, width, style, roles);
}

void top_draw_members(const struct top_drawing *d, struct top_box box)
{
    struct top_view *view = d->view;

    top_list_fit(&view->members, d->model->member_count, box.rows);
    for (uint32_t i = 0; i < box.rows && view->members.top + i < view->members.count; i++) {
        uint32_t at = view->members.top + i;
        draw_member(d, &d->model->members[at],
                    (struct top_box){box.row + i, box.column, 1, box.columns},
                    view->pane == TOP_PANE_MEMBERS && at == view->members.at);
    }
}

static void detail_of_member(const struct top_drawing *d, struct top_box box)
{
    char since[TOP_SHORT_SIZE];

    if (d->model->member_count == 0) {
        return;
    }
    const struct top_member *member = &d->model->members[d->view->members.at];
    top_age(member->since_ms, since);
    top_print(d->screen, box.row, box.column, box.columns, TOP_PLAIN,
              " %s  %s  %s for %s  %s  %u slices%s%s", member->name, member->address, member->state,
              since, member->roles, member->slices, member->notes > 0 ? "  " : "", member->note);
}

/* ---- events ---- */

const char *top_event_word(uint32_t type)
{
    const char *word = shape_event_type(type);
    const char *rest = strchr(word, '_');

    return rest != NULL ? rest + 1 : word;
}

static void draw_event(const struct top_drawing *d, const struct top_event *event,
                       struct top_box box, bool cursor)
{
    const enum top_style style = cursor ? TOP_CURSOR : d->old ? TOP_DIM : TOP_PLAIN;
    uint32_t column = box.column;
    char clock[TOP_SHORT_SIZE];
    char memory[FLY_TIME_TEXT_SIZE];

    top_clock(event->time_ms, clock);
    top_print(d->screen, box.row, column, CLOCK_WIDTH, cursor ? style : TOP_DIM, " %s", clock);
    column += CLOCK_WIDTH;
    top_put(d->screen, box.row, column, TYPE_WIDTH, style, top_event_word(event->type));
    column += TYPE_WIDTH;
    fly_size_format(event->memory_bytes, memory);
    top_print(d->screen, box.row, column, box.column + box.columns - column, style,
              "%-4s %s  %s  %u cores, %s", event->region, event->machine,
              event->vm[0] != '\0' ? event->vm : "machine", event->cores, memory);
}

void top_draw_events(const struct top_drawing *d, struct top_box box)
{
    struct top_view *view = d->view;

    top_list_fit(&view->events, view->events.count, box.rows);
    for (uint32_t i = 0; i < box.rows && view->events.top + i < view->events.count; i++) {
        uint32_t at = view->events.top + i;
        const struct top_event *event = top_model_event(d->model, at);
        FLY_CHECK(event != NULL);
        draw_event(d, event, (struct top_box){box.row + i, box.column, 1, box.columns},
                   view->pane == TOP_PANE_EVENTS && at == view->events.at);
    }
}

static void detail_of_event(const struct top_drawing *d, struct top_box box)
{
    const struct top_event *event = top_model_event(d->model, d->view->events.at);
    char memory[2][FLY_TIME_TEXT_SIZE];

    if (event == NULL) {
        return;
    }
    fly_size_format(event->memory_bytes, memory[0]);
    fly_size_format(event->machine_memory_free_bytes, memory[1]);
    top_print(d->screen, box.row, box.column, box.columns, TOP_PLAIN,
              " %06x/%llu %s  %s%s%s  %s  %u cores, %s  left there: %u cores, %s", event->slice,
              (unsigned long long)event->seq, shape_event_type(event->type), event->vm,
              event->vm[0] != '\0' ? " on " : "", event->machine, event->region, event->cores,
              memory[0], event->machine_cores_free, memory[1]);
}

void top_draw_detail(const struct top_drawing *d, struct top_box box)
{
    top_put(d->screen, box.row, box.column, box.columns, TOP_PLAIN, "");
    switch (d->view->pane) {
    case TOP_PANE_REGIONS:
        detail_of_region(d, box);
        break;
    case TOP_PANE_GRID:
        top_draw_grid_detail(d, box);
        break;
    case TOP_PANE_MEMBERS:
        detail_of_member(d, box);
        break;
    case TOP_PANE_EVENTS:
        detail_of_event(d, box);
        break;
    case TOP_PANES:
        break;
    }
}
