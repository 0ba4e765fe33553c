/*
 * histogram - latencies in buckets of 1.6 %: fixed memory, no sorting while something is measured.
 */
#ifndef FLY_TESTS_BENCH_RPC_HISTOGRAM_H
#define FLY_TESTS_BENCH_RPC_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_FINE = 64,
    HISTOGRAM_POWERS = 34,
    HISTOGRAM_SIZE = HISTOGRAM_FINE * HISTOGRAM_POWERS
};

struct histogram {
    uint32_t count[HISTOGRAM_SIZE];
};

static inline unsigned histogram_place(uint64_t ns)
{
    if (ns < HISTOGRAM_FINE) {
        return (unsigned)ns;
    }
    unsigned power = 63U - (unsigned)__builtin_clzll(ns); /* at least 6 */
    unsigned place = (power - 5) * HISTOGRAM_FINE + (unsigned)(ns >> (power - 6)) - HISTOGRAM_FINE;
    return place < HISTOGRAM_SIZE ? place : HISTOGRAM_SIZE - 1;
}

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
    h->count[histogram_place(ns)]++;
}

/* The middle of a bucket. */
static inline double histogram_ns(unsigned place)
{
    if (place < HISTOGRAM_FINE) {
        return place;
    }
    unsigned power = place / HISTOGRAM_FINE + 5;
    double low = (double)((uint64_t)(HISTOGRAM_FINE + place % HISTOGRAM_FINE) << (power - 6));
    return low + (double)(1ULL << (power - 6)) / 2;
}

static inline double histogram_quantile_ns(const struct histogram *h, double quantile)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < HISTOGRAM_SIZE; i++) {
        all += h->count[i];
    }
    double wanted = (double)all * quantile;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_SIZE; i++) {
        seen += h->count[i];
        if (seen > 0 && (double)seen >= wanted) {
            return histogram_ns(i);
        }
    }
    return 0;
}

#endif
