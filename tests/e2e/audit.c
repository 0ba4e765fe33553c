/*
 * audit - judges stopped nodes by their logs and by what their clients were told, never by
 * themselves.
 *
 *   fly_audit [--complete | --running] STATE... HISTORY...
 *
 * A folder is a node's state, a file is a client's history. Reads every slice folder under
 * STATE/slices through the segment reader, folds the log, and keeps a naive ledger of all slices'
 * events beside it (audit_ledger.h): no machine over its capacity at any index, no key with two VMs
 * wherever they are, no VM outside of its key's home without a binding there, no gap in the event
 * numbers. Then the histories (audit_history.h).
 * --complete: the histories are all that was acknowledged, so every VM of the logs must be in them.
 * --running: their clients go on, so a key may yet get another outcome; a line that has no end yet
 * was not told; of slices that are not given nothing is said.
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
#include <sys/stat.h>

#include <jansson.h>

#include "node/slice/journal.h"
#include "node/slice/snapshot.h"
#include "node/slice/state.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/wire/cluster.h"
#include "proto/wire/vmid.h"
#include "tests/e2e/audit_history.h"
#include "tests/e2e/audit_ledger.h"

enum { FINDINGS_SHOWN = 50, RECORDS_MAX = 131072, LINE_MAX_BYTES = 65536 };

struct audit {
    struct audit_ledger ledger;
    struct slice_state *state; /* of the slice at hand */
    size_t state_size;
    struct slice_effects *effects;
    struct audit_history history;
    const char *folder; /* of the slice at hand */
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

/* The first thing that is known of a log is whose it is. */
static enum fly_status begin(struct audit *a, struct fly_error *error)
{
    uint32_t tag = slice_totals(a->state)->tag;

    return tag == a->ledger.slice || tag == 0
               ? FLY_OK
               : audit_slice_begin(&a->ledger, tag, a->folder, error);
}

/* What a snapshot remembers of one key. */
static enum fly_status take_record(struct audit *a, const struct slice_record *r,
                                   struct fly_error *error)
{
    struct audit_note note = {.key = r->key, .hold = r->hold, .vm = r->vm};
    struct audit_vm vm = {.id = r->vm, .key = r->key, .hold = r->hold, .cores = r->cores};

    switch (r->kind) {
    case RECORD_VM:
        vm.memory_bytes = r->memory_bytes;
        vm.destroyed = r->state == VM_DESTROYED;
        (void)fly_copy_string(vm.subject, sizeof vm.subject, r->subject);
        (void)fly_copy_string(vm.machine, sizeof vm.machine, r->machine_name);
        (void)fly_copy_string(vm.region, sizeof vm.region, r->region);
        return audit_vm_start(&a->ledger, &vm, error);
    case RECORD_BOUND:
    case RECORD_DONE:
    case RECORD_CANCELLED:
        note.word = r->kind == RECORD_BOUND  ? AUDIT_BOUND
                    : r->kind == RECORD_DONE ? AUDIT_DONE
                                             : AUDIT_CANCELLED;
        (void)fly_copy_string(note.subject, sizeof note.subject, r->subject);
        audit_note_put(&a->ledger, &note);
        return FLY_OK;
    case RECORD_FREE:
        return FLY_OK;
    }
    return FLY_OK;
}

static enum fly_status take_snapshot(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                                     size_t size, struct fly_error *error)
{
    struct audit *a = user;
    enum fly_status status = snapshot_decode(a->state, data, size, error);

