/*
 * audit - judges a stopped node by its log and by what its clients were told, never by itself.
 *
 *   fly_audit [--complete] STATE HISTORY...
 *
 * Reads every slice folder under STATE/slices through the segment reader, folds the log, and keeps
 * a naive ledger of its events beside it: no machine over its capacity at any index, no key with
 * two VMs, no gap in the event numbers. Then the histories, one JSON object a line:
 *   what `flyrpc launch --json` printed   that VM must be in the log, as it was told
 *   {"destroyed": "VM"}                   that VM must be destroyed in the log
 * --complete: the histories are all that was acknowledged, so every VM of the log must be in them.
 *
 * Exits 0 if all of it is so, 1 if not (each finding on stderr), 2 if something cannot be read.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <jansson.h>

#include "node/slice/journal.h"
#include "node/slice/snapshot.h"
#include "node/slice/state.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/wire/vmid.h"
#include "tests/e2e/audit_ledger.h"

enum { FINDINGS_SHOWN = 20, RECORDS_MAX = 131072, LINE_MAX_BYTES = 65536 };

struct audit {
    struct audit_ledger ledger;
    struct slice_state *state; /* of the slice at hand */
    size_t state_size;
    struct slice_effects *effects;
    uint64_t entries;
    uint64_t acknowledged; /* lines that told of a VM */
    uint64_t destroyed;
    uint64_t findings;
};

static void finding(struct audit *a, const char *where, const char *what)
{
    if (a->findings++ < FINDINGS_SHOWN) {
        (void)fprintf(stderr, "audit: %s: %s\n", where, what);
    }
}

static enum fly_status take_snapshot(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                                     size_t size, struct fly_error *error)
{
    struct audit *a = user;
    enum fly_status status = snapshot_decode(a->state, data, size, error);

    (void)term;
    for (uint32_t i = 0; status == FLY_OK && i < slice_machine_slots(a->state); i++) {
        const struct slice_machine *m = slice_machine_at(a->state, i);
        if (m->name[0] != '\0') {
            status = audit_machine_set(&a->ledger, m->name, m->cores, m->memory_bytes, error);
        }
    }
    for (uint32_t i = 0; status == FLY_OK && i < slice_record_slots(a->state); i++) {
        const struct slice_record *r = slice_record_at(a->state, i);
        struct audit_vm vm = {.id = r->vm, .key = r->key, .cores = r->cores};
        if (r->kind == RECORD_VM) {
            vm.memory_bytes = r->memory_bytes;
            vm.destroyed = r->state == VM_DESTROYED;
            (void)fly_copy_string(vm.subject, sizeof vm.subject, r->subject);
            (void)fly_copy_string(vm.machine, sizeof vm.machine, r->machine_name);
            (void)fly_copy_string(vm.region, sizeof vm.region, r->region);
            status = audit_vm_start(&a->ledger, &vm, error);
        }
    }
    a->ledger.seq = slice_totals(a->state)->seq;
    return status == FLY_OK ? FLY_OK : fly_error_wrap(error, "snapshot at %" PRIu64, index);
}

/* The commands again, read by us: which key and subject each of the batch's launches has. */
static enum fly_status take_events(struct audit *a, const uint8_t *data, size_t size,
                                   struct fly_error *error)
{
    struct fly_reader r = fly_reader_over(data, size);
    struct batch_head head;
    struct command command;
    enum fly_status status = entry_head_decode(&r, &head, error);

    for (uint32_t i = 0; status == FLY_OK && i < a->effects->result_count; i++) {
        uint32_t event = a->effects->results[i].event;
        status = entry_command_decode(&r, &command, error);
        if (status == FLY_OK && event != SLICE_NONE) {
            bool launch = command.type == COMMAND_LAUNCH;
            status =
                audit_event(&a->ledger, &a->effects->events[event], launch ? &command.key : NULL,
                            launch ? command.subject : NULL, error);
        }
    }
    return status;
}

static enum fly_status take_entry(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                                  size_t size, struct fly_error *error)
{
    struct audit *a = user;
    enum fly_status status = slice_apply(a->state, data, size, a->effects, error);

    (void)term;
    if (status == FLY_OK) {
        status = take_events(a, data, size, error);
    }
    a->entries++;
    return status == FLY_OK ? FLY_OK : fly_error_wrap(error, "entry %" PRIu64, index);
}

/* The state and the ledger must tell of the same VMs. */
static void compare(struct audit *a, const char *slice, size_t first_vm)
{
    uint32_t running = 0;

    for (size_t i = first_vm; i < a->ledger.vm_count; i++) {
        running += a->ledger.vms[i].destroyed ? 0 : 1;
    }
    if (running != slice_totals(a->state)->vms_started) {
        finding(a, slice, "the state counts other VMs than the events tell");
    }
}

