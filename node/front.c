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

enum { TICKET_BITS = 7, SLOT_BITS = 16 };
#define TICKET_DIRECT (UINT64_C(1) << 63)

_Static_assert(LAUNCH_TRIES_MAX + 8 <= 1 << TICKET_BITS, "a launch's tickets fit");
_Static_assert(FRONT_LAUNCHES_MAX <= 1 << SLOT_BITS, "a launch's slot fits its ticket");

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

void front_hello(struct front *f, struct rpc_hello *hello, struct owner_now now)
{
    struct fly_bytes bytes = rpc_hello_bytes(hello);
    Fly__V1__Hello *request = fly__v1__hello__unpack(NULL, bytes.size, bytes.data);
    Fly__V1__HelloReply reply = FLY__V1__HELLO_REPLY__INIT;
    struct gate_refusal why = {.reason = GATE_NONE};
    struct gate_peer *peer = NULL;

    if (request == NULL) {
        rpc_hello_refuse(hello, FLY_INVALID_ARGUMENT, "HELLO is not a fly.v1.Hello message",
                         (struct fly_bytes){.size = 0});
        return;
    }
    if (request->token[0] != '\0') {
        peer = calloc(1, sizeof *peer);
        FLY_CHECK(peer != NULL);
        if (gate_admit(&f->gate, now.wall_ms, request->token, strlen(request->token), peer, &why) !=
            FLY_OK) {
            struct refusal refusal;
            uint8_t detail[1024];
            refusal_set(&refusal, why.error.status, (Fly__V1__Reason)why.reason, false, "%s",
                        why.error.text);
            size_t size = refusal_pack(&refusal, detail, sizeof detail);
            rpc_hello_refuse(hello, why.error.status, why.error.text,
                             (struct fly_bytes){.data = detail, .size = size});
            free(peer);
            fly__v1__hello__free_unpacked(request, NULL);
            return;
        }
    }
    struct region_tags tags;
    region_tags_fill(&tags, f->config.catalog, NULL);
    reply.cluster = (char *)f->config.cluster_id;
    reply.node = (char *)f->config.node_name;
    reply.version = FLY_VERSION;
    reply.time_ms = now.wall_ms;
    reply.n_tags = tags.count;
    reply.tags = tags.pointers;
    size_t size = fly__v1__hello_reply__get_packed_size(&reply);
    uint8_t *packed = malloc(size);
    FLY_CHECK(packed != NULL);
    (void)fly__v1__hello_reply__pack(&reply, packed);
    rpc_hello_accept(hello, (struct fly_bytes){.data = packed, .size = size}, peer);
    free(packed);
    fly__v1__hello__free_unpacked(request, NULL);
}

void front_peer_gone(struct front *f, void *peer)
{
    (void)f;
    sodium_memzero(peer, sizeof(struct gate_peer));
    free(peer);
}

static const struct gate_peer *peer_of(const struct rpc_call *call)
{
    static const struct gate_peer nobody;
    const struct gate_peer *peer = rpc_call_peer(call);

    return peer != NULL ? peer : &nobody;
}

/* --- Launch and Cancel --- */

static void refuse_invalid(struct rpc_call *call, const char *what, const char *hint)
{
    struct refusal r;

    refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_INVALID_SPEC, false, "%s", what);
    (void)fly_copy_string(r.hint, sizeof r.hint, hint);
    refusal_send(call, &r);
}

static void refuse_overloaded(struct rpc_call *call, const char *what)
{
    struct refusal r;

    refusal_set(&r, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_OVERLOADED, true,
                "too many %s are under way at this edge", what);
    (void)fly_copy_string(r.hint, sizeof r.hint, "try again in a moment");
    refusal_send(call, &r);
}

