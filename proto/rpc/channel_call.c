/*
 * channel_call - how a call starts: its deadline, trace and metadata, its slot and its frame.
 */
#include <sched.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/rng.h"
#include "proto/rpc/channel_internal.h"
#include "proto/rpc/server.h"
#include "proto/wire/metadata.h"

static const struct fly_bytes nothing;

enum {
    CROWD = 4, /* threads that wait for calls of one connection */
    CROWD_PATIENCE_US = 2000,
    CROWD_REST = 1000, /* calls */
};

/* What a call says beside its message. */
struct call_head {
    struct frame_header header;
    struct frame_request details;
    int64_t deadline_ms; /* 0: none */
};

/* A new span of the parent's trace. */
static struct frame_trace inherit_trace(struct rpc_channel *channel, const struct rpc_call *parent)
{
    struct frame_trace trace = *rpc_call_trace(parent);
    struct fly_rng rng;

    if (frame_trace_present(&trace)) {
        fly_rng_seed(&rng, channel->span_seed +
                               atomic_fetch_add_explicit(&channel->spans, 1, memory_order_relaxed));
        fly_store_u64(trace.span_id, fly_rng_next(&rng) | 1); /* all zero would be no span */
    }
    return trace;
}

/* The earlier of the call's own and its parent's deadline; false: it has passed. */
static bool find_deadline(struct call_head *head, const struct rpc_call_options *options)
{
    int64_t parent_ms = options->parent != NULL ? rpc_call_deadline_ms(options->parent) : 0;
    int64_t timeout_ms = options->timeout_ms < UINT32_MAX ? options->timeout_ms : UINT32_MAX;

    if (timeout_ms == 0 && parent_ms == 0) {
        return true;
    }
    int64_t now_ms = fly_clock_boot_ms();
    head->deadline_ms = timeout_ms != 0 ? now_ms + timeout_ms : parent_ms;
    if (parent_ms != 0 && parent_ms < head->deadline_ms) {
        head->deadline_ms = parent_ms;
    }
    timeout_ms = head->deadline_ms - now_ms;
    head->details.timeout_ms = timeout_ms < UINT32_MAX ? (uint32_t)timeout_ms : UINT32_MAX;
    return timeout_ms > 0;
}

static enum fly_status prepare(struct rpc_channel *channel, const struct rpc_method *method,
                               const struct rpc_call_options *options, struct call_head *head,
                               struct fly_error *error)
{
    *head = (struct call_head){.header = {.type = FRAME_REQ, .arg = method->hash}};
    if (options == NULL) {
        return FLY_OK;
    }
    head->details.metadata = options->metadata;
    if (options->metadata.size > 0) {
        enum fly_status status = metadata_check(options->metadata, error);
        if (status != FLY_OK) {
            return status;
        }
    }
    head->details.trace = options->trace;
    if (options->parent != NULL && !frame_trace_present(&options->trace)) {
        head->details.trace = inherit_trace(channel, options->parent);
    }
    if (!find_deadline(head, options)) {
        return fly_error_set(error, FLY_DEADLINE_EXCEEDED, "the deadline passed before the call");
    }
    return FLY_OK;
}

/* Under the lock: whether calls can be made. */
static enum fly_status check_open(const struct rpc_channel *channel, struct fly_error *error)
{
    if (channel->going_away) {
        return fly_error_set(error, FLY_UNAVAILABLE, "the server is going away");
    }
    if (channel->closed || transport_closed(channel->link.transport)) {
        return fly_error_set(error, FLY_UNAVAILABLE, "the connection was lost");
    }
    return FLY_OK;
}

/* Under the lock: a slot and the frame, or the reason why not. */
static enum fly_status put_request(struct rpc_channel *channel, struct frame_header header,
                                   struct fly_bytes meta, const ProtobufCMessage *request,
                                   size_t size, struct call_slot **out, struct fly_error *error)
{
    struct rpc_link *link = &channel->link;
    enum fly_status status = check_open(channel, error);

    if (status != FLY_OK) {
        return status;
    }
    struct call_slot *slot = channel_slot_next(channel);
    if (slot == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "%u calls are in flight already",
                             channel->calls_max);
    }
    uint64_t position = transport_position(link->transport);
    header.call_id = channel_slot_id(channel, slot);
    enum rpc_put put = request != NULL
                           ? rpc_link_put_message(link, header, meta, request, size, false)
                           : rpc_link_put(link, header, meta, nothing, false);
    switch (put) {
    case RPC_PUT_DONE:
        break;
    case RPC_PUT_FULL:
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "the server does not keep up reading");
    case RPC_PUT_LARGE:
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "a request of %zu bytes is larger than the server takes", size);
    }
    channel_slot_take(channel, slot);
    slot->position = position;
    slot->request_size = (uint32_t)(transport_position(link->transport) - position);
    *out = slot;
    return FLY_OK;
}

/* Who sends the request that was just put. */
enum sender {
    SENDER_SELF,
    SENDER_READER, /* this caller, as it reads the connection itself */
    SENDER_LEADER, /* this caller, for the crowd */
    SENDER_OTHER,  /* the crowd's leader */
};

/* Under the lock. In a crowd of waiting threads, one read has woken many, and each is about to put
 * its next request as this one did: they get their turn first, and then one write carries all. */
