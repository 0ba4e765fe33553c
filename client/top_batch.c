/* top -b: snapshots as text or JSON, each of one moment. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "client/top.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/time.h"

enum { LOOK_MS = 20, EVENTS_SHOWN = 10 };

/* One moment's picture: filled within the lock. */
struct snapshot {
    const struct top_model *model;
    const struct top_status *status;
    const Fly__V1__MembersReply *members;
    uint8_t order[TOP_REGIONS_MAX]; /* of the regions, by code */
    uint32_t order_count;
};

static int by_code(const void *a, const void *b, void *user)
{
    const struct top_model *model = user;

    return strcmp(model->regions[*(const uint8_t *)a].code,
                  model->regions[*(const uint8_t *)b].code);
}

static void sort_regions(struct snapshot *shot)
{
    for (uint32_t i = 0; i < shot->model->region_count; i++) {
        if (shot->model->regions[i].told || shot->model->regions[i].order_count > 0) {
            shot->order[shot->order_count++] = (uint8_t)i;
        }
    }
    qsort_r(shot->order, shot->order_count, sizeof shot->order[0], by_code,
            (void *)(uintptr_t)shot->model);
}

/* ---- text ---- */

static void put_head(const struct snapshot *shot)
{
    const struct top_status *status = shot->status;
    const struct top_sums *sums = &shot->model->sums;
    char time[FLY_TIME_TEXT_SIZE];
    char link[TOP_LINK_TEXT_SIZE];
    char memory[2][FLY_TIME_TEXT_SIZE];

    fly_time_format(status->wall_ms, time);
    (void)top_link_text(status, false, link);
    (void)printf("%s  %s%s%s  edge %s  %.1f changes/s\n", time, link,
                 status->link == TOP_LOST ? ": " : "", status->link == TOP_LOST ? status->why : "",
                 status->node, status->changes_per_s);
    fly_size_format(sums->memory_free_bytes, memory[0]);
    fly_size_format(sums->memory_total_bytes, memory[1]);
    (void)printf("%llu machines, %llu cordoned; free: %llu of %llu cores, %s of %s\n\n",
                 (unsigned long long)sums->machines, (unsigned long long)sums->cordoned,
                 (unsigned long long)sums->cores_free, (unsigned long long)sums->cores_total,
                 memory[0], memory[1]);
}

static void put_regions(const struct snapshot *shot)
{
    static const struct table_column columns[] = {
        {"REGION", false},          {"CITY", false},    {"STATUS", false},
        {"MACHINES", true},         {"CORDONED", true}, {"CORES FREE/TOTAL", true},
        {"MEMORY FREE/TOTAL", true}};
    struct table *table = table_create(columns, FLY_ARRAY_COUNT(columns));

    FLY_CHECK(table != NULL);
    for (uint32_t i = 0; i < shot->order_count; i++) {
        const struct top_region *region = &shot->model->regions[shot->order[i]];
        const struct top_sums *sums = &region->sums;
        char code[TOP_CODE_SIZE + 1];
        char numbers[3][64];
        char sizes[2][FLY_TIME_TEXT_SIZE];
        char memory[80];
        bool old = top_status_old(shot->status) ||
                   top_region_age_ms(region, shot->status->now_ms) > TOP_OLD_MS;
        (void)snprintf(code, sizeof code, "%s%s", region->code, old ? "~" : "");
        (void)snprintf(numbers[0], sizeof numbers[0], "%llu", (unsigned long long)sums->machines);
        (void)snprintf(numbers[1], sizeof numbers[1], "%llu", (unsigned long long)sums->cordoned);
        (void)snprintf(numbers[2], sizeof numbers[2], "%llu/%llu",
                       (unsigned long long)sums->cores_free, (unsigned long long)sums->cores_total);
        fly_size_format(sums->memory_free_bytes, sizes[0]);
        fly_size_format(sums->memory_total_bytes, sizes[1]);
        (void)snprintf(memory, sizeof memory, "%s/%s", sizes[0], sizes[1]);
        FLY_CHECK(
            table_add(table, (const char *const[]){code, region->city, region->status, numbers[0],
                                                   numbers[1], numbers[2], memory}));
    }
    table_print(table, stdout);
    table_destroy(table);
}

