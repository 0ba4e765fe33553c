/* journal: a real libraft on a real disk (the build folder), driven through its public calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "journal_room.h"

static struct room room;

static void open_ok(void)
{
    enum fly_status status = room_open(&room);
    if (status != FLY_OK) {
        print_error("%s\n", room.error.text);
    }
    assert_int_equal(status, FLY_OK);
    room_lead_wait(&room);
    assert_true(journal_ready(room.journal));
}

static void test_append_and_replay(void **state)
{
    (void)state;
    room_init(&room, FLY_BINARY, "replay");
    open_ok();
    assert_int_equal(room.toy.count, 0);
    for (uint64_t i = 1; i <= 500; i++) {
        assert_int_equal(room_append(&room, i), FLY_OK);
        if (i % 7 == 0) {
            room_run_until(&room, i);
        }
    }
    room_run_until(&room, 500);
    struct toy before = room.toy;
    struct journal_stats stats;
    journal_stats(room.journal, &stats);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.applied, 500);
    room_close(&room);
    assert_true(room.closed);

    for (int i = 0; i < 3; i++) {
        open_ok();
        assert_memory_equal(&room.toy, &before, sizeof before);
        journal_stats(room.journal, &stats);
        assert_int_equal(stats.replayed, 500);
        assert_int_equal(stats.term, 3 + (uint64_t)i);
        room_close(&room);
    }
    room_fini(&room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_replay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
