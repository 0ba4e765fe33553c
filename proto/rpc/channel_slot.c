/*
 * channel_slot - the calls of one channel that have begun: what comes for them, and the one way
 * each of them ends.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/channel_internal.h"
#include "proto/wire/metadata.h"

static const struct fly_bytes nothing;

/* ---- slots, all under the lock ---- */

static uint32_t slot_number(const struct rpc_channel *channel, const struct call_slot *slot)
{
    return (uint32_t)(slot - channel->slots);
}

uint32_t channel_slot_id(const struct rpc_channel *channel, const struct call_slot *slot)
{
    return frame_call_id(slot_number(channel, slot), slot->generation);
}

struct call_slot *channel_slot_next(struct rpc_channel *channel)
{
    uint32_t generation_max = (1U << FRAME_GENERATION_BITS) - 1;
    uint32_t number = channel->free_first != SLOT_NONE ? channel->free_first : channel->slots_used;

    if (number >= channel->calls_max) {
        return NULL;
    }
    struct call_slot *slot = &channel->slots[number];
    /* a number that is not used after all is no loss */
    slot->generation = slot->generation == generation_max ? 1 : slot->generation + 1;
    return slot;
}

void channel_slot_take(struct rpc_channel *channel, struct call_slot *slot)
{
    if (channel->free_first != SLOT_NONE) {
        channel->free_first = slot->next_free;
    } else {
        channel->slots_used++;
    }
    channel->taken++;
    slot->state = SLOT_PENDING;
    slot->begun = false;
}

static void slot_free(struct rpc_channel *channel, struct call_slot *slot)
{
    channel->taken--;
    slot->state = SLOT_FREE;
    slot->next_free = channel->free_first;
    channel->free_first = slot_number(channel, slot);
}

/* The call that this id stands for, unless its slot is free or another's by now. */
static struct call_slot *slot_find(struct rpc_channel *channel, uint32_t id)
{
    uint32_t number = frame_call_slot(id);
    struct call_slot *slot = number < channel->slots_used ? &channel->slots[number] : NULL;

    return slot != NULL && slot->state != SLOT_FREE && channel_slot_id(channel, slot) == id ? slot
                                                                                            : NULL;
}

/* ---- the end of a call ---- */

/* A pending call that is out of the table's hands: whom to tell, and what belongs to its reply. */
struct ended_call {
    struct ending_target target;
    struct fly_bytes head; /* of malloc */
};

/* Under the lock: what is told is the caller's now, who also frees or abandons the slot. */
static struct ended_call slot_let_go(struct rpc_channel *channel, struct call_slot *slot)
{
    struct ended_call call = {.target = slot->target, .head = {slot->head, slot->head_size}};

    if (call.target.stream != NULL) {
        stream_detach(call.target.stream);
    }
    slot->head = NULL;
    slot->head_size = 0;
    channel->blocked -= call.target.waiter != NULL ? 1 : 0;
    return call;
}

static void add_head(const struct ended_call *call, struct rpc_reply *reply)
{
    reply->head = call->head;
    reply->head_memory = (void *)(uintptr_t)call->head.data;
}

/* Not under the lock; not of a thread that waits. `body` is END's. */
static void tell(const struct ended_call *call, struct rpc_reply *reply, struct fly_bytes body)
{
    const struct ending_target *target = &call->target;

    if (target->stream != NULL) {
        stream_end(target->stream, reply, body);
        stream_drop(target->stream);
    } else {
        add_head(call, reply);
        target->done(target->user, reply);
    }
    rpc_reply_fini(reply);
}

static void tell_status(const struct ended_call *call, enum fly_status status, bool sent,
                        const char *text)
{
    struct channel_waiter *waiter = call->target.waiter;
    struct rpc_reply reply;

    if (waiter != NULL) {
        reply_set(waiter->reply, status, sent, text, strlen(text));
        add_head(call, waiter->reply);
        channel_wake(waiter);
        return;
    }
    reply_set(&reply, status, sent, text, strlen(text));
    tell(call, &reply, nothing);
}

/* On the thread that reads. */
static void tell_end(struct rpc_channel *channel, const struct ended_call *call,
                     const struct frame *frame)
{
    const struct ending_target *target = &call->target;
    struct rpc_reply reply;

    if (target->waiter != NULL) {
        reply_from_end(target->waiter->reply, target->method, frame);
        add_head(call, target->waiter->reply);
        channel_wake_later(channel, target->waiter);
        return;
    }
    reply_from_end(&reply, target->stream != NULL ? NULL : target->method, frame);
    tell(call, &reply, frame->body);
}

/* Whether its request is still here; then it is made void and the slot is free. */
static bool slot_withdraw(struct rpc_channel *channel, struct call_slot *slot)
{
    uint8_t *frame = transport_unsent(channel->link.transport, slot->position);

    if (frame != NULL) {
        frame[4] = FRAME_VOID;
        slot_free(channel, slot);
    }
    return frame != NULL;
}

/* Ends a pending call on this side, under the lock. Returns whether the server may have got it: a
 * request that left is cancelled and its slot waits for END. */
