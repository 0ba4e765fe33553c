/* seen and peers: what is remembered of slices against a naive list, and the file's text form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/catalog/peers.h"
#include "node/catalog/seen.h"
#include "proto/base/rng.h"

static struct seen *make_seen(void)
{
    void *memory = calloc(1, seen_size());

    assert_non_null(memory);
    return seen_init(memory, 5);
}

static struct peers *make_peers(void)
{
    void *memory = calloc(1, peers_size());

    assert_non_null(memory);
    return peers_init(memory, 5);
}

static void expect(const struct seen *s, uint32_t tag, uint64_t incarnation, uint64_t seq,
                   bool forgotten)
{
    uint64_t has_incarnation = 0;
    uint64_t has_seq = 0;
    bool has_forgotten = false;

    assert_true(seen_find(s, tag, &has_incarnation, &has_seq, &has_forgotten));
    assert_int_equal(has_incarnation, incarnation);
    assert_int_equal(has_seq, seq);
    assert_int_equal(has_forgotten, forgotten);
}

static void test_highest(void **state)
{
    struct seen *s = make_seen();

    (void)state;
    assert_false(seen_find(s, 7, NULL, NULL, NULL));
    assert_true(seen_allows(s, 7, 1, 0));
    assert_true(seen_note(s, 7, 100, 5));
    assert_true(seen_note(s, 7, 100, 3));
    expect(s, 7, 100, 5, false);
    uint64_t version = seen_version(s);
    assert_true(seen_note(s, 7, 100, 5));
    assert_int_equal(seen_version(s), version);
    assert_false(seen_allows(s, 7, 100, 4)); /* an old copy of its folder */
    assert_true(seen_allows(s, 7, 100, 5));
    assert_true(seen_allows(s, 7, 100, 6));
    assert_true(seen_note(s, 7, 200, 1)); /* another log of the same slice */
    expect(s, 7, 200, 1, false);
    assert_false(seen_allows(s, 7, 100, 9));
    assert_true(seen_note(s, 7, 100, 9)); /* a late word of the old one */
    expect(s, 7, 200, 1, false);
    assert_int_equal(seen_at(s, 0)->logs[1].seq, 9);
    assert_true(seen_note(s, 7, 300, 2));
    expect(s, 7, 300, 2, false);
    assert_int_equal(seen_at(s, 0)->logs[1].incarnation, 200);
    assert_true(seen_accept(s, 7, 300, 1));
    expect(s, 7, 300, 1, false);
    assert_int_equal(seen_at(s, 0)->logs[1].incarnation, 200);
    assert_true(seen_accept(s, 7, 400, 8));
    assert_int_equal(seen_at(s, 0)->logs[1].incarnation, 300);
    assert_true(seen_forget(s, 7));
    assert_false(seen_allows(s, 7, 400, 90));
    expect(s, 7, 400, 8, true);
    assert_true(seen_forget(s, 9)); /* of which nothing was ever heard */
    expect(s, 9, 0, 0, true);
    free(s);
}

enum { TAGS = 40, LOGS = 4 };

static void test_naive(void **state)
{
    struct seen *s = make_seen();
    struct {
        bool there;
        uint64_t logs[LOGS + 1]; /* highest of each; 0: not kept */
        uint64_t order[2];
    } models[TAGS + 1];
    struct fly_rng rng;

    (void)state;
    memset(models, 0, sizeof models);
    fly_rng_seed(&rng, 3);
    for (int i = 0; i < 20000; i++) {
        uint32_t tag = 1 + (uint32_t)fly_rng_below(&rng, TAGS);
        uint64_t log = 1 + fly_rng_below(&rng, LOGS);
        uint64_t seq = 1 + fly_rng_below(&rng, 1000);
        assert_true(seen_note(s, tag, log, seq));
        models[tag].there = true;
        if (models[tag].order[0] != log && models[tag].order[1] != log) {
            models[tag].logs[models[tag].order[1]] = 0;
            models[tag].order[1] = models[tag].order[0];
            models[tag].order[0] = log;
        }
        if (seq > models[tag].logs[log]) {
            models[tag].logs[log] = seq;
        }
        expect(s, tag, models[tag].order[0], models[tag].logs[models[tag].order[0]], false);
    }
    assert_int_equal(seen_count(s), TAGS);
    free(s);
}

