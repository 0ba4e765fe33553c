/*
 * api_fixture - a dash on a free port, a scripted edge behind it, and a socket that asks: what the
 * test_api*.c files share.
 *
 * The edge holds VMs that tests put there or launch; a test may tell it how the next launches are
 * refused. Watch is parked: the test sends on it. Tokens are the names of scopes with '+' between.
 */
#ifndef FLY_TESTS_API_FIXTURE_H
#define FLY_TESTS_API_FIXTURE_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "client/lib/session.h"
#include "dash/dash.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server.h"
#include "proto/wire/key.h"
#include "proto/wire/vmid.h"

#define UNUSED_OK __attribute__((unused))
#define ALL_SCOPES "regions+launch+read+destroy+watch"

enum { EDGE_VMS_MAX = 64, EDGE_WATCHES_MAX = 512, API_PATIENCE_MS = 30000, EDGE_TAG = 0xa1 };

struct edge_vm {
    char id[16];
    char name[64];
    char region[16];
    struct fly_key key;
    uint32_t cores;
    uint64_t memory_bytes;
    bool destroyed;
};

enum edge_launch { EDGE_TAKES, EDGE_REFUSES, EDGE_SILENT };

struct api_edge {
    struct rpc_server *server;
    char url[64];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum edge_launch launch;
    enum fly_status status; /* of EDGE_REFUSES */
    Fly__V1__Reason reason;
    bool retryable;
    const char *hint;
    bool parking; /* launches wait until it is false */
    struct edge_vm vms[EDGE_VMS_MAX];
    size_t vm_count;
    unsigned launches;
    unsigned lists;
    unsigned hellos;
    struct rpc_call *watches[EDGE_WATCHES_MAX];
    size_t watch_count; /* ever */
    char since[512];    /* of the latest */
    size_t types;       /* that it asked for */
    bool refuse_watch;
    unsigned cancels;
};

static void edge_refuse(struct rpc_call *call, enum fly_status status, Fly__V1__Reason reason,
                        bool retryable, const char *hint)
{
    Fly__V1__Refusal refusal = FLY__V1__REFUSAL__INIT;
    uint8_t packed[512];

    refusal.reason = reason;
    refusal.retryable = retryable;
    refusal.message = "as the script says";
    refusal.hint = hint != NULL ? (char *)(uintptr_t)hint : "";
    FLY_CHECK(fly__v1__refusal__get_packed_size(&refusal) <= sizeof packed);
    rpc_call_fail(call, status, "refused",
                  (struct fly_bytes){packed, fly__v1__refusal__pack(&refusal, packed)});
}

static void edge_on_hello(void *user, struct rpc_hello *hello)
{
    Fly__V1__HelloReply reply = FLY__V1__HELLO_REPLY__INIT;
    Fly__V1__RegionTag a = FLY__V1__REGION_TAG__INIT;
    Fly__V1__RegionTag *tags[] = {&a};
    struct api_edge *edge = user;
    uint8_t packed[512];

    (void)pthread_mutex_lock(&edge->lock);
    edge->hellos++;
    (void)pthread_mutex_unlock(&edge->lock);
    a.region = "SIN";
    a.tag = EDGE_TAG;
    a.cores_free_max = 32;
    a.memory_free_max_bytes = UINT64_C(1) << 40;
    reply.tags = tags;
    reply.n_tags = 1;
    reply.time_ms = fly_clock_wall_ms();
    rpc_hello_accept(hello, (struct fly_bytes){packed, fly__v1__hello_reply__pack(&reply, packed)},
                     user);
}

static void edge_vm_fill(Fly__V1__Vm *out, struct edge_vm *vm)
{
    fly__v1__vm__init(out);
    out->id = vm->id;
    out->name = vm->name;
    out->region = vm->region;
    out->machine = "m1";
    out->slice = "0000a1";
    out->cores = vm->cores;
    out->memory_bytes = vm->memory_bytes;
    out->state =
        vm->destroyed ? FLY__V1__VM_STATE__VM_STATE_DESTROYED : FLY__V1__VM_STATE__VM_STATE_STARTED;
    out->created_at_ms = INT64_C(1790000000123);
    out->destroyed_at_ms = vm->destroyed ? INT64_C(1790000001000) : 0;
    out->subject = "tester";
    out->key = (ProtobufCBinaryData){FLY_KEY_SIZE, vm->key.bytes};
}

