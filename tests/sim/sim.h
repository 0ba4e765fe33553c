/*
 * sim - a whole little cluster in one thread: slices with their owners and disks, edges, clients.
 *
 * Time is virtual, chance is one fly_rng, so a seed is a run, bit for bit. The cores are the very
 * objects that flynode links; the shells around them (disk, net, process) are models that break in
 * the ways DESIGN 5 allows. After every step check.c looks at I1..I5. docs/SIMULATION.md says more.
 */
#ifndef FLY_TESTS_SIM_H
#define FLY_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/edge/launch.h"
#include "node/edge/sweep.h"
#include "node/slice/owner.h"
#include "node/slice/snapshot.h"
#include "node/slice/standing.h"
#include "proto/base/rng.h"
#include "tests/sim/cover.h"
#include "tests/unit/oracle_slice.h"

enum {
    SIM_SLICES_MAX = 4,
    SIM_EDGES_MAX = 3,
    SIM_NODES_MAX = SIM_EDGES_MAX + SIM_SLICES_MAX, /* behind the edges: the slices' own sweepers */
    SIM_CLIENTS_MAX = 6,
    SIM_MACHINES_MAX = 6, /* of one slice */
    SIM_LAUNCHES_MAX = 8, /* of one edge at a time */
    SIM_RAWS_MAX = 64,    /* calls of one edge that no launch machine drives */
    SIM_WATCHERS = 2,     /* of each slice */
    SIM_KEYS_MAX = 2048,
    SIM_VMS_MAX = 2048,
    SIM_TRACE_LINES = 40,
    SIM_TRACE_SIZE = 200,
    SIM_PENDING_MAX = 4096,
    SIM_HOLDS_MAX = 512,
};

#define SIM_WALL_MS INT64_C(1800000000000) /* wall clock when virtual time is 0 */

/* ---- faults: chances in a thousand; 0 switches the class off for the whole seed ---- */

struct sim_faults {
    unsigned call_lost;
    unsigned answer_lost;
    unsigned call_twice;
    unsigned answer_twice;
    unsigned aside_lost; /* of the calls off the path that nobody waits for */
    unsigned slow;       /* a delay of up to seconds instead of milliseconds */
    unsigned disk_full;
    unsigned disk_eio;
    unsigned slow_disk;
    unsigned crash_append; /* the process dies while an append is under way, or just after it */
    /* weights of the fault event that comes every now and then */
    unsigned partition;
    unsigned pause_owner;
    unsigned pause_edge;
    unsigned crash_edge;
    unsigned crash_owner;
    unsigned wall_jump;
    unsigned leap; /* all clocks go on by minutes or a day */
    unsigned inventory;
    unsigned apart;       /* Open and Commit as two calls */
    unsigned backup;      /* a copy of a slice's disk is put aside */
    unsigned restore;     /* and comes back, or an empty one */
    unsigned late_append; /* in a thousand: a batch of a dead leader is appended behind the next */
};

/* ---- messages and the event queue ---- */

struct sim_message {
    uint32_t edge;
    uint64_t edge_life; /* of the sender or receiver: a later life gets nothing */
    uint32_t slice;     /* index */
    bool is_append;     /* in a mailbox: the oldest append is over */
    uint64_t life;      /* of the owner's process: of an append, or when a call was sent */
    uint64_t ticket;
    struct owner_call call;
    struct owner_answer answer;
    bool failed; /* SEEN: the edge was not reached */
    struct standing_seen seen;
};

