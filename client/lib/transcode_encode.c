/* JSON into protobuf: see transcode.h. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/text.h"
#include "client/lib/transcode_parts.h"
#include "proto/base/check.h"

enum { VARINT_MAX = 10 };

static enum fly_status encode_message(struct encoder *e, const struct schema_message *type,
                                      json_t *object);

/* --- the path of what is wrong --- */

__attribute__((format(printf, 2, 3))) static size_t path_push(struct encoder *e, const char *format,
                                                              ...)
{
    size_t before = e->path_size;
    va_list args;

    va_start(args, format);
    int put = vsnprintf(e->path + before, sizeof e->path - before, format, args);
    va_end(args);
    if (put > 0) {
        size_t size = before + (size_t)put;
        e->path_size = size < sizeof e->path ? size : sizeof e->path - 1;
    }
    return before;
}

static void path_pop(struct encoder *e, size_t before)
{
    e->path_size = before;
    e->path[before] = '\0';
}

/* --- bytes --- */

static enum fly_status put(struct encoder *e, const void *data, size_t size)
{
    if (size > TRANSCODE_BYTES_MAX - e->size) {
        return fly_error_set(e->error, FLY_RESOURCE_EXHAUSTED, "the message is larger than %d MiB",
                             TRANSCODE_BYTES_MAX >> 20);
    }
    if (e->size + size > e->room) {
        e->room = 2 * (e->size + size) + 64;
        e->data = realloc(e->data, e->room);
        FLY_CHECK(e->data != NULL);
    }
    if (size > 0) {
        memcpy(e->data + e->size, data, size);
    }
    e->size += size;
    return FLY_OK;
}

static size_t varint_text(uint64_t value, uint8_t out[static VARINT_MAX])
{
    size_t size = 0;

    for (; value >= 0x80; value >>= 7) {
        out[size++] = (uint8_t)(value | 0x80);
    }
    out[size++] = (uint8_t)value;
    return size;
}

static enum fly_status put_varint(struct encoder *e, uint64_t value)
{
    uint8_t bytes[VARINT_MAX];

    return put(e, bytes, varint_text(value, bytes));
}

static enum fly_status put_tag(struct encoder *e, const struct schema_field *field, enum wire wire)
{
    return put_varint(e, (uint64_t)field->number << 3 | wire);
}

/* Puts the length of what was written since `start` before it. */
static enum fly_status close_length(struct encoder *e, size_t start)
{
    uint8_t bytes[VARINT_MAX];
    size_t inner = e->size - start;
    size_t used = varint_text(inner, bytes);
    enum fly_status status = put(e, bytes, used); /* for the room */

    if (status == FLY_OK) {
        memmove(e->data + start + used, e->data + start, inner);
        memcpy(e->data + start, bytes, used);
    }
    return status;
}

static enum fly_status put_scalar(struct encoder *e, const struct scalar *scalar)
{
    uint8_t bytes[8];

    if (scalar->wire == WIRE_VARINT) {
        return put_varint(e, scalar->bits);
    }
    fly_store_u64(bytes, scalar->bits);
    return put(e, bytes, scalar->wire == WIRE_32 ? 4 : 8);
}

/* --- what has a length --- */

static enum fly_status encode_bytes(struct encoder *e, const struct schema_field *field,
                                    const json_t *value)
{
    const char *text = json_string_value(value);
    uint8_t *bytes = NULL;
    size_t size = 0;

    if (text == NULL) {
        return encoder_other_kind(e, field, value);
    }
    if (!transcode_base64_decode(text, json_string_length(value), &bytes, &size)) {
        return encoder_wrong(e, "not base64");
    }
    enum fly_status status = FLY_OK;
    if (size > 0 || field->presence || field->repeated) {
        status = put_tag(e, field, WIRE_LENGTH);
        status = status == FLY_OK ? put_varint(e, size) : status;
        status = status == FLY_OK ? put(e, bytes, size) : status;
    }
    free(bytes);
    return status;
}

static enum fly_status encode_text(struct encoder *e, const struct schema_field *field,
                                   const json_t *value)
{
    if (!json_is_string(value)) {
        return encoder_other_kind(e, field, value);
    }
    size_t size = json_string_length(value);
    if (size == 0 && !field->presence && !field->repeated) {
        return FLY_OK;
    }
    enum fly_status status = put_tag(e, field, WIRE_LENGTH);
    status = status == FLY_OK ? put_varint(e, size) : status;
    return status == FLY_OK ? put(e, json_string_value(value), size) : status;
}

