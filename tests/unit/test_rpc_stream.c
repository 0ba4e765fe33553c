/* rpc streams: bounded by their reader's window, resumed by it, ended exactly once. */
#include "fly/v1/edge.rpc.h"
#include "tests/unit/rpc_fixture.h"

static const char *const LOOPBACK = "tcp://127.0.0.1:0";

static struct rpc_stream *open_stream(struct rpc_channel *channel, int64_t timeout_ms)
{
    struct rpc_stream *stream = NULL;
    struct fly_error error = {.text = ""};
    Fly__V1__WatchRequest request = FLY__V1__WATCH_REQUEST__INIT;
    struct rpc_call_options options = {.timeout_ms = timeout_ms};

    if (rpc_stream_open(&stream, channel, &rpc_edge_watch, &request.base, &options, &error) !=
        FLY_OK) {
        fail_msg("%s", error.text);
    }
    return stream;
}

static enum fly_status send_number(struct rpc_call *call, unsigned number)
{
    Fly__V1__WatchReply message = FLY__V1__WATCH_REPLY__INIT;
    char text[600];

    (void)snprintf(text, sizeof text, "%0*u", 500, number);
    message.cursor = text;
    return rpc_call_send(call, &message.base);
}

static void expect_number(struct rpc_stream *stream, unsigned number)
{
    struct rpc_reply reply;
    char text[600];

    (void)snprintf(text, sizeof text, "%0*u", 500, number);
    assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_MESSAGE);
    assert_string_equal(((const Fly__V1__WatchReply *)reply.message)->cursor, text);
    rpc_reply_fini(&reply);
}

static void expect_end(struct rpc_stream *stream, enum fly_status status)
{
    struct rpc_reply reply;

    for (unsigned i = 0; i < 2; i++) { /* said again by every further call */
        assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_END);
        assert_int_equal(reply.status, status);
        rpc_reply_fini(&reply);
    }
}

/* Sends until the reader's window is full; returns the number after the last that went. */
static unsigned fill(struct rpc_call *call, unsigned number)
{
    enum fly_status status = FLY_OK;

    while ((status = send_number(call, number)) == FLY_OK) {
        number++;
    }
    assert_int_equal(status, FLY_RESOURCE_EXHAUSTED);
    return number;
}

static void test_slow_reader(void **state)
{
    enum { WINDOW = 8192, MESSAGE = 500 };
    struct fixture f;
    struct rpc_channel *channel = NULL;
    struct fly_error error;
    struct rpc_reply reply;
    unsigned sent = 0;
    unsigned read = 0;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    struct rpc_channel_config config = {
        .url = rpc_server_url(f.server, 0), .hello = text_bytes("me"), .stream_window = WINDOW};
    assert_int_equal(rpc_channel_open(&channel, &config, &error), FLY_OK);
    struct rpc_stream *stream = open_stream(channel, 0);
    struct rpc_call *call = fixture_take(&f);
    assert_int_equal(rpc_stream_next(stream, 0, &reply), RPC_NEXT_NOTHING);
    rpc_reply_fini(&reply);
    for (unsigned round = 0; round < 20; round++) {
        sent = fill(call, sent);
        assert_true((sent - read) * MESSAGE <= 2 * WINDOW); /* bounded, however long it goes on */
        check_echo(channel, 100, 1);                        /* the connection is not held up */
        while (read < sent) {
            expect_number(stream, read++);
        }
        fixture_wait(&f, &f.writables, round + 1);
    }
    assert_true(sent >= 20 * (WINDOW / 2 / (MESSAGE + 50)));
    rpc_call_reply(call, NULL);
    expect_end(stream, FLY_OK);
    rpc_stream_close(stream);
    rpc_channel_close(channel);
    fixture_stop(&f);
}

static void test_ends(void **state)
{
    static const struct {
        const char *what;
        enum fly_status status;
    } rows[] = {{"served", FLY_OK},
                {"refused", FLY_PERMISSION_DENIED},
                {"cancelled by its reader", FLY_CANCELLED},
                {"past its deadline", FLY_DEADLINE_EXCEEDED},
                {"cut", FLY_UNAVAILABLE}};

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct fixture f;
        fixture_start(&f, LOOPBACK, NULL);
        struct rpc_channel *channel = fixture_connect(&f, "me");
        bool late = rows[i].status == FLY_DEADLINE_EXCEEDED;
        struct rpc_stream *stream = open_stream(channel, late ? 500 : 0);
        struct rpc_call *call = fixture_take(&f);
        if (!late) {
            assert_int_equal(send_number(call, 1), FLY_OK);
            expect_number(stream, 1);
        }
        if (rows[i].status == FLY_OK) {
            rpc_call_reply(call, NULL);
        } else if (rows[i].status == FLY_PERMISSION_DENIED) {
            rpc_call_fail(call, FLY_PERMISSION_DENIED, "no", (struct fly_bytes){0});
        } else if (rows[i].status == FLY_CANCELLED) {
            rpc_stream_cancel(stream);
            rpc_stream_cancel(stream);
        } else if (rows[i].status == FLY_UNAVAILABLE) {
            rpc_server_close(f.server);
        }
        print_message("%s\n", rows[i].what);
        expect_end(stream, rows[i].status);
        if (rows[i].status != FLY_OK && rows[i].status != FLY_PERMISSION_DENIED) {
            fixture_wait(&f, &f.cancels, 1);
            assert_int_equal(send_number(call, 2), FLY_UNAVAILABLE);
            rpc_call_fail(call, FLY_CANCELLED, "over", (struct fly_bytes){0});
        }
        rpc_stream_close(stream);
        rpc_channel_close(channel);
        fixture_stop(&f);
    }
}

/* Closed unread, with messages waiting: what follows on the connection is in order. */
static void test_closed_unread(void **state)
{
    struct fixture f;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    for (unsigned i = 0; i < 20; i++) {
        struct rpc_stream *stream = open_stream(channel, 0);
        struct rpc_call *call = fixture_take(&f);
        (void)fill(call, 0);
        rpc_stream_close(stream);
        fixture_wait(&f, &f.cancels, i + 1);
        rpc_call_fail(call, FLY_CANCELLED, "over", (struct fly_bytes){0});
        check_echo(channel, 1000, (uint8_t)i);
    }
    rpc_channel_close(channel);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_closed_unread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
