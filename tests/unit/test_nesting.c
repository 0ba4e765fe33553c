/* Tests of proto/wire/nesting: what a decoder without a limit must not be given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "google/protobuf/descriptor.pb-c.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/wire/nesting.h"

typedef Google__Protobuf__DescriptorProto Type;

static struct fly_bytes exact_copy(const void *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    assert_non_null(copy);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return (struct fly_bytes){copy, size};
}

static void test_forms(void **state)
{
    static const struct {
        const char *what;
        const char *data;
        size_t size;
        unsigned depth_max;
        enum fly_status status;
    } rows[] = {
#define BYTES(text) text, sizeof(text) - 1
        {"nothing", BYTES(""), 1, FLY_OK},
        {"numbers only", BYTES("\x08\x96\x01\x0d\1\2\3\4\x11\1\2\3\4\5\6\7\x08"), 1, FLY_OK},
        {"text in the outermost, one level", BYTES("\x0a\x02hi"), 1, FLY_RESOURCE_EXHAUSTED},
        {"text in the outermost, two levels", BYTES("\x0a\x02hi"), 2, FLY_OK},
        {"empty text counts too", BYTES("\x0a\x00"), 1, FLY_RESOURCE_EXHAUSTED},
        {"a message in a message", BYTES("\x0a\x02\x0a\x00"), 2, FLY_RESOURCE_EXHAUSTED},
        {"the same with room", BYTES("\x0a\x02\x0a\x00"), 3, FLY_OK},
        {"deep only behind something shallow", BYTES("\x0a\x00\x0a\x04\x0a\x02\x0a\x00"), 3,
         FLY_RESOURCE_EXHAUSTED},
        {"shallow behind something deep", BYTES("\x0a\x04\x0a\x02\x0a\x00\x0a\x00"), 4, FLY_OK},
        {"deep before what is no field", BYTES("\x0a\x05\x0a\x02\x0a\x00\x07"), 3,
         FLY_RESOURCE_EXHAUSTED},
        {"deep behind what is no field", BYTES("\x0a\x05\x07\x0a\x02\x0a\x00"), 2, FLY_OK},
        {"a tag of five bytes", BYTES("\x8a\x80\x80\x80\x00\x02\x0a\x00"), 2,
         FLY_RESOURCE_EXHAUSTED},
        {"a length of five bytes", BYTES("\x0a\x82\x80\x80\x80\x00\x0a\x00"), 2,
         FLY_RESOURCE_EXHAUSTED},
        {"a tag of six bytes", BYTES("\x8a\x80\x80\x80\x80\x00\x00"), 2, FLY_INVALID_ARGUMENT},
        {"a group", BYTES("\x0b\x0c"), 2, FLY_INVALID_ARGUMENT},
        {"wire type 7", BYTES("\x0f\x00"), 2, FLY_INVALID_ARGUMENT},
        {"a length past the end", BYTES("\x0a\x02i"), 2, FLY_INVALID_ARGUMENT},
        {"a length past every end", BYTES("\x0a\xff\xff\xff\xff\x7fi"), 2, FLY_INVALID_ARGUMENT},
        {"a cut length", BYTES("\x0a\x82"), 2, FLY_INVALID_ARGUMENT},
        {"a cut number", BYTES("\x08\x96"), 2, FLY_INVALID_ARGUMENT},
        {"a number of eleven bytes", BYTES("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"), 2,
         FLY_INVALID_ARGUMENT},
        {"a cut fixed64", BYTES("\x09\1\2\3\4\5\6\7"), 2, FLY_INVALID_ARGUMENT},
        {"a cut fixed32", BYTES("\x0d\1\2\3"), 2, FLY_INVALID_ARGUMENT},
#undef BYTES
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct fly_error error = {0};
        struct fly_bytes bytes = exact_copy(rows[i].data, rows[i].size);
        enum fly_status status = nesting_check(bytes, rows[i].depth_max, &error);
        free((void *)(uintptr_t)bytes.data);
        if (status != rows[i].status) {
            fail_msg("%s: %s", rows[i].what, fly_status_name(status));
        }
    }
}

/* The attack: protobuf-c recurses once for each two or three of these bytes. */
static void test_nine_thousand_deep(void **state)
{
    enum { DEPTH = 9000, SIZE = 8 * DEPTH };
    uint8_t *bytes = malloc(SIZE);
    struct fly_error error;
    size_t at = SIZE;

    (void)state;
    assert_non_null(bytes);
    for (int i = 0; i < DEPTH; i++) {
        size_t size = SIZE - at;
        uint8_t length[5];
        size_t used = 0;
        for (; size >= 0x80; size >>= 7) {
            length[used++] = (uint8_t)(size | 0x80);
        }
        length[used++] = (uint8_t)size;
        at -= used;
        memcpy(bytes + at, length, used);
        bytes[--at] = 3 << 3 | 2; /* DescriptorProto.nested_type */
    }
    assert_int_equal(
        nesting_check((struct fly_bytes){bytes + at, SIZE - at}, NESTING_DEPTH_MAX, &error),
        FLY_RESOURCE_EXHAUSTED);
    free(bytes);
}

static unsigned depth_of(const Type *type)
{
    unsigned deepest = 0;

    for (size_t i = 0; i < type->n_nested_type; i++) {
        unsigned depth = depth_of(type->nested_type[i]);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

static Type *make_type(struct fly_rng *rng, unsigned depth_max)
{
    Type *type = malloc(sizeof *type);

    assert_non_null(type);
    google__protobuf__descriptor_proto__init(type);
    type->n_nested_type = depth_max > 1 ? (size_t)fly_rng_below(rng, 3) : 0;
    type->nested_type = calloc(type->n_nested_type + 1, sizeof *type->nested_type);
    assert_non_null(type->nested_type);
    for (size_t i = 0; i < type->n_nested_type; i++) {
        type->nested_type[i] = make_type(rng, depth_max - 1);
    }
    return type;
}

/* Without text, what is found is exactly what there is. */
static void test_against_protobuf_c(void **state)
{
    struct fly_rng rng;
    unsigned deepest = 0;

    (void)state;
    fly_rng_seed(&rng, 11);
    for (int i = 0; i < 300; i++) {
        struct fly_error error;
        Type *type = make_type(&rng, 12);
        unsigned depth = depth_of(type);
        size_t size = google__protobuf__descriptor_proto__get_packed_size(type);
        uint8_t *packed = malloc(size + 1);
        assert_non_null(packed);
        (void)google__protobuf__descriptor_proto__pack(type, packed);
        deepest = depth > deepest ? depth : deepest;
        assert_int_equal(nesting_check((struct fly_bytes){packed, size}, depth, &error), FLY_OK);
        if (depth > 1) {
            assert_int_equal(nesting_check((struct fly_bytes){packed, size}, depth - 1, &error),
                             FLY_RESOURCE_EXHAUSTED);
        }
        free(packed);
        google__protobuf__descriptor_proto__free_unpacked(type, NULL);
    }
    assert_int_equal(deepest, 12); /* the random trees reached the bottom */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_nine_thousand_deep),
        cmocka_unit_test(test_against_protobuf_c),
    };

    return cmocka_run_group_tests_name("nesting", tests, NULL, NULL);
}
