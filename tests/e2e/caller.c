/*
 * caller - opens a connection as somebody and calls every method once, with an empty request.
 *
 *   fly_caller --port N                       as nobody
 *              --token TOKEN                  as a user
 *              --state DIR --server DIR       as the node of that state folder, to that other one
 *              --credential DIR               with another's credential, and the own key
 *              --cluster DIR                  as if the own cluster's id were that one's
 *              --expired DIR                  with a credential that has run out, by DIR's
 * admission key
 *              --roles LIST                   and with these roles
 *
 * The folders are of nodes that do not run, or copies of theirs. Prints one line a method: its
 * name, the status's number, the refusal's reason, its words; or one line "HELLO …" when it was not
 * let in.
 */
#include <argp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fly/v1/common.pb-c.h"
#include "fly/v1/edge.pb-c.h"
#include "fly/v1/health.rpc.h"
#include "fly/v1/metrics.rpc.h"
#include "fly/v1/reflection.rpc.h"
#include "node/identity.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/methods.h"
#include "proto/wire/hello.h"

enum { DAY_MS = 86400000, TIMEOUT_MS = 5000 };

struct caller {
    const char *port;
    const char *token;
    const char *state; /* NULL: no node */
    const char *server;
    const char *credential;
    const char *cluster;
    const char *expired;
    uint32_t roles;

    struct identity self;
    struct node_id to;
    char cluster_id[sizeof((struct cluster_record *)0)->id];
    struct credential shown;
};

static void die(const struct fly_error *error)
{
    (void)fprintf(stderr, "caller: %s\n", error->text);
    exit(1);
}

static void open_folder(const char *dir, struct identity *out)
{
    struct fly_error error;

    if (identity_open_made(dir, fly_clock_wall_ms(), out, &error) != FLY_OK) {
        die(&error);
    }
}

/* What the own key was given, but by DIR's admission key, and until yesterday. */
static void make_expired(struct caller *c)
{
    static struct identity admitting;

    open_folder(c->expired, &admitting);
    FLY_CHECK(admitting.has_admission);
    c->shown.admission = admitting.admission.record;
    c->shown.issued_ms = fly_clock_wall_ms() - 2 * (int64_t)DAY_MS;
    c->shown.expires_ms = fly_clock_wall_ms() - DAY_MS;
    c->shown.roles = c->roles != 0 ? c->roles : c->shown.roles;
    credential_sign(&admitting.admission.keys, admitting.record.id, &c->shown);
    identity_close(&admitting);
}

static void become_node(struct caller *c)
{
    static struct identity other;

    open_folder(c->state, &c->self);
    c->shown = c->self.credential;
    (void)fly_copy_string(c->cluster_id, sizeof c->cluster_id, c->self.record.id);
    if (c->server != NULL) {
        open_folder(c->server, &other);
        c->to = other.credential.id;
        identity_close(&other);
    }
    if (c->credential != NULL) {
        open_folder(c->credential, &other);
        c->shown = other.credential;
        identity_close(&other);
    }
    if (c->cluster != NULL) {
        open_folder(c->cluster, &other);
        (void)fly_copy_string(c->cluster_id, sizeof c->cluster_id, other.record.id);
        identity_close(&other);
    }
    if (c->expired != NULL) {
        make_expired(c);
    }
}

static size_t hello_make(void *user, const uint8_t client_nonce[static FRAME_NONCE_SIZE],
                         const uint8_t server_nonce[static FRAME_NONCE_SIZE], uint8_t *out,
                         size_t max)
{
    const struct caller *c = user;
    Fly__V1__Hello hello = FLY__V1__HELLO__INIT;
    uint8_t credential[CREDENTIAL_BYTES_MAX];
    uint8_t proof[NODE_SIGNATURE_SIZE];

    hello.agent = (char *)(uintptr_t) "caller";
    if (c->token != NULL) {
        hello.token = (char *)(uintptr_t)c->token;
    }
    if (c->state != NULL) {
        const struct hello_handshake h = {.cluster = c->cluster_id,
                                          .client_nonce = client_nonce,
                                          .server_nonce = server_nonce,
                                          .client = c->shown.id,
                                          .server = c->to};
        hello_sign(&h, HELLO_CLIENT, &c->self.keys, c->shown.tls_hash, proof);
        hello.credential =
            (ProtobufCBinaryData){credential_encode(&c->shown, credential), credential};
        hello.proof = (ProtobufCBinaryData){sizeof proof, proof};
    }
    FLY_CHECK(fly__v1__hello__get_packed_size(&hello) <= max);
    return fly__v1__hello__pack(&hello, out);
}

