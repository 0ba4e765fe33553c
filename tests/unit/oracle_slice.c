#include "tests/unit/oracle_slice.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/wire/vmid.h"

struct oracle *oracle_create(const struct slice_config *config)
{
    struct oracle *o = calloc(1, sizeof *o);

    FLY_CHECK(o != NULL);
    o->config = *config;
    o->machines = calloc(config->machines_max, sizeof *o->machines);
    o->records = calloc(config->records_max, sizeof *o->records);
    FLY_CHECK(o->machines != NULL && o->records != NULL);
    return o;
}

void oracle_destroy(struct oracle *o)
{
    if (o != NULL) {
        free(o->machines);
        free(o->records);
        free(o);
    }
}

struct oracle *oracle_copy(const struct oracle *o)
{
    struct oracle *copy = oracle_create(&o->config);

    copy->totals = o->totals;
    copy->dying = o->dying;
    copy->forgotten = o->forgotten;
    memcpy(copy->machines, o->machines, o->config.machines_max * sizeof *o->machines);
    memcpy(copy->records, o->records, o->config.records_max * sizeof *o->records);
    return copy;
}

static struct oracle_record *find(const struct oracle *o, const char *subject,
                                  const struct fly_key *key)
{
    for (uint32_t i = 0; i < o->totals.records; i++) {
        struct oracle_record *x = &o->records[i];
        if (key_equal(&x->r.key, key) && strcmp(x->r.subject, subject) == 0) {
            return x;
        }
    }
    return NULL;
}

static struct oracle_record *find_vm(const struct oracle *o, uint64_t vm)
{
    for (uint32_t i = 0; i < o->totals.records; i++) {
        if (o->records[i].r.kind == RECORD_VM && o->records[i].r.vm == vm) {
            return &o->records[i];
        }
    }
    return NULL;
}

const struct slice_record *oracle_find(const struct oracle *o, const char *subject,
                                       const struct fly_key *key)
{
    const struct oracle_record *x = find(o, subject, key);
    return x == NULL ? NULL : &x->r;
}

const struct slice_record *oracle_vm(const struct oracle *o, uint64_t vm)
{
    const struct oracle_record *x = find_vm(o, vm);
    return x == NULL ? NULL : &x->r;
}

static struct slice_machine *find_machine(const struct oracle *o, const char *name)
{
    for (uint32_t i = 0; i < o->config.machines_max; i++) {
        if (name[0] != '\0' && strcmp(o->machines[i].name, name) == 0) {
            return &o->machines[i];
        }
    }
    return NULL;
}

/* The first to be forgotten of those whose last life is over: minted keys before hashed ones. */
static struct oracle_record *next_to_forget(const struct oracle *o)
{
    for (int minted = 1; minted >= 0; minted--) {
        struct oracle_record *first = NULL;
        for (uint32_t i = 0; i < o->totals.records; i++) {
            struct oracle_record *x = &o->records[i];
            if (x->r.expires_ms != 0 && x->r.expires_ms <= o->totals.slice_ms &&
                key_minted(&x->r.key) == (minted == 1) &&
                (first == NULL || x->dying < first->dying)) {
                first = x;
            }
        }
        if (first != NULL) {
            return first;
        }
    }
    return NULL;
}

static void forget_the_old(struct oracle *o)
{
    for (int i = 0; i < SLICE_PURGE_MAX; i++) {
        struct oracle_record *x = next_to_forget(o);
        if (x == NULL) {
            return;
        }
        uint32_t mint_s = key_mint_s(&x->r.key);
        if (mint_s > o->totals.purged_mint_s) {
            o->totals.purged_mint_s = mint_s;
        }
        o->forgotten++;
        *x = o->records[--o->totals.records];
    }
}

static struct event *put_event(struct oracle *o, struct oracle_effects *out,
                               struct oracle_result *result, enum event_type type)
{
    struct event *e = &out->events[out->event_count];

    result->event = out->event_count++;
    memset(e, 0, sizeof *e);
    o->totals.seq++;
    e->slice = o->totals.tag;
    e->incarnation = o->totals.incarnation;
    e->seq = o->totals.seq;
    e->type = (uint8_t)type;
    e->time_ms = out->head.wall_ms;
    return e;
}

