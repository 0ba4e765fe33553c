/*
 * journal on a bad disk. The program stands between libraft and the kernel: it defines the calls
 * through which libraft, libuv and the journal change the disk, counts them, and at a chosen one
 * kills the process (-9) or lets the disk fail. Every such step of a whole life of a journal is
 * tried: found, append over several segments, snapshot, close, open again.
 *
 * Killed processes lose nothing of the page cache, so here fsync does nothing: the same, but fast.
 * A small file system that is really full comes last, where root may mount one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/journal_fault.h"
#include "tests/unit/journal_room.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

/* --- a life of a journal ------------------------------------------------------------------- */

enum { LIFE_ENTRIES = 330, LIFE_OPENS_MAX = 40, CHILD_SECONDS = 30 };

static struct room room;
static struct toy prefix[LIFE_ENTRIES + 64];

static void prefix_make(void)
{
    for (uint64_t i = 1; i < FLY_ARRAY_COUNT(prefix); i++) {
        uint8_t data[256];
        size_t size = room_entry(i, data, sizeof data);
        prefix[i] = prefix[i - 1];
        toy_fold(&prefix[i], 0, 0, data, size);
        prefix[i].index = i;
    }
}

/* The state by content alone: terms and indexes depend on how often the log was opened. */
static void life_apply(void *user, uint64_t index, uint64_t term, const uint8_t *data, size_t size)
{
    struct room *r = user;
    (void)index;
    (void)term;
    toy_fold(&r->toy, 0, 0, data, size);
    r->toy.index = r->toy.count;
    if (r->toy.count > plan->acknowledged) {
        plan->acknowledged = r->toy.count;
        plan->hash = r->toy.hash;
    }
}

static void life_init(const char *dir)
{
    room_init(&room, FLY_BINARY, "life");
    room_wipe(room.dir);
    snprintf(room.dir, sizeof room.dir, "%s", dir);
    room.config.hooks.apply = life_apply;
    room.config.segment_bytes = 16 * 1024;
    room.config.snapshot_bytes = 15000;
    room.config.trailing = 40;
}

/* Opens, appends to the end in waves, closes and opens again in the middle; after a failure closes
 * and reopens, as the node's shell does. */
static bool live(uint64_t until)
{
    for (unsigned opens = 0; opens < LIFE_OPENS_MAX; opens++) {
        room.fails = 0;
        plan->opens++;
        enum fly_status status = room_open(&room);
        if (status != FLY_OK) {
            for (int turn = 0; turn < 200; turn++) { /* what was begun ends on the loop */
                uv_run(&room.loop, UV_RUN_NOWAIT);
            }
            memcpy(plan->text, room.error.text, sizeof plan->text);
            if (status == FLY_DATA_LOSS) {
                plan->refused_folder++;
                return false;
            }
            continue;
        }
        room_lead_wait(&room);
        uint64_t stop = opens == 0 && until > 100 ? 100 : until;
        while (room.fails == 0 && room.toy.count < stop) {
            uint64_t from = room.toy.count;
            uint64_t wave = 1 + from % 9;
            for (uint64_t i = 1; i <= wave && from + i <= stop; i++) {
                (void)room_append(&room, from + i);
            }
            room_run_until(&room, from + wave < stop ? from + wave : stop);
        }
        plan->fails += room.fails;
        if (room.fails > 0) {
            memcpy(plan->text, room.failure.text, sizeof plan->text);
        }
        room_close(&room);
        if (room.fails == 0 && room.toy.count >= until) {
            return true;
        }
    }
    return false;
}

static int life_in_child(const char *dir)
{
    alarm(CHILD_SECONDS);
    life_init(dir);
    atomic_store(&plan->armed, 1);
    bool done = live(LIFE_ENTRIES);
    atomic_store(&plan->armed, 0);
    return done ? 0 : 1;
}

static void check_prefix(const char *what, unsigned at)
{
    uint64_t count = room.toy.count;
    if (count < plan->acknowledged || count > LIFE_ENTRIES + 40 ||
        (count > 0 && room.toy.hash != prefix[count].hash)) {
        fail_msg("%s at step %u: %" PRIu64 " entries after %" PRIu64 " were acknowledged", what, at,
                 count, plan->acknowledged);
    }
}

