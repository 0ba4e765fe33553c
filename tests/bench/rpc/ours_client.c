/*
 * ours_client - the calls of bench.proto on proto/rpc, each with a deadline and a trace.
 *
 *   --variant inline   bench.Bench/Allocate [this]
 *   --variant mailed…  bench.Bench/Mailed
 *   --variant wide     with --mode stream: a window of 16 MiB, more than sockets take
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/channel.h"
#include "tests/bench/rpc/answer.h"
#include "tests/bench/rpc/load.h"
#include "tests/bench/rpc/methods.h"

enum { PEM_MAX = 16 * 1024, WIDE_WINDOW = 16 << 20 };

static struct {
    struct rpc_channel *channels[LOAD_CALLERS_MAX];
    unsigned connections;
    const struct rpc_method *method;
    Bench__AllocRequest request;
    struct rpc_call_options options;
} ours;

static void make_request(void)
{
    static char *labels[] = {BENCH_LABEL_0, BENCH_LABEL_1};
    static uint8_t trace[] = BENCH_TRACE;

    bench__alloc_request__init(&ours.request);
    ours.request.tenant = BENCH_TENANT;
    ours.request.job = BENCH_JOB;
    ours.request.gpus = BENCH_GPUS;
    ours.request.memory_mib = BENCH_MEMORY_MIB;
    ours.request.labels = labels;
    ours.request.n_labels = FLY_ARRAY_COUNT(labels);
    ours.request.trace_id = (ProtobufCBinaryData){.len = BENCH_TRACE_SIZE, .data = trace};
    ours.request.priority = BENCH_PRIORITY;
    ours.options.timeout_ms = BENCH_TIMEOUT_MS;
    memcpy(ours.options.trace.trace_id, trace, sizeof ours.options.trace.trace_id);
    memset(ours.options.trace.span_id, 7, sizeof ours.options.trace.span_id);
}

static void read_pem(const char *path, char out[static PEM_MAX])
{
    FILE *file = fopen(path, "re");
    size_t size = file == NULL ? 0 : fread(out, 1, PEM_MAX - 1, file);

    if (file == NULL || size == 0 || fclose(file) != 0) {
        load_die("%s cannot be read", path);
    }
    out[size] = '\0';
}

static void ours_open(const struct load_options *o)
{
    static char ca[PEM_MAX];
    const struct rpc_tls tls = {.ca_pem = ca, .server_name = "flylight", .verify_peer = true};
    char url[128];
    struct fly_error error;

    bench_methods_init();
    make_request();
    ours.connections = o->connections;
    ours.method = strncmp(o->variant, "mailed", 6) == 0 ? &bench_mailed : &bench_allocate;
    if (o->tls_ca != NULL) {
        read_pem(o->tls_ca, ca);
    }
    (void)snprintf(url, sizeof url, "%s://%s", o->tls_ca != NULL ? "tls+tcp" : "tcp", o->address);
    uint32_t window = strcmp(o->variant, "wide") == 0 ? WIDE_WINDOW : 0;
    const struct rpc_channel_config config = {.url = url,
                                              .tls = o->tls_ca != NULL ? &tls : NULL,
                                              .stream_window = window,
                                              .conn_window = window};
    for (unsigned i = 0; i < ours.connections; i++) {
        if (rpc_channel_open(&ours.channels[i], &config, &error) != FLY_OK) {
            load_die("%s: %s", url, error.text);
        }
    }
}

static void ours_close(void)
{
    for (unsigned i = 0; i < ours.connections; i++) {
        rpc_channel_close(ours.channels[i]);
    }
}

static bool right(const struct rpc_reply *reply)
{
    const Bench__AllocReply *a = (const Bench__AllocReply *)reply->message;

    return reply->status == FLY_OK && a->n_indices > 0 &&
           bench_right(a->lease, a->n_indices, a->indices[a->n_indices - 1]) != 0;
}

static unsigned ours_call(unsigned caller)
{
    struct rpc_reply reply;

    (void)rpc_channel_call(ours.channels[caller % ours.connections], ours.method,
                           &ours.request.base, &ours.options, &reply);
    bool ok = right(&reply);
    rpc_reply_fini(&reply);
    return ok ? 1 : 0;
}

static void on_done(void *user, struct rpc_reply *reply)
{
    load_ended((unsigned)(uintptr_t)user, right(reply));
}

static bool ours_start(unsigned caller)
{
    return rpc_channel_start(ours.channels[caller % ours.connections], ours.method,
                             &ours.request.base, &ours.options, on_done, (void *)(uintptr_t)caller,
                             NULL) == FLY_OK;
}

static bool ours_stream(unsigned caller)
{
    struct rpc_stream *stream = NULL;
    struct fly_error error;
    bool ok = true;

    if (rpc_stream_open(&stream, ours.channels[caller % ours.connections], &bench_stream,
                        &ours.request.base, NULL, &error) != FLY_OK) {
        load_die("no stream: %s", error.text);
    }
    while (ok && !load_over()) {
        struct rpc_reply reply;
        enum rpc_next next = rpc_stream_next(stream, 1000, &reply);
        ok = next == RPC_NEXT_NOTHING || (next == RPC_NEXT_MESSAGE && right(&reply));
        if (next == RPC_NEXT_MESSAGE) {
            load_took(caller, 1);
        }
        rpc_reply_fini(&reply);
    }
    rpc_stream_close(stream);
    return ok;
}

int main(int argc, char **argv)
{
    static const struct load_backend backend = {.open = ours_open,
                                                .close = ours_close,
                                                .call = ours_call,
                                                .start = ours_start,
                                                .stream = ours_stream};

    return load_main(argc, argv, &backend);
}
