/*
 * rpc: a channel, and a client above it, whose server says what no server of ours does. Every call
 * ends once all the same, nothing is done twice, and nothing is told after the end.
 */
#include <stdatomic.h>

#include "proto/rpc/client.h"
#include "tests/unit/bare_server.h"

static const struct fly_bytes none;

/* ---- what a server may and may not say about a call ---- */

enum fate { LIVES, CUT };
enum what { UNARY, WATCH };

struct step {
    uint8_t type;
    uint32_t other; /* added to the call's id; NOT_OF_IT: the connection */
    uint32_t arg;
    uint8_t flags;
    uint32_t meta_size; /* of 0xff */
    const char *body;
};

#define NOT_OF_IT UINT32_MAX
#define STOP UINT8_MAX
#define LATER_GENERATION (1U << FRAME_SLOT_BITS)

/* An EchoMessage: payload "hi" */
#define ECHO "\x0a\x02hi"

static const struct {
    const char *what;
    enum what call;
    enum fate fate;
    int status; /* how the call ends; -1: not by this */
    struct step steps[4];
} sayings[] = {
    {"END", UNARY, LIVES, FLY_OK, {{FRAME_END, 0, 0, 0, 0, ECHO}, {.type = STOP}}},
    {"END twice",
     UNARY,
     CUT,
     FLY_OK,
     {{FRAME_END, 0, 0, 0, 0, ECHO}, {FRAME_END, 0, 0, 0, 0, ECHO}, {.type = STOP}}},
    {"END of another generation",
     UNARY,
     CUT,
     FLY_UNAVAILABLE,
     {{FRAME_END, LATER_GENERATION, 0, 0, 0, ECHO}, {.type = STOP}}},
    {"END of a slot that was never used",
     UNARY,
     CUT,
     FLY_UNAVAILABLE,
     {{FRAME_END, 50, 0, 0, 0, ECHO}, {.type = STOP}}},
    {"END of the connection, after HELLO",
     UNARY,
     LIVES,
     -1,
     {{FRAME_END, NOT_OF_IT, 7, 0, 0, NULL}, {.type = STOP}}},
    {"END, OK, of the connection",
     UNARY,
     CUT,
     FLY_UNAVAILABLE,
     {{FRAME_END, NOT_OF_IT, 0, 0, 0, NULL}, {.type = STOP}}},
    {"END with a reply that is none",
     UNARY,
     LIVES,
     FLY_INTERNAL,
     {{FRAME_END, 0, 0, 0, 0, "\xff\xff\xff"}, {.type = STOP}}},
    {"END with a code that is none",
     UNARY,
     LIVES,
     FLY_UNKNOWN,
     {{FRAME_END, 0, UINT32_MAX, 0, 0, NULL}, {.type = STOP}}},
    {"END with metadata that is none",
     UNARY,
     LIVES,
     FLY_INTERNAL,
     {{FRAME_END, 0, 0, FRAME_FLAG_METADATA, 200, ECHO}, {.type = STOP}}},
    {"END with too many words",
     UNARY,
     LIVES,
     FLY_INTERNAL,
     {{FRAME_END, 0, 5, 0, FRAME_TEXT_MAX + 1, NULL}, {.type = STOP}}},
    {"END with a meta of 65,535 bytes",
     UNARY,
     CUT,
     FLY_UNAVAILABLE,
     {{FRAME_END, 0, 5, 0, UINT16_MAX, NULL}, {.type = STOP}}},
    {"MSG of a unary call",
     UNARY,
     CUT,
     FLY_UNAVAILABLE,
     {{FRAME_MSG, 0, 0, 0, 0, ECHO}, {.type = STOP}}},
    {"MSG of no call",
     WATCH,
     CUT,
     FLY_UNAVAILABLE,
     {{FRAME_MSG, 9, 0, 0, 0, ECHO}, {.type = STOP}}},
    {"MSG after END",
     WATCH,
     CUT,
     FLY_OK,
     {{FRAME_END, 0, 0, 0, 0, NULL}, {FRAME_MSG, 0, 0, 0, 0, ECHO}, {.type = STOP}}},
    {"HEAD twice",
     UNARY,
     CUT,
     FLY_UNAVAILABLE,
     {{FRAME_HEAD, 0, 0, 0, 0, NULL}, {FRAME_HEAD, 0, 0, 0, 0, NULL}, {.type = STOP}}},
    {"HEAD after MSG",
     WATCH,
     CUT,
     FLY_UNAVAILABLE,
     {{FRAME_MSG, 0, 0, 0, 0, ECHO}, {FRAME_HEAD, 0, 0, 0, 0, NULL}, {.type = STOP}}},
    {"HEAD after END",
     UNARY,
     CUT,
     FLY_OK,
     {{FRAME_END, 0, 0, 0, 0, ECHO}, {FRAME_HEAD, 0, 0, 0, 0, NULL}, {.type = STOP}}},
    {"HEAD that is no metadata",
     UNARY,
     LIVES,
     FLY_INTERNAL,
     {{FRAME_HEAD, 0, 0, 0, 100, NULL}, {FRAME_END, 0, 0, 0, 0, ECHO}, {.type = STOP}}},
    {"REQ", UNARY, CUT, FLY_UNAVAILABLE, {{FRAME_REQ, 0, 7, 0, 4, NULL}, {.type = STOP}}},
    {"CANCEL", UNARY, CUT, FLY_UNAVAILABLE, {{FRAME_CANCEL, 0, 0, 0, 0, NULL}, {.type = STOP}}},
    {"DONE", UNARY, CUT, FLY_UNAVAILABLE, {{FRAME_DONE, 0, 0, 0, 0, NULL}, {.type = STOP}}},
    {"HELLO again",
     UNARY,
     CUT,
     FLY_UNAVAILABLE,
     {{FRAME_HELLO, NOT_OF_IT, 0, 0, 0, NULL}, {.type = STOP}}},
    {"WINDOW of no call", UNARY, LIVES, -1, {{FRAME_WINDOW, 40, 9, 0, 0, NULL}, {.type = STOP}}},
    {"WINDOW of a unary call",
     UNARY,
     LIVES,
     -1,
     {{FRAME_WINDOW, 0, 9, 0, 0, NULL}, {.type = STOP}}},
    {"WINDOW, all that there is, twice",
     UNARY,
     LIVES,
     -1,
     {{FRAME_WINDOW, NOT_OF_IT, INT32_MAX, 0, 0, NULL},
      {FRAME_WINDOW, NOT_OF_IT, INT32_MAX, 0, 0, NULL},
      {.type = STOP}}},
    {"GOAWAY that has seen nothing, and then the answer",
     UNARY,
     LIVES,
     FLY_UNAVAILABLE,
     {{FRAME_GOAWAY, NOT_OF_IT, 0, 0, 0, NULL}, {FRAME_END, 0, 0, 0, 0, ECHO}, {.type = STOP}}},
    {"GOAWAY, twice",
     UNARY,
     LIVES,
     FLY_UNAVAILABLE,
     {{FRAME_GOAWAY, NOT_OF_IT, 0, 0, 0, NULL},
      {FRAME_GOAWAY, NOT_OF_IT, 0, 0, 0, NULL},
      {.type = STOP}}},
    {"GOAWAY with a detail",
     UNARY,
     CUT,
     FLY_UNAVAILABLE,
     {{FRAME_GOAWAY, NOT_OF_IT, 0, 0, 0, "x"}, {.type = STOP}}},
};

