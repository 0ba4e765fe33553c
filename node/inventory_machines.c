/*
 * inventory_machines - rows of a machines file.
 *
 * Ours: name,region,cores,memory_bytes, and optional address, cores_allocated, memory_allocated,
 * status. The ancestor's has no name: it is made from region and address, so that it stays the same
 * when rows are moved, added or taken out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/inventory_csv.h"
#include "node/inventory_parts.h"
#include "proto/base/check.h"
#include "proto/base/id.h"

enum { NAME, REGION, ADDRESS, CORES, CORES_ALLOCATED, MEMORY, MEMORY_ALLOCATED, STATUS };

static const struct csv_column columns[] = {
    {"name", NAME},
    {"region", REGION},
    {"address", ADDRESS},
    {"cores", CORES},
    {"cores_total", CORES},
    {"cores_allocated", CORES_ALLOCATED},
    {"memory_bytes", MEMORY},
    {"memory_total", MEMORY},
    {"memory_allocated", MEMORY_ALLOCATED},
    {"memory_allocated_bytes", MEMORY_ALLOCATED},
    {"status", STATUS},
    /* the ancestor's, of no use here */
    {"scheme", CSV_DROPPED},
    {"datacenter", CSV_DROPPED},
    {"wait_time", CSV_DROPPED},
};

struct rows {
    const struct inventory *inventory;
    struct inventory_machine *machines;
    size_t count;
    size_t room;
    struct inventory_region *regions; /* taken because machines stand in them */
    size_t region_count;
    size_t region_room;
    struct inventory_set names;
    struct inventory_set addresses; /* "REGION address" */
};

static enum fly_status no_memory(struct csv_table *table)
{
    return fly_error_set(table->error, FLY_RESOURCE_EXHAUSTED, "%s: no memory", table->file);
}

/* "den-consul-node-01-dc-1-internal-8500"; past 63 characters the end becomes a hash of the whole.
 */
static void name_from_address(struct inventory_machine *machine)
{
    char whole[sizeof machine->region + sizeof machine->address];

    (void)snprintf(whole, sizeof whole, "%s-%s", machine->region, machine->address);
    uint32_t hash = inventory_hash(whole);
    for (char *c = whole; *c != '\0'; c++) {
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
        *c = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') ? *c : '-';
    }
    if (!fly_copy_string(machine->name, sizeof machine->name, whole)) {
        (void)snprintf(machine->name, sizeof machine->name, "%.54s-%08x", whole, hash);
    }
}

static enum fly_status take_address(struct csv_table *table, bool needed,
                                    struct inventory_machine *machine)
{
    enum fly_status status =
        csv_take_text(table, ADDRESS, needed, machine->address, sizeof machine->address);

    for (const char *c = machine->address; status == FLY_OK && *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~') {
            status = csv_refuse_value(table, ADDRESS, "is not a host and port");
        }
    }
    return status;
}

static enum fly_status take_name(struct csv_table *table, struct inventory_machine *machine)
{
    enum fly_status status = take_address(table, !csv_has(table, NAME), machine);

    if (status != FLY_OK) {
        return status;
    }
    if (!csv_has(table, NAME)) {
        name_from_address(machine);
        return FLY_OK;
    }
    if (!fly_name_ok(table->fields[NAME].text)) {
        return csv_refuse_value(table, NAME, "is not 1 to 63 of a-z, 0-9 and -");
    }
    return csv_take_text(table, NAME, true, machine->name, sizeof machine->name);
}

/* A total and the part of it that the file says is gone already. */
static enum fly_status take_amount(struct csv_table *table, int total_slot, int gone_slot,
                                   uint64_t max, uint64_t *usable, uint64_t *gone)
{
    uint64_t total = 0;
    enum fly_status status = csv_take_number(table, total_slot, 1, max, &total);

    *gone = 0;
    if (status == FLY_OK && !csv_empty(table, gone_slot)) {
        status = csv_take_number(table, gone_slot, 0, total, gone);
    }
    *usable = total - *gone;
    return status;
}

static enum fly_status take_amounts(struct csv_table *table, struct inventory_machine *machine)
{
    uint64_t cores = 0;
    uint64_t reserved = 0;
    enum fly_status status =
        take_amount(table, CORES, CORES_ALLOCATED, INVENTORY_CORES_MAX, &cores, &reserved);

