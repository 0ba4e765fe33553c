/* watching against a scripted edge: a broken stream goes on behind its cursor, each event once. */
#include "tests/unit/edge_fixture.h"

static void test_watch_resumes(void **state)
{
    static struct watching watching;
    static struct edge edge;
    struct session session;
    struct fly_error error = {0};
    uint64_t next = 1;
    unsigned lost = 0;
    unsigned back = 0;

    (void)state;
    edge_start(&edge, NULL, 0);
    session_init(&session, edge.url, "");
    assert_int_equal(watching_init(&watching, &session, "x", "", FIVE_S, &error),
                     FLY_INVALID_ARGUMENT);
    assert_int_equal(watching_init(&watching, &session, "", "", FIVE_S, &error), FLY_OK);
    while (next <= 5) {
        enum watching_step step = watching_next(&watching);
        char incarnation[CURSOR_WORD_SIZE];
        assert_int_not_equal(step, WATCHING_END);
        lost += step == WATCHING_LOST;
        back += step == WATCHING_BACK;
        for (size_t i = 0; step == WATCHING_MESSAGE && i < watching.message->n_events; i++) {
            const Fly__V1__Event *event = watching.message->events[i];
            if (watching_take(&watching, event, incarnation)) {
                assert_int_equal(event->seq, next);
                assert_string_equal(incarnation, "c0de");
                next++;
            }
        }
        if (step == WATCHING_MESSAGE) {
            watching_taken(&watching);
        }
    }
    (void)pthread_mutex_lock(&edge.lock);
    (void)pthread_mutex_unlock(&edge.lock);
    assert_int_equal(lost, 1);
    assert_int_equal(back, 1);
    assert_string_equal(edge.since[0], "");
    assert_string_equal(edge.since[1], "a1:c0de:3");
    assert_string_equal(watching.cursor.text, "a1:c0de:5");
    watching_fini(&watching);
    session_fini(&session);
    edge_stop(&edge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watch_resumes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