/* One child with a fault; then the folder must open, hold what was acknowledged, and go on. */
static int life_with_fault(enum fault fault, int error, unsigned at, unsigned length,
                           const char *what)
{
    char dir[300];
    int status = 0;
    snprintf(dir, sizeof dir, "%s/journal-fault-%d", FLY_BINARY, (int)getpid());
    room_wipe(dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    memset(plan, 0, sizeof *plan);
    plan->fault = fault;
    plan->error = error;
    plan->at = at;
    plan->length = length;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct sigaction plain = {.sa_handler = SIG_DFL}; /* cmocka's would go on in here */
        (void)sigaction(SIGABRT, &plain, NULL);
        (void)sigaction(SIGSEGV, &plain, NULL);
        if (!plan_loud && (freopen("/dev/null", "w", stderr) == NULL ||
                           freopen("/dev/null", "w", stdout) == NULL)) {
            _exit(4);
        }
        _exit(life_in_child(dir));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    atomic_store(&plan->armed, 0);
    plan->fault = FAULT_NONE;

    struct journal_report report;
    struct fly_error why;
    if (journal_check(dir, NULL, NULL, &report, &why) != FLY_OK) {
        fail_msg("%s at step %u: the folder is refused: %s (child: %s)", what, at, why.text,
                 plan->text);
    }
    uint64_t acknowledged = plan->acknowledged;
    life_init(dir);
    if (room_open(&room) != FLY_OK) {
        fail_msg("%s at step %u: %s", what, at, room.error.text);
    }
    room_lead_wait(&room);
    plan->acknowledged = acknowledged;
    check_prefix(what, at);
    uint64_t from = room.toy.count;
    for (uint64_t i = 1; i <= 20; i++) {
        assert_int_equal(room_append(&room, from + i), FLY_OK);
    }
    room_run_until(&room, from + 20);
    check_prefix(what, at);
    room_fini(&room);
    return status;
}

/* All steps with FLY_LONG=1, else a spread of them. */
static unsigned stride(unsigned steps, unsigned runs)
{
    const char *value = getenv("FLY_LONG");
    return value != NULL && *value == '1' ? 1 : steps / runs + 1;
}

static unsigned steps_of_a_life(void)
{
    int status = life_with_fault(FAULT_NONE, 0, 0, 0, "no fault");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(plan->fails, 0);
    assert_int_equal(plan->opens, 2 + 1 - 1);
    return plan->steps;
}

static void kill_at_steps(enum fault fault, const char *what)
{
    unsigned steps = steps_of_a_life(), killed = 0, runs = 0;
    for (unsigned at = 1; at <= steps; at += stride(steps, 14)) {
        int status = life_with_fault(fault, 0, at, 1, what);
        killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        runs++;
    }
    print_message("%s: %u steps, %u runs, %u killed\n", what, steps, runs, killed);
    assert_true(killed * 10 >= runs * 9); /* the count of steps varies a little with the threads */
}

static void test_kill_before_each_step(void **state)
{
    (void)state;
    kill_at_steps(FAULT_KILL_BEFORE, "killed before");
}

static void test_kill_after_each_step(void **state)
{
    (void)state;
    kill_at_steps(FAULT_KILL_AFTER, "killed after");
}

static void fail_at_steps(int error, unsigned length, const char *what)
{
    unsigned steps = steps_of_a_life(), failed = 0, runs = 0, stopped = 0;
    for (unsigned at = 1; at <= steps; at += stride(steps, 14)) {
        int status = life_with_fault(FAULT_ERROR, error, at, length, what);
        if (WIFSIGNALED(status)) {
            fail_msg("%s at step %u: signal %d (%s)", what, at, WTERMSIG(status), plan->text);
        }
        failed += plan->fails > 0 || plan->opens > 3;
        stopped += WEXITSTATUS(status) != 0;
        runs++;
    }
    print_message("%s: %u steps, %u runs, %u failed and were reopened, %u did not end\n", what,
                  steps, runs, failed, stopped);
    assert_int_equal(stopped, 0);
    assert_true(failed > 0);
}

static void test_one_io_error_at_each_step(void **state)
{
    (void)state;
    fail_at_steps(EIO, 1, "EIO");
}

static void test_five_io_errors_at_each_step(void **state)
{
    (void)state;
    fail_at_steps(EIO, 5, "5 x EIO");
}

static void test_disk_full_for_a_while_at_each_step(void **state)
{
    (void)state;
    fail_at_steps(ENOSPC, 12, "12 x ENOSPC");
}

static void test_submission_refused(void **state)
{
    (void)state;
    /* the 3rd write goes straight from an append to the kernel: libraft never answers it, and its
     * close never ends; the journal leaves it behind */
    int status = life_with_fault(FAULT_SUBMIT, ENOMEM, 3, 1, "submission refused");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(plan->fails, 1);
}

static bool run(const char *const *argv)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) != NULL) {
            execvp(argv[0], (char *const *)(uintptr_t)argv);
        }
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Writes zeros until `leave` bytes are free. */
static bool disk_fill(const char *dir, const char *file, uint64_t leave)
{
    static const uint8_t zeros[4096];
    struct statvfs info;
    int fd = open(file, O_WRONLY | O_CREAT, 0600);
    bool good = fd >= 0;
    while (good && statvfs(dir, &info) == 0 && info.f_bavail * info.f_frsize > leave) {
        good = write(fd, zeros, sizeof zeros) > 0;
    }
    close(fd);
    return good;
}

