/*
 * api: the dash's HTTP against a real dash on a real port, with a scripted edge behind it.
 */
#include "tests/unit/api_fixture.h"

#define SPEC "{\"region\":\"SIN\",\"cores\":4,\"memory\":6000000000}"

struct fixture {
    struct api_edge edge;
    struct dash *dash;
};

static int setup(void **state)
{
    static struct fixture f;
    const struct dash_config limits = {.launches_per_minute = 1000};

    edge_open(&f.edge);
    f.dash = api_dash(&f.edge, &limits);
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

static void check_error(const char *what, const struct answer *answer, unsigned status,
                        const char *code, const char *words)
{
    if (answer->status != status || strcmp(answer_text(answer, "error.code"), code) != 0 ||
        (words[0] != '\0' && strstr(answer_text(answer, "error.message"), words) == NULL)) {
        fail_msg("%s: %u %s: %s", what, answer->status, answer_text(answer, "error.code"),
                 answer_text(answer, "error.message"));
    }
    assert_true(
        json_is_boolean(json_object_get(json_object_get(answer->body, "error"), "retryable")));
    assert_true(json_is_string(json_object_get(json_object_get(answer->body, "error"), "hint")));
}

struct strict {
    const char *what;
    const char *token;
    const char *line;
    const char *headers;
    const char *body;
    unsigned status;
    const char *code;
    const char *words; /* in the message */
};

static const struct strict stricts[] = {
    {"nobody", NULL, "GET /v1/regions", "", "", 401, "UNAUTHENTICATED", "signed in"},
    {"no such token", "nonsense", "GET /v1/regions", "", "", 401, "UNAUTHENTICATED", ""},
    {"scope", "read", "GET /v1/regions", "", "", 403, "SCOPE_MISSING", "regions"},
    {"scope to launch", "read", "POST /v1/vms", "", SPEC, 403, "SCOPE_MISSING", "launch"},
    {"scope to destroy", "read", "DELETE /v1/vms/a", "", "", 403, "SCOPE_MISSING", "destroy"},
    {"scope to watch", "read", "GET /v1/events", "", "", 403, "SCOPE_MISSING", "watch"},
    {"no path", "read", "GET /v1/nothing", "", "", 404, "NOT_FOUND", "/v1/nothing"},
    {"no path below", "read", "GET /v1/vms/a/b", "", "", 404, "NOT_FOUND", "/v1/vms/a/b"},
    {"empty id", "read", "GET /v1/vms/", "", "", 404, "NOT_FOUND", ""},
    {"method", "read", "DELETE /v1/regions", "", "", 405, "UNIMPLEMENTED", ""},
    {"unknown parameter", "regions", "GET /v1/regions?x=1", "", "", 400, "INVALID_ARGUMENT", "'x'"},
    {"twice", "read", "GET /v1/machines?q=a&q=b", "", "", 400, "INVALID_ARGUMENT", "twice"},
    {"limit 0", "read", "GET /v1/machines?limit=0", "", "", 400, "INVALID_ARGUMENT", "limit"},
    {"limit 1001", "read", "GET /v1/machines?limit=1001", "", "", 400, "INVALID_ARGUMENT",
     "1 to 1000"},
    {"limit word", "read", "GET /v1/machines?limit=1x", "", "", 400, "INVALID_ARGUMENT", "1x"},
    {"limit sign", "read", "GET /v1/machines?limit=-1", "", "", 400, "INVALID_ARGUMENT", "limit"},
    {"after too large", "read", "GET /v1/vms?after=18446744073709551616", "", "", 400,
     "INVALID_ARGUMENT", "after"},
    {"region's form", "read", "GET /v1/machines?region=toolongtobearegion", "", "", 400,
     "INVALID_ARGUMENT", "region code"},
    {"no region", "read", "GET /v1/machines?region=zzz", "", "", 404, "REGION_UNKNOWN", "ZZZ"},
    {"no state", "read", "GET /v1/vms?state=asleep", "", "", 400, "INVALID_ARGUMENT", "asleep"},
    {"no id", "read", "GET /v1/vms/!!", "", "", 400, "INVALID_ARGUMENT", "!!"},
    {"id too long", "read", "GET /v1/vms/0123456789abc", "", "", 400, "INVALID_ARGUMENT", ""},
    {"no body", "launch", "POST /v1/vms", "", "", 400, "INVALID_ARGUMENT", "no JSON"},
    {"no JSON", "launch", "POST /v1/vms", "", "{", 400, "INVALID_ARGUMENT", "no JSON"},
    {"no object", "launch", "POST /v1/vms", "", "[]", 400, "INVALID_ARGUMENT", "object"},
    {"twice", "launch", "POST /v1/vms", "", "{\"cores\":1,\"cores\":2}", 400, "INVALID_ARGUMENT",
     "duplicate"},
    {"no cores", "launch", "POST /v1/vms", "", "{\"region\":\"SIN\",\"memory\":1000000}", 400,
     "INVALID_ARGUMENT", "cores is missing"},
    {"field", "launch", "POST /v1/vms", "", "{\"region\":\"SIN\",\"core\":1}", 400,
     "INVALID_ARGUMENT", "'core'"},
    {"cores text", "launch", "POST /v1/vms", "", "{\"cores\":\"4\"}", 400, "INVALID_ARGUMENT",
     "cores"},
    {"cores 0", "launch", "POST /v1/vms", "", "{\"cores\":0}", 400, "INVALID_ARGUMENT", "cores"},
    {"memory real", "launch", "POST /v1/vms", "", "{\"memory\":6e9}", 400, "INVALID_ARGUMENT",
     "memory"},
    {"memory small", "launch", "POST /v1/vms", "", "{\"memory\":6}", 400, "INVALID_ARGUMENT",
     "memory"},
    {"name", "launch", "POST /v1/vms", "", "{\"name\":\"A b\"}", 400, "INVALID_ARGUMENT", "name"},
    {"region number", "launch", "POST /v1/vms", "", "{\"region\":1}", 400, "INVALID_ARGUMENT",
     "region"},
    {"half a place", "launch", "POST /v1/vms", "",
     "{\"region\":\"near\",\"cores\":1,\"memory\":1000000,\"latitude\":1}", 400, "INVALID_ARGUMENT",
     "together"},
    {"a place for no near", "launch", "POST /v1/vms", "",
     "{\"region\":\"SIN\",\"cores\":1,\"memory\":1000000,\"latitude\":1,\"longitude\":1}", 400,
     "INVALID_ARGUMENT", "together"},
    {"no such place", "launch", "POST /v1/vms", "",
     "{\"region\":\"near\",\"cores\":1,\"memory\":1000000,\"latitude\":91,\"longitude\":1}", 400,
     "INVALID_ARGUMENT", "latitude"},
    {"mistyped key", "launch", "POST /v1/vms",
     "Idempotency-Key: f10000a1000000000000000000000000\r\n", SPEC, 400, "KEY_INVALID", "mistake"},
    {"no cursor", "watch", "GET /v1/events?since=x", "", "", 400, "CURSOR_INVALID", "cursor"},
    {"no cursor in the header", "watch", "GET /v1/events", "Last-Event-ID: y\r\n", "", 400,
     "CURSOR_INVALID", "'y'"},
    {"no type", "watch", "GET /v1/events?type=vm_started,vm_sang", "", "", 400, "INVALID_ARGUMENT",
     "vm_sang"},
};

static void test_strict(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(stricts); i++) {
        const struct strict *s = &stricts[i];
        struct answer answer = api_ask(f->dash, s->token, s->line, s->headers, s->body);
        check_error(s->what, &answer, s->status, s->code, s->words);
        if (s->status == 405) {
            assert_non_null(strstr(answer.head, "Allow: GET\r\n"));
        }
        if (s->status == 401) {
            assert_non_null(strstr(answer.head, "WWW-Authenticate: Bearer"));
        }
        answer_fini(&answer);
    }
    assert_int_equal(f->edge.launches, 0);
}

