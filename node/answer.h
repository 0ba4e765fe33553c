/*
 * answer - how the edge says things: VMs, events and regions as messages, refusals with their
 * reason, their words and what to do.
 *
 * A message struct here carries the texts that its protobuf form points to: it must outlive the
 * reply. Shell (it answers rpc calls).
 */
#ifndef FLY_NODE_ANSWER_H
#define FLY_NODE_ANSWER_H

#include <stdbool.h>

#include "fly/v1/common.pb-c.h"
#include "node/catalog/catalog.h"
#include "proto/base/log.h"
#include "proto/rpc/server.h"
#include "proto/wire/event.h"
#include "proto/wire/placement.h"
#include "proto/wire/vmid.h"

enum { SLICE_TEXT_SIZE = 7 };

struct vm_message {
    Fly__V1__Vm pb;
    char id[VMID_TEXT_SIZE];
    char slice[SLICE_TEXT_SIZE];
    struct vm vm;
};

struct event_message_pb {
    Fly__V1__Event pb;
    char id[VMID_TEXT_SIZE];
    char slice[SLICE_TEXT_SIZE];
    struct event event;
};

enum { REGION_TAGS_MAX = 512 };

struct region_tags {
    Fly__V1__RegionTag pb[REGION_TAGS_MAX];
    Fly__V1__RegionTag *pointers[REGION_TAGS_MAX];
    size_t count;
};

/* Why a call is not done. */
struct refusal {
    enum fly_status status;
    Fly__V1__Reason reason;
    bool retryable;
    char message[320];
    char hint[320];
    const struct region_tags *tags; /* may be NULL */
    char leader[33];                /* NOT_LEADER: who does lead; empty: not known */
};

/* Writes a line about a call (NULL: about none) into the log, with the trace that it belongs to, if
 * any. At most CALL_FIELDS_MAX fields. */
enum { CALL_FIELDS_MAX = 8 };
void call_log(enum fly_log_level level, const char *event, const struct fly_field *fields,
              size_t count, const struct rpc_call *call);
/* Copies *vm into the message. */
void vm_message_fill(struct vm_message *m, const struct vm *vm);
void event_message_fill(struct event_message_pb *m, const struct event *event);
/* Slices with machines per region: of one region, or of all (NULL). Texts are the catalog's. */
void region_tags_fill(struct region_tags *out, const struct catalog *c, const char *region);
/* "0a1b2c": a slice as people see it. */
void slice_format(uint32_t tag, char out[static SLICE_TEXT_SIZE]);
/* Fills the message; status, reason, retryable and tags are the caller's. */
__attribute__((format(printf, 5, 6))) void refusal_set(struct refusal *r, enum fly_status status,
                                                       Fly__V1__Reason reason, bool retryable,
                                                       const char *format, ...);
/* Ends the call with it. */
void refusal_send(struct rpc_call *call, const struct refusal *r);
/* Ends with it a call of which nothing was done: the caller is told that too. */
void refusal_turn_away(struct rpc_call *call, const struct refusal *r);
/* Packs the Refusal message into out[max]; the packed size, 0 when it does not fit. */
size_t refusal_pack(const struct refusal *r, uint8_t *out, size_t max);

#endif
