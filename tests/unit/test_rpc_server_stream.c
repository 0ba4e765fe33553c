/* The server's side of streams: windows of the call and of the connection both ways, waiting with
 * and without a thread, slow readers, metadata. */
#include "tests/unit/rpc_bare.h"

static const struct fly_bytes empty;

enum { WINDOW = 4096, CONN_WINDOW = 8192 };

static const struct rpc_server_config small = {.stream_window = WINDOW, .conn_window = CONN_WINDOW};

static void expect_message(struct rpc_call *call, size_t size, uint8_t fill)
{
    struct rpc_reply reply;
    uint8_t got = 0;

    assert_int_equal(rpc_call_next(call, -1, &reply), RPC_NEXT_MESSAGE);
    assert_int_equal(echo_size(reply.message, &got), size);
    assert_int_equal(got, size > 0 ? fill : 0);
    rpc_reply_fini(&reply);
}

static void expect_next(struct rpc_call *call, int64_t timeout_ms, enum rpc_next next,
                        enum fly_status status)
{
    struct rpc_reply reply;

    assert_int_equal(rpc_call_next(call, timeout_ms, &reply), next);
    assert_int_equal(reply.status, status);
    assert_null(reply.message);
    rpc_reply_fini(&reply);
}

static void test_collect(void **state)
{
    struct bench b;
    struct bare c;

    (void)state;
    bench_init(&b);
    bench_start(&b, &small);
    bare_open(&c, &b.f, 0, 0);
    bare_ask(&c, CALL_1, &b.methods[COLLECT], 0);
    struct rpc_call *call = fixture_take(&b.f);
    assert_null(rpc_call_request(call));
    expect_next(call, 0, RPC_NEXT_NOTHING, FLY_OK);
    for (unsigned i = 1; i <= 5; i++) {
        bare_message(&c, CALL_1, i, (uint8_t)i);
        fixture_wait(&b.f, &b.readables, i); /* once for each NOTHING */
        expect_message(call, i, (uint8_t)i);
        expect_next(call, 0, RPC_NEXT_NOTHING, FLY_OK);
    }
    bare_message(&c, CALL_1, 0, 0);
    bare_say(&c, FRAME_DONE, CALL_1, 0);
    fixture_wait(&b.f, &b.readables, 6);
    expect_message(call, 0, 0);
    expect_next(call, -1, RPC_NEXT_END, FLY_OK);
    expect_next(call, -1, RPC_NEXT_END, FLY_OK);
    reply_empty(call);
    bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
    bare_close(&c);
    bench_stop(&b);
}

/* Sends messages while both windows allow, counting what WINDOW frames give back. */
struct sender {
    struct bare *c;
    uint32_t id;
    int64_t credit;
    int64_t conn_credit;
};

static void take_window(struct sender *s)
{
    assert_true(bare_get(s->c));
    assert_int_equal(s->c->frame.header.type, FRAME_WINDOW);
    if (s->c->frame.header.call_id == 0) {
        s->conn_credit += s->c->frame.header.arg;
    } else {
        assert_int_equal(s->c->frame.header.call_id, s->id);
        s->credit += s->c->frame.header.arg;
    }
}

static void send_one(struct sender *s, size_t size)
{
    struct fly_bytes body = echo_bytes(size, 1);

    while (s->credit <= 0 || s->conn_credit <= 0) {
        take_window(s);
    }
    s->credit -= frame_credit(body.size);
    s->conn_credit -= frame_credit(body.size);
    bare_put(s->c, (struct frame_header){.type = FRAME_MSG, .call_id = s->id}, empty, body);
    free((void *)(uintptr_t)body.data);
}

static void *take_all(void *user)
{
    struct rpc_call *call = user;
    struct rpc_reply reply;
    uintptr_t count = 0;

    while (rpc_call_next(call, -1, &reply) == RPC_NEXT_MESSAGE) {
        count++;
        rpc_reply_fini(&reply);
    }
    assert_int_equal(reply.status, FLY_OK);
    rpc_reply_fini(&reply);
    reply_empty(call);
    return (void *)count;
}

