/*
 * jointoken - what an operator carries from the cluster to a new node: one line.
 *
 *   fly-join-1.<base64url of>
 *     version (1) ‖ cluster id (16) ‖ BLAKE2b-256 of the CA's key (32) ‖ token id (8) ‖ secret (16)
 *     ‖ roles (1) ‖ expires, ms (8) ‖ count (1) ‖ count × { flags (1) ‖ ip (16) ‖ port (2) }
 *     ‖ check (4): the first bytes of BLAKE2b-256 of all before
 *
 * The CA's hash lets the joiner know the cluster before it says the secret; the addresses are there
 * because a node without the group's key cannot read sealed beacons; the check tells a mistyped
 * token from one that the cluster does not know. It is a secret: never logged. DESIGN 9. Pure.
 */
#ifndef FLY_WIRE_JOINTOKEN_H
#define FLY_WIRE_JOINTOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/cluster.h"
#include "proto/wire/credential.h"

enum {
    JOIN_TOKEN_ID_SIZE = 8,
    JOIN_TOKEN_ID_TEXT_SIZE = 17, /* hex and the NUL */
    JOIN_TOKEN_SECRET_SIZE = 16,
    JOIN_TOKEN_CA_HASH_SIZE = 32,
    JOIN_TOKEN_ADDRESSES_MAX = 4,
    JOIN_TOKEN_TEXT_MAX = 256, /* with the NUL */
};

/* Where an admitting node takes RPC. IPv4 as ::ffff:a.b.c.d. */
struct join_address {
    uint8_t ip[16];
    uint16_t port;
    bool tls;
};

struct join_token {
    char cluster[CLUSTER_ID_SIZE];
    uint8_t ca_hash[JOIN_TOKEN_CA_HASH_SIZE];
    uint8_t id[JOIN_TOKEN_ID_SIZE];
    uint8_t secret[JOIN_TOKEN_SECRET_SIZE];
    uint32_t roles; /* that its bearer may get, at the most */
    int64_t expires_ms;
    uint8_t address_count; /* 1..JOIN_TOKEN_ADDRESSES_MAX */
    struct join_address addresses[JOIN_TOKEN_ADDRESSES_MAX];
};

/* What a token says of the CA. */
void join_token_ca_hash(const uint8_t ca[static NODE_KEY_SIZE],
                        uint8_t out[static JOIN_TOKEN_CA_HASH_SIZE]);
void join_token_id_format(const uint8_t id[static JOIN_TOKEN_ID_SIZE],
                          char out[static JOIN_TOKEN_ID_TEXT_SIZE]);
/* Writes the line without a newline, NUL-terminated; returns its size. */
size_t join_token_encode(const struct join_token *token, char out[static JOIN_TOKEN_TEXT_MAX]);
/* Strict; blanks around it are taken (it was pasted). INVALID_ARGUMENT tells no join token at all
 * from a cut or mistyped one, and never quotes it; UNIMPLEMENTED: of a newer version. */
enum fly_status join_token_decode(const char *text, size_t size, struct join_token *out,
                                  struct fly_error *error);

#endif