/* With the lock. */
static UNUSED_OK struct edge_vm *edge_add_vm(struct api_edge *edge, const char *region)
{
    struct edge_vm *vm = &edge->vms[edge->vm_count++];

    FLY_CHECK(edge->vm_count <= EDGE_VMS_MAX);
    *vm = (struct edge_vm){.cores = 1, .memory_bytes = 1000000000};
    vmid_format(vmid_make(EDGE_TAG, edge->vm_count), vm->id);
    (void)snprintf(vm->region, sizeof vm->region, "%s", region);
    (void)snprintf(vm->name, sizeof vm->name, "vm-%zu", edge->vm_count);
    return vm;
}

static void edge_take_launch(struct api_edge *edge, struct rpc_call *call)
{
    const Fly__V1__LaunchRequest *q = (const Fly__V1__LaunchRequest *)rpc_call_request(call);
    Fly__V1__LaunchReply reply = FLY__V1__LAUNCH_REPLY__INIT;
    Fly__V1__Vm shown;
    struct fly_key key = {.bytes = {0}};
    struct edge_vm *vm = NULL;

    FLY_CHECK(q->key.len == FLY_KEY_SIZE);
    memcpy(key.bytes, q->key.data, FLY_KEY_SIZE);
    for (size_t i = 0; i < edge->vm_count && vm == NULL; i++) {
        vm = key_equal(&edge->vms[i].key, &key) ? &edge->vms[i] : NULL;
    }
    reply.replayed = vm != NULL;
    if (vm == NULL) {
        vm = edge_add_vm(edge, q->region);
        vm->key = key;
        vm->cores = q->cores;
        vm->memory_bytes = q->memory_bytes;
        if (q->name[0] != '\0') {
            (void)snprintf(vm->name, sizeof vm->name, "%s", q->name);
        }
    }
    edge_vm_fill(&shown, vm);
    reply.vm = &shown;
    reply.tries = 1;
    rpc_call_reply(call, &reply.base);
    (void)pthread_cond_broadcast(&edge->changed);
}

static void edge_on_launch(struct api_edge *edge, struct rpc_call *call)
{
    (void)pthread_mutex_lock(&edge->lock);
    edge->launches++;
    (void)pthread_cond_broadcast(&edge->changed);
    while (edge->parking) {
        (void)pthread_cond_wait(&edge->changed, &edge->lock);
    }
    switch (edge->launch) {
    case EDGE_TAKES:
        edge_take_launch(edge, call);
        break;
    case EDGE_REFUSES:
        edge_refuse(call, edge->status, edge->reason, edge->retryable, edge->hint);
        break;
    case EDGE_SILENT: /* on_cancel ends it */
        break;
    }
    (void)pthread_mutex_unlock(&edge->lock);
}

static void edge_on_list(struct api_edge *edge, struct rpc_call *call)
{
    const Fly__V1__ListRequest *q = (const Fly__V1__ListRequest *)rpc_call_request(call);
    Fly__V1__ListReply reply = FLY__V1__LIST_REPLY__INIT;
    Fly__V1__Vm shown[EDGE_VMS_MAX];
    Fly__V1__Vm *vms[EDGE_VMS_MAX];

    (void)pthread_mutex_lock(&edge->lock);
    edge->lists++;
    (void)pthread_cond_broadcast(&edge->changed);
    for (size_t i = q->after; i < edge->vm_count; i++) {
        if (reply.n_vms == q->limit) {
            reply.next = i;
            break;
        }
        if (!edge->vms[i].destroyed &&
            (q->region[0] == '\0' || strcmp(q->region, edge->vms[i].region) == 0)) {
            edge_vm_fill(&shown[reply.n_vms], &edge->vms[i]);
            vms[reply.n_vms] = &shown[reply.n_vms];
            reply.n_vms++;
        }
    }
    reply.vms = vms;
    rpc_call_reply(call, &reply.base);
    (void)pthread_mutex_unlock(&edge->lock);
}