static void machine_event(struct event *e, const struct slice_machine *m)
{
    (void)fly_copy_string(e->machine, sizeof e->machine, m->name);
    (void)fly_copy_string(e->region, sizeof e->region, m->region);
    e->cores = m->cores;
    e->memory_bytes = m->memory_bytes;
    e->machine_cores_free = m->cores - m->cores_used;
    e->machine_memory_free_bytes = m->memory_bytes - m->memory_used_bytes;
}

static void vm_event(const struct oracle *o, struct event *e, const struct slice_record *r)
{
    const struct slice_machine *m = &o->machines[r->machine];

    e->vm = r->vm;
    e->state = (uint8_t)r->state;
    (void)fly_copy_string(e->name, sizeof e->name, r->name);
    (void)fly_copy_string(e->machine, sizeof e->machine, r->machine_name);
    (void)fly_copy_string(e->region, sizeof e->region, r->region);
    e->cores = r->cores;
    e->memory_bytes = r->memory_bytes;
    e->machine_cores_free = m->cores - m->cores_used;
    e->machine_memory_free_bytes = m->memory_bytes - m->memory_used_bytes;
}

static bool size_is_sane(const struct command *c)
{
    return c->cores > 0 && c->cores <= SLICE_MACHINE_CORES_MAX && c->memory_bytes > 0 &&
           c->memory_bytes <= UINT64_C(1) << 62;
}

static enum slice_code machine_command(struct oracle *o, const struct command *c,
                                       struct oracle_effects *out, struct oracle_result *result)
{
    struct slice_machine *m = find_machine(o, c->name);

    if (c->type == COMMAND_MACHINE_ADD) {
        if (m != NULL) {
            bool same = strcmp(m->region, c->region) == 0 && m->cores == c->cores &&
                        m->memory_bytes == c->memory_bytes;
            return same ? SLICE_REPLAYED : SLICE_EXISTS;
        }
        if (c->name[0] == '\0' || c->region[0] == '\0' || !size_is_sane(c)) {
            return SLICE_NO_ROOM;
        }
        uint32_t slot = 0;
        while (slot < o->config.machines_max && o->machines[slot].name[0] != '\0') {
            slot++;
        }
        if (slot == o->config.machines_max) {
            return SLICE_TABLE_FULL;
        }
        m = &o->machines[slot];
        (void)fly_copy_string(m->name, sizeof m->name, c->name);
        (void)fly_copy_string(m->region, sizeof m->region, c->region);
        m->cores = c->cores;
        m->memory_bytes = c->memory_bytes;
        o->totals.machines++;
        machine_event(put_event(o, out, result, EVENT_MACHINE_ADDED), m);
        return SLICE_OK;
    }
    if (m == NULL) {
        return SLICE_NOT_FOUND;
    }
    if (c->type == COMMAND_MACHINE_CORDON || c->type == COMMAND_MACHINE_UNCORDON) {
        bool wanted = c->type == COMMAND_MACHINE_CORDON;
        if (m->cordoned == wanted) {
            return SLICE_REPLAYED;
        }
        m->cordoned = wanted;
        machine_event(
            put_event(o, out, result, wanted ? EVENT_MACHINE_CORDONED : EVENT_MACHINE_UNCORDONED),
            m);
        return SLICE_OK;
    }
    if (c->type == COMMAND_MACHINE_REMOVE) {
        if (m->vm_count > 0) {
            return SLICE_IN_USE;
        }
        m->cores = 0;
        m->memory_bytes = 0;
        machine_event(put_event(o, out, result, EVENT_MACHINE_REMOVED), m);
        memset(m, 0, sizeof *m);
        o->totals.machines--;
        return SLICE_OK;
    }
    if (!size_is_sane(c)) {
        return SLICE_NO_ROOM;
    }
    if (m->cores == c->cores && m->memory_bytes == c->memory_bytes) {
        return SLICE_REPLAYED;
    }
    if (c->cores < m->cores_used || c->memory_bytes < m->memory_used_bytes) {
        return SLICE_IN_USE;
    }
    m->cores = c->cores;
    m->memory_bytes = c->memory_bytes;
    machine_event(put_event(o, out, result, EVENT_MACHINE_RESIZED), m);
    return SLICE_OK;
}

