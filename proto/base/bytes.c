#include "proto/base/bytes.h"

#include <string.h>

#include "proto/base/check.h"

static void put_little_endian(struct fly_writer *w, uint64_t value, size_t width)
{
    if (w->failed || w->max - w->size < width) {
        w->failed = true;
        return;
    }
    for (size_t i = 0; i < width; i++) {
        w->data[w->size + i] = (uint8_t)(value >> (8 * i));
    }
    w->size += width;
}

static uint64_t get_little_endian(struct fly_reader *r, size_t width)
{
    const uint8_t *p = fly_get_bytes(r, width);
    uint64_t value = 0;

    for (size_t i = 0; p != NULL && i < width; i++) {
        value |= (uint64_t)p[i] << (8 * i);
    }
    return value;
}

struct fly_writer fly_writer_over(void *data, size_t max)
{
    return (struct fly_writer){.data = data, .max = max};
}

void fly_put_u8(struct fly_writer *w, uint8_t value)
{
    put_little_endian(w, value, 1);
}

void fly_put_u16(struct fly_writer *w, uint16_t value)
{
    put_little_endian(w, value, 2);
}

void fly_put_u32(struct fly_writer *w, uint32_t value)
{
    put_little_endian(w, value, 4);
}

void fly_put_u64(struct fly_writer *w, uint64_t value)
{
    put_little_endian(w, value, 8);
}

void fly_put_bytes(struct fly_writer *w, const void *data, size_t size)
{
    if (w->failed || w->max - w->size < size) {
        w->failed = true;
        return;
    }
    if (size > 0) {
        memcpy(w->data + w->size, data, size);
        w->size += size;
    }
}

void fly_put_string8(struct fly_writer *w, const char *text)
{
    size_t size = strlen(text);

    FLY_CHECK(size <= UINT8_MAX);
    fly_put_u8(w, (uint8_t)size);
    fly_put_bytes(w, text, size);
}

struct fly_reader fly_reader_over(const void *data, size_t size)
{
    return (struct fly_reader){.data = data, .size = size};
}

uint8_t fly_get_u8(struct fly_reader *r)
{
    return (uint8_t)get_little_endian(r, 1);
}

uint16_t fly_get_u16(struct fly_reader *r)
{
    return (uint16_t)get_little_endian(r, 2);
}

uint32_t fly_get_u32(struct fly_reader *r)
{
    return (uint32_t)get_little_endian(r, 4);
}

uint64_t fly_get_u64(struct fly_reader *r)
{
    return get_little_endian(r, 8);
}

const uint8_t *fly_get_bytes(struct fly_reader *r, size_t size)
{
    if (r->failed || r->size - r->offset < size) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->data + r->offset;
    r->offset += size;
    return p;
}

void fly_get_copy(struct fly_reader *r, void *out, size_t size)
{
    const uint8_t *p = size > 0 ? fly_get_bytes(r, size) : NULL;

    if (p != NULL) {
        memcpy(out, p, size);
    } else if (size > 0) {
        memset(out, 0, size);
    }
}

void fly_get_string8(struct fly_reader *r, char *out, size_t max)
{
    size_t size = fly_get_u8(r);
    const uint8_t *p = size > 0 ? fly_get_bytes(r, size) : NULL;

    FLY_CHECK(max > 0);
    out[0] = '\0';
    if (size == 0 || p == NULL) {
        return;
    }
    if (size >= max || memchr(p, '\0', size) != NULL) {
        r->failed = true;
        return;
    }
    memcpy(out, p, size);
    out[size] = '\0';
}

size_t fly_reader_left(const struct fly_reader *r)
{
    return r->failed ? 0 : r->size - r->offset;
}

bool fly_reader_done(const struct fly_reader *r)
{
    return !r->failed && r->offset == r->size;
}

uint32_t fly_load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t fly_load_u64(const uint8_t *p)
{
    return (uint64_t)fly_load_u32(p) | (uint64_t)fly_load_u32(p + 4) << 32;
}

void fly_store_u32(uint8_t *p, uint32_t value)
{
    for (size_t i = 0; i < 4; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

void fly_store_u64(uint8_t *p, uint64_t value)
{
    fly_store_u32(p, (uint32_t)value);
    fly_store_u32(p + 4, (uint32_t)(value >> 32));
}

bool fly_copy_string(char *out, size_t max, const char *text)
{
    size_t size = strlen(text);
    bool fits = size < max;

    FLY_CHECK(max > 0);
    if (!fits) {
        size = max - 1;
    }
    memcpy(out, text, size);
    out[size] = '\0';
    return fits;
}
