/* settings and address: where a client finds its edge and its token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/lib/address.h"
#include "client/lib/settings.h"
#include "proto/base/check.h"

static void test_config_text(void **state)
{
    static const struct {
        const char *text;
        const char *error; /* NULL: good */
    } cases[] = {
        {"{}", NULL},
        {"{\"addr\": \"h:1\", \"token_file\": \"/t\"}", NULL},
        {"", "c:1:0: is not JSON"},
        {"[]", "c: is not a JSON object"},
        {"{\"addr\": \"h\", \"addr\": \"g\"}", "c:1:20: is not JSON"},
        {"{\"adr\": \"h\"}", "c: 'adr' is not a setting (addr, token, token_file)"},
        {"{\"addr\": 7401}", "c: addr: is not a text of 1 to 255 bytes"},
        {"{\"token\": \"\"}", "c: token: is not a text of 1 to 4095 bytes"},
        {"{\"addr\": \"a\\u0000b\"}", "c:1:"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        struct settings settings = {.addr = "before"};
        struct fly_error error = {0};
        struct fly_bytes bytes = {(const uint8_t *)cases[i].text, strlen(cases[i].text)};
        enum fly_status status = settings_parse(bytes, "c", &settings, &error);
        if (cases[i].error == NULL) {
            assert_int_equal(status, FLY_OK);
            continue;
        }
        assert_int_equal(status, FLY_INVALID_ARGUMENT);
        if (strncmp(error.text, cases[i].error, strlen(cases[i].error)) != 0) {
            fail_msg("%s: '%s'", cases[i].text, error.text);
        }
        assert_string_equal(settings.addr, "before");
    }
}

struct place {
    char dir[64];
    char config[128];
    char token[128];
};

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int make_place(void **state)
{
    static struct place place;
    char path[128];

    (void)snprintf(place.dir, sizeof place.dir, "/tmp/flyrpc-test-XXXXXX");
    assert_non_null(mkdtemp(place.dir));
    (void)snprintf(path, sizeof path, "%s/flylight", place.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(place.config, sizeof place.config, "%s/flylight/flyrpc.json", place.dir);
    (void)snprintf(place.token, sizeof place.token, "%s/token", place.dir);
    assert_int_equal(setenv("XDG_CONFIG_HOME", place.dir, 1), 0);
    assert_int_equal(unsetenv("FLYRPC_ADDR"), 0);
    assert_int_equal(unsetenv("FLYRPC_TOKEN"), 0);
    *state = &place;
    return 0;
}

static int drop_place(void **state)
{
    struct place *place = *state;
    char path[128];

    (void)unlink(place->config);
    (void)unlink(place->token);
    (void)snprintf(path, sizeof path, "%s/flylight", place->dir);
    (void)rmdir(path);
    return rmdir(place->dir);
}

static void test_precedence(void **state)
{
    struct place *place = *state;
    struct settings flags = {.addr = ""};
    struct settings out;
    struct fly_error error = {0};
    char text[256];

    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_OK);
    assert_string_equal(out.addr, SETTINGS_ADDR_DEFAULT);
    assert_string_equal(out.token, "");

    write_file(place->token, "\n  from-file \n");
    (void)snprintf(text, sizeof text, "{\"addr\": \"config:1\", \"token_file\": \"%s\"}",
                   place->token);
    write_file(place->config, text);
    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_OK);
    assert_string_equal(out.addr, "config:1");
    assert_string_equal(out.token, "from-file");

    assert_int_equal(setenv("FLYRPC_ADDR", "environment:1", 1), 0);
    assert_int_equal(setenv("FLYRPC_TOKEN", "from-environment", 1), 0);
    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_OK);
    assert_string_equal(out.addr, "environment:1");
    assert_string_equal(out.token, "from-environment");

    (void)fly_copy_string(flags.addr, sizeof flags.addr, "flag:1");
    (void)fly_copy_string(flags.token_file, sizeof flags.token_file, place->token);
    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_OK);
    assert_string_equal(out.addr, "flag:1");
    assert_string_equal(out.token, "from-file");

    (void)fly_copy_string(flags.token, sizeof flags.token, "from-flag");
    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_INVALID_ARGUMENT);
}

static void test_token_file(void **state)
{
    struct place *place = *state;
    struct settings flags = {.addr = ""};
    struct settings out;
    struct fly_error error = {0};

    (void)fly_copy_string(flags.token_file, sizeof flags.token_file, place->token);
    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_NOT_FOUND);
    write_file(place->token, "secret two");
    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_INVALID_ARGUMENT);
    assert_null(strstr(error.text, "secret"));
    write_file(place->token, " \n");
    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_INVALID_ARGUMENT);
    write_file(place->config, "{\"token\": 1}");
    assert_int_equal(settings_resolve(&(struct settings){.addr = ""}, &out, &error),
                     FLY_INVALID_ARGUMENT);
}

static void test_address(void **state)
{
    static const struct {
        const char *text;
        const char *host; /* NULL: refused */
        unsigned port;
    } cases[] = {
        {"localhost", "localhost", 7401},
        {"10.0.0.1:80", "10.0.0.1", 80},
        {"tcp://10.0.0.1:7401", "10.0.0.1", 7401},
        {"[::1]:7401", "::1", 7401},
        {"tcp://[fe80::1]", "fe80::1", 7401},
        {"::1", "::1", 7401},
        {"ipc:///run/fly.sock", "ipc:///run/fly.sock", 0},
        {"", NULL, 0},
        {"h:", NULL, 0},
        {"h:0", NULL, 0},
        {"h:65536", NULL, 0},
        {"h:7x", NULL, 0},
        {":7401", NULL, 0},
        {"[::1", NULL, 0},
        {"[::1]7", NULL, 0},
        {"http://h:1", NULL, 0},
        {"ipc://relative", NULL, 0},
        {"tcp://h/path", NULL, 0},
        {"h :1", NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        struct address_parts parts;
        struct fly_error error = {0};
        enum fly_status status = address_split(cases[i].text, &parts, &error);
        if ((status == FLY_OK) != (cases[i].host != NULL)) {
            fail_msg("'%s': %d %s", cases[i].text, (int)status, error.text);
        }
        if (cases[i].host != NULL) {
            assert_string_equal(parts.host, cases[i].host);
            assert_int_equal(parts.port, cases[i].port);
        }
    }
}

static void test_address_urls(void **state)
{
    char urls[ADDRESS_URLS_MAX][ADDRESS_URL_SIZE];
    struct fly_error error = {0};
    size_t count = 0;

    (void)state;
    assert_int_equal(address_resolve("127.0.0.1:7401", urls, &count, &error), FLY_OK);
    assert_int_equal(count, 1);
    assert_string_equal(urls[0], "tcp://127.0.0.1:7401");
    assert_int_equal(address_resolve("[::1]:99", urls, &count, &error), FLY_OK);
    assert_string_equal(urls[0], "tcp://[::1]:99");
    assert_int_equal(address_resolve("ipc:///run/x", urls, &count, &error), FLY_OK);
    assert_string_equal(urls[0], "ipc:///run/x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_text),
        cmocka_unit_test_setup_teardown(test_precedence, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_token_file, make_place, drop_place),
        cmocka_unit_test(test_address),
        cmocka_unit_test(test_address_urls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
