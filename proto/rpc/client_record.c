/*
 * client_record - the records of calls, in memory that is used again, and requests kept for later.
 *
 * The free list is a stack whose top carries a tag, so that a record that was taken and given back
 * meanwhile is not mistaken for the one that was looked at (Treiber, IBM RJ 5118, 1986).
 *
 * What is kept: always the request of a method with a policy, up to retry_keep_max, and of a call
 * that waits for a connection; and of every call what fits into its record (CLIENT_SMALL_MAX), for
 * a connection that goes away. A large request without a policy is sent once. What is waited for
 * needs no copy: the caller still has it.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/client_internal.h"
#include "proto/rpc/server.h"
#include "proto/wire/metadata.h"
#include "proto/wire/validate.h"

enum { KEPT_ARENA_MAX = 64 << 20 };

#define LOW UINT64_C(0xffffffff)

/* ---- the free list ---- */

static struct client_call *record_at(struct rpc_client *client, uint32_t index)
{
    struct client_call *chunk =
        atomic_load_explicit(&client->chunks[index / CLIENT_CHUNK], memory_order_acquire);

    return chunk != NULL ? &chunk[index % CLIENT_CHUNK] : NULL;
}

static void record_push(struct rpc_client *client, struct client_call *call)
{
    uint64_t top = atomic_load_explicit(&client->free_calls, memory_order_relaxed);
    uint64_t next = 0;

    do {
        atomic_store_explicit(&call->free_next, (uint32_t)top, memory_order_relaxed);
        next = ((top >> 32) + 1) << 32 | (call->index + 1);
    } while (!atomic_compare_exchange_weak_explicit(&client->free_calls, &top, next,
                                                    memory_order_release, memory_order_relaxed));
}

static struct client_call *record_pop(struct rpc_client *client)
{
    uint64_t top = atomic_load_explicit(&client->free_calls, memory_order_acquire);

    while ((top & LOW) != 0) {
        struct client_call *call = record_at(client, (uint32_t)top - 1);
        uint32_t below = atomic_load_explicit(&call->free_next, memory_order_relaxed);
        uint64_t next = ((top >> 32) + 1) << 32 | below;
        if (atomic_compare_exchange_weak_explicit(&client->free_calls, &top, next,
                                                  memory_order_acquire, memory_order_acquire)) {
            return call;
        }
    }
    return NULL;
}

/* More records, and room for each in the heap of due times. Keeps one of them. */
static struct client_call *record_grow(struct rpc_client *client)
{
    client_lock(client);
    struct client_call *kept = record_pop(client); /* another thread was quicker */
    uint32_t first = client->chunk_count * CLIENT_CHUNK;
    if (kept != NULL || client->chunk_count == CLIENT_CHUNKS_MAX) {
        client_unlock(client);
        return kept;
    }
    struct client_call *chunk = aligned_alloc(64, CLIENT_CHUNK * sizeof *chunk);
    struct client_call **heap =
        realloc(client->heap, (first + CLIENT_CHUNK + 1) * sizeof(struct client_call *));
    client->heap = heap != NULL ? heap : client->heap;
    if (chunk != NULL && heap != NULL) {
        memset(chunk, 0, CLIENT_CHUNK * sizeof *chunk);
        for (uint32_t i = 0; i < CLIENT_CHUNK; i++) {
            chunk[i].index = first + i;
            chunk[i].client = client;
            atomic_init(&chunk[i].word, UINT64_C(1) << 32);
        }
        atomic_store_explicit(&client->chunks[client->chunk_count++], chunk, memory_order_release);
        for (uint32_t i = 1; i < CLIENT_CHUNK; i++) {
            record_push(client, &chunk[i]);
        }
        kept = chunk;
    } else {
        free(chunk);
    }
    client_unlock(client);
    return kept;
}

void client_records_free(struct rpc_client *client)
{
    for (uint32_t i = 0; i < client->chunk_count; i++) {
        free(atomic_load_explicit(&client->chunks[i], memory_order_relaxed));
    }
    free(client->heap);
}

/* ---- a record's life ---- */

static int64_t call_deadline(const struct rpc_call_options *options, int64_t started_us)
{
    int64_t started_ms = started_us / 1000;
    int64_t parent_ms = options->parent != NULL ? rpc_call_deadline_ms(options->parent) : 0;
    int64_t own_ms = 0;

    if (options->timeout_ms != 0) {
        /* one that has passed already is negative */
        own_ms = options->timeout_ms < INT64_MAX - started_ms ? started_ms + options->timeout_ms
                                                              : INT64_MAX;
        own_ms = own_ms != 0 ? own_ms : 1;
    }
    if (own_ms == 0 || (parent_ms != 0 && parent_ms < own_ms)) {
        return parent_ms;
    }
    return own_ms;
}

