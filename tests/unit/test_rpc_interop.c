/*
 * rpc: the cases of gRPC's interoperability suite that make sense here, through generated stubs,
 * over every transport. The names and numbers are those of grpc/doc/interop-test-descriptions.md.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "interop.rpc.h"
#include "proto/base/check.h"
#include "proto/wire/metadata.h"

#define ECHO_INITIAL "x-grpc-test-echo-initial"
#define ECHO_TRAILING "x-grpc-test-echo-trailing-bin"

enum { LARGE_REQUEST = 271828, LARGE_REPLY = 314159, PAYLOAD_MAX = 512 * 1024 };

static uint8_t zeros[PAYLOAD_MAX];
static struct rpc_client *client;
static const struct fly_bytes nothing;

static Interop__Payload payload_of(size_t size)
{
    Interop__Payload payload = INTEROP__PAYLOAD__INIT;

    payload.body = (ProtobufCBinaryData){size, zeros};
    return payload;
}

/* ---- the server ---- */

static void echo_metadata(struct rpc_call *call)
{
    struct fly_bytes asked = rpc_call_metadata(call);
    struct fly_bytes value;
    uint8_t room[256];

    if (metadata_find(asked, ECHO_INITIAL, &value)) {
        struct fly_writer w = fly_writer_over(room, sizeof room);
        FLY_CHECK(metadata_put(&w, ECHO_INITIAL, value, NULL) == FLY_OK);
        FLY_CHECK(rpc_call_send_head(call, (struct fly_bytes){room, w.size}) == FLY_OK);
    }
    if (metadata_find(asked, ECHO_TRAILING, &value)) {
        struct fly_writer w = fly_writer_over(room, sizeof room);
        FLY_CHECK(metadata_put(&w, ECHO_TRAILING, value, NULL) == FLY_OK);
        FLY_CHECK(rpc_call_set_trailer(call, (struct fly_bytes){room, w.size}) == FLY_OK);
    }
}

/* The request says how the call is to end. */
static bool end_as_asked(struct rpc_call *call, const Interop__EchoStatus *status)
{
    bool asked = status != NULL && status->code != 0;

    if (asked) {
        rpc_call_fail(call, fly_status_from_wire(status->code), status->message, nothing);
    }
    return asked;
}

static void empty_call(void *user, struct rpc_call *call, const Interop__Empty *request)
{
    (void)user;
    interop_test_service_empty_call_reply(call, request);
}

static void unary_call(void *user, struct rpc_call *call, const Interop__SimpleRequest *request)
{
    Interop__SimpleResponse reply = INTEROP__SIMPLE_RESPONSE__INIT;
    Interop__Payload payload = payload_of(request->response_size);

    (void)user;
    echo_metadata(call);
    if (!end_as_asked(call, request->response_status)) {
        reply.payload = &payload;
        interop_test_service_unary_call_reply(call, &reply);
    }
}

static void streaming_input_call(void *user, struct rpc_call *call)
{
    Interop__StreamingInputCallResponse reply = INTEROP__STREAMING_INPUT_CALL_RESPONSE__INIT;
    const Interop__StreamingInputCallRequest *request = NULL;
    struct rpc_reply taken;

    (void)user;
    while (interop_test_service_streaming_input_call_next(call, -1, &taken, &request) ==
           RPC_NEXT_MESSAGE) {
        reply.aggregated_payload_size += (uint32_t)request->payload->body.len;
        rpc_reply_fini(&taken);
    }
    if (taken.status == FLY_OK) {
        interop_test_service_streaming_input_call_reply(call, &reply);
    } else {
        rpc_call_fail(call, taken.status, taken.text, nothing);
    }
    rpc_reply_fini(&taken);
}

