/* flyrpc slice - the slices of the cluster; and the last word about one that is lost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/command.h"
#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "fly/v1/admin.rpc.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

enum { SLICE_DIGITS = 6, KEY_YES = 1 };

static int by_id(const void *x, const void *y)
{
    const Fly__V1__SliceInfo *const *a = x;
    const Fly__V1__SliceInfo *const *b = y;

    return strcmp((*a)->slice, (*b)->slice);
}

static void add_row(struct table *table, const Fly__V1__SliceInfo *slice)
{
    char machines[16];
    char cores[48];
    char memory_free[FLY_TIME_TEXT_SIZE];
    char memory_total[FLY_TIME_TEXT_SIZE];
    char memory[2 * FLY_TIME_TEXT_SIZE];

    (void)snprintf(machines, sizeof machines, "%u", slice->machines);
    (void)snprintf(cores, sizeof cores, "%llu/%llu", (unsigned long long)slice->cores_free,
                   (unsigned long long)slice->cores_total);
    fly_size_format(slice->memory_free_bytes, memory_free);
    fly_size_format(slice->memory_total_bytes, memory_total);
    (void)snprintf(memory, sizeof memory, "%s/%s", memory_free, memory_total);
    FLY_CHECK(table_add(table, (const char *const[]){slice->slice,
                                                     slice->owner[0] != '\0' ? slice->owner : "-",
                                                     slice->state, machines, cores, memory}));
}

static void put_note(const Fly__V1__SliceInfo *slice, const char *note)
{
    char line[RPC_TEXT_SIZE];
    char clean[RPC_TEXT_SIZE];

    (void)snprintf(line, sizeof line, "%s: %s", slice->slice, note);
    text_clean(line, clean, sizeof clean);
    (void)puts(clean);
}

static void put_notes(const Fly__V1__SliceInfo *slice)
{
    char note[RPC_TEXT_SIZE];
    char age[COMMAND_AGE_TEXT];

    if (slice->reason[0] != '\0') {
        (void)snprintf(note, sizeof note, "%s: %s", slice->state, slice->reason);
        put_note(slice, note);
    }
    if (slice->stale_ms > COMMAND_STALE_MS) {
        command_age_text(slice->stale_ms, age);
        (void)snprintf(note, sizeof note,
                       "not heard of for %s: what is free there may have changed", age);
        put_note(slice, note);
    }
    if (slice->cordoned > 0) {
        (void)snprintf(note, sizeof note, "%u of its machines %s cordoned: an older slice has %s",
                       slice->cordoned, slice->cordoned == 1 ? "is" : "are",
                       slice->cordoned == 1 ? "it" : "them");
        put_note(slice, note);
    }
}

static void put_table(Fly__V1__SliceInfo *const *slices, size_t count)
{
    static const struct table_column columns[] = {
        {"SLICE", false},   {"OWNER", false},           {"STATE", false},
        {"MACHINES", true}, {"CORES FREE/TOTAL", true}, {"MEMORY FREE/TOTAL", true}};
    struct table *table = table_create(columns, FLY_ARRAY_COUNT(columns));

    FLY_CHECK(table != NULL);
    for (size_t i = 0; i < count; i++) {
        add_row(table, slices[i]);
    }
    table_print(table, stdout);
    table_destroy(table);
    for (size_t i = 0; i < count; i++) {
        put_notes(slices[i]);
    }
}

static int list(int argc, char **argv)
{
    const struct command_spec spec = {
        .name = "flyrpc slice list",
        .doc = "Shows the slices: who owns each, its state, what is free.\v"
               "Needs a token with scope read.",
    };
    Fly__V1__SlicesRequest request = FLY__V1__SLICES_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    if (command_call(&command, &rpc_admin_slices, &request.base, false, &reply, &code) == FLY_OK) {
        const Fly__V1__SlicesReply *message = (const Fly__V1__SlicesReply *)reply.message;
        if (message->n_slices > 0) {
            qsort(message->slices, message->n_slices, sizeof(Fly__V1__SliceInfo *), by_id);
        }
        if (command.json) {
            json_t *array = json_array();
            for (size_t i = 0; i < message->n_slices; i++) {
                FLY_CHECK(json_array_append_new(array, shape_slice(message->slices[i])) == 0);
            }
            command_put_json_lines(array);
        } else {
            put_table(message->slices, message->n_slices);
        }
    }
    rpc_reply_fini(&reply);
    return command_end(&command, code);
}

/* What is known of it, for who is about to give it up. A token for forgetting need not be one for
 * reading: then nothing is shown. */
