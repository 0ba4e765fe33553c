/*
 * Tests of the dash's HTTP: a real dash, and browsers that are bare sockets (dash_fixture.h).
 */
#include "tests/unit/dash_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <zlib.h>

static struct dash *dash;

static int setup(void **state)
{
    struct dash_config config = fixture_config();
    (void)state;
    dash = fixture_dash(&config);
    fixture_feed(dash, 100);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dash_destroy(dash);
    return 0;
}

static void test_security_headers(void **state)
{
    static const char *const paths[] = {"/", "/nothing.js", "/v1/session", "/v1/fleet", "/v1/x"};
    static const char *const names[][2] = {
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
    };
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(paths); i++) {
        struct answer a;
        char value[512];
        assert_true(dash_ask(dash, "GET", paths[i], "", NULL, &a) != 0);
        for (size_t n = 0; n < FLY_ARRAY_COUNT(names); n++) {
            answer_header(&a, names[n][0], value, sizeof value);
            assert_string_equal(value, names[n][1]);
        }
        answer_header(&a, "Content-Security-Policy", value, sizeof value);
        assert_non_null(
            strstr(value, "default-src 'self'; connect-src 'self'; img-src 'self' data:"));
        assert_non_null(strstr(value, "frame-ancestors 'none'; base-uri 'none'"));
        assert_null(strstr(value, "unsafe"));
        assert_null(strcasestr(a.head, "strict-transport"));
        assert_null(strcasestr(a.head, "server:"));
        free(a.body);
    }
}

static void test_sign_in(void **state)
{
    static const struct {
        const char *what;
        const char *body;
        unsigned status;
    } cases[] = {
        {"a token", "{\"token\":\"good\"}", 200},
        {"no token of ours", "{\"token\":\"bad\"}", 401},
        {"expired", "{\"token\":\"old\"}", 401},
        {"later", "{\"token\":\"busy\"}", 429},
        {"not JSON", "token=good", 400},
        {"nothing", "", 400},
        {"no token", "{}", 400},
        {"a number", "{\"token\":7}", 400},
        {"twice", "{\"token\":\"good\",\"token\":\"good\"}", 400},
        {"a list", "[\"good\"]", 400},
    };
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        struct answer a;
        unsigned status = dash_ask(dash, "POST", "/v1/session", "", cases[i].body, &a);
        if (status != cases[i].status) {
            fail_msg("%s: %u", cases[i].what, status);
        }
        char cookie[256];
        answer_header(&a, "Set-Cookie", cookie, sizeof cookie);
        assert_int_equal(cookie[0] != '\0', status == 200);
        if (status == 200) {
            assert_non_null(strstr((char *)a.body, "\"subject\":\"ada\",\"scopes\":[\"regions\","));
            assert_int_equal(strncmp(cookie, "flylight=", 9), 0);
            assert_string_equal(cookie + 9 + 43, "; HttpOnly; SameSite=Strict; Path=/");
        } else {
            assert_non_null(strstr((char *)a.body, "{\"error\":{\"code\":\""));
        }
        free(a.body);
    }
}

static void test_session_lives_and_ends(void **state)
{
    char cookie[256];
    char own[512];
    struct answer a;
    (void)state;
    dash_sign_in(dash, "good", cookie, sizeof cookie);
    snprintf(own, sizeof own, "%sOrigin: http://dash.test:7403\r\n", cookie);
    assert_int_equal(dash_ask(dash, "GET", "/v1/session", cookie, NULL, NULL), 200);
    assert_int_equal(dash_ask(dash, "GET", "/v1/fleet", cookie, NULL, NULL), 200);
    assert_int_equal(dash_ask(dash, "GET", "/v1/session", "", NULL, NULL), 401);
    assert_int_equal(dash_ask(dash, "GET", "/v1/session", "Cookie: flylight=AAAA\r\n", NULL, NULL),
                     401);
    assert_int_equal(dash_ask(dash, "DELETE", "/v1/session", cookie, NULL, NULL), 403);
    assert_int_equal(dash_ask(dash, "DELETE", "/v1/session", own, NULL, &a), 204);
    char gone[256];
    answer_header(&a, "Set-Cookie", gone, sizeof gone);
    assert_non_null(strstr(gone, "Max-Age=0"));
    free(a.body);
    assert_int_equal(dash_ask(dash, "GET", "/v1/session", cookie, NULL, NULL), 401);
    assert_int_equal(dash_ask(dash, "DELETE", "/v1/session", own, NULL, NULL), 401);
}

