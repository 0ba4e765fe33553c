/*
 * gossip - who is in the cluster and alive: SWIM with Lifeguard's ideas, as a sans-IO machine.
 *
 *   packets, time ──▶ gossip_receive, gossip_tick ──▶ gossip_next_packet, gossip_next_event
 *
 * One struct gossip is one node's view. In go sealed packets and the time; out come sealed packets
 * with an address each, and events. Members say of themselves who they are (a claim, signed by its
 * subject, ordered by {generation, version}); others say only "I do not hear it" (an accusation,
 * signed by the accuser). A member is dead here when the suspicion time is over and at least two
 * members, or all that could, accuse it; probes and acks carry a short pairwise MAC, so that one
 * stolen node key can neither answer for another nor evict it. A credential
 * (proto/wire/credential.h) travels once to who does not know it yet.
 *
 * Sources: SWIM (Das, Gupta, Motivala, DSN 2002); Lifeguard (Dadgar, Phillips, Currey, arXiv
 * 1707.00788): dynamic suspicion, local health, buddy. DESIGN 3.5, 9; reference/membership.md.
 *
 * Pure: no clock, no socket, no heap; memory is one zeroed block from the caller. Times are
 * milliseconds of any clock that does not jump; wall time is only for credentials' expiry.
 */
#ifndef FLY_GOSSIP_GOSSIP_H
#define FLY_GOSSIP_GOSSIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/credential.h"
#include "proto/wire/seal.h"

struct gossip;

enum {
    GOSSIP_PACKET_MAX = 1400, /* sealed bytes of one datagram */
    GOSSIP_SLICES_MAX = 4,    /* that one member leads */
    GOSSIP_REGION_SIZE = 16,
    GOSSIP_SEEDS_MAX = 32,
    GOSSIP_NOTE_SIZE = 96,
};

/* An address without a port: IPv4 as ::ffff:a.b.c.d. */
struct gossip_address {
    uint8_t ip[16];
    uint16_t port; /* gossip, UDP */
};

struct gossip_slice {
    uint32_t tag;
    uint64_t epoch; /* term of its leader */
};

/* What a member says of itself beside its credential. Changes rarely: no loads, no counters. */
struct gossip_meta {
    struct gossip_address address; /* where it is reached; all its ports are on this ip */
    uint16_t rpc_port;
    uint16_t pub_port;  /* 0: publishes nothing */
    uint16_t http_port; /* of its dashboard; 0: it has none that others reach */
    bool https;         /* of the dashboard */
    bool tls;           /* RPC is tls+tcp */
    bool serving;       /* its node loop runs; placement avoids it otherwise */
    uint32_t roles;     /* that it runs with: of those in its credential, no others count */
    char region[GOSSIP_REGION_SIZE];
    uint32_t software; /* major << 16 | minor << 8 | patch */
    uint8_t slice_count;
    struct gossip_slice slices[GOSSIP_SLICES_MAX];
    char note[GOSSIP_NOTE_SIZE]; /* for people: "slice 0a1b2c is quarantined: ..." */
};

enum gossip_state {
    GOSSIP_ALIVE = 1,
    GOSSIP_SUSPECT,
    GOSSIP_DEAD,
    GOSSIP_LEFT,
};

struct gossip_member {
    struct credential credential; /* verified; id, name, roles */
    struct gossip_meta meta;
    enum gossip_state state;
    uint32_t generation;
    uint32_t version;
    int64_t since_ms; /* in this state */
    int64_t heard_ms; /* last authenticated word straight from it; INT64_MIN: never */
    uint64_t rtt_us;  /* of our own probes to this address, smoothed (rtt.h); 0: not measured */
    bool self;
};

enum gossip_event_kind {
    GOSSIP_EVENT_CHANGED = 1, /* new member, other state, other meta: look at it */
    GOSSIP_EVENT_GONE,        /* reaped: `id` is not in the table any more */
    GOSSIP_EVENT_SETTLED,     /* joined (a seed or beacon answered), or alone: once, after start */
    GOSSIP_EVENT_TWIN,        /* another live process has this node's identity: stop */
};

struct gossip_event {
    enum gossip_event_kind kind;
    struct node_id id;
    enum gossip_state was;         /* CHANGED: 0 when new */
    bool joined;                   /* SETTLED: somebody answered */
    struct gossip_address address; /* TWIN: where it is */
};

/* All times in ms. gossip_timing_lan() is the default. */
struct gossip_timing {
    int64_t probe_ms;  /* one probe round */
    int64_t ack_ms;    /* direct ack, then helpers are asked */
    int64_t spread_ms; /* gossip tick while there is something to tell */
    /* Suspicion: by at least two witnesses who were refused (the host says that nobody listens);
     * of silence by four witnesses or more; of silence by one. Past 1,000 members all grow with
     * log10 of their number. */
    int64_t suspicion_down_ms;
    int64_t suspicion_min_ms;
    int64_t suspicion_max_ms;
    int64_t there_ms;     /* a silent one is held for so long by each gossip_hint_there, */
    int64_t there_max_ms; /* and for so long by all of them */
    int64_t sync_ms;      /* anti-entropy with one random member, dead ones too */
    int64_t reap_ms;      /* dead or left members are forgotten after this */
    int64_t settle_ms;    /* alone after so long without an answer to join */
    uint32_t helpers;     /* indirect probes */
    uint32_t fanout;      /* members told per spread tick */
};

