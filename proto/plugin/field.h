/*
 * field - length-delimited fields that no descriptor here knows: custom options, found by number.
 */
#ifndef FLY_PLUGIN_FIELD_H
#define FLY_PLUGIN_FIELD_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/plugin/text.h"

/* The contents, one behind the other where it stands several times: to protobuf that is one
 * message, and protoc writes `option (x).a = …; option (x).b = …;` so. False: there is none, or it
 * is cut. */
bool plug_field_unknown(struct plug_memory *memory, const ProtobufCMessage *message,
                        uint32_t number, struct fly_bytes *out);
/* Lends the contents of the last one in an encoded message. */
bool plug_field_find(struct fly_bytes message, uint32_t number, struct fly_bytes *out);

#endif
