/*
 * standing, as scripts: members that come, answer, fail and go, evidence and time. The log under
 * test is {incarnation 7, seq 640}.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/slice/standing.h"
#include "proto/base/check.h"

enum { STEPS_MAX = 16, OWN = 7, SEQ = 640, START_MS = 50000 };

enum op {
    END = 0,
    EXPECT, /* `id` is in the peers file */
    COME,   /* `id` is alive */
    GO,     /* `id` is dead */
    ASK,    /* the next to be asked is `id`; 0: nobody */
    SAW,    /* `id` answers {incarnation, seq}; incarnation 0: nothing known */
    FORGOT, /* `id` answers that the slice was forgotten */
    FAIL,   /* `id` cannot be reached */
    HEAR,   /* evidence by another way */
    WAIT,   /* `ms` pass, with turns */
    SLEEP,  /* `ms` pass without: the process was stopped */
    GROW,   /* the own log has `seq` now */
    ACCEPT, /* the next loss is {incarnation, seq}, and is accepted */
    NO_LOSS /* nothing can be accepted */
};

struct step {
    enum op op;
    uint64_t id;
    uint64_t incarnation;
    uint64_t seq;
    int64_t ms;
    enum standing_state then; /* 0: not looked at */
    const char *text;         /* is in the text then */
    bool warned;
};

struct scenario {
    const char *what;
    bool fresh;
    struct step steps[STEPS_MAX];
};

#define COMES(id_)                                                                                 \
    {                                                                                              \
        .op = COME, .id = id_                                                                      \
    }
#define ASKS(id_)                                                                                  \
    {                                                                                              \
        .op = ASK, .id = id_                                                                       \
    }
#define SAYS(id_, incarnation_, seq_, then_)                                                       \
    {                                                                                              \
        .op = SAW, .id = id_, .incarnation = incarnation_, .seq = seq_, .then = STANDING_##then_   \
    }
#define FAILS(id_, then_)                                                                          \
    {                                                                                              \
        .op = FAIL, .id = id_, .then = STANDING_##then_                                            \
    }
#define PASSES(ms_, then_)                                                                         \
    {                                                                                              \
        .op = WAIT, .ms = ms_, .then = STANDING_##then_                                            \
    }

