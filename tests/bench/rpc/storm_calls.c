#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/wire/metadata.h"
#include "tests/bench/rpc/storm_client.h"

static const struct rpc_method *const methods[STORM_KINDS] = {
    [STORM_ONE] = &storm_storm_one,   [STORM_QUICK] = &storm_storm_quick,
    [STORM_LOOK] = &storm_storm_look, [STORM_GLANCE] = &storm_storm_glance,
    [STORM_DOWN] = &storm_storm_down, [STORM_UP] = &storm_storm_up,
    [STORM_BOTH] = &storm_storm_both,
};

/* All that one call is made of; on the maker's stack, because requests are packed at once. */
struct making {
    struct storm_try call;
    Storm__Ask ask;
    struct rpc_call_options options;
    uint8_t metadata[2 * STORM_ECHO_SIZE];
    uint8_t filler[STORM_FILLER_MAX];
};

static enum storm_kind random_kind(struct fly_rng *rng)
{
    static const struct {
        enum storm_kind kind;
        unsigned below;
    } parts[] = {{STORM_ONE, 350},  {STORM_QUICK, 650}, {STORM_LOOK, 730}, {STORM_GLANCE, 770},
                 {STORM_DOWN, 850}, {STORM_UP, 930},    {STORM_BOTH, 1000}};
    uint64_t at = fly_rng_below(rng, 1000);
    size_t i = 0;

    while (at >= parts[i].below) {
        i++;
    }
    return parts[i].kind;
}

static int64_t random_timeout_ms(struct fly_rng *rng)
{
    uint64_t at = fly_rng_below(rng, 100);

    if (at < 2) {
        return 0;
    }
    return 1 + (int64_t)fly_rng_below(rng, at < 60 ? 20 : at < 90 ? 200 : 1000);
}

static void put_echo(struct making *m)
{
    struct fly_writer w = fly_writer_over(m->metadata, sizeof m->metadata);

    (void)snprintf(m->call.echo, sizeof m->call.echo, "%llx",
                   (unsigned long long)fly_rng_next(&m->call.by->rng));
    FLY_CHECK(metadata_put_text(&w, STORM_ECHO, m->call.echo, NULL) == FLY_OK);
    m->options.metadata = (struct fly_bytes){m->metadata, w.size};
}

static void make(struct making *m, struct storm_thread *t, uint64_t id)
{
    struct fly_rng *rng = &t->rng;

    m->call = (struct storm_try){.by = t, .id = id, .kind = random_kind(rng)};
    m->options = (struct rpc_call_options){.timeout_ms = random_timeout_ms(rng),
                                           .wait_for_ready = fly_rng_chance(rng, 300)};
    storm__ask__init(&m->ask);
    m->ask.id = id;
    m->ask.work_us = fly_rng_chance(rng, 300) ? (uint32_t)fly_rng_below(rng, 200) : 0;
    m->ask.sleep_us = fly_rng_chance(rng, 100) && m->call.kind != STORM_QUICK
                          ? (uint32_t)fly_rng_below(rng, 3000)
                          : 0;
    m->ask.status = fly_rng_chance(rng, 50) ? 1 + (uint32_t)fly_rng_below(rng, 16) : 0;
    m->ask.messages = (uint32_t)fly_rng_below(rng, 12);
    m->call.filler_size = fly_rng_below(rng, fly_rng_chance(rng, 30) ? STORM_FILLER_MAX : 100);
    for (size_t i = 0; i < m->call.filler_size; i++) {
        m->filler[i] = (uint8_t)(id + i);
    }
    m->ask.filler.data = m->filler;
    m->ask.filler.len = m->call.filler_size;
    if (fly_rng_chance(rng, 300)) {
        put_echo(m);
    }
    if (m->options.timeout_ms != 0) {
        m->call.deadline_us = fly_clock_boot_us() + m->options.timeout_ms * 1000;
    }
}

static void ended_here(const struct storm_try *call, enum fly_status status)
{
    struct rpc_reply reply = {.status = status, .sent = false};

    storm_ended(call, &reply);
}

static void done(void *user, struct rpc_reply *reply)
{
    struct storm_try *call = user;

    storm_ended(call, reply);
    (void)sem_post(&call->by->room);
    free(call);
}

/* Sometimes the call before this one, which may have ended, and sometimes this one. */
static void cancel_some(struct storm_thread *t)
{
    if (fly_rng_chance(&t->rng, 70) && t->last_channel != NULL) {
        rpc_channel_cancel(t->last_channel, t->last_id);
    }
    if (fly_rng_chance(&t->rng, 70) && t->last_client_id != 0) {
        rpc_client_cancel(t->client, t->last_client_id);
    }
}

