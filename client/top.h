/*
 * top - what the files of `flyrpc top` share: the rate of changes, the terminal, the batch mode.
 */
#ifndef FLY_CLIENT_TOP_H
#define FLY_CLIENT_TOP_H

#include <stdbool.h>
#include <stdint.h>

#include "client/command.h"
#include "client/lib/top_feed.h"
#include "client/lib/top_screen.h"

/* Changes a second over the last two seconds, from samples of a growing count. */
enum { TOP_RATE_SAMPLES = 21, TOP_RATE_EVERY_MS = 100 };
struct top_rate {
    uint64_t counts[TOP_RATE_SAMPLES];
    int64_t times_ms[TOP_RATE_SAMPLES];
    uint32_t count; /* samples so far */
};
double top_rate_take(struct top_rate *rate, uint64_t count, int64_t now_ms);

struct top_input {
    bool batch;
    int64_t count;    /* 0: no end */
    int64_t delay_ms; /* 0: not said */
};

/* N snapshots on stdout. Returns the exit code. */
int top_batch(struct command *command, struct top_feed *feed, const struct top_input *input);

/* The terminal: ncurses, from here to the close. One a process. */
struct top_terminal;

/* NULL: TERM is unknown to terminfo, or there is no memory. Signals are the caller's to read. */
struct top_terminal *top_terminal_open(void);
/* Gives the terminal back as it was. NULL is fine. */
void top_terminal_close(struct top_terminal *terminal);
/* The buffer to draw into. */
struct top_screen *top_terminal_screen(struct top_terminal *terminal);
/* Writes what changed since the last time; nothing else. */
void top_terminal_show(struct top_terminal *terminal, enum top_palette palette);
/* The next key that was typed, as top_view_key takes it; 0: none. Does not wait. */
uint32_t top_terminal_key(struct top_terminal *terminal);
/* After SIGWINCH, and whenever the screen may be damaged: another size, and all is written again.
 */
void top_terminal_resize(struct top_terminal *terminal);
/* Ctrl-Z: gives the terminal back, stops, and comes back. */
void top_terminal_stop(struct top_terminal *terminal);

#endif