/* A well-behaved client gets through any number of messages of any size, with small windows. */
static void test_windows_granted(void **state)
{
    static const size_t sizes[] = {0, 1, 100, 4000, 5000, 20000};
    enum { MESSAGES = 300 };
    struct bench b;
    struct bare c;
    pthread_t reader;
    void *count = NULL;

    (void)state;
    bench_init(&b);
    bench_start(&b, &small);
    bare_open(&c, &b.f, 0, 0);
    struct sender s = {.c = &c, .id = CALL_1, .credit = WINDOW, .conn_credit = CONN_WINDOW};
    bare_ask(&c, CALL_1, &b.methods[COLLECT], 0);
    assert_int_equal(pthread_create(&reader, NULL, take_all, fixture_take(&b.f)), 0);
    for (unsigned i = 0; i < MESSAGES; i++) {
        send_one(&s, sizes[i % FLY_ARRAY_COUNT(sizes)]);
    }
    bare_say(&c, FRAME_DONE, CALL_1, 0);
    (void)pthread_join(reader, &count);
    assert_int_equal((uintptr_t)count, MESSAGES);
    bare_close(&c);
    bench_stop(&b);
}

/* What nobody takes — of an ended call, or one that never was — is given back to the connection. */
static void test_credit_of_the_unread(void **state)
{
    struct bench b;
    struct bare c;
    struct sender s = {.id = CALL_1, .credit = INT32_MAX, .conn_credit = CONN_WINDOW};

    (void)state;
    bench_init(&b);
    bench_start(&b, &small);
    bare_open(&c, &b.f, 0, 0);
    s.c = &c;
    for (unsigned i = 0; i < 100; i++) {
        send_one(&s, 1000);
    }
    for (unsigned i = 0; i < 10; i++) {
        bare_ask(&c, CALL_2, &b.methods[COLLECT], 0);
        s.id = CALL_2;
        for (unsigned k = 0; k < 3; k++) {
            send_one(&s, 1000);
        }
        struct rpc_call *call = fixture_take(&b.f);
        WAIT_UNTIL(rpc_server_counters(b.f.server).bytes_in == c.sent);
        if (i % 2 == 0) {
            reply_empty(call);
        } else {
            bare_say(&c, FRAME_CANCEL, CALL_2, 0);
            fixture_wait(&b.f, &b.f.cancels, i / 2 + 1);
            expect_next(call, -1, RPC_NEXT_END, FLY_CANCELLED);
            rpc_call_fail(call, FLY_CANCELLED, "over", empty);
        }
        do {
            assert_true(bare_get(&c));
            s.conn_credit += c.frame.header.type == FRAME_WINDOW ? c.frame.header.arg : 0;
        } while (c.frame.header.type != FRAME_END);
    }
    assert_int_equal(rpc_server_counters(b.f.server).violations, 0);
    bare_close(&c);
    bench_stop(&b);
}

