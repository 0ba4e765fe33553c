/*
 * The launch machine, arrow by arrow: DESIGN 4 as scripts of calls wanted, answers given and lost,
 * and time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/edge/launch.h"
#include "proto/base/check.h"

enum { HOME = 0x111111, B = 0x222222, C = 0x333333, STEPS_MAX = 28, START_MS = 1000 };

enum op {
    FIN = 0,
    WANT,   /* the next call is `kind` to `to` */
    ASIDE,  /* likewise, off the path */
    QUIET,  /* no call is wanted */
    SAY,    /* answer to the call waited for */
    UNSENT, /* it was certainly not sent */
    LOST,   /* it was sent, its connection broke */
    PAUSE,  /* time up to the machine's next deadline, and a tick */
    LATE,   /* time up to the launch's deadline, and a tick */
    STRAY,  /* an answer to an earlier call arrives */
    ENDS,   /* the launch has ended so */
};

struct step {
    enum op op;
    enum owner_call_kind kind;
    uint32_t to;
    enum owner_code code;
    int hold;     /* SAY HELD BOUND: which; WANT COMMIT BIND CLOSE DONE: carries it */
    int replaces; /* WANT: carries it as dead */
    enum fly_status status;
    enum launch_end end;
    bool replayed;
};

struct scenario {
    const char *what;
    bool cancel;
    bool no_candidates;
    struct step steps[STEPS_MAX];
};

#define CALLS(kind_, to_)                                                                          \
    {                                                                                              \
        .op = WANT, .kind = OWNER_##kind_, .to = to_                                               \
    }
#define CALLS_OF(kind_, to_, hold_)                                                                \
    {                                                                                              \
        .op = WANT, .kind = OWNER_##kind_, .to = to_, .hold = hold_                                \
    }
#define OFF_PATH(kind_, to_, hold_)                                                                \
    {                                                                                              \
        .op = ASIDE, .kind = OWNER_##kind_, .to = to_, .hold = hold_                               \
    }
#define OPENS_OVER(hold_)                                                                          \
    {                                                                                              \
        .op = WANT, .kind = OWNER_OPEN, .to = HOME, .replaces = hold_                              \
    }
#define SAYS(code_)                                                                                \
    {                                                                                              \
        .op = SAY, .code = OWNER_##code_                                                           \
    }
#define SAYS_OF(code_, hold_)                                                                      \
    {                                                                                              \
        .op = SAY, .code = OWNER_##code_, .hold = hold_                                            \
    }
#define REFUSES(status_)                                                                           \
    {                                                                                              \
        .op = SAY, .code = OWNER_REFUSED, .status = FLY_##status_                                  \
    }
#define OK_WITH(code_)                                                                             \
    {                                                                                              \
        .op = ENDS, .end = LAUNCH_OK, .code = OWNER_##code_                                        \
    }
#define NOT_DONE_BY(code_)                                                                         \
    {                                                                                              \
        .op = ENDS, .end = LAUNCH_NOT_DONE, .code = OWNER_##code_                                  \
    }
#define UNKNOWN_AT(code_)                                                                          \
    {                                                                                              \
        .op = ENDS, .end = LAUNCH_UNKNOWN, .code = OWNER_##code_                                   \
    }
#define AGAIN                                                                                      \
    {                                                                                              \
        .op = PAUSE                                                                                \
    }
#define HELD_AT_B CALLS(OPEN, HOME), SAYS(ELSEWHERE), CALLS(HOLD, B), SAYS_OF(HELD, 1)
#define BOUND_TO_B HELD_AT_B, CALLS_OF(BIND, HOME, 1), SAYS_OF(BOUND, 1)

