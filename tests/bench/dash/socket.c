#include "tests/bench/dash/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/check.h"

enum {
    OP_TEXT = 1,
    OP_BINARY = 2,
    OP_CLOSE = 8,
    OP_PING = 9,
    OP_PONG = 10,
    FIN = 0x80,
    LEN_16 = 126,
    LEN_64 = 127,
};

static int dial(uint16_t port, int flags)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    const int one = 1;

    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

bool socket_open(struct socket *s, uint16_t port)
{
    s->fd = dial(port, SOCK_NONBLOCK);
    s->state = s->fd >= 0 ? SOCKET_CONNECTING : SOCKET_DEAD;
    return s->fd >= 0;
}

void socket_close(struct socket *s)
{
    if (s->fd >= 0) {
        (void)close(s->fd);
    }
    s->fd = -1;
    s->state = SOCKET_DEAD;
    free(s->kept);
    s->kept = NULL;
    s->kept_max = 0;
}

/* Small, and the socket's buffer is empty: it goes at once or the connection is of no use. */
static void say(struct socket *s, const void *bytes, size_t size)
{
    if (send(s->fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size) {
        s->state = SOCKET_DEAD;
    }
}

void socket_upgrade(struct socket *s, uint16_t port, const char *token)
{
    char text[2600];
    int size = snprintf(text, sizeof text,
                        "GET /v1/live HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        "Authorization: Bearer %s\r\n\r\n",
                        port, token);

    FLY_CHECK(size > 0 && (size_t)size < sizeof text);
    s->state = SOCKET_UPGRADING;
    say(s, text, (size_t)size);
}

/* --- taking apart --- */

static void keep(struct socket *s, const uint8_t *bytes, size_t size)
{
    if (s->size < SOCKET_FIRST_BYTES) {
        size_t room = SOCKET_FIRST_BYTES - s->size;
        memcpy(s->first + s->size, bytes, size < room ? size : room);
    }
    if (s->whole) {
        if (s->size + size > s->kept_max) {
            s->kept_max = 2 * (s->size + size);
            s->kept = realloc(s->kept, s->kept_max);
            FLY_CHECK(s->kept != NULL && s->kept_max <= SOCKET_MESSAGE_MAX);
        }
        memcpy(s->kept + s->size, bytes, size);
    }
    s->size += size;
}

static void frame_end(struct socket *s)
{
    unsigned op = s->head[0] & 0x0fU;

    if (op == OP_PING) { /* of no bytes: the payload was not kept */
        static const uint8_t pong[] = {FIN | OP_PONG, 0x80, 0, 0, 0, 0};
        say(s, pong, sizeof pong);
    } else if (op == OP_CLOSE) {
        s->state = SOCKET_DEAD;
    } else if (op <= OP_BINARY && (s->head[0] & FIN) != 0) {
        size_t kept = s->size < SOCKET_FIRST_BYTES ? s->size : SOCKET_FIRST_BYTES;
        s->message(s->user, s->whole ? s->kept : s->first, s->whole ? s->size : kept, s->size);
        s->size = 0;
    }
    s->head_size = 0;
    s->in_payload = false;
}

/* True: the head is complete, `left` is the payload's size. A server does not mask. */
static bool head_done(struct socket *s)
{
    unsigned code = s->head_size >= 2 ? s->head[1] : 0;
    unsigned size = code < LEN_16 ? 2 : (code == LEN_16 ? 4 : 10);

    if (s->head_size < 2 || s->head_size < size) {
        return false;
    }
    s->left = code < LEN_16 ? code : 0;
    for (unsigned i = 2; i < size; i++) {
        s->left = s->left << 8 | s->head[i];
    }
    return true;
}

/* Passes the answer to the upgrade; returns the bytes taken. */
static size_t take_answer(struct socket *s, const uint8_t *bytes, size_t size)
{
    static const char end[] = "\r\n\r\n";

    for (size_t i = 0; i < size; i++) {
        s->status_at = (uint8_t)(s->status_at + (s->status_at < UINT8_MAX));
        if (s->status_at > 9 && s->status_at <= 12) { /* "HTTP/1.1 101" */
            s->status = (uint16_t)(s->status * 10 + (bytes[i] - '0'));
        }
        s->match = bytes[i] == (uint8_t)end[s->match] ? (uint8_t)(s->match + 1)
                                                      : (uint8_t)(bytes[i] == '\r');
        if (s->match == 4) {
            s->state = s->status == 101 ? SOCKET_OPEN : SOCKET_DEAD;
            return i + 1;
        }
    }
    return size;
}

void socket_take(struct socket *s, const uint8_t *bytes, size_t size)
{
    size_t at = s->state == SOCKET_UPGRADING ? take_answer(s, bytes, size) : 0;

    while (s->state == SOCKET_OPEN && (at < size || (s->in_payload && s->left == 0))) {
        if (!s->in_payload) {
            s->head[s->head_size++] = bytes[at++];
            s->in_payload = head_done(s);
            continue;
        }
        size_t part = s->left < size - at ? (size_t)s->left : size - at;
        unsigned op = s->head[0] & 0x0fU;
        if (op <= OP_BINARY) {
            keep(s, bytes + at, part);
        } else if (op == OP_CLOSE && part >= 2) {
            s->close_code = (uint16_t)(bytes[at] << 8 | bytes[at + 1]);
        }
        at += part;
        s->left -= part;
        if (s->left == 0) {
            frame_end(s);
        }
    }
}

/* --- a plain GET --- */

/* Bytes of the whole answer, once its head is there; 0: not yet known. */
static size_t answer_size(const uint8_t *room, size_t size)
{
    const uint8_t *end = memmem(room, size, "\r\n\r\n", 4);
    char head[2048];

    if (end == NULL || (size_t)(end - room) >= sizeof head) {
        return 0;
    }
    memcpy(head, room, (size_t)(end - room));
    head[end - room] = '\0';
    const char *length = strcasestr(head, "\r\ncontent-length:");
    return (size_t)(end + 4 - room) + (length != NULL ? strtoul(length + 17, NULL, 10) : 0);
}

size_t socket_get(uint16_t port, const char *token, const char *path, uint8_t **out)
{
    enum { ROOM = SOCKET_MESSAGE_MAX + 4096 };
    uint8_t *room = malloc(ROOM);
    char text[2600];
    size_t size = 0;
    size_t whole = 0;
    ssize_t n = 1;
    int fd = dial(port, 0);

    *out = room;
    FLY_CHECK(room != NULL);
    int asked = snprintf(text, sizeof text,
                         "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\n"
                         "Authorization: Bearer %s\r\n\r\n",
                         path, port, token);
    if (fd < 0) {
        return 0;
    }
    if (send(fd, text, (size_t)asked, MSG_NOSIGNAL) == asked) {
        while (n > 0 && size < ROOM && (whole == 0 || size < whole)) {
            n = read(fd, room + size, ROOM - size);
            size += n > 0 ? (size_t)n : 0;
            whole = whole != 0 ? whole : answer_size(room, size);
        }
    }
    (void)close(fd);
    if (whole == 0 || size < whole || memcmp(room, "HTTP/1.1 200", 12) != 0) {
        return 0;
    }
    const uint8_t *body = (const uint8_t *)memmem(room, size, "\r\n\r\n", 4) + 4;
    size = whole - (size_t)(body - room);
    memmove(room, body, size);
    return size;
}
