#include "proto/base/time.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": days since the epoch to a date. */
static void civil_from_days(int64_t days, int *year, unsigned *month, unsigned *day)
{
    days += 719468;
    int64_t era = days / 146097;
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;

    *day = doy - (153 * mp + 2) / 5 + 1;
    *month = mp < 10 ? mp + 3 : mp - 9;
    *year = (int)(yoe + era * 400) + (*month <= 2 ? 1 : 0);
}

void fly_time_format(int64_t unix_ms, char out[static FLY_TIME_TEXT_SIZE])
{
    const int64_t last_ms = 253402300799999; /* 9999-12-31T23:59:59.999Z */
    int year = 0;
    unsigned month = 0;
    unsigned day = 0;

    unix_ms = unix_ms < 0 ? 0 : unix_ms > last_ms ? last_ms : unix_ms;
    int64_t seconds = unix_ms / 1000;
    unsigned in_day = (unsigned)(seconds % 86400);
    civil_from_days(seconds / 86400, &year, &month, &day);
    (void)snprintf(out, FLY_TIME_TEXT_SIZE, "%04d-%02u-%02uT%02u:%02u:%02u.%03uZ", year, month, day,
                   in_day / 3600, in_day / 60 % 60, in_day % 60, (unsigned)(unix_ms % 1000));
}

/* Reads digits into *out; returns how many there were, 0 also when the number passes 2^53. */
static size_t parse_digits(const char *text, uint64_t *out)
{
    uint64_t value = 0;
    size_t n = 0;

    for (; text[n] >= '0' && text[n] <= '9'; n++) {
        value = value * 10 + (uint64_t)(text[n] - '0');
        if (value > (UINT64_C(1) << 53)) {
            return 0;
        }
    }
    *out = value;
    return n;
}

bool fly_duration_parse(const char *text, int64_t *out_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    uint64_t value = 0;
    size_t n = parse_digits(text, &value);

    if (n == 0 || value == 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(text + n, units[i].unit) == 0) {
            if (value > (uint64_t)(INT64_MAX / units[i].ms)) {
                return false;
            }
            *out_ms = (int64_t)value * units[i].ms;
            return true;
        }
    }
    return false;
}

static bool size_unit(const char *text, uint64_t *bytes)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {
        {"", 1000000000},       {"B", 1},           {"KB", 1000},
        {"MB", 1000000},        {"GB", 1000000000}, {"TB", 1000000000000},
        {"KiB", 1024},          {"MiB", 1048576},   {"GiB", 1073741824},
        {"TiB", 1099511627776}, {"G", 1000000000},  {"M", 1000000},
        {"T", 1000000000000},
    };

    while (*text == ' ') {
        text++;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcasecmp(text, units[i].unit) == 0) {
            *bytes = units[i].bytes;
            return true;
        }
    }
    return false;
}

bool fly_size_parse(const char *text, uint64_t *out_bytes)
{
    const uint64_t max = UINT64_C(1) << 62;
    uint64_t whole = 0;
    uint64_t fraction = 0;
    uint64_t scale = 1;
    uint64_t unit = 0;
    size_t n = parse_digits(text, &whole);

    if (n == 0) {
        return false;
    }
    if (text[n] == '.') {
        size_t digits = parse_digits(text + n + 1, &fraction);
        if (digits == 0 || digits > 9) {
            return false;
        }
        for (size_t i = 0; i < digits; i++) {
            scale *= 10;
        }
        n += 1 + digits;
    }
    if (!size_unit(text + n, &unit)) {
        return false;
    }
    uint64_t bytes = 0;
    uint64_t part = 0;
    if (__builtin_mul_overflow(whole, unit, &bytes) ||
        __builtin_mul_overflow(fraction, unit, &part) || part % scale != 0 || bytes > max ||
        bytes + part / scale == 0 || bytes + part / scale > max) {
        return false;
    }
    *out_bytes = bytes + part / scale;
    return true;
}

void fly_size_format(uint64_t bytes, char out[static FLY_TIME_TEXT_SIZE])
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
    uint64_t unit = 1;
    size_t i = 0;

    while (i + 1 < sizeof units / sizeof units[0] && bytes / unit >= 1000) {
        unit *= 1000;
        i++;
    }
    unsigned whole = (unsigned)(bytes / unit);
    unsigned hundredths = unit == 1 ? 0 : (unsigned)(bytes % unit / (unit / 100));
    if (hundredths % 10 != 0) {
        (void)snprintf(out, FLY_TIME_TEXT_SIZE, "%u.%02u %s", whole, hundredths, units[i]);
    } else if (hundredths != 0) {
        (void)snprintf(out, FLY_TIME_TEXT_SIZE, "%u.%u %s", whole, hundredths / 10, units[i]);
    } else {
        (void)snprintf(out, FLY_TIME_TEXT_SIZE, "%u %s", whole, units[i]);
    }
}
