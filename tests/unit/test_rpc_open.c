/* rpc: channels that open, end and go without anybody waiting; each tells each thing once. */
#include <fcntl.h>

#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "proto/rpc/methods.h"
#include "tests/unit/rpc_fixture.h"

static const char *const LOOPBACK = "tcp://127.0.0.1:0";

/* What one channel told, in order. */
struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rpc_channel *channel; /* as `opened` gave it */
    unsigned opened;
    unsigned refused;
    unsigned done;
    unsigned closed;
    unsigned out_of_order;
    enum fly_status status; /* of the refusal, or of the last call */
    char text[RPC_TEXT_SIZE];
    bool release_in_opened;
    bool release_in_closed;
    bool call_in_opened;
};

static void told_init(struct told *t)
{
    memset(t, 0, sizeof *t);
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_cond_init(&t->changed, NULL);
}

static void told_fini(struct told *t)
{
    (void)pthread_mutex_destroy(&t->lock);
    (void)pthread_cond_destroy(&t->changed);
}

static void on_done(void *user, struct rpc_reply *reply)
{
    struct told *t = user;

    (void)pthread_mutex_lock(&t->lock);
    t->done++;
    t->status = reply->status;
    t->out_of_order += t->closed > 0 ? 1 : 0;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
}

static void on_opened(void *user, struct rpc_channel *channel, struct rpc_reply *refusal)
{
    struct told *t = user;
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;

    if (refusal == NULL && t->call_in_opened) {
        /* refused only when another thread has released it meanwhile */
        (void)rpc_channel_start(channel, &rpc_health_echo, &ping.base, NULL, on_done, t, NULL);
    }
    if (t->release_in_opened) {
        rpc_channel_release(channel);
    }
    (void)pthread_mutex_lock(&t->lock);
    t->channel = channel;
    t->opened++;
    t->out_of_order += t->closed > 0 ? 1 : 0;
    if (refusal != NULL) {
        assert_false(refusal->sent);
        t->refused++;
        t->status = refusal->status;
        memcpy(t->text, refusal->text, sizeof t->text);
    }
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
}

static void on_closed(void *user)
{
    struct told *t = user;

    if (t->release_in_closed) {
        rpc_channel_release(t->channel);
    }
    (void)pthread_mutex_lock(&t->lock);
    t->out_of_order += t->opened == 0 ? 1 : 0;
    t->closed++;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
}

static void told_wait(struct told *t, const unsigned *counter, unsigned value)
{
    (void)pthread_mutex_lock(&t->lock);
    while (*counter < value) {
        (void)pthread_cond_wait(&t->changed, &t->lock);
    }
    (void)pthread_mutex_unlock(&t->lock);
}

/* Its last word was said: each thing once. */
static void told_check(struct told *t, bool refused)
{
    rpc_channel_settle();
    assert_int_equal(t->opened, 1);
    assert_int_equal(t->refused, refused ? 1 : 0);
    assert_int_equal(t->closed, refused ? 0 : 1);
    assert_int_equal(t->out_of_order, 0);
    told_fini(t);
}

static struct rpc_channel *begin(struct told *t, const char *url, int64_t timeout_ms)
{
    struct rpc_channel *channel = NULL;
    struct fly_error error = {.text = ""};
    struct rpc_channel_config config = {.url = url,
                                        .hello = text_bytes("me"),
                                        .user = t,
                                        .closed = on_closed,
                                        .connect_timeout_ms = timeout_ms};

