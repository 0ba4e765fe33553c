#include "proto/wire/validate.h"

#include <stdbool.h>
#include <string.h>

#include "proto/base/check.h"

enum {
    ALIGNMENT = 16,           /* what fly_arena_alloc rounds up to */
    SLAB_FIRST = 16,          /* protobuf-c keeps so many fields on the stack … */
    SCANNED_MEMBER_SIZE = 32, /* … and doubles slabs of such records after that */
    TAG_BYTES_MAX = 5,
    LENGTH_BYTES_MAX = 5,
    VARINT_BYTES_MAX = 10,
    FIELD_NUMBER_MAX = (1 << 29) - 1,
};

struct walk {
    const uint8_t *at;
    const uint8_t *end;
    size_t arena_used;
    size_t arena_max;
    struct fly_error *error;
};

/* What one message on the way down has seen so far. */
struct level {
    const ProtobufCMessageDescriptor *type;
    uint64_t seen;                        /* singular message fields, by index */
    uint32_t counts[VALIDATE_FIELDS_MAX]; /* elements of repeated fields */
    size_t members;                       /* fields, each with its tag */
    size_t slab_end;                      /* members that the slabs so far can hold */
    size_t unknown;
};

static enum fly_status walk_message(struct walk *w, const ProtobufCMessageDescriptor *type,
                                    unsigned depth);

static enum fly_status malformed(const struct walk *w, const struct level *level,
                                 const ProtobufCFieldDescriptor *field, const char *what)
{
    return fly_error_set(w->error, FLY_INVALID_ARGUMENT, "%s%s%s: %s", level->type->name,
                         field != NULL ? "." : "", field != NULL ? field->name : "", what);
}

/* Accounts for one allocation of protobuf-c, rounded as the arena rounds. */
static enum fly_status charge(struct walk *w, size_t size)
{
    size_t rounded = (size + (ALIGNMENT - 1)) & ~(size_t)(ALIGNMENT - 1);

    if (rounded > w->arena_max - w->arena_used) {
        return fly_error_set(w->error, FLY_RESOURCE_EXHAUSTED,
                             "message needs more than %zu bytes unpacked", w->arena_max);
    }
    w->arena_used += rounded;
    return FLY_OK;
}

/* Reads a varint of at most bytes_max bytes that fits 64 bits. */
static bool take_varint(struct walk *w, unsigned bytes_max, uint64_t *out)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes_max && w->at < w->end; i++) {
        uint8_t byte = *w->at++;
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) {
            return false;
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool take_bytes(struct walk *w, size_t size)
{
    if ((size_t)(w->end - w->at) < size) {
        return false;
    }
    w->at += size;
    return true;
}

static bool take_length(struct walk *w, size_t *out)
{
    uint64_t length = 0;

    if (!take_varint(w, LENGTH_BYTES_MAX, &length) || length > (size_t)(w->end - w->at)) {
        return false;
    }
    *out = (size_t)length;
    return true;
}

bool validate_utf8(const uint8_t *text, size_t size)
{
    size_t i = 0;

    while (i < size) {
        uint8_t lead = text[i++];
        size_t more = 0;
        uint8_t low = 0x80; /* bounds of the second byte: no overlong form, no surrogate */
        uint8_t high = 0xbf;
        if (lead < 0x80) {
            continue;
        }
        if (lead < 0xc2 || lead > 0xf4) {
            return false;
        }
        if (lead < 0xe0) {
            more = 1;
        } else if (lead < 0xf0) {
            more = 2;
            low = lead == 0xe0 ? 0xa0 : low;
            high = lead == 0xed ? 0x9f : high;
        } else {
            more = 3;
            low = lead == 0xf0 ? 0x90 : low;
            high = lead == 0xf4 ? 0x8f : high;
        }
        if (size - i < more || text[i] < low || text[i] > high) {
            return false;
        }
        for (size_t k = 1; k < more; k++) {
            if (text[i + k] < 0x80 || text[i + k] > 0xbf) {
                return false;
            }
        }
        i += more;
    }
    return true;
}

static size_t element_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    }
    FLY_UNREACHABLE();
}

static ProtobufCWireType wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return PROTOBUF_C_WIRE_TYPE_32BIT;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return PROTOBUF_C_WIRE_TYPE_64BIT;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        return PROTOBUF_C_WIRE_TYPE_VARINT;
    }
    FLY_UNREACHABLE();
}

