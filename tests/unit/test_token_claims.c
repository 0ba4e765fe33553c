/* token_claims: claims, footers and cluster records; the JSON reader against jansson. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/base/time.h"
#include "proto/wire/cluster.h"
#include "proto/wire/token.h"
#include "proto/wire/token_claims.h"
#include "proto/wire/token_json.h"

static const char *text_of(const json_t *test, const char *key)
{
    return json_string_value(json_object_get(test, key));
}

static struct token_secret_key key_number(uint8_t number)
{
    const uint8_t seed[TOKEN_SEED_SIZE] = {number};
    struct token_secret_key key;

    token_secret_key_from_seed(seed, &key);
    return key;
}

/* --- claims --- */

static struct token_claims sample_claims(void)
{
    return (struct token_claims){
        .issuer = "flylight",
        .subject = "ada",
        .id = "00112233445566778899aabbccddeeff",
        .issued_ms = 1795219200000,
        .not_before_ms = 1795219200000,
        .expires_ms = 1795222800000,
        .scopes = TOKEN_SCOPE_LAUNCH | TOKEN_SCOPE_READ,
    };
}

static void test_claims_round_trip(void **state)
{
    struct token_claims claims = sample_claims();
    struct token_claims back;
    uint8_t payload[TOKEN_PAYLOAD_MAX];

    (void)state;
    size_t size = token_claims_encode(&claims, payload);
    assert_int_equal(token_claims_decode(payload, size, &back, NULL), FLY_OK);
    assert_string_equal(back.issuer, claims.issuer);
    assert_string_equal(back.subject, claims.subject);
    assert_string_equal(back.id, claims.id);
    assert_int_equal(back.issued_ms, claims.issued_ms);
    assert_int_equal(back.not_before_ms, claims.not_before_ms);
    assert_int_equal(back.expires_ms, claims.expires_ms);
    assert_int_equal(back.scopes, claims.scopes);

    json_t *root = json_loadb((const char *)payload, size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_string_equal(text_of(root, "sub"), "ada");
    assert_string_equal(text_of(root, "exp"), "2026-11-21T01:00:00.000Z");
    assert_string_equal(text_of(root, "scope"), "launch read");
    json_decref(root);
}

#define SUB "\"sub\":\"ada\","
#define JTI "\"jti\":\"x\","
#define IAT "\"iat\":\"2026-11-21T00:00:00Z\","
#define EXP "\"exp\":\"2026-11-21T01:00:00Z\","
#define SCOPE "\"scope\":\"read\""

static void test_claims(void **state)
{
    static const struct {
        const char *what;
        const char *json;
        const char *error; /* NULL: accepted */
    } rows[] = {
        {"least", "{" SUB JTI IAT EXP SCOPE "}", NULL},
        {"blanks", " {\n" SUB "\t" JTI IAT EXP SCOPE " } \r\n", NULL},
        {"unknown claims",
         "{\"x\":{\"a\":[1,-2.5e9,null,{}]},\"y\":true," SUB JTI IAT EXP SCOPE "}", NULL},
        {"escapes", "{\"\\u0073ub\":\"\\u0061d\\u0061\"," JTI IAT EXP SCOPE "}", NULL},
        {"aud of other kind", "{\"aud\":[\"\xc3\xa9\\ud83d\\ude00\"]," SUB JTI IAT EXP SCOPE "}",
         NULL},
        {"unknown scope", "{" SUB JTI IAT EXP "\"scope\":\"read fly\"}", NULL},
        {"no sub", "{" JTI IAT EXP SCOPE "}", "sub"},
        {"sub is a number", "{\"sub\":1," JTI IAT EXP SCOPE "}", "sub"},
        {"sub in capitals", "{\"sub\":\"Ada\"," JTI IAT EXP SCOPE "}", "sub"},
        {"sub is empty", "{\"sub\":\"\"," JTI IAT EXP SCOPE "}", "sub"},
        {"sub of 64",
         "{\"sub\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"," JTI IAT
             EXP SCOPE "}",
         "sub"},
        {"no jti", "{" SUB IAT EXP SCOPE "}", "jti"},
        {"jti is empty", "{\"jti\":\"\"," SUB IAT EXP SCOPE "}", "jti"},
        {"jti has a newline", "{\"jti\":\"a\\nb\"," SUB IAT EXP SCOPE "}", "jti"},
        {"no iat", "{" SUB JTI EXP SCOPE "}", "iat"},
        {"no exp", "{" SUB JTI IAT SCOPE "}", "exp"},
        {"exp is a number", "{\"exp\":1795219200," SUB JTI IAT SCOPE "}", "exp"},
        {"nbf is null", "{\"nbf\":null," SUB JTI IAT EXP SCOPE "}", "nbf"},
        {"no scope", "{" SUB JTI IAT "\"exp\":\"2026-11-21T01:00:00Z\"}", "scope"},
        {"scope is empty", "{" SUB JTI IAT EXP "\"scope\":\"\"}", "scope"},
        {"two blanks", "{" SUB JTI IAT EXP "\"scope\":\"read  launch\"}", "scope"},
        {"scope is an array", "{" SUB JTI IAT EXP "\"scope\":[\"read\"]}", "scope"},
        {"iss is a number", "{\"iss\":7," SUB JTI IAT EXP SCOPE "}", "iss"},
        {"claim twice", "{" SUB SUB JTI IAT EXP SCOPE "}", "unique"},
        {"claim twice by escape", "{\"\\u0073ub\":\"eve\"," SUB JTI IAT EXP SCOPE "}", "unique"},
        {"unknown claim twice", "{\"x\":1,\"x\":1," SUB JTI IAT EXP SCOPE "}", "unique"},
        {"array", "[]", "object"},
        {"nothing", "", "object"},
        {"two objects", "{" SUB JTI IAT EXP SCOPE "}{}", "object"},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct token_claims claims = {.subject = "before"};
        struct fly_error error = {0};
        enum fly_status status =
            token_claims_decode(rows[i].json, strlen(rows[i].json), &claims, &error);
        if ((status == FLY_OK) != (rows[i].error == NULL)) {
            fail_msg("%s: %s", rows[i].what, error.text);
        }
        if (status == FLY_OK) {
            assert_string_equal(claims.subject, "ada");
            assert_int_equal(claims.scopes, TOKEN_SCOPE_READ);
            assert_int_equal(claims.not_before_ms, claims.issued_ms);
        } else {
            assert_string_equal(claims.subject, "before");
            if (strstr(error.text, rows[i].error) == NULL) {
                fail_msg("%s: said %s", rows[i].what, error.text);
            }
        }
    }
}

static void test_footer(void **state)
{
    static const char *const refused[] = {
        "",
        "{}",
        "{\"kid\":1}",
        "{\"kid\":\"\"}",
        "{\"kid\":\"k4.pid.short\"}",
        "not json",
        "{\"kid\":\"k4.lid.S_XQmeEwHbbvRmiyfXfHYpLGjXGzjTRSDoT1YtTakWFE\"}",
    };
    struct token_secret_key secret = key_number(3);
    struct token_public_key key = token_public_key_of(&secret);
    struct token_key_id kid = token_key_id_of(&key);
    struct token_key_id back = {"before"};
    uint8_t footer[TOKEN_FOOTER_MAX];

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(refused); i++) {
        assert_false(token_footer_decode(refused[i], strlen(refused[i]), &back));
        assert_string_equal(back.text, "before");
    }
    size_t size = token_footer_encode(&kid, footer);
    assert_true(token_footer_decode(footer, size, &back));
    assert_string_equal(back.text, kid.text);
}

