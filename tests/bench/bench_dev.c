/*
 * bench_dev - a running `flynode dev` against what the machine itself can do, in one run.
 *
 *   bench_dev --addr tcp://127.0.0.1:PORT --token TOKEN --node PID --file PATH [--rounds N] [--ms
 * N]
 *
 * PATH: for the control's file, on the disk of the node's state folder. Each round measures every
 * figure once, in turn, so that a change of the machine's mood meets all of them. A round is about
 * --ms of each figure. One JSON line for each figure and round, then a summary line for each figure
 * with its control. Prints no verdict.
 *
 *   tcp_1, tcp_64      raw ping-pong over loopback, one at a time; 64 messages out, 64 back
 *   echo_1, echo_64    Health.Echo of 64 bytes, one at a time; 64 in flight
 *   disk               two ping-pongs and one fdatasync of 4 KiB into a preallocated file
 *   launch_1           one launch at a time. Its VMs are destroyed afterwards, outside the figure
 *   launch_64          64 launches in flight on one connection; likewise
 *   destroy_64         the destroys
 */
#include <argp.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "fly/v1/edge.pb-c.h"
#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.pb-c.h"
#include "fly/v1/health.rpc.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/rng.h"
#include "proto/rpc/channel.h"
#include "proto/wire/key.h"
#include "tests/bench/control.h"
#include "tests/bench/figure.h"

enum {
    IN_FLIGHT = 64,
    VMS_MAX = 2048, /* at once: the shipped inventory holds more */
    REGION_SLOTS_MAX = 65536,
    TIMEOUT_MS = 20000,
};

enum figure_id { TCP_1, TCP_64, ECHO_1, ECHO_64, DISK, LAUNCH_1, LAUNCH_64, DESTROY_64, FIGURES };

struct bench {
    const char *addr;
    const char *token;
    const char *path;
    pid_t node;
    unsigned rounds;
    int64_t ms;
    struct rpc_channel *channel;
    struct control_peer peer;
    struct control_file file;
    struct fly_rng rng;
    uint32_t tag; /* of the slice that keys are minted for */
    struct figure figures[FIGURES];
    /* a region for every free core, so that launches spread as the capacity does */
    char (*regions)[8];
    size_t region_count;
    char ids[VMS_MAX][16];
    unsigned id_count;
};

/* ---- calls ---- */

static void must(const struct rpc_reply *reply, const char *what)
{
    if (reply->status != FLY_OK) {
        (void)fprintf(stderr, "bench: %s: %s: %s\n", what, fly_status_name(reply->status),
                      reply->text);
        exit(1);
    }
}

static void open_channel(struct bench *b)
{
    Fly__V1__Hello hello = FLY__V1__HELLO__INIT;
    uint8_t packed[8192];
    struct fly_error error;

    hello.token = (char *)(uintptr_t)b->token;
    FLY_CHECK(fly__v1__hello__get_packed_size(&hello) <= sizeof packed);
    const struct rpc_channel_config config = {
        .url = b->addr, .hello = {packed, fly__v1__hello__pack(&hello, packed)}};
    if (rpc_channel_open(&b->channel, &config, &error) != FLY_OK) {
        (void)fprintf(stderr, "bench: %s\n", error.text);
        exit(1);
    }
    struct fly_bytes bytes = rpc_channel_hello(b->channel);
    Fly__V1__HelloReply *answer = fly__v1__hello_reply__unpack(NULL, bytes.size, bytes.data);
    FLY_CHECK(answer != NULL && answer->n_tags > 0);
    b->tag = answer->tags[0]->tag;
    fly__v1__hello_reply__free_unpacked(answer, NULL);
}

static void read_regions(struct bench *b)
{
    Fly__V1__RegionsRequest request = FLY__V1__REGIONS_REQUEST__INIT;
    struct rpc_reply reply;

    (void)rpc_channel_call(b->channel, &rpc_edge_regions, &request.base, NULL, &reply);
    must(&reply, "regions");
    const Fly__V1__RegionsReply *regions = (const Fly__V1__RegionsReply *)reply.message;
    b->regions = calloc(REGION_SLOTS_MAX, sizeof b->regions[0]);
    FLY_CHECK(b->regions != NULL);
    for (size_t i = 0; i < regions->n_regions; i++) {
        for (uint32_t core = 0; core < regions->regions[i]->cores_free; core++) {
            if (b->region_count < REGION_SLOTS_MAX) {
                (void)fly_copy_string(b->regions[b->region_count++], sizeof b->regions[0],
                                      regions->regions[i]->code);
            }
        }
    }
    rpc_reply_fini(&reply);
    if (b->region_count < VMS_MAX * 5 / 4) {
        (void)fprintf(stderr, "bench: the inventory has %zu free cores, %d are needed\n",
                      b->region_count, VMS_MAX * 5 / 4);
        exit(1);
    }
}

