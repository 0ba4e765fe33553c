#include "node/bring.h"

#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/wire/credential.h"

#define MB UINT64_C(1000000)
#define GB UINT64_C(1000000000)

/* --- a part of the file --- */

static bool region_wanted(const struct config_run *run, const char *region)
{
    for (uint32_t i = 0; i < run->region_count; i++) {
        if (strcmp(run->regions[i], region) == 0) {
            return true;
        }
    }
    return run->region_count == 0;
}

/* The share that a region's first machine falls to. */
static uint32_t first_share(const char *region, uint32_t shares)
{
    uint32_t sum = 0;

    for (; *region != '\0'; region++) {
        sum = sum * 31 + (unsigned char)*region;
    }
    return sum % shares;
}

/* Keeps this peer's machines, in the order of the file. */
static enum fly_status keep_share(struct inventory *inventory, const struct config_run *run,
                                  struct fly_error *error)
{
    uint32_t *dealt = calloc(inventory->region_count + 1, sizeof *dealt); /* by region */
    size_t kept = 0;

    if (dealt == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "no memory");
    }
    for (size_t i = 0; i < inventory->machine_count; i++) {
        const struct inventory_machine *m = &inventory->machines[i];
        const struct inventory_region *region = inventory_find_region(inventory, m->region);
        FLY_CHECK(region != NULL);
        uint32_t number = dealt[region - inventory->regions]++;
        if (region_wanted(run, m->region) &&
            (first_share(m->region, run->shares) + number) % run->shares == run->share - 1) {
            inventory->machines[kept++] = *m;
        }
    }
    inventory->machine_count = kept;
    for (uint32_t i = 0; i < run->region_count; i++) {
        const struct inventory_region *region = inventory_find_region(inventory, run->regions[i]);
        if (region == NULL || dealt[region - inventory->regions] == 0) {
            inventory_warn(inventory, "--regions names %s: the file has no machine there",
                           run->regions[i]);
        }
    }
    free(dealt);
    return FLY_OK;
}

/* --- the host --- */

/* A small file of the kernel as text; false: not there. */
static bool read_text(const char *path, char *out, size_t max)
{
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        return false;
    }
    size_t size = fread(out, 1, max - 1, file);
    (void)fclose(file);
    out[size] = '\0';
    return size > 0;
}

static bool read_number(const char **text, uint64_t *out)
{
    const char *p = *text + strspn(*text, " \t");
    uint64_t value = 0;

    if (isdigit((unsigned char)*p) == 0) {
        return false;
    }
    for (; isdigit((unsigned char)*p) != 0; p++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    *text = p;
    return true;
}

/* "max 100000" or "150000 100000": whole cores, at least one. */
static void limit_cores(const char *text, struct bring_host *host)
{
    uint64_t quota = 0;
    uint64_t period = 0;

    if (read_number(&text, &quota) && read_number(&text, &period) && period > 0) {
        uint64_t cores = quota / period > 0 ? quota / period : 1;
        host->cores = cores < host->cores ? (uint32_t)cores : host->cores;
    }
}

/* "max" or bytes. */
static void limit_memory(const char *text, struct bring_host *host)
{
    uint64_t bytes = 0;

    if (read_number(&text, &bytes) && bytes < host->memory_bytes) {
        host->memory_bytes = bytes;
    }
}

/* Every folder from the process's cgroup up to the root may limit it. */
static void limit_by_cgroup(const char *proc, const char *cgroup, struct bring_host *host)
{
    char text[4096];
    char path[8192];
    char file[8300];
    char value[128];

    (void)snprintf(path, sizeof path, "%s/self/cgroup", proc);
    if (!read_text(path, text, sizeof text)) {
        return;
    }
    const char *line = strncmp(text, "0::/", 4) == 0 ? text : strstr(text, "\n0::/");
    if (line == NULL) {
        return;
    }
    line = strchr(line, '/');
    int root = snprintf(path, sizeof path, "%s", cgroup);
    int size = snprintf(path, sizeof path, "%s%.*s", cgroup, (int)strcspn(line, "\n"), line);
    if (root < 0 || size < root || (size_t)size >= sizeof path) {
        return;
    }
    for (;;) {
        (void)snprintf(file, sizeof file, "%s/cpu.max", path);
        if (read_text(file, value, sizeof value)) {
            limit_cores(value, host);
        }
        (void)snprintf(file, sizeof file, "%s/memory.max", path);
        if (read_text(file, value, sizeof value)) {
            limit_memory(value, host);
        }
        char *slash = strrchr(path + root, '/');
        if (slash == NULL) {
            return;
        }
        *slash = '\0';
    }
}

static uint32_t cores_allowed(void)
{
    cpu_set_t set;
    int count = 0;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        count = CPU_COUNT(&set);
    } else { /* more CPUs than the set holds */
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    }
    return count > 0 ? (uint32_t)count : 1;
}

