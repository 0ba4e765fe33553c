/* rpc: calls over real nng connections, and how each of them ends, exactly once. */
#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "proto/rpc/methods.h"
#include "tests/unit/rpc_fixture.h"

static const char *const LOOPBACK = "tcp://127.0.0.1:0";

static void test_echo(void **state)
{
    char path[64];
    const char *urls[] = {LOOPBACK, path, "tcp://[::1]:0"};
    static const size_t sizes[] = {0, 1, 64, 4096, 65536, 70000, 1 << 19, (1 << 20) - 64};
    struct fixture f;

    (void)state;
    (void)snprintf(path, sizeof path, "ipc:///tmp/flylight-test-%d", getpid());
    for (size_t u = 0; u < 2; u++) {
        fixture_start(&f, urls[u], NULL);
        struct rpc_channel *channel = fixture_connect(&f, "me");
        struct fly_bytes answer = rpc_channel_hello(channel);
        assert_int_equal(answer.size, 2);
        assert_memory_equal(answer.data, "me", 2);
        for (size_t i = 0; i < FLY_ARRAY_COUNT(sizes); i++) {
            check_echo(channel, sizes[i], (uint8_t)i);
        }
        for (unsigned i = 0; i < 500; i++) {
            check_echo(channel, i, (uint8_t)i);
        }
        assert_true(rpc_channel_alive(channel));
        rpc_channel_close(channel);
        fixture_stop(&f);
    }
}

static void *echo_many(void *channel)
{
    for (unsigned i = 0; i < 300; i++) {
        check_echo(channel, 16 + i % 200, (uint8_t)i);
    }
    return NULL;
}

/* Finishes parked calls from a thread that is not nng's. */
static void *serve_parked(void *user)
{
    struct fixture *f = user;
    Fly__V1__StatusReply answer = FLY__V1__STATUS_REPLY__INIT;
    Fly__V1__Vm vm = FLY__V1__VM__INIT;

    for (unsigned i = 0; i < 400; i++) {
        struct rpc_call *call = fixture_take(f);
        const Fly__V1__StatusRequest *request = (const void *)rpc_call_request(call);
        vm.id = request->vm;
        answer.vm = &vm;
        rpc_call_reply(call, &answer.base);
    }
    return NULL;
}

static void *status_many(void *channel)
{
    for (unsigned i = 0; i < 200; i++) {
        Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
        struct rpc_call_options options = {.timeout_ms = PATIENCE_MS};
        struct rpc_reply reply;
        char name[32];
        (void)snprintf(name, sizeof name, "vm-%u", i);
        request.vm = name;
        assert_int_equal(
            rpc_channel_call(channel, &rpc_edge_status, &request.base, &options, &reply), FLY_OK);
        const Fly__V1__StatusReply *answer = (const void *)reply.message;
        assert_string_equal(answer->vm->id, name);
        rpc_reply_fini(&reply);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    struct fixture f;
    pthread_t threads[8];
    pthread_t server;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    assert_int_equal(pthread_create(&server, NULL, serve_parked, &f), 0);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < 6 ? echo_many : status_many, channel), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)pthread_join(server, NULL);
    rpc_channel_close(channel);
    struct rpc_server_counters counters = rpc_server_counters(f.server);
    assert_int_equal(counters.calls, 6 * 300 + 2 * 200);
    assert_int_equal(counters.calls_finished, counters.calls);
    assert_int_equal(counters.orphaned, 0);
    fixture_stop(&f);
}

/* ---- callbacks that count ---- */

struct tally {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned ended;
    unsigned by_status[FLY_STATUS_COUNT];
    unsigned not_sent;
};

static void tally_init(struct tally *t)
{
    memset(t, 0, sizeof *t);
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_cond_init(&t->changed, NULL);
}

