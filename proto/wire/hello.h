/*
 * hello - how a node proves itself in HELLO: a signature over this very handshake (DESIGN 9).
 *
 *   message   cluster id ‖ side (1 client, 2 server) ‖ client's nonce ‖ server's nonce ‖
 *             client's node id ‖ server's node id ‖ the signer's TLS hash
 *
 * Both nonces are in the prefaces of the connection (frame.h), so a proof is good for one
 * connection only; both ids are in it, so none can be passed on to a third node. The client says
 * whom it means to reach: a server that is not that node refuses. A credential without its key
 * gives no proof. Pure.
 */
#ifndef FLY_WIRE_HELLO_H
#define FLY_WIRE_HELLO_H

#include "proto/wire/credential.h"
#include "proto/wire/frame.h"

struct hello_handshake {
    const char *cluster;         /* 32 hex digits */
    const uint8_t *client_nonce; /* FRAME_NONCE_SIZE each */
    const uint8_t *server_nonce;
    struct node_id client;
    struct node_id server;
};

enum hello_side { HELLO_CLIENT = 1, HELLO_SERVER = 2 };

void hello_sign(const struct hello_handshake *h, enum hello_side side, const struct node_keys *keys,
                const uint8_t tls_hash[static NODE_TLS_HASH_SIZE],
                uint8_t out[static NODE_SIGNATURE_SIZE]);
/* The other side's credential and proof. `c` is filled when FLY_OK. UNAUTHENTICATED says why:
 * malformed, foreign, expired, not the node that was meant, proof not of this handshake. */
enum fly_status hello_verify(const struct hello_handshake *h, enum hello_side side,
                             struct fly_bytes credential, struct fly_bytes proof,
                             const uint8_t ca[static NODE_KEY_SIZE], int64_t now_ms,
                             struct credential *c, struct fly_error *error);

#endif
