/*
 * launching and watching against a scripted edge over real connections: what a client does when an
 * answer is lost, refused, late, or the edge dies with the request in its hands.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/lib/launching.h"
#include "client/lib/watching.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server.h"

#define R(name) FLY__V1__REASON__REASON_##name

enum { TRIES_MAX = 16, TAG_A = 0xa1, TAG_B = 0xb2, FIVE_S = 5000, ALL_THE_TIME = 30000 };

enum act_kind {
    ACT_OK = 1,
    ACT_EMPTY,  /* OK without a VM */
    ACT_REFUSE, /* with `status` and `reason`, and a tag of slice B if `room_at_b` */
    ACT_SILENT, /* no answer until the caller gives up */
    ACT_DIE,    /* the edge dies with the call in its hands, and comes back */
};

struct act {
    enum act_kind kind;
    enum fly_status status;
    Fly__V1__Reason reason;
    bool retryable;
    bool room_at_b;
};

struct edge {
    struct rpc_server *server;
    char url[64];
    const struct act *acts;
    size_t act_count;
    size_t at; /* acts done */
    struct fly_key keys[TRIES_MAX];
    char since[4][64]; /* of each Watch */
    size_t watches;
    struct rpc_call *held; /* of ACT_DIE, or the stream to cut */
    bool dying;
    bool closing;
    pthread_t killer;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static const struct rpc_method *const methods[] = {&rpc_edge_launch, &rpc_edge_regions,
                                                   &rpc_edge_watch};

static void on_hello(void *user, struct rpc_hello *hello)
{
    Fly__V1__HelloReply reply = FLY__V1__HELLO_REPLY__INIT;
    Fly__V1__RegionTag a = FLY__V1__REGION_TAG__INIT;
    Fly__V1__RegionTag *tags[] = {&a};
    uint8_t packed[256];

    a.region = "SIN";
    a.tag = TAG_A;
    a.cores_free_max = 32;
    a.memory_free_max_bytes = UINT64_C(1) << 40;
    reply.tags = tags;
    reply.n_tags = 1;
    reply.version = "test";
    reply.time_ms = INT64_C(1790000000000);
    FLY_CHECK(fly__v1__hello_reply__get_packed_size(&reply) <= sizeof packed);
    rpc_hello_accept(hello, (struct fly_bytes){packed, fly__v1__hello_reply__pack(&reply, packed)},
                     user);
}

static void refuse(struct rpc_call *call, const struct act *act)
{
    Fly__V1__Refusal refusal = FLY__V1__REFUSAL__INIT;
    Fly__V1__RegionTag b = FLY__V1__REGION_TAG__INIT;
    Fly__V1__RegionTag *tags[] = {&b};
    uint8_t packed[256];

    refusal.reason = act->reason;
    refusal.retryable = act->retryable;
    refusal.message = "as the script says";
    b.region = "SIN";
    b.tag = TAG_B;
    b.cores_free_max = 32;
    b.memory_free_max_bytes = UINT64_C(1) << 40;
    refusal.tags = tags;
    refusal.n_tags = act->room_at_b ? 1 : 0;
    rpc_call_fail(call, act->status, "refused",
                  (struct fly_bytes){packed, fly__v1__refusal__pack(&refusal, packed)});
}

static void answer(struct rpc_call *call, const struct act *act, const struct fly_key *key)
{
    Fly__V1__LaunchReply reply = FLY__V1__LAUNCH_REPLY__INIT;
    Fly__V1__Vm vm = FLY__V1__VM__INIT;

    vm.id = "0123456789ab";
    vm.key = (ProtobufCBinaryData){FLY_KEY_SIZE, (uint8_t *)(uintptr_t)key->bytes};
    reply.vm = act->kind == ACT_OK ? &vm : NULL;
    reply.tries = 2;
    rpc_call_reply(call, &reply.base);
}

static void on_launch(struct edge *edge, struct rpc_call *call)
{
    const Fly__V1__LaunchRequest *request = (const Fly__V1__LaunchRequest *)rpc_call_request(call);
    /* past the script: the last act for ever */
    size_t at = edge->at < edge->act_count ? edge->at : edge->act_count - 1;
    const struct act *act = &edge->acts[at];
    struct fly_key key = {.bytes = {0}};

    FLY_CHECK(request->key.len == FLY_KEY_SIZE);
    memcpy(key.bytes, request->key.data, FLY_KEY_SIZE);
    (void)pthread_mutex_lock(&edge->lock);
    if (edge->at < TRIES_MAX) {
        edge->keys[edge->at] = key;
    }
    edge->at++;
    if (act->kind == ACT_DIE) {
        edge->held = call;
        edge->dying = true;
        (void)pthread_cond_broadcast(&edge->changed);
    }
    (void)pthread_mutex_unlock(&edge->lock);
    switch (act->kind) {
    case ACT_OK:
    case ACT_EMPTY:
        answer(call, act, &key);
        break;
    case ACT_REFUSE:
        refuse(call, act);
        break;
    case ACT_SILENT: /* on_cancel finishes it */
    case ACT_DIE:    /* the killer does */
        break;
    }
}

/* Sends event after event: the first watch gets 1 to 3 and dies, the second 3 (again) to 5. */
static void on_watch(struct edge *edge, struct rpc_call *call)
{
    const Fly__V1__WatchRequest *request = (const Fly__V1__WatchRequest *)rpc_call_request(call);
    bool first = edge->watches == 0;

    FLY_CHECK(edge->watches < FLY_ARRAY_COUNT(edge->since));
    (void)pthread_mutex_lock(&edge->lock);
    (void)fly_copy_string(edge->since[edge->watches++], sizeof edge->since[0], request->since);
    (void)pthread_mutex_unlock(&edge->lock);
    for (uint64_t seq = first ? 1 : 3; seq <= (first ? 3U : 5U); seq++) {
        Fly__V1__WatchReply reply = FLY__V1__WATCH_REPLY__INIT;
        Fly__V1__Event event = FLY__V1__EVENT__INIT;
        Fly__V1__Event *events[] = {&event};
        char cursor[32];
        (void)snprintf(cursor, sizeof cursor, "a1:c0de:%u", (unsigned)seq);
        event.slice = "a1";
        event.seq = seq;
        reply.events = events;
        reply.n_events = 1;
        reply.cursor = cursor;
        FLY_CHECK(rpc_call_send(call, &reply.base) == FLY_OK);
    }
    if (first) {
        rpc_call_fail(call, FLY_UNAVAILABLE, "going away", (struct fly_bytes){0});
    }
}

static void on_call(void *user, struct rpc_call *call)
{
    struct edge *edge = user;

    if (rpc_call_method(call) == &rpc_edge_launch) {
        on_launch(edge, call);
    } else if (rpc_call_method(call) == &rpc_edge_watch) {
        on_watch(edge, call);
    } else {
        rpc_call_fail(call, FLY_PERMISSION_DENIED, "not for you", (struct fly_bytes){0});
    }
}

static void on_cancel(void *user, struct rpc_call *call)
{
    struct edge *edge = user;

    (void)pthread_mutex_lock(&edge->lock);
    bool held = edge->held == call;
    (void)pthread_mutex_unlock(&edge->lock);
    if (!held) {
        rpc_call_fail(call, FLY_CANCELLED, "given up", (struct fly_bytes){0});
    }
}

static void start_server(struct edge *edge, const char *url)
{
    struct fly_error error = {0};
    const struct rpc_server_config config = {
        .urls = &url,
        .url_count = 1,
        .methods = methods,
        .method_count = FLY_ARRAY_COUNT(methods),
        .user = edge,
        .on_hello = on_hello,
        .on_call = on_call,
        .on_cancel = on_cancel,
    };

    if (rpc_server_create(&edge->server, &config, &error) != FLY_OK) {
        (void)fprintf(stderr, "%s\n", error.text);
        FLY_CHECK(false);
    }
}

/* Kills the edge when the script says so, and brings it back on the same port. */
static void *kill_and_revive(void *user)
{
    struct edge *edge = user;

    (void)pthread_mutex_lock(&edge->lock);
    while (!edge->closing) {
        if (!edge->dying) {
            (void)pthread_cond_wait(&edge->changed, &edge->lock);
            continue;
        }
        struct rpc_call *call = edge->held;
        (void)pthread_mutex_unlock(&edge->lock);
        rpc_server_close(edge->server);
        rpc_call_fail(call, FLY_CANCELLED, "dead", (struct fly_bytes){0});
        rpc_server_destroy(edge->server);
        start_server(edge, edge->url);
        (void)pthread_mutex_lock(&edge->lock);
        edge->held = NULL;
        edge->dying = false;
    }
    (void)pthread_mutex_unlock(&edge->lock);
    return NULL;
}

static void edge_start(struct edge *edge, const struct act *acts, size_t act_count)
{
    memset(edge, 0, sizeof *edge);
    edge->acts = acts;
    edge->act_count = act_count;
    FLY_CHECK(pthread_mutex_init(&edge->lock, NULL) == 0);
    FLY_CHECK(pthread_cond_init(&edge->changed, NULL) == 0);
    start_server(edge, "tcp://127.0.0.1:0");
    (void)fly_copy_string(edge->url, sizeof edge->url, rpc_server_url(edge->server, 0));
    FLY_CHECK(pthread_create(&edge->killer, NULL, kill_and_revive, edge) == 0);
}

static void edge_stop(struct edge *edge)
{
    (void)pthread_mutex_lock(&edge->lock);
    edge->closing = true;
    (void)pthread_cond_broadcast(&edge->changed);
    (void)pthread_mutex_unlock(&edge->lock);
    (void)pthread_join(edge->killer, NULL);
    rpc_server_destroy(edge->server);
    (void)pthread_cond_destroy(&edge->changed);
    (void)pthread_mutex_destroy(&edge->lock);
}

#define REFUSE(s, r, again)                                                                        \
    {                                                                                              \
        .kind = ACT_REFUSE, .status = (s), .reason = (r), .retryable = (again)                     \
    }

struct story {
    const char *what;
    bool key_given;
    int64_t timeout_ms;
    size_t act_count;
    struct act acts[4];
    enum outcome_step end;
    size_t keys; /* Launch calls that must have come; 0: at least two */
    bool one_key;
    uint32_t last_home; /* of the last key, 0: not looked at */
};

static const struct story stories[] = {
    {"ok at once", false, ALL_THE_TIME, 1, {{.kind = ACT_OK}}, OUTCOME_OK, 1, true, TAG_A},
    {"the edge dies with the launch in its hands: the same key",
     false,
     ALL_THE_TIME,
     2,
     {{.kind = ACT_DIE}, {.kind = ACT_OK}},
     OUTCOME_OK,
     2,
     true,
     TAG_A},
    {"dies, then full here with room elsewhere: still the same key",
     false,
     ALL_THE_TIME,
     3,
     {{.kind = ACT_DIE},
      {.kind = ACT_REFUSE,
       .status = FLY_RESOURCE_EXHAUSTED,
       .reason = R(REGION_FULL),
       .retryable = true,
       .room_at_b = true},
      {.kind = ACT_OK}},
     OUTCOME_OK,
     3,
     true,
     TAG_A},
    {"full here, room elsewhere: a fresh key for there",
     false,
     ALL_THE_TIME,
     2,
     {{.kind = ACT_REFUSE,
       .status = FLY_RESOURCE_EXHAUSTED,
       .reason = R(REGION_FULL),
       .retryable = true,
       .room_at_b = true},
      {.kind = ACT_OK}},
     OUTCOME_OK,
     2,
     false,
     TAG_B},
    {"full here, but the key is a person's",
     true,
     ALL_THE_TIME,
     1,
     {{.kind = ACT_REFUSE,
       .status = FLY_RESOURCE_EXHAUSTED,
       .reason = R(REGION_FULL),
       .retryable = true,
       .room_at_b = true}},
     OUTCOME_NOT_DONE,
     1,
     true,
     0},
    {"unknown, busy, ok",
     true,
     ALL_THE_TIME,
     3,
     {REFUSE(FLY_UNAVAILABLE, R(OUTCOME_UNKNOWN), true),
      REFUSE(FLY_ABORTED, R(BUSY), true),
      {.kind = ACT_OK}},
     OUTCOME_OK,
     3,
     true,
     0},
    {"unknown for ever",
     false,
     300,
     1,
     {REFUSE(FLY_UNAVAILABLE, R(OUTCOME_UNKNOWN), true)},
     OUTCOME_UNKNOWN,
     0,
     true,
     TAG_A},
    {"no answer until the time is over",
     false,
     200,
     1,
     {{.kind = ACT_SILENT}},
     OUTCOME_UNKNOWN,
     1,
     true,
     TAG_A},
    {"OK without a VM is no OK",
     false,
     200,
     1,
     {{.kind = ACT_EMPTY}},
     OUTCOME_UNKNOWN,
     0,
     true,
     TAG_A},
    {"too large",
     false,
     ALL_THE_TIME,
     1,
     {REFUSE(FLY_FAILED_PRECONDITION, R(TOO_LARGE), false)},
     OUTCOME_NOT_DONE,
     1,
     true,
     0},
};

static void check_keys(const struct story *story, struct edge *edge)
{
    size_t count = edge->at < TRIES_MAX ? edge->at : TRIES_MAX;

    if (story->keys == 0 ? edge->at < 2 : edge->at != story->keys) {
        fail_msg("%s: %zu calls", story->what, edge->at);
    }
    for (size_t i = 1; i < count; i++) {
        if (key_equal(&edge->keys[0], &edge->keys[i]) != story->one_key) {
            fail_msg("%s: key of call %zu", story->what, i);
        }
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(key_valid(&edge->keys[i]));
    }
    if (story->last_home != 0) {
        assert_int_equal(key_home(&edge->keys[count - 1], 1), story->last_home);
        assert_true(key_mint_s(&edge->keys[0]) >= 1790000000); /* the edge's clock, not ours */
        assert_true(key_mint_s(&edge->keys[0]) < 1790000000 + 60);
    }
}

static void test_stories(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(stories); i++) {
        const struct story *story = &stories[i];
        struct launching_spec spec = {.region = "SIN",
                                      .cores = 4,
                                      .memory_bytes = UINT64_C(6000000000),
                                      .name = "",
                                      .key_given = story->key_given,
                                      .timeout_ms = story->timeout_ms};
        struct launching_result result;
        struct session session;
        static struct edge edge;

        edge_start(&edge, story->acts, story->act_count);
        assert_true(key_from_text("mine", &spec.key));
        session_init(&session, edge.url, "");
        launching_run(&session, &spec, &result);
        /* the edge's threads wrote what is read below; only a lock says that they are done */
        (void)pthread_mutex_lock(&edge.lock);
        (void)pthread_mutex_unlock(&edge.lock);
        if (result.end != story->end) {
            fail_msg("%s: end %d, %s", story->what, (int)result.end, result.failure.message);
        }
        check_keys(story, &edge);
        if (story->key_given) {
            assert_true(key_equal(&edge.keys[0], &spec.key));
        }
        assert_true(
            key_equal(&result.key, &edge.keys[edge.at <= TRIES_MAX ? edge.at - 1 : TRIES_MAX - 1]));
        if (story->end == OUTCOME_OK) {
            assert_string_equal(result.launched->vm->id, "0123456789ab");
            assert_int_equal(result.tries, edge.at + 1);
        } else {
            assert_null(result.launched);
            assert_int_not_equal(result.failure.status, FLY_OK);
        }
        launching_result_fini(&result);
        session_fini(&session);
        edge_stop(&edge);
    }
}