struct client_call *client_call_make(struct rpc_client *client, const struct rpc_method *method,
                                     const struct rpc_call_options *options, int64_t started_us)
{
    struct client_call *call = record_pop(client);

    if (call == NULL) {
        call = record_grow(client);
    }
    if (call == NULL) {
        return NULL;
    }
    call->method = method;
    call->waiter = NULL;
    call->started_us = started_us;
    call->deadline_ms = call_deadline(options, started_us);
    call->trace = options->trace;
    call->wait_for_ready = options->wait_for_ready;
    call->only_conn = false;
    call->hedged = false;
    atomic_store_explicit(&call->cancelled, false, memory_order_relaxed);
    call->request = NULL;
    call->parent = NULL;
    call->kept = false;
    call->kept_bytes = NULL;
    call->metadata = NULL;
    call->metadata_size = 0;
    call->step = CALL_MOVING;
    call->conn = NULL;
    call->channel_id = 0;
    call->serial = 0;
    call->slow = false;
    call->sent = false;
    call->avoid = 0;
    call->retry = (struct retry_state){0};
    call->hedge = NULL;
    call->place = 0;
    (void)atomic_fetch_add_explicit(&call->word, 1, memory_order_release);
    return call;
}

uint64_t client_call_id(const struct client_call *call)
{
    uint64_t word = atomic_load_explicit(&call->word, memory_order_relaxed);

    return (word & ~LOW) | call->index;
}

struct client_call *client_call_find(struct rpc_client *client, uint64_t id)
{
    uint32_t index = (uint32_t)id;
    struct client_call *call =
        index < CLIENT_CHUNKS_MAX * CLIENT_CHUNK ? record_at(client, index) : NULL;
    uint64_t word = call != NULL ? atomic_load_explicit(&call->word, memory_order_relaxed) : 0;

    while ((word & LOW) != 0 && (word & ~LOW) == (id & ~LOW)) {
        if (atomic_compare_exchange_weak_explicit(&call->word, &word, word + 1,
                                                  memory_order_acquire, memory_order_relaxed)) {
            return call;
        }
    }
    return NULL;
}

void client_call_pin(struct client_call *call)
{
    (void)atomic_fetch_add_explicit(&call->word, 1, memory_order_relaxed);
}

static void kept_free(struct client_call *call)
{
    if (call->kept_bytes != NULL && call->kept_bytes != call->small) {
        (void)atomic_fetch_sub_explicit(&call->client->kept_total,
                                        call->request_size + call->metadata_size,
                                        memory_order_relaxed);
        free(call->kept_bytes);
    }
    call->kept_bytes = NULL;
}

void client_call_drop(struct client_call *call)
{
    uint64_t word = atomic_fetch_sub_explicit(&call->word, 1, memory_order_acq_rel) - 1;

    if ((word & LOW) != 0) {
        return;
    }
    struct rpc_client *client = call->client;
    struct client_waiter *waiter = call->waiter;
    struct client_conn *conn = call->conn;
    bool slow = call->slow;
    kept_free(call);
    if (call->hedge != NULL) {
        client_hedge_free(call);
    }
    /* the next generation, never 0: no id is */
    uint64_t next = (word | LOW) + 1;
    atomic_store_explicit(&call->word, next != 0 ? next : UINT64_C(1) << 32, memory_order_relaxed);
    record_push(client, call);
    if (waiter != NULL) {
        (void)sem_post(&waiter->ended);
    }
    if (slow) { /* before the connection: close waits for both, and one of them lasts */
        client_lock(client);
        client->slow--;
        (void)pthread_cond_broadcast(&client->changed);
        client_unlock(client);
    }
    if (conn != NULL) {
        client_conn_drop(conn);
    }
}

/* ---- requests ---- */

void client_count_message(struct rpc_method_metrics *counts, bool in,
                          const ProtobufCMessage *message)
{
    rpc_metrics_message(counts, in, protobuf_c_message_get_packed_size(message));
}

enum fly_status client_call_keep(struct client_call *call, const ProtobufCMessage *request,
                                 struct fly_bytes metadata, size_t max)
{
    size_t size = protobuf_c_message_get_packed_size(request);
    size_t total = size + metadata.size;
    uint8_t *bytes = call->small;