static void test_bearer(void **state)
{
    static const struct {
        const char *what;
        const char *header;
        unsigned status;
    } cases[] = {
        {"good", "Authorization: Bearer good\r\n", 200},
        {"any case of the scheme", "Authorization: bearer good\r\n", 200},
        {"bad", "Authorization: Bearer bad\r\n", 401},
        {"expired", "Authorization: Bearer old\r\n", 401},
        {"another scheme", "Authorization: Basic Z29vZA==\r\n", 401},
        {"later", "Authorization: Bearer busy\r\n", 429},
        {"without the scope", "Authorization: Bearer plain\r\n", 403},
        {"nobody", "", 401},
    };
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        unsigned status = dash_ask(dash, "GET", "/v1/fleet", cases[i].header, NULL, NULL);
        if (status != cases[i].status) {
            fail_msg("%s: %u", cases[i].what, status);
        }
    }
}

/* Cookie and Origin: who may change something, open a WebSocket, read. */
static void test_origin_matrix(void **state)
{
    static const struct {
        const char *what;
        const char *origin;
        bool own;
    } cases[] = {
        {"own", "Origin: http://dash.test:7403\r\n", true},
        {"own, behind a proxy with TLS", "Origin: https://dash.test:7403\r\n", true},
        {"own, in capitals", "Origin: http://DASH.test:7403\r\n", true},
        {"none", "", false},
        {"null", "Origin: null\r\n", false},
        {"another host", "Origin: http://evil.test:7403\r\n", false},
        {"another port", "Origin: http://dash.test:80\r\n", false},
        {"no port", "Origin: http://dash.test\r\n", false},
        {"a longer name", "Origin: http://dash.test:74031\r\n", false},
        {"a name before it", "Origin: http://evil-dash.test:7403\r\n", false},
        {"another scheme", "Origin: ftp://dash.test:7403\r\n", false},
    };
    char cookie[256];
    (void)state;
    dash_sign_in(dash, "good", cookie, sizeof cookie);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        char headers[512];
        snprintf(headers, sizeof headers, "%s%s", cookie, cases[i].origin);
        unsigned read = dash_ask(dash, "GET", "/v1/fleet", headers, NULL, NULL);
        unsigned change = dash_ask(dash, "POST", "/v1/nothing", headers, "{}", NULL);
        struct browser b = browser_dial(dash, 0);
        unsigned live = browser_upgrade(&b, "/v1/live", headers);
        browser_hang_up(&b);
        if (read != 200 || change != (cases[i].own ? 404 : 403) ||
            live != (cases[i].own ? 101 : 403)) {
            fail_msg("%s: read %u, change %u, live %u", cases[i].what, read, change, live);
        }
        /* With a bearer token nobody's browser was made to ask. */
        snprintf(headers, sizeof headers, "Authorization: Bearer good\r\n%s", cases[i].origin);
        assert_int_equal(dash_ask(dash, "POST", "/v1/nothing", headers, "{}", NULL), 404);
        /* Nobody signs somebody else in. */
        unsigned in =
            dash_ask(dash, "POST", "/v1/session", cases[i].origin, "{\"token\":\"good\"}", NULL);
        assert_int_equal(in, cases[i].own || cases[i].origin[0] == '\0' ? 200 : 403);
    }
}

static void test_attempts_are_limited(void **state)
{
    unsigned refused = 0;
    (void)state;
    for (int i = 0; i < 21; i++) {
        refused = dash_ask(dash, "POST", "/v1/session", "", "{\"token\":\"bad\"}", NULL);
    }
    assert_int_equal(refused, 429);
    assert_int_equal(dash_ask(dash, "POST", "/v1/session", "", "{\"token\":\"good\"}", NULL), 429);
    /* who is in stays in */
    assert_int_equal(
        dash_ask(dash, "GET", "/v1/fleet", "Authorization: Bearer good\r\n", NULL, NULL), 200);
}