/* A shuffled hand of regions: no region gets more VMs than it has cores. */
static void shuffle_regions(struct bench *b)
{
    for (size_t i = b->region_count - 1; i > 0; i--) {
        size_t k = (size_t)fly_rng_below(&b->rng, i + 1);
        char held[sizeof b->regions[0]];
        memcpy(held, b->regions[i], sizeof held);
        memcpy(b->regions[i], b->regions[k], sizeof held);
        memcpy(b->regions[k], held, sizeof held);
    }
}

/* ---- many calls in flight ---- */

struct flow {
    struct bench *bench;
    struct figure *figure;
    const struct rpc_method *method;
    unsigned total;
    unsigned started; /* by the one thread that starts; ends come on others */
    sem_t room;
    pthread_mutex_t lock;
};

struct slot {
    struct flow *flow;
    int64_t begin_ns;
    bool busy;
};

static void flow_done(void *user, struct rpc_reply *reply)
{
    struct slot *slot = user;
    struct flow *flow = slot->flow;
    int64_t end_ns = figure_clock_ns();

    must(reply, flow->method->name);
    (void)pthread_mutex_lock(&flow->lock);
    figure_call(flow->figure, end_ns - slot->begin_ns);
    if (flow->method == &rpc_edge_launch) {
        const Fly__V1__LaunchReply *launched = (const Fly__V1__LaunchReply *)reply->message;
        struct bench *b = flow->bench;
        FLY_CHECK(b->id_count < VMS_MAX);
        (void)fly_copy_string(b->ids[b->id_count++], sizeof b->ids[0], launched->vm->id);
    }
    slot->busy = false;
    (void)pthread_mutex_unlock(&flow->lock);
    (void)sem_post(&flow->room);
}

static void flow_start(struct flow *flow, struct slot *slot)
{
    struct bench *b = flow->bench;
    Fly__V1__LaunchRequest launch = FLY__V1__LAUNCH_REQUEST__INIT;
    Fly__V1__DestroyRequest destroy = FLY__V1__DESTROY_REQUEST__INIT;
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    const ProtobufCMessage *request = &ping.base;
    uint8_t payload[CONTROL_MESSAGE_SIZE] = {0};
    uint8_t random[FLY_KEY_RANDOM_SIZE];
    struct fly_key key;
    const struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};

    ping.payload = (ProtobufCBinaryData){sizeof payload, payload};
    if (flow->method == &rpc_edge_launch) {
        FLY_CHECK(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
        key_mint(&key, b->tag, (uint32_t)(fly_clock_wall_ms() / 1000), random);
        launch.region = b->regions[flow->started % b->region_count];
        launch.cores = 1;
        launch.memory_bytes = 1000000000;
        launch.key = (ProtobufCBinaryData){sizeof key.bytes, key.bytes};
        request = &launch.base;
    } else if (flow->method == &rpc_edge_destroy) {
        destroy.vm = b->ids[flow->started];
        request = &destroy.base;
    }
    flow->started++;
    slot->begin_ns = figure_clock_ns();
    FLY_CHECK(rpc_channel_start(b->channel, flow->method, request, &options, flow_done, slot,
                                NULL) == FLY_OK);
}

/* `total` calls, never more than `in_flight` at once; or as many as `ms` last, when total is 0. */
static void run_flow(struct bench *b, struct figure *figure, const struct rpc_method *method,
                     unsigned total, unsigned in_flight)
{
    struct flow flow = {.bench = b,
                        .figure = figure,
                        .method = method,
                        .total = total,
                        .lock = PTHREAD_MUTEX_INITIALIZER};
    struct slot slots[IN_FLIGHT] = {{0}};
    int64_t until_ms = fly_clock_boot_ms() + b->ms;

    (void)sem_init(&flow.room, 0, in_flight);
    figure_begin(figure);
    while (total > 0 ? flow.started < total : fly_clock_boot_ms() < until_ms) {
        struct slot *slot = slots;
        while (sem_wait(&flow.room) != 0) {
        }
        (void)pthread_mutex_lock(&flow.lock);
        while (slot->busy) {
            slot++;
        }
        slot->busy = true;
        (void)pthread_mutex_unlock(&flow.lock);
        slot->flow = &flow;
        flow_start(&flow, slot);
    }
    for (unsigned i = 0; i < in_flight; i++) {
        while (sem_wait(&flow.room) != 0) {
        }
    }
    figure_end(figure);
    (void)sem_destroy(&flow.room);
}