    call->request_size = (uint32_t)size;
    if (total > CLIENT_SMALL_MAX) {
        if (total > max) {
            return FLY_RESOURCE_EXHAUSTED;
        }
        uint64_t before =
            atomic_fetch_add_explicit(&call->client->kept_total, total, memory_order_relaxed);
        bytes = before + total <= call->client->config.keep_total_max ? malloc(total) : NULL;
        if (bytes == NULL) {
            (void)atomic_fetch_sub_explicit(&call->client->kept_total, total, memory_order_relaxed);
            return FLY_RESOURCE_EXHAUSTED;
        }
    }
    (void)protobuf_c_message_pack(request, bytes);
    if (metadata.size > 0) {
        memcpy(bytes + size, metadata.data, metadata.size);
    }
    call->kept = true;
    call->kept_bytes = bytes;
    call->metadata = bytes + size;
    call->metadata_size = (uint32_t)metadata.size;
    return FLY_OK;
}

/* The kept request as a message, in one block. INVALID_ARGUMENT: no server would take it. */
static enum fly_status unpack_kept(const struct client_call *call, ProtobufCMessage **out,
                                   void **memory)
{
    const ProtobufCMessageDescriptor *type = call->method->request;
    struct fly_bytes bytes = {call->kept_bytes, call->request_size};
    size_t size = 0;
    enum fly_status status = validate_message(type, bytes, KEPT_ARENA_MAX, &size, NULL);

    if (status != FLY_OK) {
        return status;
    }
    *memory = malloc(size);
    if (*memory == NULL) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    struct fly_arena arena = fly_arena_over(*memory, size);
    *out = validate_unpack(type, bytes, &arena);
    FLY_CHECK(*out != NULL); /* the validator's promise */
    return FLY_OK;
}

/* The call's entries, and how many attempts were made before; without that if there is no room. */
static struct fly_bytes add_attempts(const struct client_call *call, uint32_t previous,
                                     uint8_t out[static FRAME_METADATA_MAX])
{
    struct fly_writer w = fly_writer_over(out, FRAME_METADATA_MAX);
    struct fly_bytes plain = {call->metadata, call->metadata_size};

    if (plain.size > FRAME_METADATA_MAX) {
        return plain; /* refused where it is sent */
    }
    fly_put_bytes(&w, plain.data, plain.size);
    return metadata_put_number(&w, METADATA_ATTEMPTS, previous, NULL) == FLY_OK &&
                   metadata_check((struct fly_bytes){out, w.size}, NULL) == FLY_OK
               ? (struct fly_bytes){out, w.size}
               : plain;
}

/* As rpc_channel_start, with what goes with every attempt. */
struct sending {
    const struct client_call *call;
    struct rpc_channel *channel;
    const ProtobufCMessage *request;
    struct rpc_call_options options;
    rpc_done *done;
    void *user;
    uint32_t *id;
};

static enum fly_status send_plain(const struct sending *s)
{
    return rpc_channel_start(s->channel, s->call->method, s->request, &s->options, s->done, s->user,
                             s->id);
}

static enum fly_status send_again(struct sending *s, uint32_t previous)
{
    uint8_t entries[FRAME_METADATA_MAX];

    s->options.metadata = add_attempts(s->call, previous, entries);
    return send_plain(s);
}

enum fly_status client_call_send(struct client_call *call, struct client_conn *conn,
                                 uint32_t previous, rpc_done *done, void *user, uint32_t *id)
{
    struct sending s = {.call = call,
                        .channel = conn->channel,
                        .request = call->request,
                        .options = {.trace = call->trace, .parent = call->parent},
                        .done = done,
                        .user = user,
                        .id = id};
    void *memory = NULL;

    s.options.metadata = (struct fly_bytes){call->metadata, call->metadata_size};
    if (call->deadline_ms != 0) {
        int64_t left_ms = call->deadline_ms - fly_clock_boot_ms();
        s.options.timeout_ms = left_ms > 0 ? left_ms : -1;
    }
    enum fly_status status = FLY_OK;
    if (s.request == NULL) {
        ProtobufCMessage *unpacked = NULL;
        FLY_CHECK(call->kept);
        status = unpack_kept(call, &unpacked, &memory);
        s.request = unpacked;
    }
    if (status == FLY_OK) {
        status = previous > 0 ? send_again(&s, previous) : send_plain(&s);
    }
    free(memory);
    return status;
}
