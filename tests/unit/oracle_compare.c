/* The comparisons of oracle_slice.h: every field that the headers promise, by name. */
#include <string.h>

#include "tests/unit/oracle_slice.h"

#define DIFFER(field)                                                                              \
    do {                                                                                           \
        if (a->field != b->field) {                                                                \
            return #field;                                                                         \
        }                                                                                          \
    } while (0)
#define DIFFER_TEXT(field)                                                                         \
    do {                                                                                           \
        if (strcmp(a->field, b->field) != 0) {                                                     \
            return #field;                                                                         \
        }                                                                                          \
    } while (0)

const char *oracle_compare_event(const struct event *a, const struct event *b)
{
    DIFFER(slice);
    DIFFER(incarnation);
    DIFFER(seq);
    DIFFER(type);
    DIFFER(state);
    DIFFER(time_ms);
    DIFFER(vm);
    DIFFER_TEXT(name);
    DIFFER_TEXT(machine);
    DIFFER_TEXT(region);
    DIFFER(cores);
    DIFFER(memory_bytes);
    DIFFER(machine_cores_free);
    DIFFER(machine_memory_free_bytes);
    return NULL;
}

const char *oracle_compare_record(const struct slice_record *a, const struct slice_record *b)
{
    DIFFER(kind);
    DIFFER_TEXT(subject);
    if (!key_equal(&a->key, &b->key)) {
        return "key";
    }
    DIFFER(expires_ms);
    if (a->kind == RECORD_CANCELLED) {
        return NULL;
    }
    if (memcmp(&a->digest, &b->digest, sizeof a->digest) != 0) {
        return "digest";
    }
    if (!hold_equal(&a->hold, &b->hold)) {
        return "hold";
    }
    DIFFER(created_ms);
    if (a->kind == RECORD_BOUND) {
        DIFFER(generation);
        return NULL;
    }
    DIFFER(vm);
    if (a->kind == RECORD_DONE) {
        return NULL;
    }
    DIFFER(number);
    DIFFER_TEXT(name);
    DIFFER(machine);
    DIFFER(cores);
    DIFFER(memory_bytes);
    DIFFER(state);
    DIFFER_TEXT(machine_name);
    DIFFER_TEXT(region);
    DIFFER(destroyed_ms);
    DIFFER(seq);
    return NULL;
}

static const char *compare_totals(const struct slice_totals *a, const struct slice_totals *b)
{
    DIFFER(tag);
    DIFFER(incarnation);
    DIFFER(founded_ms);
    DIFFER(machines_max);
    DIFFER(records_max);
    DIFFER(seq);
    DIFFER(vms_created);
    DIFFER(machines);
    DIFFER(records);
    DIFFER(vms_started);
    DIFFER(term);
    DIFFER(boot);
    DIFFER(slice_ms);
    DIFFER(wall_ms);
    for (int i = 0; i < SLICE_LOST_MAX; i++) {
        DIFFER(lost[i]);
    }
    DIFFER(lost_ms);
    DIFFER(purged_mint_s);
    return NULL;
}

static const char *compare_machine(const struct slice_machine *a, const struct slice_machine *b)
{
    DIFFER_TEXT(name);
    if (a->name[0] == '\0') {
        return NULL;
    }
    DIFFER_TEXT(region);
    DIFFER(cores);
    DIFFER(cores_used);
    DIFFER(memory_bytes);
    DIFFER(memory_used_bytes);
    DIFFER(vm_count);
    DIFFER(cordoned);
    return NULL;
}

const char *oracle_compare(const struct oracle *o, const struct slice_state *s)
{
    const char *what = compare_totals(&o->totals, slice_totals(s));
    uint32_t records = 0;

    for (uint32_t i = 0; what == NULL && i < o->config.machines_max; i++) {
        what = compare_machine(&o->machines[i], slice_machine_at(s, i));
        if (what == NULL && o->machines[i].name[0] != '\0' &&
            slice_machine_find(s, o->machines[i].name) != i) {
            what = "machine by name";
        }
    }
    for (uint32_t i = 0; what == NULL && i < slice_record_slots(s); i++) {
        records += slice_record_at(s, i)->kind != RECORD_FREE;
    }
    if (what == NULL && records != o->totals.records) {
        what = "records in their slots";
    }
    for (uint32_t i = 0; what == NULL && i < o->totals.records; i++) {
        const struct slice_record *r = &o->records[i].r;
        uint32_t slot = slice_record_find(s, r->subject, &r->key);
        if (slot == SLICE_NONE) {
            return "a record is missing";
        }
        what = oracle_compare_record(r, slice_record_at(s, slot));
        if (what == NULL && r->kind == RECORD_VM && slice_vm_find(s, r->vm) != slot) {
            what = "VM by id";
        }
    }
    return what;
}

const char *oracle_compare_effects(const struct oracle_effects *a, const struct slice_effects *b)
{
    DIFFER(head.wall_ms);
    DIFFER(head.slice_ms);
    DIFFER(head.boot);
    DIFFER(head.batch);
    DIFFER(event_count);
    if (a->count != b->result_count) {
        return "result_count";
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->commands[i].type != b->types[i]) {
            return "type";
        }
        DIFFER(results[i].code);
        DIFFER(results[i].event);
        if (a->results[i].has_record != (b->results[i].record != SLICE_NONE)) {
            return "has a record";
        }
    }
    for (uint32_t i = 0; i < a->event_count; i++) {
        const char *what = oracle_compare_event(&a->events[i], &b->events[i]);
        if (what != NULL) {
            return what;
        }
    }
    return NULL;
}