/* False: the caller is gone. */
static bool send_asked(struct rpc_call *call, const Interop__StreamingOutputCallRequest *request)
{
    for (size_t i = 0; i < request->n_response_parameters; i++) {
        Interop__StreamingOutputCallResponse reply = INTEROP__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
        Interop__Payload payload = payload_of(request->response_parameters[i]->size);
        reply.payload = &payload;
        if (rpc_call_send_wait(call, &reply.base, -1) != FLY_OK) {
            return false;
        }
    }
    return true;
}

static void streaming_output_call(void *user, struct rpc_call *call,
                                  const Interop__StreamingOutputCallRequest *request)
{
    (void)user;
    echo_metadata(call);
    if (!send_asked(call, request)) {
        rpc_call_fail(call, FLY_CANCELLED, "the caller is gone", nothing);
    } else if (!end_as_asked(call, request->response_status)) {
        rpc_call_reply(call, NULL);
    }
}

static void full_duplex_call(void *user, struct rpc_call *call)
{
    const Interop__StreamingOutputCallRequest *request = NULL;
    struct rpc_reply taken;
    bool ended = false;

    (void)user;
    echo_metadata(call);
    while (!ended && interop_test_service_full_duplex_call_next(call, -1, &taken, &request) ==
                         RPC_NEXT_MESSAGE) {
        ended = !send_asked(call, request);
        if (ended) {
            rpc_call_fail(call, FLY_CANCELLED, "the caller is gone", nothing);
        } else {
            ended = end_as_asked(call, request->response_status);
        }
        rpc_reply_fini(&taken);
    }
    if (ended) {
        return;
    }
    if (taken.status == FLY_OK) {
        rpc_call_reply(call, NULL);
    } else {
        rpc_call_fail(call, taken.status, taken.text, nothing);
    }
    rpc_reply_fini(&taken);
}

/* ---- the cases ---- */

static void check_zeros(ProtobufCBinaryData body, size_t size)
{
    assert_int_equal(body.len, size);
    assert_true(size == 0 || memcmp(body.data, zeros, size) == 0);
}

static void empty_unary(void)
{
    Interop__Empty request = INTEROP__EMPTY__INIT;
    const Interop__Empty *out = NULL;
    struct rpc_reply reply;

    assert_int_equal(interop_test_service_empty_call_call(client, &request, NULL, &reply, &out),
                     FLY_OK);
    assert_non_null(out);
    rpc_reply_fini(&reply);
}

static enum fly_status unary(const struct rpc_call_options *options, Interop__EchoStatus *status,
                             struct rpc_reply *reply)
{
    Interop__SimpleRequest request = INTEROP__SIMPLE_REQUEST__INIT;
    Interop__Payload payload = payload_of(LARGE_REQUEST);
    const Interop__SimpleResponse *out = NULL;

    request.response_size = LARGE_REPLY;
    request.payload = &payload;
    request.response_status = status;
    enum fly_status ended =
        interop_test_service_unary_call_call(client, &request, options, reply, &out);
    if (ended == FLY_OK) {
        check_zeros(out->payload->body, LARGE_REPLY);
    }
    return ended;
}

static void large_unary(void)
{
    struct rpc_reply reply;

    assert_int_equal(unary(NULL, NULL, &reply), FLY_OK);
    rpc_reply_fini(&reply);
}

static struct rpc_stream *open_input(void)
{
    struct rpc_stream *stream = NULL;
    struct fly_error error = {.text = ""};

