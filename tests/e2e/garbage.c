/*
 * garbage - speaks nonsense to an RPC port: bytes, broken frames, and well-formed,
 * well-authenticated calls that make no sense.
 *
 *   fly_garbage --port N [--seconds S] [--seed N] [--token TOKEN] [--all-methods]
 *
 * Raw sockets on loopback, four threads, a seeded generator each (the interleaving is not seeded).
 * Makes nothing that lasts in the node: no launch that could succeed, no cancel of a valid key.
 * Prints its counters as one JSON object; exits 1 when the port refuses connections.
 */
#include <argp.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fly/v1/edge.pb-c.h"
#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/rng.h"
#include "proto/rpc/method.h"
#include "proto/rpc/methods.h"
#include "proto/wire/frame.h"

enum {
    THREADS = 4,
    BUFFER_SIZE = 1 << 20,
    IDLE_MAX = 24, /* connections that a thread leaves half open */
    WAIT_MS = 300,
    REFUSALS_MAX = 20, /* in a row */
};

struct counters {
    atomic_uint_fast64_t connections, bytes_out, bytes_in, frames, sessions, hellos_refused, calls,
        answers, refused_connects;
};

struct garbage {
    uint16_t port;
    int64_t until_ms;
    uint64_t seed;
    const char *token;
    bool all_methods;
    struct counters counters;
    atomic_bool dead;
};

struct talker {
    struct garbage *garbage;
    pthread_t thread;
    struct fly_rng rng;
    int idle[IDLE_MAX];
    unsigned idle_next;
    unsigned refusals;
    uint32_t next_slot;
    uint8_t buffer[BUFFER_SIZE];
};

