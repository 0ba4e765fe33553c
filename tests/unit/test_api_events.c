/*
 * GET /v1/events: a scripted edge tells, breaks, comes back; a socket reads, slowly or not at all.
 */
#include "tests/unit/api_fixture.h"

struct fixture {
    struct api_edge edge;
    struct dash *dash;
};

static int setup(void **state)
{
    static struct fixture f;

    edge_open(&f.edge);
    f.dash = api_dash(&f.edge, NULL);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    dash_destroy(f->dash);
    edge_close(&f->edge);
    return 0;
}

/* A reader of blocks. */
struct reader {
    int fd;
    char *bytes;
    size_t size;
    size_t at;
};

enum { READER_MAX = 16 << 20 };

static struct reader reader_open(struct fixture *f, const char *query, const char *headers)
{
    struct reader r = {.bytes = calloc(1, READER_MAX + 1)};
    char line[256];

    (void)snprintf(line, sizeof line, "GET /v1/events%s", query);
    r.fd = api_send(f->dash, "watch", line, headers, "");
    return r;
}

static void reader_close(struct reader *r)
{
    if (r->fd >= 0) {
        (void)close(r->fd);
    }
    free(r->bytes);
}

/* The next block, without the empty line behind it; NULL: the stream has ended. */
static char *reader_next(struct reader *r)
{
    for (;;) {
        char *end = strstr(r->bytes + r->at, "\n\n");
        char *head = strstr(r->bytes + r->at, "\r\n\r\n");
        if (head != NULL && (end == NULL || head < end)) { /* of the answer */
            *head = '\0';
            char *block = r->bytes + r->at;
            r->at = (size_t)(head - r->bytes) + 4;
            return block;
        }
        if (end != NULL) {
            *end = '\0';
            char *block = r->bytes + r->at;
            r->at = (size_t)(end - r->bytes) + 2;
            return block;
        }
        assert_true(r->size < READER_MAX);
        size_t got = api_read_some(r->fd, r->bytes + r->size, READER_MAX - r->size);
        if (got == 0) {
            return NULL;
        }
        r->size += got;
    }
}

/* The head of the answer, and the block that tells the pause. */
static void reader_begin(struct reader *r)
{
    char *head = reader_next(r);

    assert_int_equal(strncmp(head, "HTTP/1.1 200 ", 13), 0);
    assert_non_null(strstr(head, "text/event-stream"));
    assert_int_equal(strncmp(reader_next(r), "retry: ", 7), 0);
}

/* A field of a block, "" without it. */
static void field(const char *block, const char *name, char *out, size_t room)
{
    size_t size = strlen(name);

    out[0] = '\0';
    for (const char *line = block; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t length = end != NULL ? (size_t)(end - line) : strlen(line);
        if (strncmp(line, name, size) == 0 && line[size] == ':' && length > size + 2) {
            (void)snprintf(out, room, "%.*s", (int)(length - size - 2), line + size + 2);
        }
        line = end != NULL ? end + 1 : NULL;
    }
}

static struct rpc_call *watch_wait(struct api_edge *edge, size_t n)
{
    (void)pthread_mutex_lock(&edge->lock);
    while (edge->watch_count <= n) {
        (void)pthread_cond_wait(&edge->changed, &edge->lock);
    }
    struct rpc_call *call = edge->watches[n];
    (void)pthread_mutex_unlock(&edge->lock);
    return call;
}

/* Events from..to of slice a1 with that cursor; FLY_OK when it was queued. */
static enum fly_status tell(struct rpc_call *call, uint64_t from, uint64_t to, const char *cursor)
{
    static Fly__V1__Event made[256];
    static Fly__V1__Event *events[256];
    Fly__V1__WatchReply reply = FLY__V1__WATCH_REPLY__INIT;