static json_int_t number(const json_t *object, const char *name)
{
    assert_true(json_is_integer(json_object_get(object, name)));
    return json_integer_value(json_object_get(object, name));
}

static const char *text(const json_t *object, const char *name)
{
    assert_true(json_is_string(json_object_get(object, name)));
    return json_string_value(json_object_get(object, name));
}

static void test_regions(void **state)
{
    struct fixture *f = *state;
    struct answer answer = api_ask(f->dash, "regions", "GET /v1/regions", "", "");
    json_t *regions = json_object_get(answer.body, "regions");

    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.head, "application/json"));
    assert_int_equal(json_array_size(regions), 4);
    const json_t *sin = json_array_get(regions, 0);
    assert_string_equal(text(sin, "code"), "SIN");
    assert_int_equal(number(sin, "machines"), 2);
    assert_int_equal(number(sin, "cores_total"), 64);
    assert_int_equal(number(sin, "cores_free"), 40);
    assert_int_equal(number(sin, "memory_total"), 128000000000);
    assert_true(json_real_value(json_object_get(sin, "latitude")) > 1.29);
    assert_string_equal(text(json_array_get(regions, 2), "city"), "S\u00e3o Paulo");
    assert_true(json_is_null(json_object_get(json_array_get(regions, 3), "latitude")));
    answer_fini(&answer);
}

