#include "node/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/bytes.h"
#include "proto/wire/cluster.h"

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

static enum fly_status open_dir(const char *dir, int *out_fd, struct fly_error *error)
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

static enum fly_status make_dir(const char *dir, struct fly_error *error)
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

enum fly_status folder_open(const char *dir, struct folder *out, struct fly_error *error)
{
    *out = (struct folder){.fd = -1, .lock_fd = -1};
    (void)fly_copy_string(out->dir, sizeof out->dir, dir);
    enum fly_status status = open_dir(dir, &out->fd, error);
    if (status == FLY_OK) {
        status = take_lock(out->fd, dir, &out->lock_fd, error);
    }
    if (status != FLY_OK) {
        folder_close(out);
    }
    return status;
}

enum fly_status folder_make(const char *dir, struct folder *out, struct fly_error *error)
{
    enum fly_status status = make_dir(dir, error);

    *out = (struct folder){.fd = -1, .lock_fd = -1};
    return status == FLY_OK ? folder_open(dir, out, error) : status;
}

void folder_close(struct folder *folder)
{
    if (folder->lock_fd >= 0) {
        (void)close(folder->lock_fd);
    }
    if (folder->fd >= 0) {
        (void)close(folder->fd);
    }
    folder->fd = -1;
    folder->lock_fd = -1;
}

/* --- one file --- */

enum fly_status folder_read(const struct folder *folder, const char *name, char *out, size_t max,
                            ssize_t *out_size, struct fly_error *error)
{
    char path[512];
    struct stat info;
    int fd = openat(folder->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    *out_size = -1;
    if (fd < 0) {
        return errno == ENOENT ? FLY_OK : system_error(error, folder->dir, name, "cannot open");
    }
    enum fly_status status = FLY_OK;
    (void)snprintf(path, sizeof path, "%s/%s", folder->dir, name);
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = fly_error_set(error, FLY_FAILED_PRECONDITION, "%s: not a file", path);
    } else {
        status = check_owner(&info, path, "600", error);
    }
    if (status == FLY_OK) {
        *out_size = read(fd, out, max);
        if (*out_size < 0) {
            status = system_error(error, folder->dir, name, "cannot read");
        } else if ((size_t)*out_size == max) {
            status = fly_error_set(error, FLY_DATA_LOSS, "%s: too long to be ours", path);
        }
    }
    (void)close(fd);
    return status;
}

enum fly_status folder_write(const struct folder *folder, const char *name, const char *text,
                             size_t size, struct fly_error *error)
{
    char beside[64];

    (void)snprintf(beside, sizeof beside, "%s.tmp", name);
    (void)unlinkat(folder->fd, beside, 0); /* of an interrupted start: the lock is ours */
    int fd = openat(folder->fd, beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return system_error(error, folder->dir, beside, "cannot make");
    }
    bool ok = fchmod(fd, 0600) == 0 && write(fd, text, size) == (ssize_t)size && fsync(fd) == 0;
    int kept = errno;
    (void)close(fd);
    errno = kept;
    if (!ok || renameat(folder->fd, beside, folder->fd, name) != 0 || fsync(folder->fd) != 0) {
        enum fly_status status = system_error(error, folder->dir, name, "cannot write");
        (void)unlinkat(folder->fd, beside, 0);
        return status;
    }
    return FLY_OK;
}

enum fly_status folder_remove(const struct folder *folder, const char *name,
                              struct fly_error *error)
{
    if (unlinkat(folder->fd, name, 0) != 0) {
        return errno == ENOENT ? FLY_OK : system_error(error, folder->dir, name, "cannot remove");
    }
    return fsync(folder->fd) == 0 ? FLY_OK
                                  : system_error(error, folder->dir, name, "cannot remove");
}

bool folder_has(const struct folder *folder, const char *name)
{
    struct stat info;

    return fstatat(folder->fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
}
