/*
 * watchers - many watchers of one edge: each a connection and a stream of its own, through the
 * client library. watchers.sh measures what they cost the edge.
 *
 *   bench_watchers --addr ADDR --token TOKEN [--count N] [--ms N] [--latest PACE_MS]
 *
 * Prints a line {"ready": N} when all stand, and at the end one of counters.
 */
#include <argp.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/lib/watching.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { WATCHERS_MAX = 512, CONNECT_MS = 5000, PATIENCE_MS = 100 };

struct bench {
    const char *addr;
    const char *token;
    unsigned count;
    int64_t ms;
    bool latest;
    uint32_t pace_ms;
    atomic_uint ready;
    atomic_bool stop;
    atomic_uint_fast64_t events;
    atomic_uint_fast64_t messages;
    atomic_uint_fast64_t wrong; /* twice, never, or lost connections */
};

static void *run(void *user)
{
    static _Thread_local struct watching w;
    struct bench *b = user;
    struct session session;
    struct fly_error error;
    bool stands = false;

    session_init(&session, b->addr, b->token);
    FLY_CHECK(watching_init(&w, &session, "", "", CONNECT_MS, &error) == FLY_OK);
    w.patience_ms = PATIENCE_MS;
    w.policy = b->latest ? FLY__V1__WATCH_POLICY__WATCH_LATEST_PER_OBJECT
                         : FLY__V1__WATCH_POLICY__WATCH_EVERY_EVENT;
    w.pace_ms = b->pace_ms;
    while (!atomic_load(&b->stop)) {
        enum watching_step step = watching_next(&w);
        if (step == WATCHING_MESSAGE) {
            for (size_t i = 0; i < w.message->n_events; i++) {
                (void)watching_take(&w, w.message->events[i]);
            }
            (void)atomic_fetch_add(&b->events, w.message->n_events);
            (void)atomic_fetch_add(&b->messages, 1);
            watching_taken(&w);
            (void)atomic_fetch_add(&b->ready, stands ? 0 : 1);
            stands = true;
        } else if (step != WATCHING_NOTHING) {
            (void)atomic_fetch_add(&b->wrong, 1);
        }
    }
    (void)atomic_fetch_add(&b->wrong, w.twice + w.skipped);
    watching_fini(&w);
    session_fini(&session);
    return NULL;
}

enum { KEY_ADDR = 1, KEY_TOKEN, KEY_COUNT, KEY_MS, KEY_LATEST };

static error_t take(int key, char *value, struct argp_state *state)
{
    struct bench *b = state->input;

    switch (key) {
    case KEY_ADDR:
        b->addr = value;
        return 0;
    case KEY_TOKEN:
        b->token = value;
        return 0;
    case KEY_COUNT:
        b->count = (unsigned)strtoul(value, NULL, 10);
        return 0;
    case KEY_MS:
        b->ms = strtoll(value, NULL, 10);
        return 0;
    case KEY_LATEST:
        b->latest = true;
        b->pace_ms = (uint32_t)strtoul(value, NULL, 10);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"addr", KEY_ADDR, "ADDR", 0, "the edge", 0},
        {"token", KEY_TOKEN, "TOKEN", 0, "with the scope watch", 0},
        {"count", KEY_COUNT, "N", 0, "watchers [100]", 0},
        {"ms", KEY_MS, "N", 0, "for so long once all stand [3000]", 0},
        {"latest", KEY_LATEST, "PACE_MS", 0, "with the policy LATEST", 0},
        {0},
    };
    static const struct argp argp = {.options = options, .parser = take};
    static struct bench b = {.count = 100, .ms = 3000};
    static pthread_t threads[WATCHERS_MAX];

    (void)argp_parse(&argp, argc, argv, 0, NULL, &b);
    FLY_CHECK(b.addr != NULL && b.token != NULL && b.count > 0 && b.count <= WATCHERS_MAX);
    for (unsigned i = 0; i < b.count; i++) {
        FLY_CHECK(pthread_create(&threads[i], NULL, run, &b) == 0);
    }
    while (atomic_load(&b.ready) < b.count) {
        (void)session_pause(10);
    }
    (void)printf("{\"ready\": %u}\n", b.count);
    (void)fflush(stdout);
    uint64_t before = atomic_load(&b.events);
    uint64_t messages = atomic_load(&b.messages);
    int64_t begun_ms = fly_clock_boot_ms();
    (void)session_pause(b.ms);
    int64_t took_ms = fly_clock_boot_ms() - begun_ms;
    uint64_t events = atomic_load(&b.events) - before;
    messages = atomic_load(&b.messages) - messages;
    atomic_store(&b.stop, true);
    for (unsigned i = 0; i < b.count; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)printf("{\"watchers\": %u, \"ms\": %" PRId64 ", \"events_each_per_s\": %.0f, "
                 "\"messages_each_per_s\": %.1f, \"wrong\": %" PRIu64 "}\n",
                 b.count, took_ms, (double)events * 1000 / (double)took_ms / b.count,
                 (double)messages * 1000 / (double)took_ms / b.count,
                 (uint64_t)atomic_load(&b.wrong));
    return 0;
}
