/* peers_file: what was handed over is there after a restart; a damaged file is named, not read. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/peers_file.h"

static struct seen *make_seen(void)
{
    void *memory = calloc(1, seen_size());

    assert_non_null(memory);
    return seen_init(memory, 5);
}

static struct peers *make_peers(void)
{
    void *memory = calloc(1, peers_size());

    assert_non_null(memory);
    return peers_init(memory, 5);
}

static void make_dir(char *dir, size_t size)
{
    (void)snprintf(dir, size, "%s/test-peers-XXXXXX", FLY_BINARY);
    assert_non_null(mkdtemp(dir));
}

static void wait_saved(struct peers_file *f, const struct peers *p, const struct seen *s)
{
    while (!peers_file_saved(f, p, s)) { /* ctest's limit ends a writer that never does */
        (void)sched_yield();
    }
}

static void test_restart(void **state)
{
    char dir[512];
    struct peers *p = make_peers();
    struct seen *s = make_seen();
    struct peers_file *f = NULL;
    struct fly_error error;
    struct node_id id = {.bytes = {1, 2, 3}};
    struct peers_address a = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 5}, .port = 7400};

    (void)state;
    make_dir(dir, sizeof dir);
    assert_int_equal(peers_file_load(dir, p, s, &error), FLY_OK); /* none yet */
    assert_int_equal(peers_file_create(&f, dir, p, s, &error), FLY_OK);
    assert_true(peers_file_saved(f, p, s));
    assert_true(peers_note(p, &id, "n-1", &a));
    assert_false(peers_file_saved(f, p, s));
    peers_file_tick(f, p, s, 5000, false);
    wait_saved(f, p, s);
    assert_true(seen_note(s, 7, 100, 5));
    peers_file_tick(f, p, s, 5999, false); /* too early */
    assert_false(peers_file_saved(f, p, s));
    peers_file_tick(f, p, s, 6000, false);
    wait_saved(f, p, s);
    assert_true(seen_forget(s, 9));
    peers_file_tick(f, p, s, 6001, true);
    wait_saved(f, p, s);
    for (uint64_t seq = 6; seq < 500; seq++) { /* faster than any disk */
        assert_true(seen_note(s, 7, 100, seq));
        peers_file_tick(f, p, s, 7000, true);
    }
    assert_true(seen_note(s, 7, 100, 1000));
    peers_file_destroy(f, p, s); /* writes what is left */

    struct peers *p2 = make_peers();
    struct seen *s2 = make_seen();
    uint64_t seq = 0;
    bool forgotten = false;
    assert_int_equal(peers_file_load(dir, p2, s2, &error), FLY_OK);
    assert_int_equal(peers_count(p2), 1);
    assert_memory_equal(peers_at(p2, 0), peers_at(p, 0), sizeof(struct peers_member));
    assert_true(seen_find(s2, 7, NULL, &seq, NULL));
    assert_int_equal(seq, 1000);
    assert_true(seen_find(s2, 9, NULL, NULL, &forgotten));
    assert_true(forgotten);
    free(p);
    free(s);
    free(p2);
    free(s2);
}

static void test_a_disk_that_fails(void **state)
{
    char dir[512];
    char path[600];
    struct peers *p = make_peers();
    struct seen *s = make_seen();
    struct peers_file *f = NULL;
    struct fly_error error;

    (void)state;
    make_dir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/peers.tmp", dir);
    assert_int_equal(mkdir(path, 0700), 0); /* no file can be made beside */
    assert_int_equal(peers_file_create(&f, dir, p, s, &error), FLY_OK);
    assert_true(seen_note(s, 7, 100, 5));
    for (int64_t now_ms = 0; now_ms < 100000; now_ms += PEERS_FILE_INTERVAL_MS) {
        peers_file_tick(f, p, s, now_ms, false);
        assert_false(peers_file_saved(f, p, s));
    }
    assert_int_equal(rmdir(path), 0);
    for (int64_t now_ms = 100000; !peers_file_saved(f, p, s); now_ms += PEERS_FILE_INTERVAL_MS) {
        peers_file_tick(f, p, s, now_ms, false); /* nothing changed: it is tried again */
        (void)sched_yield();
    }
    peers_file_destroy(f, p, s);
    assert_int_equal(peers_file_create(&f, "/nonexistent", p, s, &error), FLY_UNAVAILABLE);
    free(p);
    free(s);
}

static void test_damaged(void **state)
{
    char dir[512];
    char path[600];
    struct peers *p = make_peers();
    struct seen *s = make_seen();
    struct fly_error error;

    (void)state;
    make_dir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/peers", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("flylight-peers 1\nsum 0000000000000000\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(peers_file_load(dir, p, s, &error), FLY_DATA_LOSS);
    assert_non_null(strstr(error.text, "/peers: damaged: the last line is not the sum"));
    assert_non_null(strstr(error.text, "or remove it"));
    assert_int_equal(error.status, FLY_DATA_LOSS);
    assert_int_equal(chmod(path, 0622), 0);
    assert_int_equal(peers_file_load(dir, p, s, &error), FLY_FAILED_PRECONDITION);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(peers_file_load(dir, p, s, &error), FLY_FAILED_PRECONDITION);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* opening it must not wait */
    assert_int_equal(peers_file_load(dir, p, s, &error), FLY_FAILED_PRECONDITION);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(peers_file_load(dir, p, s, &error), FLY_UNAVAILABLE);
    free(p);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_a_disk_that_fails),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
