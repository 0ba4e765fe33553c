/*
 * stream: retain, flush, feed, follow together over real sockets, as a node wires them. One owner
 * that restarts; two watchers and a catalog that drop messages, stand still, stop following and
 * come back; a publisher of garbage, and a member that lies. Every watcher gets every event once,
 * in order; the catalog ends equal to the owner's machines.
 *
 * Time is virtual, one step a turn: what the sockets do not bring in time is asked for. FLY_LONG=1:
 * 100,000 events instead of 20,000.
 */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/feed/feed.h"
#include "proto/wire/flush.h"
#include "proto/wire/follow.h"
#include "proto/wire/retain.h"

#ifdef __SANITIZE_ADDRESS__
/* nng 1.5.2 loses a message that is being sent when its connection breaks (#1713): those, and no
 * other allocation, may leak here. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:feed_publish\n";
}
#endif

#ifdef __SANITIZE_THREAD__
/* A PUB message belongs to all its pipes; TSan does not see nng count the references (its atomics
 * are not instrumented), and takes the free by one thread and the send by another for a race. Only
 * here, and only what nng itself calls: our own accesses are all seen. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "ignore_noninstrumented_modules=1";
}
#endif

enum {
    SLICE = 0x757c22,
    MACHINES = 500,
    READERS = 3,
    CATALOG = 2, /* the reader that takes states; the others are watchers */
    MAILBOX_MAX = 64,
    OWNER = 1,
    LIAR = 2,
    GARBAGE = 3,
    PAGE_BYTES = 64 * 1024,
    TURN_MS = 10,
    RESTART_TURNS = 600,
    TURNS_MAX = 120000,
};

static const uint64_t incarnation = 0x084e8fd64fe52562;

struct letter {
    uint64_t source;
    size_t size;
    uint8_t *data;
};

struct world;

struct reader {
    struct world *world;
    struct feed_subscriber *subscriber;
    pthread_mutex_t lock; /* the mailbox: nng's threads put, the loop takes */
    struct letter mailbox[MAILBOX_MAX];
    uint32_t waiting;
    uint32_t first;

    struct follow follow;
    bool following;
    bool heard; /* the owner, by its socket */
    int still;  /* turns that it stands still */
    enum follow_want asked;
    uint64_t asked_from;
    uint32_t question;
    int answer_in; /* turns */
    uint64_t events;
    uint64_t by_stream;
    uint64_t by_replay;
    uint64_t resets;
    bool replaying;
    uint32_t picture[MACHINES];
    uint64_t others; /* messages of a source that does not lead the slice */
};

struct world {
    struct fly_rng rng;
    int64_t now_ms;
    struct seal_ring ring;
    struct retain retain;
    struct flush flush;
    struct flush_scratch scratch;
    struct feed_publisher *publisher;
    struct feed_publisher *liar;
    struct feed_publisher *garbage; /* of a foreign ring */
    uint16_t port;
    uint32_t machines[MACHINES];
    uint64_t target;
    uint64_t states;
    struct reader readers[READERS];
    uint8_t page[PAGE_BYTES];
};

static uint32_t machine_number(uint64_t seq)
{
    return (uint32_t)(seq * 0x9e3779b97f4a7c15u >> 33) % MACHINES;
}

static uint32_t content(uint64_t seq)
{
    return (uint32_t)(seq * 31) + 1;
}

/* --- owner --- */

static struct fly_bytes body_of(void *user, uint64_t seq)
{
    struct world *w = user;

    return retain_at(&w->retain, seq);
}

static bool machine_of(void *user, const char *name, uint32_t *number, struct event_machine *out)
{
    struct world *w = user;

    *number = (uint32_t)strtoul(name + 1, NULL, 10);
    *out = (struct event_machine){.region = "SIN", .cores_free = w->machines[*number]};
    (void)snprintf(out->name, sizeof out->name, "%s", name);
    return true;
}

static void send_message(void *user, struct fly_bytes message)
{
    struct world *w = user;
    struct event_message m;

    assert_int_equal(event_message_decode(message.data, message.size, &m, NULL), FLY_OK);
    w->states += m.form == EVENT_FORM_STATE;
    if (w->publisher != NULL) {
        feed_publish(w->publisher, message);
    }
}

static struct flush_source source_of(struct world *w)
{
    return (struct flush_source){.slice = SLICE,
                                 .incarnation = incarnation,
                                 .body = body_of,
                                 .machine = machine_of,
                                 .user = w};
}

