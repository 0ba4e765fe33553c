/*
 * picture against a plain list of machines: random events, snapshots, drops and silences in tables
 * so small that they fill; after each burst cells, sums, staleness and the hash are counted anew,
 * and a mirror that only hears what is taken must show the same picture.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "dash/core/picture.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"

enum { MACHINES = 60, SLICES = 4, NAMES = 30, REGIONS = 5, BURSTS = 1500 };

static const char *const codes[REGIONS] = {"SIN", "NRT", "ARN", "GRU", "LAX"};
static const char *const codes_lower[REGIONS] = {"sin", "nrt", "arn", "gru", "lax"};

struct model {
    bool there;
    bool put; /* by the snapshot that is under way */
    unsigned region;
    uint32_t cores;
    uint32_t cores_free;
    uint64_t memory;
    uint64_t memory_free;
    bool cordoned;
};

/* What a browser knows that is told only what is taken. */
struct mirror {
    uint8_t cell[MACHINES];
    uint8_t region[MACHINES];
    char name[MACHINES][EVENT_NAME_SIZE]; /* asked anew only when the machine moved */
    struct picture_machine detail[MACHINES];
    struct picture_region regions[PICTURE_REGIONS_MAX];
};

struct duel {
    uint64_t seed;
    struct fly_rng rng;
    struct picture *p;
    struct model models[SLICES][NAMES];
    uint64_t incarnation[SLICES]; /* 0: any */
    bool known[SLICES];
    int64_t stale_ms[SLICES];
    uint64_t refused;
    struct mirror mirror;
};

static struct picture *make(uint32_t machines_max)
{
    const struct picture_config config = {.machines_max = machines_max, .hash_seed = 77};
    void *memory = calloc(1, picture_size(&config));

    assert_non_null(memory);
    return picture_init(memory, &config);
}

static uint32_t tag_of(unsigned slice)
{
    return 0x0a0b00 + slice;
}

static void name_of(unsigned name, char out[static EVENT_NAME_SIZE])
{
    (void)snprintf(out, EVENT_NAME_SIZE, "m-%u", name);
}

static unsigned below(struct duel *d, unsigned bound)
{
    return (unsigned)fly_rng_below(&d->rng, bound);
}

static unsigned there_count(const struct duel *d)
{
    unsigned n = 0;

    for (unsigned s = 0; s < SLICES; s++) {
        for (unsigned i = 0; i < NAMES; i++) {
            n += d->models[s][i].there;
        }
    }
    return n;
}

static void forget(struct duel *d, unsigned slice)
{
    for (unsigned i = 0; i < NAMES; i++) {
        d->models[slice][i].there = false;
    }
}

static struct model random_model(struct duel *d)
{
    struct model m = {.there = true, .region = below(d, REGIONS), .cores = below(d, 65)};

    m.cores_free = below(d, m.cores + 2); /* one more than there are: an owner that errs */
    m.memory = fly_rng_chance(&d->rng, 50) ? UINT64_MAX - below(d, 9) : below(d, 1000);
    m.memory_free = m.memory - (fly_rng_chance(&d->rng, 300) ? m.memory : below(d, 4));
    m.memory_free = m.memory_free > m.memory ? 0 : m.memory_free;
    return m;
}

/* --- the steps; each does the same to the model --- */

