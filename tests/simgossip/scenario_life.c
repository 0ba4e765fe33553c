/* Joining, leaving, dying, coming back. */
#include "tests/simgossip/scenario.h"

#include "proto/base/check.h"

bool expect_quiet(struct world *w)
{
    world_run(w, 10000);
    uint64_t before = world_updates(w);
    world_run(w, 20000);
    EXPECT(w, world_updates(w) == before, "I7: %llu words after all was said",
           (unsigned long long)(world_updates(w) - before));
    return true;
}

bool expect_only_suspected(struct world *w, int n, int a, int b)
{
    for (int i = 0; i < n; i++) {
        EXPECT(w, i == a || i == b || !world_was_suspected(w, i), "%d was suspected", i);
    }
    return true;
}

bool expect_only_buried(struct world *w, int n, int a, int b)
{
    for (int i = 0; i < n; i++) {
        EXPECT(w, i == a || i == b || !world_was_buried(w, i), "%d was called dead", i);
    }
    return true;
}

static bool is_dead(struct world *w, int identity)
{
    return world_all_think(w, identity, GOSSIP_DEAD);
}

static bool is_suspect(struct world *w, int identity)
{
    return world_all_think(w, identity, GOSSIP_SUSPECT);
}

static bool is_left(struct world *w, int identity)
{
    return world_all_think(w, identity, GOSSIP_LEFT);
}

static bool one_link(struct world *w)
{
    int a = world_start(w, 0, -1);
    int b = world_start(w, 1, a);

    EXPECT(w, !world_is_one(w, 0), "one before a packet was sent");
    EXPECT(w, world_run_until(w, 500, world_is_one, 0), "two nodes and a link are not one");
    world_run(w, 3000);
    EXPECT(w, w->processes[a].settled_ms >= 0 && w->processes[b].settled_ms >= 0, "not settled");
    EXPECT(w, w->processes[a].joined && w->processes[b].joined, "settled alone");
    EXPECT(w, w->processes[b].settled_ms - w->processes[b].started_ms < 500,
           "the joiner waits for nothing");
    return expect_quiet(w);
}

static bool alone(struct world *w)
{
    int a = world_start(w, 0, -1);

    w->processes[a].settled_ms = -1;
    world_run(w, w->timing.settle_ms - 10);
    EXPECT(w, w->processes[a].settled_ms < 0, "settled before its time");
    world_run(w, 20);
    EXPECT(w, w->processes[a].settled_ms >= 0 && !w->processes[a].joined, "not settled, alone");
    return true;
}

static bool chain(struct world *w)
{
    for (int i = 0; i < 5; i++) {
        (void)world_start(w, i, i - 1);
    }
    EXPECT(w, world_run_until(w, 2500, world_is_one, 0), "a chain of five is not one");
    return expect_quiet(w);
}

/* More members than one packet, or one answer, tells of. */
static bool star(struct world *w)
{
    if (!world_mesh(w, w->seed % 4 == 0 ? 64 : 30)) {
        return false;
    }
    world_kill(w, 7);
    EXPECT(w, world_run_until(w, 5000, is_dead, 7), "the death in a large table");
    EXPECT(w, !world_was_buried(w, 8), "another was buried");
    return true;
}

static bool crash(struct world *w)
{
    static const int sizes[] = {2, 3, 5, 8, 32, 64};
    int n = sizes[w->seed % FLY_ARRAY_COUNT(sizes)];
    int victim = (int)fly_rng_below(&w->rng, (uint64_t)n);

    if (!world_mesh(w, n)) {
        return false;
    }
    world_run(w, (int64_t)fly_rng_below(&w->rng, 1000));
    world_kill(w, victim);
    uint64_t packets = w->packets;
    EXPECT(w, !is_dead(w, victim), "dead before anybody could know");
    EXPECT(w, world_run_until(w, 5000, is_dead, victim), "killed, and not dead for all of %d", n);
    packets = w->packets - packets;
    EXPECT(w, packets < 60 * (unsigned)n, "%llu packets for one death among %d",
           (unsigned long long)packets, n);
    return expect_only_suspected(w, n, victim, -1) && expect_quiet(w);
}

