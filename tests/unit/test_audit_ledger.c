/* audit_ledger: each rule that the auditor holds a log to, broken once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "tests/e2e/audit_ledger.h"

/* the auditor is a program of its own; its ledger is tested here */
#include "tests/e2e/audit_ledger.c"

/* What one event says; key 0: the event is no launch's. */
struct row {
    uint64_t seq;
    enum event_type type;
    uint64_t vm;
    uint8_t key;
    const char *machine;
    uint32_t cores;
    uint64_t memory_bytes;
};

enum { SLICE = 7 };

static enum fly_status tell(struct audit_ledger *l, const struct row *row, struct fly_error *error)
{
    struct event event = {.seq = row->seq,
                          .type = (uint8_t)row->type,
                          .vm = row->vm != 0 ? vmid_make(SLICE, row->vm) : 0,
                          .cores = row->cores,
                          .memory_bytes = row->memory_bytes};
    struct fly_key key = {{0}};
    const struct hold_id hold = {0};
    const struct audit_launch launch = {&key, "me", &hold};

    key.bytes[15] = row->key;
    (void)fly_copy_string(event.machine, sizeof event.machine, row->machine);
    return audit_event(l, &event, row->key != 0 ? &launch : NULL, error);
}

static void test_rules(void **state)
{
    static const struct row before[] = {
        {1, EVENT_MACHINE_ADDED, 0, 0, "m", 8, 100},
        {2, EVENT_VM_STARTED, 7, 1, "m", 4, 50},
        {3, EVENT_VM_STARTED, 8, 2, "m", 3, 10},
        {4, EVENT_VM_DESTROYED, 8, 0, "m", 3, 10},
    };
    static const struct {
        const char *what; /* NULL: it is right */
        struct row row;
    } rows[] = {
        {NULL, {5, EVENT_VM_STARTED, 9, 3, "m", 4, 50}},
        {NULL, {5, EVENT_VM_DESTROYED, 7, 0, "m", 4, 50}},
        {NULL, {5, EVENT_MACHINE_RESIZED, 0, 0, "m", 4, 50}},
        {"event 6 follows event 4", {6, EVENT_VM_STARTED, 9, 3, "m", 1, 1}},
        {"event 4 follows event 4", {4, EVENT_VM_STARTED, 9, 3, "m", 1, 1}},
        {"over its capacity", {5, EVENT_VM_STARTED, 9, 3, "m", 5, 1}},
        {"over its capacity", {5, EVENT_VM_STARTED, 9, 3, "m", 1, 51}},
        {"over its capacity", {5, EVENT_MACHINE_RESIZED, 0, 0, "m", 3, 100}},
        {"over its capacity", {5, EVENT_MACHINE_REMOVED, 0, 0, "m", 0, 0}},
        {"started twice", {5, EVENT_VM_STARTED, 7, 3, "m", 1, 1}},
        {"started twice", {5, EVENT_VM_STARTED, 8, 3, "m", 1, 1}},
        {"second-vm", {5, EVENT_VM_STARTED, 9, 1, "m", 1, 1}},
        {"second-vm", {5, EVENT_VM_STARTED, 9, 2, "m", 1, 1}},
        {"is no machine", {5, EVENT_VM_STARTED, 9, 3, "n", 1, 1}},
        {"without a launch", {5, EVENT_VM_STARTED, 9, 0, "m", 1, 1}},
        {"did not run", {5, EVENT_VM_DESTROYED, 8, 0, "m", 3, 10}},
        {"did not run", {5, EVENT_VM_DESTROYED, 9, 0, "m", 3, 10}},
        {"has type 77", {5, (enum event_type)77, 0, 0, "m", 0, 0}},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct audit_ledger ledger = {.slice = SLICE};
        struct fly_error error = {0};
        for (size_t k = 0; k < FLY_ARRAY_COUNT(before); k++) {
            assert_int_equal(tell(&ledger, &before[k], &error), FLY_OK);
        }
        enum fly_status status = tell(&ledger, &rows[i].row, &error);
        if (rows[i].what == NULL) {
            assert_int_equal(status, FLY_OK);
        } else {
            assert_int_equal(status, FLY_INTERNAL);
            assert_non_null(strstr(error.text, rows[i].what));
        }
        audit_ledger_fini(&ledger);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
