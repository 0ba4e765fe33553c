/* feed: real sockets on loopback; publishers that are ours, that come back, and that are not. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/feed/feed.h"

#ifdef __SANITIZE_ADDRESS__
/* nng 1.5.2 loses a message that is being sent when its connection breaks (#1713): those, and no
 * other allocation, may leak here. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:feed_publish\n";
}
#endif

enum { PATIENCE_MS = 30000 };

#define CLUSTER "00112233445566778899aabbccddeeff"

static struct seal_ring ring_of(uint8_t first)
{
    struct seal_ring group = {.count = 1, .ids = {7}};
    struct seal_ring ring;

    memset(group.keys[0], first, sizeof group.keys[0]);
    seal_ring_derive(&ring, &group, SEAL_FEED, CLUSTER);
    return ring;
}

/* Keeps what came, under a lock. */
struct reader {
    pthread_mutex_t lock;
    struct feed_subscriber *subscriber;
    uint64_t sources[16];
    uint64_t received;
    uint64_t last_source;
    uint8_t last[64];
    size_t last_size;
    bool full;
    bool heard_old; /* "the old place" */
};

static bool take(void *user, uint64_t source, struct fly_bytes message)
{
    struct reader *r = user;

    (void)pthread_mutex_lock(&r->lock);
    bool room = !r->full;
    if (room) {
        r->received++;
        r->last_source = source;
        r->last_size = message.size;
        memcpy(r->last, message.data, message.size < 64 ? message.size : 64);
        r->sources[source % 16]++;
        r->heard_old |= message.size == 13 && memcmp(message.data, "the old place", 13) == 0;
    }
    (void)pthread_mutex_unlock(&r->lock);
    return room;
}

static void reader_init(struct reader *r, uint8_t key)
{
    struct seal_ring ring = ring_of(key);
    struct feed_subscriber_config config = {.ring = &ring, .received = take, .user = r};

    *r = (struct reader){.received = 0};
    (void)pthread_mutex_init(&r->lock, NULL);
    assert_int_equal(feed_subscriber_create(&r->subscriber, &config), FLY_OK);
}

static uint64_t got(struct reader *r, uint64_t source)
{
    (void)pthread_mutex_lock(&r->lock);
    uint64_t count = r->sources[source % 16];
    (void)pthread_mutex_unlock(&r->lock);
    return count;
}

static bool last_is(struct reader *r, const void *data, size_t size)
{
    (void)pthread_mutex_lock(&r->lock);
    bool same = r->last_size == size && memcmp(r->last, data, size < 64 ? size : 64) == 0;
    (void)pthread_mutex_unlock(&r->lock);
    return same;
}

static bool heard_old(struct reader *r)
{
    (void)pthread_mutex_lock(&r->lock);
    bool heard = r->heard_old;
    (void)pthread_mutex_unlock(&r->lock);
    return heard;
}

static void set_full(struct reader *r, bool full)
{
    (void)pthread_mutex_lock(&r->lock);
    r->full = full;
    (void)pthread_mutex_unlock(&r->lock);
}

static struct feed_counters counted(struct reader *r)
{
    struct feed_counters c;

