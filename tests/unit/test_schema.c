/*
 * Tests of client/lib/schema: what all.desc (tests/vectors/transcode) and the node's own services
 * say, what is shown of it, and sets of descriptors that nobody should believe.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/schema.h"
#include "fly/v1/edge.rpc.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"

typedef Google__Protobuf__FileDescriptorSet Set;
typedef Google__Protobuf__FileDescriptorProto File;
typedef Google__Protobuf__DescriptorProto Type;
typedef Google__Protobuf__FieldDescriptorProto Field;
typedef Google__Protobuf__EnumDescriptorProto Enum;

static uint8_t desc[1 << 16];
static size_t desc_size;
static struct schema *schema;

static int set_up(void **state)
{
    struct fly_error error;

    (void)state;
    FILE *file = fopen(FLY_VECTORS "/transcode/all.desc", "rb");
    if (file == NULL) {
        return -1;
    }
    desc_size = fread(desc, 1, sizeof desc, file);
    (void)fclose(file);
    return schema_create(&schema, (struct fly_bytes){desc, desc_size}, &error) == FLY_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    schema_destroy(schema);
    return 0;
}

static void test_lookup(void **state)
{
    const struct schema_message *all = schema_message(schema, "t.All");

    (void)state;
    assert_non_null(all);
    assert_null(schema_message(schema, "t.Al"));
    assert_null(schema_message(schema, ".t.All"));
    assert_null(schema_message(schema, "t.Colour"));
    assert_non_null(schema_enum(schema, "t.Colour"));
    assert_non_null(schema_message(schema, "t.Old.Inner"));
    const struct schema_field *renamed = schema_field_named(all, "other-name");
    assert_non_null(renamed);
    assert_ptr_equal(schema_field_named(all, "renamed"), renamed);
    assert_ptr_equal(schema_field_numbered(all, 536870911), renamed);
    assert_null(schema_field_numbered(all, 18));
    assert_ptr_equal(schema_field_named(all, "anInt32"), schema_field_named(all, "an_int32"));
    assert_null(schema_field_named(all, "an_Int32"));
    const struct schema_field *leaf = schema_field_named(all, "leaf");
    assert_ptr_equal(leaf->message, schema_message(schema, "t.Leaf"));

    const struct schema_method *put = schema_method(schema, "t.Things/Put");
    assert_non_null(put);
    assert_ptr_equal(schema_method(schema, "t.Things.Put"), put);
    assert_true(put->client_streams && !put->server_streams);
    assert_ptr_equal(put->input, all);
    assert_null(put->rule);
    assert_null(schema_method(schema, "t.Things/put"));
    assert_null(schema_method(schema, "t.Things/"));
    assert_null(schema_method(schema, "Things"));
    assert_null(schema_service(schema, "t.All"));
}

static void test_fields(void **state)
{
    static const struct {
        const char *name;
        enum schema_type type;
        bool repeated;
        bool packed;
        bool presence;
        bool oneof;
        const char *text;
    } rows[] = {
        {"a_double", SCHEMA_DOUBLE, false, false, false, false, "double"},
        {"leaf", SCHEMA_MESSAGE, false, false, true, false, "t.Leaf"},
        {"many_ints", SCHEMA_INT32, true, true, false, false, "int32"},
        {"unpacked", SCHEMA_INT32, true, false, false, false, "int32"},
        {"many_strings", SCHEMA_STRING, true, false, false, false, "string"},
        {"many_colours", SCHEMA_ENUM, true, true, false, false, "t.Colour"},
        {"maybe_int", SCHEMA_INT32, false, false, true, false, "int32"},
        {"as_bool", SCHEMA_BOOL, false, false, true, true, "bool"},
        {"bool_map", SCHEMA_MESSAGE, true, false, false, false, "map<bool, t.Leaf>"},
    };
    const struct schema_message *all = schema_message(schema, "t.All");
    const struct schema_message *old = schema_message(schema, "t.Old");

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        const struct schema_field *f = schema_field_named(all, rows[i].name);
        char text[SCHEMA_TYPE_TEXT];
        assert_non_null(f);
        schema_type_text(f, text);
        if (f->type != rows[i].type || f->repeated != rows[i].repeated ||
            f->packed != rows[i].packed || f->presence != rows[i].presence ||
            (f->oneof >= 0) != rows[i].oneof || strcmp(text, rows[i].text) != 0) {
            fail_msg("%s", rows[i].name);
        }
    }
    assert_true(schema_field_named(old, "number")->presence);
    assert_false(schema_field_named(old, "numbers")->packed);
    assert_true(schema_field_named(old, "packed_numbers")->packed);
}

/* --- what is shown --- */

