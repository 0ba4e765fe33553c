#include "gossip/udp_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/errqueue.h> /* after the libc's own: it needs struct timespec */
#include <netinet/ip_icmp.h>

#include "gossip/udp.h"
#include "gossip/udp_address.h"

enum { RECEIVE_BUFFER_SIZE = 1 << 20 };

static int open_kernel(sa_family_t family)
{
    const int on = 1;
    const int off = 0;
    const int size = RECEIVE_BUFFER_SIZE;
    /* fragments rather than silence behind a tunnel: our datagrams fit an Ethernet's */
    const int fragment = family == AF_INET6 ? IPV6_PMTUDISC_DONT : IP_PMTUDISC_DONT;
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &fragment, sizeof fragment);
    }
    (void)setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &fragment, sizeof fragment);
    return fd;
}

static void set_reuse(int fd, bool reuse)
{
    const int value = reuse ? 1 : 0;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, sizeof value);
}

/*
 * A wildcard socket on the beacons' port must share it with every beacon socket of this host, and
 * sharing would let a second node take our datagrams. So a guard holds the port exclusively on a
 * loopback address that nobody uses; it shares only while we bind. Where there is no such address
 * (loopback is down) there is no guard.
 */
static int guard_bind(uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    in.sin_addr.s_addr = htonl(0x7f4a4a4a); /* 127.74.74.74 */
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&in, sizeof in) != 0) {
        int code = errno;
        (void)close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

static bool bind_shared(struct udp_socket *s, const struct sockaddr_storage *at, socklen_t size,
                        uint16_t port)
{
    s->guard = guard_bind(port);
    if (s->guard < 0 && errno == EADDRINUSE) {
        return false;
    }
    set_reuse(s->fd, true);
    if (s->guard >= 0) {
        set_reuse(s->guard, true);
    }
    bool bound = bind(s->fd, (const struct sockaddr *)at, size) == 0;
    int code = errno;
    if (s->guard >= 0) {
        set_reuse(s->guard, false);
    }
    errno = code;
    return bound;
}

static enum fly_status open_failed(struct udp_socket *s, const struct gossip_address *at,
                                   struct fly_error *error)
{
    int code = errno;
    char text[GOSSIP_ADDRESS_TEXT_SIZE];

    gossip_address_format(at, text);
    udp_socket_close(s);
    return fly_error_set(error, FLY_UNAVAILABLE, "udp %s: %s", text,
                         code == EADDRINUSE      ? "the port is in use"
                         : code == EADDRNOTAVAIL ? "not an address of this host"
                                                 : strerror(code));
}

enum fly_status udp_socket_open(struct udp_socket *s, const char *ip, uint16_t port,
                                struct fly_error *error)
{
    struct gossip_address at;
    struct sockaddr_storage kernel;

    *s = (struct udp_socket){.fd = -1, .guard = -1};
    /* a port that parse accepts; the real one is set below */
    if (!gossip_address_parse(ip[0] != '\0' ? ip : "::", 1, &at)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "\"%.64s\" is not a numeric address", ip);
    }
    at.port = port;
    s->family = udp_address_is_v4(at.ip) ? AF_INET : AF_INET6;
    s->fd = open_kernel(s->family);
    if (s->fd < 0 && ip[0] == '\0') {
        (void)gossip_address_parse("0.0.0.0", 1, &at);
        at.port = port;
        s->family = AF_INET;
        s->fd = open_kernel(s->family);
    }
    if (s->fd < 0) {
        return open_failed(s, &at, error);
    }
    socklen_t size = udp_address_to_kernel(&at, s->family, &kernel);
    bool shared = port == GOSSIP_BEACON_PORT && udp_address_is_any(at.ip);
    if (shared ? !bind_shared(s, &kernel, size, port)
               : bind(s->fd, (const struct sockaddr *)&kernel, size) != 0) {
        return open_failed(s, &at, error);
    }
    size = sizeof kernel;
    if (getsockname(s->fd, (struct sockaddr *)&kernel, &size) != 0 ||
        !udp_address_from_kernel(&kernel, &at)) {
        return open_failed(s, &at, error);
    }
    s->port = at.port;
    return FLY_OK;
}

void udp_socket_close(struct udp_socket *s)
{
    if (s->fd >= 0) {
        (void)close(s->fd);
    }
    if (s->guard >= 0) {
        (void)close(s->guard);
    }
    s->fd = -1;
    s->guard = -1;
}

/* With IP_RECVERR a call first tells of an earlier datagram's fate; the same again is tried. */
static bool worth_again(int code)
{
    return code == EINTR || code == ECONNREFUSED || code == EHOSTUNREACH || code == ENETUNREACH;
}

bool udp_socket_send(struct udp_socket *s, const struct gossip_address *to, const void *data,
                     size_t size)
{
    struct sockaddr_storage kernel;
    socklen_t length = udp_address_to_kernel(to, s->family, &kernel);

    if (length == 0 || to->port == 0) {
        return false;
    }
    for (int turn = 0; turn < 3; turn++) {
        if (sendto(s->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&kernel,
                   length) >= 0) {
            return true;
        }
        if (!worth_again(errno)) {
            return false;
        }
    }
    return false;
}

ssize_t udp_socket_receive(struct udp_socket *s, struct gossip_address *from, void *out, size_t max)
{
    struct sockaddr_storage kernel;

    for (int turn = 0; turn < 8; turn++) {
        socklen_t length = sizeof kernel;
        ssize_t size = recvfrom(s->fd, out, max, MSG_DONTWAIT, (struct sockaddr *)&kernel, &length);
        if (size >= 0 && udp_address_from_kernel(&kernel, from)) {
            return size;
        }
        if (size < 0 && !worth_again(errno)) {
            return -1;
        }
    }
    return -1;
}

static bool says_refused(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
        bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
        struct sock_extended_err e;
        if (!v4 && !v6) {
            continue;
        }
        memcpy(&e, CMSG_DATA(c), sizeof e);
        return e.ee_errno == ECONNREFUSED &&
               (e.ee_origin == SO_EE_ORIGIN_ICMP || e.ee_origin == SO_EE_ORIGIN_ICMP6);
    }
    return false;
}

bool udp_socket_refused(struct udp_socket *s, struct gossip_address *who)
{
    for (int turn = 0; turn < 64; turn++) {
        struct sockaddr_storage kernel;
        char control[256];
        struct msghdr message = {.msg_name = &kernel,
                                 .msg_namelen = sizeof kernel,
                                 .msg_control = control,
                                 .msg_controllen = sizeof control};
        memset(&kernel, 0, sizeof kernel);
        if (recvmsg(s->fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
            return false;
        }
        if (says_refused(&message) && udp_address_from_kernel(&kernel, who)) {
            return true;
        }
    }
    return false;
}
