/* identity and issuer: first start, later starts, interrupted starts, damage, two processes. */
#include "tests/unit/state_folder.h"

#include <string.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "client/lib/issuer.h"
#include "node/identity.h"
#include "proto/base/check.h"

enum { PATH_SIZE = 128 };

static const int64_t now_ms = 1795262400123;

/* In the order in which founding writes them: the record is last. */
static const char *const founded[] = {
    "node.key",   "tls.key",    "admission.key", "tls-issuer.key", "issuer.key",
    "ca.key",     "tls-ca.key", "tls-ca.pem",    "admission",      "tls-issuer.crt",
    "gossip.key", "node.json",  "tls.crt",       "credential",     "cluster.json",
};

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
    struct identity first;
    struct identity second;
    mode_t before = umask(0277); /* modes must not depend on it */

    assert_int_equal(identity_open(folder->dir, now_ms, &first, NULL), FLY_OK);
    (void)umask(before);
    assert_true(first.created && first.has_issuer);
    assert_int_equal(first.record.created_ms, now_ms);
    assert_true(first.record.root_tag >= 1 && first.record.root_tag <= 0xffffff);
    assert_int_equal(mode_of(folder->dir), 0700);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(founded); i++) {
        assert_int_equal(mode_of(path_in(folder, founded[i])), 0600);
    }
    assert_int_equal(mode_of(path_in(folder, "lock")), 0600);
    assert_int_equal(mode_of(path_in(folder, "generation")), 0600);
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

/* --- clusters of several nodes --- */

static struct identity id; /* 20 KB: not the stack's */
static struct identity before;

