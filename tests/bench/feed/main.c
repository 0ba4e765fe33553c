/*
 * bench_feed - how much one feed delivers to a hundred subscribers, and what it costs the publisher
 * (acceptance 5 of issue 5). Prints a JSON line for each round, and the verdicts.
 *
 *   bench_feed [--subscribers N] [--processes N] [--events N] [--ms N] [--rounds N]
 *
 * Each round measures in turn: the feed as fast as the slowest subscriber takes it; its control,
 * nng's PUB and SUB with the same bytes, neither sealed nor read; the feed at a fixed rate with one
 * and with all subscribers, for the publisher's CPU; and a process that is stopped, so that nng
 * drops: every loss must be noticed and repaired.
 */
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "tests/bench/feed/feed.h"

enum { ROUNDS_MAX = 32, BAR_PER_S = 2000000, STOP_AFTER_MS = 500 };

struct result {
    double seconds;
    double deliveries_per_s;
    double publisher_cpu; /* cores */
    double subscriber_cpu;
    double publisher_us; /* of CPU, a message */
    uint64_t messages;
    uint64_t published;
    uint64_t missing; /* events that somebody had not in the end */
    uint64_t gaps;
    uint64_t replayed;
    uint64_t undetected;
};

int64_t bench_clock_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int64_t bench_cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void bench_sleep_us(long us)
{
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

    (void)nanosleep(&t, NULL);
}

void bench_event(uint64_t seq, struct event *out)
{
    memset(out, 0, sizeof *out);
    out->slice = BENCH_SLICE;
    out->incarnation = BENCH_INCARNATION;
    out->seq = seq;
    out->type = seq % 2 == 0 ? EVENT_VM_DESTROYED : EVENT_VM_STARTED;
    out->state = seq % 2 == 0 ? 6 : 2;
    out->time_ms = 1700000000000 + (int64_t)seq;
    out->vm = (uint64_t)BENCH_SLICE << 36 | seq / 2;
    (void)snprintf(out->name, sizeof out->name, "vm-%u", (unsigned)(seq / 2 % 100000));
    (void)snprintf(out->machine, sizeof out->machine, "sin-%u", (unsigned)(seq % 1000));
    memcpy(out->region, "SIN", 4);
    out->cores = 4;
    out->memory_bytes = 6000000000;
    out->machine_cores_free = (uint32_t)(seq % 1000);
    out->machine_memory_free_bytes = 128000000000;
}

static struct result sum_up(const struct shared *s)
{
    const struct round_config *c = &s->config;
    struct result r = {.messages = atomic_load(&s->messages),
                       .published = atomic_load(&s->published)};
    uint64_t applied = 0;
    int64_t cpu_ns = 0;

    for (unsigned i = 0; i < c->subscribers; i++) {
        const struct subscriber_counts *n = &s->subscribers[i];
        uint64_t last = atomic_load(&n->last);
        applied += atomic_load(&n->applied);
        r.gaps += atomic_load(&n->gaps);
        r.replayed += atomic_load(&n->replayed);
        r.undetected += atomic_load(&n->undetected);
        r.missing += last < r.published ? r.published - last : 0;
    }
    for (unsigned i = 0; i < c->processes; i++) {
        cpu_ns += atomic_load(&s->process_cpu_ns[i]);
    }
    r.seconds = (double)(atomic_load(&s->ended_ns) - atomic_load(&s->begun_ns)) / 1e9;
    r.deliveries_per_s = (double)applied / r.seconds;
    r.publisher_cpu = (double)atomic_load(&s->publisher_cpu_ns) / 1e9 / r.seconds;
    r.subscriber_cpu = (double)cpu_ns / 1e9 / r.seconds;
    r.publisher_us = (double)atomic_load(&s->publisher_cpu_ns) / 1e3 / (double)(r.messages + 1);
    return r;
}

static pid_t start(struct shared *s, int process)
{
    pid_t pid = fork();

    FLY_CHECK(pid >= 0);
    if (pid == 0 && process < 0) {
        publisher_run(s);
    } else if (pid == 0) {
        subscriber_run(s, (unsigned)process);
    }
    return pid;
}

/* One measurement in processes of its own: nng is not for forked ones. */
static struct result measure(struct round_config config, unsigned round)
{
    struct shared *s =
        mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[PROCESSES_MAX + 1];

