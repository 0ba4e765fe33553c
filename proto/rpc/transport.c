/*
 * transport - one connection: its life, reading, and its end. transport_write.c writes.
 */
#include "proto/rpc/transport.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/rpc/batch.h"
#include "proto/rpc/timer.h"
#include "proto/rpc/transport_internal.h"

enum {
    IN_MIDDLE = 4 * 1024,
    IN_SIZE = 64 * 1024, /* touched only as far as it is used */
    /* a read that fills its buffer heats, a small one cools */
    HEAT_STEP = 8,
    HEAT_MAX = 64,
    RECORDS_MAX = 16,
};

static void describe_remote(struct transport *t, bool inproc)
{
    char host[INET6_ADDRSTRLEN] = "";
    nng_sockaddr address;

    (void)fly_copy_string(t->remote, sizeof t->remote, inproc ? "inproc" : "ipc");
    if (nng_stream_get_addr(t->stream, NNG_OPT_REMADDR, &address) != 0) {
        return;
    }
    if (address.s_family == NNG_AF_INET) {
        (void)inet_ntop(AF_INET, &address.s_in.sa_addr, host, sizeof host);
        (void)snprintf(t->remote, sizeof t->remote, "%s:%u", host, ntohs(address.s_in.sa_port));
    } else if (address.s_family == NNG_AF_INET6) {
        (void)inet_ntop(AF_INET6, address.s_in6.sa_addr, host, sizeof host);
        (void)snprintf(t->remote, sizeof t->remote, "[%s]:%u", host, ntohs(address.s_in6.sa_port));
    }
}

/* An abstract socket is anybody's to connect to who learns its name, and anybody's to take that
 * name over after us. */
static bool from_here(nng_stream *stream)
{
    uint64_t pid = 0;

    return nng_stream_get_uint64(stream, NNG_OPT_IPC_PEER_PID, &pid) == 0 &&
           pid == (uint64_t)getpid();
}

/* ---- life ---- */

static void on_received(void *arg);

static void free_parts(struct transport *t)
{
    nng_aio_free(t->recv_aio);
    nng_aio_free(t->send_aio);
    nng_stream_free(t->stream);
    (void)pthread_mutex_destroy(&t->lock);
    (void)pthread_mutex_destroy(&t->beginning);
    if (t->in.data != t->in_small) {
        free(t->in.data);
    }
    transport_buffer_empty(&t->out);
    transport_buffer_empty(&t->sending);
    free(t);
}

static void dispose(struct rpc_job *job)
{
    struct transport *t = FLY_CONTAINER(job, struct transport, dispose_job);
    const struct transport_events *events = t->config.events;
    void *user = t->user;
    bool started = t->started;

    nng_stream_close(t->stream);
    t->writing = false;
    t->out.size = 0;
    transport_repay(t);
    free_parts(t);
    if (started) {
        events->disposed(user);
    }
}

static void tell_closed(struct rpc_job *job)
{
    struct transport *t = FLY_CONTAINER(job, struct transport, closed_job);

    t->config.events->closed(t->user);
    transport_drop(t);
}

