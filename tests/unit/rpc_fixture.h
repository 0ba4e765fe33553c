/*
 * rpc_fixture - a server with a scripted application, and a bare socket that speaks to it: what
 * the test_rpc*.c files share.
 *
 * Health/Echo answers in place. Edge/Status and Edge/Watch are parked: the test takes them and
 * finishes them when it likes, from its own thread. HELLO's payload says what to do with it:
 * "refuse", "later", "nobody"; all others are accepted as a peer.
 */
#ifndef FLY_TESTS_RPC_FIXTURE_H
#define FLY_TESTS_RPC_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fly/v1/edge.pb-c.h"
#include "fly/v1/health.pb-c.h"
#include "fly/v1/health.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/rng.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/methods.h"
#include "proto/rpc/server.h"

enum { PARKED_MAX = 2048, PATIENCE_MS = 30000 };

struct fixture {
    struct rpc_server *server;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rpc_call *parked[PARKED_MAX];
    size_t parked_count;
    struct rpc_hello *hello; /* put off */
    unsigned peers;
    unsigned peers_gone;
    unsigned cancels;
    unsigned writables;
    bool finish_cancelled; /* parked calls whose caller gave up end by themselves */
};

#define UNUSED_OK __attribute__((unused))

static void fixture_note(struct fixture *f, unsigned *counter)
{
    (void)pthread_mutex_lock(&f->lock);
    *counter += 1;
    (void)pthread_cond_broadcast(&f->changed);
    (void)pthread_mutex_unlock(&f->lock);
}

static void fixture_on_hello(void *user, struct rpc_hello *hello)
{
    struct fixture *f = user;
    struct fly_bytes said = rpc_hello_bytes(hello);
    static const uint8_t why[] = "why";

    assert_non_null(
        strstr(rpc_hello_remote(hello), rpc_hello_remote(hello)[0] == 'i' ? "ipc" : "127.0.0.1:"));
    if (said.size == 6 && memcmp(said.data, "refuse", 6) == 0) {
        rpc_hello_refuse(hello, FLY_UNAUTHENTICATED, "token expired",
                         (struct fly_bytes){why, sizeof why});
    } else if (said.size == 5 && memcmp(said.data, "later", 5) == 0) {
        (void)pthread_mutex_lock(&f->lock);
        f->hello = hello;
        (void)pthread_cond_broadcast(&f->changed);
        (void)pthread_mutex_unlock(&f->lock);
    } else if (said.size == 6 && memcmp(said.data, "nobody", 6) == 0) {
        rpc_hello_accept(hello, (struct fly_bytes){0}, NULL);
    } else {
        fixture_note(f, &f->peers);
        rpc_hello_accept(hello, said, f);
    }
}

static void fixture_on_call(void *user, struct rpc_call *call)
{
    struct fixture *f = user;

    if (rpc_call_method(call) == &rpc_health_echo) {
        rpc_call_reply(call, rpc_call_request(call));
        return;
    }
    (void)pthread_mutex_lock(&f->lock);
    assert_true(f->parked_count < PARKED_MAX);
    f->parked[f->parked_count++] = call;
    (void)pthread_cond_broadcast(&f->changed);
    (void)pthread_mutex_unlock(&f->lock);
}

static void fixture_on_cancel(void *user, struct rpc_call *call)
{
    struct fixture *f = user;

    assert_true(rpc_call_cancelled(call));
    (void)pthread_mutex_lock(&f->lock);
    bool finish = false;
    for (size_t i = 0; i < f->parked_count && f->finish_cancelled && !finish; i++) {
        finish = f->parked[i] == call;
        if (finish) {
            f->parked[i] = f->parked[--f->parked_count];
        }
    }
    (void)pthread_mutex_unlock(&f->lock);
    if (finish) {
        rpc_call_fail(call, FLY_CANCELLED, "given up", (struct fly_bytes){0});
    }
    fixture_note(f, &f->cancels);
}

static void fixture_on_writable(void *user, struct rpc_call *call)
{
    struct fixture *f = user;

    (void)call;
    fixture_note(f, &f->writables);
}

static void fixture_on_peer_gone(void *user, void *peer)
{
    struct fixture *f = user;

    assert_ptr_equal(peer, f);
    fixture_note(f, &f->peers_gone);
}

