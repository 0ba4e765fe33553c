/*
 * reconcile - makes the slice's machines what the inventory says, by log entries (DESIGN 4.10).
 *
 * The inventory founds the slice once; later differences are entries: add, resize, remove, cordon,
 * uncordon. A remove or a shrink that its VMs do not allow is refused by the owner and reported,
 * not forced. An inventory that nobody told changes nothing. Shell.
 */
#ifndef FLY_NODE_RECONCILE_H
#define FLY_NODE_RECONCILE_H

#include <stdbool.h>
#include <stddef.h>

#include "node/host.h"
#include "node/inventory.h"
#include "node/slice/limits.h"

struct reconcile {
    const struct inventory *inventory;
    struct host *host;
    size_t next_machine;                       /* of the inventory */
    uint32_t next_slot;                        /* of the slice, for removes */
    uint8_t unmatched[SLICE_MACHINES_MAX / 8]; /* slots there at the start, not in the inventory */
    uint8_t open[SLICE_MACHINES_MAX / 8];      /* slots that the inventory has, not cordoned */
    uint32_t waiting;                          /* calls not answered yet */
    uint32_t added;
    uint32_t resized;
    uint32_t removed;
    uint32_t cordoned;
    uint32_t uncordoned;
    uint32_t refused;
    bool active;
    /* Leave machines cordoned that the inventory has open: the slice may have an elder with the
     * same machine, which node/catalog/duplicate.h decides later. Set it after reconcile_begin. */
    bool keep_cordons;
};

/* Tickets with this bit (and not bit 63) are reconcile's. */
#define RECONCILE_TICKET (UINT64_C(1) << 62)

/* Starts over; the host must be ready. */
void reconcile_begin(struct reconcile *r, const struct inventory *inventory, struct host *host);
/* Makes as many calls as may wait at once. True: all differences were made and answered. */
bool reconcile_step(struct reconcile *r, struct owner_now now);
/* The inventory has this machine of the slice, not cordoned; or it was told of none. */
bool reconcile_has_open(const struct reconcile *r, const char *name);
/* Cordons or uncordons one machine of the slice, in no round; the answer goes to reconcile_answer
 * like the others. False: there is no such machine, or no owner now. */
bool reconcile_set_cordon(struct reconcile *r, const char *name, bool cordon, struct owner_now now);
void reconcile_answer(struct reconcile *r, const struct owner_answer *answer);

#endif
