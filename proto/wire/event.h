/*
 * event - the wire form of a slice's numbered events: one event, a range of them, the states they
 * lead to, a heartbeat.
 *
 * msgpack maps with small integer keys in strictly ascending order; a field that is zero or empty
 * is left out; a reader skips keys it does not know, so the form can grow. An event's body carries
 * neither slice nor incarnation: the range around it does. Bodies are therefore kept encoded in the
 * owner's retention ring and a message is a head followed by bodies, copied or gathered.
 *
 *   body       {1 seq, 2 type, 3 time_ms, 4 vm, 5 name, 6 machine, 7 region, 8 cores,
 *               9 memory_bytes, 10 state, 11 machine_cores_free, 12 machine_memory_free_bytes}
 *   machine    {1 name, 2 region, 3 cores, 4 memory_bytes, 5 cores_free, 6 memory_free_bytes,
 *               7 cordoned, 8 removed}
 *   EVENTS     {0: 1, 1 slice, 2 incarnation, 3 from, 4 to, 5 [body, ...]}   to - from + 1 bodies
 *   STATE      {0: 2, 1 slice, 2 incarnation, 3 from, 4 to, 5 [machine, ...]}
 *   HEARTBEAT  {0: 3, 1 slice, 2 incarnation, 4 to}
 *
 * STATE stands for the events from..to where one tick holds very many: each machine that they
 * changed, once, as it is after `to`. A catalog needs no more; a watcher needs the events and asks
 * for a replay.
 *
 * Reading allocates nothing, follows no nesting below a fixed depth and believes no count that the
 * remaining bytes cannot hold. Source: github.com/msgpack/msgpack spec.md; DESIGN 6. Pure.
 */
#ifndef FLY_WIRE_EVENT_H
#define FLY_WIRE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum {
    EVENT_NAME_SIZE = 64,            /* with the NUL */
    EVENT_REGION_SIZE = 16,          /* with the NUL */
    EVENT_BODY_BYTES_MAX = 256,      /* no encoded body is larger */
    EVENT_HEAD_BYTES_MAX = 48,       /* head of EVENTS or STATE, or a whole HEARTBEAT */
    EVENT_RANGE_MAX = 65536,         /* events or machines in one message */
    EVENT_STATE_RANGE_MAX = 1 << 20, /* events that one STATE stands for */
    EVENT_MESSAGE_BYTES_MAX = 1 << 20,
};

/* Values of `type`; equal fly.v1.EventType. A newer node may send others: they are handed on, and a
 * reader that does not know one advances its cursor and changes nothing else. */
enum event_type {
    EVENT_MACHINE_ADDED = 1,
    EVENT_MACHINE_RESIZED = 2,
    EVENT_MACHINE_REMOVED = 3,
    EVENT_VM_STARTED = 4,
    EVENT_VM_DESTROYED = 5,
    EVENT_MACHINE_CORDONED = 6,   /* takes no new VMs; those it has stay. The type says it all: */
    EVENT_MACHINE_UNCORDONED = 7, /* `state` is 0, cores and memory are the machine's, free too */
};

/* One change of a slice. Values are absolute, never differences; what does not apply is 0 or "". */
struct event {
    uint32_t slice; /* tag, 24 bits */
    uint64_t incarnation;
    uint64_t seq;  /* ≥ 1 */
    uint8_t type;  /* enum event_type; never 0 */
    uint8_t state; /* fly.v1.VmState, for VM events */
    int64_t time_ms;
    uint64_t vm;
    char name[EVENT_NAME_SIZE]; /* of the VM */
    char machine[EVENT_NAME_SIZE];
    char region[EVENT_REGION_SIZE];
    uint32_t cores; /* of the VM, or of the machine for machine events */
    uint64_t memory_bytes;
    uint32_t machine_cores_free; /* after the change */
    uint64_t machine_memory_free_bytes;
};

/* Encodes the body; returns its size in bytes. Own mistakes are FLY_CHECKed: seq and type 0, text
 * that is not terminated or not printable ASCII. */
size_t event_encode(const struct event *event, uint8_t out[static EVENT_BODY_BYTES_MAX]);

/* Decodes exactly one body of `size` bytes that stood in a message of this slice and incarnation.
 * INVALID_ARGUMENT leaves *out as it was. */
enum fly_status event_decode(const void *data, size_t size, uint32_t slice, uint64_t incarnation,
                             struct event *out, struct fly_error *error);

/* The head of an EVENTS message; the bodies of from..to (1 ≤ from ≤ to, at most EVENT_RANGE_MAX)
 * follow it without anything between. Returns its size. */
size_t event_head_encode(uint32_t slice, uint64_t incarnation, uint64_t from, uint64_t to,
                         uint8_t out[static EVENT_HEAD_BYTES_MAX]);

/* One machine as it is now; removed: it is gone, and only its name counts. */
struct event_machine {
    char name[EVENT_NAME_SIZE];
    char region[EVENT_REGION_SIZE];
    uint32_t cores;
    uint32_t cores_free;
    uint64_t memory_bytes;
    uint64_t memory_free_bytes;
    bool cordoned;
    bool removed;
};

/* Encodes one machine; returns its size in bytes. Own mistakes as event_encode: no name, text. */
size_t event_machine_encode(const struct event_machine *machine,
                            uint8_t out[static EVENT_BODY_BYTES_MAX]);

/* The head of a STATE message for from..to (at most EVENT_STATE_RANGE_MAX events); `count` machines
 * (1..EVENT_RANGE_MAX) follow it without anything between. Returns its size. */
size_t event_state_head_encode(uint32_t slice, uint64_t incarnation, uint64_t from, uint64_t to,
                               uint32_t count, uint8_t out[static EVENT_HEAD_BYTES_MAX]);

/* A whole HEARTBEAT: the slice's last seq is `to` (0: none yet). Returns its size. */
size_t event_heartbeat_encode(uint32_t slice, uint64_t incarnation, uint64_t to,
                              uint8_t out[static EVENT_HEAD_BYTES_MAX]);

enum event_form { EVENT_FORM_EVENTS = 1, EVENT_FORM_STATE = 2, EVENT_FORM_HEARTBEAT = 3 };

/* A decoded message; borrows the bytes it was decoded from. */
struct event_message {
    enum event_form form;
    uint32_t slice;
    uint64_t incarnation;
    uint64_t from; /* 0 in a heartbeat */
    uint64_t to;
    struct fly_reader bodies; /* private to event_message_next and _next_machine */
    uint64_t left;            /* bodies or machines */
};

/* Accepts a message whole, every body and machine looked at and each seq in place, or not at all:
 * then *out is as it was. INVALID_ARGUMENT; UNIMPLEMENTED for a form of a newer node. */
enum fly_status event_message_decode(const void *data, size_t size, struct event_message *out,
                                     struct fly_error *error);

/* The next event of an accepted message, in order; false at the end and in other forms. */
bool event_message_next(struct event_message *message, struct event *out);
/* The next machine of an accepted STATE; false at the end and in other forms. */
bool event_message_next_machine(struct event_message *message, struct event_machine *out);

#endif