static void test_nobody_listens(void **state)
{
    struct launching_spec spec = {
        .region = "SIN", .cores = 1, .memory_bytes = 1, .name = "", .timeout_ms = ALL_THE_TIME};
    struct launching_result result;
    struct session session;

    (void)state;
    session_init(&session, "127.0.0.1:1", "");
    launching_run(&session, &spec, &result);
    assert_int_equal(result.end, OUTCOME_NOT_DONE);
    assert_int_equal(result.failure.status, FLY_UNAVAILABLE);
    assert_false(result.failure.connected);
    assert_false(result.has_key);
    assert_int_equal(result.tries, 1);
    launching_result_fini(&result);
    session_fini(&session);
}

static void test_watch_resumes(void **state)
{
    static struct watching watching;
    static struct edge edge;
    struct session session;
    struct fly_error error = {0};
    uint64_t next = 1;
    unsigned lost = 0;
    unsigned back = 0;

    (void)state;
    edge_start(&edge, NULL, 0);
    session_init(&session, edge.url, "");
    assert_int_equal(watching_init(&watching, &session, "x", "", FIVE_S, &error),
                     FLY_INVALID_ARGUMENT);
    assert_int_equal(watching_init(&watching, &session, "", "", FIVE_S, &error), FLY_OK);
    while (next <= 5) {
        enum watching_step step = watching_next(&watching);
        char incarnation[CURSOR_WORD_SIZE];
        assert_int_not_equal(step, WATCHING_END);
        lost += step == WATCHING_LOST;
        back += step == WATCHING_BACK;
        for (size_t i = 0; step == WATCHING_MESSAGE && i < watching.message->n_events; i++) {
            const Fly__V1__Event *event = watching.message->events[i];
            if (watching_take(&watching, event, incarnation)) {
                assert_int_equal(event->seq, next);
                assert_string_equal(incarnation, "c0de");
                next++;
            }
        }
        if (step == WATCHING_MESSAGE) {
            watching_taken(&watching);
        }
    }
    (void)pthread_mutex_lock(&edge.lock);
    (void)pthread_mutex_unlock(&edge.lock);
    assert_int_equal(lost, 1);
    assert_int_equal(back, 1);
    assert_string_equal(edge.since[0], "");
    assert_string_equal(edge.since[1], "a1:c0de:3");
    assert_string_equal(watching.cursor.text, "a1:c0de:5");
    watching_fini(&watching);
    session_fini(&session);
    edge_stop(&edge);
}

