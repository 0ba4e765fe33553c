/* Any text a person gives as a key is refused, or is a valid key that prints and parses back. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[FLY_KEY_TEXT_MAX + 64];
    struct fly_key key;

    if (size >= sizeof text) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    if (key_parse(text, &key)) {
        char printed[FLY_KEY_TEXT_SIZE];
        struct fly_key back;
        FLY_CHECK(key_valid(&key));
        FLY_CHECK(key_home(&key, 7) >= 1);
        key_format(&key, printed);
        FLY_CHECK(key_parse(printed, &back));
        FLY_CHECK(key_equal(&key, &back));
    }
    if (size >= FLY_KEY_SIZE) {
        memcpy(key.bytes, data, FLY_KEY_SIZE);
        if (key_valid(&key)) {
            FLY_CHECK(key_home(&key, 7) <= FLY_TAG_MAX);
        }
    }
    return 0;
}