/* The elements of a packed field, each checked. */
static bool walk_packed(struct walk *w, const ProtobufCFieldDescriptor *field, size_t size,
                        uint32_t *count)
{
    struct walk inner = {.at = w->at, .end = w->at + size};
    uint64_t value = 0;

    w->at += size;
    switch (wire_type_of(field->type)) {
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        *count += (uint32_t)(size / 4);
        return size % 4 == 0;
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        *count += (uint32_t)(size / 8);
        return size % 8 == 0;
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        while (inner.at < inner.end) {
            if (field->type == PROTOBUF_C_TYPE_BOOL && *inner.at > 1) {
                return false;
            }
            if (!take_varint(&inner, VARINT_BYTES_MAX, &value)) {
                return false;
            }
            *count += 1;
        }
        return true;
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        break;
    }
    return false;
}

/* Skips a field that the descriptor does not know; protobuf-c will keep a copy of it. */
static enum fly_status walk_unknown(struct walk *w, struct level *level, unsigned wire_type)
{
    const uint8_t *start = w->at;
    uint64_t value = 0;
    size_t size = 0;
    bool whole = false;

    switch (wire_type) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        whole = take_varint(w, VARINT_BYTES_MAX, &value);
        break;
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        whole = take_bytes(w, 8);
        break;
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        whole = take_length(w, &size) && take_bytes(w, size);
        break;
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        whole = take_bytes(w, 4);
        break;
    default:
        break;
    }
    if (!whole) {
        return malformed(w, level, NULL, "bad unknown field");
    }
    level->unknown++;
    return charge(w, (size_t)(w->at - start));
}

/* A length-delimited field of its declared type: string, bytes or message, one of them. */
static enum fly_status walk_delimited(struct walk *w, struct level *level,
                                      const ProtobufCFieldDescriptor *field, unsigned depth)
{
    size_t index = (size_t)(field - level->type->fields);
    size_t size = 0;

    if (!take_length(w, &size)) {
        return malformed(w, level, field, "length past the end");
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const uint8_t *outer_end = w->end;
        uint64_t bit = (uint64_t)1 << index;
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            if ((level->seen & bit) != 0) {
                return malformed(w, level, field, "stands twice");
            }
            level->seen |= bit;
        }
        w->end = w->at + size;
        enum fly_status status = walk_message(w, field->descriptor, depth + 1);
        w->end = outer_end;
        return status;
    }
    const uint8_t *text = w->at;
    w->at += size;
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        if (size > 0 && memchr(text, '\0', size) != NULL) {
            return malformed(w, level, field, "NUL in a string");
        }
        if (!validate_utf8(text, size)) {
            return malformed(w, level, field, "not UTF-8");
        }
        return charge(w, size + 1);
    }
    return charge(w, size);
}

static enum fly_status walk_field(struct walk *w, struct level *level,
                                  const ProtobufCFieldDescriptor *field, unsigned wire_type,
                                  unsigned depth)
{
    size_t index = (size_t)(field - level->type->fields);
    ProtobufCWireType declared = wire_type_of(field->type);
    bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    uint64_t value = 0;
    size_t size = 0;

    if (repeated && wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED && declared != wire_type) {
        if (!take_length(w, &size) || !walk_packed(w, field, size, &level->counts[index])) {
            return malformed(w, level, field, "bad packed elements");
        }
        return FLY_OK;
    }
    if (wire_type != declared) {
        return malformed(w, level, field, "wrong wire type");
    }
    level->counts[index] += repeated ? 1 : 0;
    switch (declared) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        return take_varint(w, VARINT_BYTES_MAX, &value) ? FLY_OK
                                                        : malformed(w, level, field, "bad varint");
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        return take_bytes(w, 8) ? FLY_OK : malformed(w, level, field, "cut short");
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        return take_bytes(w, 4) ? FLY_OK : malformed(w, level, field, "cut short");
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        return walk_delimited(w, level, field, depth);
    }
    FLY_UNREACHABLE();
}

/* protobuf-c's own bookkeeping of one more field: a slab twice as large whenever one is full. */
static enum fly_status charge_member(struct walk *w, struct level *level)
{
    level->members++;
    if (level->members <= level->slab_end) {
        return FLY_OK;
    }
    size_t slab = level->slab_end + SLAB_FIRST; /* 16 + 32 + … + 2^k = 2^(k+1) − 16 */
    level->slab_end += slab;
    return charge(w, slab * SCANNED_MEMBER_SIZE);
}