static void step_event(struct duel *d)
{
    static const uint8_t types[] = {EVENT_MACHINE_ADDED,    EVENT_MACHINE_RESIZED,
                                    EVENT_MACHINE_REMOVED,  EVENT_VM_STARTED,
                                    EVENT_VM_STARTED,       EVENT_VM_DESTROYED,
                                    EVENT_MACHINE_CORDONED, EVENT_MACHINE_UNCORDONED,
                                    EVENT_MACHINE_ADDED,    99};
    unsigned s = below(d, SLICES);
    unsigned n = below(d, NAMES);
    struct model *m = &d->models[s][n];
    const struct model next = random_model(d);
    struct event e = {.slice = tag_of(s),
                      .incarnation = d->incarnation[s],
                      .seq = 1,
                      .type = types[below(d, (unsigned)sizeof types)],
                      .cores = next.cores,
                      .memory_bytes = next.memory,
                      .machine_cores_free = next.cores_free,
                      .machine_memory_free_bytes = next.memory_free};

    if (e.incarnation == 0 || fly_rng_chance(&d->rng, 5)) {
        e.incarnation = 1 + fly_rng_below(&d->rng, 1000);
    }
    name_of(n, e.machine);
    (void)snprintf(e.region, sizeof e.region, "%s",
                   (fly_rng_chance(&d->rng, 500) ? codes : codes_lower)[next.region]);
    if (e.type <= EVENT_MACHINE_UNCORDONED) {
        if (d->incarnation[s] != 0 && d->incarnation[s] != e.incarnation) {
            forget(d, s);
        }
        d->incarnation[s] = e.incarnation;
        d->known[s] = true;
    }
    enum fly_status status = picture_apply(d->p, &e);
    bool comes = e.type == EVENT_MACHINE_ADDED || (e.type == EVENT_MACHINE_RESIZED && !m->there);
    if (comes && !m->there && there_count(d) == MACHINES) {
        assert_int_equal(status, FLY_RESOURCE_EXHAUSTED);
        d->refused++;
        return;
    }
    assert_int_equal(status, FLY_OK);
    if (e.type > EVENT_MACHINE_UNCORDONED || (!m->there && !comes)) {
        return;
    }
    if (e.type == EVENT_MACHINE_REMOVED) {
        m->there = false;
        return;
    }
    if (comes) {
        *m = next;
    } else if (e.type == EVENT_MACHINE_RESIZED) {
        m->cores = next.cores;
        m->memory = next.memory;
    } else if (e.type == EVENT_MACHINE_CORDONED || e.type == EVENT_MACHINE_UNCORDONED) {
        m->cordoned = e.type == EVENT_MACHINE_CORDONED;
    }
    m->cores_free = next.cores_free;
    m->memory_free = next.memory_free;
}

static void snapshot_put(struct duel *d, unsigned s, unsigned n, const struct model *next)
{
    struct model *m = &d->models[s][n];
    struct picture_machine machine = {.cores = next->cores,
                                      .cores_free = next->cores_free,
                                      .memory_bytes = next->memory,
                                      .memory_free_bytes = next->memory_free,
                                      .cordoned = next->cordoned};

    name_of(n, machine.name);
    enum fly_status status = picture_snapshot_put(d->p, tag_of(s), &machine, codes[next->region]);
    if (!m->there && there_count(d) == MACHINES) {
        assert_int_equal(status, FLY_RESOURCE_EXHAUSTED);
        d->refused++;
        return;
    }
    assert_int_equal(status, FLY_OK);
    *m = *next;
    m->put = true;
}

/* Some as they are, some changed, some left out; now and then it breaks off and starts over. */
static void step_snapshot(struct duel *d)
{
    unsigned s = below(d, SLICES);
    unsigned tries = fly_rng_chance(&d->rng, 300) ? 2 : 1;

    if (fly_rng_chance(&d->rng, 30)) {
        tries = 250 + below(d, 10); /* the picture's count of them wraps */
    }
    d->known[s] = true;
    while (tries-- > 0) {
        picture_snapshot_begin(d->p, tag_of(s));
        for (unsigned n = 0; n < NAMES; n++) {
            d->models[s][n].put = false;
        }
        for (unsigned n = 0; n < NAMES; n++) {
            unsigned how = tries > 1 ? 9 : below(d, 10);
            struct model next = how < 6 ? d->models[s][n] : random_model(d);
            next.cordoned = how == 7 || (how < 6 && next.cordoned);
            if (next.there && how < 8) {
                snapshot_put(d, s, n, &next);
            }
        }
    }
    if (fly_rng_chance(&d->rng, 100)) { /* its end never comes: any log may go on from here */
        d->incarnation[s] = 0;
        return;
    }
    d->incarnation[s] = 1 + fly_rng_below(&d->rng, 1000);
    picture_snapshot_end(d->p, tag_of(s), d->incarnation[s]);
    for (unsigned n = 0; n < NAMES; n++) {
        d->models[s][n].there = d->models[s][n].there && d->models[s][n].put;
    }
}

