/* rpc: what travels beside a call's messages: metadata both ways, deadlines and traces that are
 * inherited. The server is played by hand. */
#include "fly/v1/edge.rpc.h"
#include "proto/wire/metadata.h"
#include "tests/unit/bare_server.h"

static const struct fly_bytes none;
static const struct rpc_channel_config usual;
/* an entry whose value runs past the end */
static const uint8_t broken[] = {1, 9, 0, 'k', 'v'};
static const struct fly_bytes broken_entries = {broken, sizeof broken};

struct entries {
    uint8_t bytes[FRAME_METADATA_MAX];
    struct fly_bytes all;
};

static void entries_make(struct entries *e, const char *key, const char *value)
{
    struct fly_writer w = fly_writer_over(e->bytes, sizeof e->bytes);
    struct fly_error error = {.text = ""};

    if (metadata_put_text(&w, key, value, &error) != FLY_OK ||
        metadata_put_text(&w, key, "again", &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    e->all = (struct fly_bytes){e->bytes, w.size};
}

/* The most that fits. */
static void entries_fill(struct entries *e)
{
    static uint8_t value[FRAME_METADATA_MAX];
    struct fly_writer w = fly_writer_over(e->bytes, sizeof e->bytes);

    assert_int_equal(metadata_put(&w, "a-bin", (struct fly_bytes){value, 4000}, NULL), FLY_OK);
    assert_int_equal(metadata_put(&w, "b-bin",
                                  (struct fly_bytes){value, sizeof e->bytes - w.size - 3 - 5},
                                  NULL),
                     FLY_OK);
    assert_int_equal(w.size, FRAME_METADATA_MAX);
    e->all = (struct fly_bytes){e->bytes, w.size};
}

static void check_entries(struct fly_bytes got, struct fly_bytes wanted)
{
    assert_int_equal(got.size, wanted.size);
    assert_true(wanted.size == 0 || memcmp(got.data, wanted.data, wanted.size) == 0);
}

static void say_head(struct bare *b, uint32_t id, struct fly_bytes entries)
{
    bare_say(b, (struct frame_header){.type = FRAME_HEAD, .call_id = id}, entries, none);
}

/* END with text, trailing entries, and a body. */
static void say_end(struct bare *b, uint32_t id, enum fly_status status, const char *text,
                    struct fly_bytes trailer, struct fly_bytes body)
{
    static uint8_t meta[FRAME_END_META_MAX];
    struct frame_header header = {.type = FRAME_END, .call_id = id, .arg = (uint32_t)status};
    struct frame_end end = {.text = text_bytes(text), .metadata = trailer};
    size_t size = frame_end_encode(&end, &header.flags, meta);

    bare_say(b, header, (struct fly_bytes){meta, size}, body);
}

static uint32_t expect_request(struct bare *b, struct frame_request *request)
{
    struct frame frame;

    bare_expect(b, FRAME_REQ, &frame);
    assert_true(frame_request_decode(&frame, request));
    return frame.header.call_id;
}

static void test_request(void **state)
{
    static const struct frame_trace trace = {.trace_id = {1, 2, 3}, .span_id = {4, 5}};
    struct entries small;
    struct entries full;
    struct bare b;

    (void)state;
    entries_make(&small, "x-colour", "green");
    entries_fill(&full);
    bare_start(&b, 4096, 1 << 20, usual);
    for (unsigned i = 0; i < 12; i++) {
        struct rpc_call_options options = {.timeout_ms = i % 2 == 0 ? 0 : PATIENCE_MS};
        struct frame_request request;
        struct bare_done d;
        options.trace = i / 2 % 2 == 0 ? (struct frame_trace){{0}, {0}} : trace;
        options.metadata = i / 4 == 0 ? none : i / 4 == 1 ? small.all : full.all;
        bare_begin(&b, &d, &options);
        uint32_t id = expect_request(&b, &request);
        assert_true(i % 2 == 0 ? request.timeout_ms == 0
                               : request.timeout_ms > 0 && request.timeout_ms <= PATIENCE_MS);
        assert_memory_equal(&request.trace, &options.trace, sizeof trace);
        check_entries(request.metadata, options.metadata);
        bare_say_end(&b, id, FLY_OK, 1, 'e');
        assert_int_equal(bare_ended(&d)->status, FLY_OK);
        rpc_reply_fini(&d.reply);
    }
    bare_stop(&b);
}

/* Refused here: the next frame that comes is the next call's. */
static void test_unsound_request(void **state)
{
    static uint8_t many[FRAME_METADATA_MAX + 1];
    struct rpc_call_options options = {.metadata = broken_entries};
    struct frame_request request;
    struct rpc_stream *stream = NULL;
    struct rpc_reply reply;
    struct fly_error error;
    struct bare_text m;
    struct bare_done d;
    struct bare b;

    (void)state;
    bare_start(&b, 4096, 1 << 20, usual);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(
            rpc_channel_call(b.channel, &bare_unary, bare_message(&m, 1, 1), &options, &reply),
            FLY_INVALID_ARGUMENT);
        assert_false(reply.sent);
        assert_true(reply.text[0] != '\0');
        rpc_reply_fini(&reply);
        assert_int_equal(rpc_stream_open(&stream, b.channel, &bare_chat, NULL, &options, &error),
                         FLY_INVALID_ARGUMENT);
        options.metadata = (struct fly_bytes){many, sizeof many};
    }
    bare_begin(&b, &d, NULL);
    uint32_t id = expect_request(&b, &request);
    check_entries(request.metadata, none);
    bare_say_end(&b, id, FLY_OK, 1, 'e');
    rpc_reply_fini(bare_ended(&d));
    bare_stop(&b);
}

static void test_unary_answers(void **state)
{
    static const uint8_t details[] = {'w', 'h', 'y'};
    static const uint8_t empty_message[1];
    static const struct {
        const char *what;
        bool head;
        bool trailer;
        enum fly_status status;
        bool broken_head;
        bool broken_trailer;
        enum fly_status ends;
    } rows[] = {
        {"neither", false, false, FLY_OK, false, false, FLY_OK},
        {"head", true, false, FLY_OK, false, false, FLY_OK},
        {"trailer", false, true, FLY_OK, false, false, FLY_OK},
        {"both", true, true, FLY_OK, false, false, FLY_OK},
        {"both of an error", true, true, FLY_NOT_FOUND, false, false, FLY_NOT_FOUND},
        {"an error with neither", false, false, FLY_NOT_FOUND, false, false, FLY_NOT_FOUND},
        {"a malformed head", true, true, FLY_OK, true, false, FLY_INTERNAL},
        {"a malformed trailer", true, true, FLY_OK, false, true, FLY_INTERNAL},
        {"a malformed trailer of an error", true, true, FLY_ABORTED, false, true, FLY_INTERNAL},
    };
    struct entries head;
    struct entries trailer;
    struct bare b;

    (void)state;
    entries_make(&head, "x-head", "h");
    entries_make(&trailer, "x-trailer", "t");
    bare_start(&b, 4096, 1 << 20, usual);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        bool fails = rows[i].status != FLY_OK;
        struct frame_request request;
        struct bare_done d;
        struct frame frame;
        print_message("%s\n", rows[i].what);
        bare_begin(&b, &d, NULL);
        uint32_t id = expect_request(&b, &request);
        if (rows[i].head) {
            say_head(&b, id, rows[i].broken_head ? broken_entries : head.all);
        }
        if (rows[i].broken_head) {
            bare_expect(&b, FRAME_CANCEL, &frame);
        }
        say_end(&b, id, rows[i].status, fails ? "no such thing" : "",
                rows[i].broken_trailer ? broken_entries
                : rows[i].trailer      ? trailer.all
                                       : none,
                fails ? (struct fly_bytes){details, sizeof details}
                      : (struct fly_bytes){empty_message, 0});
        struct rpc_reply *reply = bare_ended(&d);
        assert_int_equal(reply->status, rows[i].ends);
        check_entries(reply->head, rows[i].head && !rows[i].broken_head ? head.all : none);
        if (rows[i].ends != FLY_INTERNAL) {
            check_entries(reply->trailer, rows[i].trailer ? trailer.all : none);
            assert_string_equal(reply->text, fails ? "no such thing" : "");
            assert_int_equal(reply->detail.size, fails ? sizeof details : 0);
            assert_int_equal(reply->message != NULL, !fails);
        }
        rpc_reply_fini(reply);
        rpc_reply_fini(reply); /* a finished one is fine */
    }
    assert_true(rpc_channel_alive(b.channel));
    bare_stop(&b);
}

