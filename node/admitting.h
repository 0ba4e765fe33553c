/*
 * admitting - the thread of a node that admits others: the Join service, and join tokens for
 * admins.
 *
 * A join writes to the disk before it is answered, so it may not be done on the node's loop: calls
 * that were let through wait here, at most ADMITTING_WAITING_MAX, and are answered one after the
 * other. What it knows of the members it asks gossip. Shell.
 */
#ifndef FLY_NODE_ADMITTING_H
#define FLY_NODE_ADMITTING_H

#include "gossip/udp.h"
#include "node/identity.h"
#include "node/join.h"
#include "proto/rpc/server.h"

struct admitting;

enum { ADMITTING_WAITING_MAX = 64 };

struct admitting_config {
    struct identity *identity;    /* borrowed, not changed meanwhile */
    struct gossip_thread *gossip; /* borrowed; NULL: alone (dev) */
    struct join_address address;  /* where this node takes RPC: what tokens say */
    const char *gossip_address;   /* "10.0.0.5:7400"; copied */
};

/* A node that does not admit (identity.has_admission) has none: FAILED_PRECONDITION. Errors as
 * admission_book_open. */
enum fly_status admitting_create(struct admitting **out, const struct admitting_config *config,
                                 struct fly_error *error);
/* Turns away what waits, ends the thread. NULL is fine. */
void admitting_destroy(struct admitting *a);
/* Takes a call of Join, or of Admin's join tokens, that may be made; answers it later, or now when
 * too many wait. */
void admitting_call(struct admitting *a, struct rpc_call *call);
/* Whether admitting_call takes this method. */
bool admitting_serves(const struct rpc_method *method);

#endif
