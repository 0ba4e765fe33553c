/*
 * watch_print - what a watch writes into a pipe or a file: one line an event, or one JSON object.
 */
#include <stdio.h>
#include <string.h>

#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "client/watch.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

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

void watch_put_event(const struct command *command, const struct watching *watching,
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

void watch_put_reset(const struct command *command, const struct watching *watching)
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

/* A reader that was cut off before the first cursor came cannot know what it missed: a reset. */
void watch_put_gap(void)
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