/* The blocking call gives them too; a call that ended here keeps the head that came. */
static void *serve_one(void *user)
{
    struct bare *b = user;
    struct frame_request request;
    struct entries head;

    entries_make(&head, "x-head", "h");
    uint32_t id = expect_request(b, &request);
    say_head(b, id, head.all);
    if (request.timeout_ms == 0) {
        say_end(b, id, FLY_OK, "", head.all, none);
    }
    return NULL;
}

static void test_blocking(void **state)
{
    struct entries head;
    struct bare_text m;
    struct bare b;

    (void)state;
    entries_make(&head, "x-head", "h");
    for (unsigned late = 0; late < 2; late++) {
        struct rpc_call_options options = {.timeout_ms = late == 1 ? 300 : 0};
        struct rpc_reply reply;
        pthread_t server;
        bare_start(&b, 4096, 1 << 20, usual);
        FLY_CHECK(pthread_create(&server, NULL, serve_one, &b) == 0);
        assert_int_equal(
            rpc_channel_call(b.channel, &bare_unary, bare_message(&m, 1, 1), &options, &reply),
            late == 1 ? FLY_DEADLINE_EXCEEDED : FLY_OK);
        assert_true(reply.sent);
        (void)pthread_join(server, NULL);
        if (late == 0) {
            check_entries(reply.head, head.all);
            check_entries(reply.trailer, head.all);
        }
        rpc_reply_fini(&reply);
        bare_stop(&b);
    }
}