struct gossip_config {
    uint32_t members_max; /* 2..4096; past it joins are refused and counted */
    const char *cluster;  /* 32 hex digits; borrowed */
    uint8_t ca[NODE_KEY_SIZE];
    struct node_keys keys;
    struct credential credential; /* of keys; verified by the caller */
    uint32_t generation;          /* larger than any this identity used before */
    uint64_t boot;                /* random: tells two processes of one identity apart */
    struct gossip_meta meta;
    struct seal_ring group; /* the group's keys; purpose keys are derived here */
    struct gossip_timing timing;
    uint64_t seed;
};

struct gossip_now {
    int64_t ms;      /* boot clock */
    int64_t us;      /* the same clock finer, for round trips only; 0: ms is all there is */
    int64_t wall_ms; /* credentials' expiry only */
};

/* Since the start. */
struct gossip_counters {
    uint64_t packets_in;
    uint64_t packets_out;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t refused_seal; /* not sealed by a key of the group: garbage, other clusters */
    uint64_t refused_form; /* sealed, and not a packet */
    uint64_t refused_replay;
    uint64_t refused_mac;
    uint64_t refused_signature;
    uint64_t refused_credential;
    uint64_t refused_full; /* no room for another member or request */
    uint64_t refused_busy; /* more signatures than are checked in a second; repaired later */
    uint64_t dropped_out;  /* packets that were not sent: too many waited */
    uint64_t probes;
    uint64_t probes_failed;
    uint64_t refutations;
    uint64_t updates_out; /* claims and accusations sent, probes aside (I7) */
    uint64_t stalls;      /* times we ran so late that we must have stood still */
};

/* Probe 500 ms, ack 250 ms, spread 100 ms, suspicion 1 s when refused and 7 to 8 s in silence (a
 * stopped process may come back; a dead host is known within 10 s), sync 5 s, reap 24 h. */
struct gossip_timing gossip_timing_lan(void);

size_t gossip_size(uint32_t members_max);
/* memory: gossip_size bytes, zeroed, 16-aligned, lent. The config is copied. */
struct gossip *gossip_init(void *memory, const struct gossip_config *config, struct gossip_now now);
/* Wipes the keys. */
void gossip_fini(struct gossip *g);

/* Asks there for the members; again until somebody answered. May be called at any time (a beacon
 * was heard, --join, peers file). Past GOSSIP_SEEDS_MAX the oldest goes. */
void gossip_join(struct gossip *g, const struct gossip_address *seed);
/* One datagram. Garbage changes nothing but counters. */
void gossip_receive(struct gossip *g, const struct gossip_address *from, const void *data,
                    size_t size, struct gossip_now now);
void gossip_tick(struct gossip *g, struct gossip_now now);
/* When gossip_tick has something to do next. */
int64_t gossip_deadline(const struct gossip *g);

/* Next datagram to send: *to and out[GOSSIP_PACKET_MAX]; its size, 0: none. */
size_t gossip_next_packet(struct gossip *g, struct gossip_address *to,
                          uint8_t out[static GOSSIP_PACKET_MAX]);
/* Next event; false when there is none. Events coalesce by member, none is lost. */
bool gossip_next_event(struct gossip *g, struct gossip_event *out);

/* New words about this node: a new version, told to all. */
void gossip_set_meta(struct gossip *g, const struct gossip_meta *meta, struct gossip_now now);
/* A peer's stream broke: probe it now instead of in its turn. */
void gossip_hint_down(struct gossip *g, const struct node_id *id, struct gossip_now now);
/* The host there refused one of our packets (ECONNREFUSED from an ICMP port unreachable): probe
 * who lives there now, and when nobody answers call it down, not silent: that ends soon. It may be
 * forged, so it is never believed alone. */
void gossip_hint_refused(struct gossip *g, const struct gossip_address *address,
                         struct gossip_now now);
/* The kernel of a silent suspect's host lives (it completed a TCP handshake, it acknowledges): the
 * process stands still rather than being cut off. Holds off its death for there_ms; worth nothing
 * against two who were refused. */
void gossip_hint_there(struct gossip *g, const struct node_id *id, struct gossip_now now);
/* Says good-bye; goes on until gossip_left. */
void gossip_leave(struct gossip *g, struct gossip_now now);
bool gossip_left(const struct gossip *g);

/* Members, self among them, in no particular order; NULL past the end. Borrowed until the next
 * call that changes g. */
const struct gossip_member *gossip_member_at(const struct gossip *g, uint32_t i);
const struct gossip_member *gossip_find(const struct gossip *g, const struct node_id *id);
uint32_t gossip_member_count(const struct gossip *g); /* of all states */
const struct gossip_counters *gossip_counters(const struct gossip *g);
/* Lifeguard's local health: 0 well, 4 as deaf as it gets; probes take 1 + health times as long. */
uint32_t gossip_health(const struct gossip *g);

#endif
