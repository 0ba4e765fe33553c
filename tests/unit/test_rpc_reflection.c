/* reflection and metrics as services: what a server tells of itself, asked over a connection. */
#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "fly/v1/metrics.rpc.h"
#include "fly/v1/options.pb-c.h"
#include "fly/v1/reflection.rpc.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "proto/rpc/metrics.h"
#include "tests/unit/builtin_fixture.h"

enum { SERVICES = 4 };

struct world {
    struct rpc_health_board *board;
    struct rpc_reflection *reflection;
    struct rpc_server *server;
    struct rpc_channel *channel;
};

static void world_open(struct world *w, uint32_t workers)
{
    static const struct rpc_edge_handlers none;
    struct rpc_service services[SERVICES];
    struct fly_error error = {.text = ""};

    assert_int_equal(rpc_health_board_create(&w->board, &error), FLY_OK);
    services[0] = rpc_builtin_metrics();
    services[1] = rpc_builtin_health(w->board);
    services[2] = rpc_edge_serve(&none, NULL);
    assert_int_equal(rpc_reflection_create(&w->reflection, services, 3, &error), FLY_OK);
    services[3] = rpc_builtin_reflection(w->reflection);
    w->server = serve_on(services, SERVICES, workers);
    w->channel = channel_to(w->server);
}

static void world_close(struct world *w)
{
    rpc_channel_close(w->channel);
    rpc_server_destroy(w->server);
    rpc_reflection_destroy(w->reflection);
    rpc_health_board_destroy(w->board);
}

static void test_list(void **state)
{
    static const char *const expected[] = {"fly.v1.Edge", "fly.v1.Health", "fly.v1.Metrics",
                                           "fly.v1.Reflection"};
    struct world w;
    Fly__V1__ListServicesRequest request = FLY__V1__LIST_SERVICES_REQUEST__INIT;
    struct rpc_reply reply;

    (void)state;
    for (uint32_t workers = 0; workers < 2; workers++) {
        world_open(&w, workers);
        assert_int_equal(
            rpc_channel_call(w.channel, &rpc_reflection_list, &request.base, NULL, &reply), FLY_OK);
        const Fly__V1__ListServicesReply *list = (const void *)reply.message;
        assert_int_equal(list->n_services, FLY_ARRAY_COUNT(expected));
        for (size_t i = 0; i < list->n_services; i++) {
            assert_string_equal(list->services[i], expected[i]);
        }
        rpc_reply_fini(&reply);
        world_close(&w);
    }
}

/* NULL: NOT_FOUND. The caller frees it. */
static Google__Protobuf__FileDescriptorSet *describe(const struct world *w, const char *symbol)
{
    Fly__V1__DescribeRequest request = FLY__V1__DESCRIBE_REQUEST__INIT;
    Google__Protobuf__FileDescriptorSet *set = NULL;
    struct rpc_reply reply;

    request.symbol = (char *)(uintptr_t)symbol;
    if (rpc_channel_call(w->channel, &rpc_reflection_describe, &request.base, NULL, &reply) ==
        FLY_OK) {
        const Fly__V1__DescribeReply *got = (const void *)reply.message;
        set = google__protobuf__file_descriptor_set__unpack(NULL, got->file_descriptor_set.len,
                                                            got->file_descriptor_set.data);
        assert_non_null(set);
    } else {
        assert_int_equal(reply.status, FLY_NOT_FOUND);
    }
    rpc_reply_fini(&reply);
    return set;
}

/* Every import stands before the file that imports it, so a reader can load them in order. */
static void assert_complete(const Google__Protobuf__FileDescriptorSet *set)
{
    for (size_t i = 0; i < set->n_file; i++) {
        for (size_t k = 0; k < set->file[i]->n_dependency; k++) {
            bool found = false;

            for (size_t j = 0; j < i; j++) {
                found = found || strcmp(set->file[j]->name, set->file[i]->dependency[k]) == 0;
            }
            assert_true(found);
        }
    }
}

static void test_describe(void **state)
{
    static const struct {
        const char *symbol;
        const char *file; /* the last of the set; NULL: NOT_FOUND */
        size_t files;     /* 0: do not look */
    } cases[] = {
        {"fly.v1.Edge", "fly/v1/edge.proto", 0},
        {"fly.v1.Edge/Launch", "fly/v1/edge.proto", 0},
        {"fly.v1.Edge.Launch", "fly/v1/edge.proto", 0},
        {"fly.v1.LaunchRequest", "fly/v1/edge.proto", 0},
        {"fly.v1.Health/Watch", "fly/v1/health.proto", 3},
        {"fly.v1.HealthCheckResponse", "fly/v1/health.proto", 3},
        {"fly.v1.HealthCheckResponse.ServingStatus", "fly/v1/health.proto", 3},
        {"fly.v1.Reflection", "fly/v1/reflection.proto", 3},
        {"fly.v1.DescribeReply", "fly/v1/reflection.proto", 3},
        {"fly.v1.Metrics/Read", "fly/v1/metrics.proto", 3},
        {"fly.v1.MethodRule", "fly/v1/options.proto", 2},
        {"fly.v1.SlowReader", "fly/v1/options.proto", 2},
        {"google.protobuf.FileDescriptorSet", "google/protobuf/descriptor.proto", 1},
        {"google.protobuf.DescriptorProto.ExtensionRange", "google/protobuf/descriptor.proto", 1},
        {"google.protobuf.FieldDescriptorProto.Type", "google/protobuf/descriptor.proto", 1},
        {"", NULL, 0},
        {"fly", NULL, 0},
        {"fly.v1", NULL, 0},
        {"fly.v1.", NULL, 0},
        {"fly.v1.Edg", NULL, 0},
        {"fly.v1.Edge/", NULL, 0},
        {"fly.v1.Edge.", NULL, 0},
        {"fly.v1.Edge/launch", NULL, 0},
        {"fly.v1.Edge/Launch/", NULL, 0},
        {"fly.v1.Edge.Launch.Launch", NULL, 0},
        {"fly.v1/Edge", NULL, 0},
        {".fly.v1.Edge", NULL, 0},
        {"Edge", NULL, 0},
        {"fly.v1.HealthCheckResponse/ServingStatus", NULL, 0},
        {"fly.v1.HealthCheckResponse.status", NULL, 0},
        {"fly.v1.HealthCheckResponse.ServingStatus.SERVING", NULL, 0},
        {"fly.v1.Slice", NULL, 0},
    };
    struct world w;

    (void)state;
    world_open(&w, 1);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        Google__Protobuf__FileDescriptorSet *set = describe(&w, cases[i].symbol);

        if ((set == NULL) != (cases[i].file == NULL)) {
            fail_msg("'%s'", cases[i].symbol);
        }
        if (set != NULL) {
            assert_string_equal(set->file[set->n_file - 1]->name, cases[i].file);
            assert_true(cases[i].files == 0 || set->n_file == cases[i].files);
            assert_complete(set);
            google__protobuf__file_descriptor_set__free_unpacked(set, NULL);
        }
    }
    world_close(&w);
}

