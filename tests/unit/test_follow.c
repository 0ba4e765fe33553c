/*
 * follow: random streams with loss, copies, disorder, late and missing answers, retention, new logs
 * and liars, against an owner that keeps nothing but numbers. Every event must come once and in
 * order, and when the noise ends the reader must stand where the owner stands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/wire/follow.h"

enum { SLICE = 0x757c22, FLIGHT_MAX = 64, BYTES_MAX = 4096, RANGE_MAX = 12 };

/* What a case lets happen; chances are per mille. */
struct noise {
    const char *what;
    unsigned loss;
    unsigned copy;
    unsigned disorder;
    unsigned answer_loss; /* never comes, and nobody says so */
    unsigned answer_fail; /* comes as an error */
    int64_t answer_ms;    /* at the most */
    uint32_t page;        /* events an answer holds at the most */
    uint64_t retained;
    unsigned new_log;   /* per step: the slice is founded anew */
    unsigned cut;       /* per step: the owner comes back with less */
    unsigned states;    /* ranges that go out as STATE */
    unsigned lies;      /* per step: a message that no honest owner sends */
    unsigned forgeries; /* per step: one that fits: its events are believed */
    bool silent;        /* no message at all arrives: only questions */
    bool watcher;       /* takes no STATE */
};

struct flight {
    uint8_t bytes[BYTES_MAX];
    size_t size;
};

struct asked {
    bool open;
    enum follow_want want;
    uint32_t question;
    uint64_t incarnation;
    uint64_t from;
    int64_t at_ms;   /* the owner looks at it */
    int64_t back_ms; /* the answer is there */
    bool looked;
    uint64_t answer_incarnation;
    uint64_t answer_last;
    bool below;
    struct flight page;
};

struct world {
    const struct noise *noise;
    struct fly_rng rng;
    int64_t now_ms;
    uint64_t incarnation;
    uint64_t last;
    uint64_t first; /* the oldest that is kept */
    uint64_t published;
    int64_t spoke_ms;
    struct flight flights[FLIGHT_MAX];
    uint32_t flight_count;
    struct asked asked[8];
    uint32_t questions;

    struct follow follow;
    uint64_t expected; /* the next event that may be handed up */
    uint64_t expected_incarnation;
    bool forged; /* contents are not to be trusted */
};

static uint32_t content(uint64_t incarnation, uint64_t seq)
{
    return (uint32_t)((incarnation * 31 + seq) * 0x9e3779b97f4a7c15u >> 40) + 1;
}

static void take_event(void *user, const struct event *event)
{
    struct world *w = user;

    if (event->seq != w->expected || event->incarnation != w->expected_incarnation) {
        fail_msg("%s: event %llu of %llx, expected %llu of %llx", w->noise->what,
                 (unsigned long long)event->seq, (unsigned long long)event->incarnation,
                 (unsigned long long)w->expected, (unsigned long long)w->expected_incarnation);
    }
    if (!w->forged && event->cores != content(event->incarnation, event->seq)) {
        fail_msg("%s: event %llu is another one", w->noise->what, (unsigned long long)event->seq);
    }
    w->expected++;
}

static void take_machine(void *user, const struct event_message *message,
                         const struct event_machine *machine)
{
    struct world *w = user;

    assert_true(message->from <= w->expected && message->to >= w->expected - 1);
    assert_true(w->forged || machine->cores == content(message->incarnation, message->to));
    w->expected = message->to + 1;
}

static struct follow_sink sink_of(struct world *w)
{
    return (struct follow_sink){
        .event = take_event, .machine = w->noise->watcher ? NULL : take_machine, .user = w};
}

/* --- the owner --- */

static void encode_events(struct flight *f, uint64_t incarnation, uint64_t from, uint64_t to,
                          uint32_t extra)
{
    f->size = event_head_encode(SLICE, incarnation, from, to, f->bytes);
    for (uint64_t seq = from; seq <= to; seq++) {
        struct event e = {.seq = seq, .type = EVENT_MACHINE_ADDED, .machine = "m"};
        e.cores = content(incarnation, seq) + extra;
        f->size += event_encode(&e, f->bytes + f->size);
    }
}

