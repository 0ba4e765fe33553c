/*
 * api_cap - how many VMs the cluster may come to have through this dash (--vms-max).
 *
 * Counted exactly as far as a dash can: a list of all VMs from an edge, then every VM_STARTED and
 * VM_DESTROYED that the dash was fed since before that list was asked for, by id, so that nothing
 * counts twice; launches of its own that are under way count as well. It is too low while a slice
 * does not answer the list, or when the feed was repaired by a snapshot (whose VMs are no events):
 * therefore a list counts for LIST_OLD_MS only. It is never refused on a list older than
 * LIST_FRESH_MS, and never where the launch's own key has its VM already: who asks again for what
 * was launched gets it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dash/api_internal.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/wire/vmid.h"

enum { LIST_FRESH_MS = 2000, LIST_OLD_MS = 60000, PAGE = 1000 };

void api_cap_catch_up(struct api *api)
{
    struct dash_state *state = dash_state(api->dash);

    (void)pthread_mutex_lock(&state->lock);
    if (state->event_count - api->vms_seen > DASH_EVENTS_MAX) {
        limits_vms_lose(api->vms);
        api->vms_seen = state->event_count;
    }
    for (; api->vms_seen < state->event_count; api->vms_seen++) {
        const struct event *event = &state->events[api->vms_seen % DASH_EVENTS_MAX];
        limits_vms_event(api->vms, event->type, event->vm);
    }
    (void)pthread_mutex_unlock(&state->lock);
}

/* All that live, at most `max`. */
struct listing {
    uint64_t *ids;
    size_t count;
    size_t max;
    const struct fly_key *key; /* looked for; NULL: none */
    bool found;                /* it has a VM */
};

static void take_page(struct listing *listing, const Fly__V1__ListReply *page)
{
    for (size_t i = 0; i < page->n_vms && listing->count < listing->max; i++) {
        const Fly__V1__Vm *vm = page->vms[i];
        listing->count += vmid_parse(vm->id, &listing->ids[listing->count]) ? 1 : 0;
        listing->found =
            listing->found || (listing->key != NULL && vm->key.len == FLY_KEY_SIZE &&
                               memcmp(vm->key.data, listing->key->bytes, FLY_KEY_SIZE) == 0);
    }
}

static enum fly_status list_all(struct session *session, int64_t timeout_ms,
                                struct listing *listing, struct failure *failure)
{
    int64_t until = fly_clock_boot_ms() + timeout_ms;
    Fly__V1__ListRequest request = FLY__V1__LIST_REQUEST__INIT;
    enum fly_status status = FLY_OK;

    request.region = "";
    request.id_prefix = "";
    request.limit = PAGE;
    do {
        struct rpc_reply reply = {0};
        uint64_t next = 0;
        failure_fini(failure);
        status = session_call_again(session, &rpc_edge_list, &request.base,
                                    until - fly_clock_boot_ms(), &reply, failure);
        if (status == FLY_OK) {
            const Fly__V1__ListReply *page = (const Fly__V1__ListReply *)reply.message;
            take_page(listing, page);
            next = page->next > request.after && listing->count < listing->max ? page->next : 0;
        }
        rpc_reply_fini(&reply);
        request.after = next;
    } while (request.after != 0);
    return status;
}

/* *replay: the key has its VM. */
static enum fly_status renew(struct api *api, struct session *session, int64_t timeout_ms,
                             const struct fly_key *key, bool *replay, struct failure *failure)
{
    struct dash_state *state = dash_state(api->dash);
    struct listing listing = {.max = (size_t)limits_vms_max(api->vms) + LIMITS_VMS_SPARE,
                              .key = key};

    listing.ids = calloc(listing.max, sizeof *listing.ids);
    FLY_CHECK(listing.ids != NULL);
    (void)pthread_mutex_lock(&state->lock);
    uint64_t before = state->event_count;
    (void)pthread_mutex_unlock(&state->lock);
    enum fly_status status = list_all(session, timeout_ms, &listing, failure);
    if (status == FLY_OK) {
        (void)pthread_mutex_lock(&api->vms_lock);
        limits_vms_list(api->vms, listing.ids, listing.count, fly_clock_boot_ms());
        api->vms_seen = before;
        api_cap_catch_up(api);
        (void)pthread_mutex_unlock(&api->vms_lock);
    }
    *replay = listing.found;
    free(listing.ids);
    return status;
}

/* True: decided, *room says how. False: a newer list is needed first. */
static bool decide(struct api *api, bool last, bool may_refuse, bool *room)
{
    int64_t now_ms = fly_clock_boot_ms();

    (void)pthread_mutex_lock(&api->vms_lock);
    api_cap_catch_up(api);
    int64_t as_of_ms = limits_vms_as_of(api->vms);
    bool known = as_of_ms != INT64_MIN && (last || now_ms - as_of_ms < LIST_OLD_MS);
    *room = known && limits_vms_reserve(api->vms);
    (void)pthread_mutex_unlock(&api->vms_lock);
    return *room || (known && may_refuse && (last || now_ms - as_of_ms < LIST_FRESH_MS));
}

enum fly_status api_cap_reserve(struct api *api, struct session *session, int64_t timeout_ms,
                                const struct fly_key *key, bool *reserved, struct failure *failure)
{
    bool room = false;
    bool replay = false;

    *reserved = false;
    if (api->vms == NULL) {
        return FLY_OK;
    }
    if (!decide(api, false, key == NULL, &room)) {
        enum fly_status status = renew(api, session, timeout_ms, key, &replay, failure);
        if (!replay && !decide(api, true, true, &room) && status != FLY_OK) {
            if (status == FLY_PERMISSION_DENIED) {
                (void)snprintf(failure->hint, sizeof failure->hint,
                               "this dash counts the VMs first: the token needs scope read too");
            }
            failure->sent = false; /* nothing was launched */
            return status;
        }
    }
    if (room || replay) {
        failure_fini(failure);
        *reserved = room;
        return FLY_OK;
    }
    failure_fini(failure);
    *failure = (struct failure){.status = FLY_RESOURCE_EXHAUSTED,
                                .reason = FLY__V1__REASON__REASON_QUOTA,
                                .connected = true,
                                .retryable = true};
    (void)snprintf(failure->message, sizeof failure->message,
                   "%u VMs or more live already: this dash launches up to %u",
                   limits_vms_max(api->vms), limits_vms_max(api->vms));
    (void)snprintf(failure->hint, sizeof failure->hint, "destroy one first");
    return FLY_RESOURCE_EXHAUSTED;
}

void api_cap_launched(struct api *api, const char *vm)
{
    uint64_t id = 0;

    if (vm != NULL && !vmid_parse(vm, &id)) {
        id = 0;
    }
    (void)pthread_mutex_lock(&api->vms_lock);
    limits_vms_launched(api->vms, id);
    (void)pthread_mutex_unlock(&api->vms_lock);
}
