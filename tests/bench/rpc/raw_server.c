/*
 * raw_server - sends back what it gets: what loopback TCP costs with nothing on top of it.
 *
 * Prints "listening BLOCKING EPOLL", two ports: one connection at a time by blocking calls; many by
 * one epoll thread.
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

int main(void)
{
    pthread_t thread;
    uint16_t blocking = 0;
    uint16_t many = 0;
    int blocking_fd = listen_on(&blocking);
    int many_fd = listen_on(&many);

    (void)printf("listening %u %u\n", blocking, many);
    (void)fflush(stdout);
    FLY_CHECK(pthread_create(&thread, NULL, serve_blocking, &blocking_fd) == 0);
    serve_epoll(many_fd);
}
