/* One number from its JSON: see transcode.h. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/text.h"
#include "client/lib/transcode_parts.h"

/* --- what is wrong --- */

enum fly_status encoder_wrong(struct encoder *e, const char *format, ...)
{
    char text[FLY_ERROR_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fly_error_set(e->error, FLY_INVALID_ARGUMENT, "%s%s%s",
                         e->path_size > 0 ? e->path + (e->path[0] == '.') : "",
                         e->path_size > 0 ? ": " : "", text);
}

const char *encoder_kind(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a text";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

enum fly_status encoder_other_kind(struct encoder *e, const struct schema_field *field,
                                   const json_t *value)
{
    char type[SCHEMA_TYPE_TEXT];

    schema_type_text(field, type);
    return encoder_wrong(e, "this is %s, and %.120s is needed", encoder_kind(value), type);
}

/* --- scalars --- */

static bool is_signed(enum schema_type type)
{
    return type == SCHEMA_INT32 || type == SCHEMA_SINT32 || type == SCHEMA_SFIXED32 ||
           type == SCHEMA_INT64 || type == SCHEMA_SINT64 || type == SCHEMA_SFIXED64 ||
           type == SCHEMA_ENUM;
}

static bool is_wide(enum schema_type type)
{
    return type == SCHEMA_INT64 || type == SCHEMA_UINT64 || type == SCHEMA_FIXED64 ||
           type == SCHEMA_SFIXED64 || type == SCHEMA_SINT64;
}

/* A whole number as sign and size. */
struct whole {
    bool negative;
    uint64_t size;
};

static bool whole_of_real(double value, struct whole *out)
{
    if (!(fabs(value) < 18446744073709551616.0) || floor(value) != value) {
        return false;
    }
    *out = (struct whole){value < 0, (uint64_t)fabs(value)};
    return true;
}

/* "-12", "12.0", "1e3": as a JSON number has it, and nothing around it. */
static bool whole_of_text(const char *text, struct whole *out)
{
    bool negative = text[0] == '-';
    const char *digits = text + negative;
    size_t count = strspn(digits, "0123456789");
    char *end = NULL;

    if (count == 0) {
        return false;
    }
    errno = 0;
    if (digits[count] == '\0') {
        *out = (struct whole){negative, strtoull(digits, &end, 10)};
        return errno == 0;
    }
    if (strspn(digits, "0123456789.eE+-") != strlen(digits)) {
        return false;
    }
    double value = strtod(text, &end);
    return *end == '\0' && whole_of_real(value, out);
}

static enum fly_status take_whole(struct encoder *e, const struct schema_field *field,
                                  const json_t *value, uint64_t *out)
{
    struct whole w = {false, 0};
    bool good = false;

    if (json_is_integer(value)) {
        json_int_t n = json_integer_value(value);
        w = (struct whole){n < 0, n < 0 ? (uint64_t)0 - (uint64_t)n : (uint64_t)n};
        good = true;
    } else if (json_is_real(value)) {
        good = whole_of_real(json_real_value(value), &w);
    } else if (json_is_string(value)) {
        good = whole_of_text(json_string_value(value), &w);
    } else {
        return encoder_other_kind(e, field, value);
    }
    if (!good) {
        return encoder_wrong(e, "not a whole number, or past 64 bits");
    }
    unsigned bits = is_wide(field->type) ? 64 : 32;
    uint64_t most = is_signed(field->type) ? UINT64_MAX >> (65 - bits) : UINT64_MAX >> (64 - bits);
    uint64_t least = is_signed(field->type) ? most + 1 : 0;
    if (w.size > (w.negative ? least : most)) {
        char type[SCHEMA_TYPE_TEXT];
        schema_type_text(field, type);
        return encoder_wrong(e, "%s%llu is not within %.60s", w.negative ? "-" : "",
                             (unsigned long long)w.size, type);
    }
    *out = w.negative ? (uint64_t)0 - w.size : w.size;
    return FLY_OK;
}

static enum fly_status take_real(struct encoder *e, const struct schema_field *field,
                                 const json_t *value, double *out)
{
    const char *text = json_string_value(value);
    char *end = NULL;

    if (json_is_number(value)) {
        *out = json_number_value(value);
    } else if (text == NULL) {
        return encoder_other_kind(e, field, value);
    } else if (strcmp(text, "NaN") == 0) {
        *out = (double)NAN;
        return FLY_OK;
    } else if (strcmp(text, "Infinity") == 0 || strcmp(text, "-Infinity") == 0) {
        *out = text[0] == '-' ? -(double)INFINITY : (double)INFINITY;
        return FLY_OK;
    } else {
        size_t sign = text[0] == '-';
        bool good = text[sign] >= '0' && text[sign] <= '9' &&
                    strspn(text, "0123456789.eE+-") == strlen(text);
        *out = good ? strtod(text, &end) : 0;
        if (!good || *end != '\0') {
            return encoder_wrong(e, "'%.40s' is not a number", text);
        }
    }
    double most = field->type == SCHEMA_FLOAT ? (double)FLT_MAX : DBL_MAX;
    return fabs(*out) <= most ? FLY_OK : encoder_wrong(e, "past what the type holds");
}

static enum fly_status take_enum(struct encoder *e, const struct schema_field *field,
                                 const json_t *value, uint64_t *out)
{
    const struct schema_enum *of = field->enumeration;
    const char *names[ENCODER_NEAR_MAX];
    const char *text = json_string_value(value);

    if (text == NULL) {
        return take_whole(e, field, value, out);
    }
    for (size_t i = 0; i < of->value_count; i++) {
        if (strcmp(of->values[i].name, text) == 0) {
            *out = (uint64_t)(int64_t)of->values[i].number;
            return FLY_OK;
        }
        if (i < ENCODER_NEAR_MAX) {
            names[i] = of->values[i].name;
        }
    }
    size_t count = of->value_count < ENCODER_NEAR_MAX ? of->value_count : ENCODER_NEAR_MAX;
    const char *near = text_nearest(text, names, count);
    return near != NULL ? encoder_wrong(e, "%.80s has no value '%.40s'; did you mean '%.60s'?",
                                        of->name, text, near)
                        : encoder_wrong(e, "%.80s has no value '%.40s'", of->name, text);
}

static uint64_t zigzag(uint64_t value)
{
    return (value << 1) ^ ((uint64_t)0 - (value >> 63));
}

static enum fly_status take_number(struct encoder *e, const struct schema_field *field,
                                   const json_t *value, struct scalar *out)
{
    enum fly_status status = field->type == SCHEMA_ENUM ? take_enum(e, field, value, &out->bits)
                                                        : take_whole(e, field, value, &out->bits);

    out->zero = out->bits == 0;
    out->wire = WIRE_VARINT;
    if (field->type == SCHEMA_FIXED32 || field->type == SCHEMA_SFIXED32) {
        out->wire = WIRE_32;
    } else if (field->type == SCHEMA_FIXED64 || field->type == SCHEMA_SFIXED64) {
        out->wire = WIRE_64;
    } else if (field->type == SCHEMA_SINT32 || field->type == SCHEMA_SINT64) {
        out->bits = zigzag(out->bits);
    }
    return status;
}

enum fly_status encoder_take_scalar(struct encoder *e, const struct schema_field *field,
                                    const json_t *value, struct scalar *out)
{
    enum fly_status status = FLY_OK;
    double real = 0;

    *out = (struct scalar){.wire = WIRE_VARINT};
    if (field->type == SCHEMA_BOOL) {
        if (!json_is_boolean(value)) {
            return encoder_other_kind(e, field, value);
        }
        out->bits = json_is_true(value);
        out->zero = out->bits == 0;
        return FLY_OK;
    }
    if (field->type != SCHEMA_DOUBLE && field->type != SCHEMA_FLOAT) {
        return take_number(e, field, value, out);
    }
    status = take_real(e, field, value, &real);
    if (status != FLY_OK) {
        return status;
    }
    float narrow = (float)real;
    uint32_t bits = 0;
    memcpy(&bits, &narrow, sizeof bits);
    memcpy(&out->bits, &real, sizeof real);
    out->wire = field->type == SCHEMA_FLOAT ? WIRE_32 : WIRE_64;
    out->bits = field->type == SCHEMA_FLOAT ? bits : out->bits;
    out->zero = out->bits == 0; /* -0.0 is another value */
    return FLY_OK;
}
