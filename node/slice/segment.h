/*
 * segment - reads the files of a libraft log from memory and believes nothing.
 *
 * libraft repairs damage by forgetting. This reader runs before it and decides instead: a walk over
 * the segment files hands out verified entries in order, and ends in one of three ways: the log is
 * whole; its last, unacknowledged write is torn (reported, to be cut off by the caller); or the
 * folder is refused with file, offset and reason.
 *
 * The format, little endian (libraft 0.15, raft/uv.h): a segment is a u64 format (1) and batches;
 * a batch is {u32 crc of header, u32 crc of data, header {u64 count, count x {u64 term, u8 type,
 * 3 bytes unused, u32 size}}, data}. An open segment is allocated with zeros and may end in them.
 *
 * Our command entries carry a wrap {u64 index, u64 term, u64 acknowledged, u32 size, u32 zero}
 * before their bytes and zeros behind them to a multiple of 8. `index` proves the place of an
 * entry, which libraft only counts; `acknowledged` is the last index known to be durable when the
 * entry was submitted: if it covers a broken batch before it, that batch was no torn write.
 *
 * Pure: no files, clock, log or heap. The caller reads the files and sorts their names.
 */
#ifndef FLY_NODE_SLICE_SEGMENT_H
#define FLY_NODE_SLICE_SEGMENT_H

#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SEGMENT_NAME_MAX = 64,
    SEGMENT_HEAD_SIZE = 8,       /* format of a segment file */
    SEGMENT_WRAP_SIZE = 32,      /* before the bytes of a command */
    SEGMENT_METADATA_SIZE = 32,  /* a metadata file */
    SEGMENT_SNAPSHOT_HEAD = 32,  /* before the bytes of a snapshot */
    SEGMENT_FILE_MAX = 1u << 30, /* bytes of any file we read */
};

/* libraft's CRC-32: polynomial 04C11DB7, highest bit first, no initial value, no inversion. Eight
 * bytes at a time; 8 KiB of tables, made once. */
struct segment_crc {
    uint32_t table[8][256];
};

void segment_crc_init(struct segment_crc *crc);
/* Continues from `sum`; begin with 0. */
uint32_t segment_crc_update(const struct segment_crc *crc, uint32_t sum, const void *data,
                            size_t size);

/* What a file name in the folder means. */
enum segment_kind {
    SEGMENT_OTHER,         /* not libraft's: left alone */
    SEGMENT_LOOKALIKE,     /* libraft would take it for its own, but never writes it so: refused */
    SEGMENT_METADATA,      /* a: 1 or 2 */
    SEGMENT_CLOSED,        /* a: first index, b: last index */
    SEGMENT_OPEN,          /* a: counter */
    SEGMENT_SNAPSHOT,      /* a: term, b: index, c: timestamp */
    SEGMENT_SNAPSHOT_META, /* the same */
    SEGMENT_TEMPORARY,     /* tmp-*: libraft removes it */
};

struct segment_name {
    enum segment_kind kind;
    uint64_t a, b, c;
};

struct segment_name segment_name_parse(const char *name);
/* Order in which a walk wants its files: closed by index, then open by counter. <0, 0, >0. */
int segment_name_compare(const struct segment_name *x, const struct segment_name *y);

enum segment_type { SEGMENT_COMMAND = 1, SEGMENT_BARRIER = 2, SEGMENT_CHANGE = 3 };

struct segment_entry {
    uint64_t index, term;
    enum segment_type type;
    const uint8_t *data; /* a command without its wrap; borrowed from the file */
    size_t size;
};

struct segment_wrap {
    uint64_t index, term;
    uint64_t acknowledged; /* last index known to be durable at submission */
};

/* Bytes a command of `size` bytes takes with its wrap. */
size_t segment_wrap_size(size_t size);
/* Writes wrap, bytes (at least one) and padding: segment_wrap_size(size) bytes at `out`. */
void segment_wrap_encode(uint8_t *out, const struct segment_wrap *wrap, const uint8_t *data,
                         size_t size);
