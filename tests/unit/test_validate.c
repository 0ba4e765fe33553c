/* validate: what protobuf-c must never see, and that the rest unpacks in the room that was named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fly/v1/edge.pb-c.h"
#include "fly/v1/health.pb-c.h"
#include "proto/wire/validate.h"

enum { ARENA_MAX = 1 << 20, DEEP = 9000 };

#define LAUNCH (&fly__v1__launch_request__descriptor)
#define LIST (&fly__v1__list_reply__descriptor)
#define ECHO_TYPE (&fly__v1__echo_message__descriptor)

static void test_tables(void **state)
{
    static const struct {
        const char *what;
        const ProtobufCMessageDescriptor *type;
        const char *data;
        size_t size;
        enum fly_status status;
    } rows[] = {
        {"nothing", LAUNCH, "", 0, FLY_OK},
        {"region and cores", LAUNCH, "\x0a\x03SIN\x10\x04", 7, FLY_OK},
        {"an unknown varint", LAUNCH, "\xf8\x01\x07", 3, FLY_OK},
        {"a tag that is cut", LAUNCH, "\xf8", 1, FLY_INVALID_ARGUMENT},
        {"field number 0", LAUNCH, "\x02\x00", 2, FLY_INVALID_ARGUMENT},
        {"a length past the end", LAUNCH, "\x0a\x04SIN", 5, FLY_INVALID_ARGUMENT},
        {"a length near 2^64", LAUNCH, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11,
         FLY_INVALID_ARGUMENT},
        {"a varint of eleven bytes", LAUNCH, "\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12,
         FLY_INVALID_ARGUMENT},
        {"a string as a varint", LAUNCH, "\x08\x01", 2, FLY_INVALID_ARGUMENT},
        {"a group", LAUNCH, "\x0b\x0c", 2, FLY_INVALID_ARGUMENT},
        {"bad UTF-8", LAUNCH, "\x0a\x02\xc3\x28", 4, FLY_INVALID_ARGUMENT},
        {"a surrogate", LAUNCH, "\x0a\x03\xed\xa0\x80", 5, FLY_INVALID_ARGUMENT},
        {"an overlong form", LAUNCH, "\x0a\x02\xc0\x80", 4, FLY_INVALID_ARGUMENT},
        {"a NUL in a string", LAUNCH, "\x0a\x01\x00", 3, FLY_INVALID_ARGUMENT},
        {"bytes may hold anything", ECHO_TYPE, "\x0a\x02\xc0\x00", 4, FLY_OK},
        {"two empty VMs", LIST, "\x0a\x00\x0a\x00", 4, FLY_OK},
        {"a VM that is cut inside", LIST, "\x0a\x02\x0a\x05", 4, FLY_INVALID_ARGUMENT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fly_error error;
        size_t arena_size = 0;
        struct fly_bytes bytes = {.data = (const uint8_t *)rows[i].data, .size = rows[i].size};
        enum fly_status status =
            validate_message(rows[i].type, bytes, ARENA_MAX, &arena_size, &error);
        if (status != rows[i].status) {
            fail_msg("%s: %s", rows[i].what, fly_status_name(status));
        }
        if (status == FLY_OK) {
            void *memory = malloc(arena_size);
            struct fly_arena arena = fly_arena_over(memory, arena_size);
            assert_non_null(memory);
            assert_non_null(validate_unpack(rows[i].type, bytes, &arena));
            free(memory);
        }
    }
}

/* 64 KiB of empty elements would be 2 MB of structs. */
static void test_flood(void **state)
{
    size_t size = 64 * 1024;
    uint8_t *data = malloc(size);
    struct fly_error error;

    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < size; i += 2) {
        data[i] = 0x0a;
        data[i + 1] = 0;
    }
    struct fly_bytes bytes = {.data = data, .size = size};
    assert_int_equal(validate_message(LIST, bytes, ARENA_MAX, NULL, &error),
                     FLY_RESOURCE_EXHAUSTED);
    free(data);
}

static const ProtobufCMessageDescriptor node;
static const ProtobufCFieldDescriptor fields[] = {{
    .name = "next",
    .id = 1,
    .label = PROTOBUF_C_LABEL_NONE,
    .type = PROTOBUF_C_TYPE_MESSAGE,
    .offset = sizeof(ProtobufCMessage),
    .descriptor = &node,
}};
static const ProtobufCIntRange ranges[] = {{1, 0}, {0, 1}};
static const unsigned indices[] = {0};
static const ProtobufCMessageDescriptor node = {
    .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
    .name = "test.Node",
    .sizeof_message = sizeof(ProtobufCMessage) + sizeof(void *),
    .n_fields = 1,
    .fields = fields,
    .fields_sorted_by_name = indices,
    .n_field_ranges = 1,
    .field_ranges = ranges,
};

/* A type that contains itself is refused before it can be called at all: the message nested 9,000
 * deep that ends a process with protobuf-c 1.4.1 never reaches it. */
static void test_recursive_type(void **state)
{
    struct fly_error error;

    (void)state;
    assert_int_equal(validate_schema(&node, &error), FLY_INTERNAL);
    assert_non_null(strstr(error.text, "test.Node"));
    /* and as an unknown field of a type of ours, such a nest is only bytes */
    static uint8_t deep[DEEP * 4];
    size_t size = 0;
    for (int i = 0; i < DEEP; i++) {
        uint8_t head[8];
        size_t n = 0;
        head[n++] = 0xfa;
        head[n++] = 0x01; /* field 31, a length */
        size_t inner = size;
        do {
            head[n++] = (uint8_t)((inner & 0x7f) | (inner > 0x7f ? 0x80 : 0));
            inner >>= 7;
        } while (inner > 0);
        if (size + n > sizeof deep) {
            break;
        }
        memmove(deep + n, deep, size);
        memcpy(deep, head, n);
        size += n;
    }
    struct fly_bytes bytes = {.data = deep, .size = size};
    assert_int_equal(validate_message(LAUNCH, bytes, ARENA_MAX, NULL, &error), FLY_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_recursive_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
