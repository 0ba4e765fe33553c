/*
 * Tests of `flyrpc rpc` against a server that is no node: the service t.Things of
 * tests/vectors/transcode, all four kinds of calls, with no generated type on either side.
 */
#include "tests/unit/flyrpc_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "client/lib/dynamic.h"
#include "client/lib/transcode.h"
#include "proto/base/check.h"
#include "proto/rpc/builtin.h"
#include "proto/rpc/server.h"
#include "proto/wire/metadata.h"
#include "proto/wire/trace.h"

enum { METHODS = 4 };

static uint8_t desc[1 << 16];
static struct schema *schema;
static struct rpc_server *server;
static struct rpc_reflection *reflection;
static struct rpc_service services[3];
static const char *url;

/* --- the server: JSON in, JSON out, on workers --- */

static json_t *json_of(const char *type, const ProtobufCMessage *message)
{
    struct fly_error error;
    json_t *json = NULL;
    size_t size = 0;
    uint8_t *bytes = dynamic_bytes(message, &size);

    FLY_CHECK(transcode_decode(schema_message(schema, type), (struct fly_bytes){bytes, size}, &json,
                               &error) == FLY_OK);
    free(bytes);
    return json;
}

/* Consumes the JSON. */
static ProtobufCMessage *message_of(const char *type, json_t *json)
{
    struct fly_error error;
    uint8_t *bytes = NULL;
    size_t size = 0;

    FLY_CHECK(transcode_encode(schema_message(schema, type), json, &bytes, &size, &error) ==
              FLY_OK);
    json_decref(json);
    ProtobufCMessage *message = dynamic_message((struct fly_bytes){bytes, size});
    FLY_CHECK(message != NULL);
    free(bytes);
    return message;
}

static void reply(struct rpc_call *call, const char *type, json_t *json)
{
    ProtobufCMessage *message = message_of(type, json);

    rpc_call_reply(call, message);
    dynamic_free(message);
}

static void send_one(struct rpc_call *call, const char *type, json_t *json)
{
    ProtobufCMessage *message = message_of(type, json);

    (void)rpc_call_send_wait(call, message, -1);
    dynamic_free(message);
}

/* The size says with which status to fail; the metadata comes back before and behind. */
static void get(struct rpc_call *call)
{
    json_t *leaf = json_of("t.Leaf", rpc_call_request(call));
    json_int_t size = json_integer_value(json_object_get(leaf, "size"));
    char trace[TRACE_TEXT_SIZE];

    (void)rpc_call_send_head(call, rpc_call_metadata(call));
    (void)rpc_call_set_trailer(call, rpc_call_metadata(call));
    if (size != 0) {
        rpc_call_fail(call, (enum fly_status)size, "as you \x1b[2J wished",
                      (struct fly_bytes){.size = 0});
        json_decref(leaf);
        return;
    }
    trace_format(rpc_call_trace(call), trace);
    reply(call, "t.All", json_pack("{s:o, s:s}", "leaf", leaf, "aString", trace));
}

/* Counts what came. "stop" ends it early. */
static void put(struct rpc_call *call)
{
    json_int_t count = 0;

    for (;;) {
        struct rpc_reply message;
        enum rpc_next next = rpc_call_next(call, -1, &message);
        json_t *all = next == RPC_NEXT_MESSAGE ? json_of("t.All", message.message) : NULL;
        const char *text = json_string_value(json_object_get(all, "aString"));
        bool stop = text != NULL && strcmp(text, "stop") == 0;
        bool good = next == RPC_NEXT_END && message.status == FLY_OK;
        rpc_reply_fini(&message);
        json_decref(all);
        if (stop) {
            rpc_call_fail(call, FLY_ABORTED, "stopped", (struct fly_bytes){.size = 0});
            return;
        }
        if (next == RPC_NEXT_END) {
            if (good) {
                reply(call, "t.Leaf", json_pack("{s:I}", "size", count));
            } else {
                rpc_call_fail(call, FLY_CANCELLED, "gave up", (struct fly_bytes){.size = 0});
            }
            return;
        }
        count++;
    }
}

static void list(struct rpc_call *call)
{
    json_t *leaf = json_of("t.Leaf", rpc_call_request(call));
    json_int_t size = json_integer_value(json_object_get(leaf, "size"));

    json_decref(leaf);
    for (json_int_t i = 1; i <= size; i++) {
        send_one(call, "t.All", json_pack("{s:I}", "anInt32", i));
    }
    rpc_call_reply(call, NULL);
}

