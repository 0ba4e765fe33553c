/*
 * builtin_fixture - a server of services, and channels to it: what the tests of the built-in
 * services share.
 */
#ifndef FLY_TESTS_BUILTIN_FIXTURE_H
#define FLY_TESTS_BUILTIN_FIXTURE_H

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fly/v1/health.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/builtin.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/server.h"

enum { PATIENCE_MS = 30000 };

#define UNUSED_OK __attribute__((unused))

UNUSED_OK static struct rpc_server *serve_on(const struct rpc_service *services, size_t count,
                                             uint32_t workers)
{
    const char *url = "tcp://127.0.0.1:0";
    struct rpc_server_config config = {.urls = &url,
                                       .url_count = 1,
                                       .services = services,
                                       .service_count = count,
                                       .workers = workers,
                                       .calls_max = 4096};
    struct rpc_server *server = NULL;
    struct fly_error error = {.text = ""};

    if (rpc_server_create(&server, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return server;
}

static struct rpc_channel *channel_to(const struct rpc_server *server)
{
    struct rpc_channel_config config = {.url = rpc_server_url(server, 0), .calls_max = 4096};
    struct rpc_channel *channel = NULL;
    struct fly_error error = {.text = ""};

    if (rpc_channel_open(&channel, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return channel;
}

/* Until `what` of the server's counters is `wanted`. */
#define AWAIT_COUNTER(server, what, wanted)                                                        \
    do {                                                                                           \
        int64_t until_ms_ = fly_clock_boot_ms() + PATIENCE_MS;                                     \
        while (rpc_server_counters(server).what != (wanted)) {                                     \
            assert_true(fly_clock_boot_ms() < until_ms_);                                          \
            (void)sched_yield();                                                                   \
        }                                                                                          \
    } while (0)

#endif
