/* flyrpc rpc - any method of any server: a table of its own, over reflection. */
#include "client/rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/text.h"
#include "fly/v1/reflection.rpc.h"
#include "proto/base/check.h"

int command_rpc(int argc, char **argv)
{
    static const struct command_entry commands[] = {
        {"list", command_rpc_list, "Services, or the methods of one"},
        {"describe", command_rpc_describe, "A service, method, message or enum"},
        {"call", command_rpc_call, "Call a method with JSON"},
        {"metrics", command_rpc_metrics, "The server's own counters"},
        {"health", command_rpc_health, "Whether the server, or one service, serves"},
    };

    return command_dispatch("flyrpc rpc", "Any method of any server that offers reflection.",
                            commands, FLY_ARRAY_COUNT(commands), argc, argv);
}

int rpc_fail(struct command *command, struct failure *failure)
{
    char text[sizeof failure->message];
    const char *name = fly_status_name(failure->status);
    const char *reason = failure->reason != 0 ? reason_name(failure->reason) : "";

    /* not where there is no connection: that has words of its own; in JSON the name has its place
     */
    if (command->json) {
        return command_fail(command, failure);
    }
    if (failure->connected || failure->status != FLY_UNAVAILABLE) {
        (void)snprintf(text, sizeof text, "%s%s%s%s%s%.900s", name, reason[0] != '\0' ? " (" : "",
                       reason, reason[0] != '\0' ? ")" : "",
                       failure->message[0] != '\0' ? ": " : "", failure->message);
        (void)fly_copy_string(failure->message, sizeof failure->message, text);
    }
    return command_fail(command, failure);
}

static void hint_at(struct failure *failure)
{
    if (failure->hint[0] == '\0' && failure->status == FLY_UNIMPLEMENTED) {
        (void)fly_copy_string(failure->hint, sizeof failure->hint,
                              "this server has no fly.v1.Reflection");
    }
    if (failure->hint[0] == '\0' && failure->status == FLY_UNAUTHENTICATED) {
        (void)fly_copy_string(failure->hint, sizeof failure->hint,
                              "say who you are with FLYRPC_TOKEN or --token-file");
    }
}

bool rpc_ask(struct command *command, const char *symbol, struct schema **out, int *code)
{
    Fly__V1__DescribeRequest request = FLY__V1__DESCRIBE_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure failure = {0};
    struct fly_error error;

    *out = NULL;
    *code = EXIT_DONE;
    request.symbol = (char *)(uintptr_t)symbol;
    if (command_try(command, &rpc_reflection_describe, &request.base, &reply, &failure) != FLY_OK) {
        hint_at(&failure);
        *code = rpc_fail(command, &failure);
    } else {
        const Fly__V1__DescribeReply *said = (const Fly__V1__DescribeReply *)reply.message;
        struct fly_bytes set = {said->file_descriptor_set.data, said->file_descriptor_set.len};
        if (schema_create(out, set, &error) != FLY_OK) {
            command_say(command, "%s", error.text);
            *code = EXIT_ERROR;
        }
    }
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return *out != NULL;
}

/* --- list --- */

static void put_names(struct command *command, const char *const *names, size_t count)
{
    json_t *array = command->json ? json_array() : NULL;
    char clean[SCHEMA_NAME_MAX + 1];

    for (size_t i = 0; i < count; i++) {
        text_clean(names[i], clean, sizeof clean);
        if (command->json) {
            FLY_CHECK(json_array_append_new(array, json_string(clean)) == 0);
        } else {
            (void)puts(clean);
        }
    }
    if (command->json) {
        command_put_json_lines(array);
    }
}

static int list_services(struct command *command)
{
    Fly__V1__ListServicesRequest request = FLY__V1__LIST_SERVICES_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure failure = {0};
    int code = EXIT_DONE;

    if (command_try(command, &rpc_reflection_list, &request.base, &reply, &failure) != FLY_OK) {
        hint_at(&failure);
        code = rpc_fail(command, &failure);
    } else {
        const Fly__V1__ListServicesReply *said = (const Fly__V1__ListServicesReply *)reply.message;
        put_names(command, (const char *const *)said->services, said->n_services);
    }
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return code;
}

static int list_methods(struct command *command, const char *name)
{
    struct schema *schema = NULL;
    int code = EXIT_DONE;

    if (!rpc_ask(command, name, &schema, &code)) {
        return code;
    }
    const struct schema_service *service = schema_service(schema, name);
    if (service == NULL) {
        command_say(command, "%s is not a service", name);
        code = EXIT_ERROR;
    } else {
        const char **names = calloc(service->method_count + 1, sizeof *names);
        FLY_CHECK(names != NULL);
        for (size_t i = 0; i < service->method_count; i++) {
            names[i] = service->methods[i].name;
        }
        put_names(command, names, service->method_count);
        free(names);
    }
    schema_destroy(schema);
    return code;
}

int command_rpc_list(int argc, char **argv)
{
    const struct command_spec spec = {
        .name = "flyrpc rpc list",
        .args_doc = "[SERVICE]",
        .doc = "Lists the services of a server, or the methods of one service.",
        .words_max = 1,
    };
    struct command command;

    command_begin(&command, &spec, argc, argv);
    int code = command.word_count == 0 ? list_services(&command)
                                       : list_methods(&command, command.words[0]);
    return command_end(&command, code);
}