static void test_requests_that_are_refused(void **state)
{
    static char long_path[700];
    static char long_query[2600];
    static char long_body[16 * 1024 + 2];
    static const char *const good = "Authorization: Bearer good\r\n";
    (void)state;
    memset(long_path, 'a', sizeof long_path - 1);
    long_path[0] = '/';
    memset(long_query, 'a', sizeof long_query - 1);
    memcpy(long_query, "/v1/vms?after=", 14);
    memset(long_body, ' ', sizeof long_body - 1);
    assert_int_equal(dash_ask(dash, "GET", long_path, good, NULL, NULL), 414);
    assert_int_equal(dash_ask(dash, "GET", long_query, good, NULL, NULL), 414);
    assert_int_equal(dash_ask(dash, "POST", "/v1/session", "", long_body, NULL), 413);
    assert_int_equal(dash_ask(dash, "POST", "/v1/session",
                              "Content-Length: 99999999999999999999\r\n", NULL, NULL),
                     413);
    assert_int_equal(dash_ask(dash, "POST", "/v1/session", "Content-Length: -1\r\n", NULL, NULL),
                     400);
    assert_int_equal(dash_ask(dash, "POST", "/v1/session", "", NULL, NULL), 411);
    assert_int_equal(
        dash_ask(dash, "POST", "/v1/session", "Transfer-Encoding: chunked\r\n", NULL, NULL), 411);
    assert_int_equal(dash_ask(dash, "PUT", "/v1/session", good, NULL, NULL), 405);
    assert_int_equal(dash_ask(dash, "OPTIONS", "/v1/session", good, NULL, NULL), 405);
    assert_int_equal(dash_ask(dash, "GET", "/v1/nothing", good, NULL, NULL), 404);
    assert_int_equal(dash_ask(dash, "GET", "/v1/live", good, NULL, NULL), 426);
    assert_int_equal(dash_ask(dash, "GET", "/v1/", "", NULL, NULL), 401);
    /* as large as a body may be */
    long_body[16 * 1024] = '\0';
    assert_int_equal(dash_ask(dash, "POST", "/v1/session", "", long_body, NULL), 400);
}

/* An answer ends its connection, whatever stands behind its request. */
static void test_one_request_a_connection(void **state)
{
    static const char three[] = "GET /v1/session HTTP/1.1\r\nHost: a\r\n\r\n"
                                "GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
                                "GET /v1/session HTTP/1.1\r\nHost: a\r\n\r\n";
    struct browser b = browser_dial(dash, 0);
    struct answer a;
    (void)state;
    browser_send(&b, three, sizeof three - 1);
    assert_true(browser_answer(&b, true, &a));
    assert_int_equal(a.status, 401);
    assert_non_null(strstr(a.head, "\r\nConnection: close\r\n"));
    free(a.body);
    assert_false(browser_answer(&b, true, &a));
    browser_hang_up(&b);
}

/* What comes behind a request that is answered later waits for that answer, or ends the connection;
 * nothing is answered twice. */
static void test_behind_one_that_waits(void **state)
{
#define LAUNCH                                                                                     \
    "POST /v1/vms HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nContent-Length: 43\r\n\r\n" \
    "{\"region\":\"AMS\",\"cores\":1,\"memory\":1000000}"
    static const struct {
        const char *text;
        bool answered;
    } texts[] = {
        {LAUNCH, true},
        {LAUNCH "GET /v1/session HTTP/1.1\r\nHost: a\r\n\r\n", false},
        {LAUNCH LAUNCH LAUNCH, false},
        {LAUNCH "}}}}}}}}}}}}}}}}}}}}}}}}", false},
        {LAUNCH "\r\n\r\n", false},
        {"GET /v1/vms HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n" LAUNCH, true},
        {"GET /v1/vms HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nContent-Length: 2\r\n"
         "\r\n{}" LAUNCH,
         false},
        {"DELETE /v1/vms/abc HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n"
         "Content-Length: 0\r\n\r\nxxxx",
         true},
    };
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(texts); i++) {
        struct browser b = browser_dial(dash, 0);
        struct answer a;
        browser_send(&b, texts[i].text, strlen(texts[i].text));
        if (texts[i].answered) {
            assert_true(browser_answer(&b, true, &a));
            assert_int_equal(a.status, 503);
            free(a.body);
        } else {
            while (browser_read(&b)) { /* until it ends */
            }
        }
        browser_hang_up(&b);
    }
    assert_int_equal(dash_ask(dash, "GET", "/v1/session", "", NULL, NULL), 401);
