/*
 * The owner, rule by rule: DESIGN 4 as scenarios. Each is a script of calls, log outcomes and time;
 * the comment of a rule is its `what`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/slice/owner.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

enum { TAG = 0x111111, OTHER = 0x222222, STEPS_MAX = 28, HOLDS = 16, FOREIGN = 8, NAMES = 128 };

#define WALL_MS INT64_C(1800000000000)
#define GB UINT64_C(1000000000)

/* Keys of the scenarios. */
enum { K1 = 1, K2, K3, AWAY, HASHED, FUTURE, OLD };

enum op {
    END = 0,
    ASK,     /* a call; `expect` at once, 0: its answer comes later */
    LOG,     /* everything that waits is appended and applied */
    PROPOSE, /* the next batch is under way */
    APPLY,   /* and is applied */
    REFUSE,  /* the next batch is refused before submission */
    FAIL,    /* the disk fails after submission: owner_stop */
    WAIT,    /* `ms` pass, then a turn */
    RESTART, /* a new process over the log, with `ms` of downtime */
    MUTE,    /* the owner is quarantined */
    SPEAK,   /* and released */
    GOT,     /* the answer to call `as` came: `expect` */
    NOTHING, /* no answer came to call `as` */
};

struct step {
    enum op op;
    enum owner_call_kind kind;
    int key;
    bool commit;
    uint32_t cores; /* 0: 2 */
    int hold; /* slot: filled by HELD, used by COMMIT, CLOSE, BIND, DONE; from FOREIGN on: made
                 elsewhere */
    int replaces;
    int vm; /* DESTROY, DONE, RELEASE: id of the VM that call `vm` was answered with */
    int as; /* name of the call, a letter */
    enum owner_code expect;
    bool replayed;
    bool other_spec;
    enum owner_machine_change change;
    uint64_t seq;       /* LOSS */
    bool only_cordoned; /* ELSEWHERE, because of nothing but the cordon */
    int64_t ms;
};

struct scenario {
    const char *what;
    struct step steps[STEPS_MAX];
};

#define CALL(kind_, key_, ...)                                                                     \
    {                                                                                              \
        .op = ASK, .kind = OWNER_##kind_, .key = key_, __VA_ARGS__                                 \
    }
#define ANSWER(as_, code_)                                                                         \
    {                                                                                              \
        .op = GOT, .as = as_, .expect = OWNER_##code_                                              \
    }
#define REPLAYED(as_, code_)                                                                       \
    {                                                                                              \
        .op = GOT, .as = as_, .expect = OWNER_##code_, .replayed = true                            \
    }
#define SILENCE(as_)                                                                               \
    {                                                                                              \
        .op = NOTHING, .as = as_                                                                   \
    }
#define LAUNCH(key_, as_) CALL(OPEN, key_, .commit = true, .as = as_), {.op = LOG}, ANSWER(as_, VM)
#define BOUND_TO(key_, hold_)                                                                      \
    CALL(BIND, key_, .hold = hold_, .as = 'B'), {.op = LOG}, ANSWER('B', BOUND)

