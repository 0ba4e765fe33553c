/*
 * channel - what arrives on the connection, and its end; calls are channel_call.c's.
 */
#include "proto/rpc/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/channel_internal.h"

static struct rpc_channel *channel_of(struct rpc_link *link)
{
    return FLY_CONTAINER(link, struct rpc_channel, link);
}

/* ---- events ---- */

static bool on_preface(struct rpc_link *link)
{
    struct rpc_channel *channel = channel_of(link);

    uint32_t calls_max =
        link->theirs.calls_max < channel->calls_max ? link->theirs.calls_max : channel->calls_max;
    struct call_slot *slots = calloc(calls_max, sizeof *slots);
    if (calls_max == 0 || slots == NULL) {
        free(slots);
        return false;
    }
    rpc_link_lock(link);
    channel->calls_max = calls_max;
    channel->slots = slots;
    rpc_link_unlock(link);
    return channel->config.hello_make == NULL || channel_say_hello(channel);
}

static bool on_end(struct rpc_channel *channel, const struct frame *frame)
{
    struct rpc_reply reply;

    if (frame->header.call_id != 0) {
        return channel_on_end(channel, frame);
    }
    reply_from_end(&reply, NULL, frame);
    if (reply.status == FLY_OK) {
        rpc_reply_fini(&reply); /* neither an answer nor a refusal */
        return false;
    }
    (void)channel_refuse(channel, &reply);
    return true;
}

static bool on_frame(struct rpc_link *link, const struct frame *frame)
{
    struct rpc_channel *channel = channel_of(link);

    switch ((enum frame_type)frame->header.type) {
    case FRAME_HELLO:
        return channel_on_hello(channel, frame);
    case FRAME_MSG:
        return channel_on_message(channel, frame);
    case FRAME_END:
        return on_end(channel, frame);
    case FRAME_HEAD:
        return channel_on_head(channel, frame);
    case FRAME_WINDOW:
        channel_on_window(channel, frame);
        return true;
    case FRAME_GOAWAY:
        channel_on_goaway(channel, frame);
        return true;
    case FRAME_VOID:
    case FRAME_REQ:
    case FRAME_CANCEL:
    case FRAME_PING:
    case FRAME_PONG:
    case FRAME_DONE:
    case FRAME_TYPE_COUNT:
        break;
    }
    return false;
}

static void on_violation(struct rpc_link *link, enum frame_step why, const char *what)
{
    (void)why;
    (void)channel_refuse_text(channel_of(link), FLY_UNAVAILABLE, what);
}

static void tell_closed(struct rpc_job *job)
{
    struct rpc_channel *channel = FLY_CONTAINER(job, struct rpc_channel, closed_job);

    channel->config.closed(channel->config.user);
    channel_drop(channel);
}

static void on_closed(struct rpc_link *link)
{
    struct rpc_channel *channel = channel_of(link);
    const char *tls = transport_tls_failure(link->transport);
    char words[RPC_TEXT_SIZE] = "the server closed the connection before it answered HELLO";

    if (tls != NULL) {
        (void)snprintf(words, sizeof words, "TLS: %s", tls);
    }
    channel_wake_marked(channel); /* of a read that was cut short */
    channel_end_all(channel);
    channel_refuse_closed(channel, words);
    if (atomic_load(&channel->phase) == CHANNEL_OPEN && channel->config.closed != NULL) {
        /* on the timer thread: behind a deadline that it may be telling of just now */
        (void)atomic_fetch_add(&channel->references, 1);
        rpc_job_post(&channel->closed_job);
    }
}

static void on_drained(struct rpc_link *link)
{
    channel_wake_senders(channel_of(link)); /* a refused call is the caller's to repeat */
}

static void on_credited(struct rpc_link *link)
{
    channel_wake_senders(channel_of(link));
}

static void on_disposed(struct rpc_link *link)
{
    channel_drop(channel_of(link));
}

static void on_rested(struct rpc_link *link)
{
    channel_wake_marked(channel_of(link));
}