/* Holds: 1, 2 at B, 3 at C. Candidates: home (skipped), B, C. */
static const struct scenario scenarios[] = {
    /* --- the common path --- */
    {"home hosts: one call", .steps = {CALLS(OPEN, HOME), SAYS(VM), OK_WITH(VM)}},
    {"the key has its VM elsewhere: only the id is known",
     .steps = {CALLS(OPEN, HOME), SAYS_OF(VM_ELSEWHERE, 1), OK_WITH(VM_ELSEWHERE)}},
    {"the key is used with another spec",
     .steps = {CALLS(OPEN, HOME), SAYS(KEY_REUSED), NOT_DONE_BY(KEY_REUSED)}},
    {"the key is too old",
     .steps = {CALLS(OPEN, HOME), SAYS(KEY_EXPIRED), NOT_DONE_BY(KEY_EXPIRED)}},
    {"the key is cancelled", .steps = {CALLS(OPEN, HOME), SAYS(CANCELLED), NOT_DONE_BY(CANCELLED)}},
    {"a refusal that no retry helps ends it",
     .steps = {CALLS(OPEN, HOME), REFUSES(RESOURCE_EXHAUSTED), NOT_DONE_BY(REFUSED)}},
    {"a refusal that a retry may help is asked again", .steps = {CALLS(OPEN, HOME),
                                                                 REFUSES(UNAVAILABLE),
                                                                 {.op = QUIET},
                                                                 AGAIN,
                                                                 CALLS(OPEN, HOME),
                                                                 SAYS(VM),
                                                                 OK_WITH(VM)}},
    {"only refusals until the deadline: nothing was done",
     .steps = {CALLS(OPEN, HOME), REFUSES(UNAVAILABLE), {.op = LATE}, NOT_DONE_BY(REFUSED)}},

    /* --- doubt: once an Open with commit left, 4.8 --- */
    {"Open was not sent: again, without doubt",
     .steps = {CALLS(OPEN, HOME), {.op = UNSENT}, {.op = LATE}, NOT_DONE_BY(REFUSED)}},
    {"home certainly cannot be reached: it ends at once, and nothing was done",
     .steps = {CALLS(OPEN, HOME),
               {.op = UNSENT},
               AGAIN,
               CALLS(OPEN, HOME),
               {.op = UNSENT},
               AGAIN,
               CALLS(OPEN, HOME),
               {.op = UNSENT},
               AGAIN,
               CALLS(OPEN, HOME),
               {.op = UNSENT},
               NOT_DONE_BY(REFUSED)}},
    {"an answer in between begins the count anew", .steps = {CALLS(OPEN, HOME),
                                                             {.op = UNSENT},
                                                             AGAIN,
                                                             CALLS(OPEN, HOME),
                                                             {.op = UNSENT},
                                                             AGAIN,
                                                             CALLS(OPEN, HOME),
                                                             {.op = UNSENT},
                                                             AGAIN,
                                                             CALLS(OPEN, HOME),
                                                             REFUSES(UNAVAILABLE),
                                                             AGAIN,
                                                             CALLS(OPEN, HOME),
                                                             {.op = UNSENT},
                                                             AGAIN,
                                                             CALLS(OPEN, HOME),
                                                             SAYS(VM),
                                                             OK_WITH(VM)}},
    {"with a doubt it goes on: the key must be settled", .steps = {CALLS(OPEN, HOME),
                                                                   {.op = LOST},
                                                                   AGAIN,
                                                                   CALLS(OPEN, HOME),
                                                                   {.op = UNSENT},
                                                                   AGAIN,
                                                                   CALLS(OPEN, HOME),
                                                                   {.op = UNSENT},
                                                                   AGAIN,
                                                                   CALLS(OPEN, HOME),
                                                                   {.op = UNSENT},
                                                                   AGAIN,
                                                                   CALLS(OPEN, HOME),
                                                                   {.op = UNSENT},
                                                                   AGAIN,
                                                                   CALLS(OPEN, HOME),
                                                                   SAYS(VM),
                                                                   OK_WITH(VM)}},
    {"Open was lost: again, and UNKNOWN at the deadline",
     .steps = {CALLS(OPEN, HOME),
               {.op = LOST},
               AGAIN,
               CALLS(OPEN, HOME),
               {.op = UNSENT},
               {.op = LATE},
               UNKNOWN_AT(REFUSED)}},
    {"silence counts as lost", .steps = {CALLS(OPEN, HOME), AGAIN, AGAIN, CALLS(OPEN, HOME),
                                         REFUSES(RESOURCE_EXHAUSTED), UNKNOWN_AT(REFUSED)}},
    {"the deadline passes while Open is under way: UNKNOWN",
     .steps = {CALLS(OPEN, HOME), {.op = LATE}, UNKNOWN_AT(REFUSED)}},
    {"home says UNKNOWN: again, and the VM settles it",
     .steps = {CALLS(OPEN, HOME), SAYS(UNKNOWN), AGAIN, CALLS(OPEN, HOME), SAYS(VM), OK_WITH(VM)}},
    {"home says UNKNOWN, then that there is no room: still UNKNOWN", .no_candidates = true,
     .steps = {CALLS(OPEN, HOME), SAYS(UNKNOWN), AGAIN, CALLS(OPEN, HOME), SAYS(ELSEWHERE),
               UNKNOWN_AT(ELSEWHERE)}},
    {"the key is too old by the clock after a lost Open: still UNKNOWN",
     .steps = {CALLS(OPEN, HOME),
               {.op = LOST},
               AGAIN,
               CALLS(OPEN, HOME),
               SAYS(KEY_EXPIRED),
               UNKNOWN_AT(KEY_EXPIRED)}},
    {"BUSY: somebody may get the VM", .steps = {CALLS(OPEN, HOME),
                                                SAYS(BUSY),
                                                AGAIN,
                                                CALLS(OPEN, HOME),
                                                SAYS(BUSY),
                                                {.op = LATE},
                                                UNKNOWN_AT(REFUSED)}},
    {"an answer to an earlier call is not taken for this one's", .steps = {CALLS(OPEN, HOME),
                                                                           {.op = LOST},
                                                                           AGAIN,
                                                                           CALLS(OPEN, HOME),
                                                                           {.op = STRAY},
                                                                           SAYS(VM),
                                                                           OK_WITH(VM)}},
    {"cancelled by somebody settles a lost Open", .steps = {CALLS(OPEN, HOME),
                                                            {.op = LOST},
                                                            AGAIN,
                                                            CALLS(OPEN, HOME),
                                                            SAYS(CANCELLED),
                                                            NOT_DONE_BY(CANCELLED)}},

    /* --- home does not host: 4.5 --- */
    {"Hold, Bind, Commit, and Done off the path",
     .steps = {BOUND_TO_B, CALLS_OF(COMMIT, B, 1), SAYS(VM), OFF_PATH(DONE, HOME, 1), OK_WITH(VM)}},
    {"no commit before the bind is durable", .steps = {HELD_AT_B,
                                                       CALLS_OF(BIND, HOME, 1),
                                                       {.op = QUIET},
                                                       REFUSES(UNAVAILABLE),
                                                       AGAIN,
                                                       CALLS_OF(BIND, HOME, 1),
                                                       SAYS_OF(BOUND, 1),
                                                       CALLS_OF(COMMIT, B, 1),
                                                       SAYS(VM),
                                                       OFF_PATH(DONE, HOME, 1),
                                                       OK_WITH(VM)}},
    {"no room at B: the next candidate",
     .steps = {CALLS(OPEN, HOME), SAYS(ELSEWHERE), CALLS(HOLD, B), SAYS(ELSEWHERE), CALLS(HOLD, C),
               SAYS_OF(HELD, 3), CALLS_OF(BIND, HOME, 3), SAYS_OF(BOUND, 3), CALLS_OF(COMMIT, C, 3),
               SAYS(VM), OFF_PATH(DONE, HOME, 3), OK_WITH(VM)}},
    {"no room anywhere: nothing was done",
     .steps = {CALLS(OPEN, HOME), SAYS(ELSEWHERE), CALLS(HOLD, B), SAYS(ELSEWHERE), CALLS(HOLD, C),
               SAYS(ELSEWHERE), NOT_DONE_BY(ELSEWHERE)}},
    {"a lost Hold is no doubt: a hold alone becomes nothing", .steps = {CALLS(OPEN, HOME),
                                                                        SAYS(ELSEWHERE),
                                                                        CALLS(HOLD, B),
                                                                        {.op = LOST},
                                                                        CALLS(HOLD, C),
                                                                        SAYS(ELSEWHERE),
                                                                        NOT_DONE_BY(ELSEWHERE)}},
    {"Hold finds the VM of an earlier try",
     .steps = {CALLS(OPEN, HOME), SAYS(ELSEWHERE), CALLS(HOLD, B), SAYS_OF(VM, 1),
               OFF_PATH(DONE, HOME, 1), OK_WITH(VM)}},
    {"Bind finds a VM at home: our hold is closed",
     .steps = {HELD_AT_B, CALLS_OF(BIND, HOME, 1), SAYS(VM), OFF_PATH(CLOSE, B, 1), OK_WITH(VM)}},
    {"Bind is refused for good: our hold is closed, nothing was done",
     .steps = {HELD_AT_B, CALLS_OF(BIND, HOME, 1), REFUSES(RESOURCE_EXHAUSTED),
               OFF_PATH(CLOSE, B, 1), NOT_DONE_BY(REFUSED)}},
    {"the deadline passes at Bind: UNKNOWN, and our hold is closed",
     .steps = {HELD_AT_B,
               CALLS_OF(BIND, HOME, 1),
               {.op = LATE},
               OFF_PATH(CLOSE, B, 1),
               UNKNOWN_AT(REFUSED)}},
    {"a lost Bind is asked again and found done", .steps = {HELD_AT_B,
                                                            CALLS_OF(BIND, HOME, 1),
                                                            {.op = LOST},
                                                            AGAIN,
                                                            CALLS_OF(BIND, HOME, 1),
                                                            SAYS_OF(BOUND, 1),
                                                            CALLS_OF(COMMIT, B, 1),
                                                            SAYS(VM),
                                                            OFF_PATH(DONE, HOME, 1),
                                                            OK_WITH(VM)}},
    {"the deadline passes at Commit: UNKNOWN",
     .steps = {BOUND_TO_B, CALLS_OF(COMMIT, B, 1), {.op = LATE}, UNKNOWN_AT(REFUSED)}},
    {"a bound key is in doubt even when Commit was not sent",
     .steps =
         {BOUND_TO_B, CALLS_OF(COMMIT, B, 1), {.op = UNSENT}, {.op = LATE}, UNKNOWN_AT(REFUSED)}},
    {"a lost Commit is asked again and replayed", .steps = {BOUND_TO_B,
                                                            CALLS_OF(COMMIT, B, 1),
                                                            {.op = LOST},
                                                            AGAIN,
                                                            CALLS_OF(COMMIT, B, 1),
                                                            SAYS(VM),
                                                            OFF_PATH(DONE, HOME, 1),
                                                            OK_WITH(VM)}},
    {"our hold died before Commit: home decides anew",
     .steps = {BOUND_TO_B, CALLS_OF(COMMIT, B, 1), SAYS(DEAD), OPENS_OVER(1), SAYS(VM),
               OK_WITH(VM)}},
    {"and after DEAD no room is an end without doubt",
     .steps = {BOUND_TO_B,
               CALLS_OF(COMMIT, B, 1),
               SAYS(DEAD),
               OPENS_OVER(1),
               SAYS(ELSEWHERE),
               {.op = WANT, .kind = OWNER_HOLD, .to = B, .replaces = 1},
               SAYS(ELSEWHERE),
               {.op = WANT, .kind = OWNER_HOLD, .to = C, .replaces = 1},
               SAYS(ELSEWHERE),
               NOT_DONE_BY(ELSEWHERE)}},
    {"Commit is refused for good: Close says what became of the hold",
     .steps = {BOUND_TO_B, CALLS_OF(COMMIT, B, 1), REFUSES(RESOURCE_EXHAUSTED),
               CALLS_OF(CLOSE, B, 1), SAYS(DEAD), OPENS_OVER(1), SAYS(VM), OK_WITH(VM)}},

    /* --- another try: 4.6 --- */
    {"BOUND to somebody's hold that became a VM: that VM",
     .steps = {CALLS(OPEN, HOME), SAYS_OF(BOUND, 2), CALLS_OF(CLOSE, B, 2), SAYS(VM),
               OFF_PATH(DONE, HOME, 2), OK_WITH(VM)}},
    {"BOUND to a dead hold: home may decide again",
     .steps = {CALLS(OPEN, HOME), SAYS_OF(BOUND, 2), CALLS_OF(CLOSE, B, 2), SAYS(DEAD),
               OPENS_OVER(2), SAYS(VM), OK_WITH(VM)}},
    {"B is not reachable: UNKNOWN", .steps = {CALLS(OPEN, HOME),
                                              SAYS_OF(BOUND, 2),
                                              CALLS_OF(CLOSE, B, 2),
                                              {.op = UNSENT},
                                              AGAIN,
                                              CALLS_OF(CLOSE, B, 2),
                                              {.op = LOST},
                                              {.op = LATE},
                                              UNKNOWN_AT(REFUSED)}},
    {"B has forgotten what came of it: the key is over",
     .steps = {CALLS(OPEN, HOME), SAYS_OF(BOUND, 2), CALLS_OF(CLOSE, B, 2), SAYS(KEY_EXPIRED),
               NOT_DONE_BY(KEY_EXPIRED)}},
    {"Bind finds another's hold: ours is closed, theirs is asked about",
     .steps = {HELD_AT_B, CALLS_OF(BIND, HOME, 1), SAYS_OF(BOUND, 3), OFF_PATH(CLOSE, B, 1),
               CALLS_OF(CLOSE, C, 3), SAYS(VM), OFF_PATH(DONE, HOME, 3), OK_WITH(VM)}},
    {"a second round binds with the proof of the first",
     .steps = {CALLS(OPEN, HOME),
               SAYS_OF(BOUND, 2),
               CALLS_OF(CLOSE, B, 2),
               SAYS(DEAD),
               OPENS_OVER(2),
               SAYS(ELSEWHERE),
               {.op = WANT, .kind = OWNER_HOLD, .to = B, .replaces = 2},
               SAYS_OF(HELD, 1),
               {.op = WANT, .kind = OWNER_BIND, .to = HOME, .hold = 1, .replaces = 2},
               SAYS_OF(BOUND, 1),
               {.op = WANT, .kind = OWNER_COMMIT, .to = B, .hold = 1, .replaces = 2},
               SAYS(VM),
               OFF_PATH(DONE, HOME, 1),
               OK_WITH(VM)}},

    /* --- cancel --- */
    {"cancel is one call", .cancel = true,
     .steps = {CALLS(CANCEL, HOME), SAYS(CANCELLED), OK_WITH(CANCELLED)}},
    {"cancel finds the VM", .cancel = true, .steps = {CALLS(CANCEL, HOME), SAYS(VM), OK_WITH(VM)}},
    {"cancel of a bound key closes the hold first", .cancel = true,
     .steps = {CALLS(CANCEL, HOME),
               SAYS_OF(BOUND, 2),
               CALLS_OF(CLOSE, B, 2),
               SAYS(DEAD),
               {.op = WANT, .kind = OWNER_CANCEL, .to = HOME, .replaces = 2},
               SAYS(CANCELLED),
               OK_WITH(CANCELLED)}},
    {"cancel of a bound key may find the VM there", .cancel = true,
     .steps = {CALLS(CANCEL, HOME), SAYS_OF(BOUND, 2), CALLS_OF(CLOSE, B, 2), SAYS(VM),
               OFF_PATH(DONE, HOME, 2), OK_WITH(VM)}},
    {"cancel of a bound key whose hold is forgotten there is still decided at home", .cancel = true,
     .steps = {CALLS(CANCEL, HOME),
               SAYS_OF(BOUND, 2),
               CALLS_OF(CLOSE, B, 2),
               SAYS(KEY_EXPIRED),
               {.op = WANT, .kind = OWNER_CANCEL, .to = HOME, .replaces = 2},
               SAYS(CANCELLED),
               OK_WITH(CANCELLED)}},
    {"cancel of a key that is over is as good as cancelled", .cancel = true,
     .steps = {CALLS(CANCEL, HOME), SAYS(KEY_EXPIRED), OK_WITH(KEY_EXPIRED)}},
    {"a cancel is for its key: it does not give up", .cancel = true,
     .steps = {CALLS(CANCEL, HOME),
               {.op = UNSENT},
               AGAIN,
               CALLS(CANCEL, HOME),
               {.op = UNSENT},
               AGAIN,
               CALLS(CANCEL, HOME),
               {.op = UNSENT},
               AGAIN,
               CALLS(CANCEL, HOME),
               {.op = UNSENT},
               AGAIN,
               CALLS(CANCEL, HOME),
               SAYS(CANCELLED),
               OK_WITH(CANCELLED)}},
    {"cancel that is not answered settled nothing", .cancel = true,
     .steps = {CALLS(CANCEL, HOME), {.op = LOST}, {.op = LATE}, UNKNOWN_AT(REFUSED)}},
};

