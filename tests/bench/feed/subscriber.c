/*
 * subscriber - processes with many subscribers each: what is opened goes through follow.c as in a
 * node, every event is looked at, and what is missing is brought by a replay.
 *
 * A replay's events are made here (bench_event), not asked for: what is measured is the feed.
 */
#include <nng/nng.h>
#include <nng/protocol/pubsub0/sub.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/feed/feed.h"
#include "proto/wire/follow.h"
#include "tests/bench/feed/feed.h"

enum { REPLAY_EVENTS = 1024, PATIENCE_S = 30 };

struct subscriber {
    struct shared *shared;
    struct subscriber_counts *counts;
    struct feed_subscriber *feed;
    struct follow follow;
    uint64_t next; /* its own count: what follow.c hands up must be this one */
    bool heard;
    bool replaying;
    nng_socket plain;
    nng_aio *aio;
};

static void hear(struct subscriber *s)
{
    if (!s->heard) {
        s->heard = true;
        atomic_fetch_add(&s->shared->ready, 1);
    }
}

static void add(atomic_uint_fast64_t *count, uint64_t n)
{
    (void)atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

static void take_event(void *user, const struct event *e)
{
    struct subscriber *s = user;
    struct event must;

    if (e->seq != s->next) {
        add(&s->counts->undetected, 1);
        s->next = e->seq;
    }
    if (e->seq % 64 == 0) { /* the whole of some; a number of all */
        bench_event(e->seq, &must);
        if (strcmp(must.machine, e->machine) != 0 || must.vm != e->vm) {
            add(&s->counts->undetected, 1);
        }
    }
    if (e->machine_cores_free != (uint32_t)(e->seq % 1000)) {
        add(&s->counts->undetected, 1);
    }
    s->next++;
}

/* The owner's answer: events from `from` on. */
static void replay(struct subscriber *s, const struct follow_sink *sink, int64_t now_ms)
{
    static _Thread_local uint8_t bytes[EVENT_HEAD_BYTES_MAX + REPLAY_EVENTS * EVENT_BODY_BYTES_MAX];
    uint64_t last = atomic_load(&s->shared->published);
    uint64_t from = s->follow.next;
    uint64_t to = last - from < REPLAY_EVENTS ? last : from + REPLAY_EVENTS - 1;
    struct event_message message;
    struct fly_error error;
    struct event e;

    if (from > last) {
        follow_replayed(&s->follow, s->follow.question, BENCH_INCARNATION, false, last, NULL,
                        now_ms, sink);
        return;
    }
    size_t size = event_head_encode(BENCH_SLICE, BENCH_INCARNATION, from, to, bytes);
    for (uint64_t seq = from; seq <= to; seq++) {
        bench_event(seq, &e);
        size += event_encode(&e, bytes + size);
    }
    FLY_CHECK(event_message_decode(bytes, size, &message, &error) == FLY_OK);
    add(&s->counts->replayed, to - from + 1);
    follow_replayed(&s->follow, s->follow.question, BENCH_INCARNATION, false, last, &message,
                    now_ms, sink);
}

/* One url: one callback at a time. */
static bool received(void *user, uint64_t source, struct fly_bytes bytes)
{
    struct subscriber *s = user;
    const struct follow_sink sink = {.event = take_event, .user = s};
    int64_t now_ms = fly_clock_boot_ms();
    struct event_message message;
    struct fly_error error;
    uint64_t before = s->next;

    (void)source;
    FLY_CHECK(event_message_decode(bytes.data, bytes.size, &message, &error) == FLY_OK);
    if (!s->heard) { /* begins behind what came before it was there */
        follow_resume(&s->follow, BENCH_INCARNATION, message.to);
        s->next = message.to + 1;
        before = s->next;
        hear(s);
    } else {
        follow_receive(&s->follow, &message, now_ms, &sink);
    }
    while (follow_next(&s->follow, now_ms) == FOLLOW_REPLAY) {
        replay(s, &sink, now_ms);
    }
    if (atomic_load_explicit(&s->shared->begin, memory_order_relaxed)) {
        add(&s->counts->applied, s->next - before);
    }
    atomic_store_explicit(&s->counts->gaps, s->follow.counters.gaps, memory_order_relaxed);
    atomic_store_explicit(&s->counts->last, s->next - 1, memory_order_relaxed);
    return true;
}

static void received_plain(void *user)
{
    struct subscriber *s = user;
    struct event_message message;
    struct fly_error error;

    if (nng_aio_result(s->aio) != 0) {
        return;
    }
    nng_msg *in = nng_aio_get_msg(s->aio);
    /* the head alone says which events they are; the warming's and the end's are small */
    if (!s->heard || nng_msg_len(in) < 512) {
        if (event_message_decode(nng_msg_body(in), nng_msg_len(in), &message, &error) == FLY_OK) {
            atomic_store(&s->counts->last, message.to);
        }
    } else {
        add(&s->counts->applied, s->shared->config.events);
        add(&s->counts->last, s->shared->config.events);
    }
    hear(s);
    nng_msg_free(in);
    nng_recv_aio(s->plain, s->aio);
}

static void open_plain(struct subscriber *s, const char *url)
{
    FLY_CHECK(nng_sub0_open(&s->plain) == 0);
    FLY_CHECK(nng_socket_set(s->plain, NNG_OPT_SUB_SUBSCRIBE, "", 0) == 0);
    FLY_CHECK(nng_socket_set_int(s->plain, NNG_OPT_RECVBUF, FEED_RECEIVE_QUEUE_MAX) == 0);
    FLY_CHECK(nng_socket_set_size(s->plain, NNG_OPT_RECVMAXSZ, FEED_MESSAGE_MAX) == 0);
    FLY_CHECK(nng_aio_alloc(&s->aio, received_plain, s) == 0);
    nng_recv_aio(s->plain, s->aio);
    FLY_CHECK(nng_dial(s->plain, url, NULL, NNG_FLAG_NONBLOCK) == 0);
}

static void open_feed(struct subscriber *s, const char *url)
{
    const struct seal_ring ring = {.count = 1, .ids = {1}, .keys = {{7}}};
    const struct feed_subscriber_config config = {.ring = &ring, .received = received, .user = s};
    struct fly_error error;

    follow_init(&s->follow, BENCH_SLICE, 5);
    FLY_CHECK(feed_subscriber_create(&s->feed, &config) == FLY_OK);
    FLY_CHECK(feed_subscriber_follow(s->feed, url, 1, &error) == FLY_OK);
}

/* Whether all of this process have the last event. */
static bool all_have(const struct shared *s, unsigned process)
{
    for (unsigned i = process; i < s->config.subscribers; i += s->config.processes) {
        if (atomic_load(&s->subscribers[i].last) < atomic_load(&s->published)) {
            return false;
        }
    }
    return true;
}

_Noreturn void subscriber_run(struct shared *s, unsigned process)
{
    char url[64];

    while (atomic_load(&s->port) == 0) {
        bench_sleep_us(1000);
    }
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", atomic_load(&s->port));
    for (unsigned i = process; i < s->config.subscribers; i += s->config.processes) {
        struct subscriber *sub = calloc(1, sizeof *sub);
        FLY_CHECK(sub != NULL);
        sub->shared = s;
        sub->counts = &s->subscribers[i];
        if (s->config.plain) {
            open_plain(sub, url);
        } else {
            open_feed(sub, url);
        }
    }
    while (!atomic_load(&s->begin)) {
        bench_sleep_us(1000);
    }
    int64_t cpu_ns = bench_cpu_ns();
    while (!atomic_load(&s->finished)) {
        bench_sleep_us(1000);
    }
    int64_t until_ns = bench_clock_ns() + PATIENCE_S * INT64_C(1000000000);
    while (!s->config.plain && !all_have(s, process) && bench_clock_ns() < until_ns) {
        bench_sleep_us(1000);
    }
    atomic_store(&s->process_cpu_ns[process], bench_cpu_ns() - cpu_ns);
    atomic_fetch_add(&s->done, 1);
    _Exit(0);
}
