/*
 * front_read - the edge's reads: regions, list, status, and what people's words mean (a region's
 * code, a VM's id or prefix).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/edge/nearest.h"
#include "node/front_parts.h"
#include "proto/base/check.h"
#include "proto/base/id.h"

enum { PLACES_MAX = 1024, AMBIGUOUS_MAX = 4 };

const struct catalog_region *front_region(struct front *f, struct rpc_call *call, const char *code)
{
    const struct catalog *c = f->config.catalog;
    const struct catalog_region *region = catalog_region_find(c, code);
    struct nearest_place places[PLACES_MAX];
    struct refusal r;
    size_t count = 0;

    if (region != NULL) {
        return region;
    }
    for (uint32_t i = 0; i < catalog_region_count(c) && count < PLACES_MAX; i++) {
        const struct catalog_region *at = catalog_region_at(c, i);
        places[count++] = (struct nearest_place){.code = at->code, .city = at->city};
    }
    const struct nearest_place *near = nearest_find(code, places, count);
    refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_REGION_UNKNOWN, false,
                "region '%.32s' is not known here", code);
    if (near != NULL) {
        (void)snprintf(r.hint, sizeof r.hint, "did you mean %s (%s)?", near->code,
                       near->city != NULL && near->city[0] != '\0' ? near->city : near->code);
    } else {
        (void)fly_copy_string(r.hint, sizeof r.hint, "`flyrpc regions` lists them");
    }
    refusal_send(call, &r);
    return NULL;
}

static void fill_region(Fly__V1__Region *out, const struct catalog_region *r)
{
    *out = (Fly__V1__Region)FLY__V1__REGION__INIT;
    out->code = (char *)r->code;
    out->city = (char *)r->city;
    out->country = (char *)r->country;
    out->status = (char *)r->status;
    out->latitude = r->latitude;
    out->longitude = r->longitude;
    out->has_position = r->has_position;
    out->machines = r->machines;
    out->cores_total = r->cores_total;
    out->cores_free = r->cores_free;
    out->memory_total_bytes = r->memory_total_bytes;
    out->memory_free_bytes = r->memory_free_bytes;
}

void front_regions(struct front *f, struct rpc_call *call)
{
    const struct catalog *c = f->config.catalog;
    uint32_t count = catalog_region_count(c);
    Fly__V1__RegionsReply reply = FLY__V1__REGIONS_REPLY__INIT;
    Fly__V1__Region *regions = calloc(count + 1, sizeof *regions);
    Fly__V1__Region **pointers = calloc(count + 1, sizeof *pointers);
    struct region_tags tags;

    FLY_CHECK(regions != NULL && pointers != NULL);
    for (uint32_t i = 0; i < count; i++) {
        fill_region(&regions[i], catalog_region_at(c, i));
        pointers[i] = &regions[i];
    }
    region_tags_fill(&tags, c, NULL);
    reply.n_regions = count;
    reply.regions = pointers;
    reply.n_tags = tags.count;
    reply.tags = tags.pointers;
    rpc_call_reply(call, &reply.base);
    free(pointers);
    free(regions);
}

/* Whether the VM's id begins with the prefix of so many base32 digits. */
static bool id_starts_with(uint64_t id, size_t digits, uint64_t value)
{
    return digits == 0 || id >> 5 * (VMID_DIGITS - digits) == value;
}

static bool parse_prefix(const char *text, size_t *digits, uint64_t *value)
{
    *digits = strlen(text);
    *value = 0;
    return *digits == 0 || (*digits <= VMID_DIGITS && fly_crockford_decode(text, *digits, value));
}

/* --- List --- */

static bool vm_matches(const struct vm_query *q, const struct slice_record *r)
{
    if (r->kind != RECORD_VM || r->number <= q->after ||
        !id_starts_with(r->vm, q->prefix_digits, q->prefix)) {
        return false;
    }
    if (q->region[0] != '\0' && strcmp(r->region, q->region) != 0) {
        return false;
    }
    return q->state != 0 ? r->state == q->state : r->state != VM_DESTROYED;
}

