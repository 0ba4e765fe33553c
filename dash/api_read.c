/*
 * api_read - regions, machines, members and limits: from what the dash knows itself.
 *
 * The state's lock is held to copy, in pieces; JSON is made outside of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/lib/shape.h"
#include "dash/api_internal.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/time.h"

enum {
    SCAN_MAX = 1 << 17, /* indices that one request looks at: then its page ends early */
    SCAN_PIECE = 512,   /* of them under one hold of the lock */
};

static json_t *stale_of(int64_t stale_ms)
{
    return stale_ms == INT64_MAX ? json_null() : json_integer(stale_ms);
}

static json_t *region_of(const struct picture_region *r)
{
    return json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:o,s:i,s:i,s:o,s:o,s:o,s:o,s:o}", "code", shape_text(r->code),
        "city", shape_text(r->city), "country", shape_text(r->country), "status",
        shape_text(r->status), "latitude", r->has_position ? json_real(r->latitude) : json_null(),
        "longitude", r->has_position ? json_real(r->longitude) : json_null(), "machines",
        (int)r->machines, "cordoned", (int)r->cordoned, "cores_total", api_number(r->cores_total),
        "cores_free", api_number(r->cores_free), "memory_total", api_number(r->memory_total_bytes),
        "memory_free", api_number(r->memory_free_bytes), "stale_ms", stale_of(r->stale_ms));
}

void api_get_regions(struct api *api, struct http_call *call, const char *rest)
{
    struct dash_state *state = dash_state(api->dash);
    struct picture_region *copies = NULL;
    json_t *array = json_array();
    uint32_t count = 0;

    (void)rest;
    if (!api_params(call, NULL, 0)) {
        json_decref(array);
        return;
    }
    copies = calloc(PICTURE_REGIONS_MAX, sizeof *copies);
    FLY_CHECK(copies != NULL);
    (void)pthread_mutex_lock(&state->lock);
    count = picture_region_count(state->picture);
    for (uint32_t i = 0; i < count; i++) {
        copies[i] = *picture_region_at(state->picture, i);
    }
    (void)pthread_mutex_unlock(&state->lock);
    for (uint32_t i = 0; i < count; i++) {
        api_append(&array, region_of(&copies[i]));
    }
    free(copies);
    api_reply(call, 200, NULL, json_pack("{s:o}", "regions", array));
}

struct row {
    uint32_t index;
    struct picture_machine machine;
    char region[EVENT_REGION_SIZE];
};

struct scan {
    uint32_t region; /* PICTURE_NONE: all */
    const char *part;
    uint32_t at; /* next index to look at */
    uint32_t limit;
    struct row *rows;
    uint32_t count;
    bool more;
};

static bool wanted(const struct scan *scan, const struct picture *p, uint32_t index,
                   struct picture_machine *out)
{
    if (picture_cell(p, index) == 0 ||
        (scan->region != PICTURE_NONE && picture_machine_region(p, index) != scan->region)) {
        return false;
    }
    return picture_machine(p, index, out) &&
           (scan->part[0] == '\0' || strcasestr(out->name, scan->part) != NULL);
}

/* Fills the page; `at` is then where the next one begins. */
static void scan_run(struct scan *scan, struct dash_state *state)
{
    uint32_t looked = 0;

    scan->more = true;
    while (scan->more && scan->count < scan->limit && looked < SCAN_MAX) {
        (void)pthread_mutex_lock(&state->lock);
        const struct picture *p = state->picture;
        uint32_t end = picture_count(p);
        for (uint32_t n = 0; n < SCAN_PIECE && scan->at < end && scan->count < scan->limit; n++) {
            struct row *row = &scan->rows[scan->count];
            if (wanted(scan, p, scan->at, &row->machine)) {
                row->index = scan->at;
                (void)fly_copy_string(row->region, sizeof row->region,
                                      picture_region_at(p, row->machine.region)->code);
                scan->count++;
            }
            scan->at++;
            looked++;
        }
        scan->more = scan->at < end;
        (void)pthread_mutex_unlock(&state->lock);
        dash_state_give_way(state);
    }
}

static json_t *machine_of(const struct row *row)
{
    const struct picture_machine *m = &row->machine;
    char slice[8];

    (void)snprintf(slice, sizeof slice, "%06x", m->slice & 0xffffff);
    return json_pack("{s:I,s:o,s:o,s:s,s:o,s:o,s:o,s:o,s:b}", "index", (json_int_t)row->index,
                     "name", shape_text(m->name), "region", shape_text(row->region), "slice", slice,
                     "cores", api_number(m->cores), "cores_free", api_number(m->cores_free),
                     "memory", api_number(m->memory_bytes), "memory_free",
                     api_number(m->memory_free_bytes), "cordoned", (int)m->cordoned);
}

