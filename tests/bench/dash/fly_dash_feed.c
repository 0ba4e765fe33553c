/*
 * fly_dash_feed - a real dash, fed over the real feed with a synthetic cluster.
 *
 *   fly_dash_feed [--port P] [--token T] [--machines N] [--regions N] [--changes-per-s N]
 *                 [--batch-ms MS] [--seed S] [--seconds S] [--stop-publishing-after S] [--ui DIR]
 *
 * A child publishes sealed EVENTS messages (publisher.c). This process subscribes, opens, decodes
 * and tells the dash, as a node does; a gap in a slice's numbers is counted and repaired by a
 * snapshot out of the memory that both share. Any token but T is refused; T may do everything, but
 * no edge stands behind it.
 *
 * Prints a JSON line with its port and pid when it listens, and one with the figures at its end
 * (--seconds, or SIGTERM): among them whether the picture equals what the owners hold, and how long
 * it took to hear all that was said while this process was stopped (SIGSTOP).
 */
#include <argp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dash/dash.h"
#include "dash/state.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/feed/feed.h"
#include "tests/bench/dash/cluster.h"

enum { TICK_MS = 250, STEP_MS = 5, STALL_MS = 2000, SETTLE_MS = 3000, DAY_MS = 86400000 };

struct options {
    uint16_t port;
    const char *token;
    const char *ui;
    uint32_t machines;
    uint32_t regions;
    uint32_t changes_per_s;
    uint32_t batch_ms;
    uint64_t seed;
    uint32_t seconds;    /* 0: until SIGTERM */
    uint32_t stop_after; /* 0: never */
};

/* The feeding side. The dash wants one thread at a time: nng's and ours take the lock. */
struct feeder {
    struct cluster *c;
    struct dash *dash;
    pthread_mutex_t lock;
    bool ready;
    uint64_t cursor[CLUSTER_SLICES_MAX];
    int64_t heard_ms[CLUSTER_SLICES_MAX];
    uint64_t messages;
    uint64_t events;
    uint64_t gaps;
    uint64_t refused;
    int64_t back_ms;                     /* when this process last came back from standing still */
    int64_t caught_up_ms;                /* how long it then took; 0: it never stood still */
    uint64_t wanted[CLUSTER_SLICES_MAX]; /* what had been said by then */
};

static volatile sig_atomic_t ending;

static void on_signal(int number)
{
    (void)number;
    ending = 1;
}

static enum fly_status verify(void *user, const char *token, size_t size, int64_t wall_ms,
                              struct dash_who *out, struct fly_error *error)
{
    const struct options *o = user;

    if (size != strlen(o->token) || memcmp(token, o->token, size) != 0) {
        return fly_error_set(error, FLY_UNAUTHENTICATED, "not the token of this bench");
    }
    *out = (struct dash_who){.scopes = TOKEN_SCOPE_ALL, .expires_ms = wall_ms + DAY_MS};
    (void)fly_copy_string(out->subject, sizeof out->subject, "bench");
    return FLY_OK;
}

/* --- the feed --- */

static void snapshot(struct feeder *f, uint32_t slice)
{
    const struct cluster *c = f->c;
    uint64_t seq = atomic_load_explicit(&c->shared->seq[slice], memory_order_acquire);
    struct picture_machine m;

    dash_snapshot_begin(f->dash, cluster_tag(slice));
    for (uint32_t i = slice; i < c->machines; i += c->slices) {
        cluster_machine(c, i, &m);
        dash_snapshot_put(f->dash, cluster_tag(slice), &m, cluster_region(c, i));
    }
    dash_snapshot_end(f->dash, cluster_tag(slice), CLUSTER_INCARNATION);
    f->cursor[slice] = seq;
    f->heard_ms[slice] = fly_clock_boot_ms();
}

static void take(struct feeder *f, struct event_message *message)
{
    uint32_t slice = message->slice - CLUSTER_TAG;
    bool events = message->form == EVENT_FORM_EVENTS;
    struct event e;

    if (slice >= f->c->slices || message->form == EVENT_FORM_STATE) {
        f->refused++;
        return;
    }
    f->messages++;
    f->heard_ms[slice] = fly_clock_boot_ms();
    if (message->to <= f->cursor[slice]) {
        return; /* the snapshot was newer */
    }
    if (!events || message->from > f->cursor[slice] + 1) {
        f->gaps++;
        snapshot(f, slice);
    }
    while (events && event_message_next(message, &e)) {
        if (e.seq > f->cursor[slice]) {
            dash_event(f->dash, &e);
            f->cursor[slice] = e.seq;
            f->events++;
        }
    }
}

