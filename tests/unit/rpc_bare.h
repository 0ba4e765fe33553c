/*
 * rpc_bare - a server of four small services' methods, scripted by the test, and a bare client that
 * sees and sends single frames: what the test_rpc_server*.c files share.
 *
 * The methods all take and give EchoMessage. `run` of the test is what each does; without one the
 * call is parked, and the test takes it.
 */
#ifndef FLY_TESTS_RPC_BARE_H
#define FLY_TESTS_RPC_BARE_H

#include "proto/rpc/metrics.h"
#include "proto/wire/metadata.h"
#include "tests/unit/rpc_fixture.h"

enum { UNARY, INLINE, COLLECT, COUNT, CHAT, METHODS };

#define ECHO_METHOD(path, bits)                                                                    \
    {                                                                                              \
        .name = "test.v1." path, .request = &fly__v1__echo_message__descriptor,                    \
        .reply = &fly__v1__echo_message__descriptor, .flags = (bits)                               \
    }

struct bench {
    struct fixture f; /* its parked calls, peers and counters */
    struct rpc_method methods[METHODS];
    const struct rpc_method *table[METHODS];
    struct rpc_service service;
    void (*run)(struct bench *b, size_t index, struct rpc_call *call);
    unsigned readables;
    unsigned allowed;
    enum fly_status allow;
    uint64_t tenant; /* of every HELLO */
    pthread_t last_thread;
    unsigned served;
};

static void fixture_park(struct fixture *f, struct rpc_call *call)
{
    (void)pthread_mutex_lock(&f->lock);
    assert_true(f->parked_count < PARKED_MAX);
    f->parked[f->parked_count++] = call;
    (void)pthread_cond_broadcast(&f->changed);
    (void)pthread_mutex_unlock(&f->lock);
}

static void bench_handle(const struct rpc_service *service, size_t index, struct rpc_call *call)
{
    struct bench *b = service->user;

    (void)pthread_mutex_lock(&b->f.lock);
    b->last_thread = pthread_self();
    (void)pthread_mutex_unlock(&b->f.lock);
    fixture_note(&b->f, &b->served);
    if (b->run != NULL) {
        b->run(b, index, call);
        return;
    }
    fixture_park(&b->f, call);
}

static void bench_on_readable(void *user, struct rpc_call *call)
{
    struct bench *b = user;

    (void)call;
    fixture_note(&b->f, &b->readables);
}

static enum fly_status bench_on_allow(void *user, const struct rpc_call *call,
                                      struct fly_error *error)
{
    struct bench *b = user;

    assert_non_null(rpc_call_method(call));
    fixture_note(&b->f, &b->allowed);
    return b->allow == FLY_OK ? FLY_OK : fly_error_set(error, b->allow, "not for you");
}

static void bench_on_hello(void *user, struct rpc_hello *hello)
{
    struct bench *b = user;

    if (b->tenant != 0) {
        rpc_hello_set_tenant(hello, b->tenant);
    }
    fixture_on_hello(&b->f, hello);
}

/* Before bench_start: the methods may be changed in between. */
static void bench_init(struct bench *b)
{
    static const struct rpc_method methods[METHODS] = {
        [UNARY] = ECHO_METHOD("Bench/Unary", 0),
        [INLINE] = ECHO_METHOD("Bench/Inline", RPC_INLINE),
        [COLLECT] = ECHO_METHOD("Bench/Collect", RPC_CLIENT_STREAM),
        [COUNT] = ECHO_METHOD("Bench/Count", RPC_STREAM),
        [CHAT] = ECHO_METHOD("Bench/Chat", RPC_STREAM | RPC_CLIENT_STREAM),
    };

    (void)fixture_start; /* bench_start stands for it */
    memset(b, 0, sizeof *b);
    for (size_t i = 0; i < METHODS; i++) {
        b->methods[i] = methods[i];
        b->methods[i].hash = rpc_method_hash(methods[i].name);
        b->table[i] = &b->methods[i];
    }
    b->service = (struct rpc_service){.name = "test.v1.Bench",
                                      .methods = b->table,
                                      .method_count = METHODS,
                                      .handle = bench_handle,
                                      .user = b};
}

