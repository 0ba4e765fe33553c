/*
 * watch_check - holds what watchers were shown (watcher.c) against the owners' logs: each event
 * once, in order per slice, none left out, none that is not there.
 *
 *   fly_watch_check [--resets] STATE... RECORD[:REGION]...
 *
 * A folder is a stopped node's state, a file is a watcher's record; REGION is its filter. The truth
 * is a log's events. Those that a log no longer holds, because its snapshot took their place, are
 * taken from the watchers: they must all tell the same of them, and their VMs together must be
 * those of the snapshot; so the first watch must have begun before the first VM, and one record
 * must be without a filter. A reset counts as an error unless --resets allows those whose reason is
 * that the owner no longer keeps the events; what it shows must be the VMs that lived behind its
 * number.
 *
 * A watcher with the policy LATEST may leave events out; what it was told must lead to the VMs that
 * live in the end, and to what is free on each machine that it was told of.
 *
 * Prints one JSON object. Exits 0 if nothing was wrong, 1 if something was, 2 if something cannot
 * be read.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "node/slice/journal.h"
#include "node/slice/snapshot.h"
#include "node/slice/state.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/wire/vmid.h"

enum { SLICES_MAX = 16, RECORDS_MAX = 131072, SHOWN_MAX = 40, REGION_SIZE = 16 };

struct true_event {
    bool known;
    uint32_t type;
    uint64_t vm;
    char region[REGION_SIZE];
};

struct vm_set {
    uint64_t *ids;
    size_t count;
    size_t max;
};

struct machine_free {
    char name[FLY_NAME_SIZE];
    uint32_t cores;
    uint64_t memory_bytes;
};

struct machine_set {
    struct machine_free *items;
    size_t count;
    size_t max;
};

struct true_slice {
    uint32_t tag;
    uint64_t incarnation;
    uint64_t snapshot; /* seq of the log's snapshot; 0: none */
    uint64_t last;
    struct vm_set at_snapshot;   /* VMs that lived then */
    struct machine_set machines; /* in the end */
    struct true_event *events;   /* by seq */
    uint64_t max;
};

struct check {
    struct true_slice slices[SLICES_MAX];
    uint32_t slice_count;
    struct true_slice *at; /* whose log is read */
    struct slice_state *state;
    struct slice_effects *effects;
    bool resets_allowed;
    uint64_t wrong;
    uint64_t resets;
    uint64_t shown; /* events, to all watchers */
    uint64_t records;
    uint64_t pictures; /* machines that LATEST watchers were told of, compared in the end */
};

/* Where one watcher stands in one slice. */
struct place {
    uint64_t next;
    bool begun;
};

struct reader {
    struct check *check;
    const char *path;
    unsigned line;
    char region[REGION_SIZE];
    struct place places[SLICES_MAX];
    struct vm_set parts; /* of a reset that is being told */
    bool latest;
    struct vm_set living[SLICES_MAX];        /* LATEST: as it was told */
    struct machine_set machines[SLICES_MAX]; /* LATEST: as it was told */
};

static void wrong(const struct reader *r, const char *what, uint32_t tag, uint64_t seq)
{
    if (r->check->wrong++ < SHOWN_MAX) {
        (void)fprintf(stderr, "%s:%u: %s (slice %06" PRIx32 ", event %" PRIu64 ")\n", r->path,
                      r->line, what, tag, seq);
    }
}

static struct true_slice *slice_find(struct check *c, uint32_t tag)
{
    for (uint32_t i = 0; i < c->slice_count; i++) {
        if (c->slices[i].tag == tag) {
            return &c->slices[i];
        }
    }
    return NULL;
}

static struct true_event *event_at(struct true_slice *s, uint64_t seq)
{
    while (seq >= s->max) {
        uint64_t max = s->max == 0 ? 4096 : 2 * s->max;
        s->events = realloc(s->events, max * sizeof s->events[0]);
        FLY_CHECK(s->events != NULL);
        memset(&s->events[s->max], 0, (max - s->max) * sizeof s->events[0]);
        s->max = max;
    }
    return &s->events[seq];
}

static void vm_add(struct vm_set *set, uint64_t id)
{
    if (set->count == set->max) {
        set->max = set->max == 0 ? 256 : 2 * set->max;
        set->ids = realloc(set->ids, set->max * sizeof set->ids[0]);
        FLY_CHECK(set->ids != NULL);
    }
    set->ids[set->count++] = id;
}

