/*
 * node_post - what the pollers' threads do for a node: post and return (DESIGN 8). Nothing here may
 * wait or look at anything that belongs to the loop. Health, reflection and metrics never get to
 * the loop: the RPC layer answers them (node_builtin.c).
 */
#include <stdio.h>
#include <string.h>

#include "node/answer.h"
#include "node/node_parts.h"
#include "node/peer.h"
#include "proto/base/clock.h"
#include "proto/rpc/methods.h"
#include "proto/rpc/server.h"

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

/* Who may call what the RPC layer answers; the loop asks for the rest (front_admits). */
static enum fly_status on_allow(void *user, const struct rpc_call *call, struct fly_error *error)
{
    struct gate_refusal why;
    enum fly_status status =
        peer_may_builtin(rpc_call_peer(call), rpc_call_method(call), fly_clock_wall_ms(), &why);

    (void)user;
    *error = why.error;
    return status;
}

/* All methods of ours but those of services that the RPC layer answers. */
static size_t own_methods(const struct node *n, const struct rpc_method **out)
{
    size_t count = 0;

    for (size_t i = 0; i < rpc_method_count; i++) {
        if (!node_builtin_answers(n, rpc_methods[i])) {
            out[count++] = rpc_methods[i];
        }
    }
    return count;
}

enum fly_status node_listen(struct node *n, struct fly_error *error)
{
    char url[CONFIG_TEXT_SIZE];
    const char *const urls[] = {url};
    const struct rpc_tls tls = {.ca_pem = n->identity.tls.ca,
                                .cert_pem = n->identity.tls.certificate,
                                .key_pem = n->identity.tls.key};
    enum fly_status status = node_builtin_make(n, error);

    if (status != FLY_OK) {
        return status;
    }
    const struct rpc_server_config config = {
        .urls = urls,
        .url_count = 1,
        .tls = &tls,
        .methods = n->methods,
        .method_count = own_methods(n, n->methods),
        .services = n->builtin.services,
        .service_count = NODE_SERVICES,
        .workers = 1, /* descriptions and metrics may take a while to write down */
        .queue_max = BUILTIN_QUEUE_MAX,
        .tenant_calls_max = TENANT_CALLS_MAX,
        .user = n,
        .on_allow = on_allow,
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
