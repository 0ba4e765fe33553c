/* The server's bounds: each is refused with the right status before a body is looked at, counted,
 * and gone again when its cause is. */
#include "tests/unit/rpc_bare.h"

static const struct fly_bytes empty;

/* The next END is of this call, with this status, and nothing was done for it. */
static void expect_turned_away(struct bare *c, uint32_t id, enum fly_status status)
{
    bare_expect(c, FRAME_END, id, (uint32_t)status);
    assert_true((c->frame.header.flags & FRAME_FLAG_NOT_EXECUTED) != 0);
}

static void finish_one(struct bench *b, struct bare *c, uint32_t id)
{
    reply_empty(fixture_take(&b->f));
    bare_expect(c, FRAME_END, id, FLY_OK);
}

static void test_handshakes(void **state)
{
    enum { MAX = 3 };
    struct bench b;
    struct bare c[MAX + 1];

    (void)state;
    bench_init(&b);
    bench_start(&b, &(struct rpc_server_config){.handshakes_max = MAX});
    for (size_t i = 0; i < MAX; i++) {
        bare_begin(&c[i], &b.f, 0, 0);
    }
    int fd = bare_connect(&b.f);
    bare_expect_end(fd);
    assert_int_equal(rpc_server_counters(b.f.server).handshakes_excess, 1);
    /* one that is through makes room, and one that goes */
    bare_put(&c[0], (struct frame_header){.type = FRAME_HELLO}, empty, text_bytes("me"));
    bare_expect(&c[0], FRAME_HELLO, 0, 0);
    bare_open(&c[MAX], &b.f, 0, 0);
    bare_close(&c[1]);
    WAIT_UNTIL(rpc_server_counters(b.f.server).connections == MAX);
    for (size_t i = 0; i < MAX; i++) {
        struct bare more;
        bare_open(&more, &b.f, 0, 0);
        bare_close(&more);
    }
    bare_close(&c[0]);
    bare_close(&c[2]);
    bare_close(&c[MAX]);
    bench_stop(&b);
}

static void test_slow_frames(void **state)
{
    static const struct {
        const char *what;
        struct frame_header header;
        size_t sent;
    } rows[] = {
        {"one byte of a header", {.type = FRAME_CANCEL, .call_id = 5}, 1},
        {"a header without its body", {.type = FRAME_MSG, .call_id = 5, .size = 100}, 16},
        {"most of a body", {.type = FRAME_MSG, .call_id = 5, .size = 8}, 23},
    };
    struct bench b;
    struct bare idle;

    (void)state;
    bench_init(&b);
    bench_start(&b, &(struct rpc_server_config){.frame_timeout_ms = 60});
    bare_open(&idle, &b.f, 0, 0);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        uint8_t bytes[64] = {0};
        struct bare c;
        bare_open(&c, &b.f, 0, 0);
        frame_header_encode(&rows[i].header, bytes);
        bare_send(c.fd, bytes, rows[i].sent);
        bare_hung_up(&c);
        if (rpc_server_counters(b.f.server).frames_late != i + 1) {
            fail_msg("%s: not counted", rows[i].what);
        }
    }
    /* a byte now and then is no progress */
    struct bare c;
    uint8_t bytes[FRAME_HEADER_SIZE + 4000] = {0};
    struct pollfd poller = {.events = POLLIN | POLLHUP};
    size_t sent = 0;
    bare_open(&c, &b.f, 0, 0);
    frame_header_encode(&(struct frame_header){.type = FRAME_MSG, .call_id = 5, .size = 4000},
                        bytes);
    poller.fd = c.fd;
    while (sent < sizeof bytes - 1 && poll(&poller, 1, 1) == 0) {
        bare_send(c.fd, bytes + sent++, 1);
    }
    assert_true(sent < sizeof bytes - 1);
    bare_hung_up(&c);
    assert_int_equal(rpc_server_counters(b.f.server).frames_late, FLY_ARRAY_COUNT(rows) + 1);
    /* who says nothing has begun no frame */
    bare_ask(&idle, CALL_1, &b.methods[UNARY], 0);
    finish_one(&b, &idle, CALL_1);
    assert_int_equal(rpc_server_counters(b.f.server).keepalives_lost, 0);
    bare_close(&idle);
    bench_stop(&b);
}

