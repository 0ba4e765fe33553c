#include "tests/bench/rpc/storm_client.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/wire/metadata.h"

enum { START_MS = 20000, END_S = 60, WORTH_A_WORD_US = 300000 };

static void write_down(const struct storm_try *call, enum fly_status status, unsigned flags)
{
    struct storm_record *record = &call->by->storm->shared->records[call->id];

    record->status = (uint8_t)status;
    record->kind_flags =
        (uint8_t)((record->kind_flags & STORM_BAD << 4) | (unsigned)call->kind | flags << 4);
    atomic_fetch_add(&record->ends, 1);
}

void storm_closed(const struct storm_try *call)
{
    write_down(call, FLY_OK, STORM_CLOSED | STORM_SENT);
}

void storm_bad(const struct storm_try *call, const char *what)
{
    struct storm_record *record = &call->by->storm->shared->records[call->id];

    warnx("call %" PRIu64 " of kind %u: %s", call->id, (unsigned)call->kind, what);
    record->kind_flags |= STORM_BAD << 4;
}

bool storm_said_is_good(const struct storm_try *call, const Storm__Said *said)
{
    size_t size = call->kind == STORM_UP ? 0 : call->filler_size; /* it comes back once only */
    bool good = said != NULL && said->id == call->id && said->filler.len == size;

    for (size_t i = 0; good && i < size; i++) {
        good = said->filler.data[i] == (uint8_t)(call->id + i);
    }
    return good;
}

static bool echo_is_good(const struct storm_try *call, const struct rpc_reply *reply)
{
    struct fly_bytes value = {0};
    size_t size = strlen(call->echo);

    return size == 0 || (metadata_find(reply->trailer, STORM_ECHO, &value) && value.size == size &&
                         memcmp(value.data, call->echo, size) == 0);
}

static void note_overshoot(struct storm *storm, enum storm_way way, uint64_t ns)
{
    (void)pthread_mutex_lock(&storm->lock);
    histogram_add(&storm->overshoot[way], ns);
    storm->overdue[way]++;
    if (way != STORM_CONTROL) {
        histogram_add(&storm->overshoot[STORM_WAYS], ns);
        storm->overdue[STORM_WAYS]++;
    }
    (void)pthread_mutex_unlock(&storm->lock);
}

void storm_ended(const struct storm_try *call, const struct rpc_reply *reply)
{
    struct storm *storm = call->by->storm;
    int64_t over_us = call->deadline_us != 0 ? fly_clock_boot_us() - call->deadline_us : -1;
    bool has_message = call->kind != STORM_DOWN && call->kind != STORM_BOTH;

    if (over_us >= 0 || reply->status == FLY_DEADLINE_EXCEEDED) {
        note_overshoot(storm, call->way, over_us > 0 ? (uint64_t)over_us * 1000 : 0);
        if (over_us > WORTH_A_WORD_US) {
            warnx("call %" PRIu64 " of kind %u, way %u ended %" PRId64 " us too late: %s %s",
                  call->id, (unsigned)call->kind, (unsigned)call->way, over_us,
                  fly_status_name(reply->status), reply->text);
        }
    }
    if (reply->status == FLY_OK && has_message &&
        !storm_said_is_good(call, (const Storm__Said *)reply->message)) {
        storm_bad(call, "the reply is another");
    }
    if (reply->status == FLY_OK && !echo_is_good(call, reply)) {
        storm_bad(call, "the trailer is another");
    }
    write_down(call, reply->status, reply->sent ? STORM_SENT : 0);
}

static bool open_channel(struct storm_thread *t, size_t server)
{
    struct rpc_channel_config config = {
        .url = t->storm->options->urls[server],
        .tls = &t->storm->tls,
        .connect_timeout_ms = 200,
        .keepalive_ms = fly_rng_chance(&t->rng, 300) ? 100 : 0,
        .calls_max = fly_rng_chance(&t->rng, 200) ? 8 : 0,
        .stream_window = fly_rng_chance(&t->rng, 300) ? 4096 : 0,
    };
    struct fly_error error;

    return rpc_channel_open(&t->channels[server], &config, &error) == FLY_OK;
}

/* Ends what is in flight there: all of it has been told when this returns. */
static void close_channel(struct storm_thread *t, size_t server)
{
    if (t->last_channel == t->channels[server]) {
        t->last_channel = NULL;
    }
    rpc_channel_close(t->channels[server]);
    t->channels[server] = NULL;
}

static void open_client(struct storm_thread *t)
{
    struct rpc_client_config config = {
        .urls = t->storm->options->urls,
        .url_count = t->storm->options->url_count,
        .balance = (enum rpc_balance)fly_rng_below(&t->rng, 3),
        .channel = {.tls = &t->storm->tls, .connect_timeout_ms = 200},
        .backoff_first_ms = 10,
        .backoff_max_ms = 100,
        .throttle_tokens = fly_rng_chance(&t->rng, 500) ? 1000 : 0,
    };
    struct fly_error error = {.text = ""};

    if (rpc_client_create(&t->client, &config, &error) != FLY_OK) {
        errx(1, "client: %s", error.text);
    }
    t->last_client_id = 0;
}

/* A channel of this thread that lives, or NULL: the client it is. */
static struct rpc_channel *pick(struct storm_thread *t)
{
    size_t server = fly_rng_below(&t->rng, t->storm->options->url_count);

