/*
 * watch_screen - a watch on a terminal: a header and the last events, painted again in place.
 *
 * No alternate screen: what was above stays where it was and can be scrolled back to, and the last
 * picture stays when the watch ends. Only moves up over its own lines, which it cuts to the
 * terminal's width so that none of them wraps.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "client/watch.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

enum { ROWS_DEFAULT = 24, COLUMNS_DEFAULT = 80, COLUMNS_MAX = 300, TIME_OF_DAY = 11 };

bool screen_possible(void)
{
    const char *term = getenv("TERM");

    return isatty(STDOUT_FILENO) == 1 && term != NULL && term[0] != '\0' &&
           strcmp(term, "dumb") != 0;
}

void screen_begin(struct screen *s, int64_t now_ms)
{
    *s = (struct screen){.begun_ms = now_ms, .dirty = true};
}

/* Parts that have passed since count nothing. */
static void turn_parts(struct screen *s, int64_t now_ms)
{
    int64_t part = now_ms / SCREEN_TICK_MS;
    int64_t passed = part - s->part < SCREEN_RATE_PARTS ? part - s->part : SCREEN_RATE_PARTS;

    for (int64_t i = 0; i < passed; i++) {
        s->part_events[(part - i) % SCREEN_RATE_PARTS] = 0;
    }
    s->part = part;
}

static char *next_line(struct screen *s)
{
    s->dirty = true;
    return s->lines[s->count++ % SCREEN_LINES_MAX];
}

void screen_note(struct screen *s, const char *text)
{
    text_clean(text, next_line(s), SCREEN_LINE_SIZE);
}

void screen_event(struct screen *s, const Fly__V1__Event *e, int64_t now_ms)
{
    char time[FLY_TIME_TEXT_SIZE];
    char size[COMMAND_SIZE_TEXT] = "";
    char line[SCREEN_LINE_SIZE];
    bool vm = e->vm[0] != '\0';

    turn_parts(s, now_ms);
    s->part_events[s->part % SCREEN_RATE_PARTS]++;
    s->events++;
    fly_time_format(e->time_ms, time);
    command_size_text(e->cores, e->memory_bytes, size);
    (void)snprintf(line, sizeof line, "%.12s  %-17s %-12s  %-5s %-14s %s", time + TIME_OF_DAY,
                   shape_event_type((uint32_t)e->type), vm ? e->vm : "", e->region, e->machine,
                   size);
    text_clean(line, next_line(s), SCREEN_LINE_SIZE);
}

/* Of whole parts: the one under way would make it too small. */
static uint64_t rate_per_s(struct screen *s, int64_t now_ms)
{
    uint64_t sum = 0;

    turn_parts(s, now_ms);
    for (int64_t i = 1; i < SCREEN_RATE_PARTS; i++) {
        sum += s->part_events[(s->part - i + SCREEN_RATE_PARTS) % SCREEN_RATE_PARTS];
    }
    return sum * 1000 / ((SCREEN_RATE_PARTS - 1) * SCREEN_TICK_MS);
}

static void header(struct screen *s, const char *node, int64_t now_ms, char *out, size_t max)
{
    char age[COMMAND_AGE_TEXT] = "none yet";
    char line[SCREEN_LINE_SIZE];
    size_t used = 0;

    if (s->told_ms != 0) {
        command_age_text((uint64_t)(now_ms - s->told_ms), age);
    }
    if (!s->connected) {
        (void)snprintf(line, sizeof line, "edge %.24s  %s%s  %llu events  cursor %s",
                       node[0] != '\0' ? node : "-",
                       s->why[0] != '\0' ? "RECONNECTING: " : "connecting", s->why,
                       (unsigned long long)s->events, age);
    } else {
        (void)snprintf(line, sizeof line, "edge %.24s  live  %llu events/s  %llu events  cursor %s",
                       node[0] != '\0' ? node : "-", (unsigned long long)rate_per_s(s, now_ms),
                       (unsigned long long)s->events, age);
    }
    used = strlen(line);
    if (s->waits != NULL) {
        (void)snprintf(line + used, sizeof line - used, "  for %s", s->waits);
    }
    text_clean(line, out, max);
}

/* The most bytes of a clean text that take no more columns. */
static size_t fitting(const char *text, size_t columns)
{
    char part[SCREEN_LINE_SIZE];
    size_t size = strlen(text);

    while (size > 0) {
        memcpy(part, text, size);
        part[size] = '\0';
        if (text_width(part) <= columns) {
            return size;
        }
        do { /* never into a character */
            size--;
        } while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80);
    }
    return 0;
}

static void put_line(const char *text, size_t columns, const char *style)
{
    (void)printf("%s%.*s%s\x1b[K\n", style, (int)fitting(text, columns), text,
                 style[0] != '\0' ? "\x1b[0m" : "");
}

static void terminal_size(unsigned *rows, unsigned *columns)
{
    struct winsize size = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0;

    *rows = known ? size.ws_row : ROWS_DEFAULT;
    *columns = known ? size.ws_col : COLUMNS_DEFAULT;
    *columns = *columns < COLUMNS_MAX ? *columns : COLUMNS_MAX;
}

void screen_paint(struct screen *s, const char *node, int64_t now_ms, bool now)
{
    char line[SCREEN_LINE_SIZE];
    unsigned rows = 0;
    unsigned columns = 0;
    int64_t due_ms = s->painted_ms + (s->dirty ? SCREEN_PAINT_MS : SCREEN_TICK_MS);

    if (!now && now_ms < due_ms) {
        return;
    }
    terminal_size(&rows, &columns);
    /* the header, and the line that the cursor is left on */
    unsigned room = rows > 2 ? rows - 2 : 1;
    unsigned kept = s->count < SCREEN_LINES_MAX ? s->count : SCREEN_LINES_MAX;
    unsigned shown = kept < room ? kept : room;
    unsigned up = s->drawn < rows ? s->drawn : rows - 1;
    if (up > 0) {
        (void)printf("\r\x1b[%uA", up);
    }
    header(s, node, now_ms, line, sizeof line);
    put_line(line, columns, "\x1b[1m");
    for (unsigned i = s->count - shown; i != s->count; i++) {
        put_line(s->lines[i % SCREEN_LINES_MAX], columns, "");
    }
    (void)fputs("\x1b[J", stdout);
    (void)fflush(stdout);
    s->drawn = shown + 1;
    s->painted_ms = now_ms;
    s->dirty = false;
}
