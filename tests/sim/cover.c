#include "tests/sim/cover.h"

#include <stdbool.h>

#include "proto/base/check.h"

enum { KINDS = OWNER_LOSS + 1, CODES = OWNER_UNKNOWN + 1 };
enum { TYPES = COMMAND_LAST + 1, RESULTS = SLICE_STALE + 1 };

static uint64_t hits[COVER_COUNT];
static uint64_t answers[KINDS][CODES];
static uint64_t commands[TYPES][RESULTS];

#define COVER_NAME(name, what) what,
static const char *const names[] = {COVER_LIST(COVER_NAME) COVER_RARE_LIST(COVER_NAME)};

static const char *const kind_names[KINDS] = {
    "",     "OPEN",   "COMMIT",  "HOLD",    "BIND",    "CLOSE",
    "DONE", "CANCEL", "DESTROY", "RELEASE", "MACHINE", "LOSS",
};
static const char *const code_names[CODES] = {
    "",          "VM",      "HELD", "ELSEWHERE",  "BOUND",       "VM_ELSEWHERE", "DEAD",
    "CANCELLED", "DONE_OK", "BUSY", "KEY_REUSED", "KEY_EXPIRED", "KEY_INVALID",  "NOT_FOUND",
    "REFUSED",   "UNKNOWN",
};
static const char *const type_names[TYPES] = {
    "",
    "FOUND",
    "LEAD",
    "MACHINE_ADD",
    "MACHINE_RESIZE",
    "MACHINE_REMOVE",
    "LAUNCH",
    "BIND",
    "DONE",
    "CANCEL",
    "DESTROY",
    "RELEASE",
    "MACHINE_CORDON",
    "MACHINE_UNCORDON",
    "LOSS",
};
static const char *const result_names[RESULTS] = {
    "OK",         "REPLAYED",    "BOUND",      "DONE_ELSEWHERE", "CANCELLED",
    "KEY_REUSED", "KEY_EXPIRED", "KEY_FUTURE", "NO_ROOM",        "TABLE_FULL",
    "NOT_FOUND",  "EXISTS",      "IN_USE",     "STALE",
};

/* Answers and results that the seeds of CI must have met. */
static const struct {
    enum owner_call_kind kind;
    enum owner_code code;
} must_answer[] = {
    {OWNER_OPEN, OWNER_VM},           {OWNER_OPEN, OWNER_HELD},
    {OWNER_OPEN, OWNER_ELSEWHERE},    {OWNER_OPEN, OWNER_BOUND},
    {OWNER_OPEN, OWNER_VM_ELSEWHERE}, {OWNER_OPEN, OWNER_CANCELLED},
    {OWNER_OPEN, OWNER_BUSY},         {OWNER_OPEN, OWNER_KEY_REUSED},
    {OWNER_OPEN, OWNER_KEY_EXPIRED},  {OWNER_OPEN, OWNER_KEY_INVALID},
    {OWNER_OPEN, OWNER_REFUSED},      {OWNER_OPEN, OWNER_UNKNOWN},
    {OWNER_COMMIT, OWNER_VM},         {OWNER_COMMIT, OWNER_DEAD},
    {OWNER_COMMIT, OWNER_UNKNOWN},    {OWNER_HOLD, OWNER_HELD},
    {OWNER_HOLD, OWNER_ELSEWHERE},    {OWNER_BIND, OWNER_BOUND},
    {OWNER_BIND, OWNER_UNKNOWN},      {OWNER_CLOSE, OWNER_VM},
    {OWNER_CLOSE, OWNER_DEAD},        {OWNER_DONE, OWNER_DONE_OK},
    {OWNER_CANCEL, OWNER_CANCELLED},  {OWNER_CANCEL, OWNER_VM},
    {OWNER_CANCEL, OWNER_BOUND},      {OWNER_DESTROY, OWNER_VM},
    {OWNER_DESTROY, OWNER_NOT_FOUND}, {OWNER_RELEASE, OWNER_DONE_OK},
    {OWNER_LOSS, OWNER_DONE_OK},      {OWNER_MACHINE, OWNER_DONE_OK},
    {OWNER_MACHINE, OWNER_REFUSED},
};
static const struct {
    enum command_type type;
    enum slice_code code;
} must_result[] = {
    {COMMAND_LAUNCH, SLICE_OK},         {COMMAND_LAUNCH, SLICE_STALE},
    {COMMAND_BIND, SLICE_OK},           {COMMAND_DONE, SLICE_OK},
    {COMMAND_CANCEL, SLICE_OK},         {COMMAND_DESTROY, SLICE_OK},
    {COMMAND_RELEASE, SLICE_OK},        {COMMAND_MACHINE_RESIZE, SLICE_OK},
    {COMMAND_MACHINE_REMOVE, SLICE_OK}, {COMMAND_LOSS, SLICE_OK},
    {COMMAND_MACHINE_CORDON, SLICE_OK}, {COMMAND_MACHINE_UNCORDON, SLICE_OK},
};

void cover_hit(enum cover what)
{
    FLY_CHECK(what < COVER_COUNT);
    hits[what]++;
}

void cover_answer(enum owner_call_kind kind, enum owner_code code)
{
    FLY_CHECK((int)kind < KINDS && (int)code < CODES);
    answers[kind][code]++;
}

void cover_command(enum command_type type, enum slice_code code)
{
    FLY_CHECK((int)type < TYPES && (int)code < RESULTS);
    commands[type][code]++;
}

static unsigned row(FILE *out, const char *a, const char *b, uint64_t count, bool must)
{
    if (count > 0 || must) {
        fprintf(out, "%10llu  %s%s%s%s\n", (unsigned long long)count, a, b[0] == '\0' ? "" : " ", b,
                count == 0 ? "   <-- NEVER HIT" : "");
    }
    return count == 0 && must;
}

unsigned cover_print(FILE *out)
{
    unsigned missing = 0;

    for (unsigned i = 0; i < COVER_COUNT; i++) {
        missing += row(out, names[i], "", hits[i], i < COVER_MUST);
    }
    if (hits[COVER_STRUCK_BETWEEN] * 10 < hits[COVER_STRUCK]) {
        fprintf(out, "fewer than a tenth of the faults hit a launch between Open and its end\n");
        missing++;
    }
    fprintf(out, "answers:\n");
    for (unsigned k = 1; k < KINDS; k++) {
        for (unsigned c = 1; c < CODES; c++) {
            bool must = false;
            for (size_t i = 0; i < FLY_ARRAY_COUNT(must_answer); i++) {
                must |= must_answer[i].kind == k && must_answer[i].code == c;
            }
            missing += row(out, kind_names[k], code_names[c], answers[k][c], must);
        }
    }
    fprintf(out, "log:\n");
    for (unsigned t = 1; t < TYPES; t++) {
        for (unsigned c = 0; c < RESULTS; c++) {
            bool must = false;
            for (size_t i = 0; i < FLY_ARRAY_COUNT(must_result); i++) {
                must |= must_result[i].type == t && must_result[i].code == c;
            }
            missing += row(out, type_names[t], result_names[c], commands[t][c], must);
        }
    }
    return missing;
}
