#include "proto/wire/metadata.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool key_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

static bool key_sound(struct fly_bytes key)
{
    bool sound = key.size > 0 && key.size <= METADATA_KEY_MAX;

    for (size_t i = 0; sound && i < key.size; i++) {
        sound = key_char(key.data[i]);
    }
    return sound;
}

static bool value_sound(struct fly_bytes key, struct fly_bytes value)
{
    bool binary = key.size >= 4 && memcmp(key.data + key.size - 4, "-bin", 4) == 0;

    for (size_t i = 0; !binary && i < value.size; i++) {
        if (value.data[i] < 0x20 || value.data[i] > 0x7E) {
            return false;
        }
    }
    return value.size <= FRAME_METADATA_MAX;
}

enum fly_status metadata_put(struct fly_writer *w, const char *key, struct fly_bytes value,
                             struct fly_error *error)
{
    struct fly_bytes name = {(const uint8_t *)key, strnlen(key, METADATA_KEY_MAX + 1)};
    size_t max = w->max < FRAME_METADATA_MAX ? w->max : FRAME_METADATA_MAX;

    if (!key_sound(name)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "metadata key \"%.64s\": 1 to %d of [a-z0-9_.-] are wanted", key,
                             METADATA_KEY_MAX);
    }
    if (!value_sound(name, value)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "metadata %s: its value is not printable ASCII (-bin keys take bytes)",
                             key);
    }
    if (w->failed || w->size > max || max - w->size < 3 + name.size + value.size) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "metadata %s: more than %zu bytes in all",
                             key, max);
    }
    fly_put_u8(w, (uint8_t)name.size);
    fly_put_u16(w, (uint16_t)value.size);
    fly_put_bytes(w, name.data, name.size);
    fly_put_bytes(w, value.data, value.size);
    return FLY_OK;
}

enum fly_status metadata_put_text(struct fly_writer *w, const char *key, const char *value,
                                  struct fly_error *error)
{
    return metadata_put(w, key, (struct fly_bytes){(const uint8_t *)value, strlen(value)}, error);
}

enum fly_status metadata_put_number(struct fly_writer *w, const char *key, int64_t value,
                                    struct fly_error *error)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%" PRId64, value);
    return metadata_put_text(w, key, text, error);
}

bool metadata_next(struct fly_bytes *entries, struct metadata_entry *entry)
{
    struct fly_reader r = fly_reader_over(entries->data, entries->size);

    if (entries->size == 0) {
        return false;
    }
    entry->key.size = fly_get_u8(&r);
    entry->value.size = fly_get_u16(&r);
    entry->key.data = fly_get_bytes(&r, entry->key.size);
    entry->value.data = fly_get_bytes(&r, entry->value.size);
    if (r.failed) {
        return false;
    }
    entries->data += r.offset;
    entries->size -= r.offset;
    return true;
}

enum fly_status metadata_check(struct fly_bytes entries, struct fly_error *error)
{
    struct metadata_entry entry;
    unsigned count = 0;

    if (entries.size > FRAME_METADATA_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "metadata over %d bytes",
                             FRAME_METADATA_MAX);
    }
    while (metadata_next(&entries, &entry)) {
        if (!key_sound(entry.key) || !value_sound(entry.key, entry.value)) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "metadata entry %u is malformed",
                                 count);
        }
        if (++count > METADATA_ENTRIES_MAX) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "more than %d metadata entries",
                                 METADATA_ENTRIES_MAX);
        }
    }
    return entries.size == 0
               ? FLY_OK
               : fly_error_set(error, FLY_INVALID_ARGUMENT, "metadata entry %u is cut", count);
}

bool metadata_find(struct fly_bytes entries, const char *key, struct fly_bytes *value)
{
    struct metadata_entry entry;
    size_t size = strlen(key);

    while (metadata_next(&entries, &entry)) {
        if (entry.key.size == size && memcmp(entry.key.data, key, size) == 0) {
            *value = entry.value;
            return true;
        }
    }
    return false;
}

bool metadata_find_number(struct fly_bytes entries, const char *key, int64_t *value)
{
    struct fly_bytes text;
    int64_t number = 0;

    if (!metadata_find(entries, key, &text)) {
        return false;
    }
    bool negative = text.size > 0 && text.data[0] == '-';
    size_t first = negative ? 1 : 0;
    for (size_t i = first; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || i - first >= 18) {
            return false;
        }
        number = number * 10 + (text.data[i] - '0');
    }
    *value = negative ? -number : number;
    return text.size > first;
}