static void test_tenants(void **state)
{
    enum { MAX = 4 };
    struct bench b;
    struct bare one;
    struct bare two;
    struct bare other;

    (void)state;
    bench_init(&b);
    bench_start(&b, &(struct rpc_server_config){.tenant_calls_max = MAX});
    b.tenant = 7;
    bare_open(&one, &b.f, 0, 0);
    bare_open(&two, &b.f, 0, 0);
    b.tenant = 8;
    bare_open(&other, &b.f, 0, 0);
    for (uint32_t i = 0; i < MAX; i++) {
        bare_ask(i % 2 == 0 ? &one : &two, frame_call_id(i, 1), &b.methods[UNARY], 0);
    }
    fixture_wait_parked(&b.f, MAX);
    bare_ask(&one, frame_call_id(MAX, 1), &b.methods[UNARY], 0);
    expect_turned_away(&one, frame_call_id(MAX, 1), FLY_RESOURCE_EXHAUSTED);
    assert_int_equal(rpc_server_counters(b.f.server).excess, 1);
    bare_ask(&other, CALL_1, &b.methods[UNARY], 0);
    fixture_wait_parked(&b.f, MAX + 1);
    /* a finished call, and the calls of a connection that is gone, are room again */
    reply_empty(fixture_take(&b.f));
    bare_ask(&two, frame_call_id(MAX + 1, 1), &b.methods[UNARY], 0);
    fixture_wait_parked(&b.f, MAX + 1);
    bare_close(&one);
    WAIT_UNTIL(rpc_server_counters(b.f.server).connections == 2);
    for (struct rpc_call *call; (call = fixture_unpark(&b.f, false)) != NULL;) {
        reply_empty(call);
    }
    for (uint32_t i = 0; i < MAX; i++) {
        bare_ask(&two, frame_call_id(20 + i, 1), &b.methods[UNARY], 0);
    }
    fixture_wait_parked(&b.f, MAX);
    assert_int_equal(rpc_server_counters(b.f.server).excess, 1);
    bare_close(&two);
    bare_close(&other);
    bench_stop(&b);
}

/* Calls that waited for HELLO's answer count from then on. */
static void test_tenant_of_waiting_calls(void **state)
{
    struct bench b;
    struct bare c;

    (void)state;
    bench_init(&b);
    b.tenant = 7;
    bench_start(&b, &(struct rpc_server_config){.tenant_calls_max = 1});
    bare_begin(&c, &b.f, 0, 0);
    bare_ask(&c, CALL_1, &b.methods[UNARY], 0);
    bare_ask(&c, CALL_2, &b.methods[UNARY], 0);
    bare_put(&c, (struct frame_header){.type = FRAME_HELLO}, empty, text_bytes("me"));
    bare_expect(&c, FRAME_HELLO, 0, 0);
    expect_turned_away(&c, CALL_2, FLY_RESOURCE_EXHAUSTED);
    finish_one(&b, &c, CALL_1);
    bare_ask(&c, CALL_3, &b.methods[UNARY], 0);
    finish_one(&b, &c, CALL_3);
    bare_close(&c);
    bench_stop(&b);
}

static void test_method_limit(void **state)
{
    struct bench b;
    struct bare c;

    (void)state;
    bench_init(&b);
    b.methods[UNARY].calls_max = 2;
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 0, 0);
    for (uint32_t round = 0; round < 3; round++) {
        bare_ask(&c, CALL_1, &b.methods[UNARY], 0);
        bare_ask(&c, CALL_2, &b.methods[UNARY], 0);
        bare_ask(&c, CALL_3, &b.methods[UNARY], 0);
        expect_turned_away(&c, CALL_3, FLY_RESOURCE_EXHAUSTED);
        bare_ask(&c, CALL_3, &b.methods[COUNT], 0); /* another method has room */
        fixture_wait_parked(&b.f, 3);
        finish_one(&b, &c, CALL_1);
        finish_one(&b, &c, CALL_2);
        finish_one(&b, &c, CALL_3);
    }
    assert_int_equal(rpc_server_counters(b.f.server).excess, 3);
    bare_close(&c);
    bench_stop(&b);
}

