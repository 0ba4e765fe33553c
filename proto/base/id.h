/*
 * id - text forms of numbers and bytes: lower-case hex and Crockford's base32. Pure.
 *
 * Source: Crockford, "Base 32" (crockford.com/base32.html); decoding takes either case and reads
 * i, l as 1 and o as 0.
 */
#ifndef FLY_BASE_ID_H
#define FLY_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes 2 × size lower-case digits and a NUL into out[2 × size + 1]. */
void fly_hex_encode(const void *data, size_t size, char *out);
/* Decodes exactly `size` bytes from exactly 2 × size digits; false, with out untouched, on others.
 */
bool fly_hex_decode(const char *text, size_t text_size, void *out, size_t size);
/* Writes `digits` base32 digits (most significant first) and a NUL. */
void fly_crockford_encode(uint64_t value, unsigned digits, char *out);
/* Decodes 1..12 digits; false on any other character or length. */
bool fly_crockford_decode(const char *text, size_t text_size, uint64_t *out);
/* A name as DESIGN 11 has it: [a-z0-9-]{1,63}. */
bool fly_name_ok(const char *text);

#endif
