#include "node/accept_loss.h"

#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/catalog/peers.h"
#include "node/check.h"
#include "node/peers_file.h"
#include "node/slice/segment_check.h"
#include "proto/base/check.h"
#include "proto/wire/key.h"

enum { TEXT_MAX = 128 };

/* --- the file --- */

static size_t word_format(const struct accept_loss *word, char out[static TEXT_MAX])
{
    int size = snprintf(out, TEXT_MAX,
                        "flylight-accept-loss 1\nslice %06" PRIx32 " log %016" PRIx64
                        " ends %" PRIu64 "\n",
                        word->tag, word->incarnation, word->seq);

    FLY_CHECK(size > 0 && size < TEXT_MAX);
    return (size_t)size;
}

enum fly_status accept_loss_read(const struct folder *folder, struct accept_loss *out,
                                 struct fly_error *error)
{
    struct accept_loss word = {.tag = 0};
    char text[TEXT_MAX];
    char again[TEXT_MAX];
    ssize_t size = -1;
    enum fly_status status =
        folder_read(folder, ACCEPT_LOSS_FILE, text, sizeof text - 1, &size, error);

    *out = word;
    if (status != FLY_OK || size < 0) {
        return status;
    }
    text[size] = '\0';
    if (sscanf(text, "flylight-accept-loss 1 slice %6" SCNx32 " log %16" SCNx64 " ends %20" SCNu64,
               &word.tag, &word.incarnation, &word.seq) != 3 ||
        word.tag == 0 || word.tag > FLY_TAG_MAX || word_format(&word, again) != (size_t)size ||
        memcmp(text, again, (size_t)size) != 0) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%.200s/" ACCEPT_LOSS_FILE
                             ": not as `flynode accept-loss` writes it: remove it",
                             folder->dir);
    }
    *out = word;
    return FLY_OK;
}

/* --- the command --- */

struct accept_args {
    const char *state;
};

/* What is known of a slice whose loss is to be accepted. */
struct lost_slice {
    char name[8];
    char dir[JOURNAL_DIR_MAX];
    struct journal_report report;
    struct slice_totals sum;
};

static int complain(const struct fly_error *error)
{
    (void)fprintf(stderr, "flynode: %s\n", error->text);
    return 1;
}

/* The one slice that is in the folder. */
static enum fly_status find_slice(const char *state, struct lost_slice *slice,
                                  struct fly_error *error)
{
    char path[JOURNAL_DIR_MAX];
    unsigned count = 0;

    (void)snprintf(path, sizeof path, "%s/slices", state);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return fly_error_set(error, FLY_NOT_FOUND, "%.200s: %s", path, strerror(errno));
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (check_slice_name(entry->d_name)) {
            (void)snprintf(slice->name, sizeof slice->name, "%.6s", entry->d_name);
            count++;
        }
    }
    (void)closedir(dir);
    if (count != 1) {
        return fly_error_set(error, FLY_NOT_FOUND, "%.200s holds %u slices: one was expected", path,
                             count);
    }
    int size = snprintf(slice->dir, sizeof slice->dir, "%s/slices/%s", state, slice->name);
    return size > 0 && (size_t)size < sizeof slice->dir
               ? FLY_OK
               : fly_error_set(error, FLY_INVALID_ARGUMENT, "state: the path is too long");
}

/* The log says itself that acknowledged entries are missing: with the journal's own word for that
 * (an empty file) it is taken as far as it is whole. What is broken in the middle stays refused. */
static enum fly_status accept_missing(struct lost_slice *slice, struct fly_error *error)
{
    char path[JOURNAL_DIR_MAX + 16];
    struct fly_error why = *error;

    (void)snprintf(path, sizeof path, "%s/" SEGMENT_ACCEPT_FILE, slice->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return why.status;
    }
    (void)close(fd);
    enum fly_status status = check_log(slice->dir, &slice->report, &slice->sum, error);
    if (status != FLY_OK) {
        (void)unlink(path);
        return status;
    }
    (void)printf("slice %s: its log ends too early: %s\n", slice->name, why.text);
    return FLY_OK;
}

