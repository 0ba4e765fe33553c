/*
 * node_post - what nng's threads do for a node: answer what is INLINE, post the rest, return
 * (DESIGN 8). Nothing here may wait or look at anything that belongs to the loop.
 */
#include <stdio.h>
#include <string.h>

#include "fly/v1/health.pb-c.h"
#include "node/answer.h"
#include "node/node_parts.h"
#include "proto/rpc/server.h"

static void answer_inline(struct node *n, struct rpc_call *call)
{
    if (rpc_call_method(call) == &rpc_health_echo) {
        rpc_call_reply(call, rpc_call_request(call));
        return;
    }
    const Fly__V1__HealthCheckRequest *q =
        (const Fly__V1__HealthCheckRequest *)rpc_call_request(call);
    Fly__V1__HealthCheckResponse reply = FLY__V1__HEALTH_CHECK_RESPONSE__INIT;
    if (q->service[0] != '\0' && strcmp(q->service, "fly.v1.Edge") != 0) {
        rpc_call_fail(call, FLY_NOT_FOUND, "no such service", (struct fly_bytes){.size = 0});
        return;
    }
    reply.status = atomic_load(&n->serving)
                       ? FLY__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                       : FLY__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    rpc_call_reply(call, &reply.base);
}

static void shed(struct rpc_call *call)
{
    struct refusal r;

    refusal_set(&r, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_OVERLOADED, true,
                "this node has too many calls waiting: nothing was done");
    (void)fly_copy_string(r.hint, sizeof r.hint, "try again in a moment");
    refusal_turn_away(call, &r);
}

static void on_call(void *user, struct rpc_call *call)
{
    struct node *n = user;
    unsigned flags = rpc_call_method(call)->flags;

    if ((flags & RPC_INLINE) != 0) {
        answer_inline(n, call);
        return;
    }
    enum mail_lane lane = (flags & RPC_FINISH) != 0 ? MAIL_FINISH : MAIL_START;
    if (!mailbox_post(&n->mailbox, lane, MAIL_CALL, call)) {
        shed(call);
    }
}

static void on_hello(void *user, struct rpc_hello *hello)
{
    struct node *n = user;

    if (!mailbox_post(&n->mailbox, MAIL_CONTROL, MAIL_HELLO, hello)) {
        rpc_hello_refuse(hello, FLY_RESOURCE_EXHAUSTED, "too many connections are being opened",
                         (struct fly_bytes){.size = 0});
    }
}

static void on_cancel(void *user, struct rpc_call *call)
{
    struct node *n = user;

    if ((rpc_call_method(call)->flags & RPC_STREAM) != 0) { /* a launch goes on to its end */
        rpc_call_hold(call);
        (void)mailbox_post(&n->mailbox, MAIL_CONTROL, MAIL_CANCEL, call);
    }
}

static void on_writable(void *user, struct rpc_call *call)
{
    struct node *n = user;

    rpc_call_hold(call);
    (void)mailbox_post(&n->mailbox, MAIL_CONTROL, MAIL_WRITABLE, call);
}

static void on_peer_gone(void *user, void *peer)
{
    struct node *n = user;

    (void)mailbox_post(&n->mailbox, MAIL_CONTROL, MAIL_PEER_GONE, peer);
}

/* Off loopback there is only TLS. */
static void url_of(const struct node *n, char out[static CONFIG_TEXT_SIZE])
{
    char address[CONFIG_ADDRESS_TEXT_SIZE];

    if (n->run == NULL) {
        (void)fly_copy_string(out, CONFIG_TEXT_SIZE, n->config->rpc);
        return;
    }
    config_address_format(n->run->rpc.host, n->run->rpc.port, address);
    (void)snprintf(out, CONFIG_TEXT_SIZE, "%s://%s", n->run->rpc.loopback ? "tcp" : "tls+tcp",
                   address);
}

enum fly_status node_listen(struct node *n, struct fly_error *error)
{
    char url[CONFIG_TEXT_SIZE];
    const char *const urls[] = {url};
    const struct rpc_tls tls = {.ca_pem = n->identity.tls.ca,
                                .cert_pem = n->identity.tls.certificate,
                                .key_pem = n->identity.tls.key};
    const struct rpc_server_config config = {
        .urls = urls,
        .url_count = 1,
        .tls = &tls,
        .methods = rpc_methods,
        .method_count = rpc_method_count,
        .user = n,
        .on_hello = on_hello,
        .on_call = on_call,
        .on_cancel = on_cancel,
        .on_writable = on_writable,
        .on_peer_gone = on_peer_gone,
        .connections_max = CONNECTIONS_MAX,
    };

    url_of(n, url);
    return rpc_server_create(&n->server, &config, error);
}
