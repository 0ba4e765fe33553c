/*
 * disk - the log of one slice as a single voter keeps it, seen from outside libraft.
 *
 * An append is refused before submission (disk full), or is under way until the disk is done with
 * it. A crash or an error after submission keeps a random prefix of what was under way: the rest is
 * the torn tail. What was acknowledged is never lost: that is the journal's own contract.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "tests/sim/sim.h"

static struct sim_entry entry_copy(const uint8_t *data, size_t size)
{
    struct sim_entry e = {.data = malloc(size), .size = size};

    FLY_CHECK(e.data != NULL);
    memcpy(e.data, data, size);
    return e;
}

static void push(struct sim_slice *s, struct sim_entry entry)
{
    if (s->log_count == s->log_max) {
        s->log_max = s->log_max == 0 ? 64 : 2 * s->log_max;
        s->log = realloc(s->log, s->log_max * sizeof *s->log);
        FLY_CHECK(s->log != NULL);
    }
    s->log[s->log_count++] = entry;
}

bool disk_submit(struct sim_world *w, struct sim_slice *s, const uint8_t *data, size_t size)
{
    if (sim_chance(w, w->faults.disk_full)) {
        cover_hit(COVER_DISK_FULL);
        sim_trace(w, "s%u: append refused", s->index);
        return false;
    }
    push(s, entry_copy(data, size));
    int64_t takes_ms =
        sim_chance(w, w->faults.slow_disk) ? sim_between(w, 50, 4000) : sim_between(w, 0, 6);
    if (s->append_free_ms < w->now_ms) {
        s->append_free_ms = w->now_ms;
    }
    s->append_free_ms += takes_ms; /* one after the other */
    sim_at(w, s->append_free_ms, SIM_APPEND, s->index, 0, s->life, NULL);
    if (sim_chance(w, w->faults.crash_append)) {
        sim_at(w, sim_between(w, w->now_ms, s->append_free_ms + 3), SIM_CRASH, s->index, 0, s->life,
               NULL);
    }
    return true;
}

void disk_commit(struct sim_world *w, struct sim_slice *s)
{
    static struct oracle_effects effects;

    FLY_CHECK(s->committed < s->log_count);
    const struct sim_entry *e = &s->log[s->committed++];
    uint64_t forgotten = s->oracle->forgotten;
    if (oracle_apply(s->oracle, e->data, e->size, &effects) != FLY_OK) {
        sim_fail(w, "s%u: entry %u of the log does not decode", s->index, s->committed);
    }
    for (; forgotten < s->oracle->forgotten; forgotten++) {
        cover_hit(COVER_FORGOTTEN);
    }
    check_entry(w, s, &effects);
}

void disk_break(struct sim_world *w, struct sim_slice *s)
{
    uint32_t kept = (uint32_t)sim_below(w, s->log_count - s->committed + 1);

    /* What was durable, acknowledged by the disk but not looked at by the process, stays. */
    kept = kept < s->appends_over ? s->appends_over : kept;
    for (; kept > 0; kept--) {
        cover_hit(COVER_APPEND_KEPT);
        disk_commit(w, s);
    }
    while (s->log_count > s->committed) {
        struct sim_entry *e = &s->log[--s->log_count];
        cover_hit(COVER_APPEND_TORN);
        if (s->late.data == NULL && sim_chance(w, w->faults.late_append)) {
            s->late = *e;
        } else {
            free(e->data);
        }
    }
    s->appends_over = 0;
    s->append_free_ms = 0;
}

void disk_append_late(struct sim_world *w, struct sim_slice *s)
{
    if (s->late.data == NULL || s->log_count != s->committed || !sim_chance(w, 60)) {
        return;
    }
    cover_hit(COVER_APPEND_LATE);
    sim_trace(w, "s%u: a dead leader's batch is appended", s->index);
    push(s, s->late);
    s->late.data = NULL;
    disk_commit(w, s);
    const struct sim_entry *e = &s->log[s->committed - 1];
    if (owner_apply(s->owner, e->data, e->size, NULL) != FLY_OK) {
        sim_fail(w, "s%u: owner_apply refuses a late batch", s->index);
    }
}

void disk_snapshot(struct sim_world *w, struct sim_slice *s)
{
    size_t max = snapshot_size_max(s->view);
    uint8_t *data = malloc(max);

    FLY_CHECK(data != NULL);
    size_t size = snapshot_encode(s->view, data, max);
    slice_view_drop(owner_state(s->owner), s->view);
    s->view = NULL;
    free(s->snapshot.data);
    s->snapshot = (struct sim_entry){.data = data, .size = size};
    s->snapshot_index = s->view_index;
    cover_hit(COVER_SNAPSHOT);
    sim_trace(w, "s%u: snapshot of %u entries, %zu bytes", s->index, s->snapshot_index, size);
}

void disk_free(struct sim_slice *s)
{
    for (uint32_t i = 0; i < s->log_count; i++) {
        free(s->log[i].data);
    }
    free(s->log);
    free(s->snapshot.data);
    free(s->late.data);
    restore_free(s);
}
