/*
 * validate_walk - reading protobuf's wire format: what validate.c and unpack.c share. Nobody else
 * includes it. Every read is checked against the end, in both of them.
 */
#ifndef FLY_WIRE_VALIDATE_WALK_H
#define FLY_WIRE_VALIDATE_WALK_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"

enum {
    TAG_BYTES_MAX = 5,
    LENGTH_BYTES_MAX = 5,
    VARINT_BYTES_MAX = 10,
    FIELD_NUMBER_MAX = (1 << 29) - 1,
};

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

/* The rest of cursor_varint: more than one byte, or none. */
bool cursor_long_varint(struct cursor *c, unsigned bytes_max, uint64_t *out);

/* Reads a varint of at most bytes_max bytes that fits 64 bits. */
static inline bool cursor_varint(struct cursor *c, unsigned bytes_max, uint64_t *out)
{
    if (c->at < c->end && *c->at < 0x80) {
        *out = *c->at++;
        return true;
    }
    return cursor_long_varint(c, bytes_max, out);
}

static inline bool cursor_skip(struct cursor *c, size_t size)
{
    if ((size_t)(c->end - c->at) < size) {
        return false;
    }
    c->at += size;
    return true;
}

/* A length that is not past the end. */
static inline bool cursor_length(struct cursor *c, size_t *out)
{
    uint64_t length = 0;

    if (!cursor_varint(c, LENGTH_BYTES_MAX, &length) || length > (size_t)(c->end - c->at)) {
        return false;
    }
    *out = (size_t)length;
    return true;
}

static inline bool cursor_tag(struct cursor *c, uint32_t *number, unsigned *wire_type)
{
    uint64_t tag = 0;

    if (!cursor_varint(c, TAG_BYTES_MAX, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX) {
        return false;
    }
    *number = (uint32_t)(tag >> 3);
    *wire_type = (unsigned)(tag & 7);
    return true;
}

/* Past one value of this wire type; false: cut, or a group. */
bool cursor_skip_value(struct cursor *c, unsigned wire_type);

/* Most types number their fields 1, 2, 3 … without a gap. */
static inline const ProtobufCFieldDescriptor *field_of(const ProtobufCMessageDescriptor *type,
                                                       uint32_t number)
{
    if (type->n_field_ranges == 1) {
        uint32_t index = number - (uint32_t)type->field_ranges[0].start_value;
        return index < type->n_fields ? &type->fields[index] : NULL;
    }
    return protobuf_c_message_descriptor_get_field(type, number);
}

/* How a value travels. */
static inline unsigned field_wire_type(ProtobufCType type)
{
    static const uint8_t wire_types[] = {
        [PROTOBUF_C_TYPE_INT32] = PROTOBUF_C_WIRE_TYPE_VARINT,
        [PROTOBUF_C_TYPE_SINT32] = PROTOBUF_C_WIRE_TYPE_VARINT,
        [PROTOBUF_C_TYPE_SFIXED32] = PROTOBUF_C_WIRE_TYPE_32BIT,
        [PROTOBUF_C_TYPE_INT64] = PROTOBUF_C_WIRE_TYPE_VARINT,
        [PROTOBUF_C_TYPE_SINT64] = PROTOBUF_C_WIRE_TYPE_VARINT,
        [PROTOBUF_C_TYPE_SFIXED64] = PROTOBUF_C_WIRE_TYPE_64BIT,
        [PROTOBUF_C_TYPE_UINT32] = PROTOBUF_C_WIRE_TYPE_VARINT,
        [PROTOBUF_C_TYPE_FIXED32] = PROTOBUF_C_WIRE_TYPE_32BIT,
        [PROTOBUF_C_TYPE_UINT64] = PROTOBUF_C_WIRE_TYPE_VARINT,
        [PROTOBUF_C_TYPE_FIXED64] = PROTOBUF_C_WIRE_TYPE_64BIT,
        [PROTOBUF_C_TYPE_FLOAT] = PROTOBUF_C_WIRE_TYPE_32BIT,
        [PROTOBUF_C_TYPE_DOUBLE] = PROTOBUF_C_WIRE_TYPE_64BIT,
        [PROTOBUF_C_TYPE_BOOL] = PROTOBUF_C_WIRE_TYPE_VARINT,
        [PROTOBUF_C_TYPE_ENUM] = PROTOBUF_C_WIRE_TYPE_VARINT,
        [PROTOBUF_C_TYPE_STRING] = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
        [PROTOBUF_C_TYPE_BYTES] = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
        [PROTOBUF_C_TYPE_MESSAGE] = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
    };

    return wire_types[type];
}

/* The C type of one element. */
static inline size_t field_size(ProtobufCType type)
{
    static const uint8_t sizes[] = {
        [PROTOBUF_C_TYPE_INT32] = 4,
        [PROTOBUF_C_TYPE_SINT32] = 4,
        [PROTOBUF_C_TYPE_SFIXED32] = 4,
        [PROTOBUF_C_TYPE_INT64] = 8,
        [PROTOBUF_C_TYPE_SINT64] = 8,
        [PROTOBUF_C_TYPE_SFIXED64] = 8,
        [PROTOBUF_C_TYPE_UINT32] = 4,
        [PROTOBUF_C_TYPE_FIXED32] = 4,
        [PROTOBUF_C_TYPE_UINT64] = 8,
        [PROTOBUF_C_TYPE_FIXED64] = 8,
        [PROTOBUF_C_TYPE_FLOAT] = 4,
        [PROTOBUF_C_TYPE_DOUBLE] = 8,
        [PROTOBUF_C_TYPE_BOOL] = sizeof(protobuf_c_boolean),
        [PROTOBUF_C_TYPE_ENUM] = 4,
        [PROTOBUF_C_TYPE_STRING] = sizeof(char *),
        [PROTOBUF_C_TYPE_BYTES] = sizeof(ProtobufCBinaryData),
        [PROTOBUF_C_TYPE_MESSAGE] = sizeof(void *),
    };

    return sizes[type];
}

/* Whether this may be a string: UTF-8 without a NUL. *why (may be NULL) says what it has instead.
 */
bool text_sound(const uint8_t *text, size_t size, const char **why);

#endif
