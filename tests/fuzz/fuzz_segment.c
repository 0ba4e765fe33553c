/*
 * fuzz_segment - a slice folder in one input, through the reader.
 *
 * The container: one byte (1: make the checksums right first, so that the rules behind them are
 * reached), then files {u8 name length, name, u32 size, bytes}. Whatever is accepted must hand out
 * entries without a gap, say the same twice, and be torn only where nothing is handed out any more.
 */
#include "node/slice/segment_check.h"
#include "proto/base/check.h"

#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 24 };

struct image {
    char name[256];
    uint8_t *data;
    size_t size;
};

struct folder {
    struct image images[FILES_MAX];
    size_t count;
};

struct seen {
    uint64_t next, entries, snapshots, sum;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct segment_crc crc;

static enum fly_status folder_read(void *user, const char *file, size_t max, struct fly_bytes *out,
                                   struct fly_error *error)
{
    const struct folder *folder = user;
    for (size_t i = 0; i < folder->count; i++) {
        if (strcmp(folder->images[i].name, file) == 0 && folder->images[i].size <= max) {
            out->data = folder->images[i].data;
            out->size = folder->images[i].size;
            return FLY_OK;
        }
    }
    return fly_error_set(error, FLY_NOT_FOUND, "%s", file);
}

static enum fly_status see_snapshot(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                                    size_t size, struct fly_error *error)
{
    struct seen *seen = user;
    (void)term;
    (void)error;
    FLY_CHECK(seen->entries == 0 && seen->snapshots == 0);
    seen->snapshots++;
    seen->next = index + 1;
    seen->sum = segment_crc_update(&crc, (uint32_t)seen->sum, data, size);
    return FLY_OK;
}

static enum fly_status see_entry(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                                 size_t size, struct fly_error *error)
{
    struct seen *seen = user;
    (void)error;
    FLY_CHECK(size > 0 && term > 0 && index >= seen->next);
    seen->next = index + 1;
    seen->entries++;
    seen->sum = segment_crc_update(&crc, (uint32_t)seen->sum, data, size);

