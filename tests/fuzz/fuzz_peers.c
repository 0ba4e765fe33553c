/* Any text is refused whole, or is read, written and read back to the same. The sum is put right
 * first: otherwise nothing would get past it. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/catalog/peers.h"
#include "proto/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX = 4096, TEXT_MAX = 2 * BODY_MAX };

static size_t with_sum(const uint8_t *data, size_t size, char *out)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < size; i++) {
        h = (h ^ data[i]) * UINT64_C(0x100000001b3);
    }
    memcpy(out, data, size);
    (void)snprintf(out + size, TEXT_MAX - size, "sum %016llx\n", (unsigned long long)h);
    return size + strlen(out + size);
}

static void try_text(const char *text, size_t size)
{
    struct peers *p = peers_init(calloc(1, peers_size()), 1);
    struct seen *s = seen_init(calloc(1, seen_size()), 1);
    struct peers *p2 = peers_init(calloc(1, peers_size()), 2);
    struct seen *s2 = seen_init(calloc(1, seen_size()), 2);
    char first[TEXT_MAX];
    char second[TEXT_MAX];
    struct fly_error error;

    if (peers_decode(text, size, p, s, &error) == FLY_OK) {
        size_t first_size = peers_encode(p, s, first, sizeof first);
        FLY_CHECK(first_size == size); /* only members and slices may change places */
        FLY_CHECK(peers_decode(first, first_size, p2, s2, &error) == FLY_OK);
        FLY_CHECK(peers_encode(p2, s2, second, sizeof second) == first_size);
        FLY_CHECK(memcmp(first, second, first_size) == 0);
    } else {
        FLY_CHECK(peers_count(p) == 0 && seen_count(s) == 0);
    }
    free(p);
    free(s);
    free(p2);
    free(s2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_MAX];

    if (size > BODY_MAX) {
        return 0;
    }
    try_text((const char *)data, size);
    try_text(text, with_sum(data, size, text));
    return 0;
}
