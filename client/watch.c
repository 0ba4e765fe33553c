/*
 * flyrpc watch - every change as it happens, once, over broken connections too.
 *
 * It ends when it is interrupted, when its time is over, when what it waits for holds, or when
 * going on cannot help; never with 0 for a lost connection.
 */
#include "client/watch.h"

#include <stdio.h>
#include <string.h>

#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { KEY_SINCE = 1, KEY_REGION, KEY_TYPE, KEY_FOR, TYPES_MAX = 16, CONNECT_MS = 5000 };
enum { TICK_MS = 200, STANDS_MS = 1000 };

static const struct argp_option options[] = {
    {"since", KEY_SINCE, "CURSOR", 0, "Resume behind this cursor, as --json prints it", 0},
    {"region", KEY_REGION, "CODE", 0, "Only of this region", 0},
    {"type", KEY_TYPE, "TYPE", 0,
     "Only of this type, such as vm_started; may be given again for more", 0},
    {"for", KEY_FOR, "COND", 0, "End with 0 as soon as COND holds: see below", 0},
    {0},
};

struct input {
    const char *since;
    char region[64];
    Fly__V1__EventType types[TYPES_MAX];
    size_t type_count;
};

/* One watch. */
struct watch {
    struct command command;
    struct watching watching;
    struct input input;
    struct watch_for waits;
    struct screen screen;
    bool painted;        /* on a terminal */
    int64_t begun_ms;    /* boot */
    int64_t deadline_ms; /* boot; 0: none */
    int64_t connected_ms;
    bool connected;
    bool holds;
    struct failure failure; /* of what it waits for */
    bool never;
};

static void take_type(struct input *input, const char *value)
{
    char all[SHAPE_EVENT_TYPES_TEXT];
    const char *near = NULL;
    uint32_t type = 0;

    if (!shape_event_type_find(value, &type, &near)) {
        shape_event_types(all);
        command_usage("--type: '%.40s' is not one of %s%s%s%s", value, all,
                      near != NULL ? " (did you mean " : "", near != NULL ? near : "",
                      near != NULL ? "?)" : "");
    }
    if (input->type_count == TYPES_MAX) {
        command_usage("--type: more than %d of them", TYPES_MAX);
    }
    input->types[input->type_count++] = (Fly__V1__EventType)type;
}

static void take_region(struct input *input, const char *value)
{
    if (value[0] == '\0' || !fly_copy_string(input->region, sizeof input->region, value)) {
        command_usage("--region: '%.40s' is not a region code", value);
    }
    for (char *c = input->region; *c != '\0'; c++) {
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    }
}

static void take(int key, const char *value, void *user)
{
    struct watch *w = user;
    struct fly_error error = {0};

    if (key == KEY_SINCE) {
        w->input.since = value;
    } else if (key == KEY_TYPE) {
        take_type(&w->input, value);
    } else if (key == KEY_REGION) {
        take_region(&w->input, value);
    } else {
        w->waits.text = value;
        if (condition_parse(value, &w->waits.condition, &error) != FLY_OK) {
            command_usage("--for: %s", error.text);
        }
    }
}

/* With --for the edge sends all, because it may be about anything: the filter is ours then. */
static bool shown(const struct input *input, const Fly__V1__Event *event)
{
    bool typed = input->type_count == 0;

    for (size_t i = 0; i < input->type_count; i++) {
        typed = typed || input->types[i] == event->type;
    }
    return typed && (input->region[0] == '\0' || strcmp(input->region, event->region) == 0);
}

static void screen_reset(struct watch *w)
{
    const Fly__V1__WatchReply *message = w->watching.message;
    char line[SCREEN_LINE_SIZE];

    (void)snprintf(line, sizeof line, "reset: %.200s; %zu VMs run", message->reset_reason,
                   message->n_vms);
    screen_note(&w->screen, line);
}

