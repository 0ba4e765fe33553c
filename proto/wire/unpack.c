/*
 * unpack - protobuf bytes into the structs of protobuf-c, in an arena: validate_unpack.
 *
 * Takes exactly what validate_message takes, so that who has room to spare need not ask it first,
 * and gives what protobuf_c_message_unpack gives; tests/unit/unpack and the fuzz target hold each
 * against the other. Several times quicker than the library: one walk, a second one only over
 * messages with repeated fields, no list of the fields that it saw, no allocator but the arena.
 *
 * Source: protobuf.dev/programming-guides/encoding; protobuf-c/protobuf-c.h. Pure.
 */
#include <string.h>

#include "proto/wire/validate.h"
#include "proto/wire/validate_walk.h"

/* One message on the way down. */
struct level {
    const ProtobufCMessageDescriptor *type;
    ProtobufCMessage *message;
    bool counted;
    uint32_t unknown;
    uint64_t seen;                        /* singular message fields, by index */
    uint32_t counts[VALIDATE_FIELDS_MAX]; /* of repeated fields; only once `counted` */
};

struct unpacker {
    struct cursor c;
    struct fly_arena *arena;
    unsigned depth;
};

static bool unpack_message(struct unpacker *u, const ProtobufCMessageDescriptor *type,
                           ProtobufCMessage **out);

static void *member_at(struct level *level, unsigned offset)
{
    return (uint8_t *)level->message + offset;
}

/* ---- one value ---- */

static int32_t unzigzag32(uint32_t v)
{
    return (int32_t)((v >> 1) ^ (0U - (v & 1)));
}

static int64_t unzigzag64(uint64_t v)
{
    return (int64_t)((v >> 1) ^ (0ULL - (v & 1)));
}

/* A value that came as a varint, as protobuf-c truncates it. */
static void store_varint(ProtobufCType type, uint64_t value, void *member)
{
    switch ((unsigned)type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        *(uint64_t *)member = value;
        break;
    case PROTOBUF_C_TYPE_SINT64:
        *(int64_t *)member = unzigzag64(value);
        break;
    case PROTOBUF_C_TYPE_SINT32:
        *(int32_t *)member = unzigzag32((uint32_t)value);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)member = value != 0;
        break;
    default: /* INT32, UINT32, ENUM */
        *(uint32_t *)member = (uint32_t)value;
        break;
    }
}

static bool take_string(struct unpacker *u, char **out)
{
    size_t size = 0;

    if (!cursor_length(&u->c, &size)) {
        return false;
    }
    char *text = fly_arena_alloc(u->arena, size + 1);
    if (text == NULL || !text_sound(u->c.at, size, NULL)) {
        return false;
    }
    memcpy(text, u->c.at, size);
    text[size] = '\0';
    u->c.at += size;
    *out = text;
    return true;
}

static bool take_binary(struct unpacker *u, ProtobufCBinaryData *out)
{
    size_t size = 0;

    if (!cursor_length(&u->c, &size)) {
        return false;
    }
    out->len = size;
    out->data = NULL;
    if (size > 0) {
        out->data = fly_arena_alloc(u->arena, size);
        if (out->data == NULL) {
            return false;
        }
        memcpy(out->data, u->c.at, size);
        u->c.at += size;
    }
    return true;
}

static bool take_submessage(struct unpacker *u, const ProtobufCFieldDescriptor *field,
                            ProtobufCMessage **out)
{
    const uint8_t *outer_end = u->c.end;
    size_t size = 0;

    if (!cursor_length(&u->c, &size)) {
        return false;
    }
    u->c.end = u->c.at + size;
    bool fine = unpack_message(u, field->descriptor, out);
    u->c.end = outer_end;
    return fine;
}

static bool take_delimited(struct unpacker *u, const ProtobufCFieldDescriptor *field, void *member)
{
    switch ((unsigned)field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return take_string(u, member);
    case PROTOBUF_C_TYPE_BYTES:
        return take_binary(u, member);
    default:
        return take_submessage(u, field, member);
    }
}

