#include "tests/bench/dash/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"

enum { SLICE_MACHINES = 65536, CSV_FIELDS = 6 };

/* code,city,country,latitude,longitude,status: no field of it is quoted. */
static void regions_read(struct cluster *c, uint32_t regions)
{
    FILE *file = fopen(FLY_SOURCE "/data/regions.csv", "r");
    char line[512];

    FLY_CHECK(file != NULL && fgets(line, sizeof line, file) != NULL); /* the head */
    while (c->region_count < regions && fgets(line, sizeof line, file) != NULL) {
        struct picture_region *r = &c->regions[c->region_count++];
        char *fields[CSV_FIELDS];
        char *rest = line;
        line[strcspn(line, "\r\n")] = '\0';
        for (unsigned i = 0; i < CSV_FIELDS; i++) {
            fields[i] = strsep(&rest, ",");
            FLY_CHECK(fields[i] != NULL);
        }
        (void)fly_copy_string(r->code, sizeof r->code, fields[0]);
        (void)fly_copy_string(r->city, sizeof r->city, fields[1]);
        (void)fly_copy_string(r->country, sizeof r->country, fields[2]);
        (void)fly_copy_string(r->status, sizeof r->status, fields[5]);
        r->latitude = strtod(fields[3], NULL);
        r->longitude = strtod(fields[4], NULL);
        r->has_position = true;
    }
    (void)fclose(file);
    FLY_CHECK(c->region_count > 0);
}

void cluster_init(struct cluster *c, uint32_t machines, uint32_t regions, uint64_t seed)
{
    struct seal_ring group = {.count = 1, .ids = {1}};
    struct fly_rng rng;

    FLY_CHECK(machines >= 1 && machines <= CLUSTER_MACHINES_MAX);
    *c = (struct cluster){.machines = machines};
    c->slices = (machines + SLICE_MACHINES - 1) / SLICE_MACHINES;
    regions_read(c, regions);
    memset(group.keys[0], 0x5a, sizeof group.keys[0]);
    seal_ring_derive(&c->ring, &group, SEAL_FEED, "00000000000000000000000000000000");
    size_t size = sizeof *c->shared + machines * sizeof c->shared->machine[0];
    c->shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FLY_CHECK(c->shared != MAP_FAILED);
    fly_rng_seed(&rng, seed);
    for (uint32_t i = 0; i < machines; i++) {
        atomic_init(&c->shared->machine[i], (uint16_t)fly_rng_below(&rng, CLUSTER_CORES + 1));
    }
}

uint32_t cluster_slice(const struct cluster *c, uint32_t machine)
{
    return machine % c->slices;
}

uint32_t cluster_tag(uint32_t slice)
{
    return CLUSTER_TAG + slice;
}

const char *cluster_region(const struct cluster *c, uint32_t machine)
{
    double place = (double)machine / c->machines;

    return c->regions[(uint32_t)(place * place * c->region_count)].code;
}

void cluster_name(uint32_t machine, char out[static EVENT_NAME_SIZE])
{
    (void)snprintf(out, EVENT_NAME_SIZE, "m-%07u", machine);
}

void cluster_machine(const struct cluster *c, uint32_t machine, struct picture_machine *out)
{
    uint16_t word = atomic_load_explicit(&c->shared->machine[machine], memory_order_relaxed);
    uint32_t cores_free = word & (CLUSTER_CORDONED - 1);

    *out = (struct picture_machine){.slice = cluster_tag(cluster_slice(c, machine)),
                                    .cores = CLUSTER_CORES,
                                    .cores_free = cores_free,
                                    .memory_bytes = CLUSTER_CORES * CLUSTER_MEMORY_A_CORE,
                                    .memory_free_bytes = cores_free * CLUSTER_MEMORY_A_CORE,
                                    .cordoned = (word & CLUSTER_CORDONED) != 0};
    cluster_name(machine, out->name);
}

static uint64_t fnv(uint64_t hash, uint64_t value, unsigned width)
{
    for (unsigned i = 0; i < width; i++) {
        hash = (hash ^ (value >> (8 * i) & 0xff)) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t cluster_hash(const struct cluster *c)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < c->machines; i++) {
        struct picture_machine m;
        uint64_t hash = UINT64_C(0xcbf29ce484222325);
        cluster_machine(c, i, &m);
        for (size_t n = 0; n <= strlen(m.name); n++) { /* with the 0 */
            hash = fnv(hash, (uint8_t)m.name[n], 1);
        }
        hash = fnv(fnv(fnv(hash, m.slice, 4), m.cores, 4), m.cores_free, 4);
        sum += fnv(fnv(fnv(hash, m.memory_bytes, 8), m.memory_free_bytes, 8), m.cordoned, 1);
    }
    return sum;
}