static void count(atomic_uint_fast64_t *counter, uint64_t by)
{
    (void)atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

static uint64_t below(struct talker *t, uint64_t bound)
{
    return fly_rng_below(&t->rng, bound);
}

/* ---- sockets ---- */

static int talk_connect(struct talker *t)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(t->garbage->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval wait = {.tv_usec = WAIT_MS * 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    FLY_CHECK(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        (void)close(fd);
        count(&t->garbage->counters.refused_connects, 1);
        if (++t->refusals > REFUSALS_MAX) {
            atomic_store(&t->garbage->dead, true);
        }
        return -1;
    }
    t->refusals = 0;
    count(&t->garbage->counters.connections, 1);
    return fd;
}

/* Politely, or with a reset. */
static void talk_close(struct talker *t, int fd)
{
    if (fly_rng_chance(&t->rng, 300)) {
        const struct linger reset = {.l_onoff = 1};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    (void)close(fd);
}

static bool say(struct talker *t, int fd, const void *data, size_t size)
{
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

    count(&t->garbage->counters.bytes_out, sent > 0 ? (uint64_t)sent : 0);
    return sent == (ssize_t)size;
}

static bool say_frame(struct talker *t, int fd, struct frame_header header, const void *meta,
                      const void *body, size_t body_size)
{
    uint8_t head[FRAME_HEADER_SIZE];

    header.size = (uint32_t)(header.meta_size + body_size);
    frame_header_encode(&header, head);
    count(&t->garbage->counters.frames, 1);
    return say(t, fd, head, sizeof head) &&
           (header.meta_size == 0 || say(t, fd, meta, header.meta_size)) &&
           (body_size == 0 || say(t, fd, body, body_size));
}

static bool hear(struct talker *t, int fd, void *out, size_t size)
{
    size_t have = 0;

    while (have < size) {
        ssize_t n = recv(fd, (uint8_t *)out + have, size - have, 0);
        if (n <= 0) {
            return false;
        }
        have += (size_t)n;
        count(&t->garbage->counters.bytes_in, (uint64_t)n);
    }
    return true;
}

/* Reads whatever comes until it is quiet for a moment. */
static void hear_all(struct talker *t, int fd)
{
    for (;;) {
        ssize_t n = recv(fd, t->buffer, sizeof t->buffer, MSG_DONTWAIT);
        if (n <= 0) {
            return;
        }
        count(&t->garbage->counters.bytes_in, (uint64_t)n);
        count(&t->garbage->counters.answers, 1);
    }
}

static bool say_preface(struct talker *t, int fd)
{
    const struct frame_preface preface = {
        .version = FRAME_VERSION, .frame_max = 1 << 20, .window = 64 * 1024};
    uint8_t bytes[FRAME_PREFACE_SIZE];

    frame_preface_encode(&preface, bytes);
    return say(t, fd, bytes, sizeof bytes);
}

static bool say_hello(struct talker *t, int fd, const char *token)
{
    Fly__V1__Hello hello = FLY__V1__HELLO__INIT;
    uint8_t packed[8192];

    hello.token = (char *)(uintptr_t)token;
    hello.agent = (char *)(uintptr_t) "garbage";
    FLY_CHECK(fly__v1__hello__get_packed_size(&hello) <= sizeof packed);
    size_t size = fly__v1__hello__pack(&hello, packed);
    return say_frame(t, fd, (struct frame_header){.type = FRAME_HELLO}, NULL, packed, size);
}

/* As a node would, with a credential and a proof of chance. */
static bool say_node_hello(struct talker *t, int fd)
{
    Fly__V1__Hello hello = FLY__V1__HELLO__INIT;
    uint8_t credential[512];
    uint8_t proof[96];
    uint8_t packed[1024];

    fly_rng_fill(&t->rng, credential, sizeof credential);
    fly_rng_fill(&t->rng, proof, sizeof proof);
    credential[0] = fly_rng_chance(&t->rng, 500) ? 1 : credential[0]; /* a version, perhaps */
    hello.agent = (char *)(uintptr_t) "garbage";
    hello.credential = (ProtobufCBinaryData){1 + below(t, sizeof credential), credential};
    hello.proof = (ProtobufCBinaryData){fly_rng_chance(&t->rng, 700) ? 64 : below(t, 96), proof};
    size_t size = fly__v1__hello__pack(&hello, packed);
    return say_frame(t, fd, (struct frame_header){.type = FRAME_HELLO}, NULL, packed, size);
}

/* The answer to HELLO. */
static bool hear_hello(struct talker *t, int fd)
{
    uint8_t preface[FRAME_PREFACE_SIZE];
    uint8_t head[FRAME_HEADER_SIZE];

    if (!hear(t, fd, preface, sizeof preface) || !hear(t, fd, head, sizeof head)) {
        return false;
    }
    uint32_t size = fly_load_u32(head);
    return size <= sizeof t->buffer && hear(t, fd, t->buffer, size) && head[4] == FRAME_HELLO;
}

/* ---- garbage before anybody knows who we are ---- */

static void talk_noise(struct talker *t, int fd)
{
    size_t size = 1 + below(t, 8192);

    fly_rng_fill(&t->rng, t->buffer, size);
    (void)say(t, fd, t->buffer, size);
}

static void talk_preface(struct talker *t, int fd)
{
    struct frame_preface preface = {.version = (uint16_t)below(t, 4),
                                    .frame_max = (uint32_t)fly_rng_next(&t->rng),
                                    .calls_max = (uint32_t)fly_rng_next(&t->rng),
                                    .window = (uint32_t)fly_rng_next(&t->rng)};
    uint8_t bytes[FRAME_PREFACE_SIZE];

    frame_preface_encode(&preface, bytes);
    (void)say(t, fd, bytes, below(t, sizeof bytes + 1));
}

/* A header whose every field may be wrong, and less or more behind it than it says. */
static bool say_broken_frame(struct talker *t, int fd)
{
    struct frame_header header = {
        .size = (uint32_t)below(t, 256),
        .type = (uint8_t)below(t, FRAME_TYPE_COUNT + 3),
        .flags = (uint8_t)below(t, 4),
        .meta_size = (uint16_t)below(t, 64),
        .call_id = fly_rng_chance(&t->rng, 500) ? 0 : (uint32_t)fly_rng_next(&t->rng),
        .arg = (uint32_t)fly_rng_next(&t->rng)};
    uint8_t head[FRAME_HEADER_SIZE];
    uint8_t body[512];

    if (fly_rng_chance(&t->rng, 200)) {
        header.size = (uint32_t)fly_rng_next(&t->rng); /* oversized, mostly */
    }
    frame_header_encode(&header, head);
    fly_rng_fill(&t->rng, body, sizeof body);
    count(&t->garbage->counters.frames, 1);
    return say(t, fd, head, sizeof head) && say(t, fd, body, below(t, sizeof body));
}

static void talk_broken_frames(struct talker *t, int fd)
{
    bool alive = say_preface(t, fd);

    for (unsigned i = 0; alive && i < 16; i++) {
        alive = say_broken_frame(t, fd);
    }
}

static void talk_false_hello(struct talker *t, int fd)
{
    char token[2048];
    size_t size = below(t, sizeof token);

    if (fly_rng_chance(&t->rng, 300)) {
        if (say_preface(t, fd) && say_node_hello(t, fd) && !hear_hello(t, fd)) {
            count(&t->garbage->counters.hellos_refused, 1);
        }
        return;
    }
    if (fly_rng_chance(&t->rng, 500)) { /* a good one with a wrong letter */
        (void)fly_copy_string(token, sizeof token, t->garbage->token);
        size = strlen(token);
        token[below(t, size)] = (char)('A' + below(t, 26));
    } else {
        for (size_t i = 0; i < size; i++) {
            token[i] = (char)(1 + below(t, 126));
        }
        token[size > 0 ? size - 1 : 0] = '\0';
    }
    if (say_preface(t, fd) && say_hello(t, fd, token) && !hear_hello(t, fd)) {
        count(&t->garbage->counters.hellos_refused, 1);
    }
}

/* ---- nonsense from somebody with a good token ---- */

static uint32_t next_id(struct talker *t)
{
    t->next_slot = (t->next_slot + 1) % 256;
    return frame_call_id(t->next_slot, 1 + (uint32_t)below(t, 4000));
}

static bool say_request(struct talker *t, int fd, uint32_t id, uint32_t method, const void *body,
                        size_t size)
{
    uint8_t meta[FRAME_REQ_META_SIZE];

    fly_store_u32(meta, (uint32_t)below(t, 5000));
    count(&t->garbage->counters.calls, 1);
    return say_frame(t, fd,
                     (struct frame_header){
                         .type = FRAME_REQ, .call_id = id, .meta_size = sizeof meta, .arg = method},
                     meta, body, size);
}

static bool call_message(struct talker *t, int fd, const struct rpc_method *method,
                         const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);

    FLY_CHECK(size <= sizeof t->buffer);
    (void)protobuf_c_message_pack(message, t->buffer);
    if (size > 0 && fly_rng_chance(&t->rng, 200)) { /* one byte of it is wrong */
        t->buffer[below(t, size)] ^= (uint8_t)(1 + below(t, 255));
    }
    return say_request(t, fd, next_id(t), rpc_method_hash(method->name), t->buffer, size);
}

static bool call_launch(struct talker *t, int fd)
{
    static char *const regions[] = {
        "",         "SIN",   "XXX",
        "\xff\xfe", "sin\n", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    static char *const names[] = {"", "Upper", "-", "\xc3\x28", "a b"};
    Fly__V1__LaunchRequest request = FLY__V1__LAUNCH_REQUEST__INIT;
    uint8_t key[64];

    fly_rng_fill(&t->rng, key, sizeof key);
    key[0] = (uint8_t)(2 + below(t, 200)); /* no form that a valid key has, so that nothing lasts */
    request.region = regions[below(t, FLY_ARRAY_COUNT(regions))];
    request.name = names[below(t, FLY_ARRAY_COUNT(names))];
    request.cores = (uint32_t)fly_rng_next(&t->rng);
    request.memory_bytes = fly_rng_next(&t->rng);
    request.key = (ProtobufCBinaryData){below(t, sizeof key), key};
    return call_message(t, fd, &rpc_edge_launch, &request.base);
}

static bool call_reads(struct talker *t, int fd)
{
    char text[64];
    size_t size = below(t, sizeof text - 1);

    for (size_t i = 0; i < size; i++) {
        text[i] = (char)(1 + below(t, 255));
    }
    text[size] = '\0';
    switch (below(t, 5)) {
    case 0: {
        Fly__V1__ListRequest request = FLY__V1__LIST_REQUEST__INIT;
        request.region = text;
        request.id_prefix = text;
        request.limit = (uint32_t)fly_rng_next(&t->rng);
        request.after = fly_rng_next(&t->rng);
        request.state = (Fly__V1__VmState)below(t, 100);
        return call_message(t, fd, &rpc_edge_list, &request.base);
    }
    case 1: {
        Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
        request.vm = text;
        return call_message(t, fd, &rpc_edge_status, &request.base);
    }
    case 2: {
        Fly__V1__DestroyRequest request = FLY__V1__DESTROY_REQUEST__INIT;
        request.vm = text;
        return call_message(t, fd, &rpc_edge_destroy, &request.base);
    }
    case 3: {
        Fly__V1__CancelRequest request = FLY__V1__CANCEL_REQUEST__INIT;
        request.key = (ProtobufCBinaryData){below(t, 15), (uint8_t *)text};
        return call_message(t, fd, &rpc_edge_cancel, &request.base);
    }
    default: {
        Fly__V1__RegionsRequest request = FLY__V1__REGIONS_REQUEST__INIT;
        return call_message(t, fd, &rpc_edge_regions, &request.base);
    }
    }
}

/* A stream that is opened and not read; then perhaps credit without end. */
static bool call_watch(struct talker *t, int fd)
{
    static char *const cursors[] = {"", ":::", "000001:0:0", "zzzzzz:99999999999999999999:1",
                                    ",,,,"};
    Fly__V1__WatchRequest request = FLY__V1__WATCH_REQUEST__INIT;
    uint32_t id = next_id(t);
    bool alive = true;

    request.since = cursors[below(t, FLY_ARRAY_COUNT(cursors))];
    size_t size = fly__v1__watch_request__pack(&request, t->buffer);
    alive = say_request(t, fd, id, rpc_method_hash(rpc_edge_watch.name), t->buffer, size);
    for (unsigned i = 0; alive && fly_rng_chance(&t->rng, 500) && i < 64; i++) {
        struct frame_header window = {
            .type = FRAME_WINDOW, .call_id = id, .arg = (uint32_t)(INT32_MAX - below(t, 2))};
        alive = say_frame(t, fd, window, NULL, NULL, 0);
    }
    return alive;
}

static bool call_bytes(struct talker *t, int fd)
{
    static const struct rpc_method *const methods[] = {
        &rpc_edge_regions, &rpc_edge_list, &rpc_edge_status, &rpc_edge_destroy, &rpc_health_check};
    const struct rpc_method *m = methods[below(t, FLY_ARRAY_COUNT(methods))];
    size_t size = fly_rng_chance(&t->rng, 50) ? 900000 : below(t, 600);

    if (t->garbage->all_methods) { /* what comes back of Echo is as large as what was said */
        m = rpc_methods[below(t, rpc_method_count)];
        size = m == &rpc_health_echo ? size % 600 : size;
    }
    uint32_t method = rpc_method_hash(m->name);

    if (fly_rng_chance(&t->rng, 300)) {
        method = (uint32_t)fly_rng_next(&t->rng);
    }
    if (fly_rng_chance(&t->rng, 300)) {
        memset(t->buffer, 0x0a, size); /* fields in fields in fields */
    } else {
        fly_rng_fill(&t->rng, t->buffer, size);
    }
    return say_request(t, fd, next_id(t), method, t->buffer, size);
}

static bool say_control(struct talker *t, int fd)
{
    static const enum frame_type types[] = {FRAME_CANCEL, FRAME_WINDOW, FRAME_PING, FRAME_PONG,
                                            FRAME_VOID};
    enum frame_type type = types[below(t, FLY_ARRAY_COUNT(types))];
    bool whole = type == FRAME_PING || type == FRAME_PONG;
    bool alive = true;

    for (unsigned i = 0; alive && i < 1 + below(t, 40); i++) {
        struct frame_header header = {.type = (uint8_t)type,
                                      .call_id = whole ? 0 : 1 + (uint32_t)below(t, 1 << 22),
                                      .arg = 1 + (uint32_t)below(t, INT32_MAX)};
        alive = say_frame(t, fd, header, NULL, NULL, 0);
    }
    return alive;
}

static bool say_nonsense(struct talker *t, int fd)
{
    switch (below(t, 12)) {
    case 0:
    case 1:
    case 2:
        return call_launch(t, fd);
    case 3:
    case 4:
    case 5:
        return call_reads(t, fd);
    case 6:
        return call_watch(t, fd);
    case 7:
    case 8:
        return call_bytes(t, fd);
    case 9:
    case 10:
        return say_control(t, fd);
    default:
        return !fly_rng_chance(&t->rng, 100) || say_broken_frame(t, fd);
    }
}

static void talk_nonsense(struct talker *t, int fd)
{
    bool reads = fly_rng_chance(&t->rng, 700);
    bool alive = say_preface(t, fd) && say_hello(t, fd, t->garbage->token) && hear_hello(t, fd);

    count(&t->garbage->counters.sessions, alive ? 1 : 0);
    for (uint64_t i = 0; alive && i < 1 + below(t, 120); i++) {
        alive = say_nonsense(t, fd);
        if (reads) {
            hear_all(t, fd);
        }
    }
}

/* ---- what to do next ---- */

/* Leaves a connection open, and takes the place of one that it left before. */
static void talk_idle(struct talker *t, int fd)
{
    unsigned at = t->idle_next++ % IDLE_MAX;

    if (fly_rng_chance(&t->rng, 500)) {
        talk_preface(t, fd);
    } else if (say_preface(t, fd) && fly_rng_chance(&t->rng, 500)) {
        (void)say_hello(t, fd, t->garbage->token);
    }
    if (t->idle[at] >= 0) {
        talk_close(t, t->idle[at]);
    }
    t->idle[at] = fd;
}

static void talk_storm(struct talker *t)
{
    for (unsigned i = 0; i < 60 && !atomic_load(&t->garbage->dead); i++) {
        int fd = talk_connect(t);
        if (fd >= 0) {
            talk_close(t, fd);
        }
    }
}

static void talk(struct talker *t)
{
    uint64_t kind = below(t, 100);

    if (kind < 5) {
        talk_storm(t);
        return;
    }
    int fd = talk_connect(t);
    if (fd < 0) {
        return;
    }
    if (kind < 15) {
        talk_idle(t, fd);
        return;
    }
    if (kind < 25) {
        talk_noise(t, fd);
    } else if (kind < 35) {
        talk_preface(t, fd);
    } else if (kind < 50) {
        talk_broken_frames(t, fd);
    } else if (kind < 60) {
        talk_false_hello(t, fd);
    } else {
        talk_nonsense(t, fd);
    }
    talk_close(t, fd);
}

static void *run_talker(void *user)
{
    struct talker *t = user;

    for (unsigned i = 0; i < IDLE_MAX; i++) {
        t->idle[i] = -1;
    }
    while (!atomic_load(&t->garbage->dead) && fly_clock_boot_ms() < t->garbage->until_ms) {
        talk(t);
    }
    for (unsigned i = 0; i < IDLE_MAX; i++) {
        if (t->idle[i] >= 0) {
            (void)close(t->idle[i]);
        }
    }
    return NULL;
}

static void print_counters(struct counters *n)
{
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"connections", atomic_load(&n->connections)},
        {"bytes_out", atomic_load(&n->bytes_out)},
        {"bytes_in", atomic_load(&n->bytes_in)},
        {"frames", atomic_load(&n->frames)},
        {"sessions", atomic_load(&n->sessions)},
        {"hellos_refused", atomic_load(&n->hellos_refused)},
        {"calls", atomic_load(&n->calls)},
        {"answers", atomic_load(&n->answers)},
        {"refused_connects", atomic_load(&n->refused_connects)},
    };

    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        (void)printf("%s\"%s\": %llu", i == 0 ? "{" : ", ", rows[i].name,
                     (unsigned long long)rows[i].value);
    }
    (void)printf("}\n");
}

