/* health: Check and Watch over real connections, against grpc.health.v1's rules. */
#include <pthread.h>

#include "fly/v1/health.rpc.h"
#include "proto/base/rng.h"
#include "tests/unit/builtin_fixture.h"

struct world {
    struct rpc_health_board *board;
    struct rpc_server *server;
    struct rpc_channel *channel;
};

static void world_open(struct world *w)
{
    struct rpc_service service;
    struct fly_error error;

    assert_int_equal(rpc_health_board_create(&w->board, &error), FLY_OK);
    service = rpc_builtin_health(w->board);
    w->server = serve_on(&service, 1, 0);
    w->channel = channel_to(w->server);
}

static void world_close(struct world *w)
{
    rpc_channel_close(w->channel);
    rpc_server_destroy(w->server);
    rpc_health_board_destroy(w->board);
}

/* What Check says: the serving status, or minus the call's status. */
static int check(const struct world *w, const char *service)
{
    Fly__V1__HealthCheckRequest request = FLY__V1__HEALTH_CHECK_REQUEST__INIT;
    struct rpc_reply reply;
    int result = 0;

    request.service = (char *)(uintptr_t)service;
    if (rpc_channel_call(w->channel, &rpc_health_check, &request.base, NULL, &reply) == FLY_OK) {
        result = (int)((const Fly__V1__HealthCheckResponse *)reply.message)->status;
    } else {
        result = -(int)reply.status;
    }
    rpc_reply_fini(&reply);
    return result;
}

static struct rpc_stream *watch(struct rpc_channel *channel, const char *service)
{
    Fly__V1__HealthCheckRequest request = FLY__V1__HEALTH_CHECK_REQUEST__INIT;
    struct rpc_stream *stream = NULL;
    struct fly_error error = {.text = ""};

    request.service = (char *)(uintptr_t)service;
    if (rpc_stream_open(&stream, channel, &rpc_health_watch, &request.base, NULL, &error) !=
        FLY_OK) {
        fail_msg("%s", error.text);
    }
    return stream;
}

/* The next status of a watch, or minus the status it ended with. */
static int told(struct rpc_stream *stream)
{
    struct rpc_reply reply;
    enum rpc_next next = rpc_stream_next(stream, PATIENCE_MS, &reply);
    int result = 0;

    assert_int_not_equal(next, RPC_NEXT_NOTHING);
    if (next == RPC_NEXT_MESSAGE) {
        result = (int)((const Fly__V1__HealthCheckResponse *)reply.message)->status;
    } else {
        result = -(int)reply.status;
    }
    rpc_reply_fini(&reply);
    return result;
}

static void set(const struct world *w, const char *service, enum rpc_serving status)
{
    assert_int_equal(rpc_health_board_set(w->board, service, status), FLY_OK);
}

static void test_check(void **state)
{
    struct world w;
    char name[RPC_HEALTH_NAME_SIZE + 1];

    (void)state;
    world_open(&w);
    assert_int_equal(check(&w, ""), RPC_SERVING);
    assert_int_equal(check(&w, "fly.v1.Edge"), -FLY_NOT_FOUND);
    set(&w, "fly.v1.Edge", RPC_NOT_SERVING);
    assert_int_equal(check(&w, "fly.v1.Edge"), RPC_NOT_SERVING);
    assert_int_equal(check(&w, "fly.v1.Edg"), -FLY_NOT_FOUND);
    set(&w, "fly.v1.Edge", RPC_SERVING);
    assert_int_equal(check(&w, "fly.v1.Edge"), RPC_SERVING);
    set(&w, "fly.v1.Edge", RPC_SERVICE_UNKNOWN);
    assert_int_equal(check(&w, "fly.v1.Edge"), -FLY_NOT_FOUND);

    memset(name, 'x', sizeof name);
    name[RPC_HEALTH_NAME_SIZE] = '\0';
    assert_int_equal(rpc_health_board_set(w.board, name, RPC_SERVING), FLY_INVALID_ARGUMENT);
    assert_int_equal(check(&w, name), -FLY_NOT_FOUND);
    name[RPC_HEALTH_NAME_SIZE - 1] = '\0';
    set(&w, name, RPC_SERVING);
    assert_int_equal(check(&w, name), RPC_SERVING);
    world_close(&w);
}

