/* text, regions, cursor, shape: what flyrpc shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/lib/regions.h"
#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "proto/base/check.h"

static void test_clean(void **state)
{
    static const struct {
        const char *what;
        const char *text;
        size_t max;
        const char *clean;
    } cases[] = {
        {"plain", "SIN", 16, "SIN"},
        {"accents", "Bogotá", 16, "Bogotá"},
        {"escape sequence", "a\033[31mb", 16, "a?[31mb"},
        {"newline and tab", "a\n\tb", 16, "a??b"},
        {"DEL", "a\177b", 16, "a?b"},
        {"C1 CSI", "a\302\2332Jb", 16, "a?2Jb"},
        {"right-to-left override", "a\342\200\256b", 16, "a?b"},
        {"bytes that are not UTF-8", "a\377\300b", 16, "a??b"},
        {"a sequence cut off by the end", "a\342\202", 16, "a??"},
        {"cut between characters", "Bogotá", 7, "Bogot"},
        {"cut to nothing", "abc", 1, ""},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        char out[64];
        text_clean(cases[i].text, out, cases[i].max);
        if (strcmp(out, cases[i].clean) != 0) {
            fail_msg("%s: '%s'", cases[i].what, out);
        }
    }
}

static void test_width(void **state)
{
    (void)state;
    assert_int_equal(text_width(""), 0);
    assert_int_equal(text_width("São Paulo"), 9);
    assert_int_equal(text_width("東京"), 4);
    assert_int_equal(text_width("e\314\201"), 1);
}

/* The plain recursive definition, for short words. */
static size_t slow_distance(const char *a, size_t m, const char *b, size_t n)
{
    if (m == 0 || n == 0) {
        return m + n;
    }
    size_t best = slow_distance(a, m - 1, b, n) + 1;
    size_t other = slow_distance(a, m, b, n - 1) + 1;
    best = other < best ? other : best;
    other = slow_distance(a, m - 1, b, n - 1) + (a[m - 1] == b[n - 1] ? 0 : 1);
    best = other < best ? other : best;
    if (m > 1 && n > 1 && a[m - 1] == b[n - 2] && a[m - 2] == b[n - 1]) {
        other = slow_distance(a, m - 2, b, n - 2) + 1;
        best = other < best ? other : best;
    }
    return best;
}

static void test_distance(void **state)
{
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 3);
    assert_int_equal(text_distance("MLE", "mel"), 1);
    for (unsigned round = 0; round < 2000; round++) {
        char words[2][7];
        for (unsigned i = 0; i < 2; i++) {
            size_t size = fly_rng_below(&rng, 6);
            for (size_t j = 0; j < size; j++) {
                words[i][j] = (char)('a' + fly_rng_below(&rng, 3));
            }
            words[i][size] = '\0';
        }
        assert_int_equal(text_distance(words[0], words[1]),
                         slow_distance(words[0], strlen(words[0]), words[1], strlen(words[1])));
    }
}

static void test_nearest(void **state)
{
    static const char *const words[] = {"regions", "launch", "list", "status", "destroy", "cancel"};
    static const struct {
        const char *text;
        const char *nearest;
    } cases[] = {
        {"lanch", "launch"},   {"lst", "list"},      {"statsu", "status"},
        {"region", "regions"}, {"xyzzy", NULL},      {"", NULL},
        {"l", NULL},           {"launch", "launch"}, {"destory", "destroy"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        const char *near = text_nearest(cases[i].text, words, FLY_ARRAY_COUNT(words));
        if (cases[i].nearest == NULL) {
            assert_null(near);
        } else {
            assert_non_null(near);
            assert_string_equal(near, cases[i].nearest);
        }
    }
}

static char *printed(const struct table *table)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    table_print(table, out);
    (void)fclose(out);
    return text;
}

