/*
 * inbox - the messages of one stream that came and were not taken yet; both sides have one.
 *
 * Bounded by the window that was granted plus one frame: more is the peer's violation. Taking
 * messages says when to grant more, in steps of half a window. Bodies are kept as bytes, many in
 * one allocation, and unpacked when they are taken.
 *
 * Not synchronised: whoever embeds it has a lock.
 */
#ifndef FLY_RPC_INBOX_H
#define FLY_RPC_INBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"

struct inbox_block;

struct rpc_inbox {
    struct inbox_block *first;
    struct inbox_block *last;
    uint32_t window;
    uint32_t waiting; /* credit bytes of what is here */
    uint32_t taken;   /* credit bytes taken since the last grant */
};

void rpc_inbox_init(struct rpc_inbox *inbox, uint32_t window);
/* Throws away what is left and returns its credit bytes, for the connection's own account. */
uint32_t rpc_inbox_fini(struct rpc_inbox *inbox);
enum rpc_inbox_push { RPC_INBOX_DONE, RPC_INBOX_OVER /* the window */, RPC_INBOX_MEMORY };
/* `gap`: messages that were dropped before this one. */
enum rpc_inbox_push rpc_inbox_push(struct rpc_inbox *inbox, struct fly_bytes body, uint32_t gap);
bool rpc_inbox_empty(const struct rpc_inbox *inbox);
/* Lends the oldest message: valid until the next take or fini, a push does not move it. *grant: so
 * many bytes are to be granted to the sender now, or 0. False: empty. */
bool rpc_inbox_take(struct rpc_inbox *inbox, struct fly_bytes *body, uint32_t *gap,
                    uint32_t *grant);

/* For a reader that takes many at a time: `own` is a second inbox that only it touches (init with
 * any window), whose messages still count as waiting in the shared one. Tells the shared one what
 * was taken of `own` and, when that is empty, moves everything there. *settled: credit bytes that
 * were taken since the last time. Returns what is to be granted now, or 0. */
uint32_t rpc_inbox_refill(struct rpc_inbox *shared, struct rpc_inbox *own, uint32_t *settled);

#endif
