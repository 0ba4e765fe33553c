/*
 * notice - what a beacon says: here is a node of this cluster, ask it there.
 *
 *   version (1) ‖ node id (16) ‖ boot (8) ‖ generation (4) ‖ ip (16) ‖ port (2)     sealed (seal.h)
 *
 * All of it is sealed with the group's beacon key: in clear stands nothing that names a cluster or
 * a node. A notice is a hint whom to ask and never proof: a recorded one can be played again, so
 * the address is inside the seal, where only members could write it. Bytes behind the known ones
 * are of a newer version and passed over. DESIGN 3.5, 9. Pure.
 */
#ifndef FLY_GOSSIP_NOTICE_H
#define FLY_GOSSIP_NOTICE_H

#include "gossip/gossip.h"

enum {
    NOTICE_VERSION = 1,
    NOTICE_PLAIN_SIZE = 1 + NODE_ID_SIZE + 8 + 4 + 16 + 2,
    NOTICE_PLAIN_MAX = 128, /* of any later version */
    NOTICE_SIZE_MAX = NOTICE_PLAIN_MAX + SEAL_OVERHEAD,
};

struct notice {
    struct node_id id;
    uint64_t boot; /* of the process that said it: one knows one's own by it */
    uint32_t generation;
    struct gossip_address address; /* ip all zero: where the datagram came from; port is never 0 */
};

/* The plain form; returns its size, NOTICE_PLAIN_SIZE. */
size_t notice_encode(const struct notice *n, uint8_t out[static NOTICE_PLAIN_SIZE]);
/* False leaves *out as it was. */
bool notice_decode(const void *data, size_t size, struct notice *out);

/* Sealed; returns its size. ring: derived for SEAL_BEACON. */
size_t notice_close(const struct notice *n, const struct seal_ring *ring, struct fly_rng *rng,
                    uint8_t out[static NOTICE_SIZE_MAX]);
/* Any datagram. False: another cluster's, or garbage; *out is as it was. */
bool notice_open(const void *data, size_t size, const struct seal_ring *ring, struct notice *out);

#endif