struct transport *transport_make(nng_stream *stream, const struct transport_config *config,
                                 const struct transport_address *address)
{
    bool welcome = !address->inproc || from_here(stream);
    struct transport *t = welcome ? calloc(1, sizeof *t) : NULL;

    if (t == NULL) {
        nng_stream_free(stream);
        return NULL;
    }
    t->stream = stream;
    t->config = *config;
    t->secure = address->secure;
    atomic_init(&t->references, 1);
    t->dispose_job.run = dispose;
    t->closed_job.run = tell_closed;
    t->room_job.run = transport_tell_room;
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_mutex_init(&t->beginning, NULL);
    t->in.data = t->in_small;
    t->in.max = sizeof t->in_small;
    if (nng_aio_alloc(&t->recv_aio, on_received, t) != 0) {
        free_parts(t);
        return NULL;
    }
    /* nng clears it on streams unless told. A unix socket has none, and a TLS stream takes no
     * options: its dialer or listener was told already */
    (void)nng_stream_set_bool(stream, NNG_OPT_TCP_NODELAY, true);
    describe_remote(t, address->inproc);
    return t;
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
    bool tls = t->failure == NNG_EPEERAUTH || t->failure == NNG_ECRYPTO;

    return tls ? nng_strerror(t->failure) : NULL;
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

static void shut(struct transport *t)
{
    (void)pthread_mutex_lock(&t->beginning);
    t->shut = true;
    (void)pthread_mutex_unlock(&t->beginning);
    nng_stream_close(t->stream);
    /* nng closes a stream by itself on a reset: what began after that is ended here */
    nng_aio_abort(t->recv_aio, NNG_ECLOSED);
    if (t->send_aio != NULL) {
        nng_aio_abort(t->send_aio, NNG_ECLOSED);
    }
    transport_budget_leave(t);
}

bool transport_closed(const struct transport *t)
{
    return t->closing;
}

bool transport_held_back(const struct transport *t)
{
    return t->started && !t->reading && !t->closing;
}

void transport_close(struct transport *t)
{
    transport_lock(t);
    bool first = !t->closing;
    bool tell = first && t->started && !t->reading;
    t->closing = true;
    transport_unlock(t);
    if (first) {
        shut(t);
    }
    if (tell) {
        /* no receive will fail and tell; the receive's reference goes with the job */
        rpc_job_post(&t->closed_job);
    }
}

/* ---- reading ---- */

bool transport_receive_more(struct transport *t)
{
    t->in_room = t->in.max - t->in.size;
    nng_iov iov = {.iov_buf = t->in.data + t->in.size, .iov_len = t->in_room};

    FLY_CHECK(nng_aio_set_iov(t->recv_aio, 1, &iov) == 0);
    (void)pthread_mutex_lock(&t->beginning);
    bool open = !t->shut;
    if (open) {
        nng_stream_recv(t->stream, t->recv_aio);
    }
    (void)pthread_mutex_unlock(&t->beginning);
    return open;
}

void transport_start(struct transport *t, void *user)
{
    transport_hold(t); /* the receive's: given back with `closed` */
    transport_lock(t);
    t->user = user;
    t->started = true;
    t->reading = true;
    transport_unlock(t);
    if (!transport_receive_more(t)) {
        rpc_job_post(&t->closed_job);
    }
}

static bool in_resize(struct transport *t, size_t max)
{
    bool was_small = t->in.data == t->in_small;
    uint8_t *data = t->in_small;

    if (max > sizeof t->in_small) {
        data = realloc(was_small ? NULL : t->in.data, max);
        if (data == NULL) {
            return false;
        }
    }
    if (was_small != (data == t->in_small)) {
        memcpy(data, t->in.data, t->in.size);
    }
    if (data == t->in_small && !was_small) {
        free(t->in.data);
    }
    t->in.data = data;
    t->in.max = max;
    return true;
}

/* The buffer of the next read: as large as is worth it now. */
static size_t in_size_next(struct transport *t, size_t wanted)
{
    size_t next = t->in.max;

    if (t->in_count == t->in_room) {
        t->heat = t->heat + HEAT_STEP < HEAT_MAX ? t->heat + HEAT_STEP : HEAT_MAX;
        next = next < IN_MIDDLE ? IN_MIDDLE : next < IN_SIZE ? IN_SIZE : next;
    } else if (t->in_count <= TRANSPORT_IN_SMALL && t->heat > 0) {
        t->heat--;
    }
    if (next > IN_SIZE && t->in.size <= IN_SIZE / 2) {
        next = IN_SIZE;
    }
    if (t->heat == 0 && t->in.size == 0) {
        next = TRANSPORT_IN_SMALL;
    }
    return wanted <= next ? next : wanted < IN_MIDDLE ? IN_MIDDLE : wanted;
}

/* Hands over what has come; false: this connection is to be cut. */
static bool hand_over(struct transport *t)
{
    size_t wanted = 0;

    size_t used = t->config.events->received(t->user, t->in.data, t->in.size, &wanted);
    if (used == SIZE_MAX) {
        return false;
    }
    t->in.size -= used;
    if (t->in.size > 0 && used > 0) {
        memmove(t->in.data, t->in.data + used, t->in.size);
    }
    size_t next = in_size_next(t, wanted);
    return next == t->in.max || in_resize(t, next);
}

enum next { NEXT_NONE, NEXT_HELD_BACK, NEXT_ARMED };

/* After what was handed over: arms the next receive, unless it was the last. */
static enum next go_on(struct transport *t, bool alive)
{
    transport_lock(t);
    alive = alive && !t->closing;
    t->shaken = true;
    bool hold_back = alive && t->config.hold_back && transport_waiting(t) > t->config.out_max / 2;
    bool first = !alive && !t->closing;
    t->closing = t->closing || !alive;
    t->reading = alive && !hold_back;
    transport_unlock(t);
    if (first) {
        shut(t);
    }
    if (hold_back) {
        return NEXT_HELD_BACK;
    }
    return alive && transport_receive_more(t) ? NEXT_ARMED : NEXT_NONE;
}

static void end(struct transport *t)
{
    t->config.events->closed(t->user);
    transport_drop(t);
}

static void receive(struct transport *t, bool alive)
{
    rpc_batch_begin();
    alive = alive && hand_over(t);
    rpc_batch_end();
    if (go_on(t, alive) == NEXT_NONE) {
        end(t);
    }
}

/* A TLS receive brings one record. When the next is there already, the answers to both shall become
 * one record again: many calls in flight would fall apart into records of one call each for ever.
 */
static void receive_record(struct transport *t, bool alive)
{
    bool may_wait = ++t->records % RECORDS_MAX != 0;

    transport_hold(t); /* the next receive may end it */
    rpc_batch_begin();
    transport_flush(t); /* at the end: what the one before left to this */
    alive = alive && hand_over(t);
    enum next next = go_on(t, alive);
    /* nng clears the count when a receive begins: above 0, on_received has been or is to be called
     * again since, and flushes */
    if (next == NEXT_ARMED && may_wait && nng_aio_count(t->recv_aio) > 0) {
        transport_batch_forget(t);
    }
    rpc_batch_end();
    if (next == NEXT_NONE) {
        end(t);
    }
    transport_drop(t);
}

static void on_received(void *arg)
{
    struct transport *t = arg;
    size_t count = nng_aio_count(t->recv_aio);
    /* TLS may succeed with nothing: at its end, where it would go on doing so, or for empty
     * records, which nobody of ours sends */
    bool alive = nng_aio_result(t->recv_aio) == 0 && count > 0;

    t->failure = nng_aio_result(t->recv_aio);
    if (alive) {
        t->in.size += count;
        t->in_count = count;
        (void)atomic_fetch_add_explicit(&t->bytes_in, count, memory_order_relaxed);
    }
    if (t->secure) {
        receive_record(t, alive);
    } else {
        receive(t, alive);
    }
}