static void open_publisher(struct world *w)
{
    char url[64];

    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", w->port);
    if (feed_publisher_create(&w->publisher, url, &w->ring, fly_rng_next(&w->rng), NULL) != 0) {
        w->publisher = NULL; /* the port is not free yet: again in the next turn */
        return;
    }
    w->port = feed_publisher_port(w->publisher);
}

static void produce(struct world *w)
{
    uint64_t burst = fly_rng_below(&w->rng, 60);

    if (fly_rng_chance(&w->rng, 3)) {
        burst = FLUSH_STATE_EVENTS + fly_rng_below(&w->rng, 1000);
    } else if (fly_rng_chance(&w->rng, 300)) {
        burst = 0;
    }
    for (; burst > 0 && w->retain.last < w->target; burst--) {
        uint64_t seq = w->retain.last + 1;
        struct event e = {.seq = seq,
                          .type = EVENT_VM_STARTED,
                          .time_ms = w->now_ms,
                          .vm = seq << 24 | SLICE,
                          .name = "early-raven-5448",
                          .region = "SIN",
                          .cores = content(seq),
                          .machine_cores_free = content(seq)};
        uint32_t machine = machine_number(seq);
        (void)snprintf(e.machine, sizeof e.machine, "m%u", machine);
        w->machines[machine] = content(seq);
        retain_add(&w->retain, &e);
    }
    flush_note(&w->flush, w->retain.last);
}

/* The first event waits until all have heard the owner. */
static bool connected(const struct world *w)
{
    return w->readers[0].heard && w->readers[1].heard && w->readers[2].heard;
}

static void own(struct world *w, int turn)
{
    struct flush_source source = source_of(w);

    if (w->publisher == NULL) {
        open_publisher(w);
    } else if (turn % RESTART_TURNS == RESTART_TURNS / 2 && w->retain.last < w->target) {
        feed_publisher_destroy(w->publisher);
        w->publisher = NULL;
    }
    if (connected(w)) {
        produce(w);
    }
    flush_run(&w->flush, &source, w->now_ms, &w->scratch, send_message, w);
}

/* --- those who disturb --- */

static void disturb(struct world *w)
{
    uint8_t bytes[EVENT_HEAD_BYTES_MAX + EVENT_BODY_BYTES_MAX];
    uint64_t seq = w->retain.last + 1;
    struct event e = {.seq = seq, .type = EVENT_VM_STARTED, .machine = "m1", .cores = 1};
    size_t size = 0;

    fly_rng_fill(&w->rng, bytes, sizeof bytes);
    feed_publish(w->garbage, (struct fly_bytes){.data = bytes, .size = sizeof bytes});
    if (fly_rng_chance(&w->rng, 500)) {
        size = event_head_encode(SLICE, incarnation, seq, seq, bytes);
        size += event_encode(&e, bytes + size);
    } else {
        size = event_heartbeat_encode(SLICE, incarnation ^ 1, seq * 1000, bytes);
    }
    feed_publish(w->liar, (struct fly_bytes){.data = bytes, .size = size});
}

/* --- readers --- */

static bool received(void *user, uint64_t source, struct fly_bytes message)
{
    struct reader *r = user;

    (void)pthread_mutex_lock(&r->lock);
    bool room = r->waiting < MAILBOX_MAX;
    if (room) {
        struct letter *l = &r->mailbox[(r->first + r->waiting) % MAILBOX_MAX];
        *l = (struct letter){
            .source = source, .size = message.size, .data = malloc(message.size + 1)};
        FLY_CHECK(l->data != NULL);
        memcpy(l->data, message.data, message.size);
        r->waiting++;
    }
    (void)pthread_mutex_unlock(&r->lock);
    return room;
}

static bool take_letter(struct reader *r, struct letter *out)
{
    (void)pthread_mutex_lock(&r->lock);
    bool some = r->waiting > 0;
    if (some) {
        *out = r->mailbox[r->first];
        r->first = (r->first + 1) % MAILBOX_MAX;
        r->waiting--;
    }
    (void)pthread_mutex_unlock(&r->lock);
    return some;
}

static void on_event(void *user, const struct event *event)
{
    struct reader *r = user;

    if (event->seq != r->events + 1 || event->cores != content(event->seq) ||
        event->incarnation != incarnation || event->slice != SLICE) {
        fail_msg("event %llu after %llu", (unsigned long long)event->seq,
                 (unsigned long long)r->events);
    }
    r->events = event->seq;
    *(r->replaying ? &r->by_replay : &r->by_stream) += 1;
    r->picture[strtoul(event->machine + 1, NULL, 10)] = event->machine_cores_free;
}

