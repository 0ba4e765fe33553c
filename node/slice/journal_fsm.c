/*
 * journal_fsm - libraft's state machine: apply, and the snapshot in three steps (fsm version 3).
 *
 * When to take one is decided here, not by libraft's count of entries: its threshold is held out of
 * reach and lowered for one turn when the log has grown enough against the last snapshot, so that
 * the cost of rewriting the state stays in proportion to the work done since.
 * Shell.
 */
#include "node/slice/journal_state.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* What an entry costs beside its bytes when it is replayed; for the threshold only. */
enum { ENTRY_OVERHEAD = 64 };

static bool snapshot_due(const struct journal *j)
{
    uint64_t grown = j->stats.snapshot_bytes * j->config.snapshot_growth / 100;
    uint64_t bytes = j->config.snapshot_bytes > grown ? j->config.snapshot_bytes : grown;
    uint64_t entries = grown / ENTRY_OVERHEAD > j->config.snapshot_entries
                           ? grown / ENTRY_OVERHEAD
                           : j->config.snapshot_entries;
    return !j->viewing && (j->stats.log_bytes >= bytes || j->entries_since >= entries);
}

/* Everything libraft holds durable is acknowledged by the apply() calls that follow: say so first.
 */
static bool mark_advance(struct journal *j, uint64_t index, uint64_t term)
{
    struct fly_error error;
    if (index <= j->mark.index) {
        return true;
    }
    uint64_t durable = j->raft.commit_index;
    j->mark.index = durable > index ? durable : index;
    j->mark.term = term;
    enum fly_status status = journal_mark_write(j, false, &error);
    if (status != FLY_OK) {
        journal_die(j, status, "%s", error.text);
    }
    return status == FLY_OK;
}

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buffer, void **result)
{
    struct journal *j = fsm->data;
    struct segment_wrap wrap;
    const uint8_t *data = NULL;
    size_t size = 0;
    struct fly_error error;
    *result = NULL;
    if (j->dead || j->closing) {
        return 0;
    }
    FLY_CHECK(segment_wrap_decode(buffer->base, buffer->len, &wrap, &data, &size, &error) ==
              FLY_OK);
    FLY_CHECK(wrap.index > j->stats.last_index);
    if (!mark_advance(j, wrap.index, wrap.term)) {
        return 0;
    }
    j->stats.last_index = wrap.index;
    j->stats.applied++;
    j->stats.applied_bytes += size;
    j->stats.log_bytes += buffer->len + 16;
    j->entries_since++;
    if (wrap.index <= j->replay_last) {
        j->stats.replayed++;
    } else {
        j->stats.in_flight--;
        j->in_flight_bytes -= size;
    }
    j->config.hooks.apply(j->config.user, wrap.index, wrap.term, data, size);
    if (j->leading && snapshot_due(j)) { /* never inside journal_open */
        raft_set_snapshot_threshold(&j->raft, 1);
    }
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer **buffers, unsigned *count)
{
    struct journal *j = fsm->data;
    FLY_CHECK(!j->viewing);
    raft_set_snapshot_threshold(&j->raft, UINT_MAX);
    *buffers = NULL;
    *count = 0;
    int64_t before = fly_clock_boot_us();
    j->view = j->dead || j->closing ? NULL : j->config.hooks.view(j->config.user);
    int64_t stall = fly_clock_boot_us() - before;
    if (stall > j->stats.view_stall_us) {
        j->stats.view_stall_us = stall;
    }
    if (j->view == NULL) {
        return RAFT_BUSY;
    }
    j->viewing = true;
    j->view_index = raft_last_applied(&j->raft);
    j->view_ms = before / 1000;
    j->stats.log_bytes = 0;
    j->entries_since = 0;
    return 0;
}

/* On a pool thread: touches nothing of the journal but the fields of the snapshot under way. */
static int fsm_snapshot_encode(struct raft_fsm *fsm, struct raft_buffer **buffers, unsigned *count)
{
    struct journal *j = fsm->data;
    struct raft_buffer *list = raft_malloc(2 * sizeof *list);
    if (list == NULL) {
        return RAFT_NOMEM;
    }
    enum fly_status status =
        j->config.hooks.encode(j->config.user, j->view, &j->encoded, &j->encoded_size);
    if (status != FLY_OK || j->encoded_size > SEGMENT_FILE_MAX - SEGMENT_SNAPSHOT_HEAD) {
        raft_free(list);
        return RAFT_TOOBIG;
    }
    segment_snapshot_head_encode(&j->crc, j->encoded_head, j->view_index, j->encoded,
                                 j->encoded_size);
    list[0].base = j->encoded_head;
    list[0].len = sizeof j->encoded_head;
    list[1].base = j->encoded;
    list[1].len = j->encoded_size;
    *buffers = list;
    *count = j->encoded_size > 0 ? 2 : 1;
    return 0;
}

void journal_view_drop(struct journal *j)
{
    if (j->viewing) {
        j->config.hooks.release(j->config.user, j->view);
    }
    free(j->encoded);
    j->encoded = NULL;
    j->encoded_size = 0;
    j->view = NULL;
    j->viewing = false;
}

static int fsm_snapshot_finish(struct raft_fsm *fsm, struct raft_buffer **buffers, unsigned *count)
{
    struct journal *j = fsm->data;
    /* libraft's log moved up to the snapshot: that is how it says the files are durable */
    bool stored = j->encoded != NULL && j->raft.log.snapshot.last_index == j->view_index;
    if (stored) {
        j->stats.snapshots++;
        j->stats.snapshot_bytes = j->encoded_size;
        j->stats.snapshot_index = j->view_index;
        j->stats.snapshot_ms = fly_clock_boot_ms() - j->view_ms;
    } else {
        j->stats.snapshot_failures++;
        if (!j->closing) {
            fly_log_warn("journal.snapshot_failed", F_STR("dir", j->dir),
                         F_U64("index", j->view_index), F_STR("reason", j->io.errmsg));
        }
    }
    raft_free(*buffers);
    *buffers = NULL;
    *count = 0;
    journal_view_drop(j);
    if (j->closing && j->stuck) {
        journal_abandon(j);
    }
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buffer)
{
    struct journal *j = fsm->data;
    const uint8_t *data = NULL;
    size_t size = 0;
    uint64_t index =
        buffer->len >= SEGMENT_SNAPSHOT_HEAD ? segment_snapshot_head_index(buffer->base) : 0;
    enum fly_status status = segment_snapshot_decode(&j->crc, "snapshot", index, buffer->base,
                                                     buffer->len, &data, &size, &j->error);
    if (status == FLY_OK) {
        status = j->config.hooks.restore(j->config.user, data, size, &j->error);
    }
    if (status != FLY_OK) {
        j->restore_status = status;
        return RAFT_MALFORMED; /* the buffer stays libraft's */
    }
    j->stats.snapshot_bytes = size;
    j->stats.snapshot_index = index;
    j->stats.last_index = index;
    raft_free(buffer->base);
    return 0;
}

void journal_fsm_init(struct journal *j)
{
    j->fsm.version = 3;
    j->fsm.data = j;
    j->fsm.apply = fsm_apply;
    j->fsm.snapshot = fsm_snapshot;
    j->fsm.snapshot_async = fsm_snapshot_encode;
    j->fsm.snapshot_finalize = fsm_snapshot_finish;
    j->fsm.restore = fsm_restore;
}