/* `limits`: a config of which only the limits and TLS count; NULL: small, quick ones. */
static UNUSED_OK void fixture_start(struct fixture *f, const char *url,
                                    const struct rpc_server_config *limits)
{
    struct rpc_server_config config = limits != NULL ? *limits : (struct rpc_server_config){0};
    struct fly_error error = {.text = ""};
    enum fly_status status = FLY_OK;

    memset(f, 0, sizeof *f);
    (void)pthread_mutex_init(&f->lock, NULL);
    (void)pthread_cond_init(&f->changed, NULL);
    config.urls = &url;
    config.url_count = 1;
    config.methods = rpc_methods;
    config.method_count = rpc_method_count;
    config.user = f;
    config.on_hello = fixture_on_hello;
    config.on_call = fixture_on_call;
    config.on_cancel = fixture_on_cancel;
    config.on_writable = fixture_on_writable;
    config.on_peer_gone = fixture_on_peer_gone;
    status = rpc_server_create(&f->server, &config, &error);
    if (status != FLY_OK) {
        fail_msg("%s", error.text);
    }
}

/* The oldest parked call; NULL where none is and `wait` is false. */
static struct rpc_call *fixture_unpark(struct fixture *f, bool wait)
{
    struct rpc_call *call = NULL;

    (void)pthread_mutex_lock(&f->lock);
    while (f->parked_count == 0 && wait) {
        (void)pthread_cond_wait(&f->changed, &f->lock);
    }
    if (f->parked_count > 0) {
        call = f->parked[0];
        f->parked_count--;
        memmove(f->parked, f->parked + 1, f->parked_count * sizeof f->parked[0]);
    }
    (void)pthread_mutex_unlock(&f->lock);
    return call;
}

static UNUSED_OK struct rpc_call *fixture_take(struct fixture *f)
{
    return fixture_unpark(f, true);
}

static UNUSED_OK void fixture_wait(struct fixture *f, const unsigned *counter, unsigned value)
{
    (void)pthread_mutex_lock(&f->lock);
    while (*counter < value) {
        (void)pthread_cond_wait(&f->changed, &f->lock);
    }
    assert_int_equal(*counter, value);
    (void)pthread_mutex_unlock(&f->lock);
}

static UNUSED_OK void fixture_wait_parked(struct fixture *f, size_t count)
{
    (void)pthread_mutex_lock(&f->lock);
    while (f->parked_count < count) {
        (void)pthread_cond_wait(&f->changed, &f->lock);
    }
    (void)pthread_mutex_unlock(&f->lock);
}

/* Waits for something that has no callback to announce it. What it saw true may be over by now. */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        int64_t deadline_ms_ = fly_clock_boot_ms() + PATIENCE_MS;                                  \
        bool came_ = (condition);                                                                  \
        while (!came_ && fly_clock_boot_ms() < deadline_ms_) {                                     \
            (void)sched_yield();                                                                   \
            came_ = (condition);                                                                   \
        }                                                                                          \
        _assert_true(came_ ? 1 : 0, #condition, __FILE__, __LINE__);                               \
    } while (0)

static UNUSED_OK void fixture_stop(struct fixture *f)
{
    rpc_server_close(f->server);
    WAIT_UNTIL(rpc_server_counters(f->server).connections == 0); /* none parks another call */
    for (struct rpc_call *call; (call = fixture_unpark(f, false)) != NULL;) {
        rpc_call_fail(call, FLY_UNAVAILABLE, "test over", (struct fly_bytes){0});
    }
    WAIT_UNTIL(rpc_server_idle(f->server));
    assert_int_equal(rpc_server_counters(f->server).calls_active, 0);
    assert_int_equal(f->peers, f->peers_gone);
    rpc_server_destroy(f->server);
    (void)pthread_mutex_destroy(&f->lock);
    (void)pthread_cond_destroy(&f->changed);
}

static struct fly_bytes text_bytes(const char *text)
{
    return (struct fly_bytes){(const uint8_t *)text, strlen(text)};
}