static void encode_state(struct flight *f, uint64_t incarnation, uint64_t from, uint64_t to)
{
    struct event_machine m = {.name = "m", .cores = content(incarnation, to)};

    f->size = event_state_head_encode(SLICE, incarnation, from, to, 1, f->bytes);
    f->size += event_machine_encode(&m, f->bytes + f->size);
}

static void fly(struct world *w, const struct flight *f)
{
    if (w->noise->silent || fly_rng_chance(&w->rng, w->noise->loss)) {
        return;
    }
    for (int copies = fly_rng_chance(&w->rng, w->noise->copy) ? 2 : 1; copies > 0; copies--) {
        if (w->flight_count < FLIGHT_MAX) {
            w->flights[w->flight_count++] = *f;
        }
    }
}

static void publish(struct world *w)
{
    struct flight f;

    while (w->published < w->last) {
        uint64_t from = w->published + 1;
        uint64_t to = from + fly_rng_below(&w->rng, RANGE_MAX);
        to = to < w->last ? to : w->last;
        if (fly_rng_chance(&w->rng, w->noise->states)) {
            encode_state(&f, w->incarnation, from, to);
        } else {
            encode_events(&f, w->incarnation, from, to, 0);
        }
        fly(w, &f);
        w->published = to;
        w->spoke_ms = w->now_ms;
    }
    if (w->now_ms - w->spoke_ms >= 1000) {
        f.size = event_heartbeat_encode(SLICE, w->incarnation, w->last, f.bytes);
        fly(w, &f);
        w->spoke_ms = w->now_ms;
    }
}

static void own(struct world *w)
{
    if (fly_rng_chance(&w->rng, 300)) {
        w->last += 1 + fly_rng_below(&w->rng, 5);
    }
    if (fly_rng_chance(&w->rng, w->noise->new_log)) {
        w->incarnation = fly_rng_next(&w->rng) | 1;
        w->last = fly_rng_below(&w->rng, 2 * w->last + 1);
        w->published = w->last;
        w->first = 1;
    }
    if (fly_rng_chance(&w->rng, w->noise->cut)) {
        w->last -= fly_rng_below(&w->rng, w->last + 1);
        w->published = w->last;
        w->forged = true; /* the same numbers will mean other events */
    }
    if (w->last > w->noise->retained && w->first < w->last - w->noise->retained + 1) {
        w->first = w->last - w->noise->retained + 1;
    }
    w->first = w->first < w->last + 1 ? w->first : w->last + 1;
    publish(w);
}

/* --- the liar: sealed by the group, but no owner --- */

static void lie(struct world *w)
{
    struct flight f;
    uint64_t next = w->follow.next;
    uint64_t far = next + 1 + fly_rng_below(&w->rng, UINT64_MAX - next - 64);

    switch (fly_rng_below(&w->rng, 6)) {
    case 0:
        f.size = event_heartbeat_encode(SLICE, w->incarnation, UINT64_MAX, f.bytes);
        break;
    case 1:
        f.size = event_heartbeat_encode(SLICE, w->incarnation, far, f.bytes);
        break;
    case 2:
        f.size = event_heartbeat_encode(SLICE, fly_rng_next(&w->rng), far, f.bytes);
        break;
    case 3:
        encode_events(&f, w->incarnation ^ 2, next, next + 3, 1);
        break;
    case 4:
        encode_events(&f, w->incarnation, far, far + fly_rng_below(&w->rng, 10), 1);
        break;
    default:
        f.size = event_heartbeat_encode(SLICE + 1, w->incarnation, far, f.bytes);
    }
    fly(w, &f);
}

static void forge(struct world *w)
{
    struct flight f;
    uint64_t next = w->follow.next;

    if (w->follow.lost || w->follow.incarnation == 0) {
        return;
    }
    w->forged = true;
    if (fly_rng_chance(&w->rng, 300) && !w->noise->watcher) {
        encode_state(&f, w->follow.incarnation, next, next + fly_rng_below(&w->rng, 1 << 20));
    } else {
        encode_events(&f, w->follow.incarnation, next, next + fly_rng_below(&w->rng, 30), 1);
    }
    fly(w, &f);
}