    if (rpc_channel_start_open(&channel, &config, on_opened, t, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return channel;
}

/* ---- a server that answers ---- */

static void test_life(void **state)
{
    struct fixture f;
    struct told t;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    told_init(&t);
    t.call_in_opened = true;
    struct rpc_channel *channel = begin(&t, rpc_server_url(f.server, 0), PATIENCE_MS);
    told_wait(&t, &t.done, 1);
    assert_int_equal(t.status, FLY_OK);
    assert_ptr_equal(t.channel, channel);
    check_echo(channel, 1000, 7);
    assert_true(rpc_channel_alive(channel));
    assert_int_equal(rpc_channel_hello(channel).size, 2);
    assert_int_equal(t.closed, 0);
    rpc_channel_release(channel);
    told_check(&t, false);
    fixture_stop(&f);
}

static void test_server_goes(void **state)
{
    struct fixture f;
    struct told t;
    struct rpc_reply reply;
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;

    (void)state;
    for (unsigned in_callback = 0; in_callback < 2; in_callback++) {
        fixture_start(&f, LOOPBACK, NULL);
        told_init(&t);
        t.release_in_closed = in_callback == 1;
        struct rpc_channel *channel = begin(&t, rpc_server_url(f.server, 0), PATIENCE_MS);
        told_wait(&t, &t.opened, 1);
        rpc_server_close(f.server);
        told_wait(&t, &t.closed, 1);
        if (in_callback == 0) {
            assert_false(rpc_channel_alive(channel));
            assert_int_equal(rpc_channel_call(channel, &rpc_health_echo, &ping.base, NULL, &reply),
                             FLY_UNAVAILABLE);
            rpc_reply_fini(&reply);
            rpc_channel_release(channel);
        }
        told_check(&t, false);
        fixture_stop(&f);
    }
}

static void test_release_in_flight(void **state)
{
    enum { CALLS = 100 };
    struct fixture f;
    struct told t;
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    told_init(&t);
    struct rpc_channel *channel = begin(&t, rpc_server_url(f.server, 0), PATIENCE_MS);
    told_wait(&t, &t.opened, 1);
    for (unsigned i = 0; i < CALLS; i++) {
        struct rpc_call_options options = {.timeout_ms = i % 2 == 0 ? 0 : PATIENCE_MS};
        assert_int_equal(rpc_channel_start(channel, &rpc_edge_status, &request.base, &options,
                                           on_done, &t, NULL),
                         FLY_OK);
    }
    fixture_wait_parked(&f, CALLS);
    rpc_channel_release(channel);
    told_wait(&t, &t.closed, 1);
    assert_int_equal(t.done, CALLS);
    assert_int_equal(t.status, FLY_CANCELLED);
    told_check(&t, false);
    fixture_wait(&f, &f.cancels, CALLS);
    fixture_stop(&f);
}

static void test_refused(void **state)
{
    struct fixture f;
    struct told t;
    struct rpc_channel *channel = NULL;
    struct rpc_channel_config config = {.hello = text_bytes("refuse"), .closed = on_closed};

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    for (unsigned in_callback = 0; in_callback < 2; in_callback++) {
        told_init(&t);
        t.release_in_opened = in_callback == 1;
        config.user = &t;
        config.url = rpc_server_url(f.server, 0);
        assert_int_equal(rpc_channel_start_open(&channel, &config, on_opened, &t, NULL), FLY_OK);
        told_wait(&t, &t.opened, 1);
        assert_int_equal(t.status, FLY_UNAUTHENTICATED);
        assert_string_equal(t.text, "token expired");
        if (in_callback == 0) {
            assert_false(rpc_channel_alive(channel));
            rpc_channel_close(channel); /* the one that waits will do as well */
        }
        told_check(&t, true);
    }
    fixture_stop(&f);
}

/* ---- nobody, or silence ---- */

static int listen_silently(char url[static 64], int backlog)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(url, 64, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

/* A port whose queue is full: Linux drops further SYNs, so connecting neither succeeds nor fails.
 */
enum { HOLE_FILL = 4 };

struct hole {
    int fds[1 + HOLE_FILL];
    char url[64];
};

static void hole_make(struct hole *hole)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;

    hole->fds[0] = listen_silently(hole->url, 0);
    assert_int_equal(getsockname(hole->fds[0], (struct sockaddr *)&address, &size), 0);
    for (unsigned i = 1; i <= HOLE_FILL; i++) {
        hole->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(hole->fds[i], (struct sockaddr *)&address, size);
    }
}

static void hole_end(struct hole *hole)
{
    for (unsigned i = 0; i <= HOLE_FILL; i++) {
        (void)close(hole->fds[i]);
    }
}

static void test_nobody(void **state)
{
    struct told t;

    (void)state;
    told_init(&t);
    struct rpc_channel *channel = begin(&t, "tcp://127.0.0.1:1", PATIENCE_MS);
    told_wait(&t, &t.opened, 1);
    assert_int_equal(t.status, FLY_UNAVAILABLE);
    rpc_channel_release(channel);
    told_check(&t, true);
}

static void test_deadlines(void **state)
{
    struct told t;
    struct hole hole;
    char silent[64];
    int fd = listen_silently(silent, 8);

    (void)state;
    hole_make(&hole);
    for (unsigned connects = 0; connects < 2; connects++) {
        told_init(&t);
        struct rpc_channel *channel = begin(&t, connects == 1 ? silent : hole.url, 20);
        told_wait(&t, &t.opened, 1);
        assert_int_equal(t.status, FLY_DEADLINE_EXCEEDED);
        rpc_channel_release(channel);
        told_check(&t, true);
    }
    hole_end(&hole);
    (void)close(fd);
}

static void test_release_while_opening(void **state)
{
    struct told t;
    struct hole hole;
    char silent[64];
    int fd = listen_silently(silent, 8);

    (void)state;
    hole_make(&hole);
    for (unsigned i = 0; i < 6; i++) {
        told_init(&t);
        struct rpc_channel *channel = begin(&t, i % 2 == 1 ? silent : hole.url, PATIENCE_MS);
        if (i % 2 == 1 && i > 1) {
            (void)close(accept(fd, NULL, NULL)); /* connected; and here one side hangs up */
        }
        rpc_channel_release(channel);
        told_wait(&t, &t.opened, 1);
        assert_true(t.status == FLY_CANCELLED || t.status == FLY_UNAVAILABLE);
        told_check(&t, true);
    }
    hole_end(&hole);
    (void)close(fd);
}

static void test_errors_at_once(void **state)
{
    static const struct {
        const char *what;
        struct rpc_channel_config config;
    } rows[] = {
        {"a name", {.url = "tcp://localhost:1"}},
        {"TLS without settings", {.url = "tls+tcp://127.0.0.1:1"}},
        {"frames too large", {.url = "tcp://127.0.0.1:1", .frame_max = FRAME_SIZE_MAX + 1}},
        {"HELLO too large", {.url = "tcp://127.0.0.1:1", .hello = {NULL, RPC_HELLO_MAX + 1}}},
    };
    struct told t;
    struct fly_error error;
    struct rpc_channel *channel = NULL;

    (void)state;
    told_init(&t);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        if (rpc_channel_start_open(&channel, &rows[i].config, on_opened, &t, &error) !=
            FLY_INVALID_ARGUMENT) {
            fail_msg("%s", rows[i].what);
        }
    }
    rpc_channel_settle();
    assert_int_equal(t.opened, 0);
    told_fini(&t);
    rpc_channel_release(NULL);
    rpc_channel_close(NULL);
}

/* ---- HELLO over both nonces ---- */

enum { PROOF_SIZE = 2 * FRAME_NONCE_SIZE };

struct proving {
    struct rpc_server *server;
    uint8_t seen[PROOF_SIZE]; /* by the client */
    unsigned made;
    unsigned checked;
    bool give_up;
    bool distrust;
};

static void write_proof(uint8_t out[static PROOF_SIZE], const uint8_t *client,
                        const uint8_t *server)
{
    memcpy(out, client, FRAME_NONCE_SIZE);
    memcpy(out + FRAME_NONCE_SIZE, server, FRAME_NONCE_SIZE);
}

static size_t make_hello(void *user, const uint8_t client[static FRAME_NONCE_SIZE],
                         const uint8_t server[static FRAME_NONCE_SIZE], uint8_t *out, size_t max)
{
    struct proving *p = user;

    assert_true(max >= PROOF_SIZE);
    write_proof(out, client, server);
    write_proof(p->seen, client, server);
    p->made++;
    return p->give_up ? 0 : PROOF_SIZE;
}

static enum fly_status check_hello(void *user, const uint8_t client[static FRAME_NONCE_SIZE],
                                   const uint8_t server[static FRAME_NONCE_SIZE],
                                   struct fly_bytes reply, struct fly_error *error)
{
    struct proving *p = user;
    uint8_t want[PROOF_SIZE];

