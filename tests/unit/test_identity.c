/* identity and issuer: first start, later starts, interrupted starts, damage, two processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/lib/issuer.h"
#include "node/identity.h"
#include "proto/base/check.h"

enum { PATH_SIZE = 128 };

static const int64_t now_ms = 1795262400123;

struct place {
    char parent[64];
    char dir[80];
};

static int make_folder(void **state)
{
    struct place *folder = calloc(1, sizeof *folder);

    assert_non_null(folder);
    (void)snprintf(folder->parent, sizeof folder->parent, "/tmp/test_identity.XXXXXX");
    assert_non_null(mkdtemp(folder->parent));
    (void)snprintf(folder->dir, sizeof folder->dir, "%s/state", folder->parent);
    *state = folder;
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static int remove_folder(void **state)
{
    struct place *folder = *state;
    int failed = nftw(folder->parent, remove_one, 8, FTW_DEPTH | FTW_PHYS);

    free(folder);
    return failed;
}

static const char *path_in(const struct place *folder, const char *name)
{
    static char path[PATH_SIZE];

    assert_true(snprintf(path, sizeof path, "%s/%s", folder->dir, name) < PATH_SIZE);
    return path;
}

static size_t read_all(const char *path, char out[static CLUSTER_FILE_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, out, CLUSTER_FILE_MAX) : -1;

    if (fd >= 0) {
        (void)close(fd);
    }
    return size > 0 ? (size_t)size : 0;
}

static void write_all(const char *path, const char *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    (void)close(fd);
}

static unsigned mode_of(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 ? info.st_mode & 07777 : 0;
}

static void create(const struct place *folder)
{
    struct identity identity;

    assert_int_equal(identity_open(folder->dir, now_ms, &identity, NULL), FLY_OK);
    identity_close(&identity);
}

static void test_first_and_later_start(void **state)
{
    const struct place *folder = *state;
    static const char *const names[] = {"lock", "node.key", "issuer.key", "cluster.json"};
    struct identity first;
    struct identity second;
    mode_t before = umask(0277); /* modes must not depend on it */

    assert_int_equal(identity_open(folder->dir, now_ms, &first, NULL), FLY_OK);
    (void)umask(before);
    assert_true(first.created && first.has_issuer);
    assert_int_equal(first.record.created_ms, now_ms);
    assert_true(first.record.root_tag >= 1 && first.record.root_tag <= 0xffffff);
    assert_int_equal(mode_of(folder->dir), 0700);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(names); i++) {
        assert_int_equal(mode_of(path_in(folder, names[i])), 0600);
    }
    struct cluster_record record = first.record;
    struct node_seed node = first.node;
    identity_close(&first);

    assert_int_equal(identity_open(folder->dir, now_ms + 5000, &second, NULL), FLY_OK);
    assert_false(second.created);
    assert_true(second.has_issuer);
    assert_string_equal(second.record.id, record.id);
    assert_memory_equal(&second.record.issuer, &record.issuer, sizeof record.issuer);
    assert_int_equal(second.record.root_tag, record.root_tag);
    assert_int_equal(second.record.created_ms, now_ms);
    assert_memory_equal(&second.node, &node, sizeof node);
    identity_close(&second);
}

static void test_two_folders_differ(void **state)
{
    struct place *folder = *state;
    struct identity first;
    struct identity second;
    char other[96];

    (void)snprintf(other, sizeof other, "%s2", folder->dir);
    assert_int_equal(identity_open(folder->dir, now_ms, &first, NULL), FLY_OK);
    assert_int_equal(identity_open(other, now_ms, &second, NULL), FLY_OK);
    assert_string_not_equal(first.record.id, second.record.id);
    assert_memory_not_equal(&first.record.issuer, &second.record.issuer, 32);
    assert_memory_not_equal(&first.node, &second.node, sizeof first.node);
    identity_close(&first);
    identity_close(&second);
}

/* Locks of one process on two descriptors exclude each other too (OFD), so no fork is needed for
 * the refusal; the second half shows that a killed holder leaves nothing behind. */
