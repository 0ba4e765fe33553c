/*
 * segment_name - libraft's checksum and file names. See segment.h.
 *
 * libraft parses names with sscanf; we take exactly what it prints, and call the rest of what it
 * would accept a lookalike.
 * Pure.
 */
#include "node/slice/segment.h"

#include <string.h>

void segment_crc_init(struct segment_crc *crc)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t sum = i << 24;
        for (int bit = 0; bit < 8; bit++) {
            sum = (sum >> 31) != 0 ? (sum << 1) ^ 0x04C11DB7u : sum << 1;
        }
        crc->table[0][i] = sum;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int k = 1; k < 8; k++) {
            uint32_t sum = crc->table[k - 1][i];
            crc->table[k][i] = crc->table[0][sum >> 24] ^ (sum << 8);
        }
    }
}

static uint32_t load_big(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint32_t segment_crc_update(const struct segment_crc *crc, uint32_t sum, const void *data,
                            size_t size)
{
    const uint8_t *p = data;
    while (size >= 8) {
        uint32_t high = load_big(p) ^ sum;
        uint32_t low = load_big(p + 4);
        sum = crc->table[7][high >> 24] ^ crc->table[6][(high >> 16) & 0xFFu] ^
              crc->table[5][(high >> 8) & 0xFFu] ^ crc->table[4][high & 0xFFu] ^
              crc->table[3][low >> 24] ^ crc->table[2][(low >> 16) & 0xFFu] ^
              crc->table[1][(low >> 8) & 0xFFu] ^ crc->table[0][low & 0xFFu];
        p += 8;
        size -= 8;
    }
    while (size > 0) {
        sum = crc->table[0][(sum >> 24) ^ *p] ^ (sum << 8);
        p++;
        size--;
    }
    return sum;
}

/* --- names --------------------------------------------------------------------------------- */

/* A number as libraft prints it with %llu: no sign, no needless zero. Advances *text. */
static bool name_number(const char **text, uint64_t *out)
{
    const char *p = *text;
    uint64_t value = 0;
    if (*p < '0' || *p > '9' || (*p == '0' && p[1] >= '0' && p[1] <= '9')) {
        return false;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *text = p;
    *out = value;
    return true;
}

/* Exactly sixteen digits. */
static bool name_number16(const char **text, uint64_t *out)
{
    uint64_t value = 0;
    for (int i = 0; i < 16; i++) {
        char c = (*text)[i];
        if (c < '0' || c > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(c - '0');
    }
    *text += 16;
    *out = value;
    return true;
}

static bool name_closed(const char *p, struct segment_name *out)
{
    if (!name_number16(&p, &out->a) || *p++ != '-' || !name_number16(&p, &out->b) || *p != 0) {
        return false;
    }
    out->kind = SEGMENT_CLOSED;
    return out->a >= 1 && out->b >= out->a;
}

static bool name_snapshot(const char *p, struct segment_name *out)
{
    if (!name_number(&p, &out->a) || *p++ != '-' || !name_number(&p, &out->b) || *p++ != '-' ||
        !name_number(&p, &out->c) || out->a == 0 || out->b == 0) {
        return false;
    }
    out->kind = strcmp(p, ".meta") == 0 ? SEGMENT_SNAPSHOT_META : SEGMENT_SNAPSHOT;
    return *p == 0 || out->kind == SEGMENT_SNAPSHOT_META;
}

struct segment_name segment_name_parse(const char *name)
{
    struct segment_name out = {SEGMENT_OTHER, 0, 0, 0};
    const struct segment_name lookalike = {SEGMENT_LOOKALIKE, 0, 0, 0};
    /* libraft parses with sscanf, which takes leading space and signs: those start like a number */
    if (*name == '+' || *name == '-' || *name == ' ' || (*name >= '\t' && *name <= '\r') ||
        (*name >= '0' && *name <= '9')) {
        return name_closed(name, &out) ? out : lookalike;
    }
    if (strncmp(name, "open-", 5) == 0) {
        const char *p = name + 5;
        out.kind = SEGMENT_OPEN;
        return name_number(&p, &out.a) && *p == 0 && out.a > 0 ? out : lookalike;
    }
    if (strncmp(name, "snapshot-", 9) == 0) {
        return strlen(name) < SEGMENT_NAME_MAX && name_snapshot(name + 9, &out) ? out : lookalike;
    }
    if (strcmp(name, "metadata1") == 0 || strcmp(name, "metadata2") == 0) {
        out.kind = SEGMENT_METADATA;
        out.a = (uint64_t)(name[8] - '0');
    } else if (strncmp(name, "tmp-", 4) == 0) {
        out.kind = SEGMENT_TEMPORARY;
    }
    return out;
}

static int compare_u64(uint64_t x, uint64_t y)
{
    return x < y ? -1 : x > y;
}

int segment_name_compare(const struct segment_name *x, const struct segment_name *y)
{
    if (x->kind != y->kind) {
        return x->kind < y->kind ? -1 : 1;
    }
    if (x->a != y->a) {
        return compare_u64(x->a, y->a);
    }
    return x->b != y->b ? compare_u64(x->b, y->b) : compare_u64(x->c, y->c);
}
