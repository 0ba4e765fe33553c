/*
 * seen - the highest event of every slice that this node ever saw, and which slices are forgotten.
 *
 * A slice's log has a random incarnation; within it the numbers of events only grow. An owner that
 * comes back below what others saw has lost what it had acknowledged (a restored backup, an eaten
 * tail) and stays quarantined (DESIGN 4.10). The last two incarnations of a slice are kept: the one
 * that was seen first last counts as the present one, and a late word of the other changes nothing
 * about that. Nothing is evicted: past SEEN_SLICES_MAX a new slice is refused. Pure; memory is one
 * zeroed block from the caller.
 */
#ifndef FLY_CATALOG_SEEN_H
#define FLY_CATALOG_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seen;

enum { SEEN_SLICES_MAX = 4096, SEEN_LOGS_MAX = 2 };

struct seen_log {
    uint64_t incarnation; /* 0: none */
    uint64_t seq;
};

struct seen_slice {
    uint32_t tag;
    bool forgotten;                      /* declared lost: what returns of it is quarantined */
    struct seen_log logs[SEEN_LOGS_MAX]; /* the present one first */
};

size_t seen_size(void);
struct seen *seen_init(void *memory, uint64_t hash_seed);

/* The slice had this event in this log. False: no room for another slice. O(1). */
bool seen_note(struct seen *s, uint32_t tag, uint64_t incarnation, uint64_t seq);
/* The slice was declared lost; known or not. False: no room. There is no way back. */
bool seen_forget(struct seen *s, uint32_t tag);
/* Somebody accepts that the slice goes on from here and what came later is lost. False: no room. */
bool seen_accept(struct seen *s, uint32_t tag, uint64_t incarnation, uint64_t seq);

/* The highest event of the slice's present log, and whether it was forgotten. False: never seen. Of
 * a slice that was only forgotten the incarnation and seq are 0. Each out may be NULL. */
bool seen_find(const struct seen *s, uint32_t tag, uint64_t *incarnation, uint64_t *seq,
               bool *forgotten);
/* Whether an owner that is at `seq` of this log may decide: the slice is not forgotten, and nobody
 * here saw a later event of that log, or a log that came after it. */
bool seen_allows(const struct seen *s, uint32_t tag, uint64_t incarnation, uint64_t seq);

/* In no particular order, up to seen_count; borrowed until the next change. */
uint32_t seen_count(const struct seen *s);
const struct seen_slice *seen_at(const struct seen *s, uint32_t i);
/* Puts one slice as it was saved. False: no room, or it is there already. */
bool seen_put(struct seen *s, const struct seen_slice *slice);
/* Empties it. */
void seen_clear(struct seen *s);
/* Moves on with every change: what was saved at this version is still true. */
uint64_t seen_version(const struct seen *s);

#endif