    if (interop_test_service_streaming_input_call_open(&stream, client, NULL, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return stream;
}

static struct rpc_stream *open_duplex(const struct rpc_call_options *options)
{
    struct rpc_stream *stream = NULL;
    struct fly_error error = {.text = ""};

    if (interop_test_service_full_duplex_call_open(&stream, client, options, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return stream;
}

/* One request that asks for a reply of `size` (none: SIZE_MAX) and this end. */
static enum fly_status send_duplex(struct rpc_stream *stream, size_t size, size_t payload_size,
                                   Interop__EchoStatus *status)
{
    Interop__StreamingOutputCallRequest request = INTEROP__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    Interop__ResponseParameters parameters = INTEROP__RESPONSE_PARAMETERS__INIT;
    Interop__ResponseParameters *list[] = {&parameters};
    Interop__Payload payload = payload_of(payload_size);

    parameters.size = (uint32_t)size;
    request.response_parameters = list;
    request.n_response_parameters = size != SIZE_MAX ? 1 : 0;
    request.payload = &payload;
    request.response_status = status;
    return interop_test_service_full_duplex_call_stream_send(stream, &request, -1);
}

static void expect_output(struct rpc_stream *stream, size_t size)
{
    const Interop__StreamingOutputCallResponse *out = NULL;
    struct rpc_reply reply;

    assert_int_equal(interop_test_service_full_duplex_call_stream_next(stream, -1, &reply, &out),
                     RPC_NEXT_MESSAGE);
    check_zeros(out->payload->body, size);
    rpc_reply_fini(&reply);
}

static void expect_end(struct rpc_stream *stream, enum fly_status status)
{
    struct rpc_reply reply;

    assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_END);
    if (reply.status != status) {
        fail_msg("%s: %s", fly_status_name(reply.status), reply.text);
    }
    rpc_reply_fini(&reply);
    rpc_stream_close(stream);
}

static void client_streaming(void)
{
    static const size_t sizes[] = {27182, 8, 1828, 45904};
    const Interop__StreamingInputCallResponse *out = NULL;
    struct rpc_stream *stream = open_input();
    struct rpc_reply reply;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(sizes); i++) {
        Interop__StreamingInputCallRequest request = INTEROP__STREAMING_INPUT_CALL_REQUEST__INIT;
        Interop__Payload payload = payload_of(sizes[i]);
        request.payload = &payload;
        assert_int_equal(
            interop_test_service_streaming_input_call_stream_send(stream, &request, -1), FLY_OK);
    }
    rpc_stream_finish(stream);
    assert_int_equal(
        interop_test_service_streaming_input_call_stream_next(stream, -1, &reply, &out),
        RPC_NEXT_END);
    assert_int_equal(reply.status, FLY_OK);
    assert_int_equal(out->aggregated_payload_size, 74922);
    rpc_reply_fini(&reply);
    rpc_stream_close(stream);
}

static void server_streaming(void)
{
    static const uint32_t sizes[] = {31415, 9, 2653, 58979};
    Interop__StreamingOutputCallRequest request = INTEROP__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    Interop__ResponseParameters parameters[FLY_ARRAY_COUNT(sizes)];
    Interop__ResponseParameters *list[FLY_ARRAY_COUNT(sizes)];
    struct rpc_stream *stream = NULL;
    struct fly_error error;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(sizes); i++) {
        interop__response_parameters__init(&parameters[i]);
        parameters[i].size = sizes[i];
        list[i] = &parameters[i];
    }
    request.n_response_parameters = FLY_ARRAY_COUNT(sizes);
    request.response_parameters = list;
    assert_int_equal(
        interop_test_service_streaming_output_call_open(&stream, client, &request, NULL, &error),
        FLY_OK);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(sizes); i++) {
        expect_output(stream, sizes[i]);
    }
    expect_end(stream, FLY_OK);
}

static void ping_pong(void)
{
    static const size_t replies[] = {31415, 9, 2653, 58979};
    static const size_t requests[] = {27182, 8, 1828, 45904};
    struct rpc_stream *stream = open_duplex(NULL);

    for (size_t i = 0; i < FLY_ARRAY_COUNT(replies); i++) {
        assert_int_equal(send_duplex(stream, replies[i], requests[i], NULL), FLY_OK);
        expect_output(stream, replies[i]);
    }
    rpc_stream_finish(stream);
    expect_end(stream, FLY_OK);
}

static void empty_stream(void)
{
    struct rpc_stream *stream = open_duplex(NULL);

    rpc_stream_finish(stream);
    expect_end(stream, FLY_OK);
}

