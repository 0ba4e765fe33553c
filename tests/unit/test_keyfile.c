/* keyfile: one line says what it is; a key of one kind is no key of another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/wire/keyfile.h"

static const uint8_t seed[32] = {1, 2, 3, 255};

static void test_authority_keys(void **state)
{
    struct authority_keys keys;
    struct authority_keys back;
    char text[CLUSTER_FILE_MAX];

    (void)state;
    authority_keys_from_seed(seed, &keys);
    for (enum keyfile_kind kind = KEYFILE_KIND_CA; kind <= KEYFILE_KIND_ADMISSION; kind++) {
        enum keyfile_kind other =
            kind == KEYFILE_KIND_CA ? KEYFILE_KIND_ADMISSION : KEYFILE_KIND_CA;
        size_t size = authority_key_encode(kind, &keys, text);
        assert_int_equal(size, strlen(text));
        assert_int_equal(authority_key_decode(kind, text, size, &back, NULL), FLY_OK);
        assert_memory_equal(&back, &keys, sizeof back);
        assert_int_equal(authority_key_decode(kind, text, size - 1, &back, NULL), FLY_OK);
        assert_int_equal(authority_key_decode(other, text, size, &back, NULL),
                         FLY_INVALID_ARGUMENT);
        for (size_t cut = 0; cut < size - 1; cut++) {
            assert_int_equal(authority_key_decode(kind, text, cut, &back, NULL),
                             FLY_INVALID_ARGUMENT);
        }
        text[size] = '\n';
        assert_int_equal(authority_key_decode(kind, text, size + 1, &back, NULL),
                         FLY_INVALID_ARGUMENT);
    }
}

static void test_gossip_keys(void **state)
{
    static const struct {
        const char *what;
        uint8_t count;
        uint8_t ids[SEAL_KEYS_MAX];
        bool ok;
    } rows[] = {
        {"one", 1, {7}, true},
        {"three", 3, {1, 0, 255}, true},
        {"the same id twice", 2, {9, 9}, false},
        {"the first id again", 3, {9, 8, 9}, false},
    };
    char text[CLUSTER_FILE_MAX + 128];

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct seal_ring ring = {.count = rows[i].count};
        struct seal_ring back = {.count = 0};
        memcpy(ring.ids, rows[i].ids, sizeof ring.ids);
        for (size_t k = 0; k < ring.count; k++) {
            memset(ring.keys[k], (int)(k + 1), SEAL_KEY_SIZE);
        }
        size_t size = gossip_key_encode(&ring, text);
        enum fly_status status = gossip_key_decode(text, size, &back, NULL);
        if (status != (rows[i].ok ? FLY_OK : FLY_INVALID_ARGUMENT)) {
            fail_msg("%s", rows[i].what);
        }
        if (rows[i].ok) {
            assert_memory_equal(&back, &ring, sizeof back);
            assert_int_equal(gossip_key_decode(text, size - 2, &back, NULL), FLY_INVALID_ARGUMENT);
            text[size] = '\n';
            assert_int_equal(gossip_key_decode(text, size + 1, &back, NULL), FLY_INVALID_ARGUMENT);
        }
    }
    /* a fourth line */
    struct seal_ring ring = {.count = 3, .ids = {1, 2, 3}};
    struct seal_ring fourth = {.count = 1, .ids = {4}};
    size_t size = gossip_key_encode(&ring, text);
    size += gossip_key_encode(&fourth, text + size);
    assert_int_equal(gossip_key_decode(text, size, &ring, NULL), FLY_INVALID_ARGUMENT);
    assert_int_equal(gossip_key_decode("", 0, &ring, NULL), FLY_INVALID_ARGUMENT);
    assert_int_equal(gossip_key_decode("\n", 1, &ring, NULL), FLY_INVALID_ARGUMENT);
}

static void test_generation(void **state)
{
    static const struct {
        const char *text;
        uint32_t value;
        bool ok;
    } rows[] = {
        {"0\n", 0, true},
        {"17", 17, true},
        {"4294967295\n", UINT32_MAX, true},
        {"4294967296\n", 0, false},
        {"99999999999\n", 0, false},
        {"", 0, false},
        {"\n", 0, false},
        {"-1\n", 0, false},
        {" 1\n", 0, false},
        {"1x\n", 0, false},
        {"1\n\n", 0, false},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        uint32_t value = 0;
        bool ok = generation_decode(rows[i].text, strlen(rows[i].text), &value, NULL) == FLY_OK;
        if (ok != rows[i].ok || value != rows[i].value) {
            fail_msg("\"%s\"", rows[i].text);
        }
    }
}

static void test_records(void **state)
{
    struct authority_keys keys;
    struct credential c = {.name = "rack-7",
                           .roles = NODE_ROLE_PEER,
                           .admission = {.roles = NODE_ROLE_ALL, .expires_ms = 5}};
    struct credential credential;
    struct admission admission;
    char text[CLUSTER_FILE_MAX];

    (void)state;
    authority_keys_from_seed(seed, &keys);
    memcpy(c.admission.key, keys.public_key, sizeof c.admission.key);
    admission_sign(&keys, "000102030405060708090a0b0c0d0e0f", &c.admission);
    credential_sign(&keys, "000102030405060708090a0b0c0d0e0f", &c);
    size_t size = credential_file_encode(&c, text);
    assert_int_equal(credential_file_decode(text, size, &credential, NULL), FLY_OK);
    assert_memory_equal(&credential, &c, sizeof credential);
    assert_int_equal(admission_file_decode(text, size, &admission, NULL), FLY_INVALID_ARGUMENT);
    size = admission_file_encode(&c.admission, text);
    assert_int_equal(admission_file_decode(text, size, &admission, NULL), FLY_OK);
    assert_memory_equal(&admission, &c.admission, sizeof admission);
    assert_int_equal(credential_file_decode(text, size, &credential, NULL), FLY_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_authority_keys),
        cmocka_unit_test(test_gossip_keys),
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
