#include "client/lib/shape.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "client/lib/exits.h"
#include "client/lib/text.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/time.h"
#include "proto/wire/key.h"

static const struct {
    uint32_t value;
    const char *name;
} vm_states[] = {
    {FLY__V1__VM_STATE__VM_STATE_CREATING, "creating"},
    {FLY__V1__VM_STATE__VM_STATE_STARTED, "started"},
    {FLY__V1__VM_STATE__VM_STATE_STOPPING, "stopping"},
    {FLY__V1__VM_STATE__VM_STATE_STOPPED, "stopped"},
    {FLY__V1__VM_STATE__VM_STATE_DESTROYING, "destroying"},
    {FLY__V1__VM_STATE__VM_STATE_DESTROYED, "destroyed"},
    {FLY__V1__VM_STATE__VM_STATE_FAILED, "failed"},
};

const char *shape_vm_state(uint32_t state)
{
    for (size_t i = 0; i < FLY_ARRAY_COUNT(vm_states); i++) {
        if (vm_states[i].value == state) {
            return vm_states[i].name;
        }
    }
    return "unknown";
}

const char *shape_member_state(const Fly__V1__Member *member)
{
    switch ((int)member->state) {
    case FLY__V1__MEMBER_STATE__MEMBER_ALIVE:
        return member->serving ? "alive" : "stalled";
    case FLY__V1__MEMBER_STATE__MEMBER_SUSPECT:
        return "suspect";
    case FLY__V1__MEMBER_STATE__MEMBER_DEAD:
        return "dead";
    case FLY__V1__MEMBER_STATE__MEMBER_LEFT:
        return "left";
    default:
        return "unknown";
    }
}

bool shape_vm_state_find(const char *name, uint32_t *out)
{
    for (size_t i = 0; i < FLY_ARRAY_COUNT(vm_states); i++) {
        if (strcasecmp(vm_states[i].name, name) == 0) {
            *out = vm_states[i].value;
            return true;
        }
    }
    return false;
}

static const struct {
    uint32_t value;
    const char *name;
} event_types[] = {
    {FLY__V1__EVENT_TYPE__EVENT_VM_STARTED, "vm_started"},
    {FLY__V1__EVENT_TYPE__EVENT_VM_DESTROYED, "vm_destroyed"},
    {FLY__V1__EVENT_TYPE__EVENT_MACHINE_ADDED, "machine_added"},
    {FLY__V1__EVENT_TYPE__EVENT_MACHINE_RESIZED, "machine_resized"},
    {FLY__V1__EVENT_TYPE__EVENT_MACHINE_REMOVED, "machine_removed"},
    {FLY__V1__EVENT_TYPE__EVENT_MACHINE_CORDONED, "machine_cordoned"},
    {FLY__V1__EVENT_TYPE__EVENT_MACHINE_UNCORDONED, "machine_uncordoned"},
};

const char *shape_event_type(uint32_t type)
{
    for (size_t i = 0; i < FLY_ARRAY_COUNT(event_types); i++) {
        if (event_types[i].value == type) {
            return event_types[i].name;
        }
    }
    return "unknown";
}

bool shape_event_type_find(const char *name, uint32_t *out, const char **near)
{
    const char *names[FLY_ARRAY_COUNT(event_types)];

    for (size_t i = 0; i < FLY_ARRAY_COUNT(event_types); i++) {
        names[i] = event_types[i].name;
        if (strcasecmp(name, names[i]) == 0) {
            *out = event_types[i].value;
            return true;
        }
    }
    *near = text_nearest(name, names, FLY_ARRAY_COUNT(names));
    return false;
}

void shape_event_types(char out[static SHAPE_EVENT_TYPES_TEXT])
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < FLY_ARRAY_COUNT(event_types); i++) {
        int put = snprintf(out + used, SHAPE_EVENT_TYPES_TEXT - used, "%s%s", i > 0 ? ", " : "",
                           event_types[i].name);
        FLY_CHECK(put > 0 && (size_t)put < SHAPE_EVENT_TYPES_TEXT - used);
        used += (size_t)put;
    }
}

