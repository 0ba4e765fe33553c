#include "client/lib/schema.h"

#include <stdlib.h>
#include <string.h>

#include "client/lib/schema_parts.h"
#include "proto/base/check.h"
#include "proto/wire/nesting.h"

enum { ARENA_LEAST = 64 * 1024, ARENA_GROWTH = 128 };

/* An honest set grows about tenfold. */
static size_t arena_size(size_t set_size)
{
    size_t most = SCHEMA_ARENA_SIZE;

    return set_size < (most - ARENA_LEAST) / ARENA_GROWTH ? ARENA_LEAST + ARENA_GROWTH * set_size
                                                          : most;
}

enum fly_status schema_create(struct schema **out, struct fly_bytes descriptor_set,
                              struct fly_error *error)
{
    enum fly_status status = nesting_check(descriptor_set, NESTING_DEPTH_MAX, error);

    *out = NULL;
    if (status != FLY_OK) {
        return fly_error_wrap(error, "the server's descriptors");
    }
    struct schema *s = calloc(1, sizeof *s);
    size_t room = arena_size(descriptor_set.size);
    void *memory = aligned_alloc(16, room);
    FLY_CHECK(s != NULL && memory != NULL);
    s->arena = fly_arena_over(memory, room);
    s->error = error;
    ProtobufCAllocator allocator = schema_allocator(s);
    const Google__Protobuf__FileDescriptorSet *set = google__protobuf__file_descriptor_set__unpack(
        &allocator, descriptor_set.size, descriptor_set.data);
    if (set == NULL) {
        status = fly_error_set(error, FLY_INVALID_ARGUMENT,
                               "the server's descriptors do not read, or are too large");
    } else {
        status = schema_add_types(s, set);
    }
    if (status == FLY_OK) {
        status = schema_add_fields(s, set);
    }
    s->error = NULL;
    if (status != FLY_OK) {
        schema_destroy(s);
        return status;
    }
    *out = s;
    return FLY_OK;
}

void schema_destroy(struct schema *schema)
{
    if (schema != NULL) {
        free(schema->arena.data);
    }
    free(schema);
}

/* --- looking up --- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const void *find_name(const void *array, size_t count, size_t size, const char *name)
{
    return count == 0 ? NULL : bsearch(&name, array, count, size, compare_names);
}

static int compare_fields(const void *a, const void *b)
{
    uint32_t x = ((const struct schema_field *)a)->number;
    uint32_t y = ((const struct schema_field *)b)->number;

    return x < y ? -1 : x > y;
}

void schema_sort_fields(struct schema_message *message)
{
    if (message->field_count > 0) {
        qsort(message->fields, message->field_count, sizeof *message->fields, compare_fields);
    }
}

const struct schema_message *schema_message(const struct schema *schema, const char *name)
{
    return find_name(schema->messages, schema->message_count, sizeof *schema->messages, name);
}

const struct schema_enum *schema_enum(const struct schema *schema, const char *name)
{
    return find_name(schema->enums, schema->enum_count, sizeof *schema->enums, name);
}

const struct schema_service *schema_service(const struct schema *schema, const char *name)
{
    return find_name(schema->services, schema->service_count, sizeof *schema->services, name);
}

const struct schema_method *schema_method(const struct schema *schema, const char *name)
{
    const char *slash = strchr(name, '/');
    const char *end = slash != NULL ? slash : strrchr(name, '.');
    char service[SCHEMA_NAME_MAX + 1];

    if (end == NULL || (size_t)(end - name) >= sizeof service) {
        return NULL;
    }
    memcpy(service, name, (size_t)(end - name));
    service[end - name] = '\0';
    const struct schema_service *of = schema_service(schema, service);
    for (size_t i = 0; of != NULL && i < of->method_count; i++) {
        if (strcmp(of->methods[i].short_name, end + 1) == 0) {
            return &of->methods[i];
        }
    }
    return NULL;
}

const struct schema_field *schema_field_named(const struct schema_message *message,
                                              const char *name)
{
    const struct schema_field *found = NULL;

    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *f = &message->fields[i];
        if (strcmp(f->json_name, name) == 0) {
            return f;
        }
        found = strcmp(f->name, name) == 0 ? f : found;
    }
    return found;
}

const struct schema_field *schema_field_numbered(const struct schema_message *message,
                                                 uint32_t number)
{
    const struct schema_field key = {.number = number};

    return message->field_count == 0 ? NULL
                                     : bsearch(&key, message->fields, message->field_count,
                                               sizeof *message->fields, compare_fields);
}

bool schema_field_map(const struct schema_field *field, const struct schema_field **key,
                      const struct schema_field **value)
{
    if (!field->repeated || field->type != SCHEMA_MESSAGE || !field->message->map_entry) {
        return false;
    }
    *key = &field->message->fields[0];
    *value = &field->message->fields[1];
    return true;
}
