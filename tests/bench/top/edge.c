/*
 * bench_top_edge - an edge whose machines are made up: Regions, Machines, Watch and Members as
 * `flyrpc top` asks for them, over the real server, with so many changes a second.
 *
 *   bench_top_edge --machines 100000 --rate 5000 [--slices 2]
 *
 * Prints its url. Each 100 ms every watcher is told what changed since, a few hundred events a
 * message, all of them: an edge leaves some out for WATCH_LATEST_PER_OBJECT. SIGUSR1: no more
 * changes, and a line {"cores_free", "cordoned", "told"} with what is true now. SIGTERM ends it.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fly/v1/admin.rpc.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/rng.h"
#include "proto/rpc/server.h"
#include "proto/wire/cursors.h"

enum {
    MACHINES_MAX = 1 << 20,
    REGIONS = 34,
    SLICES_MAX = 16,
    WATCHERS_MAX = 64,
    PAGE_MAX = 4000,
    EVENTS_MAX = 250, /* in a message */
    LOG_SIZE = 1 << 20,
    TICK_MS = 100,
    BEHIND_MS = 2,
    CORES = 32,
    INCARNATION = 0xc0de,
    NAME_SIZE = 16,
    TAG_FIRST = 0x757c22,
};

static const uint64_t memory_bytes = UINT64_C(2000000000000);

struct machine {
    uint8_t cores_free;
    bool cordoned;
};

struct watcher {
    struct rpc_call *call;
    uint64_t seqs[SLICES_MAX]; /* it was told all up to these */
};

static struct {
    pthread_mutex_t lock;
    uint32_t machine_count;
    uint32_t rate;
    uint32_t slices;
    struct machine *machines; /* the i-th is of slice i / machines a slice */
    uint64_t seqs[SLICES_MAX];
    uint32_t *logs[SLICES_MAX]; /* the machine of each of the last LOG_SIZE events */
    struct watcher watchers[WATCHERS_MAX];
    size_t watcher_count;
    uint64_t told; /* events, to all watchers */
    bool behind;   /* somebody does not read as fast as it is told */
    struct fly_rng rng;
    struct rpc_server *server;
} edge;

/* ---- texts ---- */

static uint32_t per_slice(void)
{
    return (edge.machine_count + edge.slices - 1) / edge.slices;
}

static void slice_text(uint32_t slice, char out[static 8])
{
    (void)snprintf(out, 8, "%06x", (TAG_FIRST + slice) & 0xffffffU);
}

static void region_text(uint32_t region, char out[static 8])
{
    (void)snprintf(out, 8, "R%02u", region);
}

static void name_text(uint32_t i, char out[static NAME_SIZE])
{
    (void)snprintf(out, NAME_SIZE, "r%02u-%06u", i % REGIONS, i);
}

static void cursor_text(char out[static 1024])
{
    size_t at = 0;

    for (uint32_t i = 0; i < edge.slices; i++) {
        char slice[8];
        slice_text(i, slice);
        at += (size_t)snprintf(out + at, 1024 - at, "%s%s:%016x:%llu", i > 0 ? "," : "", slice,
                               INCARNATION, (unsigned long long)edge.seqs[i]);
    }
}

/* ---- calls ---- */

static void on_hello(void *user, struct rpc_hello *hello)
{
    Fly__V1__HelloReply reply = FLY__V1__HELLO_REPLY__INIT;
    uint8_t packed[256];

    reply.cluster = "0123456789abcdef0123456789abcdef";
    reply.node = "made-up";
    reply.version = "bench";
    reply.time_ms = fly_clock_wall_ms();
    rpc_hello_accept(hello, (struct fly_bytes){packed, fly__v1__hello_reply__pack(&reply, packed)},
                     user);
}

static void answer_regions(struct rpc_call *call)
{
    Fly__V1__RegionsReply reply = FLY__V1__REGIONS_REPLY__INIT;
    Fly__V1__Region regions[REGIONS];
    Fly__V1__Region *pointers[REGIONS];
    char codes[REGIONS][8];

    for (uint32_t i = 0; i < REGIONS; i++) {
        fly__v1__region__init(&regions[i]);
        region_text(i, codes[i]);
        regions[i].code = codes[i];
        regions[i].city = "Somewhere";
        regions[i].country = "Nowhere";
        regions[i].status = "operational";
        pointers[i] = &regions[i];
    }
    reply.regions = pointers;
    reply.n_regions = REGIONS;
    rpc_call_reply(call, &reply.base);
}

