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

static struct audit_machine *machine_find(const struct audit_ledger *l, const char *name)
{
    for (size_t i = 0; i < l->machine_count; i++) {
        if (strcmp(l->machines[i].name, name) == 0) {
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
        *m = (struct audit_machine){0};
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
    if (audit_vm_find(l, vm->id) != NULL) {
        return fly_error_set(error, FLY_INTERNAL, "restarted: VM %s was started twice", id);
    }
    if (audit_vm_find_key(l, vm->subject, &vm->key) != NULL) {
        return fly_error_set(error, FLY_INTERNAL, "second-vm: key %s has a second VM, %s", key, id);
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
                            const struct fly_key *key, const char *subject, struct fly_error *error)
{
    if (event->seq != l->seq + 1) {
        return fly_error_set(error, FLY_INTERNAL, "gap: event %" PRIu64 " follows event %" PRIu64,
                             event->seq, l->seq);
    }
    l->seq = event->seq;
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
        if (key == NULL || subject == NULL) {
            return fly_error_set(error, FLY_INTERNAL, "strange: a VM started without a launch");
        }
        vm.key = *key;
        (void)fly_copy_string(vm.subject, sizeof vm.subject, subject);
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

void audit_ledger_fini(struct audit_ledger *l)
{
    free(l->machines);
    free(l->vms);
    *l = (struct audit_ledger){0};
}
