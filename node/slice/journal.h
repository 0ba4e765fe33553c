/*
 * journal - the durable log of one slice: libraft with its libuv disk backend, one voter for now.
 *
 * Every entry is acknowledged (apply) only after libraft wrote it with O_DSYNC. Before libraft sees
 * the folder, our own reader (segment.h) walks every byte of it: a torn tail is reported, kept
 * aside and repaired by us; every other damage is refused by file, offset and reason. After that
 * libraft has nothing left to decide. The file `mark` remembers the last acknowledged index, so
 * that a log cut exactly between two writes is seen too (docs/decisions/0002-journal.md).
 *
 * Shell: libraft, libuv, files. All calls and hooks are on the thread of the loop, but encode().
 * The journal never listens and never connects; its ids hold no address (DESIGN 10).
 */
#ifndef FLY_NODE_SLICE_JOURNAL_H
#define FLY_NODE_SLICE_JOURNAL_H

#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;
struct uv_loop_s;

enum {
    JOURNAL_ENTRY_MAX = 1024 * 1024,      /* bytes of one entry */
    JOURNAL_IN_FLIGHT_MAX = 65536,        /* entries submitted and not yet applied */
    JOURNAL_BYTES_MAX = 64 * 1024 * 1024, /* bytes of entries in flight */
    JOURNAL_DIR_MAX = 512,                /* bytes of a folder's path, NUL included */
};

struct journal_hooks {
    /* A committed command entry, in log order, the same at replay and live. `data` is borrowed for
     * the call. May call journal_append; may not close the journal. */
    void (*apply)(void *user, uint64_t index, uint64_t term, const uint8_t *data, size_t size);
    /* This replica leads `term` and every earlier entry has been applied: the owner may now propose
     * the entry of its own term. Once per open, from the loop, never inside journal_open; the term
     * is higher than in every earlier open of this folder. */
    void (*lead)(void *user, uint64_t term);
    /* An append failed after its submission, or the log stopped: the outcome of everything in
     * flight is unknown, no apply() will follow. The journal refuses everything until it was closed
     * and opened again. Called at most once, from the loop; may call journal_close. */
    void (*failed)(void *user, const struct fly_error *error);
    /* Snapshot of the applied state. view(): on the loop, cheap; an immutable picture, or NULL to
     * put it off. encode(): on a pool thread; picture -> *data from malloc (the journal frees it).
     * release(): on the loop, exactly once per view. All three end before closed(). */
    void *(*view)(void *user);
    enum fly_status (*encode)(void *user, void *view, uint8_t **data, size_t *size);
    void (*release)(void *user, void *view);
    /* The newest snapshot, at most once, inside journal_open, before any apply(). `data` is
     * borrowed and has passed its checksum. An error refuses the open with the text in `error`. */
    enum fly_status (*restore)(void *user, const uint8_t *data, size_t size,
                               struct fly_error *error);
};

/* Zero means the default in brackets. */
struct journal_config {
    const char *dir;            /* the slice's folder; must exist; copied */
    struct uv_loop_s *loop;     /* borrowed until closed() was called */
    struct journal_hooks hooks; /* all set; copied */
    void *user;
    uint64_t id;               /* raft id of this replica [1]; never an address */
    size_t segment_bytes;      /* size of a new segment file [8 MiB] */
    unsigned snapshot_entries; /* a snapshot is due after so many entries [65536] */
    size_t snapshot_bytes;     /* or after so many bytes of log [8 MiB] */
    unsigned snapshot_growth;  /* but not before the log is this many % of the last one [100] */
    unsigned trailing;         /* entries kept behind a snapshot [1024] */
};

