/* jointoken: one line for one token; a typo is told from a text that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/wire/jointoken.h"

static void make(struct join_token *t, uint8_t addresses)
{
    memset(t, 0, sizeof *t);
    memcpy(t->cluster, "000102030405060708090a0b0c0d0e0f", CLUSTER_ID_SIZE);
    memset(t->ca_hash, 0xca, sizeof t->ca_hash);
    memset(t->id, 0x1d, sizeof t->id);
    memset(t->secret, 0x5e, sizeof t->secret);
    t->roles = NODE_ROLE_PEER | NODE_ROLE_EDGE;
    t->expires_ms = 1795262400123;
    t->address_count = addresses;
    for (uint8_t i = 0; i < addresses; i++) {
        t->addresses[i] = (struct join_address){
            .ip = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = i}, .port = 7401, .tls = i != 1};
    }
}

static void test_round_trip(void **state)
{
    char text[JOIN_TOKEN_TEXT_MAX];
    char pasted[JOIN_TOKEN_TEXT_MAX + 8];

    (void)state;
    for (uint8_t count = 1; count <= JOIN_TOKEN_ADDRESSES_MAX; count++) {
        struct join_token token;
        struct join_token back;
        make(&token, count);
        size_t size = join_token_encode(&token, text);
        assert_int_equal(size, strlen(text));
        assert_memory_equal(text, "fly-join-1.", 11);
        assert_int_equal(join_token_decode(text, size, &back, NULL), FLY_OK);
        assert_memory_equal(&back, &token, sizeof back);
        (void)snprintf(pasted, sizeof pasted, " \t%s\r\n", text);
        assert_int_equal(join_token_decode(pasted, strlen(pasted), &back, NULL), FLY_OK);
        assert_memory_equal(&back, &token, sizeof back);
    }
}

/* Every other character at every place: refused, and *out is left alone. */
static void test_typos(void **state)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.= \n";
    struct join_token token;
    struct join_token back;
    struct join_token before;
    char text[JOIN_TOKEN_TEXT_MAX];

    (void)state;
    make(&token, 2);
    memset(&back, 0x77, sizeof back);
    before = back;
    size_t size = join_token_encode(&token, text);
    for (size_t i = 0; i < size; i++) {
        char right = text[i];
        for (const char *c = digits; *c != '\0'; c++) {
            struct fly_error error = {.text = ""};
            text[i] = *c;
            if (*c != right && join_token_decode(text, size, &back, &error) == FLY_OK) {
                fail_msg("'%c' for '%c' at %zu is taken", *c, right, i);
            }
            assert_true(*c == right || error.text[0] != '\0');
        }
        text[i] = right;
    }
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_not_equal(join_token_decode(text, cut, &back, NULL), FLY_OK);
    }
    assert_memory_equal(&back, &before, sizeof back);
}

static void test_words(void **state)
{
    static const struct {
        const char *what;
        const char *text;
        enum fly_status status;
        const char *reason;
    } rows[] = {
        {"nothing", "", FLY_INVALID_ARGUMENT, "not a join token"},
        {"a user's token", "v4.public.AAAA", FLY_INVALID_ARGUMENT, "not a join token"},
        {"only its name", "fly-join-", FLY_INVALID_ARGUMENT, "not a join token"},
        {"cut behind its head", "fly-join-1.", FLY_INVALID_ARGUMENT, "cut short"},
        {"cut in the middle", "fly-join-1.AWTl-VSRhYIh", FLY_INVALID_ARGUMENT, "cut short"},
        {"a newer one", "fly-join-2.AWTl", FLY_UNIMPLEMENTED, "newer version"},
        {"no digits", "fly-join-1.AW%l", FLY_INVALID_ARGUMENT, "mistyped"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct join_token token;
        struct fly_error error = {.text = ""};
        enum fly_status status =
            join_token_decode(rows[i].text, strlen(rows[i].text), &token, &error);
        if (status != rows[i].status || strstr(error.text, rows[i].reason) == NULL) {
            fail_msg("%s: %s: %s", rows[i].what, fly_status_name(status), error.text);
        }
    }
}

static void test_too_long(void **state)
{
    char text[4096];
    struct join_token token;

    (void)state;
    memset(text, 'A', sizeof text);
    memcpy(text, "fly-join-1.", 11);
    assert_int_equal(join_token_decode(text, sizeof text, &token, NULL), FLY_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_typos),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