static void answer_members(struct rpc_call *call)
{
    Fly__V1__MembersReply reply = FLY__V1__MEMBERS_REPLY__INIT;
    Fly__V1__Member self = FLY__V1__MEMBER__INIT;
    Fly__V1__Member *pointers[] = {&self};

    self.name = "made-up";
    self.state = FLY__V1__MEMBER_STATE__MEMBER_ALIVE;
    self.serving = 1;
    self.self = 1;
    reply.members = pointers;
    reply.n_members = 1;
    rpc_call_reply(call, &reply.base);
}

static void answer_machines(struct rpc_call *call)
{
    const Fly__V1__ListMachinesRequest *request =
        (const Fly__V1__ListMachinesRequest *)rpc_call_request(call);
    Fly__V1__ListMachinesReply reply = FLY__V1__LIST_MACHINES_REPLY__INIT;
    Fly__V1__Machine *machines = calloc(PAGE_MAX, sizeof *machines);
    Fly__V1__Machine **pointers = calloc(PAGE_MAX, sizeof *pointers);
    char(*names)[NAME_SIZE] = calloc(PAGE_MAX, sizeof *names);
    char codes[REGIONS][8];
    char slices[SLICES_MAX][8];
    char cursor[1024];
    char next[16] = "";
    uint32_t at = (uint32_t)strtoul(request->after, NULL, 10);

    FLY_CHECK(machines != NULL && pointers != NULL && names != NULL);
    for (uint32_t i = 0; i < REGIONS; i++) {
        region_text(i, codes[i]);
    }
    for (uint32_t i = 0; i < edge.slices; i++) {
        slice_text(i, slices[i]);
    }
    (void)pthread_mutex_lock(&edge.lock);
    cursor_text(cursor);
    for (; at < edge.machine_count && reply.n_machines < PAGE_MAX; at++) {
        Fly__V1__Machine *m = &machines[reply.n_machines];
        fly__v1__machine__init(m);
        name_text(at, names[reply.n_machines]);
        m->name = names[reply.n_machines];
        m->region = codes[at % REGIONS];
        m->slice = slices[at / per_slice()];
        m->cores = CORES;
        m->cores_free = edge.machines[at].cores_free;
        m->memory_bytes = memory_bytes;
        m->memory_free_bytes = memory_bytes / CORES * edge.machines[at].cores_free;
        m->cordoned = edge.machines[at].cordoned;
        pointers[reply.n_machines++] = m;
    }
    (void)pthread_mutex_unlock(&edge.lock);
    if (at < edge.machine_count) {
        (void)snprintf(next, sizeof next, "%u", at);
    }
    reply.machines = pointers;
    reply.next = next;
    reply.cursor = cursor;
    rpc_call_reply(call, &reply.base);
    free(machines);
    free(pointers);
    free(names);
}

/* From the cursor that a page told; from now without one. */
static void take_watcher(struct rpc_call *call)
{
    const Fly__V1__WatchRequest *request = (const Fly__V1__WatchRequest *)rpc_call_request(call);
    struct cursors since = {.count = 0};
    bool taken = false;

    (void)pthread_mutex_lock(&edge.lock);
    if (edge.watcher_count < WATCHERS_MAX &&
        (request->since[0] == '\0' || cursors_parse(request->since, &since))) {
        struct watcher *w = &edge.watchers[edge.watcher_count++];
        w->call = call;
        for (uint32_t i = 0; i < edge.slices; i++) {
            const struct cursor *at = cursors_find(&since, TAG_FIRST + i);
            w->seqs[i] = at != NULL ? at->seq : edge.seqs[i];
        }
        taken = true;
    }
    (void)pthread_mutex_unlock(&edge.lock);
    if (!taken) {
        rpc_call_fail(call, FLY_RESOURCE_EXHAUSTED, "too many", (struct fly_bytes){0});
    }
}

static void on_call(void *user, struct rpc_call *call)
{
    (void)user;
    if (rpc_call_method(call) == &rpc_edge_regions) {
        answer_regions(call);
    } else if (rpc_call_method(call) == &rpc_edge_machines) {
        answer_machines(call);
    } else if (rpc_call_method(call) == &rpc_edge_watch) {
        take_watcher(call);
    } else {
        answer_members(call);
    }
}

/* ---- changes ---- */

struct batch {
    Fly__V1__Event events[EVENTS_MAX];
    Fly__V1__Event *pointers[EVENTS_MAX];
    char names[EVENTS_MAX][NAME_SIZE];
    char codes[EVENTS_MAX][8];
    size_t count;
};

