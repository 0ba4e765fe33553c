#include "proto/wire/validate.h"

#include <stdbool.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/validate_walk.h"

enum { ALIGNMENT = 16 /* what fly_arena_alloc rounds up to */ };

struct walk {
    struct cursor c;
    size_t arena_used;
    size_t arena_max;
    struct fly_error *error;
};

/* What one message on the way down has seen so far. */
struct level {
    const ProtobufCMessageDescriptor *type;
    uint64_t seen; /* singular message fields, by index */
    size_t unknown;
    bool repeats;                         /* some field of `counts` is not 0 */
    uint32_t counts[VALIDATE_FIELDS_MAX]; /* elements of repeated fields; n_fields are set */
};

static enum fly_status walk_message(struct walk *w, const ProtobufCMessageDescriptor *type,
                                    unsigned depth);

static enum fly_status malformed(const struct walk *w, const struct level *level,
                                 const ProtobufCFieldDescriptor *field, const char *what)
{
    return fly_error_set(w->error, FLY_INVALID_ARGUMENT, "%s%s%s: %s", level->type->name,
                         field != NULL ? "." : "", field != NULL ? field->name : "", what);
}

/* Accounts for one allocation of validate_unpack, rounded as the arena rounds. */
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

bool cursor_long_varint(struct cursor *c, unsigned bytes_max, uint64_t *out)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes_max && c->at < c->end; i++) {
        uint8_t byte = *c->at++;
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

bool cursor_skip_value(struct cursor *c, unsigned wire_type)
{
    uint64_t value = 0;
    size_t size = 0;

    switch (wire_type) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        return cursor_varint(c, VARINT_BYTES_MAX, &value);
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        return cursor_skip(c, 8);
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        return cursor_length(c, &size) && cursor_skip(c, size);
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        return cursor_skip(c, 4);
    default:
        return false;
    }
}

/* Whether it is all ASCII without a NUL: nearly every string is. */
static bool plain_ascii(const uint8_t *text, size_t size)
{
    static const uint64_t highs = 0x8080808080808080U;
    static const uint64_t ones = 0x0101010101010101U;
    uint64_t word = 0;
    size_t i = 0;

    for (; size - i >= sizeof word; i += sizeof word) {
        memcpy(&word, text + i, sizeof word);
        /* without high bits, a borrow into one shows that a byte was 0 */
        if (((word | (word - ones)) & highs) != 0) {
            return false;
        }
    }
    for (; i < size; i++) {
        if (text[i] == 0 || text[i] >= 0x80) {
            return false;
        }
    }
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

bool text_sound(const uint8_t *text, size_t size, const char **why)
{
    const char *found = NULL;

    if (!plain_ascii(text, size)) {
        if (memchr(text, '\0', size) != NULL) {
            found = "NUL in a string";
        } else if (!validate_utf8(text, size)) {
            found = "not UTF-8";
        }
    }
    if (why != NULL) {
        *why = found;
    }
    return found == NULL;
}

/* The elements of a packed field, each checked. */
static bool walk_packed(struct walk *w, const ProtobufCFieldDescriptor *field, size_t size,
                        uint32_t *count)
{
    struct cursor inner = {w->c.at, w->c.at + size};
    uint64_t value = 0;

    w->c.at += size;
    switch (field_wire_type(field->type)) {
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
            if (!cursor_varint(&inner, VARINT_BYTES_MAX, &value)) {
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
    const uint8_t *start = w->c.at;

    if (!cursor_skip_value(&w->c, wire_type)) {
        return malformed(w, level, NULL, "bad unknown field");
    }
    level->unknown++;
    return charge(w, (size_t)(w->c.at - start));
}

/* A length-delimited field of its declared type: string, bytes or message, one of them. */
static enum fly_status walk_delimited(struct walk *w, struct level *level,
                                      const ProtobufCFieldDescriptor *field, unsigned depth)
{
    size_t index = (size_t)(field - level->type->fields);
    size_t size = 0;

    if (!cursor_length(&w->c, &size)) {
        return malformed(w, level, field, "length past the end");
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const uint8_t *outer_end = w->c.end;
        uint64_t bit = (uint64_t)1 << index;
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            if ((level->seen & bit) != 0) {
                return malformed(w, level, field, "stands twice");
            }
            level->seen |= bit;
        }
        w->c.end = w->c.at + size;
        enum fly_status status = walk_message(w, field->descriptor, depth + 1);
        w->c.end = outer_end;
        return status;
    }
    const uint8_t *text = w->c.at;
    w->c.at += size;
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *why = NULL;
        return text_sound(text, size, &why) ? charge(w, size + 1) : malformed(w, level, field, why);
    }
    return charge(w, size);
}

static enum fly_status walk_field(struct walk *w, struct level *level,
                                  const ProtobufCFieldDescriptor *field, unsigned wire_type,
                                  unsigned depth)
{
    size_t index = (size_t)(field - level->type->fields);
    unsigned declared = field_wire_type(field->type);
    bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    uint64_t value = 0;
    size_t size = 0;

    if (repeated && wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED && declared != wire_type) {
        if (!cursor_length(&w->c, &size) || !walk_packed(w, field, size, &level->counts[index])) {
            return malformed(w, level, field, "bad packed elements");
        }
        level->repeats = true;
        return FLY_OK;
    }
    if (wire_type != declared) {
        return malformed(w, level, field, "wrong wire type");
    }
    if (repeated) {
        level->counts[index]++;
        level->repeats = true;
    }
    switch (declared) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        return cursor_varint(&w->c, VARINT_BYTES_MAX, &value)
                   ? FLY_OK
                   : malformed(w, level, field, "bad varint");
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        return cursor_skip(&w->c, 8) ? FLY_OK : malformed(w, level, field, "cut short");
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        return cursor_skip(&w->c, 4) ? FLY_OK : malformed(w, level, field, "cut short");
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        return walk_delimited(w, level, field, depth);
    }
    FLY_UNREACHABLE();
}

