#include "proto/wire/frame.h"

#include <string.h>

#include "proto/base/check.h"

static const uint8_t magic[8] = {0x89, 'F', 'L', 'Y', 'R', 'P', 'C', '\n'};

bool frame_trace_present(const struct frame_trace *trace)
{
    static const struct frame_trace none;

    return memcmp(trace, &none, sizeof none) != 0;
}

void frame_preface_encode(const struct frame_preface *preface,
                          uint8_t out[static FRAME_PREFACE_SIZE])
{
    struct fly_writer w = fly_writer_over(out, FRAME_PREFACE_SIZE);

    fly_put_bytes(&w, magic, sizeof magic);
    fly_put_u16(&w, preface->version);
    fly_put_u16(&w, 0);
    fly_put_u32(&w, preface->frame_max);
    fly_put_u32(&w, preface->calls_max);
    fly_put_u32(&w, preface->window);
    fly_put_u32(&w, preface->conn_window);
    fly_put_bytes(&w, preface->nonce, sizeof preface->nonce);
    FLY_CHECK(!w.failed && w.size == FRAME_PREFACE_SIZE);
}

enum fly_status frame_preface_decode(const uint8_t in[static FRAME_PREFACE_SIZE],
                                     struct frame_preface *out, struct fly_error *error)
{
    struct fly_reader r = fly_reader_over(in, FRAME_PREFACE_SIZE);
    const uint8_t *start = fly_get_bytes(&r, sizeof magic);
    struct frame_preface preface;

    if (memcmp(start, magic, sizeof magic) != 0) {
        return fly_error_set(error, FLY_UNAVAILABLE, "the other side does not speak Flylight RPC");
    }
    preface.version = fly_get_u16(&r);
    (void)fly_get_u16(&r);
    preface.frame_max = fly_get_u32(&r);
    preface.calls_max = fly_get_u32(&r);
    preface.window = fly_get_u32(&r);
    preface.conn_window = fly_get_u32(&r);
    fly_get_copy(&r, preface.nonce, sizeof preface.nonce);
    if (preface.version != FRAME_VERSION) {
        return fly_error_set(error, FLY_UNAVAILABLE,
                             "the other side speaks RPC version %u, this one %u", preface.version,
                             FRAME_VERSION);
    }
    if (preface.frame_max < FRAME_SIZE_MIN || preface.frame_max > FRAME_SIZE_MAX ||
        preface.calls_max > 1U << FRAME_SLOT_BITS || preface.window > INT32_MAX ||
        preface.conn_window > INT32_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "the other side's limits make no sense");
    }
    *out = preface;
    return FLY_OK;
}

bool frame_preface_begins(const uint8_t *data, size_t size)
{
    return memcmp(data, magic, size < sizeof magic ? size : sizeof magic) == 0;
}

void frame_header_encode(const struct frame_header *header, uint8_t out[static FRAME_HEADER_SIZE])
{
    fly_store_u32(out, header->size);
    out[4] = header->type;
    out[5] = header->flags;
    out[6] = (uint8_t)header->meta_size;
    out[7] = (uint8_t)(header->meta_size >> 8);
    fly_store_u32(out + 8, header->call_id);
    fly_store_u32(out + 12, header->arg);
}

static struct frame_header header_decode(const uint8_t *in)
{
    return (struct frame_header){
        .size = fly_load_u32(in),
        .type = in[4],
        .flags = in[5],
        .meta_size = (uint16_t)(in[6] | in[7] << 8),
        .call_id = fly_load_u32(in + 8),
        .arg = fly_load_u32(in + 12),
    };
}

/* Whether a frame of this type may have these sizes, and be about a call or the connection. */
static bool header_sound(const struct frame_header *h)
{
    uint32_t body_size = h->size - h->meta_size;
    bool whole = h->call_id == 0; /* about the connection */

    if (h->meta_size > h->size || h->type >= FRAME_TYPE_COUNT) {
        return false;
    }
    switch ((enum frame_type)h->type) {
    case FRAME_VOID:
        return true;
    case FRAME_HELLO:
        return whole && h->meta_size == 0 && body_size <= FRAME_HELLO_MAX;
    case FRAME_REQ:
        return !whole && h->meta_size >= FRAME_REQ_META_SIZE &&
               ((h->flags & FRAME_FLAG_STREAMING) == 0 || body_size == 0);
    case FRAME_MSG:
        return !whole && h->meta_size == 0;
    case FRAME_END:
        if (h->arg == FLY_OK) {
            return !whole && (h->meta_size == 0 || (h->flags & FRAME_FLAG_METADATA) != 0) &&
                   h->meta_size <= FRAME_END_META_MAX;
        }
        return h->meta_size <= FRAME_END_META_MAX && body_size <= FRAME_DETAIL_MAX;
    case FRAME_CANCEL:
    case FRAME_DONE:
        return !whole && h->size == 0;
    case FRAME_HEAD:
        return !whole && body_size == 0 && h->meta_size <= FRAME_METADATA_MAX;
    case FRAME_WINDOW:
        return h->size == 0 && h->arg > 0 && h->arg <= INT32_MAX;
    case FRAME_PING:
    case FRAME_PONG:
        return whole && h->size == 0;
    case FRAME_GOAWAY:
        return whole && body_size == 0 && h->meta_size <= FRAME_TEXT_MAX;
    case FRAME_TYPE_COUNT:
        break;
    }
    return false;
}

