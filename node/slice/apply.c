/*
 * apply - folds one log entry into the state: here and in apply_machine.c a slice changes, and
 * nowhere else.
 *
 * Every decision here is a function of the state and the entry's bytes; nothing else may enter, or
 * replicas part. DESIGN 3.2, 4.
 */
#include <string.h>

#include "node/slice/apply_parts.h"
#include "proto/base/check.h"
#include "proto/wire/vmid.h"

static struct slice_totals *totals(struct step *t)
{
    return &t->s->core.totals;
}

struct event *step_emit(struct step *t, enum event_type type)
{
    struct event *e = &t->out->events[t->out->event_count];

    t->result->event = t->out->event_count++;
    *e = (struct event){
        .slice = totals(t)->tag,
        .incarnation = totals(t)->incarnation,
        .seq = ++totals(t)->seq,
        .type = (uint8_t)type,
        .time_ms = t->head->wall_ms,
    };
    return e;
}

static uint64_t emit_vm(struct step *t, enum event_type type, const struct slice_record *r)
{
    const struct slice_machine *m = slice_machine_at(t->s, r->machine);
    struct event *e = step_emit(t, type);

    e->vm = r->vm;
    e->state = (uint8_t)r->state;
    memcpy(e->name, r->name, sizeof e->name);
    memcpy(e->machine, r->machine_name, sizeof e->machine);
    memcpy(e->region, r->region, sizeof e->region);
    e->cores = r->cores;
    e->memory_bytes = r->memory_bytes;
    e->machine_cores_free = m->cores - m->cores_used;
    e->machine_memory_free_bytes = m->memory_bytes - m->memory_used_bytes;
    return e->seq;
}

/* The key's last life begins. */
static void start_last_life(struct step *t, uint32_t slot)
{
    struct slice_record *r = state_record_write(t->s, slot);

    r->expires_ms =
        totals(t)->slice_ms + (key_minted(&r->key) ? SLICE_KEY_LIFE_MS : SLICE_HASHED_KEY_LIFE_MS);
    state_queue_append(t->s, slot);
}

static void purge(struct slice_state *s)
{
    struct slice_totals *sum = &s->core.totals;
    uint32_t left = SLICE_PURGE_MAX;

    for (unsigned q = 0; q < QUEUE_COUNT; q++) {
        while (left > 0 && s->core.queues[q].head != SLICE_NONE) {
            const struct slice_record *r = slice_record_at(s, s->core.queues[q].head);
            if (r->expires_ms > sum->slice_ms) {
                break;
            }
            if (key_mint_s(&r->key) > sum->purged_mint_s) {
                sum->purged_mint_s = key_mint_s(&r->key);
            }
            state_record_drop(s, state_queue_pop(s, q));
            left--;
        }
    }
}

/* What an existing record says to a LAUNCH, BIND or CANCEL; SLICE_OK: it is bound to the hold that
 * `replaces` proves dead, go on. */
static enum slice_code judge_record(const struct slice_record *r, const struct command *c)
{
    if (c->type != COMMAND_CANCEL && r->kind != RECORD_CANCELLED &&
        memcmp(&r->digest, &c->digest, sizeof r->digest) != 0) {
        return SLICE_KEY_REUSED;
    }
    switch (r->kind) {
    case RECORD_VM:
        return SLICE_REPLAYED;
    case RECORD_DONE:
        return SLICE_DONE_ELSEWHERE;
    case RECORD_CANCELLED:
        return SLICE_CANCELLED;
    case RECORD_BOUND:
        return hold_equal(&r->hold, &c->replaces) ? SLICE_OK : SLICE_BOUND;
    case RECORD_FREE:
    default:
        FLY_UNREACHABLE();
    }
}

/* Finds the key's record or, where the key may still become something, *slot is SLICE_NONE. */
static enum slice_code judge_key(struct step *t, const struct command *c, uint32_t *slot)
{
    *slot = slice_record_find(t->s, c->subject, &c->key);
    if (*slot == SLICE_NONE) {
        return slice_key_age(t->s, &c->key, t->head->wall_ms);
    }
    const struct slice_record *r = slice_record_at(t->s, *slot);
    enum slice_code code = judge_record(r, c);
    t->result->record = *slot;
    return code == SLICE_OK && c->type != COMMAND_CANCEL && slice_bind_doubtful(t->s, r)
               ? SLICE_KEY_EXPIRED
               : code;
}

