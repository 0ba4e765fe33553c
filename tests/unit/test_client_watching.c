/*
 * watching against scripted edges: a broken stream goes on behind its cursor, at another edge too,
 * each event of each slice once.
 */
#include "tests/unit/edge_fixture.h"

#define A "0000a1:000000000000c0de:"
#define B "0000b2:000000000000c0de:"

struct trace {
    char text[1024]; /* "a1 a2 b1 ! < r(b2) a3": events, losses, returns, resets */
    size_t used;
};

static void put(struct trace *trace, const char *format, unsigned long long x, const char *word)
{
    trace->used += (size_t)snprintf(trace->text + trace->used, sizeof trace->text - trace->used,
                                    trace->used > 0 ? " " : "%s", "");
    trace->used += (size_t)snprintf(trace->text + trace->used, sizeof trace->text - trace->used,
                                    format, word, x);
}

/* Until `count` events and resets were shown. */
static void watch(struct watching *watching, unsigned count, struct trace *trace)
{
    *trace = (struct trace){.used = 0};
    while (count > 0) {
        enum watching_step step = watching_next(watching);
        assert_int_not_equal(step, WATCHING_END);
        if (step == WATCHING_LOST || step == WATCHING_BACK) {
            put(trace, step == WATCHING_LOST ? "!" : "<", 0, "");
            continue;
        }
        if (watching->message->reset) {
            put(trace, "r%s%llx", watching_reset_slice(watching), "");
            count--;
        }
        for (size_t i = 0; i < watching->message->n_events; i++) {
            const Fly__V1__Event *event = watching->message->events[i];
            if (watching_take(watching, event)) {
                put(trace, "%.1s%llu", event->seq, event->slice + 4);
                count--;
            }
        }
        watching_taken(watching);
    }
}

struct story {
    const char *what;
    const char *since;
    const char *region;
    struct told a[6]; /* what the first edge tells */
    struct told b[6]; /* and the second */
    unsigned count;
    const char *trace;
    const char *b_since; /* how the second edge is asked; NULL: it is not */
    const char *cursor;  /* in the end */
    uint64_t twice;
    uint64_t skipped;
};

static const struct story stories[] = {
    {.what = "broken, and resumed elsewhere",
     .since = "",
     .region = "",
     .a = {{0xa1, 1, 3, A "3", NULL, NULL, true}},
     .b = {{0xa1, 4, 5, A "5", NULL, NULL, false}},
     .count = 5,
     .trace = "a1 a2 a3 ! < a4 a5",
     .b_since = A "3",
     .cursor = A "5"},
    {.what = "two slices, cursors of those that moved",
     .since = "",
     .region = "",
     .a = {{0xa1, 1, 2, A "2", NULL, NULL, false}, {0xb2, 7, 8, B "8", NULL, NULL, true}},
     .b = {{0xb2, 9, 9, B "9", NULL, NULL, false}, {0xa1, 3, 3, A "3", NULL, NULL, false}},
     .count = 6,
     .trace = "a1 a2 b7 b8 ! < b9 a3",
     .b_since = A "2," B "8",
     .cursor = A "3," B "9"},
    {.what = "two slices, cursors of all",
     .since = A "4," B "6",
     .region = "",
     .a = {{0xb2, 7, 7, A "4," B "7", NULL, NULL, false},
           {0xa1, 5, 5, A "5," B "7", NULL, NULL, false}},
     .count = 2,
     .trace = "b7 a5",
     .cursor = A "5," B "7"},
    {.what = "what comes twice is left out and counted",
     .since = A "2",
     .region = "",
     .a = {{0xa1, 1, 4, A "4", NULL, NULL, true}},
     .b = {{0xa1, 3, 5, A "5", NULL, NULL, false}},
     .count = 3,
     .trace = "a3 a4 ! < a5",
     .b_since = A "4",
     .cursor = A "5",
     .twice = 4},
    {.what = "what never comes is counted",
     .since = A "2",
     .region = "",
     .a = {{0xa1, 5, 5, A "5", NULL, NULL, false}},
     .count = 1,
     .trace = "a5",
     .cursor = A "5",
     .skipped = 2},
    {.what = "with a filter numbers are left out rightly",
     .since = A "2",
     .region = "SIN",
     .a = {{0xa1, 5, 5, A "9", NULL, NULL, true}},
     .b = {{0xa1, 10, 10, A "10", NULL, NULL, false}},
     .count = 2,
     .trace = "a5 ! < a10",
     .b_since = A "9",
     .cursor = A "10"},
    {.what = "a reset of one slice, backwards, leaves the others where they are",
     .since = A "5," B "6",
     .region = "",
     .a = {{0xa1, 6, 6, A "6", NULL, NULL, false},
           {0xb2, 1, 0, "", "fewer events", "x", false},
           {0xb2, 1, 0, B "2", "fewer events", "y", false},
           {0xb2, 3, 3, B "3", NULL, NULL, false}},
     .count = 4,
     .trace = "a6 rb2 rb2 b3",
     .cursor = A "6," B "3"},
    {.what = "a reset of an empty slice is known by its cursor",
     .since = A "5," B "6",
     .region = "",
     .a = {{0xb2, 1, 0, A "5," B "2", "founded anew", NULL, false}},
     .count = 1,
     .trace = "rb2",
     .cursor = A "5," B "2"},
    {.what = "broken between the parts of a reset: it starts over",
     .since = B "6",
     .region = "",
     .a = {{0xb2, 1, 0, "", "gone", "x", true}},
     .b = {{0xb2, 1, 0, B "9", "gone", "x", false}, {0xb2, 10, 10, B "10", NULL, NULL, false}},
     .count = 3,
     .trace = "rb2 ! < rb2 b10",
     .b_since = B "6",
     .cursor = B "10"},
};

