#include "node/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "proto/base/check.h"
#include "proto/base/id.h"

/* A folder that had an identity has slices: a missing cluster.json is then a loss, not a start. */
static const char slices_name[] = "slices";

static enum fly_status system_error(struct fly_error *error, const char *dir, const char *name,
                                    const char *what)
{
    return fly_error_set(error, FLY_INTERNAL, "%s/%s: %s: %s", dir, name, what, strerror(errno));
}

/* --- folder and lock --- */

static enum fly_status check_owner(const struct stat *info, const char *path, const char *remedy,
                                   struct fly_error *error)
{
    if (info->st_uid != geteuid()) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION,
                             "%s: belongs to user %u, and this process runs as %u", path,
                             (unsigned)info->st_uid, (unsigned)geteuid());
    }
    if ((info->st_mode & 077) != 0) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION,
                             "%s: others may use it (mode %03o); run: chmod %s %s", path,
                             (unsigned)(info->st_mode & 07777), remedy, path);
    }
    return FLY_OK;
}

static enum fly_status open_folder(const char *dir, int *out_fd, struct fly_error *error)
{
    struct stat info;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        return fly_error_set(error, errno == ENOENT ? FLY_NOT_FOUND : FLY_INTERNAL, "%s: %s", dir,
                             strerror(errno));
    }
    enum fly_status status =
        fstat(fd, &info) == 0 ? check_owner(&info, dir, "700", error)
                              : fly_error_set(error, FLY_INTERNAL, "%s: %s", dir, strerror(errno));
    if (status != FLY_OK) {
        (void)close(fd);
        return status;
    }
    *out_fd = fd;
    return FLY_OK;
}

static enum fly_status make_folder(const char *dir, struct fly_error *error)
{
    if (mkdir(dir, 0700) != 0) {
        return errno == EEXIST ? FLY_OK
                               : fly_error_set(error, FLY_INTERNAL, "%s: cannot make it: %s", dir,
                                               strerror(errno));
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int parent = fd >= 0 ? openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    /* the umask may have taken bits of ours away */
    bool synced = parent >= 0 && fchmod(fd, 0700) == 0 && fsync(fd) == 0 && fsync(parent) == 0;
    int reason = errno;
    if (parent >= 0) {
        (void)close(parent);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return synced ? FLY_OK
                  : fly_error_set(error, FLY_INTERNAL, "%s: cannot sync its folder: %s", dir,
                                  strerror(reason));
}

static enum fly_status say_holder(int fd, const char *dir, struct fly_error *error)
{
    char pid[16] = {0};
    ssize_t size = pread(fd, pid, sizeof pid - 1, 0);

    pid[size > 0 ? strspn(pid, "0123456789") : 0] = '\0';
    return fly_error_set(error, FLY_FAILED_PRECONDITION, "%s: in use by process %s", dir,
                         pid[0] != '\0' ? pid : "(unknown)");
}

/* An open file description lock: it ends with the process, however that dies, and not when some
 * library closes another descriptor of the same file. */
static enum fly_status take_lock(int folder, const char *dir, int *out_fd, struct fly_error *error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char pid[16];
    int fd = openat(folder, CLUSTER_LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0) {
        return system_error(error, dir, CLUSTER_LOCK_FILE, "cannot open");
    }
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        enum fly_status status = errno == EAGAIN || errno == EACCES
                                     ? say_holder(fd, dir, error)
                                     : system_error(error, dir, CLUSTER_LOCK_FILE, "cannot lock");
        (void)close(fd);
        return status;
    }
    int size = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (fchmod(fd, 0600) != 0 || ftruncate(fd, 0) != 0 ||
        pwrite(fd, pid, (size_t)size, 0) != size) {
        enum fly_status status = system_error(error, dir, CLUSTER_LOCK_FILE, "cannot write");
        (void)close(fd);
        return status;
    }
    *out_fd = fd;
    return FLY_OK;
}

enum fly_status identity_lock(const char *dir, int *out_fd, struct fly_error *error)
{
    int folder = -1;
    enum fly_status status = open_folder(dir, &folder, error);