static void on_machine(void *user, const struct event_message *message,
                       const struct event_machine *machine)
{
    struct reader *r = user;

    r->events = message->to;
    r->picture[strtoul(machine->name + 1, NULL, 10)] = machine->cores_free;
}

static struct follow_sink sink_of(struct reader *r)
{
    bool catalog = r == &r->world->readers[CATALOG];

    return (struct follow_sink){
        .event = on_event, .machine = catalog ? on_machine : NULL, .user = r};
}

static void read_letters(struct reader *r)
{
    struct follow_sink sink = sink_of(r);
    struct event_message message;
    struct letter l;

    while (take_letter(r, &l)) {
        r->heard = r->heard || l.source == OWNER;
        if (l.source != OWNER) {
            r->others++; /* it does not lead the slice: gossip knows who does */
        } else if (!fly_rng_chance(&r->world->rng, 30)) {
            assert_int_equal(event_message_decode(l.data, l.size, &message, NULL), FLY_OK);
            follow_receive(&r->follow, &message, r->world->now_ms, &sink);
        }
        free(l.data);
    }
}

/* The call that a node makes by RPC. */
static void answer(struct reader *r)
{
    struct world *w = r->world;
    struct flush_source source = source_of(w);
    struct follow_sink sink = sink_of(r);
    struct event_message message;
    uint64_t last = w->retain.last;
    bool below = r->asked_from < retain_first(&w->retain);
    size_t size = 0;
    uint64_t end = 0;

    if (fly_rng_chance(&w->rng, 100)) {
        follow_failed(&r->follow, r->question, w->now_ms);
    } else if (r->asked == FOLLOW_SNAPSHOT) {
        if (follow_snapshot(&r->follow, r->question, incarnation, last, w->now_ms)) {
            memcpy(r->picture, w->machines, sizeof r->picture);
            r->events = last;
            r->resets++;
        }
    } else {
        if (!below && r->asked_from <= last) {
            size = flush_message(&source, r->asked_from, last, w->page, sizeof w->page, &end);
            assert_int_equal(event_message_decode(w->page, size, &message, NULL), FLY_OK);
        }
        r->replaying = true;
        follow_replayed(&r->follow, r->question, incarnation, below, last,
                        size != 0 ? &message : NULL, w->now_ms, &sink);
        r->replaying = false;
    }
    r->asked = FOLLOW_NOTHING;
}

