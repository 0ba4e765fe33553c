/*
 * sweep, as scripts: a table of one or a few records, the calls it makes, what is answered, and the
 * record's end. And which answers to a destroy a key's home must hear of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/edge/sweep.h"
#include "proto/base/check.h"
#include "proto/wire/vmid.h"

enum { HOME = 0x111111, B = 0x222222, STEPS_MAX = 16, SLOTS = 1000, FIRST_TICKET = 5000 };

#define SLICE_MS INT64_C(1800000000000)
#define START_MS INT64_C(70000)

enum op {
    END = 0,
    CALLS,  /* the next call is `kind` to `to` */
    QUIET,  /* none is wanted */
    SAYS,   /* answer to the last call: `code`, `state` of its VM */
    STRAY,  /* an answer to the call before it */
    LOST,   /* no answer will come */
    UNSENT, /* it did not leave */
    AGAIN,  /* time up to the deadline */
    SETTLES /* the counters say so, and a walk goes on */
};

struct step {
    enum op op;
    enum owner_call_kind kind;
    uint32_t to;
    enum owner_code code;
    enum vm_state state;
    uint64_t vm;     /* 0: 99 */
    bool with_proof; /* the call carries the hold as dead */
    struct sweep_counters expect;
};

struct scenario {
    const char *what;
    bool done; /* DONE, otherwise BOUND */
    struct step steps[STEPS_MAX];
};

#define CALL(kind_, to_)                                                                           \
    {                                                                                              \
        .op = CALLS, .kind = OWNER_##kind_, .to = to_                                              \
    }
#define ANSWER(code_)                                                                              \
    {                                                                                              \
        .op = SAYS, .code = OWNER_##code_                                                          \
    }
#define VM_IS(state_)                                                                              \
    {                                                                                              \
        .op = SAYS, .code = OWNER_VM, .state = VM_##state_                                         \
    }
#define SETTLED(counter_)                                                                          \
    {                                                                                              \
        .op = SETTLES, .expect = {.asked = 1, .counter_ = 1 }                                      \
    }

