/*
 * cluster - the text forms of what a state folder keeps: the cluster record and two key files.
 *
 *   cluster.json   {"format":"flylight-cluster-1","cluster":"<32 hex>","issuer":"k4.public.…",
 *                   "issuer_kid":"k4.pid.…","root":"<6 hex>","created_at":"<RFC 3339>",
 *                   "ca":"<64 hex>","tls_ca_sha256":"<64 hex>"}
 *   issuer.key     k4.secret.…            one line; signs user tokens; only where it was made
 *   node.key       flynode-ed25519-1.…    one line; base64url of a seed; signs for this node
 *
 * The last two came with clusters of several nodes; a record without them is of a `flynode dev`
 * before that. The record holds no secret. Both ends of the arrow read these files (node/identity,
 * client/lib/issuer), so their form stands here; opening files is their business. Pure.
 */
#ifndef FLY_WIRE_CLUSTER_H
#define FLY_WIRE_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/token.h"

#define CLUSTER_RECORD_FILE "cluster.json"
#define CLUSTER_ISSUER_FILE "issuer.key"
#define CLUSTER_NODE_FILE "node.key"
#define CLUSTER_LOCK_FILE "lock"

enum {
    CLUSTER_ID_BYTES = 16,
    CLUSTER_ID_SIZE = 33,    /* 32 lower-case hex digits and the NUL */
    CLUSTER_FILE_MAX = 4096, /* no file of these is longer */
    CLUSTER_NODE_SEED_SIZE = 32,
    CLUSTER_HASH_SIZE = 32,
};

struct cluster_record {
    char id[CLUSTER_ID_SIZE];
    struct token_public_key issuer;
    uint32_t root_tag; /* 24 bits, not 0: slice that is home of hashed keys */
    int64_t created_ms;
    bool has_ca;                            /* the next two are there */
    uint8_t ca[32];                         /* Ed25519 public key: vouches for nodes */
    uint8_t tls_ca_hash[CLUSTER_HASH_SIZE]; /* SHA-256 of the TLS CA's certificate, DER */
};

/* A node's own key; of another kind than the keys that sign tokens. */
struct node_seed {
    uint8_t bytes[CLUSTER_NODE_SEED_SIZE];
};

/* Each writes a file's text with a newline at its end and a NUL after it; returns its size without
 * the NUL. */
size_t cluster_record_encode(const struct cluster_record *record,
                             char out[static CLUSTER_FILE_MAX]);
size_t issuer_key_encode(const struct token_secret_key *key, char out[static CLUSTER_FILE_MAX]);
size_t node_key_encode(const struct node_seed *seed, char out[static CLUSTER_FILE_MAX]);

/* INVALID_ARGUMENT says what is wrong and never quotes a key; UNIMPLEMENTED: a format of a newer
 * version. *out is untouched then. Members nobody here knows are passed over. */
enum fly_status cluster_record_decode(const void *data, size_t size, struct cluster_record *out,
                                      struct fly_error *error);
enum fly_status issuer_key_decode(const void *data, size_t size, struct token_secret_key *out,
                                  struct fly_error *error);
enum fly_status node_key_decode(const void *data, size_t size, struct node_seed *out,
                                struct fly_error *error);

#endif
