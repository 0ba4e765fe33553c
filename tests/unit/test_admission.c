/* admission: every reason to be refused, uses counted durably, tags allotted once. */
#include "tests/unit/state_folder.h"

#include <fcntl.h>
#include <string.h>

#include "node/admission.h"
#include "proto/base/check.h"

static const int64_t now_ms = 1795262400123;
static const int64_t hour_ms = 3600000;

static bool nobody_has(void *user, uint32_t tag)
{
    (void)user;
    (void)tag;
    return false;
}

static const struct admission_tags tags = {.known = nobody_has};

struct world {
    struct folder folder;
    struct admission_book *book;
};

static void open_world(const struct place *place, struct world *w)
{
    struct fly_error error = {.text = ""};

    if (folder_make(place->dir, &w->folder, &error) != FLY_OK ||
        admission_book_open(&w->folder, &w->book, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
}

static void close_world(struct world *w)
{
    admission_book_close(w->book);
    folder_close(&w->folder);
}

static struct admission_request request_of(const struct join_token *token, uint8_t node)
{
    struct admission_request request = {.roles = NODE_ROLE_PEER, .node = {{node}}};

    memcpy(request.id, token->id, sizeof request.id);
    memcpy(request.secret, token->secret, sizeof request.secret);
    return request;
}

static struct join_token make(struct world *w, uint32_t uses)
{
    struct join_token token = {.roles = 0};

    assert_int_equal(admission_book_make(w->book, NODE_ROLE_PEER | NODE_ROLE_EDGE, hour_ms, uses,
                                         now_ms, &token, NULL),
                     FLY_OK);
    return token;
}

enum change {
    NOTHING,
    UNKNOWN,
    WRONG_SECRET,
    EXPIRED,
    ENDS_NOW,
    USED_UP,
    REVOKED,
    MORE_ROLES,
    OTHER_ROLE,
    ALL_GIVEN,
};

static void test_reasons(void **state)
{
    static const struct {
        const char *what;
        enum change change;
        enum admission_outcome outcome;
        const char *reason;
    } rows[] = {
        {"a good token", NOTHING, ADMISSION_OK, ""},
        {"no such token", UNKNOWN, ADMISSION_UNKNOWN, "no such join token"},
        {"another's secret", WRONG_SECRET, ADMISSION_WRONG_SECRET, "secret is wrong"},
        {"expired", EXPIRED, ADMISSION_EXPIRED, "expired"},
        {"its last millisecond is over", ENDS_NOW, ADMISSION_EXPIRED, "expired"},
        {"used up", USED_UP, ADMISSION_USED_UP, "used up"},
        {"revoked", REVOKED, ADMISSION_REVOKED, "revoked"},
        {"more roles than it gives", MORE_ROLES, ADMISSION_ROLE, "only these roles: peer,edge"},
        {"a role that it does not give", OTHER_ROLE, ADMISSION_ROLE, "only these roles"},
        {"all the roles that it gives", ALL_GIVEN, ADMISSION_OK, ""},
    };

    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct world w;
        struct fly_error error = {.text = ""};
        uint32_t tag = 0;
        int64_t at_ms = now_ms;
        char id[JOIN_TOKEN_ID_TEXT_SIZE];

        open_world(*state, &w);
        struct join_token token = make(&w, 1);
        struct join_token other = make(&w, 1);
        struct admission_request request = request_of(&token, 7);
        join_token_id_format(token.id, id);
        switch (rows[i].change) {
        case NOTHING:
            break;
        case UNKNOWN:
            request.id[0] ^= 1;
            break;
        case WRONG_SECRET:
            memcpy(request.secret, other.secret, sizeof request.secret);
            break;
        case EXPIRED:
            at_ms = now_ms + 2 * hour_ms;
            break;
        case ENDS_NOW:
            at_ms = token.expires_ms;
            break;
        case USED_UP: {
            struct admission_request before = request_of(&token, 8);
            assert_int_equal(admission_book_admit(w.book, &before, &tags, now_ms, &tag, NULL),
                             ADMISSION_OK);
            tag = 0;
            break;
        }
        case REVOKED:
            assert_int_equal(admission_book_revoke(w.book, id, now_ms, NULL), FLY_OK);
            break;
        case MORE_ROLES:
            request.roles = NODE_ROLE_PEER | NODE_ROLE_DASH;
            break;
        case OTHER_ROLE:
            request.roles = NODE_ROLE_ADMIT;
            break;
        case ALL_GIVEN:
            request.roles = NODE_ROLE_PEER | NODE_ROLE_EDGE;
            break;
        }
        enum admission_outcome outcome =
            admission_book_admit(w.book, &request, &tags, at_ms, &tag, &error);
        bool ok = outcome == rows[i].outcome && strstr(error.text, rows[i].reason) != NULL &&
                  (outcome == ADMISSION_OK) == (tag != 0) &&
                  (outcome == ADMISSION_OK || error.status == FLY_PERMISSION_DENIED);
        if (!ok) {
            fail_msg("%s: %d: %s", rows[i].what, (int)outcome, error.text);
        }
        close_world(&w);
    }
}

/* A use is on the disk before anybody hears of it, and a node takes only one. */
static void test_uses(void **state)
{
    struct world w;
    uint32_t first = 0;
    uint32_t again = 0;
    uint32_t second = 0;

    open_world(*state, &w);
    struct join_token token = make(&w, 2);
    struct admission_request ann = request_of(&token, 1);
    struct admission_request bob = request_of(&token, 2);
    struct admission_request eve = request_of(&token, 3);
    assert_int_equal(admission_book_admit(w.book, &ann, &tags, now_ms, &first, NULL), ADMISSION_OK);
    close_world(&w); /* a kill leaves no less */
    open_world(*state, &w);
    assert_int_equal(admission_book_count(w.book), 1);
    assert_int_equal(admission_book_at(w.book, 0)->bearer_count, 1);
    assert_int_equal(admission_book_admit(w.book, &ann, &tags, now_ms, &again, NULL), ADMISSION_OK);
    assert_int_equal(again, first);
    assert_int_equal(admission_book_admit(w.book, &bob, &tags, now_ms, &second, NULL),
                     ADMISSION_OK);
    assert_int_not_equal(second, first);
    assert_int_equal(admission_book_admit(w.book, &eve, &tags, now_ms, &again, NULL),
                     ADMISSION_USED_UP);
    /* who is in may still ask for its answer, until the token ends */
    assert_int_equal(admission_book_admit(w.book, &bob, &tags, now_ms, &again, NULL), ADMISSION_OK);
    assert_int_equal(again, second);
    assert_int_equal(admission_book_admit(w.book, &bob, &tags, token.expires_ms, &again, NULL),
                     ADMISSION_EXPIRED);
    close_world(&w);
}

static bool all_but_one(void *user, uint32_t tag)
{
    uint32_t *asked = user;

    if (*asked == 0 || tag == *asked) {
        *asked = tag;
        return true; /* the first one that chance brings is taken */
    }
    return false;
}

static bool everybody_has(void *user, uint32_t tag)
{
    *(unsigned *)user += tag > 0 && tag <= 0xffffff;
    return true;
}

static void test_tags(void **state)
{
    struct world w;
    uint32_t asked = 0;
    uint32_t tag = 0;
    unsigned tries = 0;
    struct fly_error error;
    const struct admission_tags picky = {.known = all_but_one, .user = &asked};
    const struct admission_tags full = {.known = everybody_has, .user = &tries};

    open_world(*state, &w);
    struct join_token token = make(&w, 3);
    struct admission_request ann = request_of(&token, 1);
    struct admission_request bob = request_of(&token, 2);
    assert_int_equal(admission_book_admit(w.book, &ann, &picky, now_ms, &tag, NULL), ADMISSION_OK);
    assert_int_not_equal(tag, asked);
    assert_true(tag >= 1 && tag <= 0xffffff);
    assert_int_equal(admission_book_admit(w.book, &bob, &full, now_ms, &tag, &error),
                     ADMISSION_FAILED);
    assert_int_equal(error.status, FLY_INTERNAL);
    assert_int_equal(tries, 64);
    assert_int_equal(admission_book_at(w.book, 0)->bearer_count, 1);
    close_world(&w);
}

/* What cannot be written down did not happen. */
static void test_disk_refuses(void **state)
{
    struct world w;
    struct fly_error error;
    uint32_t tag = 0;
    struct join_token lost;
    char id[JOIN_TOKEN_ID_TEXT_SIZE];

    open_world(*state, &w);
    struct join_token token = make(&w, 1);
    struct admission_request ann = request_of(&token, 1);
    struct admission_request bob = request_of(&token, 2);
    join_token_id_format(token.id, id);
    int fd = w.folder.fd;
    w.folder.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(admission_book_admit(w.book, &ann, &tags, now_ms, &tag, &error),
                     ADMISSION_FAILED);
    assert_int_equal(error.status, FLY_INTERNAL);
    assert_int_equal(tag, 0);
    assert_int_equal(admission_book_make(w.book, NODE_ROLE_PEER, hour_ms, 1, now_ms, &lost, &error),
                     FLY_INTERNAL);
    assert_int_equal(admission_book_revoke(w.book, id, now_ms, &error), FLY_INTERNAL);
    (void)close(w.folder.fd);
    w.folder.fd = fd;
    assert_int_equal(admission_book_count(w.book), 1);
    assert_int_equal(admission_book_admit(w.book, &bob, &tags, now_ms, &tag, NULL), ADMISSION_OK);
    close_world(&w);
}

static void test_revoke(void **state)
{
    static const char *const bad[] = {"", "xyz", "0123456789abcdef0", "ABCD"};
    struct world w;
    struct fly_error error;
    char id[JOIN_TOKEN_ID_TEXT_SIZE];
    bool together = false;

    open_world(*state, &w);
    for (int i = 0; i < 17; i++) { /* two of them begin with one digit */
        (void)make(&w, 1);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(bad); i++) {
        assert_int_equal(admission_book_revoke(w.book, bad[i], now_ms, NULL), FLY_INVALID_ARGUMENT);
    }
    for (char digit[2] = "0"; digit[0] != '\0';) {
        enum fly_status status = admission_book_revoke(w.book, digit, now_ms, &error);
        together = together || status == FLY_INVALID_ARGUMENT;
        digit[0] = digit[0] == '9' ? 'a' : digit[0] == 'f' ? '\0' : (char)(digit[0] + 1);
    }
    assert_true(together);
    join_token_id_format(admission_book_at(w.book, 3)->id, id);
    assert_int_equal(admission_book_revoke(w.book, id, now_ms, NULL), FLY_OK);
    assert_int_equal(admission_book_revoke(w.book, id, now_ms, NULL), FLY_OK);
    close_world(&w);
    open_world(*state, &w);
    assert_true(admission_book_at(w.book, 3)->revoked);
    memcpy(id, id[0] == '0' ? "1111111111111111" : "0000000000000000", 16);
    assert_int_equal(admission_book_revoke(w.book, id, now_ms, NULL), FLY_NOT_FOUND);
    close_world(&w);
}

static void test_bounds(void **state)
{
    static const struct {
        const char *what;
        uint32_t roles;
        int64_t life_ms;
        uint32_t uses;
    } rows[] = {
        {"no roles", 0, 1000, 1},
        {"an unknown role", NODE_ROLE_ALL + 1, 1000, 1},
        {"no use", NODE_ROLE_PEER, 1000, 0},
        {"too many uses", NODE_ROLE_PEER, 1000, ADMISSION_USES_MAX + 1},
        {"too short", NODE_ROLE_PEER, 999, 1},
        {"too long", NODE_ROLE_PEER, ADMISSION_LIFE_MAX_MS + 1, 1},
        {"negative", NODE_ROLE_PEER, -1, 1},
    };
    struct world w;
    struct join_token token;

    open_world(*state, &w);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        if (admission_book_make(w.book, rows[i].roles, rows[i].life_ms, rows[i].uses, now_ms,
                                &token, NULL) != FLY_INVALID_ARGUMENT) {
            fail_msg("%s", rows[i].what);
        }
    }
    close_world(&w);
}

