/*
 * transcode - JSON into protobuf bytes and back, by a schema, as protobuf's JSON mapping has it.
 *
 * Taken: field names as in the .proto or as in JSON; 64-bit numbers as numbers or texts; whole
 * numbers written with a point or an exponent; bytes in either base64, padded or not; enum values
 * by name or number; null for "not set". Given: JSON names, 64-bit numbers as texts, base64 with
 * padding, enum values by name where they have one; what is not set, or zero without presence, is
 * left out. Google's own types (Timestamp, Any …) are messages like any other here, and fields that
 * the schema does not know are left out.
 *
 * Both directions are bounded in depth, bytes and number of values. Source:
 * protobuf.dev/programming-guides/json, and encoding. Uses the heap; no IO but transcode_print.
 */
#ifndef FLY_CLIENT_TRANSCODE_H
#define FLY_CLIENT_TRANSCODE_H

#include <jansson.h>
#include <stdio.h>

#include "client/lib/schema.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum {
    TRANSCODE_DEPTH_MAX = 32,         /* messages within messages */
    TRANSCODE_BYTES_MAX = 4 << 20,    /* encoded: no frame takes more */
    TRANSCODE_VALUES_MAX = 512 << 10, /* JSON values of one message that was decoded */
    TRANSCODE_TEXT_MAX = 16 << 20,    /* bytes of one JSON value that is read */
};

/* One message from its JSON object into *out (to be freed; NULL when empty) of *size bytes.
 * INVALID_ARGUMENT begins with the path of what is wrong, "vms[2].cores: …"; RESOURCE_EXHAUSTED:
 * over TRANSCODE_BYTES_MAX. Fields go by number, so the same JSON always gives the same bytes. */
enum fly_status transcode_encode(const struct schema_message *type, json_t *object, uint8_t **out,
                                 size_t *size, struct fly_error *error);

/* One message into a new JSON object. INVALID_ARGUMENT: the bytes are not of this type;
 * RESOURCE_EXHAUSTED: too deep, or too many values. */
enum fly_status transcode_decode(const struct schema_message *type, struct fly_bytes bytes,
                                 json_t **out, struct fly_error *error);

/* Writes a value without a newline: on one line, or with an indentation of 2. Numbers have the
 * fewest digits that read back the same; nothing reaches the terminal that could move its cursor.
 */
void transcode_print(const json_t *value, bool one_line, FILE *out);

/* JSON objects one behind another, as they arrive. Looks at data[size]: READY: *start and *end are
 * the first one's (its text is not judged yet); SHORT: more must come, or, at the end, nothing is
 * left but blanks when *start is `size`; BAD: something else than an object stands at *start. */
enum transcode_step { TRANSCODE_READY, TRANSCODE_SHORT, TRANSCODE_BAD };
enum transcode_step transcode_next(const char *data, size_t size, size_t *start, size_t *end);

/* A JSON object from its text. INVALID_ARGUMENT with line and column. */
enum fly_status transcode_parse(const char *text, size_t size, json_t **out,
                                struct fly_error *error);

/* base64 as it is in JSON: either alphabet, padded or not. *out is to be freed. False: it is not.
 */
bool transcode_base64_decode(const char *text, size_t text_size, uint8_t **out, size_t *size);
/* With padding; to be freed. NULL: no memory. */
char *transcode_base64_encode(const uint8_t *data, size_t size);

#endif
