/*
 * join_call - join.h's joining side over RPC: the token's addresses in turn.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fly/v1/join.rpc.h"
#include "node/join.h"
#include "proto/base/clock.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/method.h"

enum { TIMEOUT_MS = 10000 };

/* What a call ended with, in our own words' place. */
static enum fly_status ended(const struct rpc_reply *reply, const char *url,
                             struct fly_error *error)
{
    return fly_error_set(error, reply->status, "%s: %s", url,
                         reply->text[0] != '\0' ? reply->text : fly_status_name(reply->status));
}

static enum fly_status admit(struct rpc_channel *channel, struct join_client *client,
                             const struct rpc_reply *begun, const char *url, int64_t timeout_ms,
                             struct fly_error *error)
{
    const struct rpc_call_options options = {.timeout_ms = timeout_ms};
    Fly__V1__JoinAdmitRequest request;
    struct rpc_reply reply = {.status = FLY_OK};
    enum fly_status status =
        join_client_admit(client, (const Fly__V1__JoinBeginReply *)begun->message,
                          fly_clock_wall_ms(), &request, error);

    if (status != FLY_OK) {
        return fly_error_wrap(error, "%s", url);
    }
    if (rpc_channel_call(channel, &rpc_join_admit, &request.base, &options, &reply) != FLY_OK) {
        status = ended(&reply, url, error);
    } else {
        status = join_client_welcome(client, (const Fly__V1__JoinAdmitReply *)reply.message,
                                     fly_clock_wall_ms(), error);
    }
    rpc_reply_fini(&reply);
    return status;
}

static enum fly_status ask(struct join_client *client, const char *url, int64_t timeout_ms,
                           struct fly_error *error)
{
    /* not looked at: the exchange is sealed and proven by itself (join.h) */
    const struct rpc_tls tls = {.verify_peer = false};
    const struct rpc_channel_config config = {
        .url = url, .tls = &tls, .connect_timeout_ms = timeout_ms};
    const struct rpc_call_options options = {.timeout_ms = timeout_ms};
    struct rpc_channel *channel = NULL;
    struct rpc_reply reply = {.status = FLY_OK};
    Fly__V1__JoinBeginRequest request;
    enum fly_status status = rpc_channel_open(&channel, &config, error);

    if (status != FLY_OK) {
        return fly_error_wrap(error, "%s", url);
    }
    join_client_begin(client, &request);
    if (rpc_channel_call(channel, &rpc_join_begin, &request.base, &options, &reply) != FLY_OK) {
        status = ended(&reply, url, error);
    } else {
        status = admit(channel, client, &reply, url, timeout_ms, error);
    }
    rpc_reply_fini(&reply);
    rpc_channel_close(channel);
    return status;
}

/* The address of this host on the way to that one, as the kernel would choose it; nothing is sent.
 * Nothing is told of a way that stays on this host. */
static void own_address(const struct join_address *to, char out[static SETTINGS_ADDRESS_SIZE])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    bool v4 = memcmp(to->ip, mapped, sizeof mapped) == 0;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(to->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(to->port)};
    struct sockaddr *at = v4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6;
    socklen_t size = v4 ? sizeof in : sizeof in6;
    struct config_address parsed;
    int fd = socket(at->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memcpy(&in.sin_addr, to->ip + sizeof mapped, sizeof in.sin_addr);
    memcpy(&in6.sin6_addr, to->ip, sizeof in6.sin6_addr);
    bool known = fd >= 0 && connect(fd, at, size) == 0 && getsockname(fd, at, &size) == 0 &&
                 inet_ntop(at->sa_family, v4 ? (void *)&in.sin_addr : (void *)&in6.sin6_addr, out,
                           SETTINGS_ADDRESS_SIZE) != NULL;
    if (!known || !config_address_parse(out, 1, &parsed) || parsed.any || parsed.loopback) {
        out[0] = '\0';
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* Until one answers. A refusal by a node of the cluster is the answer: the others cannot know the
 * token better. */
static enum fly_status ask_all(struct join_client *client, int64_t timeout_ms,
                               struct fly_error *error)
{
    const struct join_token *token = client->token;
    enum fly_status status = FLY_UNAVAILABLE;
    bool answered = false;

    for (size_t i = 0; i < token->address_count && !answered; i++) {
        char url[JOIN_URL_SIZE];
        join_address_url(&token->addresses[i], url);
        status = ask(client, url, timeout_ms, error);
        if (status == FLY_OK && client->identity->settings.advertise[0] == '\0') {
            own_address(&token->addresses[i], client->identity->settings.advertise);
        }
        answered = status == FLY_OK ||
                   (client->asked && status != FLY_UNAVAILABLE && status != FLY_DEADLINE_EXCEEDED);
    }
    return status;
}

enum fly_status join_call(const struct join_options *options, struct identity *identity,
                          struct fly_error *error)
{
    struct join_client client;
    int64_t timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : TIMEOUT_MS;
    bool admits = (options->roles & NODE_ROLE_ADMIT) != 0;
    enum fly_status status =
        join_client_init(&client, options->token, identity, options->settings.name, options->roles,
                         fly_clock_wall_ms(), error);

    if (status == FLY_OK) {
        status = identity_join_begin(options->dir, admits, identity, error);
    }
    if (status != FLY_OK) {
        join_client_fini(&client);
        return status;
    }
    identity->settings = options->settings;
    status = ask_all(&client, timeout_ms, error);
    if (status == FLY_OK) {
        status = identity_join_save(identity, fly_clock_wall_ms(), error);
    }
    join_client_fini(&client);
    if (status != FLY_OK) {
        identity_close(identity);
    }
    return status;
}
