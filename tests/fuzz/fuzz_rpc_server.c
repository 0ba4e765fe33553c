/*
 * A client's bytes into a real server, after a sound preface and HELLO: what comes back is sound
 * frames, at most one END for each REQ that was said, no more MSG than the credit allows; and when
 * the connection is gone, every call has ended and nothing of it is left.
 */
#include <pthread.h>
#include <sched.h>

#include "proto/rpc/server.h"
#include "tests/fuzz/rpc_play.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARKED_MAX = 64, ANSWERS_MAX = 8 << 20 };

static struct {
    struct rpc_server *server;
    struct sockaddr_un address;
    pthread_mutex_t lock;
    struct rpc_call *parked[PARKED_MAX];
    size_t parked_count;
    uint8_t *answers;
    uint8_t frames[PLAY_MAX + FRAME_PREFACE_SIZE + FRAME_HEADER_SIZE];
} world = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void park(struct rpc_call *call)
{
    (void)pthread_mutex_lock(&world.lock);
    FLY_CHECK(world.parked_count < PARKED_MAX); /* more than calls_max: it does not count right */
    world.parked[world.parked_count++] = call;
    (void)pthread_mutex_unlock(&world.lock);
}

static bool unpark(struct rpc_call *call)
{
    bool found = false;

    (void)pthread_mutex_lock(&world.lock);
    for (size_t i = 0; i < world.parked_count && !found; i++) {
        found = world.parked[i] == call;
        if (found) {
            world.parked[i] = world.parked[--world.parked_count];
        }
    }
    (void)pthread_mutex_unlock(&world.lock);
    return found;
}

/* What there is to take goes back where the server streams; at the end, so does the end. */
static void take(struct rpc_call *call)
{
    bool streams = (rpc_call_method(call)->flags & RPC_STREAM) != 0;
    Fly__V1__EchoMessage sum = FLY__V1__ECHO_MESSAGE__INIT;
    struct rpc_reply message;
    enum rpc_next next;

    while ((next = rpc_call_next(call, 0, &message)) == RPC_NEXT_MESSAGE) {
        if (streams) {
            (void)rpc_call_send(call, message.message);
        }
        rpc_reply_fini(&message);
    }
    if (next == RPC_NEXT_END && unpark(call)) {
        if (message.status == FLY_OK) {
            rpc_call_reply(call, streams ? NULL : &sum.base);
        } else {
            rpc_call_fail(call, message.status, message.text, (struct fly_bytes){0});
        }
    }
    rpc_reply_fini(&message);
}

static void answer(struct rpc_call *call)
{
    const Fly__V1__EchoMessage *request = (const void *)rpc_call_request(call);
    uint8_t first = request->payload.len > 0 ? request->payload.data[0] : 0;
    bool streams = (rpc_call_method(call)->flags & RPC_STREAM) != 0;

    for (unsigned i = 0; streams && i < first % 64U; i++) {
        (void)rpc_call_send(call, &request->base);
    }
    if (first % 4 == 3) {
        park(call); /* until it is cancelled, or all is over */
    } else if (first % 4 == 2) {
        rpc_call_turn_away(call, FLY_UNAVAILABLE, "not now",
                           request->payload.len < 100
                               ? (struct fly_bytes){request->payload.data, request->payload.len}
                               : (struct fly_bytes){0});
    } else {
        rpc_call_reply(call, streams ? NULL : &request->base);
    }
}

static void handle(const struct rpc_service *service, size_t index, struct rpc_call *call)
{
    (void)service;
    if (index == PLAY_UNARY || index == PLAY_COUNT) {
        answer(call);
        return;
    }
    park(call);
    take(call);
}

static void on_readable(void *user, struct rpc_call *call)
{
    (void)user;
    take(call);
}

static void on_cancel(void *user, struct rpc_call *call)
{
    (void)user;
    if (unpark(call)) {
        rpc_call_fail(call, FLY_CANCELLED, "given up", (struct fly_bytes){0});
    }
}

