/*
 * timer - the one thread that waits for time: deadlines, handshakes, keepalives, disposal.
 *
 * One heap and one timerfd on CLOCK_BOOTTIME for the whole process. Nothing here is armed per
 * call: a connection has one timer and looks for itself which of its calls are due. The thread
 * lives while somebody holds it; so do the pollers', which the last release joins as well. What
 * runs here must not wait: every deadline stands behind it.
 */
#ifndef FLY_RPC_TIMER_H
#define FLY_RPC_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

struct rpc_timer {
    void (*fire)(void *user); /* on the timer thread; may arm the timer again */
    void *user;
    int64_t due_ms;
    size_t place; /* in the heap, 1-based; 0: not armed */
};

/* Something to do once on the timer thread, for threads that may not wait themselves. */
struct rpc_job {
    void (*run)(struct rpc_job *job); /* may free the job */
    struct rpc_job *next;
};

/* Starts the thread with the first holder, joins it with the last. Release blocks: never on the
 * timer thread or a poller's. RESOURCE_EXHAUSTED when the thread cannot be made. */
enum fly_status rpc_timer_hold(struct fly_error *error);
void rpc_timer_release(void);
/* The same in two halves, for a holder that ends on the timer thread itself: put off (any thread),
 * then released there. The thread stays until somebody settles, or the next last release. */
void rpc_timer_put_off(void);
void rpc_timer_release_here(void);
/* Waits for every release that was put off. Blocks like rpc_timer_release. */
void rpc_timer_settle(void);

void rpc_timer_init(struct rpc_timer *timer, void (*fire)(void *user), void *user);
/* Due at due_ms (CLOCK_BOOTTIME) at the latest: an earlier time that was set already stays.
 * True when it was not armed before. */
bool rpc_timer_arm(struct rpc_timer *timer, int64_t due_ms);
/* True when it was armed: it will not fire. False: it was not, but may be firing right now. */
bool rpc_timer_cancel(struct rpc_timer *timer);
/* Cancels, and waits while it is firing. Never from `fire`. */
void rpc_timer_stop(struct rpc_timer *timer);

void rpc_job_post(struct rpc_job *job);

#endif
