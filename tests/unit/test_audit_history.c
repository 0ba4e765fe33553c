/* audit_history: each lie that a history can tell against a log, told once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/wire/vmid.h"
#include "tests/e2e/audit_history.h"

/* the auditor is a program of its own; its parts are tested here */
#include "tests/e2e/audit_history.c"
#include "tests/e2e/audit_ledger.c"

/* K1: runs as V1. K2: was V2, destroyed. K3, K4: nothing came of them. V9: nobody. */
#define K1 "000000000000000000000000000000a1"
#define K2 "000000000000000000000000000000a2"
#define K3 "000000000000000000000000000000a3"
#define SPEC "\"region\":\"SIN\",\"cores\":2,\"memory_bytes\":1000"
#define OK_(key, vm, machine)                                                                      \
    "{\"call\":\"launch\",\"subject\":\"me\",\"key\":\"" key "\"," SPEC                            \
    ",\"outcome\":\"OK\",\"id\":\"" vm "\",\"machine\":\"" machine "\"}"
#define NOT_OK(key, outcome)                                                                       \
    "{\"call\":\"launch\",\"subject\":\"me\",\"key\":\"" key "\"," SPEC ",\"outcome\":\"" outcome  \
    "\"}"
#define FLYRPC(key, vm)                                                                            \
    "{\"id\":\"" vm "\",\"key\":\"" key "\",\"machine\":\"m\"," SPEC ",\"tries\":1}"

static const struct {
    const char *what;
    const char *lines[4]; /* V1, V2, V9 stand for the ids */
    bool complete;
    const char *finding; /* NULL: none */
} rows[] = {
    {"told as it is", {OK_(K1, "V1", "m"), OK_(K2, "V2", "m")}, true, NULL},
    {"told by flyrpc", {FLYRPC(K1, "V1"), "{\"destroyed\":\"V2\"}"}, false, NULL},
    {"unknown, then told", {NOT_OK(K1, "UNKNOWN"), OK_(K1, "V1", "m")}, false, NULL},
    {"unknown, and nothing", {NOT_OK(K3, "UNKNOWN"), NOT_OK(K1, "UNKNOWN")}, false, NULL},
    {"not done, then told", {NOT_OK(K1, "NOT_DONE"), OK_(K1, "V1", "m")}, false, NULL},
    {"not done, but unknown before", {NOT_OK(K1, "UNKNOWN"), NOT_OK(K1, "NOT_DONE")}, false, NULL},
    {"not done, and nothing", {NOT_OK(K3, "NOT_DONE")}, false, NULL},
    {"told of no VM", {OK_(K3, "V9", "m")}, false, "lost"},
    {"flyrpc was told of no VM", {FLYRPC(K3, "V9")}, false, "lost"},
    {"another machine", {OK_(K1, "V1", "n")}, false, "differs"},
    {"another key", {OK_(K2, "V1", "m")}, false, "differs"},
    {"two VMs told", {OK_(K1, "V1", "m"), OK_(K1, "V2", "m")}, false, "two-answers"},
    {"destroyed, and gone",
     {"{\"call\":\"destroy\",\"id\":\"V2\",\"outcome\":\"OK\"}"},
     false,
     NULL},
    {"destroyed, and runs",
     {"{\"call\":\"destroy\",\"id\":\"V1\",\"outcome\":\"OK\"}"},
     false,
     "undead"},
    {"destroyed by flyrpc, and runs", {"{\"destroyed\":\"V1\"}"}, false, "undead"},
    {"destroy in doubt",
     {"{\"call\":\"destroy\",\"id\":\"V1\",\"outcome\":\"UNKNOWN\"}"},
     false,
     NULL},
    {"destroyed, never was",
     {"{\"call\":\"destroy\",\"id\":\"V9\",\"outcome\":\"OK\"}"},
     false,
     "lost"},
    {"not done, and there is one", {NOT_OK(K1, "NOT_DONE")}, false, "ghost"},
    {"cancelled, and nothing",
     {"{\"call\":\"cancel\",\"subject\":\"me\",\"key\":\"" K3
      "\",\"outcome\":\"OK\",\"launched\":false}"},
     false,
     NULL},
    {"cancelled, and there is one",
     {"{\"call\":\"cancel\",\"subject\":\"me\",\"key\":\"" K1
      "\",\"outcome\":\"OK\",\"launched\":false}"},
     false,
     "cancelled"},
    {"cancelled too late",
     {"{\"call\":\"cancel\",\"subject\":\"me\",\"key\":\"" K1
      "\",\"outcome\":\"OK\",\"launched\":true}"},
     false,
     NULL},
    {"the key of somebody else",
     {"{\"call\":\"cancel\",\"subject\":\"you\",\"key\":\"" K1
      "\",\"outcome\":\"OK\",\"launched\":false}"},
     false,
     NULL},
    {"one was told to nobody", {OK_(K1, "V1", "m")}, true, "untold"},
};

