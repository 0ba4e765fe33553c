/*
 * world - the simulator's LAN: gossip machines, hosts, links and one virtual clock.
 *
 * A process is one struct gossip with an identity and an address; two processes may have one
 * identity (twins), and one identity may come back at another address. Links lose, cut one way or
 * both, and delay. A killed process's host refuses its port; a dead host says nothing; a frozen
 * process does nothing and finds a socket buffer of packets when it goes on. All chance comes from
 * the seed.
 */
#ifndef FLY_SIMGOSSIP_WORLD_H
#define FLY_SIMGOSSIP_WORLD_H

#include "gossip/gossip.h"
#include "proto/base/rng.h"

enum {
    WORLD_MAX = 72,         /* processes, and identities */
    WORLD_SOCKET_MAX = 200, /* packets that wait for a frozen process */
    WORLD_CAPTURED_MAX = 256,
};

struct packet {
    int64_t at_ms;
    uint64_t order;
    int from; /* process */
    struct gossip_address source;
    struct gossip_address to;
    uint16_t size; /* 0: an ICMP port unreachable for `source`, to process `from` */
    uint8_t bytes[GOSSIP_PACKET_MAX];
};

struct process {
    bool up;
    bool frozen;
    int64_t hinted_ms; /* its shell last looked for the hosts of silent members */
    bool host_down;    /* nothing answers, not even its kernel */
    bool left;
    int identity;
    int link; /* row of the link tables: where it is plugged in */
    struct gossip_address address;
    struct gossip *g;
    void *memory;
    int64_t due_ms;
    int64_t started_ms;
    int64_t settled_ms; /* -1 */
    bool joined;
    bool twin;
    struct packet *waiting[WORLD_SOCKET_MAX];
    int waiting_count;
    /* what it ever thought of others, by identity */
    uint16_t suspected[WORLD_MAX];
    uint16_t buried[WORLD_MAX];
};

struct world {
    uint64_t seed;
    bool verbose;
    struct fly_rng rng;
    int64_t now_ms;
    int count; /* processes ever started */
    struct process processes[WORLD_MAX];
    uint32_t generations[WORLD_MAX];     /* of identities */
    uint16_t loss[WORLD_MAX][WORLD_MAX]; /* per mille, from link to link */
    bool cut[WORLD_MAX][WORLD_MAX];
    int64_t delay_min_ms;
    int64_t delay_max_ms;
    bool hints_there;  /* shells tell when a silent member's host acknowledges (TCP) */
    bool records_lost; /* packets that only spread are dropped: probes must do it alone */
    struct gossip_timing timing;
    struct packet **heap;
    size_t heap_count;
    size_t heap_max;
    uint64_t order;
    uint64_t packets;
    uint64_t hash;      /* of all that happened: two runs of a seed must agree */
    int captured_every; /* a stranger keeps every n-th packet; 0: none */
    struct packet captured[WORLD_CAPTURED_MAX];
    int captured_count;
    char failure[256];
};

struct world *world_create(uint64_t seed, bool verbose);
void world_destroy(struct world *w);

/* Starts a process; its address is that of its link. Returns its number. seed_of: the process whose
 * address it is told, or -1. */
int world_start(struct world *w, int identity, int seed_of);
/* The same identity once more, as a new process in the same place of the table, with its next
 * generation, or with a lower one (state lost). */
void world_restart(struct world *w, int p, int seed_of);
void world_restart_at(struct world *w, int p, int seed_of, uint32_t generation, bool new_address);
/* N processes with identities 0..N-1, each told the address of process 0, run until they are one.
 */
bool world_mesh(struct world *w, int n);
void world_kill(struct world *w, int p);
void world_power_off(struct world *w, int p);
void world_freeze(struct world *w, int p);
void world_thaw(struct world *w, int p);
void world_cut(struct world *w, int a, int b, bool cut); /* both ways */
/* Everybody against everybody in two groups: processes below `first` and the others. */
void world_split(struct world *w, int first, bool cut);
/* Sends bytes as if from an address; for hostile members and strangers. */
void world_inject(struct world *w, const struct gossip_address *source,
                  const struct gossip_address *to, const void *data, size_t size);

void world_run(struct world *w, int64_t ms);
typedef bool (*world_condition)(struct world *w, int argument);
/* Runs until the condition holds, at most ms. */
bool world_run_until(struct world *w, int64_t ms, world_condition condition, int argument);

/* What p thinks of an identity; 0: does not know it. */
enum gossip_state world_view(const struct world *w, int p, int identity);
/* All running processes think so of identity (itself aside). */
bool world_all_think(const struct world *w, int identity, enum gossip_state state);
/* All that run see all that run alive, by equal claims, and see nobody else up. */
bool world_is_one(struct world *w, int unused);
/* Nobody but `except` (or -1) was ever buried, or suspected, by anybody since world_forget. */
bool world_was_buried(const struct world *w, int identity);
bool world_was_suspected(const struct world *w, int identity);
void world_forget(struct world *w);
uint64_t world_updates(const struct world *w);

const struct node_keys *world_keys(int identity);
const struct node_id *world_id(int identity);
const char *world_cluster(void);
const struct seal_ring *world_group(void);

bool world_fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define EXPECT(w, condition, ...)                                                                  \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            return world_fail(w, __VA_ARGS__);                                                     \
        }                                                                                          \
    } while (0)

#endif