/* What the room that was seen lacks for a spec: the words of a person who looked at it. */
static void say_no_room(struct front *f, const struct launch *l, struct refusal *r)
{
    const struct launch_spec *spec = &l->spec;
    const struct owner_room *room = &l->result.room;
    const struct catalog_region *near =
        catalog_nearest_fit(f->config.catalog, spec->region, spec->cores, spec->memory_bytes);
    char asked[FLY_TIME_TEXT_SIZE];
    char most[FLY_TIME_TEXT_SIZE];

    fly_size_format(spec->memory_bytes, asked);
    fly_size_format(room->fits_empty ? room->memory_free_max_bytes : room->memory_max_bytes, most);
    if (room->machines == 0) {
        refusal_set(r, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_REGION_FULL, false,
                    "region %s has no machines", spec->region);
    } else if (room->fits_empty) {
        refusal_set(r, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_REGION_FULL, true,
                    "region %s is full: no machine has %u cores and %s free now; the freest has %u "
                    "cores and %s",
                    spec->region, spec->cores, asked, room->cores_free_max, most);
    } else if (spec->memory_bytes > room->memory_max_bytes) {
        refusal_set(r, FLY_FAILED_PRECONDITION, FLY__V1__REASON__REASON_TOO_LARGE, false,
                    "no machine of %s could ever hold %s of memory: the largest has %s",
                    spec->region, asked, most);
    } else if (spec->cores > room->cores_max) {
        refusal_set(r, FLY_FAILED_PRECONDITION, FLY__V1__REASON__REASON_TOO_LARGE, false,
                    "no machine of %s could ever hold %u cores: the largest has %u", spec->region,
                    spec->cores, room->cores_max);
    } else {
        refusal_set(r, FLY_FAILED_PRECONDITION, FLY__V1__REASON__REASON_TOO_LARGE, false,
                    "no single machine of %s could ever hold %u cores and %s together",
                    spec->region, spec->cores, asked);
    }
    if (near != NULL) {
        (void)snprintf(r->hint, sizeof r->hint, "the nearest region with room is %s (%s)",
                       near->code, near->city[0] != '\0' ? near->city : near->code);
    } else {
        (void)fly_copy_string(r->hint, sizeof r->hint, "ask for less: no region has that much");
    }
}

static void say_key(const struct launch *l, struct refusal *r)
{
    (void)l;
    refusal_set(r, FLY_FAILED_PRECONDITION, FLY__V1__REASON__REASON_KEY_EXPIRED, true,
                "this key has expired: its launch is no longer known here");
    (void)fly_copy_string(r->hint, sizeof r->hint, "launch again with a fresh key");
}

static void say_not_done(struct front *f, const struct launch *l, struct refusal *r)
{
    const struct launch_result *result = &l->result;

    switch (result->code) {
    case OWNER_ELSEWHERE:
        say_no_room(f, l, r);
        return;
    case OWNER_KEY_REUSED:
        refusal_set(r, FLY_ALREADY_EXISTS, FLY__V1__REASON__REASON_KEY_REUSED, false,
                    "this key belongs to a launch with another region, size or name");
        (void)fly_copy_string(r->hint, sizeof r->hint, "use another key, or the first spec again");
        return;
    case OWNER_KEY_EXPIRED:
        say_key(l, r);
        return;
    case OWNER_KEY_INVALID:
        refusal_set(r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_KEY_INVALID, true,
                    "this key was minted in the future, or for a slice that is not here");
        (void)fly_copy_string(r->hint, sizeof r->hint, "check this machine's clock");
        return;
    case OWNER_CANCELLED:
        refusal_set(r, FLY_FAILED_PRECONDITION, FLY__V1__REASON__REASON_KEY_CANCELLED, false,
                    "this key was cancelled: nothing will ever come of it");
        (void)fly_copy_string(r->hint, sizeof r->hint, "launch again with a fresh key");
        return;
    case OWNER_VM:
    case OWNER_HELD:
    case OWNER_BOUND:
    case OWNER_VM_ELSEWHERE:
    case OWNER_DEAD:
    case OWNER_DONE_OK:
    case OWNER_BUSY:
    case OWNER_NOT_FOUND:
    case OWNER_REFUSED:
    case OWNER_UNKNOWN:
    default:
        break;
    }
    enum fly_status status = result->status != FLY_OK ? result->status : FLY_UNAVAILABLE;
    Fly__V1__Reason reason = status == FLY_RESOURCE_EXHAUSTED
                                 ? FLY__V1__REASON__REASON_TABLE_FULL
                                 : FLY__V1__REASON__REASON_OWNER_UNREACHABLE;
    refusal_set(r, status, reason, true, "%s",
                result->text != NULL ? result->text : "the slice's owner did not decide in time");
    (void)fly_copy_string(r->hint, sizeof r->hint, "nothing was launched; try again");
}

static void reply_vm(struct launch_slot *slot)
{
    const struct launch_result *result = &slot->launch.result;
    const struct vm elsewhere = {.id = result->vm_id, .state = VM_STARTED}; /* all that home knows */
    struct vm_message vm;

    vm_message_fill(&vm, result->has_vm ? &result->vm : &elsewhere);
    if (slot->launch.spec.cancel) {
        Fly__V1__CancelReply reply = FLY__V1__CANCEL_REPLY__INIT;
        reply.launched = result->code == OWNER_VM || result->code == OWNER_VM_ELSEWHERE;
        reply.vm = reply.launched ? &vm.pb : NULL;
        rpc_call_reply(slot->call, &reply.base);
        return;
    }
    Fly__V1__LaunchReply reply = FLY__V1__LAUNCH_REPLY__INIT;
    reply.vm = &vm.pb;
    reply.replayed = result->replayed;
    reply.tries = result->tries;
    rpc_call_reply(slot->call, &reply.base);
}