static const struct scenario scenarios[] = {
    {"nobody else was ever known: serves at once", .steps = {PASSES(0, SERVE)}},
    {"a slice founded just now serves at once", .fresh = true,
     .steps = {{.op = EXPECT, .id = 1}, PASSES(0, SERVE)}},
    {"a fresh slice whose tag has another log is quarantined all the same", .fresh = true,
     .steps = {COMES(1), PASSES(0, SERVE), ASKS(1), SAYS(1, 9, 3, QUARANTINED)}},
    {"all living members answered and none saw more",
     .steps = {COMES(1), COMES(2), PASSES(0, WAIT), ASKS(1), ASKS(2), ASKS(0),
               SAYS(1, OWN, SEQ, WAIT), SAYS(2, OWN, SEQ - 40, SERVE)}},
    {"who knows nothing of the slice has answered too",
     .steps = {COMES(1), ASKS(1), SAYS(1, 0, 0, SERVE)}},
    {"the dead are not waited for", .steps = {COMES(1),
                                              COMES(2),
                                              ASKS(1),
                                              ASKS(2),
                                              SAYS(1, OWN, SEQ, WAIT),
                                              {.op = GO, .id = 2},
                                              PASSES(0, SERVE)}},
    {"an expected member is waited for, but not for ever",
     .steps = {{.op = EXPECT, .id = 1},
               COMES(2),
               ASKS(2),
               SAYS(2, OWN, SEQ, WAIT),
               PASSES(STANDING_WAIT_MS - 1, WAIT),
               PASSES(1, SERVE)}},
    {"who cannot be reached is asked again, and does not hold it up",
     .steps = {COMES(1), COMES(2), ASKS(1), ASKS(2), SAYS(1, OWN, SEQ, WAIT), FAILS(2, WAIT),
               ASKS(0), PASSES(STANDING_AGAIN_MS, WAIT), ASKS(2), FAILS(2, WAIT),
               PASSES(STANDING_WAIT_MS, SERVE)}},
    {"an answer under way is waited for beyond that",
     .steps = {COMES(1), COMES(2), ASKS(1), ASKS(2), SAYS(1, OWN, SEQ, WAIT),
               PASSES(STANDING_WAIT_MS + 1000, WAIT), SAYS(2, OWN, SEQ + 1, QUARANTINED)}},
    {"a process that was stopped has not waited",
     .steps = {COMES(1),
               {.op = EXPECT, .id = 2},
               ASKS(1),
               {.op = SLEEP, .ms = 60000, .then = STANDING_WAIT},
               SAYS(1, OWN, SEQ, WAIT),
               COMES(2),
               ASKS(2),
               SAYS(2, OWN, 812, QUARANTINED)}},
    {"nobody answers: it waits longer, serves, and says so",
     .steps =
         {{.op = EXPECT, .id = 1},
          COMES(2),
          ASKS(2),
          FAILS(2, WAIT),
          PASSES(STANDING_WAIT_MS, WAIT),
          PASSES(STANDING_ALONE_MS - STANDING_WAIT_MS - 1, WAIT),
          {.op = WAIT, .ms = 1, .then = STANDING_SERVE, .warned = true, .text = "no other node"},
          ASKS(2),
          SAYS(2, OWN, SEQ, SERVE)}},
    {"all are dead: likewise",
     .steps = {{.op = EXPECT, .id = 1},
               {.op = GO, .id = 1},
               PASSES(STANDING_WAIT_MS, WAIT),
               {.op = WAIT, .ms = STANDING_ALONE_MS, .then = STANDING_SERVE, .warned = true}}},
    {"somebody saw more: quarantined, with both numbers",
     .steps = {COMES(1),
               COMES(2),
               ASKS(1),
               ASKS(2),
               {.op = SAW,
                .id = 1,
                .incarnation = OWN,
                .seq = 812,
                .then = STANDING_QUARANTINED,
                .text = "n1 saw event 812 of this log, here it ends at 640"},
               {.op = SAW,
                .id = 2,
                .incarnation = OWN,
                .seq = 900,
                .then = STANDING_QUARANTINED,
                .text = "812"},
               PASSES(100000, QUARANTINED)}},
    {"one event is enough", .steps = {COMES(1), ASKS(1), SAYS(1, OWN, SEQ + 1, QUARANTINED)}},
    {"another log of this tag: quarantined, whatever its numbers",
     .steps = {COMES(1),
               ASKS(1),
               {.op = SAW,
                .id = 1,
                .incarnation = 9,
                .seq = 3,
                .then = STANDING_QUARANTINED,
                .text = "another log"}}},
    {"evidence that comes late quarantines at once",
     .steps = {COMES(1),
               ASKS(1),
               SAYS(1, OWN, SEQ, SERVE),
               {.op = HEAR, .incarnation = OWN, .seq = 641, .then = STANDING_QUARANTINED}}},
    {"what happened since is not evidence",
     .steps = {COMES(1),
               ASKS(1),
               SAYS(1, OWN, SEQ, SERVE),
               {.op = GROW, .seq = 700},
               COMES(2),
               ASKS(2),
               SAYS(2, OWN, 700, SERVE),
               {.op = HEAR, .incarnation = OWN, .seq = 701, .then = STANDING_QUARANTINED}}},
    {"nor does the own log get shorter",
     .steps = {COMES(1),
               ASKS(1),
               SAYS(1, OWN, SEQ, SERVE),
               {.op = GROW, .seq = 700},
               {.op = HEAR, .incarnation = OWN, .seq = 700, .then = STANDING_SERVE},
               {.op = GROW, .seq = 0},
               {.op = HEAR, .incarnation = OWN, .seq = 700, .then = STANDING_SERVE},
               {.op = HEAR, .incarnation = OWN, .seq = 701, .then = STANDING_QUARANTINED}}},
    {"a member that comes later is asked then",
     .steps = {COMES(1), ASKS(1), SAYS(1, OWN, SEQ, SERVE), ASKS(0), COMES(2), ASKS(2),
               SAYS(2, OWN, 812, QUARANTINED)}},
    {"a member that was away is asked again when it is back",
     .steps = {COMES(1),
               ASKS(1),
               SAYS(1, OWN, SEQ, SERVE),
               {.op = GO, .id = 1},
               COMES(1),
               ASKS(1),
               SAYS(1, OWN, 812, QUARANTINED)}},
    {"an answer to no question is nothing",
     .steps = {COMES(1), SAYS(1, OWN, SEQ, WAIT), SAYS(2, OWN, SEQ, WAIT), FAILS(1, WAIT),
               ASKS(1)}},
    {"a number that no slice reaches is no evidence",
     .steps = {COMES(1), ASKS(1), SAYS(1, OWN, STANDING_SEQ_MAX + 1, SERVE)}},
    {"the loss is accepted: it asks again, and the same evidence is none",
     .steps = {COMES(1),
               COMES(2),
               ASKS(1),
               ASKS(2),
               SAYS(1, OWN, 812, QUARANTINED),
               SAYS(2, OWN, 900, QUARANTINED),
               {.op = GROW, .seq = 1900},
               {.op = ACCEPT, .incarnation = OWN, .seq = 900, .then = STANDING_WAIT},
               {.op = NO_LOSS},
               ASKS(1),
               SAYS(1, OWN, 812, WAIT),
               ASKS(2),
               SAYS(2, OWN, 900, SERVE)}},
    {"and who was out of reach for long is asked with the others",
     .steps = {COMES(1),
               COMES(2),
               ASKS(1),
               ASKS(2),
               FAILS(2, WAIT),
               SAYS(1, OWN, 812, QUARANTINED),
               {.op = GROW, .seq = 1900},
               {.op = ACCEPT, .incarnation = OWN, .seq = 812, .then = STANDING_WAIT},
               ASKS(1),
               ASKS(2),
               SAYS(1, OWN, 812, WAIT),
               SAYS(2, 9, 5, QUARANTINED)}},
    {"evidence that came while it was accepted is another loss",
     .steps = {COMES(1),
               ASKS(1),
               SAYS(1, OWN, 812, QUARANTINED),
               {.op = HEAR, .incarnation = 9, .seq = 5, .then = STANDING_QUARANTINED},
               {.op = ACCEPT, .incarnation = OWN, .seq = 812, .then = STANDING_QUARANTINED},
               {.op = ACCEPT, .incarnation = 9, .seq = 5, .then = STANDING_WAIT},
               {.op = HEAR, .incarnation = 9, .seq = 6, .then = STANDING_WAIT},
               {.op = HEAR, .incarnation = 10, .seq = 1, .then = STANDING_QUARANTINED}}},
    {"a loss that is in the log is no evidence",
     .steps = {COMES(1), ASKS(1), SAYS(1, 5, 1000, SERVE)}},
    {"declared lost: no way back",
     .steps = {COMES(1),
               ASKS(1),
               {.op = FORGOT, .id = 1, .then = STANDING_QUARANTINED, .text = "slice forget"},
               {.op = HEAR, .incarnation = OWN, .seq = 812, .then = STANDING_QUARANTINED},
               {.op = NO_LOSS}}},
};

