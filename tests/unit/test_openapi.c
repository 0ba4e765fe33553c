/*
 * openapi: docs/openapi.json against the code. Every path, method, operationId and scope both ways;
 * and what the handlers really answer, against the schemas that the file names for them.
 */
#include "dash/api.h"
#include "tests/unit/api_fixture.h"

/* The server's own; it answers them before the api is asked. */
static const struct api_route server_routes[] = {
    {HTTP_GET, "/v1/session", 0, "getSession"},
    {HTTP_POST, "/v1/session", 0, "signIn"},
    {HTTP_DELETE, "/v1/session", 0, "signOut"},
    {HTTP_GET, "/v1/fleet", TOKEN_SCOPE_READ, "getFleet"},
    {HTTP_GET, "/v1/live", TOKEN_SCOPE_READ, "getLive"},
    {HTTP_OTHER, NULL, 0, NULL},
};

static json_t *load(void)
{
    json_error_t error;
    json_t *doc = json_load_file(FLY_SOURCE "/docs/openapi.json", JSON_REJECT_DUPLICATES, &error);

    if (doc == NULL) {
        fail_msg("docs/openapi.json:%d: %s", error.line, error.text);
    }
    return doc;
}

static const char *method_of(enum http_method method)
{
    return method == HTTP_GET ? "get" : method == HTTP_POST ? "post" : "delete";
}

static const json_t *operation_of(const json_t *doc, const struct api_route *route)
{
    return json_object_get(json_object_get(json_object_get(doc, "paths"), route->path),
                           method_of(route->method));
}

/* Follows one "$ref" of this file. */
static const json_t *follow(const json_t *doc, const json_t *at)
{
    const char *ref = json_string_value(json_object_get(at, "$ref"));
    char part[64];

    if (ref == NULL) {
        return at;
    }
    assert_int_equal(strncmp(ref, "#/", 2), 0);
    at = doc;
    for (ref += 2; *ref != '\0';) {
        size_t size = strcspn(ref, "/");
        (void)snprintf(part, sizeof part, "%.*s", (int)size, ref);
        at = json_object_get(at, part);
        ref += size + (ref[size] == '/' ? 1 : 0);
    }
    assert_non_null(at);
    return at;
}

static size_t check_routes(const json_t *doc, const struct api_route *routes)
{
    size_t count = 0;

    for (const struct api_route *r = routes; r->path != NULL; r++, count++) {
        const json_t *operation = operation_of(doc, r);
        char scope[TOKEN_SCOPES_TEXT_SIZE];
        if (operation == NULL) {
            fail_msg("%s %s is not in docs/openapi.json", method_of(r->method), r->path);
        }
        assert_string_equal(json_string_value(json_object_get(operation, "operationId")),
                            r->operation);
        token_scopes_format(r->scope, ' ', scope);
        const char *told = json_string_value(json_object_get(operation, "x-scope"));
        assert_string_equal(told != NULL ? told : "", scope);
        assert_non_null(json_object_get(json_object_get(operation, "responses"),
                                        r->scope != 0 ? "403" : "401"));
    }
    return count;
}

static void test_routes(void **state)
{
    json_t *doc = load();
    size_t known = check_routes(doc, api_routes) + check_routes(doc, server_routes);
    size_t told = 0;
    const char *path = NULL;
    json_t *item = NULL;

    (void)state;
    json_object_foreach(json_object_get(doc, "paths"), path, item)
    {
        told += json_object_size(item);
    }
    assert_int_equal(told, known); /* each of ours is there, so none is there that is not ours */
    json_decref(doc);
}

static void check_refs(const json_t *doc, const json_t *at)
{
    const char *name = NULL;
    json_t *value = NULL;
    size_t i = 0;

    if (json_is_object(at)) {
        (void)follow(doc, at);
        json_object_foreach((json_t *)(uintptr_t)at, name, value)
        {
            check_refs(doc, value);
        }
    }
    json_array_foreach(at, i, value)
    {
        check_refs(doc, value);
    }
}

static bool is_type(const json_t *value, const char *type)
{
    return strcmp(type, "object") == 0    ? json_is_object(value)
           : strcmp(type, "array") == 0   ? json_is_array(value)
           : strcmp(type, "string") == 0  ? json_is_string(value)
           : strcmp(type, "integer") == 0 ? json_is_integer(value)
           : strcmp(type, "number") == 0  ? json_is_number(value)
           : strcmp(type, "boolean") == 0 ? json_is_boolean(value)
                                          : strcmp(type, "null") == 0 && json_is_null(value);
}

static void check_type(const json_t *schema, const json_t *value, const char *where)
{
    const json_t *types = json_object_get(schema, "type");
    bool good = json_is_string(types) && is_type(value, json_string_value(types));

    for (size_t i = 0; i < json_array_size(types); i++) {
        good = good || is_type(value, json_string_value(json_array_get(types, i)));
    }
    if (!good) {
        fail_msg("%s is of another type", where);
    }
    const json_t *words = json_object_get(schema, "enum");
    for (size_t i = 0; words != NULL && i <= json_array_size(words); i++) {
        if (i == json_array_size(words)) {
            fail_msg("%s: '%s' is none of the words", where, json_string_value(value));
        }
        if (json_equal(json_array_get(words, i), value)) {
            break;
        }
    }
}

