/*
 * journal_check - lists and reads a slice folder and drives the pure reader over it.
 *
 * One file at a time is in memory. Nothing is changed here: repairs are journal_repair.c.
 * Shell.
 */
#include "node/slice/journal_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCAN_FILES_MAX = 65536 };

enum fly_status journal_file_error(struct fly_error *error, const char *file, const char *verb)
{
    int number = errno;
    enum fly_status status =
        number == ENOSPC || number == EDQUOT ? FLY_RESOURCE_EXHAUSTED : FLY_UNAVAILABLE;
    return fly_error_set(error, status, "%s: %s: %s", file, verb, strerror(number));
}

bool journal_file_path(char out[JOURNAL_DIR_MAX + SEGMENT_NAME_MAX * 2], const char *dir,
                       const char *file)
{
    int n = snprintf(out, JOURNAL_DIR_MAX + SEGMENT_NAME_MAX * 2, "%s/%s", dir, file);
    return n > 0 && n < JOURNAL_DIR_MAX + SEGMENT_NAME_MAX * 2;
}

static enum fly_status read_all(int fd, const char *file, size_t max, uint8_t **data, size_t *size,
                                struct fly_error *error)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return journal_file_error(error, file, "stat");
    }
    if (!S_ISREG(info.st_mode)) {
        return fly_error_set(error, FLY_DATA_LOSS, "%s: offset 0: not a regular file", file);
    }
    if (info.st_size < 0 || (uint64_t)info.st_size > max) {
        return fly_error_set(error, FLY_DATA_LOSS, "%s: offset %zu: larger than it can be", file,
                             max);
    }
    size_t want = (size_t)info.st_size, have = 0;
    uint8_t *memory = malloc(want + 1);
    if (memory == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "%s: no memory for %zu bytes", file,
                             want);
    }
    while (have < want) {
        ssize_t n = pread(fd, memory + have, want - have, (off_t)have);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n < 0 ? errno : EIO;
            enum fly_status status = journal_file_error(error, file, "read");
            free(memory);
            return status;
        }
        have += (size_t)n;
    }
    *data = memory;
    *size = want;
    return FLY_OK;
}

enum fly_status journal_file_read(const char *dir, const char *file, size_t max, uint8_t **data,
                                  size_t *size, struct fly_error *error)
{
    char path[JOURNAL_DIR_MAX + SEGMENT_NAME_MAX * 2];
    *data = NULL;
    *size = 0;
    if (!journal_file_path(path, dir, file)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: path too long", file);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) {
        return fly_error_set(error, FLY_NOT_FOUND, "%s: no such file", file);
    }
    if (fd < 0) {
        return journal_file_error(error, file, "open");
    }
    enum fly_status status = read_all(fd, file, max, data, size, error);
    close(fd);
    return status;
}

/* --- the folder ---------------------------------------------------------------------------- */

static enum fly_status list_put(struct journal_scan *scan, const char *name,
                                struct fly_error *error)
{
    struct segment_file file;
    bool wanted = false, accept = false;
    enum fly_status status = segment_file_take(&file, name, &wanted, &accept, error);
    if (status != FLY_OK) {
        return status;
    }
    scan->check.accepted = scan->check.accepted || accept;
    if (!wanted) {
        scan->ignored += strcmp(name, SEGMENT_MARK_FILE) != 0;
        return FLY_OK;
    }
    size_t count = scan->check.file_count;
    if (count == SCAN_FILES_MAX) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "more than %d files", SCAN_FILES_MAX);
    }
    if ((count & (count - 1)) == 0) {
        struct segment_file *files =
            realloc(scan->check.files, (count == 0 ? 1 : count * 2) * sizeof *files);
        if (files == NULL) {
            return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "no memory for the file list");
        }
        scan->check.files = files;
    }
    scan->check.files[count] = file;
    scan->check.file_count++;
    return FLY_OK;
}

static int list_compare(const void *x, const void *y)
{
    return segment_file_compare(x, y);
}

