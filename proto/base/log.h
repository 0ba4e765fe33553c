/*
 * log - one line per event on stderr, `key=value` or JSON. Shell only: cores do not log.
 *
 *   fly_log_info("slice.ready", F_STR("slice", id), F_U64("vms", count));
 *   2026-11-21T09:30:00.123Z info slice.ready slice=7k2m vms=12
 *
 * Tokens and keys never appear. A line is written with one write(2): lines do not mix.
 */
#ifndef FLY_BASE_LOG_H
#define FLY_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fly_log_level { FLY_LOG_ERROR, FLY_LOG_WARN, FLY_LOG_INFO, FLY_LOG_DEBUG };

struct fly_field {
    const char *key;
    const char *text; /* NULL: `number` counts */
    int64_t number;
};

#define F_STR(name, value) ((struct fly_field){.key = (name), .text = (value)})
#define F_I64(name, value) ((struct fly_field){.key = (name), .number = (int64_t)(value)})
#define F_U64(name, value) F_I64(name, value)

/* Level and form for the whole process; set before threads start. */
void fly_log_setup(enum fly_log_level level, bool json);
void fly_log_write(enum fly_log_level level, const char *event, const struct fly_field *fields,
                   size_t count);

#define FLY_LOG_(level, event, ...)                                                                \
    fly_log_write(level, event, (const struct fly_field[]){__VA_ARGS__},                           \
                  sizeof((const struct fly_field[]){__VA_ARGS__}) / sizeof(struct fly_field))
#define fly_log_error(event, ...) FLY_LOG_(FLY_LOG_ERROR, event, __VA_ARGS__)
#define fly_log_warn(event, ...) FLY_LOG_(FLY_LOG_WARN, event, __VA_ARGS__)
#define fly_log_info(event, ...) FLY_LOG_(FLY_LOG_INFO, event, __VA_ARGS__)
#define fly_log_debug(event, ...) FLY_LOG_(FLY_LOG_DEBUG, event, __VA_ARGS__)

#endif
