#include "node/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum fly_status from_errno(const char *path, struct fly_error *error)
{
    enum fly_status status = errno == ENOENT || errno == ENOTDIR ? FLY_NOT_FOUND
                             : errno == EACCES                   ? FLY_PERMISSION_DENIED
                                                                 : FLY_UNAVAILABLE;

    return fly_error_set(error, status, "%s: %s", path, strerror(errno));
}

static enum fly_status check_kind(int fd, const char *path, bool secret, struct fly_error *error)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return from_errno(path, error);
    }
    if (!S_ISREG(st.st_mode)) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION, "%s: not a file", path);
    }
    if (secret && (st.st_mode & S_IRWXO) != 0) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION,
                             "%s is a secret that everybody may use: chmod o= %s", path, path);
    }
    return FLY_OK;
}

static enum fly_status read_all(int fd, const char *path, char *out, size_t max,
                                struct fly_error *error)
{
    size_t size = 0;

    while (size < max) {
        ssize_t got = read(fd, out + size, max - size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return from_errno(path, error);
        }
        if (got == 0) {
            break;
        }
        size += (size_t)got;
    }
    if (size == 0 || size >= max || memchr(out, '\0', size) != NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: %s", path,
                             size == 0     ? "is empty"
                             : size >= max ? "is too long"
                                           : "is not text");
    }
    out[size] = '\0';
    return FLY_OK;
}

enum fly_status small_file_read(const char *path, bool secret, char *out, size_t max,
                                struct fly_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us */

    if (fd < 0) {
        return from_errno(path, error);
    }
    enum fly_status status = check_kind(fd, path, secret, error);
    if (status == FLY_OK) {
        status = read_all(fd, path, out, max, error);
    }
    (void)close(fd);
    if (status != FLY_OK) {
        explicit_bzero(out, max);
    }
    return status;
}
