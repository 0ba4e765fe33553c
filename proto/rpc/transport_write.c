/*
 * transport_write - the combining writer, its marks, and batches.
 */
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>

#include "proto/base/check.h"
#include "proto/rpc/batch.h"
#include "proto/rpc/timer.h"
#include "proto/rpc/transport_internal.h"

enum {
    BATCH_MAX = 32,
    /* what nng takes over TLS without sending any of it (NNG_TLS_MAX_SEND_SIZE) is 16 KiB; a record
     * of mbedTLS is at most 16 KiB and this larger than its text */
    SECURE_INLINE_MAX = 14 * 1024,
    SECURE_RECORD_COST = 128,
};

static _Thread_local struct {
    unsigned depth;
    unsigned count;
    struct transport *members[BATCH_MAX];
} batch;

uint8_t *transport_reserve(struct transport *t, size_t size, bool urgent)
{
    size_t max = t->config.out_max + (urgent ? TRANSPORT_URGENT_MAX : 0);
    size_t used = transport_waiting(t);

    if (t->closing || t->cut) {
        return NULL;
    }
    bool fits = used <= max && size <= max - used && transport_charge(t, size, urgent);
    uint8_t *room = fits ? transport_buffer_extend(&t->out, size) : NULL;
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
    if (!t->mark_pending || number != t->mark_number) {
        t->lies = true;
        return;
    }
    t->mark_pending = false;
    t->read_by_peer = t->mark_spent;
    t->heat = t->probing ? 1 : t->heat;
    t->probing = false;
}

/* `room` is the mark's. It covers what was handed over before; of what waits beside it, nothing. */
static void write_mark(struct transport *t, uint8_t *room)
{
    t->mark_pending = true;
    t->mark_number = randombytes_random(); /* so that only who has read it can answer it */
    t->mark_spent = t->spent;
    t->config.events->mark(t->mark_number, room);
}

void transport_probe(struct transport *t)
{
    uint8_t *room = t->mark_pending ? NULL : transport_reserve(t, TRANSPORT_MARK_SIZE, true);

    if (room != NULL) {
        write_mark(t, room);
        t->probing = true;
    }
}

/* ---- sending in place ---- */

static pthread_once_t place_once = PTHREAD_ONCE_INIT;
static pthread_key_t place_key;
static bool place_kept; /* the key was made */
static _Thread_local nng_aio *place;

static void place_free(void *aio)
{
    place = NULL;
    nng_aio_free(aio);
}

static void place_prepare(void)
{
    place_kept = pthread_key_create(&place_key, place_free) == 0;
}

/* This thread's aio without a callback: what it does is done when the call returns. Or NULL. */
static nng_aio *place_aio(void)
{
    if (place != NULL) {
        return place;
    }
    (void)pthread_once(&place_once, place_prepare);
    if (!place_kept || nng_aio_alloc(&place, NULL, NULL) != 0) {
        place = NULL;
        return NULL;
    }
    if (pthread_setspecific(place_key, place) != 0) {
        place_free(place);
    }
    return place;
}

/* False when the connection broke. */
static bool account_sent(struct transport *t, int failure, size_t count)
{
    if (failure != 0) {
        return false;
    }
    t->sent += count;
    (void)atomic_fetch_add_explicit(&t->bytes_out, count, memory_order_relaxed);
    return true;
}

static void set_rest(struct transport *t, nng_aio *aio)
{
    nng_iov iov = {.iov_buf = t->sending.data + t->sent, .iov_len = t->sending.size - t->sent};

    FLY_CHECK(nng_aio_set_iov(aio, 1, &iov) == 0);
}

/* Sends as much as goes at once, perhaps nothing. False when the connection broke. */
static bool send_in_place(struct transport *t)
{
    nng_aio *aio = place_aio();

    if (aio == NULL) {
        return true;
    }
    set_rest(t, aio);
    nng_stream_send(t->stream, aio);
    if (!t->secure) {
        /* what did not go at once shall not wait here: taken back, untouched, unless nng's poller
         * is finishing it at this very moment */
        nng_aio_abort(aio, NNG_EAGAIN);
    }
    nng_aio_wait(aio);
    return nng_aio_result(aio) == NNG_EAGAIN ||
           account_sent(t, nng_aio_result(aio), nng_aio_count(aio));
}

/* ---- sending with a callback ---- */

static void on_sent(void *arg);

/* False: the stream was shut. Else on_sent comes. */
static bool send_later(struct transport *t)
{
    (void)pthread_mutex_lock(&t->beginning);
    bool begun = !t->shut && (t->send_aio != NULL || nng_aio_alloc(&t->send_aio, on_sent, t) == 0);
    if (begun) {
        set_rest(t, t->send_aio);
        nng_stream_send(t->stream, t->send_aio);
    }
    (void)pthread_mutex_unlock(&t->beginning);
    return begun;
}

/* ---- the writer ---- */

/* TLS: whether nng surely takes what is about to be sent; asks the peer how far it has read. */
static bool secure_fits(struct transport *t)
{
    t->spent += t->out.size + t->out.size / SECURE_RECORD_COST + SECURE_RECORD_COST;
    if (!t->mark_pending && t->spent - t->read_by_peer > SECURE_INLINE_MAX / 2) {
        uint8_t *room = transport_buffer_extend(&t->out, TRANSPORT_MARK_SIZE);
        if (room != NULL) {
            t->reserved += TRANSPORT_MARK_SIZE;
            t->spent += TRANSPORT_MARK_SIZE;
            write_mark(t, room);
        }
    }
    return !t->lies && t->spent - t->read_by_peer <= SECURE_INLINE_MAX;
}

/* Makes what waits the writer's own. True when it may be sent in place: see the header. */
static bool take_out(struct transport *t)
{
    bool in_place = !t->secure || (secure_fits(t) && t->shaken);

    t->sending = t->out;
    t->out = (struct transport_buffer){0};
    t->sent = 0;
    t->writing = true;
    return in_place;
}

/* With the lock: the writer is done with what it had taken. */
static void finish_sending(struct transport *t, bool alive)
{
    t->writing = false;
    transport_buffer_empty(&t->sending);
    transport_repay(t);
    t->cut = t->cut || !alive;
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
        transport_unlock(t);
        bool alive = !in_place || send_in_place(t);
        if (alive && t->sent < t->sending.size) {
            transport_hold(t);
            if (send_later(t)) {
                return; /* on_sent goes on as the writer */
            }
            transport_drop(t); /* not the last: the caller has one */
            alive = false;
        }
        transport_lock(t);
        finish_sending(t, alive);
    }
    leave_writing(t);
}

static void on_sent(void *arg)
{
    struct transport *t = arg;
    bool alive = account_sent(t, nng_aio_result(t->send_aio), nng_aio_count(t->send_aio));

    if (alive && t->sent < t->sending.size) {
        if (send_later(t)) {
            return;
        }
        alive = false;
    }
    transport_lock(t);
    finish_sending(t, alive);
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

void transport_batch_forget(struct transport *t)
{
    for (unsigned i = 0; i < batch.count; i++) {
        if (batch.members[i] == t) {
            batch.members[i] = batch.members[--batch.count];
            transport_drop(t); /* not the last: the caller has one */
            return;
        }
    }
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
