/*
 * rpc: a server and a client that wants to break it, by bare socket. What it may cost: its own
 * connection, and no more memory than its limits; what it may never cost: another's.
 */
#include <netinet/tcp.h>
#include <sys/syscall.h>

#include "proto/rpc/timer.h"
#include "tests/unit/rpc_bare.h"

static const struct fly_bytes empty;

/* As bare_open, and what is sent goes at once. */
static void open_quick(struct bare *c, struct bench *b)
{
    bare_open(c, &b->f, 1000, 1000);
    assert_int_equal(setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
}

/* ---- what a client may and may not say ---- */

enum step_kind { SAY, SAY_META, MESSAGE, ASK, STOP };

struct step {
    enum step_kind kind;
    struct frame_header header; /* meta_size of SAY_META: so many zero bytes */
    size_t method;              /* of ASK */
};

enum fate { LIVES, CUT };

#define OF(t, id, number)                                                                          \
    {                                                                                              \
        .type = (t), .call_id = (id), .arg = (number)                                              \
    }
/* frame_call_id for initialisers */
#define ID(slot, generation) ((uint32_t)(generation) << FRAME_SLOT_BITS | (slot))
#define SAYS(t, id, number)                                                                        \
    {                                                                                              \
        SAY, OF(t, id, number), 0                                                                  \
    }
#define ASKS(id, which)                                                                            \
    {                                                                                              \
        ASK, OF(FRAME_REQ, id, 0), which                                                           \
    }
#define SENDS(id)                                                                                  \
    {                                                                                              \
        MESSAGE, OF(FRAME_MSG, id, 0), 0                                                           \
    }

static const struct {
    const char *what;
    enum fate fate;
    struct step steps[5];
} sayings[] = {
    {"END", CUT, {ASKS(ID(1, 1), UNARY), SAYS(FRAME_END, ID(1, 1), 5), {.kind = STOP}}},
    {"HEAD", CUT, {ASKS(ID(1, 1), CHAT), SAYS(FRAME_HEAD, ID(1, 1), 0), {.kind = STOP}}},
    {"GOAWAY", CUT, {SAYS(FRAME_GOAWAY, 0, 0), {.kind = STOP}}},
    {"HELLO again", CUT, {SAYS(FRAME_HELLO, 0, 0), {.kind = STOP}}},
    {"HELLO of a call", CUT, {SAYS(FRAME_HELLO, ID(1, 1), 0), {.kind = STOP}}},
    {"REQ of call 0", CUT, {ASKS(0, UNARY), {.kind = STOP}}},
    {"REQ on a busy slot", CUT, {ASKS(ID(1, 1), UNARY), ASKS(ID(1, 1), UNARY), {.kind = STOP}}},
    {"REQ on a busy slot, later generation",
     CUT,
     {ASKS(ID(1, 1), UNARY), ASKS(ID(1, 2), UNARY), {.kind = STOP}}},
    {"MSG of no call", LIVES, {SENDS(ID(2, 1)), {.kind = STOP}}},
    {"MSG of call 0", CUT, {SENDS(0), {.kind = STOP}}},
    {"MSG of another generation", LIVES, {ASKS(ID(1, 1), UNARY), SENDS(ID(1, 2)), {.kind = STOP}}},
    {"MSG of a unary call", CUT, {ASKS(ID(1, 1), UNARY), SENDS(ID(1, 1)), {.kind = STOP}}},
    {"MSG where only the server streams",
     CUT,
     {ASKS(ID(1, 1), COUNT), SENDS(ID(1, 1)), {.kind = STOP}}},
    {"MSG after DONE",
     CUT,
     {ASKS(ID(1, 1), CHAT), SAYS(FRAME_DONE, ID(1, 1), 0), SENDS(ID(1, 1)), {.kind = STOP}}},
    {"DONE twice",
     CUT,
     {ASKS(ID(1, 1), CHAT),
      SAYS(FRAME_DONE, ID(1, 1), 0),
      SAYS(FRAME_DONE, ID(1, 1), 0),
      {.kind = STOP}}},
    {"DONE of a unary call",
     CUT,
     {ASKS(ID(1, 1), UNARY), SAYS(FRAME_DONE, ID(1, 1), 0), {.kind = STOP}}},
    {"DONE of no call", LIVES, {SAYS(FRAME_DONE, ID(3, 1), 0), {.kind = STOP}}},
    {"CANCEL of no call", LIVES, {SAYS(FRAME_CANCEL, ID(3, 1), 0), {.kind = STOP}}},
    {"CANCEL of call 0", CUT, {SAYS(FRAME_CANCEL, 0, 0), {.kind = STOP}}},
    {"CANCEL of a slot that nobody has",
     LIVES,
     {SAYS(FRAME_CANCEL, ID((1U << FRAME_SLOT_BITS) - 1, 4095), 0), {.kind = STOP}}},
    {"WINDOW of nothing", CUT, {SAYS(FRAME_WINDOW, 0, 0), {.kind = STOP}}},
    {"WINDOW over the range", CUT, {SAYS(FRAME_WINDOW, 0, 1U << 31), {.kind = STOP}}},
    {"WINDOW of a unary call",
     LIVES,
     {ASKS(ID(1, 1), UNARY), SAYS(FRAME_WINDOW, ID(1, 1), 9), {.kind = STOP}}},
    {"WINDOW, all that there is, twice",
     LIVES,
     {SAYS(FRAME_WINDOW, 0, INT32_MAX), SAYS(FRAME_WINDOW, 0, INT32_MAX), {.kind = STOP}}},
    {"PONG to nothing", LIVES, {SAYS(FRAME_PONG, 0, 7), {.kind = STOP}}},
    {"VOID of anything", LIVES, {SAYS(FRAME_VOID, ID(1, 1), 7), {.kind = STOP}}},
    {"a meta of 65,535 bytes in CANCEL",
     CUT,
     {{SAY_META, {.type = FRAME_CANCEL, .call_id = ID(1, 1), .meta_size = UINT16_MAX}, 0},
      {.kind = STOP}}},
    {"a meta of 65,535 bytes in HELLO",
     CUT,
     {{SAY_META, {.type = FRAME_HELLO, .meta_size = UINT16_MAX}, 0}, {.kind = STOP}}},
    {"a meta of 65,535 bytes in VOID",
     LIVES,
     {{SAY_META, {.type = FRAME_VOID, .meta_size = UINT16_MAX}, 0}, {.kind = STOP}}},
};

static void say_step(struct bench *b, struct bare *c, const struct step *step)
{
    static const uint8_t zeros[UINT16_MAX];

    switch (step->kind) {
    case SAY_META:
        bare_put(c, step->header, (struct fly_bytes){zeros, step->header.meta_size}, empty);
        return;
    case MESSAGE:
        bare_message(c, step->header.call_id, 3, 1);
        return;
    case ASK:
        bare_ask(c, step->header.call_id, &b->methods[step->method], 0);
        return;
    case SAY:
    case STOP:
        bare_put(c, step->header, empty, empty);
        return;
    }
}

static void test_sayings(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    b.f.finish_cancelled = true;
    bench_start(&b, NULL);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(sayings); i++) {
        struct bare c;
        uint64_t before = rpc_server_counters(b.f.server).violations;
        bool cut = false;
        open_quick(&c, &b);
        for (const struct step *step = sayings[i].steps; step->kind != STOP; step++) {
            say_step(&b, &c, step);
        }
        bare_say(&c, FRAME_PING, 0, 77);
        while (!cut && !(c.frame.header.type == FRAME_PONG && c.frame.header.arg == 77)) {
            cut = !bare_get(&c);
        }
        if (cut != (sayings[i].fate == CUT) ||
            rpc_server_counters(b.f.server).violations != before + (cut ? 1 : 0)) {
            fail_msg("%s: %s", sayings[i].what, cut ? "cut" : "lives");
        }
        bare_close(&c);
        WAIT_UNTIL(rpc_server_counters(b.f.server).connections == 0);
    }
    bench_stop(&b);
}

