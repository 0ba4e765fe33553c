/*
 * frame - the envelope of RPC: preface, frame header, and what REQ and END carry beside a message.
 *
 * Every connection starts with a 44-byte preface each way, then frames, each behind a 16-byte
 * little-endian header. docs/PROTOCOL.md draws them. Nothing here looks into messages; every
 * length is checked before the bytes behind it are awaited or touched. Pure, no allocation.
 */
#ifndef FLY_WIRE_FRAME_H
#define FLY_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum {
    FRAME_VERSION = 2,
    FRAME_PREFACE_SIZE = 44,
    FRAME_NONCE_SIZE = 16,
    FRAME_HEADER_SIZE = 16,
    FRAME_SIZE_MIN = 32 * 1024,   /* every side takes at least such frames: any refusal fits */
    FRAME_SIZE_MAX = 4 << 20,     /* and never larger ones */
    FRAME_TEXT_MAX = 1024,        /* the words in END and GOAWAY */
    FRAME_DETAIL_MAX = 16 * 1024, /* the detail bytes in END */
    FRAME_HELLO_MAX = 32 * 1024,  /* HELLO's body, of either side */
    FRAME_TRACE_SIZE = 24,
    FRAME_REQ_META_SIZE = 4,       /* timeout; then trace and metadata, when their flags are set */
    FRAME_METADATA_MAX = 8 * 1024, /* encoded entries: of REQ, HEAD, END (proto/wire/metadata.h) */
    FRAME_SLOT_BITS = 20,          /* call id = generation << 20 | slot */
    FRAME_GENERATION_BITS = 12,
};

enum frame_type {
    FRAME_VOID = 0,   /* skipped: a request withdrawn before it was sent */
    FRAME_HELLO = 1,  /* body: who the client is; from the server: the answer, accepted */
    FRAME_REQ = 2,    /* arg: method hash; meta: timeout, trace; body: the request */
    FRAME_MSG = 3,    /* body: one message of a stream, of either side */
    FRAME_END = 4,    /* arg: status; OK: body is the reply; else meta: text, body: detail */
    FRAME_CANCEL = 5, /* the client gave up; END still answers it */
    FRAME_WINDOW =
        6,          /* arg: so many more bytes of MSG frames may come, of the call; of all: id 0 */
    FRAME_PING = 7, /* arg: echoed by PONG */
    FRAME_PONG = 8,
    /* No new calls, please; meta: text. arg: a REQ that ends behind this byte of what the client
     * sent (counted from the preface on, low 32 bits) was not and will not be executed. */
    FRAME_GOAWAY = 9,
    FRAME_HEAD = 10, /* from the server, before the call's first MSG: meta: its initial metadata */
    FRAME_DONE = 11, /* from the client: no more MSG of this call */
    FRAME_TYPE_COUNT = 12,
};

enum frame_flag {
    FRAME_FLAG_TRACE = 1 << 0,        /* REQ: meta holds a trace */
    FRAME_FLAG_NOT_EXECUTED = 1 << 1, /* END: nothing was done for the call */
    FRAME_FLAG_METADATA = 1 << 2,     /* REQ, END: meta holds metadata entries */
    FRAME_FLAG_STREAMING = 1 << 3,    /* REQ: no body; the requests follow as MSG, then DONE */
    FRAME_FLAG_GAP = 1 << 4,          /* MSG: arg messages were dropped just before this one */
};

/* W3C Trace Context: trace-id and parent-id. All zero: none. */
struct frame_trace {
    uint8_t trace_id[16];
    uint8_t span_id[8];
};

struct frame_preface {
    uint16_t version;
    uint32_t frame_max;   /* the largest frame, header excluded, that the sender of this takes */
    uint32_t calls_max;   /* server: calls in flight it takes; client: 0 */
    uint32_t window;      /* bytes of MSG frames that each call may send to this side at first */
    uint32_t conn_window; /* the same for all calls of the connection together */
    uint8_t nonce[FRAME_NONCE_SIZE]; /* random, of this connection: HELLO's proofs cover both */
};