/* --- questions --- */

static void ask(struct world *w)
{
    enum follow_want want = FOLLOW_NOTHING;

    while ((want = follow_next(&w->follow, w->now_ms)) != FOLLOW_NOTHING) {
        struct asked *a = w->asked;
        w->questions++;
        assert_true(want == FOLLOW_SNAPSHOT ? w->follow.lost : !w->follow.lost);
        if (fly_rng_chance(&w->rng, w->noise->answer_loss)) {
            break;
        }
        while (a->open) {
            a++;
            FLY_CHECK(a < w->asked + FLY_ARRAY_COUNT(w->asked));
        }
        int64_t there = (int64_t)fly_rng_below(&w->rng, (uint64_t)w->noise->answer_ms + 1);
        int64_t back = (int64_t)fly_rng_below(&w->rng, (uint64_t)w->noise->answer_ms + 1);
        *a = (struct asked){.open = true,
                            .want = want,
                            .question = w->follow.question,
                            .incarnation = w->follow.incarnation,
                            .from = w->follow.next,
                            .at_ms = w->now_ms + there,
                            .back_ms = w->now_ms + there + back};
    }
    assert_true(follow_deadline(&w->follow) > w->now_ms);
}

static void look(struct world *w, struct asked *a)
{
    a->looked = true;
    a->answer_incarnation = w->incarnation;
    a->answer_last = w->last;
    a->below = a->incarnation == w->incarnation && a->from < w->first;
    if (a->incarnation == w->incarnation && !a->below && a->from <= w->last) {
        uint64_t to = a->from + w->noise->page - 1;
        encode_events(&a->page, w->incarnation, a->from, to < w->last ? to : w->last, 0);
    }
}

static void hear(struct world *w, struct asked *a)
{
    struct follow_sink sink = sink_of(w);
    struct event_message message;

    a->open = false;
    if (fly_rng_chance(&w->rng, w->noise->answer_fail)) {
        follow_failed(&w->follow, a->question, w->now_ms);
    } else if (a->want == FOLLOW_SNAPSHOT) {
        if (follow_snapshot(&w->follow, a->question, a->answer_incarnation, a->answer_last,
                            w->now_ms)) {
            w->expected = a->answer_last + 1;
            w->expected_incarnation = a->answer_incarnation;
        }
    } else {
        if (a->page.size != 0) {
            assert_int_equal(event_message_decode(a->page.bytes, a->page.size, &message, NULL), 0);
        }
        follow_replayed(&w->follow, a->question, a->answer_incarnation, a->below, a->answer_last,
                        a->page.size != 0 ? &message : NULL, w->now_ms, &sink);
    }
}

static void step(struct world *w)
{
    struct follow_sink sink = sink_of(w);
    struct event_message message;

    w->now_ms += 1 + (int64_t)fly_rng_below(&w->rng, 30);
    own(w);
    if (fly_rng_chance(&w->rng, w->noise->lies)) {
        lie(w);
    }
    if (fly_rng_chance(&w->rng, w->noise->forgeries)) {
        forge(w);
    }
    while (w->flight_count > 0) {
        uint32_t i = 0;
        if (fly_rng_chance(&w->rng, w->noise->disorder)) {
            if (fly_rng_chance(&w->rng, 300)) {
                break; /* the rest arrives later */
            }
            i = (uint32_t)fly_rng_below(&w->rng, w->flight_count);
        }
        struct flight f = w->flights[i];
        memmove(&w->flights[i], &w->flights[i + 1], (--w->flight_count - i) * sizeof f);
        assert_int_equal(event_message_decode(f.bytes, f.size, &message, NULL), 0);
        follow_receive(&w->follow, &message, w->now_ms, &sink);
        assert_true(w->follow.lost || w->follow.next == w->expected);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(w->asked); i++) {
        struct asked *a = &w->asked[i];
        if (a->open && !a->looked && w->now_ms >= a->at_ms) {
            look(w, a);
        }
        if (a->open && w->now_ms >= a->back_ms) {
            hear(w, a);
        }
    }
    ask(w);
}