static void test_table(void **state)
{
    static const struct table_column columns[] = {{"CODE", false}, {"FREE", true}, {"CITY", false}};
    struct table *table = table_create(columns, 3);

    (void)state;
    assert_true(table_add(table, (const char *const[]){"GRU", "7", "São Paulo"}));
    assert_true(table_add(table, (const char *const[]){"SIN", "320", "Sing\033apore"}));
    char *text = printed(table);
    assert_string_equal(text, "CODE  FREE  CITY\n"
                              "GRU      7  São Paulo\n"
                              "SIN    320  Sing?apore\n");
    free(text);
    assert_true(table_add(table, (const char *const[]){"X", "", NULL}));
    assert_int_equal(table_rows(table), 3);
    text = printed(table);
    assert_string_equal(text, "CODE    FREE  CITY\n"
                              "GRU        7  São Paulo\n"
                              "SIN      320  Sing?apore\n"
                              "X     <none>  <none>\n");
    free(text);
    table_destroy(table);
}

static void test_shell_word(void **state)
{
    static const struct {
        const char *word;
        const char *quoted;
    } cases[] = {
        {"SIN", "SIN"},
        {"4GiB", "4GiB"},
        {"", "''"},
        {"a b", "'a b'"},
        {"it's", "'it'\\''s'"},
        {"$(rm)", "'$(rm)'"},
        {"tcp://[::1]:7401", "'tcp://[::1]:7401'"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        text_put_shell_word(out, cases[i].word);
        (void)fclose(out);
        assert_string_equal(text, cases[i].quoted);
        free(text);
    }
}

static void test_region_orders(void **state)
{
    struct {
        const char *code;
        const char *city;
        const char *status;
        uint64_t cores_free;
        uint64_t memory_free;
    } rows[] = {
        {"SIN", "Singapore", "operational", 320, 10}, {"AMS", "Amsterdam", "degraded", 10, 10},
        {"JNB", "Johannesburg", "offline", 320, 20},  {"DEN", "Denver", "operational", 0, 0},
        {"XXX", "amsterdam", "sleepy", 5, 5},
    };
    static const struct {
        const char *name;
        const char *codes;
    } cases[] = {
        {"code", "AMS DEN JNB SIN XXX "},
        {"location", "AMS XXX DEN JNB SIN "},
        {"status", "DEN SIN AMS JNB XXX "},
        {"FREE", "JNB SIN AMS XXX DEN "},
    };
    enum regions_order order;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        Fly__V1__Region regions[FLY_ARRAY_COUNT(rows)];
        Fly__V1__Region *sorted[FLY_ARRAY_COUNT(rows)];
        char codes[64] = "";
        size_t at = 0;
        for (size_t j = 0; j < FLY_ARRAY_COUNT(rows); j++) {
            fly__v1__region__init(&regions[j]);
            regions[j].code = (char *)(uintptr_t)rows[j].code;
            regions[j].city = (char *)(uintptr_t)rows[j].city;
            regions[j].status = (char *)(uintptr_t)rows[j].status;
            regions[j].cores_free = rows[j].cores_free;
            regions[j].memory_free_bytes = rows[j].memory_free;
            sorted[j] = &regions[j];
        }
        assert_true(regions_order_find(cases[i].name, &order));
        regions_sort(sorted, FLY_ARRAY_COUNT(rows), order);
        for (size_t j = 0; j < FLY_ARRAY_COUNT(rows); j++) {
            at += (size_t)snprintf(codes + at, sizeof codes - at, "%s ", sorted[j]->code);
        }
        assert_string_equal(codes, cases[i].codes);
    }
    assert_false(regions_order_find("size", &order));
}

static void check_json(json_t *value, const char *expected)
{
    char *text = json_dumps(value, JSON_COMPACT);

    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
    json_decref(value);
}

