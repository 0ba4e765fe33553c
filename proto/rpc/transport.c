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

enum {
    IN_SIZE = 64 * 1024,  /* touched only as far as it is used */
    OUT_SIZE = 4 * 1024,  /* the first allocation of an out-buffer */
    OUT_KEEP = 64 * 1024, /* an emptied buffer above this is given back */
    BATCH_MAX = 32,
};

struct buffer {
    uint8_t *data;
    size_t size;
    size_t max;
};

struct transport {
    nng_stream *stream;
    nng_aio *recv_aio;
    nng_aio *inline_aio; /* no callback: completes in place */
    nng_aio *send_aio;
    atomic_uint references;
    struct transport_config config;
    bool secure;
    int failure; /* nng's word for the end of receiving; set before `closed` is told */
    void *user;
    struct rpc_job closed_job;
    struct rpc_job dispose_job;
    atomic_uint_fast64_t bytes_in;
    atomic_uint_fast64_t bytes_out;
    char remote[TRANSPORT_REMOTE_SIZE];

    struct buffer in; /* only the receiving callback touches it */

    pthread_mutex_t beginning; /* only `shut`, and only while an aio is begun */
    bool shut;
    pthread_mutex_t lock; /* all below */
    struct buffer out;
    struct buffer sending; /* the writer's own while `writing` */
    size_t sent;           /* of `sending`; the writer's own too, without the lock */
    uint64_t reserved;     /* bytes ever appended to out */
    uint64_t spent;        /* cost of all that was handed to the kernel */
    uint64_t read_by_peer; /* the part of it that an answered mark covers */
    uint64_t mark_spent;
    uint32_t mark_number;
    bool mark_pending;
    bool in_place; /* sends without a callback are possible */
    bool writing;
    bool started;
    bool reading; /* a receive is under way or being handled */
    bool closing;
    bool cut; /* to be closed by the next flush */
    bool room_wanted;
};

static _Thread_local struct {
    unsigned depth;
    unsigned count;
    struct transport *members[BATCH_MAX];
} batch;

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
static void on_sent(void *arg);

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
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_mutex_init(&t->beginning, NULL);
    t->in.data = malloc(IN_SIZE);
    t->in.max = IN_SIZE;
    if (t->in.data == NULL || nng_aio_alloc(&t->recv_aio, on_received, t) != 0 ||
        nng_aio_alloc(&t->inline_aio, NULL, NULL) != 0 ||
        nng_aio_alloc(&t->send_aio, on_sent, t) != 0) {
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

/* nng 1.5.2 keeps an aio for ever that is begun on a stream after its close: beginning and closing
 * exclude each other. False: shut, and the aio was not begun. */
static bool begin(struct transport *t, void (*operation)(nng_stream *, nng_aio *), nng_aio *aio)
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
}

