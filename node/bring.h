/*
 * bring - the machines that this peer brings into the cluster: its part of a file, and its own
 * host.
 *
 *   --machines FILE   all of it · --regions A,B: those regions · --share K/N: of each region every
 *                     N-th machine; the shares of K = 1..N add up to the file exactly
 *   --host            the machine that this node runs on, less a reserve
 *
 * A region's machines are dealt out in the order of the file, beginning with a share that the
 * region's code tells: shares are alike in size, a region with N machines or more is in every
 * share, and a change to one region of the file moves no machine of another. Rows that are put at
 * the end of their region move nothing at all.
 *
 * The host's cores are those that the process may run on (affinity, cgroup v2 cpu.max), its memory
 * MemTotal and cgroup v2 memory.max. Shell: reads files of the kernel, uses the heap; does not log.
 */
#ifndef FLY_NODE_BRING_H
#define FLY_NODE_BRING_H

#include <stdint.h>

#include "node/config.h"
#include "node/inventory.h"

/* What the host has, before any reserve. */
struct bring_host {
    uint32_t cores; /* at least 1 */
    uint64_t memory_bytes;
};

/* Loads regions and machines into *out (which is `= {0}`). In `run` the roles, name and region are
 * those that count, whoever told them: without the role peer only the regions are loaded. A peer
 * that was told of no machines has `untold` and a warning. The caller logs `warnings`. Errors as
 * inventory_load_machines; FAILED_PRECONDITION when the host has nothing left to bring. */
enum fly_status bring_load(struct inventory *out, const struct node_config *config,
                           const struct config_run *run, struct fly_error *error);

/* Reads what the host has. `proc` and `cgroup`: "/proc" and "/sys/fs/cgroup". UNAVAILABLE: no
 * MemTotal. */
enum fly_status bring_measure(const char *proc, const char *cgroup, struct bring_host *out,
                              struct fly_error *error);

/* The name of a machine for a host name: what stands before the first dot, in lower case, other
 * letters as '-'; `fallback` for an empty one and for localhost. */
void bring_host_name(const char *host, const char *fallback, char out[static 64]);

/* Takes the reserve off: what was told, or a tenth, at least one core and 1 GB, of a small host
 * (one core, less than 2 GB) no core and half the memory. Memory is rounded down to whole MB, so
 * that another kernel on the same host is no other machine. FAILED_PRECONDITION: nothing is left.
 */
enum fly_status bring_less_reserve(struct bring_host *host, const struct config_run *run,
                                   struct fly_error *error);

#endif
