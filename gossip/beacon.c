#include "gossip/beacon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "gossip/udp_address.h"
#include "proto/base/check.h"

enum {
    READ_MAX = 64,  /* datagrams in one turn */
    HEARD_MAX = 64, /* as many as one turn can read */
    ALONE_MS = 1000,
    USUAL_MIN_MS = 10000,
    USUAL_SPREAD_MS = 20000,
    SETTLE_MS = 100, /* after the kernel's word: changes come in bunches */
};

/* Waits before each beacon of the burst: 0, 0.1, 0.3 and 1 s after its start. */
static const int64_t burst[] = {0, 100, 200, 700};

static const char group4[] = "239.255.74.0";
static const char group6[] = "ff02::74:0";

struct interface {
    unsigned index;
    bool v4; /* has an address of that family */
    bool v6;
};

struct beacon {
    struct beacon_config config;
    struct fly_rng rng;
    int fd4; /* -1: the host has no such family */
    int fd6;
    int kernel; /* rtnetlink; -1: not allowed, then a look with each beacon is all */
    struct interface interfaces[BEACON_INTERFACES_MAX];
    unsigned interface_count;
    unsigned burst_next; /* index into burst; its count: over */
    int64_t say_ms;
    int64_t look_ms; /* INT64_MAX: not before the next beacon */
    bool alone;
    struct notice heard[HEARD_MAX];
    unsigned heard_first;
    unsigned heard_count;
    struct beacon_counters counters;
};

