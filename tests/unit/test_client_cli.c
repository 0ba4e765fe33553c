/*
 * The program flyrpc against a scripted edge: what it prints and exits with when the outcome of a
 * launch is not known, and that the command it prints settles it.
 */
#include "tests/unit/edge_fixture.h"

#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_SIZE = 8192 };

/* Runs a shell command, as a person would paste it; its stdout goes to `output`. Exit code. */
static int run(const char *command, char output[static OUTPUT_SIZE])
{
    char *const argv[] = {"/bin/sh", "-c", (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child = 0;
    int ends[2];
    int status = 0;
    size_t size = 0;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO), 0);
    assert_int_equal(posix_spawn(&child, argv[0], &actions, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    for (ssize_t got = 1; got > 0 && size<OUTPUT_SIZE - 1; size += got> 0 ? (size_t)got : 0) {
        got = read(ends[0], output + size, OUTPUT_SIZE - 1 - size);
    }
    output[size] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int flyrpc(const char *url, const char *arguments, char output[static OUTPUT_SIZE])
{
    char command[1024];

    (void)snprintf(command, sizeof command,
                   "PATH=%s/bin:$PATH FLYRPC_ADDR=%s FLYRPC_TOKEN= XDG_CONFIG_HOME=/nowhere "
                   "sh -c '%s' 2>&1",
                   FLY_BINARY, url, arguments);
    return run(command, output);
}

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