static void test_bounded_services(void **state)
{
    struct world w;
    char name[32];

    (void)state;
    world_open(&w);
    for (int i = 1; i < RPC_HEALTH_SERVICES_MAX; i++) {
        (void)snprintf(name, sizeof name, "s%d", i);
        set(&w, name, RPC_SERVING);
    }
    assert_int_equal(rpc_health_board_set(w.board, "more", RPC_SERVING), FLY_RESOURCE_EXHAUSTED);
    set(&w, "more", RPC_SERVICE_UNKNOWN);
    set(&w, "s5", RPC_SERVICE_UNKNOWN);
    set(&w, "more", RPC_NOT_SERVING);
    assert_int_equal(check(&w, "more"), RPC_NOT_SERVING);
    assert_int_equal(check(&w, "s5"), -FLY_NOT_FOUND);
    for (int i = 6; i < RPC_HEALTH_SERVICES_MAX; i++) {
        (void)snprintf(name, sizeof name, "s%d", i);
        assert_int_equal(check(&w, name), RPC_SERVING);
    }
    world_close(&w);
}

static void test_watch(void **state)
{
    struct world w;
    struct rpc_stream *all = NULL;
    struct rpc_stream *edge = NULL;

    (void)state;
    world_open(&w);
    all = watch(w.channel, "");
    edge = watch(w.channel, "fly.v1.Edge");
    assert_int_equal(told(all), RPC_SERVING);
    assert_int_equal(told(edge), RPC_SERVICE_UNKNOWN); /* and goes on */
    set(&w, "fly.v1.Edge", RPC_SERVING);
    assert_int_equal(told(edge), RPC_SERVING);
    set(&w, "fly.v1.Edge", RPC_SERVING); /* no change: nothing is said */
    set(&w, "fly.v1.Edge", RPC_NOT_SERVING);
    assert_int_equal(told(edge), RPC_NOT_SERVING);
    set(&w, "fly.v1.Edge", RPC_SERVICE_UNKNOWN);
    assert_int_equal(told(edge), RPC_SERVICE_UNKNOWN);
    set(&w, "", RPC_NOT_SERVING);
    assert_int_equal(told(all), RPC_NOT_SERVING);
    rpc_stream_close(all);
    rpc_stream_close(edge);
    AWAIT_COUNTER(w.server, calls_active, 0); /* who has left is forgotten */
    world_close(&w);
}

static void test_shutdown(void **state)
{
    struct world w;
    struct rpc_stream *stream = NULL;

    (void)state;
    world_open(&w);
    set(&w, "a", RPC_SERVING);
    stream = watch(w.channel, "a");
    assert_int_equal(told(stream), RPC_SERVING);
    rpc_health_board_shutdown(w.board);
    assert_int_equal(told(stream), RPC_NOT_SERVING);
    set(&w, "a", RPC_SERVING); /* for good */
    set(&w, "b", RPC_SERVING);
    assert_int_equal(check(&w, "a"), RPC_NOT_SERVING);
    assert_int_equal(check(&w, ""), RPC_NOT_SERVING);
    assert_int_equal(check(&w, "b"), -FLY_NOT_FOUND);
    rpc_server_destroy(w.server); /* with the watch still there */
    assert_int_equal(told(stream), -FLY_UNAVAILABLE);
    rpc_stream_close(stream);
    rpc_channel_close(w.channel);
    rpc_health_board_destroy(w.board);
}

/* A reader that does not read: what waits for it is bounded by its window, and the last thing it
 * hears is the latest status. */
static void test_slow_reader(void **state)
{
    enum { CHANGES = 60001 };
    struct world w;
    struct rpc_stream *slow = NULL;
    struct rpc_stream *quick = NULL;
    unsigned heard = 1;

    (void)state;
    world_open(&w);
    slow = watch(w.channel, "");
    quick = watch(w.channel, "end");
    assert_int_equal(told(quick), RPC_SERVICE_UNKNOWN);
    for (int i = 0; i < CHANGES; i++) {
        set(&w, "", i % 2 == 0 ? RPC_NOT_SERVING : RPC_SERVING);
    }
    set(&w, "", RPC_SERVING_UNKNOWN);
    set(&w, "end", RPC_SERVING); /* others are not held up */
    assert_int_equal(told(quick), RPC_SERVING);
    while (told(slow) != RPC_SERVING_UNKNOWN) {
        heard++;
    }
    assert_true(heard > 1 && heard < CHANGES / 2);
    set(&w, "", RPC_SERVING);
    assert_int_equal(told(slow), RPC_SERVING);
    rpc_stream_close(slow);
    rpc_stream_close(quick);
    world_close(&w);
}

