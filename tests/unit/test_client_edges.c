/* Several edges: which a session goes to, and that a launch keeps its key on the way. */
#include "tests/unit/edge_fixture.h"

#include "client/lib/choices.h"

/* All URLs in order, the current one with a star; those told of in brackets. */
static const char *describe(const struct choices *c)
{
    static char text[2048];
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < c->count; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%s%s%s", i > 0 ? " " : "",
                                 i == c->at ? "*" : "", c->items[i].told ? "(" : "",
                                 c->items[i].url, c->items[i].told ? ")" : "");
    }
    return text;
}

static void test_choices(void **state)
{
    static char *const told[] = {"tcp://127.0.0.1:2", "tcp://127.0.0.1:3"};
    static char *const fewer[] = {"tcp://127.0.0.1:4"};
    struct choices c = {.count = 0};
    char list[CHOICES_LIST_SIZE];

    (void)state;
    choices_next(&c);
    assert_true(choices_add(&c, "tcp://127.0.0.1:1"));
    assert_true(choices_add(&c, "tcp://127.0.0.1:2"));
    assert_false(choices_add(&c, "tcp://127.0.0.1:1"));
    choices_next(&c);
    choices_tell(&c, told, 2);
    assert_string_equal(describe(&c), "tcp://127.0.0.1:1 *tcp://127.0.0.1:2 (tcp://127.0.0.1:3)");
    choices_next(&c);
    choices_tell(&c, fewer, 1); /* the teller stays */
    assert_string_equal(
        describe(&c),
        "tcp://127.0.0.1:1 tcp://127.0.0.1:2 *(tcp://127.0.0.1:3) (tcp://127.0.0.1:4)");
    choices_next(&c);
    choices_tell(&c, fewer, 1);
    assert_string_equal(describe(&c), "tcp://127.0.0.1:1 tcp://127.0.0.1:2 *(tcp://127.0.0.1:4)");
    choices_told(&c, list);
    assert_string_equal(list, "tcp://127.0.0.1:4");
    choices_drop(&c);
    assert_string_equal(describe(&c), "*tcp://127.0.0.1:1 tcp://127.0.0.1:2");
    choices_drop(&c); /* a given one is only left */
    assert_string_equal(describe(&c), "tcp://127.0.0.1:1 *tcp://127.0.0.1:2");
    choices_next(&c);
    choices_tell(&c, told, 2);
    choices_tell(&c, NULL, 0);
    assert_string_equal(describe(&c), "*tcp://127.0.0.1:1 tcp://127.0.0.1:2");
    choices_told(&c, list);
    assert_string_equal(list, "");
}

static void test_what_may_be_told(void **state)
{
    static const struct {
        const char *teller;
        char *told;
        bool taken;
    } cases[] = {
        {"tls+tcp://10.0.0.1:1", "tls+tcp://10.0.0.2:1", true},
        {"tls+tcp://10.0.0.1:1", "tcp://10.0.0.2:1", false}, /* a step down */
        {"tls+tcp://10.0.0.1:1", "tls+tcp://127.0.0.1:1", false},
        {"tls+tcp://127.0.0.1:1", "tcp://127.0.0.1:2", false},
        {"tcp://127.0.0.1:1", "tcp://127.0.0.1:2", true},
        {"tcp://127.0.0.1:1", "tls+tcp://10.0.0.2:1", true},
        {"tcp://127.0.0.1:1", "tcp://10.0.0.2:1", false},
        {"tcp://10.0.0.1:1", "tcp://10.0.0.2:1", true},
        {"tcp://10.0.0.1:1", "tcp://[::1]:1", false},
        {"tls+tcp://10.0.0.1:1", "tls+tcp://edge.example:1", false},
        {"tls+tcp://10.0.0.1:1", "10.0.0.2:1", false},
        {"tls+tcp://10.0.0.1:1", "ipc:///x", false},
        {"tls+tcp://10.0.0.1:1", "", false},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        struct choices c = {.count = 0};
        char *const told[] = {cases[i].told};
        assert_true(choices_add(&c, cases[i].teller));
        choices_tell(&c, told, 1);
        if ((c.count == 2) != cases[i].taken) {
            fail_msg("%s told of %s: %s", cases[i].teller, cases[i].told, describe(&c));
        }
    }
}

