/*
 * ours_server - bench.proto on proto/rpc.
 *
 *   ours_server [--cert FILE --key FILE] [--connections N] [--calls N]
 *
 * Prints "listening URL [TLS-URL]". Allocate is answered where it arrives (INLINE); Mailed goes
 * through node/mailbox into a libuv loop, batched as node/node.c does it; Stream sends until its
 * reader's credit is used up, and again when there is some.
 */
#include <argp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "node/mailbox.h"
#include "proto/base/check.h"
#include "proto/rpc/server.h"
#include "tests/bench/rpc/answer.h"
#include "tests/bench/rpc/methods.h"

enum { LANE_MAX = 4096, TAKE_MAX = 64, PEM_MAX = 16 * 1024 };

struct server {
    struct rpc_server *server;
    uv_loop_t loop;
    uv_check_t check;
    uv_idle_t again; /* runs while letters are left */
    struct mailbox mailbox;
    char cert[PEM_MAX];
    char key[PEM_MAX];
    uint32_t connections_max;
    uint32_t calls_max;
};

struct answer {
    Bench__AllocReply reply;
    char host[sizeof BENCH_HOST];
    uint32_t indices[BENCH_GPUS_MAX];
};

static void answer_make(struct answer *a, const struct rpc_call *call)
{
    const Bench__AllocRequest *q = (const Bench__AllocRequest *)rpc_call_request(call);
    uint32_t gpus = q->gpus < BENCH_GPUS_MAX ? q->gpus : BENCH_GPUS_MAX;

    bench__alloc_reply__init(&a->reply);
    a->reply.lease = bench_lease(q->job, q->memory_mib);
    memcpy(a->host, BENCH_HOST, sizeof a->host);
    a->reply.host = a->host;
    for (uint32_t i = 0; i < gpus; i++) {
        a->indices[i] = bench_index(q->job, i);
    }
    a->reply.indices = a->indices;
    a->reply.n_indices = gpus;
}

static void answer(struct rpc_call *call)
{
    struct answer a;

    answer_make(&a, call);
    rpc_call_reply(call, &a.reply.base);
}

/* A refusal is the last thing: on_writable may run on another thread before this one returns. */
static void pump(struct rpc_call *call)
{
    struct answer a;

    answer_make(&a, call);
    rpc_batch_begin();
    enum fly_status status = FLY_OK;
    while (status == FLY_OK) {
        status = rpc_call_send(call, &a.reply.base);
    }
    rpc_batch_end();
}

static void on_hello(void *user, struct rpc_hello *hello)
{
    rpc_hello_accept(hello, (struct fly_bytes){.size = 0}, user);
}

static void on_call(void *user, struct rpc_call *call)
{
    struct server *s = user;
    const struct rpc_method *method = rpc_call_method(call);

    if (method == &bench_allocate) {
        answer(call);
    } else if (method == &bench_stream) {
        pump(call);
    } else if (!mailbox_post(&s->mailbox, MAIL_START, MAIL_CALL, call)) {
        rpc_call_turn_away(call, FLY_RESOURCE_EXHAUSTED, "too many calls wait",
                           (struct fly_bytes){.size = 0});
    }
}

static void on_cancel(void *user, struct rpc_call *call)
{
    (void)user;
    if (rpc_call_method(call) == &bench_stream) { /* it waits for credit: nobody else ends it */
        rpc_call_fail(call, FLY_CANCELLED, "", (struct fly_bytes){.size = 0});
    }
}

static void on_writable(void *user, struct rpc_call *call)
{
    (void)user;
    pump(call);
}

/* ---- the loop ---- */

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* the loop does not sleep: another turn follows */
}

static void turn(struct server *s)
{
    struct mail letters[TAKE_MAX];

    rpc_batch_begin();
    uint32_t count = mailbox_take(&s->mailbox, MAIL_START, letters, TAKE_MAX);
    for (uint32_t i = 0; i < count; i++) {
        answer(letters[i].what);
    }
    rpc_batch_end();
    if (mailbox_empty(&s->mailbox)) {
        (void)uv_idle_stop(&s->again);
    } else {
        (void)uv_idle_start(&s->again, on_idle);
    }
}