static void test_bounded_watches(void **state)
{
    static struct rpc_stream *streams[RPC_HEALTH_WATCHES_MAX];
    struct world w;
    struct rpc_stream *more = NULL;
    int64_t until_ms = fly_clock_boot_ms() + PATIENCE_MS;
    char name[RPC_HEALTH_NAME_SIZE + 1];

    (void)state;
    world_open(&w);
    for (size_t i = 0; i < RPC_HEALTH_WATCHES_MAX; i++) {
        streams[i] = watch(w.channel, "");
        assert_int_equal(told(streams[i]), RPC_SERVING);
    }
    more = watch(w.channel, "");
    assert_int_equal(told(more), -FLY_RESOURCE_EXHAUSTED);
    rpc_stream_close(more);
    memset(name, 'x', sizeof name);
    name[RPC_HEALTH_NAME_SIZE] = '\0';
    more = watch(w.channel, name);
    assert_int_equal(told(more), -FLY_INVALID_ARGUMENT);
    rpc_stream_close(more);
    rpc_stream_close(streams[77]);
    do { /* its place is free once the server heard of it */
        assert_true(fly_clock_boot_ms() < until_ms);
        more = watch(w.channel, "");
    } while (told(more) != RPC_SERVING && (rpc_stream_close(more), true));
    streams[77] = more;
    set(&w, "", RPC_NOT_SERVING);
    for (size_t i = 0; i < RPC_HEALTH_WATCHES_MAX; i++) {
        assert_int_equal(told(streams[i]), RPC_NOT_SERVING);
        rpc_stream_close(streams[i]);
    }
    world_close(&w);
}

enum { CHANGERS = 2, WATCHERS = 3, ROUNDS = 300 };

static void *change(void *user)
{
    struct world *w = user;

    for (int i = 0; i < ROUNDS * 4; i++) {
        (void)rpc_health_board_set(w->board, i % 3 == 0 ? "" : "a", (enum rpc_serving)(i % 4));
    }
    return NULL;
}

static void *come_and_go(void *user)
{
    struct world *w = user;
    struct rpc_channel *channel = channel_to(w->server);

    for (int i = 0; i < ROUNDS; i++) {
        struct rpc_stream *stream = watch(channel, i % 2 == 0 ? "" : "a");

        for (int k = 0; k < i % 3; k++) {
            struct rpc_reply reply;

            (void)rpc_stream_next(stream, 1, &reply);
            rpc_reply_fini(&reply);
        }
        rpc_stream_close(stream);
        if (i % 50 == 49) { /* leaves without a word */
            stream = watch(channel, "");
            rpc_stream_close(stream);
            rpc_channel_close(channel);
            channel = channel_to(w->server);
        }
    }
    rpc_channel_close(channel);
    return NULL;
}

static void test_threads(void **state)
{
    struct world w;
    pthread_t threads[CHANGERS + WATCHERS];
    struct rpc_stream *stream = NULL;

    (void)state;
    world_open(&w);
    for (size_t i = 0; i < CHANGERS + WATCHERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, i < CHANGERS ? change : come_and_go, &w),
                         0);
    }
    for (size_t i = 0; i < CHANGERS + WATCHERS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    AWAIT_COUNTER(w.server, calls_active, 0);
    set(&w, "a", RPC_NOT_SERVING);
    stream = watch(w.channel, "a");
    assert_int_equal(told(stream), RPC_NOT_SERVING);
    rpc_stream_close(stream);
    world_close(&w);
}

static void test_echo(void **state)
{
    struct world w;
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    uint8_t payload[] = {1, 2, 3};
    struct rpc_reply reply;

    (void)state;
    world_open(&w);
    ping.payload.data = payload;
    ping.payload.len = sizeof payload;
    assert_int_equal(rpc_channel_call(w.channel, &rpc_health_echo, &ping.base, NULL, &reply),
                     FLY_OK);
    assert_int_equal(((const Fly__V1__EchoMessage *)reply.message)->payload.len, sizeof payload);
    rpc_reply_fini(&reply);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),       cmocka_unit_test(test_bounded_services),
        cmocka_unit_test(test_watch),       cmocka_unit_test(test_shutdown),
        cmocka_unit_test(test_slow_reader), cmocka_unit_test(test_bounded_watches),
        cmocka_unit_test(test_threads),     cmocka_unit_test(test_echo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
