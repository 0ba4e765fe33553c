/*
 * The auditor of the fault runs, given lies: each story is a few lines of logs, of one slice or
 * two, and what clients say that they were told; one rule must be broken, and named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/wire/vmid.h"
/* the programs of tests/e2e are no library */
#include "tests/e2e/audit_history.c"
#include "tests/e2e/audit_ledger.c"

enum { A = 0x00000a, B = 0x00000b, ROOT = 0x0000ff, STEPS_MAX = 12, MINTED_S = 1790000000 };

enum op {
    OP_END = 0,
    OP_SLICE,   /* tag */
    OP_MACHINE, /* cores; memory is as many bytes */
    OP_RESIZE,  /* likewise */
    OP_VM,      /* number, key, cores, hold */
    OP_DESTROY, /* number */
    OP_SKIP,    /* an event's number is left out */
    OP_BOUND,   /* key, hold */
    OP_DONE,    /* key, number (of a VM in `tag`) */
    OP_CANCEL,  /* key */
    OP_TELL,    /* text: a line of a history, with % for the VM number `number` of slice `tag` and
                 * @ for the key */
};

struct step {
    enum op op;
    uint32_t tag;
    uint64_t number;
    const char *key; /* "a1": minted for A; "b1": for B; else a person's */
    uint32_t cores;
    uint64_t hold;
    const char *text;
    const char *machine; /* NULL: "m" */
};

struct story {
    const char *what;
    const char *rule; /* NULL: nothing is wrong */
    struct step steps[STEPS_MAX];
    bool complete;
    bool partial;
};

#define SLICE(slice)                                                                               \
    {                                                                                              \
        .op = OP_SLICE, .tag = (slice)                                                             \
    }
#define MACHINE(count)                                                                             \
    {                                                                                              \
        .op = OP_MACHINE, .cores = (count)                                                         \
    }
#define VM(n, k, count, h)                                                                         \
    {                                                                                              \
        .op = OP_VM, .number = (n), .key = (k), .cores = (count), .hold = (h)                      \
    }
#define BOUND(k, h)                                                                                \
    {                                                                                              \
        .op = OP_BOUND, .key = (k), .hold = (h)                                                    \
    }
#define TELL(k, slice, n, line)                                                                    \
    {                                                                                              \
        .op = OP_TELL, .key = (k), .tag = (slice), .number = (n), .text = (line)                   \
    }

#define OK_LINE                                                                                    \
    "{\"call\":\"launch\",\"subject\":\"s\",\"key\":\"@\",\"region\":\"SIN\",\"cores\":2,"         \
    "\"memory_bytes\":2,\"outcome\":\"OK\",\"id\":\"%\",\"machine\":\"m\"}"
#define BAD_LINE(outcome)                                                                          \
    "{\"call\":\"launch\",\"subject\":\"s\",\"key\":\"@\",\"outcome\":\"" outcome "\"}"
#define CANCEL_LINE                                                                                \
    "{\"call\":\"cancel\",\"subject\":\"s\",\"key\":\"@\",\"outcome\":\"OK\",\"launched\":false}"
#define DESTROY_LINE "{\"call\":\"destroy\",\"id\":\"%\",\"outcome\":\"OK\"}"