static void cancel_after_begin(void)
{
    struct rpc_stream *stream = open_input();

    rpc_stream_cancel(stream);
    expect_end(stream, FLY_CANCELLED);
}

static void cancel_after_first_response(void)
{
    struct rpc_stream *stream = open_duplex(NULL);

    assert_int_equal(send_duplex(stream, 31415, 27182, NULL), FLY_OK);
    expect_output(stream, 31415);
    rpc_stream_cancel(stream);
    expect_end(stream, FLY_CANCELLED);
}

/* The server waits for more, the client for a reply. A millisecond may be over before the call. */
static void timeout_on_sleeping_server(void)
{
    struct rpc_call_options options = {.timeout_ms = 1};
    struct rpc_stream *stream = NULL;
    struct fly_error error;
    enum fly_status status =
        interop_test_service_full_duplex_call_open(&stream, client, &options, &error);

    if (status == FLY_OK) {
        (void)send_duplex(stream, SIZE_MAX, 27182, NULL);
        expect_end(stream, FLY_DEADLINE_EXCEEDED);
    } else {
        assert_int_equal(status, FLY_DEADLINE_EXCEEDED);
    }
}

static void check_echoed(const struct rpc_reply *reply)
{
    struct fly_bytes value;

    assert_true(metadata_find(reply->head, ECHO_INITIAL, &value));
    assert_int_equal(value.size, strlen("test_initial_metadata_value"));
    assert_memory_equal(value.data, "test_initial_metadata_value", value.size);
    assert_true(metadata_find(reply->trailer, ECHO_TRAILING, &value));
    assert_int_equal(value.size, 3);
    assert_memory_equal(value.data, "\xab\xab\xab", 3);
}

static void custom_metadata(void)
{
    static const uint8_t trailing[] = {0xab, 0xab, 0xab};
    struct fly_bytes bytes = {trailing, sizeof trailing};
    struct rpc_call_options options = {0};
    struct rpc_reply reply;
    uint8_t room[256];
    struct fly_writer w = fly_writer_over(room, sizeof room);

    assert_int_equal(metadata_put_text(&w, ECHO_INITIAL, "test_initial_metadata_value", NULL),
                     FLY_OK);
    assert_int_equal(metadata_put(&w, ECHO_TRAILING, bytes, NULL), FLY_OK);
    options.metadata = (struct fly_bytes){room, w.size};
    assert_int_equal(unary(&options, NULL, &reply), FLY_OK);
    check_echoed(&reply);
    rpc_reply_fini(&reply);

    struct rpc_stream *stream = open_duplex(&options);
    assert_int_equal(send_duplex(stream, LARGE_REPLY, LARGE_REQUEST, NULL), FLY_OK);
    expect_output(stream, LARGE_REPLY);
    rpc_stream_finish(stream);
    assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_END);
    assert_int_equal(reply.status, FLY_OK);
    check_echoed(&reply);
    rpc_reply_fini(&reply);
    rpc_stream_close(stream);
}

static void status_with(const char *text)
{
    Interop__EchoStatus status = INTEROP__ECHO_STATUS__INIT;
    struct rpc_reply reply;
    char words[200];

    (void)fly_copy_string(words, sizeof words, text);
    status.code = FLY_UNKNOWN;
    status.message = words;
    assert_int_equal(unary(NULL, &status, &reply), FLY_UNKNOWN);
    assert_string_equal(reply.text, text);
    rpc_reply_fini(&reply);

    struct rpc_stream *stream = open_duplex(NULL);
    assert_int_equal(send_duplex(stream, SIZE_MAX, 0, &status), FLY_OK);
    rpc_stream_finish(stream);
    assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_END);
    assert_int_equal(reply.status, FLY_UNKNOWN);
    assert_string_equal(reply.text, text);
    rpc_reply_fini(&reply);
    rpc_stream_close(stream);
}

static void status_code_and_message(void)
{
    status_with("test status message");
}

static void special_status_message(void)
{
    status_with("\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n");
}

