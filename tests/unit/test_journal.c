/* journal: a real libraft on a real disk (the build folder), driven through its public calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/journal_room.h"

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

static void stats_read(struct journal_stats *stats)
{
    journal_stats(room.journal, stats);
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

/* Runs until the snapshots taken or failed reach `count`. */
static void snapshots_wait(uint64_t count)
{
    struct journal_stats stats;
    do {
        uv_run(&room.loop, UV_RUN_ONCE);
        stats_read(&stats);
    } while (stats.snapshots + stats.snapshot_failures < count && room.fails == 0);
}

static void append_until(uint64_t count)
{
    while (room.toy.count < count) {
        uint64_t from = room.toy.count;
        for (uint64_t i = 1; i <= 16 && from + i <= count; i++) {
            assert_int_equal(room_append(&room, from + i), FLY_OK);
        }
        room_run_until(&room, from + 16 < count ? from + 16 : count);
    }
}

static void test_limits(void **state)
{
    (void)state;
    room_init(&room, FLY_BINARY, "limits");
    open_ok();
    struct journal_stats stats;
    static uint8_t big[64 * 1024];
    memset(big, 0x5A, sizeof big);
    assert_int_equal(journal_append(room.journal, big, 0, &room.error), FLY_INVALID_ARGUMENT);
    assert_int_equal(journal_append(room.journal, big, 16 * 1024 + 1, &room.error),
                     FLY_INVALID_ARGUMENT);
    assert_int_equal(journal_append(room.journal, big, 16 * 1024, &room.error), FLY_OK);
    for (size_t size = 1; size <= 17; size++) {
        assert_int_equal(journal_append(room.journal, big, size, &room.error), FLY_OK);
    }
    room_run_until(&room, 18);
    for (unsigned i = 0; i < JOURNAL_IN_FLIGHT_MAX; i++) {
        assert_int_equal(journal_append(room.journal, big, 1, &room.error), FLY_OK);
    }
    assert_int_equal(journal_append(room.journal, big, 1, &room.error), FLY_RESOURCE_EXHAUSTED);
    stats_read(&stats);
    assert_int_equal(stats.in_flight, JOURNAL_IN_FLIGHT_MAX);
    assert_int_equal(stats.refused, 3);
    room_run_until(&room, 18 + JOURNAL_IN_FLIGHT_MAX);
    uint64_t count = room.toy.count;
    while (journal_append(room.journal, big, 16 * 1024, &room.error) == FLY_OK) {
        count++;
    }
    assert_int_equal(count - room.toy.count, JOURNAL_BYTES_MAX / (16 * 1024));
    stats_read(&stats);
    assert_int_equal(stats.refused, 4);
    struct toy before = room.toy;
    room_close(&room); /* 64 MiB are thrown away before they reach the disk */
    open_ok();
    assert_memory_equal(&room.toy, &before, sizeof before);
    room_fini(&room);
}

static void test_one_folder_one_journal(void **state)
{
    (void)state;
    room_init(&room, FLY_BINARY, "lock");
    open_ok();
    struct journal *second = NULL;
    assert_int_equal(journal_open(&second, &room.config, &room.error), FLY_UNAVAILABLE);
    assert_null(second);
    assert_non_null(strstr(room.error.text, "mark: locked"));
    room_fini(&room);
}

static void test_close_in_flight(void **state)
{
    (void)state;
    room_init(&room, FLY_BINARY, "inflight");
    uint64_t last = 0;
    for (int turns = 0; turns < 12; turns++) {
        open_ok();
        assert_true(room.toy.count >= last);
        uint64_t from = room.toy.count;
        for (uint64_t i = 1; i <= 40; i++) {
            assert_int_equal(room_append(&room, from + i), FLY_OK);
        }
        for (int i = 0; i < turns / 2; i++) {
            uv_run(&room.loop, UV_RUN_NOWAIT);
        }
        last = room.toy.count; /* what was applied stays applied; the rest may or may not */
        room_close(&room);
        assert_int_equal(room.fails, 0);
    }
    room_fini(&room);
}

