/*
 * client - a server's name made callable: connects, reconnects, balances, waits, retries, hedges.
 *
 * Where a channel is one connection and ends with it, a client is what an application keeps: it
 * dials its urls, again with jittered backoff when they go (50 ms, doubling, to 5 s), sends each
 * call over a living connection, sends it again where gRPC's rules allow (proto/wire/retry.h), and
 * stops using a server that says it goes away. Typed stubs (protoc-gen-flyrpc) call through it.
 *
 *     struct rpc_client *client;
 *     struct fly_error error;
 *     struct rpc_reply reply;
 *     Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
 *
 *     if (rpc_client_create(&client, &(struct rpc_client_config){.url = "tcp://127.0.0.1:7401"},
 *                           &error) != FLY_OK) {
 *         errx(64, "%s", error.text);
 *     }
 *     if (rpc_client_call(client, &rpc_health_echo, &ping.base, NULL, &reply) == FLY_OK) …
 *     rpc_reply_fini(&reply);
 *     rpc_client_close(client);
 *
 * Any thread. rpc_client_call, _close and the streams' waiting functions block: never on a loop, an
 * poller or the timer thread. Callbacks run there and must not wait.
 */
#ifndef FLY_RPC_CLIENT_H
#define FLY_RPC_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/rpc/channel.h"
#include "proto/rpc/method.h"
#include "proto/rpc/reply.h"

struct rpc_client;
struct rpc_metrics;

enum { RPC_CLIENT_URLS_MAX = 16 };

enum rpc_balance {
    RPC_PICK_FIRST,      /* the first url that answers; others when it is gone */
    RPC_ROUND_ROBIN,     /* connected to all, in turn */
    RPC_LEAST_IN_FLIGHT, /* connected to all, the one with the fewest calls */
};

/* Copied, with what it points to, before rpc_client_create returns. */
struct rpc_client_config {
    const char *url;         /* one, or */
    const char *const *urls; /* several: replicas of one service */
    size_t url_count;
    enum rpc_balance balance;
    struct rpc_channel_config
        channel; /* template of each connection; url and callbacks but hello_* are ignored */
    int64_t backoff_first_ms; /* between tries to connect; 0: 50 */
    int64_t backoff_max_ms;   /* 0: 5,000 */
    uint32_t waiting_max;     /* wait-for-ready calls kept; 0: 1,024 */
    uint32_t retry_keep_max;  /* bytes of a request kept to be sent again; 0: 64 KiB */
    uint32_t keep_total_max;  /* bytes of all requests kept; 0: 16 MiB */
    uint32_t throttle_tokens; /* A6: maxTokens; 0: 10 */
    uint32_t throttle_ratio;  /* A6: tokenRatio in thousandths; 0: 100 */
};

enum rpc_client_state {
    RPC_CLIENT_IDLE, /* not asked for yet: the first call connects */
    RPC_CLIENT_CONNECTING,
    RPC_CLIENT_READY,
    RPC_CLIENT_TRANSIENT_FAILURE, /* waits before it dials again */
    RPC_CLIENT_SHUTDOWN,
};

struct rpc_client_counters {
    uint64_t dials;
    uint64_t connections; /* that came about */
    uint64_t calls;
    uint64_t attempts; /* sent; more than calls when some were sent again */
    uint64_t retries;
    uint64_t transparent_retries;
    uint64_t hedges;
    uint64_t throttled; /* retries and hedges that the throttle forbade */
    uint64_t waiting;   /* now, for a connection */
};

/* INVALID_ARGUMENT: urls, limits. Does not wait for a connection, nor dial before the first call; a
 * PEM that does not parse is that call's answer. */
enum fly_status rpc_client_create(struct rpc_client **out, const struct rpc_client_config *config,
                                  struct fly_error *error);
/* Ends its calls with CANCELLED (their callbacks have run on return), closes and frees. No call may
 * be begun meanwhile, and its streams must have been closed before. NULL is fine. Blocks. */
void rpc_client_close(struct rpc_client *client);

/*
 * One call, waited for; returns reply->status. Without wait_for_ready it fails with UNAVAILABLE at
 * once when no connection can be had (it waits while the first one is being made), or with what the
 * server says against this client (UNAUTHENTICATED, PERMISSION_DENIED), and with RESOURCE_EXHAUSTED
 * when the connections have no room; with it, it waits for both. The deadline spans all attempts.
 */
enum fly_status rpc_client_call(struct rpc_client *client, const struct rpc_method *method,
                                const ProtobufCMessage *request,
                                const struct rpc_call_options *options, struct rpc_reply *reply);
/* One call, not waited for: `done` runs once, perhaps before this returns; always, also for
 * refusals. `id` (may be NULL) is for cancelling. At most 65,536 at a time. To be sent again, also
 * when a server goes away, the request must have been kept: small ones are (192 bytes with the
 * metadata), others where the method has a policy, up to retry_keep_max. */
void rpc_client_start(struct rpc_client *client, const struct rpc_method *method,
                      const ProtobufCMessage *request, const struct rpc_call_options *options,
                      rpc_done *done, void *user, uint64_t *id);
void rpc_client_cancel(struct rpc_client *client, uint64_t id);
/* A stream over one of the connections (see channel.h); retried only before it was sent. Blocks
 * while it waits for a connection. */
enum fly_status rpc_client_stream(struct rpc_stream **out, struct rpc_client *client,
                                  const struct rpc_method *method, const ProtobufCMessage *request,
                                  const struct rpc_call_options *options, struct fly_error *error);

enum rpc_client_state rpc_client_state(struct rpc_client *client);
struct rpc_client_counters rpc_client_counters(struct rpc_client *client);
/* Counts and latencies of every method called, of all attempts together; not of streams. Lives as
 * long as the client. */
struct rpc_metrics *rpc_client_metrics(struct rpc_client *client);

#endif
