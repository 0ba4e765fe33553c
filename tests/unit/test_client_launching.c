/*
 * launching against a scripted edge: what a client does when an answer is lost, refused, late, or
 * the edge dies with the request in its hands.
 */
#include "tests/unit/edge_fixture.h"

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
    struct launching_avoid avoid = {.count = 0};
    unsigned picked[5] = {0};
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 5);
    for (unsigned i = 0; i < 1000; i++) {
        uint32_t tag = launching_pick_tag(tags, FLY_ARRAY_COUNT(tags), &spec, &avoid, &rng);
        assert_true(tag < FLY_ARRAY_COUNT(picked));
        picked[tag]++;
    }
    assert_int_equal(picked[3] + picked[4], 1000); /* only where it fits */
    assert_true(picked[3] > 400 && picked[4] > 400);
    assert_int_equal(launching_pick_tag(tags, 2, &spec, &avoid, &rng),
                     2); /* fits nowhere: the region */
    assert_int_equal(launching_pick_tag(tags, 1, &spec, &avoid, &rng), 1); /* no such region: any */
    assert_int_equal(launching_pick_tag(tags, 0, &spec, &avoid, &rng), 0);
    assert_int_equal(launching_pick_tag(&tags[4], 2, &spec, &avoid, &rng), 0);
    avoid = (struct launching_avoid){.tags = {3}, .count = 1};
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(launching_pick_tag(tags, FLY_ARRAY_COUNT(tags), &spec, &avoid, &rng), 4);
    }
    assert_int_equal(launching_pick_tag(tags, 3, &spec, &avoid, &rng), 3); /* better than nothing */
    assert_true(launching_other_room(tags, FLY_ARRAY_COUNT(tags), &spec, 3));
    assert_true(launching_other_room(tags, 3, &spec, 9));
    assert_false(launching_other_room(tags, 3, &spec, 3));
    assert_false(launching_other_room(tags, 2, &spec, 9));
}

/* The last test: an interrupt is for ever. */
static void test_interrupt(void **state)
{
    static const struct act act = {.kind = ACT_INTERRUPT};
    static struct edge edge;
    struct launching_spec spec = {
        .region = "SIN", .cores = 1, .memory_bytes = 1, .name = "", .timeout_ms = ALL_THE_TIME};
    struct launching_result result;
    struct session session;

    (void)state;
    edge_start(&edge, &act, 1);
    session_init(&session, edge.url, "");
    launching_run(&session, &spec, &result);
    assert_int_equal(result.end, OUTCOME_UNKNOWN);
    assert_int_equal(edge.at, 1);
    assert_true(result.has_key);
    launching_result_fini(&result);
    launching_run(&session, &spec, &result);
    assert_int_equal(result.end, OUTCOME_NOT_DONE); /* nothing leaves any more */
    assert_int_equal(edge.at, 1);
    launching_result_fini(&result);
    session_fini(&session);
    edge_stop(&edge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pick_tag),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_interrupt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
