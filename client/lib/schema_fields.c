#include <stdlib.h>
#include <string.h>

#include "client/lib/schema_parts.h"
#include "proto/wire/validate.h"

typedef Google__Protobuf__FileDescriptorSet Set;
typedef Google__Protobuf__FileDescriptorProto File;
typedef Google__Protobuf__DescriptorProto Type;
typedef Google__Protobuf__FieldDescriptorProto Field;
typedef Google__Protobuf__ServiceDescriptorProto Service;
typedef Google__Protobuf__MethodDescriptorProto Method;

enum {
    RULE_FIELD = 50744, /* of MethodOptions: options.proto */
    FIELD_NUMBER_MAX = (1 << 29) - 1,
};

/* --- second pass: what belongs to what --- */

/* lower_case_name as lowerCaseName: protoc's rule. */
static const char *json_name_of(struct schema *s, const char *name)
{
    char *text = schema_array(s, strlen(name) + 1, 1);
    size_t at = 0;
    bool up = false;

    for (size_t i = 0; text != NULL && name[i] != '\0'; i++) {
        if (name[i] == '_') {
            up = true;
            continue;
        }
        text[at++] = up && name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i];
        up = false;
    }
    return text;
}

/* Any text that JSON can hold. */
static bool is_json_name(const char *text)
{
    size_t size = text == NULL ? 0 : strlen(text);

    return size > 0 && size <= SCHEMA_NAME_MAX && validate_utf8((const uint8_t *)text, size);
}

static bool packable(enum schema_type type)
{
    return type != SCHEMA_STRING && type != SCHEMA_BYTES && type != SCHEMA_MESSAGE &&
           type != SCHEMA_GROUP;
}

static enum fly_status bad_field(struct schema *s, const struct made_message *of, const Field *from,
                                 const char *what)
{
    const char *name = schema_is_name(from->name, false) ? from->name : "?";

    return fly_error_set(s->error, FLY_INVALID_ARGUMENT,
                         "the server's descriptors: %.120s.%.60s %s", of->message.name, name, what);
}

static enum fly_status resolve_type(struct schema *s, const struct made_message *of,
                                    const Field *from, struct schema_field *to)
{
    const char *name = from->type_name;

    if (to->type != SCHEMA_MESSAGE && to->type != SCHEMA_GROUP && to->type != SCHEMA_ENUM) {
        return FLY_OK;
    }
    if (name == NULL || name[0] != '.') { /* protoc resolves all of them */
        return bad_field(s, of, from, "does not say of which type it is");
    }
    if (to->type == SCHEMA_ENUM) {
        to->enumeration = schema_enum(s, name + 1);
    } else {
        to->message = schema_message(s, name + 1);
    }
    return to->message != NULL || to->enumeration != NULL
               ? FLY_OK
               : bad_field(s, of, from, "is of a type that is not there");
}

static enum fly_status make_field(struct schema *s, const struct made_message *of,
                                  const Field *from, struct schema_field *to)
{
    if (!schema_is_name(from->name, false) || from->number < 1 || from->number > FIELD_NUMBER_MAX) {
        return bad_field(s, of, from, "has no name or no number");
    }
    if ((int)from->type < SCHEMA_DOUBLE || (int)from->type > SCHEMA_SINT64) {
        return bad_field(s, of, from, "is of a type that nobody knows");
    }
    to->name = from->name;
    to->json_name = is_json_name(from->json_name) ? from->json_name : json_name_of(s, from->name);
    if (to->json_name == NULL) {
        return schema_no_room(s);
    }
    to->number = (uint32_t)from->number;
    to->type = (enum schema_type)from->type;
    to->repeated = from->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED;
    to->oneof = -1;
    if (from->has_oneof_index && !from->proto3_optional) {
        if (from->oneof_index < 0 || (size_t)from->oneof_index >= of->message.oneof_count) {
            return bad_field(s, of, from, "is in a oneof that is not there");
        }
        to->oneof = from->oneof_index;
    }
    /* the key and the value of a map's entry always stand there, as Google's encoders have it */
    to->presence =
        !to->repeated && (!of->proto3 || of->message.map_entry || from->has_oneof_index ||
                          to->type == SCHEMA_MESSAGE || to->type == SCHEMA_GROUP);
    bool said = from->options != NULL && from->options->has_packed;
    to->packed = to->repeated && packable(to->type) && (said ? from->options->packed : of->proto3);
    return resolve_type(s, of, from, to);
}

static bool is_map_entry(const struct schema_message *m)
{
    static const uint32_t takes =
        1U << SCHEMA_INT64 | 1U << SCHEMA_UINT64 | 1U << SCHEMA_INT32 | 1U << SCHEMA_FIXED64 |
        1U << SCHEMA_FIXED32 | 1U << SCHEMA_BOOL | 1U << SCHEMA_STRING | 1U << SCHEMA_UINT32 |
        1U << SCHEMA_SFIXED32 | 1U << SCHEMA_SFIXED64 | 1U << SCHEMA_SINT32 | 1U << SCHEMA_SINT64;

    return m->field_count == 2 && m->fields[0].number == 1 && m->fields[1].number == 2 &&
           !m->fields[0].repeated && !m->fields[1].repeated &&
           (takes >> m->fields[0].type & 1) != 0;
}

/* In JSON two fields of one name would be one. */
static enum fly_status check_json_names(struct schema *s, const struct schema_message *m)
{
    const char **names = schema_array(s, m->field_count, sizeof *names);