static void vm_drop(struct vm_set *set, uint64_t id)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->ids[i] == id) {
            set->ids[i] = set->ids[--set->count];
            return;
        }
    }
}

static struct machine_free *machine_at(struct machine_set *set, const char *name, bool add)
{
    for (size_t i = 0; i < set->count; i++) {
        if (strcmp(set->items[i].name, name) == 0) {
            return &set->items[i];
        }
    }
    if (!add) {
        return NULL;
    }
    if (set->count == set->max) {
        set->max = set->max == 0 ? 64 : 2 * set->max;
        set->items = realloc(set->items, set->max * sizeof set->items[0]);
        FLY_CHECK(set->items != NULL);
    }
    struct machine_free *m = &set->items[set->count++];
    *m = (struct machine_free){.cores = 0};
    (void)fly_copy_string(m->name, sizeof m->name, name);
    return m;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool vm_sets_equal(struct vm_set *a, struct vm_set *b)
{
    if (a->count > 0 && a->count == b->count) {
        qsort(a->ids, a->count, sizeof a->ids[0], by_id);
        qsort(b->ids, b->count, sizeof b->ids[0], by_id);
        return memcmp(a->ids, b->ids, a->count * sizeof a->ids[0]) == 0;
    }
    return a->count == b->count;
}

/* --- the truth --- */

static struct true_slice *slice_begin(struct check *c)
{
    const struct slice_totals *sum = slice_totals(c->state);

    if (c->at == NULL && sum->tag != 0) {
        FLY_CHECK(slice_find(c, sum->tag) == NULL && c->slice_count < SLICES_MAX);
        c->at = &c->slices[c->slice_count++];
        c->at->tag = sum->tag;
    }
    if (c->at != NULL) {
        c->at->incarnation = sum->incarnation;
        c->at->last = sum->seq;
    }
    return c->at;
}

static enum fly_status take_snapshot(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                                     size_t size, struct fly_error *error)
{
    struct check *c = user;
    enum fly_status status = snapshot_decode(c->state, data, size, error);

    (void)index;
    (void)term;
    if (status != FLY_OK) {
        return status;
    }
    struct true_slice *s = slice_begin(c);
    FLY_CHECK(s != NULL);
    s->snapshot = s->last;
    for (uint32_t i = 0; i < slice_record_slots(c->state); i++) {
        const struct slice_record *r = slice_record_at(c->state, i);
        if (r->kind == RECORD_VM && r->state == VM_STARTED) {
            vm_add(&s->at_snapshot, r->vm);
        }
    }
    return FLY_OK;
}

static enum fly_status take_entry(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                                  size_t size, struct fly_error *error)
{
    struct check *c = user;
    enum fly_status status = slice_apply(c->state, data, size, c->effects, error);

    (void)index;
    (void)term;
    if (status != FLY_OK) {
        return status;
    }
    struct true_slice *s = slice_begin(c);
    for (uint32_t i = 0; i < c->effects->event_count; i++) {
        const struct event *e = &c->effects->events[i];
        FLY_CHECK(s != NULL);
        struct true_event *to = event_at(s, e->seq);
        *to = (struct true_event){.known = true, .type = e->type, .vm = e->vm};
        (void)fly_copy_string(to->region, sizeof to->region, e->region);
    }
    return FLY_OK;
}

static void take_machines(struct check *c)
{
    for (uint32_t i = 0; c->at != NULL && i < slice_machine_slots(c->state); i++) {
        const struct slice_machine *m = slice_machine_at(c->state, i);
        if (m->name[0] != '\0') {
            struct machine_free *to = machine_at(&c->at->machines, m->name, true);
            to->cores = m->cores - m->cores_used;
            to->memory_bytes = m->memory_bytes - m->memory_used_bytes;
        }
    }
}

static bool read_log(struct check *c, const char *folder)
{
    static const struct journal_visitor visitor = {.snapshot = take_snapshot, .entry = take_entry};
    const struct slice_config config = {
        .machines_max = SLICE_MACHINES_MAX, .records_max = RECORDS_MAX, .hash_seed = 1};
    size_t size = slice_state_size(&config);
    struct journal_report report;
    struct fly_error error = {0};
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    FLY_CHECK(memory != MAP_FAILED);
    c->state = slice_state_init(memory, &config);
    c->at = NULL;
    enum fly_status status = journal_check(folder, &visitor, c, &report, &error);
    take_machines(c);
    (void)munmap(memory, size);
    if (status != FLY_OK) {
        (void)fprintf(stderr, "watch_check: %s: %s\n", folder, error.text);
    }
    return status == FLY_OK;
}

static bool read_state(struct check *c, const char *state)
{
    char path[JOURNAL_DIR_MAX];
    bool ok = true;

    (void)snprintf(path, sizeof path, "%s/slices", state);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return true; /* an edge's */
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(path, sizeof path, "%s/slices/%s", state, entry->d_name);
            ok = read_log(c, path) && ok;
        }
    }
    (void)closedir(dir);
    return ok;
}

