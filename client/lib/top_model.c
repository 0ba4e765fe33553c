#include "client/lib/top_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "proto/base/check.h"

enum { SLOTS_FIRST = 1024, SLICE_DIGITS = 6, NO_REGION = TOP_REGIONS_MAX };

static uint32_t hash_of(uint32_t slice, const char *name)
{
    uint32_t hash = 2166136261U ^ slice; /* FNV-1a */

    for (const char *c = name; *c != '\0'; c++) {
        hash = (hash ^ (uint8_t)*c) * 16777619U;
    }
    return hash ^ hash >> 15;
}

static uint32_t slice_of(const char *text)
{
    return strspn(text, "0123456789abcdef") == SLICE_DIGITS && text[SLICE_DIGITS] == '\0'
               ? (uint32_t)strtoul(text, NULL, 16)
               : 0;
}

struct top_model *top_model_create(void)
{
    return calloc(1, sizeof(struct top_model));
}

void top_model_destroy(struct top_model *model)
{
    if (model != NULL) {
        free(model->machines);
        free(model->levels);
        free(model->names_memory);
        free(model->order);
        free(model->fresh);
        free(model->spare);
        free(model);
    }
}

/* ---- levels and sums ---- */

static double taken_of(uint64_t total, uint64_t left)
{
    return total == 0 || left >= total ? 0.0 : (double)(total - left) / (double)total;
}

uint8_t top_level(uint64_t cores, uint64_t cores_free, uint64_t memory_bytes,
                  uint64_t memory_free_bytes)
{
    double by_cores = taken_of(cores, cores_free);
    double by_memory = taken_of(memory_bytes, memory_free_bytes);
    double taken = by_cores > by_memory ? by_cores : by_memory;

    if ((cores > 0 && cores_free == 0) || (memory_bytes > 0 && memory_free_bytes == 0)) {
        return TOP_LEVEL_MAX;
    }
    return taken <= 0.0 ? 0 : (uint8_t)(1 + (unsigned)(29.0 * taken));
}

static void sums_add(struct top_sums *sums, const struct top_machine *m)
{
    sums->machines++;
    sums->cordoned += m->cordoned ? 1 : 0;
    sums->cores_total += m->cores;
    sums->cores_free += m->cores_free;
    sums->memory_total_bytes += m->memory_bytes;
    sums->memory_free_bytes += m->memory_free_bytes;
}

static void sums_subtract(struct top_sums *sums, const struct top_machine *m)
{
    sums->machines--;
    sums->cordoned -= m->cordoned ? 1 : 0;
    sums->cores_total -= m->cores;
    sums->cores_free -= m->cores_free;
    sums->memory_total_bytes -= m->memory_bytes;
    sums->memory_free_bytes -= m->memory_free_bytes;
}

static void count_in(struct top_model *model, uint32_t slot)
{
    const struct top_machine *m = &model->machines[slot];

    sums_add(&model->sums, m);
    sums_add(&model->regions[m->region].sums, m);
    model->levels[slot] =
        (uint8_t)(top_level(m->cores, m->cores_free, m->memory_bytes, m->memory_free_bytes) |
                  (m->cordoned ? TOP_LEVEL_CORDONED : 0));
}

static void count_out(struct top_model *model, uint32_t slot)
{
    const struct top_machine *m = &model->machines[slot];

    sums_subtract(&model->sums, m);
    sums_subtract(&model->regions[m->region].sums, m);
}

/* ---- regions ---- */

/* NO_REGION: there is no room for another. */
static uint32_t region_of(struct top_model *model, const char *code)
{
    char clean[TOP_CODE_SIZE];

    text_clean(code, clean, sizeof clean);
    for (uint32_t i = 0; i < model->region_count; i++) {
        if (strcmp(model->regions[i].code, clean) == 0) {
            return i;
        }
    }
    if (model->region_count == TOP_REGIONS_MAX) {
        model->left_out++;
        return NO_REGION;
    }
    struct top_region *region = &model->regions[model->region_count];
    *region = (struct top_region){.told = false};
    memcpy(region->code, clean, sizeof clean);
    return model->region_count++;
}

void top_model_put_regions(struct top_model *model, const Fly__V1__RegionsReply *reply,
                           int64_t now_ms)
{
    uint32_t told_before = 0;
    uint32_t told_now = 0;

    for (uint32_t i = 0; i < model->region_count; i++) {
        told_before += model->regions[i].told ? 1 : 0;
        model->regions[i].told = false;
        model->regions[i].stale_ms = 0;
    }
    for (size_t i = 0; i < reply->n_regions; i++) {
        const Fly__V1__Region *told = reply->regions[i];
        uint32_t at = region_of(model, told->code);
        if (at == NO_REGION) {
            continue;
        }
        struct top_region *region = &model->regions[at];
        text_clean(told->city, region->city, sizeof region->city);
        text_clean(told->country, region->country, sizeof region->country);
        text_clean(told->status, region->status, sizeof region->status);
        region->latitude = told->latitude;
        region->longitude = told->longitude;
        region->has_position = told->has_position;
        region->stale_ms = told->stale_ms;
        region->told_ms = now_ms;
        told_now += region->told ? 0 : 1;
        region->told = true;
    }
    model->order_changes += told_now != told_before ? 1 : 0;
}