json_t *shape_text(const char *text)
{
    char clean[RPC_TEXT_SIZE];

    text_clean(text != NULL ? text : "", clean, sizeof clean);
    return json_string(clean);
}

static json_t *number(uint64_t value)
{
    return json_integer(value <= INT64_MAX ? (json_int_t)value : INT64_MAX);
}

static json_t *text_or_null(const char *text)
{
    return text == NULL || text[0] == '\0' ? json_null() : shape_text(text);
}

static json_t *time_of(int64_t unix_ms)
{
    char text[FLY_TIME_TEXT_SIZE];

    fly_time_format(unix_ms, text);
    return json_string(text);
}

static json_t *key_of(ProtobufCBinaryData key)
{
    char text[FLY_KEY_TEXT_SIZE];

    if (key.len != FLY_KEY_SIZE) {
        return json_null();
    }
    fly_hex_encode(key.data, FLY_KEY_SIZE, text);
    return json_string(text);
}

/* Takes the value over. A NULL (no memory) spoils the whole object: it becomes NULL. */
static void put(json_t **object, const char *key, json_t *value)
{
    if (*object == NULL) {
        json_decref(value);
    } else if (json_object_set_new(*object, key, value) != 0) { /* it has freed the value */
        json_decref(*object);
        *object = NULL;
    }
}

json_t *shape_region(const Fly__V1__Region *region)
{
    bool known = region->has_position != 0;
    json_t *object = json_object();

    put(&object, "code", shape_text(region->code));
    put(&object, "city", text_or_null(region->city));
    put(&object, "status", shape_text(region->status));
    put(&object, "latitude", known ? json_real(region->latitude) : json_null());
    put(&object, "longitude", known ? json_real(region->longitude) : json_null());
    put(&object, "machines", number(region->machines));
    put(&object, "cores_total", number(region->cores_total));
    put(&object, "cores_free", number(region->cores_free));
    put(&object, "memory_total_bytes", number(region->memory_total_bytes));
    put(&object, "memory_free_bytes", number(region->memory_free_bytes));
    put(&object, "stale_ms", number(region->stale_ms));
    return object;
}

json_t *shape_machine(const Fly__V1__Machine *machine)
{
    json_t *object = json_object();

    put(&object, "name", shape_text(machine->name));
    put(&object, "region", shape_text(machine->region));
    put(&object, "slice", shape_text(machine->slice));
    put(&object, "cores", number(machine->cores));
    put(&object, "cores_free", number(machine->cores_free));
    put(&object, "memory_bytes", number(machine->memory_bytes));
    put(&object, "memory_free_bytes", number(machine->memory_free_bytes));
    put(&object, "cordoned", json_boolean(machine->cordoned));
    return object;
}