/* `limits`: a config of which only the limits count. */
static void bench_start(struct bench *b, const struct rpc_server_config *limits)
{
    static const char *const url = "tcp://127.0.0.1:0";
    struct rpc_server_config config = limits != NULL ? *limits : (struct rpc_server_config){0};
    struct fly_error error = {.text = ""};

    (void)pthread_mutex_init(&b->f.lock, NULL);
    (void)pthread_cond_init(&b->f.changed, NULL);
    config.urls = &url;
    config.url_count = 1;
    config.services = &b->service;
    config.service_count = 1;
    config.user = b;
    config.on_hello = bench_on_hello;
    config.on_allow = bench_on_allow;
    config.on_cancel = fixture_on_cancel; /* the fixture is the bench's first member */
    config.on_writable = fixture_on_writable;
    config.on_readable = bench_on_readable;
    config.on_peer_gone = fixture_on_peer_gone;
    if (rpc_server_create(&b->f.server, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
}

static void bench_stop(struct bench *b)
{
    fixture_stop(&b->f);
}

/* ---- the bare client ---- */

struct bare {
    int fd;
    struct frame frame; /* the last that came */
    uint8_t *payload;
    uint64_t sent; /* bytes, the preface too */
};

static UNUSED_OK void bare_put(struct bare *c, struct frame_header header, struct fly_bytes meta,
                               struct fly_bytes body)
{
    bare_frame(c->fd, header, meta, body);
    c->sent += FRAME_HEADER_SIZE + meta.size + body.size;
}

/* The next frame but PINGs, with its payload. False: hung up. */
static bool bare_get(struct bare *c)
{
    uint8_t header[FRAME_HEADER_SIZE];

    do {
        size_t used = 0;
        if (!read_all(c->fd, header, sizeof header)) {
            return false;
        }
        size_t size = FRAME_HEADER_SIZE + fly_load_u32(header);
        assert_true(size <= FRAME_HEADER_SIZE + FRAME_SIZE_MAX);
        c->payload = realloc(c->payload, size);
        memcpy(c->payload, header, sizeof header);
        if (!read_all(c->fd, c->payload + sizeof header, size - sizeof header)) {
            return false;
        }
        assert_int_equal(frame_next(c->payload, size, FRAME_SIZE_MAX, &c->frame, &used),
                         FRAME_READY);
    } while (c->frame.header.type == FRAME_PING);
    return true;
}

static UNUSED_OK void bare_expect(struct bare *c, enum frame_type type, uint32_t id, uint32_t arg)
{
    if (!bare_get(c)) {
        fail_msg("hung up instead of frame %d", type);
    }
    if (c->frame.header.type != type || c->frame.header.call_id != id ||
        c->frame.header.arg != arg) {
        fail_msg("frame %u of call %x with %u, not frame %d of call %x with %u",
                 c->frame.header.type, c->frame.header.call_id, c->frame.header.arg, type, id, arg);
    }
}

static void bare_begin(struct bare *c, struct fixture *f, uint32_t window, uint32_t conn_window)
{
    uint8_t preface[FRAME_PREFACE_SIZE];

    memset(c, 0, sizeof *c);
    c->fd = bare_connect(f);
    frame_preface_encode(&(struct frame_preface){.version = FRAME_VERSION,
                                                 .frame_max = 1 << 20,
                                                 .window = window,
                                                 .conn_window = conn_window},
                         preface);
    bare_send(c->fd, preface, sizeof preface);
    c->sent = sizeof preface;
    bare_skip_preface(c->fd);
}

/* Connected, and accepted as a peer. */
static void bare_open(struct bare *c, struct fixture *f, uint32_t window, uint32_t conn_window)
{
    bare_begin(c, f, window, conn_window);
    bare_put(c, (struct frame_header){.type = FRAME_HELLO}, (struct fly_bytes){0},
             text_bytes("me"));
    bare_expect(c, FRAME_HELLO, 0, 0);
}

static UNUSED_OK void bare_close(struct bare *c)
{
    (void)close(c->fd);
    free(c->payload);
    c->payload = NULL;
}

/* The server hangs up. */
static UNUSED_OK void bare_hung_up(struct bare *c)
{
    bare_expect_end(c->fd);
    free(c->payload);
    c->payload = NULL;
}

/* EchoMessage of so many bytes of payload, each `fill`; the caller frees it. */
static UNUSED_OK struct fly_bytes echo_bytes(size_t size, uint8_t fill)
{
    Fly__V1__EchoMessage message = FLY__V1__ECHO_MESSAGE__INIT;

    message.payload.len = size;
    message.payload.data = malloc(size + 1);
    memset(message.payload.data, fill, size);
    size_t packed = fly__v1__echo_message__get_packed_size(&message);
    uint8_t *bytes = malloc(packed + 1);
    (void)fly__v1__echo_message__pack(&message, bytes);
    free(message.payload.data);
    return (struct fly_bytes){bytes, packed};
}

static UNUSED_OK void bare_ask(struct bare *c, uint32_t id, const struct rpc_method *method,
                               uint32_t timeout_ms)
{
    uint8_t meta[FRAME_REQ_META_SIZE];
    bool streams = (method->flags & RPC_CLIENT_STREAM) != 0;

    fly_store_u32(meta, timeout_ms);
    bare_put(c,
             (struct frame_header){.type = FRAME_REQ,
                                   .flags = streams ? FRAME_FLAG_STREAMING : 0,
                                   .call_id = id,
                                   .arg = rpc_method_hash(method->name)},
             (struct fly_bytes){meta, sizeof meta}, (struct fly_bytes){0});
}

static UNUSED_OK void bare_message(struct bare *c, uint32_t id, size_t size, uint8_t fill)
{
    struct fly_bytes body = echo_bytes(size, fill);

    bare_put(c, (struct frame_header){.type = FRAME_MSG, .call_id = id}, (struct fly_bytes){0},
             body);
    free((void *)(uintptr_t)body.data);
}

static UNUSED_OK void bare_say(struct bare *c, enum frame_type type, uint32_t id, uint32_t arg)
{
    bare_put(c, (struct frame_header){.type = (uint8_t)type, .call_id = id, .arg = arg},
             (struct fly_bytes){0}, (struct fly_bytes){0});
}

/* What is in an EchoMessage: its size and its first byte (0 when empty). */
static UNUSED_OK size_t echo_size(const ProtobufCMessage *message, uint8_t *fill)
{
    const Fly__V1__EchoMessage *echo = (const void *)message;

    *fill = echo->payload.len > 0 ? echo->payload.data[0] : 0;
    return echo->payload.len;
}

static UNUSED_OK enum fly_status send_echo(struct rpc_call *call, size_t size, uint8_t fill,
                                           int64_t wait_ms)
{
    Fly__V1__EchoMessage message = FLY__V1__ECHO_MESSAGE__INIT;

    message.payload.len = size;
    message.payload.data = malloc(size + 1);
    memset(message.payload.data, fill, size);
    enum fly_status status = FLY_OK;
    if (wait_ms == 0 && fill % 2 == 0) { /* what is packed already goes the same way */
        uint8_t *packed = malloc(size + 16);
        size_t packed_size = fly__v1__echo_message__pack(&message, packed);
        status = rpc_call_send_packed(call, (struct fly_bytes){packed, packed_size});
        free(packed);
    } else {
        status = wait_ms == 0 ? rpc_call_send(call, &message.base)
                              : rpc_call_send_wait(call, &message.base, wait_ms);
    }
    free(message.payload.data);
    return status;
}

static UNUSED_OK void reply_empty(struct rpc_call *call)
{
    Fly__V1__EchoMessage message = FLY__V1__ECHO_MESSAGE__INIT;

    rpc_call_reply(call, (rpc_call_method(call)->flags & RPC_STREAM) != 0 ? NULL : &message.base);
}

#define CALL_1 frame_call_id(1, 1)
#define CALL_2 frame_call_id(2, 1)
#define CALL_3 frame_call_id(3, 1)

#endif
