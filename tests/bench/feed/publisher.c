/*
 * publisher - an owner's way from its log to its subscribers: the retention ring, flush.c's
 * messages, feed.c's seal and nng's PUB; or nng's PUB alone.
 */
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/base/check.h"
#include "proto/feed/feed.h"
#include "proto/wire/flush.h"
#include "proto/wire/retain.h"
#include "tests/bench/feed/feed.h"

enum { RING_EVENTS = 65536, RING_BYTES = 32 << 20, IN_FLIGHT_MAX = 6, WARM_MS = 20 };

struct publisher {
    struct shared *shared;
    struct feed_publisher *feed; /* or */
    nng_socket plain;
    struct retain retain;
    struct flush flush;
    struct flush_scratch *scratch;
    struct flush_source source;
    uint64_t seq;
    int64_t flush_ms; /* the flush's own clock: each batch is due */
};

static struct fly_bytes body(void *user, uint64_t seq)
{
    const struct publisher *p = user;

    return retain_at(&p->retain, seq);
}

static void send(void *user, struct fly_bytes message)
{
    struct publisher *p = user;

    atomic_fetch_add(&p->shared->messages, 1);
    if (p->feed != NULL) {
        feed_publish(p->feed, message);
        return;
    }
    nng_msg *out = NULL;
    FLY_CHECK(nng_msg_alloc(&out, message.size) == 0);
    memcpy(nng_msg_body(out), message.data, message.size);
    FLY_CHECK(nng_sendmsg(p->plain, out, NNG_FLAG_NONBLOCK) == 0);
}

static void open_plain(struct publisher *p)
{
    nng_listener listener;
    int port = 0;

    FLY_CHECK(nng_pub0_open(&p->plain) == 0);
    FLY_CHECK(nng_socket_set_int(p->plain, NNG_OPT_SENDBUF, FEED_SEND_QUEUE_MAX) == 0);
    FLY_CHECK(nng_listen(p->plain, "tcp://127.0.0.1:0", &listener, 0) == 0);
    FLY_CHECK(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port) == 0);
    atomic_store(&p->shared->port, (unsigned)port);
}

static void open_feed(struct publisher *p)
{
    const struct seal_ring ring = {.count = 1, .ids = {1}, .keys = {{7}}};
    struct fly_error error;

    FLY_CHECK(feed_publisher_create(&p->feed, "tcp://127.0.0.1:0", &ring, 42, &error) == FLY_OK);
    atomic_store(&p->shared->port, feed_publisher_port(p->feed));
}

/* So many events, in the messages that an owner would make of them now. */
static void publish(struct publisher *p, unsigned events)
{
    struct event e;

    for (unsigned i = 0; i < events; i++) {
        bench_event(++p->seq, &e);
        retain_add(&p->retain, &e);
    }
    flush_note(&p->flush, p->seq);
    p->flush_ms += FLUSH_INTERVAL_MS;
    atomic_store(&p->shared->published, p->seq);
    flush_run(&p->flush, &p->source, p->flush_ms, p->scratch, send, p);
}

static uint64_t slowest(const struct shared *s)
{
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < s->config.subscribers; i++) {
        uint64_t last = atomic_load(&s->subscribers[i].last);
        least = last < least ? last : least;
    }
    return least;
}

/* Until it is time for message `n` of the round. */
static void wait_for_turn(struct publisher *p, uint64_t n, int64_t begun_ns)
{
    const struct round_config *c = &p->shared->config;

    if (c->rate_per_s == 0) {
        uint64_t ahead = (uint64_t)IN_FLIGHT_MAX * c->events;
        while (p->seq > ahead && slowest(p->shared) < p->seq - ahead) {
            bench_sleep_us(50);
        }
        return;
    }
    int64_t due_ns = begun_ns + (int64_t)(n * UINT64_C(1000000000) / c->rate_per_s);
    for (int64_t left_ns; (left_ns = due_ns - bench_clock_ns()) > 0;) {
        bench_sleep_us((long)(left_ns / 1000) + 1);
    }
}

_Noreturn void publisher_run(struct shared *s)
{
    static struct publisher p;
    void *memory = mmap(NULL, retain_size(RING_EVENTS, RING_BYTES), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    FLY_CHECK(memory != MAP_FAILED);
    p.shared = s;
    p.scratch = malloc(sizeof *p.scratch);
    FLY_CHECK(p.scratch != NULL);
    p.source = (struct flush_source){
        .slice = BENCH_SLICE, .incarnation = BENCH_INCARNATION, .body = body, .user = &p};
    retain_init(&p.retain, memory, RING_EVENTS, RING_BYTES);
    retain_start(&p.retain, 0);
    flush_init(&p.flush, FLUSH_INTERVAL_MS, 0, 0);
    if (s->config.plain) {
        open_plain(&p);
    } else {
        open_feed(&p);
    }
    while (atomic_load(&s->ready) < s->config.subscribers) {
        publish(&p, 1); /* until everybody hears */
        bench_sleep_us(WARM_MS * 1000);
    }
    atomic_store(&s->begin, true);
    int64_t begun_ns = bench_clock_ns();
    int64_t cpu_ns = bench_cpu_ns();
    int64_t until_ns = begun_ns + s->config.ms * 1000000;
    atomic_store(&s->messages, 0);
    atomic_store(&s->begun_ns, begun_ns);
    for (uint64_t n = 1; bench_clock_ns() < until_ns; n++) {
        publish(&p, s->config.events);
        wait_for_turn(&p, n, begun_ns);
    }
    atomic_store(&s->ended_ns, bench_clock_ns());
    atomic_store(&s->publisher_cpu_ns, bench_cpu_ns() - cpu_ns);
    atomic_store(&s->finished, true);
    while (atomic_load(&s->done) < s->config.processes) {
        p.flush_ms += FLUSH_HEARTBEAT_MS; /* a lost last message is noticed by these */
        flush_run(&p.flush, &p.source, p.flush_ms, p.scratch, send, &p);
        bench_sleep_us(100000);
    }
    _Exit(0);
}
