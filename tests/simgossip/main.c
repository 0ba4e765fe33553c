/*
 * sim_gossip - gossip machines on a simulated LAN.
 *
 *   sim_gossip [--scenario NAME] [--seed S] [--seeds N] [--twice] [--first] [--verbose]
 *              [--list]
 *
 * Every scenario (or one) over N seeds from S on. A failure prints what was wrong and the line that
 * repeats it, and ends with 1. --twice: each run again, and both must do the same to the bit.
 * --first: the first failure is the last run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "tests/simgossip/scenario.h"

struct options {
    const char *scenario;
    uint64_t seed;
    uint64_t seeds;
    bool twice;
    bool first;
    bool verbose;
    bool list;
};

struct totals {
    uint64_t runs;
    uint64_t packets;
    int64_t virtual_ms;
};

static bool run_once(const struct scenario *s, uint64_t seed, bool verbose, struct totals *totals,
                     uint64_t *hash)
{
    struct world *w = world_create(seed, verbose);
    int64_t start_ms = w->now_ms;
    bool good = s->run(w);

    totals->runs++;
    totals->packets += w->packets;
    totals->virtual_ms += w->now_ms - start_ms;
    *hash = w->hash;
    if (!good) {
        printf("violated: %s: %s, at %lld ms\n", s->name, w->failure,
               (long long)(w->now_ms - start_ms));
    }
    world_destroy(w);
    return good;
}

static bool run(const struct options *o, const struct scenario *s, struct totals *totals)
{
    for (uint64_t seed = o->seed; seed < o->seed + o->seeds; seed++) {
        uint64_t first = 0;
        uint64_t second = 0;
        bool good = run_once(s, seed, o->verbose, totals, &first);
        if (good && o->twice) {
            good = run_once(s, seed, false, totals, &second) && first == second;
            if (first != second) {
                printf("violated: %s: two runs of one seed differ\n", s->name);
            }
        }
        if (!good) {
            printf("sim_gossip --scenario %s --seed %llu\n", s->name, (unsigned long long)seed);
            return false;
        }
    }
    return true;
}

static bool run_all(const struct options *o, const struct scenario *s, size_t count,
                    struct totals *totals)
{
    bool good = true;

    for (size_t i = 0; i < count && (good || !o->first); i++) {
        if (o->list) {
            printf("%-16s %s\n", s[i].name, s[i].what);
        } else if (o->scenario == NULL || strcmp(o->scenario, s[i].name) == 0) {
            good &= run(o, &s[i], totals);
        }
    }
    return good;
}

static bool parse(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--twice") == 0) {
            o->twice = true;
        } else if (strcmp(argv[i], "--first") == 0) {
            o->first = true;
        } else if (strcmp(argv[i], "--verbose") == 0) {
            o->verbose = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            o->list = true;
        } else if (strcmp(argv[i], "--scenario") == 0 && more) {
            o->scenario = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0 && more) {
            o->seed = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seeds") == 0 && more) {
            o->seeds = strtoull(argv[++i], NULL, 10);
        } else {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1, .seeds = 1};
    struct totals totals = {0};

    if (sodium_init() < 0 || !parse(argc, argv, &o)) {
        fprintf(stderr, "usage: sim_gossip [--scenario NAME] [--seed S] [--seeds N] [--twice] "
                        "[--first] [--verbose] [--list]\n");
        return 64;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    bool good = run_all(&o, scenarios_life, scenarios_life_count, &totals);
    good =
        (good || !o.first) && run_all(&o, scenarios_fault, scenarios_fault_count, &totals) && good;
    good = (good || !o.first) && run_all(&o, scenarios_hostile, scenarios_hostile_count, &totals) &&
           good;
    if (o.list) {
        return 0;
    }
    if (totals.runs == 0) {
        fprintf(stderr, "no such scenario; see --list\n");
        return 64;
    }
    printf("%s: %llu runs, %llu packets, %lld s of virtual time\n", good ? "ok" : "FAILED",
           (unsigned long long)totals.runs, (unsigned long long)totals.packets,
           (long long)(totals.virtual_ms / 1000));
    return good ? 0 : 1;
}