/* All pages' names, with blanks between. */
static void all_machines(struct fixture *f, const char *query, char out[static 256])
{
    char line[160];
    json_int_t after = -1;

    out[0] = '\0';
    for (unsigned page = 0; page < 8; page++) {
        (void)snprintf(line, sizeof line, "GET /v1/machines?limit=1%s", query);
        if (after >= 0) {
            (void)snprintf(line + strlen(line), sizeof line - strlen(line), "&after=%lld",
                           (long long)after);
        }
        struct answer answer = api_ask(f->dash, "read", line, "", "");
        assert_int_equal(answer.status, 200);
        const json_t *next = json_object_get(answer.body, "next");
        const json_t *machines = json_object_get(answer.body, "machines");
        assert_true(json_array_size(machines) <= 1);
        if (json_array_size(machines) == 1) {
            (void)snprintf(out + strlen(out), 256 - strlen(out), "%s ",
                           text(json_array_get(machines, 0), "name"));
        }
        bool more = json_is_string(next);
        after = more ? strtoll(json_string_value(next), NULL, 10) : 0;
        answer_fini(&answer);
        if (!more) {
            return;
        }
    }
    fail_msg("pages without end");
}

static void test_machines(void **state)
{
    struct fixture *f = *state;
    char names[256];

    all_machines(f, "", names);
    assert_string_equal(names, "sin-1 sin-2 hkg-1 gru-1 ");
    all_machines(f, "&region=sin", names);
    assert_string_equal(names, "sin-1 sin-2 ");
    all_machines(f, "&q=-1", names);
    assert_string_equal(names, "sin-1 hkg-1 gru-1 ");
    all_machines(f, "&q=SIN-&region=SIN", names);
    assert_string_equal(names, "sin-1 sin-2 ");
    all_machines(f, "&q=nowhere", names);
    assert_string_equal(names, "");

    struct answer answer = api_ask(f->dash, "read", "GET /v1/machines?after=0&limit=1", "", "");
    const json_t *m = json_array_get(json_object_get(answer.body, "machines"), 0);
    assert_int_equal(number(m, "index"), 1);
    assert_string_equal(text(m, "slice"), "0000a1");
    assert_string_equal(text(m, "region"), "SIN");
    assert_int_equal(number(m, "cores_free"), 8);
    assert_true(json_is_false(json_object_get(m, "cordoned")));
    answer_fini(&answer);
}

static void test_members(void **state)
{
    struct fixture *f = *state;
    struct dash_member members[2] = {
        {.name = "a",
         .region = "SIN",
         .roles = "peer,edge",
         .state = "alive",
         .address = "x:1",
         .serving = true,
         .self = true,
         .since_ms = 1790000000123,
         .slice_count = 1,
         .slices = {{0xa1, 7}}},
        {.name = "b", .state = "dead", .rtt_us = 250, .note = "lost"},
    };

    dash_set_members(f->dash, members, 2);
    struct answer answer = api_ask(f->dash, "read", "GET /v1/members", "", "");
    const json_t *all = json_object_get(answer.body, "members");
    assert_int_equal(json_array_size(all), 2);
    const json_t *a = json_array_get(all, 0);
    assert_string_equal(text(a, "name"), "a");
    assert_int_equal(json_array_size(json_object_get(a, "roles")), 2);
    assert_string_equal(text(a, "since"), "2026-09-21T14:13:20.123Z");
    assert_int_equal(number(json_array_get(json_object_get(a, "slices"), 0), "epoch"), 7);
    assert_true(json_is_null(json_object_get(a, "rtt_us")));
    const json_t *b = json_array_get(all, 1);
    assert_int_equal(number(b, "rtt_us"), 250);
    assert_true(json_is_null(json_object_get(b, "region")));
    assert_string_equal(text(b, "note"), "lost");
    answer_fini(&answer);
}