static void step(struct duel *d)
{
    unsigned how = below(d, 1000);
    unsigned s = below(d, SLICES);

    if (how < 4) {
        picture_drop_slice(d->p, tag_of(s));
        forget(d, s);
        d->known[s] = false;
        d->incarnation[s] = 0;
        d->stale_ms[s] = 0;
    } else if (how < 20) {
        step_snapshot(d);
    } else if (how < 80) {
        static const int64_t ages[] = {0, 400, 2999, 3000, 3001, 90000, INT64_MAX};
        d->stale_ms[s] = ages[below(d, (unsigned)FLY_ARRAY_COUNT(ages))];
        picture_hear(d->p, tag_of(s), d->stale_ms[s]);
        d->known[s] = true;
    } else {
        step_event(d);
    }
}

/* --- counting anew --- */

static unsigned naive_level(uint64_t total, uint64_t free)
{
    if (free == 0) {
        return 31;
    }
    if (free >= total) {
        return 0;
    }
    unsigned level = 1; /* 29 × taken ÷ total without a product that overflows */
    while (level < 29 && (long double)(total - free) * 29 >= (long double)total * level) {
        level++;
    }
    return level;
}

static uint8_t naive_cell(const struct model *m)
{
    unsigned cores = naive_level(m->cores, m->cores_free);
    unsigned memory = naive_level(m->memory, m->memory_free);

    return (uint8_t)(0x80U | (m->cordoned ? 0x20U : 0) | (cores > memory ? cores : memory));
}

static uint64_t naive_hash(const struct duel *d)
{
    uint64_t sum = 0;

    for (unsigned s = 0; s < SLICES; s++) {
        for (unsigned n = 0; n < NAMES; n++) {
            const struct model *m = &d->models[s][n];
            uint8_t bytes[128] = {0};
            char name[EVENT_NAME_SIZE];
            uint64_t hash = UINT64_C(14695981039346656037);
            uint32_t tag = tag_of(s);
            size_t size = 0;
            if (!m->there) {
                continue;
            }
            name_of(n, name);
            memcpy(bytes, name, strlen(name));
            size += strlen(name) + 1;
            const struct {
                uint64_t value;
                size_t width;
            } fields[] = {{tag, 4},       {m->cores, 4},       {m->cores_free, 4},
                          {m->memory, 8}, {m->memory_free, 8}, {m->cordoned, 1}};
            for (size_t f = 0; f < FLY_ARRAY_COUNT(fields); f++) {
                for (size_t i = 0; i < fields[f].width; i++) {
                    bytes[size++] = (uint8_t)(fields[f].value >> (8 * i));
                }
            }
            for (size_t i = 0; i < size; i++) {
                hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
            }
            sum += hash;
        }
    }
    return sum;
}