static json_t *texts(char *const *items, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count && array != NULL; i++) {
        if (json_array_append_new(array, shape_text(items[i])) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

static json_t *slices_of(const Fly__V1__Member *member)
{
    json_t *array = json_array();

    for (size_t i = 0; i < member->n_slices && array != NULL; i++) {
        json_t *object = json_object();
        put(&object, "slice", shape_text(member->slices[i]->slice));
        put(&object, "epoch", number(member->slices[i]->epoch));
        if (json_array_append_new(array, object) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

json_t *shape_member(const Fly__V1__Member *member)
{
    json_t *object = json_object();

    put(&object, "id", shape_text(member->id));
    put(&object, "name", shape_text(member->name));
    put(&object, "region", text_or_null(member->region));
    put(&object, "roles", texts(member->roles, member->n_roles));
    put(&object, "state", json_string(shape_member_state(member)));
    put(&object, "serving", json_boolean(member->serving));
    put(&object, "since_ms", number(member->since_ms));
    put(&object, "gossip", text_or_null(member->gossip));
    put(&object, "rpc", text_or_null(member->rpc));
    put(&object, "pub", text_or_null(member->pub));
    put(&object, "http", text_or_null(member->http));
    put(&object, "rtt_us", member->rtt_us != 0 ? number(member->rtt_us) : json_null());
    put(&object, "slices", slices_of(member));
    put(&object, "generation", number(member->generation));
    put(&object, "version", number(member->version));
    put(&object, "software", text_or_null(member->version_text));
    put(&object, "self", json_boolean(member->self));
    put(&object, "notes", texts(member->notes, member->n_notes));
    return object;
}

json_t *shape_slice(const Fly__V1__SliceInfo *slice)
{
    json_t *object = json_object();

    put(&object, "slice", shape_text(slice->slice));
    put(&object, "owner", text_or_null(slice->owner));
    put(&object, "state", shape_text(slice->state));
    put(&object, "reason", text_or_null(slice->reason));
    put(&object, "incarnation", shape_incarnation(slice->incarnation));
    put(&object, "seq", number(slice->seq));
    put(&object, "stale_ms", number(slice->stale_ms));
    put(&object, "machines", number(slice->machines));
    put(&object, "cordoned", number(slice->cordoned));
    put(&object, "cores_total", number(slice->cores_total));
    put(&object, "cores_free", number(slice->cores_free));
    put(&object, "memory_total_bytes", number(slice->memory_total_bytes));
    put(&object, "memory_free_bytes", number(slice->memory_free_bytes));
    return object;
}

json_t *shape_join_token(const Fly__V1__JoinTokenInfo *token, const char *state)
{
    json_t *object = json_object();

    put(&object, "id", shape_text(token->id));
    put(&object, "roles", texts(token->roles, token->n_roles));
    put(&object, "state", json_string(state));
    put(&object, "used", number(token->used));
    put(&object, "uses_left", number(token->uses_left));
    put(&object, "created_at", time_of(token->created_at_ms));
    put(&object, "expires_at", time_of(token->expires_at_ms));
    return object;
}

json_t *shape_vm(const Fly__V1__Vm *vm)
{
    json_t *object = json_object();

    put(&object, "id", shape_text(vm->id));
    put(&object, "name", text_or_null(vm->name));
    put(&object, "region", shape_text(vm->region));
    put(&object, "machine", text_or_null(vm->machine));
    put(&object, "cores", number(vm->cores));
    put(&object, "memory_bytes", number(vm->memory_bytes));
    put(&object, "state", json_string(shape_vm_state((uint32_t)vm->state)));
    put(&object, "slice", shape_text(vm->slice));
    put(&object, "seq", number(vm->seq));
    put(&object, "key", key_of(vm->key));
    put(&object, "created_at", time_of(vm->created_at_ms));
    return object;
}

json_t *shape_incarnation(uint64_t incarnation)
{
    char text[17];

    (void)snprintf(text, sizeof text, "%016llx", (unsigned long long)incarnation);
    return json_string(text);
}

json_t *shape_event(const Fly__V1__Event *event, const char *cursor)
{
    json_t *object = json_object();

    put(&object, "slice", shape_text(event->slice));
    put(&object, "incarnation", shape_incarnation(event->incarnation));
    put(&object, "seq", number(event->seq));
    put(&object, "type", json_string(shape_event_type((uint32_t)event->type)));
    put(&object, "time", time_of(event->time_ms));
    put(&object, "vm", text_or_null(event->vm));
    put(&object, "machine", text_or_null(event->machine));
    put(&object, "region", text_or_null(event->region));
    if (event->vm != NULL && event->vm[0] != '\0') {
        put(&object, "name", text_or_null(event->name));
        put(&object, "state", json_string(shape_vm_state((uint32_t)event->state)));
    }
    put(&object, "cores", number(event->cores));
    put(&object, "memory_bytes", number(event->memory_bytes));
    put(&object, "machine_cores_free", number(event->machine_cores_free));
    put(&object, "machine_memory_free_bytes", number(event->machine_memory_free_bytes));
    if (cursor != NULL) {
        put(&object, "cursor", shape_text(cursor));
    }
    return object;
}

json_t *shape_error(const struct failure *failure)
{
    json_t *object = json_object();
    json_t *whole = json_object();

    put(&object, "code", json_string(fly_status_name(failure->status)));
    put(&object, "reason", json_string(reason_name(failure->reason)));
    put(&object, "message", shape_text(failure->message));
    put(&object, "retryable", json_boolean(failure->retryable));
    put(&object, "hint", text_or_null(failure->hint));
    put(&whole, "error", object);
    return whole;
}
