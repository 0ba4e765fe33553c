/*
 * control - what the machine itself can do: ping-pong over loopback TCP, and writes that are
 * durable.
 */
#ifndef FLY_TESTS_BENCH_CONTROL_H
#define FLY_TESTS_BENCH_CONTROL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONTROL_MESSAGE_SIZE = 64, CONTROL_BLOCK_SIZE = 4096, CONTROL_FILE_SIZE = 8 << 20 };

/* A socket to a thread of this process that sends back what it gets. */
struct control_peer {
    int fd;
    int far_fd;
    pthread_t thread;
};

void control_peer_open(struct control_peer *peer);
void control_peer_close(struct control_peer *peer);
/* One message there and back: blocking calls, TCP_NODELAY, no framing. */
void control_ping(const struct control_peer *peer);
/* `count` messages out in one write; then all of them back. */
void control_ping_many(const struct control_peer *peer, unsigned count);

/* A file whose blocks are all written once, so that no write allocates. */
struct control_file {
    int fd;
    uint64_t next;
    uint8_t block[CONTROL_BLOCK_SIZE] __attribute__((aligned(CONTROL_BLOCK_SIZE)));
};

/* False, with errno, when it cannot be made. It is unlinked at once. */
bool control_file_open(struct control_file *file, const char *path);
void control_file_close(struct control_file *file);
/* 4 KiB into the next block, and fdatasync. */
void control_file_write(struct control_file *file);

#endif
