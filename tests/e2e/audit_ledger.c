#include "tests/e2e/audit_ledger.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/wire/vmid.h"

/* Room for one more; doubles at powers of two. */
static void *grown(void *items, size_t count, size_t size)
{
    if ((count & (count - 1)) == 0) {
        items = realloc(items, (count == 0 ? 1 : 2 * count) * size);
        FLY_CHECK(items != NULL);
    }
    return items;
}

enum fly_status audit_slice_begin(struct audit_ledger *l, uint32_t tag, const char *where,
                                  struct fly_error *error)
{
    if (audit_slice_read(l, tag)) {
        return fly_error_set(error, FLY_INTERNAL, "twin: slice %06x was read before", tag);
    }
    l->slices = grown(l->slices, l->slice_count, sizeof l->slices[0]);
    l->slices[l->slice_count] = (struct audit_slice){.tag = tag};
    (void)fly_copy_string(l->slices[l->slice_count].where, sizeof l->slices[0].where, where);
    l->slice_count++;
    l->slice = tag;
    l->seq = 0;
    l->jumps = false;
    return FLY_OK;
}

bool audit_slice_read(const struct audit_ledger *l, uint32_t tag)
{
    for (size_t i = 0; i < l->slice_count; i++) {
        if (l->slices[i].tag == tag) {
            return true;
        }
    }
    return false;
}

static struct audit_machine *machine_find(const struct audit_ledger *l, const char *name)
{
    for (size_t i = 0; i < l->machine_count; i++) {
        if (l->machines[i].slice == l->slice && strcmp(l->machines[i].name, name) == 0) {
            return &l->machines[i];
        }
    }
    return NULL;
}

struct audit_vm *audit_vm_find(const struct audit_ledger *l, uint64_t id)
{
    for (size_t i = 0; i < l->vm_count; i++) {
        if (l->vms[i].id == id) {
            return &l->vms[i];
        }
    }
    return NULL;
}

struct audit_vm *audit_vm_find_key(const struct audit_ledger *l, const char *subject,
                                   const struct fly_key *key)
{
    for (size_t i = 0; i < l->vm_count; i++) {
        if (key_equal(&l->vms[i].key, key) &&
            (subject == NULL || strcmp(l->vms[i].subject, subject) == 0)) {
            return &l->vms[i];
        }
    }
    return NULL;
}

static enum fly_status within(const struct audit_machine *m, struct fly_error *error)
{
    if (m->cores_used > m->cores || m->memory_used_bytes > m->memory_bytes) {
        return fly_error_set(error, FLY_INTERNAL,
                             "capacity: machine %s is over its capacity: %" PRIu64 " of %" PRIu64
                             " cores, %" PRIu64 " of %" PRIu64 " bytes",
                             m->name, m->cores_used, m->cores, m->memory_used_bytes,
                             m->memory_bytes);
    }
    return FLY_OK;
}

enum fly_status audit_machine_set(struct audit_ledger *l, const char *name, uint64_t cores,
                                  uint64_t memory_bytes, struct fly_error *error)
{
    struct audit_machine *m = machine_find(l, name);

    if (m == NULL) {
        l->machines = grown(l->machines, l->machine_count, sizeof l->machines[0]);
        m = &l->machines[l->machine_count++];
        *m = (struct audit_machine){.slice = l->slice};
        (void)fly_copy_string(m->name, sizeof m->name, name);
    }
    m->cores = cores;
    m->memory_bytes = memory_bytes;
    return within(m, error);
}

enum fly_status audit_vm_start(struct audit_ledger *l, const struct audit_vm *vm,
                               struct fly_error *error)
{
    char id[VMID_TEXT_SIZE];
    char key[FLY_KEY_TEXT_SIZE];
    struct audit_machine *m = machine_find(l, vm->machine);