static bool slot_abandon(struct rpc_channel *channel, struct call_slot *slot)
{
    struct frame_header cancel = {.type = FRAME_CANCEL, .call_id = channel_slot_id(channel, slot)};

    if (slot_withdraw(channel, slot)) {
        return false;
    }
    slot->state = SLOT_ABANDONED;
    (void)rpc_link_put(&channel->link, cancel, nothing, nothing, true);
    return true;
}

void channel_end_call(struct rpc_channel *channel, uint32_t id, enum fly_status status,
                      const char *text)
{
    rpc_link_lock(&channel->link);
    struct call_slot *slot = slot_find(channel, id);
    if (slot == NULL || slot->state != SLOT_PENDING) {
        rpc_link_unlock(&channel->link);
        return;
    }
    struct ended_call call = slot_let_go(channel, slot);
    bool sent = slot_abandon(channel, slot);
    rpc_link_unlock(&channel->link);
    transport_flush(channel->link.transport);
    tell_status(&call, status, sent, text);
}

void rpc_channel_cancel(struct rpc_channel *channel, uint32_t id)
{
    channel_end_call(channel, id, FLY_CANCELLED, "cancelled");
}

void channel_end_all(struct rpc_channel *channel)
{
    rpc_link_lock(&channel->link);
    channel->closed = true;
    for (uint32_t i = 0; i < channel->slots_used; i++) {
        struct call_slot *slot = &channel->slots[i];
        bool pending = slot->state == SLOT_PENDING;
        if (slot->state == SLOT_FREE) {
            continue;
        }
        bool sent = transport_unsent(channel->link.transport, slot->position) == NULL;
        bool ours = channel->closing;
        struct ended_call call;
        if (pending) {
            call = slot_let_go(channel, slot);
        }
        slot_free(channel, slot);
        if (!pending) {
            continue;
        }
        rpc_link_unlock(&channel->link);
        tell_status(&call, ours ? FLY_CANCELLED : FLY_UNAVAILABLE, sent,
                    ours ? "the channel was closed" : "the connection was lost");
        rpc_link_lock(&channel->link);
    }
    rpc_link_unlock(&channel->link);
}

/* ---- deadlines ---- */

/* Ends what is due and finds the next deadline; with the lock, which it gives up in between. */
static int64_t expire_calls(struct rpc_channel *channel, int64_t now_ms)
{
    int64_t next_ms = INT64_MAX;

    for (uint32_t i = 0; i < channel->slots_used; i++) {
        struct call_slot *slot = &channel->slots[i];
        if (slot->state != SLOT_PENDING || slot->deadline_ms == 0) {
            continue;
        }
        if (slot->deadline_ms > now_ms) {
            next_ms = slot->deadline_ms < next_ms ? slot->deadline_ms : next_ms;
            continue;
        }
        struct ended_call call = slot_let_go(channel, slot);
        bool sent = slot_abandon(channel, slot);
        rpc_link_unlock(&channel->link);
        tell_status(&call, FLY_DEADLINE_EXCEEDED, sent, "the deadline passed");
        rpc_link_lock(&channel->link);
    }
    return next_ms;
}

void channel_on_timer(void *user)
{
    struct rpc_channel *channel = user;
    int64_t now_ms = fly_clock_boot_ms();

    rpc_batch_begin();
    rpc_link_lock(&channel->link);
    /* calls that start while the lock is given up arm the timer themselves */
    channel->next_due_ms = INT64_MAX;
    int64_t call_ms = expire_calls(channel, now_ms);
    bool closed = channel->closed;
    rpc_link_unlock(&channel->link);
    transport_flush(channel->link.transport);
    rpc_batch_end();
    int64_t tick_ms = rpc_link_tick(&channel->link, now_ms, channel->keepalive_ms);
    if (closed) {
        return;
    }
    if (tick_ms == 0) {
        transport_close(channel->link.transport);
        return;
    }
    rpc_link_lock(&channel->link);
    int64_t next_ms = call_ms < tick_ms ? call_ms : tick_ms;
    if (next_ms < channel->next_due_ms) {
        channel->next_due_ms = next_ms;
    }
    (void)rpc_timer_arm(&channel->timer, channel->next_due_ms);
    rpc_link_unlock(&channel->link);
}

/* ---- frames ---- */

bool channel_on_end(struct rpc_channel *channel, const struct frame *frame)
{
    struct ended_call call;

    rpc_link_lock(&channel->link);
    struct call_slot *slot = slot_find(channel, frame->header.call_id);
    bool wanted = slot != NULL && slot->state == SLOT_PENDING;
    if (wanted) {
        call = slot_let_go(channel, slot);
    }
    if (slot != NULL) {
        slot_free(channel, slot);
    }
    rpc_link_unlock(&channel->link);
    if (wanted) {
        tell_end(channel, &call, frame);
    }
    return slot != NULL; /* an END for nobody: the server has lost count */
}