/* ---- the figures ---- */

static void run_tcp(struct bench *b, struct figure *figure, unsigned count)
{
    int64_t until = figure_clock_ns() + b->ms * 1000000;

    figure_begin(figure);
    for (int64_t now = figure_clock_ns(); now < until;) {
        control_ping_many(&b->peer, count);
        int64_t end = figure_clock_ns();
        for (unsigned i = 0; i < count; i++) {
            figure_call(figure, end - now);
        }
        now = end;
    }
    figure_end(figure);
}

static void run_disk(struct bench *b, struct figure *figure)
{
    int64_t until = figure_clock_ns() + b->ms * 1000000;

    figure_begin(figure);
    for (int64_t now = figure_clock_ns(); now < until;) {
        control_ping(&b->peer);
        control_file_write(&b->file);
        control_ping(&b->peer);
        int64_t end = figure_clock_ns();
        figure_call(figure, end - now);
        now = end;
    }
    figure_end(figure);
}

static void run_echo_1(struct bench *b, struct figure *figure)
{
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    uint8_t payload[CONTROL_MESSAGE_SIZE] = {0};
    int64_t until = figure_clock_ns() + b->ms * 1000000;

    ping.payload = (ProtobufCBinaryData){sizeof payload, payload};
    figure_begin(figure);
    for (int64_t now = figure_clock_ns(); now < until;) {
        struct rpc_reply reply;
        (void)rpc_channel_call(b->channel, &rpc_health_echo, &ping.base, NULL, &reply);
        must(&reply, "echo");
        rpc_reply_fini(&reply);
        int64_t end = figure_clock_ns();
        figure_call(figure, end - now);
        now = end;
    }
    figure_end(figure);
}

static void destroy_all(struct bench *b, struct figure *figure)
{
    run_flow(b, figure, &rpc_edge_destroy, b->id_count, IN_FLIGHT);
    b->id_count = 0;
}

/* One at a time, by the waiting call that flyrpc makes too. */
static void run_launch_1(struct bench *b, struct figure *figure)
{
    int64_t until = figure_clock_ns() + b->ms * 1000000;
    const struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};

    shuffle_regions(b);
    figure_begin(figure);
    for (int64_t now = figure_clock_ns(); now < until && b->id_count < VMS_MAX;) {
        Fly__V1__LaunchRequest launch = FLY__V1__LAUNCH_REQUEST__INIT;
        struct rpc_reply reply;
        uint8_t random[FLY_KEY_RANDOM_SIZE];
        struct fly_key key;
        FLY_CHECK(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
        key_mint(&key, b->tag, (uint32_t)(fly_clock_wall_ms() / 1000), random);
        launch.region = b->regions[b->id_count];
        launch.cores = 1;
        launch.memory_bytes = 1000000000;
        launch.key = (ProtobufCBinaryData){sizeof key.bytes, key.bytes};
        (void)rpc_channel_call(b->channel, &rpc_edge_launch, &launch.base, &options, &reply);
        must(&reply, "launch");
        const Fly__V1__LaunchReply *launched = (const Fly__V1__LaunchReply *)reply.message;
        (void)fly_copy_string(b->ids[b->id_count++], sizeof b->ids[0], launched->vm->id);
        rpc_reply_fini(&reply);
        int64_t end = figure_clock_ns();
        figure_call(figure, end - now);
        now = end;
    }
    figure_end(figure);
}

static void run_round(struct bench *b)
{
    struct figure *f = b->figures;

    run_tcp(b, &f[TCP_1], 1);
    run_echo_1(b, &f[ECHO_1]);
    run_tcp(b, &f[TCP_64], IN_FLIGHT);
    run_flow(b, &f[ECHO_64], &rpc_health_echo, 0, IN_FLIGHT);
    run_disk(b, &f[DISK]);
    run_launch_1(b, &f[LAUNCH_1]);
    struct figure ignored;
    figure_init(&ignored, "destroy_after_launch_1", "", b->node);
    destroy_all(b, &ignored);
    figure_fini(&ignored);
    shuffle_regions(b);
    run_flow(b, &f[LAUNCH_64], &rpc_edge_launch, VMS_MAX, IN_FLIGHT);
    destroy_all(b, &f[DESTROY_64]);
}

