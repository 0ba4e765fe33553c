/* check_end - watchers (I5), and what must be true once everything healed and came to rest. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "tests/sim/sim.h"

void check_watch(struct sim_world *w, struct sim_slice *s, uint32_t watcher)
{
    uint64_t *cursor = &s->cursors[watcher];
    uint64_t first;
    uint64_t last;
    struct event e;

    if (s->owner == NULL || s->paused || !owner_ready(s->owner) || s->silenced) {
        return;
    }
    owner_events_range(s->owner, &first, &last);
    if (last != s->event_base + s->event_count) {
        sim_fail(w, "I5: s%u: the owner's last event is %llu, the log's %llu", s->index,
                 (unsigned long long)last, (unsigned long long)s->event_base + s->event_count);
    }
    uint64_t incarnation = slice_totals(owner_state(s->owner))->incarnation;
    if (s->cursors_of[watcher] != incarnation) { /* another log: everything is new */
        s->cursors_of[watcher] = incarnation;
        *cursor = 0;
    }
    if (*cursor > last) {
        sim_fail(w, "I5: s%u: watcher %u saw event %llu, the owner ends at %llu", s->index, watcher,
                 (unsigned long long)*cursor, (unsigned long long)last);
    }
    if (*cursor + 1 < first) { /* a snapshot with its seq, shown as reset, never silence */
        cover_hit(COVER_WATCH_RESET);
        *cursor = slice_totals(owner_state(s->owner))->seq;
    }
    uint64_t at_most = *cursor + 1 + sim_below(w, 20);
    for (uint64_t seq = *cursor + 1; seq <= last && seq < at_most; seq++) {
        if (!owner_event(s->owner, seq, &e)) {
            sim_fail(w, "I5: s%u: event %llu of %llu..%llu is not there", s->index,
                     (unsigned long long)seq, (unsigned long long)first, (unsigned long long)last);
        }
        const char *what = oracle_compare_event(&s->events[seq - s->event_base - 1], &e);
        if (what != NULL) {
            sim_fail(w, "I5: s%u: event %llu differs from the log in: %s", s->index,
                     (unsigned long long)seq, what);
        }
        *cursor = seq;
        cover_hit(COVER_WATCHED);
    }
    if (owner_event(s->owner, last + 1, &e)) {
        sim_fail(w, "I5: s%u: there is an event behind the last", s->index);
    }
}

/* A replica that starts from nothing and reads the whole log. */
static void check_replay(struct sim_world *w, struct sim_slice *s)
{
    struct owner_config config = s->config;
    const char *what;

    config.boot =
        ~config.boot | 1; /* a boot of its own, or it takes the log's batches for its own */
    struct owner *fresh = owner_init(calloc(1, owner_size(&config)), &config);

    for (uint32_t i = 0; i < s->committed; i++) {
        if (owner_apply(fresh, s->log[i].data, s->log[i].size, NULL) != FLY_OK) {
            sim_fail(w, "s%u: the log does not replay", s->index);
        }
    }
    what = oracle_compare(s->oracle, owner_state(fresh));
    if (what == NULL) {
        what = oracle_compare(s->oracle, owner_state(s->owner));
    }
    if (what != NULL) {
        sim_fail(w, "s%u: replicas differ in: %s", s->index, what);
    }
    free(fresh);
}

static void check_at_rest(struct sim_world *w, struct sim_slice *s)
{
    if (s->pending_count != 0 || s->log_count != s->committed) {
        sim_fail(w, "s%u: %u calls are still not answered at rest", s->index, s->pending_count);
    }
    for (uint32_t i = 0; i < s->config.slice.machines_max; i++) {
        uint64_t cores;
        uint64_t memory_bytes;
        owner_book(s->owner, i, &cores, &memory_bytes);
        if (cores != s->oracle->machines[i].cores_used ||
            memory_bytes != s->oracle->machines[i].memory_used_bytes) {
            sim_fail(w, "I4: s%u: the book of machine %u is not empty at rest", s->index, i);
        }
    }
}

/* The sweep came by: a key away is away because its VM lives there. */
static void check_away(struct sim_world *w, struct sim_slice *s)
{
    for (uint32_t i = 0; i < s->oracle->totals.records; i++) {
        const struct slice_record *r = &s->oracle->records[i].r;
        bool lives = false;
        if ((r->kind != RECORD_BOUND && r->kind != RECORD_DONE) || r->expires_ms != 0) {
            continue;
        }
        for (uint32_t v = 0; v < w->vm_count; v++) {
            const struct sim_vm *vm = &w->vms[v];
            lives |= r->kind == RECORD_DONE && vm->id == r->vm && !vm->destroyed && !vm->lost;
        }
        if (!lives) {
            sim_fail(w, "s%u: key %s is %s for ever, and has no VM", s->index,
                     sim_key_text(&r->key), r->kind == RECORD_BOUND ? "bound" : "done");
        }
    }
}

void check_end(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->slice_count; i++) {
        check_at_rest(w, &w->slices[i]);
        check_away(w, &w->slices[i]);
        check_replay(w, &w->slices[i]);
        for (uint32_t k = 0; k < SIM_WATCHERS; k++) {
            while (w->slices[i].cursors[k] < w->slices[i].event_base + w->slices[i].event_count) {
                check_watch(w, &w->slices[i], k);
            }
        }
    }
    for (uint32_t i = 0; i < w->vm_count; i++) {
        const struct sim_vm *vm = &w->vms[i];
        const struct slice_record *r = oracle_vm(w->slices[vm->slice].oracle, vm->id);
        if (vm->lost) {
            continue;
        }
        if (vm->acknowledged && !vm->destroy_asked && (r == NULL || r->state != VM_STARTED)) {
            sim_fail(w, "I3: VM %llx was acknowledged and is gone", (unsigned long long)vm->id);
        }
        if (vm->destroy_acknowledged && r != NULL && r->state != VM_DESTROYED) {
            sim_fail(w, "I3: VM %llx was destroyed and is back", (unsigned long long)vm->id);
        }
    }
}
