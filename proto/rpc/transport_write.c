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

enum { BATCH_MAX = 32 };

static _Thread_local struct {
    unsigned depth;
    unsigned count;
    struct transport *members[BATCH_MAX];
} batch;

uint8_t *transport_reserve(struct transport *t, size_t size, bool urgent)
{
    size_t max = t->config.out_max + (urgent ? TRANSPORT_URGENT_MAX : 0);
    size_t used = transport_waiting(t);

    if (t->closing || t->cut || (t->broken && !urgent)) {
        return NULL;
    }
    bool fits = used <= max && size <= max - used;
    bool charged = fits && transport_charge(t, size, urgent);
    uint8_t *room = charged ? transport_buffer_extend(&t->out, size) : NULL;
    if (room == NULL) {
        transport_repay(t);
        t->cut = urgent || charged; /* charged: out of memory, and nobody would tell of more */
        if (!fits && size > t->room_wanted && size <= t->config.out_max) {
            t->room_wanted = size; /* of the budget, it tells itself */
        }
        return NULL;
    }
    t->reserved += size;
    return room;
}

size_t transport_out_max(const struct transport *t)
{
    return t->config.out_max;
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
}

void transport_write_mark(struct transport *t, uint8_t *room)
{
    t->mark_pending = true;
    t->mark_number = randombytes_random(); /* so that only who has read it can answer it */
    t->mark_spent = t->spent; /* what was handed over before; of what waits beside it, nothing */
    t->config.events->mark(t->mark_number, room);
}

void transport_probe(struct transport *t)
{
    uint8_t *room = t->mark_pending ? NULL : transport_reserve(t, TRANSPORT_MARK_SIZE, true);

    if (room != NULL) {
        transport_write_mark(t, room);
        t->probing = true;
    }
}

void transport_count_sent(struct transport *t, size_t count)
{
    t->sent += count;
    (void)atomic_fetch_add_explicit(&t->bytes_out, count, memory_order_relaxed);
}

/* Makes what waits the writer's own. True when it may be sent in place: see the header. */
static bool take_out(struct transport *t)
{
    bool in_place = t->ops->fits(t);

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
    t->broken = t->broken || !alive;
}

bool transport_owes_room(struct transport *t)
{
    size_t waiting = transport_waiting(t);
    bool tell = t->started && t->room_wanted > 0 && !t->closing &&
                waiting <= t->config.out_max / 2 && t->room_wanted <= t->config.out_max - waiting;

    t->room_wanted = tell ? 0 : t->room_wanted;
    return tell;
}

/* With the lock, no writer, and nothing (more) to send: what the new room makes possible. */
static void leave_writing(struct transport *t)
{
    bool tell = transport_owes_room(t);
    bool resume =
        t->started && !t->reading && !t->closing && transport_waiting(t) <= t->config.out_max / 4;
    bool cut = t->cut && !t->closing;

    t->reading = t->reading || resume;
    transport_unlock(t);
    if (resume && !t->ops->resume(t)) {
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
    while (!t->writing && !t->closing && !t->cut && !t->broken && t->out.size > 0) {
        bool in_place = take_out(t);
        transport_unlock(t);
        bool alive = !in_place || t->ops->send_now(t);
        if (alive && t->sent < t->sending.size) {
            transport_hold(t);
            if (t->ops->send_later(t)) {
                return; /* transport_sent goes on as the writer */
            }
            transport_drop(t); /* not the last: the caller has one */
            alive = false;
        }
        if (!alive) {
            t->ops->hush(t);
        }
        transport_lock(t);
        finish_sending(t, alive);
    }
    leave_writing(t);
}

void transport_sent(struct transport *t, bool alive)
{
    if (alive && t->sent < t->sending.size) {
        if (t->ops->send_later(t)) {
            return;
        }
        alive = false;
    }
    if (!alive) {
        t->ops->hush(t);
    }
    transport_lock(t);
    finish_sending(t, alive);
    write_out(t);
    transport_drop(t);
}

static void flush_now(struct transport *t)
{
    transport_lock(t);
    if (t->by_callers) {
        t->ops->stir(t);
    }
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
