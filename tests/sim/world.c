/* world - one seed from the first event to rest: who is there, what happens next, and the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "tests/sim/sim.h"

enum {
    FAULT_EVERY_MS = 250,
    SWEEP_ROUNDS = 3,          /* bound, done, released */
    REST_MS = 8000,            /* longer than a hold lives and a message is late */
    HEAL_MAX_MS = 3600 * 1000, /* everything must be settled by then */
    HEAL_STEPS_MAX = 1000000,  /* and in so many */
};

static void make_slice(struct sim_world *w, uint32_t index)
{
    struct sim_slice *s = &w->slices[index];
    bool tight = sim_chance(w, 200);

    s->index = index;
    s->tag = 1 + index + 16 * (uint32_t)sim_below(w, FLY_TAG_MAX / 16);
    s->config = (struct owner_config){
        .slice = {.machines_max = 1 + (uint32_t)sim_below(w, SIM_MACHINES_MAX),
                  .records_max = (uint32_t)sim_between(w, tight ? 16 : 150, tight ? 40 : 400),
                  .hash_seed = fly_rng_next(&w->rng)},
        .tag = s->tag,
        .root_tag = w->slices[0].tag,
        .flights_max = (uint32_t)sim_between(w, 16, 40),
        .hold_life_ms = SLICE_HOLD_LIFE_MS,
        .events_max = (uint32_t)sim_between(w, 4, 100),
        .events_bytes_max = (uint32_t)sim_between(w, 2048, 16384),
    };
    s->machines_wanted = 1 + (uint32_t)sim_below(w, s->config.slice.machines_max);
    s->oracle = oracle_create(&s->config.slice);
    s->pending = calloc(SIM_PENDING_MAX, sizeof *s->pending);
    s->holds = calloc(SIM_HOLDS_MAX, sizeof *s->holds);
    FLY_CHECK(s->pending != NULL && s->holds != NULL);
    s->turn_at_ms = INT64_MAX;
    s->life = 1;
    s->boot_base_ms = -sim_between(w, 0, 1000000);
    sim_at(w, sim_between(w, 0, 50), SIM_START, index, 0, s->life, NULL);
    sim_at(w, sim_between(w, 0, 500), SIM_WATCH, index, 0, 0, NULL);
}

void world_add_machines(struct sim_world *w, struct sim_slice *s)
{
    for (uint32_t i = 0; i < s->machines_wanted; i++) {
        struct sim_raw raw = {.kind = SIM_RAW_MACHINE, .slice = s->index};
        raw.call.kind = OWNER_MACHINE;
        raw.call.machine_change = OWNER_MACHINE_ADD;
        raw.call.cores = (uint32_t)sim_between(w, 2, 16);
        raw.call.memory_bytes = (uint64_t)sim_between(w, 4, 40) * UINT64_C(1000000000);
        (void)snprintf(raw.call.name, sizeof raw.call.name, "m%u", i);
        (void)fly_copy_string(raw.call.region, sizeof raw.call.region,
                              sim_chance(w, 800) ? "SIN" : "FRA");
        (void)edge_raw(w, &w->edges[sim_below(w, w->edge_count)], &raw);
    }
}