/* --- what was shown --- */

static bool filtered(const struct reader *r, const struct true_event *e)
{
    return r->region[0] != '\0' && strcmp(r->region, e->region) != 0;
}

/* Whether the watcher was right not to show from..to. */
static void pass_over(const struct reader *r, struct true_slice *s, uint64_t from, uint64_t to)
{
    for (uint64_t seq = from; seq <= to; seq++) {
        const struct true_event *e = event_at(s, seq);
        if (r->region[0] == '\0' || (e->known && !filtered(r, e))) {
            wrong(r, "an event is missing", s->tag, seq);
            return;
        }
    }
}

static void take_event(struct reader *r, uint32_t tag, uint64_t incarnation, uint64_t seq,
                       const struct true_event *told)
{
    struct true_slice *s = slice_find(r->check, tag);

    if (s == NULL || incarnation != s->incarnation || seq > s->last || seq == 0) {
        wrong(r, "an event that no log tells of", tag, seq);
        return;
    }
    struct place *p = &r->places[s - r->check->slices];
    if (!p->begun || seq < p->next) {
        wrong(r, "an event came twice, or out of order", tag, seq);
        return;
    }
    if (!r->latest) {
        pass_over(r, s, p->next, seq - 1);
    }
    p->next = seq + 1;
    r->check->shown++;
    struct true_event *e = event_at(s, seq);
    if (!e->known && seq <= s->snapshot) {
        *e = *told;
        e->known = true;
    } else if (e->type != told->type || e->vm != told->vm || strcmp(e->region, told->region) != 0) {
        wrong(r, "an event is not what the log tells", tag, seq);
    }
    if (filtered(r, e)) {
        wrong(r, "an event of another region", tag, seq);
    }
    if (r->latest && told->type == EVENT_VM_STARTED) {
        vm_drop(&r->living[s - r->check->slices], told->vm); /* a reset may have shown it */
        vm_add(&r->living[s - r->check->slices], told->vm);
    } else if (r->latest && told->type == EVENT_VM_DESTROYED) {
        vm_drop(&r->living[s - r->check->slices], told->vm);
    }
}

static void take_free(struct reader *r, uint32_t tag, const char *machine, uint32_t cores,
                      uint64_t memory_bytes)
{
    struct true_slice *s = slice_find(r->check, tag);

    if (s != NULL) { /* else its event was wrong */
        struct machine_free *m = machine_at(&r->machines[s - r->check->slices], machine, true);
        m->cores = cores;
        m->memory_bytes = memory_bytes;
    }
}

/* The VMs behind event `seq`, in that region or all. */
static void living_at(const struct reader *r, struct true_slice *s, uint64_t seq,
                      struct vm_set *out)
{
    for (uint64_t i = 1; i <= seq; i++) {
        const struct true_event *e = event_at(s, i);
        if (e->known && !filtered(r, e) && e->type == EVENT_VM_STARTED) {
            vm_add(out, e->vm);
        } else if (e->known && e->type == EVENT_VM_DESTROYED) {
            vm_drop(out, e->vm);
        }
    }
}

static void take_reset(struct reader *r, uint32_t tag, uint64_t incarnation, uint64_t seq,
                       const char *reason)
{
    struct true_slice *s = slice_find(r->check, tag);
    struct vm_set living = {0};

    r->check->resets++;
    if (s == NULL || incarnation != s->incarnation || seq > s->last) {
        wrong(r, "a reset to what no log tells of", tag, seq);
        return;
    }
    if (!r->check->resets_allowed || strstr(reason, "no longer kept") == NULL) {
        wrong(r, reason, tag, seq);
    }
    living_at(r, s, seq, &living);
    if (!vm_sets_equal(&living, &r->parts)) {
        wrong(r, "a reset that shows other VMs than there were", tag, seq);
    }
    free(living.ids);
    r->machines[s - r->check->slices].count = 0; /* a reset tells of VMs alone */
    r->living[s - r->check->slices].count = 0;
    for (size_t i = 0; i < r->parts.count; i++) {
        vm_add(&r->living[s - r->check->slices], r->parts.ids[i]);
    }
    r->parts.count = 0;
    r->places[s - r->check->slices].next = seq + 1;
    r->places[s - r->check->slices].begun = true;
}