/* One batch, written whole before the next is asked for. */
static void put_message(struct watch *w, int64_t now_ms)
{
    const Fly__V1__WatchReply *message = w->watching.message;

    if (message->reset || message->n_vms > 0) {
        watch_for_missed(&w->waits);
        if (w->painted) {
            screen_reset(w);
        } else {
            watch_put_reset(&w->command, &w->watching);
        }
    }
    for (size_t i = 0; i < message->n_events; i++) {
        const Fly__V1__Event *event = message->events[i];
        if (!watching_take(&w->watching, event)) {
            continue;
        }
        w->holds = w->holds || watch_for_event(&w->waits, event) == WATCH_FOR_HOLDS;
        if (!shown(&w->input, event)) {
            continue;
        }
        if (w->painted) {
            screen_event(&w->screen, event, now_ms);
        } else {
            watch_put_event(&w->command, &w->watching, event);
        }
    }
    watching_taken(&w->watching);
    w->screen.told_ms = message->cursor[0] != '\0' ? now_ms : w->screen.told_ms;
}

static void say_lost(struct watch *w)
{
    static char said[RPC_TEXT_SIZE]; /* while it stays lost, each reason once in a row */
    const struct watching *watching = &w->watching;
    char text[CURSORS_TEXT_SIZE];
    const char *cursor = watching_cursor(watching, text);
    const char *why = watching->failure.message[0] != '\0'
                          ? watching->failure.message
                          : fly_status_name(watching->failure.status);

    if (w->painted) {
        (void)snprintf(w->screen.why, sizeof w->screen.why, "%.150s", why);
        w->screen.dirty = true;
        return;
    }
    if (watching->losses > 1 && strncmp(said, why, sizeof said - 1) == 0) {
        return;
    }
    (void)fly_copy_string(said, sizeof said, why);
    command_say(&w->command, "connection lost (%s); resuming %s%s", why,
                cursor[0] != '\0' ? "behind " : "from now: events may be missed", cursor);
    if (cursor[0] == '\0' && w->command.json && watching->losses == 1) {
        watch_put_gap();
    }
}

static void connection(struct watch *w, bool connected, int64_t now_ms)
{
    w->connected_ms = connected && !w->connected ? now_ms : w->connected_ms;
    w->connected = connected;
    w->screen.connected = connected;
    if (connected) {
        w->screen.why[0] = '\0';
    }
}

/* How long watching_next may keep us. */
static void set_pace(struct watch *w, int64_t now_ms)
{
    bool ticks = w->painted || w->deadline_ms != 0 || w->waits.condition.kind != CONDITION_NONE;
    int64_t tick_ms = ticks ? TICK_MS : 0;
    int64_t left_ms = w->deadline_ms - now_ms;

    if (w->deadline_ms != 0 && left_ms < tick_ms) {
        tick_ms = left_ms > 0 ? left_ms : 1;
    }
    w->watching.patience_ms = tick_ms;
    if (w->deadline_ms != 0 && left_ms < w->watching.timeout_ms) {
        w->watching.timeout_ms = left_ms > 0 ? left_ms : 1;
    }
}

/* Once the watch stands nothing can be missed: then it is worth a look. */
static void look(struct watch *w, int64_t now_ms)
{
    bool stands =
        w->connected && (w->watching.places.count > 0 || now_ms - w->connected_ms >= STANDS_MS);

    if (!stands || w->holds) {
        return;
    }
    switch (watch_for_look(&w->waits, now_ms, &w->failure)) {
    case WATCH_FOR_NOT_YET:
        break;
    case WATCH_FOR_HOLDS:
        w->holds = true;
        break;
    case WATCH_FOR_NEVER:
        w->never = true;
        break;
    }
}

static const char *edge_name(const struct watch *w)
{
    const Fly__V1__HelloReply *hello = w->command.session.hello;

    return hello != NULL ? hello->node : "";
}

static int time_over(struct watch *w)
{
    if (w->waits.condition.kind != CONDITION_NONE) {
        command_say(&w->command, "%s did not come", w->waits.text);
        return EXIT_DEADLINE;
    }
    if (!w->connected) { /* the end of what was seen is not the end of what was to be seen */
        return command_fail(&w->command, &w->watching.failure);
    }
    return EXIT_DONE;
}

