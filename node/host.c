#include "node/host.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "node/failpoint.h"
#include "node/slice/snapshot.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

enum {
    RECORDS_MAX = 131072,
    FLIGHTS_MAX = 8192,
    EVENTS_MAX = 65536,
    EVENTS_BYTES_MAX = 64 << 20,
    REOPEN_FIRST_MS = 100,
    REOPEN_MAX_MS = 5000,
    SILENT_MS = 1000, /* a disk that owes an answer for so long is said to be silent */
    LOOKS_MAX = 30,   /* silent looks, one a second, before the node gives up */
};

struct host {
    struct host_config config;
    struct journal *journal;
    struct owner *owner; /* NULL between a failure and the reopening */
    size_t owner_bytes;
    uint64_t told; /* seq of the last event handed out */
    uv_timer_t reopen;
    int64_t reopen_ms; /* pause before the next opening; 0 once the slice is ready */
    bool reopening;    /* after a failure */
    bool founded;      /* the log was empty when this process opened it */
    uint64_t recoveries;
    uint64_t failures;
    int64_t look_ms; /* when to look at the disk's silence again; INT64_MAX: nothing is under way */
    bool silent;     /* the disk owes an answer for long */
    unsigned looks;  /* how often it was found silent in a row */
    bool dead;       /* fatal() was called */
    bool closing;
    void (*closed)(void *user);
    uint8_t batch[SLICE_BATCH_BYTES_MAX];
};

static struct owner_now read_clocks(void)
{
    return (struct owner_now){.boot_ms = fly_clock_boot_ms(), .wall_ms = fly_clock_wall_ms()};
}

static uint64_t random_u64(void)
{
    uint64_t value = 0;

    while (value == 0) {
        randombytes_buf(&value, sizeof value);
    }
    return value;
}

