#include "proto/feed/feed.h"

#include <arpa/inet.h>
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/event.h"

enum { URL_SIZE = 64 };

struct counts {
    atomic_uint_fast64_t messages;
    atomic_uint_fast64_t bytes;
    atomic_uint_fast64_t refused;
    atomic_uint_fast64_t dropped;
    atomic_uint_fast64_t opened;
    atomic_uint_fast64_t closed;
};

struct feed_publisher {
    nng_socket socket;
    uint16_t port;
    struct seal_ring ring;
    struct fly_rng rng;
    struct counts counts;
};

/* One SUB socket. Its callback is under way or its aio is armed, for ever. */
struct tap {
    struct feed_subscriber *subscriber;
    nng_socket socket;
    nng_aio *aio;
    char url[URL_SIZE]; /* this and above: under the table's lock */
    uint64_t source;    /* this and below: under the subscriber's lock */
    bool followed;
};

struct feed_subscriber {
    struct feed_subscriber *next; /* of those destroyed */
    struct feed_subscriber_config config;
    struct seal_ring ring;
    struct counts counts;
    pthread_mutex_t table; /* the taps: callers, who may be inside nng meanwhile */
    uint32_t tap_count;
    struct tap *taps[FEED_URLS_MAX];
    pthread_mutex_t lock; /* what callbacks look at: never held in a call of nng's, which may wait
                             for callbacks */
    pthread_cond_t idle;
    unsigned handing_up;
    bool stopped;
};

/* Destroyed subscribers stay reachable: their callbacks still come. */
static pthread_mutex_t graves_lock = PTHREAD_MUTEX_INITIALIZER;
static struct feed_subscriber *graves;

