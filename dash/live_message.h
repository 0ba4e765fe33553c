/*
 * live_message - what a browser says over its WebSocket: JSON, read from hostile bytes.
 *
 *   {"t":"look","machines":[index, …]}   {"t":"pause"}   {"t":"resume"}
 *
 * Nothing else is taken: no other key, no key twice, no number that is no index. Keeps nothing.
 */
#ifndef FLY_DASH_LIVE_MESSAGE_H
#define FLY_DASH_LIVE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dash/core/tail.h"

enum { LIVE_MESSAGE_BYTES_MAX = 8192 };

enum live_message_kind { LIVE_LOOK, LIVE_PAUSE, LIVE_RESUME };

struct live_message {
    enum live_message_kind kind;
    uint32_t count; /* of look */
    uint32_t machines[DASH_LOOK_MAX];
};

/* False: it is none of these; *out is undefined. */
bool live_message_decode(const char *text, size_t size, struct live_message *out);

#endif
