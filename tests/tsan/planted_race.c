/*
 * A race planted in a callback of ours on a poller's thread. Under TSan, with the very suppressions
 * that every other test has, it must be reported: else those suppressions hide our own races
 * (DESIGN 13).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "fly/v1/health.pb-c.h"
#include "fly/v1/health.rpc.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/server.h"

enum { CALLS = 200 };

static volatile unsigned calls_seen; /* written by two threads, and nothing between them */

static void on_call(void *user, struct rpc_call *call)
{
    (void)user;
    calls_seen++;
    rpc_call_reply(call, rpc_call_request(call));
}

static atomic_bool over; /* relaxed: nothing may order the two */

static void *meddle(void *user)
{
    (void)user;
    do {
        calls_seen++;
    } while (!atomic_load_explicit(&over, memory_order_relaxed));
    return NULL;
}

int main(void)
{
    static const struct rpc_method *const methods[] = {&rpc_health_echo};
    static const char *const urls[] = {"tcp://127.0.0.1:0"};
    const struct rpc_server_config config = {
        .urls = urls, .url_count = 1, .methods = methods, .method_count = 1, .on_call = on_call};
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    struct rpc_channel *channel = NULL;
    struct rpc_server *server = NULL;
    struct fly_error error;
    pthread_t meddler;

    if (pthread_create(&meddler, NULL, meddle, NULL) != 0) {
        return EXIT_FAILURE;
    }
    if (rpc_server_create(&server, &config, &error) != FLY_OK ||
        rpc_channel_open(&channel, &(struct rpc_channel_config){.url = rpc_server_url(server, 0)},
                         &error) != FLY_OK) {
        (void)fprintf(stderr, "%s\n", error.text);
        return EXIT_FAILURE;
    }
    for (int i = 0; i < CALLS; i++) {
        struct rpc_reply reply;
        (void)rpc_channel_call(channel, &rpc_health_echo, &ping.base, NULL, &reply);
        rpc_reply_fini(&reply);
    }
    atomic_store_explicit(&over, true, memory_order_relaxed);
    (void)pthread_join(meddler, NULL);
    rpc_channel_close(channel);
    rpc_server_destroy(server);
    (void)printf("%u\n", calls_seen);
    return EXIT_SUCCESS;
}
