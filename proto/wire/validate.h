/*
 * validate - looks at protobuf bytes before protobuf-c does, and unpacks them into an arena.
 *
 * protobuf-c 1.4.1 recurses without a limit (a 34 KB message of a type that contains itself ends
 * the process) and turns 64 KiB of empty strings into 2.3 MB. So: types that can nest in
 * themselves are refused when methods are registered (validate_schema); a message is walked
 * against its descriptor, and the walk adds up what unpacking will allocate, exactly as protobuf-c
 * does it. The promise, which tests/fuzz/fuzz_validate.c holds against the library itself:
 * what validate_message accepts, validate_unpack turns into a message within the size it named.
 *
 * Stricter than the protobuf specification in four points that no encoder produces: a singular
 * message field may stand only once, a field must have its declared wire type, varints fit 64
 * bits, and strings hold no NUL (in C such a string would be read as a shorter one).
 *
 * Source: protobuf.dev/programming-guides/encoding; protobuf-c/protobuf-c.c. Pure.
 */
#ifndef FLY_WIRE_VALIDATE_H
#define FLY_WIRE_VALIDATE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum { VALIDATE_DEPTH_MAX = 8, VALIDATE_FIELDS_MAX = 64 };

/* FLY_OK when messages of this type can be checked: it cannot contain itself, nests at most
 * VALIDATE_DEPTH_MAX deep, has at most VALIDATE_FIELDS_MAX fields and none that is `required`.
 * FLY_INTERNAL names the type otherwise. For start-up: it visits every path of the type. */
enum fly_status validate_schema(const ProtobufCMessageDescriptor *type, struct fly_error *error);

/*
 * Checks bytes against a type that validate_schema took. *arena_size (may be NULL) is then what
 * validate_unpack needs. FLY_INVALID_ARGUMENT: malformed, with the field's name;
 * FLY_RESOURCE_EXHAUSTED: would need more than arena_max. O(bytes); stack bounded by the depth.
 */
enum fly_status validate_message(const ProtobufCMessageDescriptor *type, struct fly_bytes bytes,
                                 size_t arena_max, size_t *arena_size, struct fly_error *error);

/* Unpacks into the arena; NULL when it does not fit or is malformed, which cannot be after
 * validate_message said OK and the arena has the room it named. The message dies with the arena:
 * never protobuf_c_message_free_unpacked. */
ProtobufCMessage *validate_unpack(const ProtobufCMessageDescriptor *type, struct fly_bytes bytes,
                                  struct fly_arena *arena);

/* Strict UTF-8 (RFC 3629): no overlong forms, surrogates, or values past U+10FFFF. */
bool validate_utf8(const uint8_t *text, size_t size);

#endif
