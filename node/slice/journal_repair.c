/*
 * journal_repair - what our reader reported is made true on disk, before libraft looks.
 *
 * Shell.
 */
#include "node/slice/journal_state.h"
#include "proto/base/check.h"
#include "proto/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum fly_status open_in(const struct journal *j, const char *file, int flags, int *fd,
                               struct fly_error *error)
{
    char path[JOURNAL_DIR_MAX + SEGMENT_NAME_MAX * 2];
    FLY_CHECK(journal_file_path(path, j->dir, file));
    *fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    return *fd < 0 ? journal_file_error(error, file, "open") : FLY_OK;
}

static enum fly_status sync_close(int fd, const char *file, struct fly_error *error)
{
    int failed = fsync(fd);
    enum fly_status status = failed != 0 ? journal_file_error(error, file, "fsync") : FLY_OK;
    close(fd);
    return status;
}

static enum fly_status sync_dir(const struct journal *j, struct fly_error *error)
{
    int fd = open(j->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? journal_file_error(error, j->dir, "open") : sync_close(fd, j->dir, error);
}

/* The torn bytes, for whoever wants to know what they were. */
static enum fly_status keep_torn(const struct journal *j, const struct journal_report *report,
                                 struct fly_error *error)
{
    char copy[SEGMENT_NAME_MAX * 2];
    uint8_t *data = NULL;
    size_t size = 0;
    int fd = -1;
    snprintf(copy, sizeof copy, "torn-%s-%" PRIu64, report->torn_file, report->torn_offset);
    enum fly_status status =
        journal_file_read(j->dir, report->torn_file, SEGMENT_FILE_MAX, &data, &size, error);
    if (status == FLY_OK) {
        status = open_in(j, copy, O_WRONLY | O_CREAT | O_TRUNC, &fd, error);
    }
    if (status == FLY_OK) {
        FLY_CHECK(report->torn_offset + report->torn_bytes <= size);
        const uint8_t *p = data + report->torn_offset;
        size_t left = (size_t)report->torn_bytes;
        while (status == FLY_OK && left > 0) {
            ssize_t n = write(fd, p, left);
            if (n <= 0 && errno != EINTR) {
                status = journal_file_error(error, copy, "write");
            } else if (n > 0) {
                p += n;
                left -= (size_t)n;
            }
        }
        struct fly_error ignored;
        enum fly_status synced = sync_close(fd, copy, status == FLY_OK ? error : &ignored);
        status = status == FLY_OK ? synced : status;
    }
    free(data);
    return status;
}

/* Ends an open segment where its entries end and names it for what it holds. libraft's own way to
 * do so counts its entries from the snapshot on when no closed segment is left before it. */
static enum fly_status close_segment(const struct journal *j, const struct segment_file *file,
                                     struct fly_error *error)
{
    char name[SEGMENT_NAME_MAX];
    char from[JOURNAL_DIR_MAX + SEGMENT_NAME_MAX * 2], to[JOURNAL_DIR_MAX + SEGMENT_NAME_MAX * 2];
    int fd = -1;
    snprintf(name, sizeof name, "%016" PRIu64 "-%016" PRIu64, file->first, file->last);
    FLY_CHECK(journal_file_path(from, j->dir, file->file));
    FLY_CHECK(journal_file_path(to, j->dir, name));
    enum fly_status status = open_in(j, file->file, O_WRONLY, &fd, error);
    if (status != FLY_OK) {
        return status;
    }
    if (ftruncate(fd, (off_t)file->keep) != 0) {
        status = journal_file_error(error, file->file, "truncate");
        close(fd);
        return status;
    }
    status = sync_close(fd, file->file, error);
    if (status == FLY_OK && rename(from, to) != 0) {
        status = journal_file_error(error, file->file, "rename");
    }
    return status;
}

static enum fly_status unlink_in(const struct journal *j, const char *file, struct fly_error *error)
{
    char path[JOURNAL_DIR_MAX + SEGMENT_NAME_MAX * 2];
    FLY_CHECK(journal_file_path(path, j->dir, file));
    return unlink(path) != 0 && errno != ENOENT ? journal_file_error(error, file, "remove")
                                                : FLY_OK;
}

static enum fly_status repair_files(struct journal *j, struct journal_scan *scan,
                                    struct fly_error *error)
{
    for (size_t i = 0; i < scan->check.file_count; i++) {
        const struct segment_file *file = &scan->check.files[i];
        enum fly_status status = FLY_OK;
        if (scan->check.unfounded) {
            /* nothing was ever acknowledged here (the mark, and no entry): found it anew */
            status = unlink_in(j, file->file, error);
        } else if (file->name.kind == SEGMENT_OPEN && file->first == 0) {
            status = unlink_in(j, file->file, error);
        } else if (file->name.kind == SEGMENT_OPEN) {
            status = close_segment(j, file, error);
        }
        if (status != FLY_OK) {
            return status;
        }
    }
    return FLY_OK;
}

enum fly_status journal_repair(struct journal *j, struct journal_scan *scan,
                               struct fly_error *error)
{
    struct journal_report report_now;
    const struct journal_report *report = &report_now;
    enum fly_status status = FLY_OK;
    journal_scan_report(scan, &report_now);
    if (report->torn) {
        fly_log_warn("journal.torn", F_STR("dir", j->dir), F_STR("file", report->torn_file),
                     F_U64("offset", report->torn_offset), F_U64("bytes", report->torn_bytes),
                     F_U64("last_index", report->last_index), F_STR("reason", report->torn_reason));
        status = keep_torn(j, report, error);
    }
    if (status == FLY_OK) {
        status = repair_files(j, scan, error);
    }
    if (status == FLY_OK && scan->check.accepted) {
        fly_log_warn("journal.loss_accepted", F_STR("dir", j->dir),
                     F_U64("last_index", report->last_index),
                     F_U64("acknowledged", report->acknowledged));
    }
    return status == FLY_OK ? sync_dir(j, error) : status;
}
