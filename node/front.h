/*
 * front - a node's RPC face: who calls, what they may, and each method's way through the node.
 *
 * Launch and Cancel run a launch machine each (node/edge/launch.h), Destroy is one owner call,
 * reads ask the slices' owners, Watch is fed from the streams at every turn; the Slice service
 * speaks for the slice that is hosted here. All of it on the loop's thread; what the pollers hand
 * over comes through the mailbox. Shell.
 */
#ifndef FLY_NODE_FRONT_H
#define FLY_NODE_FRONT_H

#include <stdbool.h>
#include <stdint.h>

#include "node/catalog/catalog.h"
#include "node/directory.h"
#include "node/edge/gate.h"
#include "node/host.h"
#include "node/identity.h"
#include "proto/rpc/server.h"

struct front;
struct links;
struct streams;

/* Pointers are borrowed for the front's life. */
struct front_config {
    const struct identity *identity; /* proves this node to others */
    const char *node_name;
    uint32_t roles; /* of enum node_role */
    uint32_t tag;   /* the slice hosted here; 0: none */
    uint32_t root_tag;
    struct catalog *catalog;
    struct directory *directory;
    struct streams *streams;
    struct links *links;     /* NULL: no other nodes (dev) */
    const struct seen *seen; /* which slices were declared lost */
    struct gate_config gate; /* copied */
};

struct front *front_create(const struct front_config *config);
/* FLY_CHECKs that it is idle. NULL is fine. */
void front_destroy(struct front *f);
/* The host outlives the front's last call; NULL: it is gone. */
void front_attach(struct front *f, struct host *host);

void front_hello(struct front *f, struct rpc_hello *hello, struct owner_now now);
/* Whether the caller may call this, and the node still takes calls; else it is refused here. */
bool front_admits(struct front *f, struct rpc_call *call, struct owner_now now);
/* Takes a call that was admitted: answers it now or later. */
void front_call(struct front *f, struct rpc_call *call, struct owner_now now);
void front_cancel(struct front *f, struct rpc_call *call);
void front_writable(struct front *f, struct rpc_call *call);
void front_peer_gone(struct front *f, void *peer);

/* The host's answers. */
void front_answer(struct front *f, const struct owner_answer *answer, struct owner_now now);

/* Launches whose time has come; watchers that can be told something. */
void front_turn(struct front *f, struct owner_now now);
int64_t front_deadline(const struct front *f);
/* The cluster is known here, as far as it can be: until then users are told to try again, or what
 * this node does not know of yet would be told not to be there. */
void front_open(struct front *f);
/* Refuses new calls and ends the watchers; launches under way may go on. */
void front_stop(struct front *f);
/* Answers everything that is left: launches UNKNOWN or NOT_DONE as they stand. */
void front_abandon(struct front *f, struct owner_now now);
/* No call is held here any more. */
bool front_idle(const struct front *f);

#endif
