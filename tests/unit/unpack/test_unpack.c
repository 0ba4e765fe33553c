/* validate_unpack takes what validate_message takes and gives what protobuf-c gives, of every kind
 * of field and in every order, and never goes past the end of bytes or arena. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "google/protobuf/descriptor.pb-c.h"
#include "kinds.pb-c.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/wire/validate.h"

enum { BYTES_MAX = 64 * 1024, ARENA_MAX = 4 << 20 };

static const ProtobufCMessageDescriptor *const types[] = {
    &kinds__kinds__descriptor,
    &kinds__sparse__descriptor,
    &kinds__leaf__descriptor,
};

/* ---- bytes at random that are sound ---- */

static void put_varint(struct fly_writer *w, uint64_t value)
{
    while (value > 0x7f) {
        fly_put_u8(w, (uint8_t)(value | 0x80));
        value >>= 7;
    }
    fly_put_u8(w, (uint8_t)value);
}

static uint64_t some_number(struct fly_rng *rng)
{
    return fly_rng_next(rng) >> fly_rng_below(rng, 64);
}

static void put_some_text(struct fly_writer *w, struct fly_rng *rng)
{
    uint64_t size = fly_rng_below(rng, 20);
    bool umlaut = size >= 2 && fly_rng_chance(rng, 300);

    put_varint(w, size);
    for (uint64_t i = 0; i < size - (umlaut ? 2 : 0); i++) {
        fly_put_u8(w, (uint8_t)(1 + fly_rng_below(rng, 127)));
    }
    if (umlaut) {
        fly_put_u8(w, 0xc3);
        fly_put_u8(w, 0xa4);
    }
}

static void put_message(struct fly_writer *w, struct fly_rng *rng,
                        const ProtobufCMessageDescriptor *type, unsigned depth);

static void put_value(struct fly_writer *w, struct fly_rng *rng,
                      const ProtobufCFieldDescriptor *field, unsigned depth)
{
    uint8_t inner[2048];
    struct fly_writer part = fly_writer_over(inner, sizeof inner);

    switch (field->type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        fly_put_u32(w, (uint32_t)some_number(rng));
        break;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        fly_put_u64(w, some_number(rng));
        break;
    case PROTOBUF_C_TYPE_BOOL:
        put_varint(w, fly_rng_below(rng, 2));
        break;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
        put_some_text(w, rng);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        put_message(&part, rng, field->descriptor, depth + 1);
        put_varint(w, part.failed ? 0 : part.size);
        fly_put_bytes(w, inner, part.failed ? 0 : part.size);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_ENUM:
        put_varint(w, some_number(rng));
        break;
    }
}

static unsigned wire_type(ProtobufCType type)
{
    switch ((unsigned)type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return 5;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 1;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return 2;
    default:
        return 0;
    }
}

static void put_packed(struct fly_writer *w, struct fly_rng *rng,
                       const ProtobufCFieldDescriptor *field)
{
    uint8_t inner[256];
    struct fly_writer part = fly_writer_over(inner, sizeof inner);

    for (uint64_t i = fly_rng_below(rng, 8); i > 0; i--) {
        put_value(&part, rng, field, 0);
    }
    put_varint(w, field->id << 3 | 2);
    put_varint(w, part.size);
    fly_put_bytes(w, inner, part.size);
}

static void put_unknown(struct fly_writer *w, struct fly_rng *rng)
{
    static const unsigned kinds[] = {0, 1, 2, 5};
    unsigned kind = kinds[fly_rng_below(rng, 4)];

    put_varint(w, (500 + fly_rng_below(rng, 100)) << 3 | kind);
    switch (kind) {
    case 0:
        put_varint(w, some_number(rng));
        break;
    case 1:
        fly_put_u64(w, some_number(rng));
        break;
    case 2:
        put_some_text(w, rng);
        break;
    default:
        fly_put_u32(w, (uint32_t)some_number(rng));
        break;
    }
}

/* Fields in any order, repeated ones apart from each other, packed and not, oneofs more than once;
 * only a singular message stands once, as validate_message wants it. */
static void put_message(struct fly_writer *w, struct fly_rng *rng,
                        const ProtobufCMessageDescriptor *type, unsigned depth)
{
    uint64_t seen = 0;

    for (uint64_t i = fly_rng_below(rng, depth == 0 ? 30 : 6); i > 0; i--) {
        size_t index = fly_rng_below(rng, type->n_fields);
        const ProtobufCFieldDescriptor *field = &type->fields[index];
        bool single = field->label != PROTOBUF_C_LABEL_REPEATED;
        bool message = field->type == PROTOBUF_C_TYPE_MESSAGE;
        if (fly_rng_chance(rng, 80)) {
            put_unknown(w, rng);
            continue;
        }
        if (message && (depth > 2 || (single && (seen >> index & 1) != 0))) {
            continue;
        }
        seen |= (uint64_t)1 << index;
        if (!single && wire_type(field->type) != 2 && fly_rng_chance(rng, 500)) {
            put_packed(w, rng, field);
            continue;
        }
        put_varint(w, field->id << 3 | wire_type(field->type));
        put_value(w, rng, field, depth);
    }
}

