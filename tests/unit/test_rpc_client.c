/* rpc client: connections that come and go, and what calls make of that. */
#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "tests/unit/client_fixture.h"

static const struct rpc_call_options patient = {.wait_for_ready = true};

static void test_first_use(void **state)
{
    struct fixture f;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    struct rpc_client *client = client_to(rpc_server_url(f.server, 0));
    assert_int_equal(rpc_client_state(client), RPC_CLIENT_IDLE);
    assert_int_equal(rpc_client_counters(client).dials, 0);
    assert_int_equal(call_echo(client, NULL), FLY_OK); /* waits for the first connection */
    assert_int_equal(rpc_client_state(client), RPC_CLIENT_READY);
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(call_echo(client, NULL), FLY_OK);
    }
    struct rpc_client_counters counters = rpc_client_counters(client);
    assert_int_equal(counters.dials, 1);
    assert_int_equal(counters.connections, 1);
    assert_int_equal(counters.calls, 10);
    assert_int_equal(counters.attempts, 10);
    assert_int_equal(counters.retries + counters.transparent_retries + counters.hedges, 0);
    assert_int_equal(counters.waiting, 0);
    struct rpc_method_metrics *m = rpc_metrics_of(rpc_client_metrics(client), &rpc_health_echo);
    assert_int_equal(atomic_load(&m->started), 10);
    assert_int_equal(atomic_load(&m->ended[FLY_OK]), 10);
    rpc_client_close(client);
    fixture_stop(&f);
    rpc_client_close(NULL);
}

static void test_refused_at_once(void **state)
{
    static const char *const two[] = {"tcp://127.0.0.1:1", "tcp://127.0.0.1:2"};
    static const char *const bad[] = {"tcp://127.0.0.1:1", "tcp://localhost:2"};
    static uint8_t large[RPC_HELLO_MAX + 1];
    const struct {
        const char *what;
        struct rpc_client_config config;
    } rows[] = {
        {"no url", {0}},
        {"both", {.url = two[0], .urls = two, .url_count = 2}},
        {"none of several", {.urls = two, .url_count = 0}},
        {"too many", {.urls = two, .url_count = RPC_CLIENT_URLS_MAX + 1}},
        {"a name", {.urls = bad, .url_count = 2}},
        {"HELLO", {.url = two[0], .channel.hello = {large, sizeof large}}},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct rpc_client *client = NULL;
        struct fly_error error = {.text = ""};
        if (rpc_client_create(&client, &rows[i].config, &error) != FLY_INVALID_ARGUMENT ||
            error.text[0] == '\0') {
            fail_msg("%s", rows[i].what);
        }
    }
}

/* Nobody listens: the first call waits for the first try, all others fail at once. */
static void test_nobody(void **state)
{
    struct rpc_reply reply;
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    struct rpc_call_options short_time = {.timeout_ms = 30, .wait_for_ready = true};

    (void)state;
    struct rpc_client *client = client_of((struct rpc_client_config){
        .url = "tcp://127.0.0.1:1", .backoff_first_ms = HOUR_MS, .backoff_max_ms = HOUR_MS});
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(rpc_client_call(client, &rpc_health_echo, &ping.base, NULL, &reply),
                         FLY_UNAVAILABLE);
        assert_false(reply.sent);
        assert_non_null(strstr(reply.text, "tcp://127.0.0.1:1"));
        rpc_reply_fini(&reply);
        assert_int_equal(rpc_client_state(client), RPC_CLIENT_TRANSIENT_FAILURE);
    }
    assert_int_equal(call_echo(client, &short_time), FLY_DEADLINE_EXCEEDED);
    short_time.timeout_ms = -1;
    assert_int_equal(call_echo(client, &short_time), FLY_DEADLINE_EXCEEDED);
    assert_int_equal(rpc_client_counters(client).dials, 1);
    assert_int_equal(rpc_client_counters(client).attempts, 0);
    rpc_client_close(client);
}

