/* rpc: streams of the client and of both sides, against a server played by hand: every grant, every
 * byte of credit, and what ends a call. */
#include "tests/unit/bare_server.h"

static const struct fly_bytes none;
static const struct rpc_channel_config usual = {.stream_window = 4096, .conn_window = 16384};

static struct rpc_stream *open_stream(struct bare *b, const struct rpc_method *method, uint32_t *id)
{
    struct rpc_stream *stream = NULL;
    struct fly_error error = {.text = ""};
    struct frame frame;
    struct bare_text m;
    bool streaming = (method->flags & RPC_CLIENT_STREAM) != 0;
    const ProtobufCMessage *request = streaming ? NULL : bare_message(&m, 1, 'r');

    if (rpc_stream_open(&stream, b->channel, method, request, NULL, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    bare_expect(b, FRAME_REQ, &frame);
    assert_int_equal(frame.header.arg, rpc_method_hash(method->name));
    assert_int_equal((frame.header.flags & FRAME_FLAG_STREAMING) != 0, streaming);
    assert_int_equal(frame.body.size, streaming ? 0 : 3);
    *id = frame.header.call_id;
    return stream;
}

static void say_window(struct bare *b, uint32_t id, uint32_t bytes)
{
    bare_say(b, (struct frame_header){.type = FRAME_WINDOW, .call_id = id, .arg = bytes}, none,
             none);
}

static void expect_message(struct bare *b, uint32_t id, size_t size, uint8_t fill)
{
    struct frame frame;
    uint8_t packed[1100];
    struct bare_text m;
    size_t packed_size = protobuf_c_message_pack(bare_message(&m, size, fill), packed);

    bare_expect(b, FRAME_MSG, &frame);
    assert_int_equal(frame.header.call_id, id);
    assert_int_equal(frame.body.size, packed_size);
    assert_memory_equal(frame.body.data, packed, packed_size);
}

static enum fly_status send_text(struct rpc_stream *stream, size_t size, uint8_t fill,
                                 int64_t timeout_ms)
{
    struct bare_text m;

    return rpc_stream_send(stream, bare_message(&m, size, fill), timeout_ms);
}

static void expect_next(struct rpc_stream *stream, size_t size, uint8_t fill, uint32_t gap)
{
    struct rpc_reply reply;

    assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_MESSAGE);
    bare_check_message(&reply, size, fill);
    assert_int_equal(reply.gap, gap);
    rpc_reply_fini(&reply);
}

static void expect_end(struct rpc_stream *stream, enum fly_status status)
{
    struct rpc_reply reply;

    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_END);
        assert_int_equal(reply.status, status);
        rpc_reply_fini(&reply);
    }
}

/* ---- sending ---- */

static void test_collect(void **state)
{
    struct bare b;
    struct frame frame;
    struct rpc_reply reply;
    uint32_t id = 0;

    (void)state;
    bare_start(&b, 4096, 1 << 20, usual);
    struct rpc_stream *stream = open_stream(&b, &bare_collect, &id);
    for (uint8_t i = 0; i < 10; i++) {
        assert_int_equal(send_text(stream, 10U * i, i, 0), FLY_OK);
        expect_message(&b, id, 10U * i, i);
    }
    assert_int_equal(rpc_stream_next(stream, 0, &reply), RPC_NEXT_NOTHING);
    rpc_reply_fini(&reply);
    rpc_stream_finish(stream);
    rpc_stream_finish(stream);
    assert_int_equal(send_text(stream, 1, 1, 0), FLY_FAILED_PRECONDITION);
    bare_expect(&b, FRAME_DONE, &frame);
    assert_int_equal(frame.header.call_id, id);
    bare_say_end(&b, id, FLY_OK, 77, 'z');
    for (unsigned i = 0; i < 3; i++) { /* the same each time, message and all */
        assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_END);
        assert_int_equal(reply.status, FLY_OK);
        bare_check_message(&reply, 77, 'z');
        rpc_reply_fini(&reply);
    }
    rpc_stream_close(stream);
    bare_stop(&b);
}

/* How a sender without credit goes on. It waits in its own thread, or is told by the watcher. */
enum relief { BY_CALL, BY_CONNECTION, BY_END, BY_CANCEL, BY_LOSS, BY_TIME };

struct sender {
    struct rpc_stream *stream;
    enum relief relief;
    enum fly_status status;
    pthread_t thread;
};

static void *send_one(void *user)
{
    struct sender *s = user;

    s->status = send_text(s->stream, 100, 's', s->relief == BY_TIME ? 30 : -1);
    return NULL;
}

