/*
 * shed - the order of a bounded queue of work with deadlines, and what of it is never done.
 *
 * A queue that is served in order while more comes than can be done fills with work that is almost
 * late: each item is begun just before its deadline and ends just after it, and nothing of what is
 * done is of use to anyone. So:
 *
 *   - what is late, or cannot be through in time, is handed back when it is met, not begun;
 *   - in order of arrival while all goes well; once an item is met that waited more than half of
 *     its time, the newest first until no item with a deadline waits any more: the newest have the
 *     most time left, and the oldest, who would be late anyway, wait at the other end in case the
 *     overload passes (adaptive LIFO: B. Maurer, "Fail at Scale", ACM Queue 13/8, 2015);
 *   - full: in order, a new item is refused; newest first, the one with the nearest deadline goes;
 *   - items without a deadline wait in a line of their own, in order: every eighth turn is theirs
 *     during overload, so that nobody starves for ever.
 *
 * How long an item takes is learned from what was served, biased low: handed back is what *surely*
 * is late. O(log n) each. Pure: the caller owns clock, lock and threads.
 */
#ifndef FLY_WIRE_SHED_H
#define FLY_WIRE_SHED_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/list.h"

/* Embedded in what waits. All but deadline_us is the queue's from put until it is given back. */
struct shed_item {
    struct fly_list node;
    int64_t deadline_us; /* 0: none */
    int64_t posted_us;
    uint32_t place; /* in the heap, from 1 */
    bool queued;
};

/* Caller's memory, private. */
struct shed {
    struct fly_list timed; /* by arrival */
    struct fly_list open;  /* without a deadline, by arrival */
    struct shed_item **heap;
    uint32_t timed_count;
    uint32_t count;
    uint32_t max;
    uint32_t turn;
    bool newest_first;
    int64_t service_us; /* what an item takes at least, usually */
};

/* heap: max + 1 places (max ≥ 1), the queue's for its life. */
void shed_init(struct shed *s, struct shed_item **heap, uint32_t max);
/*
 * Puts an item at the end. False: full, and nothing there is worth less. What is handed back —
 * late, displaced, or the item itself where its time is up already — is appended to `late` (a
 * list of the caller's).
 */
bool shed_put(struct shed *s, struct shed_item *item, int64_t now_us, struct fly_list *late);
/* What to do next, or NULL: nothing waits. What is late is appended to `late`. */
struct shed_item *shed_take(struct shed *s, int64_t now_us, struct fly_list *late);
/* Takes an item out again; false: it was taken or handed back before. */
bool shed_withdraw(struct shed *s, struct shed_item *item);
/* One item took so long from its take to its end. */
void shed_served(struct shed *s, int64_t took_us);

#endif
