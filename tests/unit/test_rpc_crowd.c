/* rpc: many threads that wait for calls of one connection: each is woken, by the reader, the timer,
 * or the end of the connection. A wake that is lost would hang here. */
#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "tests/unit/rpc_fixture.h"

enum { THREADS = 300 /* more than there are places to wait at */, CALLS = 40 };

struct caller {
    struct rpc_channel *channel;
    uint64_t seed;
    pthread_t thread;
    unsigned by_status[FLY_STATUS_COUNT];
    unsigned wrong;
};

static void call_once(struct caller *c, struct fly_rng *rng)
{
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    Fly__V1__StatusRequest status = FLY__V1__STATUS_REQUEST__INIT;
    struct rpc_call_options options = {.timeout_ms = 1 + (int64_t)fly_rng_below(rng, 20)};
    bool late = fly_rng_below(rng, 8) == 0; /* Status is parked: only its deadline ends it */
    struct rpc_reply reply;
    uint8_t bytes[64];

    memset(bytes, (int)c->seed, sizeof bytes);
    ping.payload.data = bytes;
    ping.payload.len = 1 + (size_t)fly_rng_below(rng, sizeof bytes);
    if (late) {
        (void)rpc_channel_call(c->channel, &rpc_edge_status, &status.base, &options, &reply);
    } else {
        (void)rpc_channel_call(c->channel, &rpc_health_echo, &ping.base, NULL, &reply);
    }
    c->by_status[reply.status]++;
    if (reply.status == FLY_OK) {
        const Fly__V1__EchoMessage *pong = (const void *)reply.message;
        c->wrong += pong->payload.len != ping.payload.len ||
                            memcmp(pong->payload.data, bytes, ping.payload.len) != 0
                        ? 1
                        : 0;
    }
    rpc_reply_fini(&reply);
}

static void *call_often(void *user)
{
    struct caller *c = user;
    struct fly_rng rng;

    fly_rng_seed(&rng, c->seed);
    for (unsigned i = 0; i < CALLS; i++) {
        call_once(c, &rng);
    }
    return NULL;
}

static void *call_until_lost(void *user)
{
    struct caller *c = user;
    struct fly_rng rng;

    fly_rng_seed(&rng, c->seed);
    while (c->by_status[FLY_UNAVAILABLE] == 0) {
        call_once(c, &rng);
    }
    return NULL;
}

static void start_all(struct caller *callers, struct rpc_channel *channel, void *run(void *))
{
    for (unsigned i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.channel = channel, .seed = i + 1};
        FLY_CHECK(pthread_create(&callers[i].thread, NULL, run, &callers[i]) == 0);
    }
}

static struct fixture *start(struct rpc_channel **channel)
{
    static struct fixture f;
    struct rpc_server_config limits = {.calls_max = 4096};
    struct fly_error error = {.text = ""};

    fixture_start(&f, "tcp://127.0.0.1:0", &limits);
    f.finish_cancelled = true;
    struct rpc_channel_config config = {
        .url = rpc_server_url(f.server, 0), .hello = text_bytes("me"), .calls_max = 4096};
    if (rpc_channel_open(channel, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return &f;
}

static void test_all_end(void **state)
{
    static struct caller callers[THREADS];
    struct rpc_channel *channel = NULL;
    struct fixture *f = start(&channel);
    unsigned ended = 0;

    (void)state;
    start_all(callers, channel, call_often);
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].wrong, 0);
        ended += callers[i].by_status[FLY_OK] + callers[i].by_status[FLY_DEADLINE_EXCEEDED];
    }
    assert_int_equal(ended, THREADS * CALLS);
    rpc_channel_close(channel);
    fixture_stop(f);
}

static void test_all_lost(void **state)
{
    static struct caller callers[THREADS];
    struct rpc_channel *channel = NULL;
    struct fixture *f = start(&channel);

    (void)state;
    start_all(callers, channel, call_until_lost);
    WAIT_UNTIL(rpc_server_counters(f->server).calls > THREADS);
    rpc_server_close(f->server);
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].wrong, 0);
        assert_int_equal(callers[i].by_status[FLY_UNAVAILABLE], 1);
    }
    rpc_channel_close(channel);
    fixture_stop(f);
}

static void *call_status(void *user)
{
    struct caller *c = user;
    Fly__V1__StatusRequest status = FLY__V1__STATUS_REQUEST__INIT;
    struct rpc_reply reply;

    (void)rpc_channel_call(c->channel, &rpc_edge_status, &status.base, NULL, &reply);
    c->by_status[reply.status]++;
    rpc_reply_fini(&reply);
    return NULL;
}

/* The channel goes while they wait, one of them or many. */
static void test_closed_beneath(void **state)
{
    static struct caller callers[THREADS];
    static const unsigned counts[] = {1, 2, 5, THREADS};

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(counts); i++) {
        struct rpc_channel *channel = NULL;
        struct fixture *f = start(&channel);
        for (unsigned n = 0; n < counts[i]; n++) {
            callers[n] = (struct caller){.channel = channel};
            FLY_CHECK(pthread_create(&callers[n].thread, NULL, call_status, &callers[n]) == 0);
        }
        WAIT_UNTIL(rpc_server_counters(f->server).calls == counts[i]);
        rpc_channel_close(channel);
        for (unsigned n = 0; n < counts[i]; n++) {
            (void)pthread_join(callers[n].thread, NULL);
            assert_int_equal(callers[n].by_status[FLY_CANCELLED], 1);
        }
        fixture_stop(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_end),
        cmocka_unit_test(test_all_lost),
        cmocka_unit_test(test_closed_beneath),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