static const struct story stories[] = {
    {.what = "two slices, all is well",
     .rule = NULL,
     .steps =
         {SLICE(A),
          MACHINE(4),
          BOUND("a2", 7),
          {.op = OP_DONE, .key = "a2", .tag = B, .number = 1},
          VM(1, "a1", 4, 0),
          SLICE(B),
          {.op = OP_MACHINE, .cores = 2, .machine = "m2"},
          {.op = OP_VM, .number = 1, .key = "a2", .cores = 2, .hold = 7, .machine = "m2"},
          {.op = OP_DESTROY, .number = 1},
          TELL(
              "a2", B, 1,
              "{\"call\":\"launch\",\"subject\":\"s\",\"key\":\"@\",\"region\":\"SIN\",\"cores\":2,"
              "\"memory_bytes\":2,\"outcome\":\"OK\",\"id\":\"%\",\"machine\":\"m2\"}"),
          TELL("a2", B, 1, DESTROY_LINE)}},
    {.what = "bound, and home did not hear yet",
     .rule = NULL,
     .steps = {SLICE(A), BOUND("a1", 7), SLICE(B), MACHINE(4), VM(1, "a1", 2, 7)}},
    {.what = "the same key in two slices",
     .rule = "second-vm",
     .steps = {SLICE(A), MACHINE(4), VM(1, "a1", 1, 0), SLICE(B), MACHINE(4), VM(1, "a1", 1, 7)}},
    {.what = "the same key twice, the first VM is destroyed",
     .rule = "second-vm",
     .steps = {SLICE(A),
               MACHINE(4),
               VM(1, "a1", 1, 0),
               {.op = OP_DESTROY, .number = 1},
               VM(2, "a1", 1, 0)}},
    {.what = "a person's key in two slices",
     .rule = "second-vm",
     .steps = {SLICE(A), MACHINE(4), VM(1, "order", 1, 0), SLICE(B), MACHINE(4),
               VM(1, "order", 1, 0)}},
    {.what = "elsewhere, and never bound",
     .rule = "unbound",
     .steps = {SLICE(A), MACHINE(4), SLICE(B), MACHINE(4), VM(1, "a1", 1, 7)}},
    {.what = "elsewhere, and bound to another hold",
     .rule = "unbound",
     .steps = {SLICE(A), BOUND("a1", 8), SLICE(B), MACHINE(4), VM(1, "a1", 1, 7)}},
    {.what = "bound, but by who is not its home",
     .rule = "unbound",
     .steps = {SLICE(A), SLICE(B), BOUND("a1", 7), MACHINE(4), VM(1, "a1", 1, 7)}},
    {.what = "a home that was not read is not judged",
     .rule = NULL,
     .steps = {SLICE(B), MACHINE(4), VM(1, "a1", 1, 7)}},
    {.what = "a person's key outside of the root slice",
     .rule = "unbound",
     .steps = {SLICE(ROOT), SLICE(B), MACHINE(4), VM(1, "order", 1, 7)}},
    {.what = "home tells of a VM that is not there",
     .rule = "done-nothing",
     .steps =
         {SLICE(A), BOUND("a1", 7), {.op = OP_DONE, .key = "a1", .tag = B, .number = 1}, SLICE(B)}},
    {.what = "home tells of another VM",
     .rule = "done-nothing",
     .steps = {SLICE(A),
               BOUND("a1", 7),
               {.op = OP_DONE, .key = "a1", .tag = B, .number = 2},
               SLICE(B),
               MACHINE(4),
               VM(1, "a1", 1, 7),
               VM(2, "b1", 1, 0)}},
    {.what = "cancelled at home, and it runs elsewhere",
     .rule = "settled",
     .steps = {SLICE(A),
               BOUND("a1", 7),
               {.op = OP_CANCEL, .key = "a1"},
               SLICE(B),
               MACHINE(4),
               VM(1, "a1", 1, 7)}},
    {.what = "more cores than the machine has",
     .rule = "capacity",
     .steps = {SLICE(A), MACHINE(4), VM(1, "a1", 2, 0), VM(2, "a2", 3, 0)}},
    {.what = "a machine shrinks below what it holds",
     .rule = "capacity",
     .steps = {SLICE(A), MACHINE(4), VM(1, "a1", 3, 0), {.op = OP_RESIZE, .cores = 2}}},
    {.what = "room that was given back",
     .rule = NULL,
     .steps = {SLICE(A),
               MACHINE(4),
               VM(1, "a1", 3, 0),
               {.op = OP_DESTROY, .number = 1},
               VM(2, "a2", 4, 0)}},
    {.what = "each slice has room, the machine has not",
     .rule = "shared",
     .steps = {SLICE(A), MACHINE(4), VM(1, "a1", 3, 0), SLICE(B), MACHINE(4), VM(1, "b1", 2, 0)}},
    {.what = "a machine in two slices that holds both",
     .rule = NULL,
     .steps = {SLICE(A), MACHINE(4), VM(1, "a1", 2, 0), SLICE(B), MACHINE(4), VM(1, "b1", 2, 0)}},
    {.what = "the same slice from two folders",
     .rule = "twin",
     .steps = {SLICE(A), SLICE(B), SLICE(A)}},
    {.what = "an event is missing",
     .rule = "gap",
     .steps = {SLICE(A), MACHINE(4), {.op = OP_SKIP}, VM(1, "a1", 1, 0)}},
    {.what = "destroyed twice",
     .rule = "not-running",
     .steps = {SLICE(A),
               MACHINE(4),
               VM(1, "a1", 1, 0),
               {.op = OP_DESTROY, .number = 1},
               {.op = OP_DESTROY, .number = 1}}},
    {.what = "a VM on no machine", .rule = "no-machine", .steps = {SLICE(A), VM(1, "a1", 1, 0)}},
    {.what = "told, and lost from slice B",
     .rule = "lost",
     .steps = {SLICE(A), MACHINE(4), VM(1, "a1", 2, 0), SLICE(B), TELL("a1", A, 1, OK_LINE),
               TELL("b1", B, 1, OK_LINE)}},
    {.what = "told of a slice that was not given, while it runs",
     .rule = NULL,
     .steps = {SLICE(A), TELL("b1", B, 1, OK_LINE)},
     .partial = true},
    {.what = "told of a slice that was not given, at the end",
     .rule = "lost",
     .steps = {SLICE(A), TELL("b1", B, 1, OK_LINE)}},
    {.what = "destroyed, they were told, in slice B",
     .rule = "undead",
     .steps = {SLICE(A), SLICE(B), MACHINE(4), VM(1, "b1", 2, 0), TELL("b1", B, 1, DESTROY_LINE)}},
    {.what = "two answers for one key",
     .rule = "two-answers",
     .steps = {SLICE(A), MACHINE(4), VM(1, "a1", 2, 0), VM(2, "a2", 2, 0),
               TELL("a1", A, 1, OK_LINE), TELL("a1", A, 2, OK_LINE)}},
    {.what = "never done, they were told, and it is in slice B",
     .rule = "ghost",
     .steps = {SLICE(A), BOUND("a1", 7), SLICE(B), MACHINE(4), VM(1, "a1", 2, 7),
               TELL("a1", B, 1, BAD_LINE("NOT_DONE"))}},
    {.what = "in doubt, and it is there",
     .rule = NULL,
     .steps = {SLICE(A), BOUND("a1", 7), SLICE(B), MACHINE(4), VM(1, "a1", 2, 7),
               TELL("a1", B, 1, BAD_LINE("NOT_DONE")), TELL("a1", B, 1, BAD_LINE("UNKNOWN"))}},
    {.what = "cancelled, they were told, and it is in slice B",
     .rule = "cancelled",
     .steps = {SLICE(A), BOUND("a1", 7), SLICE(B), MACHINE(4), VM(1, "a1", 2, 7),
               TELL("a1", B, 1, CANCEL_LINE)}},
    {.what = "nobody was told",
     .rule = "untold",
     .steps = {SLICE(A), MACHINE(4), VM(1, "a1", 2, 0), VM(2, "a2", 2, 0),
               TELL("a1", A, 1, OK_LINE)},
     .complete = true},
};