static void test_snapshots(void **state)
{
    (void)state;
    room_init(&room, FLY_BINARY, "snapshots");
    room.config.snapshot_bytes = 20000;
    room.config.trailing = 30;
    struct journal_stats stats;
    open_ok();
    for (uint64_t round = 1; round <= 6; round++) {
        append_until(round * 200);
        snapshots_wait(round);
    }
    stats_read(&stats);
    assert_true(stats.snapshots >= 6 && stats.snapshots <= 12);
    assert_int_equal(stats.snapshot_failures, 0);
    struct toy before = room.toy;
    room_close(&room);
    assert_int_equal(room.views, room.releases);

    struct journal_report report;
    assert_int_equal(journal_check(room.dir, NULL, NULL, &report, &room.error), FLY_OK);
    assert_true(report.snapshot_index >= stats.snapshot_index);
    assert_true(report.first_index > 1 && report.entries < 1200);
    assert_int_equal(report.acknowledged, report.last_index);

    room.ballast = 200000;
    open_ok();
    assert_int_equal(room.restores, 1);
    assert_memory_equal(&room.toy, &before, sizeof before);
    stats_read(&stats);
    assert_true(stats.replayed < 1200);

    /* a larger state waits for a larger log */
    append_until(1400);
    snapshots_wait(1);
    append_until(1900);
    stats_read(&stats);
    assert_int_equal(stats.snapshots, 1);
    assert_true(stats.log_bytes > room.config.snapshot_bytes);
    append_until(3200);
    snapshots_wait(2);
    before = room.toy;
    room_close(&room);
    open_ok();
    assert_memory_equal(&room.toy, &before, sizeof before);
    room_fini(&room);
}

static void test_snapshot_refused_and_failing(void **state)
{
    (void)state;
    room_init(&room, FLY_BINARY, "snapfail");
    room.config.snapshot_bytes = 4000;
    struct journal_stats stats;
    open_ok();
    room.refuse_view = true;
    append_until(200);
    stats_read(&stats);
    assert_int_equal(stats.snapshots + stats.snapshot_failures, 0);
    room.refuse_view = false;
    room.fail_encode = true;
    append_until(300);
    snapshots_wait(1);
    stats_read(&stats);
    assert_true(stats.snapshot_failures >= 1);
    assert_int_equal(stats.snapshots, 0);
    room.fail_encode = false;
    append_until(600);
    snapshots_wait(stats.snapshot_failures + 1);
    stats_read(&stats);
    assert_true(stats.snapshots >= 1);
    struct toy before = room.toy;
    room_close(&room);
    assert_int_equal(room.views, room.releases);
    open_ok();
    assert_memory_equal(&room.toy, &before, sizeof before);
    room_fini(&room);
}

static void test_close_during_snapshot(void **state)
{
    (void)state;
    room_init(&room, FLY_BINARY, "snapclose");
    room.config.snapshot_bytes = 3000;
    room.ballast = 300000;
    for (int turns = 0; turns < 20; turns++) {
        open_ok();
        unsigned views = room.views;
        uint64_t count = room.toy.count;
        while (room.views == views) {
            append_until(room.toy.count + 16);
        }
        assert_true(room.toy.count > count);
        for (int i = 0; i < turns / 4; i++) {
            uv_run(&room.loop, UV_RUN_NOWAIT);
        }
        room_close(&room);
        assert_int_equal(room.views, room.releases);
    }
    open_ok();
    room_fini(&room);
}

/* --- damage -------------------------------------------------------------------------------- */

static void path_of(char *out, size_t max, const char *file)
{
    snprintf(out, max, "%s/%s", room.dir, file);
}

static bool have(const char *file)
{
    char path[600];
    path_of(path, sizeof path, file);
    return access(path, F_OK) == 0;
}