struct stage {
    const char *what;
    int at;
    struct standing standing;
    uint64_t own_seq;
    int64_t now_ms;
};

#define AGREE(condition, text_)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail_msg("%s: step %d: %s", s->what, s->at, text_);                                    \
        }                                                                                          \
    } while (0)

static void play(struct stage *s, const struct step *p)
{
    struct standing *x = &s->standing;
    const struct standing_seen seen = {.known = p->incarnation != 0,
                                       .incarnation = p->incarnation,
                                       .seq = p->seq,
                                       .forgotten = p->op == FORGOT};
    const char name[] = {'n', (char)('0' + p->id), 0};
    struct standing_loss loss;
    uint64_t id = 0;

    switch (p->op) {
    case EXPECT:
        standing_member(x, p->id, name, STANDING_EXPECTED);
        break;
    case COME:
        standing_member(x, p->id, name, STANDING_ALIVE);
        AGREE(standing_deadline(x) <= s->now_ms, "somebody is to be asked, but not now");
        break;
    case GO:
        standing_member(x, p->id, name, STANDING_GONE);
        break;
    case ASK:
        AGREE(standing_next(x, &id, s->now_ms) == (p->id != 0) && id == p->id, "asks another");
        break;
    case SAW:
    case FORGOT:
        standing_answer(x, p->id, &seen, s->own_seq, s->now_ms);
        break;
    case FAIL:
        standing_failed(x, p->id, s->now_ms);
        break;
    case HEAR:
        standing_evidence(x, "gossip", &seen, s->own_seq);
        break;
    case WAIT:
        AGREE(p->ms == 0 || standing_state(x) != STANDING_WAIT ||
                  standing_deadline(x) <= s->now_ms + STANDING_ALONE_MS,
              "waits for nothing");
        standing_tick(x, s->now_ms);
        for (int64_t left_ms = p->ms; left_ms > 0;) {
            int64_t ms = left_ms < 200 ? left_ms : 200;
            s->now_ms += ms;
            left_ms -= ms;
            standing_tick(x, s->now_ms);
        }
        break;
    case SLEEP:
        s->now_ms += p->ms;
        standing_tick(x, s->now_ms);
        break;
    case GROW:
        s->own_seq = p->seq;
        break;
    case ACCEPT:
        AGREE(standing_loss(x, &loss), "there is nothing to accept");
        AGREE(loss.incarnation == p->incarnation && loss.seq == p->seq, "another loss");
        standing_accept(x, &loss, s->now_ms);
        break;
    case NO_LOSS:
        AGREE(!standing_loss(x, &loss), "a loss can be accepted");
        break;
    case END:
    default:
        FLY_UNREACHABLE();
    }
    AGREE(p->then == 0 || standing_state(x) == p->then, "another state");
    AGREE(p->then == 0 || standing_warned(x) == p->warned, "warned, or not");
    AGREE(p->text == NULL || strstr(standing_text(x), p->text) != NULL, standing_text(x));
    AGREE((standing_state(x) != STANDING_SERVE || standing_warned(x)) ==
              (standing_text(x)[0] != '\0'),
          "a reason is there when it is needed");
}

