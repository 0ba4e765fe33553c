/*
 * edge_fixture - a scripted edge over real connections, for the tests of flyrpc's library: it
 * answers, refuses, stays silent, or dies with the request in its hands and comes back.
 */
#ifndef FLY_TESTS_EDGE_FIXTURE_H
#define FLY_TESTS_EDGE_FIXTURE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/lib/launching.h"
#include "client/lib/watching.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server.h"

#define R(name) FLY__V1__REASON__REASON_##name

enum { TRIES_MAX = 16, TAG_A = 0xa1, TAG_B = 0xb2, FIVE_S = 5000, ALL_THE_TIME = 30000 };

enum act_kind {
    ACT_OK = 1,
    ACT_EMPTY,     /* OK without a VM */
    ACT_REFUSE,    /* with `status` and `reason`, and a tag of slice B if `room_at_b` */
    ACT_SILENT,    /* no answer until the caller gives up */
    ACT_INTERRUPT, /* silent, and a person presses Ctrl-C while the call is here */
    ACT_DIE,       /* the edge dies with the call in its hands, and comes back */
};

struct act {
    enum act_kind kind;
    enum fly_status status;
    Fly__V1__Reason reason;
    bool retryable;
    bool room_at_b;
};

struct edge {
    struct rpc_server *server;
    char url[64];
    const struct rpc_tls *tls; /* NULL: plain */
    const struct act *acts;
    size_t act_count;
    size_t at;      /* acts done */
    char *tells[4]; /* urls of edges in HELLO's answer */
    size_t tell_count;
    unsigned hellos;
    struct fly_key keys[TRIES_MAX];
    char since[4][256]; /* of each Watch */
    const struct told *tolds;
    size_t told_count;
    size_t told_at;
    size_t watches;
    struct rpc_call *held; /* of ACT_DIE, or the stream to cut */
    bool dying;
    bool closing;
    pthread_t killer;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static const struct rpc_method *const methods[] = {&rpc_edge_launch, &rpc_edge_regions,
                                                   &rpc_edge_watch};

static void on_hello(void *user, struct rpc_hello *hello)
{
    Fly__V1__HelloReply reply = FLY__V1__HELLO_REPLY__INIT;
    Fly__V1__RegionTag a = FLY__V1__REGION_TAG__INIT;
    Fly__V1__RegionTag *tags[] = {&a};
    struct edge *edge = user;
    uint8_t packed[512];

    (void)pthread_mutex_lock(&edge->lock);
    edge->hellos++;
    (void)pthread_mutex_unlock(&edge->lock);
    reply.edges = edge->tells;
    reply.n_edges = edge->tell_count;
    a.region = "SIN";
    a.tag = TAG_A;
    a.cores_free_max = 32;
    a.memory_free_max_bytes = UINT64_C(1) << 40;
    reply.tags = tags;
    reply.n_tags = 1;
    reply.version = "test";
    reply.time_ms = INT64_C(1790000000000);
    FLY_CHECK(fly__v1__hello_reply__get_packed_size(&reply) <= sizeof packed);
    rpc_hello_accept(hello, (struct fly_bytes){packed, fly__v1__hello_reply__pack(&reply, packed)},
                     user);
}

static void refuse(struct rpc_call *call, const struct act *act)
{
    Fly__V1__Refusal refusal = FLY__V1__REFUSAL__INIT;
    Fly__V1__RegionTag b = FLY__V1__REGION_TAG__INIT;
    Fly__V1__RegionTag *tags[] = {&b};
    uint8_t packed[256];

    refusal.reason = act->reason;
    refusal.retryable = act->retryable;
    refusal.message = "as the script says";
    b.region = "SIN";
    b.tag = TAG_B;
    b.cores_free_max = 32;
    b.memory_free_max_bytes = UINT64_C(1) << 40;
    refusal.tags = tags;
    refusal.n_tags = act->room_at_b ? 1 : 0;
    rpc_call_fail(call, act->status, "refused",
                  (struct fly_bytes){packed, fly__v1__refusal__pack(&refusal, packed)});
}

static void answer(struct rpc_call *call, const struct act *act, const struct fly_key *key)
{
    Fly__V1__LaunchReply reply = FLY__V1__LAUNCH_REPLY__INIT;
    Fly__V1__Vm vm = FLY__V1__VM__INIT;

    vm.id = "0123456789ab";
    vm.key = (ProtobufCBinaryData){FLY_KEY_SIZE, (uint8_t *)(uintptr_t)key->bytes};
    reply.vm = act->kind == ACT_OK ? &vm : NULL;
    reply.tries = 2;
    rpc_call_reply(call, &reply.base);
}

static void on_launch(struct edge *edge, struct rpc_call *call)
{
    const Fly__V1__LaunchRequest *request = (const Fly__V1__LaunchRequest *)rpc_call_request(call);
    /* past the script: the last act for ever */
    size_t at = edge->at < edge->act_count ? edge->at : edge->act_count - 1;
    const struct act *act = &edge->acts[at];
    struct fly_key key = {.bytes = {0}};

    FLY_CHECK(request->key.len == FLY_KEY_SIZE);
    memcpy(key.bytes, request->key.data, FLY_KEY_SIZE);
    (void)pthread_mutex_lock(&edge->lock);
    if (edge->at < TRIES_MAX) {
        edge->keys[edge->at] = key;
    }
    edge->at++;
    if (act->kind == ACT_DIE) {
        edge->held = call;
        edge->dying = true;
        (void)pthread_cond_broadcast(&edge->changed);
    }
    (void)pthread_mutex_unlock(&edge->lock);
    switch (act->kind) {
    case ACT_OK:
    case ACT_EMPTY:
        answer(call, act, &key);
        break;
    case ACT_REFUSE:
        refuse(call, act);
        break;
    case ACT_INTERRUPT:
        session_interrupt();
        break;
    case ACT_SILENT: /* on_cancel finishes it */
    case ACT_DIE:    /* the killer does */
        break;
    }
}

/* One message of a scripted watch: what one slice tells. */
struct told {
    uint32_t slice;
    uint64_t from;      /* events from.. */
    uint64_t to;        /* ..to; before `from`: none */
    const char *cursor; /* "": none in this message */
    const char *reset;  /* reason; NULL: no reset */
    const char *vm;     /* lives there, with a reset; NULL: none */
    bool cut;           /* the stream breaks after this */
};

static void send_told(struct rpc_call *call, const struct told *told)
{
    Fly__V1__WatchReply reply = FLY__V1__WATCH_REPLY__INIT;
    Fly__V1__Event made[8];
    Fly__V1__Event *events[8];
    Fly__V1__Vm vm = FLY__V1__VM__INIT;
    Fly__V1__Vm *vms[] = {&vm};
    char slice[8];

    (void)snprintf(slice, sizeof slice, "%06x", told->slice);
    for (uint64_t seq = told->from; seq != 0 && seq <= told->to; seq++) {
        Fly__V1__Event *event = &made[reply.n_events];
        fly__v1__event__init(event);
        event->slice = slice;
        event->incarnation = 0xc0de;
        event->seq = seq;
        event->type = FLY__V1__EVENT_TYPE__EVENT_VM_STARTED;
        events[reply.n_events++] = event;
    }
    reply.events = events;
    reply.cursor = (char *)(uintptr_t)told->cursor;
    reply.reset = told->reset != NULL;
    reply.reset_reason = told->reset != NULL ? (char *)(uintptr_t)told->reset : "";
    if (told->vm != NULL) {
        vm.id = (char *)(uintptr_t)told->vm;
        vm.slice = slice;
        reply.vms = vms;
        reply.n_vms = 1;
    }
    FLY_CHECK(rpc_call_send(call, &reply.base) == FLY_OK);
}

/* Tells what the script says until the next cut. */
static void on_watch(struct edge *edge, struct rpc_call *call)
{
    const Fly__V1__WatchRequest *request = (const Fly__V1__WatchRequest *)rpc_call_request(call);

    FLY_CHECK(edge->watches < FLY_ARRAY_COUNT(edge->since));
    (void)pthread_mutex_lock(&edge->lock);
    (void)fly_copy_string(edge->since[edge->watches++], sizeof edge->since[0], request->since);
    (void)pthread_mutex_unlock(&edge->lock);
    while (edge->told_at < edge->told_count) {
        const struct told *told = &edge->tolds[edge->told_at++];
        send_told(call, told);
        if (told->cut) {
            rpc_call_fail(call, FLY_UNAVAILABLE, "going away", (struct fly_bytes){0});
            return;
        }
    }
}

static void on_call(void *user, struct rpc_call *call)
{
    struct edge *edge = user;

    if (rpc_call_method(call) == &rpc_edge_launch) {
        on_launch(edge, call);
    } else if (rpc_call_method(call) == &rpc_edge_watch) {
        on_watch(edge, call);
    } else {
        rpc_call_fail(call, FLY_PERMISSION_DENIED, "not for you", (struct fly_bytes){0});
    }
}

static void on_cancel(void *user, struct rpc_call *call)
{
    struct edge *edge = user;

    (void)pthread_mutex_lock(&edge->lock);
    bool held = edge->held == call;
    (void)pthread_mutex_unlock(&edge->lock);
    if (!held) {
        rpc_call_fail(call, FLY_CANCELLED, "given up", (struct fly_bytes){0});
    }
}

static void start_server(struct edge *edge, const char *url)
{
    struct fly_error error = {0};
    const struct rpc_server_config config = {
        .tls = edge->tls,
        .urls = &url,
        .url_count = 1,
        .methods = methods,
        .method_count = FLY_ARRAY_COUNT(methods),
        .user = edge,
        .on_hello = on_hello,
        .on_call = on_call,
        .on_cancel = on_cancel,
    };

    if (rpc_server_create(&edge->server, &config, &error) != FLY_OK) {
        (void)fprintf(stderr, "%s\n", error.text);
        FLY_CHECK(false);
    }
}

/* Kills the edge when the script says so, and brings it back on the same port. */
static void *kill_and_revive(void *user)
{
    struct edge *edge = user;

    (void)pthread_mutex_lock(&edge->lock);
    while (!edge->closing) {
        if (!edge->dying) {
            (void)pthread_cond_wait(&edge->changed, &edge->lock);
            continue;
        }
        struct rpc_call *call = edge->held;
        (void)pthread_mutex_unlock(&edge->lock);
        rpc_server_close(edge->server);
        rpc_call_fail(call, FLY_CANCELLED, "dead", (struct fly_bytes){0});
        rpc_server_destroy(edge->server);
        start_server(edge, edge->url);
        (void)pthread_mutex_lock(&edge->lock);
        edge->held = NULL;
        edge->dying = false;
    }
    (void)pthread_mutex_unlock(&edge->lock);
    return NULL;
}

static void edge_start_tls(struct edge *edge, const struct act *acts, size_t act_count,
                           const struct rpc_tls *tls)
{
    memset(edge, 0, sizeof *edge);
    edge->tls = tls;
    edge->acts = acts;
    edge->act_count = act_count;
    FLY_CHECK(pthread_mutex_init(&edge->lock, NULL) == 0);
    FLY_CHECK(pthread_cond_init(&edge->changed, NULL) == 0);
    start_server(edge, tls != NULL ? "tls+tcp://127.0.0.1:0" : "tcp://127.0.0.1:0");
    (void)fly_copy_string(edge->url, sizeof edge->url, rpc_server_url(edge->server, 0));
    FLY_CHECK(pthread_create(&edge->killer, NULL, kill_and_revive, edge) == 0);
}

static inline void edge_start(struct edge *edge, const struct act *acts, size_t act_count)
{
    edge_start_tls(edge, acts, act_count, NULL);
}

static void edge_stop(struct edge *edge)
{
    (void)pthread_mutex_lock(&edge->lock);
    edge->closing = true;
    (void)pthread_cond_broadcast(&edge->changed);
    (void)pthread_mutex_unlock(&edge->lock);
    (void)pthread_join(edge->killer, NULL);
    rpc_server_destroy(edge->server);
    (void)pthread_cond_destroy(&edge->changed);
    (void)pthread_mutex_destroy(&edge->lock);
}

#endif
