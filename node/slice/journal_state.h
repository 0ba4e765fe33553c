/*
 * journal_state - the inside of a journal, shared by its own files only.
 *
 * journal.c: open, append, close. journal_mark.c: the mark's file. journal_repair.c: torn tails.
 * journal_io.c: what stands between libraft and its disk. journal_fsm.c: apply and snapshots.
 * Shell.
 */
#ifndef FLY_NODE_SLICE_JOURNAL_STATE_H
#define FLY_NODE_SLICE_JOURNAL_STATE_H

#include "node/slice/journal.h"
#include "node/slice/journal_scan.h"

#include <raft.h>
#include <raft/uv.h>
#include <uv.h>

/* An append waiting for the end of the loop's turn. */
struct journal_pending {
    struct journal_pending *next;
    size_t size;
    uint8_t data[];
};

/* A libraft append whose outcome libraft must not learn before it is closed. */
struct journal_write {
    struct raft_io_append request; /* ours, given to the disk */
    struct journal *journal;
    struct raft_io_append *origin; /* libraft's */
    raft_io_append_cb callback;
    struct journal_write *next;
};

struct journal {
    struct journal_config config;
    char dir[JOURNAL_DIR_MAX];
    struct segment_crc crc;
    size_t entry_max, batch_max; /* bytes, by the size of a segment */

    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft_uv_transport transport;
    /* the disk's own functions, behind ours */
    int (*io_append)(struct raft_io *, struct raft_io_append *, const struct raft_entry[], unsigned,
                     raft_io_append_cb);
    int (*io_set_term)(struct raft_io *, raft_term);
    int (*io_set_vote)(struct raft_io *, raft_id);
    void (*io_close)(struct raft_io *, raft_io_close_cb);
    int (*io_snapshot_put)(struct raft_io *, unsigned, struct raft_io_snapshot_put *,
                           const struct raft_snapshot *, raft_io_snapshot_put_cb);
    struct journal_write *held_first, **held_last;
    raft_io_close_cb io_close_callback; /* libraft's */
    unsigned close_turns;               /* since the disk said that it is closed; 0 before */

    int mark_fd;
    struct segment_mark mark;

    uv_idle_t turn; /* runs at the start of the next turn, when there is something to do */
    bool turn_open;
    struct journal_pending *pending_first, **pending_last;
    size_t in_flight_bytes;

    uint64_t
        answered_ms; /* loop time of the disk's last answer, or of the first entry that waits */

    bool raft_open; /* raft_init succeeded */
    bool leading;   /* lead() was called */
    bool dead;      /* an outcome is unknown: no apply, no append */
    bool told;      /* failed() was called */
    bool stuck;     /* libraft could not submit a write: it will not end a close */
    bool closing;
    struct fly_error error; /* why it is dead */
    enum fly_status restore_status;
    void (*closed)(void *user);
    void *closed_user;

    uint64_t replay_last; /* entries up to here were there at open */
    /* the snapshot under way */
    void *view;
    bool viewing;
    uint64_t view_index;
    int64_t view_ms;
    uint8_t *encoded;
    size_t encoded_size;
    uint8_t encoded_head[SEGMENT_SNAPSHOT_HEAD];
    uint64_t entries_since; /* since the last snapshot */

    struct journal_stats stats;
};

/* journal_mark.c. Opens and locks the mark's file; *found is false when it was created now, empty.
 */
enum fly_status journal_mark_open(struct journal *j, bool *found, struct fly_error *error);
/* Takes over the mark that was read, or writes a new one where there is none (or it was accepted
 * that it counts for nothing), and notes what founding is about to write. Synced. */
enum fly_status journal_mark_settle(struct journal *j, const struct journal_scan *scan,
                                    struct fly_error *error);
/* Writes the next slot; into the page cache only unless `sync`. */
enum fly_status journal_mark_write(struct journal *j, bool sync, struct fly_error *error);

/* journal_repair.c. Brings the folder to where libraft has nothing to decide: the torn bytes are
 * copied to torn-<file>-<offset> and cut off, open segments are closed under the names of what they
 * hold, a founding that did not finish is undone. */
enum fly_status journal_repair(struct journal *j, struct journal_scan *scan,
                               struct fly_error *error);

/* journal_io.c */
void journal_io_wrap(struct journal *j);
void journal_transport_init(struct raft_uv_transport *transport);

/* journal_fsm.c */
void journal_fsm_init(struct journal *j);
void journal_view_drop(struct journal *j);

/* journal.c: the outcome of what is in flight is unknown from now on. The first reason stays. */
__attribute__((format(printf, 3, 4))) void journal_die(struct journal *j, enum fly_status status,
                                                       const char *format, ...);
/* Ends a close that libraft will not end (`stuck`), once no snapshot is under way. */
void journal_abandon(struct journal *j);
/* A libraft error as a status. */
enum fly_status journal_raft_status(int code);
const char *journal_raft_text(int code);

#endif