/* A request whose metadata is as large as a frame can say is turned away, and cuts nobody. */
static void test_large_meta(void **state)
{
    static const uint8_t zeros[UINT16_MAX];
    struct bench b;
    struct bare c;

    (void)state;
    bench_init(&b);
    bench_start(&b, NULL);
    open_quick(&c, &b);
    bare_put(&c,
             (struct frame_header){.type = FRAME_REQ,
                                   .flags = FRAME_FLAG_METADATA,
                                   .call_id = CALL_1,
                                   .arg = b.methods[UNARY].hash},
             (struct fly_bytes){zeros, sizeof zeros}, empty);
    bare_expect(&c, FRAME_END, CALL_1, FLY_RESOURCE_EXHAUSTED);
    assert_int_equal(c.frame.header.flags & FRAME_FLAG_NOT_EXECUTED, FRAME_FLAG_NOT_EXECUTED);
    bare_close(&c);
    bench_stop(&b);
}

/* The whole conversation byte by byte. */
static void test_dribble(void **state)
{
    uint8_t bytes[FRAME_PREFACE_SIZE + 3 * FRAME_HEADER_SIZE + 2 + FRAME_REQ_META_SIZE];
    struct bench b;
    struct bare c = {0};

    (void)state;
    bench_init(&b);
    bench_start(&b, NULL);
    memset(bytes, 0, sizeof bytes);
    frame_preface_encode(
        &(struct frame_preface){.version = FRAME_VERSION, .frame_max = FRAME_SIZE_MIN}, bytes);
    uint8_t *at = bytes + FRAME_PREFACE_SIZE;
    frame_header_encode(&(struct frame_header){.type = FRAME_HELLO, .size = 2}, at);
    memcpy(at + FRAME_HEADER_SIZE, "me", 2);
    at += FRAME_HEADER_SIZE + 2;
    frame_header_encode(&(struct frame_header){.type = FRAME_REQ,
                                               .size = FRAME_REQ_META_SIZE,
                                               .meta_size = FRAME_REQ_META_SIZE,
                                               .call_id = CALL_1,
                                               .arg = b.methods[UNARY].hash},
                        at);
    at += FRAME_HEADER_SIZE + FRAME_REQ_META_SIZE;
    frame_header_encode(&(struct frame_header){.type = FRAME_PING, .arg = 1}, at);
    c.fd = bare_connect(&b.f);
    assert_int_equal(setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bare_send(c.fd, bytes + i, 1);
    }
    bare_skip_preface(c.fd);
    bare_expect(&c, FRAME_HELLO, 0, 0);
    bare_expect(&c, FRAME_PONG, 0, 1);
    reply_empty(fixture_take(&b.f));
    bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
    bare_close(&c);
    bench_stop(&b);
}