static void put_members(const struct snapshot *shot)
{
    static const struct table_column columns[] = {{"MEMBER", false}, {"REGION", false},
                                                  {"STATE", false},  {"RTT", true},
                                                  {"ROLES", false},  {"NOTE", false}};
    struct table *table = table_create(columns, FLY_ARRAY_COUNT(columns));

    FLY_CHECK(table != NULL);
    for (uint32_t i = 0; i < shot->model->member_count; i++) {
        const struct top_member *member = &shot->model->members[i];
        char name[TOP_NAME_SIZE + 1];
        char rtt[32] = "-";
        (void)snprintf(name, sizeof name, "%s%s", member->name, member->self ? "*" : "");
        if (member->rtt_us > 0) {
            (void)snprintf(rtt, sizeof rtt, "%.1f ms", (double)member->rtt_us / 1000.0);
        }
        FLY_CHECK(table_add(
            table, (const char *const[]){name, member->region[0] != '\0' ? member->region : "-",
                                         member->state, rtt, member->roles,
                                         member->note[0] != '\0' ? member->note : "-"}));
    }
    (void)puts("");
    table_print(table, stdout);
    table_destroy(table);
    if (shot->status->note[0] != '\0') {
        (void)puts(shot->status->note);
    }
}

static void put_events(const struct snapshot *shot)
{
    (void)puts("");
    for (uint32_t i = EVENTS_SHOWN; i-- > 0;) {
        const struct top_event *event = top_model_event(shot->model, i);
        char time[FLY_TIME_TEXT_SIZE];
        char size[COMMAND_SIZE_TEXT];
        if (event == NULL) {
            continue;
        }
        fly_time_format(event->time_ms, time);
        command_size_text(event->cores, event->memory_bytes, size);
        (void)printf("%s  %06x/%llu  %s  %s  %s%s%s  %s\n", time, event->slice,
                     (unsigned long long)event->seq, shape_event_type(event->type), event->region,
                     event->machine, event->vm[0] != '\0' ? "  " : "", event->vm, size);
    }
}

/* ---- JSON ---- */

static void put(json_t *object, const char *key, json_t *value)
{
    FLY_CHECK(json_object_set_new(object, key, value) == 0);
}

static json_t *json_sums(const struct top_sums *sums)
{
    json_t *object = json_object();

    put(object, "machines", json_integer((json_int_t)sums->machines));
    put(object, "cordoned", json_integer((json_int_t)sums->cordoned));
    put(object, "cores_total", json_integer((json_int_t)sums->cores_total));
    put(object, "cores_free", json_integer((json_int_t)sums->cores_free));
    put(object, "memory_total_bytes", json_integer((json_int_t)sums->memory_total_bytes));
    put(object, "memory_free_bytes", json_integer((json_int_t)sums->memory_free_bytes));
    return object;
}

/* As `flyrpc regions --json` has it, and what is cordoned. */
static json_t *json_region(const struct top_region *region, int64_t now_ms)
{
    Fly__V1__Region shape = FLY__V1__REGION__INIT;

    shape.code = (char *)(uintptr_t)region->code;
    shape.city = (char *)(uintptr_t)region->city;
    shape.country = (char *)(uintptr_t)region->country;
    shape.status = (char *)(uintptr_t)region->status;
    shape.latitude = region->latitude;
    shape.longitude = region->longitude;
    shape.has_position = region->has_position;
    shape.machines = (uint32_t)region->sums.machines;
    shape.cores_total = region->sums.cores_total;
    shape.cores_free = region->sums.cores_free;
    shape.memory_total_bytes = region->sums.memory_total_bytes;
    shape.memory_free_bytes = region->sums.memory_free_bytes;
    shape.stale_ms = top_region_age_ms(region, now_ms);
    json_t *object = shape_region(&shape);
    put(object, "cordoned", json_integer((json_int_t)region->sums.cordoned));
    return object;
}

static json_t *json_event(const struct top_event *kept)
{
    Fly__V1__Event shape = FLY__V1__EVENT__INIT;
    char slice[16];

    (void)snprintf(slice, sizeof slice, "%06x", kept->slice);
    shape.slice = slice;
    shape.incarnation = kept->incarnation;
    shape.seq = kept->seq;
    shape.type = (Fly__V1__EventType)kept->type;
    shape.time_ms = kept->time_ms;
    shape.vm = (char *)(uintptr_t)kept->vm;
    shape.name = (char *)(uintptr_t)kept->name;
    shape.machine = (char *)(uintptr_t)kept->machine;
    shape.region = (char *)(uintptr_t)kept->region;
    shape.cores = kept->cores;
    shape.memory_bytes = kept->memory_bytes;
    shape.state = (Fly__V1__VmState)kept->state;
    shape.machine_cores_free = kept->machine_cores_free;
    shape.machine_memory_free_bytes = kept->machine_memory_free_bytes;
    return shape_event(&shape, NULL);
}

