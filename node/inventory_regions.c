/*
 * inventory_regions - rows of a regions file.
 *
 * Ours: code,city,country,latitude,longitude,status. The ancestor's: original,code,location,status,
 * where location is " City, State (US)" and may end in a piece of the status that its parser left
 * there ("Hong KongOperational", "Toronto, CanadaOperationa").
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/inventory_csv.h"
#include "node/inventory_parts.h"
#include "proto/base/check.h"

enum { CODE, CITY, COUNTRY, LATITUDE, LONGITUDE, STATUS, LOCATION };

static const struct csv_column columns[] = {
    {"code", CODE},           {"city", CITY},     {"country", COUNTRY},   {"latitude", LATITUDE},
    {"longitude", LONGITUDE}, {"status", STATUS}, {"location", LOCATION}, {"original", CSV_DROPPED},
};

/* What people write, and the four words that it becomes. */
static const struct {
    const char *text;
    const char *status;
} statuses[] = {
    {"operational", "operational"},
    {"online", "operational"},
    {"available", "operational"},
    {"degraded", "degraded"},
    {"degraded performance", "degraded"},
    {"partial outage", "degraded"},
    {"maintenance", "maintenance"},
    {"under maintenance", "maintenance"},
    {"offline", "offline"},
    {"major outage", "offline"},
};

struct rows {
    const struct inventory *inventory;
    struct inventory_region *regions;
    size_t count;
    size_t room;
    struct inventory_set codes;
};

static enum fly_status take_status(struct csv_table *table, char out[static 16])
{
    const struct csv_field *field = &table->fields[STATUS];

    if (csv_empty(table, STATUS)) {
        (void)fly_copy_string(out, 16, "operational");
        return FLY_OK;
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(statuses); i++) {
        if (strcasecmp(field->text, statuses[i].text) == 0) {
            (void)fly_copy_string(out, 16, statuses[i].status);
            return FLY_OK;
        }
    }
    return csv_refuse_value(table, STATUS,
                            "is not one of operational, degraded, maintenance, offline");
}

/* Cuts off a glued-on beginning of the status, of four letters or more: the ancestor's junk. */
static size_t location_size(const struct csv_table *table)
{
    const struct csv_field *location = &table->fields[LOCATION];
    const struct csv_field *status = &table->fields[STATUS];
    size_t most = csv_empty(table, STATUS) ? 0 : status->size;

    for (size_t size = most; size >= 4; size--) {
        if (location->size > size && location->text[location->size - size - 1] != ' ' &&
            memcmp(location->text + location->size - size, status->text, size) == 0) {
            return location->size - size;
        }
    }
    return location->size;
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text);
    size_t end_size = strlen(end);

    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* "Atlanta, Georgia (US)" is Atlanta in the United States; "Singapore" is both. */
static enum fly_status take_location(struct csv_table *table, struct inventory_region *region)
{
    char text[INVENTORY_FIELD_SIZE_MAX + 1];
    size_t size = location_size(table);

    memcpy(text, table->fields[LOCATION].text, size);
    text[size] = '\0';
    char *comma = strchr(text, ',');
    const char *country = text;
    if (comma != NULL) {
        *comma = '\0';
        country = comma + 1 + strspn(comma + 1, " ");
        country = ends_with(country, "(US)") ? "United States" : country;
    }
    if (text[0] == '\0') {
        return csv_refuse_value(table, LOCATION, "names no city");
    }
    if (!fly_copy_string(region->city, sizeof region->city, text) ||
        !fly_copy_string(region->country, sizeof region->country, country)) {
        return csv_refuse_value(table, LOCATION, "has a part longer than %zu bytes",
                                sizeof region->city - 1);
    }
    return FLY_OK;
}

static enum fly_status take_position(struct csv_table *table, struct inventory_region *region)
{
    enum fly_status status;

    if (csv_empty(table, LATITUDE) && csv_empty(table, LONGITUDE)) {
        return FLY_OK;
    }
    if (csv_empty(table, LATITUDE) || csv_empty(table, LONGITUDE)) {
        return csv_refuse_row(table, "latitude and longitude go together: one of them is empty");
    }
    status = csv_take_decimal(table, LATITUDE, 90, &region->latitude);
    if (status == FLY_OK) {
        status = csv_take_decimal(table, LONGITUDE, 180, &region->longitude);
    }
    region->has_position = true;
    return status;
}

