/*
 * bare_server - a socket that plays the server frame by frame, for what the client must make of
 * them. One connection; the test's own thread is the server, the channel opens beside it.
 */
#ifndef FLY_TESTS_BARE_SERVER_H
#define FLY_TESTS_BARE_SERVER_H

#include <netinet/tcp.h>

#include "tests/unit/rpc_fixture.h"

enum { BARE_FRAME_MAX = 1 << 20, BARE_CALLS = 64 };

struct bare {
    int fd;
    struct rpc_channel *channel;
    sem_t opened;
    bool refused;
    uint64_t taken; /* bytes of the client, up to the last frame read */
    uint8_t *room;  /* the last frame's payload */
};

static UNUSED_OK void bare_opened(void *user, struct rpc_channel *channel,
                                  struct rpc_reply *refusal)
{
    struct bare *b = user;

    (void)channel;
    b->refused = refusal != NULL;
    (void)sem_post(&b->opened);
}

static UNUSED_OK void bare_say(struct bare *b, struct frame_header header, struct fly_bytes meta,
                               struct fly_bytes body)
{
    bare_frame(b->fd, header, meta, body);
}

/* The next frame that is not PING; false: hung up. */
static UNUSED_OK bool bare_hear(struct bare *b, struct frame *frame)
{
    static const struct fly_bytes none;

    for (;;) {
        uint8_t header[FRAME_HEADER_SIZE];
        size_t used = 0;
        if (!read_all(b->fd, header, sizeof header)) {
            return false;
        }
        uint32_t size = fly_load_u32(header);
        assert_true(size <= BARE_FRAME_MAX);
        memcpy(b->room, header, sizeof header);
        if (!read_all(b->fd, b->room + sizeof header, size)) {
            return false;
        }
        b->taken += sizeof header + size;
        assert_int_equal(frame_next(b->room, sizeof header + size, BARE_FRAME_MAX, frame, &used),
                         FRAME_READY);
        if (frame->header.type != FRAME_PING) {
            return true;
        }
        bare_say(b, (struct frame_header){.type = FRAME_PONG, .arg = frame->header.arg}, none,
                 none);
    }
}

static UNUSED_OK void bare_expect(struct bare *b, enum frame_type type, struct frame *frame)
{
    if (!bare_hear(b, frame)) {
        fail_msg("hung up instead of frame %d", (int)type);
    }
    assert_int_equal(frame->header.type, type);
}

static UNUSED_OK void bare_start(struct bare *b, uint32_t window, uint32_t conn_window,
                                 struct rpc_channel_config config)
{
    static const struct fly_bytes none;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    uint8_t preface[FRAME_PREFACE_SIZE];
    struct fly_error error = {.text = ""};
    struct frame frame;
    char url[64];