/* The table of calls grows with the slots that are used, up to calls_max. */
static void test_slots(void **state)
{
    static const uint32_t slots[] = {0, 1, 9, 40, 99};
    struct bench b;
    struct bare c;

    (void)state;
    bench_init(&b);
    bench_start(&b, &(struct rpc_server_config){.calls_max = 100});
    bare_open(&c, &b.f, 0, 0);
    for (uint32_t i = 0; i < FLY_ARRAY_COUNT(slots); i++) {
        bare_ask(&c, frame_call_id(slots[i], 1), &b.methods[UNARY], 0);
    }
    fixture_wait_parked(&b.f, FLY_ARRAY_COUNT(slots));
    bare_ask(&c, frame_call_id(100, 1), &b.methods[UNARY], 0);
    expect_turned_away(&c, frame_call_id(100, 1), FLY_RESOURCE_EXHAUSTED);
    bare_ask(&c, frame_call_id((1 << FRAME_SLOT_BITS) - 1, 1), &b.methods[UNARY], 0);
    expect_turned_away(&c, frame_call_id((1 << FRAME_SLOT_BITS) - 1, 1), FLY_RESOURCE_EXHAUSTED);
    for (uint32_t i = 0; i < FLY_ARRAY_COUNT(slots); i++) {
        finish_one(&b, &c, frame_call_id(slots[i], 1));
    }
    /* a number that is in use is a violation */
    bare_ask(&c, CALL_1, &b.methods[UNARY], 0);
    bare_ask(&c, frame_call_id(1, 2), &b.methods[UNARY], 0);
    bare_hung_up(&c);
    bench_stop(&b);
}

static void run_in_place(struct bench *b, size_t index, struct rpc_call *call)
{
    (void)b;
    (void)index;
    reply_empty(call);
}

static void run_inline_in_place(struct bench *b, size_t index, struct rpc_call *call)
{
    if (index == INLINE) {
        reply_empty(call);
    } else {
        fixture_park(&b->f, call);
    }
}

/* Readers that stopped hold what the server may have waiting: others are told, not starved. */
static void test_out_total(void **state)
{
    enum { SIZE = 60000, DEAF = 8 };
    struct bench b;
    struct bare deaf[DEAF];
    struct rpc_call *calls[DEAF];
    struct bare c;

    (void)state;
    bench_init(&b);
    b.run = run_inline_in_place;
    bench_start(&b, &(struct rpc_server_config){.out_max = 1 << 20, .out_total_max = 2 << 20});
    bare_open(&c, &b.f, 0, 0);
    for (size_t i = 0; i < DEAF; i++) {
        bare_open(&deaf[i], &b.f, INT32_MAX, INT32_MAX);
        bare_ask(&deaf[i], CALL_1, &b.methods[COUNT], 0);
        calls[i] = fixture_take(&b.f);
    }
    do { /* the kernel takes megabytes of each at first */
        for (size_t i = 0; i < DEAF; i++) {
            while (send_echo(calls[i], SIZE, 1, 0) == FLY_OK) {
            }
        }
        bare_ask(&c, CALL_1, &b.methods[INLINE], 0);
        assert_true(bare_get(&c));
    } while (c.frame.header.arg == FLY_OK);
    assert_int_equal(c.frame.header.arg, FLY_RESOURCE_EXHAUSTED);
    assert_true((c.frame.header.flags & FRAME_FLAG_NOT_EXECUTED) != 0);
    assert_int_equal(rpc_server_counters(b.f.server).excess, 1);
    for (size_t i = 0; i < DEAF; i++) {
        rpc_call_fail(calls[i], FLY_ABORTED, "enough", empty); /* a short END always fits */
        bare_close(&deaf[i]);
    }
    WAIT_UNTIL(rpc_server_counters(b.f.server).connections == 1);
    do { /* the memory of the others goes a little after their connections */
        bare_ask(&c, CALL_2, &b.methods[INLINE], 0);
        assert_true(bare_get(&c));
    } while (c.frame.header.arg == FLY_RESOURCE_EXHAUSTED);
    assert_int_equal(c.frame.header.arg, FLY_OK);
    bare_close(&c);
    bench_stop(&b);
}