    if (status == FLY_OK) {
        status = take_lock(folder, dir, out_fd, error);
        (void)close(folder);
    }
    return status;
}

void identity_unlock(int fd)
{
    (void)close(fd);
}

/* --- one file --- */

/* A small file of ours. *out_size is -1 when it is not there, which is no error. */
static enum fly_status read_file(int folder, const char *dir, const char *name,
                                 char out[static CLUSTER_FILE_MAX], ssize_t *out_size,
                                 struct fly_error *error)
{
    char path[256];
    struct stat info;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    *out_size = -1;
    if (fd < 0) {
        return errno == ENOENT ? FLY_OK : system_error(error, dir, name, "cannot open");
    }
    enum fly_status status = FLY_OK;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = fly_error_set(error, FLY_FAILED_PRECONDITION, "%s: not a file", path);
    } else {
        status = check_owner(&info, path, "600", error);
    }
    if (status == FLY_OK) {
        *out_size = read(fd, out, CLUSTER_FILE_MAX);
        if (*out_size < 0) {
            status = system_error(error, dir, name, "cannot read");
        } else if (*out_size == CLUSTER_FILE_MAX) {
            status = fly_error_set(error, FLY_DATA_LOSS, "%s: too long to be ours", path);
        }
    }
    (void)close(fd);
    return status;
}

/* The file appears whole or not at all, also after a power loss. */
static enum fly_status write_file(int folder, const char *dir, const char *name, const char *text,
                                  size_t size, struct fly_error *error)
{
    char beside[64];

    (void)snprintf(beside, sizeof beside, "%s.tmp", name);
    (void)unlinkat(folder, beside, 0); /* of an interrupted start: the lock is ours */
    int fd = openat(folder, beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return system_error(error, dir, beside, "cannot make");
    }
    bool ok = fchmod(fd, 0600) == 0 && write(fd, text, size) == (ssize_t)size && fsync(fd) == 0;
    int kept = errno;
    (void)close(fd);
    errno = kept;
    if (!ok || renameat(folder, beside, folder, name) != 0 || fsync(folder) != 0) {
        enum fly_status status = system_error(error, dir, name, "cannot write");
        (void)unlinkat(folder, beside, 0);
        return status;
    }
    return FLY_OK;
}

/* --- the three files --- */

/* What is there; has_* tell which. The buffer that held secrets is wiped by the caller. */
struct files {
    bool has_record;
    bool has_issuer;
    bool has_node;
    struct cluster_record record;
    struct token_secret_key issuer;
    struct node_seed node;
};

static enum fly_status damaged(const char *dir, const char *name, enum fly_status status,
                               struct fly_error *error)
{
    if (status != FLY_OK && error != NULL) {
        if (status == FLY_INVALID_ARGUMENT) {
            error->status = FLY_DATA_LOSS;
        }
        return fly_error_wrap(error, "%s/%s", dir, name);
    }
    return status == FLY_INVALID_ARGUMENT ? FLY_DATA_LOSS : status;
}

static enum fly_status load_files(int folder, const char *dir, char text[static CLUSTER_FILE_MAX],
                                  struct files *files, struct fly_error *error)
{
    ssize_t size = -1;
    enum fly_status status = read_file(folder, dir, CLUSTER_RECORD_FILE, text, &size, error);

    if (status == FLY_OK && size >= 0) {
        files->has_record = true;
        status = damaged(dir, CLUSTER_RECORD_FILE,
                         cluster_record_decode(text, (size_t)size, &files->record, error), error);
    }
    if (status == FLY_OK) {
        status = read_file(folder, dir, CLUSTER_ISSUER_FILE, text, &size, error);
    }
    if (status == FLY_OK && size >= 0) {
        files->has_issuer = true;
        status = damaged(dir, CLUSTER_ISSUER_FILE,
                         issuer_key_decode(text, (size_t)size, &files->issuer, error), error);
    }
    if (status == FLY_OK) {
        status = read_file(folder, dir, CLUSTER_NODE_FILE, text, &size, error);
    }
    if (status == FLY_OK && size >= 0) {
        files->has_node = true;
        status = damaged(dir, CLUSTER_NODE_FILE,
                         node_key_decode(text, (size_t)size, &files->node, error), error);
    }
    return status;
}

/* Files that are fine one by one and do not belong together. */
static enum fly_status check_together(int folder, const char *dir, const struct files *files,
                                      struct fly_error *error)
{
    struct stat info;