static void take_start(struct reader *r, uint32_t tag, uint64_t seq)
{
    struct true_slice *s = slice_find(r->check, tag);

    if (s == NULL) {
        wrong(r, "a slice that has no log", tag, seq);
        return;
    }
    struct place *p = &r->places[s - r->check->slices];
    if (p->begun) {
        wrong(r, "begins twice", tag, seq);
    }
    p->begun = true;
    p->next = seq + 1;
}

static uint64_t vm_of(const char *text)
{
    uint64_t id = 0;

    FLY_CHECK(strcmp(text, "-") == 0 || vmid_parse(text, &id));
    return id;
}

static bool parse_event(const char *line, uint32_t *tag, uint64_t *incarnation, uint64_t *seq,
                        struct true_event *told, char vm[static 16])
{
    if (sscanf(line, "E %" SCNx32 " %" SCNx64 " %" SCNu64 " %" SCNu32 " %15s %15s", tag,
               incarnation, seq, &told->type, vm, told->region) != 6) {
        return false;
    }
    told->vm = vm_of(vm);
    if (strcmp(told->region, "-") == 0) {
        told->region[0] = '\0';
    }
    return true;
}

static bool take_line(struct reader *r, const char *line)
{
    struct true_event told = {.known = true};
    uint32_t tag = 0;
    uint64_t incarnation = 0;
    uint64_t seq = 0;
    uint32_t cores = 0;
    uint64_t memory = 0;
    char name[FLY_NAME_SIZE];
    char vm[16];
    int at = 0;

    if (parse_event(line, &tag, &incarnation, &seq, &told, vm)) {
        take_event(r, tag, incarnation, seq, &told);
    } else if (sscanf(line, "C %" SCNx32 " %" SCNx64 " %" SCNu64, &tag, &incarnation, &seq) == 3) {
        take_start(r, tag, seq);
    } else if (sscanf(line, "P %15s", vm) == 1) {
        vm_add(&r->parts, vm_of(vm));
    } else if (sscanf(line, "R %" SCNx32 " %" SCNx64 " %" SCNu64 " %n", &tag, &incarnation, &seq,
                      &at) == 3 &&
               at > 0) {
        take_reset(r, tag, incarnation, seq, line + at);
    } else if (sscanf(line, "F %" SCNx32 " %63s %" SCNu32 " %" SCNu64, &tag, name, &cores,
                      &memory) == 4) {
        take_free(r, tag, name, cores, memory);
    } else if (line[0] == 'L' && r->line == 1) {
        r->latest = true;
    } else if (line[0] == 'X') {
        r->parts.count = 0;
    } else {
        return false;
    }
    return true;
}

/* LATEST: what was told leads to what is. */
static void compare_end(struct reader *r, struct true_slice *s)
{
    struct vm_set *told = &r->living[s - r->check->slices];
    struct machine_set *machines = &r->machines[s - r->check->slices];
    struct vm_set living = {0};

    living_at(r, s, s->last, &living);
    if (!vm_sets_equal(&living, told)) {
        wrong(r, "what was told does not lead to the VMs that live", s->tag, s->last);
    }
    for (size_t i = 0; i < machines->count; i++) {
        const struct machine_free *is = machine_at(&s->machines, machines->items[i].name, false);
        if (is == NULL || is->cores != machines->items[i].cores ||
            is->memory_bytes != machines->items[i].memory_bytes) {
            wrong(r, "what was told is free on a machine is not what is", s->tag, s->last);
        }
    }
    r->check->pictures += machines->count;
    free(living.ids);
}

