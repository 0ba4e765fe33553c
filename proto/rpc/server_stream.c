/*
 * server_stream - the sending side of streams: credit of the call and of the connection, what is
 * done about a slow reader, and how a thread waits for it.
 *
 * A stream that was refused, waits, or keeps messages stands in conn->blocked until the reader's
 * WINDOW, the connection's, or room in the out-buffer lets it go on. Memory: nothing is queued for
 * RPC_SLOW_WAIT and RPC_SLOW_END; RPC_SLOW_DROP keeps RPC_SLOW_KEEP bytes, or one message.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server_internal.h"

static const struct fly_bytes nothing;

/* ---- life ---- */

struct call_stream *server_stream_make(struct rpc_call *call)
{
    struct call_stream *stream = calloc(1, sizeof *stream);
    pthread_condattr_t attributes;

    if (stream == NULL) {
        return NULL;
    }
    stream->call = call;
    stream->credit = call->conn->link.theirs.window;
    stream->kept_end = &stream->kept;
    fly_list_init(&stream->node);
    rpc_inbox_init(&stream->inbox, call->conn->server->config.stream_window);
    (void)pthread_mutex_init(&stream->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&stream->turned, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return stream;
}

static void drop_oldest(struct call_stream *stream)
{
    struct kept_message *oldest = stream->kept;

    stream->kept = oldest->next;
    stream->kept_end = stream->kept == NULL ? &stream->kept : stream->kept_end;
    stream->kept_bytes -= oldest->size;
    free(oldest);
}

void server_stream_free(struct call_stream *stream)
{
    while (stream->kept != NULL) {
        drop_oldest(stream);
    }
    (void)rpc_inbox_fini(&stream->inbox);
    (void)pthread_cond_destroy(&stream->turned);
    (void)pthread_mutex_destroy(&stream->lock);
    free(stream->end);
    free(stream);
}

/* ---- waiting ---- */

void server_stream_turn(struct call_stream *stream)
{
    if (stream->sleeping) {
        stream->sleeping = false;
        (void)pthread_mutex_lock(&stream->lock);
        stream->turn++;
        (void)pthread_cond_broadcast(&stream->turned);
        (void)pthread_mutex_unlock(&stream->lock);
    }
}

int64_t server_stream_until(const struct rpc_call *call, int64_t timeout_ms)
{
    int64_t until_ms = timeout_ms < 0 ? INT64_MAX : fly_clock_boot_ms() + timeout_ms;

    return call->deadline_ms != 0 && call->deadline_ms < until_ms ? call->deadline_ms : until_ms;
}

void server_stream_wait(struct call_stream *stream, uint32_t turn, int64_t until_ms)
{
    struct timespec until = {0};
    int failure = 0;

    if (until_ms != INT64_MAX) {
        int64_t left_ms = until_ms - fly_clock_boot_ms();
        left_ms = left_ms > 0 ? left_ms : 0;
        FLY_CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
        until.tv_sec += (time_t)(left_ms / 1000);
        until.tv_nsec += (long)(left_ms % 1000) * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
    }
    (void)pthread_mutex_lock(&stream->lock);
    while (stream->turn == turn && failure == 0) {
        failure = until_ms == INT64_MAX
                      ? pthread_cond_wait(&stream->turned, &stream->lock)
                      : pthread_cond_timedwait(&stream->turned, &stream->lock, &until);
    }
    (void)pthread_mutex_unlock(&stream->lock);
}

/* ---- sending, all under the lock ---- */

/* Whether the windows let a message go. */
static bool may_send(const struct call_stream *stream)
{
    return stream->credit > 0 && rpc_link_credit(&stream->call->conn->link) > 0;
}

static void block(struct call_stream *stream)
{
    if (fly_list_empty(&stream->node)) {
        fly_list_append(&stream->call->conn->blocked, &stream->node);
    }
}

static struct frame_header message_header(const struct call_stream *stream)
{
    return (struct frame_header){.type = FRAME_MSG,
                                 .flags = stream->gap > 0 ? FRAME_FLAG_GAP : 0,
                                 .call_id = stream->call->id,
                                 .arg = stream->gap};
}

static void account_sent(struct call_stream *stream, size_t size)
{
    uint32_t credit = frame_credit(size);

    stream->credit -= credit;
    stream->gap = 0;
    stream->call->head_late = true;
    rpc_link_spend(&stream->call->conn->link, credit);
}

/* What is kept goes as far as it may, and then the END that is owed behind it. True: END went, the
 * slot's reference is the caller's. */
static bool pump(struct call_stream *stream)
{
    struct rpc_call *call = stream->call;
    struct server_conn *conn = call->conn;

    while (stream->kept != NULL && may_send(stream)) {
        struct fly_bytes body = {stream->kept->bytes, stream->kept->size};
        if (rpc_link_put(&conn->link, message_header(stream), nothing, body, false) !=
            RPC_PUT_DONE) {
            break;
        }
        account_sent(stream, body.size);
        drop_oldest(stream);
    }
    if (stream->kept != NULL) {
        block(stream);
        return false;
    }
    if (stream->end == NULL) {
        return false;
    }
    server_call_put_end(conn, call->id, stream->end);
    server_call_detach(call);
    return true;
}

/* A message on its way: as it is, or packed already (then `message` is NULL). */
struct outgoing {
    const ProtobufCMessage *message;
    const uint8_t *packed;
    size_t size; /* packed */
};

/* The reader does not keep up: the latest messages are kept, and how many were not. */
static enum fly_status keep(struct call_stream *stream, const struct outgoing *out)
{
    struct kept_message *kept = malloc(sizeof *kept + out->size);

