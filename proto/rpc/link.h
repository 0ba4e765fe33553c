/*
 * link - one connection seen as frames: preface, frame splitting, PING and PONG, keepalive.
 *
 * What the server's connection and the client's channel have in common. It embeds in them; the
 * transport's lock guards them, the transport's references keep them.
 */
#ifndef FLY_RPC_LINK_H
#define FLY_RPC_LINK_H

#include <protobuf-c/protobuf-c.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/rpc/transport.h"
#include "proto/wire/frame.h"

struct rpc_link;

/* On the reading thread; see transport.h for closed, drained, disposed. */
struct rpc_link_events {
    /* The other side's preface is known. False: cut. */
    bool (*preface)(struct rpc_link *link);
    /* A frame that is not the link's own business. False: a violation. */
    bool (*frame)(struct rpc_link *link, const struct frame *frame);
    /* The connection is about to be cut for what it sent. */
    void (*violation)(struct rpc_link *link, enum frame_step why, const char *what);
    void (*closed)(struct rpc_link *link);
    void (*drained)(struct rpc_link *link);
    /* Credit of the whole connection came after rpc_link_credit had said 0 or less. Not under the
     * lock. */
    void (*credited)(struct rpc_link *link);
    void (*disposed)(struct rpc_link *link);
    /* May be NULL: all whole frames of one read were handled. */
    void (*rested)(struct rpc_link *link);
};

struct rpc_link {
    struct transport *transport;
    const struct rpc_link_events *events;
    uint32_t frame_max;          /* that we take */
    struct frame_preface ours;   /* since the start */
    struct frame_preface theirs; /* once preface_seen; both are set once, under the lock */
    bool preface_seen;
    atomic_int_fast64_t heard_ms; /* when bytes came last */
    atomic_int_fast64_t began_ms; /* when a frame began of which the rest has not come; 0: none */
    int64_t heard_us;             /* the same; the receiving thread's own, as is: */
    uint64_t taken;
    bool granted; /* WINDOW was put while frames were handled */
    /* under the lock, see rpc_link_credit and the others: */
    int64_t credit;  /* we may send so much */
    int64_t allowed; /* the peer may */
    uint32_t repaid; /* of the peer's, not granted again yet */
};

enum rpc_put {
    RPC_PUT_DONE,
    RPC_PUT_FULL,  /* out-buffer full, or the connection is gone */
    RPC_PUT_LARGE, /* over the other side's frame_max, or our own out_max */
};

/* For transport_dial and transport_listen. */
struct transport_config rpc_link_transport_config(size_t out_max, bool hold_back);

/* Takes the caller's reference on the transport. */
void rpc_link_init(struct rpc_link *link, struct transport *transport, uint32_t frame_max,
                   const struct rpc_link_events *events);
/* Says our preface, with a nonce of this connection alone, and begins to read. */
void rpc_link_start(struct rpc_link *link, struct frame_preface ours);

void rpc_link_lock(struct rpc_link *link);
void rpc_link_unlock(struct rpc_link *link);
void rpc_link_hold(struct rpc_link *link);
void rpc_link_drop(struct rpc_link *link);

/* Under the lock. header->size is filled in; meta.size becomes meta_size. Flush afterwards. */
enum rpc_put rpc_link_put(struct rpc_link *link, struct frame_header header, struct fly_bytes meta,
                          struct fly_bytes body, bool urgent);
/* Under the lock: a frame of so many bytes behind its header would be RPC_PUT_LARGE. */
bool rpc_link_large(const struct rpc_link *link, size_t size, bool urgent);
/* The body is a message, packed in place; body_size is its packed size, known beforehand. */
enum rpc_put rpc_link_put_message(struct rpc_link *link, struct frame_header header,
                                  struct fly_bytes meta, const ProtobufCMessage *message,
                                  size_t body_size, bool urgent);

/*
 * Flow control of all the connection's MSG frames together, beside that of each call; the unit is
 * frame_credit's. All under the lock. The link itself handles WINDOW frames of id 0.
 */
/* What this side may still send; 0 or less: nothing. Spending may take it below 0 once. */
int64_t rpc_link_credit(const struct rpc_link *link);
void rpc_link_spend(struct rpc_link *link, uint32_t bytes);
/* A MSG of so many came. False: the peer sent more than it was granted: a violation. */
bool rpc_link_charge(struct rpc_link *link, uint32_t bytes);
/* They were taken by the application, or thrown away: grants as much again, in steps of a sixteenth
 * of the window, or at once when the peer has none left. True: such a step, flush afterwards. */
bool rpc_link_repay(struct rpc_link *link, uint32_t bytes);

/* Bytes of the peer, from its preface on, up to the end of the frame that is being handled. On the
 * thread that handles it. */
uint64_t rpc_link_taken(const struct rpc_link *link);

/* Since when the rest of a frame is missing that the peer began; 0: none is. Time in which we did
 * not read does not count. Under the lock. */
int64_t rpc_link_began_ms(struct rpc_link *link, int64_t now_ms);

/* Keepalive: probes after keepalive_ms of silence. Returns when to look again, or 0 when twice
 * that has passed and the connection is to be closed. Not under the lock. */
int64_t rpc_link_tick(struct rpc_link *link, int64_t now_ms, int64_t keepalive_ms);

#endif