/* What the server says against us is the calls' answer. */
static void test_refused_hello(void **state)
{
    struct fixture f;
    struct rpc_client *client = NULL;
    struct fly_error error;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    struct rpc_client_config config = {.url = rpc_server_url(f.server, 0),
                                       .channel.hello = text_bytes("refuse")};
    assert_int_equal(rpc_client_create(&client, &config, &error), FLY_OK);
    assert_int_equal(call_echo(client, NULL), FLY_UNAUTHENTICATED);
    rpc_client_close(client);
    fixture_stop(&f);
}

static void test_waits_for_server(void **state)
{
    struct fixture f;
    char url[64];
    struct caller callers[3] = {{.options = patient}, {.options = patient}, {.options = patient}};
    struct ends ends;

    (void)state;
    ends_init(&ends);
    fresh_url(url);
    struct rpc_client *client = client_to(url);
    for (unsigned i = 0; i < 3; i++) {
        caller_start(&callers[i], client, &plain);
        (void)start_status(client, &plain, &patient, &ends);
    }
    WAIT_UNTIL(rpc_client_counters(client).waiting == 6);
    assert_int_equal(call_echo(client, NULL), FLY_UNAVAILABLE);
    fixture_start(&f, url, NULL);
    for (unsigned i = 0; i < 6; i++) {
        answer(fixture_take(&f));
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(caller_join(&callers[i]), FLY_OK);
    }
    ends_wait(&ends, 6 - 3);
    assert_int_equal(ends.of[FLY_OK], 3);
    assert_true(rpc_client_counters(client).dials >= 2);
    assert_int_equal(rpc_client_counters(client).attempts, 6);
    rpc_client_close(client);
    fixture_stop(&f);
}

static void test_restart(void **state)
{
    struct fixture f;
    char url[64];
    struct caller caller = {0};

    (void)state;
    fresh_url(url);
    fixture_start(&f, url, NULL);
    struct rpc_client *client = client_to(url);
    for (unsigned i = 0; i < 5; i++) {
        await_ready(client);
        /* during a call: it may have been executed, so it is not made again */
        caller_start(&caller, client, &plain);
        fixture_wait_parked(&f, 1);
        fixture_stop(&f);
        assert_int_equal(caller_join(&caller), FLY_UNAVAILABLE);
        assert_true(caller.reply.sent);
        WAIT_UNTIL(rpc_client_state(client) != RPC_CLIENT_READY);
        fixture_start(&f, url, NULL);
    }
    await_ready(client);
    assert_true(rpc_client_counters(client).connections >= 6);
    rpc_client_close(client);
    fixture_stop(&f);
}

/* ---- several urls ---- */

static void test_pick_first(void **state)
{
    struct fixture f[2];
    const char *urls[3] = {"tcp://127.0.0.1:1"};

    (void)state;
    fixture_start(&f[0], LOOPBACK, NULL);
    fixture_start(&f[1], LOOPBACK, NULL);
    urls[1] = rpc_server_url(f[0].server, 0);
    urls[2] = rpc_server_url(f[1].server, 0);
    struct rpc_client *client = client_of((struct rpc_client_config){.urls = urls, .url_count = 3});
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(call_echo(client, NULL), FLY_OK);
    }
    assert_int_equal(rpc_server_counters(f[0].server).calls, 10);
    fixture_stop(&f[0]);
    await_ready(client);
    assert_true(rpc_server_counters(f[1].server).calls > 0);
    rpc_client_close(client);
    fixture_stop(&f[1]);
}

/* A url that accepts and says nothing does not hold up the next. */
static void test_pick_first_beside_a_slow_one(void **state)
{
    struct fixture f;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char url[64];
    const char *urls[2] = {url};

    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    fixture_start(&f, LOOPBACK, NULL);
    urls[1] = rpc_server_url(f.server, 0);
    struct rpc_client *client = client_of((struct rpc_client_config){
        .urls = urls, .url_count = 2, .channel.connect_timeout_ms = HOUR_MS});
    assert_int_equal(call_echo(client, NULL), FLY_OK);
    assert_int_equal(rpc_client_counters(client).connections, 1);
    rpc_client_close(client);
    (void)close(fd);
    fixture_stop(&f);
}