static void test_violations(void **state)
{
    static const struct {
        const char *what;
        int method;
        unsigned messages;
        size_t size;
        unsigned dones;
        unsigned more;
    } rows[] = {
        {"a message to a unary call", UNARY, 1, 1, 0, 0},
        {"a message to a call that only the server streams", COUNT, 1, 1, 0, 0},
        {"DONE of a unary call", UNARY, 0, 0, 1, 0},
        {"DONE twice", COLLECT, 1, 1, 2, 0},
        {"a message behind DONE", COLLECT, 1, 1, 1, 1},
        {"over the call's window", COLLECT, 2, WINDOW, 0, 0},
        {"over the call's window by small ones", COLLECT, WINDOW / 16 + 1, 0, 0, 0},
        {"over the connection's window, to nobody", METHODS, 1, 0, 0, 0},
    };
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b, &small);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct bare c;
        bare_open(&c, &b.f, 0, 0);
        if (rows[i].method == METHODS) {
            /* three calls that take nothing fill the connection's before their own */
            for (uint32_t k = 1; k <= 3; k++) {
                bare_ask(&c, frame_call_id(k, 1), &b.methods[COLLECT], 0);
                bare_message(&c, frame_call_id(k, 1), WINDOW - 40, 1);
            }
            bare_message(&c, CALL_1, 1, 1);
        } else {
            bare_ask(&c, CALL_1, &b.methods[rows[i].method], 0);
        }
        for (unsigned k = 0; k < rows[i].messages; k++) {
            bare_message(&c, CALL_1, rows[i].size, 1);
        }
        for (unsigned k = 0; k < rows[i].dones; k++) {
            bare_say(&c, FRAME_DONE, CALL_1, 0);
        }
        for (unsigned k = 0; k < rows[i].more; k++) {
            bare_message(&c, CALL_1, rows[i].size, 1);
        }
        print_message("%s\n", rows[i].what);
        bare_hung_up(&c);
        WAIT_UNTIL(rpc_server_counters(b.f.server).violations == i + 1);
        for (struct rpc_call *call; (call = fixture_unpark(&b.f, false)) != NULL;) {
            rpc_call_fail(call, FLY_ABORTED, "over", empty);
        }
    }
    bench_stop(&b);
}

static void test_malformed_message(void **state)
{
    struct bench b;
    struct bare c;
    struct rpc_reply reply;

    (void)state;
    bench_init(&b);
    bench_start(&b, &small);
    bare_open(&c, &b.f, 0, 0);
    bare_ask(&c, CALL_1, &b.methods[COLLECT], 0);
    bare_message(&c, CALL_1, 3, 1);
    bare_put(&c, (struct frame_header){.type = FRAME_MSG, .call_id = CALL_1}, empty,
             text_bytes("\x0a\x7fshort"));
    bare_message(&c, CALL_1, 3, 1);
    struct rpc_call *call = fixture_take(&b.f);
    expect_message(call, 3, 1);
    for (unsigned i = 0; i < 3; i++) { /* for good: what follows it is not taken */
        assert_int_equal(rpc_call_next(call, -1, &reply), RPC_NEXT_END);
        assert_int_equal(reply.status, FLY_INTERNAL);
        assert_true(reply.text[0] != '\0');
        rpc_reply_fini(&reply);
    }
    rpc_call_fail(call, FLY_INTERNAL, "cannot read that", empty);
    bare_expect(&c, FRAME_END, CALL_1, FLY_INTERNAL);
    assert_int_equal(rpc_server_counters(b.f.server).malformed, 1);
    bare_close(&c);
    bench_stop(&b);
}

/* ---- threads that wait ---- */

struct waiter {
    struct rpc_call *call;
    bool sends;
    int64_t timeout_ms;
    enum rpc_next next;
    enum fly_status status;
};

static void *wait_for_it(void *user)
{
    struct waiter *w = user;
    struct rpc_reply reply;

    if (w->sends) {
        while ((w->status = send_echo(w->call, 500, 1, w->timeout_ms)) == FLY_OK) {
        }
        return NULL;
    }
    w->next = rpc_call_next(w->call, w->timeout_ms, &reply);
    w->status = reply.status;
    rpc_reply_fini(&reply);
    return NULL;
}

