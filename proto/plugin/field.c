#include "proto/plugin/field.h"

static bool take_varint(struct fly_bytes *in, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && in->size > 0; shift += 7) {
        uint8_t byte = in->data[0];
        in->data++;
        in->size--;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return true;
        }
    }
    return false;
}

static bool take_bytes(struct fly_bytes *in, uint64_t size, struct fly_bytes *out)
{
    if (size > in->size) {
        return false;
    }
    *out = (struct fly_bytes){.data = in->data, .size = (size_t)size};
    in->data += size;
    in->size -= (size_t)size;
    return true;
}

bool plug_field_unknown(struct plug_memory *memory, const ProtobufCMessage *message,
                        uint32_t number, struct fly_bytes *out)
{
    size_t sum = 0;
    bool found = false;

    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        sum += message->unknown_fields[i].len;
    }
    struct fly_writer w = fly_writer_over(plug_memory_take(memory, sum, 1), sum);
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *field = &message->unknown_fields[i];
        struct fly_bytes data = {.data = field->data, .size = field->len};
        struct fly_bytes contents;
        uint64_t size = 0;
        /* protobuf-c keeps the length in front */
        if (field->tag == number && field->wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED &&
            take_varint(&data, &size) && take_bytes(&data, size, &contents)) {
            fly_put_bytes(&w, contents.data, contents.size);
            found = true;
        }
    }
    *out = (struct fly_bytes){.data = w.data, .size = w.size};
    return found;
}

bool plug_field_find(struct fly_bytes message, uint32_t number, struct fly_bytes *out)
{
    bool found = false;

    while (message.size > 0) {
        struct fly_bytes skipped;
        uint64_t tag = 0;
        uint64_t value = 0;
        bool whole = take_varint(&message, &tag);
        switch (tag & 7) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
            whole = whole && take_varint(&message, &value);
            break;
        case PROTOBUF_C_WIRE_TYPE_64BIT:
            whole = whole && take_bytes(&message, 8, &skipped);
            break;
        case PROTOBUF_C_WIRE_TYPE_32BIT:
            whole = whole && take_bytes(&message, 4, &skipped);
            break;
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
            whole = whole && take_varint(&message, &value) && take_bytes(&message, value, &skipped);
            if (whole && tag >> 3 == number) {
                *out = skipped;
                found = true;
            }
            break;
        default:
            whole = false;
        }
        if (!whole) {
            return false;
        }
    }
    return found;
}