/* The key's record to fill, made when there is none; SLICE_NONE: the table is full. */
static uint32_t claim_record(struct step *t, const struct command *c, uint32_t slot)
{
    if (slot == SLICE_NONE) {
        slot = state_record_add(t->s, c->subject, &c->key);
    }
    t->result->record = slot;
    return slot;
}

static enum slice_code apply_launch(struct step *t, const struct command *c)
{
    uint32_t slot = SLICE_NONE;
    enum slice_code code = judge_key(t, c, &slot);

    if (code != SLICE_OK) {
        return code;
    }
    const struct slice_machine *m = slice_machine_at(t->s, c->machine);
    if (m->name[0] == '\0' || c->cores < 1 || c->memory_bytes < 1 ||
        m->cores - m->cores_used < c->cores ||
        m->memory_bytes - m->memory_used_bytes < c->memory_bytes) {
        return SLICE_NO_ROOM;
    }
    if (totals(t)->vms_created == VMID_NUMBER_MAX ||
        (slot = claim_record(t, c, slot)) == SLICE_NONE) {
        return SLICE_TABLE_FULL;
    }
    struct slice_machine *w = state_machine_write(t->s, c->machine);
    w->cores_used += c->cores;
    w->memory_used_bytes += c->memory_bytes;
    w->vm_count++;
    struct slice_record *r = state_record_write(t->s, slot);
    r->kind = RECORD_VM;
    r->digest = c->digest;
    r->hold = c->hold;
    r->number = ++totals(t)->vms_created;
    r->vm = vmid_make(totals(t)->tag, r->number);
    if (c->name[0] != '\0') {
        memcpy(r->name, c->name, sizeof r->name);
    } else {
        if (t->head->version == 1) {
            vmid_name_1(r->vm, r->name);
        } else {
            vmid_name(r->vm, r->name);
        }
    }
    r->machine = c->machine;
    r->cores = c->cores;
    r->memory_bytes = c->memory_bytes;
    r->state = VM_STARTED;
    memcpy(r->machine_name, w->name, sizeof r->machine_name);
    memcpy(r->region, w->region, sizeof r->region);
    r->created_ms = t->head->wall_ms;
    state_vm_index(t->s, slot);
    totals(t)->vms_started++;
    r->seq = emit_vm(t, EVENT_VM_STARTED, r);
    return SLICE_OK;
}

static enum slice_code apply_bind(struct step *t, const struct command *c)
{
    uint32_t slot = SLICE_NONE;
    enum slice_code code = judge_key(t, c, &slot);

    if (code == SLICE_BOUND && hold_equal(&slice_record_at(t->s, slot)->hold, &c->hold)) {
        return SLICE_REPLAYED;
    }
    if (code != SLICE_OK) {
        return code;
    }
    slot = claim_record(t, c, slot);
    if (slot == SLICE_NONE) {
        return SLICE_TABLE_FULL;
    }
    struct slice_record *r = state_record_write(t->s, slot);
    r->kind = RECORD_BOUND;
    r->digest = c->digest;
    r->hold = c->hold;
    r->generation++;
    r->created_ms = totals(t)->slice_ms;
    return SLICE_OK;
}

static enum slice_code apply_done(struct step *t, const struct command *c)
{
    uint32_t slot = slice_record_find(t->s, c->subject, &c->key);
    const struct slice_record *r = slice_record_at(t->s, slot);

    t->result->record = slot;
    if (r->kind == RECORD_DONE && r->vm == c->vm) {
        return SLICE_REPLAYED;
    }
    if (r->kind != RECORD_BOUND || !hold_equal(&r->hold, &c->hold)) {
        return SLICE_NOT_FOUND;
    }
    struct slice_record *w = state_record_write(t->s, slot);
    w->kind = RECORD_DONE;
    w->vm = c->vm;
    return SLICE_OK;
}