    if (kept == NULL) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    kept->next = NULL;
    kept->size = out->size;
    if (out->message != NULL) {
        FLY_CHECK(protobuf_c_message_pack(out->message, kept->bytes) == out->size);
    } else {
        memcpy(kept->bytes, out->packed, out->size);
    }
    *stream->kept_end = kept;
    stream->kept_end = &kept->next;
    stream->kept_bytes += out->size;
    while (stream->kept_bytes > RPC_SLOW_KEEP && stream->kept->next != NULL) {
        drop_oldest(stream);
        stream->gap++;
        stat_add(&stream->call->conn->server->stats.slow_dropped);
    }
    block(stream);
    return FLY_OK;
}

/* Puts the message, or says why not: RESOURCE_EXHAUSTED where a window or the buffer is full. */
static enum fly_status put_now(struct call_stream *stream, const struct outgoing *out)
{
    struct server_conn *conn = stream->call->conn;
    struct frame_header header = message_header(stream);
    enum rpc_put put = RPC_PUT_LARGE;

    if (rpc_link_large(&conn->link, out->size, false)) {
        return FLY_INVALID_ARGUMENT;
    }
    if (stream->kept != NULL || !may_send(stream)) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    if (out->message != NULL) {
        put = rpc_link_put_message(&conn->link, header, nothing, out->message, out->size, false);
    } else {
        struct fly_bytes body = {.data = out->packed, .size = out->size};
        put = rpc_link_put(&conn->link, header, nothing, body, false);
    }
    switch (put) {
    case RPC_PUT_DONE:
        account_sent(stream, out->size);
        return FLY_OK;
    case RPC_PUT_FULL:
        return transport_closed(conn->link.transport) ? FLY_UNAVAILABLE : FLY_RESOURCE_EXHAUSTED;
    case RPC_PUT_LARGE:
        break;
    }
    return FLY_INVALID_ARGUMENT;
}

/* RPC_SLOW_END: the caller hears of it now, whatever the application still does. */
static void end_slow(struct call_stream *stream)
{
    struct rpc_call *call = stream->call;
    struct call_ending end = {.status = FLY_RESOURCE_EXHAUSTED,
                              .text = "the reader of this stream is too slow",
                              .trailer = {call->trailer_memory, call->trailer_size}};

    stat_add(&call->conn->server->stats.slow_ended);
    atomic_store_explicit(&call->cancelled, true, memory_order_relaxed);
    server_call_put_end(call->conn, call->id, &end);
    server_call_detach(call);
}

/* What follows a refusal. `wait`: on_writable is not wanted. True: the slot's reference is the
 * caller's. */
static bool refused(struct call_stream *stream, const struct outgoing *out, bool wait,
                    enum fly_status *status)
{
    switch (stream->call->entry->method->slow_reader) {
    case RPC_SLOW_DROP:
        *status = keep(stream, out);
        return false;
    case RPC_SLOW_END:
        end_slow(stream);
        return true;
    case RPC_SLOW_WAIT:
        break;
    }
    block(stream);
    stream->refused = stream->refused || !wait;
    stream->sleeping = stream->sleeping || wait;
    return false;
}

/* One attempt. `turn`: where to wait for the next one; NULL: on_writable tells. */
static enum fly_status send_once(struct rpc_call *call, const struct outgoing *out, uint32_t *turn)
{
    struct server_conn *conn = call->conn;
    struct call_stream *stream = call->stream;
    enum fly_status status = FLY_UNAVAILABLE;
    bool ended = false;