/* The slice has one machine of 4 cores. Keys but AWAY are at home. */
static const struct scenario scenarios[] = {
    /* --- home hosts: 4.4 --- */
    {"Open with commit is one call and one entry",
     {CALL(OPEN, K1, .commit = true, .as = 'a'), SILENCE('a'), {.op = LOG}, ANSWER('a', VM)}},
    {"the same key again is the same VM, replayed",
     {LAUNCH(K1, 'a'), CALL(OPEN, K1, .commit = true, .expect = OWNER_VM, .replayed = true)}},
    {"the same key with another size is refused, whatever became of it",
     {LAUNCH(K1, 'a'),
      CALL(OPEN, K1, .commit = true, .other_spec = true, .expect = OWNER_KEY_REUSED)}},
    {"a hashed key is at home in the root slice", {LAUNCH(HASHED, 'a')}},
    {"a key of another home is not opened here",
     {CALL(OPEN, AWAY, .commit = true, .expect = OWNER_KEY_INVALID)}},
    {"no room: ELSEWHERE, and what is under way counts",
     {CALL(OPEN, K1, .commit = true, .cores = 3, .as = 'a'),
      CALL(OPEN, K2, .commit = true, .cores = 2, .expect = OWNER_ELSEWHERE),
      {.op = LOG},
      ANSWER('a', VM),
      CALL(OPEN, K2, .cores = 2, .expect = OWNER_ELSEWHERE)}},
    {"a second Open while the first is under way: BUSY, never a second VM",
     {CALL(OPEN, K1, .commit = true, .as = 'a'),
      CALL(OPEN, K1, .commit = true, .expect = OWNER_BUSY),
      {.op = PROPOSE},
      CALL(OPEN, K1, .commit = true, .expect = OWNER_BUSY),
      {.op = APPLY},
      ANSWER('a', VM),
      CALL(OPEN, K1, .commit = true, .expect = OWNER_VM, .replayed = true)}},

    /* --- Open and Commit apart: 4.3 --- */
    {"a hold keeps its room and becomes the VM",
     {CALL(OPEN, K1, .cores = 3, .hold = 1, .expect = OWNER_HELD),
      CALL(OPEN, K2, .commit = true, .cores = 2, .expect = OWNER_ELSEWHERE),
      CALL(COMMIT, K1, .hold = 1, .as = 'a'),
      {.op = LOG},
      ANSWER('a', VM)}},
    {"Commit again after the VM is there: the VM, replayed",
     {CALL(OPEN, K1, .hold = 1, .expect = OWNER_HELD),
      CALL(COMMIT, K1, .hold = 1, .as = 'a'),
      {.op = LOG},
      ANSWER('a', VM),
      CALL(COMMIT, K1, .hold = 1, .expect = OWNER_VM, .replayed = true)}},
    {"a hold ends with its time, and is dead then for ever",
     {CALL(OPEN, K1, .cores = 4, .hold = 1, .expect = OWNER_HELD),
      {.op = WAIT, .ms = 2999},
      CALL(OPEN, K2, .expect = OWNER_ELSEWHERE),
      {.op = WAIT, .ms = 1},
      CALL(COMMIT, K1, .hold = 1, .expect = OWNER_DEAD),
      CALL(OPEN, K2, .expect = OWNER_HELD)}},
    {"a commit that is proposed does not expire",
     {CALL(OPEN, K1, .hold = 1, .expect = OWNER_HELD),
      CALL(COMMIT, K1, .hold = 1, .as = 'a'),
      {.op = PROPOSE},
      {.op = WAIT, .ms = 60000},
      SILENCE('a'),
      {.op = APPLY},
      ANSWER('a', VM)}},
    {"a restart kills every hold",
     {CALL(OPEN, K1, .hold = 1, .expect = OWNER_HELD),
      {.op = RESTART},
      CALL(COMMIT, K1, .hold = 1, .expect = OWNER_DEAD)}},
    {"a hold id of another key commits nothing",
     {CALL(OPEN, K1, .hold = 1, .expect = OWNER_HELD),
      CALL(COMMIT, K2, .hold = 1, .expect = OWNER_REFUSED)}},

    /* --- home does not host: 4.5 --- */
    {"Hold for a key of another home, then Commit",
     {CALL(HOLD, AWAY, .hold = 1, .expect = OWNER_HELD),
      CALL(COMMIT, AWAY, .hold = 1, .as = 'a'),
      {.op = LOG},
      ANSWER('a', VM)}},
    {"Bind is durable before it is answered, then the key is the hold's",
     {CALL(BIND, K1, .hold = FOREIGN, .as = 'a'),
      SILENCE('a'),
      {.op = LOG},
      ANSWER('a', BOUND),
      CALL(OPEN, K1, .commit = true, .expect = OWNER_BOUND)}},
    {"Bind of what is bound so already is a success",
     {BOUND_TO(K1, FOREIGN), CALL(BIND, K1, .hold = FOREIGN, .expect = OWNER_BOUND)}},
    {"Bind is accepted only if the key is unbound",
     {BOUND_TO(K1, FOREIGN), CALL(BIND, K1, .hold = FOREIGN + 1, .expect = OWNER_BOUND),
      CALL(OPEN, K1, .commit = true, .replaces = FOREIGN + 1, .expect = OWNER_BOUND)}},
    {"a hold that Close proved dead may be replaced by another",
     {BOUND_TO(K1, FOREIGN),
      CALL(BIND, K1, .hold = FOREIGN + 1, .replaces = FOREIGN, .as = 'a'),
      {.op = LOG},
      ANSWER('a', BOUND),
      CALL(OPEN, K1, .replaces = FOREIGN, .expect = OWNER_BOUND)}},
    {"or by a VM at home",
     {BOUND_TO(K1, FOREIGN),
      CALL(OPEN, K1, .commit = true, .replaces = FOREIGN, .as = 'a'),
      {.op = LOG},
      ANSWER('a', VM),
      CALL(BIND, K1, .hold = FOREIGN + 1, .replaces = FOREIGN, .expect = OWNER_VM,
           .replayed = true)}},
    {"a late Bind finds the VM that home made",
     {LAUNCH(K1, 'a'), CALL(BIND, K1, .hold = FOREIGN, .expect = OWNER_VM, .replayed = true)}},
    {"a hold of this slice is not bound to here",
     {CALL(HOLD, K1, .hold = 1, .expect = OWNER_HELD),
      CALL(BIND, K1, .hold = 1, .expect = OWNER_REFUSED)}},
    {"Done at home: the key says where its VM is",
     {BOUND_TO(K1, FOREIGN),
      LAUNCH(K2, 'x'),
      CALL(DONE, K1, .hold = FOREIGN, .vm = 'x', .as = 'a'),
      {.op = LOG},
      ANSWER('a', DONE_OK),
      CALL(OPEN, K1, .commit = true, .expect = OWNER_VM_ELSEWHERE, .replayed = true),
      CALL(DONE, K1, .hold = FOREIGN, .vm = 'x', .expect = OWNER_DONE_OK)}},
    {"Done of another hold than the bound one changes nothing",
     {BOUND_TO(K1, FOREIGN), LAUNCH(K2, 'x'),
      CALL(DONE, K1, .hold = FOREIGN + 1, .vm = 'x', .expect = OWNER_NOT_FOUND),
      CALL(OPEN, K1, .expect = OWNER_BOUND)}},

    /* --- another try: 4.6 --- */
    {"Close of a hold kills it and gives its room back",
     {CALL(HOLD, AWAY, .cores = 4, .hold = 1, .expect = OWNER_HELD),
      CALL(CLOSE, AWAY, .hold = 1, .expect = OWNER_DEAD),
      CALL(COMMIT, AWAY, .hold = 1, .expect = OWNER_DEAD),
      CALL(OPEN, K1, .cores = 4, .expect = OWNER_HELD)}},
    {"Close of what became a VM tells the VM",
     {CALL(HOLD, AWAY, .hold = 1, .expect = OWNER_HELD),
      CALL(COMMIT, AWAY, .hold = 1, .as = 'a'),
      {.op = LOG},
      ANSWER('a', VM),
      CALL(CLOSE, AWAY, .hold = 1, .expect = OWNER_VM, .replayed = true)}},
    {"Close of a proposed commit waits for its outcome",
     {CALL(HOLD, AWAY, .hold = 1, .expect = OWNER_HELD),
      CALL(COMMIT, AWAY, .hold = 1, .as = 'a'),
      {.op = PROPOSE},
      CALL(CLOSE, AWAY, .hold = 1, .as = 'c'),
      SILENCE('c'),
      {.op = APPLY},
      ANSWER('a', VM),
      REPLAYED('c', VM)}},
    {"Close of a commit that is refused before submission: DEAD",
     {CALL(HOLD, AWAY, .hold = 1, .expect = OWNER_HELD),
      CALL(COMMIT, AWAY, .hold = 1, .as = 'a'),
      CALL(CLOSE, AWAY, .hold = 1, .as = 'c'),
      {.op = REFUSE},
      ANSWER('a', REFUSED),
      ANSWER('c', DEAD),
      CALL(COMMIT, AWAY, .hold = 1, .expect = OWNER_DEAD)}},
    {"Close of a commit whose outcome is not known: UNKNOWN",
     {CALL(HOLD, AWAY, .hold = 1, .expect = OWNER_HELD),
      CALL(COMMIT, AWAY, .hold = 1, .as = 'a'),
      {.op = PROPOSE},
      CALL(CLOSE, AWAY, .hold = 1, .as = 'c'),
      {.op = FAIL},
      ANSWER('a', UNKNOWN),
      ANSWER('c', UNKNOWN)}},
    {"Close after a restart: the log knows the VM",
     {CALL(HOLD, AWAY, .hold = 1, .expect = OWNER_HELD),
      CALL(COMMIT, AWAY, .hold = 1, .as = 'a'),
      {.op = LOG},
      ANSWER('a', VM),
      {.op = RESTART},
      CALL(CLOSE, AWAY, .hold = 1, .expect = OWNER_VM, .replayed = true)}},
    {"Close of a VM that is forgotten says so: DEAD would make a second VM",
     {CALL(HOLD, AWAY, .hold = 1, .expect = OWNER_HELD),
      CALL(COMMIT, AWAY, .hold = 1, .as = 'a'),
      {.op = LOG},
      ANSWER('a', VM),
      CALL(DESTROY, AWAY, .vm = 'a', .as = 'd'),
      {.op = LOG},
      ANSWER('d', VM),
      {.op = WAIT, .ms = SLICE_KEY_LIFE_MS},
      LAUNCH(HASHED, 'x'),
      CALL(CLOSE, AWAY, .hold = 1, .expect = OWNER_KEY_EXPIRED),
      CALL(COMMIT, AWAY, .hold = 1, .expect = OWNER_KEY_EXPIRED)}},

    /* --- the log: 4.7 --- */
    {"refused before submission is REFUSED, and nothing is held",
     {CALL(OPEN, K1, .commit = true, .cores = 4, .as = 'a'),
      {.op = REFUSE},
      ANSWER('a', REFUSED),
      CALL(OPEN, K2, .cores = 4, .expect = OWNER_HELD)}},
    {"failed after submission is UNKNOWN, and no key is spoken of again",
     {CALL(OPEN, K1, .commit = true, .as = 'a'),
      {.op = PROPOSE},
      {.op = FAIL},
      ANSWER('a', UNKNOWN),
      CALL(OPEN, K1, .commit = true, .expect = OWNER_REFUSED),
      CALL(CLOSE, K1, .hold = FOREIGN, .expect = OWNER_REFUSED)}},
    {"what did not leave when the disk failed is REFUSED",
     {CALL(OPEN, K1, .commit = true, .as = 'a'),
      {.op = PROPOSE},
      CALL(OPEN, K2, .commit = true, .as = 'b'),
      {.op = FAIL},
      ANSWER('a', UNKNOWN),
      ANSWER('b', REFUSED)}},

    /* --- cancel: 4.8 --- */
    {"a cancelled key makes nothing, whatever comes late",
     {CALL(CANCEL, K1, .as = 'a'),
      {.op = LOG},
      ANSWER('a', CANCELLED),
      CALL(OPEN, K1, .commit = true, .expect = OWNER_CANCELLED),
      CALL(BIND, K1, .hold = FOREIGN, .expect = OWNER_CANCELLED),
      CALL(CANCEL, K1, .expect = OWNER_CANCELLED)}},
    {"cancel of a key that has its VM tells the VM",
     {LAUNCH(K1, 'a'), CALL(CANCEL, K1, .expect = OWNER_VM, .replayed = true)}},
    {"cancel ends a hold at home",
     {CALL(OPEN, K1, .cores = 4, .hold = 1, .expect = OWNER_HELD),
      CALL(CANCEL, K1, .as = 'a'),
      {.op = LOG},
      ANSWER('a', CANCELLED),
      CALL(COMMIT, K1, .hold = 1, .expect = OWNER_DEAD),
      CALL(OPEN, K2, .cores = 4, .expect = OWNER_HELD)}},
    {"cancel waits its turn behind a launch that is proposed",
     {CALL(OPEN, K1, .commit = true, .as = 'a'),
      {.op = PROPOSE},
      CALL(CANCEL, K1, .expect = OWNER_BUSY),
      {.op = APPLY},
      ANSWER('a', VM)}},
    {"cancel of a bound key needs the proof that its hold is dead",
     {BOUND_TO(K1, FOREIGN),
      CALL(CANCEL, K1, .expect = OWNER_BOUND),
      CALL(CANCEL, K1, .replaces = FOREIGN, .as = 'a'),
      {.op = LOG},
      ANSWER('a', CANCELLED)}},
    {"cancel of a key too old by the clock is logged: the clock may go back",
     {CALL(CANCEL, OLD, .as = 'a'),
      SILENCE('a'),
      {.op = LOG},
      ANSWER('a', KEY_EXPIRED),
      CALL(CANCEL, OLD, .expect = OWNER_KEY_EXPIRED)}},

    /* --- life of a key: 4.9 --- */
    {"an older minted key without a record is expired, never new",
     {CALL(OPEN, OLD, .commit = true, .expect = OWNER_KEY_EXPIRED),
      CALL(HOLD, OLD, .expect = OWNER_KEY_EXPIRED),
      CALL(BIND, OLD, .hold = FOREIGN, .expect = OWNER_KEY_EXPIRED)}},
    {"a key from the future is refused",
     {CALL(OPEN, FUTURE, .commit = true, .expect = OWNER_KEY_INVALID)}},
    {"a destroyed VM's key answers for 15 minutes, then it is expired",
     {LAUNCH(K1, 'a'),
      CALL(DESTROY, K1, .vm = 'a', .as = 'd'),
      {.op = LOG},
      ANSWER('d', VM),
      {.op = WAIT, .ms = SLICE_KEY_LIFE_MS - 1},
      LAUNCH(HASHED, 'x'),
      CALL(OPEN, K1, .commit = true, .expect = OWNER_VM, .replayed = true),
      {.op = WAIT, .ms = 1},
      CALL(DESTROY, K1, .vm = 'x', .as = 'e'),
      {.op = LOG},
      ANSWER('e', VM),
      CALL(OPEN, K1, .commit = true, .expect = OWNER_KEY_EXPIRED)}},
    {"a key whose VM lives stays, however old",
     {LAUNCH(K1, 'a'),
      {.op = RESTART, .ms = INT64_C(30) * SLICE_HASHED_KEY_LIFE_MS},
      CALL(OPEN, K1, .commit = true, .expect = OWNER_VM, .replayed = true)}},
    {"Release begins the last life of a key whose VM was elsewhere",
     {BOUND_TO(K1, FOREIGN),
      LAUNCH(K2, 'x'),
      CALL(RELEASE, K1, .vm = 'x', .expect = OWNER_NOT_FOUND),
      CALL(DONE, K1, .hold = FOREIGN, .vm = 'x', .as = 'a'),
      {.op = LOG},
      ANSWER('a', DONE_OK),
      CALL(RELEASE, K1, .vm = 'x', .as = 'r'),
      {.op = LOG},
      ANSWER('r', DONE_OK),
      {.op = WAIT, .ms = SLICE_KEY_LIFE_MS},
      CALL(DESTROY, K2, .vm = 'x', .as = 'd'),
      {.op = LOG},
      ANSWER('d', VM),
      CALL(OPEN, K1, .commit = true, .expect = OWNER_KEY_EXPIRED)}},

    /* --- quarantine: 4.10 --- */
    {"a quarantined owner says nothing of any key, VM or machine",
     {LAUNCH(K1, 'a'),
      {.op = MUTE},
      CALL(OPEN, K1, .commit = true, .expect = OWNER_REFUSED),
      CALL(HOLD, AWAY, .expect = OWNER_REFUSED),
      CALL(COMMIT, K1, .hold = FOREIGN, .expect = OWNER_REFUSED),
      CALL(CLOSE, K1, .hold = FOREIGN, .expect = OWNER_REFUSED),
      CALL(BIND, K2, .hold = FOREIGN, .expect = OWNER_REFUSED),
      CALL(DONE, K2, .hold = FOREIGN, .vm = 'a', .expect = OWNER_REFUSED),
      CALL(CANCEL, K2, .expect = OWNER_REFUSED),
      CALL(RELEASE, K1, .vm = 'a', .expect = OWNER_REFUSED),
      CALL(DESTROY, K1, .vm = 'a', .expect = OWNER_REFUSED),
      CALL(MACHINE, 0, .change = OWNER_MACHINE_CORDON, .expect = OWNER_REFUSED),
      {.op = SPEAK},
      CALL(OPEN, K1, .commit = true, .expect = OWNER_VM, .replayed = true)}},
    {"quarantine ends holds, refuses what waits, and is silent about what is proposed",
     {CALL(OPEN, K1, .cores = 1, .hold = 1, .expect = OWNER_HELD),
      CALL(OPEN, K2, .commit = true, .cores = 1, .as = 'b'),
      {.op = PROPOSE},
      CALL(HOLD, AWAY, .cores = 1, .hold = 2, .expect = OWNER_HELD),
      CALL(COMMIT, AWAY, .hold = 2, .as = 'c'),
      CALL(CLOSE, AWAY, .hold = 2, .as = 'd'),
      {.op = MUTE},
      ANSWER('b', UNKNOWN),
      ANSWER('c', REFUSED),
      ANSWER('d', REFUSED),
      {.op = APPLY},
      {.op = SPEAK},
      CALL(OPEN, K2, .commit = true, .cores = 1, .expect = OWNER_VM, .replayed = true),
      CALL(COMMIT, K1, .hold = 1, .expect = OWNER_DEAD),
      CALL(OPEN, K3, .cores = 3, .expect = OWNER_HELD)}},
    {"an accepted loss: no number and no key of before is used again",
     {LAUNCH(K1, 'a'),
      {.op = MUTE},
      CALL(LOSS, 0, .seq = 812, .as = 'l'),
      {.op = LOG},
      ANSWER('l', DONE_OK),
      {.op = SPEAK},
      CALL(OPEN, K1, .commit = true, .expect = OWNER_VM, .replayed = true),
      CALL(OPEN, K2, .commit = true, .expect = OWNER_KEY_EXPIRED),
      LAUNCH(HASHED, 'x'),
      CALL(LOSS, 0, .seq = 812, .as = 'm'),
      {.op = LOG},
      ANSWER('m', DONE_OK)}},

    {"a bind of before a loss may not be the last one: nothing new comes of its key",
     {BOUND_TO(K1, FOREIGN),
      {.op = MUTE},
      CALL(LOSS, 0, .seq = 812, .as = 'l'),
      {.op = LOG},
      ANSWER('l', DONE_OK),
      {.op = SPEAK},
      CALL(OPEN, K1, .commit = true, .expect = OWNER_BOUND),
      CALL(OPEN, K1, .commit = true, .replaces = FOREIGN, .expect = OWNER_KEY_EXPIRED),
      CALL(BIND, K1, .hold = FOREIGN + 1, .replaces = FOREIGN, .expect = OWNER_KEY_EXPIRED),
      CALL(CANCEL, K1, .replaces = FOREIGN, .as = 'c'),
      {.op = LOG},
      ANSWER('c', CANCELLED)}},

    /* --- destroy, inventory --- */
    {"destroy gives the room back and may be asked again",
     {CALL(OPEN, K1, .commit = true, .cores = 4, .as = 'a'),
      {.op = LOG},
      ANSWER('a', VM),
      CALL(DESTROY, K1, .vm = 'a', .as = 'd'),
      {.op = LOG},
      ANSWER('d', VM),
      CALL(DESTROY, K1, .vm = 'a', .expect = OWNER_VM, .replayed = true),
      CALL(OPEN, K2, .cores = 4, .expect = OWNER_HELD)}},
    {"destroy of a VM that never was", {CALL(DESTROY, K1, .expect = OWNER_NOT_FOUND)}},
    {"a machine does not shrink below what was promised of it",
     {CALL(OPEN, K1, .cores = 3, .expect = OWNER_HELD),
      CALL(MACHINE, 0, .change = OWNER_MACHINE_RESIZE, .cores = 2, .expect = OWNER_REFUSED),
      CALL(MACHINE, 0, .change = OWNER_MACHINE_REMOVE, .expect = OWNER_REFUSED)}},
    {"what a shrinking machine is about to lose is not promised",
     {CALL(MACHINE, 0, .change = OWNER_MACHINE_RESIZE, .cores = 2, .as = 'm'),
      CALL(OPEN, K1, .cores = 3, .expect = OWNER_ELSEWHERE),
      {.op = LOG},
      ANSWER('m', DONE_OK),
      CALL(OPEN, K1, .cores = 2, .expect = OWNER_HELD)}},
    {"a cordoned machine gets no new VM and no hold, whatever room it has",
     {CALL(MACHINE, 0, .change = OWNER_MACHINE_CORDON, .as = 'm'),
      {.op = LOG},
      ANSWER('m', DONE_OK),
      CALL(OPEN, K1, .commit = true, .expect = OWNER_ELSEWHERE, .only_cordoned = true),
      CALL(HOLD, AWAY, .expect = OWNER_ELSEWHERE, .only_cordoned = true),
      CALL(MACHINE, 0, .change = OWNER_MACHINE_CORDON, .as = 'n'),
      {.op = LOG},
      ANSWER('n', DONE_OK),
      CALL(MACHINE, 0, .change = OWNER_MACHINE_UNCORDON, .as = 'u'),
      {.op = LOG},
      ANSWER('u', DONE_OK),
      LAUNCH(K1, 'a')}},
    {"what was promised before the cordon goes on",
     {CALL(OPEN, K1, .cores = 1, .hold = 1, .expect = OWNER_HELD),
      CALL(OPEN, K2, .commit = true, .cores = 1, .as = 'b'),
      {.op = PROPOSE},
      CALL(MACHINE, 0, .change = OWNER_MACHINE_CORDON, .as = 'm'),
      CALL(COMMIT, K1, .hold = 1, .as = 'a'),
      {.op = LOG},
      ANSWER('b', VM),
      ANSWER('m', DONE_OK),
      ANSWER('a', VM),
      CALL(OPEN, K3, .commit = true, .expect = OWNER_ELSEWHERE, .only_cordoned = true)}},
    {"a cordon outlives a restart, and VMs of a cordoned machine can be destroyed",
     {LAUNCH(K1, 'a'),
      CALL(MACHINE, 0, .change = OWNER_MACHINE_CORDON, .as = 'm'),
      {.op = LOG},
      ANSWER('m', DONE_OK),
      {.op = RESTART},
      CALL(OPEN, K2, .commit = true, .expect = OWNER_ELSEWHERE, .only_cordoned = true),
      CALL(DESTROY, K1, .vm = 'a', .as = 'd'),
      {.op = LOG},
      ANSWER('d', VM)}},
    {"cordon of a machine that is not there",
     {CALL(MACHINE, 0, .change = OWNER_MACHINE_REMOVE, .as = 'r'),
      {.op = LOG},
      ANSWER('r', DONE_OK),
      CALL(MACHINE, 0, .change = OWNER_MACHINE_CORDON, .as = 'm'),
      {.op = LOG},
      ANSWER('m', NOT_FOUND)}},
    {"a machine that is added and cordoned in one turn never had room",
     {CALL(MACHINE, 0, .change = OWNER_MACHINE_REMOVE, .as = 'r'),
      {.op = LOG},
      ANSWER('r', DONE_OK),
      CALL(MACHINE, 0, .change = OWNER_MACHINE_ADD, .cores = 4, .as = 'm'),
      CALL(MACHINE, 0, .change = OWNER_MACHINE_CORDON, .as = 'n'),
      {.op = LOG},
      ANSWER('m', DONE_OK),
      ANSWER('n', DONE_OK),
      CALL(OPEN, K1, .commit = true, .expect = OWNER_ELSEWHERE, .only_cordoned = true)}},
    {"one change of a machine at a time",
     {CALL(MACHINE, 0, .change = OWNER_MACHINE_RESIZE, .cores = 8, .as = 'm'),
      CALL(MACHINE, 0, .change = OWNER_MACHINE_RESIZE, .cores = 6, .expect = OWNER_REFUSED),
      {.op = LOG},
      ANSWER('m', DONE_OK)}},
};

