#include "proto/wire/mp.h"

#include <string.h>

enum { SKIP_DEPTH_MAX = 8 };

bool mp_text_ok(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] < 0x20 || text[i] > 0x7e) {
            return false;
        }
    }
    return true;
}

static uint64_t get_big_endian(struct fly_reader *r, size_t width)
{
    const uint8_t *p = fly_get_bytes(r, width);
    uint64_t value = 0;

    for (size_t i = 0; p != NULL && i < width; i++) {
        value = value << 8 | p[i];
    }
    return value;
}

uint64_t mp_get_uint(struct fly_reader *r)
{
    uint8_t lead = fly_get_u8(r);

    if (lead <= 0x7f) {
        return lead;
    }
    if (lead < 0xcc || lead > 0xcf) {
        r->failed = true;
        return 0;
    }
    return get_big_endian(r, (size_t)1 << (lead - 0xcc));
}

uint64_t mp_get_uint_max(struct fly_reader *r, uint64_t max)
{
    uint64_t value = mp_get_uint(r);

    r->failed = r->failed || value > max;
    return value;
}

int64_t mp_get_int(struct fly_reader *r)
{
    uint8_t lead = r->offset < r->size ? r->data[r->offset] : 0;

    if (lead >= 0xe0) {
        r->offset++;
        return (int8_t)lead;
    }
    if (lead < 0xd0 || lead > 0xd3) {
        return (int64_t)mp_get_uint_max(r, INT64_MAX);
    }
    r->offset++;
    unsigned unused_bits = 64 - (8U << (lead - 0xd0));
    /* to the top and back: the arithmetic shift extends the sign */
    return (int64_t)(get_big_endian(r, (size_t)1 << (lead - 0xd0)) << unused_bits) >> unused_bits;
}

/* A count of items that take at least `item_bytes` each; more than can follow fails. */
static size_t get_count(struct fly_reader *r, size_t width, size_t item_bytes)
{
    uint64_t count = get_big_endian(r, width);

    if (count > fly_reader_left(r) / item_bytes) {
        r->failed = true;
        return 0;
    }
    return (size_t)count;
}

size_t mp_get_map(struct fly_reader *r)
{
    uint8_t lead = fly_get_u8(r);

    if (lead >= 0x80 && lead <= 0x8f) {
        return lead & 0x0f;
    }
    if (lead == 0xde || lead == 0xdf) {
        return get_count(r, lead == 0xde ? 2 : 4, 2);
    }
    r->failed = true;
    return 0;
}

size_t mp_get_array(struct fly_reader *r)
{
    uint8_t lead = fly_get_u8(r);

    if (lead >= 0x90 && lead <= 0x9f) {
        return lead & 0x0f;
    }
    if (lead == 0xdc || lead == 0xdd) {
        return get_count(r, lead == 0xdc ? 2 : 4, 1);
    }
    r->failed = true;
    return 0;
}

void mp_get_text(struct fly_reader *r, char *out, size_t max)
{
    uint8_t lead = fly_get_u8(r);
    size_t size = lead & 0x1f;

    if (lead == 0xd9) {
        size = fly_get_u8(r);
    } else if (lead < 0xa0 || lead > 0xbf) {
        r->failed = true;
    }
    const char *text = (const char *)fly_get_bytes(r, size);
    if (text == NULL || size >= max || !mp_text_ok(text, size)) {
        r->failed = true;
        return;
    }
    memcpy(out, text, size);
    out[size] = '\0';
}

static void skip_bytes(struct fly_reader *r, uint64_t size)
{
    if (size > fly_reader_left(r)) {
        r->failed = true;
    } else {
        r->offset += (size_t)size;
    }
}

/* Passes one scalar, or the header of a container; returns how many values are inside it. */
static size_t skip_lead(struct fly_reader *r)
{
    uint8_t lead = fly_get_u8(r);

    if (r->failed || lead <= 0x7f || lead >= 0xe0 || lead == 0xc0 || lead == 0xc2 || lead == 0xc3) {
        return 0; /* small numbers, nil, false, true */
    }
    if (lead <= 0x8f) {
        return (size_t)(lead & 0x0f) * 2;
    }
    if (lead <= 0x9f) {
        return lead & 0x0f;
    }
    if (lead <= 0xbf) {
        skip_bytes(r, lead & 0x1f);
    } else if (lead >= 0xc4 && lead <= 0xc6) { /* bin */
        skip_bytes(r, get_big_endian(r, (size_t)1 << (lead - 0xc4)));
    } else if (lead >= 0xc7 && lead <= 0xc9) { /* ext: a type byte before the data */
        skip_bytes(r, get_big_endian(r, (size_t)1 << (lead - 0xc7)) + 1);
    } else if (lead == 0xca || lead == 0xcb) { /* float */
        skip_bytes(r, (uint64_t)4 << (lead - 0xca));
    } else if (lead >= 0xcc && lead <= 0xd3) { /* uint, int */
        skip_bytes(r, (uint64_t)1 << ((lead - 0xcc) & 3));
    } else if (lead >= 0xd4 && lead <= 0xd8) { /* fixext */
        skip_bytes(r, ((uint64_t)1 << (lead - 0xd4)) + 1);
    } else if (lead >= 0xd9 && lead <= 0xdb) { /* str */
        skip_bytes(r, get_big_endian(r, (size_t)1 << (lead - 0xd9)));
    } else if (lead == 0xdc || lead == 0xdd) { /* array */
        return get_count(r, lead == 0xdc ? 2 : 4, 1);
    } else if (lead == 0xde || lead == 0xdf) { /* map */
        return get_count(r, lead == 0xde ? 2 : 4, 2) * 2;
    } else {
        r->failed = true; /* 0xc1 is never used */
    }
    return 0;
}

void mp_skip(struct fly_reader *r)
{
    size_t left[SKIP_DEPTH_MAX] = {0};
    size_t depth = 0;

    left[0] = 1;
    while (!r->failed) {
        while (left[depth] == 0) {
            if (depth == 0) {
                return;
            }
            depth--;
        }
        left[depth]--;
        size_t inside = skip_lead(r);
        if (inside > 0) {
            if (++depth == SKIP_DEPTH_MAX) {
                r->failed = true;
                return;
            }
            left[depth] = inside;
        }
    }
}
