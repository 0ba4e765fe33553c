#include "proto/rpc/pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"

struct rpc_pool {
    struct rpc_pool_config config;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t posted;
    struct shed queue;
    uint32_t idle; /* workers that wait */
    bool stopping;
    uint32_t thread_count; /* that were made; its maker's */
    struct shed_item **heap;
    pthread_t threads[];
};

static struct rpc_pool_item *item_of(struct shed_item *shed)
{
    return FLY_CONTAINER(shed, struct rpc_pool_item, shed);
}

/* Without the lock: who is told may post again. */
static void hand_back(struct rpc_pool *pool, struct fly_list *late)
{
    while (!fly_list_empty(late)) {
        struct fly_list *node = late->next;

        fly_list_drop(node);
        pool->config.late(item_of(FLY_CONTAINER(node, struct shed_item, node)));
    }
}

/* Waits for the next item; NULL: the pool stops and nothing is left. */
static struct shed_item *take(struct rpc_pool *pool, int64_t *now_us, struct fly_list *late)
{
    struct shed_item *item = NULL;

    (void)pthread_mutex_lock(&pool->lock);
    for (;;) {
        *now_us = fly_clock_boot_us();
        item = shed_take(&pool->queue, *now_us, late);
        if (item != NULL || !fly_list_empty(late) || pool->stopping) {
            break;
        }
        pool->idle++;
        (void)pthread_cond_wait(&pool->posted, &pool->lock);
        pool->idle--;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return item;
}

static void run(struct rpc_pool *pool, struct shed_item *item, int64_t began_us)
{
    int64_t took_us = 0;

    pool->config.run(item_of(item));
    took_us = fly_clock_boot_us() - began_us;
    (void)pthread_mutex_lock(&pool->lock);
    shed_served(&pool->queue, took_us);
    (void)pthread_mutex_unlock(&pool->lock);
}

static void *work(void *user)
{
    struct rpc_pool *pool = user;
    struct fly_list late;

    fly_list_init(&late);
    for (;;) {
        int64_t began_us = 0;
        struct shed_item *item = take(pool, &began_us, &late);

        if (item == NULL && fly_list_empty(&late)) {
            return NULL;
        }
        /* Before the run, which may be long. Many of them take their time, too. */
        if (!fly_list_empty(&late)) {
            hand_back(pool, &late);
            began_us = fly_clock_boot_us();
        }
        if (item != NULL && item->deadline_us != 0 && item->deadline_us <= began_us) {
            pool->config.late(item_of(item));
        } else if (item != NULL) {
            run(pool, item, began_us);
        }
    }
}

static void stop(struct rpc_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    (void)pthread_cond_broadcast(&pool->posted);
    (void)pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->thread_count; i++) {
        (void)pthread_join(pool->threads[i], NULL);
    }
    (void)pthread_cond_destroy(&pool->posted);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool->heap);
    free(pool);
}

enum fly_status rpc_pool_create(struct rpc_pool **out, const struct rpc_pool_config *config,
                                struct fly_error *error)
{
    struct rpc_pool *pool = NULL;

    *out = NULL;
    if (config->threads == 0 || config->queue_max == 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "a pool needs threads and a queue");
    }
    pool = calloc(1, sizeof *pool + config->threads * sizeof pool->threads[0]);
    if (pool != NULL) {
        pool->heap = calloc((size_t)config->queue_max + 1, sizeof *pool->heap);
    }
    if (pool == NULL || pool->heap == NULL) {
        free(pool);
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    pool->config = *config;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->posted, NULL);
    shed_init(&pool->queue, pool->heap, config->queue_max);
    for (; pool->thread_count < config->threads; pool->thread_count++) {
        int failed = pthread_create(&pool->threads[pool->thread_count], NULL, work, pool);

        if (failed != 0) {
            stop(pool);
            return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "cannot make threads: %s",
                                 strerror(failed));
        }
    }
    *out = pool;
    return FLY_OK;
}

bool rpc_pool_post(struct rpc_pool *pool, struct rpc_pool_item *item)
{
    struct fly_list late;
    bool in = false;

    fly_list_init(&late);
    item->shed.deadline_us = item->deadline_ms * 1000;
    (void)pthread_mutex_lock(&pool->lock);
    FLY_CHECK(!pool->stopping);
    in = shed_put(&pool->queue, &item->shed, fly_clock_boot_us(), &late);
    if (in && pool->idle > 0) {
        (void)pthread_cond_signal(&pool->posted);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    hand_back(pool, &late);
    return in;
}

bool rpc_pool_withdraw(struct rpc_pool *pool, struct rpc_pool_item *item)
{
    bool out = false;

    (void)pthread_mutex_lock(&pool->lock);
    out = shed_withdraw(&pool->queue, &item->shed);
    (void)pthread_mutex_unlock(&pool->lock);
    return out;
}

void rpc_pool_destroy(struct rpc_pool *pool)
{
    if (pool != NULL) {
        stop(pool);
    }
}
