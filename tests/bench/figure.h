/*
 * figure - what one measurement was: latencies, rate, CPU of both sides; as JSON lines.
 *
 * A figure is measured in several rounds, interleaved with its controls; the summary takes the
 * median of the rounds. Latencies are kept whole, so that percentiles are exact.
 */
#ifndef FLY_TESTS_BENCH_FIGURE_H
#define FLY_TESTS_BENCH_FIGURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { FIGURE_ROUNDS_MAX = 32, FIGURE_CALLS_MAX = 1 << 20 };

struct figure_round {
    double rate_per_s;
    double p50_us;
    double p99_us;
    double cpu_us;      /* of this process, a call */
    double node_cpu_us; /* of the node, a call; 0 when there is none in it */
};

struct figure {
    const char *name;
    const char *what; /* one line for a person */
    pid_t node;       /* 0: no node in it */
    unsigned rounds;
    struct figure_round round[FIGURE_ROUNDS_MAX];
    /* of the round under way */
    int64_t begin_ns;
    int64_t begin_cpu_ns;
    int64_t begin_node_cpu_ns;
    size_t calls;
    int64_t *latency_ns; /* FIGURE_CALLS_MAX */
};

int64_t figure_clock_ns(void);
void figure_init(struct figure *f, const char *name, const char *what, pid_t node);
void figure_fini(struct figure *f);
void figure_begin(struct figure *f);
/* One call of the round; more than FIGURE_CALLS_MAX are counted but not kept. */
void figure_call(struct figure *f, int64_t latency_ns);
/* Ends the round and prints it. The rate is by the wall clock since begin. */
void figure_end(struct figure *f);
/* Medians over the rounds, and how they compare with the control's: a ratio of p50 latencies, of
 * rates, and the smallest and largest ratio that single rounds had. `control` may be NULL. */
void figure_summary(const struct figure *f, const struct figure *control);

#endif
