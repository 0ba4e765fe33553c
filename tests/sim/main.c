/*
 * sim_run - runs seeds. A violation prints the one line that replays it and exits 1.
 *
 *   sim_run [--seed S] [--seeds N] [--steps N] [--twice] [--cover] [--verbose]
 *
 * --twice runs each seed again and compares the hash of the whole trace. --cover prints how often
 * each thing happened and fails when one that must happen never did.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sim.h"

enum { STEPS_DEFAULT = 3000, SECONDS_MAX = 20 };

static struct sim_world *current;

/* FLY_CHECK, a sanitizer, a crash, a loop without end: all of them name the seed. */
static void on_signal(int signal_number)
{
    if (current != NULL) {
        sim_print_trace(current);
        (void)fprintf(stderr, "signal %d at step %" PRIu64 "\nsim_run --seed %" PRIu64 "\n",
                      signal_number, current->steps, current->seed);
    }
    _Exit(1);
}

static uint64_t run_seed(uint64_t seed, uint64_t steps, bool verbose, bool quiet)
{
    struct sim_world *w = calloc(1, sizeof *w);

    if (w == NULL) {
        abort();
    }
    w->seed = seed;
    w->verbose = verbose;
    current = w;
    (void)alarm(SECONDS_MAX);
    world_run(w, steps);
    (void)alarm(0);
    current = NULL;
    uint64_t hash = w->hash;
    if (!quiet) {
        printf("seed %" PRIu64 ": %" PRIu64 " steps, %" PRId64 " ms, %u keys, %u calls, %u VMs, "
               "hash %016" PRIx64 "\n",
               seed, w->steps, w->now_ms, w->key_count, w->call_count, w->vm_count, hash);
    }
    world_free(w);
    free(w);
    return hash;
}

static uint64_t number(const char *text)
{
    char *end = NULL;
    uint64_t value = strtoull(text == NULL ? "" : text, &end, 10);

    if (end == text || text == NULL || *end != '\0') {
        (void)fprintf(stderr, "sim_run: not a number: %s\n", text == NULL ? "" : text);
        exit(64);
    }
    return value;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    uint64_t seeds = 1;
    uint64_t steps = STEPS_DEFAULT;
    bool twice = false;
    bool cover = false;
    bool verbose = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0) {
            seed = number(argv[++i]);
        } else if (strcmp(argv[i], "--seeds") == 0) {
            seeds = number(argv[++i]);
        } else if (strcmp(argv[i], "--steps") == 0) {
            steps = number(argv[++i]);
        } else if (strcmp(argv[i], "--twice") == 0) {
            twice = true;
        } else if (strcmp(argv[i], "--cover") == 0) {
            cover = true;
        } else if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
        } else {
            (void)fprintf(stderr, "usage: sim_run [--seed S] [--seeds N] [--steps N] [--twice] "
                                  "[--cover] [--verbose]\n");
            return 64;
        }
    }
    const struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGABRT, &action, NULL);
    (void)sigaction(SIGSEGV, &action, NULL);
    (void)sigaction(SIGALRM, &action, NULL);
    uint64_t all = 0;
    for (uint64_t s = seed; s < seed + seeds; s++) {
        uint64_t hash = run_seed(s, steps, verbose, seeds > 1);
        if (twice && run_seed(s, steps, false, true) != hash) {
            (void)fprintf(stderr, "seed %" PRIu64 " does not replay bit for bit\n", s);
            return 1;
        }
        all = all * 31 + hash;
    }
    if (seeds > 1) {
        printf("%" PRIu64 " seeds from %" PRIu64 ", hash of all %016" PRIx64 "\n", seeds, seed,
               all);
    }
    if (cover) {
        unsigned missing = cover_print(stdout);
        if (missing > 0) {
            (void)fflush(stdout);
            (void)fprintf(stderr, "%u things that must happen never did\n", missing);
            return 1;
        }
    }
    return 0;
}
