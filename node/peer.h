/*
 * peer - who is at the other end of a connection, and what that may call (DESIGN 9).
 *
 * Three kinds: nobody, a user (by a token), a node (by a credential and a proof of its key). Every
 * method belongs to users with a scope or to nodes with one of some roles; neither stands in for
 * the other. The table is the only place that says so, and a method that is not in it is refused.
 */
#ifndef FLY_NODE_PEER_H
#define FLY_NODE_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "node/edge/gate.h"
#include "proto/rpc/method.h"
#include "proto/wire/credential.h"

enum { PEER_PRESENTED_MAX = 256 };

enum peer_kind { PEER_NOBODY = 0, PEER_USER, PEER_NODE };

/* A user's token that a node has shown on its connection. */
struct peer_presented {
    uint8_t hash[TOKEN_HASH_SIZE];
    struct gate_peer user;
    uint64_t used; /* turn of its last use; 0: empty */
};

struct peer {
    enum peer_kind kind;
    struct gate_peer user; /* USER */
    char *token;           /* USER: to be shown to owners; owned */
    uint8_t token_hash[TOKEN_HASH_SIZE];
    struct credential node;           /* NODE */
    struct peer_presented *presented; /* NODE: PEER_PRESENTED_MAX, made when first used; owned */
    uint64_t turn;
};

/* The hash under which a token is named between nodes: unkeyed, of its text. */
void peer_token_hash(const char *token, uint8_t out[static TOKEN_HASH_SIZE]);
struct peer *peer_create(enum peer_kind kind);
/* Wipes what it knew. NULL is fine. */
void peer_destroy(struct peer *p);
/* A node has shown a token of this user; the one used longest ago makes room. */
void peer_present(struct peer *p, const uint8_t hash[static TOKEN_HASH_SIZE],
                  const struct gate_peer *user);
/* NULL: not shown on this connection. */
const struct gate_peer *peer_presented(struct peer *p, const uint8_t hash[static TOKEN_HASH_SIZE]);

/* A number for whom it speaks for, never 0: what connections of one share (rpc_hello_set_tenant).
 */
uint64_t peer_tenant(const struct peer *p);

/* The same as below for the methods of services that the RPC layer answers (proto/rpc/builtin.h):
 * anybody, or everybody who is somebody. Any thread. */
enum fly_status peer_may_builtin(const struct peer *peer, const struct rpc_method *method,
                                 int64_t wall_ms, struct gate_refusal *refusal);
/* Whether `peer` (NULL: nobody) may call the method now. UNAUTHENTICATED or PERMISSION_DENIED say
 * why in `refusal`; its reason is of fly.v1.Reason. */
enum fly_status peer_may(struct gate *gate, const struct peer *peer,
                         const struct rpc_method *method, int64_t wall_ms,
                         struct gate_refusal *refusal);

#endif