typedef void printer(const void *what, FILE *out);

static void show_message(const void *what, FILE *out)
{
    schema_print_message(what, out);
}

static void show_enum(const void *what, FILE *out)
{
    schema_print_enum(what, out);
}

static void show_service(const void *what, FILE *out)
{
    schema_print_service(what, out);
}

static void show_method(const void *what, FILE *out)
{
    schema_print_method(what, out);
}

static void check_print(printer *print, const void *what, const char *wanted)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    assert_non_null(what);
    print(what, out);
    (void)fclose(out);
    assert_string_equal(text, wanted);
    free(text);
}

static void test_print(void **state)
{
    (void)state;
    check_print(show_message, schema_message(schema, "t.Leaf"),
                "message t.Leaf {\n  string name = 1;\n  int32 size = 2;\n}\n");
    check_print(show_enum, schema_enum(schema, "t.Colour"),
                "enum t.Colour {\n  NONE = 0;\n  RED = 1;\n  BLUE = -7;\n}\n");
    check_print(show_service, schema_service(schema, "t.Things"),
                "service t.Things {\n"
                "  rpc Get(t.Leaf) returns (t.All);\n"
                "  rpc Put(stream t.All) returns (t.Leaf);\n"
                "  rpc List(t.Leaf) returns (stream t.All);\n"
                "  rpc Talk(stream t.Leaf) returns (stream t.Leaf);\n"
                "}\n");
    check_print(show_message, schema_message(schema, "t.Old"),
                "message t.Old {\n"
                "  optional int32 number = 1;\n"
                "  repeated int32 numbers = 2;\n"
                "  repeated int32 packed_numbers = 3;\n"
                "  optional string text = 4;\n"
                "  repeated t.Old.Inner inner = 5;\n"
                "}\n");
}

static void test_print_oneof(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    assert_non_null(out);
    schema_print_message(schema_message(schema, "t.All"), out);
    (void)fclose(out);
    assert_non_null(strstr(text, "  optional int32 maybe_int = 41;\n"));
    assert_non_null(strstr(text, "  t.Leaf maybe_leaf = 43;\n"));
    assert_non_null(strstr(text, "  oneof choice {\n"
                                 "    string as_text = 51;\n"
                                 "    int64 as_number = 52;\n"
                                 "    t.Leaf as_leaf = 53;\n"
                                 "    bool as_bool = 54;\n"
                                 "  }\n"
                                 "  map<string, int32> text_map = 61;\n"));
    free(text);
}

/* The rules of a real service, which protobuf-c keeps as bytes of a field it does not know. */
static void test_rules(void **state)
{
    const struct rpc_service edge = rpc_edge_serve(NULL, NULL);
    struct schema *own = NULL;
    struct fly_error error;

    (void)state;
    assert_int_equal(schema_create(&own, edge.descriptor, &error), FLY_OK);
    const struct schema_method *status = schema_method(own, "fly.v1.Edge/Status");
    assert_non_null(status);
    assert_non_null(status->rule);
    assert_true(status->rule->read_only);
    assert_false(status->rule->open);
    const struct schema_method *watch = schema_method(own, "fly.v1.Edge/Watch");
    assert_true(watch->server_streams && !watch->client_streams);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    schema_print_service(schema_service(own, "fly.v1.Edge"), out);
    (void)fclose(out);
    assert_non_null(strstr(text, "// changes nothing"));
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1) {
        assert_true(strcspn(line, "\n") <= 80);
    }
    free(text);
    schema_destroy(own);
}

static void test_rule_words(void **state)
{
    Fly__V1__Code codes[] = {FLY__V1__CODE__UNAVAILABLE, FLY__V1__CODE__ABORTED};
    Fly__V1__RetryRule retry = FLY__V1__RETRY_RULE__INIT;
    Fly__V1__HedgeRule hedge = FLY__V1__HEDGE_RULE__INIT;
    Fly__V1__MethodRule rule = FLY__V1__METHOD_RULE__INIT;
    const struct schema_message leaf = {.name = "t.Leaf"};
    const struct schema_method method = {.name = "t.Things/Get",
                                         .short_name = "Get",
                                         .input = &leaf,
                                         .output = &leaf,
                                         .rule = &rule};

    (void)state;
    check_print(show_method, &method, "rpc t.Things/Get(t.Leaf) returns (t.Leaf);\n");
    retry.max_attempts = 4;
    retry.codes = codes;
    retry.n_codes = 2;
    rule.read_only = true;
    rule.retry = &retry;
    rule.calls_max = 7;
    check_print(show_method, &method,
                "// changes nothing; up to 4 attempts when it ends with UNAVAILABLE or ABORTED,\n"
                "// after at most 50 ms, later 1000 ms; at most 7 calls at a time\n"
                "rpc t.Things/Get(t.Leaf) returns (t.Leaf);\n");
    hedge.max_attempts = 3;
    hedge.delay_ms = 20;
    rule = (Fly__V1__MethodRule)FLY__V1__METHOD_RULE__INIT;
    rule.hedge = &hedge;
    rule.slow_reader = FLY__V1__SLOW_READER__DROP_OLDEST;
    rule.open = rule.inline_ = true;
    check_print(show_method, &method,
                "// anybody may call it; answered at once, never waits; hedged: up to 3 attempts,\n"
                "// one each 20 ms; a slow reader loses the oldest messages\n"
                "rpc t.Things/Get(t.Leaf) returns (t.Leaf);\n");
}

