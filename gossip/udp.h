/*
 * udp - the gossip thread: the machine of gossip.h over a UDP socket and the beacon, with real
 * time.
 *
 * One thread, its own poll loop; it touches no disk and waits for nobody (DESIGN 3.12, 8). What it
 * learns goes to the node through `changed`, which must only post: the members are read with
 * gossip_thread_members. It watches the node loop: when `beat` has not moved for a second it
 * announces serving=0 until it moves again. Shell.
 */
#ifndef FLY_GOSSIP_UDP_H
#define FLY_GOSSIP_UDP_H

#include <stdatomic.h>

#include "gossip/gossip.h"

struct gossip_thread;

enum {
    GOSSIP_PEERS_MAX = 64,
    GOSSIP_BEACON_PORT = 7400, /* of the beacon's groups, whatever a node's own port is */
};

struct gossip_thread_config {
    struct gossip_config gossip; /* meta.address.port 0: any; clock and seed are filled in here */
    char bind[64];               /* numeric address to bind ("::" takes IPv4 too, "": as much as
                                    the host has); its port is meta.address.port */
    bool beacon; /* say and hear 239.255.74.0:7400 and ff02::74:0 on every interface */
    const struct gossip_address *seeds;
    uint32_t seed_count;
    const atomic_uint_fast64_t *beat; /* the node loop's turn counter, which must move at least
                                         twice a second; NULL: not watched */
    /* On the gossip thread: something changed, look at the members; SETTLED and TWIN come as they
     * are. Must not wait; may read the members. */
    void (*event)(void *user, const struct gossip_event *event);
    void *user;
};

struct gossip_thread_counters {
    struct gossip_counters gossip;
    uint64_t beacons_in; /* of other processes of this cluster */
    uint64_t beacons_out;
    uint64_t beacons_foreign; /* of other clusters, or garbage */
    uint64_t beacons_joined;  /* that named somebody not known to be alive, who was asked */
    uint64_t beacons_late;    /* that would have, but too many came in one second */
    uint64_t stalls;          /* times the node loop stood still */
    uint64_t unsent;          /* datagrams that the kernel did not take */
    uint64_t hosts_there;     /* looks that found a silent member's host alive */
    uint64_t refused;         /* ICMP port unreachable for one of our datagrams */
};

/* Binds and starts. UNAVAILABLE: the address is in use or not ours. */
enum fly_status gossip_thread_create(struct gossip_thread **out,
                                     const struct gossip_thread_config *config,
                                     struct fly_error *error);
/* The port that was bound. */
uint16_t gossip_thread_port(const struct gossip_thread *t);
/* Any thread; returns at once (a lock that is held for one packet's work). `serving` is what the
 * node wants: the watchdog may hold it at 0. address.port stays the bound one, whatever it says. */
void gossip_thread_set_meta(struct gossip_thread *t, const struct gossip_meta *meta);
void gossip_thread_hint_down(struct gossip_thread *t, const struct node_id *id);
void gossip_thread_join(struct gossip_thread *t, const struct gossip_address *seed);
/* A copy of all members, self among them, at most max; returns how many there are. Any thread;
 * short lock. */
uint32_t gossip_thread_members(struct gossip_thread *t, struct gossip_member *out, uint32_t max);
/* The member's round trip time now: changes of it are no events. 0: not measured. Any thread. */
uint64_t gossip_thread_rtt_us(struct gossip_thread *t, const struct node_id *id);
void gossip_thread_counters(struct gossip_thread *t, struct gossip_thread_counters *out);
/* Says good-bye (leave) for at most a second, stops the thread, closes the socket. Blocks. */
void gossip_thread_destroy(struct gossip_thread *t, bool leave);

/* "127.0.0.1:7400", "[::1]:7400", "::1"; false: not numeric, or no port and default_port is 0. */
bool gossip_address_parse(const char *text, uint16_t default_port, struct gossip_address *out);
enum { GOSSIP_ADDRESS_TEXT_SIZE = 64 };
void gossip_address_format(const struct gossip_address *a,
                           char out[static GOSSIP_ADDRESS_TEXT_SIZE]);

#endif
