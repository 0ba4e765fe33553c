/*
 * udp_there - whether the hosts of silent members still live, though their processes say nothing.
 *
 * A stopped process and a vanished host are silent alike in UDP. But the kernel of a living host
 * goes on with TCP: it completes a handshake on the member's RPC port and acknowledges keepalives
 * whether the process runs or not. So each suspect gets one connection, on which nothing is ever
 * said, and which is closed when it is a suspect no more. One for each, kept, and not one after the
 * other: they wait in the accept queue of a process that takes none. Never blocks. Shell.
 */
#ifndef FLY_GOSSIP_UDP_THERE_H
#define FLY_GOSSIP_UDP_THERE_H

#include "gossip/gossip.h"

enum {
    UDP_THERE_MAX = 16,     /* suspects that are asked after at a time */
    UDP_THERE_LOOK_MS = 500 /* between two looks */
};

struct udp_there_line {
    bool used;
    bool wanted; /* still a suspect */
    int fd;      /* -1: none now */
    struct node_id id;
    struct gossip_address address; /* the RPC port */
    int64_t next_ms;               /* a new try, or the end of this one */
};

struct udp_there {
    struct udp_there_line lines[UDP_THERE_MAX];
    int64_t look_ms;
};

void udp_there_init(struct udp_there *t);
void udp_there_fini(struct udp_there *t);
/* Whether it is time for udp_there_want of every suspect and udp_there_look. */
bool udp_there_due(const struct udp_there *t, int64_t now_ms);
/* Somebody is asked after: look every UDP_THERE_LOOK_MS. */
bool udp_there_busy(const struct udp_there *t);
/* This member is a suspect; past UDP_THERE_MAX it is passed over. */
void udp_there_want(struct udp_there *t, const struct gossip_member *m);
/* Connects, looks, closes what was not wanted since the last look. Up to UDP_THERE_MAX ids of those
 * whose host was heard within the last seconds; their number. */
unsigned udp_there_look(struct udp_there *t, int64_t now_ms,
                        struct node_id out[static UDP_THERE_MAX]);

#endif
