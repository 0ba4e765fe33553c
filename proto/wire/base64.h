/*
 * base64 - base64url without padding (RFC 4648, 5), strict: one text for one run of bytes.
 *
 * libsodium does the work, in constant time, and refuses padding, blanks and bits left over in the
 * last digit. It takes some bytes above 127 for digits, though (1.0.18 compares them sign-extended;
 * found by fuzz_token), so the alphabet is looked at before. Pure.
 */
#ifndef FLY_WIRE_BASE64_H
#define FLY_WIRE_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Characters that `size` bytes take, without a NUL. */
size_t base64_size(size_t size);
/* Writes the text and a NUL into out[out_max], which must hold it; returns base64_size(size). */
size_t base64_encode(const void *data, size_t size, char *out, size_t out_max);
/* False when the text is not strict or does not fit; then out[] is undefined. */
bool base64_decode(const char *text, size_t text_size, uint8_t *out, size_t out_max, size_t *size);

#endif
