/*
 * latest against a naive oracle: an event is needed unless each thing it says is said again by a
 * later one; and what is kept leads to the same picture as everything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/edge/latest.h"
#include "proto/base/rng.h"

enum { EVENTS_MAX = 400, MACHINES = 6, VMS = 24, RANGES = 600, TYPES_MAX = 9 };

static struct event events[EVENTS_MAX];

static struct event make(struct fly_rng *rng, uint64_t seq)
{
    struct event e = {.seq = seq, .slice = 0xa1, .incarnation = 1};

    e.type = (uint8_t)(1 + fly_rng_below(rng, TYPES_MAX - 1)); /* 8 is of a newer node */
    (void)snprintf(e.machine, sizeof e.machine, "m-%u", (unsigned)fly_rng_below(rng, MACHINES));
    if (e.type == EVENT_VM_STARTED || e.type == EVENT_VM_DESTROYED) {
        e.vm = 1 + fly_rng_below(rng, VMS);
    }
    e.cores = (uint32_t)fly_rng_below(rng, 100);
    e.machine_cores_free = (uint32_t)fly_rng_below(rng, 100);
    return e;
}

/* --- the naive oracle --- */

enum word { WORD_VM = 1, WORD_HERE, WORD_SIZE, WORD_CORDON, WORD_FREE, WORD_ITSELF };

/* Whether the event says the word about the VM or machine that `about` is of. */
static bool says(const struct event *e, enum word word, const struct event *about)
{
    bool vm = e->type == EVENT_VM_STARTED || e->type == EVENT_VM_DESTROYED;
    bool known = e->type <= EVENT_MACHINE_UNCORDONED;
    bool whole = e->type == EVENT_MACHINE_ADDED || e->type == EVENT_MACHINE_REMOVED;

    if (word == WORD_VM) {
        return vm && e->vm == about->vm;
    }
    if (word == WORD_ITSELF) {
        return !known && e == about;
    }
    if (!known || strcmp(e->machine, about->machine) != 0) {
        return false;
    }
    switch (word) {
    case WORD_HERE:
        return whole;
    case WORD_SIZE:
        return whole || e->type == EVENT_MACHINE_RESIZED;
    case WORD_CORDON:
        return whole || e->type == EVENT_MACHINE_CORDONED || e->type == EVENT_MACHINE_UNCORDONED;
    case WORD_FREE:
    case WORD_VM:
    case WORD_ITSELF:
        return word == WORD_FREE;
    }
    return false;
}

static bool oracle(size_t i, size_t count)
{
    for (enum word word = WORD_VM; word <= WORD_ITSELF; word++) {
        bool again = !says(&events[i], word, &events[i]);
        for (size_t j = i + 1; j < count && !again; j++) {
            again = says(&events[j], word, &events[i]);
        }
        if (!again) {
            return true;
        }
    }
    return false;
}

/* --- pictures --- */

struct picture {
    struct {
        bool here;
        uint32_t cores;
        uint8_t cordon; /* the type that said it last */
        uint32_t free;
    } machines[MACHINES];
    uint8_t vms[VMS + 1]; /* the type that said it last */
    uint64_t others;      /* seqs of events of a newer node, mixed */
};

static void paint(struct picture *p, const struct event *e)
{
    unsigned m = (unsigned)(e->machine[2] - '0');

    if (e->type > EVENT_MACHINE_UNCORDONED) {
        p->others = p->others * 31 + e->seq;
        return;
    }
    if (e->vm != 0) {
        p->vms[e->vm] = e->type;
    }
    if (e->type == EVENT_MACHINE_ADDED || e->type == EVENT_MACHINE_REMOVED) {
        p->machines[m].here = e->type == EVENT_MACHINE_ADDED;
        p->machines[m].cordon = e->type;
    }
    if (e->type <= EVENT_MACHINE_REMOVED) {
        p->machines[m].cores = e->cores;
    }
    if (e->type >= EVENT_MACHINE_CORDONED) {
        p->machines[m].cordon = e->type;
    }
    p->machines[m].free = e->machine_cores_free;
}