struct journal_stats {
    uint64_t term;
    uint64_t last_index;    /* last entry applied */
    uint64_t submitted;     /* entries, since open */
    uint64_t applied;       /* command entries, since open, replay included */
    uint64_t replayed;      /* of those, at open */
    uint64_t applied_bytes; /* of command entries */
    uint64_t refused;       /* appends refused before submission */
    uint64_t in_flight;     /* entries submitted and not yet applied */
    int64_t unanswered_ms;  /* since the disk answered last, while entries wait for it; 0 */
    uint64_t log_bytes;     /* entry bytes since the last snapshot */
    uint64_t snapshots;     /* taken since open */
    uint64_t snapshot_failures;
    uint64_t snapshot_bytes; /* of the newest one */
    uint64_t snapshot_index; /* of the newest one */
    int64_t snapshot_ms;     /* view to durable, of the newest one taken */
    int64_t view_stall_us;   /* longest view() on the loop */
    uint64_t torn_tails;     /* repaired at this open: 0 or 1 */
    uint64_t torn_bytes;
    int64_t open_ms; /* check, repair, load, replay */
};

/* Opens the log of a folder, creating it when the folder holds none. Calls restore() and may call
 * apply() for the whole log before it returns. On an error nothing is left open and nothing was
 * changed but a torn tail that was repaired; FLY_DATA_LOSS: the folder is damaged, `error` names
 * file, offset, reason and what to do; FLY_RESOURCE_EXHAUSTED: disk full; FLY_UNAVAILABLE: other
 * trouble with the disk, or the folder is not closed yet: another try may work. After an error no
 * hook is called any more, but the loop has to turn to end what was begun. */
enum fly_status journal_open(struct journal **out, const struct journal_config *config,
                             struct fly_error *error);

/* Submits one entry of 1..JOURNAL_ENTRY_MAX bytes, or a quarter of a segment if that is less
 * (copied). FLY_OK: submitted; it ends in apply(), or in failed() for all that are in flight. Any
 * error: certainly not submitted and never will be. Entries of one loop turn share writes. */
enum fly_status journal_append(struct journal *j, const uint8_t *data, size_t size,
                               struct fly_error *error);

/* Stops; entries in flight may still become durable but are not applied here. `closed` is called
 * from the loop when every handle is gone and the memory was freed; the folder may be opened again
 * from inside it. */
void journal_close(struct journal *j, void (*closed)(void *user), void *user);

/* False before the first lead() and after failed(). */
bool journal_ready(const struct journal *j);

void journal_stats(const struct journal *j, struct journal_stats *out);

/* What a walk over a folder found. All names are relative to the folder. */
struct journal_report {
    bool empty;               /* no log here yet */
    uint64_t term, voted_for; /* from the newest metadata file */
    uint64_t first_index;     /* first entry still in a segment, 0 when there is none */
    uint64_t last_index, last_term;
    uint64_t entries, batches;
    uint64_t segments_closed, segments_open;
    uint64_t snapshot_index, snapshot_term; /* 0 when there is none */
    uint64_t snapshot_bytes;
    uint64_t acknowledged; /* index in the mark; 0 when it is missing */
    bool mark_missing;
    bool loss_accepted; /* the operator's file accept-loss is there: the mark counts for nothing */
    bool torn;          /* a torn tail: reported, not damage */
    char torn_file[64];
    uint64_t torn_offset, torn_bytes;
    const char *torn_reason; /* static text */
    unsigned mark_bad_slots; /* broken, but a later or earlier one is whole */
    uint64_t ignored_files;  /* unknown names, left alone */
};

/* Called in order: the newest snapshot first (when there is one), then every entry after it. Data
 * is borrowed for the call. An error ends the walk and is handed back. */
struct journal_visitor {
    enum fly_status (*snapshot)(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                                size_t size, struct fly_error *error);
    enum fly_status (*entry)(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                             size_t size, struct fly_error *error);
};

/* Reads the whole folder, changes nothing, and verifies every byte of it: the code behind
 * `flynode check` and behind journal_open. `visitor` and `report` may be NULL. FLY_DATA_LOSS names
 * file, offset and reason. The folder should not be open elsewhere (the caller holds the lock). */
enum fly_status journal_check(const char *dir, const struct journal_visitor *visitor, void *user,
                              struct journal_report *report, struct fly_error *error);

#endif
