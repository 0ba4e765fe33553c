/*
 * latest - which events of a range a reader that only wants a picture still needs
 * (WATCH_LATEST_PER_OBJECT).
 *
 * An event says facts; a later event of the range that says the same fact makes it old news:
 *
 *   VM_STARTED, VM_DESTROYED           the VM; what is free on its machine
 *   MACHINE_ADDED, MACHINE_REMOVED     whether the machine is there, its size, whether it is
 *                                      cordoned, what is free on it
 *   MACHINE_RESIZED                    its size, what is free on it
 *   MACHINE_CORDONED, _UNCORDONED      whether it is cordoned, what is free on it
 *   any other                          something of its own: it is always needed
 *
 * An event is needed while one of its facts is said by no later one. So the last event that says a
 * fact is always kept, and the kept ones, in the order of seq, lead to the same picture as all. A
 * range that begins later keeps the same events of those it has: what is needed depends on what
 * comes after an event alone. Events that a filter leaves out must not be shown here: they cannot
 * make old what the reader is told. Pure; memory is the caller's.
 */
#ifndef FLY_EDGE_LATEST_H
#define FLY_EDGE_LATEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/index.h"
#include "proto/wire/event.h"

/* One kind of objects: of each a key, what was said of it, and its hash. Private. */
struct latest_table {
    uint8_t *keys;
    uint32_t key_size;
    uint32_t count;
    uint32_t *hashes;
    uint8_t *facts;
    struct index index;
};

struct latest {
    struct latest_table vms;      /* by id */
    struct latest_table machines; /* by name, zero behind it */
    uint32_t events_max;
    uint64_t seed;
};

/* For ranges of at most events_max. */
size_t latest_size(uint32_t events_max);
/* memory: latest_size bytes, zeroed. `seed`: names come from others. */
void latest_init(struct latest *l, void *memory, uint32_t events_max, uint64_t seed);
/* Another range begins. O(objects of the last one). */
void latest_begin(struct latest *l);
/* The range's events from the last to the first, of one slice. True: it is needed. O(1). */
bool latest_needs(struct latest *l, const struct event *event);

#endif