/* --- who should not be believed --- */

/* One file of package p with a type T of one field, to be spoiled. */
struct hostile {
    Set set;
    File file;
    File *files[1];
    Type type;
    Type *types[2];
    Type twin;
    Field field;
    Field *fields[2];
    Enum colour;
    Enum *enums[1];
};

static void make_hostile(struct hostile *h)
{
    google__protobuf__file_descriptor_set__init(&h->set);
    google__protobuf__file_descriptor_proto__init(&h->file);
    google__protobuf__descriptor_proto__init(&h->type);
    google__protobuf__field_descriptor_proto__init(&h->field);
    google__protobuf__enum_descriptor_proto__init(&h->colour);
    h->files[0] = &h->file;
    h->set.file = h->files;
    h->set.n_file = 1;
    h->file.package = (char *)(uintptr_t) "p";
    h->file.syntax = (char *)(uintptr_t) "proto3";
    h->types[0] = &h->type;
    h->file.message_type = h->types;
    h->file.n_message_type = 1;
    h->type.name = (char *)(uintptr_t) "T";
    h->fields[0] = &h->field;
    h->type.field = h->fields;
    h->type.n_field = 1;
    h->field.name = (char *)(uintptr_t) "f";
    h->field.has_number = h->field.has_type = h->field.has_label = 1;
    h->field.number = 1;
    h->field.type = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_INT32;
    h->field.label = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_OPTIONAL;
    h->colour.name = (char *)(uintptr_t) "T";
    h->enums[0] = &h->colour;
    h->file.enum_type = h->enums;
}

static void spoil_nothing(struct hostile *h)
{
    (void)h;
}

static void spoil_name(struct hostile *h)
{
    h->type.name = (char *)(uintptr_t) "T\x1b[2J";
}

static void spoil_no_name(struct hostile *h)
{
    h->type.name = NULL;
}

static void spoil_field_name(struct hostile *h)
{
    h->field.name = NULL;
}

static void spoil_package(struct hostile *h)
{
    h->file.package = (char *)(uintptr_t) "p..q";
}

static void spoil_number(struct hostile *h)
{
    h->field.number = 0;
}

static void spoil_type(struct hostile *h)
{
    h->field.type = (Google__Protobuf__FieldDescriptorProto__Type)99;
}

static void spoil_reference(struct hostile *h)
{
    h->field.type = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_MESSAGE;
    h->field.type_name = (char *)(uintptr_t) ".p.U";
}

static void spoil_no_reference(struct hostile *h)
{
    h->field.type = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_ENUM;
}

static void spoil_oneof(struct hostile *h)
{
    h->field.has_oneof_index = 1;
    h->field.oneof_index = 3;
}

static void spoil_twice(struct hostile *h)
{
    h->twin = h->type;
    h->types[1] = &h->twin;
    h->file.n_message_type = 2;
}

static void spoil_field_twice(struct hostile *h)
{
    h->fields[1] = &h->field;
    h->type.n_field = 2;
}

static void spoil_json_name(struct hostile *h)
{
    static Field other;

    other = h->field;
    other.number = 2;
    other.name = (char *)(uintptr_t) "g";
    other.json_name = (char *)(uintptr_t) "f";
    h->fields[1] = &other;
    h->type.n_field = 2;
}

static void spoil_to_itself(struct hostile *h)
{
    h->field.type = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_MESSAGE;
    h->field.type_name = (char *)(uintptr_t) ".p.T";
}

