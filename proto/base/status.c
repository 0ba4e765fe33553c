#include "proto/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[FLY_STATUS_COUNT] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

const char *fly_status_name(enum fly_status status)
{
    return (unsigned)status < FLY_STATUS_COUNT ? names[status] : names[FLY_UNKNOWN];
}

enum fly_status fly_status_from_wire(uint32_t code)
{
    return code < FLY_STATUS_COUNT ? (enum fly_status)code : FLY_UNKNOWN;
}

enum fly_status fly_error_set(struct fly_error *error, enum fly_status status, const char *format,
                              ...)
{
    if (error != NULL) {
        va_list args;
        error->status = status;
        va_start(args, format);
        (void)vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return status;
}

enum fly_status fly_error_wrap(struct fly_error *error, const char *format, ...)
{
    char text[FLY_ERROR_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    int head = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (head < 0 || (size_t)head >= sizeof text) {
        head = (int)sizeof text - 1;
    }
    (void)snprintf(text + head, sizeof text - (size_t)head, ": %s", error->text);
    memcpy(error->text, text, sizeof text);
    return error->status;
}