static void make(struct sim_world *w)
{
    static const uint32_t recent[] = {2, 10, 40};
    static const uint32_t slice_counts[] = {1, 2, 2, 3, 3, 4};

    fly_rng_seed(&w->rng, w->seed);
    w->hash = UINT64_C(0xcbf29ce484222325);
    w->slice_count = slice_counts[sim_below(w, 6)];
    w->edge_count = 1 + (uint32_t)sim_below(w, SIM_EDGES_MAX);
    w->client_count = 1 + (uint32_t)sim_below(w, SIM_CLIENTS_MAX);
    w->shared_keys = sim_chance(w, 600) ? (uint32_t)sim_between(w, 100, 900) : 0;
    w->recent_keys = recent[sim_below(w, 3)];
    w->other_spec = sim_chance(w, 300) ? 200 : 0;
    w->hashed_keys = sim_chance(w, 400) ? (uint32_t)sim_between(w, 50, 600) : 0;
    w->vm_cores_max = (uint32_t)sim_between(w, 1, 8);
    w->keys = calloc(SIM_KEYS_MAX, sizeof *w->keys);
    w->vms = calloc(SIM_VMS_MAX, sizeof *w->vms);
    FLY_CHECK(w->keys != NULL && w->vms != NULL);
    fault_choose(w);
    for (uint32_t i = 0; i < w->slice_count; i++) {
        make_slice(w, i);
    }
    for (uint32_t i = 0; i < w->edge_count; i++) {
        w->edges[i] = (struct sim_edge){.index = i,
                                        .life = 1,
                                        .boot_base_ms = -sim_between(w, 0, 1000000),
                                        .next_ticket = 1,
                                        .tick_at_ms = INT64_MAX};
    }
    for (uint32_t i = 0; i < w->slice_count; i++) {
        world_add_machines(w, &w->slices[i]);
    }
    for (uint32_t i = 0; i < w->client_count; i++) {
        w->clients[i] = (struct sim_client){.index = i, .key = UINT32_MAX};
        if (sim_chance(w, 300)) {
            w->clients[i].clock_skew_ms =
                sim_between(w, -120000, sim_chance(w, 200) ? 300000 : 60000);
        }
        sim_at(w, sim_between(w, 50, 400), SIM_CLIENT, i, 0, 0, NULL);
    }
    sim_at(w, FAULT_EVERY_MS, SIM_FAULT, 0, 0, 0, NULL);
}

/* Events of a process that has ended since are stale. */
static void slice_event(struct sim_world *w, struct sim_event *e)
{
    struct sim_slice *s = &w->slices[e->who];

    if (e->kind == SIM_CALL) {
        const struct sim_message *m = e->message;
        const struct sim_edge *from = &w->edges[m->edge];
        if (from->life != m->edge_life || !edge_waits_for(from, m->ticket)) {
            cover_hit(COVER_CALL_LATE);
        }
        if (m->life != s->life) {
            cover_hit(COVER_CALL_OUTLIVED);
        }
        if (s->owner == NULL) {
            cover_hit(COVER_CALL_TO_DEAD);
            net_call_dropped(w, m);
        } else {
            authority_mail(w, s, e->message);
            e->message = NULL;
        }
        return;
    }
    if (e->life != s->life) {
        return;
    }
    if (e->kind == SIM_START) {
        authority_start(w, s);
    } else if (e->kind == SIM_CRASH && !w->healing) {
        authority_crash(w, s);
    } else if (e->kind == SIM_TURN) {
        authority_turn(w, s);
    } else if (e->kind == SIM_RESUME_SLICE) {
        authority_resume(w, s);
    } else if (e->kind == SIM_APPEND && !s->stopped) {
        struct sim_message *m = calloc(1, sizeof *m);
        FLY_CHECK(m != NULL);
        m->is_append = true;
        s->appends_over++;
        authority_mail(w, s, m);
    } else if (e->kind == SIM_SWEEP) {
        sweeper_tick(w, s);
    } else if (e->kind == SIM_ASK || e->kind == SIM_SEEN || e->kind == SIM_ACCEPT) {
        witness_event(w, s, e);
    } else if (e->kind == SIM_SNAPSHOT && s->view != NULL) {
        disk_snapshot(w, s); /* another thread encodes: a stopped loop does not matter */
    }
}