static void on_changed(void *user)
{
    (void)sem_post(user);
}

static void relieve(struct bare *b, struct rpc_stream *stream, uint32_t id, enum relief relief)
{
    switch (relief) {
    case BY_CALL:
        say_window(b, id, 1);
        break;
    case BY_CONNECTION:
        say_window(b, 0, 1);
        break;
    case BY_END:
        bare_say_end(b, id, FLY_ABORTED, 0, 0);
        break;
    case BY_CANCEL:
        rpc_stream_cancel(stream);
        break;
    case BY_LOSS:
        (void)shutdown(b->fd, SHUT_RDWR);
        break;
    case BY_TIME:
        break;
    }
}

static void test_refused_sender(void **state)
{
    static const struct {
        enum relief relief;
        enum fly_status status;
        const char *what;
    } rows[] = {
        {BY_CALL, FLY_OK, "credit of the call"},
        {BY_CONNECTION, FLY_OK, "credit of the connection"},
        {BY_END, FLY_UNAVAILABLE, "the server ends the call"},
        {BY_CANCEL, FLY_UNAVAILABLE, "cancelled"},
        {BY_LOSS, FLY_UNAVAILABLE, "the connection is lost"},
        {BY_TIME, FLY_RESOURCE_EXHAUSTED, "the time is up"},
    };

    (void)state;
    for (size_t i = 0; i < 2 * FLY_ARRAY_COUNT(rows); i++) {
        bool watched = i % 2 == 1;
        enum relief relief = rows[i / 2].relief;
        struct bare b;
        uint32_t id = 0;
        sem_t changed;
        if (watched && relief == BY_TIME) {
            continue;
        }
        print_message("%s, %s\n", rows[i / 2].what, watched ? "watched" : "waited for");
        bare_start(&b, relief == BY_CONNECTION ? 1 << 20 : 500,
                   relief == BY_CONNECTION ? 500 : 1 << 20, usual);
        struct rpc_stream *stream = open_stream(&b, &bare_chat, &id);
        (void)sem_init(&changed, 0, 0);
        if (watched) {
            rpc_stream_watch(stream, on_changed, &changed);
        }
        unsigned sent = 0;
        while (send_text(stream, 100, 'f', 0) == FLY_OK) {
            expect_message(&b, id, 100, 'f');
            sent++;
        }
        assert_int_equal(sent, 5); /* 118 each: the fifth goes past the window */
        struct sender s = {.stream = stream, .relief = relief};
        if (relief == BY_CALL || relief == BY_CONNECTION) {
            /* what the fifth owes comes first */
            say_window(&b, relief == BY_CALL ? id : 0, 90);
        }
        if (watched) {
            assert_int_equal(send_text(stream, 100, 's', 0), FLY_RESOURCE_EXHAUSTED);
            relieve(&b, stream, id, relief);
            while (sem_wait(&changed) != 0) {
            }
            s.status = send_text(stream, 100, 's', 0);
        } else {
            FLY_CHECK(pthread_create(&s.thread, NULL, send_one, &s) == 0);
            relieve(&b, stream, id, relief);
            (void)pthread_join(s.thread, NULL);
        }
        assert_int_equal(s.status, rows[i / 2].status);
        if (s.status == FLY_OK) {
            expect_message(&b, id, 100, 's');
            assert_int_equal(send_text(stream, 100, 's', 0), FLY_RESOURCE_EXHAUSTED);
        }
        rpc_stream_close(stream);
        (void)sem_destroy(&changed);
        bare_stop(&b);
    }
}

static void test_too_large(void **state)
{
    struct bare b;
    uint32_t id = 0;
    Fly__V1__EchoMessage large = FLY__V1__ECHO_MESSAGE__INIT;

    (void)state;
    bare_start(&b, 4096, 1 << 20, usual);
    struct rpc_stream *stream = open_stream(&b, &bare_chat, &id);
    large.payload.len = BARE_FRAME_MAX;
    large.payload.data = calloc(1, BARE_FRAME_MAX);
    assert_int_equal(rpc_stream_send(stream, &large.base, -1), FLY_INVALID_ARGUMENT);
    assert_int_equal(send_text(stream, 5, 'k', 0), FLY_OK); /* and nothing else happened */
    expect_message(&b, id, 5, 'k');
    free(large.payload.data);
    rpc_stream_close(stream);
    bare_stop(&b);
}

/* ---- taking ---- */

