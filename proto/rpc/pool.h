/*
 * pool - worker threads for handlers that may wait, behind a bounded queue that sheds.
 *
 * Never runs what is late: an item whose deadline has passed, or surely will before a worker is
 * through with it, is handed back. Under overload the queue must not fill with calls that will all
 * be late by the time they run (goodput, issue 4 row 11).
 */
#ifndef FLY_RPC_POOL_H
#define FLY_RPC_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/list.h"
#include "proto/base/status.h"

struct rpc_pool;

/* Embedded in what is to be run; the pool's own from post until run or late. */
struct rpc_pool_item {
    struct fly_list node;
    int64_t deadline_ms; /* CLOCK_BOOTTIME; 0: none */
    int64_t posted_ms;   /* the pool's */
};

struct rpc_pool_config {
    uint32_t threads;
    uint32_t queue_max;
    void (*run)(struct rpc_pool_item *item);  /* on a worker; may wait */
    void (*late)(struct rpc_pool_item *item); /* on a worker or the poster's thread: not executed */
};

/* RESOURCE_EXHAUSTED: threads cannot be made. */
enum fly_status rpc_pool_create(struct rpc_pool **out, const struct rpc_pool_config *config,
                                struct fly_error *error);
/* False: the queue is full (or what waits longest there was handed back instead and this is in). */
bool rpc_pool_post(struct rpc_pool *pool, struct rpc_pool_item *item);
/* Takes an item back that no worker has taken yet; false: too late. */
bool rpc_pool_withdraw(struct rpc_pool *pool, struct rpc_pool_item *item);
/* Runs what is queued, joins the workers, frees. Blocks. NULL is fine. */
void rpc_pool_destroy(struct rpc_pool *pool);

#endif