struct stage {
    const struct scenario *scenario;
    int at;
    struct launch launch;
    int64_t now_ms;
    uint64_t ticket; /* of the last call on the path */
    uint64_t earlier_ticket;
};

static struct hold_id hold_of(int hold)
{
    return (struct hold_id){.slice = hold == 0   ? 0
                                     : hold == 3 ? C
                                                 : B,
                            .term = hold == 0 ? 0 : 5,
                            .boot = hold == 0 ? 0 : 6,
                            .counter = (uint64_t)hold};
}

#define AGREE(condition, text)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail_msg("%s: step %d: %s", s->scenario->what, s->at, text);                           \
        }                                                                                          \
    } while (0)

static void want(struct stage *s, const struct step *p)
{
    struct launch_call c;
    struct hold_id hold = hold_of(p->hold);
    struct hold_id replaces = hold_of(p->replaces);

    AGREE(launch_next_call(&s->launch, &c), "no call is wanted");
    AGREE(c.call.kind == p->kind, "another kind of call");
    AGREE(c.to == p->to, "a call to another slice");
    AGREE(c.off_path == (p->op == ASIDE), "on or off the path");
    AGREE(p->hold == 0 || hold_equal(&c.call.hold, &hold), "another hold");
    AGREE(c.off_path || hold_equal(&c.call.replaces, &replaces), "another proof of death");
    AGREE(c.call.commit == (c.call.kind == OWNER_OPEN), "Open carries the commit, only Open");
    AGREE(c.call.cores == 2 || c.off_path, "another size");
    AGREE(strcmp(c.call.subject, "alice") == 0, "another subject");
    if (!c.off_path) {
        s->earlier_ticket = s->ticket;
        s->ticket = c.call.ticket;
    }
}