static void start(struct making *m, struct rpc_channel *channel)
{
    struct storm_thread *t = m->call.by;
    struct storm_try *call = malloc(sizeof *call);
    const struct rpc_method *method = methods[m->call.kind];
    enum fly_status status = FLY_OK;

    if (call == NULL) {
        err(1, "call");
    }
    *call = m->call;
    while (sem_wait(&t->room) != 0) {
    }
    if (call->deadline_us != 0) { /* waiting for room is not the library's */
        call->deadline_us = fly_clock_boot_us() + m->options.timeout_ms * 1000;
    }
    cancel_some(t);
    if (channel == NULL) {
        rpc_client_start(t->client, method, &m->ask.base, &m->options, done, call,
                         &t->last_client_id);
    } else {
        status =
            rpc_channel_start(channel, method, &m->ask.base, &m->options, done, call, &t->last_id);
        t->last_channel = channel;
        if (status != FLY_OK) { /* `done` will not run */
            t->last_channel = NULL;
            ended_here(call, status);
            (void)sem_post(&t->room);
            free(call);
        }
    }
    cancel_some(t);
}

static void wait_for(struct making *m, struct rpc_channel *channel)
{
    struct storm_thread *t = m->call.by;
    const struct rpc_method *method = methods[m->call.kind];
    struct rpc_reply reply;

    if (channel == NULL) {
        (void)rpc_client_call(t->client, method, &m->ask.base, &m->options, &reply);
    } else {
        (void)rpc_channel_call(channel, method, &m->ask.base, &m->options, &reply);
    }
    storm_ended(&m->call, &reply);
    rpc_reply_fini(&reply);
}

/* The end is written down; said again, it must be the same. */
static void stream_ended(const struct storm_try *call, struct rpc_stream *stream,
                         struct rpc_reply *reply)
{
    struct rpc_reply again;

    storm_ended(call, reply);
    if (rpc_stream_next(stream, 0, &again) != RPC_NEXT_END || again.status != reply->status) {
        storm_bad(call, "the end changed");
    }
    rpc_reply_fini(&again);
}

/* Takes messages until the end or `most` of them came. True: it has ended. */
static bool take(const struct storm_try *call, struct rpc_stream *stream, unsigned most,
                 int64_t timeout_ms, unsigned *taken)
{
    for (unsigned i = 0; i < most; i++) {
        struct rpc_reply reply;
        enum rpc_next next = rpc_stream_next(stream, timeout_ms, &reply);

        if (next == RPC_NEXT_END) {
            stream_ended(call, stream, &reply);
            rpc_reply_fini(&reply);
            return true;
        }
        if (next == RPC_NEXT_MESSAGE) {
            if (!storm_said_is_good(call, (const Storm__Said *)reply.message)) {
                storm_bad(call, "a message is another");
            }
            *taken += 1;
        }
        rpc_reply_fini(&reply);
    }
    return false;
}

/* Sends what there is to send. True: the stream ended meanwhile, and that was written down. */
static bool send_all(struct making *m, struct rpc_stream *stream, unsigned *taken)
{
    struct fly_rng *rng = &m->call.by->rng;

    for (uint32_t i = 0; i <= m->ask.messages; i++) {
        enum fly_status status = rpc_stream_send(stream, &m->ask.base, 2000);

        if (status != FLY_OK) { /* it ended, or nobody reads: the next one tells */
            return false;
        }
        if (m->call.kind == STORM_BOTH && fly_rng_chance(rng, 500) &&
            take(&m->call, stream, 1, fly_rng_chance(rng, 500) ? 0 : -1, taken)) {
            return true;
        }
    }
    return false;
}

static void stream(struct making *m, struct rpc_channel *channel)
{
    struct storm_thread *t = m->call.by;
    const struct rpc_method *method = methods[m->call.kind];
    const ProtobufCMessage *request = m->call.kind == STORM_DOWN ? &m->ask.base : NULL;
    struct rpc_stream *stream = NULL;
    struct fly_error error;
    unsigned taken = 0;
    bool ended = false;
    enum fly_status status =
        channel == NULL
            ? rpc_client_stream(&stream, t->client, method, request, &m->options, &error)
            : rpc_stream_open(&stream, channel, method, request, &m->options, &error);

    if (status != FLY_OK) {
        ended_here(&m->call, status);
        return;
    }
    if (request == NULL) {
        ended = send_all(m, stream, &taken);
        rpc_stream_finish(stream);
    }
    if (!ended && fly_rng_chance(&t->rng, 100)) {
        rpc_stream_cancel(stream);
    }
    if (!ended && fly_rng_chance(&t->rng, 100)) {
        ended = take(&m->call, stream, 3, 1, &taken);
        if (!ended) {
            storm_closed(&m->call);
            ended = true;
        }
    }
    while (!ended) {
        ended = take(&m->call, stream, 100, -1, &taken);
    }
    rpc_stream_close(stream);
}

void storm_make_call(struct storm_thread *t, uint64_t id, struct rpc_channel *channel)
{
    struct making m;

    make(&m, t, id);
    m.call.way = channel != NULL ? STORM_CHANNEL_START : STORM_CLIENT_START;
    if (m.call.kind >= STORM_DOWN) {
        m.call.way += STORM_CHANNEL_STREAM;
        stream(&m, channel);
    } else if (fly_rng_chance(&t->rng, 250)) {
        m.call.way += STORM_CHANNEL_CALL;
        wait_for(&m, channel);
    } else {
        start(&m, channel);
    }
}
