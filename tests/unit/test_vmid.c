/* vmid: a bijection, and early digits that differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/rng.h"
#include "proto/wire/vmid.h"

static void test_round_trip(void **state)
{
    struct fly_rng rng;
    char text[VMID_TEXT_SIZE];

    (void)state;
    fly_rng_seed(&rng, 1);
    for (uint64_t i = 1; i < 20000; i++) {
        uint64_t number = i < 10000 ? i : 1 + fly_rng_below(&rng, VMID_NUMBER_MAX);
        uint32_t tag = 1 + (uint32_t)fly_rng_below(&rng, 0xffffff);
        uint64_t id = vmid_make(tag, number);
        uint64_t back = 0;
        assert_true(vmid_number(id) == number);
        assert_int_equal(vmid_tag(id), tag);
        vmid_format(id, text);
        assert_true(vmid_parse(text, &back));
        assert_true(back == id);
    }
    assert_true(vmid_number(vmid_make(1, VMID_NUMBER_MAX)) == VMID_NUMBER_MAX);
    assert_false(vmid_parse("short", &(uint64_t){0}));
    assert_false(vmid_parse("00000000000u", &(uint64_t){0}));
}

static void test_first_digits_differ(void **state)
{
    char a[VMID_TEXT_SIZE];
    char b[VMID_TEXT_SIZE];
    char name[64];

    (void)state;
    for (uint64_t i = 1; i < 100; i++) {
        vmid_format(vmid_make(0xabcdef, i), a);
        vmid_format(vmid_make(0xabcdef, i + 1), b);
        assert_memory_not_equal(a, b, 2);
    }
    vmid_name(vmid_make(0xabcdef, 1), name);
    assert_true(strlen(name) > 8);
}

/* What a VM is called differs from slice to slice, and in one slice from VM to VM. */
static void test_names(void **state)
{
    enum { COUNT = 300 };
    static char names[2 * COUNT][64];
    char name[64];
    unsigned same = 0;

    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        vmid_name(vmid_make(i * 55555 % 0xffffff + 1, 1), names[i]);
        vmid_name(vmid_make(0xabcdef, i + 1), names[COUNT + i]);
    }
    for (unsigned i = 0; i < 2 * COUNT; i++) {
        for (unsigned k = 0; k < i; k++) {
            same += strcmp(names[i], names[k]) == 0;
        }
    }
    assert_in_range(same, 0, 1); /* of 10 million */
    vmid_name_1(vmid_make(0xabcdef, 1), name);
    assert_string_equal(name, "early-raven-5448"); /* as logs of version 1 have it in every slice */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_first_digits_differ),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