/* ---- cancels ---- */

/* Calls and their cancels in pairs, faster than the application ends any of them: one END each, and
 * no more of them at the application than its limit. */
static void test_rapid_cancels(void **state)
{
    enum { PAIRS = 10000, CALLS_MAX = 8 };
    struct bench b;
    struct bare c;
    unsigned cancelled = 0;

    (void)state;
    bench_init(&b);
    bench_start(&b, &(struct rpc_server_config){.calls_max = CALLS_MAX});
    open_quick(&c, &b);
    for (uint32_t i = 0; i < PAIRS; i++) {
        uint32_t id = frame_call_id(0, 1 + i % 4095);
        bare_ask(&c, id, &b.methods[UNARY], 0);
        bare_say(&c, FRAME_CANCEL, id, 0);
        assert_true(bare_get(&c));
        assert_int_equal(c.frame.header.type, FRAME_END);
        assert_int_equal(c.frame.header.call_id, id);
        cancelled += c.frame.header.arg == FLY_CANCELLED ? 1 : 0;
    }
    bare_say(&c, FRAME_PING, 0, 1);
    bare_expect(&c, FRAME_PONG, 0, 1); /* and no other END */
    assert_int_equal(cancelled, CALLS_MAX);
    fixture_wait_parked(&b.f, CALLS_MAX); /* its lock, too */
    assert_int_equal(b.f.parked_count, CALLS_MAX);
    assert_int_equal(rpc_server_counters(b.f.server).excess, PAIRS - CALLS_MAX);
    assert_int_equal(rpc_server_counters(b.f.server).calls_active, CALLS_MAX);
    bare_close(&c);
    bench_stop(&b);
}

static void reply_at_once(struct bench *b, size_t index, struct rpc_call *call)
{
    (void)b;
    (void)index;
    reply_empty(call);
}

/* CANCEL meets the end of the call on another thread: one END, whichever of both it says. */
static void test_cancel_meets_end(void **state)
{
    enum { CALLS = 3000, AT_ONCE = 50 };
    struct bench b;
    struct bare c;
    unsigned ends = 0;

    (void)state;
    bench_init(&b);
    b.run = reply_at_once;
    bench_start(&b, &(struct rpc_server_config){.workers = 2});
    open_quick(&c, &b);
    for (unsigned round = 0; round < CALLS / AT_ONCE; round++) {
        bool ended[AT_ONCE] = {false};
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            bare_ask(&c, frame_call_id(i, 1 + round), &b.methods[UNARY], 0);
            bare_say(&c, FRAME_CANCEL, frame_call_id(i, 1 + round), 0);
        }
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            assert_true(bare_get(&c));
            uint32_t slot = frame_call_slot(c.frame.header.call_id);
            assert_int_equal(c.frame.header.type, FRAME_END);
            assert_true(slot < AT_ONCE && !ended[slot]);
            assert_true(c.frame.header.arg == FLY_OK || c.frame.header.arg == FLY_CANCELLED);
            /* what the application answered was not "not executed" */
            assert_true(c.frame.header.arg != FLY_OK || c.frame.header.flags == 0);
            ended[slot] = true;
            ends++;
        }
    }
    bare_say(&c, FRAME_PING, 0, 1);
    bare_expect(&c, FRAME_PONG, 0, 1);
    assert_int_equal(ends, CALLS);
    WAIT_UNTIL(rpc_server_counters(b.f.server).calls_active == 0);
    bare_close(&c);
    bench_stop(&b);
}

