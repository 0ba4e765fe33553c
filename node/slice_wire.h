/*
 * slice_wire - the calls between an edge and an owner as protobuf: placement.h on the wire.
 *
 * Filling borrows: a message points into the call or answer it was filled from. Reading is strict:
 * what a node sends is checked field by field before an owner sees it, and a reply before a launch
 * does. No IO; the texts of replies are interned, because an answer's text outlives its reply.
 */
#ifndef FLY_NODE_SLICE_WIRE_H
#define FLY_NODE_SLICE_WIRE_H

#include "fly/v1/slice.pb-c.h"
#include "node/answer.h"
#include "proto/base/status.h"
#include "proto/wire/placement.h"
#include "proto/wire/token.h"

struct slice_call_message {
    Fly__V1__SliceCallRequest pb;
    Fly__V1__HoldId hold;
    Fly__V1__HoldId replaces;
};

struct slice_answer_message {
    Fly__V1__SliceCallReply pb;
    Fly__V1__HoldId hold;
    Fly__V1__SliceRoom room;
    struct vm_message vm;
};

/* token_hash NULL: none. */
void slice_call_fill(struct slice_call_message *m, uint32_t slice, const struct owner_call *call,
                     const uint8_t *token_hash);
/* INVALID_ARGUMENT names the field. The ticket is 0; a MACHINE call is refused: it never travels.
 */
enum fly_status slice_call_read(const Fly__V1__SliceCallRequest *pb, struct owner_call *out,
                                struct fly_error *error);

void slice_answer_fill(struct slice_answer_message *m, const struct owner_answer *answer);
/* INVALID_ARGUMENT: not an answer to a call of this kind. */
enum fly_status slice_answer_read(const Fly__V1__SliceCallReply *pb, enum owner_call_kind kind,
                                  struct owner_answer *out, struct fly_error *error);

/* A VM as another node told it. */
enum fly_status vm_read(const Fly__V1__Vm *pb, struct vm *out, struct fly_error *error);

/* The same words, kept for ever: at most 256 different ones, then a general text. */
const char *text_intern(const char *text);

#endif
