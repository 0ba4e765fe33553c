/*
 * dash - the dashboard role: one port for browsers, curl and their WebSockets.
 *
 * A thread of its own with its own libuv loop and libwebsockets on it. The node's loop feeds it
 * (any one thread may) through the calls below, which never wait for a browser or a disk: they hold
 * a lock for about a microsecond. What people do (launch, destroy, list, status, watch) goes out as
 * calls of libflyrpc with that person's token, to an edge: a dash has no power of its own. Shell.
 */
#ifndef FLY_DASH_DASH_H
#define FLY_DASH_DASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dash/core/member.h"
#include "dash/core/picture.h"
#include "proto/base/status.h"
#include "proto/wire/event.h"
#include "proto/wire/token_claims.h"

struct dash;

enum {
    DASH_CONNECTIONS_MAX = 8192,
    DASH_FLUSH_MS = 16,      /* between frames, with few browsers; see dash_pace_ms */
    DASH_FLUSH_MAX_MS = 250, /* with very many */
};

/* Whom a token speaks for; the verifier's word. */
struct dash_who {
    char subject[TOKEN_SUBJECT_SIZE];
    uint32_t scopes; /* set of enum token_scope */
    int64_t expires_ms;
};

/* All copied before dash_create returns, but for `verify` and `user`. */
struct dash_config {
    const char *host;     /* numeric, to bind */
    uint16_t port;        /* 0: any */
    const char *cert_pem; /* NULL: http; with key_pem: https */
    const char *key_pem;
    const char *node;      /* this node's name */
    const char *region;    /* this node's; "": none */
    const char *cluster;   /* 32 hex digits */
    const char *ui_dir;    /* NULL: the embedded pages; else served from here (for development) */
    const char *edges;     /* where actions go: as FLYRPC_EDGE; see dash_set_edges */
    const char *ca_pem;    /* of the cluster's TLS; NULL: edges are on loopback */
    uint32_t machines_max; /* 0: 1 << 17 */
    uint32_t launches_per_minute; /* of one address; 0: 30 */
    uint32_t vms_max; /* that launches through this dash may bring the cluster to; 0: no limit */
    const char *autospawn;       /* regions with commas between; NULL: nothing starts by itself */
    const char *autospawn_token; /* with scopes launch, read, destroy */
    /* Who a token speaks for now. On the dash's thread, one at a time; about 100 µs when it is new.
     * UNAUTHENTICATED with the words for a person; RESOURCE_EXHAUSTED: later. */
    enum fly_status (*verify)(void *user, const char *token, size_t size, int64_t wall_ms,
                              struct dash_who *out, struct fly_error *error);
    void *user;
};

/* Listens and starts the thread. UNAVAILABLE: the port is taken; INVALID_ARGUMENT: certificate,
 * folder. */
enum fly_status dash_create(struct dash **out, const struct dash_config *config,
                            struct fly_error *error);
uint16_t dash_port(const struct dash *d);
/* Says good-bye to browsers, stops the thread, frees. NULL is fine. Waits, at most 2 s. To be
 * called when files that matter are closed: libwebsockets 4.1 ends by closing a descriptor of its
 * own twice, microseconds apart, and a second thread may have got its number in between. */
void dash_destroy(struct dash *d);

/* --- feeding; same words as the catalog's --- */

void dash_put_region(struct dash *d, const struct picture_region *region);
/* `event` changed a machine or a VM. Also kept for the list of the latest changes. */
void dash_event(struct dash *d, const struct event *event);
void dash_snapshot_begin(struct dash *d, uint32_t slice);
void dash_snapshot_put(struct dash *d, uint32_t slice, const struct picture_machine *m,
                       const char *region);
void dash_snapshot_end(struct dash *d, uint32_t slice, uint64_t incarnation);
void dash_drop_slice(struct dash *d, uint32_t slice);
/* Every half second at least, for each slice: how long ago its owner was heard. A slice the dash
 * itself has not been told about for PICTURE_STALE_MS is stale too: the node's loop may be standing
 * still. */
void dash_hear(struct dash *d, uint32_t slice, int64_t stale_ms);

/* All members as they are now; browsers are told when something of it changed. Past
 * DASH_MEMBERS_MAX the rest is left out. */
void dash_set_members(struct dash *d, const struct dash_member *members, size_t count);
/* Living edges, for actions: "127.0.0.1:7401,10.0.0.2:7401" with schemes as session.h takes them.
 */
void dash_set_edges(struct dash *d, const char *edges);

struct dash_counters {
    uint32_t browsers; /* WebSockets now */
    uint64_t frames;   /* flushed */
    uint64_t resyncs;  /* browsers that fell behind, and were told */
    uint64_t requests;
    uint64_t refused; /* 4xx and connections turned away */
    uint32_t pace_ms; /* between frames now */
};
struct dash_counters dash_counters(struct dash *d);

#endif
