/*
 * journal - open, append, close. See journal.h for the contract, journal_state.h for the parts.
 *
 * Shell.
 */
#include "node/slice/journal_state.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    DEFAULT_SEGMENT = 8 * 1024 * 1024,
    DEFAULT_SNAPSHOT_ENTRIES = 65536,
    DEFAULT_SNAPSHOT_BYTES = 8 * 1024 * 1024,
    DEFAULT_GROWTH = 100,
    DEFAULT_TRAILING = 1024,
    SEGMENT_MIN = 16 * 1024,
    SEGMENT_MAX = 64 * 1024 * 1024,
    BATCH_ENTRIES_MAX = 1024, /* entries of one write request */
};

static void journal_turn(uv_idle_t *handle);

enum fly_status journal_raft_status(int code)
{
    switch (code) {
    case 0:
        return FLY_OK;
    case RAFT_NOSPACE:
    case RAFT_NOMEM:
        return FLY_RESOURCE_EXHAUSTED;
    case RAFT_CORRUPT:
    case RAFT_MALFORMED:
        return FLY_DATA_LOSS;
    default:
        return FLY_UNAVAILABLE;
    }
}

const char *journal_raft_text(int code)
{
    switch (code) {
    case RAFT_NOSPACE:
        return "disk full"; /* raft_strerror knows neither of these two */
    case RAFT_TOOMANY:
        return "a system limit was hit";
    default:
        return raft_strerror(code);
    }
}

/* Something to do at the start of the next turn. */
static void wake(struct journal *j)
{
    if (j->turn_open && !j->closing) {
        uv_idle_start(&j->turn, journal_turn);
    }
}

void journal_die(struct journal *j, enum fly_status status, const char *format, ...)
{
    va_list args;
    if (j->dead || j->closing) {
        return;
    }
    j->dead = true;
    j->error.status = status;
    va_start(args, format);
    vsnprintf(j->error.text, sizeof j->error.text, format, args);
    va_end(args);
    wake(j);
}

/* --- append -------------------------------------------------------------------------------- */

struct submission {
    struct raft_apply request;
    struct journal *journal;
};

static void submission_done(struct raft_apply *request, int status, void *result)
{
    struct submission *submission = request->data;
    struct journal *j = submission->journal;
    (void)result;
    if (status != 0) {
        journal_die(j, journal_raft_status(status), "apply: %s", journal_raft_text(status));
    }
    free(submission);
}

static void pending_drop(struct journal *j)
{
    while (j->pending_first != NULL) {
        struct journal_pending *pending = j->pending_first;
        j->pending_first = pending->next;
        free(pending);
    }
    j->pending_last = &j->pending_first;
}

/* Takes up to one batch off the queue, wrapped into libraft's memory. */
static unsigned batch_take(struct journal *j, struct raft_buffer *buffers, unsigned max)
{
    unsigned count = 0;
    size_t bytes = 0;
    struct segment_wrap wrap = {raft_last_index(&j->raft), j->raft.current_term,
                                j->raft.commit_index};
    while (count < max && j->pending_first != NULL) {
        struct journal_pending *pending = j->pending_first;
        size_t size = segment_wrap_size(pending->size);
        if (count > 0 && bytes + size > j->batch_max) {
            break;
        }
        buffers[count].base = raft_malloc(size);
        buffers[count].len = size;
        if (buffers[count].base == NULL) {
            break;
        }
        wrap.index++;
        segment_wrap_encode(buffers[count].base, &wrap, pending->data, pending->size);
        bytes += size + 16;
        count++;
        j->pending_first = pending->next;
        free(pending);
    }
    if (j->pending_first == NULL) {
        j->pending_last = &j->pending_first;
    }
    return count;
}

static void flush(struct journal *j)
{
    struct raft_buffer buffers[BATCH_ENTRIES_MAX];
    while (!j->dead && j->pending_first != NULL) {
        struct submission *submission = malloc(sizeof *submission);
        unsigned count = submission == NULL ? 0 : batch_take(j, buffers, BATCH_ENTRIES_MAX);
        if (count == 0) {
            free(submission);
            journal_die(j, FLY_RESOURCE_EXHAUSTED, "append: no memory");
            return;
        }
        submission->journal = j;
        submission->request.data = submission;
        int code = raft_apply(&j->raft, &submission->request, buffers, count, submission_done);
        if (code != 0) {
            for (unsigned i = 0; i < count; i++) {
                raft_free(buffers[i].base);
            }
            free(submission);
            journal_die(j, journal_raft_status(code), "append: %s", journal_raft_text(code));
        }
    }
}

