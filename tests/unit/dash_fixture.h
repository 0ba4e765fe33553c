/*
 * dash_fixture - a real dash on a port of its own, and browsers that are bare sockets.
 *
 * Tokens are words: "good" may do everything, "plain" only regions, "old" expires at once, "soon"
 * in half a second, "busy" is RESOURCE_EXHAUSTED; all else is refused.
 */
#ifndef FLY_TESTS_DASH_FIXTURE_H
#define FLY_TESTS_DASH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dash/dash.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

enum { WAIT_MS = 10000, ANSWER_MAX = 1 << 20, MESSAGE_MAX = 4 << 20 };

static inline enum fly_status fixture_verify(void *user, const char *token, size_t size,
                                             int64_t wall_ms, struct dash_who *out,
                                             struct fly_error *error)
{
    static const struct {
        const char *token;
        uint32_t scopes;
        int64_t life_ms;
    } known[] = {
        {"good", TOKEN_SCOPE_ALL, 3600000},
        {"plain", TOKEN_SCOPE_REGIONS, 3600000},
        {"old", TOKEN_SCOPE_ALL, 0},
        {"soon", TOKEN_SCOPE_ALL, 500},
    };
    (void)user;
    if (size == 4 && memcmp(token, "busy", 4) == 0) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "too many tokens");
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(known); i++) {
        if (strlen(known[i].token) == size && memcmp(known[i].token, token, size) == 0) {
            memset(out, 0, sizeof *out);
            snprintf(out->subject, sizeof out->subject, "ada");
            out->scopes = known[i].scopes;
            out->expires_ms = wall_ms + known[i].life_ms;
            return FLY_OK;
        }
    }
    return fly_error_set(error, FLY_UNAUTHENTICATED, "this is no token of ours");
}

static inline struct dash_config fixture_config(void)
{
    return (struct dash_config){
        .host = "127.0.0.1",
        .node = "node-1",
        .region = "AMS",
        .cluster = "00112233445566778899aabbccddeeff",
        .edges = "127.0.0.1:1",
        .machines_max = 4096,
        .verify = fixture_verify,
    };
}

static inline struct dash *fixture_dash(const struct dash_config *config)
{
    struct dash *dash = NULL;
    struct fly_error error = {0};
    enum fly_status status = dash_create(&dash, config, &error);
    if (status != FLY_OK) {
        fail_msg("dash_create: %s", error.text);
    }
    return dash;
}

static inline void fixture_feed(struct dash *dash, uint32_t machines)
{
    struct picture_region region = {.code = "AMS", .city = "Amsterdam", .status = "operational"};
    dash_put_region(dash, &region);
    dash_snapshot_begin(dash, 1);
    for (uint32_t i = 0; i < machines; i++) {
        struct picture_machine m = {.slice = 1,
                                    .cores = 64,
                                    .cores_free = 64,
                                    .memory_bytes = UINT64_C(1) << 36,
                                    .memory_free_bytes = UINT64_C(1) << 36};
        snprintf(m.name, sizeof m.name, "m%u", i);
        dash_snapshot_put(dash, 1, &m, "AMS");
    }
    dash_snapshot_end(dash, 1, 7);
}

static inline void fixture_event(struct dash *dash, uint64_t seq, uint32_t machine, uint32_t free)
{
    struct event event = {
        .slice = 1,
        .incarnation = 7,
        .seq = seq,
        .type = EVENT_VM_STARTED,
        .time_ms = 1000000 + (int64_t)seq,
        .vm = seq,
        .cores = 1,
        .memory_bytes = 1,
        .machine_cores_free = free,
        .machine_memory_free_bytes = UINT64_C(1) << 36,
    };
    snprintf(event.machine, sizeof event.machine, "m%u", machine);
    snprintf(event.region, sizeof event.region, "AMS");
    dash_event(dash, &event);
}

/* --- a connection --- */

struct browser {
    int fd;
    uint8_t *bytes; /* read and not yet used */
    size_t size;
    size_t max;
};