static enum sender choose_sender(struct rpc_channel *channel, struct channel_waiter *waiter,
                                 int64_t deadline_ms)
{
    if (waiter == NULL) {
        return SENDER_SELF;
    }
    channel->blocked++;
    if (channel->taken == 1) {
        waiter->reads = channel->link.transport;
        waiter->deadline_ms = deadline_ms;
        return SENDER_READER;
    }
    if (channel->crowd_rest > 0) {
        channel->crowd_rest--;
        return SENDER_SELF;
    }
    if (channel->blocked < CROWD) {
        return SENDER_SELF;
    }
    if (channel->flush_coming) {
        return SENDER_OTHER;
    }
    channel->flush_coming = true;
    return SENDER_LEADER;
}

static void flush_crowd(struct rpc_channel *channel)
{
    int64_t before_us = fly_clock_boot_us();

    (void)sched_yield();
    int64_t spent_us = fly_clock_boot_us() - before_us;
    rpc_link_lock(&channel->link);
    channel->flush_coming = false;
    if (spent_us > CROWD_PATIENCE_US) {
        channel->crowd_rest = CROWD_REST; /* it was others' work that ran: no more of that */
    }
    rpc_link_unlock(&channel->link);
    transport_flush(channel->link.transport);
}

enum fly_status channel_start(struct rpc_channel *channel, const struct ending_target *target,
                              const ProtobufCMessage *request,
                              const struct rpc_call_options *options, uint32_t *id,
                              struct fly_error *error)
{
    const struct rpc_method *method = target->method;
    uint8_t meta[FRAME_REQ_META_MAX];
    struct call_slot *slot = NULL;
    struct call_head head;

    FLY_CHECK((request == NULL) == ((method->flags & RPC_CLIENT_STREAM) != 0));
    FLY_CHECK(request == NULL || request->descriptor == method->request);
    if (atomic_load_explicit(&channel->phase, memory_order_acquire) != CHANNEL_OPEN) {
        return fly_error_set(error, FLY_UNAVAILABLE, "the channel is not open");
    }
    enum fly_status status = prepare(channel, method, options, &head, error);
    if (status != FLY_OK) {
        return status;
    }
    size_t meta_size = frame_request_encode(&head.details, &head.header.flags, meta);
    if (head.details.metadata.size > 0) {
        memcpy(meta + meta_size, head.details.metadata.data, head.details.metadata.size);
        meta_size += head.details.metadata.size;
    }
    head.header.flags |= request == NULL ? FRAME_FLAG_STREAMING : 0;
    size_t size = request != NULL ? protobuf_c_message_get_packed_size(request) : 0;
    rpc_link_lock(&channel->link);
    status = put_request(channel, head.header, (struct fly_bytes){meta, meta_size}, request, size,
                         &slot, error);
    if (status == FLY_OK) {
        slot->target = *target;
        slot->deadline_ms = head.deadline_ms;
        if (id != NULL) {
            *id = channel_slot_id(channel, slot);
        }
        if (head.deadline_ms != 0 && head.deadline_ms < channel->next_due_ms) {
            channel->next_due_ms = head.deadline_ms;
            (void)rpc_timer_arm(&channel->timer, head.deadline_ms);
        }
    }
    enum sender sender =
        status == FLY_OK ? choose_sender(channel, target->waiter, head.deadline_ms) : SENDER_OTHER;
    /* another thread may close the channel beneath callers that wait: it stays as long as this */
    struct transport *transport = channel->link.transport;
    bool kept = status == FLY_OK && target->waiter != NULL && sender != SENDER_OTHER;
    if (kept) {
        transport_hold(transport);
    }
    rpc_link_unlock(&channel->link);
    if (sender == SENDER_LEADER) {
        flush_crowd(channel);
    } else if (sender == SENDER_SELF) {
        transport_flush(transport);
    }
    if (kept && sender != SENDER_READER) {
        transport_drop(transport);
    }
    return status;
}

enum fly_status rpc_channel_start(struct rpc_channel *channel, const struct rpc_method *method,
                                  const ProtobufCMessage *request,
                                  const struct rpc_call_options *options, rpc_done *done,
                                  void *user, uint32_t *id)
{
    struct ending_target target = {.method = method, .done = done, .user = user};

    FLY_CHECK((method->flags & (RPC_STREAM | RPC_CLIENT_STREAM)) == 0);
    return channel_start(channel, &target, request, options, id, NULL);
}

enum fly_status rpc_channel_call(struct rpc_channel *channel, const struct rpc_method *method,
                                 const ProtobufCMessage *request,
                                 const struct rpc_call_options *options, struct rpc_reply *reply)
{
    struct channel_waiter waiter;
    struct ending_target target = {.method = method, .waiter = &waiter};
    struct fly_error error;

    FLY_CHECK((method->flags & (RPC_STREAM | RPC_CLIENT_STREAM)) == 0);
    channel_waiter_init(&waiter, reply);
    enum fly_status status = channel_start(channel, &target, request, options, NULL, &error);
    if (status == FLY_OK) {
        channel_wait(&waiter);
    } else {
        reply_set(reply, status, false, error.text, strlen(error.text));
    }
    return reply->status;
}
