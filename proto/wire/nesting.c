#include "proto/wire/nesting.h"

#include "proto/base/check.h"

/* As in protobuf-c: five bytes of a tag or a length are looked at, ten of a varint. */
enum { TAG_BYTES_MAX = 5, VARINT_BYTES_MAX = 10 };

/* The place in all the bytes, and the ends of the messages around it. */
struct scan {
    const uint8_t *at;
    const uint8_t *ends[NESTING_DEPTH_MAX];
    unsigned depth; /* ends[depth - 1] is the innermost */
};

/* The size of a varint of at most bytes_max bytes here, or 0. Its value's lower 35 bits. */
static size_t varint_at(const uint8_t *at, const uint8_t *end, size_t bytes_max, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < bytes_max && at + i < end; i++) {
        if (i < TAG_BYTES_MAX) {
            *value |= (uint64_t)(at[i] & 0x7f) << (7 * i);
        }
        if (at[i] < 0x80) {
            return i + 1;
        }
    }
    return 0;
}

/* Goes over one field, or into it where it may be a message. False: this is no field, so that no
 * decoder gets to what lies behind it. */
static bool scan_field(struct scan *s, unsigned depth_max, bool *too_deep)
{
    const uint8_t *end = s->ends[s->depth - 1];
    uint64_t tag = 0;
    uint64_t size = 0;
    size_t used = varint_at(s->at, end, TAG_BYTES_MAX, &tag);

    if (used == 0) {
        return false;
    }
    s->at += used;
    switch (tag & 7) {
    case 0:
        used = varint_at(s->at, end, VARINT_BYTES_MAX, &size);
        s->at += used;
        return used != 0;
    case 1:
    case 5:
        size = (tag & 7) == 1 ? 8 : 4;
        if ((uint64_t)(end - s->at) < size) {
            return false;
        }
        s->at += size;
        return true;
    case 2:
        used = varint_at(s->at, end, TAG_BYTES_MAX, &size);
        if (used == 0 || size > (uint64_t)(end - s->at) - used) {
            return false;
        }
        s->at += used;
        *too_deep = s->depth == depth_max;
        if (!*too_deep) {
            s->ends[s->depth++] = s->at + size;
        }
        return true;
    default: /* groups, which protobuf-c refuses too */
        return false;
    }
}

enum fly_status nesting_check(struct fly_bytes bytes, unsigned depth_max, struct fly_error *error)
{
    static const uint8_t nothing[1];
    struct scan s = {.at = bytes.size > 0 ? bytes.data : nothing, .depth = 1};
    bool too_deep = false;

    FLY_CHECK(depth_max >= 1 && depth_max <= NESTING_DEPTH_MAX);
    s.ends[0] = s.at + bytes.size;
    while (s.depth > 0 && !too_deep) {
        if (s.at == s.ends[s.depth - 1]) {
            s.depth--;
        } else if (!scan_field(&s, depth_max, &too_deep)) {
            if (s.depth == 1) {
                return fly_error_set(error, FLY_INVALID_ARGUMENT, "not a protobuf message");
            }
            s.at = s.ends[--s.depth]; /* not a message: text, or bytes */
        }
    }
    return too_deep ? fly_error_set(error, FLY_RESOURCE_EXHAUSTED,
                                    "messages nested more than %u deep", depth_max)
                    : FLY_OK;
}