enum fly_status journal_append(struct journal *j, const uint8_t *data, size_t size,
                               struct fly_error *error)
{
    enum fly_status status = FLY_OK;
    if (j->dead || j->closing || !j->leading) {
        status = fly_error_set(error, FLY_UNAVAILABLE, "the journal takes no entries: %s",
                               j->dead      ? j->error.text
                               : j->closing ? "closing"
                                            : "not ready");
    } else if (size == 0 || size > j->entry_max) {
        status =
            fly_error_set(error, FLY_INVALID_ARGUMENT,
                          "an entry of %zu bytes: the journal takes 1 to %zu", size, j->entry_max);
    } else if (j->stats.in_flight >= JOURNAL_IN_FLIGHT_MAX ||
               j->in_flight_bytes + size > JOURNAL_BYTES_MAX) {
        status = fly_error_set(error, FLY_RESOURCE_EXHAUSTED,
                               "%" PRIu64 " entries of %zu bytes are in flight already",
                               j->stats.in_flight, j->in_flight_bytes);
    }
    struct journal_pending *pending = status == FLY_OK ? malloc(sizeof *pending + size) : NULL;
    if (status == FLY_OK && pending == NULL) {
        status = fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "no memory for an entry");
    }
    if (status != FLY_OK) {
        j->stats.refused++;
        return status;
    }
    pending->next = NULL;
    pending->size = size;
    memcpy(pending->data, data, size);
    *j->pending_last = pending;
    j->pending_last = &pending->next;
    j->in_flight_bytes += size;
    j->stats.submitted++;
    if (j->stats.in_flight++ == 0) {
        j->answered_ms = uv_now(j->config.loop);
    }
    wake(j);
    return FLY_OK;
}

static void journal_turn(uv_idle_t *handle)
{
    struct journal *j = handle->data;
    uv_idle_stop(handle);
    if (!j->dead && !j->leading && raft_state(&j->raft) == RAFT_LEADER &&
        raft_last_applied(&j->raft) == raft_last_index(&j->raft)) {
        j->leading = true;
        j->config.hooks.lead(j->config.user, j->raft.current_term);
    }
    if (!j->dead && !j->closing) {
        flush(j);
    }
    if (j->dead && !j->told && !j->closing) {
        j->told = true;
        j->config.hooks.failed(j->config.user, &j->error);
    }
}

bool journal_ready(const struct journal *j)
{
    return j->leading && !j->dead && !j->closing;
}

void journal_stats(const struct journal *j, struct journal_stats *out)
{
    *out = j->stats;
    out->term = j->raft_open ? j->raft.current_term : 0;
    out->unanswered_ms =
        j->stats.in_flight > 0 ? (int64_t)(uv_now(j->config.loop) - j->answered_ms) : 0;
}

/* --- close --------------------------------------------------------------------------------- */

static void close_finish(struct journal *j)
{
    void (*closed)(void *user) = j->closed;
    void *user = j->closed_user;
    pending_drop(j);
    journal_view_drop(j);
    if (j->mark_fd >= 0) {
        close(j->mark_fd); /* lets go of the lock */
    }
    free(j);
    if (closed != NULL) {
        closed(user);
    }
}

static void close_turn_done(uv_handle_t *handle)
{
    close_finish(handle->data);
}

/* libraft 0.15 never ends a close after a write that it could not even submit. Leave it what it
 * holds (a few KiB, a segment's buffer and its descriptor): nothing is under way in the folder. */
static void close_abandon(uv_handle_t *handle)
{
    struct journal *j = handle->data;
    void (*closed)(void *user) = j->closed;
    pending_drop(j);
    journal_view_drop(j);
    close(j->mark_fd);
    j->mark_fd = -1;
    if (closed != NULL) {
        closed(j->closed_user);
    }
}

static void close_raft_done(struct raft *raft)
{
    struct journal *j = raft->data;
    raft_uv_close(&j->io);
    uv_close((uv_handle_t *)&j->turn, close_turn_done);
}

void journal_abandon(struct journal *j)
{
    if (!j->viewing) { /* else a pool thread still reads the picture: fsm_snapshot_finish comes */
        uv_close((uv_handle_t *)&j->turn, close_abandon);
    }
}

