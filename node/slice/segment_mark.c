/*
 * segment_mark - codec of the mark, and the rules for the metadata files. See segment_mark.h.
 *
 * Pure.
 */
#include "node/slice/segment_mark.h"
#include "proto/base/bytes.h"

#include <inttypes.h>
#include <string.h>

enum { MARK_CRC_AT = SEGMENT_MARK_SLOT - 4 };

static const uint8_t mark_magic[8] = {'F', 'L', 'Y', 'M', 'A', 'R', 'K', '1'};

static void put_metadata(struct fly_writer *w, const struct segment_metadata *m)
{
    fly_put_u64(w, m->version);
    fly_put_u64(w, m->term);
    fly_put_u64(w, m->vote);
}

static void get_metadata(struct fly_reader *r, struct segment_metadata *m)
{
    m->version = fly_get_u64(r);
    m->term = fly_get_u64(r);
    m->vote = fly_get_u64(r);
}

void segment_mark_encode(const struct segment_crc *crc, const struct segment_mark *mark,
                         uint8_t out[SEGMENT_MARK_SLOT])
{
    memset(out, 0, SEGMENT_MARK_SLOT);
    struct fly_writer w = fly_writer_over(out, MARK_CRC_AT);
    fly_put_bytes(&w, mark_magic, sizeof mark_magic);
    fly_put_u64(&w, mark->counter);
    fly_put_u64(&w, mark->index);
    fly_put_u64(&w, mark->term);
    put_metadata(&w, &mark->previous);
    put_metadata(&w, &mark->current);
    put_metadata(&w, &mark->next);
    fly_store_u32(out + MARK_CRC_AT, segment_crc_update(crc, 0, out, MARK_CRC_AT));
}

static bool slot_decode(const struct segment_crc *crc, const uint8_t *slot, unsigned number,
                        struct segment_mark *out)
{
    if (segment_crc_update(crc, 0, slot, MARK_CRC_AT) != fly_load_u32(slot + MARK_CRC_AT) ||
        memcmp(slot, mark_magic, sizeof mark_magic) != 0) {
        return false;
    }
    struct fly_reader r =
        fly_reader_over(slot + sizeof mark_magic, MARK_CRC_AT - sizeof mark_magic);
    out->counter = fly_get_u64(&r);
    out->index = fly_get_u64(&r);
    out->term = fly_get_u64(&r);
    get_metadata(&r, &out->previous);
    get_metadata(&r, &out->current);
    get_metadata(&r, &out->next);
    return out->counter % SEGMENT_MARK_SLOTS == number;
}

enum fly_status segment_mark_decode(const struct segment_crc *crc, const uint8_t *data, size_t size,
                                    struct segment_mark *out, unsigned *bad,
                                    struct fly_error *error)
{
    static const uint8_t zeros[SEGMENT_MARK_SLOT];
    bool found = false;
    *bad = 0;
    if (size != SEGMENT_MARK_SIZE) {
        return fly_error_set(error, FLY_DATA_LOSS, "mark: offset %zu: has %zu bytes, not %d",
                             size < SEGMENT_MARK_SIZE ? size : (size_t)SEGMENT_MARK_SIZE, size,
                             SEGMENT_MARK_SIZE);
    }
    for (unsigned i = 0; i < SEGMENT_MARK_SLOTS; i++) {
        const uint8_t *slot = data + (size_t)i * SEGMENT_MARK_SLOT;
        struct segment_mark mark;
        if (!slot_decode(crc, slot, i, &mark)) {
            *bad += memcmp(slot, zeros, sizeof zeros) != 0;
        } else if (!found || mark.counter > out->counter) {
            *out = mark;
            found = true;
        }
    }
    if (!found) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "mark: offset 0: no valid slot: the end of the log cannot be told");
    }
    return FLY_OK;
}

void segment_mark_intend(struct segment_mark *mark, uint64_t term, uint64_t vote)
{
    if (mark->next.version != 0) {
        mark->previous = mark->current;
        mark->current = mark->next;
    }
    mark->next.version = mark->current.version + 1;
    mark->next.term = term;
    mark->next.vote = vote;
}

