/* The server's dispatch: services beside on_call, workers, what is never executed, metrics. */
#include <stdatomic.h>

#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "tests/unit/rpc_bare.h"

static const struct fly_bytes empty;

static void run_in_place(struct bench *b, size_t index, struct rpc_call *call)
{
    (void)b;
    (void)index;
    reply_empty(call);
}

static bool here(struct bench *b, pthread_t thread)
{
    (void)pthread_mutex_lock(&b->f.lock);
    bool same = pthread_equal(b->last_thread, thread) != 0;
    (void)pthread_mutex_unlock(&b->f.lock);
    return same;
}

static pthread_t thread_of_last(struct bench *b)
{
    (void)pthread_mutex_lock(&b->f.lock);
    pthread_t thread = b->last_thread;
    (void)pthread_mutex_unlock(&b->f.lock);
    return thread;
}

/* ---- a gate that handlers on workers wait at ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned waiting;
    bool open;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void gate_set(bool open)
{
    (void)pthread_mutex_lock(&gate.lock);
    gate.open = open;
    (void)pthread_cond_broadcast(&gate.changed);
    (void)pthread_mutex_unlock(&gate.lock);
}

static void gate_wait_full(unsigned count)
{
    (void)pthread_mutex_lock(&gate.lock);
    while (gate.waiting < count) {
        (void)pthread_cond_wait(&gate.changed, &gate.lock);
    }
    (void)pthread_mutex_unlock(&gate.lock);
}

static void run_at_gate(struct bench *b, size_t index, struct rpc_call *call)
{
    (void)b;
    if (index != INLINE) {
        (void)pthread_mutex_lock(&gate.lock);
        gate.waiting++;
        (void)pthread_cond_broadcast(&gate.changed);
        while (!gate.open) {
            (void)pthread_cond_wait(&gate.changed, &gate.lock);
        }
        gate.waiting--;
        (void)pthread_mutex_unlock(&gate.lock);
    }
    reply_empty(call);
}

static void test_where_handlers_run(void **state)
{
    struct bench b;
    struct bare c;

    (void)state;
    bench_init(&b);
    b.run = run_in_place;
    bench_start(&b, &(struct rpc_server_config){.workers = 1});
    bare_open(&c, &b.f, 0, 0);
    bare_ask(&c, CALL_1, &b.methods[UNARY], 0);
    bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
    pthread_t worker = thread_of_last(&b);
    bare_ask(&c, CALL_1, &b.methods[INLINE], 0);
    bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
    assert_false(here(&b, worker));
    bare_ask(&c, CALL_1, &b.methods[UNARY], 0);
    bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
    assert_true(here(&b, worker));
    assert_int_equal(b.allowed, 3);
    b.allow = FLY_PERMISSION_DENIED;
    for (size_t i = 0; i < METHODS; i++) {
        bare_ask(&c, CALL_1, &b.methods[i], 0);
        bare_expect(&c, FRAME_END, CALL_1, FLY_PERMISSION_DENIED);
        assert_true((c.frame.header.flags & FRAME_FLAG_NOT_EXECUTED) != 0);
        assert_memory_equal(c.frame.meta.data, "not for you", c.frame.meta.size);
    }
    assert_int_equal(b.served, 3);
    assert_int_equal(rpc_server_counters(b.f.server).calls_active, 0);
    bare_close(&c);
    bench_stop(&b);
}

/* Methods of on_call and of services at one server, and no HELLO that anybody looks at. */
static void *stop_later(void *user)
{
    rpc_server_destroy(user);
    return NULL;
}

static void on_call_in_place(void *user, struct rpc_call *call)
{
    struct bench *b = user;

    fixture_note(&b->f, &b->f.writables); /* how often, in a counter of no other use here */
    rpc_call_reply(call, rpc_call_request(call));
}