static json_t *json_snapshot(const struct snapshot *shot)
{
    const struct top_status *status = shot->status;
    json_t *object = json_object();
    json_t *regions = json_array();
    json_t *members = json_array();
    json_t *events = json_array();
    char time[FLY_TIME_TEXT_SIZE];

    for (uint32_t i = 0; i < shot->order_count; i++) {
        const struct top_region *region = &shot->model->regions[shot->order[i]];
        FLY_CHECK(json_array_append_new(regions, json_region(region, status->now_ms)) == 0);
    }
    for (size_t i = 0; shot->members != NULL && i < shot->members->n_members; i++) {
        FLY_CHECK(json_array_append_new(members, shape_member(shot->members->members[i])) == 0);
    }
    for (uint32_t i = TOP_EVENTS_MAX; i-- > 0;) {
        const struct top_event *event = top_model_event(shot->model, i);
        FLY_CHECK(event == NULL || json_array_append_new(events, json_event(event)) == 0);
    }
    fly_time_format(status->wall_ms, time);
    put(object, "time", json_string(time));
    put(object, "cluster", shape_text(status->cluster));
    put(object, "edge", shape_text(status->node));
    put(object, "live", json_boolean(status->link == TOP_LIVE && !top_status_old(status)));
    put(object, "silent_ms",
        json_integer(status->heard_ms == 0 ? 0 : status->now_ms - status->heard_ms));
    put(object, "why", status->link == TOP_LOST ? shape_text(status->why) : json_null());
    put(object, "changes_per_s", json_real(status->changes_per_s));
    put(object, "totals", json_sums(&shot->model->sums));
    put(object, "regions", regions);
    put(object, "members", members);
    put(object, "events", events);
    return object;
}

/* ---- both ---- */

static void put_snapshot(const struct command *command, struct top_feed *feed,
                         struct top_status *status, struct top_rate *rate, bool first)
{
    struct snapshot shot = {.model = top_feed_lock(feed, status), .status = status};
    json_t *object = NULL;

    status->changes_per_s = top_rate_take(rate, shot.model->changes, status->now_ms);
    shot.members = top_feed_members(feed);
    sort_regions(&shot);
    if (command->json) {
        object = json_snapshot(&shot);
    } else {
        (void)printf("%s", first ? "" : "\n");
        put_head(&shot);
        put_regions(&shot);
        put_members(&shot);
        put_events(&shot);
    }
    top_feed_unlock(feed);
    if (object != NULL) {
        command_put_json(object);
    }
}

/* All machines, and the members where they may be asked for. */
static bool is_whole(struct top_feed *feed, struct top_status *status)
{
    const struct top_model *model = top_feed_lock(feed, status);
    bool whole = status->link != TOP_CONNECTING && status->link != TOP_LOADING &&
                 (model->member_count > 0 || status->note[0] != '\0' || status->link == TOP_LOST);

    top_feed_unlock(feed);
    return whole;
}

int top_batch(struct command *command, struct top_feed *feed, const struct top_input *input)
{
    struct failure failure = {.status = FLY_OK};
    struct top_status status = {.link = TOP_CONNECTING};
    struct top_rate rate = {.count = 0};
    bool whole = false;

    for (int64_t made = 0; input->count == 0 || made < input->count;) {
        if (top_feed_ended(feed, &failure)) {
            return command_fail(command, &failure);
        }
        whole = whole || is_whole(feed, &status);
        if (!session_pause(!whole ? LOOK_MS : made == 0 ? 1 : input->delay_ms)) {
            return EXIT_INTERRUPTED;
        }
        if (!whole) {
            continue;
        }
        put_snapshot(command, feed, &status, &rate, made++ == 0);
        if (fflush(stdout) != 0) {
            break; /* command_end says what is wrong */
        }
    }
    return EXIT_DONE;
}
