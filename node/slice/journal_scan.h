/*
 * journal_scan - a slice folder as our reader sees it: the code behind journal_check and
 * journal_open. Shell: reads files, changes nothing.
 */
#ifndef FLY_NODE_SLICE_JOURNAL_SCAN_H
#define FLY_NODE_SLICE_JOURNAL_SCAN_H

#include "node/slice/journal.h"
#include "node/slice/segment_check.h"

struct journal_scan {
    const char *dir; /* borrowed */
    struct segment_crc crc;
    struct segment_check check; /* its files are heap */
    uint64_t ignored;           /* names that are nobody's */
    uint8_t *bytes;             /* the file at hand */
};

/* Fills `scan`, which must be dropped on every outcome. It may not be moved: check points into it.
 */
enum fly_status journal_scan_read(struct journal_scan *scan, const char *dir,
                                  const struct segment_visitor *visitor, void *user,
                                  struct fly_error *error);
void journal_scan_report(const struct journal_scan *scan, struct journal_report *out);
void journal_scan_drop(struct journal_scan *scan);

/* Reads a whole file, at most `max` bytes, into fresh heap memory. NULL data when it is not there
 * (FLY_NOT_FOUND). */
enum fly_status journal_file_read(const char *dir, const char *file, size_t max, uint8_t **data,
                                  size_t *size, struct fly_error *error);
/* "file: verb: reason" from errno; ENOSPC and EDQUOT are FLY_RESOURCE_EXHAUSTED, the rest
 * FLY_UNAVAILABLE. */
enum fly_status journal_file_error(struct fly_error *error, const char *file, const char *verb);
/* dir/file; false when it does not fit. */
bool journal_file_path(char out[JOURNAL_DIR_MAX + SEGMENT_NAME_MAX * 2], const char *dir,
                       const char *file);

#endif
