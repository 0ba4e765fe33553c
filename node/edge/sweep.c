#include "node/edge/sweep.h"

#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/vmid.h"

void sweep_init(struct sweep *s, uint32_t tag, uint32_t root_tag, uint64_t first_ticket,
                uint64_t seed, int64_t now_ms)
{
    *s = (struct sweep){.tag = tag,
                        .root_tag = root_tag,
                        .next_ticket = first_ticket,
                        .due_ms = now_ms + SWEEP_ROUND_MS};
    fly_rng_seed(&s->rng, seed);
}

static uint64_t take_tickets(struct sweep *s, uint64_t count)
{
    uint64_t first = s->next_ticket;

    s->next_ticket += count;
    return first;
}

static void next_record(struct sweep *s, int64_t now_ms)
{
    s->step = SWEEP_WALK;
    s->due_ms = now_ms + SWEEP_PAUSE_MS;
}

/* --- what is asked --- */

static void make_call(struct sweep *s, uint32_t to, enum owner_call_kind kind, int64_t now_ms)
{
    s->call = (struct launch_call){
        .to = to,
        .call = {.kind = kind,
                 .ticket = take_tickets(s, 1),
                 .key = s->away.key,
                 .hold = s->away.hold,
                 .vm = s->away.vm},
    };
    memcpy(s->call.call.subject, s->away.subject, sizeof s->call.call.subject);
    s->call_ready = true;
    s->due_ms = now_ms + LAUNCH_CALL_MS;
}

static void begin(struct sweep *s, const struct key_away *away, int64_t now_ms)
{
    s->away = *away;
    s->counters.asked++;
    if (away->vm != 0) {
        s->step = SWEEP_CLOSE;
        make_call(s, away->hold.slice, OWNER_CLOSE, now_ms);
        return;
    }
    struct launch_spec spec = {.key = away->key,
                               .root_tag = s->root_tag,
                               .cancel = true,
                               .deadline_ms = now_ms + SWEEP_LAUNCH_MS};
    memcpy(spec.subject, away->subject, sizeof spec.subject);
    s->step = SWEEP_BOUND;
    launch_init(&s->launch, &spec, take_tickets(s, LAUNCH_TRIES_MAX + 8), fly_rng_next(&s->rng),
                now_ms);
}

static void walk(struct sweep *s, const struct sweep_source *source, int64_t now_ms,
                 int64_t slice_ms)
{
    struct key_away away;

    s->due_ms = now_ms + SWEEP_PAUSE_MS;
    for (unsigned i = 0; i < SWEEP_SLOTS_MAX; i++) {
        switch (source->at(source->user, s->slot, &away)) {
        case SWEEP_END:
            s->slot = 0;
            s->counters.rounds++;
            s->due_ms = now_ms + SWEEP_ROUND_MS;
            return;
        case SWEEP_AWAY:
            s->slot++;
            if (slice_ms - away.since_ms >= SWEEP_AGE_MS) {
                begin(s, &away, now_ms);
                return;
            }
            break;
        case SWEEP_NOTHING:
        default:
            s->slot++;
        }
    }
}

/* --- what is answered --- */

static void launch_may_have_ended(struct sweep *s, int64_t now_ms)
{
    const struct launch_result *r = launch_result(&s->launch);

    if (r->end == LAUNCH_RUNNING) {
        return;
    }
    bool vm = r->code == OWNER_VM || r->code == OWNER_VM_ELSEWHERE;
    s->counters.told += r->end == LAUNCH_OK && vm;
    s->counters.cancelled += r->end == LAUNCH_OK && !vm;
    s->counters.later += r->end != LAUNCH_OK;
    while (launch_next_call(&s->launch, &s->call) && !s->call_ready) {
        s->call_ready = s->call.off_path; /* Done: nobody waits for its answer */
    }
    next_record(s, now_ms);
}

static void later(struct sweep *s, int64_t now_ms)
{
    s->counters.later++;
    next_record(s, now_ms);
}

