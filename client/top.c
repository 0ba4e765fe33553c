/*
 * flyrpc top - the cluster on a terminal as it changes, or snapshots of it for a script.
 *
 * The feed's thread keeps the model; this one draws it ten times a second and takes keys. Signals
 * are read like keys, so that the terminal is given back however it ends.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/top.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { FRAME_MS = 100, FIRST_MS = 20, DELAY_MIN_MS = 100, DELAY_MAX_S = 86400, BATCH_MS = 1000 };

static const struct argp_option options[] = {
    {"batch", 'b', NULL, 0, "Snapshots on stdout in place of a screen; --json: an object each", 0},
    {"count", 'n', "N", 0, "So many snapshots, then end; without it: no end", 0},
    {"delay", 'd', "SECONDS", 0, "Between two snapshots (1), or two frames (0.1); 0.1 to 86400", 0},
    {0},
};

static void take(int key, const char *value, void *user)
{
    struct top_input *input = user;
    char *end = NULL;

    errno = 0;
    switch (key) {
    case 'b':
        input->batch = true;
        return;
    case 'n':
        input->count = strtol(value, &end, 10);
        if (errno != 0 || end == value || *end != '\0' || input->count < 1) {
            command_usage("--count: '%.40s' is not a number of snapshots", value);
        }
        return;
    case 'd': {
        double seconds = strtod(value, &end);
        /* a NaN is not in the range either */
        if (end == value || *end != '\0' ||
            !(seconds * 1000 >= DELAY_MIN_MS && seconds <= DELAY_MAX_S)) {
            command_usage("--delay: '%.40s' is not a number of seconds from 0.1 to %d", value,
                          DELAY_MAX_S);
        }
        input->delay_ms = (int64_t)(seconds * 1000);
        return;
    }
    default:
        FLY_UNREACHABLE();
    }
}

double top_rate_take(struct top_rate *rate, uint64_t count, int64_t now_ms)
{
    uint32_t last = (rate->count + TOP_RATE_SAMPLES - 1) % TOP_RATE_SAMPLES;

    if (rate->count == 0 || now_ms - rate->times_ms[last] >= TOP_RATE_EVERY_MS) {
        last = rate->count++ % TOP_RATE_SAMPLES;
        rate->counts[last] = count;
        rate->times_ms[last] = now_ms;
    }
    uint32_t first = rate->count > TOP_RATE_SAMPLES ? rate->count % TOP_RATE_SAMPLES : 0;
    int64_t took_ms = now_ms - rate->times_ms[first];
    return took_ms <= 0 ? 0.0 : (double)(count - rate->counts[first]) * 1000.0 / (double)took_ms;
}

/* ---- the screen ---- */

struct top {
    struct top_feed *feed;
    struct top_terminal *terminal;
    struct top_view view;
    struct top_status status;
    struct top_rate rate;
    int64_t paused_ms; /* since then */
    int signals;
    bool interrupted;
};

static void draw(struct top *top)
{
    const struct top_model *model = top_feed_lock(top->feed, &top->status);

    if (top->view.paused) {
        top->status.now_ms = top->paused_ms; /* nothing grows old in a picture that stands still */
        top->status.changes_per_s = 0;
    } else {
        top->status.changes_per_s = top_rate_take(&top->rate, model->changes, top->status.now_ms);
    }
    top_screen_draw(top_terminal_screen(top->terminal), model, &top->view, &top->status);
    top_feed_unlock(top->feed);
    top_terminal_show(top->terminal, top->view.palette);
}

/* False: to the end. */
static bool take_keys(struct top *top)
{
    bool changed = false;

    for (uint32_t key = top_terminal_key(top->terminal); key != 0;
         key = top_terminal_key(top->terminal)) {
        bool was_paused = top->view.paused;
        enum top_action action = top_view_key(&top->view, key);
        if (action == TOP_QUIT) {
            return false;
        }
        if (top->view.paused != was_paused) {
            top->paused_ms = fly_clock_boot_ms();
            top_feed_pause(top->feed, top->view.paused);
        }
        changed = true;
    }
    if (changed) {
        draw(top);
    }
    return true;
}

/* False: to the end. Before there is a screen nothing is done for its size. */
static bool take_signals(struct top *top)
{
    struct signalfd_siginfo info;

    while (read(top->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGWINCH:
            if (top->terminal != NULL) {
                top_terminal_resize(top->terminal);
                draw(top);
            }
            break;
        case SIGTSTP:
            if (top->terminal != NULL) {
                top_terminal_stop(top->terminal);
                draw(top);
            } else {
                (void)kill(getpid(), SIGSTOP);
            }
            break;
        default:
            top->interrupted = true;
            return false;
        }
    }
    return true;
}