/* The arrays that are allocated once all fields were counted. */
static enum fly_status charge_arrays(struct walk *w, const struct level *level)
{
    enum fly_status status = FLY_OK;

    for (unsigned i = 0; i < level->type->n_fields && status == FLY_OK; i++) {
        if (level->counts[i] > 0) {
            status = charge(w, level->counts[i] * element_size(level->type->fields[i].type));
        }
    }
    if (status == FLY_OK && level->unknown > 0) {
        status = charge(w, level->unknown * sizeof(ProtobufCMessageUnknownField));
    }
    return status;
}

static enum fly_status walk_message(struct walk *w, const ProtobufCMessageDescriptor *type,
                                    unsigned depth)
{
    struct level level = {.type = type, .slab_end = SLAB_FIRST};
    enum fly_status status = FLY_OK;

    if (depth > VALIDATE_DEPTH_MAX || type->n_fields > VALIDATE_FIELDS_MAX) {
        return fly_error_set(w->error, FLY_INVALID_ARGUMENT, "%s: nested too deep", type->name);
    }
    status = charge(w, type->sizeof_message);
    while (status == FLY_OK && w->at < w->end) {
        uint64_t tag = 0;
        if (!take_varint(w, TAG_BYTES_MAX, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX) {
            return malformed(w, &level, NULL, "bad tag");
        }
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
        status = charge_member(w, &level);
        if (status == FLY_OK) {
            unsigned wire_type = (unsigned)(tag & 7);
            status = field == NULL ? walk_unknown(w, &level, wire_type)
                                   : walk_field(w, &level, field, wire_type, depth);
        }
    }
    return status == FLY_OK ? charge_arrays(w, &level) : status;
}

enum fly_status validate_message(const ProtobufCMessageDescriptor *type, struct fly_bytes bytes,
                                 size_t arena_max, size_t *arena_size, struct fly_error *error)
{
    static const uint8_t nothing[1];
    const uint8_t *start = bytes.size > 0 ? bytes.data : nothing;
    struct walk w = {
        .at = start, .end = start + bytes.size, .arena_max = arena_max, .error = error};
    enum fly_status status = walk_message(&w, type, 1);

    if (status == FLY_OK && arena_size != NULL) {
        *arena_size = w.arena_used;
    }
    return status;
}

static enum fly_status check_schema(const ProtobufCMessageDescriptor *type,
                                    const ProtobufCMessageDescriptor **path, unsigned depth,
                                    struct fly_error *error)
{
    for (unsigned i = 0; i < depth; i++) {
        if (path[i] == type) {
            return fly_error_set(error, FLY_INTERNAL, "%s can contain itself", type->name);
        }
    }
    if (depth == VALIDATE_DEPTH_MAX) {
        return fly_error_set(error, FLY_INTERNAL, "%s is nested too deep", type->name);
    }
    if (type->n_fields > VALIDATE_FIELDS_MAX) {
        return fly_error_set(error, FLY_INTERNAL, "%s has too many fields", type->name);
    }
    path[depth] = type;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->label == PROTOBUF_C_LABEL_REQUIRED) {
            return fly_error_set(error, FLY_INTERNAL, "%s.%s is required", type->name, field->name);
        }
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            enum fly_status status = check_schema(field->descriptor, path, depth + 1, error);
            if (status != FLY_OK) {
                return status;
            }
        }
    }
    return FLY_OK;
}

enum fly_status validate_schema(const ProtobufCMessageDescriptor *type, struct fly_error *error)
{
    const ProtobufCMessageDescriptor *path[VALIDATE_DEPTH_MAX];

    return check_schema(type, path, 0, error);
}

static void *arena_alloc(void *arena, size_t size)
{
    return fly_arena_alloc(arena, size);
}

static void arena_free(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

ProtobufCMessage *validate_unpack(const ProtobufCMessageDescriptor *type, struct fly_bytes bytes,
                                  struct fly_arena *arena)
{
    ProtobufCAllocator allocator = {
        .alloc = arena_alloc, .free = arena_free, .allocator_data = arena};

    return protobuf_c_message_unpack(type, &allocator, bytes.size, bytes.data);
}