static void test_waiting_ends(void **state)
{
    static const struct {
        const char *what;
        bool sends;
        uint32_t deadline_ms;
        int64_t timeout_ms;
        enum fly_status status;
        enum { MESSAGE, DONE, CANCEL, CUT, TIME } by;
    } rows[] = {
        {"a message comes", false, 0, -1, FLY_OK, MESSAGE},
        {"DONE comes", false, 0, -1, FLY_OK, DONE},
        {"the reader's call is cancelled", false, 0, -1, FLY_CANCELLED, CANCEL},
        {"the reader's connection is cut", false, 0, -1, FLY_CANCELLED, CUT},
        {"the reader's time is up", false, 0, 20, FLY_OK, TIME},
        {"the reader's deadline passes", false, 60, -1, FLY_DEADLINE_EXCEEDED, TIME},
        {"the writer's call is cancelled", true, 0, -1, FLY_UNAVAILABLE, CANCEL},
        {"the writer's connection is cut", true, 0, -1, FLY_UNAVAILABLE, CUT},
        {"the writer's time is up", true, 0, 20, FLY_RESOURCE_EXHAUSTED, TIME},
        {"the writer's deadline passes", true, 60, -1, FLY_RESOURCE_EXHAUSTED, TIME},
    };
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_start(&b, &small);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct bare c;
        pthread_t thread;
        bare_open(&c, &b.f, 2000, 4000);
        bare_ask(&c, CALL_1, &b.methods[CHAT], rows[i].deadline_ms);
        struct waiter w = {fixture_take(&b.f), rows[i].sends, rows[i].timeout_ms, 0, 0};
        print_message("%s\n", rows[i].what);
        assert_int_equal(pthread_create(&thread, NULL, wait_for_it, &w), 0);
        if (rows[i].sends) {
            for (unsigned k = 0; k < 4; k++) { /* its window, so it waits from here on */
                bare_expect(&c, FRAME_MSG, CALL_1, 0);
            }
        }
        if (rows[i].by == MESSAGE) {
            bare_message(&c, CALL_1, 1, 1);
        } else if (rows[i].by == DONE || rows[i].by == CANCEL) {
            bare_say(&c, rows[i].by == DONE ? FRAME_DONE : FRAME_CANCEL, CALL_1, 0);
        } else if (rows[i].by == CUT) {
            (void)shutdown(c.fd, SHUT_RDWR);
        }
        (void)pthread_join(thread, NULL);
        assert_int_equal(w.status, rows[i].status);
        if (!rows[i].sends) {
            assert_int_equal(w.next, rows[i].by == MESSAGE ? RPC_NEXT_MESSAGE
                                     : rows[i].status == FLY_OK && rows[i].by == TIME
                                         ? RPC_NEXT_NOTHING
                                         : RPC_NEXT_END);
        }
        rpc_call_fail(w.call, FLY_ABORTED, "over", empty);
        bare_close(&c);
        WAIT_UNTIL(rpc_server_counters(b.f.server).connections == 0);
    }
    bench_stop(&b);
}

static void *send_many(void *user)
{
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(send_echo(user, 300, (uint8_t)i, -1), FLY_OK);
    }
    reply_empty(user);
    return NULL;
}

/* A worker that waits for its reader goes on whenever there is credit, of both kinds. */
static void test_waiting_goes_on(void **state)
{
    struct bench b;
    struct bare c;
    pthread_t thread;
    unsigned count = 0;

    (void)state;
    bench_init(&b);
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 700, 400);
    bare_ask(&c, CALL_1, &b.methods[COUNT], 0);
    assert_int_equal(pthread_create(&thread, NULL, send_many, fixture_take(&b.f)), 0);
    for (;;) {
        assert_true(bare_get(&c));
        if (c.frame.header.type == FRAME_END) {
            break;
        }
        assert_int_equal(c.frame.body.data[c.frame.body.size - 1], (uint8_t)count);
        count++;
        uint32_t credit = frame_credit(c.frame.body.size);
        bare_say(&c, FRAME_WINDOW, count % 2 == 0 ? 0 : CALL_1, credit);
        bare_say(&c, FRAME_WINDOW, count % 2 == 0 ? CALL_1 : 0, credit);
    }
    assert_int_equal(count, 200);
    assert_int_equal(b.f.writables, 0); /* nobody was told: somebody waited */
    (void)pthread_join(thread, NULL);
    bare_close(&c);
    bench_stop(&b);
}