bool transport_closed(const struct transport *t)
{
    return t->closing;
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

/* False: the stream was shut, nothing will come of it. */
static bool receive_more(struct transport *t)
{
    nng_iov iov = {.iov_buf = t->in.data + t->in.size, .iov_len = t->in.max - t->in.size};

    FLY_CHECK(nng_aio_set_iov(t->recv_aio, 1, &iov) == 0);
    return begin(t, nng_stream_recv, t->recv_aio);
}

void transport_start(struct transport *t, void *user)
{
    transport_hold(t); /* the receive's: given back with `closed` */
    transport_lock(t);
    t->user = user;
    t->started = true;
    t->reading = true;
    transport_unlock(t);
    if (!receive_more(t)) {
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

/* What the writer has taken counts until all of it has left: how far it is, only it knows. */
static size_t waiting(const struct transport *t)
{
    return t->out.size + (t->writing ? t->sending.size : 0);
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
    bool hold_back = alive && t->config.hold_back && waiting(t) > t->config.out_max / 2;
    bool first = !alive && !t->closing;
    t->closing = t->closing || !alive;
    t->reading = alive && !hold_back;
    transport_unlock(t);
    if (first) {
        shut(t);
    }
    if (!alive || (!hold_back && !receive_more(t))) {
        t->config.events->closed(t->user);
        transport_drop(t);
    }
}

/* ---- writing ---- */

static uint8_t *buffer_extend(struct buffer *buffer, size_t size)
{
    if (buffer->max - buffer->size < size) {
        size_t max = buffer->max == 0 ? OUT_SIZE : buffer->max;
        while (max - buffer->size < size) {
            max *= 2;
        }
        uint8_t *data = realloc(buffer->data, max);
        if (data == NULL) {
            return NULL;
        }
        buffer->data = data;
        buffer->max = max;
    }
    buffer->size += size;
    return buffer->data + buffer->size - size;
}

static void buffer_empty(struct buffer *buffer)
{
    buffer->size = 0;
    if (buffer->max > OUT_KEEP) {
        free(buffer->data);
        *buffer = (struct buffer){0};
    }
}

uint8_t *transport_reserve(struct transport *t, size_t size, bool urgent)
{
    size_t max = t->config.out_max + (urgent ? TRANSPORT_URGENT_MAX : 0);
    size_t used = waiting(t);

    if (t->closing || t->cut) {
        return NULL;
    }
    uint8_t *room = used <= max && size <= max - used ? buffer_extend(&t->out, size) : NULL;
    if (room == NULL) {
        t->cut = urgent;
        t->room_wanted = true;
        return NULL;
    }
    t->reserved += size;
    return room;
}

uint64_t transport_position(const struct transport *t)
{
    return t->reserved;
}

uint8_t *transport_unsent(struct transport *t, uint64_t position)
{
    uint64_t start = t->reserved - t->out.size;

    return position >= start ? t->out.data + (position - start) : NULL;
}

void transport_marked(struct transport *t, uint32_t number)
{
    if (t->mark_pending && number == t->mark_number) {
        t->mark_pending = false;
        t->read_by_peer = t->mark_spent;
    }
}

void transport_probe(struct transport *t)
{
    uint8_t *room = t->mark_pending ? NULL : transport_reserve(t, TRANSPORT_MARK_SIZE, true);

    if (room != NULL) {
        t->mark_pending = true;
        t->config.events->mark(++t->mark_number, room);
        /* covers what was handed over before; what waits beside it is at most understated */
        t->mark_spent = t->spent;
    }
}

/* Makes what waits the writer's own. True when it may be sent in place: see the header. */
static bool take_out(struct transport *t)
{
    uint64_t cost = t->out.size + TRANSPORT_MARK_SIZE + TRANSPORT_SEND_COST;
    struct buffer empty = t->sending;

    t->spent += cost;
    if (t->in_place && !t->mark_pending && t->spent - t->read_by_peer > TRANSPORT_INLINE_MAX / 2) {
        uint8_t *room = buffer_extend(&t->out, TRANSPORT_MARK_SIZE);
        if (room != NULL) {
            t->reserved += TRANSPORT_MARK_SIZE;
            t->config.events->mark(++t->mark_number, room);
            t->mark_pending = true;
            t->mark_spent = t->spent;
        }
    }
    t->sending = t->out;
    t->out = empty;
    t->sent = 0;
    t->writing = true;
    return t->in_place && t->spent - t->read_by_peer <= TRANSPORT_INLINE_MAX;
}

/* False: the stream was shut. */
static bool send_with(struct transport *t, nng_aio *aio)
{
    nng_iov iov = {.iov_buf = t->sending.data + t->sent, .iov_len = t->sending.size - t->sent};

    FLY_CHECK(nng_aio_set_iov(aio, 1, &iov) == 0);
    return begin(t, nng_stream_send, aio);
}

/* False when the connection broke. */
static bool account_sent(struct transport *t, nng_aio *aio)
{
    size_t count = nng_aio_count(aio);

    if (nng_aio_result(aio) != 0) {
        return false;
    }
    t->sent += count;
    (void)atomic_fetch_add_explicit(&t->bytes_out, count, memory_order_relaxed);
    return true;
}

/* With the lock, no writer, and nothing (more) to send: what the new room makes possible. */
static void leave_writing(struct transport *t)
{
    bool tell = t->started && t->room_wanted && !t->closing && waiting(t) <= t->config.out_max / 2;
    bool resume = t->started && !t->reading && !t->closing && waiting(t) <= t->config.out_max / 4;
    bool cut = t->cut && !t->closing;

    t->room_wanted = t->room_wanted && !tell;
    t->reading = t->reading || resume;
    transport_unlock(t);
    if (resume && !receive_more(t)) {
        rpc_job_post(&t->closed_job); /* the receive that resumed would have told */
    }
    if (tell) {
        t->config.events->drained(t->user);
    }
    if (cut) {
        transport_close(t);
    }
}

/* The writer's loop. With the lock, which it gives back. */
static void write_out(struct transport *t)
{
    while (!t->writing && !t->closing && !t->cut && t->out.size > 0) {
        bool in_place = take_out(t);
        bool alive = true;
        transport_unlock(t);
        if (in_place) {
            alive = send_with(t, t->inline_aio);
            if (alive) {
                nng_aio_wait(t->inline_aio);
                alive = account_sent(t, t->inline_aio);
            }
        }
        if (alive && t->sent < t->sending.size) {
            transport_hold(t);
            if (send_with(t, t->send_aio)) {
                return; /* on_sent goes on as the writer */
            }
            transport_drop(t); /* not the last: the caller has one */
            alive = false;
        }
        transport_lock(t);
        t->writing = false;
        buffer_empty(&t->sending);
        t->cut = t->cut || !alive;
    }
    leave_writing(t);
}

static void on_sent(void *arg)
{
    struct transport *t = arg;
    bool alive = account_sent(t, t->send_aio);

    if (alive && t->sent < t->sending.size) {
        if (send_with(t, t->send_aio)) {
            return;
        }
        alive = false;
    }
    transport_lock(t);
    t->writing = false;
    buffer_empty(&t->sending);
    t->cut = t->cut || !alive;
    write_out(t);
    transport_drop(t);
}

static void flush_now(struct transport *t)
{
    transport_lock(t);
    write_out(t);
}

void transport_flush(struct transport *t)
{
    if (batch.depth == 0 || batch.count == BATCH_MAX) {
        flush_now(t);
        return;
    }
    for (unsigned i = batch.count; i > 0; i--) {
        if (batch.members[i - 1] == t) {
            return;
        }
    }
    transport_hold(t);
    batch.members[batch.count++] = t;
}

void rpc_batch_begin(void)
{
    batch.depth++;
}

void rpc_batch_end(void)
{
    FLY_CHECK(batch.depth > 0);
    if (batch.depth > 1) {
        batch.depth--;
        return;
    }
    /* what a flush sets off may add members again */
    while (batch.count > 0) {
        struct transport *t = batch.members[--batch.count];
        flush_now(t);
        transport_drop(t);
    }
    batch.depth = 0;
}