/* Until something ends it; the exit code. */
static int watch_run(struct watch *w)
{
    for (;;) {
        int64_t now_ms = fly_clock_boot_ms();
        if (w->deadline_ms != 0 && now_ms >= w->deadline_ms) {
            return time_over(w);
        }
        set_pace(w, now_ms);
        enum watching_step step = watching_next(&w->watching);
        now_ms = fly_clock_boot_ms();
        switch (step) {
        case WATCHING_NOTHING:
            connection(w, !w->watching.lost, now_ms);
            break;
        case WATCHING_MESSAGE:
            connection(w, true, now_ms);
            put_message(w, now_ms);
            break;
        case WATCHING_LOST:
            connection(w, false, now_ms);
            say_lost(w);
            break;
        case WATCHING_BACK:
            connection(w, true, now_ms);
            watch_for_missed(&w->waits);
            if (!w->painted) {
                command_say(&w->command, "connected again");
            }
            break;
        case WATCHING_END:
            return session_interrupted() ? EXIT_INTERRUPTED
                                         : command_fail(&w->command, &w->watching.failure);
        }
        if (!w->painted && fflush(stdout) != 0) {
            return EXIT_ERROR; /* command_end says what is wrong */
        }
        look(w, now_ms);
        if (w->painted) {
            screen_paint(&w->screen, edge_name(w), now_ms, false);
        }
        if (w->holds) {
            return EXIT_DONE;
        }
        if (w->never) {
            return command_fail(&w->command, &w->failure);
        }
    }
}

static void say_end(struct watch *w)
{
    char cursor[CURSORS_TEXT_SIZE];

    if (w->holds) {
        command_say(&w->command, "%s holds", w->waits.text);
    }
    if (w->watching.twice + w->watching.skipped > 0) {
        command_say(&w->command, "%llu events came twice and were left out, %llu never came",
                    (unsigned long long)w->watching.twice, (unsigned long long)w->watching.skipped);
    }
    if (watching_cursor(&w->watching, cursor)[0] != '\0') {
        command_say(&w->command, "to go on: --since %s", cursor);
    }
}

int command_watch(int argc, char **argv)
{
    static struct watch w = {.input = {.since = ""}};
    const struct command_spec spec = {
        .name = "flyrpc watch",
        .doc =
            "Shows every change, once, as it happens; resumes by itself when it loses the edge.\v"
            "On a terminal it repaints a few lines; else each event is a line, with --json an "
            "object.\n\n"
            "COND is one of\n"
            "  vm=ID                 the VM runs (id, or a prefix that only one has)\n"
            "  vm=ID:destroyed       it is destroyed\n"
            "  name=NAME             a VM of this name runs\n"
            "  name=NAME:destroyed   one of it was destroyed and none runs\n"
            "  region=CODE:free>=N   at least N cores are free there (or free<=N)\n"
            "It may hold from the start: that is looked at too, and needs the scope read "
            "(regions for a region). --type and --region say what is shown, not what is waited "
            "for.\n\n"
            "With --timeout the watch lasts so long: then it ends with 124 if there was a COND, "
            "with 0 if there was none and the edge is connected, and like a call that failed if "
            "it is not. Else it ends when it is interrupted (130), or when going on cannot help.",
        .options = options,
        .take = take,
        .user = &w,
    };
    struct fly_error error = {0};

    command_begin(&w.command, &spec, argc, argv);
    bool waits = w.waits.condition.kind != CONDITION_NONE;
    int64_t connect_ms = w.command.timeout_ms < CONNECT_MS ? w.command.timeout_ms : CONNECT_MS;
    if (watching_init(&w.watching, &w.command.session, w.input.since, waits ? "" : w.input.region,
                      connect_ms, &error) != FLY_OK) {
        command_usage("--since: %s", error.text);
    }
    w.watching.types = w.input.types;
    w.watching.type_count = waits ? 0 : w.input.type_count;
    w.begun_ms = fly_clock_boot_ms();
    w.deadline_ms = w.command.timeout_given_ms != 0 ? w.begun_ms + w.command.timeout_given_ms : 0;
    w.painted = !w.command.json && screen_possible();
    if (waits) {
        watch_for_begin(&w.waits, &w.command);
    }
    if (w.painted) {
        screen_begin(&w.screen, w.begun_ms);
        w.screen.waits = waits ? w.waits.text : NULL;
        screen_paint(&w.screen, "", w.begun_ms, true);
    }
    int code = watch_run(&w);
    if (w.painted) {
        screen_paint(&w.screen, edge_name(&w), fly_clock_boot_ms(), true);
    }
    say_end(&w);
    failure_fini(&w.failure);
    watch_for_end(&w.waits);
    watching_fini(&w.watching);
    return command_end(&w.command, code);
}