static void test_both_ways_to_serve(void **state)
{
    static const char *const url = "tcp://127.0.0.1:0";
    const struct rpc_method *methods[] = {&rpc_health_echo};
    struct bench b;
    struct bare c;
    struct fly_error error;
    size_t count = 0;

    (void)state;
    bench_init(&b);
    b.run = run_in_place;
    (void)pthread_mutex_init(&b.f.lock, NULL);
    (void)pthread_cond_init(&b.f.changed, NULL);
    struct rpc_server_config config = {.urls = &url,
                                       .url_count = 1,
                                       .methods = methods,
                                       .method_count = 1,
                                       .services = &b.service,
                                       .service_count = 1,
                                       .user = &b,
                                       .on_call = on_call_in_place};
    assert_int_equal(rpc_server_create(&b.f.server, &config, &error), FLY_OK);
    const struct rpc_service *services = rpc_server_services(b.f.server, &count);
    assert_int_equal(count, 1);
    assert_string_equal(services[0].name, "test.v1.Bench");
    bare_open(&c, &b.f, 0, 0);
    bare_ask(&c, CALL_1, &b.methods[UNARY], 0); /* not open, and nobody asks who */
    bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
    bare_ask(&c, CALL_1, &rpc_health_echo, 0);
    bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
    assert_int_equal(b.served, 1);
    assert_int_equal(b.f.writables, 1);
    bare_ask(&c, CALL_1, &rpc_edge_list, 0);
    bare_expect(&c, FRAME_END, CALL_1, FLY_UNIMPLEMENTED);
    bare_close(&c);
    rpc_server_destroy(b.f.server);

    /* what cannot be served is refused at the start */
    config.on_call = NULL;
    assert_int_equal(rpc_server_create(&b.f.server, &config, &error), FLY_INVALID_ARGUMENT);
    config.method_count = 0;
    config.service_count = 0;
    assert_int_equal(rpc_server_create(&b.f.server, &config, &error), FLY_INVALID_ARGUMENT);
    struct rpc_service twice[] = {b.service, b.service};
    config.services = twice;
    config.service_count = 2;
    assert_int_equal(rpc_server_create(&b.f.server, &config, &error), FLY_INTERNAL);
    (void)pthread_mutex_destroy(&b.f.lock);
    (void)pthread_cond_destroy(&b.f.changed);
}

static void test_queue(void **state)
{
    enum { QUEUE = 4 };
    struct bench b;
    struct bare c;
    struct frame_end end;
    int64_t pushback = 0;

    (void)state;
    bench_init(&b);
    b.run = run_at_gate;
    gate_set(false);
    bench_start(&b, &(struct rpc_server_config){.workers = 1, .queue_max = QUEUE});
    bare_open(&c, &b.f, 0, 0);
    bare_ask(&c, frame_call_id(0, 1), &b.methods[UNARY], 0);
    gate_wait_full(1);
    for (uint32_t i = 1; i <= QUEUE; i++) {
        bare_ask(&c, frame_call_id(i, 1), &b.methods[UNARY], 0);
    }
    bare_ask(&c, frame_call_id(QUEUE + 1, 1), &b.methods[UNARY], 0);
    assert_true(bare_get(&c)); /* one of those that wait, or the last */
    assert_int_equal(c.frame.header.arg, FLY_RESOURCE_EXHAUSTED);
    assert_true((c.frame.header.flags & FRAME_FLAG_NOT_EXECUTED) != 0);
    assert_true(frame_end_decode(&c.frame, &end));
    assert_true(metadata_find_number(end.metadata, METADATA_PUSHBACK, &pushback));
    assert_true(pushback > 0);
    uint32_t refused = frame_call_slot(c.frame.header.call_id);
    assert_int_equal(rpc_server_counters(b.f.server).excess, 1);
    bare_ask(&c, frame_call_id(20, 1), &b.methods[INLINE], 0); /* needs no worker */
    bare_expect(&c, FRAME_END, frame_call_id(20, 1), FLY_OK);
    /* cancelled in the queue: never executed, and its place is free */
    uint32_t victim = frame_call_id(refused == 2 ? 3 : 2, 1);
    bare_say(&c, FRAME_CANCEL, victim, 0);
    bare_expect(&c, FRAME_END, victim, FLY_CANCELLED);
    assert_true((c.frame.header.flags & FRAME_FLAG_NOT_EXECUTED) != 0);
    bare_ask(&c, frame_call_id(21, 1), &b.methods[UNARY], 0);
    WAIT_UNTIL(rpc_server_counters(b.f.server).calls_active == QUEUE + 1);
    gate_set(true);
    for (uint32_t i = 0; i < QUEUE + 1; i++) {
        assert_true(bare_get(&c));
        assert_int_equal(c.frame.header.arg, FLY_OK);
        assert_true(c.frame.header.call_id != victim);
    }
    assert_int_equal(b.served, QUEUE + 2);
    assert_int_equal(b.f.cancels, 0);
    bare_close(&c);
    bench_stop(&b);
}

