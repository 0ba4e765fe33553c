/*
 * reply - filling, moving and freeing struct rpc_reply.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/channel_internal.h"
#include "proto/wire/validate.h"

void reply_set(struct rpc_reply *reply, enum fly_status status, bool sent, const char *text,
               size_t text_size)
{
    text_size = text_size < sizeof reply->text ? text_size : sizeof reply->text - 1;
    reply->status = status;
    reply->sent = sent;
    reply->gap = 0;
    reply->detail = (struct fly_bytes){0};
    reply->head = (struct fly_bytes){0};
    reply->trailer = (struct fly_bytes){0};
    reply->message = NULL;
    reply->memory = NULL;
    reply->head_memory = NULL;
    if (text_size > 0) {
        memcpy(reply->text, text, text_size);
    }
    reply->text[text_size] = '\0';
}

static void take_detail(struct rpc_reply *reply, struct fly_bytes detail)
{
    reply->memory = detail.size > 0 ? malloc(detail.size) : NULL;
    if (reply->memory != NULL) {
        memcpy(reply->memory, detail.data, detail.size);
        reply->detail = (struct fly_bytes){reply->memory, detail.size};
    }
}

void reply_from_message(struct rpc_reply *reply, const struct rpc_method *method,
                        struct fly_bytes bytes)
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
    void *memory = malloc(arena_size);
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
}

void reply_from_end(struct rpc_reply *reply, const struct rpc_method *method,
                    const struct frame *frame)
{
    enum fly_status status = fly_status_from_wire(frame->header.arg);
    bool executed = (frame->header.flags & FRAME_FLAG_NOT_EXECUTED) == 0;

    if (status != FLY_OK) {
        reply_set(reply, status, executed, (const char *)frame->meta.data, frame->meta.size);
        take_detail(reply, frame->body);
    } else if (method != NULL && (method->flags & RPC_STREAM) == 0) {
        reply_from_message(reply, method, frame->body);
    } else {
        reply_set(reply, FLY_OK, true, NULL, 0);
    }
}

void reply_copy(struct rpc_reply *to, const struct rpc_reply *from)
{
    FLY_CHECK(from->message == NULL);
    reply_set(to, from->status, from->sent, from->text, strlen(from->text));
    take_detail(to, from->detail);
}

void rpc_reply_fini(struct rpc_reply *reply)
{
    free(reply->memory);
    reply->memory = NULL;
    reply->message = NULL;
    reply->detail = (struct fly_bytes){0};
}

void rpc_reply_move(struct rpc_reply *to, struct rpc_reply *from)
{
    reply_set(to, from->status, from->sent, from->text, strlen(from->text));
    to->detail = from->detail;
    to->message = from->message;
    to->memory = from->memory;
    from->memory = NULL;
    rpc_reply_fini(from);
}
