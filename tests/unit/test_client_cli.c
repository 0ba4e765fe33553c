/*
 * The program flyrpc against a scripted edge: what it prints and exits with when the outcome of a
 * launch is not known, and that the command it prints settles it.
 */
#include "tests/unit/edge_fixture.h"

#include "tests/unit/flyrpc_fixture.h"

#include <jansson.h>

/* Silent once, then OK: 75 and a command; the command, pasted: 0 and the same key. */
static void test_unknown_then_settled(void **state)
{
    static const struct act acts[] = {{.kind = ACT_SILENT}, {.kind = ACT_OK}};
    static struct edge edge;
    char output[OUTPUT_SIZE];
    char command[512];
    char key[FLY_KEY_TEXT_SIZE];

    (void)state;
    edge_start(&edge, acts, FLY_ARRAY_COUNT(acts));
    int code =
        flyrpc(edge.url, "flyrpc launch --region sin --memory 6 --cores 4 --timeout 200ms", output);
    if (code != 75) {
        fail_msg("exit code %d (is flyrpc built?): %s", code, output);
    }
    assert_non_null(strstr(output, "the outcome is not known"));
    const char *line = strstr(output, "  flyrpc launch --region SIN --memory 6 --cores 4 ");
    assert_non_null(line);
    (void)snprintf(command, sizeof command, "%.*s", (int)strcspn(line, "\n"), line);
    (void)pthread_mutex_lock(&edge.lock);
    assert_int_equal(edge.at, 1);
    key_format(&edge.keys[0], key);
    (void)pthread_mutex_unlock(&edge.lock);
    assert_non_null(strstr(command, key));

    assert_int_equal(flyrpc(edge.url, command, output), 0);
    assert_non_null(strstr(output, "0123456789ab"));
    (void)pthread_mutex_lock(&edge.lock);
    assert_int_equal(edge.at, 2);
    assert_true(key_equal(&edge.keys[0], &edge.keys[1]));
    (void)pthread_mutex_unlock(&edge.lock);
    edge_stop(&edge);
}

static void test_json_says_it_too(void **state)
{
    static const struct act acts[] = {
        {.kind = ACT_REFUSE,
         .status = FLY_UNAVAILABLE,
         .reason = R(OUTCOME_UNKNOWN),
         .retryable = true},
    };
    static struct edge edge;
    char output[OUTPUT_SIZE];

    (void)state;
    edge_start(&edge, acts, FLY_ARRAY_COUNT(acts));
    assert_int_equal(flyrpc(edge.url,
                            "flyrpc launch --json --region SIN --memory 6 --cores 4 --key order-1 "
                            "--timeout 200ms 2>/dev/null",
                            output),
                     75);
    json_t *root = json_loads(output, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    json_t *error = json_object_get(root, "error");
    assert_string_equal(json_string_value(json_object_get(error, "reason")), "OUTCOME_UNKNOWN");
    assert_true(json_is_true(json_object_get(error, "retryable")));
    json_decref(root);
    edge_stop(&edge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_then_settled),
        cmocka_unit_test(test_json_says_it_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