enum fly_status bring_measure(const char *proc, const char *cgroup, struct bring_host *out,
                              struct fly_error *error)
{
    char path[4096];
    char text[4096];
    uint64_t kib = 0;

    (void)snprintf(path, sizeof path, "%s/meminfo", proc);
    const char *total = read_text(path, text, sizeof text) ? strstr(text, "MemTotal:") : NULL;
    total = total != NULL ? total + strlen("MemTotal:") : NULL;
    if (total == NULL || !read_number(&total, &kib) || kib == 0 || kib > UINT64_MAX / 1024) {
        return fly_error_set(error, FLY_UNAVAILABLE, "%s does not tell MemTotal", path);
    }
    *out = (struct bring_host){.cores = cores_allowed(), .memory_bytes = kib * 1024};
    limit_by_cgroup(proc, cgroup, out);
    return FLY_OK;
}

void bring_host_name(const char *host, const char *fallback, char out[static 64])
{
    size_t size = strcspn(host, ".");
    size_t used = 0;

    for (size_t i = 0; i < size && used < 63; i++) {
        unsigned char letter = (unsigned char)host[i];
        out[used++] = isalnum(letter) != 0 && letter < 128 ? (char)tolower(letter) : '-';
    }
    out[used] = '\0';
    if (used == 0 || strcmp(out, "localhost") == 0) {
        (void)fly_copy_string(out, 64, fallback);
    }
}

enum fly_status bring_less_reserve(struct bring_host *host, const struct config_run *run,
                                   struct fly_error *error)
{
    uint64_t tenth = host->memory_bytes / 10;
    uint32_t cores = host->cores / 10 > 1 ? host->cores / 10 : 1;
    uint64_t memory = tenth > GB ? tenth : GB;

    cores = host->cores == 1 ? 0 : cores;
    memory = host->memory_bytes < 2 * GB ? host->memory_bytes / 2 : memory;
    if (run->reserve_told) {
        cores = run->reserve_cores;
        memory = run->reserve_memory_bytes;
    }
    if (cores >= host->cores || memory >= host->memory_bytes || host->memory_bytes - memory < MB) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION,
                             "host-reserve keeps %u of %u cores and %llu of %llu bytes back: "
                             "nothing is left to bring",
                             cores, host->cores, (unsigned long long)memory,
                             (unsigned long long)host->memory_bytes);
    }
    host->cores -= cores;
    host->memory_bytes -= memory;
    host->memory_bytes -= host->memory_bytes % MB;
    if (host->cores > INVENTORY_CORES_MAX) {
        host->cores = INVENTORY_CORES_MAX;
    }
    if (host->memory_bytes > INVENTORY_MEMORY_MAX) {
        host->memory_bytes = INVENTORY_MEMORY_MAX;
    }
    return FLY_OK;
}

static enum fly_status add_host(struct inventory *out, const struct config_run *run,
                                struct fly_error *error)
{
    struct inventory_machine m = {.cores = 0};
    struct bring_host host;
    char name[256] = "";

    if (run->region[0] == '\0') {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "host needs --region: the region that this machine is in");
    }
    if (inventory_find_region(out, run->region) == NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "host: region %s is not in the regions file", run->region);
    }
    enum fly_status status = bring_measure("/proc", "/sys/fs/cgroup", &host, error);
    if (status == FLY_OK) {
        status = bring_less_reserve(&host, run, error);
    }
    if (status != FLY_OK) {
        return fly_error_wrap(error, "host");
    }
    (void)gethostname(name, sizeof name - 1);
    bring_host_name(name, run->name, m.name);
    (void)fly_copy_string(m.region, sizeof m.region, run->region);
    (void)fly_copy_string(m.address, sizeof m.address, run->advertise);
    m.cores = host.cores;
    m.memory_bytes = host.memory_bytes;
    if (!fly_name_ok(m.name)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "host: neither '%.64s' nor the node has a name for a machine", name);
    }
    status = inventory_add_machine(out, &m, error);
    return status == FLY_OK ? FLY_OK : fly_error_wrap(error, "host");
}

enum fly_status bring_load(struct inventory *out, const struct node_config *config,
                           const struct config_run *run, struct fly_error *error)
{
    enum fly_status status = inventory_load_regions(out, config->regions_file, error);
    bool file = config->machines[0] != '\0';

    if (status != FLY_OK || (run->roles & NODE_ROLE_PEER) == 0) {
        return status;
    }
    if (file) {
        status = inventory_load_machines(out, config->machines, error);
        if (status == FLY_OK) {
            status = keep_share(out, run, error);
        }
        if (status == FLY_OK && out->machine_count == 0) {
            inventory_warn(out, "%s: nothing of it is this peer's", config->machines);
        }
    }
    if (status == FLY_OK && run->host) {
        status = add_host(out, run, error);
    }
    if (status == FLY_OK && !file && !run->host) {
        out->untold = true;
        inventory_warn(out, "neither --machines nor --host: the slice keeps what it has");
    }
    return status;
}