static UNUSED_OK struct rpc_channel *fixture_connect(struct fixture *f, const char *hello)
{
    struct rpc_channel *channel = NULL;
    struct fly_error error = {.text = ""};
    struct rpc_channel_config config = {.url = rpc_server_url(f->server, 0),
                                        .hello = text_bytes(hello)};

    if (rpc_channel_open(&channel, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return channel;
}

/* One echo, checked byte for byte. */
static UNUSED_OK void check_echo(struct rpc_channel *channel, size_t size, uint8_t fill)
{
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    struct rpc_reply reply;

    ping.payload.len = size;
    ping.payload.data = malloc(size + 1);
    memset(ping.payload.data, fill, size);
    (void)rpc_channel_call(channel, &rpc_health_echo, &ping.base, NULL, &reply);
    if (reply.status != FLY_OK) {
        fail_msg("%s: %s", fly_status_name(reply.status), reply.text);
    }
    const Fly__V1__EchoMessage *pong = (const void *)reply.message;
    assert_int_equal(pong->payload.len, size);
    assert_true(size == 0 || memcmp(pong->payload.data, ping.payload.data, size) == 0);
    free(ping.payload.data);
    rpc_reply_fini(&reply);
}

/* ---- the bare socket ---- */

static UNUSED_OK int bare_connect(struct fixture *f)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port =
        htons((uint16_t)strtoul(strrchr(rpc_server_url(f->server, 0), ':') + 1, NULL, 10));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* MSG_NOSIGNAL: the server may have hung up. */
static UNUSED_OK void bare_send(int fd, const void *data, size_t size)
{
    (void)send(fd, data, size, MSG_NOSIGNAL);
}

static UNUSED_OK void bare_preface(int fd)
{
    uint8_t preface[FRAME_PREFACE_SIZE];

    frame_preface_encode(&(struct frame_preface){.version = FRAME_VERSION,
                                                 .frame_max = 1 << 20,
                                                 .window = 64 * 1024},
                         preface);
    bare_send(fd, preface, sizeof preface);
}

static UNUSED_OK void bare_frame(int fd, struct frame_header header, struct fly_bytes meta,
                                 struct fly_bytes body)
{
    uint8_t *bytes = malloc(FRAME_HEADER_SIZE + meta.size + body.size);

    header.size = (uint32_t)(meta.size + body.size);
    header.meta_size = (uint16_t)meta.size;
    frame_header_encode(&header, bytes);
    if (meta.size > 0) {
        memcpy(bytes + FRAME_HEADER_SIZE, meta.data, meta.size);
    }
    if (body.size > 0) {
        memcpy(bytes + FRAME_HEADER_SIZE + meta.size, body.data, body.size);
    }
    bare_send(fd, bytes, FRAME_HEADER_SIZE + meta.size + body.size);
    free(bytes);
}

static UNUSED_OK void bare_request(int fd, uint32_t id, const struct rpc_method *method,
                                   struct fly_bytes body)
{
    static const uint8_t meta[FRAME_REQ_META_SIZE];

    bare_frame(fd,
               (struct frame_header){
                   .type = FRAME_REQ, .call_id = id, .arg = rpc_method_hash(method->name)},
               (struct fly_bytes){meta, sizeof meta}, body);
}

static bool read_all(int fd, uint8_t *out, size_t size)
{
    while (size > 0) {
        ssize_t got = recv(fd, out, size, 0);
        if (got <= 0) {
            return false;
        }
        out += got;
        size -= (size_t)got;
    }
    return true;
}

/* The next frame's header, its payload thrown away; PINGs are passed over. False: hung up. */
static UNUSED_OK bool bare_next(int fd, struct frame *frame)
{
    uint8_t header[FRAME_HEADER_SIZE];

    do {
        if (!read_all(fd, header, sizeof header)) {
            return false;
        }
        uint32_t size = fly_load_u32(header);
        frame->header = (struct frame_header){.size = size,
                                              .type = header[4],
                                              .flags = header[5],
                                              .call_id = fly_load_u32(header + 8),
                                              .arg = fly_load_u32(header + 12)};
        uint8_t *rest = malloc(size + 1);
        bool whole = read_all(fd, rest, size);
        free(rest);
        if (!whole) {
            return false;
        }
    } while (frame->header.type == FRAME_PING);
    return true;
}

static UNUSED_OK void bare_skip_preface(int fd)
{
    uint8_t preface[FRAME_PREFACE_SIZE];

    assert_true(read_all(fd, preface, sizeof preface));
}

/* The server hangs up, whatever it still says before. */
static UNUSED_OK void bare_expect_end(int fd)
{
    uint8_t bytes[4096];
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    ssize_t got = 0;

    do {
        assert_int_equal(poll(&poller, 1, PATIENCE_MS), 1);
        got = recv(fd, bytes, sizeof bytes, 0);
    } while (got > 0);
    (void)close(fd);
}

#endif
