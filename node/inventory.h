/*
 * inventory - the regions and machines that a person wrote down in CSV files.
 *
 * The header row decides the form: our own (data/README.md) or the ancestor's, fly-light, whose two
 * files load unchanged. All or nothing: a bad row adds nothing (warnings stay) and names file,
 * line, column and reason. Credentials in the ancestor's columns are neither kept nor shown, and a
 * file that has such columns never has a value of its rows quoted. Shell: reads files, uses the
 * heap; does not log (the caller logs `warnings`).
 */
#ifndef FLY_NODE_INVENTORY_H
#define FLY_NODE_INVENTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum {
    INVENTORY_FILE_SIZE_MAX = 64 << 20,
    INVENTORY_MACHINES_MAX = 65536,
    INVENTORY_REGIONS_MAX = 1024,
    INVENTORY_FIELD_SIZE_MAX = 1024,
    INVENTORY_CORES_MAX = 4096,
    INVENTORY_WARNINGS_MAX = 64,
};

/* So that the sum over all machines stays below 2^63. */
#define INVENTORY_MEMORY_MAX UINT64_C(100000000000000)

struct inventory_region {
    char code[16]; /* 2..8 upper-case letters and digits */
    char city[64];
    char country[64];
    char status[16]; /* operational, degraded, maintenance or offline */
    double latitude;
    double longitude;
    bool has_position;
};

/* cores and memory_bytes are what may be given to VMs: the file's totals less what it says is
 * already allocated, which is in the reserved fields. Both are at least 1. */
struct inventory_machine {
    char name[64]; /* [a-z0-9-]{1,63}, unique in the inventory */
    char region[16];
    char address[128]; /* may be empty in our own form */
    uint32_t cores;
    uint32_t cores_reserved;
    uint64_t memory_bytes;
    uint64_t memory_reserved_bytes;
    bool cordoned; /* its status says that nothing new may be placed on it: brought all the same */
};

/* One owner; everything it points to is its own. Start with `= {0}`. */
struct inventory {
    struct inventory_region *regions;
    size_t region_count;
    struct inventory_machine *machines;
    size_t machine_count;
    char *warnings[INVENTORY_WARNINGS_MAX]; /* "file:line: text", in the order they were found */
    size_t warning_count;
    size_t warnings_lost; /* found after the list was full */
    bool untold;          /* nobody said which machines there are: a slice keeps what it has */
};

/* Frees what it holds and makes it empty. */
void inventory_fini(struct inventory *inventory);

/* Adds the regions of a file. A code that is there already is a duplicate. FLY_NOT_FOUND,
 * FLY_PERMISSION_DENIED or FLY_UNAVAILABLE when the file cannot be read, FLY_INVALID_ARGUMENT for
 * what is in it, FLY_RESOURCE_EXHAUSTED past a bound above. O(n). */
enum fly_status inventory_load_regions(struct inventory *inventory, const char *path,
                                       struct fly_error *error);
/* Adds the machines of a file; load the regions first. A region that is not known is taken, with a
 * warning, as operational and without city or position. Errors as above. O(n). */
enum fly_status inventory_load_machines(struct inventory *inventory, const char *path,
                                        struct fly_error *error);

/* The same over bytes; `name` stands for the file in errors and warnings. */
enum fly_status inventory_parse_regions(struct inventory *inventory, const char *name,
                                        struct fly_bytes text, struct fly_error *error);
enum fly_status inventory_parse_machines(struct inventory *inventory, const char *name,
                                         struct fly_bytes text, struct fly_error *error);

/* Adds one machine, of a region that is there. ALREADY_EXISTS: its name is taken.
 * RESOURCE_EXHAUSTED: INVENTORY_MACHINES_MAX, or memory. O(machines). */
enum fly_status inventory_add_machine(struct inventory *inventory,
                                      const struct inventory_machine *machine,
                                      struct fly_error *error);
/* One more line for `warnings`. */
__attribute__((format(printf, 2, 3))) void inventory_warn(struct inventory *inventory,
                                                          const char *format, ...);

/* Borrowed until the inventory changes; NULL when there is none. Any case. O(regions). */
const struct inventory_region *inventory_find_region(const struct inventory *inventory,
                                                     const char *code);

#endif