static void test_full(void **state)
{
    struct seen *s = make_seen();
    struct peers *p = make_peers();
    struct peers_address a = {.port = 1};

    (void)state;
    for (uint32_t tag = 1; tag <= SEEN_SLICES_MAX; tag++) {
        assert_true(seen_note(s, tag, UINT64_MAX, UINT64_MAX));
        assert_true(seen_note(s, tag, UINT64_MAX - 1, UINT64_MAX));
        assert_true(seen_forget(s, tag));
    }
    assert_false(seen_note(s, SEEN_SLICES_MAX + 1, 1, 1));
    assert_false(seen_forget(s, SEEN_SLICES_MAX + 1));
    assert_true(seen_note(s, 1, 1, 1));
    char name[NODE_NAME_SIZE];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (uint32_t i = 0; i < PEERS_MEMBERS_MAX; i++) {
        struct node_id id = {.bytes = {(uint8_t)i, (uint8_t)(i >> 8), 1}};
        memset(a.ip, 0xff, sizeof a.ip);
        a.port = 65535;
        assert_true(peers_note(p, &id, name, &a));
        a.port = 65534;
        assert_true(peers_note(p, &id, name, &a));
    }
    struct node_id id = {.bytes = {9, 9, 9}};
    assert_false(peers_note(p, &id, "n", &a));
    char *text = malloc(PEERS_TEXT_SIZE_MAX);
    assert_non_null(text);
    size_t size = peers_encode(p, s, text, PEERS_TEXT_SIZE_MAX);
    assert_true(size > 0); /* the largest there can be */
    assert_int_equal(peers_encode(p, s, text, size), 0);
    size = peers_encode(p, s, text, PEERS_TEXT_SIZE_MAX);
    struct seen *s2 = make_seen();
    struct peers *p2 = make_peers();
    struct fly_error error;
    assert_int_equal(peers_decode(text, size, p2, s2, &error), FLY_OK);
    assert_int_equal(peers_count(p2), PEERS_MEMBERS_MAX);
    assert_int_equal(seen_count(s2), SEEN_SLICES_MAX);
    free(text);
    free(s);
    free(s2);
    free(p);
    free(p2);
}

static void test_members(void **state)
{
    struct peers *p = make_peers();
    struct node_id ids[3] = {{.bytes = {1}}, {.bytes = {2}}, {.bytes = {3}}};
    struct peers_address a = {.ip = {[15] = 1}, .port = 7400};
    struct peers_address b = {.ip = {[15] = 2}, .port = 7400};
    struct peers_address c = {.ip = {[15] = 2}, .port = 7401};

    (void)state;
    assert_false(peers_note(p, &ids[0], "Not a name", &a));
    assert_true(peers_note(p, &ids[0], "n-0", &a));
    assert_true(peers_note(p, &ids[0], "n-0", &b));
    assert_true(peers_note(p, &ids[0], "n-0", &c));
    uint64_t version = peers_version(p);
    assert_true(peers_note(p, &ids[0], "n-0", &c));
    assert_int_equal(peers_version(p), version);
    assert_int_equal(peers_at(p, 0)->address_count, 2);
    assert_int_equal(peers_at(p, 0)->addresses[0].port, 7401);
    assert_int_equal(peers_at(p, 0)->addresses[1].port, 7400);
    assert_int_equal(peers_at(p, 0)->addresses[1].ip[15], 2);
    assert_true(peers_note(p, &ids[1], "n-1", &a));
    assert_true(peers_note(p, &ids[2], "n-2", &a));
    peers_drop(p, &ids[0]);
    peers_drop(p, &ids[0]);
    assert_int_equal(peers_count(p), 2);
    assert_true(peers_note(p, &ids[2], "n-2b", &a)); /* found after it was moved */
    assert_int_equal(peers_count(p), 2);
    peers_drop(p, &ids[2]);
    peers_drop(p, &ids[1]);
    assert_int_equal(peers_count(p), 0);
    free(p);
}

/* FNV-1a: the sum line that a text needs. */
static size_t add_sum(char *text, size_t max)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    size_t size = strlen(text);

    for (size_t i = 0; i < size; i++) {
        h = (h ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
    }
    (void)snprintf(text + size, max - size, "sum %016llx\n", (unsigned long long)h);
    return strlen(text);
}

#define ID "00112233445566778899aabbccddeeff"
#define HEAD "flylight-peers 1\n"