enum sim_kind {
    SIM_CALL = 1,  /* reaches the slice's mailbox */
    SIM_ANSWER,    /* reaches the edge */
    SIM_NOT_SENT,  /* the edge hears of it */
    SIM_LOST,      /* likewise */
    SIM_APPEND,    /* the disk is done with the oldest append */
    SIM_TURN,      /* the owner's loop turns */
    SIM_EDGE_TICK, /* a launch machine's deadline */
    SIM_START,     /* the owner's process starts */
    SIM_CRASH,
    SIM_RESUME_SLICE,
    SIM_RESUME_EDGE,
    SIM_START_EDGE,
    SIM_HEAL, /* one direction of one link */
    SIM_CLIENT,
    SIM_FAULT,
    SIM_SNAPSHOT, /* the view is encoded and becomes the base of recovery */
    SIM_WATCH,
    SIM_RAW,    /* a raw call is sent again or given up */
    SIM_ASK,    /* an owner asks edges what they saw of its log */
    SIM_SEEN,   /* and hears it */
    SIM_ACCEPT, /* somebody accepts a slice's loss */
    SIM_SWEEP,
};

struct sim_event {
    int64_t at_ms;
    uint64_t order;
    enum sim_kind kind;
    uint32_t who;
    uint32_t other;
    uint64_t life;
    struct sim_message *message; /* owned */
};

/* ---- what the checker knows ---- */

enum sim_outcome { SIM_RUNNING = 0, SIM_OK, SIM_NOT_DONE, SIM_UNKNOWN };

/* One launch or cancel that an edge drove, and what was promised about it. */
struct sim_call {
    uint32_t key;
    struct fly_digest digest;
    bool cancel;
    bool sent_twice; /* the network doubled one of its frames: NOT_DONE promises nothing then */
    enum sim_outcome outcome;
};

struct sim_vm {
    uint64_t id;
    uint32_t slice; /* index */
    uint32_t key;
    struct fly_digest digest;
    bool told_new;      /* OK without `replayed` was given for it once */
    bool acknowledged;  /* a client was told OK */
    bool destroy_asked; /* somebody asked to destroy it */
    bool destroy_acknowledged;
    bool destroyed;        /* by the log */
    bool lost;             /* its slice came back from an older copy */
    bool revived;          /* likewise, and what came after its destroy was lost */
    int64_t life_until_ms; /* slice time at its key's home: until then nothing else may come */
};

struct sim_key {
    struct fly_key key;
    char subject[FLY_SUBJECT_SIZE];
    char region[FLY_REGION_SIZE];
    uint32_t cores;
    uint64_t memory_bytes;
    uint32_t home; /* slice index */
    uint32_t vms;  /* ever made */
    uint32_t vm;   /* the last one made, index into vms */
    bool unsure;   /* its home accepted a loss: it may be bound, and nobody there knows */
    bool exempt; /* a loss that was accepted may have been its own: nothing is promised any more */
    int64_t cancelled_until_ms; /* slice time at home: nothing may come of it, a client was told */
    bool settled;               /* nobody needs to ask about it again */
};

/* A hold that an owner gave out, as its answers tell. */
struct sim_hold {
    struct hold_id id;
    uint32_t cores;
    uint64_t memory_bytes;
    int64_t until_ms; /* boot clock of the slice */
    bool touched;     /* a Commit or Close for it arrived */
    bool elsewhere;   /* by HOLD, not by OPEN */
};

/* A call inside an owner. */
struct sim_pending {
    uint64_t ticket; /* ours */
    uint32_t edge;
    uint64_t edge_life;
    uint64_t edge_ticket;
    struct owner_call call;
    bool waited; /* was not answered in the turn in which it came */
};

/* ---- a slice: the log on its disk, and the process that owns it ---- */

struct sim_entry {
    uint8_t *data;
    size_t size;
};

/* A copy of the disk, and what the checker knew when it was made. */
struct sim_backup {
    struct oracle *oracle; /* NULL: none */
    uint32_t entries;
    struct sim_entry snapshot;
    uint32_t snapshot_index;
    uint32_t event_count;
    uint64_t term;
};

struct sim_slice {
    uint32_t index;
    uint32_t tag;
    struct owner_config config;

