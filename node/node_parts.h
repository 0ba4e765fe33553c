/*
 * node_parts - the insides of a node: node.c (the loop and its phases), node_post.c (nng's threads)
 * and node_open.c (what is made before the loop runs).
 */
#ifndef FLY_NODE_NODE_PARTS_H
#define FLY_NODE_NODE_PARTS_H

#include <stdatomic.h>
#include <uv.h>

#include "node/config.h"
#include "node/front.h"
#include "node/identity.h"
#include "node/inventory.h"
#include "node/mailbox.h"
#include "node/reconcile.h"

enum {
    CONNECTIONS_MAX = 1024,
    START_LANE_MAX = 4096,
    FINISH_LANE_MAX = 8192,
    /* every stream (waiting or watching) may be cancelled and become writable, every connection
     * end; the other half is for HELLOs */
    CONTROL_LANE_MAX = 4 * (START_LANE_MAX + CONNECTIONS_MAX),
    TAKE_MAX = 256, /* letters of one lane in one turn */
    DRAIN_MS = 2000,
    CLOSE_MS = 10000, /* for the log to close; a disk that never answers ends the process */
    LET_GO_MS = 2,    /* pause between looks at connections that close */
    VERIFY_PER_S = 200,
    VERIFY_BURST = 400,
};

/* CLOSING: the host closes. CLOSED: connections let go. GONE: handles close, the loop ends. */
enum phase { STARTING, SERVING, DRAINING, CLOSING, CLOSED, GONE };

struct node {
    const struct node_config *config;
    uv_loop_t loop;
    uv_check_t check; /* a turn after every poll for IO */
    uv_timer_t timer;
    uv_signal_t signals[2];
    struct mailbox mailbox;
    struct identity identity;
    struct inventory inventory;
    void *catalog_memory;
    size_t catalog_bytes;
    struct catalog *catalog;
    struct host *host;
    struct front *front;
    struct reconcile reconcile;
    struct rpc_server *server;
    enum phase phase;
    int64_t drain_until_ms;
    int64_t close_until_ms;
    int exit_code;
    atomic_bool serving; /* what health says */
    char slice_dir[JOURNAL_DIR_MAX];
    char name[64];
};

/* node_open.c: each step needs the ones before it. */
enum fly_status node_load_inventory(struct node *n, struct fly_error *error);
enum fly_status node_make_slice_dir(struct node *n, struct fly_error *error);
void node_make_catalog(struct node *n);
void node_make_front(struct node *n);

/* node_post.c: listens; from then on nng's threads post to the mailbox. */
enum fly_status node_listen(struct node *n, struct fly_error *error);

#endif