static void test_choices_full(void **state)
{
    struct choices c = {.count = 0};
    char url[64];

    (void)state;
    for (unsigned i = 0; i < CHOICES_MAX; i++) {
        (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", i + 1);
        assert_true(choices_add(&c, url));
    }
    assert_false(choices_add(&c, "tcp://127.0.0.1:99"));
    choices_tell(&c, (char *const[]){"tcp://127.0.0.1:99"}, 1);
    assert_int_equal(c.count, CHOICES_MAX);
}

struct two {
    struct edge a, b;
    struct session session;
    char list[160];
    struct launching_result result;
};

static struct two *start_two(const struct act *acts, size_t act_count, const struct act *others,
                             size_t other_count)
{
    static struct two two;

    edge_start(&two.a, acts, act_count);
    edge_start(&two.b, others, other_count);
    (void)snprintf(two.list, sizeof two.list, "%s,%s", two.a.url, two.b.url);
    session_init(&two.session, two.list, "");
    return &two;
}

static void launch_two(struct two *two, int64_t timeout_ms)
{
    const struct launching_spec spec = {
        .region = "SIN", .cores = 1, .memory_bytes = 1, .name = "", .timeout_ms = timeout_ms};

    launching_run(&two->session, &spec, &two->result);
    (void)pthread_mutex_lock(&two->a.lock);
    (void)pthread_mutex_unlock(&two->a.lock);
    (void)pthread_mutex_lock(&two->b.lock);
    (void)pthread_mutex_unlock(&two->b.lock);
}

static void stop_two(struct two *two)
{
    launching_result_fini(&two->result);
    session_fini(&two->session);
    edge_stop(&two->a);
    edge_stop(&two->b);
}

/* However the first edge fails, the second is asked, and with the same key once it may matter. */
static void test_failover(void **state)
{
    static const struct {
        const char *what;
        struct act first;
        int64_t timeout_ms;
    } cases[] = {
        {"silent", {.kind = ACT_SILENT}, 1000},
        {"dies", {.kind = ACT_DIE}, ALL_THE_TIME},
        {"stopping",
         {.kind = ACT_REFUSE, .status = FLY_UNAVAILABLE, .reason = R(STOPPING), .retryable = true},
         ALL_THE_TIME},
        {"cut off from the owner",
         {.kind = ACT_REFUSE,
          .status = FLY_UNAVAILABLE,
          .reason = R(OWNER_UNREACHABLE),
          .retryable = true},
         ALL_THE_TIME},
        {"no edge at all", {.kind = ACT_REFUSE, .status = FLY_UNIMPLEMENTED}, ALL_THE_TIME},
        {"in doubt",
         {.kind = ACT_REFUSE,
          .status = FLY_UNAVAILABLE,
          .reason = R(OUTCOME_UNKNOWN),
          .retryable = true},
         ALL_THE_TIME},
    };
    static const struct act ok = {.kind = ACT_OK};

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        struct two *two = start_two(&cases[i].first, 1, &ok, 1);
        launch_two(two, cases[i].timeout_ms);
        if (two->result.end != OUTCOME_OK || two->a.at != 1 || two->b.at != 1) {
            fail_msg("%s: end %d, %zu and %zu calls, %s", cases[i].what, (int)two->result.end,
                     two->a.at, two->b.at, two->result.failure.message);
        }
        assert_true(key_equal(&two->a.keys[0], &two->b.keys[0]));
        stop_two(two);
    }
}

/* What is wrong with the launch itself is not asked twice. */
static void test_no_failover(void **state)
{
    static const struct act full = {
        .kind = ACT_REFUSE, .status = FLY_RESOURCE_EXHAUSTED, .reason = R(REGION_FULL)};
    static const struct act ok = {.kind = ACT_OK};
    struct two *two = start_two(&full, 1, &ok, 1);

    (void)state;
    launch_two(two, ALL_THE_TIME);
    assert_int_equal(two->result.end, OUTCOME_NOT_DONE);
    assert_int_equal(two->b.at, 0);
    stop_two(two);
}

