/*
 * audit_ledger - what the logs of all slices promised, kept the naive way: lists, looked through
 * from the start. Logs go in one after the other; the first rule that a log breaks is an error with
 * words, its name in front:
 *
 *   capacity, second-vm (one subject and key, two VMs, in whatever slices), restarted, no-machine,
 *   not-running, gap, strange, twin (a slice that was read before)
 *
 * What can be said only when all logs were read, audit_ledger_end says:
 *
 *   unbound        a VM outside of its key's home, and home never bound the key to that hold
 *   done-nothing   home says that the key became a VM elsewhere, and there is no such VM
 *   settled        home cancelled the key, and there is a VM
 *   shared         a machine that is in two slices holds more, in both together, than it has
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
#include "proto/wire/placement.h"

struct audit_machine {
    uint32_t slice;
    char name[EVENT_NAME_SIZE];
    uint64_t cores;
    uint64_t cores_used;
    uint64_t memory_bytes;
    uint64_t memory_used_bytes;
};

struct audit_vm {
    uint64_t id; /* its slice is in it */
    struct fly_key key;
    char subject[FLY_SUBJECT_SIZE];
    struct hold_id hold; /* that it fulfilled */
    char machine[EVENT_NAME_SIZE];
    char region[EVENT_REGION_SIZE];
    uint32_t cores;
    uint64_t memory_bytes;
    bool destroyed;
    bool acknowledged; /* somebody was told of it */
    bool destroy_told;
};

/* What a home wrote about a key that it does not host. */
enum audit_word { AUDIT_BOUND = 1, AUDIT_DONE, AUDIT_CANCELLED };

struct audit_note {
    enum audit_word word;
    uint32_t slice; /* who wrote it */
    struct fly_key key;
    char subject[FLY_SUBJECT_SIZE];
    struct hold_id hold; /* BOUND: to this one */
    uint64_t vm;         /* DONE */
};

/* One slice that was read. */
struct audit_slice {
    uint32_t tag;
    char where[160]; /* its folder */
};

typedef void audit_finding(void *user, const char *what, const char *where, const char *text);

/* Start with `= {0}`. The heap is the ledger's own. */
struct audit_ledger {
    uint32_t root; /* slice that is home of hashed keys; 0: not known */
    struct audit_slice *slices;
    size_t slice_count;
    uint32_t slice; /* whose log goes in now */
    struct audit_machine *machines;
    size_t machine_count;
    struct audit_vm *vms; /* destroyed ones too */
    size_t vm_count;
    struct audit_note *notes;
    size_t note_count;
    uint64_t seq; /* last event of the slice; 0: none yet */
    bool jumps;   /* a loss was accepted: the next event may have any number beyond */
};

/* A log begins: that of slice `tag`. */
enum fly_status audit_slice_begin(struct audit_ledger *l, uint32_t tag, const char *where,
                                  struct fly_error *error);
bool audit_slice_read(const struct audit_ledger *l, uint32_t tag);

/* A machine with this capacity, instead of what it had. */
enum fly_status audit_machine_set(struct audit_ledger *l, const char *name, uint64_t cores,
                                  uint64_t memory_bytes, struct fly_error *error);
/* A VM of a snapshot or of an event: its id and its (subject, key) must be new, its machine must
 * have the room. */
enum fly_status audit_vm_start(struct audit_ledger *l, const struct audit_vm *vm,
                               struct fly_error *error);
/* Who launched what: of the command behind a VM's start. */
struct audit_launch {
    const struct fly_key *key;
    const char *subject;
    const struct hold_id *hold;
};

/* The next event: gapless. `launch` is there for a VM that starts, else NULL. */
enum fly_status audit_event(struct audit_ledger *l, const struct event *event,
                            const struct audit_launch *launch, struct fly_error *error);
/* The slice at hand, as a home, wrote this. */
void audit_note_put(struct audit_ledger *l, const struct audit_note *note);
/* All logs are read: the rules between slices. Slices that were not read are not judged. */
void audit_ledger_end(const struct audit_ledger *l, audit_finding *finding, void *user);
/* NULL when there is none. */
struct audit_vm *audit_vm_find(const struct audit_ledger *l, uint64_t id);
/* subject NULL: anybody's. */
struct audit_vm *audit_vm_find_key(const struct audit_ledger *l, const char *subject,
                                   const struct fly_key *key);
void audit_ledger_fini(struct audit_ledger *l);

#endif