    /* disk: entries 0..committed-1 are durable for ever, the others are being appended */
    struct sim_entry *log;
    uint32_t log_count;
    uint32_t log_max;
    uint32_t committed;
    uint32_t appends_over; /* completions that the process has not looked at */
    int64_t append_free_ms;
    struct sim_entry snapshot;
    uint32_t snapshot_index; /* entries in it */
    struct sim_backup backup;
    bool wiped; /* its log was lost as a whole: the next one is not the first of its tag */
    bool below; /* came back from an older copy, and the loss is not in its log */
    struct sim_entry late; /* batch of a dead leader that will be appended behind the next LEAD */

    /* process */
    struct owner *owner; /* NULL: down */
    bool stopped;        /* owner_stop was called */
    bool fresh;          /* had no log, and never had one */
    bool standing_on;
    bool silenced;                  /* may not speak (yet): standing says so */
    bool ask_failed[SIM_EDGES_MAX]; /* it was down or out of reach once since the asking began */
    struct standing standing;
    struct sweep sweep;
    int64_t sweep_at_ms;
    uint32_t held_back; /* committed entries that it has not applied yet, though it leads */
    bool paused;
    uint64_t life;
    uint64_t term;
    int64_t boot_base_ms; /* virtual time of its boot clock's 0 */
    int64_t wall_jump_ms;
    struct sim_message **mail;
    uint32_t mail_count;
    uint32_t mail_max;
    int64_t turn_at_ms; /* scheduled; INT64_MAX: not */
    struct slice_view *view;
    uint32_t view_index;
    struct sim_pending *pending;
    uint32_t pending_count;
    uint64_t next_ticket;
    struct sim_hold *holds;
    uint32_t hold_count;
    int64_t ticked_ms; /* boot clock of the last owner_tick */
    uint64_t holds_expired;

    /* checker: the committed log, folded by the oracle */
    struct oracle *oracle;
    struct event *events; /* the projection: all events behind event_base */
    uint64_t event_base;  /* 0, or where the last accepted loss jumped to */
    uint32_t event_count;
    uint32_t event_max;
    uint64_t cursors[SIM_WATCHERS];
    uint64_t cursors_of[SIM_WATCHERS]; /* incarnation */
    uint32_t machines_wanted;
    uint32_t machines_asked;
};

/* ---- edges and clients ---- */

struct sim_launch {
    bool used;
    uint32_t client;
    uint64_t client_try;
    uint32_t call; /* index into calls */
    uint64_t first_ticket;
    struct launch launch;
};

#define SIM_LOCAL_TICKET UINT64_MAX /* of a call that the slice's own node makes */

enum sim_raw_kind { SIM_RAW_DESTROY = 1, SIM_RAW_MACHINE, SIM_RAW_OPEN, SIM_RAW_COMMIT };

struct sim_raw {
    enum sim_raw_kind kind; /* 0: free */
    uint64_t ticket;
    uint32_t slice;
    uint32_t tries;
    uint32_t vm; /* index; DESTROY */
    uint32_t key;
    uint32_t call_index;
    struct owner_call call;
};

struct sim_edge {
    uint32_t index;
    bool down;
    bool paused;
    uint64_t life;
    int64_t boot_base_ms;
    uint64_t next_ticket;
    int64_t tick_at_ms;
    struct sim_launch launches[SIM_LAUNCHES_MAX];
    struct sim_raw raws[SIM_RAWS_MAX];
    struct standing_seen seen[SIM_SLICES_MAX]; /* durable */
    struct sim_event *waiting;                 /* what arrived while it was paused */
    uint32_t waiting_count;
    uint32_t waiting_max;
};

enum sim_client_state { SIM_IDLE = 0, SIM_WAITING };

struct sim_client {
    uint32_t index;
    enum sim_client_state state;
    int64_t clock_skew_ms;
    uint32_t key;    /* under way, or to be settled; UINT32_MAX: none */
    uint32_t edge;   /* of the last try */
    uint64_t try_id; /* answers to earlier tries are ignored */
    uint32_t tries;
    bool doubt; /* a try with this key ended UNKNOWN */
    bool cancelling;
    int64_t give_up_ms;
};

