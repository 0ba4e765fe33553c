#include "node/slice/owner.h"

#include <string.h>

#include "node/slice/owner_parts.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

static size_t aligned(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

/* Every flight's waiters at once (owner_stop), and one call more. */
static uint32_t answers_max(const struct owner_config *config)
{
    return config->flights_max * FLIGHT_WAITERS_MAX + 1;
}

size_t owner_size(const struct owner_config *config)
{
    return aligned(sizeof(struct owner)) + slice_state_size(&config->slice) +
           book_size(config->flights_max, config->slice.machines_max) +
           retain_size(config->events_max, config->events_bytes_max) +
           aligned(answers_max(config) * sizeof(struct owner_answer));
}

struct owner *owner_init(void *memory, const struct owner_config *config)
{
    struct owner *o = memory;
    uint8_t *p = memory;

    FLY_CHECK(config->tag >= 1 && config->tag <= FLY_TAG_MAX && config->boot != 0);
    o->config = *config;
    p += aligned(sizeof *o);
    o->state = slice_state_init(p, &config->slice);
    p += slice_state_size(&config->slice);
    book_init(&o->book, p, config->flights_max, config->slice.machines_max,
              config->slice.hash_seed);
    p += book_size(config->flights_max, config->slice.machines_max);
    retain_init(&o->retain, p, config->events_max, config->events_bytes_max);
    p += retain_size(config->events_max, config->events_bytes_max);
    o->answers = (struct owner_answer *)(void *)p;
    o->answers_max = answers_max(config);
    fly_rng_seed(&o->rng, config->seed);
    return o;
}

struct slice_state *owner_state(struct owner *o)
{
    return o->state;
}

bool owner_ready(const struct owner *o)
{
    return o->ready && !o->stopped;
}

const struct owner_counters *owner_counters(const struct owner *o)
{
    return &o->counters;
}

/* --- answers --- */

struct owner_answer *owner_answer_new(struct owner *o, uint64_t ticket, enum owner_call_kind kind,
                                      enum owner_code code)
{
    FLY_CHECK(o->answer_end < o->answers_max); /* the shell takes all answers after each step */
    struct owner_answer *a = &o->answers[o->answer_end++];
    *a = (struct owner_answer){.ticket = ticket, .kind = kind, .code = code};
    return a;
}

void owner_answer_refused(struct owner *o, uint64_t ticket, enum owner_call_kind kind,
                          enum fly_status status, const char *text)
{
    struct owner_answer *a = owner_answer_new(o, ticket, kind, OWNER_REFUSED);

    a->status = status;
    a->text = text;
    o->counters.refused++;
}

static void vm_from_record(const struct slice_record *r, struct vm *out)
{
    *out = (struct vm){
        .id = r->vm,
        .number = r->number,
        .cores = r->cores,
        .memory_bytes = r->memory_bytes,
        .state = r->state,
        .seq = r->seq,
        .key = r->key,
        .created_ms = r->created_ms,
        .destroyed_ms = r->destroyed_ms,
    };
    memcpy(out->name, r->name, sizeof out->name);
    memcpy(out->region, r->region, sizeof out->region);
    memcpy(out->machine, r->machine_name, sizeof out->machine);
    memcpy(out->subject, r->subject, sizeof out->subject);
}

bool owner_vm_at(const struct owner *o, uint32_t slot, struct vm *out)
{
    const struct slice_record *r = slice_record_at(o->state, slot);

    if (r->kind != RECORD_VM) {
        return false;
    }
    vm_from_record(r, out);
    return true;
}

bool owner_away_at(const struct owner *o, uint32_t slot, struct key_away *out)
{
    const struct slice_record *r = slice_record_at(o->state, slot);

    if ((r->kind != RECORD_BOUND && r->kind != RECORD_DONE) || r->expires_ms != 0) {
        return false;
    }
    *out = (struct key_away){.key = r->key,
                             .hold = r->hold,
                             .vm = r->kind == RECORD_DONE ? r->vm : 0,
                             .since_ms = r->created_ms};
    memcpy(out->subject, r->subject, sizeof out->subject);
    return true;
}

void owner_answer_record(struct owner *o, uint64_t ticket, enum owner_call_kind kind, uint32_t slot,
                         bool replayed)
{
    const struct slice_record *r = slice_record_at(o->state, slot);
    struct owner_answer *a = owner_answer_new(o, ticket, kind, OWNER_VM);

    a->vm_id = r->vm;
    a->hold = r->hold;
    switch (r->kind) {
    case RECORD_VM:
        a->replayed = replayed;
        vm_from_record(r, &a->vm);
        return;
    case RECORD_BOUND:
        a->code = OWNER_BOUND;
        a->generation = r->generation;
        return;
    case RECORD_DONE:
        a->code = OWNER_VM_ELSEWHERE;
        a->replayed = true;
        return;
    case RECORD_CANCELLED:
        a->code = OWNER_CANCELLED;
        return;
    case RECORD_FREE:
    default:
        FLY_UNREACHABLE();
    }
}

bool owner_next_answer(struct owner *o, struct owner_answer *out)
{
    if (o->answer_first == o->answer_end) {
        return false;
    }
    *out = o->answers[o->answer_first++];
    if (o->answer_first == o->answer_end) {
        o->answer_first = 0;
        o->answer_end = 0;
    }
    return true;
}

/* --- the log's side --- */

int64_t owner_slice_ms(const struct owner *o, struct owner_now now)
{
    int64_t elapsed = now.boot_ms - o->lead_boot_ms;

    return o->lead_slice_ms + (elapsed > 0 ? elapsed : 0);
}

size_t owner_next_batch(struct owner *o, struct owner_now now, uint8_t *out, size_t max)
{
    struct flight *f = book_first(&o->book, FLIGHT_WAITING);
    struct fly_writer w;

    FLY_CHECK(max >= SLICE_BATCH_BYTES_MAX);
    if (f == NULL || o->stopped) {
        return 0;
    }
    FLY_CHECK(o->leading);
    const struct batch_head head = {.wall_ms = now.wall_ms,
                                    .slice_ms = owner_slice_ms(o, now),
                                    .boot = o->config.boot,
                                    .batch = ++o->batch};
    entry_begin(&w, out, max, &head);
    for (; f != NULL && entry_put(&w, &f->command); f = book_first(&o->book, FLIGHT_WAITING)) {
        f->batch = o->batch;
        book_move(&o->book, f, FLIGHT_PROPOSED);
        o->counters.commands++;
    }
    o->counters.batches++;
    return entry_end(&w);
}

void owner_flight_refuse(struct owner *o, struct flight *f, enum fly_status status,
                         const char *text)
{
    for (uint32_t i = 0; i < f->waiter_count; i++) {
        const struct waiter *w = &f->waiters[i];
        if (w->kind == OWNER_CLOSE) { /* it was never submitted and its hold is gone */
            (void)owner_answer_new(o, w->ticket, w->kind, OWNER_DEAD);
        } else {
            owner_answer_refused(o, w->ticket, w->kind, status, text);
        }
    }
    book_drop(&o->book, f);
}

void owner_batch_refused(struct owner *o, enum fly_status status, const char *text)
{
    const struct fly_list *proposed = &o->book.lists[FLIGHT_PROPOSED];

    for (const struct fly_list *at = proposed->next; at != proposed;) {
        struct flight *f = FLY_CONTAINER(at, struct flight, link);
        at = at->next;
        if (f->batch == o->batch) {
            owner_flight_refuse(o, f, status, text);
        }
    }
}

void owner_stop(struct owner *o, enum fly_status status, const char *text)
{
    struct flight *f = NULL;

    if (o->stopped) {
        return;
    }
    o->stopped = true;
    o->stop_status = status;
    o->stop_text = text;
    while ((f = book_first(&o->book, FLIGHT_WAITING)) != NULL) {
        owner_flight_refuse(o, f, status, text);
    }
    while ((f = book_first(&o->book, FLIGHT_PROPOSED)) != NULL) {
        for (uint32_t i = 0; i < f->waiter_count; i++) {
            (void)owner_answer_new(o, f->waiters[i].ticket, f->waiters[i].kind, OWNER_UNKNOWN);
            o->counters.answers_unknown++;
        }
        book_drop(&o->book, f);
    }
    while ((f = book_first(&o->book, FLIGHT_HELD)) != NULL) {
        book_drop(&o->book, f);
    }
}

/* What leads the slice, or ends the quarantine: nobody's call. */
static bool is_ours(const struct flight *f)
{
    return f->command.type == COMMAND_FOUND || f->command.type == COMMAND_LEAD ||
           f->command.type == COMMAND_LOSS;
}

void owner_quarantine(struct owner *o, enum fly_status status, const char *text)
{
    FLY_CHECK(status != FLY_OK);
    o->quarantine_text = text;
    o->quarantine_status = status;
    for (uint32_t i = 0; i < o->book.fresh; i++) {
        struct flight *f = &o->book.flights[i];
        if (f->state == FLIGHT_FREE || is_ours(f)) {
            continue;
        }
        for (uint32_t w = 0; w < f->waiter_count; w++) {
            const struct waiter *waiter = &f->waiters[w];
            if (f->state == FLIGHT_PROPOSED) {
                (void)owner_answer_new(o, waiter->ticket, waiter->kind, OWNER_UNKNOWN);
                o->counters.answers_unknown++;
            } else {
                owner_answer_refused(o, waiter->ticket, waiter->kind, status, o->quarantine_text);
            }
        }
        f->waiter_count = 0;
        if (f->state != FLIGHT_PROPOSED) {
            book_drop(&o->book, f);
        }
    }
}

void owner_release_quarantine(struct owner *o)
{
    o->quarantine_status = FLY_OK;
}

const char *owner_quarantined(const struct owner *o)
{
    return o->quarantine_status == FLY_OK ? NULL : o->quarantine_text;
}

void owner_lead(struct owner *o, uint64_t term, uint64_t found_incarnation, struct owner_now now)
{
    const struct slice_totals *sum = slice_totals(o->state);
    int64_t down_ms = now.wall_ms - sum->wall_ms;

    FLY_CHECK(!o->leading && !o->stopped);
    o->leading = true;
    o->term = term;
    o->lead_boot_ms = now.boot_ms;
    if (sum->tag == 0) {
        const struct command found = {.type = COMMAND_FOUND,
                                      .tag = o->config.tag,
                                      .incarnation = found_incarnation,
                                      .machines_max = o->config.slice.machines_max,
                                      .records_max = o->config.slice.records_max};
        o->lead_slice_ms = now.wall_ms;
        FLY_CHECK(book_add(&o->book, &found, FLIGHT_WAITING, NULL) != NULL);
    } else {
        o->lead_slice_ms = sum->slice_ms + (down_ms > 0 ? down_ms : 0);
    }
    const struct command lead = {.type = COMMAND_LEAD, .term = term};
    FLY_CHECK(book_add(&o->book, &lead, FLIGHT_WAITING, NULL) != NULL);
}

/* What apply() made of a command about a key or a VM, for one waiter. */
static void answer_result(struct owner *o, const struct waiter *w, const struct slice_result *r)
{
    switch (r->code) {
    case SLICE_OK: /* new for whoever launched it, not for whoever came to close its hold */
        owner_answer_record(o, w->ticket, w->kind, r->record, w->kind == OWNER_CLOSE);
        return;
    case SLICE_REPLAYED:
    case SLICE_BOUND:
    case SLICE_DONE_ELSEWHERE:
    case SLICE_CANCELLED:
        owner_answer_record(o, w->ticket, w->kind, r->record, true);
        return;
    case SLICE_KEY_REUSED:
        (void)owner_answer_new(o, w->ticket, w->kind, OWNER_KEY_REUSED);
        return;
    case SLICE_KEY_EXPIRED:
        (void)owner_answer_new(o, w->ticket, w->kind, OWNER_KEY_EXPIRED);
        return;
    case SLICE_KEY_FUTURE:
        (void)owner_answer_new(o, w->ticket, w->kind, OWNER_KEY_INVALID);
        return;
    case SLICE_NOT_FOUND:
        (void)owner_answer_new(o, w->ticket, w->kind, OWNER_NOT_FOUND);
        return;
    case SLICE_TABLE_FULL:
        owner_answer_refused(o, w->ticket, w->kind, FLY_RESOURCE_EXHAUSTED,
                             "the slice's table of VMs and keys is full");
        return;
    case SLICE_NO_ROOM:
        owner_answer_refused(o, w->ticket, w->kind, FLY_ABORTED,
                             "the machine changed under the launch");
        return;
    case SLICE_EXISTS:
    case SLICE_IN_USE:
    case SLICE_STALE:
    default:
        owner_answer_refused(o, w->ticket, w->kind, FLY_UNAVAILABLE,
                             "another leader took over before this was applied");
    }
}

static bool became_vm(const struct owner *o, const struct slice_result *r)
{
    return slice_record_at(o->state, r->record)->kind == RECORD_VM;
}

static void land(struct owner *o, struct flight *f, const struct slice_result *r)
{
    for (uint32_t i = 0; i < f->waiter_count; i++) {
        const struct waiter *w = &f->waiters[i];
        if (w->kind == OWNER_MACHINE) {
            owner_answer_machine(o, w, r->code);
        } else if ((w->kind == OWNER_DONE || w->kind == OWNER_RELEASE || w->kind == OWNER_LOSS) &&
                   (r->code == SLICE_OK || r->code == SLICE_REPLAYED)) {
            (void)owner_answer_new(o, w->ticket, w->kind, OWNER_DONE_OK);
        } else if (w->kind == OWNER_CLOSE && !became_vm(o, r)) {
            (void)owner_answer_new(o, w->ticket, w->kind, OWNER_DEAD);
        } else {
            answer_result(o, w, r);
        }
    }
    book_drop(&o->book, f);
}

enum fly_status owner_apply(struct owner *o, const uint8_t *data, size_t size,
                            struct fly_error *error)
{
    struct slice_effects *e = &o->effects;
    uint64_t seq_before = slice_totals(o->state)->seq;
    enum fly_status status = slice_apply(o->state, data, size, e, error);

    if (status != FLY_OK) {
        return status;
    }
    if (slice_totals(o->state)->tag != 0 && slice_totals(o->state)->tag != o->config.tag) {
        return fly_error_set(error, FLY_DATA_LOSS, "the log is of slice %06x, not of %06x",
                             slice_totals(o->state)->tag, o->config.tag);
    }
    if (o->retain.last != seq_before) { /* the state came from a snapshot */
        retain_start(&o->retain, seq_before);
    }
    for (uint32_t i = 0; i < e->event_count; i++) {
        if (e->events[i].seq != o->retain.last + 1) { /* behind an accepted loss */
            retain_start(&o->retain, e->events[i].seq - 1);
        }
        retain_add(&o->retain, &e->events[i]);
    }
    if (e->head.boot != o->config.boot || o->stopped) {
        return FLY_OK;
    }
    for (uint32_t i = 0; i < e->result_count; i++) {
        struct flight *f = book_first(&o->book, FLIGHT_PROPOSED);
        FLY_CHECK(f != NULL && f->batch == e->head.batch && f->command.type == e->types[i]);
        if (e->types[i] == COMMAND_LEAD && e->results[i].code == SLICE_OK) {
            o->ready = true;
            /* entries that were not applied yet when this one was stamped may be ahead of it */
            o->lead_slice_ms += slice_totals(o->state)->slice_ms - e->head.slice_ms;
        }
        land(o, f, &e->results[i]);
    }
    return FLY_OK;
}

/* --- time, book, events --- */

void owner_tick(struct owner *o, struct owner_now now)
{
    for (struct flight *f = book_first(&o->book, FLIGHT_HELD);
         f != NULL && f->expires_ms <= now.boot_ms; f = book_first(&o->book, FLIGHT_HELD)) {
        book_drop(&o->book, f);
        o->counters.holds_expired++;
    }
}

int64_t owner_deadline(const struct owner *o)
{
    const struct flight *f = book_first(&o->book, FLIGHT_HELD);
    return f != NULL ? f->expires_ms : INT64_MAX;
}

void owner_book(const struct owner *o, uint32_t machine, uint64_t *cores, uint64_t *memory_bytes)
{
    const struct slice_machine *m = slice_machine_at(o->state, machine);

    *cores = (uint64_t)m->cores_used + o->book.cores_held[machine];
    *memory_bytes = m->memory_used_bytes + o->book.memory_held[machine];
}

void owner_events_range(const struct owner *o, uint64_t *first, uint64_t *last)
{
    *last = slice_totals(o->state)->seq;
    *first = o->retain.last == *last ? retain_first(&o->retain) : *last + 1;
}

bool owner_event(const struct owner *o, uint64_t seq, struct event *out)
{
    struct fly_bytes body = retain_at(&o->retain, seq);
    const struct slice_totals *sum = slice_totals(o->state);

    if (body.size == 0) {
        return false;
    }
    FLY_CHECK(event_decode(body.data, body.size, sum->tag, sum->incarnation, out, NULL) == FLY_OK);
    return true;
}