void api_get_machines(struct api *api, struct http_call *call, const char *rest)
{
    char region[API_CODE_SIZE] = "";
    char part[EVENT_NAME_SIZE] = "";
    char after[24] = "";
    char limit[24] = "";
    const struct api_param params[] = {{"region", region, sizeof region},
                                       {"q", part, sizeof part},
                                       {"after", after, sizeof after},
                                       {"limit", limit, sizeof limit}};
    struct scan scan = {.region = PICTURE_NONE, .part = part};
    uint64_t number = API_PAGE_DEFAULT;
    uint64_t last = UINT64_MAX;
    json_t *array = NULL;

    (void)rest;
    if (!api_params(call, params, FLY_ARRAY_COUNT(params)) ||
        !api_param_number(call, "limit", limit, 1, API_PAGE_MAX, &number) ||
        !api_param_number(call, "after", after, 0, PICTURE_MACHINES_MAX - 1, &last) ||
        !api_region(call, region) ||
        (region[0] != '\0' && !api_region_find(api, call, region, &scan.region))) {
        return;
    }
    scan.limit = (uint32_t)number;
    scan.at = last == UINT64_MAX ? 0 : (uint32_t)last + 1;
    scan.rows = calloc(scan.limit, sizeof *scan.rows);
    FLY_CHECK(scan.rows != NULL);
    scan_run(&scan, dash_state(api->dash));
    array = json_array();
    for (uint32_t i = 0; i < scan.count; i++) {
        api_append(&array, machine_of(&scan.rows[i]));
    }
    free(scan.rows);
    (void)snprintf(after, sizeof after, "%u", scan.at - 1);
    api_reply(call, 200, NULL,
              json_pack("{s:o,s:o}", "machines", array, "next",
                        scan.more ? json_string(after) : json_null()));
}

static json_t *roles_of(const char *roles)
{
    json_t *array = json_array();

    while (*roles != '\0') {
        size_t size = strcspn(roles, ",");
        char one[64];
        (void)snprintf(one, sizeof one, "%.*s", (int)size, roles);
        if (one[0] != '\0') {
            api_append(&array, shape_text(one));
        }
        roles += size + (roles[size] == ',' ? 1 : 0);
    }
    return array;
}

static json_t *slices_of(const struct dash_member *m)
{
    json_t *array = json_array();

    for (size_t i = 0; i < m->slice_count && i < FLY_ARRAY_COUNT(m->slices); i++) {
        char slice[8];
        (void)snprintf(slice, sizeof slice, "%06x", m->slices[i].tag & 0xffffff);
        api_append(&array,
                   json_pack("{s:s,s:o}", "slice", slice, "epoch", api_number(m->slices[i].epoch)));
    }
    return array;
}

static json_t *member_of(const struct dash_member *m)
{
    char since[FLY_TIME_TEXT_SIZE];

    fly_time_format(m->since_ms, since);
    return json_pack(
        "{s:o,s:o,s:o,s:o,s:b,s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "name", shape_text(m->name),
        "region", m->region[0] != '\0' ? shape_text(m->region) : json_null(), "roles",
        roles_of(m->roles), "state", shape_text(m->state), "serving", (int)m->serving, "self",
        (int)m->self, "address", shape_text(m->address), "version", shape_text(m->version), "note",
        shape_text(m->note), "rtt_us", m->rtt_us != 0 ? api_number(m->rtt_us) : json_null(),
        "since", m->since_ms > 0 ? json_string(since) : json_null(), "generation",
        api_number(m->generation), "slices", slices_of(m));
}

void api_get_members(struct api *api, struct http_call *call, const char *rest)
{
    struct dash_state *state = dash_state(api->dash);
    struct dash_member *copies = NULL;
    json_t *array = NULL;
    size_t count = 0;

    (void)rest;
    if (!api_params(call, NULL, 0)) {
        return;
    }
    copies = calloc(DASH_MEMBERS_MAX, sizeof *copies);
    FLY_CHECK(copies != NULL);
    (void)pthread_mutex_lock(&state->lock);
    count = state->member_count < DASH_MEMBERS_MAX ? state->member_count : DASH_MEMBERS_MAX;
    if (count > 0) {
        memcpy(copies, state->members, count * sizeof *copies);
    }
    (void)pthread_mutex_unlock(&state->lock);
    array = json_array();
    for (size_t i = 0; i < count; i++) {
        api_append(&array, member_of(&copies[i]));
    }
    free(copies);
    api_reply(call, 200, NULL, json_pack("{s:o}", "members", array));
}

void api_get_limits(struct api *api, struct http_call *call, const char *rest)
{
    struct limits_left left = {0};
    json_t *vms_max = json_null();
    json_t *vms = json_null();
    uint64_t count = 0;

    (void)rest;
    if (!api_params(call, NULL, 0)) {
        return;
    }
    left = limits_look(api->limits, http_remote(call), fly_clock_boot_ms());
    if (api->vms != NULL) {
        (void)pthread_mutex_lock(&api->vms_lock);
        vms_max = api_number(limits_vms_max(api->vms));
        if (limits_vms_count(api->vms, &count)) {
            vms = api_number(count);
        }
        (void)pthread_mutex_unlock(&api->vms_lock);
    }
    api_reply(call, 200, NULL,
              json_pack("{s:I,s:I,s:I,s:o,s:o,s:i,s:i}", "launches_per_minute",
                        (json_int_t)limits_per_minute(api->limits), "launches_left",
                        (json_int_t)left.left, "retry_after_ms", (json_int_t)left.retry_ms,
                        "vms_max", vms_max, "vms", vms, "cooldown_success_ms",
                        API_COOLDOWN_SUCCESS_MS, "cooldown_failure_ms", API_COOLDOWN_FAILURE_MS));
}
