/*
 * segment_check - the rules for a folder as a whole. See segment_check.h.
 *
 * Pure.
 */
#include "node/slice/segment_check.h"
#include "proto/base/check.h"

#include <inttypes.h>
#include <string.h>

enum { META_MAX = 1024 * 1024 + 64, OPEN_MAX = 256 };

/* --- the list ------------------------------------------------------------------------------ */

enum fly_status segment_file_take(struct segment_file *file, const char *name, bool *wanted,
                                  bool *accept, struct fly_error *error)
{
    memset(file, 0, sizeof *file);
    file->name = segment_name_parse(name);
    *wanted = file->name.kind != SEGMENT_OTHER && file->name.kind != SEGMENT_TEMPORARY;
    *accept = strcmp(name, SEGMENT_ACCEPT_FILE) == 0;
    if (file->name.kind == SEGMENT_LOOKALIKE) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "%.80s: offset 0: libraft would take this file for its own, but never "
                             "names one so: move it away",
                             name);
    }
    if (*wanted) {
        fly_copy_string(file->file, sizeof file->file, name);
    }
    return FLY_OK;
}

int segment_file_compare(const struct segment_file *x, const struct segment_file *y)
{
    return segment_name_compare(&x->name, &y->name);
}

static const struct segment_file *find(const struct segment_check *check, enum segment_kind kind,
                                       const struct segment_name *like)
{
    struct segment_name key = *like;
    size_t low = 0, high = check->file_count;
    key.kind = kind;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = segment_name_compare(&check->files[middle].name, &key);
        if (order == 0) {
            return &check->files[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* --- mark and metadata --------------------------------------------------------------------- */

static enum fly_status mark_read(struct segment_check *check, const struct segment_source *source,
                                 struct fly_error *error)
{
    struct fly_bytes bytes = {NULL, 0};
    enum fly_status status =
        source->read(source->user, SEGMENT_MARK_FILE, SEGMENT_MARK_SIZE * 2, &bytes, error);
    if (status == FLY_NOT_FOUND || (status == FLY_OK && bytes.size == 0)) {
        if (check->file_count == 0 || check->accepted) {
            return FLY_OK;
        }
        return fly_error_set(
            error, FLY_DATA_LOSS,
            "mark: offset 0: missing, so nobody can say whether the log is whole. "
            "Restore it with the folder's other files; or, to accept that "
            "acknowledged entries may be lost, create the file " SEGMENT_ACCEPT_FILE
            " beside them");
    }
    if (status != FLY_OK) {
        return status;
    }
    status = segment_mark_decode(check->crc, bytes.data, bytes.size, &check->mark,
                                 &check->mark_bad_slots, error);
    check->mark_found = status == FLY_OK;
    return check->accepted ? FLY_OK : status;
}

static const struct segment_mark *mark_valid(const struct segment_check *check)
{
    return check->mark_found && !check->accepted ? &check->mark : NULL;
}

static enum fly_status metadata_read(struct segment_check *check,
                                     const struct segment_source *source, struct fly_error *error)
{
    struct segment_metadata files[2];
    for (unsigned i = 0; i < 2; i++) {
        struct fly_bytes bytes = {NULL, 0};
        enum fly_status status = source->read(source->user, i == 0 ? "metadata1" : "metadata2",
                                              SEGMENT_METADATA_SIZE * 2, &bytes, error);
        if (status == FLY_OK || status == FLY_NOT_FOUND) {
            status = segment_metadata_decode(i + 1, status == FLY_OK ? bytes.data : NULL,
                                             bytes.size, &files[i], error);
        }
        if (status != FLY_OK) {
            return status;
        }
    }
    enum fly_status status =
        segment_metadata_check(files, mark_valid(check), &check->metadata, error);
    check->older = files[check->metadata.version % 2 == 1 ? 1 : 0];
    return status;
}

/* --- snapshot and segments ----------------------------------------------------------------- */

/* The newest snapshot with both files; one alone is the trace of a snapshot or of its removal that
 * did not finish, and libraft removes it. */
static const struct segment_file *snapshot_newest(struct segment_check *check)
{
    const struct segment_file *newest = NULL;
    for (size_t i = 0; i < check->file_count; i++) {
        const struct segment_file *file = &check->files[i];
        bool data = file->name.kind == SEGMENT_SNAPSHOT;
        if (!data && file->name.kind != SEGMENT_SNAPSHOT_META) {
            continue;
        }
        if (find(check, data ? SEGMENT_SNAPSHOT_META : SEGMENT_SNAPSHOT, &file->name) == NULL) {
            check->orphans++;
        } else if (data) {
            newest = file;
        }
    }
    return newest;
}

static enum fly_status snapshot_read(struct segment_check *check,
                                     const struct segment_source *source,
                                     const struct segment_visitor *visitor, void *user,
                                     struct fly_error *error)
{
    const struct segment_file *file = snapshot_newest(check);
    struct fly_bytes bytes = {NULL, 0};
    if (file == NULL) {
        return FLY_OK;
    }
    const struct segment_file *meta = find(check, SEGMENT_SNAPSHOT_META, &file->name);
    enum fly_status status = source->read(source->user, meta->file, META_MAX, &bytes, error);
    if (status == FLY_OK) {
        status = segment_snapshot_meta_check(check->crc, meta->file, bytes.data, bytes.size, error);
    }
    if (status == FLY_OK) {
        status = source->read(source->user, file->file, SEGMENT_FILE_MAX, &bytes, error);
    }
    const uint8_t *inner = NULL;
    size_t size = 0;
    if (status == FLY_OK) {
        status = segment_snapshot_decode(check->crc, file->file, file->name.b, bytes.data,
                                         bytes.size, &inner, &size, error);
    }
    if (status != FLY_OK) {
        return status;
    }
    check->snapshot_term = file->name.a;
    check->snapshot_index = file->name.b;
    check->snapshot_bytes = size;
    return visitor != NULL && visitor->snapshot != NULL
               ? visitor->snapshot(user, file->name.b, file->name.a, inner, size, error)
               : FLY_OK;
}

static enum fly_status segment_read(struct segment_check *check, struct segment_file *file,
                                    const struct segment_source *source,
                                    const struct segment_visitor *visitor, void *user,
                                    struct fly_error *error)
{
    struct fly_bytes bytes = {NULL, 0};
    bool found = true;
    enum fly_status status =
        source->read(source->user, file->file, SEGMENT_FILE_MAX, &bytes, error);
    if (status == FLY_OK) {
        status = segment_walk_file(&check->walk, file->file, bytes.data, bytes.size, error);
    }
    while (status == FLY_OK && found) {
        struct segment_entry entry;
        status = segment_walk_next(&check->walk, &entry, &found, error);
        if (status == FLY_OK && found && entry.type == SEGMENT_COMMAND &&
            entry.index > check->snapshot_index && visitor != NULL && visitor->entry != NULL) {
            status = visitor->entry(user, entry.index, entry.term, entry.data, entry.size, error);
        }
    }
    file->size = bytes.size;
    file->keep = check->walk.offset;
    file->first = check->walk.file_first;
    file->last = check->walk.file_first != 0 ? check->walk.last_index : 0;
    return status;
}

static bool open_before(const struct segment_file *x, const struct segment_file *y)
{
    if (x->first != y->first) {
        return y->first == 0 || (x->first != 0 && x->first < y->first);
    }
    return x->name.a < y->name.a;
}

/* Open segments, which stand together in the list, in the order of their entries. libraft closes
 * segments one by one; if that fails for one, a later one may be closed and it still open. */
static enum fly_status open_order(struct segment_check *check, const struct segment_source *source,
                                  size_t *from, size_t *until, struct fly_error *error)
{
    size_t begin = 0;
    while (begin < check->file_count && check->files[begin].name.kind != SEGMENT_OPEN) {
        begin++;
    }
    size_t end = begin;
    for (; end < check->file_count && check->files[end].name.kind == SEGMENT_OPEN; end++) {
        struct segment_file file = check->files[end];
        struct fly_bytes bytes = {NULL, 0};
        if (end - begin == OPEN_MAX) {
            return fly_error_set(error, FLY_DATA_LOSS, "%s: offset 0: more than %d open segments",
                                 file.file, OPEN_MAX);
        }
        enum fly_status status =
            source->read(source->user, file.file, SEGMENT_FILE_MAX, &bytes, error);
        if (status != FLY_OK) {
            return status;
        }
        file.first = segment_peek(bytes.data, bytes.size);
        size_t at = end;
        for (; at > begin && open_before(&file, &check->files[at - 1]); at--) {
            check->files[at] = check->files[at - 1];
        }
        check->files[at] = file;
    }
    *from = begin;
    *until = end;
    return FLY_OK;
}

static enum fly_status segments_read(struct segment_check *check,
                                     const struct segment_source *source,
                                     const struct segment_visitor *visitor, void *user,
                                     struct fly_error *error)
{
    const struct segment_mark *mark = mark_valid(check);
    segment_walk_begin(&check->walk, check->crc, check->snapshot_index, check->snapshot_term,
                       mark != NULL ? mark->index : 0);
    size_t open = 0, open_end = 0;
    enum fly_status status = open_order(check, source, &open, &open_end, error);
    check->segments_open = open_end - open;
    for (size_t i = 0; i < check->file_count && status == FLY_OK; i++) {
        struct segment_file *closed = &check->files[i];
        if (closed->name.kind != SEGMENT_CLOSED) {
            continue;
        }
        while (status == FLY_OK && open < open_end && check->files[open].first != 0 &&
               check->files[open].first < closed->name.a) {
            status = segment_read(check, &check->files[open++], source, visitor, user, error);
        }
        if (status == FLY_OK) {
            check->segments_closed++;
            status = segment_read(check, closed, source, visitor, user, error);
        }
    }
    for (; open < open_end && status == FLY_OK; open++) {
        status = segment_read(check, &check->files[open], source, visitor, user, error);
    }
    const struct segment_walk *walk = &check->walk;
    check->last_index = walk->entries > 0 ? walk->last_index : check->snapshot_index;
    check->last_term = walk->entries > 0 ? walk->last_term : check->snapshot_term;
    return status == FLY_OK ? segment_walk_end(walk, error) : status;
}

/* Metadata and log against each other. */
static enum fly_status agree(struct segment_check *check, struct fly_error *error)
{
    const struct segment_metadata *metadata = &check->metadata;
    unsigned number = metadata->version % 2 == 1 ? 1 : 2;
    check->unfounded = check->last_index == 0;
    if (check->unfounded && metadata->version > 1) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "metadata%u: offset 8: version %" PRIu64
                             " without a log: its segments are missing",
                             number, metadata->version);
    }
    if (!check->unfounded && metadata->term < check->last_term) {
        return fly_error_set(error, FLY_DATA_LOSS,
                             "metadata%u: offset 16: term %" PRIu64
                             ", but the log holds an entry of term %" PRIu64,
                             number, metadata->term, check->last_term);
    }
    return FLY_OK;
}

enum fly_status segment_check_run(struct segment_check *check, const struct segment_source *source,
                                  const struct segment_visitor *visitor, void *user,
                                  struct fly_error *error)
{
    for (size_t i = 1; i < check->file_count; i++) {
        FLY_CHECK(segment_file_compare(&check->files[i - 1], &check->files[i]) < 0);
    }
    enum fly_status status = mark_read(check, source, error);
    if (status == FLY_OK) {
        status = metadata_read(check, source, error);
    }
    if (status == FLY_OK) {
        status = snapshot_read(check, source, visitor, user, error);
    }
    if (status == FLY_OK) {
        status = segments_read(check, source, visitor, user, error);
    }
    return status == FLY_OK ? agree(check, error) : status;
}
