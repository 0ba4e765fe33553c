/*
 * node_open - what a node makes before its loop runs: inventory, catalog, the slice's folder,
 * front.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "node/bring.h"
#include "node/node_parts.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/log.h"

static void log_warnings(const struct inventory *inventory)
{
    for (size_t i = 0; i < inventory->warning_count; i++) {
        fly_log_warn("inventory.warning", F_STR("text", inventory->warnings[i]));
    }
    if (inventory->warnings_lost > 0) {
        fly_log_warn("inventory.warnings_lost", F_U64("count", inventory->warnings_lost));
    }
}

enum fly_status node_load_inventory(struct node *n, struct fly_error *error)
{
    enum fly_status status = FLY_OK;

    if (n->run != NULL) {
        struct config_run told = *n->run; /* with the roles and names that count */
        told.roles = n->roles;
        (void)fly_copy_string(told.name, sizeof told.name, n->name);
        (void)fly_copy_string(told.region, sizeof told.region, n->region);
        status = bring_load(&n->inventory, n->config, &told, error);
    } else {
        status = inventory_load_regions(&n->inventory, n->config->regions_file, error);
        if (status == FLY_OK) {
            status = inventory_load_machines(&n->inventory, n->config->machines, error);
        }
    }
    log_warnings(&n->inventory);
    return status;
}

void node_make_catalog(struct node *n)
{
    const struct catalog_config config = {.regions_max = INVENTORY_REGIONS_MAX,
                                          .machines_max = PICTURED_MACHINES_MAX,
                                          .hash_seed = randombytes_random()};

    n->catalog_bytes = catalog_size(&config);
    n->catalog_memory = mmap(NULL, n->catalog_bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    FLY_CHECK(n->catalog_memory != MAP_FAILED);
    n->catalog = catalog_init(n->catalog_memory, &config);
    for (size_t i = 0; i < n->inventory.region_count; i++) {
        const struct inventory_region *from = &n->inventory.regions[i];
        struct catalog_region to = {.latitude = from->latitude,
                                    .longitude = from->longitude,
                                    .has_position = from->has_position};
        (void)fly_copy_string(to.code, sizeof to.code, from->code);
        (void)fly_copy_string(to.city, sizeof to.city, from->city);
        (void)fly_copy_string(to.country, sizeof to.country, from->country);
        (void)fly_copy_string(to.status, sizeof to.status, from->status);
        FLY_CHECK(catalog_put_region(n->catalog, &to) == FLY_OK);
    }
}

enum fly_status node_make_slice_dir(struct node *n, struct fly_error *error)
{
    char parent[JOURNAL_DIR_MAX];
    int parent_size = snprintf(parent, sizeof parent, "%s/slices", n->config->state);
    int size =
        snprintf(n->slice_dir, sizeof n->slice_dir, "%s/slices/%06x", n->config->state, n->tag);

    if (parent_size < 0 || size < 0 || (size_t)size >= sizeof n->slice_dir) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "state: the path is too long");
    }
    if ((mkdir(parent, 0700) != 0 && errno != EEXIST) ||
        (mkdir(n->slice_dir, 0700) != 0 && errno != EEXIST)) {
        return fly_error_set(error, FLY_UNAVAILABLE, "%s: %s", n->slice_dir, strerror(errno));
    }
    return FLY_OK;
}

void node_put_machines(struct node *n, const struct slice_state *s)
{
    const struct slice_totals *sum = slice_totals(s);

    streams_snapshot_begin(n->streams, sum->tag);
    for (uint32_t slot = 0; slot < slice_machine_slots(s); slot++) {
        const struct slice_machine *m = slice_machine_at(s, slot);
        struct catalog_machine to = {.cores = m->cores,
                                     .cores_free = m->cores - m->cores_used,
                                     .memory_bytes = m->memory_bytes,
                                     .memory_free_bytes = m->memory_bytes - m->memory_used_bytes,
                                     .cordoned = m->cordoned};
        (void)fly_copy_string(to.name, sizeof to.name, m->name);
        (void)fly_copy_string(to.region, sizeof to.region, m->region);
        if (m->name[0] != '\0' && streams_snapshot_put(n->streams, sum->tag, &to) != FLY_OK) {
            fly_log_warn("catalog.full", F_STR("machine", m->name));
        }
    }
    streams_snapshot_end(n->streams, sum->tag, sum->incarnation, sum->seq);
}

void node_gate_config(const struct node *n, struct gate_config *out)
{
    *out = (struct gate_config){
        .issuer_count = 1, .verify_per_s = VERIFY_PER_S, .verify_burst = VERIFY_BURST};
    _Static_assert(sizeof out->cluster == sizeof n->identity.record.id, "one form of id");
    memcpy(out->cluster, n->identity.record.id, sizeof out->cluster);
    out->issuers[0] = n->identity.record.issuer;
    randombytes_buf(out->hash_key, sizeof out->hash_key);
}

void node_make_front(struct node *n)
{
    struct front_config config = {.identity = &n->identity,
                                  .node_name = n->name,
                                  .roles = n->roles,
                                  .tag = n->tag,
                                  .root_tag = n->identity.record.root_tag,
                                  .catalog = n->catalog,
                                  .directory = &n->directory,
                                  .streams = n->streams,
                                  .links = n->links,
                                  .seen = n->seen};

    node_gate_config(n, &config.gate);
    n->front = front_create(&config);
}
