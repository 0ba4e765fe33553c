/*
 * watch - the parts of flyrpc watch: the loop (watch.c), what goes into a pipe (watch_print.c),
 * what a terminal shows (watch_screen.c), what --for waits for (watch_for.c).
 */
#ifndef FLY_CLIENT_WATCH_H
#define FLY_CLIENT_WATCH_H

#include "client/command.h"
#include "client/lib/condition.h"
#include "client/lib/watching.h"

/* --- watch_print.c --- */

void watch_put_event(const struct command *command, const struct watching *watching,
                     const Fly__V1__Event *event);
void watch_put_reset(const struct command *command, const struct watching *watching);
/* A reader that was cut off before the first cursor came cannot know what it missed: a reset. */
void watch_put_gap(void);

/* --- watch_screen.c --- */

enum {
    SCREEN_LINES_MAX = 256,
    SCREEN_LINE_SIZE = 320,
    SCREEN_PAINT_MS = 100, /* no oftener */
    SCREEN_TICK_MS = 250,  /* and so often when nothing happens */
    SCREEN_RATE_PARTS = 8, /* of SCREEN_TICK_MS, over which events are counted */
};

/* The last lines of a terminal, painted again in place; what was above stays. */
struct screen {
    char lines[SCREEN_LINES_MAX][SCREEN_LINE_SIZE]; /* ring of what happened */
    unsigned count;
    unsigned drawn; /* lines on the terminal that are ours */
    uint64_t events;
    uint64_t part_events[SCREEN_RATE_PARTS];
    int64_t part; /* the one that is counted into: boot ms / SCREEN_TICK_MS */
    int64_t begun_ms;
    int64_t painted_ms;
    int64_t told_ms; /* when the last cursor came */
    bool dirty;
    char why[160];     /* not connected: why; "": live */
    const char *waits; /* what --for waits for; NULL: nothing */
    bool connected;
};

/* Whether stdout is a terminal that can do this. */
bool screen_possible(void);
void screen_begin(struct screen *s, int64_t now_ms);
void screen_event(struct screen *s, const Fly__V1__Event *event, int64_t now_ms);
/* A line of another kind: cleaned here. */
void screen_note(struct screen *s, const char *text);
/* Paints if it is time to, or in any case. `node`: the edge's name, may be "". */
void screen_paint(struct screen *s, const char *node, int64_t now_ms, bool now);

/* --- watch_for.c --- */

struct watch_for {
    struct condition condition; /* kind NONE: nothing is waited for */
    const char *text;
    struct session session; /* its own: a call must not end the stream's connection */
    bool look;              /* it may hold: to be looked at */
    int64_t look_ms;        /* not before */
    int64_t poll_ms;        /* to be looked at then, whatever happens */
};

enum watch_for_says {
    WATCH_FOR_NOT_YET = 0,
    WATCH_FOR_HOLDS,
    WATCH_FOR_NEVER, /* `failure` says why */
};

void watch_for_begin(struct watch_for *w, const struct command *command);
void watch_for_end(struct watch_for *w);
enum watch_for_says watch_for_event(struct watch_for *w, const Fly__V1__Event *event);
/* Something was missed: it must be looked at. */
void watch_for_missed(struct watch_for *w);
/* Looks, if it is time to; takes up to some seconds. Finish the failure of NEVER. */
enum watch_for_says watch_for_look(struct watch_for *w, int64_t now_ms, struct failure *failure);

#endif
