/*
 * cluster - a synthetic cluster for the dashboard's benches: as many machines as wanted in a few
 * slices, in the regions that ship with the project, and what they hold now.
 *
 * What machines hold lies in memory that processes share: one publishes changes of it, the other
 * can look there for what the owners know, in place of a snapshot by RPC. A machine's numbers are
 * one atomic word, and a slice's seq moves on after them: who reads the seq and then the machines
 * knows at least what all events until it say.
 */
#ifndef FLY_TESTS_BENCH_DASH_CLUSTER_H
#define FLY_TESTS_BENCH_DASH_CLUSTER_H

#include <stdatomic.h>
#include <stdint.h>

#include "dash/core/picture.h"
#include "proto/wire/seal.h"

enum {
    CLUSTER_MACHINES_MAX = 1000000,
    CLUSTER_SLICES_MAX = 64,
    CLUSTER_TAG = 0x100001, /* of the first slice */
    CLUSTER_INCARNATION = 7,
    CLUSTER_CORES = 64,
    CLUSTER_CORDONED = 0x100, /* beside the free cores */
};
#define CLUSTER_MEMORY_A_CORE UINT64_C(8000000000)

struct cluster_shared {
    atomic_bool stop;               /* no more changes; heartbeats go on */
    atomic_bool stopped;            /* and so it is */
    atomic_uint_fast64_t published; /* events, ever */
    atomic_uint_fast64_t seq[CLUSTER_SLICES_MAX];
    _Atomic uint16_t machine[]; /* free cores, CLUSTER_CORDONED */
};

struct cluster {
    uint32_t machines;
    uint32_t slices;
    uint32_t region_count;
    struct picture_region regions[PICTURE_REGIONS_MAX];
    struct seal_ring ring; /* of the feed */
    struct cluster_shared *shared;
};

/* The first `regions` of data/regions.csv; memory to be shared with a child. Exits on errors. */
void cluster_init(struct cluster *c, uint32_t machines, uint32_t regions, uint64_t seed);
/* Machines are dealt to slices one by one; regions are of very different size. */
uint32_t cluster_slice(const struct cluster *c, uint32_t machine);
uint32_t cluster_tag(uint32_t slice);
const char *cluster_region(const struct cluster *c, uint32_t machine);
void cluster_name(uint32_t machine, char out[static EVENT_NAME_SIZE]);
/* The machine as it is now; its name and numbers. */
void cluster_machine(const struct cluster *c, uint32_t machine, struct picture_machine *out);
/* picture_hash of all machines, counted anew. */
uint64_t cluster_hash(const struct cluster *c);

/* The child: publishes `changes_per_s` in batches until the process ends. Writes its port (u16)
 * into `port_fd`. Never returns. */
struct publisher_config {
    uint32_t changes_per_s;
    uint32_t batch_ms;
    uint64_t seed;
    int port_fd;
};
_Noreturn void publisher_run(struct cluster *c, const struct publisher_config *config);

#endif
