/*
 * channel_call - the calls of one channel: slots, deadlines, and the one way each of them ends.
 */
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/channel_internal.h"

static const struct fly_bytes nothing;

/* ---- slots, all under the lock ---- */

void channel_make_slots(struct rpc_channel *channel)
{
    channel->calls_max = channel->link.theirs.calls_max < channel->calls_max
                             ? channel->link.theirs.calls_max
                             : channel->calls_max;
    channel->free_first = SLOT_NONE;
    for (uint32_t i = channel->calls_max; i > 0; i--) {
        channel->slots[i - 1].next_free = channel->free_first;
        channel->free_first = i - 1;
    }
}

static uint32_t slot_number(const struct rpc_channel *channel, const struct call_slot *slot)
{
    return (uint32_t)(slot - channel->slots);
}

static uint32_t slot_id(const struct rpc_channel *channel, const struct call_slot *slot)
{
    return frame_call_id(slot_number(channel, slot), slot->generation);
}

static void slot_free(struct rpc_channel *channel, struct call_slot *slot)
{
    slot->state = SLOT_FREE;
    slot->next_free = channel->free_first;
    channel->free_first = slot_number(channel, slot);
}

/* The call that this id stands for, unless its slot is free or another's by now. */
static struct call_slot *slot_find(struct rpc_channel *channel, uint32_t id)
{
    uint32_t number = frame_call_slot(id);
    struct call_slot *slot = number < channel->calls_max ? &channel->slots[number] : NULL;

    return slot != NULL && slot->state != SLOT_FREE && slot_id(channel, slot) == id ? slot : NULL;
}

/* Ends a pending call on this side. Returns whether the server may have got it: a request that is
 * still here is made void, one that left is cancelled and its slot waits for END. */
static bool slot_abandon(struct rpc_channel *channel, struct call_slot *slot)
{
    struct frame_header cancel = {.type = FRAME_CANCEL, .call_id = slot_id(channel, slot)};
    uint8_t *frame = transport_unsent(channel->link.transport, slot->position);

    if (frame != NULL) {
        frame[4] = FRAME_VOID;
        slot_free(channel, slot);
        return false;
    }
    slot->state = SLOT_ABANDONED;
    (void)rpc_link_put(&channel->link, cancel, nothing, nothing, true);
    return true;
}

/* ---- the end ---- */

/* Not under the lock. */
static void tell(const struct ending_target *target, struct rpc_reply *reply)
{
    if (target->stream != NULL) {
        stream_end(target->stream, reply);
        stream_drop(target->stream);
    } else {
        target->done(target->user, reply);
    }
    rpc_reply_fini(reply);
}

static void tell_status(const struct ending_target *target, enum fly_status status, bool sent,
                        const char *text)
{
    struct rpc_reply reply;

    reply_set(&reply, status, sent, text, strlen(text));
    tell(target, &reply);
}

bool channel_on_end(struct rpc_channel *channel, const struct frame *frame)
{
    rpc_link_lock(&channel->link);
    struct call_slot *slot = slot_find(channel, frame->header.call_id);
    bool wanted = slot != NULL && slot->state == SLOT_PENDING;
    struct ending_target target = {0};
    if (slot != NULL) {
        target = slot->target;
        slot_free(channel, slot);
    }
    rpc_link_unlock(&channel->link);
    if (wanted) {
        struct rpc_reply reply;
        reply_from_end(&reply, target.method, frame);
        tell(&target, &reply);
    }
    return slot != NULL; /* an END for nobody: the server has lost count */
}

bool channel_on_message(struct rpc_channel *channel, const struct frame *frame)
{
    struct rpc_stream *stream = NULL;

    rpc_link_lock(&channel->link);
    struct call_slot *slot = slot_find(channel, frame->header.call_id);
    bool known = slot != NULL && (slot->target.method->flags & RPC_STREAM) != 0;
    if (known && slot->state == SLOT_PENDING) {
        stream = slot->target.stream;
        stream_hold(stream);
    }
    rpc_link_unlock(&channel->link);
    if (stream != NULL) {
        known = stream_push(stream, frame->body);
        stream_drop(stream);
    }
    return known;
}

