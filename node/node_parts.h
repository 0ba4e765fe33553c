/*
 * node_parts - the insides of a node: node.c (the loop and its phases), node_post.c (pollers'
 * threads), node_open.c (what is made before the loop runs), node_cluster.c (other nodes)
 * node_standing.c (whether the slice here may speak) and node_builtin.c (what the RPC layer
 * answers).
 */
#ifndef FLY_NODE_NODE_PARTS_H
#define FLY_NODE_NODE_PARTS_H

#include <stdatomic.h>
#include <uv.h>

#include "gossip/udp.h"
#include "node/accept_loss.h"
#include "node/admitting.h"
#include "node/catalog/duplicate.h"
#include "node/catalog/peers.h"
#include "node/catalog/seen.h"
#include "node/config.h"
#include "node/edge/sweep.h"
#include "node/front.h"
#include "node/identity.h"
#include "node/inventory.h"
#include "node/mailbox.h"
#include "node/node_dash.h"
#include "node/node_forget.h"
#include "node/peers_file.h"
#include "node/reconcile.h"
#include "node/slice/standing.h"
#include "node/streams.h"
#include "proto/feed/feed.h"
#include "proto/rpc/builtin.h"
#include "proto/wire/flush.h"

enum {
    CONNECTIONS_MAX = 1024,
    START_LANE_MAX = 4096,
    FINISH_LANE_MAX = 8192,
    /* every stream (waiting or watching) may be cancelled and become writable, every connection
     * end, every call of ours to other nodes be answered and every link come and go; the other half
     * is for HELLOs */
    CONTROL_LANE_MAX =
        4 * (START_LANE_MAX + CONNECTIONS_MAX) + 2 * (LINK_CALLS_MAX + 4 * LINKS_MAX),
    STREAM_LANE_MAX = 4096,
    TENANT_CALLS_MAX = START_LANE_MAX / 2, /* nobody alone fills the lane that sheds */
    BUILTIN_QUEUE_MAX = 256,
    METHODS_MAX = 64,
    PICTURED_MACHINES_MAX = 1 << 18, /* of all slices, in the catalog and the dash's picture */
    TAKE_MAX = 256,                  /* letters of one lane in one turn */
    DRAIN_MS = 2000,
    TRIM_MS = 5000,
    TRIM_CONNECTIONS = 256, /* that came since the last time */
    CLOSE_MS = 10000,       /* for the log to close; a disk that never answers ends the process */
    LET_GO_MS = 2,          /* pause between looks at connections that close */
    VERIFY_PER_S = 200,
    VERIFY_BURST = 400,
};

/* The ticket of OWNER_LOSS: none of the front's (front_parts.h) nor of reconcile's. */
#define NODE_TICKET_LOSS (UINT64_C(1) << 58)

/* CLOSING: the host closes. CLOSED: connections let go. GONE: handles close, the loop ends. */
enum phase { STARTING, SERVING, DRAINING, CLOSING, CLOSED, GONE };

enum { NODE_SERVICES = 3, NODE_DESCRIBED_MAX = 8 };

/* What the RPC layer answers by itself, on threads of its own (node_builtin.c). */
struct node_builtin {
    struct rpc_health_board *board;
    struct rpc_reflection *reflection;
    struct rpc_service services[NODE_SERVICES];       /* health, reflection, metrics */
    struct rpc_service described[NODE_DESCRIBED_MAX]; /* all that reflection tells of */
    size_t described_count;
    bool serving; /* what the board was told */
};

struct node_dash;

struct node {
    const struct node_config *config;
    const struct config_run *run; /* NULL: dev, a cluster of one */
    const struct config_http *http;
    int64_t began_ms; /* boot clock */
    uv_loop_t loop;
    uv_check_t check; /* a turn after every poll for IO */
    uv_timer_t timer;
    uv_signal_t signals[2];
    struct mailbox mailbox;
    struct identity identity;
    uint32_t roles;
    uint32_t tag; /* of the slice hosted here; 0: none */
    struct inventory inventory;
    void *catalog_memory;
    size_t catalog_bytes;
    struct catalog *catalog;
    struct host *host; /* NULL: none */
    struct front *front;
    struct node_dash *dash; /* NULL: none */
    struct reconcile reconcile;
    bool inventory_applied;
    struct rpc_server *server;
    struct node_builtin builtin;
    const struct rpc_method *methods[METHODS_MAX]; /* those that the loop answers */
    enum phase phase;
    int64_t trim_ms; /* when the heap is looked at again */
    uint64_t trim_accepted;
    int64_t drain_until_ms;
    int64_t close_until_ms;
    int exit_code;
    atomic_bool serving; /* what health and gossip say */
    char slice_dir[JOURNAL_DIR_MAX];
    char name[NODE_NAME_SIZE];
    char region[GOSSIP_REGION_SIZE];