static void dispatch(struct sim_world *w, struct sim_event *e)
{
    switch (e->kind) {
    case SIM_CALL:
    case SIM_APPEND:
    case SIM_TURN:
    case SIM_START:
    case SIM_CRASH:
    case SIM_RESUME_SLICE:
    case SIM_SNAPSHOT:
    case SIM_ASK:
    case SIM_SEEN:
    case SIM_ACCEPT:
    case SIM_SWEEP:
        slice_event(w, e);
        return;
    case SIM_ANSWER:
    case SIM_NOT_SENT:
    case SIM_LOST:
    case SIM_EDGE_TICK:
    case SIM_RAW:
        if (e->who >= SIM_EDGES_MAX) {
            sweeper_event(w, &w->slices[e->who - SIM_EDGES_MAX], e);
        } else {
            edge_event(w, &w->edges[e->who], e);
        }
        return;
    case SIM_RESUME_EDGE:
        if (w->edges[e->who].life == e->life) {
            edge_resume(w, &w->edges[e->who]);
        }
        return;
    case SIM_START_EDGE:
        if (w->edges[e->who].down) {
            w->edges[e->who].down = false;
            w->edges[e->who].boot_base_ms = w->now_ms - sim_between(w, 0, 1000000);
        }
        return;
    case SIM_HEAL:
        if (e->life != 0) {
            w->cut_answers[e->who][e->other] = false;
        } else {
            w->cut_calls[e->who][e->other] = false;
        }
        return;
    case SIM_CLIENT:
        client_wake(w, &w->clients[e->who]);
        return;
    case SIM_FAULT:
        if (!w->healing) {
            fault_strike(w);
            sim_at(w, w->now_ms + sim_between(w, 1, 2 * FAULT_EVERY_MS), SIM_FAULT, 0, 0, 0, NULL);
        }
        return;
    case SIM_WATCH:
        check_watch(w, &w->slices[e->who], (uint32_t)sim_below(w, SIM_WATCHERS));
        if (!w->healing) {
            sim_at(w, w->now_ms + sim_between(w, 10, 400), SIM_WATCH, e->who, 0, 0, NULL);
        }
        return;
    default:
        FLY_UNREACHABLE();
    }
}

static bool step(struct sim_world *w)
{
    struct sim_event e;

    if (!sim_next(w, &e)) {
        return false;
    }
    w->now_ms = e.at_ms > w->now_ms ? e.at_ms : w->now_ms;
    w->steps++;
    dispatch(w, &e);
    free(e.message);
    for (uint32_t i = 0; i < w->slice_count; i++) {
        check_slice(w, &w->slices[i]);
    }
    return true;
}

static void heal(struct sim_world *w)
{
    sim_trace(w, "everything heals");
    w->healing = true;
    w->faults = (struct sim_faults){.call_lost = 0};
    memset(w->cut_calls, 0, sizeof w->cut_calls);
    memset(w->cut_answers, 0, sizeof w->cut_answers);
    for (uint32_t i = 0; i < w->slice_count; i++) {
        authority_resume(w, &w->slices[i]);
    }
    for (uint32_t i = 0; i < w->edge_count; i++) {
        edge_resume(w, &w->edges[i]);
        w->edges[i].down = false;
    }
    for (uint32_t i = 0; i < w->key_count; i++) { /* told something for sure, or never in doubt */
        bool in_doubt = false;
        for (uint32_t c = 0; c < w->call_count; c++) {
            in_doubt |= w->calls[c].key == i && !w->calls[c].cancel &&
                        (w->calls[c].outcome == SIM_UNKNOWN || w->calls[c].outcome == SIM_RUNNING);
        }
        w->keys[i].settled |= !in_doubt;
    }
    for (uint32_t i = 0; i < w->client_count; i++) {
        sim_at(w, w->now_ms + sim_between(w, 1, 50), SIM_CLIENT, i, 0, 0, NULL);
    }
}