static void test_scopes(void **state)
{
    char text[TOKEN_SCOPES_TEXT_SIZE];
    uint32_t scopes = 77;

    (void)state;
    assert_true(token_scopes_parse("launch,read", ',', &scopes));
    assert_int_equal(scopes, TOKEN_SCOPE_LAUNCH | TOKEN_SCOPE_READ);
    token_scopes_format(TOKEN_SCOPE_ALL, ',', text);
    assert_string_equal(text, "regions,launch,read,destroy,watch,admin");
    assert_true(token_scopes_parse(text, ',', &scopes));
    assert_int_equal(scopes, TOKEN_SCOPE_ALL);
    token_scopes_format(0, ',', text);
    assert_string_equal(text, "");
    scopes = 77;
    assert_false(token_scopes_parse("", ',', &scopes));
    assert_false(token_scopes_parse("launch,", ',', &scopes));
    assert_false(token_scopes_parse("launch,Read", ',', &scopes));
    assert_false(token_scopes_parse("launch read", ',', &scopes));
    assert_false(token_scopes_parse("lau", ',', &scopes));
    assert_int_equal(scopes, 77);
}

static void test_times(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2022-01-01T00:00:00+00:00", 1640995200000},
        {"2022-01-01T08:00:00+08:00", 1640995200000},
        {"2021-12-31T18:30:00-05:30", 1640995200000},
        {"2022-01-01t00:00:00.1239999z", 1640995200123},
        {"2000-02-29T00:00:00.123Z", 951782400123},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
        {"2016-12-31T23:59:60Z", 1483228800000},
        {"1969-12-31T23:59:59Z", -1},
        {"2026-02-29T00:00:00Z", -1},
        {"2100-02-29T00:00:00Z", -1},
        {"2026-13-01T00:00:00Z", -1},
        {"2026-00-01T00:00:00Z", -1},
        {"2026-01-00T00:00:00Z", -1},
        {"2026-01-01T24:00:00Z", -1},
        {"2026-01-01T00:60:00Z", -1},
        {"2026-01-01T00:00:61Z", -1},
        {"2026-01-01T00:00:00", -1},
        {"2026-01-01T00:00:00.Z", -1},
        {"2026-01-01T00:00:00+0000", -1},
        {"2026-01-01T00:00:00+24:00", -1},
        {"2026-01-01T00:00:00ZZ", -1},
        {"2026-01-01", -1},
        {"+2026-01-01T00:00:00Z", -1},
        {"", -1},
    };
    struct fly_rng rng;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        int64_t ms = -1;
        (void)token_time_parse(rows[i].text, &ms);
        if (ms != rows[i].ms) {
            fail_msg("%s: %lld", rows[i].text, (long long)ms);
        }
    }
    fly_rng_seed(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        int64_t ms = (int64_t)fly_rng_below(&rng, 253402300800000);
        int64_t back = -1;
        char text[FLY_TIME_TEXT_SIZE];
        fly_time_format(ms, text);
        assert_true(token_time_parse(text, &back));
        assert_int_equal(back, ms);
    }
}