static void unimplemented_method(void)
{
    Interop__Empty request = INTEROP__EMPTY__INIT;
    const Interop__Empty *out = NULL;
    struct rpc_reply reply;

    assert_int_equal(
        interop_test_service_unimplemented_call_call(client, &request, NULL, &reply, &out),
        FLY_UNIMPLEMENTED);
    assert_null(out);
    rpc_reply_fini(&reply);
}

static void unimplemented_service(void)
{
    Interop__Empty request = INTEROP__EMPTY__INIT;
    const Interop__Empty *out = NULL;
    struct rpc_reply reply;

    assert_int_equal(
        interop_unimplemented_service_unimplemented_call_call(client, &request, NULL, &reply, &out),
        FLY_UNIMPLEMENTED);
    assert_null(out);
    rpc_reply_fini(&reply);
}

/* ---- over each transport ---- */

static char *read_vector(const char *name)
{
    char path[512];

    (void)snprintf(path, sizeof path, "%s/tls/%s", FLY_VECTORS, name);
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 16384);
    assert_non_null(file);
    assert_true(fread(text, 1, 16383, file) > 0);
    (void)fclose(file);
    return text;
}

static void run_cases(const char *url)
{
    static const struct interop_test_service_handlers handlers = {
        .empty_call = empty_call,
        .unary_call = unary_call,
        .streaming_input_call = streaming_input_call,
        .streaming_output_call = streaming_output_call,
        .full_duplex_call = full_duplex_call,
    };
    static const struct {
        const char *what;
        void (*run)(void);
    } cases[] = {
        {"empty_unary", empty_unary},
        {"large_unary", large_unary},
        {"client_streaming", client_streaming},
        {"server_streaming", server_streaming},
        {"ping_pong", ping_pong},
        {"empty_stream", empty_stream},
        {"cancel_after_begin", cancel_after_begin},
        {"cancel_after_first_response", cancel_after_first_response},
        {"timeout_on_sleeping_server", timeout_on_sleeping_server},
        {"custom_metadata", custom_metadata},
        {"status_code_and_message", status_code_and_message},
        {"special_status_message", special_status_message},
        {"unimplemented_method", unimplemented_method},
        {"unimplemented_service", unimplemented_service},
    };
    char *ca = read_vector("ca.pem");
    char *cert = read_vector("node.pem");
    char *key = read_vector("node-key.pem");
    struct rpc_tls ours = {.cert_pem = cert, .key_pem = key};
    struct rpc_tls theirs = {.ca_pem = ca, .server_name = "flylight", .verify_peer = true};
    const struct rpc_service service = interop_test_service_serve(&handlers, NULL);
    struct rpc_server_config config = {.urls = &url,
                                       .url_count = 1,
                                       .tls = &ours,
                                       .services = &service,
                                       .service_count = 1,
                                       .workers = 2};
    struct rpc_server *server = NULL;
    struct fly_error error = {.text = ""};

    if (rpc_server_create(&server, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    struct rpc_client_config settings = {.url = rpc_server_url(server, 0),
                                         .channel = {.tls = &theirs}};
    if (rpc_client_create(&client, &settings, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
            print_message("%s\n", cases[i].what);
            cases[i].run();
        }
    }
    rpc_client_close(client);
    rpc_server_destroy(server);
    free(ca);
    free(cert);
    free(key);
}

static void test_tcp(void **state)
{
    (void)state;
    run_cases("tcp://127.0.0.1:0");
}

static void test_tls(void **state)
{
    (void)state;
    run_cases("tls+tcp://127.0.0.1:0");
}

static void test_ipc(void **state)
{
    char url[64];

    (void)state;
    (void)snprintf(url, sizeof url, "ipc:///tmp/flylight-interop-%d", (int)getpid());
    run_cases(url);
}

static void test_inproc(void **state)
{
    (void)state;
    run_cases("inproc://interop");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_ipc),
        cmocka_unit_test(test_inproc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