static void launch_finish(struct front *f, struct launch_slot *slot)
{
    const struct launch_result *result = &slot->launch.result;
    struct refusal r;

    if (result->end == LAUNCH_OK) {
        reply_vm(slot);
    } else if (result->end == LAUNCH_NOT_DONE) {
        struct region_tags tags;
        say_not_done(f, &slot->launch, &r);
        region_tags_fill(&tags, f->config.catalog, slot->launch.spec.region);
        r.tags = &tags;
        refusal_send(slot->call, &r);
    } else {
        refusal_set(&r, FLY_UNAVAILABLE, FLY__V1__REASON__REASON_OUTCOME_UNKNOWN, true,
                    "the outcome is not known: %s",
                    result->text != NULL ? result->text : "an owner did not answer");
        (void)fly_copy_string(r.hint, sizeof r.hint, "try again with the same key");
        refusal_send(slot->call, &r);
    }
    slot->call = NULL;
    fly_list_drop(&slot->link);
    fly_list_prepend(&f->free_launches, &slot->link); /* its memory is warm */
    f->running_count--;
}

/* Makes the calls that the machine wants, and ends it when it has ended. */
static void launch_run(struct front *f, struct launch_slot *slot, struct owner_now now)
{
    struct launch_call out;

    while (launch_next_call(&slot->launch, &out)) {
        if (out.to == f->config.tag) {
            host_call(f->host, &out.call, now);
        } else if (!out.off_path) {
            launch_not_sent(&slot->launch, out.call.ticket, now.boot_ms);
        }
        if (slot->call == NULL) {
            return; /* an answer came at once and ended it */
        }
    }
    if (launch_result(&slot->launch)->end != LAUNCH_RUNNING) {
        launch_finish(f, slot);
    } else if (launch_deadline(&slot->launch) < f->next_due_ms) {
        f->next_due_ms = launch_deadline(&slot->launch);
    }
}

/* The launch must end before its caller's patience does, so that the answer still arrives. */
static int64_t launch_deadline_of(const struct rpc_call *call, struct owner_now now)
{
    int64_t deadline_ms = rpc_call_deadline_ms(call);

    if (deadline_ms == 0) {
        return now.boot_ms + FRONT_LAUNCH_MS;
    }
    int64_t left = deadline_ms - now.boot_ms;
    int64_t margin = left / 10 < 100 ? left / 10 : 100;
    return deadline_ms - margin;
}

static void launch_begin(struct front *f, struct rpc_call *call, struct launch_spec *spec,
                         struct owner_now now)
{
    if (fly_list_empty(&f->free_launches)) {
        refuse_overloaded(call, "launches");
        return;
    }
    struct launch_slot *slot = FLY_CONTAINER(f->free_launches.next, struct launch_slot, link);
    fly_list_drop(&slot->link);
    fly_list_append(&f->running, &slot->link);
    f->running_count++;
    slot->call = call;
    slot->generation++;
    (void)fly_copy_string(spec->subject, sizeof spec->subject, peer_of(call)->subject);
    spec->root_tag = f->config.root_tag;
    spec->deadline_ms = launch_deadline_of(call, now);
    uint64_t handle =
        (uint64_t)slot->generation << SLOT_BITS | (uint64_t)(slot - f->launches);
    launch_init(&slot->launch, spec, handle << TICKET_BITS, fly_rng_next(&f->rng), now.boot_ms);
    launch_run(f, slot, now);
}

static bool take_key(struct rpc_call *call, ProtobufCBinaryData key, struct launch_spec *spec)
{
    struct refusal r;

    if (key.len == FLY_KEY_SIZE) {
        memcpy(spec->key.bytes, key.data, FLY_KEY_SIZE);
        if (key_valid(&spec->key)) {
            return true;
        }
    }
    refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_KEY_INVALID, false,
                "the key is not a well-formed key of %d bytes", FLY_KEY_SIZE);
    (void)fly_copy_string(r.hint, sizeof r.hint, "give the key as it was printed, or any text");
    refusal_send(call, &r);
    return false;
}

