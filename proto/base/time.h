/*
 * time - text forms of times, durations and sizes. Reads no clock: see clock.h for that. Pure.
 *
 * Times are int64 milliseconds since the Unix epoch, UTC; RFC 3339 with milliseconds outside.
 */
#ifndef FLY_BASE_TIME_H
#define FLY_BASE_TIME_H

#include <stdbool.h>
#include <stdint.h>

enum { FLY_TIME_TEXT_SIZE = 32 };

/* "2026-11-21T09:30:00.123Z" for years 1970..9999; others are clamped to those ends. */
void fly_time_format(int64_t unix_ms, char out[static FLY_TIME_TEXT_SIZE]);
/* "50ms", "5s", "2m", "1h", "7d": a positive whole number and a unit. False on anything else. */
bool fly_duration_parse(const char *text, int64_t *out_ms);
/* "6" means 6 GB (10^9); MB GB TB and MiB GiB TiB are taken in any case, "1.5GB" too. False on
 * anything else, on zero, on negatives and on more than 2^62 bytes. */
bool fly_size_parse(const char *text, uint64_t *out_bytes);
/* "6 GB", "512 MB", "1.5 GB", "2 TB": decimal units, at most two decimals. */
void fly_size_format(uint64_t bytes, char out[static FLY_TIME_TEXT_SIZE]);

#endif