/* May LAUNCH, BIND, CANCEL go on? *x: the key's record, or NULL where it has none yet. */
static enum slice_code may_go_on(struct oracle *o, const struct command *c, int64_t wall_ms,
                                 struct oracle_record **x)
{
    *x = find(o, c->subject, &c->key);
    if (*x == NULL) {
        int64_t mint_ms = (int64_t)key_mint_s(&c->key) * 1000;
        if (!key_minted(&c->key)) {
            return SLICE_OK;
        }
        if (mint_ms - wall_ms > SLICE_KEY_FUTURE_MS) {
            return SLICE_KEY_FUTURE;
        }
        bool forgotten = key_mint_s(&c->key) <= o->totals.purged_mint_s;
        return forgotten || wall_ms - mint_ms > SLICE_KEY_LIFE_MS ? SLICE_KEY_EXPIRED : SLICE_OK;
    }
    const struct slice_record *r = &(*x)->r;
    if (r->kind == RECORD_CANCELLED) {
        return SLICE_CANCELLED;
    }
    if (c->type != COMMAND_CANCEL && memcmp(&r->digest, &c->digest, sizeof r->digest) != 0) {
        return SLICE_KEY_REUSED;
    }
    if (r->kind == RECORD_VM) {
        return SLICE_REPLAYED;
    }
    if (r->kind == RECORD_DONE) {
        return SLICE_DONE_ELSEWHERE;
    }
    if (!hold_equal(&r->hold, &c->replaces)) {
        return SLICE_BOUND;
    }
    bool before_a_loss = o->totals.lost_ms != 0 && r->created_ms <= o->totals.lost_ms;
    return before_a_loss && c->type != COMMAND_CANCEL ? SLICE_KEY_EXPIRED : SLICE_OK;
}

static struct oracle_record *record_for(struct oracle *o, const struct command *c,
                                        struct oracle_record *x)
{
    if (x != NULL) {
        return x;
    }
    if (o->totals.records == o->config.records_max) {
        return NULL;
    }
    x = &o->records[o->totals.records++];
    memset(x, 0, sizeof *x);
    x->r.key = c->key;
    x->r.machine = SLICE_NONE;
    (void)fly_copy_string(x->r.subject, sizeof x->r.subject, c->subject);
    return x;
}

static void last_life(struct oracle *o, struct oracle_record *x)
{
    bool minted = key_minted(&x->r.key);

    x->dying = ++o->dying;
    x->r.expires_ms = o->totals.slice_ms + (minted ? SLICE_KEY_LIFE_MS : SLICE_HASHED_KEY_LIFE_MS);
}

static enum slice_code launch(struct oracle *o, const struct command *c, struct oracle_effects *out,
                              struct oracle_result *result, struct oracle_record **x)
{
    enum slice_code code = may_go_on(o, c, out->head.wall_ms, x);

    if (code != SLICE_OK) {
        return code;
    }
    if (c->machine >= o->config.machines_max || o->machines[c->machine].name[0] == '\0' ||
        c->cores == 0 || c->memory_bytes == 0) {
        return SLICE_NO_ROOM;
    }
    struct slice_machine *m = &o->machines[c->machine];
    if (c->cores > m->cores - m->cores_used ||
        c->memory_bytes > m->memory_bytes - m->memory_used_bytes) {
        return SLICE_NO_ROOM;
    }
    *x = record_for(o, c, *x);
    if (*x == NULL) {
        return SLICE_TABLE_FULL;
    }
    struct slice_record *r = &(*x)->r;
    m->cores_used += c->cores;
    m->memory_used_bytes += c->memory_bytes;
    m->vm_count++;
    o->totals.vms_created++;
    o->totals.vms_started++;
    r->kind = RECORD_VM;
    r->digest = c->digest;
    r->hold = c->hold;
    r->number = o->totals.vms_created;
    r->vm = vmid_make(o->totals.tag, r->number);
    if (c->name[0] == '\0') {
        (out->head.version == 1 ? vmid_name_1 : vmid_name)(r->vm, r->name);
    } else {
        (void)fly_copy_string(r->name, sizeof r->name, c->name);
    }
    r->machine = c->machine;
    r->cores = c->cores;
    r->memory_bytes = c->memory_bytes;
    r->state = VM_STARTED;
    (void)fly_copy_string(r->machine_name, sizeof r->machine_name, m->name);
    (void)fly_copy_string(r->region, sizeof r->region, m->region);
    r->created_ms = out->head.wall_ms;
    vm_event(o, put_event(o, out, result, EVENT_VM_STARTED), r);
    r->seq = o->totals.seq;
    return SLICE_OK;
}

