/*
 * flyrpc watch - every change as it happens, once, over broken connections too.
 *
 * It ends when it is interrupted or when going on cannot help; never with 0 for a lost connection.
 */
#include <stdio.h>
#include <string.h>

#include "client/command.h"
#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "client/lib/watching.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

enum { KEY_SINCE = 1, KEY_REGION };

static const struct argp_option options[] = {
    {"since", KEY_SINCE, "CURSOR", 0, "Resume behind this cursor, as --json prints it", 0},
    {"region", KEY_REGION, "CODE", 0, "Only of this region", 0},
    {0},
};

struct input {
    const char *since;
    char region[64];
};

static void take(int key, const char *value, void *user)
{
    struct input *input = user;

    if (key == KEY_SINCE) {
        input->since = value;
        return;
    }
    if (value[0] == '\0' || !fly_copy_string(input->region, sizeof input->region, value)) {
        command_usage("--region: '%.40s' is not a region code", value);
    }
    for (char *c = input->region; *c != '\0'; c++) {
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    }
}

static const char *or_none(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : "<none>";
}

static void put_text_line(const char *format, const char *const *words)
{
    char line[1024];
    char clean[1024];

    (void)snprintf(line, sizeof line, format, words[0], words[1], words[2], words[3], words[4],
                   words[5], words[6], words[7]);
    text_clean(line, clean, sizeof clean);
    (void)puts(clean);
}

static void put_event(const struct command *command, const struct watching *watching,
                      const Fly__V1__Event *event)
{
    char cursor[CURSORS_TEXT_SIZE];
    char time[FLY_TIME_TEXT_SIZE];
    char place[64];
    char size[COMMAND_SIZE_TEXT];
    char left[COMMAND_SIZE_TEXT];

    if (command->json) {
        command_put_json(shape_event(event, watching_cursor(watching, cursor)));
        return;
    }
    fly_time_format(event->time_ms, time);
    (void)snprintf(place, sizeof place, "%.16s/%llu", event->slice, (unsigned long long)event->seq);
    command_size_text(event->cores, event->memory_bytes, size);
    command_size_text(event->machine_cores_free, event->machine_memory_free_bytes, left);
    put_text_line("%s  %s  %-12s  vm=%s  machine=%s  region=%s  size=\"%s\"  free=\"%s\"",
                  (const char *const[]){time, place, shape_event_type((uint32_t)event->type),
                                        or_none(event->vm), or_none(event->machine),
                                        or_none(event->region), size, left});
}

static void put_reset(const struct command *command, const struct watching *watching)
{
    const Fly__V1__WatchReply *message = watching->message;
    uint32_t tag = watching_reset_slice(watching);
    char slice[16] = "";

    if (tag != 0) {
        (void)snprintf(slice, sizeof slice, "%06x", tag);
    }
    if (!command->json) {
        bool said = tag == 0 || strstr(message->reset_reason, slice) != NULL;
        command_say(command, "reset%s%s: %s; %zu VMs follow", said ? "" : " of slice ",
                    said ? "" : slice, or_none(message->reset_reason), message->n_vms);
        for (size_t i = 0; i < message->n_vms; i++) {
            const Fly__V1__Vm *vm = message->vms[i];
            char size[COMMAND_SIZE_TEXT];
            char time[FLY_TIME_TEXT_SIZE];
            char place[64];
            fly_time_format(vm->created_at_ms, time);
            command_size_text(vm->cores, vm->memory_bytes, size);
            (void)snprintf(place, sizeof place, "%.16s/%llu", vm->slice,
                           (unsigned long long)vm->seq);
            put_text_line("%s  %s  %-12s  vm=%s  machine=%s  region=%s  size=\"%s\"  state=%s",
                          (const char *const[]){time, place, "present", vm->id, vm->machine,
                                                vm->region, size,
                                                shape_vm_state((uint32_t)vm->state)});
        }
        return;
    }
    json_t *object = json_object();
    json_t *vms = json_array();
    for (size_t i = 0; i < message->n_vms; i++) {
        FLY_CHECK(json_array_append_new(vms, shape_vm(message->vms[i])) == 0);
    }
    FLY_CHECK(json_object_set_new(object, "type", json_string("reset")) == 0);
    FLY_CHECK(json_object_set_new(object, "slice", tag != 0 ? json_string(slice) : json_null()) ==
              0);
    FLY_CHECK(json_object_set_new(object, "reason", shape_text(message->reset_reason)) == 0);
    FLY_CHECK(json_object_set_new(object, "vms", vms) == 0);
    FLY_CHECK(json_object_set_new(object, "cursor",
                                  message->cursor[0] != '\0' ? shape_text(message->cursor)
                                                             : json_null()) == 0);
    command_put_json(object);
}