void journal_close(struct journal *j, void (*closed)(void *user), void *user)
{
    FLY_CHECK(!j->closing);
    j->closing = true;
    j->closed = closed;
    j->closed_user = user;
    uv_idle_stop(&j->turn);
    raft_close(&j->raft, j->stuck ? NULL : close_raft_done);
    if (j->stuck) {
        fly_log_error("journal.abandoned", F_STR("dir", j->dir), F_STR("reason", j->error.text));
        journal_abandon(j);
    }
}

/* --- open ---------------------------------------------------------------------------------- */

static enum fly_status config_take(struct journal *j, const struct journal_config *config,
                                   struct fly_error *error)
{
    const struct journal_hooks *hooks = &config->hooks;
    FLY_CHECK(hooks->apply != NULL && hooks->lead != NULL && hooks->failed != NULL &&
              hooks->view != NULL && hooks->encode != NULL && hooks->release != NULL &&
              hooks->restore != NULL && config->loop != NULL && config->dir != NULL);
    j->config = *config;
    if (!fly_copy_string(j->dir, sizeof j->dir, config->dir)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "the folder's path is too long");
    }
    struct journal_config *c = &j->config;
    c->dir = j->dir;
    c->id = c->id != 0 ? c->id : 1;
    c->segment_bytes = c->segment_bytes != 0 ? c->segment_bytes : DEFAULT_SEGMENT;
    c->snapshot_entries = c->snapshot_entries != 0 ? c->snapshot_entries : DEFAULT_SNAPSHOT_ENTRIES;
    c->snapshot_bytes = c->snapshot_bytes != 0 ? c->snapshot_bytes : DEFAULT_SNAPSHOT_BYTES;
    c->snapshot_growth = c->snapshot_growth != 0 ? c->snapshot_growth : DEFAULT_GROWTH;
    c->trailing = c->trailing != 0 ? c->trailing : DEFAULT_TRAILING;
    FLY_CHECK(c->segment_bytes >= SEGMENT_MIN && c->segment_bytes <= SEGMENT_MAX);
    /* a batch must fit a segment, whatever the block size */
    j->batch_max = c->segment_bytes / 2;
    j->entry_max =
        c->segment_bytes / 4 < JOURNAL_ENTRY_MAX ? c->segment_bytes / 4 : JOURNAL_ENTRY_MAX;
    return FLY_OK;
}

/* Mark, walk, repair: after this libraft has nothing to decide. */
static enum fly_status prepare(struct journal *j, bool *found_anew, uint64_t *term,
                               uint64_t *last_index, struct fly_error *error)
{
    struct journal_scan scan;
    memset(&scan, 0, sizeof scan);
    bool marked = false;
    enum fly_status status = journal_mark_open(j, &marked, error);
    if (status == FLY_OK) {
        status = journal_scan_read(&scan, j->dir, NULL, NULL, error);
        j->crc = scan.crc;
    }
    if (status == FLY_OK) {
        status = journal_repair(j, &scan, error);
    }
    if (status == FLY_OK) {
        const struct segment_check *check = &scan.check;
        *found_anew = check->unfounded;
        *term = check->metadata.term;
        *last_index = check->last_index;
        j->replay_last = check->last_index;
        j->stats.torn_tails = check->walk.torn_seen ? 1 : 0;
        j->stats.torn_bytes = check->walk.torn.bytes;
        status = journal_mark_settle(j, &scan, error);
    }
    journal_scan_drop(&scan);
    return status;
}

static enum fly_status raft_error(struct journal *j, int code, const char *verb,
                                  struct fly_error *error)
{
    const char *text = raft_errmsg(&j->raft)[0] != 0 ? raft_errmsg(&j->raft) : j->io.errmsg;
    if (j->restore_status != FLY_OK) {
        return fly_error_set(error, j->restore_status, "snapshot: %.250s", j->error.text);
    }
    return fly_error_set(error, journal_raft_status(code), "%s: %s%s%.200s", verb,
                         journal_raft_text(code), text[0] != 0 ? ": " : "", text);
}

static enum fly_status found(struct journal *j, const char *address, struct fly_error *error)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    int code = raft_configuration_add(&configuration, j->config.id, address, RAFT_VOTER);
    if (code == 0) {
        code = raft_bootstrap(&j->raft, &configuration);
    }
    raft_configuration_close(&configuration);
    return code == 0 ? FLY_OK : raft_error(j, code, "found", error);
}

