/*
 * stream - the client's end of a call with streams: its life, what wakes it, and reading.
 *
 * What waits here is at most the window that was granted plus one frame; taking messages grants
 * more, to the call and to the connection, in steps of half a window.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/stream_internal.h"

static const struct fly_bytes nothing;

/* ---- life ---- */

void stream_hold(struct rpc_stream *stream)
{
    (void)atomic_fetch_add_explicit(&stream->references, 1, memory_order_relaxed);
}

void stream_drop(struct rpc_stream *stream)
{
    if (atomic_fetch_sub_explicit(&stream->references, 1, memory_order_acq_rel) > 1) {
        return;
    }
    (void)rpc_inbox_fini(&stream->own);
    (void)rpc_inbox_fini(&stream->inbox);
    rpc_reply_fini(&stream->end);
    free(stream->end_body);
    free((void *)(uintptr_t)stream->head.data);
    (void)sem_destroy(&stream->readable);
    (void)sem_destroy(&stream->writable);
    (void)sem_destroy(&stream->told);
    free(stream);
}

static struct rpc_stream *stream_make(struct rpc_channel *channel, const struct rpc_method *method)
{
    struct rpc_stream *stream = calloc(1, sizeof *stream);

    if (stream == NULL) {
        return NULL;
    }
    stream->channel = channel;
    stream->method = method;
    stream->finished = (method->flags & RPC_CLIENT_STREAM) == 0;
    stream->credit = channel->link.theirs.window;
    rpc_inbox_init(&stream->own, UINT32_MAX);
    rpc_inbox_init(&stream->inbox, channel->link.ours.window);
    atomic_init(&stream->references, 2); /* the owner's and the call table's */
    (void)sem_init(&stream->readable, 0, 0);
    (void)sem_init(&stream->writable, 0, 0);
    (void)sem_init(&stream->told, 0, 0);
    return stream;
}

