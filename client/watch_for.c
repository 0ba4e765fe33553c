/*
 * watch_for - whether what --for waits for holds: looked at once the watch stands, so that it
 * cannot be missed, and again when an event says that it may have changed.
 *
 * The answer about a VM is its owner's; about a region the edge's picture, which may be behind the
 * edge that is watched: so that one is looked at every second too.
 */
#include <stdio.h>
#include <string.h>

#include "client/watch.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/wire/vmid.h"

enum {
    LOOK_PAUSE_MS = 200,
    LOOK_POLL_MS = 1000,
    LOOK_CALL_MS = 3000,
    PAGE_SIZE = 1000,
};

void watch_for_begin(struct watch_for *w, const struct command *command)
{
    session_init(&w->session, command->session.addr, command->session.token);
    w->session.ca_pem = command->session.ca_pem;
    w->look = true;
}

void watch_for_end(struct watch_for *w)
{
    if (w->condition.kind != CONDITION_NONE) {
        session_fini(&w->session);
    }
}

void watch_for_missed(struct watch_for *w)
{
    w->look = true;
}

enum watch_for_says watch_for_event(struct watch_for *w, const Fly__V1__Event *event)
{
    switch (condition_event(&w->condition, event)) {
    case CONDITION_NOTHING:
        break;
    case CONDITION_HOLDS:
        return WATCH_FOR_HOLDS;
    case CONDITION_LOOK:
        w->look = true;
        break;
    }
    return WATCH_FOR_NOT_YET;
}

static enum watch_for_says never(struct failure *failure, enum fly_status status, uint32_t reason,
                                 const char *what, const char *about)
{
    failure_fini(failure);
    *failure = (struct failure){.status = status, .reason = reason, .connected = true};
    (void)snprintf(failure->message, sizeof failure->message, what, about);
    return WATCH_FOR_NEVER;
}

/* What a call that failed means: later may be better, or not. */
static enum watch_for_says unanswered(struct watch_for *w, const struct failure *failure)
{
    switch (failure->status) {
    case FLY_NOT_FOUND:
    case FLY_INVALID_ARGUMENT:
    case FLY_PERMISSION_DENIED:
    case FLY_UNAUTHENTICATED:
    case FLY_UNIMPLEMENTED:
        return WATCH_FOR_NEVER;
    case FLY_OK:
    case FLY_CANCELLED:
    case FLY_UNKNOWN:
    case FLY_DEADLINE_EXCEEDED:
    case FLY_ALREADY_EXISTS:
    case FLY_RESOURCE_EXHAUSTED:
    case FLY_FAILED_PRECONDITION:
    case FLY_ABORTED:
    case FLY_OUT_OF_RANGE:
    case FLY_INTERNAL:
    case FLY_UNAVAILABLE:
    case FLY_DATA_LOSS:
        break;
    }
    w->look = true;
    return WATCH_FOR_NOT_YET;
}

static bool call(struct watch_for *w, const struct rpc_method *method,
                 const ProtobufCMessage *request, struct rpc_reply *reply, struct failure *failure)
{
    return session_call_again(&w->session, method, request, LOOK_CALL_MS, reply, failure) == FLY_OK;
}

static enum watch_for_says look_at_vm(struct watch_for *w, struct failure *failure)
{
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
    struct rpc_reply reply = {0};
    enum watch_for_says says = WATCH_FOR_NOT_YET;

    request.vm = w->condition.word;
    if (!call(w, &rpc_edge_status, &request.base, &reply, failure)) {
        says = unanswered(w, failure);
    } else {
        const Fly__V1__Vm *vm = ((const Fly__V1__StatusReply *)reply.message)->vm;
        bool destroyed = vm != NULL && vm->state == FLY__V1__VM_STATE__VM_STATE_DESTROYED;
        bool started = vm != NULL && vm->state == FLY__V1__VM_STATE__VM_STATE_STARTED;
        if (vm != NULL) { /* from now on that one is meant */
            (void)fly_copy_string(w->condition.word, sizeof w->condition.word, vm->id);
        }
        if (w->condition.destroyed ? destroyed : started) {
            says = WATCH_FOR_HOLDS;
        } else if (destroyed) {
            says = never(failure, FLY_FAILED_PRECONDITION, FLY__V1__REASON__REASON_NONE,
                         "VM %s is destroyed: it will not start again", vm->id);
        }
    }
    rpc_reply_fini(&reply);
    return says;
}

