/* frame: byte by byte, over the limit, and types with sizes that they cannot have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire/frame.h"

static void test_preface(void **state)
{
    const struct frame_preface good = {.version = FRAME_VERSION,
                                       .frame_max = 1 << 20,
                                       .calls_max = 256,
                                       .window = 65536,
                                       .conn_window = 1 << 20};
    uint8_t data[FRAME_PREFACE_SIZE];
    struct frame_preface back;
    struct fly_error error;

    (void)state;
    frame_preface_encode(&good, data);
    assert_int_equal(frame_preface_decode(data, &back, &error), FLY_OK);
    assert_int_equal(back.frame_max, good.frame_max);
    assert_int_equal(back.calls_max, good.calls_max);
    assert_int_equal(back.window, good.window);
    assert_int_equal(back.conn_window, good.conn_window);
    for (size_t size = 0; size <= FRAME_PREFACE_SIZE; size++) {
        assert_true(frame_preface_begins(data, size));
    }
    assert_false(frame_preface_begins((const uint8_t *)"GET / HTTP/1.1", 14));
    data[0] ^= 1;
    assert_int_equal(frame_preface_decode(data, &back, &error), FLY_UNAVAILABLE);
    struct frame_preface bad = good;
    bad.frame_max = 1;
    frame_preface_encode(&bad, data);
    assert_int_equal(frame_preface_decode(data, &back, &error), FLY_INVALID_ARGUMENT);
}

static void test_byte_by_byte(void **state)
{
    const struct frame_header header = {.size = 5,
                                        .type = FRAME_END,
                                        .meta_size = 2,
                                        .call_id = frame_call_id(7, 3),
                                        .arg = FLY_NOT_FOUND};
    uint8_t data[FRAME_HEADER_SIZE + 5];
    struct frame frame;
    size_t used = 0;

    (void)state;
    frame_header_encode(&header, data);
    memcpy(data + FRAME_HEADER_SIZE, "nodet", 5);
    for (size_t size = 0; size < sizeof data; size++) {
        uint8_t *exact = malloc(size > 0 ? size : 1);
        assert_non_null(exact);
        memcpy(exact, data, size);
        assert_int_equal(frame_next(exact, size, 1024, &frame, &used), FRAME_SHORT);
        assert_int_equal(used, size < FRAME_HEADER_SIZE ? FRAME_HEADER_SIZE : sizeof data);
        free(exact);
    }
    assert_int_equal(frame_next(data, sizeof data, 1024, &frame, &used), FRAME_READY);
    assert_int_equal(used, sizeof data);
    assert_memory_equal(frame.meta.data, "no", 2);
    assert_int_equal(frame.body.size, 3);
    assert_memory_equal(frame.body.data, "det", 3);
    assert_int_equal(frame_call_slot(frame.header.call_id), 7);
    assert_int_equal(frame_next(data, sizeof data, 4, &frame, &used), FRAME_LARGE);
}

static void test_sizes_that_cannot_be(void **state)
{
    static const struct {
        const char *what;
        struct frame_header header;
        enum frame_step step;
    } rows[] = {
        {"a bare ping", {.type = FRAME_PING, .arg = 7}, FRAME_READY},
        {"a ping with a body", {.type = FRAME_PING, .size = 1}, FRAME_BAD},
        {"an unknown type", {.type = FRAME_TYPE_COUNT}, FRAME_BAD},
        {"meta larger than all", {.type = FRAME_END, .size = 4, .meta_size = 5}, FRAME_BAD},
        {"a large HELLO", {.type = FRAME_HELLO, .size = FRAME_HELLO_MAX + 1}, FRAME_BAD},
        {"credit for a connection", {.type = FRAME_WINDOW, .arg = 1}, FRAME_READY},
        {"credit of nothing", {.type = FRAME_WINDOW, .call_id = 1}, FRAME_BAD},
        {"no more messages", {.type = FRAME_DONE, .call_id = 1}, FRAME_READY},
        {"no more messages of nobody", {.type = FRAME_DONE}, FRAME_BAD},
        {"no more messages, with one", {.type = FRAME_DONE, .call_id = 1, .size = 1}, FRAME_BAD},
        {"initial metadata",
         {.type = FRAME_HEAD, .call_id = 1, .size = 4, .meta_size = 4},
         FRAME_READY},
        {"initial metadata with a body",
         {.type = FRAME_HEAD, .call_id = 1, .size = 5, .meta_size = 4},
         FRAME_BAD},
        {"OK with words", {.type = FRAME_END, .call_id = 1, .size = 4, .meta_size = 4}, FRAME_BAD},
        {"OK with a trailer",
         {.type = FRAME_END, .call_id = 1, .flags = FRAME_FLAG_METADATA, .size = 4, .meta_size = 4},
         FRAME_READY},
        {"a request that streams",
         {.type = FRAME_REQ,
          .call_id = 1,
          .flags = FRAME_FLAG_STREAMING,
          .size = 4,
          .meta_size = 4},
         FRAME_READY},
        {"a request that streams, with a body",
         {.type = FRAME_REQ,
          .call_id = 1,
          .flags = FRAME_FLAG_STREAMING,
          .size = 5,
          .meta_size = 4},
         FRAME_BAD},
        {"a size near 2^32", {.type = FRAME_MSG, .size = UINT32_MAX}, FRAME_LARGE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t data[FRAME_HEADER_SIZE + 16] = {0};
        struct frame frame;
        size_t used = 0;
        frame_header_encode(&rows[i].header, data);
        if (frame_next(data, sizeof data, FRAME_SIZE_MAX, &frame, &used) != rows[i].step) {
            fail_msg("%s", rows[i].what);
        }
    }
}

static void test_request_meta(void **state)
{
    struct frame_request request = {.timeout_ms = 5000};
    uint8_t meta[FRAME_REQ_META_SIZE + FRAME_TRACE_SIZE];
    struct frame_request back;
    uint8_t flags = 0;

    (void)state;
    assert_int_equal(frame_request_encode(&request, &flags, meta), FRAME_REQ_META_SIZE);
    assert_int_equal(flags, 0);
    memset(request.trace.trace_id, 7, sizeof request.trace.trace_id);
    size_t size = frame_request_encode(&request, &flags, meta);
    assert_int_equal(size, sizeof meta);
    assert_int_equal(flags, FRAME_FLAG_TRACE);
    for (size_t cut = 0; cut <= size; cut++) {
        struct frame frame = {.header = {.type = FRAME_REQ, .flags = flags},
                              .meta = {.data = meta, .size = cut}};
        assert_int_equal(frame_request_decode(&frame, &back), cut == size);
    }
    assert_int_equal(back.timeout_ms, 5000);
    assert_memory_equal(&back.trace, &request.trace, sizeof back.trace);
}

static void test_request_metadata(void **state)
{
    static uint8_t data[FRAME_METADATA_MAX + 1];
    struct frame_request request = {.timeout_ms = 7, .metadata = {data, 5}};
    uint8_t meta[FRAME_REQ_META_SIZE + FRAME_TRACE_SIZE + sizeof data];
    struct frame_request back;
    uint8_t flags = 0;

    (void)state;
    memset(data, 'm', sizeof data);
    size_t size = frame_request_encode(&request, &flags, meta);
    assert_int_equal(flags, FRAME_FLAG_METADATA);
    memcpy(meta + size, data, sizeof data);
    struct frame frame = {.header = {.type = FRAME_REQ, .flags = flags},
                          .meta = {.data = meta, .size = size + 5}};
    assert_true(frame_request_decode(&frame, &back));
    assert_int_equal(back.metadata.size, 5);
    assert_ptr_equal(back.metadata.data, meta + size);
    frame.meta.size = size + sizeof data;
    assert_false(frame_request_decode(&frame, &back));
    frame.header.flags = 0; /* bytes behind what is known */
    assert_true(frame_request_decode(&frame, &back));
    assert_int_equal(back.metadata.size, 0);
}