    machine->cores = (uint32_t)cores;
    machine->cores_reserved = (uint32_t)reserved;
    if (status == FLY_OK) {
        status = take_amount(table, MEMORY, MEMORY_ALLOCATED, INVENTORY_MEMORY_MAX,
                             &machine->memory_bytes, &machine->memory_reserved_bytes);
    }
    return status;
}

static void take_status(struct csv_table *table, struct inventory_machine *machine)
{
    static const char *const open_words[] = {"available", "operational", "online", "degraded"};
    const char *text = table->fields[STATUS].text;

    machine->cordoned = !csv_empty(table, STATUS);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(open_words); i++) {
        if (machine->cordoned && strcasecmp(text, open_words[i]) == 0) {
            machine->cordoned = false;
        }
    }
    if (machine->cordoned) {
        csv_warn(table, "machine %s is not available: it takes no new VMs", machine->name);
    }
}

static enum fly_status check_unique(struct rows *rows, struct csv_table *table,
                                    const struct inventory_machine *machine)
{
    char place[sizeof machine->region + sizeof machine->address];
    uint32_t line = table->line;
    int slot = csv_has(table, NAME) ? NAME : ADDRESS;
    enum inventory_set_answer answer;

    if (machine->address[0] != '\0') {
        (void)snprintf(place, sizeof place, "%s %s", machine->region, machine->address);
        answer = inventory_set_put(&rows->addresses, place, &line);
        if (answer == INVENTORY_SET_NO_MEMORY) {
            return no_memory(table);
        }
        if (answer == INVENTORY_SET_THERE) {
            return csv_refuse_value(table, ADDRESS, "is in region %s on line %u already",
                                    machine->region, line);
        }
    }
    answer = inventory_set_put(&rows->names, machine->name, &line);
    if (answer == INVENTORY_SET_NO_MEMORY) {
        return no_memory(table);
    }
    if (answer == INVENTORY_SET_THERE && slot == NAME) {
        return csv_refuse_value(table, NAME,
                                line == 0 ? "is loaded already" : "is on line %u already", line);
    }
    if (answer == INVENTORY_SET_THERE) {
        return csv_refuse_value(table, ADDRESS, "makes the name %s, which is taken", machine->name);
    }
    return FLY_OK;
}

/* A machine's word is enough for a region to exist; the person is told. */
static enum fly_status take_region(struct rows *rows, struct csv_table *table, const char *code)
{
    struct inventory_region region = {0};

    if (inventory_find_region(rows->inventory, code) != NULL) {
        return FLY_OK;
    }
    for (size_t i = 0; i < rows->region_count; i++) {
        if (strcmp(rows->regions[i].code, code) == 0) {
            return FLY_OK;
        }
    }
    if (rows->inventory->region_count + rows->region_count >= INVENTORY_REGIONS_MAX) {
        return fly_error_set(table->error, FLY_RESOURCE_EXHAUSTED, "%s:%u: more than %d regions",
                             table->file, table->line, INVENTORY_REGIONS_MAX);
    }
    if (!inventory_reserve((void **)&rows->regions, &rows->region_room, rows->region_count,
                           sizeof region)) {
        return no_memory(table);
    }
    (void)fly_copy_string(region.code, sizeof region.code, code);
    (void)fly_copy_string(region.status, sizeof region.status, "operational");
    rows->regions[rows->region_count++] = region;
    csv_warn(table, "region %s is not in the regions file: taken without city and position", code);
    return FLY_OK;
}

static enum fly_status take_header(void *user, struct csv_table *table)
{
    static const struct {
        int slot;
        const char *name;
    } needed[] = {{REGION, "region"}, {CORES, "cores"}, {MEMORY, "memory_bytes"}};

    (void)user;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(needed); i++) {
        if (!csv_has(table, needed[i].slot)) {
            return csv_refuse_row(table, "column '%s' is missing", needed[i].name);
        }
    }
    if (!csv_has(table, NAME) && !csv_has(table, ADDRESS)) {
        return csv_refuse_row(table, "column 'name' is missing");
    }
    return FLY_OK;
}