static bool crash_two(struct world *w)
{
    int n = 3 + (int)(w->seed % 6);

    if (!world_mesh(w, n)) {
        return false;
    }
    world_kill(w, 0);
    world_kill(w, 1);
    EXPECT(w, world_run_until(w, 7000, is_dead, 0), "the first of two is not dead of %d", n);
    EXPECT(w, world_run_until(w, 2000, is_dead, 1), "the second of two is not dead of %d", n);
    return expect_only_buried(w, n, 0, 1);
}

static bool power(struct world *w)
{
    static const int sizes[] = {2, 3, 5, 8, 32, 64};
    int n = sizes[w->seed % FLY_ARRAY_COUNT(sizes)];
    int victim = (int)fly_rng_below(&w->rng, (uint64_t)n);

    if (!world_mesh(w, n)) {
        return false;
    }
    world_power_off(w, victim);
    world_run(w, 6000);
    EXPECT(w, !world_was_buried(w, victim), "silence was judged early");
    EXPECT(w, world_run_until(w, 4000, is_dead, victim), "off for 10 s, and not dead of %d", n);
    return expect_only_suspected(w, n, victim, -1) && expect_quiet(w);
}

/* Acceptance 4: a stopped process is suspect soon, not dead, and returns without a hand. */
static bool stopped(struct world *w)
{
    static const int sizes[] = {2, 3, 5, 16};
    int n = sizes[w->seed % FLY_ARRAY_COUNT(sizes)];
    int victim = (int)fly_rng_below(&w->rng, (uint64_t)n);
    int64_t stop_ms = 2500 + (int64_t)fly_rng_below(&w->rng, 4500);

    if (!world_mesh(w, n)) {
        return false;
    }
    world_freeze(w, victim);
    EXPECT(w, world_run_until(w, 2500, is_suspect, victim), "stopped, and not suspect of %d", n);
    world_run(w, stop_ms > 2500 ? stop_ms - 2500 : 0);
    EXPECT(w, !world_was_buried(w, victim), "stopped for %lld ms and called dead",
           (long long)stop_ms);
    world_thaw(w, victim);
    EXPECT(w, world_run_until(w, 1500, world_is_one, 0), "goes on, and is not seen alive");
    return expect_only_suspected(w, n, victim, -1) && expect_quiet(w);
}

/* Acceptance 4, with shells that ask the hosts: 15 s and longer are no death; the kill is, soon. */
static bool stopped_long(struct world *w)
{
    int n = 2 + (int)(w->seed % 9);
    int victim = (int)fly_rng_below(&w->rng, (uint64_t)n);

    w->hints_there = true;
    if (!world_mesh(w, n)) {
        return false;
    }
    world_freeze(w, victim);
    world_run(w, 15000 + (int64_t)fly_rng_below(&w->rng, 35000));
    EXPECT(w, is_suspect(w, victim), "stopped for %d of %d, and not suspect", victim, n);
    if (w->seed % 3 == 0) {
        world_kill(w, victim);
        w->processes[victim].frozen = false;
        EXPECT(w, world_run_until(w, 8000, is_dead, victim), "stopped, killed, and not dead");
        return expect_only_suspected(w, n, victim, -1) && expect_quiet(w);
    }
    if (w->seed % 3 == 1) {
        world_power_off(w, victim);
        w->processes[victim].frozen = false;
        EXPECT(w, world_run_until(w, 10000, is_dead, victim), "stopped, off, and not dead");
        return expect_only_suspected(w, n, victim, -1) && expect_quiet(w);
    }
    world_thaw(w, victim);
    EXPECT(w, world_run_until(w, 1500, world_is_one, 0), "goes on, and is not seen alive");
    EXPECT(w, !world_was_buried(w, victim), "stopped, and called dead");
    world_freeze(w, victim);
    world_run(w, 75000);
    EXPECT(w, is_dead(w, victim), "stopped for good, and still waited for");
    return expect_only_suspected(w, n, victim, -1) && expect_quiet(w);
}