/* One batch, written whole before the next is asked for. */
static void put_message(const struct command *command, struct watching *watching)
{
    const Fly__V1__WatchReply *message = watching->message;

    if (message->reset || message->n_vms > 0) {
        put_reset(command, watching);
    }
    for (size_t i = 0; i < message->n_events; i++) {
        if (watching_take(watching, message->events[i])) {
            put_event(command, watching, message->events[i]);
        }
    }
    watching_taken(watching);
}

/* A reader that was cut off before the first cursor came cannot know what it missed: a reset. */
static void put_gap(void)
{
    json_t *object = json_object();

    FLY_CHECK(json_object_set_new(object, "type", json_string("reset")) == 0);
    FLY_CHECK(json_object_set_new(object, "slice", json_null()) == 0);
    FLY_CHECK(json_object_set_new(object, "reason",
                                  json_string("connection lost before the first cursor")) == 0);
    FLY_CHECK(json_object_set_new(object, "vms", json_array()) == 0);
    FLY_CHECK(json_object_set_new(object, "cursor", json_null()) == 0);
    command_put_json(object);
}

static void say_lost(const struct command *command, const struct watching *watching)
{
    static char said[RPC_TEXT_SIZE]; /* while it stays lost, each reason once in a row */
    char text[CURSORS_TEXT_SIZE];
    const char *cursor = watching_cursor(watching, text);
    const char *why = watching->failure.message[0] != '\0'
                          ? watching->failure.message
                          : fly_status_name(watching->failure.status);

    if (watching->losses > 1 && strncmp(said, why, sizeof said - 1) == 0) {
        return;
    }
    (void)fly_copy_string(said, sizeof said, why);
    command_say(command, "connection lost (%s); resuming %s%s", why,
                cursor[0] != '\0' ? "behind " : "from now: events may be missed", cursor);
    if (cursor[0] == '\0' && command->json && watching->losses == 1) {
        put_gap();
    }
}

int command_watch(int argc, char **argv)
{
    static struct watching watching;
    struct input input = {.since = ""};
    const struct command_spec spec = {
        .name = "flyrpc watch",
        .doc =
            "Prints every change, once, as it happens; resumes by itself when it loses the edge.\v"
            "Ends when it is interrupted (130), or when going on cannot help.",
        .options = options,
        .take = take,
        .user = &input,
    };
    char cursor[CURSORS_TEXT_SIZE];
    struct fly_error error = {0};
    struct command command;
    int code = EXIT_INTERRUPTED;
    bool going = true;

    command_begin(&command, &spec, argc, argv);
    if (watching_init(&watching, &command.session, input.since, input.region, command.timeout_ms,
                      &error) != FLY_OK) {
        command_usage("--since: %s", error.text);
    }
    while (going) {
        switch (watching_next(&watching)) {
        case WATCHING_MESSAGE:
            put_message(&command, &watching);
            going = fflush(stdout) == 0; /* command_end says what is wrong */
            break;
        case WATCHING_LOST:
            say_lost(&command, &watching);
            break;
        case WATCHING_BACK:
            command_say(&command, "connected again");
            break;
        case WATCHING_END:
            code = session_interrupted() ? EXIT_INTERRUPTED
                                         : command_fail(&command, &watching.failure);
            going = false;
            break;
        case WATCHING_NOTHING:
            break;
        }
    }
    if (watching.twice + watching.skipped > 0) {
        command_say(&command, "%llu events came twice and were left out, %llu never came",
                    (unsigned long long)watching.twice, (unsigned long long)watching.skipped);
    }
    if (watching_cursor(&watching, cursor)[0] != '\0') {
        command_say(&command, "to go on: --since %s", cursor);
    }
    watching_fini(&watching);
    return command_end(&command, code);
}
