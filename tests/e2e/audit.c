/*
 * audit - judges a stopped node by its log and by what its clients were told, never by itself.
 *
 *   fly_audit [--complete | --running] STATE HISTORY...
 *
 * Reads every slice folder under STATE/slices through the segment reader, folds the log, and keeps
 * a naive ledger of its events beside it (audit_ledger.h): no machine over its capacity at any
 * index, no key with two VMs, no gap in the event numbers. Then the histories (audit_history.h).
 * --complete: the histories are all that was acknowledged, so every VM of the log must be in them.
 * --running: their clients go on, so a key may yet get another outcome; a line that has no end yet
 * was not told.
 *
 * Prints one JSON object; each violation in it has a name. Exits 0 if there is none, 1 if there is,
 * 2 if something cannot be read.
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
#include "tests/e2e/audit_history.h"
#include "tests/e2e/audit_ledger.h"

enum { FINDINGS_SHOWN = 50, RECORDS_MAX = 131072, LINE_MAX_BYTES = 65536 };

struct audit {
    struct audit_ledger ledger;
    struct slice_state *state; /* of the slice at hand */
    size_t state_size;
    struct slice_effects *effects;
    struct audit_history history;
    uint64_t entries;
    uint64_t findings;
    json_t *violations; /* the first FINDINGS_SHOWN of them */
};

static void finding(void *user, const char *what, const char *where, const char *text)
{
    struct audit *a = user;

    if (a->findings++ < FINDINGS_SHOWN) {
        (void)fprintf(stderr, "audit: %s: %s: %s\n", where, what, text);
        FLY_CHECK(json_array_append_new(a->violations, json_pack("{s:s, s:s, s:s}", "what", what,
                                                                 "where", where, "text", text)) ==
                  0);
    }
}

/* "name: words", as the ledger says it. */
static void finding_of(struct audit *a, const char *where, const char *text)
{
    char name[32] = "log";
    const char *colon = strstr(text, ": ");
    /* what wrapped the error stands before the name */
    for (const char *next = colon; next != NULL; next = strstr(next + 2, ": ")) {
        const char *start = next;
        while (start > text && start[-1] != ' ') {
            start--;
        }
        if (next > start &&
            strspn(start, "abcdefghijklmnopqrstuvwxyz-") == (size_t)(next - start)) {
            (void)snprintf(name, sizeof name, "%.*s", (int)(next - start), start);
            break;
        }
    }
    finding(a, name, where, text);
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

/* What happened is what was asked for: an event exactly where a command was done now, and of its
 * size. */
static enum fly_status compare_command(const struct command *command,
                                       const struct slice_result *result, const struct event *event,
                                       struct fly_error *error)
{
    if (command->type != COMMAND_LAUNCH && command->type != COMMAND_DESTROY) {
        return FLY_OK;
    }
    if ((result->code == SLICE_OK) != (event != NULL)) {
        return fly_error_set(error, FLY_INTERNAL, "strange: a command with result %d and %s event",
                             (int)result->code, event != NULL ? "an" : "no");
    }
    if (command->type == COMMAND_LAUNCH && event != NULL &&
        (event->cores != command->cores || event->memory_bytes != command->memory_bytes)) {
        return fly_error_set(error, FLY_INTERNAL, "strange: a VM of another size than launched");
    }
    if (command->type == COMMAND_DESTROY && event != NULL && event->vm != command->vm) {
        return fly_error_set(error, FLY_INTERNAL, "strange: another VM was destroyed");
    }
    return FLY_OK;
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
        const struct slice_result *result = &a->effects->results[i];
        const struct event *event =
            result->event != SLICE_NONE ? &a->effects->events[result->event] : NULL;
        status = entry_command_decode(&r, &command, error);
        if (status == FLY_OK) {
            status = compare_command(&command, result, event, error);
        }
        if (status == FLY_OK && event != NULL) {
            bool launch = command.type == COMMAND_LAUNCH;
            status = audit_event(&a->ledger, event, launch ? &command.key : NULL,
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
        finding(a, "strange", slice, "the state counts other VMs than the events tell");
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
        finding_of(a, folder, error.text);
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

static bool audit_history_file(struct audit *a, const char *path, bool running)
{
    static char text[LINE_MAX_BYTES];
    char where[160];
    unsigned number = 0;
    bool ok = true;
    FILE *file = fopen(path, "r");

    if (file == NULL) {
        (void)fprintf(stderr, "audit: %s cannot be read\n", path);
        return false;
    }
    while (ok && fgets(text, sizeof text, file) != NULL) {
        const char *name = strrchr(path, '/');
        (void)snprintf(where, sizeof where, "%s:%u", name != NULL ? name + 1 : path, ++number);
        if (running && strchr(text, '\n') == NULL) {
            break;
        }
        json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        ok = line != NULL && audit_history_line(&a->history, where, line);
        if (!ok) {
            (void)fprintf(stderr, "audit: %s: not a line of a history\n", where);
        }
        json_decref(line);
    }
    (void)fclose(file);
    return ok;
}

static void print_summary(const struct audit *a)
{
    const struct audit_history *h = &a->history;
    json_t *root = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "entries", (json_int_t)a->entries,
        "machines", (json_int_t)a->ledger.machine_count, "vms", (json_int_t)a->ledger.vm_count,
        "keys", (json_int_t)h->key_count, "acknowledged", (json_int_t)h->acknowledged, "destroyed",
        (json_int_t)h->destroyed, "unknown", (json_int_t)h->unknowns, "replayed",
        (json_int_t)h->replays, "findings", (json_int_t)a->findings, "violations", a->violations);

    FLY_CHECK(root != NULL);
    (void)json_dumpf(root, stdout, JSON_PRESERVE_ORDER);
    (void)printf("\n");
    json_decref(root);
}

int main(int argc, char **argv)
{
    bool complete = argc > 1 && strcmp(argv[1], "--complete") == 0;
    bool running = argc > 1 && strcmp(argv[1], "--running") == 0;
    int first = complete || running ? 2 : 1;
    struct audit a = {.violations = json_array()};
    bool ok;

    if (argc <= first || argv[first][0] == '-') {
        (void)fprintf(stderr, "usage: fly_audit [--complete | --running] STATE HISTORY...\n");
        json_decref(a.violations);
        return 2;
    }
    a.effects = malloc(sizeof *a.effects);
    FLY_CHECK(a.effects != NULL && a.violations != NULL);
    a.history = (struct audit_history){.ledger = &a.ledger, .finding = finding, .user = &a};
    ok = audit_slices(&a, argv[first]);
    for (int i = first + 1; ok && i < argc; i++) {
        ok = audit_history_file(&a, argv[i], running);
    }
    if (ok && !running) {
        audit_history_end(&a.history, complete);
    }
    print_summary(&a);
    audit_history_fini(&a.history);
    audit_ledger_fini(&a.ledger);
    json_decref(a.violations);
    free(a.effects);
    return !ok ? 2 : a.findings > 0 ? 1 : 0;
}
