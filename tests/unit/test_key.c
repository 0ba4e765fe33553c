/* key: the bytes of DESIGN 4.1, and that no damaged key passes for a good one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire/key.h"

static const uint8_t random_bytes[FLY_KEY_RANDOM_SIZE] = {1, 2, 3, 4, 5, 6};

static void test_minted(void **state)
{
    struct fly_key key;
    struct fly_key back;
    char text[FLY_KEY_TEXT_SIZE];

    (void)state;
    key_mint(&key, 0xabcdef, 0x01020304, random_bytes);
    key_format(&key, text);
    assert_memory_equal(text, "f1abcdef01020304010203040506", 28);
    assert_true(key_valid(&key));
    assert_true(key_minted(&key));
    assert_int_equal(key_home(&key, 7), 0xabcdef);
    assert_int_equal(key_mint_s(&key), 0x01020304);
    assert_true(key_parse(text, &back));
    assert_true(key_equal(&key, &back));
}

static void test_every_flip_is_seen(void **state)
{
    struct fly_key key;

    (void)state;
    key_mint(&key, 0xabcdef, 0x01020304, random_bytes);
    for (size_t bit = 8; bit < 8 * FLY_KEY_SIZE; bit++) {
        struct fly_key flipped = key;
        flipped.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_false(key_valid(&flipped));
    }
    struct fly_key other = key;
    other.bytes[0] = 0xf2;
    assert_false(key_valid(&other));
}

static void test_texts(void **state)
{
    static const struct {
        const char *what;
        const char *text;
        int taken;
    } rows[] = {
        {"a word", "order-17", 1},
        {"32 hex digits of another form are a text", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1},
        {"a minted key with a bad check", "f1abcdef010203040102030405060000", 0},
        {"nothing", "", 0},
    };
    char long_text[FLY_KEY_TEXT_MAX + 2];
    struct fly_key key;
    struct fly_key same;
    struct fly_key other;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int taken = key_parse(rows[i].text, &key);
        if (taken != rows[i].taken) {
            fail_msg("%s", rows[i].what);
        }
        if (taken) {
            assert_int_equal(key.bytes[0], 0);
            assert_true(key_valid(&key));
            assert_int_equal(key_home(&key, 7), 7);
        }
    }
    assert_true(key_parse("order-17", &key));
    assert_true(key_parse("order-17", &same));
    assert_true(key_parse("order-18", &other));
    assert_true(key_equal(&key, &same));
    assert_false(key_equal(&key, &other));
    memset(long_text, 'a', sizeof long_text);
    long_text[sizeof long_text - 1] = '\0';
    assert_false(key_parse(long_text, &key));
    char text[FLY_KEY_TEXT_SIZE];
    key_format(&same, text); /* what the CLI prints can be given back */
    assert_true(key_parse(text, &key));
    assert_true(key_equal(&key, &same));
}

static void test_digest(void **state)
{
    struct fly_digest a;
    struct fly_digest b;

    (void)state;
    spec_digest("SIN", 4, 6000000000, "", &a);
    spec_digest("SIN", 4, 6000000000, "", &b);
    assert_memory_equal(&a, &b, sizeof a);
    spec_digest("SIN", 4, 6000000001, "", &b);
    assert_memory_not_equal(&a, &b, sizeof a);
    spec_digest("SIN", 5, 6000000000, "", &b);
    assert_memory_not_equal(&a, &b, sizeof a);
    spec_digest("SIN", 4, 6000000000, "x", &b);
    assert_memory_not_equal(&a, &b, sizeof a);
    spec_digest("NRT", 4, 6000000000, "", &b);
    assert_memory_not_equal(&a, &b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minted),
        cmocka_unit_test(test_every_flip_is_seen),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