static void on_check(uv_check_t *check)
{
    turn(check->data);
}

static void on_woken(uv_async_t *wake)
{
    (void)wake; /* the turn follows in this iteration's check phase */
}

static void open_loop(struct server *s)
{
    const struct mailbox_config mailbox = {.lane_max = {LANE_MAX, LANE_MAX, LANE_MAX, LANE_MAX},
                                           .loop = &s->loop,
                                           .woken = on_woken,
                                           .user = s};

    FLY_CHECK(uv_loop_init(&s->loop) == 0);
    mailbox_init(&s->mailbox, &mailbox);
    FLY_CHECK(uv_check_init(&s->loop, &s->check) == 0 && uv_idle_init(&s->loop, &s->again) == 0);
    s->check.data = s;
    FLY_CHECK(uv_check_start(&s->check, on_check) == 0);
}

/* ---- start ---- */

static void load_pem(const char *path, char out[static PEM_MAX])
{
    FILE *file = fopen(path, "re");
    size_t size = file == NULL ? 0 : fread(out, 1, PEM_MAX - 1, file);

    if (file == NULL || size == 0 || fclose(file) != 0) {
        (void)fprintf(stderr, "ours_server: %s cannot be read\n", path);
        exit(1);
    }
    out[size] = '\0';
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct server *s = state->input;

    switch (key) {
    case 'c':
        load_pem(arg, s->cert);
        return 0;
    case 'k':
        load_pem(arg, s->key);
        return 0;
    case 'n':
        s->connections_max = (uint32_t)strtoul(arg, NULL, 10);
        return 0;
    case 'C':
        s->calls_max = (uint32_t)strtoul(arg, NULL, 10);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void listen_on(struct server *s)
{
    static const char *const urls[] = {"tcp://127.0.0.1:0", "tls+tcp://127.0.0.1:0"};
    static const struct rpc_method *const methods[] = {&bench_allocate, &bench_mailed,
                                                       &bench_stream};
    const struct rpc_tls tls = {.cert_pem = s->cert, .key_pem = s->key};
    size_t count = s->cert[0] == '\0' ? 1 : 2;
    struct fly_error error;

    if (rpc_server_create(&s->server,
                          &(struct rpc_server_config){.urls = urls,
                                                      .url_count = count,
                                                      .tls = count == 2 ? &tls : NULL,
                                                      .methods = methods,
                                                      .method_count = FLY_ARRAY_COUNT(methods),
                                                      .user = s,
                                                      .on_hello = on_hello,
                                                      .on_call = on_call,
                                                      .on_cancel = on_cancel,
                                                      .on_writable = on_writable,
                                                      .connections_max = s->connections_max,
                                                      .tenant_calls_max = 65536,
                                                      .handshake_timeout_ms = 10000,
                                                      .calls_max = s->calls_max},
                          &error) != FLY_OK) {
        (void)fprintf(stderr, "ours_server: %s\n", error.text);
        exit(1);
    }
    (void)printf("listening %s", rpc_server_url(s->server, 0) + strlen("tcp://"));
    if (count == 2) {
        (void)printf(" %s", rpc_server_url(s->server, 1) + strlen("tls+tcp://"));
    }
    (void)printf("\n");
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"cert", 'c', "FILE", 0, "the server's certificate: it listens with TLS too", 0},
        {"key", 'k', "FILE", 0, "its key", 0},
        {"connections", 'n', "N", 0, "at most [1024]", 0},
        {"calls", 'C', "N", 0, "in flight on one connection [256]", 0},
        {0}};
    static const struct argp argp = {.options = options, .parser = parse};
    static struct server s;
    struct rlimit files;

    if (argp_parse(&argp, argc, argv, 0, NULL, &s) != 0) {
        return 64;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    bench_methods_init();
    open_loop(&s);
    listen_on(&s);
    return uv_run(&s.loop, UV_RUN_DEFAULT); /* until a signal ends it */
}