static inline struct browser browser_dial(const struct dash *dash, int receive_bytes)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(dash_port(dash))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct browser b = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .max = 1 << 16};
    if (receive_bytes > 0) {
        setsockopt(b.fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    }
    b.bytes = malloc(b.max);
    FLY_CHECK(b.fd >= 0 && b.bytes != NULL);
    assert_int_equal(connect(b.fd, (struct sockaddr *)&at, sizeof at), 0);
    return b;
}

static inline void browser_hang_up(struct browser *b)
{
    close(b->fd);
    free(b->bytes);
}

static inline void browser_send(const struct browser *b, const void *data, size_t size)
{
    assert_int_equal(send(b->fd, data, size, MSG_NOSIGNAL), size);
}

/* One more read; false: the other side has closed. */
static inline bool browser_read(struct browser *b)
{
    if (b->max - b->size < 1 << 16) {
        b->max *= 2;
        b->bytes = realloc(b->bytes, b->max);
        FLY_CHECK(b->bytes != NULL);
    }
    struct pollfd wait = {.fd = b->fd, .events = POLLIN};
    if (poll(&wait, 1, WAIT_MS) != 1) {
        fail_msg("nothing came for %d ms", WAIT_MS);
    }
    ssize_t n = recv(b->fd, b->bytes + b->size, b->max - b->size, 0);
    if (n <= 0) {
        return false;
    }
    b->size += (size_t)n;
    return true;
}

static inline void browser_use(struct browser *b, size_t size)
{
    memmove(b->bytes, b->bytes + size, b->size - size);
    b->size -= size;
}

/* --- HTTP --- */

struct answer {
    unsigned status;
    char head[8192];
    uint8_t *body; /* the caller frees it; with a NUL */
    size_t body_size;
};

/* A header's value into out, or "". */
static inline void answer_header(const struct answer *a, const char *name, char *out, size_t max)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\r\n%s: ", name);
    const char *at = strcasestr(a->head, wanted);
    out[0] = '\0';
    if (at != NULL) {
        at += strlen(wanted);
        snprintf(out, max, "%.*s", (int)strcspn(at, "\r"), at);
    }
}

/* False: the other side closed before an answer. */
static inline bool browser_answer(struct browser *b, bool has_body, struct answer *out)
{
    memset(out, 0, sizeof *out);
    uint8_t *end = NULL;
    while ((end = memmem(b->bytes, b->size, "\r\n\r\n", 4)) == NULL) {
        if (!browser_read(b)) {
            return false;
        }
    }
    size_t head = (size_t)(end - b->bytes) + 4;
    FLY_CHECK(head < sizeof out->head);
    memcpy(out->head, b->bytes, head);
    browser_use(b, head);
    assert_int_equal(sscanf(out->head, "HTTP/1.1 %u", &out->status), 1);
    char text[32];
    answer_header(out, "Content-Length", text, sizeof text);
    out->body_size = has_body ? strtoul(text, NULL, 10) : 0;
    while (b->size < out->body_size) {
        assert_true(browser_read(b));
    }
    out->body = calloc(1, out->body_size + 1);
    FLY_CHECK(out->body != NULL);
    memcpy(out->body, b->bytes, out->body_size);
    browser_use(b, out->body_size);
    return true;
}

static inline unsigned browser_ask(struct browser *b, const char *method, const char *path,
                                   const char *headers, const char *body, struct answer *out)
{
    char text[65536];
    int size = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: dash.test:7403\r\n%s", method,
                        path, headers);
    if (body != NULL) {
        size += snprintf(text + size, sizeof text - (size_t)size, "Content-Length: %zu\r\n",
                         strlen(body));
    }
    size += snprintf(text + size, sizeof text - (size_t)size, "\r\n%s", body == NULL ? "" : body);
    FLY_CHECK((size_t)size < sizeof text);
    browser_send(b, text, (size_t)size);
    if (!browser_answer(b, strcmp(method, "HEAD") != 0, out)) {
        return 0;
    }
    return out->status;
}

