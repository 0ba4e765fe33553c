/*
 * garbage_lan - speaks nonsense to gossip and PUB ports: what anybody on the LAN can do.
 *
 *   fly_garbage_lan [--gossip PORT]... [--pub PORT]... [--seconds S] [--seed N] [--rate N]
 *
 * Gossip: datagrams of noise, and real packets as they pass on loopback (a packet socket, which
 * root may have): cut, longer, with a flipped bit, and as they were, to their addressee or another.
 * PUB: noise, broken SP handshakes, subscribers that say huge or endless messages, subscribers that
 * never read, connections by the dozen. A paced thread for each kind; what it sends is seeded, who
 * wins a race is not. Prints its counters as one JSON object.
 */
#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netpacket/packet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/rng.h"

enum {
    PORTS_MAX = 16,
    DATAGRAM_MAX = 2048,
    CAUGHT_MAX = 64,
    READERS_MAX = 48, /* subscribers that never read, kept open */
    WAIT_MS = 100,
    SP_HEADER_SIZE = 8,
    SP_PUB0 = 0x20,
    SP_SUB0 = 0x21,
};

struct ports {
    uint16_t ports[PORTS_MAX];
    unsigned count;
};

struct counters {
    atomic_uint_fast64_t datagrams, caught, replayed, connections, handshakes, refused_connects;
};

struct lan {
    struct ports gossip;
    struct ports pub;
    int64_t until_ms;
    uint64_t seed;
    uint32_t rate; /* datagrams a second and port */
    struct counters counters;
};

struct packet {
    uint8_t bytes[DATAGRAM_MAX];
    size_t size;
    uint16_t port; /* whom it was for */
};

static void count(atomic_uint_fast64_t *counter)
{
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static bool over(const struct lan *lan)
{
    return fly_clock_boot_ms() >= lan->until_ms;
}

/* Load, not proof: a flood that fills every buffer would only show that a flood does. */
static void pace(void)
{
    const struct timespec ms = {.tv_nsec = 1000000};

    (void)nanosleep(&ms, NULL);
}

static bool listed(const struct ports *p, uint16_t port)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (p->ports[i] == port) {
            return true;
        }
    }
    return false;
}

/* ---- gossip ---- */

struct gossip_talker {
    struct lan *lan;
    struct fly_rng rng;
    int out;
    int in; /* -1: may not listen to others' packets */
    struct packet caught[CAUGHT_MAX];
    unsigned caught_count;
};

static void catch_one(struct gossip_talker *t, const uint8_t *ip, size_t size)
{
    size_t head = (size_t)(ip[0] & 0x0f) * 4;

    if (size < head + 8 || ip[0] >> 4 != 4 || ip[9] != IPPROTO_UDP) {
        return;
    }
    uint16_t port = (uint16_t)(ip[head + 2] << 8 | ip[head + 3]);
    size -= head + 8;
    if (!listed(&t->lan->gossip, port) || size == 0 || size > DATAGRAM_MAX) {
        return;
    }
    unsigned at = t->caught_count < CAUGHT_MAX ? t->caught_count++
                                               : (unsigned)fly_rng_below(&t->rng, CAUGHT_MAX);
    memcpy(t->caught[at].bytes, ip + head + 8, size);
    t->caught[at].size = size;
    t->caught[at].port = port;
    count(&t->lan->counters.caught);
}