/* A full book refuses; a day after they expired its tokens make room. */
static void test_full(void **state)
{
    struct world w;
    struct join_token token;

    open_world(*state, &w);
    struct join_token first = make(&w, 1);
    /* the rest on the disk at once: a thousand syncs would take a while */
    static char text[512 * ADMISSION_TOKENS_MAX];
    size_t used =
        (size_t)snprintf(text, sizeof text, "{\"format\":\"flylight-join-tokens-1\",\"tokens\":[");
    for (int i = 0; i < ADMISSION_TOKENS_MAX; i++) {
        used += (size_t)snprintf(
            text + used, sizeof text - used,
            "%s{\"id\":\"%016x\",\"secret_hash\":\"%064x\",\"roles\":\"peer\",\"created_at_ms\":1,"
            "\"expires_at_ms\":%lld,\"uses\":1,\"revoked\":false,\"bearers\":[]}",
            i > 0 ? "," : "", (unsigned)i, (unsigned)i, (long long)first.expires_ms);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "]}");
    assert_int_equal(folder_write(&w.folder, ADMISSION_FILE, text, used, NULL), FLY_OK);
    close_world(&w);
    open_world(*state, &w);
    assert_int_equal(admission_book_count(w.book), ADMISSION_TOKENS_MAX);
    assert_int_equal(admission_book_make(w.book, NODE_ROLE_PEER, hour_ms, 1, now_ms, &token, NULL),
                     FLY_RESOURCE_EXHAUSTED);
    int64_t later_ms = first.expires_ms + 86400000;
    assert_int_equal(
        admission_book_make(w.book, NODE_ROLE_PEER, hour_ms, 1, later_ms - 1, &token, NULL),
        FLY_RESOURCE_EXHAUSTED);
    assert_int_equal(
        admission_book_make(w.book, NODE_ROLE_PEER, hour_ms, 1, later_ms, &token, NULL), FLY_OK);
    assert_int_equal(admission_book_count(w.book), 1);
    close_world(&w);
}