/* Launched, listed, shown, replayed, destroyed, destroyed again, not there. */
static void test_life(void **state)
{
    struct fixture *f = *state;
    char line[64];
    char id[16];

    struct answer answer =
        api_ask(f->dash, ALL_SCOPES, "POST /v1/vms", "Idempotency-Key: order 66\r\n", SPEC);
    assert_int_equal(answer.status, 201);
    const json_t *vm = json_object_get(answer.body, "vm");
    (void)snprintf(id, sizeof id, "%s", text(vm, "id"));
    (void)snprintf(line, sizeof line, "Location: /v1/vms/%s\r\n", id);
    assert_non_null(strstr(answer.head, line));
    assert_string_equal(text(vm, "region"), "SIN");
    assert_int_equal(number(vm, "cores"), 4);
    assert_int_equal(number(vm, "memory"), 6000000000);
    assert_string_equal(text(vm, "state"), "started");
    assert_string_equal(text(vm, "created"), "2026-09-21T14:13:20.123Z");
    assert_true(json_is_null(json_object_get(vm, "destroyed")));
    assert_true(json_is_false(json_object_get(answer.body, "replayed")));
    assert_int_equal(strlen(text(answer.body, "key")), 32);
    assert_int_equal(strncmp(text(answer.body, "key"), "00", 2), 0);
    char again[80];
    (void)snprintf(again, sizeof again, "Idempotency-Key: %s\r\n", text(answer.body, "key"));
    answer_fini(&answer);

    /* the key that was told is the key that was hashed */
    answer = api_ask(f->dash, ALL_SCOPES, "POST /v1/vms", again, SPEC);
    assert_int_equal(answer.status, 200);
    assert_true(json_is_true(json_object_get(answer.body, "replayed")));
    assert_string_equal(text(json_object_get(answer.body, "vm"), "id"), id);
    answer_fini(&answer);

    /* without one each is another, and the key is a minted one */
    answer = api_ask(f->dash, ALL_SCOPES, "POST /v1/vms", "", SPEC);
    assert_int_equal(answer.status, 201);
    assert_int_equal(strncmp(text(answer.body, "key"), "f10000a1", 8), 0);
    answer_fini(&answer);

    answer = api_ask(f->dash, ALL_SCOPES, "GET /v1/vms?region=sin&limit=1", "", "");
    assert_int_equal(answer.status, 200);
    assert_int_equal(json_array_size(json_object_get(answer.body, "vms")), 1);
    assert_true(json_is_string(json_object_get(answer.body, "next")));
    assert_int_equal(json_array_size(json_object_get(answer.body, "unreachable")), 0);
    (void)snprintf(line, sizeof line, "GET /v1/vms?after=%s", text(answer.body, "next"));
    answer_fini(&answer);
    answer = api_ask(f->dash, ALL_SCOPES, line, "", "");
    assert_int_equal(json_array_size(json_object_get(answer.body, "vms")), 1);
    assert_true(json_is_null(json_object_get(answer.body, "next")));
    answer_fini(&answer);

    (void)snprintf(line, sizeof line, "GET /v1/vms/%.6s", id);
    answer = api_ask(f->dash, ALL_SCOPES, line, "", "");
    assert_int_equal(answer.status, 200);
    assert_string_equal(text(answer.body, "id"), id);
    answer_fini(&answer);

    (void)snprintf(line, sizeof line, "DELETE /v1/vms/%s", id);
    answer = api_ask(f->dash, ALL_SCOPES, line, "", "");
    assert_int_equal(answer.status, 200);
    assert_true(json_is_false(json_object_get(answer.body, "already")));
    assert_string_equal(text(json_object_get(answer.body, "vm"), "state"), "destroyed");
    assert_string_equal(text(json_object_get(answer.body, "vm"), "destroyed"),
                        "2026-09-21T14:13:21.000Z");
    answer_fini(&answer);
    answer = api_ask(f->dash, ALL_SCOPES, line, "", "");
    assert_true(json_is_true(json_object_get(answer.body, "already")));
    answer_fini(&answer);
    answer = api_ask(f->dash, ALL_SCOPES, "GET /v1/vms/zzzz", "", "");
    check_error("no VM", &answer, 404, "NOT_FOUND", "");
    answer_fini(&answer);
    /* one connection served them all, as nothing was asked at the same time */
    assert_int_equal(f->edge.hellos, 1);
}

struct mapping {
    enum fly_status status;
    Fly__V1__Reason reason;
    bool retryable;
    unsigned http;
    const char *code;
};

#define R(name) FLY__V1__REASON__REASON_##name

static const struct mapping mappings[] = {
    {FLY_INVALID_ARGUMENT, R(REGION_UNKNOWN), false, 404, "REGION_UNKNOWN"},
    {FLY_INVALID_ARGUMENT, R(INVALID_SPEC), false, 400, "INVALID_SPEC"},
    {FLY_INVALID_ARGUMENT, R(KEY_INVALID), false, 400, "KEY_INVALID"},
    {FLY_RESOURCE_EXHAUSTED, R(REGION_FULL), true, 409, "REGION_FULL"},
    {FLY_FAILED_PRECONDITION, R(TOO_LARGE), false, 409, "TOO_LARGE"},
    {FLY_FAILED_PRECONDITION, R(CORDONED), false, 409, "CORDONED"},
    {FLY_RESOURCE_EXHAUSTED, R(QUOTA), false, 429, "QUOTA"},
    {FLY_RESOURCE_EXHAUSTED, R(RATE), false, 429, "RATE"},
    {FLY_ALREADY_EXISTS, R(KEY_REUSED), false, 422, "KEY_REUSED"},
    {FLY_FAILED_PRECONDITION, R(KEY_EXPIRED), false, 409, "KEY_EXPIRED"},
    {FLY_FAILED_PRECONDITION, R(KEY_CANCELLED), false, 409, "KEY_CANCELLED"},
    {FLY_ABORTED, R(BUSY), false, 409, "BUSY"},
    {FLY_UNAVAILABLE, R(OWNER_UNREACHABLE), false, 503, "OWNER_UNREACHABLE"},
    {FLY_UNAVAILABLE, R(STOPPING), false, 503, "STOPPING"},
    {FLY_RESOURCE_EXHAUSTED, R(OVERLOADED), false, 503, "OVERLOADED"},
    {FLY_RESOURCE_EXHAUSTED, R(TABLE_FULL), false, 503, "TABLE_FULL"},
    {FLY_UNAVAILABLE, R(JOURNAL), false, 503, "JOURNAL"},
    {FLY_UNAUTHENTICATED, R(TOKEN_EXPIRED), false, 401, "TOKEN_EXPIRED"},
    {FLY_PERMISSION_DENIED, R(SCOPE_MISSING), false, 403, "SCOPE_MISSING"},
    {FLY_INVALID_ARGUMENT, R(NONE), false, 400, "INVALID_ARGUMENT"},
};