static bool audit_slice(struct audit *a, const char *folder)
{
    static const struct journal_visitor visitor = {.snapshot = take_snapshot, .entry = take_entry};
    const struct slice_config config = {
        .machines_max = SLICE_MACHINES_MAX, .records_max = RECORDS_MAX, .hash_seed = 1};
    struct journal_report report;
    struct fly_error error = {0};
    size_t first_vm = a->ledger.vm_count;

    a->state_size = slice_state_size(&config);
    void *memory = mmap(NULL, a->state_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        (void)fprintf(stderr, "audit: no memory for a state\n");
        return false;
    }
    a->state = slice_state_init(memory, &config);
    a->ledger.seq = 0;
    enum fly_status status = journal_check(folder, &visitor, a, &report, &error);
    if (status == FLY_INTERNAL) { /* the ledger's own; all else is the reader's */
        finding(a, folder, error.text);
    } else if (status != FLY_OK) {
        (void)fprintf(stderr, "audit: %s: %s\n", folder, error.text);
    } else {
        compare(a, folder, first_vm);
    }
    (void)munmap(memory, a->state_size);
    return status == FLY_OK || status == FLY_INTERNAL;
}

static bool audit_slices(struct audit *a, const char *state)
{
    char path[JOURNAL_DIR_MAX];
    unsigned count = 0;
    bool ok = true;

    (void)snprintf(path, sizeof path, "%s/slices", state);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        (void)fprintf(stderr, "audit: %s cannot be read\n", path);
        return false;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(path, sizeof path, "%s/slices/%s", state, entry->d_name);
            ok = audit_slice(a, path) && ok;
            count++;
        }
    }
    (void)closedir(dir);
    if (count == 0) {
        (void)fprintf(stderr, "audit: no slice in %s\n", state);
    }
    return ok && count > 0;
}

static bool same_vm(const struct audit_vm *vm, const json_t *told)
{
    char key[FLY_KEY_TEXT_SIZE];
    const char *machine = json_string_value(json_object_get(told, "machine"));
    const char *region = json_string_value(json_object_get(told, "region"));
    const char *told_key = json_string_value(json_object_get(told, "key"));

    key_format(&vm->key, key);
    return machine != NULL && strcmp(machine, vm->machine) == 0 && region != NULL &&
           strcmp(region, vm->region) == 0 && told_key != NULL && strcmp(told_key, key) == 0 &&
           json_integer_value(json_object_get(told, "cores")) == (json_int_t)vm->cores &&
           json_integer_value(json_object_get(told, "memory_bytes")) ==
               (json_int_t)vm->memory_bytes;
}

static void audit_line(struct audit *a, const char *where, const json_t *line)
{
    const char *dead = json_string_value(json_object_get(line, "destroyed"));
    const char *id = dead != NULL ? dead : json_string_value(json_object_get(line, "id"));
    uint64_t value = 0;
    struct audit_vm *vm = NULL;

    if (id != NULL && vmid_parse(id, &value)) {
        vm = audit_vm_find(&a->ledger, value);
    }
    if (vm == NULL) {
        finding(a, where, "a VM that was acknowledged is not in the log");
    } else if (dead != NULL) {
        a->destroyed++;
        if (!vm->destroyed) {
            finding(a, where, "a VM whose destruction was acknowledged runs");
        }
    } else {
        a->acknowledged++;
        vm->acknowledged = true;
        if (!same_vm(vm, line)) {
            finding(a, where, "the log has another machine, region, size or key for this VM");
        }
    }
}

static bool audit_history(struct audit *a, const char *path)
{
    static char text[LINE_MAX_BYTES];
    char where[512];
    unsigned number = 0;
    FILE *file = fopen(path, "r");

    if (file == NULL) {
        (void)fprintf(stderr, "audit: %s cannot be read\n", path);
        return false;
    }
    while (fgets(text, sizeof text, file) != NULL) {
        json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        (void)snprintf(where, sizeof where, "%s:%u", path, ++number);
        if (!json_is_object(line)) {
            (void)fprintf(stderr, "audit: %s: not a JSON object\n", where);
            json_decref(line);
            (void)fclose(file);
            return false;
        }
        audit_line(a, where, line);
        json_decref(line);
    }
    (void)fclose(file);
    return true;
}

static void audit_complete(struct audit *a)
{
    for (size_t i = 0; i < a->ledger.vm_count; i++) {
        char id[VMID_TEXT_SIZE];
        vmid_format(a->ledger.vms[i].id, id);
        if (!a->ledger.vms[i].acknowledged) {
            finding(a, id, "nobody was told of this VM");
        }
    }
}

int main(int argc, char **argv)
{
    int first = argc > 1 && strcmp(argv[1], "--complete") == 0 ? 2 : 1;
    struct audit a = {0};
    bool ok;

    if (argc <= first || argv[first][0] == '-') {
        (void)fprintf(stderr, "usage: fly_audit [--complete] STATE HISTORY...\n");
        return 2;
    }
    a.effects = malloc(sizeof *a.effects);
    FLY_CHECK(a.effects != NULL);
    ok = audit_slices(&a, argv[first]);
    for (int i = first + 1; ok && i < argc; i++) {
        ok = audit_history(&a, argv[i]);
    }
    if (ok && first == 2) {
        audit_complete(&a);
    }
    (void)printf("{\"entries\": %" PRIu64 ", \"machines\": %zu, \"vms\": %zu, \"acknowledged\": "
                 "%" PRIu64 ", \"destroyed\": %" PRIu64 ", \"findings\": %" PRIu64 "}\n",
                 a.entries, a.ledger.machine_count, a.ledger.vm_count, a.acknowledged, a.destroyed,
                 a.findings);
    audit_ledger_fini(&a.ledger);
    free(a.effects);
    return !ok ? 2 : a.findings > 0 ? 1 : 0;
}
