/*
 * client_stream - streams of a managed client: opened over one of its connections, and no more.
 *
 * A stream belongs to its channel, which must outlive it; nobody tells the client of its close. So
 * a connection on which streams were opened is released, once it is retired, when a look at its
 * channel shows that they are gone (the client's timer looks).
 */
#include "proto/rpc/channel_internal.h"
#include "proto/rpc/client_internal.h"

#include "proto/base/clock.h"

bool client_conn_streams(const struct client_conn *conn)
{
    struct rpc_channel *channel = conn->channel;

    rpc_link_lock(&channel->link);
    bool open = channel->streams > 0;
    rpc_link_unlock(&channel->link);
    return open;
}

/* A held connection, waited for like a call does, or why there is none. */
static struct client_conn *await_conn(struct rpc_client *client, const struct rpc_method *method,
                                      const struct rpc_call_options *options, int64_t started_us,
                                      uint32_t avoid, struct fly_error *error)
{
    struct rpc_reply reply;
    struct client_waiter waiter = {.reply = &reply};
    struct client_call *call = client_call_make(client, method, options, started_us);

    if (call == NULL) {
        (void)fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "too many calls at once");
        return NULL;
    }
    (void)sem_init(&waiter.ended, 0, 0);
    call->waiter = &waiter;
    call->only_conn = true;
    call->avoid = avoid;
    client_call_go(call);
    while (sem_wait(&waiter.ended) != 0) {
    }
    (void)sem_destroy(&waiter.ended);
    if (reply.status != FLY_OK) {
        (void)fly_error_set(error, reply.status, "%s", reply.text);
    }
    rpc_reply_fini(&reply);
    return waiter.conn;
}

/* Opens it on this connection, and lets go of it. */
static enum fly_status open_on(struct rpc_stream **out, struct client_conn *conn,
                               const struct rpc_method *method, const ProtobufCMessage *request,
                               const struct rpc_call_options *options, struct fly_error *error)
{
    struct rpc_client *client = conn->client;

    client_lock(client);
    conn->stream = true; /* before it is, and while it is held */
    client_unlock(client);
    enum fly_status status = rpc_stream_open(out, conn->channel, method, request, options, error);
    if (status == FLY_UNAVAILABLE) {
        client_conn_check(conn);
    }
    if (status != FLY_OK) {
        client_lock(client);
        client->unbegun++;
        client_unlock(client);
    }
    client_conn_drop(conn);
    return status;
}

enum fly_status rpc_client_stream(struct rpc_stream **out, struct rpc_client *client,
                                  const struct rpc_method *method, const ProtobufCMessage *request,
                                  const struct rpc_call_options *options, struct fly_error *error)
{
    struct rpc_call_options o = options != NULL ? *options : (struct rpc_call_options){0};
    int64_t started_us = fly_clock_boot_us();
    struct fly_error why = {.status = FLY_UNAVAILABLE, .text = ""};
    uint32_t avoid = 0;

    (void)atomic_fetch_add_explicit(&client->calls, 1, memory_order_relaxed);
    for (uint32_t tries = 0; tries < RETRY_UNSENT_MAX; tries++) {
        struct client_conn *conn = client_conn_pick(client, avoid, 1);
        if (conn == NULL) {
            conn = await_conn(client, method, &o, started_us, avoid, &why);
        }
        if (conn == NULL) {
            break;
        }
        avoid = 1U << conn->target;
        struct rpc_call_options left = o;
        if (o.timeout_ms > 0) {
            left.timeout_ms = started_us / 1000 + o.timeout_ms - fly_clock_boot_ms();
            left.timeout_ms = left.timeout_ms != 0 ? left.timeout_ms : -1;
        }
        if (open_on(out, conn, method, request, &left, &why) == FLY_OK) {
            return FLY_OK;
        }
        if (why.status != FLY_UNAVAILABLE) {
            break;
        }
    }
    return fly_error_set(error, why.status, "%s", why.text);
}
