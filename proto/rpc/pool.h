/*
 * pool - worker threads for handlers that may wait, behind a bounded queue that sheds.
 *
 * Never runs what is late: an item whose deadline has passed, or surely will before a worker is
 * through with it, is handed back. In which order they run, and which of them go when there are
 * too many, is proto/wire/shed.h's to say.
 */
#ifndef FLY_RPC_POOL_H
#define FLY_RPC_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/shed.h"

struct rpc_pool;

/* Embedded in what is to be run; the pool's own from post until run or late. */
struct rpc_pool_item {
    struct shed_item shed; /* the pool's */
    int64_t deadline_ms;   /* CLOCK_BOOTTIME; 0: none */
};

struct rpc_pool_config {
    uint32_t threads;
    uint32_t queue_max;
    void (*run)(struct rpc_pool_item *item); /* on a worker; may wait */
    /* On a worker or the poster's thread, also before post returns: not executed and never will
     * be. Its deadline has passed or surely will have (DEADLINE_EXCEEDED), or it made room for
     * another under overload. */
    void (*late)(struct rpc_pool_item *item);
};

/* INVALID_ARGUMENT: no threads, no queue. RESOURCE_EXHAUSTED: threads cannot be made. */
enum fly_status rpc_pool_create(struct rpc_pool **out, const struct rpc_pool_config *config,
                                struct fly_error *error);
/* False: the queue is full and the item is still yours. True: run or late will be called with it.
 */
bool rpc_pool_post(struct rpc_pool *pool, struct rpc_pool_item *item);
/* Takes an item back that no worker has taken yet; false: too late. */
bool rpc_pool_withdraw(struct rpc_pool *pool, struct rpc_pool_item *item);
/* Runs what is queued, joins the workers, frees. Blocks. NULL is fine. */
void rpc_pool_destroy(struct rpc_pool *pool);

#endif