    for (uint64_t seq = from; seq <= to; seq++) {
        Fly__V1__Event *event = &made[reply.n_events];
        fly__v1__event__init(event);
        event->slice = "0000a1";
        event->incarnation = 0xc0de;
        event->seq = seq;
        event->type = FLY__V1__EVENT_TYPE__EVENT_VM_STARTED;
        event->vm = "0123456789ab";
        event->name = "some-name";
        event->machine = "sin-1";
        event->region = "SIN";
        event->time_ms = INT64_C(1790000000123);
        event->state = FLY__V1__VM_STATE__VM_STATE_STARTED;
        events[reply.n_events++] = event;
    }
    reply.events = events;
    reply.cursor = (char *)(uintptr_t)cursor;
    reply.reset_reason = "";
    return rpc_call_send(call, &reply.base);
}

#define CURSOR(seq) "0000a1:000000000000c0de:" #seq

static void expect_change(struct reader *r, uint64_t seq)
{
    char *block = reader_next(r);
    char text[4096];
    char cursor[64];

    assert_non_null(block);
    (void)snprintf(cursor, sizeof cursor, "0000a1:000000000000c0de:%llu", (unsigned long long)seq);
    field(block, "id", text, sizeof text);
    assert_string_equal(text, cursor);
    field(block, "event", text, sizeof text);
    assert_string_equal(text, "change");
    field(block, "data", text, sizeof text);
    json_t *data = json_loads(text, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(data, "seq")), seq);
    assert_string_equal(json_string_value(json_object_get(data, "type")), "vm_started");
    assert_string_equal(json_string_value(json_object_get(data, "vm")), "0123456789ab");
    assert_string_equal(json_string_value(json_object_get(data, "time")),
                        "2026-09-21T14:13:20.123Z");
    json_decref(data);
}

static void test_stream(void **state)
{
    struct fixture *f = *state;
    Fly__V1__WatchReply reset = FLY__V1__WATCH_REPLY__INIT;
    Fly__V1__Vm vm = FLY__V1__VM__INIT;
    Fly__V1__Vm *vms[] = {&vm};
    char text[4096];
    struct reader r = reader_open(f, "?region=sin&type=vm_started,machine_added", "");
    struct rpc_call *call = watch_wait(&f->edge, 0);

    assert_int_equal(f->edge.types, 2);
    assert_string_equal(f->edge.since, "");
    assert_int_equal(tell(call, 1, 2, CURSOR(2)), FLY_OK);
    reader_begin(&r);
    expect_change(&r, 1);
    expect_change(&r, 2);
    /* the place moves without an event that passes the filter: an id alone */
    assert_int_equal(tell(call, 1, 0, CURSOR(9)), FLY_OK);
    char *block = reader_next(&r);
    assert_string_equal(block, "id: " CURSOR(9));
    /* what lay between is gone */
    vm.id = "0123456789ab";
    vm.slice = "0000a1";
    vm.region = "SIN";
    reset.reset = true;
    reset.reset_reason = "below retention";
    reset.vms = vms;
    reset.n_vms = 1;
    reset.cursor = CURSOR(50);
    assert_int_equal(rpc_call_send(call, &reset.base), FLY_OK);
    block = reader_next(&r);
    field(block, "event", text, sizeof text);
    assert_string_equal(text, "reset");
    field(block, "data", text, sizeof text);
    assert_string_equal(text, "{\"slice\":\"0000a1\",\"reason\":\"below retention\",\"vms\":1}");
    block = reader_next(&r);
    field(block, "event", text, sizeof text);
    assert_string_equal(text, "present");
    field(block, "data", text, sizeof text);
    assert_non_null(strstr(text, "\"id\":\"0123456789ab\""));
    assert_string_equal(reader_next(&r), "id: " CURSOR(50));
    reader_close(&r);
}

