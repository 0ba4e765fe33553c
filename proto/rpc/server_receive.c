/*
 * server_receive - the receiving side of streams: MSG and DONE of the client, rpc_call_next.
 *
 * A message is charged to the connection when it comes, and repaid when the application takes it or
 * nobody will: of a call that ended, it is thrown away.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/server_internal.h"
#include "proto/wire/validate.h"

/* ---- what comes ---- */

/* Under the lock: whoever waits for a message looks again. True: on_readable is to be told, and
 * the call was held for it. */
static bool wake_reader(struct call_stream *stream)
{
    bool tell = stream->starved;

    stream->starved = false;
    if (tell) {
        rpc_call_hold(stream->call);
    }
    server_stream_turn(stream);
    return tell;
}

static void told_reader(struct rpc_call *call)
{
    server_call_tell_readable(call);
    rpc_call_drop(call);
}

void server_receive_close(struct call_stream *stream)
{
    if (!stream->closed) {
        stream->closed = true;
        /* the bytes stay: a reader may have borrowed one of the messages */
        (void)rpc_link_repay(&stream->call->conn->link, stream->inbox.waiting);
    }
}

/* Under the lock: a message for this call; false: a violation. */
static bool push(struct rpc_call *call, struct fly_bytes body, bool *tell)
{
    struct call_stream *stream = call->stream;

    if ((call->entry->method->flags & RPC_CLIENT_STREAM) == 0 || stream->done) {
        return false;
    }
    switch (rpc_inbox_push(&stream->inbox, body, 0)) {
    case RPC_INBOX_OVER:
        return false;
    case RPC_INBOX_MEMORY:
        stream->unread = FLY_RESOURCE_EXHAUSTED;
        (void)rpc_link_repay(&call->conn->link, frame_credit(body.size));
        break;
    case RPC_INBOX_DONE:
        break;
    }
    *tell = wake_reader(stream);
    return true;
}

bool server_receive_message(struct server_conn *conn, const struct frame *frame)
{
    uint32_t credit = frame_credit(frame->body.size);
    bool tell = false;

    rpc_link_lock(&conn->link);
    bool fine = rpc_link_charge(&conn->link, credit);
    struct rpc_call *call = server_request_find(conn, frame->header.call_id);
    if (fine && call != NULL) {
        rpc_metrics_message(call->entry->metrics, true, frame->body.size);
        fine = push(call, frame->body, &tell);
    } else if (fine) {
        (void)rpc_link_repay(&conn->link, credit); /* of a call that has ended */
    }
    rpc_link_unlock(&conn->link);
    if (call == NULL) {
        stat_add(&conn->server->stats.stale);
        transport_flush(conn->link.transport);
    }
    if (tell) {
        told_reader(call);
    }
    return fine;
}

bool server_receive_done(struct server_conn *conn, const struct frame *frame)
{
    bool fine = true;
    bool tell = false;

    rpc_link_lock(&conn->link);
    struct rpc_call *call = server_request_find(conn, frame->header.call_id);
    if (call != NULL) {
        fine = (call->entry->method->flags & RPC_CLIENT_STREAM) != 0 && !call->stream->done;
        if (fine) {
            call->stream->done = true;
            tell = wake_reader(call->stream);
        }
    }
    rpc_link_unlock(&conn->link);
    if (call == NULL) {
        stat_add(&conn->server->stats.stale);
    }
    if (tell) {
        told_reader(call);
    }
    return fine;
}

/* ---- rpc_call_next ---- */

/* What rpc_call_next found under the lock. */
struct found {
    enum rpc_next next;
    struct fly_bytes body; /* lent by the inbox until the next take */
    uint32_t gap;
    enum fly_status status; /* of END */
    uint32_t turn;          /* where to wait when there was nothing */
    bool flush;
};

/* Under the lock. `wait`: on_readable is not wanted. */
static struct found find_next(struct call_stream *stream, bool wait)
{
    struct rpc_call *call = stream->call;
    struct rpc_link *link = &call->conn->link;
    struct frame_header window = {.type = FRAME_WINDOW, .call_id = call->id};
    struct found found = {.next = RPC_NEXT_END, .turn = stream->turn};

