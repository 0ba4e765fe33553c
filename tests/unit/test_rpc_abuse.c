/* rpc against peers that are no clients of ours, that do not read, or that come and go. */
#include <stdatomic.h>

#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "tests/unit/rpc_fixture.h"

static const char *const LOOPBACK = "tcp://127.0.0.1:0";
static const struct fly_bytes empty;

static void test_garbage(void **state)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t size;
    } rows[] = {
        {"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27},
        {"TLS", "\x16\x03\x01\x02\x00\x01\x00", 7},
        {"one wrong byte", "x", 1},
        {"wrong after the first byte", "\x89x", 2},
        {"another version",
         "\x89"
         "FLYRPC\n\x09\0\0\0\0\0\x10\0\0\0\0\0\0\0\1\0\0\0\1\0nonce of 16 byte",
         FRAME_PREFACE_SIZE},
        {"limits of nothing",
         "\x89"
         "FLYRPC\n\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\1\0nonce of 16 byte",
         FRAME_PREFACE_SIZE},
    };
    struct fixture f;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    struct rpc_channel *channel = fixture_connect(&f, "me");
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        int fd = bare_connect(&f);
        bare_send(fd, rows[i].bytes, rows[i].size);
        bare_expect_end(fd);
        WAIT_UNTIL(rpc_server_counters(f.server).violations == i + 1);
        check_echo(channel, 10, 1);
    }
    rpc_channel_close(channel);
    fixture_stop(&f);
}

static void test_bad_frames(void **state)
{
    static const struct {
        const char *what;
        struct frame_header header;
        bool oversize;
    } rows[] = {
        {"unknown type", {.type = FRAME_TYPE_COUNT}, false},
        {"a server's frame", {.type = FRAME_GOAWAY}, false},
        {"PING with a call", {.type = FRAME_PING, .call_id = 5}, false},
        {"REQ without its meta", {.type = FRAME_REQ, .call_id = 5}, false},
        {"meta over size", {.type = FRAME_REQ, .call_id = 5, .size = 4, .meta_size = 5}, false},
        {"over frame_max", {.type = FRAME_HELLO, .size = (1 << 20) + 1}, true},
        {"4 GiB", {.type = FRAME_HELLO, .size = UINT32_MAX}, true},
    };
    struct fixture f;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        uint8_t header[FRAME_HEADER_SIZE];
        struct rpc_server_counters before = rpc_server_counters(f.server);
        int fd = bare_connect(&f);
        bare_preface(fd);
        frame_header_encode(&rows[i].header, header);
        bare_send(fd, header, sizeof header);
        bare_expect_end(fd);
        WAIT_UNTIL(rpc_server_counters(f.server).violations == before.violations + 1);
        if (rpc_server_counters(f.server).oversize !=
            before.oversize + (rows[i].oversize ? 1 : 0)) {
            fail_msg("%s: not counted as what it is", rows[i].what);
        }
    }
    fixture_stop(&f);
}

/* Its time passes while HELLO is still being answered: no handler sees it. */
static void test_late_at_server(void **state)
{
    struct fixture f;
    struct frame frame;
    uint8_t meta[FRAME_REQ_META_SIZE] = {1};
    struct frame_header late = {.type = FRAME_REQ,
                                .call_id = frame_call_id(1, 1),
                                .arg = rpc_method_hash(rpc_edge_status.name)};

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    int fd = bare_connect(&f);
    bare_preface(fd);
    bare_frame(fd, (struct frame_header){.type = FRAME_HELLO}, empty, text_bytes("later"));
    bare_frame(fd, late, (struct fly_bytes){meta, sizeof meta}, text_bytes("\x0a\x01z"));
    bare_request(fd, frame_call_id(2, 1), &rpc_health_echo, empty);
    bare_skip_preface(fd);
    assert_true(bare_next(fd, &frame)); /* so the first has been read, too */
    if (frame.header.call_id == frame_call_id(2, 1)) {
        int64_t now_ms = fly_clock_boot_ms();
        WAIT_UNTIL(fly_clock_boot_ms() > now_ms + 1);
        fixture_note(&f, &f.peers);
        rpc_hello_accept(f.hello, empty, &f);
        do {
            assert_true(bare_next(fd, &frame));
        } while (frame.header.type == FRAME_HELLO);
    }
    assert_int_equal(frame.header.call_id, late.call_id);
    assert_int_equal(frame.header.arg, FLY_DEADLINE_EXCEEDED);
    assert_int_equal(frame.header.flags, FRAME_FLAG_NOT_EXECUTED);
    assert_int_equal(rpc_server_counters(f.server).late, 1);
    assert_int_equal(f.parked_count, 0);
    (void)close(fd);
    fixture_stop(&f);
}

