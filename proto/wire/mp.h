/*
 * mp - reads msgpack from hostile bytes through a fly_reader: no allocation, no recursion, and no
 * count is believed that the remaining bytes cannot hold (a 5-byte header may ask for 2^32 items).
 *
 * A value of another type than the asked one fails the reader, which then stays failed. Writing is
 * msgpack-c's. Source: github.com/msgpack/msgpack spec.md. Pure.
 */
#ifndef FLY_WIRE_MP_H
#define FLY_WIRE_MP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"

/* Any unsigned width; 0 on failure. */
uint64_t mp_get_uint(struct fly_reader *r);
uint64_t mp_get_uint_max(struct fly_reader *r, uint64_t max);
/* Any signed width, and unsigned values that fit. */
int64_t mp_get_int(struct fly_reader *r);
/* The number of pairs of the map that begins here. */
size_t mp_get_map(struct fly_reader *r);
/* The number of items of the array that begins here. */
size_t mp_get_array(struct fly_reader *r);
/* A str of at most 255 bytes of printable ASCII into out[max], NUL-terminated; fails, with out as
 * it was, when it does not fit. */
void mp_get_text(struct fly_reader *r, char *out, size_t max);
/* Passes one value of any type, nested at most 7 containers deep. */
void mp_skip(struct fly_reader *r);

/* Printable ASCII only: such text ends on terminals and in logs. */
bool mp_text_ok(const char *text, size_t size);

#endif