/* ---- sending without waiting ---- */

/* The connection's window holds back all streams together, and one grant wakes all of them. */
static void test_connection_window(void **state)
{
    struct bench b;
    struct bare c;
    struct rpc_call *call[2];

    (void)state;
    bench_init(&b);
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 1 << 20, 1000);
    for (uint32_t i = 0; i < 2; i++) {
        bare_ask(&c, frame_call_id(i, 1), &b.methods[COUNT], 0);
        call[i] = fixture_take(&b.f);
    }
    assert_int_equal(send_echo(call[0], 500, 1, 0), FLY_OK);
    assert_int_equal(send_echo(call[1], 600, 2, 0), FLY_OK); /* over it once */
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(send_echo(call[i], 1, 1, 0), FLY_RESOURCE_EXHAUSTED);
        bare_expect(&c, FRAME_MSG, frame_call_id(i, 1), 0);
    }
    bare_say(&c, FRAME_WINDOW, CALL_1, 1000);
    bare_say(&c, FRAME_WINDOW, 0, 1); /* not enough */
    WAIT_UNTIL(rpc_server_counters(b.f.server).bytes_in == c.sent);
    assert_int_equal(b.f.writables, 0);
    bare_say(&c, FRAME_WINDOW, 0, 1000);
    fixture_wait(&b.f, &b.f.writables, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(send_echo(call[i], 1, 1, 0), FLY_OK);
        bare_expect(&c, FRAME_MSG, frame_call_id(i, 1), 0);
        reply_empty(call[i]);
        bare_expect(&c, FRAME_END, frame_call_id(i, 1), FLY_OK);
    }
    bare_close(&c);
    bench_stop(&b);
}

/* Counts what comes until END: every message is one that was sent, in order, and the gaps say
 * exactly which are missing. */
static unsigned read_with_gaps(struct bare *c, unsigned first, uint32_t id)
{
    for (;;) {
        assert_true(bare_get(c));
        assert_int_equal(c->frame.header.call_id, id);
        if (c->frame.header.type == FRAME_END) {
            return first;
        }
        if ((c->frame.header.flags & FRAME_FLAG_GAP) != 0) {
            assert_true(c->frame.header.arg > 0);
            first += c->frame.header.arg;
        }
        assert_int_equal(c->frame.body.data[c->frame.body.size - 1], (uint8_t)first);
        first++;
    }
}

static void test_drop_oldest(void **state)
{
    enum { SENT = 5000, SIZE = 1000 };
    struct bench b;
    struct bare c;

    (void)state;
    bench_init(&b);
    b.methods[COUNT].slow_reader = RPC_SLOW_DROP;
    bench_start(&b, NULL);
    for (unsigned fails = 0; fails < 2; fails++) {
        bare_open(&c, &b.f, 10 * SIZE, 1 << 20);
        bare_ask(&c, CALL_1, &b.methods[COUNT], 0);
        struct rpc_call *call = fixture_take(&b.f);
        for (unsigned i = 0; i < SENT; i++) {
            assert_int_equal(send_echo(call, SIZE, (uint8_t)i, 0), FLY_OK);
        }
        uint64_t dropped = rpc_server_counters(b.f.server).slow_dropped;
        assert_true(dropped >= (fails + 1) * (SENT - 10 - RPC_SLOW_KEEP / SIZE - 2));
        if (fails == 0) {
            reply_empty(call);
        } else {
            rpc_call_fail(call, FLY_ABORTED, "why", text_bytes("detail"));
        }
        /* the call is over for its server, not for its reader: the latest comes, then END */
        assert_int_equal(rpc_server_counters(b.f.server).calls_active, 0);
        bare_say(&c, FRAME_WINDOW, CALL_1, SIZE * 3);
        bare_say(&c, FRAME_WINDOW, CALL_1, 1 << 20);
        assert_int_equal(read_with_gaps(&c, 0, CALL_1), SENT);
        assert_int_equal(c.frame.header.arg, fails == 0 ? FLY_OK : FLY_ABORTED);
        if (fails == 1) {
            assert_memory_equal(c.frame.meta.data, "why", 3);
            assert_memory_equal(c.frame.body.data, "detail", 6);
        }
        bare_ask(&c, CALL_1, &b.methods[COUNT], 0); /* the slot is free again */
        reply_empty(fixture_take(&b.f));
        bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
        bare_close(&c);
    }
    bench_stop(&b);
}

