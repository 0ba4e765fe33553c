/*
 * rpc: many streams both ways over one connection with tiny windows, ended in every way there is.
 * Credit that is lost anywhere, of a call or of the connection, ends in standstill here.
 */
#include "tests/unit/bare_server.h"

static struct rpc_method chat; /* bare_chat with its hash */

enum { THREADS = 8, STREAMS = 40, WINDOW = 2048, CONN_WINDOW = 6000, MESSAGES_MAX = 60 };

/* ---- the server: each message comes back ---- */

static void echo_all(void *user, struct rpc_call *call)
{
    struct rpc_reply taken;
    enum fly_status status = FLY_OK;

    (void)user;
    while (rpc_call_next(call, -1, &taken) == RPC_NEXT_MESSAGE) {
        status = rpc_call_send_wait(call, taken.message, -1);
        rpc_reply_fini(&taken);
        if (status != FLY_OK) {
            rpc_call_fail(call, FLY_CANCELLED, "the caller is gone", (struct fly_bytes){0});
            return;
        }
    }
    if (taken.status == FLY_OK) {
        rpc_call_reply(call, NULL);
    } else {
        rpc_call_fail(call, taken.status, taken.text, (struct fly_bytes){0});
    }
    rpc_reply_fini(&taken);
}

static void handle(const struct rpc_service *service, size_t index, struct rpc_call *call)
{
    (void)index;
    echo_all(service->user, call);
}

/* ---- a client ---- */

enum ending { FINISHES, CANCELS, CLOSES_UNREAD, RUNS_LATE, ENDING_COUNT };

struct user {
    struct rpc_channel *channel;
    uint64_t seed;
    pthread_t thread;
    unsigned wrong;
    unsigned by_ending[ENDING_COUNT];
};

/* What one stream sends: message i is sizes[i] times i. */
struct script {
    enum ending ending;
    unsigned count;
    unsigned last; /* it goes no further than this many replies, unless it finishes */
    size_t sizes[MESSAGES_MAX];
    unsigned sent;
    unsigned read;
};

static void script_make(struct script *s, struct fly_rng *rng)
{
    memset(s, 0, sizeof *s);
    s->ending = (enum ending)fly_rng_below(rng, ENDING_COUNT);
    s->count = 1 + (unsigned)fly_rng_below(rng, MESSAGES_MAX);
    s->last = (unsigned)fly_rng_below(rng, s->count);
    for (unsigned i = 0; i < s->count; i++) {
        s->sizes[i] = (size_t)fly_rng_below(rng, 1024);
    }
}

/* Takes one message; false: the stream ended. */
static bool take_one(struct user *u, struct script *s, struct rpc_stream *stream,
                     int64_t timeout_ms)
{
    struct rpc_reply reply;
    enum rpc_next next = rpc_stream_next(stream, timeout_ms, &reply);

    if (next == RPC_NEXT_MESSAGE) {
        const Fly__V1__EchoMessage *m = (const void *)reply.message;
        u->wrong += s->read >= s->sent || m->payload.len != s->sizes[s->read] ||
                            (m->payload.len > 0 && m->payload.data[0] != (uint8_t)s->read)
                        ? 1
                        : 0;
        s->read++;
    } else if (next == RPC_NEXT_END) {
        bool well = s->ending == FINISHES
                        ? reply.status == FLY_OK && s->read == s->count
                        : reply.status == FLY_CANCELLED || reply.status == FLY_DEADLINE_EXCEEDED;
        u->wrong += well ? 0 : 1;
    }
    rpc_reply_fini(&reply);
    return next != RPC_NEXT_END;
}

static void play(struct user *u, struct script *s, struct rpc_stream *stream)
{
    struct bare_text m;
    bool goes_on = true;

    while (goes_on && s->sent < s->count) {
        enum fly_status status =
            rpc_stream_send(stream, bare_message(&m, s->sizes[s->sent], (uint8_t)s->sent), 0);
        s->sent += status == FLY_OK ? 1 : 0;
        u->wrong += status != FLY_OK && status != FLY_RESOURCE_EXHAUSTED &&
                            (status != FLY_UNAVAILABLE || s->ending != RUNS_LATE)
                        ? 1
                        : 0;
        if (s->ending != FINISHES && s->read >= s->last && s->sent > s->last) {
            break;
        }
        /* it always reads: else both sides could wait for each other */
        goes_on = take_one(u, s, stream, status == FLY_OK ? 0 : 1);
    }
    if (goes_on && s->ending == CANCELS) {
        rpc_stream_cancel(stream);
    }
    if (s->ending == FINISHES) {
        rpc_stream_finish(stream);
    }
    while (goes_on && s->ending != CLOSES_UNREAD) {
        goes_on = take_one(u, s, stream, -1);
    }
    rpc_stream_close(stream);
}

static void *use(void *argument)
{
    struct user *u = argument;
    struct fly_rng rng;

    fly_rng_seed(&rng, u->seed);
    for (unsigned i = 0; i < STREAMS; i++) {
        struct rpc_stream *stream = NULL;
        struct rpc_call_options options = {.timeout_ms = 0};
        struct fly_error error = {.text = ""};
        struct script s;
        script_make(&s, &rng);
        options.timeout_ms = s.ending == RUNS_LATE ? 1 + (int64_t)fly_rng_below(&rng, 20) : 0;
        if (rpc_stream_open(&stream, u->channel, &chat, NULL, &options, &error) == FLY_OK) {
            play(u, &s, stream);
            u->by_ending[s.ending]++;
        } else {
            u->wrong++;
        }
    }
    return NULL;
}

static void test_flow(void **state)
{
    static struct user users[THREADS];
    static const struct rpc_method *const methods[] = {&chat};
    const struct rpc_service service = {
        .name = "test.v1.T", .methods = methods, .method_count = 1, .handle = handle};
    const char *url = "tcp://127.0.0.1:0";
    struct rpc_server_config config = {.urls = &url,
                                       .url_count = 1,
                                       .services = &service,
                                       .service_count = 1,
                                       .workers = THREADS,
                                       .stream_window = WINDOW,
                                       .conn_window = CONN_WINDOW};
    struct rpc_server *server = NULL;
    struct rpc_channel *channel = NULL;
    struct fly_error error = {.text = ""};
    unsigned by_ending[ENDING_COUNT] = {0};

    (void)state;
    chat = bare_chat;
    chat.hash = rpc_method_hash(chat.name);
    if (rpc_server_create(&server, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    struct rpc_channel_config settings = {
        .url = rpc_server_url(server, 0), .stream_window = WINDOW, .conn_window = CONN_WINDOW};
    if (rpc_channel_open(&channel, &settings, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        users[i] = (struct user){.channel = channel, .seed = i + 1};
        FLY_CHECK(pthread_create(&users[i].thread, NULL, use, &users[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(users[i].thread, NULL);
        assert_int_equal(users[i].wrong, 0);
        for (unsigned e = 0; e < ENDING_COUNT; e++) {
            by_ending[e] += users[i].by_ending[e];
        }
    }
    for (unsigned e = 0; e < ENDING_COUNT; e++) {
        assert_true(by_ending[e] > 0);
    }
    assert_true(rpc_channel_alive(channel)); /* nobody went past a window */
    assert_int_equal(rpc_server_counters(server).violations, 0);
    rpc_channel_close(channel);
    rpc_server_destroy(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