    if (names == NULL) {
        return schema_no_room(s);
    }
    for (size_t i = 0; i < m->field_count; i++) {
        names[i] = m->fields[i].json_name;
    }
    schema_sort(names, m->field_count, sizeof *names);
    return schema_check_twice(s, names, m->field_count, sizeof *names) == FLY_OK
               ? FLY_OK
               : fly_error_wrap(s->error, "%.120s", m->name);
}

static enum fly_status make_message(struct schema *s, struct made_message *made)
{
    struct schema_message *m = &made->message;
    const Type *type = made->type;

    if (type->n_field > SCHEMA_FIELDS_MAX || type->n_oneof_decl > SCHEMA_FIELDS_MAX) {
        return schema_no_room(s);
    }
    m->fields = schema_array(s, type->n_field, sizeof *m->fields);
    m->oneofs = schema_array(s, type->n_oneof_decl, sizeof *m->oneofs);
    if (m->fields == NULL || m->oneofs == NULL) {
        return schema_no_room(s);
    }
    m->oneof_count = type->n_oneof_decl;
    for (size_t i = 0; i < m->oneof_count; i++) {
        const char *name = type->oneof_decl[i]->name;
        m->oneofs[i] = schema_is_name(name, false) ? name : "_";
    }
    for (size_t i = 0; i < type->n_field; i++) {
        enum fly_status status = make_field(s, made, type->field[i], &m->fields[i]);
        if (status != FLY_OK) {
            return status;
        }
    }
    m->field_count = type->n_field;
    schema_sort_fields(m);
    for (size_t i = 1; i < m->field_count; i++) {
        if (m->fields[i].number == m->fields[i - 1].number) {
            return fly_error_set(s->error, FLY_INVALID_ARGUMENT,
                                 "the server's descriptors: %.120s has field %u twice", m->name,
                                 (unsigned)m->fields[i].number);
        }
    }
    if (m->map_entry && !is_map_entry(m)) {
        return fly_error_set(s->error, FLY_INVALID_ARGUMENT,
                             "the server's descriptors: %.120s is no entry of a map", m->name);
    }
    return check_json_names(s, m);
}

/* The extension (fly.v1.rpc), which protobuf-c does not know and keeps as it came: with its length
 * before it. A rule that does not read is no rule. */
static const Fly__V1__MethodRule *rule_of(struct schema *s, const Method *method)
{
    const ProtobufCMessageDescriptor *type = &fly__v1__method_rule__descriptor;
    const ProtobufCMessage *options = method->options != NULL ? &method->options->base : NULL;
    ProtobufCAllocator allocator = schema_allocator(s);
    struct fly_error ignored;

    for (unsigned i = 0; options != NULL && i < options->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *f = &options->unknown_fields[i];
        size_t skip = 0;
        if (f->tag != RULE_FIELD || f->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
            continue;
        }
        while (skip < f->len && f->data[skip] >= 0x80) {
            skip++;
        }
        skip++; /* f->data holds the length whole: protobuf-c has walked over it */
        const struct fly_bytes bytes = {f->data + skip, f->len - skip};
        if (validate_message(type, bytes, SCHEMA_ARENA_SIZE, NULL, &ignored) == FLY_OK) {
            return (const Fly__V1__MethodRule *)protobuf_c_message_unpack(type, &allocator,
                                                                          bytes.size, bytes.data);
        }
    }
    return NULL;
}

static const struct schema_message *type_of_method(const struct schema *s, const char *name)
{
    return name != NULL && name[0] == '.' ? schema_message(s, name + 1) : NULL;
}

static enum fly_status make_method(struct schema *s, const char *service, const Method *from,
                                   struct schema_method *to)
{
    enum fly_status status = schema_join_name(s, service, '/', from->name, &to->name);

    if (status != FLY_OK) {
        return status;
    }
    to->short_name = from->name;
    to->input = type_of_method(s, from->input_type);
    to->output = type_of_method(s, from->output_type);
    to->client_streams = from->client_streaming;
    to->server_streams = from->server_streaming;
    to->rule = rule_of(s, from);
    return to->input != NULL && to->output != NULL
               ? FLY_OK
               : fly_error_set(s->error, FLY_INVALID_ARGUMENT,
                               "the server's descriptors: %.200s is of types that are not there",
                               to->name);
}

static enum fly_status add_service(struct schema *s, const char *package, const Service *from)
{
    struct schema_service *to = &s->services[s->service_count];
    enum fly_status status = schema_join_name(s, package, '.', from->name, &to->name);

    if (status != FLY_OK) {
        return status;
    }
    to->methods = schema_array(s, from->n_method, sizeof *to->methods);
    if (to->methods == NULL || from->n_method > SCHEMA_FIELDS_MAX) {
        return schema_no_room(s);
    }
    for (size_t i = 0; i < from->n_method && status == FLY_OK; i++) {
        status = make_method(s, to->name, from->method[i], &to->methods[i]);
        to->method_count += status == FLY_OK;
    }
    s->service_count++;
    return status;
}

enum fly_status schema_add_fields(struct schema *s, const Set *set)
{
    enum fly_status status = FLY_OK;

    for (size_t i = 0; i < s->message_count && status == FLY_OK; i++) {
        status = make_message(s, &s->messages[i]);
    }
    for (size_t f = 0; f < set->n_file && status == FLY_OK; f++) {
        const File *file = set->file[f];
        for (size_t i = 0; i < file->n_service && status == FLY_OK; i++) {
            status = add_service(s, schema_package(file), file->service[i]);
        }
    }
    schema_sort(s->services, s->service_count, sizeof *s->services);
    return status == FLY_OK
               ? schema_check_twice(s, s->services, s->service_count, sizeof *s->services)
               : status;
}
