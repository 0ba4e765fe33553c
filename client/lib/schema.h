/*
 * schema - what a server says of itself: a serialized FileDescriptorSet, resolved and bounded.
 *
 * The bytes come from whoever answered, so nothing in them is believed: their nesting is measured
 * before protobuf-c sees them (proto/wire/nesting.h), all that is made of them lives in one arena
 * of SCHEMA_ARENA_SIZE, every name must look like a name and every reference must lead somewhere.
 * Types may contain themselves; who walks messages bounds the depth.
 *
 * Source: google/protobuf/descriptor.proto; proto/fly/v1/options.proto. One thread.
 */
#ifndef FLY_CLIENT_SCHEMA_H
#define FLY_CLIENT_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fly/v1/options.pb-c.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum {
    SCHEMA_ARENA_SIZE = 16 << 20,
    SCHEMA_NAMES_MAX = 8192, /* messages, enums and services, each */
    SCHEMA_NAME_MAX = 255,   /* bytes of a full name */
};

/* The numbers of google.protobuf.FieldDescriptorProto.Type. */
enum schema_type {
    SCHEMA_DOUBLE = 1,
    SCHEMA_FLOAT,
    SCHEMA_INT64,
    SCHEMA_UINT64,
    SCHEMA_INT32,
    SCHEMA_FIXED64,
    SCHEMA_FIXED32,
    SCHEMA_BOOL,
    SCHEMA_STRING,
    SCHEMA_GROUP,
    SCHEMA_MESSAGE,
    SCHEMA_BYTES,
    SCHEMA_UINT32,
    SCHEMA_ENUM,
    SCHEMA_SFIXED32,
    SCHEMA_SFIXED64,
    SCHEMA_SINT32,
    SCHEMA_SINT64,
};

struct schema_value {
    const char *name;
    int32_t number;
};

struct schema_enum {
    const char *name; /* full: "fly.v1.VmState" */
    struct schema_value *values;
    size_t value_count;
};

struct schema_message;

struct schema_field {
    const char *name;
    const char *json_name;
    uint32_t number;
    enum schema_type type;
    bool repeated;
    bool packed;                           /* numbers of a repeated field go as one run */
    bool presence;                         /* not set is another thing than zero */
    int oneof;                             /* index into the message's oneofs; -1: none */
    const struct schema_message *message;  /* MESSAGE, GROUP */
    const struct schema_enum *enumeration; /* ENUM */
};

struct schema_message {
    const char *name;            /* full: "fly.v1.Vm" */
    struct schema_field *fields; /* by number */
    size_t field_count;
    const char **oneofs;
    size_t oneof_count;
    bool map_entry; /* of a map: fields are key = 1 and value = 2 */
};

struct schema_method {
    const char *name; /* of the call: "fly.v1.Edge/Launch" */
    const char *short_name;
    const struct schema_message *input;
    const struct schema_message *output;
    bool client_streams;
    bool server_streams;
    const Fly__V1__MethodRule *rule; /* NULL: none was written */
};

struct schema_service {
    const char *name; /* full: "fly.v1.Edge" */
    struct schema_method *methods;
    size_t method_count;
};

struct schema;

/* INVALID_ARGUMENT: not a sound set, with words; RESOURCE_EXHAUSTED: larger or deeper than what is
 * taken. `descriptor_set` is not kept. */
enum fly_status schema_create(struct schema **out, struct fly_bytes descriptor_set,
                              struct fly_error *error);
/* Everything found in it goes too. NULL is fine. */
void schema_destroy(struct schema *schema);

/* By full name; NULL: it is not in the set. */
const struct schema_message *schema_message(const struct schema *schema, const char *name);
const struct schema_enum *schema_enum(const struct schema *schema, const char *name);
const struct schema_service *schema_service(const struct schema *schema, const char *name);
/* "fly.v1.Edge/Launch" or "fly.v1.Edge.Launch". */
const struct schema_method *schema_method(const struct schema *schema, const char *name);

/* By name or JSON name; by number; NULL: none. */
const struct schema_field *schema_field_named(const struct schema_message *message,
                                              const char *name);
const struct schema_field *schema_field_numbered(const struct schema_message *message,
                                                 uint32_t number);
/* Whether it is a map: *key and *value are then its entry's. */
bool schema_field_map(const struct schema_field *field, const struct schema_field **key,
                      const struct schema_field **value);

/* schema_text.c: each as a .proto file has it, full names everywhere, at most 80 columns where
 * names allow it; the rules of a method in words. */
void schema_print_message(const struct schema_message *message, FILE *out);
void schema_print_enum(const struct schema_enum *enumeration, FILE *out);
void schema_print_service(const struct schema_service *service, FILE *out);
void schema_print_method(const struct schema_method *method, FILE *out);
/* "int32", "fly.v1.Vm", "map<string, fly.v1.Vm>", without "repeated". Cut to fit. */
enum { SCHEMA_TYPE_TEXT = 2 * SCHEMA_NAME_MAX + 16 };
void schema_type_text(const struct schema_field *field, char out[static SCHEMA_TYPE_TEXT]);

#endif