#undef LAUNCH
}

/* A request that does not wait for the answer to one with a body ends the connection. Once it was
 * the end of the dash: libwebsockets went round for ever. */
static void test_behind_a_body(void **state)
{
#define POST                                                                                       \
    "POST /v1/session HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n{\"token\":\"good\"}"
#define GET "GET /v1/session HTTP/1.1\r\nHost: a\r\n\r\n"
    static const char *const texts[] = {POST POST, POST GET, GET POST, GET POST POST, POST "x"};
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(texts); i++) {
        struct browser b = browser_dial(dash, 0);
        browser_send(&b, texts[i], strlen(texts[i]));
        shutdown(b.fd, SHUT_WR);
        while (browser_read(&b)) {
        }
        browser_hang_up(&b);
        assert_int_equal(dash_ask(dash, "GET", "/v1/session", "", NULL, NULL), 401);
    }
#undef GET
#undef POST
}

/* A body that comes byte by byte. */
static void test_body_in_parts(void **state)
{
    static const char text[] = "POST /v1/session HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n"
                               "{\"token\":\"good\"}";
    struct browser b = browser_dial(dash, 0);
    struct answer a;
    (void)state;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        browser_send(&b, text + i, 1);
    }
    assert_true(browser_answer(&b, true, &a));
    assert_int_equal(a.status, 200);
    free(a.body);
    browser_hang_up(&b);
}

/* Whoever hangs up in the midst of something leaves nothing behind: ASan and dash_destroy see it.
 */
static void test_hang_ups(void **state)
{
    static const char *const parts[] = {
        "",
        "GET",
        "GET / HTTP/1.1\r\nHo",
        "GET /v1/session HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /v1/session HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n{\"tok",
        "GET /v1/live HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Authorization: Bearer good\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        "GET /v1/live HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Authorization: Bearer good\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET /%00%2e%2e/%zz?a=%&=&&&&=;;%%% HTTP/1.1\r\nHost: a\r\n\r\n",
        "BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://evil.test/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(parts); i++) {
        struct browser b = browser_dial(dash, 0);
        browser_send(&b, parts[i], strlen(parts[i]));
        browser_hang_up(&b);
    }
    assert_int_equal(dash_ask(dash, "GET", "/v1/session", "", NULL, NULL), 401);
}

/* --- the fleet --- */

static uint8_t *inflated(const struct answer *a, size_t *size)
{
    z_stream z;
    uint8_t *out = malloc(ANSWER_MAX);
    memset(&z, 0, sizeof z);
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    z.next_in = a->body;
    z.avail_in = (unsigned)a->body_size;
    z.next_out = out;
    z.avail_out = ANSWER_MAX;
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    *size = z.total_out;
    inflateEnd(&z);
    return out;
}

static void test_fleet(void **state)
{
    struct answer a;
    (void)state;
    for (bool told = false; !told; free(told ? NULL : a.body)) { /* all by the frames until now */
        assert_int_equal(
            dash_ask(dash, "GET", "/v1/fleet", "Authorization: Bearer good\r\n", NULL, &a), 200);
        told = a.body_size > 128 && fly_load_u32(a.body + 20) == 100 && a.body[127] != 0;
    }
    assert_memory_equal(a.body, "FLYF", 4);
    assert_int_equal(fly_load_u32(a.body + 4), 1);
    uint32_t count = fly_load_u32(a.body + 20);
    assert_int_equal(count, 100);
    assert_int_equal(a.body_size, 28 + 2 * count + fly_load_u32(a.body + 24));
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(a.body[28 + i], PICTURE_CELL_MACHINE);
        assert_int_equal(a.body[28 + count + i], 0);
    }
    assert_null(strcasestr(a.head, "content-encoding"));
    free(a.body);
    static const struct {
        const char *accept;
        bool gzip;
    } cases[] = {
        {"gzip, deflate, br", true},  {"br;q=1.0, gzip;q=0.8", true},
        {"gzip;q=0", false},          {"gzip;q=0.0, br", false},
        {"identity", false},          {"deflate, gzip;q=0.5", true},
        {"gzip ; q=0.000, *", false},
    };
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        char headers[256];
        snprintf(headers, sizeof headers, "Authorization: Bearer good\r\nAccept-Encoding: %s\r\n",
                 cases[i].accept);
        assert_int_equal(dash_ask(dash, "GET", "/v1/fleet", headers, NULL, &a), 200);
        if ((strcasestr(a.head, "Content-Encoding: gzip") != NULL) != cases[i].gzip) {
            fail_msg("%s", cases[i].accept);
        }
        if (cases[i].gzip) {
            size_t size = 0;
            uint8_t *plain = inflated(&a, &size);
            assert_memory_equal(plain, "FLYF", 4);
            assert_int_equal(size, 28 + 2 * count + fly_load_u32(plain + 24));
            free(plain);
        }
        free(a.body);
    }
}