    FLY_CHECK(s != MAP_FAILED);
    config.processes =
        config.processes < config.subscribers ? config.processes : config.subscribers;
    s->config = config;
    pids[config.processes] = start(s, -1);
    for (unsigned i = 0; i < config.processes; i++) {
        pids[i] = start(s, (int)i);
    }
    if (config.stop_ms > 0) {
        while (!atomic_load(&s->begin)) {
            bench_sleep_us(1000);
        }
        bench_sleep_us(STOP_AFTER_MS * 1000);
        (void)kill(pids[0], SIGSTOP);
        bench_sleep_us((long)config.stop_ms * 1000);
        (void)kill(pids[0], SIGCONT);
    }
    for (unsigned i = 0; i <= config.processes; i++) {
        int status = 0;
        FLY_CHECK(waitpid(pids[i], &status, 0) == pids[i]);
        FLY_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    struct result r = sum_up(s);
    (void)printf("{\"figure\": \"%s\", \"round\": %u, \"subscribers\": %u, \"processes\": %u, "
                 "\"events_a_message\": %u, \"messages_per_s\": %.0f, \"deliveries_per_s\": %.0f, "
                 "\"publisher_cores\": %.3f, \"publisher_us_a_message\": %.1f, "
                 "\"subscriber_cores\": %.3f, \"gaps\": %llu, \"replayed\": %llu, "
                 "\"missing\": %llu, \"undetected\": %llu}\n",
                 config.figure, round, config.subscribers, config.processes, config.events,
                 (double)r.messages / r.seconds, r.deliveries_per_s, r.publisher_cpu,
                 r.publisher_us, r.subscriber_cpu, (unsigned long long)r.gaps,
                 (unsigned long long)r.replayed, (unsigned long long)r.missing,
                 (unsigned long long)r.undetected);
    (void)fflush(stdout);
    (void)munmap(s, sizeof *s);
    return r;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, by_value);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static unsigned long number_of(int argc, char **argv, const char *name, unsigned long value,
                               unsigned long max)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            value = strtoul(argv[i + 1], NULL, 10);
        }
    }
    if (value == 0 || value > max) {
        (void)fprintf(stderr, "bench_feed: %s: from 1 to %lu\n", name, max);
        exit(64);
    }
    return value;
}

int main(int argc, char **argv)
{
    const unsigned rounds = (unsigned)number_of(argc, argv, "--rounds", 3, ROUNDS_MAX);
    const struct round_config feed = {
        .figure = "feed.full",
        .subscribers = (unsigned)number_of(argc, argv, "--subscribers", 100, SUBSCRIBERS_MAX),
        .processes = (unsigned)number_of(argc, argv, "--processes", 2, PROCESSES_MAX),
        .events = (unsigned)number_of(argc, argv, "--events", 1000, MESSAGE_EVENTS_MAX),
        .ms = (int64_t)number_of(argc, argv, "--ms", 3000, 600000)};
    double rates[ROUNDS_MAX];
    double ratios[ROUNDS_MAX];
    double costs[ROUNDS_MAX];
    uint64_t lost = 0;
    uint64_t noticed = 0;
    uint64_t replayed = 0;

    FLY_CHECK(sodium_init() >= 0);
    for (unsigned round = 0; round < rounds; round++) {
        struct round_config c = feed;
        struct result full = measure(c, round);
        c.figure = "control.nng_full";
        c.plain = true;
        struct result plain = measure(c, round);
        c = feed;
        c.figure = "feed.20_a_second";
        c.rate_per_s = 20;
        c.events = 500;
        struct result many = measure(c, round);
        c.figure = "feed.20_a_second_one";
        c.subscribers = 1;
        struct result one = measure(c, round);
        c = feed;
        c.figure = "feed.stopped";
        c.subscribers = feed.subscribers < 20 ? feed.subscribers : 20;
        c.processes = 2;
        c.events = 250;
        c.rate_per_s = 400;
        c.stop_ms = feed.ms / 2 < 2000 ? feed.ms / 2 : 2000;
        struct result stopped = measure(c, round);
        rates[round] = full.deliveries_per_s;
        ratios[round] = full.deliveries_per_s / plain.deliveries_per_s;
        costs[round] = many.publisher_us / one.publisher_us;
        const struct result *all[] = {&full, &many, &one, &stopped};
        for (size_t i = 0; i < FLY_ARRAY_COUNT(all); i++) {
            lost += all[i]->undetected + all[i]->missing;
            noticed += all[i]->gaps;
            replayed += all[i]->replayed;
        }
    }
    double rate = median(rates, rounds);
    bool pass = rate >= BAR_PER_S && lost == 0 && noticed > 0;
    (void)printf("{\"row\": \"5\", \"what\": \"deliveries/s to %u subscribers\", \"figure\": %.0f, "
                 "\"bar\": \">= %d\", \"undetected_loss\": %llu, \"bar_loss\": \"0\", "
                 "\"losses_noticed\": %llu, \"events_replayed\": %llu, \"of_nng_alone\": %.2f, "
                 "\"publisher_cpu_of_100_over_1\": %.2f, \"pass\": %s}\n",
                 feed.subscribers, rate, BAR_PER_S, (unsigned long long)lost,
                 (unsigned long long)noticed, (unsigned long long)replayed, median(ratios, rounds),
                 median(costs, rounds), pass ? "true" : "false");
    return pass ? 0 : 1;
}
