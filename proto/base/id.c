#include "proto/base/id.h"

#include <string.h>

#include "proto/base/check.h"

static const char hex_digits[] = "0123456789abcdef";
static const char crockford_digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

void fly_hex_encode(const void *data, size_t size, char *out)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < size; i++) {
        out[2 * i] = hex_digits[p[i] >> 4];
        out[2 * i + 1] = hex_digits[p[i] & 15];
    }
    out[2 * size] = '\0';
}

bool fly_hex_decode(const char *text, size_t text_size, void *out, size_t size)
{
    uint8_t *p = out;

    if (text_size != 2 * size) {
        return false;
    }
    for (size_t i = 0; i < text_size; i++) {
        if (hex_value(text[i]) < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < size; i++) {
        p[i] = (uint8_t)(hex_value(text[2 * i]) << 4 | hex_value(text[2 * i + 1]));
    }
    return true;
}

void fly_crockford_encode(uint64_t value, unsigned digits, char *out)
{
    FLY_CHECK(digits >= 1 && digits <= 13);
    for (unsigned i = digits; i-- > 0;) {
        out[i] = crockford_digits[value & 31];
        value >>= 5;
    }
    FLY_CHECK(value == 0);
    out[digits] = '\0';
}

static int crockford_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        c = (char)(c - 'A' + 'a');
    }
    if (c == 'o') {
        return 0;
    }
    if (c == 'i' || c == 'l') {
        return 1;
    }
    const char *at = c != '\0' ? strchr(crockford_digits, c) : NULL;
    return at != NULL ? (int)(at - crockford_digits) : -1;
}

bool fly_crockford_decode(const char *text, size_t text_size, uint64_t *out)
{
    uint64_t value = 0;

    if (text_size < 1 || text_size > 12) {
        return false;
    }
    for (size_t i = 0; i < text_size; i++) {
        int digit = crockford_value(text[i]);
        if (digit < 0) {
            return false;
        }
        value = value << 5 | (uint64_t)digit;
    }
    *out = value;
    return true;
}

bool fly_name_ok(const char *text)
{
    size_t size = strlen(text);

    if (size < 1 || size > 63) {
        return false;
    }
    return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == size;
}