static void expect_machines(const struct duel *d)
{
    unsigned machines = 0;

    for (unsigned s = 0; s < SLICES; s++) {
        for (unsigned n = 0; n < NAMES; n++) {
            const struct model *m = &d->models[s][n];
            struct picture_machine out;
            char name[EVENT_NAME_SIZE];
            name_of(n, name);
            uint32_t i = picture_find(d->p, tag_of(s), name);
            if ((i != PICTURE_NONE) != m->there) {
                fail_msg("seed %llu: slice %u %s is %s", (unsigned long long)d->seed, s, name,
                         m->there ? "missing" : "still there");
            }
            if (!m->there) {
                continue;
            }
            machines++;
            assert_true(picture_machine(d->p, i, &out));
            assert_string_equal(out.name, name);
            assert_int_equal(out.slice, tag_of(s));
            assert_string_equal(picture_region_at(d->p, out.region)->code, codes[m->region]);
            assert_int_equal(out.cores, m->cores);
            assert_int_equal(out.cores_free, m->cores_free);
            assert_int_equal(out.memory_bytes, m->memory);
            assert_int_equal(out.memory_free_bytes, m->memory_free);
            assert_int_equal(out.cordoned, m->cordoned);
            assert_int_equal(picture_cell(d->p, i), naive_cell(m));
            assert_int_equal(picture_machine_region(d->p, i), out.region);
        }
    }
    assert_int_equal(picture_machines(d->p), machines);
    unsigned holes = 0;
    for (uint32_t i = 0; i < picture_count(d->p); i++) {
        bool hole = picture_regions_of(d->p)[i] == 255;
        assert_int_equal(picture_cells(d->p)[i] == 0, hole);
        holes += hole;
    }
    assert_int_equal(picture_count(d->p), machines + holes);
    assert_int_equal(picture_hash(d->p), naive_hash(d));
    assert_int_equal(picture_refused(d->p), d->refused);
}

static void expect_regions(const struct duel *d)
{
    for (unsigned r = 0; r < REGIONS; r++) {
        struct picture_region sums = {.machines = 0};
        for (unsigned s = 0; s < SLICES; s++) {
            for (unsigned n = 0; n < NAMES; n++) {
                const struct model *m = &d->models[s][n];
                if (!m->there || m->region != r) {
                    continue;
                }
                sums.machines++;
                sums.cordoned += m->cordoned;
                sums.cores_total += m->cores;
                sums.cores_free += m->cordoned ? 0 : m->cores_free;
                sums.memory_total_bytes += m->memory;
                sums.memory_free_bytes += m->cordoned ? 0 : m->memory_free;
                sums.stale_ms = d->stale_ms[s] > sums.stale_ms ? d->stale_ms[s] : sums.stale_ms;
            }
        }
        const struct picture_region *is =
            picture_region_at(d->p, picture_region_find(d->p, codes_lower[r]));
        assert_int_equal(is->machines, sums.machines);
        assert_int_equal(is->cordoned, sums.cordoned);
        assert_int_equal(is->cores_total, sums.cores_total);
        assert_int_equal(is->cores_free, sums.cores_free);
        assert_int_equal(is->memory_total_bytes, sums.memory_total_bytes);
        assert_int_equal(is->memory_free_bytes, sums.memory_free_bytes);
        assert_int_equal(is->stale_ms, sums.stale_ms);
    }
}

/* --- the mirror --- */

static void hear_dirty(struct duel *d)
{
    struct picture_dirty dirty[7];
    bool seen[MACHINES] = {false};
    struct mirror *m = &d->mirror;
    uint32_t n;

    while ((n = picture_take_dirty(d->p, dirty, FLY_ARRAY_COUNT(dirty))) > 0) {
        for (uint32_t i = 0; i < n; i++) {
            uint32_t at = dirty[i].index;
            assert_true(at < MACHINES && !seen[at]);
            seen[at] = true;
            assert_int_equal(dirty[i].cell_changed, m->cell[at] != dirty[i].cell);
            if (dirty[i].moved) {
                struct picture_machine machine = {.name = ""};
                (void)picture_machine(d->p, at, &machine);
                memcpy(m->name[at], machine.name, sizeof machine.name);
                m->region[at] = dirty[i].region;
            }
            if (dirty[i].cell_changed) {
                m->cell[at] = dirty[i].cell;
            }
            m->detail[at] = (struct picture_machine){.slice = 0};
            (void)picture_machine(d->p, at, &m->detail[at]);
        }
    }
    uint32_t region;
    while ((region = picture_take_region(d->p)) != PICTURE_NONE) {
        m->regions[region] = *picture_region_at(d->p, region);
    }
    assert_false(picture_has_dirty(d->p));
}

