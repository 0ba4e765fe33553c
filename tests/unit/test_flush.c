/* flush: what goes out when, against the rules themselves; messages read back by a follower. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/wire/flush.h"
#include "proto/wire/follow.h"
#include "proto/wire/retain.h"

enum { SLICE = 7, INCARNATION = 9, MACHINES = 300 };

/* Polled at its deadline and whenever events come, as the node does. */
static void test_rules(void **state)
{
    static const int64_t intervals[] = {0, 1, 50, 999, 3000};

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(intervals); i++) {
        const int64_t interval = intervals[i];
        struct flush f;
        struct fly_rng rng;
        int64_t now = 1000;
        int64_t flushed = INT64_MIN / 2; /* ours of the last flush, any word, the oldest event */
        int64_t spoken = now - FLUSH_HEARTBEAT_MS;
        int64_t waits = -1;
        uint64_t last = 17;
        uint64_t published = 17;

        fly_rng_seed(&rng, i);
        flush_init(&f, interval, last, now);
        for (int round = 0; round < 20000; round++) {
            int64_t next =
                now + (int64_t)fly_rng_below(&rng, fly_rng_chance(&rng, 900) ? 20 : 2500);
            bool event = next < flush_deadline(&f);
            now = event ? next : flush_deadline(&f);
            if (event) {
                last += 1 + fly_rng_below(&rng, 9);
                flush_note(&f, last);
                waits = waits < 0 ? now : waits;
            }
            enum flush_kind kind = FLUSH_NOTHING;
            uint64_t from = 0;
            uint64_t to = 0;
            while ((kind = flush_next(&f, now, &from, &to)) != FLUSH_NOTHING) {
                if (kind == FLUSH_EVENTS) {
                    assert_true(from == published + 1 && to == last && to >= from);
                    assert_true(now - flushed >= interval);
                    assert_true(now - waits <= interval);
                    published = to;
                    flushed = now;
                    waits = -1;
                } else {
                    assert_true(to == published);
                    assert_int_equal(now - spoken, FLUSH_HEARTBEAT_MS);
                }
                spoken = now;
            }
            assert_true(flush_deadline(&f) > now);
            assert_true(waits < 0 || now - waits < interval); /* at once when there was a pause */
            assert_true(waits < 0 || now - flushed < interval);
        }
    }
}

/* A slice of machines whose free cores change, its retention, and a follower with its picture. */
struct world {
    struct retain retain;
    uint32_t free[MACHINES]; /* 0: the machine is gone */
    uint32_t picture[MACHINES];
    uint64_t events;
    uint64_t messages;
    uint64_t states;
    uint64_t heartbeats;
    struct follow follow;
    bool watcher;
};

static void on_event(void *user, const struct event *event)
{
    struct world *w = user;

    w->events++;
    w->picture[strtoul(event->machine, NULL, 10)] = event->machine_cores_free;
}

static void on_machine(void *user, const struct event_message *message,
                       const struct event_machine *machine)
{
    struct world *w = user;

    (void)message;
    w->picture[strtoul(machine->name, NULL, 10)] = machine->removed ? 0 : machine->cores_free;
}

static void deliver(void *user, struct fly_bytes bytes)
{
    struct world *w = user;
    struct follow_sink sink = {
        .event = on_event, .machine = w->watcher ? NULL : on_machine, .user = w};
    struct event_message message;

    assert_int_equal(event_message_decode(bytes.data, bytes.size, &message, NULL), FLY_OK);
    assert_true(message.form == EVENT_FORM_STATE || bytes.size <= FLUSH_MESSAGE_BYTES);
    w->messages++;
    w->states += message.form == EVENT_FORM_STATE;
    w->heartbeats += message.form == EVENT_FORM_HEARTBEAT;
    follow_receive(&w->follow, &message, 1, &sink);
}

static struct fly_bytes body_of(void *user, uint64_t seq)
{
    struct world *w = user;

    return retain_at(&w->retain, seq);
}

static bool machine_of(void *user, const char *name, uint32_t *number, struct event_machine *out)
{
    struct world *w = user;

    *number = (uint32_t)strtoul(name, NULL, 10);
    *out = (struct event_machine){.region = "SIN", .cores_free = w->free[*number]};
    (void)snprintf(out->name, sizeof out->name, "%s", name);
    return w->free[*number] != 0;
}

static void change(struct world *w, struct fly_rng *rng)
{
    uint32_t machine = (uint32_t)fly_rng_below(rng, MACHINES);
    bool gone = w->free[machine] != 0 && fly_rng_chance(rng, 100);
    struct event e = {.seq = w->retain.last + 1,
                      .type = gone ? EVENT_MACHINE_REMOVED : EVENT_VM_STARTED};

    w->free[machine] = gone ? 0 : 1 + (uint32_t)fly_rng_below(rng, 1000);
    e.machine_cores_free = w->free[machine];
    (void)snprintf(e.machine, sizeof e.machine, "%u", machine);
    memset(e.name, 'n', fly_rng_below(rng, 60));
    retain_add(&w->retain, &e);
}