static void begin(void)
{
    static const struct rpc_method *table[PLAY_METHODS];
    static char url[128];
    static const char *const urls[] = {url};
    struct fly_error error = {.text = ""};

    play_init();
    for (size_t i = 0; i < PLAY_METHODS; i++) {
        table[i] = &play_methods[i];
    }
    play_methods[PLAY_COUNT].slow_reader = RPC_SLOW_DROP;
    struct rpc_service service = {
        .name = "fuzz.v1.T", .methods = table, .method_count = PLAY_METHODS, .handle = handle};
    struct rpc_server_config config = {.urls = urls,
                                       .url_count = 1,
                                       .services = &service,
                                       .service_count = 1,
                                       .on_readable = on_readable,
                                       .on_cancel = on_cancel,
                                       .calls_max = PLAY_SLOTS - 1,
                                       .stream_window = 200,
                                       .conn_window = 1000,
                                       .out_max = 64 * 1024};
    world.address = play_address("fuzz-server");
    (void)snprintf(url, sizeof url, "ipc://%s", world.address.sun_path);
    world.answers = malloc(ANSWERS_MAX);
    FLY_CHECK(world.answers != NULL);
    if (rpc_server_create(&world.server, &config, &error) != FLY_OK) {
        (void)fprintf(stderr, "%s\n", error.text);
        abort();
    }
}

/* REQs that were said, by slot and generation; the raw bytes of an input may say others. */
struct tally {
    unsigned said;
    unsigned ended;
    int64_t conn_credit;
};

static void count_said(struct tally *tally, const uint8_t *data, size_t size)
{
    struct frame frame;
    size_t used = 0;

    for (size_t at = 0; frame_next(data + at, size - at, 1 << 20, &frame, &used) == FRAME_READY;
         at += used) {
        tally->said += frame.header.type == FRAME_REQ ? 1 : 0;
        if (frame.header.type == FRAME_WINDOW && frame.header.call_id == 0) {
            tally->conn_credit += frame.header.arg;
        }
    }
}

static void check_answers(struct tally *tally, const uint8_t *data, size_t size)
{
    struct frame frame;
    size_t used = 0;
    size_t at = FRAME_PREFACE_SIZE;

    if (size < FRAME_PREFACE_SIZE) {
        return; /* cut before that was out */
    }
    for (;;) {
        enum frame_step step = frame_next(data + at, size - at, FRAME_SIZE_MIN, &frame, &used);
        FLY_CHECK(step == FRAME_READY || step == FRAME_SHORT);
        if (step == FRAME_SHORT) {
            break;
        }
        at += used;
        tally->ended += frame.header.type == FRAME_END ? 1 : 0;
        if (frame.header.type == FRAME_MSG) {
            FLY_CHECK(tally->conn_credit > 0);
            tally->conn_credit -= frame_credit(frame.body.size);
        }
    }
    FLY_CHECK(tally->ended <= tally->said);
}

static size_t read_to_end(int fd)
{
    size_t size = 0;

    for (;;) {
        FLY_CHECK(size < ANSWERS_MAX);
        ssize_t count = recv(fd, world.answers + size, ANSWERS_MAX - size, 0);
        if (count <= 0) {
            return size;
        }
        size += (size_t)count;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fly_reader r = fly_reader_over(data, size);
    struct tally tally = {0};
    struct frame_preface preface;

    if (size < 2 || size > PLAY_MAX / 2) {
        return 0;
    }
    if (world.server == NULL) {
        begin();
    }
    size_t made = play_preface(world.frames, *fly_get_bytes(&r, 1), 0);
    FLY_CHECK(frame_preface_decode(world.frames, &preface, NULL) == FLY_OK);
    tally.conn_credit = preface.conn_window;
    frame_header_encode(&(struct frame_header){.type = FRAME_HELLO}, world.frames + made);
    made += FRAME_HEADER_SIZE;
    size_t start = made;
    made += play_frames(&r, world.frames + made);
    count_said(&tally, world.frames + start, made - start);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FLY_CHECK(fd >= 0 &&
              connect(fd, (const struct sockaddr *)&world.address, sizeof world.address) == 0);
    play_send(fd, world.frames, made);
    (void)shutdown(fd, SHUT_WR);
    check_answers(&tally, world.answers, read_to_end(fd));
    (void)close(fd);
    while (!rpc_server_idle(world.server)) {
        (void)sched_yield();
    }
    FLY_CHECK(world.parked_count == 0);
    FLY_CHECK(rpc_server_counters(world.server).calls_active == 0);
    return 0;
}
