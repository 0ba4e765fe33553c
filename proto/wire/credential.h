/*
 * credential - what makes a node a member: its key, its roles and who vouches for them.
 *
 * Two signed records, one behind the other, compact because gossip carries them:
 *
 *   admission   the CA says: the bearer of this key may admit nodes of these roles until then
 *   node        an admission key says: the bearer of this key is node NAME with these roles until
 *               then, its TLS key has this hash, and this slice tag is its own
 *
 * A credential alone proves nothing about who shows it: HELLO adds a signature over the handshake
 * (hello.h), gossip one over each claim. Signatures are Ed25519 over a domain text, the cluster's
 * id and the record: a credential of another cluster fails its signature. DESIGN 9. Pure.
 */
#ifndef FLY_WIRE_CREDENTIAL_H
#define FLY_WIRE_CREDENTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/wire/cluster.h"

enum {
    NODE_ID_SIZE = 16,
    NODE_ID_TEXT_SIZE = 33, /* 32 lower-case hex digits and the NUL */
    NODE_KEY_SIZE = 32,     /* Ed25519 public key */
    NODE_SECRET_SIZE = 64,  /* seed ‖ public key */
    NODE_SIGNATURE_SIZE = 64,
    NODE_NAME_SIZE = 64,     /* [a-z0-9-]{1,63} and the NUL */
    NODE_TLS_HASH_SIZE = 32, /* SHA-256 of the TLS key's SubjectPublicKeyInfo; all zero: none */
    CREDENTIAL_BYTES_MAX = 384,
    NODE_ROLES_TEXT_SIZE = 32,
};

/* Bits of a set. */
enum node_role {
    NODE_ROLE_PEER = 1 << 0,
    NODE_ROLE_EDGE = 1 << 1,
    NODE_ROLE_DASH = 1 << 2,
    NODE_ROLE_ADMIT = 1 << 3, /* holds an admission key */
    NODE_ROLE_ALL = (1 << 4) - 1,
};

/* BLAKE2b-128 of the node's public key: no address in it, and nobody can choose another's. */
struct node_id {
    uint8_t bytes[NODE_ID_SIZE];
};

/* A node's own key pair. */
struct node_keys {
    uint8_t public_key[NODE_KEY_SIZE];
    uint8_t secret[NODE_SECRET_SIZE];
};

/* The CA's, or an admission key's: signs records and nothing else. */
struct authority_keys {
    uint8_t public_key[NODE_KEY_SIZE];
    uint8_t secret[NODE_SECRET_SIZE];
};

struct admission {
    uint8_t key[NODE_KEY_SIZE]; /* of the admission key */
    uint32_t roles;             /* that it may give, at the most */
    int64_t expires_ms;         /* wall */
    uint8_t signature[NODE_SIGNATURE_SIZE];
};

struct credential {
    struct admission admission;
    struct node_id id; /* of `key`; not on the wire */
    uint8_t key[NODE_KEY_SIZE];
    char name[NODE_NAME_SIZE];
    uint32_t roles;
    uint32_t slice_tag; /* 24 bits: slice that this node may found, allotted to no other; 0: none */
    int64_t issued_ms;
    int64_t expires_ms;
    uint8_t tls_hash[NODE_TLS_HASH_SIZE];
    uint8_t signature[NODE_SIGNATURE_SIZE];
};

void node_keys_from_seed(const struct node_seed *seed, struct node_keys *out);
void authority_keys_from_seed(const uint8_t seed[static 32], struct authority_keys *out);
struct node_id node_id_of(const uint8_t key[static NODE_KEY_SIZE]);
bool node_id_equal(const struct node_id *a, const struct node_id *b);
void node_id_format(const struct node_id *id, char out[static NODE_ID_TEXT_SIZE]);
/* Exactly 32 lower-case hex digits; false leaves *out as it was. */
bool node_id_parse(const char *text, struct node_id *out);
/* "peer,edge": false on an unknown or empty name or none at all. */
bool node_roles_parse(const char *text, uint32_t *out);
/* In the order of the enum; "" for none. */
void node_roles_format(uint32_t roles, char separator, char out[static NODE_ROLES_TEXT_SIZE]);

/* The CA vouches for an admission key. `cluster`: 32 hex digits. */
void admission_sign(const struct authority_keys *ca, const char *cluster, struct admission *a);
/* Whether the CA signed it for this cluster. Looks at no clock. */
bool admission_signed(const struct admission *a, const uint8_t ca[static NODE_KEY_SIZE],
                      const char *cluster);
/* The admission key vouches for a node; c->admission must be its own, c->id is filled in. */
void credential_sign(const struct authority_keys *admission, const char *cluster,
                     struct credential *c);

/* Text of an admission for a file: encode returns its size, decode as credential_decode. */
size_t admission_encode(const struct admission *a, uint8_t out[static CREDENTIAL_BYTES_MAX]);
enum fly_status admission_decode(const void *data, size_t size, struct admission *out,
                                 struct fly_error *error);

size_t credential_encode(const struct credential *c, uint8_t out[static CREDENTIAL_BYTES_MAX]);
/* Takes apart, verifies nothing. INVALID_ARGUMENT, *out untouched. Trailing bytes are an error. */
enum fly_status credential_decode(const void *data, size_t size, struct credential *out,
                                  struct fly_error *error);
/* Both signatures, roles within what the admission gives, both times. UNAUTHENTICATED with the
 * reason (foreign cluster or CA, expired, roles exceed). Two Ed25519 verifications. */
enum fly_status credential_verify(const struct credential *c,
                                  const uint8_t ca[static NODE_KEY_SIZE], const char *cluster,
                                  int64_t now_ms, struct fly_error *error);

/* Signatures by a node, each with its own domain text ("flylight-claim-1" …, at most 255 bytes):
 * Ed25519ph (RFC 8032) over string8 domain ‖ message, so a message may have any size. */
void node_sign(const struct node_keys *keys, const char *domain, struct fly_bytes message,
               uint8_t out[static NODE_SIGNATURE_SIZE]);
bool node_signed(const uint8_t key[static NODE_KEY_SIZE], const char *domain,
                 struct fly_bytes message, const uint8_t signature[static NODE_SIGNATURE_SIZE]);

#endif
