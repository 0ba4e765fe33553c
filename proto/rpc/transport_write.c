/*
 * transport_write - the combining writer, its marks, and batches.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proto/base/check.h"
#include "proto/rpc/batch.h"
#include "proto/rpc/timer.h"
#include "proto/rpc/transport_internal.h"

enum {
    OUT_SIZE = 4 * 1024,  /* the first allocation of an out-buffer */
    OUT_KEEP = 64 * 1024, /* an emptied buffer above this is given back */
    BATCH_MAX = 32,
};

static _Thread_local struct {
    unsigned depth;
    unsigned count;
    struct transport *members[BATCH_MAX];
} batch;

static uint8_t *buffer_extend(struct transport_buffer *buffer, size_t size)
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

static void buffer_empty(struct transport_buffer *buffer)
{
    buffer->size = 0;
    if (buffer->max > OUT_KEEP) {
        free(buffer->data);
        *buffer = (struct transport_buffer){0};
    }
}

uint8_t *transport_reserve(struct transport *t, size_t size, bool urgent)
{
    size_t max = t->config.out_max + (urgent ? TRANSPORT_URGENT_MAX : 0);
    size_t used = transport_waiting(t);

    if (t->closing || t->cut) {
        return NULL;
    }
    bool fits = used <= max && size <= max - used && transport_charge(t, size, urgent);
    uint8_t *room = fits ? buffer_extend(&t->out, size) : NULL;
    if (room == NULL) {
        transport_repay(t);
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
    struct transport_buffer empty = t->sending;

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
    return transport_begin(t, nng_stream_send, aio);
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
    bool tell = t->started && t->room_wanted && !t->closing &&
                transport_waiting(t) <= t->config.out_max / 2;
    bool resume =
        t->started && !t->reading && !t->closing && transport_waiting(t) <= t->config.out_max / 4;
    bool cut = t->cut && !t->closing;

    t->room_wanted = t->room_wanted && !tell;
    t->reading = t->reading || resume;
    transport_unlock(t);
    if (resume && !transport_receive_more(t)) {
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
                return; /* transport_on_sent goes on as the writer */
            }
            transport_drop(t); /* not the last: the caller has one */
            alive = false;
        }
        transport_lock(t);
        t->writing = false;
        buffer_empty(&t->sending);
        transport_repay(t);
        t->cut = t->cut || !alive;
    }
    leave_writing(t);
}

void transport_on_sent(void *arg)
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
    transport_repay(t);
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