static void expect_mirror(const struct duel *d)
{
    const struct mirror *m = &d->mirror;

    for (uint32_t i = 0; i < MACHINES; i++) {
        struct picture_machine is = {.slice = 0};
        (void)picture_machine(d->p, i, &is);
        assert_int_equal(m->cell[i], picture_cell(d->p, i));
        assert_int_equal(m->region[i], picture_machine_region(d->p, i));
        assert_string_equal(m->name[i], is.name);
        assert_int_equal(m->detail[i].slice, is.slice);
        assert_int_equal(m->detail[i].cores, is.cores);
        assert_int_equal(m->detail[i].cores_free, is.cores_free);
        assert_int_equal(m->detail[i].memory_bytes, is.memory_bytes);
        assert_int_equal(m->detail[i].memory_free_bytes, is.memory_free_bytes);
        assert_int_equal(m->detail[i].cordoned, is.cordoned);
    }
    for (uint32_t r = 0; r < picture_region_count(d->p); r++) {
        const struct picture_region *is = picture_region_at(d->p, r);
        const struct picture_region *told = &m->regions[r];
        assert_int_equal(told->machines, is->machines);
        assert_int_equal(told->cordoned, is->cordoned);
        assert_int_equal(told->cores_free, is->cores_free);
        assert_int_equal(told->memory_free_bytes, is->memory_free_bytes);
        assert_int_equal(told->memory_total_bytes, is->memory_total_bytes);
        assert_int_equal(told->stale_ms >= PICTURE_STALE_MS, is->stale_ms >= PICTURE_STALE_MS);
    }
}

static void test_against_the_naive(void **state)
{
    uint64_t refused = 0;
    uint32_t most = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct duel *d = calloc(1, sizeof *d);
        assert_non_null(d);
        d->seed = seed;
        fly_rng_seed(&d->rng, seed);
        d->p = make(MACHINES);
        memset(d->mirror.region, 255, sizeof d->mirror.region);
        for (unsigned r = 0; r < REGIONS; r++) {
            struct picture_region region = {.latitude = r};
            (void)snprintf(region.code, sizeof region.code, "%s", codes[r]);
            assert_int_equal(picture_put_region(d->p, &region, NULL), FLY_OK);
        }
        for (unsigned burst = 0; burst < BURSTS; burst++) {
            for (unsigned n = 1 + below(d, 40); n > 0; n--) {
                step(d);
            }
            expect_machines(d);
            expect_regions(d);
            if (fly_rng_chance(&d->rng, 600)) { /* else it piles up: conflation */
                hear_dirty(d);
                expect_mirror(d);
            }
        }
        refused += d->refused;
        most = picture_count(d->p) > most ? picture_count(d->p) : most;
        free(d->p);
        free(d);
    }
    assert_true(refused > 0 && most == MACHINES); /* or the tables never filled */
}

/* --- by hand --- */

static struct event started(const char *machine, uint32_t cores_free)
{
    struct event e = {.slice = 7,
                      .incarnation = 1,
                      .seq = 1,
                      .type = EVENT_VM_STARTED,
                      .machine_cores_free = cores_free,
                      .machine_memory_free_bytes = 1000};

    (void)snprintf(e.machine, sizeof e.machine, "%s", machine);
    (void)snprintf(e.region, sizeof e.region, "SIN");
    return e;
}

static struct event added(const char *machine, uint32_t cores)
{
    struct event e = started(machine, cores);

    e.type = EVENT_MACHINE_ADDED;
    e.cores = cores;
    e.memory_bytes = 1000;
    return e;
}