struct judge {
    struct audit_ledger ledger;
    struct audit_history history;
    char found[8][256];
    size_t found_count;
    uint64_t skipped; /* numbers that no event has */
};

static void on_finding(void *user, const char *what, const char *where, const char *text)
{
    struct judge *judge = user;

    if (judge->found_count < FLY_ARRAY_COUNT(judge->found)) {
        (void)snprintf(judge->found[judge->found_count++], sizeof judge->found[0], "%s: %s: %s",
                       what, where, text);
    }
}

static struct fly_key key_of(const char *text)
{
    const uint8_t random[FLY_KEY_RANDOM_SIZE] = {(uint8_t)text[1]};
    struct fly_key key;

    if (text[0] == 'a' || text[0] == 'b') {
        key_mint(&key, text[0] == 'a' ? A : B, MINTED_S, random);
    } else {
        FLY_CHECK(key_from_text(text, &key));
    }
    return key;
}

static void tell(struct judge *judge, const struct step *step)
{
    char line[1024];
    char key[FLY_KEY_TEXT_SIZE];
    char id[VMID_TEXT_SIZE];
    struct fly_key bytes = key_of(step->key);
    size_t used = 0;

    key_format(&bytes, key);
    vmid_format(vmid_make(step->tag, step->number), id);
    for (const char *c = step->text; *c != '\0'; c++) {
        const char *put = *c == '%' ? id : *c == '@' ? key : (const char[]){*c, '\0'};
        used += (size_t)snprintf(line + used, sizeof line - used, "%s", put);
    }
    json_t *root = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_true(audit_history_line(&judge->history, "told", root));
    json_decref(root);
}

