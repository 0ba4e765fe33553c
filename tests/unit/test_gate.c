/* gate: who gets in, at what time, for what; and that looking at junk twice costs one check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/edge/gate.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/rng.h"

static const int64_t noon_ms = 1795262400000;
static const char cluster_a[] = "000102030405060708090a0b0c0d0e0f";
static const char cluster_b[] = "ff0102030405060708090a0b0c0d0e0f";

static struct token_secret_key key_number(uint8_t number)
{
    const uint8_t seed[TOKEN_SEED_SIZE] = {number};
    struct token_secret_key key;

    token_secret_key_from_seed(seed, &key);
    return key;
}

/* What a token is made of; zero values mean a good one: key 1, cluster a, an hour from noon. */
struct recipe {
    uint8_t key; /* that signs */
    uint8_t kid; /* whose id stands in the footer; 255: no footer */
    const char *cluster;
    int64_t issued_ms; /* these three from noon */
    int64_t not_before_ms;
    int64_t expires_ms;
    uint32_t scopes;
    bool damaged;        /* a changed signature */
    const char *payload; /* instead of claims */
    uint32_t number;     /* makes tokens differ */
};

static void make_token(const struct recipe *recipe, char out[static TOKEN_TEXT_MAX + 1])
{
    struct token_secret_key key = key_number(recipe->key != 0 ? recipe->key : 1);
    struct token_secret_key named = key_number(recipe->kid != 0 ? recipe->kid : 1);
    struct token_public_key named_public = token_public_key_of(&named);
    struct token_key_id kid = token_key_id_of(&named_public);
    const char *cluster = recipe->cluster != NULL ? recipe->cluster : cluster_a;
    struct token_claims claims = {
        .issuer = "flylight",
        .subject = "ada",
        .issued_ms = noon_ms + recipe->issued_ms,
        .not_before_ms = noon_ms + recipe->not_before_ms,
        .expires_ms = noon_ms + (recipe->expires_ms != 0 ? recipe->expires_ms : 3600000),
        .scopes = recipe->scopes != 0 ? recipe->scopes : TOKEN_SCOPE_READ | TOKEN_SCOPE_WATCH,
    };
    uint8_t payload[TOKEN_PAYLOAD_MAX];
    uint8_t footer[TOKEN_FOOTER_MAX];

    (void)snprintf(claims.id, sizeof claims.id, "token-%u", (unsigned)recipe->number);
    size_t size = token_claims_encode(&claims, payload);
    if (recipe->payload != NULL) {
        size = strlen(recipe->payload);
        memcpy(payload, recipe->payload, size);
    }
    size_t footer_size = recipe->kid == 255 ? 0 : token_footer_encode(&kid, footer);
    assert_int_equal(
        token_sign(&key, (struct fly_bytes){payload, size}, (struct fly_bytes){footer, footer_size},
                   (struct fly_bytes){(const uint8_t *)cluster, strlen(cluster)}, out, NULL),
        FLY_OK);
    if (recipe->damaged) {
        char *dot = strrchr(out, '.');
        dot[-4] = dot[-4] == 'A' ? 'B' : 'A';
    }
}

static struct gate *new_gate(uint32_t verify_per_s, uint32_t verify_burst)
{
    struct gate *gate = malloc(sizeof *gate);
    struct gate_config config = {.issuer_count = 2, .hash_key = {1, 2, 3}};

    assert_non_null(gate);
    memcpy(config.cluster, cluster_a, sizeof config.cluster);
    for (uint8_t i = 0; i < 2; i++) {
        struct token_secret_key key = key_number((uint8_t)(i + 1));
        config.issuers[i] = token_public_key_of(&key);
    }
    config.verify_per_s = verify_per_s;
    config.verify_burst = verify_burst;
    gate_init(gate, &config);
    return gate;
}

static enum fly_status admit(struct gate *gate, int64_t now_ms, const char *text,
                             struct gate_peer *peer, struct gate_refusal *refusal)
{
    memset(refusal, 0, sizeof *refusal);
    return gate_admit(gate, now_ms, text, strlen(text), peer, refusal);
}

