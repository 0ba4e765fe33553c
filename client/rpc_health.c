/* flyrpc rpc health - whether a server, or one service of it, serves; once, or at each change. */
#include <stdio.h>

#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "client/rpc.h"
#include "fly/v1/health.rpc.h"
#include "proto/base/check.h"

enum { KEY_WATCH = 1, SLICE_OF_TIME_MS = 200 };

typedef Fly__V1__HealthCheckResponse__ServingStatus Status;

static const struct argp_option options[] = {
    {"watch", KEY_WATCH, NULL, 0, "Go on: print each change", 0},
    {0},
};

static void take(int key, const char *value, void *user)
{
    (void)key;
    (void)value;
    *(bool *)user = true;
}

static void put_status(const struct command *command, const char *service, Status status)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
        &fly__v1__health_check_response__serving_status__descriptor, (int)status);
    const char *name = value != NULL ? value->name : "UNKNOWN";

    if (!command->json) {
        (void)puts(name);
        return;
    }
    json_t *object = json_object();
    FLY_CHECK(json_object_set_new(object, "service", shape_text(service)) == 0);
    FLY_CHECK(json_object_set_new(object, "status", json_string(name)) == 0);
    command_put_json(object);
}

static int check(struct command *command, const Fly__V1__HealthCheckRequest *request)
{
    struct rpc_reply reply = {0};
    struct failure failure = {0};
    int code = EXIT_DONE;

    if (command_try(command, &rpc_health_check, &request->base, &reply, &failure) != FLY_OK) {
        code = rpc_fail(command, &failure);
    } else {
        const Fly__V1__HealthCheckResponse *said =
            (const Fly__V1__HealthCheckResponse *)reply.message;
        put_status(command, request->service, said->status);
        code = said->status == FLY__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING ? EXIT_DONE
                                                                                       : EXIT_ERROR;
    }
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return code;
}

/* Until it ends, which is a failure, or somebody interrupts. */
static int follow(struct command *command, const char *service, struct rpc_stream *stream)
{
    for (;;) {
        struct rpc_reply reply;
        enum rpc_next next = rpc_stream_next(stream, SLICE_OF_TIME_MS, &reply);
        struct failure failure = {0};
        if (next == RPC_NEXT_MESSAGE) {
            put_status(command, service,
                       ((const Fly__V1__HealthCheckResponse *)reply.message)->status);
            (void)fflush(stdout);
        } else if (next == RPC_NEXT_END) {
            failure_from_reply(&failure, &reply);
        }
        rpc_reply_fini(&reply);
        if (session_interrupted()) {
            failure_fini(&failure);
            return EXIT_INTERRUPTED;
        }
        if (next == RPC_NEXT_END) {
            if (failure.status == FLY_OK) {
                failure.status = FLY_UNAVAILABLE;
                (void)fly_copy_string(failure.message, sizeof failure.message,
                                      "the server ended the stream");
            }
            int code = rpc_fail(command, &failure);
            failure_fini(&failure);
            return code;
        }
    }
}

static int watch(struct command *command, const Fly__V1__HealthCheckRequest *request)
{
    const struct rpc_call_options options_of =
        session_options(&command->session, command->timeout_given_ms);
    struct failure failure = {0};
    struct fly_error error = {0};
    struct rpc_stream *stream = NULL;
    int code = EXIT_DONE;
    enum fly_status status = session_connect(&command->session, command->timeout_ms, &failure);

    if (status == FLY_OK) {
        status = rpc_stream_open(&stream, command->session.channel, &rpc_health_watch,
                                 &request->base, &options_of, &error);
        if (status != FLY_OK) {
            failure = (struct failure){.status = status, .connected = true};
            (void)fly_copy_string(failure.message, sizeof failure.message, error.text);
        }
    }
    if (status != FLY_OK) {
        code = rpc_fail(command, &failure);
    } else {
        code = follow(command, request->service, stream);
        rpc_stream_close(stream);
    }
    failure_fini(&failure);
    return code;
}

int command_rpc_health(int argc, char **argv)
{
    bool watching = false;
    const struct command_spec spec = {
        .name = "flyrpc rpc health",
        .args_doc = "[SERVICE]",
        .doc = "Says whether a server, or one service of it, serves: 0 if so.\v"
               "Needs no token. With --watch it goes on until it is interrupted (130) or the "
               "server is gone.",
        .words_max = 1,
        .options = options,
        .take = take,
        .user = &watching,
    };
    Fly__V1__HealthCheckRequest request = FLY__V1__HEALTH_CHECK_REQUEST__INIT;
    struct command command;

    command_begin(&command, &spec, argc, argv);
    request.service = (char *)(uintptr_t)(command.word_count > 0 ? command.words[0] : "");
    int code = watching ? watch(&command, &request) : check(&command, &request);
    return command_end(&command, code);
}