static void test_lock(void **state)
{
    const struct place *folder = *state;
    struct identity identity;
    struct identity other;
    struct fly_error error;
    char expected[PATH_SIZE];
    int fd = -1;
    int pipe_fds[2];
    char byte = 0;

    assert_int_equal(identity_lock(folder->dir, &fd, &error), FLY_NOT_FOUND);
    assert_int_equal(identity_open(folder->dir, now_ms, &identity, NULL), FLY_OK);
    assert_int_equal(identity_open(folder->dir, now_ms, &other, &error), FLY_FAILED_PRECONDITION);
    (void)snprintf(expected, sizeof expected, "%s: in use by process %d", folder->dir,
                   (int)getpid());
    assert_string_equal(error.text, expected);
    assert_int_equal(identity_lock(folder->dir, &fd, &error), FLY_FAILED_PRECONDITION);
    identity_close(&identity);
    assert_int_equal(identity_lock(folder->dir, &fd, &error), FLY_OK);
    identity_unlock(fd);

    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0) {
        if (identity_lock(folder->dir, &fd, &error) == FLY_OK) {
            (void)!write(pipe_fds[1], "x", 1);
        }
        (void)pause();
        _exit(0);
    }
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    assert_int_equal(identity_open(folder->dir, now_ms, &other, &error), FLY_FAILED_PRECONDITION);
    (void)snprintf(expected, sizeof expected, "%s: in use by process %d", folder->dir, (int)child);
    assert_string_equal(error.text, expected);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(identity_open(folder->dir, now_ms, &other, &error), FLY_OK);
    identity_close(&other);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
}

static void test_interrupted_first_start(void **state)
{
    const struct place *folder = *state;
    char node_before[CLUSTER_FILE_MAX] = {0};
    char issuer_before[CLUSTER_FILE_MAX] = {0};
    char text[CLUSTER_FILE_MAX] = {0};
    struct identity identity;

    create(folder);
    size_t node_size = read_all(path_in(folder, "node.key"), node_before);
    size_t issuer_size = read_all(path_in(folder, "issuer.key"), issuer_before);
    /* stopped before the record, with one half-written beside */
    assert_int_equal(unlink(path_in(folder, "cluster.json")), 0);
    write_all(path_in(folder, "cluster.json.tmp"), "{\"for", 5);
    assert_int_equal(identity_open(folder->dir, now_ms, &identity, NULL), FLY_OK);
    assert_true(identity.created);
    identity_close(&identity);
    assert_int_equal(read_all(path_in(folder, "node.key"), text), node_size);
    assert_memory_equal(text, node_before, node_size);
    assert_int_equal(read_all(path_in(folder, "issuer.key"), text), issuer_size);
    assert_memory_equal(text, issuer_before, issuer_size);
    assert_int_equal(mode_of(path_in(folder, "cluster.json.tmp")), 0);
    assert_int_equal(identity_open(folder->dir, now_ms, &identity, NULL), FLY_OK);
    assert_false(identity.created);
    identity_close(&identity);

    /* the same with slices: that was no first start */
    assert_int_equal(unlink(path_in(folder, "cluster.json")), 0);
    assert_int_equal(mkdir(path_in(folder, "slices"), 0700), 0);
    assert_int_equal(identity_open(folder->dir, now_ms, &identity, NULL), FLY_DATA_LOSS);
    assert_int_equal(mode_of(path_in(folder, "cluster.json")), 0);
}

static void test_without_issuer_key(void **state)
{
    const struct place *folder = *state;
    struct identity identity;
    struct issuer issuer;
    struct fly_error error;

    create(folder);
    assert_int_equal(unlink(path_in(folder, "issuer.key")), 0);
    assert_int_equal(identity_open(folder->dir, now_ms, &identity, NULL), FLY_OK);
    assert_false(identity.has_issuer);
    assert_false(identity.created);
    identity_close(&identity);
    assert_int_equal(issuer_open(folder->dir, &issuer, &error), FLY_NOT_FOUND);
    assert_non_null(strstr(error.text, "issuer.key"));
}

