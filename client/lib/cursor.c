#include "client/lib/cursor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"

/* One "slice:incarnation:seq" inside a text. */
struct part {
    const char *start;
    size_t size; /* up to the comma or the end */
    size_t slice_size;
    size_t incarnation_size;
    uint64_t seq;
};

static const char word_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

static bool word_ok(size_t size)
{
    return size >= 1 && size < CURSOR_WORD_SIZE;
}

static bool read_part(const char *text, struct part *out)
{
    size_t slice_size = strspn(text, word_letters);
    const char *at = text + slice_size;

    if (!word_ok(slice_size) || *at != ':') {
        return false;
    }
    at++;
    size_t incarnation_size = strspn(at, word_letters);
    const char *digits = at + incarnation_size + 1;
    if (!word_ok(incarnation_size) || at[incarnation_size] != ':') {
        return false;
    }
    size_t digit_count = strspn(digits, "0123456789");
    if (digit_count < 1 || digit_count > 19 ||
        (digits[digit_count] != '\0' && digits[digit_count] != ',')) {
        return false;
    }
    *out = (struct part){.start = text,
                         .size = (size_t)(digits + digit_count - text),
                         .slice_size = slice_size,
                         .incarnation_size = incarnation_size,
                         .seq = strtoull(digits, NULL, 10)};
    return true;
}

/* The next part at *at, which moves behind it and its comma; false at the end. */
static bool next_part(const char **at, struct part *out)
{
    if (**at == '\0' || !read_part(*at, out)) {
        return false;
    }
    *at += out->size;
    *at += **at == ',' ? 1 : 0;
    return true;
}

static bool is_slice(const struct part *part, const char *slice)
{
    return strlen(slice) == part->slice_size && memcmp(part->start, slice, part->slice_size) == 0;
}

bool cursor_set(struct cursor *cursor, const char *text)
{
    const char *at = text;
    struct part part;

    if (strlen(text) >= CURSOR_SIZE || (text[0] != '\0' && text[strlen(text) - 1] == ',')) {
        return false;
    }
    while (next_part(&at, &part)) {
    }
    if (*at != '\0') {
        return false;
    }
    return fly_copy_string(cursor->text, sizeof cursor->text, text);
}

bool cursor_find(const struct cursor *cursor, const char *slice,
                 char incarnation[static CURSOR_WORD_SIZE], uint64_t *seq)
{
    const char *at = cursor->text;
    struct part part;

    while (next_part(&at, &part)) {
        if (is_slice(&part, slice)) {
            memcpy(incarnation, part.start + part.slice_size + 1, part.incarnation_size);
            incarnation[part.incarnation_size] = '\0';
            *seq = part.seq;
            return true;
        }
    }
    return false;
}

bool cursor_put(struct cursor *cursor, const char *slice, const char *incarnation, uint64_t seq)
{
    char made[2 * CURSOR_WORD_SIZE + 24];
    const char *at = cursor->text;
    struct part part;
    struct part check;

    if (!word_ok(strlen(slice)) || !word_ok(strlen(incarnation))) {
        return false;
    }
    size_t size = (size_t)snprintf(made, sizeof made, "%s:%s:%llu", slice, incarnation,
                                   (unsigned long long)seq);
    if (!read_part(made, &check) || check.size != size) {
        return false;
    }
    size_t used = strlen(cursor->text);
    while (next_part(&at, &part)) {
        if (!is_slice(&part, slice)) {
            continue;
        }
        size_t offset = (size_t)(part.start - cursor->text);
        if (used - part.size + size >= CURSOR_SIZE) {
            return false;
        }
        memmove(cursor->text + offset + size, cursor->text + offset + part.size,
                used - offset - part.size + 1);
        memcpy(cursor->text + offset, made, size);
        return true;
    }
    if (used + 1 + size >= CURSOR_SIZE) {
        return false;
    }
    (void)snprintf(cursor->text + used, CURSOR_SIZE - used, "%s%s", used > 0 ? "," : "", made);
    return true;
}
