/*
 * socket - the least of RFC 6455 that a load client needs: the upgrade, and taking messages apart
 * as bytes come, however they are cut. A message is kept whole, or only its first bytes.
 */
#ifndef FLY_TESTS_BENCH_DASH_SOCKET_H
#define FLY_TESTS_BENCH_DASH_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SOCKET_FIRST_BYTES = 96, SOCKET_MESSAGE_MAX = 4 << 20 };

enum socket_state { SOCKET_CONNECTING, SOCKET_UPGRADING, SOCKET_OPEN, SOCKET_DEAD };

struct socket {
    int fd;
    enum socket_state state;
    uint16_t close_code; /* of the server's close frame; 0: none came */
    uint16_t status;     /* of the upgrade; 101 */
    uint8_t match;       /* of the blank line that ends the answer to the upgrade */
    uint8_t status_at;
    /* the frame under way */
    uint8_t head[10];
    uint8_t head_size;
    bool in_payload;
    uint64_t left;
    /* the message under way */
    size_t size; /* of it until now */
    bool whole;  /* keep it all */
    uint8_t *kept;
    size_t kept_max;
    uint8_t first[SOCKET_FIRST_BYTES];
    void (*message)(void *user, const uint8_t *bytes, size_t kept, size_t size);
    void *user;
};

/* Begins to connect to 127.0.0.1:PORT. False: no more sockets. */
bool socket_open(struct socket *s, uint16_t port);
/* Asks for the upgrade of /v1/live; the socket must be writable. */
void socket_upgrade(struct socket *s, uint16_t port, const char *token);
/* What came. Calls `message` for each that is complete. */
void socket_take(struct socket *s, const uint8_t *bytes, size_t size);
void socket_close(struct socket *s);

/* GET over a connection of its own, waiting for it. Body into *out (free it), its size; 0: it did
 * not answer 200. */
size_t socket_get(uint16_t port, const char *token, const char *path, uint8_t **out);

#endif
