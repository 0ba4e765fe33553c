/*
 * Bytes as metadata entries: what metadata_check accepts can be walked whole, found by key, and put
 * again to the same bytes; what it refuses can still be walked without leaving the buffer.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/wire/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t fuzz_make(struct fly_rng *rng, uint8_t *out, size_t max);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[FRAME_METADATA_MAX];
    struct fly_writer w = fly_writer_over(again, sizeof again);
    const struct fly_bytes all = {data, size};
    struct fly_bytes left = all;
    struct metadata_entry entry;
    struct fly_error error;
    bool sound = metadata_check(all, &error) == FLY_OK;
    unsigned count = 0;

    while (metadata_next(&left, &entry)) {
        char key[METADATA_KEY_MAX + 1];
        struct fly_bytes found;
        int64_t number = 0;
        count++;
        FLY_CHECK(entry.key.data > data && entry.value.data + entry.value.size <= data + size);
        if (sound) {
            FLY_CHECK(entry.key.size <= METADATA_KEY_MAX);
            memcpy(key, entry.key.data, entry.key.size);
            key[entry.key.size] = '\0';
            FLY_CHECK(metadata_find(all, key, &found));
            (void)metadata_find_number(all, key, &number);
            FLY_CHECK(metadata_put(&w, key, entry.value, &error) == FLY_OK);
        }
    }
    if (sound) {
        FLY_CHECK(left.size == 0 && count <= METADATA_ENTRIES_MAX);
        FLY_CHECK(w.size == size && (size == 0 || memcmp(again, data, size) == 0));
    }
    return 0;
}

/* Sound entries, for mill.c. */
size_t fuzz_make(struct fly_rng *rng, uint8_t *out, size_t max)
{
    struct fly_writer w = fly_writer_over(out, max);

    for (uint64_t n = fly_rng_below(rng, 8); n > 0; n--) {
        static const char *const keys[] = {"a", "trace-bin", "fly-retry-pushback-ms", "x_1.y"};
        uint8_t value[24];
        uint64_t size = fly_rng_below(rng, sizeof value);
        for (uint64_t i = 0; i < size; i++) {
            value[i] = (uint8_t)('0' + fly_rng_below(rng, 10));
        }
        (void)metadata_put(&w, keys[fly_rng_below(rng, FLY_ARRAY_COUNT(keys))],
                           (struct fly_bytes){value, (size_t)size}, NULL);
    }
    return w.size;
}