/* Address space for every bound; pages come when they are touched. */
static void owner_make(struct host *h)
{
    const struct owner_config config = {
        .slice = {.machines_max = SLICE_MACHINES_MAX,
                  .records_max = RECORDS_MAX,
                  .hash_seed = random_u64()},
        .tag = h->config.tag,
        .root_tag = h->config.root_tag,
        .flights_max = FLIGHTS_MAX,
        .hold_life_ms = SLICE_HOLD_LIFE_MS,
        .events_max = EVENTS_MAX,
        .events_bytes_max = EVENTS_BYTES_MAX,
        .boot = random_u64(),
        .seed = random_u64(),
    };
    h->owner_bytes = owner_size(&config);
    void *memory = mmap(NULL, h->owner_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    FLY_CHECK(memory != MAP_FAILED);
    h->owner = owner_init(memory, &config);
}

static void owner_unmake(struct host *h)
{
    if (h->owner != NULL) {
        FLY_CHECK(munmap(h->owner, h->owner_bytes) == 0);
        h->owner = NULL;
    }
}

static void die(struct host *h, const struct fly_error *error)
{
    if (!h->dead) {
        h->dead = true;
        h->config.hooks.fatal(h->config.user, error);
    }
}

/* --- the journal's hooks --- */

static void tell_events(struct host *h)
{
    uint64_t first = 0;
    uint64_t last = 0;
    struct event event;

    owner_events_range(h->owner, &first, &last);
    for (uint64_t seq = h->told + 1 > first ? h->told + 1 : first; seq <= last; seq++) {
        if (owner_event(h->owner, seq, &event)) {
            h->config.hooks.event(h->config.user, &event);
        }
    }
    h->told = last;
}

static void on_apply(void *user, uint64_t index, uint64_t term, const uint8_t *data, size_t size)
{
    struct host *h = user;
    struct fly_error error;

    (void)term;
    if (h->dead) {
        return;
    }
    if (owner_apply(h->owner, data, size, &error) != FLY_OK) {
        (void)fly_error_wrap(&error, "log entry %llu", (unsigned long long)index);
        owner_stop(h->owner, FLY_DATA_LOSS, "the slice's log cannot be read");
        die(h, &error);
        return;
    }
    tell_events(h);
    if (owner_ready(h->owner) && h->reopen_ms != 0) {
        h->reopen_ms = 0;
        if (h->reopening) {
            h->reopening = false;
            h->recoveries++;
            fly_log_info("journal.recovered", F_STR("dir", h->config.dir),
                         F_U64("recoveries", h->recoveries));
        }
        h->config.hooks.ready(h->config.user);
    }
}

static void on_lead(void *user, uint64_t term)
{
    struct host *h = user;

    if (!h->dead) {
        h->founded |= slice_totals(owner_state(h->owner))->tag == 0;
        owner_lead(h->owner, term, random_u64(), read_clocks());
    }
}

static void hand_out(struct host *h)
{
    struct owner_answer answer;

    while (h->owner != NULL && owner_next_answer(h->owner, &answer)) {
        h->config.hooks.answer(h->config.user, &answer);
    }
}

static void on_journal_closed(void *user);

static void on_failed(void *user, const struct fly_error *error)
{
    struct host *h = user;

    h->failures++;
    fly_log_error("journal.failed", F_STR("dir", h->config.dir), F_STR("error", error->text),
                  F_U64("failures", h->failures));
    owner_stop(h->owner, FLY_UNAVAILABLE, "the slice's disk failed; the node is recovering");
    hand_out(h);
    if (!h->closing) {
        journal_close(h->journal, on_journal_closed, h);
    }
}

static void *on_view(void *user)
{
    struct host *h = user;

    return slice_view_take(owner_state(h->owner));
}

static enum fly_status on_encode(void *user, void *view, uint8_t **data, size_t *size)
{
    size_t max = snapshot_size_max(view);

    (void)user;
    *data = malloc(max);
    if (*data == NULL) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    *size = snapshot_encode(view, *data, max);
    return FLY_OK;
}

static void on_release(void *user, void *view)
{
    struct host *h = user;

    slice_view_drop(owner_state(h->owner), view);
}

static enum fly_status on_restore(void *user, const uint8_t *data, size_t size,
                                  struct fly_error *error)
{
    struct host *h = user;
    struct slice_state *state = owner_state(h->owner);
    enum fly_status status = snapshot_decode(state, data, size, error);

    if (status != FLY_OK) {
        return status;
    }
    h->config.hooks.restored(h->config.user, state);
    h->told = slice_totals(state)->seq;
    return FLY_OK;
}

/* --- opening, failing, opening again, closing --- */

static enum fly_status journal_start(struct host *h, struct fly_error *error)
{
    const struct journal_config config = {
        .dir = h->config.dir,
        .loop = h->config.loop,
        .hooks = {.apply = on_apply,
                  .lead = on_lead,
                  .failed = on_failed,
                  .view = on_view,
                  .encode = on_encode,
                  .release = on_release,
                  .restore = on_restore},
        .user = h,
    };
    owner_make(h);
    h->told = 0;
    enum fly_status status = journal_open(&h->journal, &config, error);
    if (status != FLY_OK) {
        h->journal = NULL;
        owner_unmake(h);
    }
    return status;
}

/* The pause doubles until the slice was ready once more: on a full disk the log opens, and fails
 * again at its first entry. */
static void again_later(struct host *h)
{
    int64_t next_ms = h->reopen_ms == 0 ? REOPEN_FIRST_MS : 2 * h->reopen_ms;

    h->reopen_ms = next_ms < REOPEN_MAX_MS ? next_ms : REOPEN_MAX_MS;
    h->reopening = true;
}

static void on_reopen(uv_timer_t *timer)
{
    struct host *h = timer->data;
    struct fly_error error;

    if (h->dead || h->closing) {
        return;
    }
    enum fly_status status = journal_start(h, &error);
    if (status == FLY_OK) {
        return; /* ready() or failed() will tell */
    }
    if (status == FLY_DATA_LOSS || status == FLY_UNIMPLEMENTED) {
        die(h, &error);
    } else {
        h->failures++;
        again_later(h);
        fly_log_error("journal.reopen_failed", F_STR("error", error.text),
                      F_I64("again_in_ms", h->reopen_ms));
        FLY_CHECK(uv_timer_start(&h->reopen, on_reopen, (uint64_t)h->reopen_ms, 0) == 0);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct host *h = handle->data;
    void (*closed)(void *) = h->closed;
    void *user = h->config.user;

    free(h);
    closed(user);
}

static void on_journal_closed(void *user)
{
    struct host *h = user;

    h->journal = NULL;
    h->silent = false;
    h->looks = 0;
    h->look_ms = INT64_MAX;
    owner_unmake(h);
    if (h->closing) {
        uv_close((uv_handle_t *)&h->reopen, on_timer_closed);
    } else {
        again_later(h);
        FLY_CHECK(uv_timer_start(&h->reopen, on_reopen, (uint64_t)h->reopen_ms, 0) == 0);
    }
}

enum fly_status host_open(struct host **out, const struct host_config *config,
                          struct fly_error *error)
{
    struct host *h = calloc(1, sizeof *h);

    FLY_CHECK(h != NULL);
    h->config = *config;
    h->reopen_ms = REOPEN_FIRST_MS;
    h->look_ms = INT64_MAX;
    enum fly_status status = journal_start(h, error);
    if (status != FLY_OK) {
        free(h);
        return status;
    }
    FLY_CHECK(uv_timer_init(config->loop, &h->reopen) == 0);
    h->reopen.data = h;
    *out = h;
    return FLY_OK;
}

void host_close(struct host *h, void (*closed)(void *user))
{
    FLY_CHECK(!h->closing);
    h->closing = true;
    h->closed = closed;
    if (h->owner != NULL) {
        owner_stop(h->owner, FLY_UNAVAILABLE, "the node is stopping");
        hand_out(h);
    }
    if (h->journal != NULL) {
        journal_close(h->journal, on_journal_closed, h);
    } else {
        uv_close((uv_handle_t *)&h->reopen, on_timer_closed);
    }
}

/* --- calls and turns --- */

void host_call(struct host *h, const struct owner_call *call, struct owner_now now)
{
    if (h->owner != NULL) {
        owner_call(h->owner, call, now);
        return;
    }
    const struct owner_answer refused = {.ticket = call->ticket,
                                         .kind = call->kind,
                                         .code = OWNER_REFUSED,
                                         .status = FLY_UNAVAILABLE,
                                         .text = "the slice's disk failed; the node is recovering"};
    h->config.hooks.answer(h->config.user, &refused);
}

static void append_waiting(struct host *h, struct owner_now now)
{
    struct fly_error error;
    size_t size = 0;

    while ((size = owner_next_batch(h->owner, now, h->batch, sizeof h->batch)) > 0) {
        failpoint_pass(FAILPOINT_OWNER_BEFORE_APPEND);
        enum fly_status status = journal_append(h->journal, h->batch, size, &error);
        failpoint_pass(FAILPOINT_OWNER_AFTER_APPEND);
        if (status != FLY_OK) {
            fly_log_warn("journal.refused", F_STR("error", error.text));
            owner_batch_refused(h->owner, status, "the slice's log takes nothing now");
            if (!owner_ready(h->owner)) { /* it was the leader's first entry: begin again */
                on_failed(h, &error);
                return;
            }
        }
    }
}

/* Nothing is decided while the disk is silent; people and placement should know (DESIGN 8). */
static void watch_disk(struct host *h, struct owner_now now)
{
    struct journal_stats stats;

    journal_stats(h->journal, &stats);
    bool silent = stats.unanswered_ms >= SILENT_MS;
    if (silent != h->silent) {
        h->silent = silent;
        fly_log_warn(silent ? "journal.silent" : "journal.answers", F_STR("dir", h->config.dir),
                     F_I64("unanswered_ms", stats.unanswered_ms),
                     F_U64("in_flight", stats.in_flight));
    }
    /* Looks are counted, not time: a node that was stopped itself finds a disk that has answered.
     */
    h->looks = !silent ? 0 : now.boot_ms >= h->look_ms ? h->looks + 1 : h->looks;
    h->look_ms = stats.in_flight > 0 ? now.boot_ms + SILENT_MS : INT64_MAX;
    if (h->looks >= LOOKS_MAX) {
        struct fly_error error;
        (void)fly_error_set(
            &error, FLY_UNAVAILABLE,
            "%s: the disk has not answered for %d s; what was acknowledged is safe, "
            "start the node again",
            h->config.dir, LOOKS_MAX);
        owner_stop(h->owner, FLY_UNAVAILABLE, "the slice's disk does not answer");
        hand_out(h);
        die(h, &error);
    }
}

void host_turn(struct host *h, struct owner_now now)
{
    if (h->owner == NULL || h->journal == NULL) {
        return;
    }
    owner_tick(h->owner, now);
    hand_out(h);
    if (h->owner != NULL) {
        append_waiting(h, now);
        hand_out(h);
    }
    if (h->journal != NULL && !h->dead && (h->look_ms == INT64_MAX || now.boot_ms >= h->look_ms)) {
        watch_disk(h, now);
    }
}

int64_t host_deadline(const struct host *h)
{
    int64_t due_ms = h->owner != NULL ? owner_deadline(h->owner) : INT64_MAX;

    return h->look_ms < due_ms ? h->look_ms : due_ms;
}

bool host_founded(const struct host *h)
{
    return h->founded;
}

bool host_serving(const struct host *h)
{
    return h->owner != NULL && owner_ready(h->owner) && !h->silent;
}

struct owner *host_owner(struct host *h)
{
    return h->owner != NULL && owner_ready(h->owner) ? h->owner : NULL;
}

void host_stats(const struct host *h, struct host_stats *out)
{
    *out = (struct host_stats){.recoveries = h->recoveries, .failures = h->failures};
    if (h->journal != NULL) {
        journal_stats(h->journal, &out->journal);
    }
    if (h->owner != NULL) {
        out->owner = *owner_counters(h->owner);
        out->ready = owner_ready(h->owner);
    }
}
