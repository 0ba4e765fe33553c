/*
 * edge - the shell of an edge: it moves calls and answers of launch machines, tells them the time,
 * and reports what they promise to the client (and to check.c, before anything can get lost).
 *
 * Raw calls are those that no launch machine drives: destroy, inventory, and Open and Commit
 * apart.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "tests/sim/sim.h"

enum { RAW_AGAIN_MS = 1500, RAW_TRIES_MAX = 6 };

int64_t edge_now(const struct sim_world *w, const struct sim_edge *e)
{
    return w->now_ms - e->boot_base_ms;
}

static uint32_t slice_of_tag(struct sim_world *w, uint32_t tag)
{
    for (uint32_t i = 0; i < w->slice_count; i++) {
        if (w->slices[i].tag == tag) {
            return i;
        }
    }
    sim_fail(w, "a call to slice %06x, which is not there", tag);
}

static void finish(struct sim_world *w, struct sim_edge *e, struct sim_launch *l)
{
    const struct launch_result r = *launch_result(&l->launch);
    bool cancel = l->launch.spec.cancel;

    sim_trace(w, "e%u: launch of key %s ends %d code %d status %d vm %llx tries %u", e->index,
              sim_key_text(&l->launch.spec.key), (int)r.end, (int)r.code, (int)r.status,
              (unsigned long long)r.vm_id, r.tries);
    l->used = false;
    check_call_end(w, l->call, &r);
    if (!sim_chance(w, w->faults.answer_lost)) {
        client_told(w, l->client, l->client_try, cancel, &r);
    }
}

/* Makes the calls that machines want, ends those that ended, asks for the next tick. */
static void pump(struct sim_world *w, struct sim_edge *e)
{
    int64_t next_ms = INT64_MAX;

    for (uint32_t i = 0; i < SIM_LAUNCHES_MAX; i++) {
        struct sim_launch *l = &e->launches[i];
        struct launch_call c;
        if (!l->used) {
            continue;
        }
        while (launch_next_call(&l->launch, &c)) {
            uint32_t slice = slice_of_tag(w, c.to);
            sim_trace(w, "e%u: calls s%u kind %d ticket %llu key %s%s", e->index, slice,
                      (int)c.call.kind, (unsigned long long)c.call.ticket,
                      sim_key_text(&c.call.key), c.off_path ? " off path" : "");
            if (c.off_path && sim_chance(w, w->faults.aside_lost)) {
                cover_hit(COVER_ASIDE_LOST);
                continue;
            }
            net_send_call(w, e, slice, &c.call, &w->calls[l->call]);
        }
        if (launch_result(&l->launch)->end != LAUNCH_RUNNING) {
            finish(w, e, l);
            continue;
        }
        int64_t at_ms = launch_deadline(&l->launch);
        if (at_ms == INT64_MAX) {
            sim_fail(w, "e%u: a running launch waits for nothing", e->index);
        }
        next_ms = at_ms < next_ms ? at_ms : next_ms;
    }
    if (next_ms != INT64_MAX && next_ms < e->tick_at_ms) {
        e->tick_at_ms = next_ms;
        sim_at(w, next_ms + e->boot_base_ms + sim_between(w, 0, 2), SIM_EDGE_TICK, e->index, 0,
               e->life, NULL);
    }
}

bool edge_launch(struct sim_world *w, struct sim_edge *e, uint32_t client, uint32_t key,
                 uint32_t cores, bool cancel, int64_t timeout_ms)
{
    const struct sim_key *k = &w->keys[key];
    struct sim_launch *l = NULL;

    for (uint32_t i = 0; i < SIM_LAUNCHES_MAX && l == NULL; i++) {
        l = e->launches[i].used ? NULL : &e->launches[i];
    }
    if (l == NULL || e->down || e->paused) {
        return false;
    }
    struct launch_spec spec = {.key = k->key,
                               .cores = cores,
                               .memory_bytes = k->memory_bytes,
                               .root_tag = w->slices[0].tag,
                               .cancel = cancel,
                               .deadline_ms = edge_now(w, e) + timeout_ms};
    memcpy(spec.subject, k->subject, sizeof spec.subject);
    memcpy(spec.region, k->region, sizeof spec.region);
    uint32_t first = (uint32_t)sim_below(w, w->slice_count);
    uint32_t candidates = (uint32_t)sim_below(w, w->slice_count + 1);
    for (uint32_t i = 0; i < candidates; i++) { /* the catalog is a hint, good or bad */
        spec.candidates[spec.candidate_count++] = w->slices[(first + i) % w->slice_count].tag;
    }
    struct fly_digest digest;
    spec_digest(spec.region, spec.cores, spec.memory_bytes, spec.name, &digest);
    *l = (struct sim_launch){.used = true,
                             .client = client,
                             .client_try = w->clients[client].try_id,
                             .call = check_call_begin(w, key, &digest, cancel),
                             .first_ticket = e->next_ticket};
    e->next_ticket += LAUNCH_TRIES_MAX + 8;
    sim_trace(w, "e%u: c%u %s key %s cores %u", e->index, client, cancel ? "cancels" : "launches",
              sim_key_text(&k->key), cores);
    launch_init(&l->launch, &spec, l->first_ticket, fly_rng_next(&w->rng), edge_now(w, e));
    pump(w, e);
    return true;
}

