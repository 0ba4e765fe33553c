/*
 * idle_client - holds many connections that have been greeted and then say nothing.
 *
 *   bench_rpc_idle_client ours|http2 HOST:PORT N
 *
 * Says "holding N" when every connection was accepted by what listens there (HELLO answered; the
 * server's SETTINGS come), and keeps them until its input ends. Bare sockets: what grows is the
 * server.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/wire/frame.h"

enum { GREETING_MAX = 256, BATCH = 64 };

struct greeting {
    uint8_t bytes[GREETING_MAX];
    size_t size;
    size_t answer; /* the fewest bytes that say: accepted */
};

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "idle_client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct greeting greeting_ours(void)
{
    const struct frame_preface preface = {.version = FRAME_VERSION,
                                          .frame_max = FRAME_SIZE_MIN,
                                          .window = 65536,
                                          .conn_window = 65536};
    struct greeting g = {.size = FRAME_PREFACE_SIZE + FRAME_HEADER_SIZE,
                         .answer = FRAME_PREFACE_SIZE + FRAME_HEADER_SIZE};

    frame_preface_encode(&preface, g.bytes);
    frame_header_encode(&(struct frame_header){.type = FRAME_HELLO}, g.bytes + FRAME_PREFACE_SIZE);
    return g;
}

static struct greeting greeting_http2(void)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct greeting g = {.answer = 9};

    memcpy(g.bytes, preface, sizeof preface - 1);
    g.bytes[sizeof preface - 1 + 3] = 4; /* SETTINGS, empty */
    g.size = sizeof preface - 1 + 9;
    return g;
}

static int connect_to(const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to) != 0) {
        die("connect");
    }
    return fd;
}

static void await_answer(int fd, const struct greeting *g)
{
    const struct timeval patience = {.tv_sec = 20};
    uint8_t answer[4096];

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (size_t have = 0; have < g->answer;) {
        ssize_t n = recv(fd, answer, sizeof answer, 0);
        if (n <= 0) {
            die("no answer");
        }
        have += (size_t)n;
    }
}

/* A few at a time: the server's backlog is small, and it gives a connection two seconds. */
static void hold(const struct sockaddr_in *to, const struct greeting *g, unsigned long count)
{
    int fds[BATCH];

    for (unsigned long done = 0; done < count;) {
        unsigned batch = count - done < BATCH ? (unsigned)(count - done) : BATCH;
        for (unsigned i = 0; i < batch; i++) {
            fds[i] = connect_to(to);
            if (send(fds[i], g->bytes, g->size, MSG_NOSIGNAL) != (ssize_t)g->size) {
                die("send");
            }
        }
        for (unsigned i = 0; i < batch; i++) {
            await_answer(fds[i], g);
        }
        done += batch;
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rlimit files;
    char byte;

    if (argc != 4 || strchr(argv[2], ':') == NULL) {
        (void)fprintf(stderr, "idle_client ours|http2 127.0.0.1:PORT N\n");
        return 64;
    }
    to.sin_port = htons((uint16_t)strtoul(strchr(argv[2], ':') + 1, NULL, 10));
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    unsigned long count = strtoul(argv[3], NULL, 10);
    struct greeting g = strcmp(argv[1], "ours") == 0 ? greeting_ours() : greeting_http2();
    hold(&to, &g, count);
    (void)printf("holding %lu\n", count);
    (void)fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    return 0;
}