static Fly__V1__RegionTag tag_of(const char *region, uint32_t tag, uint32_t cores)
{
    Fly__V1__RegionTag made = FLY__V1__REGION_TAG__INIT;

    made.region = (char *)(uintptr_t)region;
    made.tag = tag;
    made.cores_free_max = cores;
    made.memory_free_max_bytes = UINT64_C(1) << 40;
    return made;
}

static void test_pick_tag(void **state)
{
    const struct launching_spec spec = {.region = "SIN", .cores = 4, .memory_bytes = 1, .name = ""};
    Fly__V1__RegionTag made[] = {tag_of("GRU", 1, 32), tag_of("SIN", 2, 3),
                                 tag_of("sin", 3, 4),  tag_of("SIN", 4, 9),
                                 tag_of("SIN", 0, 9),  tag_of("SIN", 0x1000000, 9)};
    Fly__V1__RegionTag *tags[] = {&made[0], &made[1], &made[2], &made[3], &made[4], &made[5]};
    unsigned picked[5] = {0};
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 5);
    for (unsigned i = 0; i < 1000; i++) {
        uint32_t tag = launching_pick_tag(tags, FLY_ARRAY_COUNT(tags), &spec, &rng);
        assert_true(tag < FLY_ARRAY_COUNT(picked));
        picked[tag]++;
    }
    assert_int_equal(picked[3] + picked[4], 1000); /* only where it fits */
    assert_true(picked[3] > 400 && picked[4] > 400);
    assert_int_equal(launching_pick_tag(tags, 2, &spec, &rng), 2); /* fits nowhere: the region */
    assert_int_equal(launching_pick_tag(tags, 1, &spec, &rng), 1); /* no such region: any */
    assert_int_equal(launching_pick_tag(tags, 0, &spec, &rng), 0);
    assert_int_equal(launching_pick_tag(&tags[4], 2, &spec, &rng), 0);
    assert_true(launching_other_room(tags, FLY_ARRAY_COUNT(tags), &spec, 3));
    assert_true(launching_other_room(tags, 3, &spec, 9));
    assert_false(launching_other_room(tags, 3, &spec, 3));
    assert_false(launching_other_room(tags, 2, &spec, 9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pick_tag),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_watch_resumes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
