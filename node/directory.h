/*
 * directory - the node loop's picture of the members, and which of them leads which slice.
 *
 * Filled from gossip's members; the highest epoch leads a slice, and a dead leader stays named
 * until another comes. No IO; the loop's thread.
 */
#ifndef FLY_NODE_DIRECTORY_H
#define FLY_NODE_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "gossip/gossip.h"

enum {
    DIRECTORY_MEMBERS_MAX = 1024,
    DIRECTORY_SLICES_MAX = 256,
    DIRECTORY_URL_SIZE = 96,
};

/* A slice as gossip tells of it. */
struct directory_slice {
    uint32_t tag;
    uint64_t epoch;
    struct node_id owner;
};

struct directory {
    struct gossip_member *members; /* DIRECTORY_MEMBERS_MAX */
    uint32_t member_count;
    struct directory_slice slices[DIRECTORY_SLICES_MAX];
    uint32_t slice_count;
    uint64_t slices_lost; /* claims of slices over the maximum */
};

void directory_init(struct directory *d);
void directory_fini(struct directory *d);
/* d->members[0..count) was filled anew: finds the slices' leaders. */
void directory_update(struct directory *d, uint32_t count);

/* NULL: not known. Borrowed until the next update. */
const struct gossip_member *directory_member(const struct directory *d, const struct node_id *id);
const struct directory_slice *directory_slice(const struct directory *d, uint32_t tag);
/* The member that leads the slice, whatever its state; NULL: not known. */
const struct gossip_member *directory_owner(const struct directory *d, uint32_t tag);
/* Alive and its loop runs: new work may go there. */
bool directory_serves(const struct gossip_member *m);

/* "tls+tcp://10.0.0.1:7401" */
void directory_rpc_url(const struct gossip_member *m, char out[static DIRECTORY_URL_SIZE]);
/* "tcp://10.0.0.1:7402"; empty when it publishes nothing. */
void directory_pub_url(const struct gossip_member *m, char out[static DIRECTORY_URL_SIZE]);
/* "https://10.0.0.1:7403"; empty when it has no dashboard that others reach. */
void directory_http_url(const struct gossip_member *m, char out[static DIRECTORY_URL_SIZE]);
/* "10.0.0.1:7400" */
void directory_gossip_text(const struct gossip_member *m, char out[static DIRECTORY_URL_SIZE]);
const char *directory_state_name(enum gossip_state state);

#endif
