/*
 * metadata - the name-value pairs that travel beside a call's messages (gRPC's custom metadata).
 *
 * Encoded: for each entry [u8 key size, u16 value size, key, value], in the order given; keys may
 * repeat. A key is 1 to 64 of [a-z0-9_.-]; one that ends in "-bin" has any bytes as its value, all
 * others printable ASCII (0x20 to 0x7E). All together at most FRAME_METADATA_MAX bytes and
 * METADATA_ENTRIES_MAX entries. Keys that start with "fly-" are the library's own.
 *
 * Source: gRPC over HTTP/2, Custom-Metadata; no HPACK, no base64. Pure, no allocation.
 */
#ifndef FLY_WIRE_METADATA_H
#define FLY_WIRE_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/wire/frame.h"

enum { METADATA_KEY_MAX = 64, METADATA_ENTRIES_MAX = 64 };

/* The library's own keys. Values are decimal numbers. */
#define METADATA_PUSHBACK "fly-retry-pushback-ms"     /* trailing: retry not before; -1: never */
#define METADATA_ATTEMPTS "fly-previous-rpc-attempts" /* REQ: of a retry or hedge */

struct metadata_entry {
    struct fly_bytes key;
    struct fly_bytes value;
};

/* Appends an entry to what w holds. INVALID_ARGUMENT with the key's name (nothing was written
 * then): syntax, too long, more than fits in FRAME_METADATA_MAX or in w. */
enum fly_status metadata_put(struct fly_writer *w, const char *key, struct fly_bytes value,
                             struct fly_error *error);
enum fly_status metadata_put_text(struct fly_writer *w, const char *key, const char *value,
                                  struct fly_error *error);
enum fly_status metadata_put_number(struct fly_writer *w, const char *key, int64_t value,
                                    struct fly_error *error);

/* INVALID_ARGUMENT unless these are sound entries within all bounds. O(bytes). */
enum fly_status metadata_check(struct fly_bytes entries, struct fly_error *error);

/* The next entry of checked entries; *entries advances. False: there is none (or it is cut). */
bool metadata_next(struct fly_bytes *entries, struct metadata_entry *entry);
/* The first with this key. */
bool metadata_find(struct fly_bytes entries, const char *key, struct fly_bytes *value);
/* The same as a whole decimal number. */
bool metadata_find_number(struct fly_bytes entries, const char *key, int64_t *value);

#endif
