#include "node/front.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/front_parts.h"
#include "node/slice/limits.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/id.h"
#include "proto/base/log.h"
#include "proto/base/time.h"
#include "proto/wire/validate.h"

enum { SLOT_BITS = 16, HELLO_ARENA_SIZE = 8192, HELLO_REPLY_MAX = 32768 };
#define TICKET_DIRECT (UINT64_C(1) << 63)

_Static_assert(FRONT_DIRECTS_MAX <= 1 << SLOT_BITS, "a slot fits its ticket");

struct front *front_create(const struct front_config *config)
{
    struct front *f = calloc(1, sizeof *f);
    uint64_t seed = 0;

    FLY_CHECK(f != NULL);
    f->config = *config;
    gate_init(&f->gate, &config->gate);
    randombytes_buf(&seed, sizeof seed);
    fly_rng_seed(&f->rng, seed);
    f->launches = calloc(FRONT_LAUNCHES_MAX, sizeof *f->launches);
    f->directs = calloc(FRONT_DIRECTS_MAX, sizeof *f->directs);
    FLY_CHECK(f->launches != NULL && f->directs != NULL);
    fly_list_init(&f->running);
    fly_list_init(&f->free_launches);
    fly_list_init(&f->watchers);
    for (uint32_t i = 0; i < FRONT_LAUNCHES_MAX; i++) {
        fly_list_append(&f->free_launches, &f->launches[i].link);
    }
    for (uint32_t i = 0; i < FRONT_DIRECTS_MAX; i++) {
        f->directs[i].next_free = i + 1 < FRONT_DIRECTS_MAX ? i + 2 : 0;
    }
    f->free_direct = 1;
    f->next_due_ms = INT64_MAX;
    return f;
}

void front_destroy(struct front *f)
{
    if (f == NULL) {
        return;
    }
    FLY_CHECK(front_idle(f));
    free(f->launches);
    free(f->directs);
    sodium_memzero(f, sizeof *f);
    free(f);
}

void front_attach(struct front *f, struct host *host)
{
    f->host = host;
}

bool front_idle(const struct front *f)
{
    return f->running_count == 0 && f->direct_count == 0 && f->watcher_count == 0;
}

int64_t front_deadline(const struct front *f)
{
    return f->next_due_ms;
}

void front_event(struct front *f, const struct event *event)
{
    if (catalog_apply(f->config.catalog, event) != FLY_OK) {
        fly_log_warn("catalog.full", F_STR("machine", event->machine));
    }
}

/* --- who calls --- */

/* The caller's words, checked and unpacked into `arena`; NULL: refused here. */
static const Fly__V1__Hello *read_hello(struct rpc_hello *hello, struct fly_arena *arena)
{
    const ProtobufCMessageDescriptor *type = &fly__v1__hello__descriptor;
    struct fly_bytes bytes = rpc_hello_bytes(hello);
    struct fly_error error;

    if (validate_message(type, bytes, arena->size, NULL, &error) != FLY_OK) {
        rpc_hello_refuse(hello, error.status, error.text, (struct fly_bytes){.size = 0});
        return NULL;
    }
    const ProtobufCMessage *message = validate_unpack(type, bytes, arena);
    FLY_CHECK(message != NULL);
    return (const Fly__V1__Hello *)message;
}

/* Who the token speaks for, on the heap; NULL: nobody, or (with *refused) not admitted. */
static struct gate_peer *admit(struct front *f, struct rpc_hello *hello, const char *token,
                               struct owner_now now, bool *refused)
{
    struct gate_refusal why = {.reason = GATE_NONE};
    struct gate_peer *peer = NULL;

    *refused = false;
    if (token[0] == '\0') {
        return NULL;
    }
    peer = calloc(1, sizeof *peer);
    FLY_CHECK(peer != NULL);
    if (gate_admit(&f->gate, now.wall_ms, token, strlen(token), peer, &why) != FLY_OK) {
        struct refusal r;
        uint8_t detail[1024];
        refusal_set(&r, why.error.status, (Fly__V1__Reason)why.reason, why.reason == GATE_RATE,
                    "%s", why.error.text);
        size_t size = refusal_pack(&r, detail, sizeof detail);
        rpc_hello_refuse(hello, why.error.status, why.error.text,
                         (struct fly_bytes){.data = detail, .size = size});
        free(peer);
        peer = NULL;
        *refused = true;
    }
    return peer;
}