/* The given edge is dead from the start: the next one, and it stays with that. */
static void test_first_is_dead(void **state)
{
    static const struct act ok = {.kind = ACT_OK};
    struct two *two = start_two(&ok, 1, &ok, 1);

    (void)state;
    (void)snprintf(two->list, sizeof two->list, "127.0.0.1:1,%s", two->b.url);
    launch_two(two, ALL_THE_TIME);
    assert_int_equal(two->result.end, OUTCOME_OK);
    launching_result_fini(&two->result);
    launch_two(two, ALL_THE_TIME);
    assert_int_equal(two->result.end, OUTCOME_OK);
    assert_int_equal(two->b.at, 2);
    assert_int_equal(two->b.hellos, 1);
    stop_two(two);
}

/* An edge told of another one; then it is gone. */
static void test_told_edge(void **state)
{
    static const struct act acts[] = {{.kind = ACT_OK}};
    static const struct act ok = {.kind = ACT_OK};
    struct two *two = start_two(acts, 1, &ok, 1);

    (void)state;
    (void)snprintf(two->list, sizeof two->list, "%s", two->a.url);
    two->a.tells[0] = two->b.url;
    two->a.tells[1] = "tcp://127.0.0.1:1";
    two->a.tell_count = 2;
    launch_two(two, ALL_THE_TIME);
    assert_int_equal(two->result.end, OUTCOME_OK);
    assert_int_equal(two->b.at, 0);
    launching_result_fini(&two->result);
    rpc_server_close(two->a.server);
    launch_two(two, ALL_THE_TIME);
    assert_int_equal(two->result.end, OUTCOME_OK);
    assert_int_equal(two->b.at, 1);
    stop_two(two);
}

static void test_nobody_at_all(void **state)
{
    struct session session;
    struct failure failure = {0};

    (void)state;
    session_init(&session, "127.0.0.1:1,127.0.0.1:2", "");
    assert_int_equal(session_connect(&session, ALL_THE_TIME, &failure), FLY_UNAVAILABLE);
    assert_false(failure.connected);
    failure_fini(&failure);
    session_fini(&session);
}

static const char *pem(const char *name, char out[static 8192])
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/tls/%s", FLY_VECTORS, name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t size = fread(out, 1, 8191, file);
    assert_true(size > 0);
    out[size] = '\0';
    (void)fclose(file);
    return out;
}

/* Only the cluster's own certificate is believed, and none is needed to be told so. */
static void test_tls(void **state)
{
    static const struct {
        const char *what;
        const char *ca; /* NULL: none */
        bool good;
        const char *words;
    } cases[] = {
        {"ours", "ca.pem", true, ""},
        {"another cluster's", "other-ca.pem", false, ""},
        {"none", NULL, false, "the cluster's certificate is not known here"},
    };
    static const struct act ok = {.kind = ACT_OK};
    static struct edge edge;
    static char cert[8192], key[8192], ca[8192];
    struct rpc_tls tls = {.cert_pem = pem("node.pem", cert), .key_pem = pem("node-key.pem", key)};

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        struct session session;
        struct failure failure = {0};
        edge_start_tls(&edge, &ok, 1, &tls);
        session_init(&session, edge.url, "");
        session.ca_pem = cases[i].ca != NULL ? pem(cases[i].ca, ca) : NULL;
        enum fly_status status = session_connect(&session, ALL_THE_TIME, &failure);
        if ((status == FLY_OK) != cases[i].good ||
            strstr(failure.message, cases[i].words) == NULL) {
            fail_msg("%s: %d, %s", cases[i].what, (int)status, failure.message);
        }
        assert_false(failure.sent || failure.connected);
        failure_fini(&failure);
        session_fini(&session);
        edge_stop(&edge);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),      cmocka_unit_test(test_what_may_be_told),
        cmocka_unit_test(test_choices_full), cmocka_unit_test(test_failover),
        cmocka_unit_test(test_no_failover),  cmocka_unit_test(test_first_is_dead),
        cmocka_unit_test(test_told_edge),    cmocka_unit_test(test_nobody_at_all),
        cmocka_unit_test(test_tls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
