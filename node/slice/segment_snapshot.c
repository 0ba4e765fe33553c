/*
 * segment_snapshot - the two files of a snapshot. See segment.h.
 *
 * Meta (libraft): u64 format 1, u64 crc of the rest, u64 configuration index, u64 length, and the
 * configuration. Data: our head {u64 "FLYSNAP1", u64 size, u64 index, u32 zero, u32 crc of the 28
 * bytes before it and of the data}, then the data; libraft's compression is off.
 * Pure.
 */
#include "node/slice/segment.h"
#include "proto/base/bytes.h"

#include <inttypes.h>
#include <string.h>

enum { META_HEAD = 32, HEAD_CRC_AT = 28 };

static const uint8_t head_magic[8] = {'F', 'L', 'Y', 'S', 'N', 'A', 'P', '1'};

static enum fly_status refuse(struct fly_error *error, const char *file, size_t offset,
                              const char *reason)
{
    return fly_error_set(error, FLY_DATA_LOSS, "%s: offset %zu: %s", file, offset, reason);
}

enum fly_status segment_snapshot_meta_check(const struct segment_crc *crc, const char *file,
                                            const uint8_t *data, size_t size,
                                            struct fly_error *error)
{
    if (size < META_HEAD) {
        return refuse(error, file, size, "a snapshot's meta file is cut off in its head");
    }
    if (fly_load_u64(data) != 1) {
        return refuse(error, file, 0, "the format is not known");
    }
    uint64_t length = fly_load_u64(data + 24);
    if (length == 0 || length != size - META_HEAD) {
        return refuse(error, file, 24, "the configuration's length does not fit the file");
    }
    if (segment_crc_update(crc, 0, data + 16, size - 16) != fly_load_u64(data + 8)) {
        return refuse(error, file, 8, "the checksum of a snapshot's meta file is wrong");
    }
    return FLY_OK;
}

void segment_snapshot_head_encode(const struct segment_crc *crc, uint8_t out[SEGMENT_SNAPSHOT_HEAD],
                                  uint64_t index, const uint8_t *data, size_t size)
{
    memset(out, 0, SEGMENT_SNAPSHOT_HEAD);
    memcpy(out, head_magic, sizeof head_magic);
    fly_store_u64(out + 8, size);
    fly_store_u64(out + 16, index);
    uint32_t sum = segment_crc_update(crc, 0, out, HEAD_CRC_AT);
    fly_store_u32(out + HEAD_CRC_AT, segment_crc_update(crc, sum, data, size));
}

uint64_t segment_snapshot_head_index(const uint8_t head[SEGMENT_SNAPSHOT_HEAD])
{
    return fly_load_u64(head + 16);
}

enum fly_status segment_snapshot_decode(const struct segment_crc *crc, const char *file,
                                        uint64_t index, const uint8_t *data, size_t size,
                                        const uint8_t **out, size_t *out_size,
                                        struct fly_error *error)
{
    if (size < SEGMENT_SNAPSHOT_HEAD) {
        return refuse(error, file, size, "a snapshot is cut off in its head");
    }
    if (memcmp(data, head_magic, sizeof head_magic) != 0) {
        return refuse(error, file, 0, "not a snapshot of ours");
    }
    if (fly_load_u64(data + 8) != size - SEGMENT_SNAPSHOT_HEAD) {
        return refuse(error, file, 8, "the snapshot's length does not fit the file");
    }
    uint32_t sum = segment_crc_update(crc, 0, data, HEAD_CRC_AT);
    sum = segment_crc_update(crc, sum, data + SEGMENT_SNAPSHOT_HEAD, size - SEGMENT_SNAPSHOT_HEAD);
    if (sum != fly_load_u32(data + HEAD_CRC_AT)) {
        return refuse(error, file, HEAD_CRC_AT, "the snapshot's checksum is wrong");
    }
    if (fly_load_u64(data + 16) != index) {
        return refuse(error, file, 16, "the snapshot's index is not the one in its name");
    }
    *out = data + SEGMENT_SNAPSHOT_HEAD;
    *out_size = size - SEGMENT_SNAPSHOT_HEAD;
    return FLY_OK;
}