enum fly_status rpc_stream_open(struct rpc_stream **out, struct rpc_channel *channel,
                                const struct rpc_method *method, const ProtobufCMessage *request,
                                const struct rpc_call_options *options, struct fly_error *error)
{
    FLY_CHECK((method->flags & (RPC_STREAM | RPC_CLIENT_STREAM)) != 0);
    if (atomic_load(&channel->phase) != CHANNEL_OPEN) {
        return fly_error_set(error, FLY_UNAVAILABLE, "the channel is not open");
    }
    struct rpc_stream *stream = stream_make(channel, method);
    struct ending_target target = {.method = method, .stream = stream};
    if (stream == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    rpc_link_lock(&channel->link);
    channel->streams++;
    rpc_link_unlock(&channel->link);
    enum fly_status status = channel_start(channel, &target, request, options, &stream->id, error);
    if (status != FLY_OK) {
        stream_drop(stream); /* the table's: it has none */
        rpc_stream_close(stream);
        return status;
    }
    *out = stream;
    return FLY_OK;
}

/* Under the lock: throws away what nobody will take, and grants the connection as much. */
static void discard(struct rpc_stream *stream)
{
    uint32_t settled = 0;

    (void)rpc_inbox_refill(&stream->inbox, &stream->own, &settled);
    (void)rpc_inbox_fini(&stream->own);
    rpc_link_repay(&stream->channel->link, settled + rpc_inbox_fini(&stream->inbox));
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
    rpc_link_lock(&channel->link);
    stream->changed = NULL;
    rpc_link_unlock(&channel->link);
    rpc_stream_cancel(stream);
    rpc_link_lock(&channel->link);
    discard(stream);
    /* in `changed` itself there is nothing to wait for */
    stream->close_waits = stream->telling && pthread_equal(stream->teller, pthread_self()) == 0;
    bool wait = stream->close_waits;
    rpc_link_unlock(&channel->link);
    transport_flush(channel->link.transport);
    if (wait) {
        (void)stream_wait(&stream->told, NULL);
    }
    stream_drop(stream);
    rpc_link_lock(&channel->link);
    channel->streams--;
    rpc_link_unlock(&channel->link);
}

/* ---- waiting and waking ---- */

const struct timespec *stream_wait_until(struct timespec *until, int64_t timeout_ms)
{
    if (timeout_ms < 0) {
        return NULL;
    }
    FLY_CHECK(clock_gettime(CLOCK_MONOTONIC, until) == 0);
    until->tv_sec += (time_t)(timeout_ms / 1000);
    until->tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until->tv_sec += until->tv_nsec / 1000000000;
    until->tv_nsec %= 1000000000;
    return until;
}

bool stream_wait(sem_t *semaphore, const struct timespec *until)
{
    int failure = 0;

    do {
        failure =
            until == NULL ? sem_wait(semaphore) : sem_clockwait(semaphore, CLOCK_MONOTONIC, until);
    } while (failure != 0 && errno == EINTR);
    return failure == 0;
}

void rpc_stream_watch(struct rpc_stream *stream, void (*changed)(void *user), void *user)
{
    rpc_link_lock(&stream->channel->link);
    stream->changed = changed;
    stream->changed_user = user;
    rpc_link_unlock(&stream->channel->link);
}

/* One thread tells at a time; what happens meanwhile makes it tell again. */
static void tell_watcher(struct rpc_stream *stream)
{
    struct rpc_link *link = &stream->channel->link;

    rpc_link_lock(link);
    stream->tell_again = true;
    if (stream->telling) {
        rpc_link_unlock(link);
        return;
    }
    stream->telling = true;
    stream->teller = pthread_self();
    while (stream->tell_again && stream->changed != NULL) {
        void (*changed)(void *user) = stream->changed;
        void *user = stream->changed_user;
        stream->tell_again = false;
        rpc_link_unlock(link);
        changed(user);
        rpc_link_lock(link);
    }
    stream->telling = false;
    bool wait = stream->close_waits;
    stream->close_waits = false;
    rpc_link_unlock(link);
    if (wait) {
        (void)sem_post(&stream->told);
    }
}

void stream_wake(struct rpc_stream *stream, unsigned what)
{
    if (what == 0) {
        return;
    }
    if ((what & STREAM_WAKE_READER) != 0) {
        (void)sem_post(&stream->readable);
    }
    if ((what & STREAM_WAKE_SENDER) != 0) {
        (void)sem_post(&stream->writable);
    }
    if ((what & STREAM_WAKE_WATCHER) != 0) {
        tell_watcher(stream);
    }
    stream_drop(stream);
}

/* Under the lock: there is something to read. */
static unsigned wake_reader(struct rpc_stream *stream)
{
    unsigned wake = (stream->reader_waits ? STREAM_WAKE_READER : 0U) |
                    (stream->read_refused && stream->changed != NULL ? STREAM_WAKE_WATCHER : 0U);

    stream->reader_waits = false;
    stream->read_refused = false;
    return wake;
}

/* Under the lock: it may send, or never again. */
static unsigned wake_sender(struct rpc_stream *stream)
{
    unsigned wake = (stream->sender_waits ? STREAM_WAKE_SENDER : 0U) |
                    (stream->send_refused && stream->changed != NULL ? STREAM_WAKE_WATCHER : 0U);

    stream->sender_waits = false;
    stream->send_refused = false;
    return wake;
}

static unsigned hold_for(struct rpc_stream *stream, unsigned wake)
{
    if (wake != 0) {
        stream_hold(stream);
    }
    return wake;
}

unsigned stream_writable(struct rpc_stream *stream)
{
    return stream->credit > 0 ? hold_for(stream, wake_sender(stream)) : 0;
}

unsigned stream_credit(struct rpc_stream *stream, uint32_t bytes)
{
    stream->credit += bytes;
    stream->credit = stream->credit > INT32_MAX ? INT32_MAX : stream->credit;
    return stream_writable(stream);
}

void stream_detach(struct rpc_stream *stream)
{
    stream->detached = true;
}

/* ---- what comes ---- */

enum rpc_inbox_push stream_push(struct rpc_stream *stream, struct fly_bytes body, uint32_t gap,
                                unsigned *wake)
{
    enum rpc_inbox_push push = rpc_inbox_push(&stream->inbox, body, gap);

    *wake = push == RPC_INBOX_DONE ? hold_for(stream, wake_reader(stream)) : 0;
    return push;
}

void stream_head(struct rpc_stream *stream, struct fly_bytes entries)
{
    uint8_t *copy = entries.size > 0 ? malloc(entries.size) : NULL;

    stream->head_came = true;
    if (copy != NULL) {
        memcpy(copy, entries.data, entries.size);
        stream->head = (struct fly_bytes){copy, entries.size};
    }
}

void stream_end(struct rpc_stream *stream, struct rpc_reply *reply, struct fly_bytes body)
{
    uint8_t *copy = reply->status == FLY_OK ? malloc(body.size + 1) : NULL;
    unsigned wake = 0;

    if (copy != NULL && body.size > 0) {
        memcpy(copy, body.data, body.size);
    }
    rpc_link_lock(&stream->channel->link);
    stream->detached = true;
    if (!stream->ended) {
        stream->ended = true;
        rpc_reply_move(&stream->end, reply);
        stream->end_body = copy;
        stream->end_body_size = body.size;
        copy = NULL;
        wake = hold_for(stream, wake_reader(stream) | wake_sender(stream));
    }
    rpc_link_unlock(&stream->channel->link);
    free(copy);
    stream_wake(stream, wake);
}

/* ---- reading ---- */

/* Under the lock: everything that came becomes the reader's, and what it took is granted anew. True
 * when frames were put. */
static bool refill(struct rpc_stream *stream)
{
    struct rpc_link *link = &stream->channel->link;
    struct frame_header window = {.type = FRAME_WINDOW, .call_id = stream->id};
    uint32_t settled = 0;

    window.arg = rpc_inbox_refill(&stream->inbox, &stream->own, &settled);
    stream->head_due = stream->head_due || (stream->head_came && stream->head.data != NULL);
    stream->head_came = false;
    if (window.arg > 0 && !stream->detached) {
        (void)rpc_link_put(link, window, nothing, nothing, true);
    }
    if (settled > 0) {
        rpc_link_repay(link, settled);
    }
    return settled > 0;
}

/* What does not parse ends the stream, for good and on both sides. */
static void fail(struct rpc_stream *stream, const struct rpc_reply *reply)
{
    struct rpc_link *link = &stream->channel->link;

    rpc_link_lock(link);
    discard(stream);
    if (stream->ended) {
        rpc_reply_fini(&stream->end);
    }
    stream->ended = true;
    reply_copy(&stream->end, reply);
    rpc_link_unlock(link);
    transport_flush(link->transport);
    rpc_stream_cancel(stream);
}

static void give_head(struct rpc_stream *stream, struct rpc_reply *reply)
{
    reply_add_head(reply, stream->head);
    stream->head_due = false;
}

static enum rpc_next take_message(struct rpc_stream *stream, struct fly_bytes body, uint32_t gap,
                                  struct rpc_reply *reply)
{
    struct rpc_link *link = &stream->channel->link;

    reply_from_message(reply, stream->method, body, nothing);
    reply->gap = gap;
    if (reply->status != FLY_OK) {
        fail(stream, reply);
        stream->over = true;
        give_head(stream, reply);
        return RPC_NEXT_END;
    }
    if (stream->head_due) {
        give_head(stream, reply);
    }
    if (stream->own.taken >= stream->inbox.window / 2) {
        rpc_link_lock(link);
        bool granted = refill(stream);
        rpc_link_unlock(link);
        if (granted) {
            transport_flush(link->transport);
        }
    }
    return RPC_NEXT_MESSAGE;
}

/* Not under the lock: nothing changes an end any more. */
static void say_end(struct rpc_stream *stream, struct rpc_reply *reply)
{
    bool message = (stream->method->flags & RPC_STREAM) == 0;

    stream->over = true;
    if (message && stream->end.status == FLY_OK) {
        struct fly_bytes body = {stream->end_body, stream->end_body_size};
        reply_from_message(reply, stream->method, body, stream->end.trailer);
    } else {
        reply_copy(reply, &stream->end);
    }
    give_head(stream, reply);
}

enum rpc_next rpc_stream_next(struct rpc_stream *stream, int64_t timeout_ms,
                              struct rpc_reply *reply)
{
    struct rpc_link *link = &stream->channel->link;
    struct timespec at;
    const struct timespec *until = NULL;
    bool in_time = timeout_ms != 0;
    bool waited = false;
    struct fly_bytes body;
    uint32_t gap = 0;
    uint32_t unused = 0;

    for (;;) {
        if (!stream->over && rpc_inbox_take(&stream->own, &body, &gap, &unused)) {
            return take_message(stream, body, gap, reply);
        }
        rpc_link_lock(link);
        bool granted = refill(stream);
        bool ended = stream->ended;
        bool more = !stream->over && !rpc_inbox_empty(&stream->own);
        stream->reader_waits = !more && !ended && in_time;
        stream->read_refused = !more && !ended && !in_time;
        rpc_link_unlock(link);
        if (granted) {
            transport_flush(link->transport);
        }
        if (more) {
            continue;
        }
        if (ended) {
            say_end(stream, reply);
            return RPC_NEXT_END;
        }
        if (!in_time) {
            reply_set(reply, FLY_OK, true, NULL, 0);
            if (stream->head_due) {
                give_head(stream, reply);
            }
            return RPC_NEXT_NOTHING;
        }
        until = waited ? until : stream_wait_until(&at, timeout_ms);
        waited = true;
        in_time = stream_wait(&stream->readable, until);
    }
}
