/* Protobuf into JSON: see transcode.h. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/transcode.h"
#include "proto/base/check.h"
#include "proto/wire/validate.h"

enum { VARINT_MAX = 10, TAG_MAX = 5, NUMBER_TEXT = 32 };

struct decoder {
    size_t values; /* made so far */
    unsigned depth;
    struct fly_error *error;
};

struct span {
    const uint8_t *at;
    const uint8_t *end;
};

/* One field as it stands on the wire. */
struct part {
    uint32_t number;
    unsigned wire;
    uint64_t bits;     /* wire 0, 1, 5 */
    struct span inner; /* wire 2 */
};

static enum fly_status decode_message(struct decoder *d, const struct schema_message *type,
                                      struct span bytes, json_t *object);

static enum fly_status bad(struct decoder *d, const struct schema_message *type,
                           const struct schema_field *field, const char *what)
{
    return fly_error_set(d->error, FLY_INVALID_ARGUMENT, "%.120s%s%.60s: %s", type->name,
                         field != NULL ? "." : "", field != NULL ? field->name : "", what);
}

static bool take_varint(struct span *s, unsigned bytes_max, uint64_t *out)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes_max && s->at < s->end; i++) {
        uint8_t byte = *s->at++;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool take_fixed(struct span *s, size_t size, uint64_t *out)
{
    *out = 0;
    if ((size_t)(s->end - s->at) < size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        *out |= (uint64_t)*s->at++ << (8 * i);
    }
    return true;
}

static bool take_part(struct span *s, struct part *out)
{
    uint64_t tag = 0;
    uint64_t size = 0;

    if (!take_varint(s, TAG_MAX, &tag) || tag >> 3 == 0 || tag > UINT32_MAX) {
        return false;
    }
    out->number = (uint32_t)(tag >> 3);
    out->wire = (unsigned)(tag & 7);
    switch (out->wire) {
    case 0:
        return take_varint(s, VARINT_MAX, &out->bits);
    case 1:
        return take_fixed(s, 8, &out->bits);
    case 2:
        if (!take_varint(s, TAG_MAX, &size) || size > (uint64_t)(s->end - s->at)) {
            return false;
        }
        out->inner = (struct span){s->at, s->at + size};
        s->at += size;
        return true;
    case 5:
        return take_fixed(s, 4, &out->bits);
    default:
        return false;
    }
}

/* --- scalars --- */

static unsigned wire_of(enum schema_type type)
{
    switch (type) {
    case SCHEMA_DOUBLE:
    case SCHEMA_FIXED64:
    case SCHEMA_SFIXED64:
        return 1;
    case SCHEMA_FLOAT:
    case SCHEMA_FIXED32:
    case SCHEMA_SFIXED32:
        return 5;
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
    case SCHEMA_MESSAGE:
        return 2;
    case SCHEMA_GROUP:
        return 3;
    case SCHEMA_INT64:
    case SCHEMA_UINT64:
    case SCHEMA_INT32:
    case SCHEMA_BOOL:
    case SCHEMA_UINT32:
    case SCHEMA_ENUM:
    case SCHEMA_SINT32:
    case SCHEMA_SINT64:
        return 0;
    }
    FLY_UNREACHABLE();
}

static json_t *json_of_real(double value)
{
    if (isnan(value)) {
        return json_string("NaN");
    }
    if (isinf(value)) {
        return json_string(value < 0 ? "-Infinity" : "Infinity");
    }
    return json_real(value);
}

/* The double with the fewest digits that is still this float: 0.1f is shown as 0.1. */
static json_t *json_of_float(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    for (int digits = 6; isfinite(value) && digits < FLT_DECIMAL_DIG; digits++) {
        char text[NUMBER_TEXT];
        (void)snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (memcmp(&(float){strtof(text, NULL)}, &value, sizeof value) == 0) {
            return json_of_real(strtod(text, NULL));
        }
    }
    return json_of_real((double)value);
}

/* 64-bit numbers are texts: JavaScript's have 53 bits. */
static json_t *json_of_wide(uint64_t bits, bool is_signed)
{
    char text[NUMBER_TEXT];

    if (is_signed) {
        (void)snprintf(text, sizeof text, "%" PRId64, (int64_t)bits);
    } else {
        (void)snprintf(text, sizeof text, "%" PRIu64, bits);
    }
    return json_string(text);
}

static json_t *json_of_enum(const struct schema_enum *of, int32_t number)
{
    for (size_t i = 0; i < of->value_count; i++) {
        if (of->values[i].number == number) {
            return json_string(of->values[i].name);
        }
    }
    return json_integer(number);
}

static int64_t unzigzag(uint64_t bits)
{
    return (int64_t)((bits >> 1) ^ ((uint64_t)0 - (bits & 1)));
}

static json_t *json_of_scalar(const struct schema_field *field, uint64_t bits)
{
    double real;

    switch (field->type) {
    case SCHEMA_DOUBLE:
        memcpy(&real, &bits, sizeof real);
        return json_of_real(real);
    case SCHEMA_FLOAT:
        return json_of_float((uint32_t)bits);
    case SCHEMA_INT64:
    case SCHEMA_SFIXED64:
        return json_of_wide(bits, true);
    case SCHEMA_SINT64:
        return json_of_wide((uint64_t)unzigzag(bits), true);
    case SCHEMA_UINT64:
    case SCHEMA_FIXED64:
        return json_of_wide(bits, false);
    case SCHEMA_INT32:
    case SCHEMA_SFIXED32:
        return json_integer((int32_t)(uint32_t)bits);
    case SCHEMA_SINT32:
        return json_integer((int32_t)unzigzag((uint32_t)bits));
    case SCHEMA_UINT32:
    case SCHEMA_FIXED32:
        return json_integer((uint32_t)bits);
    case SCHEMA_BOOL:
        return json_boolean(bits != 0);
    case SCHEMA_ENUM:
        return json_of_enum(field->enumeration, (int32_t)(uint32_t)bits);
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
    case SCHEMA_MESSAGE:
    case SCHEMA_GROUP:
        break;
    }
    FLY_UNREACHABLE();
}

/* --- values --- */

static enum fly_status count_value(struct decoder *d)
{
    return ++d->values <= TRANSCODE_VALUES_MAX
               ? FLY_OK
               : fly_error_set(d->error, FLY_RESOURCE_EXHAUSTED,
                               "the message has more than %d values", TRANSCODE_VALUES_MAX);
}

static enum fly_status json_of_text(struct decoder *d, const struct schema_message *type,
                                    const struct schema_field *field, struct span inner,
                                    json_t **out)
{
    size_t size = (size_t)(inner.end - inner.at);

    if (!validate_utf8(inner.at, size)) {
        return bad(d, type, field, "not UTF-8");
    }
    *out = json_stringn((const char *)inner.at, size);
    return FLY_OK;
}

/* One element of its declared wire type; an inner message adds to `merged` where that is one. */
static enum fly_status json_of_part(struct decoder *d, const struct schema_message *type,
                                    const struct schema_field *field, const struct part *part,
                                    json_t *merged, json_t **out)
{
    enum fly_status status = count_value(d);

    *out = NULL;
    if (status != FLY_OK) {
        return status;
    }
    if (field->type == SCHEMA_STRING) {
        status = json_of_text(d, type, field, part->inner, out);
    } else if (field->type == SCHEMA_BYTES) {
        char *text =
            transcode_base64_encode(part->inner.at, (size_t)(part->inner.end - part->inner.at));
        *out = text == NULL ? NULL : json_string(text);
        free(text);
    } else if (field->type == SCHEMA_MESSAGE) {
        *out = json_is_object(merged) ? json_incref(merged) : json_object();
        status = *out == NULL ? FLY_OK : decode_message(d, field->message, part->inner, *out);
    } else {
        *out = json_of_scalar(field, part->bits);
    }
    FLY_CHECK(status != FLY_OK || *out != NULL);
    if (status != FLY_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}

static json_t *array_of(json_t *object, const struct schema_field *field, json_t *empty)
{
    json_t *array = json_object_get(object, field->json_name);

    if (array == NULL) {
        array = empty;
        FLY_CHECK(array != NULL && json_object_set(object, field->json_name, array) == 0);
    }
    json_decref(empty);
    return array;
}

static enum fly_status decode_packed(struct decoder *d, const struct schema_message *type,
                                     const struct schema_field *field, struct span run,
                                     json_t *array)
{
    unsigned wire = wire_of(field->type);
    struct part part = {.wire = wire};

    while (run.at < run.end) {
        bool whole = wire == 0   ? take_varint(&run, VARINT_MAX, &part.bits)
                     : wire == 1 ? take_fixed(&run, 8, &part.bits)
                                 : take_fixed(&run, 4, &part.bits);
        json_t *element = NULL;
        if (!whole) {
            return bad(d, type, field, "cut short");
        }
        enum fly_status status = json_of_part(d, type, field, &part, NULL, &element);
        if (status != FLY_OK) {
            return status;
        }
        FLY_CHECK(json_array_append_new(array, element) == 0);
    }
    return FLY_OK;
}

/* What a map's entry says when it leaves something out. */
static json_t *default_of(const struct schema_field *field)
{
    return field->type == SCHEMA_STRING || field->type == SCHEMA_BYTES ? json_string("")
           : field->type == SCHEMA_MESSAGE || field->type == SCHEMA_GROUP
               ? json_object()
               : json_of_scalar(field, 0);
}

static void put_entry(json_t *map, const json_t *key, json_t *value)
{
    char number[NUMBER_TEXT];
    const char *text = json_string_value(key);

    if (text == NULL && json_is_boolean(key)) {
        text = json_is_true(key) ? "true" : "false";
    } else if (text == NULL) {
        (void)snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(key));
        text = number;
    }
    /* a text with a NUL ends there, as it would for every reader in C */
    FLY_CHECK(json_object_set(map, text, value) == 0);
}

static enum fly_status decode_entry(struct decoder *d, const struct schema_field *field,
                                    struct span bytes, json_t *map)
{
    const struct schema_message *entry = field->message;
    json_t *made[2] = {NULL, NULL};
    enum fly_status status = FLY_OK;

    while (bytes.at < bytes.end && status == FLY_OK) {
        struct part part;
        if (!take_part(&bytes, &part)) {
            status = bad(d, entry, NULL, "malformed");
            break;
        }
        if (part.number > 2 || part.wire != wire_of(entry->fields[part.number - 1].type)) {
            continue; /* unknown */
        }
        json_t **to = &made[part.number - 1];
        json_t *value = NULL;
        status = json_of_part(d, entry, &entry->fields[part.number - 1], &part, *to, &value);
        json_decref(*to);
        *to = value;
    }
    for (size_t i = 0; i < 2 && status == FLY_OK; i++) {
        made[i] = made[i] == NULL ? default_of(&entry->fields[i]) : made[i];
        FLY_CHECK(made[i] != NULL);
    }
    if (status == FLY_OK) {
        put_entry(map, made[0], made[1]);
    }
    json_decref(made[0]);
    json_decref(made[1]);
    return status;
}

/* --- fields --- */

static enum fly_status decode_repeated(struct decoder *d, const struct schema_message *type,
                                       const struct schema_field *field, const struct part *part,
                                       json_t *object)
{
    const struct schema_field *key = NULL;
    const struct schema_field *value = NULL;
    json_t *element = NULL;

    if (schema_field_map(field, &key, &value)) {
        d->depth++;
        enum fly_status status =
            d->depth > TRANSCODE_DEPTH_MAX
                ? bad(d, type, field, "nested too deep")
                : decode_entry(d, field, part->inner, array_of(object, field, json_object()));
        d->depth--;
        return status;
    }
    if (part->wire == 2 && wire_of(field->type) != 2) {
        return decode_packed(d, type, field, part->inner, array_of(object, field, json_array()));
    }
    enum fly_status status = json_of_part(d, type, field, part, NULL, &element);
    if (status == FLY_OK) {
        FLY_CHECK(json_array_append_new(array_of(object, field, json_array()), element) == 0);
    }
    return status;
}

static bool is_zero(const struct schema_field *field, const struct part *part)
{
    return wire_of(field->type) == 2 ? part->inner.at == part->inner.end
           : field->type == SCHEMA_FLOAT || wire_of(field->type) == 5 ? (uint32_t)part->bits == 0
           : field->type == SCHEMA_INT32 || field->type == SCHEMA_UINT32 ||
                   field->type == SCHEMA_SINT32 || field->type == SCHEMA_ENUM
               ? (uint32_t)part->bits == 0
               : part->bits == 0;
}

static enum fly_status decode_singular(struct decoder *d, const struct schema_message *type,
                                       const struct schema_field *field, const struct part *part,
                                       json_t *object)
{
    json_t *value = NULL;
    enum fly_status status =
        json_of_part(d, type, field, part, json_object_get(object, field->json_name), &value);

    if (status != FLY_OK) {
        return status;
    }
    for (size_t i = 0; field->oneof >= 0 && i < type->field_count; i++) {
        if (type->fields[i].oneof == field->oneof && &type->fields[i] != field) {
            (void)json_object_del(object, type->fields[i].json_name); /* the last one counts */
        }
    }
    if (!field->presence && is_zero(field, part)) {
        (void)json_object_del(object, field->json_name);
        json_decref(value);
        return FLY_OK;
    }
    FLY_CHECK(json_object_set_new(object, field->json_name, value) == 0);
    return FLY_OK;
}

static enum fly_status decode_message(struct decoder *d, const struct schema_message *type,
                                      struct span bytes, json_t *object)
{
    enum fly_status status = FLY_OK;

    if (d->depth == TRANSCODE_DEPTH_MAX) {
        return fly_error_set(d->error, FLY_RESOURCE_EXHAUSTED, "%.120s: nested more than %d deep",
                             type->name, TRANSCODE_DEPTH_MAX);
    }
    d->depth++;
    while (bytes.at < bytes.end && status == FLY_OK) {
        struct part part = {.number = 0};
        if (!take_part(&bytes, &part)) {
            status = bad(d, type, NULL, "malformed");
            break;
        }
        const struct schema_field *field = schema_field_numbered(type, part.number);
        unsigned wire = field == NULL ? 0 : wire_of(field->type);
        bool packed = field != NULL && field->repeated && part.wire == 2 && wire != 3;
        if (field == NULL || (part.wire != wire && !packed)) {
            continue; /* of a newer version, or of another type: unknown either way */
        }
        status = field->repeated ? decode_repeated(d, type, field, &part, object)
                                 : decode_singular(d, type, field, &part, object);
    }
    d->depth--;
    return status;
}

enum fly_status transcode_decode(const struct schema_message *type, struct fly_bytes bytes,
                                 json_t **out, struct fly_error *error)
{
    static const uint8_t nothing[1];
    const uint8_t *start = bytes.size > 0 ? bytes.data : nothing;
    struct decoder d = {.error = error};

    *out = json_object();
    FLY_CHECK(*out != NULL);
    enum fly_status status =
        decode_message(&d, type, (struct span){start, start + bytes.size}, *out);
    if (status != FLY_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}
