#include "proto/rpc/timer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/poller.h"

static struct {
    pthread_mutex_t lifecycle; /* held while the thread is made or joined; guards these */
    pthread_cond_t settled;
    unsigned holders;
    unsigned put_off; /* of the holders */
    bool running;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t fired;
    struct rpc_timer **heap; /* heap[1 … count], earliest first */
    size_t count;
    size_t max;
    struct rpc_timer *firing;
    struct rpc_job *jobs;
    struct rpc_job **jobs_end;
    bool stopping;
    int fd;
    pthread_t thread;
} timers = {.lifecycle = PTHREAD_MUTEX_INITIALIZER,
            .settled = PTHREAD_COND_INITIALIZER,
            .lock = PTHREAD_MUTEX_INITIALIZER,
            .fired = PTHREAD_COND_INITIALIZER,
            .jobs_end = &timers.jobs};

static void place(struct rpc_timer *timer, size_t at)
{
    timers.heap[at] = timer;
    timer->place = at;
}

static void sift_up(struct rpc_timer *timer, size_t at)
{
    while (at > 1 && timers.heap[at / 2]->due_ms > timer->due_ms) {
        place(timers.heap[at / 2], at);
        at /= 2;
    }
    place(timer, at);
}

static void sift_down(struct rpc_timer *timer, size_t at)
{
    for (;;) {
        size_t child = 2 * at;
        if (child < timers.count && timers.heap[child + 1]->due_ms < timers.heap[child]->due_ms) {
            child++;
        }
        if (child > timers.count || timers.heap[child]->due_ms >= timer->due_ms) {
            break;
        }
        place(timers.heap[child], at);
        at = child;
    }
    place(timer, at);
}

static void heap_take(struct rpc_timer *timer)
{
    size_t at = timer->place;
    struct rpc_timer *last = timers.heap[timers.count--];

    timer->place = 0;
    if (last != timer) {
        if (at > 1 && timers.heap[at / 2]->due_ms > last->due_ms) {
            sift_up(last, at);
        } else {
            sift_down(last, at);
        }
    }
}

static void heap_add(struct rpc_timer *timer)
{
    if (timers.count + 1 >= timers.max) {
        timers.max = timers.max == 0 ? 64 : 2 * timers.max;
        timers.heap = realloc(timers.heap, timers.max * sizeof *timers.heap);
        FLY_CHECK(timers.heap != NULL);
    }
    sift_up(timer, ++timers.count);
}

/* Wakes the thread at the earliest time due, or at once for jobs and for stopping. */
static void wake_thread(void)
{
    struct itimerspec spec = {0};
    int64_t due_ms = timers.count > 0 ? timers.heap[1]->due_ms : INT64_MAX;

    if (timers.jobs != NULL || timers.stopping) {
        due_ms = 0;
    }
    if (due_ms != INT64_MAX) {
        spec.it_value.tv_sec = due_ms / 1000;
        /* never all zero, which would disarm it */
        spec.it_value.tv_nsec = due_ms <= 0 ? 1 : due_ms % 1000 * 1000000 + 1;
    }
    FLY_CHECK(timerfd_settime(timers.fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0);
}

static void run_jobs(void)
{
    while (timers.jobs != NULL) {
        struct rpc_job *job = timers.jobs;
        timers.jobs = NULL;
        timers.jobs_end = &timers.jobs;
        (void)pthread_mutex_unlock(&timers.lock);
        while (job != NULL) {
            struct rpc_job *next = job->next;
            job->run(job);
            job = next;
        }
        (void)pthread_mutex_lock(&timers.lock);
    }
}

static void run_due(void)
{
    int64_t now_ms = fly_clock_boot_ms();

    while (timers.count > 0 && timers.heap[1]->due_ms <= now_ms) {
        struct rpc_timer *timer = timers.heap[1];
        heap_take(timer);
        timers.firing = timer;
        void (*fire)(void *user) = timer->fire;
        void *user = timer->user;
        (void)pthread_mutex_unlock(&timers.lock);
        fire(user); /* may free the timer */
        (void)pthread_mutex_lock(&timers.lock);
        timers.firing = NULL;
        (void)pthread_cond_broadcast(&timers.fired);
    }
}

static void *run_thread(void *unused)
{
    uint64_t expirations = 0;

    (void)unused;
    (void)pthread_mutex_lock(&timers.lock);
    while (!timers.stopping || timers.jobs != NULL) {
        run_jobs();
        run_due();
        wake_thread();
        if (timers.jobs == NULL && !timers.stopping) {
            (void)pthread_mutex_unlock(&timers.lock);
            while (read(timers.fd, &expirations, sizeof expirations) < 0 && errno == EINTR) {
            }
            (void)pthread_mutex_lock(&timers.lock);
        }
    }
    (void)pthread_mutex_unlock(&timers.lock);
    return NULL;
}

static enum fly_status start_thread(struct fly_error *error)
{
    timers.fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
    if (timers.fd < 0) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "timerfd: %s", strerror(errno));
    }
    timers.stopping = false;
    int failure = pthread_create(&timers.thread, NULL, run_thread, NULL);
    if (failure != 0) {
        (void)close(timers.fd);
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "thread: %s", strerror(failure));
    }
    (void)pthread_setname_np(timers.thread, "rpc:timer");
    timers.running = true;
    return FLY_OK;
}