static enum fly_status take_row(void *user, struct csv_table *table)
{
    struct rows *rows = user;
    struct inventory_machine machine = {0};
    enum fly_status status = csv_take_code(table, REGION, machine.region);

    status = status == FLY_OK ? take_name(table, &machine) : status;
    status = status == FLY_OK ? take_amounts(table, &machine) : status;
    status = status == FLY_OK ? check_unique(rows, table, &machine) : status;
    if (status != FLY_OK) {
        return status;
    }
    if (rows->inventory->machine_count + rows->count >= INVENTORY_MACHINES_MAX) {
        return fly_error_set(table->error, FLY_RESOURCE_EXHAUSTED, "%s:%u: more than %d machines",
                             table->file, table->line, INVENTORY_MACHINES_MAX);
    }
    status = take_region(rows, table, machine.region);
    if (status != FLY_OK) {
        return status;
    }
    if (machine.cores == 0 || machine.memory_bytes == 0) {
        csv_warn(table, "machine %s is wholly allocated already: left out", machine.name);
        return FLY_OK;
    }
    if (machine.cores_reserved > 0 || machine.memory_reserved_bytes > 0) {
        csv_warn(table, "machine %s: %u cores and %llu bytes are allocated already: set aside",
                 machine.name, machine.cores_reserved,
                 (unsigned long long)machine.memory_reserved_bytes);
    }
    take_status(table, &machine);
    if (!inventory_reserve((void **)&rows->machines, &rows->room, rows->count, sizeof machine)) {
        return no_memory(table);
    }
    rows->machines[rows->count++] = machine;
    return FLY_OK;
}

/* Moves the new rows in; on FLY_RESOURCE_EXHAUSTED nothing is changed but room for more. */
static enum fly_status adopt(struct inventory *inventory, struct rows *rows)
{
    size_t machine_count = inventory->machine_count + rows->count;
    size_t region_count = inventory->region_count + rows->region_count;
    struct inventory_machine *machines =
        realloc(inventory->machines, machine_count * sizeof *machines);

    if (machines == NULL) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    inventory->machines = machines;
    if (rows->region_count > 0) {
        struct inventory_region *regions =
            realloc(inventory->regions, region_count * sizeof *regions);
        if (regions == NULL) {
            return FLY_RESOURCE_EXHAUSTED;
        }
        memcpy(regions + inventory->region_count, rows->regions,
               rows->region_count * sizeof *regions);
        inventory->regions = regions;
        inventory->region_count = region_count;
    }
    memcpy(machines + inventory->machine_count, rows->machines, rows->count * sizeof *machines);
    inventory->machine_count = machine_count;
    return FLY_OK;
}

/* The names that are there already; line 0 says "from another file". */
static bool know_loaded(struct rows *rows)
{
    for (size_t i = 0; i < rows->inventory->machine_count; i++) {
        uint32_t line = 0;
        if (inventory_set_put(&rows->names, rows->inventory->machines[i].name, &line) ==
            INVENTORY_SET_NO_MEMORY) {
            return false;
        }
    }
    return true;
}

enum fly_status inventory_parse_machines(struct inventory *inventory, const char *name,
                                         struct fly_bytes text, struct fly_error *error)
{
    struct rows rows = {.inventory = inventory};
    struct csv_table *table = calloc(1, sizeof *table);
    enum fly_status status = FLY_RESOURCE_EXHAUSTED;

    if (table != NULL && know_loaded(&rows)) {
        table->file = name;
        table->known = columns;
        table->known_count = FLY_ARRAY_COUNT(columns);
        table->warn_to = inventory;
        table->error = error;
        status = csv_parse_table(table, text, take_header, take_row, &rows);
        if (status == FLY_OK && rows.count == 0) {
            status = fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: has no machines", name);
        }
        if (status == FLY_OK && adopt(inventory, &rows) != FLY_OK) {
            status = no_memory(table);
        }
    } else {
        (void)fly_error_set(error, status, "%s: no memory", name);
    }
    inventory_set_fini(&rows.names);
    inventory_set_fini(&rows.addresses);
    free(rows.machines);
    free(rows.regions);
    free(table);
    return status;
}
