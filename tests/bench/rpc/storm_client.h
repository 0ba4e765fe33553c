/*
 * storm_client - the calling side of bench_rpc_storm: threads, each with channels and a client of
 * its own, which it opens, closes and loses.
 */
#ifndef FLY_TESTS_BENCH_RPC_STORM_CLIENT_H
#define FLY_TESTS_BENCH_RPC_STORM_CLIENT_H

#include <pthread.h>
#include <semaphore.h>

#include "proto/base/rng.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/client.h"
#include "tests/bench/rpc/histogram.h"
#include "tests/bench/rpc/storm.h"

enum { STORM_FLIGHTS = 48, STORM_FILLER_MAX = 20000 };

/* By which function a call was made. */
enum storm_way {
    STORM_CHANNEL_START,
    STORM_CHANNEL_CALL,
    STORM_CHANNEL_STREAM,
    STORM_CLIENT_START,
    STORM_CLIENT_CALL,
    STORM_CLIENT_STREAM,
    STORM_CONTROL, /* none: a thread that sleeps, to know how late this machine itself is */
    STORM_WAYS,
};

struct storm {
    struct storm_shared *shared;
    const struct storm_options *options;
    struct rpc_tls tls;
    atomic_bool over;
    pthread_mutex_t lock; /* of the histogram */
    /* Of calls that ended after their deadline, or because of it; the last: all of them. */
    struct histogram overshoot[STORM_WAYS + 1];
    uint64_t overdue[STORM_WAYS + 1];
};

struct storm_thread {
    struct storm *storm;
    struct fly_rng rng;
    sem_t room; /* calls that may still be started */
    struct rpc_channel *channels[STORM_SERVERS];
    struct rpc_client *client;
    struct rpc_channel *last_channel; /* whose last call is to be cancelled, and that call */
    uint32_t last_id;
    uint64_t last_client_id;
    pthread_t thread;
};

/* One call, as it was made: what its end is held against. */
struct storm_try {
    struct storm_thread *by;
    uint64_t id;
    enum storm_kind kind;
    enum storm_way way;
    int64_t deadline_us; /* 0: none */
    size_t filler_size;
    char echo[STORM_ECHO_SIZE]; /* empty: none */
};

/* Writes down how it ended. `message`: what OK came with, if the kind has one. */
void storm_ended(const struct storm_try *call, const struct rpc_reply *reply);
/* A stream that was given up, so that nobody told how it ended. */
void storm_closed(const struct storm_try *call);
/* What came back is wrong. */
void storm_bad(const struct storm_try *call, const char *what);
bool storm_said_is_good(const struct storm_try *call, const Storm__Said *said);

/* Makes the call `id` of a random kind, over `channel` or, if that is NULL, the thread's client. */
void storm_make_call(struct storm_thread *t, uint64_t id, struct rpc_channel *channel);

#endif