struct stage {
    const char *what;
    int at;
    struct owner_config config;
    struct owner *owner;
    struct owner_now now;
    uint64_t term;
    uint8_t *log[STEPS_MAX * 2];
    size_t sizes[STEPS_MAX * 2];
    unsigned log_count;
    unsigned under_way; /* entries of the log that are not applied */
    struct hold_id holds[HOLDS];
    struct owner_answer answers[NAMES];
    bool answered[NAMES];
};

static struct fly_key key_of(int key)
{
    static const uint8_t random[FLY_KEY_RANDOM_SIZE] = {9};
    uint32_t now_s = (uint32_t)(WALL_MS / 1000);
    uint8_t mine[FLY_KEY_RANDOM_SIZE] = {(uint8_t)key};
    struct fly_key out;

    switch (key) {
    case AWAY:
        key_mint(&out, OTHER, now_s, random);
        break;
    case HASHED:
        (void)key_from_text("order-1", &out);
        break;
    case FUTURE:
        key_mint(&out, TAG, now_s + SLICE_KEY_FUTURE_MS / 1000 + 1, random);
        break;
    case OLD:
        key_mint(&out, TAG, now_s - SLICE_KEY_LIFE_MS / 1000 - 1, random);
        break;
    default:
        key_mint(&out, TAG, now_s, mine);
    }
    return out;
}

