#include "proto/wire/cursors.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/id.h"

enum {
    TAG_DIGITS = 6,
    INCARNATION_DIGITS = 16,
    SEQ_DIGITS_MAX = 20,
    SEQ_AT = TAG_DIGITS + 1 + INCARNATION_DIGITS + 1,
    TAG_MAX = 0xffffff,
};

static bool hex_number(const char *text, size_t digits, uint64_t *out)
{
    uint8_t bytes[8];
    uint64_t value = 0;

    if (!fly_hex_decode(text, digits, bytes, digits / 2)) {
        return false;
    }
    for (size_t i = 0; i < digits / 2; i++) {
        value = value << 8 | bytes[i];
    }
    *out = value;
    return true;
}

static bool decimal(const char *text, size_t size, uint64_t *out)
{
    uint64_t value = 0;

    if (size < 1 || size > SEQ_DIGITS_MAX || (text[0] == '0' && size > 1)) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

static bool parse_one(const char *text, size_t size, struct cursor *out)
{
    uint64_t tag = 0;

    if (size <= SEQ_AT || text[TAG_DIGITS] != ':' || text[SEQ_AT - 1] != ':' ||
        !hex_number(text, TAG_DIGITS, &tag) ||
        !hex_number(text + TAG_DIGITS + 1, INCARNATION_DIGITS, &out->incarnation)) {
        return false;
    }
    out->slice = (uint32_t)tag;
    return decimal(text + SEQ_AT, size - SEQ_AT, &out->seq);
}

bool cursors_parse(const char *text, struct cursors *out)
{
    struct cursors all = {.count = 0};

    for (;;) {
        size_t size = strcspn(text, ",");
        struct cursor one = {.slice = 0};
        if (!parse_one(text, size, &one) || cursors_find(&all, one.slice) != NULL ||
            !cursors_put(&all, one)) {
            return false;
        }
        if (text[size] == '\0') {
            *out = all;
            return true;
        }
        text += size + 1;
    }
}

size_t cursor_print(const struct cursor *cursor, char out[static CURSORS_ONE_TEXT_SIZE])
{
    FLY_CHECK(cursor->slice <= TAG_MAX);
    return (size_t)snprintf(out, CURSORS_ONE_TEXT_SIZE, "%06" PRIx32 ":%016" PRIx64 ":%" PRIu64,
                            cursor->slice, cursor->incarnation, cursor->seq);
}

size_t cursors_format(const struct cursors *c, char out[static CURSORS_TEXT_SIZE])
{
    size_t size = 0;

    FLY_CHECK(c->count <= CURSORS_MAX);
    out[0] = '\0';
    for (uint32_t i = 0; i < c->count; i++) {
        if (i > 0) {
            out[size++] = ',';
        }
        size += cursor_print(&c->at[i], out + size);
    }
    return size;
}

/* The first entry that is not below `slice`. */
static uint32_t place_of(const struct cursors *c, uint32_t slice)
{
    uint32_t low = 0;
    uint32_t high = c->count;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (c->at[middle].slice < slice) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct cursor *cursors_find(const struct cursors *c, uint32_t slice)
{
    uint32_t i = place_of(c, slice);

    return i < c->count && c->at[i].slice == slice ? &c->at[i] : NULL;
}

bool cursors_put(struct cursors *c, struct cursor cursor)
{
    uint32_t i = place_of(c, cursor.slice);

    FLY_CHECK(cursor.slice <= TAG_MAX);
    if (i == c->count || c->at[i].slice != cursor.slice) {
        if (c->count == CURSORS_MAX) {
            return false;
        }
        memmove(&c->at[i + 1], &c->at[i], (c->count - i) * sizeof c->at[0]);
        c->count++;
    }
    c->at[i] = cursor;
    return true;
}

void cursors_drop(struct cursors *c, uint32_t slice)
{
    uint32_t i = place_of(c, slice);

    if (i < c->count && c->at[i].slice == slice) {
        c->count--;
        memmove(&c->at[i], &c->at[i + 1], (c->count - i) * sizeof c->at[0]);
    }
}