    *b = (struct bare){.fd = -1};
    (void)sem_init(&b->opened, 0, 0);
    b->room = malloc(FRAME_HEADER_SIZE + BARE_FRAME_MAX);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    config.url = url;
    if (rpc_channel_start_open(&b->channel, &config, bare_opened, b, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    b->fd = accept(listener, NULL, NULL);
    assert_true(b->fd >= 0);
    (void)close(listener);
    assert_int_equal(setsockopt(b->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
    frame_preface_encode(&(struct frame_preface){.version = FRAME_VERSION,
                                                 .frame_max = BARE_FRAME_MAX,
                                                 .calls_max = BARE_CALLS,
                                                 .window = window,
                                                 .conn_window = conn_window},
                         preface);
    bare_send(b->fd, preface, sizeof preface);
    assert_true(read_all(b->fd, preface, sizeof preface));
    b->taken = sizeof preface;
    bare_expect(b, FRAME_HELLO, &frame);
    bare_say(b, (struct frame_header){.type = FRAME_HELLO}, none, none);
    while (sem_wait(&b->opened) != 0) {
    }
    assert_false(b->refused);
}

static UNUSED_OK void bare_stop(struct bare *b)
{
    rpc_channel_close(b->channel);
    (void)close(b->fd);
    (void)sem_destroy(&b->opened);
    free(b->room);
}

/* The client cuts the connection: for what was sent to it. */
static UNUSED_OK void bare_expect_cut(struct bare *b)
{
    struct frame frame;

    while (bare_hear(b, &frame)) {
    }
    WAIT_UNTIL(!rpc_channel_alive(b->channel));
}

/* All four kinds of calls, of EchoMessage. */
static UNUSED_OK const struct rpc_method bare_unary = {.name = "test.v1.T/Unary",
                                                       .hash = 0x7c09eea2,
                                                       .request =
                                                           &fly__v1__echo_message__descriptor,
                                                       .reply = &fly__v1__echo_message__descriptor};
static UNUSED_OK const struct rpc_method bare_watch = {.name = "test.v1.T/Watch",
                                                       .hash = 0x4629e48a,
                                                       .request =
                                                           &fly__v1__echo_message__descriptor,
                                                       .reply = &fly__v1__echo_message__descriptor,
                                                       .flags = RPC_STREAM};
static UNUSED_OK const struct rpc_method bare_collect = {
    .name = "test.v1.T/Collect",
    .hash = 0x3de76c47,
    .request = &fly__v1__echo_message__descriptor,
    .reply = &fly__v1__echo_message__descriptor,
    .flags = RPC_CLIENT_STREAM};
static UNUSED_OK const struct rpc_method bare_chat = {.name = "test.v1.T/Chat",
                                                      .hash = 0x28df72d5,
                                                      .request = &fly__v1__echo_message__descriptor,
                                                      .reply = &fly__v1__echo_message__descriptor,
                                                      .flags = RPC_STREAM | RPC_CLIENT_STREAM};

struct bare_text {
    Fly__V1__EchoMessage pb;
    uint8_t bytes[1024];
};

/* A message whose payload is `size` (≤ 1,024) times `fill`. */
static UNUSED_OK const ProtobufCMessage *bare_message(struct bare_text *m, size_t size,
                                                      uint8_t fill)
{
    fly__v1__echo_message__init(&m->pb);
    memset(m->bytes, fill, size);
    m->pb.payload.data = m->bytes;
    m->pb.payload.len = size;
    return &m->pb.base;
}

/* The same, packed, from the server. */
static UNUSED_OK uint32_t bare_say_message(struct bare *b, uint32_t id, size_t size, uint8_t fill,
                                           uint32_t gap)
{
    static const struct fly_bytes none;
    struct frame_header header = {
        .type = FRAME_MSG, .flags = gap > 0 ? FRAME_FLAG_GAP : 0, .call_id = id, .arg = gap};
    uint8_t packed[1100];
    struct bare_text m;
    size_t packed_size = protobuf_c_message_pack(bare_message(&m, size, fill), packed);

    bare_say(b, header, none, (struct fly_bytes){packed, packed_size});
    return frame_credit(packed_size);
}

static UNUSED_OK void bare_say_end(struct bare *b, uint32_t id, enum fly_status status, size_t size,
                                   uint8_t fill)
{
    static const struct fly_bytes none;
    struct frame_header header = {.type = FRAME_END, .call_id = id, .arg = (uint32_t)status};
    uint8_t packed[1100];
    struct bare_text m;
    size_t packed_size = 0;

    if (status == FLY_OK) {
        packed_size = protobuf_c_message_pack(bare_message(&m, size, fill), packed);
    }
    bare_say(b, header, none, (struct fly_bytes){packed, packed_size});
}

static UNUSED_OK void bare_check_message(const struct rpc_reply *reply, size_t size, uint8_t fill)
{
    const Fly__V1__EchoMessage *m = (const void *)reply->message;

    assert_non_null(m);
    assert_int_equal(m->payload.len, size);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(m->payload.data[i], fill);
    }
}

/* What a callback gave, moved. */
struct bare_done {
    struct rpc_reply reply;
    sem_t ended;
};

static UNUSED_OK void bare_on_done(void *user, struct rpc_reply *reply)
{
    struct bare_done *d = user;

    rpc_reply_move(&d->reply, reply);
    (void)sem_post(&d->ended);
}

static UNUSED_OK void bare_begin(struct bare *b, struct bare_done *d,
                                 const struct rpc_call_options *options)
{
    struct bare_text m;

    (void)sem_init(&d->ended, 0, 0);
    assert_int_equal(rpc_channel_start(b->channel, &bare_unary, bare_message(&m, 3, 'q'), options,
                                       bare_on_done, d, NULL),
                     FLY_OK);
}

static UNUSED_OK struct rpc_reply *bare_ended(struct bare_done *d)
{
    while (sem_wait(&d->ended) != 0) {
    }
    (void)sem_destroy(&d->ended);
    return &d->reply;
}

#endif
