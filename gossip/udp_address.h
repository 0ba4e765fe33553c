/*
 * udp_address - struct gossip_address to and from the kernel's form. Shell.
 *
 * Inside the project an address is 16 bytes, IPv4 as ::ffff:a.b.c.d; which family a socket speaks
 * is decided where the socket is.
 */
#ifndef FLY_GOSSIP_UDP_ADDRESS_H
#define FLY_GOSSIP_UDP_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "gossip/gossip.h"

bool udp_address_is_v4(const uint8_t ip[static 16]);
/* 127.0.0.0/8 or ::1. */
bool udp_address_is_loopback(const uint8_t ip[static 16]);
/* All zero, or 0.0.0.0: no address at all. */
bool udp_address_is_any(const uint8_t ip[static 16]);
/* fe80::/10 means nothing without an interface. */
bool udp_address_is_link_local(const uint8_t ip[static 16]);
bool udp_address_equal(const struct gossip_address *a, const struct gossip_address *b);

/* For a socket of that family, AF_INET6 taking both; 0: that socket cannot reach it. */
socklen_t udp_address_to_kernel(const struct gossip_address *a, sa_family_t family,
                                struct sockaddr_storage *out);
/* False: of neither family; *out is untouched. */
bool udp_address_from_kernel(const struct sockaddr_storage *from, struct gossip_address *out);

#endif