void front_hello(struct front *f, struct rpc_hello *hello, struct owner_now now)
{
    _Alignas(16) uint8_t memory[HELLO_ARENA_SIZE];
    uint8_t packed[HELLO_REPLY_MAX];
    struct fly_arena arena = fly_arena_over(memory, sizeof memory);
    const Fly__V1__Hello *request = read_hello(hello, &arena);
    Fly__V1__HelloReply reply = FLY__V1__HELLO_REPLY__INIT;
    struct region_tags tags;
    bool refused = false;

    if (request == NULL) {
        return;
    }
    struct gate_peer *peer = admit(f, hello, request->token, now, &refused);
    if (refused) {
        return;
    }
    tags.count = 0;
    if (peer != NULL) { /* who says nothing of himself learns nothing of our machines */
        region_tags_fill(&tags, f->config.catalog, NULL);
    }
    reply.cluster = (char *)f->config.cluster_id;
    reply.node = (char *)f->config.node_name;
    reply.version = FLY_VERSION;
    reply.time_ms = now.wall_ms;
    reply.n_tags = tags.count;
    reply.tags = tags.pointers;
    while (fly__v1__hello_reply__get_packed_size(&reply) > sizeof packed) {
        reply.n_tags /= 2; /* hints: half of them will do */
    }
    size_t size = fly__v1__hello_reply__pack(&reply, packed);
    rpc_hello_accept(hello, (struct fly_bytes){.data = packed, .size = size}, peer);
}

void front_peer_gone(struct front *f, void *peer)
{
    (void)f;
    sodium_memzero(peer, sizeof(struct gate_peer));
    free(peer);
}

const struct gate_peer *front_peer(const struct rpc_call *call)
{
    static const struct gate_peer nobody;
    const struct gate_peer *peer = rpc_call_peer(call);

    return peer != NULL ? peer : &nobody;
}

void front_refuse_overloaded(struct rpc_call *call, const char *what)
{
    struct refusal r;

    refusal_set(&r, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_OVERLOADED, true,
                "too many %s are under way at this edge", what);
    (void)fly_copy_string(r.hint, sizeof r.hint, "try again in a moment");
    refusal_send(call, &r);
}

/* --- Destroy --- */

static void call_destroy(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__DestroyRequest *q = (const Fly__V1__DestroyRequest *)rpc_call_request(call);
    struct vm vm;

    if (f->free_direct == 0) {
        front_refuse_overloaded(call, "calls");
        return;
    }
    if (!front_vm(f, call, q->vm, &vm)) {
        return;
    }
    struct direct_slot *slot = &f->directs[f->free_direct - 1];
    uint64_t ticket =
        TICKET_DIRECT | (uint64_t)++slot->generation << SLOT_BITS | (uint64_t)(slot - f->directs);
    f->free_direct = slot->next_free;
    f->direct_count++;
    slot->call = call;
    const struct owner_call destroy = {.kind = OWNER_DESTROY, .ticket = ticket, .vm = vm.id};
    host_call(f->host, &destroy, now);
}

static void destroy_answered(struct rpc_call *call, const struct owner_answer *a)
{
    struct refusal r;

    if (a->code == OWNER_VM) {
        struct vm_message vm;
        Fly__V1__DestroyReply reply = FLY__V1__DESTROY_REPLY__INIT;
        vm_message_fill(&vm, &a->vm);
        reply.vm = &vm.pb;
        reply.already = a->replayed;
        rpc_call_reply(call, &reply.base);
        return;
    }
    if (a->code == OWNER_NOT_FOUND) {
        refusal_set(&r, FLY_NOT_FOUND, FLY__V1__REASON__REASON_NOT_FOUND, false, "no such VM");
    } else if (a->code == OWNER_UNKNOWN) {
        refusal_set(&r, FLY_UNAVAILABLE, FLY__V1__REASON__REASON_OUTCOME_UNKNOWN, true,
                    "the outcome is not known: the slice's log failed");
        (void)fly_copy_string(r.hint, sizeof r.hint, "destroy it again: that does no harm");
    } else {
        refusal_set(&r, a->status != FLY_OK ? a->status : FLY_UNAVAILABLE,
                    FLY__V1__REASON__REASON_OWNER_UNREACHABLE, true, "%s",
                    a->text != NULL ? a->text : "the owner refused");
    }
    refusal_send(call, &r);
}

/* --- answers, turns, dispatch --- */

static void direct_answered(struct front *f, const struct owner_answer *a)
{
    uint32_t i = (uint32_t)(a->ticket & ((1u << SLOT_BITS) - 1));
    uint32_t generation = (uint32_t)((a->ticket & ~TICKET_DIRECT) >> SLOT_BITS);

    FLY_CHECK(i < FRONT_DIRECTS_MAX);
    struct direct_slot *slot = &f->directs[i];
    if (slot->call == NULL || slot->generation != generation) {
        return;
    }
    destroy_answered(slot->call, a);
    slot->call = NULL;
    slot->next_free = f->free_direct;
    f->free_direct = i + 1;
    f->direct_count--;
}

