/* JSON as text, both ways: see transcode.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/transcode.h"
#include "proto/base/check.h"
#include "proto/wire/base64.h"

enum { NUMBER_TEXT = 32, INDENT = 2 };

/* --- printing --- */

/* The code point of a character of valid UTF-8, and its size. */
static uint32_t character_at(const char *text, size_t *size)
{
    const unsigned char *p = (const unsigned char *)text;

    *size = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t c = *size == 1 ? p[0] : p[0] & (0x7fU >> *size);
    for (size_t i = 1; i < *size; i++) {
        c = c << 6 | (p[i] & 0x3fU);
    }
    return c;
}

/* Controls a terminal, or turns the direction of what is written. */
static bool must_escape(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffb);
}

static void print_text(const char *text, size_t size, FILE *out)
{
    (void)putc('"', out);
    for (size_t i = 0; i < size;) {
        size_t used = 0;
        uint32_t c = character_at(text + i, &used);
        if (c == '"' || c == '\\') {
            (void)fprintf(out, "\\%c", (int)c);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            (void)fprintf(out, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        } else if (must_escape(c)) {
            (void)fprintf(out, "\\u%04x", (unsigned)c);
        } else {
            (void)fwrite(text + i, 1, used, out);
        }
        i += used;
    }
    (void)putc('"', out);
}

static void print_real(double value, FILE *out)
{
    char text[NUMBER_TEXT];

    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        double back = strtod(text, NULL);
        if (memcmp(&back, &value, sizeof value) == 0) {
            break;
        }
    }
    (void)fputs(text, out);
    /* a reader shall see that it is no integer */
    (void)fputs(strpbrk(text, ".e") == NULL ? ".0" : "", out);
}

static void print_line(bool one_line, unsigned depth, FILE *out)
{
    if (one_line) {
        return;
    }
    (void)fprintf(out, "\n%*s", (int)(depth * INDENT), "");
}

static void print_value(const json_t *value, bool one_line, unsigned depth, FILE *out);

static void print_object(const json_t *value, bool one_line, unsigned depth, FILE *out)
{
    json_t *object = (json_t *)(uintptr_t)value; /* jansson's iterators want it so */
    bool first = true;

    (void)putc('{', out);
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at);
        (void)fputs(first ? "" : ",", out);
        first = false;
        print_line(one_line, depth + 1, out);
        print_text(key, strlen(key), out);
        (void)fputs(one_line ? ":" : ": ", out);
        print_value(json_object_iter_value(at), one_line, depth + 1, out);
    }
    if (!first) {
        print_line(one_line, depth, out);
    }
    (void)putc('}', out);
}

static void print_array(const json_t *value, bool one_line, unsigned depth, FILE *out)
{
    (void)putc('[', out);
    for (size_t i = 0; i < json_array_size(value); i++) {
        (void)fputs(i == 0 ? "" : ",", out);
        print_line(one_line, depth + 1, out);
        print_value(json_array_get(value, i), one_line, depth + 1, out);
    }
    if (json_array_size(value) > 0) {
        print_line(one_line, depth, out);
    }
    (void)putc(']', out);
}

static void print_value(const json_t *value, bool one_line, unsigned depth, FILE *out)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        print_object(value, one_line, depth, out);
        return;
    case JSON_ARRAY:
        print_array(value, one_line, depth, out);
        return;
    case JSON_STRING:
        print_text(json_string_value(value), json_string_length(value), out);
        return;
    case JSON_INTEGER:
        (void)fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return;
    case JSON_REAL:
        print_real(json_real_value(value), out);
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        (void)fputs(json_is_true(value) ? "true" : "false", out);
        return;
    case JSON_NULL:
        (void)fputs("null", out);
        return;
    }
}

void transcode_print(const json_t *value, bool one_line, FILE *out)
{
    print_value(value, one_line, 0, out);
}

/* --- reading --- */

enum transcode_step transcode_next(const char *data, size_t size, size_t *start, size_t *end)
{
    size_t depth = 0;
    bool text = false;
    bool escaped = false;

    for (*start = 0;
         *start < size && strchr(" \t\r\n", data[*start]) != NULL && data[*start] != '\0';) {
        *start += 1;
    }
    if (*start < size && data[*start] != '{') {
        return TRANSCODE_BAD;
    }
    for (size_t i = *start; i < size; i++) {
        char c = data[i];
        if (text) {
            text = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if (c == '"') {
            text = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            *end = i + 1;
            return TRANSCODE_READY;
        }
    }
    return TRANSCODE_SHORT;
}

enum fly_status transcode_parse(const char *text, size_t size, json_t **out,
                                struct fly_error *error)
{
    json_error_t where;

    *out = NULL;
    if (size > TRANSCODE_TEXT_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "the JSON is larger than %d MiB",
                             TRANSCODE_TEXT_MAX >> 20);
    }
    *out = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (*out == NULL && json_error_code(&where) == json_error_numeric_overflow) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "JSON, line %d, column %d: write a number of this size as a text",
                             where.line, where.column);
    }
    if (*out == NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "JSON, line %d, column %d: %s",
                             where.line, where.column, where.text);
    }
    return FLY_OK;
}

/* --- base64 --- */

bool transcode_base64_decode(const char *text, size_t text_size, uint8_t **out, size_t *size)
{
    size_t digits = text_size;
    char *plain = malloc(text_size + 1);
    uint8_t *bytes = malloc(text_size + 1);
    bool good = true;

    FLY_CHECK(plain != NULL && bytes != NULL);
    while (digits > 0 && text_size - digits < 2 && text[digits - 1] == '=') {
        digits--;
    }
    good = digits == text_size || text_size % 4 == 0;
    for (size_t i = 0; i < digits; i++) {
        plain[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
    }
    plain[digits] = '\0';
    good = good && base64_decode(plain, digits, bytes, text_size + 1, size);
    free(plain);
    if (!good) {
        free(bytes);
        return false;
    }
    *out = bytes;
    return true;
}

char *transcode_base64_encode(const uint8_t *data, size_t size)
{
    size_t digits = base64_size(size);
    size_t room = digits + 4;
    char *text = malloc(room);

    if (text == NULL) {
        return NULL;
    }
    FLY_CHECK(base64_encode(data, size, text, digits + 1) == digits);
    for (size_t i = 0; i < digits; i++) {
        text[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    }
    while (digits % 4 != 0) {
        text[digits++] = '=';
    }
    text[digits] = '\0';
    return text;
}