/* The machine as it is now: values are absolute, so an event that is told late says the same. */
static void add_event(struct batch *batch, uint32_t at, const char *slice, uint64_t seq)
{
    const struct machine *m = &edge.machines[at];
    Fly__V1__Event *event = &batch->events[batch->count];

    fly__v1__event__init(event);
    name_text(at, batch->names[batch->count]);
    region_text(at % REGIONS, batch->codes[batch->count]);
    event->slice = (char *)(uintptr_t)slice;
    event->incarnation = INCARNATION;
    event->seq = seq;
    event->type = seq % 2 == 0 ? FLY__V1__EVENT_TYPE__EVENT_VM_STARTED
                               : FLY__V1__EVENT_TYPE__EVENT_VM_DESTROYED;
    event->time_ms = fly_clock_wall_ms();
    event->vm = "0123456789ab";
    event->name = "vm-0123456789ab";
    event->machine = batch->names[batch->count];
    event->region = batch->codes[batch->count];
    event->cores = 1;
    event->memory_bytes = memory_bytes / CORES;
    event->machine_cores_free = m->cores_free;
    event->machine_memory_free_bytes = memory_bytes / CORES * m->cores_free;
    batch->pointers[batch->count++] = event;
}

static void change(uint32_t slice)
{
    uint32_t first = slice * per_slice();
    uint32_t left = edge.machine_count - first;
    uint32_t at =
        first + (uint32_t)fly_rng_below(&edge.rng, left < per_slice() ? left : per_slice());
    struct machine *m = &edge.machines[at];
    bool start = m->cores_free > 0 && (m->cores_free == CORES || fly_rng_below(&edge.rng, 2) != 0);

    m->cores_free = (uint8_t)(m->cores_free + (start ? -1 : 1));
    edge.logs[slice][++edge.seqs[slice] % LOG_SIZE] = at;
}

/* All that it was not told yet, as far as it reads. False: it is gone. */
static bool tell(struct watcher *w, struct batch *batch, uint32_t slice)
{
    Fly__V1__WatchReply reply = FLY__V1__WATCH_REPLY__INIT;
    char text[8];

    slice_text(slice, text);
    reply.events = batch->pointers;
    reply.cursor = "";
    if (edge.seqs[slice] - w->seqs[slice] > LOG_SIZE) {
        return false;
    }
    while (w->seqs[slice] < edge.seqs[slice]) {
        uint64_t seq = w->seqs[slice];
        for (batch->count = 0; batch->count < EVENTS_MAX && seq < edge.seqs[slice];) {
            seq++;
            add_event(batch, edge.logs[slice][seq % LOG_SIZE], text, seq);
        }
        reply.n_events = batch->count;
        enum fly_status status = rpc_call_send(w->call, &reply.base);
        if (status == FLY_RESOURCE_EXHAUSTED) {
            edge.behind = true;
            return true;
        }
        if (status != FLY_OK) {
            return false;
        }
        w->seqs[slice] = seq;
        edge.told += batch->count;
    }
    return true;
}

static void tick(struct batch *batch, uint32_t changes)
{
    size_t kept = 0;

    (void)pthread_mutex_lock(&edge.lock);
    edge.behind = false;
    for (uint32_t i = 0; i < changes; i++) {
        change(i % edge.slices);
    }
    for (size_t i = 0; i < edge.watcher_count; i++) {
        struct watcher *w = &edge.watchers[i];
        bool there = !rpc_call_cancelled(w->call);
        for (uint32_t slice = 0; there && slice < edge.slices; slice++) {
            there = tell(w, batch, slice);
        }
        if (there) {
            edge.watchers[kept++] = *w;
        } else {
            rpc_call_fail(w->call, FLY_CANCELLED, "gone, or too far behind", (struct fly_bytes){0});
        }
    }
    edge.watcher_count = kept;
    (void)pthread_mutex_unlock(&edge.lock);
}

static void say_truth(void)
{
    uint64_t cores_free = 0;
    uint64_t cordoned = 0;

    for (uint32_t i = 0; i < edge.machine_count; i++) {
        cores_free += edge.machines[i].cores_free;
        cordoned += edge.machines[i].cordoned ? 1 : 0;
    }
    (void)printf("{\"cores_free\":%llu,\"cordoned\":%llu,\"told\":%llu}\n",
                 (unsigned long long)cores_free, (unsigned long long)cordoned,
                 (unsigned long long)edge.told);
    (void)fflush(stdout);
}

