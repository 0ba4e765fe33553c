/*
 * raw_client - 64 bytes there and back over TCP: what the others are compared with.
 *
 *   --mode threads --variant one       blocking calls
 *   --mode threads --variant pipeline  64 messages in one write, then all 64 back: what batching
 *                                      can reach at best. Latencies are the batch's
 *   --mode threads --tls CA            the same by OpenSSL
 *   --mode chains                      one epoll thread for all connections
 *   --mode open                        one connection; what is in flight comes back in order
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/rpc/load.h"
#include "tests/bench/rpc/raw_tls.h"

enum { MESSAGE_SIZE = 64, EVENTS = 64 };

static struct {
    int fds[LOAD_CALLERS_MAX];
    unsigned connections;
    unsigned pipeline;
    int epoll;
    pthread_t thread;
    unsigned order[LOAD_CALLERS_MAX]; /* OPEN: who waits, filled by the pacer */
    unsigned put;
    unsigned taken;
    bool in_order;
    SSL *tls; /* of the one connection */
} raw;

static int connect_to(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    const int on = 1;
    const char *colon = strrchr(address, ':');
    char host[64];

    (void)snprintf(host, sizeof host, "%.*s", colon == NULL ? 0 : (int)(colon - address), address);
    if (colon == NULL || inet_pton(AF_INET, host, &to.sin_addr) != 1) {
        load_die("no address: %s", address);
    }
    to.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        load_die("no connection to %s", address);
    }
    return fd;
}

static bool say(int fd, size_t size)
{
    static const uint8_t message[MESSAGE_SIZE * LOAD_PIPELINE];

    return send(fd, message, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static bool hear(int fd, size_t size)
{
    uint8_t buffer[MESSAGE_SIZE * LOAD_PIPELINE];

    for (size_t have = 0; have < size;) {
        ssize_t n = recv(fd, buffer, size - have, 0);
        if (n <= 0) {
            return false;
        }
        have += (size_t)n;
    }
    return true;
}

/* OPEN: as many as have come; one connection, so the answers are in the order of the calls. */
static bool hear_in_order(void)
{
    static uint8_t buffer[MESSAGE_SIZE * LOAD_PIPELINE];
    static size_t have;
    ssize_t n = recv(raw.fds[0], buffer, sizeof buffer - have, 0);

    if (n <= 0) {
        return false;
    }
    for (have += (size_t)n; have >= MESSAGE_SIZE; have -= MESSAGE_SIZE) {
        load_ended(raw.order[raw.taken++ % LOAD_CALLERS_MAX], true);
    }
    return true;
}

static bool exchange_tls(size_t size)
{
    static uint8_t buffer[MESSAGE_SIZE * LOAD_PIPELINE];
    size_t have = 0;

    if (SSL_write(raw.tls, buffer, (int)size) != (int)size) {
        return false;
    }
    while (have < size) {
        int n = SSL_read(raw.tls, buffer, (int)(size - have));
        if (n <= 0) {
            return false;
        }
        have += (size_t)n;
    }
    return true;
}

static void *hear_all(void *user)
{
    struct epoll_event events[EVENTS];

    (void)user;
    for (;;) {
        int n = epoll_wait(raw.epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            unsigned caller = events[i].data.u32;
            if (raw.in_order) {
                if (!hear_in_order()) {
                    return NULL;
                }
                continue;
            }
            load_ended(caller, hear(raw.fds[caller], MESSAGE_SIZE));
        }
    }
}

static void watch(int fd, unsigned number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};

    if (epoll_ctl(raw.epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        load_die("no epoll");
    }
}

static void raw_open(const struct load_options *o)
{
    raw.connections = o->connections;
    raw.pipeline = strcmp(o->variant, "pipeline") == 0 ? LOAD_PIPELINE : 1;
    raw.epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < raw.connections; i++) {
        raw.fds[i] = connect_to(o->address);
        if (o->mode != LOAD_THREADS) {
            watch(raw.fds[i], i);
        }
    }
    if (o->tls_ca != NULL) {
        raw.tls = raw_tls_connect(raw_tls_client(o->tls_ca), raw.fds[0]);
        if (raw.tls == NULL || o->mode != LOAD_THREADS || o->callers != 1) {
            load_die("no TLS, or more than one thread");
        }
    }
    raw.in_order = o->mode == LOAD_OPEN;
    if (o->mode == LOAD_CHAINS && o->callers != o->connections) {
        load_die("a connection for every caller, please");
    }
    if (o->mode != LOAD_THREADS && pthread_create(&raw.thread, NULL, hear_all, NULL) != 0) {
        load_die("no thread");
    }
}

static void raw_close(void)
{
    for (unsigned i = 0; i < raw.connections; i++) {
        (void)close(raw.fds[i]);
    }
}

static unsigned raw_call(unsigned caller)
{
    int fd = raw.fds[caller % raw.connections];
    size_t size = (size_t)raw.pipeline * MESSAGE_SIZE;

    bool fine = raw.tls != NULL ? exchange_tls(size) : say(fd, size) && hear(fd, size);
    return fine ? raw.pipeline : 0;
}

static bool raw_start(unsigned caller)
{
    if (raw.in_order) {
        raw.order[raw.put++ % LOAD_CALLERS_MAX] =
            caller; /* the socket orders it before its answer */
        return say(raw.fds[0], MESSAGE_SIZE);
    }
    return say(raw.fds[caller], MESSAGE_SIZE);
}

int main(int argc, char **argv)
{
    static const struct load_backend backend = {
        .open = raw_open, .close = raw_close, .call = raw_call, .start = raw_start};

    return load_main(argc, argv, &backend);
}
