/*
 * metrics_service - the Prometheus text of a server, for whoever speaks RPC and not HTTP.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fly/v1/metrics.rpc.h"
#include "proto/base/check.h"
#include "proto/rpc/builtin.h"
#include "proto/rpc/metrics.h"
#include "proto/rpc/server.h"

/* With room for what stands around it in the frame. */
enum { TEXT_MAX = 1024 * 1024 - 4096, COUNTERS_MAX = 8192 };

struct row {
    const char *name;
    const char *type;
    const char *help;
    size_t offset;
};

#define ROW(field, kind, words)                                                                    \
    {                                                                                              \
#field, kind, words, offsetof(struct rpc_server_counters, field)                           \
    }

static const struct row rows[] = {
    ROW(connections, "gauge", "Connections open now."),
    ROW(calls_active, "gauge", "Calls in flight now."),
    ROW(accepted, "counter", "Connections taken."),
    ROW(refused, "counter", "Connections over the limit."),
    ROW(hellos_refused, "counter", "Connections whose HELLO was refused."),
    ROW(handshakes_late, "counter", "Connections closed on the handshake deadline."),
    ROW(handshakes_excess, "counter", "Connections over the limit of handshakes."),
    ROW(tls_failed, "counter", "Connections that ended by TLS."),
    ROW(keepalives_lost, "counter", "Connections closed on silence."),
    ROW(frames_late, "counter", "Connections closed in the midst of a frame."),
    ROW(violations, "counter", "Connections closed on a frame that no client sends."),
    ROW(oversize, "counter", "Of the violations: a frame over the limit."),
    ROW(calls, "counter", "Requests received."),
    ROW(calls_finished, "counter", "Calls finished by the application."),
    ROW(malformed, "counter", "Requests that failed the check against their descriptor."),
    ROW(unknown_methods, "counter", "Requests of methods that are not there."),
    ROW(unauthenticated, "counter", "Requests of nobody that need somebody."),
    ROW(excess, "counter", "Requests over a limit of calls."),
    ROW(late, "counter", "Requests whose deadline passed before they were begun."),
    ROW(cancelled, "counter", "Calls cancelled by their caller."),
    ROW(orphaned, "counter", "Calls finished after their caller had gone."),
    ROW(slow_ended, "counter", "Streams ended for a slow reader."),
    ROW(slow_dropped, "counter", "Messages dropped for a slow reader."),
    ROW(bytes_in, "counter", "Bytes received."),
    ROW(bytes_out, "counter", "Bytes sent."),
};

/* Into out[COUNTERS_MAX]. */
static size_t counters_text(struct rpc_server *server, char *out)
{
    struct rpc_server_counters counters = rpc_server_counters(server);
    size_t size = 0;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        const char *total = strcmp(rows[i].type, "counter") == 0 ? "_total" : "";
        uint64_t value = 0;

        memcpy(&value, (const char *)&counters + rows[i].offset, sizeof value);
        size += (size_t)snprintf(out + size, COUNTERS_MAX - size,
                                 "# HELP flyrpc_server_all_%s%s %s\n# TYPE flyrpc_server_all_%s%s "
                                 "%s\nflyrpc_server_all_%s%s %" PRIu64 "\n",
                                 rows[i].name, total, rows[i].help, rows[i].name, total,
                                 rows[i].type, rows[i].name, total, value);
        FLY_CHECK(size < COUNTERS_MAX);
    }
    return size;
}

static void handle_read(void *user, struct rpc_call *call, const Fly__V1__MetricsRequest *request)
{
    struct rpc_server *server = rpc_call_server(call);
    Fly__V1__MetricsReply reply = FLY__V1__METRICS_REPLY__INIT;
    char *text = malloc(TEXT_MAX);
    size_t size = 0;

    (void)user;
    (void)request;
    if (text == NULL) {
        rpc_call_fail(call, FLY_RESOURCE_EXHAUSTED, "out of memory", (struct fly_bytes){0});
        return;
    }
    size = counters_text(server, text);
    size += rpc_metrics_text(rpc_server_metrics(server), text + size, TEXT_MAX - size);
    if (size >= TEXT_MAX) { /* whole lines only */
        *(strrchr(text, '\n') + 1) = '\0';
        reply.cut = true;
    }
    reply.text = text;
    rpc_metrics_read_reply(call, &reply);
    free(text);
}

struct rpc_service rpc_builtin_metrics(void)
{
    static const struct rpc_metrics_handlers handlers = {.read = handle_read};

    return rpc_metrics_serve(&handlers, NULL);
}