static void edge_on_one(struct api_edge *edge, struct rpc_call *call, const char *id, bool destroy)
{
    Fly__V1__StatusReply status = FLY__V1__STATUS_REPLY__INIT;
    Fly__V1__DestroyReply destroyed = FLY__V1__DESTROY_REPLY__INIT;
    struct edge_vm *vm = NULL;
    Fly__V1__Vm shown;

    (void)pthread_mutex_lock(&edge->lock);
    for (size_t i = 0; i < edge->vm_count && vm == NULL; i++) {
        vm = strncmp(edge->vms[i].id, id, strlen(id)) == 0 ? &edge->vms[i] : NULL;
    }
    if (vm == NULL) {
        edge_refuse(call, FLY_NOT_FOUND, FLY__V1__REASON__REASON_NOT_FOUND, false, NULL);
    } else if (destroy) {
        destroyed.already = vm->destroyed;
        vm->destroyed = true;
        edge_vm_fill(&shown, vm);
        destroyed.vm = &shown;
        rpc_call_reply(call, &destroyed.base);
    } else {
        edge_vm_fill(&shown, vm);
        status.vm = &shown;
        rpc_call_reply(call, &status.base);
    }
    (void)pthread_mutex_unlock(&edge->lock);
}

static void edge_on_watch(struct api_edge *edge, struct rpc_call *call)
{
    const Fly__V1__WatchRequest *q = (const Fly__V1__WatchRequest *)rpc_call_request(call);

    (void)pthread_mutex_lock(&edge->lock);
    if (edge->refuse_watch) {
        edge_refuse(call, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_OVERLOADED, true, NULL);
    } else {
        FLY_CHECK(edge->watch_count < EDGE_WATCHES_MAX);
        (void)snprintf(edge->since, sizeof edge->since, "%s", q->since);
        edge->types = q->n_types;
        edge->watches[edge->watch_count++] = call;
        (void)pthread_cond_broadcast(&edge->changed);
    }
    (void)pthread_mutex_unlock(&edge->lock);
}

static void edge_on_call(void *user, struct rpc_call *call)
{
    const struct rpc_method *method = rpc_call_method(call);
    struct api_edge *edge = user;

    if (method == &rpc_edge_launch) {
        edge_on_launch(edge, call);
    } else if (method == &rpc_edge_list) {
        edge_on_list(edge, call);
    } else if (method == &rpc_edge_status) {
        edge_on_one(edge, call, ((const Fly__V1__StatusRequest *)rpc_call_request(call))->vm,
                    false);
    } else if (method == &rpc_edge_destroy) {
        edge_on_one(edge, call, ((const Fly__V1__DestroyRequest *)rpc_call_request(call))->vm,
                    true);
    } else if (method == &rpc_edge_watch) {
        edge_on_watch(edge, call);
    } else {
        edge_refuse(call, FLY_PERMISSION_DENIED, FLY__V1__REASON__REASON_SCOPE_MISSING, false,
                    NULL);
    }
}

static void edge_on_cancel(void *user, struct rpc_call *call)
{
    struct api_edge *edge = user;

    (void)pthread_mutex_lock(&edge->lock);
    for (size_t i = 0; i < edge->watch_count; i++) {
        edge->watches[i] = edge->watches[i] == call ? NULL : edge->watches[i];
    }
    (void)pthread_mutex_unlock(&edge->lock);
    rpc_call_fail(call, FLY_CANCELLED, "given up", (struct fly_bytes){0});
    (void)pthread_mutex_lock(&edge->lock);
    edge->cancels++;
    (void)pthread_cond_broadcast(&edge->changed);
    (void)pthread_mutex_unlock(&edge->lock);
}

