/*
 * book - what the owner has given away beyond what is applied: holds, and commands on their way.
 *
 * A flight is one of them. HELD: a reservation in memory, ends by commit, close or time. WAITING:
 * a command for the next batch. PROPOSED: in a batch whose fate the log decides; it neither expires
 * nor closes. A flight keeps its reserve on a machine from its first state to its end, so that
 * applied + proposed + held ≤ capacity (I1). Pure; bounded by flights_max.
 */
#ifndef FLY_SLICE_BOOK_H
#define FLY_SLICE_BOOK_H

#include "node/slice/state.h"
#include "proto/base/index.h"
#include "proto/base/list.h"
#include "proto/base/rng.h"
#include "proto/wire/placement.h"

enum flight_state { FLIGHT_FREE = 0, FLIGHT_HELD, FLIGHT_WAITING, FLIGHT_PROPOSED };

enum { FLIGHT_WAITERS_MAX = 3 };

/* What a flight takes from a machine while it lasts: a LAUNCH its size, a shrinking or removed
 * machine what it is about to lose. */
struct reserve {
    uint32_t machine;
    uint32_t cores;
    uint64_t memory_bytes;
};

/* Who is answered when the flight lands. */
struct waiter {
    uint64_t ticket;
    enum owner_call_kind kind;
};

struct flight {
    enum flight_state state;
    struct command command;
    struct reserve reserve;
    struct hold_id id;  /* LAUNCH only */
    int64_t expires_ms; /* HELD: boot clock */
    uint64_t batch;     /* PROPOSED */
    uint32_t hash;      /* of (subject, key) */
    bool keyed;         /* in the index by key: LAUNCH, BIND, CANCEL */
    struct waiter waiters[FLIGHT_WAITERS_MAX];
    uint32_t waiter_count;
    struct fly_list link; /* in the list of its state, or of the free */
};

struct book {
    struct flight *flights;
    uint32_t flights_max;
    uint32_t flight_count;
    uint32_t fresh; /* flights from here on were never used: their memory is not touched */
    struct fly_list lists[4]; /* by flight_state; HELD in order of expiry, FREE the last given back
                               * first, the others of arrival */
    struct index by_key;
    uint64_t *memory_held; /* per machine slot */
    uint32_t *cores_held;
    uint64_t hold_counter;
    uint64_t hash_seed;
};

size_t book_size(uint32_t flights_max, uint32_t machines_max);
void book_init(struct book *b, void *memory, uint32_t flights_max, uint32_t machines_max,
               uint64_t hash_seed);

/* A flight in `state` for this command, with its reserve (NULL: none). NULL: the book is full. */
struct flight *book_add(struct book *b, const struct command *command, enum flight_state state,
                        const struct reserve *reserve);
/* Moves a flight to the end of another state's list. */
void book_move(struct book *b, struct flight *f, enum flight_state state);
/* Ends a flight and gives back what it reserved. */
void book_drop(struct book *b, struct flight *f);
/* First of a state's list; NULL: none. */
struct flight *book_first(const struct book *b, enum flight_state state);
/* The keyed flight of (subject, key) that is not FREE; NULL: none. `home` flights are unique. */
struct flight *book_find(const struct book *b, const char *subject, const struct fly_key *key);
/* The flight of this hold id; NULL: the hold is dead for ever. */
struct flight *book_find_hold(const struct book *b, const struct hold_id *id);
/* False: no room for one more waiter. */
bool flight_wait(struct flight *f, uint64_t ticket, enum owner_call_kind kind);

/* Free on a machine by the book. */
uint32_t book_cores_free(const struct book *b, const struct slice_state *s, uint32_t machine);
uint64_t book_memory_free(const struct book *b, const struct slice_state *s, uint32_t machine);
/* The machine of the region that is not cordoned with the most free cores (ties by chance) that can
 * take the spec; SLICE_NONE when none can. O(machines). */
uint32_t book_choose(const struct book *b, const struct slice_state *s, const char *region,
                     uint32_t cores, uint64_t memory_bytes, struct fly_rng *rng);

#endif
