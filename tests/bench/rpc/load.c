#include "tests/bench/rpc/load.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "tests/bench/rpc/histogram.h"

enum { SAMPLED = 8 /* of many chains every 8th looks at the clock */, SECOND_NS = 1000000000 };

struct caller {
    _Alignas(64) atomic_uint_fast64_t calls;
    atomic_uint_fast64_t failed;
    int64_t begun_ns; /* OPEN: when it was due */
    bool sampled;
    unsigned next_free;
    pthread_t thread;
    struct histogram latency; /* while `measuring` */
};

/* What two looks at the clocks differ in. */
struct look {
    int64_t wall_ns;
    int64_t client_ns;
    int64_t server_ns;
    uint64_t calls;
    uint64_t failed;
};

static struct {
    struct load_options options;
    const struct load_backend *backend;
    struct caller *callers;
    atomic_bool over;
    atomic_bool measuring;
    atomic_uint running; /* threads and chains that have not ended */
    atomic_uint_fast64_t started;
    pthread_mutex_t lock; /* OPEN: the callers that are free */
    unsigned free_first;
    uint64_t late;    /* OPEN: due while none was free */
    double pacing_us; /* OPEN: of a turn that starts nothing: the bench's cost, not the system's */
} load = {.lock = PTHREAD_MUTEX_INITIALIZER};

void load_die(const char *format, ...)
{
    va_list args;

    (void)fputs("bench: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    if (clock_gettime(clock, &now) != 0) {
        load_die("a clock cannot be read");
    }
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

static int64_t server_ns(void)
{
    clockid_t clock;

    if (load.options.server == 0) {
        return 0;
    }
    if (clock_getcpuclockid(load.options.server, &clock) != 0) {
        load_die("no process %d", (int)load.options.server);
    }
    return clock_ns(clock);
}

static struct look look(void)
{
    struct look l = {.wall_ns = clock_ns(CLOCK_MONOTONIC),
                     .client_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID),
                     .server_ns = server_ns()};

    for (unsigned i = 0; i < load.options.callers; i++) {
        l.calls += atomic_load_explicit(&load.callers[i].calls, memory_order_relaxed);
        l.failed += atomic_load_explicit(&load.callers[i].failed, memory_order_relaxed);
    }
    return l;
}

static void count(atomic_uint_fast64_t *counter, unsigned more)
{
    /* one thread at a time writes it */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

static void measured(struct caller *c, int64_t since_ns, int64_t now_ns)
{
    if (atomic_load_explicit(&load.measuring, memory_order_relaxed)) {
        histogram_add(&c->latency, now_ns > since_ns ? (uint64_t)(now_ns - since_ns) : 0);
    }
}

bool load_over(void)
{
    return atomic_load_explicit(&load.over, memory_order_relaxed);
}

/* Whether one more call is to be made. */
static bool more(unsigned calls)
{
    if (load.options.calls > 0) {
        return atomic_fetch_add(&load.started, calls) < load.options.calls;
    }
    return !load_over();
}

/* ---- threads ---- */

static void *call_in_turn(void *user)
{
    struct caller *c = user;
    unsigned index = (unsigned)(c - load.callers);
    int64_t now = clock_ns(CLOCK_MONOTONIC);

    while (more(1)) {
        unsigned calls = load.backend->call(index);
        int64_t then = now;
        now = clock_ns(CLOCK_MONOTONIC);
        if (calls == 0) {
            count(&c->failed, 1);
            continue;
        }
        measured(c, then, now);
        count(&c->calls, calls);
    }
    (void)atomic_fetch_sub(&load.running, 1);
    return NULL;
}

static void *read_stream(void *user)
{
    struct caller *c = user;

    if (!load.backend->stream((unsigned)(c - load.callers))) {
        count(&c->failed, 1);
    }
    (void)atomic_fetch_sub(&load.running, 1);
    return NULL;
}

void load_took(unsigned caller, unsigned messages)
{
    count(&load.callers[caller].calls, messages);
}

static void begin_threads(void *(*body)(void *))
{
    pthread_attr_t attributes;

    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, 256 * 1024);
    atomic_store(&load.running, load.options.callers);
    for (unsigned i = 0; i < load.options.callers; i++) {
        if (pthread_create(&load.callers[i].thread, &attributes, body, &load.callers[i]) != 0) {
            load_die("no thread");
        }
    }
}

