/*
 * front_read - reads that need nobody else: regions, what a region's code means, and the VMs of the
 * slice that is hosted here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/edge/nearest.h"
#include "node/front_parts.h"
#include "proto/base/check.h"
#include "proto/base/id.h"

enum { PLACES_MAX = 1024 };

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

/* --- the VMs of the slice here --- */

static bool vm_matches(const struct vm_query *q, const struct slice_record *r)
{
    if (r->kind != RECORD_VM || r->number <= q->after ||
        !id_starts_with(r->vm, q->prefix_digits, q->prefix)) {
        return false;
    }
    if (q->region[0] != '\0' && strcmp(r->region, q->region) != 0) {
        return false;
    }
    return q->any_state || (q->state != 0 ? r->state == q->state : r->state != VM_DESTROYED);
}

static int by_number(const void *a, const void *b)
{
    const struct found_vm *x = a;
    const struct found_vm *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

static size_t find_one(const struct slice_state *s, const struct vm_query *q, struct found_vm **out)
{
    uint32_t slot = slice_vm_find(s, q->prefix);
    bool there = slot != SLICE_NONE && vm_matches(q, slice_record_at(s, slot));

    *out = calloc(1, sizeof **out);
    FLY_CHECK(*out != NULL);
    if (there) {
        **out = (struct found_vm){.number = slice_record_at(s, slot)->number, .slot = slot};
    }
    return there;
}

size_t front_find_vms(const struct slice_state *s, const struct vm_query *q, struct found_vm **out)
{
    if (q->prefix_digits == VMID_DIGITS) {
        return find_one(s, q, out);
    }
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
