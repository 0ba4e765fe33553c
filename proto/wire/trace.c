#include "proto/wire/trace.h"

#include <string.h>

enum { VERSION_AT = 0, TRACE_AT = 3, SPAN_AT = 36, FLAGS_AT = 53, TEXT_SIZE = 55 };

/* fly_hex_decode also takes capitals, which the specification forbids. */
static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(const char *text, uint8_t *out, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        int high = digit_of(text[2 * i]);
        int low = digit_of(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static void put_hex(const uint8_t *bytes, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    uint8_t any = 0;

    for (size_t i = 0; i < size; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

bool trace_parse(const char *text, size_t size, struct frame_trace *out)
{
    struct frame_trace trace;
    uint8_t version = 0;
    uint8_t flags = 0;

    if (size < TEXT_SIZE || text[TRACE_AT - 1] != '-' || text[SPAN_AT - 1] != '-' ||
        text[FLAGS_AT - 1] != '-' || !take_hex(text + VERSION_AT, &version, 1) ||
        !take_hex(text + TRACE_AT, trace.trace_id, sizeof trace.trace_id) ||
        !take_hex(text + SPAN_AT, trace.span_id, sizeof trace.span_id) ||
        !take_hex(text + FLAGS_AT, &flags, 1)) {
        return false;
    }
    if (version == 0xff || (version == 0 && size != TEXT_SIZE) ||
        (size > TEXT_SIZE && text[TEXT_SIZE] != '-') ||
        is_zero(trace.trace_id, sizeof trace.trace_id) ||
        is_zero(trace.span_id, sizeof trace.span_id)) {
        return false;
    }
    *out = trace;
    return true;
}

void trace_format(const struct frame_trace *trace, char out[static TRACE_TEXT_SIZE])
{
    memcpy(out, "00-", 3);
    put_hex(trace->trace_id, sizeof trace->trace_id, out + TRACE_AT);
    out[SPAN_AT - 1] = '-';
    put_hex(trace->span_id, sizeof trace->span_id, out + SPAN_AT);
    memcpy(out + FLAGS_AT - 1, "-01", 4);
}

void trace_id_format(const struct frame_trace *trace, char out[static TRACE_ID_TEXT_SIZE])
{
    put_hex(trace->trace_id, sizeof trace->trace_id, out);
    out[TRACE_ID_TEXT_SIZE - 1] = '\0';
}
