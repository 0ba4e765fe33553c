/* api_vms - VMs: listed, shown, launched and destroyed through an edge, as the person who asks. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "client/lib/shape.h"
#include "dash/task.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/id.h"
#include "proto/base/time.h"
#include "proto/wire/vmid.h"

enum { CORES_MAX = 1024, LOCATION_SIZE = 64 };

#define MEMORY_MIN INT64_C(1000000)
#define MEMORY_MAX INT64_C(64000000000000)

json_t *api_vm(const Fly__V1__Vm *vm)
{
    char created[FLY_TIME_TEXT_SIZE];
    char destroyed[FLY_TIME_TEXT_SIZE];

    fly_time_format(vm->created_at_ms, created);
    fly_time_format(vm->destroyed_at_ms, destroyed);
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:o,s:s,s:o,s:o}", "id", shape_text(vm->id),
                     "name", shape_text(vm->name), "region", shape_text(vm->region), "machine",
                     shape_text(vm->machine), "cores", api_number(vm->cores), "memory",
                     api_number(vm->memory_bytes), "state", shape_vm_state((uint32_t)vm->state),
                     "slice", shape_text(vm->slice), "created", created, "destroyed",
                     vm->destroyed_at_ms > 0 ? json_string(destroyed) : json_null(), "subject",
                     shape_text(vm->subject));
}

/* Hands it to the pool, or answers 503. */
static void submit(struct api *api, struct http_call *call, struct task *task)
{
    (void)api;
    task->call = http_defer(call);
    if (!task_submit(task)) {
        api_refuse(call, &(struct api_refusal){.status = 503,
                                               .code = "OVERLOADED",
                                               .message = "too many calls wait for an edge",
                                               .hint = "try again in a moment",
                                               .retryable = true,
                                               .retry_after_ms = 1000});
        task_destroy(task);
    }
}

/* --- list --- */

static void list_ended(struct task *task)
{
    struct http_call *call = http_find(task->api->server, task->call);

    if (call != NULL && task->status != FLY_OK) {
        api_refuse_failure(call, &task->failure, false, NULL, NULL);
    } else if (call != NULL) {
        const Fly__V1__ListReply *page = (const Fly__V1__ListReply *)task->reply.message;
        json_t *vms = json_array();
        json_t *missing = json_array();
        char next[24];
        for (size_t i = 0; i < page->n_vms; i++) {
            api_append(&vms, api_vm(page->vms[i]));
        }
        for (size_t i = 0; i < page->n_unreachable; i++) {
            api_append(&missing, shape_text(page->unreachable[i]));
        }
        (void)snprintf(next, sizeof next, "%llu", (unsigned long long)page->next);
        /* a text: it is larger than what JavaScript's numbers hold exactly */
        api_reply(call, 200, NULL,
                  json_pack("{s:o,s:o,s:o}", "vms", vms, "next",
                            page->next != 0 ? json_string(next) : json_null(), "unreachable",
                            missing));
    }
    task_destroy(task);
}

void api_list_vms(struct api *api, struct http_call *call, const char *rest)
{
    char region[API_CODE_SIZE] = "";
    char state[24] = "";
    char after[24] = "";
    char limit[24] = "";
    const struct api_param params[] = {{"region", region, sizeof region},
                                       {"state", state, sizeof state},
                                       {"after", after, sizeof after},
                                       {"limit", limit, sizeof limit}};
    uint64_t number = API_PAGE_DEFAULT;
    uint64_t place = 0;
    uint32_t vm_state = 0;

    (void)rest;
    if (!api_params(call, params, FLY_ARRAY_COUNT(params)) ||
        !api_param_number(call, "limit", limit, 1, API_PAGE_MAX, &number) ||
        !api_param_number(call, "after", after, 0, UINT64_MAX, &place) ||
        !api_region(call, region)) {
        return;
    }
    if (state[0] != '\0' && !shape_vm_state_find(state, &vm_state)) {
        api_refuse_input(call,
                         "creating, started, stopping, stopped, destroying, destroyed, failed",
                         "'%.24s' is no state of a VM", state);
        return;
    }
    struct task *task = task_create(api, TASK_LIST, http_token(call), list_ended);
    (void)fly_copy_string(task->region, sizeof task->region, region);
    task->state = vm_state;
    task->after = place;
    task->limit = (uint32_t)number;
    submit(api, call, task);
}