bool edge_waits_for(const struct sim_edge *e, uint64_t ticket)
{
    for (uint32_t i = 0; i < SIM_LAUNCHES_MAX; i++) {
        const struct sim_launch *l = &e->launches[i];
        if (l->used && ticket - l->first_ticket < LAUNCH_TRIES_MAX + 8) {
            return true;
        }
    }
    for (uint32_t i = 0; i < SIM_RAWS_MAX; i++) {
        if (e->raws[i].kind != 0 && e->raws[i].ticket == ticket) {
            return true;
        }
    }
    return false;
}

/* ---- raw calls ---- */

static void raw_send(struct sim_world *w, struct sim_edge *e, struct sim_raw *raw)
{
    raw->ticket = e->next_ticket++;
    raw->call.ticket = raw->ticket;
    raw->tries++;
    sim_trace(w, "e%u: raw call kind %d to s%u ticket %llu", e->index, (int)raw->call.kind,
              raw->slice, (unsigned long long)raw->ticket);
    net_send_call(w, e, raw->slice, &raw->call, NULL);
    sim_at(w, w->now_ms + RAW_AGAIN_MS, SIM_RAW, e->index, (uint32_t)(raw - e->raws), raw->ticket,
           NULL);
}

bool edge_raw(struct sim_world *w, struct sim_edge *e, const struct sim_raw *raw)
{
    if (e->down || e->paused) {
        return false;
    }
    for (uint32_t i = 0; i < SIM_RAWS_MAX; i++) {
        if (e->raws[i].kind == 0) {
            e->raws[i] = *raw;
            raw_send(w, e, &e->raws[i]);
            return true;
        }
    }
    return false;
}

/* The VM is gone: its key's home may forget it one day. Off the path: the sweep comes by later. */
static void release(struct sim_world *w, struct sim_edge *e, const struct owner_answer *a)
{
    struct launch_call c;

    if (!release_after_destroy(a, w->slices[0].tag, &c)) {
        return;
    }
    c.call.ticket = e->next_ticket++;
    if (sim_chance(w, w->faults.aside_lost)) {
        cover_hit(COVER_ASIDE_LOST);
    } else {
        net_send_call(w, e, slice_of_tag(w, c.to), &c.call, NULL);
    }
}

static void raw_answered(struct sim_world *w, struct sim_edge *e, struct sim_raw *raw,
                         const struct owner_answer *a)
{
    struct sim_vm *vm = &w->vms[raw->vm];
    struct sim_raw old = *raw;

    if (a->code == OWNER_REFUSED || a->code == OWNER_UNKNOWN || a->code == OWNER_BUSY) {
        return; /* the timer sends it again */
    }
    raw->kind = 0;
    if (old.kind == SIM_RAW_DESTROY && a->code == OWNER_VM) {
        vm->destroy_acknowledged = vm->destroyed; /* not when its slice has gone back meanwhile */
        cover_hit(COVER_DESTROYED);
        if (!vm->destroyed && !vm->lost && !vm->revived) {
            sim_fail(w, "destroy of VM %llx was answered, the log does not have it",
                     (unsigned long long)vm->id);
        }
        release(w, e, a);
    } else if (old.kind == SIM_RAW_DESTROY && a->code == OWNER_NOT_FOUND) {
        if (oracle_vm(w->slices[vm->slice].oracle, vm->id) != NULL && !vm->revived) {
            sim_fail(w, "destroy does not find VM %llx", (unsigned long long)vm->id);
        }
    } else if (old.kind == SIM_RAW_OPEN && a->code == OWNER_HELD) {
        old.kind = SIM_RAW_COMMIT; /* the hold waits for us, longer than it lives now and then */
        old.call.kind = OWNER_COMMIT;
        old.call.hold = a->hold;
        old.tries = 0;
        *raw = old;
        raw->ticket = e->next_ticket++;
        sim_at(w, w->now_ms + sim_between(w, 0, sim_chance(w, 600) ? 400 : 3600), SIM_RAW, e->index,
               (uint32_t)(raw - e->raws), raw->ticket, NULL);
    }
}

