/*
 * address - what a person writes for an edge, as the numeric URLs that a channel takes.
 *
 * "host", "host:port", "[::1]:7401", "tcp://host:port", "ipc:///path". Shell: resolves names.
 */
#ifndef FLY_CLIENT_ADDRESS_H
#define FLY_CLIENT_ADDRESS_H

#include <stddef.h>

#include "proto/base/status.h"

enum { ADDRESS_URL_SIZE = 256, ADDRESS_URLS_MAX = 4, ADDRESS_PORT_DEFAULT = 7401 };

struct address_parts {
    char host[ADDRESS_URL_SIZE]; /* or the whole URL when it is ipc:// */
    unsigned port;               /* 0: ipc */
};

/* Pure. INVALID_ARGUMENT says what is wrong. */
enum fly_status address_split(const char *text, struct address_parts *out, struct fly_error *error);
/* Up to ADDRESS_URLS_MAX URLs to try in order. UNAVAILABLE when the name does not resolve. */
enum fly_status address_resolve(const char *text,
                                char urls[static ADDRESS_URLS_MAX][ADDRESS_URL_SIZE], size_t *count,
                                struct fly_error *error);

#endif