/* The rules stand in it, too: a client can learn what may be retried. */
static void test_rules_survive(void **state)
{
    enum { RULE = 50744 };
    struct world w;
    Google__Protobuf__FileDescriptorSet *set = NULL;
    bool found = false;

    (void)state;
    world_open(&w, 0);
    set = describe(&w, "fly.v1.Health");
    assert_non_null(set);
    const Google__Protobuf__FileDescriptorProto *file = set->file[set->n_file - 1];
    for (size_t i = 0; i < file->service[0]->n_method; i++) {
        const Google__Protobuf__MethodDescriptorProto *method = file->service[0]->method[i];
        const ProtobufCMessage *options = &method->options->base;

        if (strcmp(method->name, "Check") == 0) {
            for (size_t k = 0; k < options->n_unknown_fields; k++) {
                found = found || options->unknown_fields[k].tag == RULE;
            }
        }
    }
    assert_true(found);
    google__protobuf__file_descriptor_set__free_unpacked(set, NULL);
    world_close(&w);
}

static void test_bad_descriptor(void **state)
{
    static const uint8_t bytes[] = {0x0a, 0x7f, 1};
    struct rpc_service service = {.name = "x.Y", .descriptor = {bytes, sizeof bytes}};
    struct rpc_reflection *reflection = NULL;
    struct fly_error error = {.text = ""};

    (void)state;
    assert_int_equal(rpc_reflection_create(&reflection, &service, 1, &error), FLY_INTERNAL);
    assert_null(reflection);
    assert_non_null(strstr(error.text, "x.Y"));
    rpc_reflection_destroy(NULL);
}

static void test_metrics(void **state)
{
    enum { ECHOES = 7 };
    struct world w;
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    Fly__V1__MetricsRequest request = FLY__V1__METRICS_REQUEST__INIT;
    struct rpc_reply reply;

    (void)state;
    world_open(&w, 1);
    for (int i = 0; i < ECHOES; i++) {
        assert_int_equal(rpc_channel_call(w.channel, &rpc_health_echo, &ping.base, NULL, &reply),
                         FLY_OK);
        rpc_reply_fini(&reply);
    }
    assert_int_equal(rpc_channel_call(w.channel, &rpc_metrics_read, &request.base, NULL, &reply),
                     FLY_OK);
    const Fly__V1__MetricsReply *got = (const void *)reply.message;
    assert_false(got->cut);
    assert_non_null(
        strstr(got->text, "\nflyrpc_server_started_total{method=\"fly.v1.Health/Echo\"} 7\n"));
    assert_non_null(strstr(
        got->text, "\nflyrpc_server_handled_total{method=\"fly.v1.Health/Echo\",code=\"OK\"} 7\n"));
    assert_non_null(strstr(got->text, "# TYPE flyrpc_server_all_connections gauge\n"
                                      "flyrpc_server_all_connections 1\n"));
    assert_non_null(strstr(got->text, "\nflyrpc_server_all_calls_total 8\n"));
    rpc_reply_fini(&reply);
    world_close(&w);
}

/* More than a frame holds is cut after a whole line. */
static void test_metrics_cut(void **state)
{
    enum { MAX = 1024 * 1024 };
    struct world w;
    Fly__V1__MetricsRequest request = FLY__V1__METRICS_REQUEST__INIT;
    struct rpc_reply reply;
    char name[512];

    (void)state;
    world_open(&w, 1);
    memset(name, 'm', sizeof name);
    for (int i = 0; i < RPC_METRICS_METHODS_MAX - 56; i++) {
        (void)snprintf(name + 400, sizeof name - 400, "%d", i);
        struct rpc_method method = {.name = name, .hash = rpc_method_hash(name)};
        assert_non_null(rpc_metrics_of(rpc_server_metrics(w.server), &method));
    }
    assert_int_equal(rpc_channel_call(w.channel, &rpc_metrics_read, &request.base, NULL, &reply),
                     FLY_OK);
    const Fly__V1__MetricsReply *got = (const void *)reply.message;
    assert_true(got->cut && strlen(got->text) < MAX && strlen(got->text) > MAX / 2);
    assert_int_equal(got->text[strlen(got->text) - 1], '\n');
    rpc_reply_fini(&reply);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),          cmocka_unit_test(test_describe),
        cmocka_unit_test(test_rules_survive), cmocka_unit_test(test_bad_descriptor),
        cmocka_unit_test(test_metrics),       cmocka_unit_test(test_metrics_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
