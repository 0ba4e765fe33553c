/*
 * duplicate - the same machine brought by two slices: the older one keeps it, the newer cordons it.
 *
 * Every node computes the same order of slices: by the wall time of their founding, then by tag.
 * The owner of a slice looks through its machines, some at a time, whenever the catalog's version
 * moved, and says which are to be cordoned (an elder has a machine of that name) and which may be
 * uncordoned again. Nothing is remembered of the reason, so a restart changes nothing: a machine is
 * cordoned when an elder has it or the inventory says so, else open. Uncordoning waits until every
 * slice that was ever seen and is not forgotten was heard of (duplicate_settled): an elder that is
 * away still has its machines. Slices whose founding is not known yet decide nothing.
 *
 * Pure.
 */
#ifndef FLY_CATALOG_DUPLICATE_H
#define FLY_CATALOG_DUPLICATE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/catalog/catalog.h"
#include "node/catalog/seen.h"

enum { DUPLICATE_LOOKS_MAX = 4096, DUPLICATE_SLICES_MAX = 16 };

struct duplicate_change {
    char name[EVENT_NAME_SIZE];
    bool cordon;    /* else uncordon */
    uint32_t elder; /* cordon: the slice that keeps the machine */
};

/* Caller's memory, zeroed; private but for what the last whole look found. */
struct duplicate {
    uint64_t cursor;
    uint64_t version; /* of the catalog when the look began */
    bool looking;
    bool changed; /* by this look: look again, as a change may be refused */
    bool looked;  /* one look was whole */
    uint32_t counting;
    char counting_name[EVENT_NAME_SIZE];
    uint32_t counting_elder;

    uint32_t count;             /* machines that an elder has too */
    char name[EVENT_NAME_SIZE]; /* one of them, */
    uint32_t elder;             /* and who keeps it */
};

/* Looks at up to DUPLICATE_LOOKS_MAX machines of the slice and tells up to `max` changes to make;
 * call it about once a second. `open` says whether the inventory has this machine and does not
 * cordon it. */
uint32_t duplicate_step(struct duplicate *d, const struct catalog *c, uint32_t slice, bool settled,
                        bool (*open)(void *user, const char *name), void *user,
                        struct duplicate_change *out, uint32_t max);

/* Of every slice in `seen` that is not forgotten there is a picture in the catalog. O(slices). */
bool duplicate_settled(const struct catalog *c, const struct seen *s);
/* a is older than b, by founding time and tag; both times are known. */
bool duplicate_older(int64_t a_founded_ms, uint32_t a, int64_t b_founded_ms, uint32_t b);

#endif