struct frame_header {
    uint32_t size; /* bytes behind the header: meta, then body */
    uint8_t type;
    uint8_t flags;
    uint16_t meta_size;
    uint32_t call_id; /* 0 where the frame is about the connection */
    uint32_t arg;
};

/* One frame in somebody's buffer. */
struct frame {
    struct frame_header header;
    struct fly_bytes meta;
    struct fly_bytes body;
};

struct frame_request {
    uint32_t timeout_ms; /* 0: none */
    struct frame_trace trace;
    struct fly_bytes metadata; /* encoded entries, unchecked; may be empty */
};

/* What stands in END's meta. */
struct frame_end {
    struct fly_bytes text;     /* ≤ FRAME_TEXT_MAX; empty when OK */
    struct fly_bytes metadata; /* the trailing entries, unchecked; may be empty */
};

bool frame_trace_present(const struct frame_trace *trace);

void frame_preface_encode(const struct frame_preface *preface,
                          uint8_t out[static FRAME_PREFACE_SIZE]);
/* FLY_UNAVAILABLE: not our protocol or version; FLY_INVALID_ARGUMENT: limits that make no sense.
 * The text is for a person. */
enum fly_status frame_preface_decode(const uint8_t in[static FRAME_PREFACE_SIZE],
                                     struct frame_preface *out, struct fly_error *error);

/* Whether data[size] is the start of a preface: garbage shows before the whole has come. */
bool frame_preface_begins(const uint8_t *data, size_t size);

void frame_header_encode(const struct frame_header *header, uint8_t out[static FRAME_HEADER_SIZE]);

enum frame_step {
    FRAME_READY, /* *frame is the next one: *used bytes of the buffer */
    FRAME_SHORT, /* *used bytes are needed in all, as far as is known yet */
    FRAME_BAD,   /* no frame of ours: its type, or sizes that its type cannot have */
    FRAME_LARGE, /* over size_max */
};

/* Looks for one frame at the start of data[size]. O(1), copies nothing. */
enum frame_step frame_next(const uint8_t *data, size_t size, uint32_t size_max, struct frame *frame,
                           size_t *used);

enum {
    FRAME_REQ_META_MAX = FRAME_REQ_META_SIZE + FRAME_TRACE_SIZE + FRAME_METADATA_MAX,
    FRAME_END_META_MAX = 2 + FRAME_TEXT_MAX + FRAME_METADATA_MAX,
};

/* The fixed part of a REQ's meta: 4 or 28 bytes; sets FRAME_FLAG_TRACE, and FRAME_FLAG_METADATA
 * when there are entries, which the caller puts behind it. */
size_t frame_request_encode(const struct frame_request *request, uint8_t *flags,
                            uint8_t out[static FRAME_REQ_META_SIZE + FRAME_TRACE_SIZE]);
/* False when the meta is too short for its flags, or its metadata over FRAME_METADATA_MAX. Without
 * FRAME_FLAG_METADATA, bytes behind what is known are left alone. */
bool frame_request_decode(const struct frame *frame, struct frame_request *out);

/* END's meta, up to FRAME_END_META_MAX: with entries it is [u16 size of text, text, entries] and
 * FRAME_FLAG_METADATA is set, without it is the text alone. */
size_t frame_end_encode(const struct frame_end *end, uint8_t *flags,
                        uint8_t out[static FRAME_END_META_MAX]);
/* False when the sizes do not fit. */
bool frame_end_decode(const struct frame *frame, struct frame_end *out);

/* What one MSG takes of a stream's credit: its header counts, or empty messages would be free. */
static inline uint32_t frame_credit(size_t body_size)
{
    return (uint32_t)body_size + FRAME_HEADER_SIZE;
}

static inline uint32_t frame_call_id(uint32_t slot, uint32_t generation)
{
    return generation << FRAME_SLOT_BITS | slot;
}

static inline uint32_t frame_call_slot(uint32_t call_id)
{
    return call_id & ((1U << FRAME_SLOT_BITS) - 1);
}

#endif