    (void)term;
    status = status == FLY_OK ? begin(a, error) : status;
    for (uint32_t i = 0; status == FLY_OK && i < slice_machine_slots(a->state); i++) {
        const struct slice_machine *m = slice_machine_at(a->state, i);
        if (m->name[0] != '\0') {
            status = audit_machine_set(&a->ledger, m->name, m->cores, m->memory_bytes, error);
        }
    }
    for (uint32_t i = 0; status == FLY_OK && i < slice_record_slots(a->state); i++) {
        status = take_record(a, slice_record_at(a->state, i), error);
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

/* A home's word about a key, done now. */
static void take_note(struct audit *a, const struct command *command)
{
    struct audit_note note = {.key = command->key, .hold = command->hold, .vm = command->vm};

    note.word = command->type == COMMAND_BIND     ? AUDIT_BOUND
                : command->type == COMMAND_DONE   ? AUDIT_DONE
                : command->type == COMMAND_CANCEL ? AUDIT_CANCELLED
                                                  : 0;
    if (note.word != 0) {
        (void)fly_copy_string(note.subject, sizeof note.subject, command->subject);
        audit_note_put(&a->ledger, &note);
    }
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
        if (status == FLY_OK && result->code == SLICE_OK) {
            take_note(a, &command);
            a->ledger.jumps = a->ledger.jumps || command.type == COMMAND_LOSS;
        }
        if (status == FLY_OK && event != NULL) {
            const struct audit_launch launch = {&command.key, command.subject, &command.hold};
            status = audit_event(&a->ledger, event, command.type == COMMAND_LAUNCH ? &launch : NULL,
                                 error);
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
    status = status == FLY_OK ? begin(a, error) : status;
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
    a->ledger.slice = 0;
    a->folder = folder;
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

/* Where hashed keys are at home; the same in every folder of a cluster. */
static void read_root(struct audit *a, const char *state)
{
    char text[CLUSTER_FILE_MAX];
    struct cluster_record record;
    struct fly_error error = {0};

    (void)snprintf(text, sizeof text, "%s/" CLUSTER_RECORD_FILE, state);
    FILE *file = fopen(text, "r");
    if (file == NULL) {
        return;
    }
    size_t size = fread(text, 1, sizeof text, file);
    (void)fclose(file);
    if (cluster_record_decode(text, size, &record, &error) == FLY_OK) {
        a->ledger.root = record.root_tag;
    }
}

static bool is_folder(const char *path)
{
    struct stat about;

    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

static bool audit_slices(struct audit *a, const char *state)
{
    char path[JOURNAL_DIR_MAX];
    bool ok = true;

    read_root(a, state);
    (void)snprintf(path, sizeof path, "%s/slices", state);
    DIR *dir = opendir(path);
    if (dir == NULL && is_folder(state)) {
        return true; /* an edge's */
    }
    if (dir == NULL) {
        (void)fprintf(stderr, "audit: %s cannot be read\n", path);
        return false;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(path, sizeof path, "%s/slices/%s", state, entry->d_name);
            ok = audit_slice(a, path) && ok;
        }
    }
    (void)closedir(dir);
    return ok;
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
    size_t running = 0;
    size_t elsewhere = 0; /* VMs that their keys' homes did not host */

    for (size_t i = 0; i < a->ledger.vm_count; i++) {
        const struct audit_vm *vm = &a->ledger.vms[i];
        running += vm->destroyed ? 0 : 1;
        elsewhere += key_valid(&vm->key) && key_home(&vm->key, a->ledger.root) != vmid_tag(vm->id);
    }
    json_t *root =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}",
                  "slices", (json_int_t)a->ledger.slice_count, "entries", (json_int_t)a->entries,
                  "elsewhere", (json_int_t)elsewhere, "running", (json_int_t)running, "machines",
                  (json_int_t)a->ledger.machine_count, "vms", (json_int_t)a->ledger.vm_count,
                  "keys", (json_int_t)h->key_count, "acknowledged", (json_int_t)h->acknowledged,
                  "destroyed", (json_int_t)h->destroyed, "unknown", (json_int_t)h->unknowns,
                  "replayed", (json_int_t)h->replays, "partial", (json_int_t)h->partial_answers,
                  "findings", (json_int_t)a->findings, "violations", a->violations);

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
        (void)fprintf(stderr, "usage: fly_audit [--complete | --running] STATE... HISTORY...\n");
        json_decref(a.violations);
        return 2;
    }
    a.effects = malloc(sizeof *a.effects);
    FLY_CHECK(a.effects != NULL && a.violations != NULL);
    a.history = (struct audit_history){.ledger = &a.ledger, .finding = finding, .user = &a};
    a.history.partial = running;
    ok = true;
    for (int i = first; ok && i < argc; i++) {
        ok = !is_folder(argv[i]) || audit_slices(&a, argv[i]);
    }
    if (ok && a.ledger.slice_count == 0 && a.findings == 0) {
        (void)fprintf(stderr, "audit: no slice in what was given\n");
        ok = false;
    }
    if (ok) {
        audit_ledger_end(&a.ledger, finding, &a);
    }
    for (int i = first; ok && i < argc; i++) {
        ok = is_folder(argv[i]) || audit_history_file(&a, argv[i], running);
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
