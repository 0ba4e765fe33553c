/*
 * Bytes with a depth: the oracle is protobuf-c. What nesting_check lets pass unpacks as
 * descriptors, whose type nests in itself, no deeper than it was told.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "google/protobuf/descriptor.pb-c.h"
#include "proto/base/check.h"
#include "proto/wire/nesting.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEMORY_MAX = 1 << 20 };

static void *bounded_alloc(void *left, size_t size)
{
    size_t *room = left;

    if (size > *room) {
        return NULL;
    }
    *room -= size;
    return malloc(size > 0 ? size : 1);
}

static void bounded_free(void *left, void *pointer)
{
    (void)left;
    free(pointer);
}

static unsigned depth_of(const Google__Protobuf__DescriptorProto *type)
{
    unsigned deepest = 0;

    for (size_t i = 0; i < type->n_nested_type; i++) {
        unsigned depth = depth_of(type->nested_type[i]);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t room = MEMORY_MAX;
    ProtobufCAllocator allocator = {bounded_alloc, bounded_free, &room};
    struct fly_error error;

    if (size < 1) {
        return 0;
    }
    unsigned depth_max = 1 + data[0] % NESTING_DEPTH_MAX;
    size--;
    uint8_t *exact = malloc(size > 0 ? size : 1);
    FLY_CHECK(exact != NULL);
    if (size > 0) {
        memcpy(exact, data + 1, size);
    }
    enum fly_status status = nesting_check((struct fly_bytes){exact, size}, depth_max, &error);
    if (status == FLY_OK) {
        Google__Protobuf__DescriptorProto *type =
            google__protobuf__descriptor_proto__unpack(&allocator, size, exact);
        FLY_CHECK(type == NULL || depth_of(type) <= depth_max);
        if (type != NULL) {
            google__protobuf__descriptor_proto__free_unpacked(type, &allocator);
        }
        FLY_CHECK(depth_max == NESTING_DEPTH_MAX ||
                  nesting_check((struct fly_bytes){exact, size}, depth_max + 1, &error) == FLY_OK);
    }
    free(exact);
    return 0;
}