/* Its edge dies and comes back: on with the next event, and what comes twice is left out. */
static void test_resume(void **state)
{
    struct fixture *f = *state;
    struct reader r = reader_open(f, "?since=" CURSOR(1), "Last-Event-ID: " CURSOR(3) "\r\n");
    char url[64];

    struct rpc_call *call = watch_wait(&f->edge, 0);
    assert_string_equal(f->edge.since, CURSOR(3)); /* it goes before `since` */
    assert_int_equal(tell(call, 4, 5, CURSOR(5)), FLY_OK);
    reader_begin(&r);
    expect_change(&r, 4);
    expect_change(&r, 5);
    (void)snprintf(url, sizeof url, "%s", f->edge.url);
    edge_shut(&f->edge);
    edge_listen(&f->edge, url);
    call = watch_wait(&f->edge, 0);
    assert_string_equal(f->edge.since, CURSOR(5));
    assert_int_equal(tell(call, 4, 7, CURSOR(7)), FLY_OK);
    expect_change(&r, 6);
    expect_change(&r, 7);
    reader_close(&r);
}

/* Its edge dies for good: on at another, behind the same cursor. */
static void test_another_edge(void **state)
{
    struct fixture *f = *state;
    static struct api_edge other;
    char edges[256];

    edge_open(&other);
    (void)snprintf(edges, sizeof edges, "%s,%s", f->edge.url, other.url);
    dash_set_edges(f->dash, edges);
    struct reader r = reader_open(f, "?since=" CURSOR(3), "");
    struct rpc_call *call = watch_wait(&f->edge, 0);
    assert_int_equal(tell(call, 4, 5, CURSOR(5)), FLY_OK);
    reader_begin(&r);
    expect_change(&r, 4);
    expect_change(&r, 5);
    edge_shut(&f->edge);
    call = watch_wait(&other, 0);
    assert_string_equal(other.since, CURSOR(5));
    assert_int_equal(tell(call, 6, 6, CURSOR(6)), FLY_OK);
    expect_change(&r, 6);
    reader_close(&r);
    dash_destroy(f->dash);
    f->dash = NULL;
    edge_close(&other);
    edge_listen(&f->edge, "tcp://127.0.0.1:0"); /* for the teardown */
}

static void test_lost_before_the_first_cursor(void **state)
{
    struct fixture *f = *state;
    struct reader r = reader_open(f, "", "");
    char text[4096];

    struct rpc_call *call = watch_wait(&f->edge, 0);
    reader_begin(&r); /* it begins though nothing was told yet */
    (void)pthread_mutex_lock(&f->edge.lock);
    f->edge.watches[0] = NULL;
    (void)pthread_mutex_unlock(&f->edge.lock);
    rpc_call_fail(call, FLY_UNAVAILABLE, "going away", (struct fly_bytes){0});
    char *block = reader_next(&r);
    field(block, "event", text, sizeof text);
    assert_string_equal(text, "reset");
    field(block, "data", text, sizeof text);
    assert_non_null(strstr(text, "\"slice\":null"));
    call = watch_wait(&f->edge, 1);
    assert_int_equal(tell(call, 1, 1, CURSOR(1)), FLY_OK);
    expect_change(&r, 1);
    /* what no other try helps ends it, in words */
    (void)pthread_mutex_lock(&f->edge.lock);
    f->edge.watches[1] = NULL;
    (void)pthread_mutex_unlock(&f->edge.lock);
    rpc_call_fail(call, FLY_PERMISSION_DENIED, "no more", (struct fly_bytes){0});
    block = reader_next(&r);
    field(block, "event", text, sizeof text);
    assert_string_equal(text, "end");
    field(block, "data", text, sizeof text);
    assert_non_null(strstr(text, "PERMISSION_DENIED"));
    assert_null(reader_next(&r));
    reader_close(&r);
}

static void test_refused(void **state)
{
    struct fixture *f = *state;

    f->edge.refuse_watch = true;
    struct answer answer = api_ask(f->dash, "watch", "GET /v1/events", "", "");
    assert_int_equal(answer.status, 503);
    assert_string_equal(answer_text(&answer, "error.code"), "OVERLOADED");
    answer_fini(&answer);
}