#define YEAR (INT64_C(366) * 24 * 3600 * 1000)

static void test_who_gets_in(void **state)
{
    static const struct {
        const char *what;
        struct recipe recipe;
        int64_t at_ms; /* from noon */
        enum gate_reason reason;
        const char *text;
    } rows[] = {
        {"good", {.key = 1}, 0, GATE_NONE, ""},
        {"second issuer", {.key = 2, .kid = 2}, 0, GATE_NONE, ""},
        {"last moment", {.expires_ms = 1000}, 999, GATE_NONE, ""},
        {"expired now", {.expires_ms = 1000}, 1000, GATE_TOKEN_EXPIRED, "expired at 2026-11-21"},
        {"issued a minute ahead", {.issued_ms = 60000}, 0, GATE_NONE, ""},
        {"issued further ahead", {.issued_ms = 60001}, 0, GATE_TOKEN_INVALID, "not valid before"},
        {"nbf a minute ahead", {.not_before_ms = 60000}, 0, GATE_NONE, ""},
        {"nbf further ahead", {.not_before_ms = 60001}, 0, GATE_TOKEN_INVALID, "not valid before"},
        {"a year", {.expires_ms = YEAR}, 0, GATE_NONE, ""},
        {"over a year", {.expires_ms = YEAR + 1}, 0, GATE_TOKEN_INVALID, "longer than a year"},
        {"other cluster", {.cluster = cluster_b}, 0, GATE_TOKEN_INVALID, "not signed"},
        {"damaged", {.damaged = true}, 0, GATE_TOKEN_INVALID, "not signed"},
        {"unknown issuer", {.key = 3, .kid = 3}, 0, GATE_TOKEN_INVALID, "issuer's key"},
        {"other's kid", {.key = 3, .kid = 1}, 0, GATE_TOKEN_INVALID, "not signed"},
        {"our other issuer's kid", {.key = 1, .kid = 2}, 0, GATE_TOKEN_INVALID, "not signed"},
        {"no footer", {.kid = 255}, 0, GATE_TOKEN_INVALID, "issuer's key"},
        {"no claims", {.payload = "{}"}, 0, GATE_TOKEN_INVALID, "sub"},
        {"claims are no object", {.payload = "[]"}, 0, GATE_TOKEN_INVALID, "JSON"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct gate *gate = new_gate(0, 0);
        char text[TOKEN_TEXT_MAX + 1];
        make_token(&rows[i].recipe, text);
        for (int again = 0; again < 2; again++) { /* cached or not, the answer is the same */
            struct gate_peer peer;
            struct gate_refusal refusal;
            enum fly_status status = admit(gate, noon_ms + rows[i].at_ms, text, &peer, &refusal);
            if (refusal.reason != rows[i].reason ||
                strstr(refusal.error.text, rows[i].text) == NULL) {
                fail_msg("%s: %d %s", rows[i].what, (int)refusal.reason, refusal.error.text);
            }
            assert_int_equal(status, rows[i].reason == GATE_NONE ? FLY_OK : FLY_UNAUTHENTICATED);
            assert_string_equal(peer.subject, status == FLY_OK ? "ada" : "");
            assert_int_equal(peer.scopes,
                             status == FLY_OK ? TOKEN_SCOPE_READ | TOKEN_SCOPE_WATCH : 0);
        }
        assert_true(gate->stats.verified <= 1);
        free(gate);
    }
}

static void test_texts_that_are_no_tokens(void **state)
{
    static const struct {
        const char *text;
        enum gate_reason reason;
    } rows[] = {
        {"", GATE_TOKEN_MISSING},
        {"v4.public.", GATE_TOKEN_INVALID},
        {"v4.public", GATE_TOKEN_INVALID},
        {"v4.local.AAAA", GATE_TOKEN_INVALID},
        {"v3.public.AAAA", GATE_TOKEN_INVALID},
        {"hunter2", GATE_TOKEN_INVALID},
        {"v4.public.AAAA.AAAA.AAAA", GATE_TOKEN_INVALID},
    };
    struct gate *gate = new_gate(0, 0);
    char long_text[TOKEN_TEXT_MAX + 2];
    struct gate_peer peer;
    struct gate_refusal refusal;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        assert_int_equal(admit(gate, noon_ms, rows[i].text, &peer, &refusal), FLY_UNAUTHENTICATED);
        assert_int_equal(refusal.reason, rows[i].reason);
    }
    memset(long_text, 'A', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    memcpy(long_text, "v4.public.", 10);
    assert_int_equal(admit(gate, noon_ms, long_text, &peer, &refusal), FLY_UNAUTHENTICATED);
    assert_int_equal(gate->stats.verified, 0);
    free(gate);
}

static void test_scopes(void **state)
{
    struct gate *gate = new_gate(0, 0);
    struct recipe recipe = {.scopes = TOKEN_SCOPE_READ | TOKEN_SCOPE_WATCH};
    struct gate_peer nobody = {0};
    struct gate_peer peer;
    struct gate_refusal refusal;
    char text[TOKEN_TEXT_MAX + 1];

    (void)state;
    make_token(&recipe, text);
    assert_int_equal(admit(gate, noon_ms, text, &peer, &refusal), FLY_OK);
    assert_int_equal(gate_check(gate, &peer, noon_ms, TOKEN_SCOPE_READ, &refusal), FLY_OK);
    assert_int_equal(gate_check(gate, &peer, noon_ms, TOKEN_SCOPE_LAUNCH, &refusal),
                     FLY_PERMISSION_DENIED);
    assert_int_equal(refusal.reason, GATE_SCOPE_MISSING);
    assert_int_equal(refusal.error.status, FLY_PERMISSION_DENIED);
    assert_string_equal(refusal.error.text, "token lacks scope launch; it has read,watch");
    peer.scopes = 0;
    assert_int_equal(gate_check(gate, &peer, noon_ms, TOKEN_SCOPE_READ, &refusal),
                     FLY_PERMISSION_DENIED);
    assert_string_equal(refusal.error.text, "token lacks scope read; it has none");
    peer.scopes = TOKEN_SCOPE_ADMIN; /* does not stand for the others */
    assert_int_equal(gate_check(gate, &peer, noon_ms, TOKEN_SCOPE_READ, NULL),
                     FLY_PERMISSION_DENIED);

    peer.scopes = TOKEN_SCOPE_ALL;
    assert_int_equal(gate_check(gate, &peer, peer.expires_ms - 1, TOKEN_SCOPE_READ, NULL), FLY_OK);
    assert_int_equal(gate_check(gate, &peer, peer.expires_ms, TOKEN_SCOPE_READ, &refusal),
                     FLY_UNAUTHENTICATED);
    assert_int_equal(refusal.reason, GATE_TOKEN_EXPIRED);
    assert_int_equal(gate_check(gate, &nobody, noon_ms, TOKEN_SCOPE_READ, &refusal),
                     FLY_UNAUTHENTICATED);
    assert_int_equal(refusal.reason, GATE_TOKEN_MISSING);
    free(gate);
}

/* The clock goes on, and back, under a cached token. */
static void test_cached_token_and_the_clock(void **state)
{
    struct gate *gate = new_gate(0, 0);
    struct recipe recipe = {.expires_ms = 1000};
    struct gate_peer peer;
    struct gate_refusal refusal;
    char text[TOKEN_TEXT_MAX + 1];

    (void)state;
    make_token(&recipe, text);
    assert_int_equal(admit(gate, noon_ms, text, &peer, &refusal), FLY_OK);
    assert_int_equal(admit(gate, noon_ms + 1000, text, &peer, &refusal), FLY_UNAUTHENTICATED);
    assert_int_equal(refusal.reason, GATE_TOKEN_EXPIRED);
    assert_string_equal(peer.subject, "");
    assert_int_equal(admit(gate, noon_ms - 60001, text, &peer, &refusal), FLY_UNAUTHENTICATED);
    assert_int_equal(refusal.reason, GATE_TOKEN_INVALID);
    assert_int_equal(admit(gate, noon_ms + 999, text, &peer, &refusal), FLY_OK);
    assert_int_equal(gate->stats.verified, 1);
    free(gate);
}

static void test_junk_is_checked_once(void **state)
{
    struct gate *gate = new_gate(0, 0);
    struct recipe good = {0};
    struct gate_peer peer;
    struct gate_refusal refusal;
    char good_text[TOKEN_TEXT_MAX + 1];
    char text[TOKEN_TEXT_MAX + 1];

    (void)state;
    make_token(&good, good_text);
    assert_int_equal(admit(gate, noon_ms, good_text, &peer, &refusal), FLY_OK);
    for (uint32_t i = 0; i < 600; i++) { /* more than the bad cache holds */
        struct recipe junk = {.damaged = true, .number = i + 1};
        make_token(&junk, text);
        for (int again = 0; again < 3; again++) {
            assert_int_equal(admit(gate, noon_ms, text, &peer, &refusal), FLY_UNAUTHENTICATED);
        }
        assert_int_equal(gate->stats.verified, 2 + i);
    }
    assert_int_equal(admit(gate, noon_ms, good_text, &peer, &refusal), FLY_OK);
    assert_int_equal(gate->stats.verified, 601); /* the good one was still there */
    assert_int_equal(gate->stats.bad_hits, 1200);
    free(gate);
}

/* Of more tokens than there is room for, the one in use stays. */
static void test_used_token_stays(void **state)
{
    struct gate *gate = new_gate(0, 0);
    struct recipe hot = {0};
    struct gate_peer peer;
    struct gate_refusal refusal;
    char hot_text[TOKEN_TEXT_MAX + 1];
    char text[TOKEN_TEXT_MAX + 1];

    (void)state;
    make_token(&hot, hot_text);
    for (uint32_t i = 0; i < 3000; i++) {
        struct recipe recipe = {.number = i + 1};
        make_token(&recipe, text);
        assert_int_equal(admit(gate, noon_ms, hot_text, &peer, &refusal), FLY_OK);
        assert_int_equal(admit(gate, noon_ms, text, &peer, &refusal), FLY_OK);
        assert_int_equal(gate->stats.verified, i + 2);
    }
    free(gate);
}

static void test_budget(void **state)
{
    struct gate *gate = new_gate(10, 3);
    struct recipe good = {0};
    struct gate_peer peer;
    struct gate_refusal refusal;
    char good_text[TOKEN_TEXT_MAX + 1];
    char text[TOKEN_TEXT_MAX + 1];
    uint32_t number = 1;
    /* ms of the wall clock from noon, new tokens tried then, and how many of them are let in */
    static const struct {
        int64_t at_ms;
        int tries;
        int checks;
    } rows[] = {{0, 5, 2},     {50, 5, 0},    {100, 5, 1},    {350, 5, 2},    {60000, 5, 3},
                {60300, 1, 1}, {60500, 5, 3}, {-30000, 5, 0}, {-29900, 5, 1}, {3000000, 5, 3}};

    (void)state;
    make_token(&good, good_text);
    assert_int_equal(admit(gate, noon_ms, good_text, &peer, &refusal), FLY_OK);
    for (size_t row = 0; row < FLY_ARRAY_COUNT(rows); row++) {
        for (int i = 0; i < rows[row].tries; i++) {
            struct recipe recipe = {.number = number++};
            make_token(&recipe, text);
            enum fly_status status = admit(gate, noon_ms + rows[row].at_ms, text, &peer, &refusal);
            assert_int_equal(status, i < rows[row].checks ? FLY_OK : FLY_RESOURCE_EXHAUSTED);
            assert_int_equal(refusal.reason, i < rows[row].checks ? GATE_NONE : GATE_RATE);
        }
        assert_int_equal(admit(gate, noon_ms + rows[row].at_ms, good_text, &peer, &refusal),
                         FLY_OK); /* known tokens do not wait */
    }
    free(gate);
}

/* A gate without caches, written from the rules: the real one must answer the same, whatever its
 * caches remember or forgot. */
static enum gate_reason naive_reason(const struct recipe *recipe, int64_t at_ms)
{
    uint8_t key = recipe->key != 0 ? recipe->key : 1;
    uint8_t kid = recipe->kid != 0 ? recipe->kid : 1;
    int64_t expires_ms = recipe->expires_ms != 0 ? recipe->expires_ms : 3600000;
    int64_t from_ms =
        recipe->issued_ms > recipe->not_before_ms ? recipe->issued_ms : recipe->not_before_ms;

    if (kid > 2 || expires_ms - recipe->issued_ms > YEAR) {
        return GATE_TOKEN_INVALID;
    }
    if (at_ms >= expires_ms) {
        return GATE_TOKEN_EXPIRED;
    }
    if (at_ms < from_ms - 60000 || key != kid || recipe->cluster == cluster_b || recipe->damaged) {
        return GATE_TOKEN_INVALID;
    }
    return GATE_NONE;
}

static bool forged(const struct recipe *recipe)
{
    return recipe->key != recipe->kid || recipe->cluster == cluster_b || recipe->damaged;
}

static void test_against_naive_gate(void **state)
{
    enum { TOKENS = 3000, TRIES = 30000 };
    static char texts[TOKENS][512];
    static struct recipe recipes[TOKENS];
    struct gate *gate = new_gate(0, 0);
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 9);
    for (uint32_t i = 0; i < TOKENS; i++) {
        char text[TOKEN_TEXT_MAX + 1];
        recipes[i] = (struct recipe){
            .key = (uint8_t)(1 + fly_rng_below(&rng, 2)),
            .cluster = fly_rng_chance(&rng, 900) ? cluster_a : cluster_b,
            .issued_ms = (int64_t)fly_rng_below(&rng, 120000),
            .not_before_ms = (int64_t)fly_rng_below(&rng, 120000),
            .expires_ms = 1 + (int64_t)fly_rng_below(&rng, 240000),
            .damaged = fly_rng_chance(&rng, 100),
            .number = i,
        };
        recipes[i].kid =
            fly_rng_chance(&rng, 900) ? recipes[i].key : (uint8_t)(1 + fly_rng_below(&rng, 3));
        make_token(&recipes[i], text);
        assert_true(strlen(text) < sizeof texts[i]);
        memcpy(texts[i], text, strlen(text) + 1);
    }
    for (int i = 0; i < TRIES; i++) {
        /* half of the tries go to few tokens, so that all of hit, miss and eviction happen */
        size_t pick = (size_t)fly_rng_below(&rng, fly_rng_chance(&rng, 500) ? 50 : TOKENS);
        int64_t at_ms = (int64_t)fly_rng_below(&rng, 240000);
        struct gate_peer peer;
        struct gate_refusal refusal;
        enum gate_reason expected = naive_reason(&recipes[pick], at_ms);
        enum fly_status status = admit(gate, noon_ms + at_ms, texts[pick], &peer, &refusal);
        /* a forgery that is remembered is called invalid, whatever time its claims speak of */
        if (expected != GATE_TOKEN_EXPIRED || refusal.reason != GATE_TOKEN_INVALID ||
            !forged(&recipes[pick])) {
            assert_int_equal(refusal.reason, expected);
        }
        assert_int_equal(status == FLY_OK, expected == GATE_NONE);
        if (status == FLY_OK) {
            char id[TOKEN_ID_SIZE];
            (void)snprintf(id, sizeof id, "token-%u", (unsigned)recipes[pick].number);
            assert_string_equal(peer.id, id);
            assert_int_equal(peer.expires_ms, noon_ms + recipes[pick].expires_ms);
        }
    }
    assert_true(gate->stats.good_hits > 1000 && gate->stats.bad_hits > 100);
    assert_true(gate->stats.verified > TOKENS / 2);
    free(gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_gets_in),
        cmocka_unit_test(test_texts_that_are_no_tokens),
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_cached_token_and_the_clock),
        cmocka_unit_test(test_junk_is_checked_once),
        cmocka_unit_test(test_used_token_stays),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_against_naive_gate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