/* What the client granted so far; reads frames until its END of a probe call. */
static void count_grants(struct bare *b, uint32_t id, uint64_t *call, uint64_t *connection,
                         unsigned *cancels)
{
    struct frame frame;
    struct bare_done probe;

    bare_begin(b, &probe, NULL);
    for (;;) {
        assert_true(bare_hear(b, &frame));
        if (frame.header.type == FRAME_REQ) {
            bare_say_end(b, frame.header.call_id, FLY_OK, 1, 1);
            rpc_reply_fini(bare_ended(&probe));
            return;
        }
        if (frame.header.type == FRAME_CANCEL) {
            assert_int_equal(frame.header.call_id, id);
            *cancels += 1;
            continue;
        }
        assert_int_equal(frame.header.type, FRAME_WINDOW);
        assert_true(frame.header.call_id == id || frame.header.call_id == 0);
        *(frame.header.call_id == 0 ? connection : call) += frame.header.arg;
    }
}

/* A sender that keeps to its credit is never cut off, and never starves. */
static void test_grants(void **state)
{
    struct bare b;
    struct fly_rng rng;
    uint32_t id = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        uint64_t sent = 0;
        uint64_t call = 0;
        uint64_t connection = 0;
        unsigned cancels = 0;
        uint8_t next_sent = 0;
        uint8_t next_read = 0;
        size_t sizes[256];
        fly_rng_seed(&rng, seed);
        bare_start(&b, 4096, 1 << 20, usual);
        struct rpc_stream *stream = open_stream(&b, &bare_chat, &id);
        for (unsigned round = 0; round < 100; round++) {
            while (sent < 4096 + call && sent < 16384 + connection && next_sent != next_read - 1) {
                sizes[next_sent] = (size_t)fly_rng_below(&rng, 1000);
                sent += bare_say_message(&b, id, sizes[next_sent], next_sent, next_sent % 3);
                next_sent++;
            }
            unsigned count = (unsigned)fly_rng_below(&rng, 12);
            while (count-- > 0 && next_read != next_sent) {
                expect_next(stream, sizes[next_read], next_read, next_read % 3);
                next_read++;
            }
            count_grants(&b, id, &call, &connection, &cancels);
            assert_true(call <= sent && connection <= sent);
        }
        assert_true(sent > 50 * 1000); /* it went on */
        assert_true(rpc_channel_alive(b.channel));
        bare_say_end(&b, id, FLY_OK, 0, 0);
        while (next_read != next_sent) {
            expect_next(stream, sizes[next_read], next_read, next_read % 3);
            next_read++;
        }
        expect_end(stream, FLY_OK);
        rpc_stream_close(stream);
        assert_int_equal(cancels, 0);
        bare_stop(&b);
    }
}

/* Nobody takes them: the connection gets its credit back all the same. */
static void test_thrown_away(void **state)
{
    struct bare b;
    uint64_t call = 0;
    uint64_t connection = 0;
    uint64_t sent = 0;
    unsigned cancels = 0;
    uint32_t id = 0;
    uint32_t round = 0;

    (void)state;
    bare_start(&b, 4096, 1 << 20, usual);
    while (sent < 200 * 1000) {
        struct rpc_stream *stream = open_stream(&b, &bare_watch, &id);
        uint64_t before = sent;
        while (sent < before + 4096) {
            sent += bare_say_message(&b, id, 500, 'u', 0);
        }
        if (round % 3 == 0) {
            expect_next(stream, 500, 'u', 0); /* the rest is there as well, perhaps */
        }
        rpc_stream_close(stream);
        sent += bare_say_message(&b, id, 300, 'l', 0); /* late */
        cancels = 0;
        for (unsigned i = 0; i < 2; i++) { /* the second is behind what the late one set off */
            count_grants(&b, id, &call, &connection, &cancels);
        }
        assert_int_equal(cancels, 1);
        bare_say_end(&b, id, FLY_CANCELLED, 0, 0);
        assert_true(sent - connection < 16384);
        round++;
    }
    assert_true(rpc_channel_alive(b.channel));
    bare_stop(&b);
}

/* ---- what no server of ours sends ---- */

static void over_call(struct bare *b, uint32_t id)
{
    for (unsigned i = 0; i < 10; i++) {
        (void)bare_say_message(b, id, 500, 'v', 0); /* 519 each; 4,096 */
    }
}

static void over_connection(struct bare *b, uint32_t id)
{
    struct rpc_stream *streams[3];
    uint32_t ids[4] = {id};

    for (unsigned i = 0; i < 3; i++) {
        streams[i] = open_stream(b, &bare_watch, &ids[i + 1]);
    }
    for (unsigned i = 0; i < 4 * 5; i++) {
        (void)bare_say_message(b, ids[i / 5], 1000, 'v', 0); /* 1,019 each; 16,384 */
    }
    bare_expect_cut(b);
    for (unsigned i = 0; i < 3; i++) {
        rpc_stream_close(streams[i]);
    }
}