static bool all_settled(const struct sim_world *w)
{
    for (uint32_t i = 0; i < w->key_count; i++) {
        if (!w->keys[i].settled) {
            return false;
        }
    }
    for (uint32_t i = 0; i < w->edge_count; i++) {
        if (!edge_idle(&w->edges[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < w->slice_count; i++) {
        const struct sim_slice *s = &w->slices[i];
        if (s->owner == NULL || !owner_ready(s->owner) || s->log_count != s->committed ||
            s->silenced) {
            return false;
        }
    }
    return true;
}

/* Longer than a hold lives and a message is late, and one turn each behind it. */
static void rest(struct sim_world *w)
{
    int64_t rest_ms = w->now_ms + REST_MS;

    for (uint32_t i = 0; i < w->slice_count; i++) {
        sim_at(w, rest_ms, SIM_TURN, i, 0, w->slices[i].life, NULL);
    }
    while (w->now_ms < rest_ms && step(w)) {
    }
    while (w->heap_count > 0 && w->heap[0].at_ms <= rest_ms + 1000 && step(w)) {
    }
}

/* What is away gets old, and every sweep makes its rounds. */
static void sweep(struct sim_world *w)
{
    uint64_t rounds[SIM_SLICES_MAX];
    int64_t began_ms;
    bool again = true;

    w->now_ms +=
        2 * SWEEP_AGE_MS; /* slice time may have missed some: downtime with a clock set back */
    began_ms = w->now_ms;
    for (uint32_t i = 0; i < w->slice_count; i++) {
        rounds[i] = w->slices[i].sweep.counters.rounds + SWEEP_ROUNDS;
    }
    while (again) {
        if (!step(w) || w->now_ms - began_ms > HEAL_MAX_MS) {
            sim_fail(w, "liveness: a sweep does not get round");
        }
        again = false;
        for (uint32_t i = 0; i < w->slice_count; i++) {
            again |= w->slices[i].sweep.counters.rounds < rounds[i];
        }
    }
}

void world_run(struct sim_world *w, uint64_t steps)
{
    make(w);
    while (w->steps < steps && !w->limit && step(w)) {
    }
    if (w->limit) {
        return;
    }
    heal(w);
    int64_t healed_ms = w->now_ms;
    while (!all_settled(w)) {
        if (w->limit) {
            return;
        }
        if (!step(w) || w->now_ms - healed_ms > HEAL_MAX_MS || w->steps > steps + HEAL_STEPS_MAX) {
            for (uint32_t i = 0; i < w->key_count; i++) {
                if (!w->keys[i].settled) {
                    sim_fail(w, "liveness: key %s of %u is never settled",
                             sim_key_text(&w->keys[i].key), i);
                }
            }
            for (uint32_t i = 0; i < w->slice_count; i++) {
                const struct sim_slice *s = &w->slices[i];
                sim_trace(w, "s%u: %s, %u calls, %u appends", i,
                          s->owner == NULL        ? "down"
                          : owner_ready(s->owner) ? "ready"
                                                  : "not ready",
                          s->pending_count, s->log_count - s->committed);
            }
            sim_fail(w, "liveness: something is still under way an hour after all healed");
        }
    }
    rest(w); /* what is under way still arrives */
    sweep(w);
    rest(w);
    check_end(w);
}

void world_free(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->slice_count; i++) {
        struct sim_slice *s = &w->slices[i];
        for (uint32_t k = 0; k < s->mail_count; k++) {
            free(s->mail[k]);
        }
        free(s->mail);
        free(s->pending);
        free(s->holds);
        free(s->events);
        free(s->owner);
        oracle_destroy(s->oracle);
        disk_free(s);
    }
    for (uint32_t i = 0; i < w->edge_count; i++) {
        for (uint32_t k = 0; k < w->edges[i].waiting_count; k++) {
            free(w->edges[i].waiting[k].message);
        }
        free(w->edges[i].waiting);
    }
    for (uint32_t i = 0; i < w->heap_count; i++) {
        free(w->heap[i].message);
    }
    free(w->heap);
    free(w->keys);
    free(w->calls);
    free(w->vms);
}