enum frame_step frame_next(const uint8_t *data, size_t size, uint32_t size_max, struct frame *frame,
                           size_t *used)
{
    *used = FRAME_HEADER_SIZE;
    if (size < FRAME_HEADER_SIZE) {
        return FRAME_SHORT;
    }
    struct frame_header header = header_decode(data);
    if (header.size > size_max) {
        return FRAME_LARGE;
    }
    if (!header_sound(&header)) {
        return FRAME_BAD;
    }
    *used = FRAME_HEADER_SIZE + (size_t)header.size;
    if (size < *used) {
        return FRAME_SHORT;
    }
    frame->header = header;
    frame->meta = (struct fly_bytes){data + FRAME_HEADER_SIZE, header.meta_size};
    frame->body = (struct fly_bytes){data + FRAME_HEADER_SIZE + header.meta_size,
                                     header.size - header.meta_size};
    return FRAME_READY;
}

size_t frame_request_encode(const struct frame_request *request, uint8_t *flags,
                            uint8_t out[static FRAME_REQ_META_SIZE + FRAME_TRACE_SIZE])
{
    struct fly_writer w = fly_writer_over(out, FRAME_REQ_META_SIZE + FRAME_TRACE_SIZE);

    fly_put_u32(&w, request->timeout_ms);
    if (frame_trace_present(&request->trace)) {
        *flags |= FRAME_FLAG_TRACE;
        fly_put_bytes(&w, request->trace.trace_id, sizeof request->trace.trace_id);
        fly_put_bytes(&w, request->trace.span_id, sizeof request->trace.span_id);
    }
    if (request->metadata.size > 0) {
        *flags |= FRAME_FLAG_METADATA;
    }
    return w.size;
}

bool frame_request_decode(const struct frame *frame, struct frame_request *out)
{
    struct fly_reader r = fly_reader_over(frame->meta.data, frame->meta.size);

    memset(out, 0, sizeof *out);
    out->timeout_ms = fly_get_u32(&r);
    if ((frame->header.flags & FRAME_FLAG_TRACE) != 0) {
        fly_get_copy(&r, out->trace.trace_id, sizeof out->trace.trace_id);
        fly_get_copy(&r, out->trace.span_id, sizeof out->trace.span_id);
    }
    if ((frame->header.flags & FRAME_FLAG_METADATA) != 0) {
        out->metadata.size = fly_reader_left(&r);
        out->metadata.data = fly_get_bytes(&r, out->metadata.size);
    }
    return !r.failed && out->metadata.size <= FRAME_METADATA_MAX;
}

size_t frame_end_encode(const struct frame_end *end, uint8_t *flags,
                        uint8_t out[static FRAME_END_META_MAX])
{
    struct fly_writer w = fly_writer_over(out, FRAME_END_META_MAX);

    FLY_CHECK(end->text.size <= FRAME_TEXT_MAX && end->metadata.size <= FRAME_METADATA_MAX);
    if (end->metadata.size > 0) {
        *flags |= FRAME_FLAG_METADATA;
        fly_put_u16(&w, (uint16_t)end->text.size);
    }
    fly_put_bytes(&w, end->text.data, end->text.size);
    fly_put_bytes(&w, end->metadata.data, end->metadata.size);
    return w.size;
}

bool frame_end_decode(const struct frame *frame, struct frame_end *out)
{
    struct fly_reader r = fly_reader_over(frame->meta.data, frame->meta.size);

    *out = (struct frame_end){.text = frame->meta};
    if ((frame->header.flags & FRAME_FLAG_METADATA) != 0) {
        out->text.size = fly_get_u16(&r);
        out->text.data = fly_get_bytes(&r, out->text.size);
        out->metadata.size = fly_reader_left(&r);
        out->metadata.data = fly_get_bytes(&r, out->metadata.size);
    }
    return !r.failed && out->text.size <= FRAME_TEXT_MAX &&
           out->metadata.size <= FRAME_METADATA_MAX;
}
