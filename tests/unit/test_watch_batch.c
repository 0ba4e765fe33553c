/*
 * front_watch_batch: what many watchers are told alike, against reading the ring event by event;
 * and that it is made once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/edge/latest.h"
#include "node/front_watch_parts.h"
#include "proto/base/rng.h"

enum { RING_EVENTS = 2048, RING_BYTES = 1 << 20, TAG = 0xa1, INCARNATION = 0xc0de };

static struct stream st;
static void *memory;
static struct fly_rng rng;

static void append(unsigned count)
{
    static const char *const regions[] = {"SIN", "DEN", "NRT"};

    for (unsigned i = 0; i < count; i++) {
        struct event e = {.slice = TAG, .incarnation = INCARNATION, .seq = st.retain.last + 1};
        unsigned machine = (unsigned)fly_rng_below(&rng, 40);
        e.type = fly_rng_chance(&rng, 500) ? EVENT_VM_STARTED : EVENT_VM_DESTROYED;
        e.vm = (uint64_t)TAG << 36 | (1 + fly_rng_below(&rng, 700));
        if (fly_rng_chance(&rng, 50)) {
            e.type = (uint8_t)(EVENT_MACHINE_ADDED + fly_rng_below(&rng, 3));
            e.vm = 0;
        }
        (void)snprintf(e.machine, sizeof e.machine, "m-%u", machine);
        (void)snprintf(e.region, sizeof e.region, "%s", regions[machine % 3]);
        e.machine_cores_free = (uint32_t)fly_rng_below(&rng, 100);
        retain_add(&st.retain, &e);
    }
}

static int setup(void **state)
{
    (void)state;
    memory = calloc(1, retain_size(RING_EVENTS, RING_BYTES));
    assert_non_null(memory);
    st = (struct stream){.tag = TAG, .incarnation = INCARNATION};
    retain_init(&st.retain, memory, RING_EVENTS, RING_BYTES);
    retain_start(&st.retain, 100);
    fly_rng_seed(&rng, 5);
    append(1800);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(memory);
    return 0;
}

/* Seqs that a watcher at `from` must be told of, in order; from the ring itself. */
static size_t naive(const struct watch_filter *f, uint64_t from, uint64_t to, uint64_t *out)
{
    struct event *events = calloc(to - from + 2, sizeof *events);
    struct latest latest;
    void *scratch = calloc(1, latest_size(RING_EVENTS));
    size_t count = 0;
    size_t kept = 0;

    assert_non_null(events);
    assert_non_null(scratch);
    latest_init(&latest, scratch, RING_EVENTS, 99);
    for (uint64_t seq = from; seq <= to; seq++) {
        assert_true(stream_event(&st, seq, &events[count]));
        count += watch_wanted(f, &events[count]);
    }
    for (size_t i = count; i > 0; i--) {
        if (!f->latest || latest_needs(&latest, &events[i - 1])) {
            out[kept++] = events[i - 1].seq;
        }
    }
    for (size_t i = 0; i < kept / 2; i++) {
        uint64_t last = out[kept - 1 - i];
        out[kept - 1 - i] = out[i];
        out[i] = last;
    }
    free(scratch);
    free(events);
    return kept;
}

/* Goes from `from` to the end as a watcher does; what it is told must be the naive list. */
static void check_walk(struct watch_batches *b, const struct watch_filter *f, uint64_t from,
                       uint64_t to)
{
    static uint64_t must[RING_EVENTS];
    size_t count = naive(f, from, to, must);
    size_t at = 0;

    while (from <= to) {
        struct watch_batch *batch = watch_batch_of(b, &st, f, from, to);
        assert_ptr_equal(watch_batch_of(b, &st, f, from, to), batch); /* made once */
        assert_true(batch->next > from && batch->next <= to + 1);
        assert_true(batch->count <= WATCH_BATCH_MAX);
        Fly__V1__WatchReply *reply = fly__v1__watch_reply__unpack(NULL, batch->size, batch->bytes);
        assert_non_null(reply);
        assert_int_equal(reply->n_events, batch->count);
        for (size_t i = 0; i < reply->n_events; i++) {
            struct event e;
            assert_true(at < count);
            assert_int_equal(reply->events[i]->seq, must[at]);
            assert_true(stream_event(&st, must[at], &e));
            assert_string_equal(reply->events[i]->machine, e.machine);
            assert_string_equal(reply->events[i]->region, e.region);
            assert_int_equal(reply->events[i]->machine_cores_free, e.machine_cores_free);
            assert_string_equal(reply->events[i]->slice, "0000a1");
            assert_true(reply->events[i]->seq < batch->next);
            at++;
        }
        fly__v1__watch_reply__free_unpacked(reply, NULL);
        from = batch->next;
    }
    assert_int_equal(at, count);
}