static void test_cells(void **state)
{
    static const struct {
        const char *what;
        uint32_t cores;
        uint32_t cores_free;
        uint64_t memory;
        uint64_t memory_free;
        unsigned level;
    } table[] = {
        {"nothing taken", 32, 32, 1000, 1000, 0},
        {"one core of 32", 32, 31, 1000, 1000, 1},
        {"half of the cores", 32, 16, 1000, 1000, 15},
        {"memory is scarcer", 32, 16, 1000, 250, 22},
        {"all but one core", 32, 1, 1000, 1000, 29},
        {"no core left", 32, 0, 1000, 1000, 31},
        {"no memory left", 32, 32, 1000, 0, 31},
        {"a machine of nothing has nothing left", 0, 0, 0, 0, 31},
        {"more free than there is", 32, 40, 1000, 2000, 0},
        {"larger than any product", 32, 32, UINT64_MAX, 1, 29},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(table); i++) {
        struct picture *p = make(4);
        struct event e = added("a", table[i].cores);
        e.memory_bytes = table[i].memory;
        e.machine_cores_free = table[i].cores_free;
        e.machine_memory_free_bytes = table[i].memory_free;
        assert_int_equal(picture_apply(p, &e), FLY_OK);
        if (picture_cell(p, 0) != (0x80U | table[i].level)) {
            fail_msg("%s: cell %#x", table[i].what, picture_cell(p, 0));
        }
        free(p);
    }
}

static void test_conflation(void **state)
{
    struct picture *p = make(4);
    struct picture_dirty dirty[4];
    struct event e = added("a", 32);

    (void)state;
    assert_int_equal(picture_apply(p, &e), FLY_OK);
    assert_int_equal(picture_take_dirty(p, dirty, 4), 1);
    assert_true(dirty[0].moved && dirty[0].cell_changed);
    assert_int_equal(picture_apply(p, &e), FLY_OK);
    assert_int_equal(picture_take_dirty(p, dirty, 4), 0); /* the same again is no change */

    for (uint32_t left = 31; left > 0; left--) {
        e = started("a", left);
        assert_int_equal(picture_apply(p, &e), FLY_OK);
    }
    assert_int_equal(picture_take_dirty(p, dirty, 4), 1); /* 31 changes are one */
    assert_true(!dirty[0].moved && dirty[0].cell_changed && dirty[0].cell == (0x80 | 29));

    e = started("a", 2);
    assert_int_equal(picture_apply(p, &e), FLY_OK);
    e = started("a", 1);
    assert_int_equal(picture_apply(p, &e), FLY_OK);
    assert_int_equal(picture_take_dirty(p, dirty, 4), 1); /* there and back: numbers may differ */
    assert_true(!dirty[0].moved && !dirty[0].cell_changed);
    free(p);
}

static void test_holes(void **state)
{
    struct picture *p = make(2);
    struct picture_dirty dirty[4];
    struct event a = added("a", 32);
    struct event b = added("b", 32);
    struct event gone = a;

    (void)state;
    gone.type = EVENT_MACHINE_REMOVED;
    assert_int_equal(picture_apply(p, &a), FLY_OK);
    assert_int_equal(picture_apply(p, &gone), FLY_OK);
    assert_int_equal(picture_take_dirty(p, dirty, 4), 0); /* nobody ever heard of it */
    assert_int_equal(picture_count(p), 1);
    assert_int_equal(picture_apply(p, &a), FLY_OK);
    assert_int_equal(picture_take_dirty(p, dirty, 4), 1);
    assert_int_equal(picture_apply(p, &gone), FLY_OK);
    assert_int_equal(picture_apply(p, &b), FLY_OK); /* the same place, cell and region */
    assert_int_equal(picture_count(p), 1);
    assert_int_equal(picture_take_dirty(p, dirty, 4), 1);
    assert_true(dirty[0].moved && !dirty[0].cell_changed);
    assert_int_equal(picture_apply(p, &gone), FLY_OK); /* of a machine that is not there */
    gone = b;
    gone.type = EVENT_MACHINE_REMOVED;
    assert_int_equal(picture_apply(p, &gone), FLY_OK);
    assert_int_equal(picture_take_dirty(p, dirty, 4), 1);
    assert_true(dirty[0].moved && dirty[0].region == 255 && dirty[0].cell == 0);
    assert_int_equal(picture_hash(p), 0);
    free(p);
}