static void test_metadata(void **state)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t size;
        enum fly_status status;
    } rows[] = {
        {"one entry", "\1\1\0kv", 5, FLY_OK},
        {"bytes in a -bin key", "\5\2\0k-bin\0\xff", 10, FLY_OK},
        {"a capital in its key", "\1\1\0Kv", 5, FLY_INTERNAL},
        {"a value that is not text", "\1\1\0k\7", 5, FLY_INTERNAL},
        {"cut", "\1\2\0kv", 5, FLY_INTERNAL},
        {"no key", "\0\1\0v", 4, FLY_INTERNAL},
    };
    struct bench b;
    struct bare c;
    uint8_t meta[FRAME_REQ_META_SIZE + FRAME_METADATA_MAX + 8] = {0};

    (void)state;
    bench_init(&b);
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 0, 0);
    struct frame_header header = {.type = FRAME_REQ,
                                  .flags = FRAME_FLAG_METADATA,
                                  .call_id = CALL_1,
                                  .arg = b.methods[UNARY].hash};
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        memcpy(meta + FRAME_REQ_META_SIZE, rows[i].bytes, rows[i].size);
        bare_put(&c, header, (struct fly_bytes){meta, FRAME_REQ_META_SIZE + rows[i].size}, empty);
        if (rows[i].status == FLY_OK) {
            struct rpc_call *call = fixture_take(&b.f);
            struct fly_bytes got = rpc_call_metadata(call);
            assert_int_equal(got.size, rows[i].size);
            assert_memory_equal(got.data, rows[i].bytes, got.size);
            reply_empty(call);
        }
        print_message("%s\n", rows[i].what);
        bare_expect(&c, FRAME_END, CALL_1, (uint32_t)rows[i].status);
    }
    /* exactly the limit, then over it: told, not cut off */
    struct fly_writer w = fly_writer_over(meta + FRAME_REQ_META_SIZE, FRAME_METADATA_MAX);
    uint8_t value[FRAME_METADATA_MAX];
    memset(value, 'x', sizeof value);
    assert_int_equal(metadata_put(&w, "k", (struct fly_bytes){value, FRAME_METADATA_MAX - 4}, NULL),
                     FLY_OK);
    bare_put(&c, header, (struct fly_bytes){meta, FRAME_REQ_META_SIZE + w.size}, empty);
    struct rpc_call *call = fixture_take(&b.f);
    assert_int_equal(rpc_call_metadata(call).size, FRAME_METADATA_MAX);
    reply_empty(call);
    bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
    bare_put(&c, header, (struct fly_bytes){meta, FRAME_REQ_META_SIZE + w.size + 1}, empty);
    expect_turned_away(&c, CALL_1, FLY_RESOURCE_EXHAUSTED);
    bare_close(&c);
    bench_stop(&b);
}