static const struct rpc_link_events link_events = {
    .preface = on_preface,
    .frame = on_frame,
    .violation = on_violation,
    .closed = on_closed,
    .drained = on_drained,
    .credited = on_credited,
    .disposed = on_disposed,
    .rested = on_rested,
};

struct transport_config channel_transport_config(const struct rpc_channel *channel)
{
    struct transport_config config = rpc_link_transport_config(channel->config.out_max, false);

    config.unacknowledged_ms = channel->config.unacknowledged_ms;
    return config;
}

void channel_greet(struct rpc_channel *channel, struct transport *transport)
{
    struct frame_preface ours = {.version = FRAME_VERSION,
                                 .frame_max = channel->config.frame_max,
                                 .window = channel->config.stream_window,
                                 .conn_window = channel->config.conn_window};

    (void)atomic_fetch_add(&channel->references, 1); /* the transport's */
    rpc_link_init(&channel->link, transport, channel->config.frame_max, &link_events);
    rpc_batch_begin(); /* preface and HELLO in one write */
    rpc_link_start(&channel->link, ours);
    if (channel->config.hello_make == NULL) {
        (void)channel_say_hello(channel);
    }
    rpc_batch_end();
}

/* ---- the end ---- */

void channel_free(struct rpc_channel *channel)
{
    free(channel->greeting);
    free(channel->hello);
    free(channel->slots);
    free(channel);
}

static void end(struct rpc_job *job)
{
    struct rpc_channel *channel = FLY_CONTAINER(job, struct rpc_channel, free_job);
    sem_t *freed = channel->freed;

    (void)rpc_timer_cancel(&channel->timer);
    channel_free(channel);
    if (freed != NULL) {
        (void)sem_post(freed);
    } else {
        rpc_timer_release_here();
    }
}

static void release(struct rpc_job *job)
{
    struct rpc_channel *channel = FLY_CONTAINER(job, struct rpc_channel, release_job);
    bool connected = channel->link.transport != NULL;

    channel->released =
        true; /* the link's reference goes below: a timer that fires later is late */
    if (connected) {
        rpc_link_lock(&channel->link);
        FLY_CHECK(channel->streams == 0);
        channel->closing = true;
        rpc_link_unlock(&channel->link);
    }
    channel_give_up(channel, FLY_CANCELLED, "the channel was closed");
    if (connected) {
        rpc_link_drop(&channel->link);
    }
    channel_drop(channel);
}

void channel_jobs_init(struct rpc_channel *channel)
{
    channel->release_job.run = release;
    channel->closed_job.run = tell_closed;
    channel->free_job.run = end;
}

void channel_drop(struct rpc_channel *channel)
{
    if (atomic_fetch_sub(&channel->references, 1) == 1) {
        rpc_job_post(&channel->free_job);
    }
}

void rpc_channel_release(struct rpc_channel *channel)
{
    if (channel != NULL) {
        rpc_timer_put_off();
        rpc_job_post(&channel->release_job);
    }
}

void rpc_channel_settle(void)
{
    rpc_timer_settle();
}

void rpc_channel_close(struct rpc_channel *channel)
{
    sem_t freed;

    if (channel == NULL) {
        return;
    }
    (void)sem_init(&freed, 0, 0);
    channel->freed = &freed;
    rpc_job_post(&channel->release_job);
    while (sem_wait(&freed) != 0) {
    }
    (void)sem_destroy(&freed);
    rpc_timer_release();
}

struct fly_bytes rpc_channel_hello(const struct rpc_channel *channel)
{
    return (struct fly_bytes){channel->hello, channel->hello_size};
}

bool rpc_channel_alive(struct rpc_channel *channel)
{
    if (atomic_load(&channel->phase) != CHANNEL_OPEN) {
        return false;
    }
    rpc_link_lock(&channel->link);
    bool alive =
        !channel->closed && !channel->going_away && !transport_closed(channel->link.transport);
    rpc_link_unlock(&channel->link);
    return alive;
}