static void say_step(struct bare *b, const struct step *step, uint32_t id)
{
    static uint8_t bad[UINT16_MAX];
    struct frame_header header = {.type = step->type,
                                  .flags = step->flags,
                                  .call_id = step->other == NOT_OF_IT ? 0 : id + step->other,
                                  .arg = step->arg};

    memset(bad, 0xff, sizeof bad);
    bare_say(b, header, (struct fly_bytes){bad, step->meta_size},
             step->body != NULL ? text_bytes(step->body) : none);
}

struct ended {
    atomic_uint times;
    atomic_int status;
};

static void on_done(void *user, struct rpc_reply *reply)
{
    struct ended *e = user;

    atomic_store(&e->status, (int)reply->status);
    (void)atomic_fetch_add(&e->times, 1);
}

/* PING and its answer; false: cut. */
static bool still_there(struct bare *b)
{
    struct frame frame;

    bare_say(b, (struct frame_header){.type = FRAME_PING, .arg = 77}, none, none);
    while (bare_hear(b, &frame)) {
        if (frame.header.type == FRAME_PONG) {
            return true;
        }
    }
    return false;
}

static void try_saying(size_t row)
{
    struct bare b;
    struct ended ended = {0};
    struct rpc_stream *stream = NULL;
    struct rpc_reply reply;
    struct fly_error error;
    struct bare_text m;
    struct frame frame;
    int status = -1;

    bare_start(&b, 1000, 1000, (struct rpc_channel_config){0});
    if (sayings[row].call == UNARY) {
        assert_int_equal(rpc_channel_start(b.channel, &bare_unary, bare_message(&m, 1, 1), NULL,
                                           on_done, &ended, NULL),
                         FLY_OK);
    } else {
        assert_int_equal(
            rpc_stream_open(&stream, b.channel, &bare_watch, bare_message(&m, 1, 1), NULL, &error),
            FLY_OK);
    }
    bare_expect(&b, FRAME_REQ, &frame);
    uint32_t id = frame.header.call_id;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(sayings[row].steps); i++) {
        if (sayings[row].steps[i].type == STOP) {
            break;
        }
        say_step(&b, &sayings[row].steps[i], id);
    }
    bool lives = still_there(&b);
    if (stream != NULL) {
        while (rpc_stream_next(stream, -1, &reply) == RPC_NEXT_MESSAGE) {
            rpc_reply_fini(&reply);
        }
        status = (int)reply.status;
        rpc_reply_fini(&reply);
        rpc_stream_close(stream);
    } else if (sayings[row].status >= 0) {
        WAIT_UNTIL(atomic_load(&ended.times) > 0);
        status = atomic_load(&ended.status);
    }
    if (lives != (sayings[row].fate == LIVES) || status != sayings[row].status) {
        fail_msg("%s: %s, status %d", sayings[row].what, lives ? "lives" : "cut", status);
    }
    bare_stop(&b);
    assert_int_equal(atomic_load(&ended.times), sayings[row].call == UNARY ? 1 : 0);
}