/* Every refusal leaves the files as they were. */
static void test_refusals(void **state)
{
    static const struct {
        const char *what;
        const char *name; /* of the file that is changed */
        const char *text; /* new content; NULL: removed */
        unsigned mode;    /* 0: 0600 */
        enum fly_status status;
        const char *reason;
    } rows[] = {
        {"empty record", "cluster.json", "", 0, FLY_DATA_LOSS, "cluster.json: not a JSON object"},
        {"garbage record", "cluster.json", "hello", 0, FLY_DATA_LOSS, "not a JSON object"},
        {"other JSON", "cluster.json", "{}", 0, FLY_DATA_LOSS, "\"format\" is not"},
        {"newer record", "cluster.json", "{\"format\":\"flylight-cluster-2\"}", 0,
         FLY_UNIMPLEMENTED, "flylight-cluster-2"},
        {"record without members", "cluster.json", "{\"format\":\"flylight-cluster-1\"}", 0,
         FLY_DATA_LOSS, "\"cluster\" is not"},
        {"garbage node key", "node.key", "flynode-ed25519-1.AAAA\n", 0, FLY_DATA_LOSS,
         "node.key: not one line"},
        {"no node key", "node.key", NULL, 0, FLY_DATA_LOSS, "node.key: missing"},
        {"garbage issuer key", "issuer.key", "k4.secret.AAAA\n", 0, FLY_DATA_LOSS,
         "issuer.key: not one line"},
        {"another's issuer key", "issuer.key",
         "k4.secret."
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA7aie8zrakLWKjqNAqbw1zZTIVdx3iQ6Y6wEih"
         "i1naKQ\n",
         0, FLY_DATA_LOSS, "not the issuer that cluster.json names"},
        {"readable key", "issuer.key", "k4.secret.AAAA\n", 0640, FLY_FAILED_PRECONDITION,
         "chmod 600"},
        {"writable record", "cluster.json", "{}", 0602, FLY_FAILED_PRECONDITION, "mode 602"},
    };
    const struct place *folder = *state;
    char saved[CLUSTER_FILE_MAX];
    char after[CLUSTER_FILE_MAX];

    create(folder);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct identity identity;
        struct fly_error error = {0};
        const char *path = path_in(folder, rows[i].name);
        size_t saved_size = read_all(path, saved);
        if (rows[i].text != NULL) {
            write_all(path, rows[i].text, strlen(rows[i].text));
            assert_int_equal(chmod(path, rows[i].mode != 0 ? rows[i].mode : 0600), 0);
        } else {
            assert_int_equal(unlink(path), 0);
        }
        enum fly_status status = identity_open(folder->dir, now_ms, &identity, &error);
        if (status != rows[i].status || error.status != status ||
            strstr(error.text, rows[i].reason) == NULL) {
            fail_msg("%s: %s: %s", rows[i].what, fly_status_name(status), error.text);
        }
        assert_int_equal(identity_open(folder->dir, now_ms, &identity, NULL), rows[i].status);
        size_t after_size = read_all(path, after);
        assert_int_equal(after_size, rows[i].text != NULL ? strlen(rows[i].text) : 0);
        assert_memory_equal(after, rows[i].text != NULL ? rows[i].text : "", after_size);
        write_all(path, saved, saved_size);
        assert_int_equal(chmod(path, 0600), 0);
    }
    struct identity identity;
    assert_int_equal(identity_open(folder->dir, now_ms, &identity, NULL), FLY_OK);
    identity_close(&identity);
}

static void test_wrong_folder(void **state)
{
    const struct place *folder = *state;
    struct identity identity;
    struct fly_error error;
    char text[CLUSTER_FILE_MAX];

    assert_int_equal(mkdir(folder->dir, 0755), 0);
    assert_int_equal(chmod(folder->dir, 0755), 0);
    assert_int_equal(identity_open(folder->dir, now_ms, &identity, &error),
                     FLY_FAILED_PRECONDITION);
    assert_non_null(strstr(error.text, "chmod 700"));
    assert_int_equal(mode_of(path_in(folder, "lock")), 0);
    assert_int_equal(rmdir(folder->dir), 0);
    assert_int_equal(symlink("/nonexistent/x", folder->dir), 0);
    assert_int_not_equal(identity_open(folder->dir, now_ms, &identity, &error), FLY_OK);
    assert_int_equal(unlink(folder->dir), 0);
    write_all(folder->dir, "file", 4);
    assert_int_not_equal(identity_open(folder->dir, now_ms, &identity, &error), FLY_OK);
    assert_int_equal(read_all(folder->dir, text), 4);
    assert_int_not_equal(identity_open("/nonexistent/a/b", now_ms, &identity, &error), FLY_OK);
    assert_int_equal(identity.folder.lock_fd, -1);
}

/* A link is not followed: someone else's file is neither read nor replaced. */
static void test_linked_key(void **state)
{
    const struct place *folder = *state;
    struct identity identity;
    char target[PATH_SIZE];

    create(folder);
    (void)snprintf(target, sizeof target, "%s/elsewhere", folder->parent);
    assert_int_equal(rename(path_in(folder, "node.key"), target), 0);
    assert_int_equal(symlink(target, path_in(folder, "node.key")), 0);
    assert_int_not_equal(identity_open(folder->dir, now_ms, &identity, NULL), FLY_OK);
}