static void take_to_the_end(struct bench *b, size_t index, struct rpc_call *call)
{
    struct rpc_reply message;

    (void)b;
    (void)index;
    while (rpc_call_next(call, -1, &message) == RPC_NEXT_MESSAGE) {
        rpc_reply_fini(&message);
    }
    rpc_reply_fini(&message);
    reply_empty(call);
}

/* A worker in rpc_call_next for ever, and the caller that cancels, hangs up, or says DONE beside
 * messages. */
static void test_waiting_reader(void **state)
{
    enum { ROUNDS = 300 };
    struct bench b;

    (void)state;
    bench_init(&b);
    b.run = take_to_the_end;
    bench_start(&b, &(struct rpc_server_config){.workers = 2});
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct bare c;
        open_quick(&c, &b);
        bare_ask(&c, CALL_1, &b.methods[COLLECT], 0);
        for (unsigned k = 0; k < i % 4; k++) {
            bare_message(&c, CALL_1, k, 1);
        }
        if (i % 3 == 0) {
            bare_say(&c, FRAME_CANCEL, CALL_1, 0);
            bare_expect(&c, FRAME_END, CALL_1, FLY_CANCELLED);
        } else if (i % 3 == 1) {
            bare_say(&c, FRAME_DONE, CALL_1, 0);
            bare_expect(&c, FRAME_END, CALL_1, FLY_OK);
        }
        bare_close(&c);
    }
    WAIT_UNTIL(rpc_server_counters(b.f.server).connections == 0);
    WAIT_UNTIL(rpc_server_counters(b.f.server).calls_active == 0);
    bench_stop(&b);
}

/* ---- the connection goes while a call is being answered ---- */

static struct {
    sem_t inside; /* a worker has sent, and is not back yet */
    sem_t go_on;
    bool missed; /* but the poller, still writing, took its answer along: another try */
} meeting;

static _Thread_local bool meets; /* this thread's next send */

/* In place of libc's: the writer of a reply can be held where it has just written. */
ssize_t send(int fd, const void *data, size_t size, int flags)
{
    ssize_t count = syscall(SYS_sendto, fd, data, size, flags, NULL, 0);

    if (meets) {
        int error = errno;
        meets = false;
        (void)sem_post(&meeting.inside);
        while (sem_wait(&meeting.go_on) != 0) {
        }
        errno = error;
    }
    return count;
}

static void reply_and_meet(struct bench *b, size_t index, struct rpc_call *call)
{
    (void)b;
    (void)index;
    meets = true;
    reply_empty(call);
    if (meets) {
        meets = false;
        meeting.missed = true;
        (void)sem_post(&meeting.inside);
    }
}

struct turn {
    struct rpc_job job;
    sem_t done;
};

static void post_job(struct rpc_job *job)
{
    (void)sem_post(&FLY_CONTAINER(job, struct turn, job)->done);
}

/* All that the timer thread had to do is done. */
static void let_timer_run(void)
{
    struct turn turn = {.job.run = post_job};

    (void)sem_init(&turn.done, 0, 0);
    rpc_job_post(&turn.job);
    while (sem_wait(&turn.done) != 0) {
    }
    (void)sem_destroy(&turn.done);
}

/* The thread that writes an answer still needs the connection, though the call that it ended does
 * not keep it any more. */
static void test_gone_while_answering(void **state)
{
    struct bench b;
    struct bare c;

    (void)state;
    (void)sem_init(&meeting.inside, 0, 0);
    (void)sem_init(&meeting.go_on, 0, 0);
    bench_init(&b);
    b.run = reply_and_meet;
    bench_start(&b, &(struct rpc_server_config){.workers = 1});
    open_quick(&c, &b);
    uint32_t tries = 0;
    do {
        meeting.missed = false;
        bare_ask(&c, frame_call_id(1, ++tries), &b.methods[UNARY], 0);
        while (sem_wait(&meeting.inside) != 0) {
        }
    } while (meeting.missed);
    bare_close(&c);
    WAIT_UNTIL(rpc_server_counters(b.f.server).connections == 0);
    for (unsigned i = 0; i < 100; i++) {
        let_timer_run();
        (void)sched_yield();
    }
    bool idle = rpc_server_idle(b.f.server);
    (void)sem_post(&meeting.go_on);
    assert_false(idle);
    bench_stop(&b);
    (void)sem_destroy(&meeting.inside);
    (void)sem_destroy(&meeting.go_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sayings),
        cmocka_unit_test(test_large_meta),
        cmocka_unit_test(test_dribble),
        cmocka_unit_test(test_rapid_cancels),
        cmocka_unit_test(test_cancel_meets_end),
        cmocka_unit_test(test_waiting_reader),
        cmocka_unit_test(test_gone_while_answering),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