/* --- one --- */

/* An id or the beginning of one, lower-case. False: answered. */
static bool take_vm(struct http_call *call, const char *text, char out[static 16])
{
    size_t size = strlen(text);
    uint64_t ignored = 0;

    if (size > VMID_DIGITS || !fly_crockford_decode(text, size, &ignored)) {
        api_refuse_input(call, "1 to 12 letters and digits",
                         "'%.40s' is not a VM's id or the beginning of one", text);
        return false;
    }
    for (size_t i = 0; i <= size; i++) {
        out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] - 'A' + 'a') : text[i];
    }
    return true;
}

static void status_ended(struct task *task)
{
    struct http_call *call = http_find(task->api->server, task->call);

    if (call != NULL && task->status != FLY_OK) {
        api_refuse_failure(call, &task->failure, false, NULL, NULL);
    } else if (call != NULL) {
        const Fly__V1__StatusReply *reply = (const Fly__V1__StatusReply *)task->reply.message;
        api_reply(call, 200, NULL, reply->vm != NULL ? api_vm(reply->vm) : NULL);
    }
    task_destroy(task);
}

void api_get_vm(struct api *api, struct http_call *call, const char *rest)
{
    char vm[16];

    if (!api_params(call, NULL, 0) || !take_vm(call, rest, vm)) {
        return;
    }
    struct task *task = task_create(api, TASK_STATUS, http_token(call), status_ended);
    (void)fly_copy_string(task->vm, sizeof task->vm, vm);
    submit(api, call, task);
}

static void destroy_ended(struct task *task)
{
    struct http_call *call = http_find(task->api->server, task->call);

    if (call != NULL && task->status != FLY_OK) {
        api_refuse_failure(call, &task->failure, true, NULL, NULL);
    } else if (call != NULL) {
        const Fly__V1__DestroyReply *reply = (const Fly__V1__DestroyReply *)task->reply.message;
        api_reply(call, 200, NULL,
                  reply->vm == NULL ? NULL
                                    : json_pack("{s:o,s:b}", "vm", api_vm(reply->vm), "already",
                                                (int)reply->already));
    }
    task_destroy(task);
}

void api_destroy_vm(struct api *api, struct http_call *call, const char *rest)
{
    char vm[16];

    if (!api_params(call, NULL, 0) || !take_vm(call, rest, vm)) {
        return;
    }
    struct task *task = task_create(api, TASK_DESTROY, http_token(call), destroy_ended);
    (void)fly_copy_string(task->vm, sizeof task->vm, vm);
    submit(api, call, task);
}

/* --- launch --- */

struct order {
    char region[API_CODE_SIZE];
    bool near;
    bool placed;
    struct api_place place;
    uint32_t cores;
    uint64_t memory_bytes;
    char name[EVENT_NAME_SIZE];
    bool key_given;
    struct fly_key key;
};

static bool take_text(struct http_call *call, const char *name, const json_t *value, char *out,
                      size_t size)
{
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value) ||
        !fly_copy_string(out, size, json_string_value(value))) {
        api_refuse_input(call, "", "%s must be a text of at most %zu bytes", name, size - 1);
        return false;
    }
    return true;
}

static bool take_whole(struct http_call *call, const char *name, const json_t *value, int64_t min,
                       int64_t max, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max) {
        api_refuse_input(call, strcmp(name, "memory") == 0 ? "in bytes: 6000000000 is 6 GB" : "",
                         "%s must be a whole number from %lld to %lld", name, (long long)min,
                         (long long)max);
        return false;
    }
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static bool take_degrees(struct http_call *call, const char *name, const json_t *value, double max,
                         double *out)
{
    double degrees = json_number_value(value);

    if (!json_is_number(value) || !(degrees >= -max && degrees <= max)) {
        api_refuse_input(call, "", "%s must be a number from %.0f to %.0f", name, -max, max);
        return false;
    }
    *out = degrees;
    return true;
}

static bool take_field(struct http_call *call, const char *name, const json_t *value,
                       struct order *order)
{
    uint64_t number = 0;

