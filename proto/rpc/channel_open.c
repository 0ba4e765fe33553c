/*
 * channel_open - how a channel comes about: dial, preface, HELLO, and the ways in which that ends.
 */
#include <semaphore.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/channel_internal.h"

static void fill_limits(struct rpc_channel_config *config)
{
    config->connect_timeout_ms = config->connect_timeout_ms > 0 ? config->connect_timeout_ms : 5000;
    config->keepalive_ms = config->keepalive_ms > 0 ? config->keepalive_ms : 10000;
    config->calls_max = config->calls_max > 0 ? config->calls_max : 1024;
    config->frame_max = config->frame_max > 0 ? config->frame_max : 1 << 20;
    config->out_max = config->out_max > 0 ? config->out_max : 4 << 20;
    config->stream_window = config->stream_window > 0 ? config->stream_window : 64 * 1024;
    config->conn_window = config->conn_window > 0 ? config->conn_window : 1 << 20;
}

static enum fly_status check_config(const struct rpc_channel_config *config,
                                    struct fly_error *error)
{
    if (config->hello.size > RPC_HELLO_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "HELLO of %zu bytes is too large",
                             config->hello.size);
    }
    if (config->frame_max < FRAME_SIZE_MIN || config->frame_max > FRAME_SIZE_MAX ||
        config->calls_max > 1U << FRAME_SLOT_BITS || config->stream_window > INT32_MAX ||
        config->conn_window > INT32_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "channel limits out of range");
    }
    return FLY_OK;
}

