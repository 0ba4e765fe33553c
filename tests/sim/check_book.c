/*
 * check_book - what owners answer and what they have given away, after every step: I1,
 * I4, 4.7, 4.10.
 */
#include <string.h>

#include "proto/base/check.h"
#include "tests/sim/sim.h"

static struct sim_hold *find_hold(struct sim_slice *s, const struct hold_id *id)
{
    for (uint32_t i = 0; i < s->hold_count; i++) {
        if (hold_equal(&s->holds[i].id, id)) {
            return &s->holds[i];
        }
    }
    return NULL;
}

void check_call_in(struct sim_world *w, struct sim_slice *s, const struct owner_call *call)
{
    (void)w;
    if (call->kind == OWNER_COMMIT || call->kind == OWNER_CLOSE) {
        struct sim_hold *h = find_hold(s, &call->hold);
        if (h != NULL) {
            h->touched = true;
        }
    }
}

static void hold_given(struct sim_world *w, struct sim_slice *s, const struct sim_pending *p,
                       const struct owner_answer *a)
{
    for (uint32_t i = 0; i < w->slice_count; i++) {
        if (find_hold(&w->slices[i], &a->hold) != NULL) {
            sim_fail(w, "s%u: a hold id was given out twice", s->index);
        }
    }
    FLY_CHECK(s->hold_count < SIM_HOLDS_MAX);
    s->holds[s->hold_count++] =
        (struct sim_hold){.id = a->hold,
                          .cores = p->call.cores,
                          .memory_bytes = p->call.memory_bytes,
                          .until_ms = authority_now(w, s).boot_ms + s->config.hold_life_ms,
                          .elsewhere = p->call.kind == OWNER_HOLD};
}

static void hold_over(struct sim_slice *s, const struct hold_id *id)
{
    struct sim_hold *h = find_hold(s, id);

    if (h != NULL) {
        *h = s->holds[--s->hold_count];
    }
}

/* What an owner says of a key must agree with the log that it leads. */
static void check_vm_answer(struct sim_world *w, struct sim_slice *s, const struct owner_answer *a)
{
    const struct slice_record *r = oracle_vm(s->oracle, a->vm_id);

    if (r == NULL) {
        sim_fail(w, "s%u: answers VM %llx, which is not in its log", s->index,
                 (unsigned long long)a->vm_id);
    }
    if (a->vm.id != r->vm || a->vm.number != r->number || a->vm.cores != r->cores ||
        a->vm.memory_bytes != r->memory_bytes || a->vm.state != r->state || a->vm.seq != r->seq ||
        !key_equal(&a->vm.key, &r->key) || strcmp(a->vm.name, r->name) != 0 ||
        strcmp(a->vm.machine, r->machine_name) != 0 || strcmp(a->vm.region, r->region) != 0 ||
        strcmp(a->vm.subject, r->subject) != 0 || a->vm.created_ms != r->created_ms ||
        a->vm.destroyed_ms != r->destroyed_ms) {
        sim_fail(w, "s%u: answers VM %llx otherwise than its log has it", s->index,
                 (unsigned long long)a->vm_id);
    }
}

/* ELSEWHERE is true: by the book no machine of the region has the room, and `room` says so. */
static void check_no_room(struct sim_world *w, struct sim_slice *s, const struct owner_call *call,
                          const struct owner_answer *a)
{
    bool fits_empty = false;
    uint32_t machines = 0;
    uint32_t cordoned = 0;

    for (uint32_t i = 0; i < s->config.slice.machines_max; i++) {
        const struct slice_machine *m = &s->oracle->machines[i];
        uint64_t cores;
        uint64_t memory_bytes;
        if (m->name[0] == '\0' || strcmp(m->region, call->region) != 0) {
            continue;
        }
        machines++;
        if (m->cordoned) {
            cordoned++;
            continue;
        }
        owner_book(s->owner, i, &cores, &memory_bytes);
        if (m->cores - cores >= call->cores &&
            m->memory_bytes - memory_bytes >= call->memory_bytes) {
            sim_fail(w, "s%u: says that there is no room, machine %s has it", s->index, m->name);
        }
        fits_empty |= m->cores >= call->cores && m->memory_bytes >= call->memory_bytes;
    }
    if (a->room.machines != machines || a->room.cordoned != cordoned ||
        a->room.fits_empty != fits_empty ||
        (a->room.cores_free_max >= call->cores &&
         a->room.memory_free_max_bytes >= call->memory_bytes)) {
        sim_fail(w, "s%u: tells a room that is not so", s->index);
    }
}