static bool read_record(struct check *c, char *name)
{
    struct reader r = {.check = c};
    char line[1024];
    char *colon = strrchr(name, ':');
    bool ok = true;

    if (colon != NULL) {
        *colon = '\0';
        (void)fly_copy_string(r.region, sizeof r.region, colon + 1);
    }
    r.path = strrchr(name, '/') != NULL ? strrchr(name, '/') + 1 : name;
    FILE *file = fopen(name, "r");
    if (file == NULL) {
        (void)fprintf(stderr, "watch_check: %s cannot be read\n", name);
        return false;
    }
    while (ok && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        r.line++;
        ok = take_line(&r, line);
    }
    (void)fclose(file);
    if (!ok) {
        (void)fprintf(stderr, "watch_check: %s:%u: not a line of a record\n", name, r.line);
    }
    for (uint32_t i = 0; ok && i < c->slice_count; i++) {
        struct place *p = &r.places[i];
        if (!p->begun) {
            wrong(&r, "it never stood in this slice", c->slices[i].tag, 0);
        } else if (r.latest) {
            compare_end(&r, &c->slices[i]);
        } else {
            pass_over(&r, &c->slices[i], p->next, c->slices[i].last);
        }
    }
    free(r.parts.ids);
    for (uint32_t i = 0; i < SLICES_MAX; i++) {
        free(r.living[i].ids);
        free(r.machines[i].items);
    }
    c->records++;
    return ok;
}

/* What watchers told of events that the log does not hold any more leads to its snapshot. */
static void check_snapshots(struct check *c)
{
    for (uint32_t i = 0; i < c->slice_count; i++) {
        struct true_slice *s = &c->slices[i];
        struct reader all = {.check = c, .path = "all records"};
        struct vm_set living = {0};
        if (s->snapshot != 0) {
            living_at(&all, s, s->snapshot, &living);
            if (!vm_sets_equal(&living, &s->at_snapshot)) {
                wrong(&all, "the events do not lead to the log's snapshot", s->tag, s->snapshot);
            }
        }
        free(living.ids);
    }
}

static bool is_folder(const char *path)
{
    struct stat about;

    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* What logs no longer hold is known from whoever tells it first, before anybody is held against
 * it: a reset of one may pass over what only another was told. */
static void learn(struct check *c, const char *name)
{
    char path[JOURNAL_DIR_MAX];
    char line[1024];
    (void)snprintf(path, sizeof path, "%.*s", (int)strcspn(name, ":"), name);
    FILE *file = fopen(path, "r");

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        struct true_event told = {.known = true};
        uint32_t tag = 0;
        uint64_t incarnation = 0;
        uint64_t seq = 0;
        char vm[16];
        if (line[0] != 'E' || !parse_event(line, &tag, &incarnation, &seq, &told, vm)) {
            continue;
        }
        struct true_slice *s = slice_find(c, tag);
        if (s != NULL && incarnation == s->incarnation && seq <= s->snapshot &&
            !event_at(s, seq)->known) {
            *event_at(s, seq) = told;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

int main(int argc, char **argv)
{
    static struct check c;
    uint64_t events = 0;
    uint64_t compacted = 0;
    bool ok = true;
    int first = 1;

    if (argc > 1 && strcmp(argv[1], "--resets") == 0) {
        c.resets_allowed = true;
        first = 2;
    }
    c.effects = malloc(sizeof *c.effects);
    FLY_CHECK(c.effects != NULL);
    for (int i = first; i < argc; i++) {
        ok = (!is_folder(argv[i]) || read_state(&c, argv[i])) && ok;
    }
    for (int i = first; i < argc; i++) {
        if (!is_folder(argv[i])) {
            learn(&c, argv[i]);
        }
    }
    for (int i = first; i < argc; i++) {
        ok = (is_folder(argv[i]) || read_record(&c, argv[i])) && ok;
    }
    check_snapshots(&c);
    for (uint32_t i = 0; i < c.slice_count; i++) {
        events += c.slices[i].last;
        compacted += c.slices[i].snapshot;
        free(c.slices[i].events);
        free(c.slices[i].at_snapshot.ids);
        free(c.slices[i].machines.items);
    }
    free(c.effects);
    (void)printf("{\"slices\": %u, \"events\": %" PRIu64 ", \"compacted\": %" PRIu64
                 ", \"records\": %" PRIu64 ", \"shown\": %" PRIu64 ", \"resets\": %" PRIu64
                 ", \"pictures\": %" PRIu64 ", \"wrong\": %" PRIu64 "}\n",
                 c.slice_count, events, compacted, c.records, c.shown, c.resets, c.pictures,
                 c.wrong);
    return !ok || c.slice_count == 0 || c.records == 0 ? 2 : c.wrong > 0 ? 1 : 0;
}