static uint8_t *copy_bytes(struct fly_bytes bytes)
{
    uint8_t *copy = malloc(bytes.size > 0 ? bytes.size : 1);

    if (copy != NULL && bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return copy;
}

static struct rpc_channel *channel_make(const struct rpc_channel_config *config)
{
    struct rpc_channel *channel = calloc(1, sizeof *channel);

    if (channel == NULL) {
        return NULL;
    }
    channel->greeting = copy_bytes(config->hello);
    if (channel->greeting == NULL) {
        free(channel);
        return NULL;
    }
    channel->config = *config;
    channel->config.hello.data = channel->greeting;
    channel->config.url = NULL;
    channel->config.tls = NULL;
    channel->calls_max = config->calls_max;
    channel->free_first = SLOT_NONE;
    channel->keepalive_ms = config->keepalive_ms;
    randombytes_buf(&channel->span_seed, sizeof channel->span_seed);
    channel->open_deadline_ms = fly_clock_boot_ms() + config->connect_timeout_ms;
    channel->next_due_ms = INT64_MAX;
    atomic_init(&channel->references, 3); /* the owner's, the dialling's, and its beginner's */
    atomic_init(&channel->phase, CHANNEL_OPENING);
    channel_jobs_init(channel);
    return channel;
}

/* ---- how the opening ends ---- */

static bool settle(struct rpc_channel *channel, enum channel_phase from, enum channel_phase phase)
{
    int expected = (int)from;

    return atomic_compare_exchange_strong(&channel->phase, &expected, (int)phase);
}

bool channel_refuse(struct rpc_channel *channel, struct rpc_reply *reply)
{
    bool first = settle(channel, CHANNEL_OPENING, CHANNEL_REFUSED);

    if (first) {
        channel->opened(channel->opened_user, channel, reply);
    }
    rpc_reply_fini(reply);
    return first;
}

bool channel_refuse_text(struct rpc_channel *channel, enum fly_status status, const char *text)
{
    struct rpc_reply reply;

    reply_set(&reply, status, false, text, strlen(text));
    return channel_refuse(channel, &reply);
}

void channel_refuse_closed(struct rpc_channel *channel, const char *text)
{
    struct rpc_reply reply;

    if (!channel_refuse_text(channel, FLY_UNAVAILABLE, text) &&
        settle(channel, CHANNEL_GIVEN_UP, CHANNEL_REFUSED)) {
        reply_set(&reply, channel->given_up, false, channel->given_up_text,
                  strlen(channel->given_up_text));
        channel->opened(channel->opened_user, channel, &reply);
        rpc_reply_fini(&reply);
    }
}

/* Once there is a connection, only the thread that reads it tells: it may be in hello_make or
 * hello_check now, which must not run when `opened` has. */
void channel_give_up(struct rpc_channel *channel, enum fly_status status, const char *text)
{
    if (channel->link.transport == NULL) {
        (void)channel_refuse_text(channel, status, text);
        if (channel->dial != NULL) {
            transport_dial_stop(channel->dial);
        }
    } else {
        if (atomic_load(&channel->phase) == CHANNEL_OPENING) {
            channel->given_up = status;
            channel->given_up_text = text;
            (void)settle(channel, CHANNEL_OPENING, CHANNEL_GIVEN_UP);
        }
        transport_close(channel->link.transport);
    }
}

/* ---- HELLO ---- */

bool channel_say_hello(struct rpc_channel *channel)
{
    struct rpc_link *link = &channel->link;
    struct frame_header header = {.type = FRAME_HELLO};
    struct fly_bytes hello = channel->config.hello;
    uint8_t made[RPC_HELLO_MAX];

    if (channel->config.hello_make != NULL) {
        hello.data = made;
        hello.size = channel->config.hello_make(channel->config.user, link->ours.nonce,
                                                link->theirs.nonce, made, sizeof made);
        FLY_CHECK(hello.size <= sizeof made);
        if (hello.size == 0) {
            (void)channel_refuse_text(channel, FLY_FAILED_PRECONDITION,
                                      "this side cannot say who it is");
            return false;
        }
    }
    rpc_link_lock(link);
    (void)rpc_link_put(link, header, (struct fly_bytes){0}, hello, true);
    rpc_link_unlock(link);
    transport_flush(link->transport);
    return true;
}

bool channel_on_hello(struct rpc_channel *channel, const struct frame *frame)
{
    struct rpc_link *link = &channel->link;
    struct fly_error error = {.text = ""};
    enum fly_status status = FLY_OK;

    if (atomic_load(&channel->phase) != CHANNEL_OPENING || channel->hello != NULL) {
        return false;
    }
    if (channel->config.hello_check != NULL) {
        status = channel->config.hello_check(channel->config.user, link->ours.nonce,
                                             link->theirs.nonce, frame->body, &error);
    }
    if (status != FLY_OK) {
        (void)channel_refuse_text(channel, status, error.text);
        return false;
    }
    channel->hello = copy_bytes(frame->body);
    channel->hello_size = frame->body.size;
    if (channel->hello == NULL || !settle(channel, CHANNEL_OPENING, CHANNEL_OPEN)) {
        return false; /* given up just now */
    }
    rpc_link_lock(link);
    channel->next_due_ms = fly_clock_boot_ms() + channel->keepalive_ms;
    (void)rpc_timer_arm(&channel->timer, channel->next_due_ms);
    bool going_away = channel->going_away;
    rpc_link_unlock(link);
    channel->opened(channel->opened_user, channel, NULL);
    if (going_away && channel->config.going_away != NULL) {
        channel->config.going_away(channel->config.user);
    }
    return true;
}

/* ---- the opening ---- */

static void on_dialled(void *user, struct transport *transport, const struct fly_error *why)
{
    struct rpc_channel *channel = user;

    channel->dial = NULL;
    if (transport == NULL) {
        (void)channel_refuse_text(channel, why->status, why->text);
    } else if (atomic_load(&channel->phase) == CHANNEL_OPENING) {
        channel_greet(channel, transport);
    } else {
        transport_drop(transport);
    }
    channel_drop(channel);
}

static void on_timer(void *user)
{
    struct rpc_channel *channel = user;

    if (channel->released) {
        return;
    }
    switch ((enum channel_phase)atomic_load(&channel->phase)) {
    case CHANNEL_OPENING:
        if (fly_clock_boot_ms() < channel->open_deadline_ms) {
            (void)rpc_timer_arm(&channel->timer, channel->open_deadline_ms);
        } else {
            channel_give_up(channel, FLY_DEADLINE_EXCEEDED,
                            channel->dial != NULL ? "no connection in time"
                                                  : "the server did not answer HELLO in time");
        }
        return;
    case CHANNEL_OPEN:
        channel_on_timer(channel);
        return;
    case CHANNEL_GIVEN_UP:
    case CHANNEL_REFUSED:
        return;
    }
}

enum fly_status rpc_channel_start_open(struct rpc_channel **out,
                                       const struct rpc_channel_config *config, rpc_opened *opened,
                                       void *user, struct fly_error *error)
{
    struct rpc_channel_config filled = *config;
    enum fly_status status = FLY_OK;

    FLY_CHECK(sodium_init() >= 0);
    fill_limits(&filled);
    status = check_config(&filled, error);
    status = status == FLY_OK ? rpc_timer_hold(error) : status;
    if (status != FLY_OK) {
        return status;
    }
    struct rpc_channel *channel = channel_make(&filled);
    if (channel == NULL) {
        rpc_timer_release();
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    channel->opened = opened;
    channel->opened_user = user;
    rpc_timer_init(&channel->timer, on_timer, channel);
    *out = channel; /* before it begins: `opened` may run, on another thread, at once */
    struct transport_config transport = channel_transport_config(channel);
    status = transport_dial(&channel->dial, config->url, config->tls, &transport, on_dialled,
                            channel, error);
    if (status != FLY_OK) {
        *out = NULL;
        channel_free(channel);
        rpc_timer_release();
        return status;
    }
    (void)rpc_timer_arm(&channel->timer, channel->open_deadline_ms);
    channel_drop(channel);
    return FLY_OK;
}

/* ---- the same, waited for ---- */

struct opener {
    sem_t ended;
    struct rpc_reply *refusal;
    bool open;
};

static void wake_opener(void *user, struct rpc_channel *channel, struct rpc_reply *refusal)
{
    struct opener *opener = user;

    (void)channel;
    opener->open = refusal == NULL;
    if (refusal != NULL) {
        rpc_reply_move(opener->refusal, refusal);
    }
    (void)sem_post(&opener->ended);
}

/* The words get the url in front, as those of transport_dial have it already. */
static void name_url(struct rpc_reply *refusal, const char *url)
{
    char words[RPC_TEXT_SIZE];

    (void)fly_copy_string(words, sizeof words, refusal->text);
    (void)snprintf(refusal->text, sizeof refusal->text, "%s: %s", url, words);
}

enum fly_status rpc_channel_open_detailed(struct rpc_channel **out,
                                          const struct rpc_channel_config *config,
                                          struct rpc_reply *refusal)
{
    struct opener opener = {.refusal = refusal};
    struct rpc_channel *channel = NULL;
    struct fly_error error = {.text = ""};

    reply_set(refusal, FLY_OK, false, NULL, 0);
    (void)sem_init(&opener.ended, 0, 0);
    enum fly_status status = rpc_channel_start_open(&channel, config, wake_opener, &opener, &error);
    if (status != FLY_OK) {
        reply_set(refusal, status, false, error.text, strlen(error.text));
    } else {
        while (sem_wait(&opener.ended) != 0) {
        }
        if (opener.open) {
            *out = channel;
        } else {
            rpc_channel_close(channel);
            name_url(refusal, config->url);
        }
    }
    (void)sem_destroy(&opener.ended);
    return refusal->status;
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
