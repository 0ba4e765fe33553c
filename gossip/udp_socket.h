/*
 * udp_socket - one bound UDP socket: send, receive, and who refused. Shell.
 *
 * Never blocks. Whatever the network says about a datagram that was sent is a hint and never an
 * error: a datagram may be lost anyway.
 */
#ifndef FLY_GOSSIP_UDP_SOCKET_H
#define FLY_GOSSIP_UDP_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "gossip/gossip.h"
#include "proto/base/status.h"

struct udp_socket {
    int fd;
    int guard; /* -1, or holds the port for a socket that shares it with the beacons */
    sa_family_t family;
    uint16_t port;
};

/*
 * ip: numeric; "::" takes IPv4 too, "" is "::" or, where there is no IPv6, "0.0.0.0". port 0: any.
 * UNAVAILABLE: in use, or not an address of this host; INVALID_ARGUMENT: not numeric.
 */
enum fly_status udp_socket_open(struct udp_socket *s, const char *ip, uint16_t port,
                                struct fly_error *error);
void udp_socket_close(struct udp_socket *s);

/* False: not sent (no route, full buffer, the other family). */
bool udp_socket_send(struct udp_socket *s, const struct gossip_address *to, const void *data,
                     size_t size);
/* One datagram into out[max], cut there; -1: none waits. */
ssize_t udp_socket_receive(struct udp_socket *s, struct gossip_address *from, void *out,
                           size_t max);
/* The next address whose host said that nobody listens there (ICMP port unreachable); false: none.
 * Only a hint: ICMP can be forged. */
bool udp_socket_refused(struct udp_socket *s, struct gossip_address *who);

#endif
