/*
 * mailbox - bounded lanes from the pollers' and nng's threads into the node's loop (DESIGN 8).
 *
 * CONTROL is sized to what can be under way and never full (FLY_CHECKed), but for HELLOs, which may
 * fill half of it; FINISH and START shed: post says no and the caller answers the call; STREAM
 * drops messages of the feed, whose gaps are repaired. Posting wakes the loop once per
 * empty-to-full edge. Shell: a mutex and a uv_async handle.
 */
#ifndef FLY_NODE_MAILBOX_H
#define FLY_NODE_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum mail_lane { MAIL_CONTROL = 0, MAIL_FINISH, MAIL_START, MAIL_STREAM, MAIL_LANES };

enum mail_kind {
    MAIL_HELLO,
    MAIL_CALL,
    MAIL_CANCEL,
    MAIL_WRITABLE,
    MAIL_PEER_GONE,
    MAIL_LINK_OPENED,
    MAIL_LINK_FAILED,
    MAIL_LINK_CLOSED,
    MAIL_LINK_REPLY,
    MAIL_FEED,
    MAIL_MEMBERS,
};

struct mail {
    enum mail_kind kind;
    void *what; /* as its kind says: rpc_hello, rpc_call (held for CANCEL and WRITABLE), peer,
                   links.c's, node_cluster.c's */
};

struct mail_ring {
    struct mail *items;
    uint32_t max;
    uint32_t first;
    uint32_t count;
};

struct mailbox {
    pthread_mutex_t mutex;
    uv_async_t wake;
    struct mail_ring lanes[MAIL_LANES];
    uint64_t shed;
};

struct mailbox_config {
    uint32_t lane_max[MAIL_LANES];
    uv_loop_t *loop;
    uv_async_cb woken;
    void *user; /* wake.data */
};

/* FLY_CHECKs memory. */
void mailbox_init(struct mailbox *m, const struct mailbox_config *config);
/* After the wake handle was closed and nobody posts any more. */
void mailbox_fini(struct mailbox *m);
/* Any thread. False: the lane is full (CONTROL: for HELLOs only). */
bool mailbox_post(struct mailbox *m, enum mail_lane lane, enum mail_kind kind, void *what);
/* Loop only: takes up to `max` letters of one lane, in order. */
uint32_t mailbox_take(struct mailbox *m, enum mail_lane lane, struct mail *out, uint32_t max);
/* Only a letter into an empty mailbox wakes the loop: so a loop that took letters lane by lane must
 * look again while this is false, or one that came into a lane that was taken already stays. */
bool mailbox_empty(struct mailbox *m);

#endif
