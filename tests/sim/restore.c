/*
 * restore - a copy of a slice's disk is put aside, and comes back later in place of the disk, while
 * its process is down; or the disk comes back empty. Only where some edge saw more than the copy
 * has: what nobody saw, nobody can miss (events are seen, binds and cancels are not).
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "tests/sim/sim.h"

static struct sim_entry copy_of(const struct sim_entry *e)
{
    struct sim_entry copy = {.size = e->size};

    if (e->data != NULL) {
        copy.data = malloc(e->size);
        FLY_CHECK(copy.data != NULL);
        memcpy(copy.data, e->data, e->size);
    }
    return copy;
}

void restore_free(struct sim_slice *s)
{
    oracle_destroy(s->backup.oracle);
    free(s->backup.snapshot.data);
    s->backup = (struct sim_backup){.oracle = NULL};
}

void restore_backup(struct sim_world *w, struct sim_slice *s)
{
    if (s->committed == 0 || s->below) {
        return;
    }
    restore_free(s);
    s->backup = (struct sim_backup){.oracle = oracle_copy(s->oracle),
                                    .entries = s->committed,
                                    .snapshot = copy_of(&s->snapshot),
                                    .snapshot_index = s->snapshot_index,
                                    .event_count = s->event_count,
                                    .term = s->term};
    sim_trace(w, "s%u: a copy of its disk is put aside, %u entries", s->index, s->committed);
}

static bool somebody_saw_more(const struct sim_world *w, const struct sim_slice *s, bool wipe)
{
    for (uint32_t i = 0; i < w->edge_count; i++) {
        const struct standing_seen *seen = &w->edges[i].seen[s->index];
        if (seen->known && seen->incarnation == s->oracle->totals.incarnation &&
            (wipe || seen->seq > s->backup.oracle->totals.seq)) {
            return true;
        }
    }
    return false;
}

/* What the checker knows of VMs that are not in the log any more, or live again. */
static void lose(struct sim_world *w, struct sim_slice *s)
{
    for (uint32_t i = 0; i < w->vm_count; i++) {
        struct sim_vm *vm = &w->vms[i];
        if (vm->slice != s->index) {
            continue;
        }
        const struct slice_record *r = oracle_vm(s->oracle, vm->id);
        if (r == NULL && !vm->destroyed) {
            vm->lost = true;
            cover_hit(COVER_VM_LOST);
        } else if (r != NULL && vm->destroyed) {
            vm->revived = true;
            vm->destroyed = r->state == VM_DESTROYED;
            vm->destroy_acknowledged &= vm->destroyed;
        }
    }
}

void restore_strike(struct sim_world *w, struct sim_slice *s)
{
    bool wipe = sim_chance(w, 60);

    if (s->below || (!wipe && s->backup.oracle == NULL) || !somebody_saw_more(w, s, wipe)) {
        return;
    }
    if (s->owner != NULL) {
        authority_crash(w, s);
    }
    cover_hit(wipe ? COVER_WIPED : COVER_RESTORED);
    uint32_t entries = wipe ? 0 : s->backup.entries;
    sim_trace(w, "s%u: its disk is an old copy now, %u of %u entries", s->index, entries,
              s->committed);
    while (s->log_count > entries) {
        free(s->log[--s->log_count].data);
    }
    s->committed = entries;
    free(s->late.data);
    s->late = (struct sim_entry){.data = NULL};
    free(s->snapshot.data);
    s->snapshot = wipe ? (struct sim_entry){.data = NULL} : copy_of(&s->backup.snapshot);
    s->snapshot_index = wipe ? 0 : s->backup.snapshot_index;
    oracle_destroy(s->oracle);
    s->oracle = wipe ? oracle_create(&s->config.slice) : oracle_copy(s->backup.oracle);
    s->event_count = wipe ? 0 : s->backup.event_count;
    s->event_base = wipe ? 0 : s->event_base;
    s->term = wipe ? 0 : s->backup.term; /* raft's term is on that disk, too */
    s->below = true;
    s->wiped |= wipe;
    lose(w, s);
    if (wipe) {
        restore_free(s);
    }
}

/* The loss is in the log. Keys that it does not make too old promise nothing any more. */
void restore_accepted(struct sim_world *w, struct sim_slice *s)
{
    cover_hit(COVER_LOSS_ACCEPTED);
    s->below = false;
    restore_free(s);
    if (s->oracle->totals.machines == 0) {
        world_add_machines(w, s);
    }
    for (uint32_t i = 0; i < w->key_count; i++) {
        struct sim_key *k = &w->keys[i];
        bool here = k->home == s->index;
        if (here) {
            k->unsure = true;
            k->cancelled_until_ms = 0;
        }
        for (uint32_t v = 0; v < w->vm_count && !here; v++) {
            here = w->vms[v].key == i && w->vms[v].slice == s->index;
        }
        if (here &&
            (!key_minted(&k->key) || key_mint_s(&k->key) > s->oracle->totals.purged_mint_s)) {
            k->exempt = true;
            k->cancelled_until_ms = 0;
        }
    }
}
