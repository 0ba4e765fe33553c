/*
 * journal_check - lists and reads a slice folder and drives the pure reader over it.
 *
 * One file at a time is in memory. Nothing is changed here: repairs are journal_repair.c.
 * Shell.
 */
#include "node/slice/journal_scan.h"
#include "proto/base/bytes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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

/* --- the folder's list --------------------------------------------------------------------- */

static enum fly_status list_put(struct journal_scan *scan, const char *file,
                                struct fly_error *error)
{
    struct segment_name name = segment_name_parse(file);
    if (name.kind == SEGMENT_LOOKALIKE) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%.80s: offset 0: libraft would take this file for its own, but never "
                             "names one so: move it away",
                             file);
    }
    if (name.kind == SEGMENT_OTHER || name.kind == SEGMENT_TEMPORARY) {
        scan->accepted = scan->accepted || strcmp(file, JOURNAL_ACCEPT_FILE) == 0;
        scan->report.ignored_files += strcmp(file, JOURNAL_MARK_FILE) != 0;
        return FLY_OK;
    }
    if (scan->file_count == SCAN_FILES_MAX) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "more than %d files", SCAN_FILES_MAX);
    }
    if ((scan->file_count & (scan->file_count - 1)) == 0) {
        size_t room = scan->file_count == 0 ? 1 : scan->file_count * 2;
        struct journal_file *files = realloc(scan->files, room * sizeof *files);
        if (files == NULL) {
            return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "no memory for the file list");
        }
        scan->files = files;
    }
    struct journal_file *entry = &scan->files[scan->file_count++];
    memset(entry, 0, sizeof *entry);
    fly_copy_string(entry->file, sizeof entry->file, file);
    entry->name = name;
    return FLY_OK;
}

static int list_compare(const void *x, const void *y)
{
    const struct journal_file *a = x, *b = y;
    return segment_name_compare(&a->name, &b->name);
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
    if (scan->file_count > 0) {
        qsort(scan->files, scan->file_count, sizeof *scan->files, list_compare);
    }
    scan->empty = scan->file_count == 0;
    return status;
}

/* --- mark and metadata --------------------------------------------------------------------- */

static enum fly_status mark_read(struct journal_scan *scan, const char *dir,
                                 struct fly_error *error)
{
    uint8_t *data = NULL;
    size_t size = 0;
    unsigned bad = 0;
    enum fly_status status =
        journal_file_read(dir, JOURNAL_MARK_FILE, SEGMENT_MARK_SIZE * 2, &data, &size, error);
    if (status == FLY_NOT_FOUND || (status == FLY_OK && size == 0)) {
        free(data);
        scan->report.mark_missing = true;
        if (scan->empty || scan->accepted) {
            return FLY_OK;
        }
        return fly_error_set(
            error, FLY_DATA_LOSS,
            "mark: offset 0: missing, so nobody can say whether the log is whole. "
            "Restore it with the folder's other files; or, to accept that "
            "acknowledged entries may be lost, create the file " JOURNAL_ACCEPT_FILE
            " beside them");
    }
    if (status == FLY_OK) {
        status = segment_mark_decode(&scan->crc, data, size, &scan->mark, &bad, error);
        scan->mark_found = status == FLY_OK;
    }
    free(data);
    scan->report.mark_bad_slots = bad;
    if (status == FLY_DATA_LOSS && scan->accepted) {
        return FLY_OK;
    }
    return status;
}

static const struct segment_mark *mark_valid(const struct journal_scan *scan)
{
    return scan->mark_found && !scan->accepted ? &scan->mark : NULL;
}

static enum fly_status metadata_read(struct journal_scan *scan, const char *dir,
                                     struct fly_error *error)
{
    struct segment_metadata files[2];
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *data = NULL;
        size_t size = 0;
        enum fly_status status =
            journal_file_read(dir, i == 0 ? "metadata1" : "metadata2", 4096, &data, &size, error);
        if (status == FLY_OK || status == FLY_NOT_FOUND) {
            status = segment_metadata_decode(i + 1, data, size, &files[i], error);
        }
        free(data);
        if (status != FLY_OK) {
            return status;
        }
    }
    enum fly_status status =
        segment_metadata_check(files, mark_valid(scan), &scan->metadata, error);
    scan->older = files[scan->metadata.version % 2 == 1 ? 1 : 0];
    scan->report.term = scan->metadata.term;
    scan->report.voted_for = scan->metadata.vote;
    return status;
}