enum { SERVERS = 3 };

static void start_servers(struct fixture f[static SERVERS], const char *urls[static SERVERS])
{
    for (unsigned i = 0; i < SERVERS; i++) {
        fixture_start(&f[i], LOOPBACK, NULL);
        urls[i] = rpc_server_url(f[i].server, 0);
    }
}

static struct rpc_client *balanced(const char *urls[static SERVERS], enum rpc_balance balance)
{
    struct rpc_client *client = client_of(
        (struct rpc_client_config){.urls = urls, .url_count = SERVERS, .balance = balance});

    await_ready(client);
    WAIT_UNTIL(rpc_client_counters(client).connections == SERVERS);
    return client;
}

static void test_round_robin(void **state)
{
    struct fixture f[SERVERS];
    const char *urls[SERVERS];
    uint64_t before[SERVERS];

    (void)state;
    start_servers(f, urls);
    struct rpc_client *client = balanced(urls, RPC_ROUND_ROBIN);
    for (unsigned i = 0; i < SERVERS; i++) {
        before[i] = rpc_server_counters(f[i].server).calls;
    }
    for (unsigned i = 0; i < 10 * SERVERS; i++) {
        assert_int_equal(call_echo(client, NULL), FLY_OK);
    }
    for (unsigned i = 0; i < SERVERS; i++) {
        assert_int_equal(rpc_server_counters(f[i].server).calls - before[i], 10);
    }
    fixture_stop(&f[1]); /* the others go on */
    WAIT_UNTIL(rpc_client_counters(client).dials > SERVERS);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(call_echo(client, NULL), FLY_OK);
    }
    rpc_client_close(client);
    fixture_stop(&f[0]);
    fixture_stop(&f[2]);
}

/* A call counts until just after its end was told: one may still, here and there. */
static void test_least_in_flight(void **state)
{
    struct fixture f[SERVERS];
    const char *urls[SERVERS];
    struct ends ends;

    (void)state;
    ends_init(&ends);
    start_servers(f, urls);
    struct rpc_client *client = balanced(urls, RPC_LEAST_IN_FLIGHT);
    for (unsigned i = 0; i < 10 * SERVERS; i++) {
        (void)start_status(client, &plain, NULL, &ends);
    }
    WAIT_UNTIL(parked(&f[0]) + parked(&f[1]) + parked(&f[2]) == 10 * SERVERS);
    for (unsigned i = 0; i < SERVERS; i++) {
        assert_in_range(parked(&f[i]), 9, 11);
    }
    /* one that is quick gets what it can take */
    unsigned quick = (unsigned)parked(&f[2]);
    for (unsigned i = 0; i < quick; i++) {
        answer(fixture_take(&f[2]));
    }
    ends_wait(&ends, quick);
    for (unsigned i = 0; i < 8; i++) {
        (void)start_status(client, &plain, NULL, &ends);
    }
    WAIT_UNTIL(parked(&f[0]) + parked(&f[1]) + parked(&f[2]) == 10 * SERVERS - quick + 8);
    assert_in_range(parked(&f[2]), 7, 8);
    rpc_client_close(client);
    ends_wait(&ends, 10 * SERVERS + 8);
    assert_int_equal(ends.of[FLY_CANCELLED], 10 * SERVERS + 8 - quick);
    for (unsigned i = 0; i < SERVERS; i++) {
        fixture_stop(&f[i]);
    }
}

/* ---- bounds ---- */

static void test_waiting_max(void **state)
{
    struct ends ends;
    char url[64];

    (void)state;
    ends_init(&ends);
    fresh_url(url);
    struct rpc_client *client = client_of((struct rpc_client_config){.url = url, .waiting_max = 3});
    for (unsigned i = 0; i < 5; i++) {
        (void)start_status(client, &plain, &patient, &ends);
    }
    ends_wait(&ends, 2);
    assert_int_equal(ends.of[FLY_RESOURCE_EXHAUSTED], 2);
    assert_int_equal(rpc_client_counters(client).waiting, 3);
    rpc_client_close(client);
    ends_wait(&ends, 5);
    assert_int_equal(ends.of[FLY_CANCELLED], 3);
}

