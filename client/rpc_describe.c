/* flyrpc rpc describe - what a server says of a service, a method, a message or an enum. */
#include <stdio.h>
#include <string.h>

#include "client/rpc.h"
#include "fly/v1/reflection.rpc.h"
#include "proto/base/check.h"

static void put(const struct command *command, json_t *shape)
{
    if (command->json) {
        command_put_json(shape);
    }
}

/* A method with what goes in and comes out. */
static void put_method(const struct command *command, const struct schema_method *method)
{
    if (command->json) {
        put(command, rpc_shape_method(method));
        return;
    }
    schema_print_method(method, stdout);
    (void)putchar('\n');
    schema_print_message(method->input, stdout);
    if (method->output != method->input) {
        (void)putchar('\n');
        schema_print_message(method->output, stdout);
    }
}

static bool put_symbol(const struct command *command, const struct schema *schema, const char *name)
{
    const struct schema_service *service = schema_service(schema, name);
    const struct schema_message *message = schema_message(schema, name);
    const struct schema_enum *enumeration = schema_enum(schema, name);
    const struct schema_method *method = schema_method(schema, name);

    if (service != NULL && command->json) {
        put(command, rpc_shape_service(service));
    } else if (service != NULL) {
        schema_print_service(service, stdout);
    } else if (message != NULL && command->json) {
        put(command, rpc_shape_message(message));
    } else if (message != NULL) {
        schema_print_message(message, stdout);
    } else if (enumeration != NULL && command->json) {
        put(command, rpc_shape_enum(enumeration));
    } else if (enumeration != NULL) {
        schema_print_enum(enumeration, stdout);
    } else if (method != NULL) {
        put_method(command, method);
    }
    return service != NULL || message != NULL || enumeration != NULL || method != NULL;
}

static int describe(struct command *command, const char *name)
{
    struct schema *schema = NULL;
    int code = EXIT_DONE;

    if (!rpc_ask(command, name, &schema, &code)) {
        return code;
    }
    if (!put_symbol(command, schema, name)) {
        command_say(command, "the server described something else than %s", name);
        code = EXIT_ERROR;
    }
    schema_destroy(schema);
    return code;
}

static int describe_all(struct command *command)
{
    Fly__V1__ListServicesRequest request = FLY__V1__LIST_SERVICES_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure failure = {0};
    int code = EXIT_DONE;

    if (command_try(command, &rpc_reflection_list, &request.base, &reply, &failure) != FLY_OK) {
        code = rpc_fail(command, &failure);
    } else {
        const Fly__V1__ListServicesReply *said = (const Fly__V1__ListServicesReply *)reply.message;
        for (size_t i = 0; i < said->n_services && code == EXIT_DONE; i++) {
            if (i > 0 && !command->json) {
                (void)putchar('\n');
            }
            code = describe(command, said->services[i]);
        }
    }
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return code;
}

int command_rpc_describe(int argc, char **argv)
{
    const struct command_spec spec = {
        .name = "flyrpc rpc describe",
        .args_doc = "[SYMBOL]",
        .doc = "Shows a service, method, message or enum as a .proto file has it, with the rules "
               "of methods in words; without SYMBOL all services.\v"
               "SYMBOL: fly.v1.Edge, fly.v1.Edge/Launch, fly.v1.Vm",
        .words_max = 1,
    };
    struct command command;

    command_begin(&command, &spec, argc, argv);
    int code =
        command.word_count == 0 ? describe_all(&command) : describe(&command, command.words[0]);
    return command_end(&command, code);
}