    /* node_cluster.c */
    atomic_uint_fast64_t beat; /* turns: gossip watches it */
    atomic_bool members_posted;
    atomic_bool settled;
    atomic_bool twin;
    atomic_size_t feed_waiting; /* bytes of letters in the lane */
    struct gossip_thread *gossip;
    struct gossip_meta meta; /* what does not change; see node_tell */
    struct gossip_meta told;
    char note[GOSSIP_NOTE_SIZE];
    struct directory directory;
    struct links *links; /* NULL in dev */
    struct streams *streams;
    struct feed_publisher *publisher;
    struct feed_subscriber *subscriber;
    struct seen *seen;
    struct peers *peers;
    struct peers_file *peers_file; /* NULL in dev */
    int64_t look_ms;               /* when slices are judged again */
    struct admitting *admitting;   /* NULL: this node admits nobody */
    struct duplicate duplicate;
    struct flush flush;
    struct node_forget forget; /* node_forget.c */
    uint64_t flush_resets;     /* of the stream that flush counts; 0: none yet */
    uint64_t feed_refused;     /* that were told */
    int64_t feed_tell_ms;      /* not before */
    uint8_t feed_message[FLUSH_MESSAGE_BYTES];

    /* node_standing.c */
    struct standing standing;
    bool standing_begun;
    enum standing_state standing_applied; /* told to the owner; 0: nothing yet */
    struct accept_loss loss_word;         /* a person's, read at the start */
    bool loss_allowed;                    /* it is about this log as it stands */
    bool loss_asked;                      /* OWNER_LOSS of `loss` is under way */
    struct standing_loss loss;
    bool orphans_told;
};

/* node_open.c: each step needs the ones before it. */
enum fly_status node_load_inventory(struct node *n, struct fly_error *error);
enum fly_status node_make_slice_dir(struct node *n, struct fly_error *error);
void node_make_catalog(struct node *n);
/* The machines of the slice here, as a snapshot tells them, into the catalog. */
void node_put_machines(struct node *n, const struct slice_state *s);
/* Of the cluster's tokens. */
void node_gate_config(const struct node *n, struct gate_config *out);
void node_make_front(struct node *n);

/* node_cluster.c. The feed's sockets are made before any thread of the node's own, gossip last. */
void node_make_streams(struct node *n);
enum fly_status node_open_feed(struct node *n, struct fly_error *error);
enum fly_status node_open_peers(struct node *n, struct fly_error *error);
enum fly_status node_open_gossip(struct node *n, struct fly_error *error);
enum fly_status node_open_admission(struct node *n, struct fly_error *error);
/* Letters of the gossip and feed threads. */
void node_members(struct node *n, struct owner_now now);
void node_take_feed(struct node *n, void *what, struct owner_now now);
void node_tell(struct node *n);
/* This node as a member, for `dev`, which has no gossip. */
void node_self_member(const struct node *n, struct gossip_member *out);
void node_cluster_turn(struct node *n, struct owner_now now);
int64_t node_cluster_deadline(const struct node *n);
/* Says good-bye and stops their threads; waits for them. */
void node_cluster_stop(struct node *n);

/* node_builtin.c. Once, before the server listens; `fini` after it was destroyed. */
enum fly_status node_builtin_make(struct node *n, struct fly_error *error);
void node_builtin_fini(struct node *n);
bool node_builtin_answers(const struct node *n, const struct rpc_method *method);
/* Tells those who watch whether it serves. */
void node_builtin_health(struct node *n, bool serving);
/* Never again: it drains. */
void node_builtin_shutdown(struct node *n);

/* node_admin.c. False: not one of its methods. */
bool node_admin(struct node *n, struct rpc_call *call, struct owner_now now);
/* This node has no admission key; names one that has. */
void node_refuse_admission(struct node *n, struct rpc_call *call);

/* node_standing.c */
void node_standing_ready(struct node *n, struct owner_now now);
void node_standing_members(struct node *n, struct owner_now now);
/* True while the slice may decide. */
bool node_standing_turn(struct node *n, struct owner_now now);
int64_t node_standing_deadline(const struct node *n);
/* If the slice here is a forgotten one, it stays quarantined. `who`: told it. */
void node_standing_forgotten(struct node *n, const char *who);
/* The owner's answer to NODE_TICKET_LOSS. */
void node_standing_loss(struct node *n, const struct owner_answer *answer, struct owner_now now);
void node_serve_seen(struct node *n, struct rpc_call *call);

/* node_post.c: listens; from then on pollers post to the mailbox. */
enum fly_status node_listen(struct node *n, struct fly_error *error);

#endif