/* Looks for a VM of the name among those of a state. False: not all could be looked at. */
static bool find_name(struct watch_for *w, uint32_t state, bool *found, struct failure *failure)
{
    Fly__V1__ListRequest request = FLY__V1__LIST_REQUEST__INIT;
    bool whole = true;

    *found = false;
    request.limit = PAGE_SIZE;
    request.state = (Fly__V1__VmState)state;
    do {
        struct rpc_reply reply = {0};
        if (!call(w, &rpc_edge_list, &request.base, &reply, failure)) {
            rpc_reply_fini(&reply);
            return false;
        }
        const Fly__V1__ListReply *page = (const Fly__V1__ListReply *)reply.message;
        for (size_t i = 0; i < page->n_vms; i++) {
            *found = *found || strcmp(page->vms[i]->name, w->condition.word) == 0;
        }
        whole = whole && page->n_unreachable == 0;
        request.after = page->next;
        rpc_reply_fini(&reply);
    } while (!*found && request.after != 0 && !session_interrupted());
    return *found || whole;
}

static enum watch_for_says look_for_name(struct watch_for *w, struct failure *failure)
{
    bool runs = false;
    bool gone = false;

    failure->status = FLY_OK; /* stays so when a slice does not answer */
    if (!find_name(w, FLY__V1__VM_STATE__VM_STATE_STARTED, &runs, failure) ||
        (w->condition.destroyed && !runs &&
         !find_name(w, FLY__V1__VM_STATE__VM_STATE_DESTROYED, &gone, failure))) {
        return unanswered(w, failure);
    }
    return (w->condition.destroyed ? gone && !runs : runs) ? WATCH_FOR_HOLDS : WATCH_FOR_NOT_YET;
}

static enum watch_for_says look_at_region(struct watch_for *w, struct failure *failure)
{
    Fly__V1__RegionsRequest request = FLY__V1__REGIONS_REQUEST__INIT;
    struct rpc_reply reply = {0};
    enum watch_for_says says = WATCH_FOR_NOT_YET;

    if (!call(w, &rpc_edge_regions, &request.base, &reply, failure)) {
        says = unanswered(w, failure);
    } else {
        const Fly__V1__RegionsReply *r = (const Fly__V1__RegionsReply *)reply.message;
        bool known = false;
        for (size_t i = 0; i < r->n_regions; i++) {
            if (strcmp(r->regions[i]->code, w->condition.word) == 0) {
                known = true;
                says = condition_free(&w->condition, r->regions[i]->cores_free) ? WATCH_FOR_HOLDS
                                                                                : says;
            }
        }
        if (!known) {
            says = never(failure, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_REGION_UNKNOWN,
                         "region '%.15s' is not known here", w->condition.word);
        }
    }
    rpc_reply_fini(&reply);
    return says;
}

enum watch_for_says watch_for_look(struct watch_for *w, int64_t now_ms, struct failure *failure)
{
    bool poll = w->condition.kind == CONDITION_REGION && now_ms >= w->poll_ms;

    if (w->condition.kind == CONDITION_NONE || now_ms < w->look_ms || !(w->look || poll)) {
        return WATCH_FOR_NOT_YET;
    }
    w->look = false;
    w->look_ms = now_ms + LOOK_PAUSE_MS;
    w->poll_ms = now_ms + LOOK_POLL_MS;
    *failure = (struct failure){.status = FLY_OK};
    enum watch_for_says says = WATCH_FOR_NOT_YET;
    switch (w->condition.kind) {
    case CONDITION_VM:
        says = look_at_vm(w, failure);
        break;
    case CONDITION_NAME:
        says = look_for_name(w, failure);
        break;
    case CONDITION_REGION:
        says = look_at_region(w, failure);
        break;
    case CONDITION_NONE:
        break;
    }
    if (says != WATCH_FOR_NEVER) {
        failure_fini(failure);
    }
    return says;
}
