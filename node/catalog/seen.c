#include "node/catalog/seen.h"

#include "proto/base/check.h"
#include "proto/base/index.h"

struct seen {
    uint64_t hash_seed;
    uint64_t version;
    uint32_t count;
    struct index by_tag;
    struct seen_slice slices[SEEN_SLICES_MAX];
};

static size_t head_size(void)
{
    return (sizeof(struct seen) + 15) & ~(size_t)15;
}

size_t seen_size(void)
{
    return head_size() + index_size(SEEN_SLICES_MAX);
}

struct seen *seen_init(void *memory, uint64_t hash_seed)
{
    struct seen *s = memory;

    s->hash_seed = hash_seed;
    index_init(&s->by_tag, (uint8_t *)memory + head_size(), SEEN_SLICES_MAX);
    return s;
}

static uint32_t hash_tag(const struct seen *s, uint32_t tag)
{
    return (uint32_t)((tag ^ s->hash_seed) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static uint32_t find(const struct seen *s, uint32_t tag)
{
    struct index_cursor at = index_search(&s->by_tag, hash_tag(s, tag));

    for (;;) {
        uint32_t i = index_next(&s->by_tag, &at);
        if (i == UINT32_MAX || s->slices[i].tag == tag) {
            return i;
        }
    }
}

bool seen_put(struct seen *s, const struct seen_slice *slice)
{
    if (s->count == SEEN_SLICES_MAX || find(s, slice->tag) != UINT32_MAX) {
        return false;
    }
    s->slices[s->count] = *slice;
    index_add(&s->by_tag, hash_tag(s, slice->tag), s->count);
    s->count++;
    s->version++;
    return true;
}

static struct seen_slice *find_or_add(struct seen *s, uint32_t tag)
{
    uint32_t i = find(s, tag);

    if (i == UINT32_MAX) {
        i = s->count;
        if (!seen_put(s, &(struct seen_slice){.tag = tag})) {
            return NULL;
        }
    }
    return &s->slices[i];
}

bool seen_note(struct seen *s, uint32_t tag, uint64_t incarnation, uint64_t seq)
{
    struct seen_slice *slice = find_or_add(s, tag);

    if (slice == NULL || incarnation == 0) {
        return slice != NULL;
    }
    for (uint32_t i = 0; i < SEEN_LOGS_MAX; i++) {
        struct seen_log *log = &slice->logs[i];
        if (log->incarnation == incarnation) {
            s->version += seq > log->seq;
            log->seq = seq > log->seq ? seq : log->seq;
            return true;
        }
    }
    slice->logs[1] = slice->logs[0];
    slice->logs[0] = (struct seen_log){.incarnation = incarnation, .seq = seq};
    s->version++;
    return true;
}

bool seen_forget(struct seen *s, uint32_t tag)
{
    struct seen_slice *slice = find_or_add(s, tag);

    if (slice == NULL) {
        return false;
    }
    s->version += !slice->forgotten;
    slice->forgotten = true;
    return true;
}

bool seen_accept(struct seen *s, uint32_t tag, uint64_t incarnation, uint64_t seq)
{
    struct seen_slice *slice = find_or_add(s, tag);

    if (slice == NULL) {
        return false;
    }
    if (slice->logs[0].incarnation != incarnation) {
        slice->logs[1] = slice->logs[0];
    }
    slice->logs[0] = (struct seen_log){.incarnation = incarnation, .seq = seq};
    s->version++;
    return true;
}

bool seen_find(const struct seen *s, uint32_t tag, uint64_t *incarnation, uint64_t *seq,
               bool *forgotten)
{
    uint32_t i = find(s, tag);

    if (i == UINT32_MAX) {
        return false;
    }
    if (incarnation != NULL) {
        *incarnation = s->slices[i].logs[0].incarnation;
    }
    if (seq != NULL) {
        *seq = s->slices[i].logs[0].seq;
    }
    if (forgotten != NULL) {
        *forgotten = s->slices[i].forgotten;
    }
    return true;
}

bool seen_allows(const struct seen *s, uint32_t tag, uint64_t incarnation, uint64_t seq)
{
    uint32_t i = find(s, tag);

    if (i == UINT32_MAX) {
        return true;
    }
    const struct seen_slice *slice = &s->slices[i];
    if (slice->forgotten || slice->logs[1].incarnation == incarnation) {
        return false;
    }
    return slice->logs[0].incarnation != incarnation || slice->logs[0].seq <= seq;
}

void seen_clear(struct seen *s)
{
    while (s->count > 0) {
        s->count--;
        index_drop(&s->by_tag, hash_tag(s, s->slices[s->count].tag), s->count);
        s->version++;
    }
}

uint32_t seen_count(const struct seen *s)
{
    return s->count;
}

const struct seen_slice *seen_at(const struct seen *s, uint32_t i)
{
    FLY_CHECK(i < s->count);
    return &s->slices[i];
}

uint64_t seen_version(const struct seen *s)
{
    return s->version;
}
