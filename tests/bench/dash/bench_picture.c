/*
 * bench_picture - what the columnar picture costs: an event folded in, a frame, the fleet's
 * snapshot, memory.
 *
 *   bench_picture [--machines N] [--regions N] [--rounds N]
 *
 * One JSON line for each figure, in CPU time: the median of the rounds, and the fastest and
 * slowest. The control is a row of 128 bytes, at random among as many, read and written: what the
 * memory alone costs. Prints no verdict.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dash/core/frame.h"
#include "dash/core/tail.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"

enum { EVENTS = 1 << 20, CHANGES = 5000, FRAMES = 200, ROUNDS_MAX = 32, SLICE_MACHINES = 65536 };

struct row {
    uint32_t next;
    uint8_t rest[124];
};

struct bench {
    uint32_t machines;
    uint32_t regions;
    uint32_t rounds;
    struct picture *p;
    uint8_t *out;
    uint32_t *detailed;
    uint8_t *tail;
    struct fly_rng rng;
    struct row *rows; /* of the control */
    uint64_t sink;
};

/* CPU time: the neighbours' share of the core is not the picture's. */
static int64_t cpu_ns(void)
{
    struct timespec now;

    FLY_CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void *must(void *memory)
{
    FLY_CHECK(memory != NULL);
    return memory;
}

static void event_make(struct event *e, uint32_t machine, uint32_t regions)
{
    *e = (struct event){.slice = 1 + machine / SLICE_MACHINES,
                        .incarnation = 1,
                        .seq = 1,
                        .type = EVENT_VM_STARTED,
                        .cores = 64,
                        .memory_bytes = UINT64_C(512000000000),
                        .machine_cores_free = 64,
                        .machine_memory_free_bytes = UINT64_C(512000000000)};
    (void)snprintf(e->machine, sizeof e->machine, "machine-%06u", machine);
    (void)snprintf(e->region, sizeof e->region, "R%02u", machine % regions);
}

/* The next event of any machine, made without printf: only the digits and numbers differ. */
static void event_next(struct bench *b, struct event *e)
{
    uint64_t chance = fly_rng_next(&b->rng);
    uint32_t machine = (uint32_t)((chance >> 32) * b->machines >> 32);

    e->slice = 1 + machine / SLICE_MACHINES;
    for (unsigned i = 0; i < 6; i++, machine /= 10) {
        e->machine[13 - i] = (char)('0' + machine % 10);
    }
    e->machine_cores_free = (uint32_t)(chance & 63);
    e->machine_memory_free_bytes = (chance & 63) * UINT64_C(8000000000);
}

/* --- each returns ns for one of what it measures --- */

static double measure_event(struct bench *b)
{
    struct event e;

    event_make(&e, 0, b->regions);
    int64_t begin_ns = cpu_ns();
    for (unsigned i = 0; i < EVENTS; i++) {
        event_next(b, &e);
        b->sink += e.machine_cores_free;
    }
    return (double)(cpu_ns() - begin_ns) / EVENTS;
}

static double measure_apply(struct bench *b)
{
    struct event e;

    event_make(&e, 0, b->regions);
    int64_t begin_ns = cpu_ns();
    for (unsigned i = 0; i < EVENTS; i++) {
        event_next(b, &e);
        FLY_CHECK(picture_apply(b->p, &e) == FLY_OK);
    }
    return (double)(cpu_ns() - begin_ns) / EVENTS;
}

/* One cycle through all rows (Sattolo). */
static void rows_shuffle(struct bench *b)
{
    for (uint32_t i = 0; i < b->machines; i++) {
        b->rows[i].next = i;
    }
    for (uint32_t i = b->machines - 1; i > 0; i--) {
        uint32_t j = (uint32_t)fly_rng_below(&b->rng, i);
        uint32_t next = b->rows[i].next;
        b->rows[i].next = b->rows[j].next;
        b->rows[j].next = next;
    }
}

static double measure_row(struct bench *b)
{
    int64_t begin_ns = cpu_ns();
    uint32_t at = 0;

    for (unsigned i = 0; i < EVENTS; i++) {
        at = b->rows[at].next;
    }
    b->sink += at;
    return (double)(cpu_ns() - begin_ns) / EVENTS;
}

static size_t frame(struct bench *b)
{
    struct dash_tail t;
    uint32_t detailed;

    dash_tail_begin(&t, b->tail, DASH_TAIL_BYTES_MAX);
    dash_tail_take_regions(&t, b->p);
    return dash_frame_make(b->p, 1, 0, dash_tail_end(&t), b->out, b->detailed, &detailed);
}

static double measure_frame(struct bench *b)
{
    int64_t took_ns = 0;
    struct event e;

    event_make(&e, 0, b->regions);
    while (frame(b) != 0) {
    }
    for (unsigned f = 0; f < FRAMES; f++) {
        for (unsigned i = 0; i < CHANGES; i++) {
            event_next(b, &e);
            (void)picture_apply(b->p, &e);
        }
        int64_t begin_ns = cpu_ns();
        b->sink += frame(b);
        took_ns += cpu_ns() - begin_ns;
    }
    return (double)took_ns / FRAMES;
}

static double measure_fleet(struct bench *b)
{
    struct dash_tail t;
    int64_t begin_ns = cpu_ns();

    for (unsigned f = 0; f < FRAMES; f++) {
        dash_tail_begin(&t, b->tail, DASH_TAIL_BYTES_MAX);
        FLY_CHECK(dash_tail_put_regions(&t, b->p));
        struct fly_bytes tail = dash_tail_end(&t);
        FLY_CHECK(dash_fleet_size(b->p, tail) <= DASH_FRAME_BYTES_MAX);
        dash_fleet_make(b->p, 1, 1, tail, b->out);
    }
    return (double)(cpu_ns() - begin_ns) / FRAMES;
}

/* --- printing --- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double say(const struct bench *b, const char *name, const char *what, double *ns)
{
    qsort(ns, b->rounds, sizeof ns[0], compare);
    (void)printf("{\"figure\":\"%s\",\"what\":\"%s\",\"unit\":\"ns\",\"median\":%.1f,\"min\":%.1f,"
                 "\"max\":%.1f,\"rounds\":%u}\n",
                 name, what, ns[b->rounds / 2], ns[0], ns[b->rounds - 1], b->rounds);
    return ns[b->rounds / 2];
}

static void run(struct bench *b)
{
    static double row[ROUNDS_MAX];
    static double event[ROUNDS_MAX];
    static double apply[ROUNDS_MAX];
    static double frames[ROUNDS_MAX];
    static double fleet[ROUNDS_MAX];

    for (uint32_t r = 0; r < b->rounds; r++) {
        row[r] = measure_row(b);
        event[r] = measure_event(b);
        apply[r] = measure_apply(b);
        frames[r] = measure_frame(b);
        fleet[r] = measure_fleet(b);
    }
    (void)say(b, "control_row", "a row read that another one named", row);
    double made = say(b, "event_made", "an event made, nothing done with it", event);
    double applied = say(b, "event_applied", "an event made and folded in", apply);
    (void)printf("{\"figure\":\"picture_apply\",\"what\":\"the difference\",\"unit\":\"ns\","
                 "\"median\":%.1f}\n",
                 applied - made);
    (void)say(b, "frame", "a frame of 5,000 changes, regions in its tail", frames);
    (void)say(b, "fleet", "the fleet's snapshot, not compressed", fleet);
}

static error_t option(int key, char *text, struct argp_state *state)
{
    struct bench *b = state->input;

    switch (key) {
    case 'm':
        b->machines = (uint32_t)strtoul(text, NULL, 10);
        return 0;
    case 'r':
        b->regions = (uint32_t)strtoul(text, NULL, 10);
        return 0;
    case 'n':
        b->rounds = (uint32_t)strtoul(text, NULL, 10);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"machines", 'm', "N", 0, "machines [100000]", 0},
        {"regions", 'r', "N", 0, "regions [35]", 0},
        {"rounds", 'n', "N", 0, "rounds [7]", 0},
        {0},
    };
    const struct argp argp = {options, option, NULL, NULL, NULL, NULL, NULL};
    struct bench b = {.machines = 100000, .regions = 35, .rounds = 7};

    if (argp_parse(&argp, argc, argv, 0, NULL, &b) != 0 || b.machines == 0 ||
        b.machines > PICTURE_MACHINES_MAX || b.regions == 0 || b.regions > PICTURE_REGIONS_MAX ||
        b.rounds == 0 || b.rounds > ROUNDS_MAX) {
        return 64;
    }
    const struct picture_config config = {.machines_max = b.machines, .hash_seed = 1};
    fly_rng_seed(&b.rng, 1);
    b.p = picture_init(must(calloc(1, picture_size(&config))), &config);
    b.out = must(malloc(DASH_FRAME_BYTES_MAX));
    b.detailed = must(malloc(DASH_FRAME_WORDS_MAX * sizeof *b.detailed));
    b.tail = must(malloc(DASH_TAIL_BYTES_MAX));
    b.rows = must(calloc(b.machines, sizeof *b.rows));
    rows_shuffle(&b);
    int64_t begin_ns = cpu_ns();
    for (uint32_t i = 0; i < b.machines; i++) {
        struct event e;
        event_make(&e, i, b.regions);
        e.type = EVENT_MACHINE_ADDED;
        FLY_CHECK(picture_apply(b.p, &e) == FLY_OK);
    }
    (void)printf("{\"figure\":\"picture_filled\",\"what\":\"all machines added\",\"unit\":\"ms\","
                 "\"value\":%.1f,\"machines\":%u}\n",
                 (double)(cpu_ns() - begin_ns) / 1e6, b.machines);
    (void)printf("{\"figure\":\"picture_bytes\",\"what\":\"memory of the picture\",\"unit\":"
                 "\"bytes\",\"value\":%zu,\"per_machine\":%.1f}\n",
                 picture_size(&config), (double)picture_size(&config) / b.machines);
    run(&b);
    FLY_CHECK(b.sink != 0);
    free(b.p);
    free(b.out);
    free(b.detailed);
    free(b.tail);
    free(b.rows);
    return 0;
}
