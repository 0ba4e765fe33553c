/*
 * transport_fixture - a listening transport without frames, and sockets that speak to it: what the
 * test_transport*.c files share.
 *
 * Received bytes are counted and thrown away; a mark is sixteen bytes 'm' that nobody answers
 * unless the test does.
 */
#ifndef FLY_TESTS_TRANSPORT_FIXTURE_H
#define FLY_TESTS_TRANSPORT_FIXTURE_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/batch.h"
#include "proto/rpc/timer.h"
#include "proto/rpc/transport.h"

enum { SIDES_MAX = 64, SIDE_PATIENCE_MS = 30000 };

/* One transport and what it told. */
struct side {
    struct transport *transport;
    atomic_size_t received;
    atomic_uint closed;
    atomic_uint drained;
    atomic_uint disposed;
};

struct house {
    struct transport_listener *listener;
    struct side sides[SIDES_MAX];
    atomic_uint count;
};

#define MAYBE_UNUSED __attribute__((unused))

#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        int64_t until_ms_ = fly_clock_boot_ms() + SIDE_PATIENCE_MS;                                \
        while (!(condition) && fly_clock_boot_ms() < until_ms_) {                                  \
            (void)sched_yield();                                                                   \
        }                                                                                          \
        assert_true(condition);                                                                    \
    } while (0)

static size_t side_received(void *user, const uint8_t *data, size_t size, size_t *wanted)
{
    struct side *side = user;

    (void)data;
    *wanted = 1;
    (void)atomic_fetch_add(&side->received, size);
    return size;
}

static void side_closed(void *user)
{
    (void)atomic_fetch_add(&((struct side *)user)->closed, 1);
}

static void side_drained(void *user)
{
    (void)atomic_fetch_add(&((struct side *)user)->drained, 1);
}

static void side_disposed(void *user)
{
    (void)atomic_fetch_add(&((struct side *)user)->disposed, 1);
}

static void side_mark(uint32_t number, uint8_t out[static TRANSPORT_MARK_SIZE])
{
    (void)number;
    memset(out, 'm', TRANSPORT_MARK_SIZE);
}

static const struct transport_events side_events = {.received = side_received,
                                                    .closed = side_closed,
                                                    .drained = side_drained,
                                                    .disposed = side_disposed,
                                                    .mark = side_mark};

static void house_accepted(void *user, struct transport *transport)
{
    struct house *house = user;
    unsigned at = atomic_load(&house->count);

    FLY_CHECK(at < SIDES_MAX);
    house->sides[at].transport = transport;
    transport_start(transport, &house->sides[at]);
    (void)atomic_fetch_add(&house->count, 1);
}

static MAYBE_UNUSED void house_open(struct house *house, const char *url,
                                    const struct transport_config *config)
{
    struct fly_error error = {.text = ""};

    memset(house, 0, sizeof *house);
    assert_int_equal(rpc_timer_hold(&error), FLY_OK);
    if (transport_listen(&house->listener, url, NULL, config, house_accepted, house, &error) !=
        FLY_OK) {
        fail_msg("%s", error.text);
    }
}

/* A plain socket to the house, and its side. rcvbuf: 0 or what SO_RCVBUF is set to. */
static MAYBE_UNUSED int house_visit(struct house *house, int rcvbuf, struct side **side)
{
    const char *url = transport_listener_url(house->listener);
    unsigned before = atomic_load(&house->count);
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    bool ipc = strncmp(url, "ipc://", 6) == 0;
    int fd = socket(ipc ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (rcvbuf != 0) {
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf), 0);
    }
    if (ipc) {
        assert_true(strlen(url + 6) < sizeof un.sun_path);
        memcpy(un.sun_path, url + 6, strlen(url + 6) + 1);
        assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof un), 0);
    } else {
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        in.sin_port = htons((uint16_t)strtoul(strrchr(url, ':') + 1, NULL, 10));
        assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    }
    AWAIT(atomic_load(&house->count) > before);
    *side = &house->sides[before];
    return fd;
}

/* True when it was taken. */
static MAYBE_UNUSED bool side_put(struct side *side, size_t size, bool urgent)
{
    transport_lock(side->transport);
    uint8_t *room = transport_reserve(side->transport, size, urgent);
    if (room != NULL) {
        memset(room, 'x', size);
    }
    transport_unlock(side->transport);
    return room != NULL;
}

/* Reads so many bytes; false: the end came first. */
static MAYBE_UNUSED bool socket_read(int fd, uint64_t size)
{
    static uint8_t bytes[64 * 1024];

    while (size > 0) {
        ssize_t got = recv(fd, bytes, size < sizeof bytes ? (size_t)size : sizeof bytes, 0);
        if (got <= 0) {
            return false;
        }
        size -= (uint64_t)got;
    }
    return true;
}

static MAYBE_UNUSED void house_close(struct house *house)
{
    transport_listener_destroy(house->listener); /* none comes from here on */
    for (unsigned i = 0; i < atomic_load(&house->count); i++) {
        struct side *side = &house->sides[i];
        transport_close(side->transport);
        AWAIT(atomic_load(&side->closed) == 1);
        transport_drop(side->transport);
        AWAIT(atomic_load(&side->disposed) == 1);
    }
    rpc_timer_release();
}

#endif
