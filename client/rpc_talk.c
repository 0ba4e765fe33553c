/*
 * A call of flyrpc rpc that streams: JSON objects go out as they are read, messages are printed as
 * they come, on one thread that waits for both.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/lib/dynamic.h"
#include "client/lib/transcode.h"
#include "client/rpc.h"
#include "proto/base/check.h"

enum { SLICE_OF_TIME_MS = 200 /* so often an interrupt is looked for */, READ_SIZE = 64 * 1024 };

struct talk {
    const struct rpc_talk *what;
    struct rpc_stream *stream;
    int event; /* readable: the stream changed */
    char *input;
    size_t input_size;
    bool input_over;
    size_t sent; /* messages */
    ProtobufCMessage *pending;
    bool finished; /* nothing more goes out */
    bool ended;
    int code;
};

static void on_changed(void *user)
{
    const struct talk *t = user;
    const uint64_t one = 1;
    ssize_t written = write(t->event, &one, sizeof one);

    (void)written; /* full means that it is readable already */
}

static void stop(struct talk *t, int code)
{
    t->code = code;
    t->ended = true;
}

/* --- out --- */

static void refuse_input(struct talk *t, const struct fly_error *error)
{
    struct failure failure = {.status = FLY_INVALID_ARGUMENT, .connected = true};

    (void)snprintf(failure.message, sizeof failure.message, "message %zu: %s", t->sent + 1,
                   error->text);
    (void)command_fail(t->what->command, &failure);
    stop(t, EXIT_USAGE);
}

/* Makes one message of input[start..end). */
static void take_object(struct talk *t, size_t start, size_t end)
{
    struct fly_error error = {0};
    json_t *json = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    enum fly_status status = transcode_parse(t->input + start, end - start, &json, &error);

    if (status == FLY_OK) {
        status = transcode_encode(t->what->method->input, json, &bytes, &size, &error);
    }
    json_decref(json);
    if (status != FLY_OK) {
        refuse_input(t, &error);
        return;
    }
    t->pending = dynamic_message((struct fly_bytes){bytes, size});
    FLY_CHECK(t->pending != NULL);
    free(bytes);
    t->input_size -= end;
    memmove(t->input, t->input + end, t->input_size);
}

static void take_input(struct talk *t)
{
    struct fly_error error = {0};
    size_t start = 0;
    size_t end = 0;

    switch (transcode_next(t->input, t->input_size, &start, &end)) {
    case TRANSCODE_READY:
        take_object(t, start, end);
        return;
    case TRANSCODE_BAD:
        (void)fly_error_set(&error, FLY_INVALID_ARGUMENT, "a JSON object is needed");
        refuse_input(t, &error);
        return;
    case TRANSCODE_SHORT:
        break;
    }
    if (t->input_over && start == t->input_size) {
        rpc_stream_finish(t->stream);
        t->finished = true;
    } else if (t->input_over) {
        (void)fly_error_set(&error, FLY_INVALID_ARGUMENT, "the JSON is cut short");
        refuse_input(t, &error);
    } else if (t->input_size == TRANSCODE_TEXT_MAX) {
        (void)fly_error_set(&error, FLY_INVALID_ARGUMENT, "more than %d MiB",
                            TRANSCODE_TEXT_MAX >> 20);
        refuse_input(t, &error);
    }
}

/* Sends until nothing is left, or the server must read first. */
static void send_some(struct talk *t)
{
    while (!t->ended && !t->finished) {
        if (t->pending == NULL) {
            take_input(t);
        }
        if (t->pending == NULL) {
            return;
        }
        enum fly_status status = rpc_stream_send(t->stream, t->pending, 0);
        if (status == FLY_RESOURCE_EXHAUSTED) {
            return;
        }
        if (status == FLY_INVALID_ARGUMENT) {
            struct fly_error error;
            (void)fly_error_set(&error, status, "larger than the server takes");
            refuse_input(t, &error);
        }
        t->finished = status == FLY_UNAVAILABLE; /* the end tells why */
        t->sent++;
        dynamic_free(t->pending);
        t->pending = NULL;
    }
}

static void read_some(struct talk *t)
{
    size_t room = TRANSCODE_TEXT_MAX - t->input_size;
    ssize_t got = read(STDIN_FILENO, t->input + t->input_size, room < READ_SIZE ? room : READ_SIZE);

    if (got > 0) {
        t->input_size += (size_t)got;
    } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
        t->input_over = true;
    }
}

/* --- in --- */