/* Its time passes while it waits for a worker. */
static void test_late_in_queue(void **state)
{
    struct bench b;
    struct bare c;

    (void)state;
    bench_init(&b);
    b.run = run_at_gate;
    gate_set(false);
    bench_start(&b, &(struct rpc_server_config){.workers = 1});
    bare_open(&c, &b.f, 0, 0);
    bare_ask(&c, CALL_1, &b.methods[UNARY], 0);
    gate_wait_full(1);
    bare_ask(&c, CALL_2, &b.methods[UNARY], 30);
    bare_ask(&c, CALL_3, &b.methods[INLINE], 0);
    bare_expect(&c, FRAME_END, CALL_3, FLY_OK); /* so CALL_2 has its deadline by now */
    int64_t now_ms = fly_clock_boot_ms();
    WAIT_UNTIL(fly_clock_boot_ms() > now_ms + 31);
    gate_set(true);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(bare_get(&c));
        bool late = c.frame.header.call_id == CALL_2;
        assert_int_equal(c.frame.header.arg, late ? FLY_DEADLINE_EXCEEDED : FLY_OK);
        assert_int_equal(c.frame.header.flags, late ? FRAME_FLAG_NOT_EXECUTED : 0);
    }
    assert_int_equal(b.served, 2);
    assert_int_equal(rpc_server_counters(b.f.server).late, 1);
    bare_close(&c);
    bench_stop(&b);
}

/* The server goes while workers are busy and the queue is full: nothing runs that nobody awaits. */
static void test_destroyed_busy(void **state)
{
    enum { WORKERS = 2, QUEUED = 50 };
    struct bench b;
    struct bare c;
    pthread_t stopper;

    (void)state;
    bench_init(&b);
    b.run = run_at_gate;
    gate_set(false);
    bench_start(&b, &(struct rpc_server_config){.workers = WORKERS});
    bare_open(&c, &b.f, 0, 0);
    for (uint32_t i = 0; i < WORKERS + QUEUED; i++) {
        bare_ask(&c, frame_call_id(i, 1), &b.methods[UNARY], 0);
    }
    gate_wait_full(WORKERS);
    WAIT_UNTIL(rpc_server_counters(b.f.server).calls_active == WORKERS + QUEUED);
    assert_int_equal(pthread_create(&stopper, NULL, stop_later, b.f.server), 0);
    bare_hung_up(&c);
    fixture_wait(&b.f, &b.f.cancels, WORKERS); /* only they are anybody's */
    gate_set(true);
    (void)pthread_join(stopper, NULL);
    assert_int_equal(b.served, WORKERS);
    assert_int_equal(b.f.peers_gone, 1);
    (void)pthread_mutex_destroy(&b.f.lock);
    (void)pthread_cond_destroy(&b.f.changed);
}

static void run_large(struct bench *b, size_t index, struct rpc_call *call)
{
    static uint8_t payload[512 * 1024];
    Fly__V1__EchoMessage message = FLY__V1__ECHO_MESSAGE__INIT;

    (void)b;
    (void)index;
    message.payload.data = payload;
    message.payload.len = sizeof payload;
    rpc_call_reply(call, &message.base);
}

/* Workers answer while the connection goes: whoever answers must keep it until it was written. */
static void test_answers_to_the_gone(void **state)
{
    enum { ROUNDS = 400 };
    struct bench b;

    (void)state;
    bench_init(&b);
    b.run = run_large;
    bench_start(&b, &(struct rpc_server_config){.workers = 3});
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct bare c;
        uint8_t first = 0;
        bare_open(&c, &b.f, 0, 0);
        bare_ask(&c, CALL_1, &b.methods[UNARY], 0);
        assert_true(read_all(c.fd, &first, 1)); /* it is being written */
        bare_close(&c);
    }
    WAIT_UNTIL(rpc_server_counters(b.f.server).connections == 0);
    bench_stop(&b);
}

/* ---- rpc_call_watch ---- */

static struct rpc_call *watched;
static atomic_uint changes;

static void note_change(void *user, struct rpc_call *call)
{
    assert_ptr_equal(user, &changes);
    assert_ptr_equal(call, watched);
    (void)atomic_fetch_add(&changes, 1);
}

static void test_watch(void **state)
{
    struct bench b;
    struct bare c;
    struct rpc_reply reply;

    (void)state;
    bench_init(&b);
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 100, 1 << 20);
    for (unsigned late = 0; late < 2; late++) {
        atomic_store(&changes, 0);
        bare_ask(&c, CALL_1, &b.methods[CHAT], 0);
        watched = fixture_take(&b.f);
        if (late == 1) { /* gone before anybody watched */
            bare_say(&c, FRAME_CANCEL, CALL_1, 0);
            bare_expect(&c, FRAME_END, CALL_1, FLY_CANCELLED);
            fixture_wait(&b.f, &b.f.cancels, 1);
            rpc_call_watch(watched, note_change, &changes);
            assert_int_equal(atomic_load(&changes), 1);
            rpc_call_fail(watched, FLY_CANCELLED, "over", empty);
            continue;
        }
        rpc_call_watch(watched, note_change, &changes);
        assert_int_equal(rpc_call_next(watched, 0, &reply), RPC_NEXT_NOTHING);
        rpc_reply_fini(&reply);
        bare_message(&c, CALL_1, 1, 1);
        WAIT_UNTIL(atomic_load(&changes) == 1);
        assert_int_equal(send_echo(watched, 200, 1, 0), FLY_OK);
        assert_int_equal(send_echo(watched, 200, 1, 0), FLY_RESOURCE_EXHAUSTED);
        bare_expect(&c, FRAME_MSG, CALL_1, 0);
        bare_say(&c, FRAME_WINDOW, CALL_1, 1000);
        WAIT_UNTIL(atomic_load(&changes) == 2);
        bare_say(&c, FRAME_CANCEL, CALL_1, 0);
        WAIT_UNTIL(atomic_load(&changes) == 3);
        bare_expect(&c, FRAME_END, CALL_1, FLY_CANCELLED);
        assert_int_equal(b.f.cancels + b.f.writables + b.readables, 0);
        rpc_call_fail(watched, FLY_CANCELLED, "over", empty);
    }
    bare_close(&c);
    bench_stop(&b);
}

