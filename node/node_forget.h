/*
 * node_forget - slices that were declared lost: the signed words, durable here and spread to all.
 *
 * A word is taken from an admin (a node that admits signs it) or from another node, kept in the
 * peers file before it is answered, and pushed to every living member until that has it: again
 * after a pause, and to whoever appears. Each holder pushes, so it arrives wherever any of them
 * reaches. The loop's thread. Shell.
 */
#ifndef FLY_NODE_NODE_FORGET_H
#define FLY_NODE_NODE_FORGET_H

#include <stdbool.h>
#include <stdint.h>

#include "node/forget.h"
#include "proto/rpc/server.h"

struct node;

enum {
    FORGET_WAITING_MAX = 32,
    FORGET_MEMBERS_MAX = 1024,
    FORGET_AGAIN_MS = 5000, /* after a member did not take it */
    FORGET_CALL_MS = 4000,
    FORGET_LOOK_MS = 20, /* while a call waits for the disk */
};

/* What a member has, as far as this process knows. */
struct forget_member {
    struct node_id id;
    bool asking;
    int64_t again_ms;
    uint8_t has[PEERS_WORDS_MAX / 8]; /* by the word's place in the peers file */
};

struct forget_waiting {
    struct rpc_call *call; /* NULL: free */
    int64_t until_ms;
    bool admin; /* which reply it waits for */
};

struct node_forget {
    struct forget_member *members; /* FORGET_MEMBERS_MAX, made with the first word */
    uint32_t member_count;
    struct forget_waiting waiting[FORGET_WAITING_MAX];
    uint32_t waiting_count;
    int64_t waiting_look_ms; /* the disk is asked again */
};

/* Admin/ForgetSlice and Slice/Forget. */
void node_forget_admin(struct node *n, struct rpc_call *call);
void node_forget_word(struct node *n, struct rpc_call *call);
/* Pushes; answers what waited for the disk. */
void node_forget_turn(struct node *n, int64_t now_ms);
int64_t node_forget_deadline(const struct node *n);
/* Answers what still waits: the node ends. */
void node_forget_abandon(struct node *n);
void node_forget_fini(struct node *n);

#endif
