/* forget: who may say that a slice is lost, and that the words are kept as they were said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/forget.h"
#include "proto/base/check.h"

static const char cluster[] = "00112233445566778899aabbccddeeff";
static const char other_cluster[] = "ffeeddccbbaa99887766554433221100";

enum { TAG = 0x0a1b2c };
#define NOW_MS INT64_C(1795219200000)
#define YEAR_MS (INT64_C(365) * 86400000)

/* A CA, an admission key and a node of these roles. */
struct world {
    struct authority_keys ca;
    struct authority_keys admission;
    struct node_keys keys;
    struct credential credential;
};

static struct world world_make(uint8_t number, uint32_t roles)
{
    struct world w;
    uint8_t seed[32] = {number};
    struct node_seed node = {.bytes = {number, 1}};

    authority_keys_from_seed(seed, &w.ca);
    seed[1] = 2;
    authority_keys_from_seed(seed, &w.admission);
    node_keys_from_seed(&node, &w.keys);
    w.credential = (struct credential){.name = "n-1",
                                       .roles = roles,
                                       .slice_tag = 7,
                                       .issued_ms = NOW_MS,
                                       .expires_ms = NOW_MS + YEAR_MS};
    memcpy(w.credential.key, w.keys.public_key, NODE_KEY_SIZE);
    memcpy(w.credential.admission.key, w.admission.public_key, NODE_KEY_SIZE);
    w.credential.admission.roles = NODE_ROLE_ALL;
    w.credential.admission.expires_ms = NOW_MS + 10 * YEAR_MS;
    admission_sign(&w.ca, cluster, &w.credential.admission);
    credential_sign(&w.admission, cluster, &w.credential);
    return w;
}

static size_t sign(const struct world *w, const char *of, int64_t now_ms, uint8_t *out)
{
    return forget_sign(&w->credential, &w->keys, of, TAG, now_ms, out);
}

static enum fly_status verify(const struct world *w, const uint8_t *word, size_t size,
                              int64_t now_ms, struct fly_error *error)
{
    struct forget_word out;

    return forget_verify((struct fly_bytes){.data = word, .size = size}, cluster, w->ca.public_key,
                         now_ms, &out, error);
}

static void test_a_good_word(void **state)
{
    struct world w = world_make(1, NODE_ROLE_PEER | NODE_ROLE_ADMIT);
    uint8_t word[FORGET_SIZE_MAX];
    struct forget_word out;
    size_t size = sign(&w, cluster, NOW_MS + 1, word);

    (void)state;
    assert_int_equal(forget_verify((struct fly_bytes){.data = word, .size = size}, cluster,
                                   w.ca.public_key, NOW_MS + 2, &out, NULL),
                     FLY_OK);
    assert_int_equal(out.tag, TAG);
    assert_int_equal(out.time_ms, NOW_MS + 1);
    assert_string_equal(out.by.name, "n-1");
    /* long after the signer's credential has run out */
    assert_int_equal(verify(&w, word, size, NOW_MS + 20 * YEAR_MS, NULL), FLY_OK);
}

static void test_who_may_not(void **state)
{
    struct world admits = world_make(1, NODE_ROLE_ADMIT);
    struct world peer = world_make(1, NODE_ROLE_PEER | NODE_ROLE_EDGE | NODE_ROLE_DASH);
    struct world foreign = world_make(9, NODE_ROLE_ADMIT);
    uint8_t word[FORGET_SIZE_MAX];
    struct fly_error error;

    (void)state;
    size_t size = sign(&peer, cluster, NOW_MS, word);
    assert_int_equal(verify(&peer, word, size, NOW_MS, &error), FLY_PERMISSION_DENIED);
    assert_non_null(strstr(error.text, "may admit"));
    size = sign(&foreign, cluster, NOW_MS, word);
    assert_int_equal(verify(&admits, word, size, NOW_MS, &error), FLY_PERMISSION_DENIED);
    size = sign(&admits, other_cluster, NOW_MS, word);
    assert_int_equal(verify(&admits, word, size, NOW_MS, &error), FLY_PERMISSION_DENIED);
    size = sign(&admits, cluster, NOW_MS + YEAR_MS, word); /* its credential had run out then */
    assert_int_equal(verify(&admits, word, size, NOW_MS + YEAR_MS, &error), FLY_PERMISSION_DENIED);
    assert_non_null(strstr(error.text, "expired"));
    size = sign(&admits, cluster, NOW_MS + 3600000, word);
    assert_int_equal(verify(&admits, word, size, NOW_MS, &error), FLY_PERMISSION_DENIED);
    assert_non_null(strstr(error.text, "time to come"));
    /* with the credential of one who may, and a key of one who may not */
    struct world thief = peer;
    thief.credential = admits.credential;
    struct node_seed seed = {.bytes = {77}};
    node_keys_from_seed(&seed, &thief.keys);
    size = sign(&thief, cluster, NOW_MS, word);
    assert_int_equal(verify(&admits, word, size, NOW_MS, &error), FLY_PERMISSION_DENIED);
    assert_non_null(strstr(error.text, "signature"));
}