/* The inverse; *out borrows. FLY_DATA_LOSS with a text that has no file name. */
enum fly_status segment_wrap_decode(const uint8_t *data, size_t size, struct segment_wrap *wrap,
                                    const uint8_t **out, size_t *out_size, struct fly_error *error);

/* Where the log was torn: the first byte of the write that did not finish. */
struct segment_torn {
    char file[SEGMENT_NAME_MAX];
    uint64_t offset, bytes; /* `bytes`: up to the last one that is not zero */
    const char *reason;     /* static text */
};

struct segment_walk {
    const struct segment_crc *crc; /* borrowed */
    uint64_t snapshot_index, snapshot_term;
    uint64_t acknowledged;
    /* results so far */
    uint64_t first_index;           /* 0: no entry yet */
    uint64_t last_index, last_term; /* of the last good entry, or of the snapshot */
    uint64_t entries, batches;
    char end_file[SEGMENT_NAME_MAX]; /* where the last good batch ends */
    uint64_t end_offset;
    bool torn_seen;
    struct segment_torn torn;
    /* the file at hand */
    char file[SEGMENT_NAME_MAX];
    struct segment_name name;
    const uint8_t *data;
    size_t size;
    size_t offset;       /* next batch; after the file's end: where its good bytes end */
    uint64_t next_index; /* 0: not known yet */
    uint64_t file_first; /* index of the file's first entry, 0 before it */
    /* the batch at hand */
    size_t left;
    size_t head_at, data_at, end_at;
    bool done;
};

/* `acknowledged`: the mark's index, 0 for none. Without a snapshot, index and term are 0. */
void segment_walk_begin(struct segment_walk *w, const struct segment_crc *crc,
                        uint64_t snapshot_index, uint64_t snapshot_term, uint64_t acknowledged);

/* Where an open segment claims to start, by its first wrap; 0 when it does not say. Not verified:
 * only for putting files into order. */
uint64_t segment_peek(const uint8_t *data, size_t size);

/* Starts the next file, in the order of their entries; its bytes are borrowed until the next call.
 * Drain it with segment_walk_next before the next one. */
enum fly_status segment_walk_file(struct segment_walk *w, const char *file, const uint8_t *data,
                                  size_t size, struct fly_error *error);

/* The next entry of the file; *found is false at its end. A batch is verified whole before its
 * first entry comes out. */
enum fly_status segment_walk_next(struct segment_walk *w, struct segment_entry *out, bool *found,
                                  struct fly_error *error);

/* After the last file: does the log join the snapshot, and hold all that was acknowledged? */
enum fly_status segment_walk_end(const struct segment_walk *w, struct fly_error *error);

/* One metadata file. version 0: there is none. */
struct segment_metadata {
    uint64_t version, term, vote;
};

/* Reads metadata<number>. `data` NULL: no such file. A short file is the trace of a creation that
 * did not finish: version 0. */
enum fly_status segment_metadata_decode(unsigned number, const uint8_t *data, size_t size,
                                        struct segment_metadata *out, struct fly_error *error);

/* Snapshot files. The meta file has libraft's own checksum; our head adds one to the data. */
enum fly_status segment_snapshot_meta_check(const struct segment_crc *crc, const char *file,
                                            const uint8_t *data, size_t size,
                                            struct fly_error *error);
void segment_snapshot_head_encode(const struct segment_crc *crc, uint8_t out[SEGMENT_SNAPSHOT_HEAD],
                                  uint64_t index, const uint8_t *data, size_t size);
/* The index in a head; not verified. */
uint64_t segment_snapshot_head_index(const uint8_t head[SEGMENT_SNAPSHOT_HEAD]);
/* Verifies head and bytes of a data file; *out borrows the bytes behind the head. */
enum fly_status segment_snapshot_decode(const struct segment_crc *crc, const char *file,
                                        uint64_t index, const uint8_t *data, size_t size,
                                        const uint8_t **out, size_t *out_size,
                                        struct fly_error *error);

#endif