/* 31: who stood still accuses nobody before it has looked again. */
static bool stall(struct world *w)
{
    int n = 3 + (int)(w->seed % 14);

    if (!world_mesh(w, n)) {
        return false;
    }
    world_freeze(w, 0);
    world_run(w, 30000);
    EXPECT(w, is_dead(w, 0), "stopped for 30 s, and not dead");
    world_thaw(w, 0);
    EXPECT(w, gossip_counters(w->processes[0].g)->stalls > 0, "the stall was not noticed");
    EXPECT(w, world_run_until(w, 2000, world_is_one, 0), "goes on, and is not seen alive");
    return expect_only_suspected(w, n, 0, -1) && expect_quiet(w);
}

/* A process that gets a tenth of a second in each, and sees its packets late. */
static bool limping(struct world *w)
{
    int n = 3 + (int)(w->seed % 14);

    w->delay_min_ms = 20;
    w->delay_max_ms = 60;
    if (!world_mesh(w, n)) {
        return false;
    }
    for (int p = 1; p < n; p++) {
        w->loss[0][p] = w->loss[p][0] = 100;
    }
    for (int turn = 0; turn < 30; turn++) {
        world_freeze(w, 0);
        world_run(w, 600 + (int64_t)fly_rng_below(&w->rng, 600));
        world_thaw(w, 0);
        world_run(w, 100);
    }
    for (int p = 1; p < n; p++) {
        w->loss[0][p] = w->loss[p][0] = 0;
    }
    EXPECT(w, world_run_until(w, 5000, world_is_one, 0), "runs again, and is not seen alive");
    return expect_only_suspected(w, n, 0, -1) && expect_quiet(w);
}

static bool leave(struct world *w)
{
    int n = 2 + (int)(w->seed % 15);
    int victim = (int)fly_rng_below(&w->rng, (uint64_t)n);

    if (!world_mesh(w, n)) {
        return false;
    }
    gossip_leave(w->processes[victim].g,
                 (struct gossip_now){.ms = w->now_ms, .wall_ms = w->now_ms});
    w->processes[victim].due_ms = w->now_ms;
    EXPECT(w, world_run_until(w, 1500, is_left, victim), "its good-bye was not heard by all");
    world_run(w, 1500);
    EXPECT(w, !w->processes[victim].up, "it does not get done with leaving");
    world_run(w, 12000);
    EXPECT(w, is_left(w, victim), "left, and then something else");
    if (!expect_only_suspected(w, n, -1, -1) || !expect_quiet(w)) {
        return false;
    }
    world_restart(w, victim, victim == 0 ? 1 : 0);
    EXPECT(w, world_run_until(w, 1500, world_is_one, 0), "left, came back, and is not seen");
    return true;
}

/* 21: back at once, at another address; what was said of its old life means nothing. */
static bool elsewhere(struct world *w)
{
    int n = 3 + (int)(w->seed % 10);

    if (!world_mesh(w, n)) {
        return false;
    }
    world_kill(w, 1);
    world_run(w, (int64_t)fly_rng_below(&w->rng, 4000));
    world_restart_at(w, 1, 0, w->generations[1] + 1, w->seed % 2 == 0);
    EXPECT(w, world_run_until(w, 1500, world_is_one, 0), "restarted, and not seen by all");
    world_run(w, 5000);
    EXPECT(w, !w->processes[1].twin && world_is_one(w, 0), "taken for its own twin");
    return expect_only_buried(w, n, 1, -1) && expect_quiet(w);
}