static const char *reason_of(const struct rpc_reply *reply)
{
    const char *name = "NONE";
    Fly__V1__Refusal *refusal =
        fly__v1__refusal__unpack(NULL, reply->detail.size, reply->detail.data);

    if (refusal != NULL && reply->detail.size > 0) {
        const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
            &fly__v1__reason__descriptor, (int)refusal->reason);
        name = value != NULL ? value->name + strlen("REASON_") : "?";
    }
    if (refusal != NULL) {
        fly__v1__refusal__free_unpacked(refusal, NULL);
    }
    return name;
}

/* What the RPC layer answers for the node, beside what its loop answers. */
static const struct rpc_method *const builtin[] = {&rpc_health_watch, &rpc_reflection_list,
                                                   &rpc_reflection_describe, &rpc_metrics_read};

static void print(const char *what, const struct rpc_reply *reply)
{
    (void)printf("%s %d %s %s\n", what, (int)reply->status, reason_of(reply), reply->text);
}

static void call(struct rpc_channel *channel, const struct rpc_method *method)
{
    const struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
    struct rpc_reply reply = {.status = FLY_OK};
    ProtobufCMessage *request = calloc(1, method->request->sizeof_message);

    FLY_CHECK(request != NULL);
    protobuf_c_message_init(method->request, request);
    if ((method->flags & RPC_STREAM) != 0) {
        struct rpc_stream *stream = NULL;
        struct fly_error error;
        if (rpc_stream_open(&stream, channel, method, request, &options, &error) != FLY_OK) {
            die(&error);
        }
        if (rpc_stream_next(stream, 1000, &reply) != RPC_NEXT_END) {
            reply.status = FLY_OK; /* it goes on: it was let in */
        }
        rpc_stream_close(stream);
    } else {
        (void)rpc_channel_call(channel, method, request, &options, &reply);
    }
    print(method->name + strlen("fly.v1."), &reply);
    rpc_reply_fini(&reply);
    free(request);
}

enum {
    OPTION_PORT = 1,
    OPTION_TOKEN,
    OPTION_STATE,
    OPTION_SERVER,
    OPTION_CREDENTIAL,
    OPTION_CLUSTER,
    OPTION_EXPIRED,
    OPTION_ROLES,
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct caller *c = state->input;

    switch (key) {
    case OPTION_PORT:
        c->port = value;
        return 0;
    case OPTION_TOKEN:
        c->token = value;
        return 0;
    case OPTION_STATE:
        c->state = value;
        return 0;
    case OPTION_SERVER:
        c->server = value;
        return 0;
    case OPTION_CREDENTIAL:
        c->credential = value;
        return 0;
    case OPTION_CLUSTER:
        c->cluster = value;
        return 0;
    case OPTION_EXPIRED:
        c->expired = value;
        return 0;
    case OPTION_ROLES:
        if (!node_roles_parse(value, &c->roles)) {
            argp_error(state, "--roles %s", value);
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"port", OPTION_PORT, "N", 0, "of the RPC listener on 127.0.0.1", 0},
        {"token", OPTION_TOKEN, "TOKEN", 0, "a user's", 0},
        {"state", OPTION_STATE, "DIR", 0, "be this node", 0},
        {"server", OPTION_SERVER, "DIR", 0, "whom to reach", 0},
        {"credential", OPTION_CREDENTIAL, "DIR", 0, "whose credential to show", 0},
        {"cluster", OPTION_CLUSTER, "DIR", 0, "whose cluster's id to use", 0},
        {"expired", OPTION_EXPIRED, "DIR", 0, "who signs a credential that has expired", 0},
        {"roles", OPTION_ROLES, "LIST", 0, "in it", 0},
        {0},
    };
    static const struct argp argp = {.options = options, .parser = parse_option};
    static struct caller caller;
    struct rpc_channel *channel = NULL;
    struct rpc_reply refusal = {.status = FLY_OK};
    char url[64];

    (void)argp_parse(&argp, argc, argv, 0, NULL, &caller);
    FLY_CHECK(caller.port != NULL && sodium_init() >= 0);
    if (caller.state != NULL) {
        become_node(&caller);
    }
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%s", caller.port);
    const struct rpc_channel_config config = {
        .url = url, .user = &caller, .hello_make = hello_make};
    if (rpc_channel_open_detailed(&channel, &config, &refusal) != FLY_OK) {
        print("HELLO", &refusal);
    } else {
        for (size_t i = 0; i < rpc_method_count; i++) {
            call(channel, rpc_methods[i]);
        }
        for (size_t i = 0; i < FLY_ARRAY_COUNT(builtin); i++) {
            call(channel, builtin[i]);
        }
        rpc_channel_close(channel);
    }
    rpc_reply_fini(&refusal);
    if (caller.state != NULL) {
        identity_close(&caller.self);
    }
    return 0;
}