static void edge_listen(struct api_edge *edge, const char *url)
{
    static const struct rpc_method *const methods[] = {&rpc_edge_launch,  &rpc_edge_regions,
                                                       &rpc_edge_list,    &rpc_edge_status,
                                                       &rpc_edge_destroy, &rpc_edge_watch};
    struct fly_error error = {.text = ""};
    const struct rpc_server_config config = {
        .urls = &url,
        .url_count = 1,
        .methods = methods,
        .method_count = FLY_ARRAY_COUNT(methods),
        .user = edge,
        .on_hello = edge_on_hello,
        .on_call = edge_on_call,
        .on_cancel = edge_on_cancel,
    };

    if (rpc_server_create(&edge->server, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    (void)snprintf(edge->url, sizeof edge->url, "%s", rpc_server_url(edge->server, 0));
}

static UNUSED_OK void edge_open(struct api_edge *edge)
{
    memset(edge, 0, sizeof *edge);
    FLY_CHECK(pthread_mutex_init(&edge->lock, NULL) == 0);
    FLY_CHECK(pthread_cond_init(&edge->changed, NULL) == 0);
    edge_listen(edge, "tcp://127.0.0.1:0");
}

/* Ends what is parked. */
static UNUSED_OK void edge_shut(struct api_edge *edge)
{
    rpc_server_close(edge->server);
    (void)pthread_mutex_lock(&edge->lock);
    for (size_t i = 0; i < edge->watch_count; i++) {
        if (edge->watches[i] != NULL) {
            rpc_call_fail(edge->watches[i], FLY_UNAVAILABLE, "dead", (struct fly_bytes){0});
        }
    }
    edge->watch_count = 0;
    (void)pthread_mutex_unlock(&edge->lock);
    rpc_server_destroy(edge->server);
}

static UNUSED_OK void edge_close(struct api_edge *edge)
{
    edge_shut(edge);
    (void)pthread_cond_destroy(&edge->changed);
    (void)pthread_mutex_destroy(&edge->lock);
}

static UNUSED_OK void edge_script(struct api_edge *edge, enum edge_launch launch,
                                  enum fly_status status, Fly__V1__Reason reason, bool retryable)
{
    (void)pthread_mutex_lock(&edge->lock);
    edge->launch = launch;
    edge->status = status;
    edge->reason = reason;
    edge->retryable = retryable;
    (void)pthread_mutex_unlock(&edge->lock);
}

/* --- the dash --- */

static enum fly_status api_verify(void *user, const char *token, size_t size, int64_t wall_ms,
                                  struct dash_who *out, struct fly_error *error)
{
    (void)user;
    *out = (struct dash_who){.subject = "tester", .expires_ms = wall_ms + 3600 * 1000};
    if (size == 4 && memcmp(token, "none", 4) == 0) {
        return FLY_OK;
    }
    if (!token_scopes_parse(token, '+', &out->scopes)) {
        return fly_error_set(error, FLY_UNAUTHENTICATED, "no such token");
    }
    return FLY_OK;
}

/* SIN at home with two machines, HKG near it with one, GRU far with one that is full; `vms_max` and
 * the like from `limits`, which may be NULL. */
static UNUSED_OK struct dash *api_dash(const struct api_edge *edge,
                                       const struct dash_config *limits)
{
    static const struct picture_region regions[] = {
        {.code = "SIN",
         .city = "Singapore",
         .country = "SG",
         .status = "operational",
         .latitude = 1.3,
         .longitude = 103.8,
         .has_position = true},
        {.code = "HKG",
         .city = "Hong Kong",
         .country = "HK",
         .status = "operational",
         .latitude = 22.3,
         .longitude = 114.2,
         .has_position = true},
        {.code = "GRU",
         .city = "S\u00e3o Paulo",
         .country = "BR",
         .status = "degraded",
         .latitude = -23.5,
         .longitude = -46.7,
         .has_position = true},
        {.code = "MEL", .city = "", .country = "", .status = "operational"},
    };
    static const struct {
        const char *name;
        const char *region;
        uint32_t cores_free;
    } machines[] = {
        {"sin-1", "SIN", 32}, {"sin-2", "SIN", 8}, {"hkg-1", "HKG", 32}, {"gru-1", "GRU", 0}};
    struct dash_config config = limits != NULL ? *limits : (struct dash_config){0};
    struct fly_error error = {.text = ""};
    struct dash *dash = NULL;

    config.host = "127.0.0.1";
    config.node = "tester";
    config.region = config.region != NULL ? config.region : "SIN";
    config.cluster = "00112233445566778899aabbccddeeff";
    config.edges = edge != NULL ? edge->url : "";
    config.machines_max = 1024;
    config.verify = api_verify;
    if (dash_create(&dash, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(regions); i++) {
        dash_put_region(dash, &regions[i]);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(machines); i++) {
        struct event event = {.slice = EDGE_TAG,
                              .incarnation = 0xc0de,
                              .seq = i + 1,
                              .type = EVENT_MACHINE_ADDED,
                              .time_ms = 1790000000000,
                              .cores = 32,
                              .memory_bytes = UINT64_C(64000000000),
                              .machine_cores_free = machines[i].cores_free,
                              .machine_memory_free_bytes =
                                  UINT64_C(2000000000) * machines[i].cores_free};
        (void)snprintf(event.machine, sizeof event.machine, "%s", machines[i].name);
        (void)snprintf(event.region, sizeof event.region, "%s", machines[i].region);
        dash_event(dash, &event);
    }
    return dash;
}

/* --- asking --- */

static int api_connect(const struct dash *dash)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(dash_port(dash))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

struct answer {
    unsigned status;
    char head[4096];
    json_t *body; /* NULL: no JSON */
};

static UNUSED_OK void answer_fini(struct answer *answer)
{
    json_decref(answer->body);
    answer->body = NULL;
}

/* "GET /v1/regions"; headers with \r\n each, or "". Sends only. */
static int api_send(const struct dash *dash, const char *token, const char *line,
                    const char *headers, const char *body)
{
    char request[8192];
    int fd = api_connect(dash);
    int size = snprintf(request, sizeof request,
                        "%s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%s%s%s%s"
                        "Content-Length: %zu\r\n\r\n%s",
                        line, strstr(headers, "Connection:") != NULL ? "" : "Connection: close\r\n",
                        token != NULL ? "Authorization: Bearer " : "", token != NULL ? token : "",
                        token != NULL ? "\r\n" : "", headers, strlen(body), body);

    assert_true(size > 0 && (size_t)size < sizeof request);
    assert_int_equal(send(fd, request, (size_t)size, MSG_NOSIGNAL), size);
    return fd;
}

static size_t api_read_some(int fd, char *out, size_t room)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&poller, 1, API_PATIENCE_MS), 1);
    ssize_t got = recv(fd, out, room, 0);
    return got > 0 ? (size_t)got : 0;
}

