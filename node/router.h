/*
 * router - a call to a slice's owner, wherever that is: here, or behind a link.
 *
 * Says of every call what became of it, once: an answer, that it certainly did not get there, or
 * that nobody knows (DESIGN 4.8). The user's token goes before the first call that needs it on a
 * link. Shell; the loop's thread.
 */
#ifndef FLY_NODE_ROUTER_H
#define FLY_NODE_ROUTER_H

#include "node/catalog/seen.h"
#include "node/host.h"
#include "node/links.h"
#include "node/peer.h"
#include "proto/rpc/server.h"

struct router;

struct router_hooks {
    void (*answer)(void *user, const struct owner_answer *answer, struct owner_now now);
    /* No owner was reached: nothing was done and nothing will be. */
    void (*not_sent)(void *user, uint64_t ticket, struct owner_now now);
    /* It may have been reached, and no answer will come. */
    void (*lost)(void *user, uint64_t ticket, struct owner_now now);
};

struct router_config {
    uint32_t tag; /* the slice hosted here; 0: none */
    const struct directory *directory;
    struct links *links; /* NULL: no other nodes (dev) */
    const struct seen
        *seen; /* which slices were declared lost: nobody is asked there; NULL: none */
    struct router_hooks hooks;
    void *user;
};

enum {
    ROUTER_FLIGHTS_MAX = 8192,
    ROUTER_CALL_MS = 1000, /* as LAUNCH_CALL_MS: an owner does not begin what nobody waits for */
};

struct router *router_create(const struct router_config *config);
/* No flight may be left. */
void router_destroy(struct router *r);
void router_attach(struct router *r, struct host *host);
/* True: one hook will be called for its ticket, now or later. False: it was not sent. `token` NULL:
 * a call that needs none. `parent` (may be NULL): the user's call that it is made for. Its trace
 * goes on; its deadline bounds what begins something, but not what brings it to its end. */
bool router_call(struct router *r, uint32_t to, const struct owner_call *call, const char *token,
                 const struct rpc_call *parent, struct owner_now now);

#endif