static void say(struct stage *s, const struct step *p)
{
    struct owner_answer a = {.ticket = s->ticket,
                             .code = p->code,
                             .hold = hold_of(p->hold),
                             .status = p->status,
                             .vm_id = 99,
                             .replayed = p->replayed};

    launch_receive(&s->launch, &a, s->now_ms);
}

static void pass(struct stage *s, int64_t until_ms)
{
    AGREE(until_ms >= s->now_ms && until_ms < INT64_MAX, "no deadline to wait for");
    s->now_ms = until_ms;
    launch_tick(&s->launch, s->now_ms);
}

static void play(struct stage *s, const struct step *p)
{
    const struct launch_result *r = launch_result(&s->launch);
    struct owner_answer stray = {
        .ticket = s->earlier_ticket, .code = OWNER_KEY_REUSED, .kind = OWNER_OPEN};
    struct launch_call c;

    switch (p->op) {
    case WANT:
    case ASIDE:
        want(s, p);
        break;
    case QUIET:
        AGREE(!launch_next_call(&s->launch, &c), "a call is wanted");
        break;
    case SAY:
        say(s, p);
        break;
    case UNSENT:
        launch_not_sent(&s->launch, s->ticket, s->now_ms);
        break;
    case LOST:
        launch_lost(&s->launch, s->ticket, s->now_ms);
        break;
    case PAUSE:
        pass(s, launch_deadline(&s->launch));
        break;
    case LATE:
        pass(s, s->launch.spec.deadline_ms);
        break;
    case STRAY:
        launch_receive(&s->launch, &stray, s->now_ms);
        launch_lost(&s->launch, s->earlier_ticket, s->now_ms);
        break;
    case ENDS:
        AGREE(r->end == p->end, "another end");
        AGREE(r->code == p->code, "another reason");
        AGREE((r->vm_id == 99) == (r->code == OWNER_VM || r->code == OWNER_VM_ELSEWHERE),
              "the VM is told when there is one");
        AGREE(r->has_vm == (r->code == OWNER_VM), "what is known of the VM");
        AGREE(!launch_next_call(&s->launch, &c), "a call after the end");
        AGREE(launch_deadline(&s->launch) == INT64_MAX, "a deadline after the end");
        break;
    case FIN:
    default:
        FLY_UNREACHABLE();
    }
}