static void damage(const char *file, long offset, const void *data, size_t size)
{
    char path[600];
    path_of(path, sizeof path, file);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, size, offset), (ssize_t)size);
    close(fd);
}

static void test_torn_tail_is_repaired(void **state)
{
    (void)state;
    room_init(&room, FLY_BINARY, "torn");
    open_ok();
    append_until(100);
    struct toy before = room.toy;
    /* the folder as a kill -9 would leave it, with half a write behind the end */
    char live[300], copy[300];
    snprintf(live, sizeof live, "%s", room.dir);
    snprintf(copy, sizeof copy, "%s-copy", room.dir);
    room_copy(live, copy);
    room_close(&room);
    room_wipe(live);
    assert_int_equal(rename(copy, live), 0);
    struct journal_report report;
    assert_int_equal(journal_check(room.dir, NULL, NULL, &report, &room.error), FLY_OK);
    assert_int_equal(report.last_index, 101);
    assert_false(report.torn);
    struct stat info;
    char path[600];
    path_of(path, sizeof path, "open-1");
    assert_int_equal(stat(path, &info), 0);
    uint8_t junk[5000];
    memset(junk, 0xEE, sizeof junk);
    damage("open-1", 40000, junk, sizeof junk);
    assert_int_equal(journal_check(room.dir, NULL, NULL, &report, &room.error), FLY_OK);
    assert_true(report.torn);
    assert_string_equal(report.torn_file, "open-1");
    assert_true(report.torn_offset < 40000);
    assert_int_equal(report.torn_offset + report.torn_bytes, 45000);

    open_ok();
    assert_memory_equal(&room.toy, &before, sizeof before);
    struct journal_stats stats;
    stats_read(&stats);
    assert_int_equal(stats.torn_tails, 1);
    assert_int_equal(stats.torn_bytes, report.torn_bytes);
    char torn[100];
    snprintf(torn, sizeof torn, "torn-open-1-%llu", (unsigned long long)report.torn_offset);
    assert_true(have(torn));
    append_until(150);
    room_close(&room);
    open_ok();
    stats_read(&stats);
    assert_int_equal(stats.torn_tails, 0);
    assert_int_equal(room.toy.count, 150);
    room_fini(&room);
}

static void test_mark_missing_and_accepted(void **state)
{
    (void)state;
    char path[600];
    room_init(&room, FLY_BINARY, "accept");
    open_ok();
    append_until(60);
    struct toy before = room.toy;
    room_close(&room);
    path_of(path, sizeof path, "mark");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(room_open(&room), FLY_DATA_LOSS);
    assert_non_null(strstr(room.error.text, "accept-loss"));
    assert_int_equal(room_open(&room), FLY_DATA_LOSS); /* asking twice changes nothing */
    damage("accept-loss", 0, "yes", 3);
    open_ok();
    assert_memory_equal(&room.toy, &before, sizeof before);
    assert_false(have("accept-loss"));
    append_until(70);
    room_close(&room);
    open_ok();
    assert_int_equal(room.toy.count, 70);
    room_close(&room);

    /* the last closed segment goes away: the mark sees it, the operator may accept it */
    struct journal_report report;
    assert_int_equal(journal_check(room.dir, NULL, NULL, &report, &room.error), FLY_OK);
    path_of(path, sizeof path, "0000000000000062-0000000000000071");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(room_open(&room), FLY_DATA_LOSS);
    assert_non_null(strstr(room.error.text, "entry 71 was acknowledged"));
    damage("accept-loss", 0, "", 0);
    open_ok();
    assert_memory_equal(&room.toy, &before, sizeof before);
    room_fini(&room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_replay),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_one_folder_one_journal),
        cmocka_unit_test(test_close_in_flight),
        cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_snapshot_refused_and_failing),
        cmocka_unit_test(test_close_during_snapshot),
        cmocka_unit_test(test_torn_tail_is_repaired),
        cmocka_unit_test(test_mark_missing_and_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