/* Until a key, a signal or that time. False: the terminal is gone. */
static bool wait_for(const struct top *top, int64_t until_ms)
{
    struct pollfd fds[] = {{.fd = top->signals, .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};
    int64_t left = until_ms - fly_clock_boot_ms();
    int ready = poll(fds, top->terminal != NULL ? 2 : 1, left < 0 ? 0 : (int)left);

    return ready <= 0 || (fds[1].revents & (POLLHUP | POLLERR | POLLNVAL)) == 0;
}

/* Until there is something to show; an edge that is not there is no reason to touch the screen. */
static bool wait_first(struct top *top, struct failure *failure)
{
    for (;;) {
        (void)top_feed_lock(top->feed, &top->status);
        top_feed_unlock(top->feed);
        if (top_feed_ended(top->feed, failure)) {
            return false;
        }
        if (top->status.heard_ms != 0) {
            return true;
        }
        (void)wait_for(top, fly_clock_boot_ms() + FIRST_MS);
        if (!take_signals(top)) {
            return false;
        }
    }
}

/* Until the person or the feed ends it. */
static void show(struct top *top, int64_t frame_ms, struct failure *failure)
{
    int64_t next_ms = fly_clock_boot_ms();

    while (!top_feed_ended(top->feed, failure)) {
        int64_t now = fly_clock_boot_ms();
        if (now >= next_ms) {
            draw(top);
            next_ms = next_ms + frame_ms > now ? next_ms + frame_ms : now + frame_ms;
        }
        bool there = wait_for(top, next_ms);
        if (!take_signals(top) || !take_keys(top)) {
            return;
        }
        if (!there) {
            top->interrupted = true;
            return;
        }
    }
}

static int run_screen(struct command *command, struct top *top, const struct top_input *input)
{
    struct failure failure = {.status = FLY_OK};
    int code = EXIT_DONE;

    top_view_init(&top->view);
    if (wait_first(top, &failure)) {
        top->terminal = top_terminal_open();
        if (top->terminal == NULL) {
            command_say(command, "this terminal is not known here: set TERM, or use -b");
            code = EXIT_USAGE;
        } else {
            show(top, input->delay_ms > 0 ? input->delay_ms : FRAME_MS, &failure);
        }
    }
    top_terminal_close(top->terminal);
    top_view_fini(&top->view);
    if (failure.status != FLY_OK) {
        code = command_fail(command, &failure);
    }
    return top->interrupted ? EXIT_INTERRUPTED : code;
}

/* Before any thread is made, so that none of them takes one. */
static int read_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP};
    sigset_t set;

    FLY_CHECK(sigemptyset(&set) == 0);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(numbers); i++) {
        FLY_CHECK(sigaddset(&set, numbers[i]) == 0);
    }
    FLY_CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    FLY_CHECK(fd >= 0);
    return fd;
}

int command_top(int argc, char **argv)
{
    struct top_input input = {.batch = false};
    const struct command_spec spec = {
        .name = "flyrpc top",
        .doc = "Shows the cluster as it changes: regions, a grid of all machines, members, the "
               "latest changes.\v"
               "Needs a token with the scopes regions, read and watch. Keys: ? lists them, q ends. "
               "With -b: text for a script, or with --json one object a line.",
        .options = options,
        .take = take,
        .user = &input,
    };
    struct command command;
    struct top top = {.signals = -1};
    int code;

    command_begin(&command, &spec, argc, argv);
    if (!input.batch && (command.json || input.count > 0)) {
        command_usage("--json and --count are for -b");
    }
    if (!input.batch && (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0)) {
        command_usage("not a terminal: use -b for text, -b --json for a program");
    }
    input.delay_ms = input.delay_ms > 0 || !input.batch ? input.delay_ms : BATCH_MS;
    top.signals = input.batch ? -1 : read_signals();
    top.feed = top_feed_start(&command.session, command.timeout_ms);
    FLY_CHECK(top.feed != NULL);
    code = input.batch ? top_batch(&command, top.feed, &input) : run_screen(&command, &top, &input);
    top_feed_stop(top.feed);
    if (top.signals >= 0) {
        (void)close(top.signals);
    }
    return command_end(&command, code);
}