/* --- the pages in the program --- */

static void test_pages(void **state)
{
    struct answer plain;
    struct answer gzip;
    struct answer a;
    char etag[128];
    char text[256];
    (void)state;
    assert_int_equal(dash_ask(dash, "GET", "/", "", NULL, &plain), 200);
    assert_int_equal(dash_ask(dash, "GET", "/", "Accept-Encoding: gzip\r\n", NULL, &gzip), 200);
    assert_null(strcasestr(plain.head, "content-encoding"));
    assert_non_null(strcasestr(gzip.head, "Content-Encoding: gzip"));
    assert_non_null(strcasestr(gzip.head, "Vary: Accept-Encoding"));
    assert_non_null(strcasestr(gzip.head, "Cache-Control: no-cache"));
    size_t size = 0;
    uint8_t *bytes = inflated(&gzip, &size);
    assert_int_equal(size, plain.body_size);
    assert_memory_equal(bytes, plain.body, size);
    free(bytes);
    answer_header(&gzip, "ETag", etag, sizeof etag);
    assert_true(strlen(etag) > 2);
    snprintf(text, sizeof text, "If-None-Match: %s\r\n", etag);
    assert_int_equal(dash_ask(dash, "GET", "/", text, NULL, &a), 304);
    free(a.body);
    assert_int_equal(dash_ask(dash, "GET", "/", "If-None-Match: \"other\"\r\n", NULL, &a), 200);
    free(a.body);
    assert_int_equal(dash_ask(dash, "GET", "/machines/SIN", "", NULL, &a), 200); /* a view */
    assert_int_equal(a.body_size, plain.body_size);
    free(a.body);
    /* its script, whose name changes with what is in it */
    const char *script = strstr((char *)plain.body, "/assets/");
    assert_non_null(script);
    snprintf(text, sizeof text, "%.*s", (int)strcspn(script, "\"'"), script);
    assert_int_equal(dash_ask(dash, "GET", text, "Accept-Encoding: gzip\r\n", NULL, &a), 200);
    assert_non_null(strcasestr(a.head, "Cache-Control: public, max-age=31536000, immutable"));
    free(a.body);
    assert_int_equal(dash_ask(dash, "GET", "/assets/none.js", "", NULL, &a), 404);
    free(a.body);
    assert_int_equal(dash_ask(dash, "HEAD", "/", "", NULL, &a), 200);
    answer_header(&a, "Content-Length", text, sizeof text);
    assert_int_equal(strtoul(text, NULL, 10), plain.body_size);
    free(a.body);
    free(plain.body);
    free(gzip.body);
}

