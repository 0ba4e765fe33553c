/*
 * raw_server - sends back what it gets: what loopback TCP costs with nothing on top of it.
 *
 *   raw_server CERT KEY
 *
 * Prints "listening BLOCKING EPOLL TLS", three ports: one connection at a time by blocking calls;
 * many by one epoll thread; one at a time by blocking calls of OpenSSL.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "tests/bench/rpc/raw_tls.h"

enum { EVENTS = 64, BUFFER_SIZE = 64 * 64 };

static int listen_on(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    FLY_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 256) == 0 &&
              getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static int accept_from(int listener)
{
    const int on = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    FLY_CHECK(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    return fd;
}

/* False: the connection is over. */
static bool echo(int fd)
{
    uint8_t buffer[BUFFER_SIZE];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);

    return n > 0 && send(fd, buffer, (size_t)n, MSG_NOSIGNAL) == n;
}

static void *serve_blocking(void *user)
{
    for (;;) {
        int fd = accept_from(*(int *)user);
        while (echo(fd)) {
        }
        (void)close(fd);
    }
    return NULL;
}

struct tls_server {
    int listener;
    SSL_CTX *context;
};

static void *serve_tls(void *user)
{
    const struct tls_server *server = user;

    for (;;) {
        uint8_t buffer[BUFFER_SIZE];
        int fd = accept_from(server->listener);
        SSL *ssl = raw_tls_accept(server->context, fd);
        int n = 1;
        while (ssl != NULL && n > 0) {
            n = SSL_read(ssl, buffer, sizeof buffer);
            n = n > 0 ? SSL_write(ssl, buffer, n) : n;
        }
        SSL_free(ssl);
        (void)close(fd);
    }
    return NULL;
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    FLY_CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

static void serve_epoll(int listener)
{
    struct epoll_event events[EVENTS];
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    FLY_CHECK(epoll >= 0);
    watch(epoll, listener);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                watch(epoll, accept_from(listener));
            } else if (!echo(fd)) {
                (void)close(fd);
            }
        }
    }
}

int main(int argc, char **argv)
{
    pthread_t threads[2];
    uint16_t blocking = 0;
    uint16_t many = 0;
    uint16_t secure = 0;
    int blocking_fd = listen_on(&blocking);
    int many_fd = listen_on(&many);
    struct tls_server tls = {.listener = listen_on(&secure)};

    if (argc != 3) {
        (void)fprintf(stderr, "raw_server CERT KEY\n");
        return 64;
    }
    tls.context = raw_tls_server(argv[1], argv[2]);
    FLY_CHECK(pthread_create(&threads[0], NULL, serve_blocking, &blocking_fd) == 0);
    FLY_CHECK(pthread_create(&threads[1], NULL, serve_tls, &tls) == 0);
    (void)printf("listening %u %u %u\n", blocking, many, secure);
    (void)fflush(stdout);
    serve_epoll(many_fd);
}
