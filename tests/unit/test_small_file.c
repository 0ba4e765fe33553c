/* small_file: what is read whole, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "node/small_file.h"

enum { MAX = 16 };

static void test_files(void **state)
{
    static const struct {
        const char *what;
        const char *text; /* NULL: no such file */
        size_t size;
        mode_t mode;
        bool secret;
        enum fly_status status;
        const char *says;
    } rows[] = {
        {"a text", "hello\n", 6, 0644, false, FLY_OK, ""},
        {"as long as may be", "123456789012345", 15, 0600, true, FLY_OK, ""},
        {"one more", "1234567890123456", 16, 0600, true, FLY_INVALID_ARGUMENT, "too long"},
        {"nothing", "", 0, 0600, false, FLY_INVALID_ARGUMENT, "empty"},
        {"not text", "a\0b", 3, 0600, false, FLY_INVALID_ARGUMENT, "not text"},
        {"no such file", NULL, 0, 0, false, FLY_NOT_FOUND, "No such file"},
        {"a secret of a group", "hello\n", 6, 0640, true, FLY_OK, ""},
        {"a secret of all", "hello\n", 6, 0644, true, FLY_FAILED_PRECONDITION, "chmod o= "},
    };
    char dir[256];
    char path[512];
    char out[MAX];
    struct fly_error error;

    (void)state;
    (void)snprintf(dir, sizeof dir, "%s/test-small-file-XXXXXX", FLY_BINARY);
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%zu", dir, i);
        if (rows[i].text != NULL) {
            FILE *file = fopen(path, "w");
            assert_non_null(file);
            assert_int_equal(fwrite(rows[i].text, 1, rows[i].size, file), rows[i].size);
            assert_int_equal(fclose(file), 0);
            assert_int_equal(chmod(path, rows[i].mode), 0);
        }
        memset(out, 'x', sizeof out);
        error.text[0] = '\0';
        enum fly_status status = small_file_read(path, rows[i].secret, out, MAX, &error);
        if (status != rows[i].status || strstr(error.text, rows[i].says) == NULL) {
            fail_msg("%s: %d %s", rows[i].what, (int)status, error.text);
        }
        if (status == FLY_OK) {
            assert_string_equal(out, rows[i].text);
        } else if (rows[i].text != NULL) {
            assert_non_null(strstr(error.text, path));
            assert_true(rows[i].status != FLY_INVALID_ARGUMENT || out[0] == '\0');
        }
    }
    assert_int_equal(small_file_read(dir, false, out, MAX, &error), FLY_FAILED_PRECONDITION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