/* One that is larger than all that is kept is still the latest. */
static void test_drop_large(void **state)
{
    struct bench b;
    struct bare c;

    (void)state;
    bench_init(&b);
    b.methods[COUNT].slow_reader = RPC_SLOW_DROP;
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 100, 1 << 20);
    bare_ask(&c, CALL_1, &b.methods[COUNT], 0);
    struct rpc_call *call = fixture_take(&b.f);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(send_echo(call, 2 * RPC_SLOW_KEEP, (uint8_t)i, 0), FLY_OK);
    }
    bare_expect(&c, FRAME_MSG, CALL_1, 0);
    bare_say(&c, FRAME_WINDOW, CALL_1, 1 << 20);
    bare_expect(&c, FRAME_MSG, CALL_1, 18);
    assert_int_equal(c.frame.header.flags, FRAME_FLAG_GAP);
    assert_int_equal(c.frame.body.data[c.frame.body.size - 1], 19);
    reply_empty(call);
    bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
    assert_int_equal(rpc_server_counters(b.f.server).slow_dropped, 18);
    bare_close(&c);
    bench_stop(&b);
}

/* Whoever goes while END is still owed to it leaves nothing behind. */
static void test_drop_gone(void **state)
{
    struct bench b;
    struct bare c;

    (void)state;
    bench_init(&b);
    b.methods[COUNT].slow_reader = RPC_SLOW_DROP;
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 100, 1 << 20);
    for (uint32_t i = 1; i <= 2; i++) {
        bare_ask(&c, frame_call_id(i, 1), &b.methods[COUNT], 0);
        struct rpc_call *call = fixture_take(&b.f);
        assert_int_equal(send_echo(call, 1000, 1, 0), FLY_OK);
        assert_int_equal(send_echo(call, 1000, 1, 0), FLY_OK);
        reply_empty(call);
        bare_expect(&c, FRAME_MSG, frame_call_id(i, 1), 0);
    }
    bare_say(&c, FRAME_CANCEL, CALL_1, 0);
    bare_expect(&c, FRAME_END, CALL_1, FLY_CANCELLED);
    assert_int_equal(b.f.cancels, 0); /* it was finished */
    bare_close(&c);
    bench_stop(&b);
}

static void test_end_slow(void **state)
{
    struct bench b;
    struct bare c;
    unsigned sent = 0;

    (void)state;
    bench_init(&b);
    b.methods[COUNT].slow_reader = RPC_SLOW_END;
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 10000, 1 << 20);
    bare_ask(&c, CALL_1, &b.methods[COUNT], 0);
    struct rpc_call *call = fixture_take(&b.f);
    while (send_echo(call, 900, 1, 0) == FLY_OK) {
        sent++;
    }
    assert_true(sent >= 10);
    assert_true(rpc_call_cancelled(call));
    assert_int_equal(send_echo(call, 1, 1, 0), FLY_UNAVAILABLE);
    for (unsigned i = 0; i < sent; i++) {
        bare_expect(&c, FRAME_MSG, CALL_1, 0);
    }
    bare_expect(&c, FRAME_END, CALL_1, FLY_RESOURCE_EXHAUSTED);
    assert_int_equal(rpc_server_counters(b.f.server).slow_ended, 1);
    rpc_call_fail(call, FLY_ABORTED, "over", empty); /* reaches nobody */
    bare_ask(&c, CALL_1, &b.methods[COUNT], 0);
    reply_empty(fixture_take(&b.f));
    bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
    bare_close(&c);
    bench_stop(&b);
}

