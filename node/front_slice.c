/*
 * front_slice - the Slice service: what other nodes ask the owner that is hosted here.
 *
 * A user's token is verified here again: an edge is not taken at its word for a subject (DESIGN
 * 3.9). Whoever does not lead the slice says so at once, with who does: nothing was done then.
 */
#include <stdlib.h>
#include <string.h>

#include "node/front_parts.h"
#include "node/slice_wire.h"
#include "proto/base/check.h"
#include "proto/wire/vmid.h"

enum {
    SLOT_BITS = 16,
    REPLAY_DEFAULT = 256,
    REPLAY_MAX = 4096,
    REPLAY_BYTES_MAX = 256 * 1024,
    MACHINES_PAGE = 1024,
};

_Static_assert(FRONT_SERVED_MAX <= 1 << SLOT_BITS, "a slot fits its ticket");

static void refuse_not_leader(struct front *f, struct rpc_call *call, uint32_t tag)
{
    const struct gossip_member *owner =
        f->config.directory != NULL ? directory_owner(f->config.directory, tag) : NULL;
    struct refusal r;

    refusal_set(&r, FLY_UNAVAILABLE, FLY__V1__REASON__REASON_NOT_LEADER, true,
                "slice %06x is not led here", tag);
    if (owner != NULL && !owner->self) {
        node_id_format(&owner->credential.id, r.leader);
    }
    refusal_turn_away(call, &r);
}

/* The owner of the slice that is asked for; NULL: refused here. */
static struct owner *leader(struct front *f, struct rpc_call *call, uint32_t tag)
{
    struct owner *owner = f->host != NULL && tag == f->config.tag ? host_owner(f->host) : NULL;

    if (owner == NULL) {
        refuse_not_leader(f, call, tag);
    }
    return owner;
}

/* --- Present --- */

void front_present(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__PresentRequest *q = (const Fly__V1__PresentRequest *)rpc_call_request(call);
    struct gate_refusal why = {.reason = GATE_NONE};
    struct gate_peer user;
    uint8_t hash[TOKEN_HASH_SIZE];
    Fly__V1__PresentReply reply = FLY__V1__PRESENT_REPLY__INIT;

    if (gate_admit(&f->gate, now.wall_ms, q->token, strlen(q->token), &user, &why) != FLY_OK) {
        struct refusal r;
        refusal_set(&r, why.error.status, (Fly__V1__Reason)why.reason, why.reason == GATE_RATE,
                    "%s", why.error.text);
        refusal_turn_away(call, &r);
        return;
    }
    peer_token_hash(q->token, hash);
    peer_present(rpc_call_peer(call), hash, &user);
    reply.hash = (ProtobufCBinaryData){.len = sizeof hash, .data = hash};
    rpc_call_reply(call, &reply.base);
}

/* --- Call --- */

/* What a user must have shown for a call of this kind; 0: nodes settle it among themselves. */
static uint32_t scope_of_kind(enum owner_call_kind kind)
{
    switch (kind) {
    case OWNER_OPEN:
    case OWNER_HOLD:
    case OWNER_BIND:
    case OWNER_COMMIT:
    case OWNER_CANCEL:
        return TOKEN_SCOPE_LAUNCH;
    case OWNER_DESTROY:
        return TOKEN_SCOPE_DESTROY;
    case OWNER_CLOSE:
    case OWNER_DONE:
    case OWNER_RELEASE:
    case OWNER_MACHINE:
    case OWNER_LOSS:
    default:
        return 0;
    }
}

/* False: refused here. */
static bool user_agrees(struct front *f, struct rpc_call *call, const struct owner_call *c,
                        ProtobufCBinaryData hash, struct owner_now now)
{
    uint32_t scope = scope_of_kind(c->kind);
    struct gate_refusal why;
    struct refusal r;

    if (scope == 0) {
        return true;
    }
    const struct gate_peer *user =
        hash.len == TOKEN_HASH_SIZE ? peer_presented(rpc_call_peer(call), hash.data) : NULL;
    if (user == NULL) {
        refusal_set(&r, FLY_UNAUTHENTICATED, FLY__V1__REASON__REASON_TOKEN_UNKNOWN, true,
                    "the user's token was not presented on this connection");
        refusal_turn_away(call, &r);
        return false;
    }
    if (gate_check(&f->gate, user, now.wall_ms, (enum token_scope)scope, &why) != FLY_OK) {
        refusal_set(&r, why.error.status, (Fly__V1__Reason)why.reason, false, "%s", why.error.text);
        refusal_turn_away(call, &r);
        return false;
    }
    if (c->kind != OWNER_DESTROY && strcmp(user->subject, c->subject) != 0) {
        refusal_set(&r, FLY_PERMISSION_DENIED, FLY__V1__REASON__REASON_TOKEN_INVALID, false,
                    "the token is of another subject than the call");
        refusal_turn_away(call, &r);
        return false;
    }
    return true;
}