/* Twenty peers ask for megabytes and read nothing; the others are served as if they were not. */
static void test_never_reads(void **state)
{
    enum { DEAF = 20, ASKED = 40, SIZE = 60000 };
    struct fixture f;
    int fds[DEAF];
    uint8_t *body = calloc(1, SIZE);
    static const uint8_t head[] = {0x0a, 0xdc, 0xd4, 0x03}; /* payload: 60,000 − 4 bytes */

    (void)state;
    memcpy(body, head, sizeof head);
    fixture_start(&f, LOOPBACK, &(struct rpc_server_config){.out_max = 256 * 1024});
    struct rpc_channel *channel = fixture_connect(&f, "me");
    for (size_t i = 0; i < DEAF; i++) {
        struct timeval patience = {.tv_usec = 50000};
        fds[i] = bare_connect(&f);
        (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        bare_preface(fds[i]);
        bare_frame(fds[i], (struct frame_header){.type = FRAME_HELLO}, empty, text_bytes("nobody"));
        for (uint32_t k = 0; k < ASKED; k++) {
            /* the server stops reading from it: what no longer fits is not sent */
            bare_request(fds[i], frame_call_id(k, 1), &rpc_health_echo,
                         (struct fly_bytes){body, SIZE});
        }
        check_echo(channel, 5000, (uint8_t)i);
    }
    for (unsigned i = 0; i < 200; i++) {
        check_echo(channel, 5000, (uint8_t)i);
    }
    struct rpc_channel *another = fixture_connect(&f, "me");
    check_echo(another, 100, 1);
    rpc_channel_close(another);
    for (size_t i = 0; i < DEAF; i++) {
        (void)close(fds[i]);
    }
    check_echo(channel, 5000, 1);
    rpc_channel_close(channel);
    free(body);
    fixture_stop(&f);
}

static void ignore_end(void *user, struct rpc_reply *reply)
{
    (void)reply;
    (void)atomic_fetch_add((atomic_uint *)user, 1);
}

struct hammer {
    struct fixture *f;
    atomic_uint begun;
    atomic_uint ended;
};

static void *come_and_go(void *user)
{
    struct hammer *h = user;
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;

    for (unsigned i = 0; i < 100; i++) {
        struct rpc_channel *channel = fixture_connect(h->f, "me");
        for (unsigned k = 0; k < i % 4; k++) {
            if (rpc_channel_start(channel, &rpc_health_echo, &ping.base, NULL, ignore_end,
                                  &h->ended, NULL) == FLY_OK) {
                (void)atomic_fetch_add(&h->begun, 1);
            }
        }
        if (i % 3 == 0) {
            check_echo(channel, 100, (uint8_t)i);
        }
        rpc_channel_close(channel); /* often with calls in flight */
    }
    return NULL;
}

static void test_come_and_go(void **state)
{
    struct fixture f;
    struct hammer h = {.f = &f};
    pthread_t threads[4];

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &h), 0);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(threads); i++) {
        (void)pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&h.ended), atomic_load(&h.begun));
    fixture_stop(&f);
}

static void test_turned_away(void **state)
{
    struct fixture f;
    struct frame frame;

    (void)state;
    fixture_start(&f, LOOPBACK, NULL);
    int fd = bare_connect(&f);
    bare_preface(fd);
    bare_frame(fd, (struct frame_header){.type = FRAME_HELLO}, empty, text_bytes("me"));
    bare_skip_preface(fd);
    assert_true(bare_next(fd, &frame));
    assert_int_equal(frame.header.type, FRAME_HELLO);
    for (uint32_t i = 1; i < 3; i++) {
        bare_request(fd, frame_call_id(i, 1), &rpc_edge_status, text_bytes("\x0a\x01z"));
        struct rpc_call *call = fixture_take(&f);
        (i == 1 ? rpc_call_turn_away : rpc_call_fail)(call, FLY_RESOURCE_EXHAUSTED, "full", empty);
        assert_true(bare_next(fd, &frame));
        assert_int_equal(frame.header.arg, FLY_RESOURCE_EXHAUSTED);
        assert_int_equal(frame.header.flags, i == 1 ? FRAME_FLAG_NOT_EXECUTED : 0);
    }
    (void)close(fd);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_garbage),        cmocka_unit_test(test_bad_frames),
        cmocka_unit_test(test_late_at_server), cmocka_unit_test(test_turned_away),
        cmocka_unit_test(test_never_reads),    cmocka_unit_test(test_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
