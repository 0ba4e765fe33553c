/* Bytes as a slice's snapshot: refused, or a state that encodes and decodes to the same bytes. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "node/slice/snapshot.h"
#include "proto/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct slice_config config = {.machines_max = 64, .records_max = 256};

static struct slice_state *make(void **memory)
{
    *memory = calloc(1, slice_state_size(&config));
    FLY_CHECK(*memory != NULL);
    return slice_state_init(*memory, &config);
}

static uint8_t *encode(struct slice_state *s, size_t *size)
{
    struct slice_view *view = slice_view_take(s);
    size_t max = snapshot_size_max(view);
    uint8_t *bytes = malloc(max);

    FLY_CHECK(bytes != NULL);
    *size = snapshot_encode(view, bytes, max);
    slice_view_drop(s, view);
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *memory = NULL;
    struct slice_state *s = make(&memory);
    struct fly_error error;

    if (snapshot_decode(s, data, size, &error) == FLY_OK) {
        size_t first_size = 0;
        size_t second_size = 0;
        uint8_t *first = encode(s, &first_size);
        void *other_memory = NULL;
        struct slice_state *other = make(&other_memory);
        FLY_CHECK(snapshot_decode(other, first, first_size, &error) == FLY_OK);
        uint8_t *second = encode(other, &second_size);
        FLY_CHECK(first_size == second_size && memcmp(first, second, first_size) == 0);
        free(second);
        free(other_memory);
        free(first);
    }
    free(memory);
    return 0;
}