static bool take_value(struct unpacker *u, const ProtobufCFieldDescriptor *field, void *member)
{
    uint64_t value = 0;

    switch (field_wire_type(field->type)) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        if (!cursor_varint(&u->c, VARINT_BYTES_MAX, &value)) {
            return false;
        }
        store_varint(field->type, value, member);
        return true;
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        if (!cursor_skip(&u->c, 4)) {
            return false;
        }
        *(uint32_t *)member = fly_load_u32(u->c.at - 4);
        return true;
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        if (!cursor_skip(&u->c, 8)) {
            return false;
        }
        *(uint64_t *)member = fly_load_u64(u->c.at - 8);
        return true;
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        return take_delimited(u, field, member);
    }
    return false;
}

/* ---- repeated fields ---- */

static bool comes_packed(const ProtobufCFieldDescriptor *field, unsigned wire_type)
{
    return wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED &&
           field_wire_type(field->type) != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
}

static uint32_t count_packed(const ProtobufCFieldDescriptor *field, struct fly_bytes bytes)
{
    uint32_t count = 0;

    switch (field_wire_type(field->type)) {
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        return (uint32_t)(bytes.size / 4);
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        return (uint32_t)(bytes.size / 8);
    case PROTOBUF_C_WIRE_TYPE_VARINT:
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        break;
    }
    for (size_t i = 0; i < bytes.size; i++) {
        count += bytes.data[i] < 0x80 ? 1 : 0;
    }
    return count;
}

/* Once for a message, at its first repeated or unknown field: how many elements each has from here
 * on, so that each array is made once and of its size. */
static bool count_rest(struct level *level, struct cursor c, uint32_t number, unsigned wire_type)
{
    bool more = true;

    level->counted = true;
    memset(level->counts, 0, level->type->n_fields * sizeof level->counts[0]);
    while (more) {
        const ProtobufCFieldDescriptor *field = field_of(level->type, number);
        const uint8_t *start = c.at;
        if (!cursor_skip_value(&c, wire_type)) {
            return false;
        }
        if (field == NULL) {
            level->unknown++;
        } else if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            uint32_t count = 1;
            if (comes_packed(field, wire_type)) {
                struct cursor inner = {start, c.at};
                size_t size = 0;
                (void)cursor_length(&inner, &size);
                count = count_packed(field, (struct fly_bytes){inner.at, size});
            }
            level->counts[field - level->type->fields] += count;
        }
        more = c.at < c.end;
        if (more && !cursor_tag(&c, &number, &wire_type)) {
            return false;
        }
    }
    return true;
}

/* Where the next element goes; NULL: more than were counted, or no room. */
static void *next_element(struct unpacker *u, struct level *level,
                          const ProtobufCFieldDescriptor *field)
{
    size_t *count = member_at(level, field->quantifier_offset);
    uint8_t **array = member_at(level, field->offset);
    size_t size = field_size(field->type);
    uint32_t max = level->counts[field - level->type->fields];

    if (*count == 0) {
        *array = fly_arena_alloc(u->arena, max * size);
    }
    return *array != NULL && *count < max ? *array + (*count)++ * size : NULL;
}

static bool take_repeated(struct unpacker *u, struct level *level,
                          const ProtobufCFieldDescriptor *field, unsigned wire_type)
{
    const uint8_t *outer_end = u->c.end;
    size_t size = 0;
    bool fine = true;

    if (wire_type == field_wire_type(field->type)) {
        void *element = next_element(u, level, field);
        return element != NULL && take_value(u, field, element);
    }
    if (wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED || !cursor_length(&u->c, &size)) {
        return false;
    }
    u->c.end = u->c.at + size; /* packed */
    while (fine && u->c.at < u->c.end) {
        void *element = next_element(u, level, field);
        fine = element != NULL && (field->type != PROTOBUF_C_TYPE_BOOL || *u->c.at <= 1) &&
               take_value(u, field, element);
    }
    u->c.end = outer_end;
    return fine;
}