    rpc_link_lock(&conn->link);
    if (call->attached) {
        status = put_now(stream, out);
        if (status == FLY_RESOURCE_EXHAUSTED) {
            ended = refused(stream, out, turn != NULL, &status);
        }
    }
    if (status == FLY_OK) {
        rpc_metrics_message(call->entry->metrics, false, out->size); /* before anybody sees it */
    }
    if (turn != NULL) {
        *turn = stream->turn;
    }
    rpc_link_unlock(&conn->link);
    transport_flush(conn->link.transport);
    if (ended) {
        rpc_call_drop(call); /* the slot's */
    }
    return status;
}

static struct outgoing outgoing_of(const struct rpc_call *call, const ProtobufCMessage *message)
{
    FLY_CHECK((call->entry->method->flags & RPC_STREAM) != 0);
    FLY_CHECK(message->descriptor == call->entry->method->reply);
    return (struct outgoing){.message = message,
                             .size = protobuf_c_message_get_packed_size(message)};
}

enum fly_status rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message)
{
    const struct outgoing out = outgoing_of(call, message);

    return send_once(call, &out, NULL);
}

enum fly_status rpc_call_send_packed(struct rpc_call *call, struct fly_bytes message)
{
    const struct outgoing out = {.packed = message.data, .size = message.size};

    FLY_CHECK((call->entry->method->flags & RPC_STREAM) != 0);
    return send_once(call, &out, NULL);
}

enum fly_status rpc_call_send_wait(struct rpc_call *call, const ProtobufCMessage *message,
                                   int64_t timeout_ms)
{
    int64_t until_ms = server_stream_until(call, timeout_ms);
    bool waits = call->entry->method->slow_reader == RPC_SLOW_WAIT;
    uint32_t turn = 0;
    const struct outgoing out = outgoing_of(call, message);

    while (waits && (until_ms == INT64_MAX || fly_clock_boot_ms() < until_ms)) {
        enum fly_status status = send_once(call, &out, &turn);
        if (status != FLY_RESOURCE_EXHAUSTED) {
            return status;
        }
        server_stream_wait(call->stream, turn, until_ms);
    }
    return send_once(call, &out, NULL);
}