/* ---- metadata of the server ---- */

static void test_head_and_trailer(void **state)
{
    static const uint8_t bad[] = {1, 1, 0, 'H', '1'};
    uint8_t entries[64];
    struct fly_writer w = fly_writer_over(entries, sizeof entries);
    struct bench b;
    struct bare c;
    struct frame_end end;

    (void)state;
    assert_int_equal(metadata_put_text(&w, "who", "me", NULL), FLY_OK);
    struct fly_bytes good = {entries, w.size};
    struct fly_bytes wrong = {bad, sizeof bad};
    bench_init(&b);
    bench_start(&b, NULL);
    bare_open(&c, &b.f, 1 << 20, 1 << 20);
    for (unsigned i = 0; i < 6; i++) {
        bool stream = i % 3 == 2;
        bool fails = i >= 3;
        bare_ask(&c, CALL_1, &b.methods[stream ? COUNT : UNARY], 0);
        struct rpc_call *call = fixture_take(&b.f);
        assert_int_equal(rpc_call_send_head(call, wrong), FLY_INVALID_ARGUMENT);
        assert_int_equal(rpc_call_set_trailer(call, wrong), FLY_INVALID_ARGUMENT);
        if (i % 3 != 1) {
            assert_int_equal(rpc_call_send_head(call, good), FLY_OK);
            assert_int_equal(rpc_call_send_head(call, good), FLY_FAILED_PRECONDITION);
            bare_expect(&c, FRAME_HEAD, CALL_1, 0);
            assert_int_equal(c.frame.meta.size, good.size);
            assert_memory_equal(c.frame.meta.data, good.data, good.size);
        } else if (stream) {
            assert_int_equal(send_echo(call, 1, 1, 0), FLY_OK);
            assert_int_equal(rpc_call_send_head(call, good), FLY_FAILED_PRECONDITION);
            bare_expect(&c, FRAME_MSG, CALL_1, 0);
        }
        assert_int_equal(rpc_call_set_trailer(call, empty), FLY_OK);
        assert_int_equal(rpc_call_set_trailer(call, good), FLY_OK);
        if (fails) {
            rpc_call_fail(call, FLY_NOT_FOUND, "none", text_bytes("x"));
        } else {
            reply_empty(call);
        }
        bare_expect(&c, FRAME_END, CALL_1, fails ? FLY_NOT_FOUND : FLY_OK);
        assert_true(frame_end_decode(&c.frame, &end));
        assert_int_equal(end.metadata.size, good.size);
        assert_memory_equal(end.metadata.data, good.data, good.size);
        assert_int_equal(end.text.size, fails ? 4 : 0);
        assert_int_equal(c.frame.body.size, fails ? 1 : 0);
    }
    bare_ask(&c, CALL_1, &b.methods[UNARY], 0);
    struct rpc_call *call = fixture_take(&b.f);
    bare_say(&c, FRAME_CANCEL, CALL_1, 0);
    fixture_wait(&b.f, &b.f.cancels, 1);
    assert_int_equal(rpc_call_send_head(call, good), FLY_UNAVAILABLE);
    assert_int_equal(rpc_call_set_trailer(call, good), FLY_OK);
    reply_empty(call);
    bare_close(&c);
    bench_stop(&b);
}

/* Messages both ways at once over one connection, many streams, small windows: nothing is lost,
 * out of order, or stuck. */