/* The arrays that are allocated once all fields were counted. */
static enum fly_status charge_arrays(struct walk *w, const struct level *level)
{
    enum fly_status status = FLY_OK;

    for (unsigned i = 0; level->repeats && i < level->type->n_fields && status == FLY_OK; i++) {
        if (level->counts[i] > 0) {
            status = charge(w, level->counts[i] * field_size(level->type->fields[i].type));
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
    struct level level; /* most of it is not needed for most types */
    enum fly_status status = FLY_OK;

    if (depth > VALIDATE_DEPTH_MAX || type->n_fields > VALIDATE_FIELDS_MAX) {
        return fly_error_set(w->error, FLY_INVALID_ARGUMENT, "%s: nested too deep", type->name);
    }
    level.type = type;
    level.seen = 0;
    level.unknown = 0;
    level.repeats = false;
    memset(level.counts, 0, type->n_fields * sizeof level.counts[0]);
    status = charge(w, type->sizeof_message);
    while (status == FLY_OK && w->c.at < w->c.end) {
        uint32_t number = 0;
        unsigned wire_type = 0;
        if (!cursor_tag(&w->c, &number, &wire_type)) {
            return malformed(w, &level, NULL, "bad tag");
        }
        const ProtobufCFieldDescriptor *field = field_of(type, number);
        status = field == NULL ? walk_unknown(w, &level, wire_type)
                               : walk_field(w, &level, field, wire_type, depth);
    }
    return status == FLY_OK ? charge_arrays(w, &level) : status;
}

enum fly_status validate_message(const ProtobufCMessageDescriptor *type, struct fly_bytes bytes,
                                 size_t arena_max, size_t *arena_size, struct fly_error *error)
{
    static const uint8_t nothing[1];
    const uint8_t *start = bytes.size > 0 ? bytes.data : nothing;
    struct walk w = {.c = {start, start + bytes.size}, .arena_max = arena_max, .error = error};
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
    if (type->message_init == NULL) {
        return fly_error_set(error, FLY_INTERNAL, "%s was not made by protoc-c", type->name);
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