    p->checked++;
    write_proof(want, server, client); /* the server says it the other way round */
    if (p->distrust || reply.size != PROOF_SIZE || memcmp(reply.data, want, PROOF_SIZE) != 0) {
        return fly_error_set(error, FLY_UNAUTHENTICATED, "not the node that was meant");
    }
    return FLY_OK;
}

static void answer_hello(void *user, struct rpc_hello *hello)
{
    uint8_t proof[PROOF_SIZE];
    uint8_t answer[PROOF_SIZE];
    struct fly_bytes said = rpc_hello_bytes(hello);

    write_proof(proof, rpc_hello_client_nonce(hello), rpc_hello_server_nonce(hello));
    write_proof(answer, rpc_hello_server_nonce(hello), rpc_hello_client_nonce(hello));
    if (said.size == PROOF_SIZE && memcmp(said.data, proof, PROOF_SIZE) == 0) {
        rpc_hello_accept(hello, (struct fly_bytes){answer, sizeof answer}, user);
    } else {
        rpc_hello_refuse(hello, FLY_UNAUTHENTICATED, "no proof", (struct fly_bytes){0});
    }
}

static void answer_call(void *user, struct rpc_call *call)
{
    assert_ptr_equal(rpc_call_peer(call), user);
    rpc_call_reply(call, rpc_call_request(call));
}

static void test_proofs(void **state)
{
    static const struct {
        const char *what;
        bool give_up;
        bool distrust;
        enum fly_status status;
    } rows[] = {
        {"both prove themselves", false, false, FLY_OK},
        {"and once more", false, false, FLY_OK},
        {"the client cannot", true, false, FLY_FAILED_PRECONDITION},
        {"the client does not believe the server", false, true, FLY_UNAUTHENTICATED},
    };
    struct proving p = {0};
    struct fly_error error;
    uint8_t before[PROOF_SIZE] = {0};
    struct rpc_server_config config = {.urls = &LOOPBACK,
                                       .url_count = 1,
                                       .methods = rpc_methods,
                                       .method_count = rpc_method_count,
                                       .user = &p,
                                       .on_hello = answer_hello,
                                       .on_call = answer_call};

    (void)state;
    assert_int_equal(rpc_server_create(&p.server, &config, &error), FLY_OK);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct rpc_channel *channel = NULL;
        struct rpc_channel_config client = {.url = rpc_server_url(p.server, 0),
                                            .user = &p,
                                            .hello_make = make_hello,
                                            .hello_check = check_hello};
        p.give_up = rows[i].give_up;
        p.distrust = rows[i].distrust;
        enum fly_status status = rpc_channel_open(&channel, &client, &error);
        if (status != rows[i].status) {
            fail_msg("%s: %s", rows[i].what, fly_status_name(status));
        }
        if (status == FLY_OK) {
            check_echo(channel, 5, 5);
            rpc_channel_close(channel);
        }
        assert_int_equal(p.made, i + 1);
        /* neither side's nonce is ever the same again */
        assert_memory_not_equal(p.seen, before, FRAME_NONCE_SIZE);
        assert_memory_not_equal(p.seen + FRAME_NONCE_SIZE, before + FRAME_NONCE_SIZE,
                                FRAME_NONCE_SIZE);
        memcpy(before, p.seen, sizeof before);
    }
    assert_int_equal(p.checked, 3);
    rpc_server_destroy(p.server);
}