static void begin(struct world *w, const struct noise *noise, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->noise = noise;
    fly_rng_seed(&w->rng, seed);
    w->incarnation = fly_rng_next(&w->rng) | 1;
    w->first = 1;
    follow_init(&w->follow, SLICE, seed);
}

/* The noise ends (what is under way still arrives); then, when the longest question is
 * over too, reader and owner agree. */
static void settle(struct world *w, uint64_t seed)
{
    struct noise calm = {.what = w->noise->what,
                         .answer_ms = 20,
                         .page = RANGE_MAX,
                         .retained = UINT64_MAX,
                         .silent = w->noise->silent,
                         .watcher = w->noise->watcher};

    w->noise = &calm;
    for (int64_t end = w->now_ms + FOLLOW_SNAPSHOT_MS + 5000; w->now_ms < end;) {
        step(w);
    }
    while (w->follow.next != w->last + 1) { /* the last steps may have made events */
        w->now_ms += 10;
        calm.page = BYTES_MAX / 64;
        uint64_t last = w->last;
        step(w);
        w->last = last;
        if (w->now_ms > INT32_MAX) {
            fail_msg("%s, seed %llu: stands at %llu of %llu", calm.what, (unsigned long long)seed,
                     (unsigned long long)w->follow.next - 1, (unsigned long long)w->last);
        }
    }
    assert_true(w->follow.incarnation == w->incarnation && !w->follow.lost);
}

static void test_noise(void **state)
{
    static const struct noise rows[] = {
        {.what = "quiet", .answer_ms = 5, .page = 12, .retained = 1000},
        {.what = "loss", .loss = 200, .answer_ms = 50, .page = 5, .retained = 1000},
        {.what = "copies and disorder",
         .copy = 300,
         .disorder = 600,
         .answer_ms = 200,
         .page = 12,
         .retained = 1000},
        {.what = "answers are lost and late",
         .loss = 300,
         .copy = 100,
         .disorder = 300,
         .answer_loss = 300,
         .answer_fail = 200,
         .answer_ms = 3000,
         .page = 7,
         .retained = 100000},
        {.what = "retention is short", .loss = 500, .answer_ms = 500, .page = 3, .retained = 20},
        {.what = "new logs",
         .loss = 100,
         .disorder = 200,
         .answer_ms = 300,
         .page = 12,
         .retained = 100,
         .new_log = 10},
        {.what = "shorter logs",
         .loss = 100,
         .disorder = 100,
         .answer_ms = 100,
         .page = 12,
         .retained = 100,
         .cut = 10},
        {.what = "states",
         .loss = 200,
         .disorder = 200,
         .answer_ms = 100,
         .page = 12,
         .retained = 100,
         .states = 400},
        {.what = "states for a watcher",
         .loss = 100,
         .answer_ms = 20,
         .page = 12,
         .retained = 100,
         .states = 400,
         .watcher = true},
        {.what = "no stream at all",
         .answer_ms = 100,
         .page = 12,
         .retained = 1000,
         .silent = true},
        {.what = "lies", .loss = 100, .answer_ms = 100, .page = 12, .retained = 1000, .lies = 500},
        {.what = "forgeries",
         .loss = 100,
         .answer_ms = 100,
         .page = 12,
         .retained = 1000,
         .forgeries = 50},
        {.what = "all of it",
         .loss = 200,
         .copy = 100,
         .disorder = 300,
         .answer_loss = 100,
         .answer_fail = 100,
         .answer_ms = 1500,
         .page = 12,
         .retained = 50,
         .new_log = 3,
         .cut = 3,
         .states = 200,
         .lies = 100,
         .forgeries = 20},
    };
    struct world *w = malloc(sizeof *w);

    (void)state;
    assert_non_null(w);
    for (size_t row = 0; row < FLY_ARRAY_COUNT(rows); row++) {
        for (uint64_t seed = 1; seed <= 40; seed++) {
            begin(w, &rows[row], seed);
            for (int i = 0; i < 1500; i++) {
                step(w);
            }
            /* a reset only where something was really lost */
            bool resets = rows[row].retained < 1000 || rows[row].new_log || rows[row].cut ||
                          rows[row].forgeries;
            if (!resets && w->follow.counters.snapshots > 1) {
                fail_msg("%s, seed %llu: %llu snapshots", rows[row].what, (unsigned long long)seed,
                         (unsigned long long)w->follow.counters.snapshots);
            }
            settle(w, seed);
        }
    }
    free(w);
}

