/*
 * transcode_parts - the insides of encoding: transcode_encode.c (messages, fields, bytes) and
 * transcode_scalar.c (one number from its JSON, and the words for what is wrong with it).
 */
#ifndef FLY_CLIENT_TRANSCODE_PARTS_H
#define FLY_CLIENT_TRANSCODE_PARTS_H

#include "client/lib/transcode.h"

enum { ENCODER_PATH_SIZE = 160, ENCODER_NEAR_MAX = 64 };

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LENGTH = 2, WIRE_32 = 5 };

struct encoder {
    uint8_t *data;
    size_t size;
    size_t room;
    char path[ENCODER_PATH_SIZE]; /* of the value under way; cut when it is longer */
    size_t path_size;
    unsigned depth;
    struct fly_error *error;
};

/* What a number, an enum's value or a bool is on the wire. */
struct scalar {
    enum wire wire;
    uint64_t bits;
    bool zero; /* left out where there is no presence */
};

/* INVALID_ARGUMENT, the path before the words. */
__attribute__((format(printf, 2, 3))) enum fly_status encoder_wrong(struct encoder *e,
                                                                    const char *format, ...);
/* "this is an object, and int32 is needed" */
enum fly_status encoder_other_kind(struct encoder *e, const struct schema_field *field,
                                   const json_t *value);
/* "an object", "null" */
const char *encoder_kind(const json_t *value);
/* Not of strings, bytes or messages. */
enum fly_status encoder_take_scalar(struct encoder *e, const struct schema_field *field,
                                    const json_t *value, struct scalar *out);

#endif