static enum slice_code bind(struct oracle *o, const struct command *c, int64_t wall_ms,
                            struct oracle_record **x)
{
    enum slice_code code = may_go_on(o, c, wall_ms, x);

    if (code == SLICE_BOUND && hold_equal(&(*x)->r.hold, &c->hold)) {
        return SLICE_REPLAYED;
    }
    if (code != SLICE_OK) {
        return code;
    }
    *x = record_for(o, c, *x);
    if (*x == NULL) {
        return SLICE_TABLE_FULL;
    }
    (*x)->r.kind = RECORD_BOUND;
    (*x)->r.digest = c->digest;
    (*x)->r.hold = c->hold;
    (*x)->r.generation++;
    (*x)->r.created_ms = o->totals.slice_ms;
    return SLICE_OK;
}

static enum slice_code cancel(struct oracle *o, const struct command *c, int64_t wall_ms,
                              struct oracle_record **x)
{
    enum slice_code code = may_go_on(o, c, wall_ms, x);

    if (code == SLICE_CANCELLED) {
        return SLICE_REPLAYED;
    }
    if (code == SLICE_KEY_EXPIRED && o->totals.purged_mint_s < key_mint_s(&c->key)) {
        o->totals.purged_mint_s = key_mint_s(&c->key);
    }
    if (code != SLICE_OK) {
        return code;
    }
    *x = record_for(o, c, *x);
    if (*x == NULL) {
        return SLICE_TABLE_FULL;
    }
    (*x)->r.kind = RECORD_CANCELLED;
    last_life(o, *x);
    return SLICE_OK;
}

static enum slice_code done(struct oracle *o, const struct command *c, struct oracle_record **x)
{
    *x = find(o, c->subject, &c->key);
    if (*x == NULL) {
        return SLICE_NOT_FOUND;
    }
    struct slice_record *r = &(*x)->r;
    if (r->kind == RECORD_DONE && r->vm == c->vm) {
        return SLICE_REPLAYED;
    }
    if (r->kind == RECORD_BOUND && hold_equal(&r->hold, &c->hold)) {
        r->kind = RECORD_DONE;
        r->vm = c->vm;
        return SLICE_OK;
    }
    return SLICE_NOT_FOUND;
}

static enum slice_code release(struct oracle *o, const struct command *c, struct oracle_record **x)
{
    *x = find(o, c->subject, &c->key);
    if (*x == NULL || (*x)->r.kind != RECORD_DONE || (*x)->r.vm != c->vm) {
        return SLICE_NOT_FOUND;
    }
    if ((*x)->r.expires_ms != 0) {
        return SLICE_REPLAYED;
    }
    last_life(o, *x);
    return SLICE_OK;
}

static enum slice_code destroy(struct oracle *o, const struct command *c,
                               struct oracle_effects *out, struct oracle_result *result,
                               struct oracle_record **x)
{
    *x = find_vm(o, c->vm);
    if (*x == NULL) {
        return SLICE_NOT_FOUND;
    }
    struct slice_record *r = &(*x)->r;
    if (r->state == VM_DESTROYED) {
        return SLICE_REPLAYED;
    }
    struct slice_machine *m = &o->machines[r->machine];
    m->cores_used -= r->cores;
    m->memory_used_bytes -= r->memory_bytes;
    m->vm_count--;
    o->totals.vms_started--;
    r->state = VM_DESTROYED;
    r->destroyed_ms = out->head.wall_ms;
    vm_event(o, put_event(o, out, result, EVENT_VM_DESTROYED), r);
    r->seq = o->totals.seq;
    last_life(o, *x);
    return SLICE_OK;
}

static enum slice_code loss(struct oracle *o, const struct command *c, int64_t wall_ms)
{
    uint64_t seen = o->totals.seq;
    int64_t wall_s = wall_ms / 1000;