static void raw_timer(struct sim_world *w, struct sim_edge *e, const struct sim_event *event)
{
    struct sim_raw *raw = &e->raws[event->other];

    if (raw->kind == 0 || raw->ticket != event->life) {
        return;
    }
    if (raw->tries < RAW_TRIES_MAX) {
        raw_send(w, e, raw);
    } else {
        raw->kind = 0;
    }
}

/* ---- events ---- */

static void tell(struct sim_world *w, struct sim_edge *e, const struct sim_event *event)
{
    const struct sim_message *m = event->message;

    for (uint32_t i = 0; i < SIM_RAWS_MAX; i++) {
        if (e->raws[i].kind != 0 && e->raws[i].ticket == m->ticket) {
            if (event->kind == SIM_ANSWER) {
                raw_answered(w, e, &e->raws[i], &m->answer);
            }
            return;
        }
    }
    for (uint32_t i = 0; i < SIM_LAUNCHES_MAX; i++) {
        struct sim_launch *l = &e->launches[i];
        if (!l->used || m->ticket - l->first_ticket >= LAUNCH_TRIES_MAX + 8) {
            continue;
        }
        if (event->kind == SIM_ANSWER) {
            launch_receive(&l->launch, &m->answer, edge_now(w, e));
        } else if (event->kind == SIM_NOT_SENT) {
            launch_not_sent(&l->launch, m->ticket, edge_now(w, e));
        } else {
            launch_lost(&l->launch, m->ticket, edge_now(w, e));
        }
        return;
    }
    cover_hit(COVER_ANSWER_LATE);
}

static void wait(struct sim_edge *e, struct sim_event *event)
{
    if (e->waiting_count == e->waiting_max) {
        e->waiting_max = e->waiting_max == 0 ? 32 : 2 * e->waiting_max;
        e->waiting = realloc(e->waiting, e->waiting_max * sizeof *e->waiting);
        FLY_CHECK(e->waiting != NULL);
    }
    e->waiting[e->waiting_count++] = *event;
    event->message = NULL;
}

void edge_event(struct sim_world *w, struct sim_edge *e, struct sim_event *event)
{
    if (e->down || (event->message != NULL && event->message->edge_life != e->life)) {
        return;
    }
    if (e->paused) {
        wait(e, event);
        return;
    }
    if (event->kind == SIM_RAW) {
        raw_timer(w, e, event);
    } else if (event->kind != SIM_EDGE_TICK) {
        tell(w, e, event);
    } else if (event->life == e->life) {
        e->tick_at_ms = INT64_MAX;
    }
    /* Each turn: expiries first for all of them, as in the node's loop. */
    for (uint32_t i = 0; i < SIM_LAUNCHES_MAX; i++) {
        struct launch *l = &e->launches[i].launch;
        if (e->launches[i].used && launch_deadline(l) <= edge_now(w, e)) {
            launch_tick(l, edge_now(w, e));
        }
    }
    pump(w, e);
}

void edge_resume(struct sim_world *w, struct sim_edge *e)
{
    uint32_t count = e->waiting_count;

    if (!e->paused) {
        return;
    }
    sim_trace(w, "e%u: continues, %u waited", e->index, count);
    e->paused = false;
    e->waiting_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct sim_event event = e->waiting[i];
        edge_event(w, e, &event);
        free(event.message);
    }
    pump(w, e);
}

void edge_crash(struct sim_world *w, struct sim_edge *e)
{
    static const struct launch_result unknown = {.end = LAUNCH_UNKNOWN};

    for (uint32_t i = 0; i < SIM_LAUNCHES_MAX; i++) {
        if (e->launches[i].used) {
            check_call_end(w, e->launches[i].call, &unknown);
            e->launches[i].used = false;
        }
    }
    for (uint32_t i = 0; i < e->waiting_count; i++) {
        free(e->waiting[i].message);
    }
    memset(e->raws, 0, sizeof e->raws);
    e->waiting_count = 0;
    e->paused = false;
    e->down = true;
    e->life++;
    e->tick_at_ms = INT64_MAX;
}

bool edge_idle(const struct sim_edge *e)
{
    for (uint32_t i = 0; i < SIM_LAUNCHES_MAX; i++) {
        if (e->launches[i].used) {
            return false;
        }
    }
    for (uint32_t i = 0; i < SIM_RAWS_MAX; i++) {
        if (e->raws[i].kind != 0) {
            return false;
        }
    }
    return true;
}
