/*
 * Tests of client/lib/transcode. The oracle is Google's own implementation: tests/vectors/transcode
 * holds what it made of random messages (`make` there), and protobuf-c for the descriptors'.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/transcode.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/rng.h"

enum { FILE_MAX = 1 << 20 };

static struct schema *schema;
static uint8_t desc[FILE_MAX];
static size_t desc_size;

static size_t read_vector(const char *name, void *out, size_t max)
{
    char path[512];

    (void)snprintf(path, sizeof path, "%s/transcode/%s", FLY_VECTORS, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t size = fread(out, 1, max, file);
    assert_true(size > 0 && size < max);
    (void)fclose(file);
    return size;
}

static int set_up(void **state)
{
    struct fly_error error;

    (void)state;
    desc_size = read_vector("all.desc", desc, sizeof desc);
    return schema_create(&schema, (struct fly_bytes){desc, desc_size}, &error) == FLY_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    schema_destroy(schema);
    return 0;
}

static const struct schema_message *type_of(const char *name)
{
    const struct schema_message *type = schema_message(schema, name);

    assert_non_null(type);
    return type;
}

static json_t *parse(const char *text)
{
    struct fly_error error = {0};
    json_t *json = NULL;

    if (transcode_parse(text, strlen(text), &json, &error) != FLY_OK) {
        fail_msg("%s: %s", text, error.text);
    }
    return json;
}

/* What is printed, on one line; to be freed. */
static char *printed(const json_t *json, bool one_line)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    transcode_print(json, one_line, out);
    (void)fclose(out);
    return text;
}

