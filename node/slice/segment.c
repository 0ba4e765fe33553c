/*
 * segment - the wrap, and the walk over batches. See segment.h for the format.
 *
 * Source: raft/uv.h of libraft 0.15 and what its loader accepts (docs/decisions/0002-journal.md).
 * Pure.
 */
#include "node/slice/segment.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

#include <inttypes.h>
#include <string.h>

enum {
    BATCH_HEAD = 16,                   /* two sums and the count */
    ENTRY_HEAD = 16,                   /* term, type, size */
    WITNESS_BUDGET = 64 * 1024 * 1024, /* bytes summed while looking behind a broken batch */
};

/* --- the wrap ------------------------------------------------------------------------------ */

size_t segment_wrap_size(size_t size)
{
    return SEGMENT_WRAP_SIZE + ((size + 7) & ~(size_t)7);
}

void segment_wrap_encode(uint8_t *out, const struct segment_wrap *wrap, const uint8_t *data,
                         size_t size)
{
    FLY_CHECK(size >= 1 && size <= UINT32_MAX);
    fly_store_u64(out, wrap->index);
    fly_store_u64(out + 8, wrap->term);
    fly_store_u64(out + 16, wrap->acknowledged);
    fly_store_u32(out + 24, (uint32_t)size);
    fly_store_u32(out + 28, 0);
    memcpy(out + SEGMENT_WRAP_SIZE, data, size);
    memset(out + SEGMENT_WRAP_SIZE + size, 0, segment_wrap_size(size) - SEGMENT_WRAP_SIZE - size);
}

static bool all_zero(const uint8_t *data, size_t size)
{
    while (size >= 8) {
        if (fly_load_u64(data) != 0) {
            return false;
        }
        data += 8;
        size -= 8;
    }
    while (size > 0) {
        if (*data++ != 0) {
            return false;
        }
        size--;
    }
    return true;
}

enum fly_status segment_wrap_decode(const uint8_t *data, size_t size, struct segment_wrap *wrap,
                                    const uint8_t **out, size_t *out_size, struct fly_error *error)
{
    if (size < SEGMENT_WRAP_SIZE) {
        return fly_error_set(error, FLY_DATA_LOSS, "a command of %zu bytes has no wrap", size);
    }
    uint64_t inner = fly_load_u32(data + 24);
    if (fly_load_u32(data + 28) != 0 || inner == 0 || inner > size - SEGMENT_WRAP_SIZE ||
        segment_wrap_size((size_t)inner) != size ||
        !all_zero(data + SEGMENT_WRAP_SIZE + inner, size - SEGMENT_WRAP_SIZE - (size_t)inner)) {
        return fly_error_set(error, FLY_DATA_LOSS, "the wrap of a command does not fit its size");
    }
    wrap->index = fly_load_u64(data);
    wrap->term = fly_load_u64(data + 8);
    wrap->acknowledged = fly_load_u64(data + 16);
    *out = data + SEGMENT_WRAP_SIZE;
    *out_size = (size_t)inner;
    return FLY_OK;
}

/* --- batches ------------------------------------------------------------------------------- */

struct batch {
    size_t count;
    size_t head_at, data_at, end_at;
};

/* Verifies the batch at `at`. NULL when it is good, else the reason. */
static const char *batch_parse(const struct segment_crc *crc, const uint8_t *data, size_t size,
                               size_t at, struct batch *out)
{
    size_t rest = size - at;
    if (rest < BATCH_HEAD) {
        return "a batch is cut off in its head";
    }
    uint64_t count = fly_load_u64(data + at + 8);
    if (count == 0) {
        return "a batch of no entries";
    }
    if (count > (rest - BATCH_HEAD) / ENTRY_HEAD) {
        return "a batch has more entries than the file has room for";
    }
    out->count = (size_t)count;
    out->head_at = at + BATCH_HEAD;
    out->data_at = out->head_at + out->count * ENTRY_HEAD;
    if (segment_crc_update(crc, 0, data + at + 8, out->data_at - at - 8) !=
        fly_load_u32(data + at)) {
        return "the checksum of a batch's header is wrong";
    }
    size_t room = size - out->data_at;
    uint64_t total = 0;
    for (size_t i = 0; i < out->count; i++) {
        total += fly_load_u32(data + out->head_at + i * ENTRY_HEAD + 12);
    }
    if (total > room) {
        return "a batch is cut off in its data";
    }
    out->end_at = out->data_at + (size_t)total;
    if (segment_crc_update(crc, 0, data + out->data_at, (size_t)total) !=
        fly_load_u32(data + at + 4)) {
        return "the checksum of a batch's data is wrong";
    }
    return NULL;
}