static void run_chat(struct bench *b, size_t index, struct rpc_call *call)
{
    struct rpc_reply reply;
    enum rpc_next next = RPC_NEXT_MESSAGE;

    (void)b;
    assert_int_equal(index, CHAT);
    while ((next = rpc_call_next(call, -1, &reply)) == RPC_NEXT_MESSAGE) {
        assert_int_equal(rpc_call_send_wait(call, reply.message, -1), FLY_OK);
        rpc_reply_fini(&reply);
    }
    assert_int_equal(reply.status, FLY_OK);
    rpc_reply_fini(&reply);
    rpc_call_reply(call, NULL);
}

static void test_chat(void **state)
{
    enum { STREAMS = 8, MESSAGES = 100 };
    struct bench b;
    struct bare c;
    unsigned sent[STREAMS] = {0};
    unsigned echoed[STREAMS] = {0};
    int64_t credit[STREAMS];
    int64_t conn_credit = CONN_WINDOW;
    unsigned ended = 0;

    (void)state;
    bench_init(&b);
    b.run = run_chat;
    struct rpc_server_config limits = small;
    limits.workers = STREAMS;
    bench_start(&b, &limits);
    bare_open(&c, &b.f, 1000, 3000);
    for (uint32_t i = 0; i < STREAMS; i++) {
        credit[i] = WINDOW;
        bare_ask(&c, frame_call_id(i, 1), &b.methods[CHAT], 0);
    }
    while (ended < STREAMS) {
        for (uint32_t i = 0; i < STREAMS; i++) {
            while (sent[i] < MESSAGES && credit[i] > 0 && conn_credit > 0 &&
                   sent[i] < echoed[i] + 4) {
                uint32_t before = (uint32_t)c.sent;
                bare_message(&c, frame_call_id(i, 1), sent[i] * 7 % 600, (uint8_t)(sent[i] + i));
                credit[i] -= (uint32_t)c.sent - before;
                conn_credit -= (uint32_t)c.sent - before;
                sent[i]++;
                if (sent[i] == MESSAGES) {
                    bare_say(&c, FRAME_DONE, frame_call_id(i, 1), 0);
                }
            }
        }
        assert_true(bare_get(&c));
        uint32_t id = c.frame.header.call_id;
        uint32_t slot = frame_call_slot(id);
        if (c.frame.header.type == FRAME_WINDOW && id == 0) {
            conn_credit += c.frame.header.arg;
        } else if (c.frame.header.type == FRAME_WINDOW) {
            credit[slot] += c.frame.header.arg;
        } else if (c.frame.header.type == FRAME_MSG) {
            size_t size = echoed[slot] * 7 % 600;
            assert_true(c.frame.body.size >= size);
            if (size > 0) {
                assert_int_equal(c.frame.body.data[c.frame.body.size - 1],
                                 (uint8_t)(echoed[slot] + slot));
            }
            echoed[slot]++;
            bare_say(&c, FRAME_WINDOW, id, frame_credit(c.frame.body.size));
            bare_say(&c, FRAME_WINDOW, 0, frame_credit(c.frame.body.size));
        } else {
            assert_int_equal(c.frame.header.type, FRAME_END);
            assert_int_equal(c.frame.header.arg, FLY_OK);
            assert_int_equal(echoed[slot], MESSAGES);
            ended++;
        }
    }
    bare_close(&c);
    bench_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collect),
        cmocka_unit_test(test_windows_granted),
        cmocka_unit_test(test_credit_of_the_unread),
        cmocka_unit_test(test_violations),
        cmocka_unit_test(test_malformed_message),
        cmocka_unit_test(test_waiting_ends),
        cmocka_unit_test(test_waiting_goes_on),
        cmocka_unit_test(test_connection_window),
        cmocka_unit_test(test_drop_oldest),
        cmocka_unit_test(test_drop_large),
        cmocka_unit_test(test_drop_gone),
        cmocka_unit_test(test_end_slow),
        cmocka_unit_test(test_head_and_trailer),
        cmocka_unit_test(test_chat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