struct sim_world {
    uint64_t seed;
    bool verbose;
    struct fly_rng rng;
    struct sim_faults faults;
    int64_t now_ms;
    bool healing;
    bool limit; /* an owner served that must not, where DESIGN 4.10 cannot see it: the seed ends */
    uint64_t steps;
    uint64_t hash;
    char trace[SIM_TRACE_LINES][SIM_TRACE_SIZE];
    uint64_t trace_count;

    struct sim_event *heap;
    uint32_t heap_count;
    uint32_t heap_max;
    uint64_t order;

    uint32_t slice_count;
    uint32_t edge_count;
    uint32_t client_count;
    uint32_t shared_keys; /* in a thousand: a client takes a key that is there already */
    uint32_t recent_keys; /* one of the last so many */
    uint32_t other_spec;  /* in a thousand of those: with another size */
    uint32_t hashed_keys; /* in a thousand */
    uint32_t vm_cores_max;
    struct sim_slice slices[SIM_SLICES_MAX];
    struct sim_edge edges[SIM_NODES_MAX];
    struct sim_client clients[SIM_CLIENTS_MAX];
    bool cut_calls[SIM_NODES_MAX][SIM_SLICES_MAX];
    bool cut_answers[SIM_NODES_MAX][SIM_SLICES_MAX];

    struct sim_key *keys;
    uint32_t key_count;
    struct sim_call *calls;
    uint32_t call_count;
    uint32_t call_max;
    struct sim_vm *vms;
    uint32_t vm_count;
    uint32_t settle_next;
    uint32_t leaps;
};

/* queue.c: chance, trace, events */
uint64_t sim_below(struct sim_world *w, uint64_t bound);
bool sim_chance(struct sim_world *w, unsigned per_mille);
/* Uniform in [low, high]. */
int64_t sim_between(struct sim_world *w, int64_t low, int64_t high);
__attribute__((format(printf, 2, 3))) void sim_trace(struct sim_world *w, const char *format, ...);
/* Prints what was violated, the line that replays it and the last events; ends the process. */
__attribute__((format(printf, 2, 3), noreturn)) void sim_fail(struct sim_world *w,
                                                              const char *format, ...);
void sim_print_trace(const struct sim_world *w);
void sim_at(struct sim_world *w, int64_t at_ms, enum sim_kind kind, uint32_t who, uint32_t other,
            uint64_t life, struct sim_message *message);
bool sim_next(struct sim_world *w, struct sim_event *out);
const char *sim_key_text(const struct fly_key *key);

/* net.c */
void net_send_call(struct sim_world *w, struct sim_edge *e, uint32_t slice,
                   const struct owner_call *call, struct sim_call *of);
void net_send_answer(struct sim_world *w, uint32_t slice, const struct sim_pending *p,
                     const struct owner_answer *answer);
/* The call reached nobody: what the edge may hear of it. */
void net_call_dropped(struct sim_world *w, const struct sim_message *m);

/* disk.c */
/* False: refused before submission. */
bool disk_submit(struct sim_world *w, struct sim_slice *s, const uint8_t *data, size_t size);
/* The process or the disk failed: a random prefix of what was under way is durable. */
void disk_break(struct sim_world *w, struct sim_slice *s);
void disk_snapshot(struct sim_world *w, struct sim_slice *s);
/* One entry became durable: the oracle folds it, check.c looks at it. */
void disk_commit(struct sim_world *w, struct sim_slice *s);
void disk_append_late(struct sim_world *w, struct sim_slice *s);
void disk_free(struct sim_slice *s);