static enum fly_status list_read(struct journal_scan *scan, const char *dir,
                                 struct fly_error *error)
{
    DIR *handle = opendir(dir);
    if (handle == NULL) {
        return journal_file_error(error, dir, "open");
    }
    enum fly_status status = FLY_OK;
    const struct dirent *entry;
    errno = 0;
    while (status == FLY_OK && (entry = readdir(handle)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            status = list_put(scan, entry->d_name, error);
        }
        errno = 0;
    }
    if (status == FLY_OK && errno != 0) {
        status = journal_file_error(error, dir, "read");
    }
    closedir(handle);
    if (scan->check.file_count > 0) {
        qsort(scan->check.files, scan->check.file_count, sizeof *scan->check.files, list_compare);
    }
    return status;
}

static enum fly_status source_read(void *user, const char *file, size_t max, struct fly_bytes *out,
                                   struct fly_error *error)
{
    struct journal_scan *scan = user;
    size_t size = 0;
    free(scan->bytes);
    scan->bytes = NULL;
    enum fly_status status = journal_file_read(scan->dir, file, max, &scan->bytes, &size, error);
    out->data = scan->bytes;
    out->size = size;
    return status;
}

enum fly_status journal_scan_read(struct journal_scan *scan, const char *dir,
                                  const struct segment_visitor *visitor, void *user,
                                  struct fly_error *error)
{
    const struct segment_source source = {scan, source_read};
    memset(scan, 0, sizeof *scan);
    scan->dir = dir;
    segment_crc_init(&scan->crc);
    scan->check.crc = &scan->crc;
    enum fly_status status = list_read(scan, dir, error);
    if (status == FLY_OK) {
        status = segment_check_run(&scan->check, &source, visitor, user, error);
    }
    free(scan->bytes);
    scan->bytes = NULL;
    return status;
}

void journal_scan_report(const struct journal_scan *scan, struct journal_report *out)
{
    const struct segment_check *check = &scan->check;
    const struct segment_walk *walk = &check->walk;
    memset(out, 0, sizeof *out);
    out->empty = check->unfounded;
    out->term = check->metadata.term;
    out->voted_for = check->metadata.vote;
    out->first_index = walk->first_index;
    out->last_index = check->last_index;
    out->last_term = check->last_term;
    out->entries = walk->entries;
    out->batches = walk->batches;
    out->segments_closed = check->segments_closed;
    out->segments_open = check->segments_open;
    out->snapshot_index = check->snapshot_index;
    out->snapshot_term = check->snapshot_term;
    out->snapshot_bytes = check->snapshot_bytes;
    out->acknowledged = check->mark_found ? check->mark.index : 0;
    out->mark_missing = !check->mark_found;
    out->mark_bad_slots = check->mark_bad_slots;
    out->loss_accepted = check->accepted;
    out->ignored_files = scan->ignored + check->orphans;
    out->torn = walk->torn_seen;
    if (walk->torn_seen) {
        memcpy(out->torn_file, walk->torn.file, sizeof out->torn_file);
        out->torn_offset = walk->torn.offset;
        out->torn_bytes = walk->torn.bytes;
        out->torn_reason = walk->torn.reason;
    }
}

void journal_scan_drop(struct journal_scan *scan)
{
    free(scan->check.files);
    scan->check.files = NULL;
    scan->check.file_count = 0;
}

enum fly_status journal_check(const char *dir, const struct journal_visitor *visitor, void *user,
                              struct journal_report *report, struct fly_error *error)
{
    struct journal_scan scan;
    struct segment_visitor inner = {visitor != NULL ? visitor->snapshot : NULL,
                                    visitor != NULL ? visitor->entry : NULL};
    enum fly_status status = journal_scan_read(&scan, dir, &inner, user, error);
    if (report != NULL) {
        journal_scan_report(&scan, report);
    }
    journal_scan_drop(&scan);
    return status;
}
