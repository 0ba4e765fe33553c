/*
 * load - what every client of the bench does, whatever it calls: who calls when, for how long, and
 * what it cost. Its backends (raw_client.c, ours_client.c, grpc/client.cc) only make single calls,
 * so clocks, pacing and counting are the same for all systems.
 *
 * A caller makes one call at a time: a thread that waits for the answer, or a chain in which one
 * answer starts the next call. What is counted lies between two looks at the clocks, with all
 * callers busy before, between and after: the processor time of both processes (by their own
 * clocks, which a neighbour's noise does not move), the calls that ended, the latencies.
 *
 * C and C++ include it.
 */
#ifndef FLY_TESTS_BENCH_RPC_LOAD_H
#define FLY_TESTS_BENCH_RPC_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum load_mode {
    LOAD_THREADS, /* every caller is a thread */
    LOAD_CHAINS,  /* every caller is a chain of callbacks */
    LOAD_OPEN,    /* so many calls a second, due on time, whether the last have ended or not */
    LOAD_STREAM,  /* every caller is a thread that reads one stream */
};

enum { LOAD_CALLERS_MAX = 1024, LOAD_PIPELINE = 64 };

struct load_options {
    enum load_mode mode;
    unsigned callers;     /* in flight; OPEN: at most so many */
    unsigned connections; /* caller i uses connection i % connections */
    unsigned rate;        /* OPEN: calls a second */
    unsigned warm_ms;
    unsigned ms;
    uint64_t calls; /* THREADS, CHAINS: so many calls in all and no clock decides; 0: ms does */
    pid_t server;   /* whose processor time is counted too; 0: nobody's */
    const char *address; /* HOST:PORT */
    const char *variant; /* the backend's: which of its ways to call */
    const char *tag;     /* JSON members that go into the line as they are, or "" */
    const char *tls_ca;  /* a PEM file; NULL: clear text */
};

struct load_backend {
    void (*open)(const struct load_options *options);
    void (*close)(void);
    /* One call, waited for: how many calls that counts as, 0 when it failed. */
    unsigned (*call)(unsigned caller);
    /* One call, not waited for: load_ended(caller) follows. False: it failed at once. */
    bool (*start)(unsigned caller);
    /* Reads a stream: load_took for what came, until load_over; false when it broke. */
    bool (*stream)(unsigned caller);
};

/* Parses argv, runs, prints one JSON line; the exit status of the program. */
int load_main(int argc, char **argv, const struct load_backend *backend);

/* The same without the command line. */
void load_run(const struct load_options *options, const struct load_backend *backend);

/* For backends: a call of that caller ended. Any thread; may start the next one before it returns.
 */
void load_ended(unsigned caller, bool ok);
/* `count` messages of that caller's stream have come. */
void load_took(unsigned caller, unsigned count);
bool load_over(void);

/* Ends the process with a line on stderr. */
__attribute__((noreturn, format(printf, 1, 2))) void load_die(const char *format, ...);

#ifdef __cplusplus
}
#endif

#endif