uint64_t top_region_age_ms(const struct top_region *region, int64_t now_ms)
{
    if (region->stale_ms == 0) {
        return 0;
    }
    uint64_t since = now_ms > region->told_ms ? (uint64_t)(now_ms - region->told_ms) : 0;
    return region->stale_ms > UINT64_MAX - since ? UINT64_MAX : region->stale_ms + since;
}

/* ---- machines ---- */

static bool grow_array(void **array, size_t count, size_t size)
{
    void *bigger = reallocarray(*array, count, size);

    if (bigger != NULL) {
        *array = bigger;
    }
    return bigger != NULL;
}

/* Room for one more slot. What was enlarged when memory ended stays valid. */
static bool make_room(struct top_model *model)
{
    uint32_t max = model->slots_max == 0 ? SLOTS_FIRST : model->slots_max * 2;
    struct index names;

    if (model->slots < model->slots_max) {
        return true;
    }
    if (model->slots == TOP_MACHINES_MAX) {
        return false;
    }
    void *memory = calloc(1, index_size(max));
    if (memory == NULL || !grow_array((void **)&model->machines, max, sizeof *model->machines) ||
        !grow_array((void **)&model->levels, max, sizeof *model->levels) ||
        !grow_array((void **)&model->order, max, sizeof *model->order) ||
        !grow_array((void **)&model->fresh, max, sizeof *model->fresh) ||
        !grow_array((void **)&model->spare, max, sizeof *model->spare)) {
        free(memory);
        return false;
    }
    index_init(&names, memory, max);
    for (uint32_t i = 0; i < model->slots; i++) {
        const struct top_machine *m = &model->machines[i];
        if (!m->gone) {
            index_add(&names, hash_of(m->slice, m->name), i);
        }
    }
    free(model->names_memory);
    model->names_memory = memory;
    model->names = names;
    model->slots_max = max;
    return true;
}

uint32_t top_model_find(const struct top_model *model, uint32_t slice, const char *name)
{
    if (model->slots_max == 0) {
        return UINT32_MAX;
    }
    struct index_cursor cursor = index_search(&model->names, hash_of(slice, name));
    uint32_t slot = index_next(&model->names, &cursor);
    while (slot != UINT32_MAX && (model->machines[slot].slice != slice ||
                                  strcmp(model->machines[slot].name, name) != 0)) {
        slot = index_next(&model->names, &cursor);
    }
    return slot;
}

static void drop(struct top_model *model, uint32_t slot)
{
    struct top_machine *m = &model->machines[slot];

    count_out(model, slot);
    index_drop(&model->names, hash_of(m->slice, m->name), slot);
    m->gone = true; /* the slot is used again when `order` no longer names it */
    model->gone_count++;
}

/* Takes the machine's place, or makes one. `m` is whole but for its fill. */
static bool put(struct top_model *model, const struct top_machine *m)
{
    uint32_t slot = top_model_find(model, m->slice, m->name);

    if (slot != UINT32_MAX && model->machines[slot].region != m->region) {
        drop(model, slot); /* it stands elsewhere in the order now */
        slot = UINT32_MAX;
    }
    if (slot != UINT32_MAX) {
        count_out(model, slot);
    } else {
        if (model->spare_count == 0 && !make_room(model)) {
            model->left_out++;
            return false;
        }
        slot = model->spare_count > 0 ? model->spare[--model->spare_count] : model->slots++;
        index_add(&model->names, hash_of(m->slice, m->name), slot);
        model->fresh[model->fresh_count++] = slot;
    }
    model->machines[slot] = *m;
    model->machines[slot].fill = model->fill;
    count_in(model, slot);
    return true;
}

bool top_model_put_machine(struct top_model *model, const Fly__V1__Machine *machine)
{
    uint32_t region = region_of(model, machine->region);
    struct top_machine m = {
        .slice = slice_of(machine->slice),
        .cores = machine->cores,
        .cores_free = machine->cores_free,
        .memory_bytes = machine->memory_bytes,
        .memory_free_bytes = machine->memory_free_bytes,
        .cordoned = machine->cordoned,
    };

    if (region == NO_REGION) {
        return false;
    }
    m.region = (uint8_t)region;
    text_clean(machine->name, m.name, sizeof m.name);
    return put(model, &m);
}