static json_t *decode(const struct schema_message *type, const uint8_t *bytes, size_t size)
{
    struct fly_error error = {0};
    json_t *json = NULL;

    if (transcode_decode(type, (struct fly_bytes){bytes, size}, &json, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return json;
}

static void check_case(size_t number, json_t *c)
{
    const struct schema_message *type = type_of(json_string_value(json_object_get(c, "type")));
    json_t *json = json_object_get(c, "json");
    const char *hex = json_string_value(json_object_get(c, "hex"));
    uint8_t wanted[8192];
    size_t wanted_size = strlen(hex) / 2;
    struct fly_error error = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;

    assert_true(wanted_size < sizeof wanted &&
                fly_hex_decode(hex, strlen(hex), wanted, wanted_size));
    if (transcode_encode(type, json, &bytes, &size, &error) != FLY_OK) {
        fail_msg("case %zu: %s", number, error.text);
    }
    if (size != wanted_size || (size > 0 && memcmp(bytes, wanted, size) != 0)) {
        fail_msg("case %zu: other bytes", number);
    }
    json_t *back = decode(type, wanted, wanted_size);
    if (!json_equal(json, back)) {
        char *text = printed(back, true);
        fail_msg("case %zu: other JSON: %s", number, text);
    }
    char *text = printed(back, number % 2 == 0);
    json_t *again = parse(text);
    if (!json_equal(back, again)) {
        fail_msg("case %zu: printed otherwise: %s", number, text);
    }
    free(text);
    json_decref(again);
    json_decref(back);
    free(bytes);
}

static void test_against_google(void **state)
{
    char *text = malloc(FILE_MAX);

    (void)state;
    assert_non_null(text);
    size_t size = read_vector("cases.json", text, FILE_MAX);
    json_t *cases = json_loadb(text, size, 0, NULL);
    assert_true(json_array_size(cases) > 50);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        check_case(i, json_array_get(cases, i));
    }
    json_decref(cases);
    free(text);
}

/* Descriptors are of proto2, nested in themselves, and protobuf-c reads and writes them too. */
static void test_against_protobuf_c(void **state)
{
    Google__Protobuf__FileDescriptorSet *set =
        google__protobuf__file_descriptor_set__unpack(NULL, desc_size, desc);
    struct fly_error error = {0};

    (void)state;
    assert_non_null(set);
    size_t size = google__protobuf__file_descriptor_set__get_packed_size(set);
    uint8_t *packed = malloc(size);
    assert_non_null(packed);
    (void)google__protobuf__file_descriptor_set__pack(set, packed);
    json_t *json = decode(type_of("google.protobuf.FileDescriptorSet"), packed, size);
    uint8_t *bytes = NULL;
    size_t back_size = 0;
    if (transcode_encode(type_of("google.protobuf.FileDescriptorSet"), json, &bytes, &back_size,
                         &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(back_size, size);
    assert_memory_equal(bytes, packed, size);
    free(bytes);
    free(packed);
    json_decref(json);
    google__protobuf__file_descriptor_set__free_unpacked(set, NULL);
}

/* Other ways to write the same, and what is then printed. */
static void test_forms(void **state)
{
    static const struct {
        const char *what;
        const char *in;
        const char *out;
    } rows[] = {
        {"nothing", "{}", "{}"},
        {"names of the .proto", "{\"an_int32\":5,\"colour\":\"RED\"}",
         "{\"anInt32\":5,\"colour\":\"RED\"}"},
        {"a JSON name of its own", "{\"other-name\":5}", "{\"other-name\":5}"},
        {"and its name in the .proto", "{\"renamed\":5}", "{\"other-name\":5}"},
        {"numbers as texts", "{\"anInt32\":\"-5\",\"aDouble\":\"1.5\",\"aUint64\":\"7\"}",
         "{\"aDouble\":1.5,\"anInt32\":-5,\"aUint64\":\"7\"}"},
        {"64-bit numbers as numbers",
         "{\"anInt64\":-9223372036854775808,\"aUint64\":9223372036854775807}",
         "{\"anInt64\":\"-9223372036854775808\",\"aUint64\":\"9223372036854775807\"}"},
        {"the largest of all", "{\"aUint64\":\"18446744073709551615\"}",
         "{\"aUint64\":\"18446744073709551615\"}"},
        {"whole numbers with a point", "{\"anInt32\":5.0,\"anInt64\":1e3,\"aUint32\":\"2e2\"}",
         "{\"anInt32\":5,\"anInt64\":\"1000\",\"aUint32\":200}"},
        {"zeros are left out", "{\"anInt32\":0,\"aString\":\"\",\"aBool\":false,\"aDouble\":0}",
         "{}"},
        {"a zero that is set", "{\"maybeInt\":0,\"maybeString\":\"\"}",
         "{\"maybeInt\":0,\"maybeString\":\"\"}"},
        {"zero in a oneof", "{\"asNumber\":0}", "{\"asNumber\":\"0\"}"},
        {"minus zero is not zero", "{\"aDouble\":-0.0}", "{\"aDouble\":-0.0}"},
        {"null is not set",
         "{\"anInt32\":null,\"leaf\":null,\"manyInts\":null,\"asText\":null,"
         "\"asBool\":true}",
         "{\"asBool\":true}"},
        {"an empty message is set", "{\"leaf\":{}}", "{\"leaf\":{}}"},
        {"enums by number", "{\"colour\":-7,\"manyColours\":[0,1,12]}",
         "{\"colour\":\"BLUE\",\"manyColours\":[\"NONE\",\"RED\",12]}"},
        {"not numbers", "{\"aDouble\":\"NaN\",\"aFloat\":\"-Infinity\"}",
         "{\"aDouble\":\"NaN\",\"aFloat\":\"-Infinity\"}"},
        {"fewest digits",
         "{\"aDouble\":0.1,\"aFloat\":0.1,\"manyFloats\":[16777216.0,1.1754944e-38]}",
         "{\"aDouble\":0.1,\"aFloat\":0.1,\"manyFloats\":[16777216.0,1.1754944e-38]}"},
        {"base64 of the other kind, unpadded", "{\"someBytes\":\"-_-_-w\"}",
         "{\"someBytes\":\"+/+/+w==\"}"},
        {"maps", "{\"intMap\":{\"-1\":\"x\"},\"boolMap\":{\"true\":{\"size\":1}}}",
         "{\"intMap\":{\"-1\":\"x\"},\"boolMap\":{\"true\":{\"size\":1}}}"},
        {"an empty array and map", "{\"manyInts\":[],\"textMap\":{}}", "{}"},
        {"what a terminal must not see", "{\"aString\":\"\\u001b[2J\\u009b\\u202e\\u007f\"}",
         "{\"aString\":\"\\u001b[2J\\u009b\\u202e\\u007f\"}"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct fly_error error = {0};
        uint8_t *bytes = NULL;
        size_t size = 0;
        json_t *json = parse(rows[i].in);
        if (transcode_encode(type_of("t.All"), json, &bytes, &size, &error) != FLY_OK) {
            fail_msg("%s: %s", rows[i].what, error.text);
        }
        json_t *back = decode(type_of("t.All"), bytes, size);
        char *text = printed(back, true);
        if (strcmp(text, rows[i].out) != 0) {
            fail_msg("%s: %s", rows[i].what, text);
        }
        free(text);
        json_decref(back);
        json_decref(json);
        free(bytes);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *in;
        const char *words;
    } rows[] = {
        {"{\"anInt3\":5}", "anInt3: t.All has no such field; did you mean 'anInt32'?"},
        {"{\"leaf\":{\"nam\":\"x\"}}", "leaf.nam: t.Leaf has no such field; did you mean 'name'?"},
        {"{\"leaf\":{\"qqqqqqq\":1}}", "leaf.qqqqqqq: t.Leaf has no such field"},
        {"{\"manyLeaves\":[{},{\"size\":\"x\"}]}", "manyLeaves[1].size: not a whole number"},
        {"{\"textMap\":{\"k\":\"x\"}}", "textMap[\"k\"]: not a whole number"},
        {"{\"textMap\":{\"k\":null}}", "textMap[\"k\"]: this is null, and int32 is needed"},
        {"{\"intMap\":{\"k\":\"x\"}}", "intMap[\"k\"]: not a whole number"},
        {"{\"boolMap\":{\"yes\":{}}}", "boolMap[\"yes\"]: this is a text, and bool is needed"},
        {"{\"anInt32\":2147483648}", "anInt32: 2147483648 is not within int32"},
        {"{\"anInt32\":-2147483649}", "anInt32: -2147483649 is not within int32"},
        {"{\"aSint32\":\"2147483648\"}", "aSint32: 2147483648 is not within sint32"},
        {"{\"aUint32\":4294967296}", "aUint32: 4294967296 is not within uint32"},
        {"{\"aUint32\":-1}", "aUint32: -1 is not within uint32"},
        {"{\"aUint64\":-1}", "aUint64: -1 is not within uint64"},
        {"{\"anInt64\":\"9223372036854775808\"}", "anInt64: 9223372036854775808 is not within"},
        {"{\"aUint64\":\"18446744073709551616\"}", "aUint64: not a whole number, or past 64 bits"},
        {"{\"anInt64\":1e19}", "anInt64: 10000000000000000000 is not within int64"},
        {"{\"anInt64\":1e20}", "anInt64: not a whole number, or past 64 bits"},
        {"{\"anInt32\":1.5}", "anInt32: not a whole number"},
        {"{\"anInt32\":\"0x10\"}", "anInt32: not a whole number"},
        {"{\"anInt32\":\" 1\"}", "anInt32: not a whole number"},
        {"{\"anInt32\":\"+1\"}", "anInt32: not a whole number"},
        {"{\"anInt32\":\"\"}", "anInt32: not a whole number"},
        {"{\"anInt32\":true}", "anInt32: this is true or false, and int32 is needed"},
        {"{\"aBool\":1}", "aBool: this is a number, and bool is needed"},
        {"{\"aString\":1}", "aString: this is a number, and string is needed"},
        {"{\"leaf\":1}", "leaf: this is a number, and t.Leaf is needed"},
        {"{\"manyInts\":1}", "manyInts: this is a number, and an array is needed"},
        {"{\"manyInts\":[1,null]}", "manyInts[1]: this is null, and int32 is needed"},
        {"{\"manyLeaves\":[null]}", "manyLeaves[0]: this is null, and t.Leaf is needed"},
        {"{\"textMap\":[]}", "textMap: this is an array, and an object is needed"},
        {"{\"aFloat\":1e39}", "aFloat: past what the type holds"},
        {"{\"aDouble\":\"1e999\"}", "aDouble: past what the type holds"},
        {"{\"aDouble\":\"nan\"}", "aDouble: 'nan' is not a number"},
        {"{\"aDouble\":\"0x1p3\"}", "aDouble: '0x1p3' is not a number"},
        {"{\"someBytes\":\"a\"}", "someBytes: not base64"},
        {"{\"someBytes\":\"YQ=\"}", "someBytes: not base64"},
        {"{\"someBytes\":\"YQ===\"}", "someBytes: not base64"},
        {"{\"someBytes\":\"Y Q=\"}", "someBytes: not base64"},
        {"{\"colour\":\"READ\"}", "colour: t.Colour has no value 'READ'; did you mean 'RED'?"},
        {"{\"colour\":2147483648}", "colour: 2147483648 is not within t.Colour"},
        {"{\"asText\":\"x\",\"asBool\":false}",
         "'asText' and 'asBool' are of oneof choice: only one may be set"},
        {"{\"anInt32\":1,\"an_int32\":1}", "are one field: it stands here twice"},
        {"[]", "this is an array, and an object is needed: the fields of t.All"},
        {"7", "this is a number, and an object is needed"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct fly_error error = {0};
        uint8_t *bytes = NULL;
        size_t size = 0;
        json_t *json = parse(rows[i].in);
        enum fly_status status = transcode_encode(type_of("t.All"), json, &bytes, &size, &error);
        if (status != FLY_INVALID_ARGUMENT || strstr(error.text, rows[i].words) == NULL) {
            fail_msg("%s: %s %s", rows[i].in, fly_status_name(status), error.text);
        }
        json_decref(json);
        assert_null(bytes);
    }
}

static void test_json_that_is_none(void **state)
{
    static const struct {
        const char *text;
        const char *words;
    } rows[] = {
        {"{", "line 1, column 1"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"a\":99999999999999999999}", "write a number of this size as a text"},
        {"{} x", "end of file"},
        {"{\"a\":\"\\u0000\"}", "\\u0000"},
        {"", "line 1"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct fly_error error = {0};
        json_t *json = NULL;
        enum fly_status status = transcode_parse(rows[i].text, strlen(rows[i].text), &json, &error);
        if (status != FLY_INVALID_ARGUMENT || strstr(error.text, rows[i].words) == NULL) {
            fail_msg("%s: %s %s", rows[i].text, fly_status_name(status), error.text);
        }
    }
}

/* --- bytes that no encoder of ours writes --- */

static void test_wire_forms(void **state)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t size;
        enum fly_status status;
        const char *out;
    } rows[] = {
#define BYTES(text) text, sizeof(text) - 1
        {"the last scalar counts", BYTES("\x18\x01\x18\x02"), FLY_OK, "{\"anInt32\":2}"},
        {"also when it is zero", BYTES("\x18\x01\x18\x00"), FLY_OK, "{}"},
        {"messages are merged", BYTES("\x8a\x01\x03\x0a\x01x\x8a\x01\x02\x10\x05"), FLY_OK,
         "{\"leaf\":{\"name\":\"x\",\"size\":5}}"},
        {"unpacked where packed is usual", BYTES("\xb8\x01\x01\xb8\x01\x02"), FLY_OK,
         "{\"manyInts\":[1,2]}"},
        {"packed where unpacked is", BYTES("\xfa\x01\x02\x01\x02"), FLY_OK, "{\"unpacked\":[1,2]}"},
        {"both", BYTES("\xfa\x01\x01\x01\xf8\x01\x02"), FLY_OK, "{\"unpacked\":[1,2]}"},
        {"the last of a oneof counts", BYTES("\x9a\x03\x01x\xb0\x03\x01"), FLY_OK,
         "{\"asBool\":true}"},
        {"a field that nobody knows", BYTES("\xa2\x06\x02hi\x18\x01"), FLY_OK, "{\"anInt32\":1}"},
        {"a known one of another wire type", BYTES("\x1a\x01x\x18\x01"), FLY_OK, "{\"anInt32\":1}"},
        {"an int32 of ten bytes", BYTES("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), FLY_OK,
         "{\"anInt32\":-1}"},
        {"a map's entry with nothing in it", BYTES("\xea\x03\x00"), FLY_OK,
         "{\"textMap\":{\"\":0}}"},
        {"a map's entry with a stranger in it", BYTES("\xea\x03\x05\x0a\x01k\x18\x01"), FLY_OK,
         "{\"textMap\":{\"k\":0}}"},
        {"the last of a map's key counts", BYTES("\xea\x03\x02\x10\x01\xea\x03\x02\x10\x02"),
         FLY_OK, "{\"textMap\":{\"\":2}}"},
        {"not UTF-8", BYTES("\x72\x01\xff"), FLY_INVALID_ARGUMENT, "t.All.a_string: not UTF-8"},
        {"a group", BYTES("\x1b\x1c"), FLY_INVALID_ARGUMENT, "malformed"},
        {"a cut varint", BYTES("\x18\x80"), FLY_INVALID_ARGUMENT, "malformed"},
        {"a cut fixed", BYTES("\x4d\x01\x02"), FLY_INVALID_ARGUMENT, "malformed"},
        {"a length past the end", BYTES("\x72\x05x"), FLY_INVALID_ARGUMENT, "malformed"},
        {"a cut packed run", BYTES("\xca\x01\x03\x01\x02\x03"), FLY_INVALID_ARGUMENT,
         "many_fixed: cut short"},
        {"field 0", BYTES("\x00\x01"), FLY_INVALID_ARGUMENT, "malformed"},
#undef BYTES
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct fly_error error = {0};
        json_t *json = NULL;
        uint8_t *exact = malloc(rows[i].size);
        assert_non_null(exact);
        memcpy(exact, rows[i].bytes, rows[i].size);
        enum fly_status status = transcode_decode(
            type_of("t.All"), (struct fly_bytes){exact, rows[i].size}, &json, &error);
        free(exact);
        char *text = status == FLY_OK ? printed(json, true) : strdup(error.text);
        if (status != rows[i].status || (status == FLY_OK ? strcmp(text, rows[i].out) != 0
                                                          : strstr(text, rows[i].out) == NULL)) {
            fail_msg("%s: %s %s", rows[i].what, fly_status_name(status), text);
        }
        free(text);
        json_decref(json);
    }
}

/* Every type in itself: as deep as is taken, and one deeper. */
static void test_depth(void **state)
{
    (void)state;
    for (unsigned depth = TRANSCODE_DEPTH_MAX - 1; depth <= TRANSCODE_DEPTH_MAX; depth++) {
        json_t *json = json_object();
        for (unsigned i = 1; i <= depth; i++) {
            json = json_pack("{s:[o]}", "branches", json);
        }
        struct fly_error error = {0};
        uint8_t *bytes = NULL;
        uint8_t raw[256];
        size_t size = 0;
        size_t at = sizeof raw;
        bool good = depth < TRANSCODE_DEPTH_MAX;
        assert_int_equal(transcode_encode(type_of("t.Tree"), json, &bytes, &size, &error),
                         good ? FLY_OK : FLY_INVALID_ARGUMENT);
        for (unsigned i = 1; i <= depth; i++) { /* the same by hand: it fits one byte of length */
            raw[at - 1] = (uint8_t)(sizeof raw - at);
            raw[at - 2] = 0x12;
            at -= 2;
        }
        json_t *back = NULL;
        assert_int_equal(transcode_decode(type_of("t.Tree"),
                                          (struct fly_bytes){raw + at, sizeof raw - at}, &back,
                                          &error),
                         good ? FLY_OK : FLY_RESOURCE_EXHAUSTED);
        if (good) {
            assert_int_equal(size, sizeof raw - at);
            assert_memory_equal(bytes, raw + at, size);
            assert_true(json_equal(json, back));
        }
        json_decref(back);
        json_decref(json);
        free(bytes);
    }
}

/* A small message of very many values, and a large one: both have an end. */
static void test_bounds(void **state)
{
    enum { COUNT = TRANSCODE_VALUES_MAX + 1 };
    struct fly_error error = {0};
    uint8_t *bytes = calloc(COUNT, 2);
    json_t *json = NULL;
    size_t size = 0;

    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < COUNT; i++) {
        bytes[2 * i] = 0x12; /* an empty branch */
    }
    assert_int_equal(
        transcode_decode(type_of("t.Tree"), (struct fly_bytes){bytes, 2 * COUNT}, &json, &error),
        FLY_RESOURCE_EXHAUSTED);
    assert_null(json);
    free(bytes);

    char *text = malloc(TRANSCODE_BYTES_MAX + 1);
    assert_non_null(text);
    memset(text, 'x', TRANSCODE_BYTES_MAX);
    text[TRANSCODE_BYTES_MAX] = '\0';
    json = json_pack("{s:s}", "name", text);
    assert_int_equal(transcode_encode(type_of("t.Leaf"), json, &bytes, &size, &error),
                     FLY_RESOURCE_EXHAUSTED);
    json_decref(json);
    free(text);
}

/* Whatever is flipped in good bytes: no answer but a status or JSON that encodes again. */
static void test_random_damage(void **state)
{
    struct fly_rng rng;
    struct fly_error error;
    const struct schema_message *type = type_of("google.protobuf.FileDescriptorSet");
    unsigned good = 0;

    (void)state;
    fly_rng_seed(&rng, 5);
    for (int i = 0; i < 500; i++) {
        uint8_t *damaged = malloc(desc_size);
        json_t *json = NULL;
        uint8_t *bytes = NULL;
        size_t size = 0;
        assert_non_null(damaged);
        memcpy(damaged, desc, desc_size);
        damaged[fly_rng_below(&rng, desc_size)] ^= (uint8_t)(1 + fly_rng_below(&rng, 255));
        if (transcode_decode(type, (struct fly_bytes){damaged, desc_size}, &json, &error) ==
            FLY_OK) {
            if (transcode_encode(type, json, &bytes, &size, &error) != FLY_OK) {
                fail_msg("what was decoded does not encode: %s", error.text);
            }
            good++;
        }
        free(bytes);
        json_decref(json);
        free(damaged);
    }
    assert_in_range(good, 50, 499);
}

/* --- JSON one behind another --- */

static void test_next(void **state)
{
    static const struct {
        const char *what;
        const char *text;
        enum transcode_step step;
        size_t start;
        size_t end;
    } rows[] = {
        {"nothing", "", TRANSCODE_SHORT, 0, 0},
        {"blanks", " \t\r\n", TRANSCODE_SHORT, 4, 0},
        {"one", "{}", TRANSCODE_READY, 0, 2},
        {"two", " {} {}", TRANSCODE_READY, 1, 3},
        {"without a blank between", "{}{}", TRANSCODE_READY, 0, 2},
        {"nested", "{\"a\":[{\"b\":{}}]}x", TRANSCODE_READY, 0, 16},
        {"braces in texts", "{\"}{\":\"]}\"} ", TRANSCODE_READY, 0, 11},
        {"quotes in texts", "{\"\\\"}\":\"\\\\\"}", TRANSCODE_READY, 0, 12},
        {"an open text", "{\"a\\\"}", TRANSCODE_SHORT, 0, 0},
        {"an open object", "{\"a\":{}", TRANSCODE_SHORT, 0, 0},
        {"something else", " 7", TRANSCODE_BAD, 1, 0},
        {"an array", "[]", TRANSCODE_BAD, 0, 0},
        {"a comma between", ",{}", TRANSCODE_BAD, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        size_t start = 0;
        size_t end = 0;
        enum transcode_step step = transcode_next(rows[i].text, strlen(rows[i].text), &start, &end);
        if (step != rows[i].step || start != rows[i].start || end != rows[i].end) {
            fail_msg("%s: %d, %zu to %zu", rows[i].what, (int)step, start, end);
        }
    }
}

static void test_indented(void **state)
{
    json_t *json = parse("{\"a\":[1,{\"b\":[]}],\"c\":{}}");
    char *text = printed(json, false);

    (void)state;
    assert_string_equal(text, "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n"
                              "  \"c\": {}\n}");
    free(text);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_google),
        cmocka_unit_test(test_against_protobuf_c),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_json_that_is_none),
        cmocka_unit_test(test_wire_forms),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_indented),
    };

    return cmocka_run_group_tests_name("transcode", tests, set_up, tear_down);
}