/* A good batch behind a broken one says what was durable when it was submitted. Does one say that
 * the broken batch, which starts with entry `index`, was? Too much work counts as yes. */
static bool witness_find(const struct segment_walk *w, uint64_t index)
{
    size_t budget = WITNESS_BUDGET;
    for (size_t at = w->offset + 8; at < w->size && w->size - at > BATCH_HEAD; at += 8) {
        uint64_t count = fly_load_u64(w->data + at + 8);
        if (count == 0 || count > (w->size - at - BATCH_HEAD) / ENTRY_HEAD) {
            continue;
        }
        struct batch batch;
        size_t cost = (size_t)count * ENTRY_HEAD + BATCH_HEAD;
        const char *reason = batch_parse(w->crc, w->data, w->size, at, &batch);
        if (reason == NULL) {
            cost = batch.end_at - at;
            size_t data_at = batch.data_at;
            for (size_t i = 0; i < batch.count; i++) {
                const uint8_t *head = w->data + batch.head_at + i * ENTRY_HEAD;
                size_t size = fly_load_u32(head + 12);
                if (head[8] == SEGMENT_COMMAND && size >= SEGMENT_WRAP_SIZE &&
                    fly_load_u64(w->data + data_at) > index &&
                    fly_load_u64(w->data + data_at + 16) >= index) {
                    return true;
                }
                data_at += size;
            }
        }
        if (cost >= budget) {
            return true;
        }
        budget -= cost;
    }
    return false;
}

/* --- the walk ------------------------------------------------------------------------------ */

void segment_walk_begin(struct segment_walk *w, const struct segment_crc *crc,
                        uint64_t snapshot_index, uint64_t snapshot_term, uint64_t acknowledged)
{
    memset(w, 0, sizeof *w);
    w->crc = crc;
    w->snapshot_index = snapshot_index;
    w->snapshot_term = snapshot_term;
    w->acknowledged = acknowledged;
    w->done = true;
}

static enum fly_status refuse(struct fly_error *error, const struct segment_walk *w, size_t offset,
                              const char *reason)
{
    return fly_error_set(error, FLY_DATA_LOSS, "%s: offset %zu: %s", w->file, offset, reason);
}

/* A gap that the snapshot covers whole: what stood before it is a leftover (libraft removes
 * segments behind a snapshot one by one, and skips one that it failed to close). The log starts
 * anew here. */
static bool walk_skip(struct segment_walk *w, uint64_t first)
{
    if (w->next_index == 0 || first <= w->next_index || first > w->snapshot_index + 1) {
        return false;
    }
    w->next_index = 0;
    w->first_index = 0;
    w->entries = 0;
    w->batches = 0;
    return true;
}

static enum fly_status walk_file_order(struct segment_walk *w, struct fly_error *error)
{
    if (w->name.kind == SEGMENT_OPEN) {
        (void)walk_skip(w, segment_peek(w->data, w->size));
        return FLY_OK; /* its wraps tell where it stands */
    }
    if (w->next_index != 0 && w->name.a != w->next_index && !walk_skip(w, w->name.a)) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%s: offset 0: the log goes on at entry %" PRIu64
                             ": a segment is missing or twice here",
                             w->file, w->next_index);
    }
    if (w->next_index == 0 && w->name.a > w->snapshot_index + 1) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%s: offset 0: the first segment, but the snapshot ends at entry "
                             "%" PRIu64 ": entries are missing",
                             w->file, w->snapshot_index);
    }
    w->next_index = w->name.a;
    return FLY_OK;
}

uint64_t segment_peek(const uint8_t *data, size_t size)
{
    if (size < SEGMENT_HEAD_SIZE + BATCH_HEAD || fly_load_u64(data) != 1) {
        return 0;
    }
    uint64_t count = fly_load_u64(data + SEGMENT_HEAD_SIZE + 8);
    size_t head_at = SEGMENT_HEAD_SIZE + BATCH_HEAD;
    if (count == 0 || count > (size - head_at) / ENTRY_HEAD) {
        return 0;
    }
    size_t data_at = head_at + (size_t)count * ENTRY_HEAD;
    return data[head_at + 8] == SEGMENT_COMMAND && size - data_at >= SEGMENT_WRAP_SIZE
               ? fly_load_u64(data + data_at)
               : 0;
}

