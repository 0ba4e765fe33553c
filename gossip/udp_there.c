#include "gossip/udp_there.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "gossip/udp_address.h"
#include "proto/base/check.h"

enum {
    TRY_MS = 4000,   /* a handshake may take so long: two SYNs may be lost */
    AGAIN_MS = 2000, /* after one that failed */
    FRESH_MS = 2500, /* an acknowledgement that old still counts: keepalives go each second */
};

void udp_there_init(struct udp_there *t)
{
    *t = (struct udp_there){.look_ms = 0};
    for (unsigned i = 0; i < UDP_THERE_MAX; i++) {
        t->lines[i].fd = -1;
    }
}

static void hang_up(struct udp_there_line *line)
{
    if (line->fd >= 0) {
        (void)close(line->fd);
    }
    line->fd = -1;
}

void udp_there_fini(struct udp_there *t)
{
    for (unsigned i = 0; i < UDP_THERE_MAX; i++) {
        hang_up(&t->lines[i]);
        t->lines[i].used = false;
    }
}

bool udp_there_due(const struct udp_there *t, int64_t now_ms)
{
    return now_ms - t->look_ms >= UDP_THERE_LOOK_MS;
}

bool udp_there_busy(const struct udp_there *t)
{
    bool busy = false;

    for (unsigned i = 0; i < UDP_THERE_MAX; i++) {
        busy |= t->lines[i].used;
    }
    return busy;
}

void udp_there_want(struct udp_there *t, const struct gossip_member *m)
{
    struct udp_there_line *place = NULL;

    for (unsigned i = 0; i < UDP_THERE_MAX; i++) {
        struct udp_there_line *line = &t->lines[i];
        if (line->used && node_id_equal(&line->id, &m->credential.id)) {
            line->wanted = true;
            return;
        }
        if (!line->used && place == NULL) {
            place = line;
        }
    }
    if (place != NULL && m->meta.rpc_port != 0) {
        *place = (struct udp_there_line){.used = true,
                                         .wanted = true,
                                         .fd = -1,
                                         .id = m->credential.id,
                                         .address = m->meta.address};
        place->address.port = m->meta.rpc_port;
    }
}

static void set(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

static void call(struct udp_there_line *line, int64_t now_ms)
{
    sa_family_t family = udp_address_is_v4(line->address.ip) ? AF_INET : AF_INET6;
    struct sockaddr_storage to;
    socklen_t size = udp_address_to_kernel(&line->address, family, &to);
    const struct linger reset = {.l_onoff = 1};

    line->next_ms = now_ms + AGAIN_MS;
    line->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (line->fd < 0 || size == 0) {
        hang_up(line);
        return;
    }
    set(line->fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(line->fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
    set(line->fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    set(line->fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
    /* Closed by a reset: nothing of it may linger at a process that wakes up among many. */
    (void)setsockopt(line->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (connect(line->fd, (const struct sockaddr *)&to, size) != 0 && errno != EINPROGRESS) {
        hang_up(line);
        return;
    }
    line->next_ms = now_ms + TRY_MS;
}

/* The kernel over there was heard lately. */
static bool acknowledges(struct udp_there_line *line, int64_t now_ms)
{
    struct tcp_info info;
    socklen_t size = sizeof info;

    memset(&info, 0, sizeof info);
    if (getsockopt(line->fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
        hang_up(line);
        return false;
    }
    if (info.tcpi_state == TCP_SYN_SENT && now_ms < line->next_ms) {
        return false;
    }
    if (info.tcpi_state != TCP_ESTABLISHED) {
        /* refused, timed out, or a process that runs hung up: another time */
        hang_up(line);
        line->next_ms = now_ms + AGAIN_MS;
        return false;
    }
    return info.tcpi_last_ack_recv < FRESH_MS;
}

unsigned udp_there_look(struct udp_there *t, int64_t now_ms,
                        struct node_id out[static UDP_THERE_MAX])
{
    unsigned count = 0;

    t->look_ms = now_ms;
    for (unsigned i = 0; i < UDP_THERE_MAX; i++) {
        struct udp_there_line *line = &t->lines[i];
        if (!line->used) {
            continue;
        }
        if (!line->wanted) {
            hang_up(line);
            line->used = false;
            continue;
        }
        line->wanted = false; /* said again before the next look */
        if (line->fd < 0 && now_ms >= line->next_ms) {
            call(line, now_ms);
        }
        if (line->fd >= 0 && acknowledges(line, now_ms)) {
            out[count++] = line->id;
        }
    }
    return count;
}