/* 11: half of the nodes forget their generation; others remember a higher one. */
static bool forgotten(struct world *w)
{
    int n = 4 + (int)(w->seed % 8);

    if (!world_mesh(w, n)) {
        return false;
    }
    for (int round = 0; round < 3; round++) {
        for (int p = 1; p < n; p++) {
            world_restart(w, p, 0);
            world_run(w, 50);
        }
    }
    world_run(w, 3000);
    for (int p = n / 2; p < n; p++) {
        world_restart_at(w, p, 0, 1, false);
    }
    EXPECT(w, world_run_until(w, 2000, world_is_one, 0), "lower generations are not above");
    for (int p = 0; p < n; p++) {
        EXPECT(w, !w->processes[p].twin, "%d was taken for a twin", p);
    }
    return expect_quiet(w);
}

/* 28: all at once, and all again. */
static bool storm(struct world *w)
{
    int n = w->seed % 6 == 0 ? 64 : 20;

    for (int i = 0; i < n; i++) {
        (void)world_start(w, i, i == 0 ? -1 : 0);
    }
    EXPECT(w, world_run_until(w, 5000, world_is_one, 0), "%d that start at once", n);
    world_run(w, 5000);
    for (int p = 0; p < n; p++) {
        world_kill(w, p);
    }
    for (int p = 0; p < n; p++) {
        world_restart(w, p, p == 0 ? 1 : 0);
    }
    EXPECT(w, world_run_until(w, 5000, world_is_one, 0), "%d that start again", n);
    return expect_quiet(w);
}

/* 23: reaped everywhere; nobody brings it back. */
static bool reap(struct world *w)
{
    w->timing.reap_ms = 60000;
    if (!world_mesh(w, 8)) {
        return false;
    }
    world_freeze(w, 5); /* does not hear of it, and keeps the old claim */
    world_kill(w, 3);
    EXPECT(w, world_run_until(w, 5000, is_dead, 3), "not dead");
    world_run(w, 90000);
    EXPECT(w, world_view(w, 0, 3) == 0, "not forgotten");
    world_thaw(w, 5);
    for (int i = 0; i < 300; i++) {
        world_run(w, 100);
        for (int p = 0; p < 8; p++) {
            EXPECT(w, !w->processes[p].up || p == 5 || world_view(w, p, 3) == 0, "%d got it back",
                   p);
        }
    }
    world_run(w, 50000);
    EXPECT(w, world_view(w, 5, 3) == GOSSIP_DEAD || world_view(w, 5, 3) == 0,
           "the one who slept waits for ever");
    world_restart(w, 3, 0);
    EXPECT(w, world_run_until(w, 1500, world_is_one, 0), "cannot come back after that");
    return expect_quiet(w);
}

const struct scenario scenarios_life[] = {
    {"one-link", "1: two nodes and a link are one, and settled", one_link},
    {"alone", "who is alone settles after its time", alone},
    {"chain", "2: a chain of five", chain},
    {"star", "3: thirty and more, a table larger than a packet, and a death in it", star},
    {"crash", "4: a killed process is dead for all within 5 s; nobody else is suspected", crash},
    {"crash-two", "4: two at once, also of three", crash_two},
    {"power", "4: a silent host is dead for all within 10 s, and not before 6", power},
    {"stopped", "acceptance 4: stopped is suspect, not dead; it returns by itself", stopped},
    {"stopped-long", "acceptance 4: a host that acknowledges: stopped for up to 60 s",
     stopped_long},
    {"stall", "31: who stood still accuses nobody", stall},
    {"limping", "31: who gets little time accuses nobody", limping},
    {"leave", "19: left is not failed; then silence; then back", leave},
    {"elsewhere", "21: restart, same or new address, no hole and no twin", elsewhere},
    {"forgotten", "11: lower generations after lost state", forgotten},
    {"storm", "28: all start at once, twice", storm},
    {"reap", "23: forgotten is forgotten", reap},
};
const size_t scenarios_life_count = FLY_ARRAY_COUNT(scenarios_life);