enum fly_status segment_walk_file(struct segment_walk *w, const char *file, const uint8_t *data,
                                  size_t size, struct fly_error *error)
{
    FLY_CHECK(w->done && strlen(file) < SEGMENT_NAME_MAX);
    memcpy(w->file, file, strlen(file) + 1);
    w->name = segment_name_parse(file);
    w->data = data;
    w->size = size;
    w->offset = 0;
    w->left = 0;
    w->file_first = 0;
    FLY_CHECK(w->name.kind == SEGMENT_CLOSED || w->name.kind == SEGMENT_OPEN);
    enum fly_status status = walk_file_order(w, error);
    if (status != FLY_OK) {
        return status;
    }
    if (w->name.kind == SEGMENT_OPEN && all_zero(data, size)) {
        return FLY_OK; /* allocated, never written */
    }
    if (w->torn_seen) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%s: offset %" PRIu64 ": %s, and %s goes on behind it", w->torn.file,
                             w->torn.offset, w->torn.reason, file);
    }
    w->done = false;
    if (size < SEGMENT_HEAD_SIZE) {
        return w->name.kind == SEGMENT_OPEN
                   ? FLY_OK
                   : refuse(error, w, 0, "a closed segment without its head");
    }
    uint64_t format = fly_load_u64(data);
    if (format == 1) {
        w->offset = SEGMENT_HEAD_SIZE;
    } else if (format != 0 || w->name.kind == SEGMENT_CLOSED) {
        return fly_error_set(error, FLY_DATA_LOSS, "%s: offset 0: format %" PRIu64 " is not known",
                             file, format);
    }
    return FLY_OK;
}

/* The batch at w->offset is no good: a torn write, or damage? */
static enum fly_status walk_broken(struct segment_walk *w, const char *reason,
                                   struct fly_error *error)
{
    if (w->name.kind == SEGMENT_CLOSED) {
        return refuse(error, w, w->offset, reason);
    }
    uint64_t index = w->next_index != 0 ? w->next_index : w->snapshot_index + 1;
    if (w->acknowledged >= index) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%s: offset %zu: %s, and entry %" PRIu64
                             " there was acknowledged (up to %" PRIu64 ")",
                             w->file, w->offset, reason, index, w->acknowledged);
    }
    if (witness_find(w, index)) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%s: offset %zu: %s, and later entries say that entry %" PRIu64
                             " there was durable",
                             w->file, w->offset, reason, index);
    }
    size_t end = w->size;
    while (end > w->offset && w->data[end - 1] == 0) {
        end--;
    }
    w->torn_seen = true;
    memcpy(w->torn.file, w->file, sizeof w->torn.file);
    w->torn.offset = w->offset;
    w->torn.bytes = end - w->offset;
    w->torn.reason = reason;
    w->done = true;
    return FLY_OK;
}

/* The log begins with this open segment, which does not say at which entry (a snapshot took the
 * closed ones away). libraft would count from the snapshot on; the first wrap knows better. */
static enum fly_status walk_anchor(struct segment_walk *w, const struct batch *batch,
                                   struct fly_error *error)
{
    const uint8_t *head = w->data + batch->head_at;
    struct segment_wrap wrap = {w->snapshot_index + 1, 0, 0};
    const uint8_t *data = NULL;
    size_t size = 0;
    struct fly_error why;
    if (head[8] == SEGMENT_COMMAND &&
        segment_wrap_decode(w->data + batch->data_at, fly_load_u32(head + 12), &wrap, &data, &size,
                            &why) != FLY_OK) {
        return refuse(error, w, batch->data_at, why.text);
    }
    if (wrap.index == 0 || wrap.index > w->snapshot_index + 1) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%s: offset %zu: the log starts at entry %" PRIu64
                             ", but the snapshot ends at entry %" PRIu64 ": entries are missing",
                             w->file, batch->data_at, wrap.index, w->snapshot_index);
    }
    w->next_index = wrap.index;
    return FLY_OK;
}

/* At the end of a file, or its next batch verified and set up. */
static enum fly_status walk_batch(struct segment_walk *w, struct fly_error *error)
{
    if (w->name.kind == SEGMENT_OPEN && w->offset >= SEGMENT_HEAD_SIZE &&
        all_zero(w->data + w->offset, w->size - w->offset)) {
        w->done = true;
        if (w->offset == SEGMENT_HEAD_SIZE) {
            w->offset = 0; /* a head alone holds nothing */
        }
        return FLY_OK;
    }
    if (w->name.kind == SEGMENT_CLOSED && w->next_index == w->name.b + 1) {
        w->done = true;
        return w->offset == w->size ? FLY_OK
                                    : refuse(error, w, w->offset, "bytes behind the last entry");
    }
    if (w->offset < SEGMENT_HEAD_SIZE) {
        return walk_broken(w, "the head of a segment is cut off", error);
    }
    struct batch batch;
    const char *reason = batch_parse(w->crc, w->data, w->size, w->offset, &batch);
    enum fly_status status = FLY_OK;
    if (reason != NULL) {
        return walk_broken(w, reason, error);
    }
    if (w->next_index == 0) {
        status = walk_anchor(w, &batch, error);
        if (status != FLY_OK) {
            return status;
        }
    }
    if (w->name.kind == SEGMENT_CLOSED && batch.count > w->name.b - w->next_index + 1) {
        return refuse(error, w, w->offset, "more entries than the file's name says");
    }
    w->left = batch.count;
    w->head_at = batch.head_at;
    w->data_at = batch.data_at;
    w->end_at = batch.end_at;
    w->batches++;
    memcpy(w->end_file, w->file, sizeof w->end_file);
    w->end_offset = batch.end_at;
    return FLY_OK;
}