static bool on_received(void *user, uint64_t source, struct fly_bytes bytes)
{
    struct feeder *f = user;
    struct event_message message;

    (void)source;
    (void)pthread_mutex_lock(&f->lock);
    if (f->ready) {
        if (event_message_decode(bytes.data, bytes.size, &message, NULL) == FLY_OK) {
            take(f, &message);
        } else {
            f->refused++;
        }
    }
    (void)pthread_mutex_unlock(&f->lock);
    return true;
}

static void tell_members(struct feeder *f, uint64_t rtt_us)
{
    struct dash_member members[4] = {{.serving = true}};

    for (unsigned i = 0; i < FLY_ARRAY_COUNT(members); i++) {
        struct dash_member *m = &members[i];
        *m = (struct dash_member){.serving = true,
                                  .self = i == 0,
                                  .rtt_us = i == 0 ? 0 : rtt_us + i,
                                  .since_ms = fly_clock_wall_ms() / DAY_MS * DAY_MS,
                                  .generation = 1};
        (void)snprintf(m->name, sizeof m->name, "bench-%u", i);
        (void)snprintf(m->address, sizeof m->address, "127.0.0.1:%u", 7401 + 10 * i);
        (void)fly_copy_string(m->region, sizeof m->region, cluster_region(f->c, i));
        (void)fly_copy_string(m->roles, sizeof m->roles, i == 0 ? "dash" : "peer,edge");
        (void)fly_copy_string(m->state, sizeof m->state, "alive");
        (void)fly_copy_string(m->version, sizeof m->version, FLY_VERSION);
        if (i > 0 && i <= f->c->slices) {
            m->slice_count = 1;
            m->slices[0] = (struct dash_member_slice){cluster_tag(i - 1), 1};
        }
    }
    dash_set_members(f->dash, members, FLY_ARRAY_COUNT(members));
}

/* --- this process --- */

static pid_t publisher_fork(struct cluster *c, const struct options *o, uint16_t *port)
{
    int ends[2];

    FLY_CHECK(pipe(ends) == 0);
    pid_t parent = getpid();
    pid_t child = fork();
    FLY_CHECK(child >= 0);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(ends[0]);
        if (getppid() != parent) {
            _exit(1);
        }
        publisher_run(c, &(struct publisher_config){.changes_per_s = o->changes_per_s,
                                                    .batch_ms = o->batch_ms,
                                                    .seed = o->seed,
                                                    .port_fd = ends[1]});
    }
    (void)close(ends[1]);
    FLY_CHECK(read(ends[0], port, sizeof *port) == sizeof *port);
    (void)close(ends[0]);
    return child;
}

static struct dash *dash_start(struct cluster *c, const struct options *o)
{
    const struct dash_config config = {.host = "127.0.0.1",
                                       .port = o->port,
                                       .node = "bench-0",
                                       .region = cluster_region(c, 0),
                                       .cluster = "00000000000000000000000000000000",
                                       .ui_dir = o->ui,
                                       .edges = "",
                                       .machines_max = c->machines + 1024,
                                       .verify = verify,
                                       .user = (void *)(uintptr_t)o};
    struct fly_error error = {0};
    struct dash *dash = NULL;

    if (dash_create(&dash, &config, &error) != FLY_OK) {
        (void)fprintf(stderr, "fly_dash_feed: %s\n", error.text);
        exit(1);
    }
    for (uint32_t i = 0; i < c->region_count; i++) {
        dash_put_region(dash, &c->regions[i]);
    }
    return dash;
}

static void subscribe(struct feeder *f, uint16_t port)
{
    const struct feed_subscriber_config config = {
        .ring = &f->c->ring, .received = on_received, .user = f};
    struct feed_subscriber *subscriber = NULL;
    char url[64];

    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
    FLY_CHECK(feed_subscriber_create(&subscriber, &config) == FLY_OK);
    FLY_CHECK(feed_subscriber_follow(subscriber, url, 1, NULL) == FLY_OK);
}

