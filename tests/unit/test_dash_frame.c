/*
 * dash/core/frame: a mirror that reads the bytes as docs/DASH.md lays them out shows the picture
 * after any number of frames; what a frame cannot tell comes in the next, or is said to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dash/core/frame.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"

enum { ROOM = 1 << 17, SLICE = 0x0a0b0c };

struct frame {
    unsigned kind, version, flags;
    uint32_t seq;
    double oldest_ms;
    uint32_t words, moves, tail_bytes;
};

/* A browser's columns. */
struct mirror {
    uint8_t cells[ROOM];
    uint8_t regions[ROOM];
    uint32_t count;
    uint32_t seq;
    uint64_t boot;
};

struct world {
    struct picture *p;
    struct mirror *mirror;
    uint8_t *out; /* a frame */
    size_t size;
    uint32_t *detailed;
    uint32_t detailed_count;
    uint32_t seq;
};

/* Little-endian, by shifts: nothing of proto/base. */
static uint64_t number(const uint8_t *p, unsigned width)
{
    uint64_t value = 0;

    while (width-- > 0) {
        value = value << 8 | p[width];
    }
    return value;
}

static double real(const uint8_t *p)
{
    uint64_t bits = number(p, 8);
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static struct frame head_of(const uint8_t *p)
{
    return (struct frame){.kind = p[0],
                          .version = p[1],
                          .flags = (unsigned)number(p + 2, 2),
                          .seq = (uint32_t)number(p + 4, 4),
                          .oldest_ms = real(p + 8),
                          .words = (uint32_t)number(p + 16, 4),
                          .moves = (uint32_t)number(p + 20, 4),
                          .tail_bytes = (uint32_t)number(p + 24, 4)};
}

static void set_up(struct world *w, uint32_t machines_max)
{
    const struct picture_config config = {.machines_max = machines_max, .hash_seed = 5};

    w->p = picture_init(calloc(1, picture_size(&config)), &config);
    w->mirror = calloc(1, sizeof *w->mirror);
    w->out = malloc(DASH_FRAME_BYTES_MAX);
    w->detailed = malloc(DASH_FRAME_WORDS_MAX * sizeof *w->detailed);
    assert_true(w->mirror != NULL && w->out != NULL && w->detailed != NULL);
    w->seq = 0;
    memset(w->mirror->regions, 255, sizeof w->mirror->regions);
}

static void tear_down(struct world *w)
{
    free(w->p);
    free(w->mirror);
    free(w->out);
    free(w->detailed);
}

/* --- the mirror's side --- */

static void mirror_fetch(struct world *w, struct fly_bytes tail)
{
    const uint64_t boot = UINT64_C(0x0123456789abcdef);
    size_t size = dash_fleet_size(w->p, tail);
    uint8_t *bytes = malloc(size);
    struct mirror *m = w->mirror;

    assert_non_null(bytes);
    dash_fleet_make(w->p, boot, w->seq, tail, bytes);
    assert_memory_equal(bytes, "FLYF\1\0\0\0", 8);
    assert_int_equal(number(bytes + 8, 8), boot);
    m->seq = (uint32_t)number(bytes + 16, 4);
    m->count = (uint32_t)number(bytes + 20, 4);
    assert_true(m->count <= ROOM && number(bytes + 24, 4) == tail.size);
    assert_int_equal(size, 28 + 2 * m->count + tail.size);
    memset(m->cells, 0, sizeof m->cells);
    memset(m->regions, 255, sizeof m->regions);
    memcpy(m->cells, bytes + 28, m->count);
    memcpy(m->regions, bytes + 28 + m->count, m->count);
    assert_memory_equal(bytes + 28 + 2 * m->count, tail.size != 0 ? tail.data : bytes, tail.size);
    free(bytes);
}

static void mirror_apply(struct world *w)
{
    const struct frame f = head_of(w->out);
    const uint8_t *words = w->out + 28;
    const uint8_t *moves = words + (size_t)4 * f.words;
    struct mirror *m = w->mirror;

    assert_true(f.kind == 1 && f.version == 1);
    assert_int_equal(f.seq, w->seq);
    assert_int_equal(w->size, 28 + 4 * (size_t)f.words + 8 * (size_t)f.moves + f.tail_bytes);
    for (uint32_t i = 0; i < f.moves; i++) {
        uint32_t index = (uint32_t)number(moves + 8 * i, 4);
        assert_true(index < ROOM && number(moves + 8 * i + 6, 2) == 0);
        m->regions[index] = moves[8 * i + 4];
        m->cells[index] = moves[8 * i + 5];
        m->count = index >= m->count ? index + 1 : m->count;
    }
    for (uint32_t i = 0; i < f.words; i++) {
        uint32_t word = (uint32_t)number(words + 4 * i, 4);
        assert_true(word >> 8 < m->count && m->regions[word >> 8] != 255);
        m->cells[word >> 8] = (uint8_t)word;
    }
}

static void expect_mirror(const struct world *w)
{
    uint32_t count = picture_count(w->p);

    assert_true(w->mirror->count <= count); /* one that came and went is no news */
    assert_memory_equal(w->mirror->cells, picture_cells(w->p), count);
    assert_memory_equal(w->mirror->regions, picture_regions_of(w->p), count);
}

/* --- the picture's --- */

static void flush(struct world *w, struct fly_bytes tail)
{
    w->size =
        dash_frame_make(w->p, w->seq + 1, 1234.5, tail, w->out, w->detailed, &w->detailed_count);
    w->seq += w->size != 0;
}

static void put(struct world *w, uint8_t type, unsigned name, unsigned region, uint32_t cores_free)
{
    struct event e = {.slice = SLICE,
                      .incarnation = 1,
                      .seq = 1,
                      .type = type,
                      .cores = 64,
                      .memory_bytes = 1000,
                      .machine_cores_free = cores_free,
                      .machine_memory_free_bytes = 1000};

    (void)snprintf(e.machine, sizeof e.machine, "machine-%u", name);
    (void)snprintf(e.region, sizeof e.region, "R%u", region);
    (void)picture_apply(w->p, &e);
}

static const struct fly_bytes no_tail = {NULL, 0};

static void test_mirror(void **state)
{
    static const uint8_t tail_data[] = {0x81, 0xa1, 'x', 7};
    const struct fly_bytes tail = {tail_data, sizeof tail_data};
    unsigned resyncs = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct fly_rng rng;
        struct world w;
        set_up(&w, 20000);
        fly_rng_seed(&rng, seed);
        for (unsigned step = 0; step < 400; step++) {
            static const uint8_t types[] = {
                EVENT_MACHINE_ADDED, EVENT_MACHINE_REMOVED,  EVENT_VM_STARTED,
                EVENT_VM_STARTED,    EVENT_MACHINE_CORDONED,
            };
            unsigned names = fly_rng_chance(&rng, 700) ? 30 : 12000;
            for (unsigned n = (unsigned)fly_rng_below(&rng, 200); n > 0; n--) {
                put(&w, types[fly_rng_below(&rng, sizeof types)],
                    (unsigned)fly_rng_below(&rng, names), (unsigned)fly_rng_below(&rng, 5),
                    (uint32_t)fly_rng_below(&rng, 65));
            }
            if (fly_rng_chance(&rng, 5)) { /* many at once */
                for (unsigned n = 0; n < 12000; n++) {
                    put(&w, EVENT_MACHINE_ADDED, n, 1, 64);
                }
            }
            if (fly_rng_chance(&rng, 200)) {
                mirror_fetch(&w, no_tail); /* between frames: the next tells the rest */
                for (unsigned n = (unsigned)fly_rng_below(&rng, 200); n > 0; n--) {
                    put(&w, types[fly_rng_below(&rng, sizeof types)],
                        (unsigned)fly_rng_below(&rng, names), (unsigned)fly_rng_below(&rng, 5),
                        (uint32_t)fly_rng_below(&rng, 65));
                }
            }
            flush(&w, fly_rng_chance(&rng, 500) ? tail : no_tail);
            if (w.size == 0) {
                continue;
            }
            mirror_apply(&w);
            const struct frame f = head_of(w.out);
            assert_true(f.oldest_ms == 1234.5);
            if (f.tail_bytes != 0) {
                assert_memory_equal(w.out + w.size - tail.size, tail.data, tail.size);
            }
            if ((f.flags & 1) != 0) {
                resyncs++;
                assert_true(f.words == 0 && f.moves == 0);
                mirror_fetch(&w, tail);
            }
            expect_mirror(&w);
        }
        flush(&w, no_tail);
        flush(&w, no_tail);
        assert_int_equal(w.size, 0); /* nothing more to say */
        tear_down(&w);
    }
    assert_true(resyncs > 0);
}

