/*
 * Bytes as each of our message types. The oracle is protobuf-c itself: what validate_message
 * accepts unpacks within the arena size it named, in an arena of exactly that size, and packs to
 * something that is accepted again. Nothing here may need more than that size.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "fly/v1/edge.pb-c.h"
#include "fly/v1/health.pb-c.h"
#include "proto/base/check.h"
#include "proto/wire/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_MAX = 1 << 20 };

static const ProtobufCMessageDescriptor *const types[] = {
    &fly__v1__hello__descriptor,          &fly__v1__hello_reply__descriptor,
    &fly__v1__launch_request__descriptor, &fly__v1__launch_reply__descriptor,
    &fly__v1__list_reply__descriptor,     &fly__v1__regions_reply__descriptor,
    &fly__v1__watch_reply__descriptor,    &fly__v1__watch_request__descriptor,
    &fly__v1__refusal__descriptor,        &fly__v1__echo_message__descriptor,
    &fly__v1__list_request__descriptor,
};

static void check_accepted(const ProtobufCMessageDescriptor *type, struct fly_bytes bytes,
                           size_t arena_size)
{
    /* malloc gives 16-byte alignment, and ASan sees one byte too many */
    void *memory = malloc(arena_size > 0 ? arena_size : 1);
    struct fly_arena arena = fly_arena_over(memory, arena_size);
    struct fly_error error;

    FLY_CHECK(memory != NULL);
    const ProtobufCMessage *message = validate_unpack(type, bytes, &arena);
    FLY_CHECK(message != NULL && message->descriptor == type);
    size_t packed_size = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = malloc(packed_size > 0 ? packed_size : 1);
    FLY_CHECK(packed != NULL);
    FLY_CHECK(protobuf_c_message_pack(message, packed) == packed_size);
    FLY_CHECK(validate_message(type, (struct fly_bytes){.data = packed, .size = packed_size},
                               16 * ARENA_MAX, NULL, &error) == FLY_OK);
    free(packed);
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fly_error error;
    size_t arena_size = 0;

    if (size < 1) {
        return 0;
    }
    const ProtobufCMessageDescriptor *type = types[data[0] % FLY_ARRAY_COUNT(types)];
    /* exactly the size of the message, so that a read past its end is seen */
    uint8_t *exact = malloc(size);
    FLY_CHECK(exact != NULL);
    for (size_t i = 1; i < size; i++) {
        exact[i - 1] = data[i];
    }
    struct fly_bytes bytes = {.data = exact, .size = size - 1};
    FLY_CHECK(validate_schema(type, &error) == FLY_OK);
    if (validate_message(type, bytes, ARENA_MAX, &arena_size, &error) == FLY_OK) {
        FLY_CHECK(arena_size <= ARENA_MAX);
        check_accepted(type, bytes, arena_size);
    }
    (void)validate_utf8(bytes.data, bytes.size);
    free(exact);
    return 0;
}
