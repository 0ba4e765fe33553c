/*
 * transport - one connection: its life and its end. transport_write.c writes; who reads is behind
 * transport_ops.
 */
#include "proto/rpc/transport.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/rpc/transport_internal.h"

static void dispose(struct rpc_job *job)
{
    struct transport *t = FLY_CONTAINER(job, struct transport, dispose_job);
    const struct transport_events *events = t->config.events;
    void *user = t->user;
    bool started = t->started;

    t->writing = false;
    t->out.size = 0;
    transport_repay(t);
    t->ops->destroy(t);
    if (started) {
        events->disposed(user);
    }
}

void transport_end(struct transport *t)
{
    t->config.events->closed(t->user);
    transport_lock(t); /* who still refers to it may do so for long: not to what waited */
    transport_buffer_empty(&t->out);
    transport_repay(t);
    transport_unlock(t);
    transport_drop(t);
}

static void tell_closed(struct rpc_job *job)
{
    transport_end(FLY_CONTAINER(job, struct transport, closed_job));
}

void transport_init(struct transport *t, const struct transport_ops *ops,
                    const struct transport_config *config)
{
    t->ops = ops;
    t->config = *config;
    atomic_init(&t->references, 1);
    t->dispose_job.run = dispose;
    t->closed_job.run = tell_closed;
    t->room_job.run = transport_tell_room;
    (void)pthread_mutex_init(&t->lock, NULL);
}

void transport_fini(struct transport *t)
{
    transport_buffer_empty(&t->out);
    transport_buffer_empty(&t->sending);
    (void)pthread_mutex_destroy(&t->lock);
}

void transport_name(char out[static TRANSPORT_REMOTE_SIZE], const struct sockaddr *address,
                    const char *other)
{
    char host[INET6_ADDRSTRLEN] = "";
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    (void)fly_copy_string(out, TRANSPORT_REMOTE_SIZE, other);
    if (address->sa_family == AF_INET) {
        memcpy(&in, address, sizeof in);
        (void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
        (void)snprintf(out, TRANSPORT_REMOTE_SIZE, "%s:%u", host, ntohs(in.sin_port));
    } else if (address->sa_family == AF_INET6) {
        memcpy(&in6, address, sizeof in6);
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host);
        (void)snprintf(out, TRANSPORT_REMOTE_SIZE, "[%s]:%u", host, ntohs(in6.sin6_port));
    }
}

void transport_hold(struct transport *t)
{
    (void)atomic_fetch_add_explicit(&t->references, 1, memory_order_relaxed);
}

void transport_drop(struct transport *t)
{
    if (atomic_fetch_sub_explicit(&t->references, 1, memory_order_acq_rel) == 1) {
        rpc_job_post(&t->dispose_job);
    }
}

const char *transport_tls_failure(const struct transport *t)
{
    return t->failure;
}

const char *transport_remote(const struct transport *t)
{
    return t->remote;
}

uint64_t transport_bytes_in(const struct transport *t)
{
    return atomic_load_explicit(&t->bytes_in, memory_order_relaxed);
}

uint64_t transport_bytes_out(const struct transport *t)
{
    return atomic_load_explicit(&t->bytes_out, memory_order_relaxed);
}

void transport_lock(struct transport *t)
{
    (void)pthread_mutex_lock(&t->lock);
}

void transport_unlock(struct transport *t)
{
    (void)pthread_mutex_unlock(&t->lock);
}

bool transport_closed(const struct transport *t)
{
    return t->closing || t->broken;
}

bool transport_held_back(const struct transport *t)
{
    return t->started && !t->reading && !t->closing;
}

void transport_start(struct transport *t, void *user)
{
    transport_hold(t); /* the reader's: given back with `closed` */
    transport_lock(t);
    t->user = user;
    t->started = true;
    t->reading = true;
    transport_unlock(t);
    if (!t->ops->start(t)) {
        rpc_job_post(&t->closed_job);
    }
}

bool transport_set_closing(struct transport *t)
{
    bool first = !t->closing;

    t->closing = true;
    return first;
}

void transport_close(struct transport *t)
{
    transport_lock(t);
    bool first = transport_set_closing(t);
    bool idle = t->started && !t->reading;
    transport_unlock(t);
    if (first) {
        t->ops->shut(t, idle);
        transport_budget_leave(t);
    }
}

bool transport_goes_on(struct transport *t)
{
    t->reading =
        !t->closing && !(t->config.hold_back && transport_waiting(t) > t->config.out_max / 2);
    return t->reading;
}

bool transport_read_here(struct transport *t, int64_t deadline_ms, bool (*done)(void *user),
                         void *user)
{
    if (t->ops->read_here != NULL) {
        return t->ops->read_here(t, deadline_ms, done, user);
    }
    transport_flush(t);
    return done(user);
}
