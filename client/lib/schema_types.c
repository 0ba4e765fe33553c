#include <stdlib.h>
#include <string.h>

#include "client/lib/schema_parts.h"

typedef Google__Protobuf__FileDescriptorSet Set;
typedef Google__Protobuf__FileDescriptorProto File;
typedef Google__Protobuf__DescriptorProto Type;
typedef Google__Protobuf__EnumDescriptorProto Enum;

/* --- memory --- */

static void *arena_alloc(void *arena, size_t size)
{
    return fly_arena_alloc(arena, size);
}

static void arena_free(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

ProtobufCAllocator schema_allocator(struct schema *s)
{
    return (ProtobufCAllocator){arena_alloc, arena_free, &s->arena};
}

enum fly_status schema_no_room(struct schema *s)
{
    return fly_error_set(s->error, FLY_RESOURCE_EXHAUSTED,
                         "the server's descriptors take more than %zu KiB", s->arena.size >> 10);
}

void *schema_array(struct schema *s, size_t count, size_t size)
{
    void *array = fly_arena_alloc(&s->arena, count > 0 ? count * size : 1);

    if (array != NULL) {
        memset(array, 0, count > 0 ? count * size : 1);
    }
    return array;
}

/* --- names --- */

bool schema_is_name(const char *text, bool dots)
{
    size_t size = text == NULL ? 0 : strlen(text);
    bool start = true;

    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (c == '.' && dots && !start && i + 1 < size) {
            start = true;
            continue;
        }
        if (!letter && (start || c < '0' || c > '9')) {
            return false;
        }
        start = false;
    }
    return size > 0 && size <= SCHEMA_NAME_MAX;
}