static void tally_done(void *user, struct rpc_reply *reply)
{
    struct tally *t = user;

    (void)pthread_mutex_lock(&t->lock);
    t->ended++;
    t->by_status[reply->status]++;
    t->not_sent += reply->sent ? 0 : 1;
    (void)pthread_cond_signal(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
}

static void tally_wait(struct tally *t, unsigned count)
{
    (void)pthread_mutex_lock(&t->lock);
    while (t->ended < count) {
        (void)pthread_cond_wait(&t->changed, &t->lock);
    }
    (void)pthread_mutex_unlock(&t->lock);
    assert_int_equal(t->ended, count);
}

static void start_status(struct rpc_channel *channel, struct tally *t, int64_t timeout_ms,
                         uint32_t *id)
{
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
    struct rpc_call_options options = {.timeout_ms = timeout_ms};

    enum fly_status status = FLY_OK;
    do { /* what was cancelled keeps its place until the server's END was read */
        status = rpc_channel_start(channel, &rpc_edge_status, &request.base, &options, tally_done,
                                   t, id);
    } while (status == FLY_RESOURCE_EXHAUSTED && sched_yield() == 0);
    assert_int_equal(status, FLY_OK);
}

static void test_in_flight(void **state)
{
    enum { CALLS = 200 };
    struct fixture f;
    struct tally t;
    Fly__V1__StatusReply answer = FLY__V1__STATUS_REPLY__INIT;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    tally_init(&t);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    for (unsigned round = 0; round < 5; round++) {
        rpc_batch_begin();
        for (unsigned i = 0; i < CALLS; i++) {
            start_status(channel, &t, 0, NULL);
        }
        rpc_batch_end();
        fixture_wait_parked(&f, CALLS);
        rpc_batch_begin();
        for (unsigned i = 0; i < CALLS; i++) {
            rpc_call_reply(fixture_take(&f), &answer.base);
        }
        rpc_batch_end();
        tally_wait(&t, (round + 1) * CALLS);
    }
    assert_int_equal(t.by_status[FLY_OK], 5 * CALLS);
    rpc_channel_close(channel);
    fixture_stop(&f);
}

static void test_limit_of_calls(void **state)
{
    struct fixture f;
    struct tally t;
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
    Fly__V1__StatusReply answer = FLY__V1__STATUS_REPLY__INIT;
    struct rpc_reply reply;

    (void)state;
    fixture_start(&f, LOOPBACK, &(struct rpc_server_config){.calls_max = 4});
    tally_init(&t);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    for (unsigned i = 0; i < 4; i++) {
        start_status(channel, &t, 0, NULL);
    }
    assert_int_equal(rpc_channel_call(channel, &rpc_edge_status, &request.base, NULL, &reply),
                     FLY_RESOURCE_EXHAUSTED);
    assert_false(reply.sent);
    rpc_reply_fini(&reply);
    for (unsigned i = 0; i < 4; i++) {
        rpc_call_reply(fixture_take(&f), &answer.base);
    }
    tally_wait(&t, 4);
    check_echo(channel, 10, 1);
    rpc_channel_close(channel);
    fixture_stop(&f);
}

/* A busy machine may take longer than any fixed time to bring a request to its handler: this tries
 * with more and more time until the handler got it first. */
static void call_until_parked(struct fixture *f, struct rpc_channel *channel,
                              struct rpc_call_options *options)
{
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
    struct rpc_reply reply;
    bool parked = false;

    for (options->timeout_ms = 20; !parked; options->timeout_ms *= 2) {
        (void)rpc_channel_call(channel, &rpc_edge_status, &request.base, options, &reply);
        check_echo(channel, 10, 1); /* so what was sent before has been read, too */
        (void)pthread_mutex_lock(&f->lock);
        parked = f->parked_count == 1;
        (void)pthread_mutex_unlock(&f->lock);
        assert_int_equal(reply.status, FLY_DEADLINE_EXCEEDED);
        assert_null(reply.message);
        if (parked) {
            assert_true(reply.sent);
        }
        rpc_reply_fini(&reply);
    }
}

static void test_deadline(void **state)
{
    struct fixture f;
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
    Fly__V1__StatusReply answer = FLY__V1__STATUS_REPLY__INIT;
    struct rpc_call_options options = {.trace = {.trace_id = {7}}};
    struct rpc_reply reply;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    call_until_parked(&f, channel, &options);
    fixture_wait(&f, &f.cancels, 1);
    struct rpc_call *call = fixture_take(&f);
    assert_true(rpc_call_cancelled(call));
    assert_true(rpc_call_deadline_ms(call) > 0);
    assert_int_equal(rpc_call_trace(call)->trace_id[0], 7);
    rpc_call_reply(call, &answer.base); /* too late: reaches nobody */
    check_echo(channel, 10, 1);
    assert_int_equal(rpc_server_counters(f.server).orphaned, 1);
    assert_int_equal(rpc_server_counters(f.server).cancelled, 1);

    options.timeout_ms = -1;
    assert_int_equal(rpc_channel_call(channel, &rpc_edge_status, &request.base, &options, &reply),
                     FLY_DEADLINE_EXCEEDED);
    assert_false(reply.sent);
    rpc_reply_fini(&reply);
    rpc_channel_close(channel);
    fixture_stop(&f);
}

/* A request that is still in this process when its deadline passes is taken back: it is neither
 * executed nor "maybe executed". */
static void test_withdrawn(void **state)
{
    enum { ROUNDS = 100 };
    struct fixture f;
    unsigned rounds = 0;
    unsigned sent = 0;
    bool both = false;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    f.finish_cancelled = true;
    struct rpc_channel *channel = fixture_connect(&f, "me");
    /* another thread that has not done writing yet may take them along: then once more */
    for (; !both && rounds < ROUNDS; rounds++) {
        struct tally t;
        uint32_t id = 0;
        tally_init(&t);
        rpc_batch_begin();
        start_status(channel, &t, 10, NULL);
        start_status(channel, &t, 0, &id);
        rpc_channel_cancel(channel, id);
        tally_wait(&t, 2);
        rpc_batch_end();
        assert_int_equal(t.by_status[FLY_DEADLINE_EXCEEDED], 1);
        assert_int_equal(t.by_status[FLY_CANCELLED], 1);
        both = t.not_sent == 2;
        sent += 2 - t.not_sent;
    }
    assert_true(both);
    check_echo(channel, 10, 1);
    assert_in_range(rpc_server_counters(f.server).calls, 1, 1 + sent);
    rpc_channel_close(channel);
    fixture_stop(&f);
}

static void test_cancel(void **state)
{
    struct fixture f;
    struct tally t;
    uint32_t id = 0;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    tally_init(&t);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    for (unsigned i = 0; i < 5000; i++) { /* more than generations of a slot */
        start_status(channel, &t, 0, &id);
        struct rpc_call *call = fixture_take(&f);
        rpc_call_hold(call);
        rpc_channel_cancel(channel, id);
        rpc_channel_cancel(channel, id); /* ended already: nothing */
        rpc_call_fail(call, FLY_ABORTED, "stopped", (struct fly_bytes){0});
        assert_true(rpc_call_finished(call));
        rpc_call_drop(call);
    }
    tally_wait(&t, 5000);
    assert_int_equal(t.by_status[FLY_CANCELLED], 5000);
    assert_int_equal(t.not_sent, 0);
    check_echo(channel, 10, 1);
    rpc_channel_close(channel);
    fixture_stop(&f);
}

static void test_failures(void **state)
{
    static const uint8_t detail[] = {1, 2, 3};
    struct fixture f;
    struct tally t;
    struct rpc_reply reply;
    struct rpc_method unknown = rpc_edge_status;
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    Fly__V1__HealthCheckRequest check = FLY__V1__HEALTH_CHECK_REQUEST__INIT;
    Fly__V1__HealthCheckResponse large = FLY__V1__HEALTH_CHECK_RESPONSE__INIT;

    (void)state;
    (void)large;
    fixture_start(&f, LOOPBACK, NULL);
    tally_init(&t);
    struct rpc_channel *channel = fixture_connect(&f, "me");

    unknown.name = "fly.v1.Edge/Nothing";
    unknown.hash = rpc_method_hash(unknown.name);
    assert_int_equal(rpc_channel_call(channel, &unknown, &request.base, NULL, &reply),
                     FLY_UNIMPLEMENTED);
    assert_false(reply.sent);
    rpc_reply_fini(&reply);

    request.vm = (char *)"\xff\xfe"; /* not UTF-8: the server's check refuses it */
    assert_int_equal(rpc_channel_call(channel, &rpc_edge_status, &request.base, NULL, &reply),
                     FLY_INTERNAL);
    assert_non_null(strstr(reply.text, "UTF-8"));
    assert_false(reply.sent);
    rpc_reply_fini(&reply);

    ping.payload.len = 1 << 20;
    ping.payload.data = calloc(1, ping.payload.len);
    assert_int_equal(rpc_channel_call(channel, &rpc_health_echo, &ping.base, NULL, &reply),
                     FLY_INVALID_ARGUMENT);
    assert_false(reply.sent);
    rpc_reply_fini(&reply);
    free(ping.payload.data);

    assert_int_equal(
        rpc_channel_start(channel, &rpc_health_check, &check.base, NULL, tally_done, &t, NULL),
        FLY_OK);
    rpc_call_fail(fixture_take(&f), FLY_NOT_FOUND, "no such service",
                  (struct fly_bytes){detail, sizeof detail});
    tally_wait(&t, 1);
    assert_int_equal(t.by_status[FLY_NOT_FOUND], 1);
    rpc_channel_close(channel);
    struct rpc_server_counters counters = rpc_server_counters(f.server);
    assert_int_equal(counters.unknown_methods, 1);
    assert_int_equal(counters.malformed, 1);
    fixture_stop(&f);
}

static void *fail_with_detail(void *user)
{
    uint8_t detail[FRAME_DETAIL_MAX];
    char text[FRAME_TEXT_MAX + 100];

    memset(detail, 5, sizeof detail);
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    rpc_call_fail(fixture_take(user), FLY_FAILED_PRECONDITION, text,
                  (struct fly_bytes){detail, sizeof detail});
    return NULL;
}

static void test_detail(void **state)
{
    struct fixture f;
    pthread_t server;
    struct rpc_reply reply;
    struct rpc_reply moved;
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    assert_int_equal(pthread_create(&server, NULL, fail_with_detail, &f), 0);
    assert_int_equal(rpc_channel_call(channel, &rpc_edge_status, &request.base, NULL, &reply),
                     FLY_FAILED_PRECONDITION);
    (void)pthread_join(server, NULL);
    assert_int_equal(strlen(reply.text), FRAME_TEXT_MAX); /* cut, never dropped */
    assert_int_equal(reply.detail.size, FRAME_DETAIL_MAX);
    assert_int_equal(reply.detail.data[FRAME_DETAIL_MAX - 1], 5);
    assert_true(reply.sent);
    rpc_reply_move(&moved, &reply);
    assert_null(reply.memory);
    assert_int_equal(moved.detail.size, FRAME_DETAIL_MAX);
    rpc_reply_fini(&reply);
    rpc_reply_fini(&moved);
    rpc_channel_close(channel);
    fixture_stop(&f);
}

static void test_reply_too_large(void **state)
{
    struct fixture f;
    struct rpc_channel *channel = NULL;
    struct fly_error error;
    struct rpc_reply reply;
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    struct rpc_channel_config config = {.url = rpc_server_url(f.server, 0),
                                        .frame_max = FRAME_SIZE_MIN};
    assert_int_equal(rpc_channel_open(&channel, &config, &error), FLY_OK);
    ping.payload.len = FRAME_SIZE_MIN;
    ping.payload.data = calloc(1, ping.payload.len);
    assert_int_equal(rpc_channel_call(channel, &rpc_health_echo, &ping.base, NULL, &reply),
                     FLY_RESOURCE_EXHAUSTED);
    assert_true(reply.sent);
    rpc_reply_fini(&reply);
    free(ping.payload.data);
    check_echo(channel, 100, 1);
    rpc_channel_close(channel);
    fixture_stop(&f);
}

static void test_hello(void **state)
{
    struct fixture f;
    struct rpc_channel *channel = NULL;
    struct rpc_reply reply;
    struct fly_error error;
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    struct rpc_channel_config config = {.url = rpc_server_url(f.server, 0),
                                        .hello = text_bytes("refuse")};
    assert_int_equal(rpc_channel_open_detailed(&channel, &config, &reply), FLY_UNAUTHENTICATED);
    assert_non_null(strstr(reply.text, "token expired"));
    assert_int_equal(reply.detail.size, 4);
    assert_string_equal((const char *)reply.detail.data, "why");
    rpc_reply_fini(&reply);
    assert_int_equal(rpc_channel_open(&channel, &config, &error), FLY_UNAUTHENTICATED);
    assert_non_null(strstr(error.text, "token expired"));

    channel = fixture_connect(&f, "nobody");
    check_echo(channel, 10, 1);
    assert_int_equal(rpc_channel_call(channel, &rpc_edge_status, &request.base, NULL, &reply),
                     FLY_UNAUTHENTICATED);
    assert_false(reply.sent);
    rpc_reply_fini(&reply);
    rpc_channel_close(channel);
    assert_int_equal(rpc_server_counters(f.server).hellos_refused, 2);
    assert_int_equal(rpc_server_counters(f.server).unauthenticated, 1);
    fixture_stop(&f);
}

/* What a pipelining client sends before HELLO's answer: open methods run, the others wait in
 * their order, and a cancelled one is never executed. */
static void test_call_before_answer(void **state)
{
    struct fixture f;
    struct frame frame;
    static const struct fly_bytes empty;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    int fd = bare_connect(&f);
    bare_preface(fd);
    bare_request(fd, frame_call_id(1, 1), &rpc_edge_status, text_bytes("\x0a\x01z"));
    bare_frame(fd, (struct frame_header){.type = FRAME_HELLO}, empty, text_bytes("later"));
    bare_request(fd, frame_call_id(2, 1), &rpc_edge_status, text_bytes("\x0a\x01y"));
    bare_request(fd, frame_call_id(3, 1), &rpc_edge_status, text_bytes("\x0a\x01x"));
    bare_request(fd, frame_call_id(4, 1), &rpc_health_echo, empty);
    bare_frame(fd, (struct frame_header){.type = FRAME_CANCEL, .call_id = frame_call_id(2, 1)},
               empty, empty);
    bare_skip_preface(fd);
    assert_true(bare_next(fd, &frame));
    assert_int_equal(frame.header.call_id, frame_call_id(4, 1));
    assert_int_equal(frame.header.arg, FLY_OK);
    assert_true(bare_next(fd, &frame));
    assert_int_equal(frame.header.call_id, frame_call_id(2, 1));
    assert_int_equal(frame.header.arg, FLY_CANCELLED);
    assert_int_equal(frame.header.flags, FRAME_FLAG_NOT_EXECUTED);
    assert_int_equal(f.parked_count, 0);
    fixture_note(&f, &f.peers);
    rpc_hello_accept(f.hello, text_bytes("hi"), &f);
    assert_true(bare_next(fd, &frame));
    assert_int_equal(frame.header.type, FRAME_HELLO);
    fixture_wait_parked(&f, 2);
    for (unsigned i = 0; i < 2; i++) {
        struct rpc_call *call = fixture_take(&f);
        const Fly__V1__StatusRequest *request = (const void *)rpc_call_request(call);
        assert_string_equal(request->vm, i == 0 ? "z" : "x");
        assert_ptr_equal(rpc_call_peer(call), &f);
        rpc_call_fail(call, FLY_NOT_FOUND, "none", empty);
        assert_true(bare_next(fd, &frame));
        assert_int_equal(frame.header.call_id, frame_call_id(i == 0 ? 1 : 3, 1));
    }
    (void)close(fd);
    fixture_wait(&f, &f.peers_gone, 1);
    fixture_stop(&f);
}

/* HELLO is answered when its connection has long gone; its peer is ended all the same. */
static void test_hello_after_death(void **state)
{
    struct fixture f;
    static const struct fly_bytes empty;

    (void)state;
    for (unsigned refuse = 0; refuse < 2; refuse++) {
        fixture_start(&f, LOOPBACK, NULL);
        int fd = bare_connect(&f);
        bare_preface(fd);
        bare_frame(fd, (struct frame_header){.type = FRAME_HELLO}, empty, text_bytes("later"));
        bare_request(fd, frame_call_id(2, 1), &rpc_edge_status, text_bytes("\x0a\x01y"));
        bare_skip_preface(fd);
        (void)close(fd);
        WAIT_UNTIL(rpc_server_counters(f.server).connections == 0 &&
                   rpc_server_counters(f.server).accepted == 1);
        (void)pthread_mutex_lock(&f.lock);
        struct rpc_hello *hello = f.hello;
        (void)pthread_mutex_unlock(&f.lock);
        assert_non_null(hello);
        if (refuse == 0) {
            fixture_note(&f, &f.peers);
            rpc_hello_accept(hello, empty, &f);
            assert_int_equal(f.peers_gone, 1);
        } else {
            rpc_hello_refuse(hello, FLY_UNAUTHENTICATED, "no", empty);
        }
        assert_int_equal(f.parked_count, 0);
        fixture_stop(&f);
    }
}

static void test_connection_killed(void **state)
{
    enum { CALLS = 100 };
    struct fixture f;
    struct tally t;
    Fly__V1__StatusReply answer = FLY__V1__STATUS_REPLY__INIT;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    tally_init(&t);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    for (unsigned i = 0; i < CALLS; i++) {
        start_status(channel, &t, i % 2 == 0 ? 0 : PATIENCE_MS, NULL);
    }
    fixture_wait_parked(&f, CALLS);
    rpc_server_close(f.server);
    tally_wait(&t, CALLS);
    assert_int_equal(t.by_status[FLY_UNAVAILABLE], CALLS);
    assert_int_equal(t.not_sent, 0);
    fixture_wait(&f, &f.cancels, CALLS);
    assert_false(rpc_channel_alive(channel));
    assert_int_equal(f.peers_gone, 0); /* its calls are still at the application */
    for (unsigned i = 0; i < CALLS; i++) {
        assert_int_equal(f.peers_gone, 0);
        rpc_call_reply(fixture_take(&f), &answer.base);
    }
    assert_int_equal(f.peers_gone, 1);
    assert_int_equal(rpc_server_counters(f.server).orphaned, CALLS);
    rpc_channel_close(channel);
    assert_int_equal(t.ended, CALLS);
    fixture_stop(&f);
}

static void test_channel_closed_mid_call(void **state)
{
    struct fixture f;
    struct tally t;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    tally_init(&t);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    for (unsigned i = 0; i < 10; i++) {
        start_status(channel, &t, 0, NULL);
    }
    fixture_wait_parked(&f, 10);
    rpc_channel_close(channel);
    assert_int_equal(t.ended, 10);
    assert_int_equal(t.by_status[FLY_CANCELLED], 10);
    fixture_wait(&f, &f.cancels, 10);
    fixture_stop(&f);
}

static void test_drain(void **state)
{
    struct fixture f;
    struct tally t;
    struct rpc_reply reply;
    struct rpc_channel *late = NULL;
    struct fly_error error;
    Fly__V1__StatusReply answer = FLY__V1__STATUS_REPLY__INIT;
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    tally_init(&t);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    start_status(channel, &t, 0, NULL);
    fixture_wait_parked(&f, 1);
    rpc_server_drain(f.server);
    WAIT_UNTIL(!rpc_channel_alive(channel));
    assert_int_equal(rpc_channel_call(channel, &rpc_edge_status, &request.base, NULL, &reply),
                     FLY_UNAVAILABLE);
    assert_false(reply.sent);
    rpc_reply_fini(&reply);
    struct rpc_channel_config config = {.url = rpc_server_url(f.server, 0)};
    assert_int_equal(rpc_channel_open(&late, &config, &error), FLY_UNAVAILABLE);
    assert_false(rpc_server_idle(f.server));
    rpc_call_reply(fixture_take(&f), &answer.base); /* what was in flight ends well */
    tally_wait(&t, 1);
    assert_int_equal(t.by_status[FLY_OK], 1);
    rpc_channel_close(channel);
    WAIT_UNTIL(rpc_server_idle(f.server));
    fixture_stop(&f);
}

static void test_open_errors(void **state)
{
    static const struct {
        const char *url;
        enum fly_status status;
        const char *what;
    } rows[] = {
        {"tcp://127.0.0.1:1", FLY_UNAVAILABLE, "nobody listens"},
        {"ipc:///tmp/flylight-no-such-socket", FLY_UNAVAILABLE, "no such socket"},
        {"tcp://localhost:7401", FLY_INVALID_ARGUMENT, "a name, not a number"},
        {"tcp://127.0.0.1", FLY_INVALID_ARGUMENT, "no port"},
        {"tcp://127.0.0.1:", FLY_INVALID_ARGUMENT, "empty port"},
        {"tcp://127.0.0.1:70000", FLY_INVALID_ARGUMENT, "port out of range"},
        {"tcp://127.0.0.1:74x", FLY_INVALID_ARGUMENT, "junk behind the port"},
        {"tcp://[::1:7401", FLY_INVALID_ARGUMENT, "open bracket"},
        {"inproc://x", FLY_UNAVAILABLE, "nobody of this process"},
        {"inproc://", FLY_INVALID_ARGUMENT, "no name"},
        {"http://127.0.0.1:80", FLY_INVALID_ARGUMENT, "another protocol"},
        {"", FLY_INVALID_ARGUMENT, "nothing"},
    };
    struct rpc_channel *channel = NULL;
    struct fly_error error;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct rpc_channel_config config = {.url = rows[i].url};
        enum fly_status status = rpc_channel_open(&channel, &config, &error);
        if (status != rows[i].status) {
            fail_msg("%s: %s (%s)", rows[i].what, fly_status_name(status), error.text);
        }
    }
}