bool channel_on_head(struct rpc_channel *channel, const struct frame *frame)
{
    struct fly_bytes entries = frame->meta;
    bool sound = entries.size == 0 || metadata_check(entries, NULL) == FLY_OK;

    rpc_link_lock(&channel->link);
    struct call_slot *slot = slot_find(channel, frame->header.call_id);
    bool known = slot != NULL && !slot->begun;
    if (known) {
        slot->begun = true;
    }
    if (known && slot->state == SLOT_PENDING && sound) {
        if (slot->target.stream != NULL) {
            stream_head(slot->target.stream, entries);
        } else if (entries.size > 0) {
            slot->head = malloc(entries.size);
            slot->head_size = slot->head != NULL ? (uint32_t)entries.size : 0;
            if (slot->head != NULL) {
                memcpy(slot->head, entries.data, entries.size);
            }
        }
    }
    rpc_link_unlock(&channel->link);
    if (known && !sound) {
        channel_end_call(channel, frame->header.call_id, FLY_INTERNAL,
                         "the server's initial metadata is malformed");
    }
    return known;
}

bool channel_on_message(struct rpc_channel *channel, const struct frame *frame)
{
    uint32_t credit = frame_credit(frame->body.size);
    uint32_t gap = (frame->header.flags & FRAME_FLAG_GAP) != 0 ? frame->header.arg : 0;
    enum rpc_inbox_push push = RPC_INBOX_DONE;
    struct rpc_stream *stream = NULL;
    unsigned wake = 0;

    rpc_link_lock(&channel->link);
    struct call_slot *slot = slot_find(channel, frame->header.call_id);
    bool known = slot != NULL && (slot->target.method->flags & RPC_STREAM) != 0;
    bool wanted = known && slot->state == SLOT_PENDING;
    bool fine = known && rpc_link_charge(&channel->link, credit);
    if (fine && wanted) {
        slot->begun = true;
        stream = slot->target.stream;
        push = stream_push(stream, frame->body, gap, &wake);
    }
    bool thrown_away = fine && (!wanted || push == RPC_INBOX_MEMORY);
    if (thrown_away) {
        rpc_link_repay(&channel->link, credit);
    }
    rpc_link_unlock(&channel->link);
    if (thrown_away) {
        transport_flush(channel->link.transport);
    }
    stream_wake(stream, wake);
    if (push == RPC_INBOX_MEMORY) {
        channel_end_call(channel, frame->header.call_id, FLY_RESOURCE_EXHAUSTED,
                         "out of memory for a message");
    }
    return fine && push != RPC_INBOX_OVER;
}

void channel_on_window(struct rpc_channel *channel, const struct frame *frame)
{
    struct rpc_stream *stream = NULL;
    unsigned wake = 0;

    rpc_link_lock(&channel->link);
    struct call_slot *slot = slot_find(channel, frame->header.call_id);
    if (slot != NULL && slot->state == SLOT_PENDING && slot->target.stream != NULL) {
        stream = slot->target.stream;
        wake = stream_credit(stream, frame->header.arg);
    }
    rpc_link_unlock(&channel->link);
    stream_wake(stream, wake);
}

void channel_wake_senders(struct rpc_channel *channel)
{
    rpc_link_lock(&channel->link);
    for (uint32_t i = 0; i < channel->slots_used; i++) {
        struct call_slot *slot = &channel->slots[i];
        if (slot->state != SLOT_PENDING || slot->target.stream == NULL) {
            continue;
        }
        struct rpc_stream *stream = slot->target.stream;
        unsigned wake = stream_writable(stream);
        if (wake != 0) {
            rpc_link_unlock(&channel->link);
            stream_wake(stream, wake);
            rpc_link_lock(&channel->link);
        }
    }
    rpc_link_unlock(&channel->link);
}

void channel_on_goaway(struct rpc_channel *channel, const struct frame *frame)
{
    struct transport *transport = channel->link.transport;

    rpc_link_lock(&channel->link);
    bool first = !channel->going_away;
    channel->going_away = true;
    /* of a long connection only the low bits were said: the last such position that there was */
    uint64_t reserved = transport_position(transport);
    uint64_t executed = reserved - (uint32_t)((uint32_t)reserved - frame->header.arg);
    for (uint32_t i = 0; i < channel->slots_used; i++) {
        struct call_slot *slot = &channel->slots[i];
        if (slot->state != SLOT_PENDING || slot->position + slot->request_size <= executed) {
            continue;
        }
        struct ended_call call = slot_let_go(channel, slot);
        if (!slot_withdraw(channel, slot)) {
            slot->state = SLOT_ABANDONED; /* until the server's END, or that of the connection */
        }
        rpc_link_unlock(&channel->link);
        tell_status(&call, FLY_UNAVAILABLE, false, "the server is going away");
        rpc_link_lock(&channel->link);
    }
    rpc_link_unlock(&channel->link);
    /* before `opened` it is told behind that; of a channel that was refused, nothing more */
    bool open = atomic_load(&channel->phase) == CHANNEL_OPEN;
    if (first && open && channel->config.going_away != NULL) {
        channel->config.going_away(channel->config.user);
    }
}
