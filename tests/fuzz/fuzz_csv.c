/*
 * fuzz_csv - any bytes as a regions file (first byte even) or a machines file (odd): refused with a
 * text and nothing changed, or taken whole with every promise of inventory.h kept.
 */
#include <string.h>

#include "node/inventory.h"
#include "proto/base/check.h"
#include "proto/base/id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_machine(const struct inventory *inventory,
                          const struct inventory_machine *machine)
{
    FLY_CHECK(fly_name_ok(machine->name));
    FLY_CHECK(inventory_find_region(inventory, machine->region) != NULL);
    FLY_CHECK(machine->cores >= 1);
    FLY_CHECK(machine->cores + machine->cores_reserved <= INVENTORY_CORES_MAX);
    FLY_CHECK(machine->memory_bytes >= 1);
    FLY_CHECK(machine->memory_bytes + machine->memory_reserved_bytes <= INVENTORY_MEMORY_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct inventory inventory = {0};
    struct fly_error error = {0};
    enum fly_status status;

    if (size == 0) {
        return 0;
    }
    struct fly_bytes text = {data + 1, size - 1};
    status = data[0] % 2 == 0 ? inventory_parse_regions(&inventory, "fuzz", text, &error)
                              : inventory_parse_machines(&inventory, "fuzz", text, &error);
    if (status != FLY_OK) {
        FLY_CHECK(error.status == status && strncmp(error.text, "fuzz:", 5) == 0);
        FLY_CHECK(inventory.region_count == 0 && inventory.machine_count == 0);
    }
    for (size_t i = 0; i < inventory.region_count; i++) {
        const struct inventory_region *region = &inventory.regions[i];
        FLY_CHECK(inventory_find_region(&inventory, region->code) == region);
        FLY_CHECK(strlen(region->code) >= 2 && strlen(region->code) <= 8);
        FLY_CHECK(region->status[0] != '\0');
        FLY_CHECK(region->latitude >= -90 && region->latitude <= 90);
        FLY_CHECK(region->longitude >= -180 && region->longitude <= 180);
    }
    for (size_t i = 0; i < inventory.machine_count && i < 64; i++) {
        check_machine(&inventory, &inventory.machines[i]);
    }
    inventory_fini(&inventory);
    return 0;
}