/* On a connection of its own; 0: closed without an answer. */
static inline unsigned dash_ask(const struct dash *dash, const char *method, const char *path,
                                const char *headers, const char *body, struct answer *out)
{
    struct browser b = browser_dial(dash, 0);
    struct answer mine;
    unsigned status = browser_ask(&b, method, path, headers, body, out != NULL ? out : &mine);
    if (out == NULL) {
        free(mine.body);
    }
    browser_hang_up(&b);
    return status;
}

/* "Cookie: flylight=…\r\n" of a new session. */
static inline void dash_sign_in(const struct dash *dash, const char *token, char *out, size_t max)
{
    char body[128];
    char cookie[256];
    struct answer a;
    snprintf(body, sizeof body, "{\"token\":\"%s\"}", token);
    assert_int_equal(dash_ask(dash, "POST", "/v1/session", "", body, &a), 200);
    answer_header(&a, "Set-Cookie", cookie, sizeof cookie);
    snprintf(out, max, "Cookie: a=b; %.*s; c=d\r\n", (int)strcspn(cookie, ";"), cookie);
    free(a.body);
}

/* --- WebSocket (RFC 6455) --- */

/* 101, or another status. */
static inline unsigned browser_upgrade(struct browser *b, const char *path, const char *headers)
{
    char more[4096];
    struct answer a;
    snprintf(more, sizeof more,
             "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s",
             headers);
    unsigned status = browser_ask(b, "GET", path, more, NULL, &a);
    if (status == 101) {
        char accept[64];
        answer_header(&a, "Sec-WebSocket-Accept", accept, sizeof accept);
        assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
    free(a.body);
    return status;
}

static inline struct browser browser_open(const struct dash *dash, int receive_bytes)
{
    struct browser b = browser_dial(dash, receive_bytes);
    assert_int_equal(browser_upgrade(&b, "/v1/live", "Authorization: Bearer good\r\n"), 101);
    return b;
}

static inline void browser_say_as(const struct browser *b, uint8_t opcode, bool last,
                                  const char *text, size_t size)
{
    uint8_t head[14] = {(uint8_t)(opcode | (last ? 0x80 : 0)), (uint8_t)(0x80 | (size & 127))};
    size_t head_size = 2;
    if (size > 125) {
        head[1] = 0x80 | 126;
        head[2] = (uint8_t)(size >> 8);
        head[3] = (uint8_t)size;
        head_size = 4;
    }
    head_size += 4; /* a mask of zeros */
    browser_send(b, head, head_size);
    if (size > 0) {
        browser_send(b, text, size);
    }
}

static inline void browser_say(const struct browser *b, const char *text)
{
    browser_say_as(b, 1, true, text, strlen(text));
}

/* One message, its parts put together, into out[MESSAGE_MAX]. Its opcode: 2 binary, 8 close;
 * 0: the connection ended. */
static inline unsigned browser_hear(struct browser *b, uint8_t *out, size_t *size)
{
    unsigned opcode = 0;
    *size = 0;
    for (;;) {
        size_t head = 2;
        uint64_t length = 0;
        for (;;) {
            if (b->size >= 2) {
                uint8_t code = b->bytes[1] & 127;
                head = code == 126 ? 4 : code == 127 ? 10 : 2;
                length = code < 126 ? code : 0;
                for (size_t i = 2; b->size >= head && i < head; i++) {
                    length = length << 8 | b->bytes[i];
                }
                if (b->size >= head && b->size - head >= length) {
                    break;
                }
            }
            if (!browser_read(b)) {
                return 0;
            }
        }
        bool last = (b->bytes[0] & 0x80) != 0;
        opcode = opcode == 0 ? b->bytes[0] & 15 : opcode;
        FLY_CHECK(*size + length <= MESSAGE_MAX);
        memcpy(out + *size, b->bytes + head, length);
        *size += length;
        browser_use(b, head + length);
        if (last) {
            return opcode;
        }
    }
}

#endif