static struct launch_spec spec_of(const struct scenario *scenario)
{
    static const uint8_t random[FLY_KEY_RANDOM_SIZE] = {4};
    struct launch_spec spec = {.subject = "alice",
                               .region = "SIN",
                               .cores = 2,
                               .memory_bytes = 1000000,
                               .root_tag = HOME,
                               .cancel = scenario->cancel,
                               .deadline_ms = START_MS + 5000,
                               .candidates = {HOME, B, C},
                               .candidate_count = scenario->no_candidates ? 1 : 3};

    key_mint(&spec.key, HOME, 1800000000, random);
    return spec;
}

static void test_scenarios(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(scenarios); i++) {
        struct stage s = {.scenario = &scenarios[i], .now_ms = START_MS};
        struct launch_spec spec = spec_of(s.scenario);
        launch_init(&s.launch, &spec, 1000, 7, s.now_ms);
        for (s.at = 0; s.at < STEPS_MAX && s.scenario->steps[s.at].op != FIN; s.at++) {
            play(&s, &s.scenario->steps[s.at]);
        }
        if (launch_result(&s.launch)->end == LAUNCH_RUNNING) {
            fail_msg("%s: does not end", s.scenario->what);
        }
    }
}

/* Two owners that send it back and forth do not keep it for ever. */
static void test_tries_are_bounded(void **unused)
{
    struct launch_spec spec = spec_of(&scenarios[0]);
    struct launch_call c;
    struct launch l;
    unsigned calls = 0;

    (void)unused;
    launch_init(&l, &spec, 1, 7, START_MS);
    while (launch_next_call(&l, &c)) {
        struct owner_answer a = {.ticket = c.call.ticket, .hold = hold_of(2)};
        a.code = c.call.kind == OWNER_CLOSE ? OWNER_DEAD : OWNER_BOUND;
        calls++;
        assert_in_range(calls, 1, LAUNCH_TRIES_MAX);
        launch_receive(&l, &a, START_MS);
    }
    assert_int_equal(calls, LAUNCH_TRIES_MAX);
    assert_int_equal(launch_result(&l)->end, LAUNCH_NOT_DONE);
    assert_int_equal(launch_result(&l)->status, FLY_ABORTED);
}

/* Pauses double up to their bound and never pass the deadline by more than one call. */
static void test_pauses(void **unused)
{
    struct launch_spec spec = spec_of(&scenarios[0]);
    struct launch_call c;
    struct launch l;
    int64_t now_ms = START_MS;
    unsigned calls = 0;

    (void)unused;
    launch_init(&l, &spec, 1, 7, now_ms);
    while (launch_result(&l)->end == LAUNCH_RUNNING) {
        while (launch_next_call(&l, &c)) {
            struct owner_answer a = {
                .ticket = c.call.ticket, .code = OWNER_REFUSED, .status = FLY_UNAVAILABLE};
            calls++;
            launch_receive(&l, &a, now_ms);
        }
        int64_t next_ms = launch_deadline(&l);
        assert_true(next_ms >= now_ms);
        assert_true(next_ms - now_ms <= LAUNCH_PAUSE_MAX_MS);
        now_ms = next_ms;
        launch_tick(&l, now_ms);
    }
    assert_int_equal(now_ms, spec.deadline_ms);
    assert_true(calls > 20);
    assert_int_equal(launch_result(&l)->end, LAUNCH_NOT_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenarios),
        cmocka_unit_test(test_tries_are_bounded),
        cmocka_unit_test(test_pauses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