static enum fly_status encode_inner(struct encoder *e, const struct schema_field *field,
                                    json_t *value)
{
    if (!json_is_object(value)) {
        return encoder_other_kind(e, field, value);
    }
    enum fly_status status = put_tag(e, field, WIRE_LENGTH);
    size_t start = e->size;
    status = status == FLY_OK ? encode_message(e, field->message, value) : status;
    return status == FLY_OK ? close_length(e, start) : status;
}

/* One value with its tag. */
static enum fly_status encode_one(struct encoder *e, const struct schema_field *field,
                                  json_t *value)
{
    struct scalar scalar;

    switch (field->type) {
    case SCHEMA_STRING:
        return encode_text(e, field, value);
    case SCHEMA_BYTES:
        return encode_bytes(e, field, value);
    case SCHEMA_MESSAGE:
        return encode_inner(e, field, value);
    case SCHEMA_GROUP:
        return encoder_wrong(e, "groups cannot be sent");
    case SCHEMA_DOUBLE:
    case SCHEMA_FLOAT:
    case SCHEMA_INT64:
    case SCHEMA_UINT64:
    case SCHEMA_INT32:
    case SCHEMA_FIXED64:
    case SCHEMA_FIXED32:
    case SCHEMA_BOOL:
    case SCHEMA_UINT32:
    case SCHEMA_ENUM:
    case SCHEMA_SFIXED32:
    case SCHEMA_SFIXED64:
    case SCHEMA_SINT32:
    case SCHEMA_SINT64:
        break;
    }
    enum fly_status status = encoder_take_scalar(e, field, value, &scalar);
    if (status != FLY_OK || (scalar.zero && !field->presence && !field->repeated)) {
        return status;
    }
    status = put_tag(e, field, scalar.wire);
    return status == FLY_OK ? put_scalar(e, &scalar) : status;
}

/* --- many --- */

static enum fly_status encode_array(struct encoder *e, const struct schema_field *field,
                                    json_t *value)
{
    enum fly_status status = FLY_OK;

    if (!json_is_array(value)) {
        return encoder_wrong(e, "this is %s, and an array is needed", encoder_kind(value));
    }
    if (json_array_size(value) == 0) {
        return FLY_OK;
    }
    status = field->packed ? put_tag(e, field, WIRE_LENGTH) : FLY_OK;
    size_t start = e->size;
    for (size_t i = 0; i < json_array_size(value) && status == FLY_OK; i++) {
        json_t *element = json_array_get(value, i);
        size_t before = path_push(e, "[%zu]", i);
        struct scalar scalar;
        if (!field->packed) {
            status = encode_one(e, field, element);
        } else if ((status = encoder_take_scalar(e, field, element, &scalar)) == FLY_OK) {
            status = put_scalar(e, &scalar);
        }
        path_pop(e, before);
    }
    return status == FLY_OK && field->packed ? close_length(e, start) : status;
}

/* A key is always a text in JSON. */
static enum fly_status encode_key(struct encoder *e, const struct schema_field *key,
                                  const char *text)
{
    json_t *value = key->type == SCHEMA_BOOL && strcmp(text, "true") == 0    ? json_true()
                    : key->type == SCHEMA_BOOL && strcmp(text, "false") == 0 ? json_false()
                                                                             : json_string(text);

    FLY_CHECK(value != NULL);
    enum fly_status status = encode_one(e, key, value);
    json_decref(value);
    return status;
}

static enum fly_status encode_map(struct encoder *e, const struct schema_field *field,
                                  const struct schema_field *key,
                                  const struct schema_field *element, json_t *object)
{
    enum fly_status status = FLY_OK;

    if (!json_is_object(object)) {
        return encoder_wrong(e, "this is %s, and an object is needed", encoder_kind(object));
    }
    for (void *at = json_object_iter(object); at != NULL && status == FLY_OK;
         at = json_object_iter_next(object, at)) {
        size_t before = path_push(e, "[\"%.40s\"]", json_object_iter_key(at));
        status = put_tag(e, field, WIRE_LENGTH);
        size_t start = e->size;
        status = status == FLY_OK ? encode_key(e, key, json_object_iter_key(at)) : status;
        status = status == FLY_OK ? encode_one(e, element, json_object_iter_value(at)) : status;
        status = status == FLY_OK ? close_length(e, start) : status;
        path_pop(e, before);
    }
    return status;
}