    feed_subscriber_counters(r->subscriber, &c);
    return c;
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void breathe(void)
{
    (void)poll(NULL, 0, 1);
}

/* Waits for what must happen; what must not happen is looked at after something that must. */
#define UNTIL(condition)                                                                           \
    for (int64_t end_ = now_ms() + PATIENCE_MS; !(condition); breathe()) {                         \
        if (now_ms() > end_) {                                                                     \
            fail_msg("waited in vain for %s", #condition);                                         \
        }                                                                                          \
    }

static struct feed_publisher *publisher_on(uint16_t port, uint8_t key)
{
    struct seal_ring ring = ring_of(key);
    struct feed_publisher *p = NULL;
    char url[64];

    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
    UNTIL(feed_publisher_create(&p, url, &ring, 5, NULL) == FLY_OK);
    return p;
}

static void follow(struct reader *r, uint16_t port, uint64_t source)
{
    char url[64];

    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
    assert_int_equal(feed_subscriber_follow(r->subscriber, url, source, NULL), FLY_OK);
}

static void publish(struct feed_publisher *p, const char *text)
{
    feed_publish(p, (struct fly_bytes){.data = (const uint8_t *)text, .size = strlen(text)});
}

/* Publishes until the reader has one more of this source. */
static void until_heard(struct reader *r, struct feed_publisher *p, const char *text,
                        uint64_t source)
{
    uint64_t before = got(r, source);

    for (int64_t end = now_ms() + PATIENCE_MS; got(r, source) == before; breathe()) {
        assert_true(now_ms() < end);
        publish(p, text);
    }
}

static void test_publish(void **state)
{
    struct feed_publisher *p = publisher_on(0, 1);
    struct feed_counters c;
    struct reader r;

    (void)state;
    reader_init(&r, 1);
    follow(&r, feed_publisher_port(p), 3);
    until_heard(&r, p, "hello", 3);
    UNTIL(last_is(&r, "hello", 5));
    publish(p, ""); /* nothing is a message too */
    UNTIL(last_is(&r, "", 0));
    c = counted(&r);
    assert_true(c.messages >= 2 && c.refused == 0 && c.dropped == 0 && c.opened == 1);

    uint8_t *large = calloc(1, FEED_MESSAGE_MAX);
    assert_non_null(large);
    feed_publish(p, (struct fly_bytes){.data = large, .size = FEED_MESSAGE_MAX - SEAL_OVERHEAD});
    UNTIL(last_is(&r, large, FEED_MESSAGE_MAX - SEAL_OVERHEAD));
    UNTIL(counted(&r).bytes > FEED_MESSAGE_MAX);
    free(large);

    feed_publisher_counters(p, &c);
    assert_true(c.messages >= 3 && c.opened == 1 && c.closed == 0);
    feed_subscriber_destroy(r.subscriber);
    feed_publisher_destroy(p);
}

static void test_addresses(void **state)
{
    static const char *const bad[] = {
        "",
        "tcp://localhost:80",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:80x",
        "tcp://127.0.0.256:80",
        "tcp://::1:80",
        "tcp://[127.0.0.1]:80",
        "tcp://*:80",
        "ipc:///tmp/x",
        "ws://127.0.0.1:80",
        "tcp://[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:80",
    };
    struct seal_ring ring = ring_of(1);
    struct feed_publisher *p = NULL;
    struct feed_publisher *second = NULL;
    struct fly_error error = {0};
    struct reader r;
    char url[64];

    (void)state;
    reader_init(&r, 1);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(bad); i++) {
        if (feed_subscriber_follow(r.subscriber, bad[i], 1, &error) != FLY_INVALID_ARGUMENT ||
            feed_publisher_create(&p, bad[i], &ring, 1, &error) != FLY_INVALID_ARGUMENT) {
            fail_msg("%s", bad[i]);
        }
    }
    assert_int_equal(feed_publisher_create(&p, "tcp://[::1]:0", &ring, 1, &error), FLY_OK);
    (void)snprintf(url, sizeof url, "tcp://[::1]:%u", feed_publisher_port(p));
    assert_int_equal(feed_subscriber_follow(r.subscriber, url, 1, &error), FLY_OK);
    until_heard(&r, p, "six", 1);
    assert_int_equal(feed_publisher_create(&second, url, &ring, 1, &error), FLY_UNAVAILABLE);
    assert_true(strstr(error.text, url) != NULL);
    feed_subscriber_destroy(r.subscriber);
    feed_publisher_destroy(p);
}

static void test_foreign_ring(void **state)
{
    struct feed_publisher *ours = publisher_on(0, 1);
    struct feed_publisher *foreign = publisher_on(0, 2);
    struct reader r;

    (void)state;
    reader_init(&r, 1);
    follow(&r, feed_publisher_port(ours), 1);
    follow(&r, feed_publisher_port(foreign), 2);
    UNTIL((publish(foreign, "psst"), counted(&r).refused >= 3));
    until_heard(&r, ours, "ours", 1);
    assert_int_equal(got(&r, 2), 0);
    feed_subscriber_destroy(r.subscriber);
    feed_publisher_destroy(ours);
    feed_publisher_destroy(foreign);
}

static void test_return(void **state)
{
    struct feed_publisher *p = publisher_on(0, 1);
    uint16_t port = feed_publisher_port(p);
    struct reader r;

    (void)state;
    reader_init(&r, 1);
    follow(&r, port, 1);
    for (int i = 0; i < 3; i++) {
        until_heard(&r, p, "here", 1);
        feed_publisher_destroy(p);
        UNTIL(counted(&r).closed == (uint64_t)i + 1);
        p = publisher_on(port, 1);
    }
    until_heard(&r, p, "back", 1);
    assert_int_equal(counted(&r).opened, 4);
    feed_subscriber_destroy(r.subscriber);
    feed_publisher_destroy(p);
}

static void test_no_room(void **state)
{
    struct feed_publisher *p = publisher_on(0, 1);
    struct reader r;

    (void)state;
    reader_init(&r, 1);
    follow(&r, feed_publisher_port(p), 1);
    until_heard(&r, p, "first", 1);
    set_full(&r, true);
    UNTIL((publish(p, "second"), counted(&r).dropped > 0));
    set_full(&r, false);
    until_heard(&r, p, "third", 1);
    feed_subscriber_destroy(r.subscriber);
    feed_publisher_destroy(p);
}

static void test_sources(void **state)
{
    struct feed_publisher *p = publisher_on(0, 1);
    struct feed_publisher *other = publisher_on(0, 1);
    struct reader r;

    (void)state;
    reader_init(&r, 1);
    follow(&r, feed_publisher_port(p), 1);
    follow(&r, feed_publisher_port(other), 9);
    until_heard(&r, p, "one", 1);
    follow(&r, feed_publisher_port(p), 2); /* the same socket, another name */
    until_heard(&r, p, "two", 2);
    feed_subscriber_unfollow(r.subscriber, 2);
    uint64_t before = got(&r, 2);
    publish(p, "nobody listens");
    until_heard(&r, other, "other", 9);
    assert_true(got(&r, 2) <= before + 1); /* one may have been on its way up */
    follow(&r, feed_publisher_port(p), 3);
    until_heard(&r, p, "three", 3);
    assert_int_equal(counted(&r).opened, 2);
    follow(&r, feed_publisher_port(other), 3); /* it has moved there */
    UNTIL((publish(other, "moved"), last_is(&r, "moved", 5)));
    publish(p, "the old place");
    until_heard(&r, other, "moved", 3);
    assert_false(heard_old(&r));
    feed_subscriber_destroy(r.subscriber);
    before = got(&r, 3);
    publish(p, "after the end");
    publish(other, "after the end");
    assert_int_equal(got(&r, 3), before);
    feed_publisher_destroy(p);
    feed_publisher_destroy(other);
}

/* Urls have a bound; one that was followed before is no new one. */
static void test_many_urls(void **state)
{
    struct feed_publisher *p = publisher_on(0, 1);
    struct fly_error error = {0};
    struct reader r;
    char url[64];

    (void)state;
    reader_init(&r, 1);
    follow(&r, feed_publisher_port(p), 1);
    for (unsigned i = 1; i < FEED_URLS_MAX; i++) {
        (void)snprintf(url, sizeof url, "tcp://127.0.1.%u:%u", i % 250 + 1, 9 + i / 250);
        assert_int_equal(feed_subscriber_follow(r.subscriber, url, 100 + i, &error), FLY_OK);
        feed_subscriber_unfollow(r.subscriber, 100 + i);
    }
    assert_int_equal(feed_subscriber_follow(r.subscriber, "tcp://127.0.4.1:9", 5, &error),
                     FLY_RESOURCE_EXHAUSTED);
    assert_int_equal(feed_subscriber_follow(r.subscriber, url, 5, &error), FLY_OK);
    until_heard(&r, p, "still there", 1);
    feed_subscriber_destroy(r.subscriber);
    feed_publisher_destroy(p);
}

/* --- who speaks the transport, but is none of ours --- */

struct hostile {
    int listener;
    uint16_t port;
    atomic_bool stop;
    atomic_uint accepted;
    uint16_t protocol;
    uint64_t announce; /* the size of every second frame; 0: as many as it has */
    bool no_handshake;
    pthread_t thread;
};

static bool send_all(int fd, const void *data, size_t size)
{
    const uint8_t *p = data;

    while (size > 0) {
        ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        p += n;
        size -= (size_t)n;
    }
    return true;
}

static bool send_frame(int fd, uint64_t announced, const void *data, size_t size)
{
    uint8_t head[8];

    for (int i = 0; i < 8; i++) {
        head[i] = (uint8_t)(announced >> (56 - 8 * i));
    }
    return send_all(fd, head, sizeof head) && send_all(fd, data, size);
}

static void pester(struct hostile *h, int fd, struct fly_rng *rng)
{
    uint8_t hello[8] = {0, 'S', 'P', 0, (uint8_t)(h->protocol >> 8), (uint8_t)h->protocol, 0, 0};
    uint8_t bytes[512];

    if (h->no_handshake) {
        fly_rng_fill(rng, hello, sizeof hello);
    }
    bool open = send_all(fd, hello, sizeof hello);
    for (int i = 0; open && !atomic_load(&h->stop) && i < 50; i++) {
        size_t size = (size_t)fly_rng_below(rng, sizeof bytes);
        fly_rng_fill(rng, bytes, sizeof bytes);
        bytes[0] = fly_rng_chance(rng, 500) ? 1 : bytes[0]; /* version and key id as ours */
        bytes[1] = fly_rng_chance(rng, 500) ? 7 : bytes[1];
        open = send_frame(fd, h->announce != 0 && i % 2 == 1 ? h->announce : size, bytes, size);
    }
    if (h->announce != 0) { /* it closes first: too large */
        (void)shutdown(fd, SHUT_WR);
        (void)recv(fd, bytes, sizeof bytes, MSG_WAITALL);
    }
    (void)close(fd);
}

static void *hostile_run(void *user)
{
    struct hostile *h = user;
    struct fly_rng rng;

    fly_rng_seed(&rng, h->port);
    while (!atomic_load(&h->stop)) {
        struct pollfd p = {.fd = h->listener, .events = POLLIN};
        if (poll(&p, 1, 20) == 1) {
            int fd = accept(h->listener, NULL, NULL);
            (void)atomic_fetch_add(&h->accepted, 1);
            pester(h, fd, &rng);
        }
    }
    return NULL;
}

static void hostile_begin(struct hostile *h)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;

