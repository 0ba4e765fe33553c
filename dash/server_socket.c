#include "dash/server_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/bytes.h"

enum {
    BACKLOG = 4096,
    NOT_SENT_BYTES = 32 * 1024, /* more waits here, where it can still be left out */
    SILENCE_MS = 30000,         /* of a browser that acknowledges nothing */
};

static int open_listener(const struct addrinfo *at)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        return fd;
    }
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

enum fly_status server_socket_listen(const char *host, uint16_t port, int *fd, uint16_t *bound,
                                     struct fly_error *error)
{
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *at = NULL;
    if (host == NULL || getaddrinfo(host, service, &hints, &at) != 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "dash: %s is no numeric address",
                             host == NULL ? "(none)" : host);
    }
    *fd = open_listener(at);
    int why = errno;
    freeaddrinfo(at);
    if (*fd < 0) {
        return fly_error_set(error, why == EADDRINUSE ? FLY_UNAVAILABLE : FLY_INVALID_ARGUMENT,
                             "dash: cannot listen on %s port %u: %s", host, port, strerror(why));
    }
    struct sockaddr_storage here = {0};
    socklen_t size = sizeof here;
    if (getsockname(*fd, (struct sockaddr *)&here, &size) != 0) {
        close(*fd);
        return fly_error_set(error, FLY_INTERNAL, "dash: getsockname: %s", strerror(errno));
    }
    struct sockaddr_in6 six;
    struct sockaddr_in four;
    memcpy(&six, &here, sizeof six);
    memcpy(&four, &here, sizeof four);
    *bound = ntohs(here.ss_family == AF_INET6 ? six.sin6_port : four.sin_port);
    return FLY_OK;
}

int server_socket_accept(int listen_fd)
{
    int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    int on = 1;
    unsigned waiting = NOT_SENT_BYTES;
    unsigned silence = SILENCE_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &waiting, sizeof waiting);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof silence);
    return fd;
}

uint64_t server_socket_key(const char *remote)
{
    uint8_t address[16] = {0};
    if (inet_pton(AF_INET, remote, address) == 1) {
        return fly_load_u32(address);
    }
    if (inet_pton(AF_INET6, remote, address) == 1) {
        static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
        if (memcmp(address, mapped, sizeof mapped) == 0) {
            return fly_load_u32(address + 12);
        }
        return fly_load_u64(address) | UINT64_C(1) << 63;
    }
    return 0;
}