static void test_streams(void **state)
{
    struct entries head;
    struct entries trailer;
    struct bare b;

    (void)state;
    entries_make(&head, "x-head", "h");
    entries_make(&trailer, "x-trailer", "t");
    for (unsigned i = 0; i < 4; i++) {
        bool messages = i % 2 == 1;
        bool early = i / 2 == 1; /* the reader was there before */
        struct rpc_stream *stream = NULL;
        struct frame_request request;
        struct rpc_reply reply;
        struct bare_text m;
        struct fly_error error;
        bare_start(&b, 4096, 1 << 20, usual);
        assert_int_equal(
            rpc_stream_open(&stream, b.channel, &bare_watch, bare_message(&m, 1, 1), NULL, &error),
            FLY_OK);
        uint32_t id = expect_request(&b, &request);
        if (early) {
            assert_int_equal(rpc_stream_next(stream, 0, &reply), RPC_NEXT_NOTHING);
            check_entries(reply.head, none);
            rpc_reply_fini(&reply);
        }
        say_head(&b, id, head.all);
        if (messages) {
            (void)bare_say_message(&b, id, 4, 'm', 0);
            (void)bare_say_message(&b, id, 5, 'n', 0);
            for (unsigned n = 0; n < 2; n++) {
                assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_MESSAGE);
                check_entries(reply.head, n == 0 ? head.all : none);
                check_entries(reply.trailer, none);
                bare_check_message(&reply, 4 + n, n == 0 ? 'm' : 'n');
                rpc_reply_fini(&reply);
            }
        }
        say_end(&b, id, FLY_DATA_LOSS, "lost", trailer.all, none);
        for (unsigned n = 0; n < 2; n++) {
            assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_END);
            assert_int_equal(reply.status, FLY_DATA_LOSS);
            check_entries(reply.head, head.all);
            check_entries(reply.trailer, trailer.all);
            assert_string_equal(reply.text, "lost");
            rpc_reply_fini(&reply);
        }
        rpc_stream_close(stream);
        bare_stop(&b);
    }
}

static void test_stream_malformed_head(void **state)
{
    struct rpc_stream *stream = NULL;
    struct frame_request request;
    struct rpc_reply reply;
    struct frame frame;
    struct fly_error error;
    struct bare b;

    (void)state;
    bare_start(&b, 4096, 1 << 20, usual);
    assert_int_equal(rpc_stream_open(&stream, b.channel, &bare_chat, NULL, NULL, &error), FLY_OK);
    uint32_t id = expect_request(&b, &request);
    say_head(&b, id, broken_entries);
    assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_END);
    assert_int_equal(reply.status, FLY_INTERNAL);
    rpc_reply_fini(&reply);
    bare_expect(&b, FRAME_CANCEL, &frame);
    rpc_stream_close(stream);
    bare_stop(&b);
}

/* ---- a call made for another ---- */

