/*
 * join - how a new node becomes a member: both sides of fly/v1/join.proto.
 *
 *   joiner                                    admitting node
 *   Begin(nonce)                  ──▶
 *                                 ◀──   CA's key, its credential, a fresh X25519 key, signed
 *   is that the CA of my token? is this node vouched for? did it sign my nonce?
 *   Admit(sealed: secret, keys)   ──▶
 *                                       is the token good for this? count it, durably
 *                                 ◀──   sealed: record, credential, certificates, group key
 *   does it verify? is it for my keys? write the folder
 *
 * The joiner says its secret only to a node that the CA of its token vouches for, and sealed to a
 * key that lives for seconds; so the connection itself need not be trusted. The admitting side
 * keeps two such keys, the current one and the one before, for all joiners: no table that strangers
 * could fill. Its answers are rate bounded. One thread. Shell (libsodium's and libssl's
 * randomness); the RPC calls of `flynode join` stand in join_call.c. Source: DESIGN 9.
 */
#ifndef FLY_NODE_JOIN_H
#define FLY_NODE_JOIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fly/v1/join.pb-c.h"
#include "node/admission.h"
#include "node/config.h"
#include "node/identity.h"

enum {
    JOIN_NONCE_SIZE = 32,
    JOIN_BOX_SIZE = 32,
    JOIN_BOX_LIFE_MS = 10000, /* then another; the one before is taken as long again */
    JOIN_RATE_PER_S = 20,     /* Begin and Admit together */
    JOIN_BURST = 64,
    JOIN_SECRET_MAX = 2048,   /* a packed JoinSecret */
    JOIN_WELCOME_MAX = 24576, /* a packed JoinWelcome */
    JOIN_SEAL_OVERHEAD = 48,
    JOIN_URL_SIZE = 80,
};

struct join_now {
    int64_t boot_ms;
    int64_t wall_ms;
};

/* --- addresses of a token --- */

/* False: any address, or port 0. TLS unless it is loopback. */
bool join_address_from(const struct config_address *from, struct join_address *out);
/* "tls+tcp://10.0.0.5:7401" */
void join_address_url(const struct join_address *a, char out[static JOIN_URL_SIZE]);

/* --- tokens --- */

/* Makes a token in the book and fills in the whole of *out, for join_token_encode; 1 to
 * JOIN_TOKEN_ADDRESSES_MAX addresses. Errors as admission_book_make; PERMISSION_DENIED: this node
 * could not give these roles. */
enum fly_status join_token_issue(const struct identity *identity, struct admission_book *book,
                                 uint32_t roles, int64_t life_ms, uint32_t uses,
                                 const struct join_address *addresses, uint8_t address_count,
                                 int64_t now_ms, struct join_token *out, struct fly_error *error);

/* --- the admitting side --- */

struct join_server;

/* What the node knows of its cluster. All are asked on the thread of Admit. */
struct join_hooks {
    void *user;
    /* Is that slice tag anybody's, member or slice, as far as is known? */
    bool (*tag_known)(void *user, uint32_t tag);
    /* Does another node than this one have the name? */
    bool (*name_taken)(void *user, const char *name, const struct node_id *id);
    /* Gossip addresses for the joiner to begin with, this node's own among them; how many. */
    uint8_t (*seeds)(void *user, char out[SETTINGS_SEEDS_MAX][SETTINGS_ADDRESS_SIZE]);
};

struct join_counters {
    uint64_t begun;
    uint64_t admitted;
    uint64_t refused; /* by the token, the name or the roles */
    uint64_t malformed;
    uint64_t limited; /* by the rate */
};

/* Answers; `message` points into its struct and lives with it. */
struct join_begin_answer {
    Fly__V1__JoinBeginReply message;
    uint8_t ca[NODE_KEY_SIZE];
    uint8_t credential[CREDENTIAL_BYTES_MAX];
    uint8_t box[JOIN_BOX_SIZE];
    uint8_t signature[NODE_SIGNATURE_SIZE];
};
struct join_admit_answer {
    Fly__V1__JoinAdmitReply message;
    uint8_t sealed[JOIN_WELCOME_MAX + JOIN_SEAL_OVERHEAD];
    struct credential credential; /* of who was admitted: for the log */
};