static void test_damage(void **state)
{
    static const struct {
        const char *what;
        const char *text;
        enum fly_status status;
    } rows[] = {
        {"empty", "", FLY_DATA_LOSS},
        {"cut", "{\"format\":\"flylight-join-tok", FLY_DATA_LOSS},
        {"another file", "{\"format\":\"flylight-node-1\"}", FLY_DATA_LOSS},
        {"newer", "{\"format\":\"flylight-join-tokens-2\"}", FLY_UNIMPLEMENTED},
        {"no tokens", "{\"format\":\"flylight-join-tokens-1\"}", FLY_DATA_LOSS},
        {"a token of nothing", "{\"format\":\"flylight-join-tokens-1\",\"tokens\":[{}]}",
         FLY_DATA_LOSS},
        {"more bearers than uses",
         "{\"format\":\"flylight-join-tokens-1\",\"tokens\":[{\"id\":\"0000000000000001\","
         "\"secret_hash\":\"0000000000000000000000000000000000000000000000000000000000000000\","
         "\"roles\":\"peer\",\"created_at_ms\":1,\"expires_at_ms\":2,\"uses\":1,\"revoked\":false,"
         "\"bearers\":[\"00000000000000000000000000000001:000001\","
         "\"00000000000000000000000000000002:000002\"]}]}",
         FLY_DATA_LOSS},
    };

    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct world w;
        struct admission_book *book = NULL;
        struct fly_error error = {.text = ""};
        open_world(*state, &w);
        assert_int_equal(
            folder_write(&w.folder, ADMISSION_FILE, rows[i].text, strlen(rows[i].text), NULL),
            FLY_OK);
        enum fly_status status = admission_book_open(&w.folder, &book, &error);
        if (status != rows[i].status || strstr(error.text, ADMISSION_FILE) == NULL) {
            fail_msg("%s: %s: %s", rows[i].what, fly_status_name(status), error.text);
        }
        assert_int_equal(folder_remove(&w.folder, ADMISSION_FILE, NULL), FLY_OK);
        close_world(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_reasons), WITH_PLACE(test_uses),   WITH_PLACE(test_tags),
        WITH_PLACE(test_revoke),  WITH_PLACE(test_bounds), WITH_PLACE(test_disk_refuses),
        WITH_PLACE(test_full),    WITH_PLACE(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
