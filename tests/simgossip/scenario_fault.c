/* Links that lose, cut, split; members that change while others die. */
#include "tests/simgossip/scenario.h"

#include <stdio.h>

#include "proto/base/check.h"

static struct gossip_now now_of(const struct world *w)
{
    return (struct gossip_now){.ms = w->now_ms, .wall_ms = w->now_ms};
}

static bool is_dead(struct world *w, int identity)
{
    return world_all_think(w, identity, GOSSIP_DEAD);
}

static bool is_alive(struct world *w, int identity)
{
    return world_all_think(w, identity, GOSSIP_ALIVE);
}

/* 5 */
static bool direct_cut(struct world *w)
{
    int n = 3 + (int)(w->seed % 10);

    if (!world_mesh(w, n)) {
        return false;
    }
    world_cut(w, 0, 1, true);
    world_run(w, 60000);
    return expect_only_suspected(w, n, -1, -1);
}

/* 7: cut off for a moment; nobody may bury it, and it refutes within a tick or two. */
static bool refute(struct world *w)
{
    int n = 3 + (int)(w->seed % 10);

    if (!world_mesh(w, n)) {
        return false;
    }
    for (int p = 1; p < n; p++) {
        world_cut(w, 0, p, true);
    }
    world_run(w, 4000);
    EXPECT(w, world_all_think(w, 0, GOSSIP_SUSPECT), "cut off, and not suspect");
    for (int p = 1; p < n; p++) {
        world_cut(w, 0, p, false);
    }
    EXPECT(w, world_run_until(w, 6000, world_is_one, 0), "heard again, and not alive for all");
    return expect_only_buried(w, n, -1, -1) && expect_quiet(w);
}

/* 8: no packet that only spreads arrives; probes must carry the accusation and the answer. */
static bool buddy(struct world *w)
{
    int n = 4 + (int)(w->seed % 5);

    if (!world_mesh(w, n)) {
        return false;
    }
    w->records_lost = true;
    world_freeze(w, 0);
    world_run(w, 4000);
    EXPECT(w, world_was_suspected(w, 0), "not suspected");
    world_thaw(w, 0);
    EXPECT(w, world_run_until(w, 9000, is_alive, 0), "not refuted by probes alone");
    return expect_only_buried(w, n, -1, -1);
}

/* 13 */
static bool loss(struct world *w)
{
    static const int rates[] = {50, 100, 200, 500};
    int rate = rates[w->seed % FLY_ARRAY_COUNT(rates)];
    int n = 16;

    if (!world_mesh(w, n)) {
        return false;
    }
    for (int a = 0; a < WORLD_MAX; a++) {
        for (int b = 0; b < WORLD_MAX; b++) {
            w->loss[a][b] = (uint16_t)rate;
        }
    }
    world_run(w, 60000);
    if (rate <= 200 && !expect_only_buried(w, n, -1, -1)) {
        return false;
    }
    world_power_off(w, 3);
    EXPECT(w, world_run_until(w, rate <= 200 ? 12000 : 40000, is_dead, 3),
           "at a loss of %d a dead host is not dead", rate);
    return rate > 200 || expect_only_buried(w, n, 3, -1);
}

/* 15: one member deaf, or dumb, every other 20 s. */
static bool flip_flop(struct world *w)
{
    int n = 16;
    bool deaf = w->seed % 2 == 0;

    if (!world_mesh(w, n)) {
        return false;
    }
    for (int turn = 0; turn < (w->seed % 4 == 0 ? 10 : 4); turn++) {
        for (int p = 1; p < n; p++) {
            w->cut[deaf ? p : 0][deaf ? 0 : p] = turn % 2 == 0;
        }
        world_run(w, 20000);
    }
    if (!expect_only_buried(w, n, 0, -1)) {
        /* what the deaf one itself thinks of the others is its own affair */
        for (int i = 1; i < n; i++) {
            for (int p = 1; p < n; p++) {
                EXPECT(w, w->processes[p].buried[i] == 0, "%d was called dead by %d", i, p);
            }
        }
        w->failure[0] = '\0';
    }
    EXPECT(w, world_run_until(w, 10000, world_is_one, 0), "the views differ at the end");
    return expect_quiet(w);
}

/* 16: several stop at once, again and again; the healthy ones stay alive for the healthy ones. */
static bool freeze_grid(struct world *w)
{
    int n = w->seed % 4 == 0 ? 32 : 16;
    int stopped = 1 + (int)(w->seed % 6);

    if (!world_mesh(w, n)) {
        return false;
    }
    for (int turn = 0; turn < 4; turn++) {
        for (int p = 0; p < stopped; p++) {
            world_freeze(w, p);
        }
        world_run(w, 500 + (int64_t)fly_rng_below(&w->rng, 15000));
        for (int p = 0; p < stopped; p++) {
            world_thaw(w, p);
        }
        world_run(w, 500 + (int64_t)fly_rng_below(&w->rng, 6000));
    }
    for (int i = stopped; i < n; i++) {
        EXPECT(w, !world_was_suspected(w, i), "%d, which never stopped, was suspected", i);
    }
    EXPECT(w, world_run_until(w, 10000, world_is_one, 0), "the views differ at the end");
    return expect_quiet(w);
}