void front_slice_call(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__SliceCallRequest *q = (const Fly__V1__SliceCallRequest *)rpc_call_request(call);
    struct owner_call c;
    struct fly_error error;
    struct refusal r;

    if (leader(f, call, q->slice) == NULL) {
        return;
    }
    if (slice_call_read(q, &c, &error) != FLY_OK) {
        refusal_set(&r, error.status, FLY__V1__REASON__REASON_INVALID_SPEC, false, "%s",
                    error.text);
        refusal_turn_away(call, &r);
        return;
    }
    if (!user_agrees(f, call, &c, q->token_hash, now)) {
        return;
    }
    struct direct_slot *slot = front_slot_take(&f->served, call);
    if (slot == NULL) {
        refusal_set(&r, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_OVERLOADED, true,
                    "too many calls are under way at this owner");
        refusal_turn_away(call, &r);
        return;
    }
    c.ticket = TICKET_SERVED | (uint64_t)(slot->generation & 0xffffffu) << SLOT_BITS |
               (uint64_t)(slot - f->served.slots);
    host_call(f->host, &c, now);
}

void front_served_answer(struct front *f, const struct owner_answer *answer)
{
    uint32_t i = (uint32_t)(answer->ticket & ((1u << SLOT_BITS) - 1));
    uint32_t generation = (uint32_t)((answer->ticket & ~TICKET_SERVED) >> SLOT_BITS);
    struct slice_answer_message message;

    FLY_CHECK(i < f->served.fresh);
    struct direct_slot *slot = &f->served.slots[i];
    if (slot->call == NULL || (slot->generation & 0xffffffu) != generation) {
        return;
    }
    slice_answer_fill(&message, answer);
    rpc_call_reply(slot->call, &message.pb.base);
    front_slot_give(&f->served, slot);
}

void front_served_abandon(struct front *f)
{
    for (uint32_t i = 0; i < f->served.fresh && f->served.count > 0; i++) {
        const struct owner_answer unknown = {
            .code = OWNER_UNKNOWN,
            .ticket = TICKET_SERVED |
                      (uint64_t)(f->served.slots[i].generation & 0xffffffu) << SLOT_BITS | i};
        front_served_answer(f, &unknown);
    }
}

/* --- reads: the stream's repair, machines, VMs --- */

void front_replay(struct front *f, struct rpc_call *call)
{
    const Fly__V1__ReplayRequest *q = (const Fly__V1__ReplayRequest *)rpc_call_request(call);
    struct owner *owner = leader(f, call, q->slice);
    Fly__V1__ReplayReply reply = FLY__V1__REPLAY_REPLY__INIT;
    uint32_t limit = REPLAY_DEFAULT;
    uint64_t first = 0;
    uint64_t last = 0;

    if (owner == NULL) { /* the call is over, and its request with it */
        return;
    }
    limit = q->limit == 0 ? limit : q->limit < REPLAY_MAX ? q->limit : REPLAY_MAX;
    const struct slice_totals *sum = slice_totals(owner_state(owner));
    owner_events_range(owner, &first, &last);
    reply.incarnation = sum->incarnation;
    reply.last = sum->seq;
    reply.from = q->from;
    reply.to = q->from - 1;
    reply.below = q->incarnation != sum->incarnation || q->from < first || q->from == 0;
    uint8_t *out = NULL;
    if (!reply.below && q->from <= last) {
        uint64_t to = last - q->from < limit ? last : q->from + limit - 1;
        uint8_t head[EVENT_HEAD_BYTES_MAX];
        uint8_t body[EVENT_BODY_BYTES_MAX];
        size_t size = 0;
        out = malloc(REPLAY_BYTES_MAX + EVENT_HEAD_BYTES_MAX);
        FLY_CHECK(out != NULL);
        uint8_t *at = out + EVENT_HEAD_BYTES_MAX; /* the head's size is known at the end */
        uint64_t seq = q->from;
        for (; seq <= to && size + EVENT_BODY_BYTES_MAX <= REPLAY_BYTES_MAX; seq++) {
            struct event event;
            FLY_CHECK(owner_event(owner, seq, &event));
            size_t n = event_encode(&event, body);
            memcpy(at + size, body, n);
            size += n;
        }
        reply.to = seq - 1;
        size_t head_size = event_head_encode(sum->tag, sum->incarnation, q->from, reply.to, head);
        memcpy(at - head_size, head, head_size);
        reply.events = (ProtobufCBinaryData){.len = head_size + size, .data = at - head_size};
    }
    rpc_call_reply(call, &reply.base);
    free(out);
}