void front_answer(struct front *f, const struct owner_answer *answer, struct owner_now now)
{
    if ((answer->ticket & TICKET_DIRECT) != 0) {
        direct_answered(f, answer);
        return;
    }
    front_launch_answer(f, answer, now);
}

void front_turn(struct front *f, struct owner_now now)
{
    front_launch_turn(f, now);
    front_watch_turn(f);
}

void front_stop(struct front *f)
{
    f->stopping = true;
    while (!fly_list_empty(&f->watchers)) {
        front_watch_end(f, FLY_CONTAINER(f->watchers.next, struct watcher, link), FLY_UNAVAILABLE,
                        "the node is stopping");
    }
}

void front_abandon(struct front *f, struct owner_now now)
{
    front_launch_abandon(f, now);
    for (uint32_t i = 0; i < FRONT_DIRECTS_MAX && f->direct_count > 0; i++) {
        const struct owner_answer unknown = {
            .code = OWNER_UNKNOWN,
            .ticket = TICKET_DIRECT | (uint64_t)f->directs[i].generation << SLOT_BITS | i};
        direct_answered(f, &unknown);
    }
}

struct owner *front_owner(struct front *f, struct rpc_call *call)
{
    struct owner *owner = host_owner(f->host);

    if (owner == NULL) {
        struct refusal r;
        refusal_set(&r, FLY_UNAVAILABLE, FLY__V1__REASON__REASON_JOURNAL, true,
                    "the slice is starting or its disk is recovering");
        (void)fly_copy_string(r.hint, sizeof r.hint, "try again in a moment");
        refusal_send(call, &r);
    }
    return owner;
}

/* The scope that a method needs; every method but health has one. */
static enum token_scope scope_of(const struct rpc_method *method)
{
    static const struct {
        const struct rpc_method *method;
        enum token_scope scope;
    } scopes[] = {
        {&rpc_edge_regions, TOKEN_SCOPE_REGIONS}, {&rpc_edge_launch, TOKEN_SCOPE_LAUNCH},
        {&rpc_edge_cancel, TOKEN_SCOPE_LAUNCH},   {&rpc_edge_list, TOKEN_SCOPE_READ},
        {&rpc_edge_status, TOKEN_SCOPE_READ},     {&rpc_edge_destroy, TOKEN_SCOPE_DESTROY},
        {&rpc_edge_watch, TOKEN_SCOPE_WATCH},
    };

    for (size_t i = 0; i < FLY_ARRAY_COUNT(scopes); i++) {
        if (scopes[i].method == method) {
            return scopes[i].scope;
        }
    }
    return TOKEN_SCOPE_ADMIN;
}

static bool admitted(struct front *f, struct rpc_call *call, struct owner_now now)
{
    struct gate_refusal why;
    struct refusal r;

    if (gate_check(&f->gate, front_peer(call), now.wall_ms, scope_of(rpc_call_method(call)),
                   &why) != FLY_OK) {
        refusal_set(&r, why.error.status, (Fly__V1__Reason)why.reason, false, "%s", why.error.text);
        refusal_send(call, &r);
        return false;
    }
    if (f->stopping) {
        refusal_set(&r, FLY_UNAVAILABLE, FLY__V1__REASON__REASON_STOPPING, true,
                    "the node is stopping");
        refusal_turn_away(call, &r);
        return false;
    }
    if (rpc_call_deadline_ms(call) != 0 && rpc_call_deadline_ms(call) <= now.boot_ms) {
        refusal_set(&r, FLY_DEADLINE_EXCEEDED, FLY__V1__REASON__REASON_NONE, true,
                    "the deadline passed while the call waited: it was not executed");
        refusal_turn_away(call, &r);
        return false;
    }
    return true;
}

void front_call(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const struct rpc_method *method = rpc_call_method(call);

    if (!admitted(f, call, now)) {
        return;
    }
    if (method == &rpc_edge_launch) {
        front_launch(f, call, now);
    } else if (method == &rpc_edge_cancel) {
        front_cancel_key(f, call, now);
    } else if (method == &rpc_edge_destroy) {
        call_destroy(f, call, now);
    } else if (method == &rpc_edge_regions) {
        front_regions(f, call);
    } else if (method == &rpc_edge_list) {
        front_list(f, call);
    } else if (method == &rpc_edge_status) {
        front_status(f, call);
    } else if (method == &rpc_edge_watch) {
        front_watch(f, call);
    } else {
        rpc_call_fail(call, FLY_UNIMPLEMENTED, "this node does not serve the method",
                      (struct fly_bytes){.size = 0});
    }
}
