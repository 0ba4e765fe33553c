#include "client/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/bytes.h"
#include "proto/base/id.h"
#include "proto/base/time.h"
#include "proto/wire/key.h"
#include "proto/wire/vmid.h"

enum { CANDIDATES_SHOWN_MAX = 8 };

/* Ten digits: a position to a centimetre, and 72.874245 stays what it was. */
#define JSON_FORM (JSON_COMPACT | JSON_REAL_PRECISION(10))

int command_end(struct command *command, int code)
{
    /* first what the person waits for, then what only we care about */
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        (void)fprintf(stderr, "%s: cannot write the output: %s\n", command->name, strerror(errno));
        code = code == EXIT_DONE ? EXIT_ERROR : code;
    }
    session_fini(&command->session);
    explicit_bzero(&command->settings, sizeof command->settings);
    return code;
}

void command_say(const struct command *command, const char *format, ...)
{
    char text[2 * RPC_TEXT_SIZE];
    char clean[2 * RPC_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    text_clean(text, clean, sizeof clean);
    (void)fprintf(stderr, "%s: %s\n", command->name, clean);
}

int command_fail_as(const struct command *command, const struct failure *failure, int code)
{
    const char *message =
        failure->message[0] != '\0' ? failure->message : fly_status_name(failure->status);

    if (failure->status == FLY_UNAVAILABLE && !failure->connected) {
        command_say(command, "no edge at %s: %s", command->settings.addr, message);
    } else {
        command_say(command, "%s", message);
    }
    if (failure->hint[0] != '\0') {
        command_say(command, "hint: %s", failure->hint);
    }
    if (command->json) {
        command_put_json(shape_error(failure));
    }
    return code;
}

int command_fail(const struct command *command, const struct failure *failure)
{
    int code = exit_code(failure->status, failure->reason);

    if (session_interrupted()) {
        code = EXIT_INTERRUPTED;
    } else if (failure->connected && failure->sent && code == EXIT_NO_EDGE) {
        code = EXIT_TRY_AGAIN; /* the edge was there and broke off */
    }
    return command_fail_as(command, failure, code);
}

static _Noreturn void no_memory(void)
{
    (void)fputs("flyrpc: no memory\n", stderr);
    exit(EXIT_ERROR);
}

void command_put_json(json_t *value)
{
    char *text = value == NULL ? NULL : json_dumps(value, JSON_FORM | JSON_ENCODE_ANY);

    if (text == NULL) {
        no_memory();
    }
    (void)puts(text);
    free(text);
    json_decref(value);
}

void command_put_json_lines(json_t *array)
{
    if (array == NULL) {
        no_memory();
    }
    (void)fputs("[", stdout);
    for (size_t i = 0; i < json_array_size(array); i++) {
        char *text = json_dumps(json_array_get(array, i), JSON_FORM | JSON_ENCODE_ANY);
        if (text == NULL) {
            no_memory();
        }
        (void)printf("%s\n  %s", i == 0 ? "" : ",", text);
        free(text);
    }
    (void)puts(json_array_size(array) == 0 ? "]" : "\n]");
    json_decref(array);
}

enum fly_status command_try(struct command *command, const struct rpc_method *method,
                            const ProtobufCMessage *request, struct rpc_reply *reply,
                            struct failure *failure)
{
    return session_call_again(&command->session, method, request, command->timeout_ms, reply,
                              failure);
}

/* A change whose answer was lost is neither done nor not done. */
static int doubtful_code(const struct failure *failure)
{
    return failure->sent && failure->reason == FLY__V1__REASON__REASON_NONE &&
                   (failure->status == FLY_DEADLINE_EXCEEDED || failure->status == FLY_UNAVAILABLE)
               ? EXIT_TRY_AGAIN
               : exit_code(failure->status, failure->reason);
}

enum fly_status command_call(struct command *command, const struct rpc_method *method,
                             const ProtobufCMessage *request, bool doubtful,
                             struct rpc_reply *reply, int *code)
{
    struct failure failure = {0};
    enum fly_status status = command_try(command, method, request, reply, &failure);

    *code = EXIT_DONE;
    if (status != FLY_OK) {
        *code = doubtful && !session_interrupted()
                    ? command_fail_as(command, &failure, doubtful_code(&failure))
                    : command_fail(command, &failure);
    }
    failure_fini(&failure);
    return status;
}

static void put_line(const char *key, const char *value)
{
    char clean[RPC_TEXT_SIZE];

    text_clean(value != NULL && value[0] != '\0' ? value : "<none>", clean, sizeof clean);
    (void)printf("%-9s  %s\n", key, clean);
}

void command_age_text(uint64_t age_ms, char out[static COMMAND_AGE_TEXT])
{
    uint64_t s = age_ms / 1000;

    if (age_ms >= INT64_MAX) {
        (void)snprintf(out, COMMAND_AGE_TEXT, "ever");
    } else {
        (void)snprintf(out, COMMAND_AGE_TEXT, "%llu %s",
                       (unsigned long long)(s < 120      ? s
                                            : s < 7200   ? s / 60
                                            : s < 172800 ? s / 3600
                                                         : s / 86400),
                       s < 120      ? "s"
                       : s < 7200   ? "min"
                       : s < 172800 ? "h"
                                    : "d");
    }
}

void command_size_text(uint32_t cores, uint64_t memory_bytes, char out[static COMMAND_SIZE_TEXT])
{
    char memory[FLY_TIME_TEXT_SIZE];

    fly_size_format(memory_bytes, memory);
    (void)snprintf(out, COMMAND_SIZE_TEXT, "%u core%s, %s", cores, cores == 1 ? "" : "s", memory);
}

void command_put_vm(const Fly__V1__Vm *vm)
{
    char size[COMMAND_SIZE_TEXT];
    char time[FLY_TIME_TEXT_SIZE];
    char key[FLY_KEY_TEXT_SIZE] = "";

    command_size_text(vm->cores, vm->memory_bytes, size);
    put_line("id", vm->id);
    put_line("name", vm->name);
    put_line("machine", vm->machine);
    put_line("region", vm->region);
    put_line("size", size);
    put_line("state", shape_vm_state((uint32_t)vm->state));
    fly_time_format(vm->created_at_ms, time);
    put_line("created", time);
    if (vm->destroyed_at_ms != 0) {
        fly_time_format(vm->destroyed_at_ms, time);
        put_line("destroyed", time);
    }
    if (vm->key.len == FLY_KEY_SIZE) {
        fly_hex_encode(vm->key.data, FLY_KEY_SIZE, key);
    }
    put_line("key", key);
}

int command_show_vm(const struct command *command, const Fly__V1__Vm *vm)
{
    if (vm == NULL || vm->id == NULL || vm->id[0] == '\0') {
        struct failure failure = {.status = FLY_INTERNAL, .connected = true, .sent = true};
        (void)fly_copy_string(failure.message, sizeof failure.message,
                              "the edge answered OK without a VM");
        return command_fail(command, &failure);
    }
    if (command->json) {
        command_put_json(shape_vm(vm));
    } else {
        command_put_vm(vm);
    }
    return EXIT_DONE;
}

const char *command_vm_word(struct command *command, int index, char out[static 16])
{
    const char *word = command->words[index];
    size_t size = strlen(word);
    uint64_t ignored;

    if (size > VMID_DIGITS || !fly_crockford_decode(word, size, &ignored)) {
        command_usage(
            "'%.40s' is not a VM's id or the beginning of one (1 to %d letters and digits)", word,
            VMID_DIGITS);
    }
    for (size_t i = 0; i <= size; i++) {
        out[i] = word[i] >= 'A' && word[i] <= 'Z' ? (char)(word[i] - 'A' + 'a') : word[i];
    }
    return out;
}

/* Puts "abc… one, abd… two" into the hint; false when fewer than two VMs begin so. */
static bool name_candidates(struct command *command, const char *prefix, struct failure *failure)
{
    Fly__V1__ListRequest request = FLY__V1__LIST_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure ignored = {0};
    bool several = false;

    request.id_prefix = (char *)(uintptr_t)prefix;
    request.limit = CANDIDATES_SHOWN_MAX + 1;
    if (command_try(command, &rpc_edge_list, &request.base, &reply, &ignored) == FLY_OK) {
        const Fly__V1__ListReply *list = (const Fly__V1__ListReply *)reply.message;
        size_t at = 0;
        several = list->n_vms >= 2;
        for (size_t i = 0; several && i < list->n_vms && at < sizeof failure->hint - 1; i++) {
            const Fly__V1__Vm *vm = list->vms[i];
            int put =
                i == CANDIDATES_SHOWN_MAX
                    ? snprintf(failure->hint + at, sizeof failure->hint - at, ", ...")
                    : snprintf(failure->hint + at, sizeof failure->hint - at, "%s%.16s (%.63s)",
                               i == 0 ? "these begin so: " : ", ", vm->id, vm->name);
            at += put > 0 ? (size_t)put : 0;
        }
    }
    rpc_reply_fini(&reply);
    failure_fini(&ignored);
    return several;
}

int command_fail_vm(struct command *command, const char *vm, struct failure *failure, bool doubtful)
{
    bool about_word = failure->status == FLY_INVALID_ARGUMENT ||
                      failure->status == FLY_FAILED_PRECONDITION ||
                      failure->status == FLY_ALREADY_EXISTS;

    if (about_word && strlen(vm) < VMID_DIGITS) {
        (void)name_candidates(command, vm, failure);
    }
    return doubtful && !session_interrupted()
               ? command_fail_as(command, failure, doubtful_code(failure))
               : command_fail(command, failure);
}