static void test_tell_all(void **state)
{
    struct picture *p = make(3);
    struct picture_dirty dirty[4];
    struct event a = added("a", 32);
    struct event b = added("b", 32);

    (void)state;
    assert_int_equal(picture_apply(p, &a), FLY_OK);
    assert_int_equal(picture_apply(p, &b), FLY_OK);
    picture_tell_all(p);
    assert_int_equal(picture_take_dirty(p, dirty, 4), 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(!dirty[i].moved && !dirty[i].cell_changed);
    }
    free(p);
}

static void test_full_tables(void **state)
{
    struct picture *p = make(1024 + 300);
    struct event e = added("a", 1);

    (void)state;
    for (uint32_t slice = 1; slice <= PICTURE_SLICES_MAX + 1; slice++) {
        e.slice = slice;
        assert_int_equal(picture_apply(p, &e),
                         slice <= PICTURE_SLICES_MAX ? FLY_OK : FLY_RESOURCE_EXHAUSTED);
    }
    picture_snapshot_begin(p, PICTURE_SLICES_MAX + 1);
    const struct picture_machine m = {.name = "a"};
    assert_int_equal(picture_snapshot_put(p, PICTURE_SLICES_MAX + 1, &m, "SIN"),
                     FLY_RESOURCE_EXHAUSTED);
    picture_snapshot_end(p, PICTURE_SLICES_MAX + 1, 1);
    picture_hear(p, PICTURE_SLICES_MAX + 1, 0);
    assert_int_equal(picture_refused(p), 3);
    picture_drop_slice(p, 1); /* makes a place */
    assert_int_equal(picture_apply(p, &e), FLY_OK);

    for (unsigned i = 1; i <= PICTURE_REGIONS_MAX; i++) { /* SIN is there */
        struct picture_region region = {.latitude = 1};
        uint8_t index = 0;
        (void)snprintf(region.code, sizeof region.code, "R%u", i);
        enum fly_status status = picture_put_region(p, &region, &index);
        assert_int_equal(status, i < PICTURE_REGIONS_MAX ? FLY_OK : FLY_RESOURCE_EXHAUSTED);
        assert_int_equal(index, i < PICTURE_REGIONS_MAX ? i : 0);
    }
    (void)snprintf(e.machine, sizeof e.machine, "b");
    (void)snprintf(e.region, sizeof e.region, "NEW");
    assert_int_equal(picture_apply(p, &e), FLY_RESOURCE_EXHAUSTED);
    assert_int_equal(picture_find(p, e.slice, "b"), PICTURE_NONE);
    free(p);
}

static void test_regions_described_anew(void **state)
{
    struct picture *p = make(4);
    struct event e = added("a", 32);
    struct picture_region region = {.latitude = 1.3, .longitude = 103.8, .has_position = true};
    uint8_t index = 9;

    (void)state;
    assert_int_equal(picture_apply(p, &e), FLY_OK); /* a region that nobody described */
    assert_int_equal(picture_take_region(p), 0);
    (void)snprintf(region.code, sizeof region.code, "SIN");
    (void)snprintf(region.city, sizeof region.city, "Singapore");
    assert_int_equal(picture_put_region(p, &region, &index), FLY_OK);
    assert_int_equal(index, 0);
    assert_int_equal(picture_region_at(p, 0)->cores_free, 32); /* the sums stay */
    assert_string_equal(picture_region_at(p, 0)->city, "Singapore");
    assert_int_equal(picture_take_region(p), 0);
    assert_int_equal(picture_put_region(p, &region, &index), FLY_OK);
    assert_int_equal(picture_take_region(p), PICTURE_NONE); /* nothing new */
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_conflation),
        cmocka_unit_test(test_holes),
        cmocka_unit_test(test_tell_all),
        cmocka_unit_test(test_regions_described_anew),
        cmocka_unit_test(test_full_tables),
        cmocka_unit_test(test_against_the_naive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