    vmid_format(vm->id, id);
    key_format(&vm->key, key);
    if (vmid_tag(vm->id) != l->slice) {
        return fly_error_set(error, FLY_INTERNAL, "strange: VM %s has another slice's id", id);
    }
    if (audit_vm_find(l, vm->id) != NULL) {
        return fly_error_set(error, FLY_INTERNAL, "restarted: VM %s was started twice", id);
    }
    const struct audit_vm *first = audit_vm_find_key(l, vm->subject, &vm->key);
    if (first != NULL) {
        char other[VMID_TEXT_SIZE];
        vmid_format(first->id, other);
        return fly_error_set(error, FLY_INTERNAL,
                             "second-vm: key %s has VM %s in slice %06x and VM %s in slice %06x",
                             key, other, vmid_tag(first->id), id, l->slice);
    }
    if (m == NULL && !vm->destroyed) {
        return fly_error_set(error, FLY_INTERNAL, "no-machine: VM %s is on %s, which is no machine",
                             id, vm->machine);
    }
    l->vms = grown(l->vms, l->vm_count, sizeof l->vms[0]);
    l->vms[l->vm_count++] = *vm;
    if (vm->destroyed) {
        return FLY_OK;
    }
    m->cores_used += vm->cores;
    m->memory_used_bytes += vm->memory_bytes;
    return within(m, error);
}

static enum fly_status vm_destroyed(struct audit_ledger *l, uint64_t id, struct fly_error *error)
{
    char text[VMID_TEXT_SIZE];
    struct audit_vm *vm = audit_vm_find(l, id);
    struct audit_machine *m = vm == NULL ? NULL : machine_find(l, vm->machine);

    vmid_format(id, text);
    if (vm == NULL || vm->destroyed || m == NULL) {
        return fly_error_set(error, FLY_INTERNAL, "not-running: VM %s is destroyed but did not run",
                             text);
    }
    vm->destroyed = true;
    m->cores_used -= vm->cores;
    m->memory_used_bytes -= vm->memory_bytes;
    return FLY_OK;
}

enum fly_status audit_event(struct audit_ledger *l, const struct event *event,
                            const struct audit_launch *launch, struct fly_error *error)
{
    if (event->seq != l->seq + 1 && !(l->jumps && event->seq > l->seq)) {
        return fly_error_set(error, FLY_INTERNAL, "gap: event %" PRIu64 " follows event %" PRIu64,
                             event->seq, l->seq);
    }
    l->seq = event->seq;
    l->jumps = false;
    switch ((enum event_type)event->type) {
    case EVENT_MACHINE_ADDED:
    case EVENT_MACHINE_RESIZED:
        return audit_machine_set(l, event->machine, event->cores, event->memory_bytes, error);
    case EVENT_MACHINE_REMOVED:
        /* what still runs there is now over its capacity, which the call below finds */
        return audit_machine_set(l, event->machine, 0, 0, error);
    case EVENT_VM_STARTED: {
        struct audit_vm vm = {
            .id = event->vm, .cores = event->cores, .memory_bytes = event->memory_bytes};
        if (launch == NULL) {
            return fly_error_set(error, FLY_INTERNAL, "strange: a VM started without a launch");
        }
        vm.key = *launch->key;
        vm.hold = *launch->hold;
        (void)fly_copy_string(vm.subject, sizeof vm.subject, launch->subject);
        (void)fly_copy_string(vm.machine, sizeof vm.machine, event->machine);
        (void)fly_copy_string(vm.region, sizeof vm.region, event->region);
        return audit_vm_start(l, &vm, error);
    }
    case EVENT_VM_DESTROYED:
        return vm_destroyed(l, event->vm, error);
    case EVENT_MACHINE_CORDONED: /* changes no capacity: what was promised before may still come */
    case EVENT_MACHINE_UNCORDONED:
        return FLY_OK;
    }
    return fly_error_set(error, FLY_INTERNAL, "strange: event %" PRIu64 " has type %u", event->seq,
                         (unsigned)event->type);
}