/* Fetched between two frames, and then all is as it was told: no frame says so. */
static void test_fetched_and_changed_back(void **state)
{
    struct world w;

    (void)state;
    set_up(&w, 100);
    put(&w, EVENT_MACHINE_ADDED, 1, 1, 64);
    put(&w, EVENT_MACHINE_ADDED, 2, 1, 64);
    flush(&w, no_tail);
    put(&w, EVENT_VM_STARTED, 1, 1, 0);
    put(&w, EVENT_MACHINE_ADDED, 2, 2, 64); /* it moves */
    put(&w, EVENT_MACHINE_ADDED, 3, 1, 64);
    mirror_fetch(&w, no_tail);
    put(&w, EVENT_VM_DESTROYED, 1, 1, 64);
    put(&w, EVENT_MACHINE_ADDED, 2, 1, 64);
    put(&w, EVENT_MACHINE_REMOVED, 3, 1, 64);
    flush(&w, no_tail);
    if (w.size != 0) {
        mirror_apply(&w);
    }
    expect_mirror(&w);
    tear_down(&w);
}

/* More than a frame's words: the rest comes next, and every machine is detailed once. */
static void test_words_overflow(void **state)
{
    enum { COUNT = DASH_FRAME_WORDS_MAX + 1000 };
    uint8_t *seen = calloc(1, COUNT);
    struct world w;

    (void)state;
    set_up(&w, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        put(&w, EVENT_MACHINE_ADDED, i, 0, 64);
    }
    do {
        flush(&w, no_tail);
    } while (w.size != 0);
    mirror_fetch(&w, no_tail);
    for (unsigned i = 0; i < COUNT; i++) {
        put(&w, EVENT_VM_STARTED, i, 0, 32);
    }
    flush(&w, no_tail);
    assert_int_equal(head_of(w.out).words, DASH_FRAME_WORDS_MAX);
    assert_int_equal(head_of(w.out).flags, 0);
    for (unsigned frames = 0; w.size != 0; frames++) {
        assert_true(frames < 2);
        mirror_apply(&w);
        for (uint32_t i = 0; i < w.detailed_count; i++) {
            assert_int_equal(seen[w.detailed[i]]++, 0);
        }
        flush(&w, no_tail);
    }
    expect_mirror(&w);
    assert_null(memchr(seen, 0, COUNT));
    free(seen);
    tear_down(&w);
}