static enum slice_code apply_cancel(struct step *t, const struct command *c)
{
    uint32_t slot = SLICE_NONE;
    enum slice_code code = judge_key(t, c, &slot);

    if (code == SLICE_CANCELLED) {
        return SLICE_REPLAYED;
    }
    if (code == SLICE_KEY_EXPIRED && key_mint_s(&c->key) > totals(t)->purged_mint_s) {
        totals(t)->purged_mint_s = key_mint_s(&c->key); /* too old for good: clocks may go back */
    }
    if (code != SLICE_OK) {
        return code;
    }
    slot = claim_record(t, c, slot);
    if (slot == SLICE_NONE) {
        return SLICE_TABLE_FULL;
    }
    state_record_write(t->s, slot)->kind = RECORD_CANCELLED;
    start_last_life(t, slot);
    return SLICE_OK;
}

static enum slice_code apply_destroy(struct step *t, const struct command *c)
{
    uint32_t slot = slice_vm_find(t->s, c->vm);

    t->result->record = slot;
    if (slot == SLICE_NONE) {
        return SLICE_NOT_FOUND;
    }
    if (slice_record_at(t->s, slot)->state == VM_DESTROYED) {
        return SLICE_REPLAYED;
    }
    struct slice_record *r = state_record_write(t->s, slot);
    struct slice_machine *m = state_machine_write(t->s, r->machine);
    FLY_CHECK(m->cores_used >= r->cores && m->memory_used_bytes >= r->memory_bytes);
    m->cores_used -= r->cores;
    m->memory_used_bytes -= r->memory_bytes;
    m->vm_count--;
    r->state = VM_DESTROYED;
    r->destroyed_ms = t->head->wall_ms;
    totals(t)->vms_started--;
    r->seq = emit_vm(t, EVENT_VM_DESTROYED, r);
    start_last_life(t, slot);
    return SLICE_OK;
}

static enum slice_code apply_release(struct step *t, const struct command *c)
{
    uint32_t slot = slice_record_find(t->s, c->subject, &c->key);
    const struct slice_record *r = slice_record_at(t->s, slot);

    t->result->record = slot;
    if (r->kind != RECORD_DONE || r->vm != c->vm) {
        return SLICE_NOT_FOUND;
    }
    if (r->expires_ms != 0) {
        return SLICE_REPLAYED;
    }
    start_last_life(t, slot);
    return SLICE_OK;
}

static enum slice_code apply_found(struct step *t, const struct command *c)
{
    if (totals(t)->tag != 0 || c->tag < 1 || c->tag > FLY_TAG_MAX || c->machines_max < 1 ||
        c->records_max < 1) {
        return SLICE_STALE;
    }
    totals(t)->tag = c->tag;
    totals(t)->machines_max = c->machines_max;
    totals(t)->records_max = c->records_max;
    totals(t)->incarnation = c->incarnation;
    totals(t)->founded_ms = t->head->wall_ms;
    return SLICE_OK;
}

static enum slice_code apply_lead(struct step *t, const struct command *c)
{
    if (totals(t)->tag == 0 || c->term <= totals(t)->term) {
        return SLICE_STALE;
    }
    totals(t)->term = c->term;
    totals(t)->boot = t->head->boot;
    return SLICE_OK;
}

/* Somebody saw more of this log than there is, or another log of this tag, and an admin accepts
 * that it is lost. Nothing of it may be taken for something new: neither numbers of events and VMs,
 * nor keys that were minted until now. */
static enum slice_code apply_loss(struct step *t, const struct command *c)
{
    struct slice_totals *sum = totals(t);
    bool own = c->incarnation == sum->incarnation;
    uint64_t seen = c->seq > sum->seq ? c->seq : sum->seq;
    uint64_t now_s = (uint64_t)t->head->wall_ms / 1000;

