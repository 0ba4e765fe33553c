#include "tests/bench/figure.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/base/check.h"

static int64_t clock_of(clockid_t clock)
{
    struct timespec now;

    FLY_CHECK(clock_gettime(clock, &now) == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t figure_clock_ns(void)
{
    return clock_of(CLOCK_MONOTONIC);
}

static int64_t node_cpu_ns(pid_t node)
{
    clockid_t clock;

    if (node == 0 || clock_getcpuclockid(node, &clock) != 0) {
        return 0;
    }
    return clock_of(clock);
}

void figure_init(struct figure *f, const char *name, const char *what, pid_t node)
{
    *f = (struct figure){.name = name, .what = what, .node = node};
    f->latency_ns = malloc(FIGURE_CALLS_MAX * sizeof f->latency_ns[0]);
    FLY_CHECK(f->latency_ns != NULL);
}

void figure_fini(struct figure *f)
{
    free(f->latency_ns);
    f->latency_ns = NULL;
}

void figure_begin(struct figure *f)
{
    f->calls = 0;
    f->begin_node_cpu_ns = node_cpu_ns(f->node);
    f->begin_cpu_ns = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    f->begin_ns = figure_clock_ns();
}

void figure_call(struct figure *f, int64_t latency_ns)
{
    if (f->calls < FIGURE_CALLS_MAX) {
        f->latency_ns[f->calls] = latency_ns;
    }
    f->calls++;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static double percentile_us(const struct figure *f, size_t count, size_t per_mille)
{
    return count == 0 ? 0 : (double)f->latency_ns[(count - 1) * per_mille / 1000] / 1000.0;
}

void figure_end(struct figure *f)
{
    int64_t wall_ns = figure_clock_ns() - f->begin_ns;
    int64_t cpu_ns = clock_of(CLOCK_PROCESS_CPUTIME_ID) - f->begin_cpu_ns;
    int64_t node_ns = node_cpu_ns(f->node) - f->begin_node_cpu_ns;
    size_t kept = f->calls < FIGURE_CALLS_MAX ? f->calls : FIGURE_CALLS_MAX;
    double calls = f->calls > 0 ? (double)f->calls : 1;

    FLY_CHECK(f->rounds < FIGURE_ROUNDS_MAX);
    struct figure_round *r = &f->round[f->rounds++];
    qsort(f->latency_ns, kept, sizeof f->latency_ns[0], compare);
    *r = (struct figure_round){.rate_per_s = (double)f->calls * 1e9 / (double)wall_ns,
                               .p50_us = percentile_us(f, kept, 500),
                               .p99_us = percentile_us(f, kept, 990),
                               .cpu_us = (double)cpu_ns / 1000.0 / calls,
                               .node_cpu_us = (double)node_ns / 1000.0 / calls};
    (void)printf("{\"figure\": \"%s\", \"round\": %u, \"calls\": %zu, \"per_s\": %.0f, \"p50_us\": "
                 "%.1f, \"p99_us\": %.1f, \"cpu_us_per_call\": %.2f, \"node_cpu_us_per_call\": "
                 "%.2f}\n",
                 f->name, f->rounds, f->calls, r->rate_per_s, r->p50_us, r->p99_us, r->cpu_us,
                 r->node_cpu_us);
    (void)fflush(stdout);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof values[0], compare_doubles);
    return count == 0 ? 0 : values[count / 2];
}

#define MEDIAN_OF(figure, field)                                                                   \
    __extension__({                                                                                \
        double values_[FIGURE_ROUNDS_MAX];                                                         \
        for (unsigned i_ = 0; i_ < (figure)->rounds; i_++) {                                       \
            values_[i_] = (figure)->round[i_].field;                                               \
        }                                                                                          \
        median(values_, (figure)->rounds);                                                         \
    })

void figure_summary(const struct figure *f, const struct figure *control)
{
    (void)printf("{\"summary\": \"%s\", \"what\": \"%s\", \"rounds\": %u, \"per_s\": %.0f, "
                 "\"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_us_per_call\": %.2f, "
                 "\"node_cpu_us_per_call\": %.2f",
                 f->name, f->what, f->rounds, MEDIAN_OF(f, rate_per_s), MEDIAN_OF(f, p50_us),
                 MEDIAN_OF(f, p99_us), MEDIAN_OF(f, cpu_us), MEDIAN_OF(f, node_cpu_us));
    if (control != NULL && control->rounds == f->rounds) {
        double ratios[FIGURE_ROUNDS_MAX];
        double rates[FIGURE_ROUNDS_MAX];
        for (unsigned i = 0; i < f->rounds; i++) {
            ratios[i] = f->round[i].p50_us / control->round[i].p50_us;
            rates[i] = f->round[i].rate_per_s / control->round[i].rate_per_s;
        }
        double middle = median(ratios, f->rounds);
        (void)printf(", \"control\": \"%s\", \"p50_ratio\": %.2f, \"p50_ratio_min\": %.2f, "
                     "\"p50_ratio_max\": %.2f, \"rate_ratio\": %.3f",
                     control->name, middle, ratios[0], ratios[f->rounds - 1],
                     median(rates, f->rounds));
    }
    (void)printf("}\n");
}
