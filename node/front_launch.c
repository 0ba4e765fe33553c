/*
 * front_launch - Launch and Cancel at the edge: a call becomes a launch machine, the machine's
 * calls go to owners, its end becomes the answer in a person's words.
 */
#include <stdio.h>
#include <string.h>

#include "node/failpoint.h"
#include "node/front_parts.h"
#include "node/slice/limits.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/time.h"

enum { TICKET_BITS = 7, SLOT_BITS = 16 };

_Static_assert(LAUNCH_TRIES_MAX + 8 <= 1 << TICKET_BITS, "a launch's tickets fit");
_Static_assert(FRONT_LAUNCHES_MAX <= 1 << SLOT_BITS, "a launch's slot fits its ticket");

static void refuse_invalid(struct rpc_call *call, const char *what, const char *hint)
{
    struct refusal r;

    refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_INVALID_SPEC, false, "%s", what);
    (void)fly_copy_string(r.hint, sizeof r.hint, hint);
    refusal_send(call, &r);
}

/* Some machine of the region has the size, wherever its slice stands: owners that were not asked,
 * or do not serve now, may take the launch later. O(machines of the cluster), of refusals only. */
static bool could_hold(struct front *f, const struct launch_spec *spec)
{
    struct catalog_machine m;

    for (uint32_t i = 0; i < streams_count(f->config.streams); i++) {
        const struct stream *st = streams_at(f->config.streams, i);
        uint64_t cursor = 0;
        while (!st->forgotten && catalog_machine_next(f->config.catalog, st->tag, &cursor, &m)) {
            if (strcmp(m.region, spec->region) == 0 && m.cores >= spec->cores &&
                m.memory_bytes >= spec->memory_bytes) {
                return true;
            }
        }
    }
    return false;
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
    } else if (could_hold(f, spec)) {
        refusal_set(r, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_REGION_FULL, true,
                    "region %s has no room for %u cores and %s now: the slices whose machines are "
                    "large enough are full or do not serve",
                    spec->region, spec->cores, asked);
    } else if (spec->memory_bytes > room->memory_max_bytes) {
        refusal_set(r, FLY_FAILED_PRECONDITION, FLY__V1__REASON__REASON_TOO_LARGE, false,
                    "no machine of %s could ever hold %s of memory: the largest has %s",
                    spec->region, asked, most);
    } else if (spec->cores > room->cores_max) {
        refusal_set(r, FLY_FAILED_PRECONDITION, FLY__V1__REASON__REASON_TOO_LARGE, false,
                    "no machine of %s could ever hold %u cores: the largest has %u", spec->region,
                    spec->cores, room->cores_max);
    } else if (spec->cores > SLICE_CORES_MAX || spec->memory_bytes > SLICE_VM_MEMORY_MAX) {
        refusal_set(r, FLY_FAILED_PRECONDITION, FLY__V1__REASON__REASON_TOO_LARGE, false,
                    "a VM has at most %d cores and 64 TB of memory", SLICE_CORES_MAX);
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
    const struct vm elsewhere = {.id = result->vm_id,
                                 .state = VM_STARTED}; /* all that home knows */
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
        bool sent =
            router_call(f->router, out.to, &out.call, front_token(slot->call), slot->call, now);
        if (!sent && !out.off_path && slot->call != NULL) {
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

/* In no list; NULL: all are taken. */
static struct launch_slot *launch_slot_take(struct front *f)
{
    if (!fly_list_empty(&f->free_launches)) {
        struct launch_slot *slot = FLY_CONTAINER(f->free_launches.next, struct launch_slot, link);
        fly_list_drop(&slot->link);
        return slot;
    }
    return f->fresh_launch < FRONT_LAUNCHES_MAX ? &f->launches[f->fresh_launch++] : NULL;
}

static void launch_begin(struct front *f, struct rpc_call *call, struct launch_spec *spec,
                         struct owner_now now)
{
    struct launch_slot *slot = launch_slot_take(f);

    if (slot == NULL) {
        front_refuse_overloaded(call, "launches");
        return;
    }
    fly_list_append(&f->running, &slot->link);
    f->running_count++;
    slot->call = call;
    slot->generation++;
    (void)fly_copy_string(spec->subject, sizeof spec->subject, front_user(call)->subject);
    spec->root_tag = f->config.root_tag;
    spec->deadline_ms = launch_deadline_of(call, now);
    uint64_t handle = (uint64_t)slot->generation << SLOT_BITS | (uint64_t)(slot - f->launches);
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

void front_launch(struct front *f, struct rpc_call *call, struct owner_now now)
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

void front_cancel_key(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__CancelRequest *q = (const Fly__V1__CancelRequest *)rpc_call_request(call);
    struct launch_spec spec = {.cancel = true};

    if (take_key(call, q->key, &spec)) {
        launch_begin(f, call, &spec, now);
    }
}

/* The launch of a ticket; NULL: off the path, of a launch that has ended. */
static struct launch_slot *launch_of(struct front *f, uint64_t ticket)
{
    uint64_t handle = ticket >> TICKET_BITS;
    uint32_t i = (uint32_t)(handle & ((1u << SLOT_BITS) - 1));

    FLY_CHECK(i < f->fresh_launch);
    struct launch_slot *slot = &f->launches[i];
    bool there = slot->call != NULL && slot->generation == (uint32_t)(handle >> SLOT_BITS);
    return there ? slot : NULL;
}

static void pass_failpoint(const struct launch *l, const struct owner_answer *answer)
{
    if (l->at == LAUNCH_AT_OPEN && answer->code == OWNER_ELSEWHERE) {
        failpoint_pass(FAILPOINT_EDGE_AFTER_OPEN);
    } else if (l->at == LAUNCH_AT_HOLD && answer->code == OWNER_HELD) {
        failpoint_pass(FAILPOINT_EDGE_AFTER_HOLD);
    } else if (l->at == LAUNCH_AT_BIND && answer->code == OWNER_BOUND) {
        failpoint_pass(FAILPOINT_EDGE_AFTER_BIND);
    } else if (l->at == LAUNCH_AT_COMMIT && answer->code == OWNER_VM) {
        failpoint_pass(FAILPOINT_EDGE_AFTER_COMMIT);
    }
}

void front_launch_answer(struct front *f, const struct owner_answer *answer, struct owner_now now)
{
    struct launch_slot *slot = launch_of(f, answer->ticket);

    if (slot != NULL) {
        pass_failpoint(&slot->launch, answer);
        launch_receive(&slot->launch, answer, now.boot_ms);
        launch_run(f, slot, now);
    }
}

void front_launch_not_sent(struct front *f, uint64_t ticket, struct owner_now now)
{
    struct launch_slot *slot = launch_of(f, ticket);

    if (slot != NULL) {
        launch_not_sent(&slot->launch, ticket, now.boot_ms);
        launch_run(f, slot, now);
    }
}

void front_launch_lost(struct front *f, uint64_t ticket, struct owner_now now)
{
    struct launch_slot *slot = launch_of(f, ticket);

    if (slot != NULL) {
        launch_lost(&slot->launch, ticket, now.boot_ms);
        launch_run(f, slot, now);
    }
}

void front_launch_turn(struct front *f, struct owner_now now)
{
    if (now.boot_ms < f->next_due_ms) {
        return;
    }
    f->next_due_ms = INT64_MAX;
    for (struct fly_list *at = f->running.next; at != &f->running;) {
        struct launch_slot *slot = FLY_CONTAINER(at, struct launch_slot, link);
        at = at->next;
        launch_tick(&slot->launch, now.boot_ms);
        launch_run(f, slot, now);
    }
}

void front_launch_abandon(struct front *f, struct owner_now now)
{
    while (!fly_list_empty(&f->running)) {
        struct launch_slot *slot = FLY_CONTAINER(f->running.next, struct launch_slot, link);
        slot->launch.spec.deadline_ms = now.boot_ms;
        launch_tick(&slot->launch, now.boot_ms);
        launch_finish(f, slot);
    }
}
