/*
 * address - what a person writes for edges, as the numeric URLs that a channel takes.
 *
 * "host", "host:port", "[::1]:7401", "tcp://host:port", "tls+tcp://host:port", "ipc:///path"; a
 * list has commas between. Without a scheme an address on loopback means tcp, any other tls+tcp:
 * off the machine a token never travels in the clear unless somebody wrote so. Shell: resolves
 * names.
 */
#ifndef FLY_CLIENT_ADDRESS_H
#define FLY_CLIENT_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/status.h"

enum {
    ADDRESS_URL_SIZE = 256,
    ADDRESS_URLS_MAX = 4, /* of one name */
    ADDRESS_PORT_DEFAULT = 7401,
    ADDRESS_LIST_MAX = 16, /* addresses in a list */
};

enum address_scheme {
    ADDRESS_ANY = 0, /* none was written */
    ADDRESS_TCP,
    ADDRESS_TLS,
    ADDRESS_IPC,
};

struct address_parts {
    enum address_scheme scheme;
    char host[ADDRESS_URL_SIZE]; /* or the whole URL when it is ipc:// */
    unsigned port;               /* 0: ipc */
};

/* The next address of a list at *at, which moves behind it and its comma; false at the end. Spaces
 * around it are left out. One that is longer than an address can be is cut: address_split refuses
 * it. Pure. */
bool address_next(const char **at, char out[static ADDRESS_URL_SIZE]);
/* Every address of a list, as address_split judges it; at least one, at most ADDRESS_LIST_MAX.
 * Pure. */
enum fly_status address_list_check(const char *list, struct fly_error *error);
/* Of a URL with a numeric address, or ipc. Pure. */
bool address_url_tls(const char *url);
bool address_url_loopback(const char *url);

/* Pure. INVALID_ARGUMENT says what is wrong. */
enum fly_status address_split(const char *text, struct address_parts *out, struct fly_error *error);
/* Adds up to ADDRESS_URLS_MAX URLs to try in order. UNAVAILABLE when the name does not resolve. */
enum fly_status address_resolve(const char *text,
                                char urls[static ADDRESS_URLS_MAX][ADDRESS_URL_SIZE], size_t *count,
                                struct fly_error *error);

#endif
