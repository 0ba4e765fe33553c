#include "node/slice_wire.h"

#include <string.h>

#include "proto/base/check.h"
#include "proto/base/id.h"

enum { INTERN_MAX = 256, INTERN_SIZE = 160 };

const char *text_intern(const char *text)
{
    static char kept[INTERN_MAX][INTERN_SIZE]; /* the loop's thread only */
    static uint32_t count;
    char cut[INTERN_SIZE];

    (void)fly_copy_string(cut, sizeof cut, text);
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(kept[i], cut) == 0) {
            return kept[i];
        }
    }
    if (count == INTERN_MAX) {
        return "the owner refused";
    }
    (void)fly_copy_string(kept[count], INTERN_SIZE, cut);
    return kept[count++];
}

static void hold_fill(Fly__V1__HoldId *pb, const struct hold_id *hold)
{
    *pb = (Fly__V1__HoldId)FLY__V1__HOLD_ID__INIT;
    pb->slice = hold->slice;
    pb->term = hold->term;
    pb->boot = hold->boot;
    pb->counter = hold->counter;
}

static bool hold_read(const Fly__V1__HoldId *pb, struct hold_id *out)
{
    *out = (struct hold_id){.slice = 0};
    if (pb == NULL) {
        return true;
    }
    *out = (struct hold_id){
        .slice = pb->slice, .term = pb->term, .boot = pb->boot, .counter = pb->counter};
    return pb->slice <= FLY_TAG_MAX;
}

void slice_call_fill(struct slice_call_message *m, uint32_t slice, const struct owner_call *call,
                     const uint8_t *token_hash)
{
    m->pb = (Fly__V1__SliceCallRequest)FLY__V1__SLICE_CALL_REQUEST__INIT;
    m->pb.slice = slice;
    m->pb.kind = (uint32_t)call->kind;
    m->pb.key = (ProtobufCBinaryData){.len = FLY_KEY_SIZE, .data = (uint8_t *)call->key.bytes};
    m->pb.subject = (char *)call->subject;
    m->pb.digest =
        (ProtobufCBinaryData){.len = FLY_DIGEST_SIZE, .data = (uint8_t *)call->digest.bytes};
    m->pb.commit = call->commit;
    if (call->hold.slice != 0) {
        hold_fill(&m->hold, &call->hold);
        m->pb.hold = &m->hold;
    }
    if (call->replaces.slice != 0) {
        hold_fill(&m->replaces, &call->replaces);
        m->pb.replaces = &m->replaces;
    }
    m->pb.vm = call->vm;
    m->pb.region = (char *)call->region;
    m->pb.cores = call->cores;
    m->pb.memory_bytes = call->memory_bytes;
    m->pb.name = (char *)call->name;
    if (token_hash != NULL) {
        m->pb.token_hash =
            (ProtobufCBinaryData){.len = TOKEN_HASH_SIZE, .data = (uint8_t *)token_hash};
    }
}

static enum fly_status bad(struct fly_error *error, const char *field)
{
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "the call's %s makes no sense", field);
}

/* Which kinds name a key. */
static bool has_key(enum owner_call_kind kind)
{
    return kind != OWNER_DESTROY;
}

static bool bytes_read(ProtobufCBinaryData from, void *out, size_t size)
{
    if (from.len != size) {
        return false;
    }
    memcpy(out, from.data, size);
    return true;
}

enum fly_status slice_call_read(const Fly__V1__SliceCallRequest *pb, struct owner_call *out,
                                struct fly_error *error)
{
    struct owner_call c = {
        .commit = pb->commit, .vm = pb->vm, .cores = pb->cores, .memory_bytes = pb->memory_bytes};

    if (pb->kind < OWNER_OPEN || pb->kind > OWNER_RELEASE) {
        return bad(error, "kind");
    }
    c.kind = (enum owner_call_kind)pb->kind;
    if (has_key(c.kind) &&
        (!bytes_read(pb->key, c.key.bytes, FLY_KEY_SIZE) || !key_valid(&c.key))) {
        return bad(error, "key");
    }
    if (has_key(c.kind) && !bytes_read(pb->digest, c.digest.bytes, FLY_DIGEST_SIZE)) {
        return bad(error, "digest");
    }
    if ((pb->subject[0] != '\0' || has_key(c.kind)) && !fly_name_ok(pb->subject)) {
        return bad(error, "subject");
    }
    if (pb->name[0] != '\0' && !fly_name_ok(pb->name)) {
        return bad(error, "name");
    }
    if (!hold_read(pb->hold, &c.hold) || !hold_read(pb->replaces, &c.replaces)) {
        return bad(error, "hold");
    }
    if (!fly_copy_string(c.subject, sizeof c.subject, pb->subject) ||
        !fly_copy_string(c.name, sizeof c.name, pb->name) ||
        !fly_copy_string(c.region, sizeof c.region, pb->region)) {
        return bad(error, "text");
    }
    *out = c;
    return FLY_OK;
}