enum fly_status segment_metadata_decode(unsigned number, const uint8_t *data, size_t size,
                                        struct segment_metadata *out, struct fly_error *error)
{
    memset(out, 0, sizeof *out);
    if (data == NULL || size < SEGMENT_METADATA_SIZE) {
        return FLY_OK;
    }
    if (size > SEGMENT_METADATA_SIZE) {
        return fly_error_set(error, FLY_DATA_LOSS, "metadata%u: offset %d: has %zu bytes, not %d",
                             number, SEGMENT_METADATA_SIZE, size, SEGMENT_METADATA_SIZE);
    }
    uint64_t format = fly_load_u64(data);
    if (format != 1) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "metadata%u: offset 0: format %" PRIu64 " is not known", number,
                             format);
    }
    out->version = fly_load_u64(data + 8);
    out->term = fly_load_u64(data + 16);
    out->vote = fly_load_u64(data + 24);
    if (out->version == 0 || out->version % 2 != number % 2) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "metadata%u: offset 8: version %" PRIu64 " is never written there",
                             number, out->version);
    }
    return FLY_OK;
}

static bool same(const struct segment_metadata *x, const struct segment_metadata *y)
{
    return x->version == y->version && x->term == y->term && x->vote == y->vote;
}

/* The first field in which a file differs from what was expected. */
static enum fly_status differs(struct fly_error *error, unsigned number,
                               const struct segment_metadata *file,
                               const struct segment_metadata *wanted)
{
    if (file->version == 0) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "metadata%u: offset 0: missing or cut, the mark remembers version "
                             "%" PRIu64,
                             number, wanted->version);
    }
    const char *what = file->version != wanted->version ? "version"
                       : file->term != wanted->term     ? "term"
                                                        : "vote";
    unsigned at = *what == 'v' && what[1] == 'e' ? 8 : *what == 't' ? 16 : 24;
    uint64_t have = at == 8 ? file->version : at == 16 ? file->term : file->vote;
    uint64_t want = at == 8 ? wanted->version : at == 16 ? wanted->term : wanted->vote;
    return fly_error_set(error, FLY_DATA_LOSS,
                         "metadata%u: offset %u: %s %" PRIu64 ", the mark remembers %" PRIu64,
                         number, at, what, have, want);
}

/* Which file holds a version: metadata1 the odd ones. */
static unsigned slot_of(uint64_t version)
{
    return version % 2 == 1 ? 0 : 1;
}

static enum fly_status check_with_mark(const struct segment_metadata files[2],
                                       const struct segment_mark *mark,
                                       struct segment_metadata *newest, struct fly_error *error)
{
    /* `current` stands where it stood before `next` was begun; the other file is `next`, or still
     * `previous`, or neither when its creation did not finish */
    unsigned at = slot_of(mark->current.version);
    const struct segment_metadata *other = &files[1 - at];
    const struct segment_metadata *held = &files[at];
    if (!same(held, &mark->current)) {
        return differs(error, at + 1, held, &mark->current);
    }
    if (mark->next.version != 0 && same(other, &mark->next)) {
        *newest = mark->next;
        return FLY_OK;
    }
    if (!same(other, &mark->previous)) {
        return differs(error, 2 - at, other,
                       mark->next.version != 0 ? &mark->next : &mark->previous);
    }
    *newest = mark->current;
    return FLY_OK;
}

static enum fly_status check_alone(const struct segment_metadata files[2],
                                   struct segment_metadata *newest, struct fly_error *error)
{
    unsigned at = files[1].version > files[0].version ? 1 : 0;
    const struct segment_metadata *older = &files[1 - at];
    *newest = files[at];
    if (newest->version - older->version != 1 && newest->version != 0) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "metadata%u: offset 8: version %" PRIu64
                             " does not follow version %" PRIu64,
                             at + 1, newest->version, older->version);
    }
    if (older->term > newest->term ||
        (older->term == newest->term && older->vote != 0 && older->vote != newest->vote)) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "metadata%u: offset 16: term %" PRIu64 " goes back", at + 1,
                             newest->term);
    }
    return FLY_OK;
}

enum fly_status segment_metadata_check(const struct segment_metadata files[2],
                                       const struct segment_mark *mark,
                                       struct segment_metadata *newest, struct fly_error *error)
{
    memset(newest, 0, sizeof *newest);
    return mark != NULL ? check_with_mark(files, mark, newest, error)
                        : check_alone(files, newest, error);
}
