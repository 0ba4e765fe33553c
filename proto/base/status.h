/*
 * status - the 17 canonical codes and the error that travels with them.
 *
 * Values equal google.rpc.Code, so the mapping to the wire is the identity.
 * Source: google/rpc/code.proto; DESIGN 13. Pure: libc string functions only.
 */
#ifndef FLY_BASE_STATUS_H
#define FLY_BASE_STATUS_H

#include <stdint.h>

enum fly_status {
    FLY_OK = 0,
    FLY_CANCELLED = 1,
    FLY_UNKNOWN = 2,
    FLY_INVALID_ARGUMENT = 3,
    FLY_DEADLINE_EXCEEDED = 4,
    FLY_NOT_FOUND = 5,
    FLY_ALREADY_EXISTS = 6,
    FLY_PERMISSION_DENIED = 7,
    FLY_RESOURCE_EXHAUSTED = 8,
    FLY_FAILED_PRECONDITION = 9,
    FLY_ABORTED = 10,
    FLY_OUT_OF_RANGE = 11,
    FLY_UNIMPLEMENTED = 12,
    FLY_INTERNAL = 13,
    FLY_UNAVAILABLE = 14,
    FLY_DATA_LOSS = 15,
    FLY_UNAUTHENTICATED = 16,
};

enum { FLY_STATUS_COUNT = 17, FLY_ERROR_TEXT_SIZE = 320 };

/* A status with the words for a person: what was wrong and what to do. */
struct fly_error {
    enum fly_status status;
    char text[FLY_ERROR_TEXT_SIZE];
};

/* The canonical upper-case name ("NOT_FOUND"); "STATUS_<n>" never: unknown values say "UNKNOWN". */
const char *fly_status_name(enum fly_status status);

/* Folds a number from the wire into the enum: values past 16 become FLY_UNKNOWN (gRPC's rule). */
enum fly_status fly_status_from_wire(uint32_t code);

/* Fills `error` (may be NULL) with a formatted, truncated text and returns `status`. */
__attribute__((format(printf, 3, 4))) enum fly_status
fly_error_set(struct fly_error *error, enum fly_status status, const char *format, ...);

/* Puts a prefix before the text already there: "journal: open-1: bad checksum". Returns its status.
 */
__attribute__((format(printf, 2, 3))) enum fly_status fly_error_wrap(struct fly_error *error,
                                                                     const char *format, ...);

#endif