/* --- the cluster record --- */

static void test_cluster_record(void **state)
{
    struct token_secret_key secret = key_number(4);
    struct cluster_record record = {.id = "000102030405060708090a0b0c0d0e0f",
                                    .issuer = token_public_key_of(&secret),
                                    .root_tag = 0x00abcd,
                                    .created_ms = 1795219200123};
    struct cluster_record back;
    char text[CLUSTER_FILE_MAX];
    size_t decoded = 0;

    (void)state;
    size_t size = cluster_record_encode(&record, text);
    assert_int_equal(cluster_record_decode(text, size, &back, NULL), FLY_OK);
    assert_string_equal(back.id, record.id);
    assert_memory_equal(&back.issuer, &record.issuer, sizeof record.issuer);
    assert_int_equal(back.root_tag, record.root_tag);
    assert_int_equal(back.created_ms, record.created_ms);
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_object_size(root), 6);
    json_decref(root);
    /* no single changed character makes another issuer of it */
    for (size_t i = 0; i < size; i++) {
        char kept = text[i];
        for (const char *c = "0189abfgAZ_-"; *c != '\0'; c++) {
            text[i] = *c;
            if (cluster_record_decode(text, size, &back, NULL) == FLY_OK) {
                assert_memory_equal(&back.issuer, &record.issuer, sizeof record.issuer);
                decoded++;
            }
        }
        text[i] = kept;
    }
    assert_true(decoded > 100);                   /* digits of the id, for one */
    for (size_t cut = 0; cut + 2 < size; cut++) { /* the newline may be missing */
        assert_int_equal(cluster_record_decode(text, cut, &back, NULL), FLY_INVALID_ARGUMENT);
    }
}

static void test_node_key(void **state)
{
    struct node_seed seed = {{1, 2, 3, 255}};
    struct node_seed back = {{9}};
    char text[CLUSTER_FILE_MAX];

    (void)state;
    size_t size = node_key_encode(&seed, text);
    assert_int_equal(node_key_decode(text, size, &back, NULL), FLY_OK);
    assert_memory_equal(&back, &seed, sizeof seed);
    assert_int_equal(node_key_decode(text, size - 1, &back, NULL), FLY_OK);
    assert_int_equal(node_key_decode(text, size - 2, &back, NULL), FLY_INVALID_ARGUMENT);
    text[size] = '\n';
    assert_int_equal(node_key_decode(text, size + 1, &back, NULL), FLY_INVALID_ARGUMENT);
    text[0] = 'F';
    assert_int_equal(node_key_decode(text, size, &back, NULL), FLY_INVALID_ARGUMENT);
    assert_int_equal(node_key_decode(NULL, 0, &back, NULL), FLY_INVALID_ARGUMENT);
}