/* ---- all of it at once ---- */

struct crowd {
    struct fixture *f;
    const char *hole;
    unsigned seed;
};

static void *open_and_drop(void *user)
{
    struct crowd *c = user;
    struct fly_rng rng;
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;

    fly_rng_seed(&rng, c->seed);
    for (unsigned i = 0; i < 60; i++) {
        struct told t;
        uint64_t kind = fly_rng_below(&rng, 6);
        const char *url = kind == 0   ? "tcp://127.0.0.1:1"
                          : kind == 1 ? c->hole
                                      : rpc_server_url(c->f->server, 0);
        told_init(&t);
        t.release_in_opened = kind == 2;
        t.call_in_opened = kind > 1;
        struct rpc_channel *channel = begin(&t, url, kind == 1 ? 5 : PATIENCE_MS);
        if (kind == 3) {
            rpc_channel_release(channel); /* somewhere in its opening */
        }
        told_wait(&t, &t.opened, 1);
        if (kind != 2 && kind != 3) {
            (void)rpc_channel_start(channel, &rpc_health_echo, &ping.base, NULL, on_done, &t, NULL);
            rpc_channel_release(channel);
        }
        if (t.refused == 0) {
            told_wait(&t, &t.closed, 1);
        }
        /* its lock is let go of before it goes */
        (void)pthread_mutex_lock(&t.lock);
        assert_int_equal(t.opened, 1);
        assert_int_equal(t.closed + t.refused, 1);
        assert_int_equal(t.out_of_order, 0);
        (void)pthread_mutex_unlock(&t.lock);
        told_fini(&t);
    }
    return NULL;
}

static void test_crowd(void **state)
{
    struct fixture f;
    struct hole hole;
    pthread_t threads[4];
    struct crowd crowds[4];

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    hole_make(&hole);
    for (unsigned i = 0; i < FLY_ARRAY_COUNT(threads); i++) {
        crowds[i] = (struct crowd){&f, hole.url, i};
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_drop, &crowds[i]), 0);
    }
    for (unsigned i = 0; i < FLY_ARRAY_COUNT(threads); i++) {
        (void)pthread_join(threads[i], NULL);
    }
    rpc_channel_settle();
    hole_end(&hole);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_server_goes),
        cmocka_unit_test(test_release_in_flight),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_release_while_opening),
        cmocka_unit_test(test_errors_at_once),
        cmocka_unit_test(test_proofs),
        cmocka_unit_test(test_crowd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