static void test_refusals(void **state)
{
    struct fixture *f = *state;

    f->edge.hint = "the nearest region with room is HKG (Hong Kong)";
    for (size_t i = 0; i < FLY_ARRAY_COUNT(mappings); i++) {
        const struct mapping *m = &mappings[i];
        edge_script(&f->edge, EDGE_REFUSES, m->status, m->reason, m->retryable);
        struct answer answer =
            api_ask(f->dash, ALL_SCOPES, "POST /v1/vms", "Idempotency-Key: mine\r\n", SPEC);
        check_error(m->code, &answer, m->http, m->code, "as the script says");
        if (m->reason != R(NONE)) {
            assert_non_null(strstr(answer_text(&answer, "error.hint"), "HKG"));
        }
        assert_string_equal(answer_text(&answer, "error.region"), "SIN");
        answer_fini(&answer);
    }
}

/* Nobody knows what became of it: the answer holds the key that settles it. */
static void test_unknown(void **state)
{
    struct fixture *f = *state;
    char header[80];

    edge_script(&f->edge, EDGE_REFUSES, FLY_UNAUTHENTICATED, R(TOKEN_EXPIRED), false);
    (void)pthread_mutex_lock(&f->edge.lock);
    f->edge.parking = true;
    (void)pthread_mutex_unlock(&f->edge.lock);
    int fd = api_send(f->dash, ALL_SCOPES, "POST /v1/vms", "", SPEC);
    (void)pthread_mutex_lock(&f->edge.lock);
    while (f->edge.launches == 0) {
        (void)pthread_cond_wait(&f->edge.changed, &f->edge.lock);
    }
    /* first in doubt, then barred: the doubt stays */
    f->edge.status = FLY_UNAVAILABLE;
    f->edge.reason = R(OUTCOME_UNKNOWN);
    f->edge.retryable = true;
    f->edge.parking = false;
    (void)pthread_cond_broadcast(&f->edge.changed);
    while (f->edge.launches == 1) {
        (void)pthread_cond_wait(&f->edge.changed, &f->edge.lock);
    }
    f->edge.status = FLY_UNAUTHENTICATED;
    f->edge.reason = R(TOKEN_EXPIRED);
    (void)pthread_mutex_unlock(&f->edge.lock);
    struct answer answer = api_answer(fd);
    check_error("unknown", &answer, 503, "OUTCOME_UNKNOWN", "");
    assert_int_equal(strlen(answer_text(&answer, "error.key")), 32);
    assert_non_null(strstr(answer_text(&answer, "error.hint"), answer_text(&answer, "error.key")));
    assert_true(json_is_true(json_object_get(json_object_get(answer.body, "error"), "retryable")));
    (void)snprintf(header, sizeof header, "Idempotency-Key: %s\r\n",
                   answer_text(&answer, "error.key"));
    answer_fini(&answer);

    edge_script(&f->edge, EDGE_TAKES, FLY_OK, R(NONE), false);
    answer = api_ask(f->dash, ALL_SCOPES, "POST /v1/vms", header, SPEC);
    assert_int_equal(answer.status, 201);
    answer_fini(&answer);
    assert_int_equal(f->edge.vm_count, 1);
}

/* The dash stops with a launch in doubt: it says so, and does not wait for its deadline. */
static void test_stop(void **state)
{
    struct fixture *f = *state;

    edge_script(&f->edge, EDGE_SILENT, FLY_OK, R(NONE), false);
    int fd = api_send(f->dash, ALL_SCOPES, "POST /v1/vms", "", SPEC);
    (void)pthread_mutex_lock(&f->edge.lock);
    while (f->edge.launches == 0) {
        (void)pthread_cond_wait(&f->edge.changed, &f->edge.lock);
    }
    (void)pthread_mutex_unlock(&f->edge.lock);
    int64_t before_ms = fly_clock_boot_ms();
    dash_destroy(f->dash);
    assert_true(fly_clock_boot_ms() - before_ms < 8000); /* not the 10 s of a launch */
    f->dash = NULL;
    struct answer answer = api_answer(fd);
    check_error("stopped", &answer, 503, "OUTCOME_UNKNOWN", "");
    assert_int_equal(strlen(answer_text(&answer, "error.key")), 32);
    answer_fini(&answer);
}