void audit_note_put(struct audit_ledger *l, const struct audit_note *note)
{
    l->notes = grown(l->notes, l->note_count, sizeof l->notes[0]);
    l->notes[l->note_count] = *note;
    l->notes[l->note_count].slice = l->slice;
    l->note_count++;
}

static bool same_key(const struct audit_note *note, const struct audit_vm *vm)
{
    return key_equal(&note->key, &vm->key) && strcmp(note->subject, vm->subject) == 0;
}

static bool was_bound(const struct audit_ledger *l, uint32_t home, const struct audit_vm *vm)
{
    for (size_t i = 0; i < l->note_count; i++) {
        const struct audit_note *note = &l->notes[i];
        if (note->slice == home && same_key(note, vm) &&
            ((note->word == AUDIT_BOUND && hold_equal(&note->hold, &vm->hold)) ||
             (note->word == AUDIT_DONE && note->vm == vm->id))) {
            return true;
        }
    }
    return false;
}

static void end_vm(const struct audit_ledger *l, const struct audit_vm *vm, audit_finding *finding,
                   void *user)
{
    bool known = key_valid(&vm->key) && (key_minted(&vm->key) || l->root != 0);
    uint32_t home = known ? key_home(&vm->key, l->root) : 0;
    char id[VMID_TEXT_SIZE];

    vmid_format(vm->id, id);
    if (home != 0 && home != vmid_tag(vm->id) && audit_slice_read(l, home) &&
        !was_bound(l, home, vm)) {
        finding(user, "unbound", id, "its key's home never bound the key to what became this VM");
    }
}

static void end_note(const struct audit_ledger *l, const struct audit_note *note,
                     audit_finding *finding, void *user)
{
    const struct audit_vm *vm = audit_vm_find_key(l, note->subject, &note->key);
    char key[FLY_KEY_TEXT_SIZE];

    key_format(&note->key, key);
    if (note->word == AUDIT_CANCELLED && vm != NULL) {
        finding(user, "settled", key, "home cancelled this key, and it has a VM");
    } else if (note->word == AUDIT_DONE && audit_slice_read(l, vmid_tag(note->vm)) &&
               (vm == NULL || vm->id != note->vm)) {
        finding(user, "done-nothing", key, "home tells of a VM elsewhere that is not there");
    }
}

/* What one machine holds in every slice that has it, against the largest that it is said to be. */
static void end_machine(const struct audit_ledger *l, size_t at, audit_finding *finding, void *user)
{
    struct audit_machine sum = l->machines[at];

    for (size_t i = 0; i < l->machine_count; i++) {
        const struct audit_machine *m = &l->machines[i];
        if (i == at || strcmp(m->name, sum.name) != 0) {
            continue;
        }
        if (i < at) {
            return; /* counted there */
        }
        sum.cores = m->cores > sum.cores ? m->cores : sum.cores;
        sum.memory_bytes = m->memory_bytes > sum.memory_bytes ? m->memory_bytes : sum.memory_bytes;
        sum.cores_used += m->cores_used;
        sum.memory_used_bytes += m->memory_used_bytes;
    }
    if (sum.cores_used > sum.cores || sum.memory_used_bytes > sum.memory_bytes) {
        finding(user, "shared", sum.name,
                "the slices that have this machine hold more on it together than it has");
    }
}

void audit_ledger_end(const struct audit_ledger *l, audit_finding *finding, void *user)
{
    for (size_t i = 0; i < l->vm_count; i++) {
        end_vm(l, &l->vms[i], finding, user);
    }
    for (size_t i = 0; i < l->note_count; i++) {
        end_note(l, &l->notes[i], finding, user);
    }
    for (size_t i = 0; i < l->machine_count; i++) {
        end_machine(l, i, finding, user);
    }
}

void audit_ledger_fini(struct audit_ledger *l)
{
    free(l->machines);
    free(l->vms);
    free(l->notes);
    free(l->slices);
    *l = (struct audit_ledger){0};
}
