/*
 * admission - the join tokens that this node made: who may still join with which, counted durably.
 *
 *   DIR/join-tokens.json   0600; secrets are kept hashed; read at the start, written whole at every
 *                          change and BEFORE anybody is told of it
 *
 * A token has uses; each node that joins takes one, and is remembered with the slice tag that it
 * got: the same node may ask again with the same token (its answer was lost) and gets the same tag
 * and takes no second use. Expired tokens are dropped after a day. One thread. Shell: a file, and
 * libsodium's randomness; a change costs two syncs.
 */
#ifndef FLY_NODE_ADMISSION_H
#define FLY_NODE_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/folder.h"
#include "proto/base/status.h"
#include "proto/wire/jointoken.h"

#define ADMISSION_FILE "join-tokens.json"
#define ADMISSION_LIFE_MAX_MS (30 * INT64_C(86400000))

enum {
    ADMISSION_TOKENS_MAX = 1024,
    ADMISSION_USES_MAX = 64,
    ADMISSION_LIFE_MIN_MS = 1000,
};

struct admission_book;

/* A node that joined. */
struct admission_bearer {
    struct node_id node;
    uint32_t slice_tag;
};

struct admission_token {
    uint8_t id[JOIN_TOKEN_ID_SIZE];
    uint8_t secret_hash[32];
    uint32_t roles;
    int64_t created_ms;
    int64_t expires_ms;
    uint32_t uses; /* in all; used: bearer_count */
    bool revoked;
    uint32_t bearer_count;
    struct admission_bearer bearers[ADMISSION_USES_MAX];
};

/* Why somebody may not join. */
enum admission_outcome {
    ADMISSION_OK,
    ADMISSION_UNKNOWN,      /* no such token here */
    ADMISSION_WRONG_SECRET, /* its id, and not its secret */
    ADMISSION_EXPIRED,
    ADMISSION_USED_UP,
    ADMISSION_REVOKED,
    ADMISSION_ROLE,   /* wants a role that the token does not give */
    ADMISSION_FAILED, /* could not be written down: nobody was admitted */
};

/* Who asks with what. */
struct admission_request {
    uint8_t id[JOIN_TOKEN_ID_SIZE];
    uint8_t secret[JOIN_TOKEN_SECRET_SIZE];
    uint32_t roles;
    struct node_id node;
};

/* Whether a slice tag is anybody's already, as far as this node knows. */
struct admission_tags {
    bool (*known)(void *user, uint32_t tag);
    void *user;
};

/* `folder` is borrowed until close. DATA_LOSS: the file is damaged; UNIMPLEMENTED: newer. */
enum fly_status admission_book_open(const struct folder *folder, struct admission_book **out,
                                    struct fly_error *error);
/* Wipes it. NULL is fine. */
void admission_book_close(struct admission_book *book);

/* A new token: fills in id, secret, roles and expires_ms of *out, the rest is the caller's.
 * INVALID_ARGUMENT: no or unknown roles, uses or life out of range; RESOURCE_EXHAUSTED:
 * ADMISSION_TOKENS_MAX are there; INTERNAL: not written. */
enum fly_status admission_book_make(struct admission_book *book, uint32_t roles, int64_t life_ms,
                                    uint32_t uses, int64_t now_ms, struct join_token *out,
                                    struct fly_error *error);
size_t admission_book_count(const struct admission_book *book);
/* Oldest first; lent until the next call that changes the book. */
const struct admission_token *admission_book_at(const struct admission_book *book, size_t i);
/* By its id's hex text or a prefix of it that only one has. NOT_FOUND; INVALID_ARGUMENT: several
 * have it, or not hex. Twice is fine. */
enum fly_status admission_book_revoke(struct admission_book *book, const char *id, int64_t now_ms,
                                      struct fly_error *error);

/* Lets a node in or says exactly why not; takes a use and writes it down before it says OK. `*tag`
 * is the slice tag allotted to the node. `error` has PERMISSION_DENIED and the words, or INTERNAL
 * with FAILED. */
enum admission_outcome admission_book_admit(struct admission_book *book,
                                            const struct admission_request *request,
                                            const struct admission_tags *tags, int64_t now_ms,
                                            uint32_t *tag, struct fly_error *error);

#endif