static void say_what_it_is(struct command *command, const char *slice)
{
    Fly__V1__SlicesRequest request = FLY__V1__SLICES_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure ignored = {0};

    if (command_try(command, &rpc_admin_slices, &request.base, &reply, &ignored) == FLY_OK) {
        const Fly__V1__SlicesReply *message = (const Fly__V1__SlicesReply *)reply.message;
        for (size_t i = 0; i < message->n_slices; i++) {
            const Fly__V1__SliceInfo *info = message->slices[i];
            if (strcmp(info->slice, slice) == 0) {
                command_say(command, "slice %s: %s, owner %s, %u machines, %llu of %llu cores used",
                            slice, info->state, info->owner[0] != '\0' ? info->owner : "<none>",
                            info->machines,
                            (unsigned long long)(info->cores_total - info->cores_free),
                            (unsigned long long)info->cores_total);
            }
        }
    }
    rpc_reply_fini(&reply);
    failure_fini(&ignored);
}

/* A person types the slice's id. */
static bool confirmed(struct command *command, const char *slice)
{
    char line[64] = "";

    say_what_it_is(command, slice);
    command_say(command, "this declares slice %s lost, for good, in the whole cluster:", slice);
    (void)fputs("  - its VMs count as gone, and nobody answers for them any more\n"
                "  - a launch whose key was at home there can be launched again elsewhere\n"
                "  - if its owner comes back, it stays quarantined and its VMs are orphans\n"
                "If its owner may come back by itself, wait for it instead.\n",
                stderr);
    (void)fprintf(stderr, "Type the slice's id to forget it: ");
    if (fgets(line, sizeof line, stdin) == NULL) {
        (void)fputc('\n', stderr);
        return false;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return strcmp(line, slice) == 0;
}

static void take_forget(int key, const char *value, void *user)
{
    (void)key;
    (void)value;
    *(bool *)user = true;
}

static int forget(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"yes", KEY_YES, NULL, 0, "Do not ask", 0},
        {0},
    };
    bool yes = false;
    const struct command_spec spec = {
        .name = "flyrpc slice forget",
        .args_doc = "SLICE",
        .doc = "Declares a slice lost for good, when its owner will never come back.\v"
               "Its VMs count as gone; if its owner does come back, it stays quarantined and its "
               "VMs are listed as orphans. Needs a token with scope admin.",
        .words_min = 1,
        .words_max = 1,
        .options = options,
        .take = take_forget,
        .user = &yes,
    };
    Fly__V1__ForgetSliceRequest request = FLY__V1__FORGET_SLICE_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    const char *slice = command.words[0];
    if (strlen(slice) != SLICE_DIGITS || strspn(slice, "0123456789abcdef") != SLICE_DIGITS) {
        command_usage("'%.40s' is not a slice: %d digits such as 0a1b2c", slice, SLICE_DIGITS);
    }
    if (!yes && isatty(STDIN_FILENO) == 0) {
        command_usage("nobody can be asked here: if slice %s is lost for good, say --yes", slice);
    }
    if (!yes && !confirmed(&command, slice)) {
        command_say(&command, "nothing was done");
        return command_end(&command, session_interrupted() ? EXIT_INTERRUPTED : EXIT_ERROR);
    }
    request.slice = (char *)(uintptr_t)slice;
    if (command_call(&command, &rpc_admin_forget_slice, &request.base, true, &reply, &code) ==
        FLY_OK) {
        if (command.json) {
            json_t *object = json_object();
            FLY_CHECK(json_object_set_new(object, "slice", shape_text(slice)) == 0);
            FLY_CHECK(json_object_set_new(object, "forgotten", json_true()) == 0);
            command_put_json(object);
        } else {
            (void)printf("forgotten  slice %s\n", slice);
        }
    }
    rpc_reply_fini(&reply);
    return command_end(&command, code);
}

int command_slice(int argc, char **argv)
{
    static const struct command_entry commands[] = {
        {"list", list, "Slices, their owners and what is free"},
        {"forget", forget, "Declare a slice lost for good"},
    };

    return command_dispatch("flyrpc slice", "Slices: machines under one authority.", commands,
                            FLY_ARRAY_COUNT(commands), argc, argv);
}