void channel_end_all(struct rpc_channel *channel)
{
    rpc_link_lock(&channel->link);
    channel->closed = true;
    for (uint32_t i = 0; i < channel->calls_max; i++) {
        struct call_slot *slot = &channel->slots[i];
        bool pending = slot->state == SLOT_PENDING;
        if (slot->state == SLOT_FREE) {
            continue;
        }
        bool sent = transport_unsent(channel->link.transport, slot->position) == NULL;
        bool ours = channel->closing;
        struct ending_target target = slot->target;
        slot_free(channel, slot);
        rpc_link_unlock(&channel->link);
        if (pending) {
            tell_status(&target, ours ? FLY_CANCELLED : FLY_UNAVAILABLE, sent,
                        ours ? "the channel was closed" : "the connection was lost");
        }
        rpc_link_lock(&channel->link);
    }
    rpc_link_unlock(&channel->link);
}

void rpc_channel_cancel(struct rpc_channel *channel, uint32_t id)
{
    rpc_link_lock(&channel->link);
    struct call_slot *slot = slot_find(channel, id);
    if (slot == NULL || slot->state != SLOT_PENDING) {
        rpc_link_unlock(&channel->link);
        return;
    }
    struct ending_target target = slot->target;
    bool sent = slot_abandon(channel, slot);
    rpc_link_unlock(&channel->link);
    transport_flush(channel->link.transport);
    tell_status(&target, FLY_CANCELLED, sent, "cancelled");
}

/* Ends what is due and finds the next deadline; with the lock, which it gives up in between. */
static int64_t expire_calls(struct rpc_channel *channel, int64_t now_ms)
{
    int64_t next_ms = INT64_MAX;

    for (uint32_t i = 0; i < channel->calls_max; i++) {
        struct call_slot *slot = &channel->slots[i];
        if (slot->state != SLOT_PENDING || slot->deadline_ms == 0) {
            continue;
        }
        if (slot->deadline_ms > now_ms) {
            next_ms = slot->deadline_ms < next_ms ? slot->deadline_ms : next_ms;
            continue;
        }
        struct ending_target target = slot->target;
        bool sent = slot_abandon(channel, slot);
        rpc_link_unlock(&channel->link);
        tell_status(&target, FLY_DEADLINE_EXCEEDED, sent, "the deadline passed");
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

/* ---- the start ---- */

/* Under the lock: a slot and the frame, or the reason why not. */
static enum fly_status put_request(struct rpc_channel *channel, struct frame_header header,
                                   struct fly_bytes meta, const ProtobufCMessage *request,
                                   size_t size, struct call_slot **out, struct fly_error *error)
{
    if (channel->closed || channel->going_away || transport_closed(channel->link.transport)) {
        return fly_error_set(error, FLY_UNAVAILABLE, "%s",
                             channel->going_away ? "the server is going away"
                                                 : "the connection was lost");
    }
    if (channel->free_first == SLOT_NONE) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "%u calls are in flight already",
                             channel->calls_max);
    }
    struct call_slot *slot = &channel->slots[channel->free_first];
    uint32_t generation_max = (1U << FRAME_GENERATION_BITS) - 1;
    uint32_t generation = slot->generation == generation_max ? 1 : slot->generation + 1;
    uint64_t position = transport_position(channel->link.transport);
    header.call_id = frame_call_id(channel->free_first, generation);
    switch (rpc_link_put_message(&channel->link, header, meta, request, size, false)) {
    case RPC_PUT_DONE:
        break;
    case RPC_PUT_FULL:
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "the server does not keep up reading");
    case RPC_PUT_LARGE:
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "a request of %zu bytes is larger than the server takes", size);
    }
    slot->generation = generation;
    slot->position = position;
    slot->state = SLOT_PENDING;
    channel->free_first = slot->next_free;
    *out = slot;
    return FLY_OK;
}