static void pause_ms(long ms)
{
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

/* All that had been said when this process came back is here. */
static void caught_up(struct feeder *f)
{
    bool all = true;

    (void)pthread_mutex_lock(&f->lock);
    for (uint32_t s = 0; s < f->c->slices; s++) {
        all = all && f->cursor[s] >= f->wanted[s];
    }
    (void)pthread_mutex_unlock(&f->lock);
    if (all) {
        f->caught_up_ms = fly_clock_boot_ms() - f->back_ms;
        f->caught_up_ms = f->caught_up_ms > 0 ? f->caught_up_ms : 1;
        f->back_ms = 0;
    }
}

/* A tick's pause; one that takes seconds was a SIGSTOP. */
static void wait_tick(struct feeder *f)
{
    for (unsigned i = 0; i < TICK_MS / STEP_MS; i++) {
        int64_t before_ms = fly_clock_boot_ms();
        pause_ms(STEP_MS);
        if (fly_clock_boot_ms() - before_ms > STALL_MS) {
            f->back_ms = fly_clock_boot_ms();
            for (uint32_t s = 0; s < f->c->slices; s++) {
                f->wanted[s] = atomic_load(&f->c->shared->seq[s]);
            }
        }
        if (f->back_ms != 0) {
            caught_up(f);
        }
    }
}

static void tick(struct feeder *f)
{
    (void)pthread_mutex_lock(&f->lock);
    int64_t now_ms = fly_clock_boot_ms();
    for (uint32_t s = 0; s < f->c->slices; s++) {
        dash_hear(f->dash, cluster_tag(s), now_ms - f->heard_ms[s]);
    }
    (void)pthread_mutex_unlock(&f->lock);
}

/* The publisher has stopped: waits until all it said is here. False: it never was. */
static bool settle(struct feeder *f)
{
    struct cluster_shared *shared = f->c->shared;

    atomic_store(&shared->stop, true);
    for (int64_t until_ms = fly_clock_boot_ms() + SETTLE_MS; fly_clock_boot_ms() < until_ms;) {
        bool all = atomic_load(&shared->stopped);
        (void)pthread_mutex_lock(&f->lock);
        for (uint32_t s = 0; s < f->c->slices; s++) {
            all = all && f->cursor[s] == atomic_load(&shared->seq[s]);
        }
        (void)pthread_mutex_unlock(&f->lock);
        if (all) {
            return true;
        }
        pause_ms(10);
    }
    return false;
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void say_figures(struct feeder *f, double seconds, double cpu_s)
{
    bool settled = settle(f);
    struct dash_state *state = dash_state(f->dash);
    struct dash_counters counters = dash_counters(f->dash);
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    (void)pthread_mutex_lock(&state->lock);
    uint64_t hash = picture_hash(state->picture);
    uint32_t machines = picture_machines(state->picture);
    (void)pthread_mutex_unlock(&state->lock);
    (void)printf(
        "{\"figure\":\"dash_feed\",\"machines\":%u,\"seconds\":%.1f,\"published\":%llu,"
        "\"applied\":%llu,\"applied_per_s\":%.0f,\"messages\":%llu,\"gaps_repaired\":%llu,"
        "\"refused\":%llu,\"caught_up_ms\":%lld,\"cpu_s\":%.2f,\"rss_max_kib\":%ld,\"settled\":%s,"
        "\"hash_equal\":%s,\"frames\":%llu,\"resyncs\":%llu,\"pace_ms\":%u}\n",
        machines, seconds, (unsigned long long)atomic_load(&f->c->shared->published),
        (unsigned long long)f->events, (double)f->events / seconds, (unsigned long long)f->messages,
        (unsigned long long)f->gaps, (unsigned long long)f->refused, (long long)f->caught_up_ms,
        cpu_s, usage.ru_maxrss, settled ? "true" : "false",
        hash == cluster_hash(f->c) ? "true" : "false", (unsigned long long)counters.frames,
        (unsigned long long)counters.resyncs, counters.pace_ms);
    (void)fflush(stdout);
}

static void run(struct feeder *f, const struct options *o)
{
    int64_t begin_ms = fly_clock_boot_ms();
    struct rusage usage;
    int64_t age_ms = 0;

    for (unsigned ticks = 0; !ending && (o->seconds == 0 || age_ms < o->seconds * INT64_C(1000));
         ticks++) {
        wait_tick(f);
        tick(f);
        if (ticks % 20 == 0) {
            tell_members(f, 200 + ticks % 7);
        }
        age_ms = fly_clock_boot_ms() - begin_ms;
        if (o->stop_after != 0 && age_ms >= o->stop_after * INT64_C(1000)) {
            atomic_store(&f->c->shared->stop, true);
        }
    }
    (void)getrusage(RUSAGE_SELF, &usage);
    say_figures(f, (double)age_ms / 1000, seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
}

/* --- flags --- */

static error_t option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;
    uint32_t number = text != NULL ? (uint32_t)strtoul(text, NULL, 10) : 0;

    switch (key) {
    case 'p':
        o->port = (uint16_t)number;
        return 0;
    case 't':
        o->token = text;
        return 0;
    case 'u':
        o->ui = text;
        return 0;
    case 'm':
        o->machines = number;
        return 0;
    case 'r':
        o->regions = number;
        return 0;
    case 'c':
        o->changes_per_s = number;
        return 0;
    case 'b':
        o->batch_ms = number;
        return 0;
    case 'e':
        o->seed = number;
        return 0;
    case 's':
        o->seconds = number;
        return 0;
    case 'a':
        o->stop_after = number;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option flags[] = {
    {"port", 'p', "P", 0, "of the dash, on 127.0.0.1 [any]", 0},
    {"token", 't', "T", 0, "the one token that it takes [bench]", 0},
    {"ui", 'u', "DIR", 0, "pages from here instead of the embedded ones", 0},
    {"machines", 'm', "N", 0, "[100000]", 0},
    {"regions", 'r', "N", 0, "[35]", 0},
    {"changes-per-s", 'c', "N", 0, "[300000]", 0},
    {"batch-ms", 'b', "MS", 0, "between batches [16]", 0},
    {"seed", 'e', "S", 0, "[1]", 0},
    {"seconds", 's', "S", 0, "to run [until SIGTERM]", 0},
    {"stop-publishing-after", 'a', "S", 0, "heartbeats go on [never]", 0},
    {0},
};

int main(int argc, char **argv)
{
    const struct argp argp = {flags, option, NULL, NULL, NULL, NULL, NULL};
    struct options o = {.token = "bench",
                        .machines = 100000,
                        .regions = 35,
                        .changes_per_s = 300000,
                        .batch_ms = 16,
                        .seed = 1};
    struct sigaction action = {.sa_handler = on_signal};
    struct feeder f = {.ready = false};
    static struct cluster cluster;
    uint16_t feed_port = 0;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0 || o.machines == 0 ||
        o.machines > CLUSTER_MACHINES_MAX || o.batch_ms == 0 || o.batch_ms > 999) {
        return 64;
    }
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
    cluster_init(&cluster, o.machines, o.regions, o.seed);
    pid_t child = publisher_fork(&cluster, &o, &feed_port); /* before any thread */
    f.c = &cluster;
    (void)pthread_mutex_init(&f.lock, NULL);
    f.dash = dash_start(&cluster, &o);
    subscribe(&f, feed_port);
    (void)pthread_mutex_lock(&f.lock);
    for (uint32_t s = 0; s < cluster.slices; s++) {
        snapshot(&f, s);
    }
    f.ready = true;
    (void)pthread_mutex_unlock(&f.lock);
    tell_members(&f, 200);
    (void)printf("{\"listening\":\"http://127.0.0.1:%u\",\"port\":%u,\"pid\":%d,\"publisher\":%d,"
                 "\"machines\":%u}\n",
                 dash_port(f.dash), dash_port(f.dash), (int)getpid(), (int)child, o.machines);
    (void)fflush(stdout);
    run(&f, &o);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    (void)pthread_mutex_lock(&f.lock);
    f.ready = false;
    (void)pthread_mutex_unlock(&f.lock);
    dash_destroy(f.dash);
    return 0;
}