static void test_every_bit_and_length_counts(void **state)
{
    struct world w = world_make(1, NODE_ROLE_ADMIT);
    uint8_t word[FORGET_SIZE_MAX];
    uint8_t room[FORGET_SIZE_MAX + 1];
    size_t size = sign(&w, cluster, NOW_MS, word);

    (void)state;
    memset(room, 0, sizeof room);
    for (size_t i = 0; i < size; i++) {
        memcpy(room, word, size);
        room[i] ^= (uint8_t)(1u << i % 8);
        if (verify(&w, room, size, NOW_MS, NULL) == FLY_OK) {
            fail_msg("byte %zu may be changed", i);
        }
    }
    memcpy(room, word, size);
    for (size_t cut = 0; cut < sizeof room; cut++) {
        if (cut != size && verify(&w, room, cut, NOW_MS, NULL) == FLY_OK) {
            fail_msg("%zu of %zu bytes are taken", cut, size);
        }
    }
}

static void test_words_are_kept(void **state)
{
    struct peers *p = peers_init(calloc(1, peers_size()), 1);
    struct seen *s = seen_init(calloc(1, seen_size()), 1);
    struct peers *p2 = peers_init(calloc(1, peers_size()), 2);
    struct seen *s2 = seen_init(calloc(1, seen_size()), 2);
    char *text = malloc(PEERS_TEXT_SIZE_MAX);
    uint8_t bytes[PEERS_WORD_SIZE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    assert_false(peers_keep_word(p, TAG, bytes, 0));
    assert_false(peers_keep_word(p, TAG, bytes, sizeof bytes + 1));
    uint64_t version = peers_version(p);
    for (uint32_t i = 0; i < PEERS_WORDS_MAX; i++) {
        assert_true(peers_keep_word(p, TAG + i, bytes, 1 + i));
    }
    assert_true(peers_version(p) > version);
    assert_false(peers_keep_word(p, 1, bytes, 5)); /* full */
    version = peers_version(p);
    assert_true(peers_keep_word(p, TAG, bytes + 1, 3)); /* the first one stays */
    assert_int_equal(peers_version(p), version);
    assert_int_equal(peers_word(p, TAG)->size, 1);
    assert_null(peers_word(p, 1));

    size_t size = peers_encode(p, s, text, PEERS_TEXT_SIZE_MAX);
    assert_true(size > 0);
    assert_int_equal(peers_decode(text, size, p2, s2, NULL), FLY_OK);
    assert_int_equal(peers_word_count(p2), PEERS_WORDS_MAX);
    for (uint32_t i = 0; i < PEERS_WORDS_MAX; i++) {
        const struct peers_word *w = peers_word_at(p2, i);
        assert_int_equal(w->tag, TAG + i);
        assert_int_equal(w->size, 1 + i);
        assert_memory_equal(w->bytes, bytes, w->size);
    }
    peers_clear(p2);
    assert_int_equal(peers_word_count(p2), 0);
    free(p);
    free(s);
    free(p2);
    free(s2);
    free(text);
}

/* Lines with a right sum, one word in each wrong. */
static void test_lines_that_are_refused(void **state)
{
    static const char *const lines[] = {
        "forgotten 0a1b2c\n",
        "forgotten 0a1b2c 0\n",
        "forgotten 0a1b2c 0G\n",
        "forgotten 000000 00\n",
        "forgotten a1b2c 00\n",
        "forgotten 0a1b2c AB\n",
        "forgotten 0a1b2c 00 00\n",
        "forgotten 0a1b2c 00\nforgotten 0a1b2c 01\n",
        "forgotten\n",
    };
    struct peers *p = peers_init(calloc(1, peers_size()), 1);
    struct seen *s = seen_init(calloc(1, seen_size()), 1);

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(lines); i++) {
        char text[256];
        uint64_t h = UINT64_C(0xcbf29ce484222325);
        int size = snprintf(text, sizeof text, "flylight-peers 1\n%s", lines[i]);
        for (int k = 0; k < size; k++) {
            h = (h ^ (uint8_t)text[k]) * UINT64_C(0x100000001b3);
        }
        size += snprintf(text + size, sizeof text - (size_t)size, "sum %016llx\n",
                         (unsigned long long)h);
        if (peers_decode(text, (size_t)size, p, s, NULL) != FLY_INVALID_ARGUMENT ||
            peers_word_count(p) != 0) {
            fail_msg("taken: %s", lines[i]);
        }
    }
    free(p);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_word),
        cmocka_unit_test(test_who_may_not),
        cmocka_unit_test(test_every_bit_and_length_counts),
        cmocka_unit_test(test_words_are_kept),
        cmocka_unit_test(test_lines_that_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