static void test_walks(void **state)
{
    static const struct watch_filter filters[] = {
        {.region = ""},
        {.region = "DEN"},
        {.types = 1 << EVENT_MACHINE_REMOVED},
        {.region = "SIN", .types = 1 << EVENT_VM_STARTED | 1 << EVENT_MACHINE_ADDED},
        {.region = "XXX"},
        {.latest = true},
        {.latest = true, .region = "NRT"},
        {.latest = true, .types = 1 << EVENT_VM_STARTED},
    };
    struct watch_batches *b = watch_batches_create(3);
    uint64_t first = 0;
    uint64_t last = 0;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        const struct watch_filter *f = &filters[fly_rng_below(&rng, 8)];
        append((unsigned)fly_rng_below(&rng, round % 10 == 0 ? 400 : 20));
        stream_range(&st, &first, &last);
        for (unsigned watcher = 0; watcher < 4; watcher++) {
            uint64_t back = fly_rng_below(&rng, watcher == 0 ? last - first + 1 : 300);
            uint64_t from = back > last - first ? first : last - back;
            check_walk(b, f, from, last);
        }
    }
    watch_batches_destroy(b);
}

/* What a stream told before its ring began anew is not told again. */
static void test_ring_anew(void **state)
{
    const struct watch_filter all = {.region = ""};
    struct watch_batches *b = watch_batches_create(3);
    struct event e;

    (void)state;
    uint64_t last = st.retain.last;
    struct watch_batch *batch = watch_batch_of(b, &st, &all, last, last);
    assert_int_equal(batch->count, 1);
    assert_true(stream_event(&st, last, &e));
    st.resets++;
    retain_start(&st.retain, last - 1);
    (void)snprintf(e.machine, sizeof e.machine, "truth");
    retain_add(&st.retain, &e);
    batch = watch_batch_of(b, &st, &all, last, last);
    Fly__V1__WatchReply *reply = fly__v1__watch_reply__unpack(NULL, batch->size, batch->bytes);
    assert_non_null(reply);
    assert_string_equal(reply->events[0]->machine, "truth");
    fly__v1__watch_reply__free_unpacked(reply, NULL);
    watch_batches_destroy(b);
}

/* A page that an owner replayed: the same, from the message. */
static void test_page(void **state)
{
    static uint8_t bytes[EVENT_HEAD_BYTES_MAX + WATCH_BATCH_MAX * EVENT_BODY_BYTES_MAX];
    static uint64_t must[RING_EVENTS];
    struct watch_batches *b = watch_batches_create(3);

    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        struct watch_filter filter = {.latest = round % 2 == 0};
        struct event_message message;
        struct fly_error error;
        uint64_t count = round == 0 ? WATCH_BATCH_MAX : 1 + fly_rng_below(&rng, WATCH_BATCH_MAX);
        uint64_t from = retain_first(&st.retain) + fly_rng_below(&rng, 1000);
        if (round % 3 == 0) {
            (void)snprintf(filter.region, sizeof filter.region, "DEN");
        }
        size_t size = event_head_encode(TAG, INCARNATION, from, from + count - 1, bytes);
        for (uint64_t seq = from; seq < from + count; seq++) {
            struct fly_bytes body = retain_at(&st.retain, seq);
            memcpy(bytes + size, body.data, body.size);
            size += body.size;
        }
        assert_int_equal(event_message_decode(bytes, size, &message, &error), FLY_OK);
        size_t expected = naive(&filter, from, from + count - 1, must);
        struct watch_batch *batch = watch_batch_of_page(b, &message, &filter);
        assert_int_equal(batch->next, from + count);
        assert_int_equal(batch->count, expected);
        Fly__V1__WatchReply *reply = fly__v1__watch_reply__unpack(NULL, batch->size, batch->bytes);
        assert_non_null(reply);
        for (size_t i = 0; i < expected; i++) {
            assert_int_equal(reply->events[i]->seq, must[i]);
        }
        fly__v1__watch_reply__free_unpacked(reply, NULL);
    }
    watch_batches_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_walks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ring_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_page, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