static void test_parent(void **state)
{
    static const struct frame_trace trace = {.trace_id = {9, 8, 7}, .span_id = {6, 5}};
    static const struct frame_trace other = {.trace_id = {1}, .span_id = {1}};
    static const struct {
        const char *what;
        int64_t parent_ms;
        int64_t own_ms;
        bool has_trace;
        bool own_trace;
        int64_t least_ms;
        int64_t most_ms;
    } rows[] = {
        {"no bounds at all", 0, 0, false, false, 0, 0},
        {"the parent's deadline", 20000, 0, true, false, 1, 20000},
        {"the parent's is earlier", 20000, 1 << 30, true, false, 1, 20000},
        {"its own is earlier", 1 << 30, 20000, false, false, 1, 20000},
        {"its own alone", 0, 20000, true, true, 1, 20000},
    };
    struct fixture f;
    struct bare b;

    (void)state;
    fixture_start(&f, "tcp://127.0.0.1:0", NULL);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    bare_start(&b, 4096, 1 << 20, usual);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        Fly__V1__StatusRequest status = FLY__V1__STATUS_REQUEST__INIT;
        Fly__V1__StatusReply answer = FLY__V1__STATUS_REPLY__INIT;
        struct rpc_call_options options = {.timeout_ms = rows[i].parent_ms};
        struct frame_trace spans[2];
        struct bare_done parent;
        print_message("%s\n", rows[i].what);
        options.trace = rows[i].has_trace ? trace : options.trace;
        (void)sem_init(&parent.ended, 0, 0);
        assert_int_equal(rpc_channel_start(channel, &rpc_edge_status, &status.base, &options,
                                           bare_on_done, &parent, NULL),
                         FLY_OK);
        struct rpc_call *call = fixture_take(&f);
        for (unsigned n = 0; n < 2; n++) {
            struct rpc_call_options own = {.timeout_ms = rows[i].own_ms, .parent = call};
            struct frame_request request;
            struct bare_done d;
            own.trace = rows[i].own_trace ? other : own.trace;
            bare_begin(&b, &d, &own);
            uint32_t id = expect_request(&b, &request);
            assert_in_range(request.timeout_ms, rows[i].least_ms, rows[i].most_ms);
            spans[n] = request.trace;
            bare_say_end(&b, id, FLY_OK, 1, 'e');
            rpc_reply_fini(bare_ended(&d));
        }
        if (rows[i].own_trace) {
            assert_memory_equal(&spans[0], &other, sizeof other);
        } else if (rows[i].has_trace) {
            /* the same trace, a span of each call's own */
            assert_memory_equal(spans[0].trace_id, trace.trace_id, sizeof trace.trace_id);
            assert_memory_equal(spans[1].trace_id, trace.trace_id, sizeof trace.trace_id);
            assert_memory_not_equal(spans[0].span_id, trace.span_id, sizeof trace.span_id);
            assert_memory_not_equal(spans[0].span_id, spans[1].span_id, sizeof trace.span_id);
        } else {
            assert_false(frame_trace_present(&spans[0]));
        }
        rpc_call_reply(call, &answer.base);
        rpc_reply_fini(bare_ended(&parent));
    }
    rpc_channel_close(channel);
    bare_stop(&b);
    fixture_stop(&f);
}

/* A parent whose time is over: the call is not even sent. */
static void test_late_parent(void **state)
{
    Fly__V1__StatusRequest status = FLY__V1__STATUS_REQUEST__INIT;
    struct rpc_call_options options = {.timeout_ms = 50};
    struct bare_done parent;
    struct bare_done after;
    struct rpc_reply reply;
    struct frame_request request;
    struct bare_text m;
    struct fixture f;
    struct bare b;

    (void)state;
    fixture_start(&f, "tcp://127.0.0.1:0", NULL);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    bare_start(&b, 4096, 1 << 20, usual);
    (void)sem_init(&parent.ended, 0, 0);
    assert_int_equal(rpc_channel_start(channel, &rpc_edge_status, &status.base, &options,
                                       bare_on_done, &parent, NULL),
                     FLY_OK);
    struct rpc_call *call = fixture_take(&f);
    assert_int_equal(bare_ended(&parent)->status, FLY_DEADLINE_EXCEEDED);
    rpc_reply_fini(&parent.reply);
    options = (struct rpc_call_options){.timeout_ms = PATIENCE_MS, .parent = call};
    WAIT_UNTIL(fly_clock_boot_ms() >= rpc_call_deadline_ms(call));
    assert_int_equal(
        rpc_channel_call(b.channel, &bare_unary, bare_message(&m, 1, 1), &options, &reply),
        FLY_DEADLINE_EXCEEDED);
    assert_false(reply.sent);
    rpc_reply_fini(&reply);
    rpc_call_fail(call, FLY_CANCELLED, "late", none);
    bare_begin(&b, &after, NULL);
    uint32_t id = expect_request(&b, &request);
    assert_int_equal(request.timeout_ms, 0);
    bare_say_end(&b, id, FLY_OK, 1, 'e');
    rpc_reply_fini(bare_ended(&after));
    rpc_channel_close(channel);
    bare_stop(&b);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),       cmocka_unit_test(test_unsound_request),
        cmocka_unit_test(test_unary_answers), cmocka_unit_test(test_blocking),
        cmocka_unit_test(test_streams),       cmocka_unit_test(test_stream_malformed_head),
        cmocka_unit_test(test_parent),        cmocka_unit_test(test_late_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
