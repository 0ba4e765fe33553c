/* flyrpc regions - a table of regions: what is there, what is free. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/command.h"
#include "client/lib/regions.h"
#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

enum { KEY_FILTER = 1, KEY_SORT };

static const struct argp_option options[] = {
    {"filter", KEY_FILTER, "STATUS", 0, "Only operational, degraded, maintenance or offline ones",
     0},
    {"sort", KEY_SORT, "BY", 0, "By code (as without it), location, status or free cores", 0},
    {0},
};

struct input {
    const char *status; /* NULL: all */
    enum regions_order order;
};

static void take(int key, const char *value, void *user)
{
    static const char *const statuses[] = {"operational", "degraded", "maintenance", "offline"};
    struct input *input = user;

    if (key == KEY_SORT) {
        if (!regions_order_find(value, &input->order)) {
            command_usage("--sort: '%.40s' is not one of code, location, status, free", value);
        }
        return;
    }
    /* fly-light's word, which its own filter never matched */
    value = strcasecmp(value, "online") == 0 ? "operational" : value;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(statuses); i++) {
        if (strcasecmp(value, statuses[i]) == 0) {
            input->status = statuses[i];
            return;
        }
    }
    command_usage("--filter: '%.40s' is not one of operational, degraded, maintenance, offline",
                  value);
}

/* "SIN~" for one whose picture is old, and afterwards what the mark means. */
static void mark_stale(const Fly__V1__Region *region, char *code, size_t max, uint64_t *oldest_ms)
{
    bool stale = region->stale_ms > COMMAND_STALE_MS;

    (void)snprintf(code, max, "%s%s", region->code, stale ? "~" : "");
    *oldest_ms = region->stale_ms > *oldest_ms ? region->stale_ms : *oldest_ms;
}

static void put_table(Fly__V1__Region *const *regions, size_t count)
{
    static const struct table_column columns[] = {{"CODE", false},
                                                  {"CITY", false},
                                                  {"STATUS", false},
                                                  {"MACHINES", true},
                                                  {"CORES FREE/TOTAL", true},
                                                  {"MEMORY FREE/TOTAL", true}};
    struct table *table = table_create(columns, FLY_ARRAY_COUNT(columns));
    uint64_t oldest_ms = 0;

    FLY_CHECK(table != NULL);
    for (size_t i = 0; i < count; i++) {
        const Fly__V1__Region *region = regions[i];
        char code[64];
        char machines[16];
        char cores[48];
        char memory_free[FLY_TIME_TEXT_SIZE];
        char memory_total[FLY_TIME_TEXT_SIZE];
        char memory[2 * FLY_TIME_TEXT_SIZE];
        (void)snprintf(machines, sizeof machines, "%u", region->machines);
        (void)snprintf(cores, sizeof cores, "%llu/%llu", (unsigned long long)region->cores_free,
                       (unsigned long long)region->cores_total);
        fly_size_format(region->memory_free_bytes, memory_free);
        fly_size_format(region->memory_total_bytes, memory_total);
        (void)snprintf(memory, sizeof memory, "%s/%s", memory_free, memory_total);
        mark_stale(region, code, sizeof code, &oldest_ms);
        FLY_CHECK(table_add(table, (const char *const[]){code, region->city, region->status,
                                                         machines, cores, memory}));
    }
    table_print(table, stdout);
    table_destroy(table);
    if (oldest_ms > COMMAND_STALE_MS) {
        char age[COMMAND_AGE_TEXT];
        command_age_text(oldest_ms, age);
        (void)printf("~ not all of its owners were heard of lately (%s): free may have changed\n",
                     age);
    }
}

static void put_json(Fly__V1__Region *const *regions, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++) {
        FLY_CHECK(json_array_append_new(array, shape_region(regions[i])) == 0);
    }
    command_put_json_lines(array);
}

int command_regions(int argc, char **argv)
{
    struct input input = {.order = REGIONS_BY_CODE};
    const struct command_spec spec = {
        .name = "flyrpc regions",
        .doc = "Shows the regions, their machines and what is free.",
        .options = options,
        .take = take,
        .user = &input,
    };
    Fly__V1__RegionsRequest request = FLY__V1__REGIONS_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    if (command_call(&command, &rpc_edge_regions, &request.base, false, &reply, &code) == FLY_OK) {
        const Fly__V1__RegionsReply *message = (const Fly__V1__RegionsReply *)reply.message;
        Fly__V1__Region **shown = calloc(message->n_regions + 1, sizeof(Fly__V1__Region *));
        FLY_CHECK(shown != NULL);
        size_t count = 0;
        for (size_t i = 0; i < message->n_regions; i++) {
            if (input.status == NULL ||
                strcasecmp(message->regions[i]->status, input.status) == 0) {
                shown[count++] = message->regions[i];
            }
        }
        regions_sort(shown, count, input.order);
        if (command.json) {
            put_json(shown, count);
        } else {
            put_table(shown, count);
        }
        free(shown);
    }
    rpc_reply_fini(&reply);
    return command_end(&command, code);
}