bool server_stream_owe_end(struct call_stream *stream, const struct call_ending *end)
{
    size_t text_size = end->text != NULL ? strnlen(end->text, FRAME_TEXT_MAX) + 1 : 0;
    size_t detail_size = end->detail.size <= FRAME_DETAIL_MAX ? end->detail.size : 0;
    struct call_ending *owed = NULL;

    if (stream->kept != NULL) {
        owed = malloc(sizeof *owed + text_size + detail_size);
    }
    if (owed == NULL) {
        return false; /* without memory the reader misses what was kept */
    }
    char *text = (char *)(owed + 1);
    *owed = *end; /* the trailer stays where it is: with the call */
    owed->text = NULL;
    owed->detail = nothing;
    if (text_size > 0) {
        memcpy(text, end->text, text_size - 1);
        text[text_size - 1] = '\0';
        owed->text = text;
    }
    if (detail_size > 0) {
        memcpy(text + text_size, end->detail.data, detail_size);
        owed->detail = (struct fly_bytes){(uint8_t *)text + text_size, detail_size};
    }
    stream->end = owed;
    return true;
}

/* ---- going on ---- */

void server_stream_detached(struct call_stream *stream)
{
    fly_list_drop(&stream->node);
    server_receive_close(stream);
    server_stream_turn(stream);
}

/* Under the lock: a blocked stream may go on. Takes a reference for wake_told. */
static void wake(struct call_stream *stream, bool *tell, bool *ended)
{
    fly_list_drop(&stream->node);
    rpc_call_hold(stream->call);
    *ended = pump(stream);
    *tell = stream->refused;
    stream->refused = false;
    server_stream_turn(stream);
}

static void wake_told(struct rpc_call *call, bool tell, bool ended)
{
    transport_flush(call->conn->link.transport);
    if (tell) {
        server_call_tell_writable(call);
    }
    if (ended) {
        rpc_call_drop(call);
    }
    rpc_call_drop(call);
}

void server_stream_window(struct server_conn *conn, const struct frame *frame)
{
    bool tell = false;
    bool ended = false;
    bool woken = false;

    rpc_link_lock(&conn->link);
    struct rpc_call *call = server_request_find(conn, frame->header.call_id);
    struct call_stream *stream = call != NULL ? call->stream : NULL;
    if (stream != NULL) {
        stream->credit += frame->header.arg;
        stream->credit = stream->credit > INT32_MAX ? INT32_MAX : stream->credit;
        woken = !fly_list_empty(&stream->node) && may_send(stream);
    }
    if (woken) {
        wake(stream, &tell, &ended);
    }
    rpc_link_unlock(&conn->link);
    if (stream == NULL) {
        stat_add(&conn->server->stats.stale);
    }
    if (woken) {
        wake_told(call, tell, ended);
    }
}

/* Under the lock: the first blocked stream that the windows would let go on, among `most`. */
static struct call_stream *first_ready(struct server_conn *conn, size_t *most)
{
    while (*most > 0 && !fly_list_empty(&conn->blocked)) {
        struct call_stream *stream = FLY_CONTAINER(conn->blocked.next, struct call_stream, node);
        *most -= 1;
        if (may_send(stream)) {
            return stream;
        }
        fly_list_drop(&stream->node);
        fly_list_append(&conn->blocked, &stream->node);
    }
    return NULL;
}

static size_t count_blocked(const struct server_conn *conn)
{
    size_t count = 0;

    for (const struct fly_list *node = conn->blocked.next; node != &conn->blocked;
         node = node->next) {
        count++;
    }
    return count;
}

void server_stream_writable_all(struct server_conn *conn)
{
    size_t most = SIZE_MAX;

    /* each once: who is refused again stands at the end of the list */
    for (;;) {
        bool tell = false;
        bool ended = false;
        rpc_link_lock(&conn->link);
        most = most == SIZE_MAX ? count_blocked(conn) : most;
        struct call_stream *stream = first_ready(conn, &most);
        struct rpc_call *call = stream != NULL ? stream->call : NULL;
        if (stream != NULL) {
            wake(stream, &tell, &ended);
        }
        rpc_link_unlock(&conn->link);
        if (call == NULL) {
            return;
        }
        wake_told(call, tell, ended);
    }
}
