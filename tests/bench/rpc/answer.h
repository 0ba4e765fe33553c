/*
 * answer - the request that every client makes and what a server makes of it, in C and in C++: so
 * that both do the same work. About 68 and 35 bytes on the wire.
 */
#ifndef FLY_TESTS_BENCH_RPC_ANSWER_H
#define FLY_TESTS_BENCH_RPC_ANSWER_H

#include <stdint.h>

#define BENCH_TENANT "acme-research"
#define BENCH_LABEL_0 "zone=sin-1"
#define BENCH_LABEL_1 "team=vision"
#define BENCH_TRACE "\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01"
#define BENCH_HOST "node-0042"

enum {
    BENCH_JOB = 70001,
    BENCH_GPUS = 8,
    BENCH_MEMORY_MIB = 65536,
    BENCH_PRIORITY = 3,
    BENCH_GPUS_MAX = 8,
    BENCH_TRACE_SIZE = 16,
    BENCH_TIMEOUT_MS = 10000, /* the deadline that every call has */
};

static inline uint32_t bench_index(uint32_t job, unsigned i)
{
    return (job * 31U + i * 17U) & 0x3ffU;
}

static inline uint64_t bench_lease(uint32_t job, uint32_t memory_mib)
{
    return (uint64_t)job << 32 | memory_mib;
}

/* What a client looks at in an answer. */
static inline int bench_right(uint64_t lease, uint64_t indices, uint32_t last)
{
    return lease == bench_lease(BENCH_JOB, BENCH_MEMORY_MIB) && indices == BENCH_GPUS &&
           last == bench_index(BENCH_JOB, BENCH_GPUS - 1);
}

#endif