static void test_kept_max(void **state)
{
    struct ends ends;
    char url[64];
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    uint8_t bytes[1000] = {0};

    (void)state;
    ends_init(&ends);
    fresh_url(url);
    ping.payload.data = bytes;
    ping.payload.len = sizeof bytes;
    struct rpc_client *client =
        client_of((struct rpc_client_config){.url = url, .keep_total_max = 3500});
    for (unsigned i = 0; i < 5; i++) {
        rpc_client_start(client, &rpc_health_echo, &ping.base, &patient, ends_note, &ends, NULL);
    }
    ends_wait(&ends, 2);
    assert_int_equal(ends.of[FLY_RESOURCE_EXHAUSTED], 2);
    rpc_client_close(client);
    ends_wait(&ends, 5);
}

/* More than a connection takes: those who wait for readiness wait for room too. */
static void test_full(void **state)
{
    enum { CALLS = 40 };
    struct fixture f;
    struct ends ends;
    struct rpc_server_config limits = {.calls_max = 4};

    (void)state;
    ends_init(&ends);
    fixture_start(&f, LOOPBACK, &limits);
    struct rpc_client *client = client_to(rpc_server_url(f.server, 0));
    await_ready(client);
    for (unsigned i = 0; i < CALLS; i++) {
        (void)start_status(client, &plain, &patient, &ends);
    }
    fixture_wait_parked(&f, 4);
    assert_int_equal(call_echo(client, NULL), FLY_RESOURCE_EXHAUSTED);
    for (unsigned i = 0; i < CALLS; i++) {
        answer(fixture_take(&f));
    }
    ends_wait(&ends, CALLS);
    assert_int_equal(ends.of[FLY_OK], CALLS);
    rpc_client_close(client);
    fixture_stop(&f);
}

/* ---- streams ---- */

static void test_stream(void **state)
{
    struct fixture f;
    char url[64];
    struct rpc_stream *stream = NULL;
    struct rpc_reply reply;
    struct fly_error error;
    Fly__V1__WatchRequest request = FLY__V1__WATCH_REQUEST__INIT;
    Fly__V1__WatchReply message = FLY__V1__WATCH_REPLY__INIT;

    (void)state;
    fresh_url(url);
    struct rpc_client *client = client_to(url);
    assert_int_equal(
        rpc_client_stream(&stream, client, &rpc_edge_watch, &request.base, NULL, &error),
        FLY_UNAVAILABLE);
    for (unsigned i = 0; i < 3; i++) {
        fixture_start(&f, url, NULL);
        assert_int_equal(
            rpc_client_stream(&stream, client, &rpc_edge_watch, &request.base, &patient, &error),
            FLY_OK);
        struct rpc_call *call = fixture_take(&f);
        assert_int_equal(rpc_call_send(call, &message.base), FLY_OK);
        assert_int_equal(rpc_stream_next(stream, PATIENCE_MS, &reply), RPC_NEXT_MESSAGE);
        rpc_reply_fini(&reply);
        rpc_server_close(f.server);
        rpc_call_fail(call, FLY_UNAVAILABLE, "", (struct fly_bytes){0});
        assert_int_equal(rpc_stream_next(stream, PATIENCE_MS, &reply), RPC_NEXT_END);
        assert_int_equal(reply.status, FLY_UNAVAILABLE);
        rpc_reply_fini(&reply);
        fixture_stop(&f);
        WAIT_UNTIL(rpc_client_state(client) != RPC_CLIENT_READY);
        rpc_stream_close(stream); /* after its connection was retired */
    }
    rpc_client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_use),
        cmocka_unit_test(test_refused_at_once),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_refused_hello),
        cmocka_unit_test(test_waits_for_server),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_pick_first),
        cmocka_unit_test(test_pick_first_beside_a_slow_one),
        cmocka_unit_test(test_round_robin),
        cmocka_unit_test(test_least_in_flight),
        cmocka_unit_test(test_waiting_max),
        cmocka_unit_test(test_kept_max),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_stream),
    };
    plain_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
