/*
 * journal_scan - a slice folder as our reader sees it: the code behind journal_check and
 * journal_open. Shell: reads files, changes nothing.
 */
#ifndef FLY_NODE_SLICE_JOURNAL_SCAN_H
#define FLY_NODE_SLICE_JOURNAL_SCAN_H

#include "node/slice/journal.h"
#include "node/slice/segment.h"
#include "node/slice/segment_mark.h"

/* The operator's word: what the mark cannot vouch for is accepted as lost. */
#define JOURNAL_ACCEPT_FILE "accept-loss"
#define JOURNAL_MARK_FILE "mark"

struct journal_file {
    char file[SEGMENT_NAME_MAX];
    struct segment_name name;
    uint64_t size;
    uint64_t keep;        /* open segments: bytes that hold whole batches */
    uint64_t first, last; /* entries in it; 0 when there are none */
};

struct journal_scan {
    struct segment_crc crc;
    struct segment_mark mark;
    bool mark_found;
    bool accepted;  /* JOURNAL_ACCEPT_FILE is there: the mark counts for nothing */
    bool empty;     /* nothing of libraft's: a new folder */
    bool unfounded; /* a founding that did not finish: metadata only */
    struct segment_metadata metadata; /* the newest */
    struct segment_metadata older;    /* the other file's */
    struct journal_file *files;       /* sorted; heap */
    size_t file_count;
    struct journal_report report;
};

/* Fills `scan` (crc included). `scan` must be dropped on every outcome. */
enum fly_status journal_scan_read(struct journal_scan *scan, const char *dir,
                                  const struct journal_visitor *visitor, void *user,
                                  struct fly_error *error);
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
