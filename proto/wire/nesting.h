/*
 * nesting - how deep protobuf bytes can nest, before a decoder that recurses gets them.
 *
 * protobuf-c 1.4.1 recurses as deep as the bytes say when a type contains itself, as
 * google.protobuf.DescriptorProto does: 34 KB of a hostile server's would end the process
 * (proto/wire/validate.h refuses such types; a descriptor set is the one message of such a type
 * that we read). This looks at the bytes without any type: whatever is length-delimited may be a
 * message, and is walked as one for as long as it reads like one. So the depth found is never less
 * than what protobuf-c can reach, whatever the type. Text counts as a message too, and may hold
 * what reads like more of them: leave some room.
 *
 * Source: protobuf.dev/programming-guides/encoding; protobuf-c/protobuf-c.c (what it takes for a
 * tag, a varint, a length). Pure.
 */
#ifndef FLY_WIRE_NESTING_H
#define FLY_WIRE_NESTING_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum { NESTING_DEPTH_MAX = 32 };

/* FLY_OK: no decoder of these bytes goes deeper than `depth_max` (1 to NESTING_DEPTH_MAX,
 * FLY_CHECKed) messages, the outermost counted. RESOURCE_EXHAUSTED: perhaps deeper.
 * INVALID_ARGUMENT: the outermost is no message at all. O(bytes), no recursion. */
enum fly_status nesting_check(struct fly_bytes bytes, unsigned depth_max, struct fly_error *error);

#endif
