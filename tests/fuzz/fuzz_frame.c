/*
 * Bytes of a connection, preface first: whatever frame_next takes lies inside the buffer, its parts
 * add up, its header encodes to the bytes it came from, and it never asks for less than it has.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/wire/frame.h"
#include "proto/wire/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t fuzz_make(struct fly_rng *rng, uint8_t *out, size_t max);

static void check_preface(const uint8_t *data)
{
    struct frame_preface preface;
    struct fly_error error;
    uint8_t again[FRAME_PREFACE_SIZE];
    struct frame_preface back;

    if (frame_preface_decode(data, &preface, &error) == FLY_OK) {
        FLY_CHECK(frame_preface_begins(data, FRAME_PREFACE_SIZE));
        frame_preface_encode(&preface, again);
        FLY_CHECK(frame_preface_decode(again, &back, &error) == FLY_OK);
        FLY_CHECK(preface.version == back.version && preface.frame_max == back.frame_max &&
                  preface.calls_max == back.calls_max && preface.window == back.window &&
                  preface.conn_window == back.conn_window);
    }
}

static bool within(struct fly_bytes part, struct fly_bytes whole)
{
    return part.size == 0 || (part.data >= whole.data && part.size <= whole.size &&
                              part.data + part.size <= whole.data + whole.size);
}

static void check_request(const struct frame *frame)
{
    uint8_t meta[FRAME_REQ_META_MAX];
    struct frame_request request;
    struct frame_request back;
    struct fly_error error;
    uint8_t flags = 0;

    if (!frame_request_decode(frame, &request)) {
        return;
    }
    FLY_CHECK(within(request.metadata, frame->meta));
    (void)metadata_check(request.metadata, &error);
    size_t size = frame_request_encode(&request, &flags, meta);
    if (request.metadata.size > 0) {
        memcpy(meta + size, request.metadata.data, request.metadata.size);
    }
    struct frame again = {.header = {.type = FRAME_REQ, .flags = flags},
                          .meta = {.data = meta, .size = size + request.metadata.size}};
    FLY_CHECK(frame_request_decode(&again, &back));
    FLY_CHECK(request.timeout_ms == back.timeout_ms &&
              request.metadata.size == back.metadata.size &&
              memcmp(&request.trace, &back.trace, sizeof back.trace) == 0);
}

static void check_end(const struct frame *frame)
{
    uint8_t meta[FRAME_END_META_MAX];
    struct frame_end end;
    struct frame_end back;
    uint8_t flags = 0;

    if (!frame_end_decode(frame, &end)) {
        return;
    }
    FLY_CHECK(within(end.text, frame->meta) && within(end.metadata, frame->meta));
    size_t size = frame_end_encode(&end, &flags, meta);
    struct frame again = {.header = {.type = FRAME_END, .flags = flags},
                          .meta = {.data = meta, .size = size}};
    FLY_CHECK(frame_end_decode(&again, &back));
    FLY_CHECK(end.text.size == back.text.size && end.metadata.size == back.metadata.size);
}

static void check_frame(const uint8_t *data, const struct frame *frame, size_t used)
{
    uint8_t header[FRAME_HEADER_SIZE];

    FLY_CHECK(used == FRAME_HEADER_SIZE + (size_t)frame->header.size);
    FLY_CHECK(frame->meta.size + frame->body.size == frame->header.size);
    FLY_CHECK(frame->meta.size == 0 || frame->meta.data == data + FRAME_HEADER_SIZE);
    frame_header_encode(&frame->header, header);
    FLY_CHECK(memcmp(header, data, FRAME_HEADER_SIZE) == 0);
    if (frame->header.type == FRAME_REQ) {
        check_request(frame);
    } else if (frame->header.type == FRAME_END) {
        check_end(frame);
    }
}

/* A preface and sound frames of all types, for mill.c. */
size_t fuzz_make(struct fly_rng *rng, uint8_t *out, size_t max)
{
    struct frame_preface preface = {.version = FRAME_VERSION,
                                    .frame_max = FRAME_SIZE_MIN,
                                    .calls_max = 1 + (uint32_t)fly_rng_below(rng, 1024),
                                    .window = (uint32_t)fly_rng_below(rng, 1 << 20),
                                    .conn_window = (uint32_t)fly_rng_below(rng, 1 << 20)};
    size_t size = FRAME_PREFACE_SIZE;

    if (max < size) {
        return 0;
    }
    frame_preface_encode(&preface, out);
    for (uint64_t n = fly_rng_below(rng, 6); n > 0 && max - size >= FRAME_HEADER_SIZE + 64; n--) {
        uint32_t meta = (uint32_t)fly_rng_below(rng, 33);
        uint32_t body = (uint32_t)fly_rng_below(rng, 32);
        struct frame_header header = {.type = (uint8_t)fly_rng_below(rng, FRAME_TYPE_COUNT),
                                      .flags = (uint8_t)fly_rng_below(rng, 32),
                                      .call_id = (uint32_t)fly_rng_below(rng, 4),
                                      .arg = (uint32_t)fly_rng_below(rng, 17)};
        meta = header.type == FRAME_REQ ? meta + 4 : meta * (uint32_t)fly_rng_below(rng, 2);
        meta = meta > 64 - body ? 64 - body : meta;
        header.meta_size = (uint16_t)meta;
        header.size = meta + body * (uint32_t)fly_rng_below(rng, 2);
        frame_header_encode(&header, out + size);
        size += FRAME_HEADER_SIZE;
        for (uint32_t i = 0; i < header.size; i++) {
            out[size + i] = (uint8_t)fly_rng_below(rng, i % 8 == 0 ? 4 : 128);
        }
        size += header.size;
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame frame;
    size_t used = 0;

    (void)frame_preface_begins(data, size);
    if (size >= FRAME_PREFACE_SIZE) {
        check_preface(data);
        data += FRAME_PREFACE_SIZE;
        size -= FRAME_PREFACE_SIZE;
    }
    for (;;) {
        enum frame_step step = frame_next(data, size, FRAME_SIZE_MIN, &frame, &used);
        if (step == FRAME_SHORT) {
            FLY_CHECK(used > size && used <= FRAME_HEADER_SIZE + FRAME_SIZE_MIN);
            return 0;
        }
        if (step != FRAME_READY) {
            return 0;
        }
        FLY_CHECK(used <= size);
        check_frame(data, &frame, used);
        data += used;
        size -= used;
    }
}
