/*
 * server_socket - the listening socket and the sockets it accepts. Shell.
 */
#ifndef FLY_DASH_SERVER_SOCKET_H
#define FLY_DASH_SERVER_SOCKET_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

/* Listens on a numeric address; port 0: any. UNAVAILABLE: taken; INVALID_ARGUMENT: no such address
 * here. */
enum fly_status server_socket_listen(const char *host, uint16_t port, int *fd, uint16_t *bound,
                                     struct fly_error *error);
/* The next connection, not blocking, set up for short messages; below 0: none now. */
int server_socket_accept(int listen_fd);
/* A number for an address as text, for counting: IPv4 whole, of IPv6 the network (64 bits). */
uint64_t server_socket_key(const char *remote);

#endif
