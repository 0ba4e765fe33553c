#include "proto/wire/shed.h"

#include <stddef.h>

#include "proto/base/check.h"

enum { OPEN_TURN = 8, ROOM_PART = 16, SERVICE_DOWN = 4, SERVICE_UP = 64 };

void shed_init(struct shed *s, struct shed_item **heap, uint32_t max)
{
    FLY_CHECK(max >= 1);
    *s = (struct shed){.heap = heap, .max = max};
    fly_list_init(&s->timed);
    fly_list_init(&s->open);
}

static struct shed_item *item_at(struct fly_list *node)
{
    return FLY_CONTAINER(node, struct shed_item, node);
}

static void heap_set(struct shed *s, uint32_t place, struct shed_item *item)
{
    s->heap[place] = item;
    item->place = place;
}

static void heap_rise(struct shed *s, struct shed_item *item, uint32_t place)
{
    while (place > 1 && s->heap[place / 2]->deadline_us > item->deadline_us) {
        heap_set(s, place, s->heap[place / 2]);
        place /= 2;
    }
    heap_set(s, place, item);
}

static void heap_sink(struct shed *s, struct shed_item *item, uint32_t place)
{
    for (;;) {
        uint32_t child = 2 * place;

        if (child < s->timed_count &&
            s->heap[child + 1]->deadline_us < s->heap[child]->deadline_us) {
            child++;
        }
        if (child > s->timed_count || s->heap[child]->deadline_us >= item->deadline_us) {
            break;
        }
        heap_set(s, place, s->heap[child]);
        place = child;
    }
    heap_set(s, place, item);
}

static void add(struct shed *s, struct shed_item *item)
{
    s->count++;
    item->queued = true;
    if (item->deadline_us == 0) {
        item->place = 0;
        fly_list_append(&s->open, &item->node);
        return;
    }
    s->timed_count++;
    fly_list_append(&s->timed, &item->node);
    heap_rise(s, item, s->timed_count);
}

static void drop(struct shed *s, struct shed_item *item)
{
    fly_list_drop(&item->node);
    item->queued = false;
    s->count--;
    if (item->deadline_us != 0) {
        struct shed_item *last = s->heap[s->timed_count--];

        if (last != item) {
            heap_rise(s, last, item->place);
            heap_sink(s, last, last->place);
        }
        s->newest_first = s->newest_first && s->timed_count > 0;
    }
}

static void hand_back(struct shed *s, struct shed_item *item, struct fly_list *late)
{
    drop(s, item);
    fly_list_append(late, &item->node);
}

/* Never more than half of what it had: else a slow hour would end all quick work for good, since
 * nothing would be served of which to learn better. */
static int64_t takes_us(const struct shed *s, const struct shed_item *item)
{
    int64_t half_us = (item->deadline_us - item->posted_us) / 2;

    return s->service_us < half_us ? s->service_us : half_us;
}

static bool surely_late(const struct shed *s, const struct shed_item *item, int64_t now_us)
{
    return item->deadline_us - now_us <= takes_us(s, item);
}

static void sweep(struct shed *s, int64_t now_us, struct fly_list *late)
{
    while (s->timed_count > 0 && surely_late(s, s->heap[1], now_us)) {
        /* It may have died in a queue that is served in order: then that order is no good. */
        s->newest_first = true;
        hand_back(s, s->heap[1], late);
    }
}

bool shed_put(struct shed *s, struct shed_item *item, int64_t now_us, struct fly_list *late)
{
    item->posted_us = now_us;
    item->queued = false;
    sweep(s, now_us, late);
    if (item->deadline_us != 0 && item->deadline_us <= now_us) {
        fly_list_append(late, &item->node);
        return true;
    }
    if (s->count == s->max) {
        if (!s->newest_first) {
            return false;
        }
        hand_back(s, s->heap[1], late);
    }
    add(s, item);
    return true;
}

/* The longer it had to wait, the less exact all this is: it must have some room beside. */
static bool has_room(const struct shed *s, const struct shed_item *item, int64_t now_us)
{
    int64_t waited_us = now_us - item->posted_us;

    return item->deadline_us - now_us > takes_us(s, item) + waited_us / ROOM_PART;
}

static struct shed_item *take_timed(struct shed *s, int64_t now_us, struct fly_list *late)
{
    while (s->timed_count > 0) {
        struct shed_item *item = item_at(s->newest_first ? s->timed.prev : s->timed.next);

        /* Half of its time is gone: whoever stands behind it will fare worse. */
        if (!s->newest_first &&
            now_us - item->posted_us > (item->deadline_us - item->posted_us) / 2) {
            s->newest_first = true;
            continue;
        }
        if (has_room(s, item, now_us)) {
            drop(s, item);
            return item;
        }
        hand_back(s, item, late);
    }
    return NULL;
}

static struct shed_item *take_open(struct shed *s)
{
    struct shed_item *item = item_at(s->open.next);

    drop(s, item);
    return item;
}

static bool open_is_next(struct shed *s)
{
    if (fly_list_empty(&s->open)) {
        return false;
    }
    if (s->timed_count == 0) {
        return true;
    }
    if (s->newest_first) {
        return ++s->turn % OPEN_TURN == 0;
    }
    return item_at(s->open.next)->posted_us <= item_at(s->timed.next)->posted_us;
}

struct shed_item *shed_take(struct shed *s, int64_t now_us, struct fly_list *late)
{
    struct shed_item *item = NULL;

    sweep(s, now_us, late);
    if (open_is_next(s)) {
        return take_open(s);
    }
    item = take_timed(s, now_us, late);
    return item != NULL || fly_list_empty(&s->open) ? item : take_open(s);
}

bool shed_withdraw(struct shed *s, struct shed_item *item)
{
    if (!item->queued) {
        return false;
    }
    drop(s, item);
    return true;
}

void shed_served(struct shed *s, int64_t took_us)
{
    /* Down quickly, up slowly: of a mixture of methods this is near the short ones. */
    s->service_us +=
        (took_us - s->service_us) / (took_us < s->service_us ? SERVICE_DOWN : SERVICE_UP);
}
