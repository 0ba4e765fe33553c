/*
 * segment_check - a whole slice folder: mark, metadata, newest snapshot, segments, in this order.
 *
 * The code behind `flynode check` and behind the opening of a log. It asks for files by name and
 * judges their bytes; whoever owns them (a folder, a test, a fuzzer) hands them out.
 * Pure: no files, no heap.
 */
#ifndef FLY_NODE_SLICE_SEGMENT_CHECK_H
#define FLY_NODE_SLICE_SEGMENT_CHECK_H

#include "node/slice/segment.h"
#include "node/slice/segment_mark.h"
#include "proto/base/bytes.h"

/* The operator's word: what the mark cannot vouch for is accepted as lost. */
#define SEGMENT_ACCEPT_FILE "accept-loss"
#define SEGMENT_MARK_FILE "mark"

struct segment_file {
    char file[SEGMENT_NAME_MAX];
    struct segment_name name;
    /* found by the check */
    uint64_t size;
    uint64_t keep;        /* open segments: bytes that hold whole batches */
    uint64_t first, last; /* entries in it; 0 when there are none */
};

/* Takes a name from the folder's list: *wanted when it belongs into `files`, *accept when it is the
 * operator's word. FLY_DATA_LOSS for a name that libraft would misread. */
enum fly_status segment_file_take(struct segment_file *file, const char *name, bool *wanted,
                                  bool *accept, struct fly_error *error);
/* Order of the list: by kind, then numbers. */
int segment_file_compare(const struct segment_file *x, const struct segment_file *y);

/* Bytes of a file, borrowed until the next read. FLY_NOT_FOUND when there is none. */
struct segment_source {
    void *user;
    enum fly_status (*read)(void *user, const char *file, size_t max, struct fly_bytes *out,
                            struct fly_error *error);
};

/* May be NULL, as may its functions. Snapshot first, then the commands behind it, in order. */
struct segment_visitor {
    enum fly_status (*snapshot)(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                                size_t size, struct fly_error *error);
    enum fly_status (*entry)(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                             size_t size, struct fly_error *error);
};

struct segment_check {
    /* given */
    const struct segment_crc *crc;
    struct segment_file *files; /* the caller's, in segment_file_compare order */
    size_t file_count;
    bool accepted; /* SEGMENT_ACCEPT_FILE is there: the mark counts for nothing */
    /* found */
    struct segment_mark mark;
    bool mark_found;
    unsigned mark_bad_slots;
    bool unfounded;                   /* no log yet, or a founding that did not finish */
    struct segment_metadata metadata; /* the newest */
    struct segment_metadata older;    /* the other file's */
    uint64_t snapshot_index, snapshot_term, snapshot_bytes;
    uint64_t segments_closed, segments_open;
    uint64_t orphans; /* snapshot files whose other half is not there */
    struct segment_walk walk;
    uint64_t last_index, last_term;
};

/* Fills what is found, as far as it got. `user` is the visitor's. */
enum fly_status segment_check_run(struct segment_check *check, const struct segment_source *source,
                                  const struct segment_visitor *visitor, void *user,
                                  struct fly_error *error);

#endif
