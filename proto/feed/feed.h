/*
 * feed - the stream between nodes: nng PUB and SUB with sealed messages of proto/wire/event.h.
 *
 * The publisher sends what it is given; a subscriber hands up what it could open. Neither repairs:
 * PUB drops silently, so nothing may rely on either; proto/wire/follow.h finds the gaps by number
 * and the node fills them by RPC (DESIGN 6). One SUB socket per owner address, opened once, never
 * closed, cancelled or timed out: nng 1.5.2 crashes on that (#1523); its life is judged by the
 * heartbeat. What nng would take from a stranger is bounded: message sizes on both sides,
 * connections of the publisher, messages that wait on either side, the pace of dialling again.
 *
 *   message    sealed (proto/wire/seal.h, SEAL_FEED) EVENTS, STATE or HEARTBEAT
 *
 * All nng calls of the feed stand in feed.c. Shell.
 */
#ifndef FLY_FEED_FEED_H
#define FLY_FEED_FEED_H

#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/wire/seal.h"

enum {
    FEED_MESSAGE_MAX = (1 << 20) + SEAL_OVERHEAD,
    FEED_URLS_MAX = 512,         /* of one subscriber, in its whole life */
    FEED_CONNECTIONS_MAX = 256,  /* of one publisher; more are turned away */
    FEED_SEND_QUEUE_MAX = 128,   /* messages that wait for one slow subscriber; more are dropped */
    FEED_RECEIVE_QUEUE_MAX = 16, /* messages of one url that wait for `received` */
    FEED_RECONNECT_MIN_MS = 100,
    FEED_RECONNECT_MAX_MS = 2000,
};

struct feed_publisher;
struct feed_subscriber;

struct feed_counters {
    uint64_t messages; /* published, or handed up and taken */
    uint64_t bytes;    /* of them, sealed */
    uint64_t refused;  /* subscriber: not sealed by the group; publisher: connections turned away */
    uint64_t dropped;  /* subscriber: `received` had no room */
    uint64_t opened;   /* connections, ever; a message over FEED_MESSAGE_MAX ends one */
    uint64_t closed;
};

/* Listens on tcp://ADDRESS:PORT (a numeric address; port 0: any). UNAVAILABLE: in use. The ring is
 * copied. `seed`: of real randomness. */
enum fly_status feed_publisher_create(struct feed_publisher **out, const char *url,
                                      const struct seal_ring *ring, uint64_t seed,
                                      struct fly_error *error);
uint16_t feed_publisher_port(const struct feed_publisher *p);
/* Seals and publishes one message; copies it. Never waits. One thread at a time. (nng 1.5.2 loses
 * the memory of a message that is being sent when its connection breaks: #1713.) */
void feed_publish(struct feed_publisher *p, struct fly_bytes message);
void feed_publisher_counters(struct feed_publisher *p, struct feed_counters *out);
void feed_publisher_destroy(struct feed_publisher *p);

struct feed_subscriber_config {
    const struct seal_ring *ring; /* copied */
    /* On nng's threads: one opened message, valid during the call. Must not wait; false: no room,
     * it is dropped and counted (the gap will be repaired). */
    bool (*received)(void *user, uint64_t source, struct fly_bytes message);
    void *user;
};

enum fly_status feed_subscriber_create(struct feed_subscriber **out,
                                       const struct feed_subscriber_config *config);
/* Follows a publisher at tcp://ADDRESS:PORT; nng dials again by itself. `source` comes back with
 * each message. A url that is followed already only changes its source; a source that is followed
 * at another url has moved: the old one is not followed any more. INVALID_ARGUMENT: the address is
 * not numeric. RESOURCE_EXHAUSTED: so many urls have been followed; follow.h then asks by RPC,
 * every FOLLOW_STALE_MS. */
enum fly_status feed_subscriber_follow(struct feed_subscriber *s, const char *url, uint64_t source,
                                       struct fly_error *error);
/* Messages of this source are dropped from now on (one that is being handed up may still arrive);
 * its socket stays (nng 1.5.2), and is used again when the same url is followed. */
void feed_subscriber_unfollow(struct feed_subscriber *s, uint64_t source);
void feed_subscriber_counters(struct feed_subscriber *s, struct feed_counters *out);
/* Only at the process's end: nothing is handed up any more when it returns, but the sockets, and
 * the memory they need, stay until exit. Not from `received`. */
void feed_subscriber_destroy(struct feed_subscriber *s);

#endif