    for (unsigned i = 0; i < SLICE_LOST_MAX && !own; i++) {
        if (sum->lost[i] == c->incarnation) {
            return SLICE_REPLAYED;
        }
    }
    if (own && c->seq <= sum->seq) {
        return SLICE_REPLAYED;
    }
    if (c->incarnation == 0 || c->margin < SLICE_LOSS_MARGIN || c->margin > VMID_NUMBER_MAX ||
        seen > VMID_NUMBER_MAX - c->margin) {
        return SLICE_NO_ROOM;
    }
    if (!own) {
        memmove(sum->lost + 1, sum->lost, sizeof sum->lost - sizeof sum->lost[0]);
        sum->lost[0] = c->incarnation;
    }
    sum->lost_ms = sum->slice_ms;
    sum->seq = seen + c->margin;
    sum->vms_created = sum->seq; /* each VM had its event */
    if (now_s <= UINT32_MAX && now_s > sum->purged_mint_s) {
        sum->purged_mint_s = (uint32_t)now_s;
    }
    return SLICE_OK;
}

static enum slice_code apply_command(struct step *t, const struct command *c)
{
    if (c->type == COMMAND_FOUND) {
        return apply_found(t, c);
    }
    if (c->type == COMMAND_LEAD) {
        return apply_lead(t, c);
    }
    if (t->head->boot != totals(t)->boot || totals(t)->tag == 0) {
        return SLICE_STALE; /* proposed by a leader that has been followed by another */
    }
    switch (c->type) {
    case COMMAND_MACHINE_ADD:
    case COMMAND_MACHINE_RESIZE:
    case COMMAND_MACHINE_REMOVE:
    case COMMAND_MACHINE_CORDON:
    case COMMAND_MACHINE_UNCORDON:
        return apply_machine(t, c);
    case COMMAND_LOSS:
        return apply_loss(t, c);
    case COMMAND_LAUNCH:
        return apply_launch(t, c);
    case COMMAND_BIND:
        return apply_bind(t, c);
    case COMMAND_DONE:
        return apply_done(t, c);
    case COMMAND_CANCEL:
        return apply_cancel(t, c);
    case COMMAND_DESTROY:
        return apply_destroy(t, c);
    case COMMAND_RELEASE:
        return apply_release(t, c);
    case COMMAND_FOUND:
    case COMMAND_LEAD:
    default:
        FLY_UNREACHABLE();
    }
}

/* The whole batch decodes, or nothing of it is applied. */
static enum fly_status batch_check(const struct slice_state *s, const uint8_t *data, size_t size,
                                   struct batch_head *head, struct fly_error *error)
{
    struct fly_reader r = fly_reader_over(data, size);
    struct command c;
    enum fly_status status = entry_head_decode(&r, head, error);

    for (unsigned i = 0; status == FLY_OK && i < head->count; i++) {
        status = entry_command_decode(&r, &c, error);
        if (status == FLY_OK && c.type == COMMAND_FOUND && s->core.totals.tag == 0) {
            status = state_fits(s, c.machines_max, c.records_max, error);
        }
    }
    if (status == FLY_OK && !fly_reader_done(&r)) {
        status = fly_error_set(error, FLY_DATA_LOSS, "batch has %zu bytes behind its commands",
                               fly_reader_left(&r));
    }
    return status;
}

enum fly_status slice_apply(struct slice_state *s, const uint8_t *data, size_t size,
                            struct slice_effects *out, struct fly_error *error)
{
    enum fly_status status = batch_check(s, data, size, &out->head, error);

    if (status != FLY_OK) {
        return status;
    }
    struct slice_totals *sum = &s->core.totals;
    sum->wall_ms = out->head.wall_ms;
    if (out->head.slice_ms > sum->slice_ms) {
        sum->slice_ms = out->head.slice_ms;
    }
    purge(s);
    out->result_count = out->head.count;
    out->event_count = 0;
    struct fly_reader r = fly_reader_over(data + ENTRY_HEAD_SIZE, size - ENTRY_HEAD_SIZE);
    for (unsigned i = 0; i < out->head.count; i++) {
        struct command c;
        struct step t = {.s = s, .head = &out->head, .out = out, .result = &out->results[i]};
        FLY_CHECK(entry_command_decode(&r, &c, NULL) == FLY_OK);
        *t.result = (struct slice_result){.record = SLICE_NONE, .event = SLICE_NONE};
        t.result->code = apply_command(&t, &c);
        out->types[i] = c.type;
    }
    return FLY_OK;
}
