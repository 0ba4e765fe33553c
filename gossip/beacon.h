/*
 * beacon - says on every segment that a node is here, and hears the others: IPv4 239.255.74.0 and
 * IPv6 ff02::74:0, port 7400, one hop.
 *
 * What is said is a sealed notice (notice.h). Said at 0, 0.1, 0.3 and 1 s after the start and after
 * a new interface came, then every 10 to 30 s, and every second while the node knows no other
 * living member. Hearing one never makes us say one: a beacon cannot be amplified. All nodes of a
 * host share the port. Interfaces come and go: the kernel tells us (rtnetlink), and each time
 * something is said we look again. Where there is no multicast at all it stays silent; that is no
 * error. Shell; one thread uses it.
 */
#ifndef FLY_GOSSIP_BEACON_H
#define FLY_GOSSIP_BEACON_H

#include <poll.h>

#include "gossip/notice.h"

enum {
    BEACON_FDS = 3,
    BEACON_INTERFACES_MAX = 16, /* past it: not used, and that is logged nowhere but counted */
};

struct beacon;

struct beacon_config {
    struct seal_ring ring; /* derived for SEAL_BEACON; copied */
    struct notice notice;
    uint64_t seed;
    uint16_t port;
    bool loopback; /* on lo alone: a node that only its own host can reach */
};

struct beacon_counters {
    uint64_t said;    /* datagrams sent */
    uint64_t heard;   /* of other processes of this cluster */
    uint64_t foreign; /* of other clusters, or garbage */
    uint64_t crowded; /* interfaces passed over, by look */
};

/* NULL: no memory. */
struct beacon *beacon_create(const struct beacon_config *config, int64_t now_ms);
void beacon_destroy(struct beacon *b);
/* Fills fds[BEACON_FDS]; unused ones get fd -1. */
void beacon_poll(const struct beacon *b, struct pollfd fds[static BEACON_FDS]);
/* Does what became ready; reads at most 64 datagrams. Afterwards beacon_heard gives what was heard.
 */
void beacon_ready(struct beacon *b, int64_t now_ms);
/* The next notice of another process, its address complete; false: none. */
bool beacon_heard(struct beacon *b, struct notice *out);
void beacon_tick(struct beacon *b, int64_t now_ms);
int64_t beacon_deadline(const struct beacon *b);
void beacon_set_address(struct beacon *b, const struct gossip_address *address);
/* Whether the node knows no other living member; true speaks sooner. */
void beacon_set_alone(struct beacon *b, bool alone, int64_t now_ms);
const struct beacon_counters *beacon_counters(const struct beacon *b);

#endif