    /* what came out goes in again, and out the same */
    struct segment_wrap wrap = {index, term, index - 1}, back;
    const uint8_t *inner = NULL;
    size_t inner_size = 0;
    uint8_t *copy = malloc(segment_wrap_size(size));
    FLY_CHECK(copy != NULL);
    segment_wrap_encode(copy, &wrap, data, size);
    FLY_CHECK(segment_wrap_decode(copy, segment_wrap_size(size), &back, &inner, &inner_size,
                                  NULL) == FLY_OK);
    FLY_CHECK(inner_size == size && memcmp(inner, data, size) == 0 &&
              memcmp(&wrap, &back, sizeof wrap) == 0);
    free(copy);
    return FLY_OK;
}

static enum fly_status folder_check(struct folder *folder, struct segment_check *check,
                                    struct segment_file *files, struct seen *seen)
{
    const struct segment_source source = {folder, folder_read};
    const struct segment_visitor visitor = {see_snapshot, see_entry};
    struct fly_error error;
    memset(check, 0, sizeof *check);
    memset(seen, 0, sizeof *seen);
    check->crc = &crc;
    check->files = files;
    for (size_t i = 0; i < folder->count; i++) {
        struct segment_file file;
        bool wanted = false, accept = false;
        enum fly_status status =
            segment_file_take(&file, folder->images[i].name, &wanted, &accept, &error);
        if (status != FLY_OK) {
            return status;
        }
        check->accepted = check->accepted || accept;
        size_t at = wanted ? check->file_count++ : 0;
        for (; wanted && at > 0 && segment_file_compare(&files[at - 1], &file) > 0; at--) {
            files[at] = files[at - 1];
        }
        if (wanted) {
            files[at] = file;
        }
    }
    enum fly_status status = segment_check_run(check, &source, &visitor, seen, &error);
    FLY_CHECK(status == FLY_OK || (error.text[0] != 0 && status == FLY_DATA_LOSS) ||
              status == FLY_NOT_FOUND);
    return status;
}

/* Makes the checksums of a file right, as far as its structure goes. */
static void fix_segment(uint8_t *data, size_t size)
{
    size_t at = 8;
    while (size >= at + 16) {
        uint64_t count = fly_load_u64(data + at + 8);
        if (count == 0 || count > (size - at - 16) / 16) {
            return;
        }
        size_t data_at = at + 16 + (size_t)count * 16;
        uint64_t total = 0;
        for (size_t i = 0; i < count; i++) {
            total += fly_load_u32(data + at + 16 + i * 16 + 12);
        }
        fly_store_u32(data + at, segment_crc_update(&crc, 0, data + at + 8, data_at - at - 8));
        if (total > size - data_at) {
            return;
        }
        fly_store_u32(data + at + 4, segment_crc_update(&crc, 0, data + data_at, (size_t)total));
        at = data_at + (size_t)total;
    }
}

static void fix(struct image *image)
{
    struct segment_name name = segment_name_parse(image->name);
    uint8_t *data = image->data;
    if (name.kind == SEGMENT_OPEN || name.kind == SEGMENT_CLOSED) {
        fix_segment(data, image->size);
    } else if (name.kind == SEGMENT_SNAPSHOT && image->size >= SEGMENT_SNAPSHOT_HEAD) {
        segment_snapshot_head_encode(&crc, data, name.b, data + SEGMENT_SNAPSHOT_HEAD,
                                     image->size - SEGMENT_SNAPSHOT_HEAD);
    } else if (name.kind == SEGMENT_SNAPSHOT_META && image->size >= 32) {
        fly_store_u64(data + 8, segment_crc_update(&crc, 0, data + 16, image->size - 16));
    } else if (strcmp(image->name, SEGMENT_MARK_FILE) == 0) {
        for (size_t at = 0; at + SEGMENT_MARK_SLOT <= image->size; at += SEGMENT_MARK_SLOT) {
            fly_store_u32(data + at + SEGMENT_MARK_SLOT - 4,
                          segment_crc_update(&crc, 0, data + at, SEGMENT_MARK_SLOT - 4));
        }
    }
}

static bool folder_parse(struct folder *folder, const uint8_t *data, size_t size)
{
    struct fly_reader r = fly_reader_over(data, size);
    uint8_t mode = fly_get_u8(&r);
    while (!r.failed && fly_reader_left(&r) > 0 && folder->count < FILES_MAX) {
        struct image *image = &folder->images[folder->count];
        fly_get_string8(&r, image->name, sizeof image->name);
        uint32_t length = fly_get_u32(&r);
        const uint8_t *bytes = fly_get_bytes(&r, length);
        bool again = false;
        for (size_t i = 0; i < folder->count; i++) {
            again = again || strcmp(folder->images[i].name, image->name) == 0;
        }
        if (r.failed || image->name[0] == 0 || again) {
            break;
        }
        image->data = malloc(length > 0 ? length : 1); /* its own block: over-reads are seen */
        FLY_CHECK(image->data != NULL);
        memcpy(image->data, bytes, length);
        image->size = length;
        if (mode == 1) {
            fix(image);
        }
        folder->count++;
    }
    return folder->count > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct folder folder;
    static struct segment_file files[FILES_MAX];
    struct segment_check check, again;
    struct seen seen, seen_again;
    if (crc.table[0][1] == 0) {
        segment_crc_init(&crc);
    }
    folder.count = 0;
    if (folder_parse(&folder, data, size)) {
        enum fly_status status = folder_check(&folder, &check, files, &seen);
        if (status == FLY_OK) {
            FLY_CHECK(seen.entries <= check.walk.entries && seen.next <= check.last_index + 1);
            FLY_CHECK(!check.walk.torn_seen || check.walk.torn.bytes > 0);
            FLY_CHECK(check.accepted || !check.mark_found || check.mark.index <= check.last_index);
        }
        FLY_CHECK(folder_check(&folder, &again, files, &seen_again) == status);
        FLY_CHECK(memcmp(&seen, &seen_again, sizeof seen) == 0);
    }
    for (size_t i = 0; i < folder.count; i++) {
        free(folder.images[i].data);
    }
    return 0;
}