/* Changes until SIGUSR1, watchers until SIGTERM. */
static void run(int signals)
{
    static struct batch batch;
    struct pollfd fd = {.fd = signals, .events = POLLIN};
    struct signalfd_siginfo info;
    int64_t begun_ms = fly_clock_boot_ms();
    int64_t next_ms = begun_ms;
    uint64_t made = 0;
    bool changing = true;

    for (;;) {
        int64_t now = fly_clock_boot_ms();
        if (now >= next_ms) {
            uint64_t due = (uint64_t)(now - begun_ms) * edge.rate / 1000;
            /* after a stop of the machine a second's worth is made up for, not all of it */
            uint32_t some = (uint32_t)(due - made < edge.rate ? due - made : edge.rate);
            tick(&batch, changing ? some : 0);
            made = changing ? made + some : due;
            made = due - made < edge.rate ? made : due;
            next_ms = now + TICK_MS;
        }
        (void)poll(&fd, 1, edge.behind ? BEHIND_MS : (int)(next_ms - now > 0 ? next_ms - now : 1));
        if (edge.behind) {
            tick(&batch, 0);
        }
        if (read(signals, &info, sizeof info) != (ssize_t)sizeof info) {
            continue;
        }
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
            return;
        }
        changing = false;
        say_truth();
    }
}

static uint32_t number(const char *word, uint32_t max)
{
    char *end = NULL;
    unsigned long value = strtoul(word, &end, 10);

    if (end == word || *end != '\0' || value < 1 || value > max) {
        (void)fprintf(stderr, "bench_top_edge: '%s' is not a number up to %u\n", word, max);
        exit(64);
    }
    return (uint32_t)value;
}

static void take_arguments(int argc, char **argv)
{
    edge.machine_count = 100000;
    edge.rate = 5000;
    edge.slices = 2;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--machines") == 0) {
            edge.machine_count = number(argv[i + 1], MACHINES_MAX);
        } else if (strcmp(argv[i], "--rate") == 0) {
            edge.rate = number(argv[i + 1], 1000000);
        } else if (strcmp(argv[i], "--slices") == 0) {
            edge.slices = number(argv[i + 1], SLICES_MAX);
        } else {
            (void)fprintf(stderr, "bench_top_edge: --machines, --rate, --slices\n");
            exit(64);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct rpc_method *const methods[] = {&rpc_edge_regions, &rpc_edge_machines,
                                                       &rpc_edge_watch, &rpc_admin_members};
    const char *url = "tcp://127.0.0.1:0";
    const struct rpc_server_config config = {.urls = &url,
                                             .url_count = 1,
                                             .methods = methods,
                                             .method_count = FLY_ARRAY_COUNT(methods),
                                             .user = &edge,
                                             .on_hello = on_hello,
                                             .on_call = on_call};
    struct fly_error error = {.text = ""};
    sigset_t set;

    take_arguments(argc, argv);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    edge.machines = calloc(edge.machine_count, sizeof *edge.machines);
    FLY_CHECK(signals >= 0 && edge.machines != NULL);
    FLY_CHECK(pthread_mutex_init(&edge.lock, NULL) == 0);
    for (uint32_t i = 0; i < edge.slices; i++) {
        edge.logs[i] = calloc(LOG_SIZE, sizeof *edge.logs[i]);
        FLY_CHECK(edge.logs[i] != NULL);
    }
    fly_rng_seed(&edge.rng, 7);
    for (uint32_t i = 0; i < edge.machine_count; i++) {
        edge.machines[i].cores_free = (uint8_t)fly_rng_below(&edge.rng, CORES + 1);
        edge.machines[i].cordoned = i % 97 == 0;
    }
    if (rpc_server_create(&edge.server, &config, &error) != FLY_OK) {
        (void)fprintf(stderr, "bench_top_edge: %s\n", error.text);
        return 1;
    }
    (void)printf("%s\n", rpc_server_url(edge.server, 0));
    (void)fflush(stdout);
    run(signals);
    (void)pthread_mutex_lock(&edge.lock);
    for (size_t i = 0; i < edge.watcher_count; i++) {
        rpc_call_fail(edge.watchers[i].call, FLY_UNAVAILABLE, "ends", (struct fly_bytes){0});
    }
    edge.watcher_count = 0;
    (void)pthread_mutex_unlock(&edge.lock);
    rpc_server_destroy(edge.server);
    for (uint32_t i = 0; i < edge.slices; i++) {
        free(edge.logs[i]);
    }
    free(edge.machines);
    return 0;
}