static void follow_all(struct reader *r)
{
    struct world *w = r->world;
    const struct {
        uint16_t port;
        uint64_t source;
    } urls[] = {{w->port, OWNER},
                {feed_publisher_port(w->liar), LIAR},
                {feed_publisher_port(w->garbage), GARBAGE}};
    char url[64];

    for (size_t i = 0; i < FLY_ARRAY_COUNT(urls); i++) {
        (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", urls[i].port);
        assert_int_equal(feed_subscriber_follow(r->subscriber, url, urls[i].source, NULL), 0);
    }
    r->following = true;
}

static void live(struct reader *r, bool calm)
{
    struct world *w = r->world;

    if (!calm && fly_rng_chance(&w->rng, 5)) {
        r->still = 1 + (int)fly_rng_below(&w->rng, 80);
    }
    if (r->still > 0 && --r->still > 0) {
        return;
    }
    if (!r->following && (calm || fly_rng_chance(&w->rng, 50))) {
        follow_all(r);
    } else if (!calm && fly_rng_chance(&w->rng, 5)) {
        feed_subscriber_unfollow(r->subscriber, OWNER);
        r->following = false;
    }
    read_letters(r);
    if (r->asked != FOLLOW_NOTHING && --r->answer_in <= 0) {
        answer(r);
    }
    enum follow_want want = follow_next(&r->follow, w->now_ms);
    if (want != FOLLOW_NOTHING) { /* an older question, if any, is lost */
        r->asked = want;
        r->asked_from = r->follow.next;
        r->question = r->follow.question;
        r->answer_in = (int)fly_rng_below(&w->rng, fly_rng_chance(&w->rng, 30) ? 400 : 4);
    }
}

/* All events, and a connection to the owner after it restarted. */
static bool all_there(const struct world *w)
{
    for (int i = 0; i < READERS; i++) {
        struct feed_counters c;
        feed_subscriber_counters(w->readers[i].subscriber, &c);
        if (c.opened <= GARBAGE || c.refused == 0 ||
            !follow_live(&w->readers[i].follow, w->now_ms) || w->readers[i].events != w->target) {
            return false;
        }
    }
    return w->retain.last == w->target;
}

static void begin(struct world *w, void *retained)
{
    struct seal_ring group = {.count = 1, .ids = {1}};
    struct seal_ring foreign;

    seal_ring_derive(&w->ring, &group, SEAL_FEED, "00112233445566778899aabbccddeeff");
    seal_ring_derive(&foreign, &group, SEAL_FEED, "ffeeddccbbaa99887766554433221100");
    fly_rng_seed(&w->rng, 42);
    w->now_ms = 1000;
    w->target = getenv("FLY_LONG") != NULL ? 100000 : 20000;
    retain_init(&w->retain, retained, 65536, 64 << 20);
    retain_start(&w->retain, 0);
    flush_init(&w->flush, FLUSH_INTERVAL_MS, 0, w->now_ms);
    open_publisher(w);
    assert_non_null(w->publisher);
    assert_int_equal(feed_publisher_create(&w->liar, "tcp://127.0.0.1:0", &w->ring, 1, NULL), 0);
    assert_int_equal(feed_publisher_create(&w->garbage, "tcp://127.0.0.1:0", &foreign, 2, NULL), 0);
    for (int i = 0; i < READERS; i++) {
        struct reader *r = &w->readers[i];
        struct feed_subscriber_config config = {.ring = &w->ring, .received = received, .user = r};
        r->world = w;
        (void)pthread_mutex_init(&r->lock, NULL);
        assert_int_equal(feed_subscriber_create(&r->subscriber, &config), FLY_OK);
        follow_init(&r->follow, SLICE, (uint64_t)i);
        if (i != CATALOG) {
            follow_resume(&r->follow, incarnation, 0); /* watchers from the first event on */
        }
        follow_all(r);
    }
}

static void end(struct world *w)
{
    for (int i = 0; i < READERS; i++) {
        struct letter l;
        feed_subscriber_destroy(w->readers[i].subscriber);
        while (take_letter(&w->readers[i], &l)) {
            free(l.data);
        }
    }
    if (w->publisher != NULL) {
        feed_publisher_destroy(w->publisher);
    }
    feed_publisher_destroy(w->liar);
    feed_publisher_destroy(w->garbage);
}

static void check_reader(const struct world *w, int i)
{
    const struct reader *r = &w->readers[i];
    struct feed_counters c;

    feed_subscriber_counters(r->subscriber, &c);
    print_message("reader %d: %llu by stream, %llu by replay, %llu gaps, %llu questions; "
                  "%llu messages, %llu refused, %llu dropped, %llu connections\n",
                  i, (unsigned long long)r->by_stream, (unsigned long long)r->by_replay,
                  (unsigned long long)r->follow.counters.gaps,
                  (unsigned long long)r->follow.counters.replays, (unsigned long long)c.messages,
                  (unsigned long long)c.refused, (unsigned long long)c.dropped,
                  (unsigned long long)c.opened);
    assert_memory_equal(r->picture, w->machines, sizeof r->picture);
    assert_int_equal(r->resets, i == CATALOG ? 1 : 0);
    assert_true(i == CATALOG || r->by_stream + r->by_replay == w->target);
    assert_true(r->by_replay > 0);
    assert_true(r->others > 0);
}

static void test_stream(void **state)
{
    void *retained = malloc(retain_size(65536, 64 << 20));
    struct world *w = calloc(1, sizeof *w);
    uint64_t by_stream = 0;
    int turn = 0;

    (void)state;
    assert_true(retained != NULL && w != NULL);
    begin(w, retained);
    for (; !all_there(w); turn++) {
        bool calm = w->retain.last == w->target;
        if (turn == TURNS_MAX) {
            fail_msg("not there after %d turns", turn);
        }
        w->now_ms += TURN_MS;
        own(w, turn);
        disturb(w);
        for (int i = 0; i < READERS; i++) {
            live(&w->readers[i], calm);
        }
        (void)poll(NULL, 0, 1); /* the sockets' turn */
    }
    print_message("%llu events, %d turns, %llu states\n", (unsigned long long)w->target, turn,
                  (unsigned long long)w->states);
    for (int i = 0; i < READERS; i++) {
        check_reader(w, i);
        by_stream += w->readers[i].by_stream;
    }
    assert_true(by_stream > w->target / 10); /* a slow machine may lose much, but not that */
    end(w);
    free(retained);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stream)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