    if (c->incarnation == o->totals.incarnation) {
        if (c->seq <= seen) {
            return SLICE_REPLAYED;
        }
    } else {
        for (int i = 0; i < SLICE_LOST_MAX; i++) {
            if (o->totals.lost[i] == c->incarnation) {
                return SLICE_REPLAYED;
            }
        }
    }
    seen = c->seq > seen ? c->seq : seen;
    if (c->incarnation == 0 || seen + c->margin > VMID_NUMBER_MAX ||
        c->margin < SLICE_LOSS_MARGIN || c->margin > VMID_NUMBER_MAX || c->seq > VMID_NUMBER_MAX) {
        return SLICE_NO_ROOM;
    }
    if (c->incarnation != o->totals.incarnation) {
        for (int i = SLICE_LOST_MAX - 1; i > 0; i--) {
            o->totals.lost[i] = o->totals.lost[i - 1];
        }
        o->totals.lost[0] = c->incarnation;
    }
    o->totals.lost_ms = o->totals.slice_ms;
    o->totals.seq = seen + c->margin;
    o->totals.vms_created = o->totals.seq;
    if (wall_s > 0 && wall_s <= UINT32_MAX && wall_s > o->totals.purged_mint_s) {
        o->totals.purged_mint_s = (uint32_t)wall_s;
    }
    return SLICE_OK;
}

static enum slice_code run(struct oracle *o, const struct command *c, struct oracle_effects *out,
                           struct oracle_result *result, struct oracle_record **x)
{
    int64_t wall_ms = out->head.wall_ms;

    if (c->type == COMMAND_FOUND) {
        if (o->totals.tag != 0 || c->tag == 0 || c->tag > FLY_TAG_MAX || c->machines_max == 0 ||
            c->records_max == 0) {
            return SLICE_STALE;
        }
        o->totals.tag = c->tag;
        o->totals.incarnation = c->incarnation;
        o->totals.founded_ms = out->head.wall_ms;
        o->totals.machines_max = c->machines_max;
        o->totals.records_max = c->records_max;
        return SLICE_OK;
    }
    if (o->totals.tag == 0) {
        return SLICE_STALE;
    }
    if (c->type == COMMAND_LEAD) {
        if (c->term <= o->totals.term) {
            return SLICE_STALE;
        }
        o->totals.term = c->term;
        o->totals.boot = out->head.boot;
        return SLICE_OK;
    }
    if (out->head.boot != o->totals.boot) {
        return SLICE_STALE;
    }
    switch (c->type) {
    case COMMAND_LOSS:
        return loss(o, c, wall_ms);
    case COMMAND_MACHINE_ADD:
    case COMMAND_MACHINE_RESIZE:
    case COMMAND_MACHINE_REMOVE:
    case COMMAND_MACHINE_CORDON:
    case COMMAND_MACHINE_UNCORDON:
        return machine_command(o, c, out, result);
    case COMMAND_LAUNCH:
        return launch(o, c, out, result, x);
    case COMMAND_BIND:
        return bind(o, c, wall_ms, x);
    case COMMAND_DONE:
        return done(o, c, x);
    case COMMAND_CANCEL:
        return cancel(o, c, wall_ms, x);
    case COMMAND_DESTROY:
        return destroy(o, c, out, result, x);
    case COMMAND_RELEASE:
        return release(o, c, x);
    case COMMAND_FOUND:
    case COMMAND_LEAD:
    default:
        FLY_UNREACHABLE();
    }
}

enum fly_status oracle_apply(struct oracle *o, const uint8_t *data, size_t size,
                             struct oracle_effects *out)
{
    struct fly_reader r = fly_reader_over(data, size);
    enum fly_status status = entry_head_decode(&r, &out->head, NULL);

    for (uint32_t i = 0; status == FLY_OK && i < out->head.count; i++) {
        status = entry_command_decode(&r, &out->commands[i], NULL);
    }
    if (status == FLY_OK && !fly_reader_done(&r)) {
        status = FLY_DATA_LOSS;
    }
    if (status != FLY_OK) {
        return status;
    }
    out->count = out->head.count;
    out->event_count = 0;
    o->totals.wall_ms = out->head.wall_ms;
    if (o->totals.slice_ms < out->head.slice_ms) {
        o->totals.slice_ms = out->head.slice_ms;
    }
    forget_the_old(o);
    for (uint32_t i = 0; i < out->count; i++) {
        struct oracle_record *x = NULL;
        struct oracle_result *result = &out->results[i];
        result->event = SLICE_NONE;
        result->code = run(o, &out->commands[i], out, result, &x);
        result->has_record = x != NULL;
        if (x != NULL) {
            result->record = x->r;
        }
    }
    return FLY_OK;
}
