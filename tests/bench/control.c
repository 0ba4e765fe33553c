#include "tests/bench/control.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/check.h"

enum { MANY_MAX = 64 };

static void *echo(void *user)
{
    const struct control_peer *peer = user;
    uint8_t buffer[MANY_MAX * CONTROL_MESSAGE_SIZE];

    for (;;) {
        ssize_t n = recv(peer->far_fd, buffer, sizeof buffer, 0);
        if (n <= 0) {
            return NULL;
        }
        FLY_CHECK(send(peer->far_fd, buffer, (size_t)n, MSG_NOSIGNAL) == n);
    }
}

void control_peer_open(struct control_peer *peer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    FLY_CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, size) == 0 &&
              listen(listener, 1) == 0 &&
              getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FLY_CHECK(peer->fd >= 0 && connect(peer->fd, (struct sockaddr *)&address, size) == 0);
    peer->far_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    FLY_CHECK(peer->far_fd >= 0);
    FLY_CHECK(setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    FLY_CHECK(setsockopt(peer->far_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    (void)close(listener);
    FLY_CHECK(pthread_create(&peer->thread, NULL, echo, peer) == 0);
}

void control_peer_close(struct control_peer *peer)
{
    (void)shutdown(peer->fd, SHUT_RDWR);
    (void)pthread_join(peer->thread, NULL);
    (void)close(peer->fd);
    (void)close(peer->far_fd);
}

void control_ping_many(const struct control_peer *peer, unsigned count)
{
    uint8_t buffer[MANY_MAX * CONTROL_MESSAGE_SIZE] = {0};
    size_t size = (size_t)count * CONTROL_MESSAGE_SIZE;

    FLY_CHECK(count <= MANY_MAX);
    FLY_CHECK(send(peer->fd, buffer, size, MSG_NOSIGNAL) == (ssize_t)size);
    for (size_t have = 0; have < size;) {
        ssize_t n = recv(peer->fd, buffer, size - have, 0);
        FLY_CHECK(n > 0);
        have += (size_t)n;
    }
}

void control_ping(const struct control_peer *peer)
{
    control_ping_many(peer, 1);
}

bool control_file_open(struct control_file *file, const char *path)
{
    file->next = 0;
    memset(file->block, 0x5a, sizeof file->block);
    file->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file->fd < 0) {
        return false;
    }
    (void)unlink(path);
    for (size_t at = 0; at < CONTROL_FILE_SIZE; at += CONTROL_BLOCK_SIZE) {
        if (pwrite(file->fd, file->block, CONTROL_BLOCK_SIZE, (off_t)at) != CONTROL_BLOCK_SIZE) {
            return false;
        }
    }
    return fsync(file->fd) == 0;
}

void control_file_close(struct control_file *file)
{
    (void)close(file->fd);
}

void control_file_write(struct control_file *file)
{
    off_t at =
        (off_t)(file->next++ % (CONTROL_FILE_SIZE / CONTROL_BLOCK_SIZE) * CONTROL_BLOCK_SIZE);

    file->block[0]++;
    FLY_CHECK(pwrite(file->fd, file->block, CONTROL_BLOCK_SIZE, at) == CONTROL_BLOCK_SIZE);
    FLY_CHECK(fdatasync(file->fd) == 0);
}