    if (!files->has_record) {
        return fstatat(folder, slices_name, &info, AT_SYMLINK_NOFOLLOW) != 0
                   ? FLY_OK
                   : fly_error_set(
                         error, FLY_DATA_LOSS,
                         "%s/%s: missing, and there is a %s/ that belongs to it; bring it "
                         "back from a backup",
                         dir, CLUSTER_RECORD_FILE, slices_name);
    }
    if (!files->has_node) {
        return fly_error_set(error, FLY_DATA_LOSS, "%s/%s: missing; bring it back from a backup",
                             dir, CLUSTER_NODE_FILE);
    }
    if (files->has_issuer) {
        struct token_public_key issuer = token_public_key_of(&files->issuer);
        if (memcmp(&issuer, &files->record.issuer, sizeof issuer) != 0) {
            return fly_error_set(error, FLY_DATA_LOSS, "%s/%s: not the issuer that %s names", dir,
                                 CLUSTER_ISSUER_FILE, CLUSTER_RECORD_FILE);
        }
    }
    return FLY_OK;
}

/* The record comes last: with it the folder has an identity. */
static enum fly_status make_files(int folder, const char *dir, int64_t now_ms,
                                  char text[static CLUSTER_FILE_MAX], struct files *files,
                                  struct fly_error *error)
{
    enum fly_status status = FLY_OK;
    uint8_t random[TOKEN_SEED_SIZE];

    if (!files->has_node) {
        randombytes_buf(files->node.bytes, sizeof files->node.bytes);
        size_t size = node_key_encode(&files->node, text);
        status = write_file(folder, dir, CLUSTER_NODE_FILE, text, size, error);
    }
    if (status == FLY_OK && !files->has_issuer) {
        randombytes_buf(random, sizeof random);
        token_secret_key_from_seed(random, &files->issuer);
        sodium_memzero(random, sizeof random);
        size_t size = issuer_key_encode(&files->issuer, text);
        status = write_file(folder, dir, CLUSTER_ISSUER_FILE, text, size, error);
    }
    if (status == FLY_OK) {
        struct cluster_record *record = &files->record;
        randombytes_buf(random, CLUSTER_ID_BYTES);
        fly_hex_encode(random, CLUSTER_ID_BYTES, record->id);
        record->issuer = token_public_key_of(&files->issuer);
        record->root_tag = 1 + randombytes_uniform(0xffffff);
        record->created_ms = now_ms;
        size_t size = cluster_record_encode(record, text);
        status = write_file(folder, dir, CLUSTER_RECORD_FILE, text, size, error);
    }
    files->has_issuer = files->has_issuer || status == FLY_OK;
    return status;
}

static enum fly_status load_or_make(int folder, const char *dir, int64_t now_ms,
                                    struct identity *out, struct fly_error *error)
{
    char text[CLUSTER_FILE_MAX];
    struct files files = {0};
    enum fly_status status = load_files(folder, dir, text, &files, error);

    if (status == FLY_OK) {
        status = check_together(folder, dir, &files, error);
    }
    if (status == FLY_OK && !files.has_record) {
        out->created = true;
        status = make_files(folder, dir, now_ms, text, &files, error);
    }
    out->record = files.record;
    out->node = files.node;
    out->has_issuer = files.has_issuer;
    sodium_memzero(&files, sizeof files);
    sodium_memzero(text, sizeof text);
    return status;
}

enum fly_status identity_open(const char *dir, int64_t now_ms, struct identity *out,
                              struct fly_error *error)
{
    int folder = -1;

    memset(out, 0, sizeof *out);
    out->lock_fd = -1;
    if (sodium_init() < 0) {
        return fly_error_set(error, FLY_INTERNAL, "libsodium finds no randomness");
    }
    enum fly_status status = make_folder(dir, error);
    if (status == FLY_OK) {
        status = open_folder(dir, &folder, error);
    }
    if (status == FLY_OK) {
        status = take_lock(folder, dir, &out->lock_fd, error);
    }
    if (status == FLY_OK) {
        status = load_or_make(folder, dir, now_ms, out, error);
    }
    if (folder >= 0) {
        (void)close(folder);
    }
    if (status != FLY_OK) {
        identity_close(out);
    }
    return status;
}

void identity_close(struct identity *identity)
{
    if (identity->lock_fd >= 0) {
        identity_unlock(identity->lock_fd);
    }
    sodium_memzero(identity, sizeof *identity);
    identity->lock_fd = -1;
}
