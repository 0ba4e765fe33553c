/*
 * metrics - counters and a latency histogram for each method of a server or a client.
 *
 * Recording is a handful of relaxed atomic additions and takes no lock. Text is Prometheus'
 * exposition format 0.0.4: flyrpc_server_started_total{method="fly.v1.Edge/Launch"}, …
 */
#ifndef FLY_RPC_METRICS_H
#define FLY_RPC_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

struct rpc_metrics;
struct rpc_method;

enum { RPC_METRICS_BUCKETS = 24, RPC_METRICS_METHODS_MAX = 256 };

/* Of one method. */
struct rpc_method_metrics {
    atomic_uint_fast64_t started;
    atomic_uint_fast64_t ended[FLY_STATUS_COUNT];
    atomic_uint_fast64_t messages_in; /* bodies: requests at a server, replies at a client */
    atomic_uint_fast64_t messages_out;
    atomic_uint_fast64_t bytes_in;
    atomic_uint_fast64_t bytes_out;
    atomic_uint_fast64_t latency_ns; /* sum */
    /* bucket i: at most 2^i × 1 µs; the last: all that took longer */
    atomic_uint_fast64_t latency[RPC_METRICS_BUCKETS];
};

/* `side`: "server" or "client". RESOURCE_EXHAUSTED: out of memory. */
enum fly_status rpc_metrics_create(struct rpc_metrics **out, const char *side,
                                   struct fly_error *error);
void rpc_metrics_destroy(struct rpc_metrics *metrics);
/* The method's own counters, made when it is first asked for; NULL past RPC_METRICS_METHODS_MAX.
 * Any thread; a found one is found without a lock. */
struct rpc_method_metrics *rpc_metrics_of(struct rpc_metrics *metrics,
                                          const struct rpc_method *method);
/* All of these take NULL for `of` and do nothing then. */
void rpc_metrics_started(struct rpc_method_metrics *of);
void rpc_metrics_message(struct rpc_method_metrics *of, bool in, size_t size);
void rpc_metrics_ended(struct rpc_method_metrics *of, enum fly_status status, int64_t latency_ns);

/* Writes the text into out[max], NUL-terminated if max > 0, and returns how long it is without the
 * NUL: as long as max or longer means that it was cut. */
size_t rpc_metrics_text(const struct rpc_metrics *metrics, char *out, size_t max);

#endif
