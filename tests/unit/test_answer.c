/* answer: cursors as people copy them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "node/answer.h"

static void test_cursors(void **state)
{
    static const struct {
        const char *what;
        const char *text;
        bool good;
    } rows[] = {
        {"as printed", "0a1b2c:00000000deadbeef:17", true},
        {"upper case", "0A1B2C:00000000DEADBEEF:17", true},
        {"seq 0: from the start", "0a1b2c:00000000deadbeef:0", true},
        {"the largest seq", "0a1b2c:00000000deadbeef:18446744073709551615", true},
        {"one more than that", "0a1b2c:00000000deadbeef:18446744073709551616", false},
        {"no seq", "0a1b2c:00000000deadbeef:", false},
        {"a sign", "0a1b2c:00000000deadbeef:-1", false},
        {"a short slice", "a1b2c:00000000deadbeef:17", false},
        {"not hex", "0a1b2x:00000000deadbeef:17", false},
        {"two of them", "0a1b2c:00000000deadbeef:17,0a1b2c:00000000deadbeef:17", false},
        {"nothing", "", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t tag = 0;
        uint64_t incarnation = 0;
        uint64_t seq = 0;
        if (cursor_parse(rows[i].text, &tag, &incarnation, &seq) != rows[i].good) {
            fail_msg("%s", rows[i].what);
        }
        if (rows[i].good) {
            char text[CURSOR_TEXT_SIZE];
            assert_int_equal(tag, 0x0a1b2c);
            assert_true(incarnation == 0xdeadbeef);
            cursor_format(tag, incarnation, seq, text);
            assert_int_equal(strcasecmp(text, rows[i].text), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cursors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