static enum fly_status encode_field(struct encoder *e, const struct schema_field *field,
                                    json_t *value)
{
    const struct schema_field *key = NULL;
    const struct schema_field *element = NULL;

    if (!field->repeated) {
        return encode_one(e, field, value);
    }
    return schema_field_map(field, &key, &element) ? encode_map(e, field, key, element, value)
                                                   : encode_array(e, field, value);
}

/* --- messages --- */

static enum fly_status unknown_field(struct encoder *e, const struct schema_message *type,
                                     const char *name)
{
    const char *names[ENCODER_NEAR_MAX];
    size_t count = 0;

    for (size_t i = 0; i < type->field_count && count < ENCODER_NEAR_MAX; i++) {
        names[count++] = type->fields[i].json_name;
    }
    const char *near = text_nearest(name, names, count);
    (void)path_push(e, ".%.60s", name);
    return near != NULL ? encoder_wrong(e, "%.100s has no such field; did you mean '%.60s'?",
                                        type->name, near)
                        : encoder_wrong(e, "%.100s has no such field", type->name);
}

/* The value of a field under either of its names; *seen counts the names that stood there. */
static enum fly_status field_value(struct encoder *e, const struct schema_field *field,
                                   const json_t *object, size_t *seen, json_t **out)
{
    json_t *by_json = json_object_get(object, field->json_name);
    json_t *by_name =
        strcmp(field->json_name, field->name) == 0 ? NULL : json_object_get(object, field->name);

    *seen += (by_json != NULL) + (size_t)(by_name != NULL);
    *out = by_json != NULL ? by_json : by_name;
    if (by_json != NULL && by_name != NULL) {
        return encoder_wrong(e, "'%.60s' and '%.60s' are one field: it stands here twice",
                             field->json_name, field->name);
    }
    return FLY_OK;
}

static enum fly_status check_names(struct encoder *e, const struct schema_message *type,
                                   json_t *object)
{
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        if (schema_field_named(type, json_object_iter_key(at)) == NULL) {
            return unknown_field(e, type, json_object_iter_key(at));
        }
    }
    return FLY_OK;
}

static enum fly_status encode_fields(struct encoder *e, const struct schema_message *type,
                                     json_t *object, const struct schema_field **chosen)
{
    enum fly_status status = FLY_OK;
    size_t seen = 0;

    for (size_t i = 0; i < type->field_count && status == FLY_OK; i++) {
        const struct schema_field *field = &type->fields[i];
        json_t *value = NULL;
        status = field_value(e, field, object, &seen, &value);
        if (status != FLY_OK || value == NULL || json_is_null(value)) {
            continue;
        }
        if (field->oneof >= 0) {
            const struct schema_field *other = chosen[field->oneof];
            if (other != NULL) {
                return encoder_wrong(
                    e, "'%.60s' and '%.60s' are of oneof %.60s: only one may be set",
                    other->json_name, field->json_name, type->oneofs[field->oneof]);
            }
            chosen[field->oneof] = field;
        }
        size_t before = path_push(e, ".%s", field->json_name);
        status = encode_field(e, field, value);
        path_pop(e, before);
    }
    return status == FLY_OK && seen != json_object_size(object) ? check_names(e, type, object)
                                                                : status;
}

static enum fly_status encode_message(struct encoder *e, const struct schema_message *type,
                                      json_t *object)
{
    if (e->depth == TRANSCODE_DEPTH_MAX) {
        return encoder_wrong(e, "nested more than %d deep", TRANSCODE_DEPTH_MAX);
    }
    const struct schema_field **chosen = calloc(type->oneof_count + 1, sizeof(void *));
    FLY_CHECK(chosen != NULL);
    e->depth++;
    enum fly_status status = encode_fields(e, type, object, chosen);
    e->depth--;
    free(chosen);
    return status;
}

enum fly_status transcode_encode(const struct schema_message *type, json_t *object, uint8_t **out,
                                 size_t *size, struct fly_error *error)
{
    struct encoder e = {.error = error};
    enum fly_status status = FLY_OK;

    *out = NULL;
    *size = 0;
    if (!json_is_object(object)) {
        return encoder_wrong(&e, "this is %s, and an object is needed: the fields of %.100s",
                             encoder_kind(object), type->name);
    }
    status = encode_message(&e, type, object);
    if (status != FLY_OK) {
        free(e.data);
        return status;
    }
    *out = e.data;
    *size = e.size;
    return FLY_OK;
}