enum { OPTION_PORT = 1, OPTION_SECONDS, OPTION_SEED, OPTION_TOKEN, OPTION_ALL };

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct garbage *g = state->input;

    switch (key) {
    case OPTION_PORT:
        g->port = (uint16_t)strtoul(value, NULL, 10);
        return 0;
    case OPTION_SECONDS:
        g->until_ms = (int64_t)strtoul(value, NULL, 10) * 1000;
        return 0;
    case OPTION_SEED:
        g->seed = strtoull(value, NULL, 10);
        return 0;
    case OPTION_TOKEN:
        g->token = value;
        return 0;
    case OPTION_ALL:
        g->all_methods = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"port", OPTION_PORT, "N", 0, "of the RPC listener on 127.0.0.1", 0},
        {"seconds", OPTION_SECONDS, "N", 0, "how long [8]", 0},
        {"seed", OPTION_SEED, "N", 0, "of the choices [1]", 0},
        {"all-methods", OPTION_ALL, NULL, 0, "bytes for nodes' and admins' methods too", 0},
        {"token", OPTION_TOKEN, "TOKEN", 0, "a good one, for the nonsense behind HELLO", 0},
        {0},
    };
    static const struct argp argp = {.options = options, .parser = parse_option};
    static struct talker talkers[THREADS];
    static struct garbage garbage = {.until_ms = 8000, .seed = 1};

    (void)argp_parse(&argp, argc, argv, 0, NULL, &garbage);
    if (garbage.port == 0 || garbage.token == NULL || garbage.token[0] == '\0') {
        (void)fprintf(stderr, "garbage: --port and --token are needed\n");
        return 2;
    }
    garbage.until_ms += fly_clock_boot_ms();
    for (unsigned i = 0; i < THREADS; i++) {
        talkers[i].garbage = &garbage;
        fly_rng_seed(&talkers[i].rng, garbage.seed * THREADS + i);
        FLY_CHECK(pthread_create(&talkers[i].thread, NULL, run_talker, &talkers[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(talkers[i].thread, NULL);
    }
    print_counters(&garbage.counters);
    if (atomic_load(&garbage.dead)) {
        (void)fprintf(stderr, "garbage: port %u takes no connections\n", garbage.port);
        return 1;
    }
    return 0;
}
