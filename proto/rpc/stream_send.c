/*
 * stream_send - the client's messages of a call: as far as the server's credit goes.
 */
#include "proto/base/check.h"
#include "proto/rpc/stream_internal.h"

static const struct fly_bytes nothing;

/* Under the lock. */
static enum fly_status try_send(struct rpc_stream *stream, const ProtobufCMessage *message,
                                size_t size)
{
    struct rpc_link *link = &stream->channel->link;
    struct frame_header header = {.type = FRAME_MSG, .call_id = stream->id};

    if (stream->finished) {
        return FLY_FAILED_PRECONDITION;
    }
    if (stream->detached) {
        return FLY_UNAVAILABLE;
    }
    if (stream->credit <= 0 || rpc_link_credit(link) <= 0) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    switch (rpc_link_put_message(link, header, nothing, message, size, false)) {
    case RPC_PUT_DONE:
        stream->credit -= frame_credit(size);
        rpc_link_spend(link, frame_credit(size));
        return FLY_OK;
    case RPC_PUT_FULL:
        return transport_closed(link->transport) ? FLY_UNAVAILABLE : FLY_RESOURCE_EXHAUSTED;
    case RPC_PUT_LARGE:
        return FLY_INVALID_ARGUMENT;
    }
    FLY_UNREACHABLE();
}

enum fly_status rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message,
                                int64_t timeout_ms)
{
    struct rpc_link *link = &stream->channel->link;
    size_t size = protobuf_c_message_get_packed_size(message);
    struct timespec at;
    const struct timespec *until = NULL;
    bool in_time = timeout_ms != 0;
    bool waited = false;

    FLY_CHECK((stream->method->flags & RPC_CLIENT_STREAM) != 0);
    FLY_CHECK(message->descriptor == stream->method->request);
    for (;;) {
        rpc_link_lock(link);
        enum fly_status status = try_send(stream, message, size);
        stream->sender_waits = status == FLY_RESOURCE_EXHAUSTED && in_time;
        stream->send_refused = status == FLY_RESOURCE_EXHAUSTED && !in_time;
        rpc_link_unlock(link);
        if (status == FLY_OK) {
            transport_flush(link->transport);
        }
        if (status != FLY_RESOURCE_EXHAUSTED || !in_time) {
            return status;
        }
        until = waited ? until : stream_wait_until(&at, timeout_ms);
        waited = true;
        in_time = stream_wait(&stream->writable, until);
    }
}

void rpc_stream_finish(struct rpc_stream *stream)
{
    struct rpc_link *link = &stream->channel->link;
    struct frame_header done = {.type = FRAME_DONE, .call_id = stream->id};

    rpc_link_lock(link);
    bool put = !stream->finished && !stream->detached;
    stream->finished = true;
    if (put) {
        (void)rpc_link_put(link, done, nothing, nothing, true);
    }
    rpc_link_unlock(link);
    if (put) {
        transport_flush(link->transport);
    }
}