void check_answer(struct sim_world *w, struct sim_slice *s, const struct sim_pending *p,
                  const struct owner_answer *a)
{
    cover_answer(a->kind, a->code);
    if (a->kind != p->call.kind) {
        sim_fail(w, "s%u: the answer's kind is not the call's", s->index);
    }
    if (!owner_ready(s->owner) && a->code != OWNER_REFUSED && a->code != OWNER_UNKNOWN &&
        !s->stopped) {
        sim_fail(w, "4.7: s%u speaks (code %d) before an entry of its own term was applied",
                 s->index, (int)a->code);
    }
    if (!owner_ready(s->owner) && a->code == OWNER_REFUSED) {
        cover_hit(COVER_NOT_READY);
    }
    if (s->silenced && a->code != OWNER_REFUSED && a->code != OWNER_UNKNOWN) {
        sim_fail(w, "4.10: s%u speaks (code %d) though it is quarantined", s->index, (int)a->code);
    }
    if (s->silenced && a->status == FLY_FAILED_PRECONDITION) {
        cover_hit(COVER_LAUNCH_REFUSED_QUARANTINE);
    }
    if (a->kind == OWNER_CLOSE && p->waited) {
        cover_hit(COVER_CLOSE_WAITED);
    }
    if (a->code == OWNER_HELD) {
        hold_given(w, s, p, a);
    } else if ((a->kind == OWNER_COMMIT || a->kind == OWNER_CLOSE) && a->code != OWNER_BUSY &&
               a->code != OWNER_REFUSED &&
               (a->code != OWNER_VM || hold_equal(&a->hold, &p->call.hold))) {
        hold_over(s, &p->call.hold);
    } else if (a->kind == OWNER_CANCEL) {
        for (uint32_t i = s->hold_count; i-- > 0;) { /* it may have ended a hold at home */
            s->holds[i].touched |= !s->holds[i].elsewhere;
        }
    }
    if (a->code == OWNER_ELSEWHERE) {
        check_no_room(w, s, &p->call, a);
    }
    if (a->code == OWNER_VM && !s->stopped) {
        check_vm_answer(w, s, a);
    }
}

void check_slice(struct sim_world *w, struct sim_slice *s)
{
    if (s->owner == NULL || s->stopped || s->held_back > 0) {
        return;
    }
    uint64_t beyond_cores = 0;
    uint64_t beyond_memory = 0;
    for (uint32_t i = 0; i < s->config.slice.machines_max; i++) {
        const struct slice_machine *m = &s->oracle->machines[i];
        uint64_t cores;
        uint64_t memory_bytes;
        owner_book(s->owner, i, &cores, &memory_bytes);
        if (cores > m->cores || memory_bytes > m->memory_bytes) {
            sim_fail(w, "I1: s%u: the book gives away %llu cores of machine %u, it has %u",
                     s->index, (unsigned long long)cores, i, m->cores);
        }
        if (cores < m->cores_used || memory_bytes < m->memory_used_bytes) {
            sim_fail(w, "I1: s%u: the book of machine %u is below what is committed", s->index, i);
        }
        beyond_cores += cores - m->cores_used;
        beyond_memory += memory_bytes - m->memory_used_bytes;
    }
    uint64_t most_cores = 0;
    uint64_t least_cores = 0;
    uint64_t most_memory = 0;
    bool inventory = false; /* a shrinking machine reserves what it is about to lose */
    for (uint32_t i = 0; i < s->pending_count; i++) {
        const struct owner_call *c = &s->pending[i].call;
        most_cores += c->kind == OWNER_OPEN ? c->cores : 0;
        most_memory += c->kind == OWNER_OPEN ? c->memory_bytes : 0;
        inventory |= c->kind == OWNER_MACHINE;
    }
    for (uint32_t i = s->hold_count; i-- > 0;) {
        const struct sim_hold *h = &s->holds[i];
        bool committing = false;
        for (uint32_t k = 0; k < s->pending_count; k++) {
            committing |= s->pending[k].call.kind == OWNER_COMMIT &&
                          hold_equal(&s->pending[k].call.hold, &h->id);
        }
        if (!committing && s->ticked_ms > h->until_ms) {
            s->holds[i] = s->holds[--s->hold_count]; /* I4: its time is over, and a turn was made */
            continue;
        }
        bool surely = !h->touched && h->elsewhere &&
                      s->ticked_ms < h->until_ms; /* nothing but time can have ended it */
        if (surely && !s->paused && s->mail_count == 0 && s->turn_at_ms == INT64_MAX) {
            sim_fail(w, "I4: s%u: a hold will end and no turn is asked for", s->index);
        }
        most_cores += h->cores;
        most_memory += h->memory_bytes;
        least_cores += surely ? h->cores : 0;
    }
    if (!inventory && (beyond_cores > most_cores || beyond_memory > most_memory)) {
        sim_fail(w, "I4: s%u: the book holds %llu cores, known holds and proposals are %llu",
                 s->index, (unsigned long long)beyond_cores, (unsigned long long)most_cores);
    }
    if (beyond_cores < least_cores) {
        sim_fail(w, "I1: s%u: the book holds %llu cores, but %llu are promised", s->index,
                 (unsigned long long)beyond_cores, (unsigned long long)least_cores);
    }
}
