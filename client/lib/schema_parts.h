/*
 * schema_parts - the insides of a schema: schema.c (its life, looking up), schema_types.c (the
 * first pass: what is there), schema_fields.c (the second: what belongs to what).
 */
#ifndef FLY_CLIENT_SCHEMA_PARTS_H
#define FLY_CLIENT_SCHEMA_PARTS_H

#include "client/lib/schema.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "proto/base/arena.h"

enum { SCHEMA_FIELDS_MAX = 4096 /* of a message; values of an enum, methods of a service */ };

/* A message with what it was made of, until its fields are resolved. */
struct made_message {
    struct schema_message message; /* first: found by it */
    const Google__Protobuf__DescriptorProto *type;
    bool proto3;
};

struct schema {
    struct fly_arena arena;
    struct made_message *messages; /* all three by name */
    size_t message_count;
    struct schema_enum *enums;
    size_t enum_count;
    struct schema_service *services; /* counted by the first pass, filled by the second */
    size_t service_count;
    struct fly_error *error; /* while it is made */
};

enum fly_status schema_add_types(struct schema *s, const Google__Protobuf__FileDescriptorSet *set);
enum fly_status schema_add_fields(struct schema *s, const Google__Protobuf__FileDescriptorSet *set);

/* Of the arena, for protobuf-c. */
ProtobufCAllocator schema_allocator(struct schema *s);
enum fly_status schema_no_room(struct schema *s);
/* `count` zeroed elements, or NULL. */
void *schema_array(struct schema *s, size_t count, size_t size);
/* Letters, digits and _; with dots between when they may be there. NULL is no name. */
bool schema_is_name(const char *text, bool dots);
/* "scope.name", or "name" where there is no scope. */
enum fly_status schema_join_name(struct schema *s, const char *scope, char separator,
                                 const char *name, const char **out);
/* All arrays hold what begins with its name. */
void schema_sort(void *array, size_t count, size_t size);
/* INVALID_ARGUMENT when a name stands twice in a sorted array. */
enum fly_status schema_check_twice(struct schema *s, const void *array, size_t count, size_t size);
/* By number. */
void schema_sort_fields(struct schema_message *message);
const char *schema_package(const Google__Protobuf__FileDescriptorProto *file);

#endif
