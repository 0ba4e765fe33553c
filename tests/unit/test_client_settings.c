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
        {"{\"adr\": \"h\"}", "c: 'adr' is not a setting (addr, token, token_file, ca)"},
        {"{\"addr\": 7401}", "c: addr: is not a text of 1 to 2047 bytes, or a list of such"},
        {"{\"edge\": [\"h:1\", \"g:2\"], \"ca\": \"/c\"}", NULL},
        {"{\"addr\": []}", "c: addr: is not a text"},
        {"{\"addr\": [\"h\", 1]}", "c: addr: is not a text"},
        {"{\"addr\": \"h\", \"edge\": \"g\"}", "c: addr and edge are one setting"},
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
            if (strstr(cases[i].text, "edge") != NULL) {
                assert_string_equal(settings.addr, "h:1,g:2");
            }
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
    assert_int_equal(unsetenv("FLYRPC_EDGE"), 0);
    assert_int_equal(unsetenv("FLYRPC_CA"), 0);
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

    assert_int_equal(setenv("FLYRPC_EDGE", "environment:1", 1), 0);
    assert_int_equal(setenv("FLYRPC_CA", "/ca.pem", 1), 0);
    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_OK);
    assert_string_equal(out.ca, "/ca.pem");
    assert_int_equal(setenv("FLYRPC_EDGE", "other:1", 1), 0);
    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_INVALID_ARGUMENT);
    assert_int_equal(unsetenv("FLYRPC_ADDR"), 0);
    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_OK);
    assert_string_equal(out.addr, "other:1");

    assert_true(settings_add_addr(&flags, "flag:1"));
    assert_false(settings_add_addr(&flags, ""));
    assert_true(settings_add_addr(&flags, "flag:2"));
    (void)fly_copy_string(flags.token_file, sizeof flags.token_file, place->token);
    assert_int_equal(settings_resolve(&flags, &out, &error), FLY_OK);
    assert_string_equal(out.addr, "flag:1,flag:2");
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

static void test_ca_file(void **state)
{
    static const char pem[] = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";
    struct place *place = *state;
    static char text[SETTINGS_CA_MAX];
    static char large[SETTINGS_CA_MAX + 2];
    struct fly_error error = {0};

    assert_int_equal(settings_read_ca(place->token, text, &error), FLY_NOT_FOUND);
    write_file(place->token, "not a certificate");
    assert_int_equal(settings_read_ca(place->token, text, &error), FLY_INVALID_ARGUMENT);
    write_file(place->token, pem);
    assert_int_equal(settings_read_ca(place->token, text, &error), FLY_OK);
    assert_string_equal(text, pem);
    memset(large, 'a', sizeof large - 1);
    write_file(place->token, large);
    assert_int_equal(settings_read_ca(place->token, text, &error), FLY_INVALID_ARGUMENT);
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
        {"tls+tcp://10.0.0.1", "10.0.0.1", 7401},
        {"tls+tcp://", NULL, 0},
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

static void test_address_list(void **state)
{
    static const struct {
        const char *list;
        const char *parts; /* with | between; NULL: refused */
    } cases[] = {
        {"a", "a"},    {"a,b:2", "a|b:2"}, {" a , [::1]:3 ,", "a|[::1]:3"},
        {",,a", "a"},  {"", NULL},         {" , ", NULL},
        {"a b", NULL}, {"a,h:0", NULL},    {"a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", NULL},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        struct fly_error error = {0};
        char one[ADDRESS_URL_SIZE];
        char all[512] = "";
        const char *at = cases[i].list;
        size_t used = 0;
        enum fly_status status = address_list_check(cases[i].list, &error);
        assert_int_equal(status, cases[i].parts != NULL ? FLY_OK : FLY_INVALID_ARGUMENT);
        while (cases[i].parts != NULL && address_next(&at, one)) {
            used +=
                (size_t)snprintf(all + used, sizeof all - used, "%s%s", used > 0 ? "|" : "", one);
        }
        assert_string_equal(all, cases[i].parts != NULL ? cases[i].parts : "");
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
    /* in the clear only on this machine, or if somebody wrote so */
    assert_int_equal(address_resolve("10.0.0.1", urls, &count, &error), FLY_OK);
    assert_string_equal(urls[0], "tls+tcp://10.0.0.1:7401");
    assert_int_equal(address_resolve("[2001:db8::1]:9", urls, &count, &error), FLY_OK);
    assert_string_equal(urls[0], "tls+tcp://[2001:db8::1]:9");
    assert_int_equal(address_resolve("tcp://10.0.0.1:1", urls, &count, &error), FLY_OK);
    assert_string_equal(urls[0], "tcp://10.0.0.1:1");
    assert_int_equal(address_resolve("tls+tcp://127.0.0.1:1", urls, &count, &error), FLY_OK);
    assert_string_equal(urls[0], "tls+tcp://127.0.0.1:1");
    assert_true(address_url_tls("tls+tcp://h") && !address_url_tls("tcp://h"));
    assert_true(address_url_loopback("tcp://127.9.9.9:1") && address_url_loopback("ipc:///x"));
    assert_true(address_url_loopback("tls+tcp://[::1]:1"));
    assert_false(address_url_loopback("tcp://10.0.0.127:1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_text),
        cmocka_unit_test_setup_teardown(test_precedence, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_token_file, make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_ca_file, make_place, drop_place),
        cmocka_unit_test(test_address),
        cmocka_unit_test(test_address_list),
        cmocka_unit_test(test_address_urls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