    if (stream->unread != FLY_OK) {
        found.status = stream->unread;
    } else if (!call->attached) {
        found.status = FLY_CANCELLED;
    } else if (rpc_inbox_take(&stream->inbox, &found.body, &found.gap, &window.arg)) {
        found.next = RPC_NEXT_MESSAGE;
        found.flush = rpc_link_repay(link, frame_credit(found.body.size));
        if (window.arg > 0 && !stream->done) {
            (void)rpc_link_put(link, window, (struct fly_bytes){0}, (struct fly_bytes){0}, true);
            found.flush = true;
        }
    } else if (!stream->done) {
        found.next = RPC_NEXT_NOTHING;
        stream->starved = stream->starved || !wait;
        stream->sleeping = stream->sleeping || wait;
    }
    return found;
}

static struct found look(struct rpc_call *call, bool wait)
{
    rpc_link_lock(&call->conn->link);
    struct found found = find_next(call->stream, wait);
    rpc_link_unlock(&call->conn->link);
    if (found.flush) {
        transport_flush(call->conn->link.transport);
    }
    return found;
}

static void fill(struct rpc_reply *reply, enum fly_status status, const char *text)
{
    reply->status = status;
    reply->sent = true;
    reply->gap = 0;
    reply->detail = (struct fly_bytes){0};
    reply->head = (struct fly_bytes){0};
    reply->trailer = (struct fly_bytes){0};
    reply->message = NULL;
    reply->memory = NULL;
    reply->head_memory = NULL;
    (void)fly_copy_string(reply->text, sizeof reply->text, text);
}

/* Unpacks what was lent; what does not parse ends the stream. */
static enum rpc_next unpack(struct rpc_call *call, struct fly_bytes body, struct rpc_reply *reply)
{
    const ProtobufCMessageDescriptor *type = call->entry->method->request;
    struct fly_error error = {.text = "out of memory for a message"};
    size_t arena_size = 0;
    enum fly_status status =
        validate_message(type, body, call->conn->server->config.arena_max, &arena_size, &error);
    void *memory = NULL;

    if (status == FLY_OK) {
        memory = malloc(arena_size);
        status = memory != NULL ? FLY_OK : FLY_RESOURCE_EXHAUSTED;
    } else {
        stat_add(&call->conn->server->stats.malformed);
        status = status == FLY_INVALID_ARGUMENT ? FLY_INTERNAL : status;
    }
    if (status != FLY_OK) {
        fill(reply, status, error.text);
        rpc_link_lock(&call->conn->link);
        call->stream->unread = status;
        rpc_link_unlock(&call->conn->link);
        return RPC_NEXT_END;
    }
    struct fly_arena arena = fly_arena_over(memory, arena_size);
    fill(reply, FLY_OK, "");
    reply->memory = memory;
    reply->message = validate_unpack(type, body, &arena);
    FLY_CHECK(reply->message != NULL); /* the validator's promise */
    return RPC_NEXT_MESSAGE;
}

static const char *words_of(enum fly_status status)
{
    switch ((unsigned)status) {
    case FLY_CANCELLED:
        return "the caller gave up or is gone";
    case FLY_DEADLINE_EXCEEDED:
        return "the deadline of the call passed";
    case FLY_OK:
        return "";
    default:
        return "a message could not be taken";
    }
}

/* Waits while there is nothing; at the end as it would say without waiting. */
static struct found wait_for_next(struct rpc_call *call, int64_t timeout_ms)
{
    int64_t until_ms = server_stream_until(call, timeout_ms);
    struct found found = look(call, true);

    while (found.next == RPC_NEXT_NOTHING && fly_clock_boot_ms() < until_ms) {
        server_stream_wait(call->stream, found.turn, until_ms);
        found = look(call, true);
    }
    if (found.next == RPC_NEXT_NOTHING) {
        found = look(call, false);
    }
    if (found.next == RPC_NEXT_NOTHING && call->deadline_ms != 0 &&
        fly_clock_boot_ms() >= call->deadline_ms) {
        found.next = RPC_NEXT_END;
        found.status = FLY_DEADLINE_EXCEEDED;
    }
    return found;
}

enum rpc_next rpc_call_next(struct rpc_call *call, int64_t timeout_ms, struct rpc_reply *message)
{
    FLY_CHECK((call->entry->method->flags & RPC_CLIENT_STREAM) != 0);
    struct found found = look(call, timeout_ms != 0);

    if (found.next == RPC_NEXT_NOTHING && timeout_ms != 0) {
        found = wait_for_next(call, timeout_ms);
    }
    if (found.next == RPC_NEXT_MESSAGE) {
        enum rpc_next next = unpack(call, found.body, message);
        message->gap = found.gap;
        return next;
    }
    fill(message, found.next == RPC_NEXT_END ? found.status : FLY_OK,
         found.next == RPC_NEXT_END ? words_of(found.status) : "");
    return found.next;
}