static const struct scenario scenarios[] = {
    /* --- BOUND: Done was lost, or Commit never came --- */
    {"bound, and the VM is there: home is told",
     .steps = {CALL(CANCEL, HOME), ANSWER(BOUND), CALL(CLOSE, B), VM_IS(STARTED), CALL(DONE, HOME),
               SETTLED(told)}},
    {"bound, and the VM is gone already: home is told, and releases it in the next round",
     .steps = {CALL(CANCEL, HOME), ANSWER(BOUND), CALL(CLOSE, B), VM_IS(DESTROYED),
               CALL(DONE, HOME), SETTLED(told)}},
    {"bound to a hold that died: cancelled with the proof",
     .steps = {CALL(CANCEL, HOME),
               ANSWER(BOUND),
               CALL(CLOSE, B),
               ANSWER(DEAD),
               {.op = CALLS, .kind = OWNER_CANCEL, .to = HOME, .with_proof = true},
               ANSWER(CANCELLED),
               SETTLED(cancelled)}},
    {"bound to a hold whose VM is forgotten: likewise",
     .steps = {CALL(CANCEL, HOME),
               ANSWER(BOUND),
               CALL(CLOSE, B),
               ANSWER(KEY_EXPIRED),
               {.op = CALLS, .kind = OWNER_CANCEL, .to = HOME, .with_proof = true},
               ANSWER(CANCELLED),
               SETTLED(cancelled)}},
    {"Done came meanwhile", .steps = {CALL(CANCEL, HOME), ANSWER(VM_ELSEWHERE), SETTLED(told)}},
    {"bound, and its owner refuses for long: later", .steps = {CALL(CANCEL, HOME),
                                                               ANSWER(BOUND),
                                                               CALL(CLOSE, B),
                                                               {.op = LOST},
                                                               {.op = AGAIN},
                                                               CALL(CLOSE, B),
                                                               {.op = UNSENT},
                                                               {.op = AGAIN},
                                                               CALL(CLOSE, B),
                                                               {.op = AGAIN},
                                                               {.op = AGAIN},
                                                               CALL(CLOSE, B)}},

    /* --- DONE: Release was lost --- */
    {"done, and the VM lives: nothing to do", .done = true,
     .steps = {CALL(CLOSE, B), VM_IS(STARTED), {.op = SETTLES, .expect = {.asked = 1}}}},
    {"done, and the VM is destroyed: released", .done = true,
     .steps = {CALL(CLOSE, B), VM_IS(DESTROYED), CALL(RELEASE, HOME), ANSWER(DONE_OK),
               SETTLED(released)}},
    {"done, and the VM is forgotten there: released", .done = true,
     .steps = {CALL(CLOSE, B), ANSWER(KEY_EXPIRED), CALL(RELEASE, HOME), ANSWER(DONE_OK),
               SETTLED(released)}},
    {"done, and nothing is known of the hold (a hashed key's VM is forgotten): released",
     .done = true,
     .steps = {CALL(CLOSE, B), ANSWER(DEAD), CALL(RELEASE, HOME), ANSWER(DONE_OK),
               SETTLED(released)}},
    {"done, and the key has another VM by now (a hashed one, in its next life): released",
     .done = true,
     .steps = {CALL(CLOSE, B),
               {.op = SAYS, .code = OWNER_VM, .state = VM_STARTED, .vm = 98},
               CALL(RELEASE, HOME),
               ANSWER(DONE_OK),
               SETTLED(released)}},
    {"done, and its owner is not reached: later", .done = true,
     .steps = {CALL(CLOSE, B), {.op = UNSENT}, SETTLED(later)}},
    {"done, and the answer is lost: later", .done = true,
     .steps = {CALL(CLOSE, B), {.op = LOST}, SETTLED(later)}},
    {"done, and nothing is heard: later", .done = true,
     .steps = {CALL(CLOSE, B), {.op = AGAIN}, SETTLED(later)}},
    {"done, and its owner may not speak: later, never released", .done = true,
     .steps = {CALL(CLOSE, B), ANSWER(REFUSED), SETTLED(later)}},
    {"done, and the outcome is not known: later", .done = true,
     .steps = {CALL(CLOSE, B), ANSWER(UNKNOWN), SETTLED(later)}},
    {"done, and another call waits there: later", .done = true,
     .steps = {CALL(CLOSE, B), ANSWER(BUSY), SETTLED(later)}},
    {"the release fails: later", .done = true,
     .steps = {CALL(CLOSE, B), VM_IS(DESTROYED), CALL(RELEASE, HOME), ANSWER(UNKNOWN),
               SETTLED(later)}},
    {"an answer to another call is not taken for this one's", .done = true,
     .steps = {CALL(CLOSE, B),
               VM_IS(DESTROYED),
               CALL(RELEASE, HOME),
               {.op = STRAY},
               {.op = QUIET},
               ANSWER(DONE_OK),
               SETTLED(released)}},
};

struct stage {
    const char *what;
    int at;
    struct sweep sweep;
    struct key_away records[3];
    uint32_t slots[3];
    unsigned record_count;
    uint32_t slot_count;
    int64_t now_ms;
    uint64_t ticket;
    uint64_t earlier_ticket;
    enum owner_call_kind kind;
    uint32_t looked;
};

static enum sweep_found at(void *user, uint32_t slot, struct key_away *out)
{
    struct stage *s = user;

    s->looked++;
    if (slot >= s->slot_count) {
        return SWEEP_END;
    }
    for (unsigned i = 0; i < s->record_count; i++) {
        if (s->slots[i] == slot) {
            *out = s->records[i];
            return SWEEP_AWAY;
        }
    }
    return SWEEP_NOTHING;
}

static struct key_away record(bool done, int64_t age_ms)
{
    static const uint8_t random[FLY_KEY_RANDOM_SIZE] = {4};
    struct key_away away = {.subject = "alice",
                            .hold = {.slice = B, .term = 5, .boot = 6, .counter = 7},
                            .vm = done ? 99 : 0,
                            .since_ms = SLICE_MS - age_ms};

    key_mint(&away.key, HOME, 1800000000, random);
    return away;
}

static void tick(struct stage *s)
{
    const struct sweep_source source = {.user = s, .at = at};

    s->looked = 0;
    sweep_tick(&s->sweep, &source, s->now_ms, SLICE_MS + s->now_ms - START_MS);
    assert_in_range(s->looked, 0, SWEEP_SLOTS_MAX);
}

static void to_deadline(struct stage *s)
{
    int64_t at_ms = sweep_deadline(&s->sweep);

    assert_true(at_ms >= s->now_ms && at_ms < INT64_MAX);
    s->now_ms = at_ms;
    tick(s);
}