static void test_metrics(void **state)
{
    struct bench b;
    struct bare c;
    static char text[256 * 1024];

    (void)state;
    bench_init(&b);
    bench_start(&b, NULL);
    struct rpc_method_metrics *of =
        rpc_metrics_of(rpc_server_metrics(b.f.server), &b.methods[COLLECT]);
    assert_non_null(of);
    bare_open(&c, &b.f, 1 << 20, 1 << 20);
    for (unsigned i = 0; i < 4; i++) {
        bare_ask(&c, CALL_1, &b.methods[COLLECT], 0);
        bare_message(&c, CALL_1, 100, 1);
        struct rpc_call *call = fixture_take(&b.f);
        struct rpc_reply reply;
        assert_int_equal(rpc_call_next(call, -1, &reply), RPC_NEXT_MESSAGE);
        rpc_reply_fini(&reply);
        if (i < 3) {
            reply_empty(call);
        } else {
            rpc_call_fail(call, FLY_ABORTED, "why", empty);
        }
        bare_expect(&c, FRAME_END, CALL_1, i < 3 ? FLY_OK : FLY_ABORTED);
    }
    assert_int_equal(of->started, 4);
    assert_int_equal(of->ended[FLY_OK], 3);
    assert_int_equal(of->ended[FLY_ABORTED], 1);
    assert_int_equal(of->messages_in, 4);
    assert_int_equal(of->bytes_in, 4 * 102);
    assert_int_equal(of->messages_out, 3);
    assert_int_equal(of->bytes_out, 0);
    uint64_t timed = 0;
    for (size_t i = 0; i < RPC_METRICS_BUCKETS; i++) {
        timed += of->latency[i];
    }
    assert_int_equal(timed, 4);
    assert_true(rpc_metrics_text(rpc_server_metrics(b.f.server), text, sizeof text) < sizeof text);
    assert_non_null(strstr(text, "test.v1.Bench/Collect"));
    bare_close(&c);
    bench_stop(&b);
}

/* Requests larger than the memory that every call has, and their metadata behind them. */
static void test_large_requests(void **state)
{
    static const size_t sizes[] = {0, 300, 400, 480, 512, 600, 5000, 900000};
    struct bench b;
    struct bare c;
    uint8_t meta[FRAME_REQ_META_SIZE + 5] = {0, 0, 0, 0, 1, 1, 0, 'k', 'v'};

    (void)state;
    bench_init(&b);
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 0, 0);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(sizes); i++) {
        struct fly_bytes body = echo_bytes(sizes[i], (uint8_t)i);
        uint8_t fill = 0;
        bare_put(&c,
                 (struct frame_header){.type = FRAME_REQ,
                                       .flags = FRAME_FLAG_METADATA,
                                       .call_id = CALL_1,
                                       .arg = b.methods[UNARY].hash},
                 (struct fly_bytes){meta, sizeof meta}, body);
        struct rpc_call *call = fixture_take(&b.f);
        assert_int_equal(echo_size(rpc_call_request(call), &fill), sizes[i]);
        assert_int_equal(fill, sizes[i] > 0 ? i : 0);
        assert_memory_equal(rpc_call_metadata(call).data, meta + FRAME_REQ_META_SIZE, 5);
        rpc_call_reply(call, rpc_call_request(call));
        bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
        assert_int_equal(c.frame.body.size, body.size);
        assert_memory_equal(c.frame.body.data, body.data, body.size);
        free((void *)(uintptr_t)body.data);
    }
    bare_close(&c);
    bench_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where_handlers_run),
        cmocka_unit_test(test_both_ways_to_serve),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_late_in_queue),
        cmocka_unit_test(test_answers_to_the_gone),
        cmocka_unit_test(test_destroyed_busy),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_large_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