static void talk(struct rpc_call *call)
{
    for (;;) {
        struct rpc_reply message;
        enum rpc_next next = rpc_call_next(call, -1, &message);
        if (next == RPC_NEXT_MESSAGE) {
            (void)rpc_call_send_wait(call, message.message, -1);
        }
        rpc_reply_fini(&message);
        if (next == RPC_NEXT_END) {
            rpc_call_reply(call, NULL);
            return;
        }
    }
}

static void handle(const struct rpc_service *service, size_t index, struct rpc_call *call)
{
    static void (*const handlers[METHODS])(struct rpc_call *) = {get, put, list, talk};

    (void)service;
    handlers[index](call);
}

static int set_up(void **state)
{
    static const char *const names[METHODS] = {"Get", "Put", "List", "Talk"};
    static struct rpc_method methods[METHODS];
    static const struct rpc_method *pointers[METHODS];
    static const char *const urls[] = {"tcp://127.0.0.1:0"};
    struct fly_error error = {0};
    char name[64];

    (void)state;
    FILE *file = fopen(FLY_VECTORS "/transcode/all.desc", "rb");
    assert_non_null(file);
    struct fly_bytes set = {desc, fread(desc, 1, sizeof desc, file)};
    (void)fclose(file);
    assert_int_equal(schema_create(&schema, set, &error), FLY_OK);
    for (size_t i = 0; i < METHODS; i++) {
        (void)snprintf(name, sizeof name, "t.Things/%s", names[i]);
        methods[i] = dynamic_method(schema_method(schema, name));
        pointers[i] = &methods[i];
    }
    services[0] = (struct rpc_service){.name = "t.Things",
                                       .methods = pointers,
                                       .method_count = METHODS,
                                       .handle = handle,
                                       .descriptor = set};
    services[1] = rpc_builtin_metrics();
    assert_int_equal(rpc_reflection_create(&reflection, services, 2, &error), FLY_OK);
    services[2] = rpc_builtin_reflection(reflection);
    const struct rpc_server_config config = {
        .urls = urls, .url_count = 1, .services = services, .service_count = 3, .workers = 4};
    if (rpc_server_create(&server, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    url = rpc_server_url(server, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rpc_server_destroy(server);
    rpc_reflection_destroy(reflection);
    schema_destroy(schema);
    return 0;
}

static void check(const char *arguments, int code, const char *wanted)
{
    char output[OUTPUT_SIZE];
    int got = flyrpc(url, arguments, output);

    if (got != code || strcmp(output, wanted) != 0) {
        fail_msg("%s: %d, %s\nexpected %d, %s", arguments, got, output, code, wanted);
    }
}

static void test_list_and_describe(void **state)
{
    (void)state;
    check("flyrpc rpc list", 0, "fly.v1.Metrics\nfly.v1.Reflection\nt.Things\n");
    check("flyrpc rpc list t.Things", 0,
          "t.Things/Get\nt.Things/Put\nt.Things/List\nt.Things/Talk\n");
    check("flyrpc rpc list t.Leaf", 1, "flyrpc rpc list: t.Leaf is not a service\n");
    check("flyrpc rpc describe t.Things.Put | head -n 1", 0,
          "rpc t.Things/Put(stream t.All) returns (t.Leaf);\n");
}

static void test_unary(void **state)
{
    (void)state;
    check("flyrpc rpc call t.Things/Get \"{\\\"name\\\":\\\"x\\\"}\" "
          "--trace=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
          0,
          "{\n"
          "  \"aString\": \"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\",\n"
          "  \"leaf\": {\n"
          "    \"name\": \"x\"\n"
          "  }\n"
          "}\n");
    check(
        "echo \"{ \\\"name\\\" : null }\" | TRACEPARENT=what flyrpc rpc call t.Things.Get - --json "
        "| cut -c1-15",
        0, "{\"aString\":\"00-\n");
    check("FLYRPC_TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 "
          "flyrpc rpc call t.Things/Get --json",
          0,
          "{\"aString\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\","
          "\"leaf\":{}}\n");
}

static void test_failures(void **state)
{
    (void)state;
    check("flyrpc rpc call t.Things/Get \"{\\\"size\\\":9}\"", 1,
          "flyrpc rpc call: FAILED_PRECONDITION: as you ?[2J wished\n");
    check("flyrpc rpc call t.Things/Get \"{\\\"size\\\":14}\"", 75,
          "flyrpc rpc call: UNAVAILABLE: as you ?[2J wished\n");
    check("flyrpc rpc call t.Things/Get \"{\\\"size\\\":\\\"many\\\"}\"", 64,
          "flyrpc rpc call: size: not a whole number, or past 64 bits\n");
    check("flyrpc rpc call t.Things", 1, "flyrpc rpc call: t.Things is not a method\n");
}

static void test_metadata(void **state)
{
    (void)state;
    check("flyrpc rpc call t.Things/Get --json -v --metadata note:hi --metadata \"raw-bin: _w\" "
          "| grep -v aString; flyrpc rpc call t.Things/Get --metadata raw-bin:%",
          64,
          "initial  note: hi\n"
          "initial  raw-bin: /w==\n"
          "trailing  note: hi\n"
          "trailing  raw-bin: /w==\n"
          "flyrpc rpc call: --metadata: the value of raw-bin is not base64\n"
          "Try 'flyrpc rpc call --help'.\n");
}

static void test_server_streams(void **state)
{
    (void)state;
    check("flyrpc rpc call t.Things/List --json \"{\\\"size\\\":3}\"", 0,
          "{\"anInt32\":1}\n{\"anInt32\":2}\n{\"anInt32\":3}\n");
    check("flyrpc rpc call t.Things/List \"{}\"", 0, "");
    /* more than any window */
    check("flyrpc rpc call t.Things/List --json \"{\\\"size\\\":20000}\" | tail -n 1", 0,
          "{\"anInt32\":20000}\n");
}

static void test_client_streams(void **state)
{
    (void)state;
    check("printf \"{}{}\\\\n{}\" | flyrpc rpc call t.Things/Put --json", 0, "{\"size\":3}\n");
    check("flyrpc rpc call t.Things/Put --json </dev/null", 0, "{}\n");
    check("flyrpc rpc call t.Things/Put --json \"{} {}\"", 0, "{\"size\":2}\n");
    /* more than any window */
    check("yes \"{\\\"aString\\\": \\\"0123456789012345678901234567890123456789\\\"}\" | "
          "head -n 20000 | flyrpc rpc call t.Things/Put --json",
          0, "{\"size\":20000}\n");
    check("printf \"{} {\" | flyrpc rpc call t.Things/Put", 64,
          "flyrpc rpc call: message 2: the JSON is cut short\n");
    check("printf \"{} []\" | flyrpc rpc call t.Things/Put", 64,
          "flyrpc rpc call: message 2: a JSON object is needed\n");
    check("printf \"{} {\\\"leaf\\\":{\\\"nam\\\":1}}\" | flyrpc rpc call t.Things/Put", 64,
          "flyrpc rpc call: message 2: leaf.nam: t.Leaf has no such field; "
          "did you mean 'name'?\n");
}

/* The server need not wait for the end of what is said. */
static void test_ended_early(void **state)
{
    (void)state;
    check("d=$(mktemp -d); mkfifo $d/p; exec 3<>$d/p; echo \"{\\\"aString\\\":\\\"stop\\\"}\" >&3; "
          "flyrpc rpc call t.Things/Put <&3; code=$?; rm -r $d; exit $code",
          75, "flyrpc rpc call: ABORTED: stopped\n");
}

static void test_both_stream(void **state)
{
    (void)state;
    check("printf \"{\\\"size\\\":1} {\\\"size\\\":2}\" | flyrpc rpc call t.Things/Talk --json", 0,
          "{\"size\":1}\n{\"size\":2}\n");
    check(
        "yes \"{\\\"name\\\": \\\"0123456789012345678901234567890123456789\\\"}\" | head -n 20000 "
        "| flyrpc rpc call t.Things/Talk --json | wc -l",
        0, "20000\n");
}

/* The answer to the first comes before the second is said. */
static void test_ping_pong(void **state)
{
    (void)state;
    check("d=$(mktemp -d); mkfifo $d/p; "
          "flyrpc rpc call t.Things/Talk --json <$d/p >$d/out & "
          "exec 3>$d/p; echo \"{\\\"size\\\":1}\" >&3; "
          "until grep -q 1 $d/out; do sleep 0.01; done; "
          "echo \"{\\\"size\\\":2}\" >&3; exec 3>&-; wait $!; echo $?; cat $d/out; rm -r $d",
          0, "0\n{\"size\":1}\n{\"size\":2}\n");
}

static void test_metrics(void **state)
{
    (void)state;
    check("flyrpc rpc call t.Things/Get >/dev/null; flyrpc rpc metrics | "
          "grep -c \"^flyrpc_server_started_total{method=.t.Things/Get.}\"",
          0, "1\n");
    check("flyrpc rpc health", 1, "flyrpc rpc health: UNIMPLEMENTED: no such method\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_and_describe), cmocka_unit_test(test_unary),
        cmocka_unit_test(test_failures),          cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_server_streams),    cmocka_unit_test(test_client_streams),
        cmocka_unit_test(test_ended_early),       cmocka_unit_test(test_both_stream),
        cmocka_unit_test(test_ping_pong),         cmocka_unit_test(test_metrics),
    };

    return cmocka_run_group_tests_name("client_rpc", tests, set_up, tear_down);
}