static void take_answers(struct stage *s)
{
    struct owner_answer a;

    while (owner_next_answer(s->owner, &a)) {
        assert_in_range(a.ticket, 0, NAMES - 1);
        if (s->answered[a.ticket]) {
            fail_msg("%s: step %d: a second answer, code %d", s->what, s->at, (int)a.code);
        }
        s->answered[a.ticket] = true;
        s->answers[a.ticket] = a;
    }
}

static bool propose(struct stage *s)
{
    static uint8_t batch[SLICE_BATCH_BYTES_MAX];
    size_t size = owner_next_batch(s->owner, s->now, batch, sizeof batch);

    if (size == 0) {
        return false;
    }
    assert_in_range(s->log_count, 0, STEPS_MAX * 2 - 1);
    s->log[s->log_count] = malloc(size);
    memcpy(s->log[s->log_count], batch, size);
    s->sizes[s->log_count++] = size;
    s->under_way++;
    return true;
}

static void apply(struct stage *s)
{
    for (; s->under_way > 0; s->under_way--) {
        unsigned i = s->log_count - s->under_way;
        assert_int_equal(owner_apply(s->owner, s->log[i], s->sizes[i], NULL), FLY_OK);
    }
    take_answers(s);
}

static void start(struct stage *s)
{
    s->config.boot++;
    s->owner = owner_init(calloc(1, owner_size(&s->config)), &s->config);
    for (unsigned i = 0; i < s->log_count; i++) {
        assert_int_equal(owner_apply(s->owner, s->log[i], s->sizes[i], NULL), FLY_OK);
    }
    s->under_way = 0;
    assert_false(owner_ready(s->owner));
    owner_lead(s->owner, ++s->term, 42, s->now);
    struct owner_call early = {.kind = OWNER_OPEN, .ticket = 0, .key = key_of(K1)};
    s->answered[0] = false;
    owner_call(s->owner, &early, s->now); /* 4.7: before an own entry was applied */
    take_answers(s);
    assert_true(s->answered[0]);
    assert_int_equal(s->answers[0].code, OWNER_REFUSED);
    assert_true(propose(s));
    assert_false(owner_ready(s->owner));
    apply(s);
    assert_true(owner_ready(s->owner));
}