/* Something listens that is not ours: silent, or talking something else. */
static void test_open_strangers(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    char url[64];
    struct rpc_channel *channel = NULL;
    struct fly_error error;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    struct rpc_channel_config config = {.url = url, .connect_timeout_ms = 50};
    assert_int_equal(rpc_channel_open(&channel, &config, &error), FLY_DEADLINE_EXCEEDED);
    (void)close(fd);
}

static void test_create_errors(void **state)
{
    struct fixture f;
    struct rpc_server *server = NULL;
    struct fly_error error;
    const struct rpc_method *twice[] = {&rpc_edge_list, &rpc_edge_list};
    const char *urls[2] = {"tcp://127.0.0.1:0", "tcp://nowhere:1"};

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    struct rpc_server_config config = {.urls = urls,
                                       .url_count = 2,
                                       .methods = rpc_methods,
                                       .method_count = rpc_method_count,
                                       .on_call = fixture_on_call};
    assert_int_equal(rpc_server_create(&server, &config, &error), FLY_INVALID_ARGUMENT);
    urls[1] = rpc_server_url(f.server, 0);
    assert_int_equal(rpc_server_create(&server, &config, &error), FLY_UNAVAILABLE);
    assert_non_null(strstr(error.text, "in use"));
    config.methods = twice;
    config.method_count = 2;
    assert_int_equal(rpc_server_create(&server, &config, &error), FLY_INTERNAL);
    fixture_stop(&f);
}

static void test_method_table(void **state)
{
    struct fly_error error;

    (void)state;
    assert_int_equal(rpc_methods_check(rpc_methods, rpc_method_count, &error), FLY_OK);
    assert_int_equal(rpc_method_hash(""), 2166136261U); /* FNV-1a's published vectors */
    assert_int_equal(rpc_method_hash("a"), 0xe40c292c);
    assert_int_equal(rpc_method_hash("foobar"), 0xbf9cf968);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_method_table),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_in_flight),
        cmocka_unit_test(test_limit_of_calls),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_withdrawn),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_detail),
        cmocka_unit_test(test_reply_too_large),
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_call_before_answer),
        cmocka_unit_test(test_hello_after_death),
        cmocka_unit_test(test_connection_killed),
        cmocka_unit_test(test_channel_closed_mid_call),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_open_errors),
        cmocka_unit_test(test_open_strangers),
        cmocka_unit_test(test_create_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