/* 17 */
static bool partition(struct world *w)
{
    static const int64_t times_ms[] = {1000, 12000, 60000, 60000, 12000, 1000, 3600000};
    int n = 8 + (int)(w->seed % 9);
    int first = 1 + (int)fly_rng_below(&w->rng, (uint64_t)n - 1);
    int64_t ms = times_ms[w->seed % FLY_ARRAY_COUNT(times_ms)];

    if (!world_mesh(w, n)) {
        return false;
    }
    world_split(w, first, true);
    world_run(w, ms);
    for (int a = 0; ms >= 60000 && a < n; a++) {
        for (int b = 0; b < n; b++) {
            bool together = (a < first) == (b < first);
            EXPECT(w, world_view(w, a, b) == (together ? GOSSIP_ALIVE : GOSSIP_DEAD),
                   "in two halves %d thinks %d of %d", a, (int)world_view(w, a, b), b);
        }
    }
    world_forget(w);
    world_split(w, first, false);
    EXPECT(w, world_run_until(w, 10000, world_is_one, 0), "healed for 10 s, and not one");
    for (int a = 0; a < n; a++) {
        for (int b = 0; b < n; b++) {
            /* who stood together hears each other: old verdicts of the others bury nobody */
            EXPECT(w, (a < first) != (b < first) || w->processes[a].buried[b] == 0,
                   "%d buried %d at the healing", a, b);
        }
    }
    return expect_quiet(w);
}

/* 18 */
static bool lone(struct world *w)
{
    int n = 3 + (int)(w->seed % 10);

    if (!world_mesh(w, n)) {
        return false;
    }
    world_split(w, 1, true);
    world_run(w, w->seed % 4 == 0 ? 600000 : 60000);
    EXPECT(w, is_dead(w, 0), "away for ten minutes, and not dead");
    world_split(w, 1, false);
    EXPECT(w, world_run_until(w, 10000, world_is_one, 0), "back for 10 s, and not one");
    return expect_quiet(w);
}

/* 25 */
static bool meta_storm(struct world *w)
{
    int n = w->seed % 4 == 0 ? 32 : 16;

    if (!world_mesh(w, n)) {
        return false;
    }
    world_kill(w, 9);
    for (int turn = 0; turn < 10; turn++) {
        for (int p = 0; p < n; p++) {
            struct process *x = &w->processes[p];
            if (x->up) {
                struct gossip_meta meta = gossip_find(x->g, world_id(p))->meta;
                snprintf(meta.note, sizeof meta.note, "turn %d", turn);
                gossip_set_meta(x->g, &meta, now_of(w));
                x->due_ms = w->now_ms;
            }
        }
        world_run(w, 300);
    }
    EXPECT(w, world_run_until(w, 3000, is_dead, 9), "the death got lost in the storm");
    EXPECT(w, world_run_until(w, 3000, world_is_one, 0), "the last words are not everywhere");
    return expect_only_buried(w, n, 9, -1) && expect_quiet(w);
}

/* Killed and brought back again and again by somebody who is impatient. */
static bool churn(struct world *w)
{
    int n = 10;

    if (!world_mesh(w, n)) {
        return false;
    }
    for (int turn = 0; turn < 40; turn++) {
        int p = 1 + (int)fly_rng_below(&w->rng, (uint64_t)n - 1);
        if (!w->processes[p].up) {
            world_restart(w, p, 0);
        } else if (fly_rng_chance(&w->rng, 300)) {
            world_power_off(w, p);
        } else {
            world_kill(w, p);
        }
        world_run(w, (int64_t)fly_rng_below(&w->rng, 3000));
    }
    for (int p = 1; p < n; p++) {
        if (!w->processes[p].up) {
            world_restart(w, p, 0);
        }
    }
    EXPECT(w, world_run_until(w, 3000, world_is_one, 0), "all are back, and not one");
    for (int p = 0; p < n; p++) {
        EXPECT(w, !w->processes[p].twin, "%d was taken for a twin", p);
    }
    EXPECT(w, !world_was_buried(w, 0), "the one that never died was buried");
    return expect_quiet(w);
}

const struct scenario scenarios_fault[] = {
    {"direct-cut", "5: the direct path is cut, helpers hear it: never suspected", direct_cut},
    {"refute", "7: cut off for 4 s: suspect, refuted, never dead", refute},
    {"buddy", "8: refutation by probes alone", buddy},
    {"loss", "13: loss of 5 to 50 %; no false death up to 20 %", loss},
    {"flip-flop", "15: one-way cuts of one member, 20 s on and off", flip_flop},
    {"freeze-grid", "16: several stop at once; no healthy one is suspected", freeze_grid},
    {"partition", "17: two halves for up to an hour; one again within 10 s", partition},
    {"lone", "18: one without a network for ten minutes", lone},
    {"meta-storm", "25: all change their words while one dies", meta_storm},
    {"churn", "20: killed and restarted at random", churn},
};
const size_t scenarios_fault_count = FLY_ARRAY_COUNT(scenarios_fault);