static void ask(struct stage *s, const struct step *p)
{
    struct owner_call c = {.kind = p->kind,
                           .ticket = (uint64_t)p->as,
                           .key = key_of(p->key),
                           .commit = p->commit,
                           .hold = s->holds[p->hold],
                           .replaces = s->holds[p->replaces],
                           .vm = s->answers[p->vm].vm_id,
                           .cores = p->cores == 0 ? 2 : p->cores,
                           .memory_bytes = GB,
                           .subject = "alice",
                           .region = "SIN",
                           .machine_change = p->change,
                           .incarnation = 42,
                           .seq = p->seq};

    c.digest.bytes[0] = p->other_spec;
    if (p->kind == OWNER_MACHINE) {
        (void)fly_copy_string(c.name, sizeof c.name, "m1");
        c.memory_bytes = 8 * GB;
    }
    s->answered[c.ticket] = false;
    owner_call(s->owner, &c, s->now);
    take_answers(s);
    if (s->answered[c.ticket] && s->answers[c.ticket].code == OWNER_HELD && p->hold != 0) {
        s->holds[p->hold] = s->answers[c.ticket].hold;
    }
}

static void expect_answer(const struct stage *s, const struct step *p)
{
    const struct owner_answer *a = &s->answers[p->as];

    if (!s->answered[p->as]) {
        fail_msg("%s: step %d: no answer", s->what, s->at);
    }
    if (a->code != p->expect || a->replayed != p->replayed) {
        fail_msg("%s: step %d: code %d%s, wanted %d%s (%s)", s->what, s->at, (int)a->code,
                 a->replayed ? " replayed" : "", (int)p->expect, p->replayed ? " replayed" : "",
                 a->text == NULL ? "" : a->text);
    }
    const struct owner_room *room = &a->room;
    if (a->code == OWNER_ELSEWHERE &&
        p->only_cordoned != (room->machines == 1 && room->cordoned == 1 && !room->fits_empty &&
                             room->cores_max == 0 && room->cores_free_max == 0)) {
        fail_msg("%s: step %d: the room is told wrongly", s->what, s->at);
    }
    if (a->code == OWNER_VM && (a->vm_id == 0 || a->vm.id != a->vm_id)) {
        fail_msg("%s: step %d: the VM is not told", s->what, s->at);
    }
}

