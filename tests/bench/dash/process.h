/*
 * process - what a process has used, by /proc.
 */
#ifndef FLY_TESTS_BENCH_DASH_PROCESS_H
#define FLY_TESTS_BENCH_DASH_PROCESS_H

#include <sys/types.h>

struct process_usage {
    double cpu_s; /* user and kernel, all threads, since it began */
    long rss_kib;
    long peak_kib;
};

/* Zeros: there is no such process. */
struct process_usage process_usage(pid_t pid);

#endif