enum fly_status channel_start(struct rpc_channel *channel, const struct ending_target *target,
                              const ProtobufCMessage *request,
                              const struct rpc_call_options *options, uint32_t *id,
                              struct fly_error *error)
{
    static const struct rpc_call_options none;
    uint8_t meta[FRAME_REQ_META_SIZE + FRAME_TRACE_SIZE];
    const struct rpc_call_options *o = options != NULL ? options : &none;
    struct frame_request details = {.trace = o->trace};
    struct frame_header header = {.type = FRAME_REQ, .arg = rpc_method_hash(target->method->name)};
    int64_t deadline_ms = 0;
    struct call_slot *slot = NULL;

    FLY_CHECK(request->descriptor == target->method->request);
    if (atomic_load(&channel->phase) != CHANNEL_OPEN) {
        return fly_error_set(error, FLY_UNAVAILABLE, "the channel is not open");
    }
    if (o->timeout_ms < 0) {
        return fly_error_set(error, FLY_DEADLINE_EXCEEDED, "the deadline passed before the call");
    }
    if (o->timeout_ms > 0) {
        details.timeout_ms = o->timeout_ms < UINT32_MAX ? (uint32_t)o->timeout_ms : UINT32_MAX;
        deadline_ms = fly_clock_boot_ms() + (int64_t)details.timeout_ms;
    }
    struct fly_bytes meta_bytes = {meta, frame_request_encode(&details, &header.flags, meta)};
    size_t size = protobuf_c_message_get_packed_size(request);
    rpc_link_lock(&channel->link);
    enum fly_status status = put_request(channel, header, meta_bytes, request, size, &slot, error);
    if (status == FLY_OK) {
        slot->target = *target;
        slot->deadline_ms = deadline_ms;
        if (id != NULL) {
            *id = slot_id(channel, slot);
        }
        if (deadline_ms != 0 && deadline_ms < channel->next_due_ms) {
            channel->next_due_ms = deadline_ms;
            (void)rpc_timer_arm(&channel->timer, deadline_ms);
        }
    }
    rpc_link_unlock(&channel->link);
    if (status == FLY_OK) {
        transport_flush(channel->link.transport);
    }
    return status;
}

enum fly_status rpc_channel_start(struct rpc_channel *channel, const struct rpc_method *method,
                                  const ProtobufCMessage *request,
                                  const struct rpc_call_options *options, rpc_done *done,
                                  void *user, uint32_t *id)
{
    struct ending_target target = {.method = method, .done = done, .user = user};

    FLY_CHECK((method->flags & RPC_STREAM) == 0);
    return channel_start(channel, &target, request, options, id, NULL);
}

struct waiter {
    sem_t ended;
    struct rpc_reply *reply;
};

static void wake_waiter(void *user, struct rpc_reply *reply)
{
    struct waiter *waiter = user;

    rpc_reply_move(waiter->reply, reply);
    (void)sem_post(&waiter->ended);
}

enum fly_status rpc_channel_call(struct rpc_channel *channel, const struct rpc_method *method,
                                 const ProtobufCMessage *request,
                                 const struct rpc_call_options *options, struct rpc_reply *reply)
{
    struct waiter waiter = {.reply = reply};
    struct ending_target target = {.method = method, .done = wake_waiter, .user = &waiter};
    struct fly_error error;

    FLY_CHECK((method->flags & RPC_STREAM) == 0);
    (void)sem_init(&waiter.ended, 0, 0);
    enum fly_status status = channel_start(channel, &target, request, options, NULL, &error);
    if (status == FLY_OK) {
        while (sem_wait(&waiter.ended) != 0) {
        }
    } else {
        reply_set(reply, status, false, error.text, strlen(error.text));
    }
    (void)sem_destroy(&waiter.ended);
    return reply->status;
}

void channel_grant(struct rpc_channel *channel, uint32_t id, uint32_t bytes)
{
    struct frame_header window = {.type = FRAME_WINDOW, .call_id = id, .arg = bytes};

    rpc_link_lock(&channel->link);
    struct call_slot *slot = slot_find(channel, id);
    if (slot != NULL && slot->state == SLOT_PENDING) {
        (void)rpc_link_put(&channel->link, window, nothing, nothing, true);
    }
    rpc_link_unlock(&channel->link);
    transport_flush(channel->link.transport);
}