    if (strcmp(name, "region") == 0) {
        return take_text(call, name, value, order->region, sizeof order->region);
    }
    if (strcmp(name, "cores") == 0) {
        bool good = take_whole(call, name, value, 1, CORES_MAX, &number);
        order->cores = (uint32_t)number;
        return good;
    }
    if (strcmp(name, "memory") == 0) {
        return take_whole(call, name, value, MEMORY_MIN, MEMORY_MAX, &order->memory_bytes);
    }
    if (strcmp(name, "latitude") == 0) {
        return take_degrees(call, name, value, 90, &order->place.latitude);
    }
    if (strcmp(name, "longitude") == 0) {
        return take_degrees(call, name, value, 180, &order->place.longitude);
    }
    if (strcmp(name, "name") == 0) {
        if (!take_text(call, name, value, order->name, sizeof order->name)) {
            return false;
        }
        if (!fly_name_ok(order->name)) {
            api_refuse_input(call, "", "name must be 1 to 63 of a-z, 0-9 and -");
            return false;
        }
        return true;
    }
    api_refuse_input(call, "known: region, cores, memory, name, latitude, longitude",
                     "'%.64s' is no field of a launch", name);
    return false;
}

static bool check_order(struct http_call *call, const json_t *object, struct order *order)
{
    static const char *const needed[] = {"region", "cores", "memory"};
    bool latitude = json_object_get(object, "latitude") != NULL;
    bool longitude = json_object_get(object, "longitude") != NULL;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(needed); i++) {
        if (json_object_get(object, needed[i]) == NULL) {
            api_refuse_input(call, "{\"region\": \"SIN\", \"cores\": 4, \"memory\": 6000000000}",
                             "%s is missing", needed[i]);
            return false;
        }
    }
    order->near = strcasecmp(order->region, "near") == 0;
    order->placed = latitude;
    if (latitude != longitude || (latitude && !order->near)) {
        api_refuse_input(call, "both, and only with region \"near\"",
                         "latitude and longitude go together, to say where near is");
        return false;
    }
    if (order->region[0] == '\0') {
        api_refuse_input(call, "GET /v1/regions names them", "region is empty");
        return false;
    }
    return order->near || api_region(call, order->region);
}

static bool take_body(struct http_call *call, struct order *order)
{
    struct fly_bytes body = http_body(call);
    json_error_t error;
    json_t *object = json_loadb((const char *)body.data, body.size, JSON_REJECT_DUPLICATES, &error);
    const char *name = NULL;
    json_t *value = NULL;
    bool good = json_is_object(object);

    if (object == NULL) {
        api_refuse_input(call, "{\"region\": \"SIN\", \"cores\": 4, \"memory\": 6000000000}",
                         "the body is no JSON: %.160s (byte %d)", error.text, error.position);
    } else if (!good) {
        api_refuse_input(call, "{\"region\": \"SIN\", \"cores\": 4, \"memory\": 6000000000}",
                         "the body must be an object");
    }
    if (good) {
        json_object_foreach(object, name, value)
        {
            good = take_field(call, name, value, order);
            if (!good) {
                break;
            }
        }
    }
    good = good && check_order(call, object, order);
    json_decref(object);
    return good;
}

static bool take_key(struct http_call *call, struct order *order)
{
    const char *text = http_header(call, "idempotency-key");

    if (text[0] == '\0') {
        return true;
    }
    order->key_given = key_parse(text, &order->key);
    if (!order->key_given) {
        api_refuse(call, &(struct api_refusal){
                             .status = 400,
                             .code = "KEY_INVALID",
                             .message = strlen(text) > FLY_KEY_TEXT_MAX
                                            ? "Idempotency-Key is longer than 256 bytes"
                                            : "Idempotency-Key is a key with a mistake in it",
                             .hint = "any text of 1 to 256 bytes will do, such as a UUID"});
    }
    return order->key_given;
}