/* Not our own: of what goes by, those that gossip sent go out by a socket of theirs. */
static void catch_some(struct gossip_talker *t)
{
    uint8_t bytes[DATAGRAM_MAX + 64];
    struct sockaddr_in self;
    socklen_t self_size = sizeof self;
    ssize_t size = 0;

    if (t->in < 0 || getsockname(t->out, (struct sockaddr *)&self, &self_size) != 0) {
        return;
    }
    while ((size = recv(t->in, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        size_t head = (size_t)(bytes[0] & 0x0f) * 4;
        bool ours = (size_t)size >= head + 8 &&
                    (bytes[head] << 8 | bytes[head + 1]) == (int)ntohs(self.sin_port);
        if (!ours) {
            catch_one(t, bytes, (size_t)size);
        }
    }
}

static void send_to(struct gossip_talker *t, uint16_t port, const uint8_t *bytes, size_t size)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    (void)sendto(t->out, bytes, size, MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof to);
    count(&t->lan->counters.datagrams);
}

/* A real packet, changed or not. */
static void send_caught(struct gossip_talker *t, uint16_t port)
{
    const struct packet *from = &t->caught[fly_rng_below(&t->rng, t->caught_count)];
    uint8_t bytes[DATAGRAM_MAX];
    size_t size = from->size;

    memcpy(bytes, from->bytes, size);
    switch (fly_rng_below(&t->rng, 5)) {
    case 0:
        bytes[fly_rng_below(&t->rng, size)] ^= (uint8_t)(1u << fly_rng_below(&t->rng, 8));
        break;
    case 1:
        size = fly_rng_below(&t->rng, size);
        break;
    case 2: {
        size_t more = fly_rng_below(&t->rng, DATAGRAM_MAX - size + 1);
        fly_rng_fill(&t->rng, bytes + size, more);
        size += more;
        break;
    }
    case 3:
        port = from->port; /* replayed, to whom it was for */
        count(&t->lan->counters.replayed);
        break;
    default: /* replayed, to whom it was not for */
        count(&t->lan->counters.replayed);
        break;
    }
    send_to(t, port, bytes, size);
}

static void *run_gossip(void *user)
{
    struct gossip_talker *t = user;
    uint8_t bytes[DATAGRAM_MAX];
    uint32_t burst = t->lan->rate / 1000 + 1;

    while (!over(t->lan)) {
        catch_some(t);
        for (unsigned i = 0; i < t->lan->gossip.count * burst; i++) {
            uint16_t port = t->lan->gossip.ports[i % t->lan->gossip.count];
            if (t->caught_count > 0 && fly_rng_chance(&t->rng, 700)) {
                send_caught(t, port);
            } else {
                size_t size = fly_rng_below(&t->rng, sizeof bytes);
                fly_rng_fill(&t->rng, bytes, size);
                send_to(t, port, bytes, size);
            }
        }
        pace();
    }
    return NULL;
}

/* ---- PUB ---- */

struct pub_talker {
    struct lan *lan;
    struct fly_rng rng;
    int readers[READERS_MAX];
    unsigned reader_next;
};

static int pub_connect(struct pub_talker *t)
{
    uint16_t port = t->lan->pub.ports[fly_rng_below(&t->rng, t->lan->pub.count)];
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval wait = {.tv_usec = WAIT_MS * 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    FLY_CHECK(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        (void)close(fd);
        count(&t->lan->counters.refused_connects);
        return -1;
    }
    count(&t->lan->counters.connections);
    return fd;
}

static bool say(int fd, const void *data, size_t size)
{
    return send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* As a subscriber does it; true when the publisher answered as one. */
static bool say_handshake(struct pub_talker *t, int fd)
{
    static const uint8_t ours[SP_HEADER_SIZE] = {0, 'S', 'P', 0, 0, SP_SUB0, 0, 0};
    uint8_t theirs[SP_HEADER_SIZE];

    if (!say(fd, ours, sizeof ours) ||
        recv(fd, theirs, sizeof theirs, MSG_WAITALL) != (ssize_t)sizeof theirs) {
        return false;
    }
    FLY_CHECK(theirs[5] == SP_PUB0);
    count(&t->lan->counters.handshakes);
    return true;
}

static void say_broken_handshake(struct pub_talker *t, int fd)
{
    uint8_t header[SP_HEADER_SIZE] = {0, 'S', 'P', 0, 0, SP_SUB0, 0, 0};

    header[fly_rng_below(&t->rng, sizeof header)] = (uint8_t)fly_rng_next(&t->rng);
    (void)say(fd, header, 1 + fly_rng_below(&t->rng, sizeof header));
}

/* A subscriber has nothing to say; it says it at length. */
static void say_messages(struct pub_talker *t, int fd)
{
    uint8_t bytes[4096];
    uint8_t size[8];

    for (unsigned i = 0; i < 8; i++) {
        bool huge = fly_rng_chance(&t->rng, 500);
        fly_store_u64(size, huge ? fly_rng_next(&t->rng) : fly_rng_below(&t->rng, sizeof bytes));
        fly_rng_fill(&t->rng, bytes, sizeof bytes);
        if (!say(fd, size, sizeof size) ||
            !say(fd, bytes, fly_rng_below(&t->rng, sizeof bytes) + 1)) {
            return;
        }
    }
}

static void keep_reader(struct pub_talker *t, int fd)
{
    unsigned at = t->reader_next++ % READERS_MAX;

    if (t->readers[at] >= 0) {
        (void)close(t->readers[at]);
    }
    t->readers[at] = fd;
}

static void talk_pub(struct pub_talker *t)
{
    uint8_t bytes[4096];
    uint64_t kind = fly_rng_below(&t->rng, 10);
    int fd = pub_connect(t);

    if (fd < 0) {
        return;
    }
    if (kind < 2) {
        fly_rng_fill(&t->rng, bytes, sizeof bytes);
        (void)say(fd, bytes, fly_rng_below(&t->rng, sizeof bytes) + 1);
    } else if (kind < 4) {
        say_broken_handshake(t, fd);
    } else if (kind < 6 && say_handshake(t, fd)) {
        say_messages(t, fd);
    } else if (kind < 8 && (kind == 6 || say_handshake(t, fd))) {
        keep_reader(t, fd); /* without a word, or as a subscriber */
        return;
    }
    if (fly_rng_chance(&t->rng, 300)) {
        const struct linger reset = {.l_onoff = 1};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    (void)close(fd);
}

static void *run_pub(void *user)
{
    struct pub_talker *t = user;

    for (unsigned i = 0; i < READERS_MAX; i++) {
        t->readers[i] = -1;
    }
    while (!over(t->lan)) {
        for (unsigned i = 0; i < t->lan->pub.count; i++) {
            talk_pub(t);
        }
        pace();
    }
    for (unsigned i = 0; i < READERS_MAX; i++) {
        if (t->readers[i] >= 0) {
            (void)close(t->readers[i]);
        }
    }
    return NULL;
}

/* ---- */

static void print_counters(struct counters *n)
{
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"datagrams", atomic_load(&n->datagrams)},
        {"caught", atomic_load(&n->caught)},
        {"replayed", atomic_load(&n->replayed)},
        {"connections", atomic_load(&n->connections)},
        {"handshakes", atomic_load(&n->handshakes)},
        {"refused_connects", atomic_load(&n->refused_connects)},
    };

    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        (void)printf("%s\"%s\": %llu", i == 0 ? "{" : ", ", rows[i].name,
                     (unsigned long long)rows[i].value);
    }
    (void)printf("}\n");
}

static void open_gossip(struct gossip_talker *t, struct lan *lan)
{
    const struct sockaddr_in any = {.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    t->lan = lan;
    fly_rng_seed(&t->rng, lan->seed * 2);
    t->out = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    FLY_CHECK(t->out >= 0 && bind(t->out, (const struct sockaddr *)&any, sizeof any) == 0);
    t->in = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
    if (t->in < 0) {
        (void)fprintf(stderr, "garbage_lan: no packet socket (%s): noise only\n", strerror(errno));
    }
}

static error_t add_port(struct argp_state *state, struct ports *p, const char *value)
{
    if (p->count == PORTS_MAX) {
        argp_error(state, "at most %d ports", PORTS_MAX);
    }
    p->ports[p->count++] = (uint16_t)strtoul(value, NULL, 10);
    return 0;
}

enum { OPTION_GOSSIP = 1, OPTION_PUB, OPTION_SECONDS, OPTION_SEED, OPTION_RATE };

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct lan *lan = state->input;

    switch (key) {
    case OPTION_GOSSIP:
        return add_port(state, &lan->gossip, value);
    case OPTION_PUB:
        return add_port(state, &lan->pub, value);
    case OPTION_SECONDS:
        lan->until_ms = (int64_t)strtoul(value, NULL, 10) * 1000;
        return 0;
    case OPTION_SEED:
        lan->seed = strtoull(value, NULL, 10);
        return 0;
    case OPTION_RATE:
        lan->rate = (uint32_t)strtoul(value, NULL, 10);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"gossip", OPTION_GOSSIP, "PORT", 0, "UDP, on 127.0.0.1; may be repeated", 0},
        {"pub", OPTION_PUB, "PORT", 0, "TCP, on 127.0.0.1; may be repeated", 0},
        {"seconds", OPTION_SECONDS, "N", 0, "how long [8]", 0},
        {"seed", OPTION_SEED, "N", 0, "of the choices [1]", 0},
        {"rate", OPTION_RATE, "N", 0, "datagrams a second and port [1000]", 0},
        {0},
    };
    static const struct argp argp = {.options = options, .parser = parse_option};
    static struct lan lan = {.until_ms = 8000, .seed = 1, .rate = 1000};
    static struct gossip_talker gossip;
    static struct pub_talker pub;
    pthread_t threads[2];

    (void)argp_parse(&argp, argc, argv, 0, NULL, &lan);
    lan.until_ms += fly_clock_boot_ms();
    open_gossip(&gossip, &lan);
    pub.lan = &lan;
    fly_rng_seed(&pub.rng, lan.seed * 2 + 1);
    if (lan.gossip.count > 0) {
        FLY_CHECK(pthread_create(&threads[0], NULL, run_gossip, &gossip) == 0);
    }
    if (lan.pub.count > 0) {
        FLY_CHECK(pthread_create(&threads[1], NULL, run_pub, &pub) == 0);
    }
    if (lan.gossip.count > 0) {
        (void)pthread_join(threads[0], NULL);
    }
    if (lan.pub.count > 0) {
        (void)pthread_join(threads[1], NULL);
    }
    print_counters(&lan.counters);
    return 0;
}
