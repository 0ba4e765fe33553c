/*
 * Bytes of a connection, preface first: whatever frame_next takes lies inside the buffer, its parts
 * add up, its header encodes to the bytes it came from, and it never asks for less than it has.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
                  preface.calls_max == back.calls_max && preface.window == back.window);
    }
}

static void check_frame(const uint8_t *data, const struct frame *frame, size_t used)
{
    uint8_t header[FRAME_HEADER_SIZE];
    struct frame_request request;

    FLY_CHECK(used == FRAME_HEADER_SIZE + (size_t)frame->header.size);
    FLY_CHECK(frame->meta.size + frame->body.size == frame->header.size);
    FLY_CHECK(frame->meta.size == 0 || frame->meta.data == data + FRAME_HEADER_SIZE);
    frame_header_encode(&frame->header, header);
    FLY_CHECK(memcmp(header, data, FRAME_HEADER_SIZE) == 0);
    if (frame->header.type == FRAME_REQ && frame_request_decode(frame, &request)) {
        uint8_t flags = 0;
        uint8_t meta[FRAME_REQ_META_SIZE + FRAME_TRACE_SIZE];
        size_t meta_size = frame_request_encode(&request, &flags, meta);
        struct frame again = {.header = {.type = FRAME_REQ, .flags = flags},
                              .meta = {.data = meta, .size = meta_size}};
        struct frame_request back;
        FLY_CHECK(frame_request_decode(&again, &back));
        FLY_CHECK(request.timeout_ms == back.timeout_ms);
        FLY_CHECK(memcmp(&request.trace, &back.trace, sizeof back.trace) == 0);
    }
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