/* ---- chains ---- */

static void start_next(unsigned index)
{
    struct caller *c = &load.callers[index];

    while (more(1)) {
        if (load.backend->start(index)) {
            return;
        }
        count(&c->failed, 1);
    }
    (void)atomic_fetch_sub(&load.running, 1);
}

static void begin_chains(void)
{
    atomic_store(&load.running, load.options.callers);
    for (unsigned i = 0; i < load.options.callers; i++) {
        load.callers[i].sampled = load.options.callers < SAMPLED * 2 || i % SAMPLED == 0;
        load.callers[i].begun_ns = clock_ns(CLOCK_MONOTONIC);
        start_next(i);
    }
}

static void free_caller(unsigned index)
{
    (void)pthread_mutex_lock(&load.lock);
    load.callers[index].next_free = load.free_first;
    load.free_first = index;
    (void)pthread_mutex_unlock(&load.lock);
    (void)atomic_fetch_sub(&load.running, 1);
}

void load_ended(unsigned index, bool ok)
{
    struct caller *c = &load.callers[index];

    if (c->sampled) {
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        measured(c, c->begun_ns, now);
        c->begun_ns = now;
    }
    count(ok ? &c->calls : &c->failed, 1);
    if (load.options.mode == LOAD_OPEN) {
        free_caller(index);
    } else {
        start_next(index);
    }
}

/* ---- open loop ---- */

static unsigned take_caller(void)
{
    (void)pthread_mutex_lock(&load.lock);
    unsigned index = load.free_first;
    if (index < load.options.callers) {
        load.free_first = load.callers[index].next_free;
    }
    (void)pthread_mutex_unlock(&load.lock);
    return index;
}

static void sleep_until(int64_t due_ns)
{
    struct timespec due = {.tv_sec = due_ns / SECOND_NS, .tv_nsec = due_ns % SECOND_NS};

    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

/* A call that finds every caller busy stays due: its latency counts from when it should have begun.
 */
static void *pace(void *user)
{
    int64_t step_ns = SECOND_NS / load.options.rate;
    int64_t due_ns = clock_ns(CLOCK_MONOTONIC) + step_ns;

    (void)user;
    (void)prctl(PR_SET_TIMERSLACK, 1UL);
    while (!load_over()) {
        if (clock_ns(CLOCK_MONOTONIC) < due_ns) {
            sleep_until(due_ns);
        }
        unsigned index = take_caller();
        if (index >= load.options.callers) {
            load.late++;
            sleep_until(clock_ns(CLOCK_MONOTONIC) + 20000);
            continue;
        }
        struct caller *c = &load.callers[index];
        c->begun_ns = due_ns;
        c->sampled = true;
        due_ns += step_ns;
        (void)atomic_fetch_add(&load.running, 1);
        if (!load.backend->start(index)) { /* nobody else has this caller: it may be counted */
            count(&c->failed, 1);
            free_caller(index);
        }
    }
    return NULL;
}

static void *pace_nothing(void *user)
{
    enum { TURNS = 4000 };
    int64_t step_ns = SECOND_NS / load.options.rate;
    int64_t due_ns = clock_ns(CLOCK_MONOTONIC);
    int64_t begin_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    (void)user;
    (void)prctl(PR_SET_TIMERSLACK, 1UL);
    for (unsigned i = 0; i < TURNS; i++) {
        due_ns += step_ns;
        if (clock_ns(CLOCK_MONOTONIC) < due_ns) {
            sleep_until(due_ns);
        }
        unsigned index = take_caller();
        if (index < load.options.callers) {
            (void)atomic_fetch_add(&load.running, 1);
            free_caller(index);
        }
    }
    load.pacing_us = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns) / 1000.0 / TURNS;
    return NULL;
}

