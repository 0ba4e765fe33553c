/*
 * reply - what came of a call, or of taking one message of a stream: both sides' common shape.
 */
#ifndef FLY_RPC_REPLY_H
#define FLY_RPC_REPLY_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/wire/frame.h"

enum { RPC_TEXT_SIZE = FRAME_TEXT_MAX + 1 };

/* How a call ended, or one message of a stream. Owns its memory: rpc_reply_fini. */
struct rpc_reply {
    enum fly_status status;
    /* false: certainly not executed. The request never left this process, or the server said that
     * it turned it away before anything was done. */
    bool sent;
    uint32_t gap;                    /* streams: so many messages were dropped before this one */
    char text[RPC_TEXT_SIZE];        /* for a person; empty when OK */
    struct fly_bytes detail;         /* a packed fly.v1.Refusal, or whatever the server said */
    struct fly_bytes head;           /* initial metadata: encoded entries, or empty */
    struct fly_bytes trailer;        /* trailing metadata */
    const ProtobufCMessage *message; /* of the method's reply type; NULL unless OK */
    void *memory;                    /* where message, detail and trailer live */
    void *head_memory;
};

enum rpc_next {
    RPC_NEXT_MESSAGE, /* reply->message is the next one */
    RPC_NEXT_NOTHING, /* none within the timeout; the stream goes on */
    RPC_NEXT_END,     /* no more: reply->status says how; said again by every further call */
};

/* Frees what a reply owns; a zeroed or finished one is fine. */
void rpc_reply_fini(struct rpc_reply *reply);
/* Hands a reply's memory over; `from` is left finished. */
void rpc_reply_move(struct rpc_reply *to, struct rpc_reply *from);

#endif