static void play(struct stage *s, const struct step *p)
{
    switch (p->op) {
    case ASK:
        ask(s, p);
        if (p->expect != 0) {
            expect_answer(s, p);
        } else if (s->answered[p->as]) {
            fail_msg("%s: step %d: answered %d at once", s->what, s->at,
                     (int)s->answers[p->as].code);
        }
        break;
    case LOG:
        while (propose(s)) {
        }
        apply(s);
        break;
    case PROPOSE:
        assert_true(propose(s));
        break;
    case APPLY:
        apply(s);
        break;
    case REFUSE:
        assert_true(propose(s));
        free(s->log[--s->log_count]);
        s->under_way--;
        owner_batch_refused(s->owner, FLY_UNAVAILABLE, "disk full");
        take_answers(s);
        break;
    case FAIL:
        owner_stop(s->owner, FLY_UNAVAILABLE, "disk error");
        take_answers(s);
        break;
    case WAIT:
        s->now.boot_ms += p->ms;
        s->now.wall_ms += p->ms;
        owner_tick(s->owner, s->now);
        take_answers(s);
        break;
    case RESTART:
        s->now.boot_ms = 5;
        s->now.wall_ms += p->ms;
        free(s->owner);
        start(s);
        break;
    case MUTE:
        owner_quarantine(s->owner, FLY_FAILED_PRECONDITION, "an old copy");
        assert_string_equal(owner_quarantined(s->owner), "an old copy");
        take_answers(s);
        break;
    case SPEAK:
        owner_release_quarantine(s->owner);
        assert_null(owner_quarantined(s->owner));
        break;
    case GOT:
        expect_answer(s, p);
        break;
    case NOTHING:
        if (s->answered[p->as]) {
            fail_msg("%s: step %d: an answer too early", s->what, s->at);
        }
        break;
    case END:
    default:
        FLY_UNREACHABLE();
    }
}