static void test_end(void **state)
{
    static const struct {
        const char *text;
        const char *metadata;
    } rows[] = {{"", ""}, {"not found", ""}, {"", "trailer"}, {"both", "of them"}};
    uint8_t meta[FRAME_END_META_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct frame_end end = {
            .text = {(const uint8_t *)rows[i].text, strlen(rows[i].text)},
            .metadata = {(const uint8_t *)rows[i].metadata, strlen(rows[i].metadata)}};
        struct frame_end back;
        uint8_t flags = 0;
        size_t size = frame_end_encode(&end, &flags, meta);
        struct frame frame = {.header = {.type = FRAME_END, .flags = flags},
                              .meta = {.data = meta, .size = size}};
        assert_true(frame_end_decode(&frame, &back));
        assert_int_equal(back.text.size, end.text.size);
        assert_memory_equal(back.text.data, rows[i].text, back.text.size);
        assert_int_equal(back.metadata.size, end.metadata.size);
        assert_memory_equal(back.metadata.data, rows[i].metadata, back.metadata.size);
    }
    struct frame cut = {.header = {.type = FRAME_END, .flags = FRAME_FLAG_METADATA},
                        .meta = {.data = meta, .size = 1}};
    struct frame_end back;
    assert_false(frame_end_decode(&cut, &back));
    meta[0] = 3; /* a text that is not there */
    meta[1] = 0;
    cut.meta.size = 4;
    assert_false(frame_end_decode(&cut, &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_preface),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_sizes_that_cannot_be),
        cmocka_unit_test(test_request_meta),
        cmocka_unit_test(test_request_metadata),
        cmocka_unit_test(test_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
