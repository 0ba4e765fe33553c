/* flyrpc list - VMs, page by page until there are no more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/command.h"
#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

enum { KEY_REGION = 1, KEY_STATE, PAGE_SIZE = 1000, PAGES_MAX = 1 << 20 };

static const struct argp_option options[] = {
    {"region", KEY_REGION, "CODE", 0, "Only of this region", 0},
    {"state", KEY_STATE, "STATE", 0,
     "Only in this state: creating, started, stopping, stopped, destroying, destroyed, failed", 0},
    {0},
};

struct input {
    char region[64];
    uint32_t state;
};

static void take(int key, const char *value, void *user)
{
    struct input *input = user;

    if (key == KEY_STATE) {
        if (!shape_vm_state_find(value, &input->state)) {
            command_usage("--state: '%.40s' is not one of creating, started, stopping, stopped, "
                          "destroying, destroyed, failed",
                          value);
        }
        return;
    }
    if (value[0] == '\0' || !fly_copy_string(input->region, sizeof input->region, value)) {
        command_usage("--region: '%.40s' is not a region code", value);
    }
    for (char *c = input->region; *c != '\0'; c++) {
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    }
}

enum { SLICE_SIZE = 16, MISSING_MAX = 64 };

struct shown {
    struct table *table; /* or */
    json_t *array;
    char missing[MISSING_MAX][SLICE_SIZE]; /* slices that did not answer, each once */
    size_t missing_count;
};

static void add_missing(struct shown *shown, const char *slice)
{
    for (size_t i = 0; i < shown->missing_count; i++) {
        if (strncmp(shown->missing[i], slice, SLICE_SIZE - 1) == 0) {
            return;
        }
    }
    if (shown->missing_count < MISSING_MAX) {
        (void)snprintf(shown->missing[shown->missing_count++], SLICE_SIZE, "%s", slice);
    }
}

static void put_vm(struct shown *shown, const Fly__V1__Vm *vm)
{
    char cores[16];
    char memory[FLY_TIME_TEXT_SIZE];
    char created[FLY_TIME_TEXT_SIZE];

    if (shown->array != NULL) {
        FLY_CHECK(json_array_append_new(shown->array, shape_vm(vm)) == 0);
        return;
    }
    (void)snprintf(cores, sizeof cores, "%u", vm->cores);
    fly_size_format(vm->memory_bytes, memory);
    fly_time_format(vm->created_at_ms, created);
    FLY_CHECK(table_add(
        shown->table, (const char *const[]){vm->id, vm->name, vm->region, vm->machine, cores,
                                            memory, shape_vm_state((uint32_t)vm->state), created}));
}

/* All pages; nothing is printed before the last one is there, so that an error stands alone. */
static int fetch(struct command *command, const struct input *input, struct shown *shown)
{
    Fly__V1__ListRequest request = FLY__V1__LIST_REQUEST__INIT;
    unsigned pages = 0;
    int code = EXIT_DONE;

    request.region = (char *)(uintptr_t)input->region;
    request.state = (Fly__V1__VmState)input->state;
    request.limit = PAGE_SIZE;
    do {
        struct rpc_reply reply = {0};
        uint64_t next = 0;
        if (command_call(command, &rpc_edge_list, &request.base, false, &reply, &code) == FLY_OK) {
            const Fly__V1__ListReply *page = (const Fly__V1__ListReply *)reply.message;
            for (size_t i = 0; i < page->n_vms; i++) {
                put_vm(shown, page->vms[i]);
            }
            for (size_t i = 0; i < page->n_unreachable; i++) {
                add_missing(shown, page->unreachable[i]);
            }
            next = page->next;
        }
        rpc_reply_fini(&reply);
        if (next != 0 && (next == request.after || ++pages == PAGES_MAX)) {
            command_say(command, "the edge's pages do not advance: the list is not complete");
            return EXIT_ERROR;
        }
        request.after = next;
    } while (code == EXIT_DONE && request.after != 0);
    return code;
}

int command_list(int argc, char **argv)
{
    static const struct table_column columns[] = {
        {"ID", false},   {"NAME", false},  {"REGION", false}, {"MACHINE", false},
        {"CORES", true}, {"MEMORY", true}, {"STATE", false},  {"CREATED", false}};
    struct input input = {.state = FLY__V1__VM_STATE__VM_STATE_NONE};
    const struct command_spec spec = {
        .name = "flyrpc list",
        .doc = "Lists the VMs that are not destroyed, or those in one state.\v"
               "When a slice does not answer, shows the others' VMs and exits 75.",
        .options = options,
        .take = take,
        .user = &input,
    };
    struct shown shown = {0};
    struct command command;

    command_begin(&command, &spec, argc, argv);
    if (command.json) {
        shown.array = json_array();
    } else {
        shown.table = table_create(columns, FLY_ARRAY_COUNT(columns));
    }
    FLY_CHECK(shown.array != NULL || shown.table != NULL);
    int code = fetch(&command, &input, &shown);
    if (code != EXIT_DONE) {
        json_decref(shown.array);
    } else if (command.json) {
        command_put_json_lines(shown.array);
    } else {
        table_print(shown.table, stdout);
    }
    table_destroy(shown.table);
    for (size_t i = 0; code != EXIT_ERROR && i < shown.missing_count; i++) {
        command_say(&command, "not complete: slice %s does not answer, its VMs are missing here",
                    shown.missing[i]);
        code = code == EXIT_DONE ? EXIT_TRY_AGAIN : code;
    }
    return command_end(&command, code);
}