static void say_head(struct bare *b, uint32_t id)
{
    bare_say(b, (struct frame_header){.type = FRAME_HEAD, .call_id = id}, none, none);
}

static void late_head(struct bare *b, uint32_t id)
{
    (void)bare_say_message(b, id, 1, 'v', 0);
    say_head(b, id);
}

static void two_heads(struct bare *b, uint32_t id)
{
    say_head(b, id);
    say_head(b, id);
}

static void message_of_unary(struct bare *b, uint32_t id)
{
    struct bare_done done;
    struct frame frame;

    (void)id;
    bare_begin(b, &done, NULL);
    bare_expect(b, FRAME_REQ, &frame);
    (void)bare_say_message(b, frame.header.call_id, 1, 'v', 0);
    bare_expect_cut(b);
    assert_int_equal(bare_ended(&done)->status, FLY_UNAVAILABLE);
}

static void message_of_none(struct bare *b, uint32_t id)
{
    (void)bare_say_message(b, id + 1, 1, 'v', 0);
}

static void end_of_none(struct bare *b, uint32_t id)
{
    bare_say_end(b, id + 1, FLY_OK, 1, 'v');
}

static void test_violations(void **state)
{
    static const struct {
        const char *what;
        void (*violate)(struct bare *b, uint32_t id);
    } rows[] = {
        {"past the call's window", over_call},
        {"past the connection's window", over_connection},
        {"HEAD behind a message", late_head},
        {"two HEADs", two_heads},
        {"MSG of a unary call", message_of_unary},
        {"MSG of no call", message_of_none},
        {"END of no call", end_of_none},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct bare b;
        uint32_t id = 0;
        print_message("%s\n", rows[i].what);
        bare_start(&b, 4096, 1 << 20, usual);
        struct rpc_stream *stream = open_stream(&b, &bare_watch, &id);
        rows[i].violate(&b, id);
        bare_expect_cut(&b);
        rpc_stream_close(stream);
        bare_stop(&b);
    }
}

/* What does not parse ends the call on both sides; what waits behind it is not given out. */
static void test_malformed_message(void **state)
{
    static const uint8_t junk[] = {0xff, 0xff, 0xff};
    struct bare b;
    struct frame frame;
    uint32_t id = 0;

    (void)state;
    for (unsigned ended = 0; ended < 2; ended++) {
        bare_start(&b, 4096, 1 << 20, usual);
        struct rpc_stream *stream = open_stream(&b, &bare_watch, &id);
        (void)bare_say_message(&b, id, 9, 'a', 0);
        bare_say(&b, (struct frame_header){.type = FRAME_MSG, .call_id = id}, none,
                 (struct fly_bytes){junk, sizeof junk});
        (void)bare_say_message(&b, id, 9, 'b', 0);
        if (ended == 1) {
            bare_say_end(&b, id, FLY_OK, 0, 0);
        }
        expect_next(stream, 9, 'a', 0);
        expect_end(stream, FLY_INTERNAL);
        if (ended == 0) {
            bare_expect(&b, FRAME_CANCEL, &frame);
        }
        rpc_stream_close(stream);
        bare_stop(&b);
    }
}

/* ---- a loop's reader ---- */

static void test_watch(void **state)
{
    enum { MESSAGES = 500 };
    struct bare b;
    struct rpc_reply reply;
    uint32_t id = 0;
    sem_t changed;
    unsigned read = 0;
    enum rpc_next next = RPC_NEXT_NOTHING;

    (void)state;
    bare_start(&b, 4096, 1 << 20, (struct rpc_channel_config){.stream_window = 1 << 20});
    (void)sem_init(&changed, 0, 0);
    struct rpc_stream *stream = open_stream(&b, &bare_watch, &id);
    rpc_stream_watch(stream, on_changed, &changed);
    for (unsigned sent = 0; next != RPC_NEXT_END;) {
        next = rpc_stream_next(stream, 0, &reply);
        read += next == RPC_NEXT_MESSAGE ? 1 : 0;
        rpc_reply_fini(&reply);
        if (next != RPC_NEXT_NOTHING) {
            continue;
        }
        /* some come before it waits, some while it does */
        for (unsigned i = 0; i < 7 && sent < MESSAGES; i++, sent++) {
            (void)bare_say_message(&b, id, 30, 'w', 0);
        }
        if (sent == MESSAGES && read > 0) {
            bare_say_end(&b, id, FLY_OK, 0, 0);
            sent++;
        }
        while (sem_wait(&changed) != 0) { /* a wake that was lost would hang here */
        }
    }
    assert_int_equal(read, MESSAGES);
    rpc_stream_close(stream);
    (void)sem_destroy(&changed);
    bare_stop(&b);
}