/* --- the JSON reader against jansson, on mutations of real objects --- */

static const char *const json_seeds[] = {
    "{" SUB JTI IAT EXP SCOPE "}",
    "{\"a\":[1,2.5,-0,1e9,0.1E-2,true,false,null,\"\\u00e9\\n\\\"\"],\"b\":{\"c\":{}}}",
    "{\"\xe2\x82\xac\":\"\xf0\x9f\x98\x80\\ud83d\\ude00\",\"\\u20ac2\":[[[[]]]]}",
    " { \"k\" : \"v\" , \"l\" : [ ] } ",
};

static size_t json_mutate(struct fly_rng *rng, char *text, size_t size, size_t max)
{
    static const char pieces[] = "{}[]\",:\\u0d8-+.eEtfn019 \n\xc3\xa9\xed\xa0\x80";

    for (uint64_t n = fly_rng_below(rng, 4); n > 0 && size > 0; n--) {
        size_t at = (size_t)fly_rng_below(rng, size);
        switch (fly_rng_below(rng, 4)) {
        case 0:
            text[at] = pieces[fly_rng_below(rng, sizeof pieces)];
            break;
        case 1:
            memmove(text + at, text + at + 1, size - at - 1);
            size--;
            break;
        case 2:
            if (size < max) {
                memmove(text + at + 1, text + at, size - at);
                text[at] = pieces[fly_rng_below(rng, sizeof pieces)];
                size++;
            }
            break;
        default:
            text[at] ^= (char)(1 << fly_rng_below(rng, 8));
        }
    }
    return size;
}

static bool jansson_accepts(const char *text, size_t size, size_t *member_count)
{
    json_t *root = json_loadb(text, size, 0, NULL);
    bool ok = json_is_object(root);

    *member_count = ok ? json_object_size(root) : 0;
    json_decref(root);
    return ok;
}

static void test_json_against_jansson(void **state)
{
    struct fly_rng rng;
    size_t accepted = 0;

    (void)state;
    fly_rng_seed(&rng, 11);
    for (int i = 0; i < 300000; i++) {
        char text[256];
        const char *seed = json_seeds[fly_rng_below(&rng, FLY_ARRAY_COUNT(json_seeds))];
        size_t size = strlen(seed);
        struct token_json json;
        size_t expected = 0;
        memcpy(text, seed, size);
        size = json_mutate(&rng, text, size, sizeof text);
        bool ours = token_json_parse(text, size, &json);
        if (memchr(text, '\0', size) != NULL) {
            assert_false(ours); /* jansson 2.14 overlooks a NUL after a word or number */
            continue;
        }
        bool theirs = jansson_accepts(text, size, &expected);
        bool unique = !ours || json.count == expected;
        if (ours && theirs && unique) {
            accepted++;
        } else if (ours != theirs) {
            /* jansson was asked to allow a key twice: this is where the two may differ */
            json_t *strict = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
            if (ours || strict != NULL) {
                fail_msg("%.*s: ours %d, jansson %d", (int)size, text, ours, theirs);
            }
        } else if (ours) {
            fail_msg("%.*s: %zu members, jansson has %zu", (int)size, text, json.count, expected);
        }
    }
    assert_true(accepted > 10000); /* else this compares refusals only */
}

static void test_json_bounds(void **state)
{
    char text[1024] = "{\"a\":";
    struct token_json json;
    size_t size = strlen(text);

    (void)state;
    for (size_t depth = 1; depth <= TOKEN_JSON_DEPTH_MAX + 1; depth++) {
        memset(text + size, '[', depth);
        memset(text + size + depth, ']', depth);
        text[size + 2 * depth] = '}';
        assert_int_equal(token_json_parse(text, size + 2 * depth + 1, &json),
                         depth <= TOKEN_JSON_DEPTH_MAX);
    }
    size = 0;
    for (int i = 0; i <= TOKEN_JSON_MEMBERS_MAX; i++) {
        size +=
            (size_t)snprintf(text + size, sizeof text - size, "%c\"k%d\":1", i == 0 ? '{' : ',', i);
        text[size] = '}';
        assert_int_equal(token_json_parse(text, size + 1, &json), i < TOKEN_JSON_MEMBERS_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims_round_trip),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_footer),
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_cluster_record),
        cmocka_unit_test(test_node_key),
        cmocka_unit_test(test_json_against_jansson),
        cmocka_unit_test(test_json_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