static void open_stage(struct stage *s, const char *what)
{
    *s = (struct stage){.what = what, .now_ms = START_MS, .slot_count = SLOTS};
    sweep_init(&s->sweep, HOME, HOME, FIRST_TICKET, 3, s->now_ms);
}

/* Walks until a record is asked about, or a round is over. */
static void walk(struct stage *s)
{
    uint64_t asked = s->sweep.counters.asked;
    uint64_t rounds = s->sweep.counters.rounds;

    for (unsigned i = 0; s->sweep.counters.asked == asked && s->sweep.counters.rounds == rounds;
         i++) {
        assert_in_range(i, 0, 100);
        to_deadline(s);
    }
}

#define AGREE(condition, text_)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail_msg("%s: step %d: %s", s->what, s->at, text_);                                    \
        }                                                                                          \
    } while (0)

static void want(struct stage *s, const struct step *p)
{
    struct launch_call c;

    AGREE(sweep_next_call(&s->sweep, &c), "no call is wanted");
    AGREE(c.call.kind == p->kind, "another kind of call");
    AGREE(c.to == p->to, "a call to another slice");
    AGREE(key_equal(&c.call.key, &s->records[0].key), "another key");
    AGREE(strcmp(c.call.subject, "alice") == 0, "another subject");
    AGREE(p->kind == OWNER_CANCEL || p->kind == OWNER_RELEASE ||
              hold_equal(&c.call.hold, &s->records[0].hold),
          "another hold");
    AGREE((p->kind != OWNER_DONE && p->kind != OWNER_RELEASE) || c.call.vm == 99, "another VM");
    AGREE(p->kind != OWNER_CANCEL ||
              hold_equal(&c.call.replaces, &s->records[0].hold) == p->with_proof,
          "the proof of death");
    AGREE(c.call.ticket >= FIRST_TICKET && c.call.ticket != s->ticket, "a ticket twice");
    s->earlier_ticket = s->ticket;
    s->ticket = c.call.ticket;
    s->kind = c.call.kind;
}

static void play(struct stage *s, const struct step *p)
{
    struct owner_answer a = {.ticket = p->op == STRAY ? s->earlier_ticket : s->ticket,
                             .kind = s->kind,
                             .code = p->op == STRAY ? OWNER_DONE_OK : p->code,
                             .vm_id = p->vm == 0 ? 99 : p->vm,
                             .hold = s->records[0].hold,
                             .status = FLY_UNAVAILABLE,
                             .vm = {.id = 99, .state = p->state}};
    const struct sweep_counters *c = &s->sweep.counters;
    struct launch_call call;

    switch (p->op) {
    case CALLS:
        want(s, p);
        break;
    case QUIET:
        AGREE(!sweep_next_call(&s->sweep, &call), "a call is wanted");
        break;
    case SAYS:
    case STRAY:
        sweep_receive(&s->sweep, &a, s->now_ms);
        break;
    case LOST:
        sweep_lost(&s->sweep, s->ticket, s->now_ms);
        break;
    case UNSENT:
        sweep_not_sent(&s->sweep, s->ticket, s->now_ms);
        break;
    case AGAIN:
        to_deadline(s);
        break;
    case SETTLES:
        AGREE(!sweep_next_call(&s->sweep, &call), "a call at the end");
        AGREE(c->asked == p->expect.asked && c->told == p->expect.told &&
                  c->cancelled == p->expect.cancelled && c->released == p->expect.released &&
                  c->later == p->expect.later,
              "another outcome");
        walk(s); /* goes on to the end of the table */
        AGREE(c->rounds == 1, "the walk does not go on");
        break;
    case END:
    default:
        FLY_UNREACHABLE();
    }
}

static void test_scenarios(void **unused)
{
    static struct stage s;

    (void)unused;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(scenarios); i++) {
        open_stage(&s, scenarios[i].what);
        s.records[0] = record(scenarios[i].done, SWEEP_AGE_MS);
        s.slots[0] = 700;
        s.record_count = 1;
        walk(&s);
        for (s.at = 0; s.at < STEPS_MAX && scenarios[i].steps[s.at].op != END; s.at++) {
            play(&s, &scenarios[i].steps[s.at]);
        }
    }
}