static void test_sayings(void **state)
{
    (void)state;
    for (size_t row = 0; row < FLY_ARRAY_COUNT(sayings); row++) {
        try_saying(row);
    }
}

/* ---- before the channel is open ---- */

struct raw {
    int listener;
    int fd;
    char url[64];
};

static void raw_listen(struct raw *r)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;

    r->fd = -1;
    r->listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(r->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(r->listener, 8), 0);
    assert_int_equal(getsockname(r->listener, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(r->url, sizeof r->url, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
}

static void raw_close(struct raw *r)
{
    (void)close(r->fd);
    (void)close(r->listener);
}

/* Preface and these frames, each without meta and body, in one write. */
static void raw_say(struct raw *r, const struct frame_header *frames, size_t count)
{
    uint8_t bytes[FRAME_PREFACE_SIZE + 8 * FRAME_HEADER_SIZE];

    assert_true(count <= 8);
    frame_preface_encode(&(struct frame_preface){.version = FRAME_VERSION,
                                                 .frame_max = 1 << 20,
                                                 .calls_max = 8,
                                                 .window = 1000,
                                                 .conn_window = 1000},
                         bytes);
    for (size_t i = 0; i < count; i++) {
        frame_header_encode(&frames[i], bytes + FRAME_PREFACE_SIZE + i * FRAME_HEADER_SIZE);
    }
    bare_send(r->fd, bytes, FRAME_PREFACE_SIZE + count * FRAME_HEADER_SIZE);
}

/* In the order in which it was told. */
struct diary {
    pthread_mutex_t lock;
    char text[16];
    size_t size;
};

static void diary_put(struct diary *d, char what)
{
    (void)pthread_mutex_lock(&d->lock);
    assert_true(d->size < sizeof d->text - 1);
    d->text[d->size++] = what;
    (void)pthread_mutex_unlock(&d->lock);
}

static bool diary_has(struct diary *d, char what)
{
    (void)pthread_mutex_lock(&d->lock);
    bool has = memchr(d->text, what, d->size) != NULL;
    (void)pthread_mutex_unlock(&d->lock);
    return has;
}

static void diary_opened(void *user, struct rpc_channel *channel, struct rpc_reply *refusal)
{
    (void)channel;
    diary_put(user, refusal == NULL ? 'O' : 'R');
}

static void diary_going_away(void *user)
{
    diary_put(user, 'G');
}

static void diary_closed(void *user)
{
    diary_put(user, 'C');
}

static size_t diary_make(void *user, const uint8_t client_nonce[static FRAME_NONCE_SIZE],
                         const uint8_t server_nonce[static FRAME_NONCE_SIZE], uint8_t *out,
                         size_t max)
{
    (void)client_nonce;
    (void)server_nonce;
    assert_true(max > 0);
    diary_put(user, 'M');
    out[0] = 'x';
    return 1;
}

/* The order of what is told, whatever a server says first. */
static void test_order(void **state)
{
    static const struct {
        const char *what;
        const char *told;
        struct frame_header frames[4];
        size_t count;
    } rows[] = {
        {"refused, and goes away",
         "MR",
         {{.type = FRAME_END, .arg = 16}, {.type = FRAME_GOAWAY}},
         2},
        {"goes away, and refuses",
         "MR",
         {{.type = FRAME_GOAWAY}, {.type = FRAME_END, .arg = 16}},
         2},
        {"goes away before it answers", "MOGC", {{.type = FRAME_GOAWAY}, {.type = FRAME_HELLO}}, 2},
        {"goes away again and again",
         "MOGC",
         {{.type = FRAME_HELLO}, {.type = FRAME_GOAWAY}, {.type = FRAME_GOAWAY}},
         3},
        {"accepts twice", "MOC", {{.type = FRAME_HELLO}, {.type = FRAME_HELLO}}, 2},
        {"accepts, then refuses",
         "MOC",
         {{.type = FRAME_HELLO}, {.type = FRAME_END, .arg = 16}},
         2},
        {"refuses, then accepts", "MR", {{.type = FRAME_END, .arg = 16}, {.type = FRAME_HELLO}}, 2},
        {"answers a call that was never made", "MR", {{.type = FRAME_END, .call_id = 1 << 20}}, 1},
        {"a message before HELLO", "MR", {{.type = FRAME_MSG, .call_id = 1 << 20}}, 1},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct diary d = {.size = 0};
        struct raw r;
        struct rpc_channel *channel = NULL;
        struct fly_error error;
        struct rpc_channel_config config = {.user = &d,
                                            .going_away = diary_going_away,
                                            .closed = diary_closed,
                                            .hello_make = diary_make};
        (void)pthread_mutex_init(&d.lock, NULL);
        raw_listen(&r);
        config.url = r.url;
        assert_int_equal(rpc_channel_start_open(&channel, &config, diary_opened, &d, &error),
                         FLY_OK);
        r.fd = accept(r.listener, NULL, NULL);
        raw_say(&r, rows[i].frames, rows[i].count);
        WAIT_UNTIL(diary_has(&d, 'R') || diary_has(&d, 'O'));
        (void)shutdown(r.fd, SHUT_WR); /* all that was said is read before the end */
        WAIT_UNTIL(diary_has(&d, 'R') || diary_has(&d, 'C'));
        rpc_channel_close(channel);
        if (strcmp(d.text, rows[i].told) != 0) {
            fail_msg("%s: %s, not %s", rows[i].what, d.text, rows[i].told);
        }
        raw_close(&r);
        (void)pthread_mutex_destroy(&d.lock);
    }
}

/* ---- a client that knows how to repeat ---- */

struct taker {
    struct raw raw;
    atomic_uint requests;
    unsigned not_executed; /* so many are turned away; then it hangs up without an answer */
};

/* Takes connections and requests until the listener is closed. */
static void *take_requests(void *user)
{
    struct taker *t = user;
    uint8_t *room = malloc(1 << 16);

    for (;;) {
        static const struct frame_header hello[] = {{.type = FRAME_HELLO}};
        t->raw.fd = accept(t->raw.listener, NULL, NULL);
        if (t->raw.fd < 0) {
            break;
        }
        raw_say(&t->raw, hello, 1);
        bool open = read_all(t->raw.fd, room, FRAME_PREFACE_SIZE);
        while (open && read_all(t->raw.fd, room, FRAME_HEADER_SIZE)) {
            uint32_t size = fly_load_u32(room);
            struct frame_header end = {.type = FRAME_END,
                                       .flags = FRAME_FLAG_NOT_EXECUTED,
                                       .call_id = fly_load_u32(room + 8),
                                       .arg = FLY_UNAVAILABLE};
            bool request = room[4] == FRAME_REQ;
            open = size < 1 << 16 && read_all(t->raw.fd, room, size);
            if (request && atomic_fetch_add(&t->requests, 1) < t->not_executed) {
                bare_frame(t->raw.fd, end, none, none);
            } else if (request) {
                open = false;
            }
        }
        (void)close(t->raw.fd);
    }
    free(room);
    return NULL;
}

/* A method without a policy: what a server turned away is asked once more, what it may have done is
 * not. */
static void test_not_twice(void **state)
{
    static const struct {
        unsigned not_executed;
        unsigned requests;
        bool sent;
    } rows[] = {{0, 1, true}, {1, 2, true}, {100, 2, false}};

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct taker t = {.not_executed = rows[i].not_executed};
        struct rpc_client *client = NULL;
        struct fly_error error;
        struct rpc_reply reply;
        struct bare_text m;
        pthread_t thread;
        raw_listen(&t.raw);
        struct rpc_client_config config = {.url = t.raw.url};
        assert_int_equal(pthread_create(&thread, NULL, take_requests, &t), 0);
        assert_int_equal(rpc_client_create(&client, &config, &error), FLY_OK);
        assert_int_equal(rpc_client_call(client, &bare_unary, bare_message(&m, 3, 1), NULL, &reply),
                         FLY_UNAVAILABLE);
        assert_int_equal(reply.sent, rows[i].sent);
        assert_int_equal(atomic_load(&t.requests), rows[i].requests);
        rpc_reply_fini(&reply);
        rpc_client_close(client);
        (void)shutdown(t.raw.listener, SHUT_RDWR);
        (void)pthread_join(thread, NULL);
        (void)close(t.raw.listener);
    }
}

/* ---- streams that nobody reads ---- */

/* Most of the connection's window lies in streams whose reader sleeps; another goes on. */
static void test_stalled_streams(void **state)
{
    enum { STALLED = 6, WINDOW = 8192, CONN_WINDOW = 8 * WINDOW, MESSAGES = 400 };
    struct timeval patience = {.tv_sec = 20};
    struct rpc_stream *streams[STALLED + 1];
    struct bare b;
    struct bare_text m;
    struct fly_error error;
    struct frame frame;
    int64_t credit = CONN_WINDOW;
    int64_t own = WINDOW;
    uint32_t id = 0;

    (void)state;
    bare_start(&b, 1000, 1000,
               (struct rpc_channel_config){.stream_window = WINDOW, .conn_window = CONN_WINDOW});
    (void)setsockopt(b.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (unsigned i = 0; i <= STALLED; i++) {
        assert_int_equal(rpc_stream_open(&streams[i], b.channel, &bare_watch,
                                         bare_message(&m, 1, 1), NULL, &error),
                         FLY_OK);
        bare_expect(&b, FRAME_REQ, &frame);
        id = frame.header.call_id;
        for (int64_t left = WINDOW; i < STALLED && left > 0;) {
            uint32_t cost = bare_say_message(&b, id, 1000, 1, 0);
            left -= cost;
            credit -= cost;
        }
    }
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct rpc_reply reply;
        while (credit <= 0 || own <= 0) {
            if (!bare_hear(&b, &frame)) {
                fail_msg("no more credit after %u messages", i);
            }
            assert_int_equal(frame.header.type, FRAME_WINDOW);
            *(frame.header.call_id == 0 ? &credit : &own) += frame.header.arg;
        }
        uint32_t cost = bare_say_message(&b, id, 1000, 1, 0);
        credit -= cost;
        own -= cost;
        assert_int_equal(rpc_stream_next(streams[STALLED], -1, &reply), RPC_NEXT_MESSAGE);
        rpc_reply_fini(&reply);
        if (rpc_stream_next(streams[STALLED], 0, &reply) != RPC_NEXT_NOTHING) {
            fail_msg("a message that nobody sent");
        }
        rpc_reply_fini(&reply);
    }
    for (unsigned i = 0; i <= STALLED; i++) {
        rpc_stream_close(streams[i]);
    }
    bare_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sayings),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_not_twice),
        cmocka_unit_test(test_stalled_streams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
