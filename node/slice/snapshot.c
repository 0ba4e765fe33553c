#include "node/slice/snapshot.h"

#include <string.h>

#include "node/slice/state_parts.h"
#include "proto/base/check.h"
#include "proto/wire/vmid.h"

#define MAGIC UINT32_C(0x53594c46) /* "FLYS" */

enum {
    VERSION = 2,
    VERSION_FIRST = 1,
    HEAD_BYTES = 160,
    MACHINE_BYTES_MAX = 128,
    RECORD_BYTES_MAX = 512
};

static const struct slice_machine *machine_in(const struct slice_view *view, uint32_t slot)
{
    return chunks_picture_at(&view->state->machines, slot);
}

static const struct slice_record *record_in(const struct slice_view *view, uint32_t slot)
{
    return chunks_picture_at(&view->state->records, slot);
}

size_t snapshot_size_max(const struct slice_view *view)
{
    return HEAD_BYTES + (size_t)view->core.machines_used * MACHINE_BYTES_MAX +
           (size_t)view->core.totals.records * RECORD_BYTES_MAX;
}

static void put_head(struct fly_writer *w, const struct slice_core *core)
{
    const struct slice_totals *sum = &core->totals;

    fly_put_u32(w, MAGIC);
    fly_put_u16(w, VERSION);
    fly_put_u32(w, sum->tag);
    fly_put_u64(w, sum->incarnation);
    fly_put_u32(w, sum->machines_max);
    fly_put_u32(w, sum->records_max);
    fly_put_u64(w, sum->seq);
    fly_put_u64(w, sum->vms_created);
    fly_put_u64(w, sum->term);
    fly_put_u64(w, sum->boot);
    fly_put_u64(w, (uint64_t)sum->slice_ms);
    fly_put_u64(w, (uint64_t)sum->wall_ms);
    fly_put_u64(w, (uint64_t)sum->founded_ms);
    for (unsigned i = 0; i < SLICE_LOST_MAX; i++) {
        fly_put_u64(w, sum->lost[i]);
    }
    fly_put_u64(w, (uint64_t)sum->lost_ms);
    fly_put_u32(w, sum->purged_mint_s);
    fly_put_u32(w, sum->machines);
    fly_put_u32(w, sum->records);
}

static void put_record(struct fly_writer *w, const struct slice_record *r)
{
    fly_put_u8(w, (uint8_t)r->kind);
    fly_put_bytes(w, r->key.bytes, FLY_KEY_SIZE);
    fly_put_string8(w, r->subject);
    fly_put_u64(w, (uint64_t)r->expires_ms);
    if (r->kind == RECORD_CANCELLED) {
        return;
    }
    fly_put_bytes(w, r->digest.bytes, FLY_DIGEST_SIZE);
    hold_put(w, &r->hold);
    fly_put_u32(w, r->generation);
    fly_put_u64(w, r->vm);
    fly_put_u64(w, (uint64_t)r->created_ms);
    if (r->kind != RECORD_VM) {
        return;
    }
    fly_put_u64(w, r->number);
    fly_put_string8(w, r->name);
    fly_put_u32(w, r->machine);
    fly_put_string8(w, r->machine_name);
    fly_put_string8(w, r->region);
    fly_put_u32(w, r->cores);
    fly_put_u64(w, r->memory_bytes);
    fly_put_u8(w, (uint8_t)r->state);
    fly_put_u64(w, (uint64_t)r->destroyed_ms);
    fly_put_u64(w, r->seq);
}

size_t snapshot_encode(const struct slice_view *view, uint8_t *out, size_t max)
{
    const struct slice_core *core = &view->core;
    struct fly_writer w = fly_writer_over(out, max);

    FLY_CHECK(max >= snapshot_size_max(view));
    put_head(&w, core);
    for (uint32_t slot = 0; slot < core->machines_used; slot++) {
        const struct slice_machine *m = machine_in(view, slot);
        if (m != NULL && m->name[0] != '\0') {
            fly_put_u32(&w, slot);
            fly_put_string8(&w, m->name);
            fly_put_string8(&w, m->region);
            fly_put_u32(&w, m->cores);
            fly_put_u64(&w, m->memory_bytes);
            fly_put_u8(&w, m->cordoned);
        }
    }
    /* The living first, then each expiry queue in its order: decoding rebuilds the queues by it. */
    for (uint32_t slot = 0; slot < core->records_used; slot++) {
        const struct slice_record *r = record_in(view, slot);
        if (r != NULL && r->kind != RECORD_FREE && r->expires_ms == 0) {
            put_record(&w, r);
        }
    }
    for (unsigned q = 0; q < QUEUE_COUNT; q++) {
        for (uint32_t slot = core->queues[q].head; slot != SLICE_NONE;) {
            const struct slice_record *r = record_in(view, slot);
            put_record(&w, r);
            slot = r->next;
        }
    }
    FLY_CHECK(!w.failed);
    return w.size;
}