static enum fly_status take_header(void *user, struct csv_table *table)
{
    (void)user;
    if (!csv_has(table, CODE)) {
        return csv_refuse_row(table, "column 'code' is missing");
    }
    if (csv_has(table, CITY) == csv_has(table, LOCATION)) {
        return csv_refuse_row(table, csv_has(table, CITY)
                                         ? "columns 'city' and 'location' say the same thing"
                                         : "column 'city' is missing");
    }
    if (csv_has(table, LATITUDE) != csv_has(table, LONGITUDE)) {
        return csv_refuse_row(table, "columns 'latitude' and 'longitude' go together");
    }
    return FLY_OK;
}

static enum fly_status take_row(void *user, struct csv_table *table)
{
    struct rows *rows = user;
    struct inventory_region region = {0};
    uint32_t line = table->line;
    enum fly_status status = csv_take_code(table, CODE, region.code);

    if (status == FLY_OK && csv_has(table, LOCATION)) {
        status = take_location(table, &region);
    } else if (status == FLY_OK) {
        status = csv_take_text(table, CITY, true, region.city, sizeof region.city);
        if (status == FLY_OK) {
            status = csv_take_text(table, COUNTRY, false, region.country, sizeof region.country);
        }
    }
    status = status == FLY_OK ? take_position(table, &region) : status;
    status = status == FLY_OK ? take_status(table, region.status) : status;
    if (status != FLY_OK) {
        return status;
    }
    if (inventory_find_region(rows->inventory, region.code) != NULL) {
        return csv_refuse_value(table, CODE, "is loaded already");
    }
    if (rows->inventory->region_count + rows->count >= INVENTORY_REGIONS_MAX) {
        return fly_error_set(table->error, FLY_RESOURCE_EXHAUSTED, "%s:%u: more than %d regions",
                             table->file, table->line, INVENTORY_REGIONS_MAX);
    }
    enum inventory_set_answer answer = inventory_set_put(&rows->codes, region.code, &line);
    if (answer == INVENTORY_SET_THERE) {
        return csv_refuse_value(table, CODE, "is on line %u already", line);
    }
    if (answer == INVENTORY_SET_NO_MEMORY ||
        !inventory_reserve((void **)&rows->regions, &rows->room, rows->count, sizeof region)) {
        return fly_error_set(table->error, FLY_RESOURCE_EXHAUSTED, "%s: no memory", table->file);
    }
    rows->regions[rows->count++] = region;
    return FLY_OK;
}

/* Moves the new rows in: the only place that changes the inventory's regions. */
static enum fly_status adopt(struct inventory *inventory, struct rows *rows)
{
    size_t count = inventory->region_count + rows->count;
    struct inventory_region *all = realloc(inventory->regions, count * sizeof *all);

    if (all == NULL) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    memcpy(all + inventory->region_count, rows->regions, rows->count * sizeof *all);
    inventory->regions = all;
    inventory->region_count = count;
    return FLY_OK;
}

enum fly_status inventory_parse_regions(struct inventory *inventory, const char *name,
                                        struct fly_bytes text, struct fly_error *error)
{
    struct rows rows = {.inventory = inventory};
    struct csv_table *table = calloc(1, sizeof *table);
    enum fly_status status;

    if (table == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "%s: no memory", name);
    }
    table->file = name;
    table->known = columns;
    table->known_count = FLY_ARRAY_COUNT(columns);
    table->warn_to = inventory;
    table->error = error;
    status = csv_parse_table(table, text, take_header, take_row, &rows);
    if (status == FLY_OK && rows.count == 0) {
        status = fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: has no regions", name);
    }
    if (status == FLY_OK && adopt(inventory, &rows) != FLY_OK) {
        status = fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "%s: no memory", name);
    }
    inventory_set_fini(&rows.codes);
    free(rows.regions);
    free(table);
    return status;
}
