/*
 * journal_mark - the file behind segment_mark.h.
 *
 * Each write is one pwrite of a 128-byte slot into the page cache: it survives kill -9, and a power
 * loss leaves an older mark, never a newer one than the log, because it is written only when the
 * entry is durable. pwrite and not a mapped page: a store into a mapping meets a disk error as
 * SIGBUS. The file is also the lock of the folder.
 * Shell.
 */
#include "node/slice/journal_state.h"
#include "proto/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static enum fly_status sync_dir(const char *dir, struct fly_error *error)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        enum fly_status status = journal_file_error(error, dir, "fsync");
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    close(fd);
    return FLY_OK;
}

static enum fly_status write_at(int fd, const uint8_t *data, size_t size, size_t offset,
                                struct fly_error *error)
{
    while (size > 0) {
        ssize_t n = pwrite(fd, data, size, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n < 0 ? errno : EIO;
            return journal_file_error(error, SEGMENT_MARK_FILE, "write");
        }
        data += n;
        size -= (size_t)n;
        offset += (size_t)n;
    }
    return FLY_OK;
}

enum fly_status journal_mark_open(struct journal *j, bool *found, struct fly_error *error)
{
    char path[JOURNAL_DIR_MAX + SEGMENT_NAME_MAX * 2];
    struct stat info;
    FLY_CHECK(journal_file_path(path, j->dir, SEGMENT_MARK_FILE));
    /* a file of no bytes is only a lock that never became a mark: the same as none */
    j->mark_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->mark_fd < 0) {
        return journal_file_error(error, SEGMENT_MARK_FILE, "open");
    }
    if (flock(j->mark_fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK
                   ? fly_error_set(error, FLY_UNAVAILABLE,
                                   "mark: locked: this log is open, or not yet closed")
                   : journal_file_error(error, SEGMENT_MARK_FILE, "lock");
    }
    if (fstat(j->mark_fd, &info) != 0) {
        return journal_file_error(error, SEGMENT_MARK_FILE, "stat");
    }
    *found = info.st_size > 0;
    return FLY_OK;
}

static enum fly_status mark_create(struct journal *j, struct fly_error *error)
{
    uint8_t file[SEGMENT_MARK_SIZE] = {0};
    j->mark.counter = 0;
    segment_mark_encode(&j->crc, &j->mark, file);
    enum fly_status status = write_at(j->mark_fd, file, sizeof file, 0, error);
    if (status == FLY_OK &&
        (ftruncate(j->mark_fd, SEGMENT_MARK_SIZE) != 0 || fsync(j->mark_fd) != 0)) {
        status = journal_file_error(error, SEGMENT_MARK_FILE, "fsync");
    }
    return status == FLY_OK ? sync_dir(j->dir, error) : status;
}

enum fly_status journal_mark_write(struct journal *j, bool sync, struct fly_error *error)
{
    uint8_t slot[SEGMENT_MARK_SLOT];
    j->mark.counter++;
    segment_mark_encode(&j->crc, &j->mark, slot);
    size_t offset = (size_t)(j->mark.counter % SEGMENT_MARK_SLOTS) * SEGMENT_MARK_SLOT;
    enum fly_status status = write_at(j->mark_fd, slot, sizeof slot, offset, error);
    if (status == FLY_OK && sync && fdatasync(j->mark_fd) != 0) {
        status = journal_file_error(error, SEGMENT_MARK_FILE, "fdatasync");
    }
    return status;
}

/* The operator accepted the loss: the mark follows the log as it is, and the word is used up. */
static enum fly_status mark_accept(struct journal *j, const struct journal_scan *scan,
                                   struct fly_error *error)
{
    char path[JOURNAL_DIR_MAX + SEGMENT_NAME_MAX * 2];
    memset(&j->mark, 0, sizeof j->mark);
    j->mark.index = scan->check.last_index;
    j->mark.term = scan->check.last_term;
    j->mark.previous = scan->check.older;
    j->mark.current = scan->check.metadata;
    enum fly_status status = mark_create(j, error);
    FLY_CHECK(journal_file_path(path, j->dir, SEGMENT_ACCEPT_FILE));
    if (status == FLY_OK && unlink(path) != 0) {
        status = journal_file_error(error, SEGMENT_ACCEPT_FILE, "remove");
    }
    return status;
}

enum fly_status journal_mark_settle(struct journal *j, const struct journal_scan *scan,
                                    struct fly_error *error)
{
    enum fly_status status = FLY_OK;
    if (scan->check.accepted && !scan->check.unfounded) {
        return mark_accept(j, scan, error);
    }
    if (scan->check.unfounded) {
        memset(&j->mark, 0, sizeof j->mark);
        segment_mark_intend(&j->mark, 1, 0); /* raft_bootstrap: version 1, term 1, no vote */
        status = mark_create(j, error);
    } else {
        /* what was intended was written or was not: the files say which */
        j->mark = scan->check.mark;
        j->mark.previous = scan->check.older;
        j->mark.current = scan->check.metadata;
        memset(&j->mark.next, 0, sizeof j->mark.next);
    }
    return status;
}