/* --- snapshots ----------------------------------------------------------------------------- */

static const struct journal_file *find(const struct journal_scan *scan, enum segment_kind kind,
                                       const struct segment_name *like)
{
    struct journal_file key = {.name = *like};
    key.name.kind = kind;
    return scan->file_count == 0
               ? NULL
               : bsearch(&key, scan->files, scan->file_count, sizeof *scan->files, list_compare);
}

/* The newest snapshot with both files; one alone is the trace of a snapshot or of its removal that
 * did not finish, and libraft removes it. */
static const struct journal_file *snapshot_newest(struct journal_scan *scan)
{
    const struct journal_file *newest = NULL;
    for (size_t i = 0; i < scan->file_count; i++) {
        const struct journal_file *file = &scan->files[i];
        if (file->name.kind == SEGMENT_SNAPSHOT) {
            if (find(scan, SEGMENT_SNAPSHOT_META, &file->name) != NULL) {
                newest = file;
            } else {
                scan->report.ignored_files++;
            }
        } else if (file->name.kind == SEGMENT_SNAPSHOT_META &&
                   find(scan, SEGMENT_SNAPSHOT, &file->name) == NULL) {
            scan->report.ignored_files++;
        }
    }
    return newest;
}

static enum fly_status snapshot_read(struct journal_scan *scan, const char *dir,
                                     const struct journal_visitor *visitor, void *user,
                                     struct fly_error *error)
{
    const struct journal_file *file = snapshot_newest(scan);
    if (file == NULL) {
        return FLY_OK;
    }
    const struct journal_file *meta = find(scan, SEGMENT_SNAPSHOT_META, &file->name);
    uint8_t *data = NULL;
    size_t size = 0, inner_size = 0;
    const uint8_t *inner = NULL;
    enum fly_status status =
        journal_file_read(dir, meta->file, 1024 * 1024 + 64, &data, &size, error);
    if (status == FLY_OK) {
        status = segment_snapshot_meta_check(&scan->crc, meta->file, data, size, error);
    }
    free(data);
    if (status != FLY_OK) {
        return status;
    }
    status = journal_file_read(dir, file->file, SEGMENT_FILE_MAX, &data, &size, error);
    if (status == FLY_OK) {
        status = segment_snapshot_decode(&scan->crc, file->file, file->name.b, data, size, &inner,
                                         &inner_size, error);
    }
    if (status == FLY_OK) {
        scan->report.snapshot_term = file->name.a;
        scan->report.snapshot_index = file->name.b;
        scan->report.snapshot_bytes = inner_size;
        if (visitor != NULL && visitor->snapshot != NULL) {
            status = visitor->snapshot(user, file->name.b, file->name.a, inner, inner_size, error);
        }
    }
    free(data);
    return status;
}

/* --- segments ------------------------------------------------------------------------------ */

static enum fly_status segment_read(struct journal_scan *scan, struct segment_walk *walk,
                                    struct journal_file *file, const char *dir,
                                    const struct journal_visitor *visitor, void *user,
                                    struct fly_error *error)
{
    uint8_t *data = NULL;
    size_t size = 0;
    enum fly_status status =
        journal_file_read(dir, file->file, SEGMENT_FILE_MAX, &data, &size, error);
    if (status == FLY_OK) {
        status = segment_walk_file(walk, file->file, data, size, error);
    }
    bool found = true;
    while (status == FLY_OK && found) {
        struct segment_entry entry;
        status = segment_walk_next(walk, &entry, &found, error);
        if (status == FLY_OK && found && entry.type == SEGMENT_COMMAND &&
            entry.index > scan->report.snapshot_index && visitor != NULL &&
            visitor->entry != NULL) {
            status = visitor->entry(user, entry.index, entry.term, entry.data, entry.size, error);
        }
    }
    file->size = size;
    file->keep = walk->offset;
    file->first = walk->file_first;
    file->last = walk->file_first != 0 ? walk->last_index : 0;
    free(data);
    return status;
}