/* Required keys are there, others are known, types fit; all the way down. */
static void check_value(const json_t *doc, const json_t *schema, json_t *value, const char *where)
{
    const char *name = NULL;
    json_t *part = NULL;
    size_t i = 0;
    char deeper[256];

    schema = follow(doc, schema);
    check_type(schema, value, where);
    json_array_foreach(json_object_get(schema, "required"), i, part)
    {
        if (json_object_get(value, json_string_value(part)) == NULL) {
            fail_msg("%s has no %s", where, json_string_value(part));
        }
    }
    if (json_is_object(value)) {
        json_object_foreach(value, name, part)
        {
            const json_t *known = json_object_get(json_object_get(schema, "properties"), name);
            (void)snprintf(deeper, sizeof deeper, "%s.%s", where, name);
            if (known == NULL) {
                fail_msg("%s is not in the schema", deeper);
            }
            check_value(doc, known, part, deeper);
        }
    }
    json_array_foreach(value, i, part)
    {
        (void)snprintf(deeper, sizeof deeper, "%s[]", where);
        check_value(doc, json_object_get(schema, "items"), part, deeper);
    }
}

struct sample {
    const char *path; /* of the document */
    enum http_method method;
    const char *line;
    const char *body;
    const char *status;
};

static const struct sample samples[] = {
    {"/v1/regions", HTTP_GET, "GET /v1/regions", "", "200"},
    {"/v1/regions", HTTP_GET, "GET /v1/regions?x", "", "400"},
    {"/v1/machines", HTTP_GET, "GET /v1/machines?limit=2", "", "200"},
    {"/v1/machines", HTTP_GET, "GET /v1/machines", "", "200"},
    {"/v1/machines", HTTP_GET, "GET /v1/machines?region=ZZZ", "", "404"},
    {"/v1/vms", HTTP_POST, "POST /v1/vms", "{\"region\":\"SIN\",\"cores\":1,\"memory\":1000000}",
     "201"},
    {"/v1/vms", HTTP_POST, "POST /v1/vms", "{\"region\":\"near\",\"cores\":1,\"memory\":1000000}",
     "201"},
    {"/v1/vms", HTTP_POST, "POST /v1/vms", "{", "400"},
    {"/v1/vms", HTTP_GET, "GET /v1/vms?limit=1", "", "200"},
    {"/v1/vms", HTTP_GET, "GET /v1/vms", "", "200"},
    {"/v1/vms/{id}", HTTP_GET, "GET /v1/vms/%s", "", "200"},
    {"/v1/vms/{id}", HTTP_GET, "GET /v1/vms/zzzz", "", "404"},
    {"/v1/vms/{id}", HTTP_DELETE, "DELETE /v1/vms/%s", "", "200"},
    {"/v1/vms/{id}", HTTP_GET, "GET /v1/vms/%s", "", "200"},
    {"/v1/members", HTTP_GET, "GET /v1/members", "", "200"},
    {"/v1/limits", HTTP_GET, "GET /v1/limits", "", "200"},
    {"/v1/session", HTTP_GET, "GET /v1/session", "", "200"},
};

static void test_answers(void **state)
{
    static const struct dash_member member = {
        .name = "a", .roles = "peer", .state = "alive", .slice_count = 1, .slices = {{0xa1, 7}}};
    static struct api_edge edge;
    const struct dash_config limits = {.vms_max = 60};
    json_t *doc = load();
    char line[128];

    (void)state;
    check_refs(doc, doc);
    edge_open(&edge);
    struct dash *dash = api_dash(&edge, &limits);
    dash_set_members(dash, &member, 1);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(samples); i++) {
        const struct sample *s = &samples[i];
        const char *hole = strstr(s->line, "%s");
        (void)snprintf(line, sizeof line, "%.*s%s", (int)(hole != NULL ? hole - s->line : 100),
                       s->line, hole != NULL ? edge.vms[0].id : "");
        struct answer answer = api_ask(dash, ALL_SCOPES, line, "", s->body);
        if (answer.status != strtoul(s->status, NULL, 10)) {
            fail_msg("%s: %u", line, answer.status);
        }
        const json_t *operation =
            operation_of(doc, &(struct api_route){.method = s->method, .path = s->path});
        const json_t *response =
            follow(doc, json_object_get(json_object_get(operation, "responses"), s->status));
        const json_t *content =
            json_object_get(json_object_get(response, "content"), "application/json");
        assert_non_null(content);
        assert_non_null(answer.body);
        check_value(doc, json_object_get(content, "schema"), answer.body, line);
        answer_fini(&answer);
    }
    dash_destroy(dash);
    edge_close(&edge);
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
