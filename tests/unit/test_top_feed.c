/*
 * top_feed against a scripted edge over real connections: pages, the stream, a reset, a break, and
 * the end for good. One feed a process: its end is the process's.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/lib/top_feed.h"
#include "fly/v1/admin.rpc.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server.h"

enum { PAGE = 2, PATIENCE_MS = 20000, LOOK_MS = 5, MACHINES = 5 };

struct edge {
    pthread_mutex_t lock;
    struct rpc_server *server;
    const char *names[MACHINES]; /* what Machines tells */
    size_t count;
    unsigned loads; /* first pages that were asked for */
    unsigned pages;
    unsigned watches;
    bool refuse; /* Watch: for good */
    char since[128];
    Fly__V1__WatchPolicy policy;
    uint32_t pace_ms;
    struct rpc_call *stream;
};

static void on_hello(void *user, struct rpc_hello *hello)
{
    Fly__V1__HelloReply reply = FLY__V1__HELLO_REPLY__INIT;
    uint8_t packed[128];

    reply.node = "edge-a";
    reply.cluster = "c1";
    rpc_hello_accept(hello, (struct fly_bytes){packed, fly__v1__hello_reply__pack(&reply, packed)},
                     user);
}

static void machines(struct edge *edge, struct rpc_call *call)
{
    const Fly__V1__ListMachinesRequest *request =
        (const Fly__V1__ListMachinesRequest *)rpc_call_request(call);
    Fly__V1__ListMachinesReply reply = FLY__V1__LIST_MACHINES_REPLY__INIT;
    Fly__V1__Machine made[PAGE];
    Fly__V1__Machine *pointers[PAGE];
    char cursor[64];
    char next[8] = "";
    size_t at = request->after[0] != '\0' ? (size_t)(request->after[0] - '0') : 0;

    (void)pthread_mutex_lock(&edge->lock);
    edge->loads += at == 0 ? 1 : 0;
    edge->pages++;
    /* each page tells another cursor: the first one's is what counts */
    (void)snprintf(cursor, sizeof cursor, "00000a:000000000000c0de:%u0%zu", edge->loads, at);
    for (; at < edge->count && reply.n_machines < PAGE; at++) {
        Fly__V1__Machine *m = &made[reply.n_machines];
        fly__v1__machine__init(m);
        m->name = (char *)(uintptr_t)edge->names[at];
        m->region = "SIN";
        m->slice = "00000a";
        m->cores = m->cores_free = 32;
        pointers[reply.n_machines++] = m;
    }
    if (at < edge->count) {
        (void)snprintf(next, sizeof next, "%zu", at);
    }
    (void)pthread_mutex_unlock(&edge->lock);
    reply.machines = pointers;
    reply.next = next;
    reply.cursor = cursor;
    rpc_call_reply(call, &reply.base);
}

static void watch(struct edge *edge, struct rpc_call *call)
{
    const Fly__V1__WatchRequest *request = (const Fly__V1__WatchRequest *)rpc_call_request(call);

    (void)pthread_mutex_lock(&edge->lock);
    bool refuse = edge->refuse;
    (void)fly_copy_string(edge->since, sizeof edge->since, request->since);
    edge->policy = request->policy;
    edge->pace_ms = request->pace_ms;
    edge->stream = refuse ? NULL : call;
    edge->watches++;
    (void)pthread_mutex_unlock(&edge->lock);
    if (refuse) {
        rpc_call_fail(call, FLY_PERMISSION_DENIED, "no longer", (struct fly_bytes){0});
    }
}

static void on_call(void *user, struct rpc_call *call)
{
    struct edge *edge = user;

    if (rpc_call_method(call) == &rpc_edge_machines) {
        machines(edge, call);
    } else if (rpc_call_method(call) == &rpc_edge_watch) {
        watch(edge, call);
    } else if (rpc_call_method(call) == &rpc_edge_regions) {
        Fly__V1__RegionsReply reply = FLY__V1__REGIONS_REPLY__INIT;
        Fly__V1__Region region = FLY__V1__REGION__INIT;
        Fly__V1__Region *pointers[] = {&region};
        region.code = "SIN";
        region.city = "Singapore";
        reply.regions = pointers;
        reply.n_regions = 1;
        rpc_call_reply(call, &reply.base);
    } else {
        rpc_call_fail(call, FLY_PERMISSION_DENIED, "not for you", (struct fly_bytes){0});
    }
}

/* The stream that is open, once it is. */
static struct rpc_call *take_stream(struct edge *edge)
{
    for (int64_t until = fly_clock_boot_ms() + PATIENCE_MS; fly_clock_boot_ms() < until;) {
        (void)pthread_mutex_lock(&edge->lock);
        struct rpc_call *stream = edge->stream;
        (void)pthread_mutex_unlock(&edge->lock);
        if (stream != NULL) {
            return stream;
        }
        assert_true(session_pause(LOOK_MS));
    }
    fail_msg("no watch");
    return NULL;
}

/* Ends it; the next one is another. */
static void end_stream(struct edge *edge, enum fly_status status)
{
    struct rpc_call *stream = take_stream(edge);

    (void)pthread_mutex_lock(&edge->lock);
    edge->stream = NULL;
    (void)pthread_mutex_unlock(&edge->lock);
    rpc_call_fail(stream, status, "as told", (struct fly_bytes){0});
}