/* What this node heard of later events, before it stopped. */
static void print_lost(const struct lost_slice *slice, const struct seen *seen)
{
    bool known = false;

    (void)printf("slice %s: its log %016" PRIx64 " ends at event %" PRIu64 ", with %u VMs\n",
                 slice->name, slice->sum.incarnation, slice->sum.seq, slice->sum.vms_started);
    for (uint32_t i = 0; i < seen_count(seen); i++) {
        const struct seen_slice *s = seen_at(seen, i);
        if (s->tag != slice->sum.tag) {
            continue;
        }
        for (unsigned k = 0; k < SEEN_LOGS_MAX; k++) {
            const struct seen_log *l = &s->logs[k];
            if (l->incarnation == slice->sum.incarnation && l->seq > slice->sum.seq) {
                (void)printf("  lost         %" PRIu64 " events, %" PRIu64 " to %" PRIu64
                             ": what was launched or destroyed then\n",
                             l->seq - slice->sum.seq, slice->sum.seq + 1, l->seq);
                known = true;
            } else if (l->incarnation != 0 && l->incarnation != slice->sum.incarnation) {
                (void)printf("  lost         another log of it, %016" PRIx64
                             ", up to event %" PRIu64 "\n",
                             l->incarnation, l->seq);
                known = true;
            }
        }
    }
    if (!known) {
        (void)printf("  lost         not known here: whatever others saw beyond that\n");
    }
}

static void print_what_now(const char *state)
{
    (void)printf("  accepted     at the next start of this node, if nothing is put in its place\n"
                 "               before: then it serves again, calls no key of that time new, and\n"
                 "               knows nothing of the VMs that are lost\n"
                 "  undo         rm %s/" ACCEPT_LOSS_FILE "\n",
                 state);
}

static enum fly_status accept_slice(const struct folder *folder, const char *state,
                                    struct fly_error *error)
{
    struct lost_slice slice = {.name = ""};
    struct peers *peers = peers_init(calloc(1, peers_size()), 1);
    struct seen *seen = seen_init(calloc(1, seen_size()), 1);
    char text[TEXT_MAX];
    enum fly_status status = find_slice(state, &slice, error);

    if (status == FLY_OK) {
        status = check_log(slice.dir, &slice.report, &slice.sum, error);
        status = status == FLY_DATA_LOSS ? accept_missing(&slice, error) : status;
    }
    if (status == FLY_OK && slice.sum.tag == 0) {
        status = fly_error_set(error, FLY_NOT_FOUND, "slice %s has no log yet: nothing can be lost",
                               slice.name);
    }
    if (status == FLY_OK) {
        status = peers_file_load(state, peers, seen, error);
    }
    bool forgotten = false;
    if (status == FLY_OK && seen_find(seen, slice.sum.tag, NULL, NULL, &forgotten) && forgotten) {
        status = fly_error_set(error, FLY_FAILED_PRECONDITION,
                               "slice %s was declared lost by `flyrpc slice forget`: that cannot "
                               "be taken back, its %u VMs are orphans",
                               slice.name, slice.sum.vms_started);
    }
    if (status == FLY_OK) {
        const struct accept_loss word = {
            .tag = slice.sum.tag, .incarnation = slice.sum.incarnation, .seq = slice.sum.seq};
        print_lost(&slice, seen);
        status = folder_write(folder, ACCEPT_LOSS_FILE, text, word_format(&word, text), error);
    }
    free(peers);
    free(seen);
    return status;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct accept_args *args = state->input;

    switch (key) {
    case 's':
        args->state = value;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", value);
        return 0;
    case ARGP_KEY_END:
        if (args->state == NULL) {
            argp_error(state, "--state DIR is needed");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int accept_loss_run(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"state", 's', "DIR", 0, "state folder of a node that is not running", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Accepts that what other nodes saw of this slice's log, and is not in this folder, "
               "is lost: for a node that is quarantined because an old copy of its folder was put "
               "back, or because its log lost its end.\v"
               "First look for the newer folder: with it nothing is lost. Takes effect at the next "
               "start. Exit code 0: accepted. 1: not, and why.",
    };
    struct accept_args args = {.state = NULL};
    struct folder folder;
    struct fly_error error;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    if (folder_open(args.state, &folder, &error) != FLY_OK) {
        return complain(&error);
    }
    enum fly_status status = accept_slice(&folder, args.state, &error);
    folder_close(&folder);
    if (status != FLY_OK) {
        return complain(&error);
    }
    print_what_now(args.state);
    return 0;
}
