/*
 * channel - opening (preface, HELLO) and closing; what arrives is handed to channel_call.c.
 */
#include "proto/rpc/channel.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/channel_internal.h"

void wait_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;

    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

struct timespec wait_until(int64_t timeout_ms)
{
    struct timespec until;

    FLY_CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until.tv_sec += (time_t)(timeout_ms / 1000);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return until;
}

static struct rpc_channel *channel_of(struct rpc_link *link)
{
    return FLY_CONTAINER(link, struct rpc_channel, link);
}

/* ---- events ---- */

static bool on_preface(struct rpc_link *link)
{
    struct rpc_channel *channel = channel_of(link);

    rpc_link_lock(link);
    channel_make_slots(channel);
    rpc_link_unlock(link);
    return channel->calls_max > 0;
}

/* The first refusal counts: it is the reason, what follows is its consequence. */
static void refuse(struct rpc_channel *channel, struct rpc_reply *reply)
{
    (void)pthread_mutex_lock(&channel->wait_lock);
    if (!channel->greeted && !channel->refused) {
        channel->refused = true;
        rpc_reply_move(&channel->refusal, reply);
        (void)pthread_cond_broadcast(&channel->changed);
    }
    (void)pthread_mutex_unlock(&channel->wait_lock);
    rpc_reply_fini(reply);
}

static bool on_hello(struct rpc_channel *channel, const struct frame *frame)
{
    uint8_t *copy = malloc(frame->body.size > 0 ? frame->body.size : 1);

    if (copy == NULL) {
        return false;
    }
    if (frame->body.size > 0) {
        memcpy(copy, frame->body.data, frame->body.size);
    }
    (void)pthread_mutex_lock(&channel->wait_lock);
    bool first = !channel->greeted && !channel->refused;
    if (first) {
        channel->greeted = true;
        channel->hello = copy;
        channel->hello_size = frame->body.size;
        (void)pthread_cond_broadcast(&channel->changed);
    }
    (void)pthread_mutex_unlock(&channel->wait_lock);
    if (!first) {
        free(copy);
    }
    return first;
}

static bool on_end(struct rpc_channel *channel, const struct frame *frame)
{
    if (frame->header.call_id != 0) {
        return channel_on_end(channel, frame);
    }
    struct rpc_reply reply;
    reply_from_end(&reply, NULL, frame);
    refuse(channel, &reply);
    return true;
}

static bool on_frame(struct rpc_link *link, const struct frame *frame)
{
    struct rpc_channel *channel = channel_of(link);

    switch ((enum frame_type)frame->header.type) {
    case FRAME_HELLO:
        return on_hello(channel, frame);
    case FRAME_MSG:
        return channel_on_message(channel, frame);
    case FRAME_END:
        return on_end(channel, frame);
    case FRAME_GOAWAY:
        rpc_link_lock(link);
        channel->going_away = true;
        rpc_link_unlock(link);
        return true;
    case FRAME_VOID:
    case FRAME_REQ:
    case FRAME_CANCEL:
    case FRAME_WINDOW:
    case FRAME_PING:
    case FRAME_PONG:
    case FRAME_TYPE_COUNT:
        break;
    }
    return false;
}

static void on_violation(struct rpc_link *link, enum frame_step why, const char *what)
{
    struct rpc_reply reply;

    (void)why;
    reply_set(&reply, FLY_UNAVAILABLE, false, what, strlen(what));
    refuse(channel_of(link), &reply);
}

static void on_closed(struct rpc_link *link)
{
    static const char words[] = "the server closed the connection before it answered HELLO";
    struct rpc_channel *channel = channel_of(link);
    struct rpc_reply reply;

    channel_end_all(channel);
    reply_set(&reply, FLY_UNAVAILABLE, false, words, sizeof words - 1);
    refuse(channel, &reply);
    (void)pthread_mutex_lock(&channel->wait_lock);
    channel->gone = true;
    (void)pthread_cond_broadcast(&channel->changed);
    (void)pthread_mutex_unlock(&channel->wait_lock);
}

static void on_drained(struct rpc_link *link)
{
    (void)link; /* nobody waits: a refused call was the caller's to repeat */
}

