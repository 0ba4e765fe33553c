/*
 * mill - drives one fuzz target with very many made and mutated inputs, for the sheer number.
 *
 *   mill_TARGET [--runs N] [--seed S] [--size N] [CORPUS...]
 *
 * libFuzzer (the fuzz preset) looks for new paths; this counts up: no coverage, no files, only a
 * seeded generator, so that millions of inputs a second are possible in the ASan+UBSan build. Every
 * input ends at a page that may not be touched: one byte too many is seen in every build. A third
 * are the corpus', mutated; the rest the target's own (fuzz_make), sound first, then mutated too.
 * A finding dies with the seed and the run's number on stderr. Prints one JSON line.
 */
#include <argp.h>
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* A target may offer this: one sound input, at most max bytes. */
__attribute__((weak)) size_t fuzz_make(struct fly_rng *rng, uint8_t *out, size_t max);

enum { SEEDS_MAX = 256, PAGE = 4096 };

struct seed {
    uint8_t *data;
    size_t size;
};

struct mill {
    uint64_t runs;
    uint64_t seed;
    size_t size_max;
    struct seed seeds[SEEDS_MAX];
    size_t seed_count;
    uint8_t *end; /* of the room for inputs; behind it nothing may be touched */
};

static volatile uint64_t run_now;
static uint64_t seed_now;

static void say_where(int number)
{
    char text[96];
    int size = snprintf(text, sizeof text, "mill: signal %d at seed %" PRIu64 ", run %" PRIu64 "\n",
                        number, seed_now, run_now);

    (void)!write(STDERR_FILENO, text, (size_t)size);
    _exit(99);
}

static void read_seed(struct mill *m, const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(m->size_max);

    FLY_CHECK(data != NULL);
    if (file == NULL || m->seed_count == SEEDS_MAX) {
        free(data);
    } else {
        m->seeds[m->seed_count++] =
            (struct seed){.data = data, .size = fread(data, 1, m->size_max, file)};
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

static void read_corpus(struct mill *m, const char *path)
{
    DIR *dir = opendir(path);

    if (dir == NULL) {
        read_seed(m, path);
        return;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char name[4096];
        if (entry->d_name[0] != '.') {
            (void)snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
            read_seed(m, name);
        }
    }
    (void)closedir(dir);
}

/* One change; returns the new size. */
static size_t mutate(struct mill *m, struct fly_rng *rng, uint8_t *data, size_t size)
{
    static const uint8_t telling[] = {0, 1, 0x7F, 0x80, 0xFF, 0xFE, 0x10, 0x20};
    size_t place = size > 0 ? (size_t)fly_rng_below(rng, size) : 0;

    switch (fly_rng_below(rng, 6)) {
    case 0:
        if (size > 0) {
            data[place] ^= (uint8_t)(1U << fly_rng_below(rng, 8));
        }
        return size;
    case 1:
        if (size > 0) {
            data[place] = telling[fly_rng_below(rng, sizeof telling)];
        }
        return size;
    case 2:
        if (size > 0) {
            data[place] = (uint8_t)fly_rng_below(rng, 256);
        }
        return size;
    case 3: /* cut */
        return place;
    case 4: /* a byte more */
        if (size < m->size_max) {
            memmove(data + place + 1, data + place, size - place);
            data[place] = (uint8_t)fly_rng_below(rng, 256);
            return size + 1;
        }
        return size;
    default: /* a byte less */
        if (size > 0) {
            memmove(data + place, data + place + 1, size - place - 1);
            return size - 1;
        }
        return size;
    }
}

static void run(struct mill *m, uint8_t *work)
{
    struct fly_rng rng;

    fly_rng_seed(&rng, m->seed);
    for (uint64_t i = 0; i < m->runs; i++) {
        size_t size = 0;
        run_now = i;
        if (m->seed_count > 0 && (fuzz_make == NULL || fly_rng_below(&rng, 3) == 0)) {
            const struct seed *seed = &m->seeds[fly_rng_below(&rng, m->seed_count)];
            size = seed->size;
            memcpy(work, seed->data, size);
        } else if (fuzz_make != NULL) {
            size = fuzz_make(&rng, work, m->size_max);
            FLY_CHECK(size <= m->size_max);
        }
        for (uint64_t n = fly_rng_below(&rng, 4); n > 0; n--) {
            size = mutate(m, &rng, work, size);
        }
        memcpy(m->end - size, work, size);
        (void)LLVMFuzzerTestOneInput(m->end - size, size);
    }
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct mill *m = state->input;

    switch (key) {
    case 'n':
        m->runs = strtoull(value, NULL, 10);
        return 0;
    case 's':
        m->seed = strtoull(value, NULL, 10);
        return 0;
    case 'z':
        m->size_max = strtoull(value, NULL, 10);
        return 0;
    case ARGP_KEY_ARG:
        read_corpus(m, value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"runs", 'n', "N", 0, "inputs [1000000]", 0},
        {"seed", 's', "S", 0, "of the generator [1]", 0},
        {"size", 'z', "N", 0, "largest input in bytes [512]", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options, .parser = parse, .args_doc = "[CORPUS...]"};
    static struct mill m = {.runs = 1000000, .seed = 1, .size_max = 512};
    const struct sigaction action = {.sa_handler = say_where};

    if (argp_parse(&argp, argc, argv, 0, NULL, &m) != 0 || m.size_max == 0) {
        return 64;
    }
    size_t room = (m.size_max + PAGE - 1) / PAGE * PAGE;
    uint8_t *map =
        mmap(NULL, room + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *work = malloc(m.size_max);
    FLY_CHECK(map != MAP_FAILED && work != NULL && mprotect(map + room, PAGE, PROT_NONE) == 0);
    m.end = map + room;
    seed_now = m.seed;
    FLY_CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGABRT, &action, NULL) == 0 &&
              sigaction(SIGILL, &action, NULL) == 0 && sigaction(SIGTRAP, &action, NULL) == 0);
    int64_t begin_ms = fly_clock_boot_ms();
    run(&m, work);
    (void)printf("{\"mill\":\"%s\",\"runs\":%" PRIu64 ",\"seed\":%" PRIu64
                 ",\"corpus\":%zu,\"ms\":%" PRId64 "}\n",
                 program_invocation_short_name, m.runs, m.seed, m.seed_count,
                 fly_clock_boot_ms() - begin_ms);
    for (size_t i = 0; i < m.seed_count; i++) {
        free(m.seeds[i].data);
    }
    free(work);
    return 0;
}
