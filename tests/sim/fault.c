/*
 * fault - what breaks in one seed. Swarm testing: each class of faults is off in half of the seeds,
 * so that the others get the room to reach further (Groce et al., ISSTA 2012).
 */
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "tests/sim/sim.h"

#define ANY UINT32_MAX

static unsigned maybe(struct sim_world *w, unsigned low, unsigned high)
{
    return sim_chance(w, 500) ? (unsigned)sim_between(w, low, high) : 0;
}

void fault_choose(struct sim_world *w)
{
    struct sim_faults *f = &w->faults;

    *f = (struct sim_faults){
        .call_lost = maybe(w, 5, 150),
        .answer_lost = maybe(w, 5, 150),
        .call_twice = sim_chance(w, 250) ? 60 : 0,
        .answer_twice = maybe(w, 10, 100),
        .aside_lost = sim_chance(w, 300) ? (unsigned)sim_between(w, 200, 1000) : 0,
        .slow = maybe(w, 10, 200),
        .disk_full = maybe(w, 2, 60),
        .disk_eio = maybe(w, 1, 15),
        .slow_disk = maybe(w, 5, 100),
        .crash_append = maybe(w, 1, 30),
        .partition = maybe(w, 1, 10),
        .pause_owner = maybe(w, 1, 10),
        .pause_edge = maybe(w, 1, 6),
        .crash_edge = maybe(w, 1, 4),
        .crash_owner = maybe(w, 1, 10),
        .wall_jump = maybe(w, 1, 3),
        .leap = maybe(w, 1, 2),
        .inventory = maybe(w, 1, 6),
        .apart = maybe(w, 1, 12),
        .late_append = maybe(w, 200, 700),
        .backup = maybe(w, 2, 10),
        .restore = sim_chance(w, 400) ? (unsigned)sim_between(w, 1, 4) : 0,
    };
}

static struct sim_slice *some_slice(struct sim_world *w)
{
    return &w->slices[sim_below(w, w->slice_count)];
}

static struct sim_edge *some_edge(struct sim_world *w)
{
    return &w->edges[sim_below(w, w->edge_count)];
}

/* A fault at an edge, at a slice, or at the link between them: does a launch go through it now? */
static void struck(struct sim_world *w, uint32_t edge, uint32_t slice)
{
    bool between = false;

    for (uint32_t e = 0; e < w->edge_count; e++) {
        for (uint32_t i = 0; i < SIM_LAUNCHES_MAX && (edge == ANY || edge == e); i++) {
            const struct sim_launch *l = &w->edges[e].launches[i];
            uint32_t tag = slice == ANY ? 0 : w->slices[slice].tag;
            between |= l->used && !l->launch.spec.cancel &&
                       (slice == ANY || l->launch.home == tag || l->launch.hold.slice == tag ||
                        l->launch.bound.slice == tag);
        }
    }
    cover_hit(COVER_STRUCK);
    if (between) {
        cover_hit(COVER_STRUCK_BETWEEN);
    }
}

static void cut_link(struct sim_world *w, uint32_t edge, uint32_t slice, bool answers, int64_t ms)
{
    sim_trace(w, "cut: e%u and s%u, %s", edge, slice, answers ? "answers" : "calls");
    if (answers) {
        w->cut_answers[edge][slice] = true;
    } else {
        w->cut_calls[edge][slice] = true;
    }
    sim_at(w, w->now_ms + ms, SIM_HEAL, edge, slice, answers, NULL);
}

/* One direction of a link, both, or all links of an owner: its sweeper's, too. */
static void cut(struct sim_world *w)
{
    uint32_t edge = some_edge(w)->index;
    uint32_t slice = some_slice(w)->index;
    int64_t ms = sim_between(w, 20, 4000);

    if (sim_chance(w, 150)) {
        cover_hit(COVER_CUT_OFF);
        struck(w, ANY, slice);
        for (uint32_t e = 0; e < w->edge_count; e++) {
            cut_link(w, e, slice, false, ms);
            cut_link(w, e, slice, true, ms);
        }
        return;
    }
    if (sim_chance(w, 100)) {
        edge = SIM_EDGES_MAX + some_slice(w)->index;
    } else {
        struck(w, edge, slice);
    }
    bool both = sim_chance(w, 300);
    bool answers = both || sim_chance(w, 500);
    cover_hit(both ? COVER_CUT_BOTH : COVER_PARTITION);
    if (answers) {
        cut_link(w, edge, slice, true, ms);
    }
    if (both || !answers) {
        cut_link(w, edge, slice, false, ms);
    }
}

static void pause_slice(struct sim_world *w)
{
    struct sim_slice *s = some_slice(w);

    if (s->owner == NULL || s->paused) {
        return;
    }
    cover_hit(COVER_PAUSE_OWNER);
    struck(w, ANY, s->index);
    sim_trace(w, "s%u: stopped by a signal", s->index);
    s->paused = true;
    sim_at(w, w->now_ms + sim_between(w, 5, 5000), SIM_RESUME_SLICE, s->index, 0, s->life, NULL);
}

static void pause_edge(struct sim_world *w)
{
    struct sim_edge *e = some_edge(w);

    if (e->down || e->paused) {
        return;
    }
    cover_hit(COVER_PAUSE_EDGE);
    struck(w, e->index, ANY);
    sim_trace(w, "e%u: stopped by a signal", e->index);
    e->paused = true;
    sim_at(w, w->now_ms + sim_between(w, 5, 5000), SIM_RESUME_EDGE, e->index, 0, e->life, NULL);
}