/* authority.c: the shell of an owner */
struct owner_now authority_now(const struct sim_world *w, const struct sim_slice *s);
void authority_start(struct sim_world *w, struct sim_slice *s);
void authority_crash(struct sim_world *w, struct sim_slice *s);
void authority_mail(struct sim_world *w, struct sim_slice *s, struct sim_message *m);
void authority_turn(struct sim_world *w, struct sim_slice *s);
void authority_resume(struct sim_world *w, struct sim_slice *s);
void authority_forget_process(struct sim_world *w, struct sim_slice *s);
/* A turn soon, and what the owner has to say now. */
void authority_wake(struct sim_world *w, struct sim_slice *s);
void authority_drain(struct sim_world *w, struct sim_slice *s);

/* witness.c: what edges saw of a slice, and whether its owner may speak */
void witness_start(struct sim_slice *s);
/* The own term's entry was applied: now the log's end is known. */
void witness_ready(struct sim_world *w, struct sim_slice *s);
/* Edges hear of what was published. */
void witness_publish(struct sim_world *w, struct sim_slice *s);
void witness_event(struct sim_world *w, struct sim_slice *s, struct sim_event *e);
/* The answer to the LOSS that somebody asked for. */
void witness_answer(struct sim_world *w, struct sim_slice *s, const struct owner_answer *a);

/* restore.c: copies of a slice's disk that come back */
void restore_backup(struct sim_world *w, struct sim_slice *s);
void restore_strike(struct sim_world *w, struct sim_slice *s);
void restore_accepted(struct sim_world *w, struct sim_slice *s);
void restore_free(struct sim_slice *s);

/* sweeper.c: the sweep of a slice's own node */
void sweeper_start(struct sim_world *w, struct sim_slice *s);
void sweeper_tick(struct sim_world *w, struct sim_slice *s);
void sweeper_event(struct sim_world *w, struct sim_slice *s, const struct sim_event *e);

/* edge.c */
int64_t edge_now(const struct sim_world *w, const struct sim_edge *e);
/* False: no room or down. */
bool edge_launch(struct sim_world *w, struct sim_edge *e, uint32_t client, uint32_t key,
                 uint32_t cores, bool cancel, int64_t timeout_ms);
void edge_event(struct sim_world *w, struct sim_edge *e, struct sim_event *event);
void edge_crash(struct sim_world *w, struct sim_edge *e);
void edge_resume(struct sim_world *w, struct sim_edge *e);
bool edge_raw(struct sim_world *w, struct sim_edge *e, const struct sim_raw *raw);
/* Somebody there still waits for the answer to this ticket. */
bool edge_waits_for(const struct sim_edge *e, uint64_t ticket);
bool edge_idle(const struct sim_edge *e);

/* client.c */
void client_wake(struct sim_world *w, struct sim_client *c);
void client_told(struct sim_world *w, uint32_t client, uint64_t try_id, bool cancel,
                 const struct launch_result *r);
uint32_t client_make_key(struct sim_world *w, struct sim_client *c);

/* check.c */
uint32_t check_call_begin(struct sim_world *w, uint32_t key, const struct fly_digest *digest,
                          bool cancel);
void check_call_end(struct sim_world *w, uint32_t call, const struct launch_result *r);
void check_entry(struct sim_world *w, struct sim_slice *s, const struct oracle_effects *effects);
void check_recovered(struct sim_world *w, struct sim_slice *s);
void check_call_in(struct sim_world *w, struct sim_slice *s, const struct owner_call *call);
void check_answer(struct sim_world *w, struct sim_slice *s, const struct sim_pending *p,
                  const struct owner_answer *answer);
void check_slice(struct sim_world *w, struct sim_slice *s);
void check_watch(struct sim_world *w, struct sim_slice *s, uint32_t watcher);
void check_end(struct sim_world *w);

/* world.c */
void world_run(struct sim_world *w, uint64_t steps);
void world_free(struct sim_world *w);
/* Somebody asks for the inventory that the slice is to have. */
void world_add_machines(struct sim_world *w, struct sim_slice *s);
/* fault.c: the swarm of one seed, and what strikes every now and then */
void fault_choose(struct sim_world *w);
void fault_strike(struct sim_world *w);

#endif
