/*
 * exits - what flyrpc's exit code says, from how a call ended. The one place for DESIGN 11's table.
 * Pure.
 */
#ifndef FLY_CLIENT_EXITS_H
#define FLY_CLIENT_EXITS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

enum {
    EXIT_DONE = 0,
    EXIT_ERROR = 1,        /* error, not found */
    EXIT_NO_PLACEMENT = 2, /* nothing has room, or ever will */
    EXIT_USAGE = 64,       /* usage, unknown region */
    EXIT_NO_EDGE = 69,
    EXIT_TRY_AGAIN = 75, /* outcome unknown, rate, quota, owner unreachable */
    EXIT_NOT_PERMITTED = 77,
    EXIT_DEADLINE = 124, /* and nothing was sent, or nothing can have been changed */
    EXIT_INTERRUPTED = 130,
};

/* reason: fly.v1.Reason, 0 when the server gave none. Never 0 unless status is FLY_OK. */
int exit_code(enum fly_status status, uint32_t reason);

/* "TOO_LARGE" for REASON_TOO_LARGE; "NONE" for 0; "UNKNOWN" for numbers of a newer server. */
const char *reason_name(uint32_t reason);

#endif