static size_t told_count(const struct told *told)
{
    size_t count = 0;

    while (count < 6 && told[count].slice != 0) {
        count++;
    }
    return count;
}

static void test_stories(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(stories); i++) {
        const struct story *story = &stories[i];
        static struct watching watching;
        static struct edge a, b;
        struct session session;
        struct fly_error error = {0};
        struct trace trace;
        char list[160];
        char cursor[CURSORS_TEXT_SIZE];

        edge_start(&a, NULL, 0);
        edge_start(&b, NULL, 0);
        a.tolds = story->a;
        a.told_count = told_count(story->a);
        b.tolds = story->b;
        b.told_count = told_count(story->b);
        (void)snprintf(list, sizeof list, "%s,%s", a.url, b.url);
        session_init(&session, list, "");
        assert_int_equal(
            watching_init(&watching, &session, story->since, story->region, FIVE_S, &error),
            FLY_OK);
        watch(&watching, story->count, &trace);
        (void)watching_cursor(&watching, cursor);
        if (strcmp(trace.text, story->trace) != 0 || strcmp(cursor, story->cursor) != 0 ||
            watching.twice != story->twice || watching.skipped != story->skipped) {
            fail_msg("%s: '%s', cursor %s, %u twice, %u skipped", story->what, trace.text, cursor,
                     (unsigned)watching.twice, (unsigned)watching.skipped);
        }
        (void)pthread_mutex_lock(&b.lock);
        assert_int_equal(b.watches, story->b_since != NULL ? 1 : 0);
        assert_string_equal(b.since[0], story->b_since != NULL ? story->b_since : "");
        (void)pthread_mutex_unlock(&b.lock);
        watching_fini(&watching);
        session_fini(&session);
        edge_stop(&a);
        edge_stop(&b);
    }
}

static void test_not_a_cursor(void **state)
{
    static struct watching watching;
    struct session session;
    struct fly_error error = {0};

    (void)state;
    session_init(&session, "127.0.0.1:1", "");
    assert_int_equal(watching_init(&watching, &session, "x", "", FIVE_S, &error),
                     FLY_INVALID_ARGUMENT);
    assert_int_equal(watching_init(&watching, &session, A "1,", "", FIVE_S, &error),
                     FLY_INVALID_ARGUMENT);
    session_fini(&session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_not_a_cursor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