static void test_issue_a_token(void **state)
{
    const struct place *folder = *state;
    struct identity identity;
    struct issuer issuer;
    struct token_claims claims;
    struct token_claims made;
    struct token token;
    struct token_key_id kid;
    char text[TOKEN_TEXT_MAX + 1];
    char second[TOKEN_TEXT_MAX + 1];

    assert_int_equal(identity_open(folder->dir, now_ms, &identity, NULL), FLY_OK);
    /* while a node runs on the folder */
    assert_int_equal(issuer_open(folder->dir, &issuer, NULL), FLY_OK);
    assert_int_equal(issuer_token(&issuer, "ada", TOKEN_SCOPE_LAUNCH | TOKEN_SCOPE_READ, 3600000,
                                  now_ms, text, &made, NULL),
                     FLY_OK);
    const struct fly_bytes implicit = {(const uint8_t *)identity.record.id, 32};
    assert_int_equal(
        token_verify(&identity.record.issuer, text, strlen(text), implicit, &token, NULL), FLY_OK);
    assert_int_equal(token_claims_decode(token.payload, token.payload_size, &claims, NULL), FLY_OK);
    assert_string_equal(claims.subject, "ada");
    assert_string_equal(claims.id, made.id);
    assert_int_equal(claims.scopes, TOKEN_SCOPE_LAUNCH | TOKEN_SCOPE_READ);
    assert_int_equal(claims.issued_ms, now_ms);
    assert_int_equal(claims.expires_ms, now_ms + 3600000);
    assert_true(token_footer_decode(token.footer, token.footer_size, &kid));
    assert_string_equal(kid.text, token_key_id_of(&identity.record.issuer).text);

    assert_int_equal(
        issuer_token(&issuer, "ada", TOKEN_SCOPE_READ, 1000, now_ms, second, NULL, NULL), FLY_OK);
    assert_string_not_equal(text, second);
    static const struct {
        const char *subject;
        uint32_t scopes;
        int64_t ttl_ms;
    } refused[] = {
        {"", TOKEN_SCOPE_READ, 1000},
        {"Ada", TOKEN_SCOPE_READ, 1000},
        {"ada", 0, 1000},
        {"ada", 1 << 6, 1000},
        {"ada", TOKEN_SCOPE_READ, 999},
        {"ada", TOKEN_SCOPE_READ, ISSUER_TTL_MAX_MS + 1},
        {"ada", TOKEN_SCOPE_READ, -1},
        {"ada", TOKEN_SCOPE_READ, INT64_MAX},
    };
    for (size_t i = 0; i < FLY_ARRAY_COUNT(refused); i++) {
        assert_int_equal(issuer_token(&issuer, refused[i].subject, refused[i].scopes,
                                      refused[i].ttl_ms, now_ms, text, NULL, NULL),
                         FLY_INVALID_ARGUMENT);
    }
    issuer_close(&issuer);
    assert_int_equal(issuer.key.bytes[0] | issuer.key.bytes[31] | issuer.key.bytes[63], 0);
    identity_close(&identity);
}

static void test_issuer_refusals(void **state)
{
    const struct place *folder = *state;
    struct issuer issuer;
    struct fly_error error;

    assert_int_equal(issuer_open(folder->dir, &issuer, &error), FLY_NOT_FOUND);
    create(folder);
    assert_int_equal(chmod(path_in(folder, "issuer.key"), 0644), 0);
    assert_int_equal(issuer_open(folder->dir, &issuer, &error), FLY_FAILED_PRECONDITION);
    assert_non_null(strstr(error.text, "chmod 600"));
    write_all(path_in(folder, "issuer.key"), "k4.secret.nonsense\n", 19);
    assert_int_equal(chmod(path_in(folder, "issuer.key"), 0600), 0);
    assert_int_equal(issuer_open(folder->dir, &issuer, &error), FLY_INVALID_ARGUMENT);
    assert_null(strstr(error.text, "nonsense")); /* a key is never quoted */
    write_all(path_in(folder, "cluster.json"), "{", 1);
    assert_int_equal(issuer_open(folder->dir, &issuer, &error), FLY_INVALID_ARGUMENT);
    assert_non_null(strstr(error.text, "cluster.json"));
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_first_and_later_start),
        WITH_FOLDER(test_two_folders_differ),
        WITH_FOLDER(test_lock),
        WITH_FOLDER(test_interrupted_first_start),
        WITH_FOLDER(test_without_issuer_key),
        WITH_FOLDER(test_refusals),
        WITH_FOLDER(test_wrong_folder),
        WITH_FOLDER(test_linked_key),
        WITH_FOLDER(test_issue_a_token),
        WITH_FOLDER(test_issuer_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