void front_machines(struct front *f, struct rpc_call *call)
{
    const Fly__V1__MachinesRequest *q = (const Fly__V1__MachinesRequest *)rpc_call_request(call);
    struct owner *owner = leader(f, call, q->slice);
    Fly__V1__MachinesReply reply = FLY__V1__MACHINES_REPLY__INIT;

    if (owner == NULL) {
        return;
    }
    const struct slice_state *s = owner_state(owner);
    Fly__V1__SliceMachine *machines = calloc(MACHINES_PAGE, sizeof *machines);
    Fly__V1__SliceMachine **pointers = calloc(MACHINES_PAGE, sizeof *pointers);
    FLY_CHECK(machines != NULL && pointers != NULL);
    uint32_t slot = q->after;
    for (; slot < slice_machine_slots(s) && reply.n_machines < MACHINES_PAGE; slot++) {
        const struct slice_machine *m = slice_machine_at(s, slot);
        if (m->name[0] == '\0') {
            continue;
        }
        Fly__V1__SliceMachine *to = &machines[reply.n_machines];
        *to = (Fly__V1__SliceMachine)FLY__V1__SLICE_MACHINE__INIT;
        to->name = (char *)m->name;
        to->region = (char *)m->region;
        to->cores = m->cores;
        to->cores_free = m->cores - m->cores_used;
        to->memory_bytes = m->memory_bytes;
        to->memory_free_bytes = m->memory_bytes - m->memory_used_bytes;
        to->cordoned = m->cordoned;
        pointers[reply.n_machines++] = to;
    }
    reply.incarnation = slice_totals(s)->incarnation;
    reply.seq = slice_totals(s)->seq;
    reply.founded_ms = slice_totals(s)->founded_ms;
    reply.machines = pointers;
    reply.next = slot < slice_machine_slots(s) ? slot : 0;
    rpc_call_reply(call, &reply.base);
    free(pointers);
    free(machines);
}

void front_slice_list(struct front *f, struct rpc_call *call)
{
    const Fly__V1__SliceListRequest *q = (const Fly__V1__SliceListRequest *)rpc_call_request(call);
    struct owner *owner = leader(f, call, q->slice);
    Fly__V1__SliceListReply reply = FLY__V1__SLICE_LIST_REPLY__INIT;

    if (owner == NULL) { /* the call is over, and its request with it */
        return;
    }
    const struct vm_query query = {.region = q->region,
                                   .state = (enum vm_state)q->state,
                                   .any_state = q->any_state,
                                   .prefix_digits = q->prefix_digits,
                                   .prefix = q->prefix,
                                   .after = q->after};
    uint32_t limit = q->limit == 0 || q->limit > FRONT_LIST_MAX ? FRONT_LIST_MAX : q->limit;
    if (q->prefix_digits > VMID_DIGITS) {
        rpc_call_fail(call, FLY_INVALID_ARGUMENT, "a prefix has at most 12 digits",
                      (struct fly_bytes){.size = 0});
        return;
    }
    struct found_vm *found = NULL;
    size_t count = front_find_vms(owner_state(owner), &query, &found);
    size_t shown = count < limit ? count : limit;
    struct vm_message *vms = calloc(shown + 1, sizeof *vms);
    Fly__V1__Vm **pointers = calloc(shown + 1, sizeof *pointers);
    FLY_CHECK(vms != NULL && pointers != NULL);
    for (size_t i = 0; i < shown; i++) {
        struct vm vm;
        FLY_CHECK(owner_vm_at(owner, found[i].slot, &vm));
        vm_message_fill(&vms[i], &vm);
        pointers[i] = &vms[i].pb;
    }
    reply.incarnation = slice_totals(owner_state(owner))->incarnation;
    reply.seq = slice_totals(owner_state(owner))->seq;
    reply.n_vms = shown;
    reply.vms = pointers;
    reply.next = count > shown ? found[shown - 1].number : 0;
    rpc_call_reply(call, &reply.base);
    free(pointers);
    free(vms);
    free(found);
}