static void test_near(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *what;
        const char *body;
        const char *region;
    } rows[] = {
        {"own region", "{\"region\":\"near\",\"cores\":4,\"memory\":1000000}", "SIN"},
        {"in any case", "{\"region\":\"Near\",\"cores\":4,\"memory\":1000000}", "SIN"},
        {"Tokyo",
         "{\"region\":\"near\",\"cores\":4,\"memory\":1000000,\"latitude\":35.6,"
         "\"longitude\":139.7}",
         "HKG"},
        /* GRU is nearer and full; over the pole and the date line it is Singapore */
        {"Rio",
         "{\"region\":\"near\",\"cores\":4,\"memory\":1000000,\"latitude\":-22.8,"
         "\"longitude\":-43.2}",
         "SIN"},
        {"nowhere room",
         "{\"region\":\"near\",\"cores\":900,\"memory\":1000000,\"latitude\":-22.8,"
         "\"longitude\":-43.2}",
         "GRU"},
    };

    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct answer answer = api_ask(f->dash, "launch", "POST /v1/vms", "", rows[i].body);
        if (answer.status != 201 ||
            strcmp(answer_text(&answer, "vm.region"), rows[i].region) != 0) {
            fail_msg("%s: %u %s", rows[i].what, answer.status, answer_text(&answer, "vm.region"));
        }
        answer_fini(&answer);
    }
}

/* Tried again with its key, near is where it was, though no room is there any more. */
static void test_near_again(void **state)
{
    struct fixture *f = *state;
    static const char body[] = "{\"region\":\"near\",\"cores\":4,\"memory\":1000000}";
    struct event full = {.slice = EDGE_TAG,
                         .incarnation = 0xc0de,
                         .seq = 5,
                         .type = EVENT_VM_STARTED,
                         .vm = 1,
                         .region = "SIN",
                         .machine = "sin-1"};
    struct answer answer =
        api_ask(f->dash, "launch", "POST /v1/vms", "Idempotency-Key: one\r\n", body);

    assert_string_equal(answer_text(&answer, "vm.region"), "SIN");
    answer_fini(&answer);
    dash_event(f->dash, &full);
    full.seq++;
    (void)snprintf(full.machine, sizeof full.machine, "sin-2");
    dash_event(f->dash, &full);
    answer = api_ask(f->dash, "launch", "POST /v1/vms", "Idempotency-Key: two\r\n", body);
    assert_string_equal(answer_text(&answer, "vm.region"), "HKG");
    answer_fini(&answer);
    answer = api_ask(f->dash, "launch", "POST /v1/vms", "Idempotency-Key: one\r\n", body);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_text(&answer, "vm.region"), "SIN");
    answer_fini(&answer);
}

static void test_near_nowhere(void **state)
{
    struct fixture *f = *state;
    static const char body[] = "{\"region\":\"near\",\"cores\":4,\"memory\":1000000}";
    const struct dash_config limits = {.region = "ZRH"};
    struct dash *dash = api_dash(&f->edge, &limits);
    struct answer answer = api_ask(dash, "launch", "POST /v1/vms", "", body);

    check_error("no home", &answer, 400, "INVALID_ARGUMENT", "near to what");
    answer_fini(&answer);
    dash_destroy(dash);
    dash_drop_slice(f->dash, EDGE_TAG);
    answer = api_ask(f->dash, "launch", "POST /v1/vms", "", body);
    check_error("no machines", &answer, 409, "REGION_FULL", "");
    answer_fini(&answer);
}