static enum fly_status segments_read(struct journal_scan *scan, const char *dir,
                                     const struct journal_visitor *visitor, void *user,
                                     struct fly_error *error)
{
    struct journal_report *report = &scan->report;
    struct segment_walk walk;
    const struct segment_mark *mark = mark_valid(scan);
    segment_walk_begin(&walk, &scan->crc, report->snapshot_index, report->snapshot_term,
                       mark != NULL ? mark->index : 0);
    for (size_t i = 0; i < scan->file_count; i++) {
        struct journal_file *file = &scan->files[i];
        if (file->name.kind != SEGMENT_CLOSED && file->name.kind != SEGMENT_OPEN) {
            continue;
        }
        report->segments_closed += file->name.kind == SEGMENT_CLOSED;
        report->segments_open += file->name.kind == SEGMENT_OPEN;
        enum fly_status status = segment_read(scan, &walk, file, dir, visitor, user, error);
        if (status != FLY_OK) {
            return status;
        }
    }
    report->first_index = walk.first_index;
    report->last_index = walk.entries > 0 ? walk.last_index : report->snapshot_index;
    report->last_term = walk.entries > 0 ? walk.last_term : report->snapshot_term;
    report->entries = walk.entries;
    report->batches = walk.batches;
    if (walk.torn_seen) {
        report->torn = true;
        memcpy(report->torn_file, walk.torn.file, sizeof report->torn_file);
        report->torn_offset = walk.torn.offset;
        report->torn_bytes = walk.torn.bytes;
        report->torn_reason = walk.torn.reason;
    }
    return segment_walk_end(&walk, error);
}

static enum fly_status scan_files(struct journal_scan *scan, const char *dir,
                                  const struct journal_visitor *visitor, void *user,
                                  struct fly_error *error)
{
    enum fly_status status = mark_read(scan, dir, error);
    if (status == FLY_OK) {
        status = metadata_read(scan, dir, error);
    }
    if (status == FLY_OK) {
        status = snapshot_read(scan, dir, visitor, user, error);
    }
    if (status == FLY_OK) {
        status = segments_read(scan, dir, visitor, user, error);
    }
    if (status != FLY_OK) {
        return status;
    }
    struct journal_report *report = &scan->report;
    report->acknowledged = scan->mark_found ? scan->mark.index : 0;
    report->empty = report->last_index == 0;
    scan->unfounded = report->empty;
    if (report->empty && scan->metadata.version > 1) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "metadata%u: offset 8: version %" PRIu64
                             " without a log: its segments are missing",
                             scan->metadata.version % 2 == 1 ? 1 : 2, scan->metadata.version);
    }
    if (!report->empty && scan->metadata.term < report->last_term) {
        return fly_error_set(
            error, FLY_DATA_LOSS,
            "metadata%u: offset 16: term %" PRIu64 ", but the log holds an entry of term %" PRIu64,
            scan->metadata.version % 2 == 1 ? 1 : 2, scan->metadata.term, report->last_term);
    }
    return FLY_OK;
}

enum fly_status journal_scan_read(struct journal_scan *scan, const char *dir,
                                  const struct journal_visitor *visitor, void *user,
                                  struct fly_error *error)
{
    memset(scan, 0, sizeof *scan);
    segment_crc_init(&scan->crc);
    enum fly_status status = list_read(scan, dir, error);
    return status == FLY_OK ? scan_files(scan, dir, visitor, user, error) : status;
}

void journal_scan_drop(struct journal_scan *scan)
{
    free(scan->files);
    scan->files = NULL;
    scan->file_count = 0;
}

enum fly_status journal_check(const char *dir, const struct journal_visitor *visitor, void *user,
                              struct journal_report *report, struct fly_error *error)
{
    struct journal_scan scan;
    enum fly_status status = journal_scan_read(&scan, dir, visitor, user, error);
    if (report != NULL) {
        *report = scan.report;
    }
    journal_scan_drop(&scan);
    return status;
}