/* Somebody may be between Bind and Commit of a young one. */
static void test_young_records_are_left_alone(void **unused)
{
    static struct stage s;
    struct launch_call c;

    (void)unused;
    open_stage(&s, "young");
    s.records[0] = record(false, 0);
    s.records[1] = record(true, 0);
    s.slots[1] = 1;
    s.record_count = 2;
    while (s.now_ms < START_MS + SWEEP_AGE_MS) {
        assert_int_equal(s.sweep.counters.asked, 0);
        assert_false(sweep_next_call(&s.sweep, &c));
        to_deadline(&s);
    }
    if (s.sweep.counters.asked == 0) {
        walk(&s);
    }
    assert_int_equal(s.sweep.counters.asked, 1);
    assert_true(sweep_next_call(&s.sweep, &c));
}

/* One record that never settles does not keep the walk from the others, nor does it hurry. */
static void test_walk(void **unused)
{
    static struct stage s;
    struct launch_call c;
    unsigned closes[3] = {0};

    (void)unused;
    open_stage(&s, "walk");
    for (unsigned i = 0; i < 3; i++) {
        s.records[i] = record(true, SWEEP_AGE_MS + i);
        s.records[i].vm = 90 + i;
        s.slots[i] = 499 * i;
    }
    s.record_count = 3;
    int64_t began_ms = s.now_ms;
    while (s.sweep.counters.rounds < 10) {
        to_deadline(&s);
        if (sweep_next_call(&s.sweep, &c)) {
            assert_int_equal(c.call.kind, OWNER_CLOSE);
            closes[c.call.vm - 90]++;
            if (c.call.vm == 91) {
                sweep_lost(&s.sweep, c.call.ticket, s.now_ms);
            } else {
                const struct owner_answer a = {.ticket = c.call.ticket,
                                               .kind = OWNER_CLOSE,
                                               .code = OWNER_VM,
                                               .vm_id = c.call.vm,
                                               .vm = {.state = VM_STARTED}};
                sweep_receive(&s.sweep, &a, s.now_ms);
            }
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(closes[i], 10);
    }
    assert_int_equal(s.sweep.counters.later, 10);
    assert_true(s.now_ms - began_ms >= 10 * SWEEP_ROUND_MS);
}

static void test_release_after_destroy(void **unused)
{
    static const uint8_t random[FLY_KEY_RANDOM_SIZE] = {4};
    struct fly_key away;
    struct fly_key here;
    struct fly_key hashed;

    (void)unused;
    key_mint(&away, HOME, 1800000000, random);
    key_mint(&here, B, 1800000000, random);
    assert_true(key_from_text("order-1", &hashed));
    const struct {
        const char *what;
        enum owner_call_kind kind;
        enum owner_code code;
        enum vm_state state;
        const struct fly_key *key;
        uint32_t to; /* 0: nobody */
    } rows[] = {
        {"home is elsewhere", OWNER_DESTROY, OWNER_VM, VM_DESTROYED, &away, HOME},
        {"home is the VM's slice", OWNER_DESTROY, OWNER_VM, VM_DESTROYED, &here, 0},
        {"a hashed key is at home in the root", OWNER_DESTROY, OWNER_VM, VM_DESTROYED, &hashed,
         0x333333},
        {"no such VM", OWNER_DESTROY, OWNER_NOT_FOUND, VM_DESTROYED, &away, 0},
        {"not known", OWNER_DESTROY, OWNER_UNKNOWN, VM_DESTROYED, &away, 0},
        {"it still lives", OWNER_DESTROY, OWNER_VM, VM_STARTED, &away, 0},
        {"another call", OWNER_CLOSE, OWNER_VM, VM_DESTROYED, &away, 0},
    };
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct launch_call c = {.to = 0};
        struct owner_answer a = {.kind = rows[i].kind, .code = rows[i].code};
        a.vm = (struct vm){
            .id = vmid_make(B, 9), .state = rows[i].state, .key = *rows[i].key, .subject = "bob"};
        bool tells = release_after_destroy(&a, 0x333333, &c);
        if (tells != (rows[i].to != 0) || c.to != rows[i].to) {
            fail_msg("%s: tells %06x", rows[i].what, c.to);
        }
        if (tells) {
            assert_int_equal(c.call.kind, OWNER_RELEASE);
            assert_int_equal(c.call.vm, a.vm.id);
            assert_true(c.off_path && key_equal(&c.call.key, rows[i].key));
            assert_string_equal(c.call.subject, "bob");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenarios),
        cmocka_unit_test(test_young_records_are_left_alone),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_release_after_destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
