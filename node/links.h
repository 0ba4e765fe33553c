/*
 * links - this node's connections to other nodes, opened when needed, one per node.
 *
 * Each proves both ends (proto/wire/hello.h) before a call leaves. A call that cannot leave now
 * says so at once and the link opens behind it: whoever wanted it tries again after its pause.
 * Replies come on the loop's thread, through the mailbox, once each; a broken link ends its calls.
 * Shell.
 */
#ifndef FLY_NODE_LINKS_H
#define FLY_NODE_LINKS_H

#include "node/directory.h"
#include "node/identity.h"
#include "node/mailbox.h"
#include "proto/rpc/channel.h"
#include "proto/wire/token.h"

struct links;
struct link_mail;

enum {
    LINKS_MAX = DIRECTORY_MEMBERS_MAX,
    LINK_CALLS_MAX = 16384,
    LINK_PRESENTED_MAX = 256,
    LINK_PAUSE_MS = 50, /* before a link that failed is tried again; doubles */
    LINK_PAUSE_MAX_MS = 2000,
    LINK_CONNECT_MS = 2000,
    LINK_UNACKNOWLEDGED_MS = 3000, /* the wire is cut: calls end, and it is opened anew */
};

struct links_config {
    const struct identity *identity; /* borrowed; not changed while links are */
    struct mailbox *mailbox;
    /* A link broke or could not be opened: gossip should look at that node. */
    void (*down)(void *user, const struct node_id *id);
    void *user;
};

/* Runs on the loop's thread. `reply` is finished by the caller of it. */
typedef void links_done(void *user, uint64_t context, struct rpc_reply *reply);

struct links *links_create(const struct links_config *config);
/* Cuts every link; calls under way end first. Then wait for links_idle before links_destroy. */
void links_close(struct links *l);
bool links_idle(const struct links *l);
void links_destroy(struct links *l);

/* The directory changed: addresses are taken over, links to members that are gone are cut. */
void links_update(struct links *l, const struct directory *d);
/* Opens a link if there is none, so that it is there when it is needed. */
void links_want(struct links *l, const struct node_id *id, int64_t now_ms);
/* FLY_OK: `done` will run once. UNAVAILABLE: not connected now; RESOURCE_EXHAUSTED: too many calls;
 * DEADLINE_EXCEEDED: its parent's (options->parent) has passed: nothing left this process. */
enum fly_status links_call(struct links *l, const struct node_id *id,
                           const struct rpc_method *method, const ProtobufCMessage *request,
                           const struct rpc_call_options *options, int64_t now_ms, links_done *done,
                           void *user, uint64_t context);
/* Whether the token was shown on the link as it stands now; marks it as shown. */
bool links_presented(struct links *l, const struct node_id *id,
                     const uint8_t hash[static TOKEN_HASH_SIZE]);
void links_forget_presented(struct links *l, const struct node_id *id,
                            const uint8_t hash[static TOKEN_HASH_SIZE]);
/* Letters MAIL_LINK and MAIL_REPLY of the mailbox. */
void links_deliver(struct links *l, enum mail_kind kind, void *what, int64_t now_ms);

#endif