/* A liar in every step, a stream without loss: nothing is held up and questions stay few. */
static void test_liar_costs_little(void **state)
{
    static const struct noise noise = {
        .what = "liar", .answer_ms = 5, .page = 12, .retained = 1000, .lies = 1000};
    struct world *w = malloc(sizeof *w);

    (void)state;
    assert_non_null(w);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        begin(w, &noise, seed);
        while (w->follow.lost) {
            step(w);
        }
        for (int i = 0; i < 8000; i++) {
            step(w);
            assert_int_equal(w->follow.next, w->last + 1);
        }
        assert_int_equal(w->follow.counters.snapshots, 1);
        /* a pause is 1 s at the least once it has grown */
        assert_true(w->questions < (uint32_t)(w->now_ms / 1000) + 12);
        assert_true(w->follow.counters.ignored > 4000);
    }
    free(w);
}

static const struct follow_sink no_sink; /* of tests that deliver nothing */

static void receive_heartbeat(struct follow *f, uint64_t incarnation, uint64_t to, int64_t now_ms)
{
    struct event_message m = {
        .form = EVENT_FORM_HEARTBEAT, .slice = f->slice, .incarnation = incarnation, .to = to};

    follow_receive(f, &m, now_ms, &no_sink);
}

static void test_a_day(void **state)
{
    struct follow f;

    (void)state;
    follow_init(&f, SLICE, 1);
    assert_false(follow_live(&f, 100));
    assert_true(follow_stale_ms(&f, 100) == INT64_MAX);
    assert_true(follow_deadline(&f) <= 100);
    assert_int_equal(follow_next(&f, 100), FOLLOW_SNAPSHOT);
    assert_int_equal(follow_next(&f, 100), FOLLOW_NOTHING); /* asked once */
    assert_int_equal(follow_deadline(&f), 100 + FOLLOW_SNAPSHOT_MS);
    receive_heartbeat(&f, 7, 12, 150);
    assert_false(follow_snapshot(&f, f.question, 0, 10, 160)); /* no such log */
    assert_int_equal(follow_next(&f, 300), FOLLOW_SNAPSHOT);
    assert_true(follow_snapshot(&f, f.question, 7, 10, 310));
    assert_false(follow_snapshot(&f, f.question, 7, 9, 310)); /* not wanted any more */
    assert_int_equal(f.next, 11);
    assert_int_equal(follow_next(&f, 310), FOLLOW_NOTHING);
    assert_true(follow_live(&f, 310));

    receive_heartbeat(&f, 7, 12, 400); /* 11 and 12 went by */
    assert_false(follow_live(&f, 400));
    assert_int_equal(f.counters.gaps, 1);
    assert_int_equal(follow_next(&f, 400), FOLLOW_REPLAY);
    uint32_t first = f.question;
    assert_int_equal(follow_next(&f, 400 + FOLLOW_ASK_MS - 1), FOLLOW_NOTHING);
    assert_int_equal(follow_next(&f, 400 + FOLLOW_ASK_MS), FOLLOW_NOTHING); /* lost: a pause */
    int64_t again = follow_deadline(&f);
    assert_in_range(again, 400 + FOLLOW_ASK_MS + FOLLOW_PAUSE_MS,
                    400 + FOLLOW_ASK_MS + 2 * FOLLOW_PAUSE_MS); /* the second in vain */
    assert_int_equal(follow_next(&f, again), FOLLOW_REPLAY);
    follow_failed(&f, first, again); /* the old one: says nothing */
    follow_replayed(&f, first, 7, false, 3, NULL, again, &no_sink);
    assert_false(f.lost);
    assert_true(f.asking);
    follow_replayed(&f, f.question, 7, false, 10, NULL, again, &no_sink); /* it was a lie */
    assert_true(follow_live(&f, again));
    assert_int_equal(follow_deadline(&f), again + FOLLOW_STALE_MS);

    assert_true(follow_live(&f, again + FOLLOW_STALE_MS - 1));
    assert_false(follow_live(&f, again + FOLLOW_STALE_MS));
    assert_int_equal(follow_stale_ms(&f, again + FOLLOW_STALE_MS), FOLLOW_STALE_MS);
    assert_int_equal(follow_next(&f, again + FOLLOW_STALE_MS), FOLLOW_REPLAY); /* silence */
    follow_moved(&f, again + FOLLOW_STALE_MS + 1);
    assert_int_equal(follow_next(&f, again + FOLLOW_STALE_MS + 1), FOLLOW_REPLAY);
    follow_replayed(&f, f.question, 8, false, 900, NULL, again + 4000, &no_sink);
    assert_true(f.lost && f.incarnation == 8);
    assert_int_equal(follow_next(&f, again + 4100), FOLLOW_SNAPSHOT);
    struct follow other = f;
    assert_true(follow_snapshot(&other, f.question, 9, 10, again + 4100)); /* yet another log */
    assert_true(follow_live(&other, again + 4100));
    receive_heartbeat(&f, 8, 905, again + 4100); /* went by while the snapshot was made */
    assert_true(follow_snapshot(&f, f.question, 8, 903, again + 4200));
    assert_false(follow_live(&f, again + 4200));
    assert_int_equal(follow_next(&f, again + 4200), FOLLOW_REPLAY);
}

