#include "proto/wire/base64.h"

#include <sodium.h>

#include "proto/base/check.h"

enum { VARIANT = sodium_base64_VARIANT_URLSAFE_NO_PADDING };

size_t base64_size(size_t size)
{
    return (4 * size + 2) / 3;
}

size_t base64_encode(const void *data, size_t size, char *out, size_t out_max)
{
    size_t text_size = base64_size(size);

    FLY_CHECK(text_size < out_max);
    /* of a larger buffer libsodium would wipe the rest */
    (void)sodium_bin2base64(out, text_size + 1, data, size, VARIANT);
    return text_size;
}

static bool in_alphabet(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

bool base64_decode(const char *text, size_t text_size, uint8_t *out, size_t out_max, size_t *size)
{
    for (size_t i = 0; i < text_size; i++) {
        if (!in_alphabet(text[i])) {
            return false;
        }
    }
    /* without an end pointer whatever is left over is an error */
    return sodium_base642bin(out, out_max, text, text_size, NULL, size, NULL, VARIANT) == 0;
}