static void on_disposed(struct rpc_link *link)
{
    struct rpc_channel *channel = channel_of(link);

    (void)pthread_mutex_lock(&channel->wait_lock);
    channel->disposed = true;
    (void)pthread_cond_broadcast(&channel->changed);
    (void)pthread_mutex_unlock(&channel->wait_lock);
}

static const struct rpc_link_events link_events = {
    .preface = on_preface,
    .frame = on_frame,
    .violation = on_violation,
    .closed = on_closed,
    .drained = on_drained,
    .disposed = on_disposed,
};

/* ---- opening ---- */

static void fill_limits(struct rpc_channel_config *config)
{
    config->connect_timeout_ms = config->connect_timeout_ms > 0 ? config->connect_timeout_ms : 5000;
    config->keepalive_ms = config->keepalive_ms > 0 ? config->keepalive_ms : 10000;
    config->calls_max = config->calls_max > 0 ? config->calls_max : 1024;
    config->frame_max = config->frame_max > 0 ? config->frame_max : 1 << 20;
    config->out_max = config->out_max > 0 ? config->out_max : 4 << 20;
    config->stream_window = config->stream_window > 0 ? config->stream_window : 64 * 1024;
}

static enum fly_status check_config(const struct rpc_channel_config *config,
                                    struct fly_error *error)
{
    if (config->hello.size > FRAME_SIZE_MIN) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "HELLO of %zu bytes is too large",
                             config->hello.size);
    }
    if (config->frame_max < FRAME_SIZE_MIN || config->frame_max > FRAME_SIZE_MAX ||
        config->calls_max > 1U << FRAME_SLOT_BITS || config->stream_window > INT32_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "channel limits out of range");
    }
    return FLY_OK;
}

static struct rpc_channel *channel_make(const struct rpc_channel_config *config)
{
    struct rpc_channel *channel = calloc(1, sizeof *channel);

    if (channel == NULL) {
        return NULL;
    }
    channel->slots = calloc(config->calls_max, sizeof *channel->slots);
    if (channel->slots == NULL) {
        free(channel);
        return NULL;
    }
    channel->calls_max = config->calls_max;
    channel->free_first = SLOT_NONE;
    channel->keepalive_ms = config->keepalive_ms;
    channel->window = config->stream_window;
    channel->next_due_ms = INT64_MAX;
    (void)pthread_mutex_init(&channel->wait_lock, NULL);
    wait_condition_init(&channel->changed);
    return channel;
}

static void channel_free(struct rpc_channel *channel)
{
    rpc_reply_fini(&channel->refusal);
    (void)pthread_cond_destroy(&channel->changed);
    (void)pthread_mutex_destroy(&channel->wait_lock);
    free(channel->hello);
    free(channel->slots);
    free(channel);
    rpc_timer_release();
}

/* Says preface and HELLO in one write and waits for the answer. */
static enum fly_status channel_greet(struct rpc_channel *channel,
                                     const struct rpc_channel_config *config, int64_t timeout_ms,
                                     struct rpc_reply *refusal)
{
    static const char late[] = "the server did not answer HELLO in time";
    struct frame_preface ours = {
        .version = FRAME_VERSION, .frame_max = config->frame_max, .window = config->stream_window};
    struct frame_header header = {.type = FRAME_HELLO};
    struct timespec until = wait_until(timeout_ms);
    int failure = 0;

    rpc_batch_begin();
    rpc_link_start(&channel->link, ours);
    rpc_link_lock(&channel->link);
    (void)rpc_link_put(&channel->link, header, (struct fly_bytes){0}, config->hello, true);
    rpc_link_unlock(&channel->link);
    transport_flush(channel->link.transport);
    rpc_batch_end();
    (void)pthread_mutex_lock(&channel->wait_lock);
    while (!channel->greeted && !channel->refused && failure == 0) {
        failure = pthread_cond_timedwait(&channel->changed, &channel->wait_lock, &until);
    }
    bool greeted = channel->greeted;
    if (channel->refused) {
        rpc_reply_move(refusal, &channel->refusal);
    } else if (!greeted) {
        reply_set(refusal, FLY_DEADLINE_EXCEEDED, false, late, sizeof late - 1);
    }
    (void)pthread_mutex_unlock(&channel->wait_lock);
    return greeted ? FLY_OK : refusal->status;
}