static void open_stage(struct stage *s, const char *what)
{
    *s = (struct stage){.what = what,
                        .config = {.slice = {.machines_max = 2, .records_max = 32},
                                   .tag = TAG,
                                   .root_tag = TAG,
                                   .flights_max = 16,
                                   .hold_life_ms = SLICE_HOLD_LIFE_MS,
                                   .events_max = 64,
                                   .events_bytes_max = 16384,
                                   .boot = 100},
                        .now = {.boot_ms = 1000, .wall_ms = WALL_MS}};
    for (int i = FOREIGN; i < HOLDS; i++) {
        s->holds[i] =
            (struct hold_id){.slice = OTHER, .term = 1, .boot = 7, .counter = (uint64_t)i};
    }
    start(s);
    struct owner_call add = {.kind = OWNER_MACHINE,
                             .ticket = 1,
                             .machine_change = OWNER_MACHINE_ADD,
                             .name = "m1",
                             .region = "SIN",
                             .cores = 4,
                             .memory_bytes = 8 * GB};
    owner_call(s->owner, &add, s->now);
    assert_true(propose(s));
    apply(s);
    assert_int_equal(s->answers[1].code, OWNER_DONE_OK);
}

static void close_stage(struct stage *s)
{
    free(s->owner);
    for (unsigned i = 0; i < s->log_count; i++) {
        free(s->log[i]);
    }
}

