/* overload: what was late when a worker came is never executed, whoever gave it up; nothing here is
 * timed (bench_rpc_overload measures goodput). */
#include <pthread.h>

#include "tests/unit/builtin_fixture.h"

enum { LATE = 200, IN_TIME = 50, LATE_MS = 5, PLENTY_MS = 600000 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    unsigned waiting;
    atomic_uint runs;
    atomic_uint late_runs;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void gate_set(bool open)
{
    (void)pthread_mutex_lock(&gate.lock);
    gate.open = open;
    (void)pthread_cond_broadcast(&gate.changed);
    (void)pthread_mutex_unlock(&gate.lock);
}

static void gate_await(unsigned waiting)
{
    (void)pthread_mutex_lock(&gate.lock);
    while (gate.waiting < waiting) {
        (void)pthread_cond_wait(&gate.changed, &gate.lock);
    }
    (void)pthread_mutex_unlock(&gate.lock);
}

/* Not INLINE, unlike Echo of health.proto: it runs on a worker. */
static struct rpc_method work = {.name = "test.Overload/Work",
                                 .request = &fly__v1__echo_message__descriptor,
                                 .reply = &fly__v1__echo_message__descriptor};

static void handle(const struct rpc_service *service, size_t index, struct rpc_call *call)
{
    const Fly__V1__EchoMessage *request = (const void *)rpc_call_request(call);

    (void)service;
    (void)index;
    atomic_fetch_add(&gate.runs, 1);
    if (request->payload.len > 0) { /* marked as one that must not run */
        atomic_fetch_add(&gate.late_runs, 1);
    }
    (void)pthread_mutex_lock(&gate.lock);
    gate.waiting++;
    (void)pthread_cond_broadcast(&gate.changed);
    while (!gate.open) {
        (void)pthread_cond_wait(&gate.changed, &gate.lock);
    }
    (void)pthread_mutex_unlock(&gate.lock);
    rpc_call_reply(call, rpc_call_request(call));
}

static struct {
    atomic_uint ended;
    atomic_uint ok;
    atomic_uint exceeded;
    atomic_uint exhausted;
} calls;

static void done(void *user, struct rpc_reply *reply)
{
    (void)user;
    atomic_fetch_add(&calls.ok, reply->status == FLY_OK);
    atomic_fetch_add(&calls.exceeded, reply->status == FLY_DEADLINE_EXCEEDED);
    atomic_fetch_add(&calls.exhausted, reply->status == FLY_RESOURCE_EXHAUSTED);
    atomic_fetch_add(&calls.ended, 1);
}

static void start(struct rpc_channel *channel, bool marked, int64_t timeout_ms)
{
    uint8_t mark = 1;
    Fly__V1__EchoMessage request = FLY__V1__ECHO_MESSAGE__INIT;
    struct rpc_call_options options = {.timeout_ms = timeout_ms};

    request.payload.data = &mark;
    request.payload.len = marked;
    assert_int_equal(rpc_channel_start(channel, &work, &request.base, &options, done, NULL, NULL),
                     FLY_OK);
}

static void await_ended(unsigned count)
{
    int64_t until_ms = fly_clock_boot_ms() + PATIENCE_MS;

    while (atomic_load(&calls.ended) < count) {
        assert_true(fly_clock_boot_ms() < until_ms);
        (void)sched_yield();
    }
}

static struct rpc_server *serve(uint32_t queue_max)
{
    static const struct rpc_method *const methods[] = {&work};
    static const struct rpc_service service = {
        .name = "test.Overload", .methods = methods, .method_count = 1, .handle = handle};
    const char *url = "tcp://127.0.0.1:0";
    struct rpc_server_config config = {.urls = &url,
                                       .url_count = 1,
                                       .services = &service,
                                       .service_count = 1,
                                       .workers = 1,
                                       .queue_max = queue_max,
                                       .calls_max = 4096};
    struct rpc_server *server = NULL;
    struct fly_error error = {.text = ""};

    work.hash = rpc_method_hash(work.name);
    memset(&calls, 0, sizeof calls);
    atomic_store(&gate.runs, 0);
    atomic_store(&gate.late_runs, 0);
    gate.waiting = 0;
    gate_set(false);
    if (rpc_server_create(&server, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return server;
}

static void test_late_is_never_executed(void **state)
{
    struct rpc_server *server = serve(0);
    struct rpc_channel *channel = channel_to(server);
    int64_t heard_ms = 0;

    (void)state;
    start(channel, false, PLENTY_MS);
    gate_await(1); /* the only worker is busy */
    for (int i = 0; i < LATE; i++) {
        start(channel, true, LATE_MS);
        if (i % (LATE / IN_TIME) == 0) {
            start(channel, false, PLENTY_MS);
        }
    }
    AWAIT_COUNTER(server, calls, 1 + LATE + IN_TIME);
    heard_ms = fly_clock_boot_ms();
    await_ended(LATE);
    while (fly_clock_boot_ms() <= heard_ms + LATE_MS) { /* time runs from when they were heard */
        (void)sched_yield();
    }
    gate_set(true);
    await_ended(1 + LATE + IN_TIME);
    rpc_channel_close(channel);
    AWAIT_COUNTER(server, calls_active, 0);
    rpc_server_destroy(server);
    assert_int_equal(calls.ok, 1 + IN_TIME);
    assert_int_equal(calls.exceeded, LATE);
    assert_int_equal(gate.runs, 1 + IN_TIME);
    assert_int_equal(gate.late_runs, 0);
}

static void test_full_queue(void **state)
{
    enum { QUEUE = 8, MORE = 20 };
    struct rpc_server *server = serve(QUEUE);
    struct rpc_channel *channel = channel_to(server);

    (void)state;
    start(channel, false, PLENTY_MS);
    gate_await(1);
    for (int i = 0; i < QUEUE + MORE; i++) {
        start(channel, false, PLENTY_MS);
    }
    await_ended(MORE); /* refused at once, while the worker is still busy */
    assert_int_equal(calls.exhausted, MORE);
    assert_int_equal(rpc_server_counters(server).excess, MORE);
    gate_set(true);
    await_ended(1 + QUEUE + MORE);
    rpc_channel_close(channel);
    rpc_server_destroy(server);
    assert_int_equal(calls.ok, 1 + QUEUE);
    assert_int_equal(gate.runs, 1 + QUEUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late_is_never_executed),
        cmocka_unit_test(test_full_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
