/*
 * front_parts - the insides of the front, for front.c, front_read.c and front_watch.c.
 */
#ifndef FLY_NODE_FRONT_PARTS_H
#define FLY_NODE_FRONT_PARTS_H

#include "fly/v1/edge.pb-c.h"
#include "node/answer.h"
#include "node/edge/launch.h"
#include "node/front.h"
#include "proto/base/list.h"

enum {
    FRONT_LAUNCHES_MAX = 4096,
    FRONT_DIRECTS_MAX = 4096,
    FRONT_WATCHERS_MAX = 1024,
    FRONT_LAUNCH_MS = 30000, /* of a launch that came without a deadline */
    FRONT_LIST_MAX = 1000,
    FRONT_LIST_DEFAULT = 500,
    WATCH_BATCH_MAX = 256, /* events or VMs in one message */
};

/* A Launch or Cancel under way. */
struct launch_slot {
    struct rpc_call *call; /* NULL: free */
    struct launch launch;
    uint32_t generation;
    struct fly_list link; /* in front.running or front.free_launches */
};

/* A Destroy under way. */
struct direct_slot {
    struct rpc_call *call;
    uint32_t generation;
    uint32_t next_free;
};

struct watcher {
    struct rpc_call *call;
    char region[FLY_REGION_SIZE]; /* empty: all */
    uint64_t next;                /* seq of the next event to send */
    uint64_t reset_after;         /* RESET: VMs up to this number were sent */
    bool reset;                   /* sends what lives now, before events go on */
    char reset_reason[160];
    bool blocked; /* until on_writable */
    struct fly_list link;
};

struct front {
    struct front_config config;
    struct host *host;
    struct gate gate;
    struct fly_rng rng;
    struct launch_slot *launches;
    struct fly_list running;
    struct fly_list free_launches;
    uint32_t running_count;
    int64_t next_due_ms; /* of the launches */
    struct direct_slot *directs;
    uint32_t free_direct; /* + 1 */
    uint32_t direct_count;
    struct fly_list watchers;
    uint32_t watcher_count;
    bool stopping;
};

struct vm_query {
    const char *region;   /* empty: all */
    enum vm_state state;  /* 0: all that are not destroyed */
    size_t prefix_digits; /* of the id, with their value */
    uint64_t prefix;
    uint64_t after; /* creation number */
};

struct found_vm {
    uint64_t number;
    uint32_t slot;
};

/* All VMs that match, in the order of creation; *out is the caller's to free. One pass and a sort.
 */
size_t front_find_vms(const struct slice_state *s, const struct vm_query *q, struct found_vm **out);

/* A read needs the owner; without one the call is refused here. */
struct owner *front_owner(struct front *f, struct rpc_call *call);
/* The region's entry, or the call is refused with the nearest one as a hint. */
const struct catalog_region *front_region(struct front *f, struct rpc_call *call, const char *code);
/* The VM that an id or a unique prefix means, or the call is refused. */
bool front_vm(struct front *f, struct rpc_call *call, const char *text, struct vm *out);

/* Who the call's connection speaks for; nobody when it has no token. */
const struct gate_peer *front_peer(const struct rpc_call *call);
/* "too many WHAT are under way at this edge" */
void front_refuse_overloaded(struct rpc_call *call, const char *what);

void front_launch(struct front *f, struct rpc_call *call, struct owner_now now);
void front_cancel_key(struct front *f, struct rpc_call *call, struct owner_now now);
void front_launch_answer(struct front *f, const struct owner_answer *answer, struct owner_now now);
/* Launches whose time has come. */
void front_launch_turn(struct front *f, struct owner_now now);
/* Ends every launch as it stands. */
void front_launch_abandon(struct front *f, struct owner_now now);

void front_regions(struct front *f, struct rpc_call *call);
void front_list(struct front *f, struct rpc_call *call);
void front_status(struct front *f, struct rpc_call *call);
void front_watch(struct front *f, struct rpc_call *call);
void front_watch_end(struct front *f, struct watcher *w, enum fly_status status, const char *text);
/* Sends what watchers have not seen. */
void front_watch_turn(struct front *f);

#endif