struct seen {
    const char *first;
    unsigned count;
};

static void on_finding(void *user, const char *what, const char *where, const char *text)
{
    struct seen *seen = user;

    (void)where;
    (void)text;
    seen->first = seen->first != NULL ? seen->first : what;
    seen->count++;
}

/* The line with V1, V2, V9 as ids. */
static void write_line(const char *from, char *out, size_t max)
{
    char id[VMID_TEXT_SIZE];
    size_t size = 0;

    for (const char *at = from; *at != '\0'; at++) {
        FLY_CHECK(size + VMID_TEXT_SIZE < max);
        if (at[0] == 'V' && at[1] >= '1' && at[1] <= '9') {
            vmid_format(vmid_make(7, (uint64_t)(at[1] - '0')), id);
            memcpy(out + size, id, VMID_DIGITS);
            size += VMID_DIGITS;
            at++;
        } else {
            out[size++] = *at;
        }
    }
    out[size] = '\0';
}

static void put_vm(struct audit_ledger *l, uint64_t number, const char *key, bool destroyed)
{
    struct audit_vm vm = {.id = vmid_make(7, number),
                          .subject = "me",
                          .machine = "m",
                          .region = "SIN",
                          .cores = 2,
                          .memory_bytes = 1000,
                          .destroyed = destroyed};
    struct fly_error error;

    assert_true(key_parse(key, &vm.key));
    assert_int_equal(audit_vm_start(l, &vm, &error), FLY_OK);
}

static void test_lies(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct audit_ledger ledger = {.slice = 7};
        struct seen seen = {0};
        struct audit_history h = {.ledger = &ledger, .finding = on_finding, .user = &seen};
        struct fly_error error;
        assert_int_equal(audit_machine_set(&ledger, "m", 8, 10000, &error), FLY_OK);
        put_vm(&ledger, 1, K1, false);
        put_vm(&ledger, 2, K2, true);
        for (size_t k = 0; k < FLY_ARRAY_COUNT(rows[i].lines) && rows[i].lines[k] != NULL; k++) {
            char text[1024];
            write_line(rows[i].lines[k], text, sizeof text);
            json_t *line = json_loads(text, 0, NULL);
            assert_non_null(line);
            assert_true(audit_history_line(&h, "here:1", line));
            json_decref(line);
        }
        audit_history_end(&h, rows[i].complete);
        if (seen.first != rows[i].finding && (seen.first == NULL || rows[i].finding == NULL ||
                                              strcmp(seen.first, rows[i].finding) != 0)) {
            fail_msg("%s: found %s", rows[i].what, seen.first != NULL ? seen.first : "nothing");
        }
        audit_history_fini(&h);
        audit_ledger_fini(&ledger);
    }
}

static void test_not_lines(void **state)
{
    static const char *const lines[] = {
        "[]",
        "{}",
        "{\"call\":\"launch\"}",
        "{\"call\":\"launch\",\"key\":\"" K1 "\",\"outcome\":\"MAYBE\"}",
        "{\"call\":\"launch\",\"key\":\"f1000000000000000000000000000000\",\"outcome\":\"OK\"}",
        "{\"call\":\"destroy\",\"outcome\":\"UNKNOWN\"}",
        "{\"call\":\"dance\",\"key\":\"" K1 "\",\"outcome\":\"OK\"}",
    };
    struct audit_ledger ledger = {.slice = 7};
    struct seen seen = {0};
    struct audit_history h = {.ledger = &ledger, .finding = on_finding, .user = &seen};

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(lines); i++) {
        json_t *line = json_loads(lines[i], 0, NULL);
        assert_non_null(line);
        assert_false(audit_history_line(&h, "here:1", line));
        json_decref(line);
    }
    audit_history_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lies),
                                       cmocka_unit_test(test_not_lines)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
