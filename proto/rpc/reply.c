/*
 * reply - filling, moving and freeing struct rpc_reply.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/channel_internal.h"
#include "proto/wire/metadata.h"
#include "proto/wire/validate.h"

static const struct fly_bytes nothing;

void reply_set(struct rpc_reply *reply, enum fly_status status, bool sent, const char *text,
               size_t text_size)
{
    text_size = text_size < sizeof reply->text ? text_size : sizeof reply->text - 1;
    reply->status = status;
    reply->sent = sent;
    reply->gap = 0;
    reply->detail = nothing;
    reply->head = nothing;
    reply->trailer = nothing;
    reply->message = NULL;
    reply->memory = NULL;
    reply->head_memory = NULL;
    if (text_size > 0) {
        memcpy(reply->text, text, text_size);
    }
    reply->text[text_size] = '\0';
}

/* Copies to *at, which advances. */
static struct fly_bytes put_copy(uint8_t **at, struct fly_bytes bytes)
{
    struct fly_bytes copy = {*at, bytes.size};

    if (bytes.size == 0) {
        return nothing;
    }
    memcpy(*at, bytes.data, bytes.size);
    *at += bytes.size;
    return copy;
}

static void take_copies(struct rpc_reply *reply, struct fly_bytes detail, struct fly_bytes trailer)
{
    size_t size = detail.size + trailer.size;
    uint8_t *at = size > 0 ? malloc(size) : NULL;

    reply->memory = at;
    if (at != NULL) {
        reply->detail = put_copy(&at, detail);
        reply->trailer = put_copy(&at, trailer);
    }
}

void reply_add_head(struct rpc_reply *reply, struct fly_bytes entries)
{
    uint8_t *at = entries.size > 0 ? malloc(entries.size) : NULL;

    FLY_CHECK(reply->head_memory == NULL);
    reply->head_memory = at;
    if (at != NULL) {
        reply->head = put_copy(&at, entries);
    }
}

void reply_from_message(struct rpc_reply *reply, const struct rpc_method *method,
                        struct fly_bytes bytes, struct fly_bytes trailer)
{
    struct fly_error error;
    size_t arena_size = 0;
    enum fly_status status =
        validate_message(method->reply, bytes, REPLY_ARENA_MAX, &arena_size, &error);

    if (status != FLY_OK) {
        status = status == FLY_INVALID_ARGUMENT ? FLY_INTERNAL : status;
        reply_set(reply, status, true, error.text, strlen(error.text));
        return;
    }
    uint8_t *memory = malloc(arena_size + trailer.size);
    if (memory == NULL) {
        static const char words[] = "out of memory for the reply";
        reply_set(reply, FLY_RESOURCE_EXHAUSTED, true, words, sizeof words - 1);
        return;
    }
    struct fly_arena arena = fly_arena_over(memory, arena_size);
    reply_set(reply, FLY_OK, true, NULL, 0);
    reply->memory = memory;
    reply->message = validate_unpack(method->reply, bytes, &arena);
    FLY_CHECK(reply->message != NULL); /* the validator's promise */
    memory += arena_size;
    reply->trailer = put_copy(&memory, trailer);
}

void reply_from_end(struct rpc_reply *reply, const struct rpc_method *method,
                    const struct frame *frame)
{
    enum fly_status status = fly_status_from_wire(frame->header.arg);
    bool executed = (frame->header.flags & FRAME_FLAG_NOT_EXECUTED) == 0;
    struct frame_end end;

    if (!frame_end_decode(frame, &end) ||
        (end.metadata.size > 0 && metadata_check(end.metadata, NULL) != FLY_OK)) {
        static const char words[] = "the server's trailing metadata is malformed";
        reply_set(reply, FLY_INTERNAL, executed, words, sizeof words - 1);
    } else if (status != FLY_OK) {
        reply_set(reply, status, executed, (const char *)end.text.data, end.text.size);
        take_copies(reply, frame->body, end.metadata);
    } else if (method != NULL && (method->flags & RPC_STREAM) == 0) {
        reply_from_message(reply, method, frame->body, end.metadata);
    } else {
        reply_set(reply, FLY_OK, true, NULL, 0);
        take_copies(reply, nothing, end.metadata);
    }
}

void reply_copy(struct rpc_reply *to, const struct rpc_reply *from)
{
    FLY_CHECK(from->message == NULL);
    reply_set(to, from->status, from->sent, from->text, strlen(from->text));
    take_copies(to, from->detail, from->trailer);
}

void rpc_reply_fini(struct rpc_reply *reply)
{
    free(reply->memory);
    free(reply->head_memory);
    reply->memory = NULL;
    reply->head_memory = NULL;
    reply->message = NULL;
    reply->detail = nothing;
    reply->head = nothing;
    reply->trailer = nothing;
}

void rpc_reply_move(struct rpc_reply *to, struct rpc_reply *from)
{
    reply_set(to, from->status, from->sent, from->text, strlen(from->text));
    to->gap = from->gap;
    to->detail = from->detail;
    to->head = from->head;
    to->trailer = from->trailer;
    to->message = from->message;
    to->memory = from->memory;
    to->head_memory = from->head_memory;
    from->memory = NULL;
    from->head_memory = NULL;
    rpc_reply_fini(from);
}