static enum fly_status damaged(struct fly_error *error, const char *what)
{
    return fly_error_set(error, FLY_DATA_LOSS, "snapshot is damaged: %s", what);
}

static enum fly_status get_head(struct fly_reader *r, unsigned *version, struct slice_totals *sum,
                                struct fly_error *error)
{
    if (fly_get_u32(r) != MAGIC) {
        return damaged(error, "not a slice snapshot");
    }
    *version = fly_get_u16(r);
    if (r->failed || *version < VERSION_FIRST) {
        return damaged(error, "head");
    }
    if (*version > VERSION) {
        return fly_error_set(error, FLY_UNIMPLEMENTED,
                             "snapshot version %u is newer than this node's %d: upgrade flynode",
                             *version, VERSION);
    }
    sum->tag = fly_get_u32(r);
    sum->incarnation = fly_get_u64(r);
    sum->machines_max = fly_get_u32(r);
    sum->records_max = fly_get_u32(r);
    sum->seq = fly_get_u64(r);
    sum->vms_created = fly_get_u64(r);
    sum->term = fly_get_u64(r);
    sum->boot = fly_get_u64(r);
    sum->slice_ms = (int64_t)fly_get_u64(r);
    sum->wall_ms = (int64_t)fly_get_u64(r);
    sum->founded_ms = *version >= 2 ? (int64_t)fly_get_u64(r) : 0;
    for (unsigned i = 0; i < SLICE_LOST_MAX && *version >= 2; i++) {
        sum->lost[i] = fly_get_u64(r);
    }
    sum->lost_ms = *version >= 2 ? (int64_t)fly_get_u64(r) : 0;
    sum->purged_mint_s = fly_get_u32(r);
    sum->machines = fly_get_u32(r);
    sum->records = fly_get_u32(r);
    if (r->failed || sum->tag > FLY_TAG_MAX || sum->vms_created > VMID_NUMBER_MAX) {
        return damaged(error, "head");
    }
    return FLY_OK;
}

static enum fly_status get_machines(struct slice_state *s, struct fly_reader *r, unsigned version,
                                    uint32_t count, struct fly_error *error)
{
    if (count > s->core.totals.machines_max) {
        return damaged(error, "more machines than the slice allows");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct slice_machine m = {.cores = 0};
        uint32_t slot = fly_get_u32(r);
        fly_get_string8(r, m.name, sizeof m.name);
        fly_get_string8(r, m.region, sizeof m.region);
        m.cores = fly_get_u32(r);
        m.memory_bytes = fly_get_u64(r);
        unsigned cordoned = version >= 2 ? fly_get_u8(r) : 0; /* version 1 knew no cordon */
        m.cordoned = cordoned == 1;
        if (r->failed || cordoned > 1 || slot >= s->core.totals.machines_max || m.name[0] == '\0' ||
            (i > 0 && slot < s->core.machines_used) ||
            slice_machine_find(s, m.name) != SLICE_NONE) {
            return damaged(error, "machine");
        }
        state_machine_put(s, slot, &m);
    }
    return FLY_OK;
}

static void get_vm(struct fly_reader *r, unsigned version, struct slice_record *out)
{
    out->number = fly_get_u64(r);
    fly_get_string8(r, out->name, sizeof out->name);
    out->machine = fly_get_u32(r);
    fly_get_string8(r, out->machine_name, sizeof out->machine_name);
    fly_get_string8(r, out->region, sizeof out->region);
    out->cores = fly_get_u32(r);
    out->memory_bytes = fly_get_u64(r);
    out->state = (enum vm_state)fly_get_u8(r);
    if (version < 2) {
        out->created_ms = (int64_t)fly_get_u64(r);
    }
    out->destroyed_ms = (int64_t)fly_get_u64(r);
    out->seq = fly_get_u64(r);
}

static void get_record(struct fly_reader *r, unsigned version, struct slice_record *out)
{
    *out = (struct slice_record){.next = SLICE_NONE, .machine = SLICE_NONE};
    out->kind = (enum record_kind)fly_get_u8(r);
    fly_get_copy(r, out->key.bytes, FLY_KEY_SIZE);
    fly_get_string8(r, out->subject, sizeof out->subject);
    out->expires_ms = (int64_t)fly_get_u64(r);
    if (out->kind == RECORD_CANCELLED) {
        return;
    }
    fly_get_copy(r, out->digest.bytes, FLY_DIGEST_SIZE);
    hold_get(r, &out->hold);
    out->generation = fly_get_u32(r);
    out->vm = fly_get_u64(r);
    if (version >= 2) { /* version 1 knew it of VMs only: the others are old */
        out->created_ms = (int64_t)fly_get_u64(r);
    }
    if (out->kind == RECORD_VM) {
        get_vm(r, version, out);
    }
}