static void begin_open(pthread_t *pacer)
{
    for (unsigned i = 0; i < load.options.callers; i++) {
        load.callers[i].next_free = i + 1;
    }
    if (pthread_create(pacer, NULL, pace_nothing, NULL) != 0 || pthread_join(*pacer, NULL) != 0 ||
        pthread_create(pacer, NULL, pace, NULL) != 0) {
        load_die("no thread");
    }
}

/* ---- the run ---- */

static void sleep_ms(unsigned ms)
{
    sleep_until(clock_ns(CLOCK_MONOTONIC) + (int64_t)ms * 1000000);
}

static void await_end(void)
{
    int64_t patience_ns = clock_ns(CLOCK_MONOTONIC) + 30LL * SECOND_NS;

    while (atomic_load(&load.running) > 0) {
        sleep_ms(1);
        if (load.options.calls == 0 && clock_ns(CLOCK_MONOTONIC) > patience_ns) {
            load_die("calls that never ended");
        }
    }
}

static void print(const struct look *a, const struct look *b)
{
    static struct histogram all;
    uint64_t calls = b->calls - a->calls;
    double per = calls > 0 ? (double)calls * 1000.0 : 1;
    double wall_s = (double)(b->wall_ns - a->wall_ns) / SECOND_NS;
    double client_us = (double)(b->client_ns - a->client_ns) / per;
    double server_us = (double)(b->server_ns - a->server_ns) / per;

    for (unsigned i = 0; i < load.options.callers; i++) {
        for (unsigned k = 0; k < HISTOGRAM_SIZE; k++) {
            all.count[k] += load.callers[i].latency.count[k];
        }
    }
    (void)printf("{%s%s\"variant\": \"%s\", \"calls\": %llu, \"failed\": %llu, \"late\": %llu, "
                 "\"per_s\": %.0f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, "
                 "\"cpu_us\": %.3f, \"client_cpu_us\": %.3f, \"server_cpu_us\": %.3f, "
                 "\"unpaced_cpu_us\": %.3f}\n",
                 load.options.tag, load.options.tag[0] == '\0' ? "" : ", ", load.options.variant,
                 (unsigned long long)calls, (unsigned long long)(b->failed - a->failed),
                 (unsigned long long)load.late, (double)calls / wall_s,
                 histogram_quantile_ns(&all, 0.5) / 1000.0,
                 histogram_quantile_ns(&all, 0.99) / 1000.0,
                 histogram_quantile_ns(&all, 0.999) / 1000.0, client_us + server_us, client_us,
                 server_us, client_us + server_us - load.pacing_us);
    (void)fflush(stdout);
}

void load_run(const struct load_options *options, const struct load_backend *backend)
{
    pthread_t pacer;
    const struct load_options *o = &load.options;

    load.options = *options;
    load.backend = backend;
    load.callers = aligned_alloc(64, options->callers * sizeof load.callers[0]);
    if (load.callers == NULL) {
        load_die("no memory");
    }
    memset(load.callers, 0, options->callers * sizeof load.callers[0]);
    load.backend->open(o);
    struct look a = look();
    atomic_store(&load.measuring, o->calls > 0);
    if (o->mode == LOAD_OPEN) {
        begin_open(&pacer);
    } else if (o->mode == LOAD_CHAINS) {
        begin_chains();
    } else {
        begin_threads(o->mode == LOAD_STREAM ? read_stream : call_in_turn);
    }
    if (o->calls > 0) {
        await_end();
    } else {
        sleep_ms(o->warm_ms);
        atomic_store(&load.measuring, true);
        a = look();
        sleep_ms(o->ms);
    }
    struct look b = look();
    atomic_store(&load.measuring, false);
    atomic_store(&load.over, true);
    if (o->mode == LOAD_OPEN) {
        (void)pthread_join(pacer, NULL);
    }
    await_end();
    print(&a, &b);
    load.backend->close();
}
