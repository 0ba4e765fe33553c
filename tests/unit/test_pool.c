/* pool: every item comes back exactly once, by run, late, withdraw or a refusal, whatever threads
 * do. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/rng.h"
#include "proto/rpc/pool.h"

enum { POSTERS = 4, EACH = 4000, PLENTY_MS = 600000 };

struct job {
    struct rpc_pool_item item;
    atomic_uint runs;
    atomic_uint lates;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    unsigned waiting;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void gate_set(bool open)
{
    (void)pthread_mutex_lock(&gate.lock);
    gate.open = open;
    (void)pthread_cond_broadcast(&gate.changed);
    (void)pthread_mutex_unlock(&gate.lock);
}

static void gate_pass(void)
{
    (void)pthread_mutex_lock(&gate.lock);
    gate.waiting++;
    (void)pthread_cond_broadcast(&gate.changed);
    while (!gate.open) {
        (void)pthread_cond_wait(&gate.changed, &gate.lock);
    }
    gate.waiting--;
    (void)pthread_mutex_unlock(&gate.lock);
}

static void gate_await(unsigned waiting)
{
    (void)pthread_mutex_lock(&gate.lock);
    while (gate.waiting < waiting) {
        (void)pthread_cond_wait(&gate.changed, &gate.lock);
    }
    (void)pthread_mutex_unlock(&gate.lock);
}

static void run(struct rpc_pool_item *item)
{
    struct job *job = FLY_CONTAINER(item, struct job, item);

    atomic_fetch_add(&job->runs, 1);
}

static void run_gated(struct rpc_pool_item *item)
{
    gate_pass();
    run(item);
}

static void late(struct rpc_pool_item *item)
{
    atomic_fetch_add(&FLY_CONTAINER(item, struct job, item)->lates, 1);
}

static struct rpc_pool *pool_of(uint32_t threads, uint32_t queue_max,
                                void (*runs)(struct rpc_pool_item *))
{
    struct rpc_pool_config config = {
        .threads = threads, .queue_max = queue_max, .run = runs, .late = late};
    struct rpc_pool *pool = NULL;
    struct fly_error error = {.text = ""};

    assert_int_equal(rpc_pool_create(&pool, &config, &error), FLY_OK);
    return pool;
}

static void test_bad_config(void **state)
{
    struct rpc_pool_config config = {.queue_max = 1, .run = run, .late = late};
    struct rpc_pool *pool = NULL;
    struct fly_error error = {.text = ""};

    (void)state;
    assert_int_equal(rpc_pool_create(&pool, &config, &error), FLY_INVALID_ARGUMENT);
    assert_null(pool);
    config.threads = 1;
    config.queue_max = 0;
    assert_int_equal(rpc_pool_create(&pool, &config, &error), FLY_INVALID_ARGUMENT);
    rpc_pool_destroy(NULL);
}

static void test_queue_bound_and_order(void **state)
{
    enum { QUEUE = 3 };
    struct rpc_pool *pool = pool_of(1, QUEUE, run_gated);
    struct job jobs[QUEUE + 2] = {0};

    (void)state;
    gate_set(false);
    assert_true(rpc_pool_post(pool, &jobs[0].item));
    gate_await(1); /* the only worker has it */
    assert_false(rpc_pool_withdraw(pool, &jobs[0].item));
    for (size_t i = 1; i <= QUEUE; i++) {
        jobs[i].item.deadline_ms = i == 2 ? 0 : fly_clock_boot_ms() + PLENTY_MS;
        assert_true(rpc_pool_post(pool, &jobs[i].item));
    }
    assert_false(rpc_pool_post(pool, &jobs[QUEUE + 1].item));
    assert_true(rpc_pool_withdraw(pool, &jobs[1].item));
    assert_false(rpc_pool_withdraw(pool, &jobs[1].item));
    assert_true(rpc_pool_post(pool, &jobs[QUEUE + 1].item));
    gate_set(true);
    rpc_pool_destroy(pool); /* runs what is queued */
    for (size_t i = 0; i < QUEUE + 2; i++) {
        assert_int_equal(jobs[i].runs, i != 1);
        assert_int_equal(jobs[i].lates, 0);
    }
}

static void test_late_is_not_run(void **state)
{
    struct rpc_pool *pool = pool_of(1, 8, run_gated);
    struct job jobs[3] = {0};

    (void)state;
    gate_set(false);
    assert_true(rpc_pool_post(pool, &jobs[0].item));
    gate_await(1);
    jobs[1].item.deadline_ms = fly_clock_boot_ms(); /* now: late on the poster's thread */
    assert_true(rpc_pool_post(pool, &jobs[1].item));
    assert_int_equal(jobs[1].lates, 1);
    jobs[2].item.deadline_ms = fly_clock_boot_ms() + 2; /* late by the time a worker comes */
    assert_true(rpc_pool_post(pool, &jobs[2].item));
    while (fly_clock_boot_ms() < jobs[2].item.deadline_ms) {
    }
    gate_set(true);
    rpc_pool_destroy(pool);
    assert_int_equal(jobs[0].runs, 1);
    assert_int_equal(jobs[1].runs + jobs[2].runs, 0);
    assert_int_equal(jobs[2].lates, 1);
}

struct poster {
    struct rpc_pool *pool;
    struct job *jobs;
    uint64_t seed;
    unsigned refused;
    unsigned withdrawn;
    pthread_t thread;
};

static void *post_many(void *user)
{
    struct poster *poster = user;
    struct fly_rng rng;

    fly_rng_seed(&rng, poster->seed);
    for (size_t i = 0; i < EACH; i++) {
        struct job *job = &poster->jobs[i];
        int64_t time_ms = (int64_t)fly_rng_below(&rng, 20) - 2;

        job->item.deadline_ms = fly_rng_chance(&rng, 300) ? 0 : fly_clock_boot_ms() + time_ms;
        if (!rpc_pool_post(poster->pool, &job->item)) {
            atomic_fetch_add(&job->lates, 1);
            poster->refused++;
        } else if (fly_rng_chance(&rng, 100) && rpc_pool_withdraw(poster->pool, &job->item)) {
            atomic_fetch_add(&job->lates, 1);
            poster->withdrawn++;
        }
    }
    return NULL;
}

static void test_each_comes_back_once(void **state)
{
    struct poster posters[POSTERS] = {0};
    struct rpc_pool *pool = pool_of(3, 64, run);
    unsigned runs = 0;

    (void)state;
    for (size_t i = 0; i < POSTERS; i++) {
        posters[i].pool = pool;
        posters[i].seed = i + 1;
        posters[i].jobs = calloc(EACH, sizeof *posters[i].jobs);
        assert_non_null(posters[i].jobs);
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]), 0);
    }
    for (size_t i = 0; i < POSTERS; i++) {
        (void)pthread_join(posters[i].thread, NULL);
    }
    rpc_pool_destroy(pool);
    for (size_t i = 0; i < POSTERS; i++) {
        for (size_t k = 0; k < EACH; k++) {
            assert_int_equal(posters[i].jobs[k].runs + posters[i].jobs[k].lates, 1);
            runs += posters[i].jobs[k].runs;
        }
        free(posters[i].jobs);
    }
    assert_true(runs > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_config),
        cmocka_unit_test(test_queue_bound_and_order),
        cmocka_unit_test(test_late_is_not_run),
        cmocka_unit_test(test_each_comes_back_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
