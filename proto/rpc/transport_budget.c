/*
 * transport_budget - what many connections together may have waiting to be sent.
 *
 * A refused connection need not have anything of its own under way, so its own writer cannot tell
 * when there is room: it is listed, and whoever gives back the half that frees the budget tells.
 */
#include "proto/base/check.h"
#include "proto/rpc/transport_internal.h"

void transport_budget_init(struct transport_budget *budget, size_t max)
{
    FLY_CHECK(max > 0);
    budget->max = max;
    atomic_init(&budget->used, 0);
    atomic_init(&budget->refused, 0);
    atomic_init(&budget->waiters, 0);
    (void)pthread_mutex_init(&budget->lock, NULL);
    fly_list_init(&budget->waiting);
}

void transport_budget_fini(struct transport_budget *budget)
{
    FLY_CHECK(atomic_load(&budget->used) == 0 && fly_list_empty(&budget->waiting));
    (void)pthread_mutex_destroy(&budget->lock);
}

/* With the budget's lock: all of the list are told, on the timer thread. */
static void post_waiting(struct transport_budget *budget)
{
    while (!fly_list_empty(&budget->waiting)) {
        struct transport *t = FLY_CONTAINER(budget->waiting.next, struct transport, budget_node);
        fly_list_drop(&t->budget_node);
        (void)atomic_fetch_sub(&budget->waiters, 1);
        t->budget_waits = TRANSPORT_WAITS_POSTED;
        rpc_job_post(&t->room_job);
    }
}

static bool half_free(const struct transport_budget *budget)
{
    return atomic_load(&budget->used) <= budget->max / 2;
}

static void wait_for_room(struct transport *t)
{
    struct transport_budget *budget = t->config.budget;

    (void)atomic_fetch_add_explicit(&budget->refused, 1, memory_order_relaxed);
    (void)pthread_mutex_lock(&budget->lock);
    if (t->budget_waits == TRANSPORT_WAITS_NOT) {
        transport_hold(t);
        t->budget_waits = TRANSPORT_WAITS_LISTED;
        fly_list_append(&budget->waiting, &t->budget_node);
        (void)atomic_fetch_add(&budget->waiters, 1);
        if (half_free(budget)) { /* given back since: nobody else may tell */
            post_waiting(budget);
        }
    }
    (void)pthread_mutex_unlock(&budget->lock);
}

void transport_tell_room(struct rpc_job *job)
{
    struct transport *t = FLY_CONTAINER(job, struct transport, room_job);
    struct transport_budget *budget = t->config.budget;

    /* first this: a refusal from now on lists it again */
    (void)pthread_mutex_lock(&budget->lock);
    t->budget_waits = TRANSPORT_WAITS_NOT;
    (void)pthread_mutex_unlock(&budget->lock);
    transport_lock(t);
    t->room_wanted = t->room_wanted > 0 ? t->room_wanted : 1; /* if not now, its writer tells */
    bool tell = transport_owes_room(t);
    transport_unlock(t);
    if (tell) {
        t->config.events->drained(t->user);
    }
    transport_drop(t);
}

void transport_budget_leave(struct transport *t)
{
    struct transport_budget *budget = t->config.budget;

    if (budget == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&budget->lock);
    bool listed = t->budget_waits == TRANSPORT_WAITS_LISTED;
    if (listed) {
        fly_list_drop(&t->budget_node);
        (void)atomic_fetch_sub(&budget->waiters, 1);
        t->budget_waits = TRANSPORT_WAITS_NOT;
    }
    (void)pthread_mutex_unlock(&budget->lock);
    if (listed) {
        transport_drop(t);
    }
}

/* What a connection with so many bytes waiting is to be charged. */
static size_t charge_of(size_t waiting)
{
    size_t over = waiting <= TRANSPORT_BUDGET_FREE ? 0 : waiting - TRANSPORT_BUDGET_FREE;

    return (over + TRANSPORT_BUDGET_STEP - 1) / TRANSPORT_BUDGET_STEP * TRANSPORT_BUDGET_STEP;
}

bool transport_charge(struct transport *t, size_t size, bool urgent)
{
    struct transport_budget *budget = t->config.budget;
    size_t want = budget == NULL ? 0 : charge_of(transport_waiting(t) + size);

    if (want <= t->charged) {
        return true;
    }
    size_t used = atomic_load(&budget->used);
    do {
        if (!urgent && used >= budget->max) {
            wait_for_room(t);
            return false;
        }
    } while (!atomic_compare_exchange_weak(&budget->used, &used, used + want - t->charged));
    t->charged = want;
    return true;
}

void transport_repay(struct transport *t)
{
    struct transport_budget *budget = t->config.budget;
    size_t want = t->charged == 0 ? 0 : charge_of(transport_waiting(t));

    if (want >= t->charged) {
        return;
    }
    (void)atomic_fetch_sub(&budget->used, t->charged - want);
    t->charged = want;
    if (atomic_load(&budget->waiters) > 0 && half_free(budget)) {
        (void)pthread_mutex_lock(&budget->lock);
        post_waiting(budget);
        (void)pthread_mutex_unlock(&budget->lock);
    }
}
