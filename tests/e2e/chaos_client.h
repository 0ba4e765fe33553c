/*
 * chaos_client - one client of fly_chaos: launches, destroys and cancels, and writes down what it
 * is told (audit_history.h), one write(2) a line, before its next step.
 */
#ifndef FLY_TESTS_E2E_CHAOS_CLIENT_H
#define FLY_TESTS_E2E_CHAOS_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/lib/launching.h"

enum {
    CHAOS_CLIENTS_MAX = 64,
    CHAOS_REGIONS_MAX = 16,
    CHAOS_LIVE_MAX = 256,
    CHAOS_ASIDE_MAX = 1024,
    CHAOS_TEXT_SIZE = 4096,
    CHAOS_CA_SIZE = 16384,
};

struct chaos_counters {
    atomic_uint_fast64_t launched, attempts, tries, unknown, not_done, unreachable, full, replayed,
        destroyed, destroy_retries, cancelled, cancelled_late;
    atomic_uint_fast64_t fresh;   /* keys given up for a fresh one */
    atomic_uint_fast64_t moved;   /* attempts that ended at another edge than the one before */
    atomic_uint_fast64_t aside;   /* launches that ended UNKNOWN, to be settled in the end */
    atomic_uint_fast64_t settled; /* of those: known by now */
};

struct chaos {
    char edges[CHAOS_TEXT_SIZE]; /* with commas between */
    char ca_pem[CHAOS_CA_SIZE];
    const char *tokens;
    const char *dir;
    char *regions[CHAOS_REGIONS_MAX];
    size_t region_count;
    unsigned keep;
    uint64_t seed;
    struct chaos_counters counters;
    atomic_bool failed;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    unsigned starving; /* clients that wait for room and have nothing to give up */
    uint64_t released;
    uint64_t taken;
    uint64_t done;
    bool ended;
};

struct chaos_client {
    struct chaos *chaos;
    unsigned number;
    pthread_t thread;
    struct session session;
    struct fly_rng rng;
    char subject[64];
    char token[CHAOS_TEXT_SIZE];
    char edges[CHAOS_TEXT_SIZE]; /* the same, beginning with another one */
    char edge[ADDRESS_URL_SIZE]; /* of the last attempt */
    int history;
    unsigned keys; /* texts used */
    unsigned live_count;
    char live[CHAOS_LIVE_MAX][16]; /* ids, oldest first */
    unsigned aside_count;
    struct launching_spec aside[CHAOS_ASIDE_MAX]; /* in doubt; settled in the end */
};

/* One client's life: launches as they are released, then what is in doubt is settled. */
void *chaos_client_run(void *user);

#endif