    h->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(h->listener, (struct sockaddr *)&a, size), 0);
    assert_int_equal(listen(h->listener, 8), 0);
    assert_int_equal(getsockname(h->listener, (struct sockaddr *)&a, &size), 0);
    h->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&h->thread, NULL, hostile_run, h), 0);
}

static void hostile_end(struct hostile *h)
{
    atomic_store(&h->stop, true);
    assert_int_equal(pthread_join(h->thread, NULL), 0);
    (void)close(h->listener);
}

static void test_hostile_publishers(void **state)
{
    static struct hostile rows[] = {
        {.protocol = 0x20}, /* a publisher, of garbage */
        {.protocol = 0x20, .announce = FEED_MESSAGE_MAX + 1},
        {.protocol = 0x20, .announce = UINT64_MAX},
        {.protocol = 0x20, .announce = (uint64_t)1 << 40},
        {.protocol = 0x21}, /* a subscriber */
        {.no_handshake = true},
    };
    struct feed_publisher *p = publisher_on(0, 1);
    struct reader r;

    (void)state;
    reader_init(&r, 1);
    follow(&r, feed_publisher_port(p), 15);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        hostile_begin(&rows[i]);
        follow(&r, rows[i].port, i);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        UNTIL(atomic_load(&rows[i].accepted) >= 3); /* it was cut off, and dialled again */
    }
    UNTIL(counted(&r).refused >= 100);
    until_heard(&r, p, "unmoved", 15);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        assert_int_equal(got(&r, i), 0);
        feed_subscriber_unfollow(r.subscriber, i);
        hostile_end(&rows[i]);
    }
    feed_subscriber_destroy(r.subscriber);
    feed_publisher_destroy(p);
}