/* Who does not read stops the Watch, and misses nothing. */
static void test_slow(void **state)
{
    struct fixture *f = *state;
    struct reader r = reader_open(f, "", "");
    struct rpc_call *call = watch_wait(&f->edge, 0);
    enum { PIECE = 100, PIECES = 2000 };
    uint64_t sent = 0;
    unsigned stops = 0;
    uint64_t seen = 0;

    reader_begin(&r);
    /* a million events would not fit anywhere: it stops long before */
    while (sent < PIECES && stops == 0) {
        char cursor[64];
        (void)snprintf(cursor, sizeof cursor, "0000a1:000000000000c0de:%llu",
                       (unsigned long long)((sent + 1) * PIECE));
        enum fly_status status = tell(call, sent * PIECE + 1, (sent + 1) * PIECE, cursor);
        assert_true(status == FLY_OK || status == FLY_RESOURCE_EXHAUSTED);
        sent += status == FLY_OK ? 1 : 0;
        stops += status == FLY_OK ? 0 : 1;
    }
    assert_int_equal(stops, 1);
    while (seen < sent * PIECE) {
        expect_change(&r, ++seen);
        if (r.at > READER_MAX / 2) { /* read bytes make room */
            memmove(r.bytes, r.bytes + r.at, r.size - r.at + 1);
            memset(r.bytes + r.size - r.at, 0, r.at);
            r.size -= r.at;
            r.at = 0;
        }
    }
    assert_true(sent > 2);
    reader_close(&r);
}

static void cancels_wait(struct api_edge *edge, unsigned count)
{
    (void)pthread_mutex_lock(&edge->lock);
    while (edge->cancels < count) {
        (void)pthread_cond_wait(&edge->changed, &edge->lock);
    }
    (void)pthread_mutex_unlock(&edge->lock);
}

/* A reader that goes ends its Watch; one more than there is room for is told so. */
static void test_many(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 256 };
    static int fds[MANY];

    for (size_t i = 0; i < MANY; i++) {
        fds[i] = api_send(f->dash, "watch", "GET /v1/events", "", "");
        if (i % 8 == 7) { /* the pool's threads open one at a time each */
            (void)watch_wait(&f->edge, i);
        }
    }
    struct answer answer = api_ask(f->dash, "watch", "GET /v1/events", "", "");
    assert_int_equal(answer.status, 503);
    assert_string_equal(answer_text(&answer, "error.code"), "OVERLOADED");
    answer_fini(&answer);
    for (size_t i = 0; i < MANY; i++) {
        (void)close(fds[i]);
    }
    cancels_wait(&f->edge, MANY);
    struct reader r = reader_open(f, "", "");
    (void)watch_wait(&f->edge, MANY);
    reader_begin(&r);
    reader_close(&r);
}

/* The dash stops with streams open. */
static void test_stop(void **state)
{
    struct fixture *f = *state;
    struct reader r = reader_open(f, "", "");
    struct reader opening;

    (void)watch_wait(&f->edge, 0);
    reader_begin(&r);
    opening = reader_open(f, "", "");
    (void)watch_wait(&f->edge, 1);
    dash_destroy(f->dash);
    f->dash = NULL;
    assert_null(reader_next(&r));
    reader_close(&r);
    reader_close(&opening);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* Who says more behind a stream is cut off: libwebsockets would spin over what it does not read. */
static void test_says_more(void **state)
{
    struct fixture *f = *state;
    static const char more[] = "GET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n";
    char bytes[4096];
    struct reader r = reader_open(f, "", "");

    reader_begin(&r);
    assert_int_equal(send(r.fd, more, sizeof more - 1, MSG_NOSIGNAL), sizeof more - 1);
    int64_t before_ms = fly_clock_boot_ms();
    ssize_t got = 0;
    while ((got = recv(r.fd, bytes, sizeof bytes, 0)) > 0) {
        assert_true(fly_clock_boot_ms() - before_ms < 9000); /* a stream's words go on for ever */
    }
    reader_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(test_stream),       WITH_FIXTURE(test_resume),
        WITH_FIXTURE(test_another_edge), WITH_FIXTURE(test_lost_before_the_first_cursor),
        WITH_FIXTURE(test_refused),      WITH_FIXTURE(test_slow),
        WITH_FIXTURE(test_many),         WITH_FIXTURE(test_says_more),
        WITH_FIXTURE(test_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