static void check_range(struct latest *l, size_t count)
{
    static bool kept[EVENTS_MAX];
    struct picture all;
    struct picture reduced;

    memset(&all, 0, sizeof all);
    memset(&reduced, 0, sizeof reduced);
    latest_begin(l);
    for (size_t i = count; i > 0; i--) {
        kept[i - 1] = latest_needs(l, &events[i - 1]);
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(kept[i], oracle(i, count));
        paint(&all, &events[i]);
        if (kept[i]) {
            paint(&reduced, &events[i]);
        }
    }
    assert_memory_equal(&all, &reduced, sizeof all);
}

static void test_oracle(void **state)
{
    struct fly_rng rng;
    struct latest l;
    void *memory = calloc(1, latest_size(EVENTS_MAX));

    (void)state;
    assert_non_null(memory);
    fly_rng_seed(&rng, 7);
    latest_init(&l, memory, EVENTS_MAX, 11);
    for (unsigned r = 0; r < RANGES; r++) { /* one memory for all: what begins must forget */
        size_t count = fly_rng_below(&rng, r % 50 == 0 ? EVENTS_MAX : 60);
        for (size_t i = 0; i < count; i++) {
            events[i] = make(&rng, i + 1);
        }
        check_range(&l, count);
    }
    free(memory);
}

struct row {
    const char *what;
    const char *events; /* "+1a": VM 1 started on machine a; -, A(dded), Z (resized), R, C, U */
    const char *kept;   /* y or n for each */
};

static const struct row rows[] = {
    {"nothing", "", ""},
    {"one", "+1a", "y"},
    {"a VM that is gone, its machine spoken of later", "+1a -1a", "ny"},
    {"another VM's event says what is free", "+1a +2a", "yy"},
    {"the same VM, another machine", "+1a -1b", "yy"},
    {"three VMs come and go on one machine", "+1a +2a -1a +3a -2a -3a", "nnynyy"},
    {"a size said again", "Za Za", "ny"},
    {"a size is not said by a cordon", "Za Ca", "yy"},
    {"that it is there is said by removal alone", "Aa Za Ca Ra", "nnny"},
    {"an added one is kept, whatever follows", "Aa Za Ca +1a", "yyyy"},
    {"a cordon taken back", "Ca Ua", "ny"},
    {"what is free is said by any", "Za +1a Za", "nyy"},
    {"two machines do not mix", "Za Zb Ca Cb", "yyyy"},
    {"a machine as long as names may be, and a VM, are two things", "+1a Aa -1a Ra", "nnyy"},
};

static struct event event_of(const char *text, uint64_t seq)
{
    static const char letters[] = "?AZR+-CU";
    struct event e = {.seq = seq, .slice = 0xa1, .incarnation = 1};

    e.type = (uint8_t)(strchr(letters, text[0]) - letters);
    bool vm = text[0] == '+' || text[0] == '-';
    e.vm = vm ? (uint64_t)(text[1] - '0') : 0;
    memset(e.machine, text[vm ? 2 : 1], sizeof e.machine - 1);
    return e;
}

static void test_rows(void **state)
{
    struct latest l;
    void *memory = calloc(1, latest_size(16));

    (void)state;
    assert_non_null(memory);
    latest_init(&l, memory, 16, 3);
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        char kept[32] = "";
        size_t count = 0;
        for (const char *at = rows[r].events; *at != '\0'; at += strcspn(at, " ")) {
            at += strspn(at, " ");
            events[count] = event_of(at, count + 1);
            count++;
        }
        latest_begin(&l);
        for (size_t i = count; i > 0; i--) {
            kept[i - 1] = latest_needs(&l, &events[i - 1]) ? 'y' : 'n';
        }
        if (strcmp(kept, rows[r].kept) != 0) {
            fail_msg("%s: %s keeps %s, not %s", rows[r].what, rows[r].events, kept, rows[r].kept);
        }
    }
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