/* Whether a log could have made this record. */
static bool record_possible(const struct slice_state *s, const struct slice_record *r)
{
    bool last_life = r->expires_ms > 0;

    if (!key_valid(&r->key) || r->expires_ms < 0) {
        return false;
    }
    switch (r->kind) {
    case RECORD_BOUND:
        return !last_life;
    case RECORD_DONE:
        return true;
    case RECORD_CANCELLED:
        return last_life;
    case RECORD_VM:
        return (r->state == VM_STARTED || r->state == VM_DESTROYED) &&
               last_life == (r->state == VM_DESTROYED) && r->number >= 1 &&
               r->number <= s->core.totals.vms_created && r->seq >= 1 &&
               r->seq <= s->core.totals.seq && r->cores >= 1 && r->memory_bytes >= 1 &&
               r->vm == vmid_make(s->core.totals.tag, r->number) &&
               slice_vm_find(s, r->vm) == SLICE_NONE;
    case RECORD_FREE:
    default:
        return false;
    }
}

/* Takes the VM's size from its machine again. */
static bool charge_machine(struct slice_state *s, const struct slice_record *r)
{
    const struct slice_machine *m = slice_machine_at(s, r->machine);

    if (m->name[0] == '\0' || strcmp(m->name, r->machine_name) != 0 ||
        strcmp(m->region, r->region) != 0 || m->cores - m->cores_used < r->cores ||
        m->memory_bytes - m->memory_used_bytes < r->memory_bytes) {
        return false;
    }
    struct slice_machine *w = state_machine_write(s, r->machine);
    w->cores_used += r->cores;
    w->memory_used_bytes += r->memory_bytes;
    w->vm_count++;
    s->core.totals.vms_started++;
    return true;
}

static bool queue_in_order(const struct slice_state *s, const struct slice_record *r)
{
    uint32_t tail = s->core.queues[state_queue_of(&r->key)].tail;
    return tail == SLICE_NONE || slice_record_at(s, tail)->expires_ms <= r->expires_ms;
}

static enum fly_status get_records(struct slice_state *s, struct fly_reader *r, unsigned version,
                                   uint32_t count, struct fly_error *error)
{
    if (count > s->core.totals.records_max) {
        return damaged(error, "more records than the slice allows");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct slice_record in;
        get_record(r, version, &in);
        if (r->failed || !record_possible(s, &in) ||
            slice_record_find(s, in.subject, &in.key) != SLICE_NONE) {
            return damaged(error, "record");
        }
        uint32_t slot = state_record_add(s, in.subject, &in.key);
        FLY_CHECK(slot != SLICE_NONE);
        *state_record_write(s, slot) = in;
        if (in.kind == RECORD_VM) {
            state_vm_index(s, slot);
            if (in.state == VM_STARTED && !charge_machine(s, &in)) {
                return damaged(error, "more is placed on a machine than it holds");
            }
        }
        if (in.expires_ms > 0) {
            if (!queue_in_order(s, &in)) {
                return damaged(error, "expiry out of order");
            }
            state_queue_append(s, slot);
        }
    }
    return FLY_OK;
}

enum fly_status snapshot_decode(struct slice_state *s, const uint8_t *data, size_t size,
                                struct fly_error *error)
{
    struct fly_reader r = fly_reader_over(data, size);
    struct slice_totals sum = {.tag = 0};
    unsigned version = 0;
    enum fly_status status = get_head(&r, &version, &sum, error);

    FLY_CHECK(s->core.totals.tag == 0 && s->core.records_used == 0);
    if (status == FLY_OK) {
        status = state_fits(s, sum.machines_max, sum.records_max, error);
    }
    if (status != FLY_OK) {
        return status;
    }
    uint32_t machines = sum.machines;
    uint32_t records = sum.records;
    sum.machines = 0; /* counted again as they come in */
    sum.records = 0;
    s->core.totals = sum;
    if (sum.tag == 0 && machines + records > 0) {
        return damaged(error, "content without a slice");
    }
    status = get_machines(s, &r, version, machines, error);
    if (status == FLY_OK) {
        status = get_records(s, &r, version, records, error);
    }
    if (status == FLY_OK && !fly_reader_done(&r)) {
        status = damaged(error, "bytes behind the last record");
    }
    return status;
}