static void test_messages(void **state)
{
    static const struct {
        const char *what;
        uint64_t count;
        bool can_state;
        bool watcher;
        uint64_t states;
        uint64_t messages_min;
        uint64_t messages_max;
        bool complete; /* the follower has it all */
    } rows[] = {
        {"one", 1, true, false, 0, 1, 1, true},
        {"some", 4096, true, false, 0, 1, 4, true},
        {"many, as events", 20000, false, false, 0, 4, 20, true},
        {"many, as state", 20000, true, false, 1, 1, 1, true},
        {"many, as state, for a watcher", 20000, true, true, 1, 1, 1, false},
        {"more than is kept", 40000, false, false, 0, 1, 1, false},
        {"more than is kept, state", 40000, true, false, 0, 1, 1, false},
    };
    struct flush_scratch *scratch = malloc(sizeof *scratch);
    void *memory = malloc(retain_size(32768, 8 << 20));
    struct world *w = malloc(sizeof *w);

    (void)state;
    assert_true(scratch != NULL && memory != NULL && w != NULL);
    for (size_t row = 0; row < FLY_ARRAY_COUNT(rows); row++) {
        struct flush_source source = {.slice = SLICE,
                                      .incarnation = INCARNATION,
                                      .body = body_of,
                                      .machine = rows[row].can_state ? machine_of : NULL,
                                      .user = w};
        struct flush f;
        struct fly_rng rng;
        memset(w, 0, sizeof *w);
        w->watcher = rows[row].watcher;
        fly_rng_seed(&rng, row);
        retain_init(&w->retain, memory, 32768, 8 << 20);
        retain_start(&w->retain, 1000);
        follow_init(&w->follow, SLICE, 1);
        assert_int_equal(follow_next(&w->follow, 0), FOLLOW_SNAPSHOT);
        assert_true(follow_snapshot(&w->follow, w->follow.question, INCARNATION, 1000, 0));
        flush_init(&f, 50, 1000, 0);
        flush_run(&f, &source, 0, scratch, deliver, w);
        assert_true(w->messages == 1 && w->heartbeats == 1);
        for (uint64_t i = 0; i < rows[row].count; i++) {
            change(w, &rng);
        }
        flush_note(&f, w->retain.last);
        flush_run(&f, &source, 1, scratch, deliver, w);
        uint64_t messages = w->messages - 1;
        if (w->states != rows[row].states || messages < rows[row].messages_min ||
            messages > rows[row].messages_max) {
            fail_msg("%s: %llu messages, %llu states", rows[row].what, (unsigned long long)messages,
                     (unsigned long long)w->states);
        }
        assert_int_equal(w->follow.known, w->retain.last); /* whoever missed it knows */
        assert_int_equal(w->follow.next == w->retain.last + 1, rows[row].complete);
        if (rows[row].complete) {
            assert_memory_equal(w->picture, w->free, sizeof w->free);
            assert_true(w->states > 0 || w->events == rows[row].count);
        } else {
            assert_int_equal(w->events, 0);
        }
    }
    free(scratch);
    free(memory);
    free(w);
}

/* A page of a replay is as large as it may be, and no larger. */
static void test_pages(void **state)
{
    void *memory = malloc(retain_size(1000, 1 << 20));
    struct world *w = calloc(1, sizeof *w);
    struct flush_source source = {
        .slice = SLICE, .incarnation = INCARNATION, .body = body_of, .user = w};
    uint8_t page[700];
    struct fly_rng rng;

    (void)state;
    assert_true(memory != NULL && w != NULL);
    fly_rng_seed(&rng, 3);
    retain_init(&w->retain, memory, 1000, 1 << 20);
    retain_start(&w->retain, 0);
    for (int i = 0; i < 500; i++) {
        change(w, &rng);
    }
    follow_init(&w->follow, SLICE, 1);
    follow_resume(&w->follow, INCARNATION, 0);
    for (uint64_t from = 1, end = 0; from <= 500; from = end + 1) {
        size_t max = 304 + (size_t)fly_rng_below(&rng, sizeof page - 304);
        size_t size = flush_message(&source, from, 500, page, max, &end);
        assert_true(size > 0 && size <= max && end >= from && end <= 500);
        assert_true(end == 500 ||
                    size + retain_at(&w->retain, end + 1).size > max - EVENT_HEAD_BYTES_MAX);
        deliver(w, (struct fly_bytes){.data = page, .size = size});
        assert_int_equal(w->follow.next, end + 1);
    }
    assert_int_equal(w->events, 500);
    uint64_t end = 77;
    assert_int_equal(flush_message(&source, 501, 502, page, sizeof page, &end), 0);
    free(memory);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