static void crash_edge(struct sim_world *w)
{
    struct sim_edge *e = some_edge(w);

    if (e->down) {
        return;
    }
    cover_hit(COVER_CRASH_EDGE);
    struck(w, e->index, ANY);
    sim_trace(w, "e%u: crash", e->index);
    edge_crash(w, e);
    sim_at(w, w->now_ms + sim_between(w, 20, 3000), SIM_START_EDGE, e->index, 0, e->life, NULL);
}

static void jump(struct sim_world *w)
{
    struct sim_slice *s = some_slice(w);
    int64_t by_ms =
        sim_chance(w, 500) ? sim_between(w, -5000, 5000) : sim_between(w, -7200000, 7200000);

    cover_hit(COVER_WALL_JUMP);
    sim_trace(w, "s%u: wall clock jumps by %lld ms", s->index, (long long)by_ms);
    s->wall_jump_ms += by_ms;
}

static void leap(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->slice_count; i++) {
        if (w->slices[i].below && w->slices[i].silenced) {
            return; /* it would end the wait for those who could tell */
        }
    }
    cover_hit(COVER_LEAP);
    w->leaps++;
    w->now_ms += sim_chance(w, 200)   ? SLICE_HASHED_KEY_LIFE_MS + 60000
                 : sim_chance(w, 500) ? SLICE_KEY_LIFE_MS + sim_between(w, 0, 20000)
                                      : sim_between(w, 60000, SLICE_KEY_LIFE_MS + 120000);
    sim_trace(w, "all clocks leap");
}

static void inventory(struct sim_world *w)
{
    struct sim_slice *s = some_slice(w);
    struct sim_raw raw = {.kind = SIM_RAW_MACHINE, .slice = s->index};
    static const enum owner_machine_change changes[] = {
        OWNER_MACHINE_ADD,    OWNER_MACHINE_RESIZE,   OWNER_MACHINE_RESIZE,  OWNER_MACHINE_REMOVE,
        OWNER_MACHINE_CORDON, OWNER_MACHINE_UNCORDON, OWNER_MACHINE_UNCORDON};

    raw.call.kind = OWNER_MACHINE;
    raw.call.machine_change = changes[sim_below(w, FLY_ARRAY_COUNT(changes))];
    raw.call.cores = 1 + (uint32_t)sim_below(w, 16);
    raw.call.memory_bytes = (1 + sim_below(w, 16)) * UINT64_C(2000000000);
    raw.call.name[0] = 'm';
    raw.call.name[1] = (char)('0' + sim_below(w, s->machines_wanted + 1));
    (void)fly_copy_string(raw.call.region, sizeof raw.call.region,
                          sim_chance(w, 700) ? "SIN" : "FRA");
    (void)edge_raw(w, some_edge(w), &raw);
}

/* Open without commit at home, and a Commit of the hold later. */
static void open_apart(struct sim_world *w)
{
    struct sim_client *c = &w->clients[0];

    if (w->key_count + 1 >= SIM_KEYS_MAX) {
        return;
    }
    uint32_t key =
        w->key_count > 0 && sim_chance(w, 400)
            ? w->key_count - 1 - (uint32_t)sim_below(w, w->key_count < 5 ? w->key_count : 5)
            : client_make_key(w, c);
    const struct sim_key *k = &w->keys[key];
    struct sim_raw raw = {.kind = SIM_RAW_OPEN, .slice = k->home, .key = key};
    raw.call.kind = OWNER_OPEN;
    raw.call.key = k->key;
    raw.call.cores = k->cores;
    raw.call.memory_bytes = k->memory_bytes;
    memcpy(raw.call.subject, k->subject, sizeof raw.call.subject);
    memcpy(raw.call.region, k->region, sizeof raw.call.region);
    spec_digest(k->region, k->cores, k->memory_bytes, "", &raw.call.digest);
    uint32_t call = check_call_begin(w, key, &raw.call.digest, false);
    w->calls[call].outcome = SIM_UNKNOWN;
    (void)edge_raw(w, some_edge(w), &raw);
}

void fault_strike(struct sim_world *w)
{
    const struct sim_faults *f = &w->faults;
    const unsigned weights[] = {f->partition,   f->pause_owner, f->pause_edge, f->crash_edge,
                                f->crash_owner, f->wall_jump,   f->leap,       f->inventory,
                                f->apart,       f->backup,      f->restore};
    unsigned sum = 0;

    for (unsigned i = 0; i < FLY_ARRAY_COUNT(weights); i++) {
        sum += weights[i];
    }
    if (sum == 0) {
        return;
    }
    unsigned pick = (unsigned)sim_below(w, sum);
    unsigned which = 0;
    for (; pick >= weights[which]; which++) {
        pick -= weights[which];
    }
    switch (which) {
    case 0:
        cut(w);
        break;
    case 1:
        pause_slice(w);
        break;
    case 2:
        pause_edge(w);
        break;
    case 3:
        crash_edge(w);
        break;
    case 4: {
        struct sim_slice *s = some_slice(w);
        if (s->owner != NULL) {
            struck(w, ANY, s->index);
            authority_crash(w, s);
        }
        break;
    }
    case 5:
        jump(w);
        break;
    case 6:
        leap(w);
        break;
    case 7:
        inventory(w);
        break;
    case 8:
        open_apart(w);
        break;
    case 9:
        restore_backup(w, some_slice(w));
        break;
    default:
        restore_strike(w, some_slice(w));
    }
}