/* The hold of a DONE record became a VM: what does not know it has forgotten it. */
static void closed(struct sweep *s, const struct owner_answer *a, int64_t now_ms)
{
    bool gone = a->code == OWNER_DEAD || a->code == OWNER_KEY_EXPIRED ||
                (a->code == OWNER_VM &&
                 (a->vm.state == VM_DESTROYED || a->vm_id != s->away.vm)); /* of a later life */

    if (gone) {
        s->step = SWEEP_RELEASE;
        make_call(s, s->tag, OWNER_RELEASE, now_ms);
    } else if (a->code == OWNER_VM) {
        next_record(s, now_ms);
    } else {
        later(s, now_ms);
    }
}

static bool waits_for(const struct sweep *s, uint64_t ticket)
{
    return (s->step == SWEEP_CLOSE || s->step == SWEEP_RELEASE) && !s->call_ready &&
           ticket == s->call.call.ticket;
}

void sweep_receive(struct sweep *s, const struct owner_answer *answer, int64_t now_ms)
{
    if (s->step == SWEEP_BOUND) {
        launch_receive(&s->launch, answer, now_ms);
        launch_may_have_ended(s, now_ms);
    } else if (!waits_for(s, answer->ticket)) {
        return;
    } else if (s->step == SWEEP_CLOSE) {
        closed(s, answer, now_ms);
    } else if (answer->code == OWNER_DONE_OK) {
        s->counters.released++;
        next_record(s, now_ms);
    } else {
        later(s, now_ms);
    }
}

void sweep_not_sent(struct sweep *s, uint64_t ticket, int64_t now_ms)
{
    if (s->step == SWEEP_BOUND) {
        launch_not_sent(&s->launch, ticket, now_ms);
        launch_may_have_ended(s, now_ms);
    } else if (waits_for(s, ticket)) {
        later(s, now_ms);
    }
}

void sweep_lost(struct sweep *s, uint64_t ticket, int64_t now_ms)
{
    if (s->step == SWEEP_BOUND) {
        launch_lost(&s->launch, ticket, now_ms);
        launch_may_have_ended(s, now_ms);
    } else if (waits_for(s, ticket)) {
        later(s, now_ms);
    }
}

bool sweep_next_call(struct sweep *s, struct launch_call *out)
{
    if (s->step == SWEEP_BOUND && launch_next_call(&s->launch, out)) {
        return true;
    }
    if (!s->call_ready) {
        return false;
    }
    *out = s->call;
    s->call_ready = false;
    return true;
}

void sweep_tick(struct sweep *s, const struct sweep_source *source, int64_t now_ms,
                int64_t slice_ms)
{
    if (s->step == SWEEP_BOUND) {
        if (launch_deadline(&s->launch) <= now_ms) {
            launch_tick(&s->launch, now_ms);
        }
        launch_may_have_ended(s, now_ms);
    } else if (now_ms < s->due_ms) {
        return;
    } else if (s->step == SWEEP_WALK) {
        walk(s, source, now_ms, slice_ms);
    } else {
        later(s, now_ms);
    }
}

int64_t sweep_deadline(const struct sweep *s)
{
    return s->step == SWEEP_BOUND ? launch_deadline(&s->launch) : s->due_ms;
}

bool release_after_destroy(const struct owner_answer *answer, uint32_t root_tag,
                           struct launch_call *out)
{
    const struct vm *vm = &answer->vm;

    if (answer->kind != OWNER_DESTROY || answer->code != OWNER_VM || vm->state != VM_DESTROYED ||
        key_home(&vm->key, root_tag) == vmid_tag(vm->id)) {
        return false;
    }
    *out = (struct launch_call){
        .to = key_home(&vm->key, root_tag),
        .off_path = true,
        .call = {.kind = OWNER_RELEASE, .key = vm->key, .vm = vm->id},
    };
    memcpy(out->call.subject, vm->subject, sizeof out->call.subject);
    return true;
}