static void open_ok(const struct place *place, int64_t at_ms)
{
    struct fly_error error = {.text = ""};

    if (identity_open_made(place->dir, at_ms, &id, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
}

static void found(const struct place *place, const char *name)
{
    const struct node_settings settings = {
        .name = "rack-7", .region = "SIN", .seed_count = 1, .seeds = {"10.0.0.5:7400"}};
    struct fly_error error = {.text = ""};
    char dir[112];

    (void)snprintf(dir, sizeof dir, "%s/%s", place->parent, name);
    if (identity_found(dir, &settings, now_ms, &id, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    before = id;
    identity_close(&id);
}

static void test_founded(void **state)
{
    const struct place *place = *state;
    struct fly_error error;
    uint8_t hash[X509_HASH_SIZE];
    struct x509_spki spki;

    found(place, "state");
    open_ok(place, now_ms);
    assert_string_equal(id.credential.name, "rack-7");
    assert_string_equal(id.settings.region, "SIN");
    assert_string_equal(id.settings.seeds[0], "10.0.0.5:7400");
    assert_int_equal(id.credential.roles, NODE_ROLE_ALL);
    assert_int_equal(id.credential.slice_tag, id.record.root_tag);
    assert_true(id.has_issuer && id.has_admission && id.has_ca && id.record.has_ca);
    assert_false(id.created);
    assert_int_equal(credential_verify(&id.credential, id.record.ca, id.record.id, now_ms, NULL),
                     FLY_OK);
    assert_memory_equal(&id.credential, &before.credential, sizeof id.credential);
    assert_memory_equal(&id.group, &before.group, sizeof id.group);
    assert_memory_equal(&id.admission, &before.admission, sizeof id.admission);
    assert_int_equal(x509_key_spki(id.tls.key, &spki, NULL), FLY_OK);
    x509_spki_hash(&spki, hash);
    assert_memory_equal(hash, id.credential.tls_hash, sizeof hash);
    assert_int_equal(identity_found(place->dir, &id.settings, now_ms, &before, &error),
                     FLY_FAILED_PRECONDITION); /* in use */
    identity_close(&id);
    assert_int_equal(
        identity_found(place->dir, &(struct node_settings){.name = "x"}, now_ms, &id, &error),
        FLY_ALREADY_EXISTS);
    open_ok(place, now_ms);
    assert_string_equal(id.credential.name, "rack-7");
    identity_close(&id);
}

/* Whatever was written last: it does not run, and founding it again takes the keys and ends well.
 */
static void test_interrupted_founding(void **state)
{
    const struct place *place = *state;
    struct fly_error error;
    char key[CLUSTER_FILE_MAX] = {0};
    char same[CLUSTER_FILE_MAX] = {0};

    for (size_t left = 0; left < FLY_ARRAY_COUNT(founded); left++) {
        found(place, "state");
        size_t size = read_all(path_in(place, "node.key"), key);
        for (size_t i = left; i < FLY_ARRAY_COUNT(founded); i++) {
            assert_int_equal(unlink(path_in(place, founded[i])), 0);
        }
        write_all(path_in(place, "credential.tmp"), "fly", 3);
        assert_int_equal(identity_open_made(place->dir, now_ms, &id, &error),
                         FLY_FAILED_PRECONDITION);
        assert_non_null(strstr(error.text, "flynode init"));
        found(place, "state");
        open_ok(place, now_ms);
        identity_close(&id);
        if (left > 0) {
            assert_int_equal(read_all(path_in(place, "node.key"), same), size);
            assert_memory_equal(key, same, size);
        }
        for (size_t i = 0; i < FLY_ARRAY_COUNT(founded); i++) {
            assert_int_equal(unlink(path_in(place, founded[i])), 0);
        }
    }
}

static void test_not_made(void **state)
{
    const struct place *place = *state;
    struct fly_error error;

    assert_int_equal(identity_open_made(place->dir, now_ms, &id, &error), FLY_FAILED_PRECONDITION);
    assert_non_null(strstr(error.text, "flynode init"));
    assert_int_equal(mode_of(place->dir), 0); /* and makes nothing */
    assert_int_equal(mkdir(place->dir, 0700), 0);
    assert_int_equal(identity_open_made(place->dir, now_ms, &id, &error), FLY_FAILED_PRECONDITION);
    assert_int_equal(mode_of(path_in(place, "node.key")), 0);
}

/* Each file missing, of another cluster, and of nonsense. */
static void test_files_that_do_not_belong(void **state)
{
    static const struct {
        const char *name;
        bool may_go;  /* the folder is whole without it */
        bool foreign; /* one of another cluster is seen */
    } rows[] = {
        {"node.key", false, true},      {"tls.key", false, true},
        {"admission.key", false, true}, {"tls-issuer.key", false, true},
        {"issuer.key", true, true},     {"ca.key", true, true},
        {"tls-ca.key", true, true},     {"tls-ca.pem", false, true},
        {"admission", false, true},     {"tls-issuer.crt", false, true},
        {"gossip.key", false, false},   {"node.json", false, false},
        {"tls.crt", false, true},       {"credential", false, true},
        {"cluster.json", false, true},  {"generation", true, false},
    };
    const struct place *place = *state;
    struct place other = *place;
    char saved[CLUSTER_FILE_MAX];
    char theirs[CLUSTER_FILE_MAX];

    found(place, "state");
    found(place, "other");
    (void)snprintf(other.dir, sizeof other.dir, "%s/other", place->parent);
    assert_int_equal(identity_open_made(other.dir, now_ms, &id, NULL), FLY_OK);
    identity_close(&id);
    open_ok(place, now_ms);
    identity_close(&id);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct fly_error error = {.text = ""};
        size_t size = read_all(path_in(place, rows[i].name), saved);
        size_t their_size = read_all(path_in(&other, rows[i].name), theirs);
        assert_int_equal(unlink(path_in(place, rows[i].name)), 0);
        enum fly_status status = identity_open_made(place->dir, now_ms, &id, &error);
        enum fly_status wanted = rows[i].may_go ? FLY_OK
                                 : strcmp(rows[i].name, "cluster.json") == 0
                                     ? FLY_FAILED_PRECONDITION
                                     : FLY_DATA_LOSS;
        if (status != wanted ||
            (status == FLY_DATA_LOSS && strstr(error.text, rows[i].name) == NULL)) {
            fail_msg("without %s: %s: %s", rows[i].name, fly_status_name(status), error.text);
        }
        identity_close(&id);
        write_all(path_in(place, rows[i].name), theirs, their_size);
        status = identity_open_made(place->dir, now_ms, &id, &error);
        if (status != (rows[i].foreign ? FLY_DATA_LOSS : FLY_OK)) {
            fail_msg("another's %s: %s: %s", rows[i].name, fly_status_name(status), error.text);
        }
        identity_close(&id);
        write_all(path_in(place, rows[i].name), "nonsense", 8);
        status = identity_open_made(place->dir, now_ms, &id, &error);
        if (status != FLY_DATA_LOSS || strstr(error.text, rows[i].name) == NULL ||
            strstr(error.text, "nonsense") != NULL) {
            fail_msg("nonsense in %s: %s: %s", rows[i].name, fly_status_name(status), error.text);
        }
        write_all(path_in(place, rows[i].name), saved, size);
    }
    open_ok(place, now_ms);
    identity_close(&id);
}

static void test_ca_moved_away(void **state)
{
    const struct place *place = *state;

    found(place, "state");
    assert_int_equal(unlink(path_in(place, "ca.key")), 0);
    assert_int_equal(unlink(path_in(place, "tls-ca.key")), 0);
    open_ok(place, now_ms);
    assert_false(id.has_ca);
    assert_true(id.has_admission);
    identity_close(&id);
}

/* Larger at every start, whatever the clock says, and stored before it is used. */
static void test_generation(void **state)
{
    static const int64_t clocks[] = {now_ms, now_ms, now_ms + 60000, now_ms - 86400000, 0, -5000};
    const struct place *place = *state;
    struct fly_error error;
    uint32_t last = 0;
    char text[CLUSTER_FILE_MAX] = {0};

    found(place, "state");
    for (size_t i = 0; i < FLY_ARRAY_COUNT(clocks); i++) {
        open_ok(place, clocks[i]);
        assert_true(id.generation > last);
        last = id.generation;
        memset(text, 0, sizeof text);
        (void)read_all(path_in(place, "generation"), text);
        assert_int_equal(strtoul(text, NULL, 10), last);
        identity_close(&id);
    }
    assert_int_equal(last, now_ms / 1000 + 63);
    write_all(path_in(place, "generation"), "4294967295\n", 11);
    assert_int_equal(identity_open_made(place->dir, now_ms, &id, &error), FLY_DATA_LOSS);
    assert_non_null(strstr(error.text, "generation"));
}

/* A node that admits vouches for itself again; the TLS key and all else stay. */
static void test_renewal(void **state)
{
    static const struct {
        int64_t after_ms;
        bool renewed;
    } rows[] = {
        {IDENTITY_YEAR_MS / 2 - 86400000, false},
        {IDENTITY_YEAR_MS / 2 + 86400000, true},
        {3 * IDENTITY_YEAR_MS, true},
        {4 * IDENTITY_YEAR_MS, true},
    };
    const struct place *place = *state;
    struct fly_error error;

    found(place, "state");
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        int64_t at_ms = now_ms + rows[i].after_ms;
        open_ok(place, at_ms);
        assert_int_equal(id.credential.issued_ms == at_ms, rows[i].renewed);
        assert_int_equal(credential_verify(&id.credential, id.record.ca, id.record.id, at_ms, NULL),
                         FLY_OK);
        assert_memory_equal(id.credential.tls_hash, before.credential.tls_hash, 32);
        assert_int_equal(id.credential.slice_tag, before.credential.slice_tag);
        struct x509_spki spki;
        assert_int_equal(x509_key_spki(id.tls.key, &spki, NULL), FLY_OK);
        assert_int_equal(x509_verify(id.tls.ca, id.tls.certificate, &spki, false, at_ms, NULL),
                         FLY_OK);
        identity_close(&id);
    }
    /* the admission itself ends: nobody renews */
    assert_int_equal(identity_open_made(place->dir, now_ms + 11 * IDENTITY_YEAR_MS, &id, &error),
                     FLY_FAILED_PRECONDITION);
    assert_non_null(strstr(error.text, "expired at"));
}

/* A folder of a `flynode dev` from before CAs: it keeps its cluster, and gets one. */
static void test_older_folder(void **state)
{
    const struct place *place = *state;
    char text[CLUSTER_FILE_MAX] = {0};

    found(place, "state");
    for (size_t i = 0; i < FLY_ARRAY_COUNT(founded); i++) {
        if (strcmp(founded[i], "node.key") != 0 && strcmp(founded[i], "issuer.key") != 0) {
            assert_int_equal(unlink(path_in(place, founded[i])), 0);
        }
    }
    assert_int_equal(mkdir(path_in(place, "slices"), 0700), 0);
    struct cluster_record record = before.record;
    record.has_ca = false;
    size_t size = cluster_record_encode(&record, text);
    write_all(path_in(place, "cluster.json"), text, size);
    open_ok(place, now_ms);
    assert_string_equal(id.record.id, before.record.id);
    assert_int_equal(id.record.root_tag, before.record.root_tag);
    assert_memory_equal(&id.node, &before.node, sizeof id.node);
    assert_true(id.record.has_ca && id.has_admission && id.has_ca && id.has_issuer);
    assert_int_equal(id.credential.slice_tag, before.record.root_tag);
    struct cluster_record kept = id.record;
    identity_close(&id);
    open_ok(place, now_ms);
    assert_memory_equal(&id.record, &kept, sizeof kept);
    identity_close(&id);
}

/* Keys of an interrupted founding must not end up in another's cluster. */
static void test_join_after_interrupted_founding(void **state)
{
    const struct place *place = *state;
    struct fly_error error;

    found(place, "state");
    assert_int_equal(unlink(path_in(place, "cluster.json")), 0);
    assert_int_equal(identity_join_begin(place->dir, false, &id, &error), FLY_FAILED_PRECONDITION);
    assert_non_null(strstr(error.text, "interrupted"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_first_and_later_start),
        WITH_PLACE(test_two_folders_differ),
        WITH_PLACE(test_lock),
        WITH_PLACE(test_interrupted_first_start),
        WITH_PLACE(test_without_issuer_key),
        WITH_PLACE(test_refusals),
        WITH_PLACE(test_wrong_folder),
        WITH_PLACE(test_linked_key),
        WITH_PLACE(test_issue_a_token),
        WITH_PLACE(test_issuer_refusals),
        WITH_PLACE(test_founded),
        WITH_PLACE(test_interrupted_founding),
        WITH_PLACE(test_not_made),
        WITH_PLACE(test_files_that_do_not_belong),
        WITH_PLACE(test_ca_moved_away),
        WITH_PLACE(test_generation),
        WITH_PLACE(test_renewal),
        WITH_PLACE(test_older_folder),
        WITH_PLACE(test_join_after_interrupted_founding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