static void test_hostile(void **state)
{
    static const struct {
        const char *what;
        void (*spoil)(struct hostile *h);
        enum fly_status status;
        const char *words;
    } rows[] = {
        {"nothing", spoil_nothing, FLY_OK, ""},
        {"a type that holds itself: nobody unpacks it by recursion", spoil_to_itself, FLY_OK, ""},
        {"a name for terminals", spoil_name, FLY_INVALID_ARGUMENT, "something in 'p' has no name"},
        {"no name", spoil_no_name, FLY_INVALID_ARGUMENT, "something in 'p' has no name"},
        {"a field without a name", spoil_field_name, FLY_INVALID_ARGUMENT, "p.T.? has no name"},
        {"a package without a name", spoil_package, FLY_INVALID_ARGUMENT, "a package has no name"},
        {"field 0", spoil_number, FLY_INVALID_ARGUMENT, "p.T.f has no name or no number"},
        {"a type that nobody knows", spoil_type, FLY_INVALID_ARGUMENT, "p.T.f is of a type that"},
        {"a type that is not there", spoil_reference, FLY_INVALID_ARGUMENT,
         "p.T.f is of a type that is not there"},
        {"no type", spoil_no_reference, FLY_INVALID_ARGUMENT, "does not say of which type"},
        {"a oneof that is not there", spoil_oneof, FLY_INVALID_ARGUMENT, "oneof that is not there"},
        {"a type twice", spoil_twice, FLY_INVALID_ARGUMENT, "have p.T twice"},
        {"two fields of one name in JSON", spoil_json_name, FLY_INVALID_ARGUMENT,
         "p.T: the server's descriptors have f twice"},
        {"a field twice", spoil_field_twice, FLY_INVALID_ARGUMENT, "p.T has field 1 twice"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct hostile h;
        struct fly_error error = {0};
        struct schema *made = NULL;
        uint8_t packed[512];
        make_hostile(&h);
        rows[i].spoil(&h);
        size_t size = google__protobuf__file_descriptor_set__get_packed_size(&h.set);
        assert_true(size <= sizeof packed);
        (void)google__protobuf__file_descriptor_set__pack(&h.set, packed);
        enum fly_status status = schema_create(&made, (struct fly_bytes){packed, size}, &error);
        if (status != rows[i].status || strstr(error.text, rows[i].words) == NULL) {
            fail_msg("%s: %s %s", rows[i].what, fly_status_name(status), error.text);
        }
        schema_destroy(made);
    }
}

/* A few bytes that would take gigabytes, and a few that would take all of the stack. */
static void test_too_much(void **state)
{
    enum { SIZE = 3 << 20 };
    uint8_t *bytes = malloc(SIZE);
    struct fly_error error;
    struct schema *made = NULL;

    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i + 1 < SIZE; i += 2) { /* an empty file each: 3 MiB become 200 and more */
        bytes[i] = 0x0a;
        bytes[i + 1] = 0;
    }
    assert_int_not_equal(schema_create(&made, (struct fly_bytes){bytes, SIZE}, &error), FLY_OK);
    free(bytes);

    uint8_t deep[512];
    size_t at = sizeof deep;
    for (int i = 0; i < 100; i++) { /* types in types */
        size_t size = sizeof deep - at;
        if (size >= 0x80) {
            deep[--at] = (uint8_t)(size >> 7);
            deep[--at] = (uint8_t)(size | 0x80);
        } else {
            deep[--at] = (uint8_t)size;
        }
        deep[--at] = 0x1a;
    }
    assert_int_equal(schema_create(&made, (struct fly_bytes){deep + at, sizeof deep - at}, &error),
                     FLY_RESOURCE_EXHAUSTED);
}

/* Whatever is damaged: an answer, and no read outside (ASan). */
static void test_damage(void **state)
{
    struct fly_rng rng;
    unsigned good = 0;

    (void)state;
    fly_rng_seed(&rng, 9);
    for (int i = 0; i < 400; i++) {
        size_t size = i % 2 == 0 ? desc_size : (size_t)fly_rng_below(&rng, desc_size);
        uint8_t *damaged = malloc(size + 1);
        struct schema *made = NULL;
        struct fly_error error;
        assert_non_null(damaged);
        memcpy(damaged, desc, size);
        if (i % 2 == 0) {
            damaged[fly_rng_below(&rng, size)] ^= (uint8_t)(1 + fly_rng_below(&rng, 255));
        }
        good += schema_create(&made, (struct fly_bytes){damaged, size}, &error) == FLY_OK;
        schema_destroy(made);
        free(damaged);
    }
    assert_in_range(good, 1, 399);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup),  cmocka_unit_test(test_fields),
        cmocka_unit_test(test_print),   cmocka_unit_test(test_print_oneof),
        cmocka_unit_test(test_rules),   cmocka_unit_test(test_rule_words),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_damage),
    };

    return cmocka_run_group_tests_name("schema", tests, set_up, tear_down);
}