static int by_number(const void *a, const void *b)
{
    const struct found_vm *x = a;
    const struct found_vm *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

size_t front_find_vms(const struct slice_state *s, const struct vm_query *q, struct found_vm **out)
{
    struct found_vm *found = calloc((size_t)slice_record_slots(s) + 1, sizeof *found);
    size_t count = 0;

    FLY_CHECK(found != NULL);
    for (uint32_t slot = 0; slot < slice_record_slots(s); slot++) {
        const struct slice_record *r = slice_record_at(s, slot);
        if (vm_matches(q, r)) {
            found[count++] = (struct found_vm){.number = r->number, .slot = slot};
        }
    }
    qsort(found, count, sizeof *found, by_number);
    *out = found;
    return count;
}

static void reply_list(struct owner *owner, struct rpc_call *call, const struct found_vm *found,
                       size_t count, uint32_t limit)
{
    size_t shown = count < limit ? count : limit;
    struct vm_message *vms = calloc(shown + 1, sizeof *vms);
    Fly__V1__Vm **pointers = calloc(shown + 1, sizeof *pointers);
    Fly__V1__ListReply reply = FLY__V1__LIST_REPLY__INIT;

    FLY_CHECK(vms != NULL && pointers != NULL);
    for (size_t i = 0; i < shown; i++) {
        struct vm vm;
        FLY_CHECK(owner_vm_at(owner, found[i].slot, &vm));
        vm_message_fill(&vms[i], &vm);
        pointers[i] = &vms[i].pb;
    }
    reply.n_vms = shown;
    reply.vms = pointers;
    reply.next = count > shown ? found[shown - 1].number : 0;
    rpc_call_reply(call, &reply.base);
    free(pointers);
    free(vms);
}

void front_list(struct front *f, struct rpc_call *call)
{
    const Fly__V1__ListRequest *request = (const Fly__V1__ListRequest *)rpc_call_request(call);
    struct vm_query q = {
        .region = "", .state = (enum vm_state)request->state, .after = request->after};
    uint32_t limit = request->limit == 0               ? FRONT_LIST_DEFAULT
                     : request->limit > FRONT_LIST_MAX ? FRONT_LIST_MAX
                                                       : request->limit;
    struct owner *owner = front_owner(f, call);

    if (owner == NULL) {
        return;
    }
    if (request->region[0] != '\0') {
        const struct catalog_region *region = front_region(f, call, request->region);
        if (region == NULL) {
            return;
        }
        q.region = region->code;
    }
    if (!parse_prefix(request->id_prefix, &q.prefix_digits, &q.prefix)) {
        struct refusal r;
        refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_INVALID_SPEC, false,
                    "'%.16s' does not begin a VM's id", request->id_prefix);
        refusal_send(call, &r);
        return;
    }
    struct found_vm *found = NULL;
    size_t count = front_find_vms(owner_state(owner), &q, &found);
    reply_list(owner, call, found, count, limit);
    free(found);
}

/* --- one VM --- */

static void refuse_vm(struct rpc_call *call, const char *text, const uint64_t *matches,
                      size_t count)
{
    struct refusal r;
    size_t at = 0;

    if (count == 0) {
        refusal_set(&r, FLY_NOT_FOUND, FLY__V1__REASON__REASON_NOT_FOUND, false,
                    "no VM's id begins with '%.16s'", text);
        (void)fly_copy_string(r.hint, sizeof r.hint, "`flyrpc list` shows them");
        refusal_send(call, &r);
        return;
    }
    refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_NOT_FOUND, false,
                "'%.16s' begins the ids of several VMs", text);
    at = (size_t)snprintf(r.hint, sizeof r.hint, "among them:");
    for (size_t i = 0; i < count && i < AMBIGUOUS_MAX; i++) {
        char id[VMID_TEXT_SIZE];
        vmid_format(matches[i], id);
        at += (size_t)snprintf(r.hint + at, sizeof r.hint - at, " %s", id);
    }
    refusal_send(call, &r);
}

bool front_vm(struct front *f, struct rpc_call *call, const char *text, struct vm *out)
{
    struct owner *owner = front_owner(f, call);
    uint64_t matches[AMBIGUOUS_MAX] = {0};
    size_t digits = 0;
    uint64_t prefix = 0;
    size_t count = 0;
    uint32_t match = SLICE_NONE;

    if (owner == NULL) {
        return false;
    }
    const struct slice_state *s = owner_state(owner);
    if (!parse_prefix(text, &digits, &prefix) || digits == 0) {
        refuse_vm(call, text, matches, 0);
        return false;
    }
    if (digits == VMID_DIGITS) {
        match = slice_vm_find(s, prefix);
        count = match != SLICE_NONE;
    } else {
        for (uint32_t slot = 0; slot < slice_record_slots(s); slot++) {
            const struct slice_record *r = slice_record_at(s, slot);
            if (r->kind == RECORD_VM && id_starts_with(r->vm, digits, prefix)) {
                if (count < AMBIGUOUS_MAX) {
                    matches[count] = r->vm;
                }
                match = slot;
                count++;
            }
        }
    }
    if (count != 1) {
        refuse_vm(call, text, matches, count);
        return false;
    }
    FLY_CHECK(owner_vm_at(owner, match, out));
    return true;
}

void front_status(struct front *f, struct rpc_call *call)
{
    const Fly__V1__StatusRequest *q = (const Fly__V1__StatusRequest *)rpc_call_request(call);
    Fly__V1__StatusReply reply = FLY__V1__STATUS_REPLY__INIT;
    struct vm_message message;
    struct vm vm;

    if (front_vm(f, call, q->vm, &vm)) {
        vm_message_fill(&message, &vm);
        reply.vm = &message.pb;
        rpc_call_reply(call, &reply.base);
    }
}