/* --- pages from a folder --- */

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_pages_from_a_folder(void **state)
{
    static const struct {
        const char *path;
        unsigned status;
        const char *body;
    } cases[] = {
        {"/", 200, "<p>page"},
        {"/index.html", 200, "<p>page"},
        {"/fleet/SIN", 200, "<p>page"},
        {"/a.js", 200, "let a"},
        {"/b.js", 404, NULL},
        {"/c.js", 200, "let c"},
        {"/broken.js", 500, NULL},
        {"/outside.txt", 404, NULL},
        {"/../secret.txt", 404, NULL},
        {"/%2e%2e/secret.txt", 404, NULL},
        {"/sub/../../secret.txt", 404, NULL},
        {"//etc/passwd.x", 404, NULL},
        {"/sub.d", 404, NULL},
    };
    char folder[] = "/tmp/fly-pages-XXXXXX";
    char below[256];
    struct answer a;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(below, sizeof below, "%s/ui", folder);
    assert_int_equal(mkdir(below, 0700), 0);
    write_file(folder, "secret.txt", "secret");
    write_file(below, "index.html", "<p>page");
    write_file(below, "a.js", "let a");
    write_file(below, "broken.js.gz", "no gzip");
    char path[512];
    snprintf(path, sizeof path, "%s/c.js.gz", below);
    gzFile packed = gzopen(path, "w");
    assert_int_equal(gzputs(packed, "let c"), 5);
    gzclose(packed);
    snprintf(path, sizeof path, "%s/sub.d", below);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/outside.txt", below);
    assert_int_equal(symlink("../secret.txt", path), 0);
    struct dash_config config = fixture_config();
    config.ui_dir = below;
    struct dash *other = fixture_dash(&config);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        unsigned status = dash_ask(other, "GET", cases[i].path, "", NULL, &a);
        /* libwebsockets itself may hang up on a path that climbs */
        if (status != cases[i].status && !(status == 0 && cases[i].status == 404)) {
            fail_msg("%s: %u", cases[i].path, status);
        }
        if (cases[i].body != NULL) {
            assert_string_equal((char *)a.body, cases[i].body);
        }
        assert_true(a.body == NULL || strstr((char *)a.body, "secret") == NULL);
        free(a.body);
    }
    char type[64];
    assert_int_equal(dash_ask(other, "GET", "/a.js", "", NULL, &a), 200);
    answer_header(&a, "Content-Type", type, sizeof type);
    assert_string_equal(type, "text/javascript; charset=utf-8");
    free(a.body);
    assert_int_equal(dash_ask(other, "POST", "/a.js", "", "x", NULL), 405);
    dash_destroy(other);
    static const char *const files[] = {"ui/c.js.gz", "ui/broken.js.gz", "ui/outside.txt",
                                        "ui/a.js",    "ui/index.html",   "secret.txt"};
    for (size_t i = 0; i < FLY_ARRAY_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/sub.d", below);
    rmdir(path);
    rmdir(below);
    rmdir(folder);
}

/* --- beginning and end --- */

static void test_create_refusals(void **state)
{
    struct dash_config config = fixture_config();
    struct dash *other = NULL;
    struct fly_error error = {0};
    (void)state;
    config.port = dash_port(dash);
    assert_int_equal(dash_create(&other, &config, &error), FLY_UNAVAILABLE);
    config = fixture_config();
    config.host = "localhost";
    assert_int_equal(dash_create(&other, &config, &error), FLY_INVALID_ARGUMENT);
    config = fixture_config();
    config.ui_dir = "/nowhere/at/all";
    assert_int_equal(dash_create(&other, &config, &error), FLY_INVALID_ARGUMENT);
    config = fixture_config();
    config.cert_pem = "x";
    assert_int_equal(dash_create(&other, &config, &error), FLY_INVALID_ARGUMENT);
    config.key_pem = "y";
    assert_int_equal(dash_create(&other, &config, &error), FLY_INVALID_ARGUMENT);
    assert_null(other);
    dash_destroy(NULL);
}

static void test_create_and_destroy(void **state)
{
    struct dash_config config = fixture_config();
    (void)state;
    config.host = "::1";
    struct fly_error error = {0};
    for (int i = 0; i < 5; i++) {
        struct dash *other = NULL;
        enum fly_status status = dash_create(&other, &config, &error);
        assert_true(status == FLY_OK || status == FLY_INVALID_ARGUMENT); /* no IPv6 here */
        dash_destroy(other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_security_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sign_in, setup, teardown),
        cmocka_unit_test_setup_teardown(test_session_lives_and_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bearer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_origin_matrix, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attempts_are_limited, setup, teardown),
        cmocka_unit_test_setup_teardown(test_requests_that_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_behind_one_that_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_request_a_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_behind_a_body, setup, teardown),
        cmocka_unit_test_setup_teardown(test_body_in_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hang_ups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fleet, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages_from_a_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_create_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_create_and_destroy, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
