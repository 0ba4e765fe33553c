/*
 * feed - one round of the feed's bench: a process that publishes, and a few that subscribe, with
 * many real subscribers each. They meet in shared memory for the counts, and for nothing else.
 */
#ifndef FLY_TESTS_BENCH_FEED_H
#define FLY_TESTS_BENCH_FEED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/wire/event.h"

enum { SUBSCRIBERS_MAX = 200, PROCESSES_MAX = 8, MESSAGE_EVENTS_MAX = 4000 };

enum { BENCH_SLICE = 0xfeed01 };
#define BENCH_INCARNATION UINT64_C(0x1234567890abcdef)

struct round_config {
    const char *figure;
    unsigned subscribers;
    unsigned processes;
    unsigned events;     /* a message */
    unsigned rate_per_s; /* messages; 0: as fast as the slowest subscriber takes them */
    int64_t ms;
    int64_t stop_ms; /* the first process is stopped for so long */
    bool plain;      /* nng alone: the same bytes, not sealed, not read */
};

struct subscriber_counts {
    atomic_uint_fast64_t applied;    /* events, in order */
    atomic_uint_fast64_t gaps;       /* times that something was missing */
    atomic_uint_fast64_t replayed;   /* events that came by a replay */
    atomic_uint_fast64_t undetected; /* events that were not the next one, or not what was said */
    atomic_uint_fast64_t last;       /* the last event it has */
};

struct shared {
    struct round_config config;
    atomic_uint port;
    atomic_uint ready;              /* subscribers whose first message came */
    atomic_bool begin;              /* all are ready */
    atomic_bool finished;           /* the last event is out */
    atomic_uint_fast64_t published; /* the last event */
    atomic_uint_fast64_t messages;
    atomic_int_fast64_t begun_ns;
    atomic_int_fast64_t ended_ns; /* of publishing */
    atomic_int_fast64_t publisher_cpu_ns;
    atomic_int_fast64_t process_cpu_ns[PROCESSES_MAX];
    atomic_uint done; /* processes whose subscribers have all */
    struct subscriber_counts subscribers[SUBSCRIBERS_MAX];
};

int64_t bench_clock_ns(void);
int64_t bench_cpu_ns(void);
void bench_sleep_us(long us);

/* Event `seq`: everybody can make it again, so that a subscriber knows what it must be. */
void bench_event(uint64_t seq, struct event *out);

/* The two kinds of processes; they do not return. */
_Noreturn void publisher_run(struct shared *s);
_Noreturn void subscriber_run(struct shared *s, unsigned process);

#endif
