/*
 * journal_fault - a disk that fails on demand, for test_journal_disk.c only: it defines the calls
 * through which libraft, libuv and the journal change the disk. Each is a step; at a chosen one the
 * process is killed or the call fails.
 */
#ifndef FLY_TESTS_JOURNAL_FAULT_H
#define FLY_TESTS_JOURNAL_FAULT_H

#include "proto/base/check.h"
#include "proto/base/status.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum fault { FAULT_NONE, FAULT_KILL_BEFORE, FAULT_KILL_AFTER, FAULT_ERROR, FAULT_SUBMIT };

/* Shared with the children. */
struct plan {
    atomic_uint armed, steps, submits;
    atomic_bool event_fails;
    enum fault fault;
    unsigned at, length; /* first step that fails, how many */
    int error;
    /* what the child got to */
    uint64_t acknowledged, hash;
    unsigned opens, fails, refused_folder;
    char text[FLY_ERROR_TEXT_SIZE];
};

static struct plan *plan;
static bool plan_loud;

/* The libc function behind ours, into the function pointer at `pointer`. */
static void real_find(void *pointer, const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    FLY_CHECK(symbol != NULL);
    memcpy(pointer, &symbol, sizeof symbol);
}

#define REAL(name)                                                                                 \
    if (real == NULL) {                                                                            \
        real_find(&real, name);                                                                    \
    }

/* Counts a step. True: it fails, with errno set. */
static bool step_begin(const char *call, unsigned *number)
{
    *number = 0;
    if (plan == NULL || !atomic_load(&plan->armed)) {
        return false;
    }
    *number = atomic_fetch_add(&plan->steps, 1) + 1;
    if (plan_loud && *number + 3 >= plan->at && *number <= plan->at + plan->length + 3) {
        fprintf(stderr, "step %u: %s\n", *number, call);
    }
    if (plan->fault == FAULT_KILL_BEFORE && *number == plan->at) {
        kill(getpid(), SIGKILL);
    }
    if (plan->fault == FAULT_ERROR && *number >= plan->at && *number < plan->at + plan->length) {
        errno = plan->error;
        return true;
    }
    return false;
}

static void step_end(unsigned number)
{
    if (number != 0 && plan->fault == FAULT_KILL_AFTER && number == plan->at) {
        kill(getpid(), SIGKILL);
    }
}

#define STEP(result_type, failure, call)                                                           \
    unsigned number_;                                                                              \
    if (step_begin(__func__, &number_)) {                                                          \
        return (failure);                                                                          \
    }                                                                                              \
    result_type result_ = (call);                                                                  \
    step_end(number_);                                                                             \
    return result_

int fsync(int fd)
{
    (void)fd;
    STEP(int, -1, 0);
}

int fdatasync(int fd)
{
    (void)fd;
    STEP(int, -1, 0);
}

int ftruncate(int fd, off_t size)
{
    static int (*real)(int, off_t);
    REAL("ftruncate")
    STEP(int, -1, real(fd, size));
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    REAL("pwrite")
    STEP(ssize_t, -1, real(fd, data, size, offset));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    return pwrite(fd, data, size, offset);
}

int rename(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);
    REAL("rename")
    STEP(int, -1, real(from, to));
}

int unlink(const char *path)
{
    static int (*real)(const char *);
    REAL("unlink")
    STEP(int, -1, real(path));
}

int posix_fallocate(int fd, off_t offset, off_t size)
{
    static int (*real)(int, off_t, off_t);
    REAL("posix_fallocate")
    STEP(int, plan->error, real(fd, offset, size));
}

/* libraft submits and reaps its writes through syscall(2). A write that fails does so with its
 * completion; FAULT_SUBMIT refuses the submission itself, which Linux hardly ever does. */
long syscall(long number, ...)
{
    static long (*real)(long, ...);
    va_list args;
    long a[6];
    REAL("syscall")
    va_start(args, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(args, long);
    }
    va_end(args);
    unsigned step = 0;
    if (number == SYS_io_submit && plan != NULL && plan->fault == FAULT_SUBMIT &&
        atomic_load(&plan->armed) && atomic_fetch_add(&plan->submits, 1) + 1 == plan->at) {
        errno = plan->error;
        return -1;
    }
    if (number == SYS_io_submit && step_begin("io_submit", &step)) {
        atomic_store(&plan->event_fails, true);
    }
    if (number == SYS_pwritev && step_begin("pwritev", &step)) {
        return -1;
    }
    long result = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (number == SYS_io_getevents && plan != NULL && result > 0 &&
        (step_begin("io_getevents", &step) || atomic_exchange(&plan->event_fails, false))) {
        struct io_event *events = (struct io_event *)(uintptr_t)a[3];
        for (long i = 0; i < result; i++) {
            events[i].res = -plan->error;
        }
    }
    step_end(step);
    return result;
}

#endif
