/*
 * streams - every slice's numbered events as this node has them, its own slice's among them.
 *
 * A remote slice is followed: messages of the feed and repairs by RPC go through
 * proto/wire/follow.h, what is new goes into the catalog and into a ring that watchers read. The
 * slice hosted here is fed by its owner. Whoever asks for events that a ring does not keep asks the
 * slice's owner. Shell; the loop's thread.
 */
#ifndef FLY_NODE_STREAMS_H
#define FLY_NODE_STREAMS_H

#include "fly/v1/slice.pb-c.h"
#include "node/catalog/catalog.h"
#include "node/directory.h"
#include "node/links.h"
#include "proto/feed/feed.h"
#include "proto/wire/follow.h"
#include "proto/wire/retain.h"

struct streams;

enum {
    STREAMS_MAX = DIRECTORY_SLICES_MAX,
    STREAM_EVENTS_MAX = 65536,
    STREAM_BYTES_MAX = 8 << 20, /* address space; pages come when they are touched */
};

/* One slice as this node has it. */
struct stream {
    uint32_t tag;
    bool local;
    bool forgotten;   /* declared lost */
    bool owner_known; /* gossip named a leader */
    bool owner_alive; /* as gossip said last */
    struct node_id owner;
    struct follow follow; /* remote */
    struct retain retain; /* its events, decoded on reading */
    uint64_t incarnation;
    uint64_t resets;    /* how often the ring began anew: who reads compares */
    int64_t founded_ms; /* 0: not known */
    uint64_t asked_seq; /* SNAPSHOT under way: of its first page; 0: none */
    uint64_t asked_incarnation;
    uint32_t question; /* of follow: the one under way */
    bool asking;       /* an RPC of the repair is under way */
};

/* Who wants to know all that the catalog is told. All calls are NULL or none. */
struct streams_observer {
    void (*event)(void *user, const struct event *event);
    /* A slice's machines as they are, in any number of pieces; those that are not among them at the
     * end are gone. What was begun and not ended begins again. */
    void (*snapshot_begin)(void *user, uint32_t tag);
    void (*snapshot_put)(void *user, uint32_t tag, const struct catalog_machine *m);
    void (*snapshot_end)(void *user, uint32_t tag, uint64_t incarnation);
    void (*dropped)(void *user, uint32_t tag); /* it was declared lost */
    void *user;
};

struct streams_config {
    struct catalog *catalog;
    struct directory *directory;
    struct links *links;
    struct feed_subscriber *feed; /* NULL: none (dev) */
    uint64_t seed;
    /* {tag, incarnation, seq} was seen: for the peers file. */
    void (*seen)(void *user, uint32_t tag, uint64_t incarnation, uint64_t seq);
    void *user;
    struct streams_observer observer;
};

struct streams *streams_create(const struct streams_config *config);
void streams_destroy(struct streams *s);

/* The directory changed: follows new owners, knows new slices. */
void streams_update(struct streams *s, int64_t now_ms);
/* One opened message of the feed; `source` is the publisher that was followed. */
void streams_receive(struct streams *s, uint64_t source, struct fly_bytes message, int64_t now_ms);
/* Questions whose time has come. */
void streams_tick(struct streams *s, int64_t now_ms);
int64_t streams_deadline(const struct streams *s);

/* The slice hosted here. `last`: seq before its next event. */
void streams_host(struct streams *s, uint32_t tag, uint64_t incarnation, uint64_t last,
                  int64_t founded_ms);
void streams_host_event(struct streams *s, const struct event *event);

/* The machines of a slice as they are, into the catalog and to the observer: of the slice here by
 * the node, of others by the repair. RESOURCE_EXHAUSTED: the catalog is full. */
void streams_snapshot_begin(struct streams *s, uint32_t tag);
enum fly_status streams_snapshot_put(struct streams *s, uint32_t tag,
                                     const struct catalog_machine *m);
void streams_snapshot_end(struct streams *s, uint32_t tag, uint64_t incarnation, uint64_t seq);

uint32_t streams_count(const struct streams *s);
struct stream *streams_at(struct streams *s, uint32_t i);
struct stream *streams_find(struct streams *s, uint32_t tag);
/* Events first..last can be read; first > last: none. */
void stream_range(const struct stream *st, uint64_t *first, uint64_t *last);
bool stream_event(const struct stream *st, uint64_t seq, struct event *out);
/* Its picture is in step with the owner. The local one always is. */
bool stream_live(const struct stream *st, int64_t now_ms);
/* Declares it lost here: leaves the catalog, is not followed any more. */
void streams_forget(struct streams *s, uint32_t tag);
uint64_t streams_refused(const struct streams *s); /* messages that were not believed */

/* A publisher's number for feed_subscriber_follow. */
uint64_t streams_source(const struct node_id *id);

#endif