/* Where near is, once for each key: a second try must not find another nearest region. */
static bool resolve_near(struct api *api, struct http_call *call, struct order *order)
{
    const char *subject = http_who(call)->subject;
    const char *before =
        order->key_given ? limits_near_find(api->near, subject, &order->key) : NULL;
    char code[EVENT_REGION_SIZE] = "";

    if (before != NULL) {
        (void)fly_copy_string(order->region, sizeof order->region, before);
        return true;
    }
    if (!api_near(api, order->placed ? &order->place : NULL, order->cores, order->memory_bytes,
                  code)) {
        bool lost = !order->placed && !api_at_home(api);
        api_refuse(call,
                   &(struct api_refusal){
                       .status = lost ? 400 : 409,
                       .code = lost ? "INVALID_ARGUMENT" : "REGION_FULL",
                       .message = lost ? "this dash is in no region that it knows: near to what?"
                                       : "no region has machines",
                       .hint = lost ? "say latitude and longitude, or a region"
                                    : "GET /v1/regions shows them",
                       .retryable = !lost});
        return false;
    }
    (void)fly_copy_string(order->region, sizeof order->region, code);
    if (order->key_given) {
        limits_near_put(api->near, subject, &order->key, code);
    }
    return true;
}

static bool take_turn(struct api *api, struct http_call *call)
{
    struct limits_left left = {0};
    char words[160];
    char hint[96];

    if (limits_take(api->limits, http_remote(call), fly_clock_boot_ms(), &left)) {
        return true;
    }
    (void)snprintf(words, sizeof words,
                   "this address launched %u times within a minute, as often as it may",
                   limits_per_minute(api->limits));
    (void)snprintf(hint, sizeof hint, "try again in %lld s",
                   (long long)((left.retry_ms + 999) / 1000));
    api_refuse(call, &(struct api_refusal){.status = 429,
                                           .code = "RATE",
                                           .message = words,
                                           .hint = hint,
                                           .retryable = true,
                                           .retry_after_ms = left.retry_ms});
    return false;
}

static void refuse_launch(struct http_call *call, struct task *task)
{
    struct failure *failure = task->launched ? &task->result.failure : &task->failure;
    bool unknown = task->launched && task->result.end == OUTCOME_UNKNOWN;
    bool has_key = task->launched ? task->result.has_key : task->key_given;
    char key[FLY_KEY_TEXT_SIZE] = "";

    if (has_key) {
        key_format(task->launched ? &task->result.key : &task->key, key);
    }
    if (task->capped) {
        api_refuse(call, &(struct api_refusal){.status = 409,
                                               .code = "QUOTA",
                                               .message = failure->message,
                                               .hint = failure->hint,
                                               .retryable = true});
        return;
    }
    if (unknown) {
        failure->reason = FLY__V1__REASON__REASON_OUTCOME_UNKNOWN;
        failure->retryable = true;
        (void)snprintf(failure->hint, sizeof failure->hint,
                       "a VM may have been launched; the same launch in region %s with "
                       "Idempotency-Key: %s settles it",
                       task->region, key);
    }
    api_refuse_failure(call, failure, false, has_key ? key : NULL, task->region);
}

static void launch_ended(struct task *task)
{
    struct http_call *call = http_find(task->api->server, task->call);
    const struct launching_result *result = &task->result;

    if (call == NULL) {
        task_destroy(task);
        return;
    }
    if (!task->launched || result->end != OUTCOME_OK) {
        refuse_launch(call, task);
    } else {
        char key[FLY_KEY_TEXT_SIZE];
        char location[LOCATION_SIZE];
        bool replayed = result->launched->replayed != 0;
        key_format(&result->key, key);
        (void)snprintf(location, sizeof location, "Location: /v1/vms/%.16s\r\n",
                       result->launched->vm->id);
        api_reply(call, replayed ? 200 : 201, location,
                  json_pack("{s:o,s:s,s:b,s:I,s:I}", "vm", api_vm(result->launched->vm), "key", key,
                            "replayed", (int)replayed, "tries", (json_int_t)result->tries,
                            "elapsed_ms", (json_int_t)result->elapsed_ms));
    }
    task_destroy(task);
}

void api_launch_vm(struct api *api, struct http_call *call, const char *rest)
{
    struct order order = {.region = ""};

    (void)rest;
    if (!api_params(call, NULL, 0) || !take_key(call, &order) || !take_body(call, &order) ||
        !take_turn(api, call) || (order.near && !resolve_near(api, call, &order))) {
        return;
    }
    struct task *task = task_create(api, TASK_LAUNCH, http_token(call), launch_ended);
    (void)fly_copy_string(task->region, sizeof task->region, order.region);
    (void)fly_copy_string(task->name, sizeof task->name, order.name);
    task->cores = order.cores;
    task->memory_bytes = order.memory_bytes;
    task->key_given = order.key_given;
    task->key = order.key;
    submit(api, call, task);
}