/* A browser comes: the autospawner looks for what an earlier life left, and launches at once. */
static void test_autospawn(void **state)
{
    struct fixture *f = *state;
    const struct dash_config limits = {.autospawn = "sin, hkg",
                                       .autospawn_token = "launch+read+destroy"};
    struct dash *dash = api_dash(&f->edge, &limits);

    int fd = api_send(dash, "read", "GET /v1/live",
                      "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                      "");
    (void)pthread_mutex_lock(&f->edge.lock);
    while (f->edge.vm_count == 0 || f->edge.lists == 0) {
        (void)pthread_cond_wait(&f->edge.changed, &f->edge.lock);
    }
    assert_int_equal(strncmp(f->edge.vms[0].name, "auto-sin-", 9), 0);
    assert_string_equal(f->edge.vms[0].region, "SIN");
    assert_int_equal(f->edge.vms[0].cores, 1);
    assert_int_equal(f->edge.vms[0].memory_bytes, 512000000);
    (void)pthread_mutex_unlock(&f->edge.lock);
    (void)close(fd);
    dash_destroy(dash);
}

static void test_no_edge(void **state)
{
    struct dash *dash = api_dash(NULL, NULL);

    (void)state;
    struct answer answer = api_ask(dash, ALL_SCOPES, "GET /v1/vms", "", "");
    check_error("none known", &answer, 503, "UNAVAILABLE", "no edge");
    answer_fini(&answer);
    answer = api_ask(dash, ALL_SCOPES, "GET /v1/events", "", "");
    check_error("none known", &answer, 503, "UNAVAILABLE", "no edge");
    answer_fini(&answer);
    dash_set_edges(dash, "127.0.0.1:1");
    answer = api_ask(dash, ALL_SCOPES, "POST /v1/vms", "", SPEC);
    check_error("nobody listens", &answer, 503, "UNAVAILABLE", "");
    answer_fini(&answer);
    dash_destroy(dash);
}

static void test_rate(void **state)
{
    struct fixture *f = *state;
    const struct dash_config limits = {.launches_per_minute = 2};
    struct dash *dash = api_dash(&f->edge, &limits);

    for (unsigned i = 0; i < 2; i++) {
        struct answer answer = api_ask(dash, ALL_SCOPES, "POST /v1/vms", "", SPEC);
        assert_int_equal(answer.status, 201);
        answer_fini(&answer);
    }
    struct answer answer = api_ask(dash, ALL_SCOPES, "POST /v1/vms", "", SPEC);
    check_error("rate", &answer, 429, "RATE", "2 times within a minute");
    assert_non_null(strstr(answer.head, "Retry-After: "));
    answer_fini(&answer);
    answer = api_ask(dash, "none", "GET /v1/limits", "", "");
    assert_int_equal(answer.status, 200);
    assert_int_equal(number(answer.body, "launches_per_minute"), 2);
    assert_int_equal(number(answer.body, "launches_left"), 0);
    assert_true(number(answer.body, "retry_after_ms") > 50000);
    assert_true(json_is_null(json_object_get(answer.body, "vms_max")));
    assert_int_equal(number(answer.body, "cooldown_success_ms"), 20000);
    assert_int_equal(number(answer.body, "cooldown_failure_ms"), 5000);
    answer_fini(&answer);
    dash_destroy(dash);
    assert_int_equal(f->edge.launches, 2);
}

static struct event vm_event(uint8_t type, uint64_t seq, const char *id)
{
    struct event event = {.slice = EDGE_TAG,
                          .incarnation = 0xc0de,
                          .seq = seq,
                          .type = type,
                          .region = "SIN",
                          .machine = "sin-1",
                          .machine_cores_free = 9,
                          .machine_memory_free_bytes = 9};

    assert_true(vmid_parse(id, &event.vm));
    return event;
}

static void test_cap(void **state)
{
    struct fixture *f = *state;
    const struct dash_config limits = {.vms_max = 3};
    struct dash *dash = api_dash(&f->edge, &limits);
    struct event event;

    (void)pthread_mutex_lock(&f->edge.lock);
    (void)edge_add_vm(&f->edge, "SIN");
    (void)edge_add_vm(&f->edge, "HKG");
    (void)pthread_mutex_unlock(&f->edge.lock);
    struct answer answer = api_ask(dash, "launch+read", "GET /v1/limits", "", "");
    assert_int_equal(number(answer.body, "vms_max"), 3);
    assert_true(json_is_null(json_object_get(answer.body, "vms")));
    answer_fini(&answer);
    answer = api_ask(dash, "launch+read", "POST /v1/vms", "Idempotency-Key: third\r\n", SPEC);
    assert_int_equal(answer.status, 201);
    answer_fini(&answer);
    /* its event comes afterwards: the same VM is not counted twice */
    event = vm_event(EVENT_VM_STARTED, 5, f->edge.vms[2].id);
    dash_event(dash, &event);
    answer = api_ask(dash, "launch+read", "POST /v1/vms", "", SPEC);
    check_error("cap", &answer, 409, "QUOTA", "up to 3");
    answer_fini(&answer);
    answer = api_ask(dash, "launch+read", "POST /v1/vms", "Idempotency-Key: fourth\r\n", SPEC);
    check_error("cap with a key", &answer, 409, "QUOTA", "up to 3");
    answer_fini(&answer);
    /* who lost the answer asks again, and gets it */
    answer = api_ask(dash, "launch+read", "POST /v1/vms", "Idempotency-Key: third\r\n", SPEC);
    assert_int_equal(answer.status, 200);
    assert_true(json_is_true(json_object_get(answer.body, "replayed")));
    answer_fini(&answer);
    answer = api_ask(dash, "none", "GET /v1/limits", "", "");
    assert_int_equal(number(answer.body, "vms"), 3);
    answer_fini(&answer);
    /* one goes: there is room, and no new list is needed to see it */
    f->edge.vms[0].destroyed = true;
    event = vm_event(EVENT_VM_DESTROYED, 6, f->edge.vms[0].id);
    dash_event(dash, &event);
    unsigned lists = f->edge.lists;
    answer = api_ask(dash, "launch", "POST /v1/vms", "", SPEC);
    assert_int_equal(answer.status, 201);
    answer_fini(&answer);
    assert_int_equal(f->edge.lists, lists);
    dash_destroy(dash);
}

/* More than the pool's queue: the rest is told at once, none waits for ever. */
static void test_overload(void **state)
{
    struct fixture *f = *state;
    enum { ASKED = 256 + 4 + 16 };
    static int fds[ASKED];
    unsigned ok = 0;
    unsigned shed = 0;

    (void)pthread_mutex_lock(&f->edge.lock);
    f->edge.parking = true;
    f->edge.launch = EDGE_REFUSES;
    f->edge.status = FLY_FAILED_PRECONDITION;
    f->edge.reason = R(TOO_LARGE);
    (void)pthread_mutex_unlock(&f->edge.lock);
    for (size_t i = 0; i < ASKED; i++) {
        fds[i] = api_send(f->dash, ALL_SCOPES, "POST /v1/vms", "", SPEC);
    }
    /* those that were shed are answered while the others wait */
    for (size_t i = 0; i < ASKED && shed < 12; i++) {
        size_t last = ASKED - 1 - i;
        struct answer answer = api_answer(fds[last]);
        check_error("shed", &answer, 503, "OVERLOADED", "");
        assert_non_null(strstr(answer.head, "Retry-After: 1\r\n"));
        answer_fini(&answer);
        fds[last] = -1;
        shed++;
    }
    (void)pthread_mutex_lock(&f->edge.lock);
    f->edge.parking = false;
    (void)pthread_cond_broadcast(&f->edge.changed);
    (void)pthread_mutex_unlock(&f->edge.lock);
    for (size_t i = 0; i < ASKED; i++) {
        if (fds[i] < 0) {
            continue;
        }
        struct answer answer = api_answer(fds[i]);
        if (answer.status == 409) {
            ok++;
        } else {
            check_error("shed", &answer, 503, "OVERLOADED", "");
            shed++;
        }
        answer_fini(&answer);
    }
    assert_true(ok >= 256 && ok <= 260);
    assert_int_equal(ok + shed, ASKED);
    assert_true(f->edge.hellos <= 4); /* a session for each thread, all of the one token */
}

/* Different ones, each with scope read. */
static void token_make(unsigned n, char out[static 64])
{
    static const char *const others[] = {"regions", "launch", "destroy", "watch", "admin"};

    (void)snprintf(out, 64, "%s", n < 32 ? "read" : "");
    for (unsigned i = 0; i < 5; i++) {
        if (((n + 1) >> i & 1) != 0) {
            (void)snprintf(out + strlen(out), 64 - strlen(out), "%s%s", out[0] != '\0' ? "+" : "",
                           others[i]);
        }
    }
    (void)snprintf(out + strlen(out), 64 - strlen(out), "%s", n < 32 ? "" : "+read");
}

/* Sessions are kept for 32 tokens; the one unused longest goes. */
static void test_sessions(void **state)
{
    struct fixture *f = *state;
    static const struct {
        unsigned from;
        unsigned to;
        unsigned hellos; /* ever, afterwards */
    } rows[] = {{0, 40, 40}, {8, 40, 40}, {0, 1, 41}, {9, 40, 41}, {0, 1, 41}, {8, 9, 42}};
    char token[64];

    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        for (unsigned n = rows[i].from; n < rows[i].to; n++) {
            token_make(n, token);
            struct answer answer = api_ask(f->dash, token, "GET /v1/vms", "", "");
            assert_int_equal(answer.status, 200);
            answer_fini(&answer);
        }
        if (f->edge.hellos != rows[i].hellos) {
            fail_msg("row %zu: %u hellos", i, f->edge.hellos);
        }
    }
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(test_strict),      WITH_FIXTURE(test_regions),
        WITH_FIXTURE(test_machines),    WITH_FIXTURE(test_members),
        WITH_FIXTURE(test_life),        WITH_FIXTURE(test_refusals),
        WITH_FIXTURE(test_unknown),     WITH_FIXTURE(test_stop),
        WITH_FIXTURE(test_near),        WITH_FIXTURE(test_near_again),
        cmocka_unit_test(test_no_edge), WITH_FIXTURE(test_near_nowhere),
        WITH_FIXTURE(test_autospawn),   WITH_FIXTURE(test_rate),
        WITH_FIXTURE(test_cap),         WITH_FIXTURE(test_overload),
        WITH_FIXTURE(test_sessions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