static void take_end(struct talk *t, const struct rpc_reply *reply)
{
    struct command *command = t->what->command;
    int code = EXIT_DONE;

    if (t->what->verbose) {
        rpc_put_metadata("trailing", reply->trailer);
    }
    if (session_interrupted()) {
        code = EXIT_INTERRUPTED;
    } else if (reply->status != FLY_OK) {
        struct failure failure;
        failure_from_reply(&failure, reply);
        code = rpc_fail(command, &failure);
        failure_fini(&failure);
    } else if (reply->message != NULL &&
               !rpc_put_message(command, t->what->method, reply->message)) {
        code = EXIT_ERROR;
    }
    stop(t, code);
}

static void receive_some(struct talk *t)
{
    while (!t->ended) {
        struct rpc_reply reply;
        enum rpc_next next = rpc_stream_next(t->stream, 0, &reply);
        if (next != RPC_NEXT_NOTHING && t->what->verbose) {
            rpc_put_metadata("initial", reply.head);
        }
        if (next == RPC_NEXT_MESSAGE) {
            if (reply.gap > 0) {
                command_say(t->what->command, "%u messages were dropped here", reply.gap);
            }
            if (!rpc_put_message(t->what->command, t->what->method, reply.message)) {
                stop(t, EXIT_ERROR);
            }
        } else if (next == RPC_NEXT_END) {
            take_end(t, &reply);
        }
        rpc_reply_fini(&reply);
        if (next == RPC_NEXT_NOTHING) {
            return;
        }
    }
}

/* --- both --- */

static void wait_for(struct talk *t)
{
    struct pollfd fds[2] = {{.fd = t->event, .events = POLLIN},
                            {.fd = STDIN_FILENO, .events = POLLIN}};
    bool reads = !t->finished && !t->input_over && t->pending == NULL;
    uint64_t count;

    (void)poll(fds, reads ? 2 : 1, SLICE_OF_TIME_MS);
    if ((fds[0].revents & POLLIN) != 0) {
        ssize_t got = read(t->event, &count, sizeof count);
        (void)got; /* several changes are one */
    }
    if (reads && fds[1].revents != 0) {
        read_some(t);
    }
}

static void run(struct talk *t)
{
    bool cancelled = false;

    while (!t->ended) {
        receive_some(t);
        send_some(t);
        if (fflush(stdout) != 0) {
            return; /* command_end says it */
        }
        if (!t->ended) {
            wait_for(t);
        }
        if (session_interrupted() && !cancelled) {
            cancelled = true;
            rpc_stream_cancel(t->stream);
        }
    }
}

static enum fly_status open_stream(struct talk *t, const struct rpc_method *method)
{
    struct command *command = t->what->command;
    const struct rpc_call_options options =
        session_options(&command->session, command->timeout_given_ms);
    struct fly_error error = {0};
    struct failure failure = {0};
    enum fly_status status = session_connect(&command->session, command->timeout_ms, &failure);

    if (status == FLY_OK) {
        status = rpc_stream_open(&t->stream, command->session.channel, method, t->what->request,
                                 &options, &error);
        if (status != FLY_OK) {
            failure = (struct failure){.status = status, .connected = true};
            (void)fly_copy_string(failure.message, sizeof failure.message, error.text);
        }
    }
    if (status != FLY_OK) {
        t->code = rpc_fail(command, &failure);
    }
    failure_fini(&failure);
    return status;
}

static void load_input(struct talk *t)
{
    const char *text = t->what->text;

    t->finished = t->what->request != NULL;
    if (t->finished) {
        return;
    }
    t->input = malloc(TRANSCODE_TEXT_MAX);
    FLY_CHECK(t->input != NULL);
    if (text != NULL) {
        t->input_size = strlen(text) < TRANSCODE_TEXT_MAX ? strlen(text) : TRANSCODE_TEXT_MAX;
        memcpy(t->input, text, t->input_size);
        t->input_over = true;
    }
}

int rpc_talk(const struct rpc_talk *what)
{
    const struct rpc_method method = dynamic_method(what->method);
    struct talk t = {.what = what, .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

    FLY_CHECK(t.event >= 0);
    load_input(&t);
    if (open_stream(&t, &method) == FLY_OK) {
        rpc_stream_watch(t.stream, on_changed, &t);
        run(&t);
        rpc_stream_close(t.stream);
    }
    dynamic_free(t.pending);
    free(t.input);
    (void)close(t.event);
    return t.code;
}