/* One request where a stream is wanted, or the other way round: gRPC's cardinality violation. */
static void test_cardinality(void **state)
{
    struct bench b;
    struct bare c;
    uint8_t meta[FRAME_REQ_META_SIZE] = {0};

    (void)state;
    bench_init(&b);
    b.run = run_in_place;
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 0, 0);
    for (size_t i = 0; i < METHODS; i++) {
        bool streams = (b.methods[i].flags & RPC_CLIENT_STREAM) != 0;
        struct frame_header header = {.type = FRAME_REQ,
                                      .flags = streams ? 0 : FRAME_FLAG_STREAMING,
                                      .call_id = CALL_1,
                                      .arg = b.methods[i].hash};
        bare_put(&c, header, (struct fly_bytes){meta, sizeof meta}, empty);
        expect_turned_away(&c, CALL_1, FLY_UNIMPLEMENTED);
        bare_ask(&c, CALL_1, &b.methods[i], 0);
        bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
    }
    assert_int_equal(rpc_server_counters(b.f.server).malformed, METHODS);
    bare_close(&c);
    bench_stop(&b);
}

/* GOAWAY names the end of the last request that became a call; what is behind is not executed. */
static void test_goaway(void **state)
{
    struct bench b;
    struct bare c;
    struct bare silent;

    (void)state;
    bench_init(&b);
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 0, 0);
    bare_open(&silent, &b.f, 0, 0);
    bare_ask(&c, CALL_1, &b.methods[UNARY], 0);
    uint64_t admitted = c.sent;
    fixture_wait_parked(&b.f, 1);
    bare_say(&c, FRAME_CANCEL, CALL_2, 0); /* read, but no request */
    bare_ask(&c, CALL_2, &(struct rpc_method){.name = "no.Such"}, 0);
    expect_turned_away(&c, CALL_2, FLY_UNIMPLEMENTED);
    rpc_server_drain(b.f.server);
    bare_expect(&c, FRAME_GOAWAY, 0, (uint32_t)admitted);
    bare_expect(&silent, FRAME_GOAWAY, 0, 0);
    bare_ask(&c, CALL_2, &b.methods[UNARY], 0);
    expect_turned_away(&c, CALL_2, FLY_UNAVAILABLE);
    finish_one(&b, &c, CALL_1);
    assert_int_equal(b.f.parked_count, 0);
    bare_close(&c);
    bare_close(&silent);
    bench_stop(&b);
}

/* More requests than ever were at once: what GOAWAY says of each is what became of it. */
static void test_goaway_in_a_flood(void **state)
{
    enum { CALLS = 2000 };
    struct bench b;
    struct bare c;
    uint64_t ends[CALLS];
    bool executed[CALLS] = {false};
    uint32_t last = 0;
    unsigned answered = 0;

    (void)state;
    bench_init(&b);
    b.run = run_in_place;
    bench_start(&b, &(struct rpc_server_config){.calls_max = 4096});
    bare_open(&c, &b.f, 0, 0);
    for (uint32_t i = 0; i < CALLS; i++) {
        bare_ask(&c, frame_call_id(i, 1), &b.methods[UNARY], 0);
        ends[i] = c.sent;
        if (i == CALLS / 2) {
            WAIT_UNTIL(rpc_server_counters(b.f.server).calls > 10);
            rpc_server_drain(b.f.server);
        }
    }
    while (answered < CALLS) {
        assert_true(bare_get(&c));
        if (c.frame.header.type == FRAME_GOAWAY) {
            last = c.frame.header.arg;
            continue;
        }
        assert_int_equal(c.frame.header.type, FRAME_END);
        executed[frame_call_slot(c.frame.header.call_id)] = c.frame.header.arg == FLY_OK;
        answered++;
    }
    assert_true(last > 0);
    for (uint32_t i = 0; i < CALLS; i++) {
        assert_int_equal(executed[i], ends[i] <= last);
    }
    assert_int_equal(b.served, rpc_server_counters(b.f.server).calls_finished);
    bare_close(&c);
    bench_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshakes),        cmocka_unit_test(test_slow_frames),
        cmocka_unit_test(test_tenants),           cmocka_unit_test(test_tenant_of_waiting_calls),
        cmocka_unit_test(test_method_limit),      cmocka_unit_test(test_slots),
        cmocka_unit_test(test_out_total),         cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_cardinality),       cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_goaway_in_a_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