/* Bound to the group's own address: what comes by unicast to the port is not ours. */
static int open_group(sa_family_t family, uint16_t port)
{
    const int on = 1;
    const int off = 0;
    const unsigned char one = 1;
    struct gossip_address at = {.port = port};
    struct sockaddr_storage kernel;
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &on, sizeof on);
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &on, sizeof on);
        (void)inet_pton(AF_INET6, group6, at.ip);
    } else {
        (void)setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &one, sizeof one);
        (void)setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &one, sizeof one);
        (void)setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof off);
        at.ip[10] = at.ip[11] = 0xff;
        (void)inet_pton(AF_INET, group4, at.ip + 12);
    }
    socklen_t size = udp_address_to_kernel(&at, family, &kernel);
    if (bind(fd, (const struct sockaddr *)&kernel, size) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static int open_kernel(void)
{
    struct sockaddr_nl at = {.nl_family = AF_NETLINK,
                             .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* An interface that is gone took its membership along; one that we know already says EADDRINUSE. */
static void join_groups(struct beacon *b, const struct interface *i)
{
    if (i->v4 && b->fd4 >= 0) {
        struct ip_mreqn request = {.imr_ifindex = (int)i->index};
        (void)inet_pton(AF_INET, group4, &request.imr_multiaddr);
        (void)setsockopt(b->fd4, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request);
    }
    if (i->v6 && b->fd6 >= 0) {
        struct ipv6_mreq request = {.ipv6mr_interface = i->index};
        (void)inet_pton(AF_INET6, group6, &request.ipv6mr_multiaddr);
        (void)setsockopt(b->fd6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &request, sizeof request);
    }
}

static bool usable(const struct beacon *b, const struct ifaddrs *at)
{
    if (at->ifa_addr == NULL ||
        (at->ifa_addr->sa_family != AF_INET && at->ifa_addr->sa_family != AF_INET6) ||
        (at->ifa_flags & IFF_UP) == 0) {
        return false;
    }
    return b->config.loopback
               ? (at->ifa_flags & IFF_LOOPBACK) != 0
               : (at->ifa_flags & IFF_LOOPBACK) == 0 && (at->ifa_flags & IFF_MULTICAST) != 0 &&
                     (at->ifa_flags & IFF_RUNNING) != 0;
}

static struct interface *find(struct interface *in, unsigned count, unsigned index)
{
    for (unsigned i = 0; i < count; i++) {
        if (in[i].index == index) {
            return &in[i];
        }
    }
    return NULL;
}

static unsigned list_interfaces(struct beacon *b, struct interface *out)
{
    struct ifaddrs *all = NULL;
    unsigned count = 0;

    if (getifaddrs(&all) != 0) {
        return 0;
    }
    for (const struct ifaddrs *at = all; at != NULL; at = at->ifa_next) {
        unsigned index = usable(b, at) ? if_nametoindex(at->ifa_name) : 0;
        if (index == 0) {
            continue;
        }
        struct interface *i = find(out, count, index);
        if (i == NULL && count == BEACON_INTERFACES_MAX) {
            b->counters.crowded++;
            continue;
        }
        if (i == NULL) {
            i = &out[count++];
            *i = (struct interface){.index = index};
        }
        i->v4 |= at->ifa_addr->sa_family == AF_INET;
        i->v6 |= at->ifa_addr->sa_family == AF_INET6;
    }
    freeifaddrs(all);
    return count;
}

/* True when there is an interface, or a family on one, that was not there before. */
static bool look(struct beacon *b)
{
    struct interface now[BEACON_INTERFACES_MAX];
    unsigned count = list_interfaces(b, now);
    bool news = false;

    for (unsigned i = 0; i < count; i++) {
        const struct interface *was = find(b->interfaces, b->interface_count, now[i].index);
        if (was == NULL || (now[i].v4 && !was->v4) || (now[i].v6 && !was->v6)) {
            join_groups(b, &now[i]);
            news = true;
        }
    }
    memcpy(b->interfaces, now, count * sizeof now[0]);
    b->interface_count = count;
    b->look_ms = INT64_MAX;
    return news;
}

static bool say4(struct beacon *b, unsigned index, const uint8_t *sealed, size_t size)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(b->config.port)};
    struct in_pktinfo by = {.ipi_ifindex = (int)index};
    struct iovec part = {.iov_base = (void *)(uintptr_t)sealed, .iov_len = size};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof by)] = {0};
    struct msghdr message = {.msg_name = &to,
                             .msg_namelen = sizeof to,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);

    (void)inet_pton(AF_INET, group4, &to.sin_addr);
    c->cmsg_level = IPPROTO_IP;
    c->cmsg_type = IP_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof by);
    memcpy(CMSG_DATA(c), &by, sizeof by);
    return sendmsg(b->fd4, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static bool say6(struct beacon *b, unsigned index, const uint8_t *sealed, size_t size)
{
    struct sockaddr_in6 to = {
        .sin6_family = AF_INET6, .sin6_port = htons(b->config.port), .sin6_scope_id = index};

    (void)inet_pton(AF_INET6, group6, &to.sin6_addr);
    return sendto(b->fd6, sealed, size, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&to,
                  sizeof to) >= 0;
}

static void say(struct beacon *b)
{
    uint8_t sealed[NOTICE_SIZE_MAX];
    size_t size = notice_close(&b->config.notice, &b->config.ring, &b->rng, sealed);

    for (unsigned i = 0; i < b->interface_count; i++) {
        const struct interface *at = &b->interfaces[i];
        if (at->v4 && b->fd4 >= 0 && say4(b, at->index, sealed, size)) {
            b->counters.said++;
        }
        if (at->v6 && b->fd6 >= 0 && say6(b, at->index, sealed, size)) {
            b->counters.said++;
        }
    }
}

struct beacon *beacon_create(const struct beacon_config *config, int64_t now_ms)
{
    struct beacon *b = calloc(1, sizeof *b);

    if (b == NULL) {
        return NULL;
    }
    b->config = *config;
    b->alone = true;
    b->say_ms = now_ms;
    b->look_ms = INT64_MAX;
    fly_rng_seed(&b->rng, config->seed);
    b->fd4 = open_group(AF_INET, config->port);
    b->fd6 = open_group(AF_INET6, config->port);
    b->kernel = open_kernel();
    return b;
}

void beacon_destroy(struct beacon *b)
{
    if (b == NULL) {
        return;
    }
    const int fds[] = {b->fd4, b->fd6, b->kernel};
    for (size_t i = 0; i < FLY_ARRAY_COUNT(fds); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    seal_ring_wipe(&b->config.ring);
    free(b);
}

void beacon_poll(const struct beacon *b, struct pollfd fds[static BEACON_FDS])
{
    fds[0] = (struct pollfd){.fd = b->fd4, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = b->fd6, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = b->kernel, .events = POLLIN};
}

/* The sender's word on its address counts; where it came from only when there is none. */
static bool complete(struct notice *n, const struct gossip_address *from)
{
    if (!udp_address_is_any(n->address.ip)) {
        return true;
    }
    if (udp_address_is_link_local(from->ip)) {
        return false;
    }
    memcpy(n->address.ip, from->ip, sizeof n->address.ip);
    return true;
}

static void hear(struct beacon *b, const uint8_t *data, size_t size,
                 const struct sockaddr_storage *sender)
{
    struct gossip_address from;
    struct notice n;

    if (!notice_open(data, size, &b->config.ring, &n)) {
        b->counters.foreign++;
        return;
    }
    if (n.boot == b->config.notice.boot || !udp_address_from_kernel(sender, &from)) {
        return;
    }
    b->counters.heard++;
    if (complete(&n, &from) && b->heard_count < HEARD_MAX) {
        b->heard[b->heard_count++] = n;
    }
}

/* At most `max` datagrams; how many there were. */
static unsigned read_group(struct beacon *b, int fd, unsigned max)
{
    unsigned count = 0;

    while (fd >= 0 && count < max) {
        uint8_t data[NOTICE_SIZE_MAX + 1]; /* a longer one is seen to be too long */
        struct sockaddr_storage sender;
        socklen_t length = sizeof sender;
        ssize_t size =
            recvfrom(fd, data, sizeof data, MSG_DONTWAIT, (struct sockaddr *)&sender, &length);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size < 0) {
            break;
        }
        hear(b, data, (size_t)size, &sender);
        count++;
    }
    return count;
}

void beacon_ready(struct beacon *b, int64_t now_ms)
{
    char words[4096];
    bool told = false;

    b->heard_first = 0;
    b->heard_count = 0;
    unsigned count = read_group(b, b->fd4, READ_MAX / 2);
    (void)read_group(b, b->fd6, READ_MAX - count);
    for (unsigned i = 0; i < READ_MAX && b->kernel >= 0; i++) {
        /* what it says is not parsed: that it speaks is enough, an overrun (ENOBUFS) too */
        if (recv(b->kernel, words, sizeof words, MSG_DONTWAIT) < 0 && errno != ENOBUFS) {
            break;
        }
        told = true;
    }
    if (told && b->look_ms == INT64_MAX) {
        b->look_ms = now_ms + SETTLE_MS;
    }
}

bool beacon_heard(struct beacon *b, struct notice *out)
{
    if (b->heard_first == b->heard_count) {
        return false;
    }
    *out = b->heard[b->heard_first++];
    return true;
}

static int64_t pause_ms(struct beacon *b)
{
    if (b->burst_next < FLY_ARRAY_COUNT(burst)) {
        return burst[b->burst_next];
    }
    return b->alone ? ALONE_MS - 100 + (int64_t)fly_rng_below(&b->rng, 200)
                    : USUAL_MIN_MS + (int64_t)fly_rng_below(&b->rng, USUAL_SPREAD_MS);
}

void beacon_tick(struct beacon *b, int64_t now_ms)
{
    bool due = now_ms >= b->say_ms;

    if ((due || now_ms >= b->look_ms) && look(b)) {
        /* a new segment: the whole burst, at once; at the start this is the start's own */
        b->burst_next = 0;
        due = true;
    }
    if (due) {
        say(b);
        if (b->burst_next < FLY_ARRAY_COUNT(burst)) {
            b->burst_next++;
        }
        b->say_ms = now_ms + pause_ms(b);
    }
}

int64_t beacon_deadline(const struct beacon *b)
{
    return b->say_ms < b->look_ms ? b->say_ms : b->look_ms;
}

void beacon_set_address(struct beacon *b, const struct gossip_address *address)
{
    b->config.notice.address = *address;
}

void beacon_set_alone(struct beacon *b, bool alone, int64_t now_ms)
{
    if (alone && !b->alone && b->say_ms > now_ms + ALONE_MS) {
        b->say_ms = now_ms + ALONE_MS;
    }
    b->alone = alone;
}

const struct beacon_counters *beacon_counters(const struct beacon *b)
{
    return &b->counters;
}