static void test_text(void **state)
{
    static const struct {
        const char *what;
        const char *text;
        bool good;
    } rows[] = {
        {"nothing", HEAD, true},
        {"a member", HEAD "member " ID " n-1 10.0.0.5:7400\n", true},
        {"both kinds of address", HEAD "member " ID " n-1 [fd00:0:0:0:0:0:0:5]:7400 10.0.0.5:0\n",
         true},
        {"a slice", HEAD "slice 0a1b2c 0 00000000deadbeef:17\n", true},
        {"two logs", HEAD "slice 0a1b2c 1 00000000deadbeef:17 0000000000000001:0\n", true},
        {"forgotten, never heard of", HEAD "slice 0a1b2c 1\n", true},
        {"the highest number", HEAD "slice 0a1b2c 0 ffffffffffffffff:18446744073709551615\n", true},
        {"past it", HEAD "slice 0a1b2c 0 ffffffffffffffff:18446744073709551616\n", false},
        {"another version", "flylight-peers 2\n", false},
        {"no head", "member " ID " n-1 10.0.0.5:7400\n", false},
        {"empty", "", false},
        {"an unknown line", HEAD "friend " ID " n-1 10.0.0.5:7400\n", false},
        {"an empty line", HEAD "\n", false},
        {"no newline", HEAD "slice 0a1b2c 1", false},
        {"a blank too many", HEAD "slice  0a1b2c 1\n", false},
        {"a blank at the end", HEAD "slice 0a1b2c 1 \n", false},
        {"a tab", HEAD "slice\t0a1b2c 1\n", false},
        {"a short id", HEAD "member 00112233 n-1 10.0.0.5:7400\n", false},
        {"upper case", HEAD "member 00112233445566778899AABBCCDDEEFF n-1 10.0.0.5:7400\n", false},
        {"not a name", HEAD "member " ID " N_1 10.0.0.5:7400\n", false},
        {"no address", HEAD "member " ID " n-1\n", false},
        {"three addresses", HEAD "member " ID " n-1 10.0.0.5:1 10.0.0.5:2 10.0.0.5:3\n", false},
        {"one address twice", HEAD "member " ID " n-1 10.0.0.5:1 10.0.0.5:1\n", false},
        {"one member twice", HEAD "member " ID " n-1 10.0.0.5:1\nmember " ID " n-1 10.0.0.5:2\n",
         false},
        {"no port", HEAD "member " ID " n-1 10.0.0.5\n", false},
        {"a port too high", HEAD "member " ID " n-1 10.0.0.5:65536\n", false},
        {"a leading zero", HEAD "member " ID " n-1 10.0.0.05:1\n", false},
        {"a number too high", HEAD "member " ID " n-1 10.0.0.256:1\n", false},
        {"three numbers", HEAD "member " ID " n-1 10.0.5:1\n", false},
        {"short groups", HEAD "member " ID " n-1 [fd00::5]:1\n", false},
        {"a long group", HEAD "member " ID " n-1 [fd00:0:0:0:0:0:0:00005]:1\n", false},
        {"IPv4 in groups", HEAD "member " ID " n-1 [0:0:0:0:0:ffff:a00:5]:1\n", false},
        {"tag 0", HEAD "slice 000000 1\n", false},
        {"a long tag", HEAD "slice 00a1b2c 1\n", false},
        {"one slice twice", HEAD "slice 0a1b2c 1\nslice 0a1b2c 0\n", false},
        {"forgotten maybe", HEAD "slice 0a1b2c 2\n", false},
        {"one log twice", HEAD "slice 0a1b2c 0 00000000deadbeef:17 00000000deadbeef:9\n", false},
        {"no log", HEAD "slice 0a1b2c 0 0000000000000000:17\n", false},
        {"a short log", HEAD "slice 0a1b2c 0 deadbeef:17\n", false},
        {"no number", HEAD "slice 0a1b2c 0 00000000deadbeef:\n", false},
        {"three logs",
         HEAD "slice 0a1b2c 0 0000000000000001:1 0000000000000002:1 0000000000000003:1\n", false},
    };
    struct fly_error error;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct peers *p = make_peers();
        struct seen *s = make_seen();
        char text[1024];
        char back[1024];
        (void)snprintf(text, sizeof text, "%s", rows[i].text);
        size_t size = add_sum(text, sizeof text);
        enum fly_status status = peers_decode(text, size, p, s, &error);
        if ((status == FLY_OK) != rows[i].good) {
            fail_msg("%s: %s", rows[i].what, status == FLY_OK ? "taken" : error.text);
        }
        if (status == FLY_OK) {
            assert_int_equal(peers_encode(p, s, back, sizeof back), size);
            assert_memory_equal(text, back, size);
            for (size_t k = 0; k < size; k++) { /* any damage is seen */
                char kept = text[k];
                struct peers *p2 = make_peers();
                struct seen *s2 = make_seen();
                text[k] = (char)(kept ^ 1);
                assert_int_equal(peers_decode(text, size, p2, s2, &error), FLY_INVALID_ARGUMENT);
                assert_int_equal(peers_decode(text, k, p2, s2, &error), FLY_INVALID_ARGUMENT);
                assert_int_equal(peers_count(p2) + seen_count(s2), 0);
                text[k] = kept;
                free(p2);
                free(s2);
            }
        } else {
            assert_int_equal(status, FLY_INVALID_ARGUMENT);
            assert_int_equal(peers_count(p) + seen_count(s), 0);
            assert_true(seen_note(s, 1, 1, 1)); /* empty, and of use */
        }
        free(p);
        free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_highest), cmocka_unit_test(test_naive), cmocka_unit_test(test_full),
        cmocka_unit_test(test_members), cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
