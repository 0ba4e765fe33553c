/*
 * front_watch_batch - the bytes of events, made once for all watchers that stand at the same place
 * with the same filter: a hundred watchers cost a hundred copies into sockets, not a hundred
 * readings of the ring.
 *
 * The ring is the only buffer of events: a batch here is a few that were made last, found by
 * {slice, incarnation, from, to, filter}, and none is kept for a watcher. For LATEST a range is
 * read from its end (node/edge/latest.h); the plan, which of its events are needed, is kept too, so
 * that a range of many batches, or one that is told to watchers further and further behind, is read
 * once.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "node/edge/latest.h"
#include "node/front_watch_parts.h"
#include "proto/base/check.h"

enum {
    BATCHES_MAX = 32,
    PLANS_MAX = 4,
    SCAN_MAX = 8192, /* events that one batch of a filter looks at */
    /* Of an event on the wire: 14 tags, texts with lengths, numbers as varints. */
    PACKED_EVENT_MAX = 4 + 14 + (1 + SLICE_TEXT_SIZE) + (1 + VMID_TEXT_SIZE) +
                       2 * (1 + EVENT_NAME_SIZE) + (1 + EVENT_REGION_SIZE) + 9 * 10,
};

_Static_assert(WATCH_BATCH_MAX *PACKED_EVENT_MAX + WATCH_CURSOR_ROOM < 1 << 20,
               "a batch fits a frame");

struct key {
    uint32_t tag;
    uint64_t incarnation;
    uint64_t resets; /* of the stream: what a ring told before may have been a lie */
    uint64_t to;
    struct watch_filter filter;
};

struct kept {
    struct key key;
    uint64_t from;
    struct watch_batch batch;
    size_t max;
};

/* Which events of from..key.to are needed, the last first. */
struct plan {
    struct key key;
    uint64_t from;
    uint64_t *needed; /* STREAM_EVENTS_MAX */
    uint32_t count;
    struct latest latest; /* what needed .. key.to say */
    void *memory;
    size_t memory_size;
    uint64_t used;
};

struct watch_batches {
    struct kept kept[BATCHES_MAX];
    uint32_t turn; /* the next one to be made again */
    struct plan plans[PLANS_MAX];
    struct kept page;
    uint64_t seed;
    uint64_t clock;
};

struct watch_batches *watch_batches_create(uint64_t seed)
{
    struct watch_batches *b = calloc(1, sizeof *b);

    FLY_CHECK(b != NULL);
    b->seed = seed;
    return b;
}

void watch_batches_destroy(struct watch_batches *b)
{
    for (size_t i = 0; i < BATCHES_MAX; i++) {
        free(b->kept[i].batch.bytes);
    }
    for (size_t i = 0; i < PLANS_MAX; i++) {
        if (b->plans[i].memory != NULL) {
            (void)munmap(b->plans[i].memory, b->plans[i].memory_size);
        }
    }
    free(b->page.batch.bytes);
    free(b);
}

bool watch_wanted(const struct watch_filter *filter, const struct event *event)
{
    return (filter->region[0] == '\0' || strcmp(filter->region, event->region) == 0) &&
           (filter->types == 0 || (event->type < 64 && (filter->types >> event->type & 1) != 0));
}

static bool filters_equal(const struct watch_filter *a, const struct watch_filter *b)
{
    return a->types == b->types && a->latest == b->latest && strcmp(a->region, b->region) == 0;
}

static bool keys_equal(const struct key *a, const struct key *b)
{
    return a->tag == b->tag && a->incarnation == b->incarnation && a->resets == b->resets &&
           a->to == b->to && filters_equal(&a->filter, &b->filter);
}

/* --- bytes --- */

static size_t put_varint(uint8_t *out, size_t value)
{
    size_t size = 0;

    for (; value >= 0x80; value >>= 7) {
        out[size++] = (uint8_t)(value | 0x80);
    }
    out[size++] = (uint8_t)value;
    return size;
}

static void batch_begin(struct kept *k)
{
    k->batch.size = 0;
    k->batch.count = 0;
}

/* Field 1 of WatchReply, once more. */
static void batch_add(struct kept *k, const struct event *event)
{
    struct event_message_pb message;

    if (k->max - k->batch.size < PACKED_EVENT_MAX + WATCH_CURSOR_ROOM) {
        k->max = 2 * k->max + PACKED_EVENT_MAX + WATCH_CURSOR_ROOM;
        k->batch.bytes = realloc(k->batch.bytes, k->max);
        FLY_CHECK(k->batch.bytes != NULL);
    }
    event_message_fill(&message, event);
    size_t size = fly__v1__event__get_packed_size(&message.pb);
    FLY_CHECK(size + 4 <= PACKED_EVENT_MAX);
    uint8_t *at = k->batch.bytes + k->batch.size;
    *at++ = 1 << 3 | 2;
    at += put_varint(at, size);
    (void)fly__v1__event__pack(&message.pb, at);
    k->batch.size = (size_t)(at - k->batch.bytes) + size;
    k->batch.count++;
}

/* --- LATEST --- */

