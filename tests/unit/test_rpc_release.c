/*
 * A channel that is closed just when a call's deadline comes: the timer must not touch a connection
 * that was given up. A race: it shows in a few hundred tries, not in each.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fly/v1/edge.pb-c.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/server.h"

enum { THREADS = 8, ROUNDS = 300, TURNS_MAX = 4000 };

struct user {
    const char *url;
    uint64_t seed;
    pthread_t thread;
    unsigned ended; /* calls */
};

static void on_hello(void *user, struct rpc_hello *hello)
{
    static int anybody;

    (void)user;
    rpc_hello_accept(hello, (struct fly_bytes){.size = 0}, &anybody);
}

static void on_call(void *user, struct rpc_call *call) /* no answer */
{
    (void)user;
    (void)call;
}

static void on_cancel(void *user, struct rpc_call *call)
{
    (void)user;
    rpc_call_fail(call, FLY_CANCELLED, "given up", (struct fly_bytes){.size = 0});
}

static void on_done(void *user, struct rpc_reply *reply)
{
    rpc_reply_fini(reply);
    (void)__atomic_fetch_add((unsigned *)user, 1, __ATOMIC_RELAXED);
}

static void *close_at_deadline(void *argument)
{
    struct user *u = argument;
    struct fly_rng rng;

    fly_rng_seed(&rng, u->seed);
    for (unsigned i = 0; i < ROUNDS; i++) {
        Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
        struct rpc_channel_config config = {.url = u->url};
        struct rpc_call_options options = {.timeout_ms = 1};
        struct rpc_channel *channel = NULL;
        struct fly_error error = {.text = ""};
        FLY_CHECK(rpc_channel_open(&channel, &config, &error) == FLY_OK);
        FLY_CHECK(rpc_channel_start(channel, &rpc_edge_status, &request.base, &options, on_done,
                                    &u->ended, NULL) == FLY_OK);
        /* some of a millisecond, on whatever machine */
        for (volatile uint64_t turns = fly_rng_below(&rng, TURNS_MAX) * 100; turns > 0; turns--) {
        }
        rpc_channel_close(channel);
    }
    return NULL;
}

static void test_close_at_deadline(void **state)
{
    static const struct rpc_method *const methods[] = {&rpc_edge_status};
    static struct user users[THREADS];
    const char *url = "tcp://127.0.0.1:0";
    struct rpc_server *server = NULL;
    struct fly_error error = {.text = ""};
    const struct rpc_server_config config = {.urls = &url,
                                             .url_count = 1,
                                             .methods = methods,
                                             .method_count = 1,
                                             .on_hello = on_hello,
                                             .on_call = on_call,
                                             .on_cancel = on_cancel};

    (void)state;
    assert_int_equal(rpc_server_create(&server, &config, &error), FLY_OK);
    for (unsigned i = 0; i < THREADS; i++) {
        users[i] = (struct user){.url = rpc_server_url(server, 0), .seed = i + 1};
        FLY_CHECK(pthread_create(&users[i].thread, NULL, close_at_deadline, &users[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(users[i].thread, NULL);
        assert_int_equal(users[i].ended, ROUNDS);
    }
    rpc_server_destroy(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_close_at_deadline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