struct closer {
    struct rpc_stream *stream;
    sem_t closed;
};

static void close_it(void *user)
{
    struct closer *c = user;

    rpc_stream_close(c->stream); /* no waiting for itself */
    (void)sem_post(&c->closed);
}

static void test_closed_by_watcher(void **state)
{
    struct bare b;
    struct rpc_reply reply;
    struct closer c;
    uint32_t id = 0;

    (void)state;
    bare_start(&b, 4096, 1 << 20, usual);
    (void)sem_init(&c.closed, 0, 0);
    c.stream = open_stream(&b, &bare_watch, &id);
    rpc_stream_watch(c.stream, close_it, &c);
    assert_int_equal(rpc_stream_next(c.stream, 0, &reply), RPC_NEXT_NOTHING);
    rpc_reply_fini(&reply);
    (void)bare_say_message(&b, id, 30, 'w', 0);
    while (sem_wait(&c.closed) != 0) {
    }
    (void)sem_destroy(&c.closed);
    bare_stop(&b);
}

/* ---- GOAWAY ---- */

static void test_goaway(void **state)
{
    struct bare b;
    struct bare_done first;
    struct bare_done last;
    struct rpc_reply reply;
    struct frame frame;
    struct bare_text m;
    uint32_t ids[4];
    struct fly_error error;
    struct rpc_stream *refused = NULL;

    (void)state;
    bare_start(&b, 4096, 1 << 20, usual);
    bare_begin(&b, &first, NULL);
    bare_expect(&b, FRAME_REQ, &frame);
    ids[0] = frame.header.call_id;
    struct rpc_stream *kept = open_stream(&b, &bare_chat, &ids[1]);
    uint64_t executed = b.taken;
    struct rpc_stream *dropped = open_stream(&b, &bare_watch, &ids[2]);
    bare_begin(&b, &last, NULL);
    bare_expect(&b, FRAME_REQ, &frame);
    bare_say(&b, (struct frame_header){.type = FRAME_GOAWAY, .arg = (uint32_t)executed}, none,
             none);
    /* what ends behind it ends at once, certainly not executed */
    assert_int_equal(bare_ended(&last)->status, FLY_UNAVAILABLE);
    assert_false(last.reply.sent);
    assert_int_equal(rpc_stream_next(dropped, -1, &reply), RPC_NEXT_END);
    assert_int_equal(reply.status, FLY_UNAVAILABLE);
    assert_false(reply.sent);
    rpc_reply_fini(&reply);
    assert_false(rpc_channel_alive(b.channel));
    assert_int_equal(rpc_channel_call(b.channel, &bare_unary, bare_message(&m, 1, 1), NULL, &reply),
                     FLY_UNAVAILABLE);
    assert_false(reply.sent);
    rpc_reply_fini(&reply);
    assert_int_equal(rpc_stream_open(&refused, b.channel, &bare_chat, NULL, NULL, &error),
                     FLY_UNAVAILABLE);
    /* the others go on: nothing was cancelled */
    bare_say_end(&b, ids[2], FLY_UNAVAILABLE, 0, 0);
    bare_say_end(&b, frame.header.call_id, FLY_UNAVAILABLE, 0, 0);
    assert_int_equal(send_text(kept, 10, 'g', -1), FLY_OK);
    expect_message(&b, ids[1], 10, 'g');
    (void)bare_say_message(&b, ids[1], 11, 'h', 0);
    expect_next(kept, 11, 'h', 0);
    bare_say_end(&b, ids[0], FLY_OK, 12, 'i');
    assert_int_equal(bare_ended(&first)->status, FLY_OK);
    bare_check_message(&first.reply, 12, 'i');
    rpc_reply_fini(&first.reply);
    bare_say_end(&b, ids[1], FLY_OK, 0, 0);
    expect_end(kept, FLY_OK);
    rpc_stream_close(kept);
    rpc_stream_close(dropped);
    bare_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collect),           cmocka_unit_test(test_refused_sender),
        cmocka_unit_test(test_too_large),         cmocka_unit_test(test_grants),
        cmocka_unit_test(test_thrown_away),       cmocka_unit_test(test_violations),
        cmocka_unit_test(test_malformed_message), cmocka_unit_test(test_watch),
        cmocka_unit_test(test_closed_by_watcher), cmocka_unit_test(test_goaway),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