static UNUSED_OK struct answer api_answer(int fd)
{
    struct answer answer = {.status = 0};
    size_t room = 1 << 20;
    char *bytes = calloc(1, room + 1);
    size_t size = 0;
    size_t got = 0;

    while (size < room && (got = api_read_some(fd, bytes + size, room - size)) > 0) {
        size += got;
    }
    (void)close(fd);
    char *end = strstr(bytes, "\r\n\r\n");
    assert_non_null(end);
    assert_int_equal(sscanf(bytes, "HTTP/1.1 %u", &answer.status), 1);
    (void)snprintf(answer.head, sizeof answer.head, "%.*s", (int)(end - bytes + 2), bytes);
    answer.body = json_loads(end + 4, 0, NULL);
    free(bytes);
    return answer;
}

static UNUSED_OK struct answer api_ask(const struct dash *dash, const char *token, const char *line,
                                       const char *headers, const char *body)
{
    return api_answer(api_send(dash, token, line, headers, body));
}

static UNUSED_OK const char *answer_text(const struct answer *answer, const char *path)
{
    const json_t *at = answer->body;
    char part[64];

    while (*path != '\0') {
        size_t size = strcspn(path, ".");
        (void)snprintf(part, sizeof part, "%.*s", (int)size, path);
        at = json_object_get(at, part);
        path += size + (path[size] == '.' ? 1 : 0);
    }
    return json_is_string(at) ? json_string_value(at) : "";
}

#endif