static int dial(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* Subscribers that talk are cut off; those that only hold connections meet a bound. */
static void test_hostile_subscribers(void **state)
{
    static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x21, 0, 0};
    struct feed_publisher *p = publisher_on(0, 1);
    struct feed_counters c = {0};
    uint8_t bytes[64] = {0};
    int fds[FEED_CONNECTIONS_MAX + 20];
    struct reader r;

    (void)state;
    for (int i = 0; i < 20; i++) {
        int fd = dial(feed_publisher_port(p));
        if (i % 2 == 0) {
            assert_true(send_all(fd, hello, sizeof hello));
            assert_int_equal(recv(fd, bytes, 8, MSG_WAITALL), 8);
            (void)send_frame(fd, i % 4 == 0 ? (uint64_t)1 << 40 : 40, bytes, 40);
        } else {
            (void)send_all(fd, bytes, sizeof bytes);
        }
        ssize_t n = 0;
        while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0) {
        }
        (void)close(fd); /* the publisher closed it */
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(fds); i++) {
        fds[i] = dial(feed_publisher_port(p));
        assert_true(send_all(fds[i], hello, sizeof hello));
    }
    UNTIL((feed_publisher_counters(p, &c), c.refused >= 20));
    for (size_t i = 0; i < FLY_ARRAY_COUNT(fds); i++) {
        (void)close(fds[i]);
    }
    reader_init(&r, 1);
    follow(&r, feed_publisher_port(p), 1); /* dials again until there is room */
    until_heard(&r, p, "room again", 1);
    UNTIL((feed_publisher_counters(p, &c), c.opened - c.closed == 1));
    feed_subscriber_destroy(r.subscriber);
    feed_publisher_destroy(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_foreign_ring),
        cmocka_unit_test(test_return),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_hostile_publishers),
        cmocka_unit_test(test_hostile_subscribers),
        cmocka_unit_test(test_many_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