/* A file system of 8 MB, filled up to 200 KB. False: none can be mounted here. */
static bool small_disk_mount(const char *dir, const char *slice, const char *fill)
{
    char image[400];
    snprintf(image, sizeof image, "%s.img", dir);
    int fd = open(image, O_RDWR | O_CREAT, 0600);
    bool made = mkdir(dir, 0700) == 0 && fd >= 0 && ftruncate(fd, 8 << 20) == 0;
    close(fd);
    const char *const format[] = {"mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image, NULL};
    const char *const loop[] = {"mount", "-o", "loop", image, dir, NULL};
    const char *const memory[] = {"mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", dir, NULL};
    return made && ((run(format) && run(loop)) || run(memory)) && mkdir(slice, 0700) == 0 &&
           disk_fill(dir, fill, 200 * 1024);
}

static void small_disk_umount(const char *dir)
{
    char image[400];
    const char *const off[] = {"umount", dir, NULL};
    (void)run(off);
    snprintf(image, sizeof image, "%s.img", dir);
    (void)unlink(image);
    room_wipe(dir);
}

static char small_dir[300];

static int small_disk_teardown(void **state)
{
    (void)state;
    small_disk_umount(small_dir);
    return 0;
}

static void test_a_really_full_disk(void **state)
{
    (void)state;
    const char *dir = small_dir;
    char slice[400], fill[400];
    memset(plan, 0, sizeof *plan);
    snprintf(small_dir, sizeof small_dir, "%s/journal-small-%d", FLY_BINARY, (int)getpid());
    snprintf(slice, sizeof slice, "%s/slice", dir);
    snprintf(fill, sizeof fill, "%s/fill", dir);
    if (geteuid() != 0 || !small_disk_mount(dir, slice, fill)) {
        print_message("no small file system can be mounted here\n");
        skip();
    }
    life_init(slice);
    room.config.snapshot_bytes = 64 * 1024 * 1024; /* which would make room */
    assert_int_equal(room_open(&room), FLY_OK);
    room_lead_wait(&room);
    uint64_t number = 0;
    while (room.fails == 0 && number < 20000) {
        for (int i = 0; i < 8; i++) {
            number += room_append(&room, number + 1) == FLY_OK;
        }
        room_run_until(&room, number);
    }
    assert_int_equal(room.fails, 1);
    assert_int_equal(room.failure.status, FLY_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(room.failure.text, "disk full"));
    assert_int_equal(room_append(&room, 1), FLY_UNAVAILABLE);
    uint64_t acknowledged = plan->acknowledged;
    room_close(&room);
    for (int i = 0; i < 5; i++) { /* still full: named, and nothing is lost by trying */
        assert_int_equal(room_open(&room), FLY_RESOURCE_EXHAUSTED);
        room_drain(&room);
    }
    assert_int_equal(unlink(fill), 0);
    room.fails = 0;
    assert_int_equal(room_open(&room), FLY_OK);
    room_lead_wait(&room);
    assert_true(room.toy.count >= acknowledged && acknowledged > 100);
    number = room.toy.count;
    for (uint64_t i = 1; i <= 300; i++) {
        assert_int_equal(room_append(&room, number + i), FLY_OK);
    }
    room_run_until(&room, number + 300);
    assert_int_equal(room.toy.count, number + 300);
    room_fini(&room);
}

static int setup(void **state)
{
    (void)state;
    plan = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FLY_CHECK(plan != MAP_FAILED);
    prefix_make();
    return 0;
}

/* `test_journal_disk error|before|after ERRNO STEP LENGTH`: one run, for whoever has to look at it.
 */
static int one_run(char **argv)
{
    plan_loud = true;
    setup(NULL);
    enum fault fault = strcmp(argv[1], "error") == 0    ? FAULT_ERROR
                       : strcmp(argv[1], "before") == 0 ? FAULT_KILL_BEFORE
                                                        : FAULT_KILL_AFTER;
    int status =
        life_with_fault(fault, (int)strtol(argv[2], NULL, 10), (unsigned)strtoul(argv[3], NULL, 10),
                        (unsigned)strtoul(argv[4], NULL, 10), argv[1]);
    printf("status %x opens %u fails %u acknowledged %" PRIu64 " last error: %s\n",
           (unsigned)status, plan->opens, plan->fails, plan->acknowledged, plan->text);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5) {
        return one_run(argv);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill_before_each_step),
        cmocka_unit_test(test_kill_after_each_step),
        cmocka_unit_test(test_submission_refused),
        cmocka_unit_test(test_one_io_error_at_each_step),
        cmocka_unit_test(test_five_io_errors_at_each_step),
        cmocka_unit_test(test_disk_full_for_a_while_at_each_step),
        cmocka_unit_test_teardown(test_a_really_full_disk, small_disk_teardown),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