static void test_shapes(void **state)
{
    Fly__V1__Region region = FLY__V1__REGION__INIT;
    Fly__V1__Vm vm = FLY__V1__VM__INIT;
    Fly__V1__Event event = FLY__V1__EVENT__INIT;
    struct failure failure = {.status = FLY_RESOURCE_EXHAUSTED,
                              .reason = FLY__V1__REASON__REASON_TOO_LARGE,
                              .message = "a\033b"};
    uint8_t key[16] = {0xf1, [15] = 0x0a};

    (void)state;
    region.code = "GRU";
    region.city = "São Paulo";
    region.status = "operational";
    region.latitude = -23.5;
    region.longitude = -46.25;
    region.has_position = true;
    region.machines = 10;
    region.cores_total = 320;
    region.cores_free = 316;
    region.memory_total_bytes = UINT64_C(20000000000000);
    region.memory_free_bytes = UINT64_C(19994000000000);
    check_json(shape_region(&region),
               "{\"code\":\"GRU\",\"city\":\"São Paulo\",\"status\":\"operational\","
               "\"latitude\":-23.5,\"longitude\":-46.25,\"machines\":10,\"cores_total\":320,"
               "\"cores_free\":316,\"memory_total_bytes\":20000000000000,"
               "\"memory_free_bytes\":19994000000000,\"stale_ms\":0}");
    region.has_position = false;
    json_t *nowhere = shape_region(&region);
    assert_true(json_is_null(json_object_get(nowhere, "latitude")));
    json_decref(nowhere);

    vm.id = "0123456789ab";
    vm.name = "brave-heron-1";
    vm.region = "SIN";
    vm.machine = "sin-01";
    vm.cores = 4;
    vm.memory_bytes = UINT64_C(6000000000);
    vm.state = FLY__V1__VM_STATE__VM_STATE_STARTED;
    vm.slice = "a1b2c3";
    vm.seq = 17;
    vm.key = (ProtobufCBinaryData){16, key};
    vm.created_at_ms = 1;
    check_json(shape_vm(&vm),
               "{\"id\":\"0123456789ab\",\"name\":\"brave-heron-1\",\"region\":\"SIN\","
               "\"machine\":\"sin-01\",\"cores\":4,\"memory_bytes\":6000000000,"
               "\"state\":\"started\",\"slice\":\"a1b2c3\",\"seq\":17,"
               "\"key\":\"f100000000000000000000000000000a\","
               "\"created_at\":\"1970-01-01T00:00:00.001Z\"}");

    event.slice = "a1b2c3";
    event.seq = 17;
    event.type = FLY__V1__EVENT_TYPE__EVENT_VM_STARTED;
    event.vm = "0123456789ab";
    event.name = "brave-heron-1";
    event.machine = "sin-01";
    event.region = "SIN";
    event.cores = 4;
    event.memory_bytes = 6;
    event.state = FLY__V1__VM_STATE__VM_STATE_STARTED;
    event.machine_cores_free = 28;
    event.machine_memory_free_bytes = 5;
    event.incarnation = UINT64_C(0xff00000000000001);
    check_json(shape_event(&event, "a1b2c3:ff:17"),
               "{\"slice\":\"a1b2c3\",\"incarnation\":\"ff00000000000001\",\"seq\":17,\"type\":"
               "\"vm_started\","
               "\"time\":\"1970-01-01T00:00:00.000Z\",\"vm\":\"0123456789ab\","
               "\"machine\":\"sin-01\",\"region\":\"SIN\",\"name\":\"brave-heron-1\","
               "\"state\":\"started\",\"cores\":4,\"memory_bytes\":6,\"machine_cores_free\":28,"
               "\"machine_memory_free_bytes\":5,\"cursor\":\"a1b2c3:ff:17\"}");

    check_json(shape_error(&failure),
               "{\"error\":{\"code\":\"RESOURCE_EXHAUSTED\",\"reason\":\"TOO_LARGE\","
               "\"message\":\"a?b\",\"retryable\":false,\"hint\":null}}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean),         cmocka_unit_test(test_width),
        cmocka_unit_test(test_distance),      cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_table),         cmocka_unit_test(test_shell_word),
        cmocka_unit_test(test_region_orders), cmocka_unit_test(test_shapes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