static enum fly_status channel_open(struct rpc_channel **out,
                                    const struct rpc_channel_config *config,
                                    struct rpc_reply *refusal, struct fly_error *error)
{
    struct transport_config transport_config = rpc_link_transport_config(config->out_max, false);
    struct transport *transport = NULL;
    int64_t start_ms = fly_clock_boot_ms();
    enum fly_status status = check_config(config, error);

    status = status == FLY_OK ? rpc_timer_hold(error) : status;
    if (status != FLY_OK) {
        return status;
    }
    struct rpc_channel *channel = channel_make(config);
    if (channel == NULL) {
        rpc_timer_release();
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    rpc_timer_init(&channel->timer, channel_on_timer, channel);
    status = transport_dial(&transport, config->url, config->connect_timeout_ms, &transport_config,
                            error);
    if (status != FLY_OK) {
        channel_free(channel);
        return status;
    }
    rpc_link_init(&channel->link, transport, config->frame_max, &link_events);
    int64_t left_ms = config->connect_timeout_ms - (fly_clock_boot_ms() - start_ms);
    status = channel_greet(channel, config, left_ms > 0 ? left_ms : 0, refusal);
    if (status != FLY_OK) {
        rpc_channel_close(channel);
        return fly_error_set(error, status, "%s: %s", config->url, refusal->text);
    }
    rpc_link_lock(&channel->link);
    channel->next_due_ms = fly_clock_boot_ms() + channel->keepalive_ms;
    (void)rpc_timer_arm(&channel->timer, channel->next_due_ms);
    rpc_link_unlock(&channel->link);
    *out = channel;
    return FLY_OK;
}

enum fly_status rpc_channel_open_detailed(struct rpc_channel **out,
                                          const struct rpc_channel_config *config,
                                          struct rpc_reply *refusal)
{
    struct rpc_channel_config filled = *config;
    struct fly_error error = {.status = FLY_OK};

    fill_limits(&filled);
    reply_set(refusal, FLY_OK, false, NULL, 0);
    enum fly_status status = channel_open(out, &filled, refusal, &error);
    if (status != FLY_OK) {
        refusal->status = status;
        (void)fly_copy_string(refusal->text, sizeof refusal->text, error.text);
    }
    return status;
}

enum fly_status rpc_channel_open(struct rpc_channel **out, const struct rpc_channel_config *config,
                                 struct fly_error *error)
{
    struct rpc_reply refusal;
    enum fly_status status = rpc_channel_open_detailed(out, config, &refusal);

    if (status != FLY_OK) {
        (void)fly_error_set(error, status, "%s", refusal.text);
    }
    rpc_reply_fini(&refusal);
    return status;
}

struct fly_bytes rpc_channel_hello(const struct rpc_channel *channel)
{
    return (struct fly_bytes){channel->hello, channel->hello_size};
}

bool rpc_channel_alive(struct rpc_channel *channel)
{
    rpc_link_lock(&channel->link);
    bool alive =
        !channel->closed && !channel->going_away && !transport_closed(channel->link.transport);
    rpc_link_unlock(&channel->link);
    return alive;
}

void rpc_channel_close(struct rpc_channel *channel)
{
    if (channel == NULL) {
        return;
    }
    rpc_link_lock(&channel->link);
    FLY_CHECK(channel->streams == 0);
    channel->closing = true;
    rpc_link_unlock(&channel->link);
    transport_close(channel->link.transport);
    (void)pthread_mutex_lock(&channel->wait_lock);
    while (!channel->gone) {
        (void)pthread_cond_wait(&channel->changed, &channel->wait_lock);
    }
    (void)pthread_mutex_unlock(&channel->wait_lock);
    rpc_timer_stop(&channel->timer);
    rpc_link_drop(&channel->link);
    (void)pthread_mutex_lock(&channel->wait_lock);
    while (!channel->disposed) {
        (void)pthread_cond_wait(&channel->changed, &channel->wait_lock);
    }
    (void)pthread_mutex_unlock(&channel->wait_lock);
    channel_free(channel);
}