static void init_figures(struct bench *b)
{
    struct figure *f = b->figures;

    figure_init(&f[TCP_1], "tcp_1", "raw TCP ping-pong, 64 bytes, one at a time", 0);
    figure_init(&f[TCP_64], "tcp_64", "raw TCP, 64 messages of 64 bytes out, then 64 back", 0);
    figure_init(&f[ECHO_1], "echo_1", "RPC echo of 64 bytes, one at a time", b->node);
    figure_init(&f[ECHO_64], "echo_64", "RPC echo of 64 bytes, 64 in flight", b->node);
    figure_init(&f[DISK], "disk", "two TCP ping-pongs and one fdatasync of 4 KiB", 0);
    figure_init(&f[LAUNCH_1], "launch_1", "one launch at a time", b->node);
    figure_init(&f[LAUNCH_64], "launch_64", "64 launches in flight", b->node);
    figure_init(&f[DESTROY_64], "destroy_64", "64 destroys in flight", b->node);
}

static void print_summaries(const struct bench *b)
{
    const struct figure *f = b->figures;

    figure_summary(&f[TCP_1], NULL);
    figure_summary(&f[TCP_64], NULL);
    figure_summary(&f[DISK], NULL);
    figure_summary(&f[ECHO_1], &f[TCP_1]);
    figure_summary(&f[ECHO_64], &f[TCP_64]);
    figure_summary(&f[LAUNCH_1], &f[DISK]);
    figure_summary(&f[LAUNCH_64], &f[DISK]);
    figure_summary(&f[DESTROY_64], &f[DISK]);
}

enum { OPTION_ADDR = 1, OPTION_TOKEN, OPTION_NODE, OPTION_FILE, OPTION_ROUNDS, OPTION_MS };

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct bench *b = state->input;

    switch (key) {
    case OPTION_ADDR:
        b->addr = value;
        return 0;
    case OPTION_TOKEN:
        b->token = value;
        return 0;
    case OPTION_NODE:
        b->node = (pid_t)strtol(value, NULL, 10);
        return 0;
    case OPTION_FILE:
        b->path = value;
        return 0;
    case OPTION_ROUNDS:
        b->rounds = (unsigned)strtoul(value, NULL, 10);
        return 0;
    case OPTION_MS:
        b->ms = strtol(value, NULL, 10);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"addr", OPTION_ADDR, "URL", 0, "the node", 0},
        {"token", OPTION_TOKEN, "TOKEN", 0, "with regions, launch and destroy", 0},
        {"node", OPTION_NODE, "PID", 0, "whose CPU is counted", 0},
        {"file", OPTION_FILE, "PATH", 0, "for the control, on the same disk", 0},
        {"rounds", OPTION_ROUNDS, "N", 0, "[5]", 0},
        {"ms", OPTION_MS, "N", 0, "of one figure in one round [1000]", 0},
        {0},
    };
    static const struct argp argp = {.options = options, .parser = parse_option};
    static struct bench b = {.rounds = 5, .ms = 1000};

    (void)argp_parse(&argp, argc, argv, 0, NULL, &b);
    if (b.addr == NULL || b.token == NULL || b.path == NULL || b.node <= 0 || b.rounds == 0 ||
        b.rounds > FIGURE_ROUNDS_MAX || b.ms <= 0) {
        (void)fprintf(stderr, "bench: --addr, --token, --node and --file are needed\n");
        return 2;
    }
    if (!control_file_open(&b.file, b.path)) {
        perror(b.path);
        return 1;
    }
    fly_rng_seed(&b.rng, 1);
    control_peer_open(&b.peer);
    open_channel(&b);
    read_regions(&b);
    init_figures(&b);
    for (unsigned round = 0; round < b.rounds; round++) {
        run_round(&b);
    }
    print_summaries(&b);
    for (size_t i = 0; i < FIGURES; i++) {
        figure_fini(&b.figures[i]);
    }
    rpc_channel_close(b.channel);
    control_peer_close(&b.peer);
    control_file_close(&b.file);
    free(b.regions);
    return 0;
}