void slice_answer_fill(struct slice_answer_message *m, const struct owner_answer *answer)
{
    m->pb = (Fly__V1__SliceCallReply)FLY__V1__SLICE_CALL_REPLY__INIT;
    m->pb.code = (uint32_t)answer->code;
    m->pb.replayed = answer->replayed;
    m->pb.vm_id = answer->vm_id;
    m->pb.generation = answer->generation;
    m->pb.status = (uint32_t)answer->status;
    if (answer->text != NULL) {
        m->pb.text = (char *)answer->text;
    }
    if (answer->hold.slice != 0) {
        hold_fill(&m->hold, &answer->hold);
        m->pb.hold = &m->hold;
    }
    if (answer->code == OWNER_VM) {
        vm_message_fill(&m->vm, &answer->vm);
        m->pb.vm = &m->vm.pb;
    }
    if (answer->code == OWNER_ELSEWHERE) {
        m->room = (Fly__V1__SliceRoom)FLY__V1__SLICE_ROOM__INIT;
        m->room.machines = answer->room.machines;
        m->room.cores_max = answer->room.cores_max;
        m->room.memory_max_bytes = answer->room.memory_max_bytes;
        m->room.cores_free_max = answer->room.cores_free_max;
        m->room.memory_free_max_bytes = answer->room.memory_free_max_bytes;
        m->room.fits_empty = answer->room.fits_empty;
        m->room.cordoned = answer->room.cordoned;
        m->pb.room = &m->room;
    }
}

enum fly_status vm_read(const Fly__V1__Vm *pb, struct vm *out, struct fly_error *error)
{
    struct vm vm = {.cores = pb->cores,
                    .memory_bytes = pb->memory_bytes,
                    .seq = pb->seq,
                    .state = (enum vm_state)pb->state,
                    .created_ms = pb->created_at_ms,
                    .destroyed_ms = pb->destroyed_at_ms};

    if (!vmid_parse(pb->id, &vm.id) ||
        (pb->state != FLY__V1__VM_STATE__VM_STATE_STARTED &&
         pb->state != FLY__V1__VM_STATE__VM_STATE_DESTROYED) ||
        !bytes_read(pb->key, vm.key.bytes, FLY_KEY_SIZE) ||
        !fly_copy_string(vm.name, sizeof vm.name, pb->name) ||
        !fly_copy_string(vm.region, sizeof vm.region, pb->region) ||
        !fly_copy_string(vm.machine, sizeof vm.machine, pb->machine) ||
        !fly_copy_string(vm.subject, sizeof vm.subject, pb->subject)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "the owner told a VM that makes no sense");
    }
    vm.number = vmid_number(vm.id);
    *out = vm;
    return FLY_OK;
}

static void room_read(const Fly__V1__SliceRoom *pb, struct owner_room *out)
{
    *out = (struct owner_room){.machines = pb->machines,
                               .cores_max = pb->cores_max,
                               .memory_max_bytes = pb->memory_max_bytes,
                               .cores_free_max = pb->cores_free_max,
                               .memory_free_max_bytes = pb->memory_free_max_bytes,
                               .fits_empty = pb->fits_empty,
                               .cordoned = pb->cordoned};
}

enum fly_status slice_answer_read(const Fly__V1__SliceCallReply *pb, enum owner_call_kind kind,
                                  struct owner_answer *out, struct fly_error *error)
{
    struct owner_answer a = {
        .kind = kind, .replayed = pb->replayed, .vm_id = pb->vm_id, .generation = pb->generation};
    enum fly_status status = FLY_OK;

    if (pb->code < OWNER_VM || pb->code > OWNER_UNKNOWN || !hold_read(pb->hold, &a.hold)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "the owner's answer makes no sense");
    }
    a.code = (enum owner_code)pb->code;
    bool needs_hold = a.code == OWNER_HELD || a.code == OWNER_BOUND || a.code == OWNER_VM_ELSEWHERE;
    if ((needs_hold && a.hold.slice == 0) || (a.code == OWNER_VM && pb->vm == NULL) ||
        (a.code == OWNER_REFUSED && (pb->status == FLY_OK || pb->status > FLY_UNAUTHENTICATED))) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "the owner's answer lacks a part");
    }
    if (a.code == OWNER_VM) {
        status = vm_read(pb->vm, &a.vm, error);
    }
    if (pb->room != NULL) {
        room_read(pb->room, &a.room);
    }
    a.status = (enum fly_status)pb->status;
    if (pb->text[0] != '\0') {
        a.text = text_intern(pb->text);
    }
    if (status == FLY_OK) {
        *out = a;
    }
    return status;
}