static void open_stage(struct stage *s, const char *what, bool fresh)
{
    const struct standing_log log = {
        .incarnation = OWN, .seq = SEQ, .fresh = fresh, .lost = {5, 6}};

    *s = (struct stage){.what = what, .own_seq = SEQ, .now_ms = START_MS};
    standing_init(&s->standing, &log, s->now_ms);
}

static void test_scenarios(void **unused)
{
    static struct stage s;

    (void)unused;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(scenarios); i++) {
        open_stage(&s, scenarios[i].what, scenarios[i].fresh);
        for (s.at = 0; s.at < STEPS_MAX && scenarios[i].steps[s.at].op != END; s.at++) {
            play(&s, &scenarios[i].steps[s.at]);
        }
    }
}

/* Driven by its own deadline alone, it comes to serve at the times it promises. */
static void test_deadlines(void **unused)
{
    static struct stage s;
    unsigned turns = 0;
    unsigned asked = 0;
    uint64_t id;

    (void)unused;
    open_stage(&s, "deadlines", false);
    standing_member(&s.standing, 1, "n1", STANDING_ALIVE);
    while (standing_state(&s.standing) == STANDING_WAIT) {
        int64_t at_ms = standing_deadline(&s.standing);
        assert_in_range(turns++, 0, 100);
        assert_true(at_ms >= s.now_ms && at_ms <= START_MS + STANDING_ALONE_MS);
        s.now_ms = at_ms;
        standing_tick(&s.standing, s.now_ms);
        while (standing_next(&s.standing, &id, s.now_ms)) {
            asked++;
            standing_failed(&s.standing, id, s.now_ms);
        }
    }
    assert_int_equal(s.now_ms, START_MS + STANDING_ALONE_MS);
    assert_in_range(asked, 4, 10);
    for (unsigned i = 0; i < 20; i++) { /* and later it is asked now and then */
        s.now_ms = standing_deadline(&s.standing);
        assert_true(standing_next(&s.standing, &id, s.now_ms));
        standing_failed(&s.standing, id, s.now_ms);
    }
    assert_int_equal(standing_deadline(&s.standing), s.now_ms + STANDING_AGAIN_MAX_MS);
}

/* I6: a table of members that is full refuses and counts. */
static void test_full(void **unused)
{
    static struct stage s;
    uint64_t id;

    (void)unused;
    open_stage(&s, "full", false);
    for (uint64_t i = 1; i <= STANDING_MEMBERS_MAX + 3; i++) {
        standing_member(&s.standing, i, "n", STANDING_ALIVE);
    }
    assert_int_equal(s.standing.members_refused, 3);
    for (uint64_t i = 1; i <= STANDING_MEMBERS_MAX; i++) {
        assert_true(standing_next(&s.standing, &id, s.now_ms));
        assert_int_equal(id, i);
    }
    assert_false(standing_next(&s.standing, &id, s.now_ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenarios),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