static void test_resume(void **state)
{
    struct follow f;

    (void)state;
    follow_init(&f, SLICE, 1);
    follow_resume(&f, 7, 100);
    assert_int_equal(follow_next(&f, 5), FOLLOW_REPLAY);
    assert_true(f.incarnation == 7 && f.next == 101);
    follow_replayed(&f, f.question, 7, true, 900, NULL, 6, &no_sink);
    assert_int_equal(follow_next(&f, 100), FOLLOW_SNAPSHOT);
    follow_resume(&f, 7, 100); /* ahead of the owner: a restored copy */
    assert_int_equal(follow_next(&f, 200), FOLLOW_REPLAY);
    follow_replayed(&f, f.question, 7, false, 99, NULL, 201, &no_sink);
    assert_true(f.lost);
    follow_resume(&f, 7, UINT64_MAX);
    assert_true(f.lost);
}

/* Words that need an answer get a question at once, not when the silence is long. */
static void test_words(void **state)
{
    struct follow f;

    (void)state;
    follow_init(&f, SLICE, 1);
    assert_int_equal(follow_next(&f, 0), FOLLOW_SNAPSHOT);
    receive_heartbeat(&f, 6, 5000, 1);
    assert_true(follow_snapshot(&f, f.question, 7, 10, 2));
    assert_true(follow_live(&f, 2)); /* 5000 was said of another log */
    receive_heartbeat(&f, 7, 10, 3);
    assert_int_equal(follow_next(&f, 3), FOLLOW_NOTHING);
    receive_heartbeat(&f, 6, 5000, 4);
    assert_int_equal(follow_next(&f, 4), FOLLOW_REPLAY);
    receive_heartbeat(&f, 7, 12, 5); /* the owner went on, the answer is older */
    follow_replayed(&f, f.question, 7, false, 10, NULL, 6, &no_sink);
    assert_false(follow_live(&f, 6));
    assert_int_equal(follow_next(&f, 6 + FOLLOW_PAUSE_MS), FOLLOW_REPLAY);
    follow_replayed(&f, f.question, 7, false, 10, NULL, 70, &no_sink); /* nobody said it again */
    assert_true(follow_live(&f, 70));
}

/* Pauses double up to their bound, and progress ends them. */
static void test_pauses(void **state)
{
    struct follow f;
    int64_t now = 0;
    int64_t base = FOLLOW_PAUSE_MS;

    (void)state;
    follow_init(&f, SLICE, 9);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(follow_next(&f, now), FOLLOW_SNAPSHOT);
        follow_failed(&f, f.question, now);
        assert_in_range(follow_deadline(&f) - now, base / 2, base);
        now = follow_deadline(&f);
        base = base * 2 < FOLLOW_PAUSE_MAX_MS ? base * 2 : FOLLOW_PAUSE_MAX_MS;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_day),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_liar_costs_little),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