/* More than a frame's moves: one RESYNC says it all, though two frames are needed for the details;
 * one less is told. */
static void test_moves_overflow(void **state)
{
    struct world w;

    (void)state;
    set_up(&w, ROOM);
    for (unsigned i = 0; i < DASH_FRAME_MOVES_MAX; i++) {
        put(&w, EVENT_MACHINE_ADDED, i, i % 3, 64);
    }
    flush(&w, no_tail);
    assert_int_equal(head_of(w.out).moves, DASH_FRAME_MOVES_MAX);
    assert_int_equal(head_of(w.out).flags, 0);
    mirror_apply(&w);
    expect_mirror(&w);

    for (unsigned i = 0; i <= DASH_FRAME_MOVES_MAX; i++) {
        put(&w, EVENT_MACHINE_ADDED, i, (i + 1) % 3, 64);
    }
    flush(&w, no_tail);
    assert_int_equal(head_of(w.out).flags, DASH_FRAME_RESYNC);
    for (unsigned i = 0; i < 100000; i++) {
        put(&w, EVENT_MACHINE_ADDED, i, i % 3, 10);
    }
    flush(&w, no_tail);
    assert_int_equal(head_of(w.out).flags, DASH_FRAME_RESYNC);
    assert_int_equal(w.size, 28);
    assert_int_equal(w.detailed_count, DASH_FRAME_WORDS_MAX);
    mirror_fetch(&w, no_tail);
    flush(&w, no_tail);
    assert_int_equal(head_of(w.out).flags, 0);
    assert_int_equal(w.size, 28);
    assert_int_equal(w.detailed_count, 100000 - DASH_FRAME_WORDS_MAX);
    mirror_apply(&w);
    expect_mirror(&w);
    flush(&w, no_tail);
    assert_int_equal(w.size, 0);
    tear_down(&w);
}

/* Bytes as docs/DASH.md has them, written out by hand. */
static void test_bytes(void **state)
{
    static const uint8_t expected[] = {
        1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x4a, 0x93, 0x40, /* 1234.5 */
        0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0,    0,    0, 0x80, 0, 0,
    };
    static const uint8_t after[] = {
        1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,         0, 0x4a, 0x93, 0x40, 1,
        0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 15 + 0x80, 0, 0,    0,    0x80,
    };
    static const uint8_t empty_map[] = {0x80};
    struct world w;

    (void)state;
    set_up(&w, 4);
    put(&w, EVENT_MACHINE_ADDED, 1, 0, 64);
    flush(&w, no_tail);
    assert_int_equal(w.size, sizeof expected);
    assert_memory_equal(w.out, expected, sizeof expected);
    put(&w, EVENT_VM_STARTED, 1, 0, 32);
    flush(&w, (struct fly_bytes){empty_map, 1});
    assert_int_equal(w.size, sizeof after);
    assert_memory_equal(w.out, after, sizeof after);
    tear_down(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_mirror),
        cmocka_unit_test(test_fetched_and_changed_back),
        cmocka_unit_test(test_words_overflow),
        cmocka_unit_test(test_moves_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
