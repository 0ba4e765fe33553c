/*
 * dynamic - calls of methods that nobody generated code for.
 *
 * A message type without fields knows nothing, so protobuf-c keeps all of a message's bytes as
 * unknown fields and packs them again as they were; proto/wire/validate.h bounds that as it bounds
 * any message. Uses the heap.
 */
#ifndef FLY_CLIENT_DYNAMIC_H
#define FLY_CLIENT_DYNAMIC_H

#include "client/lib/schema.h"
#include "proto/rpc/method.h"

/* Lives as long as the schema. */
struct rpc_method dynamic_method(const struct schema_method *method);
/* Bytes as a message of dynamic_method's types; to be freed with dynamic_free. NULL: they are no
 * message at all. */
ProtobufCMessage *dynamic_message(struct fly_bytes bytes);
void dynamic_free(ProtobufCMessage *message);
/* And back: to be freed. Never NULL. */
uint8_t *dynamic_bytes(const ProtobufCMessage *message, size_t *size);

#endif