static void plan_make(struct watch_batches *b, struct plan *p)
{
    size_t needed_size = STREAM_EVENTS_MAX * sizeof *p->needed;

    p->memory_size = needed_size + latest_size(STREAM_EVENTS_MAX);
    p->memory = mmap(NULL, p->memory_size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    FLY_CHECK(p->memory != MAP_FAILED);
    p->needed = p->memory;
    latest_init(&p->latest, (uint8_t *)p->memory + needed_size, STREAM_EVENTS_MAX, b->seed);
}

static struct plan *plan_of(struct watch_batches *b, const struct key *key)
{
    struct plan *oldest = &b->plans[0];

    for (size_t i = 0; i < PLANS_MAX; i++) {
        struct plan *p = &b->plans[i];
        if (p->memory != NULL && keys_equal(&p->key, key)) {
            p->used = ++b->clock;
            return p;
        }
        oldest = p->used < oldest->used ? p : oldest;
    }
    if (oldest->memory == NULL) {
        plan_make(b, oldest);
    }
    latest_begin(&oldest->latest);
    oldest->key = *key;
    oldest->from = key->to + 1;
    oldest->count = 0;
    oldest->used = ++b->clock;
    return oldest;
}

/* Reads the ring backwards, from where the plan begins down to `from`. */
static void plan_extend(struct plan *p, const struct stream *st, uint64_t from)
{
    struct event e;

    while (p->from > from) {
        p->from--;
        FLY_CHECK(stream_event(st, p->from, &e));
        if (watch_wanted(&p->key.filter, &e) && latest_needs(&p->latest, &e)) {
            p->needed[p->count++] = p->from;
        }
    }
}

static void make_latest(struct watch_batches *b, struct kept *k, const struct stream *st)
{
    struct plan *p = plan_of(b, &k->key);
    uint32_t end = 0; /* needed[.. end) are at k->from or behind it; they descend */
    uint32_t high = 0;
    struct event e;

    plan_extend(p, st, k->from);
    for (high = p->count; end < high;) {
        uint32_t middle = end + (high - end) / 2;
        if (p->needed[middle] >= k->from) {
            end = middle + 1;
        } else {
            high = middle;
        }
    }
    while (end > 0 && k->batch.count < WATCH_BATCH_MAX) {
        end--;
        FLY_CHECK(stream_event(st, p->needed[end], &e));
        batch_add(k, &e);
    }
    k->batch.next = end > 0 ? p->needed[end - 1] : k->key.to + 1;
}

/* --- all events --- */

static void make_every(struct kept *k, const struct stream *st)
{
    uint64_t most = k->from + SCAN_MAX - 1;
    uint64_t to = k->key.to < most ? k->key.to : most;
    uint64_t seq = k->from;
    struct event e;

    for (; seq <= to && k->batch.count < WATCH_BATCH_MAX; seq++) {
        FLY_CHECK(stream_event(st, seq, &e));
        if (watch_wanted(&k->key.filter, &e)) {
            batch_add(k, &e);
        }
    }
    k->batch.next = seq;
}

struct watch_batch *watch_batch_of(struct watch_batches *b, const struct stream *st,
                                   const struct watch_filter *filter, uint64_t from, uint64_t to)
{
    const struct key key = {.tag = st->tag,
                            .incarnation = st->incarnation,
                            .resets = st->resets,
                            .to = to,
                            .filter = *filter};

    for (size_t i = 0; i < BATCHES_MAX; i++) {
        struct kept *k = &b->kept[i];
        if (k->from == from && keys_equal(&k->key, &key)) {
            return &k->batch;
        }
    }
    struct kept *k = &b->kept[b->turn];
    b->turn = (b->turn + 1) % BATCHES_MAX;
    batch_begin(k);
    k->key = key;
    k->from = from;
    if (filter->latest) {
        make_latest(b, k, st);
    } else {
        make_every(k, st);
    }
    return &k->batch;
}

struct watch_batch *watch_batch_of_page(struct watch_batches *b, struct event_message *page,
                                        const struct watch_filter *filter)
{
    struct event *events = calloc(WATCH_BATCH_MAX + 1, sizeof *events);
    size_t latest_bytes = latest_size(WATCH_BATCH_MAX);
    void *memory = filter->latest ? calloc(1, latest_bytes) : NULL;
    struct latest latest;
    size_t count = 0;

    FLY_CHECK(events != NULL && (memory != NULL || !filter->latest));
    while (count <= WATCH_BATCH_MAX && event_message_next(page, &events[count])) {
        count += watch_wanted(filter, &events[count]);
    }
    if (filter->latest) {
        latest_init(&latest, memory, WATCH_BATCH_MAX, b->seed);
        for (size_t i = count; i > 0; i--) {
            if (!latest_needs(&latest, &events[i - 1])) {
                events[i - 1].seq = 0;
            }
        }
    }
    batch_begin(&b->page);
    for (size_t i = 0; i < count; i++) {
        if (events[i].seq != 0) {
            batch_add(&b->page, &events[i]);
        }
    }
    b->page.batch.next = page->to + 1;
    free(memory);
    free(events);
    return &b->page.batch;
}
