/*
 * check - `flynode check`: every log of a state folder through the journal's own reader and through
 * apply(), so that what is sound on disk is also known to be a state. Changes nothing.
 */
#include "node/check.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "node/identity.h"
#include "node/node.h"
#include "node/slice/snapshot.h"
#include "proto/base/check.h"
#include "proto/base/id.h"

/* A replica that is only fed. */
struct replay {
    struct slice_state *state;
    struct slice_effects *effects;
};

static enum fly_status replay_snapshot(void *user, uint64_t index, uint64_t term,
                                       const uint8_t *data, size_t size, struct fly_error *error)
{
    struct replay *r = user;

    (void)index;
    (void)term;
    return snapshot_decode(r->state, data, size, error);
}

static enum fly_status replay_entry(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                                    size_t size, struct fly_error *error)
{
    struct replay *r = user;

    (void)term;
    enum fly_status status = slice_apply(r->state, data, size, r->effects, error);
    return status == FLY_OK ? FLY_OK
                            : fly_error_wrap(error, "log entry %llu", (unsigned long long)index);
}

static void print_text(const char *slice, const struct journal_report *report,
                       const struct slice_totals *sum)
{
    (void)printf("slice %s: sound\n", slice);
    (void)printf("  entries      %llu in %llu batches, index %llu to %llu\n",
                 (unsigned long long)report->entries, (unsigned long long)report->batches,
                 (unsigned long long)report->first_index, (unsigned long long)report->last_index);
    (void)printf("  acknowledged %llu\n", (unsigned long long)report->acknowledged);
    (void)printf("  snapshot     %llu\n", (unsigned long long)report->snapshot_index);
    (void)printf("  state        seq %llu, %u machines, %u VMs started\n",
                 (unsigned long long)sum->seq, sum->machines, sum->vms_started);
    if (report->mark_missing) {
        (void)printf("  mark         missing: a log cut between two writes would not be seen\n");
    }
    if (report->torn) {
        (void)printf("  torn tail    %s at offset %llu, %llu bytes: never acknowledged\n",
                     report->torn_file, (unsigned long long)report->torn_offset,
                     (unsigned long long)report->torn_bytes);
    }
}

static void print_json(const char *slice, const struct journal_report *report,
                       const struct slice_totals *sum, const struct fly_error *error)
{
    json_t *root = NULL;

    if (error != NULL) {
        root = json_pack("{s:s, s:b, s:s}", "slice", slice, "sound", 0, "error", error->text);
    } else {
        root =
            json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I}", "slice",
                      slice, "sound", 1, "entries", (json_int_t)report->entries, "first_index",
                      (json_int_t)report->first_index, "last_index", (json_int_t)report->last_index,
                      "acknowledged", (json_int_t)report->acknowledged, "snapshot_index",
                      (json_int_t)report->snapshot_index, "torn", report->torn, "torn_bytes",
                      (json_int_t)report->torn_bytes, "seq", (json_int_t)sum->seq, "machines",
                      (json_int_t)sum->machines, "vms", (json_int_t)sum->vms_started);
    }
    FLY_CHECK(root != NULL);
    (void)json_dumpf(root, stdout, JSON_COMPACT);
    (void)printf("\n");
    json_decref(root);
}

enum fly_status check_log(const char *dir, struct journal_report *report, struct slice_totals *sum,
                          struct fly_error *error)
{
    const struct slice_config config = {.machines_max = SLICE_MACHINES_MAX, .records_max = 1 << 20};
    const struct journal_visitor visitor = {.snapshot = replay_snapshot, .entry = replay_entry};
    size_t bytes = slice_state_size(&config);
    struct replay r = {.effects = calloc(1, sizeof *r.effects)};
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    FLY_CHECK(memory != MAP_FAILED && r.effects != NULL);
    r.state = slice_state_init(memory, &config);
    *report = (struct journal_report){.empty = true};
    enum fly_status status = journal_check(dir, &visitor, &r, report, error);
    *sum = *slice_totals(r.state);
    free(r.effects);
    (void)munmap(memory, bytes);
    return status;
}

static bool check_slice(const char *dir, const char *slice, bool json)
{
    struct journal_report report;
    struct slice_totals sum;
    struct fly_error error;
    bool sound = check_log(dir, &report, &sum, &error) == FLY_OK;

    if (json) {
        print_json(slice, &report, &sum, sound ? NULL : &error);
    } else if (sound) {
        print_text(slice, &report, &sum);
    } else {
        (void)printf("slice %s: DAMAGED\n  %s\n", slice, error.text);
    }
    return sound;
}

bool check_slice_name(const char *name)
{
    uint8_t tag[3];

    return fly_hex_decode(name, strlen(name), tag, sizeof tag);
}

int node_check(const char *state, bool json)
{
    char path[JOURNAL_DIR_MAX];
    struct fly_error error;
    int lock_fd = -1;
    bool sound = true;
    unsigned slices = 0;

    if (identity_lock(state, &lock_fd, &error) != FLY_OK) {
        (void)fprintf(stderr, "flynode: %s\n", error.text);
        return 1;
    }
    (void)snprintf(path, sizeof path, "%s/slices", state);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        (void)fprintf(stderr, "flynode: %s: %s\n", path, strerror(errno));
        identity_unlock(lock_fd);
        return 1;
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (check_slice_name(entry->d_name)) {
            (void)snprintf(path, sizeof path, "%s/slices/%s", state, entry->d_name);
            sound &= check_slice(path, entry->d_name, json);
            slices++;
        }
    }
    (void)closedir(dir);
    identity_unlock(lock_fd);
    if (slices == 0) {
        (void)fprintf(stderr, "flynode: %s/slices holds no slice\n", state);
        return 1;
    }
    return sound ? 0 : 1;
}
