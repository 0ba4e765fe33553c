/*
 * stream - the reading side of a server-streaming call: what came, until the reader takes it.
 *
 * What waits here is at most the window that was granted plus one frame; taking messages grants
 * more, in steps of half a window.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/check.h"
#include "proto/rpc/channel_internal.h"

struct chunk {
    struct chunk *next;
    size_t size;
    uint8_t bytes[];
};

struct rpc_stream {
    struct rpc_channel *channel;
    const struct rpc_method *method;
    uint32_t id;
    uint32_t taken; /* bytes since the last grant; the reader's own */
    atomic_uint references;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    struct chunk *first;
    struct chunk **last;
    size_t waiting; /* bytes */
    bool ended;
    struct rpc_reply end;
};

void stream_hold(struct rpc_stream *stream)
{
    (void)atomic_fetch_add_explicit(&stream->references, 1, memory_order_relaxed);
}

void stream_drop(struct rpc_stream *stream)
{
    if (atomic_fetch_sub_explicit(&stream->references, 1, memory_order_acq_rel) > 1) {
        return;
    }
    while (stream->first != NULL) {
        struct chunk *chunk = stream->first;
        stream->first = chunk->next;
        free(chunk);
    }
    rpc_reply_fini(&stream->end);
    (void)pthread_cond_destroy(&stream->changed);
    (void)pthread_mutex_destroy(&stream->lock);
    free(stream);
}

bool stream_push(struct rpc_stream *stream, struct fly_bytes body)
{
    struct chunk *chunk = malloc(sizeof *chunk + body.size);

    if (chunk == NULL) {
        return false;
    }
    chunk->next = NULL;
    chunk->size = body.size;
    if (body.size > 0) {
        memcpy(chunk->bytes, body.data, body.size);
    }
    (void)pthread_mutex_lock(&stream->lock);
    /* the server sends while any credit is left, so the last message may go past the window */
    bool fits = stream->waiting < stream->channel->window;
    if (fits) {
        *stream->last = chunk;
        stream->last = &chunk->next;
        stream->waiting += frame_credit(body.size);
        (void)pthread_cond_signal(&stream->changed);
    }
    (void)pthread_mutex_unlock(&stream->lock);
    if (!fits) {
        free(chunk);
    }
    return fits;
}

void stream_end(struct rpc_stream *stream, struct rpc_reply *reply)
{
    (void)pthread_mutex_lock(&stream->lock);
    if (!stream->ended) {
        stream->ended = true;
        rpc_reply_move(&stream->end, reply);
        (void)pthread_cond_broadcast(&stream->changed);
    }
    (void)pthread_mutex_unlock(&stream->lock);
}

enum fly_status rpc_stream_open(struct rpc_stream **out, struct rpc_channel *channel,
                                const struct rpc_method *method, const ProtobufCMessage *request,
                                const struct rpc_call_options *options, struct fly_error *error)
{
    struct rpc_stream *stream = calloc(1, sizeof *stream);
    struct ending_target target = {.method = method, .stream = stream};

    FLY_CHECK((method->flags & RPC_STREAM) != 0);
    if (atomic_load(&channel->phase) != CHANNEL_OPEN) {
        free(stream);
        return fly_error_set(error, FLY_UNAVAILABLE, "the channel is not open");
    }
    if (stream == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    stream->channel = channel;
    stream->method = method;
    stream->last = &stream->first;
    atomic_init(&stream->references, 2); /* the reader's and the slot's */
    (void)pthread_mutex_init(&stream->lock, NULL);
    wait_condition_init(&stream->changed);
    rpc_link_lock(&channel->link);
    channel->streams++;
    rpc_link_unlock(&channel->link);
    enum fly_status status = channel_start(channel, &target, request, options, &stream->id, error);
    if (status != FLY_OK) {
        stream_drop(stream); /* the slot's: there is none */
        stream->ended = true;
        rpc_stream_close(stream);
        return status;
    }
    *out = stream;
    return FLY_OK;
}

/* Under the stream's lock: until there is something, or the time is up. */
static void wait_for_something(struct rpc_stream *stream, int64_t timeout_ms)
{
    struct timespec until = wait_until(timeout_ms > 0 ? timeout_ms : 0);
    int failure = 0;

    while (stream->first == NULL && !stream->ended && failure == 0 && timeout_ms != 0) {
        failure = timeout_ms < 0 ? pthread_cond_wait(&stream->changed, &stream->lock)
                                 : pthread_cond_timedwait(&stream->changed, &stream->lock, &until);
    }
}

static enum rpc_next take_message(struct rpc_stream *stream, struct chunk *chunk,
                                  struct rpc_reply *reply)
{
    struct fly_bytes bytes = {chunk->bytes, chunk->size};
    uint32_t step = stream->channel->window / 2 > 0 ? stream->channel->window / 2 : 1;

    reply_from_message(reply, stream->method, bytes);
    stream->taken += frame_credit(chunk->size);
    free(chunk);
    if (reply->status != FLY_OK) {
        /* what does not parse ends the stream, for good and on both sides */
        struct rpc_reply end;
        reply_copy(&end, reply);
        stream_end(stream, &end);
        rpc_stream_cancel(stream);
        return RPC_NEXT_END;
    }
    if (stream->taken >= step) {
        channel_grant(stream->channel, stream->id, stream->taken);
        stream->taken = 0;
    }
    return RPC_NEXT_MESSAGE;
}

enum rpc_next rpc_stream_next(struct rpc_stream *stream, int64_t timeout_ms,
                              struct rpc_reply *reply)
{
    (void)pthread_mutex_lock(&stream->lock);
    wait_for_something(stream, timeout_ms);
    struct chunk *chunk = stream->first;
    bool ended = chunk == NULL && stream->ended;
    if (chunk != NULL) {
        stream->first = chunk->next;
        stream->last = stream->first == NULL ? &stream->first : stream->last;
        stream->waiting -= frame_credit(chunk->size);
    } else if (ended) {
        reply_copy(reply, &stream->end);
    } else {
        reply_set(reply, FLY_OK, true, NULL, 0);
    }
    (void)pthread_mutex_unlock(&stream->lock);
    if (chunk != NULL) {
        return take_message(stream, chunk, reply);
    }
    return ended ? RPC_NEXT_END : RPC_NEXT_NOTHING;
}

void rpc_stream_cancel(struct rpc_stream *stream)
{
    rpc_channel_cancel(stream->channel, stream->id);
}

void rpc_stream_close(struct rpc_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    struct rpc_channel *channel = stream->channel;
    rpc_stream_cancel(stream);
    stream_drop(stream);
    rpc_link_lock(&channel->link);
    channel->streams--;
    rpc_link_unlock(&channel->link);
}
