/* config: flag > environment > file > default, and what is wrong is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "node/config.h"

static void write_file(const char *dir, const char *text)
{
    char path[512];

    (void)snprintf(path, sizeof path, "%s/flylight/flynode.json", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void make_home(char *dir, size_t size)
{
    char path[512];

    (void)snprintf(dir, size, "%s/test-config-XXXXXX", FLY_BINARY);
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/flylight", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(setenv("XDG_CONFIG_HOME", dir, 1), 0);
}

static void test_precedence(void **state)
{
    char dir[256];
    struct node_config c;
    struct fly_error error;

    (void)state;
    make_home(dir, sizeof dir);
    assert_int_equal(config_load(&c, &error), FLY_OK);
    assert_string_equal(c.rpc, "tcp://127.0.0.1:7401");
    write_file(dir, "{\"rpc\": \"tcp://127.0.0.1:1\", \"state\": \"/from/file\"}");
    assert_int_equal(config_load(&c, &error), FLY_OK);
    assert_string_equal(c.rpc, "tcp://127.0.0.1:1");
    assert_int_equal(setenv("FLYNODE_RPC", "tcp://127.0.0.1:2", 1), 0);
    assert_int_equal(config_load(&c, &error), FLY_OK);
    assert_string_equal(c.rpc, "tcp://127.0.0.1:2");
    assert_string_equal(c.state, "/from/file");
    assert_int_equal(config_set(&c, "rpc", "tcp://127.0.0.1:3", &error), FLY_OK);
    assert_string_equal(c.rpc, "tcp://127.0.0.1:3");
    assert_int_equal(unsetenv("FLYNODE_RPC"), 0);
}

static void test_bad_files(void **state)
{
    static const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"{\"rcp\": \"x\"}", "unknown setting 'rcp'"},
        {"{\"rpc\": 7}", "rpc is not a string"},
        {"{\"rpc\": \"a\", \"rpc\": \"b\"}", "duplicate"},
        {"[]", "not a JSON object"},
        {"{\"rpc\": ", "flynode.json:1"},
    };
    char dir[256];
    struct node_config c;
    struct fly_error error;

    (void)state;
    make_home(dir, sizeof dir);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_file(dir, rows[i].text);
        assert_int_equal(config_load(&c, &error), FLY_INVALID_ARGUMENT);
        assert_non_null(strstr(error.text, "flynode.json"));
        if (strstr(error.text, rows[i].says) == NULL) {
            fail_msg("'%s' does not say '%s'", error.text, rows[i].says);
        }
    }
}

static void test_values(void **state)
{
    static const struct {
        const char *key;
        const char *value;
        bool good;
    } rows[] = {
        {"rpc", "tcp://127.0.0.1:7401", true},
        {"rpc", "tcp://[::1]:7401", true},
        {"rpc", "tcp://192.168.1.7:7401", false},
        {"rpc", "tcp://0.0.0.0:7401", false},
        {"rpc", "ipc:///tmp/x", true},
        {"log-level", "loud", false},
        {"log-level", "debug", true},
        {"log-format", "xml", false},
        {"log-format", "json", true},
    };
    char dir[256];
    struct node_config c;
    struct config_http http;
    struct fly_error error;

    (void)state;
    make_home(dir, sizeof dir);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(config_load(&c, &error), FLY_OK);
        assert_int_equal(config_set(&c, rows[i].key, rows[i].value, &error), FLY_OK);
        if ((config_check(&c, &http, &error) == FLY_OK) != rows[i].good) {
            fail_msg("%s %s", rows[i].key, rows[i].value);
        }
    }
    char long_value[CONFIG_TEXT_SIZE + 1];
    memset(long_value, 'a', sizeof long_value);
    long_value[CONFIG_TEXT_SIZE] = '\0';
    assert_int_equal(config_set(&c, "state", long_value, &error), FLY_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