/* ---- the comparison ---- */

static void check_same(const ProtobufCMessageDescriptor *type, struct fly_bytes bytes,
                       size_t arena_size)
{
    uint8_t *memory = malloc(arena_size); /* exactly: ASan sees a byte too many */
    struct fly_arena arena = fly_arena_over(memory, arena_size);
    ProtobufCMessage *ours = validate_unpack(type, bytes, &arena);
    ProtobufCMessage *theirs = protobuf_c_message_unpack(type, NULL, bytes.size, bytes.data);

    assert_non_null(ours);
    assert_non_null(theirs);
    size_t size = protobuf_c_message_get_packed_size(theirs);
    assert_int_equal(protobuf_c_message_get_packed_size(ours), size);
    uint8_t *packed = malloc(2 * size + 1);
    assert_int_equal(protobuf_c_message_pack(ours, packed), size);
    assert_int_equal(protobuf_c_message_pack(theirs, packed + size), size);
    assert_memory_equal(packed, packed + size, size);
    free(packed);
    protobuf_c_message_free_unpacked(theirs, NULL);
    free(memory);
}

static void test_same_as_the_library(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    struct fly_rng rng;
    unsigned checked = 0;

    (void)state;
    fly_rng_seed(&rng, 11);
    for (unsigned i = 0; i < 30000; i++) {
        const ProtobufCMessageDescriptor *type = types[i % FLY_ARRAY_COUNT(types)];
        struct fly_writer w = fly_writer_over(bytes, sizeof bytes);
        struct fly_error error;
        size_t arena_size = 0;
        put_message(&w, &rng, type, 0);
        struct fly_bytes message = {bytes, w.size};
        assert_false(w.failed);
        if (validate_message(type, message, ARENA_MAX, &arena_size, &error) != FLY_OK) {
            fail_msg("%u: %s", i, error.text);
        }
        check_same(type, message, arena_size);
        checked++;
    }
    assert_int_equal(checked, 30000);
}

/* With bits turned over: what is still accepted is still the same; and unchecked bytes do no harm.
 */
static void test_spoiled(void **state)
{
    static _Alignas(16) uint8_t room[1 << 20];
    struct fly_rng rng;
    unsigned accepted = 0;

    (void)state;
    fly_rng_seed(&rng, 12);
    for (unsigned i = 0; i < 60000; i++) {
        static uint8_t bytes[BYTES_MAX];
        const ProtobufCMessageDescriptor *type = types[i % FLY_ARRAY_COUNT(types)];
        struct fly_writer w = fly_writer_over(bytes, sizeof bytes);
        struct fly_error error;
        size_t arena_size = 0;
        put_message(&w, &rng, type, 0);
        for (uint64_t k = fly_rng_below(&rng, 4); k > 0 && w.size > 0; k--) {
            bytes[fly_rng_below(&rng, w.size)] ^= (uint8_t)(1U << fly_rng_below(&rng, 8));
        }
        uint8_t *exact = malloc(w.size + 1);
        memcpy(exact, bytes, w.size);
        struct fly_bytes message = {exact, w.size};
        bool fine = validate_message(type, message, ARENA_MAX, &arena_size, &error) == FLY_OK;
        if (fine) {
            check_same(type, message, arena_size);
            accepted++;
        }
        struct fly_arena ample = fly_arena_over(room, sizeof room);
        assert_int_equal(validate_unpack(type, message, &ample) != NULL, fine);
        size_t size = (size_t)fly_rng_below(&rng, 2000);
        uint8_t *memory = malloc(size + 1);
        struct fly_arena arena = fly_arena_over(memory, size);
        (void)validate_unpack(type, message, &arena);
        free(memory);
        free(exact);
    }
    assert_true(accepted > 10000 && accepted < 60000);
}

/* proto2 with defaults and has_ flags: the descriptors that reflection serves. */
static void test_descriptors(void **state)
{
    Google__Protobuf__FieldDescriptorProto field = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__INIT;
    uint8_t bytes[256];
    char name[] = "field";
    size_t arena_size = 0;
    struct fly_error error;
    const ProtobufCMessageDescriptor *type = &google__protobuf__field_descriptor_proto__descriptor;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        field.name = name;
        field.has_number = i == 1;
        field.number = (int)i * 7;
        field.has_label = 1;
        field.label = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED;
        struct fly_bytes packed = {bytes,
                                   google__protobuf__field_descriptor_proto__pack(&field, bytes)};
        assert_int_equal(validate_message(type, packed, ARENA_MAX, &arena_size, &error), FLY_OK);
        check_same(type, packed, arena_size);
        uint8_t *memory = malloc(arena_size);
        struct fly_arena arena = fly_arena_over(memory, arena_size);
        const Google__Protobuf__FieldDescriptorProto *got =
            (const void *)validate_unpack(type, packed, &arena);
        assert_int_equal(got->has_number, i == 1);
        assert_int_equal(got->number, i * 7);
        assert_false(got->has_type);
        assert_string_equal(got->name, "field");
        free(memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_the_library),
        cmocka_unit_test(test_spoiled),
        cmocka_unit_test(test_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