static void test_scenarios(void **unused)
{
    static struct stage s;

    (void)unused;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(scenarios); i++) {
        const struct scenario *scenario = &scenarios[i];
        open_stage(&s, scenario->what);
        for (s.at = 0; s.at < STEPS_MAX && scenario->steps[s.at].op != END; s.at++) {
            play(&s, &scenario->steps[s.at]);
        }
        close_stage(&s);
    }
}

/* 4.9, I6: a full table refuses new launches and nothing is evicted early; a full book likewise. */
static void test_full(void **unused)
{
    static struct stage s;
    static const uint8_t random[FLY_KEY_RANDOM_SIZE] = {77};
    unsigned refused = 0;

    (void)unused;
    open_stage(&s, "full");
    for (uint32_t i = 0; i < 40; i++) {
        struct owner_call c = {.kind = OWNER_CANCEL, .ticket = 2, .subject = "alice"};
        key_mint(&c.key, TAG, (uint32_t)(WALL_MS / 1000) - i, random);
        s.answered[2] = false;
        owner_call(s.owner, &c, s.now);
        assert_true(propose(&s));
        apply(&s);
        assert_true(s.answered[2]);
        refused += s.answers[2].code == OWNER_REFUSED;
        if (i < 32) {
            assert_int_equal(s.answers[2].code, OWNER_CANCELLED);
        } else {
            assert_int_equal(s.answers[2].status, FLY_RESOURCE_EXHAUSTED);
        }
    }
    assert_int_equal(refused, 8);
    assert_int_equal(slice_totals(owner_state(s.owner))->records, 32);
    close_stage(&s);

    open_stage(&s, "full book");
    for (uint32_t i = 0; i < 20; i++) {
        struct owner_call c = {.kind = OWNER_CANCEL, .ticket = 2 + i, .subject = "alice"};
        key_mint(&c.key, TAG, (uint32_t)(WALL_MS / 1000) - i, random);
        owner_call(s.owner, &c, s.now);
        take_answers(&s);
        assert_int_equal(s.answered[2 + i], i >= 16);
    }
    assert_int_equal(s.answers[18].status, FLY_RESOURCE_EXHAUSTED);
    close_stage(&s);
}

/* What is numbered after a loss is beyond all that anybody saw, here and after a restart. */
static void test_numbers_after_a_loss(void **unused)
{
    static struct stage s;
    struct event e;
    uint64_t first;
    uint64_t last;

    (void)unused;
    open_stage(&s, "loss");
    play(&s, &(struct step)CALL(OPEN, K1, .commit = true, .as = 'a'));
    play(&s, &(struct step){.op = LOG});
    play(&s, &(struct step)CALL(LOSS, 0, .seq = 812, .as = 'l'));
    play(&s, &(struct step){.op = LOG});
    assert_int_equal(s.answers['l'].code, OWNER_DONE_OK);
    owner_events_range(s.owner, &first, &last);
    const uint64_t jump = last;
    assert_in_range(jump, 812 + SLICE_LOSS_MARGIN, 812 + SLICE_LOSS_MARGIN + SLICE_LOSS_CHANCE);
    assert_true(first > last); /* whoever asks for what follows 812 learns that it is gone */
    play(&s, &(struct step)CALL(OPEN, HASHED, .commit = true, .as = 'b'));
    play(&s, &(struct step){.op = LOG});
    assert_int_equal(s.answers['b'].vm.number, jump + 1);
    for (int round = 0; round < 2; round++) {
        owner_events_range(s.owner, &first, &last);
        assert_int_equal(first, jump + 1);
        assert_int_equal(last, first);
        assert_true(owner_event(s.owner, last, &e));
        assert_int_equal(e.vm, s.answers['b'].vm_id);
        assert_false(owner_event(s.owner, 2, &e));
        play(&s, &(struct step){.op = RESTART});
    }
    play(&s, &(struct step)CALL(LOSS, 0, .seq = UINT64_C(1) << 36, .as = 'm'));
    play(&s, &(struct step){.op = LOG});
    assert_int_equal(s.answers['m'].code, OWNER_REFUSED);
    close_stage(&s);
}

/* I5: after a start the retained events go on where the log is, and are the log's. */
static void test_events(void **unused)
{
    static struct stage s;
    struct event e;
    uint64_t first;
    uint64_t last;

    (void)unused;
    open_stage(&s, "events");
    play(&s, &(struct step)CALL(OPEN, K1, .commit = true, .as = 'a'));
    play(&s, &(struct step){.op = LOG});
    play(&s, &(struct step)CALL(DESTROY, K1, .vm = 'a', .as = 'd'));
    play(&s, &(struct step){.op = LOG});
    for (int round = 0; round < 2; round++) {
        static const uint8_t types[] = {EVENT_MACHINE_ADDED, EVENT_VM_STARTED, EVENT_VM_DESTROYED};
        owner_events_range(s.owner, &first, &last);
        assert_int_equal(first, 1);
        assert_int_equal(last, 3);
        for (uint64_t seq = first; seq <= last; seq++) {
            assert_true(owner_event(s.owner, seq, &e));
            assert_int_equal(e.seq, seq);
            assert_int_equal(e.type, types[seq - 1]);
            assert_int_equal(e.slice, TAG);
            assert_int_equal(e.incarnation, 42);
        }
        assert_false(owner_event(s.owner, 4, &e));
        assert_false(owner_event(s.owner, 0, &e));
        play(&s, &(struct step){.op = RESTART});
    }
    close_stage(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenarios),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_numbers_after_a_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
