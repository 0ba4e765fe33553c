/*
 * audit_ledger - what a slice's log promised, kept the naive way: lists, looked through from the
 * start. Events and keys go in; the first rule that they break is an error with words, its name in
 * front: capacity, second-vm, restarted, no-machine, not-running, gap, strange.
 *
 * Knows nothing of slice/state.h: an auditor that shared the bookkeeping would share its mistakes.
 */
#ifndef FLY_TESTS_E2E_AUDIT_LEDGER_H
#define FLY_TESTS_E2E_AUDIT_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/event.h"
#include "proto/wire/key.h"

struct audit_machine {
    char name[EVENT_NAME_SIZE];
    uint64_t cores;
    uint64_t cores_used;
    uint64_t memory_bytes;
    uint64_t memory_used_bytes;
};

struct audit_vm {
    uint64_t id;
    struct fly_key key;
    char subject[64];
    char machine[EVENT_NAME_SIZE];
    char region[EVENT_REGION_SIZE];
    uint32_t cores;
    uint64_t memory_bytes;
    bool destroyed;
    bool acknowledged; /* somebody was told of it */
    bool destroy_told;
};

/* Start with `= {0}`. The heap is the ledger's own. */
struct audit_ledger {
    struct audit_machine *machines;
    size_t machine_count;
    struct audit_vm *vms; /* destroyed ones too */
    size_t vm_count;
    uint64_t seq; /* last event; 0: none yet */
};

/* A machine with this capacity, instead of what it had. */
enum fly_status audit_machine_set(struct audit_ledger *l, const char *name, uint64_t cores,
                                  uint64_t memory_bytes, struct fly_error *error);
/* A VM of a snapshot or of an event: its id and its (subject, key) must be new, its machine must
 * have the room. */
enum fly_status audit_vm_start(struct audit_ledger *l, const struct audit_vm *vm,
                               struct fly_error *error);
/* The next event: gapless. `key` and `subject` are the launch's for a VM that starts, else NULL. */
enum fly_status audit_event(struct audit_ledger *l, const struct event *event,
                            const struct fly_key *key, const char *subject,
                            struct fly_error *error);
/* NULL when there is none. */
struct audit_vm *audit_vm_find(const struct audit_ledger *l, uint64_t id);
/* subject NULL: anybody's. */
struct audit_vm *audit_vm_find_key(const struct audit_ledger *l, const char *subject,
                                   const struct fly_key *key);
void audit_ledger_fini(struct audit_ledger *l);

#endif