static enum fly_status go(struct judge *judge, const struct step *step, struct fly_error *error)
{
    struct audit_ledger *l = &judge->ledger;
    const char *machine = step->machine != NULL ? step->machine : "m";
    struct hold_id hold = {.slice = l->slice, .term = 1, .boot = 1, .counter = step->hold};
    struct event event = {
        .slice = l->slice, .seq = l->seq + 1 + judge->skipped, .cores = step->cores};
    struct audit_note note = {.hold = hold};
    struct fly_key key = {{0}};
    const struct audit_launch launch = {&key, "s", &hold};

    hold.slice = step->hold != 0 ? B : 0;
    note.hold = hold;
    event.memory_bytes = step->cores;
    event.vm = vmid_make(l->slice == 0 ? A : l->slice, step->number == 0 ? 1 : step->number);
    (void)fly_copy_string(event.machine, sizeof event.machine, machine);
    (void)fly_copy_string(event.region, sizeof event.region, "SIN");
    (void)fly_copy_string(note.subject, sizeof note.subject, "s");
    if (step->key != NULL) {
        key = note.key = key_of(step->key);
    }
    switch (step->op) {
    case OP_SLICE:
        return audit_slice_begin(l, step->tag, "folder", error);
    case OP_MACHINE:
        event.type = EVENT_MACHINE_ADDED;
        return audit_event(l, &event, NULL, error);
    case OP_RESIZE:
        event.type = EVENT_MACHINE_RESIZED;
        return audit_event(l, &event, NULL, error);
    case OP_VM:
        event.type = EVENT_VM_STARTED;
        return audit_event(l, &event, &launch, error);
    case OP_DESTROY:
        event.type = EVENT_VM_DESTROYED;
        return audit_event(l, &event, NULL, error);
    case OP_SKIP:
        judge->skipped++;
        return FLY_OK;
    case OP_BOUND:
        note.word = AUDIT_BOUND;
        audit_note_put(l, &note);
        return FLY_OK;
    case OP_DONE:
        note.word = AUDIT_DONE;
        note.vm = vmid_make(step->tag, step->number);
        audit_note_put(l, &note);
        return FLY_OK;
    case OP_CANCEL:
        note.word = AUDIT_CANCELLED;
        audit_note_put(l, &note);
        return FLY_OK;
    case OP_TELL:
        tell(judge, step);
        return FLY_OK;
    case OP_END:
        return FLY_OK;
    }
    return FLY_OK;
}

static void test_stories(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(stories); i++) {
        const struct story *story = &stories[i];
        struct judge judge = {.ledger = {.root = ROOT}};
        struct fly_error error = {0};
        enum fly_status status = FLY_OK;

        judge.history = (struct audit_history){.ledger = &judge.ledger,
                                               .finding = on_finding,
                                               .user = &judge,
                                               .partial = story->partial};
        for (size_t j = 0; j < STEPS_MAX && status == FLY_OK; j++) {
            status = go(&judge, &story->steps[j], &error);
        }
        if (status != FLY_OK) {
            on_finding(&judge, error.text, "", "");
        } else {
            audit_ledger_end(&judge.ledger, on_finding, &judge);
            if (!story->partial) {
                audit_history_end(&judge.history, story->complete);
            }
        }
        const char *first = judge.found_count > 0 ? judge.found[0] : "";
        if (story->rule == NULL
                ? judge.found_count != 0
                : judge.found_count == 0 || strncmp(first, story->rule, strlen(story->rule)) != 0) {
            fail_msg("%s: %zu findings, '%s'", story->what, judge.found_count, first);
        }
        audit_history_fini(&judge.history);
        audit_ledger_fini(&judge.ledger);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