/* libraft 0.15 lets a sole voter lead again in the term it led before the restart. A term must have
 * one leadership, so it is raised, and voted in, before libraft reads it. */
static enum fly_status begin_term(struct journal *j, uint64_t term, struct fly_error *error)
{
    int code = j->io.set_term(&j->io, term + 1);
    if (code == 0) {
        code = j->io.set_vote(&j->io, j->config.id);
    }
    if (code != 0 && j->dead) {
        *error = j->error;
        return error->status;
    }
    return code == 0 ? FLY_OK : raft_error(j, code, "term", error);
}

static enum fly_status start(struct journal *j, bool found_anew, uint64_t term, uint64_t last_index,
                             struct fly_error *error)
{
    char address[32];
    snprintf(address, sizeof address, "%" PRIu64, j->config.id); /* unique, and leads nowhere */
    int code = raft_init(&j->raft, &j->io, &j->fsm, j->config.id, address);
    if (code != 0) {
        return raft_error(j, code, "open", error);
    }
    j->raft_open = true;
    j->raft.data = j;
    raft_set_snapshot_threshold(&j->raft, UINT_MAX);
    raft_set_snapshot_trailing(&j->raft, j->config.trailing);
    enum fly_status status = found_anew ? found(j, address, error) : FLY_OK;
    if (status != FLY_OK) {
        return status;
    }
    status = begin_term(j, found_anew ? 1 : term, error);
    if (status != FLY_OK) {
        return status;
    }
    code = raft_start(&j->raft);
    if (code != 0) {
        return raft_error(j, code, "start", error);
    }
    uint64_t expected = found_anew ? 1 : last_index;
    if (raft_last_index(&j->raft) != expected) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "libraft loaded %llu entries where our reader found %" PRIu64,
                             raft_last_index(&j->raft), expected);
    }
    if (j->dead) {
        *error = j->error;
        return j->error.status;
    }
    return FLY_OK;
}

static enum fly_status open_raft(struct journal *j, bool found_anew, uint64_t term,
                                 uint64_t last_index, struct fly_error *error)
{
    journal_transport_init(&j->transport);
    journal_fsm_init(j);
    int code = raft_uv_init(&j->io, j->config.loop, j->dir, &j->transport);
    if (code != 0) {
        return fly_error_set(error, journal_raft_status(code), "open: %s", journal_raft_text(code));
    }
    j->io.version = 2; /* 0.15 says 1, but sets async_work, which fsm version 3 needs */
    raft_uv_set_segment_size(&j->io, j->config.segment_bytes);
    raft_uv_set_auto_recovery(&j->io, false);
    (void)raft_uv_set_snapshot_compression(&j->io, false);
    journal_io_wrap(j);
    enum fly_status status = start(j, found_anew, term, last_index, error);
    if (status != FLY_OK && !j->raft_open) {
        raft_uv_close(&j->io);
    }
    return status;
}

enum fly_status journal_open(struct journal **out, const struct journal_config *config,
                             struct fly_error *error)
{
    int64_t begun_ms = fly_clock_boot_ms();
    bool found_anew = false;
    uint64_t term = 0, last_index = 0;
    struct fly_error ignored;
    error = error != NULL ? error : &ignored;
    struct journal *j = calloc(1, sizeof *j);
    *out = NULL;
    if (j == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "no memory for a journal");
    }
    j->mark_fd = -1;
    j->pending_last = &j->pending_first;
    enum fly_status status = config_take(j, config, error);
    if (status == FLY_OK) {
        status = prepare(j, &found_anew, &term, &last_index, error);
    }
    if (status == FLY_OK) {
        status = open_raft(j, found_anew, term, last_index, error);
    }
    if (status != FLY_OK && !j->raft_open) {
        close_finish(j);
        return fly_error_wrap(error, "journal %s", config->dir);
    }
    uv_idle_init(j->config.loop, &j->turn);
    j->turn.data = j;
    j->turn_open = true;
    if (status != FLY_OK) {
        /* the loop ends what libraft began; until then the mark's lock keeps the folder */
        journal_close(j, NULL, NULL);
        return fly_error_wrap(error, "journal %s", config->dir);
    }
    j->stats.open_ms = fly_clock_boot_ms() - begun_ms;
    wake(j);
    *out = j;
    return FLY_OK;
}