void top_model_refill_begin(struct top_model *model)
{
    model->fill++;
}

void top_model_refill_end(struct top_model *model)
{
    for (uint32_t i = 0; i < model->slots; i++) {
        if (!model->machines[i].gone && model->machines[i].fill != model->fill) {
            drop(model, i);
        }
    }
}

/* ---- order ---- */

static int compare(const struct top_model *model, uint32_t a, uint32_t b)
{
    const struct top_machine *x = &model->machines[a];
    const struct top_machine *y = &model->machines[b];
    int by = x->region == y->region
                 ? 0
                 : strcmp(model->regions[x->region].code, model->regions[y->region].code);

    by = by != 0 ? by : strcmp(x->name, y->name);
    return by != 0 ? by : (x->slice > y->slice) - (x->slice < y->slice);
}

static int compare_slots(const void *a, const void *b, void *model)
{
    return compare(model, *(const uint32_t *)a, *(const uint32_t *)b);
}

static uint32_t without_gone(const struct top_model *model, uint32_t *slots, uint32_t count)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (!model->machines[slots[i]].gone) {
            slots[kept++] = slots[i];
        }
    }
    return kept;
}

/* Merges `fresh` into `order` from the end, so that each entry moves once. */
static void merge_fresh(struct top_model *model)
{
    uint32_t left = model->order_count;

    qsort_r(model->fresh, model->fresh_count, sizeof *model->fresh, compare_slots, model);
    for (uint32_t j = model->fresh_count; j-- > 0;) {
        uint32_t low = 0;
        uint32_t high = left;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (compare(model, model->order[middle], model->fresh[j]) < 0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        memmove(model->order + low + j + 1, model->order + low,
                (left - low) * sizeof *model->order);
        model->order[low + j] = model->fresh[j];
        left = low;
    }
    model->order_count += model->fresh_count;
    model->fresh_count = 0;
}

/* A slot is spare again when nothing names it; one that came and went in between is in no list. */
static void drop_gone(struct top_model *model)
{
    model->order_count = without_gone(model, model->order, model->order_count);
    model->fresh_count = without_gone(model, model->fresh, model->fresh_count);
    model->spare_count = 0;
    for (uint32_t i = 0; i < model->slots; i++) {
        if (model->machines[i].gone) {
            model->spare[model->spare_count++] = i;
        }
    }
    model->gone_count = 0;
}

void top_model_settle(struct top_model *model)
{
    if (model->gone_count == 0 && model->fresh_count == 0) {
        return;
    }
    if (model->gone_count > 0) {
        drop_gone(model);
    }
    merge_fresh(model);
    for (uint32_t i = 0; i < model->region_count; i++) {
        model->regions[i].order_first = 0;
        model->regions[i].order_count = 0;
    }
    for (uint32_t i = 0; i < model->order_count; i++) {
        struct top_region *region = &model->regions[model->machines[model->order[i]].region];
        region->order_first = region->order_count == 0 ? i : region->order_first;
        region->order_count++;
    }
    model->order_changes++;
}

/* ---- events ---- */

static void note_place(struct top_model *model, const struct top_place *next)
{
    for (uint32_t i = 0; i < model->place_count; i++) {
        struct top_place *known = &model->places[i];
        if (known->slice == next->slice) {
            model->changes += known->incarnation == next->incarnation && next->seq > known->seq
                                  ? next->seq - known->seq
                                  : 1;
            *known = *next;
            return;
        }
    }
    model->changes++;
    if (model->place_count < TOP_SLICES_MAX) {
        model->places[model->place_count++] = *next;
    }
}

static void keep_event(struct top_model *model, const Fly__V1__Event *event, uint32_t slice)
{
    struct top_event *kept = &model->events[model->event_count++ % TOP_EVENTS_MAX];

    *kept = (struct top_event){
        .slice = slice,
        .type = (uint32_t)event->type,
        .state = (uint32_t)event->state,
        .cores = event->cores,
        .machine_cores_free = event->machine_cores_free,
        .memory_bytes = event->memory_bytes,
        .machine_memory_free_bytes = event->machine_memory_free_bytes,
        .incarnation = event->incarnation,
        .seq = event->seq,
        .time_ms = event->time_ms,
    };
    text_clean(event->vm, kept->vm, sizeof kept->vm);
    text_clean(event->name, kept->name, sizeof kept->name);
    text_clean(event->machine, kept->machine, sizeof kept->machine);
    text_clean(event->region, kept->region, sizeof kept->region);
}

const struct top_event *top_model_event(const struct top_model *model, uint32_t back)
{
    if (back >= TOP_EVENTS_MAX || back >= model->event_count) {
        return NULL;
    }
    return &model->events[(model->event_count - 1 - back) % TOP_EVENTS_MAX];
}

/* The machine as a whole: its own events say all of it, but for a cordon that a new size keeps. */
static void apply_machine(struct top_model *model, const struct top_event *event)
{
    uint32_t slot = top_model_find(model, event->slice, event->machine);
    uint32_t region = region_of(model, event->region);
    struct top_machine m = {
        .slice = event->slice,
        .cores = event->cores,
        .cores_free = event->machine_cores_free,
        .memory_bytes = event->memory_bytes,
        .memory_free_bytes = event->machine_memory_free_bytes,
    };

    if (region == NO_REGION) {
        return;
    }
    m.region = (uint8_t)region;
    m.cordoned = event->type == FLY__V1__EVENT_TYPE__EVENT_MACHINE_CORDONED ||
                 (event->type == FLY__V1__EVENT_TYPE__EVENT_MACHINE_RESIZED && slot != UINT32_MAX &&
                  model->machines[slot].cordoned);
    memcpy(m.name, event->machine, sizeof m.name);
    (void)put(model, &m);
}

static void apply_vm(struct top_model *model, const struct top_event *event)
{
    uint32_t slot = top_model_find(model, event->slice, event->machine);

    if (slot == UINT32_MAX) {
        model->unknown++; /* a later page did not have the machine any more */
        return;
    }
    count_out(model, slot);
    model->machines[slot].cores_free = event->machine_cores_free;
    model->machines[slot].memory_free_bytes = event->machine_memory_free_bytes;
    count_in(model, slot);
}

void top_model_apply(struct top_model *model, const Fly__V1__Event *event)
{
    const struct top_place place = {
        .slice = slice_of(event->slice), .incarnation = event->incarnation, .seq = event->seq};

    note_place(model, &place);
    keep_event(model, event, place.slice);
    const struct top_event *kept = top_model_event(model, 0);
    switch (event->type) {
    case FLY__V1__EVENT_TYPE__EVENT_MACHINE_ADDED:
    case FLY__V1__EVENT_TYPE__EVENT_MACHINE_RESIZED:
    case FLY__V1__EVENT_TYPE__EVENT_MACHINE_CORDONED:
    case FLY__V1__EVENT_TYPE__EVENT_MACHINE_UNCORDONED:
        apply_machine(model, kept);
        break;
    case FLY__V1__EVENT_TYPE__EVENT_MACHINE_REMOVED: {
        uint32_t slot = top_model_find(model, kept->slice, kept->machine);
        if (slot != UINT32_MAX) {
            drop(model, slot);
        }
        break;
    }
    case FLY__V1__EVENT_TYPE__EVENT_VM_STARTED:
    case FLY__V1__EVENT_TYPE__EVENT_VM_DESTROYED:
        apply_vm(model, kept);
        break;
    case FLY__V1__EVENT_TYPE__EVENT_NONE:
    case _FLY__V1__EVENT_TYPE_IS_INT_SIZE:
    default: /* of a newer server: shown, and nothing else */
        break;
    }
}

/* ---- members ---- */

static int by_name(const void *a, const void *b)
{
    const struct top_member *x = a;
    const struct top_member *y = b;

    return strcmp(x->name, y->name);
}

static const char *host_of(const Fly__V1__Member *member)
{
    const char *url = member->rpc[0] != '\0' ? member->rpc : member->gossip;
    const char *host = strstr(url, "://");

    return host != NULL ? host + 3 : url;
}

static void put_member(struct top_member *to, const Fly__V1__Member *member)
{
    char roles[TOP_WORD_SIZE] = "";

    *to = (struct top_member){.notes = (uint32_t)member->n_notes,
                              .slices = (uint32_t)member->n_slices,
                              .rtt_us = member->rtt_us,
                              .since_ms = member->since_ms,
                              .self = member->self};
    for (size_t i = 0; i < member->n_roles; i++) {
        size_t used = strlen(roles);
        (void)snprintf(roles + used, sizeof roles - used, "%s%.16s", used > 0 ? "," : "",
                       member->roles[i]);
    }
    text_clean(roles, to->roles, sizeof to->roles);
    text_clean(member->name, to->name, sizeof to->name);
    text_clean(member->region, to->region, sizeof to->region);
    text_clean(shape_member_state(member), to->state, sizeof to->state);
    text_clean(host_of(member), to->address, sizeof to->address);
    if (member->n_notes > 0) {
        text_clean(member->notes[0], to->note, sizeof to->note);
    }
}

void top_model_put_members(struct top_model *model, const Fly__V1__MembersReply *reply)
{
    model->member_count = 0;
    for (size_t i = 0; i < reply->n_members; i++) {
        if (model->member_count == TOP_MEMBERS_MAX) {
            model->left_out += reply->n_members - i;
            break;
        }
        put_member(&model->members[model->member_count++], reply->members[i]);
    }
    qsort(model->members, model->member_count, sizeof model->members[0], by_name);
}