static enum fly_status walk_entry_check(struct segment_walk *w, struct segment_entry *entry,
                                        uint8_t type, struct fly_error *error)
{
    struct fly_error why;
    if (type < SEGMENT_COMMAND || type > SEGMENT_CHANGE) {
        return refuse(error, w, w->head_at, "an entry of an unknown type");
    }
    if (entry->term == 0 || entry->term < w->last_term) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%s: offset %zu: entry %" PRIu64 " has term %" PRIu64
                             " after term %" PRIu64,
                             w->file, w->head_at, entry->index, entry->term, w->last_term);
    }
    if (entry->index == 1 && type != SEGMENT_CHANGE) {
        return refuse(error, w, w->head_at, "the first entry of a log is not its configuration");
    }
    if ((entry->index == w->snapshot_index && entry->term != w->snapshot_term) ||
        (entry->index > w->snapshot_index && entry->term < w->snapshot_term)) {
        return refuse(error, w, w->head_at, "the term does not agree with the snapshot's name");
    }
    if (type != SEGMENT_COMMAND) {
        return FLY_OK;
    }
    struct segment_wrap wrap;
    if (segment_wrap_decode(entry->data, entry->size, &wrap, &entry->data, &entry->size, &why) !=
        FLY_OK) {
        return refuse(error, w, w->data_at, why.text);
    }
    if (wrap.index != entry->index || wrap.term != entry->term || wrap.acknowledged >= wrap.index) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%s: offset %zu: entry %" PRIu64 " of term %" PRIu64
                             " stands where entry %" PRIu64 " of term %" PRIu64 " should",
                             w->file, w->data_at, wrap.index, wrap.term, entry->index, entry->term);
    }
    return FLY_OK;
}

enum fly_status segment_walk_next(struct segment_walk *w, struct segment_entry *out, bool *found,
                                  struct fly_error *error)
{
    *found = false;
    if (w->left == 0 && !w->done) {
        enum fly_status status = walk_batch(w, error);
        if (status != FLY_OK) {
            return status;
        }
    }
    if (w->left == 0) {
        return FLY_OK;
    }
    const uint8_t *head = w->data + w->head_at;
    out->index = w->next_index;
    out->term = fly_load_u64(head);
    out->type = (enum segment_type)head[8];
    out->data = w->data + w->data_at;
    out->size = fly_load_u32(head + 12);
    size_t raw = out->size;
    enum fly_status status = walk_entry_check(w, out, head[8], error);
    if (status != FLY_OK) {
        return status;
    }
    w->left--;
    w->head_at += ENTRY_HEAD;
    w->data_at += raw;
    if (w->left == 0) {
        w->offset = w->end_at;
    }
    if (w->first_index == 0) {
        w->first_index = w->next_index;
    }
    if (w->file_first == 0) {
        w->file_first = w->next_index;
    }
    w->last_index = w->next_index++;
    w->last_term = out->term;
    w->entries++;
    *found = true;
    return FLY_OK;
}

enum fly_status segment_walk_end(const struct segment_walk *w, struct fly_error *error)
{
    FLY_CHECK(w->done);
    uint64_t last = w->entries > 0 ? w->last_index : w->snapshot_index;
    const char *file = w->entries > 0 ? w->end_file : "mark";
    if (last < w->snapshot_index) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%s: offset %" PRIu64 ": the log ends at entry %" PRIu64
                             ", before its snapshot at %" PRIu64,
                             file, w->end_offset, last, w->snapshot_index);
    }
    if (w->acknowledged > last) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%s: offset %" PRIu64 ": the log ends at entry %" PRIu64
                             ", but entry %" PRIu64 " was acknowledged: a file is missing or cut",
                             file, w->end_offset, last, w->acknowledged);
    }
    return FLY_OK;
}