/* ---- one message ---- */

/* What its descriptor does not know is kept, as bytes. */
static bool take_unknown(struct unpacker *u, struct level *level, uint32_t number,
                         unsigned wire_type)
{
    ProtobufCMessage *message = level->message;
    const uint8_t *start = u->c.at;

    if (message->unknown_fields == NULL) {
        message->unknown_fields =
            fly_arena_alloc(u->arena, level->unknown * sizeof *message->unknown_fields);
    }
    if (message->unknown_fields == NULL || message->n_unknown_fields >= level->unknown ||
        !cursor_skip_value(&u->c, wire_type)) {
        return false;
    }
    size_t size = (size_t)(u->c.at - start);
    uint8_t *copy = fly_arena_alloc(u->arena, size);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, start, size);
    message->unknown_fields[message->n_unknown_fields++] = (ProtobufCMessageUnknownField){
        .tag = number, .wire_type = (ProtobufCWireType)wire_type, .len = size, .data = copy};
    return true;
}

/* The last one of a oneof counts: what another one left is forgotten. */
static void choose(struct level *level, const ProtobufCFieldDescriptor *field)
{
    uint32_t *choice = member_at(level, field->quantifier_offset);
    const ProtobufCFieldDescriptor *old = *choice != 0 ? field_of(level->type, *choice) : NULL;

    if (old != NULL) {
        memset(member_at(level, old->offset), 0, field_size(old->type));
    }
    *choice = field->id;
}

static bool take_field(struct unpacker *u, struct level *level,
                       const ProtobufCFieldDescriptor *field, unsigned wire_type)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return take_repeated(u, level, field, wire_type);
    }
    if (wire_type != (unsigned)field_wire_type(field->type)) {
        return false;
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        choose(level, field);
    } else if (field->quantifier_offset != 0) {
        *(protobuf_c_boolean *)member_at(level, field->quantifier_offset) = 1;
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        uint64_t bit = (uint64_t)1 << (field - level->type->fields);
        if ((level->seen & bit) != 0) {
            return false;
        }
        level->seen |= bit;
    }
    return take_value(u, field, member_at(level, field->offset));
}

static bool unpack_message(struct unpacker *u, const ProtobufCMessageDescriptor *type,
                           ProtobufCMessage **out)
{
    struct level level; /* without its counts, which few messages need */

    if (u->depth == VALIDATE_DEPTH_MAX || type->n_fields > VALIDATE_FIELDS_MAX) {
        return false;
    }
    level.type = type;
    level.counted = false;
    level.unknown = 0;
    level.seen = 0;
    level.message = fly_arena_alloc(u->arena, type->sizeof_message);
    if (level.message == NULL) {
        return false;
    }
    type->message_init(level.message);
    u->depth++;
    while (u->c.at < u->c.end) {
        uint32_t number = 0;
        unsigned wire_type = 0;
        if (!cursor_tag(&u->c, &number, &wire_type)) {
            return false;
        }
        const ProtobufCFieldDescriptor *field = field_of(type, number);
        bool counts = field == NULL || field->label == PROTOBUF_C_LABEL_REPEATED;
        if (counts && !level.counted && !count_rest(&level, u->c, number, wire_type)) {
            return false;
        }
        if (field == NULL ? !take_unknown(u, &level, number, wire_type)
                          : !take_field(u, &level, field, wire_type)) {
            return false;
        }
    }
    u->depth--;
    *out = level.message;
    return true;
}

ProtobufCMessage *validate_unpack(const ProtobufCMessageDescriptor *type, struct fly_bytes bytes,
                                  struct fly_arena *arena)
{
    static const uint8_t nothing[1];
    const uint8_t *start = bytes.size > 0 ? bytes.data : nothing;
    struct unpacker u = {.c = {start, start + bytes.size}, .arena = arena};
    ProtobufCMessage *message = NULL;

    return unpack_message(&u, type, &message) ? message : NULL;
}