static void tell(struct edge *edge, uint64_t seq, const char *machine, uint32_t cores_free)
{
    Fly__V1__WatchReply reply = FLY__V1__WATCH_REPLY__INIT;
    Fly__V1__Event event = FLY__V1__EVENT__INIT;
    Fly__V1__Event *events[] = {&event};

    event.slice = "00000a";
    event.incarnation = 0xc0de;
    event.seq = seq;
    event.type = FLY__V1__EVENT_TYPE__EVENT_VM_STARTED;
    event.machine = (char *)(uintptr_t)machine;
    event.region = "SIN";
    event.machine_cores_free = cores_free;
    reply.events = events;
    reply.n_events = 1;
    assert_int_equal(rpc_call_send(take_stream(edge), &reply.base), FLY_OK);
}

static bool model_is(struct top_feed *feed, uint64_t count, uint64_t cores_free, enum top_link link)
{
    struct top_status status = {0};
    const struct top_model *model = top_feed_lock(feed, &status);
    bool is = model->sums.machines == count && model->sums.cores_free == cores_free &&
              status.link == link && model->order_count == count;

    top_feed_unlock(feed);
    return is;
}

static void await_model(struct top_feed *feed, uint64_t count, uint64_t cores_free)
{
    for (int64_t until = fly_clock_boot_ms() + PATIENCE_MS;
         !model_is(feed, count, cores_free, TOP_LIVE);) {
        assert_true(fly_clock_boot_ms() < until);
        assert_true(session_pause(LOOK_MS));
    }
}

static void begin(struct edge *edge, struct session *session)
{
    static const struct rpc_method *const methods[] = {&rpc_edge_regions, &rpc_edge_machines,
                                                       &rpc_edge_watch, &rpc_admin_members};
    static const char *const url = "tcp://127.0.0.1:0";
    const struct rpc_server_config config = {.urls = &url,
                                             .url_count = 1,
                                             .methods = methods,
                                             .method_count = FLY_ARRAY_COUNT(methods),
                                             .user = edge,
                                             .on_hello = on_hello,
                                             .on_call = on_call};
    struct fly_error error = {.text = ""};

    assert_int_equal(pthread_mutex_init(&edge->lock, NULL), 0);
    assert_int_equal(rpc_server_create(&edge->server, &config, &error), FLY_OK);
    session_init(session, rpc_server_url(edge->server, 0), "");
}

static void await_note(struct top_feed *feed)
{
    struct top_status status = {0};

    for (int64_t until = fly_clock_boot_ms() + PATIENCE_MS; status.note[0] == '\0';) {
        (void)top_feed_lock(feed, &status);
        assert_null(top_feed_members(feed));
        top_feed_unlock(feed);
        assert_true(fly_clock_boot_ms() < until);
        assert_true(session_pause(LOOK_MS));
    }
    assert_string_equal(status.node, "edge-a");
    assert_string_equal(status.cluster, "c1");
    assert_true(status.heard_ms > 0);
}

static void test_one_life(void **state)
{
    static struct edge edge = {.names = {"m-1", "m-2", "m-3"}, .count = 3};
    struct session session;
    struct failure failure = {0};

    (void)state;
    begin(&edge, &session);
    struct top_feed *feed = top_feed_start(&session, PATIENCE_MS);
    assert_non_null(feed);
    await_model(feed, 3, 96);
    (void)take_stream(&edge);
    assert_int_equal(edge.pages, 2);
    assert_string_equal(edge.since, "00000a:000000000000c0de:100"); /* the first page's */
    assert_int_equal(edge.policy, FLY__V1__WATCH_POLICY__WATCH_LATEST_PER_OBJECT);
    assert_int_equal(edge.pace_ms, TOP_FEED_PACE_MS);
    await_note(feed); /* members are refused: that is said, and is no end */

    tell(&edge, 105, "m-2", 30);
    await_model(feed, 3, 94);

    top_feed_pause(feed, true);
    tell(&edge, 106, "m-3", 20);
    top_feed_pause(feed, false);
    await_model(feed, 3, 82);

    end_stream(&edge, FLY_UNAVAILABLE); /* it goes on where it was */
    (void)take_stream(&edge);
    assert_string_equal(edge.since, "00000a:000000000000c0de:106");
    assert_int_equal(edge.pages, 2);
    tell(&edge, 106, "m-3", 1); /* what comes twice is left out */
    tell(&edge, 107, "m-1", 31);
    await_model(feed, 3, 81);

    (void)pthread_mutex_lock(&edge.lock);
    edge.names[0] = "m-9"; /* m-1 is gone, */
    edge.names[3] = "m-4"; /* this came */
    edge.count = 4;
    (void)pthread_mutex_unlock(&edge.lock);
    Fly__V1__WatchReply reset = FLY__V1__WATCH_REPLY__INIT;
    reset.reset = 1;
    reset.reset_reason = "retention";
    struct rpc_call *old = take_stream(&edge);
    (void)pthread_mutex_lock(&edge.lock);
    edge.stream = NULL;
    (void)pthread_mutex_unlock(&edge.lock);
    assert_int_equal(rpc_call_send(old, &reset.base), FLY_OK);
    await_model(feed, 4, 128);
    (void)take_stream(&edge);
    assert_string_equal(edge.since, "00000a:000000000000c0de:200");
    rpc_call_fail(old, FLY_CANCELLED, "was left", (struct fly_bytes){0});

    assert_false(top_feed_ended(feed, &failure));
    (void)pthread_mutex_lock(&edge.lock);
    edge.refuse = true;
    (void)pthread_mutex_unlock(&edge.lock);
    end_stream(&edge, FLY_UNAVAILABLE);
    for (int64_t until = fly_clock_boot_ms() + PATIENCE_MS; !top_feed_ended(feed, &failure);) {
        assert_true(fly_clock_boot_ms() < until);
        assert_true(session_pause(LOOK_MS));
    }
    assert_int_equal(failure.status, FLY_PERMISSION_DENIED);
    assert_string_equal(failure.message, "no longer");
    top_feed_stop(feed);
    rpc_server_destroy(edge.server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_life)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