/* identity (with has_admission) and book are lent until destroy. */
struct join_server *join_server_create(const struct identity *identity, struct admission_book *book,
                                       const struct join_hooks *hooks);
/* Wipes the keys. NULL is fine. */
void join_server_destroy(struct join_server *server);
/* INVALID_ARGUMENT; RESOURCE_EXHAUSTED: too many at once, try again. */
enum fly_status join_server_begin(struct join_server *server,
                                  const Fly__V1__JoinBeginRequest *request, struct join_now now,
                                  struct join_begin_answer *answer, struct fly_error *error);
/* PERMISSION_DENIED: the token, its roles; ALREADY_EXISTS: the name; FAILED_PRECONDITION: this node
 * cannot give what is asked for; ABORTED: Begin again; INVALID_ARGUMENT, RESOURCE_EXHAUSTED. */
enum fly_status join_server_admit(struct join_server *server,
                                  const Fly__V1__JoinAdmitRequest *request, struct join_now now,
                                  struct join_admit_answer *answer, struct fly_error *error);
struct join_counters join_server_counters(const struct join_server *server);

/* --- the joining side, between its two calls --- */

struct join_client {
    const struct join_token *token; /* lent */
    struct identity *identity;      /* lent; of identity_join_begin */
    uint32_t roles;
    bool asked; /* join_client_admit made a request */
    char name[NODE_NAME_SIZE];
    uint8_t nonce[JOIN_NONCE_SIZE];
    uint8_t reply_box[JOIN_BOX_SIZE];
    uint8_t reply_secret[JOIN_BOX_SIZE];
    uint8_t sealed[JOIN_SECRET_MAX + JOIN_SEAL_OVERHEAD];
    struct credential server; /* of the admitting node, verified */
};

/* PERMISSION_DENIED: the token does not give these roles, or has expired. */
enum fly_status join_client_init(struct join_client *client, const struct join_token *token,
                                 struct identity *identity, const char *name, uint32_t roles,
                                 int64_t now_ms, struct fly_error *error);
void join_client_fini(struct join_client *client); /* wipes */
/* `request` points into the client. */
void join_client_begin(struct join_client *client, Fly__V1__JoinBeginRequest *request);
/* Looks at Begin's answer; only then makes the request that holds the secret. UNAUTHENTICATED: not
 * a node that the token's CA vouches for, and why. */
enum fly_status join_client_admit(struct join_client *client, const Fly__V1__JoinBeginReply *reply,
                                  int64_t now_ms, Fly__V1__JoinAdmitRequest *request,
                                  struct fly_error *error);
/* Opens and checks Admit's answer and fills in *identity (not yet saved). UNAUTHENTICATED: what
 * came is not what a member of this cluster gets. */
enum fly_status join_client_welcome(struct join_client *client,
                                    const Fly__V1__JoinAdmitReply *reply, int64_t now_ms,
                                    struct fly_error *error);

/* --- the whole of it, over RPC --- */

struct join_options {
    const char *dir;
    const struct join_token *token;
    uint32_t roles;
    struct node_settings settings; /* name told; seeds come with the welcome */
    int64_t timeout_ms;            /* for each address */
};

/* Tries the token's addresses in turn until one answers, and saves what it gives. *identity holds
 * the folder's lock afterwards: identity_close. UNAVAILABLE, DEADLINE_EXCEEDED: nobody reached;
 * PERMISSION_DENIED, UNAUTHENTICATED: refused; the rest as of the folder and the two calls. Blocks.
 */
enum fly_status join_call(const struct join_options *options, struct identity *identity,
                          struct fly_error *error);

#endif