static void call_launch(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__LaunchRequest *q = (const Fly__V1__LaunchRequest *)rpc_call_request(call);
    struct launch_spec spec = {.cores = q->cores, .memory_bytes = q->memory_bytes};

    if (q->cores < 1) {
        refuse_invalid(call, "cores must be at least 1", "ask for --cores 1 or more");
        return;
    }
    if (q->memory_bytes < SLICE_VM_MEMORY_MIN) {
        refuse_invalid(call, "memory must be at least 1 MB", "--memory 6 means 6 GB");
        return;
    }
    if (q->name[0] != '\0' && !fly_name_ok(q->name)) {
        refuse_invalid(call, "a name is 1 to 63 of a-z, 0-9 and -", "choose another --name");
        return;
    }
    const struct catalog_region *region = front_region(f, call, q->region);
    if (region == NULL || !take_key(call, q->key, &spec)) {
        return;
    }
    (void)fly_copy_string(spec.region, sizeof spec.region, region->code);
    (void)fly_copy_string(spec.name, sizeof spec.name, q->name);
    spec.candidate_count = catalog_choose(f->config.catalog, region->code, q->cores,
                                          q->memory_bytes, &f->rng, spec.candidates, 2);
    launch_begin(f, call, &spec, now);
}

static void call_cancel(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__CancelRequest *q = (const Fly__V1__CancelRequest *)rpc_call_request(call);
    struct launch_spec spec = {.cancel = true};

    if (take_key(call, q->key, &spec)) {
        launch_begin(f, call, &spec, now);
    }
}

/* --- Destroy --- */

static void call_destroy(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__DestroyRequest *q = (const Fly__V1__DestroyRequest *)rpc_call_request(call);
    struct vm vm;

    if (f->free_direct == 0) {
        refuse_overloaded(call, "calls");
        return;
    }
    if (!front_vm(f, call, q->vm, &vm)) {
        return;
    }
    struct direct_slot *slot = &f->directs[f->free_direct - 1];
    uint64_t ticket = TICKET_DIRECT | (uint64_t)++slot->generation << SLOT_BITS |
                      (uint64_t)(slot - f->directs);
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
    uint64_t handle = answer->ticket >> TICKET_BITS;
    uint32_t i = (uint32_t)(handle & ((1u << SLOT_BITS) - 1));
    FLY_CHECK(i < FRONT_LAUNCHES_MAX);
    struct launch_slot *slot = &f->launches[i];
    if (slot->call == NULL || slot->generation != (uint32_t)(handle >> SLOT_BITS)) {
        return; /* off the path, of a launch that has ended */
    }
    launch_receive(&slot->launch, answer, now.boot_ms);
    launch_run(f, slot, now);
}

void front_turn(struct front *f, struct owner_now now)
{
    if (now.boot_ms >= f->next_due_ms) {
        f->next_due_ms = INT64_MAX;
        for (struct fly_list *at = f->running.next; at != &f->running;) {
            struct launch_slot *slot = FLY_CONTAINER(at, struct launch_slot, link);
            at = at->next;
            launch_tick(&slot->launch, now.boot_ms);
            launch_run(f, slot, now);
        }
    }
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
    while (!fly_list_empty(&f->running)) {
        struct launch_slot *slot = FLY_CONTAINER(f->running.next, struct launch_slot, link);
        slot->launch.spec.deadline_ms = now.boot_ms;
        launch_tick(&slot->launch, now.boot_ms);
        launch_finish(f, slot);
    }
    for (uint32_t i = 0; i < FRONT_DIRECTS_MAX && f->direct_count > 0; i++) {
        const struct owner_answer unknown = {.code = OWNER_UNKNOWN,
                                             .ticket = TICKET_DIRECT |
                                                       (uint64_t)f->directs[i].generation
                                                           << SLOT_BITS |
                                                       i};
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

    if (gate_check(&f->gate, peer_of(call), now.wall_ms, scope_of(rpc_call_method(call)), &why) !=
        FLY_OK) {
        refusal_set(&r, why.error.status, (Fly__V1__Reason)why.reason, false, "%s",
                    why.error.text);
        refusal_send(call, &r);
        return false;
    }
    if (f->stopping) {
        refusal_set(&r, FLY_UNAVAILABLE, FLY__V1__REASON__REASON_STOPPING, true,
                    "the node is stopping");
        refusal_send(call, &r);
        return false;
    }
    if (rpc_call_deadline_ms(call) != 0 && rpc_call_deadline_ms(call) <= now.boot_ms) {
        refusal_set(&r, FLY_DEADLINE_EXCEEDED, FLY__V1__REASON__REASON_NONE, true,
                    "the deadline passed while the call waited: it was not executed");
        refusal_send(call, &r);
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
        call_launch(f, call, now);
    } else if (method == &rpc_edge_cancel) {
        call_cancel(f, call, now);
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