    if (fly_rng_chance(&t->rng, 400)) {
        return NULL;
    }
    if (t->channels[server] != NULL &&
        (!rpc_channel_alive(t->channels[server]) || fly_rng_below(&t->rng, 500) == 0)) {
        close_channel(t, server);
    }
    /* A dial may take its 200 ms: not each time. */
    if (t->channels[server] == NULL && fly_rng_chance(&t->rng, 100)) {
        (void)open_channel(t, server);
    }
    return t->channels[server];
}

static void await_flights(struct storm_thread *t)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_S;
    for (int i = 0; i < STORM_FLIGHTS; i++) {
        if (sem_timedwait(&t->room, &until) != 0) {
            errx(1, "a call has not ended within %d s", END_S);
        }
    }
}

static void *run(void *user)
{
    struct storm_thread *t = user;
    struct storm_shared *shared = t->storm->shared;

    open_client(t);
    for (;;) {
        uint64_t id = atomic_fetch_add(&shared->begun, 1);

        if (id >= shared->calls) {
            break;
        }
        if (fly_rng_below(&t->rng, 3000) == 0) {
            rpc_client_close(t->client);
            open_client(t);
        }
        storm_make_call(t, id, pick(t));
    }
    if (fly_rng_chance(&t->rng, 500)) {
        await_flights(t);
    }
    for (size_t i = 0; i < STORM_SERVERS; i++) {
        close_channel(t, i);
    }
    rpc_client_close(t->client);
    return NULL;
}

/* The storm begins when all servers are there. */
static void await_servers(const struct storm *storm)
{
    const struct storm_options *options = storm->options;
    int64_t until_ms = fly_clock_boot_ms() + START_MS;

    for (size_t i = 0; i < options->url_count; i++) {
        struct rpc_channel_config config = {.url = options->urls[i], .tls = &storm->tls};
        struct rpc_channel *channel = NULL;
        struct fly_error error = {.text = ""};

        while (rpc_channel_open(&channel, &config, &error) != FLY_OK) {
            if (fly_clock_boot_ms() > until_ms) {
                errx(1, "%s: %s", options->urls[i], error.text);
            }
            (void)usleep(10000);
        }
        rpc_channel_close(channel);
    }
}

/* Sleeps until a moment, like who waits for a deadline, and notes how late it is told. */
static void *control(void *user)
{
    struct storm *storm = user;

    while (!atomic_load(&storm->over)) {
        int64_t until_us = fly_clock_boot_us() + 3000;
        struct timespec until = {.tv_sec = until_us / 1000000,
                                 .tv_nsec = until_us % 1000000 * 1000};
        int64_t over_us = 0;

        (void)clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, NULL);
        over_us = fly_clock_boot_us() - until_us;
        note_overshoot(storm, STORM_CONTROL, over_us > 0 ? (uint64_t)over_us * 1000 : 0);
    }
    return NULL;
}

/* Row 10's bar. */
static bool is_punctual(const struct storm *storm)
{
    return histogram_quantile_ns(&storm->overshoot[STORM_WAYS], 0.999) <= 2e6;
}

static void print_figures(const struct storm *storm, int64_t took_us)
{
    static const char *const ways[STORM_WAYS + 1] = {
        "channel_start", "channel_call",  "channel_stream", "client_start",
        "client_call",   "client_stream", "control",        "all",
    };

    for (unsigned way = 0; way <= STORM_WAYS; way++) {
        const struct histogram *h = &storm->overshoot[way];

        (void)printf("{\"row\":\"10\",\"figure\":\"overshoot\",\"way\":\"%s\",\"overdue\":%" PRIu64
                     ",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f",
                     ways[way], storm->overdue[way], histogram_quantile_ns(h, 0.5) / 1e6,
                     histogram_quantile_ns(h, 0.99) / 1e6, histogram_quantile_ns(h, 0.999) / 1e6,
                     histogram_quantile_ns(h, 1) / 1e6);
        if (way == STORM_WAYS) {
            (void)printf(",\"calls_per_s\":%.0f,\"pass\":%s",
                         (double)storm->shared->calls * 1e6 / (double)took_us,
                         is_punctual(storm) ? "true" : "false");
        }
        (void)printf("}\n");
    }
}

int storm_call(const struct storm_options *options)
{
    static struct storm storm = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct storm_thread *threads = calloc(options->threads, sizeof *threads);
    pthread_t beside;
    int64_t began_us = 0;

    if (threads == NULL) {
        err(1, "threads");
    }
    storm.options = options;
    storm.shared = storm_map(options->file, options->calls, false);
    storm.tls = storm_tls_client();
    await_servers(&storm);
    began_us = fly_clock_boot_us();
    if (pthread_create(&beside, NULL, control, &storm) != 0) {
        errx(1, "threads");
    }
    for (unsigned i = 0; i < options->threads; i++) {
        threads[i].storm = &storm;
        fly_rng_seed(&threads[i].rng, options->seed * 1000 + i);
        (void)sem_init(&threads[i].room, 0, STORM_FLIGHTS);
        if (pthread_create(&threads[i].thread, NULL, run, &threads[i]) != 0) {
            errx(1, "threads");
        }
    }
    for (unsigned i = 0; i < options->threads; i++) {
        (void)pthread_join(threads[i].thread, NULL);
        (void)sem_destroy(&threads[i].room);
    }
    atomic_store(&storm.over, true);
    (void)pthread_join(beside, NULL);
    rpc_channel_settle();
    print_figures(&storm, fly_clock_boot_us() - began_us);
    storm_unmap(storm.shared);
    free(threads);
    return options->strict && !is_punctual(&storm) ? 1 : 0;
}