enum fly_status schema_join_name(struct schema *s, const char *scope, char separator,
                                 const char *name, const char **out)
{
    size_t scope_size = strlen(scope);

    if (!schema_is_name(name, false)) {
        return fly_error_set(s->error, FLY_INVALID_ARGUMENT,
                             "the server's descriptors: something in '%.80s' has no name", scope);
    }
    size_t size = scope_size + (scope_size > 0) + strlen(name);
    if (size > SCHEMA_NAME_MAX) {
        return fly_error_set(s->error, FLY_INVALID_ARGUMENT,
                             "the server's descriptors: a name in '%.80s' is too long", scope);
    }
    char *text = schema_array(s, size + 1, 1);
    if (text == NULL) {
        return schema_no_room(s);
    }
    memcpy(text, scope, scope_size);
    if (scope_size > 0) {
        text[scope_size] = separator;
    }
    memcpy(text + size - strlen(name), name, strlen(name));
    *out = text;
    return FLY_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void schema_sort(void *array, size_t count, size_t size)
{
    if (count > 0) {
        qsort(array, count, size, compare_names);
    }
}

/* --- first pass: what is there --- */

static enum fly_status count_type(struct schema *s, const Type *type)
{
    s->message_count++;
    s->enum_count += type->n_enum_type;
    for (size_t i = 0; i < type->n_nested_type; i++) {
        (void)count_type(s, type->nested_type[i]);
    }
    return s->message_count <= SCHEMA_NAMES_MAX && s->enum_count <= SCHEMA_NAMES_MAX
               ? FLY_OK
               : fly_error_set(s->error, FLY_RESOURCE_EXHAUSTED,
                               "the server's descriptors have more than %d types",
                               SCHEMA_NAMES_MAX);
}

static enum fly_status count_all(struct schema *s, const Set *set)
{
    enum fly_status status = FLY_OK;

    for (size_t f = 0; f < set->n_file && status == FLY_OK; f++) {
        const File *file = set->file[f];
        s->enum_count += file->n_enum_type;
        s->service_count += file->n_service;
        for (size_t i = 0; i < file->n_message_type && status == FLY_OK; i++) {
            status = count_type(s, file->message_type[i]);
        }
        if (s->service_count > SCHEMA_NAMES_MAX || s->enum_count > SCHEMA_NAMES_MAX) {
            status = fly_error_set(s->error, FLY_RESOURCE_EXHAUSTED,
                                   "the server's descriptors have more than %d services or types",
                                   SCHEMA_NAMES_MAX);
        }
    }
    return status;
}

static enum fly_status add_enum(struct schema *s, const char *scope, const Enum *from)
{
    struct schema_enum *to = &s->enums[s->enum_count];
    enum fly_status status = schema_join_name(s, scope, '.', from->name, &to->name);

    if (status != FLY_OK) {
        return status;
    }
    to->values = schema_array(s, from->n_value, sizeof *to->values);
    if (to->values == NULL || from->n_value > SCHEMA_FIELDS_MAX) {
        return schema_no_room(s);
    }
    for (size_t i = 0; i < from->n_value; i++) {
        if (!schema_is_name(from->value[i]->name, false)) {
            return fly_error_set(s->error, FLY_INVALID_ARGUMENT,
                                 "the server's descriptors: a value of %.80s has no name",
                                 to->name);
        }
        to->values[i] = (struct schema_value){from->value[i]->name, from->value[i]->number};
    }
    to->value_count = from->n_value;
    s->enum_count++;
    return FLY_OK;
}

static enum fly_status add_type(struct schema *s, const char *scope, const Type *from, bool proto3)
{
    struct made_message *to = &s->messages[s->message_count];
    enum fly_status status = schema_join_name(s, scope, '.', from->name, &to->message.name);
    const char *name = to->message.name;

    if (status != FLY_OK) {
        return status;
    }
    s->message_count++;
    to->type = from;
    to->proto3 = proto3;
    to->message.map_entry = from->options != NULL && from->options->map_entry;
    for (size_t i = 0; i < from->n_enum_type && status == FLY_OK; i++) {
        status = add_enum(s, name, from->enum_type[i]);
    }
    for (size_t i = 0; i < from->n_nested_type && status == FLY_OK; i++) {
        status = add_type(s, name, from->nested_type[i], proto3);
    }
    return status;
}

enum fly_status schema_check_twice(struct schema *s, const void *array, size_t count, size_t size)
{
    for (size_t i = 1; i < count; i++) {
        const char *const *a = (const void *)((const char *)array + (i - 1) * size);
        const char *const *b = (const void *)((const char *)array + i * size);
        if (strcmp(*a, *b) == 0) {
            return fly_error_set(s->error, FLY_INVALID_ARGUMENT,
                                 "the server's descriptors have %.200s twice", *a);
        }
    }
    return FLY_OK;
}

const char *schema_package(const File *file)
{
    return file->package != NULL ? file->package : "";
}

enum fly_status schema_add_types(struct schema *s, const Set *set)
{
    enum fly_status status = count_all(s, set);

    if (status != FLY_OK) {
        return status;
    }
    s->messages = schema_array(s, s->message_count, sizeof *s->messages);
    s->enums = schema_array(s, s->enum_count, sizeof *s->enums);
    s->services = schema_array(s, s->service_count, sizeof *s->services);
    if (s->messages == NULL || s->enums == NULL || s->services == NULL) {
        return schema_no_room(s);
    }
    s->message_count = s->enum_count = s->service_count = 0;
    for (size_t f = 0; f < set->n_file && status == FLY_OK; f++) {
        const File *file = set->file[f];
        bool proto3 = file->syntax != NULL && strcmp(file->syntax, "proto3") == 0;
        if (schema_package(file)[0] != '\0' && !schema_is_name(file->package, true)) {
            return fly_error_set(s->error, FLY_INVALID_ARGUMENT,
                                 "the server's descriptors: a package has no name");
        }
        for (size_t i = 0; i < file->n_enum_type && status == FLY_OK; i++) {
            status = add_enum(s, schema_package(file), file->enum_type[i]);
        }
        for (size_t i = 0; i < file->n_message_type && status == FLY_OK; i++) {
            status = add_type(s, schema_package(file), file->message_type[i], proto3);
        }
    }
    schema_sort(s->messages, s->message_count, sizeof *s->messages);
    schema_sort(s->enums, s->enum_count, sizeof *s->enums);
    if (status == FLY_OK) {
        status = schema_check_twice(s, s->messages, s->message_count, sizeof *s->messages);
    }
    return status == FLY_OK ? schema_check_twice(s, s->enums, s->enum_count, sizeof *s->enums)
                            : status;
}
