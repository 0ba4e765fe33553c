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

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/rpc/batch.h"
#include "proto/rpc/timer.h"
#include "proto/rpc/transport_internal.h"

enum { IN_SIZE = 64 * 1024 /* touched only as far as it is used */ };

static void describe_remote(struct transport *t)
{
    char host[INET6_ADDRSTRLEN] = "";
    nng_sockaddr address;

    (void)fly_copy_string(t->remote, sizeof t->remote, "ipc");
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

/* ---- life ---- */

static void on_received(void *arg);

static void free_parts(struct transport *t)
{
    nng_aio_free(t->recv_aio);
    nng_aio_free(t->inline_aio);
    nng_aio_free(t->send_aio);
    nng_stream_free(t->stream);
    (void)pthread_mutex_destroy(&t->lock);
    (void)pthread_mutex_destroy(&t->beginning);
    free(t->in.data);
    free(t->out.data);
    free(t->sending.data);
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
                                 unsigned kind)
{
    struct transport *t = calloc(1, sizeof *t);

    if (t == NULL) {
        nng_stream_free(stream);
        return NULL;
    }
    t->stream = stream;
    t->config = *config;
    t->secure = (kind & TRANSPORT_SECURE) != 0;
    t->in_place = kind == TRANSPORT_ACCEPTED;
    atomic_init(&t->references, 1);
    t->dispose_job.run = dispose;
    t->closed_job.run = tell_closed;
    t->room_job.run = transport_tell_room;
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_mutex_init(&t->beginning, NULL);
    t->in.data = malloc(IN_SIZE);
    t->in.max = IN_SIZE;
    if (t->in.data == NULL || nng_aio_alloc(&t->recv_aio, on_received, t) != 0 ||
        nng_aio_alloc(&t->inline_aio, NULL, NULL) != 0 ||
        nng_aio_alloc(&t->send_aio, transport_on_sent, t) != 0) {
        free_parts(t);
        return NULL;
    }
    /* nng clears it on streams unless told. A unix socket has none, and a TLS stream takes no
     * options: its dialer or listener was told already */
    (void)nng_stream_set_bool(stream, NNG_OPT_TCP_NODELAY, true);
    describe_remote(t);
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

bool transport_begin(struct transport *t, void (*operation)(nng_stream *, nng_aio *), nng_aio *aio)
{
    (void)pthread_mutex_lock(&t->beginning);
    bool open = !t->shut;
    if (open) {
        operation(t->stream, aio);
    }
    (void)pthread_mutex_unlock(&t->beginning);
    return open;
}

static void shut(struct transport *t)
{
    (void)pthread_mutex_lock(&t->beginning);
    t->shut = true;
    (void)pthread_mutex_unlock(&t->beginning);
    nng_stream_close(t->stream);
    /* nng closes a stream by itself on a reset: what began after that is ended here */
    nng_aio_abort(t->recv_aio, NNG_ECLOSED);
    nng_aio_abort(t->inline_aio, NNG_ECLOSED);
    nng_aio_abort(t->send_aio, NNG_ECLOSED);
    transport_budget_leave(t);
}

bool transport_closed(const struct transport *t)
{
    return t->closing;
}

bool transport_reading(const struct transport *t)
{
    return t->reading;
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
    nng_iov iov = {.iov_buf = t->in.data + t->in.size, .iov_len = t->in.max - t->in.size};

    FLY_CHECK(nng_aio_set_iov(t->recv_aio, 1, &iov) == 0);
    return transport_begin(t, nng_stream_recv, t->recv_aio);
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
    uint8_t *data = realloc(t->in.data, max);

    if (data == NULL) {
        return false;
    }
    t->in.data = data;
    t->in.max = max;
    return true;
}

/* Hands over what has come; false: this connection is to be cut. */
static bool hand_over(struct transport *t)
{
    size_t wanted = 0;

    rpc_batch_begin();
    size_t used = t->config.events->received(t->user, t->in.data, t->in.size, &wanted);
    rpc_batch_end();
    if (used == SIZE_MAX) {
        return false;
    }
    t->in.size -= used;
    if (t->in.size > 0 && used > 0) {
        memmove(t->in.data, t->in.data + used, t->in.size);
    }
    if (wanted > t->in.max) {
        return in_resize(t, wanted);
    }
    if (t->in.max > IN_SIZE && wanted <= IN_SIZE && t->in.size <= IN_SIZE / 2) {
        return in_resize(t, IN_SIZE);
    }
    return true;
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
        (void)atomic_fetch_add_explicit(&t->bytes_in, count, memory_order_relaxed);
        alive = hand_over(t);
    }
    transport_lock(t);
    alive = alive && !t->closing;
    t->in_place = !t->secure;
    bool hold_back = alive && t->config.hold_back && transport_waiting(t) > t->config.out_max / 2;
    bool first = !alive && !t->closing;
    t->closing = t->closing || !alive;
    t->reading = alive && !hold_back;
    transport_unlock(t);
    if (first) {
        shut(t);
    }
    if (!alive || (!hold_back && !transport_receive_more(t))) {
        t->config.events->closed(t->user);
        transport_drop(t);
    }
}
