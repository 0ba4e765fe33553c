/*
 * flyrpc rpc call - one call of any method, with JSON in and out (as grpcurl).
 *
 * Once, never again by itself: what may be called twice is the person's to know.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/lib/dynamic.h"
#include "client/lib/text.h"
#include "client/lib/transcode.h"
#include "client/rpc.h"
#include "proto/base/check.h"
#include "proto/wire/metadata.h"

enum { KEY_METADATA = 1, KEY_VERBOSE = 'v', METADATA_TEXT_MAX = 4096 };

static const struct argp_option options[] = {
    {"metadata", KEY_METADATA, "KEY:VALUE", 0,
     "Send this along; repeatable. The value of a key that ends in -bin is base64", 0},
    {"verbose", KEY_VERBOSE, NULL, 0, "Show initial and trailing metadata on stderr", 0},
    {0},
};

struct input {
    bool verbose;
    struct fly_writer metadata;
};

static void take_metadata(struct input *input, const char *value)
{
    const char *colon = strchr(value, ':');
    char key[METADATA_KEY_MAX + 1];
    struct fly_error error = {0};
    enum fly_status status = FLY_INVALID_ARGUMENT;

    if (colon == NULL || (size_t)(colon - value) >= sizeof key) {
        command_usage("--metadata: '%.60s' is not KEY:VALUE, or the key is too long", value);
    }
    memcpy(key, value, (size_t)(colon - value));
    key[colon - value] = '\0';
    colon += strspn(colon + 1, " ");
    size_t size = strlen(key);
    if (size > 4 && strcmp(key + size - 4, "-bin") == 0) {
        uint8_t *bytes = NULL;
        size_t bytes_size = 0;
        if (!transcode_base64_decode(colon + 1, strlen(colon + 1), &bytes, &bytes_size)) {
            command_usage("--metadata: the value of %s is not base64", key);
        }
        status = metadata_put(&input->metadata, key, (struct fly_bytes){bytes, bytes_size}, &error);
        free(bytes);
    } else {
        status = metadata_put_text(&input->metadata, key, colon + 1, &error);
    }
    if (status != FLY_OK) {
        command_usage("--metadata: %s", error.text);
    }
}

static void take(int key, const char *value, void *user)
{
    struct input *input = user;

    if (key == KEY_VERBOSE) {
        input->verbose = true;
    } else {
        take_metadata(input, value);
    }
}

void rpc_put_metadata(const char *what, struct fly_bytes entries)
{
    struct metadata_entry entry;

    while (metadata_next(&entries, &entry)) {
        char key[METADATA_KEY_MAX + 1];
        char value[METADATA_TEXT_MAX];
        char clean[METADATA_TEXT_MAX];
        (void)snprintf(key, sizeof key, "%.*s", (int)entry.key.size, (const char *)entry.key.data);
        size_t size = strlen(key);
        if (size > 4 && strcmp(key + size - 4, "-bin") == 0) {
            char *text = transcode_base64_encode(entry.value.data, entry.value.size);
            (void)snprintf(value, sizeof value, "%s", text != NULL ? text : "");
            free(text);
        } else {
            (void)snprintf(value, sizeof value, "%.*s", (int)entry.value.size,
                           (const char *)entry.value.data);
        }
        text_clean(value, clean, sizeof clean);
        (void)fprintf(stderr, "%s  %s: %s\n", what, key, clean);
    }
}

bool rpc_put_message(struct command *command, const struct schema_method *method,
                     const ProtobufCMessage *message)
{
    struct fly_error error;
    json_t *json = NULL;
    size_t size = 0;
    uint8_t *bytes = dynamic_bytes(message, &size);
    enum fly_status status =
        transcode_decode(method->output, (struct fly_bytes){bytes, size}, &json, &error);

    free(bytes);
    if (status != FLY_OK) {
        command_say(command, "the answer is not what the server says it is: %s", error.text);
        return false;
    }
    transcode_print(json, command->json, stdout);
    (void)putchar('\n');
    json_decref(json);
    return true;
}

/* All of stdin; to be freed. NULL: more than TRANSCODE_TEXT_MAX, or it cannot be read. */
static char *read_stdin(size_t *size)
{
    char *text = malloc(TRANSCODE_TEXT_MAX + 1);

    FLY_CHECK(text != NULL);
    *size = fread(text, 1, TRANSCODE_TEXT_MAX + 1, stdin);
    if (*size > TRANSCODE_TEXT_MAX || ferror(stdin) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* The request from its JSON; NULL after it was said what is wrong. */
static ProtobufCMessage *make_request(const struct command *command,
                                      const struct schema_method *method, const char *text)
{
    bool all = text != NULL && strcmp(text, "-") == 0;
    size_t size = text == NULL ? 0 : strlen(text);
    char *read = all ? read_stdin(&size) : NULL;
    struct fly_error error = {0};
    json_t *json = NULL;
    uint8_t *bytes = NULL;
    ProtobufCMessage *message = NULL;

    if (all && read == NULL) {
        command_usage("stdin cannot be read, or holds more than %d MiB", TRANSCODE_TEXT_MAX >> 20);
    }
    enum fly_status status = transcode_parse(text == NULL ? "{}"
                                             : all        ? read
                                                          : text,
                                             text == NULL ? 2 : size, &json, &error);
    free(read);
    if (status == FLY_OK) {
        status = transcode_encode(method->input, json, &bytes, &size, &error);
    }
    json_decref(json);
    if (status != FLY_OK) {
        struct failure failure = {.status = status, .connected = true};
        (void)fly_copy_string(failure.message, sizeof failure.message, error.text);
        (void)command_fail(command, &failure);
        return NULL;
    }
    message = dynamic_message((struct fly_bytes){bytes, size});
    FLY_CHECK(message != NULL);
    free(bytes);
    return message;
}

/* A change whose answer was lost is neither done nor not done. */
static int fail_unary(struct command *command, const struct schema_method *method,
                      struct failure *failure)
{
    bool read_only = method->rule != NULL && method->rule->read_only;
    bool lost = failure->sent && failure->reason == 0 && !read_only &&
                (failure->status == FLY_DEADLINE_EXCEEDED || failure->status == FLY_UNAVAILABLE);
    int code = rpc_fail(command, failure);

    return lost && code != EXIT_INTERRUPTED ? EXIT_TRY_AGAIN : code;
}

static int call_unary(struct command *command, const struct schema_method *method,
                      const ProtobufCMessage *request, bool verbose)
{
    const struct rpc_method dynamic = dynamic_method(method);
    struct rpc_reply reply = {0};
    struct failure failure = {0};
    int code = EXIT_DONE;
    enum fly_status status =
        session_call(&command->session, &dynamic, request, command->timeout_ms, &reply, &failure);

    if (verbose) {
        rpc_put_metadata("initial", reply.head);
        rpc_put_metadata("trailing", reply.trailer);
    }
    if (status != FLY_OK) {
        code = fail_unary(command, method, &failure);
    } else if (!rpc_put_message(command, method, reply.message)) {
        code = EXIT_ERROR;
    }
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return code;
}

static int call(struct command *command, const struct schema_method *method, bool verbose)
{
    const char *text = command->word_count > 1 ? command->words[1] : NULL;
    bool from_stdin = text == NULL || strcmp(text, "-") == 0;
    ProtobufCMessage *request = NULL;
    int code = EXIT_USAGE;

    if (!method->client_streams) {
        request = make_request(command, method, text);
    }
    if (method->client_streams || request != NULL) {
        const struct rpc_talk talk = {.command = command,
                                      .method = method,
                                      .verbose = verbose,
                                      .request = request,
                                      .text = from_stdin ? NULL : text};
        code = method->client_streams || method->server_streams
                   ? rpc_talk(&talk)
                   : call_unary(command, method, request, verbose);
    }
    dynamic_free(request);
    return code;
}

int command_rpc_call(int argc, char **argv)
{
    static uint8_t metadata[FRAME_METADATA_MAX];
    struct input input = {.metadata = fly_writer_over(metadata, sizeof metadata)};
    const struct command_spec spec = {
        .name = "flyrpc rpc call",
        .args_doc = "METHOD [JSON|-]",
        .doc = "Calls a method with the fields of its request as JSON ({} without any), and prints "
               "what comes back.\v"
               "METHOD: fly.v1.Edge/Status. With - the JSON is read from stdin. Where the client "
               "streams, JSON objects are sent one behind another, from stdin if none is given; "
               "where the server streams, each message is printed as it comes, and --timeout "
               "bounds the whole stream. With --json each message is one line.",
        .words_min = 1,
        .words_max = 2,
        .options = options,
        .take = take,
        .user = &input,
    };
    struct schema *schema = NULL;
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    if (rpc_ask(&command, command.words[0], &schema, &code)) {
        const struct schema_method *method = schema_method(schema, command.words[0]);
        /* from here on: reflection wants none of it */
        command.session.metadata = (struct fly_bytes){metadata, input.metadata.size};
        if (method == NULL) {
            command_say(&command, "%s is not a method", command.words[0]);
            code = EXIT_ERROR;
        } else {
            code = call(&command, method, input.verbose);
        }
    }
    code = command_end(&command, code);
    schema_destroy(schema);
    return code;
}