static void stop_thread(void)
{
    (void)pthread_mutex_lock(&timers.lock);
    timers.stopping = true;
    wake_thread();
    (void)pthread_mutex_unlock(&timers.lock);
    (void)pthread_join(timers.thread, NULL);
    FLY_CHECK(timers.count == 0);
    poller_stop(); /* whoever has a socket holds the timer: none is left */
    (void)close(timers.fd);
    free(timers.heap);
    timers.heap = NULL;
    timers.max = 0;
    timers.running = false;
}

enum fly_status rpc_timer_hold(struct fly_error *error)
{
    enum fly_status status = FLY_OK;

    (void)pthread_mutex_lock(&timers.lifecycle);
    if (!timers.running) {
        status = start_thread(error);
    }
    timers.holders += status == FLY_OK ? 1 : 0;
    (void)pthread_mutex_unlock(&timers.lifecycle);
    return status;
}

void rpc_timer_release(void)
{
    (void)pthread_mutex_lock(&timers.lifecycle);
    FLY_CHECK(timers.holders > 0);
    if (--timers.holders == 0) {
        stop_thread();
    }
    (void)pthread_mutex_unlock(&timers.lifecycle);
}

void rpc_timer_put_off(void)
{
    (void)pthread_mutex_lock(&timers.lifecycle);
    timers.put_off++;
    FLY_CHECK(timers.put_off <= timers.holders);
    (void)pthread_mutex_unlock(&timers.lifecycle);
}

void rpc_timer_release_here(void)
{
    (void)pthread_mutex_lock(&timers.lifecycle);
    FLY_CHECK(timers.put_off > 0);
    timers.put_off--;
    timers.holders--;
    (void)pthread_cond_broadcast(&timers.settled);
    (void)pthread_mutex_unlock(&timers.lifecycle);
}

void rpc_timer_settle(void)
{
    (void)pthread_mutex_lock(&timers.lifecycle);
    while (timers.put_off > 0) {
        (void)pthread_cond_wait(&timers.settled, &timers.lifecycle);
    }
    if (timers.holders == 0 && timers.running) {
        stop_thread();
    }
    (void)pthread_mutex_unlock(&timers.lifecycle);
}

void rpc_timer_init(struct rpc_timer *timer, void (*fire)(void *user), void *user)
{
    *timer = (struct rpc_timer){.fire = fire, .user = user};
}

bool rpc_timer_arm(struct rpc_timer *timer, int64_t due_ms)
{
    (void)pthread_mutex_lock(&timers.lock);
    bool armed = timer->place != 0;
    if (!armed || due_ms < timer->due_ms) {
        timer->due_ms = due_ms;
        if (armed) {
            sift_up(timer, timer->place);
        } else {
            heap_add(timer);
        }
        if (timer->place == 1) {
            wake_thread();
        }
    }
    (void)pthread_mutex_unlock(&timers.lock);
    return !armed;
}

bool rpc_timer_cancel(struct rpc_timer *timer)
{
    (void)pthread_mutex_lock(&timers.lock);
    bool armed = timer->place != 0;
    if (armed) {
        heap_take(timer);
    }
    (void)pthread_mutex_unlock(&timers.lock);
    return armed;
}

void rpc_timer_stop(struct rpc_timer *timer)
{
    (void)pthread_mutex_lock(&timers.lock);
    for (;;) {
        if (timer->place != 0) {
            heap_take(timer);
        }
        if (timers.firing != timer) {
            break;
        }
        (void)pthread_cond_wait(&timers.fired, &timers.lock);
    }
    (void)pthread_mutex_unlock(&timers.lock);
}

void rpc_job_post(struct rpc_job *job)
{
    (void)pthread_mutex_lock(&timers.lock);
    job->next = NULL;
    *timers.jobs_end = job;
    timers.jobs_end = &job->next;
    wake_thread();
    (void)pthread_mutex_unlock(&timers.lock);
}
