/* condition: what --for takes, what it says about the rest, and which events settle it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/lib/condition.h"

struct good {
    const char *text;
    struct condition c;
};

static const struct good goods[] = {
    {"vm=0123456789ab", {.kind = CONDITION_VM, .word = "0123456789ab"}},
    {"VM=0123456789AB:Started", {.kind = CONDITION_VM, .word = "0123456789ab"}},
    {"vm=oil", {.kind = CONDITION_VM, .word = "011"}},
    {"vm=7:destroyed", {.kind = CONDITION_VM, .word = "7", .destroyed = true}},
    {"name=web-1", {.kind = CONDITION_NAME, .word = "web-1"}},
    {"name=web-1:started", {.kind = CONDITION_NAME, .word = "web-1"}},
    {"name=w:destroyed", {.kind = CONDITION_NAME, .word = "w", .destroyed = true}},
    {"region=sin:free>=8", {.kind = CONDITION_REGION, .word = "SIN", .cores = 8}},
    {"region=SIN:FREE<=0", {.kind = CONDITION_REGION, .word = "SIN", .at_most = true}},
    {"region=SIN:free>=999999999", {.kind = CONDITION_REGION, .word = "SIN", .cores = 999999999}},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goods / sizeof goods[0]; i++) {
        struct condition c;
        struct fly_error error = {0};
        memset(&c, 0xff, sizeof c);
        if (condition_parse(goods[i].text, &c, &error) != FLY_OK) {
            fail_msg("%s: %s", goods[i].text, error.text);
        }
        assert_int_equal(c.kind, goods[i].c.kind);
        assert_string_equal(c.word, goods[i].c.word);
        assert_int_equal(c.destroyed, goods[i].c.destroyed);
        assert_int_equal(c.at_most, goods[i].c.at_most);
        assert_int_equal(c.cores, goods[i].c.cores);
    }
}

static const struct {
    const char *text;
    const char *says; /* a part of it */
} bads[] = {
    {"", "none of vm=ID"},
    {"vm", "none of vm=ID"},
    {"=x", "none of vm=ID"},
    {"vn=1", "did you mean vm=?"},
    {"nane=x", "did you mean name=?"},
    {"quitealongkeythatisnone=1", "none of vm=ID"},
    {"vm=", "not a VM's id"},
    {"vm=u", "not a VM's id"},
    {"vm=0123456789abc", "not a VM's id"},
    {"vm=1:", "not a state"},
    {"vm=1:destroed", "did you mean destroyed?"},
    {"vm=1:started:more", "not a state"},
    {"name=", "not a VM's name"},
    {"name=Web", "not a VM's name"},
    {"name=a b", "not a VM's name"},
    {"name=a:stopped", "not a state"},
    {"name=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "longer than"},
    {"region=SIN", "must be :free>="},
    {"region=:free>=1", "not a region code"},
    {"region=SIN:free=1", "must be :free>="},
    {"region=SIN:free>1", "must be :free>="},
    {"region=SIN:fre", "must be :free>="},
    {"region=SIN:free", "must be :free>="},
    {"region=SIN:free>", "must be :free>="},
    {"region=SIN:free>=", "not a number of cores"},
    {"region=SIN:free>=-1", "not a number of cores"},
    {"region=SIN:free>=1x", "not a number of cores"},
    {"region=SIN:free>=1234567890", "not a number of cores"},
    {"region=ABCDEFGHIJKLMNOP:free>=1", "not a region code"},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        struct condition c = {.kind = CONDITION_NONE, .cores = 77};
        struct fly_error error = {0};
        assert_int_equal(condition_parse(bads[i].text, &c, &error), FLY_INVALID_ARGUMENT);
        assert_int_equal(c.kind, CONDITION_NONE);
        assert_int_equal(c.cores, 77);
        if (strstr(error.text, bads[i].says) == NULL) {
            fail_msg("'%s': \"%s\" does not say \"%s\"", bads[i].text, error.text, bads[i].says);
        }
    }
}

enum { ADDED = 1, STARTED = 4, DESTROYED = 5 };

static const struct {
    const char *condition;
    int type;
    const char *vm;
    const char *name;
    const char *region;
    enum condition_says says;
} told[] = {
    {"vm=0123456789ab", STARTED, "0123456789ab", "a", "SIN", CONDITION_HOLDS},
    {"vm=0123456789ab", DESTROYED, "0123456789ab", "a", "SIN", CONDITION_NOTHING},
    {"vm=0123456789ab", STARTED, "0123456789ac", "a", "SIN", CONDITION_NOTHING},
    {"vm=0123456789ab:destroyed", DESTROYED, "0123456789ab", "a", "SIN", CONDITION_HOLDS},
    {"vm=0123456789ab:destroyed", STARTED, "0123456789ab", "a", "SIN", CONDITION_NOTHING},
    {"vm=0123", STARTED, "0123456789ab", "a", "SIN", CONDITION_LOOK},
    {"vm=0123", STARTED, "1123456789ab", "a", "SIN", CONDITION_NOTHING},
    {"vm=0123", ADDED, "", "", "SIN", CONDITION_NOTHING},
    {"name=a", STARTED, "0123456789ab", "a", "SIN", CONDITION_HOLDS},
    {"name=a", STARTED, "0123456789ab", "ab", "SIN", CONDITION_NOTHING},
    {"name=a", DESTROYED, "0123456789ab", "a", "SIN", CONDITION_NOTHING},
    {"name=a:destroyed", DESTROYED, "0123456789ab", "a", "SIN", CONDITION_LOOK},
    {"name=a:destroyed", STARTED, "0123456789ab", "a", "SIN", CONDITION_NOTHING},
    {"region=SIN:free>=1", DESTROYED, "0123456789ab", "a", "SIN", CONDITION_LOOK},
    {"region=SIN:free>=1", ADDED, "", "", "SIN", CONDITION_LOOK},
    {"region=SIN:free>=1", ADDED, "", "", "DEN", CONDITION_NOTHING},
};

static void test_events(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        Fly__V1__Event e = FLY__V1__EVENT__INIT;
        struct condition c;
        struct fly_error error;
        assert_int_equal(condition_parse(told[i].condition, &c, &error), FLY_OK);
        e.type = (Fly__V1__EventType)told[i].type;
        e.vm = (char *)(uintptr_t)told[i].vm;
        e.name = (char *)(uintptr_t)told[i].name;
        e.region = (char *)(uintptr_t)told[i].region;
        if (condition_event(&c, &e) != told[i].says) {
            fail_msg("%s, event %zu", told[i].condition, i);
        }
    }
}

static void test_cores(void **state)
{
    const struct condition least = {.kind = CONDITION_REGION, .cores = 5};
    const struct condition most = {.kind = CONDITION_REGION, .cores = 5, .at_most = true};

    (void)state;
    assert_false(condition_free(&least, 4));
    assert_true(condition_free(&least, 5));
    assert_true(condition_free(&least, 6));
    assert_true(condition_free(&most, 4));
    assert_true(condition_free(&most, 5));
    assert_false(condition_free(&most, 6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_cores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