static void add(atomic_uint_fast64_t *count, uint64_t n)
{
    (void)atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

static uint64_t read_count(atomic_uint_fast64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

static void read_counts(struct counts *counts, struct feed_counters *out)
{
    out->messages = read_count(&counts->messages);
    out->bytes = read_count(&counts->bytes);
    out->refused = read_count(&counts->refused);
    out->dropped = read_count(&counts->dropped);
    out->opened = read_count(&counts->opened);
    out->closed = read_count(&counts->closed);
}

/* Names would go through nng's resolver, whose races 1.5.2 has not solved. */
static bool url_ok(const char *url)
{
    unsigned char address[sizeof(struct in6_addr)];
    char host[URL_SIZE];
    char rest = 0;
    unsigned port = 0;
    bool six = false;

    if (strlen(url) >= URL_SIZE) {
        return false;
    }
    if (sscanf(url, "tcp://[%63[0-9a-fA-F:.]]:%5u%c", host, &port, &rest) == 2) {
        six = true;
    } else if (sscanf(url, "tcp://%63[0-9.]:%5u%c", host, &port, &rest) != 2) {
        return false;
    }
    return port <= UINT16_MAX && inet_pton(six ? AF_INET6 : AF_INET, host, address) == 1;
}

static enum fly_status fail(struct fly_error *error, const char *url, int rv)
{
    enum fly_status status = rv == NNG_EADDRINVAL ? FLY_INVALID_ARGUMENT : FLY_UNAVAILABLE;

    return fly_error_set(error, status, "feed %s: %s", url, nng_strerror(rv));
}

/* --- publisher --- */

/* nng tells of every connection's end if it told of its coming, of those too that were refused
 * in between: so these two numbers keep step. */
static void pipe_comes(nng_pipe pipe, nng_pipe_ev event, void *user)
{
    struct counts *counts = user;

    (void)pipe;
    (void)event;
    add(&counts->opened, 1);
}

static void pipe_is_gone(nng_pipe pipe, nng_pipe_ev event, void *user)
{
    struct counts *counts = user;

    (void)pipe;
    (void)event;
    add(&counts->closed, 1);
}

static void subscriber_comes(nng_pipe pipe, nng_pipe_ev event, void *user)
{
    struct feed_publisher *p = user;

    pipe_comes(pipe, event, &p->counts);
    if (read_count(&p->counts.opened) - read_count(&p->counts.closed) > FEED_CONNECTIONS_MAX) {
        add(&p->counts.refused, 1);
        (void)nng_pipe_close(pipe);
    }
}

static int count_pipes(nng_socket socket, nng_pipe_cb comes, void *user, struct counts *counts)
{
    int rv = nng_pipe_notify(socket, NNG_PIPE_EV_ADD_PRE, comes, user);

    return rv != 0 ? rv : nng_pipe_notify(socket, NNG_PIPE_EV_REM_POST, pipe_is_gone, counts);
}

static int publisher_open(struct feed_publisher *p, const char *url)
{
    nng_listener listener;
    int port = 0;
    int rv = 0;

    /* A subscriber says nothing: what it sends is not even to be allocated. */
    if ((rv = nng_socket_set_size(p->socket, NNG_OPT_RECVMAXSZ, 1)) != 0 ||
        (rv = nng_socket_set_int(p->socket, NNG_OPT_SENDBUF, FEED_SEND_QUEUE_MAX)) != 0 ||
        (rv = count_pipes(p->socket, subscriber_comes, p, &p->counts)) != 0 ||
        (rv = nng_listen(p->socket, url, &listener, 0)) != 0 ||
        (rv = nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port)) != 0) {
        return rv;
    }
    p->port = (uint16_t)port;
    return 0;
}

enum fly_status feed_publisher_create(struct feed_publisher **out, const char *url,
                                      const struct seal_ring *ring, uint64_t seed,
                                      struct fly_error *error)
{
    struct feed_publisher *p = NULL;
    int rv = 0;

    if (!url_ok(url)) {
        return fail(error, url, NNG_EADDRINVAL);
    }
    p = calloc(1, sizeof *p);
    if (p == NULL) {
        return fail(error, url, NNG_ENOMEM);
    }
    p->ring = *ring;
    fly_rng_seed(&p->rng, seed);
    rv = nng_pub0_open(&p->socket);
    if (rv != 0) {
        free(p);
        return fail(error, url, rv);
    }
    rv = publisher_open(p, url);
    if (rv != 0) {
        feed_publisher_destroy(p);
        return fail(error, url, rv);
    }
    *out = p;
    return FLY_OK;
}

uint16_t feed_publisher_port(const struct feed_publisher *p)
{
    return p->port;
}

void feed_publish(struct feed_publisher *p, struct fly_bytes message)
{
    nng_msg *sealed = NULL;

    FLY_CHECK(message.size <= FEED_MESSAGE_MAX - SEAL_OVERHEAD);
    if (nng_msg_alloc(&sealed, message.size + SEAL_OVERHEAD) != 0) {
        add(&p->counts.dropped, 1); /* a gap like any other */
        return;
    }
    (void)seal_close(&p->ring, &p->rng, message.data, message.size, nng_msg_body(sealed));
    if (nng_sendmsg(p->socket, sealed, NNG_FLAG_NONBLOCK) != 0) {
        nng_msg_free(sealed);
        add(&p->counts.dropped, 1);
        return;
    }
    add(&p->counts.messages, 1);
    add(&p->counts.bytes, message.size + SEAL_OVERHEAD);
}

void feed_publisher_counters(struct feed_publisher *p, struct feed_counters *out)
{
    read_counts(&p->counts, out);
}

void feed_publisher_destroy(struct feed_publisher *p)
{
    (void)nng_close(p->socket); /* returns when its pipes, and their callbacks, are gone */
    seal_ring_wipe(&p->ring);
    free(p);
}

/* --- subscriber --- */

/* Whether what arrived is to be handed up, and whose it is. Then hand_up_end must follow. */
static bool hand_up_begin(struct tap *tap, uint64_t *source)
{
    struct feed_subscriber *s = tap->subscriber;
    bool wanted = false;

    (void)pthread_mutex_lock(&s->lock);
    wanted = tap->followed && !s->stopped;
    s->handing_up += wanted ? 1 : 0;
    *source = tap->source;
    (void)pthread_mutex_unlock(&s->lock);
    return wanted;
}

static void hand_up_end(struct feed_subscriber *s)
{
    (void)pthread_mutex_lock(&s->lock);
    if (--s->handing_up == 0) {
        (void)pthread_cond_broadcast(&s->idle);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

static void take(struct feed_subscriber *s, uint64_t source, const uint8_t *sealed, size_t size)
{
    uint8_t *plain = NULL;
    size_t plain_size = 0;

    if (size > FEED_MESSAGE_MAX || size < SEAL_OVERHEAD) {
        add(&s->counts.refused, 1);
        return;
    }
    plain = malloc(size);
    if (plain == NULL) {
        add(&s->counts.dropped, 1);
        return;
    }
    if (!seal_open(&s->ring, sealed, size, plain, &plain_size)) {
        add(&s->counts.refused, 1);
    } else if (!s->config.received(s->config.user, source,
                                   (struct fly_bytes){.data = plain, .size = plain_size})) {
        add(&s->counts.dropped, 1);
    } else {
        add(&s->counts.messages, 1);
        add(&s->counts.bytes, size);
    }
    free(plain);
}

/* On nng's threads. Handing up, then arming again: so one url has one callback at a time, and its
 * messages stay in order. */
static void received(void *user)
{
    struct tap *tap = user;
    uint64_t source = 0;

    if (nng_aio_result(tap->aio) != 0) {
        return; /* closed: the process ends */
    }
    nng_msg *message = nng_aio_get_msg(tap->aio);
    if (hand_up_begin(tap, &source)) {
        take(tap->subscriber, source, nng_msg_body(message), nng_msg_len(message));
        hand_up_end(tap->subscriber);
    }
    nng_msg_free(message);
    nng_recv_aio(tap->socket, tap->aio);
}

enum fly_status feed_subscriber_create(struct feed_subscriber **out,
                                       const struct feed_subscriber_config *config)
{
    struct feed_subscriber *s = calloc(1, sizeof *s);

    if (s == NULL) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    s->config = *config;
    s->ring = *config->ring;
    s->config.ring = &s->ring;
    (void)pthread_mutex_init(&s->table, NULL);
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->idle, NULL);
    *out = s;
    return FLY_OK;
}

static int tap_options(struct tap *tap)
{
    struct counts *counts = &tap->subscriber->counts;
    int rv = 0;

    if ((rv = nng_socket_set_size(tap->socket, NNG_OPT_RECVMAXSZ, FEED_MESSAGE_MAX)) != 0 ||
        (rv = nng_socket_set_int(tap->socket, NNG_OPT_RECVBUF, FEED_RECEIVE_QUEUE_MAX)) != 0 ||
        (rv = nng_socket_set_ms(tap->socket, NNG_OPT_RECONNMINT, FEED_RECONNECT_MIN_MS)) != 0 ||
        (rv = nng_socket_set_ms(tap->socket, NNG_OPT_RECONNMAXT, FEED_RECONNECT_MAX_MS)) != 0 ||
        (rv = count_pipes(tap->socket, pipe_comes, counts, counts)) != 0) {
        return rv;
    }
    return nng_socket_set(tap->socket, NNG_OPT_SUB_SUBSCRIBE, "", 0);
}

/* A socket that is armed but dials nobody yet; NULL: *rv says why. */
static struct tap *tap_create(struct feed_subscriber *s, int *rv)
{
    struct tap *tap = calloc(1, sizeof *tap);

    if (tap == NULL) {
        *rv = NNG_ENOMEM;
        return NULL;
    }
    tap->subscriber = s;
    if ((*rv = nng_aio_alloc(&tap->aio, received, tap)) != 0) {
        free(tap);
        return NULL;
    }
    if ((*rv = nng_sub0_open(&tap->socket)) != 0) {
        nng_aio_free(tap->aio);
        free(tap);
        return NULL;
    }
    if ((*rv = tap_options(tap)) != 0) { /* not armed yet: closing is harmless */
        (void)nng_close(tap->socket);
        nng_aio_free(tap->aio);
        free(tap);
        return NULL;
    }
    nng_recv_aio(tap->socket, tap->aio);
    return tap;
}

static struct tap *find_tap(struct feed_subscriber *s, const char *url)
{
    for (uint32_t i = 0; i < s->tap_count; i++) {
        if (strcmp(s->taps[i]->url, url) == 0) {
            return s->taps[i];
        }
    }
    return NULL;
}

/* A tap for a url that has none; NULL: *rv says why. One whose dial failed is used again, but never
 * one that has a dialer: closing that, under traffic, leaves nng 1.5.2's reaper waiting for ever
 * for an aio that was aborted (measured; the kind of #2208), and with it every close in the
 * process. */
static struct tap *vacant_tap(struct feed_subscriber *s, int *rv)
{
    struct tap *tap = find_tap(s, "");

    if (tap == NULL && s->tap_count == FEED_URLS_MAX) {
        *rv = NNG_ENOFILES;
        return NULL;
    }
    if (tap == NULL && (tap = tap_create(s, rv)) != NULL) {
        s->taps[s->tap_count++] = tap;
    }
    return tap;
}

/* Under the table's lock. */
static void unfollow(struct feed_subscriber *s, uint64_t source, const struct tap *but)
{
    (void)pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->tap_count; i++) {
        if (s->taps[i]->source == source && s->taps[i] != but) {
            s->taps[i]->followed = false;
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
}

/* Under the table's lock. */
static enum fly_status follow(struct feed_subscriber *s, const char *url, uint64_t source,
                              struct fly_error *error)
{
    struct tap *tap = find_tap(s, url);
    int rv = 0;

    unfollow(s, source, tap);
    if (tap == NULL) {
        tap = vacant_tap(s, &rv);
        if (tap == NULL && rv == NNG_ENOFILES) {
            return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "feed %s: %d urls were followed",
                                 url, FEED_URLS_MAX);
        }
        if (tap == NULL || (rv = nng_dial(tap->socket, url, NULL, NNG_FLAG_NONBLOCK))) {
            return fail(error, url, rv);
        }
        memcpy(tap->url, url, strlen(url) + 1);
    }
    (void)pthread_mutex_lock(&s->lock);
    tap->source = source;
    tap->followed = true;
    (void)pthread_mutex_unlock(&s->lock);
    return FLY_OK;
}

enum fly_status feed_subscriber_follow(struct feed_subscriber *s, const char *url, uint64_t source,
                                       struct fly_error *error)
{
    enum fly_status status = FLY_OK;

    if (!url_ok(url)) {
        return fail(error, url, NNG_EADDRINVAL);
    }
    (void)pthread_mutex_lock(&s->table);
    status = follow(s, url, source, error);
    (void)pthread_mutex_unlock(&s->table);
    return status;
}

void feed_subscriber_unfollow(struct feed_subscriber *s, uint64_t source)
{
    (void)pthread_mutex_lock(&s->table);
    unfollow(s, source, NULL);
    (void)pthread_mutex_unlock(&s->table);
}

void feed_subscriber_counters(struct feed_subscriber *s, struct feed_counters *out)
{
    read_counts(&s->counts, out);
}

void feed_subscriber_destroy(struct feed_subscriber *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->stopped = true;
    while (s->handing_up > 0) {
        (void)pthread_cond_wait(&s->idle, &s->lock);
    }
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_mutex_lock(&graves_lock);
    s->next = graves;
    graves = s;
    (void)pthread_mutex_unlock(&graves_lock);
}
