/*
 * client_fixture - what the test_rpc_client*.c files share: clients in a hurry, methods with
 * policies, calls in threads and calls that note how they ended.
 */
#ifndef FLY_TESTS_CLIENT_FIXTURE_H
#define FLY_TESTS_CLIENT_FIXTURE_H

#include "tests/unit/rpc_fixture.h"

#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "proto/rpc/client.h"
#include "proto/rpc/metrics.h"
#include "proto/wire/metadata.h"
#include "proto/wire/retry.h"

enum { HOUR_MS = 3600 * 1000 };

#define CODE(status) (1U << (unsigned)(status))

static const char *const LOOPBACK = "tcp://127.0.0.1:0";

/* Edge/Status without a policy; made by plain_init. */
static UNUSED_OK struct rpc_method plain;

/* Edge/Status with a policy of our own; the server knows it by its name. */
static UNUSED_OK struct rpc_method status_with(const struct retry_policy *policy)
{
    struct rpc_method method = rpc_edge_status;

    method.retry = policy;
    method.flags |= RPC_READ_ONLY;
    return method;
}

static UNUSED_OK void plain_init(void)
{
    plain = status_with(NULL);
}

static UNUSED_OK struct rpc_client *client_of(struct rpc_client_config config)
{
    struct rpc_client *client = NULL;
    struct fly_error error = {.text = ""};

    config.backoff_first_ms = config.backoff_first_ms != 0 ? config.backoff_first_ms : 1;
    config.backoff_max_ms = config.backoff_max_ms != 0 ? config.backoff_max_ms : 20;
    config.channel.hello = text_bytes("me");
    if (rpc_client_create(&client, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return client;
}

static UNUSED_OK struct rpc_client *client_to(const char *url)
{
    return client_of((struct rpc_client_config){.url = url});
}

/* A url on which a server can be started, stopped and started again. */
static UNUSED_OK void fresh_url(char out[static 64])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(out, 64, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    (void)close(fd);
}

static UNUSED_OK enum fly_status call_echo(struct rpc_client *client,
                                           const struct rpc_call_options *options)
{
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    struct rpc_reply reply;
    uint8_t bytes[] = {1, 2, 3};

    ping.payload.data = bytes;
    ping.payload.len = sizeof bytes;
    enum fly_status status = rpc_client_call(client, &rpc_health_echo, &ping.base, options, &reply);
    if (status == FLY_OK) {
        const Fly__V1__EchoMessage *pong = (const void *)reply.message;
        assert_int_equal(pong->payload.len, sizeof bytes);
        assert_memory_equal(pong->payload.data, bytes, sizeof bytes);
    }
    rpc_reply_fini(&reply);
    return status;
}

/* A call that was sent as its connection went is lost, so not the first one counts. */
static UNUSED_OK void await_ready(struct rpc_client *client)
{
    struct rpc_call_options options = {.wait_for_ready = true};

    WAIT_UNTIL(call_echo(client, &options) == FLY_OK);
}

/* The answer to a parked Edge/Status. */
static UNUSED_OK void answer(struct rpc_call *call)
{
    Fly__V1__StatusReply reply = FLY__V1__STATUS_REPLY__INIT;

    rpc_call_reply(call, &reply.base);
}

static UNUSED_OK void fail_with(struct rpc_call *call, enum fly_status status)
{
    rpc_call_fail(call, status, "as told", (struct fly_bytes){0});
}

static UNUSED_OK size_t parked(struct fixture *f)
{
    (void)pthread_mutex_lock(&f->lock);
    size_t count = f->parked_count;
    (void)pthread_mutex_unlock(&f->lock);
    return count;
}

/* The trailing metadata with which a server says when. */
static UNUSED_OK void push_back(struct rpc_call *call, int64_t ms)
{
    uint8_t bytes[64];
    struct fly_writer w = fly_writer_over(bytes, sizeof bytes);

    assert_int_equal(metadata_put_number(&w, METADATA_PUSHBACK, ms, NULL), FLY_OK);
    assert_int_equal(rpc_call_set_trailer(call, (struct fly_bytes){bytes, w.size}), FLY_OK);
}

/* How often the caller says it has tried before; -1: it does not say. */
static UNUSED_OK int64_t attempts_said(const struct rpc_call *call)
{
    int64_t attempts = -1;

    (void)metadata_find_number(rpc_call_metadata(call), METADATA_ATTEMPTS, &attempts);
    return attempts;
}

/* ---- a call in a thread of its own ---- */

struct caller {
    struct rpc_client *client;
    const struct rpc_method *method;
    struct rpc_call_options options;
    pthread_t thread;
    struct rpc_reply reply;
};

static void *caller_run(void *user)
{
    struct caller *c = user;
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;

    (void)rpc_client_call(c->client, c->method, &request.base, &c->options, &c->reply);
    return NULL;
}

static UNUSED_OK void caller_start(struct caller *c, struct rpc_client *client,
                                   const struct rpc_method *method)
{
    c->client = client;
    c->method = method;
    assert_int_equal(pthread_create(&c->thread, NULL, caller_run, c), 0);
}

static UNUSED_OK enum fly_status caller_join(struct caller *c)
{
    (void)pthread_join(c->thread, NULL);
    rpc_reply_fini(&c->reply);
    return c->reply.status;
}

/* ---- calls that are not waited for ---- */

struct ends {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned count;
    unsigned of[FLY_STATUS_COUNT];
    bool sent; /* the last one's */
    char text[RPC_TEXT_SIZE];
};

static UNUSED_OK void ends_init(struct ends *e)
{
    memset(e, 0, sizeof *e);
    (void)pthread_mutex_init(&e->lock, NULL);
    (void)pthread_cond_init(&e->changed, NULL);
}

static UNUSED_OK void ends_note(void *user, struct rpc_reply *reply)
{
    struct ends *e = user;

    (void)pthread_mutex_lock(&e->lock);
    e->count++;
    e->of[reply->status]++;
    e->sent = reply->sent;
    (void)fly_copy_string(e->text, sizeof e->text, reply->text);
    (void)pthread_cond_broadcast(&e->changed);
    (void)pthread_mutex_unlock(&e->lock);
}

static UNUSED_OK void ends_wait(struct ends *e, unsigned count)
{
    (void)pthread_mutex_lock(&e->lock);
    while (e->count < count) {
        (void)pthread_cond_wait(&e->changed, &e->lock);
    }
    assert_int_equal(e->count, count);
    (void)pthread_mutex_unlock(&e->lock);
}

static UNUSED_OK uint64_t start_status(struct rpc_client *client, const struct rpc_method *method,
                                       const struct rpc_call_options *options, struct ends *e)
{
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
    uint64_t id = 0;

    rpc_client_start(client, method, &request.base, options, ends_note, e, &id);
    return id;
}

#endif
