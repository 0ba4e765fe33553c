/*
 * front_parts - the insides of the front, for front.c and the front_*.c.
 */
#ifndef FLY_NODE_FRONT_PARTS_H
#define FLY_NODE_FRONT_PARTS_H

#include "fly/v1/edge.pb-c.h"
#include "node/answer.h"
#include "node/edge/launch.h"
#include "node/edge/sweep.h"
#include "node/front.h"
#include "node/peer.h"
#include "node/router.h"
#include "node/streams.h"
#include "proto/base/list.h"

enum {
    FRONT_LAUNCHES_MAX = 4096,
    FRONT_DIRECTS_MAX = 4096,
    FRONT_SERVED_MAX = 8192,  /* calls of other nodes at the owner here */
    FRONT_QUERIES_MAX = 1024, /* lists and look-ups over slices */
    FRONT_WATCHERS_MAX = 1024,
    FRONT_LAUNCH_MS = 30000, /* of a launch that came without a deadline */
    FRONT_LIST_MAX = 1000,
    FRONT_LIST_DEFAULT = 500,
    FRONT_REFUSAL_LOG_MS = 1000,
    WATCH_BATCH_MAX = 256, /* events or VMs in one message */
    WATCH_PACE_MS = 10,    /* events go out at once, or once in this time */
    WATCH_PACE_MAX_MS = 10000,
};

/* A Launch or Cancel under way. */
struct launch_slot {
    struct rpc_call *call; /* NULL: free */
    struct launch launch;
    uint32_t generation;
    struct fly_list link; /* in front.running or front.free_launches; never used: in none */
};

/* Tickets: a launch's are below these bits; reconcile has bit 62. */
#define TICKET_DIRECT (UINT64_C(1) << 63)
#define TICKET_SERVED (UINT64_C(1) << 61)
#define TICKET_QUIET (UINT64_C(1) << 60) /* nobody waits for the answer */
#define TICKET_SWEEP (UINT64_C(1) << 59)

/* A Destroy under way, or a call of another node. */
struct direct_slot {
    struct rpc_call *call;
    uint32_t generation;
    uint32_t next_free;
};

/* All zero but for slots and max: empty. A slot that was never needed is not touched, nor its page.
 */
struct direct_table {
    struct direct_slot *slots;
    uint32_t max;
    uint32_t fresh;     /* slots from here on were never used */
    uint32_t free_slot; /* + 1, of those given back */
    uint32_t count;     /* in use */
};

struct watcher;
struct watch_batches;

enum query_kind { QUERY_LIST = 1, QUERY_STATUS, QUERY_DESTROY };

struct query;

struct front {
    struct front_config config;
    struct host *host; /* NULL: this node owns no slice */
    struct router *router;
    struct gate gate;
    struct fly_rng rng;
    struct launch_slot *launches;
    struct fly_list running;
    struct fly_list free_launches;
    uint32_t fresh_launch; /* slots from here on were never used: their pages are not there */
    uint32_t running_count;
    int64_t next_due_ms; /* of the launches */
    struct direct_table directs;
    struct direct_table served;
    struct fly_list watchers;
    uint32_t watcher_count;
    uint64_t watcher_next_id;
    struct watch_batches *batches;
    int64_t watch_due_ms; /* an owner is asked again */
    struct fly_list queries;
    uint32_t query_count;
    uint64_t query_next_id;
    struct sweep sweep;
    uint64_t machines_nonce; /* of this run: places in its pages of machines are its own */
    int64_t refusal_log_ms;  /* no line about a refused node before */
    uint64_t refusals_unlogged;
    bool open; /* the cluster is known here: users are served */
    bool stopping;
};

struct vm_query {
    const char *region;   /* empty: all */
    enum vm_state state;  /* 0: all that are not destroyed */
    bool any_state;       /* destroyed ones too */
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

/* The region's entry, or the call is refused with the nearest one as a hint. */
const struct catalog_region *front_region(struct front *f, struct rpc_call *call, const char *code);
/* Both clocks, now. */
struct owner_now front_clocks(void);
/* Who the call's connection speaks for: the user; never NULL. */
const struct gate_peer *front_user(const struct rpc_call *call);
/* Its token, to be shown to owners; NULL: none. */
const char *front_token(const struct rpc_call *call);
/* A slot for the call, with its next generation; NULL: all are taken. */
struct direct_slot *front_slot_take(struct direct_table *t, struct rpc_call *call);
void front_slot_give(struct direct_table *t, struct direct_slot *slot);
/* "too many WHAT are under way at this edge" */
void front_refuse_overloaded(struct rpc_call *call, const char *what);

void front_launch(struct front *f, struct rpc_call *call, struct owner_now now);
void front_cancel_key(struct front *f, struct rpc_call *call, struct owner_now now);
void front_launch_answer(struct front *f, const struct owner_answer *answer, struct owner_now now);
/* Launches whose time has come. */
void front_launch_turn(struct front *f, struct owner_now now);
/* Ends every launch as it stands. */
void front_launch_abandon(struct front *f, struct owner_now now);

void front_launch_not_sent(struct front *f, uint64_t ticket, struct owner_now now);
void front_launch_lost(struct front *f, uint64_t ticket, struct owner_now now);

void front_regions(struct front *f, struct rpc_call *call);
/* front_machines.c: a page of the catalog's machines. */
void front_list_machines(struct front *f, struct rpc_call *call);

/* front_query.c: lists and look-ups that may need every slice's owner. */
void front_list(struct front *f, struct rpc_call *call, struct owner_now now);
void front_status(struct front *f, struct rpc_call *call, struct owner_now now);
void front_destroy_vm(struct front *f, struct rpc_call *call, struct owner_now now);
void front_query_abandon(struct front *f);
/* The VM is known: destroys it. */
void front_destroy_begin(struct front *f, struct rpc_call *call, uint64_t vm, struct owner_now now);

/* front_sweep.c */
void front_sweep_turn(struct front *f, struct owner_now now);
void front_sweep_answer(struct front *f, const struct owner_answer *answer, struct owner_now now);
void front_sweep_not_sent(struct front *f, uint64_t ticket, struct owner_now now);
void front_sweep_lost(struct front *f, uint64_t ticket, struct owner_now now);

/* front_slice.c: the Slice service. */
void front_present(struct front *f, struct rpc_call *call, struct owner_now now);
void front_slice_call(struct front *f, struct rpc_call *call, struct owner_now now);
void front_served_answer(struct front *f, const struct owner_answer *answer);
void front_served_abandon(struct front *f);
void front_replay(struct front *f, struct rpc_call *call);
void front_machines(struct front *f, struct rpc_call *call);
void front_slice_list(struct front *f, struct rpc_call *call);

void front_watch(struct front *f, struct rpc_call *call, struct owner_now now);
/* Ends all watches. */
void front_watch_stop(struct front *f, enum fly_status status, const char *text);
/* Sends what watchers have not seen. */
void front_watch_turn(struct front *f, struct owner_now now);

#endif
